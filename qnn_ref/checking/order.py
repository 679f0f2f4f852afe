r"""Order mode: how fast the remainder falls, so that no step size has to be trusted.

With g the gradient, :math:`r(h) = |f(x + hv) - f(x) - h \langle g, v\rangle|` falls as h^2 if g is
right and as h if it is wrong, whatever the function's curvature is. The order is the slope of r in
a doubly logarithmic plot, at the smallest steps at which r stands above rounding.

Where no surrogate tells of a kink, as of that of a ReLU given as a plain function, the remainder
falls as h at steps beyond it. So a gradient that falls short is compared with difference quotients
of smaller steps, and at a kink with those beside it, see `qnn_ref.checking.aside`.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike

from qnn_ref._typing import Array, Loss
from qnn_ref.checking.aside import judged, worst_of
from qnn_ref.checking.elements import Settings, gradient_of, slope_of
from qnn_ref.checking.points import Model, Point, Tensor, spread
from qnn_ref.checking.report import Entry
from qnn_ref.layers.base import Layer
from qnn_ref.network import Sequential

STEPS = 2.0 ** np.arange(-24.0, -2.0)
"""For tensors of unit size, ascending."""
SHORT = 0.5
"""How far an order may fall short of 2."""
LOOKED = 5
"""Slopes between neighbouring steps, of which the median counts."""


def order_entry(
    model: Model, point: Point, tensor: Tensor, settings: Settings, rng: np.random.Generator
) -> Entry:
    """Check one tensor along one random direction by the order of its remainder.

    Parameters
    ----------
    model : Model
    point : Point
    tensor : Tensor
    settings : Settings
    rng : numpy.random.Generator

    Returns
    -------
    Entry
        Its numeric value is the order, its analytic one 2.
    """

    def judge(there: Point, direction: Array, notes: Sequence[str]) -> Entry:
        return _along(there, tensor, settings, direction, notes)

    return worst_of(judged(model, point, tensor, settings, rng, judge))


def _along(
    point: Point, tensor: Tensor, settings: Settings, direction: Array, notes: Sequence[str]
) -> Entry:
    base, gradient, notes = point.base[tensor], gradient_of(point, tensor), list(notes)
    along, length = float(np.vdot(gradient, direction)), float(np.linalg.norm(direction))
    size = float(np.linalg.norm(gradient)) * length
    slope = slope_of(point, tensor, settings, direction, along, size, length)
    allowed = max(settings.tolerance * size, settings.floor * length)
    steps = STEPS * spread(base)
    left = _remainders(point, tensor, direction, along, steps)
    steps, left = steps[np.isfinite(left)], left[np.isfinite(left)]
    order, straight = _order(steps, left, _rounding(point, tensor, gradient), allowed)
    error, doubt = abs(slope.value - along), "kink" if slope.kink else ""
    if len(steps) <= LOOKED and error > allowed:
        order, straight = 1.0, False  # too few steps to tell; the quotients do
    if order < 2 - SHORT and error <= allowed and not doubt:
        order, straight = 2.0, True  # and beyond a kink farther away the remainder does as it likes
    if straight:
        notes.append("no remainder: a straight line at small steps")
    if doubt:
        order = min(order, 1.0)
        notes.append("kinks within the step, wherever the point is moved")
    elif order < 2 - SHORT and slope.scatter > error / 10:
        doubt = "scatter"
        notes.append(f"not resolved: the differences themselves scatter by {slope.scatter:.0e}")
    if 0 < size <= settings.floor * length:
        notes.append("the gradient is below the floor: nothing but that was checked")
    if point.gradients.get(tensor) is None:
        notes.append("backward left no gradient")
    short = max(0.0, 2 - order)
    return Entry(
        *tensor,
        absolute_error=short,
        relative_error=short,
        tolerance=SHORT,
        numeric=order,
        analytic=2.0,
        note="; ".join(notes),
        doubt=doubt,
        order=order,
        steps=steps,
        remainders=left,
    )


def _remainders(
    point: Point, tensor: Tensor, direction: Array, along: float, steps: Array
) -> Array:
    base, found = point.base[tensor], []
    for h in steps:
        change = point.at(tensor, base + h * direction) - point.output
        found.append(abs(float(np.vdot(point.covector, change)) - h * along))
    point.put_back(tensor)
    return np.array(found)


def _rounding(point: Point, tensor: Tensor, gradient: Array) -> float:
    """How large a remainder rounding alone may leave."""
    values = float(np.vdot(np.abs(point.covector), np.abs(point.output)))
    moves = float(np.vdot(np.abs(gradient), np.abs(point.base[tensor])))
    return 64 * 2.0**-52 * (values + moves)


def _order(steps: Array, left: Array, rounding: float, allowed: float) -> tuple[float, bool]:
    """The order, and whether there is no remainder at small steps."""
    above = left > rounding
    slopes = [
        float(np.log(left[j] / left[i]) / np.log(steps[j] / steps[i]))
        for i, j in pairwise(range(len(steps)))
        if above[i] and above[j]
    ]
    order = float(np.median(slopes[:LOOKED])) if len(slopes) >= 2 else 2.0
    # Beyond a kink farther away the remainder may grow as it likes. Two steps in a row, since a
    # wrong slope and the curvature may cancel at one.
    small = left <= np.maximum(rounding, allowed * steps)
    resolved = rounding <= allowed * steps
    straight = any(small[i] and small[j] and resolved[i] for i, j in pairwise(range(len(steps))))
    if len(slopes) < 2 or (straight and order < 2 - SHORT):
        return 2.0, True
    return order, False


def remainders(
    subject: Layer | Sequential | Loss,
    x: Array,
    steps: Sequence[float],
    *,
    rng: np.random.Generator,
    labels: ArrayLike | None = None,
    loss: Loss | None = None,
    randomize: bool = True,
) -> Array:
    r"""What the gradient leaves of a change: :math:`|f(x + hv) - f(x) - h\langle g, v\rangle|`.

    With the right gradient it falls as h^2 (a line of slope 2 in a doubly logarithmic plot) until
    rounding takes over; with a wrong one as h. So no single step has to be trusted.

    Parameters
    ----------
    subject, x
        As in `check_gradients`. All tensors are moved together, in one random direction.
    steps : sequence of float
        The steps h, for tensors of unit size.
    rng, labels, loss, randomize
        As in `check_gradients`.

    Returns
    -------
    array (steps,)
        Of a function whose frozen form is linear, 0 up to rounding.
    """
    model = Model.copied(subject, x, loss, labels)
    if randomize:
        model.randomize(rng)
    point = Point(model, rng)
    directions = {t: rng.normal(size=base.shape) for t, base in point.base.items()}
    slope = sum(float(np.vdot(gradient_of(point, t), v)) for t, v in directions.items())
    found = []
    for h in steps:
        change = float(np.vdot(point.covector, point.along(directions, h) - point.output))
        found.append(abs(change - h * slope))
    return np.array(found)
