"""Every small fault that can be planted in one file: one change of its syntax tree at a time.

Left alone is what no test of behaviour sees, or what another test reads: docstrings, annotations,
imports, decorators, texts, `assert`, which is for the type checker here, and the words of an error.
Whether an error comes at all is another thing: `raise` and its condition are changed.

Left alone, too, is what makes no difference: how many threads are worth while, the default of an
argument that the function never reads, and -2 for -1 in `reshape`.
"""

import ast
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

COMPARED: dict[type[ast.AST], type[ast.AST]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
COMPUTED: dict[type[ast.AST], type[ast.AST]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.Pow: ast.Mult,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.BitXor: ast.BitAnd,
}


@dataclass(frozen=True)
class Mutant:
    """One planted fault: which piece of which file, and what stands there instead.

    Parameters
    ----------
    file : str
        Relative to the repository.
    where : str
        The function, like `Sign.encode`.
    line : int
    before, after : str
        The lines of the change, on one line.
    start, end : int
        Its place in the file, in bytes.
    instead : str
        What is put there.
    key : str
        The same for the same change of the same function, wherever it stands in the file: what a
        verdict belongs to.
    """

    file: str
    where: str
    line: int
    before: str
    after: str
    start: int
    end: int
    instead: str
    key: str

    def planted(self, source: str) -> str:
        """The whole file with the fault."""
        data = source.encode()
        return (data[: self.start] + self.instead.encode() + data[self.end :]).decode()

    def __str__(self) -> str:
        return f"{self.file}:{self.line} {self.where}: {self.before}  ->  {self.after}"


def mutants(file: str, source: str) -> list[Mutant]:
    """All faults that can be planted in a file.

    Parameters
    ----------
    file : str
        Its name, relative to the repository.
    source : str

    Returns
    -------
    list of Mutant
        In the order of the file.
    """
    data, starts = source.encode(), [0]
    for line in data.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    found = []

    def place(node: Any) -> tuple[int, int]:
        first, last = starts[node.lineno - 1], starts[node.end_lineno - 1]
        return first + node.col_offset, last + node.end_col_offset

    for where, scope, node, changed in _Faults().of(ast.parse(source)):
        start, end = place(node)
        instead = changed if isinstance(changed, str) else ast.unparse(changed)
        if isinstance(node, ast.expr):
            instead = f"({instead})"
        head, tail = data[starts[node.lineno - 1] : start], data[end : starts[node.end_lineno]]
        lines = [head + piece + tail for piece in (data[start:end], instead.encode())]
        before, after = (" ".join(line.decode().split()) for line in lines)
        begin, stop = place(scope)
        whole = data[begin:stop].decode()
        change = f"{file} {where} {whole} {start - begin} {end - begin} {instead}"
        key = hashlib.sha256(change.encode()).hexdigest()[:16]
        found.append(Mutant(file, where, node.lineno, before, after, start, end, instead, key))
    return found


class _Faults:
    """Walks over a tree and yields (name of the function, it, node, what stands there instead).

    Outside functions, the statement is taken for the function.
    """

    def __init__(self) -> None:
        self._lengths: set[ast.AST] = set()
        self._unseen: set[ast.AST] = set()

    def of(
        self, tree: ast.AST, where: str = "", scope: ast.AST | None = None
    ) -> Iterator[tuple[str, Any, Any, Any]]:
        for child in self._children(tree):
            inner, whole = where, scope
            if not isinstance(scope, ast.FunctionDef) and isinstance(child, ast.stmt):
                whole = child
            if isinstance(child, ast.FunctionDef | ast.ClassDef):
                inner = f"{where}.{child.name}".lstrip(".")
            for changed in self._changes(child):
                yield inner or "module", whole, child, changed
            test = getattr(child, "test", None)
            if isinstance(test, ast.Name | ast.Attribute | ast.Call | ast.BoolOp | ast.NamedExpr):
                yield inner or "module", whole, test, ast.UnaryOp(ast.Not(), test)
            yield from self.of(child, inner, whole)

    def _children(self, node: ast.AST) -> Iterator[ast.AST]:
        skipped: set[str] = set()
        if isinstance(node, ast.FunctionDef):
            skipped = {"decorator_list", "returns"}
            self._unseen.update(_unread_defaults(node))
        elif isinstance(node, ast.ClassDef):
            skipped = {"decorator_list", "bases"}
        elif isinstance(node, ast.arg | ast.AnnAssign):
            skipped = {"annotation"}
        elif isinstance(node, ast.Raise):
            skipped = {"exc", "cause"}
        elif isinstance(node, ast.Call) and getattr(node.func, "id", "") == "threads_for":
            return  # how many threads are worth while: results are the same for any number
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "reshape":
            self._lengths.update(arg for arg in node.args if ast.unparse(arg) == "-1")
        elif node in self._lengths:
            return  # the whole of it is changed, but -2 is the same for NumPy
        for name, value in ast.iter_fields(node):
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST) and name not in skipped and not self._quiet(child):
                    yield child

    def _quiet(self, node: ast.AST) -> bool:
        """Whether nothing is planted here or below."""
        if node in self._unseen:
            return True
        if isinstance(node, ast.If):
            return "TYPE_CHECKING" in ast.unparse(node.test)
        if isinstance(node, ast.Assign) and any("__all__" in ast.unparse(t) for t in node.targets):
            return True
        kinds = ast.Import | ast.ImportFrom | ast.Assert | ast.JoinedStr
        text = isinstance(node, ast.Expr | ast.Constant) and isinstance(
            getattr(node.value, "value", node.value), str
        )
        return isinstance(node, kinds) or text

    def _changes(self, node: ast.AST) -> Iterator[Any]:
        match node:
            case ast.Compare():
                for place, op in enumerate(node.ops):
                    ops = list(node.ops)
                    ops[place] = COMPARED[type(op)]()
                    yield ast.Compare(node.left, ops, node.comparators)
            case ast.BinOp() if type(node.op) in COMPUTED and not _of_text(node):
                yield ast.BinOp(node.left, COMPUTED[type(node.op)](), node.right)
            case ast.AugAssign() if type(node.op) in COMPUTED:
                yield ast.AugAssign(node.target, COMPUTED[type(node.op)](), node.value)
            case ast.BoolOp():
                other = ast.Or() if isinstance(node.op, ast.And) else ast.And()
                yield ast.BoolOp(other, node.values)
            case ast.UnaryOp() if not isinstance(node.op, ast.UAdd):
                yield node.operand
            case ast.Constant(value=bool()):
                yield ast.Constant(not node.value)
            case ast.Constant(value=int() | float()):
                yield ast.Constant(node.value + 1 if isinstance(node.value, int) else _far(node))
            case ast.Raise() | ast.Expr(value=ast.Call()):
                yield "pass"
            case ast.Break():
                yield "continue"
            case ast.Continue():
                yield "break"
            case ast.Call(func=ast.Name(id="min" | "max")):
                name = "max" if node.func.id == "min" else "min"  # type: ignore[attr-defined]
                yield ast.Call(ast.Name(name), node.args, node.keywords)


def _unread_defaults(function: ast.FunctionDef) -> list[ast.expr]:
    """Defaults of arguments that the function takes for others' sake and never reads."""
    taken = function.args
    given = [*taken.posonlyargs, *taken.args]
    pairs = [*zip(given[::-1], taken.defaults[::-1], strict=False)]
    pairs += [*zip(taken.kwonlyargs, taken.kw_defaults, strict=True)]
    body = [node for part in function.body for node in ast.walk(part)]
    read = {node.id for node in body if isinstance(node, ast.Name)}
    return [default for argument, default in pairs if default and argument.arg not in read]


def _far(node: ast.Constant) -> float:
    """Another number: a half of it is no sign, twice it no neighbour."""
    return 2.0 * node.value if node.value else 1.0


def _of_text(node: ast.BinOp) -> bool:
    """Whether it puts texts, lists or types together."""
    sides = (node.left, node.right)
    return any(
        isinstance(side, ast.JoinedStr | ast.List | ast.Tuple)
        or (isinstance(side, ast.Constant) and isinstance(side.value, str | type(None)))
        for side in sides
    )
