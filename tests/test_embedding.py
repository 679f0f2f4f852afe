"""Embedding: rows of a table, and the gradient of a row as the sum over its places."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qnn_ref import Sequential
from qnn_ref.layers import Dense, Embedding
from qnn_ref.quantizers import LinearQuant, LogQuant, Sign, StochasticSign

QUANTIZERS = st.sampled_from([None, Sign(), LinearQuant(2, high=0.5), LogQuant(3)])


@given(st.integers(1, 9), st.integers(1, 4), QUANTIZERS, st.booleans(), st.integers(0, 2**32))
def test_it_is_the_product_of_one_hot_vectors_with_the_table(
    vocabulary, units, quantizer, fixed, seed
):
    rng = np.random.default_rng(seed)
    shape = (5,) if fixed else (-1,)
    layer = Embedding(vocabulary, units, quantizer).build(shape, rng, dtype=np.float64)
    x, dy = rng.integers(0, vocabulary, (3, 5)), rng.normal(size=(3, 5, units))
    one_hot = np.eye(vocabulary)[x]
    y = layer.forward(x, training=True)
    unit = layer.weight.scale
    np.testing.assert_allclose(y * unit, one_hot @ layer.weight.quantized, atol=1e-15)
    assert layer.backward(dy) is None
    expected = np.einsum("ntv,ntu->vu", one_hot, dy) / unit
    np.testing.assert_allclose(layer.weight.grad, expected, atol=1e-12)
    assert layer.output_shape(shape) == (*shape, units)


def test_codes_flow_out_of_a_quantized_table():
    layer = Embedding(5, 3).build((2,), np.random.default_rng(0))
    assert layer.output_encoding(None) == LinearQuant(4).encoding
    assert Embedding(5, 3, None).build((2,), np.random.default_rng(0)).output_encoding(None) is None
    y = layer.forward(np.array([[4, 0]]))
    assert y.dtype == np.float32
    np.testing.assert_array_equal(y[0], layer.weight.codes[[4, 0]])


def test_latent_rows_end_where_their_quantizer_ends():
    layer = Embedding(50, 30, LinearQuant(3, high=0.25)).build((2,), np.random.default_rng(0))
    assert layer.weight.bound == 0.25
    assert layer.weight.learning_rate_scale == 1
    assert 0.24 < np.abs(layer.weight.latent).max() <= 0.25


def test_a_drawn_table_is_drawn_anew_in_training_only():
    layer = Embedding(50, 30, StochasticSign()).build((2,), np.random.default_rng(0))
    x = np.arange(10).reshape(5, 2)
    assert not np.array_equal(layer.forward(x, True), layer.forward(x, True))
    np.testing.assert_array_equal(layer.forward(x), layer.forward(x))


@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.uint8, np.uint16, np.int8])
def test_words_are_integers_of_any_kind(dtype):
    layer = Embedding(5, 3).build((2,), np.random.default_rng(0))
    x = np.array([[4, 0]])
    np.testing.assert_array_equal(layer.forward(x.astype(dtype)), layer.forward(x))


@pytest.mark.parametrize(
    ("x", "error", "words"),
    [
        ([[0, 5]], ValueError, r"x: expected numbers from 0 to 4, got 5 at \[0, 1\]"),
        ([[0, 1], [-1, 0]], ValueError, r"x: expected numbers from 0 to 4, got -1 at \[1, 0\]"),
        ([[0.0, 1.0]], TypeError, "x: expected dtype int64 .*, got float64"),
        ([[True, False]], TypeError, "x: expected dtype int64 .*, got bool"),
        ([0, 1], ValueError, r"x: expected shape \(batch, 2\)"),
    ],
)
def test_what_is_no_word_is_refused(x, error, words):
    layer = Embedding(5, 3).build((2,), np.random.default_rng(0))
    for training in (False, True):
        with pytest.raises(error, match=r"^" + words):
            layer.forward(np.array(x), training)


def test_a_table_in_front_is_trained_and_has_no_gradient_below_it():
    rng = np.random.default_rng(0)
    network = Sequential([Embedding(5, 3), Dense(2)], (-1,), rng)
    y = network.forward(rng.integers(0, 5, (2, 4)), training=True)
    assert network.backward(np.ones_like(y)) is None
    assert network.layers[0].weight.grad.any()


def test_what_a_table_can_be_made_of():
    assert Embedding.differentiable is False
    assert (Embedding(2**31 - 1, 1).vocabulary, Embedding(1, 2**31 - 1).units) == (2**31 - 1,) * 2
    for arguments, words in (
        ((2**31, 1), "vocabulary: expected .* 1 to 2147483647"),
        ((0, 1), "vocabulary: "),
        ((1, 2**31), "units: expected .* 1 to 2147483647"),
        ((1, 1, "four bits"), "weight_quantizer: "),
    ):
        with pytest.raises((TypeError, ValueError), match="^" + words):
            Embedding(*arguments)

    class Typed(Sign):
        def encode(self, x, noise=None):
            raise TypeError("no weights of this")

    with pytest.raises(TypeError, match=r"^weight_quantizer: no weights of this"):
        Embedding(2, 3, Typed()).build((2,), np.random.default_rng(0))


def test_a_table_of_floats_starts_within_one_and_has_no_bound():
    weight = Embedding(40, 30, None).build((2,), np.random.default_rng(0)).weight
    assert 0.99 < np.abs(weight.latent).max() <= 1
    assert weight.bound == np.inf


def test_a_gradient_is_that_of_the_codes_value_whatever_the_scale():
    layer = Embedding(3, 2, LinearQuant(2, high=6.0)).build((2,), np.random.default_rng(0))
    assert layer.weight.scale == 2
    layer.forward(np.array([[0, 2], [2, 1]]), training=True)
    layer.backward(np.ones((2, 2, 2), np.float32))
    np.testing.assert_array_equal(layer.weight.grad, np.array([[1, 1], [1, 1], [2, 2]]) / 2)
