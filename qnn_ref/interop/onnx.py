"""A packed network as ONNX of whole numbers: what any onnxruntime computes, bit for bit.

Sums are int32, made by `MatMulInteger`; a threshold is an integer compare; only the ten scores are
real, in the order of the trained code. Nothing between is a float, so there is nothing that another
program could round or fold otherwise.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from qnn_ref._typing import Array
from qnn_ref.bits import unpack
from qnn_ref.grid import PIXELS
from qnn_ref.interop.graph import Graph, serialize
from qnn_ref.packed import PackedNetwork
from qnn_ref.packed.product_stages import PixelsDense, XnorDense
from qnn_ref.packed.stages import Flow, Stage
from qnn_ref.packed.thresholds import Scores, Threshold

OPSET, IR_VERSION = 18, 8
"""The oldest that has `BitwiseAnd`; readers of 2023 know them."""


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
    return serialize(graph_of(network), OPSET, IR_VERSION, {})


@dataclass(frozen=True)
class Value:
    """A tensor of the graph, and what it stands for: `factor * tensor + offset`.

    Parameters
    ----------
    name : str
    flow : Flow
        What it stands for.
    factor : int
    offset : array (channels,) of int64, or 0
    """

    name: str
    flow: Flow
    factor: int = 1
    offset: Array | int = 0


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
    scores = network.stages[-1]
    assert isinstance(scores, Scores)
    graph = Graph(network.input_shape, network.output_shape, scores.dtype)
    value = Value("images", Flow("pixels", network.input_shape, PIXELS))
    for number, stage in enumerate(network.stages):
        with graph.at(str(number), stage):
            value = step(graph, stage, value)
    graph.name_result("scores")
    return graph


def step(graph: Graph, stage: Stage, value: Value) -> Value:
    """Append what a step does."""
    if type(stage) not in STEPS:
        raise ValueError("has no form in ONNX")
    return STEPS[type(stage)](graph, stage, value)


def dense(graph: Graph, stage: XnorDense, value: Value) -> Value:
    """Sums of a dense layer. Pixels p stand for 2 p - 255, which is left to who reads the sums."""
    weights = unpack(stage.words, stage.K, np.int8)
    pixels, name = value.flow.kind == "pixels", value.name
    if len(value.flow.shape) > 1:
        name = graph.emit("Flatten", name, axis=1)
    name = graph.emit("MatMulInteger", name, np.ascontiguousarray(weights.T))
    offset = -255 * weights.sum(axis=1, dtype=np.int64) if pixels else 0
    return Value(name, stage.output(value.flow), 2 if pixels else 1, offset)


def threshold(graph: Graph, stage: Threshold, value: Value) -> Value:
    """Signs: a tensor t reaches T where factor t + offset does, so at the ceiling of a quotient."""
    at = -((value.offset - stage.at.astype(np.int64)) // value.factor)
    passed = graph.emit("GreaterOrEqual", value.name, at.astype(np.int32))
    high = np.where(stage.flip, -1, 1).astype(np.int8)
    return Value(graph.emit("Where", passed, high, -high), stage.output(value.flow))


def scores(graph: Graph, stage: Scores, value: Value) -> Value:
    """Scale, bias and batch norm, each an operator of its own, in the order of training."""
    name = graph.emit("Cast", whole(graph, value), to={"float32": 1, "float64": 11}[stage.dtype])
    if stage.scale != 1:
        name = graph.emit("Mul", name, np.array(stage.scale, stage.dtype))
    if stage.bias is not None:
        name = graph.emit("Add", name, stage.bias)
    if stage.mean is not None:
        name = graph.emit("Sub", name, stage.mean)
        name = graph.emit("Mul", name, stage.inverse_deviation)
        name = graph.emit("Mul", name, stage.gain)
        name = graph.emit("Add", name, stage.shift)
    return Value(name, value.flow)


def whole(graph: Graph, value: Value) -> str:
    """The tensor of the numbers themselves, int32."""
    name = value.name
    if value.factor != 1:
        name = graph.emit("Mul", name, np.array(value.factor, np.int32))
    if np.any(value.offset):
        name = graph.emit("Add", name, np.asarray(value.offset, np.int32))
    return name


STEPS: dict[type[Stage], Callable[[Graph, Any, Value], Value]] = {
    PixelsDense: dense,
    XnorDense: dense,
    Threshold: threshold,
    Scores: scores,
}
