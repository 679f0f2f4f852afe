"""Numeric gradients for the tests that do not use the package's own checker."""

from collections.abc import Callable
from typing import Any

import numpy as np

SPECIAL = [0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 2.0, -2.0, 1e-45, -1e-45, 3e38, -3e38, np.inf, -np.inf]
"""Where quantizers go wrong; the neighbours of +-1 are added by `special_values`."""


def special_values(dtype: Any) -> list[float]:
    """Values at and beside the jumps and bounds, exact in this float type."""
    one = dtype(1)
    beside = [np.nextafter(one, dtype(0)), np.nextafter(one, dtype(2))]
    return [float(dtype(v)) for v in SPECIAL] + [s * float(v) for v in beside for s in (1, -1)]


def central_differences(
    function: Callable[[np.ndarray], float], x: np.ndarray, step: float = 1e-5
) -> np.ndarray:
    """Numeric gradient of a scalar function of x, one element at a time."""
    slope = np.empty(x.shape)
    for index in np.ndindex(x.shape):
        up, down = x.copy(), x.copy()
        up[index] += step
        down[index] -= step
        slope[index] = (function(up) - function(down)) / (2 * step)
    return slope


def worst_error(numeric: np.ndarray, analytic: np.ndarray) -> float:
    """Largest difference over the largest entry; over 0.01 where the gradient nearly vanishes."""
    difference = float(np.max(np.abs(numeric - analytic), initial=0.0))
    return difference / max(float(np.max(np.abs(analytic), initial=0.0)), 1e-2)
