"""Pools and flattening in ONNX: steps that move whole numbers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from qnn_ref.interop.graph import Graph
from qnn_ref.interop.values import Steps, Value, narrow, of_channels, pad, plain, wide
from qnn_ref.packed.shape_stages import FlattenBits, FlattenIntegers, MaxPool, Pool, SumPool


def max_pool(graph: Graph, stage: MaxPool, value: Value) -> Value:
    """Maximum of each window; minimum in channels of turned thresholds.

    onnxruntime has no `MaxPool` of int32, and the reference evaluator of ONNX none of int8 that
    moves by one: there the places of a window are cut out one by one, and `Max` compares them.

    Parameters
    ----------
    graph : Graph
    stage : MaxPool
    value : Value
        Images. What is left to multiply and add may wait: it moves no maximum.

    Returns
    -------
    Value
    """
    flow, codes = stage.output(value.flow), value.dtype == "int8"
    dtype: type[np.int8] | type[np.int32]
    if by_operator := codes and stage.stride != (1, 1):
        dtype = np.int8
    else:
        dtype, value = np.int32, wide(graph, value) if codes else value
    name = negate(graph, stage, value)
    name = pad(graph, name, stage.padding, np.array(np.iinfo(dtype).min, dtype))
    if by_operator:
        size, stride = [*stage.size], [*stage.stride]
        name = graph.emit("MaxPool", name, kernel_shape=size, strides=stride)
    else:
        places = taps(graph, stage, value, name)
        name = graph.emit("Max", *places) if len(places) > 1 else places[0]
    name = negate(graph, stage, replace(value, name=name))
    pooled = replace(value, name=name, flow=flow)
    return narrow(graph, pooled) if codes else pooled


def negate(graph: Graph, stage: MaxPool, value: Value) -> str:
    """Turn the signs of the channels whose minimum is wanted: min(x) = -max(-x)."""
    if stage.flip is None or not stage.flip.any():
        return value.name
    turned = of_channels(value, stage.flip)
    return graph.emit("Where", turned, graph.emit("Neg", value.name), value.name)


def sum_pool(graph: Graph, stage: SumPool, value: Value) -> Value:
    """Sum of each window, zeros outside.

    Parameters
    ----------
    graph : Graph
    stage : SumPool
    value : Value
        Images.

    Returns
    -------
    Value
        Plain integers.
    """
    flow, value = stage.output(value.flow), wide(graph, value)
    name = pad(graph, value.name, stage.padding, np.array(0, np.int32))
    total, *others = taps(graph, stage, value, name)
    for place in others:
        total = graph.emit("Add", total, place)
    return narrow(graph, Value(total, "int32", flow))


def taps(graph: Graph, stage: Pool, value: Value, name: str) -> list[str]:
    """The same place of every window, for each place: tensors of the size of the output."""
    height, width, _ = stage.output(value.flow).shape
    down, right = stage.stride
    axes, steps = np.array([2, 3], np.int64), np.array([down, right], np.int64)
    places = []
    for i in range(stage.size[0]):
        for j in range(stage.size[1]):
            first = np.array([i, j], np.int64)
            end = np.array([i + down * (height - 1) + 1, j + right * (width - 1) + 1], np.int64)
            places.append(graph.emit("Slice", name, first, end, axes, steps))
    return places


def flatten(graph: Graph, stage: FlattenBits | FlattenIntegers, value: Value) -> Value:
    """One row an image, channels innermost.

    Parameters
    ----------
    graph : Graph
    stage : FlattenBits or FlattenIntegers
    value : Value

    Returns
    -------
    Value
    """
    flow, value = stage.output(value.flow), plain(graph, value)
    name = value.name
    if len(value.flow.shape) == 3:
        name = graph.emit("Transpose", name, perm=[0, 2, 3, 1])
        name = graph.emit("Flatten", name, axis=1)
    return Value(name, value.dtype, flow)


SHAPES: Steps = {
    MaxPool: max_pool,
    SumPool: sum_pool,
    FlattenBits: flatten,
    FlattenIntegers: flatten,
}
"""What appends the operators of a step, by its kind."""
