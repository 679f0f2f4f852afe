"""The index of the paper points at functions, tests and notebooks that exist."""

import ast
import inspect
from pathlib import Path

import pytest

from qnn_ref.checking.equations import EQUATIONS, resolve

TESTS = Path(__file__).parent
NOTEBOOKS = TESTS.parent / "notebooks"
PRESENT = [entry for entry in EQUATIONS if entry.function]


def test_every_entry_has_a_name_of_its_own():
    names = [entry.id for entry in EQUATIONS]
    assert len(set(names)) == len(names)
    assert all(entry.title for entry in EQUATIONS)


@pytest.mark.parametrize("entry", PRESENT, ids=lambda entry: entry.id)
def test_entry_points_at_what_exists(entry):
    found = resolve(entry.function)
    assert inspect.getdoc(found) if callable(found) else found is not None
    file, _, name = entry.test.partition("::")
    tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
    assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    if entry.notebook:
        assert len(list(NOTEBOOKS.glob(f"{entry.notebook}_*.py"))) == 1


def test_section_3_lacks_the_recurrent_networks_only():
    missing = [entry.id for entry in EQUATIONS if not entry.function]
    assert [name for name in missing if name.startswith("3 ")] == ["3 recurrent networks"]


@pytest.mark.parametrize("name", ["nowhere.at_all", "shifts.ap3", "quantizers.Sign.nothing"])
def test_a_wrong_name_is_found(name):
    with pytest.raises((ImportError, AttributeError)):
        resolve(name)
