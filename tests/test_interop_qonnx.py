"""A packed network as QONNX gives the packed network's scores, bit for bit.

The graph itself is run by `tests/oracles/graphs.py`, which needs NumPy alone; the written file by
qonnx's own executor where it is installed (`pip install qonnx==1.0.0`), before and after its
clean-up: tests marked `other_side`.
"""

from __future__ import annotations

import copy

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qnn_ref import pack
from qnn_ref.grid import SIGNS, Grid
from qnn_ref.interop import export, onnx, qonnx
from qnn_ref.interop.qonnx_values import EXACT, datatype_of
from qnn_ref.layers import BatchNorm, Conv2D, Dense, Flatten, MaxPool2D, Pixels, Quantize
from qnn_ref.packed import PackedNetwork
from qnn_ref.packed.product_stages import PixelsDense, XnorDense
from qnn_ref.packed.thresholds import Levels, Scores, Threshold
from qnn_ref.quantizers import LinearQuant, LogQuant
from tests.exports import by_qonnx, plant_ties, same_bits
from tests.oracles import graphs
from tests.test_interop_onnx import SMALL, WIDE, made_of, wide_network
from tests.test_packed_file import convolutional_network, dense_network
from tests.test_packed_packing import networks, some_images

JIT_IS_OFF = bool(numba.config.DISABLE_JIT)


def by_numpy(packed, images):
    """Scores of the graph, by the operators' definition."""
    found = graphs.run(qonnx.graph_of(packed), images=images.astype(np.float32))
    return found["scores"]


@settings(max_examples=8 if JIT_IS_OFF else 12)
@given(networks(), st.integers(0, 2**32 - 1))
def test_the_graph_of_a_drawn_network_gives_its_scores(drawn, seed):
    packed = made_of(*drawn, seed)
    images = some_images(packed.input_shape, np.random.default_rng(seed))
    same_bits(by_numpy(packed, images), packed.scores(images))


POOLED = {
    "max of codes": [Conv2D(9, 2), MaxPool2D(2), BatchNorm(), Quantize(LinearQuant(2))],
    "powers of two": [Conv2D(9, 2), BatchNorm(), Quantize(LogQuant(3))],
    "max of bits": [Conv2D(9, 2), MaxPool2D(2, 1, 1), BatchNorm(), Quantize()],
}


@pytest.mark.parametrize("name", POOLED)
def test_turned_channels_are_right_behind_pools_and_for_codes_that_are_no_grid(name):
    for seed in range(5):
        layers = [Pixels(), *POOLED[name], Flatten(), Dense(3)]
        packed = made_of(copy.deepcopy(layers), (5, 6, 2), seed)
        images = some_images((5, 6, 2), np.random.default_rng(seed))
        same_bits(by_numpy(packed, images), packed.scores(images))


def test_every_number_is_what_its_annotation_says():
    packed = pack(convolutional_network())
    graph = qonnx.graph_of(packed)
    images = some_images(packed.input_shape, np.random.default_rng(0)).astype(np.float32)
    found = graphs.run(graph, images=images)
    for name, datatype in graph.annotations.items():
        least, most = ends(datatype)
        numbers = found[name]
        assert (numbers.dtype, float(numbers.min()) >= least) == (np.float32, True), name
        assert numbers.max() <= most, name
        assert np.all(numbers == np.round(numbers)), name
        assert datatype != "BIPOLAR" or np.all(abs(numbers) == 1), name
    for name, shape in graph.shapes.items():
        assert found[name].shape == (5, *shape), name
    assert {node.output for node in graph.nodes} - graph.shapes.keys() == {"scores"}


def ends(datatype):
    """The smallest and the largest number of a type of QONNX."""
    if datatype in ("BIPOLAR", "BINARY"):
        return (-1, 1) if datatype == "BIPOLAR" else (0, 1)
    bits = int(datatype.removeprefix("U").removeprefix("INT"))
    return (0, 2**bits - 1) if datatype[0] == "U" else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


@pytest.mark.parametrize(
    ("grid", "name"),
    [
        (SIGNS, "BIPOLAR"),
        (Grid(-1, 1, 1), "INT2"),
        (Grid(-2, 1, 1), "INT2"),
        (Grid(-3, 3, 2), "INT3"),
        (Grid(0, 1, 1), "UINT1"),
        (Grid(0, 7, 1), "UINT3"),
        (Grid(0, 8, 8), "UINT4"),
        (Grid(-128, 127, 1), "INT8"),
        (Grid(-129, 127, 1), "INT9"),
    ],
)
def test_the_smallest_type_that_holds_a_grid(grid, name):
    assert datatype_of(grid) == name
    assert ends(name)[0] <= grid.low < grid.high <= ends(name)[1]


# What cannot be expressed


def hand_made(*stages):
    """One pixel in, one number on: -255 to 255."""
    first = PixelsDense(np.ones((1, 1), np.uint64), 1)
    last = XnorDense(np.ones((1, 1), np.uint64), 1), Scores("float32", 1.0)
    return PackedNetwork([first, *stages, *last], (1,))


def test_a_step_without_a_form_is_refused_by_place_and_name(monkeypatch):
    packed = pack(convolutional_network())
    monkeypatch.delitem(qonnx.STEPS, type(packed.stages[6]))
    with pytest.raises(ValueError, match=r"^export: step 3/2/0 \(SumPool\): has no form in QONNX$"):
        qonnx.graph_of(packed)


def test_both_forms_know_the_same_kinds_of_steps():
    assert qonnx.STEPS.keys() == onnx.STEPS.keys()


def test_scores_of_double_precision_are_refused():
    words = r"^export: step 1 \(Scores\): its scores are float64, and QONNX's numbers are float32$"
    first = PixelsDense(np.ones((1, 1), np.uint64), 1)
    with pytest.raises(ValueError, match=words):
        export(PackedNetwork([first, Scores("float64", 1.0)], (1,)), "qonnx")


@pytest.mark.parametrize("more", [0, 1])
def test_sums_that_float32_does_not_hold_are_refused(more):
    K = EXACT // 255 + more
    words = np.zeros((1, -(-K // 64)), np.uint64)
    packed = PackedNetwork([PixelsDense(words, K), Scores("float32", 1.0)], (K,))
    if more:
        reason = r"^export: step 0 \(PixelsDense\): its sums go up to 16,777,470, and QONNX's"
        with pytest.raises(ValueError, match=reason):
            qonnx.graph_of(packed)
    else:
        images = np.array([[0] * K, [255] * K], np.uint8)
        expected = np.array([[255 * K], [-255 * K]], np.float32)  # every weight is -1
        same_bits(by_numpy(packed, images), expected)


def test_levels_that_turn_in_two_directions_are_refused():
    at, codes = np.array([[-5], [5]], np.int32), np.array([0, 1, 2], np.int32)
    levels = Levels(at, np.array([[False], [True]]), codes)
    first, last = PixelsDense(np.ones((1, 1), np.uint64), 1), Scores("float32", 1.0)
    packed = PackedNetwork([first, levels, last], (1,))
    with pytest.raises(ValueError, match=r"^export: step 1 \(Levels\): flip: expected one direct"):
        qonnx.graph_of(packed)
    images = np.array([[0], [120], [127], [140]], np.uint8)
    found = graphs.run(onnx.graph_of(packed), images=images)["scores"]
    same_bits(found, packed.scores(images))  # which counts, and has no such need


def test_levels_out_of_order_are_refused_where_codes_are_no_grid():
    at, flip = np.array([[5], [-5]], np.int32), np.zeros((2, 1), np.bool_)
    first, last = PixelsDense(np.ones((1, 1), np.uint64), 1), Scores("float32", 1.0)
    images = np.arange(120, 136, dtype=np.uint8)[:, None]
    even = PackedNetwork([first, Levels(at, flip, np.array([0, 1, 2], np.int32)), last], (1,))
    same_bits(by_numpy(even, images), even.scores(images))
    uneven = PackedNetwork([first, Levels(at, flip, np.array([0, 1, 4], np.int32)), last], (1,))
    with pytest.raises(ValueError, match=r"^export: step 1 \(Levels\): at: expected thresholds in"):
        qonnx.graph_of(uneven)


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("at", [-255, -254, -1, 0, 1, 255])
def test_a_threshold_says_the_same_turned_and_at_the_ends(at, flip):
    packed = hand_made(Threshold(np.array([at], np.int32), np.array([flip])))
    images = np.arange(256, dtype=np.uint8)[:, None]
    same_bits(by_numpy(packed, images), packed.scores(images))


# The file, by its own executor


@pytest.fixture(scope="module")
def other_side():
    """Qonnx, or a skip that says so."""
    pytest.importorskip("qonnx", reason="qonnx is not installed")


@pytest.mark.other_side
@pytest.mark.filterwarnings("ignore")  # theirs
@pytest.mark.parametrize("clean", [False, True])
@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("make", SMALL)
def test_the_file_gives_the_scores_as_it_is_and_cleaned_up(other_side, make, ties, clean):
    network = copy.deepcopy(make())
    images = some_images(network.input_shape, np.random.default_rng(0))
    packed = pack(plant_ties(network, images) if ties else network)
    data, expected = export(packed, "qonnx"), packed.scores(images)
    assert data == export(packed, "qonnx")
    same_bits(by_qonnx(data, images, clean), expected)


@pytest.mark.other_side
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", WIDE)
def test_codes_of_more_bits_too(other_side, name):
    packed = wide_network(name)
    images = some_images((5, 6, 2), np.random.default_rng(1))
    same_bits(by_qonnx(export(packed, "qonnx"), images, clean=True), packed.scores(images))


@pytest.mark.other_side
def test_the_file_has_a_batch_of_one_and_two_sets_of_operators(other_side):
    import onnx as library

    model = library.load_from_string(export(pack(dense_network()), "qonnx"))
    versions = {o.domain: o.version for o in model.opset_import}
    assert (model.ir_version, versions) == (8, {"": 17, "qonnx.custom_op.general": 1})
    sizes = [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim]
    assert sizes == [1, *dense_network().input_shape]
