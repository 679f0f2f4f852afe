"""Whatever can be packed gives the trained scores bit for bit; the rest is refused with a reason."""

from __future__ import annotations

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qnn_ref import PackedNetwork, Sequential, pack
from qnn_ref.experiments.googlenet import googlenet
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
    ShiftBatchNorm,
)
from qnn_ref.packed import identical_scores
from qnn_ref.quantizers import Sign, StochasticSign

JIT_IS_OFF = bool(numba.config.DISABLE_JIT)
LARGEST_IMAGE, MOST_BLOCKS = (3, 1) if JIT_IS_OFF else (7, 3)

CHANNELS = [1, 3, 5, 63, 64, 65]
KERNELS = [(1, 1), (2, 2), (3, 3), (2, 3)]


def randomize(network, rng):
    """Gains of both signs, exactly 0 and -0; shifts and biases, some 0."""
    for name, parameter in network.parameters().items():
        if name.endswith(("gain", "shift", "bias")):
            value = rng.normal(size=parameter.shape)
            zero = rng.random(parameter.shape)
            value[zero < 0.2] = 0.0
            value[zero < 0.1] = -0.0
            parameter.assign(value)
    return network


def train_statistics(network, rng, batches=2):
    """Running statistics as training leaves them."""
    for _ in range(batches):
        images = rng.integers(0, 256, (5, *network.input_shape), dtype=np.uint8)
        network.forward(images, training=True)
    return network


def some_images(shape, rng):
    images = rng.integers(0, 256, (5, *shape), dtype=np.uint8)
    images[0], images[1] = 0, 255
    images[2] = rng.choice([0, 127, 128, 255], shape)
    return images


def same_scores(network, packed, images):
    """Bit for bit, so 0 and -0 differ."""
    ours, trained = packed.scores(images), network.scores(images)
    assert ours.dtype == trained.dtype
    words = f"u{trained.itemsize}"
    np.testing.assert_array_equal(ours.view(words), trained.view(words))


def packs_exactly(layers, shape, seed=0, dtype=np.float32):
    rng = np.random.default_rng(seed)
    network = train_statistics(randomize(Sequential(layers, shape, rng, dtype), rng), rng)
    packed = pack(network)
    same_scores(network, packed, some_images(shape, rng))
    return packed


# A network is drawn layer by layer; `shape` is that of the numbers at this place, and `kind` what
# they are: pixels, bits or integers.


def shape_after(layers, shape):
    for layer in layers:
        shape = layer.output_shape(shape)
    return shape


def draw_conv(draw, shape, stride=None):
    """A convolution that fits; with a stride, one that leaves the size as each other such one."""
    if stride is None:
        padding = draw(st.integers(0, 2)), draw(st.integers(0, 2))
        room = [n + 2 * p for n, p in zip(shape, padding, strict=False)]
        kernel = draw(st.sampled_from([k for k in KERNELS if k[0] <= room[0] and k[1] <= room[1]]))
        stride = draw(st.integers(1, 2)), draw(st.integers(1, 2))
    else:
        kernel = draw(st.sampled_from([1, 3]))
        padding = kernel // 2
    return Conv2D(
        draw(st.sampled_from(CHANNELS)),
        kernel,
        stride=stride,
        padding=padding,
        bias=draw(st.booleans()),
        one_padding=draw(st.booleans()),
    )


def draw_norm(draw):
    norm = draw(st.sampled_from([BatchNorm, ShiftBatchNorm]))
    return norm(momentum=draw(st.sampled_from([0.1, 1.0])))


def draw_pool(draw, shape):
    return MaxPool2D(2) if min(shape[:2]) >= 2 and draw(st.booleans()) else MaxPool2D(3, 2, 1)


def draw_block(draw, shape, stride=None):
    """A convolution, batch norm and sign, with a max pool at one of its two places, or none."""
    sign = Quantize(draw(st.sampled_from([Sign(), StochasticSign()])))
    block = [draw_conv(draw, shape, stride), draw_norm(draw), sign]
    place = draw(st.sampled_from([1, 2, None])) if stride is None else None
    if place is not None:
        block.insert(place, draw_pool(draw, shape_after(block[:1], shape)))
    return block


def draw_branches(draw, shape, kind, stride, depth=1):
    """Paths that all end in bits, of one size."""
    kinds = ["conv"]
    if kind != "pixels":
        kinds += ["average"]
    if kind == "bits":
        kinds += ["max", "empty"] if stride == 1 else ["max"]
    if depth:
        kinds += ["nested"]
    paths = []
    for path in draw(st.lists(st.sampled_from(kinds), min_size=1, max_size=3)):
        if path == "empty":
            paths.append([Dropout(0.2)] if draw(st.booleans()) else [])
        elif path == "max":
            paths.append([MaxPool2D(3, stride, 1)])
        elif path == "nested":
            paths.append([draw_branches(draw, shape, kind, stride, depth - 1)])
        elif path == "average":
            pool = AveragePool2D(3, stride, 1)
            paths.append([pool, *draw_block(draw, pool.output_shape(shape), 1)])
        else:
            paths.append(draw_block(draw, shape, stride))
    return Branches(*paths)


def draw_step(draw, shape):
    """What may stand between two blocks of bits."""
    step = draw(st.sampled_from(["block", "branches", "max", "average", "dropout", "auxiliary"]))
    if step == "block":
        return draw_block(draw, shape)
    if step == "branches":
        return [draw_branches(draw, shape, "bits", draw(st.integers(1, 2)))]
    if step == "max":
        return [draw_pool(draw, shape)]
    if step == "average":
        pool = draw_average(draw, shape)
        joined = [Branches([], [AveragePool2D(1)], [Dropout(0.1)])] if draw(st.booleans()) else []
        between = shape_after([pool, *joined], shape)
        return [pool, *joined, *draw_block(draw, between)]
    return [Dropout(0.3)] if step == "dropout" else [Auxiliary([Flatten(), Dense(2, None)])]


def draw_average(draw, shape):
    """With a border of zeros, without one, or over the whole image."""
    sizes = [AveragePool2D(3, 1, 1), AveragePool2D((2, 3), 2, (1, 2)), AveragePool2D(shape[:2])]
    if min(shape[:2]) >= 2:
        sizes.append(AveragePool2D(2, 1))
    return draw(st.sampled_from(sizes))


@st.composite
def networks(draw):
    """Convolutional networks, untrained: (layers, shape of an image)."""
    side = st.integers(1, LARGEST_IMAGE)
    image = draw(side), draw(side), draw(st.sampled_from(CHANNELS))
    layers = [Pixels(draw(st.sampled_from([1 / 255, 1.0, 0.02])))]
    shape = image

    def add(*new):
        nonlocal shape
        layers.extend(new)
        shape = shape_after(new, shape)

    if draw(st.booleans()):
        add(Dropout(0.2))
    if draw(st.booleans()):
        add(draw_branches(draw, shape, "pixels", draw(st.integers(1, 2))))
    else:
        add(*draw_block(draw, shape))
    for _ in range(draw(st.integers(0, MOST_BLOCKS))):
        add(*draw_step(draw, shape))
    if draw(st.booleans()):
        add(draw_average(draw, shape))
    add(Flatten())
    if draw(st.booleans()):
        add(Dense(draw(st.sampled_from(CHANNELS))), draw_norm(draw), Quantize(), Dropout(0.5))
    add(Dense(3, bias=draw(st.booleans())))
    if draw(st.booleans()):
        add(draw_norm(draw))
    return layers, image


@settings(max_examples=25 if JIT_IS_OFF else 150)
@given(networks(), st.sampled_from([np.float32, np.float64]), st.integers(0, 2**32 - 1))
def test_scores_equal_the_trained_network_bit_for_bit(tmp_path_factory, drawn, dtype, seed):
    layers, shape = drawn
    rng = np.random.default_rng(seed)
    network = train_statistics(randomize(Sequential(layers, shape, rng, dtype), rng), rng)
    images, packed = some_images(shape, rng), pack(network)
    same_scores(network, packed, images)
    path = tmp_path_factory.getbasetemp() / "drawn.qnn"
    packed.save(path)
    loaded = PackedNetwork.load(path)
    same_scores(network, loaded, images)
    assert loaded.nbytes == packed.nbytes
