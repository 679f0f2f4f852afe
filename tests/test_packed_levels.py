"""Packed networks of k bits: the trained scores bit for bit, codes between the steps."""

from __future__ import annotations

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qnn_ref import PackedNetwork, Sequential, pack
from qnn_ref.bits import to_planes
from qnn_ref.files import FileError
from qnn_ref.grid import PIXELS, SIGNS, Grid
from qnn_ref.layers import (
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
from qnn_ref.packed.product_stages import GridConv, GridDense
from qnn_ref.packed.shape_stages import Join
from qnn_ref.packed.stages import Flow, stage_of
from qnn_ref.packed.thresholds import Levels, Scores
from qnn_ref.quantizers import Encoding, LinearQuant, LogQuant, Sign, StochasticSign

JIT_IS_OFF = bool(numba.config.DISABLE_JIT)
LARGEST_IMAGE, IMAGES, MOST_LOG_BITS = (2, 2, 3) if JIT_IS_OFF else (5, 5, 4)
CHANNELS = [1, 3] if JIT_IS_OFF else [1, 3, 5, 64, 65]
DTYPES = [np.float32, np.float64]
SEEDS = st.integers(0, 2**32 - 1)
HIGHS = [1.0, 1.0, 0.5, 1.5, 0.3]


# A network is drawn layer by layer


def draw_weights(draw):
    kind = draw(st.sampled_from(["Sign", "symmetric", "fixed-point", "Log"]))
    if kind == "Sign":
        return Sign()
    if kind == "Log":
        return LogQuant(draw(st.integers(2, MOST_LOG_BITS)), draw(st.sampled_from([0, 0, -1])))
    high = draw(st.sampled_from(HIGHS))
    return LinearQuant(
        draw(st.integers(1 if kind == "symmetric" else 2, 4)), high=high, reading=kind
    )


def draw_activation(draw):
    kind = draw(st.sampled_from(["Sign", "symmetric", "fixed-point", "unsigned", "Log"]))
    if kind == "Sign":
        return draw(st.sampled_from([Sign(), StochasticSign()]))
    if kind == "Log":
        bits, exponent = draw(st.integers(2, MOST_LOG_BITS)), draw(st.sampled_from([0, 1]))
        return LogQuant(bits, exponent, draw(st.booleans()))
    high = draw(st.sampled_from(HIGHS))
    return LinearQuant(
        draw(st.integers(1 if kind != "fixed-point" else 2, 4)), high=high, reading=kind
    )


def draw_norm(draw):
    norm = draw(st.sampled_from([BatchNorm, ShiftBatchNorm]))
    return norm(momentum=draw(st.sampled_from([0.1, 1.0])))


def draw_dense(draw, units):
    return Dense(units, draw_weights(draw), bias=draw(st.booleans()))


def shape_after(layers, shape):
    for layer in layers:
        shape = layer.output_shape(shape)
    return shape


def draw_block(draw, shape, activation, same_size=False):
    """A convolution, batch norm and quantizer, with a max pool at one of its two places or none."""
    kernel = draw(st.sampled_from([1, 3] if same_size or min(shape[:2]) < 2 else [1, 2, 3]))
    padding = kernel // 2 if same_size else draw(st.integers(kernel // 2, 2))
    conv = Conv2D(
        draw(st.sampled_from(CHANNELS)),
        kernel,
        stride=1 if same_size else draw(st.integers(1, 2)),
        padding=padding,
        weight_quantizer=draw_weights(draw),
        bias=draw(st.booleans()),
        one_padding=draw(st.booleans()),
    )
    block = [conv, draw_norm(draw), Quantize(activation)]
    place = None if same_size else draw(st.sampled_from([1, 2, None]))
    if place is not None:
        block.insert(place, MaxPool2D(3, 2, 1))
    return block


def draw_branches(draw, shape, activation):
    """Paths of k bits that all end in the same quantizer; `activation` stands before them too."""
    paths = []
    for kind in draw(st.lists(st.sampled_from(["conv", "average", "max", "empty"]), min_size=1,
                              max_size=3)):  # fmt: skip
        if kind == "empty":
            paths.append([Dropout(0.2)] if draw(st.booleans()) else [])
        elif kind == "max":
            paths.append([MaxPool2D(3, 1, 1)])
        elif kind == "average":
            path = [AveragePool2D(3, 1, 1), *draw_block(draw, shape, activation, same_size=True)]
            paths.append(path)
        else:
            paths.append(draw_block(draw, shape, activation, same_size=True))
    return Branches(*paths)


@st.composite
def convolutional(draw):
    side = st.integers(1, LARGEST_IMAGE)
    image = draw(side), draw(side), draw(st.sampled_from([1, 3]))
    layers, shape = [Pixels(draw(st.sampled_from([1 / 255, 0.02])))], image

    def add(*new):
        nonlocal shape
        layers.extend(new)
        shape = shape_after(new, shape)

    if draw(st.booleans()):
        add(Dropout(0.2))
    activation = draw_activation(draw)
    add(*draw_block(draw, shape, activation))
    step = draw(st.sampled_from(["branches", "max", "average", "block", "none"]))
    if step == "branches":
        add(draw_branches(draw, shape, activation))
    elif step == "max":
        add(MaxPool2D(3, 2, 1))
    elif step == "average":
        add(AveragePool2D(3, 1, 1) if draw(st.booleans()) else AveragePool2D(shape[:2]))
    elif step == "block":
        add(*draw_block(draw, shape, draw_activation(draw)))
    add(Flatten())
    if draw(st.booleans()):
        hidden = draw_dense(draw, draw(st.sampled_from(CHANNELS)))
        add(hidden, draw_norm(draw), Quantize(draw_activation(draw)), Dropout(0.5))
    add(draw_dense(draw, 3), *([draw_norm(draw)] if draw(st.booleans()) else []))
    return layers, image


@st.composite
def dense(draw):
    image = draw(st.sampled_from([(5,), (3, 2, 1), (66,), (4, 5, 3)]))
    layers = [Pixels(), *([] if len(image) == 1 else [Flatten()])]
    for _ in range(draw(st.integers(0, 2))):
        layers.append(draw_dense(draw, draw(st.sampled_from(CHANNELS))))
        layers.append(draw_norm(draw))
        layers += [HardTanh()] if draw(st.booleans()) else []
        layers.append(Quantize(draw_activation(draw)))
        layers += [Dropout(0.3)] if draw(st.booleans()) else []
    layers.append(draw_dense(draw, 4))
    return layers + ([draw_norm(draw)] if draw(st.booleans()) else []), image


def trained(layers, shape, seed, dtype=np.float32):
    """Gains of both signs, exactly 0 and -0; running statistics as training leaves them."""
    rng = np.random.default_rng(seed)
    network = Sequential(layers, shape, rng, dtype)
    for name, parameter in network.parameters().items():
        if name.endswith(("gain", "shift", "bias")):
            value, zero = rng.normal(size=parameter.shape), rng.random(parameter.shape)
            value[zero < 0.2] = 0.0
            value[zero < 0.1] = -0.0
            parameter.assign(value)
    for _ in range(2):
        images = rng.integers(0, 256, (5, *shape), dtype=np.uint8)
        network.forward(images, training=True)
    return network


def some_images(shape, seed):
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (IMAGES, *shape), dtype=np.uint8)
    images[0], images[-1] = rng.choice([0, 127, 128, 255], shape), 255
    return images


def same_scores(network, packed, images):
    """Bit for bit, so 0 and -0 differ."""
    ours, theirs = packed.scores(images), network.scores(images)
    assert ours.dtype == theirs.dtype
    words = f"u{theirs.itemsize}"
    np.testing.assert_array_equal(ours.view(words), theirs.view(words))


def packs_exactly(layers, shape, seed=0, dtype=np.float32):
    network = trained(layers, shape, seed, dtype)
    packed = pack(network)
    images = some_images(shape, seed)
    same_scores(network, packed, images)
    assert identical_scores(network, packed, images) == len(images)
    return packed


def all_stages(stages):
    for stage in stages:
        yield stage
        if isinstance(stage, Join):
            yield from all_stages(step for path in stage.paths for step in path)


def check_steps(packed, images):
    """Words of bits, pixels or int32 between the steps; each of the promised shape."""
    x, flow = images, Flow("pixels", images.shape[1:], PIXELS)
    for stage in packed.stages[:-1]:
        x, flow = stage.run(x), stage.output(flow)
        assert x.dtype == {"bits": np.uint64, "integers": np.int32}[flow.kind]
        if x.dtype == np.int32:
            assert x.shape == (len(images), *flow.shape)
            assert flow.grid.low <= x.min()
            assert x.max() <= flow.grid.high
            assert not np.any((x.astype(np.int64) - flow.grid.low) % flow.grid.step)
        if isinstance(stage, Levels):
            assert x.dtype == np.int32
            assert np.isin(x, stage.codes).all()


def check_thresholds(stage):
    """Each further code needs more: the channels' thresholds are nested, in one direction."""
    order = stage.at.astype(np.int64)
    for shift in (-1, 0):
        for row in np.maximum(order + shift, order.min()):  # constant channels: the least sum
            passed = (row >= stage.at) ^ stage.flip
            assert np.all(passed[1:] <= passed[:-1])
    rising, falling = ~stage.flip.any(axis=0), stage.flip.all(axis=0)
    assert np.all(np.diff(order[:, rising], axis=0) >= 0)
    assert np.all(np.diff(order[:, falling], axis=0) <= 0)
    assert np.all(np.diff(stage.codes) > 0)


def check_network(drawn, dtype, seed, path):
    layers, shape = drawn
    network, images = trained(layers, shape, seed, dtype), some_images(shape, seed)
    packed = pack(network)
    same_scores(network, packed, images)
    check_steps(packed, images)
    for stage in all_stages(packed.stages):
        if isinstance(stage, Levels):
            check_thresholds(stage)
    packed.save(path)
    loaded = PackedNetwork.load(path)
    same_scores(network, loaded, images)
    assert loaded.nbytes == packed.nbytes


@settings(max_examples=8 if JIT_IS_OFF else 100)
@given(dense(), st.sampled_from(DTYPES), SEEDS)
def test_scores_of_dense_networks_of_k_bits_are_equal_bit_for_bit(
    tmp_path_factory, drawn, dtype, seed
):
    check_network(drawn, dtype, seed, tmp_path_factory.getbasetemp() / "dense.qnn")


@settings(max_examples=6 if JIT_IS_OFF else 100)
@given(convolutional(), st.sampled_from(DTYPES), SEEDS)
def test_scores_of_convolutional_networks_of_k_bits_are_equal_bit_for_bit(
    tmp_path_factory, drawn, dtype, seed
):
    check_network(drawn, dtype, seed, tmp_path_factory.getbasetemp() / "convolutional.qnn")


# The steps, one by one

QUANTIZERS = [
    LinearQuant(2),
    LinearQuant(4, high=1.5),
    LinearQuant(3, reading="fixed-point"),
    LinearQuant(2, -0.3, 0.7, "fixed-point"),
    LinearQuant(1, reading="unsigned"),
    LinearQuant(3, high=0.3, reading="unsigned"),
    LogQuant(2),
    LogQuant(4, 1),
]


@pytest.mark.parametrize("norm", [BatchNorm, ShiftBatchNorm])
@pytest.mark.parametrize("q", QUANTIZERS, ids=repr)
def test_codes_are_those_of_the_float_code_for_every_sum(q, norm):
    """The thresholds are exact at every integer, for gains of both signs and 0."""
    layer = norm()
    layers = [Pixels(0.02), Dense(9, bias=True), layer, Quantize(q), Dense(2)]
    network = trained(layers, (3,), 1)
    layer.gain.assign([1, -1, 0, -0.0, 0.3, -0.3, 5, -5, 0.02])
    stage = next(s for s in pack(network).stages if isinstance(s, Levels))
    sums = np.tile(np.arange(-765, 766)[:, None], 9)
    y = layers[1].finish(sums.astype(np.float32))
    expected = layers[3].pointwise(layer.pointwise(y))
    got = stage.run(sums.astype(np.int32))
    assert got.dtype == np.int32
    np.testing.assert_array_equal(got, expected)
    np.testing.assert_array_equal(stage.codes, q.levels)
    assert stage.at.shape == stage.flip.shape == (len(q.levels) - 1, 9)
    assert len(np.unique(got)) == len(q.levels)  # every code occurs
    check_thresholds(stage)


@pytest.mark.parametrize(
    "q", [Sign(), LinearQuant(1), LinearQuant(1, high=0.5), StochasticSign()], ids=repr
)
def test_one_bit_runs_on_xnor(q):
    hidden = [Dense(5), BatchNorm(), Quantize(q)]
    packed = packs_exactly([Pixels(), *hidden, Dense(6, LinearQuant(1, high=0.3))], (7,))
    kinds = [type(stage).__name__ for stage in packed.stages]
    assert kinds == ["PixelsDense", "Threshold", "XnorDense", "Scores"]


@pytest.mark.slow_without_jit
def test_k_bits_run_on_planes():
    two, log, unsigned = LinearQuant(2), LogQuant(3), LinearQuant(3, reading="unsigned")
    layers = [
        *(Pixels(), Conv2D(6, 3, padding=1, weight_quantizer=two), BatchNorm(), Quantize(two)),
        *(Conv2D(5, 2), MaxPool2D(), BatchNorm(), Quantize(unsigned)),
        *(Flatten(), Dense(4, log), BatchNorm(), Quantize(), Dense(3, log)),
    ]
    packed = packs_exactly(layers, (6, 5, 2))
    kinds = [type(stage).__name__ for stage in packed.stages]
    first, second = ["GridConv", "Levels"], ["GridConv", "MaxPool", "Levels"]
    assert kinds == [
        *(*first, *second, "FlattenIntegers", "GridDense", "Threshold", "GridDense", "Scores")
    ]
    conv, hidden, last = packed.stages[0], packed.stages[6], packed.stages[8]
    assert (conv.grid, conv.weights, conv.weights.offset) == (PIXELS, Grid(-3, 3, 2), 0)
    assert conv.words.shape == (2, 6, 3, 3, 1)
    assert (hidden.grid, hidden.weights) == (Grid(0, 7, 1), Grid(-4, 4, 1))
    assert hidden.weights.offset == 7
    assert hidden.words.shape == (4, 4, 1)
    assert last.grid == SIGNS


@pytest.mark.parametrize(
    ("weights", "shape"),
    [
        (LinearQuant(2), (6,)),
        (LinearQuant(2), (3, 3, 1)),
        pytest.param(
            LinearQuant(3, reading="fixed-point"), (4, 3, 2), marks=pytest.mark.slow_without_jit
        ),
        pytest.param(LogQuant(2), (4, 3, 2), marks=pytest.mark.slow_without_jit),
    ],
)
def test_pixels_meet_weights_of_two_bits_in_the_first_layer(weights, shape):
    """A dense layer takes images: the first product flattens by itself."""
    flatten = [Flatten()] if len(shape) > 1 else []
    rest = [BatchNorm(), Quantize(LinearQuant(2)), Dense(3, weights)]
    packed = packs_exactly([Pixels(), *flatten, Dense(5, weights), *rest], shape)
    assert type(packed.stages[0]) is GridDense
    assert packed.stages[0].grid == PIXELS
    if flatten:
        for padding, ones in ((0, False), (1, False), (1, True)):
            conv = Conv2D(5, 3, padding=padding, weight_quantizer=weights, one_padding=ones)
            rest = [BatchNorm(), Quantize(LinearQuant(2)), Flatten(), Dense(3, weights)]
            packed = packs_exactly([Pixels(), conv, *rest], shape)
            assert type(packed.stages[0]) is GridConv


@pytest.mark.slow_without_jit
@pytest.mark.parametrize("one_padding", [False, True])
@pytest.mark.parametrize("weights", [Sign(), *QUANTIZERS[:5], LogQuant(3)], ids=repr)
def test_a_border_of_zeros_or_ones_is_exact(weights, one_padding):
    """Zero is no code of L3, and the row sums of an offset see the border too."""
    for activation in (
        LinearQuant(2),
        LinearQuant(2, reading="fixed-point"),
        LinearQuant(2, reading="unsigned"),
    ):
        conv = Conv2D(
            4, 3, padding=(2, 1), stride=(1, 2), weight_quantizer=weights, one_padding=one_padding
        )
        first = [Pixels(), Conv2D(3, 1), BatchNorm(), Quantize(activation)]
        packs_exactly([*first, conv, BatchNorm(), Quantize(), Flatten(), Dense(2)], (3, 4, 1))


@pytest.mark.slow_without_jit
@pytest.mark.parametrize("q", QUANTIZERS, ids=repr)
@pytest.mark.parametrize("place", ["before", "after"])
def test_a_max_pool_before_or_after_batch_norm(place, q):
    pool = MaxPool2D(3, 2, 1)
    middle = [pool, BatchNorm()] if place == "before" else [BatchNorm(), pool]
    layers = [Pixels(), Conv2D(6, 1), *middle, Quantize(q), Flatten(), Dense(9, LinearQuant(2))]
    packed = packs_exactly(layers, (4, 5, 1))
    kinds = [type(stage).__name__ for stage in packed.stages]
    steps = ["MaxPool", "Levels"] if place == "before" else ["Levels", "MaxPool"]
    assert kinds[1:3] == steps


@pytest.mark.slow_without_jit
@pytest.mark.parametrize(
    "q", [LinearQuant(2), LinearQuant(2, reading="unsigned"), LogQuant(3)], ids=repr
)
def test_branches_and_pools_of_codes(q):
    def block(units, kernel):
        conv = Conv2D(units, kernel, padding=kernel // 2, weight_quantizer=LinearQuant(2))
        return [conv, BatchNorm(), Quantize(q)]

    pooled = [AveragePool2D(3, 1, 1), *block(2, 1)]
    layers = [
        *(Pixels(), *block(5, 3)),
        Branches(block(3, 1), [], [MaxPool2D(3, 1, 1)], pooled, [Branches(block(2, 3), [])]),
        *(Dropout(0.2), MaxPool2D(), AveragePool2D(2), Flatten(), Dense(3, LogQuant(3))),
    ]
    packed = packs_exactly(layers, (5, 4, 2))
    assert sum(isinstance(stage, Levels) for stage in all_stages(packed.stages)) == 4


@given(
    st.sampled_from([(-1, 1, 2), (-3, 3, 2), (-4, 3, 1), (0, 7, 1), (-4, 4, 1), (5, 20, 5)]),
    st.sampled_from([(-3, 3, 2), (-2, 1, 1), (0, 3, 1), (-4, 4, 1), (5, 20, 5), (-1, 1, 2)]),
    st.sampled_from(CHANNELS),
    SEEDS,
)
def test_a_dense_step_is_the_integer_product(grid, weights, size, seed):
    rng = np.random.default_rng(seed)

    def draw(grid, *shape):
        low, high, step = grid
        return (low + step * rng.integers(0, (high - low) // step + 1, shape)).astype(np.int32)

    x, w = draw(grid, 3, size), draw(weights, 4, size)
    stage = GridDense(to_planes(w, Grid(*weights)), size, grid, weights)
    again = stage_of(stage.describe(), {"0/words": stage.words}, "0")
    for step in (stage, again):
        sums = step.run(to_planes(x, SIGNS)[0] if grid == (-1, 1, 2) else x)
        assert sums.dtype == np.int32
        np.testing.assert_array_equal(sums, x @ w.T)


def test_dropout_and_stochastic_codes_are_switched_off():
    q = LogQuant(4, stochastic=True)
    hidden = [Dense(8, LinearQuant(2)), BatchNorm(), Quantize(q), Dropout(0.4)]
    network = trained([Pixels(), Dropout(0.2), *hidden, Dense(3)], (9,), 0)
    state = network.rng.bit_generator.state
    same_scores(network, pack(network), some_images((9,), 0))
    assert network.rng.bit_generator.state == state


@pytest.mark.slow_without_jit
def test_sums_beyond_2_to_the_24_round_once_as_in_training():
    """Too large for float32 integers: the float product is rounded once, the packed one is not."""
    q = LogQuant(4)
    layers = [Pixels(), Dense(700, q), BatchNorm(), Quantize(LogQuant(5)), Dense(5, q, bias=True)]
    assert 2**14 * 64 * 700 > 2**24
    packs_exactly(layers, (80,))


# Refused, with a reason


def hidden():
    return [Dense(5), BatchNorm()]


@pytest.mark.parametrize(
    ("layers", "words"),
    [
        (
            lambda: [*hidden(), Quantize(LogQuant(6)), Dense(3)],
            r"layer 4 \(Dense\): sums of 5 products of up to 1.07.*e\+09 do not fit in 31 bits",
        ),
        (
            lambda: [*hidden(), Quantize(LogQuant(5)), Dense(3, LogQuant(6))],
            r"layer 4 \(Dense\): sums of 5 products .* do not fit in 31 bits",
        ),
        (
            lambda: [*hidden(), Quantize(LinearQuant(2)), Dense(3, None)],
            r"layer 4 \(Dense\): expected quantized weights .*, got real ones",
        ),
        (
            lambda: [*hidden(), Dense(3, LinearQuant(2))],
            r"layer 3 \(Dense\): its input is not quantized: a Quantize layer must come first",
        ),
        (
            lambda: [*hidden(), Quantize(LinearQuant(2))],
            "network: expected real scores at the end",
        ),
    ],
)
def test_what_cannot_be_packed_exactly_is_refused(layers, words):
    network = Sequential([Pixels(), *layers()], (4,), np.random.default_rng(0))
    with pytest.raises(ValueError, match=words):
        pack(network)


@pytest.mark.parametrize(
    ("layers", "error", "words"),
    [
        (
            lambda: [*hidden(), Quantize(LogQuant(7)), Dense(3)],
            ValueError,
            r"layer 4 \(Dense\): weight_quantizer: sums of 5 products .* no exact whole numbers",
        ),
        (
            lambda: [Dense(3, LogQuant(4, exponent=None))],
            TypeError,
            r"layer 1 \(Dense\): LogQuant: its range comes from the data; there is no fixed grid",
        ),
    ],
)
def test_sums_that_are_not_exact_are_refused_when_the_network_is_made(layers, error, words):
    with pytest.raises(error, match=words):
        Sequential([Pixels(), *layers()], (4,), np.random.default_rng(0))


def test_codes_without_a_grid_are_refused_when_the_network_is_made():
    layers = [Pixels(), *hidden(), Quantize(LogQuant(4, exponent=None))]
    with pytest.raises(TypeError, match=r"layer 3 \(Quantize\): LogQuant: its range comes from"):
        Sequential(layers, (4,), np.random.default_rng(0))


def test_branches_of_different_codes_are_refused():
    paths = [[Conv2D(2, 1), BatchNorm(), Quantize(q)] for q in (LinearQuant(2), LinearQuant(3))]
    with pytest.raises(ValueError, match="joined channels must have one encoding"):
        Sequential([Pixels(), Branches(*paths)], (2, 2, 1), np.random.default_rng(0))


GRID = Grid(-3, 3, 2)
W = to_planes(np.ones((4, 5)), GRID)
K = to_planes(np.ones((4, 3, 3, 5)), GRID)
AT, FLIP = np.zeros((3, 4), np.int32), np.zeros((3, 4), np.bool_)
CODES = np.array([-3, -1, 1, 3], np.int32)


def flow(*shape):
    return Flow("integers", shape, GRID)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: GridDense(W, 5, (-3, 3), GRID), ValueError, "grid: expected low, high and step"),
        (
            lambda: GridDense(W, 5, GRID, (-3, 3.0, 2)),
            TypeError,
            "weights: expected a whole number",
        ),
        (
            lambda: GridDense(W, 5, GRID, (-3, 3, 4)),
            ValueError,
            "weights: step: expected a divisor of high - low = 6, got 4",
        ),
        (lambda: GridDense(W, 70, GRID, GRID), ValueError, r"words: expected shape \(..., 2\)"),
        (
            lambda: GridDense(W, 5, GRID, GRID).output(flow(6)),
            ValueError,
            r"expected 5 inputs, got \(6,\)",
        ),
        (
            lambda: GridDense(W[:1], 5, GRID, GRID),
            ValueError,
            "words: expected 2 planes for -3, -1, ..., 3, got 1",
        ),
        (
            lambda: GridDense(W, 5, GRID, GRID).run(np.full((1, 5), 2, np.int32)),
            ValueError,
            "codes: expected one of -3, -1, ..., 3; got 2",
        ),
        (
            lambda: GridConv(K, 5, GRID, GRID, (1, 1), (0, 0), False).output(flow(3, 3, 6)),
            ValueError,
            r"expected 5 channels, got \(3, 3, 6\)",
        ),
        (
            lambda: GridConv(K, 5, GRID, GRID, (0, 1), (0, 0), False),
            ValueError,
            "stride: expected a whole number from 1",
        ),
        (lambda: Levels(AT, FLIP, CODES[:3]), ValueError, r"at: expected int32 \(2, 4\)"),
        (lambda: Levels(AT, FLIP[:2], CODES), ValueError, r"flip: expected bool \(3, 4\)"),
        (lambda: Levels(AT, FLIP, CODES.astype("i8")), ValueError, "codes: expected int32"),
        (lambda: Levels(AT.astype(float), FLIP, CODES), ValueError, "at: expected int32"),
        (
            lambda: Levels(AT, FLIP, CODES).output(flow(3, 5)),
            ValueError,
            r"expected 4 channels, got \(3, 5\)",
        ),
    ],
)
def test_steps_that_do_not_fit_are_refused(call, error, words):
    with pytest.raises(error, match="^" + words):
        call()


@pytest.mark.parametrize(
    "change",
    [
        {"weights": (-3, 3, 1)},  # another number of planes
        {"grid": (-7, 7, 2)},
        {"size": 70},
        {"grid": None},
        {"weights": "abc"},
    ],
    ids=repr,
)
def test_a_damaged_file_is_refused_when_it_is_loaded(tmp_path, change):
    layers = [Pixels(), Dense(5, LinearQuant(2)), BatchNorm(), Quantize(LinearQuant(2)), Dense(3)]
    packed = packs_exactly(layers, (6,))
    stage = packed.stages[0]
    settings = stage.settings() | change

    def describe():
        return {"kind": "GridDense"} | settings

    stage.describe = describe
    packed.save(tmp_path / "a.qnn")
    with pytest.raises(FileError, match="damaged packed network file"):
        PackedNetwork.load(tmp_path / "a.qnn")


def test_what_stands_between_two_steps_is_stated_by_the_encoding():
    """Pixels, codes, signs: the grids of the steps are those of the layers' encodings."""
    q = LinearQuant(3, reading="fixed-point")
    layers = [Pixels(), Dense(4, q), BatchNorm(), Quantize(q), Dense(3, q)]
    network = trained(layers, (5,), 0)
    packed = pack(network)
    assert network.layers[4].encoding == Encoding(0.25, -4, 3, 1)
    assert packed.stages[2].grid == packed.stages[2].weights == q.encoding.grid
    scores = packed.stages[-1]
    assert isinstance(scores, Scores)
    assert scores.scale == 0.25 * 0.25
