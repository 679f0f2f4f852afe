"""The transposed matrix: NumPy's, in new memory, whole squares and what is left beside them."""

import numpy as np
import pytest

from qnn_ref.bits.transpose import transposed

SIDES = [0, 1, 7, 8, 9, 15, 16, 17, 33, 100]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("R", SIDES)
def test_is_numpys(R, dtype):
    rng = np.random.default_rng(R)
    for C in SIDES:
        x = rng.normal(size=(R, C)).astype(dtype)
        result = transposed(x)
        assert result.flags.c_contiguous
        assert not np.shares_memory(result, x)
        np.testing.assert_array_equal(result, x.T)
    wide = rng.normal(size=(R, 66)).astype(dtype)[:, ::2]
    np.testing.assert_array_equal(transposed(wide), wide.T)
