"""What to do at a kink that no surrogate tells of, as of a ReLU given as a plain function.

A difference quotient across a kink says nothing about either side, so what is there is judged
beside it: the tensor is moved a little. But moving away from one kink moves away from the bounds of
surrogates too, where a strict mask shows. So the outputs that have no kink are judged where they
are, beforehand.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from qnn_ref._typing import Array
from qnn_ref.checking.elements import Settings, unit_step
from qnn_ref.checking.points import Model, Point, Tensor, spread
from qnn_ref.checking.report import Entry, GradientError

MOVE = 1e-3  # how far a tensor is moved, in its own unit, where it sits on a kink
MOVES = 3
TIED = "equal values moved together"
MOVED_BY = f"moved by {MOVE:g}"
MOVED = f"a kink at the point: {MOVED_BY}"

Judge = Callable[[Point, Array, Sequence[str]], Entry]


def beside(model: Model, tensor: Tensor, rng: np.random.Generator, base: Array) -> Point | None:
    """The same model with one tensor a little aside, no element by less than half the move.

    None where forward is not defined, as the logarithm of a negative number.
    """
    change = rng.uniform(0.5, 1, base.shape) * rng.choice([-1, 1], base.shape)
    try:
        return Point(model.moved(tensor, change * MOVE * spread(base)), rng)
    except (GradientError, ValueError):
        return None


def judged(
    model: Model,
    point: Point,
    tensor: Tensor,
    settings: Settings,
    rng: np.random.Generator,
    judge: Judge,
) -> list[Entry]:
    """Judge a tensor along one random direction; at a kink in two parts.

    Parameters
    ----------
    model, point : Model and Point
        The same, not frozen and frozen.
    tensor : Tensor
    settings : Settings
    rng : numpy.random.Generator
    judge : function
        `judge(point, direction, notes)`; an entry in doubt about a kink is asked for again.

    Returns
    -------
    list of Entry
        All of them have to pass.
    """
    base = point.base[tensor]
    direction = rng.normal(size=base.shape)
    entry = judge(point, direction, ())
    if entry.doubt != "kink":
        return [entry]
    found = []
    smooth = _smooth_outputs(model, point, tensor, settings, direction)
    if smooth is not None:
        first = judge(smooth, direction, ())
        found += [] if first.doubt else [first]
    for _ in range(MOVES):
        there = beside(model, tensor, rng, base)
        if there is not None:
            entry = judge(there, rng.normal(size=base.shape), (MOVED,))
        if entry.doubt != "kink":
            break
    return [*found, replace(entry, kinks=entry.kinks + 1)]


def together(base: Array, rng: np.random.Generator) -> Array | None:
    """A direction in which equal values stay equal; None where all differ.

    Beside a kink the ties of a maximum are gone, and with them the mistake to give each of the
    equal maxima all of dy. Along this direction a maximum has a slope.
    """
    values, which = np.unique(base, return_inverse=True)
    if len(values) == base.size:
        return None
    return np.asarray(rng.normal(size=len(values))[which.reshape(base.shape)])


def _smooth_outputs(
    model: Model, point: Point, tensor: Tensor, settings: Settings, direction: Array
) -> Point | None:
    """The same point with a dy of 0 for each output that bends within the step; None if all do."""
    if len(point.dys) != 1 or point.dys[0].shape != point.output.shape:
        return None
    base, step = point.base[tensor], unit_step(settings, point.base[tensor])
    smooth = np.ones(point.output.shape, bool)
    for h in (step, step / 16):
        below, above = (point.at(tensor, base + t * direction) - point.output for t in (-h, h))
        smooth &= np.abs(below + above) <= 0.01 * (np.abs(below) + np.abs(above))
    point.put_back(tensor)
    if smooth.all() or not np.any(point.dys[0][smooth]):
        return None
    return Point(model, np.random.default_rng(0), [np.where(smooth, point.dys[0], 0.0)])


def worst_of(entries: Sequence[Entry]) -> Entry:
    """What is wrong beyond doubt comes first, then the largest error."""
    worst = max(entries, key=lambda e: (not e.passed and not e.doubt, e.relative_error))
    moved = next((e.note for e in entries if e.note.startswith(MOVED)), "")
    note = worst.note if worst.note.startswith(MOVED) or not moved else f"{MOVED}; {worst.note}"
    return replace(worst, kinks=max(entry.kinks for entry in entries), note=note.rstrip("; "))
