"""The three products of a layer: Algorithm 1, lines 2, 8 and 9."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qnn_ref.products import PLAIN, PlainProducts

DTYPES = st.sampled_from([np.float32, np.float64])
SIZES = st.integers(1, 9)
SEEDS = st.integers(0, 2**32)


def product_by_hand(a, b):
    """Sum of products, index by index, in Python's exact integers or floats."""
    a, b = a.tolist(), b.tolist()
    inner, columns = range(len(b)), range(len(b[0]))
    return np.array([[sum(row[k] * b[k][n] for k in inner) for n in columns] for row in a])


@given(SIZES, SIZES, SIZES, DTYPES, SEEDS)
def test_forward_is_the_sum_over_fan_in_and_exact_for_codes(batch, fan_in, units, dtype, seed):
    rng = np.random.default_rng(seed)
    x = 2 * rng.integers(0, 256, (batch, fan_in)) - 255
    w = 2 * rng.integers(0, 2, (fan_in, units)) - 1
    s = PLAIN.forward(x.astype(dtype), w.astype(dtype), 255)
    np.testing.assert_array_equal(s, product_by_hand(x, w))
    assert s.dtype == dtype


@given(SIZES, SIZES, SIZES, SEEDS)
def test_gradients_are_the_transposed_products(batch, fan_in, units, seed):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(batch, fan_in))
    w = rng.normal(size=(fan_in, units))
    dy = rng.normal(size=(batch, units))
    dx, dw = PLAIN.input_gradient(dy, w), PLAIN.weight_gradient(x, dy)
    np.testing.assert_allclose(dx, product_by_hand(dy, w.T), atol=1e-12)
    np.testing.assert_allclose(dw, product_by_hand(x.T, dy), atol=1e-12)
    # <dy, x w> = <dx, x> = <dw, w>: what makes them gradients of the forward product.
    inner = np.sum(dy * PLAIN.forward(x, w))
    np.testing.assert_allclose([np.sum(dx * x), np.sum(dw * w)], inner, atol=1e-11)


@given(DTYPES, SEEDS)
def test_gradients_keep_the_float_type(dtype, seed):
    rng = np.random.default_rng(seed)
    x, w, dy = (rng.normal(size=s).astype(dtype) for s in ((4, 3), (3, 2), (4, 2)))
    assert PLAIN.forward(x, w).dtype == dtype
    assert PLAIN.input_gradient(dy, w).dtype == dtype
    assert PLAIN.weight_gradient(x, dy).dtype == dtype


@pytest.mark.parametrize("largest", [0.0, np.inf, 255.0])
def test_real_numbers_and_small_sums_take_the_plain_product(largest):
    rng = np.random.default_rng(3)
    x, w = rng.normal(size=(5, 40)).astype(np.float32), rng.normal(size=(40, 6)).astype(np.float32)
    np.testing.assert_array_equal(PlainProducts().forward(x, w, largest), x @ w)


def test_sums_beyond_float32_are_formed_in_float64_and_rounded_once():
    fan_in, units = 150_001, 16  # sums reach 255 * 150,001 = 3.8e7, over 2^24 = 1.7e7
    rng = np.random.default_rng(4)
    x = 2.0 * rng.integers(200, 256, (2, fan_in)) - 255
    w = np.where(rng.random((fan_in, units)) < 0.98, 1.0, -1.0)
    exact = x @ w  # whole numbers far below 2^53
    assert np.all(np.abs(exact) > 2**24)
    got = PLAIN.forward(x.astype(np.float32), w.astype(np.float32), 255)
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got, exact.astype(np.float32))


def test_a_sum_of_nothing_is_zero():
    s = PLAIN.forward(np.empty((3, 0), np.float32), np.empty((0, 2), np.float32), 1)
    np.testing.assert_array_equal(s, np.zeros((3, 2)))


@pytest.mark.parametrize(
    "call",
    [
        lambda a, b: PLAIN.forward(a, b),
        lambda a, b: PLAIN.input_gradient(a, b.T),
        lambda a, b: PLAIN.weight_gradient(a.T, b),
    ],
)
def test_operands_that_do_not_fit_are_refused(call):
    with pytest.raises(ValueError, match=r"size 4 is different from 3|mismatch"):
        call(np.ones((2, 3)), np.ones((4, 5)))
