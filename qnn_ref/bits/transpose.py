"""The transposed matrix in new memory, as the kernels want their real operands."""

# mypy: allow-untyped-defs

import numba
import numpy as np
from numba import prange

from qnn_ref._typing import Array
from qnn_ref.bits.operands import read_only
from qnn_ref.bits.threads import threads_for
from qnn_ref.checks import FLOATS, check_array
from qnn_ref.compiled import parallel_kernel

SQUARE = 16
"""Side of the squares of a transposition: a cache line of float32."""


@parallel_kernel
def _transpose(x, result):
    """Transpose in squares, each by way of a tile that stays in the cache."""
    R, C = x.shape
    for block in prange((C + SQUARE - 1) // SQUARE):
        first = SQUARE * np.int64(block)
        width = min(SQUARE, C - first)
        tile = np.empty(SQUARE * SQUARE, x.dtype)
        for top in range(0, R, SQUARE):
            height = min(SQUARE, R - top)
            for r in range(height):
                row = x[top + r]
                for c in range(width):
                    tile[np.uint64(SQUARE * r + c)] = row[np.uint64(first + c)]
            for c in range(width):
                row = result[first + c]
                for r in range(height):
                    row[np.uint64(top + r)] = tile[np.uint64(SQUARE * r + c)]


def transposed(x: Array) -> Array:
    """Transpose a matrix of float32 or float64, (R, C), into new, contiguous memory (C, R)."""
    check_array("x", x, FLOATS, ("R", "C"))
    result = np.empty(x.shape[::-1], x.dtype)
    if numba.config.DISABLE_JIT:
        result[...] = x.T
    else:
        with threads_for(x.size):
            _transpose(read_only(x), result)
    return result
