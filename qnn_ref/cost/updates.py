"""What an update of the parameters costs: Algorithm 1, lines 10 and 11, rule by rule."""

from __future__ import annotations

import math
from collections import Counter
from functools import singledispatch

from qnn_ref.cost.operations import Format, Tally, tally
from qnn_ref.optimizers import SGD, Adam, AdaMax, Optimizer, ShiftAdaMax
from qnn_ref.parameter import Parameter


def is_power(number: float) -> bool:
    """Whether a product with this number is a shift.

    Parameters
    ----------
    number : float

    Returns
    -------
    bool

    References
    ----------
    Section 2.5.
    """
    return math.frexp(number)[0] == 0.5


@singledispatch
def each_number(optimizer: Optimizer, parameter: Parameter) -> dict[str, int]:
    """Operations of a rule for one number of a parameter, by name, without the clip.

    Parameters
    ----------
    optimizer : Optimizer
    parameter : Parameter

    Returns
    -------
    dict of str to int

    Raises
    ------
    TypeError
        If the rule is not known here.

    References
    ----------
    Algorithm 1, line 11; Algorithm 4.
    """
    raise TypeError(
        f"optimizer: the operations of {type(optimizer).__name__} are not known; register a form "
        "of it with qnn_ref.cost.updates.each_number"
    )


@each_number.register
def _(optimizer: SGD, parameter: Parameter) -> dict[str, int]:
    momentum = 1 if optimizer.momentum else 0
    return {"multiply": 2 + momentum, "add": 1 + momentum}


@each_number.register
def _(optimizer: Adam, parameter: Parameter) -> dict[str, int]:
    return {"multiply": 6, "add": 4, "divide": 3, "root": 1}


@each_number.register
def _(optimizer: AdaMax, parameter: Parameter) -> dict[str, int]:
    return {"multiply": 5, "add": 2, "divide": 1, "compare": 1}


@each_number.register
def _(optimizer: ShiftAdaMax, parameter: Parameter) -> dict[str, int]:
    """If 1 - beta are powers of two: m - 2^-3 m + 2^-3 g and v - 2^-10 v, by shifts."""
    found = Counter({"AP2": 1, "compare": 1, "shift": 1, "add": 2})  # m << v; m + g; w - step
    first, norm = is_power(1 - optimizer.beta1), is_power(1 - optimizer.beta2)
    found += {"shift": 2, "add": 1} if first else {"multiply": 2}  # type: ignore[assignment]
    found += {"shift": 1, "add": 1} if norm else {"multiply": 1}  # type: ignore[assignment]
    scale = optimizer.round_scale or is_power(parameter.learning_rate_scale)
    found += {"shift" if scale else "multiply": 1}  # type: ignore[assignment]
    return dict(found)


def update_tally(optimizer: Optimizer, parameter: Parameter, form: Format) -> Tally:
    """Operations of an update of a parameter.

    Parameters
    ----------
    optimizer : Optimizer
    parameter : Parameter
    form : Format

    Returns
    -------
    Counter of Operation
        A clip is two comparisons.

    Raises
    ------
    TypeError
        If the rule is not known here.

    References
    ----------
    Algorithm 1, lines 10 and 11.
    """
    counts = Counter(each_number(optimizer, parameter))
    if math.isfinite(parameter.bound):
        counts["compare"] += 2
    return tally(form.other, **{name: n * parameter.size for name, n in counts.items()})
