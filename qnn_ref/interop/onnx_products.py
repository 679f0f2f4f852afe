"""Products in ONNX: `MatMulInteger` and `ConvInteger` take 8 bits and give exact int32.

What has more than 8 bits is cut into digits: of the input in base 256, of the weights in base 64.
Weights stay within +-64, as some processors without dot products of 8 bits add two neighbours in 16
bits, and 2 * 255 * 64 still fits. In the file a weight takes the bits that it has; what a reader
loads is unpacked by operators of the graph.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from qnn_ref._typing import Array, Pair
from qnn_ref.bits import unpack
from qnn_ref.grid import SIGNS, Grid
from qnn_ref.interop.graph import Graph
from qnn_ref.interop.values import INT8, INT32, UINT8, Steps, Value, as_int32, pad, plain
from qnn_ref.packed.product_stages import (
    GridConv,
    GridDense,
    PixelsConv,
    PixelsDense,
    XnorConv,
    XnorDense,
)
from qnn_ref.packed.stages import Flow

INPUT_BASE, WEIGHT_BASE = 256, 64


@dataclass(frozen=True)
class Digits:
    """Whole numbers as a sum: offset + the sum of factor * tensor, tensors of 8 bits.

    Parameters
    ----------
    parts : list of (str, int)
        Tensors with their factors.
    offset : int
    largest : list of array ()
        What the tensors hold where the largest number stands, in their types.
    """

    parts: list[tuple[str, int]]
    offset: int
    largest: list[Array]


@dataclass(frozen=True)
class Weights:
    """Weights of a product, units first and what a unit multiplies last.

    Parameters
    ----------
    levels : array of int64 (units, ..., fan_in or channels)
        Places on the grid.
    grid : Grid
    """

    levels: Array
    grid: Grid

    @property
    def codes(self) -> Array:
        """The weights themselves, whole numbers, in the shape of `levels`."""
        return self.grid.low + self.grid.step * self.levels

    def sums(self) -> Array:
        """Sum of the codes of each unit, int64."""
        return self.codes.reshape(len(self.levels), -1).sum(axis=1)


def weights_of(stage: XnorDense | XnorConv | GridDense | GridConv) -> Weights:
    """Weights of a step, whatever its kind.

    Parameters
    ----------
    stage : Stage
        That multiplies.

    Returns
    -------
    Weights
    """
    if isinstance(stage, GridDense | GridConv):
        planes, size, grid = stage.words, stage.size, stage.weights
    else:
        size = stage.K if isinstance(stage, XnorDense) else stage.channels
        planes, grid = stage.words[None], SIGNS
    bits = unpack(planes, size) > 0
    places = 2 ** np.arange(len(bits), dtype=np.int64)
    return Weights(np.tensordot(places, bits, axes=(0, 0)), grid)


def input_grid(stage: XnorDense | XnorConv | GridDense | GridConv, flow: Flow) -> Grid:
    """The grid on which the step was told that its input lies."""
    return stage.grid if isinstance(stage, GridDense | GridConv) else flow.grid


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
        The sums.

    References
    ----------
    Eq. (8); Algorithm 1, line 2.
    """
    flow, weights = stage.output(value.flow), weights_of(stage)
    if len(value.flow.shape) > 1:  # images of pixels, still in our order
        value = Value(graph.emit("Flatten", value.name, axis=1), value.dtype, value.flow)
    inputs = digits_of_input(graph, value, input_grid(stage, value.flow))
    products = [
        (graph.emit("MatMulInteger", x, w), a * b)
        for w, b in digits_of_weights(graph, weights, (1, 0))
        for x, a in inputs.parts
    ]
    name, factor = add_products(graph, products)
    return Value(name, "int32", flow, factor, inputs.offset * weights.sums())


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
        The sums.

    References
    ----------
    Eq. (8); section 2.6 for pixels.
    """
    flow, weights = stage.output(value.flow), weights_of(stage)
    if value.flow.kind == "pixels":
        turned = graph.emit("Transpose", value.name, perm=[0, 3, 1, 2])
        value = Value(turned, value.dtype, value.flow)
    inputs = digits_of_input(graph, value, input_grid(stage, value.flow))
    kernels = digits_of_weights(graph, weights, (0, 3, 1, 2))
    padded = [
        (pad(graph, x, stage.padding, high if stage.one_padding else 0 * high), a)
        for (x, a), high in zip(inputs.parts, inputs.largest, strict=True)
    ]
    name, factor = windows(graph, padded, kernels, stage.stride)
    border = inputs.offset and stage.padding != (0, 0) and not stage.one_padding
    if not border:
        return Value(name, "int32", flow, factor, inputs.offset * weights.sums())
    # Windows at the border hold fewer numbers, so the offset counts less often there.
    height, width, channels = value.flow.shape
    shape = np.array([1, channels, height, width], np.int64)
    ones = graph.emit("Expand", np.ones(1, np.uint8), shape)
    ones = pad(graph, ones, stage.padding, np.array(0, np.uint8))
    offset = windows(graph, [(ones, inputs.offset)], kernels, stage.stride)
    sums = plain(graph, Value(name, "int32", flow, factor)).name
    more = graph.emit("Mul", offset[0], as_int32([offset[1]]))
    return Value(graph.emit("Add", sums, more), "int32", flow)


def windows(
    graph: Graph, inputs: list[tuple[str, int]], kernels: list[tuple[str, int]], stride: Pair
) -> tuple[str, int]:
    """Sums of products of windows, with the factor that is left."""
    products = [
        (graph.emit("ConvInteger", x, w, strides=[*stride]), a * b)
        for w, b in kernels
        for x, a in inputs
    ]
    return add_products(graph, products)


def add_products(graph: Graph, products: list[tuple[str, int]]) -> tuple[str, int]:
    """Sum of factor * tensor; of a single one the factor is left to who reads it."""
    if len(products) == 1:
        return products[0]
    total = ""
    for name, factor in products:
        term = graph.emit("Mul", name, as_int32([factor])) if factor != 1 else name
        total = graph.emit("Add", total, term) if total else term
    return total, 1


def digits_of_input(graph: Graph, value: Value, grid: Grid) -> Digits:
    """What enters a product as tensors of 8 bits: the last digit has a sign, the others none."""
    if value.flow.kind == "pixels":
        return Digits([(value.name, 2)], -255, [np.array(255, np.uint8)])
    parts, largest, factor = [], [], 1
    rest, (low, high, _) = plain(graph, value).name, grid
    while not (low >= -128 and high <= 127):
        digit = graph.emit("Mod", rest, as_int32([INPUT_BASE]))
        parts.append((graph.emit("Cast", digit, to=UINT8), factor))
        largest.append(np.array(high % INPUT_BASE, np.uint8))
        rest = graph.emit("Div", graph.emit("Sub", rest, digit), as_int32([INPUT_BASE]))
        low, high, factor = low // INPUT_BASE, high // INPUT_BASE, factor * INPUT_BASE
    if value.dtype != "int8":
        rest = graph.emit("Cast", rest, to=INT8)
    return Digits([*parts, (rest, factor)], 0, [*largest, np.array(high, np.int8)])


def digits_of_weights(
    graph: Graph, weights: Weights, order: tuple[int, ...]
) -> list[tuple[str, int]]:
    """The weights as tensors of int8 within +-64, with factors; axes in another order."""
    codes = graph.emit("Transpose", codes_from_bits(graph, weights), perm=[*order])
    parts, factor, largest = [], 1, weights.grid.largest
    while largest > WEIGHT_BASE:
        # A signed digit from -32 to 31: the remainder after 32 was added, less 32.
        moved = graph.emit("Add", codes, as_int32([WEIGHT_BASE // 2]))
        digit = graph.emit("Mod", moved, as_int32([WEIGHT_BASE]))
        digit = graph.emit("Sub", digit, as_int32([WEIGHT_BASE // 2]))
        parts.append((graph.emit("Cast", digit, to=INT8), factor))
        codes = graph.emit("Div", graph.emit("Sub", codes, digit), as_int32([WEIGHT_BASE]))
        factor *= WEIGHT_BASE
        largest = (largest + WEIGHT_BASE // 2) // WEIGHT_BASE
    parts.append((graph.emit("Cast", codes, to=INT8), factor))
    return parts


def codes_from_bits(graph: Graph, weights: Weights) -> str:
    """Unpack weights from bytes, eight bits of one plane in each, bit 0 first; gives int32."""
    planes, shape = weights.grid.planes, weights.levels.shape
    bits = np.stack([weights.levels >> plane & 1 for plane in range(planes)])
    octets = np.packbits(bits.astype(np.uint8), bitorder="little")
    column = graph.emit("Unsqueeze", octets, np.array([1], np.int64))
    shifted = graph.emit("BitShift", column, np.arange(8, dtype=np.uint8), direction="RIGHT")
    single = graph.emit("BitwiseAnd", shifted, np.ones(1, np.uint8))
    row = graph.emit("Reshape", single, np.array([-1], np.int64))
    if bits.size % 8:
        row = graph.emit("Slice", row, np.array([0], np.int64), np.array([bits.size], np.int64))
    levels = graph.emit("Cast", row, to=INT32)
    if planes == 1:
        levels = graph.emit("Reshape", levels, np.array(shape, np.int64))
    else:
        levels = graph.emit("Reshape", levels, np.array([planes, math.prod(shape)], np.int64))
        levels = graph.emit("Mul", levels, as_int32(2 ** np.arange(planes)[:, None]))
        levels = graph.emit("ReduceSum", levels, np.array([0], np.int64), keepdims=0)
        levels = graph.emit("Reshape", levels, np.array(shape, np.int64))
    codes = graph.emit("Mul", levels, as_int32([weights.grid.step]))
    return graph.emit("Add", codes, as_int32([weights.grid.low]))


PRODUCTS: Steps = {
    PixelsDense: dense,
    XnorDense: dense,
    GridDense: dense,
    PixelsConv: convolution,
    XnorConv: convolution,
    GridConv: convolution,
}
"""What appends the operators of a step, by its kind."""
