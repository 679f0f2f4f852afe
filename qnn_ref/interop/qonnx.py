"""A packed network as QONNX: floats that hold whole numbers, annotated with the few bits they have.

What reads it are compilers for hardware. Sums are float32 and exact below 2^24; beyond that a step
is refused. A threshold is a `MultiThreshold` of whole numbers, which counts those that are reached.
A channel whose threshold is turned has the signs of its weights exchanged instead.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np

from qnn_ref._typing import Array
from qnn_ref.grid import PIXELS, Grid
from qnn_ref.interop.graph import Graph, serialize
from qnn_ref.interop.qonnx_steps import QONNX_STEPS
from qnn_ref.interop.qonnx_values import (
    DOMAIN,
    DOMAIN_VERSION,
    Steps,
    Value,
    constant,
    datatype_of,
    emit,
    first,
    floats,
    of_channels,
    plain,
)
from qnn_ref.packed import PackedNetwork
from qnn_ref.packed.shape_stages import Join
from qnn_ref.packed.stages import Flow, Stage
from qnn_ref.packed.thresholds import Levels, Scores, Threshold

OPSET, IR_VERSION = 17, 8


def export(network: PackedNetwork) -> bytes:
    """Write a packed network as QONNX.

    Parameters
    ----------
    network : PackedNetwork

    Returns
    -------
    bytes
        Input "images", float32 (1, ...) with the whole numbers of pixels; output "scores". The
        batch is 1, as compilers for hardware want it.

    Raises
    ------
    ValueError
        If a step has no exact form; the message names it.
    ModuleNotFoundError
        Without the library onnx.
    """
    return serialize(graph_of(network), OPSET, IR_VERSION)


def graph_of(network: PackedNetwork) -> Graph:
    """The annotated graph of a packed network.

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
    graph.input_dtype, graph.batch, graph.domains = "float32", 1, {DOMAIN: DOMAIN_VERSION}
    graph.annotations["images"] = "UINT8"
    value = Value("images", Flow("pixels", network.input_shape, PIXELS))
    for number, stage in enumerate(network.stages):
        value = step(graph, str(number), stage, value)
    graph.name_result("scores")
    return graph


def step(graph: Graph, place: str, stage: Stage, value: Value) -> Value:
    """Append the operators of a step; an error says which step has none."""
    with graph.at(place, stage):
        if type(stage) not in STEPS:
            raise ValueError("has no form in QONNX")
        return STEPS[type(stage)](graph, stage, value)


def threshold(graph: Graph, stage: Threshold, value: Value) -> Value:
    """Signs of sums.

    Parameters
    ----------
    graph : Graph
    stage : Threshold
    value : Value
        Sums.

    Returns
    -------
    Value

    References
    ----------
    Algorithm 5, Sign(BN(a)).
    """
    return count(graph, stage.at[None], stage.flip[None], [-1, 1], value, stage.output(value.flow))


def levels(graph: Graph, stage: Levels, value: Value) -> Value:
    """Codes of sums.

    Parameters
    ----------
    graph : Graph
    stage : Levels
    value : Value
        Sums.

    Returns
    -------
    Value

    References
    ----------
    Section 3; Algorithm 5 for more than one bit is ours.
    """
    return count(graph, stage.at, stage.flip, stage.codes.tolist(), value, stage.output(value.flow))


def count(
    graph: Graph, at: Array, flip: Array, codes: list[int], value: Value, flow: Flow
) -> Value:
    """`MultiThreshold`: the lowest code, and a step more for each threshold that is reached.

    Where two codes are several steps apart, their threshold stands there several times.
    """
    steps = [(high - low) // flow.grid.step for low, high in pairwise(codes)]
    turned, at = upright(at.astype(np.int64), flip, value.flow.grid)
    if len(set(steps)) > 1 and np.any(np.diff(at, axis=0) < 0):
        raise ValueError("at: expected thresholds in ascending order, as its codes are no grid")
    value = exchange(graph, value, turned)
    reached = -((value.offset - at) // value.factor)  # factor t + offset >= T
    thresholds = np.sort(np.repeat(reached, steps, axis=0), axis=0).T
    name = emit(
        graph,
        first(flow),
        datatype_of(flow.grid),
        "MultiThreshold",
        value.name,
        constant(graph, "thresholds", "INT32", thresholds),
        out_dtype=datatype_of(flow.grid),
        out_scale=float(flow.grid.step),
        out_bias=float(codes[0]),
        data_layout="NC" if len(flow.shape) == 1 else "NCHW",
    )
    return Value(name, flow)


def upright(at: Array, flip: Array, grid: Grid) -> tuple[Array, Array]:
    """Which channels are turned, and thresholds of sums whose signs were exchanged there.

    -s >= 1 - T where s < T. A threshold at the lowest sum is always reached, or, turned, never; it
    says nothing about its channel.
    """
    constant = at <= grid.low
    turned = np.any(flip & ~constant, axis=0)
    if np.any(turned & np.any(~flip & ~constant, axis=0)):
        raise ValueError("flip: expected one direction for all thresholds of a channel")
    always, never = -grid.largest, grid.largest + 1
    upright = np.where(constant, np.where(flip, never, always), np.where(turned, 1 - at, at))
    return turned, upright


def exchange(graph: Graph, value: Value, turned: Array) -> Value:
    """Exchange the signs of channels whose thresholds are turned, best in the weights."""
    if not turned.any():
        return value
    signs = np.where(turned, -1, 1)
    if value.weights:
        w = graph.constants[value.weights]
        shape = (1, -1) if w.ndim == 2 else (-1, 1, 1, 1)
        graph.constants[value.weights] = w * signs.reshape(shape).astype(np.float32)
        return replace(value, offset=value.offset * signs)
    value = plain(graph, value)
    name = emit(graph, first(value.flow), "INT32", "Mul", value.name, of_channels(value, signs))
    return replace(value, name=name)


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

    References
    ----------
    Algorithm 5, last line.
    """
    if stage.dtype != "float32":
        raise ValueError(f"its scores are {stage.dtype}, and QONNX's numbers are float32")
    name = plain(graph, value).name
    scale = floats(stage.scale) if stage.scale != 1 else None
    affine = (stage.mean, stage.inverse_deviation, stage.gain, stage.shift)
    for operator, array in zip(
        ("Mul", "Add", "Sub", "Mul", "Mul", "Add"), (scale, stage.bias, *affine), strict=True
    ):
        if array is not None:
            name = emit(graph, value.flow.shape, "", operator, name, array)
    return Value(name, value.flow)


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
    ends, flow = [], stage.output(value.flow)
    for number, path in enumerate(stage.paths):
        end = value
        for index, inner in enumerate(path):
            end = step(graph, f"{number}/{index}", inner, end)
        ends.append(plain(graph, end).name)
    name = emit(graph, first(flow), datatype_of(flow.grid), "Concat", *ends, axis=1)
    return Value(name, flow)


STEPS: Steps = {
    **QONNX_STEPS,
    Threshold: threshold,
    Levels: levels,
    Join: join,
    Scores: scores,
}
"""What appends the operators of a step, by its kind."""
