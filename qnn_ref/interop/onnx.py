"""A packed network as ONNX of whole numbers: what any onnxruntime computes, bit for bit.

Sums are int32, made by `MatMulInteger` and `ConvInteger`; a threshold is an integer compare; only
the scores are real, in the order of the trained code. Nothing between is a float, so there is
nothing that another program could round or fold otherwise.
"""

from __future__ import annotations

import numpy as np

from qnn_ref._typing import Array
from qnn_ref.grid import PIXELS
from qnn_ref.interop.graph import Graph, serialize
from qnn_ref.interop.onnx_products import PRODUCTS
from qnn_ref.interop.onnx_shapes import SHAPES
from qnn_ref.interop.values import Steps, Value, as_int32, fits_int8, of_channels, plain, wide
from qnn_ref.packed import PackedNetwork
from qnn_ref.packed.shape_stages import Join
from qnn_ref.packed.stages import Flow, Stage
from qnn_ref.packed.thresholds import Levels, Scores, Threshold

OPSET, IR_VERSION = 18, 8
"""The oldest that has `BitwiseAnd`; readers since 2023 know both."""


def export(network: PackedNetwork) -> bytes:
    """Write a packed network as ONNX.

    Parameters
    ----------
    network : PackedNetwork

    Returns
    -------
    bytes
        Input "images", uint8 (N, ...) as the network takes them; output "scores" (N, classes).

    Raises
    ------
    ValueError
        If a step has no exact form; the message names it.
    ModuleNotFoundError
        Without the library onnx.
    """
    return serialize(graph_of(network), OPSET, IR_VERSION)


def graph_of(network: PackedNetwork) -> Graph:
    """The graph of whole numbers of a packed network.

    Parameters
    ----------
    network : PackedNetwork

    Returns
    -------
    Graph

    Raises
    ------
    ValueError
        If a step has no exact form.
    """
    last = network.stages[-1]
    assert isinstance(last, Scores)
    graph = Graph(network.input_shape, network.output_shape, last.dtype)
    value = Value("images", "uint8", Flow("pixels", network.input_shape, PIXELS))
    for number, stage in enumerate(network.stages):
        value = step(graph, str(number), stage, value)
    graph.name_result("scores")
    return graph


def step(graph: Graph, place: str, stage: Stage, value: Value) -> Value:
    """Append the operators of a step; an error says which step has none."""
    with graph.at(place, stage):
        if type(stage) not in STEPS:
            raise ValueError("has no form in ONNX")
        return STEPS[type(stage)](graph, stage, value)


def threshold(graph: Graph, stage: Threshold, value: Value) -> Value:
    """Signs of sums, by an integer compare.

    Parameters
    ----------
    graph : Graph
    stage : Threshold
    value : Value
        Sums.

    Returns
    -------
    Value
        Of +1 and -1, int8.

    References
    ----------
    Algorithm 5, Sign(BN(a)).
    """
    flow = stage.output(value.flow)
    value, at = reached(graph, value, stage.at)
    passed = graph.emit("GreaterOrEqual", value.name, at)
    high = of_channels(value, np.where(stage.flip, -1, 1).astype(np.int8))
    return Value(graph.emit("Where", passed, high, -high), "int8", flow)


def levels(graph: Graph, stage: Levels, value: Value) -> Value:
    """Codes of sums, by the number of thresholds that they pass.

    Parameters
    ----------
    graph : Graph
    stage : Levels
    value : Value
        Sums.

    Returns
    -------
    Value
        Codes.

    References
    ----------
    Section 3; Algorithm 5 for more than one bit is ours.
    """
    flow = stage.output(value.flow)
    value, all_at = reached(graph, value, stage.at)
    count = ""
    for at, flip in zip(all_at, stage.flip, strict=True):
        passed = graph.emit("GreaterOrEqual", value.name, at)
        one = of_channels(value, as_int32(~flip))
        term = graph.emit("Where", passed, one, 1 - one)
        count = graph.emit("Add", count, term) if count else term
    dtype = "int8" if fits_int8(flow.grid) else "int32"
    return Value(graph.emit("Gather", stage.codes.astype(dtype), count, axis=0), dtype, flow)


def reached(graph: Graph, value: Value, at: Array) -> tuple[Value, Array]:
    """Sums, and thresholds of the tensor itself, int32, in the shape that meets it.

    `factor t + offset >= T` where `t >= ceil((T - offset) / factor)`.
    """
    far = value.flow.grid.largest + np.abs(value.offset).max() >= value.factor * 2**31
    if far or value.dtype == "int8":
        value = wide(graph, value)  # a tensor far away wraps around, what it stands for does not
    quotients = -((value.offset - at.astype(np.int64)) // value.factor)
    shaped = quotients.reshape(*at.shape, *(1,) * (len(value.flow.shape) - 1))
    return value, as_int32(shaped)


def scores(graph: Graph, stage: Scores, value: Value) -> Value:
    """Scale, bias and batch norm, each an operator of its own, in the order of training.

    Parameters
    ----------
    graph : Graph
    stage : Scores
    value : Value
        Sums of the last layer.

    Returns
    -------
    Value
        Real numbers.

    References
    ----------
    Algorithm 5, last line.
    """
    dtype = {"float32": 1, "float64": 11}[stage.dtype]
    name = graph.emit("Cast", wide(graph, value).name, to=dtype)
    scale = np.array(stage.scale, stage.dtype) if stage.scale != 1 else None
    affine = (stage.mean, stage.inverse_deviation, stage.gain, stage.shift)
    for operator, array in zip(
        ("Mul", "Add", "Sub", "Mul", "Mul", "Add"), (scale, stage.bias, *affine), strict=True
    ):
        if array is not None:
            name = graph.emit(operator, name, array)
    return Value(name, stage.dtype, value.flow)


def join(graph: Graph, stage: Join, value: Value) -> Value:
    """Parallel paths, joined along the channels.

    Parameters
    ----------
    graph : Graph
    stage : Join
    value : Value

    Returns
    -------
    Value
    """
    ends = []
    for number, path in enumerate(stage.paths):
        end = value
        for index, inner in enumerate(path):
            end = step(graph, f"{number}/{index}", inner, end)
        ends.append(plain(graph, end))
    if any(end.dtype == "int32" for end in ends):
        ends = [wide(graph, end) for end in ends]
    name = graph.emit("Concat", *(end.name for end in ends), axis=1)
    return Value(name, ends[0].dtype, stage.output(value.flow))


STEPS: Steps = {
    **PRODUCTS,
    **SHAPES,
    Threshold: threshold,
    Levels: levels,
    Join: join,
    Scores: scores,
}
"""What appends the operators of a step, by its kind."""
