"""Vectors of +1 and -1 as 64-bit words.

The convention, used everywhere in this package:

- **Order.** Element i is bit ``i % 64`` of word ``i // 64``; bit 0 is the least significant one.
- **Value.** Bit 1 means +1, bit 0 means -1.
- **Padding.** A vector of K elements fills ``ceil(K / 64)`` words. The bits of the last word
  beyond K are zero. They are zero in both operands of a product, so XOR sees no difference
  there and K - 2 popcount needs no mask.

A function that reads words checks the padding (``check_words``); one that makes words by other
means than ``pack`` has to keep it zero.
"""

# mypy: allow-untyped-defs

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from qnn_ref._typing import Array, Ints, Words
from qnn_ref.bits.lanes import lanes_of, load, nan_bits, sign_bits
from qnn_ref.bits.threads import threads_for
from qnn_ref.checks import as_array, check_array, whole
from qnn_ref.compiled import numba, parallel_kernel, prange, serial_kernel

WORD_BITS = 64
_WORD = np.dtype(np.uint64)

# Types with a compiled form. All others (float16, long double, foreign byte order) are compared
# with zero by NumPy first: a detour, with the same bits.
_COMPILED = frozenset(
    np.dtype(name) for name in ("float32", "float64", "int8", "int16", "int32", "int64")
)


def words_for(K: int) -> int:
    """Give the number of words that hold K bits, K >= 0: ceil(K / 64)."""
    return -(-whole("K", K, 0) // WORD_BITS)


def check_words(name: str, words: Any, K: int, ndim: int | None = None) -> None:
    """Refuse an array that is not a packing of vectors of K elements.

    Parameters
    ----------
    name : str
        Name of the argument, for the message.
    words : array (..., ceil(K / 64)) of uint64
        The array to be checked.
    K : int
        Number of elements of each vector.
    ndim : int, optional
        Number of axes that `words` must have; None allows any number from one on.

    Raises
    ------
    TypeError
        If `words` is not an array of uint64.
    ValueError
        If its shape does not fit K, or a padding bit is set: such a word would change a product.
    """
    width = words_for(K)
    if (
        type(words) is np.ndarray
        and words.dtype == _WORD
        and words.ndim == (ndim or words.ndim or 1)
        and words.shape[-1] == width
        and (K % WORD_BITS == 0 or words[..., -1].max(initial=0) < 1 << K % WORD_BITS)
    ):
        return  # the usual case: no padding bits, or all of them zero
    if not isinstance(words, np.ndarray):
        raise TypeError(f"{name}: expected an array of uint64 words, got {type(words).__name__}")
    if words.dtype != _WORD:
        raise TypeError(f"{name}: expected dtype uint64, got {words.dtype}; pack it first")
    if words.ndim == 0 or words.ndim != (ndim or words.ndim) or words.shape[-1] != width:
        leading = {None: "..., ", 1: "", 2: "rows, ", 3: "planes, rows, "}[ndim]
        raise ValueError(
            f"{name}: expected shape ({leading}{width}) for K = {K}, got {words.shape}"
        )
    if K % WORD_BITS and words[..., -1].max(initial=0) >> K % WORD_BITS:
        raise ValueError(
            f"{name}: a padding bit beyond K = {K} is set; padding must be zero, "
            "otherwise it would be counted as an element"
        )


def _as_bools(name: str, bits: ArrayLike) -> NDArray[np.bool_]:
    array = as_array(name, bits)
    if array.dtype != np.bool_:
        raise TypeError(f"{name}: expected dtype bool, got {array.dtype}; pack takes numbers")
    if array.ndim == 0:
        raise ValueError(f"{name}: expected shape (..., K), got ()")
    return array


def _as_numbers(name: str, x: ArrayLike) -> Array:
    array = as_array(name, x)
    if array.dtype == np.bool_:
        raise TypeError(f"{name}: a bool has no sign (False is not -1); use pack_bits")
    if array.dtype.kind not in "iuf":
        raise TypeError(f"{name}: expected real or integer numbers, got dtype {array.dtype}")
    if array.ndim == 0:
        raise ValueError(f"{name}: expected shape (..., K), got ()")
    return array


def _nan_error(name: str) -> ValueError:
    return ValueError(f"{name}: contains NaN, which has no sign; expected numbers")


@serial_kernel
def _pack_rows(x, least, words):
    """Set bit k of row m of `words` where x[m, k] >= least; return the number of NaN in x."""
    M, K = x.shape
    not_a_number = 0
    for m in range(M):
        for w in range(words.shape[1]):
            word = np.uint64(0)
            for bit in range(min(64, K - 64 * w)):
                value = x[m, 64 * w + bit]
                word |= np.uint64(value >= least) << np.uint64(bit)
                not_a_number += value != value
            words[m, w] = word
    return not_a_number


@parallel_kernel
def _pack_reals(x, words, K):
    """Do `_pack_rows` with least = 0 for the rows of K floats that `x` holds one after the other.

    A comparison of vectors gives its bits at once: this goes as fast as memory is read.
    """
    not_a_number, lanes = np.uint64(0), np.int64(lanes_of(x))
    for m in prange(words.shape[0]):
        start, nans = m * K, np.uint64(0)
        for w in range(K // 64):
            word = np.uint64(0)
            for part in range(64 // lanes):
                vector = load(x, start + 64 * w + lanes * part)
                word |= sign_bits(vector) << np.uint64(lanes * part)
                nans |= nan_bits(vector)
            words[m, w] = word
        if K % 64:
            word = np.uint64(0)
            for bit in range(K % 64):
                value = x[start + K // 64 * 64 + bit]
                word |= np.uint64(value >= 0) << np.uint64(bit)
                nans |= np.uint64(value != value)
            words[m, K // 64] = word
        not_a_number += nans
    return not_a_number


def pack_bits_reference(bits: ArrayLike) -> Words:
    """Pack truth values with NumPy: the twin of `pack_bits`.

    Parameters, Returns: as `pack_bits`.
    """
    array = _as_bools("bits", bits)
    # bitorder: NumPy's default would put element 0 into the most significant bit of its byte.
    packed = np.packbits(array, axis=-1, bitorder="little")
    size = 8 * words_for(array.shape[-1])
    padded = np.zeros((*array.shape[:-1], size), np.uint8)
    padded[..., : packed.shape[-1]] = packed
    return padded.view("<u8").astype(np.uint64)


def pack_bits(bits: ArrayLike) -> Words:
    """Pack truth values into words.

    bit k = bits[..., k]

    Parameters
    ----------
    bits : array (..., K) of bool
        True becomes bit 1, that is +1. The result of a comparison with a threshold, for example.

    Returns
    -------
    array (..., ceil(K / 64)) of uint64
        Words, as described at the top of this module.

    Raises
    ------
    TypeError
        If the dtype is not bool.
    ValueError
        If `bits` has no axis.

    References
    ----------
    Section 6 (packing of +-1 values into registers).
    """
    return _pack(_as_bools("bits", bits).view(np.int8), 1)[0]


def _check_thresholds(sums: Ints, at: Ints, flip: NDArray[np.bool_]) -> None:
    check_array("sums", sums, (np.dtype(np.int32),), ("M", "K"))
    check_array("at", at, (np.dtype(np.int32),), sums.shape[1:])
    check_array("flip", flip, (np.dtype(np.bool_),), sums.shape[1:])


def pack_thresholds_reference(sums: Ints, at: Ints, flip: NDArray[np.bool_]) -> Words:
    """Compare with a threshold for each column and pack, in NumPy: twin of `pack_thresholds`.

    Parameters, Returns: as `pack_thresholds`.
    """
    _check_thresholds(sums, at, flip)
    return pack_bits_reference((sums >= at) ^ flip)


@serial_kernel
def _pack_thresholds(sums, at, flip, words):
    M, K = sums.shape
    for m in range(M):
        for w in range(words.shape[1]):
            word = np.uint64(0)
            for bit in range(min(64, K - 64 * w)):
                k = 64 * w + bit
                word |= np.uint64((sums[m, k] >= at[k]) ^ flip[k]) << np.uint64(bit)
            words[m, w] = word


def pack_thresholds(sums: Ints, at: Ints, flip: NDArray[np.bool_]) -> Words:
    """Compare integer sums with a threshold for each column, and pack the answers.

    bit k of row m = (sums[m, k] >= at[k]) XOR flip[k]

    Parameters
    ----------
    sums : array (M, K) of int32
        Sums of a layer.
    at : array (K,) of int32
        Thresholds.
    flip : array (K,) of bool
        Where the comparison is turned.

    Returns
    -------
    array (M, ceil(K / 64)) of uint64
        Words, as described at the top of this module.

    Raises
    ------
    TypeError, ValueError
        If a dtype or a shape does not fit.

    References
    ----------
    Algorithm 5, Sign(BN(a)) of an integer a.
    """
    _check_thresholds(sums, at, flip)
    words = np.empty((len(sums), words_for(len(at))), np.uint64)
    _pack_thresholds(
        np.ascontiguousarray(sums), np.ascontiguousarray(at), np.ascontiguousarray(flip), words
    )
    return words


def pack_reference(x: ArrayLike) -> Words:
    """Pack signs with NumPy: the twin of `pack`.

    Parameters, Returns: as `pack`.
    """
    array = _as_numbers("x", x)
    if np.isnan(array).any():
        raise _nan_error("x")
    return pack_bits_reference(array >= 0)


def pack(x: ArrayLike) -> Words:
    """Pack the signs of numbers into words.

    bit k = 1 if x[..., k] >= 0, else 0

    So 0 and -0.0 give +1, infinities give their sign, and a number that is not negative stays
    +1 however small it is.

    Parameters
    ----------
    x : array (..., K) of numbers
        Any real or integer dtype, any strides. Unsigned integers are never negative.

    Returns
    -------
    array (..., ceil(K / 64)) of uint64
        Words, as described at the top of this module.

    Raises
    ------
    ValueError
        If x holds a NaN, or has no axis.
    TypeError
        If x holds no numbers. Truth values are refused too, because False >= 0: see `pack_bits`.

    References
    ----------
    Eq. (1); section 6 (packing of +-1 values into registers).
    """
    array = _as_numbers("x", x)
    if array.dtype not in _COMPILED:
        if np.isnan(array).any():
            raise _nan_error("x")
        return pack_bits(array >= 0)
    words, not_a_number = _pack(array, 0)
    if not_a_number:
        raise _nan_error("x")
    return words


def _pack(array: Array, least: int) -> tuple[Words, int]:
    """Call the kernel on an array with any number of axes."""
    K = array.shape[-1]
    words = np.empty((*array.shape[:-1], words_for(K)), np.uint64)
    # The sizes are written out: reshape(-1, K) cannot tell the number of rows if K = 0.
    rows = words.size // words_for(K) if K else 0
    flat = np.ascontiguousarray(array).reshape(rows, K) if K else np.empty((0, 0), array.dtype)
    by_row = words.reshape(rows, words_for(K))
    if array.dtype.kind == "f" and least == 0 and not numba.config.DISABLE_JIT:
        with threads_for(flat.size / 4):
            return words, int(_pack_reals(flat.reshape(-1), by_row, K))
    return words, _pack_rows(flat, array.dtype.type(least), by_row)


def unpack(words: Words, K: int, dtype: DTypeLike = np.int8) -> Array:
    """Turn words back into +1 and -1.

    x[..., k] = 2 bit_k - 1

    Parameters
    ----------
    words : array (..., ceil(K / 64)) of uint64
        Words, as made by `pack`.
    K : int
        Number of elements of each vector.
    dtype : dtype, optional
        Type of the result: any signed integer or real type.

    Returns
    -------
    array (..., K), the dtype `dtype`
        Values +1 and -1.

    Raises
    ------
    TypeError
        If `words` is not an array of uint64, or `dtype` cannot hold -1.
    ValueError
        If the shape does not fit K or a padding bit is set.

    References
    ----------
    Eq. (1).
    """
    check_words("words", words, K)
    target = np.dtype(dtype)
    if target.kind not in "if":
        raise TypeError(f"dtype: expected a type that holds -1 and +1, got {target}")
    octets = np.ascontiguousarray(words.astype("<u8", copy=False)).view(np.uint8)
    bits = np.unpackbits(octets, axis=-1, count=K, bitorder="little")
    return np.where(bits, target.type(1), target.type(-1))
