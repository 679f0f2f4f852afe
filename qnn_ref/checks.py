"""Checks of arguments: each names the argument, what was expected, and what came.

Over 400 lines: every room asks here, and each kind of argument has a function of its own.
"""

from __future__ import annotations

import difflib
import math
import operator
from collections.abc import Iterable
from functools import lru_cache
from typing import Any, TypeVar

import numpy as np

from qnn_ref._typing import Array

FLOATS = np.dtype(np.float32), np.dtype(np.float64)
"""The types of real numbers that layers and their kernels work with."""

Kind = TypeVar("Kind")


MANY = 10_000
"""Elements from which on a sum of squares is faster than a look at each."""


class NotFiniteError(ValueError):
    """A number that is NaN or infinite where it would spoil all that is made of it."""


def whole(
    name: str, value: Any, least: int | None = None, most: int | None = None, why: str = ""
) -> int:
    """Return a whole number as an int; a truth value, a float or a text is none.

    Parameters
    ----------
    name : str
        The argument's name, for the error.
    value : int or numpy.integer
    least, most : int, optional
        The range, both ends included.
    why : str
        The reason for the range, at the end of the error.

    Returns
    -------
    int

    Raises
    ------
    TypeError
        If it is no whole number.
    ValueError
        If it lies outside the range.
    """
    if type(value) is int and (least is None or value >= least) and (most is None or value <= most):
        return value  # the usual case, without a message
    expected = f"{name}: expected a whole number{_range(least, most)}, got "
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(expected + _shown(value)) from None
    if isinstance(value, bool | np.bool_):
        raise TypeError(expected + _shown(value))
    if (least is not None and number < least) or (most is not None and number > most):
        raise ValueError(expected + str(number) + (why and f": {why}"))
    return number


def real(
    name: str,
    value: Any,
    *,
    above: float | None = None,
    least: float | None = None,
    below: float | None = None,
    most: float | None = None,
) -> float:
    """Return a finite real number as a float; NaN, infinity and truth values are none.

    Parameters
    ----------
    name : str
        The argument's name, for the error.
    value : float, int or a NumPy scalar
    above, least : float, optional
        Lower end, excluded or included.
    below, most : float, optional
        Upper end, excluded or included.

    Returns
    -------
    float

    Raises
    ------
    TypeError
        If it is no real number.
    ValueError
        If it is not finite (a NotFiniteError), or lies outside the range.
    """
    if (
        type(value) is float
        and math.isfinite(value)
        and (above is None or value > above)
        and (least is None or value >= least)
        and (below is None or value < below)
        and (most is None or value <= most)
    ):
        return value  # the usual case, without a message
    limits = [
        f"{word} {limit:g}"
        for word, limit in (
            ("above", above),
            ("at least", least),
            ("below", below),
            ("at most", most),
        )
        if limit is not None
    ]
    expected = f"{name}: expected a finite number {' and '.join(limits)}".rstrip() + ", got "
    if isinstance(value, bool | np.bool_) or not isinstance(
        value, int | float | np.integer | np.floating
    ):
        raise TypeError(expected + _shown(value))
    try:
        number = float(value)
    except OverflowError:  # a whole number of more than 308 digits
        number = math.inf
    if not math.isfinite(number):
        raise NotFiniteError(expected + repr(number))
    if (
        (above is not None and not number > above)
        or (least is not None and number < least)
        or (below is not None and not number < below)
        or (most is not None and number > most)
    ):
        raise ValueError(expected + repr(number))
    return number


class Setting:
    """A number of an object: finite and in its range, when it is given and when it is set anew.

    Parameters
    ----------
    limits : float
        As in `real`: above, least, below, most.
    """

    def __init__(self, **limits: float) -> None:
        self.limits = limits

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, rule: Any, owner: type | None = None) -> float:
        if rule is None:
            raise AttributeError(f"{self.name}: each object has its own")
        return rule.__dict__[self.name]  # type: ignore[no-any-return]

    def __set__(self, rule: Any, value: float) -> None:
        vars(rule)[self.name] = real(self.name, value, **self.limits)


def all_finite(name: str, array: Any) -> None:
    """Refuse an array that holds NaN or infinity, naming the first place.

    Parameters
    ----------
    name : str
        The array's name, for the error.
    array : array of numbers, any shape

    Raises
    ------
    NotFiniteError
        A ValueError with the index of the first value that is not finite, and that value.
    """
    array = np.asarray(array)
    if array.dtype.kind not in "fc":
        return
    if array.size > MANY:
        # A sum of squares is three times as fast as a look at each, and finite only if all are.
        flat = array.ravel(order="K")
        with np.errstate(over="ignore", invalid="ignore"):
            if np.isfinite(np.dot(flat, flat)):
                return
    if np.isfinite(array).all():
        return
    place = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
    where = f" at {list(place)}" if place else ""
    raise NotFiniteError(f"{name}: expected finite numbers, got {array[place]}{where}")


def plain_array(name: str, value: Any) -> None:
    """Refuse what is no ordinary NumPy array: lists, tensors, masked arrays, matrices.

    A mask would be dropped without a word, and a matrix multiplies by other rules.

    Parameters
    ----------
    name : str
        The argument's name, for the error.
    value : numpy.ndarray or numpy.memmap

    Raises
    ------
    TypeError
        With the type that came.
    """
    kind = type(value)
    if kind in (np.ndarray, np.memmap):
        return
    place = "" if kind.__module__ == "builtins" else f"{kind.__module__.partition('.')[0]}."
    way = "" if isinstance(value, np.ndarray) else "; numpy.asarray makes one"
    raise TypeError(f"{name}: expected a NumPy array, got {place}{kind.__name__}{way}")


def as_array(name: str, value: Any) -> Array:
    """Turn numbers or nested lists of them into an array; an array is taken as it is.

    Parameters
    ----------
    name : str
        The argument's name, for the error.
    value : array, number or nested sequences of numbers

    Returns
    -------
    numpy.ndarray

    Raises
    ------
    TypeError
        If it is a masked array: NumPy would drop the mask without a word.
    ValueError
        If lists in it have different lengths.
    """
    if isinstance(value, np.ma.MaskedArray):
        plain_array(name, value)
    try:
        return np.asarray(value)
    except ValueError as error:
        raise ValueError(f"{name}: expected an array, got rows of different lengths") from error


ANY_STEPS = -1
"""In front of a shape: sequences of any number of steps, as -1 is any length for `reshape`."""


def shape(name: str, value: Any, any_steps: bool = False) -> tuple[int, ...]:
    """Return the shape of one example, a tuple of whole numbers of at least 1.

    Parameters
    ----------
    name : str
        The argument's name, for the error.
    value : sequence of int
    any_steps : bool
        Whether the first may be -1, sequences of any number of steps.

    Returns
    -------
    tuple of int

    Raises
    ------
    TypeError
        If it is no sequence of whole numbers.
    ValueError
        If it is empty, or one of them is below 1.
    """
    expected = f"{name}: expected a tuple of whole numbers of at least 1"
    row = isinstance(value, tuple | list) or (isinstance(value, np.ndarray) and value.ndim == 1)
    if not row:
        example = f", like ({value},)" if isinstance(value, int | np.integer) else ""
        raise TypeError(f"{expected}{example}, got {_shown(value)}")
    if len(value) == 0:
        raise ValueError(f"{expected}, got an empty one")
    first = value[:1] if any_steps and value[0] == ANY_STEPS else value[:0]
    try:
        return (*map(int, first), *(whole(name, n, 1) for n in value[len(first) :]))
    except (TypeError, ValueError) as error:
        raise type(error)(f"{expected}, got {_shown(value)}") from error


def has_shape(sizes: tuple[int, ...], shape: tuple[int, ...]) -> bool:
    """Whether sizes are those of a shape, which may begin with any number of steps."""
    if sizes == shape:
        return True
    return len(sizes) == len(shape) and shape[:1] == (ANY_STEPS,) and sizes[1:] == shape[1:]


def written_shape(*sizes: str | int) -> str:
    """A shape in the words of messages: `(batch, steps, 3)`."""
    words = ["steps" if size == ANY_STEPS else str(size) for size in sizes]
    return f"({words[0]},)" if len(words) == 1 else f"({', '.join(words)})"


def flag(name: str, value: Any) -> bool:
    """Return True or False; a number or a text is neither.

    Parameters
    ----------
    name : str
        The argument's name, for the error.
    value : bool or numpy.bool

    Returns
    -------
    bool

    Raises
    ------
    TypeError
        If it is something else.
    """
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name}: expected True or False, got {_shown(value)}")
    return bool(value)


def choice(name: str, value: Any, options: Iterable[str]) -> str:
    """Return one of several words.

    Parameters
    ----------
    name : str
        The argument's name, for the error.
    value : str
    options : iterable of str

    Returns
    -------
    str

    Raises
    ------
    TypeError
        If it is no text.
    ValueError
        If it is none of them.
    """
    words = tuple(options)
    expected = f"{name}: expected {', '.join(map(repr, words[:-1]))} or {words[-1]!r}, got "
    if not isinstance(value, str):
        raise TypeError(expected + _shown(value))
    if value not in words:
        raise ValueError(expected + repr(value) + did_you_mean(value, words))
    return value


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Words to append to an error: the known name that comes nearest, if one is near.

    Parameters
    ----------
    word : str
    known : iterable of str

    Returns
    -------
    str
        For example "; did you mean 'Dense'?", or nothing.
    """
    near = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def instance(name: str, value: Any, kind: type[Kind], example: str = "") -> Kind:
    """Return an object of a kind; the class itself is none.

    Parameters
    ----------
    name : str
        The argument's name, for the error.
    value : object
    kind : type
        What it must be an instance of.
    example : str
        How such an object is written, for the error.

    Returns
    -------
    object
        `value`.

    Raises
    ------
    TypeError
        With the way out if a class came.
    """
    if isinstance(value, kind):
        return value
    got = type(value).__name__
    if isinstance(value, type):
        got = f"the class {value.__name__}, no instance; write {value.__name__}(...)"
    raise TypeError(
        f"{name}: expected an object of {kind.__name__}{example and f', like {example}'}, got {got}"
    )


def check_array(
    name: str, array: Any, dtypes: tuple[np.dtype[Any], ...], shape: tuple[int | str, ...]
) -> None:
    """Refuse what is not an array of one of these types and of this shape.

    Parameters
    ----------
    name : str
        The argument's name, for the error.
    array : array
        What the caller gave.
    dtypes : tuple of dtype
        The types that are allowed, in the byte order of this machine.
    shape : tuple of int or str
        Sizes; a letter or a word stands for any size, "..." in front for any number of axes.

    Raises
    ------
    TypeError
        If it is no array, or of another type.
    ValueError
        If its shape does not fit.
    """
    if type(array) is np.ndarray and array.shape == shape and array.dtype in dtypes:
        return  # the usual case: the check of a small operand must not take longer than its use
    if not isinstance(array, np.ndarray):
        raise TypeError(
            f"{name}: expected an array of {_listed(dtypes)}, got {type(array).__name__}"
        )
    if array.dtype not in dtypes:
        raise TypeError(f"{name}: expected an array of {_listed(dtypes)}, got {array.dtype}")
    if array.shape != shape and not _fits(array.shape, shape):
        raise ValueError(f"{name}: expected shape {_written(shape)}, got {array.shape}")


def check_written(name: str, array: Any, *others: Any) -> None:
    """Refuse an array that a kernel must not write to.

    Parameters
    ----------
    name : str
        The argument's name, for the error.
    array : array
        What is written to.
    *others : arrays
        What the kernel reads, or writes too.

    Raises
    ------
    ValueError
        If it is read-only or has gaps, or shares memory with one of the others: what is read after
        a write would be another number.
    """
    if not array.flags.carray:
        raise ValueError(f"{name}: expected a C-contiguous array that can be written to")
    for other in others:
        apart = array.base is None and other.base is None and array is not other
        if not apart and np.may_share_memory(array, other):
            raise ValueError(f"{name}: expected memory of its own, it overlaps another argument")


def _fits(sizes: tuple[int, ...], shape: tuple[int | str, ...]) -> bool:
    axes, more, fixed = _pattern(shape)
    if len(sizes) < axes or (len(sizes) > axes and not more):
        return False
    for axis, wanted in fixed:
        if sizes[axis] != wanted:
            return False
    return True


@lru_cache(maxsize=1024)
def _pattern(shape: tuple[int | str, ...]) -> tuple[int, bool, tuple[tuple[int, int], ...]]:
    """How many axes, whether more may stand in front, and the sizes that are fixed."""
    more = shape[:1] == ("...",)
    fixed = [(axis - len(shape), size) for axis, size in enumerate(shape)]
    return (
        len(shape) - more,
        more,
        tuple((a, size) for a, size in fixed if not isinstance(size, str)),
    )


def _written(shape: tuple[int | str, ...]) -> str:
    return f"({', '.join(map(str, shape))}{',' if len(shape) == 1 else ''})"


def _listed(dtypes: tuple[np.dtype[Any], ...]) -> str:
    return " or ".join(map(str, dtypes))


def _range(least: int | None, most: int | None) -> str:
    if least is not None and most is not None:
        return f" from {least} to {most}"
    if least is not None:
        return f" of at least {least}"
    return "" if most is None else f" of at most {most}"


def _shown(value: Any) -> str:
    """A value as an error shows it: short, with its type."""
    text = repr(value)
    return f"{text if len(text) <= 60 else text[:57] + '...'} ({type(value).__name__})"
