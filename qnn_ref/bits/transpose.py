"""The transposed matrix in new memory, as the kernels want their real operands."""

# mypy: allow-untyped-defs

import numpy as np

from qnn_ref._typing import Array
from qnn_ref.bits.lanes import lanes_of, turn
from qnn_ref.bits.operands import read_only
from qnn_ref.bits.threads import threads_for
from qnn_ref.checks import FLOATS, check_array
from qnn_ref.compiled import numba, parallel_kernel, prange


@parallel_kernel
def _transpose(x, result):
    """Transpose in squares of vectors, and what is left number by number."""
    (R, C), side = x.shape, np.int64(lanes_of(x))
    flat, turned = x.reshape(-1), result.reshape(-1)
    for block in prange((C + side - 1) // side):
        first = side * np.int64(block)
        squares = R // side if first + side <= C else 0
        for square in range(squares):
            top = side * square
            turn(flat, top * C + first, C, turned, first * R + top, R)
        for r in range(squares * side, R):
            for c in range(first, min(C, first + side)):
                turned[c * R + r] = flat[r * C + c]


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
