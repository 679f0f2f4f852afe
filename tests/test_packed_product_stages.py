"""Products of packed networks say what flows out, and refuse what does not fit them."""

from __future__ import annotations

import numpy as np
import pytest

from qnn_ref.bits import pack, pack_kernel, to_planes
from qnn_ref.grid import PIXELS, SIGNS, Grid
from qnn_ref.packed.product_stages import GridConv, GridDense, PixelsConv, PixelsDense, XnorConv
from qnn_ref.packed.product_stages import XnorDense as Xnor
from qnn_ref.packed.stages import (
    LARGEST_SHAPE,
    Flow,
    Stage,
    expect,
    expect_words,
    flow_through,
    pair_of,
    stage_of,
)

CODES = Grid(-3, 3, 2)
PLACE = (1, 1), (0, 0), False

DENSE = pack(np.ones((4, 6)))
CONV = pack_kernel(np.ones((3, 2, 5, 4)))
STEPS = {
    "xnor": Xnor(DENSE, 6),
    "pixels": PixelsDense(DENSE, 6),
    "xnor conv": XnorConv(CONV, 5, *PLACE),
    "pixels conv": PixelsConv(CONV, 5, *PLACE),
    "grid": GridDense(to_planes(np.ones((4, 6)), CODES), 6, CODES, CODES),
    "grid conv": GridConv(to_planes(np.ones((4, 3, 2, 5)), CODES), 5, CODES, CODES, *PLACE),
}
TAKES = {"xnor": "bits", "pixels": "pixels", "grid": "integers"}
GRIDS = {"bits": SIGNS, "pixels": PIXELS, "integers": CODES}


def flow(kind, *shape):
    return Flow(kind, shape, GRIDS[kind])


@pytest.mark.parametrize("name", STEPS)
def test_what_flows_out_are_all_sums_that_can_be(name):
    kind, step = TAKES[name.split()[0]], STEPS[name]
    shape = (4, 4, 5) if "conv" in name else (6,)
    out = step.output(flow(kind, *shape))
    K = 3 * 2 * 5 if "conv" in name else 6
    largest = {"bits": 1, "pixels": 255, "integers": 9}[kind] * K
    expected = (2, 3, 4) if "conv" in name else (4,)
    assert out == Flow("integers", expected, Grid(-largest, largest, 1))


@pytest.mark.parametrize("name", STEPS)
def test_other_kinds_and_sizes_are_refused(name):
    kind, step = TAKES[name.split()[0]], STEPS[name]
    right = (4, 4, 5) if "conv" in name else (6,)
    for other in GRIDS:
        if other != kind and (kind != "integers" or other == "pixels"):
            with pytest.raises(ValueError, match=f"expected {kind}|expected codes"):
                step.output(flow(other, *right))
    if "conv" in name:
        wrong = {
            (5,): "expected images of 5 channels",
            (4, 5): "expected images of 5 channels",
            (4, 4, 5, 5): "expected images of 5 channels",
            (4, 4, 6): "expected 5 channels",
            (5, 4, 4): "expected 5 channels",
            (2, 4, 5): "does not fit in an image",
            (4, 1, 5): "does not fit in an image",
        }
    else:
        wrong = {(5,): "expected 6 inputs", (7,): "expected 6 inputs"}
        if kind != "pixels":  # which the first product flattens
            wrong[2, 3] = wrong[6, 1] = "expected 6 inputs"
    for shape, words in wrong.items():
        with pytest.raises(ValueError, match=words):
            step.output(flow(kind, *shape))


def test_bits_and_pixels_are_codes_too():
    """Of their own grid and no wider one: they are bit planes already."""
    planes = to_planes(np.ones((4, 6)), CODES)
    images = {"bits": pack(np.ones((1, 6))), "pixels": np.ones((1, 6), np.uint8)}
    for kind, image in images.items():
        step = GridDense(planes, 6, GRIDS[kind], CODES)
        assert step.output(flow(kind, 6)).shape == (4,)
        expected = 6 if kind == "bits" else 6 * (2 - 255)
        np.testing.assert_array_equal(step.run(image), np.full((1, 4), expected, np.int32))
        for grid in ((-255, 255, 1), (-3, 3, 2), (-1, 1, 1), (-257, 255, 2)):
            with pytest.raises(ValueError, match=r"expected codes .*, got"):
                GridDense(planes, 6, grid, CODES).output(flow(kind, 6))
    wide = GridDense(planes, 6, PIXELS, CODES)
    assert wide.output(flow("integers", 6)).shape == (4,)
    with pytest.raises(ValueError, match=r"codes -255, -253, ..., 255, got -3, -2, ..., 3"):
        wide.output(Flow("integers", (6,), Grid(-3, 3, 1)))
    with pytest.raises(ValueError, match=r"codes -255, -253, ..., 255, got -4, -2, ..., 4"):
        wide.output(Flow("integers", (6,), Grid(-4, 4, 2)))


def test_sums_fit_31_bits():
    largest = 2**20 - 1
    far = GridDense(pack(np.ones((1, 2**12)))[None], 2**12, (-largest, largest, 2), SIGNS)
    with pytest.raises(ValueError, match="do not fit 31 bits"):
        far.output(Flow("integers", (2**12,), SIGNS))
    near = GridDense(pack(np.ones((1, 2**11)))[None], 2**11, (-largest, largest, 2), SIGNS)
    assert near.output(Flow("integers", (2**11,), SIGNS)).grid.high == 2**31 - 2**11


ARRAYS = {
    "words": lambda words: [
        None,
        words[..., 0],
        words[:0],
        words[None],
        words.astype(np.int64),
        words | np.uint64(1 << 63),
        np.concatenate([words, words], axis=-1),
        words[..., :0],
    ]
}


@pytest.mark.parametrize("name", STEPS)
def test_each_array_and_each_setting_is_checked_when_the_step_is_made(name):
    """All of them, with values that are none; a step that is new stands here too."""
    step = STEPS[name]
    assert list(step.arrays()) == ["words"]
    for wrong in ARRAYS["words"](step.words):
        arrays = {} if wrong is None else {"7/words": wrong}
        with pytest.raises(ValueError, match=rf"step 7 \({type(step).__name__}\): .*words"):
            stage_of(step.describe(), arrays, "7")
    for setting in step.settings():
        for wrong in (None, "1", -1, 1.5, 2**31, [], [1], [1, 1, 1, 1], {}, [[1]]):
            description = step.describe() | {setting: wrong}
            with pytest.raises(ValueError, match=rf"step 7 \(\w+\): .*({setting}|words)"):
                stage_of(description, {"7/words": step.words}, "7")
        description = step.describe()
        del description[setting]
        with pytest.raises(ValueError, match=f"lacks the setting {setting}"):
            stage_of(description, {"7/words": step.words}, "7")


def test_all_products_stand_here():
    ours = {n for n, k in Stage.kinds.items() if k.__module__.endswith(".product_stages")}
    assert {type(step).__name__ for step in STEPS.values()} == ours - {"GridProduct"}


def test_the_first_step_that_does_not_fit_is_named():
    with pytest.raises(ValueError, match=r"step 1 \(PixelsDense\): expected pixels, got integers"):
        flow_through([STEPS["xnor"], STEPS["pixels"]], flow("bits", 6))


@pytest.mark.parametrize(
    "make",
    [
        lambda K: Xnor(np.zeros((1, K // 64), np.uint64), K),
        lambda K: XnorConv(np.zeros((1, 8, 8, K // 64**2), np.uint64), K // 64, *PLACE),
        lambda K: GridDense(np.zeros((1, 1, K // 64), np.uint64), K, CODES, (0, 1, 1)),
        lambda K: GridConv(
            np.zeros((1, 1, 8, 8, K // 64**2), np.uint64), K // 64, CODES, (0, 1, 1), *PLACE
        ),
    ],
)
def test_a_unit_has_no_more_inputs_than_an_image(make):
    """A unit alone fills a panel of sixteen: its words are looked at before they are arranged."""
    with pytest.raises(ValueError, match=r"words: expected at most 2\^24 inputs of a unit"):
        make(2**25)


MAKE = {
    "K: ": lambda size: Xnor(pack(np.ones((4, 1))), size),
    "channels: ": lambda size: XnorConv(pack_kernel(np.ones((1, 1, 1, 4))), size, *PLACE),
    "size: ": lambda size: GridDense(to_planes(np.ones((4, 1)), CODES), size, CODES, CODES),
}


@pytest.mark.parametrize("name", MAKE)
def test_inputs_of_a_unit_are_counted_from_one_to_31_bits(name):
    assert MAKE[name](1)
    for size in (0, 2**31):
        with pytest.raises(ValueError, match=f"^{name}expected .* 1 to 2147483647"):
            MAKE[name](size)
    with pytest.raises(ValueError, match=r"^words: "):  # it is the words that do not hold so many
        MAKE[name](2**31 - 1)


def test_windows_of_more_channels_than_bits_in_a_word():
    kernel, shape = pack_kernel(np.ones((3, 2, 65, 4))), (4, 4, 65)
    out = XnorConv(kernel, 65, *PLACE).output(Flow("bits", shape, SIGNS))
    assert out == Flow("integers", (2, 3, 4), Grid(-390, 390, 1))
    words = to_planes(np.ones((4, 3, 2, 65)), CODES)
    out = GridConv(words, 65, CODES, CODES, *PLACE).output(Flow("integers", shape, CODES))
    assert out == Flow("integers", (2, 3, 4), Grid(-9 * 390, 9 * 390, 1))


def test_planes_are_those_of_the_grid_of_the_weights():
    words = to_planes(np.ones((4, 6)), CODES)
    with pytest.raises(ValueError, match=r"^words: "):
        GridDense(np.concatenate([words, words]), 6, CODES, CODES)
    words = to_planes(np.ones((4, 3, 2, 5)), CODES)
    with pytest.raises(ValueError, match=r"^words: expected 2 planes"):
        GridConv(words[:1], 5, CODES, CODES, *PLACE)


@pytest.mark.parametrize("grid", [SIGNS, CODES, Grid(0, 3, 1), Grid(-2, 1, 1)])
@pytest.mark.parametrize("kernel", [False, True])
def test_every_grid_of_weights_has_its_planes(grid, kernel):
    """By the definition, also where the rows' sums are needed."""
    rng = np.random.default_rng(0)
    w = rng.choice(np.arange(grid.low, grid.high + 1, grid.step), (3, 5)).astype(float)
    x = rng.choice([-3, -1, 1, 3], (2, 5)).astype(np.int32)
    if not kernel:
        step = GridDense(to_planes(w, grid), 5, CODES, grid)
        np.testing.assert_array_equal(step.run(x), x @ w.T)
        return
    step = GridConv(to_planes(w[:, None, None], grid), 5, CODES, grid, *PLACE)
    np.testing.assert_array_equal(step.run(x[:, None, None]), (x @ w.T)[:, None, None])


def test_pixels_of_images_are_one_row():
    step = PixelsDense(DENSE, 6)
    x = np.arange(12, dtype=np.uint8).reshape(2, 3, 2, 1)
    np.testing.assert_array_equal(step.run(x)[:, 0], (2 * x.reshape(2, 6).astype(int) - 255).sum(1))


# What all steps share


def test_what_flows_has_numbers_and_not_too_many():
    most = Flow("integers", (LARGEST_SHAPE,), Grid(0, 2**31 - 1, 1))
    assert LARGEST_SHAPE == 2**24 == most.shape[0]
    for shape in ((), (3, 0), (0, 3), (LARGEST_SHAPE + 1,), (LARGEST_SHAPE, 2)):
        with pytest.raises(ValueError, match=r"^expected from 1 to 2\^24 numbers an image"):
            Flow("bits", shape, SIGNS)
    with pytest.raises(ValueError, match="do not fit 31 bits"):
        Flow("integers", (1,), Grid(0, 2**31, 1))


@pytest.mark.parametrize(
    ("description", "words"),
    [
        (3, "expected the description of a step"),
        ({}, "expected the description of a step"),
        ({"kind": 3}, "expected the description of a step"),
        ({"kind": "Magic"}, "there is no kind of step 'Magic'"),
        ({"kind": "FlattenBits", "channels": 3, "more": 1}, "has no setting 'more'"),
        ({"kind": "XnorDense", "K": 6, "words": 1}, "has no setting 'words'"),
        ({"kind": "XnorDense", "K": 6}, "lacks the array 2/words"),
        ({"kind": "FlattenBits"}, "lacks the setting channels"),
    ],
)
def test_a_description_of_no_step_says_what_is_wrong(description, words):
    with pytest.raises(ValueError, match=rf"^step 2( \(\w+\))?: {words}"):
        stage_of(description, {}, "2")


def test_a_step_that_says_nothing_does_nothing():
    with pytest.raises(TypeError, match=r"^Stage has no run"):
        Stage().run(np.zeros(1))
    with pytest.raises(ValueError, match=r"^Stage is no step"):
        Stage().output(Flow("bits", (1,), SIGNS))


def test_arrays_and_pairs_of_a_step():
    expect("at", np.zeros((2, 3), np.int32), np.int32, (2, 3))
    for wrong, got in (
        ([0], r"\[0\]"),
        (np.zeros((2, 3), np.int64), r"int64 \(2, 3\)"),
        (np.zeros((3, 2), np.int32), r"int32 \(3, 2\)"),
    ):
        with pytest.raises(ValueError, match=rf"^at: expected int32 \(2, 3\), got {got}"):
            expect("at", wrong, np.int32, (2, 3))
    most = 2**31 - 1
    assert pair_of("stride", [1, 2], 1) == (1, 2)
    assert pair_of("stride", [most, most], 1) == (most, most)
    for wrong in ([0, 1], [1, 0], [most + 1, 1], [1, most + 1]):
        with pytest.raises(ValueError, match=r"^stride: expected .* 1 to 2147483647"):
            pair_of("stride", wrong, 1)


def test_a_unit_has_at_most_2_24_inputs():
    expect_words(np.zeros((1, LARGEST_SHAPE // 64, 1), np.uint64), 2, 64)
    with pytest.raises(ValueError, match=r"^words: expected at most 2\^24 inputs of a unit, got"):
        expect_words(np.zeros((1, LARGEST_SHAPE // 64 + 1, 1), np.uint64), 2, 64)
