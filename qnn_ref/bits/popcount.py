"""Number of ones in a 64-bit word.

``popcount`` is ordinary NumPy. Numba has no compiled form of ``numpy.bitwise_count``; inside a
compiled function it replaces a call of ``popcount`` by LLVM's ``ctpop``, which becomes the
processor's own instruction, or a vector of them where a loop is vectorised. So the same source
runs compiled and with ``NUMBA_DISABLE_JIT=1``.
"""

# mypy: allow-untyped-defs

from typing import Any

import numpy as np
from numba import types
from numba.extending import intrinsic, overload

from qnn_ref.bits.vectors import Vector, popcount_lanes


def popcount(x: Any) -> Any:
    """Count the ones in a word.

    popcount(x) = sum_i bit_i(x)

    Parameters
    ----------
    x : numpy.uint64 or array of uint64, any shape
        Words. In compiled code: one word, or a vector of eight.

    Returns
    -------
    numpy.uint64 or array of uint64, shape of x
        Numbers from 0 to 64. They are 64 bits wide, because sums of the 8-bit numbers that
        ``numpy.bitwise_count`` returns would wrap at 256.

    References
    ----------
    Eq. (8).
    """
    return np.bitwise_count(x).astype(np.uint64)


@intrinsic
def _ctpop(typingctx, x):
    def codegen(context, builder, signature, args):
        return builder.ctpop(args[0])

    return types.uint64(types.uint64), codegen


@overload(popcount)
def _compiled_popcount(x):
    # Refusing other integers keeps a signed or narrow word from being widened unseen.
    if x == types.uint64:
        return lambda x: _ctpop(x)
    if x == Vector(types.uint64):
        return lambda x: popcount_lanes(x)
    return None
