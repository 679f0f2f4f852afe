"""Who may import whom: each module of the package has a floor and imports only downwards.

The imports are read from the syntax trees, so nothing is executed: an import inside a function
counts as well, because it hides an upward dependency without removing it.
"""

import ast
import re
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]

FLOORS = {
    "_typing": 1,
    "archives": 1,
    "checks": 1,
    "compiled": 1,
    "files": 1,
    "kernel_cache": 1,
    "kinds": 1,
    "shown": 1,
    "geometry": 1,
    "grid": 1,
    "shifts": 1,
    "bits": 2,
    "quantizers": 2,
    "parameter": 3,
    "products": 4,
    "losses": 4,
    "optimizers": 4,
    "layers": 5,
    "network": 6,
    "progress": 7,
    "shares": 7,
    "language": 7,
    "likelihood": 7,
    "training": 7,
    "checkpoints": 7,
    "packed": 7,
    "cost": 7,
    "checking": 7,
    "equations": 7,
    "datasets": 8,
    "plots": 8,
    "experiments": 9,
    "course": 9,
    "bench": 9,
    "interop": 9,
    "report": 9,
    "cli": 10,
    "__main__": 10,
}
# `qnn_ref` itself only collects public names, so it may import from every floor; to import *it*
# is to depend on all of them, which only floor 9 and above may do.
PUBLIC_NAMES_FLOOR = 8
# They stand beside the network, not on top of it: arrays come in, arrays go out.
ALONE = {"datasets", "plots"}
GROUND_ROOMS = {"_typing", "archives", "checks", "files", "kinds"}  # which they may use

REQUIRED = {"numpy", "numba", "matplotlib", "threadpoolctl", "tqdm"}
REQUIRED |= {"llvmlite"}  # comes with numba
GROUND = {"numpy", "numba", "llvmlite", "threadpoolctl"}  # all that floors 1 and 2 may use


class Import(NamedTuple):
    """One import statement: the absolute module or name that it asks for, and where."""

    target: str
    line: int
    lazy: bool  # inside a function
    typing_only: bool  # under `if TYPE_CHECKING:`


def is_typing_guard(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")


def imports_of(module: str, tree: ast.Module, is_package: bool) -> list[Import]:
    """All imports of a module, `from a import b` as `a.b`, relative ones made absolute."""
    package = module if is_package else module.rpartition(".")[0]
    found: list[Import] = []

    def visit(node: ast.AST, lazy: bool, typing_only: bool) -> None:
        targets: list[str] = []
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, base] if base else above)
            targets = [f"{base}.{alias.name}" for alias in node.names]
        found.extend(Import(target, node.lineno, lazy, typing_only) for target in targets)
        lazy = lazy or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        typing_only = typing_only or is_typing_guard(node)
        for child in ast.iter_child_nodes(node):
            visit(child, lazy, typing_only)

    visit(tree, False, False)
    return found


def read_sources(sources: dict[str, str]) -> dict[str, tuple[list[Import], bool]]:
    """Map a dotted module name to its imports; `sources` maps file names to source texts."""
    modules = {}
    for name, text in sources.items():
        parts = list(Path(name).with_suffix("").parts)
        is_package = parts[-1] == "__init__"
        module = ".".join(parts[:-1] if is_package else parts)
        modules[module] = (imports_of(module, ast.parse(text), is_package), is_package)
    return modules


def resolve(target: str, modules: dict) -> str:
    """The module of the package that an import of `target` loads: the longest known prefix."""
    while target not in modules and "." in target:
        target = target.rpartition(".")[0]
    return target


def room(module: str) -> str:
    """The name that has a floor: `qnn_ref.bits.words` -> `bits`, `qnn_ref` -> ``."""
    return (module.split(".") + [""])[1]


def floor_of(module: str) -> int | None:
    return FLOORS.get(room(module)) if room(module) else PUBLIC_NAMES_FLOOR


def floor_findings(sources: dict[str, str]) -> list[str]:
    """Modules without a floor, upward imports, and neighbours of rooms that stand alone."""
    modules = read_sources(sources)
    findings = [f"{m}: has no floor; add it to FLOORS" for m in modules if floor_of(m) is None]
    for module, (imports, _) in modules.items():
        if module == "qnn_ref" or floor_of(module) is None:
            continue
        for item in imports:
            if item.target.split(".")[0] != "qnn_ref":
                continue
            target = resolve(item.target, modules)
            above = (floor_of(target) or 0) > floor_of(module)
            allowed = GROUND_ROOMS | {room(module)}
            if above or (room(module) in ALONE and room(target) not in allowed):
                findings.append(
                    f"{module}:{item.line}: on floor {floor_of(module)} imports {target}"
                    f" (floor {floor_of(target)})" + ("" if above else ": it should stand alone")
                )
    return findings


def circle_findings(sources: dict[str, str]) -> list[str]:
    """Circles between modules, including those that a lazy import hides."""
    modules = read_sources(sources)
    graph: dict[str, set[str]] = {}
    for module, (imports, _) in modules.items():
        graph[module] = set()
        for item in imports:
            target = resolve(item.target, modules)
            if target not in modules:
                continue
            graph[module].add(target)
            # Loading a module runs the packages around it too, unless we are inside them already.
            for depth in range(2, target.count(".") + 1):
                package = ".".join(target.split(".")[:depth])
                if not f"{module}.".startswith(f"{package}."):
                    graph[module].add(package)
        graph[module] -= {module, "qnn_ref"}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return ["circle: " + " <- ".join(error.args[1])]
    return []


def library_findings(sources: dict[str, str]) -> list[str]:
    """Optional libraries at the top of a module, or without an error that names their extra."""
    findings = []
    for (module, (imports, _)), text in zip(
        read_sources(sources).items(), sources.values(), strict=True
    ):
        required = GROUND if FLOORS.get(room(module), 3) <= 2 else REQUIRED
        for item in imports:
            library = item.target.split(".")[0]
            if library in required | sys.stdlib_module_names | {"qnn_ref"} or item.typing_only:
                continue
            if not item.lazy:
                findings.append(f"{module}:{item.line}: {library}: import it where it is needed")
            elif "qnn-ref[" not in text and room(module) != "bench":  # which skips absent peers
                findings.append(f"{module}:{item.line}: {library}: no error names its extra")
    return findings


def members_of(tree: ast.AST) -> Iterator[str]:
    """Names of methods, fields and attributes that the classes of a file define."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.ClassDef):
            continue
        for inner in ast.walk(node):
            if isinstance(inner, ast.FunctionDef):
                yield inner.name
            elif isinstance(inner, ast.AnnAssign) and isinstance(inner.target, ast.Name):
                yield inner.target.id
            elif isinstance(inner, ast.Attribute) and isinstance(inner.ctx, ast.Store):
                yield inner.attr


# Attributes that objects of Python, NumPy and llvmlite have as well say nothing about a floor.
FOREIGN = {
    name
    for kind in (np.ndarray, np.random.Generator, np.dtype, dict, list, str, float, Path, IO)
    for name in dir(kind)
} | {"load", "targets"}  # of an llvmlite builder, of a syntax tree


def call_findings(sources: dict[str, str]) -> list[str]:
    """Arguments of which a function asks what only classes of higher floors have.

    An import shows who stands on whom; an argument of type Any does not. A name that no class of
    the function's own floor or of one below defines can only be meant for a higher one.
    """
    trees = {m: ast.parse(t) for m, t in zip(read_sources(sources), sources.values(), strict=True)}
    lowest: dict[str, int] = {}
    for module, tree in trees.items():
        for name in members_of(tree):
            lowest[name] = min(lowest.get(name, 99), floor_of(module) or 99)
    findings = []
    for module, tree in trees.items():
        for function in ast.walk(tree):
            if not isinstance(function, ast.FunctionDef):
                continue
            given = {a.arg for a in ast.walk(function.args) if isinstance(a, ast.arg)} - {"self"}
            findings += [
                f"{module}:{node.lineno}: on floor {floor_of(module)} asks {ast.unparse(node)},"
                f" which floor {lowest[node.attr]} has"
                for node in ast.walk(function)
                if isinstance(node, ast.Attribute)
                and isinstance(node.value, ast.Name)
                and node.value.id in given
                and node.attr not in FOREIGN
                and lowest.get(node.attr, 0) > (floor_of(module) or 99)
            ]
    return findings


CHECKS = [floor_findings, circle_findings, library_findings, call_findings]


@pytest.fixture(scope="module")
def package_sources() -> dict[str, str]:
    files = sorted((ROOT / "qnn_ref").rglob("*.py"))
    return {str(f.relative_to(ROOT)): f.read_text(encoding="utf-8") for f in files}


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_the_package_keeps_its_floors(check, package_sources):
    assert not check(package_sources), "\n" + "\n".join(check(package_sources))


def written_floors(text: str) -> dict[str, int]:
    """The floors as CONTRIBUTING lists them: a numbered line each, remarks in brackets."""
    section = text.split("## Floors")[1].split("\n## ")[0]
    found = {}
    for number, names in re.findall(r"^(\d+)\. ((?:.|\n(?=   ))*)", section, re.M):
        for name in re.findall(r"`(\w+)`", re.sub(r"\([^)]*\)", "", names)):
            found[name] = int(number)
    return found


def test_contributing_lists_these_floors():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert written_floors(text) == FLOORS


def test_a_room_that_contributing_forgets_is_seen():
    text = "## Floors\n\n1. `bits`, `a` (not\n   `b`)\n2. `c`,\n   `d`\n\n`e`\n## Twins\n3. `f`"
    assert written_floors(text) == {"bits": 1, "a": 1, "c": 2, "d": 2}


# The checker is a program too: it must see each of these faults, and nothing in sound code.

SOUND = {
    "qnn_ref/__init__.py": "from qnn_ref.network import Sequential\nfrom . import cli",
    "qnn_ref/shifts.py": "import math\nimport numpy as np\nfrom numba import njit",
    "qnn_ref/parameter.py": "class Parameter:\n    def cached(self, make): return make(self.shape)",
    "qnn_ref/products.py": "def weights(parameter): return parameter.cached(len)",
    "qnn_ref/bits/__init__.py": "from .words import pack",
    "qnn_ref/bits/words.py": "def pack(): ...",
    "qnn_ref/bits/gemm.py": "from .words import pack\nfrom qnn_ref.bits import words",
    "qnn_ref/quantizers.py": "from .shifts import ap2",
    "qnn_ref/layers/__init__.py": "from .dense import Dense",
    "qnn_ref/layers/dense.py": "from ..quantizers import Sign\nfrom .base import Layer",
    "qnn_ref/layers/conv.py": "class Conv:\n    windows: int\n    def taps(self): self.places = 1",
    "qnn_ref/layers/base.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n import torch",
    "qnn_ref/network.py": "import qnn_ref.layers.dense\nfrom .layers import Dense",
    "qnn_ref/packed/__init__.py": "from .network import PackedNetwork",
    "qnn_ref/packed/network.py": "from ..training import evaluate\nfrom .file import read",
    "qnn_ref/packed/file.py": "import json",
    "qnn_ref/training.py": "from .network import Sequential",
    "qnn_ref/datasets/__init__.py": "def load():\n    import pooch  # qnn-ref[data]",
    "qnn_ref/bench/__init__.py": "def peers():\n    import torch",
    "qnn_ref/cli/__init__.py": "from qnn_ref import Sequential, datasets",
}


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_sound_code_has_no_finding(check):
    assert check(SOUND) == []


@pytest.mark.parametrize(
    ("check", "file", "text", "words"),
    [
        (floor_findings, "shifts.py", "import qnn_ref.quantizers", "shifts:1: on floor 1"),
        (floor_findings, "shifts.py", "from .quantizers import Sign", "imports qnn_ref.quantizers"),
        (
            floor_findings,
            "bits/gemm.py",
            "from ..layers import base",
            "imports qnn_ref.layers.base",
        ),
        (floor_findings, "shifts.py", "def f():\n    from . import cli", "shifts:2: on floor 1"),
        (floor_findings, "quantizers.py", "import qnn_ref", "imports qnn_ref (floor 8)"),
        (floor_findings, "network.py", "from qnn_ref import Sequential", "imports qnn_ref (floor"),
        (floor_findings, "plots.py", "from .network import Sequential", "should stand alone"),
        (floor_findings, "plots.py", "from . import datasets", "should stand alone"),
        (floor_findings, "datasets/__init__.py", "from ..shifts import ap2", "should stand alone"),
        (floor_findings, "helpers.py", "", "helpers: has no floor"),
        (circle_findings, "bits/words.py", "from .gemm import f", "bits.gemm"),
        (circle_findings, "bits/words.py", "def pack():\n    from .gemm import f", "bits.words"),
        (circle_findings, "bits/words.py", "from . import gemm", "bits.words"),
        (circle_findings, "layers/dense.py", "from qnn_ref.layers import Dense", "layers.dense"),
        (circle_findings, "shifts.py", "import qnn_ref.quantizers", "qnn_ref.shifts"),
        (circle_findings, "layers/base.py", "from ..network import f", "qnn_ref.network"),
        (circle_findings, "training.py", "import qnn_ref.packed.file", "qnn_ref.packed"),
        (call_findings, "products.py", "def f(layer): return layer.taps()", "asks layer.taps"),
        (call_findings, "products.py", "def f(layer): return layer.windows", "which floor 5 has"),
        (call_findings, "products.py", "def f(*, a): return a.places", "products:1: on floor 4"),
        (call_findings, "bits/words.py", "def f(p): return p.cached(len)", "asks p.cached"),
        (library_findings, "network.py", "import torch", "network:1: torch"),
        (library_findings, "network.py", "from scipy.io import loadmat", "scipy"),
        (library_findings, "network.py", "try:\n    import PIL\nexcept ImportError: ...", "PIL"),
        (library_findings, "network.py", "class A:\n    import pooch", "network:2: pooch"),
        (library_findings, "checking/__init__.py", "import hypothesis", "hypothesis"),
        (library_findings, "network.py", "def f():\n    import pooch", "no error names its extra"),
        (library_findings, "bits/words.py", "import matplotlib.pyplot", "matplotlib"),
        (library_findings, "shifts.py", "import tqdm", "tqdm"),
    ],
)
def test_broken_code_is_found(check, file, text, words):
    findings = check(SOUND | {f"qnn_ref/{file}": text})
    assert words in "\n".join(findings)
