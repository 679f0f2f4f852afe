"""The file of a packed network is whole, or refused by name."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import numba
import numpy as np
import pytest

from qnn_ref import PackedNetwork, Sequential, pack
from qnn_ref.files import FileError, load_arrays, save_arrays
from qnn_ref.layers import (
    AveragePool2D,
    BatchNorm,
    Branches,
    Conv2D,
    Dense,
    Flatten,
    MaxPool2D,
    Pixels,
    Quantize,
)
from qnn_ref.packed.file import (
    KIND,
    SEQUENCE,
    VERSION,
    read_sequence,
    read_stages,
    write_stages,
)
from qnn_ref.packed.shape_stages import Join
from qnn_ref.packed.stages import Stage
from tests.test_packed_network import random_network

JIT_IS_OFF = bool(numba.config.DISABLE_JIT)
IMAGE = (5, 6, 2)


def conv(units, kernel=1, **geometry):
    return [Conv2D(units, kernel, **geometry), BatchNorm(), Quantize()]


@cache
def convolutional_network():
    """Most kinds of steps; places in the file: see the comments."""
    rng = np.random.default_rng(0)
    first = [Conv2D(65, 3, padding=1), MaxPool2D(3, 2, 1), BatchNorm(), Quantize()]
    paths = (
        [],
        conv(5),  # 3/1: XnorConv, Threshold
        # 3/2: SumPool, GridConv, Threshold
        [AveragePool2D(3, 1, 1), *conv(3, 3, padding=1, one_padding=True)],
        [Branches([], [MaxPool2D(1)])],  # 3/3: Join of nothing and of a MaxPool
    )
    layers = [
        *(Pixels(), *first),  # PixelsConv, Threshold, MaxPool
        Branches(*paths),  # 3: Join
        *conv(64),  # 4: XnorConv, Threshold
        *(AveragePool2D(2), Flatten(), Dense(3, bias=True), BatchNorm()),
        # 6: SumPool, FlattenIntegers, GridDense, Scores
    ]
    network = Sequential(layers, IMAGE, rng)
    for name, parameter in network.parameters().items():
        if name.endswith(("gain", "shift", "bias")):
            parameter.assign(rng.normal(size=parameter.shape))
    return network


@cache
def flat_network():
    """The kinds that are left for images."""
    layers = [Pixels(), *conv(5), Flatten(), Dense(7), BatchNorm(), Quantize(), Dense(3)]
    return Sequential(layers, IMAGE, np.random.default_rng(0))


@cache
def dense_network():
    return random_network(np.random.default_rng(6))


packed_once = cache(pack)


def images_of(shape, count=5):
    return np.random.default_rng(1).integers(0, 256, (count, *shape), dtype=np.uint8)


def walk(stages):
    for stage in stages:
        yield stage
        if isinstance(stage, Join):
            for path in stage.paths:
                yield from walk(path)


def test_every_kind_of_step_comes_back_as_it_was(tmp_path):
    kinds, path = set(), tmp_path / "network.qnn"
    for network in (convolutional_network(), flat_network(), dense_network()):
        packed, images = packed_once(network), images_of(network.input_shape)
        packed.save(path)
        loaded = PackedNetwork.load(path)
        assert loaded.input_shape == network.input_shape
        np.testing.assert_array_equal(loaded.scores(images), network.scores(images))
        assert loaded.nbytes == packed.nbytes == sum(a.nbytes for a in arrays_of(packed).values())
        for one, other in zip(walk(loaded.stages), walk(packed.stages), strict=True):
            kinds.add(type(one).__name__)
            assert type(one) is type(other)
            assert one.settings() == other.settings()
            for name, array in one.arrays().items():
                expected = other.arrays()[name]
                assert (array.dtype, array.shape) == (expected.dtype, expected.shape)
                np.testing.assert_array_equal(array, expected)
    abstract = {"Pool", "GridProduct", "Rows", "GridRecurrent"}  # these: test_packed_sequence.py
    assert kinds | {"Levels"} == Stage.kinds.keys() - abstract


def arrays_of(packed):
    return {f"{i}/{n}": a for i, s in enumerate(packed.stages) for n, a in s.arrays().items()}


@pytest.mark.parametrize("make", ["dense", "convolution"])
def test_file_holds_one_bit_a_weight(tmp_path, make):
    rng, path = np.random.default_rng(4), tmp_path / "network.qnn"
    if make == "dense":
        network = random_network(rng, (8, 8, 1), (512, 512))
    else:
        layers = [Pixels(), *conv(64), *conv(256, 3), *conv(128, 3), Flatten(), Dense(3)]
        network = Sequential(layers, (6, 6, 1), rng)
    pack(network).save(path)
    weights = sum(p.size for p in network.parameters().values() if p.quantizer)
    assert weights / 8 < path.stat().st_size < weights / 8 + 16_000


@pytest.mark.parametrize("nested", [False, pytest.param(True, marks=pytest.mark.slow_without_jit)])
def test_every_damaged_byte_is_refused_or_harmless(tmp_path, nested):
    rng = np.random.default_rng(5)
    if nested:
        network = convolutional_network()
    else:
        network = random_network(rng, (2, 2, 1), (3,), classes=2)
    images = images_of(network.input_shape, 2)
    whole, path = tmp_path / "whole.qnn", tmp_path / "damaged.qnn"
    pack(network).save(whole)
    content, expected = whole.read_bytes(), network.scores(images)
    for position in rng.choice(len(content), 30 if JIT_IS_OFF else 250, replace=False):
        damaged = bytearray(content)
        damaged[position] ^= 1 << rng.integers(8)
        path.write_bytes(damaged)
        try:
            scores = PackedNetwork.load(path).scores(images)
        except FileError:
            continue
        np.testing.assert_array_equal(scores, expected)
    for length in range(0, len(content), 97):
        path.write_bytes(content[:length])
        with pytest.raises(FileError, match=r"damaged\.qnn"):
            PackedNetwork.load(path)


def changed_file(tmp_path, network, change):
    """A file whose checksums are right and whose content is not."""
    packed = packed_once(network)
    stages, arrays = [stage.describe() for stage in packed.stages], arrays_of(packed)
    header = {"kind": KIND, "version": VERSION, "stages": stages}
    header["input_shape"] = list(packed.input_shape)
    change(header, arrays)
    path = tmp_path / "strange.qnn"
    save_arrays(path, arrays, header)
    return path


def test_files_of_version_1_are_read(tmp_path):
    """They hold dense layers only, in the same form."""
    network = dense_network()
    path = changed_file(tmp_path, network, lambda h, a: h.update(version=1))
    images = images_of((5, 3, 1))
    np.testing.assert_array_equal(PackedNetwork.load(path).scores(images), network.scores(images))


def test_files_without_a_change_are_read(tmp_path):
    """So what the next tests see is the change."""
    for network in (convolutional_network(), flat_network(), dense_network()):
        PackedNetwork.load(changed_file(tmp_path, network, lambda h, a: None))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda h, a: h.update(version=4), "version 4; this package reads up to 3"),
        (lambda h, a: h.update(version="2"), "version '2'; this package reads up to 3"),
        (lambda h, a: h.update(kind="checkpoint"), "its header names the kind 'checkpoint'"),
        (lambda h, a: h.update(input_shape=[5, 3, 2]), "damaged"),
        (lambda h, a: h.update(input_shape=[-5, -3, 1]), "damaged"),
        (lambda h, a: h.update(input_shape=15.5), "damaged"),
        (lambda h, a: h.update(stages=[]), "arrays without a step"),
        (lambda h, a: (h.update(stages=[]), a.clear()), "expected Scores at the end"),
        (lambda h, a: h.pop("stages"), "damaged"),
        (lambda h, a: h["stages"].pop(), "Scores at the end|without a step"),
        (lambda h, a: h["stages"][0].update(kind="Exec"), "damaged"),
        (lambda h, a: h["stages"][0].update(kind=["XnorDense"]), "damaged"),
        (lambda h, a: h["stages"][0].update(kind="XnorDense"), "damaged"),
        (lambda h, a: h["stages"][2].update(kind="PixelsDense"), "damaged"),
        (lambda h, a: h["stages"][0].update(K=99), "damaged"),
        (lambda h, a: h["stages"][0].update(code="1"), "damaged"),
        (lambda h, a: h["stages"][-1].update(dtype="float16"), "dtype: expected float32"),
        (lambda h, a: h["stages"][-1].update(scale="one"), "damaged"),
        (lambda h, a: a.pop("1/at"), "damaged"),
        (lambda h, a: a.update({"1/at": a["1/at"].astype(np.int64)}), "at: expected int32"),
        (lambda h, a: a.update({"1/at": a["1/at"][:-1]}), "damaged"),
        (lambda h, a: a.update({"0/words": a["0/words"] | np.uint64(1 << 63)}), "damaged"),
        (lambda h, a: a.update({"5/gain": a["5/gain"][:-1]}), "gain: expected 4 classes, got 3"),
    ],
)
def test_strange_files_are_refused_by_name(tmp_path, change, words):
    path = changed_file(tmp_path, dense_network(), change)
    with pytest.raises(FileError, match=rf"strange\.qnn: .*({words})"):
        PackedNetwork.load(path)


def step(*place, **settings):
    """A change of the settings of one step; inside a Join, of step i of path p."""

    def change(header, arrays):
        stage = header["stages"][place[0]]
        for p, i in zip(place[1::2], place[2::2], strict=True):
            stage = stage["paths"][p][i]
        for name, value in settings.items():
            assert stage[name] != value or name == "kind"
            stage[name] = value

    return change


def array(name, change):
    return lambda header, arrays: arrays.update({name: change(arrays.get(name))})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (step(0, kind="XnorConv"), "expected bits, got pixels"),
        (step(4, kind="PixelsConv"), "expected pixels, got bits"),
        (step(0, channels=3), "damaged"),
        (step(0, channels="2"), "damaged"),
        (step(0, stride=[0, 1]), "stride: expected a whole number from 1"),
        (step(0, stride=[1, -1]), "stride: expected"),
        (step(0, stride=["1", "1"]), "stride: expected"),
        (step(0, stride=[1]), "stride: expected"),
        (step(0, stride=2), "damaged"),
        (step(0, padding=[-1, 1]), "padding: expected a whole number from 0"),
        (step(0, padding=[2, 2]), r"GridDense\): expected 64 inputs, got"),
        (step(0, one_padding=7), "one_padding: expected true or false"),
        (step(0, one_padding=None), "damaged"),
        (step(2, size=[0, 3]), "size: expected a whole number from 1"),
        (step(2, stride=[0, 0]), "stride: expected"),
        (step(2, padding=[0, -1]), "padding: expected"),
        (step(6, channels=63), r"SumPool\): expected 63 channels, got \(3, 3, 64\)"),
        (step(6, size=[1, 1]), r"GridDense\): expected codes -4, -2, ..., 4, got -1, 1"),
        (step(8, size=63), "expected 63 inputs, got"),
        (step(8, size=[63]), "size: expected a whole number"),
        (step(8, grid=[-5, 4, 2]), "grid: step: expected a divisor of high - low = 9"),
        (step(8, grid=[-2, 4, 2]), "expected codes -2, 0, ..., 4, got -4, -2, ..., 4"),
        (step(8, grid=[-5, 5, 2]), "expected codes -5, -3, ..., 5, got -4, -2, ..., 4"),
        (step(8, grid=[-4, 4, 4]), "expected codes -4, 0, ..., 4, got -4, -2, ..., 4"),
        (step(8, grid=[-4, 4, 0]), "grid: step: expected at least 1"),
        (step(8, grid=[-4, -9, 2]), "grid: low: expected less than high = -9"),
        (step(8, grid=[-4, 4]), "grid: expected low, high and step"),
        (step(8, grid=[-4.5, 4, 2]), "grid: expected a whole number"),
        (step(8, weights=[-3, 3, 2]), "words: expected 2 planes for -3, -1, ..., 3, got 1"),
        (step(8, weights=[-(2**30), 2**30, 2**31]), "weights: expected a whole number"),
        (step(8, weights=[-(2**29), 2**29, 2**30]), "do not fit 31 bits"),
        (array("0/words", lambda a: a[:2]), r"Threshold\): expected 65 channels, got"),
        (array("0/words", lambda a: a[..., 0]), "damaged"),
        (array("0/words", lambda a: a.astype(np.int64)), "damaged"),
        (array("0/words", lambda a: a | np.uint64(4)), "damaged"),
        (array("2/flip", lambda a: a[:-1]), "flip: expected 65 channels, got 64"),
        (array("2/flip", lambda a: a.astype(np.uint8)), "flip: expected bool"),
        (array("2/mask", lambda a: np.zeros(2, np.uint64)), "damaged"),
        (array("7/at", lambda a: np.zeros(2)), "damaged"),
        (array("8/words", lambda a: a[0]), "damaged"),
    ],
)
def test_strange_steps_of_convolutions_are_refused_by_name(tmp_path, change, words):
    path = changed_file(tmp_path, convolutional_network(), change)
    with pytest.raises(FileError, match=rf"strange\.qnn: .*({words})"):
        PackedNetwork.load(path)


def test_a_flattened_image_has_the_channels_it_had(tmp_path):
    path = changed_file(tmp_path, flat_network(), step(2, channels=6))
    words = r"FlattenBits\): expected 6 channels, got \(5, 6, 5\)"
    with pytest.raises(FileError, match=rf"strange\.qnn: damaged .*{words}"):
        PackedNetwork.load(path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (step(3, 1, 0, kind="Exec"), "Exec"),
        (step(3, 1, 0, kind={}), "damaged"),
        (step(3, 1, 0, kind="XnorDense"), "damaged"),
        (
            step(3, 1, 0, kind="PixelsConv"),
            "path 1: step 0 .PixelsConv.: expected pixels, got bits",
        ),
        (step(3, 2, 0, kind="MaxPool"), "channels"),
        (step(3, 3, 0, 1, 0, kind="SumPool"), "channels"),
        (step(3, 1, 0, channels=64), "damaged"),
        (
            step(3, 1, 0, stride=[2, 2]),
            r"equal kinds and sizes of all paths, got bits \(3, 3, 65\), bits \(2, 2, 5\)",
        ),
        (
            step(3, 3, 0, 1, 0, stride=[2, 2]),
            r"path 3: step 0 \(Join\): expected equal kinds and sizes",
        ),
        (step(3, 2, 1, grid=[-9, 7, 1]), "expected codes"),
        (step(3, channels=[65, 5, 3, 131]), r"Join\): expected channels \[65, 5, 3, 131\]"),
        (step(3, channels=[65, 5, 3]), "channels: expected one number a path"),
        (step(3, channels=203), "damaged"),
        (step(3, channels=None), "damaged"),
        (step(3, paths=[]), "channels: expected one number a path"),
        (step(3, paths=4), "damaged"),
        (step(3, paths=[[], 5, 3, 130]), "damaged"),
        (step(3, paths=["", "XnorConv"]), "damaged"),
        (lambda h, a: h["stages"][3]["paths"].reverse(), "damaged"),
        (lambda h, a: h["stages"][3]["paths"][1].reverse(), "damaged"),
        (lambda h, a: h["stages"][3]["paths"][1].pop(), "arrays without a step"),
        (lambda h, a: h["stages"][3].pop("paths"), "paths"),
        (lambda h, a: h["stages"][3].pop("channels"), "channels"),
        (lambda h, a: h["stages"][3].update(code="1"), "code"),
        (lambda h, a: h["stages"][3]["paths"][1][0].update(code="1"), "code"),
        (lambda h, a: a.pop("3/1/0/words"), "words"),
        (lambda h, a: a.pop("3/2/2/at"), "at"),
        (array("3/1/0/words", lambda a: a[:-1]), r"Threshold\): expected 5 channels"),
        (array("3/1/0/words", lambda a: a.astype(np.float64)), "damaged"),
        (array("3/1/0/words", lambda a: a | np.uint64(1 << 63)), "damaged"),
        (array("3/2/2/at", lambda a: a.astype(np.int64)), "at: expected int32"),
        (array("3/0/0/words", lambda a: np.zeros(2, np.uint64)), "arrays without a step"),
        (array("3/3/0/1/0/words", lambda a: np.zeros(2, np.uint64)), "damaged"),
        (array("3/3/0/2/0/words", lambda a: np.zeros(2, np.uint64)), "arrays without a step"),
        (array("3/words", lambda a: np.zeros(2, np.uint64)), "arrays without a step"),
        (array("11/words", lambda a: np.zeros(2, np.uint64)), "arrays without a step"),
    ],
)
def test_strange_paths_are_refused_by_name(tmp_path, change, words):
    path = changed_file(tmp_path, convolutional_network(), change)
    with pytest.raises(FileError, match=rf"strange\.qnn: .*({words})"):
        PackedNetwork.load(path)


@pytest.mark.parametrize("make", [convolutional_network, flat_network], ids=lambda f: f.__name__)
def test_steps_that_do_not_chain_are_refused(tmp_path, make):
    """One is missing, or two stand in the wrong order."""
    path, network = tmp_path / "strange.qnn", make()
    stages = packed_once(network).stages
    orders = [stages[:i] + stages[i + 1 :] for i in range(len(stages))]
    orders += [
        [*stages[:i], stages[i + 1], stages[i], *stages[i + 2 :]] for i in range(len(stages) - 1)
    ]
    for order in orders:
        write_stages(path, order, network.input_shape)
        assert len(read_stages(path)[0]) == len(order)
        with pytest.raises(FileError, match=r"strange\.qnn: damaged"):
            PackedNetwork.load(path)


# Files of the first release, kept with the scores that it gave

OLD_FILES = Path(__file__).parent / "data" / "packed_v1"
OLD_NAMES = ["bits", "branches", "convolution", "dense", "dense_float64", "pools"]


@pytest.mark.slow_without_jit
@pytest.mark.parametrize("name", OLD_NAMES)
def test_old_files_give_the_same_scores(tmp_path, name):
    packed = PackedNetwork.load(OLD_FILES / f"{name}.qnn")
    with np.load(OLD_FILES / f"{name}.npz") as stored:
        images, expected = stored["images"], stored["scores"]
    packed.save(tmp_path / "again.qnn")
    for network in (packed, PackedNetwork.load(tmp_path / "again.qnn")):
        scores = network.scores(images)
        assert scores.dtype == expected.dtype
        np.testing.assert_array_equal(scores, expected)


def test_old_files_hold_every_kind_of_step_that_there_was():
    headers = [load_arrays(OLD_FILES / f"{n}.qnn", KIND, VERSION)[1] for n in OLD_NAMES]
    kinds = {kind for header in headers for kind in kinds_in(header["stages"])}
    abstract = {"Pool", "GridProduct", "Rows", "GridRecurrent"}  # these: test_packed_sequence.py
    assert kinds == Stage.kinds.keys() - abstract | {"IntegersDense", "IntegersConv"}


def kinds_in(descriptions):
    for step in descriptions:
        yield step["kind"]
        for path in step.get("paths", ()):
            yield from kinds_in(path)


# Every value of a header and every array, changed in every way

WRONG = [None, True, "1", "", -1, 0, 1, 3, 2**31, 2**63, 10**400, 0.5, 1e300, [], [1], [1, 1], {}]


def values_in(node, *path):
    """The place of everything in a header: keys and numbers."""
    for key, value in node.items() if isinstance(node, dict) else enumerate(node):
        yield (*path, key)
        if isinstance(value, dict | list):
            yield from values_in(value, *path, key)


def with_value(header, path, value):
    header = json.loads(json.dumps(header))
    node = header
    for key in path[:-1]:
        node = node[key]
    if value is KeyError:
        del node[path[-1]]
    else:
        node[path[-1]] = value
    return header


def arrays_like(array):
    """Arrays that are not this one, most of them absurd."""
    yield None
    yield array[:-1]
    yield np.concatenate([array, array])
    yield array[:0]
    yield array[..., None]
    yield array.ravel()
    yield array.T.copy()
    yield array.flat[0]
    with np.errstate(over="ignore"):
        yield array.astype(np.float16)
    yield array.astype(np.complex64)
    yield array.astype(str)
    yield array.astype(array.dtype.newbyteorder())
    yield np.full_like(array, True if array.dtype.kind == "b" else np.array(-1).astype(array.dtype))
    yield np.asfortranarray(array)
    for value in (np.nan, np.inf, -np.inf, 3e38):
        if array.dtype.kind == "f":
            yield np.where(np.arange(array.size) == array.size - 1, array.dtype.type(value), array)
    if array.dtype == np.int32:
        yield np.full_like(array, 2**31 - 1)
        yield np.full_like(array, -(2**31))


def is_an_answer_or_refused(path, images):
    """Whether a file is refused by name, or gives finite scores of the right shape."""
    try:
        packed = PackedNetwork.load(path)
    except FileError as error:
        return str(path) in str(error)
    if packed.input_shape != images.shape[1:]:
        return True  # another network, and a sound one: all steps fit
    try:
        scores = packed.scores(images)
    except ValueError as error:  # finite numbers whose product is too large for the float type
        return "scores are not finite" in str(error)
    return len(scores) == len(images) and scores.ndim == 2 and np.isfinite(scores).all()


@pytest.mark.slow_without_jit
@pytest.mark.parametrize("name", OLD_NAMES)
def test_whatever_a_header_says_is_refused_or_answered(tmp_path, name):
    arrays, header = load_arrays(OLD_FILES / f"{name}.qnn", KIND, VERSION)
    with np.load(OLD_FILES / f"{name}.npz") as stored:
        images = stored["images"][:2]
    path, rng = tmp_path / "strange.qnn", np.random.default_rng(0)
    places = list(values_in(header))
    rng.shuffle(places)
    for place in places[:25]:  # the fuzz of readers tries them all
        for value in [KeyError, *rng.choice(np.array(WRONG, object), 2, replace=False)]:
            save_arrays(path, arrays, {"kind": KIND} | with_value(header, place, value))
            assert is_an_answer_or_refused(path, images), (place, value)


@pytest.mark.slow_without_jit
@pytest.mark.parametrize("name", OLD_NAMES)
def test_whatever_an_array_holds_is_refused_or_answered(tmp_path, name):
    arrays, header = load_arrays(OLD_FILES / f"{name}.qnn", KIND, VERSION)
    with np.load(OLD_FILES / f"{name}.npz") as stored:
        images = stored["images"][:2]
    path = tmp_path / "strange.qnn"
    for key, array in list(arrays.items())[:: 1 if name.startswith("dense") else 3]:
        for number, other in enumerate(arrays_like(array)):
            changed = {n: a for n, a in (arrays | {key: other}).items() if a is not None}
            save_arrays(path, {n: np.asarray(a) for n, a in changed.items()}, header)
            assert is_an_answer_or_refused(path, images), (key, number)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_not_loaded(tmp_path, value):
    """Each float array of each old file, its last number."""
    seen = set()
    for name in OLD_NAMES:
        arrays, header = load_arrays(OLD_FILES / f"{name}.qnn", KIND, VERSION)
        for key, array in arrays.items():
            if array.dtype.kind != "f":
                continue
            changed = array.copy()
            changed[-1] = value
            save_arrays(tmp_path / "a.qnn", arrays | {key: changed}, header)
            place, _, field = key.rpartition("/")
            words = rf"a\.qnn: .*step {place} \(Scores\): {field}: .*got {value} at \[2\]"
            with pytest.raises(FileError, match=words):
                PackedNetwork.load(tmp_path / "a.qnn")
            seen.add(field)
    assert seen == {"bias", "mean", "inverse_deviation", "gain", "shift"}


@pytest.mark.parametrize("scale", [None, 0, -1.0, True, "1", [1.0], 10**400])
def test_a_scale_that_is_none_is_refused(tmp_path, scale):
    path = changed_file(tmp_path, dense_network(), lambda h, a: h["stages"][-1].update(scale=scale))
    with pytest.raises(FileError, match=r"strange\.qnn: .*step 5 \(Scores\): scale: "):
        PackedNetwork.load(path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda h, a: a.pop("1/at"), r"step 1 \(Threshold\): lacks the array 1/at"),
        (lambda h, a: a.pop("0/words"), r"step 0 \(PixelsDense\): lacks the array 0/words"),
        (lambda h, a: h["stages"][0].pop("K"), r"step 0 \(PixelsDense\): lacks the setting K"),
        (lambda h, a: h["stages"][0].update(code=1), r"\(PixelsDense\): has no setting 'code'"),
        (lambda h, a: h["stages"][1].update(at=[1]), r"\(Threshold\): has no setting 'at'"),
        (
            lambda h, a: h["stages"][0].update(kind="Exec"),
            "step 0: there is no kind of step 'Exec'",
        ),
        (lambda h, a: h["stages"][0].update(kind="Stage"), "there is no kind of step 'Stage'"),
        (lambda h, a: h["stages"][0].update(kind="Pool"), "has no setting 'K'"),
        (lambda h, a: h["stages"].append(3), "step 6: expected the description of a step"),
        (lambda h, a: a.update({"9/at": np.zeros(2)}), r"arrays without a step: \['9/at'\]"),
        (array("1/at", lambda a: a + 10**6), "at: expected thresholds from -3825 to 3825"),
        (array("1/at", lambda a: a - 10**6), "at: expected thresholds from -3825 to 3825"),
        (array("0/words", lambda a: a | np.uint64(1 << 15)), "words: a padding bit beyond K = 15"),
        (array("0/words", lambda a: a[:0]), "words: expected 1 axes of sizes"),
        (lambda h, a: h.update(input_shape=[2**40, 2**40]), "input_shape: expected a whole number"),
        (lambda h, a: h.update(input_shape=[2**20, 2**20]), r"from 1 to 2\^24 numbers an image"),
        (lambda h, a: h.update(input_shape=[]), "input_shape: expected a tuple"),
    ],
)
def test_the_step_and_the_array_are_named(tmp_path, change, words):
    path = changed_file(tmp_path, dense_network(), change)
    with pytest.raises(FileError, match=rf"strange\.qnn: damaged packed network file: .*{words}"):
        PackedNetwork.load(path)


def test_branches_within_branches_end_somewhere(tmp_path):
    def nest(header, arrays):
        for _ in range(200):
            inner = {"kind": "Join", "paths": [[header["stages"][0]]], "channels": [1]}
            header["stages"] = [inner]

    with pytest.raises(FileError, match="nested too deeply"):
        PackedNetwork.load(changed_file(tmp_path, dense_network(), nest))


def test_loading_compiles_nothing(tmp_path, monkeypatch):
    """Sizes are compared on paper: no step runs before the user's first image."""
    pack(flat_network()).save(tmp_path / "a.qnn")
    for kind in Stage.kinds.values():
        monkeypatch.setattr(kind, "run", lambda self, x: pytest.fail("a step runs"))
    PackedNetwork.load(tmp_path / "a.qnn")


def test_other_files_are_called_what_they_are(tmp_path):
    """And the error says what writes a packed network, not how to open pickles."""
    pixels, run = np.zeros((2, 5, 3, 1), np.uint8), OLD_FILES.parent / "run_of_version_1"
    np.save(tmp_path / "images.npy", pixels)
    np.savez(tmp_path / "mine.npz", train_images=pixels)
    (tmp_path / "notes.txt").write_text("hello")
    for path, words in (
        (tmp_path / "images.npy", "this is a NumPy .npy file"),
        (tmp_path / "mine.npz", "no header in it; an archive of train_images"),
        (tmp_path / "notes.txt", "this is plain text"),
        (run / "checkpoint.npz", "its header names the kind 'checkpoint'"),
        (run / "run.json", "this is JSON text"),
        (run, "it is a folder, not a file"),
    ):
        with pytest.raises(FileError) as caught:
            PackedNetwork.load(path)
        message = str(caught.value)
        assert message.startswith(str(path))
        assert words in message
        assert "as `qnn-ref pack` writes it" in message or path == run
        assert "allow_pickle" not in message


@pytest.mark.parametrize(
    "header",
    [
        {"stages": []},
        {"input_shape": [2]},
        {"stages": {}, "input_shape": [2]},
        {"stages": [], "input_shape": "2"},
        {"stages": [], "input_shape": 2},
    ],
    ids=str,
)
def test_a_header_without_steps_or_a_shape_says_so(tmp_path, header):
    path = tmp_path / "network.qnn"
    save_arrays(path, {}, {"kind": KIND, "version": VERSION} | header)
    with pytest.raises(FileError, match=r"its header lacks (stages|input_shape)"):
        read_stages(path)


def test_sizes_of_a_shape_fit_in_31_bits(tmp_path):
    path = tmp_path / "network.qnn"
    write_stages(path, [], (1, 2**31 - 1))
    assert read_stages(path) == ([], (1, 2**31 - 1))
    for size in (0, 2**31):
        write_stages(path, [], (size, 1))
        with pytest.raises(FileError, match="input_shape: expected a whole number from 1 to"):
            read_stages(path)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_numbers_that_are_none_are_not_written(tmp_path, value):
    packed = pack(dense_network())
    place = len(packed.stages) - 1
    name, array = next((n, a) for n, a in packed.stages[-1].arrays().items() if a.dtype.kind == "f")
    array.flags.writeable = True
    array.flat[0] = value
    with pytest.raises(ValueError, match=f"^{place}/{name}: expected finite numbers"):
        packed.save(tmp_path / "network.qnn")
    assert not list(tmp_path.iterdir())


def test_steps_that_make_no_network_are_refused(tmp_path):
    path = tmp_path / "network.qnn"
    packed = packed_once(dense_network())
    write_stages(path, packed.stages[:-1], packed.input_shape)
    with pytest.raises(FileError, match="stages: expected Scores at the end"):
        PackedNetwork.load(path)


def test_a_network_shows_a_line_for_each_step():
    packed = packed_once(flat_network())
    head, *lines = repr(packed).splitlines()
    assert head.split() == ["step", "output", "of", "bytes"]
    assert len(lines) == len(packed.stages)
    for number, (line, stage) in enumerate(zip(lines, packed.stages, strict=True)):
        assert line.startswith(f"{number} {type(stage).__name__}")
        assert len(line) == len(head)  # the bytes stand on the right
        assert int(line.split()[-1].replace(",", "")) == sum(
            array.nbytes for array in stage.arrays().values()
        )
    html = packed._repr_html_()
    for cell in (f"{lines[0].split()[-1]}</td>", "bytes</th>"):
        assert f'style="text-align: right">{cell}' in html


@pytest.mark.parametrize("symbols", [None, "ab", {"a": 1}, [1, 2], ["a", 2], ["a", None]], ids=str)
def test_a_header_without_symbols_says_so(tmp_path, symbols):
    path = tmp_path / "text.qnn"
    save_arrays(path, {}, {"kind": KIND, "version": VERSION, "form": SEQUENCE, "symbols": symbols})
    with pytest.raises(FileError, match="damaged packed network file: its header lacks symbols"):
        read_sequence(path)
