"""The frozen network: the quantized values at the point, the surrogate's slope around it."""

from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qnn_ref.checking import strategies as qst
from qnn_ref.checking.freeze import Continuation, FrozenQuantizer, FrozenWeights, freeze
from qnn_ref.checking.report import GradientError
from qnn_ref.layers import Dense, Dropout, HardTanh, Quantize, ShiftBatchNorm
from qnn_ref.layers.base import Layer
from qnn_ref.parameter import Parameter
from qnn_ref.products import PLAIN
from qnn_ref.quantizers import Quantizer, Sign, StochasticSign, hard_tanh
from tests.broken_layers import StrictMask, TwoBits


def frozen(quantizer, x, noise=None):
    wrapper = FrozenQuantizer(quantizer, "here")
    wrapper.encode(x, noise)
    wrapper.recording = False
    return wrapper


def at(wrapper, x):
    wrapper.rewind()
    codes, scale = wrapper.encode(x)
    return codes * scale


@given(qst.arrays((7,), np.float64), st.sampled_from([Sign(), Sign(2.0), TwoBits()]))
def test_at_the_point_it_is_the_quantizer(x, quantizer):
    np.testing.assert_array_equal(at(frozen(quantizer, x), x), quantizer.quantize(x))


@given(
    qst.arrays((7,), np.float64),
    qst.arrays((7,), np.float64),
    st.sampled_from([Sign(), Sign(2.0), TwoBits(), StrictMask()]),
)
def test_around_the_point_it_has_the_inclusive_slope_and_no_kink(x, direction, quantizer):
    wrapper = frozen(quantizer, x)
    start = quantizer.quantize(x)
    inside = np.abs(x) <= (2.0 if quantizer == Sign(2.0) else 1.0)
    for t in (1e-3, -1e-3, 1e-6):
        change = at(wrapper, x + t * direction) - start
        # Steps down to one unit in the last place: absolute, because x + t v is rounded too.
        np.testing.assert_allclose(change, t * direction * inside, atol=3e-15)


def test_values_on_a_bound_are_counted_and_found():
    x = np.array([[1.0, -1.0, 0.5], [np.nextafter(1, 2), np.nextafter(1, 0), -3.0]])
    wrapper = frozen(Sign(), x)
    assert [(kink.layer, kink.index, kink.value) for kink in wrapper.kinks()] == [
        ("here", (0, 0), 1.0),
        ("here", (0, 1), -1.0),
    ]
    at(wrapper, x)
    assert wrapper.met == 0
    at(wrapper, x + 1e-5)  # both bounds, and the neighbour inside that leaves
    assert wrapper.met == 3
    at(wrapper, x - 1e-5)  # both bounds, and the neighbour outside that enters
    assert wrapper.met == 3


def test_noise_is_drawn_once():
    quantizer, rng = StochasticSign(), np.random.default_rng(0)
    x = np.zeros(50)
    wrapper = FrozenQuantizer(quantizer, "here")
    codes, _ = wrapper.encode(x, wrapper.draw(x.shape, rng))
    assert len(set(codes)) == 2
    wrapper.recording = False
    state = rng.bit_generator.state
    wrapper.rewind()
    again, _ = wrapper.encode(x, wrapper.draw(x.shape, rng))
    np.testing.assert_array_equal(again, codes)
    assert rng.bit_generator.state == state


def test_calls_are_repeated_in_their_order():
    wrapper = FrozenQuantizer(Sign(), "3.RNN")
    first, second = np.array([0.5]), np.array([-0.25])
    wrapper.encode(first)
    wrapper.encode(second)
    wrapper.recording = False
    for _ in range(2):
        wrapper.rewind()
        assert wrapper.encode(first + 0.125)[0] == 1.125
        assert wrapper.encode(second + 0.125)[0] == -0.875
    with pytest.raises(GradientError, match=r"3\.RNN: called more often"):
        wrapper.encode(first)


def test_it_passes_for_the_quantizer():
    wrapper = frozen(Sign(2.0), np.zeros(1))
    assert wrapper.saturation == 2.0
    assert wrapper.encoding == Sign().encoding
    np.testing.assert_array_equal(wrapper.surrogate(np.array([3.0])), [2.0])
    np.testing.assert_array_equal(wrapper.backward(np.ones(2), np.array([2.0, 3.0])), [1, 0])
    with pytest.raises(AttributeError, match="bits"):
        _ = wrapper.bits


class Staircase(Quantizer):
    def encode(self, x, noise=None):
        return np.floor(x), 1.0


def test_a_quantizer_without_surrogate_is_refused_by_name():
    layer = Quantize(Staircase()).build((2,))
    freeze([("4.Quantize", layer)])
    with pytest.raises(TypeError, match=r"4\.Quantize: Staircase has no"):
        layer.forward(np.zeros((1, 2), np.float32), training=True)


def test_infinite_activations_are_refused():
    with pytest.raises(GradientError, match="here: a quantizer saw a value that is not finite"):
        FrozenQuantizer(Sign(), "here").encode(np.array([np.inf]))


@given(qst.arrays((5,), np.float64), qst.arrays((5,), np.float64))
def test_weights_have_the_identity_as_surrogate(w, change):
    weights = FrozenWeights(TwoBits(), Parameter(w, TwoBits()))
    np.testing.assert_array_equal(weights.quantize(w), TwoBits().quantize(w))
    moved = weights.quantize(w + change) - weights.quantize(w)
    np.testing.assert_allclose(moved, change, atol=1e-14)


def test_the_grid_of_the_weights_stays_known():
    assert FrozenWeights(Sign(), Parameter(np.zeros(2), Sign())).encoding == Sign().encoding


def test_a_dense_layer_is_frozen_around_its_binary_weights():
    rng = np.random.default_rng(0)
    layer = Dense(3).build((4,), rng, dtype=np.float64)
    layer.products, layer.gradient_quantizer = object(), Sign()
    w, binary = layer.weight.latent.copy(), layer.weight.quantized.copy()
    freeze([("Dense", layer)])
    assert layer.products is PLAIN
    assert layer.gradient_quantizer is None
    np.testing.assert_array_equal(layer.weight.quantized, binary)
    change = 0.25 * rng.normal(size=w.shape)
    layer.weight.assign(w + change)
    np.testing.assert_allclose(layer.weight.quantized, binary + change, atol=1e-15)


def test_a_hard_tanh_layer_goes_on_along_its_piece():
    layer = HardTanh().build((4,), dtype=np.float64)
    x = np.array([[0.9999, 1.0, -1.0, 1.5]])
    (item,) = freeze([("HardTanh", layer)])
    np.testing.assert_array_equal(layer.forward(x, training=True), hard_tanh(x))
    np.testing.assert_array_equal(layer.backward(np.ones_like(x)), [[1, 1, 1, 0]])
    item.recording = False
    for t in (1e-2, -1e-2):
        item.rewind()
        change = layer.forward(x + t, training=True) - hard_tanh(x)
        np.testing.assert_allclose(change, [[t, t, t, 0]], atol=1e-15)


def test_a_choice_repeats_its_answer():
    rng = np.random.default_rng(1)
    layer = Dropout(0.5).build((6,), rng)
    (item,) = freeze([("Dropout", layer)])
    first = layer.forward(np.ones((3, 6), np.float32), training=True)
    item.recording = False
    for _ in range(2):
        item.rewind()
        again = layer.forward(np.full((3, 6), 2, np.float32), training=True)
        np.testing.assert_array_equal(again, 2 * first)


def test_a_lent_answer_cannot_be_spoilt():
    class Winners(Layer):
        jumps: ClassVar[dict[str, str]] = {"choose": "choice"}

        def choose(self, x):
            return x > 0

        def forward(self, x, training=False):
            mask = self.choose(x)
            y = x * mask
            mask[...] = False
            return y

    layer = Winners().build((2,))
    (item,) = freeze([("Winners", layer)])
    x = np.array([[1.0, -1.0]])
    for _ in range(3):
        item.rewind()
        np.testing.assert_array_equal(layer.forward(x), [[1, 0]])
        item.recording = False


def rounded(x):
    return 4 * np.round(x / 4)


@pytest.mark.parametrize(("kind", "slopes"), [("identity", [1, 1, 1]), ("ratio", [4 / 3, 1, 0])])
def test_a_function_that_jumps(kind, slopes):
    class Steps(Layer):
        jumps: ClassVar[dict[str, str]] = {"function": kind}
        function = staticmethod(rounded)

        def forward(self, x, training=False):
            return self.function(x)

    layer = Steps().build((3,))
    (item,) = freeze([("Steps", layer)])
    x = np.array([[3.0, 0.0, 1.0]])
    np.testing.assert_array_equal(layer.forward(x), [[4, 0, 0]])
    item.recording = False
    item.rewind()
    np.testing.assert_allclose(layer.forward(x + 0.5), [[4, 0, 0]] + 0.5 * np.array([slopes]))


def test_what_cannot_be_frozen_is_refused_by_name():
    with pytest.raises(TypeError, match=r"2\.ShiftBatchNorm\.ap2: has no surrogate"):
        freeze([("2.ShiftBatchNorm", ShiftBatchNorm("torch").build((2,)))])

    class Odd(Layer):
        jumps: ClassVar[dict[str, str]] = {"function": "sometimes"}
        function = staticmethod(rounded)

    with pytest.raises(TypeError, match=r"Odd\.jumps: expected one of quantizer.*got 'sometimes'"):
        freeze([("Odd", Odd().build((2,)))])


def test_an_attribute_that_is_not_there_is_left_alone():
    layer = Quantize().build((2,))
    layer.quantizer = None
    assert freeze([("Quantize", layer)]) == []


@given(qst.arrays((6,), np.float64))
def test_a_smooth_surrogate_stays_as_it_is_to_first_order(x):
    continuation = Continuation(np.tanh, x)
    assert not continuation.on_bound.any()
    for t in (1e-5, -1e-5):
        change, _ = continuation.change(x + t)
        np.testing.assert_allclose(change, np.tanh(x + t) - np.tanh(x), atol=1e-9)
