"""Product of two matrices of +1 and -1 that are stored as bits.

Two factors of +-1 agree or differ, and their product is +1 or -1 accordingly. So a dot product
of K pairs is (pairs that agree) - (pairs that differ) = K - 2 (pairs that differ), and XOR marks
the pairs that differ, 64 at a time.

`xnor_matmul_reference` says this in NumPy. `xnor_matmul` computes the same integers with one of the
kernels of `bits.ladder`, chosen by the processor and the size; `bits.planes` calls it too: a +-1
matrix is a matrix of one bit plane.
"""

# mypy: allow-untyped-defs

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qnn_ref._typing import Ints, Words
from qnn_ref.bits.ladder import NS_A_WORD, carry_save, column_panels, vector_tiles
from qnn_ref.bits.operands import INT32, INT64, WORDS, check_out, check_sums, read_only, room_for
from qnn_ref.bits.panels import PANEL, Panels, as_panels
from qnn_ref.bits.popcount import popcount
from qnn_ref.bits.threads import threads_for
from qnn_ref.bits.words import check_words
from qnn_ref.checks import check_array, instance, whole
from qnn_ref.compiled import numba, parallel_kernel, prange

LONG = 32
"""Words of a column from which carry-save adders pay for themselves."""

FEW = 4
"""Left rows below which it does not pay to arrange columns in panels for one product."""


def xnor_matmul_reference(a: Words, b: Words, K: int) -> Ints:
    """Multiply +-1 matrices with NumPy: the twin of `xnor_matmul`.

    Parameters, Returns: as `xnor_matmul`.
    """
    check_words("a", a, K, ndim=2)
    check_words("b", b, K, ndim=2)
    out = np.empty((len(a), len(b)), np.int32)
    for m, row in enumerate(a):
        differ = popcount(row ^ b).sum(axis=1)
        out[m] = K - 2 * differ.astype(np.int64)  # signed before the subtraction
    return out


@parallel_kernel
def _multiply_few(planes, b, base, step, out):
    """Multiply a few rows: each packed column is read once, from its first word to its last."""
    P, M, W = planes.shape
    for n in prange(b.shape[0]):
        for m in range(M):
            differ = np.uint64(0)
            for a in range(P - 1, -1, -1):
                differ += differ
                for w in range(W):
                    differ += popcount(planes[a, m, w] ^ b[n, w])
            out[m, n] = np.int32(base[n] - step * np.int64(differ))


@functools.cache
def counts_vectors() -> bool:
    """Whether this processor counts the ones of whole vectors with one instruction."""
    from llvmlite import binding  # slow, and not needed before the first product

    return bool(binding.get_host_cpu_features().get("avx512vpopcntdq"))


def kernel_names() -> str:
    """Say which kernels run on this processor, and why."""
    if numba.config.DISABLE_JIT:
        return "column_panels, as plain Python (NUMBA_DISABLE_JIT is set)"
    if counts_vectors():
        return "vector_tiles (the processor counts bits of whole vectors)"
    return f"vector_tiles; carry_save from {LONG} words a column on (no vector popcount here)"


def kernel_for(W: int) -> Any:
    """Choose the kernel of `bits.ladder` for columns of W words, in panels, on this processor."""
    if numba.config.DISABLE_JIT:
        return column_panels
    return carry_save if W >= LONG and not counts_vectors() else vector_tiles


def xnor_matmul(a: Words, b: Words | Panels, K: int, out: Ints | None = None) -> Ints:
    """Multiply matrices of +1 and -1 that are stored as bits.

    out[m, n] = sum_k a[m, k] b[n, k] = K - 2 popcount(a[m] XOR b[n])

    Parameters
    ----------
    a : array (M, ceil(K / 64)) of uint64
        Left matrix, packed along its rows (`pack`).
    b : array (N, ceil(K / 64)) of uint64, or Panels
        Right matrix, packed along its columns: for weights, along fan_in. Weights that are used
        many times are rearranged once by `to_panels`.
    K : int
        Number of elements of a row of `a`, without padding.
    out : array (M, N) of int32, optional
        C-contiguous array that receives the result; new by default.

    Returns
    -------
    array (M, N) of int32
        Dot products, from -K to K; all 0 if K = 0.

    Raises
    ------
    TypeError
        If an operand is not an array of uint64.
    ValueError
        If the shapes do not fit K, K is 2^31 or more, a padding bit is set, or `out` does not
        fit.

    References
    ----------
    Eq. (8); section 6; Xnor(x, w) of Algorithm 5.
    """
    check_words("a", a, K, ndim=2)
    check_sums("K", K, 1)
    if len(a) < FEW and not isinstance(b, Panels):
        check_words("b", b, K, ndim=2)
        out = np.empty((len(a), len(b)), np.int32) if out is None else out
        return run_few(a[None], b, np.full(len(b), K, np.int64), 2, out)
    panels = as_panels(b, K)
    if out is None:
        out = np.empty((len(a), panels.N), np.int32)
    else:
        check_array("out", out, INT32, (len(a), panels.N))
    kernel_for(panels.words.shape[1])(a[None], panels.words, panels.all_agree, 2, out)
    return out


def run_panels(
    planes: Words, panels: Panels, base: NDArray[np.int64], step: int, out: Ints | None
) -> Ints:
    """Call the kernel on checked operands: out = base - step * (weighted count of differences).

    Parameters
    ----------
    planes : array (P, M, W) of uint64
        Bit planes of the left matrix, least significant first.
    panels : Panels
        Weights.
    base : array (N,) of int64
        Result of a row without a difference.
    step : int
        What a difference in plane 0 takes away.
    out : array (M, N) of int32, or None
        C-contiguous array that receives the result; None makes one.

    Returns
    -------
    array (M, N) of int32
        The array `out`.

    Raises
    ------
    TypeError, ValueError
        If planes or base do not fit the panels, or `out` is not a writeable, C-contiguous int32
        array of shape (M, N) with memory of its own.
    """
    instance("panels", panels, Panels)
    check_array("planes", planes, WORDS, ("P", "M", panels.words.shape[1]))
    check_array("base", base, INT64, (panels.N,))
    step = whole("step", step, -(2**32), 2**32)
    out = room_for(out, (planes.shape[1], panels.N), np.int32, planes, panels.words, base)
    padded = np.zeros(len(panels.words) * PANEL, np.int64)
    padded[: panels.N] = base
    kernel_for(panels.words.shape[1])(planes, panels.words, padded, step, out)
    return out


def run_few(planes: Words, rows: Words, base: NDArray[np.int64], step: int, out: Ints) -> Ints:
    """Do what `run_panels` does with packed columns as they are: best for one to three rows.

    rows (N, W) are the columns of the right matrix; all others, and the result: as `run_panels`.
    """
    check_array("planes", planes, WORDS, ("P", "M", "W"))
    check_array("rows", rows, WORDS, ("N", planes.shape[2]))
    check_array("base", base, INT64, (len(rows),))
    check_out(out, (planes.shape[1], len(rows)), np.int32, planes, rows, base)
    return _run_few(planes, rows, base, whole("step", step, -(2**32), 2**32), out)


def _run_few(planes: Words, rows: Words, base: NDArray[np.int64], step: int, out: Ints) -> Ints:
    """Call the kernel for a few rows on operands that were checked."""
    with threads_for(NS_A_WORD * planes.size * len(rows)):
        _multiply_few(read_only(planes), read_only(rows), read_only(base), np.int64(step), out)
    return out
