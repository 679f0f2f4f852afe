r"""Gradient checks: difference quotients of the frozen network against its backward pass.

*Probe* mode takes, for each tensor, a few random directions v: the derivative of
:math:`\langle u, f \rangle` along v, from values alone, must equal :math:`\langle g, v \rangle`,
with g from the backward pass and u a random covector (or the loss). That takes four forward passes
a direction, whatever the tensor's size. *Full* mode takes every element, and names the worst.
*Order* mode looks at many steps and trusts none, see `qnn_ref.checking.order`.

What does a probe see? If g is wrong by e, the two numbers differ by :math:`\langle e, v \rangle`,
which for standard normal v is itself normal, with deviation :math:`|e|`: it does not matter whether
one element is wrong or all are. Once in 100 checks all of three directions show less than 0.27 of
it. So with a tolerance of 1e-6 an error of 4e-6 of the length :math:`|g|` is missed once in 100
checks, a shorter one more often: in a matrix of 1,000 x 1,000, all alike, a single element that is
wrong by 1/270 of itself. `Entry.unseen` is this share of the length.

What is differentiated is the network frozen around the point, see `qnn_ref.checking.freeze`.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from qnn_ref._typing import Array, Loss
from qnn_ref.checking.aside import MOVED_BY, judged, judged_beside, worst_of
from qnn_ref.checking.diagnosis import diagnosed
from qnn_ref.checking.differences import STEP
from qnn_ref.checking.doubts import coarse, rough
from qnn_ref.checking.elements import (
    Settings,
    finer,
    gradient_of,
    near_zero,
    one_slope,
    slope_of,
)
from qnn_ref.checking.order import order_entry
from qnn_ref.checking.points import Damage, Model, Point, Tensor
from qnn_ref.checking.report import Diagnosis, Entry, GradientError, Report
from qnn_ref.checking.subjects import Arrays, Surrogate
from qnn_ref.checking.ties import shares
from qnn_ref.checks import choice
from qnn_ref.layers.base import Layer
from qnn_ref.network import Sequential


def check_gradients(
    subject: Layer | Sequential | Loss | Callable[..., Any] | Any,
    x: Arrays,
    *,
    rng: np.random.Generator,
    backward: Callable[..., Any] | None = None,
    surrogate: Surrogate | None = None,
    labels: ArrayLike | None = None,
    loss: Loss | None = None,
    mode: str = "probe",
    tolerance: float = 1e-6,
    floor: float = 1e-10,
    step: float = STEP,
    directions: int = 3,
    randomize: bool = True,
) -> Report:
    r"""Compare the backward pass with difference quotients of the forward pass.

    The check runs on a float64 copy with `training=True`; network, running statistics, generator
    and arrays of the caller stay as they are. Quantizers, draws and choices are frozen around the
    point. With g the gradient, the relative error of a tensor is

    - full: :math:`\max_i |numeric_i - g_i| / \max_i |g_i|`;
    - probe: :math:`|numeric - \langle g, v \rangle| / (|v|\,|g|)`, times :math:`\sqrt n` for n
      elements, which makes it 1 for two gradients that have nothing in common; the worst of the
      directions. Errors shorter than the entry's `unseen` may be missed, in one element or all.

    A difference up to `floor` passes as well: it is all that can be said of a gradient that is 0.

    Values exactly on the bound of a surrogate are judged by eq. (4), the bound belongs to the
    inside, and counted. Where another function has a kink, as |x| at 0, or ties, as the median of
    equal values, the tensor is moved a little and judged there; the entry says so. No tolerance is
    widened, and neither is called an error.

    Parameters
    ----------
    subject : function, layer, network, quantizer or loss function
        - A plain function of one or more arrays, with `backward`. It returns y, or a pair
          (y, cache) that `backward` gets in place of the arrays.
        - A built layer, a network, a quantizer; or an object with their methods: `forward(x)` and
          `backward(dy)`, or `encode(x)`, `surrogate(x)` and `backward(dy, x)`.
        - A loss function `(scores, labels) -> (loss, gradient)`, with `labels`.
    x : array (batch, ...), or for a plain function also a tuple or a dict of arrays, any shapes
        The input (the scores of a loss function). Integers have no gradient, so they only feed the
        forward pass.
    rng : numpy.random.Generator
        Draws covector, directions and moves.
    backward : function, optional
        Of a plain function: `backward(dy, *arrays)`, with a dict `backward(dy, **arrays)`. It
        returns one gradient, or one for each array.
    surrogate : function, word or dict, optional
        Of a plain function that jumps: the function whose slope `backward` uses instead, of the
        same arrays; "identity" is one. Where only a part jumps, that part becomes an argument,
        `def forward(x, w, sign=sign)`, and this says what stands for it: `{"sign": "identity"}`.
        "ratio" holds f(x) / x constant; "choice" repeats the first answer of what draws or
        chooses.
    labels : array (batch,) or (batch, classes), optional
        Labels or targets of the loss.
    loss : function, optional
        Put on top of a layer or network. Without it a random covector is.
    mode : {"probe", "full", "order"}
        Random directions; every element; or one direction at many steps, see
        `qnn_ref.checking.order`, where an entry's tolerance is how far its order may fall short
        of 2.
    tolerance : float
        Largest relative error that passes.
    floor : float
        Largest absolute error that passes without regard to the gradient's size.
    step : float
        First step of the differences, for a tensor of unit size; others are tried before a
        gradient is called wrong.
    directions : int
        Directions a tensor in probe mode.
    randomize : bool
        On the copy, give parameters without quantizer that are still all 0 or all 1 (gains,
        shifts, biases at the start) random values: a gain of 1 would hide a backward pass that
        forgot it. Trained parameters are never touched.

    Returns
    -------
    Report
        True if everything passed; `raise_if_failed` makes an error of it.

    Raises
    ------
    GradientError
        If an output or a gradient is not finite, or nothing has a gradient.
    TypeError
        If a quantizer has no surrogate, so that its gradient is not the gradient of anything; if
        the subject lacks something.
    ValueError
        If an argument is wrong.

    Examples
    --------
    >>> import numpy as np
    >>> from qnn_ref.checking import check_gradients
    >>> check_gradients(
    ...     lambda x, w: x @ w,
    ...     (np.ones((2, 3)), np.ones((3, 4))),
    ...     backward=lambda dy, x, w: (dy @ w.T, x.T @ dy),
    ...     rng=np.random.default_rng(0),
    ... ).passed
    True
    """
    choice("mode", mode, CHECKS)
    if not isinstance(rng, np.random.Generator):
        raise TypeError(f"rng: expected a numpy.random.Generator, got {type(rng).__name__}")
    settings = Settings(tolerance, floor, step, directions)
    model = Model.copied(subject, x, loss, labels, backward, surrogate)
    if randomize:
        model.randomize(rng)
    point = Point(model, rng)
    if not point.base:
        raise GradientError(f"{model.name}: no tensor has a gradient; nothing was checked")
    check = CHECKS[mode]
    entries = [_damage_entry(damage, tolerance) for damage in point.damages]
    with np.errstate(all="ignore"):  # a step may leave what the function takes, as a logarithm
        entries += [_entry(check, model, point, tensor, settings, rng) for tensor in point.base]
    failed = [entry for entry in entries if not entry.passed]
    return Report(
        tuple(entries),
        point.kinks(),
        tuple(model.randomized),
        diagnoses=(_diagnosis(model, point, failed, settings, rng),) if failed else (),
        surrogates=point.surrogates(),
    )


def _diagnosis(
    model: Model,
    point: Point,
    failed: Sequence[Entry],
    settings: Settings,
    rng: np.random.Generator,
) -> Diagnosis:
    """Look closer; if somebody's code fails on other inputs, the verdict stays."""
    try:
        with np.errstate(all="ignore"), warnings.catch_warnings(action="ignore"):
            return diagnosed(model, point, failed, settings, rng)
    except Exception as error:
        detail = f"a closer look ended in {type(error).__name__}: {error}"
        return Diagnosis(f"{failed[-1].name}: the gradient is wrong", (detail,))


def _damage_entry(damage: Damage, tolerance: float) -> Entry:
    # However small the change: an array that was only lent must come back as it was.
    relative = max(1.0, damage.change / damage.size) if damage.size else math.inf
    place, name, change, size = damage
    return Entry(place, name, change, relative, tolerance, size, size + change)


ROUNDED = "not resolved: forward rounds its values too coarsely"


def _entry(
    check: Callable[..., Entry],
    model: Model,
    point: Point,
    tensor: Tensor,
    settings: Settings,
    rng: np.random.Generator,
) -> Entry:
    """Check one tensor, after looking at what backward left for it."""
    gradient, base = point.gradients.get(tensor), point.base[tensor]
    if gradient is not None and (gradient.shape, gradient.dtype) != (base.shape, base.dtype):
        note = f"tensor is {base.dtype} {base.shape}, gradient {gradient.dtype} {gradient.shape}"
        return Entry(*tensor, math.inf, math.inf, settings.tolerance, math.nan, math.nan, note=note)
    if base.size == 0:
        raise GradientError(f"{tensor.layer}.{tensor.name}: empty tensor; nothing was checked")
    entry = check(model, point, tensor, settings, rng)
    if entry.passed and MOVED_BY in entry.note:
        entry = shares(point, tensor, settings, rng) or entry
    if not entry.passed and check is not _full:
        entry = _in_parts(point, tensor, settings, rng) or entry
    if entry.passed or not coarse(point, tensor, rng):
        return entry
    found = check(model, point, tensor, rough(settings), rng)  # nothing finer says anything
    doubt, notes = ("scatter", [ROUNDED]) if found.passed else ("", [])
    found = replace(found, tolerance=entry.tolerance)
    found = entry if found.passed else found
    note = "; ".join(filter(None, (found.note, *notes)))
    return replace(found, doubt=doubt, note=note)


def _in_parts(
    point: Point, tensor: Tensor, settings: Settings, rng: np.random.Generator
) -> Entry | None:
    """Very small elements by steps of their size, the others as always; None if one is wrong.

    Apart, since others do not move at all by steps that small, and would agree with a gradient of
    0.
    """
    base, found = point.base[tensor], []
    fine, small = finer(point, tensor, settings, base), near_zero(base)
    for _ in range(settings.directions if fine is not None else 0):
        direction = rng.normal(size=base.shape)
        for part, steps in ((small, fine), (~small, settings)):
            if part.any():
                found.append(_along(point, tensor, steps, np.where(part, direction, 0), ()))  # type: ignore[arg-type]
    return worst_of(found) if found and all(entry.passed for entry in found) else None


def _judged(
    point: Point,
    tensor: Tensor,
    settings: Settings,
    numeric: float,
    analytic: float,
    size: float,
    scatter: float,
    notes: Sequence[str],
    kink: bool = False,
    **more: Any,
) -> Entry:
    """Entry from the two numbers that differ most and the size of the gradient."""
    absolute, found = abs(numeric - analytic), size
    size = max(size, abs(numeric))
    relative = absolute / size if size else 0.0
    notes = list(notes)
    if point.gradients.get(tensor) is None:
        notes.append("backward left no gradient")
    doubt = "kink" if kink else ""
    if kink:
        relative = max(relative, 1.0)  # nothing is known
        notes.append("kinks within the step, wherever the point is moved")
    elif relative > settings.tolerance and scatter > absolute / 10:
        notes.append(f"not resolved: the differences themselves scatter by {scatter:.0e}")
        doubt = "scatter"
    if size <= settings.floor:
        notes.append(
            f"gradient of {found:.0e}, below the floor: nothing but that was checked"
            if found > 2.0**-50
            else "the gradient is 0: nothing but that was checked"
        )
    if not kink and relative > settings.tolerance and absolute <= settings.floor:
        relative, doubt = 0.0, ""
        if size > settings.floor:
            notes.append(f"gradient of {size:.0e}: judged by the absolute floor")
    return Entry(
        *tensor,
        absolute_error=absolute,
        relative_error=relative,
        tolerance=settings.tolerance,
        numeric=numeric,
        analytic=analytic,
        note="; ".join(notes),
        doubt=doubt,
        **more,
    )


def _probe(
    model: Model, point: Point, tensor: Tensor, settings: Settings, rng: np.random.Generator
) -> Entry:
    def judge(there: Point, direction: Array, notes: Sequence[str]) -> Entry:
        return _along(there, tensor, settings, direction, notes)

    entries: list[Entry] = []
    for _ in range(settings.directions):
        entries += judged(model, point, tensor, settings, rng, judge)
    return worst_of(entries)


def _along(
    point: Point, tensor: Tensor, settings: Settings, direction: Array, notes: Sequence[str]
) -> Entry:
    length = float(np.linalg.norm(direction))
    gradient = gradient_of(point, tensor)
    expected = float(np.vdot(gradient, direction))
    size = float(np.linalg.norm(gradient)) / math.sqrt(gradient.size)
    point.met = 0
    slope = slope_of(point, tensor, settings, direction, expected, size * length, length)
    return _judged(
        point,
        tensor,
        settings,
        slope.value / length,
        expected / length,
        size,
        slope.scatter / length,
        notes,
        kink=slope.kink,
        kinks=point.met,
        unseen=_unseen(settings, size),
    )


def _unseen(settings: Settings, size: float) -> float:
    """Share of the gradient's length that an error may have and be missed once in 100 checks.

    `size` is the gradient's length over the root of its number of elements.
    """
    # Once in 100 checks all directions show less than this of a standard normal number.
    least = NormalDist().inv_cdf((1 + 0.01 ** (1 / settings.directions)) / 2)
    return max(settings.tolerance, settings.floor / size if size else math.inf) / least


def _full(
    model: Model, point: Point, tensor: Tensor, settings: Settings, rng: np.random.Generator
) -> Entry:
    shape = point.base[tensor].shape
    gradient = gradient_of(point, tensor).astype(np.float64)  # a copy
    numeric, scatter, kink = np.empty(shape), np.empty(shape), np.zeros(shape, bool)
    met = []
    for index in np.ndindex(shape):
        slope, at_bound = one_slope(point, tensor, settings, index)
        numeric[index], scatter[index], kink[index] = slope.value, slope.scatter, slope.kink
        if slope.kink or at_bound:
            met.append(index)
    found = numeric, scatter, kink, gradient
    notes = judged_beside(model, point, tensor, settings, rng, found)
    error = np.abs(numeric - gradient)
    size = max(float(np.abs(gradient).max()), float(np.abs(numeric).max()))
    sure = np.where(kink, 0, error)  # what is wrong beyond doubt comes first
    clear = sure.max() > max(settings.tolerance * size, settings.floor) or not kink.any()
    worst = np.unravel_index((sure if clear else np.where(kink, error, -1)).argmax(), shape)
    return _judged(
        point,
        tensor,
        settings,
        float(numeric[worst]),
        float(gradient[worst]),
        size,
        float(scatter[worst]),
        notes,
        kink=bool(kink[worst]),
        index=tuple(map(int, worst)),
        kinks=len(met),
        kink_indices=tuple(met),
        numeric_array=numeric,
        analytic_array=gradient,
        x_array=point.base[tensor].copy(),
    )


CHECKS: dict[str, Callable[..., Entry]] = {"probe": _probe, "full": _full, "order": order_entry}
