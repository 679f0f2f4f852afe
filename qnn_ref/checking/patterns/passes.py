"""What other passes tell: an old cache, a new draw, other weights, parts of dy."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from qnn_ref._typing import Array
from qnn_ref.checking.evidence import Evidence, Words, some_indices
from qnn_ref.checking.points import Point
from qnn_ref.checking.subjects import Pair
from qnn_ref.layers.base import Layer


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


def other_weights(e: Evidence) -> Words:
    """The gradient that other weights, or another border, would give."""
    if e.dy is None:
        return None
    parts = {name for _, layer in e.model.layers() for name in layer.jumps}
    changes = [*OTHER_WEIGHTS[:1], *((_without(part), LATENT) for part in sorted(parts))]
    if not isinstance(e.model.subject, Pair):  # whose arrays `other_arrays` looks at
        changes += OTHER_WEIGHTS[1:] if e.is_input else OTHER_BORDERS
    for change, words in changes:
        other = replace(e.model, subject=copy.deepcopy(e.model.subject), x=e.model.x.copy())
        changed = [name for _, layer in other.layers() for name in change(layer)]
        if not changed:
            continue
        point = Point(other, e.rng, e.point.dys, decoy=False)
        indices = some_indices(e)
        there = np.array([e.slope(point, e.tensor, i) for i in indices])
        if e.equal(np.array([e.gradient[i] for i in indices]), there):  # type: ignore[index]
            return words.format(changed[0])
    return None


def other_arrays(e: Evidence) -> Words:
    """The gradient of a plain function that other values of one of its arrays would give."""
    if e.dy is None or not isinstance(e.model.subject, Pair) or e.gradient is None:
        return None
    indices = some_indices(e)
    yours = np.array([e.gradient[i] for i in indices])
    for tensor, base in e.point.base.items():
        for change, words in OTHER_VALUES:
            if change(base).shape != base.shape or np.array_equal(change(base), base):
                continue
            moved = e.model.moved(tensor, change(base) - base)
            try:
                point = Point(moved, e.rng, e.point.dys, decoy=False)
            except Exception:  # other values may be none that the function takes
                continue
            if e.equal(yours, np.array([e.slope(point, e.tensor, i) for i in indices])):
                return words.format(tensor.name)
    return None


def _reversed(x: Array, *axes: int) -> Array:
    return np.flip(x, axes) if x.ndim == 2 + len(axes) else x


OTHER_VALUES = (
    (
        lambda x: np.swapaxes(x, -1, -2) if x.ndim > 1 else x,
        "uses {0} where its transpose belongs, or the other way round",
    ),
    (lambda x: _reversed(x, 2, 3), "uses {0} turned by 180 degrees"),
    (lambda x: _reversed(x, 0, 1), "uses {0} turned by 180 degrees"),
    (lambda x: _reversed(x, 2), "uses {0} backwards, along its last axis"),
    (lambda x: _reversed(x, 0), "uses {0} backwards, along its first axis"),
    (np.abs, "uses |{0}| where {0} belongs"),
    (lambda x: np.where(x >= 0, 1.0, -1.0), "uses sign({0}) where {0} belongs"),
    (lambda x: x - x.mean(axis=0), "uses {0} less its mean where {0} belongs"),
    (lambda x: np.maximum(x, 0), "uses max({0}, 0) where {0} belongs"),
    (lambda x: np.clip(x, -1, 1), "uses {0}, clipped to +-1, where {0} belongs"),
    (lambda x: -x, "uses -{0} where {0} belongs"),
)


Change = Callable[[Layer], Iterator[str]]


def _unquantized(layer: Layer) -> Iterator[str]:
    for name, kind in layer.jumps.items():
        if kind == "identity" and callable(getattr(layer, name)):
            setattr(layer, name, _itself)
            yield "value"
    for name, parameter in layer.parameters().items():
        if parameter.quantizer is not None:
            parameter.quantizer = None
            yield name


LATENT = "uses what goes into {} where what comes out of it belongs"


def _without(part: str) -> Change:
    """Take away one of the functions that jump."""

    def change(layer: Layer) -> Iterator[str]:
        kind = layer.jumps.get(part)
        if (kind == "identity" or callable(kind)) and callable(getattr(layer, part)):
            setattr(layer, part, _itself)
            yield part.removeprefix("jump_")

    return change


def _itself(x: Array) -> Array:
    return x


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


OTHER_WEIGHTS: tuple[tuple[Change, str], ...] = (
    (_unquantized, "uses the latent {} where the quantized one belongs"),
    (_turned, "uses {} where its transpose belongs, or the other way round"),
    (_flipped, "uses {} turned by 180 degrees"),
    (_sides_exchanged, "takes the sides of the kernel for each other in {}"),
)


OTHER_BORDERS = ((_other_border, "counts the padding wrongly: forward has {} in the border"),)


LARGEST_AXIS = 64


def part_of_dy(e: Evidence) -> Words:
    """Only some of the examples, places or channels of dy arrive."""
    if e.dy is None or np.count_nonzero(e.wrong) == 1 < e.wrong.size:
        return None
    known = [tuple(map(int, index)) for index in np.argwhere(e.known)]
    return _parts(e, known[:: max(1, len(known) // 12)], None)


def part_of_dy_in_one(e: Evidence) -> Words:
    """Only some of dy arrives in the first wrong element, as in a recurrence without its state."""
    if e.dy is None or e.dy.ndim == 4:  # windows that are moved look like that too
        return None
    index = tuple(map(int, np.argwhere(e.known)[int(np.argmax(e.wrong))]))
    return _parts(e, [index], index)


def _parts(e: Evidence, looked: Sequence[tuple[int, ...]], element: Any) -> Words:
    """Axis by axis, which parts of dy are followed, and which should be: by `looked` or one."""
    assert e.dy is not None
    for axis, size in enumerate(e.dy.shape):
        if size > LARGEST_AXIS:
            continue  # one backward pass for each part
        used = [i for i in range(size) if _matters(e, axis, i, element)]
        if not 0 < len(used) < size:
            continue
        needed = [i for i in range(size) if _needed(e, axis, i, looked)]
        if set(needed) <= set(used):
            continue
        words, of = _axis_name(e, axis)
        some = f"{words[:-1]} {used[0]}" if len(used) == 1 else f"{words} {used}"
        if element is not None and not set(used) < set(needed):
            continue  # of one element it may be chance
        if not set(used) & set(needed):
            return (
                f"follows {some} of {of}dy where it should follow {needed}: the order is another "
                "one"
            )
        if element is not None:
            return (
                f"counts only {some} of {of}dy at {e.tensor.name}{list(element)}, where it should "
                f"count {needed}: a path of the chain rule is missing"
            )
        over = f"the {words}" if not of else f"axis {axis}"
        return f"counts only {some} of {of}dy: a sum over {over} is missing or incomplete"
    return None


def _axis_name(e: Evidence, axis: int) -> tuple[str, str]:
    """What lies along an axis of dy, and the axis where the layout is not known."""
    assert e.dy is not None
    if isinstance(e.model.subject, Pair) and e.dy.ndim > 2 and axis:
        return "places", f"axis {axis} of "
    names = {4: ("examples", "rows", "columns"), 3: ("examples", "steps")}
    return (*names.get(e.dy.ndim, ("examples",)), "channels")[axis], ""


def _slice_of(e: Evidence, axis: int, i: int) -> tuple[Any, ...]:
    return (slice(None),) * axis + (i,)


def _matters(e: Evidence, axis: int, i: int, element: Any) -> bool:
    """Whether the gradient, or one element of it, follows a part of dy."""
    assert e.dy is not None
    other = e.dy.copy()
    part = _slice_of(e, axis, i)
    other[part] += e.rng.normal(size=other[part].shape)
    found, before = e.gradient_for(other), e.gradient_for(e.dy)
    if found is None or before is None:
        return True
    if element is not None:
        return bool(found[element] != before[element])
    return not np.array_equal(found, before)


def _needed(e: Evidence, axis: int, i: int, looked: Sequence[tuple[int, ...]]) -> bool:
    """Whether the output's part i depends on the tensor."""
    assert e.dy is not None
    alone = np.zeros_like(e.dy)
    alone[_slice_of(e, axis, i)] = e.dy[_slice_of(e, axis, i)]
    point = Point(e.model, e.rng, [alone], decoy=False)
    point.gradients[e.tensor] = None
    return any(abs(e.slope(point, e.tensor, index)) > e.allowed for index in looked)


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
            return (
                "depends on dy only, or on what an earlier pass kept: the values of the forward "
                "pass play no part in it"
            )
    return None
