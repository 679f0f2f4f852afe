"""A gradient that waits until its rows are wanted: the same step, bit for bit, without an array."""

import copy
import pickle

import numpy as np
import pytest

from qnn_ref.layers import Dense, Parameter, Quantize
from qnn_ref.losses import squared_hinge
from qnn_ref.network import Sequential
from qnn_ref.optimizers import SGD, Adam, AdaMax, Optimizer, ShiftAdaMax, base, clip_by_norm
from qnn_ref.parameter import Unformed
from qnn_ref.products import PLAIN, BitProducts, ShiftProducts
from qnn_ref.training import train_step

KINDS = {
    "SGD": SGD,
    "SGD with momentum": lambda: SGD(momentum=0.9),
    "Adam": Adam,
    "AdaMax": AdaMax,
    "ShiftAdaMax": ShiftAdaMax,
    "ShiftAdaMax, torch": lambda: ShiftAdaMax(variant="torch"),
}


class Waiting(BitProducts):
    """Every product of signs is looked up, and waits."""

    least_weights = least_outputs = least_unformed = 1


class Formed(Waiting):
    """The same products as arrays."""

    least_unformed = 2**60


def network_of(products, widths=(70, 65, 64), seed=0):
    layers = [Quantize(), *(layer for n in widths[1:] for layer in (Dense(n), Quantize()))][:-1]
    network = Sequential(layers, widths[:1], np.random.default_rng(seed))
    network.use_products(products)
    return network


def batch(network, seed=1, size=5):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((size, *network.input_shape)).astype(np.float32)
    return x, rng.integers(0, network.output_shape[-1], size)


def after_backward(products, **options):
    network = network_of(products, **options)
    x, labels = batch(network)
    network.backward(squared_hinge(network.forward(x, training=True), labels)[1])
    return network


@pytest.fixture
def small_room(monkeypatch):
    """Sixteen rows of 65 numbers are formed together, so that parts, and a ragged last one, are."""
    monkeypatch.setattr(base, "ROOM", 16 * 65)


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_by_parts_is_the_step_by_arrays(kind, small_room):
    networks = [network_of(products()) for products in (Waiting, Formed)]
    optimizers = [KINDS[kind](), KINDS[kind]()]
    for step in range(3):
        for network, optimizer in zip(networks, optimizers, strict=True):
            train_step(network, optimizer, squared_hinge, *batch(network, seed=step))
    ours, theirs = (network.parameters() for network in networks)
    assert all(p.unformed is not None for p in ours.values())  # nobody made an array of it
    assert all(p.unformed is None for p in theirs.values())
    for name, parameter in ours.items():
        np.testing.assert_array_equal(parameter.latent, theirs[name].latent)
        for moment, array in optimizers[0].state[name].items():
            np.testing.assert_array_equal(array, optimizers[1].state[name][moment])
        np.testing.assert_array_equal(parameter.grad, theirs[name].grad)


def test_whoever_asks_gets_an_array_and_keeps_it():
    parameter = after_backward(Waiting()).parameters()["1.Dense.weight"]
    assert isinstance(parameter.unformed, Unformed)
    gradient = parameter.grad
    assert type(gradient) is np.ndarray
    assert (gradient.shape, gradient.dtype) == (parameter.shape, parameter.dtype)
    assert parameter.unformed is None
    gradient *= 2  # in place, as clipping by hand does
    assert parameter.grad is gradient


@pytest.mark.parametrize("first", [0, 16, 64])
def test_rows_are_those_of_the_array(first):
    later = after_backward(Waiting()).parameters()["1.Dense.weight"].unformed
    whole = later.array()
    out = np.empty((min(16, len(whole) - first), whole.shape[1]), np.float32)
    later.rows(first, out)
    np.testing.assert_array_equal(out, whole[first : first + len(out)])


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_a_copy_has_the_gradient_too(copied):
    parameter = after_backward(Waiting()).parameters()["1.Dense.weight"]
    twin = copied(parameter)
    np.testing.assert_array_equal(twin.grad, parameter.grad)
    parameter.astype(np.float64)
    assert parameter.grad.dtype == np.float64


def test_it_does_not_change_with_what_backward_was_given():
    layer = Dense(64).build((70,), np.random.default_rng(0), Quantize().quantizer.encoding)
    layer.products = Waiting()
    x = np.where(batch(network_of(PLAIN))[0] >= 0, np.float32(1), np.float32(-1))
    dy = np.ones((5, 64), np.float32)
    layer.forward(x, training=True)
    layer.backward(dy)
    assert layer.weight.unformed is not None
    dy[...] = np.nan
    x[...] = -x
    np.testing.assert_array_equal(layer.weight.grad[:, 0], -x.sum(axis=0))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_gradient_that_is_not_finite_is_refused_by_name_and_moves_nothing(bad, small_room):
    network, optimizer = after_backward(Waiting()), Adam()
    before = network.arrays()
    later = network.parameters()["1.Dense.weight"].unformed
    later.dy[2, 3] = bad
    with pytest.raises(ValueError, match=r"1\.Dense\.weight: gradient: expected finite numbers"):
        optimizer.step(network.parameters())
    assert optimizer.steps == 0
    for name, array in network.arrays().items():
        np.testing.assert_array_equal(array, before[name])


def test_sums_that_overflow_are_found(small_room):
    """Each number is finite, and so is its square in float64; their sum is not."""
    network = after_backward(Waiting())
    later = network.parameters()["1.Dense.weight"].unformed
    later.dy[...] = np.finfo(np.float32).max / 2
    with pytest.raises(ValueError, match=r"1\.Dense\.weight: gradient"):
        Adam().step(network.parameters())


def test_large_numbers_whose_sums_are_finite_are_taken(small_room):
    network = after_backward(Waiting())
    later = network.parameters()["1.Dense.weight"].unformed
    later.dy[...] = 1e30
    assert not later.surely_finite()
    SGD().step(network.parameters())


def test_clipping_forms_it():
    ours, theirs = (after_backward(products()).parameters() for products in (Waiting, Formed))
    assert clip_by_norm(ours, 1e-3) == clip_by_norm(theirs, 1e-3)
    for name, parameter in ours.items():
        np.testing.assert_array_equal(parameter.grad, theirs[name].grad)


def test_a_rule_that_looks_at_all_numbers_gets_them_together(small_room):
    class Normalized(Adam):
        """Of its own update nobody has said that it treats each number by itself."""

        def update(self, latent, grad, constants, bound, **moments):
            sizes.append(grad.size)
            latent -= grad / np.abs(grad).max()

    class Said(Normalized):
        elementwise = True

    sizes = []
    assert not Optimizer.elementwise
    network = after_backward(Waiting())
    Normalized().step(network.parameters())
    assert sizes == [p.size for p in network.parameters().values()]
    sizes.clear()
    network = after_backward(Waiting())
    Said().step(network.parameters())
    assert len(sizes) > len(network.parameters())
    assert sum(sizes) == sum(p.size for p in network.parameters().values())


def test_one_of_another_shape_is_refused_by_name():
    network = after_backward(Waiting())
    parameter = network.parameters()["1.Dense.weight"]
    other = after_backward(Waiting(), widths=(64, 70, 64)).parameters()["1.Dense.weight"]
    parameter.grad = other.unformed
    with pytest.raises(ValueError, match=r"1\.Dense\.weight: expected a gradient of shape"):
        Adam().step(network.parameters())


@pytest.mark.parametrize("products", [PLAIN, ShiftProducts()])
def test_other_products_are_arrays_at_once(products):
    for parameter in after_backward(products).parameters().values():
        assert parameter.unformed is None


def test_what_forms_nothing_says_so():
    nothing = Unformed((2, 3), np.dtype(np.float32))
    assert not nothing.surely_finite()
    with pytest.raises(TypeError, match="forms no rows"):
        nothing.rows(0, np.empty((2, 3), np.float32))
    parameter = Parameter(np.zeros((2, 3), np.float32))
    parameter.grad = nothing
    with pytest.raises(TypeError, match="forms no array"):
        parameter.grad  # noqa: B018
