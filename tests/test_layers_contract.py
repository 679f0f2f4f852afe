"""What every layer refuses, whatever it computes: wrong arrays, forwards and backwards.

`MAKE` says how one of each kind is made; a layer of the package that is not there fails a test.
"""

from __future__ import annotations

import copy
import re

import numpy as np
import pytest

import qnn_ref.layers
from qnn_ref.checks import ANY_STEPS, written_shape
from qnn_ref.layers import (
    LSTM,
    RNN,
    Auxiliary,
    AveragePool2D,
    BatchNorm,
    Branches,
    Conv2D,
    Dense,
    Dropout,
    Embedding,
    Flatten,
    HardTanh,
    Layer,
    MaxPool2D,
    Pixels,
    Quantize,
    ShiftBatchNorm,
)
from qnn_ref.quantizers import Encoding, LogQuant, Sign, StochasticSign

SIGNS = Encoding(1.0, -1, 1, 2)
IMAGE = (5, 4, 3)
MAKE = {
    "Pixels": (Pixels, (3,), None),
    "Dense": (lambda: Dense(4, bias=True), (3,), None),
    "Dense of bits": (lambda: Dense(600), (300,), SIGNS),
    "Dense of drawn bits": (lambda: Dense(600, StochasticSign()), (300,), SIGNS),
    "Dense of drawn powers": (lambda: Dense(4, LogQuant(3, stochastic=True)), (3,), SIGNS),
    "Dense of sequences": (lambda: Dense(4), (2, 3), None),
    "Conv2D": (lambda: Conv2D(2, (3, 2), stride=(2, 1), padding=1), IMAGE, None),
    "Conv2D of bits": (lambda: Conv2D(64, 3, padding=1), (4, 4, 64), SIGNS),
    "Conv2D of drawn bits": (
        lambda: Conv2D(64, 2, weight_quantizer=StochasticSign()),
        (4, 4, 64),
        SIGNS,
    ),
    "MaxPool2D": (lambda: MaxPool2D(2, 1, 1), IMAGE, None),
    "AveragePool2D": (AveragePool2D, IMAGE, None),
    "AveragePool2D of signs": (AveragePool2D, IMAGE, SIGNS),
    "BatchNorm": (BatchNorm, (3,), None),
    "BatchNorm of images": (BatchNorm, IMAGE, None),
    "ShiftBatchNorm": (ShiftBatchNorm, (3,), None),
    "Quantize": (Quantize, (3,), None),
    "Quantize by drawing": (lambda: Quantize(StochasticSign()), (3,), None),
    "HardTanh": (HardTanh, (3,), None),
    "Dropout": (lambda: Dropout(0.5), (3,), None),
    "Embedding": (lambda: Embedding(7, 3), (4,), None),
    "Embedding of any number of steps": (lambda: Embedding(7, 3, None), (-1,), None),
    "RNN": (lambda: RNN(4), (3, 2), None),
    "RNN of signs": (lambda: RNN(80, Sign(), Sign(), "tanh"), (-1, 70), SIGNS),
    "LSTM": (lambda: LSTM(4), (3, 2), None),
    "LSTM of drawn signs": (lambda: LSTM(4, StochasticSign(), StochasticSign()), (3, 2), SIGNS),
    "Flatten": (Flatten, IMAGE, None),
    "Branches": (lambda: Branches([Conv2D(2, 1)], [MaxPool2D(1)], []), IMAGE, None),
    "Auxiliary": (lambda: Auxiliary([Flatten(), Dense(2)]), IMAGE, None),
}


def built(name):
    make, shape, encoding = MAKE[name]
    return make().build(shape, np.random.default_rng(0), encoding)


def inputs(layer, batch=5, seed=1):
    """Something that the layer takes: pixels, signs, or reals on both sides of the bounds."""
    rng, shape = np.random.default_rng(seed), (batch, *sizes_of(layer))
    if isinstance(layer, Embedding):
        return rng.integers(0, layer.vocabulary, shape)
    if isinstance(layer, Pixels):
        return rng.integers(0, 256, shape, dtype=np.uint8)
    if layer.encoding is not None:
        return rng.choice(np.array([-1, 1], np.float32), shape)
    return rng.normal(size=shape).astype(np.float32)


def sizes_of(layer):
    """The shape of an example, three steps where any number is taken."""
    return tuple(3 if size == ANY_STEPS else size for size in layer.input_shape)


def gradient_of(layer, batch=5, dtype=np.float32):
    shape = batch, *layer.output_shape(sizes_of(layer))
    return np.random.default_rng(2).normal(size=shape).astype(dtype)


def train(layer, x):
    """A training forward, with the loss of a head where there is one."""
    y = layer.forward(x, training=True)
    if isinstance(layer, Auxiliary):
        layer.receive(np.ones_like(layer.scores))
    return y


def gradients(layer, dy):
    """Gradients of the input and of every parameter."""
    dx = layer.backward(dy)
    return [dx, *(p.grad.copy() for la in walk(layer) for p in la.parameters().values())]


@pytest.mark.parametrize("name", MAKE)
def test_what_a_layer_has_only_when_it_is_built_says_so(name):
    """Nobody meets a bare "has no attribute": every attribute of a built layer, and every call."""
    there, layer = built(name), MAKE[name][0]()
    words = r"^\w+ is not built yet: call build\(input_shape\)$"
    for attribute in vars(there).keys() - set(dir(layer)):
        with pytest.raises(AttributeError, match=words):
            getattr(layer, attribute)
    if there.parameters():
        for call in (layer.parameters, lambda: layer.astype(np.float64)):
            with pytest.raises(AttributeError, match=words.replace("^", "").replace("$", "")):
                call()
    with pytest.raises((AttributeError, RuntimeError), match="is not built yet: call build"):
        layer.forward(inputs(there))
    with pytest.raises(AttributeError, match=f"^{type(layer).__name__} has no attribute 'wieght'$"):
        there.wieght  # noqa: B018


def walk(layer):
    return [layer, *(inner for la in layer.sublayers() for inner in walk(la))]


def assert_same(some, others):
    for one, other in zip(some, others, strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            np.testing.assert_array_equal(one, other, strict=True)


@pytest.fixture(params=MAKE)
def layer(request):
    """A built layer after a training forward of five examples."""
    made = built(request.param)
    train(made, inputs(made))
    return made


def test_every_layer_of_the_package_is_among_those_that_are_tried():
    found = {
        kind.__name__
        for kind in vars(qnn_ref.layers).values()
        if isinstance(kind, type) and issubclass(kind, Layer) and kind is not Layer
    }
    assert found == {name.split()[0] for name in MAKE}


# Gradients that are none of the last training forward's output


@pytest.mark.parametrize("batch", [1, 4, 6, 64])
def test_backward_refuses_another_batch_size_than_the_last_training_forward(layer, batch):
    words = rf"^dy: expected a batch of 5, as in the last training forward, got {batch}$"
    with pytest.raises(ValueError, match=words):
        layer.backward(gradient_of(layer, batch))
    layer.forward(inputs(layer, batch))  # inference between both changes nothing
    with pytest.raises(ValueError, match=words):
        layer.backward(gradient_of(layer, batch))
    layer.backward(gradient_of(layer))


def test_backward_refuses_a_gradient_of_another_shape_or_kind(layer):
    dy = gradient_of(layer)
    with pytest.raises(ValueError, match=r"dy: expected (shape \(batch, \d|a batch of 5)"):
        layer.backward(np.ascontiguousarray(dy.T))
    for wrong in (dy[0], dy[None], dy[:0], dy[..., :0], np.float32(1) * dy[..., None]):
        with pytest.raises(ValueError, match=r"^dy: expected"):
            layer.backward(wrong)
    for dtype in (np.float64, np.float16, np.int32, object, ">f4"):
        with pytest.raises(TypeError, match=r"^dy: expected dtype float32"):
            layer.backward(dy.astype(dtype))
    for wrong, kind in (
        (dy.tolist(), "list"),
        (np.ma.masked_array(dy), "numpy.MaskedArray"),
        (None, "NoneType"),
        (1.0, "float"),
    ):
        with pytest.raises(TypeError, match=f"^dy: expected a NumPy array, got {kind}"):
            layer.backward(wrong)


def test_a_layer_of_a_stranger_has_the_same_checks():
    class Twice(Layer):
        def forward(self, x, training=False):
            self.check_input(x)
            if training:
                self._saved = True
            return 2 * x

        def backward(self, dy):
            self.saved(dy)
            return 2 * dy

    layer = Twice().build((3,))
    layer.forward(np.ones((8, 3), np.float32), training=True)
    layer.forward(np.ones((2, 3), np.float32))
    layer.backward(np.ones((8, 3), np.float32))
    for batch in (1, 2, 64):
        with pytest.raises(ValueError, match=f"dy: expected a batch of 8, .* got {batch}"):
            layer.backward(np.ones((batch, 3), np.float32))


def test_the_gradient_of_a_heads_scores_has_their_shape():
    layer = built("Auxiliary")
    train(layer, inputs(layer))
    for wrong in (np.ones((4, 2), np.float32), np.ones((5, 3), np.float32)):
        with pytest.raises(ValueError, match=r"^dscores: expected shape \(5, 2\), .* got"):
            layer.receive(wrong)
    with pytest.raises(TypeError, match=r"^loss: expected a function, got NoneType"):
        layer.learn(None, np.zeros(5, int))


# The order of calls


def test_backward_twice_gives_the_same_gradients(layer):
    dy = gradient_of(layer)
    first = gradients(layer, dy)
    assert_same(gradients(layer, dy), first)


def test_inference_between_forward_and_backward_changes_nothing(layer):
    twin, dy = copy.deepcopy(layer), gradient_of(layer)
    expected = gradients(layer, dy)
    twin.forward(inputs(layer, 3, seed=7))
    assert_same(gradients(twin, dy), expected)


def test_arrays_in_another_order_in_memory_give_the_same_results(layer):
    x, dy = inputs(layer), gradient_of(layer)
    twin, inference = copy.deepcopy(layer), layer.forward(x)
    expected = [train(layer, x), *gradients(layer, dy)]
    across = np.zeros((*x.shape, 2), x.dtype)[..., 0]
    across[...] = x
    assert not across.flags.c_contiguous
    np.testing.assert_array_equal(twin.forward(across), inference)
    y = train(twin, across)
    for one, other in zip([y, *gradients(twin, np.asfortranarray(dy))], expected, strict=True):
        if other is not None:  # a product adds in the order of memory
            np.testing.assert_allclose(one, other, rtol=0, atol=1e-5 * np.abs(other).max())


def test_backward_needs_a_training_forward(layer):
    fresh = copy.deepcopy(layer)
    fresh.astype(np.float64)
    with pytest.raises(RuntimeError, match=r"backward: call forward\(x, training=True\) first"):
        fresh.backward(gradient_of(layer, dtype=np.float64))


# Inputs that are none


def test_forward_refuses_what_is_no_array_of_its_kind(layer):
    x = inputs(layer)
    shape = re.escape(written_shape("batch", *layer.input_shape))
    cases = [
        (x.tolist(), TypeError, "x: expected a NumPy array, got list"),
        (np.ma.masked_array(x), TypeError, "x: expected a NumPy array, got numpy.MaskedArray"),
        (x[0], ValueError, f"x: expected shape {shape}"),
        (x[None], ValueError, f"x: expected shape {shape}"),
        (x[:0], ValueError, "x: .* empty batch"),
    ]
    if x.ndim == 2:
        cases.append((x.view(np.matrix), TypeError, "x: expected a NumPy array, got numpy.matrix"))
    if layer.input_shape[-1] != ANY_STEPS:
        cases.append((x[..., 1:], ValueError, f"x: expected shape {shape}"))
    for dtype in (np.float64, np.int64, np.float16, object, ">f4", bool, complex):
        if isinstance(layer, Embedding) and dtype == np.int64:
            continue  # words are counted by integers of any kind
        cases.append((x.astype(dtype), TypeError, f"x: expected dtype {x.dtype}"))
    for wrong, error, words in cases:
        for training in (False, True):
            with pytest.raises(error, match="^" + words):
                layer.forward(wrong, training)


def test_a_refused_input_leaves_the_last_training_forward_as_it_was(layer):
    twin, dy = copy.deepcopy(layer), gradient_of(layer)
    for wrong in (inputs(layer)[None], inputs(layer, 3).astype(np.float64)):
        with pytest.raises((TypeError, ValueError)):
            layer.forward(wrong, training=True)
    assert_same(gradients(layer, dy), gradients(twin, dy))


# Infinite gradients behind a mask

MASKS = {
    "Quantize": lambda: Quantize(Sign()),
    "HardTanh": lambda: HardTanh(2.0),
    "Dropout": lambda: Dropout(0.5),
    "MaxPool2D": lambda: MaxPool2D(2),
}


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("name", MASKS)
def test_a_masked_gradient_is_zero_whatever_it_is(name, value):
    shape = (4, 4, 2) if name == "MaxPool2D" else (50,)
    layer = MASKS[name]().build(shape, np.random.default_rng(0))
    x = np.random.default_rng(1).normal(size=(6, *shape)).astype(np.float32) * 2
    y = layer.forward(x, training=True)
    passes = layer.backward(np.ones_like(y)) != 0
    assert passes.any()
    assert not passes.all()
    dx = layer.backward(np.full_like(y, value))
    assert not dx[~passes].any()
    np.testing.assert_array_equal(dx[passes], np.full(passes.sum(), value, np.float32))


def test_dropped_infinities_are_zero():
    layer = Dropout(0.5).build((50,), np.random.default_rng(0))
    y = layer.forward(np.full((2, 50), np.inf, np.float32), training=True)
    assert set(np.unique(y)) == {0, np.inf}


def test_quantized_weights_cannot_be_written_to():
    weight = Dense(2).build((3,), np.random.default_rng(0)).weight
    for view in (weight.latent, weight.codes, weight.quantized):
        with pytest.raises(ValueError, match="read-only"):
            view[0, 0] = 5
