r"""Slope of a function from its values alone, and whether the function has a kink there.

One-sided quotients :math:`q_\pm(t) = \pm(f(\pm t) - f(0)) / t` are taken at h and h / 4 and
extrapolated, :math:`\frac13 (4 q(h/4) - q(h))`. That removes the term in h, so either side is
exact to h^2 on its own, and so is their mean where the *second* derivative jumps exactly at the
point (the squared hinge at margin 1). The gap between the sides tells a kink: it is of the order
h^3 for a smooth function, and the jump of the slope at a kink, whatever the step.

Where the function is smooth, the mean of both sides extrapolated by
:math:`\frac1{15} (16 q(h/4) - q(h))` is exact to h^4, which matters behind a batch norm whose
batch hardly varies.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from qnn_ref._typing import Array

STEP = 2.0**-16
"""Balances truncation (h^2) and rounding (epsilon / h) at about 1e-10 in float64. A power of two
keeps h exact beside +-1 and whole numbers."""

# Tried in turn until one agrees. Smaller steps leave a nearby kink outside, larger ones see less
# rounding (a gradient that is 0, such as that of a shift below a batch norm, is nothing else). The
# first two are also those that tell a kink from noise.
FACTORS = (1.0, 1 / 16, 16.0, 1 / 256, 256.0)
CLOSE = 0.01  # of what is allowed: closer agreement needs no other step
FAR = 100.0  # times what is allowed: where two steps agree with each other, no other one helps


@dataclass(frozen=True)
class Slope:
    """A numeric derivative.

    Parameters
    ----------
    value : float
        Of all estimates, the one nearest to what was expected.
    left, right : float
        One-sided derivatives at the first step.
    kink : bool
        Whether both sides differ at every step, by more than rounding: within the smallest one the
        function has no derivative. There may be several kinks, at different distances. Also where
        no step leads to finite values: the point is at the edge of what the function takes.
    scatter : float
        How far the two steps that agree best are apart. Where this is as large as the error, the
        differences say nothing: no step lies between curvature and rounding.
    """

    value: float
    left: float
    right: float
    kink: bool
    scatter: float


@dataclass(frozen=True)
class Estimate:
    """Derivatives at one step: of the left, of the right, and of a smooth function."""

    left: float
    right: float
    smooth: float

    @property
    def finite(self) -> bool:
        """False where a step leads out of what the function takes, as for a logarithm."""
        return bool(np.isfinite([self.left, self.right, self.smooth]).all())

    @property
    def gap(self) -> float:
        """How much the slope jumps."""
        return self.right - self.left

    def nearest(self, expected: float) -> float:
        """The mean of both sides or the smooth estimate, whichever is nearer to `expected`."""
        middle = (self.left + self.right) / 2
        return min(middle, self.smooth, key=lambda value: abs(value - expected))


def estimate(
    function: Callable[[float], Array], base: Array, covector: Array, step: float
) -> Estimate:
    """Derivatives of `t -> <covector, function(t)>` at 0 from four values.

    Parameters
    ----------
    function : function
        Values, any shape, of a float t.
    base : array
        `function(0.0)`.
    covector : array, the shape of `base`
        Values are subtracted before they are summed up: what does not change adds no rounding.
    step : float
        The larger of the two steps, h.

    Returns
    -------
    Estimate
    """

    def quotient(t: float) -> float:
        return float(np.vdot(covector, function(t) - base)) / t

    (left, near_left), (right, near_right) = (
        (quotient(sign * step), quotient(sign * step / 4)) for sign in (-1, 1)
    )
    return Estimate(
        left=(4 * near_left - left) / 3,
        right=(4 * near_right - right) / 3,
        smooth=(16 * (near_left + near_right) - (left + right)) / 30,
    )


def _agree(found: list[Estimate], error: float, allowed: float) -> bool:
    """Whether two steps give the same smooth slope, closer than the error by far."""
    if len(found) < 2 or any(abs(e.gap) > 2 * allowed for e in found):
        return False
    return abs(found[0].smooth - found[1].smooth) <= 0.01 * error


def _bent(found: dict[float, Estimate]) -> bool:
    """Whether the gaps between both sides are those of kinks, not of rounding.

    A kink opens the same gap at every step that it is within, rounding one that is sixteen times as
    wide at a sixteenth of the step.
    """
    gaps = [abs(found[factor].gap) for factor in sorted(found)]
    return any(
        gap > 3 * max(gaps[i - 1] / 16, gaps[i - 2] / 256 if i > 1 else 0.0)
        for i, gap in enumerate(gaps)
        if i > 0
    )


def slope_along(
    function: Callable[[float], Array],
    base: Array,
    covector: Array,
    *,
    step: float,
    expected: float,
    allowed: float,
) -> Slope:
    """Derivative of `t -> <covector, function(t)>` at 0, from values alone.

    `expected` decides only which of several step sizes is believed, never the value: a gradient is
    called wrong only if no step agrees with it, or two agree with each other on something far off.

    Parameters
    ----------
    function : function
        Values, any shape, of a float t.
    base : array
        `function(0.0)`.
    covector : array, the shape of `base`
    step : float
        The first step; see `FACTORS` for the others.
    expected : float
        The analytic derivative.
    allowed : float
        Largest difference that counts as agreement.

    Returns
    -------
    Slope
    """
    by_factor: dict[float, Estimate] = {}
    found: list[Estimate] = []
    for factor in FACTORS:
        here = estimate(function, base, covector, step * factor)
        if not here.finite:
            continue
        by_factor[factor] = here
        found.append(here)
        error = abs(here.nearest(expected) - expected)
        if error <= CLOSE * allowed and abs(here.gap) <= 2 * allowed:
            break
        if error > FAR * allowed and _agree(found[-2:], error, allowed):
            break
    if not found:
        return Slope(0.0, 0.0, 0.0, True, 0.0)
    # Half the gap of a kink is what the mean of both sides is off.
    agree = [e for e in found if abs(e.gap) <= 2 * allowed]
    value = min(
        (e.nearest(expected) for e in agree or found), key=lambda value: abs(value - expected)
    )
    kink = not agree and _bent(by_factor)
    values = sorted(e.smooth for e in found)
    alone = 0.0 if agree else math.inf  # nothing to compare it with
    scatter = min((b - a for a, b in pairwise(values)), default=alone)
    return Slope(value, found[0].left, found[0].right, kink, scatter)
