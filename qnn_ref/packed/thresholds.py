r"""Quantized batch norm of an integer sum as an integer compare (Algorithm 5).

:math:`\mathrm{Sign}(\mathrm{BN}(s))` is monotone in the integer s: it jumps once, or never. Where
it jumps is not computed from a formula, which would round differently in a quarter of the cases;
the *trained float code* is asked. A bisection over all possible sums, for all channels at once,
finds the exact jump, with ties and rounding as they are in training.

The steps that come of it are `Threshold` for one bit and `Levels` for more. `Scores` is the one
affine map, of ten numbers, that stays float arithmetic.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from qnn_ref._typing import Array
from qnn_ref.bits import pack_thresholds
from qnn_ref.checks import all_finite, real
from qnn_ref.grid import SIGNS, Grid
from qnn_ref.layers.normalization import normalize
from qnn_ref.layers.weighted import scale_and_add
from qnn_ref.packed.stages import Flow, Stage, expect, expect_channels, expect_flow


def find_thresholds(
    sign_of: Callable[[Array], Array], largest: int, channels: int
) -> tuple[Array, Array]:
    r"""Thresholds T and flips f: :math:`\mathrm{Sign}(a(s)) = +1 \iff (s \ge T) \oplus f`.

    A positive gain gives f = False and the smallest s with +1 as T; a negative gain turns the
    comparison: f = True, and T is the smallest s with -1. A gain of 0 makes the channel constant:
    T = -largest with f = False for +1, f = True for -1.

    Parameters
    ----------
    sign_of : function
        From whole numbers (channels,), int64, to the codes +-1 (channels,) that the trained layers
        give for these sums. Must be monotone in each channel.
    largest : int
        Largest magnitude of a sum: K times the largest product of two codes.
    channels : int
        Number of channels.

    Returns
    -------
    thresholds : array (channels,) of int32
    flip : array (channels,) of bool

    Raises
    ------
    ValueError
        If the sums do not fit 31 bits.

    References
    ----------
    Algorithm 5, Sign(BN(a)); section 2.6.
    """
    if largest >= 2**31:
        raise ValueError(f"largest: sums up to {largest} do not fit 31 bits")
    low = np.full(channels, -largest, np.int64)
    high = np.full(channels, largest, np.int64)
    at_low, at_high = sign_of(low), sign_of(high)
    constant = at_low == at_high
    # Invariant: the sign at `low` is that of the lower end, at `high` that of the upper end.
    while np.any(high - low > 1):
        middle = (low + high) // 2
        below = sign_of(middle) == at_low
        low = np.where(below, middle, low)
        high = np.where(below, high, middle)
    thresholds = np.where(constant, -largest, high)
    flip = np.where(constant, at_high < 0, at_high < at_low)
    return thresholds.astype(np.int32), flip


@dataclass(eq=False)
class Threshold(Stage):
    """Sign of batch norm as an integer compare: the bit is `(s >= at) XOR flip`.

    Parameters
    ----------
    at : array of int32 (units,)
    flip : array of bool (units,)

    References
    ----------
    Algorithm 5, Sign(BN(a)).
    """

    at: Array
    flip: Array

    def __post_init__(self) -> None:
        expect("at", self.at, np.int32, (np.size(self.at),))
        expect("flip", self.flip, np.bool_, (np.size(self.at),))

    def output(self, flow: Flow) -> Flow:
        expect_flow(flow, "integers")
        expect_channels(flow, len(self.at))
        _expect_possible(self.at, flow)
        return Flow("bits", flow.shape, SIGNS)

    def run(self, x: Array) -> Array:
        """Packed signs (batch, ..., words) of sums (batch, ..., units)."""
        words = pack_thresholds(x.reshape(-1, len(self.at)), self.at, self.flip)
        return words.reshape(*x.shape[:-1], words.shape[-1])


@dataclass(eq=False)
class Levels(Stage):
    """Quantized batch norm of more than one bit: codes by counting passed thresholds.

    The code is `codes[j]`, j the number of thresholds t with `(s >= at[t]) XOR flip[t]`.

    Parameters
    ----------
    at : array of int32 (levels - 1, units)
    flip : array of bool (levels - 1, units)
    codes : array of int32 (levels,)
        Ascending.

    References
    ----------
    Section 3; Algorithm 5 for more than one bit is ours.
    """

    at: Array
    flip: Array
    codes: Array

    def __post_init__(self) -> None:
        expect("codes", self.codes, np.int32, (np.size(self.codes),))
        if len(self.codes) < 2 or np.any(self.codes[1:] <= self.codes[:-1]):
            raise ValueError("codes: expected two or more, each larger than the one before it")
        shape = len(self.codes) - 1, np.shape(self.at)[-1] if np.ndim(self.at) else 0
        expect("at", self.at, np.int32, shape)
        expect("flip", self.flip, np.bool_, shape)

    def output(self, flow: Flow) -> Flow:
        expect_flow(flow, "integers")
        expect_channels(flow, self.at.shape[1])
        _expect_possible(self.at, flow)
        codes = self.codes.tolist()
        step = math.gcd(*(code - codes[0] for code in codes))
        return Flow("integers", flow.shape, Grid(codes[0], codes[-1], step))

    def run(self, x: Array) -> Array:
        """Codes, int32, of sums, both (batch, ..., units)."""
        passed = np.zeros(x.shape, np.int32)
        for at, flip in zip(self.at, self.flip, strict=True):
            passed += (x >= at) ^ flip
        return self.codes[passed]


def _expect_possible(at: Array, flow: Flow) -> None:
    low, high, _ = flow.grid
    if at.size and (at.min() < low or at.max() > high):
        worst = at.min() if at.min() < low else at.max()
        raise ValueError(f"at: expected thresholds from {low} to {high}, got {worst}")


@dataclass(eq=False)
class Scores(Stage):
    """The last layer's float arithmetic: scale, bias and batch norm, exactly as in training.

    Parameters
    ----------
    dtype : str
        Float type of the trained network.
    scale : float
        Value of one unit of the sums.
    bias, mean, inverse_deviation, gain, shift : array (classes,), optional
        Without batch norm the last four are missing.

    References
    ----------
    Algorithm 5, line 3: the last layer's sums stay real.
    """

    dtype: str
    scale: float
    bias: Array | None = None
    mean: Array | None = None
    inverse_deviation: Array | None = None
    gain: Array | None = None
    shift: Array | None = None

    def __post_init__(self) -> None:
        if self.dtype not in ("float32", "float64"):
            raise ValueError(f"dtype: expected float32 or float64, got {self.dtype!r}")
        self.scale = real("scale", self.scale, above=0, most=float(np.finfo(self.dtype).max))
        affine = self.arrays().keys() - {"bias"}
        if len(affine) not in (0, 4):
            raise ValueError("mean, inverse_deviation, gain, shift: expected all four or none")
        for name, array in self.arrays().items():
            expect(name, array, self.dtype, (np.size(array),))
            all_finite(name, array)

    def output(self, flow: Flow) -> Flow:
        expect_flow(flow, "integers")
        if len(flow.shape) != 1:
            raise ValueError(f"expected a row of sums, got {flow.shape}")
        for name, array in self.arrays().items():
            if array.shape != flow.shape:
                raise ValueError(f"{name}: expected {flow.shape[0]} classes, got {len(array)}")
        return flow

    def run(self, x: Array) -> Array:
        """Scores (batch, classes) of sums (batch, classes)."""
        y = scale_and_add(x.astype(self.dtype), self.scale, self.bias)
        if self.mean is None:
            return y
        affine = (self.mean, self.inverse_deviation, self.gain, self.shift)
        return normalize(y, *affine)  # type: ignore[arg-type]
