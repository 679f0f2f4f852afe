"""The chain rule broken: dy missing or bent, a factor forgotten, sums in the place of elements."""

from __future__ import annotations

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


def not_linear(e: Evidence) -> Words:
    """The gradient for a sum of two dys is not the sum of theirs.

    No correct backward pass does that, and whatever else it looks like for one dy is chance.
    """
    if e.dy is None or not e.fits:
        return None
    other = e.rng.normal(size=e.dy.shape)
    here, again, there, both = _gradients(e, e.dy, e.dy, other, 3 * e.dy - other)
    if not here.any() or not np.array_equal(here, again):  # a mistake that has its own words
        return None
    near = 1e-5 * max(np.abs(here).max(), np.abs(there).max())  # float32 has its own words too
    if np.allclose(both, 3 * here - there, 0, near):
        return None
    return masked_dy(e) or bent_dy(e) or NOT_LINEAR


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
                return f"is the {words} over {where}, the same for each of them"
    return None


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


def holes(e: Evidence) -> Words:
    """0 in some elements, right in the others."""
    if 1 < np.count_nonzero(e.wrong) < e.n.size and not np.any(np.abs(e.g[e.wrong]) > e.allowed):
        count = np.count_nonzero(e.wrong)
        return f"is 0 in {count} elements that the output depends on: a mask too many, or another"
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
