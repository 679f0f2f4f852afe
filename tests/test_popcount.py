"""The number of ones in a word: as plain Python, as array, and inside compiled code."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numba import njit
from numba.core.errors import TypingError

from qnn_ref.bits.popcount import popcount

WORD = st.integers(0, 2**64 - 1)


@njit
def compiled_sum(words):
    total = np.uint64(0)
    for word in words:
        total += popcount(word)
    return total


@given(WORD)
def test_counts_the_ones_of_the_binary_notation(word):
    count = popcount(np.uint64(word))
    assert int(count) == bin(word).count("1")
    assert count.dtype == np.uint64


@given(st.lists(WORD, max_size=20))
def test_compiled_code_counts_like_numpy(numbers):
    words = np.array(numbers, np.uint64)
    expected = sum(bin(number).count("1") for number in numbers)
    assert compiled_sum(words) == popcount(words).sum() == expected


def test_sums_of_counts_do_not_wrap_at_256():
    words = np.full(5, 2**64 - 1, np.uint64)
    assert popcount(words[0]) + popcount(words[1]) + popcount(words[2]) + popcount(words[3]) == 256
    assert compiled_sum(words) == 320


@pytest.mark.slow_without_jit
@pytest.mark.parametrize("dtype", ["int64", "uint32", "float64"])
def test_compiled_code_refuses_what_is_not_a_word(dtype):
    with pytest.raises(TypingError):
        compiled_sum(np.ones(2, dtype))
