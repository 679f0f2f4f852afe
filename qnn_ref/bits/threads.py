"""How many threads a piece of work is worth."""

from collections.abc import Iterator
from contextlib import contextmanager

import numba

WORTH_WAKING = 200_000
"""Nanoseconds of work below which one thread does it all.

Waking a sleeping thread takes some microseconds, and a millisecond where the processor is shared.
"""


@contextmanager
def threads_for(nanoseconds: float) -> Iterator[None]:
    """Let compiled kernels use one thread inside, if their work is small; else all of them.

    Parameters
    ----------
    nanoseconds : float
        What the work would take on one thread, roughly.

    Source
    ------
    Not in the paper.
    """
    several = numba.get_num_threads()
    if several == 1 or nanoseconds >= WORTH_WAKING:
        yield
        return
    numba.set_num_threads(1)
    try:
        yield
    finally:
        numba.set_num_threads(several)
