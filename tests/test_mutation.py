"""The faults that `make mutants` plants are real ones, and so are those of its table."""

import ast
from pathlib import Path

import pytest

from tests.mutation.__main__ import equivalents, faults, files, identity
from tests.mutation.changes import mutants
from tests.mutation.nearest import nearest_tests

ROOT = Path(__file__).resolve().parents[1]

SOURCE = '''
"""Text of 1 module."""
import numpy as np
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    import os
__all__ = ["f"]
LIMIT: tuple[int, ...] = 5

@decorated(1)
def f(x: Literal[1], y=True) -> Literal[2]:
    """Docstring of 1 function."""
    assert x > 0, 3
    if flag(x):
        raise ValueError(f"{x + 1} is {y!r}")
    for é in x:
        if x <= é and not y:
            continue
    total = x // 2 ** é
    total += min(total, 1.5)
    check(total, "text")
    return -total if total else total[0:1]
'''


def changed(source):
    return {(m.where, m.before, m.after) for m in mutants("a.py", source)}


def test_every_kind_of_fault_is_planted():
    found = {(before, after) for _, before, after in changed(SOURCE)}
    for pair in (
        ("LIMIT: tuple[int, ...] = 5", "LIMIT: tuple[int, ...] = (6)"),
        ("def f(x: Literal[1], y=True) -> Literal[2]:", None),
        ("if flag(x):", "if (not flag(x)):"),
        ('raise ValueError(f"{x + 1} is {y!r}")', "pass"),
        ("if x <= é and not y:", "if (x < é) and not y:"),
        ("if x <= é and not y:", "if (x <= é or not y):"),
        ("if x <= é and not y:", "if x <= é and (y):"),
        ("continue", "break"),
        ("total = x // 2 ** é", "total = (x * 2 ** é)"),
        ("total = x // 2 ** é", "total = x // (2 * é)"),
        ("total = x // 2 ** é", "total = x // (3) ** é"),
        ("total += min(total, 1.5)", "total -= min(total, 1.5)"),
        ("total += min(total, 1.5)", "total += (max(total, 1.5))"),
        ("total += min(total, 1.5)", "total += min(total, (3.0))"),
        ('check(total, "text")', "pass"),
        ("return -total if total else total[0:1]", "return (total) if total else total[0:1]"),
        ("return -total if total else total[0:1]", "return -total if (not total) else total[0:1]"),
    ):
        before, after = pair
        if after is None:
            after = before.replace("y=True", "y=(False)")
        assert (before, after) in found


def test_what_is_left_alone():
    text = " ".join(after for _, _, after in changed(SOURCE))
    for untouched in ("Literal[(", "decorated(2", "Text", "Docstring", "assert", "TYPE", "__all__"):
        assert untouched not in text
    assert {where for where, _, _ in changed(SOURCE)} == {"module", "f"}


@pytest.mark.parametrize("file", ["qnn_ref/losses.py", "qnn_ref/products/by_bits.py"])
def test_each_can_be_parsed_and_is_another_program(file):
    source = (ROOT / file).read_text(encoding="utf-8")
    sound = ast.dump(ast.parse(source))
    found = mutants(file, source)
    assert len(found) > 20
    for mutant in found:
        assert ast.dump(ast.parse(mutant.planted(source))) != sound


def test_every_row_of_the_table_is_a_fault_that_there_is():
    rows = equivalents()
    known = {identity(mutant) for mutant in faults(ROOT, sorted({row[0] for row in rows})).values()}
    assert rows <= known


def test_the_nearest_tests_are_those_that_name_the_file():
    near, far = nearest_tests(ROOT, "qnn_ref/losses.py")
    assert near[0] == "tests/test_losses.py"
    assert "tests/test_training.py" in near + far
    assert "tests/test_datasets_png.py" not in near + far
    for file in files()[::10]:
        assert nearest_tests(ROOT, file)[0]
