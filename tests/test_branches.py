"""Branches join channels and add gradients; auxiliary classifiers bring a loss of their own."""

import numpy as np
import pytest

from qnn_ref.checking import check_gradients
from qnn_ref.layers import (
    Auxiliary,
    AveragePool2D,
    BatchNorm,
    Branches,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    MaxPool2D,
    Pixels,
    Quantize,
)
from qnn_ref.losses import squared_hinge
from qnn_ref.network import Sequential
from qnn_ref.optimizers import Adam
from qnn_ref.training import Run, train


def float_conv(weight):
    """A 1x1 convolution of one channel that multiplies by this number."""
    layer = Conv2D(1, 1, weight_quantizer=None)
    return layer, weight


def test_gradients_of_the_paths_add():
    pairs = [float_conv(2.0), float_conv(3.0)]
    layer = Branches(*([conv] for conv, _ in pairs))
    layer.build((1, 1, 1), np.random.default_rng(0), dtype=np.float64)
    for conv, weight in pairs:
        conv.weight.assign(np.full((1, 1, 1, 1), weight))
    y = layer.forward(np.ones((1, 1, 1, 1)), training=True)
    assert y.ravel().tolist() == [2, 3]
    dx = layer.backward(np.array([1.0, 10.0]).reshape(1, 1, 1, 2))
    assert dx.item() == 2 * 1 + 3 * 10


def paths():
    return (
        [Conv2D(3, 1), BatchNorm()],
        [Conv2D(2, 3, padding=1), BatchNorm()],
        [MaxPool2D(3, 1, 1)],
        [],
    )


def test_outputs_are_joined_in_order_and_gradients_split_the_same_way():
    rng = np.random.default_rng(0)
    layer = Branches(*paths()).build((4, 5, 2), rng, dtype=np.float64)
    x = rng.normal(size=(3, 4, 5, 2))
    y = layer.forward(x, training=True)
    assert y.shape[1:] == layer.output_shape((4, 5, 2)) == (4, 5, 3 + 2 + 2 + 2)
    alone = []
    for path in layer.paths:
        z = x
        for inner in path:
            z = inner.forward(z, training=True)
        alone.append(z)
    assert (y == np.concatenate(alone, axis=-1)).all()
    dy = rng.normal(size=y.shape)
    dx = layer.backward(dy)
    total, start = np.zeros_like(x), 0
    for path, z in zip(layer.paths, alone, strict=True):
        gradient = np.ascontiguousarray(dy[..., start : start + z.shape[-1]])
        start += z.shape[-1]
        for inner in reversed(path):
            gradient = inner.backward(gradient)
        total += gradient
    np.testing.assert_allclose(dx, total, rtol=1e-13)


def test_nested_branches_are_checked_and_named():
    rng = np.random.default_rng(1)
    inner = Branches([Conv2D(2, 1), BatchNorm(), Quantize()], [])
    outer = Branches([inner], [Conv2D(2, 1), BatchNorm(), Quantize()])
    network = Sequential(
        [Pixels(), Conv2D(2, 1), BatchNorm(), Quantize(), outer, Flatten(), Dense(3), BatchNorm()],
        (3, 2, 1),
        rng,
    )
    assert "4.Branches.0.0.Conv2D" not in network.parameters()
    assert any(name.startswith("4.0.0.Conv2D") for name in network.parameters())
    images = rng.integers(0, 256, (5, 3, 2, 1), dtype=np.uint8)
    check_gradients(network, images, rng=rng).raise_if_failed()
    arrays = network.arrays()
    twin = network.copy()
    twin.set_arrays({name: array * 0.5 for name, array in arrays.items()})
    twin.set_arrays(arrays)
    assert (twin.forward(images) == network.forward(images)).all()
    assert twin.copy(np.float64).forward(images).dtype == np.float64


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        (lambda: Branches(), "paths: expected at least one"),
        (
            lambda: (
                Branches([Conv2D(1, 3)], [])
                .build((4, 4, 1), np.random.default_rng(0))
                .output_shape((4, 4, 1))
            ),
            "paths: expected outputs of the same height and width",
        ),
        (
            lambda: Branches([Conv2D(1, 1), Quantize()], [Conv2D(1, 1)]).build(
                (4, 4, 1), np.random.default_rng(0)
            ),
            "Quantize of path 0 gives .* Conv2D of path 1 gives None",
        ),
        (
            lambda: Branches([], [Conv2D(1, 9)]).build((4, 4, 1), np.random.default_rng(0)),
            "path 1: Conv2D: kernel: 9 x 9 does not fit",
        ),
    ],
)
def test_paths_that_do_not_fit_are_refused_by_name(layer, words):
    with pytest.raises(ValueError, match=words):
        layer()


def test_one_layer_object_in_two_paths_is_refused():
    shared = Conv2D(1, 1)
    with pytest.raises(ValueError, match="stands twice"):
        Branches([shared], [shared])


def test_average_pools_of_signs_join_only_what_has_their_encoding():
    first = [Conv2D(2, 1), BatchNorm(), Quantize()]
    with pytest.raises(ValueError, match="AveragePool2D of path 1"):
        Sequential(
            [*first, Branches([], [AveragePool2D(3, 1, 1)])], (4, 4, 1), np.random.default_rng(0)
        )


def test_dropout_takes_the_joined_codes_off_their_grid_in_training_only():
    rng = np.random.default_rng(0)
    layer = Branches([Quantize(), Dropout(0.5)]).build((2, 2, 1), rng)
    assert layer.output_encoding(None).on_grid
    assert not layer.output_encoding(None, training=True).on_grid


# Auxiliary


def two_losses(weight, rng):
    head = [Dense(3)]
    layers = [Dense(6), BatchNorm(), Auxiliary(head, weight), Dense(3)]
    return Sequential(layers, (4,), rng, np.float64), head[0]


def test_an_auxiliary_passes_its_input_on():
    rng = np.random.default_rng(0)
    layer = Auxiliary([Dense(2)]).build((3,), rng)
    x = rng.normal(size=(2, 3)).astype(np.float32)
    assert layer.forward(x) is x
    with pytest.raises(RuntimeError, match="call forward"):
        _ = layer.scores
    assert layer.forward(x, training=True) is x
    assert layer.scores.shape == (2, 2)


def test_the_heads_gradient_is_added_with_its_weight():
    rng = np.random.default_rng(1)
    layer = Auxiliary([Dense(3)], weight=0.3).build((4,), rng, dtype=np.float64)
    x, labels = rng.normal(size=(5, 4)), rng.integers(0, 3, 5)
    layer.forward(x, training=True)
    cost, dscores = squared_hinge(layer.scores, labels)
    assert layer.learn(squared_hinge, labels) == pytest.approx(0.3 * cost)
    dy = rng.normal(size=x.shape)
    w = layer.head[0].weight.quantized
    np.testing.assert_allclose(layer.backward(dy), dy + 0.3 * dscores @ w.T, rtol=1e-13)
    np.testing.assert_allclose(layer.head[0].weight.grad, 0.3 * x.T @ dscores, rtol=1e-13)


def test_backward_without_a_loss_of_the_head_is_refused():
    rng = np.random.default_rng(0)
    layer = Auxiliary([Dense(2)]).build((3,), rng, dtype=np.float64)
    for _ in range(2):  # a gradient of an earlier step does not count
        layer.forward(np.ones((1, 3)), training=True)
        with pytest.raises(RuntimeError, match="call learn"):
            layer.backward(np.ones((1, 3)))
        layer.forward(np.ones((1, 3)), training=True)
        layer.learn(squared_hinge, [0])


@pytest.mark.parametrize("weight", [0.3, 1.0])
def test_both_losses_together_pass_the_check(weight):
    rng = np.random.default_rng(2)
    network, _ = two_losses(weight, rng)
    x, labels = rng.normal(size=(6, 4)), rng.integers(0, 3, 6)
    check_gradients(network, x, loss=squared_hinge, labels=labels, rng=rng).raise_if_failed()
    check_gradients(network, x, rng=rng, mode="full").raise_if_failed()


def test_training_takes_the_loss_of_the_head_too():
    rng = np.random.default_rng(3)
    head = Dense(3)
    layers = [Pixels(), Flatten(), Auxiliary([head], 0.5), Dense(3), BatchNorm()]
    network = Sequential(layers, (2, 2, 1), rng)
    before = head.weight.latent.copy()
    images = rng.integers(0, 256, (40, 2, 2, 1), dtype=np.uint8)
    labels = rng.integers(0, 3, 40)
    run = train(
        Run(network, Adam(1e-2), rng),
        images,
        labels,
        (images, labels),
        loss=squared_hinge,
        epochs=1,
        batch_size=40,
        schedule=lambda epoch: 1e-2,
    )
    assert (head.weight.latent != before).any()
    twin = Sequential(
        [Pixels(), Flatten(), Dense(3), BatchNorm()], (2, 2, 1), np.random.default_rng(0)
    )
    assert len(twin.auxiliaries()) == 0
    assert len(network.auxiliaries()) == 1
    assert run.history[0]["loss"] > 0


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: Auxiliary([]), "head: expected at least one layer"),
        (lambda: Auxiliary([Dense(1)], 0), "weight: expected a finite number above 0"),
        (lambda: Auxiliary([Dense(1)], np.inf), "weight: expected a finite number above 0"),
    ],
)
def test_bad_arguments_are_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()
