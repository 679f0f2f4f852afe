"""Weights drawn by eq. (2): anew in each training forward, the same ones on the way back."""

import numpy as np
import pytest

from qnn_ref import Sequential, pack
from qnn_ref.checking import check_gradients
from qnn_ref.checking.freeze import FrozenWeights
from qnn_ref.checkpoints import load_checkpoint, save_checkpoint
from qnn_ref.layers import (
    BatchNorm,
    Branches,
    Conv2D,
    Dense,
    Flatten,
    Parameter,
    Pixels,
    Quantize,
)
from qnn_ref.losses import squared_hinge
from qnn_ref.optimizers import Adam
from qnn_ref.packed.packing import identical_scores
from qnn_ref.products import BITS, PLAIN
from qnn_ref.quantizers import DoReFaGradient, Encoding, LogQuant, Quantizer, Sign, StochasticSign
from qnn_ref.training import Run, train

SIGNS = Encoding(1.0, -1, 1, 2)


def drawing_network(seed=0, quantizer=None):
    quantizer = quantizer or StochasticSign()
    drawn = [Conv2D(3, 1, weight_quantizer=quantizer), BatchNorm(), Quantize()]
    inner = drawn, [Conv2D(2, 1), BatchNorm(), Quantize()]
    layers = [Pixels(), Conv2D(4, 3, padding=1, weight_quantizer=quantizer), BatchNorm()]
    layers += [Quantize(), Branches(*inner), Flatten()]
    layers += [Dense(6, quantizer), BatchNorm(), Quantize(), Dense(3, quantizer), BatchNorm()]
    return Sequential(layers, (4, 4, 1), np.random.default_rng(seed))


def data(n=24):
    rng = np.random.default_rng(5)
    images = rng.integers(0, 256, (n, 4, 4, 1), dtype=np.uint8)
    return images, rng.integers(0, 3, n)


def learn(network, images, labels):
    scores = network.forward(images, training=True)
    network.backward(squared_hinge(scores, labels)[1])
    return [scores, *(p.grad.copy() for p in network.parameters().values())]


# The draw


def test_drawn_weights_have_the_hard_tanh_of_the_latent_ones_as_mean():
    latent = np.array([-1, -0.9, -0.3, 0, 0.05, 0.6, 1], np.float32)
    rng, parameter = np.random.default_rng(0), Parameter(latent, StochasticSign())
    drawn = np.array([parameter.drawn(rng).codes for _ in range(20_000)])
    assert set(np.unique(drawn)) == {-1, 1}
    error = 4 * np.sqrt((1 - latent**2) / len(drawn))
    assert np.all(np.abs(drawn.mean(axis=0) - latent) <= error)
    np.testing.assert_array_equal(parameter.codes, [-1, -1, -1, 1, 1, 1, 1])


def test_a_weight_is_plus_one_where_the_drawn_number_is_below_its_probability():
    latent = np.random.default_rng(1).uniform(-1, 1, (30, 20)).astype(np.float32)
    drawn = Parameter(latent, StochasticSign()).drawn(np.random.default_rng(2))
    u = np.random.default_rng(2).random((30, 20))
    np.testing.assert_array_equal(drawn.codes, np.where(u < (latent + 1) / 2, 1, -1))
    assert drawn.codes.dtype == np.float32
    assert drawn.scale == 1


def test_powers_are_drawn_with_their_scale():
    latent = np.random.default_rng(1).uniform(-1, 1, 20_000)
    parameter = Parameter(latent, LogQuant(3, stochastic=True))
    drawn = parameter.drawn(np.random.default_rng(2))
    np.testing.assert_array_equal(drawn.quantized, drawn.codes * drawn.scale)
    assert set(np.unique(drawn.quantized)) == {-1, -0.5, -0.25, 0, 0.25, 0.5, 1}
    error = drawn.quantized - latent
    assert abs(error.mean()) < 4 * error.std() / np.sqrt(latent.size)


def test_nothing_is_drawn_without_a_stochastic_quantizer():
    rng = np.random.default_rng(0)
    state = rng.bit_generator.state
    for quantizer in (None, Sign(), LogQuant(3)):
        parameter = Parameter(np.zeros(3), quantizer)
        assert parameter.drawn(rng) is parameter
    assert rng.bit_generator.state == state


# In layers: what the products see

LAYERS = {
    "Dense": (lambda q: Dense(5, q, bias=True), (3,), None),
    "Dense of codes": (lambda q: Dense(5, q), (3,), SIGNS),
    "Dense of bits": (lambda q: Dense(600, q), (300,), SIGNS),
    "Dense of bits and reals": (lambda q: Dense(600, q), (300,), None),
    "Conv2D": (lambda q: Conv2D(2, 3, stride=2, padding=1, weight_quantizer=q), (5, 4, 3), SIGNS),
    "Conv2D of bits": (lambda q: Conv2D(64, 2, weight_quantizer=q), (3, 3, 64), SIGNS),
}


@pytest.mark.parametrize("products", [BITS, PLAIN], ids=["bits", "plain"])
@pytest.mark.parametrize("name", LAYERS)
def test_forward_and_backward_see_the_drawn_weights_and_inference_the_signs(name, products):
    """An ordinary layer whose weights are the drawn ones gives the same in all three."""
    make, shape, encoding = LAYERS[name]
    layer = make(StochasticSign()).build(shape, np.random.default_rng(0), encoding)
    layer.products = products
    x = np.random.default_rng(1).choice(np.array([-1, 1], np.float32), (4, *shape))
    signs = make(Sign()).build(shape, np.random.default_rng(0), encoding)
    np.testing.assert_array_equal(layer.forward(x), signs.forward(x))  # and fills the caches
    twin = make(Sign()).build(shape, np.random.default_rng(0), encoding)
    twin.products = products
    for _ in range(2):
        twin.weight.assign(layer.weight.drawn(np.random.default_rng(8)).codes)
        layer.rng = np.random.default_rng(8)
        y = layer.forward(x, training=True)
        np.testing.assert_array_equal(y, twin.forward(x, training=True))
        assert np.any(y != signs.forward(x))
        dy = np.random.default_rng(2).normal(size=y.shape).astype(np.float32)
        layer.forward(x)  # inference in between
        np.testing.assert_array_equal(layer.backward(dy), twin.backward(dy))
        np.testing.assert_array_equal(layer.weight.grad, twin.weight.grad)
        np.testing.assert_array_equal(layer.forward(x), signs.forward(x))


def test_each_training_forward_draws_anew():
    layer = Dense(8, StochasticSign()).build((20,), np.random.default_rng(0), SIGNS)
    x = np.ones((1, 20), np.float32)
    assert len({tuple(layer.forward(x, training=True)[0]) for _ in range(5)}) == 5
    assert len({tuple(layer.forward(x)[0]) for _ in range(5)}) == 1


def test_weights_of_a_layer_that_is_built_again_are_not_the_drawn_ones():
    layer = Dense(3, StochasticSign()).build((4,), np.random.default_rng(0))
    layer.forward(np.ones((1, 4), np.float32), training=True)
    layer.build((5,), np.random.default_rng(0))
    assert layer.used_weight is layer.weight


# In networks


def test_the_same_seed_draws_the_same_weights():
    images, labels = data()
    first, again, other = (learn(drawing_network(seed), images, labels) for seed in (0, 0, 1))
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a, b)
    assert np.any(first[0] != other[0])


def test_inference_draws_nothing_and_packing_takes_the_signs():
    network, (images, labels) = drawing_network(), data()
    learn(network, images, labels)
    state = network.rng.bit_generator.state
    scores = network.scores(images)
    np.testing.assert_array_equal(network.scores(images), scores)
    assert identical_scores(network, pack(network), images) == len(images)
    assert network.rng.bit_generator.state == state
    twin = drawing_network(quantizer=Sign())
    twin.set_arrays(network.arrays())
    np.testing.assert_array_equal(twin.scores(images), scores)


def test_a_copy_draws_the_same_weights_from_a_generator_of_its_own():
    network, (images, labels) = drawing_network(), data()
    learn(network, images, labels)
    twin = network.copy()
    for a, b in zip(learn(twin, images, labels), learn(network, images, labels), strict=True):
        np.testing.assert_array_equal(a, b)


def test_training_with_drawn_weights_resumes_exactly(tmp_path):
    images, labels = data()

    def fit(run, epochs):
        return train(
            run,
            images,
            labels,
            (images, labels),
            loss=squared_hinge,
            epochs=epochs,
            batch_size=8,
            schedule=lambda epoch: 0.01,
        )

    def fresh(seed):
        return Run(drawing_network(seed), Adam(), np.random.default_rng(seed))

    whole = fit(fresh(0), 4)
    save_checkpoint(tmp_path / "run", fit(fresh(0), 2))
    resumed = fresh(0)
    load_checkpoint(tmp_path / "run", resumed)
    fit(resumed, 4)
    for name, array in whole.network.arrays().items():
        np.testing.assert_array_equal(resumed.network.arrays()[name], array)


@pytest.mark.parametrize("quantizer", [StochasticSign(), LogQuant(3, stochastic=True)], ids=repr)
def test_the_gradient_checker_freezes_the_drawn_weights(quantizer):
    network, (images, labels) = drawing_network(quantizer=quantizer), data(6)
    network.forward(images)  # fills the caches with the signs
    state = network.rng.bit_generator.state
    report = check_gradients(
        network, images, labels=labels, loss=squared_hinge, rng=np.random.default_rng(0)
    )
    assert report, str(report)
    assert network.rng.bit_generator.state == state


def test_frozen_weights_are_the_drawn_ones_and_stay():
    parameter = Parameter(np.random.default_rng(1).uniform(-1, 1, 50), StochasticSign())
    frozen = FrozenWeights(parameter.quantizer, parameter, np.random.default_rng(2))
    drawn = parameter.drawn(np.random.default_rng(2)).codes
    assert np.any(drawn != parameter.codes)
    np.testing.assert_array_equal(frozen.encode(parameter.latent)[0], drawn)
    parameter.quantizer = frozen
    assert parameter.drawn(np.random.default_rng(3)) is parameter
    np.testing.assert_array_equal(parameter.codes, drawn)  # not those that were cached before


# Quantizers that make no weights


class Shapeless(Quantizer):
    def encode(self, x, noise=None):
        raise TypeError("Shapeless needs more than one number")


@pytest.mark.parametrize("quantizer", [DoReFaGradient(4), Quantizer(), Shapeless()])
def test_a_quantizer_that_makes_no_weights_is_refused_when_the_layer_is_built(quantizer):
    name = type(quantizer).__name__
    for layer, shape in (
        (Dense(3, quantizer), (4,)),
        (Conv2D(3, 2, weight_quantizer=quantizer), (4, 4, 1)),
    ):
        with pytest.raises(TypeError, match=f"^layer 0 .*: weight_quantizer: {name} "):
            Sequential([layer], shape, np.random.default_rng(0))
        with pytest.raises(TypeError, match=f"^layer 1 .*: weight_quantizer: {name} "):
            Sequential([Pixels(), layer], shape, np.random.default_rng(0))
