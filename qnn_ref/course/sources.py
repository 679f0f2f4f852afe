"""The source of an answer: is there one, and what does it call?"""

from __future__ import annotations

import ast
import functools
import hashlib
import inspect
import textwrap
import types
from typing import Any

STUB = f"raise {NotImplementedError.__name__}"
"""The line of an answer that is not written yet, in the student edition."""

OPERATORS: dict[str, tuple[type[ast.AST], ...]] = {
    "*": (ast.Mult,),
    "/": (ast.Div, ast.FloorDiv),
    "%": (ast.Mod,),
    "@": (ast.MatMult,),
    "**": (ast.Pow,),
    "for": (ast.For, ast.comprehension),
    "while": (ast.While,),
}
"""Forbidden operators and words by their spelling in `Exercise.without`."""


def source_of(answer: Any) -> str:
    """The source text of a function; empty where there is none to see.

    Parameters
    ----------
    answer : callable

    Returns
    -------
    str
    """
    try:
        return textwrap.dedent(inspect.getsource(bare(answer)))
    except Exception:  # of an object that answers no question
        return ""


def bare(answer: Any) -> Any:
    """The function inside a partial, a compiled function or an object that can be called."""
    for _ in range(10):
        if isinstance(answer, functools.partial):
            answer = answer.func
        elif hasattr(answer, "py_func"):
            answer = answer.py_func
        elif hasattr(answer, "__wrapped__"):
            answer = answer.__wrapped__
        else:
            break
    known = types.FunctionType | types.MethodType | types.BuiltinFunctionType | type
    method = None if isinstance(answer, known) else vars(type(answer)).get("__call__")
    return method if isinstance(method, types.FunctionType) else answer


def sha256_of(answer: Any) -> str:
    """A fingerprint of the source; empty where there is none to see.

    Parameters
    ----------
    answer : callable

    Returns
    -------
    str
    """
    text = source_of(answer)
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest() if text else ""


def is_stub(answer: Any, line: str = "") -> bool:
    """Whether a function holds nothing but its docstring, `...` and `pass`.

    Parameters
    ----------
    answer : callable
    line : str
        Another line that counts as nothing.

    Returns
    -------
    bool
    """
    tree = _tree(answer)
    function = next((n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)), None)
    if function is None:
        return False
    return all(
        isinstance(node, ast.Pass)
        or (line and ast.unparse(node) == line)
        or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
        or (isinstance(node, ast.Return) and ast.unparse(node) == "return ...")
        for node in function.body
    )


def forbidden(answer: Any, without: tuple[str, ...]) -> str:
    """The first forbidden name or operator that an answer, or a helper of it, uses.

    Parameters
    ----------
    answer : callable
    without : tuple of str
        As in `Exercise`.

    Returns
    -------
    str
        Empty if there is none.
    """
    if not without:
        return ""
    names = {name for name in without if name not in OPERATORS}
    kinds = {kind: name for name in without for kind in OPERATORS.get(name, ())}
    seen: set[int] = set()
    waiting = [bare(answer)]
    while waiting:
        function = waiting.pop()
        if id(function) in seen or len(seen) > 100:
            continue
        seen.add(id(function))
        if getattr(function, "__name__", "") in names and not _is_theirs(function, answer):
            return str(function.__name__)
        around = _around(function)
        for node in ast.walk(_tree(function)):
            if type(node) in kinds:
                return kinds[type(node)]
            if isinstance(node, ast.Attribute) and node.attr in names:
                return node.attr
            if isinstance(node, ast.Name) and node.id in around:
                thing = around[node.id]
                if _is_theirs(thing, answer) or getattr(thing, "__name__", "") in names:
                    waiting.append(bare(thing))
            elif isinstance(node, ast.Name) and node.id in names and _is_builtin(node, function):
                return node.id
    return ""


def _is_builtin(node: ast.Name, function: Any) -> bool:
    """Whether a name is no variable of the function's own."""
    code = getattr(function, "__code__", None)
    return code is not None and node.id in code.co_names


def _is_theirs(thing: Any, answer: Any) -> bool:
    """Whether something is a function from where the answer is from."""
    thing, answer = bare(thing), bare(answer)
    return (
        isinstance(thing, types.FunctionType)
        and isinstance(answer, types.FunctionType)
        and thing.__module__ == answer.__module__
    )


def _around(function: Any) -> dict[str, Any]:
    """Global names of a function and those of the functions around it."""
    try:
        found = inspect.getclosurevars(function)
    except (TypeError, ValueError):
        return {}
    return {**found.globals, **found.nonlocals}


def _tree(answer: Any) -> ast.AST:
    text = source_of(answer)
    for candidate in (text, f"({text.strip()})"):
        try:
            return ast.parse(candidate)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue
    return ast.Module([], [])


def asked_ids(source: str) -> list[str]:
    """Ids of the exercises that a cell checks: those of its calls of `course.check`.

    Parameters
    ----------
    source : str

    Returns
    -------
    list of str
    """
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    return [
        str(node.args[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) in ("course.check", "check")
        and node.args
        and isinstance(node.args[0], ast.Constant)
    ]
