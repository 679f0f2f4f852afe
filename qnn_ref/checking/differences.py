r"""Slope of a function from its values alone, and whether the function has a kink there.

One-sided quotients :math:`q_\pm(t) = \pm(f(\pm t) - f(0)) / t` are taken at h and h / 4 and
extrapolated, :math:`\frac13 (4 q(h/4) - q(h))`. That removes the term in h, so either side is
exact to h^2 on its own, and so is their mean where the *second* derivative jumps exactly at the
point (the squared hinge at margin 1). The gap between the sides tells a kink: it is of the order
h^3 for a smooth function, and the jump of the slope at a kink, whatever the step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

STEP = 2.0**-16
"""Balances truncation (h^2) and rounding (epsilon / h) at about 1e-10 in float64. A power of two
keeps h exact beside +-1 and whole numbers."""

# Tried in turn until one agrees. Smaller steps leave a nearby kink outside, larger ones see less
# rounding. The first two are also those that tell a kink from noise.
FACTORS = (1.0, 1 / 16, 16.0, 1 / 256)


@dataclass(frozen=True)
class Slope:
    """A numeric derivative.

    Parameters
    ----------
    value : float
        The mean of both sides; of all steps tried, the one nearest to what was expected.
    left, right : float
        One-sided derivatives at the first step.
    kink : bool
        Whether they differ at every step: the function has no derivative here.
    """

    value: float
    left: float
    right: float
    kink: bool


def one_sided(
    function: Callable[[float], Array], base: Array, covector: Array, step: float
) -> tuple[float, float]:
    """Left and right derivative of `t -> <covector, function(t)>` at 0, each exact to step^2.

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
    left, right : float
    """
    sides = []
    for sign in (-1.0, 1.0):
        far, near = (
            sign * float(np.vdot(covector, function(sign * t) - base)) / t for t in (step, step / 4)
        )
        sides.append((4 * near - far) / 3)
    return sides[0], sides[1]


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
    called wrong only if no step agrees with it.

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
    found: list[tuple[float, float]] = []
    for factor in FACTORS:
        left, right = one_sided(function, base, covector, step * factor)
        found.append((left, right))
        middle = (left + right) / 2
        if abs(middle - expected) <= allowed and abs(right - left) <= 4 * allowed:
            return Slope(middle, *found[0], kink=False)
    first, second = (right - left for left, right in found[:2])
    stays = abs(first - second) <= 0.4 * abs(first)  # rounding would grow sixteenfold
    middles = [(left + right) / 2 for left, right in found]
    return Slope(
        min(middles, key=lambda value: abs(value - expected)),
        *found[0],
        kink=stays and min(abs(first), abs(second)) > 4 * allowed,
    )
