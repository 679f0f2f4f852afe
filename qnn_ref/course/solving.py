"""Answers out of a notebook: its exercise cells are run, and what they need, nothing else."""

from __future__ import annotations

import ast
import linecache
import re
import symtable
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from qnn_ref.checks import did_you_mean
from qnn_ref.course import registry
from qnn_ref.course.check import SEED, judge
from qnn_ref.course.editions import Cell, read_cells
from qnn_ref.course.exercise import Exercise, Verdict

Statement = ast.stmt
TIMERS = ("time", "timeit", "capture", "prun")
"""Magics of a cell that is Python all the same."""


def find_notebook(chapter: str, folder: Path, ending: str = ".ipynb") -> Path:
    """The notebook of a chapter in a folder, or in its folder `notebooks`.

    Parameters
    ----------
    chapter : str
        Such as "01".
    folder : path
    ending : str
        ".py" for the source, which has the solutions.

    Returns
    -------
    Path

    Raises
    ------
    ValueError
        If there is none.
    """
    for place in (folder, folder / "notebooks"):
        found = sorted(place.glob(f"{chapter}_*{ending}"))
        if found:
            return found[0]
    raise ValueError(f"NN: there is no notebook {chapter}_*{ending} in {folder} or its notebooks/")


def answers_of(cells: Sequence[Cell], name: str, ids: Sequence[str]) -> Iterator[tuple[str, Any]]:
    """Run exercise cells, each in a namespace of its own with what it needs from other cells.

    Parameters
    ----------
    cells : sequence of Cell
    name : str
        Of the notebook, for errors.
    ids : sequence of str
        Exercises that are wanted.

    Yields
    ------
    id : str
    answer : function or BaseException or None
        None where there is no such cell; the error if its code cannot be run.
    """
    places = {cell.exercise: number for number, cell in enumerate(cells) if cell.exercise in ids}
    trees = [_parsed(cell, f"<{name}, cell {i}>") for i, cell in enumerate(cells, 1)]
    for id in ids:
        if id not in places:
            yield id, None
            continue
        try:
            yield id, _run(trees, places[id], registry.exercise(id).name)
        except BaseException as error:  # a student's cell may do anything
            yield id, error


def verdicts_of(
    path: Path, ids: Sequence[str], seed: int = SEED, needed: bool = True
) -> Iterator[Verdict]:
    """Judge the exercises of a notebook.

    Parameters
    ----------
    path : path
        A source or a notebook.
    ids : sequence of str
        Exercises that are wanted.
    seed : int
        Of the drawn cases.
    needed : bool
        Whether one without a cell gets a verdict too.

    Yields
    ------
    Verdict
    """
    for id, answer in answers_of(read_cells(path), path.name, ids):
        if answer is not None or needed:
            yield verdict_on(registry.exercise(id), answer, seed)


def verdict_on(exercise: Exercise, answer: Any, seed: int = SEED) -> Verdict:
    """Judge what `answers_of` yielded.

    Parameters
    ----------
    exercise : Exercise
    answer : function or BaseException or None
    seed : int

    Returns
    -------
    Verdict
    """
    if answer is None:
        says = "There is no cell for it: its tags, or its call of course.check, are gone."
        return Verdict(exercise.id, exercise.title, "not written", (says,))
    if isinstance(answer, BaseException):
        text = f"{type(answer).__name__}: {answer}".partition("\n")[0][:200]
        return Verdict(exercise.id, exercise.title, "error", (f"Its cell does not run: {text}.",))
    return judge(exercise, answer, seed)


def _parsed(cell: Cell, filename: str) -> tuple[list[Statement], str] | SyntaxError:
    """Statements of a code cell without magics, known to tracebacks by a file name."""
    if cell.kind != "code":
        return [], filename
    text = without_magics(cell.source)
    linecache.cache[filename] = (len(text), None, text.splitlines(keepends=True), filename)
    try:
        return ast.parse(text, filename).body, filename
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return error if isinstance(error, SyntaxError) else SyntaxError(str(error))


def without_magics(source: str) -> str:
    """A cell in plain Python of as many lines: what only a notebook understands does nothing.

    Parameters
    ----------
    source : str

    Returns
    -------
    str
    """
    first = source.lstrip().partition("\n")[0].rstrip()
    if first.startswith("%%") and first[2:].partition(" ")[0] not in TIMERS:
        return ""  # another language
    source = re.sub(r"(?m)^([ \t]*)[%!?].*$", r"\1pass", source)
    source = re.sub(r"(?m)^([ \t]*[\w.]+)\?{1,2}[ \t]*$", r"\1", source)  # np.abs?
    return re.sub(r"(?m)^([ \t]*[\w, ]+=[ \t]*)[%!].*$", r"\1None", source)  # files = !ls


def _run(
    trees: Sequence[tuple[list[Statement], str] | SyntaxError], place: int, wanted: str
) -> Any:
    """The function that a cell defines, after the statements of other cells that it needs."""
    own = trees[place]
    if isinstance(own, SyntaxError):
        raise own
    body = [s for s in own[0] if not _asks_the_course(s)]
    others = [
        (number, statement, tree[1])
        for number, tree in enumerate(trees)
        if number != place and not isinstance(tree, SyntaxError)
        for statement in tree[0]
        if not _asks_the_course(statement)
    ]
    chosen, missing = set[int](), _needed(body)
    while missing:
        new = {
            i
            for i, (_, statement, _) in enumerate(others)
            if i not in chosen and (_bound(statement) & missing or _imports_all(statement))
        }
        chosen |= new
        missing = _needed([others[i][1] for i in new])
        if not new:
            break
    namespace: dict[str, Any] = {"__name__": "__main__"}
    before = [others[i] for i in sorted(chosen) if others[i][0] < place]
    after = [others[i] for i in sorted(chosen) if others[i][0] > place]
    for _, statement, filename in before + after:
        exec(compile(ast.Module([statement], []), filename, "exec"), namespace)
    for statement in body:
        exec(compile(ast.Module([statement], []), own[1], "exec"), namespace)
    if wanted not in namespace:
        near = did_you_mean(wanted, namespace)
        raise NameError(f"the cell defines no {wanted}{near}")
    return namespace[wanted]


def _asks_the_course(statement: Statement) -> bool:
    return isinstance(statement, ast.Expr) and ast.unparse(statement).startswith("course.")


def _needed(statements: Sequence[Statement]) -> set[str]:
    """Names that statements take from outside of their functions."""
    text = ast.unparse(ast.Module(list(statements), []))
    waiting, found = [symtable.symtable(text, "cell", "exec")], set[str]()
    while waiting:
        table = waiting.pop()
        waiting += table.get_children()
        top = table.get_type() == "module"
        for symbol in table.get_symbols():
            if symbol.is_referenced() and (top or symbol.is_global()):
                found.add(symbol.get_name())
    return found


def _imports_all(statement: Statement) -> bool:
    """Whether it is `from numpy import *`: any name may come from there."""
    return isinstance(statement, ast.ImportFrom) and statement.names[0].name == "*"


def _bound(statement: Statement) -> set[str]:
    """Names that a statement of a cell gives a meaning to."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {statement.name}
    if isinstance(statement, ast.Import | ast.ImportFrom):
        return {(a.asname or a.name).partition(".")[0] for a in statement.names}
    nodes = [n for n in ast.walk(statement) if isinstance(n, ast.Name)]
    return {node.id for node in nodes if isinstance(node.ctx, ast.Store)}
