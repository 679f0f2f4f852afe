"""What is packed gives the trained scores bit for bit; the rest is refused with a reason."""

from __future__ import annotations

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qnn_ref import PackedNetwork, Sequential, pack
from qnn_ref.experiments.googlenet import googlenet
from qnn_ref.grid import Encoding
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
from qnn_ref.layers.weighted import Weighted
from qnn_ref.packed import identical_scores
from qnn_ref.packed.packing import levels_of, pack_product
from qnn_ref.quantizers import LinearQuant, LogQuant, Quantizer, Sign, StochasticSign

JIT_IS_OFF = bool(numba.config.DISABLE_JIT)
LARGEST_IMAGE, MOST_STEPS = (2, 1) if JIT_IS_OFF else (7, 3)

CHANNELS = [1, 3, 5] if JIT_IS_OFF else [1, 3, 5, 63, 64, 65]
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


def shape_after(layers, shape):
    for layer in layers:
        shape = layer.output_shape(shape)
    return shape


SIGNS = [Sign(), StochasticSign()]
GRIDS = [
    *(LinearQuant(2), LinearQuant(1, high=0.3), LinearQuant(3, high=2.7), LogQuant(2), LogQuant(3)),
    *(
        LinearQuant(2, reading="fixed-point"),
        LinearQuant(1, reading="unsigned"),
        LinearQuant(3, reading="unsigned"),
    ),
]


class Drawing:
    """A network, drawn layer by layer; `shape` is that of the numbers at a place."""

    def __init__(self, draw):
        self.draw = draw
        # One grid for all, so that paths can be joined; half of the networks have one bit only.
        self.activations, self.weights = SIGNS, [Sign()]
        if not self.flag():
            self.activations, self.weights = [self.one_of(GRIDS)], [Sign(), *GRIDS]

    def flag(self):
        return self.draw(st.booleans())

    def one_of(self, values):
        return self.draw(st.sampled_from(values))

    def conv(self, shape, stride=None):
        """A convolution that fits; with a stride, one that leaves the size as any other such."""
        if stride is None:
            padding = self.one_of([0, 1, 2]), self.one_of([0, 1, 2])
            room = [n + 2 * p for n, p in zip(shape, padding, strict=False)]
            kernel = self.one_of([k for k in KERNELS if k[0] <= room[0] and k[1] <= room[1]])
            stride = self.one_of([1, 2]), self.one_of([1, 2])
        else:
            kernel = self.one_of([1, 3])
            padding = kernel // 2
        return Conv2D(
            self.one_of(CHANNELS),
            kernel,
            stride=stride,
            padding=padding,
            weight_quantizer=self.one_of(self.weights),
            bias=self.flag(),
            one_padding=self.flag(),
        )

    def norm(self):
        momentum = self.one_of([0.1, 1.0])
        if self.flag():
            return ShiftBatchNorm(momentum=momentum)
        running = self.one_of(["inverse deviation", "unbiased variance"])
        return BatchNorm(momentum=momentum, running=running)

    def max_pool(self, shape):
        return MaxPool2D(2) if min(shape[:2]) >= 2 and self.flag() else MaxPool2D(3, 2, 1)

    def average_pool(self, shape):
        """With a border of zeros, without one, or over the whole image."""
        pools = [AveragePool2D(3, 1, 1), AveragePool2D((2, 3), 2, (1, 2)), AveragePool2D(shape[:2])]
        return self.one_of(pools + [AveragePool2D(2, 1)] if min(shape[:2]) >= 2 else pools)

    def block(self, shape, stride=None):
        """A convolution, batch norm and sign, with a max pool at one of its two places, or none."""
        block = [self.conv(shape, stride), self.norm(), Quantize(self.one_of(self.activations))]
        place = self.one_of([1, 2, None]) if stride is None else None
        if place is not None:
            block.insert(place, self.max_pool(shape_after(block[:1], shape)))
        return block

    def branches(self, shape, stride, pixels=False, depth=1):
        """Paths of one size that end in codes."""
        kinds = ["conv", "nested"] if depth else ["conv"]
        if not pixels:
            kinds += ["average", "max", "empty"] if stride == 1 else ["average", "max"]
        paths = []
        for kind in self.draw(st.lists(st.sampled_from(kinds), min_size=1, max_size=3)):
            if kind == "conv":
                path = self.block(shape, stride)
            elif kind == "nested":
                path = [self.branches(shape, stride, pixels, depth - 1)]
            elif kind == "average":
                pool = AveragePool2D(3, stride, 1)
                path = [pool, *self.block(pool.output_shape(shape), 1)]
            elif kind == "max":
                path = [MaxPool2D(3, stride, 1)]
            else:
                path = [Dropout(0.2)] if self.flag() else []
            paths.append(path)
        return Branches(*paths)

    def sums(self, shape):
        """An average pool, whose sums may be joined and pooled, and the block that takes them."""
        layers = [self.average_pool(shape)]
        if self.flag():
            layers.append(Branches([AveragePool2D(1)], [MaxPool2D(3, 1, 1)], [Dropout(0.1)]))
        if self.flag():
            layers.append(self.max_pool(shape_after(layers, shape)))
        return [*layers, *self.block(shape_after(layers, shape))]

    def step(self, shape):
        """What may stand between two blocks."""
        kind = self.one_of(["block", "branches", "max", "sums", "dropout", "auxiliary"])
        if kind == "block":
            return self.block(shape)
        if kind == "branches":
            return [self.branches(shape, self.one_of([1, 2]))]
        if kind == "sums":
            return self.sums(shape)
        if kind == "max":
            return [self.max_pool(shape)]
        return [Dropout(0.3)] if kind == "dropout" else [Auxiliary([Flatten(), Dense(2, None)])]

    def network(self, shape):
        layers = [Pixels(self.one_of([1 / 255, 1.0, 0.02]))]

        def add(*new):
            nonlocal shape
            layers.extend(new)
            shape = shape_after(new, shape)

        if self.flag():
            add(Dropout(0.2))
        if self.flag():
            add(self.branches(shape, self.one_of([1, 2]), pixels=True))
        else:
            add(*self.block(shape))
        for _ in range(self.draw(st.integers(0, MOST_STEPS))):
            add(*self.step(shape))
        if self.flag():
            add(self.average_pool(shape))
        add(Flatten())
        if self.flag():
            dense = Dense(self.one_of(CHANNELS), self.one_of(self.weights))
            add(dense, self.norm(), Quantize(self.one_of(self.activations)), Dropout(0.5))
        add(Dense(3, self.one_of(self.weights), bias=self.flag()))
        if self.flag():
            add(self.norm())
        return layers


@st.composite
def networks(draw):
    """Networks that can be packed, untrained: (layers, shape of an image)."""
    side = st.integers(1, LARGEST_IMAGE)
    shape = draw(side), draw(side), draw(st.sampled_from(CHANNELS))
    return Drawing(draw).network(shape), shape


@settings(max_examples=12 if JIT_IS_OFF else 150)
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


# One gain turned, one 0 with each shift: the pool in front of the sign looks for the smallest sum
# where the gain is negative.


@pytest.mark.parametrize("pool_first", [True, False])
def test_a_max_pool_sees_sums_before_batch_norm_and_bits_after_it(pool_first):
    gain = [1.0, -1.0, 0.0, 0.0, -0.0, -0.0]
    shift = [0.5, 0.5, 1.0, -1.0, 0.0, -1.0]
    pool, norm = MaxPool2D(3, 2, 1), BatchNorm()
    middle = [pool, norm] if pool_first else [norm, pool]
    layers = [Pixels(), Conv2D(6, 1), *middle, Quantize(), Flatten(), Dense(9)]
    rng = np.random.default_rng(0)
    network = Sequential(layers, (4, 5, 1), rng)
    norm.gain.assign(gain)
    norm.shift.assign(shift)
    packed = pack(network)
    images = rng.integers(0, 256, (50, 4, 5, 1), dtype=np.uint8)
    images[:25] = rng.choice([0, 255], images[:25].shape)
    same_scores(network, packed, images)
    _, threshold, packed_pool = packed.stages[:3]
    assert threshold.flip.tolist() == [False, True, False, True, False, True]
    if pool_first:
        assert packed_pool.flip.tolist() == threshold.flip.tolist()
    else:
        assert packed_pool.flip is None


def conv(units, kernel=1, **geometry):
    """A block whose output keeps nothing real."""
    return [Conv2D(units, kernel, **geometry), BatchNorm(), Quantize()]


@pytest.mark.parametrize("one_padding", [False, True])
@pytest.mark.parametrize("average", [AveragePool2D(3, 1, 1), AveragePool2D(2), AveragePool2D(1)])
def test_sums_of_an_average_pool_may_be_pooled_joined_and_convolved(average, one_padding):
    layers = [
        *(Pixels(), *conv(5), average, MaxPool2D(3, 1, 1)),
        Branches([], [AveragePool2D(1), MaxPool2D(3, 1, 1)], [Branches([])]),
        *(AveragePool2D(2, 1, 1), *conv(65, 2, padding=1, one_padding=one_padding)),
        *(AveragePool2D(2), Flatten(), Dense(4)),
    ]
    packed = packs_exactly(layers, (2, 3, 1))
    kinds = [type(stage).__name__ for stage in packed.stages]
    assert kinds == [
        *("PixelsConv", "Threshold", "SumPool", "MaxPool", "Join", "SumPool", "GridConv"),
        *("Threshold", "SumPool", "FlattenIntegers", "GridDense", "Scores"),
    ]


def test_paths_of_dense_layers_are_joined_too():
    def path(units):
        return [Dense(units), BatchNorm(), Quantize()]

    split = [Branches([Flatten(), *path(3)], [Flatten(), *path(64), *path(5)])]
    joined = Branches([], path(65), [Branches([], path(1))])
    packs_exactly([Pixels(), *split, joined, Flatten(), *path(7), Dense(3)], (3, 2, 2))


def test_a_classifier_in_the_middle_is_left_out_whatever_it_holds():
    rng = np.random.default_rng(0)
    inside = Auxiliary([Conv2D(2, 1, weight_quantizer=None), HardTanh(), Flatten(), Dense(3, None)])
    layers = [Pixels(), Auxiliary([Flatten(), Dense(3, None)]), *conv(4), inside]
    layers += [Branches([Auxiliary([Flatten(), Dense(3, None)])], conv(2)), Flatten(), Dense(3)]
    network = Sequential(layers, (3, 3, 1), rng)
    packed = pack(network)
    same_scores(network, packed, some_images((3, 3, 1), rng))
    assert [type(stage).__name__ for stage in packed.stages[:3]] == [
        *("PixelsConv", "Threshold", "Join")
    ]


@pytest.mark.slow_without_jit
def test_a_stack_like_alexnet_packs_exactly():
    layers = [Pixels()]
    for units, kernel, stride, padding, pool in (
        *((7, 11, 4, 2, True), (12, 5, 1, 2, True), (24, 3, 1, 1, False)),
        *((16, 3, 1, 1, False), (16, 3, 1, 1, True)),
    ):
        layers.append(Conv2D(units, kernel, stride=stride, padding=padding))
        layers += [*([MaxPool2D(3, 2)] if pool else []), BatchNorm(), Quantize()]
    layers += [Flatten(), Dense(70), BatchNorm(), Quantize(), Dense(10), BatchNorm()]
    packs_exactly(layers, (67, 67, 3))


@pytest.mark.slow_without_jit
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_narrow_googlenet_packs_exactly(dtype):
    layers = googlenet(10, activations=StochasticSign(), auxiliary_after=(), divide=16)
    at = next(i for i, layer in enumerate(layers) if isinstance(layer, AveragePool2D))
    layers[at] = AveragePool2D(2)  # what is left of an image of 64 x 64
    packs_exactly(layers, (64, 64, 3), dtype=dtype)


def test_identical_scores_counts_images_bit_by_bit():
    rng = np.random.default_rng(0)
    network = Sequential([Pixels(), Flatten(), Dense(3, bias=True)], (2, 2, 1), rng)
    images = rng.integers(0, 256, (9, 2, 2, 1), dtype=np.uint8)
    packed = pack(network)
    assert identical_scores(network, packed, images) == 9
    changed = network.scores(images)
    changed[[1, 4], [0, 2]] += 1

    class Other:
        def scores(self, images):
            return changed

    assert identical_scores(network, Other(), images) == 7
    network.scores = lambda images: np.zeros((9, 3), np.float32)
    changed = np.zeros((9, 3), np.float32)
    changed[5] = -0.0
    assert identical_scores(network, Other(), images) == 8
    changed = changed.astype(np.float64)
    assert identical_scores(network, Other(), images) == 0


def network_of(*layers, shape=(4,)):
    return Sequential(list(layers), shape, np.random.default_rng(0))


IMAGE = (4, 4, 2)


def convolutional(*layers):
    """Those layers after a block of bits."""
    return network_of(Pixels(), *conv(2), *layers, shape=IMAGE)


def end():
    return [Flatten(), Dense(3)]


@pytest.mark.parametrize(
    ("layers", "words"),
    [
        ([Dense(3)], "expected Pixels as the first layer .* got Dense; real-valued input"),
        ([Conv2D(3, 1)], "expected Pixels as the first layer .* got Conv2D; real-valued input"),
        ([Pixels()], "expected real scores at the end"),
        ([Pixels(), *conv(3)], "expected real scores at the end, got no Dense layer there"),
        ([Pixels(), Conv2D(3)], "expected Dense at the end, got Conv2D"),
        ([Pixels(), *conv(3), Conv2D(3, 1), BatchNorm()], "expected Dense at the end, got Conv2D"),
        ([Pixels(), Conv2D(3), MaxPool2D(2)], "expected Dense at the end, got Conv2D"),
        (
            [Pixels(), Flatten(), Dense(3), BatchNorm(), BatchNorm()],
            "expected one batch norm after the last Dense, got BatchNorm, BatchNorm",
        ),
        (
            [Pixels(), Flatten(), Dense(3), HardTanh()],
            "expected one batch norm after the last Dense, got HardTanh",
        ),
    ],
)
def test_a_network_without_pixels_or_scores_is_refused(layers, words):
    with pytest.raises(ValueError, match=f"^network: {words}"):
        pack(network_of(*layers, shape=IMAGE))


@pytest.mark.parametrize(
    ("layers", "index", "reason"),
    [
        ([BatchNorm(), *end()], 1, "no packed form here"),
        ([HardTanh(), *end()], 1, "no packed form here"),
        ([Quantize(), *end()], 1, "expected a Dense or Conv2D layer before it"),
        ([Dense(3), *end()], 1, r"expected a flat input, got \(4, 4, 2\): put Flatten before it"),
        ([Conv2D(3, weight_quantizer=None), *end()], 1, r"weight_quantizer=Sign\(\)"),
        ([Flatten(), Dense(3, None)], 2, r"weight_quantizer=Sign\(\)"),
        ([Conv2D(3), Conv2D(3, 1), *end()], 2, "its input is not quantized: a Quantize layer must"),
        ([Conv2D(3), BatchNorm(), *end()], 3, "no packed form between a product and its sign"),
        ([Conv2D(3), AveragePool2D(2), *end()], 2, "between a product and its sign"),
        ([Conv2D(3), Branches([]), *end()], 2, "between a product and its sign"),
        ([MaxPool2D(2), *conv(2), *end()], 1, "a max pool of pixels"),
        ([AveragePool2D(2), *conv(2), *end()], 1, "an average pool of pixels"),
        ([Branches([], []), *conv(2), *end()], 1, "paths give pixels, which cannot be joined"),
        ([*conv(2), HardTanh(), *end()], 4, "no packed form here"),
        ([*conv(2), BatchNorm(), *end()], 4, "no packed form here"),
        ([*conv(2), Quantize(), *end()], 4, "expected a Dense or Conv2D layer before it"),
        ([*conv(2), AveragePool2D(2), Quantize(), *end()], 5, "a Dense or Conv2D layer before it"),
        (
            [*conv(2), Branches([], [AveragePool2D(1)]), *end()],
            4,
            "paths give bits, integers, which cannot be joined",
        ),
    ],
)
def test_a_layer_that_cannot_be_packed_is_named_with_its_reason(layers, index, reason):
    network = network_of(Pixels(), *layers, shape=IMAGE)
    name = type(network.layers[index]).__name__
    with pytest.raises(ValueError, match=rf"^layer {index} \({name}\): .*{reason}"):
        pack(network)


@pytest.mark.parametrize(
    "layers",
    [
        [MaxPool2D(2), MaxPool2D(2), BatchNorm()],
        [MaxPool2D(2), BatchNorm(), MaxPool2D(2)],
        [BatchNorm(), MaxPool2D(2), BatchNorm()],
    ],
)
def test_only_one_max_pool_at_two_places_of_a_block(layers):
    words = "one max pool, right after the product or right before the sign"
    place = 2 + len(layers)
    with pytest.raises(ValueError, match=rf"^layer {place} \(Quantize\): expected {words}$"):
        pack(network_of(Pixels(), Conv2D(2, 1), *layers, Quantize(), *end(), shape=IMAGE))


@pytest.mark.parametrize(
    ("paths", "words"),
    [
        ([[Conv2D(2, 1)], [Conv2D(2, 1)]], "path 0: its end is not quantized: a Quantize layer"),
        ([[*conv(2), Conv2D(2, 1), BatchNorm()]], "path 0: its end is not quantized"),
        ([[HardTanh()], [HardTanh()]], r"path 0: layer 0 \(HardTanh\): this layer has no packed"),
        (
            [[], [*conv(2), HardTanh(), *conv(2)]],
            r"path 1: layer 3 \(HardTanh\): this layer has no packed form here",
        ),
        (
            [[], [Conv2D(2, 1, weight_quantizer=None), BatchNorm(), Quantize()]],
            r"path 1: layer 0 \(Conv2D\): expected .*weight_quantizer=Sign\(\)",
        ),
        (
            [[], [Branches([], [], [MaxPool2D(1), HardTanh(), Quantize()])]],
            r"path 1: layer 0 \(Branches\): path 2: layer 1 \(HardTanh\): this layer has no packed",
        ),
    ],
)
def test_a_refused_path_is_named_by_its_number(paths, words):
    with pytest.raises(ValueError, match=rf"^layer 4 \(Branches\): {words}"):
        pack(convolutional(Branches(*paths), *conv(2), *end()))


def test_bits_and_integers_are_not_joined_when_the_network_is_built():
    words = r"layer 4 \(Branches\): paths: AveragePool2D of path 0 gives .* Quantize of path 1"
    with pytest.raises(ValueError, match=words):
        convolutional(Branches([AveragePool2D(3, 1, 1)], conv(2)), *end())


def test_a_layer_of_another_kind_with_weights_is_refused():
    class Strange(Weighted):
        def build(self, input_shape, *others):
            super().build(input_shape, *others)
            self.make_weights((*input_shape, self.units), *input_shape, self.units)
            return self

    with pytest.raises(ValueError, match=r"layer 2 \(Strange\): this layer has no packed form"):
        pack(network_of(Pixels(), Flatten(), Strange(3), shape=IMAGE))


def test_what_packs_is_a_network():
    with pytest.raises(TypeError, match=r"^network: expected an object of Sequential"):
        pack([Pixels(), Dense(3)])


def test_an_open_block_is_told_before_the_weights_that_follow():
    """Real weights behind it too: the first reason from the left is the one to mend."""
    network = network_of(Pixels(), Conv2D(3), Conv2D(3, 1, weight_quantizer=None), shape=IMAGE)
    with pytest.raises(ValueError, match=r"^layer 2 \(Conv2D\): its input is not quantized"):
        pack(network)


def test_flattening_what_is_flat_is_no_step():
    """Between two blocks, and between a product and its sign."""
    row = [Pixels(), Dense(5), Flatten(), BatchNorm(), Quantize(), Flatten(), Dense(3)]
    kinds = [type(stage).__name__ for stage in packs_exactly(row, (4,)).stages]
    assert kinds == ["PixelsDense", "Threshold", "XnorDense", "Scores"]


@pytest.mark.parametrize("weights", [Sign(), LinearQuant(2)])
def test_a_dense_layer_takes_no_images_whatever_its_weights(weights):
    network = network_of(Pixels(), Dense(3, weights), shape=IMAGE)
    words = r"^layer 1 \(Dense\): expected a flat input, got \(4, 4, 2\): put Flatten before it"
    with pytest.raises(ValueError, match=words):
        pack(network)


@pytest.mark.parametrize("encoding", [None, Encoding(1.0, -1, 1, 2).off_grid()])
def test_a_product_of_real_numbers_is_not_packed(encoding):
    layer = network_of(Pixels(), Dense(3)).layers[1]
    layer.encoding = encoding
    with pytest.raises(ValueError, match=r"^its input is not quantized: a Quantize layer must"):
        pack_product(layer, "bits")


def test_sums_of_31_bits_are_packed_and_the_next_are_not():
    """Weights of up to 2^30 with one input, and with two."""
    rows = [[Pixels(), Dense(n), Quantize(), Dense(3, LogQuant(6))] for n in (1, 2)]
    widest = network_of(*rows[0]).layers[-1]
    assert widest.largest_product * widest.fan_in == 2**30
    packs_exactly(rows[0], (4,))
    with pytest.raises(ValueError, match=r"^layer 3 \(Dense\): sums of 2 products of up to 1.0737"):
        pack(network_of(*rows[1]))


def test_a_quantizer_without_a_grid_is_a_reason_not_to_pack():
    with pytest.raises(ValueError, match=r"^Quantizer has no fixed grid of codes"):
        levels_of(Quantizer())
