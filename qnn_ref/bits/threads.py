"""How many threads a piece of work is worth."""

from typing import Any

import numba

WORTH_WAKING = 200_000
"""Nanoseconds of work below which one thread does it all.

Waking a sleeping thread takes some microseconds, and a millisecond where the processor is shared.
"""


class threads_for:  # reads as a word: `with threads_for(...)`
    """Let compiled kernels use one thread inside, if their work is small; else all of them.

    A class, since a generator's context costs as much as a small kernel.

    Parameters
    ----------
    nanoseconds : float
        What the work would take on one thread, roughly.
    """

    def __init__(self, nanoseconds: float) -> None:
        alone = nanoseconds >= WORTH_WAKING or numba.config.NUMBA_NUM_THREADS == 1
        self.several = 1 if alone else numba.get_num_threads()

    def __enter__(self) -> None:
        """Leave the other threads asleep, where there are any."""
        if self.several > 1:
            numba.set_num_threads(1)

    def __exit__(self, *error: Any) -> None:
        """Put back the number of threads."""
        if self.several > 1:
            numba.set_num_threads(self.several)
