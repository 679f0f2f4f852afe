r"""A surrogate around a point, along the piece that the point is on, and what it is called.

The bounds of a surrogate are found from its values alone: where the slopes on both sides of a
number differ. Backward is not asked, it is what a check judges.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from qnn_ref._typing import Array

Function = Callable[[Array], Array]

NEAR = 2.0**-20
"""Slopes are taken over this distance, times the size of the number where that is above 1."""


def slope_of(value: Function, x: Array) -> Array:
    """Slope of the piece that each element of `x` is on.

    Parameters
    ----------
    value : function
        Element by element.
    x : array, any shape

    Returns
    -------
    array, the shape of `x`
        At a bound, that of one of both sides.
    """
    near = NEAR * np.maximum(1, np.abs(x))
    here, below, above = value(x), x - near, x + near
    left, right = (here - value(below)) / (x - below), (value(above) - here) / (above - x)
    bend = np.abs(left - right) > 1e-4 * np.maximum(np.abs(left), np.abs(right))
    if not bend.any():
        return (left + right) / 2
    # A bound is near: the neighbours in float64 tell on which side of it x is.
    under, over = np.nextafter(x, -np.inf), np.nextafter(x, np.inf)
    beside = (value(over) - value(under)) / (over - under)
    nearer = np.where(np.abs(beside - left) <= np.abs(beside - right), left, right)
    return np.where(bend, nearer, (left + right) / 2)


class Continuation:
    """Change of a surrogate near x0 along the piece that x0 is on.

    Parameters
    ----------
    value : function
        The surrogate, element by element.
    x0 : array, any shape
    """

    def __init__(self, value: Function, x0: Array) -> None:
        self.value, self.x0 = value, x0.copy()
        self.start = value(x0)
        under, over = np.nextafter(x0, -np.inf), np.nextafter(x0, np.inf)
        here, below, above = (slope_of(value, x) for x in (x0, under, over))
        # Slopes are exact to the rounding of values, divided by the distance.
        noise = 2.0**-52 * float(np.abs(self.start).max(initial=0)) / NEAR
        largest = max(float(np.abs(s).max(initial=0)) for s in (here, below, above))
        self.unlike = max(0.01 * largest, 100 * noise)
        # The slope jumps between both neighbours: the bound is x0 or beside it. It is x0 if the
        # surrogate itself bends there; what backward says *at* the bound is what a check is about.
        bends = self.start - value(under) != value(over) - self.start
        self.on_bound = self._jumps(below, above) & bends
        inside = np.where(np.abs(above) > np.abs(below), above, below)
        self.inside = np.where(self.on_bound, inside, here)

    def _jumps(self, a: Array, b: Array) -> Array:
        return np.abs(a - b) > self.unlike

    def change(self, x: Array, reflecting: bool = True) -> tuple[Array, int]:
        """`value(x) - value(x0)` without kink, any shape, and how many that moved met a bound."""
        if not reflecting:  # far away, where pieces do not go on
            return self.value(x) - self.start, 0
        d = x - self.x0
        leaves = self._jumps(slope_of(self.value, x), self.inside)
        change = self.value(np.where(leaves, self.x0 - d, x)) - self.start
        met = int(np.count_nonzero((leaves | self.on_bound) & (d != 0)))
        return np.where(leaves, -change, change), met


def described(value: Function, name: str) -> str:
    """A surrogate in words: its slopes and bounds where it is made of straight pieces.

    Parameters
    ----------
    value : function
        Element by element.
    name : str
        What it is called otherwise.

    Returns
    -------
    str
        For example "slope 1 for -1 <= x <= 1, else 0".
    """
    x = np.linspace(-8, 8, 1025)
    slopes = slope_of(value, x + 2.0**-8)  # between the round numbers, where bounds are
    edges = np.flatnonzero(np.abs(np.diff(slopes)) > 1e-6)
    if len(edges) == 0:
        return "the identity" if abs(slopes[0] - 1) < 1e-6 else f"slope {slopes[0]:.4g}"
    if len(edges) != 2 or max(abs(slopes[0]), abs(slopes[-1])) > 1e-6:
        return name
    inside = slopes[edges[0] + 1]
    lower, upper = (_bound(value, x[e] + 2.0**-8, x[e + 1] + 2.0**-8) for e in edges)
    return f"slope {inside:.4g} for {lower:.4g} <= x <= {upper:.4g}, else 0"


def _bound(value: Function, low: float, high: float) -> float:
    """Where the slope changes between two numbers, by bisection."""
    first = slope_of(value, np.array([low]))[0]
    for _ in range(24):
        middle = (low + high) / 2
        same = abs(slope_of(value, np.array([middle]))[0] - first) < 1e-6
        low, high = (middle, high) if same else (low, middle)
    return round((low + high) / 2, 6)
