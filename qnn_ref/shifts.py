"""AP2, the approximate power of two, and products that are only shifts (sections 2.4 and 2.5).

A product with a power of two needs no multiplier: in floating point it adds to the exponent, in
fixed point it shifts an integer. The paper therefore rounds one factor of a product to a power of
two, AP2, and writes the product a << >> AP2(z): shift a to the left or right by the exponent of
AP2(z), and give it the sign of AP2(z). So a << >> AP2(z) *is* the product a * AP2(z).

- Powers of two: `ap2`, and `ap2_sign_exponent` for those who shift themselves.
- The product in floating point: `shift_multiply`.
- The product on integers, with real << and >>: `to_fixed`, `shift_multiply_fixed`, `from_fixed`.

Over 400 lines: floating and fixed point, each with its twin, are to be compared.
"""

# mypy: allow-untyped-defs

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from qnn_ref._typing import Array
from qnn_ref.checks import as_array, whole
from qnn_ref.compiled import serial_kernel

__all__ = [
    "ap2",
    "ap2_sign_exponent",
    "from_fixed",
    "shift_multiply",
    "shift_multiply_fixed",
    "to_fixed",
]
__dir__ = __all__.copy


# A float64 on purpose. As a float32 it would lie below the true root, and as a Python float it
# would be rounded to float32 when compared with float32 values: the float32 number next below
# sqrt(2) 2^k would then be rounded up. No float64 lies between this value and the true root.
_SQRT_HALF = np.float64(math.sqrt(0.5))

_INT64_MAX = 2**63 - 1


# Powers of two


def ap2_sign_exponent(x: ArrayLike) -> tuple[Array, Array]:
    """Split AP2 into sign and exponent, which are what a shift needs.

    AP2(x) = sign * 2^exponent for every finite x; zeros have sign 0 and exponent 0.

    Parameters
    ----------
    x : array_like, any shape, float32 or float64
        Finite numbers.

    Returns
    -------
    signs : array of int8, the shape of `x`
        -1, 0 or +1.
    exponents : array of int32, the shape of `x`
        round(log2|x|), at most 127 (float32) or 1023 (float64), see `ap2`.

    Raises
    ------
    TypeError
        If x is neither float32 nor float64.
    ValueError
        If x contains NaN or an infinity.

    References
    ----------
    Section 2.4, Algorithm 2 (AP2).
    """
    x = _float_array(x, "x")
    _check_values(x, "x", finite=True)
    return _sign_exponent(x)


def _sign_exponent(x: Array) -> tuple[Array, Array]:
    # |x| = m 2^e with m in [1/2, 1), so log2|x| = e + log2(m) with log2(m) in [-1, 0): it rounds
    # to e - 1 below m = sqrt(1/2) and to e above. The root is irrational: there are no ties.
    m, e = np.frexp(np.abs(x))
    exponents = np.minimum(e - (m < _SQRT_HALF), np.finfo(x.dtype).maxexp - 1)
    return np.sign(x).astype(np.int8), np.where(x == 0, 0, exponents).astype(np.int32)


def ap2_reference(x: ArrayLike) -> Array:
    """Round to a power of two by exponent and mantissa: the readable twin of `ap2`.

    AP2(x) = sign(x) 2^round(log2|x|), without a logarithm.

    Parameters, Returns: as `ap2`.
    """
    x = _float_array(x, "x")
    _check_values(x, "x", finite=False)
    signs, exponents = _sign_exponent(x)
    return np.where(np.isinf(x), x, np.ldexp(signs.astype(x.dtype), exponents))


def ap2_words(real: Any, word: Any) -> tuple[Any, Any, Any]:
    """Give the three words that round the bit pattern of a positive float to a power of two.

    A word is exponent | fraction and stands for (1 + fraction / 2^p) 2^k, which lies above
    sqrt(2) 2^k from some smallest fraction F on. Adding 2^p - F to the word carries into the
    exponent exactly where fraction >= F. That is the whole rounding: one addition, one mask.

    Parameters
    ----------
    real, word : type
        float32 and uint32, or float64 and uint64.

    Returns
    -------
    carry : word
        2^p - F, to be added.
    infinity : word
        Infinity, which is the mask of the exponent too.
    largest : word
        The largest power of two.

    References
    ----------
    Section 2.4, Algorithm 2 (AP2); the form on bits is ours.
    """
    p = int(np.finfo(real).nmant)
    # F is the smallest integer with (2^p + F)^2 > 2 * 4^p; integers do not round.
    carry = word(2**p - (math.isqrt(2 ** (2 * p + 1)) + 1 - 2**p))
    infinity = np.array(np.inf, real).view(word)[()]
    return carry, infinity, word(infinity - word(2**p))


def _make_ap2_kernel(real: type[np.floating], word: type[np.unsignedinteger]) -> Callable[..., Any]:
    """Make AP2 on the bit patterns of one float type: words in, words out."""
    carry, infinity, largest_power = ap2_words(real, word)
    zero = word(0)
    p = int(np.finfo(real).nmant)
    smallest_normal = word(2**p)
    sign_mask = np.array(-0.0, real).view(word)[()]
    anchor = real(2.0**p)
    anchor_word = np.array(anchor).view(word)[()]

    @serial_kernel
    def kernel(x, out):
        for i in range(x.size):
            magnitude = word(x[i] & ~sign_mask)
            power = word((magnitude + carry) & infinity)
            if magnitude < smallest_normal:
                # A subnormal is the number n = magnitude, times the smallest subnormal: round n.
                # The float 2^p + n has the fraction n, so n becomes a float and an integer again
                # by one subtraction and one addition (a conversion would not vectorise).
                n = real(word(anchor_word | magnitude).view(real) - anchor)
                n = word((n.view(word) + carry) & infinity).view(real)
                power = word(real(n + anchor).view(word) - anchor_word)
            if magnitude < infinity:
                power = min(power, largest_power)
            out[i] = word(power | (x[i] & sign_mask)) if magnitude > zero else zero

    return kernel


_AP2_KERNELS: dict[Any, tuple[Any, Callable[..., Any]]] = {
    np.dtype(np.float32): (np.uint32, _make_ap2_kernel(np.float32, np.uint32)),
    np.dtype(np.float64): (np.uint64, _make_ap2_kernel(np.float64, np.uint64)),
}


def ap2(x: ArrayLike, out: Array | None = None) -> Array:
    """Round to the nearest power of two on a logarithmic scale (approximate power of two).

    AP2(x) = sign(x) 2^round(log2|x|). The threshold between 2^k and 2^(k+1) is sqrt(2) 2^k, their
    geometric mean; no float lies on it. AP2(x) / x is in [2^(-1/2), 2^(1/2)].

    - 0.0 and -0.0 give +0.0: sign(x) is 0 for both.
    - Infinities stay what they are; NaN is refused.
    - Subnormal numbers are rounded like all others, and the result is exact.
    - Finite numbers stay finite: beyond sqrt(2) times the largest power of two of the dtype,
      2^127 or 2^1023, they give that power (the ratio is then below 2^(-1/2), but above 1/2).

    Parameters
    ----------
    x : array_like, any shape, float32 or float64
    out : array, the shape and dtype of `x`, optional
        Array for the result; x itself is allowed. Arrays in C order need no temporary array,
        others are copied. After an error it is unchanged.

    Returns
    -------
    array, the shape and dtype of `x`
        `out` if it was given. A scalar gives an array of shape ().

    Raises
    ------
    TypeError
        If x is neither float32 nor float64, or out is not an array of the same dtype.
    ValueError
        If x contains NaN, or out has another shape or is read-only.

    References
    ----------
    Section 2.4, Algorithm 2 (AP2). Hardware that takes the index of the most significant bit
    computes floor(log2|x|); the paper's formula and the authors' Torch code round.

    Examples
    --------
    >>> ap2([3.0, -0.7, 0.3, 0.0])
    array([ 4.  , -0.5 ,  0.25,  0.  ])
    """
    x = _float_array(x, "x")
    out = _output_array(out, x)
    _check_values(x, "x", finite=False)
    return _ap2_into(x, out)


def _ap2_into(x: Array, out: Array) -> Array:
    word, kernel = _AP2_KERNELS[x.dtype]
    source = np.require(x, requirements="C")
    # The kernel may write where it has just read, but not where it has yet to read.
    same_place = source.ctypes.data == out.ctypes.data
    direct = out.flags.c_contiguous and (same_place or not np.may_share_memory(source, out))
    target = out if direct else np.empty(x.shape, x.dtype)
    kernel(source.reshape(-1).view(word), target.reshape(-1).view(word))
    if not direct:
        out[...] = target
    return out


# Products in floating point


def shift_multiply_reference(x: ArrayLike, y: ArrayLike) -> Array:
    """Multiply by AP2(y) by adding to the exponent: the readable twin of `shift_multiply`.

    x << >> AP2(y) = (sign(y) x) 2^round(log2|y|); `ldexp` adds the exponent.

    Parameters, Returns: as `shift_multiply`.
    """
    x, y = _check_factors(x, y)
    signs, exponents = _sign_exponent(y)
    return np.asarray(np.ldexp(x * signs, exponents))


def shift_multiply(x: ArrayLike, y: ArrayLike, out: Array | None = None) -> Array:
    """Multiply x by the power of two nearest to y.

    x << >> AP2(y) = x AP2(y). Only exponent and sign of x change, so the product is exact unless
    it leaves the range of normal numbers, where it is rounded as every product is.

    Parameters
    ----------
    x : array_like, any shape, float32 or float64
        What is shifted. Infinities and NaN go through as in every product.
    y : array_like, broadcastable to the shape of x, dtype of x
        The factor that is rounded. Infinities are refused: there is no shift by infinitely many
        places, and 0 times infinity has no value.
    out : array, the shape and dtype of `x`, optional
        Array for the result; x or y itself is allowed. After an error it is unchanged.

    Returns
    -------
    array, the shape and dtype of `x`
        Bit for bit ``x * ap2(y)``; `out` if it was given.

    Raises
    ------
    TypeError
        If x is neither float32 nor float64, or y or out has another dtype than x.
    ValueError
        If y is not finite or does not broadcast to the shape of x, or out has another shape or
        is read-only.

    References
    ----------
    Section 2.4, Algorithm 2 (the operation << >>).

    Examples
    --------
    >>> shift_multiply([3.0, 5.0], [-0.3, 6.0])
    array([-0.75, 40.  ])
    """
    x, y = _check_factors(x, y)
    out = _output_array(out, x)
    np.multiply(x, _ap2_into(y, np.empty(y.shape, y.dtype)), out=out)
    return out


# Products in fixed point


def to_fixed(x: ArrayLike, fraction_bits: int) -> Array:
    """Convert real numbers to fixed point: integers that count steps of 2^-fraction_bits.

    code = floor(x 2^F + 1/2) with F = fraction_bits: the nearest code, ties upwards.

    Parameters
    ----------
    x : array_like, any shape, float32 or float64
        Finite numbers with |x| < 2^(63 - F).
    fraction_bits : int
        Bits after the binary point, 0 to 62.

    Returns
    -------
    array of int64, the shape of `x`

    Raises
    ------
    TypeError
        If x is neither float32 nor float64, or fraction_bits is not an integer.
    ValueError
        If x is not finite or too large, or fraction_bits is out of range.

    References
    ----------
    Not in the paper: the integer form in which its shifts run on hardware.
    """
    x = _float_array(x, "x")
    _check_values(x, "x", finite=True)
    fraction_bits = whole("fraction_bits", fraction_bits, 0, 62)
    large = np.abs(x) >= 2.0 ** (63 - fraction_bits)
    if large.any():
        raise ValueError(
            f"x: expected |x| < 2^{63 - fraction_bits}, what int64 holds beside {fraction_bits} "
            f"fraction bits, got {float(x[large][0])}"
        )
    scaled = np.ldexp(x, fraction_bits)
    # Not floor(scaled + 0.5): that sum is rounded itself, and makes 1 of 0.49999999999999994.
    floor = np.floor(scaled)
    return np.asarray(floor + (scaled - floor >= 0.5)).astype(np.int64)


def from_fixed(codes: ArrayLike, fraction_bits: int) -> Array:
    """Convert fixed point to real numbers.

    x = code 2^-F with F = fraction_bits: exact for |code| <= 2^53, else the nearest float64.

    Parameters
    ----------
    codes : array_like, any shape, int64
    fraction_bits : int
        Bits after the binary point, 0 to 62.

    Returns
    -------
    array of float64, the shape of `codes`

    Raises
    ------
    TypeError
        If codes are not int64, or fraction_bits is not an integer.
    ValueError
        If fraction_bits is out of range.

    References
    ----------
    Not in the paper: the integer form in which its shifts run on hardware.
    """
    codes = _code_array(codes)
    return np.asarray(
        np.ldexp(codes.astype(np.float64), -whole("fraction_bits", fraction_bits, 0, 62))
    )


def shift_multiply_fixed_reference(
    codes: ArrayLike, signs: ArrayLike, exponents: ArrayLike
) -> Array:
    """Shift whole arrays of integers: the readable twin of `shift_multiply_fixed`.

    floor(codes * signs * 2^exponents + 1/2), by shifts.

    Parameters, Returns: as `shift_multiply_fixed`.
    """
    codes, signs, exponents = _check_fixed_factors(codes, signs, exponents)
    signed = np.where(signs < 0, -codes, np.where(signs > 0, codes, 0))
    # Shifts by 64 places or more are undefined, hence the bounds. A right shift rounds down; the
    # last bit that it drops, the half, decides whether to go up again.
    left = signed << np.clip(exponents, 0, 63)
    places = np.clip(-exponents, 1, 63)
    right = (signed >> places) + ((signed >> (places - 1)) & 1)
    right = np.where(exponents >= -63, right, 0)  # |code| 2^-64 is below 1/2
    return np.where(exponents >= 0, left, right)


@serial_kernel
def _shift_multiply_fixed_kernel(codes, signs, exponents, out):
    zero, one, most = np.int64(0), np.int64(1), np.int64(63)
    for i in range(codes.size):
        code, places = codes[i], exponents[i]
        if signs[i] < zero:
            code = -code
        elif signs[i] == zero:
            code = zero
        if places >= zero:
            out[i] = code << min(places, most)
        elif places >= -most:
            out[i] = (code >> -places) + ((code >> (-places - one)) & one)
        else:
            out[i] = zero


def shift_multiply_fixed(codes: ArrayLike, signs: ArrayLike, exponents: ArrayLike) -> Array:
    """Multiply fixed point numbers by signed powers of two with << and >>, and nothing else.

    floor(codes * signs * 2^exponents + 1/2). A left shift is exact, and refused where it would
    overflow. A right shift gives the nearest code, ties upwards, after the sign was applied.

    Parameters
    ----------
    codes : array_like, any shape, int64
        Numbers with any number of fraction bits, see `to_fixed`; not -2^63 (has no opposite).
    signs : array_like, broadcastable to the shape of codes, signed integers
        -1, 0 or +1.
    exponents : array_like, broadcastable to the shape of codes, signed integers
        Places to shift by: to the left where positive, to the right where negative.

    Returns
    -------
    array of int64, the shape of `codes`
        Codes with as many fraction bits as before.

    Raises
    ------
    TypeError
        If codes are not int64, or signs or exponents are not signed integers.
    ValueError
        If shapes do not fit, a sign is not -1, 0 or +1, a code is -2^63, or a left shift would
        leave -(2^63 - 1)..2^63 - 1.

    References
    ----------
    Section 2.4, Algorithm 2 (the operation << >>), on integers.

    Examples
    --------
    >>> signs, exponents = ap2_sign_exponent([-0.3, 6.0])
    >>> from_fixed(shift_multiply_fixed(to_fixed([3.0, 5.0], 8), signs, exponents), 8)
    array([-0.75, 40.  ])
    """
    codes, signs, exponents = _check_fixed_factors(codes, signs, exponents)
    out = np.empty(codes.shape, np.int64)
    flat = [a.reshape(-1) for a in (codes, signs, exponents, out)]
    _shift_multiply_fixed_kernel(*flat)
    return out


# Checks of arguments


def _float_array(x: ArrayLike, name: str) -> Array:
    x = as_array(name, x)
    if x.dtype not in _AP2_KERNELS:
        raise TypeError(f"{name}: expected dtype float32 or float64, got {x.dtype}")
    return x


def _check_values(x: Array, name: str, finite: bool) -> None:
    if x.size == 0:
        return
    # The maximum of an array with a NaN is NaN, and finding it needs no temporary array.
    if np.isnan(x.max()):
        index = tuple(map(int, np.argwhere(np.isnan(x))[0]))
        raise ValueError(f"{name}: expected numbers, got NaN (no sign, no exponent) at {index}")
    if finite and (np.isinf(x.max()) or np.isinf(x.min())):
        index = tuple(map(int, np.argwhere(np.isinf(x))[0]))
        raise ValueError(f"{name}: expected finite numbers, got {float(x[index])} at {index}")


def _output_array(out: Array | None, x: Array) -> Array:
    if out is None:
        return np.empty(x.shape, x.dtype)
    if not isinstance(out, np.ndarray):
        raise TypeError(f"out: expected an array of dtype {x.dtype}, got {type(out).__name__}")
    if out.dtype != x.dtype:
        raise TypeError(f"out: expected dtype {x.dtype}, got {out.dtype}")
    if out.shape != x.shape:
        raise ValueError(f"out: expected shape {x.shape}, got {out.shape}")
    if not out.flags.writeable:
        raise ValueError("out: expected a writeable array, got a read-only one")
    return out


def _broadcast(a: Array, name: str, shape: tuple[int, ...]) -> Array:
    try:
        return np.broadcast_to(a, shape)
    except ValueError:
        raise ValueError(f"{name}: expected a shape that fits {shape}, got {a.shape}") from None


def _check_factors(x: ArrayLike, y: ArrayLike) -> tuple[Array, Array]:
    x, y = _float_array(x, "x"), _float_array(y, "y")
    if y.dtype != x.dtype:
        raise TypeError(f"y: expected dtype {x.dtype} as x has, got {y.dtype}")
    _broadcast(y, "y", x.shape)
    _check_values(y, "y", finite=True)
    return x, y


def _code_array(codes: ArrayLike) -> Array:
    codes = np.asarray(as_array("codes", codes), order="C")
    if codes.dtype != np.int64:
        raise TypeError(f"codes: expected dtype int64, got {codes.dtype}")
    return codes


def _check_fixed_factors(
    codes: ArrayLike, signs: ArrayLike, exponents: ArrayLike
) -> tuple[Array, Array, Array]:
    """Check the arguments of a product in fixed point; return them as int64 of one shape."""
    codes = _code_array(codes)
    signs, exponents = as_array("signs", signs), as_array("exponents", exponents)
    for name, a in (("signs", signs), ("exponents", exponents)):
        if a.dtype.kind != "i":
            raise TypeError(f"{name}: expected signed integers, got {a.dtype}")
    signs = _broadcast(signs, "signs", codes.shape).astype(np.int64, order="C")
    exponents = _broadcast(exponents, "exponents", codes.shape).astype(np.int64, order="C")
    if not np.isin(signs, (-1, 0, 1)).all():
        raise ValueError(f"signs: expected -1, 0 or +1, got {signs.min()} to {signs.max()}")
    if np.any(codes < -_INT64_MAX):
        raise ValueError("codes: expected numbers above -2^63, which has no opposite in int64")
    room = np.int64(_INT64_MAX) >> np.clip(exponents, 0, 63)
    overflow = (np.abs(codes) > room) & (signs != 0)
    if overflow.any():
        index = tuple(map(int, np.argwhere(overflow)[0]))
        raise ValueError(
            f"exponents: a left shift of code {codes[index]} by {exponents[index]} places leaves "
            f"int64 at {index}; fewer fraction bits leave more room"
        )
    return codes, signs, exponents
