"""A graph of operators, as ONNX has them: plain data that any of its readers can run.

The graph is made without the library `onnx`, which is asked only to write it down; so a test needs
NumPy alone to run one.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from types import ModuleType
from typing import Any

import numpy as np

from qnn_ref import __version__
from qnn_ref._typing import Array, Shape
from qnn_ref.packed.stages import Stage


@dataclass(frozen=True)
class Node:
    """An operator: names of what goes in, the name of what comes out, its settings."""

    operator: str
    inputs: tuple[str, ...]
    output: str
    settings: dict[str, Any]
    domain: str = ""


@dataclass
class Graph:
    """Operators in the order in which they run, and the arrays that they need.

    Parameters
    ----------
    input_shape, output_shape : tuple of int
        Of one example; the batch is free.
    output_dtype : str
    input_dtype : str
        Of the input "images".
    batch : str or int
        A name where it is free.
    domains : dict of str to int
        Versions of operators that are not ONNX's own.
    """

    input_shape: Shape
    output_shape: Shape
    output_dtype: str
    input_dtype: str = "uint8"
    batch: str | int = "N"
    domains: dict[str, int] = field(default_factory=dict)
    nodes: list[Node] = field(default_factory=list, init=False)
    constants: dict[str, Array] = field(default_factory=dict, init=False)
    shapes: dict[str, Shape] = field(default_factory=dict, init=False)
    """Of one example, for readers that find out none by themselves; all of them float32."""
    annotations: dict[str, str] = field(default_factory=dict, init=False)
    """Types of whole numbers that floats hold, as QONNX names them."""
    place: str = field(default="", init=False)
    input_name: str = field(default="images", init=False)
    output_name: str = field(default="scores", init=False)
    """Of a file that was read, other ones perhaps."""

    def emit(self, operator: str, *inputs: str | Array, domain: str = "", **settings: Any) -> str:
        """Append an operator, its arrays as constants; the name of what comes out."""
        output = self._new(operator)
        names = tuple(
            given if isinstance(given, str) else self.constant(f"{output}.{number}", given)
            for number, given in enumerate(inputs)
        )
        self.nodes.append(Node(operator, names, output, settings, domain))
        return output

    def constant(self, name: str, array: Array) -> str:
        """Keep an array of the graph; its name."""
        self.constants[name] = array
        return name

    def _new(self, operator: str) -> str:
        name = f"{self.place}.{operator}"
        taken = sum(node.output.partition("#")[0] == name for node in self.nodes)
        return f"{name}#{taken + 1}" if taken else name

    def name_result(self, name: str) -> None:
        """Give what the last operator makes the name under which it leaves the graph."""
        for facts in (self.shapes, self.annotations):
            facts.pop(self.nodes[-1].output, None)
        self.nodes[-1] = replace(self.nodes[-1], output=name)

    @contextmanager
    def at(self, place: str, stage: Stage) -> Iterator[None]:
        """Name what is added after a step; an error in it says which step has no such form."""
        before = self.place
        self.place = f"{before}/{place}" if before else place
        try:
            yield
        except ValueError as error:
            if str(error).startswith("export: "):
                raise
            name = type(stage).__name__
            raise ValueError(f"export: step {self.place} ({name}): {error}") from error
        finally:
            self.place = before


def library(name: str) -> ModuleType:
    """Import a library of the extra, or say how it is installed."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name.partition(".")[0]:
            raise
        raise ModuleNotFoundError(
            f'export: needs {name}: pip install "qnn-ref[interop]"', name=name
        ) from error


def serialize(graph: Graph, opset: int, ir_version: int) -> bytes:
    """The bytes of an ONNX file.

    Parameters
    ----------
    graph : Graph
    opset, ir_version : int
        Stamped as they are: what the library would write may be newer than any reader.

    Returns
    -------
    bytes

    Raises
    ------
    ModuleNotFoundError
        Without the library onnx.
    """
    onnx = library("onnx")
    helper, mapping = onnx.helper, onnx.helper.np_dtype_to_tensor_dtype

    def tensor(name: str, dtype: str, shape: Shape) -> Any:
        kind = mapping(np.dtype(dtype))
        return helper.make_tensor_value_info(name, kind, [graph.batch, *shape])

    body = helper.make_graph(
        [
            helper.make_node(
                n.operator, n.inputs, [n.output], n.output, domain=n.domain, **n.settings
            )
            for n in graph.nodes
        ],
        "packed_network",
        [tensor("images", graph.input_dtype, graph.input_shape)],
        [tensor(graph.nodes[-1].output, graph.output_dtype, graph.output_shape)],
        [onnx.numpy_helper.from_array(array, name) for name, array in graph.constants.items()],
        value_info=[tensor(name, "float32", shape) for name, shape in graph.shapes.items()],
    )
    for name, datatype in graph.annotations.items():
        entry = onnx.StringStringEntryProto(key="finn_datatype", value=datatype)
        body.quantization_annotation.append(
            onnx.TensorAnnotation(tensor_name=name, quant_parameter_tensor_names=[entry])
        )
    domains = {"": opset, **graph.domains}
    model = helper.make_model(
        body,
        opset_imports=[helper.make_opsetid(*domain) for domain in domains.items()],
        ir_version=ir_version,
        producer_name="qnn_ref",
        producer_version=__version__,
    )
    onnx.checker.check_model(model)
    written: bytes = model.SerializeToString(deterministic=True)
    return written
