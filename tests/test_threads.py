"""Small work on one thread: inside only, and whatever happens."""

import numba
import pytest

from qnn_ref.bits.threads import WORTH_WAKING, threads_for

several = pytest.mark.skipif(numba.config.NUMBA_NUM_THREADS < 2, reason="needs two threads")


@several
@pytest.mark.parametrize(
    ("nanoseconds", "inside"), [(0, 1), (WORTH_WAKING - 1, 1), (WORTH_WAKING, 2), (1e12, 2)]
)
def test_small_work_gets_one_thread_and_the_number_comes_back(nanoseconds, inside):
    before = numba.get_num_threads()
    try:
        numba.set_num_threads(2)
        with threads_for(nanoseconds):
            assert numba.get_num_threads() == inside
        assert numba.get_num_threads() == 2
        with pytest.raises(ZeroDivisionError), threads_for(nanoseconds):
            raise ZeroDivisionError
        assert numba.get_num_threads() == 2
        numba.set_num_threads(1)
        with threads_for(nanoseconds):
            assert numba.get_num_threads() == 1
    finally:
        numba.set_num_threads(before)
