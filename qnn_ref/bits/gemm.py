"""Product of two matrices of +1 and -1 that are stored as bits.

Two factors of +-1 agree or differ, and their product is +1 or -1 accordingly. So a dot product
of K pairs is (pairs that agree) - (pairs that differ) = K - 2 (pairs that differ), and XOR marks
the pairs that differ, 64 at a time.

`xnor_matmul_reference` says this in NumPy. `xnor_matmul` computes the same integers with one
compiled kernel, which `bits.planes` calls too: a +-1 matrix is a matrix of one bit plane.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

from qnn_ref.bits.popcount import popcount
from qnn_ref.bits.words import check_words

PANEL = 64
"""Columns in a panel of weights: enough for whole vectors, few enough to stay in the L1 cache."""

ROWS = 16
"""Rows in a task of the kernel: enough to use a panel often while it is in the cache."""

INT32_END = 2**31


@dataclass(frozen=True, eq=False)
class Panels:
    """Weights in the order in which the kernel reads them. Made by `to_panels`, once.

    Parameters
    ----------
    words : array of uint64, shape (ceil(N / 64), ceil(K / 64), 64)
        ``words[p, w, j]`` is word w of column 64 p + j; columns beyond N are zero.
    plus : array of int64, shape (N,)
        Number of weights +1 in each column.
    K : int
        Number of weights in a column (fan_in).
    """

    words: NDArray[np.uint64]
    plus: NDArray[np.int64]
    K: int

    @property
    def N(self) -> int:
        """Number of columns."""
        return len(self.plus)


def to_panels(b: NDArray[np.uint64], K: int) -> Panels:
    """Rearrange packed weights for the kernel.

    Vector instructions take one word of eight columns at a time, so word w of neighbouring
    columns must be neighbours in memory: 64 columns make a panel, and a panel is stored word by
    word.

    Parameters
    ----------
    b : array of uint64, shape (N, ceil(K / 64))
        Weights packed along fan_in: row n holds the K weights of output n.
    K : int
        Number of weights of an output (fan_in).

    Returns
    -------
    Panels
        The same weights; `xnor_matmul` and `planes_matmul` accept them in place of `b`.

    Raises
    ------
    TypeError
        If `b` is not an array of uint64.
    ValueError
        If its shape does not fit K, or a padding bit is set.

    Source
    ------
    Not in the paper: a layout for speed.
    """
    check_words("b", b, K, ndim=2)
    return arrange_panels(b, K)


def arrange_panels(b: NDArray[np.uint64], K: int) -> Panels:
    """Rearrange words whose bits may have gaps, all zero: `to_panels` without its checks.

    Parameters
    ----------
    b : array of uint64, shape (N, W)
        Weights. Bits that stand for no weight are zero, as they are in the left operand.
    K : int
        Number of weights of an output: 64 W or less.

    Returns
    -------
    Panels
        The same weights, W words a column.

    Source
    ------
    Not in the paper: a layout for speed.
    """
    N, W = b.shape
    count = -(-N // PANEL)
    words = _aligned_zeros((count, W, PANEL))
    for p in range(count):
        columns = b[p * PANEL : (p + 1) * PANEL]
        words[p, :, : len(columns)] = columns.T
    plus = popcount(b).sum(axis=1).astype(np.int64)
    return Panels(words, plus, int(K))


def _aligned_zeros(shape: tuple[int, ...]) -> NDArray[np.uint64]:
    """Zeros that start at a multiple of 64 bytes, so that no vector load crosses a cache line."""
    size = int(np.prod(shape))
    room = np.zeros(size + 7, np.uint64)
    start = -room.ctypes.data // 8 % 8
    return room[start : start + size].reshape(shape)


def xnor_matmul_reference(
    a: NDArray[np.uint64], b: NDArray[np.uint64], K: int
) -> NDArray[np.int32]:
    """Multiply +-1 matrices with NumPy: the twin of `xnor_matmul`.

    Parameters
    ----------
    a : array of uint64, shape (M, ceil(K / 64))
        Left matrix, packed along its rows.
    b : array of uint64, shape (N, ceil(K / 64))
        Right matrix, packed along its columns.
    K : int
        Number of elements of a row of `a` and of a column of the right matrix.

    Returns
    -------
    array of int32, shape (M, N)
        Dot products, from -K to K.

    Source
    ------
    Eq. (8); section 6.
    """
    out = np.empty((len(a), len(b)), np.int32)
    for m, row in enumerate(a):
        differ = popcount(row ^ b).sum(axis=1)
        out[m] = K - 2 * differ.astype(np.int64)  # signed before the subtraction
    return out


@njit(parallel=True, cache=True)
def multiply_panels(planes, panels, base, step, out):  # type: ignore[no-untyped-def]
    """Set out[m, n] = base[n] - step * sum_a 2^a popcount(planes[a, m] XOR column n).

    A task is a block of rows; for each panel it keeps a row of 64 counters in the L1 cache. The
    innermost loops run over the columns of the panel, so LLVM turns them into vector code in
    which nothing is summed across the lanes of a vector.
    """
    P, M, W = planes.shape
    N = out.shape[1]
    for task in prange((M + ROWS - 1) // ROWS):
        first = task * ROWS
        count = np.empty(PANEL, np.uint64)
        for p in range(panels.shape[0]):
            panel = panels[p]
            left = p * PANEL
            width = min(PANEL, N - left)
            for m in range(first, min(first + ROWS, M)):
                count[:] = 0
                for a in range(P - 1, -1, -1):
                    # Horner's rule: plane a ends up doubled a times.
                    if a < P - 1:
                        for n in range(PANEL):
                            count[n] += count[n]
                    # Four words at a time: a counter is loaded and stored once for the four.
                    for w in range(0, W - W % 4, 4):
                        x0, x1 = planes[a, m, w], planes[a, m, w + 1]
                        x2, x3 = planes[a, m, w + 2], planes[a, m, w + 3]
                        for n in range(PANEL):
                            count[n] += (
                                popcount(x0 ^ panel[w, n])
                                + popcount(x1 ^ panel[w + 1, n])
                                + popcount(x2 ^ panel[w + 2, n])
                                + popcount(x3 ^ panel[w + 3, n])
                            )
                    for w in range(W - W % 4, W):
                        x0 = planes[a, m, w]
                        for n in range(PANEL):
                            count[n] += popcount(x0 ^ panel[w, n])
                for n in range(width):
                    out[m, left + n] = np.int32(base[left + n] - step * np.int64(count[n]))


def xnor_matmul(
    a: NDArray[np.uint64],
    b: NDArray[np.uint64] | Panels,
    K: int,
    out: NDArray[np.int32] | None = None,
) -> NDArray[np.int32]:
    """Multiply matrices of +1 and -1 that are stored as bits.

    out[m, n] = sum_k a[m, k] b[n, k] = K - 2 popcount(a[m] XOR b[n])

    Parameters
    ----------
    a : array of uint64, shape (M, ceil(K / 64))
        Left matrix, packed along its rows (`pack`).
    b : array of uint64, shape (N, ceil(K / 64)), or Panels
        Right matrix, packed along its columns: for weights, along fan_in. Weights that are used
        many times are rearranged once by `to_panels`.
    K : int
        Number of elements of a row of `a`, without padding.
    out : array of int32, shape (M, N), optional
        C-contiguous array that receives the result; new by default.

    Returns
    -------
    array of int32, shape (M, N)
        Dot products, from -K to K; all 0 if K = 0.

    Raises
    ------
    TypeError
        If an operand is not an array of uint64.
    ValueError
        If the shapes do not fit K, K is 2^31 or more, a padding bit is set, or `out` does not
        fit.

    Source
    ------
    Eq. (8); section 6; Xnor(x, w) of Algorithm 5.
    """
    check_words("a", a, K, ndim=2)
    panels = as_panels(b, K)
    if K >= INT32_END:
        raise ValueError(f"K: expected less than 2^31 = {INT32_END} (results are int32), got {K}")
    base = np.full(panels.N, K, np.int64)
    return run_panels(a[None], panels, base, 2, out)


def as_panels(b: NDArray[np.uint64] | Panels, K: int) -> Panels:
    """Take weights in either form and check that they fit K.

    Parameters
    ----------
    b : array of uint64, shape (N, ceil(K / 64)), or Panels
        Weights.
    K : int
        Number of weights of an output.

    Returns
    -------
    Panels
        The weights as panels.

    Raises
    ------
    TypeError, ValueError
        As `to_panels`; also if the panels hold columns of another length.
    """
    if not isinstance(b, Panels):
        return to_panels(b, K)
    if b.K != K:
        raise ValueError(f"b: expected panels of columns with K = {K} weights, got {b.K}")
    return b


def run_panels(
    planes: NDArray[np.uint64],
    panels: Panels,
    base: NDArray[np.int64],
    step: int,
    out: NDArray[np.int32] | None,
) -> NDArray[np.int32]:
    """Call the kernel on checked operands: out = base - step * (weighted count of differences).

    Parameters
    ----------
    planes : array of uint64, shape (P, M, W)
        Bit planes of the left matrix, least significant first.
    panels : Panels
        Weights.
    base : array of int64, shape (N,)
        Result of a row without a difference.
    step : int
        What a difference in plane 0 takes away.
    out : array of int32, shape (M, N), or None
        C-contiguous array that receives the result; None makes one.

    Returns
    -------
    array of int32, shape (M, N)
        The array `out`.

    Raises
    ------
    TypeError, ValueError
        If `out` is not a writeable, C-contiguous int32 array of shape (M, N).
    """
    shape = (planes.shape[1], panels.N)
    if out is None:
        out = np.empty(shape, np.int32)
    else:
        check_out(out, shape)
    multiply_panels(
        read_only(planes), read_only(panels.words), read_only(base), np.int64(step), out
    )
    return out


def read_only(array: NDArray[Any]) -> NDArray[Any]:
    """View an array as contiguous and read-only: one type, so a kernel is compiled once.

    Parameters
    ----------
    array : array of any dtype and shape
        Operand of a kernel.

    Returns
    -------
    array, dtype and shape of `array`
        A view, or a copy where the array was not contiguous.
    """
    view = np.ascontiguousarray(array).view()
    view.flags.writeable = False
    return view


def check_out(out: Any, shape: tuple[int, ...]) -> None:
    """Refuse an array that cannot receive a product.

    Parameters
    ----------
    out : array
        What the caller gave.
    shape : tuple of int
        The shape of the product: (M, N) for a matrix.

    Raises
    ------
    TypeError, ValueError
        If it is not a writeable, C-contiguous int32 array of that shape.
    """
    if not isinstance(out, np.ndarray) or out.dtype != np.int32:
        kind = out.dtype if isinstance(out, np.ndarray) else type(out).__name__
        raise TypeError(f"out: expected an array of int32, got {kind}")
    if out.shape != shape:
        raise ValueError(f"out: expected shape {shape}, got {out.shape}")
    if not (out.flags.c_contiguous and out.flags.writeable):
        raise ValueError("out: expected a C-contiguous array that can be written to")
