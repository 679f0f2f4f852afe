"""Masks that are missing, strict, inverted, one-sided, of another bound or array."""

from __future__ import annotations

from typing import Any

import numpy as np

from qnn_ref._typing import Array
from qnn_ref.checking.evidence import Evidence, Words


def zeros_of_x(e: Evidence) -> Words:
    """A mask that was read back from an output that is 0 for another reason."""
    if not e.is_input:
        return None
    at_zero = (e.x[e.known] == 0) & (np.abs(e.n) > e.allowed)
    if at_zero.any() and np.array_equal(e.wrong, at_zero) and not e.g[at_zero].any():
        return "is 0 wherever x is 0: the mask was read back from the output, where it is lost"
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
        return (
            _inverted(e, outside, passes, stops, at_bound)
            or masked_dy(e)
            or _another(e, passes, stops)
        )
    if stops.any():
        if np.array_equal(stops, at_bound & ~outside) or not np.any(stops & ~at_bound):
            value = x[stops][0]
            return (
                f"is 0 at the bound, x = {value:g}, where it should pass: the mask is strict, "
                "< stands where <= belongs (eq. (4))"
            )
        return _early(e, x, stops, outside)
    if passes.any():
        return _late(e, x, passes, outside, low, high) or masked_dy(e)
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


def _another(e: Evidence, passes: Array, stops: Array) -> Words:
    if np.array_equal(e.wrong, passes | stops):
        return (
            f"passes {np.count_nonzero(passes)} elements beyond the bound and stops "
            f"{np.count_nonzero(stops)} inside: the mask is another one"
        )
    return None


def masked_dy(e: Evidence) -> Words:
    """A clip or a mask of the incoming gradient."""
    if e.dy is None or e.dy.shape != e.x.shape:
        return None
    dy, g = e.dy[e.known], e.g
    for looked in (np.clip(dy, -1, 1), np.where(np.abs(dy) <= 1, dy, 0), np.maximum(dy, 0)):
        factor = np.vdot(looked, g) / max(np.vdot(looked, looked), 1e-300)
        if factor and e.equal(g, factor * looked):
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
    if e.is_input and (len(e.point.base) < 2 or np.any(np.abs(e.n) <= e.allowed)):
        return None  # one of several arrays, on all of which the output depends, may be a weight
    x, stopped = np.abs(e.x[e.known]), (np.abs(e.g) <= e.allowed) & e.wrong
    if not stopped.any() or stopped.all() or not np.array_equal(stopped, e.wrong):
        return None
    if x[stopped].min() < x[~stopped].max():
        return None
    return (
        f"is 0 where |{e.tensor.name}| >= {x[stopped].min():.4g}: a mask on the weights, "
        "whose surrogate is the identity; what was clipped could never return"
    )


def flat(e: Evidence) -> Words:
    """Passes where forward does not change, right elsewhere."""
    dead = np.abs(e.n) <= e.allowed
    if e.wrong.any() and not np.any(e.wrong & ~dead) and not dead.all():
        count = np.count_nonzero(e.wrong)
        return f"is not 0 in {count} elements on which the output does not depend"
    return None
