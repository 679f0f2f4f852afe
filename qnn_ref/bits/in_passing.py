"""The signs of new weights, packed in the pass that makes them.

Line 1 of Algorithm 1 binarizes what line 11 of the step before has written. To read all weights
again only for that takes a quarter of the time of the update: it is memory that bounds both. So an
update may leave the signs too, some thousand weights at a time, while these are in the cache.
"""

from typing import Any

import numpy as np

from qnn_ref._typing import Array, Words
from qnn_ref.bits.operands import WORDS
from qnn_ref.checks import check_array, check_written
from qnn_ref.compiled import compiled_by

BLOCK = 4096
"""Weights that are updated, then packed: with gradient and two moments 64 KB."""


@compiled_by("qnn_ref.bits.vectors")
def leave_signs(w: Any, first: Any, signs: Any) -> Any:
    """Pack the signs of a block of weights.

    Ordinary NumPy; in a compiled function it becomes comparisons of vectors, each of which gives
    its bits at once (``vectors`` says so to Numba).

    Parameters
    ----------
    w : array (n,) of float32 or float64
        Contiguous; n is a multiple of 64.
    first : int
        Where the block begins, a multiple of `BLOCK`.
    signs : array (n / 64,) of uint64
        Receives the signs of the block.

    Returns
    -------
    numpy.uint64
        0 if no weight of the block is NaN, which has no sign.

    References
    ----------
    Eq. (1).
    """
    block = w[first : first + BLOCK]
    packed = np.packbits(block >= 0, bitorder="little").view("<u8")
    signs[first // 64 : first // 64 + len(packed)] = packed
    return np.uint64(np.isnan(block).any())


def leave_all_signs(w: Array, signs: Words | None) -> bool:
    """Pack the signs of all weights (n,), if there is room for them; False if one is NaN."""
    if signs is None:
        return True
    return not any(leave_signs(w, first, signs) for first in range(0, w.size, BLOCK))


def room_for_signs(signs: Any, *arrays: Array) -> Words | None:
    """Refuse what is no room for the signs of the weights, the first array.

    Parameters
    ----------
    signs : array (n / 64,) of uint64, optional
    *arrays : arrays (n,)
        Weights and whatever else the update reads and writes.

    Returns
    -------
    array (n / 64,) of uint64, or None
        For None, Numba compiles an update that packs nothing, in less time.

    Raises
    ------
    TypeError, ValueError
        If it has another shape or type, cannot be written to, or shares memory with an operand.

    References
    ----------
    Not in the paper: compiled code looks at no size.
    """
    if signs is None:
        return None
    size = arrays[0].size
    if size % 64:
        raise ValueError(f"signs: expected none for {size} weights, no multiple of 64")
    check_array("signs", signs, WORDS, (size // 64,))
    check_written("signs", signs, *arrays)
    return signs  # type: ignore[no-any-return]
