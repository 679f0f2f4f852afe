"""Exact product of small integers times +-1 by bit planes: equation (7) of the paper.

A layer's integers lie on a grid (`qnn_ref.grid`), whose bit planes are read as signs beta_a:

    code = (step sum_a 2^a beta_a + offset) / 2

So a product with weights w of +-1 needs only binary products, one a plane:

    code . w = (step sum_a 2^a Xnor(beta_a, w) + offset sum w) / 2

For the odd integers -255, -253, ..., 255 that stand for pixels, the second term vanishes:
code . w = sum_a 2^a Xnor(beta_a, w). That is the loop of Algorithm 5 as printed, both operands
+-1. The paper counts its planes from 1, we count from 0.
"""

# mypy: allow-untyped-defs

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qnn_ref._typing import Array, Ints, Words
from qnn_ref.bits.gemm import run_panels, xnor_matmul_reference
from qnn_ref.bits.operands import check_sums, read_only
from qnn_ref.bits.panels import Panels, as_panels
from qnn_ref.bits.popcount import popcount
from qnn_ref.bits.threads import threads_for
from qnn_ref.bits.words import check_words, pack_bits_reference, words_for
from qnn_ref.checks import as_array, check_array, whole
from qnn_ref.compiled import parallel_kernel, prange
from qnn_ref.grid import Grid, check_grid


def _check_levels(levels: Any, P: int) -> int:
    """Refuse what is no array of levels of P bits; return P as an integer of Python."""
    if not isinstance(levels, np.ndarray) or levels.dtype.kind != "u":
        kind = getattr(levels, "dtype", type(levels).__name__)
        raise TypeError(f"levels: expected an array of unsigned integers, got {kind}")
    if levels.ndim == 0:
        raise ValueError("levels: expected shape (..., K), got ()")
    P, width = whole("P", P), 8 * levels.dtype.itemsize
    if not 1 <= P <= width:
        raise ValueError(f"P: expected 1 to {width} planes for {levels.dtype}, got {P}")
    if width > P and np.any(levels >> levels.dtype.type(P)):
        raise ValueError(f"levels: expected less than 2^{P} = {2**P}, got {levels.max()}")
    return P


def pack_levels_reference(levels: Array, P: int) -> Words:
    """Split levels into bit planes with NumPy: the twin of `pack_levels`.

    Parameters, Returns: as `pack_levels`.
    """
    P = _check_levels(levels, P)
    kind = levels.dtype.type
    return np.stack([pack_bits_reference(levels >> kind(a) & kind(1) != 0) for a in range(P)])


@parallel_kernel
def _split_rows(levels, planes):
    """Write bit a of levels[m, k] as bit k of row m of plane a."""
    P, M, W = planes.shape
    K = levels.shape[1]
    for m in prange(M):
        for w in range(W):
            for a in range(P):
                word = np.uint64(0)
                for bit in range(min(64, K - 64 * w)):
                    word |= (np.uint64(levels[m, 64 * w + bit]) >> np.uint64(a) & np.uint64(1)) << (
                        np.uint64(bit)
                    )
                planes[a, m, w] = word


def pack_levels(levels: Array, P: int) -> Words:
    """Split levels into bit planes.

    levels[..., k] = sum_a 2^a B_a[..., k]; plane a packs the bits B_a

    Parameters
    ----------
    levels : array (..., K) of unsigned integers
        Numbers from 0 to 2^P - 1; bytes need no conversion.
    P : int
        Number of planes, >= 1.

    Returns
    -------
    array (P, ..., ceil(K / 64)) of uint64
        Planes, least significant first; each is packed as `bits.words` describes.

    Raises
    ------
    TypeError
        If the dtype is not an unsigned integer.
    ValueError
        If a level needs more than P bits, or `levels` has no axis.

    References
    ----------
    Eq. (7).
    """
    P = _check_levels(levels, P)
    *leading, K = levels.shape
    rows = math.prod(leading)
    planes = np.empty((P, rows, words_for(K)), np.uint64)
    flat = np.ascontiguousarray(levels).reshape(rows, K)
    if not flat.dtype.isnative:
        flat = flat.astype(levels.dtype.newbyteorder("="))
    _split_rows(read_only(flat), planes)
    return planes.reshape(P, *leading, words_for(K))


def pixel_planes(images: NDArray[np.uint8]) -> Words:
    """Split 8-bit pixels into their eight bit planes, straight from the bytes.

    The same planes as ``to_planes(2 p - 255, PIXELS)``: the level of the odd integer
    2 p - 255 is the pixel p itself.

    Parameters
    ----------
    images : array (..., K) of uint8
        Pixels; for an image, K is the last axis (flatten it first for a dense layer).

    Returns
    -------
    array (8, ..., ceil(K / 64)) of uint64
        Planes of the grid `PIXELS`, for `planes_matmul`.

    Raises
    ------
    TypeError
        If the dtype is not uint8.
    ValueError
        If `images` has no axis.

    References
    ----------
    Eq. (7); Algorithm 5, first layer.
    """
    check_array("images", images, (np.dtype(np.uint8),), ("...", "K"))
    return pack_levels(images, 8)


def to_planes_reference(codes: ArrayLike, grid: Grid) -> Words:
    """Split integers of a grid into bit planes with NumPy: the twin of `to_planes`.

    Parameters, Returns: as `to_planes`.
    """
    (low, high, step), P = check_grid(grid), grid.planes
    array = _check_codes(codes, grid)
    with np.errstate(invalid="ignore"):  # NaN and infinity become some integer: unequal, refused
        whole = array.astype(np.int64)
    wrong = (whole != array) | (whole < low) | (whole > high) | ((whole - low) % step != 0)
    if wrong.any():
        place = tuple(int(i) for i in np.argwhere(wrong)[0])
        raise ValueError(f"codes: expected one of {grid}; got {array[place]} at index {place}")
    return pack_levels_reference(((whole - low) // step).astype(np.uint32), P)


def _check_codes(codes: ArrayLike, grid: Grid) -> Array:
    """Codes as an array of numbers with an axis; whether they are on the grid is seen later."""
    if grid.largest >= 2**62:
        raise ValueError(f"grid: expected codes below 2^62, got {grid}")
    array = as_array("codes", codes)
    if array.dtype.kind not in "iuf":
        raise TypeError(f"codes: expected whole numbers, got dtype {array.dtype}")
    if array.ndim == 0:
        raise ValueError("codes: expected shape (..., K), got ()")
    return array


@parallel_kernel
def _split_codes(codes, low, step, levels, planes, wrong):
    """Write bit a of the level of codes[m, k] as bit k of row m of plane a; note what is no code.

    Codes of at most 2^24 and their levels are exact in float32, so also in the float64 used here.
    """
    P, M, W = planes.shape
    K = codes.shape[1]
    for m in prange(M):
        bad = np.int64(0)
        level = np.zeros(64, np.uint32)
        for w in range(W):
            count = min(64, K - 64 * w)
            for bit in range(count):
                exact = (np.float64(codes[m, 64 * w + bit]) - low) / step
                inside = exact >= 0.0 and exact < levels  # NaN is not
                number = np.uint32(exact) if inside else np.uint32(0)
                bad += np.int64(np.float64(number) != exact)
                level[bit] = number
            for a in range(P):
                word = np.uint64(0)
                for bit in range(count):
                    word |= (np.uint64(level[bit]) >> np.uint64(a) & np.uint64(1)) << np.uint64(bit)
                planes[a, m, w] = word
        wrong[m] = bad


FAST_CODES = (np.dtype(np.float32), np.dtype(np.float64), np.dtype(np.int32))
"""Types of codes that the kernel reads: those of layers, and of packed networks."""


def to_planes(codes: ArrayLike, grid: Grid) -> Words:
    """Split integers of a grid into bit planes.

    level = (code - low) / step = sum_a 2^a B_a, with P bits for the largest level

    Parameters
    ----------
    codes : array (..., K) of numbers
        Integers of the grid, in an integer or a real dtype.
    grid : Grid
        What they are numbers of; at most 2^32 levels.

    Returns
    -------
    array (P, ..., ceil(K / 64)) of uint64
        Planes, least significant first; each is packed as `bits.words` describes.

    Raises
    ------
    TypeError
        If `codes` holds no numbers, or `grid` is no Grid.
    ValueError
        If a code is not on the grid (NaN and infinities included), or it has too many levels.

    References
    ----------
    Eq. (7), for any grid of integers.
    """
    (low, high, step), P = check_grid(grid), grid.planes
    array = _check_codes(codes, grid)
    if array.dtype not in FAST_CODES or grid.largest >= 2**24:
        return to_planes_reference(array, grid)
    *leading, K = array.shape
    rows = int(np.prod(leading))
    flat = np.ascontiguousarray(array).reshape(rows, K).view()
    flat.flags.writeable = False
    planes, wrong = np.empty((P, rows, words_for(K)), np.uint64), np.zeros(rows, np.int64)
    with threads_for(rows * K * P / 2):
        _split_codes(flat, float(low), float(step), float((high - low) // step + 1), planes, wrong)
    if wrong.any():
        return to_planes_reference(array, grid)  # which says where
    return planes.reshape(P, *leading, words_for(K))


def planes_matmul_reference(planes: Words, b: Words, K: int, grid: Grid) -> Ints:
    """Multiply integers by +-1 with NumPy, one binary product a plane: the twin of `planes_matmul`.

    Parameters, Returns: as `planes_matmul`.
    """
    check_words("planes", planes, K, ndim=3)
    check_words("b", b, K, ndim=2)
    check_grid(grid).check_planes("planes", planes)
    weighted = np.zeros((planes.shape[1], len(b)), np.int64)
    for a in range(grid.planes):
        weighted += 2**a * xnor_matmul_reference(planes[a], b, K).astype(np.int64)
    sum_w = 2 * popcount(b).sum(axis=1).astype(np.int64) - K
    return ((grid.step * weighted + grid.offset * sum_w) // 2).astype(np.int32)


def planes_matmul(
    planes: Words, b: Words | Panels, K: int, grid: Grid, out: Ints | None = None
) -> Ints:
    """Multiply integers of a grid by weights +-1, exactly.

    out[m, n] = sum_k code[m, k] w[n, k]
              = (step sum_a 2^a Xnor(beta_a[m], w[n]) + offset sum_k w[n, k]) / 2

    All planes of a row run through the kernel of `xnor_matmul` in one go.

    Parameters
    ----------
    planes : array (P, M, ceil(K / 64)) of uint64
        Bit planes of the integers, least significant first (`to_planes`, `pixel_planes`).
    b : array (N, ceil(K / 64)) of uint64, or Panels
        Weights +-1, packed along fan_in; weights that are used many times are rearranged once
        by `to_panels`.
    K : int
        Number of weights of an output (fan_in), without padding.
    grid : Grid
        Of the integers: `PIXELS` for `pixel_planes`.
    out : array (M, N) of int32, optional
        C-contiguous array that receives the result; new by default.

    Returns
    -------
    array (M, N) of int32
        Exact sums; all 0 if K = 0.

    Raises
    ------
    TypeError
        If an operand is not an array of uint64, or `grid` is no Grid.
    ValueError
        If the shapes do not fit K or the grid, a padding bit is set, `out` does not fit, or
        K times the largest code reaches 2^31: then a sum might not fit in int32.

    References
    ----------
    Eq. (7) in the form of Algorithm 5, extended to any grid of integers.
    """
    check_words("planes", planes, K, ndim=3)
    check_grid(grid).check_planes("planes", planes)
    panels = as_panels(b, K)
    check_sums("K", panels.K, grid.largest)
    return run_panels(planes, panels, without_differences(panels, grid), grid.step, out)


def without_differences(panels: Panels, grid: Grid) -> NDArray[np.int64]:
    """Sums (N,) where no bit of the planes differs from that of the weights.

    The kernel counts differences c_a. With Xnor = K - 2 c_a and K + sum w = 2 (weights +1), the
    product is low sum w + step ((2^P - 1) (weights +1) - sum_a 2^a c_a).
    """
    sum_w = 2 * panels.plus - panels.K
    return grid.low * sum_w + grid.step * (2**grid.planes - 1) * panels.plus
