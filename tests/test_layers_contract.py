"""What every layer refuses, whatever it computes: wrong arrays, forwards and backwards."""

from __future__ import annotations

import numpy as np
import pytest

from qnn_ref.layers import (
    BatchNorm,
    Dense,
    Dropout,
    Flatten,
    HardTanh,
    Quantize,
    ShiftBatchNorm,
)

LAYERS = {
    "Dense": lambda: Dense(4),
    "BatchNorm": BatchNorm,
    "ShiftBatchNorm": ShiftBatchNorm,
    "Quantize": Quantize,
    "HardTanh": HardTanh,
    "Dropout": lambda: Dropout(0.5),
    "Flatten": Flatten,
}


@pytest.fixture(params=LAYERS)
def layer(request):
    """A built layer after a training forward of five examples."""
    made = LAYERS[request.param]().build((3,), np.random.default_rng(0))
    made.forward(np.ones((5, 3), np.float32), training=True)
    return made


def gradient_of(layer, dtype=np.float32):
    return np.ones((5, *layer.output_shape((3,))), dtype)


def test_backward_refuses_a_gradient_of_another_shape_or_dtype(layer):
    layer.backward(gradient_of(layer))
    with pytest.raises(ValueError, match=r"dy: expected shape \(batch, \d\), got"):
        layer.backward(gradient_of(layer).T)
    with pytest.raises(ValueError, match="dy: expected shape"):
        layer.backward(gradient_of(layer)[0])
    with pytest.raises(TypeError, match="dy: expected dtype float32"):
        layer.backward(gradient_of(layer, np.float64))


def test_forward_refuses_what_is_no_array_of_its_kind(layer):
    for x, error, words in (
        ([[1.0, 2.0, 3.0]], TypeError, "x: expected a NumPy array, got list"),
        (np.ones((5, 4), np.float32), ValueError, r"x: expected shape \(batch, 3\)"),
        (np.ones(3, np.float32), ValueError, r"x: expected shape \(batch, 3\)"),
        (np.ones((0, 3), np.float32), ValueError, "empty batch"),
        (np.ones((5, 3)), TypeError, "x: expected dtype float32"),
    ):
        with pytest.raises(error, match=words):
            layer.forward(x)


def test_quantized_weights_cannot_be_written_to():
    weight = Dense(2).build((3,), np.random.default_rng(0)).weight
    for view in (weight.latent, weight.codes, weight.quantized):
        with pytest.raises(ValueError, match="read-only"):
            view[0, 0] = 5
