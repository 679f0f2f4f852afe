"""Vector values in compiled code: each operation is NumPy's, lane by lane."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit
from numba.core.errors import TypingError

from qnn_ref.bits.popcount import popcount
from qnn_ref.bits.vectors import (
    LANES,
    fence,
    lanes_of,
    load,
    load_row,
    nan_bits,
    narrow,
    repeat,
    sign_bits,
    spread,
    spread_from,
    store,
    store_row,
    store_some,
    stream,
    stream_row,
    turn,
)

pytestmark = pytest.mark.slow_without_jit  # vectors exist in compiled code only

REAL = ["float32", "float64"]
WHOLE = ["int16", "int32", "int64", "uint64"]
SEEDS = st.integers(0, 2**32)
FEW = settings(max_examples=30)
SPECIAL = [0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan, -np.nan, 1e-45, -1e-45]


def lanes(dtype):
    return 64 // np.dtype(dtype).itemsize


def numbers(rng, dtype, count):
    """Any bits for integers; normal and special numbers for floats."""
    kind = np.dtype(dtype)
    if kind.kind in "iu":
        low, high = np.iinfo(kind).min, np.iinfo(kind).max
        return rng.integers(low, high, count, kind, endpoint=True)
    special = rng.choice(np.array(SPECIAL, kind), count)
    return np.where(rng.random(count) < 0.5, special, rng.normal(size=count).astype(kind))


@njit
def copy(x, start, out, at):
    store(out, at, load(x, start))


@njit
def arithmetic(x, y, out):
    a, b, step = load(x, 0), load(y, 0), lanes_of(x)
    store(out, 0, a + b)
    store(out, step, a - b)
    store(out, step + step, a * b)
    a += b
    store(out, step + step + step, a)


@njit
def logic(x, y, out):
    a, b, step = load(x, 0), load(y, 0), lanes_of(x)
    store(out, 0, a ^ b)
    store(out, step, a & b)
    store(out, step + step, a | b)


@njit
def spread_one(x, place, out):
    store(out, 0, spread(x[place]))


@njit
def narrow_two(x, out):
    store(out, 0, narrow(load(x, 0), load(x, LANES)))


@njit
def copy_some(x, start, out, count):
    store_some(out, 1, load(x, start), count)


@njit
def read_one(x, index, out):
    store(out, 0, spread_from(x, index))


@njit
def count_ones(x, out):
    store(out, 0, popcount(load(x, 0)))


@njit
def masks(x, start):
    vector = load(x, start)
    return sign_bits(vector), nan_bits(vector)


@njit
def number_of_lanes(x):
    return lanes_of(x)


@pytest.mark.parametrize("dtype", REAL + WHOLE)
def test_a_copy_moves_one_vector_from_any_place_to_any_place(dtype):
    """No alignment is needed beyond that of one number, and nothing beside it is written."""
    count = lanes(dtype)
    x = np.arange(1, 3 * count + 1).astype(dtype)
    x.flags.writeable = False
    for start, at in [(0, 0), (1, 0), (0, 1), (3, 5), (7, 7), (2 * count, 2 * count)]:
        out = np.zeros(3 * count, dtype)
        copy(x, start, out, at)
        expected = np.zeros(3 * count, dtype)
        expected[at : at + count] = x[start : start + count]
        np.testing.assert_array_equal(out, expected)


@njit
def copy_past(x, start, out, at):
    stream(out, at, load(x, start))
    fence()


@pytest.mark.parametrize("dtype", REAL + ["int16", "uint64"])
def test_what_goes_past_the_caches_arrives_in_its_line(dtype):
    count = lanes(dtype)
    x = np.arange(1, 3 * count + 1).astype(dtype)
    room = np.zeros(5 * count, dtype)
    first = -room.ctypes.data % 64 // room.itemsize
    out = room[first : first + 3 * count]
    copy_past(x, 3, out, count)
    np.testing.assert_array_equal(out[count : 2 * count], x[3 : 3 + count])
    assert not out[:count].any()
    assert not out[2 * count :].any()


@njit
def three_vectors(x, start, out, at, past):
    row = load_row(x, start, repeat(spread(x[0]), 3))
    row += repeat(spread(x[1]), 3)
    if past:
        stream_row(out, at, row)
        fence()
    else:
        store_row(out, at, row)
    return lanes_of(row)


@pytest.mark.parametrize("past", [False, True])
@pytest.mark.parametrize("dtype", REAL + ["int16"])
def test_a_row_is_vectors_side_by_side(dtype, past):
    width = 3 * lanes(dtype)
    x = np.arange(1, 2 * width + 1).astype(dtype)
    room = np.full(5 * width, 7, dtype)
    first = -room.ctypes.data % 64 // room.itemsize
    out = room[first : first + 3 * width]
    assert three_vectors(x, 3, out, width, past) == width
    np.testing.assert_array_equal(out[width : 2 * width], x[3 : 3 + width] + x[1])
    assert (out[:width] == 7).all()
    assert (out[2 * width :] == 7).all()


@njit
def turned(x, start, step, out, at, out_step):
    turn(x, start, step, out, at, out_step)


@pytest.mark.parametrize("dtype", REAL + ["int16", "uint64"])
def test_a_square_is_turned_and_nothing_beside_it(dtype):
    side = lanes(dtype)
    x = np.arange((side + 1) * (side + 3)).astype(dtype).reshape(side + 1, side + 3)
    out = np.full((side + 2, side + 5), 7, dtype)
    expected = out.copy()
    expected[1 : 1 + side, 2 : 2 + side] = x[1:, 3:].T
    turned(x.reshape(-1), side + 6, side + 3, out.reshape(-1), side + 7, side + 5)
    np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize("dtype", REAL + WHOLE)
def test_the_number_of_lanes(dtype):
    assert number_of_lanes(np.zeros(1, dtype)) == lanes(dtype)


@pytest.mark.parametrize("dtype", REAL + WHOLE)
@given(seed=SEEDS)
@FEW
def test_arithmetic_is_numpys(dtype, seed):
    """Integers wrap, floats round: a + b, a - b, a b, a += b."""
    rng, count = np.random.default_rng(seed), lanes(dtype)
    x, y = numbers(rng, dtype, count), numbers(rng, dtype, count)
    out = np.empty(4 * count, dtype)
    arithmetic(x, y, out)
    with np.errstate(all="ignore"):
        expected = np.concatenate([x + y, x - y, x * y, x + y])
    np.testing.assert_array_equal(out, expected)
    if np.dtype(dtype).kind == "f":
        known = ~np.isnan(expected)
        np.testing.assert_array_equal(np.signbit(out[known]), np.signbit(expected[known]))


@pytest.mark.parametrize("dtype", WHOLE)
@given(seed=SEEDS)
@FEW
def test_logic_is_numpys(dtype, seed):
    rng, count = np.random.default_rng(seed), lanes(dtype)
    x, y = numbers(rng, dtype, count), numbers(rng, dtype, count)
    out = np.empty(3 * count, dtype)
    logic(x, y, out)
    np.testing.assert_array_equal(out, np.concatenate([x ^ y, x & y, x | y]))


@pytest.mark.parametrize("dtype", REAL + WHOLE)
def test_spread_fills_all_lanes_with_one_number(dtype):
    count = lanes(dtype)
    x = numbers(np.random.default_rng(0), dtype, 5)
    for place in range(5):
        out = np.zeros(count + 1, dtype)
        spread_one(x, place, out)
        np.testing.assert_array_equal(out, [x[place]] * count + [0])


@pytest.mark.parametrize("dtype", WHOLE + REAL)
def test_some_lanes_are_written_and_nothing_beside_them(dtype):
    x = numbers(np.random.default_rng(0), dtype, 2 * lanes(dtype))
    for count in range(1, lanes(dtype) + 1):
        out = np.full(lanes(dtype) + 2, 7, dtype)
        copy_some(x, 1, out, count)
        np.testing.assert_array_equal(out[1 : 1 + count], x[1 : 1 + count])
        assert (out[count + 1 :] == 7).all()
        assert out[0] == 7


@pytest.mark.parametrize("dtype", WHOLE + REAL)
def test_one_number_is_read_into_all_lanes(dtype):
    x, out = numbers(np.random.default_rng(1), dtype, 5), np.empty(lanes(dtype), dtype)
    for index in range(5):
        read_one(x, index, out)
        np.testing.assert_array_equal(out, x[index])


@pytest.mark.parametrize("dtype", ["int64", "uint64"])
@given(seed=SEEDS)
@FEW
def test_narrow_keeps_the_low_32_bits(dtype, seed):
    x = numbers(np.random.default_rng(seed), dtype, 2 * LANES)
    out = np.empty(2 * LANES, np.int32)
    narrow_two(x, out)
    np.testing.assert_array_equal(out, x.astype(np.int32))


@given(SEEDS, st.floats(0, 1))
@FEW
def test_popcount_counts_each_lane(seed, density):
    rng = np.random.default_rng(seed)
    bits = rng.random((LANES, 64)) < density
    x = np.packbits(bits, axis=1, bitorder="little").view("<u8").reshape(-1).astype(np.uint64)
    out = np.empty(LANES, np.uint64)
    count_ones(x, out)
    np.testing.assert_array_equal(out, bits.sum(axis=1))
    np.testing.assert_array_equal(out, popcount(x))


@pytest.mark.parametrize("dtype", REAL)
@given(seed=SEEDS)
@FEW
def test_masks_have_a_bit_a_lane(dtype, seed):
    """Bit i of one is x[i] >= 0, also for -0.0; bit i of the other is x[i] != x[i]."""
    x = numbers(np.random.default_rng(seed), dtype, lanes(dtype) + 3)
    for start in (0, 3):
        part = x[start : start + lanes(dtype)]
        signs, nans = masks(x, start)
        assert signs == sum(int(value >= 0) << i for i, value in enumerate(part))
        assert nans == sum(int(value != value) << i for i, value in enumerate(part))


WORDS = np.zeros(16, np.uint64)
REALS = np.zeros(16, np.float32)


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        (copy, (np.zeros((4, 16), np.uint64), 0, WORDS, 0)),
        (copy, (np.zeros((4, 16), np.uint64).T, 0, WORDS, 0)),
        (copy, (np.zeros(32, np.uint64)[::2], 0, WORDS, 0)),
        (copy, (WORDS, 0, np.zeros((4, 16), np.uint64), 0)),
        (copy, (WORDS, 0, np.zeros(32, np.uint64)[::2], 0)),
        (copy, (REALS, 0, WORDS, 0)),
        (copy, (WORDS, 0, np.zeros(16, np.int64), 0)),
        (copy, (3.0, 0, WORDS, 0)),
        (arithmetic, (WORDS, np.zeros(16, np.int64), WORDS)),
        (arithmetic, (REALS, REALS.astype(np.float64), REALS)),
        (count_ones, (REALS, WORDS)),
        (count_ones, (WORDS.astype(np.int64), WORDS.astype(np.int64))),
        (masks, (WORDS, 0)),
        (turned, (REALS, 0, 1, WORDS, 0, 1)),
        (turned, (REALS, 0, 1.0, REALS, 0, 1)),
        (turned, (WORDS.reshape(4, -1), 0, 1, WORDS, 0, 1)),
        (turned, (WORDS, 0, 1, WORDS.reshape(4, -1), 0, 1)),
    ],
    ids=[
        "load from two axes",
        "load from Fortran order",
        "load from strides",
        "store to two axes",
        "store to strides",
        "store of another type",
        "store of another sign",
        "load from a number",
        "sum of two integer types",
        "sum of two float types",
        "ones of floats",
        "ones of signed integers",
        "signs of words",
        "turned to another type",
        "turned by a half step",
        "turned from two axes",
        "turned to two axes",
    ],
)
def test_what_does_not_fit_is_a_typing_error(function, arguments):
    with pytest.raises(TypingError):
        function(*arguments)
