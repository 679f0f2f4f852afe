"""Panels: the bits of a matrix in both directions, in the order in which kernels read them."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from qnn_ref.bits import Panels, pack, pack_panels, to_panels, unpack
from qnn_ref.bits.panels import (
    PANEL,
    SignMatrix,
    _transpose,
    aligned_zeros,
    arrange_panels,
    pack_panels_reference,
)
from qnn_ref.bits.words import words_for
from tests.conftest import JIT_IS_OFF

LARGEST = 70 if JIT_IS_OFF else 200
EDGES = [0, 1, 63, 64, 65] if JIT_IS_OFF else [0, 1, 15, 16, 17, 63, 64, 65, 127, 128, 129, 192]
SIZES = st.one_of(st.integers(0, LARGEST), st.sampled_from(EDGES))
SPECIAL = [0.0, -0.0, 1e-45, -1e-45, 1.0, -1.0, 3e38, -3e38, np.inf, -np.inf]


def check_panels(panels, signs):
    """Panels hold the columns of a matrix of +-1, zeros beyond them, and nothing else."""
    K, N = signs.shape
    assert (panels.K, panels.N) == (K, N)
    assert panels.words.shape == (-(-N // PANEL), words_for(K), PANEL)
    assert panels.words.dtype == np.uint64
    assert panels.words.flags.c_contiguous
    assert panels.words.ctypes.data % 64 == 0 or not panels.words.size
    np.testing.assert_array_equal(unpack(panels.to_words(), K).T, signs)
    np.testing.assert_array_equal(panels.plus, (signs == 1).sum(axis=0))
    assert panels.plus.dtype == np.int64
    columns = panels.words.transpose(0, 2, 1).reshape(len(panels.words) * PANEL, words_for(K))
    assert not columns[N:].any()


def check(x):
    """`pack_panels` is its twin, and both say x >= 0, along the columns and along the rows."""
    got, twin = pack_panels(x), pack_panels_reference(x)
    assert isinstance(got, SignMatrix)
    assert got.shape == twin.shape == x.shape
    signs = np.where(x >= 0, 1, -1)
    for one, other, matrix in (
        (got.columns, twin.columns, signs),
        (got.rows, twin.rows, signs.T),
    ):
        check_panels(one, matrix)
        check_panels(other, matrix)
        np.testing.assert_array_equal(one.words, other.words)


@given(SIZES, SIZES, st.sampled_from(["f4", "f8", "f2", "i1", "i4", "u1"]), st.integers(0, 2**32))
@example(R=64, C=64, dtype="f4", seed=0)
@example(R=65, C=63, dtype="f4", seed=0)
@example(R=0, C=17, dtype="f4", seed=0)
@example(R=17, C=0, dtype="f8", seed=0)
@example(R=0, C=0, dtype="f4", seed=0)
def test_both_directions_are_the_twins(R, C, dtype, seed):
    rng = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "f":
        x = rng.normal(size=(R, C)).astype(dtype)
    else:
        low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
        x = rng.integers(low, high, (R, C), dtype, endpoint=True)
    check(x)


@pytest.mark.slow_without_jit
@pytest.mark.parametrize("size", [*range(1, 18), 31, 32, 33, 63, 64, 65, 96, 127, 128, 129, 200])
def test_every_size_beside_edges_of_words_and_panels(size):
    rng = np.random.default_rng(size)
    for other in (1, 15, 16, 17, 63, 64, 65, 130):
        check(rng.normal(size=(size, other)).astype(np.float32))
        check(rng.normal(size=(other, size)).astype(np.float32))


@given(st.integers(1, 70), st.integers(1, 70), st.sampled_from(["f4", "f8"]), st.integers(0, 2**32))
def test_zeros_denormals_and_infinities(R, C, dtype, seed):
    with np.errstate(over="ignore"):
        special = np.array(SPECIAL, dtype)
    check(np.random.default_rng(seed).choice(special, (R, C)))


def test_all_plus_and_all_minus():
    for R, C in ((64, 64), (65, 63), (1, 130), (130, 1)):
        check(np.ones((R, C), np.float32))
        check(-np.ones((R, C), np.float32))


def test_one_bit_lands_at_its_place_in_both_directions():
    """x[r, c] is bit r of column c, and bit c of row r."""
    for r, c in ((0, 0), (0, 69), (68, 0), (63, 64), (64, 63), (68, 69), (31, 32), (16, 15)):
        x = np.full((69, 70), -1, np.float32)
        x[r, c] = 1
        both = pack_panels(x)
        columns, rows = both.columns, both.rows
        expected = np.zeros_like(columns.words)
        expected[c // PANEL, r // 64, c % PANEL] = 1 << r % 64
        np.testing.assert_array_equal(columns.words, expected)
        expected = np.zeros_like(rows.words)
        expected[r // PANEL, c // 64, r % PANEL] = 1 << c % 64
        np.testing.assert_array_equal(rows.words, expected)


def test_views_are_packed_as_they_look():
    x = np.random.default_rng(0).normal(size=(70, 90)).astype(np.float32)
    locked = x.copy()
    locked.flags.writeable = False
    row = np.broadcast_to(x[0], (66, 90))
    for view in (x.T, x[::2, 1::3], x[::-1], x[:, ::-2], np.asfortranarray(x), locked, row):
        before = view.copy()
        check(view)
        np.testing.assert_array_equal(view, before)


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
@pytest.mark.parametrize("shape", [(3, 70), (70, 3), (1, 1), (2, 64)])
@pytest.mark.parametrize("function", [pack_panels, pack_panels_reference])
def test_nan_is_refused_wherever_it_stands(function, shape, dtype):
    """First, last, middle; inside whole words and in the tail of a row; of either sign."""
    R, C = shape
    places = {
        (0, 0),
        (R - 1, C - 1),
        (R // 2, C // 2),
        (0, C - 1),
        (R - 1, 0),
        (R - 1, min(63, C - 1)),
    }
    for place in places:
        for value in (np.nan, -np.nan):
            x = -np.ones(shape, dtype)
            x[place] = value
            with pytest.raises(ValueError, match=r"^x: contains NaN"):
                function(x)


@pytest.mark.parametrize(
    ("x", "error", "words"),
    [
        (np.ones(3), ValueError, r"x: expected shape \(R, C\), got \(3,\)"),
        (np.ones((2, 3, 4)), ValueError, r"x: expected shape \(R, C\), got \(2, 3, 4\)"),
        (np.float32(1), ValueError, r"x: expected shape \(R, C\), got \(\)"),
        (np.ones((2, 3), bool), TypeError, "x: a bool has no sign"),
        (np.ones((2, 3), complex), TypeError, "x: expected real or integer numbers"),
        (np.array([["a"]]), TypeError, "x: expected real or integer numbers"),
        (np.array([[None]]), TypeError, "x: expected real or integer numbers"),
    ],
)
def test_bad_arguments_are_named(x, error, words):
    with pytest.raises(error, match="^" + words):
        pack_panels(x)


@given(st.integers(0, 2**32))
def test_transpose_exchanges_the_bits_of_a_square(seed):
    """Bit c of word r goes to bit r of word c; twice, everything is back."""
    bits = np.random.default_rng(seed).choice(np.array([-1, 1]), (64, 64))
    words = pack(bits).reshape(64)
    block = words.copy()
    _transpose(block)
    np.testing.assert_array_equal(block, pack(bits.T).reshape(64))
    _transpose(block)
    np.testing.assert_array_equal(block, words)


@pytest.mark.parametrize(("r", "c"), [(0, 0), (0, 63), (63, 0), (31, 32), (32, 31), (5, 9)])
def test_transpose_moves_one_bit(r, c):
    block = np.zeros(64, np.uint64)
    block[r] = np.uint64(1) << np.uint64(c)
    _transpose(block)
    assert [(i, int(word)) for i, word in enumerate(block) if word] == [(c, 1 << r)]


@given(st.integers(0, 200), st.integers(0, 70), st.integers(0, 2**32))
def test_panels_of_words_keep_the_words(K, N, seed):
    signs = np.random.default_rng(seed).choice(np.array([-1, 1], np.int8), (N, K))
    words = pack(signs)
    panels = to_panels(words, K)
    check_panels(panels, signs.T)
    np.testing.assert_array_equal(panels.to_words(), words)
    # A change of the words afterwards changes nothing.
    words[...] = ~words
    check_panels(panels, signs.T)


def test_words_with_gaps_keep_their_gaps():
    """Rows of five weights with a word each, as windows have: 5 < 64 W weights, W words."""
    b = np.random.default_rng(0).integers(0, 2**5, (19, 3), np.uint64)
    panels = arrange_panels(b[:, ::-1], 15)
    assert isinstance(panels, Panels)
    assert (panels.N, panels.K, panels.words.shape) == (19, 15, (2, 3, PANEL))
    np.testing.assert_array_equal(panels.to_words(), b[:, ::-1])
    assert panels.words.flags.c_contiguous


@pytest.mark.parametrize("shape", [(0,), (1,), (7,), (8,), (9,), (3, 5, 16), (0, 4, 16)])
def test_room_starts_at_a_cache_line(shape):
    for _ in range(5):
        room = aligned_zeros(shape)
        assert (room.shape, room.dtype) == (shape, np.uint64)
        assert room.ctypes.data % 64 == 0 or not room.size
        assert room.flags.c_contiguous
        assert not room.any()
        room[...] = 1


def test_kernels_get_words_that_nobody_writes_to_and_that_lie_one_after_the_other():
    words = np.zeros((2, 3, 2 * PANEL), np.uint64)[..., ::2]
    panels = Panels(words, 17, 192)
    assert panels.words.flags.c_contiguous
    assert not panels.words.flags.writeable


def test_directions_of_two_matrices_are_no_sign_matrix():
    signs = pack_panels(np.ones((3, 5), np.float32))
    for rows in (signs.columns, pack_panels(np.ones((3, 6), np.float32)).rows):
        with pytest.raises(ValueError, match=r"^rows: expected 3 of 5 bits, as the columns have"):
            SignMatrix(signs.columns, rows)
