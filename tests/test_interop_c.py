"""Exports to C: compiled without a warning, they give the packed network's very scores."""

from __future__ import annotations

import copy
import re

import numpy as np
import pytest

from qnn_ref import PackedNetwork, datasets, pack
from qnn_ref.cli import main
from qnn_ref.interop import export
from qnn_ref.interop.c.steps import PRODUCTS, STEPS
from qnn_ref.interop.c.texts import literal
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
from qnn_ref.packed.shape_stages import SumPool
from qnn_ref.packed.stages import Stage
from qnn_ref.packed.thresholds import Levels, Scores, Threshold
from qnn_ref.quantizers import LinearQuant, LogQuant
from tests import compiled_c
from tests.test_packed_file import convolutional_network, flat_network, walk
from tests.test_packed_levels import some_images, trained
from tests.test_packed_network import random_network

needs_compiler = pytest.mark.skipif(compiled_c.COMPILER is None, reason="no C compiler (cc) here")


def block(layer, quantizer, *pools):
    return [layer, *pools, BatchNorm(), Quantize(quantizer)]


def of_few_bits():
    """Grids of every reading, for weights and activations; a max pool of sums, one padding."""
    three, fixed = LinearQuant(2), LinearQuant(3, reading="fixed-point")
    unsigned = LinearQuant(2, high=1.5, reading="unsigned")
    first = block(Conv2D(5, 3, padding=1, weight_quantizer=fixed), unsigned, MaxPool2D(3, 2, 1))
    paths = (
        [AveragePool2D(3, 1, 1), *block(Conv2D(3, 1, weight_quantizer=three), unsigned)],
        block(Conv2D(2, 3, padding=1, one_padding=True), unsigned),
        [MaxPool2D(1)],
    )
    layers = [
        *(
            Pixels(0.02),
            *first,
            Branches(*paths),
            *block(Conv2D(4, (2, 3), padding=1), LogQuant(3)),
        ),
        *(Flatten(), *block(Dense(66, LogQuant(3)), three)),
        *block(Dense(9, three), LinearQuant(2, high=0.5)),
        Dense(3, fixed, bias=True),
    ]
    return trained(layers, (6, 7, 3), 3)


def of_signs():
    """Padding with ones, strides, AND pools, a dense layer of a grid on pixels."""
    first = block(Conv2D(70, (3, 2), stride=(2, 1), padding=1, one_padding=True), LinearQuant(1))
    then = block(Conv2D(3, 2, padding=1, one_padding=True), LinearQuant(1), MaxPool2D(3, 2, 1))
    return trained([Pixels(), *first, *then, Flatten(), Dense(4)], (5, 6, 3), 4)


NETWORKS = {
    "dense": lambda: random_network(np.random.default_rng(0), hidden=(63, 64, 65)),
    "float64": lambda: random_network(
        np.random.default_rng(1), (7, 5, 3), (130,), bias=True, last_norm=False, dtype=np.float64
    ),
    "one layer": lambda: random_network(np.random.default_rng(2), (3, 3, 1), (), bias=True),
    "most kinds": convolutional_network,
    "flat": flat_network,
    "signs": of_signs,
    "few bits": of_few_bits,
    "few bits of pixels": lambda: trained(
        [Pixels(), Flatten(), *block(Dense(5, LinearQuant(2)), LinearQuant(1)), Dense(3)],
        (3, 5, 1),
        5,
    ),
}


SLOW = {"few bits": pytest.mark.slow_without_jit}
NAMES = [pytest.param(name, marks=SLOW.get(name, ())) for name in NETWORKS]


def with_ties(network, images):
    """A packed network whose thresholds are sums that occur, so that `>=` and `>` differ."""
    packed = network if isinstance(network, PackedNetwork) else pack(network)
    packed, x = copy.deepcopy(packed), images
    for stage in packed.stages[:-1]:
        if isinstance(stage, Threshold | Levels):
            sums = x.reshape(-1, x.shape[-1])
            rows = np.atleast_2d(stage.at)
            rows[:] = sums[np.arange(len(rows)) % len(sums)]
        x = stage.run(x)
    return packed


@needs_compiler
@pytest.mark.parametrize("name", NAMES)
def test_scores_are_equal_bit_for_bit(name, tmp_path):
    network = NETWORKS[name]()
    images = some_images(network.input_shape, 0)
    packed = with_ties(network, images)
    classes, scores = compiled_c.called(packed, images, tmp_path, "-O1")
    compiled_c.assert_equal(packed, images, scores)
    np.testing.assert_array_equal(classes, packed.predict(images))


def test_the_networks_have_every_kind_of_step_with_and_without_a_turned_threshold():
    found = [s for make in NETWORKS.values() for s in walk(pack(make()).stages)]
    assert {type(s) for s in found} == {*PRODUCTS, *STEPS, Scores}
    for kind in (Threshold, Levels):
        flips = np.concatenate([s.flip.ravel() for s in found if isinstance(s, kind)])
        assert {*flips} == {True, False}


def test_every_kind_of_step_is_written_or_refused_by_name():
    abstract = {"Pool", "GridProduct"}
    recurrent = {"Rows", "GridRecurrent"}  # the command refuses the files that have them
    named = {kind.__name__ for kind in (*PRODUCTS, *STEPS, Scores)}
    assert named == Stage.kinds.keys() - abstract - recurrent


def test_a_step_without_a_form_in_c_is_refused_by_name(monkeypatch):
    packed = pack(flat_network())
    monkeypatch.delitem(STEPS, type(packed.stages[2]))
    with pytest.raises(ValueError, match=r"^export: step 2 \(FlattenBits\): has no form in C"):
        export(packed, "c")


def test_a_step_in_a_path_is_named_with_its_path(monkeypatch):
    packed = pack(convolutional_network())
    monkeypatch.delitem(STEPS, SumPool)
    with pytest.raises(ValueError, match=r"^export: step 3/2/0 \(SumPool\): has no form in C"):
        export(packed, "c")


@needs_compiler
@pytest.mark.parametrize("flags", [("-O2",), ("-O3", "-march=native", "-std=gnu99"), ("-Os",)])
def test_digits_with_and_without_a_popcount_instruction(flags, tmp_path):
    if not compiled_c.takes(*flags):
        pytest.skip(f"the compiler does not know {' '.join(flags)}")
    packed = PackedNetwork.load(datasets.find_model("digits"))
    images = datasets.load("digits").test_images[:200]
    _, scores = compiled_c.called(packed, images, tmp_path, *flags)
    compiled_c.assert_equal(packed, images, scores)


@needs_compiler
@pytest.mark.parametrize(
    "name", ["most kinds", pytest.param("few bits", marks=pytest.mark.slow_without_jit)]
)
def test_no_wrong_address_and_no_undefined_operation(name, tmp_path):
    if not compiled_c.takes("-fsanitize=address,undefined"):
        pytest.skip("the compiler has no sanitizers")
    network = NETWORKS[name]()
    images = some_images(network.input_shape, 1)
    packed = pack(network)
    compiled_c.assert_equal(packed, images, compiled_c.sanitized(packed, images, tmp_path))


@needs_compiler
def test_a_score_that_is_not_finite_is_no_class(tmp_path):
    network = random_network(np.random.default_rng(0), hidden=(3,), classes=3)
    packed, images = pack(network), some_images(network.input_shape, 0)
    packed.stages[-1].gain[1] = packed.stages[-1].inverse_deviation[1] = 3e38
    classes, _ = compiled_c.called(packed, images, tmp_path, "-O1")
    assert {*classes} == {-1}


@needs_compiler
def test_of_equal_scores_the_first_is_the_class(tmp_path):
    network = random_network(np.random.default_rng(0), hidden=(3,), classes=3, last_norm=False)
    packed, images = pack(network), some_images(network.input_shape, 0)
    packed.stages[-2].words[1:] = packed.stages[-2].words[0]
    packed = PackedNetwork(packed.stages, packed.input_shape)
    classes, _ = compiled_c.called(packed, images, tmp_path, "-O1")
    assert {*classes} == {0}


def test_the_file_says_how_it_is_called_and_is_the_same_each_time():
    packed = PackedNetwork.load(datasets.find_model("digits"))
    text = export(packed, "c").decode("ascii")
    assert export(packed, "c").decode("ascii") == text
    assert "int predict(const uint8_t *image, float *scores)" in text
    assert "8 x 8 x 1 pixels" in text
    assert {*re.findall(r"#include <(.*)>", text)} == {"stdint.h", "string.h"}
    assert max(map(len, text.splitlines())) <= 100
    assert not re.findall(r"for \(int (\w)\w* = 0; \1 < 1;", text)  # no loop of one turn


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (np.uint64(5), "0x0000000000000005"),
        (np.int32(-5), "(-5)"),
        (np.int32(2**31 - 1), "2147483647"),
        (np.int32(-(2**31)), "(-2147483648LL)"),
        (np.float32(0.1), "0x1.99999a0000000p-4f"),
        (np.float64(-0.0), "-0x0.0p+0"),
    ],
)
def test_numbers_are_exact(number, text):
    assert literal(number) == text


def test_the_command_writes_it_and_a_recurrent_network_leaves_no_file(tmp_path, capsys):
    target = tmp_path / "digits.c"
    assert main(["export", "digits", "-o", str(target)]) == 0
    assert target.read_bytes() == export(PackedNetwork.load(datasets.find_model("digits")), "c")
    target.unlink()
    assert main(["export", "characters", "-o", str(target)]) == 2
    assert "step 1 (GridRecurrent)" in capsys.readouterr().err
    assert not target.exists()
