"""What to do at a kink that no surrogate tells of, as of a ReLU given as a plain function.

A difference quotient across a kink says nothing about either side, so what is there is judged
beside it: the tensor is moved a little. So it is at ties, see `qnn_ref.checking.ties`, where no
direction shows a kink. But moving away from one kink moves away from the bounds of
surrogates too, where a strict mask shows. So the outputs that have no kink are judged where they
are, beforehand.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from qnn_ref._typing import Array
from qnn_ref.checking.elements import Settings, element_slope, gradient_of, unit_step
from qnn_ref.checking.points import Model, Point, Tensor, spread
from qnn_ref.checking.report import Entry, GradientError
from qnn_ref.checking.ties import at_ties, bent_outputs

MOVE = 1e-3  # how far a tensor is moved, in its own unit, where it sits on a kink
MOVES = 3
MOVED_BY = f"moved by {MOVE:g}"
MOVED = f"a kink at the point: {MOVED_BY}"
TIES = f"ties, where slopes do not add up: {MOVED_BY}"

Judge = Callable[[Point, Array, Sequence[str]], Entry]


def moved_model(model: Model, tensor: Tensor, rng: np.random.Generator, base: Array) -> Model:
    """The same model with one tensor a little aside, no element by less than half the move."""
    change = rng.uniform(0.5, 1, base.shape) * rng.choice([-1, 1], base.shape)
    return model.moved(tensor, change * MOVE * spread(base))


def beside(model: Model, tensor: Tensor, rng: np.random.Generator, base: Array) -> Point | None:
    """The point of the moved model; None where forward is not defined, as log of a negative x."""
    try:
        return Point(moved_model(model, tensor, rng, base), rng)
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
    """Judge a tensor along one random direction; at a kink or at ties in two parts.

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
    if entry.passed or entry.doubt == "scatter":
        return [entry]
    kink = entry.doubt == "kink"
    aside = entry
    for _ in range(MOVES):
        there = beside(model, tensor, rng, base)
        if there is not None:
            aside = judge(there, rng.normal(size=base.shape), (MOVED if kink else TIES,))
        if aside.doubt != "kink":
            break
    wrong_too = not aside.passed and not aside.doubt
    if not kink and (wrong_too or not bent_outputs(point, tensor, settings, rng).any()):
        return [entry]
    if not kink:
        bent = point.bent[tensor]
        count = f"{np.count_nonzero(bent)} of {bent.size} outputs"
        aside = replace(aside, note=aside.note.replace(TIES, f"{count} at {TIES}"))
    first = _where_smooth(model, point, tensor, settings, rng, direction, judge, kink)
    found = [] if first is None or first.doubt else [first]
    return [*found, replace(aside, kinks=aside.kinks + kink)]


def judged_beside(
    model: Model,
    point: Point,
    tensor: Tensor,
    settings: Settings,
    rng: np.random.Generator,
    found: tuple[Array, Array, Array, Array],
) -> list[str]:
    """Judge single elements a little aside: those at a kink, and those at ties.

    Parameters
    ----------
    model, point : Model and Point
        The same, not frozen and frozen.
    tensor : Tensor
    settings : Settings
    rng : numpy.random.Generator
    found : four arrays, the shape of the tensor
        Difference quotients, how far they scatter, where there is a kink, and the gradient. What
        was judged aside is changed to what is there.

    Returns
    -------
    list of str
        What was moved.
    """
    numeric, scatter, kink, gradient = found
    kinks = np.count_nonzero(kink)

    def wrong() -> Array:
        size = max(float(np.abs(gradient).max()), float(np.abs(numeric).max()))
        return np.abs(numeric - gradient) > max(settings.tolerance * size, settings.floor)

    ties = np.asarray(wrong() & ~kink)  # of one number too, as `kink` is an array
    if ties.any() and not bent_outputs(point, tensor, settings, rng).any():
        ties[...] = False
    before = numeric.copy(), scatter.copy(), kink.copy(), gradient.copy()
    kink |= ties
    for _ in range(MOVES if kink.any() else 0):
        aside = beside(model, tensor, rng, point.base[tensor])
        if aside is None:
            continue
        for index in map(tuple, np.argwhere(kink)):
            slope, _ = element_slope(aside, tensor, settings, index)
            numeric[index], scatter[index], kink[index] = slope.value, slope.scatter, slope.kink
            gradient[index] = gradient_of(aside, tensor)[index]
    excused = np.asarray(ties & ~wrong())
    for index in map(tuple, np.argwhere(excused | (ties & kink))):
        if not at_ties(point, tensor, settings, rng, index):  # it was wrong where it is
            excused[index] = False
            for now, then in zip(found, before, strict=True):
                now[index] = then[index]
    notes = [f"{kinks} at a kink of their own: {MOVED_BY}"] if kinks else []
    if excused.any():
        notes.append(f"{np.count_nonzero(excused)} at ties, where slopes do not add up: {MOVED_BY}")
    return notes


def _where_smooth(
    model: Model,
    point: Point,
    tensor: Tensor,
    settings: Settings,
    rng: np.random.Generator,
    direction: Array,
    judge: Judge,
    kink: bool,
) -> Entry | None:
    """Judge the outputs that have a slope at the point, where they are; None if there are none."""
    if len(point.dys) != 1 or point.dys[0].shape != point.output.shape:
        return None
    smooth = _without_kink(point, tensor, settings, direction)
    if not kink:
        smooth &= ~bent_outputs(point, tensor, settings, rng)
    first = _judged_where(smooth, model, point, direction, judge)
    if kink and first is not None and not first.passed and not first.doubt:
        smooth &= ~bent_outputs(point, tensor, settings, rng)
        first = _judged_where(smooth, model, point, direction, judge)
    return first


def _judged_where(
    smooth: Array, model: Model, point: Point, direction: Array, judge: Judge
) -> Entry | None:
    """Judge the same point with a dy of 0 for all other outputs."""
    if smooth.all() or not np.any(point.dys[0][smooth]):
        return None
    dys = [np.where(smooth, point.dys[0], 0.0)]
    return judge(Point(model, np.random.default_rng(0), dys), direction, ())


def _without_kink(point: Point, tensor: Tensor, settings: Settings, direction: Array) -> Array:
    """Which outputs do not bend within the step."""
    base, step = point.base[tensor], unit_step(settings, point.base[tensor])
    smooth = np.ones(point.output.shape, bool)
    for h in (step, step / 16):
        below, above = (point.at(tensor, base + t * direction) - point.output for t in (-h, h))
        smooth &= np.abs(below + above) <= 0.01 * (np.abs(below) + np.abs(above))
    point.put_back(tensor)
    return smooth


def worst_of(entries: Sequence[Entry]) -> Entry:
    """What is wrong beyond doubt comes first, then the largest error."""
    worst = max(entries, key=lambda e: (not e.passed and not e.doubt, e.relative_error))
    moved = next((e.note.split("; ")[0] for e in entries if MOVED_BY in e.note), "")
    note = worst.note if MOVED_BY in worst.note or not moved else f"{moved}; {worst.note}"
    return replace(worst, kinks=max(entry.kinks for entry in entries), note=note.rstrip("; "))
