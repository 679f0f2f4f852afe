r"""Ties: where forward has no slope though no single direction shows a kink.

The median of three equal values follows the middle one of them, whichever way they move. So along
each direction v it has a slope d(v), and changing one of the three alone changes nothing; but
:math:`d(v + w) \neq d(v) + d(w)`, and what is not additive is the slope of no gradient. Any choice
among the equal values is as right as another there, so such places cannot be judged.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

from qnn_ref._typing import Array
from qnn_ref.checking.differences import slope_along
from qnn_ref.checking.elements import Settings, gradient_of, unit_step
from qnn_ref.checking.points import Point, Tensor
from qnn_ref.checking.report import Entry

Directions = Mapping[Tensor, Array]

TRIES = 16
"""Pairs of directions: a number between two equal bounds is additive along half of them."""
BEYOND = 8.0
"""So far goes one of two directions in some pairs, that it passes what the other does."""
TIED = "equal values moved together"


def bent_outputs(
    point: Point,
    tensor: Tensor,
    settings: Settings,
    rng: np.random.Generator,
    enough: int = TRIES,
) -> Array:
    """Which outputs have no slope at the point, by a tensor alone or together with the others.

    Parameters
    ----------
    point : Point
        Keeps the answer.
    tensor : Tensor
    settings : Settings
    rng : numpy.random.Generator
    enough : int
        Tries after which it stops where there was nothing yet.

    Returns
    -------
    array of bool, the shape of the outputs
    """
    if tensor not in point.bent:
        found = np.zeros(point.output.shape, bool)
        for k in range(TRIES):
            v = {tensor: (1.0, BEYOND)[k % 2] * rng.normal(size=point.base[tensor].shape)}
            found |= _not_additive(point, v, _all_at_random(point, rng), tensor, settings)
            if found.all():
                break
            if k + 1 >= enough and not found.any():
                return found
        point.bent[tensor] = found
    return point.bent[tensor]


def at_ties(
    point: Point,
    tensor: Tensor,
    settings: Settings,
    rng: np.random.Generator,
    index: tuple[int, ...],
) -> bool:
    """Whether there is no slope by one element, however well both its sides agree.

    Parameters
    ----------
    point : Point
    tensor : Tensor
    settings : Settings
    rng : numpy.random.Generator
    index : tuple of int

    Returns
    -------
    bool
    """
    alone = np.zeros(point.base[tensor].shape)
    alone[index] = BEYOND
    for _ in range(TRIES):
        others = _all_at_random(point, rng)
        if _not_additive(point, {tensor: alone}, others, tensor, settings).any():
            return True
    return False


def shares(
    point: Point, tensor: Tensor, settings: Settings, rng: np.random.Generator
) -> Entry | None:
    """A failed entry where equal values together do not get their share; None where they do.

    Beside a tie it is gone, and with it the mistake to give each of the equal maxima all of dy.
    Along a direction in which equal values stay equal a maximum has a slope, as has the largest
    magnitude where those of one magnitude keep theirs.

    Parameters
    ----------
    point : Point
    tensor : Tensor
    settings : Settings
    rng : numpy.random.Generator

    Returns
    -------
    Entry or None
    """
    for kind in (np.positive, np.abs):
        directions = _together(point, tensor, rng, kind)
        if directions is None:
            continue
        pairs = [(directions[t], gradient_of(point, t)) for t in directions]
        expected = sum(float(np.vdot(g, v)) for v, g in pairs)
        lengths = [float(np.linalg.norm(v)) for v, _ in pairs]
        length = math.hypot(*lengths)
        size = sum(
            n * float(np.linalg.norm(g)) / math.sqrt(g.size)
            for n, (_, g) in zip(lengths, pairs, strict=True)
        )
        allowed = max(settings.tolerance * size, settings.floor * length)
        slope = slope_along(
            lambda t, directions=directions: point.along(directions, t),  # type: ignore[misc]
            point.output,
            point.covector,
            step=unit_step(settings, point.base[tensor]),
            expected=expected,
            allowed=allowed,
        )
        if slope.kink:
            continue
        error = abs(slope.value - expected)
        if error <= max(allowed, settings.tolerance * abs(slope.value), 10 * slope.scatter):
            return None
        others = (
            _all_at_random(point, rng) | _drawn_again(point, tensor, rng, kind)
            for _ in range(TRIES)
        )
        if any(_not_additive(point, directions, w, tensor, settings).any() for w in others):
            return None
        return Entry(
            *tensor,
            absolute_error=error / length,
            relative_error=error / max(size, abs(slope.value)),
            tolerance=settings.tolerance,
            numeric=slope.value / length,
            analytic=expected / length,
            note=TIED,
        )
    return None


def _drawn_again(
    point: Point, tensor: Tensor, rng: np.random.Generator, kind: Callable[[Array], Array]
) -> dict[Tensor, Array]:
    return _together(point, tensor, rng, kind) or {}


def _together(
    point: Point, tensor: Tensor, rng: np.random.Generator, kind: Callable[[Array], Array]
) -> dict[Tensor, Array] | None:
    """A direction in which values of one kind stay so, in all tensors that have some of them.

    None where all values differ.
    """
    own = kind(point.base[tensor])
    some = [t for t, base in point.base.items() if t == tensor or np.isin(kind(base), own).any()]
    flat = np.concatenate([point.base[t].ravel() for t in some])
    values, which = np.unique(kind(flat), return_inverse=True)
    if len(values) == flat.size:
        return None
    moves = rng.normal(size=len(values))[which.ravel()]
    if kind is np.abs:
        moves = moves * np.sign(flat)
    sizes = [point.base[t].size for t in some]
    parts = np.split(moves, np.cumsum(sizes)[:-1])
    return {t: part.reshape(point.base[t].shape) for t, part in zip(some, parts, strict=True)}


def _all_at_random(point: Point, rng: np.random.Generator) -> dict[Tensor, Array]:
    return {t: np.asarray(rng.normal(size=base.shape)) for t, base in point.base.items()}


def _sum(v: Directions, w: Directions) -> Directions:
    return {**v, **{t: v[t] + array if t in v else array for t, array in w.items()}}


def _not_additive(
    point: Point, v: Directions, w: Directions, tensor: Tensor, settings: Settings
) -> Array:
    """Where the slope along w + v or w - v is not the sum of both, bool, the shape of the outputs.

    Over a step h a curved function lacks a term in h, which two steps take out, and rounding one
    in 1 / h; a third step, much smaller, has to agree.
    """
    step = unit_step(settings, point.base[tensor])
    signs = [{t: sign * array for t, array in v.items()} for sign in (-1, 1)]
    pairs = [(d, _sum(d, w)) for d in signs]

    def lack(h: float) -> tuple[Array, Array]:
        def slope(direction: Directions) -> Array:
            return (point.along(direction, h) - point.output) / h

        other, lacks, sizes = slope(w), [], []
        for one, both in pairs:
            a, b = slope(one), slope(both)
            lacks.append(b - a - other)
            sizes.append(np.abs(a) + np.abs(b) + np.abs(other))
        return np.stack(lacks), np.stack(sizes)

    (wide, size), (near, _) = lack(step), lack(step / 16)
    limit = (16 * near - wide) / 15
    rounding = 2.0**-42 * float(np.abs(point.output).max(initial=0)) / step
    found = np.abs(limit) > np.maximum(settings.tolerance * size, rounding)
    found &= np.abs(near) <= 2 * np.abs(wide)  # at a jump it would be 16 times as much
    if found.any():
        found &= np.abs(lack(step / 256)[0] - limit) <= np.abs(limit) / 4
    return np.asarray(found.any(axis=0))
