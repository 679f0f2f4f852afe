"""Where a quantizer changes its mind: found from its values, so another's works as ours do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from qnn_ref._typing import Array
from qnn_ref.checking.continuation import Continuation, slope_of

UNLIKE = 0.01
"""Slopes that differ by more are those of two pieces."""


def thresholds(quantizer: Any, dtype: DTypeLike = np.float32) -> list[float]:
    """Numbers at which the code of a quantizer changes: the smallest ones that have the new code.

    Parameters
    ----------
    quantizer : Quantizer
        Or another's object with `encode(x) -> (codes, scale)`.
    dtype : dtype
        Float type of the numbers.

    Returns
    -------
    list of float
        Ascending. Of very many some; none where the range comes from the data.
    """
    dtype = np.dtype(dtype)
    grid = _grid(quantizer, dtype)

    def codes(x: Array) -> Array:
        return np.asarray(quantizer.encode(x)[0])

    there = codes(grid)
    if not np.array_equal(codes(_middle(grid)), _middle(there)):
        return []
    change = np.flatnonzero(there[1:] != there[:-1])
    return _first(lambda x: codes(x) != there[change], grid[change], grid[change + 1])[1].tolist()


def bounds(quantizer: Any, dtype: DTypeLike = np.float32) -> list[float]:
    """Numbers at which the surrogate of a quantizer bends, like the +-1 of the hard tanh.

    Parameters
    ----------
    quantizer : Quantizer
        Or another's object with `surrogate(x)`; without one nothing bends.
    dtype : dtype
        Float type of the numbers.

    Returns
    -------
    list of float
        Ascending; none where the range comes from the data.
    """
    value = getattr(quantizer, "surrogate", None)
    grid = _grid(quantizer, np.dtype(np.float64))
    try:
        if value is None or not np.array_equal(value(_middle(grid)), _middle(value(grid))):
            return []
    except TypeError:  # a quantizer of ours without surrogate says so
        return []
    slopes = slope_of(value, grid)
    change = np.flatnonzero(np.abs(np.diff(slopes)) > UNLIKE)

    def other(x: Array) -> Array:
        return np.abs(slope_of(value, x) - slopes[change]) > UNLIKE

    beside_it = np.concatenate(_first(other, grid[change], grid[change + 1]))
    exact = beside_it[Continuation(value, beside_it).on_bound]  # none of a tanh, which has no bend
    exact = exact[np.abs(exact) < grid[-1]]  # where the range comes from the data, it ends there
    return np.unique(exact.astype(dtype)).tolist()


def beside(numbers: list[float], dtype: DTypeLike = np.float32) -> list[float]:
    """The floats below and above some numbers, of any list of them.

    Parameters
    ----------
    numbers : list of float
    dtype : dtype

    Returns
    -------
    list of float
        Two for each number, as far as they are finite.
    """
    real = np.array(numbers, dtype)
    both = np.stack([np.nextafter(real, real.dtype.type(s)) for s in (-np.inf, np.inf)], axis=-1)
    return both[np.isfinite(both)].tolist()


def _grid(quantizer: Any, dtype: np.dtype[Any]) -> Array:
    """Numbers of all sizes, closest within twice the quantizer's range."""
    try:
        size = quantizer.encoding.scale * quantizer.encoding.largest
    except (AttributeError, TypeError):  # another's, or a range that comes from the data
        size = 1.0
    positive = np.concatenate([np.linspace(0, 2, 513)[1:], 2.0 ** np.arange(-60, 9)])
    return np.unique(np.concatenate([-positive, [0], positive]) * size).astype(dtype)


def _middle(x: Array) -> Array:
    """Without the largest numbers, of which a range from the data would be made."""
    return x[len(x) // 4 : -len(x) // 4]


def _first(changed: Callable[[Array], Array], low: Array, high: Array) -> tuple[Array, Array]:
    """The last float of each interval that did not change, and the first that did: bisection."""
    least, most = _place(low), _place(high)
    for _ in range(8 * low.dtype.itemsize):
        middle = least + (most - least) // 2
        beyond = changed(_float(middle, low.dtype))
        least, most = np.where(beyond, least, middle), np.where(beyond, middle, most)
    return _float(least, low.dtype), _float(most, low.dtype)


def _place(x: Array) -> Array:
    """Whole numbers in the order of floats; neighbours differ by 1, and both zeros are 0."""
    width = f"i{x.dtype.itemsize}"
    magnitudes = np.abs(x).view(width).astype(np.int64)
    return np.where(x < 0, -magnitudes, magnitudes)


def _float(place: Array, dtype: np.dtype[Any]) -> Array:
    magnitudes = np.abs(place).astype(f"i{dtype.itemsize}").view(dtype)
    return np.where(place < 0, -magnitudes, magnitudes)
