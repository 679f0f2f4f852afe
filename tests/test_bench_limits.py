"""Limits: the loops do what they say, and what a step needs is counted as by hand."""

from __future__ import annotations

import numpy as np
import pytest

from qnn_ref.bench import ceiling, convolution, inference, limits, lookup, training
from qnn_ref.bench.limits import Needs, limit_call, needs_of_scores, needs_of_step
from qnn_ref.bench.rows import Settings
from qnn_ref.experiments import CIFAR10_THEANO
from qnn_ref.packed import pack

THREADS = 2


def entries(words, task, turn):
    """Which entry of each of the eight tables a word names: its low half, four bits a table."""
    masked = words ^ np.uint64(task + turn + 1)
    return (masked[:, None] >> np.arange(0, 32, 4, dtype=np.uint64)) & np.uint64(15)


@pytest.mark.slow_without_jit
def test_the_lookup_loop_adds_every_entry_that_is_named():
    rng, turns = np.random.default_rng(0), 3
    words = rng.integers(0, 2**64, 12, np.uint64)
    tables = rng.integers(-8, 8, (8, 16, ceiling.width())).astype(np.float32)
    totals = np.empty((THREADS, ceiling.width()), np.float32)
    ceiling.lookup_loop(words, tables, turns, totals)
    for task, total in enumerate(totals):
        named = [tables[np.arange(8), entries(words, task, t)].sum((0, 1)) for t in range(turns)]
        np.testing.assert_array_equal(total, np.sum(named, axis=0))


@pytest.mark.slow_without_jit
@pytest.mark.parametrize("size", [0, 1, 63, 1000])
@pytest.mark.parametrize("threads", [1, 2, 7])
def test_the_update_loop_changes_every_weight_once(size, threads):
    w, g, m, v = np.random.default_rng(1).standard_normal((4, size), np.float32)
    new_m, new_v = m / 2 + g, v / 2 + g
    expected = w / 2 - new_m + new_v
    before = g.copy()
    arrays = [x.copy() for x in (w, g, m, v)]
    ceiling.update_loop(*arrays, threads)
    for found, wanted in zip(arrays, (expected, before, new_m, new_v), strict=True):
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.slow_without_jit
def test_loops_refuse_sizes_that_do_not_fit():
    words, width = np.zeros(4, np.uint64), ceiling.width()
    tables, totals = np.zeros((8, 16, width), np.float32), np.zeros((1, width), np.float32)
    with pytest.raises(ValueError, match=r"^words: expected a multiple of 4, got 3"):
        ceiling.lookup_loop(words[:3], tables, 1, totals)
    with pytest.raises(ValueError, match=r"^tables: "):
        ceiling.lookup_loop(words, tables[:7], 1, totals)
    with pytest.raises(ValueError, match=r"^totals: "):
        ceiling.lookup_loop(words, tables, 1, totals[:, 1:])
    w, g, m, v = np.zeros((4, 5), np.float32)
    with pytest.raises(ValueError, match=r"^m: "):
        ceiling.update_loop(w.copy(), g, m[:4], v, 1)
    with pytest.raises(ValueError, match=r"^threads: "):
        ceiling.update_loop(w.copy(), g.copy(), m.copy(), v.copy(), 0)


def test_the_needs_of_a_dense_step_are_those_counted_by_hand():
    recipe, batch = training.mlp(32), 20
    needs = needs_of_step(training.network_of(recipe, (28, 28, 1)), recipe.optimizer(), batch)
    hidden = 2 * 32 * 32 + 32 * 10  # two hidden layers and the scores
    assert needs.bits == batch * hidden
    # The first layer's pixels count half; dX and dW of the others are look-ups.
    assert needs.sums == batch * (784 * 32 // 2 + 2 * hidden)
    assert needs.reals == batch * 784 * 32  # dW of the first layer: gradients times pixels
    assert needs.weights == 784 * 32 + hidden + 2 * (3 * 32 + 10)  # gains and shifts too


def test_the_needs_of_a_convolution_count_every_tap():
    recipe = CIFAR10_THEANO.narrowed(16)
    network = training.network_of(recipe, (32, 32, 3))
    needs = needs_of_step(network, recipe.optimizer(), 1)
    widths, sides = (8, 8, 16, 16, 32, 32), (32, 32, 16, 16, 8, 8)
    taps = [9 * a * b * side**2 for a, b, side in zip(widths, widths[1:], sides[1:], strict=False)]
    dense = 4 * 4 * 32 * 64 + 64 * 64 + 64 * 10
    assert needs.bits == sum(taps) + dense
    assert needs.reals == 9 * 3 * 8 * 32**2


def test_the_needs_of_scores_are_a_forward_pass():
    needs = needs_of_scores(pack(inference.random_network(32)), 7)
    assert needs == Needs(7 * (2 * 32 * 32 + 320), 7 * 784 * 32 // 2)


def test_loops_are_long_enough_for_all_pairs(monkeypatch):
    turns = []
    monkeypatch.setattr(ceiling, "width", lambda: 48)
    monkeypatch.setattr(ceiling, "lookup_loop", lambda w, tables, n, totals: turns.append(n))
    monkeypatch.setattr(ceiling, "best_loop", lambda: lambda w, n, totals: turns.append(n))
    each_sum = 4 * 8 * 48 * 512 * THREADS  # four rows an entry, eight entries a word
    each_bit = 64 * 2048 * THREADS
    for pairs, expected in ((1, 1), (each_sum, 1), (each_sum + 1, 2)):
        limits.lookup_call(pairs, THREADS)()
        assert turns.pop() == expected
    for pairs, expected in ((1, 1), (each_bit, 1), (each_bit + 1, 2)):
        limits.bits_call(pairs, THREADS)()
        assert turns.pop() == expected


def test_a_limit_does_each_kind_that_is_needed_once(monkeypatch):
    done = []
    for name in ("bits_call", "lookup_call", "update_call"):
        monkeypatch.setattr(
            limits, name, lambda n, threads, name=name: lambda: done.append((name, n))
        )
    monkeypatch.setattr(limits, "reals_call", lambda n: lambda: done.append(("reals_call", n)))
    limit_call(Needs(1, 2, 3, 4), 1)()
    assert done == [("bits_call", 1), ("lookup_call", 2), ("reals_call", 3), ("update_call", 4)]
    done.clear()
    limit_call(Needs(sums=5), 1)()
    assert done == [("lookup_call", 5)]


def test_real_products_multiply_all_pairs(monkeypatch):
    shapes = []
    monkeypatch.setattr(np, "matmul", lambda a, b, out: shapes.append((a.shape, b.shape)))
    limits.reals_call(784 * 100 * 4096)()
    (rows, terms), (same, columns) = shapes[0]
    assert terms == same
    assert rows * terms * columns == pytest.approx(784 * 100 * 4096, rel=1e-3)


def pairs_of(monkeypatch, module, name, rows):
    """For how many pairs a subject of the bench asks a limit."""
    asked = []

    def call(pairs, threads):
        asked.append(pairs)
        return lambda: None

    monkeypatch.setattr(module, name, call)
    rows()
    return asked


@pytest.mark.slow_without_jit
def test_subjects_ask_for_the_limit_of_their_own_size(monkeypatch):
    fast = Settings(repeats=1, budget=0.0, quick=True)
    asked = pairs_of(
        monkeypatch, lookup, "lookup_call", lambda: lookup.gradient_rows(64, 10, 1, fast)
    )
    assert asked == [10 * 64 * 64] * 2  # dX and dW
    asked = pairs_of(
        monkeypatch,
        convolution,
        "bits_call",
        lambda: convolution.convolution_rows(2, 8, 64, 1, fast),
    )
    assert asked == [2 * 8 * 8 * 64 * 9 * 64]  # images, places, outputs, taps, channels
