"""Sequential: order, names, copies, errors with the layer's place, and one gradient end to end."""

import copy
import gc
import math
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import qnn_ref
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
    Layer,
    MaxPool2D,
    Pixels,
    Quantize,
)
from qnn_ref.losses import softmax_cross_entropy, squared_hinge
from qnn_ref.network import Sequential, first_not_finite
from qnn_ref.optimizers import SGD
from qnn_ref.products import PLAIN, BitProducts
from qnn_ref.quantizers import Encoding, LinearQuant, LogQuant, Sign, StochasticSign
from tests.numeric import central_differences, worst_error

SEEDS = st.integers(0, 2**32)


def binary_network(seed=0, dtype=np.float32, quantizer=None, dropout=False):
    layers = [Pixels(), Flatten(), Dense(7), BatchNorm(), Quantize(quantizer or Sign())]
    layers += [Dropout(0.5)] * dropout + [Dense(3), BatchNorm()]
    return Sequential(layers, (2, 2, 1), np.random.default_rng(seed), dtype)


def float_network(seed=0, dtype=np.float64):
    layers = [Dense(6, None), BatchNorm(), HardTanh(), Dense(4, None, bias=True)]
    return Sequential(layers, (5,), np.random.default_rng(seed), dtype)


def images(n, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, 2, 2, 1), dtype=np.uint8)


def shake(network, seed):
    """Give every trained array and running statistic a random value."""
    rng = np.random.default_rng(seed)
    arrays = {
        name: rng.uniform(0.2, 1, a.shape).astype(a.dtype) * rng.choice([-1, 1], a.shape)
        for name, a in network.arrays().items()
    }
    network.set_arrays({name: a.astype(network.arrays()[name].dtype) for name, a in arrays.items()})


# Forward and shapes


def test_forward_runs_the_layers_one_after_the_other():
    network = binary_network()
    x = images(5)
    y = x
    for layer in network.layers:
        y = layer.forward(y)
    np.testing.assert_array_equal(network.forward(x), y)
    assert network.input_shape == (2, 2, 1)
    assert network.output_shape == (3,)
    assert y.shape == (5, 3)
    assert y.dtype == np.float32
    assert qnn_ref.Sequential is Sequential


def test_shapes_and_encodings_travel_while_the_network_is_built():
    network = binary_network()
    assert [layer.input_shape for layer in network.layers] == [
        (2, 2, 1),
        (2, 2, 1),
        (4,),
        (7,),
        (7,),
        (7,),
        (3,),
    ]
    pixels = Encoding(1 / 255, -255, 255, 2)
    signs = Encoding(1.0, -1, 1, 2)
    encodings = [layer.encoding for layer in network.layers]
    assert encodings == [None, pixels, pixels, None, None, signs, None]
    kept = binary_network(dropout=True)
    assert kept.layers[6].encoding == signs  # dropout passes codes on in inference


def test_pixels_reach_the_first_product_in_units_of_their_range():
    network = Sequential([Pixels(), Dense(2)], (3,), np.random.default_rng(0), np.float64)
    x = np.array([[0, 128, 255]], np.uint8)
    expected = (x / 127.5 - 1) @ network.layers[1].weight.quantized
    np.testing.assert_allclose(network.forward(x), expected, atol=1e-14)


def test_training_flag_reaches_every_layer():
    network = binary_network(dropout=True)
    x = images(6)
    first = network.forward(x, training=True)
    assert np.any(first != network.forward(x, training=True))
    for layer in network.layers[1:]:
        layer.saved()
    assert np.any(network.buffers()["3.BatchNorm.running_mean"] != 0)


@pytest.mark.parametrize("dropout", [False, True])
def test_inference_is_deterministic_and_draws_nothing(dropout):
    network = binary_network(quantizer=StochasticSign(), dropout=dropout)
    twin = binary_network(quantizer=Sign())
    x = images(20)
    network.forward(x, training=True)
    renamed = zip(network.arrays().values(), twin.arrays(), strict=True)
    twin.set_arrays({name: a for a, name in renamed})
    before, state = network.arrays(), network.rng.bit_generator.state
    first, second = network.forward(x), network.forward(x)
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(first, twin.forward(x))  # the deterministic sign
    assert network.rng.bit_generator.state == state
    for name, array in network.arrays().items():
        np.testing.assert_array_equal(array, before[name])


# Backward


@pytest.mark.parametrize("loss", [squared_hinge, softmax_cross_entropy])
@given(seed=SEEDS)
@settings(max_examples=10)
def test_backward_is_the_gradient_of_a_float_network(loss, seed):
    network = float_network(seed)
    shake(network, seed)
    rng = np.random.default_rng(seed)
    x, labels = rng.normal(size=(8, 5)), rng.integers(0, 4, 8)
    scores = network.forward(x, training=True)
    hidden = network.layers[2].saved()
    if np.min(np.abs(np.abs(hidden) - 1)) < 1e-3:
        return  # a kink within the step of the central differences
    dx = network.backward(loss(scores, labels)[1])
    gradients = {name: p.grad.copy() for name, p in network.parameters().items()}

    def cost(x):
        return loss(network.forward(x, training=True), labels)[0]

    assert worst_error(central_differences(cost, x), dx) < 1e-6
    for name, p in network.parameters().items():
        value = p.latent.copy()

        def cost_of(v, p=p):
            p.assign(v)
            return cost(x)

        numeric = central_differences(cost_of, value)
        p.assign(value)
        assert worst_error(numeric, gradients[name]) < 1e-6, name


def test_backward_of_pixels_stops_at_the_lowest_parameters():
    network = binary_network()
    scores = network.forward(images(4), training=True)
    assert network.backward(np.ones_like(scores)) is None
    assert all(p.grad is not None for p in network.parameters().values())
    assert not network.layers[2].needs_input_gradient
    assert all(layer.needs_input_gradient for layer in network.layers[3:])


def test_the_gradient_of_the_lowest_weights_does_not_depend_on_the_shortcut():
    network = binary_network(dtype=np.float64)
    x = images(6)
    scores = network.forward(x, training=True)
    network.backward(scores)
    short = {name: p.grad.copy() for name, p in network.parameters().items()}
    gradient = scores
    network.layers[2].needs_input_gradient = True
    for layer in reversed(network.layers):
        gradient = layer.backward(gradient)
    assert gradient is None
    for name, p in network.parameters().items():
        np.testing.assert_array_equal(p.grad, short[name])


def test_integers_have_no_gradient_whatever_comes_first():
    network = Sequential([Pixels(), BatchNorm(), Dense(2)], (3,), np.random.default_rng(0))
    x = np.random.default_rng(1).integers(0, 256, (4, 3), dtype=np.uint8)
    scores = network.forward(x, training=True)
    assert network.backward(np.ones_like(scores)) is None
    assert network.parameters()["1.BatchNorm.gain"].grad is not None


def test_a_layer_built_into_another_network_gets_its_input_gradient_back():
    dense = Dense(2)
    Sequential([Pixels(), dense], (3,), np.random.default_rng(0))
    assert not dense.needs_input_gradient
    network = Sequential([BatchNorm(), dense], (3,), np.random.default_rng(0))
    x = np.random.default_rng(1).normal(size=(4, 3)).astype(np.float32)
    scores = network.forward(x, training=True)
    assert network.backward(np.ones_like(scores)).shape == (4, 3)


# Names and arrays


class Pair(Layer):
    """Two dense layers inside a layer."""

    def __init__(self):
        self.inner = [Dense(2), Dense(3)]

    def build(self, input_shape, rng=None, encoding=None, dtype=np.float32):
        super().build(input_shape, rng, encoding, dtype)
        for layer in self.inner:
            layer.build(input_shape, rng, encoding, dtype)
        return self

    def sublayers(self):
        return self.inner


def test_names_give_place_and_kind_also_inside_layers():
    network = Sequential([BatchNorm(), Pair(), Dense(2, bias=True)], (4,), np.random.default_rng(0))
    assert [place for place, _ in network.walk()] == [
        "0.BatchNorm",
        "1.Pair",
        "1.0.Dense",
        "1.1.Dense",
        "2.Dense",
    ]
    assert list(network.parameters()) == [
        "0.BatchNorm.gain",
        "0.BatchNorm.shift",
        "1.0.Dense.weight",
        "1.1.Dense.weight",
        "2.Dense.weight",
        "2.Dense.bias",
    ]
    assert list(network.buffers()) == [
        "0.BatchNorm.running_mean",
        "0.BatchNorm.running_inverse_deviation",
    ]
    assert network.parameters()["1.1.Dense.weight"] is network.layers[1].inner[1].weight


def test_arrays_are_copies_of_latent_values_and_statistics():
    network = binary_network()
    arrays = network.arrays()
    assert set(arrays) == set(network.parameters()) | set(network.buffers())
    np.testing.assert_array_equal(arrays["2.Dense.weight"], network.layers[2].weight.latent)
    assert np.unique(arrays["2.Dense.weight"]).size > 2  # latent, not +-1
    for array in arrays.values():
        array[...] = 9
    assert all(np.all(a != 9) for a in network.arrays().values())


def test_arrays_put_back_give_the_same_network():
    network, other = binary_network(0), binary_network(1)
    shake(network, 2)
    x = images(30)
    assert np.any(other.forward(x) != network.forward(x))
    other.set_arrays(network.arrays())
    np.testing.assert_array_equal(other.forward(x), network.forward(x))
    # The trained +-1 weights follow the latent ones.
    np.testing.assert_array_equal(
        other.parameters()["2.Dense.weight"].quantized,
        np.where(network.arrays()["2.Dense.weight"] >= 0, 1, -1),
    )


def test_arrays_are_copied_in_not_kept():
    network = binary_network()
    arrays = network.arrays()
    network.set_arrays(arrays)
    before = network.arrays()
    for array in arrays.values():
        array[...] = 5
    for name, array in network.arrays().items():
        np.testing.assert_array_equal(array, before[name])


def without(arrays, name):
    return {n: a for n, a in arrays.items() if n != name}


WRONG_ARRAYS = [
    (lambda a: without(a, "2.Dense.weight"), ["arrays:", "2.Dense.weight"]),
    (lambda a: without(a, "3.BatchNorm.running_mean"), ["arrays:", "3.BatchNorm.running_mean"]),
    (lambda a: a | {"9.Dense.weight": np.zeros(2)}, ["arrays:", "9.Dense.weight"]),
    (lambda a: {}, ["arrays:"]),
    (lambda a: a | {3: np.zeros(2)}, ["arrays:", "3"]),
    (
        lambda a: a | {"6.BatchNorm.gain": np.zeros(4, np.float32)},
        ["arrays['6.BatchNorm.gain']:", "(3,)", "(4,)"],
    ),
    (
        lambda a: a | {"6.BatchNorm.running_mean": np.zeros(3)},
        ["arrays['6.BatchNorm.running_mean']:", "float32", "float64"],
    ),
]


@pytest.mark.parametrize("spoil, words", WRONG_ARRAYS)
def test_wrong_arrays_are_refused_before_anything_changes(spoil, words):
    network = binary_network()
    before = network.arrays()
    other = binary_network(1)
    shake(other, 3)
    with pytest.raises(ValueError, match="arrays") as caught:
        network.set_arrays(spoil(other.arrays()))
    for word in words:
        assert word in str(caught.value)
    for name, array in network.arrays().items():
        np.testing.assert_array_equal(array, before[name])


# Copies


def test_a_copy_shares_nothing_and_continues_the_same_random_numbers():
    network = binary_network(quantizer=StochasticSign(), dropout=True)
    twin = network.copy()
    state = network.rng.bit_generator.state
    x = images(9)
    first = twin.forward(x, training=True)
    shake(twin, 4)
    assert network.rng.bit_generator.state == state
    fresh = binary_network(quantizer=StochasticSign(), dropout=True).arrays()
    for name, array in network.arrays().items():
        np.testing.assert_array_equal(array, fresh[name])
    np.testing.assert_array_equal(network.forward(x, training=True), first)
    # Layers of a copy draw from the copy's own generator, which a checkpoint restores.
    assert all(layer.rng is twin.rng for layer in twin.layers)
    assert twin.rng is not network.rng


def test_a_copy_in_float64_has_the_same_values_and_computes_in_float64():
    network = binary_network(dropout=True)
    shake(network, 5)
    twin = network.copy(np.float64)
    x = images(8)
    assert network.forward(x).dtype == np.float32
    assert twin.forward(x).dtype == np.float64
    for name, array in twin.arrays().items():
        assert array.dtype == np.float64
        np.testing.assert_array_equal(array, network.arrays()[name].astype(np.float64))
    np.testing.assert_allclose(twin.forward(x), network.forward(x), rtol=1e-4, atol=1e-4)
    scores = twin.forward(x, training=True)
    twin.backward(scores)
    assert all(p.grad.dtype == np.float64 for p in twin.parameters().values())
    assert all(a.dtype == np.float32 for a in network.arrays().values())


def test_the_same_seed_gives_the_same_network():
    a, b, c = binary_network(7), binary_network(7), binary_network(8)
    for name, array in a.arrays().items():
        np.testing.assert_array_equal(array, b.arrays()[name])
    assert any(np.any(array != c.arrays()[name]) for name, array in a.arrays().items())


# Scores and classes


def test_an_evaluation_takes_as_many_images_as_fit(monkeypatch):
    """The largest layer decides, the input too; the caller may ask for fewer, never for more."""
    network = binary_network()
    sizes = [math.prod(network.input_shape)]
    shape = network.input_shape
    for layer in network.layers:
        shape = layer.output_shape(shape)
        sizes.append(math.prod(shape))
    x, seen = images(10), []
    expected, forward = network.forward(x), network.forward
    monkeypatch.setattr(network, "forward", lambda x: seen.append(len(x)) or forward(x))
    for numbers, asked, batches in (
        (4 * max(sizes) - 1, 1000, [3, 3, 3, 1]),
        (4 * max(sizes), 1000, [4, 4, 2]),
        (4 * max(sizes), 3, [3, 3, 3, 1]),
        (1, 1000, [1] * 10),
    ):
        monkeypatch.setattr("qnn_ref.network.AT_ONCE", numbers)
        np.testing.assert_array_equal(network.scores(x, asked), expected)
        assert seen == batches
        seen.clear()


@pytest.mark.parametrize("batch_size", [1, 3, 7, 10, 1000])
def test_scores_of_all_images_in_order_for_every_batch_size(batch_size):
    network = binary_network()
    shake(network, 6)
    x = images(10)
    np.testing.assert_array_equal(network.scores(x, batch_size), network.forward(x))
    np.testing.assert_array_equal(network.predict(x, batch_size), network.forward(x).argmax(axis=1))


def test_scores_come_from_inference():
    network = binary_network(dropout=True)
    before, state = network.arrays(), network.rng.bit_generator.state
    network.scores(images(5))
    assert network.rng.bit_generator.state == state
    for name, array in network.arrays().items():
        np.testing.assert_array_equal(array, before[name])


def test_of_equal_scores_the_first_class_is_predicted():
    network = Sequential([Dense(3, None)], (2,), np.random.default_rng(0), np.float64)
    network.layers[0].weight.assign(np.array([[1.0, 2.0, 2.0], [0.0, 0.0, 0.0]]))
    np.testing.assert_array_equal(network.predict(np.array([[1.0, 0.0], [-1.0, 5.0]])), [1, 0])


# Numbers that are none


def spoiled(name, value=np.nan):
    """A network of three blocks, one of them inside a layer, with one wrong number."""
    inner = [[Dense(3, None), BatchNorm()], [Dense(2, None)]]
    layers = [Dense(4, None), BatchNorm(), Branches(*inner), Dense(2, None)]
    network = Sequential(layers, (3,), np.random.default_rng(0))
    arrays = network.parameters() | network.buffers()
    if isinstance(arrays[name], np.ndarray):
        arrays[name].flat[-1] = value
    else:
        with arrays[name].edit() as latent:
            latent.flat[-1] = value
    return network


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize(
    "name, place",
    [
        ("0.Dense.weight", "0.Dense"),
        ("1.BatchNorm.running_mean", "1.BatchNorm"),
        ("2.1.BatchNorm.shift", "2.1.BatchNorm"),
        ("2.2.Dense.weight", "2.2.Dense"),
        ("3.Dense.weight", "3.Dense"),
    ],
)
def test_scores_that_are_not_finite_are_refused_with_the_first_layer(name, place, value):
    network, x = spoiled(name, value), np.ones((5, 3), np.float32)
    assert first_not_finite(network, x) == place
    with np.errstate(all="ignore"):
        for ask in (network.scores, network.predict):
            with pytest.raises(ValueError, match=f"^network: .* not finite, .* of {place}$"):
                ask(x, batch_size=2)


def test_looking_for_numbers_that_are_none_leaves_the_network_as_it_was():
    network = binary_network(dropout=True)
    before, state = network.arrays(), network.rng.bit_generator.state
    assert first_not_finite(network, images(3), training=True) is None
    assert network.rng.bit_generator.state == state
    for name, array in network.arrays().items():
        np.testing.assert_array_equal(array, before[name])


def test_a_layer_that_refuses_comes_after_the_one_that_is_named():
    network = Sequential([Dense(2, None), Quantize()], (2,), np.random.default_rng(0))
    with network.layers[0].weight.edit() as latent:
        latent[0, 0] = np.nan
    assert first_not_finite(network, np.ones((1, 2), np.float32), training=True) == "0.Dense"
    network = Sequential([Quantize()], (1,), np.random.default_rng(0))
    assert first_not_finite(network, np.full((1, 1), np.nan, np.float32)) is None


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_images_that_are_not_finite_have_no_scores(value):
    network = Sequential([HardTanh(), Dense(2)], (2,), np.random.default_rng(0))
    x = np.zeros((3, 2), np.float32)
    x[1, 1] = value
    words = rf"^images: expected finite numbers, got {value} at \[1, 1\]"
    for batch_size in (1, 3):
        with pytest.raises(ValueError, match=words):
            network.predict(x, batch_size)


def test_half_a_training_forward_leaves_nothing_for_a_backward_pass():
    """An older half of the same batch size would fit, and give gradients of two batches."""
    network = Sequential([Dense(2, None), Quantize(), Dense(2)], (2,), np.random.default_rng(0))
    x = np.ones((3, 2), np.float32)
    scores = network.forward(x, training=True)
    network.backward(scores)
    network.forward(x)
    network.backward(scores)  # inference leaves it as it was
    with pytest.raises(ValueError, match=r"layer 1 \(Quantize\): x: .* NaN"):
        network.forward(np.full((3, 2), np.nan, np.float32), training=True)
    with pytest.raises(RuntimeError, match=r"Dense\.backward: call forward"):
        network.backward(scores)


class Stop(BaseException):
    """As Ctrl-C: no Exception, so that code that catches those lets it pass."""


@pytest.mark.parametrize("kind", [Stop, ValueError, MemoryError])
@pytest.mark.parametrize("place", range(4))
def test_a_pass_that_is_stopped_half_way_leaves_nothing_for_the_next_one(monkeypatch, kind, place):
    """Ctrl-C in a notebook: older halves would fit, and give gradients of two batches."""
    layers = [Dense(2, None), BatchNorm(), Quantize(), Dense(2)]
    network, optimizer = Sequential(layers, (2,), np.random.default_rng(0)), SGD(0.1)
    x = np.random.default_rng(1).standard_normal((3, 2)).astype(np.float32)
    dy = np.ones((3, 2), np.float32)

    def stop(*_):
        raise kind

    network.forward(x, training=True)
    network.backward(dy)
    with monkeypatch.context() as patch:
        patch.setattr(layers[place], "backward", stop)
        with pytest.raises(kind):
            network.backward(dy)
    with pytest.raises(RuntimeError, match=r"^\d\.\w+\.\w+: no gradient; call backward"):
        optimizer.step(network.parameters())
    with monkeypatch.context() as patch:
        patch.setattr(layers[place], "forward", stop)
        with pytest.raises(kind):
            network.forward(x, training=True)
    with pytest.raises(RuntimeError, match=r"Dense\.backward: call forward"):
        network.backward(dy)
    network.forward(x, training=True)
    network.backward(dy)
    optimizer.step(network.parameters())


def test_scores_that_overflow_are_one_error_and_no_warning():
    network = Sequential([Dense(2, None), BatchNorm()], (2,), np.random.default_rng(0))
    with network.parameters()["1.BatchNorm.gain"].edit() as gain:
        gain[:] = np.finfo(np.float32).max
    with pytest.raises(ValueError, match=r"not finite, first the output of 1\.BatchNorm"):
        network.predict(np.full((3, 2), 1e6, np.float32))


# Summary


def test_summary_lists_shapes_parameters_and_bits():
    lines = binary_network().summary().splitlines()
    assert lines[0].split() == ["layer", "output", "parameters", "bits", "each"]
    assert [line.split()[:2] for line in lines[1:]] == [
        ["0", "Pixels"],
        ["1", "Flatten"],
        ["2", "Dense"],
        ["3", "BatchNorm"],
        ["4", "Quantize"],
        ["5", "Dense"],
        ["6", "BatchNorm"],
    ]
    assert lines[3].split()[2:] == ["(7,)", "28", "1"]
    assert lines[4].split()[2:] == ["(7,)", "14", "32"]
    assert lines[6].split()[2:] == ["(3,)", "21", "1"]
    wide = Sequential([Dense(2000, None)], (1000,), np.random.default_rng(0), np.float64)
    assert wide.summary().splitlines()[1].split()[2:] == ["(2000,)", "2,000,000", "64"]
    few = [
        Dense(3, LinearQuant(4)),
        Dense(3, LogQuant(4)),
        Dense(3, LinearQuant(2, reading="unsigned")),
    ]
    rows = Sequential(few, (2,), np.random.default_rng(0)).summary().splitlines()[1:]
    assert [row.split()[-1] for row in rows] == ["4", "4", "2"]


# Errors


def generator():
    return np.random.default_rng(0)


SAME = Dense(2)
BINARY = binary_network()


@pytest.mark.parametrize(
    "call, error, words",
    [
        (lambda: Sequential([], (2,), generator()), ValueError, ["layers:", "at least one"]),
        (lambda: Sequential([SAME, SAME], (2,), generator()), ValueError, ["layers:", "twice"]),
        (
            lambda: Sequential([Dense(2)], (2,), generator(), np.float16),
            TypeError,
            ["dtype:", "float16"],
        ),
        (
            lambda: Sequential([Flatten(), Dense(2)], (2,), None),
            TypeError,
            ["rng:", "Generator, like numpy.random.default_rng(0)", "None"],
        ),
        (
            lambda: BINARY.forward(np.zeros((1, 2, 2, 1), "f")),
            TypeError,
            ["layer 0 (Pixels):", "x:", "uint8"],
        ),
        (
            lambda: BINARY.forward(np.zeros((1, 4), np.uint8)),
            ValueError,
            ["layer 0 (Pixels):", "x:", "(batch, 2, 2, 1)", "(1, 4)"],
        ),
        (
            lambda: Sequential([HardTanh(), Quantize()], (2,), generator()).forward(
                np.full((1, 2), np.nan, np.float32)
            ),
            ValueError,
            ["layer 1 (Quantize):", "x:", "NaN"],
        ),
        (
            lambda: BINARY.copy().backward(np.zeros((1, 3), np.float32)),
            RuntimeError,
            ["BatchNorm.backward", "training=True"],
        ),
        (
            lambda: BINARY.scores(np.zeros((0, 2, 2, 1), np.uint8)),
            ValueError,
            ["images:", "at least one", "(0, 2, 2, 1)"],
        ),
        (
            lambda: BINARY.predict(np.zeros((3, 2, 2), np.uint8)),
            ValueError,
            ["layer 0 (Pixels):", "(3, 2, 2)"],
        ),
    ],
)
def test_bad_arguments_are_refused_with_their_name(call, error, words):
    with pytest.raises(error) as caught:
        call()
    for word in words:
        assert word in str(caught.value)


# Products of bits and plain ones: the same network

PIXEL_CODES = Encoding(1 / 255, -255, 255, 2)
SIGN_CODES = Sign().encoding
SIGNS_DROPPED = SIGN_CODES.off_grid()


def block(units, quantizer=None):
    return [Dense(units), BatchNorm(), Quantize(quantizer or Sign())]


BITS = BitProducts()
BITS.least_weights = 2**15  # smaller layers than those that pay


def wide_layers(kind):
    """Hidden layers of 2^15 weights and more, so that bits are used; ten outputs."""
    inner = [Dropout(0.5), Dense(128), BatchNorm(), Quantize()], block(128)
    middle = {
        "plain": block(256),
        "dropout": [Dropout(0.5), *block(256)],
        "stochastic": block(256, StochasticSign()),
        "two bits": block(256, LinearQuant(2)),
        "branches": [Branches(*inner)],
        "auxiliary": [Auxiliary([Dropout(0.5), *block(128), Dense(10)]), *block(256)],
    }[kind]
    return [Pixels(), Flatten(), *block(256), *middle, *block(256), Dense(10), BatchNorm()]


KINDS = ["plain", "dropout", "stochastic", "two bits", "branches", "auxiliary"]


def wide_network(kind, products):
    """The same weights and the same draws for each `products`."""
    network = Sequential(wide_layers(kind), (14, 14, 1), np.random.default_rng(0))
    network.use_products(products)
    return network


def wide_images(n):
    return np.random.default_rng(1).integers(0, 256, (n, 14, 14, 1), dtype=np.uint8)


def learn(network, images, labels):
    """Scores of a training forward; then the backward pass."""
    scores = network.forward(images, training=True)
    for auxiliary in network.auxiliaries():
        auxiliary.learn(squared_hinge, labels)
    network.backward(squared_hinge(scores, labels)[1])
    return scores


@pytest.mark.parametrize("kind", KINDS)
def test_bits_and_plain_products_train_the_same_network(kind):
    """Equal scores in inference and in training, bit for bit; equal gradients to rounding."""
    x, labels = wide_images(7), np.arange(7) % 10
    bits, plain = wide_network(kind, BITS), wide_network(kind, PLAIN)
    np.testing.assert_array_equal(learn(bits, x, labels), learn(plain, x, labels))
    for name, parameter in bits.parameters().items():
        expected = plain.parameters()[name].grad
        error = np.linalg.norm(parameter.grad - expected)
        assert error <= 2e-6 * np.linalg.norm(expected), name
        assert np.any(expected), name
    np.testing.assert_array_equal(bits.forward(x), plain.forward(x))
    for one, other in zip(bits.auxiliaries(), plain.auxiliaries(), strict=True):
        np.testing.assert_array_equal(one.scores, other.scores)


@pytest.mark.slow_without_jit
@pytest.mark.parametrize("dropout", [False, True])
@pytest.mark.parametrize("one_padding", [False, True])
def test_bits_and_plain_products_train_the_same_convolutions(dropout, one_padding):
    """A border of zeros and dropout both make numbers that are no signs."""
    results = []
    for products in (BITS, PLAIN):
        conv = Conv2D(64, 3, padding=1, one_padding=one_padding)
        layers = [Pixels(), Conv2D(64, 3, padding=1), BatchNorm(), Quantize()]
        layers += [Dropout(0.5)] * dropout + [conv, MaxPool2D(2), BatchNorm(), Quantize()]
        layers += [Flatten(), *block(64), Dense(10), BatchNorm()]
        network = Sequential(layers, (6, 6, 3), np.random.default_rng(0))
        network.use_products(products)
        x = np.random.default_rng(1).integers(0, 256, (5, 6, 6, 3), dtype=np.uint8)
        scores = learn(network, x, np.arange(5))
        gradients = {name: p.grad for name, p in network.parameters().items()}
        results.append((scores, network.forward(x), gradients))
    (trained, inferred, gradients), plain = results
    np.testing.assert_array_equal(trained, plain[0])
    np.testing.assert_array_equal(inferred, plain[1])
    for name, gradient in gradients.items():
        error = np.linalg.norm(gradient - plain[2][name])
        assert error <= 2e-6 * np.linalg.norm(plain[2][name]), name


def test_bits_and_plain_products_agree_in_float64_bit_for_bit():
    results = []
    for products in (BITS, PLAIN):
        network = wide_network("plain", products).copy(np.float64)
        scores = learn(network, wide_images(5), np.arange(5))
        results.append([scores, *(p.grad for p in network.parameters().values())])
    for one, other in zip(*results, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_training_step_on_bits_makes_no_codes_of_large_weights():
    network = wide_network("dropout", BITS)
    large = [p for p in network.parameters().values() if p.size >= BITS.least_weights]
    assert len(large) == 3
    optimizer = SGD(0.01)
    for _ in range(2):
        learn(network, wide_images(7), np.arange(7))
        assert all(p._encoded is None and p._made for p in large)
        optimizer.step(network.parameters())
        assert all(p._encoded is None and not p._made for p in large)
    network.forward(wide_images(7))
    assert all(p._encoded is None for p in large)


def test_bits_follow_weights_that_were_set():
    """Scores on bits are those of a fresh network with the same arrays."""
    network, other = wide_network("plain", BITS), wide_network("plain", BITS)
    x = wide_images(5)
    before = network.forward(x)
    learn(network, x, np.arange(5))
    SGD(1.0).step(network.parameters())
    after = network.forward(x)
    assert np.any(after != before)
    other.forward(x)
    other.set_arrays(network.arrays())
    np.testing.assert_array_equal(other.forward(x), after)
    np.testing.assert_array_equal(network.copy().forward(x), after)
    other.use_products(PLAIN)
    np.testing.assert_array_equal(other.forward(x), after)


# What layers are told about their input in training


def told(network):
    """Place, encoding in inference and in training of every weighted layer."""
    return [
        (place, layer.encoding, layer.training_encoding)
        for place, layer in network.walk()
        if isinstance(layer, Dense)
    ]


def test_every_layer_is_told_what_it_gets_in_training():
    """Dropout makes zeros of signs; what comes after the next quantizer are signs again."""
    layers = [Pixels(), Flatten(), *block(4), Dropout(0.5), Flatten(), *block(3), Dense(2)]
    network = Sequential(layers, (2, 2, 1), np.random.default_rng(0))
    assert [layer.training_encoding for layer in network.layers] == [
        None,
        *[PIXEL_CODES] * 2,
        *[None] * 2,
        SIGN_CODES,
        *[SIGNS_DROPPED] * 2,
        *[None] * 2,
        SIGN_CODES,
    ]
    assert [layer.encoding for layer in network.layers] == [
        None,
        *[PIXEL_CODES] * 2,
        *[None] * 2,
        *[SIGN_CODES] * 3,
        *[None] * 2,
        SIGN_CODES,
    ]
    dense = [layer for layer in network.layers if isinstance(layer, Dense)]
    assert [layer.takes_signs(training=True) for layer in dense] == [False, False, True]
    assert [layer.takes_signs(training=False) for layer in dense] == [False, True, True]


@pytest.mark.parametrize("quantizer", [Sign(), StochasticSign(), LinearQuant(1)])
def test_quantizers_of_one_bit_give_signs(quantizer):
    network = Sequential([*block(4, quantizer), Dense(2)], (3,), np.random.default_rng(0))
    assert network.layers[3].takes_signs(training=True)
    assert network.layers[3].takes_signs(training=False)


@pytest.mark.parametrize("quantizer", [LinearQuant(2), LinearQuant(8), LogQuant(4)])
def test_quantizers_of_more_bits_give_no_signs(quantizer):
    network = Sequential([*block(4, quantizer), Dense(2)], (3,), np.random.default_rng(0))
    assert not network.layers[3].takes_signs(training=True)
    assert not network.layers[3].takes_signs(training=False)
    assert network.layers[3].training_encoding == quantizer.encoding


def test_layers_inside_layers_are_told_too():
    network = Sequential(
        [
            *block(4),
            Branches([Dropout(0.5), *block(3)], [Dropout(0.5)], block(2), []),
            Auxiliary([Dropout(0.5), Dense(3), BatchNorm(), Quantize(), Dense(2)]),
            *block(3),
            Branches([Branches([Dropout(0.5), Dense(2)])], [Dense(2)]),
        ],
        (5,),
        np.random.default_rng(0),
    )
    assert told(network) == [
        ("0.Dense", None, None),
        ("3.1.Dense", SIGN_CODES, SIGNS_DROPPED),
        ("3.5.Dense", SIGN_CODES, SIGN_CODES),
        # One path ended with dropout: the joined channels are no signs in training.
        ("4.1.Dense", SIGN_CODES, SIGNS_DROPPED),
        ("4.4.Dense", SIGN_CODES, SIGN_CODES),
        ("5.Dense", SIGN_CODES, SIGNS_DROPPED),
        ("8.0.1.Dense", SIGN_CODES, SIGNS_DROPPED),
        ("8.1.Dense", SIGN_CODES, SIGN_CODES),
    ]
    assert network.layers[3].training_encoding == SIGN_CODES
    assert network.layers[4].training_encoding == SIGNS_DROPPED


def test_pools_keep_signs_or_change_their_grid():

    def network_with(pool):
        layers = [Conv2D(4, 3, padding=1), BatchNorm(), Quantize(), pool, Flatten(), Dense(2)]
        return Sequential(layers, (4, 4, 1), np.random.default_rng(0))

    assert network_with(MaxPool2D(2)).layers[5].takes_signs(training=True)
    network = network_with(AveragePool2D(2))
    assert not network.layers[5].takes_signs(training=True)
    assert not network.layers[5].takes_signs(training=False)


def test_a_layer_built_into_another_network_forgets_the_dropout():
    dense = Dense(2)
    Sequential([*block(4), Dropout(0.5), dense], (3,), np.random.default_rng(0))
    assert dense.training_encoding == SIGNS_DROPPED
    network = Sequential([*block(4), dense], (3,), np.random.default_rng(0))
    assert dense.training_encoding == SIGN_CODES
    assert network.copy().layers[3].training_encoding == SIGN_CODES


@pytest.mark.parametrize("make", [lambda *path: Branches(path), lambda *path: Auxiliary(path)])
def test_layers_inside_a_layer_that_stands_alone_are_told_too(make):
    """Built without a network, inner dropout makes zeros all the same."""
    dropout, dense = Dropout(0.5), Dense(128)
    layer = make(dropout, dense).build((256,), np.random.default_rng(0), SIGN_CODES)
    assert dense.training_encoding == SIGNS_DROPPED
    x = np.random.default_rng(1).choice(np.array([-1, 1], np.float32), (9, 256))
    layer.forward(x, training=True)
    rows = dense.saved()[0]
    assert np.any(rows == 0)
    head = layer.scores if isinstance(layer, Auxiliary) else layer.forward(x, training=True)
    np.testing.assert_array_equal(head, dense.saved()[0] @ dense.weight.codes)


# One layer object, one network


def parts():
    return [
        Pixels(),
        Dense(4),
        Branches([Dense(3), BatchNorm(), Quantize()], [Dense(2), BatchNorm(), Quantize()]),
        Auxiliary([Dense(3)]),
        Dense(2),
        BatchNorm(),
    ]


def every_layer(network):
    return [layer for _, layer in network.walk()]


def network_images():
    return np.random.default_rng(3).integers(0, 256, (6, 8), dtype=np.uint8)


WAY_OUT = r"belongs to a network already, .*: make new layer objects, or take a network\.copy\(\)"


@pytest.mark.parametrize("shape", [(8,), (5,)])
def test_layers_of_a_network_are_built_into_no_other(shape):
    layers = parts()
    one = Sequential(layers, (8,), np.random.default_rng(1))
    scores, arrays = one.scores(network_images()), one.arrays()
    with pytest.raises(ValueError, match=rf"^layer 0 \(Pixels\): this layer object {WAY_OUT}"):
        Sequential(layers, shape, np.random.default_rng(2))
    np.testing.assert_array_equal(one.scores(network_images()), scores)
    for name, array in one.arrays().items():
        np.testing.assert_array_equal(array, arrays[name])


@pytest.mark.parametrize("number", range(11))
def test_each_layer_belongs_to_its_network_those_inside_layers_too(number):
    one = Sequential(parts(), (8,), np.random.default_rng(1))
    layer = every_layer(one)[number]
    scores = one.scores(network_images())
    for make in (
        lambda: Sequential([layer], layer.input_shape, np.random.default_rng(2)),
        lambda: Branches([layer]).build(layer.input_shape, np.random.default_rng(2)),
        lambda: Auxiliary([layer]).build(layer.input_shape, np.random.default_rng(2)),
        lambda: layer.build(layer.input_shape, np.random.default_rng(2)),
    ):
        with pytest.raises(ValueError, match=WAY_OUT):
            make()
    np.testing.assert_array_equal(one.scores(network_images()), scores)


@pytest.mark.parametrize("take", [Sequential.copy, copy.deepcopy, lambda n: n.copy(np.float64)])
def test_a_copy_has_layers_of_its_own_that_belong_to_it(take):
    one = Sequential(parts(), (8,), np.random.default_rng(1))
    twin = take(one)
    for network in (one, twin):
        with pytest.raises(ValueError, match=WAY_OUT):
            Sequential(network.layers, (8,), np.random.default_rng(2))
    del one
    gc.collect()
    with pytest.raises(ValueError, match=WAY_OUT):
        Sequential(twin.layers, (8,), np.random.default_rng(2))


def test_a_shallow_copy_takes_no_layer_away():
    one = Sequential(parts(), (8,), np.random.default_rng(1))
    copy.copy(one)
    gc.collect()
    with pytest.raises(ValueError, match=WAY_OUT):
        Sequential(one.layers, (8,), np.random.default_rng(2))


def test_a_copied_layer_is_free_and_so_are_those_of_a_network_that_is_gone():
    layers = parts()
    one = Sequential(layers, (8,), np.random.default_rng(1))
    scores = one.scores(network_images())
    Sequential(copy.deepcopy(layers), (5,), np.random.default_rng(2))
    Sequential([copy.deepcopy(layer) for layer in layers], (5,), np.random.default_rng(2))
    np.testing.assert_array_equal(one.scores(network_images()), scores)
    del one
    gc.collect()
    Sequential(layers, (5,), np.random.default_rng(2))


def test_a_network_that_could_not_be_built_keeps_no_layer():
    layers = parts()
    with pytest.raises(ValueError, match=r"layer 6 .*: input: expected"):
        Sequential([*layers, Conv2D(1, 3)], (8,), np.random.default_rng(1))
    Sequential(layers, (8,), np.random.default_rng(1))


def test_a_walk_sees_layers_that_were_exchanged_or_hold_others():
    """Walks are remembered, by the objects that stand in the row and by nothing else."""
    network = Sequential([Dense(4), HardTanh(), Dense(3)], (5,), np.random.default_rng(0))
    first = list(network.walk())
    assert list(network.walk()) == first
    other = HardTanh(0.5)
    network.layers[1] = other
    assert [layer for _, layer in network.walk()] == [network.layers[0], other, network.layers[2]]
    network.layers.append(other)
    assert [place for place, _ in network.walk()][-1] == "3.HardTanh"
    network.layers.clear()
    assert list(network.walk()) == []
    twin = network.copy()
    assert list(twin.walk()) == []


def test_a_copy_walks_over_its_own_layers():
    network = Sequential([Dense(4), HardTanh(), Dense(3)], (5,), np.random.default_rng(0))
    list(network.walk())
    for twin in (network.copy(), pickle.loads(pickle.dumps(network))):
        assert [layer for _, layer in twin.walk()] == twin.layers
        assert not {id(layer) for layer in twin.layers} & {id(layer) for layer in network.layers}


def test_layers_that_are_equal_are_not_the_same():
    class Equal(HardTanh):
        __hash__ = None

        def __eq__(self, other):
            return True

    network = Sequential([Equal(), Dense(3)], (5,), np.random.default_rng(0))
    list(network.walk())
    network.layers[0] = Equal()
    assert next(network.walk())[1] is network.layers[0]


def test_a_walk_goes_into_what_is_put_into_a_layer_later():
    branches = Branches([Conv2D(2, 1)], [Conv2D(3, 1)])
    network = Sequential([branches, Flatten(), Dense(3)], (4, 4, 2), np.random.default_rng(0))
    before = len(list(network.walk()))
    inner = HardTanh()
    branches.paths[0].append(inner)
    after = [layer for _, layer in network.walk()]
    assert inner in after
    assert len(after) == before + 1
