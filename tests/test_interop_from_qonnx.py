"""What was exported as QONNX comes back with the same scores, bit for bit."""

import copy

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qnn_ref import pack
from qnn_ref.files import FileError
from qnn_ref.interop import export, load_qonnx, qonnx
from qnn_ref.interop.from_qonnx import network_of
from qnn_ref.interop.graph import Node
from tests.exports import plant_ties, same_bits
from tests.test_interop_onnx import SMALL, WIDE, made_of, wide_network
from tests.test_interop_qonnx import POOLED
from tests.test_packed_file import convolutional_network, dense_network
from tests.test_packed_packing import networks, some_images

JIT_IS_OFF = bool(numba.config.DISABLE_JIT)


def operators(graph):
    """All but the join of a single path, which does nothing."""
    return [n.operator for n in graph.nodes if n.operator != "Concat" or len(n.inputs) > 1]


def comes_back(packed, images, constants=True):
    """Both ways, and out again: the same scores, the same operators and constants."""
    graph = qonnx.graph_of(packed)
    found = network_of(graph)
    same_bits(found.scores(images), packed.scores(images))
    again = qonnx.graph_of(found)
    assert operators(again) == operators(graph)
    if not constants:
        return
    for one, two in zip(graph.constants.values(), again.constants.values(), strict=True):
        np.testing.assert_array_equal(one, two)


@settings(max_examples=8 if JIT_IS_OFF else 12)
@given(networks(), st.integers(0, 2**32 - 1))
def test_a_drawn_network_comes_back(drawn, seed):
    packed = made_of(*drawn, seed)
    # Weights of few bits that happen to be all +-1 come back as signs: what a threshold that is
    # never reached says differs then, and nothing else.
    comes_back(packed, some_images(packed.input_shape, np.random.default_rng(seed)), False)


@pytest.mark.parametrize("name", POOLED)
def test_pools_and_codes_that_are_no_grid_come_back(name):
    from qnn_ref.layers import Dense, Flatten, Pixels

    for seed in range(3):
        layers = [Pixels(), *copy.deepcopy(POOLED[name]), Flatten(), Dense(3)]
        packed = made_of(layers, (5, 6, 2), seed)
        comes_back(packed, some_images((5, 6, 2), np.random.default_rng(seed)))


def test_paths_inside_paths_and_empty_ones_come_back():
    packed = pack(convolutional_network())
    comes_back(packed, some_images(packed.input_shape, np.random.default_rng(3)))


def test_thresholds_at_ties_come_back():
    network = dense_network()
    images = some_images(network.input_shape, np.random.default_rng(0))
    comes_back(pack(plant_ties(copy.deepcopy(network), images)), images)


def changed(packed, which, **change):
    """The graph with one of its operators made another one."""
    graph = qonnx.graph_of(packed)
    number = next(i for i, n in enumerate(graph.nodes) if n.operator == which)
    facts = vars(graph.nodes[number]) | change
    graph.nodes[number] = Node(**facts)
    return graph


@pytest.mark.parametrize(
    ("operator", "change", "words"),
    [
        ("MatMul", {"operator": "Gemm"}, r"\(Gemm\): this operator is none that is written here"),
        ("MatMul", {"domain": "elsewhere"}, r"\(MatMul\): this operator is none that is written"),
        (
            "MultiThreshold",
            {"operator": "BipolarQuant"},
            r"\(BipolarQuant\): this operator is none",
        ),
        (
            "MultiThreshold",
            {"settings": {"out_scale": 0.5}},
            "expected codes of whole numbers, got",
        ),
        ("Sub", {"operator": "Div"}, r"\(Div\): this operator is none that is written here"),
        ("Sub", {"operator": "Add"}, "expected scale, bias and batch norm at the end, got"),
    ],
)
def test_what_is_not_ours_is_refused_by_name(operator, change, words):
    with pytest.raises(ValueError, match=f"^node .*{words}"):
        network_of(changed(pack(dense_network()), operator, **change))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"pads": [1, 1, 0, 0]}, "expected two strides and equal borders"),
        ({"dilations": [2, 2]}, "expected no dilation"),
        ({"auto_pad": "SAME_UPPER"}, "expected borders as numbers"),
        ({"group": 2}, "expected one group, or a window of ones"),
    ],
)
def test_windows_that_are_not_ours_are_refused(settings, words):
    packed = pack(convolutional_network())
    graph = qonnx.graph_of(packed)
    before = next(n for n in graph.nodes if n.operator == "Conv").settings
    with pytest.raises(ValueError, match=rf"^node .*\(Conv\): {words}"):
        network_of(changed(packed, "Conv", settings=before | settings))


@pytest.mark.parametrize("change", ["weights", "thresholds"])
def test_numbers_that_are_no_whole_ones_are_refused(change):
    graph = qonnx.graph_of(pack(dense_network()))
    name = next(name for name in graph.constants if change in name)
    graph.constants[name] = graph.constants[name] + np.float32(0.1)
    with pytest.raises(ValueError, match=r"^node .*expected whole numbers as input 1"):
        network_of(graph)


def test_an_input_that_is_no_pixels_is_refused():
    graph = qonnx.graph_of(pack(dense_network()))
    graph.annotations["images"] = "INT8"
    with pytest.raises(ValueError, match=r"^images: expected pixels, an input that is annotated"):
        network_of(graph)


# The file


@pytest.fixture(scope="module")
def library():
    """The library onnx, or a skip that says so."""
    return pytest.importorskip("onnx", reason="onnx is not installed")


@pytest.mark.other_side
@pytest.mark.parametrize("make", SMALL)
def test_the_file_comes_back(library, make, tmp_path):
    packed = pack(copy.deepcopy(make()))
    data = export(packed, "qonnx")
    (tmp_path / "net.onnx").write_bytes(data)
    found = load_qonnx(tmp_path / "net.onnx")
    images = some_images(packed.input_shape, np.random.default_rng(0))
    same_bits(found.scores(images), packed.scores(images))
    assert export(load_qonnx(export(found, "qonnx")), "qonnx") == export(found, "qonnx")


@pytest.mark.other_side
@pytest.mark.parametrize("name", WIDE)
def test_files_of_more_bits_come_back(library, name):
    packed = wide_network(name)
    images = some_images((5, 6, 2), np.random.default_rng(1))
    same_bits(load_qonnx(export(packed, "qonnx")).scores(images), packed.scores(images))


@pytest.mark.other_side
@pytest.mark.filterwarnings("ignore")  # theirs
@pytest.mark.parametrize("make", SMALL)
def test_a_file_that_qonnx_cleaned_up_comes_back(library, make):
    pytest.importorskip("qonnx", reason="qonnx is not installed")
    from qonnx.core.modelwrapper import ModelWrapper
    from qonnx.util.cleanup import cleanup_model

    packed = pack(copy.deepcopy(make()))
    model = cleanup_model(ModelWrapper(library.load_from_string(export(packed, "qonnx"))))
    images = some_images(packed.input_shape, np.random.default_rng(0))
    found = load_qonnx(model.model.SerializeToString())
    same_bits(found.scores(images), packed.scores(images))


@pytest.mark.other_side
def test_what_is_no_file_of_ours_is_refused(library, tmp_path):
    packed = pack(dense_network())
    with pytest.raises(FileError, match=r"none\.onnx: there is no such file"):
        load_qonnx(tmp_path / "none.onnx")
    with pytest.raises(FileError, match=r"^source: expected an ONNX file \(DecodeError\)"):
        load_qonnx(b"these are words")
    with pytest.raises(ValueError, match=r"^images: expected pixels, an input that is"):
        load_qonnx(export(packed, "onnx"))
