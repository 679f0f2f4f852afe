"""How many threads a piece of work is worth, and whose threads have the cores."""

import functools
import threading
from typing import Any

from threadpoolctl import ThreadpoolController

from qnn_ref.compiled import numba

WORTH_WAKING = 200_000
"""Nanoseconds of work below which one thread does it all.

Waking a sleeping thread takes some microseconds, and a millisecond where the processor is shared.
"""


def worth_waking(nanoseconds: float) -> bool:
    """Whether work that takes one thread so long is better done by several, if there are any."""
    return nanoseconds >= WORTH_WAKING and numba.get_num_threads() > 1


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


@functools.cache
def _blas() -> list[Any]:
    """The BLAS libraries in this process when the first network ran: NumPy's among them."""
    return list(ThreadpoolController().select(user_api="blas").lib_controllers)


def blas_threads() -> int:
    """Threads that a product of NumPy may use now: the most of all libraries, at least 1."""
    return max((library.num_threads or 1 for library in _blas()), default=1)


class one_blas_thread:  # reads as a word: `with one_blas_thread():`
    """Let NumPy's products use one thread inside, so that compiled kernels have the others.

    OpenBLAS's workers spin after a product, for a tenth of a second, in the hope of the next one.
    The small products of a network's last layer are enough: a kernel on two cores that begins in
    that time takes twice as long, since each of its threads shares a core with a worker. It is so
    for the whole process; what was before comes back when the last of those that are inside, also
    in other threads of Python, has left.
    """

    _lock = threading.Lock()
    _inside = 0
    _before: tuple[int, ...] = ()

    def __enter__(self) -> None:
        """The first one in lets the workers sleep."""
        kind = type(self)
        with kind._lock:
            if kind._inside == 0:
                kind._before = tuple(library.num_threads for library in _blas())
                for library, count in zip(_blas(), kind._before, strict=True):
                    if count and count > 1:
                        library.set_num_threads(1)
            kind._inside += 1

    def __exit__(self, *error: Any) -> None:
        """The last one out puts back what was."""
        kind = type(self)
        with kind._lock:
            kind._inside -= 1
            if kind._inside == 0:
                for library, count in zip(_blas(), kind._before, strict=True):
                    if count and count > 1:
                        library.set_num_threads(count)
