"""Arrays on their way to a compiled kernel: what is read, and what receives the result."""

from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from qnn_ref._typing import Array
from qnn_ref.checks import check_array, check_written

INT32_END = 2**31
"""The first whole number that an int32 cannot hold: sums of bits have to stay below."""

WORDS, INT32, INT64 = ((np.dtype(kind),) for kind in (np.uint64, np.int32, np.int64))


def check_sums(name: str, count: int, largest: int) -> None:
    """Refuse sums of `count` products of up to `largest` that an int32 might not hold."""
    if count * largest >= INT32_END:
        raise ValueError(
            f"{name}: sums of {count} products of up to {largest} do not fit in int32 (below 2^31)"
        )


def read_only(array: Array) -> Array:
    """View an array as contiguous and read-only: one type, so a kernel is compiled once.

    It is copied where it was not contiguous.
    """
    flags = array.flags
    if not flags.c_contiguous:
        array = np.ascontiguousarray(array)
    elif not flags.writeable and type(array) is np.ndarray:
        return array
    view = array.view()
    view.flags.writeable = False
    return view


def room_for(
    out: Any, shape: tuple[int, ...], dtype: DTypeLike = np.int32, *operands: Array
) -> Array:
    """Return the array for a result: what the caller gave (see `check_out`), or a new one."""
    if out is None:
        out = np.empty(shape, dtype)
    else:
        check_out(out, shape, dtype, *operands)
    return out


def check_out(
    out: Any, shape: tuple[int, ...], dtype: DTypeLike = np.int32, *operands: Array
) -> None:
    """Refuse an array that cannot receive a result.

    Parameters
    ----------
    out : array
        What the caller gave.
    shape : tuple of int
        The shape of the result: (M, N) for a matrix.
    dtype : dtype
        The type of its numbers.
    *operands : arrays
        What is read while the result is written.

    Raises
    ------
    TypeError, ValueError
        If it is not a writeable, C-contiguous array of that shape and type, or shares memory with
        an operand.
    """
    check_array("out", out, (np.dtype(dtype),), shape)
    check_written("out", out, *operands)
