"""Bit planes: equation (7), for pixels and for any grid of integers, exactly."""

import numba
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from qnn_ref.bits import (
    pack,
    pack_levels,
    pixel_planes,
    planes_matmul,
    to_panels,
    to_planes,
    unpack,
    xnor_matmul,
)
from qnn_ref.bits.planes import pack_levels_reference, planes_matmul_reference
from qnn_ref.grid import PIXELS, SIGNS, Grid

# Grids that occur: pixels, bytes, signed bytes, +-1, codes of k bits, sums of average pools (their
# number of levels is no power of two), and others that share no symmetry.
GRIDS = [
    PIXELS,
    *(
        Grid(*ends)
        for ends in [
            (0, 255, 1),
            (-128, 127, 1),
            (-1, 1, 2),
            (-3, 3, 2),
            (-7, 7, 2),
            (-12, 12, 2),
            (0, 1, 1),
            (5, 20, 5),
            (-50, -2, 3),
            (-1020, 1020, 2),
        ]
    ),
]

ANY_GRID = st.tuples(st.integers(-300, 300), st.integers(1, 7), st.integers(1, 300)).map(
    lambda t: Grid(t[0], t[0] + t[1] * t[2], t[1])
)


def draw(rng, grid, *shape):
    low, high, step = grid
    return low + step * rng.integers(0, (high - low) // step + 1, shape)


def signs(rng, *shape):
    return rng.choice(np.array([-1, 1], np.int8), shape)


def check(codes, w, grid):
    """All forms of the product agree with the product of 64-bit integers."""
    planes, b, K = to_planes(codes, grid), pack(w), codes.shape[1]
    expected = codes.astype(np.int64) @ w.astype(np.int64).T
    for result in (
        planes_matmul(planes, b, K, grid),
        planes_matmul(planes, to_panels(b, K), K, grid),
        planes_matmul_reference(planes, b, K, grid),
    ):
        assert result.dtype == np.int32
        np.testing.assert_array_equal(result, expected)


@given(
    ANY_GRID | st.sampled_from(GRIDS),
    st.integers(0, 130),
    st.integers(0, 3),
    st.integers(0, 5),
    st.integers(0, 2**32),
)
@example(grid=PIXELS, K=0, M=2, N=3, seed=0)
@example(grid=Grid(-3, 3, 2), K=257, M=17, N=65, seed=0)
@example(grid=Grid(0, 4, 1), K=70, M=2, N=130, seed=0)
def test_product_is_its_twin_and_the_integer_product(grid, K, M, N, seed):
    rng = np.random.default_rng(seed)
    check(draw(rng, grid, M, K), signs(rng, N, K), grid)


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("K", [1, 63, 64, 65, 300, 1000])
def test_codes_at_the_ends_of_the_grid(grid, K):
    """Sums as large as they get, in both signs: no narrow or unsigned counter."""
    low, high, _ = grid
    codes = np.array([[low] * K, [high] * K])
    w = np.array([[1] * K, [-1] * K], np.int8)
    check(codes, w, grid)
    result = planes_matmul(to_planes(codes, grid), pack(w), K, grid)
    assert result.tolist() == [[K * low, -K * low], [K * high, -K * high]]


@given(st.sampled_from(GRIDS), st.integers(0, 150), st.integers(0, 2**32))
def test_planes_hold_the_codes(grid, K, seed):
    """code = (step sum_a 2^a beta_a + 2 low + step (2^P - 1)) / 2, element by element."""
    low, _, step = grid
    codes = draw(np.random.default_rng(seed), grid, 2, K)
    planes = to_planes(codes, grid)
    P = len(planes)
    assert planes.shape == (grid.planes, 2, -(-K // 64))
    weighted = sum(2**a * unpack(planes[a], K, np.int64) for a in range(P))
    np.testing.assert_array_equal(step * weighted + 2 * low + step * (2**P - 1), 2 * codes)


@given(st.integers(0, 150), st.integers(0, 2**32))
def test_pixels_are_equation_7_with_both_operands_plus_or_minus_one(K, seed):
    """Line 1 of Algorithm 5 as printed: a <- a + 2^(n-1) Xnor(plane n, w), from a = 0."""
    rng = np.random.default_rng(seed)
    images, w = rng.integers(0, 256, (2, K), np.uint8), signs(rng, 3, K)
    planes, b = pixel_planes(images), pack(w)
    total = np.zeros((2, 3), np.int64)
    for n in range(1, 9):
        total += 2 ** (n - 1) * xnor_matmul(planes[n - 1], b, K)
    np.testing.assert_array_equal(planes_matmul(planes, b, K, PIXELS), total)
    odd = 2 * images.astype(np.int64) - 255
    np.testing.assert_array_equal(total, odd @ w.astype(np.int64).T)
    np.testing.assert_array_equal(planes, to_planes(odd, PIXELS))


def test_one_plane_is_the_binary_product():
    rng = np.random.default_rng(0)
    x, w = signs(rng, 5, 70), signs(rng, 6, 70)
    planes = to_planes(x, SIGNS)
    np.testing.assert_array_equal(planes[0], pack(x))
    np.testing.assert_array_equal(
        planes_matmul(planes, pack(w), 70, SIGNS), xnor_matmul(pack(x), pack(w), 70)
    )


@given(
    st.sampled_from(["uint8", "uint16", "uint32", ">u2"]),
    st.lists(st.integers(0, 3), max_size=2),
    st.integers(0, 140),
    st.integers(1, 8),
    st.integers(0, 2**32),
)
def test_pack_levels_is_its_twin(dtype, leading, K, P, seed):
    levels = np.random.default_rng(seed).integers(0, 2**P, (*leading, K)).astype(dtype)
    planes = pack_levels(levels, P)
    assert planes.dtype == np.uint64
    assert planes.shape == (P, *leading, -(-K // 64))
    np.testing.assert_array_equal(planes, pack_levels_reference(levels, P))
    bits = unpack(planes, K, np.int64) > 0
    assert (sum(bits[a].astype(np.int64) << a for a in range(P)) == levels).all()


@pytest.mark.parametrize("dtype", ["int16", "int64", ">i4", "float16", "float32", "float64", "f8"])
def test_codes_of_any_dtype(dtype):
    codes = np.arange(-255, 256, 2).reshape(2, 128)
    np.testing.assert_array_equal(
        to_planes(codes.astype(dtype), PIXELS),
        pixel_planes(np.arange(256, dtype="u1").reshape(2, 128)),
    )


def test_grids_beyond_a_byte_and_the_largest_sums():
    """K max|code| may reach 2^31 - 1 and not more."""
    check(
        np.array([[-(2**20), 2**20 - 1] * 1023]),
        np.array([[1, -1] * 1023]),
        Grid(-(2**20), 2**20 - 1, 1),
    )
    high = 2**31 - 1
    check(np.array([[high], [0]]), np.array([[1], [-1]]), Grid(0, high, 1))
    check(np.array([[-high], [high]]), np.array([[1], [-1]]), Grid(-high, high, 2 * high))
    check(np.array([[-high], [high]]), np.array([[1], [-1]]), Grid(-high, high, 1))


def test_views_and_read_only_operands():
    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, (12, 140), np.uint8)
    b = pack(signs(rng, 7, 140))
    planes = pixel_planes(images)
    expected = planes_matmul_reference(planes, b, 140, PIXELS)
    images.flags.writeable = planes.flags.writeable = b.flags.writeable = False
    np.testing.assert_array_equal(pixel_planes(images), planes)
    np.testing.assert_array_equal(pixel_planes(images[::-2]), planes[:, ::-2])
    np.testing.assert_array_equal(pixel_planes(images[:, ::3]), pixel_planes(images[:, ::3].copy()))
    np.testing.assert_array_equal(pixel_planes(np.asfortranarray(images)), planes)
    cut = planes_matmul(planes[:, ::-2], b[1::3], 140, PIXELS)
    np.testing.assert_array_equal(cut, expected[::-2, 1::3])
    out = np.full((12, 7), 99, np.int32)
    assert planes_matmul(planes, b, 140, PIXELS, out=out) is out
    np.testing.assert_array_equal(out, expected)


def test_number_of_threads_does_not_matter():
    rng = np.random.default_rng(2)
    images, b = rng.integers(0, 256, (40, 100), np.uint8), pack(signs(rng, 5, 100))
    before = numba.get_num_threads()
    try:
        for threads in (1, min(2, numba.config.NUMBA_NUM_THREADS)):
            numba.set_num_threads(threads)
            planes = pixel_planes(images)
            np.testing.assert_array_equal(planes, pack_levels_reference(images, 8))
            np.testing.assert_array_equal(
                planes_matmul(planes, b, 100, PIXELS),
                planes_matmul_reference(planes, b, 100, PIXELS),
            )
    finally:
        numba.set_num_threads(before)


@pytest.mark.parametrize(
    ("value", "place"),
    [(0, 5), (257, 0), (-257, 3), (1.5, 1), (-255.5, 1), (np.nan, 2), (np.inf, 4), (1e30, 6)],
)
def test_a_code_off_the_grid_is_shown_with_its_place(value, place):
    codes = np.ones((2, 7))
    codes[1, place] = value
    with pytest.raises(ValueError, match=rf"^codes: expected one of .* at index \(1, {place}\)"):
        to_planes(codes, PIXELS)


IMAGES = np.zeros((2, 70), np.uint8)
PLANES = np.zeros((8, 2, 2), np.uint64)
B = np.zeros((3, 2), np.uint64)
POINT = np.zeros((), np.uint8)
DIRTY = np.full((3, 2), 2**63, np.uint64)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: to_planes(["a"], Grid(0, 1, 1)), TypeError, "codes: expected whole numbers"),
        (
            lambda: to_planes(np.ones(3, bool), Grid(0, 1, 1)),
            TypeError,
            "codes: expected whole numbers",
        ),
        (
            lambda: to_planes(3, Grid(0, 5, 1)),
            ValueError,
            r"codes: expected shape \(..., K\), got \(\)",
        ),
        (
            lambda: to_planes([[2**64 - 1]], Grid(0, 5, 1)),
            ValueError,
            "codes: expected one of 0, 1, ...",
        ),
        (lambda: to_planes([0.0], Grid(-(2**62), 0, 2**62)), ValueError, r"grid: .* below 2\^62"),
        (lambda: to_planes([0], (0, 1, 1)), TypeError, "grid: expected an object of Grid"),
        (lambda: pixel_planes(IMAGES / 255), TypeError, "images: .* uint8, got float64"),
        (lambda: pixel_planes(IMAGES.astype("i1")), TypeError, "images: .* uint8, got int8"),
        (lambda: pixel_planes([[1]]), TypeError, "images: .* uint8, got list"),
        (lambda: pixel_planes(POINT), ValueError, r"images: expected shape \(..., K\), got \(\)"),
        (lambda: pack_levels(IMAGES.astype(int), 8), TypeError, "levels: .* unsigned .* got int64"),
        (lambda: pack_levels([[1]], 8), TypeError, "levels: .* unsigned .* got list"),
        (lambda: pack_levels(IMAGES, 0), ValueError, "P: expected 1 to 8 planes for uint8, got 0"),
        (lambda: pack_levels(IMAGES, 9), ValueError, "P: expected 1 to 8 planes for uint8, got 9"),
        (lambda: pack_levels(IMAGES + np.uint8(4), 2), ValueError, r"levels: .* 2\^2 = 4, got 4"),
        (
            lambda: planes_matmul(PLANES[:7], B, 70, PIXELS),
            ValueError,
            "planes: expected 8 planes for -255, -253, ..., 255, got 7",
        ),
        (
            lambda: planes_matmul(PLANES[0], B, 70, PIXELS),
            ValueError,
            r"planes: expected shape \(planes, rows, 2\) for K = 70, got \(2, 2\)",
        ),
        (
            lambda: planes_matmul(PLANES, B, 64, PIXELS),
            ValueError,
            r"planes: expected shape \(planes, rows, 1\) for K = 64",
        ),
        (
            lambda: planes_matmul(PLANES.view(np.int64), B, 70, PIXELS),
            TypeError,
            "planes: expected dtype uint64",
        ),
        (lambda: planes_matmul(PLANES, B[:, :1], 70, PIXELS), ValueError, "b: expected shape"),
        (lambda: planes_matmul(PLANES, DIRTY, 70, PIXELS), ValueError, "b: a padding bit"),
        (
            lambda: planes_matmul(PLANES + DIRTY[:2], B, 70, PIXELS),
            ValueError,
            "planes: a padding bit",
        ),
        (
            lambda: planes_matmul(PLANES, to_panels(B, 71), 70, PIXELS),
            ValueError,
            "b: expected panels of columns with K = 70 weights, got 71",
        ),
        (
            lambda: planes_matmul(PLANES, B, 70, PIXELS, np.empty((2, 2), np.int32)),
            ValueError,
            r"out: expected shape \(2, 3\)",
        ),
        (
            lambda: planes_matmul(PLANES[:1], B, 128, Grid(-(2**24), 0, 2**24)),
            ValueError,
            "K: sums of 128 products of up to 16777216 do not fit in int32",
        ),
        (
            lambda: planes_matmul(PLANES[:2], B, 128, Grid(-(2**24), 2**24, 2**24)),
            ValueError,
            "K: sums of 128 products of up to 16777216 do not fit in int32",
        ),
    ],
)
def test_bad_arguments_are_named(call, error, words):
    with pytest.raises(error, match="^" + words):
        call()


@pytest.mark.parametrize("dtype", [np.float32, np.int32])
@pytest.mark.parametrize("ends", [(1, 3, 2), (5, 20, 5), (-20, -5, 5), (0, 6, 3)])
def test_the_first_code_beyond_either_end_is_refused(ends, dtype):
    low, high, step = ends
    for wrong in (low - step, high + step):
        with pytest.raises(ValueError, match=rf"^codes: expected one of .* got {wrong}"):
            to_planes(np.array([[low, high, wrong]], dtype), Grid(*ends))


@pytest.mark.parametrize("multiply", [planes_matmul, planes_matmul_reference])
def test_both_forms_look_at_the_planes(multiply):
    planes, b = pixel_planes(np.zeros((2, 3), np.uint8)), pack(np.ones((4, 3)))
    with pytest.raises(ValueError, match=r"^planes: "):
        multiply(np.concatenate([planes, planes], axis=-1), b, 3, PIXELS)
    with pytest.raises(ValueError, match=r"^planes: "):
        multiply(planes[:7], b, 3, PIXELS)
