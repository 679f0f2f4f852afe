"""Does forward jump where nobody said so? Difference quotients cannot tell, a search can.

Along a random direction the largest changes of the output are halved again and again. Where a
function is continuous the change shrinks with the interval; at a jump it stays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from qnn_ref._typing import Array
from qnn_ref.checking.points import Point, Tensor, spread

REACH = 4.0
"""How far a tensor is moved, in its own unit."""
PIECES = 32
HALVINGS = 44


@dataclass(frozen=True)
class Jump:
    """A place where forward jumps though the checker was not told.

    Parameters
    ----------
    layer : str
        Place of the layer in which it happens.
    tensor : str
        What passes the value: a parameter, an array or the layer's `input`.
    value : float or None
        At which value; None where no single element makes it.
    """

    layer: str
    tensor: str
    value: float | None

    @property
    def where(self) -> str:
        """Such as "weight = 0"."""
        return self.tensor if self.value is None else f"{self.tensor} = {self.value:.4g}"


def draws(point: Point) -> bool:
    """Whether two forward passes at the same point differ."""
    again = point.outputs()
    return not np.array_equal(again, point.output) or not np.array_equal(point.outputs(), again)


def find_jump(point: Point, tensor: Tensor, rng: np.random.Generator) -> Jump | None:
    """Search for a jump along one random direction of one tensor.

    Parameters
    ----------
    point : Point
    tensor : Tensor
    rng : numpy.random.Generator

    Returns
    -------
    Jump or None
    """
    base = point.base[tensor]
    direction = rng.normal(size=base.shape) * spread(base)

    def values(t: float) -> Array:
        return point.at(tensor, base + t * direction).astype(np.float64)

    try:
        with np.errstate(all="ignore"), point.as_it_is():
            found = _halved(values)
            return None if found is None else _located(point, tensor, direction, *found)
    except (ValueError, ArithmeticError, IndexError):  # values that the function does not take
        return None
    finally:
        point.put_back(tensor)


def _halved(values: Callable[[float], Array]) -> tuple[float, float] | None:
    """Two neighbouring numbers between which the values jump."""
    ts = np.linspace(-REACH, REACH, PIECES + 1)
    ys = [values(float(t)) for t in ts]
    changes = np.array([np.abs(b - a).sum() for a, b in pairwise(ys)])
    defined = np.isfinite(changes)  # on both sides: the log of a negative number is no jump
    changes[~defined] = 0
    large = max((float(np.abs(y).max()) for y in ys if y.size and np.isfinite(y).all()), default=0)
    for piece in np.argsort(changes)[::-1][: min(4, np.count_nonzero(defined))]:
        low, high = float(ts[piece]), float(ts[piece + 1])
        below, above = ys[piece], ys[piece + 1]
        whole, halfway = float(changes[piece]), 0.0
        for step in range(HALVINGS):
            middle = (low + high) / 2
            y = values(middle)
            if not np.isfinite(y).all():
                halfway = 0.0
                break
            if np.abs(y - below).sum() >= np.abs(above - y).sum():
                high, above = middle, y
            else:
                low, below = middle, y
            if step == 14 and np.abs(above - below).sum() < 2.0**-8 * whole:
                break  # continuous: it shrinks with the interval
            if step == HALVINGS // 2:
                halfway = float(np.abs(above - below).sum())
        change = float(np.abs(above - below).sum())
        # Rounding to float32 makes steps too, of 1e-7. Where the change grows, as at 1 / 0, there
        # is a pole.
        if halfway and 0.05 < change / halfway < 20 and change > 1e-5 * large:
            return low, high
    return None


def _located(point: Point, tensor: Tensor, direction: Array, low: float, high: float) -> Jump:
    """The layer in which the output jumps first, and the value that it jumps at."""
    base = point.base[tensor]
    before, after = base + low * direction, base + high * direction
    with _recorded(point) as passes:
        point.at(tensor, before)
        first = list(passes)
        passes.clear()
        point.at(tensor, after)
    for (place, x, y), (_, other_x, other_y) in zip(first, passes, strict=True):
        jump = np.abs(other_y - y)
        if jump.max(initial=0) <= 1e-5 * np.abs(y).max(initial=0):
            continue
        if place == tensor.layer and tensor != point.model.input:
            break  # the tensor is this layer's own
        x_moved = np.abs(other_x - x).max(initial=0)
        if x_moved < 1e-3 * jump.max():
            at = np.unravel_index(jump.argmax(), jump.shape)
            return Jump(place, "input", _round(float(x[at])) if x.shape == jump.shape else None)
    element = _element(point, tensor, before, after)
    value = None if element is None else _round(float(before[element] + after[element]) / 2)
    return Jump(tensor.layer, tensor.name, value)


def _element(point: Point, tensor: Tensor, before: Array, after: Array) -> tuple[int, ...] | None:
    """The element that alone makes the jump, by halving the set of those that move."""
    start = point.at(tensor, before)
    whole = np.abs(point.at(tensor, after) - start).sum()
    moving = np.arange(before.size)
    while len(moving) > 1:
        half = moving[: len(moving) // 2]
        mixed = before.copy()
        mixed.flat[half] = after.flat[half]
        alone = np.abs(point.at(tensor, mixed) - start).sum()
        moving = half if alone > whole / 2 else moving[len(moving) // 2 :]
    mixed = before.copy()
    mixed.flat[moving] = after.flat[moving]
    if np.abs(point.at(tensor, mixed) - start).sum() < whole / 2:
        return None
    return tuple(int(i) for i in np.unravel_index(int(moving[0]), before.shape))


def _round(value: float) -> float:
    return round(float(value), 9) + 0.0


@contextmanager
def _recorded(point: Point) -> Iterator[list[tuple[str, Array, Array]]]:
    """Note input and output of every layer, in the order in which they end."""
    passes: list[tuple[str, Array, Array]] = []

    def noting(place: str, forward: Callable[..., Array]) -> Callable[..., Array]:
        def noted(x: Array, *more: Any, **options: Any) -> Array:
            kept = np.array(x, dtype=np.float64)
            y = forward(x, *more, **options)
            passes.append((place, kept, np.array(y, dtype=np.float64)))
            return y

        return noted

    undo = [(layer, layer.__dict__.get("forward")) for _, layer in point.model.layers()]
    for place, layer in point.model.layers():
        layer.forward = noting(place, layer.forward)  # type: ignore[method-assign]
    try:
        yield passes
    finally:
        for layer, before in undo:
            del layer.forward
            if before is not None:
                layer.forward = before  # type: ignore[method-assign]
