"""Gradients that are neither right nor wrong: what keeps them from being judged, and what to do."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from qnn_ref.checking.differences import FACTORS
from qnn_ref.checking.elements import Settings, element_slope, unit_step
from qnn_ref.checking.evidence import sampled
from qnn_ref.checking.points import Point, Tensor
from qnn_ref.checking.report import Diagnosis

SINGLE_STEP, SINGLE_TOLERANCE = 2.0**-8, 1e-3
"""What a forward pass in float32 allows: differences over this step, to this accuracy."""

TINY = 1e-11
"""A move, in a tensor's own unit, that shows in float64 and not in float32."""


def of_kink(
    name: str, point: Point, tensor: Tensor, settings: Settings, rng: np.random.Generator
) -> Diagnosis:
    """Forward bends within the step, and the checker was not told.

    Parameters
    ----------
    name : str
        Layer and tensor.
    point : Point
    tensor : Tensor
    settings : Settings
    rng : numpy.random.Generator

    Returns
    -------
    Diagnosis
    """
    base, where = point.base[tensor], ""
    for index in sampled(base.shape, rng):
        if element_slope(point, tensor, settings, index)[0].kink:
            where = f" at {tensor.name}{list(index) if index else ''} = {base[index]:.6g}"
            break
    smallest = unit_step(settings, base) * min(FACTORS)
    if where and not _defined(point, tensor, index, unit_step(settings, base)):
        return Diagnosis(
            f"{name}: the gradient cannot be judged: forward is not finite within a step{where}",
            (f"steps go down to {smallest:.1g}: take an x farther from the edge of what it takes",),
        )
    return Diagnosis(
        f"{name}: forward has a kink within the step{where}: move {tensor.name}, or declare it",
        (
            f"no slope can be taken closer than {smallest:.1g}; whether the gradient is right "
            "is not known",
            "move: values that are not so close to where forward bends, or several times smaller",
            "declare: a surrogate for the part that bends; its bounds then belong to the inside",
        ),
    )


def _defined(point: Point, tensor: Tensor, index: tuple[int, ...], step: float) -> bool:
    """Whether the output is finite a step below and above an element."""
    direction = np.zeros(point.base[tensor].shape)
    direction[index] = step
    with np.errstate(all="ignore"):
        both = [point.at(tensor, point.base[tensor] + t * direction) for t in (-1, 1)]
    point.put_back(tensor)
    return bool(np.isfinite(both).all())


def of_scatter(
    name: str, point: Point, tensor: Tensor, scatter: str, rng: np.random.Generator
) -> Diagnosis:
    """Difference quotients scatter: forward computes in float32, or rounds otherwise.

    Parameters
    ----------
    name : str
        Layer and tensor.
    point : Point
    tensor : Tensor
    scatter : str
        What the entry says of it.
    rng : numpy.random.Generator

    Returns
    -------
    Diagnosis
    """
    largest = float(np.abs(point.output).max(initial=0))
    if coarse(point, tensor, rng) and 2.0**-50 * largest < TINY:  # float64 would have shown it
        return Diagnosis(
            f"{name}: the gradient cannot be judged: forward computes in float32",
            (scatter, "let forward keep the type of its arrays: here they are float64"),
        )
    return Diagnosis(
        f"{name}: the gradient cannot be judged: forward is too rough for differences",
        (
            scatter,
            f"values up to {largest:.3g} are rounded: leave out what is constant, scale the rest",
            "or forward bends strongly, as a batch norm whose batch hardly varies: take another x",
            "or allow for it: tolerance=..., step=...",
        ),
    )


def coarse(point: Point, tensor: Tensor, rng: np.random.Generator) -> bool:
    """Whether the output does not change at all where float64 would show it.

    Parameters
    ----------
    point : Point
    tensor : Tensor
    rng : numpy.random.Generator

    Returns
    -------
    bool
    """
    base: Any = point.base[tensor]
    direction = rng.normal(size=base.shape) * np.maximum(1, np.abs(base))
    same = [
        np.array_equal(point.at(tensor, base + t * direction), point.output) for t in (-TINY, TINY)
    ]
    changes = not np.array_equal(point.at(tensor, base + 2.0**-8 * direction), point.output)
    point.put_back(tensor)
    return all(same) and changes


def rough(settings: Settings) -> Settings:
    """The numbers of a check whose forward pass computes in float32."""
    return replace(
        settings,
        step=max(settings.step, SINGLE_STEP),
        tolerance=max(settings.tolerance, SINGLE_TOLERANCE),
    )
