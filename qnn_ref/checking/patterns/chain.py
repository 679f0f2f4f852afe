"""The chain rule broken: dy missing or bent, a factor forgotten, sums in the place of elements."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from qnn_ref._typing import Array
from qnn_ref.checking.evidence import Evidence, Words
from qnn_ref.checking.patterns.masks import masked_dy
from qnn_ref.checking.subjects import Pair, QuantizerLayer

NOT_LINEAR = "is not linear in dy: dy is clipped, masked, rounded or squared on the way"


def bent_dy(e: Evidence) -> Words:
    """A backward pass that does not depend on dy, or is not linear in it."""
    if e.dy is None or not e.fits:
        return None
    another = e.rng.normal(size=e.dy.shape)
    with np.errstate(divide="ignore", invalid="ignore"):  # by a norm, say, of 0
        here, there, both, none = _gradients(e, e.dy, another, e.dy + another, 0 * e.dy)
    if not here.any():
        return None
    if np.array_equal(here, there) and np.array_equal(here, none):
        return "does not depend on dy: the factor dy is missing"
    if none.any() and np.isfinite(none).all():
        return "is not 0 for a dy of 0: something is added that dy has no part in, as a decay"
    if not np.allclose(both, here + there, rtol=1e-5, atol=e.allowed):
        return NOT_LINEAR
    return None


OTHERS = 4
"""Random dys: of a short one the larger half is the same once in three times."""


def not_linear(e: Evidence) -> Words:
    """The gradient for a sum of two dys is not the sum of theirs.

    No correct backward pass does that, and whatever else it looks like for one dy is chance.
    """
    if e.dy is None or not e.fits:
        return None
    here, again = _gradients(e, e.dy, e.dy)
    if not here.any() or not np.array_equal(here, again):  # a mistake that has its own words
        return None
    for _ in range(OTHERS):
        other = e.rng.normal(size=e.dy.shape)
        there, both = _gradients(e, other, 3 * e.dy - other)
        near = 1e-5 * max(np.abs(here).max(), np.abs(there).max())  # float32 has its own words too
        if not np.allclose(both, 3 * here - there, 0, near):
            return masked_dy(e) or bent_dy(e) or NOT_LINEAR
    return None


def _gradients(e: Evidence, *dys: Array) -> list[Array]:
    found = (e.gradient_for(dy) for dy in dys)
    return [np.zeros_like(e.x) if g is None else g for g in found]


def exchanged(e: Evidence) -> Words:
    """The gradient of another array."""
    for tensor, base in e.point.base.items():
        theirs = e.point.gradients.get(tensor)
        if tensor == e.tensor or e.gradient is None or theirs is None:
            continue
        if e.gradient.shape != base.shape or theirs.shape != e.x.shape:
            continue
        if e.equal(np.asarray(theirs)[e.known], e.n):
            return f"is that of {tensor.name}: the gradients of both are exchanged"
    return None


def array_factor(e: Evidence) -> Words:
    """An array as a factor, forgotten or too often: x, its size, dy or the output."""
    arrays = {e.tensor.name: e.x, f"|{e.tensor.name}|": np.abs(e.x), "dy": e.dy}
    arrays |= {t.name: base for t, base in e.point.base.items() if t != e.tensor}
    if e.point.output.shape == e.x.shape:
        arrays["the output"] = e.point.output
    for name, array in arrays.items():
        if array is None or array.shape != e.x.shape or e.n.size < 2:
            continue
        factor = np.asarray(array)[e.known]
        if np.ptp(factor) < 1e-6:
            continue
        if e.equal(e.g, e.n * factor):
            return f"has the factor {name} once too often"
        if e.equal(e.g * factor, e.n):
            return f"lacks the factor {name}"
    return None


def summed(e: Evidence) -> Words:
    """The same number along an axis: the sum or the mean of what belongs there."""
    if not e.known.all() or e.gradient is None or e.n.size < 2:
        return None
    if e.dy is not None and e.equal(e.g, np.full(e.g.shape, e.dy.sum())):
        return "is the sum of all of dy, the same for each element"
    for axis in (*range(e.x.ndim), None):
        where = "all elements" if axis is None else f"axis {axis}"
        for words, of in (("mean", np.mean), ("sum", np.sum)):
            total = np.broadcast_to(of(e.numeric, axis=axis, keepdims=True), e.x.shape)
            if e.equal(e.gradient, total):
                if axis is not None and _one_of_each(e, axis):
                    return f"goes to all along {where}, where one takes it, as the largest does"
                return f"is the {words} over {where}, the same for each of them"
    return None


def _one_of_each(e: Evidence, axis: int) -> bool:
    """Whether, along an axis, the output depends on one element of several each time."""
    counts = np.count_nonzero(np.abs(e.numeric) > e.allowed, axis=axis)
    return e.x.shape[axis] > 1 and bool((counts == 1).all())


def offset(e: Evidence) -> Words:
    """Off by one number everywhere."""
    difference = e.g - e.n
    if e.n.size > 2 and e.equal(difference, np.full_like(difference, difference.mean())):
        return f"is off by the same number everywhere, {difference.mean():.4g}: a term is wrong"
    return None


def signs(e: Evidence) -> Words:
    """Right but for the signs of some elements."""
    if e.equal(np.abs(e.g), np.abs(e.n)):
        count = np.count_nonzero(e.wrong)
        return f"has the wrong sign in {count} of {e.n.size} elements, the right size in all"
    return None


OUTPUT_SLOPES: tuple[tuple[str, Callable[[Array], Array], tuple[float, float]], ...] = (
    ("tanh, 1 - y^2", lambda y: 1 - y**2, (-1, 1)),
    ("sigmoid, y (1 - y)", lambda y: y * (1 - y), (0, 1)),
    ("ReLU, 0 where y is 0", lambda y: np.where(y > 0, 1.0, 0.0), (0, np.inf)),
)
"""Functions whose slope is known from their value y, and the range of y."""


def output_slope(e: Evidence) -> Words:
    """The slope of the last function, which dy has to pass first, forgotten or used twice."""
    y = e.point.output
    if e.dy is None or e.dy.shape != y.shape:
        return None
    for name, slope_at, (low, high) in OUTPUT_SLOPES:
        slope = slope_at(y)
        if y.min() < low or y.max() > high or np.ptp(slope) < 1e-6:
            continue
        found = e.gradient_for(e.dy * slope)
        if found is not None and e.equal(found[e.known], e.n):
            return f"lacks the slope of the {name}: dy passes as if it were not there"
        found = e.gradient_for(e.dy / slope) if slope.all() else None
        if found is not None and e.equal(found[e.known], e.n):
            return f"has the slope of the {name}, once too often"
    return None


def own_derivative(e: Evidence) -> Words:
    """The derivative J of forward applied to dy, where its transpose belongs."""
    if e.dy is None or e.dy.shape != e.x.shape or e.dy.shape != e.point.output.shape:
        return None
    h = 2.0**-13 / max(1.0, float(np.abs(e.dy).max()))
    above, below = (e.at(e.x + t * e.dy) for t in (h, -h))
    if not e.equal(((above - below) / (2 * h))[e.known], e.g):
        return None
    return (
        "is what forward's own derivative makes of dy: sums, shifts and products have to run "
        "the other way round, as with the transpose"
    )


def left_out(e: Evidence) -> Words:
    """0 at one place of an axis, right elsewhere: a row, a channel or a step was left out."""
    for where, here in _one_place(e):
        if not e.gradient[here].any():  # type: ignore[index]
            return f"is 0 {where} and right elsewhere: that part was left out"
    return None


def one_place(e: Evidence) -> Words:
    """Wrong at one place of an axis only."""
    for where, here in _one_place(e):
        if e.x[here].size > 2:
            return f"is wrong {where} only, in all {e.x[here].size} elements there"
    return None


def _one_place(e: Evidence) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """Where just one place of an axis is wrong, all of it: in words, and as an index."""
    if not e.known.all() or e.x.ndim < 2:
        return
    wrong = e.wrong.reshape(e.x.shape)
    for axis in range(e.x.ndim):
        rest = tuple(i for i in range(e.x.ndim) if i != axis)
        at = np.flatnonzero(wrong.any(axis=rest))
        here = (slice(None),) * axis + (at[:1].sum(),)
        if len(at) == 1 < min(e.x.shape[axis], wrong[here].size) and wrong[here].all():
            yield f"at place {at[0]} of axis {axis}", here


def stops(e: Evidence) -> Words:
    """Element by element, 0 in some that the output depends on."""
    return holes(e) if e.elementwise else None


def holes(e: Evidence) -> Words:
    """0 in some elements, right in the others."""
    if 1 < np.count_nonzero(e.wrong) < e.n.size and not np.any(np.abs(e.g[e.wrong]) > e.allowed):
        count = np.count_nonzero(e.wrong)
        at = e.x[e.known][e.wrong][0]
        return (
            f"is 0 in {count} elements that the output depends on, the first "
            f"{e.tensor.name} = {at:.4g}: a mask too many, or another"
        )
    return None


def another_slope(e: Evidence) -> Words:
    """Element by element, but with another slope than the function, or its surrogate, has."""
    if e.dy is None or e.dy.shape != e.x.shape or np.count_nonzero(e.wrong) < 2:
        return None
    slope, expected = _slope(e, e.gradient), _slope(e, e.numeric)
    other = e.rng.normal(size=e.dy.shape)
    found = e.gradient_for(other)
    if found is None or not np.allclose(found, slope * other, atol=10 * e.allowed):
        return None
    if not e.elementwise:
        return (
            "treats forward element by element, though each output depends on several elements: "
            "terms are missing"
        )
    if e.known.all() and e.equal(slope, expected**2):
        return "has its slope, or its mask, applied twice"
    off = np.where(e.known, np.abs(slope - expected), 0)
    at = np.unravel_index(off.argmax(), off.shape)
    subject = e.model.subject
    declared = isinstance(subject, QuantizerLayer) or (
        isinstance(subject, Pair) and "jump_forward" in subject.jumps
    )
    whose = "the surrogate has" if declared else "forward has"
    return (
        f"has the slope {slope[at]:.4g} at {e.tensor.name} = {e.x[at]:.4g}, {whose} "
        f"{round(expected[at], 6) + 0.0:.4g}: it is that of another "
        + ("surrogate" if declared else "function")
    )


def _slope(e: Evidence, gradient: Array | None) -> Array:
    dy = np.asarray(e.dy)
    return np.asarray(gradient) / np.where(dy == 0, np.inf, dy)
