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
    HardTanh,
    MaxPool2D,
    Pixels,
    Quantize,
)
from qnn_ref.losses import softmax_cross_entropy, squared_hinge
from qnn_ref.network import Sequential
from qnn_ref.optimizers import Adam
from qnn_ref.quantizers import Encoding, LinearQuant
from qnn_ref.training import Run, train

SIGNS = Encoding(1.0, -1, 1, 2)


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (lambda: Conv2D(1, 1, weight_quantizer=None), (1, 1, 1)),
        (lambda: Dense(1, weight_quantizer=None), (1,)),
    ],
)
def test_gradients_of_the_paths_add(make, shape):
    two, three = make(), make()
    layer = Branches([two], [three]).build(shape, np.random.default_rng(0), dtype=np.float64)
    two.weight.assign(np.full(two.weight.shape, 2.0))
    three.weight.assign(np.full(three.weight.shape, 3.0))
    y = layer.forward(np.ones((1, *shape)), training=True)
    assert y.ravel().tolist() == [2, 3]
    dx = layer.backward(np.array([1.0, 10.0]).reshape(y.shape))
    assert dx.item() == 2 * 1 + 3 * 10
    assert (two.weight.grad.item(), three.weight.grad.item()) == (1, 10)


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


def test_the_order_of_the_paths_is_that_of_the_channels():
    x = np.arange(12.0).reshape(1, 2, 2, 3)
    layer = Branches([], [HardTanh()]).build((2, 2, 3), dtype=np.float64)
    y = layer.forward(x, training=True)
    np.testing.assert_array_equal(y[..., :3], x)
    np.testing.assert_array_equal(y[..., 3:], np.minimum(x, 1))
    dy = np.concatenate([np.full(x.shape, 2.0), np.full(x.shape, 5.0)], axis=-1)
    np.testing.assert_array_equal(layer.backward(dy), np.where(x <= 1, 7, 2))


def test_one_empty_path_passes_everything_on():
    x = np.random.default_rng(0).normal(size=(2, 3))
    layer = Branches([]).build((3,), dtype=np.float64)
    np.testing.assert_array_equal(layer.forward(x, training=True), x)
    np.testing.assert_array_equal(layer.backward(x), x)
    assert layer.output_encoding(SIGNS) == SIGNS


@pytest.mark.parametrize("training", [False, True])
def test_input_and_gradient_of_the_caller_stay_as_they_are(training):
    rng = np.random.default_rng(4)
    layer = Branches(*paths()).build((4, 5, 2), rng, dtype=np.float64)
    x = rng.normal(size=(3, 4, 5, 2))
    before = x.copy()
    y = layer.forward(x, training)
    y[...] = 0
    np.testing.assert_array_equal(x, before)
    if training:
        dy = rng.normal(size=y.shape)
        before = dy.copy()
        layer.backward(dy)[...] = 0
        np.testing.assert_array_equal(dy, before)


def test_nested_branches_are_checked_and_named():
    rng = np.random.default_rng(1)
    inner = Branches([Conv2D(2, 1), BatchNorm(), Quantize()], [])
    outer = Branches([inner], [Conv2D(2, 1), BatchNorm(), Quantize()])
    network = Sequential(
        [Pixels(), Conv2D(2, 1), BatchNorm(), Quantize(), outer, Flatten(), Dense(3), BatchNorm()],
        (3, 2, 1),
        rng,
    )
    assert [place for place, _ in network.walk()][4:13] == [
        "4.Branches",
        "4.0.Branches",
        "4.0.0.Conv2D",
        "4.0.1.BatchNorm",
        "4.0.2.Quantize",
        "4.1.Conv2D",
        "4.2.BatchNorm",
        "4.3.Quantize",
        "5.Flatten",
    ]
    inside = [name for name in network.parameters() if name.startswith("4.")]
    assert inside == [
        "4.0.0.Conv2D.weight",
        "4.0.1.BatchNorm.gain",
        "4.0.1.BatchNorm.shift",
        "4.1.Conv2D.weight",
        "4.2.BatchNorm.gain",
        "4.2.BatchNorm.shift",
    ]
    images = rng.integers(0, 256, (5, 3, 2, 1), dtype=np.uint8)
    check_gradients(network, images, rng=rng).raise_if_failed()


def inception(seed):
    """A small network with branches and an auxiliary classifier, both with running statistics."""
    paths = [Conv2D(2, 1), BatchNorm(), Quantize()], [Conv2D(3, padding=1), BatchNorm(), Quantize()]
    head = [Flatten(), Dense(3), BatchNorm()]
    layers = [Pixels(), Branches(*paths), Auxiliary(head), Flatten(), Dense(3), BatchNorm()]
    return Sequential(layers, (4, 3, 1), np.random.default_rng(seed))


def test_arrays_carry_branches_and_heads_over_to_another_network():
    images = np.random.default_rng(2).integers(0, 256, (6, 4, 3, 1), dtype=np.uint8)
    network, other = inception(0), inception(1)
    network.forward(images, training=True)  # running statistics move
    arrays = network.arrays()
    assert "1.1.BatchNorm.running_mean" in arrays
    assert "2.2.BatchNorm.running_inverse_deviation" in arrays
    assert (other.forward(images) != network.forward(images)).any()
    other.set_arrays(arrays)
    assert other.forward(images).tobytes() == network.forward(images).tobytes()
    for name, array in other.arrays().items():
        assert array.tobytes() == arrays[name].tobytes()


def test_the_float_type_changes_at_every_depth():
    rng = np.random.default_rng(3)
    images = rng.integers(0, 256, (6, 4, 3, 1), dtype=np.uint8)
    network = inception(0)
    wide = network.copy(np.float64)
    for twin, dtype in ((network, np.float32), (wide, np.float64)):
        scores = twin.forward(images, training=True)
        for head in twin.auxiliaries():
            assert head.scores.dtype == dtype
            head.receive(np.ones_like(head.scores))
        twin.backward(np.ones_like(scores))
        assert scores.dtype == dtype
        arrays = [*twin.arrays().values(), *(p.grad for p in twin.parameters().values())]
        assert {array.dtype for array in arrays} == {np.dtype(dtype)}
        assert all(layer.dtype == dtype for _, layer in twin.walk())


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        (lambda: Branches(), "paths: expected at least one"),
        (
            lambda: Branches([], [], [Conv2D(1, 3)], []).build((4, 4, 1), np.random.default_rng(0)),
            r"paths: expected outputs of the same height and width, but the input of path 1 gives "
            r"\(4, 4, 1\), Conv2D of path 2 gives \(2, 2, 1\)",
        ),
        (
            lambda: Branches([BatchNorm()], [Flatten()]).build((4, 4, 1)),
            r"BatchNorm of path 0 gives \(4, 4, 1\), Flatten of path 1 gives \(16,\)",
        ),
        (
            lambda: Branches([Conv2D(1, 1), Quantize()], [Conv2D(1, 1)]).build(
                (4, 4, 1), np.random.default_rng(0)
            ),
            "Quantize of path 0 gives .* Conv2D of path 1 gives None",
        ),
        (
            lambda: Branches([Quantize(LinearQuant(2))], [Quantize(LinearQuant(3))]).build((3,)),
            "Quantize of path 0 gives .* Quantize of path 1 gives .* one encoding",
        ),
        (
            lambda: Branches([], [Conv2D(1, 9)]).build((4, 4, 1), np.random.default_rng(0)),
            "path 1: layer 0 .Conv2D.: kernel: 9 x 9 does not fit",
        ),
    ],
)
def test_paths_that_do_not_fit_are_refused_by_name(layer, words):
    with pytest.raises(ValueError, match=words):
        layer()


@pytest.mark.parametrize(
    "make",
    [
        lambda shared: Branches([shared], [shared]),
        lambda shared: Branches([shared, shared]),
        lambda shared: Branches([Branches([shared])], [shared]),
        lambda shared: Branches([Auxiliary([shared])], [Branches([], [shared])]),
        lambda shared: Auxiliary([shared, HardTanh(), shared]),
        lambda shared: Auxiliary([Branches([shared]), shared]),
    ],
)
def test_one_layer_object_in_two_places_is_refused(make):
    with pytest.raises(ValueError, match=r"(paths|head).*: the same layer object stands twice"):
        make(Dense(3))


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


def test_dropout_in_one_path_takes_all_channels_off_their_grid():
    layer = Branches([Quantize(), Dropout(0.5)], [Quantize()], [Quantize()])
    layer.build((3,), np.random.default_rng(0))
    assert layer.output_encoding(None) == SIGNS
    assert layer.output_encoding(None, training=True) == SIGNS.off_grid()


def test_dropout_inside_a_path_draws_in_training_only_and_passes_the_check():
    rng = np.random.default_rng(5)
    layer = Branches([Dropout(0.5)], [Dense(2), Dropout(0.2)]).build((50,), rng, dtype=np.float64)
    x = rng.normal(size=(4, 50))
    state = rng.bit_generator.state
    np.testing.assert_array_equal(layer.forward(x)[:, :50], x)
    assert rng.bit_generator.state == state
    y = layer.forward(x, training=True)
    assert set(np.unique(y[:, :50] / x)) == {0, 2}
    dx = layer.backward(np.concatenate([np.ones((4, 50)), np.zeros((4, 2))], axis=1))
    np.testing.assert_array_equal(dx, y[:, :50] / x)
    check_gradients(layer, x, rng=rng).raise_if_failed()


def test_branches_refuse_what_every_layer_refuses():
    layer = Branches([], [HardTanh()]).build((3,))
    x = np.ones((2, 3), np.float32)
    layer.forward(x)
    with pytest.raises(RuntimeError, match=r"Branches\.backward: call forward"):
        layer.backward(np.ones((2, 6), np.float32))
    layer.forward(x, training=True)
    with pytest.raises(ValueError, match=r"dy: expected shape \(batch, 6\)"):
        layer.backward(x)
    with pytest.raises(TypeError, match="dy: expected dtype float32"):
        layer.backward(np.ones((2, 6)))
    with pytest.raises(ValueError, match=r"x: expected shape \(batch, 3\)"):
        layer.forward(np.ones((2, 4), np.float32))
    with pytest.raises(TypeError, match="x: expected dtype float32"):
        layer.forward(np.ones((2, 3)))


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
    assert layer.output_shape((3,)) == (3,)
    assert layer.output_encoding(SIGNS) == SIGNS
    assert layer.pointwise(x) is x


def test_the_head_knows_what_its_input_stands_for():
    layer = Auxiliary([Dense(2), BatchNorm()]).build((3,), np.random.default_rng(0), SIGNS)
    assert [inner.encoding for inner in layer.head] == [SIGNS, None]


def test_an_auxiliary_refuses_what_every_layer_refuses():
    layer = Auxiliary([Dense(2)]).build((3,), np.random.default_rng(0))
    x = np.ones((2, 3), np.float32)
    layer.forward(x)
    with pytest.raises(RuntimeError, match=r"Auxiliary\.backward: call forward"):
        layer.backward(x)
    layer.forward(x, training=True)
    layer.learn(squared_hinge, [0, 1])
    with pytest.raises(ValueError, match=r"dy: expected shape \(batch, 3\)"):
        layer.backward(np.ones((2, 2), np.float32))
    with pytest.raises(TypeError, match="dy: expected dtype float32"):
        layer.backward(np.ones((2, 3)))
    with pytest.raises(ValueError, match=r"x: expected shape \(batch, 3\)"):
        layer.forward(np.ones((2, 4), np.float32), training=True)


def test_inference_leaves_the_head_alone():
    rng = np.random.default_rng(6)
    layer = Auxiliary([Dense(2), BatchNorm(), Dropout(0.5)]).build((3,), rng)
    x = rng.normal(size=(4, 3)).astype(np.float32)
    mean, state = layer.head[1].running_mean, rng.bit_generator.state
    layer.forward(x)
    assert (mean == 0).all()
    assert rng.bit_generator.state == state
    layer.forward(x, training=True)
    assert (mean != 0).all()
    assert rng.bit_generator.state != state


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


@pytest.mark.parametrize("loss", [squared_hinge, softmax_cross_entropy])
def test_below_the_head_both_losses_gradients_add(loss):
    """Two networks of their own, one to each classifier, with the same weights."""
    rng = np.random.default_rng(7)
    network, head = two_losses(0.3, rng)
    trunk, norm, _, last = network.layers
    x, labels = rng.normal(size=(6, 4)), rng.integers(0, 3, 6)
    cost, dscores = loss(network.forward(x, training=True), labels)
    (auxiliary,) = network.auxiliaries()
    cost += auxiliary.learn(loss, labels)
    dx = network.backward(dscores)
    expected_cost, gradients = 0.0, []
    for classifier, weight in ((last, 1.0), (head, 0.3)):
        alone = Sequential([Dense(6), BatchNorm(), Dense(3)], (4,), rng, np.float64)
        for layer, source in zip(alone.layers, (trunk, norm, classifier), strict=True):
            for name, parameter in layer.parameters().items():
                parameter.assign(source.parameters()[name].latent)
        one, dscores = loss(alone.forward(x, training=True), labels)
        expected_cost += weight * one
        dx = dx - alone.backward(weight * dscores)
        gradients.append([p.grad for p in alone.parameters().values()])
        np.testing.assert_allclose(classifier.weight.grad, gradients[-1][-1], rtol=1e-12)
    assert cost == pytest.approx(expected_cost, rel=1e-13)
    np.testing.assert_allclose(dx, 0, atol=1e-14)
    found = [p.grad for layer in (trunk, norm) for p in layer.parameters().values()]
    for gradient, *both in zip(found, *(g[:-1] for g in gradients), strict=True):
        np.testing.assert_allclose(gradient, sum(both), rtol=1e-11, atol=1e-14)


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
    images = np.random.default_rng(3).integers(0, 256, (40, 4, 3, 1), dtype=np.uint8)
    labels = np.random.default_rng(4).integers(0, 3, 40)
    network = inception(0)
    before, twin = network.arrays(), network.copy()
    scores = twin.forward(images, training=True)
    main, (head,) = squared_hinge(scores, labels)[0], twin.auxiliaries()
    cost = main + head.weight * squared_hinge(head.scores, labels)[0]
    run = train(
        Run(network, Adam(1e-2), np.random.default_rng(5)),
        images,
        labels,
        (images, labels),
        loss=squared_hinge,
        epochs=1,
        batch_size=40,  # one step, so that the epoch's loss is that of the start
        schedule=lambda epoch: 1e-2,
    )
    assert run.history[0]["loss"] == pytest.approx(cost, rel=1e-5)
    assert cost > 1.2 * main
    for name, array in network.arrays().items():
        assert (array != before[name]).any(), name


def test_a_classifier_inside_a_path_is_found_and_checked():
    rng = np.random.default_rng(8)
    branches = Branches([Dense(3), Auxiliary([Dense(3)], 0.5)], [])
    network = Sequential([Dense(4), BatchNorm(), branches, Dense(3)], (5,), rng)
    assert len(network.auxiliaries()) == 1
    x, labels = rng.normal(size=(6, 5)), rng.integers(0, 3, 6)
    check_gradients(network, x, loss=squared_hinge, labels=labels, rng=rng).raise_if_failed()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: Auxiliary([]), "head: expected at least one layer"),
        (lambda: Auxiliary([Dense(1)], 0), "weight: expected a finite number above 0"),
        (lambda: Auxiliary([Dense(1)], np.nan), "weight: expected a finite number above 0"),
        (lambda: Branches(), "paths: expected at least one"),
        (lambda: Auxiliary([Dense(1)], np.inf), "weight: expected a finite number above 0"),
    ],
)
def test_bad_arguments_are_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()


@pytest.mark.parametrize("kind", ["paths", "head"])
def test_what_dropout_makes_of_codes_is_told_inside(kind):
    """Dropout in front of a layer, in the path or before all of them."""
    rng = np.random.default_rng(0)
    inner, first = Dense(3), Dense(2)
    row = [Dropout(0.5), inner]
    layer = Branches([first], row) if kind == "paths" else Auxiliary(row)
    layer.build((4,), rng, SIGNS)
    assert inner.encoding == layer.training_encoding == SIGNS
    assert not inner.training_encoding.on_grid
    if kind == "paths":
        assert first.training_encoding == SIGNS
    off = SIGNS.off_grid()
    layer.tell_training_encoding(off)
    assert layer.training_encoding == row[0].training_encoding == off
    if kind == "paths":
        assert first.training_encoding == off
    layer.tell_training_encoding(SIGNS)
    assert layer.training_encoding == row[0].training_encoding == SIGNS


def test_codes_stay_on_their_grid_where_nothing_is_dropped():
    layer = Branches([], []).build((2, 2, 3), None, SIGNS)
    for training in (False, True):
        assert layer.output_encoding(SIGNS, training) == SIGNS
        assert layer.output_encoding(None, training) is None


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("make", [lambda: Branches([], []), lambda: Auxiliary([Dense(2)])])
def test_an_input_is_looked_at_before_the_layers_inside(make, training):
    layer = make().build((3,), np.random.default_rng(0))
    for x, error in (
        (np.ones((2, 4), np.float32), ValueError),
        (np.ones((2, 3)), TypeError),
        (np.ones((0, 3), np.float32), ValueError),
    ):
        with pytest.raises(error, match=r"^x: expected"):
            layer.forward(x, training)


def test_a_head_weighs_3_tenths_and_takes_a_loss_and_its_gradient_only():
    assert Auxiliary([Dense(2)]).weight == 0.3
    layer = Auxiliary([Dense(2)]).build((3,), np.random.default_rng(0))
    layer.forward(np.ones((4, 3), np.float32), training=True)
    with pytest.raises(TypeError, match=r"^loss: expected a function, got str"):
        layer.learn("squared hinge", [0, 1, 0, 1])
    for wrong, error in (
        (np.ma.ones((4, 2), np.float32), TypeError),
        (np.ones((3, 2), np.float32), ValueError),
        (np.ones((4, 1), np.float32), ValueError),
    ):
        with pytest.raises(error, match=r"^dscores: expected"):
            layer.receive(wrong)
