"""The transposed matrix, in new memory."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qnn_ref.bits.transpose import transposed


@given(st.integers(0, 70), st.integers(0, 70), st.sampled_from([np.float32, np.float64]))
def test_the_result_is_the_transposed_matrix_in_memory_of_its_own(R, C, dtype):
    x = np.random.default_rng(R).normal(size=(R, C)).astype(dtype)
    for matrix in (x, x[::-1], np.asfortranarray(x)):
        result = transposed(matrix)
        np.testing.assert_array_equal(result, matrix.T)
        assert result.flags.c_contiguous
        assert result.dtype == dtype
        assert not np.shares_memory(result, x)


@pytest.mark.parametrize("x", [np.zeros(3), np.zeros((2, 3), int), [[1.0]], np.zeros((1, 2, 3))])
def test_what_is_no_real_matrix_is_refused(x):
    with pytest.raises((TypeError, ValueError), match=r"^x: "):
        transposed(x)
