"""The index points at functions, tests and notebooks that exist, and is found by words."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

from qnn_ref.equations import EQUATIONS, locate, search

TESTS = Path(__file__).parent
NOTEBOOKS = TESTS.parent / "notebooks"
PRESENT = [entry for entry in EQUATIONS if entry.function]


def resolve(dotted):
    """Import what a dotted name of the package means."""
    parts = dotted.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(["qnn_ref", *parts[:cut]]))
        except ModuleNotFoundError:
            continue
        for name in parts[cut:]:
            found = getattr(found, name)
        return found
    raise ImportError(dotted)


def test_every_entry_has_a_name_of_its_own():
    names = [entry.id for entry in EQUATIONS]
    assert len(set(names)) == len(names)
    assert all(entry.title for entry in EQUATIONS)
    assert all(re.match(r"[2-6](\.\d)? \D", name) for name in names)  # the section once


@pytest.mark.parametrize("entry", PRESENT, ids=lambda entry: entry.id)
def test_entry_points_at_what_exists(entry):
    found = resolve(entry.function)
    assert inspect.getdoc(found) if callable(found) else found is not None
    file, _, name = entry.test.partition("::")
    tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
    assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    if entry.notebook:
        assert len(list(NOTEBOOKS.glob(f"{entry.notebook}_*.py"))) == 1


@pytest.mark.parametrize("entry", PRESENT, ids=lambda entry: entry.id)
def test_file_and_line_show_the_definition(entry):
    place, found = locate(entry.function), resolve(entry.function)
    name = entry.function.rpartition(".")[2]
    line = place.file.read_text(encoding="utf-8").splitlines()[place.line - 1]
    assert re.match(rf"\s*(def|class) {name}\b|{name}\b.* =", line)
    module = importlib.import_module(
        ".".join(place.file.with_suffix("").relative_to(TESTS.parent).parts)
    )
    owner = entry.function.split(".")[-2]
    here = getattr(module, name, None) or getattr(getattr(module, owner, None), name, None)
    assert here is found


def test_a_method_is_found_in_the_class_that_it_comes_from():
    assert locate("layers.Dense.make_weights") == locate("layers.weighted.Weighted.make_weights")


@pytest.mark.parametrize(
    "name", ["nowhere.at_all", "shifts.ap3", "quantizers.Sign.nothing", "quantizers", "shifts"]
)
def test_a_wrong_name_is_found(name):
    with pytest.raises(LookupError, match=re.escape(name)):
        locate(name)


def test_every_line_of_algorithms_1_and_5_is_there():
    names = {entry.id for entry in PRESENT}
    assert names >= {f"2.3 Algorithm 1, line {number}" for number in range(1, 13)}
    assert names >= {f"2.6 Algorithm 5, line {number}" for number in range(1, 4)}


def test_section_3_is_whole():
    missing = [entry.id for entry in EQUATIONS if not entry.function]
    assert [name for name in missing if name.startswith("3 ")] == []


@pytest.mark.parametrize(
    ("text", "first", "count"),
    [
        ("", "2.1 eq. 1", len(EQUATIONS)),
        ("eq. 4", "2.3 eq. 4", 1),
        ("equation 4", "2.3 eq. 4", 1),
        ("eq4", "2.3 eq. 4", 1),
        ("(4)", "4.1 training curves", sum(entry.id.startswith("4.") for entry in EQUATIONS)),
        ("eqs. (7)", "2.6 eq. 7", 1),
        ("AP2", "2.4 AP2", 1),
        ("ap2", "2.4 AP2", 1),
        ("Algorithm 1, line 12", "2.3 Algorithm 1, line 12", 1),
        ("line 12", "2.3 Algorithm 1, line 12", 1),
        ("algorithm 1", "2.3 Algorithm 1", 14),
        ("section 2.4", "2.4 batch norm", 7),
        ("2", "2.1 eq. 1", sum(entry.id.startswith("2.") for entry in EQUATIONS)),
        ("7", "2.3 Algorithm 1, line 7", 2),  # no section, but a line and an equation
        ("batch normalization", "2.4 batch norm", 1),
        ("eq hard", "2.1 eq. 3", 3),  # side by side nowhere
        ("ShiftBatchNorm", "2.4 Algorithm 2", 2),
        ("shift_multiply_fixed", "2.4 shift", 1),
        ("hinge", "2.3 Algorithm 1, line 5", 2),
        ("GLOROT", "2.3 gamma_k", 2),
        ("straight-through", "2.3 eq. 4", 3),
        ("nothing of the kind", None, 0),
    ],
)
def test_entries_are_found_by_words(text, first, count):
    found = search(text)
    assert ([entry.id for entry in found[:1]], len(found)) == ([first] if first else [], count)
    assert found == sorted(found, key=EQUATIONS.index)


@pytest.mark.parametrize(
    "words",
    [
        *("4.2", "eq. 4", "AP2", "Algorithm 1", "Algorithm 5", "batch norm", "dropout", "Glorot"),
        *("ZCA", "GCN", "two's complement", "memory", "auxiliary", "popcount", "zero padding"),
        *("softmax", "max pooling", "latent weights", "straight-through estimator", "LinearQuant"),
        *("threshold", "shift-based AdaMax", "learning rate", "hard sigmoid", "relaxed boundary"),
    ],
)
def test_what_a_reader_asks_for_is_found(words):
    assert any(entry.function for entry in search(words))


def test_the_index_needs_none_of_what_it_names():
    code = (
        "import sys\nfrom qnn_ref.cli import main\nmain(['equations'])\n"
        "print([n for n in ('numpy', 'numba', 'matplotlib', 'qnn_ref.layers') if n in sys.modules])"
    )
    command = [sys.executable, "-c", code]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert output.splitlines()[-1] == "[]"
