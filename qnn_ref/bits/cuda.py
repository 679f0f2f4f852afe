"""The paper's kernels for a graphics processor: packing, and two products of the same structure.

===================== ============================================================
kernel                what is new
===================== ============================================================
`_float_tiles`        the baseline: a block of 16 x 16 threads brings a tile of each
                      factor to shared memory, and each thread adds up one output
`_xnor_threads`       32 pairs a word, one thread an output: every thread reads its
                      row and its column by itself
`_xnor_tiles`         the tiles of the baseline, but of words: a word that was read
                      once serves sixteen outputs
===================== ============================================================

The last one differs from the baseline in the inner line only: XOR, popcount and addition for 32
pairs in the place of a multiplication and an addition for one. The paper counts 1 + 4 + 1 cycles
for the three, hence 32 / 6 = 5.3 times faster in theory; it measured 23 times.

Words have 32 bits here, as the registers of the device: element i is bit ``i % 32`` of word
``i // 32``, bit 1 means +1. Two of them are one word of `words`. Bits beyond K are not looked at.

Arrays may be NumPy's, which are copied, or on the device (`numba.cuda.to_device`), where a result
stays if one of the operands was there. A device needs ``pip install numba-cuda``, 69 MB.

**Not run on a real device so far.** The tests run all of it in Numba's simulator, small sizes, bit
for bit; and they compile it for a device where that compiler is installed.
"""

# mypy: allow-untyped-defs

from typing import Any

import numpy as np

from qnn_ref._typing import Array, Ints
from qnn_ref.bits.device import (
    BITS,
    TILE,
    check_operand,
    check_rows,
    cuda_device,
    cuda_kernel,
    grid_for,
    handed_back,
    to_cuda_words,
    to_device,
)
from qnn_ref.bits.operands import INT32_END
from qnn_ref.bits.words import pack_bits_reference
from qnn_ref.checks import flag, whole
from qnn_ref.compiled import Later

cuda: Any = Later("numba", "cuda")  # Numba's own from the first launch on

PITCH = TILE + 1
"""Words from row to row of a tile whose columns are read: 16 threads find theirs in 16 banks."""

NUMBERS = np.dtype(np.float32), np.dtype(np.int32)
FLOAT32, WORDS = (np.dtype(np.float32),), (np.dtype(np.uint32),)


def _check_numbers(x: Any, at: Any) -> None:
    """x (M, K) of float32 or int32, thresholds (K,) of the same type."""
    check_operand("x", x, NUMBERS, ("M", "K"))
    check_rows("x", x.shape[0])
    if at is not None:
        check_operand("at", at, (np.dtype(x.dtype),), (x.shape[1],))


def _thresholds(x: Any, at: Any) -> Any:
    """Thresholds on the device; zeros where there are none."""
    return to_device(np.zeros(x.shape[1], x.dtype) if at is None else at)


def _check_ordered(nans: Any) -> None:
    """Refuse what had NaN in it, when a kernel has seen it."""
    if nans.copy_to_host()[0]:
        raise ValueError("x, at: NaN has no sign; expected numbers")


def _ordered(x: Array, at: Array | None) -> Array:
    """Compare with the thresholds, in NumPy."""
    _check_numbers(x, at)
    at = np.zeros(x.shape[1], x.dtype) if at is None else at
    if np.isnan(x).any() or np.isnan(at).any():
        raise ValueError("x, at: NaN has no sign; expected numbers")
    return np.greater_equal(x, at)


@cuda_kernel
def _sign_threads(x, at, signs, nans):
    column, row = cuda.grid(2)
    if row < signs.shape[0] and column < signs.shape[1]:
        value, limit = x[row, column], at[column]
        signs[row, column] = np.float32(1) if value >= limit else np.float32(-1)
        if value != value or limit != limit:
            nans[0] = 1


def cuda_signs_reference(x: Array, at: Array | None = None) -> Array:
    """Take signs with NumPy: the twin of `cuda_signs`.

    Parameters, Returns: as `cuda_signs`.
    """
    return np.where(_ordered(x, at), np.float32(1), np.float32(-1))


def cuda_signs(x: Any, at: Any = None) -> Any:
    """Replace numbers by +1 and -1 on the device, for the baseline kernel.

    Parameters
    ----------
    x : array (M, K) of float32 or int32
        Numbers.
    at : array (K,) of the type of `x`, optional
        Thresholds: +1 means x >= at. Batch norm before a sign is such a threshold. 0 by default.

    Returns
    -------
    array (M, K) of float32

    Raises
    ------
    TypeError, ValueError
        If types or sizes do not fit, or there is a NaN.
    NoDeviceError
        If there is no device.

    References
    ----------
    Section 6, eq. 1 (sign).
    """
    _check_numbers(x, at)
    device = cuda_device()
    given, limits, nans = to_device(x), _thresholds(x, at), to_device(np.zeros(1, np.int32))
    signs = device.device_array(tuple(x.shape), np.float32)
    _sign_threads[grid_for(*x.shape)](given, limits, signs, nans)
    _check_ordered(nans)
    return handed_back(signs, x)


@cuda_kernel
def _pack_threads(x, at, words, nans):
    place, row = cuda.grid(2)
    if row < words.shape[0] and place < words.shape[1]:
        word, first = np.uint32(0), BITS * place
        for bit in range(min(BITS, x.shape[1] - first)):
            value, limit = x[row, first + bit], at[first + bit]
            if value >= limit:
                word = np.uint32(word | np.uint32(1) << np.uint32(bit))
            if value != value or limit != limit:
                nans[0] = 1  # several threads may write it: the same
        words[row, place] = word


def cuda_pack_reference(x: Array, at: Array | None = None) -> Array:
    """Pack signs with NumPy: the twin of `cuda_pack`.

    Parameters, Returns: as `cuda_pack`.
    """
    return to_cuda_words(pack_bits_reference(_ordered(x, at)), x.shape[1])


def cuda_pack(x: Any, at: Any = None) -> Any:
    """Pack signs on the device, one thread a word.

    bit k of a row = x[k] >= at[k]

    Parameters
    ----------
    x : array (M, K) of float32 or int32
        Numbers.
    at : array (K,) of the type of `x`, optional
        Thresholds, as in `cuda_signs`. 0 by default.

    Returns
    -------
    array (M, ceil(K / 32)) of uint32
        Bits beyond K are 0.

    Raises
    ------
    TypeError, ValueError
        If types or sizes do not fit, or there is a NaN.
    NoDeviceError
        If there is no device.

    References
    ----------
    Section 6 (packing of +-1 values into registers).
    """
    _check_numbers(x, at)
    device = cuda_device()
    given, limits, nans = to_device(x), _thresholds(x, at), to_device(np.zeros(1, np.int32))
    words = device.device_array((x.shape[0], -(-x.shape[1] // BITS)), np.uint32)
    _pack_threads[grid_for(*words.shape)](given, limits, words, nans)
    _check_ordered(nans)
    return handed_back(words, x)


@cuda_kernel
def _float_tiles(x, w, out):
    n, m = cuda.grid(2)
    across, down = cuda.threadIdx.x, cuda.threadIdx.y
    # One allocation a line: the simulator knows them by their line.
    left = cuda.shared.array((TILE, TILE), np.float32)
    right = cuda.shared.array((TILE, PITCH), np.float32)
    total, loaded = np.float32(0), cuda.blockIdx.x * TILE + down
    for first in range(0, x.shape[1], TILE):
        k = first + across  # neighbours read neighbours, in both factors
        left[down, across] = x[m, k] if m < x.shape[0] and k < x.shape[1] else np.float32(0)
        right[down, across] = (
            w[loaded, k] if loaded < w.shape[0] and k < w.shape[1] else np.float32(0)
        )
        cuda.syncthreads()  # the tiles are complete
        for i in range(TILE):
            total += left[down, i] * right[across, i]
        cuda.syncthreads()  # and nobody needs them any more
    if m < out.shape[0] and n < out.shape[1]:
        out[m, n] = total


def _check_floats(x: Any, w: Any) -> None:
    """x (M, K) and w (N, K) of float32."""
    check_operand("x", x, FLOAT32, ("M", "K"))
    check_operand("w", w, FLOAT32, ("N", x.shape[1]))
    check_rows("x", x.shape[0])


def cuda_float_matmul_reference(x: Array, w: Array) -> Array:
    """Multiply floats with NumPy, in the order of the kernel: the twin of `cuda_float_matmul`.

    Parameters, Returns: as `cuda_float_matmul`.
    """
    _check_floats(x, w)
    out = np.zeros((len(x), len(w)), np.float32)
    for k in range(x.shape[1]):
        out += np.outer(x[:, k], w[:, k])
    return out


def cuda_float_matmul(x: Any, w: Any) -> Any:
    """Multiply float matrices on the device, in tiles: the paper's baseline kernel.

    out[m, n] = sum_k x[m, k] w[n, k]

    Parameters
    ----------
    x : array (M, K) of float32
        Left factor.
    w : array (N, K) of float32
        Right factor, transposed.

    Returns
    -------
    array (M, N) of float32
        Exact where all sums are whole numbers below 2^24, as those of +1 and -1 are. Else a real
        device may round otherwise than the twin: it multiplies and adds with one rounding.

    Raises
    ------
    TypeError, ValueError
        If types or sizes do not fit.
    NoDeviceError
        If there is no device.

    References
    ----------
    Section 6 (baseline kernel).
    """
    _check_floats(x, w)
    size = int(x.shape[0]), int(w.shape[0])
    out = cuda_device().device_array(size, np.float32)
    _float_tiles[grid_for(*size)](to_device(x), to_device(w), out)
    return handed_back(out, x, w)


@cuda_kernel
def _xnor_threads(a, b, K, out):
    n, m = cuda.grid(2)
    if m < out.shape[0] and n < out.shape[1]:
        differ, whole_words = np.int32(0), K // BITS
        for w in range(whole_words):
            differ = np.int32(differ + cuda.popc(np.uint32(a[m, w] ^ b[n, w])))
        if K % BITS:
            beyond = np.uint32(BITS - K % BITS)  # shifted out
            rest = np.uint32(a[m, whole_words] ^ b[n, whole_words])
            differ = np.int32(differ + cuda.popc(np.uint32(rest << beyond)))
        out[m, n] = np.int32(K - 2 * np.int64(differ))


@cuda_kernel
def _xnor_tiles(a, b, K, out):
    n, m = cuda.grid(2)
    across, down = cuda.threadIdx.x, cuda.threadIdx.y
    left = cuda.shared.array((TILE, TILE), np.uint32)
    right = cuda.shared.array((TILE, PITCH), np.uint32)
    differ, loaded = np.int32(0), cuda.blockIdx.x * TILE + down
    for first in range(0, a.shape[1], TILE):
        w = first + across
        # What is not there is 0 on both sides: nothing differs.
        beyond = np.uint32(max(0, BITS * (w + 1) - K))
        x, y = np.uint32(0), np.uint32(0)
        if m < a.shape[0] and w < a.shape[1]:
            x = np.uint32(a[m, w] << beyond)
        if loaded < b.shape[0] and w < b.shape[1]:
            y = np.uint32(b[loaded, w] << beyond)
        left[down, across] = x
        right[down, across] = y
        cuda.syncthreads()
        for i in range(TILE):
            differ = np.int32(differ + cuda.popc(np.uint32(left[down, i] ^ right[across, i])))
        cuda.syncthreads()
    if m < out.shape[0] and n < out.shape[1]:
        out[m, n] = np.int32(K - 2 * np.int64(differ))


def _check_words(a: Any, b: Any, K: int) -> None:
    """a (M, W) and b (N, W) of uint32, W = ceil(K / 32)."""
    words = -(-whole("K", K, 1, INT32_END - 1) // BITS)
    check_operand("a", a, WORDS, ("M", words))
    check_operand("b", b, WORDS, ("N", words))
    check_rows("a", a.shape[0])


def cuda_xnor_matmul_reference(a: Array, b: Array, K: int) -> Ints:
    """Multiply +-1 matrices with NumPy: the twin of `cuda_xnor_matmul`.

    Parameters, Returns: as `cuda_xnor_matmul`.
    """
    _check_words(a, b, K)
    beyond = np.maximum(0, BITS * np.arange(1, a.shape[1] + 1) - K).astype(np.uint32)
    out = np.empty((len(a), len(b)), np.int32)
    for m, row in enumerate(a):
        out[m] = K - 2 * np.bitwise_count((row ^ b) << beyond).sum(axis=1, dtype=np.int64)
    return out


def cuda_xnor_matmul(a: Any, b: Any, K: int, tiled: bool = True) -> Any:
    """Multiply +-1 matrices, packed along K, on the device.

    out[m, n] = K - 2 popcount(a[m] XOR b[n])

    Parameters
    ----------
    a : array (M, ceil(K / 32)) of uint32
        Left factor, from `cuda_pack` or `to_cuda_words`.
    b : array (N, ceil(K / 32)) of uint32
        Right factor, transposed.
    K : int
        Elements of a row. Their kernel needs a multiple of 512, this one does not.
    tiled : bool
        Whether words are shared by a block of threads, as in the paper; or read by each thread.

    Returns
    -------
    array (M, N) of int32

    Raises
    ------
    TypeError, ValueError
        If types or sizes do not fit.
    NoDeviceError
        If there is no device.

    References
    ----------
    Section 6, eq. 8.
    """
    _check_words(a, b, K)
    flag("tiled", tiled)
    size = int(a.shape[0]), int(b.shape[0])
    out = cuda_device().device_array(size, np.int32)
    if tiled:
        _xnor_tiles[grid_for(*size)](to_device(a), to_device(b), np.int64(K), out)
    else:
        _xnor_threads[grid_for(*size)](to_device(a), to_device(b), np.int64(K), out)
    return handed_back(out, a, b)
