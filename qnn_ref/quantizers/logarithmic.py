r"""LogQuant: k bits on a grid of powers of two, with a zero (section 3).

The paper prints :math:`\mathrm{Clip}(\mathrm{AP2}(x), minV, maxV)`. That limits the magnitude from
above only; without a smallest exponent there is no bit width. Here k bits are a sign, k - 1 bits of
exponent, and one code for zero: exponents from E - (2^(k-1) - 2) to E.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from qnn_ref._typing import Array
from qnn_ref.checks import flag, whole
from qnn_ref.grid import Encoding
from qnn_ref.quantizers.base import (
    Quantizer,
    as_real,
    check_noise,
    check_rng,
    check_saturation,
    masked,
)
from qnn_ref.shifts import ap2, ap2_reference


def log_codes_reference(x: Array, lowest: int, highest: int) -> Array:
    """Powers of two in units of the smallest one, by the readable AP2: the twin of `log_codes`.

    Parameters, Returns: as `log_codes`.
    """
    end = x.dtype.type(2.0**highest)
    codes = np.ldexp(ap2_reference(np.clip(x, -end, end)), -lowest)
    return np.where(np.abs(codes) < 1, x.dtype.type(0), codes)


def log_codes(x: Array, lowest: int, highest: int) -> Array:
    r"""Powers of two in units of the smallest one: :math:`\mathrm{sign}(x)\,2^{e - e_{min}}`.

    e is round(log2|x|); above `highest` it saturates, and below `lowest` the code is 0.

    Parameters
    ----------
    x : array, any shape
        float32 or float64, without NaN.
    lowest, highest : int
        Smallest and largest exponent.

    Returns
    -------
    array, the shape and dtype of `x`
        0 and +-2^j, j from 0 to highest - lowest.

    References
    ----------
    Section 3, LogQuant with finite exponents.
    """
    end = x.dtype.type(2.0**highest)
    codes = np.asarray(np.clip(x, -end, end))  # a scalar becomes an array
    ap2(codes, out=codes)
    codes *= codes.dtype.type(2.0**-lowest)
    codes[np.abs(codes) < 1] = 0
    return codes


def stochastic_log_codes(x: Array, noise: Array, lowest: int, highest: int) -> Array:
    r"""One of the two neighbouring powers of two, so that the mean is x.

    Between :math:`2^e` and :math:`2^{e+1}` the upper one is taken with the probability
    :math:`(|x| - 2^e) / 2^e`; below the smallest power it is taken with :math:`|x| / 2^{e_{min}}`,
    and 0 otherwise. Above the largest power the code saturates, and the mean is not x.

    Parameters
    ----------
    x : array, any shape
    noise : array, the shape of `x`
        Uniform in [0, 1).
    lowest, highest : int
        Smallest and largest exponent.

    Returns
    -------
    array, the shape and dtype of `x`
        0 and +-2^j, j from 0 to highest - lowest.

    References
    ----------
    Section 3, the unbiased form in the log domain.
    """
    kind = x.dtype.type
    units = np.abs(np.clip(x, -kind(2.0**highest), kind(2.0**highest))) * kind(2.0**-lowest)
    _, exponents = np.frexp(units)
    below = np.where(units < 1, kind(0), np.ldexp(kind(1), exponents - 1))
    above = np.where(units < 1, kind(1), 2 * below)
    up = noise * (above - below) < units - below
    return np.copysign(np.where(up, above, below), x) + kind(0)


@dataclass(frozen=True, repr=False)
class LogQuant(Quantizer):
    r"""k bits: 0 and the powers of two :math:`\pm 2^{E-R}, \dots, \pm 2^E`, R = 2^(k-1) - 2.

    ============== =====================================================================
    levels         2^k - 1; codes are 0 and +-2^j, j from 0 to R; the scale is 2^(E-R)
    value          sign(x) 2^round(log2 abs(x)); 0 where the exponent would be below E - R
    stochastic     with noise of `draw`: the neighbouring powers, so that the mean is x
    at 0 and -0.0  0
    at +-inf       +-2^E
    at NaN         ValueError
    surrogate      clip(x, -saturation 2^E, saturation 2^E)
    at the bound   the gradient passes: inclusive
    ============== =====================================================================

    Parameters
    ----------
    bits : int
        From 2 (-1, 0, +1) to 8.
    exponent : int or None
        The largest exponent E; 0 for values in [-1, 1]. None takes it from the data, as for
        gradients: that of AP2(max abs(x)), or for the stochastic form the next power above, since
        saturation would bias it; at most the float type's largest. Such a quantizer has no encoding
        in advance.
    stochastic : bool
        Whether `draw` draws.
    saturation : float
        Widens the surrogate's range; forward does not change.

    References
    ----------
    Section 3, LogQuant (the paper's formula has no smallest exponent; the finite form follows
    Miyashita et al., made signed); gradient eq. (4).

    Examples
    --------
    >>> LogQuant(4).quantize(np.array([-3.0, -0.1, 0.0, 0.3, 9.0]))
    array([-1.   , -0.125,  0.   ,  0.25 ,  1.   ])
    """

    bits: int
    exponent: int | None = 0
    stochastic: bool = False
    saturation: float = 1.0

    def __post_init__(self) -> None:
        check_saturation(self.saturation)
        why = "one bit has no room for a sign and a zero"
        # 2**bits of a NumPy integer may wrap: a plain one.
        object.__setattr__(self, "bits", whole("bits", self.bits, 2, 8, why))
        flag("stochastic", self.stochastic)
        if self.exponent is None:
            return
        # Below 2^-126 the scale would be no normal number of float32.
        least, why = max(-60, self.octaves - 126), f"for {self.bits} bits"
        object.__setattr__(self, "exponent", whole("exponent", self.exponent, least, 60, why))

    @property
    def octaves(self) -> int:
        """Exponents below the largest one, R."""
        return 2 ** (self.bits - 1) - 2

    @property
    def encoding(self) -> Encoding:
        if self.exponent is None:
            raise TypeError("LogQuant: its range comes from the data; there is no fixed grid")
        largest = 2.0**self.octaves
        return Encoding(2.0 ** (self.exponent - self.octaves), -largest, largest, 1)

    @property
    def levels(self) -> Array:
        if self.octaves > 30:
            raise ValueError(f"LogQuant: the codes of {self.bits} bits do not fit in 31 bits")
        powers = 2 ** np.arange(self.octaves + 1)
        return np.concatenate([-powers[::-1], [0], powers]).astype(np.int32)

    def highest(self, x: Array) -> int:
        """The largest exponent for this data, any shape."""
        if self.exponent is not None:
            return self.exponent
        largest = float(np.abs(x).max(initial=0))
        if largest == 0:
            return 0
        if not np.isfinite(largest):
            raise ValueError("x: expected finite numbers, since the range is taken from them")
        mantissa, exponent = np.frexp(largest)
        below = mantissa == 0.5 if self.stochastic else mantissa < np.sqrt(0.5)
        return min(int(exponent - below), int(np.finfo(x.dtype).maxexp) - 1)

    def draw(self, shape: tuple[int, ...], rng: np.random.Generator | None) -> Array | None:
        if not self.stochastic:
            return None
        return check_rng(rng, "a stochastic LogQuant").random(shape)

    def encode(self, x: Array, noise: Array | None = None) -> tuple[Array, float]:
        x = as_real(x)
        highest = self.highest(x)
        # No power below the normal numbers: as a float32 the scale would be 0.
        lowest = max(highest - self.octaves, int(np.finfo(x.dtype).minexp))
        if noise is None:
            return log_codes(x, lowest, highest), 2.0**lowest
        return stochastic_log_codes(x, check_noise(noise, x), lowest, highest), 2.0**lowest

    def _end(self, x: Array) -> float:
        return self.saturation * 2.0 ** self.highest(x)

    def surrogate(self, x: Array) -> Array:
        end = self._end(x)
        return np.clip(x, -end, end)

    def backward(self, dy: Array, x: Array) -> Array:
        return masked(dy, np.abs(x) <= self._end(x))
