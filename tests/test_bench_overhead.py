"""Calls taken apart: kernels leave and come back, parts are shares of the whole."""

import numpy as np
import pytest

from qnn_ref.bench import overhead
from qnn_ref.bench.measure import Timing
from qnn_ref.bench.overhead import CHECKS, DISPATCH, KERNEL, calls, share, tasks, without
from qnn_ref.bench.rows import Settings
from qnn_ref.bits import gemm, words


def test_kernels_are_taken_out_and_put_back():
    before = gemm._multiply_few, words._pack_thresholds
    with without(((gemm, "_multiply_few"), (words, "_pack_thresholds"))):
        assert gemm._multiply_few(1, 2) is words._pack_thresholds
    assert (gemm._multiply_few, words._pack_thresholds) == before


@pytest.mark.slow_without_jit
def test_every_call_runs_with_and_without_its_kernels():
    for call, kernels, entered in calls(quick=True).values():
        assert entered >= 1
        call()
        with without(kernels):
            call()


def test_tasks_count():
    done = np.zeros(5, np.int64)
    tasks(done)
    np.testing.assert_array_equal(done, 1)


def test_a_part_is_a_share_of_the_call():
    row = share("overhead, a", "b", 1, Timing(8.0, 8, 8, 3), CHECKS, Timing(2.0, 2, 2, 3))
    assert (row.ours, row.peer, row.ratio) == (8, 2, 0.25)


@pytest.mark.slow_without_jit
def test_rows_have_all_parts_of_every_call():
    found = overhead.rows(Settings(repeats=1, quick=True, cores=1))
    assert {row.peer_name for row in found} == {CHECKS, DISPATCH, KERNEL}
    assert len(found) == 3 * len(calls(quick=True))
    for row in found:
        assert row.ratio >= 0
