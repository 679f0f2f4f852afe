"""Number of ones in a 64-bit word.

``popcount`` is ordinary NumPy. Numba has no compiled form of ``numpy.bitwise_count``; inside a
compiled function a call of ``popcount`` becomes LLVM's ``ctpop`` (``vectors`` says so to Numba),
and that the processor's own instruction, or a vector of them where a loop is vectorised. So the
same source runs compiled and with ``NUMBA_DISABLE_JIT=1``.
"""

from typing import Any

import numpy as np

from qnn_ref.compiled import compiled_by


@compiled_by("qnn_ref.bits.vectors")
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
