"""What flows through a graph of whole numbers: a tensor, and the numbers that it stands for.

Images are channels first, as ONNX has them, once they have left the first product's input; what a
step writes for each channel therefore gets trailing axes of one (`of_channels`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from qnn_ref._typing import Array
from qnn_ref.grid import Grid
from qnn_ref.interop.graph import Graph
from qnn_ref.packed.stages import Flow, Stage

INT8, INT32 = 3, 6
"""Numbers of the types of ONNX, as `Cast` takes them."""
UINT8 = 2


@dataclass(frozen=True)
class Value:
    """A tensor of the graph, and what it stands for: `factor * tensor + offset`.

    The pixels p of an image stand for 2 p - 255. A sum of them is not turned into what it stands
    for where that can be left to the threshold behind it.

    Parameters
    ----------
    name : str
        Of the tensor.
    dtype : str
        Its type: "uint8", "int8" or "int32".
    flow : Flow
        What it stands for.
    factor : int
        At least 1.
    offset : array (channels,) of int64
        Of one number, 0, where every channel has the same one.
    """

    name: str
    dtype: str
    flow: Flow
    factor: int = 1
    offset: Array = field(default_factory=lambda: np.zeros(1, np.int64))


Steps = dict[type[Stage], Callable[[Graph, Any, Value], Value]]
"""What appends the operators of a step, by its kind."""


def of_channels(value: Value, array: Array) -> Array:
    """One number a channel, in the shape that meets the tensor."""
    return array.reshape(-1, *(1,) * (len(value.flow.shape) - 1))


def plain(graph: Graph, value: Value) -> Value:
    """Make a tensor of the numbers themselves.

    Sums on the way may wrap around: the result fits, so it is right modulo 2^32.
    """
    name = value.name
    if value.factor != 1:
        name = graph.emit("Mul", name, as_int32([value.factor]))
    if value.offset.any():
        name = graph.emit("Add", name, as_int32(of_channels(value, value.offset)))
    return Value(name, value.dtype, value.flow)


def wide(graph: Graph, value: Value) -> Value:
    """The same numbers as plain int32."""
    value = plain(graph, value)
    if value.dtype == "int32":
        return value
    return Value(graph.emit("Cast", value.name, to=INT32), "int32", value.flow)


def narrow(graph: Graph, value: Value) -> Value:
    """The same plain numbers as int8, which products take, where the grid fits."""
    if value.dtype == "int8" or not fits_int8(value.flow.grid):
        return value
    return Value(graph.emit("Cast", value.name, to=INT8), "int8", value.flow)


def fits_int8(grid: Grid) -> bool:
    """Whether each code is from -128 to 127."""
    return grid.low >= -128 and grid.high <= 127


def as_int32(numbers: object) -> Array:
    """The array, whole numbers modulo 2^32."""
    return np.asarray(numbers, np.int64).astype(np.int32)


def pad(graph: Graph, name: str, padding: tuple[int, int], number: Array) -> str:
    """Images channels first with a number outside."""
    if padding == (0, 0):
        return name
    high, wide = padding
    pads = np.array([0, 0, high, wide] * 2, np.int64)
    return graph.emit("Pad", name, pads, number, mode="constant")
