"""Memory of large results that is used again, once nobody holds the result any more.

The system gives a large new array page by page, as it is first written to, and zeroes every page:
that takes as long as a pass over memory. A gradient of 4,096 x 4,096 weights is given up and asked
for again in each step of training, so its memory is kept in between.
"""

from __future__ import annotations

import math
import weakref

import numpy as np
from numpy.typing import DTypeLike

from qnn_ref._typing import Array, Shape

LEAST = 2**22
"""Bytes from which on memory is kept; below, the C library keeps it."""

_spare: list[Array] = []
"""The memory that was given back last: at most one piece waits."""


def kept_empty(shape: Shape, dtype: DTypeLike) -> Array:
    """Make an array without values, as `numpy.empty` does, in memory that was used before.

    Parameters
    ----------
    shape : tuple of int
    dtype : dtype

    Returns
    -------
    array, of that shape
        Its memory comes back here when the array and all views of it are gone, never before: what
        somebody holds does not change.

    References
    ----------
    Not in the paper.
    """
    dtype = np.dtype(dtype)
    size = math.prod(shape) * dtype.itemsize
    if size < LEAST:
        return np.empty(shape, dtype)
    try:
        memory = _spare.pop()
    except IndexError:
        memory = None
    if memory is None or memory.nbytes != size:
        memory = np.empty(size, np.uint8)
    # Of a memoryview: NumPy's views then hold `flat`, and not the memory behind it.
    flat = np.frombuffer(memory.data, dtype)
    weakref.finalize(flat, _give_back, memory).atexit = False
    return flat.reshape(shape)


def _give_back(memory: Array) -> None:
    _spare[:] = [memory]
