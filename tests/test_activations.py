"""Pixels, Quantize, HardTanh and Flatten."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from qnn_ref.checking import strategies as qst
from qnn_ref.layers import Flatten, HardTanh, Pixels, Quantize
from qnn_ref.quantizers import Encoding, Quantizer, Sign, StochasticSign
from tests.numeric import central_differences, worst_error

DTYPES = [np.float32, np.float64]
SEEDS = st.integers(0, 2**32)


class ThirdsOfOdds(Quantizer):
    """Two bits: codes -3, -1, 1, 3, the scale 1/3, and the hard tanh as surrogate."""

    encoding = Encoding(1 / 3, -3, 3, 2)

    def encode(self, x, noise=None):
        codes = 2 * np.floor(np.clip(x, -1, 1) * 1.5 + 2).clip(0, 3) - 3
        return codes.astype(x.dtype), 1 / 3

    def surrogate(self, x):
        return np.clip(x, -1, 1)

    def backward(self, dy, x):
        return dy * (np.abs(x) <= 1)


class Twos(ThirdsOfOdds):
    """The same in units of 2."""

    encoding = Encoding(2.0, -3, 3, 2)

    def encode(self, x, noise=None):
        return super().encode(x)[0], 2.0


# Pixels


@pytest.mark.parametrize(("scale", "number"), [(1e-60, "0"), (1e60, "inf")])
def test_a_scale_that_float32_has_not_is_refused(scale, number):
    with pytest.raises(ValueError, match=f"^scale: .* is {number} in float32"):
        Pixels(scale).build((2,))
    assert Pixels(scale).build((2,), dtype=np.float64).output_encoding(None).scale == scale


def test_pixels_look_at_the_gradient_that_they_drop():
    layer = Pixels().build((3,))
    layer.forward(np.zeros((2, 3), np.uint8))
    with pytest.raises(RuntimeError, match="call forward"):
        layer.backward(np.ones((2, 3), np.float32))
    layer.forward(np.zeros((2, 3), np.uint8), training=True)
    with pytest.raises(ValueError, match=r"^dy: expected shape"):
        layer.backward(np.ones((2, 2), np.float32))


@pytest.mark.parametrize("dtype", DTYPES)
def test_pixels_become_the_odd_integers(dtype):
    layer = Pixels().build((256,), dtype=dtype)
    images = np.arange(256, dtype=np.uint8)[None]
    kept = images.copy()
    codes = layer.forward(images, training=True)
    assert codes.dtype == dtype
    np.testing.assert_array_equal(codes[0], [2 * p - 255 for p in range(256)])
    np.testing.assert_array_equal(images, kept)
    # Times its scale this is the range [-1, 1] of the recipes; uint8 arithmetic would wrap.
    value = codes[0, [0, 127, 128, 255]] * dtype(layer.output_encoding(None).scale)
    np.testing.assert_allclose(value, [-1, -0.003921569, 0.003921569, 1], rtol=1e-6)


def test_pixels_say_what_they_emit_and_have_no_gradient():
    layer = Pixels().build((2, 2, 1))
    assert layer.output_encoding(None) == Encoding(1 / 255, -255, 255, 2)
    assert layer.output_shape((2, 2, 1)) == (2, 2, 1)
    assert not layer.differentiable
    assert Quantize().differentiable
    layer.forward(np.zeros((1, 2, 2, 1), np.uint8), training=True)
    assert layer.backward(np.ones((1, 2, 2, 1), np.float32)) is None


def test_another_scale_of_pixels_changes_what_the_same_codes_stand_for():
    layer = Pixels(scale=0.01).build((3,))
    images = np.array([[0, 7, 255]], np.uint8)
    np.testing.assert_array_equal(layer.forward(images), [[-255, -241, 255]])
    assert layer.output_encoding(None) == Encoding(0.01, -255, 255, 2)


# Quantize


@given(
    st.sampled_from(DTYPES).flatmap(
        lambda dtype: qst.quantizer_inputs(Sign(), qst.shapes((2, 4), 4), dtype)
    )
)
def test_quantize_emits_signs_and_passes_the_gradient_within_the_bound(x):
    layer = Quantize().build(x.shape[1:], dtype=x.dtype)
    codes = layer.forward(x, training=True)
    np.testing.assert_array_equal(codes, np.where(x >= 0, 1, -1))
    dy = np.random.default_rng(0).normal(0, 10, x.shape).astype(x.dtype)
    dx = layer.backward(dy)
    np.testing.assert_array_equal(dx, np.where(np.abs(x) <= 1, dy, 0))
    assert codes.dtype == dx.dtype == x.dtype


@given(SEEDS, st.sampled_from(DTYPES))
def test_quantize_emits_codes_and_divides_their_gradient_by_the_scale(seed, dtype):
    rng = np.random.default_rng(seed)
    layer = Quantize(ThirdsOfOdds()).build((6,), dtype=dtype)
    x, dy = rng.uniform(-1.5, 1.5, (2, 4, 6)).astype(dtype)
    codes = layer.forward(x, training=True)
    assert np.all(np.isin(codes, [-3, -1, 1, 3]))
    dx = layer.backward(dy)
    assert codes.dtype == dx.dtype == dtype
    # The codes are surrogate / scale to first order, so their gradient is that slope times dy.
    np.testing.assert_allclose(dx, np.where(np.abs(x) <= 1, 3 * dy, 0), rtol=1e-6)


def test_codes_times_scale_have_the_gradient_of_the_surrogate():
    rng = np.random.default_rng(1)
    layer = Quantize(ThirdsOfOdds()).build((5,), dtype=np.float64)
    x, dvalue = rng.uniform(-2, 2, (2, 3, 5))
    _, scale = layer.quantizer.encode(x)
    numeric = central_differences(lambda v: float(np.sum(dvalue * layer.quantizer.surrogate(v))), x)
    layer.forward(x, training=True)
    assert worst_error(numeric, layer.backward(dvalue * scale)) < 1e-8


def test_quantize_states_the_encoding_of_its_quantizer():
    layer = Quantize(ThirdsOfOdds()).build((3,))
    for training in (False, True):
        assert layer.output_encoding(Encoding(1.0, -1, 1, 2), training) == ThirdsOfOdds.encoding
    assert Quantize().quantizer == Sign()
    assert Quantize.jumps == {"quantizer": "quantizer"}


def test_stochastic_units_draw_in_training_only():
    rng = np.random.default_rng(2)
    layer = Quantize(StochasticSign()).build((1000,), rng, dtype=np.float64)
    x = np.random.default_rng(3).uniform(-0.9, 0.9, (1, 1000))
    state = rng.bit_generator.state
    first, second = layer.forward(x), layer.forward(x)
    assert rng.bit_generator.state == state
    np.testing.assert_array_equal(first, np.where(x >= 0, 1, -1))
    np.testing.assert_array_equal(first, second)

    drawn = layer.forward(x, training=True)
    assert rng.bit_generator.state != state
    twin = np.random.default_rng(2)
    np.testing.assert_array_equal(drawn, np.where(twin.random(x.shape) < (x + 1) / 2, 1, -1))
    assert np.any(drawn != first)
    np.testing.assert_array_equal(layer.backward(np.ones_like(x)), np.ones_like(x))
    assert np.any(layer.forward(x, training=True) != drawn)


# HardTanh


@given(SEEDS, st.sampled_from([0.5, 1.0, 2.0]), st.sampled_from(DTYPES))
def test_hard_tanh_layer_clips_and_masks_at_its_bound(seed, bound, dtype):
    rng = np.random.default_rng(seed)
    layer = HardTanh(bound).build((4,), dtype=dtype)
    x, dy = rng.normal(0, 2, (2, 5, 4)).astype(dtype)
    x[0, :2] = bound, -bound
    y = layer.forward(x, training=True)
    np.testing.assert_array_equal(y, np.maximum(-bound, np.minimum(bound, x)))
    dx = layer.backward(dy)
    np.testing.assert_array_equal(dx, np.where(np.abs(x) <= bound, dy, 0))
    assert y.dtype == dx.dtype == dtype
    np.testing.assert_array_equal(layer.forward(x), y)
    assert layer.output_encoding(Encoding(1.0, -1, 1, 2)) is None


# Flatten


@given(hnp.array_shapes(min_dims=2, max_dims=4, max_side=4), st.sampled_from(DTYPES))
def test_flatten_keeps_the_order_and_undoes_itself(shape, dtype):
    layer = Flatten().build(shape[1:], dtype=dtype)
    x = np.arange(np.prod(shape)).reshape(shape).astype(dtype)
    rows = layer.forward(x, training=True)
    assert rows.shape == (shape[0], *layer.output_shape(shape[1:]))
    np.testing.assert_array_equal(rows.ravel(), x.ravel())
    np.testing.assert_array_equal(layer.backward(rows), x)
    assert rows.dtype == dtype


def test_flatten_puts_channels_innermost():
    layer = Flatten().build((2, 3, 2))
    x = np.zeros((1, 2, 3, 2), np.float32)
    x[0, 1, 2, 0] = 1  # row 1, column 2, channel 0
    assert layer.forward(x).argmax() == (1 * 3 + 2) * 2 + 0
    assert layer.output_encoding(Encoding(0.5, -3, 3, 2)) == Encoding(0.5, -3, 3, 2)
    assert layer.output_encoding(None) is None


# Errors


@pytest.mark.parametrize("layer", [Quantize(), HardTanh(), Flatten()])
def test_backward_needs_a_training_forward(layer):
    layer.build((3,))
    layer.forward(np.zeros((2, 3), np.float32))
    with pytest.raises(RuntimeError, match=rf"{type(layer).__name__}\.backward: call forward"):
        layer.backward(np.zeros((2, 3), np.float32))


IMAGES = Pixels().build((2, 2, 1))
UNITS = Quantize().build((3,))
NOISY = Quantize(StochasticSign()).build((3,))


@pytest.mark.parametrize(
    "call, error, words",
    [
        (
            lambda: IMAGES.forward(np.zeros((1, 2, 2, 1), "f")),
            TypeError,
            ["x:", "uint8", "float32"],
        ),
        (lambda: IMAGES.forward(np.zeros((1, 2, 2, 1), np.int64)), TypeError, ["x:", "int64"]),
        (
            lambda: IMAGES.forward(np.zeros((1, 4), np.uint8)),
            ValueError,
            ["x:", "(batch, 2, 2, 1)", "(1, 4)"],
        ),
        (lambda: IMAGES.forward(np.zeros((0, 2, 2, 1), np.uint8)), ValueError, ["x:", "empty"]),
        (lambda: Pixels().forward(np.zeros((1, 2), np.uint8)), RuntimeError, ["Pixels", "built"]),
        (lambda: Pixels(0), ValueError, ["scale:", "above 0", "0"]),
        (lambda: Pixels(-0.5), ValueError, ["scale:", "-0.5"]),
        (lambda: Pixels(np.inf), ValueError, ["scale:", "inf"]),
        (lambda: Pixels(np.nan), ValueError, ["scale:", "nan"]),
        (lambda: UNITS.forward(np.full((1, 3), np.nan, "f")), ValueError, ["x:", "NaN"]),
        (lambda: UNITS.forward(np.zeros((1, 3))), TypeError, ["x:", "float32", "float64"]),
        (lambda: UNITS.forward(np.zeros((1, 4), "f")), ValueError, ["x:", "(1, 4)"]),
        (lambda: NOISY.forward(np.zeros((1, 3), "f"), True), TypeError, ["rng:", "Generator"]),
        (lambda: HardTanh(0), ValueError, ["saturation:", "above 0"]),
        (lambda: HardTanh(-1.0), ValueError, ["saturation:", "-1.0"]),
        (lambda: HardTanh().forward(np.zeros((1, 3), "f")), RuntimeError, ["not built"]),
        (
            lambda: Flatten().build((2, 2)).forward(np.zeros((1, 4), "f")),
            ValueError,
            ["x:", "(batch, 2, 2)", "(1, 4)"],
        ),
    ],
)
def test_bad_arguments_are_refused_with_their_name(call, error, words):
    with pytest.raises(error) as caught:
        call()
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize("quantizer", [Sign(), ThirdsOfOdds(), Twos()], ids=repr)
def test_codes_and_their_gradient_are_in_units_of_the_scale(quantizer):
    layer = Quantize(quantizer).build((4,), dtype=np.float64)
    x, dy = np.random.default_rng(0).normal(size=(2, 3, 4))
    codes, scale = quantizer.encode(x)
    np.testing.assert_array_equal(layer.forward(x, training=True), codes)
    np.testing.assert_array_equal(layer.pointwise(x), codes)
    np.testing.assert_array_equal(layer.backward(dy), quantizer.backward(dy, x) / scale)


def test_the_bound_of_a_hard_tanh_is_1_unless_another_is_given():
    assert HardTanh().saturation == 1
    layer = HardTanh(2).build((3,))
    x = np.array([[-3, 1.5, 3]], np.float32)
    np.testing.assert_array_equal(layer.forward(x), [[-2, 1.5, 2]])
    np.testing.assert_array_equal(layer.pointwise(x), [[-2, 1.5, 2]])
