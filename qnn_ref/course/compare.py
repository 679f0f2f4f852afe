"""Two results beside each other: what has a wrong form, and what has wrong numbers."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np


class Fault(NamedTuple):
    """What is wrong with a result: its kind, a sentence, and the name of an exception."""

    kind: str
    says: str
    raised: str = ""


VALUE = Fault("value", "")
"""Wrong numbers: the case says it."""


def equal(yours: Any, right: Any) -> bool:
    """Whether all numbers are the same; 0.0 and -0.0 are.

    Parameters
    ----------
    yours, right : array or number
        Of one shape.

    Returns
    -------
    bool
    """
    return bool(np.array_equal(yours, right))


def close(tolerance: float) -> Callable[[Any, Any], bool]:
    """A comparison that forgives rounding.

    Parameters
    ----------
    tolerance : float
        Largest difference, as a share of the largest number, or of 1 where all are smaller.

    Returns
    -------
    function
        As `equal`.
    """

    def same(yours: Any, right: Any) -> bool:
        yours, right = np.asarray(yours), np.asarray(right)
        size = max(1.0, float(np.abs(right).max(initial=0)))
        with np.errstate(invalid="ignore"):
            return bool((np.abs(yours - right) <= tolerance * size).all())

    return same


def parts_of(value: Any) -> tuple[Any, ...]:
    """The values that a function returns: those of a tuple, or the one."""
    return tuple(value) if isinstance(value, tuple) else (value,)


def form_fault(yours: Any, right: Any, gives: tuple[str, ...] = ()) -> Fault | None:
    """Say what is wrong with the form of a result, whatever its numbers are.

    Parameters
    ----------
    yours, right : object
        What the two functions returned.
    gives : tuple of str
        What several values are called.

    Returns
    -------
    Fault or None
    """
    if yours is None:
        return Fault("none", "Your function returns None. Is there a return in it?")
    wanted = parts_of(right)
    given = tuple(yours) if len(wanted) > 1 and isinstance(yours, list) else parts_of(yours)
    if len(given) != len(wanted) or (len(wanted) > 1 and not isinstance(yours, tuple | list)):
        got = f"{len(given)} values" if isinstance(yours, tuple | list) else _kind_of(yours)
        asked = "one value is" if len(wanted) == 1 else f"{len(wanted)} values are"
        named = f": {', '.join(gives)}" if gives else ""
        return Fault("count", f"Your function returns {got}; {asked} asked{named}.")
    names = gives or tuple(f"value {number}" for number in range(1, len(wanted) + 1))
    for name, one, model in zip(names, given, wanted, strict=True):
        fault = _part_fault(one, model, name if len(wanted) > 1 else "")
        if fault is not None:
            return fault
    return None


def _part_fault(yours: Any, right: Any, name: str) -> Fault | None:
    verb = "is" if name else "returns"
    start = f"Your {name}" if name else "Your function"
    asked = "an array" if np.ndim(right) else "a number"
    if yours is None:
        return Fault("none", f"{start} {verb} None; {asked} is asked.")
    if yours is Ellipsis:
        return Fault("type", f"{start} {verb} an ellipsis, `...`; {asked} is asked.")
    if isinstance(right, str):
        if isinstance(yours, str):
            return None
        return Fault("type", f"{start} {verb} {_kind_of(yours)}; a text is asked.")
    plain = isinstance(yours, np.ndarray | np.generic | int | float) or (
        isinstance(yours, complex) and np.iscomplexobj(right)
    )
    if not plain or (isinstance(yours, np.ndarray) and type(yours) is not np.ndarray):
        way = "; np.array(...) makes one" if isinstance(yours, list | tuple | range) else ""
        return Fault("type", f"{start} {verb} {_kind_of(yours)}; {asked} is asked{way}.")
    if getattr(yours, "dtype", np.dtype(float)).kind not in "biufc":
        kind = yours.dtype  # type: ignore[union-attr]
        return Fault("type", f"{start} {verb} an array of {kind}; one of numbers is asked.")
    if np.shape(yours) != np.shape(right):
        return Fault("shape", _of_shape(yours, right, start, verb))
    if np.iscomplexobj(yours) and not np.iscomplexobj(right):
        return Fault("type", f"{start} {verb} complex numbers; real ones are asked.")
    kind = np.asarray(yours).dtype.kind
    whole = np.asarray(right).dtype.kind == "O"  # an integer of Python beyond 64 bits
    if kind in "fc" and not np.isfinite(yours).all() and (whole or np.isfinite(right).all()):
        bad = "NaN" if np.isnan(yours).any() else "infinity"
        return Fault("nan", f"{start} {verb} {bad} where a number is right.")
    return None


def _of_shape(yours: Any, right: Any, start: str, verb: str) -> str:
    given, wanted = np.shape(yours), np.shape(right)
    has = "has" if verb == "is" else "gives"
    text = f"{start} {has} shape {given}, right is {wanted}."
    if len(given) < len(wanted):
        return f"{text} Does it treat every element?"
    if given == wanted[::-1]:
        return f"{text} Is it transposed?"
    return text


def _kind_of(value: Any) -> str:
    """What an object is, as a student calls it."""
    if inspect.isgenerator(value):
        return "a generator (yield stands where return belongs)"
    if inspect.iscoroutine(value):
        value.close()  # else Python warns that nobody waited for it
        return "a coroutine (async def instead of def)"
    if callable(value) and not isinstance(value, np.ndarray):
        return "a function or a class, not called"
    name = type(value).__name__
    words = {"ndarray": "an array", "str": "a text", "dict": "a dict", "tuple": "a tuple"}
    words |= {"MaskedArray": "a masked array", "int": "a number", "float": "a number"}
    words |= {"matrix": "a matrix (of np.matrix)", "list": "a list", "NoneType": "None"}
    return words.get(name, f"an object of {name}")


def type_fault(yours: Any, right: Any) -> Fault | None:
    """Say which type the numbers should have; a Python number has the type of its kind.

    Parameters
    ----------
    yours, right : object
        Of one form.

    Returns
    -------
    Fault or None
    """
    for one, model in zip(parts_of(yours), parts_of(right), strict=True):
        if isinstance(model, str):
            continue
        given, wanted = np.asarray(one).dtype, np.asarray(model).dtype
        scalar = not isinstance(one, np.ndarray) or not np.ndim(model)
        if given != wanted and not (scalar and _kin(given.kind) == _kin(wanted.kind)):
            says = f"The numbers are right, of a wrong type: {given}; {wanted} is asked."
            return Fault("dtype", says)
    return None


def _kin(kind: str) -> str:
    return "i" if kind == "u" else kind


def same_values(yours: Any, right: Any, same: Callable[[Any, Any], bool]) -> bool:
    """Whether two results of one form hold the same numbers.

    Parameters
    ----------
    yours, right : object
        Of one form.
    same : function
        For each pair.

    Returns
    -------
    bool
    """
    pairs = zip(parts_of(yours), parts_of(right), strict=True)
    return all(one == model if isinstance(model, str) else same(one, model) for one, model in pairs)


def both_equal(x: Any, y: Any) -> bool:
    """Whether two values are the same, NaN at the same places included.

    Parameters
    ----------
    x, y : object

    Returns
    -------
    bool
    """
    if x is None or y is None:
        return x is y
    try:
        return bool(np.array_equal(x, y, equal_nan=True))
    except (TypeError, ValueError):
        return False


def is_finite(value: Any) -> bool:
    """Whether all numbers of a result are finite.

    Parameters
    ----------
    value : object
        One value, or a tuple of them.

    Returns
    -------
    bool
    """
    parts = [np.asarray(part) for part in parts_of(value)]
    return all(part.dtype.kind not in "fc" or bool(np.isfinite(part).all()) for part in parts)
