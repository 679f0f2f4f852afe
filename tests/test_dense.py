"""Dense layer: Algorithm 1, lines 1, 2, 8 and 9, with scales, biases and further axes."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from qnn_ref.layers import Dense, glorot_scale
from qnn_ref.quantizers import Encoding, LogQuant, Quantizer, Sign
from tests.numeric import central_differences, worst_error

SIZES = st.integers(1, 6)
SEEDS = st.integers(0, 2**32)
PIXELS = Encoding(1 / 255, -255, 255, 2)


class ThirdsOfOdds(Quantizer):
    """Weights of two bits: codes -3, -1, 1, 3 and the scale 1/3."""

    encoding = Encoding(1 / 3, -3, 3, 2)

    def encode(self, x, noise=None):
        codes = 2 * np.floor(np.clip(x, -1, 1) * 1.5 + 2).clip(0, 3) - 3
        return codes.astype(x.dtype), 1 / 3


class Twos(Quantizer):
    """Weights of one bit in units of 2."""

    encoding = Encoding(2.0, -1, 1, 2)

    def encode(self, x, noise=None):
        return np.where(x < 0, x.dtype.type(-1), x.dtype.type(1)), 2.0


QUANTIZERS = st.sampled_from([None, Sign(), ThirdsOfOdds(), Twos()])
ENCODINGS = st.sampled_from(
    [None, PIXELS, *(Encoding(unit, -7, 7, 2) for unit in (1.0, 0.25, 2.0))]
)


def make(shape, units, seed, *, dtype=np.float64, encoding=None, **options):
    """A built layer whose bias, if any, is not zero."""
    rng = np.random.default_rng(seed)
    layer = Dense(units, **options).build(shape, rng, encoding, dtype)
    if layer.bias is not None:
        layer.bias.assign(rng.normal(size=units).astype(dtype))
    return layer, rng


# Forward


@given(SIZES, SIZES, SIZES, QUANTIZERS, ENCODINGS, st.booleans(), SEEDS)
def test_forward_is_the_input_times_the_quantized_weights(
    batch, fan_in, units, quantizer, encoding, bias, seed
):
    layer, rng = make(
        (fan_in,), units, seed, weight_quantizer=quantizer, encoding=encoding, bias=bias
    )
    x = rng.normal(size=(batch, fan_in))
    unit = 1 if encoding is None else encoding.scale
    expected = np.zeros((batch, units))
    for i in range(batch):
        for j in range(units):
            for k in range(fan_in):
                expected[i, j] += unit * x[i, k] * layer.weight.quantized[k, j]
            expected[i, j] += layer.bias.latent[j] if bias else 0
    np.testing.assert_allclose(layer.forward(x), expected, atol=1e-12)


@given(SIZES, st.integers(1, 40), SIZES, SEEDS)
def test_the_product_of_codes_is_an_exact_integer_before_the_scale(batch, fan_in, units, seed):
    layer, rng = make((fan_in,), units, seed, dtype=np.float32, encoding=PIXELS)
    codes = 2 * rng.integers(0, 256, (batch, fan_in)) - 255
    exact = codes @ np.where(layer.weight.latent >= 0, 1, -1)
    y = layer.forward(codes.astype(np.float32))
    assert y.dtype == np.float32
    np.testing.assert_array_equal(y, exact.astype(np.float32) * np.float32(1 / 255))
    np.testing.assert_array_equal(y, layer.finish(exact.astype(np.float32)))


def test_sums_too_large_for_float32_stay_exact():
    fan_in = 300_001  # sums up to 7.6e7, several times 2^24
    layer, rng = make((fan_in,), 6, 0, dtype=np.float32, encoding=PIXELS)
    layer.weight.assign(np.where(rng.random((fan_in, 6)) < 0.98, 0.5, -0.5))
    codes = 2.0 * rng.integers(230, 256, (2, fan_in)) - 255
    exact = codes @ layer.weight.quantized.astype(np.float64)  # whole numbers far below 2^53
    assert np.all(exact > 2**24)
    expected = exact.astype(np.float32) * np.float32(1 / 255)
    np.testing.assert_array_equal(layer.forward(codes.astype(np.float32)), expected)


def test_signs_are_multiplied_by_nothing():
    layer, rng = make((7,), 5, 1, dtype=np.float32, encoding=Sign().encoding)
    x = rng.choice([-1, 1], (4, 7)).astype(np.float32)
    y = layer.forward(x)
    np.testing.assert_array_equal(y, x.astype(int) @ layer.weight.quantized.astype(int))
    assert np.all(y % 2 == 1)  # an odd number of +-1


@given(SEEDS)
def test_further_axes_are_kept(seed):
    layer, rng = make((4, 3), 2, seed, bias=True)
    x, dy = rng.normal(size=(5, 4, 3)), rng.normal(size=(5, 4, 2))
    y = layer.forward(x, training=True)
    dx = layer.backward(dy)
    assert layer.output_shape((4, 3)) == y.shape[1:] == (4, 2)
    assert dx.shape == x.shape
    weight_grad, bias_grad = layer.weight.grad, layer.bias.grad

    flat = Dense(2, bias=True).build((3,), rng, dtype=np.float64)
    flat.weight.assign(layer.weight.latent)
    flat.bias.assign(layer.bias.latent)
    np.testing.assert_array_equal(flat.forward(x.reshape(-1, 3), training=True), y.reshape(-1, 2))
    np.testing.assert_array_equal(flat.backward(dy.reshape(-1, 2)), dx.reshape(-1, 3))
    np.testing.assert_array_equal(flat.weight.grad, weight_grad)
    np.testing.assert_array_equal(flat.bias.grad, bias_grad)


# Backward


@given(SIZES, SIZES, SIZES, QUANTIZERS, ENCODINGS, st.booleans(), SEEDS)
@example(2, 3, 2, Twos(), Encoding(2.0, -7, 7, 2), True, 0)
@example(2, 3, 2, Twos(), Encoding(1.0, -7, 7, 2), False, 0)
def test_backward_is_the_gradient_with_respect_to_the_quantized_weights(
    batch, fan_in, units, quantizer, encoding, bias, seed
):
    layer, rng = make(
        (fan_in,), units, seed, weight_quantizer=quantizer, encoding=encoding, bias=bias
    )
    x, upstream = rng.normal(size=(batch, fan_in)), rng.normal(size=(batch, units))
    unit = 1 if encoding is None else encoding.scale
    w = layer.weight.quantized.copy()
    b = layer.bias.latent.copy() if bias else np.zeros(units)

    def cost(x, w, b):
        return float(np.sum(upstream * (unit * (x @ w) + b)))

    layer.forward(x, training=True)
    dx = layer.backward(upstream)
    assert worst_error(central_differences(lambda v: cost(v, w, b), x), dx) < 1e-7
    numeric = central_differences(lambda v: cost(x, v, b), w)
    assert worst_error(numeric, layer.weight.grad) < 1e-7
    if bias:
        numeric = central_differences(lambda v: cost(x, w, v), b)
        assert worst_error(numeric, layer.bias.grad) < 1e-7


def test_weights_at_the_bound_have_a_gradient_like_all_others():
    layer, rng = make((3,), 4, 2)
    x, dy = rng.normal(size=(6, 3)), rng.normal(size=(6, 4))
    layer.forward(x, training=True)
    layer.backward(dy)
    inside = layer.weight.grad.copy()
    layer.weight.assign(layer.weight.quantized.copy())  # all exactly +-1: the same products
    layer.forward(x, training=True)
    layer.backward(dy)
    np.testing.assert_array_equal(layer.weight.grad, inside)
    assert np.all(inside != 0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("quantizer", [None, Sign(), ThirdsOfOdds()])
def test_everything_stays_in_the_layers_float_type(dtype, quantizer):
    layer, rng = make(
        (3,), 2, 3, dtype=dtype, encoding=PIXELS, bias=True, weight_quantizer=quantizer
    )
    x = rng.normal(size=(4, 3)).astype(dtype)
    assert layer.forward(x, training=True).dtype == dtype
    assert layer.backward(np.ones((4, 2), dtype)).dtype == dtype
    for p in layer.parameters().values():
        assert p.dtype == p.grad.dtype == dtype


def test_gradients_are_overwritten_not_added():
    layer, rng = make((3,), 2, 4, bias=True)
    x, dy = rng.normal(size=(4, 3)), rng.normal(size=(4, 2))
    for _ in range(2):
        layer.forward(x, training=True)
        layer.backward(dy)
    np.testing.assert_allclose(layer.weight.grad, x.T @ dy)
    np.testing.assert_allclose(layer.bias.grad, dy.sum(axis=0))


def test_no_input_gradient_is_made_where_none_is_needed():
    layer, rng = make((3,), 2, 5)
    x, dy = rng.normal(size=(4, 3)), rng.normal(size=(4, 2))
    layer.needs_input_gradient = False
    layer.forward(x, training=True)
    assert layer.backward(dy) is None
    np.testing.assert_allclose(layer.weight.grad, x.T @ dy)


def test_inference_keeps_nothing_for_backward():
    layer, rng = make((3,), 2, 6)
    layer.forward(rng.normal(size=(4, 3)))
    with pytest.raises(RuntimeError, match=r"Dense\.backward: call forward"):
        layer.backward(np.ones((4, 2)))
    x = rng.normal(size=(4, 3))
    layer.forward(x, training=True)
    layer.forward(rng.normal(size=(9, 3)))  # an evaluation in between changes nothing
    layer.backward(np.ones((4, 2)))
    np.testing.assert_allclose(layer.weight.grad, x.T @ np.ones((4, 2)))


# Start


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_binary_weights_start_uniform_in_plus_minus_one_and_are_clipped_and_scaled(dtype):
    layer, _ = make((60,), 50, 7, dtype=dtype)
    w = layer.weight
    assert w.dtype == dtype
    assert w.shape == (60, 50)
    assert -1 <= w.latent.min() < -0.99
    assert 0.99 < w.latent.max() <= 1
    assert abs(w.latent.mean()) < 5 * np.sqrt(1 / 3 / 3000)
    assert abs(w.latent.var() - 1 / 3) < 0.03
    assert w.bound == 1
    assert w.learning_rate_scale == glorot_scale(60, 50)
    assert set(np.unique(w.quantized)) == {-1, 1}
    assert np.unique(w.latent).size > 2900


def test_float_weights_start_in_glorots_range_and_are_neither_clipped_nor_scaled():
    layer, _ = make((60,), 50, 8, weight_quantizer=None)
    limit = np.sqrt(6 / (60 + 50))
    assert -limit <= layer.weight.latent.min() < -0.98 * limit
    assert 0.98 * limit < layer.weight.latent.max() <= limit
    assert layer.weight.bound == np.inf
    assert layer.weight.learning_rate_scale == 1
    assert layer.weight.quantizer is None


def test_bias_starts_at_zero_and_is_neither_clipped_nor_scaled():
    layer = Dense(3, bias=True).build((2,), np.random.default_rng(0))
    assert list(layer.parameters()) == ["weight", "bias"]
    np.testing.assert_array_equal(layer.bias.latent, np.zeros(3))
    assert layer.bias.dtype == np.float32
    assert layer.bias.quantizer is None
    assert (layer.bias.bound, layer.bias.learning_rate_scale) == (np.inf, 1)
    assert list(Dense(3).build((2,), np.random.default_rng(0)).parameters()) == ["weight"]


def test_the_same_seed_gives_the_same_weights_in_both_float_types():
    a, b, c = (make((4,), 3, seed)[0].weight.latent for seed in (9, 9, 10))
    np.testing.assert_array_equal(a, b)
    assert np.any(a != c)
    narrow = make((4,), 3, 9, dtype=np.float32)[0].weight.latent
    np.testing.assert_array_equal(narrow, a.astype(np.float32))


def test_encodings_tell_the_largest_product():
    rng = np.random.default_rng(0)

    def largest(encoding, quantizer):
        return Dense(2, quantizer).build((3,), rng, encoding).largest_product

    assert largest(PIXELS, Sign()) == 255
    assert largest(PIXELS, ThirdsOfOdds()) == 765
    assert largest(PIXELS, None) == 0
    assert largest(None, Sign()) == 0
    assert largest(PIXELS.off_grid(), Sign()) == 0
    assert Dense(2).output_encoding(PIXELS) is None


FLOAT32 = Dense(2).build((3,), np.random.default_rng(0))


@pytest.mark.parametrize(
    "call, error, words",
    [
        (lambda: Dense(0), ValueError, ["units:", "from 1 to", "0"]),
        (lambda: Dense(-3), ValueError, ["units:", "-3"]),
        (lambda: Dense(2).build((3,)), TypeError, ["rng:", "Dense", "Generator"]),
        (lambda: Dense(2).build((3,), 7), TypeError, ["rng:", "int"]),
        (lambda: Dense(2).forward(np.zeros((1, 3), "f")), RuntimeError, ["Dense", "not built"]),
        (
            lambda: FLOAT32.forward(np.zeros((2, 4), "f")),
            ValueError,
            ["x:", "(batch, 3)", "(2, 4)"],
        ),
        (lambda: FLOAT32.forward(np.zeros(3, "f")), ValueError, ["x:", "(3,)"]),
        (lambda: FLOAT32.forward(np.zeros((2, 5, 3), "f")), ValueError, ["x:", "(2, 5, 3)"]),
        (lambda: FLOAT32.forward(np.zeros((0, 3), "f")), ValueError, ["x:", "empty batch"]),
        (lambda: FLOAT32.forward(np.zeros((2, 3))), TypeError, ["x:", "float32", "float64"]),
        (lambda: FLOAT32.forward(np.zeros((2, 3), np.uint8)), TypeError, ["x:", "uint8"]),
    ],
)
def test_bad_arguments_are_refused_with_their_name(call, error, words):
    with pytest.raises(error) as caught:
        call()
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize("bits", [7, 8])
def test_weights_whose_sums_are_not_exact_are_refused(bits):
    signs = Encoding(1.0, -1, 1, 2)
    layer = Dense(2, LogQuant(bits))
    with pytest.raises(ValueError, match="weight_quantizer: sums of 64 products"):
        layer.build((64,), np.random.default_rng(0), signs)
    with pytest.raises(TypeError, match="range comes from the data"):
        Dense(2, LogQuant(4, exponent=None)).build((64,), np.random.default_rng(0), signs)
    Dense(2, LogQuant(6)).build((64,), np.random.default_rng(0), signs)
