"""From a case that fails to the smallest one that still does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from qnn_ref.course.exercise import Case, Exercise

TRIES = 400
"""Most cases that are tried."""


def smallest(exercise: Exercise, case: Case, fails: Callable[[Case], bool]) -> Case:
    """Leave out elements and replace others by simple numbers, as long as the case still fails.

    Parameters
    ----------
    exercise : Exercise
    case : tuple
        One that fails.
    fails : function
        Whether another one fails in the same way.

    Returns
    -------
    tuple
    """
    left = TRIES
    again = True
    while again and left > 0:
        again = False
        for candidate in (*_shorter(exercise, case), *_simpler(exercise, case)):
            left -= 1
            if left <= 0:
                break
            if fails(candidate):
                case, again = candidate, True
                break
    return case


def _letters(exercise: Exercise, case: Case) -> tuple[str, ...]:
    """A letter for each axis of each argument; arguments of one shape share theirs."""
    if exercise.axes is not None:
        return exercise.axes
    shapes: dict[tuple[int, ...], str] = {}
    found = []
    for value in case:
        if isinstance(value, np.ndarray) and value.dtype.kind == "f":
            start = 97 + sum(len(s) for s in shapes.values())
            letters = "".join(chr(start + i) for i in range(value.ndim))
            found.append(shapes.setdefault(value.shape, letters))
        else:
            found.append("")
    return tuple(found)


def _shorter(exercise: Exercise, case: Case) -> Iterator[Case]:
    """Cases with fewer elements: halves first, then one less, along each letter."""
    letters = _letters(exercise, case)
    fitting = [
        (value, axes) if isinstance(value, np.ndarray) and value.ndim == len(axes) else (value, "")
        for value, axes in zip(case, letters, strict=True)
    ]
    for letter in sorted({c for _, axes in fitting for c in axes} - {"."}):
        sizes = {v.shape[a.index(letter)] for v, a in fitting if letter in a}
        if len(sizes) != 1 or (size := sizes.pop()) < 2:
            continue
        kept = [np.arange(size // 2), np.arange(size // 2, size)] if size > 2 else []
        kept += [np.delete(np.arange(size), i) for i in range(size)] if size <= 16 else []
        for places in kept:
            yield tuple(
                np.take(v, places, a.index(letter)) if letter in a else v for v, a in fitting
            )


def _simpler(exercise: Exercise, case: Case) -> Iterator[Case]:
    """Cases with an element replaced by a simpler number."""
    for number, (name, value) in enumerate(zip(exercise.arguments, case, strict=True)):
        if exercise.simplify is None:
            chosen = isinstance(value, np.ndarray | float) and np.asarray(value).dtype.kind == "f"
        else:
            chosen = name in exercise.simplify
        if not chosen or np.size(value) > 16:
            continue
        for index in np.ndindex(np.shape(value)):
            old = np.asarray(value)[index]
            rank = exercise.simple.index(old) if old in exercise.simple else len(exercise.simple)
            for simple in exercise.simple[:rank]:
                yield (*case[:number], _replaced(value, index, simple), *case[number + 1 :])


def _replaced(value: Any, index: tuple[int, ...], simple: float) -> Any:
    if not isinstance(value, np.ndarray):
        return type(value)(simple)
    new = value.copy()
    new[index] = simple
    return new
