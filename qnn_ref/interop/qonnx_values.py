"""What flows through a QONNX graph: float32 that hold whole numbers, with the bits they have."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from qnn_ref._typing import Array, Shape
from qnn_ref.grid import SIGNS, Grid
from qnn_ref.interop.graph import Graph
from qnn_ref.packed.stages import Flow, Stage

DOMAIN, DOMAIN_VERSION = "qonnx.custom_op.general", 1
EXACT = 2**24
"""Whole numbers up to here are exact in float32."""


@dataclass(frozen=True)
class Value:
    """A float32 tensor of whole numbers, standing for `factor * tensor + offset`.

    Parameters
    ----------
    name : str
    flow : Flow
        What it stands for.
    factor : int
    offset : array (channels,) of int64
    weights : str
        The constant whose first or last axis made its channels; nothing if no product did.
    """

    name: str
    flow: Flow
    factor: int = 1
    offset: Array = field(default_factory=lambda: np.zeros(1, np.int64))
    weights: str = ""


Steps = dict[type[Stage], Callable[[Graph, Any, Value], Value]]
"""What appends the operators of a step, by its kind."""


def emit(
    graph: Graph, shape: Shape, datatype: str, operator: str, *inputs: str | Array, **settings: Any
) -> str:
    """Append an operator whose output has this shape (of one image) and holds such numbers."""
    domain = DOMAIN if operator == "MultiThreshold" else ""
    name = graph.emit(operator, *inputs, domain=domain, **settings)
    graph.shapes[name] = shape
    if datatype:
        graph.annotations[name] = datatype
    return name


def constant(graph: Graph, role: str, datatype: str, numbers: Array) -> str:
    """Keep whole numbers as float32, annotated."""
    name = graph.constant(f"{graph.place}.{role}", np.ascontiguousarray(numbers, np.float32))
    graph.annotations[name] = datatype
    return name


def datatype_of(grid: Grid) -> str:
    """QONNX's smallest type that holds a grid."""
    if grid == SIGNS:
        return "BIPOLAR"
    if grid.low >= 0:
        return f"UINT{grid.high.bit_length()}"
    return f"INT{1 + max(grid.high, -1 - grid.low).bit_length()}"


def exact(flow: Flow) -> Flow:
    """Sums that float32 holds, or ValueError."""
    if flow.grid.largest > EXACT:
        raise ValueError(
            f"its sums go up to {flow.grid.largest:,}, and QONNX's products are float32, exact up "
            f"to {EXACT:,}"
        )
    return flow


def plain(graph: Graph, value: Value) -> Value:
    """Make a tensor of the numbers themselves."""
    name, shape = value.name, first(value.flow)
    if value.factor != 1:
        name = emit(graph, shape, "INT32", "Mul", name, floats(value.factor))
    if value.offset.any():
        name = emit(graph, shape, "INT32", "Add", name, of_channels(value, value.offset))
    return Value(name, value.flow)


def first(flow: Flow) -> Shape:
    """Shape of an image with the channels first."""
    return (flow.shape[-1], *flow.shape[:-1])


def floats(number: float | Array) -> Array:
    """A number for an operator of float32."""
    return np.asarray(number, np.float32)


def of_channels(value: Value, numbers: Array) -> Array:
    """One number a channel as float32, in the shape that meets the tensor."""
    return floats(numbers).reshape(1, -1, *(1,) * (len(value.flow.shape) - 1))
