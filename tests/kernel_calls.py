"""Who calls compiled code from Python, and what was compared before the call.

Compiled code looks at no size: a call with arrays that do not fit each other reads and writes
foreign memory. So a kernel is private, and what calls it, its *face*, first looks at every argument
that reaches it. `unchecked_calls` reads the syntax trees and finds what does not; `faces` lists the
public functions through which Python comes to a kernel.

An argument counts as looked at when it, or what was made of it, stands in the condition of an `if`
that raises, or goes to a function of the package that looks at it in this sense. A private function
may leave that to its callers, if they all stand in its own file.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

DECORATORS = {"parallel_kernel", "serial_kernel", "cuda_kernel"}

Function = ast.FunctionDef | ast.AsyncFunctionDef


def names(node: ast.AST) -> set[str]:
    return {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}


def is_private(name: str) -> bool:
    return name.startswith("_")


class Module:
    """A file: its functions, its kernels, and what its imported names mean."""

    def __init__(self, name: str, text: str) -> None:
        self.name, self.tree = name, ast.parse(text)
        self.imports: dict[str, tuple[str, str]] = {}
        for node in ast.walk(self.tree):
            if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
                for alias in node.names:
                    self.imports[alias.asname or alias.name] = node.module, alias.name
            elif isinstance(node, ast.Import):
                for alias in node.names:
                    if alias.asname:
                        above, _, last = alias.name.rpartition(".")
                        self.imports[alias.asname] = above, last
        compilers = {n for n, (_, original) in self.imports.items() if original in DECORATORS}
        for node in self.tree.body:  # fast = serial_kernel(fastmath=True), used as @fast
            if isinstance(node, ast.Assign) and names(node.value) & compilers:
                compilers |= {t.id for t in node.targets if isinstance(t, ast.Name)}
        self.compilers = compilers
        self.functions = {f.name: f for f in self.tree.body if isinstance(f, Function)}
        self.kernels = {n for n, f in self.functions.items() if self.is_compiled(f)}
        makers = {
            n
            for n, f in self.functions.items()
            if any(isinstance(inner, Function) and self.is_compiled(inner) for inner in ast.walk(f))
        } - self.kernels
        # Names that stand for kernels: tables of what a maker returned, and kernel = compiler(f).
        self.holders = {
            target.id
            for node in self.tree.body
            if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None
            if names(node.value) & (makers | compilers) and "partial" not in names(node.value)
            for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
            if isinstance(target, ast.Name)
        } - {n for n in compilers if n not in self.kernels and self._is_alias(n)}

    def _is_alias(self, name: str) -> bool:
        """Whether a name is used as a decorator: then it stands for a compiler."""
        return any(
            name in names(decorator)
            for f in ast.walk(self.tree)
            if isinstance(f, Function)
            for decorator in f.decorator_list
        )

    def is_compiled(self, function: Function) -> bool:
        return any(names(decorator) & self.compilers for decorator in function.decorator_list)

    def plain_functions(self) -> Iterator[Function]:
        """Functions of Python, methods included; one inside another belongs to that."""
        for node in self.tree.body:
            inner = node.body if isinstance(node, ast.ClassDef) else [node]
            yield from (f for f in inner if isinstance(f, Function) and not self.is_compiled(f))


@dataclass
class Reading:
    """What one function looks at, and what it hands to kernels unseen."""

    package: "Package"
    module: Module
    function: Function
    looked: set[str] = field(default_factory=set)
    calls_kernel: bool = False
    unseen: set[str] = field(default_factory=set)  # arguments that reach a kernel, not looked at
    lines: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.parameters = arguments_of(self.function)
        self.roots = {p: {p} for p in self.parameters}
        self.aliases: set[str] = set()
        self.branches = 0  # around what is read now: a name bound there may keep its old value
        self._statements(self.function.body)

    def roots_of(self, node: ast.AST) -> set[str]:
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "bool":
            return set()  # a truth value has no size
        if isinstance(node, ast.Name):
            return self.roots.get(node.id, set())
        return set().union(*map(self.roots_of, ast.iter_child_nodes(node)), set())

    def _statements(self, body: list[ast.stmt]) -> None:
        for statement in body:
            self._statement(statement)

    def _statement(self, node: ast.AST) -> None:
        if isinstance(node, Function):  # inside this one: its arguments come from nobody knows whom
            if self.module.is_compiled(node):
                return
            self.roots |= {p: {p} for p in arguments_of(node)}
            self._statements(node.body)
            return
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.expr | ast.withitem):
                self._calls(child)
        if isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign) and node.value is not None:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            self._bind(targets, node.value, isinstance(node, ast.AugAssign) or self.branches > 0)
        if isinstance(node, ast.For):
            self._bind([node.target], node.iter)
        if isinstance(node, ast.If) and any(isinstance(n, ast.Raise) for n in node.body):
            self.looked |= self.roots_of(node.test)
        branching = isinstance(node, ast.If | ast.For | ast.While | ast.Try | ast.Match)
        self.branches += branching
        for part in ("body", "orelse", "finalbody", "handlers", "cases"):
            for inner in getattr(node, part, []):
                self._statement(inner)
        self.branches -= branching

    def _bind(self, targets: list[ast.expr], value: ast.expr, keep: bool = False) -> None:
        found = self.roots_of(value)
        for name in set().union(*map(names, targets)):
            self.roots[name] = found | (self.roots.get(name, set()) if keep else set())
            if names(value) & (self.module.holders | self.aliases):
                self.aliases.add(name)

    def _calls(self, node: ast.AST) -> None:
        """Calls in the order in which they run: the inner ones first."""
        if isinstance(node, ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp):
            for loop in node.generators:
                if not loop.ifs:  # whoever looks at each one has looked at all
                    self._bind([loop.target], loop.iter)
        for child in ast.iter_child_nodes(node):
            self._calls(child)
        if isinstance(node, ast.NamedExpr):
            self._bind([node.target], node.value)
        if not isinstance(node, ast.Call):
            return
        callee = names(node.func)
        if callee & (self.module.kernels | self.module.holders | self.aliases):
            self.calls_kernel = True
            self._reaches(node, [*node.args, *(k.value for k in node.keywords)])
        if not isinstance(node.func, ast.Name):
            return
        other = self.package.reading_of(self.module, node.func.id)
        if other is None:
            return
        for parameter, values in given(node, other.function).items():
            if parameter in other.looked:
                self.looked |= set().union(*map(self.roots_of, values), set())
        if other.leaves_it and other.module is self.module:
            self.calls_kernel = True
            passed = given(node, other.function)
            self._reaches(node, [v for p in other.unseen for v in passed.get(p, [])])

    def _reaches(self, call: ast.Call, values: list[ast.expr]) -> None:
        for name in set().union(*map(self.roots_of, values), set()) - self.looked:
            self.unseen.add(name)
            self.lines.setdefault(name, call.lineno)

    @property
    def leaves_it(self) -> bool:
        """Whether a private function calls a kernel, and leaves some comparing to its callers."""
        return self.calls_kernel and is_private(self.function.name)


def arguments_of(function: Function) -> list[str]:
    a = function.args
    found = [*a.posonlyargs, *a.args, a.vararg, *a.kwonlyargs, a.kwarg]
    return [argument.arg for argument in found if argument is not None]


def given(call: ast.Call, function: Function) -> dict[str, list[ast.expr]]:
    """The expressions that a call gives to each parameter of a function."""
    a = function.args
    places = [argument.arg for argument in [*a.posonlyargs, *a.args]]
    rest = a.vararg.arg if a.vararg else None
    found: dict[str, list[ast.expr]] = {}
    for place, value in enumerate(call.args):
        if isinstance(value, ast.Starred):  # whoever takes places from here on may get it
            for name in [*places[place:], *([rest] if rest else [])]:
                found.setdefault(name, []).append(value.value)
        elif place < len(places) or rest:
            name = places[place] if place < len(places) else rest
            found.setdefault(str(name), []).append(value)
    for keyword in call.keywords:
        found.setdefault(keyword.arg or "", []).append(keyword.value)
    return found


class Package:
    """All files, and what is known of their functions."""

    def __init__(self, sources: dict[str, str]) -> None:
        self.modules = {}
        for name, text in sources.items():
            dotted = name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
            self.modules[dotted] = Module(name, text)
        self._known: dict[tuple[str, str], Reading | None] = {}

    def resolve(self, module: Module, name: str) -> tuple[Module, str] | None:
        """The file and the name behind a name, by way of imports."""
        for _ in range(5):
            if name in module.functions:
                return module, name
            target, name = module.imports.get(name, ("", name))
            if target not in self.modules:
                return None
            module = self.modules[target]
        return None

    def reading_of(self, module: Module, name: str) -> Reading | None:
        found = self.resolve(module, name)
        if found is None or name in module.kernels or found[1] in found[0].kernels:
            return None
        module, name = found
        key = module.name, name
        if key not in self._known:
            self._known[key] = None  # whoever calls itself finds nothing new
            self._known[key] = Reading(self, module, module.functions[name])
        return self._known[key]

    @cached_property
    def readings(self) -> list[Reading]:
        return [
            self.reading_of(m, f.name) if f.name in m.functions else Reading(self, m, f)
            for m in self.modules.values()
            for f in m.plain_functions()
        ]

    def findings(self) -> Iterator[str]:
        for module in self.modules.values():
            yield from self._raw(module)
        for reading in self.readings:
            if reading.calls_kernel and not reading.leaves_it:
                for name, line in reading.lines.items():
                    yield (
                        f"{reading.module.name}:{line}: {reading.function.name} hands {name} to "
                        "compiled code without a look at it"
                    )

    def _raw(self, module: Module) -> Iterator[str]:
        """Kernels that others could call, or that are passed on as values."""
        for name in sorted(module.kernels | module.holders):
            if not is_private(name):
                yield f"{module.name}: {name} is compiled: make it private, under a face"
        secret = self._leaving(module)
        called = {
            id(kernel)
            for n in ast.walk(module.tree)
            if isinstance(n, ast.Call)
            # kernel(x), and kernel[blocks, threads](x)
            and isinstance(kernel := getattr(n.func, "value", n.func), ast.Name)
        }
        inside = {
            id(n)
            for f in ast.walk(module.tree)
            if isinstance(f, Function) and module.is_compiled(f)
            for n in ast.walk(f)
        }
        for node in ast.walk(module.tree):
            if (
                isinstance(node, ast.Name)
                and node.id in module.kernels | secret
                and id(node) not in called | inside
            ):
                yield f"{module.name}:{node.lineno}: {node.id} is passed on; pass its face"
            elif isinstance(node, ast.ImportFrom | ast.Attribute):
                yield from self._from_another_file(module, node)
            elif isinstance(node, ast.stmt) and node in module.tree.body:
                at_import = names(node) & module.kernels if not isinstance(node, Function) else ()
                for name in sorted(at_import):
                    if not isinstance(node, ast.ClassDef):
                        yield f"{module.name}:{node.lineno}: {name} is used outside a function"

    def _from_another_file(self, module: Module, node: ast.AST) -> Iterator[str]:
        if isinstance(node, ast.Attribute):
            base = ast.unparse(node.value)
            dotted, wanted = ".".join(module.imports.get(base, (base,))), {node.attr}
        else:
            dotted, wanted = str(node.module), {alias.name for alias in node.names}
        other = self.modules.get(dotted)
        if other is None or other is module:
            return
        for name in sorted(wanted & (other.kernels | other.holders | self._leaving(other))):
            if is_private(name):
                yield f"{module.name}:{node.lineno}: {name} of {other.name} has a face; use it"

    def _leaving(self, module: Module) -> set[str]:
        return {r.function.name for r in self.readings if r.module is module and r.leaves_it}


def unchecked_calls(sources: dict[str, str]) -> list[str]:
    """Findings, "file:line: what is wrong"; `sources` maps file names to texts."""
    return sorted(set(Package(sources).findings()))


def faces(sources: dict[str, str]) -> list[str]:
    """Dotted names of the public functions that call a kernel, themselves or by private ones."""
    package = Package(sources)
    dotted = {id(module): name for name, module in package.modules.items()}
    return sorted(
        f"{dotted[id(r.module)]}.{r.function.name}"
        for r in package.readings
        if r.calls_kernel and not r.leaves_it and r.function.name in r.module.functions
    )
