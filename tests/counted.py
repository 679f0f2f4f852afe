"""Numbers that count what is done with them: a package's own lines are run on arrays of these."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np


class Number:
    """A float with a shared count of operations; one that is a power of two makes products shifts.

    Zero plus something counts too: a sum of K numbers is K additions, as in `qnn_ref.cost`.
    """

    def __init__(self, value: float, counts: Counter[str], power: bool = False) -> None:
        self.value, self.counts, self.power = float(value), counts, power

    def done(self, name: str, value: float, power: bool = False) -> Number:
        self.counts[name] += 1
        return Number(value, self.counts, power)

    def __add__(self, other: Any) -> Any:
        if isinstance(other, np.ndarray):
            return NotImplemented  # element by element
        return self.done("add", self.value + float(other))

    def __sub__(self, other: Any) -> Any:
        if isinstance(other, np.ndarray):
            return NotImplemented  # element by element
        return self.done("add", self.value - float(other))

    def __rsub__(self, other: Any) -> Any:
        if isinstance(other, np.ndarray):
            return NotImplemented  # element by element
        return self.done("add", float(other) - self.value)

    def __mul__(self, other: Any) -> Any:
        if isinstance(other, np.ndarray):
            return NotImplemented  # element by element
        theirs = isinstance(other, Number) and other.power
        shift = self.power or theirs
        name = "shift" if shift else "multiply"
        return self.done(name, self.value * float(other), self.power and theirs)

    def __truediv__(self, other: Any) -> Any:
        if isinstance(other, np.ndarray):
            return NotImplemented  # element by element
        shift = isinstance(other, Number) and other.power
        return self.done("shift" if shift else "divide", self.value / float(other))

    def __rtruediv__(self, other: Any) -> Any:
        if isinstance(other, np.ndarray):
            return NotImplemented  # element by element
        return self.done("divide", float(other) / self.value)

    __radd__, __rmul__ = __add__, __mul__

    def __ge__(self, other: Any) -> bool:
        self.counts["compare"] += 1
        return self.value >= float(other)

    __gt__ = __lt__ = __le__ = __ge__

    def __abs__(self) -> Number:
        return Number(abs(self.value), self.counts, self.power)

    def __float__(self) -> float:
        return self.value

    def tanh(self) -> Number:
        return self.done("function", float(np.tanh(self.value)))

    def sqrt(self) -> Number:
        return self.done("root", float(np.sqrt(self.value)))


def numbers(shape: Any, counts: Counter[str], seed: int = 0, power: bool = False) -> np.ndarray:
    """An array of numbers above 0 that share a count."""
    values = np.random.default_rng(seed).uniform(0.5, 2.0, shape)
    found = np.empty(values.shape, object)
    for place in np.ndindex(values.shape):
        found[place] = Number(values[place], counts, power)
    return found


def nearest_power(x: np.ndarray) -> np.ndarray:
    """AP2, counted: the results are powers of two."""
    found = np.empty(x.shape, object)
    for place in np.ndindex(x.shape):
        value = float(x[place])
        power = np.sign(value) * 2.0 ** np.round(np.log2(abs(value))) if value else 0.0
        found[place] = x[place].done("AP2", power, power=True)
    return found


def mean(x: np.ndarray) -> np.ndarray:
    """Mean over all axes but the last: as many additions as there are numbers, a product each."""
    rows = x.reshape(-1, x.shape[-1])
    return sum(rows, np.zeros(x.shape[-1])) * (1 / len(rows))
