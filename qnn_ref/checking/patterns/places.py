"""The right numbers in wrong places: transposed, moved, dealt out otherwise, along borders."""

from __future__ import annotations

import numpy as np

from qnn_ref._typing import Array
from qnn_ref.checking.evidence import Evidence, Words
from qnn_ref.checking.points import Point
from qnn_ref.geometry import taps


def transposed(e: Evidence) -> Words:
    """The right numbers with two axes exchanged, reversed, or moved by one."""
    assert e.gradient is not None
    g, axes = e.gradient, range(e.x.ndim)
    for a in axes:
        for b in range(a):
            if g.shape[a] == g.shape[b] and e.equal(np.swapaxes(g, a, b)[e.known], e.n):
                return "is transposed" if g.ndim == 2 else f"has axes {b} and {a} exchanged"
    for a in axes:
        if e.equal(np.flip(g, a)[e.known], e.n):
            return f"runs backwards along axis {a}"
    if g.ndim == 4:
        for by, first in ((1, 1), (-1, 1), (1, 2), (-1, 2)):  # channels last, or first
            moved, inside = np.roll(g, (by, by), (first, first + 1)), e.known.copy()
            for axis in (first, first + 1):
                np.moveaxis(inside, axis, 0)[[0, -1]] = False
            if inside.any() and e.equal(moved[inside], e.numeric[inside]):
                return "is moved by one row and column: the border counts as a part of the image"
    for a in axes:
        for by in (1, -1):
            moved = np.roll(g, by, a)
            inner = np.ones(g.shape, bool)
            inner[tuple(slice(1, -1) if i == a else slice(None) for i in axes)] = False
            look = e.known & ~inner
            if (
                g.shape[a] > 2
                and np.count_nonzero(look) > 2
                and e.numeric[look].any()
                and e.equal(moved[look], e.numeric[look])
            ):
                return f"is moved by one along axis {a}"
    return None


def permuted(e: Evidence) -> Words:
    """The right numbers in wrong places."""
    if e.known.all() and e.n.size > 2 and e.equal(np.sort(e.g), np.sort(e.n)):
        return "has the right numbers in the wrong places"
    return None


def _windows(e: Evidence) -> Array | None:
    """How many windows each pixel is in, for layers that have windows."""
    size = getattr(e.layer, "size", getattr(e.layer, "kernel", None))
    stride, padding = (getattr(e.layer, name, None) for name in ("stride", "padding"))
    if size is None or stride is None or padding is None or e.x.ndim != 4 or not e.is_input:
        return None
    (top, left), (_, high, wide, _) = padding, e.x.shape
    count = np.zeros((1, high + 2 * top, wide + 2 * left, 1))
    for tap in taps(count, size, stride):
        tap += 1
    return np.broadcast_to(count[:, top : top + high, left : left + wide], e.x.shape)


def overlap(e: Evidence) -> Words:
    """Right where a pixel is in one window, wrong where it is in several: the last one wins."""
    count = _windows(e)
    if count is None or e.dy is None or np.any(e.wrong & (count[e.known] <= 1)):
        return None
    for index in np.argwhere(e.known)[e.wrong][:2]:
        if not _of_one_window(e, tuple(int(i) for i in index)):
            return None
    return "is that of one window only where windows overlap: = stands where += belongs"


def _of_one_window(e: Evidence, index: tuple[int, ...]) -> bool:
    """Whether the gradient of a pixel is what one place of the output gives to it."""
    assert e.dy is not None
    assert e.gradient is not None
    for place in np.ndindex(e.dy.shape[1:3]):
        alone = np.zeros_like(e.dy)
        alone[:, *place] = e.dy[:, *place]
        point = Point(e.model, e.rng, [alone], decoy=False)
        if abs(e.slope(point, e.tensor, index) - e.gradient[index]) <= 10 * e.allowed:
            return True
    return False


def ties(e: Evidence) -> Words:
    """A pool that gives its gradient to other elements than its maxima."""
    if e.dy is None or not hasattr(e.layer, "winners") or not e.known.all():
        return None
    yours, right = (np.abs(a) > e.allowed for a in (e.g, e.n))
    more = np.count_nonzero(yours & ~right)
    if more and not np.any(right & ~yours):
        return f"goes to {more} elements more than it should: all equal maxima get it"
    if np.isclose(e.g.sum(), e.dy.sum()):
        return "goes to other elements than the maxima that forward chose"
    return None


def right_class(e: Evidence) -> Words:
    """A loss whose gradient is wrong at the labels only."""
    labels = np.asarray(e.model.labels) if e.is_loss else np.zeros(0)
    if labels.ndim != 1 or labels.dtype.kind not in "iu" or e.x.ndim != 2 or not e.known.all():
        return None
    at = np.zeros(e.x.shape, bool)
    at[np.arange(len(labels)), labels] = True
    if np.array_equal(e.wrong, at.ravel()):
        return "is wrong at the label of each example only: the term of the target is missing"
    return None


def border(e: Evidence) -> Words:
    """Right inside an image, wrong along its border."""
    if e.x.ndim != 4 or not e.is_input:
        return None
    rows, columns = (np.broadcast_to(i, e.x.shape)[e.known] for i in _places(e.x.shape))
    high, wide = e.x.shape[1:3]
    reach = min(high, wide) // 2
    for r in range(1, reach + 1):
        edge = (rows < r) | (rows >= high - r) | (columns < r) | (columns >= wide - r)
        if not edge.all() and not np.any(e.wrong & ~edge):
            return "is wrong only along the border of the images: padding is counted wrongly"
    return None


def _places(shape: tuple[int, ...]) -> tuple[Array, Array]:
    return np.arange(shape[1])[None, :, None, None], np.arange(shape[2])[None, None, :, None]
