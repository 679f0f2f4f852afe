r"""LinearQuant: k bits on a grid of equal steps (section 3).

The paper prints :math:`\mathrm{Clip}(\mathrm{round}(x / \text{bitwidth}) \cdot \text{bitwidth},
minV, maxV)`. Read literally, the bit width is the step; the formula's origin divides by a *step*.
Three readings are offered by name:

- **symmetric** (default; "L3"): :math:`2^k` levels from -H to H, both ends included, no zero. Its
  bit planes are signs, so k runs of the XNOR kernel compute with it, and one bit of it is `Sign`.
- **fixed-point** ("L1"): the literal formula with a step, by default :math:`2^{-(k-1)}`. It has a
  zero, and its top level 1 is missing: :math:`2^k + 1` levels do not fit in k bits.
- **unsigned** ("L5"): :math:`2^k` levels from 0 to the upper end.

Ties go up, floor(z + 1/2), in all of them: only so is the symmetric one with one bit equal to Sign
at 0. L1, L3 and L5 number the readings in the list of those that were found; they give the same
objects.
"""

# mypy: allow-untyped-defs

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from qnn_ref import shown
from qnn_ref._typing import Array
from qnn_ref.checks import FLOATS, all_finite, as_array, check_array, choice, real, whole
from qnn_ref.compiled import serial_kernel
from qnn_ref.grid import Encoding
from qnn_ref.quantizers.base import Quantizer, as_real, check_saturation, masked

READINGS = {"L3": "symmetric", "L1": "fixed-point", "L5": "unsigned"}
"""The readings, and the short names that give the same objects."""
LARGEST_BITS = 16
"""Codes of more bits would be no whole numbers in float32 after a product."""
BLOCK = 256
"""Numbers that are rounded together; if one is beside a jump, all are looked at once more."""
LARGEST_CODE = 2**24
"""Whole numbers up to it are exact in float32; a range far from 0 has larger codes."""
FARTHEST = 2.0**60
"""Ends of a range beyond it, or closer than its inverse, have no scale in float32."""


def _check_rounding(
    x: Array, count: int, width: float, offset: float, low: float, high: float
) -> Array:
    x = as_array("x", x)  # a number of NumPy's is an array without axes
    check_array("x", x, FLOATS, ("...",))
    all_finite("x", x)
    whole("count", count, 1, LARGEST_CODE)
    real("width", width, above=0)
    real("offset", offset, least=0, below=1)
    real("high", high, least=real("low", low))
    return x


def round_half_up_reference(
    x: Array, count: int, width: float, offset: float, low: float, high: float
) -> Array:
    """Nearest whole multiple of a step, in NumPy: the twin of `round_half_up`.

    Parameters, Returns: as `round_half_up`.
    """
    x = _check_rounding(x, count, width, offset, low, high)
    wide = x.astype(np.float64) * count
    whole = np.floor_divide(wide, width)
    if offset:
        whole = whole + (np.remainder(wide, width) >= width * offset)
    codes = np.clip(whole, low, high) + 0.0  # no -0.0 among the codes
    return np.asarray(codes, x.dtype)


@serial_kernel
def _round_half_up(x, count, width, offset, low, high, out):
    """Round a block by plain division, a vector at a time, and look closer where that may be wrong.

    The quotient is wrong by less than 2^-50 of its size. Where the number that is to be rounded
    down is farther than that from a whole one, its floor is right.
    """
    for start in range(0, x.size, BLOCK):
        end = min(start + BLOCK, x.size)
        near = np.int64(0)
        for i in range(start, end):
            quotient = np.float64(x[i]) * count / width
            moved = quotient + (1.0 - offset if offset > 0 else 0.0)
            whole = np.floor(moved)
            above, margin = moved - whole, 2.0**-40 * (1.0 + abs(quotient))
            near += np.int64(above < margin) + np.int64(above > 1.0 - margin)
            out[i] = min(max(whole, low), high) + 0.0
        if near:
            for i in range(start, end):
                wide = np.float64(x[i]) * count
                moved = wide / width + (1.0 - offset if offset > 0 else 0.0)
                if abs(moved - np.rint(moved)) > 2.0**-39 * (1.0 + abs(moved)):
                    continue  # this one is right
                whole = wide // width
                if offset > 0 and wide % width >= width * offset:
                    whole += 1.0
                out[i] = min(max(whole, low), high) + 0.0


def round_half_up(
    x: Array, count: int, width: float, offset: float, low: float, high: float
) -> Array:
    r"""Whole numbers of steps: :math:`\lfloor x\,\mathrm{count} / \mathrm{width} + o' \rfloor`.

    A `width` holds `count` steps. They are given as two numbers because a step such as 1/3 is no
    float: with a rounded one the tie at 1/2 would fall to either side. The offset is the fraction
    of a step from which on a number is rounded up: 1/2 for the nearest multiple with ties up, 0 for
    the multiple below.

    In float64, x count is exact for float32 numbers (others with more than 37 digits are rounded).
    Quotient and remainder are those of the exact floor division, and the remainder is compared, so
    that no sum like 0.49999997 + 0.5 is rounded to 1 on the way.

    Parameters
    ----------
    x : array, any shape
        float32 or float64, finite.
    count : int
        Number of steps in a width, up to 2^16.
    width, offset : float
    low, high : float
        The smallest and the largest result.

    Returns
    -------
    array, the shape and dtype of `x`
        Whole numbers.

    Raises
    ------
    TypeError, ValueError
        If `x` is no array of finite float32 or float64 numbers, or another number is out of range.

    References
    ----------
    Section 3, the rounding of LinearQuant.
    """
    x = _check_rounding(x, count, width, offset, low, high)
    out = np.empty(x.shape, x.dtype)
    numbers = map(float, (count, width, offset, low, high))
    _round_half_up(np.ascontiguousarray(x).reshape(-1), *numbers, out.reshape(-1))
    return out


def clip_backward(dy: Array, x: Array, low: float, high: float) -> Array:
    r"""Gradient of clip(x, low, high): :math:`\delta_x = \delta_y\,1[low \le x \le high]`.

    Parameters
    ----------
    dy : array, any shape
    x : array, the shape of `dy`
    low, high : float
        Both belong to the inside.

    Returns
    -------
    array, the shape of `x`

    References
    ----------
    Eq. (4) for a range [minV, maxV].
    """
    return masked(dy, (x >= low) & (x <= high))


@lru_cache(maxsize=1024)
def _encoding(bits: int, low: float, high: float, reading: str, step: float | None) -> Encoding:
    """Scale and grid of a `LinearQuant`; it is asked in each step of a recurrent layer."""
    n = 2**bits - 1
    if reading == "symmetric":
        return Encoding(high / n, -n, n, 2)
    if reading == "unsigned":
        return Encoding(high / n, 0, n, 1)
    step = step or (high - low) / 2**bits
    first = math.ceil(low / step)
    return Encoding(step, first, min(math.floor(high / step), first + n), 1)


@dataclass(frozen=True, repr=False)
class LinearQuant(Quantizer):
    r"""k bits on a grid of equal steps; three readings of the paper's formula.

    With n = 2^k - 1, H = `high`, and floor(z + 1/2) as rounding:

    ============== =====================================================================
    symmetric      -H + 2H/n round(n (clip(x, -H, H) + H) / 2H): codes -n, -n + 2, ..., n,
                   scale H/n
    fixed-point    clip(round(x / step) step, low, high): codes round(x / step), scale step;
                   by default the step is H 2^-(k-1), and the top level H is missing
    unsigned       round(n clip(x, 0, H) / H) H/n: codes 0, 1, ..., n, scale H/n
    levels         at most 2^k
    at 0 and -0.0  symmetric: the smallest level above 0 (+1 for one bit); the others: 0
    ties           up
    at +-inf       the last level
    at NaN         ValueError
    surrogate      clip(x, saturation low, saturation high)
    at the bound   the gradient passes: inclusive, for fixed-point at `high` too
    ============== =====================================================================

    Parameters
    ----------
    bits : int
        From 1 (fixed-point: from 2) to 16.
    low : float, optional
        Lower end; -high by default (unsigned: 0). Only fixed-point takes another one.
    high : float
        Upper end.
    reading : {"symmetric", "fixed-point", "unsigned"}
        "L3", "L1" and "L5" are other names of the three.
    step : float, optional
        Fixed-point only: the step, instead of the one that the bits give.
    saturation : float
        Widens the surrogate's range (the paper's relaxed boundary); forward does not change.

    References
    ----------
    Section 3, LinearQuant (equation 8 or 9, the number is uncertain); gradient eq. (4).
    Fixed-point is Miyashita et al.'s formula made signed, unsigned is DoReFa's. Which reading the
    paper's tables used is not known.

    Examples
    --------
    >>> LinearQuant(2).encode(np.array([-3.0, -0.5, 0.0, 0.9]))
    (array([-3., -1.,  1.,  3.]), 0.3333333333333333)
    """

    bits: int
    low: float | None = None
    high: float = 1.0
    reading: str = "symmetric"
    step: float | None = None
    saturation: float = 1.0

    def __post_init__(self) -> None:
        check_saturation(self.saturation)
        reading = choice("reading", self.reading, (*READINGS.values(), *READINGS))
        object.__setattr__(self, "reading", READINGS.get(reading, reading))
        least = 2 if self.reading == "fixed-point" else 1
        why = f"for {self.reading}"
        if self.reading == "fixed-point":
            why = "with one bit the fixed-point levels would be -1 and 0; symmetric is Sign"
        # 2**bits of a NumPy integer may wrap, and steps of a float32 are rounded: plain numbers.
        object.__setattr__(self, "bits", whole("bits", self.bits, least, LARGEST_BITS, why))
        object.__setattr__(self, "high", real("high", self.high))
        if self.low is None:
            object.__setattr__(self, "low", 0.0 if self.reading == "unsigned" else -self.high)
        object.__setattr__(self, "low", real("low", self.low))
        if not self._low < self.high:
            raise ValueError(f"low: expected less than high = {self.high}, got {self.low}")
        if max(-self._low, self.high) > FARTHEST or self.high - self._low < 1 / FARTHEST:
            raise ValueError(
                f"high: expected ends within +-2^60 and 2^-60 apart, got {self._low:g} and "
                f"{self.high:g}"
            )
        fixed = {"symmetric": -self.high, "unsigned": 0.0}.get(self.reading, self._low)
        if self._low != fixed:
            raise ValueError(
                f"low: {self.reading} needs {fixed:g} for high = {self.high:g}, got {self.low:g}; "
                "fixed-point takes any range"
            )
        if self.step is not None:
            object.__setattr__(self, "step", real("step", self.step, above=0))
            self._check_step(self.step)
        if self.encoding.largest > LARGEST_CODE:
            raise ValueError(
                f"low: codes up to {self.encoding.largest:g} from {self._low:g} to {self.high:g} "
                "are no whole numbers in float32"
            )

    @property
    def _low(self) -> float:
        assert self.low is not None
        return self.low

    def _check_step(self, step: float) -> None:
        if self.reading != "fixed-point":
            raise ValueError(f"step: only fixed-point takes a step, got {step} for {self.reading}")
        levels = math.floor(self.high / step) - math.ceil(self._low / step) + 1
        if levels < 2:
            raise ValueError(
                f"step: expected two levels from {self.low:g} to {self.high:g} at least, got "
                f"{levels} in steps of {step:g}"
            )
        if levels > 2**self.bits:
            raise ValueError(
                f"step: {levels} levels from {self.low:g} to {self.high:g} in steps of {step:g} "
                f"do not fit in {self.bits} bits"
            )

    def __repr__(self) -> str:
        low = self.low if self.reading == "fixed-point" and self.low != -self.high else None
        return shown.call(self, vars(self) | {"low": low})

    @property
    def encoding(self) -> Encoding:
        return _encoding(self.bits, self._low, self.high, self.reading, self.step)

    def encode(self, x: Array, noise: Array | None = None) -> tuple[Array, float]:
        x = as_real(x)
        grid = self.encoding
        inside = np.clip(x, x.dtype.type(self._low), x.dtype.type(self.high))
        n = 2**self.bits - 1
        if self.reading == "fixed-point":
            return round_half_up(inside, 1, grid.scale, 0.5, grid.low, grid.high), grid.scale
        if self.reading == "unsigned":
            return round_half_up(inside, n, self.high, 0.5, 0.0, float(n)), grid.scale
        # The code between 2 j scale and 2 (j + 1) scale is 2 j + 1: a floor, exact at 0.
        below = round_half_up(inside, n, 2 * self.high, 0.0, -(n + 1) / 2, (n - 1) / 2)
        return 2 * below + 1, grid.scale

    @property
    def _bounds(self) -> tuple[float, float]:
        """Ends of the surrogate; 0 stays 0 for an infinite saturation too."""
        low = self.saturation * self._low if self._low else 0.0
        return low, self.saturation * self.high if self.high else 0.0

    def surrogate(self, x: Array) -> Array:
        return np.clip(x, *self._bounds)

    def backward(self, dy: Array, x: Array) -> Array:
        return clip_backward(dy, x, *self._bounds)
