"""Parts of the site that the package knows: made from it at each build, never typed.

Every function gives Markdown; a page shows it by ```` ```{made} paper_map ````. Needs no Sphinx, so
that the tests read the same text.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Callable, Iterator
from importlib import import_module
from itertools import groupby

from qnn_ref.cli.options import COMMANDS, parser_of
from qnn_ref.equations import EQUATIONS, PACKAGE, Equation, locate

ROOT = PACKAGE.parent
SECTIONS = {
    "2.1": "Deterministic and stochastic binarization",
    "2.2": "Gradient computation and accumulation",
    "2.3": "Propagating gradients through discretization",
    "2.4": "Shift-based batch normalization",
    "2.5": "Shift-based AdaMax",
    "2.6": "First layer, and running the network as bits",
    "3": "More than one bit",
    "4.1": "Results on MNIST, CIFAR-10 and SVHN",
    "4.2": "Recipes of the three small data sets",
    "4.3": "ImageNet",
    "4.4": "Language models",
    "5": "Power efficiency",
    "5.1": "Memory",
    "5.2": "XNOR and counting",
    "5.3": "Repeated filters",
    "6": "Kernels",
}
"""Our words for the sections that the index names."""

READING = re.compile(r"\bour (reading|choice)\b|not in the paper", re.IGNORECASE)
BARE = "Not in the paper."
SILENT = ("course", "bench", "cli", "report", "plots", "interop", "checking")
"""Rooms that the paper does not know: that all of them is ours need not be said line by line."""


def paper_map() -> str:
    """Every entry of the index, a table for each section."""
    lines = []
    for section, entries in groupby(EQUATIONS, lambda entry: entry.id.split()[0]):
        lines += [f"## {section} {SECTIONS[section]}", ""]
        lines += ["| number | what | function, file, test | notebook |", "|" + " --- |" * 4]
        lines += [_row(entry, section) for entry in entries] + [""]
    return "\n".join(lines)


def _row(entry: Equation, section: str) -> str:
    place = locate(entry.function)
    file = f"{place.file.relative_to(ROOT).as_posix()}:{place.line}"
    function = f"{{py:obj}}`{entry.function} <qnn_ref.{entry.function}>`"
    test = entry.test.partition("::")[0]
    cells = [
        entry.id.removeprefix(section).strip(),
        entry.title,
        f"{function}<br>`{file}`<br>`{test}`",
        ", ".join(map(_notebook, entry.notebook.split())),
    ]
    return "| " + " | ".join(cells) + " |"


def _notebook(number: str) -> str:
    (source,) = (ROOT / "notebooks").glob(f"{number}_*.ipynb")
    return f"[{number}](/notebooks/{source.name})"


def readings() -> str:
    """What docstrings call our reading or our choice, or say is not in the paper."""
    lines = ["| where | what its docstring says |", "| --- | --- |"]
    for file in sorted(PACKAGE.rglob("*.py")):
        name = ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        if name.split(".")[1:2] and name.split(".")[1] in SILENT:
            continue
        for dotted, text in _docstrings(name, ast.parse(file.read_text("utf-8"))):
            said = [_as_markdown(p) for p in _paragraphs(text) if READING.search(p) and p != BARE]
            lines += [f"| `{dotted.removeprefix('qnn_ref.')}` | {part} |" for part in said]
    return "\n".join(lines)


def _docstrings(name: str, tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Docstrings of a module, its public classes and functions, and their methods."""
    yield name, ast.get_docstring(tree) or ""
    for node in tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_"):
            yield f"{name}.{node.name}", ast.get_docstring(node) or ""
            for inner in node.body:
                if isinstance(node, ast.ClassDef) and isinstance(inner, ast.FunctionDef):
                    yield f"{name}.{node.name}.{inner.name}", ast.get_docstring(inner) or ""


def _paragraphs(docstring: str) -> list[str]:
    """Paragraphs, a description of a parameter with its name, without the titles of sections."""
    text = re.sub(r"^[A-Z][a-z ]+\n-+\n", "\n", docstring, flags=re.MULTILINE)
    text = re.sub(r"^(?=\S.* : )", "\n", text, flags=re.MULTILINE)
    return [" ".join(part.split()) for part in text.split("\n\n") if part.strip()]


def _as_markdown(text: str) -> str:
    text = re.sub(r":math:`([^`]+)`", r"$\1$", text).replace("``", "`")
    return text.replace("|", r"\|")


def room(name: str) -> str:
    """Reference of a room: its public names, and what the paper's map names in it besides."""
    module = import_module(f"qnn_ref.{name}")
    lines = ["```{eval-rst}", f".. automodule:: qnn_ref.{name}", ""]
    inner = {entry.function for entry in EQUATIONS if entry.function.startswith(f"{name}.")}
    for dotted in sorted(inner):
        outer = dotted.split(".")[1]
        if outer not in module.__all__ or inspect.ismodule(getattr(module, outer)):
            lines += [f".. {_kind(dotted)}:: qnn_ref.{dotted}", ""]
    return "\n".join([*lines, "```", ""])


def _kind(dotted: str) -> str:
    """The directive that documents this name."""
    place = locate(dotted)
    source = place.file.read_text("utf-8").splitlines()[place.line - 1]
    if source.startswith("    "):
        return "automethod"
    first = source.partition(" ")[0]
    return {"class": "autoclass", "def": "autofunction"}.get(first, "autodata")


def commands() -> str:
    """The help of every command."""
    parts = []
    for name in COMMANDS:
        parts += [f"## qnn-ref {name}", "", "```text", parser_of(name).format_help().strip(), "```"]
    return "\n".join([*parts, ""])


PARTS: dict[str, Callable[..., str]] = {
    function.__name__: function for function in (paper_map, readings, room, commands)
}
