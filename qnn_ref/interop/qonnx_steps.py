"""Products, pools and flattening in QONNX: float32 operators of ONNX on whole numbers."""

from __future__ import annotations

import math

import numpy as np

from qnn_ref.interop.graph import Graph
from qnn_ref.interop.onnx_products import input_grid, weights_of
from qnn_ref.interop.qonnx_values import (
    Steps,
    Value,
    constant,
    datatype_of,
    emit,
    exact,
    first,
    floats,
    of_channels,
    plain,
)
from qnn_ref.packed.product_stages import (
    GridConv,
    GridDense,
    PixelsConv,
    PixelsDense,
    XnorConv,
    XnorDense,
)
from qnn_ref.packed.shape_stages import FlattenBits, FlattenIntegers, MaxPool, SumPool


def dense(graph: Graph, stage: XnorDense | GridDense, value: Value) -> Value:
    """Sums of a dense layer.

    Parameters
    ----------
    graph : Graph
    stage : PixelsDense, XnorDense or GridDense
    value : Value
        A row of numbers an image, or images of pixels.

    Returns
    -------
    Value

    References
    ----------
    Eq. (8); Algorithm 1, line 2.
    """
    flow, weights = exact(stage.output(value.flow)), weights_of(stage)
    row = value.name
    if len(value.flow.shape) > 1:  # images of pixels, still in our order
        row = emit(graph, (math.prod(value.flow.shape),), "UINT8", "Flatten", row, axis=1)
    w = constant(graph, "weights", datatype_of(weights.grid), weights.codes.T)
    name = emit(graph, flow.shape, "INT32", "MatMul", row, w)
    if value.flow.kind == "pixels":
        return Value(name, flow, 2, -255 * weights.sums(), w)
    return Value(name, flow, weights=w)


def convolution(graph: Graph, stage: XnorConv | GridConv, value: Value) -> Value:
    """Sums of a convolution. Outside the image stands 0, or the largest code.

    Parameters
    ----------
    graph : Graph
    stage : PixelsConv, XnorConv or GridConv
    value : Value
        Images: of pixels in our order, else channels first.

    Returns
    -------
    Value

    References
    ----------
    Eq. (8); section 2.6 for pixels.
    """
    flow, weights = exact(stage.output(value.flow)), weights_of(stage)
    height, width, channels = value.flow.shape
    x, grid = value.name, input_grid(stage, value.flow)
    if value.flow.kind == "pixels":
        x = emit(graph, (channels, height, width), "UINT8", "Transpose", x, perm=[0, 3, 1, 2])
        x = emit(graph, (channels, height, width), "UINT9", "Mul", x, floats(2))
        x = emit(graph, (channels, height, width), "INT9", "Sub", x, floats(255))
    (down, right), pads = stage.padding, [*stage.padding] * 2
    if stage.one_padding and stage.padding != (0, 0):
        shape = channels, height + 2 * down, width + 2 * right
        around = np.array([0, 0, *stage.padding] * 2, np.int64)
        outside = np.array(grid.high, np.float32)
        x = emit(graph, shape, datatype_of(grid), "Pad", x, around, outside, mode="constant")
        pads = [0] * 4
    w = constant(graph, "weights", datatype_of(weights.grid), weights.codes.transpose(0, 3, 1, 2))
    sums = emit(graph, first(flow), "INT32", "Conv", x, w, pads=pads, strides=[*stage.stride])
    return Value(sums, flow, weights=w)


def max_pool(graph: Graph, stage: MaxPool, value: Value) -> Value:
    """Maximum of each window; minimum in channels of turned thresholds, by exchanged signs.

    Parameters
    ----------
    graph : Graph
    stage : MaxPool
    value : Value
        Images.

    Returns
    -------
    Value
    """
    flow = stage.output(value.flow)
    value = plain(graph, value)
    datatype, x = datatype_of(value.flow.grid), value.name
    signs = None
    if stage.flip is not None and stage.flip.any():
        signs = of_channels(value, np.where(stage.flip, -1, 1))
        x = emit(graph, first(value.flow), datatype, "Mul", x, signs)
    pads = [*stage.padding] * 2
    window = {"kernel_shape": [*stage.size], "strides": [*stage.stride], "pads": pads}
    x = emit(graph, first(flow), datatype, "MaxPool", x, **window)
    if signs is not None:
        x = emit(graph, first(flow), datatype, "Mul", x, signs)
    return Value(x, flow)


def sum_pool(graph: Graph, stage: SumPool, value: Value) -> Value:
    """Sum of each window, zeros outside: a convolution of every channel with ones.

    Parameters
    ----------
    graph : Graph
    stage : SumPool
    value : Value
        Images.

    Returns
    -------
    Value
    """
    flow, value = exact(stage.output(value.flow)), plain(graph, value)
    ones = constant(graph, "ones", "BINARY", np.ones((stage.channels, 1, *stage.size)))
    window = {"strides": [*stage.stride], "pads": [*stage.padding] * 2, "group": stage.channels}
    return Value(emit(graph, first(flow), "INT32", "Conv", value.name, ones, **window), flow)


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
    name, datatype = value.name, datatype_of(flow.grid)
    if len(value.flow.shape) == 3:
        name = emit(graph, value.flow.shape, datatype, "Transpose", name, perm=[0, 2, 3, 1])
        name = emit(graph, flow.shape, datatype, "Flatten", name, axis=1)
    return Value(name, flow)


QONNX_STEPS: Steps = {
    PixelsDense: dense,
    XnorDense: dense,
    GridDense: dense,
    PixelsConv: convolution,
    XnorConv: convolution,
    GridConv: convolution,
    MaxPool: max_pool,
    SumPool: sum_pool,
    FlattenBits: flatten,
    FlattenIntegers: flatten,
}
"""What appends the operators of a step, by its kind."""
