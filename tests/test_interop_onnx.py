"""A packed network as ONNX gives the packed network's scores, bit for bit.

The graph itself is run by `tests/oracles/graphs.py`, which needs NumPy alone. The written file is
run by onnxruntime and by the reference evaluator of onnx where they are installed: tests marked
`other_side`. `python -m tests.fuzz_exports` draws many more networks, and takes 10,000 real images.
"""

from __future__ import annotations

import copy
import sys

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qnn_ref import Sequential, pack
from qnn_ref.grid import SIGNS, Grid
from qnn_ref.interop import FORMATS, export, onnx
from qnn_ref.interop.onnx_products import weights_of
from qnn_ref.layers import (
    AveragePool2D,
    BatchNorm,
    Conv2D,
    Dense,
    Flatten,
    MaxPool2D,
    Pixels,
    Quantize,
    ShiftBatchNorm,
)
from qnn_ref.packed import PackedNetwork
from qnn_ref.packed.product_stages import GridDense, PixelsDense, XnorDense
from qnn_ref.packed.stages import Stage
from qnn_ref.packed.thresholds import Levels, Scores, Threshold
from qnn_ref.quantizers import LinearQuant, LogQuant
from tests.exports import LEVELS, by_onnxruntime, by_reference, plant_ties, same_bits
from tests.oracles import graphs
from tests.test_packed_file import convolutional_network, dense_network, flat_network
from tests.test_packed_packing import (
    networks,
    randomize,
    some_images,
    train_statistics,
)

JIT_IS_OFF = bool(numba.config.DISABLE_JIT)
SMALL = [dense_network, flat_network, convolutional_network]


def by_numpy(packed, images):
    """Scores of the graph, by the operators' definition."""
    return graphs.run(onnx.graph_of(packed), images=images)["scores"]


def made_of(layers, shape, seed=0, dtype=np.float32):
    rng = np.random.default_rng(seed)
    return pack(train_statistics(randomize(Sequential(layers, shape, rng, dtype), rng), rng))


# The graph, in NumPy


@settings(max_examples=10 if JIT_IS_OFF else 15)
@given(networks(), st.sampled_from([np.float32, np.float64]), st.integers(0, 2**32 - 1))
def test_the_graph_of_a_drawn_network_gives_its_scores(drawn, dtype, seed):
    packed = made_of(*drawn, seed, dtype)
    images = some_images(packed.input_shape, np.random.default_rng(seed))
    same_bits(by_numpy(packed, images), packed.scores(images))


WIDE = {
    "8 bits a weight": [Dense(5, LinearQuant(8)), BatchNorm(), Quantize(), Dense(3)],
    "8 bits a code": [Dense(5), BatchNorm(), Quantize(LinearQuant(8)), Dense(3, LinearQuant(7))],
    "powers of two": [Dense(5), BatchNorm(), Quantize(LogQuant(4)), Dense(3, LogQuant(4))],
    "sums": [Conv2D(2, 1), BatchNorm(), Quantize(LinearQuant(4)), AveragePool2D(5)],
    "sums of sums": [
        *(Conv2D(2, 3, padding=1), BatchNorm(), Quantize(LinearQuant(5)), AveragePool2D(3, 1)),
        *(Conv2D(4, 3, padding=1, weight_quantizer=LinearQuant(7)), BatchNorm(), Quantize()),
    ],
    "one outside": [
        *(Conv2D(2, 3, padding=1), BatchNorm(), Quantize(LinearQuant(5)), AveragePool2D(3, 1)),
        *(Conv2D(4, 3, padding=1, one_padding=True), BatchNorm(), Quantize()),
    ],
    "shift-based batch norm": [Dense(70), ShiftBatchNorm(), Quantize(), Dense(3), ShiftBatchNorm()],
    "a row of pixels, no hidden layer": [Dense(4, bias=True)],
    "sums of pixels below 0 pooled": [
        *(Conv2D(3, 2), MaxPool2D(2), BatchNorm(), Quantize(LinearQuant(2)), Flatten(), Dense(3)),
    ],
}


def wide_network(name, shape=(5, 6, 2)):
    """One of `WIDE` with what it lacks at both ends, and layers of its own."""
    layers = copy.deepcopy(WIDE[name])
    if isinstance(layers[0], Dense):
        layers = [Flatten(), *layers]
    if isinstance(layers[-1], Quantize | AveragePool2D):
        layers += [Flatten(), Dense(3)]
    return made_of([Pixels(), *layers], shape)


@pytest.mark.parametrize("name", WIDE)
def test_numbers_of_more_than_8_bits_are_cut_into_digits(name):
    packed = wide_network(name)
    images = some_images((5, 6, 2), np.random.default_rng(1))
    same_bits(by_numpy(packed, images), packed.scores(images))


def products(graph):
    """Names of the weights of each product."""
    return [node.inputs[1] for node in graph.nodes if node.operator.endswith("Integer")]


@pytest.mark.parametrize("name", ["8 bits a weight", "8 bits a code", "powers of two"])
def test_two_neighbours_of_a_product_fit_16_bits(name):
    """Processors without dot products of 8 bits add two of them in 16 bits, and saturate."""
    graph = onnx.graph_of(wide_network(name, (2, 2, 1)))
    found = graphs.run(graph, images=np.zeros((1, 2, 2, 1), np.uint8))
    for weights in products(graph):
        assert found[weights].dtype == np.int8
        assert 2 * 255 * abs(found[weights].astype(int)).max() < 2**15


@pytest.mark.parametrize("make", SMALL)
def test_a_weight_of_one_bit_takes_one_in_the_file(make):
    packed = pack(make())
    graph = onnx.graph_of(packed)
    octets = [graph.constants[n.inputs[0]] for n in graph.nodes if n.operator == "Unsqueeze"]
    weights = [weights_of(s) for s in all_stages(packed.stages) if hasattr(s, "words")]
    assert [x.nbytes for x in octets] == [-(-w.levels.size // 8) for w in weights]
    assert {x.dtype.name for x in octets} == {"uint8"}


def all_stages(stages):
    """Steps of a network, those of its paths instead of a Join."""
    for stage in stages:
        if hasattr(stage, "paths"):
            for path in stage.paths:
                yield from all_stages(path)
        else:
            yield stage


def test_nothing_is_real_before_the_scores():
    graph = onnx.graph_of(pack(convolutional_network()))
    found = graphs.run(graph, images=np.zeros((2, 5, 6, 2), np.uint8))
    real = [node.operator for node in graph.nodes if found[node.output].dtype.kind == "f"]
    assert real == ["Cast", "Mul", "Add", "Sub", "Mul", "Mul", "Add"]  # scale, bias, batch norm


def test_tensors_bear_the_number_of_their_step():
    graph = onnx.graph_of(pack(convolutional_network()))
    places = {node.output.partition(".")[0] for node in graph.nodes}
    assert {"0", "2", "3", "3/1/0", "3/3/0/1/0", "9"} <= places
    assert graph.nodes[-1].output == "scores"


# The file, by those that it is written for


@pytest.fixture(scope="module")
def other_side():
    """onnx and onnxruntime, or a skip that says what is missing."""
    for name in ("onnx", "onnxruntime"):
        pytest.importorskip(name, reason=f"{name} is not installed")


@pytest.mark.other_side
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # theirs
@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("make", SMALL)
def test_the_file_gives_the_scores_wherever_it_runs(other_side, make, ties):
    network = copy.deepcopy(make())
    images = some_images(network.input_shape, np.random.default_rng(0))
    packed = pack(plant_ties(network, images) if ties else network)
    data, expected = export(packed), packed.scores(images)
    assert data == export(packed)
    for level in LEVELS:
        for threads in (1, 2):
            same_bits(by_onnxruntime(data, images, level, threads), expected)
    same_bits(by_reference(data, images), expected)


@pytest.mark.other_side
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@settings(max_examples=2 if JIT_IS_OFF else 10)
@given(networks(), st.sampled_from([np.float32, np.float64]), st.integers(0, 2**32 - 1))
def test_the_file_of_a_drawn_network_gives_its_scores(other_side, drawn, dtype, seed):
    packed = made_of(*drawn, seed, dtype)
    images = some_images(packed.input_shape, np.random.default_rng(seed))
    data, expected = export(packed), packed.scores(images)
    same_bits(by_onnxruntime(data, images, "DISABLE_ALL"), expected)
    same_bits(by_onnxruntime(data, images, "ENABLE_ALL", threads=2), expected)
    same_bits(by_reference(data, images), expected)


@pytest.mark.other_side
def test_the_file_says_what_it_is_and_is_stamped_by_hand(other_side):
    import onnx as library

    model = library.load_from_string(export(pack(dense_network())))
    assert (model.ir_version, [(o.domain, o.version) for o in model.opset_import]) == (
        8,
        [("", 18)],
    )
    assert model.producer_name == "qnn_ref"
    images, scores = model.graph.input[0], model.graph.output[0]
    assert (images.name, scores.name) == ("images", "scores")
    sizes = [d.dim_param or d.dim_value for d in images.type.tensor_type.shape.dim]
    assert sizes == ["N", *dense_network().input_shape]


# Sums far away: a tensor on the way may wrap around, the sum does not


@pytest.mark.parametrize("at", [1 - 2**31, -(2**30) - 7, -5, 0, 7, 2**30 + 7])
@pytest.mark.parametrize("largest", [2**31 - 1, 2**30 + 7, 32767, 129, 128])
def test_sums_of_31_bits_are_right_modulo_2_to_the_32(largest, at):
    """One pixel, codes as large as can be, and a sum of one of them: steps made by hand."""
    grid = Grid(-largest, largest, 1)
    codes = np.array([-largest, -3, largest], np.int32)
    stages = [
        PixelsDense(np.zeros((1, 1), np.uint64), 1),  # 255 - 2 p
        Levels(np.array([[-200], [1]], np.int32), np.zeros((2, 1), bool), codes),
        GridDense(np.ones((1, 1, 1), np.uint64), 1, grid, SIGNS),
        Threshold(np.array([np.clip(at, -largest, largest)], np.int32), np.array([True])),
        XnorDense(np.ones((1, 1), np.uint64), 1),
        Scores("float32", 1.0),
    ]
    packed = PackedNetwork(stages, (1,))
    images = np.array([[0], [127], [128], [200], [255]], np.uint8)
    same_bits(by_numpy(packed, images), packed.scores(images))


# What cannot be expressed


def test_a_step_without_a_form_is_refused_by_place_and_name(monkeypatch):
    packed = pack(convolutional_network())
    monkeypatch.delitem(onnx.STEPS, type(packed.stages[6]))
    with pytest.raises(ValueError, match=r"^export: step 3/2/0 \(SumPool\): has no form in ONNX$"):
        onnx.graph_of(packed)


def test_every_kind_of_step_of_a_network_for_images_has_a_form():
    for_text = {"Rows", "GridRecurrent"}
    assert {kind.__name__ for kind in onnx.STEPS} == {
        name
        for name, kind in Stage.kinds.items()
        if name not in for_text and kind.run is not Stage.run and "run" in vars(kind)
    }


@pytest.mark.parametrize("network", [None, "x.qnn", Sequential])
def test_what_is_no_packed_network_is_refused(network):
    with pytest.raises(TypeError, match=r"^network: expected an object of PackedNetwork"):
        export(network)


def test_a_trained_network_is_told_how_it_is_packed():
    with pytest.raises(TypeError, match=r"like qnn_ref.pack\(network\), got Sequential"):
        export(dense_network())


def test_an_unknown_form_is_refused_and_the_near_one_named():
    with pytest.raises(ValueError, match=r"^form: .*'onx'; did you mean 'onnx'"):
        export(pack(dense_network()), "onx")
    assert "onnx" in FORMATS


def test_without_the_library_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ModuleNotFoundError, match=r'needs onnx: pip install "qnn-ref\[interop\]"'):
        export(pack(dense_network()))
