"""Mistakes that are recognised in a wrong gradient, each by one short function.

A function takes an `Evidence` and returns a sentence without its subject ("is 2 times too large"),
or None. `PATTERNS` is their order: what is certain comes first, and what a later one would also
explain.
"""

from __future__ import annotations

from collections.abc import Callable

from qnn_ref.checking.evidence import Evidence, Words
from qnn_ref.checking.patterns.chain import (
    another_slope,
    array_factor,
    bent_dy,
    exchanged,
    holes,
    left_out,
    offset,
    one_place,
    output_slope,
    own_derivative,
    signs,
    stops,
    summed,
)
from qnn_ref.checking.patterns.factors import (
    channel_factor,
    column_scale,
    constant_factor,
    norm_terms,
    normalized_factor,
    scale_term,
    single_precision,
    unused,
    zero,
)
from qnn_ref.checking.patterns.masks import flat, mask, masked_weights, zeros_of_x
from qnn_ref.checking.patterns.passes import (
    of_dy_only,
    other_arrays,
    other_weights,
    part_of_dy,
    part_of_dy_in_one,
    part_of_outputs,
    stale,
    unsteady,
)
from qnn_ref.checking.patterns.places import (
    border,
    overlap,
    permuted,
    right_class,
    ties,
    transposed,
)
from qnn_ref.checking.report import GradientError


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
    if larger and len(wanted) == 4 and e.is_input:
        return f"counts the padding: it has shape {came}, the input {wanted}; cut the border off"
    return _broadcast(e) or f"has the wrong shape: {came}, the tensor {wanted}"


def _broadcast(e: Evidence) -> Words:
    """The right numbers in a shape that broadcasts: a sum that is missing, or an axis too many."""
    assert e.gradient is not None
    came, wanted = e.gradient.shape, e.x.shape
    if not e.known.all() or len(came) < len(wanted):
        return None
    if e.gradient.size == e.x.size and e.equal(e.gradient.reshape(wanted), e.numeric):
        return f"has the right numbers in shape {came}, where the tensor has {wanted}: reshape it"
    sizes = (1,) * (len(came) - len(wanted)) + wanted
    axes = tuple(i for i, (c, w) in enumerate(zip(came, sizes, strict=True)) if c != w == 1)
    if axes and e.equal(e.gradient.sum(axis=axes).reshape(-1), e.numeric.reshape(-1)):
        over = " and ".join(map(str, axes))
        return f"is not summed over axis {over}: it has shape {came}, the tensor {wanted}"
    return None


PATTERNS: tuple[Callable[[Evidence], Words], ...] = (
    zero,
    unused,
    constant_factor,
    transposed,
    stale,
    masked_weights,
    mask,
    zeros_of_x,
    left_out,
    channel_factor,
    norm_terms,
    unsteady,
    normalized_factor,
    right_class,
    scale_term,
    part_of_outputs,
    ties,
    overlap,
    output_slope,
    stops,
    column_scale,
    part_of_dy,
    other_weights,
    permuted,
    single_precision,
    border,
    array_factor,
    summed,
    bent_dy,
    offset,
    signs,
    flat,
    holes,
    one_place,
    of_dy_only,
    another_slope,
    other_arrays,
    own_derivative,
    part_of_dy_in_one,
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
    first = forgotten(e) or exchanged(e) or wrong_shape(e)
    if first or not e.fits:
        return first
    for pattern in PATTERNS:
        try:
            words = pattern(e)
        except UNKNOWN:
            continue
        if words:
            return words
    return None


UNKNOWN = (GradientError, ValueError, TypeError, ArithmeticError, LookupError, RuntimeError)
"""What a stranger's code raises for values that it does not take, such as the log of another x."""
