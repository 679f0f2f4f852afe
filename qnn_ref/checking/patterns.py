"""Mistakes that are recognised in a wrong gradient, each by one short function.

A function takes an `Evidence` and returns a sentence without its subject ("is 2 times too large"),
or None. `PATTERNS` is their order: what is certain comes first, and what a later one would also
explain.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from qnn_ref._typing import Array
from qnn_ref.checking.evidence import Evidence
from qnn_ref.checking.points import Point
from qnn_ref.geometry import taps
from qnn_ref.layers.base import Layer

Words = str | None


def forgotten(e: Evidence) -> Words:
    """No gradient at all."""
    if e.gradient is None:
        return "was forgotten: backward left no gradient"
    return None


def wrong_shape(e: Evidence) -> Words:
    """A gradient of another shape: transposed, with its border, or cut."""
    if e.gradient is None or e.fits:
        return None
    came, wanted = e.gradient.shape, e.x.shape
    if came == wanted[::-1] and e.equal(e.gradient.T[e.known], e.n):
        return f"is transposed: it has shape {came}, the tensor {wanted}"
    larger = len(came) == len(wanted) and all(c >= w for c, w in zip(came, wanted, strict=True))
    if larger and len(wanted) == 4 and e.tensor == e.model.input:
        return f"counts the padding: it has shape {came}, the input {wanted}; cut the border off"
    return f"has the wrong shape: {came}, the tensor {wanted}"


def unsteady(e: Evidence) -> Words:
    """Another gradient each time: something is drawn anew."""
    if e.dy is None or e.gradient is None:
        return None
    first, second = e.gradient_for(e.dy), e.gradient_for(e.dy)
    if first is None or second is None or np.array_equal(first, second):
        return None
    return (
        "is another one each time: backward uses what changes between passes, such as a new draw, "
        "a sum that goes on, or running statistics"
    )


def stale(e: Evidence) -> Words:
    """Right in a first pass, wrong after another one: an old cache, or an old gradient."""
    if e.dy is None or not e.fits:
        return None
    fresh = Point(e.model, e.rng, e.point.dys, decoy=False)
    first = fresh.gradients.get(e.tensor)
    if first is None or first.shape != e.x.shape or not e.equal(first[e.known], e.n):
        return None
    again = fresh.gradients_for(fresh.dys).get(e.tensor)
    if again is not None and e.equal(again[e.known], 2 * e.n):
        return "is added to the old one: += stands where = belongs"
    return "is that of an earlier forward pass: backward uses what was kept then"


def zero(e: Evidence) -> Words:
    """0 everywhere."""
    if not e.g.any() and np.abs(e.n).max() > e.allowed:
        return "is 0 everywhere"
    return None


def _factor(e: Evidence) -> float | None:
    some = np.abs(e.n) > 10 * e.allowed
    if not some.any() or np.count_nonzero(some) < min(2, e.n.size):
        return None
    ratio = float(np.median(e.g[some] / e.n[some]))
    return ratio if ratio and e.equal(e.g, ratio * e.n) else None


def constant_factor(e: Evidence) -> Words:
    """The right gradient times one number."""
    c = _factor(e)
    if c is None:
        return None
    if np.isclose(c, -1, rtol=1e-5):
        return "has the wrong sign"
    sign = "has the wrong sign and " if c < 0 else ""
    size = abs(c)
    words = f"is {size:.4g} times too large" if size > 1 else f"is {1 / size:.4g} times too small"
    return sign + words + _reason(e, size)


def _reason(e: Evidence, size: float) -> str:
    """Which number it is that was forgotten or counted twice."""

    def close(a: float, b: float) -> bool:
        return bool(np.isclose(a, b, rtol=1e-5))

    for words, value in e.constants().items():
        if close(size, abs(value)):
            return f": {words}, {value:.4g}, once too often"
        if close(size, 1 / abs(value)):
            return f": {words}, {value:.4g}, is missing"
    batch = e.batch
    places = e.x.size // e.x.shape[-1] if e.is_input and e.x.ndim > 2 else batch
    counts = {
        e.x.size: "the number of elements",
        places: "the number of examples and places",
        batch: "the batch size",
    }
    for count, words in counts.items():
        if count > 1 and close(size, count):
            return f", {words}: a sum stands where a mean belongs"
        if count > 1 and close(size, 1 / count):
            return f", {words}: a mean stands where a sum belongs"
    for words, value in e.constants().items():
        if close(size, value**2):
            return f": {words}, {value:.4g}, twice too often"
    return ""


def channel_factor(e: Evidence) -> Words:
    """The right gradient times a number that depends on the channel only."""
    channels = e.x.shape[-1] if e.x.ndim > 1 else 0
    which = np.broadcast_to(np.arange(max(channels, 1)), e.x.shape)[e.known]
    some = np.abs(e.n) > 100 * e.allowed
    factors = np.ones(channels)
    for c in range(channels):
        here = some & (which == c)
        if np.count_nonzero(here) < 2:
            return None
        factors[c] = np.median(e.g[here] / e.n[here])
        if not e.equal(e.g[here], factors[c] * e.n[here]):
            return None
    if channels < 2 or not e.equal(e.g, factors[which] * e.n):
        return None
    shown = ", ".join(f"{f:.3g}" for f in factors[:4]) + (", ..." if channels > 4 else "")
    for name, parameter in {} if e.layer is None else e.layer.parameters().items():
        value = parameter.latent
        if value.shape == (channels,) and np.allclose(factors * value, 1, rtol=1e-4):
            return f"lacks the factor {name}: off by {shown}, channel by channel"
        if value.shape == (channels,) and np.allclose(factors / value, 1, rtol=1e-4):
            return f"has the factor {name} once too often: off by {shown}, channel by channel"
    deviation = e.x.reshape(-1, channels).std(axis=0)
    if np.allclose(factors / deviation, 1, rtol=0.05):
        return f"lacks the factor 1 / deviation of the batch: off by {shown}, channel by channel"
    return f"is off by a factor that depends on the channel only: {shown}"


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
        for by in (1, -1):
            moved, inside = np.roll(g, (by, by), (1, 2)), e.known.copy()
            inside[:, [0, -1]] = inside[:, :, [0, -1]] = False
            if inside.any() and e.equal(moved[inside], e.numeric[inside]):
                return "is moved by one row and column: the border counts as a part of the image"
    for a in axes:
        for by in (1, -1):
            moved = np.roll(g, by, a)
            inner = np.ones(g.shape, bool)
            inner[tuple(slice(1, -1) if i == a else slice(None) for i in axes)] = False
            look = e.known & ~inner
            if g.shape[a] > 2 and look.any() and e.equal(moved[look], e.numeric[look]):
                return f"is moved by one along axis {a}"
    return None


def permuted(e: Evidence) -> Words:
    """The right numbers in wrong places."""
    if e.known.all() and e.n.size > 2 and e.equal(np.sort(e.g), np.sort(e.n)):
        return "has the right numbers in the wrong places"
    return None


def other_weights(e: Evidence) -> Words:
    """The gradient that other weights, or another border, would give."""
    if e.dy is None:
        return None
    of_input = e.tensor == e.model.input
    for change, words in OTHER_WEIGHTS if of_input else OTHER_BORDERS:
        other = replace(e.model, subject=copy.deepcopy(e.model.subject), x=e.model.x.copy())
        changed = [name for _, layer in other.layers() for name in change(layer)]
        if not changed:
            continue
        point = Point(other, e.rng, e.point.dys, decoy=False)
        indices = np.argwhere(e.known)[:12]
        there = np.array([e.slope(point, e.tensor, tuple(map(int, i))) for i in indices])
        if e.equal(e.gradient[tuple(indices.T)], there):  # type: ignore[index]
            return words.format(changed[0])
    return None


def _unquantized(layer: Layer) -> Iterator[str]:
    for name, parameter in layer.parameters().items():
        if parameter.quantizer is not None:
            parameter.quantizer = None
            yield name


def _turned(layer: Layer) -> Iterator[str]:
    for name, parameter in layer.parameters().items():
        if parameter.latent.ndim == 2 and len(set(parameter.shape)) == 1:
            parameter.assign(parameter.latent.T.copy())
            yield name


def _flipped(layer: Layer) -> Iterator[str]:
    for name, parameter in layer.parameters().items():
        if parameter.latent.ndim == 4:
            parameter.assign(parameter.latent[::-1, ::-1].copy())
            yield name


def _sides_exchanged(layer: Layer) -> Iterator[str]:
    for name, parameter in layer.parameters().items():
        if parameter.latent.ndim == 4:
            high, wide, *rest = parameter.shape
            parameter.assign(parameter.latent.reshape(wide, high, *rest).swapaxes(0, 1).copy())
            yield name


def _other_border(layer: Layer) -> Iterator[str]:
    if hasattr(layer, "one_padding"):
        layer.one_padding = not layer.one_padding
        yield "0" if layer.one_padding else "1"


OTHER_WEIGHTS = (
    (_unquantized, "uses the latent {} where the quantized one belongs"),
    (_turned, "uses {} where its transpose belongs, or the other way round"),
    (_flipped, "uses {} turned by 180 degrees"),
    (_sides_exchanged, "takes the sides of the kernel for each other in {}"),
)
OTHER_BORDERS = ((_other_border, "counts the padding wrongly: forward has {} in the border"),)


def unused(e: Evidence) -> Words:
    """A gradient of what the output does not depend on."""
    if e.g.any() and not np.any(np.abs(e.n) > e.allowed):
        return (
            "is not 0, but the output does not depend on it: forward uses a constant, or what it "
            "kept from an earlier pass"
        )
    return None


def zeros_of_x(e: Evidence) -> Words:
    """A mask that was read back from an output that is 0 for another reason."""
    if not e.is_input:
        return None
    at_zero = (e.x[e.known] == 0) & (np.abs(e.n) > e.allowed)
    if at_zero.any() and np.array_equal(e.wrong, at_zero) and not e.g[at_zero].any():
        return "is 0 wherever x is 0: the mask was read back from the output, where it is lost"
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


def _bounds(e: Evidence) -> tuple[float, float] | None:
    """Interval outside which the right gradient is 0, if there is one."""
    x, dead = e.x[e.known], np.abs(e.n) <= e.allowed
    if dead.all() or not e.is_input:
        return None
    low, high = float(x[~dead].min()), float(x[~dead].max())
    return (low, high) if not np.any(dead & (x > low) & (x < high)) else None


def mask(e: Evidence) -> Words:
    """A mask that is missing, strict, inverted, one-sided, of another bound or array."""
    found = _bounds(e)
    if found is None:
        return None
    low, high = found
    x, g = e.x[e.known], e.g
    known = getattr(e.layer, "saturation", getattr(_quantizer(e), "saturation", None))
    if isinstance(known, float) and -known <= low and high <= known:
        low, high = max(low, -known), min(high, known)
        if not np.any((np.abs(x) <= known) & ((x < low) | (x > high))):
            low, high = -known, known
    outside, stopped = (x < low) | (x > high), np.abs(g) <= e.allowed
    passes = e.wrong & outside
    stops = e.wrong & ~outside & stopped
    at_bound = _on_bound(e)
    if np.any(e.wrong & ~passes & ~stops) or (passes.any() and stops.any()):
        return _inverted(e, outside, passes, stops, at_bound) or _of_gradient(e)
    if stops.any():
        if np.array_equal(stops, at_bound & ~outside) or not np.any(stops & ~at_bound):
            value = x[stops][0]
            return (
                f"is 0 at the bound, x = {value:g}, where it should pass: the mask is strict, "
                "< stands where <= belongs (eq. (4))"
            )
        return _early(e, x, stops, outside)
    if passes.any():
        return _late(e, x, passes, outside, low, high) or _of_gradient(e)
    return None


def _quantizer(e: Evidence) -> Any:
    return getattr(e.layer, "quantizer", None)


def _on_bound(e: Evidence) -> Array:
    on = np.zeros(e.x.shape, bool)
    for kink in e.point.kinks():
        if len(kink.index) == e.x.ndim and e.x[kink.index] == kink.value:
            on[kink.index] = True
    return on[e.known]  # type: ignore[no-any-return]


def _inverted(e: Evidence, outside: Array, passes: Array, stops: Array, at_bound: Array) -> Words:
    if np.array_equal(passes, outside) and np.array_equal(stops | at_bound, ~outside | at_bound):
        return "passes outside the bound and stops inside: the mask is inverted"
    return None


def _of_gradient(e: Evidence) -> Words:
    """A clip or a mask of the incoming gradient."""
    if e.dy is None or e.dy.shape != e.x.shape:
        return None
    dy, g = e.dy[e.known], e.g
    for looked in (np.clip(dy, -1, 1), np.where(np.abs(dy) <= 1, dy, 0), np.maximum(dy, 0)):
        if e.equal(g, looked):
            return "is masked by dy, not by x: the mask looks at the wrong array"
    return None


def _early(e: Evidence, x: Array, stops: Array, outside: Array) -> Words:
    right = ~e.wrong & ~outside
    if right.any() and np.abs(x[stops]).min() > np.abs(x[right]).max():
        return (
            f"stops at |x| = {np.abs(x[stops]).min():.4g} already: the mask ends at the wrong "
            f"bound, it should pass up to {np.abs(x[~outside]).max():.4g} at least"
        )
    return None


def _late(e: Evidence, x: Array, passes: Array, outside: Array, low: float, high: float) -> Words:
    below, above = outside & (x < low), outside & (x > high)
    if np.array_equal(passes, outside):
        if below.any() and above.any():
            return f"passes where |x| > {max(abs(low), abs(high)):.4g} too: the mask is missing"
        where = f"x > {high:.4g}" if above.any() else f"x < {low:.4g}"
        return f"passes where {where} too: the mask is missing there"
    for side, where in ((below, f"x < {low:.4g}"), (above, f"x > {high:.4g}")):
        if np.array_equal(passes, side):
            return f"passes where {where} too: the mask is missing on one side"
    if np.abs(x[passes]).max() < np.abs(x[outside & ~passes]).min():
        return (
            f"passes up to |x| = {np.abs(x[passes]).max():.4g}: the mask ends at the wrong bound, "
            f"it should stop above {max(abs(low), abs(high)):.4g}"
        )
    return None


def masked_weights(e: Evidence) -> Words:
    """A mask on weights, whose surrogate has no bound."""
    if e.is_input:
        return None
    x, stopped = np.abs(e.x[e.known]), (np.abs(e.g) <= e.allowed) & e.wrong
    if not stopped.any() or stopped.all() or not np.array_equal(stopped, e.wrong):
        return None
    if x[stopped].min() < x[~stopped].max():
        return None
    return (
        f"is 0 where |{e.tensor.name}| >= {x[stopped].min():.4g}: a mask on the weights, "
        "whose surrogate is the identity; what was clipped could never return"
    )


LARGEST_AXIS = 64


def part_of_dy(e: Evidence) -> Words:
    """Only some of the examples, places or channels of dy arrive."""
    if e.dy is None or np.count_nonzero(e.wrong) == 1 < e.wrong.size:
        return None
    names = ("examples", "rows", "columns") if e.dy.ndim == 4 else ("examples",)
    for axis in range(e.dy.ndim):
        words = names[axis] if axis < len(names) else "channels"
        if e.dy.shape[axis] > LARGEST_AXIS:
            continue  # one backward pass for each part
        used = [i for i in range(e.dy.shape[axis]) if _matters(e, axis, i)]
        if not 0 < len(used) < e.dy.shape[axis]:
            continue
        needed = [i for i in range(e.dy.shape[axis]) if _needed(e, axis, i)]
        if set(needed) <= set(used):
            continue
        some = f"{words[:-1]} {used[0]}" if len(used) == 1 else f"{words} {used}"
        if not set(used) & set(needed):
            return f"follows {some} of dy where it should follow {needed}: the order is another one"
        return f"counts only {some} of dy: a sum over the {words} is missing or incomplete"
    return None


def _slice_of(e: Evidence, axis: int, i: int) -> tuple[Any, ...]:
    return (slice(None),) * axis + (i,)


def _matters(e: Evidence, axis: int, i: int) -> bool:
    """Whether the gradient follows a part of dy."""
    assert e.dy is not None
    other = e.dy.copy()
    other[_slice_of(e, axis, i)] += 1
    found, before = e.gradient_for(other), e.gradient_for(e.dy)
    return found is None or before is None or not np.array_equal(found, before)


def _needed(e: Evidence, axis: int, i: int) -> bool:
    """Whether the output's part i depends on the tensor."""
    assert e.dy is not None
    alone = np.zeros_like(e.dy)
    alone[_slice_of(e, axis, i)] = e.dy[_slice_of(e, axis, i)]
    point = Point(e.model, e.rng, [alone], decoy=False)
    point.gradients[e.tensor] = None
    looked = np.argwhere(e.known)
    some = looked[:: max(1, len(looked) // 12)]
    return any(abs(e.slope(point, e.tensor, tuple(map(int, k)))) > e.allowed for k in some)


def part_of_outputs(e: Evidence) -> Words:
    """Several outputs, one of which is not followed: an auxiliary classifier, or the main one."""
    for k, words in enumerate(("of the output", "of the auxiliary scores")[: len(e.point.dys)]):
        if len(e.point.dys) < 2:
            return None
        dys = [dy + (i == k) for i, dy in enumerate(e.point.dys)]
        before, after = (e.point.gradients_for(d).get(e.tensor) for d in (e.point.dys, dys))
        if before is not None and after is not None and np.allclose(before, after, atol=1e-12):
            return f"does not follow the gradient {words}"
    return None


def norm_terms(e: Evidence) -> Words:
    """The two terms of a batch norm that go through mean and variance."""
    if not e.is_input or e.dy is None or e.dy.shape != e.x.shape or not e.known.all():
        return None
    assert e.gradient is not None
    channels = e.x.shape[-1]
    x, n, g = (a.reshape(-1, channels) for a in (e.x, e.numeric, e.gradient))
    dy = e.dy.reshape(-1, channels)
    if len(x) < 3:
        return None
    normalized = (x - x.mean(axis=0)) / (x.std(axis=0) + 1e-300)
    missing = n - g
    if e.equal(missing, np.broadcast_to(missing.mean(axis=0), missing.shape)):
        return "lacks a term that is the same for the whole batch: the one through the mean"
    share = (missing * normalized).mean(axis=0)
    if not e.equal(missing, normalized * share):
        return None
    whole = dy - dy.mean(axis=0) - normalized * (dy * normalized).mean(axis=0)
    factor = (n * whole).sum(axis=0) / (whole**2).sum(axis=0)
    term = -factor * (dy * normalized).mean(axis=0)
    ratio = float(np.median(share / term))
    if np.isclose(abs(ratio), 1 / (len(x) - 1), rtol=1e-3):
        return f"divides the term through the variance by {len(x) - 1}, not {len(x)}: m - 1 for m"
    if np.isclose(ratio, 1, rtol=1e-3):
        return "lacks the term in x - mean: the one through the variance"
    return "has a wrong term in x - mean: the one through the variance"


def normalized_factor(e: Evidence) -> Words:
    """A gradient of a gain without the normalized input: that of a shift."""
    if e.is_input or e.dy is None or e.x.ndim != 1 or e.dy.shape[-1] != e.x.size:
        return None
    plain = e.dy.reshape(-1, e.x.size).sum(axis=0)
    if e.equal(e.g, plain[e.known]) and not e.equal(e.n, plain[e.known]):
        return "is the plain sum of dy: the factor that it belongs to is missing"
    return None


def scale_term(e: Evidence) -> Words:
    """Weights with a scale of their own, the mean of |w|: its factor, or its own gradient."""
    if e.x.ndim != 2 or not e.known.all() or e.gradient is None:
        return None
    columns = [slice(None)] if min(e.x.shape) < 3 else [*range(e.x.shape[1])]
    for parts in ([slice(None)], columns):
        fits = [_fitted(e, part) for part in parts]
        if all(fit is not None for fit in fits):
            factors = np.array([fit[0] for fit in fits if fit is not None])
            term = (
                f"lacks the term in sign({e.tensor.name}): the one through mean |{e.tensor.name}|"
            )
            if np.allclose(factors, 1, rtol=1e-4):
                return term
            return f"{term}, and the factor {', '.join(f'{f:.4g}' for f in factors[:4])}"
    return None


def _fitted(e: Evidence, part: Any) -> Array | None:
    """Numbers a, b with `numeric = a gradient + b sign(x)` in some columns, if there are any."""
    assert e.gradient is not None
    x, g, n = (array[:, part].ravel() for array in (e.x, e.gradient, e.numeric))
    if len(n) < 3:
        return None
    basis = np.stack([g, np.sign(x)], axis=1)
    fit = np.linalg.lstsq(basis, n, rcond=None)[0]
    return fit if e.equal(basis @ fit, n) and abs(fit[1]) > 100 * e.allowed else None


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


def flat(e: Evidence) -> Words:
    """Passes where forward does not change, right elsewhere."""
    dead = np.abs(e.n) <= e.allowed
    if e.wrong.any() and not np.any(e.wrong & ~dead) and not dead.all():
        count = np.count_nonzero(e.wrong)
        return f"is not 0 in {count} elements on which the output does not depend"
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


def of_dy_only(e: Evidence) -> Words:
    """A gradient that does not depend on x, though it should."""
    if e.dy is None or not e.fits or not np.any(e.wrong):
        return None
    inputs = [t for t, base in e.point.base.items() if base.dtype.kind == "f"]
    index = tuple(int(i) for i in np.argwhere(e.known)[int(np.argmax(e.wrong))])
    for tensor in inputs:
        change = e.rng.normal(size=e.point.base[tensor].shape)
        moved = Point(e.model.moved(tensor, change), e.rng, e.point.dys, decoy=False)
        there = moved.gradients.get(e.tensor)
        if there is None or e.gradient is None or not np.array_equal(there, e.gradient):
            return None
        if abs(e.slope(moved, e.tensor, index) - e.numeric[index]) > 10 * e.allowed:
            return "depends on dy only: the values of the forward pass play no part in it"
    return None


def single_precision(e: Evidence) -> Words:
    """Small errors, of the size that float32 leaves."""
    largest = max(float(np.abs(e.n).max()), 1e-300)
    error = float(np.abs(e.g - e.n).max()) / largest
    if error < 1e-3 and np.array_equal(e.g, e.g.astype(np.float32)):
        return "has the accuracy of float32: backward computes in it"
    if error < 1 and _coarse(e):
        return "cannot be judged: forward computes in float32"
    return None


def _coarse(e: Evidence) -> bool:
    """Whether the output does not change at all where float64 would show it."""
    direction = e.rng.normal(size=e.x.shape)
    ys = [e.point.at(e.tensor, e.x + t * direction) for t in (-1e-11, 1e-11)]
    e.point.put_back(e.tensor)
    return bool(e.n.any()) and all(np.array_equal(y, e.point.output) for y in ys)


PATTERNS: tuple[Callable[[Evidence], Words], ...] = (
    zero,
    unused,
    constant_factor,
    transposed,
    stale,
    mask,
    masked_weights,
    zeros_of_x,
    channel_factor,
    norm_terms,
    unsteady,
    normalized_factor,
    right_class,
    scale_term,
    part_of_outputs,
    ties,
    overlap,
    part_of_dy,
    other_weights,
    permuted,
    single_precision,
    border,
    of_dy_only,
    flat,
)
"""Of a gradient that is there, in the right shape."""


def recognised(e: Evidence) -> Words:
    """The sentence of the first pattern that fits, without its subject.

    Parameters
    ----------
    e : Evidence

    Returns
    -------
    str or None
    """
    first = forgotten(e) or wrong_shape(e)
    if first or not e.fits:
        return first
    for pattern in PATTERNS:
        words = pattern(e)
        if words:
            return words
    return None
