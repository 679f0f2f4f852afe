"""Each step of a packed convolutional network alone, against the layer that it stands for."""

from __future__ import annotations

import dataclasses

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qnn_ref.bits import pack, pack_kernel, unpack
from qnn_ref.grid import PIXELS, SIGNS, Grid
from qnn_ref.layers import (
    AveragePool2D,
    Branches,
    Conv2D,
    Dense,
    Flatten,
    MaxPool2D,
    Pixels,
    Quantize,
)
from qnn_ref.packed.product_stages import GridConv, GridDense, PixelsConv, XnorConv
from qnn_ref.packed.shape_stages import (
    FlattenBits,
    FlattenIntegers,
    Join,
    MaxPool,
    SumPool,
    repack,
)
from qnn_ref.packed.stages import Flow, stage_of
from qnn_ref.packed.thresholds import Threshold
from qnn_ref.quantizers import Encoding

JIT_IS_OFF = bool(numba.config.DISABLE_JIT)
LARGEST_IMAGE = 3 if JIT_IS_OFF else 6

BITS = Encoding(1.0, -1, 1, 2)

# +-1; pixels; codes without a zero, with one, with zero at an end, of one sign.
GRIDS = [
    *(SIGNS, PIXELS, Grid(-9, 9, 2), Grid(-9, 9, 1)),
    *(Grid(0, 4, 1), Grid(5, 20, 5), Grid(-50, -2, 3)),
]

CHANNELS = st.sampled_from([1, 3, 5, 63, 64, 65, 128, 130])
FEW = st.sampled_from([1, 3, 5, 64, 65])
UNITS = st.sampled_from([1, 3] if JIT_IS_OFF else [1, 3, 5, 64, 65])
SEEDS = st.integers(0, 2**32 - 1)
SIDES = st.integers(1, LARGEST_IMAGE)


def signs(rng, *shape):
    return rng.choice(np.array([-1, 1], np.int32), shape)


def grid_codes(rng, grid, *shape):
    low, high, step = grid
    return (low + step * rng.integers(0, (high - low) // step + 1, shape)).astype(np.int32)


def run(stage, x, input_shape, grid=None):
    """The output, which is of the kind, the shape and the range that the step promises."""
    y, flow = stage.run(x), stage.output(flow_of(x, input_shape, grid))
    assert flow.kind == ("bits" if y.dtype == np.uint64 else "integers")
    if y.dtype == np.uint64:
        y = unpack(y, flow.shape[-1], np.int32)  # also refuses a bit beyond the channels
    assert y.dtype == np.int32
    assert y.shape == (len(x), *flow.shape)
    low, high, step = flow.grid
    assert low <= y.min()
    assert y.max() <= high
    assert not np.any((y.astype(np.int64) - low) % step)
    return y


def flow_of(x, shape, grid):
    """What flows in: of integers the tightest grid that holds them."""
    if x.dtype == np.uint8:
        return Flow("pixels", shape, PIXELS)
    if x.dtype == np.uint64:
        return Flow("bits", shape, SIGNS)
    low, high, step = x.min(), x.max(), np.gcd.reduce(np.unique(x) - x.min())
    tightest = Grid(low, high, step) if low < high else Grid(low, high + 1, 1)
    return Flow("integers", shape, grid or tightest)


def float_layer(layer, codes, encoding, rng=None):
    """What the layer gives for codes; float64 holds all of them exactly."""
    layer.build(codes.shape[1:], rng, encoding, np.float64)
    return layer.forward(codes.astype(np.float64))


def restored(stage):
    """The step as a file gives it back."""
    return stage_of(stage.describe(), {f"3/{n}": a for n, a in stage.arrays().items()}, "3")


@st.composite
def windows(draw, pool=False):
    """Image and window that fit: (image, size, stride, padding), two numbers each.

    The border of a pool is less than its window.
    """
    size = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    padding = tuple(draw(st.integers(0, k - 1 if pool else 2)) for k in size)
    least = [max(1, k - 2 * p) for k, p in zip(size, padding, strict=True)]
    image = tuple(draw(st.integers(n, max(n, LARGEST_IMAGE))) for n in least)
    return image, size, draw(st.tuples(st.integers(1, 3), st.integers(1, 3))), padding


@given(windows(pool=True), CHANNELS, SEEDS)
def test_max_pool_of_bits_is_the_layer(pool, channels, seed):
    image, *window = pool
    x = signs(np.random.default_rng(seed), 2, *image, channels)
    ours = run(MaxPool(*window), pack(x), (*image, channels))
    np.testing.assert_array_equal(ours, float_layer(MaxPool2D(*window), x, BITS))


@given(windows(pool=True), CHANNELS, SEEDS)
def test_max_pool_with_turned_thresholds_is_the_sign_of_the_largest_sum(pool, channels, seed):
    """The largest sum is below a threshold only if all are: AND where the threshold is turned."""
    image, *window = pool
    rng = np.random.default_rng(seed)
    sums = rng.integers(-3, 4, (2, *image, channels)).astype(np.int32)
    at = rng.integers(-4, 5, channels).astype(np.int32)
    threshold = Threshold(at, rng.random(channels) < 0.5)
    pooled = restored(MaxPool(*window, threshold.flip))
    ours = run(pooled, threshold.run(sums), (*image, channels))
    largest = float_layer(MaxPool2D(*window), sums, None).astype(np.int32)
    np.testing.assert_array_equal(ours, run(threshold, largest, largest.shape[1:], Grid(-4, 4, 1)))


@pytest.mark.parametrize("channels", [1, 63, 64, 65])
@pytest.mark.parametrize("code", [-1, 1])
@pytest.mark.parametrize("turned", [False, True])
def test_outside_the_image_a_max_pool_sees_nothing(code, turned, channels):
    """All -1 stays all -1, and all +1 stays all +1, in both forms."""
    x = np.full((1, 2, 2, channels), code, np.int32)
    for flip in (None, np.full(channels, turned)):
        stage = MaxPool((3, 3), (1, 1), (1, 1), flip)
        np.testing.assert_array_equal(run(stage, pack(x), x.shape[1:]), x)


@given(windows(pool=True), CHANNELS, st.sampled_from(GRIDS), SEEDS)
def test_max_pool_of_integers_is_the_layer(pool, channels, grid, seed):
    image, *window = pool
    codes = grid_codes(np.random.default_rng(seed), grid, 2, *image, channels)
    ours = run(restored(MaxPool(*window)), codes, (*image, channels))
    expected = float_layer(MaxPool2D(*window), codes, Encoding(1.0, *grid))
    np.testing.assert_array_equal(ours, expected)


def test_turned_thresholds_belong_to_bits():
    stage = MaxPool((1, 1), (1, 1), (0, 0), np.ones(2, np.bool_))
    with pytest.raises(ValueError, match="expected bits, got integers"):
        stage.output(Flow("integers", (1, 1, 2), SIGNS))


@pytest.mark.parametrize(
    "stage", [MaxPool((1, 1), (1, 1), (0, 0)), SumPool((1, 1), (1, 1), (0, 0), 2)]
)
def test_pools_of_pixels_are_refused(stage):
    with pytest.raises(ValueError, match="expected bits or integers, got pixels"):
        stage.output(Flow("pixels", (1, 1, 2), PIXELS))


@given(windows(pool=True), CHANNELS, st.sampled_from([None, *GRIDS]), SEEDS)
def test_sum_pool_is_the_codes_of_an_average_pool(pool, channels, grid, seed):
    image, *window = pool
    rng, encoding = np.random.default_rng(seed), Encoding(0.5, *(grid or SIGNS))
    codes = grid_codes(rng, grid or SIGNS, 2, *image, channels)
    stage, layer = SumPool(*window, channels), AveragePool2D(*window)
    ours = run(stage, pack(codes) if grid is None else codes, (*image, channels))
    np.testing.assert_array_equal(ours, float_layer(layer, codes, encoding))
    promised = layer.output_encoding(encoding)
    assert promised.low <= ours.min()
    assert ours.max() <= promised.high
    assert not np.any((ours - promised.low) % promised.step)


@given(SIDES, SIDES, CHANNELS, SEEDS)
def test_flatten_is_the_layer(height, width, channels, seed):
    rng = np.random.default_rng(seed)
    x = signs(rng, 2, height, width, channels)
    expected = float_layer(Flatten(), x, BITS)
    ours = run(FlattenBits(channels), pack(x), x.shape[1:])
    np.testing.assert_array_equal(ours, expected)
    np.testing.assert_array_equal(run(FlattenIntegers(), x, x.shape[1:]), expected)


@given(st.lists(CHANNELS, min_size=1, max_size=4), st.booleans(), SEEDS)
def test_repack_joins_channels_without_gaps(channels, images, seed):
    rng = np.random.default_rng(seed)
    shape = (2, 3, 2) if images else (2,)
    parts = [signs(rng, *shape, n) for n in channels]
    joined = repack([pack(part) for part in parts], channels, axis=-1)
    np.testing.assert_array_equal(joined, pack(np.concatenate(parts, axis=-1)))


@given(st.lists(UNITS, min_size=1, max_size=3), SIDES, CHANNELS, SEEDS)
def test_join_is_the_layer(units, side, channels, seed):
    """Of bits: the input itself, convolutions, and a max pool, in that order."""
    rng = np.random.default_rng(seed)
    x = signs(rng, 2, side, side, channels)
    layers = [Conv2D(n, 3, padding=1) for n in units]
    branches = Branches([], *([layer, Quantize()] for layer in layers), [MaxPool2D(3, 1, 1)])
    expected = float_layer(branches, x, BITS, rng)
    paths = [[], *([as_conv(layer, XnorConv), as_sign(layer.units)] for layer in layers)]
    paths.append([MaxPool((3, 3), (1, 1), (1, 1))])
    stage = restored(Join(paths, [channels, *units, channels]))
    np.testing.assert_array_equal(run(stage, pack(x), x.shape[1:]), expected)


def as_sign(units):
    """Sign of a sum."""
    return Threshold(np.zeros(units, np.int32), np.zeros(units, np.bool_))


def as_conv(layer, kind):
    words, channels = pack_kernel(layer.weight.codes), layer.input_shape[-1]
    place, encoding = (layer.stride, layer.padding, layer.one_padding), layer.encoding
    if kind is GridConv:
        return restored(GridConv(words[None], channels, encoding.grid, SIGNS, *place))
    return restored(kind(words, channels, *place))


@pytest.mark.parametrize("bits", [True, False])
def test_join_of_integers_is_the_layer(bits):
    rng = np.random.default_rng(0)
    x = signs(rng, 3, 4, 5, 65) if bits else grid_codes(rng, Grid(-9, 9, 2), 3, 4, 5, 65)
    encoding = BITS if bits else Encoding(1.0, -9, 9, 2)
    branches = Branches([AveragePool2D(3, 1, 1)], [AveragePool2D(3, 1, 1), MaxPool2D(3, 1, 1)])
    window = (3, 3), (1, 1), (1, 1)
    pool = SumPool(*window, 65)
    stage = restored(Join([[pool], [pool, MaxPool(*window)]], [65, 65]))
    ours = run(stage, pack(x) if bits else x, x.shape[1:])
    np.testing.assert_array_equal(ours, float_layer(branches, x, encoding))
    passed_on = run(Join([[], []], [65, 65]), x, x.shape[1:])
    np.testing.assert_array_equal(passed_on, np.concatenate([x, x], axis=-1))


def test_join_keeps_the_order_of_its_paths():
    x = pack(np.array([[[[1, 1, -1]]]]))
    # Weights of +1 on the diagonal alone: the sums are 1, 1, -3, and the threshold is turned.
    product = XnorConv(pack_kernel(2 * np.eye(3)[None, None] - 1), 3, (1, 1), (0, 0), False)
    turned = [product, Threshold(np.array([1, 1, 1], np.int32), np.array([True, True, True]))]
    ours = run(Join([[], turned], [3, 3]), x, (1, 1, 3))
    assert ours.ravel().tolist() == [1, 1, -1, -1, -1, 1]
    swapped = run(Join([turned, []], [3, 3]), x, (1, 1, 3))
    assert swapped.ravel().tolist() == [-1, -1, 1, 1, 1, -1]


@given(windows(), FEW, UNITS, st.booleans(), st.sampled_from(GRIDS), SEEDS)
def test_convolutions_of_integers_are_the_layer(window, channels, units, one_padding, grid, seed):
    """A border holds the code 0, whether the grid has it or not, or the largest code."""
    image, kernel, stride, padding = window
    rng, encoding = np.random.default_rng(seed), Encoding(1.0, *grid)
    codes = grid_codes(rng, grid, 2, *image, channels)
    layer = Conv2D(units, kernel, stride=stride, padding=padding, one_padding=one_padding)
    expected = float_layer(layer, codes, encoding, rng)
    ours = as_conv(layer, GridConv)
    np.testing.assert_array_equal(run(ours, codes, codes.shape[1:], grid), expected)
    if grid == SIGNS:
        ours = as_conv(layer, XnorConv)
        np.testing.assert_array_equal(run(ours, pack(codes), codes.shape[1:]), expected)
    if grid == PIXELS:
        ours = as_conv(layer, PixelsConv)
        pixels = ((codes + 255) // 2).astype(np.uint8)
        np.testing.assert_array_equal(Pixels().build(codes.shape[1:]).forward(pixels), codes)
        np.testing.assert_array_equal(run(ours, pixels, codes.shape[1:]), expected)


@given(st.integers(1, 200), UNITS, st.sampled_from(GRIDS), SEEDS)
def test_a_dense_product_of_integers_is_the_layer(K, units, grid, seed):
    rng = np.random.default_rng(seed)
    codes = grid_codes(rng, grid, 3, K)
    layer = Dense(units)
    expected = float_layer(layer, codes, Encoding(1.0, *grid), rng)
    stage = restored(GridDense(pack(layer.weight.codes.T)[None], K, grid, SIGNS))
    np.testing.assert_array_equal(run(stage, codes, (K,), grid), expected)


def test_an_integer_off_the_grid_is_refused():
    stage = GridDense(pack(np.ones((1, 3)))[None], 3, (-9, 9, 2), SIGNS)
    with pytest.raises(ValueError, match=r"codes: expected one of -9, -7, \.\.\., 9; got 0"):
        stage.run(np.array([[1, 0, 3]], np.int32))


@pytest.mark.parametrize("shape", [(3,), (5, 3), (5, 5, 4), (5, 3, 5), (5, 5, 3, 3), (5, 5, 3, 1)])
def test_convolutions_take_images_of_their_channels_and_nothing_else(shape):
    """Rows, pairs and deeper shapes are refused, even where an axis has the right length."""
    words, place = pack_kernel(np.ones((2, 2, 3, 4))), ((1, 1), (0, 0), False)
    grid = Flow("integers", shape, PIXELS)
    for stage, flow in (
        (XnorConv(words, 3, *place), Flow("bits", shape, SIGNS)),
        (PixelsConv(words, 3, *place), Flow("pixels", shape, PIXELS)),
        (GridConv(words[None], 3, PIXELS, SIGNS, *place), grid),
    ):
        assert stage.output(dataclasses.replace(flow, shape=(5, 5, 3))).shape == (4, 4, 4)
        with pytest.raises(ValueError, match=r"expected (images of )?3 channels, got"):
            stage.output(flow)


@pytest.mark.parametrize("padding", [(2, 0), (0, 3), (9, 9)])
@pytest.mark.parametrize("kind", [MaxPool, SumPool])
def test_a_window_that_sees_no_number_is_refused(kind, padding):
    more = [4] if kind is SumPool else []
    with pytest.raises(ValueError, match=r"padding: expected less than \(2, 3\)"):
        kind((2, 3), (1, 1), padding, *more)


def test_joined_integers_are_those_of_all_paths():
    """The ends of the range may come from different paths, and the step is common to both."""
    one, nine = SumPool((1, 1), (1, 1), (0, 0), 1), SumPool((3, 3), (1, 1), (1, 1), 1)
    for grid, joined in (((2, 8, 6), (0, 72, 2)), ((-8, -2, 6), (-72, 0, 2))):
        flow = Flow("integers", (2, 2, 1), Grid(*grid))
        for paths in ([[one], [nine]], [[nine], [one]]):
            assert Join(paths, [1, 1]).output(flow) == Flow("integers", (2, 2, 2), Grid(*joined))
    flow = Flow("integers", (2, 2, 1), Grid(1, 7, 6))
    assert Join([[], []], [1, 1]).output(flow).grid == Grid(1, 7, 6)


# What does not fit is refused, and what flows out is said

ROW, IMAGE = Flow("bits", (6,), SIGNS), Flow("bits", (3, 2, 5), SIGNS)
SUMS = Flow("integers", (3, 2, 5), Grid(-9, 9, 1))
ONE = (1, 1), (1, 1), (0, 0)
FLIP = np.array([True, False, True])


@pytest.mark.parametrize(
    ("step", "flow", "words"),
    [
        (MaxPool(*ONE), ROW, r"expected images, got \(6,\)"),
        (MaxPool(*ONE, FLIP), IMAGE, "flip: expected 5 channels, got 3"),
        (MaxPool(*ONE, FLIP), SUMS, "expected bits, got integers"),
        (SumPool(*ONE, 4), IMAGE, "expected 4 channels"),
        (FlattenBits(5), SUMS, "expected bits, got integers"),
        (FlattenBits(4), IMAGE, "expected 4 channels"),
        (FlattenIntegers(), IMAGE, "expected integers, got bits"),
        (
            Join([[], [FlattenBits(4)]], [5, 5]),
            IMAGE,
            r"path 1: step 0 \(FlattenBits\): expected 4",
        ),
        (
            Join([[], [FlattenBits(5)]], [5, 30]),
            IMAGE,
            "expected equal kinds and sizes of all path",
        ),
        (Join([[], [SumPool(*ONE, 5)]], [5, 5]), IMAGE, "expected equal kinds and sizes of all pa"),
        (Join([[MaxPool((1, 2), *ONE[1:])], []], [5, 5]), IMAGE, "expected equal kinds and sizes"),
        (Join([[MaxPool((2, 1), *ONE[1:])], []], [5, 5]), IMAGE, "expected equal kinds and sizes"),
        (Join([[], []], [5, 4]), IMAGE, r"expected channels \[5, 4\], got \[5, 5\]"),
        (Join([], []), IMAGE, "expected equal kinds and sizes of all paths, got none"),
        (Join([[]], [5]), Flow("pixels", (3, 2, 5), PIXELS), "expected bits or integers, got pix"),
    ],
)
def test_what_does_not_fit_a_step_is_refused(step, flow, words):
    with pytest.raises(ValueError, match="^" + words):
        step.output(flow)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: MaxPool(*ONE, FLIP[None]), r"flip: expected bool \(3,\)"),
        (lambda: SumPool(*ONE, 2**31), "channels: expected .* 1 to 2147483647"),
        (lambda: FlattenBits(2**31), "channels: expected .* 1 to 2147483647"),
        (lambda: Join([[]], [2**31]), "channels: expected .* 1 to 2147483647"),
        (lambda: Join([[]], [1, 1]), "channels: expected one number a path"),
        (lambda: Join([[]], (1,)), "channels: expected one number a path"),
        (lambda: Join.restore({"paths": {}, "channels": []}, {}, "0"), "paths: expected a list of"),
        (lambda: Join.restore({"paths": [1], "channels": [1]}, {}, "0"), "paths: expected a list"),
        (
            lambda: Join.restore({"paths": [], "channels": []}, {}, "0" * 33),
            "paths: nested too deep",
        ),
    ],
)
def test_what_is_no_step_is_refused(make, words):
    with pytest.raises(ValueError, match="^" + words):
        make()


def test_the_largest_steps():
    most = 2**31 - 1
    assert SumPool(*ONE, most).channels == FlattenBits(most).channels == most
    assert Join([[]], [most]).channels == [most]
    assert Join.restore({"paths": [], "channels": []}, {}, "0" * 32).paths == []


def test_what_flows_out_of_sums_and_of_one_path_or_two():
    two = (2, 2), (1, 1)
    assert SumPool(*two, (0, 0), 5).output(SUMS).grid == SUMS.grid.sums(4, fewer=False)
    for padding in ((1, 0), (0, 1)):
        assert SumPool(*two, padding, 5).output(IMAGE).grid == SIGNS.sums(4, fewer=True)
    assert Join([[]], [5]).output(SUMS) == SUMS
    wide = Join([[SumPool(*two, (0, 0), 5)], [MaxPool(*two, (0, 0))]], [5, 5]).output(SUMS)
    assert wide == Flow("integers", (2, 1, 10), Grid(-36, 36, 1))


@pytest.mark.parametrize("channels", [[5], [64, 128], [3, 64]])
def test_bits_and_integers_of_paths_are_joined(channels):
    rng = np.random.default_rng(0)
    parts = [signs(rng, 2, 3, 2, c) for c in channels]
    x = np.zeros((2, 3, 2, 1), np.int32)

    class Gives:
        def __init__(self, part):
            self.part = part

        def run(self, x):
            return self.part

    for form in (np.asarray, lambda part: pack(part)):
        found = Join([[Gives(form(part))] for part in parts], channels).run(x)
        np.testing.assert_array_equal(found, form(np.concatenate(parts, axis=-1)))
