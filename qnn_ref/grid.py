"""Grids: the whole numbers that flow between layers, and how many bits one takes (2.6, 3).

The codes of a grid are low, low + step, ..., high. The level of a code is its place on the grid,
(code - low) / step, a number of P bits. Bit a of all levels is bit plane a, and each bit is read as
a sign, beta_a = 2 B_a - 1. Then

    code = (step sum_a 2^a beta_a + offset) / 2    with    offset = 2 low + step (2^P - 1)
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from qnn_ref.checks import instance, real, whole


@dataclass(frozen=True)
class Grid:
    """The whole numbers low, low + step, ..., high.

    Parameters
    ----------
    low, high, step : int
        The ends and the distance of neighbours, kept as integers of Python, which never wrap.

    Raises
    ------
    TypeError
        If one of them is no whole number.
    ValueError
        If low >= high, step < 1, or step does not divide high - low.

    References
    ----------
    Eq. (7), for any grid of integers.

    Examples
    --------
    >>> grid = Grid(-3, 3, 2)
    >>> print(grid, "in", grid.planes, "planes")
    -3, -1, ..., 3 in 2 planes
    """

    low: int
    high: int
    step: int

    def __post_init__(self) -> None:
        for name in ("low", "high", "step"):
            object.__setattr__(self, name, whole(name, getattr(self, name)))
        low, high, step = self
        if low >= high:
            raise ValueError(f"low: expected less than high = {high}, got {low}")
        if step < 1:
            raise ValueError(f"step: expected at least 1, got {step}")
        if (high - low) % step:
            raise ValueError(f"step: expected a divisor of high - low = {high - low}, got {step}")

    def __iter__(self) -> Iterator[int]:
        return iter((self.low, self.high, self.step))

    def __str__(self) -> str:
        second = self.low + self.step
        return f"{self.low}, {second}" + (f", ..., {self.high}" if second < self.high else "")

    @classmethod
    def of(cls, name: str, value: Any) -> Grid:
        """A grid, or what JSON has of one: low, high and step. Errors begin with `name`."""
        if isinstance(value, Grid):
            return value
        if not isinstance(value, tuple | list) or len(value) != 3:
            raise ValueError(f"{name}: expected low, high and step, got {value!r}")
        ends = [whole(name, number, 1 - 2**31, 2**31 - 1) for number in value]
        try:
            return cls(*ends)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error

    @cached_property
    def planes(self) -> int:
        """Number of bit planes, P: the bits of the largest level, from 1 to 32."""
        P = ((self.high - self.low) // self.step).bit_length()
        if P > 32:
            raise ValueError(f"high: expected at most 2^32 levels in {self}")
        return P

    @cached_property
    def offset(self) -> int:
        """Twice the offset of the codes from the signs of their planes.

        0 for grids that are centred and full, as Sign's and LinearQuant's symmetric one.
        """
        return 2 * self.low + self.step * (2**self.planes - 1)

    @cached_property
    def largest(self) -> int:
        """The largest magnitude of a code."""
        return max(-self.low, self.high)

    def holds(self, other: Grid) -> bool:
        """Whether every code of another grid is one of this."""
        inside = self.low <= other.low and other.high <= self.high
        return inside and other.step % self.step == 0 and (other.low - self.low) % self.step == 0

    def sums(self, count: int, fewer: bool = False) -> Grid:
        """The grid of sums of `count` codes; of zeros too where some sums have `fewer` codes."""
        low, high, step = self
        if fewer:
            low, high, step = min(low, 0), max(high, 0), math.gcd(step, low)
        return Grid(count * low, count * high, step)

    def check_planes(self, name: str, planes: Any) -> None:
        """Refuse another number of planes than the grid has."""
        if len(planes) != self.planes:
            raise ValueError(f"{name}: expected {self.planes} planes for {self}, got {len(planes)}")


SIGNS = Grid(-1, 1, 2)
"""One bit."""

PIXELS = Grid(-255, 255, 2)
"""The odd integers 2 p - 255 that stand for 8-bit pixels p; the level of one is p itself."""


def check_grid(grid: Any) -> Grid:
    """Return a grid; three numbers that nobody looked at are none.

    Parameters
    ----------
    grid : Grid

    Returns
    -------
    Grid

    Raises
    ------
    TypeError
        If it is something else.
    """
    return instance("grid", grid, Grid, "Grid(-1, 1, 2)")


@dataclass(frozen=True)
class Encoding:
    """What the numbers that flow between two layers stand for: a scale, and the grid of the codes.

    The value is `scale * code`, and the codes are whole numbers `low, low + step, ..., high`.
    With `step = 0` they are reals in units of `scale` (dropout in training makes such numbers).

    Parameters
    ----------
    scale : float
        Value of one unit.
    low, high : float
        The smallest and the largest code; infinite off the grid.
    step : float
        From one code to the next; 0 off the grid.

    References
    ----------
    Section 2.6 (integers in and out of every product); the form is ours.
    """

    scale: float
    low: float
    high: float
    step: float
    grid: Grid | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        real("scale", self.scale, above=0)
        if real("step", self.step, least=0) == 0:
            return
        ends = real("low", self.low), real("high", self.high), float(self.step)
        if not all(number.is_integer() for number in ends):
            raise ValueError(f"step: expected codes that are whole numbers, got {self}")
        grid = Grid(int(self.low), int(self.high), int(self.step))
        object.__setattr__(self, "grid", grid)

    @property
    def on_grid(self) -> bool:
        """Whether the codes are whole numbers on a grid, so that products of them are exact."""
        return self.grid is not None

    @property
    def largest(self) -> float:
        """The largest magnitude of a code (a scalar)."""
        return max(abs(self.low), abs(self.high))

    def off_grid(self) -> Encoding:
        """The same unit for numbers that left the grid: real multiples of `scale`."""
        return Encoding(self.scale, -np.inf, np.inf, 0)
