"""Dropout: one mask for forward and backward, inverted scaling, nothing in inference."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qnn_ref.layers import Dropout
from qnn_ref.quantizers import Encoding

DTYPES = [np.float32, np.float64]
SEEDS = st.integers(0, 2**32)


def make(rate, shape, seed, dtype=np.float64):
    return Dropout(rate).build(shape, np.random.default_rng(seed), dtype=dtype)


@given(st.sampled_from([0.0, 0.2, 0.5, 0.75]), SEEDS, st.sampled_from(DTYPES))
def test_forward_and_backward_multiply_by_one_mask_of_zero_and_the_inverse_share(rate, seed, dtype):
    layer = make(rate, (6, 5), seed, dtype)
    rng = np.random.default_rng(seed)
    x, dy = rng.normal(1, 0.1, (2, 4, 6, 5)).astype(dtype)
    y = layer.forward(x, training=True)
    mask = layer.backward(np.ones_like(x))
    assert np.all((mask == 0) | (mask == dtype(1) / dtype(1 - rate)))
    np.testing.assert_array_equal(y, x * mask)
    np.testing.assert_array_equal(layer.backward(dy), dy * mask)
    assert y.dtype == mask.dtype == dtype


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_mask_is_kept_and_not_read_back_from_the_output(dtype):
    gradients = []
    for x in (np.zeros((1, 1000), dtype), np.ones((1, 1000), dtype)):
        layer = make(0.5, (1000,), 7, dtype)
        layer.forward(x, training=True)
        gradients.append(layer.backward(np.ones_like(x)))
    np.testing.assert_array_equal(gradients[0], gradients[1])
    assert set(np.unique(gradients[0])) == {0, 2}
    assert 400 < np.count_nonzero(gradients[0]) < 600


@pytest.mark.parametrize("rate", [0.2, 0.5, 0.9])
def test_the_rate_is_the_share_of_zeros_and_the_mean_is_kept(rate):
    n = 100_000
    layer = make(rate, (n,), 8)
    y = layer.forward(np.ones((1, n)), training=True)
    dropped = np.count_nonzero(y == 0) / n
    assert abs(dropped - rate) < 5 * math.sqrt(rate * (1 - rate) / n)
    assert abs(y.mean() - 1) < 5 * math.sqrt(rate / (1 - rate) / n)


class Fixed(np.random.Generator):
    """A generator that draws one number again and again."""

    number = 0.0

    def random(self, shape, dtype):
        return np.full(shape, self.number, dtype)


@pytest.mark.parametrize("rate, number, kept", [(0.5, 0.5, True), (0.5, 0.4999, False)])
def test_a_number_below_the_rate_drops_and_the_rate_itself_keeps(rate, number, kept):
    # Numbers are drawn from [0, 1), so exactly the share `rate` of them lies below the rate.
    layer, rng = make(rate, (3,), 0), Fixed(np.random.PCG64(0))
    layer.rng, rng.number = rng, number
    np.testing.assert_array_equal(layer.draw_mask((2, 3)), np.full((2, 3), 2.0 * kept))


def test_rate_zero_keeps_everything():
    layer = make(0, (100,), 9)
    x = np.random.default_rng(0).normal(size=(3, 100))
    np.testing.assert_array_equal(layer.forward(x, training=True), x)
    np.testing.assert_array_equal(layer.backward(x), x)
    layer.rng = Fixed(np.random.PCG64(0))  # draws 0, the smallest number of all
    np.testing.assert_array_equal(layer.forward(x, training=True), x)


def test_signs_become_minus_two_zero_and_two():
    layer = make(0.5, (50,), 10, np.float32)
    x = np.where(np.arange(200).reshape(4, 50) % 2, 1, -1).astype(np.float32)
    y = layer.forward(x, training=True)
    assert set(np.unique(y)) == {-2, 0, 2}


def test_every_forward_draws_a_new_mask_from_the_given_generator():
    rng, twin = np.random.default_rng(11), np.random.default_rng(11)
    layer = Dropout(0.3).build((40,), rng, dtype=np.float64)
    x = np.ones((2, 40))
    masks = [layer.forward(x, training=True) for _ in range(2)]
    assert np.any(masks[0] != masks[1])
    again = Dropout(0.3).build((40,), twin, dtype=np.float64)
    for mask in masks:
        np.testing.assert_array_equal(again.forward(x, training=True), mask)
    assert rng.bit_generator.state == twin.bit_generator.state


def test_both_float_types_draw_the_same_mask():
    masks = [make(0.2, (60,), 12, dtype).draw_mask((3, 60)) for dtype in DTYPES]
    np.testing.assert_array_equal(masks[0] > 0, masks[1] > 0)
    assert [m.dtype for m in masks] == DTYPES


def test_inference_passes_everything_on_and_draws_nothing():
    rng = np.random.default_rng(13)
    layer = Dropout(0.5).build((20,), rng, dtype=np.float64)
    state = rng.bit_generator.state
    x = np.random.default_rng(1).normal(size=(2, 20))
    np.testing.assert_array_equal(layer.forward(x), x)
    assert rng.bit_generator.state == state
    with pytest.raises(RuntimeError, match=r"Dropout\.backward: call forward"):
        layer.backward(x)


def test_encoding_stays_in_inference_and_leaves_the_grid_in_training():
    layer = make(0.5, (3,), 14)
    signs = Encoding(1.0, -1, 1, 2)
    assert layer.output_encoding(signs) == signs
    assert layer.output_encoding(signs, training=True) == signs.off_grid()
    assert layer.output_encoding(None) is None
    assert layer.output_encoding(None, training=True) is None
    assert layer.output_shape((4, 3)) == (4, 3)


def test_a_chosen_mask_can_be_repeated():
    # The gradient checker replaces `draw_mask` by its first answer.
    layer = make(0.5, (30,), 15)
    assert Dropout.jumps == {"draw_mask": "choice"}
    mask = layer.draw_mask((2, 30))
    layer.draw_mask = lambda shape: mask
    x = np.random.default_rng(2).normal(size=(2, 30))
    for _ in range(2):
        np.testing.assert_array_equal(layer.forward(x, training=True), x * mask)


BUILT = Dropout(0.5).build((3,))


@pytest.mark.parametrize(
    "call, error, words",
    [
        (lambda: Dropout(1), ValueError, ["rate:", "at least 0 and below 1", "got 1"]),
        (lambda: Dropout(-0.1), ValueError, ["rate:", "-0.1"]),
        (lambda: Dropout(math.nan), ValueError, ["rate:", "nan"]),
        (lambda: Dropout(0.5).forward(np.zeros((1, 3), "f")), RuntimeError, ["not built"]),
        (lambda: BUILT.forward(np.zeros((1, 3), "f"), True), TypeError, ["rng:", "Dropout"]),
        (lambda: BUILT.forward(np.zeros((1, 4), "f"), True), ValueError, ["x:", "(1, 4)"]),
        (lambda: BUILT.forward(np.zeros((1, 3)), True), TypeError, ["x:", "float32", "float64"]),
    ],
)
def test_bad_arguments_are_refused_with_their_name(call, error, words):
    with pytest.raises(error) as caught:
        call()
    for word in words:
        assert word in str(caught.value)
