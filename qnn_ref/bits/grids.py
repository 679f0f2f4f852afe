"""Products of integers of two grids, codes times weights, by the planes of both (section 3).

With the planes of both factors read as signs,

    code = (s sum_a 2^a beta_a + o) / 2        weight = (t sum_b 2^b gamma_b + u) / 2

a sum of K products is

    (s t sum_ab 2^(a + b) Xnor_ab + s u sum_a 2^a S_a + o t sum_b 2^b T_b + K o u) / 4

with S_a the sum of the signs of a row's plane, and T_b that of a column's. The binary products of
all pairs of planes are one call of the XNOR kernel: the planes of the weights stand side by side.

Over 400 lines: the product of many rows and that of a few, each with its twin.
"""

# mypy: allow-untyped-defs

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from qnn_ref._typing import Array, Ints, Words
from qnn_ref.bits.gemm import xnor_matmul
from qnn_ref.bits.lanes import LANES, load, spread, store
from qnn_ref.bits.operands import check_sums, read_only
from qnn_ref.bits.panels import PANEL, Panels, both_ways, to_panels
from qnn_ref.bits.planes import planes_matmul, to_planes, to_planes_reference
from qnn_ref.bits.popcount import popcount
from qnn_ref.bits.threads import threads_for
from qnn_ref.bits.words import check_words, unpack
from qnn_ref.checks import FLOATS, check_array, instance, whole
from qnn_ref.compiled import numba, parallel_kernel, prange, serial_kernel
from qnn_ref.grid import Grid, check_grid

FEW_ROWS = 4
"""Rows below which the planes of a row take the places of rows in the kernel's tiles of four."""


@dataclass(frozen=True, eq=False)
class GridMatrix:
    """A matrix (K, N) of integers of a grid as bits: the columns of all its planes side by side.

    Parameters
    ----------
    panels : Panels
        P N columns: those of the first plane, then those of the next.
    grid : Grid
        With P planes.
    """

    panels: Panels
    grid: Grid

    def __post_init__(self) -> None:
        """Refuse columns that are not those of all planes."""
        instance("panels", self.panels, Panels)
        check_grid(self.grid)
        if self.panels.N % self.grid.planes or self.panels.gaps:
            raise ValueError(
                f"panels: expected the columns of {self.grid.planes} planes without gaps, got "
                f"{self.panels.N}"
            )

    def __repr__(self) -> str:
        K, N = self.shape
        return f"<GridMatrix: {K} x {N} integers {self.grid}>"

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of the matrix."""
        return self.panels.K, self.panels.N // self.grid.planes

    @cached_property
    def lines(self) -> Panels:
        """The columns in panels only, for rows that are planes."""
        return Panels(self.panels.words, self.panels.N, self.panels.K)

    @cached_property
    def right(self) -> NDArray[np.int64]:
        """t 2^b of each plane, (P,)."""
        return self.grid.step * 2 ** np.arange(self.grid.planes, dtype=np.int64)

    @cached_property
    def column_sums(self) -> NDArray[np.int64]:
        """t sum_b 2^b T_b of each column, (N,)."""
        signs = (2 * self.panels.plus - self.panels.K).reshape(self.grid.planes, self.shape[1])
        return self.right @ signs


def grid_matrix(words: Words, K: int, grid: Grid) -> GridMatrix:
    """Arrange the planes of packed weights (P, N, words), each packed along its K inputs."""
    check_words("words", words, K, ndim=3)
    check_grid(grid).check_planes("words", words)
    return GridMatrix(to_panels(words.reshape(-1, words.shape[2]), K), grid)


def pack_grid_matrix(codes: Array, grid: Grid) -> GridMatrix:
    """Pack a matrix (K, N) of codes; an error names the first that is not on the grid."""
    check_array("codes", codes, (np.dtype(np.float32), np.dtype(np.float64)), ("K", "N"))
    turned = [both_ways(plane, codes.shape[1]).columns for plane in to_planes(codes, grid)]
    words = np.concatenate([panels.to_words() for panels in turned])
    return GridMatrix(to_panels(words, codes.shape[0]), grid)


def join_pairs_reference(
    products: Ints,
    left: NDArray[np.int64],
    right: NDArray[np.int64],
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
    shift: int,
) -> Ints:
    """Add the binary products of all pairs of planes with NumPy: the twin of `join_pairs`.

    Parameters, Returns: as `join_pairs`.
    """
    _check_join(products, left, right, rows, columns)
    total = np.einsum("ambn,a,b->mn", products.astype(np.int64), left, right)
    return ((total + rows[:, None] + columns) >> shift).astype(np.int32)


def _check_join(products, left, right, rows, columns):
    check_array("products", products, (np.dtype(np.int32),), ("A", "M", "B", "N"))
    A, M, B, N = products.shape
    for name, array, size in (
        ("left", left, A),
        ("right", right, B),
        ("rows", rows, M),
        ("columns", columns, N),
    ):
        check_array(name, array, (np.dtype(np.int64),), (size,))


@parallel_kernel
def _join_pairs(products, left, right, rows, columns, shift, out):
    A, M, B, N = products.shape
    for m in prange(M):
        total = np.empty(N, np.int64)
        for n in range(N):
            total[n] = columns[n] + rows[m]
        for a in range(A):
            for b in range(B):
                factor = left[a] * right[b]
                line = products[a, m, b]
                for n in range(N):
                    total[n] += factor * np.int64(line[n])
        for n in range(N):
            out[m, n] = np.int32(total[n] >> shift)


def join_pairs(
    products: Ints,
    left: NDArray[np.int64],
    right: NDArray[np.int64],
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
    shift: int,
) -> Ints:
    """Add the binary products of all pairs of planes.

    out = (sum_ab left[a] right[b] products[a, :, b, :] + rows + columns) / 2^shift

    Parameters
    ----------
    products : array (A, M, B, N) of int32
    left : array (A,) of int64
        Weights of the planes of rows.
    right : array (B,) of int64
        Weights of the planes of columns.
    rows : array (M,) of int64
    columns : array (N,) of int64
    shift : int
        From 0 to 2; the sum is a multiple of 2^shift.

    Returns
    -------
    array (M, N) of int32
        Exact sums, if they fit.

    References
    ----------
    Section 3, products by planes of both factors.
    """
    _check_join(products, left, right, rows, columns)
    shift = whole("shift", shift, 0, 2)
    out = np.empty((products.shape[1], products.shape[3]), np.int32)
    with threads_for(products.size / 2):
        _join_pairs(
            np.ascontiguousarray(products), left, right, rows, columns, np.int64(shift), out
        )
    return out


def grids_matmul_reference(planes: Words, matrix: GridMatrix, grid: Grid) -> Ints:
    """Multiply the integers themselves with NumPy: the twin of `grids_matmul`.

    Parameters, Returns: as `grids_matmul`.
    """
    K, N = matrix.shape
    check_words("planes", planes, K, ndim=3)
    columns = matrix.panels.to_words().reshape(matrix.grid.planes, N, planes.shape[2])
    left, right = (
        g.low + g.step * sum(2**a * (unpack(plane, K, np.int64) > 0) for a, plane in enumerate(p))
        for g, p in ((check_grid(grid), planes), (matrix.grid, columns))
    )
    return (left @ right.T).astype(np.int32)


def grids_matmul(planes: Words, matrix: GridMatrix, grid: Grid) -> Ints:
    """Multiply integers of a grid with a matrix of integers of another, exactly.

    Parameters
    ----------
    planes : array (P, M, ceil(K / 64)) of uint64
        Bit planes of the rows (`to_planes`).
    matrix : GridMatrix (K, N)
    grid : Grid
        Of the rows.

    Returns
    -------
    array (M, N) of int32
        Exact sums.

    Raises
    ------
    TypeError
        If an operand is of another kind.
    ValueError
        If the shapes do not fit each other, or a sum might not fit in int32.

    References
    ----------
    Section 3: k-bit by l-bit products take k l runs of the binary kernel.
    """
    instance("matrix", matrix, GridMatrix)
    (K, N), weights = matrix.shape, matrix.grid
    check_words("planes", planes, K, ndim=3)
    check_grid(grid).check_planes("planes", planes)
    check_sums("K", K, grid.largest * weights.largest)
    P, M, B = grid.planes, planes.shape[1], weights.planes
    right = matrix.right
    powers = grid.step * 2 ** np.arange(P, dtype=np.int64)
    rows = np.zeros(M, np.int64)
    if weights.offset:  # u times twice the sum of a row's codes
        signs = 2 * popcount(planes).sum(axis=2).astype(np.int64) - K
        rows = weights.offset * (powers @ signs + K * grid.offset)
    if M >= FEW_ROWS:  # the kernel adds the planes of the rows
        products = planes_matmul(planes, matrix.panels, K, grid).reshape(1, M, B, N)
        one, none = np.ones(1, np.int64), np.zeros(N, np.int64)
        return join_pairs(products, one, right, rows >> 1, none, 1)
    lines = np.ascontiguousarray(planes).reshape(P * M, planes.shape[2])
    products = xnor_matmul(lines, matrix.lines, K).reshape(P, M, B, N)
    columns = grid.offset * matrix.column_sums
    return join_pairs(products, powers, right, rows, columns, 2)


def codes_matmul_reference(codes: Array, matrix: GridMatrix, grid: Grid) -> Ints:
    """Multiply the integers themselves with NumPy: the twin of `codes_matmul`.

    Parameters, Returns: as `codes_matmul`.
    """
    instance("matrix", matrix, GridMatrix)
    check_array("codes", codes, FLOATS, ("M", matrix.shape[0]))
    return grids_matmul_reference(to_planes_reference(codes, grid), matrix, grid)


@serial_kernel
def _split_row(row, low, inverse, levels, planes):
    """Write the planes of one row of codes; return how many are none, and the sum of levels."""
    A, W = planes.shape
    wrong, total = np.int64(0), np.int64(0)
    level = np.zeros(64, np.int64)
    for w in range(W):
        count = min(64, row.size - 64 * w)
        for bit in range(count):
            exact = (np.float64(row[64 * w + bit]) - low) * inverse
            inside = exact >= 0.0 and exact < levels  # NaN is not
            number = np.int64(exact) if inside else np.int64(0)
            wrong += np.int64(np.float64(number) != exact)
            level[bit] = number
            total += number
        for a in range(A):
            word = np.uint64(0)
            for bit in range(count):
                word |= (np.uint64(level[bit]) >> np.uint64(a) & np.uint64(1)) << np.uint64(bit)
            planes[a, w] = word
    return wrong, total


@serial_kernel
def _count_planes(a, starts, b, start, W):
    """Count what four planes of a row differ from 16 columns: the tile of `vector_tiles`.

    It stands here once more, since a cached kernel sees no change in another file.
    """
    r0, r1, r2, r3 = starts
    zero = spread(np.uint64(0))
    p0, q0, p1, q1, p2, q2, p3, q3 = zero, zero, zero, zero, zero, zero, zero, zero
    for w in range(W):
        left = load(b, start + PANEL * w)
        right = load(b, start + PANEL * w + LANES)
        x = spread(a[r0 + w])
        p0 += popcount(x ^ left)
        q0 += popcount(x ^ right)
        x = spread(a[r1 + w])
        p1 += popcount(x ^ left)
        q1 += popcount(x ^ right)
        x = spread(a[r2 + w])
        p2 += popcount(x ^ left)
        q2 += popcount(x ^ right)
        x = spread(a[r3 + w])
        p3 += popcount(x ^ left)
        q3 += popcount(x ^ right)
    return p0, q0, p1, q1, p2, q2, p3, q3


@serial_kernel
def _few_codes(codes, low, step, levels, planes, panels, differ, numbers, columns, out):
    """Rows one after the other; the planes of a row are the rows of the kernel's tiles."""
    A, W = planes.shape
    scale, weight_step, weight_offset, K, offset, B = numbers
    a, b = planes.reshape(-1), panels.reshape(-1)
    N = out.shape[1]
    for m in range(codes.shape[0]):
        wrong, total = _split_row(codes[m], low, 1.0 / step, levels, planes)
        if wrong:
            return m
        for p in range(panels.shape[0]):
            left = PANEL * p
            zero = spread(np.uint64(0))
            sum0, sum1 = zero, zero
            for top in range((A - 1) // 4 * 4, -1, -4):
                last = min(4, A - top) - 1
                starts = (
                    top * W,
                    (top + min(1, last)) * W,
                    (top + min(2, last)) * W,
                    (top + last) * W,
                )
                p0, q0, p1, q1, p2, q2, p3, q3 = _count_planes(a, starts, b, left * W, W)
                if last > 2:
                    sum0, sum1 = sum0 + sum0 + p3, sum1 + sum1 + q3
                if last > 1:
                    sum0, sum1 = sum0 + sum0 + p2, sum1 + sum1 + q2
                if last > 0:
                    sum0, sum1 = sum0 + sum0 + p1, sum1 + sum1 + q1
                sum0, sum1 = sum0 + sum0 + p0, sum1 + sum1 + q0
            store(differ, left, sum0)
            store(differ, left + LANES, sum1)
        # Twice the sum of the codes, and what all products would be without a difference.
        codes_sum = 2 * np.int64(low) * K + 2 * np.int64(step) * total
        same = scale * weight_step * ((1 << A) - 1) * K * ((1 << B) - 1)
        base = same + weight_offset * codes_sum
        for n in range(N):
            weighted = np.int64(0)
            for plane in range(B - 1, -1, -1):
                weighted = 2 * weighted + np.int64(differ[plane * N + n])
            value = base + offset * columns[n] - 2 * scale * weight_step * weighted
            out[m, n] = np.int32(value >> 2)
    return -1


def codes_matmul(codes: Array, matrix: GridMatrix, grid: Grid) -> Ints:
    """Multiply codes of a grid with a matrix of integers of another, exactly.

    A few rows, as one text that is written has, take one call of a kernel that packs, multiplies
    and adds; many rows take those of `to_planes` and `grids_matmul`, which is its twin.

    Parameters
    ----------
    codes : array (M, K) of float32 or float64
    matrix : GridMatrix (K, N)
    grid : Grid
        Of the codes.

    Returns
    -------
    array (M, N) of int32
        Exact sums.

    Raises
    ------
    TypeError
        If an operand is of another kind.
    ValueError
        If the shapes do not fit each other, a code is not on the grid, or a sum might not fit in
        int32.

    References
    ----------
    Section 3: k-bit by l-bit products take k l runs of the binary kernel.
    """
    instance("matrix", matrix, GridMatrix)
    (K, N), weights = matrix.shape, matrix.grid
    check_array("codes", codes, FLOATS, ("M", K))
    check_sums("K", K, check_grid(grid).largest * weights.largest)
    plain = grid.largest >= 2**24 or grid.step not in (1, 2)  # 1 / step is exact
    if plain or len(codes) >= FEW_ROWS or numba.config.DISABLE_JIT:
        return grids_matmul(to_planes(codes, grid), matrix, grid)
    out = np.empty((len(codes), N), np.int32)
    panels = matrix.panels.words
    numbers = grid.step, weights.step, weights.offset, K, grid.offset, weights.planes
    wrong = _few_codes(
        read_only(codes),
        float(grid.low),
        float(grid.step),
        float((grid.high - grid.low) // grid.step + 1),
        np.empty((grid.planes, panels.shape[1]), np.uint64),
        read_only(panels),
        np.empty(len(panels) * PANEL, np.uint64),
        numbers,
        matrix.column_sums,
        out,
    )
    if wrong >= 0:
        to_planes_reference(codes, grid)  # says where
    return out
