"""Compiled max pooling is its NumPy twin: the same winner, the same values, the same gradient."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qnn_ref.layers.pooling import (
    find_winners,
    find_winners_reference,
    give_winners,
    give_winners_reference,
    take_winners,
    take_winners_reference,
)


@st.composite
def pools(draw):
    """Integers with many ties, a window that fits, a stride."""
    size = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    stride = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    high, wide = (k + draw(st.integers(0, 4)) for k in size)
    shape = draw(st.integers(0, 3)), high, wide, draw(st.integers(1, 5))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    x = rng.integers(-1, 2, shape).astype(dtype)
    x[rng.random(shape) < 0.1] = -np.inf  # a border
    x[rng.random(shape) < 0.1] = -0.0
    return x, size, stride, rng


@given(pools())
def test_kernels_are_their_twins(case):
    x, size, stride, rng = case
    winners = find_winners(x, size, stride)
    assert winners.dtype == np.uint16
    assert (winners == find_winners_reference(x, size, stride)).all()
    y = take_winners(x, winners, size, stride)
    twin = take_winners_reference(x, winners, size, stride)
    assert y.dtype == twin.dtype == x.dtype
    assert y.tobytes() == twin.tobytes()
    dy = rng.integers(-8, 9, y.shape).astype(x.dtype)  # sums of whole numbers have no rounding
    dx = give_winners(dy, winners, x.shape, size, stride)
    assert (dx == give_winners_reference(dy, winners, x.shape, size, stride)).all()
    assert dx.sum() == dy.sum()


@pytest.mark.parametrize(
    ("window", "winner"),
    [([[1, 1], [1, 1]], 0), ([[-1, 1], [1, 1]], 1), ([[0.0, -0.0], [-1, 0]], 0)],
)
def test_of_equals_the_first_in_reading_order_wins(window, winner):
    x = np.array(window, np.float64).reshape(1, 2, 2, 1)
    for find in (find_winners, find_winners_reference):
        assert find(x, (2, 2), (2, 2)).item() == winner
