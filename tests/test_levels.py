"""Products of k-bit with l-bit integers by their bit planes, exactly, for grids of every kind."""

import itertools

import numba
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from qnn_ref.bits import (
    fixed_matmul,
    levels_matmul,
    pack,
    planes_matmul,
    to_fixed_planes,
    to_planes,
    unpack,
    xnor_matmul,
)
from qnn_ref.bits.levels import fixed_matmul_reference, join_planes, levels_matmul_reference
from qnn_ref.grid import Grid
from qnn_ref.quantizers import LinearQuant, LogQuant

JIT_IS_OFF = bool(numba.config.DISABLE_JIT)
BITS = [1, 2, 3, 8] if JIT_IS_OFF else [1, 2, 3, 4, 5, 6, 7, 8]
PAIRS = list(itertools.product(BITS, BITS))
SEEDS = st.integers(0, 2**32 - 1)
SIZES = st.integers(0, 4)


def grid_of(bits, signed):
    """The integers of this many bits."""
    if signed:
        return Grid(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1, 1)
    return Grid(-(2**bits) + 1, 2**bits - 1, 2)


def draw(rng, grid, *shape):
    low, high, step = grid
    return low + step * rng.integers(0, (high - low) // step + 1, shape)


def split(codes, bits, signed):
    if signed and bits > 1:
        return to_fixed_planes(codes, bits)
    planes = to_planes(codes, grid_of(bits, signed))
    return ~planes & pack(np.ones(codes.shape[-1])) if signed else planes  # -1 is bit 1, 0 is bit 0


def check(x, w, k, l, signed):
    """Kernel and twin agree with the product of 64-bit integers."""
    a, b, K = split(x, k, signed), split(w, l, signed), x.shape[1]
    fast, twin = (
        (fixed_matmul, fixed_matmul_reference)
        if signed
        else (levels_matmul, levels_matmul_reference)
    )
    expected = x.astype(np.int64) @ w.astype(np.int64).T
    for result in (fast(a, b, K), twin(a, b, K)):
        assert result.dtype == np.int32
        np.testing.assert_array_equal(result, expected, strict=False)
        assert result.shape == expected.shape
    return fast(a, b, K)


@pytest.mark.parametrize(("k", "l"), PAIRS)
def test_levels_matmul_is_the_integer_product_for_all_bits(k, l):
    rng = np.random.default_rng(100 * k + l)
    for K in (1, 64, 67):
        x, w = draw(rng, grid_of(k, False), 3, K), draw(rng, grid_of(l, False), 2, K)
        check(x, w, k, l, False)


@pytest.mark.parametrize(("k", "l"), PAIRS)
def test_fixed_matmul_is_the_integer_product_for_all_bits(k, l):
    rng = np.random.default_rng(100 * k + l)
    for K in (1, 64, 67):
        x, w = draw(rng, grid_of(k, True), 3, K), draw(rng, grid_of(l, True), 2, K)
        check(x, w, k, l, True)


@given(
    st.sampled_from(PAIRS), st.integers(0, 70 if JIT_IS_OFF else 200), SIZES, SIZES,
    st.booleans(), SEEDS,
)  # fmt: skip
@example(pair=(3, 2), K=129, M=17, N=65, signed=False, seed=0)
@example(pair=(3, 2), K=0, M=2, N=3, signed=True, seed=0)
@example(pair=(2, 3), K=0, M=2, N=3, signed=False, seed=0)
def test_products_of_ragged_rows(pair, K, M, N, signed, seed):
    """None, one or some rows on either side; also codes at the ends only."""
    (k, l), rng = pair, np.random.default_rng(seed)
    x_grid, w_grid = grid_of(k, signed), grid_of(l, signed)
    x, w = draw(rng, x_grid, M, K), draw(rng, w_grid, N, K)
    check(x, w, k, l, signed)
    check(
        np.where(x > 0, x_grid.low, x_grid.high),
        np.where(w > 0, w_grid.low, w_grid.high),
        k,
        l,
        signed,
    )


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize(("k", "l"), [(1, 1), (2, 2), (3, 3), (4, 2), (8, 8)])
@pytest.mark.parametrize("K", [1, 64, 65] if JIT_IS_OFF else [1, 63, 64, 65, 128, 129, 300])
def test_codes_at_the_ends(k, l, K, signed):
    """Sums as large as they get, of both signs."""
    (x_low, x_high, _), (w_low, w_high, _) = grid_of(k, signed), grid_of(l, signed)
    x, w = np.array([[x_low] * K, [x_high] * K]), np.array([[w_low] * K, [w_high] * K])
    result = check(x, w, k, l, signed)
    expected = [[K * a * b for b in (w_low, w_high)] for a in (x_low, x_high)]
    assert result.tolist() == expected


def test_three_by_three_bits_at_their_ends():
    """In units of 1/49, the two scales; an accumulator of 16 bits holds 32767."""
    q = LinearQuant(3)
    x, scale = q.encode(np.tile(np.float32([[1], [-1]]), 1000))
    result = levels_matmul(split(x, 3, False), split(x, 3, False), 1000)
    assert result.tolist() == [[49000, -49000], [-49000, 49000]]
    np.testing.assert_allclose(result * scale**2, [[1000, -1000], [-1000, 1000]])
    K = 700 if JIT_IS_OFF else 40_000
    far = np.full((1, K), 7)
    assert levels_matmul(split(far, 3, False), split(-far, 3, False), K) == -49 * K


@pytest.mark.slow_without_jit
def test_the_largest_sums_that_fit():
    """Up to 2^31 - 1 for odd integers; two's complement reaches 2^31 with two lowest ends."""
    one, far = np.array([[2**16 - 1]]), np.array([[-(2**15) + 1]])
    assert check(one, np.array([[2**15 - 1]]), 16, 15, False) == (2**16 - 1) * (2**15 - 1)
    assert check(np.array([[-(2**15)]]), np.array([[-(2**15)]]), 16, 16, True) == 2**30
    low = np.full((1, 2**17 - 1), -128)
    a = to_fixed_planes(low, 8)
    assert fixed_matmul(a, a, 2**17 - 1) == 2**31 - 2**14
    assert check(one, far, 16, 15, False) < -(2**30)


@given(st.integers(0, 150), SEEDS)
def test_one_by_one_bit_is_the_xnor_product(K, seed):
    rng = np.random.default_rng(seed)
    x, w = draw(rng, (-1, 1, 2), 3, K), draw(rng, (-1, 1, 2), 2, K)
    product = levels_matmul(pack(x)[None], pack(w)[None], K)
    np.testing.assert_array_equal(product, xnor_matmul(pack(x), pack(w), K))


def test_k_bits_by_one_bit_is_k_runs_of_xnor():
    """sum_a 2^a Xnor(beta_a, w): Algorithm 5's loop with k planes instead of 8."""
    rng = np.random.default_rng(0)
    x, w = draw(rng, (-7, 7, 2), 3, 100), draw(rng, (-1, 1, 2), 4, 100)
    planes = to_planes(x, Grid(-7, 7, 2))
    runs = sum(2**a * xnor_matmul(plane, pack(w), 100) for a, plane in enumerate(planes))
    np.testing.assert_array_equal(levels_matmul(planes, pack(w)[None], 100), runs)


def test_views_read_only_operands_and_threads():
    rng = np.random.default_rng(1)
    before = numba.get_num_threads()
    for signed in (False, True):
        x, w = draw(rng, grid_of(3, signed), 9, 70), draw(rng, grid_of(2, signed), 6, 70)
        a, b = split(x, 3, signed), split(w, 2, signed)
        multiply = fixed_matmul if signed else levels_matmul
        expected = multiply(a, b, 70)
        a.flags.writeable = b.flags.writeable = False
        try:
            for threads in (1, min(2, numba.config.NUMBA_NUM_THREADS)):
                numba.set_num_threads(threads)
                np.testing.assert_array_equal(multiply(a, b, 70), expected)
                cut = multiply(a[:, ::-2], b[:, 1::3], 70)
                np.testing.assert_array_equal(cut, expected[::-2, 1::3])
        finally:
            numba.set_num_threads(before)


# Two's complement


@given(st.integers(2, 16), st.integers(0, 140), SEEDS, st.sampled_from(["i4", "i8", "f4", "f8"]))
def test_planes_of_twos_complement_hold_the_codes(bits, K, seed, dtype):
    """code = -2^(k-1) B_{k-1} + sum_{a < k-1} 2^a B_a."""
    codes = draw(np.random.default_rng(seed), grid_of(bits, True), 2, K).astype(dtype)
    planes = to_fixed_planes(codes, bits)
    assert planes.shape == (bits, 2, -(-K // 64))
    assert planes.dtype == np.uint64
    B = (unpack(planes, K, np.int64) > 0).astype(np.int64)
    weights = [*(2**a for a in range(bits - 1)), -(2 ** (bits - 1))]
    np.testing.assert_array_equal(
        sum(c * plane for c, plane in zip(weights, B, strict=True)), codes
    )
    np.testing.assert_array_equal(to_fixed_planes(list(codes), np.int8(bits)), planes)


def test_planes_are_those_of_the_machine():
    codes = np.arange(-8, 8)
    planes = unpack(to_fixed_planes(codes, 4), 16, np.int64) > 0
    machine = codes.astype(np.int8).view(np.uint8)
    np.testing.assert_array_equal(planes, [(machine >> a) & 1 == 1 for a in range(4)])


# Weights of any grid

ANY_GRID = st.tuples(st.integers(-40, 40), st.integers(1, 5), st.integers(1, 40)).map(
    lambda t: Grid(t[0], t[0] + t[1] * t[2], t[1])
)
GRIDS = [
    Grid(*ends)
    for ends in [
        *((-1, 1, 2), (-3, 3, 2), (-15, 15, 2), (-2, 1, 1), (-8, 7, 1), (0, 1, 1), (0, 3, 1)),
        *((-4, 4, 1), (-64, 64, 1), (5, 20, 5), (-50, -2, 3), (-255, 255, 2)),
    ]
]


@given(
    ANY_GRID | st.sampled_from(GRIDS),
    ANY_GRID | st.sampled_from(GRIDS),
    st.integers(1, 70 if JIT_IS_OFF else 130),
    SEEDS,
)
def test_joined_planes_are_the_integer_product(grid, weights, K, seed):
    rng = np.random.default_rng(seed)
    x, w = draw(rng, grid, 3, K), draw(rng, weights, 4, K)
    planes, ones = to_planes(x, grid), pack(np.ones((1, K)))
    products = [planes_matmul(planes, b, K, grid) for b in to_planes(w, weights)]
    sums = planes_matmul(planes, ones, K, grid)
    np.testing.assert_array_equal(sums, x.sum(axis=1, keepdims=True))
    joined = join_planes(products, sums, weights)
    assert joined.dtype == np.int32
    np.testing.assert_array_equal(joined, x @ w.T)
    if weights.offset == 0:
        np.testing.assert_array_equal(join_planes(products, None, weights), joined)


@given(ANY_GRID | st.sampled_from(GRIDS))
def test_the_offset_is_what_the_signs_of_the_planes_leave(grid):
    """code = (step sum_b 2^b beta_b + offset) / 2 for every code of the grid."""
    low, high, step = grid
    codes = np.arange(low, high + 1, step)
    beta = unpack(to_planes(codes, grid), len(codes), np.int64)
    weighted = sum(2**b * plane for b, plane in enumerate(beta))
    np.testing.assert_array_equal(step * weighted + grid.offset, 2 * codes)


def test_centred_full_grids_have_no_offset():
    for bits in range(1, 9):
        grid = LinearQuant(bits).encoding.grid
        assert grid.offset == 0
    assert Grid(-2, 1, 1).offset == -1
    assert Grid(0, 3, 1).offset == 3
    assert Grid(-4, 4, 1).offset == 7  # 9 levels in 4 planes
    assert LogQuant(4).encoding.grid.planes == 8


def test_sums_near_the_end_of_int32_are_joined_in_64_bits():
    """2^30 twice and an offset: the terms leave 32 bits, their sum does not."""
    grid = Grid(0, 3, 1)
    high = np.array([[2**29]], np.int32)
    joined = join_planes([high, high], high, grid)
    assert joined.tolist() == [[3 * 2**29]]


# Refused

A = np.zeros((2, 3, 2), np.uint64)
B = np.zeros((3, 4, 2), np.uint64)
DIRTY = A + np.uint64(2**63)
WIDE = np.zeros((8, 1, 2**11 + 1), np.uint64)
S = np.zeros((3, 4), np.int32)


@pytest.mark.parametrize("multiply", [levels_matmul, fixed_matmul])
@pytest.mark.parametrize(
    ("operands", "error", "words"),
    [
        ((A[0], B, 70), ValueError, r"a: expected shape \(planes, rows, 2\) for K = 70"),
        ((A, B[0], 70), ValueError, r"b: expected shape \(planes, rows, 2\) for K = 70"),
        ((A, B, 64), ValueError, r"a: expected shape \(planes, rows, 1\) for K = 64"),
        ((A, B[:, :, :1], 70), ValueError, r"b: expected shape .*, got \(3, 4, 1\)"),
        ((A.view(np.int64), B, 70), TypeError, "a: expected dtype uint64, got int64"),
        ((A, B.astype(float), 70), TypeError, "b: expected dtype uint64, got float64"),
        ((A.tolist(), B, 70), TypeError, "a: expected an array of uint64 words, got list"),
        ((A, None, 70), TypeError, "b: expected an array of uint64 words, got NoneType"),
        ((DIRTY, B, 70), ValueError, "a: a padding bit beyond K = 70"),
        ((A, DIRTY, 70), ValueError, "b: a padding bit beyond K = 70"),
        ((A[:0], B, 70), ValueError, r"a: expected one bit plane at least, got shape \(0, 3, 2\)"),
        ((A, B[:0], 70), ValueError, r"b: expected one bit plane at least, got shape \(0, 4, 2\)"),
        ((A, B, -1), ValueError, "K: expected a whole number of at least 0"),
        ((A, B, 70.0), TypeError, "K: expected a whole number"),
        ((WIDE, WIDE, 131136), ValueError, "K: sums of 131136 products of up to 16384 do"),
    ],
)  # fmt: skip
def test_bad_operands_are_named(multiply, operands, error, words):
    if multiply is levels_matmul and "131136" in words:
        words = "K: sums of 131136 products of up to 65025 do not fit in int32"
    with pytest.raises(error, match="^" + words):
        multiply(*operands)


def test_sums_that_do_not_fit_are_refused_just_there():
    one = np.zeros((16, 1, 1), np.uint64)
    for multiply in (levels_matmul, levels_matmul_reference):
        with pytest.raises(ValueError, match=r"^K: sums of 1 products of up to 4294836"):
            multiply(one, one, 1)
        assert multiply(one[:15], one, 1) == (2**15 - 1) * (2**16 - 1)
    for multiply in (fixed_matmul, fixed_matmul_reference):
        with pytest.raises(ValueError, match=r"^K: sums of 2 products of up to 1073741824 do not"):
            multiply(one, one, 2)
        assert multiply(one, one, 1) == 0


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: to_fixed_planes([[1, -5]], 3), ValueError, r"codes: .*-4, -3, ..., 3; got -5 at"),
        (lambda: to_fixed_planes([[4]], 3), ValueError, "codes: .*got 4"),
        (lambda: to_fixed_planes([[0.5]], 3), ValueError, "codes: .*got 0.5"),
        (lambda: to_fixed_planes([[np.nan]], 3), ValueError, "codes: .*got nan"),
        (lambda: to_fixed_planes(["a"], 3), TypeError, "codes: expected whole numbers"),
        (lambda: to_fixed_planes(3, 3), ValueError, r"codes: expected shape \(..., K\), got \(\)"),
        (lambda: to_fixed_planes([[0]], 1), ValueError, "bits: .* from 2 to 16, got 1"),
        (lambda: to_fixed_planes([[0]], 17), ValueError, "bits: .* from 2 to 16, got 17"),
        (lambda: to_fixed_planes([[0]], 2.0), TypeError, "bits: .*, got 2.0"),
        (
            lambda: join_planes([S], None, Grid(-3, 3, 2)),
            ValueError,
            r"products: expected 2 .*, got 1",
        ),
        (
            lambda: join_planes([], None, Grid(-1, 1, 2)),
            ValueError,
            r"products: expected 1 .*, got 0",
        ),
        (
            lambda: join_planes([S, S], None, Grid(0, 3, 1)),
            ValueError,
            "row_sums: needed .*, got None",
        ),
    ],
)
def test_bad_arguments_are_named(call, error, words):
    with pytest.raises(error, match="^" + words):
        call()
