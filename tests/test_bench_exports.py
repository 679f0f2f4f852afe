"""Exported networks in the benchmark: equal scores or no timing, and what the C program fills."""

from __future__ import annotations

import re

import numpy as np
import pytest

from qnn_ref import PackedNetwork, datasets
from qnn_ref.bench import Row, Settings, c_program, exports
from qnn_ref.bench.measure import LeftOutError
from qnn_ref.bench.rows import C_NATIVE, C_PROGRAM
from tests import compiled_c

needs_compiler = pytest.mark.skipif(compiled_c.COMPILER is None, reason="no C compiler (cc) here")
PACKED = PackedNetwork.load(datasets.find_model("digits"))
IMAGES = datasets.load("digits").test_images[:3]


@needs_compiler
def test_the_c_program_gives_the_packed_networks_scores():
    call = exports.exact(lambda *given: c_program.by_c(*given, ("-O1",)), PACKED, IMAGES)
    np.testing.assert_array_equal(call(), PACKED.scores(IMAGES))


@needs_compiler
def test_what_it_fills_is_said_with_the_processor(monkeypatch):
    said = c_program.size(PACKED)
    flash, ram = re.findall(r"([\d,]+) (?:bytes of flash|of RAM)", said)
    assert 10_000 < int(flash.replace(",", "")) < 3 * PACKED.nbytes
    assert 100 < int(ram) < 1000
    monkeypatch.setattr(c_program, "CORTEX", ("no-such-compiler",))
    assert "this machine (no arm-none-eabi-gcc here)" in c_program.size(PACKED)


def test_without_a_compiler_the_rows_say_so(monkeypatch):
    monkeypatch.setattr(c_program.shutil, "which", lambda name: None)
    found = {
        r.peer_name: r for r in exports.export_rows(PACKED, 1, 1, Settings(repeats=1, budget=0))
    }
    for name in (C_PROGRAM, C_NATIVE):
        assert found[name].ratio is None
        assert "no C compiler here (cc)" in found[name].note


@needs_compiler
def test_what_does_not_compile_is_left_out_with_what_the_compiler_says(tmp_path):
    command = [c_program.compiler(), "-c"]
    with pytest.raises(LeftOutError, match="error"):
        c_program.compiled(b"int main(void) { return x; }", command, str(tmp_path), "a.o")


def test_a_goal_can_be_an_upper_bound():
    row = Row("exported network", "mnist, 1 image", 1, 1.0, None, C_PROGRAM, 1.2, None, 1.2)
    assert (row.goal, row.met) == (1.3, True)
    slow = Row("exported network", "mnist, 1 image", 1, 1.0, None, C_PROGRAM, 1.4, None, 1.4)
    assert slow.met is False
