"""Wrong by a factor, in one number or many: sums for means, scales, precision."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from qnn_ref._typing import Array
from qnn_ref.checking.evidence import Evidence, Words


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
    if np.isclose(c, -1, rtol=e.accuracy):
        return "has the wrong sign"
    sign = "has the wrong sign and " if c < 0 else ""
    size = abs(c)
    if round(size) != 1 and abs(size - round(size)) <= e.accuracy * size:  # as far as it is known
        size = float(round(size))
    times = f"{max(size, 1 / size):.{4 if abs(size - 1) > 0.005 else 8}g} times too"
    words = f"is {times} large" if size > 1 else f"is {times} small"
    return sign + words + _reason(e, size)


def _reason(e: Evidence, size: float) -> str:
    """Which number it is that was forgotten or counted twice."""

    def close(a: float, b: float) -> bool:
        return bool(np.isclose(a, b, rtol=e.accuracy))

    larger = max(size, 1 / size)
    is_whole = abs(larger - round(larger)) <= e.accuracy * larger
    for words, value in e.constants().items():
        if "|" in words and is_whole:  # numbers of the data are whole by chance only
            continue
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
    if e.dy is not None and e.x.ndim == 1 and e.x.size in e.dy.shape:
        counts.setdefault(e.dy.size // e.x.size, "the number of examples and places")
    for count, words in counts.items():
        if count == 2 and (close(size, 2) or close(size, 0.5)):
            return f" (2 is {words} too)"
        if count > 1 and close(size, count):
            return f", {words}: a sum stands where a mean belongs"
        if count > 1 and close(size, 1 / count):
            return f", {words}: a mean stands where a sum belongs"
    for words, value in e.constants().items():
        if close(size, value**2):
            return f": {words}, {value:.4g}, twice too often"
    if e.elementwise:  # nothing is summed
        return ""
    shapes = {e.tensor.name: e.x.shape, "dy": () if e.dy is None else e.dy.shape}
    shapes |= {t.name: base.shape for t, base in e.point.base.items() if t != e.tensor}
    for name, shape in shapes.items():
        for axis, count in enumerate(shape):
            if count > 2 and (close(size, count) or close(size, 1 / count)):
                wrong, right = ("sum", "mean") if size > 1 else ("mean", "sum")
                return (
                    f" ({count} is the length of axis {axis} of {name}: perhaps a {wrong} stands "
                    f"where a {right} belongs)"
                )
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


def column_scale(e: Evidence) -> Words:
    """A scale of each column that dy has to pass, alpha or the mean of |w| there, forgotten."""
    if e.dy is None or e.dy.ndim == 0:
        return None
    for name, scale, is_mean in _scales(e):
        dys = [
            (e.dy * scale, f"lacks the factor {name}"),
            (e.dy / scale, f"has once too often {name}"),
        ]
        if is_mean:
            one = float(scale.mean())
            dys.append((e.dy * scale / one, f"has one {name} for all, where each has its own"))
            dys.append((e.dy / scale * one, f"has {name}, where one for all belongs"))
        for dy, words in dys:
            found = e.gradient_for(dy)
            if found is not None and e.equal(found[e.known], e.n):
                return words
    return None


def _scales(e: Evidence) -> Iterator[tuple[str, Array, bool]]:
    """What dy may have to be multiplied with, in a shape that broadcasts: (name, scale, mean?)."""
    assert e.dy is not None
    channel = {-1, 1} if e.dy.ndim > 2 else {-1}  # of images, last or first
    for tensor, array in e.point.base.items():
        for axis in (-1, 0) if array.ndim > 1 and tensor != e.tensor else (-1,) * array.ndim:
            is_mean = array.ndim > 1
            rest = tuple(np.delete(np.arange(array.ndim), axis))
            scale = np.abs(array).mean(axis=rest) if is_mean else array
            words = f"mean |{tensor.name}| of each column" if is_mean else tensor.name
            for at in channel:
                if tensor != e.tensor and len(scale) == e.dy.shape[at] and scale.all():
                    shape = [1] * e.dy.ndim
                    shape[at] = len(scale)
                    yield words, scale.reshape(shape), is_mean


def unused(e: Evidence) -> Words:
    """A gradient of what the output does not depend on."""
    if e.g.any() and not np.any(np.abs(e.n) > e.allowed):
        return (
            "is not 0, but the output does not depend on it: forward uses a constant, or what it "
            "kept from an earlier pass"
        )
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
    both = e.equal(missing, normalized * share + missing.mean(axis=0))
    if not e.equal(missing, normalized * share) and not both:
        return None
    whole = dy - dy.mean(axis=0) - normalized * (dy * normalized).mean(axis=0)
    factor = (n * whole).sum(axis=0) / (whole**2).sum(axis=0)
    term = -factor * (dy * normalized).mean(axis=0)
    ratio = float(np.median(share / term))
    if both and not e.equal(missing, normalized * share):
        what = "lacks" if np.isclose(ratio, 1, rtol=1e-3) else "is wrong in"
        return f"{what} two terms: those through the mean and the variance of the batch"
    if np.isclose(abs(ratio), 1 / (len(x) - 1), rtol=1e-3):
        return f"divides the term through the variance by {len(x) - 1}, not {len(x)}: m - 1 for m"
    if np.isclose(ratio, 1, rtol=1e-3):
        return "lacks the term in x - mean: the one through the variance"
    return "has a wrong term in x - mean: the one through the variance"


def normalized_factor(e: Evidence) -> Words:
    """A gradient of a gain without the normalized input: that of a shift."""
    if e.dy is None or e.x.ndim != 1 or e.dy.ndim < 2 or e.dy.shape[-1] != e.x.size:
        return None
    inputs = (base for base in (e.model.x, *e.point.base.values()) if base.shape == e.dy.shape)
    for x in inputs:
        if e.equal(e.g, (e.dy * x).reshape(-1, e.x.size).sum(axis=0)[e.known]):
            return "is the sum of dy times the input as it is: the normalized one belongs there"
    plain = e.dy.reshape(-1, e.x.size).sum(axis=0)
    if e.equal(e.g, plain[e.known]) and not e.equal(e.n, plain[e.known]):
        return "is the plain sum of dy: the factor that it belongs to is missing"
    return None


def scale_term(e: Evidence) -> Words:
    """Weights with a scale of their own, the mean of |w|: its factor, or its own gradient."""
    if e.x.ndim != 2 or not e.known.all() or e.gradient is None:
        return None
    missing, s = e.numeric - e.gradient, np.sign(e.x)
    if e.equal(missing, (s - 1) * missing.sum() / min(-1, (s - 1).sum())):
        return f"has a term, the one through mean |{e.tensor.name}|, without its factor sign(...)"
    columns = [slice(None)] if min(e.x.shape) < 3 else [*range(e.x.shape[1])]
    for parts in ([slice(None)], columns):
        fits = [_fitted(e, part) for part in parts]
        if all(fit is not None for fit in fits):
            factors = np.array([fit[0] for fit in fits if fit is not None])
            name, one = e.tensor.name, np.allclose(factors, 1, rtol=1e-4)
            shares = np.array(
                [_share(e, part, fit[1]) for part, fit in zip(parts, fits, strict=True) if one]  # type: ignore[index]
            )
            where = f"the term in sign({name}), the one through mean |{name}|"
            if one and np.allclose(shares, -1, rtol=1e-3):
                return f"has the wrong sign in {where}"
            if one and shares.size and not np.allclose(shares, 0, atol=1e-3):
                times = ", ".join(f"{share:.4g}" for share in shares[:4])
                return f"has {where}, {times} times as large as it should be"
            term = f"lacks the term in sign({name}): the one through mean |{name}|"
            if one:
                return term
            return f"{term}, and the factor {', '.join(f'{f:.4g}' for f in factors[:4])}"
    return None


def _share(e: Evidence, part: Any, missing: float) -> float:
    """How much of the term is there, as a share: 0 if it was forgotten, -1 with another sign."""
    x, n = e.x[:, part], e.numeric[:, part]
    term = float((n * np.sign(x)).mean() / (1 + np.abs(x).mean()))
    return (term - missing) / term


def _fitted(e: Evidence, part: Any) -> Array | None:
    """Numbers a, b with `numeric = a gradient + b sign(x)` in some columns, if there are any."""
    assert e.gradient is not None
    x, g, n = (array[:, part].ravel() for array in (e.x, e.gradient, e.numeric))
    if len(n) < 3:
        return None
    basis = np.stack([g, np.sign(x)], axis=1)
    fit = np.linalg.lstsq(basis, n, rcond=None)[0]
    return fit if e.equal(basis @ fit, n) and abs(fit[1]) > 100 * e.allowed else None


def single_precision(e: Evidence) -> Words:
    """Small errors, of the size that float32 leaves."""
    largest = max(float(np.abs(e.n).max()), 1e-300)
    error = float(np.abs(e.g - e.n).max()) / largest
    if error < 1e-3 and np.array_equal(e.g, e.g.astype(np.float32)):
        return "has the accuracy of float32: backward computes in it"
    return None
