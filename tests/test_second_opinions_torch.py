"""PyTorch's autograd beside the backward pass of every layer, loss and optimizer that it has too.

Skipped with a message where PyTorch is not installed; written against 2.13.0. It has no shift-based
batch norm and AdaMax, and draws of its own for dropout, which therefore gets our mask; the squared
hinge is a line of autograd. Whole steps of Algorithm 1 by PyTorch: `tests/test_oracles.py`.

The gradient of its own `clamp` and `hardtanh` at a bound depends on the release: 1 up to 2.13, as
in eq. (4), and 0 since 2.14 where the bounds are numbers. So no test here rests on it:
straight-through is written with a mask, and the hard tanh is compared beside its bound.
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qnn_ref.checking import strategies as qst
from qnn_ref.layers import (
    AveragePool2D,
    BatchNorm,
    Branches,
    Conv2D,
    Dense,
    Dropout,
    HardTanh,
    Quantize,
)
from qnn_ref.losses import softmax_cross_entropy, squared_hinge
from qnn_ref.network import Sequential
from qnn_ref.optimizers import SGD, Adam, AdaMax
from qnn_ref.parameter import Parameter
from qnn_ref.quantizers import Sign

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
functional = torch.nn.functional

ROUNDING = 1e-12


def tensor(array, channels_first=False):
    """A leaf for autograd; images as PyTorch has them."""
    array = np.moveaxis(array, -1, 1) if channels_first else array
    return torch.tensor(np.ascontiguousarray(array), requires_grad=True)


def array(result, channels_first=False):
    result = result.detach().numpy()
    return np.moveaxis(result, 1, -1) if channels_first else result


def gradient_like(y, seed=0):
    return np.random.default_rng(seed).normal(size=y.shape)


def close(ours, theirs, atol=ROUNDING):
    np.testing.assert_allclose(ours, theirs, rtol=ROUNDING, atol=atol)


def agree(layer, x, function, *leaves, channels_first=False):
    """Compare output, gradient of the input, and of the leaves: pairs (parameter, tensor)."""
    y = layer.forward(x, training=True)
    dy = gradient_like(y)
    dx = layer.backward(dy)
    theirs = tensor(x, channels_first)
    out = function(theirs)
    close(y, array(out, channels_first))
    out.backward(
        torch.tensor(np.ascontiguousarray(np.moveaxis(dy, -1, 1) if channels_first else dy))
    )
    close(dx, array(theirs.grad, channels_first))
    for ours, leaf, axes in leaves:
        close(ours.grad, array(leaf.grad).transpose(axes))


# Layers


@given(qst.layers(["Dense"]))
def test_dense(pair):
    layer, x = pair
    w = tensor(layer.weight.quantized)
    b = tensor(layer.bias.latent) if layer.bias is not None else None
    leaves = [(layer.weight, w, (0, 1))] + ([(layer.bias, b, (0,))] if b is not None else [])
    agree(layer, x, lambda t: functional.linear(t, w.T, b), *leaves)


@given(qst.layers(["Conv2D"]))
def test_convolution(pair):
    layer, x = pair
    w = tensor(layer.weight.quantized.transpose(3, 2, 0, 1))
    b = tensor(layer.bias.latent) if layer.bias is not None else None
    (top, left), border = layer.padding, layer.border

    def function(t):
        padded = functional.pad(t, (left, left, top, top), value=border)
        return functional.conv2d(padded, w, b, stride=layer.stride)

    leaves = [(layer.weight, w, (2, 3, 1, 0))] + ([(layer.bias, b, (0,))] if b is not None else [])
    agree(layer, x, function, *leaves, channels_first=True)


def test_a_convolution_higher_than_the_image_by_its_own_padding():
    rng = np.random.default_rng(3)
    layer = Conv2D(2, (9, 3), stride=(1, 2), padding=(2, 1)).build((7, 6, 4), rng, dtype=np.float64)
    w = tensor(layer.weight.quantized.transpose(3, 2, 0, 1))
    agree(
        layer,
        rng.normal(size=(2, 7, 6, 4)),
        lambda t: functional.conv2d(t, w, stride=(1, 2), padding=(2, 1)),
        (layer.weight, w, (2, 3, 1, 0)),
        channels_first=True,
    )


@given(qst.layers(["MaxPool2D"]))
def test_max_pool(pair):
    """Ties too: the first in the order of reading wins in both."""
    layer, x = pair
    (top, left), low = layer.padding, -np.inf

    def function(t):
        padded = functional.pad(t, (left, left, top, top), value=low)
        return functional.max_pool2d(padded, layer.size, layer.stride)

    agree(layer, x, function, channels_first=True)


@given(qst.layers(["AveragePool2D"]))
def test_average_pool(pair):
    layer, x = pair
    (top, left) = layer.padding

    def function(t):
        padded = functional.pad(t, (left, left, top, top))
        return functional.avg_pool2d(padded, layer.size, layer.stride)

    agree(layer, x, function, channels_first=True)


@given(st.integers(0, 2**32), st.booleans(), st.sampled_from([1e-4, 1e-5, 0.1]))
def test_batch_norm(seed, spatial, epsilon):
    rng = np.random.default_rng(seed)
    shape = (3, 2, 4, 3) if spatial else (5, 3)
    layer = BatchNorm(epsilon, 0.3, running="unbiased variance")
    layer.build(shape[1:], rng, dtype=np.float64)
    for parameter in layer.parameters().values():
        parameter.assign(rng.normal(size=3))
    gain, shift = tensor(layer.gain.latent), tensor(layer.shift.latent)
    mean, variance = torch.zeros(3, dtype=torch.float64), torch.ones(3, dtype=torch.float64)
    x = 2 + 3 * rng.normal(size=shape)

    def function(t):
        return functional.batch_norm(t, mean, variance, gain, shift, True, 0.3, epsilon)

    agree(
        layer,
        x,
        function,
        (layer.gain, gain, (0,)),
        (layer.shift, shift, (0,)),
        channels_first=True,
    )
    close(layer.running_mean, mean)
    close(layer.running_variance, variance)
    t = tensor(x, channels_first=True)
    out = functional.batch_norm(t, mean, variance, gain, shift, False, 0.3, epsilon)
    close(layer.forward(x), array(out, channels_first=True))


@given(qst.layers(["HardTanh"]))
def test_hard_tanh_and_its_mask_beside_the_bound(pair):
    layer, x = pair
    x = np.where(np.abs(x) == layer.saturation, 0.5 * layer.saturation, x)  # see above
    agree(layer, x, lambda t: functional.hardtanh(t, -layer.saturation, layer.saturation))


def test_their_mask_at_the_bound_is_that_of_the_release():
    """Ours passes the gradient, eq. (4). Theirs with numbers as bounds did up to 2.13."""
    release = tuple(int(n) for n in torch.__version__.split("+")[0].split(".")[:2])
    t = torch.tensor([-1.0, 1.0], requires_grad=True)
    torch.clamp(t, -1, 1).sum().backward()
    assert t.grad.tolist() == ([1, 1] if release < (2, 14) else [0, 0])
    layer = HardTanh().build((2,))
    layer.forward(np.array([[-1, 1]], np.float32), training=True)
    assert layer.backward(np.ones((1, 2), np.float32)).tolist() == [[1, 1]]


@given(qst.quantizer_inputs(Sign(), qst.shapes((2, 3)), np.float64))
def test_sign_as_it_is_written_for_autograd(x):
    """x + (sign(x) - x).detach(), behind a mask: the common short form of straight-through."""
    layer = Quantize().build(x.shape[1:], dtype=np.float64)

    def function(t):
        inside = t * (t.abs() <= 1)
        return inside + (torch.where(t >= 0, 1.0, -1.0) - inside).detach()

    agree(layer, x, function)


@given(st.integers(0, 2**32), st.sampled_from([0.0, 0.2, 0.5]))
def test_dropout_with_our_mask(seed, rate):
    rng = np.random.default_rng(seed)
    layer = Dropout(rate).build((6,), rng, dtype=np.float64)
    mask = layer.draw_mask((4, 6))
    layer.draw_mask = lambda shape: mask
    assert set(np.unique(mask)) <= {0.0, 1 / (1 - rate)}
    agree(layer, rng.normal(size=(4, 6)), lambda t: t * torch.tensor(mask))
    kept = functional.dropout(torch.ones(4000, dtype=torch.float64), rate)
    assert set(kept.unique().tolist()) <= {0.0, 1 / (1 - rate)}  # the same two factors


@given(st.integers(0, 2**32))
def test_branches(seed):
    rng = np.random.default_rng(seed)
    left, right = Conv2D(2, 1), AveragePool2D(3, 1, 1)
    layer = Branches([left], [right], []).build((4, 3, 2), rng, dtype=np.float64)
    w = tensor(left.weight.quantized.transpose(3, 2, 0, 1))

    def function(t):
        return torch.cat([functional.conv2d(t, w), functional.avg_pool2d(t, 3, 1, 1), t], dim=1)

    x = rng.normal(size=(2, 4, 3, 2))
    agree(layer, x, function, (left.weight, w, (2, 3, 1, 0)), channels_first=True)


# Losses


@given(st.integers(0, 2**32), st.sampled_from([1.0, 30.0, 1e4]))
def test_softmax_cross_entropy(seed, size):
    rng = np.random.default_rng(seed)
    scores, labels = size * rng.normal(size=(5, 4)), rng.integers(0, 4, 5)
    loss, gradient = softmax_cross_entropy(scores, labels)
    t = tensor(scores)
    theirs = functional.cross_entropy(t, torch.tensor(labels))
    theirs.backward()
    assert loss == pytest.approx(theirs.item(), rel=1e-12)
    close(gradient, t.grad)


@given(qst.arrays((3, 4), np.float64), qst.labels(3, 4))
def test_squared_hinge(scores, labels):
    loss, gradient = squared_hinge(scores, labels)
    t, y = tensor(scores), torch.tensor(2.0 * np.eye(4)[labels] - 1)
    theirs = (functional.relu(1 - y * t) ** 2).mean()
    theirs.backward()
    assert loss == pytest.approx(theirs.item(), rel=1e-12, abs=1e-300)
    close(gradient, t.grad)


# Optimizers


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (lambda: SGD(0.1), lambda p: torch.optim.SGD(p, 0.1)),
        (lambda: SGD(0.1, 0.9), lambda p: torch.optim.SGD(p, 0.1, momentum=0.9)),
        (lambda: Adam(0.01), lambda p: torch.optim.Adam(p, 0.01)),
        (
            lambda: Adam(0.01, 0.5, 0.9, 1e-3),
            lambda p: torch.optim.Adam(p, 0.01, betas=(0.5, 0.9), eps=1e-3),
        ),
        (lambda: AdaMax(0.01), lambda p: torch.optim.Adamax(p, 0.01, eps=0)),
        (
            lambda: AdaMax(0.02, 0.5, 0.7),
            lambda p: torch.optim.Adamax(p, 0.02, betas=(0.5, 0.7), eps=0),
        ),
    ],
    ids=["SGD", "SGD, momentum", "Adam", "Adam, other numbers", "AdaMax", "AdaMax, other numbers"],
)
@settings(max_examples=20)
@given(qst.seeds())
def test_optimizers(ours, theirs, seed):
    """Ten steps of two parameters, one of them clipped and with a scale of its own (line 11)."""
    rng = np.random.default_rng(seed)
    free, clipped = Parameter(rng.normal(size=7)), Parameter(rng.uniform(-1, 1, (3, 2)), bound=1.0)
    optimizer, leaves = ours(), [tensor(p.latent.copy()) for p in (free, clipped)]
    rule = theirs(leaves)
    for _ in range(10):
        for parameter, leaf in zip((free, clipped), leaves, strict=True):
            parameter.grad = rng.normal(size=parameter.shape)
            leaf.grad = torch.tensor(parameter.grad)
        optimizer.step({"free": free, "clipped": clipped})
        rule.step()
        with torch.no_grad():
            leaves[1].clamp_(-1, 1)
        for parameter, leaf in zip((free, clipped), leaves, strict=True):
            close(parameter.latent, leaf.detach())


# Networks


@settings(max_examples=20)
@given(st.integers(0, 2**32))
def test_a_step_of_algorithm_1(seed):
    """Dense, batch norm, sign, dense: all gradients of one network by one call of autograd."""
    rng = np.random.default_rng(seed)
    layers = [Dense(4), BatchNorm(), Quantize(), Dense(3, bias=True)]
    network = Sequential(layers, (5,), rng, np.float64)
    x, labels = rng.normal(size=(6, 5)), rng.integers(0, 3, 6)
    scores = network.forward(x, training=True)
    loss, gradient = squared_hinge(scores, labels)
    dx = network.backward(gradient)

    first, norm, _, last = layers
    leaves = {
        "w": (first.weight, tensor(first.weight.quantized)),
        "gain": (norm.gain, tensor(norm.gain.latent)),
        "shift": (norm.shift, tensor(norm.shift.latent)),
        "v": (last.weight, tensor(last.weight.quantized)),
        "bias": (last.bias, tensor(last.bias.latent)),
    }
    t = tensor(x)
    w, gain, shift, v, bias = (leaf for _, leaf in leaves.values())
    h = functional.batch_norm(t @ w, None, None, gain, shift, True, eps=norm.epsilon)
    inside = h * (h.abs() <= 1)
    h = inside + (torch.where(h >= 0, 1.0, -1.0) - inside).detach()
    y = torch.tensor(2.0 * np.eye(3)[labels] - 1)
    theirs = (functional.relu(1 - y * (h @ v + bias)) ** 2).mean()
    theirs.backward()
    assert loss == pytest.approx(theirs.item(), rel=1e-12)
    for parameter, leaf in leaves.values():
        close(parameter.grad, leaf.grad, 1e-10)
    close(dx, t.grad, 1e-10)
