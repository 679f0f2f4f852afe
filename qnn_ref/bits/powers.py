"""Products of powers of two with +-1: shifts and bit planes, no multiplication (section 3).

A gradient of LogQuant is 0 or +-2^j in units of its smallest power. Write it as one plane of signs
and a plane for each power; only one of these has the bit. A factor w = +-1 keeps the sign where it
agrees with the sign plane, and turns it elsewhere, so

    sum_k g_k w_k = sum_j (popcount(M_j) - 2 popcount(M_j AND (S XOR W))) << j

The backward products of a binary layer with 6-bit gradients need nothing else.
"""

# mypy: allow-untyped-defs

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qnn_ref._typing import Array, Words
from qnn_ref.bits.operands import read_only
from qnn_ref.bits.popcount import popcount
from qnn_ref.bits.words import check_words, pack_bits
from qnn_ref.checks import check_array
from qnn_ref.compiled import parallel_kernel, prange

LARGEST_POWER = 40
"""Exponents 0..40: sums of 2^22 such numbers fit in 63 bits."""


def to_powers(codes: Array) -> tuple[Words, Words]:
    """Split zeros and signed powers of two into a sign plane and a plane for each power.

    Parameters
    ----------
    codes : array (M, K) of numbers
        0 or +-2^j, j from 0 to 40.

    Returns
    -------
    signs : array (M, ceil(K / 64)) of uint64
        Bit 1 where the code is not negative.
    powers : array (P, M, ceil(K / 64)) of uint64
        Plane j: bit 1 where the magnitude is 2^j; P - 1 is the largest power that occurs.

    Raises
    ------
    TypeError
        If `codes` is no array of numbers.
    ValueError
        If it has not two axes, or a code is something else.

    References
    ----------
    Section 3, quantized gradients: operands of shifts.
    """
    if not isinstance(codes, np.ndarray) or codes.dtype.kind not in "iuf":
        kind = getattr(codes, "dtype", type(codes).__name__)
        raise TypeError(f"codes: expected an array of numbers, got {kind}")
    if codes.ndim != 2:
        raise ValueError(f"codes: expected shape (M, K), got {codes.shape}")
    mantissa, exponent = np.frexp(np.abs(codes.astype(np.float64)))
    wrong = (codes != 0) & ((mantissa != 0.5) | (exponent < 1) | (exponent > LARGEST_POWER + 1))
    if wrong.any():
        place = tuple(int(i) for i in np.argwhere(wrong)[0])
        raise ValueError(
            f"codes: expected 0 or +-2^j, j from 0 to {LARGEST_POWER}; got {codes[place]} at "
            f"index {place}"
        )
    count = max(1, int(exponent.max(initial=0)))
    planes = [pack_bits((exponent == j + 1) & (codes != 0)) for j in range(count)]
    return pack_bits(codes >= 0), np.stack(planes)


def powers_matmul_reference(signs: Words, powers: Words, b: Words) -> NDArray[np.int64]:
    """Multiply signed powers of two by +-1 with NumPy: the twin of `powers_matmul`.

    Parameters, Returns: as `powers_matmul`.
    """
    word = (np.dtype(np.uint64),)
    check_array("signs", signs, word, ("M", "W"))
    check_array("powers", powers, word, ("P", *signs.shape))
    check_array("b", b, word, ("N", signs.shape[1]))
    out = np.zeros((len(signs), len(b)), np.int64)
    for m, row in enumerate(signs):
        differ = row ^ b
        for j, plane in enumerate(powers[:, m]):
            turned = popcount(plane & differ).sum(axis=1).astype(np.int64)
            out[m] += (int(popcount(plane).sum()) - 2 * turned) << j
    return out


@parallel_kernel
def _powers_kernel(signs, powers, b, out):
    P, M, W = powers.shape
    for m in prange(M):
        all_ones = np.zeros(P, np.int64)
        for j in range(P):
            for w in range(W):
                all_ones[j] += np.int64(popcount(powers[j, m, w]))
        for n in range(b.shape[0]):
            total = np.int64(0)
            for j in range(P):
                turned = np.int64(0)
                for w in range(W):
                    turned += np.int64(popcount(powers[j, m, w] & (signs[m, w] ^ b[n, w])))
                total += (all_ones[j] - np.int64(2) * turned) << np.int64(j)
            out[m, n] = total


def powers_matmul(signs: Words, powers: Words, b: Words, K: int) -> NDArray[np.int64]:
    """Multiply signed powers of two by +-1, exactly, by shifts.

    out[m, n] = sum_j (popcount(M_j[m]) - 2 popcount(M_j[m] AND (S[m] XOR b[n]))) << j

    Parameters
    ----------
    signs : array (M, ceil(K / 64)) of uint64
        Sign plane of the powers (`to_powers`).
    powers : array (P, M, ceil(K / 64)) of uint64
        A plane for each power.
    b : array (N, ceil(K / 64)) of uint64
        Factors +-1, packed.
    K : int
        Elements of a row, below 2^22.

    Returns
    -------
    array (M, N) of int64
        Exact sums.

    Raises
    ------
    TypeError
        If an operand is not an array of uint64.
    ValueError
        If the shapes do not fit K or each other, or a padding bit is set.

    References
    ----------
    Section 3: with 6-bit gradients the backward pass needs bit-wise operations only.
    """
    check_words("signs", signs, K, ndim=2)
    check_words("powers", powers, K, ndim=3)
    check_words("b", b, K, ndim=2)
    if powers.shape[1:] != signs.shape:
        raise ValueError(
            f"powers: expected shape {('P', *signs.shape)}, as the signs, got {powers.shape}"
        )
    if len(powers) > LARGEST_POWER + 1 or K >= 2**22:
        raise ValueError(f"powers: sums of {K} numbers up to 2^{len(powers) - 1} may not fit")
    out = np.empty((len(signs), len(b)), np.int64)
    _powers_kernel(*map(read_only, (signs, powers, b)), out)
    return out
