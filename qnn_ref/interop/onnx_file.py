"""An ONNX file as plain data: its operators, arrays and annotations."""

from __future__ import annotations

import os
from typing import Any

from qnn_ref._typing import Shape
from qnn_ref.files import FileError, open_regular
from qnn_ref.interop.graph import Graph, Node, library

MOST_BYTES = 2**31 - 1
"""More than that no file of ONNX holds."""


def read_graph(source: str | os.PathLike[str] | bytes) -> Graph:
    """The operators and arrays of an ONNX file, as plain data.

    Parameters
    ----------
    source : path or bytes

    Returns
    -------
    Graph

    Raises
    ------
    FileError
        If it is no ONNX file, or its arrays lie in other files.
    ValueError
        If it has not one input and one output of known shape.
    """
    onnx = library("onnx")
    name = "source" if isinstance(source, bytes) else str(source)
    if isinstance(source, bytes):
        content = source
    else:
        with open_regular(source) as file:
            content = file.read(MOST_BYTES)
    try:
        model = onnx.load_from_string(content)
    except Exception as error:  # protobuf's own kind, which is none of Python's
        raise FileError(f"{name}: expected an ONNX file ({type(error).__name__})") from error
    given, taken = model.graph.input, model.graph.output
    if len(given) != 1 or len(taken) != 1:
        raise ValueError(
            f"{name}: expected a graph with one input and one output, got {len(given)} and "
            f"{len(taken)}"
        )
    graph = Graph(_shape(name, given[0]), _shape(name, taken[0]), "float32")
    for tensor in model.graph.initializer:
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            raise FileError(f"{name}: the array {tensor.name} lies in another file: expected none")
        graph.constants[tensor.name] = onnx.numpy_helper.to_array(tensor)
    for node in model.graph.node:
        if len(node.output) != 1:
            raise ValueError(f"node {node.name} ({node.op_type}): expected one output")
        settings = {a.name: _plain(onnx.helper.get_attribute_value(a)) for a in node.attribute}
        graph.nodes.append(
            Node(node.op_type, tuple(node.input), node.output[0], settings, node.domain)
        )
    for entry in model.graph.quantization_annotation:
        for parameter in entry.quant_parameter_tensor_names:
            if parameter.key == "finn_datatype":
                graph.annotations[entry.tensor_name] = parameter.value
    graph.input_name, graph.output_name = given[0].name, taken[0].name
    return graph


def _shape(name: str, value: Any) -> Shape:
    sizes = tuple(size.dim_value for size in value.type.tensor_type.shape.dim)
    if len(sizes) < 2 or min(sizes[1:]) < 1:
        raise ValueError(f"{name}: expected a known shape of {value.name}, got {sizes}")
    return sizes[1:]


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return list(value) if not isinstance(value, str | int | float) else value
