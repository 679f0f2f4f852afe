"""Pixels times +-1 by looking sums up: equal to eight bit planes, with less work on most CPUs.

Eight bit planes cost eight binary products. Four pixels have only 16 subset sums, though, and four
weight bits name one of them: a table of 16 sums replaces four multiplications, or 32 XNORs and
their popcounts, by one addition. The packed words of the weights are the index as they are.

The kernel takes 64 images at a time, so that a table entry is a row of 64 numbers and the addition
a few vector instructions that every CPU has.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

from qnn_ref.bits.gemm import INT32_END, check_out
from qnn_ref.bits.planes import pixel_planes, planes_matmul_reference
from qnn_ref.bits.popcount import popcount
from qnn_ref.bits.words import check_words

LANES = 64
"""Images that share a table."""

OUTPUTS = 512
"""Outputs of a pass: the 16 KB of tables, filled once a pass, must earn their cost back."""


def pixels_matmul_reference(
    images: NDArray[np.uint8], b: NDArray[np.uint64], K: int
) -> NDArray[np.int32]:
    """Multiply pixels by +-1 as Algorithm 5 prints it: the twin of `pixels_matmul`.

    out[m, n] = sum_a 2^a Xnor(plane a of image m, w[n]) = sum_k (2 p[m, k] - 255) w[n, k]

    Parameters
    ----------
    images : array of uint8, shape (M, K)
        Pixels p.
    b : array of uint64, shape (N, ceil(K / 64))
        Weights +-1, packed along fan_in.
    K : int
        Pixels of an image.

    Returns
    -------
    array of int32, shape (M, N)
        Exact sums.

    Source
    ------
    Eq. (7); Algorithm 5, first loop.
    """
    return planes_matmul_reference(pixel_planes(images), b, K, -255, 255, 2)


@njit(cache=True)
def _fill_tables(tables, pixels):  # type: ignore[no-untyped-def]
    """Table g, entry e: sum of those of the four pixels 4 g + i whose bit i of e is set.

    Both arrays are flat, and indices unsigned, for the sake of the compiler, as in `_add_sums`.
    """
    lanes = np.uint64(LANES)
    for g in range(8):
        for i in range(4):
            pixel = np.uint64(4 * g + i) * lanes
            for e in range(1 << i):
                without = np.uint64(16 * g + e) * lanes
                with_it = np.uint64(16 * g + (1 << i) + e) * lanes
                for lane in range(LANES):
                    m = np.uint64(lane)
                    tables[with_it + m] = np.int16(tables[without + m] + pixels[pixel + m])


@njit(cache=True)
def _add_sums(sums, tables, halves):  # type: ignore[no-untyped-def]
    """Add to row n of `sums` the table entries that the 32 weight bits of output n name.

    Both arrays are flat and indices unsigned: fewer checks before the vector additions. Two
    tables a turn, because the compiler asks for each whether it overlaps the sums.
    """
    four_bits, lanes = np.uint64(15), np.uint64(LANES)
    table = np.uint64(16 * LANES)
    for n in range(halves.size):
        bits = np.uint64(halves[n])
        row = np.uint64(n) * lanes
        for turn in range(4):
            first = np.uint64(2 * turn) * table + (bits & four_bits) * lanes
            second = np.uint64(2 * turn + 1) * table + (bits >> np.uint64(4) & four_bits) * lanes
            for lane in range(LANES):
                m = np.uint64(lane)
                sums[row + m] += np.int16(tables[first + m] + tables[second + m])
            bits = bits >> np.uint64(8)


@njit(cache=True, parallel=True)
def _lookup_kernel(images, halves, base, out):  # type: ignore[no-untyped-def]
    """Write base + 4 (sum of the pixels at weights +1) - 2 (sum of all pixels)."""
    M, K = images.shape
    H, N = halves.shape
    for block in prange((M + LANES - 1) // LANES):
        top = block * LANES
        rows = min(LANES, M - top)
        pixels = np.zeros((32 * H, LANES), np.int16)
        all_pixels = np.zeros(LANES, np.int32)
        for m in range(rows):
            for k in range(K):
                pixels[k, m] = images[top + m, k]
                all_pixels[m] += np.int32(images[top + m, k])
        tables = np.zeros((8, 16, LANES), np.int16)
        sums = np.zeros((OUTPUTS, LANES), np.int16)
        total = np.zeros((OUTPUTS, LANES), np.int32)
        for left in range(0, N, OUTPUTS):
            width = min(OUTPUTS, N - left)
            total[:] = 0
            for h in range(H):
                _fill_tables(tables.reshape(-1), pixels[32 * h : 32 * h + 32].reshape(-1))
                _add_sums(sums.reshape(-1), tables.reshape(-1), halves[h, left : left + width])
                # 32 pixels give at most 8,160: 16 bits hold four turns.
                if h % 4 == 3 or h == H - 1:
                    for n in range(width):
                        for m in range(LANES):
                            total[n, m] += np.int32(sums[n, m])
                            sums[n, m] = 0
            for m in range(rows):
                for n in range(width):
                    twice = np.int32(2) * total[n, m] - all_pixels[m]
                    out[top + m, left + n] = base[left + n] + np.int32(2) * twice


def pixels_matmul(
    images: NDArray[np.uint8],
    b: NDArray[np.uint64],
    K: int,
    out: NDArray[np.int32] | None = None,
) -> NDArray[np.int32]:
    """Multiply pixels, as the odd integers 2 p - 255, by weights +-1, exactly.

    With S+ the sum of an image's pixels at weights +1 and S the sum of all its pixels,
    p . w = 2 S+ - S, hence (2 p - 255) . w = 4 S+ - 2 S - 255 sum w.

    Parameters
    ----------
    images : array of uint8, shape (M, K)
        Pixels p.
    b : array of uint64, shape (N, ceil(K / 64))
        Weights +-1, packed along fan_in.
    K : int
        Pixels of an image.
    out : array of int32, shape (M, N), optional
        C-contiguous array that receives the result; new by default.

    Returns
    -------
    array of int32, shape (M, N)
        Exact sums; all 0 if K = 0.

    Raises
    ------
    TypeError
        If `images` is not uint8 or `b` not uint64.
    ValueError
        If the shapes do not fit K, a padding bit is set, `out` does not fit, or 1020 K reaches
        2^31: then a sum on the way might not fit in int32.

    Source
    ------
    Eq. (7), computed by table lookup instead of bit planes.
    """
    if not isinstance(images, np.ndarray) or images.dtype != np.uint8:
        got = images.dtype if isinstance(images, np.ndarray) else type(images).__name__
        raise TypeError(f"images: expected an array of uint8, got {got}")
    if images.ndim != 2 or images.shape[1] != K:
        raise ValueError(f"images: expected shape (M, {K}), got {images.shape}")
    check_words("b", b, K, ndim=2)
    if 4 * 255 * K >= INT32_END:
        raise ValueError(f"K: expected 1020 K below 2^31, so that sums fit in int32, got {K}")
    shape = (len(images), len(b))
    if out is None:
        out = np.empty(shape, np.int32)
    else:
        check_out(out, shape)
    sum_w = 2 * popcount(b).sum(axis=1).astype(np.int64) - K
    base = (-255 * sum_w).astype(np.int32)
    _lookup_kernel(np.ascontiguousarray(images), _half_words(b), base, out)
    return out


def _half_words(b: NDArray[np.uint64]) -> NDArray[Any]:
    """Low and high halves of the words as uint32, (2 words, N): a row for 32 neighbours."""
    halves = np.stack([b & np.uint64(0xFFFFFFFF), b >> np.uint64(32)], axis=2)
    return np.ascontiguousarray(halves.astype(np.uint32).reshape(len(b), 2 * b.shape[1]).T)
