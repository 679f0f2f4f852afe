"""Products of integers of two grids by the planes of both, against the integers themselves."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qnn_ref.bits import to_planes
from qnn_ref.bits.grids import (
    GridMatrix,
    codes_matmul,
    codes_matmul_reference,
    grid_matrix,
    grids_matmul,
    grids_matmul_reference,
    join_pairs,
    join_pairs_reference,
    pack_grid_matrix,
)
from qnn_ref.bits.planes import to_planes_reference
from qnn_ref.grid import PIXELS, SIGNS, Grid
from qnn_ref.parameter import Parameter
from qnn_ref.products import PLAIN, BitProducts
from qnn_ref.quantizers import LinearQuant, LogQuant

GRIDS = st.sampled_from(
    [SIGNS, Grid(-3, 3, 2), Grid(0, 15, 1), Grid(-4, 3, 1), Grid(0, 2, 1), Grid(-4, 4, 1), PIXELS]
)
SEEDS = st.integers(0, 2**32)


def drawn(rng, grid, shape):
    return rng.choice(np.arange(grid.low, grid.high + 1, grid.step), shape)


@given(GRIDS, GRIDS, st.integers(1, 9), st.integers(1, 20), st.integers(1, 140), SEEDS)
def test_product_is_its_twin_and_that_of_the_integers(left, right, M, N, K, seed):
    rng = np.random.default_rng(seed)
    a, b = drawn(rng, left, (M, K)), drawn(rng, right, (K, N))
    planes = to_planes(a, left)
    matrix = pack_grid_matrix(b.astype(np.float32), right)
    assert matrix.shape == (K, N)
    expected = (a @ b).astype(np.int32)
    np.testing.assert_array_equal(grids_matmul(planes, matrix, left), expected, strict=True)
    np.testing.assert_array_equal(grids_matmul_reference(planes, matrix, left), expected)
    other = grid_matrix(to_planes(b.T, right), K, right)
    np.testing.assert_array_equal(grids_matmul(planes, other, left), expected)
    assert repr(matrix) == f"<GridMatrix: {K} x {N} integers {right}>"


@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 3), st.integers(1, 9), SEEDS)
def test_pairs_are_joined_as_the_twin_joins_them(A, M, B, N, seed):
    rng = np.random.default_rng(seed)
    products = 4 * rng.integers(-9, 9, (A, M, B, N)).astype(np.int32)
    left, right = 2 ** np.arange(A), 3 * 2 ** np.arange(B)
    rows, columns = 4 * rng.integers(-9, 9, M), 4 * rng.integers(-9, 9, N)
    one = join_pairs(products, left, right, rows, columns, 2)
    np.testing.assert_array_equal(
        one, join_pairs_reference(products, left, right, rows, columns, 2), strict=True
    )
    total = sum(left[a] * right[b] * products[a, :, b] for a in range(A) for b in range(B))
    np.testing.assert_array_equal(one, (total + rows[:, None] + columns) // 4)


@given(
    *(GRIDS, st.sampled_from([np.float32, np.float64, np.int32, np.int64, np.int8])),
    *(st.integers(1, 3), st.integers(0, 140), SEEDS),
)
def test_planes_of_codes_are_those_of_the_twin(grid, dtype, M, K, seed):
    codes = drawn(np.random.default_rng(seed), grid, (2, M, K))
    if np.iinfo(np.int8).max < grid.largest:
        dtype = np.float32
    planes = to_planes(codes.astype(dtype), grid)
    np.testing.assert_array_equal(planes, to_planes_reference(codes, grid), strict=True)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32, np.int64])
@pytest.mark.parametrize("wrong", [-4, 4, 0, 2, 100, 0.5, -3.0000002, np.nan, np.inf, -np.inf])
def test_what_is_no_code_is_refused_with_its_place(dtype, wrong):
    if np.dtype(dtype).kind == "i" and wrong != int(np.nan_to_num(wrong, posinf=0, neginf=0)):
        return
    codes = np.full((3, 70), -3).astype(dtype)
    if not np.isfinite(wrong) and np.dtype(dtype).kind == "i":
        return
    codes[1, 65] = wrong
    if codes[1, 65] == -3:  # the nearest number of this type
        return
    with pytest.raises(ValueError, match=r"^codes: expected one of -3, -1, ..., 3; .*\(1, 65\)$"):
        to_planes(codes, Grid(-3, 3, 2))


def test_what_does_not_fit_is_refused():
    grid = Grid(-3, 3, 2)
    matrix = pack_grid_matrix(np.ones((70, 5), np.float32), grid)
    planes = to_planes(np.ones((2, 70)), grid)
    for call, words in (
        (lambda: grids_matmul(planes, matrix.panels, grid), "matrix: expected"),
        (lambda: grids_matmul(planes[:1], matrix, grid), "planes: expected 2 planes"),
        (lambda: grids_matmul(planes[..., :1], matrix, grid), "planes: expected shape"),
        (lambda: grids_matmul_reference(planes[..., :1], matrix, grid), "planes: expected shape"),
        (lambda: grids_matmul(planes, matrix, (-3, 3, 2)), "grid: expected"),
        (lambda: pack_grid_matrix(np.ones((70, 5), np.int64), grid), "codes: expected"),
        (lambda: pack_grid_matrix(np.ones(70, np.float32), grid), "codes: expected"),
        (lambda: pack_grid_matrix(np.zeros((7, 5), np.float32), grid), "codes: expected one of"),
        (lambda: grid_matrix(planes[:1], 70, grid), "words: expected 2 planes"),
        (lambda: GridMatrix(matrix.panels, Grid(0, 7, 1)), "panels: expected the columns of 3"),
        (lambda: GridMatrix(planes, grid), "panels: expected"),
    ):
        with pytest.raises((TypeError, ValueError), match=f"^{words}"):
            call()
    large = Grid(-(2**15), 2**15, 2**16)
    matrix = grid_matrix(to_planes(np.full((1, 3), large.high), large), 3, large)
    with pytest.raises(ValueError, match=r"^K: sums of 3 products"):
        grids_matmul(to_planes(np.full((1, 3), large.high), large), matrix, large)


@pytest.mark.parametrize("rows", [1, 5])
def test_sums_of_codes_that_may_not_fit_are_refused(rows):
    left, right = Grid(0, 2**20, 1), Grid(0, 2**8, 2**8)
    for K in (7, 8):
        matrix = grid_matrix(to_planes(np.full((2, K), 2**8), right), K, right)
        codes = np.full((rows, K), 2**20, np.float32)
        if K == 7:
            np.testing.assert_array_equal(codes_matmul(codes, matrix, left), 7 * 2**28)
            continue
        with pytest.raises(ValueError, match=r"^K: sums of 8 products of up to 268435456 do not"):
            codes_matmul(codes, matrix, left)


def test_padding_bits_of_the_last_panel_count_nothing():
    """Columns that are no multiple of 8, and inputs that are none of 64."""
    grid, rng = Grid(0, 3, 1), np.random.default_rng(0)
    for N in (7, 8, 9):
        a, b = drawn(rng, grid, (1, 65)), drawn(rng, grid, (65, N))
        matrix = grid_matrix(to_planes(b.T, grid), 65, grid)
        np.testing.assert_array_equal(grids_matmul(to_planes(a, grid), matrix, grid), a @ b)


# In a layer


@pytest.mark.parametrize("batch", [1, 5])
@pytest.mark.parametrize(
    ("weights", "states"),
    [
        (LinearQuant(2), LinearQuant(4, reading="unsigned")),
        (LinearQuant(3, reading="fixed-point"), LinearQuant(2)),
        (LinearQuant(4, high=0.25), LinearQuant(4)),  # too many pairs of planes
        (LogQuant(3), LinearQuant(2)),
    ],
)
def test_products_of_codes_are_the_plain_ones(weights, states, batch):
    rng, products = np.random.default_rng(0), BitProducts()
    products.least_weights = 1
    parameter = Parameter(rng.uniform(-1, 1, (70, 33)).astype(np.float32), weights)
    x = states.encode(rng.normal(size=(batch, 70)).astype(np.float32))[0]
    grid = states.encoding.grid
    largest = states.encoding.largest * weights.encoding.largest
    expected = PLAIN.of_codes(x, parameter, grid, largest)
    found = products.of_codes(x, parameter, grid, largest)
    np.testing.assert_array_equal(found, expected, strict=True)
    np.testing.assert_array_equal(expected, x @ parameter.codes)
    packed = any(isinstance(made, GridMatrix) for made in parameter._made.values())
    assert packed == (grid.planes * weights.encoding.grid.planes <= products.most_pairs)
    parameter.assign(-parameter.latent)  # what was packed is made anew
    np.testing.assert_array_equal(
        products.of_codes(x, parameter, grid, largest), x @ parameter.codes
    )
    np.testing.assert_array_equal(products.of_codes(x, parameter, None), x @ parameter.codes)


@pytest.mark.parametrize(("largest", "packed"), [(2.0**25 - 1, True), (2.0**25, False)])
def test_sums_that_may_reach_2_to_the_31_go_the_plain_way(largest, packed):
    products, quantizer, rng = BitProducts(), LinearQuant(2), np.random.default_rng(0)
    products.least_weights = 1
    parameter = Parameter(rng.uniform(-1, 1, (64, 9)).astype(np.float32), quantizer)
    x, grid = drawn(rng, Grid(-3, 3, 2), (2, 64)).astype(np.float32), quantizer.encoding.grid
    found = products.of_codes(x, parameter, grid, largest)
    np.testing.assert_array_equal(found, x @ parameter.codes)
    assert any(isinstance(made, GridMatrix) for made in parameter._made.values()) == packed


@given(
    *(GRIDS, GRIDS, st.integers(1, 5), st.integers(1, 40), st.integers(1, 140)),
    *(st.sampled_from([np.float32, np.float64]), SEEDS),
)
def test_a_few_rows_of_codes_are_multiplied_as_many_are(left, right, M, N, K, dtype, seed):
    rng = np.random.default_rng(seed)
    a, b = drawn(rng, left, (M, K)), drawn(rng, right, (K, N))
    matrix = grid_matrix(to_planes(b.T, right), K, right)
    expected = (a @ b).astype(np.int32)
    found = codes_matmul(a.astype(dtype), matrix, left)
    np.testing.assert_array_equal(found, expected, strict=True)
    np.testing.assert_array_equal(codes_matmul_reference(a.astype(dtype), matrix, left), expected)


@pytest.mark.parametrize("planes", range(1, 11))
def test_codes_of_any_number_of_planes(planes):
    """The kernel counts four planes at a time."""
    grid, rng = Grid(-3, 2**planes - 4, 1), np.random.default_rng(planes)
    a, b = drawn(rng, grid, (2, 130)), drawn(rng, Grid(-3, 3, 2), (130, 17))
    matrix = pack_grid_matrix(b.astype(np.float64), Grid(-3, 3, 2))
    np.testing.assert_array_equal(codes_matmul(a.astype(np.float32), matrix, grid), a @ b)


@pytest.mark.parametrize("rows", [1, 3, 6])
@pytest.mark.parametrize("wrong", [0, 5, 0.5, np.nan, np.inf])
def test_a_row_that_holds_no_code_is_refused_with_its_place(rows, wrong):
    grid = Grid(-3, 3, 2)
    matrix = pack_grid_matrix(np.ones((70, 5), np.float32), grid)
    codes = np.ones((rows, 70), np.float32)
    codes[-1, 66] = wrong
    with pytest.raises(ValueError, match=rf"^codes: expected one of .* index \({rows - 1}, 66\)$"):
        codes_matmul(codes, matrix, grid)
    for other in (codes[0], codes[:, 1:], np.ones((1, 70), int), None):
        with pytest.raises((TypeError, ValueError), match=r"^codes: expected"):
            codes_matmul(other, matrix, grid)
    with pytest.raises(TypeError, match=r"^matrix: expected"):
        codes_matmul(codes, matrix.panels, grid)
