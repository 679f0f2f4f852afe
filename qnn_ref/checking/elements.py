"""Difference quotients of one tensor: along a direction, and by one element."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from qnn_ref._typing import Array
from qnn_ref.checking.differences import Slope, slope_along
from qnn_ref.checking.points import Point, Tensor, spread
from qnn_ref.checking.report import GradientError
from qnn_ref.checks import real, whole


@dataclass(frozen=True)
class Settings:
    """The numbers of a check; see `check_gradients`."""

    tolerance: float
    floor: float
    step: float
    directions: int

    def __post_init__(self) -> None:
        real("tolerance", self.tolerance, above=0)
        real("step", self.step, above=0)
        real("floor", self.floor, least=0)
        whole("directions", self.directions, least=1)


def gradient_of(point: Point, tensor: Tensor) -> Array:
    """What backward left; zeros where it left nothing."""
    gradient = point.gradients.get(tensor)
    if gradient is None:  # a forgotten gradient is compared as what an optimizer would see: none
        return np.zeros_like(point.base[tensor])
    if not np.isfinite(gradient).all():
        raise GradientError(f"{tensor.layer}.{tensor.name}: the gradient is not finite")
    return gradient


def unit_step(settings: Settings, base: Array) -> float:
    """First step of the differences for this tensor."""
    # A power of two, so that the step is exact beside +-1 and whole numbers.
    return settings.step * 2.0 ** round(math.log2(spread(base)))


NEAR_ZERO, SMALLEST = 2.0**-8, 2.0**-900
"""Elements between these may need steps of their own size, as the x of 1 / x."""


def near_zero(values: Array) -> Array:
    """Which values, of any shape, may need steps of their own size."""
    return (np.abs(values) > SMALLEST) & (np.abs(values) < NEAR_ZERO)


def finer(point: Point, tensor: Tensor, settings: Settings, values: Array) -> Settings | None:
    """Steps of the size of the smallest of some values, of any shape; None if they tell nothing.

    By a step that small the output must change by more than rounding, so the gradient has to be
    that much larger than the output.
    """
    small = np.abs(values[near_zero(values)])
    if not small.size:
        return None
    fine = replace(settings, step=settings.step * float(small.min()))
    rounding = 2.0**-52 * float(np.abs(point.output).max(initial=0))
    largest = float(np.abs(gradient_of(point, tensor)).max())
    return fine if rounding <= settings.tolerance * largest * fine.step else None


def slope_of(
    point: Point,
    tensor: Tensor,
    settings: Settings,
    direction: Array,
    expected: float,
    size: float,
    length: float = 1.0,
) -> Slope:
    """Derivative along a direction."""
    base = point.base[tensor]
    slope = slope_along(
        lambda t: point.at(tensor, base + t * direction),
        point.output,
        point.covector,
        step=unit_step(settings, base),
        expected=expected,
        allowed=max(settings.tolerance * size, settings.floor * length),
    )
    point.put_back(tensor)
    return slope


def element_slope(
    point: Point, tensor: Tensor, settings: Settings, index: tuple[int, ...]
) -> tuple[Slope, bool]:
    """Derivative by one element, and whether its change met a bound."""
    gradient = gradient_of(point, tensor)
    direction = np.zeros(gradient.shape)
    direction[index] = 1
    point.met = 0
    largest = float(np.abs(gradient).max())
    slope = slope_of(point, tensor, settings, direction, float(gradient[index]), largest)
    return slope, point.met > 0


def one_slope(
    point: Point, tensor: Tensor, settings: Settings, index: tuple[int, ...]
) -> tuple[Slope, bool]:
    """As `element_slope`; of a very small element by steps of its size, if they tell more."""
    slope, at_bound = element_slope(point, tensor, settings, index)
    fine = finer(point, tensor, settings, point.base[tensor][index])
    if fine is None or (not slope.kink and slope.scatter <= 1e-6 * abs(slope.value)):
        return slope, at_bound
    found, at_bound_too = element_slope(point, tensor, fine, index)
    return (slope, at_bound) if found.kink else (found, at_bound_too)
