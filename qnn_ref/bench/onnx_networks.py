"""Approximations of our dense networks for onnxruntime: in float32, and with dynamic int8 products.

Both round and fold what the trained network does not, so their scores are other ones, and with ties
their classes too. What is exact is `qnn_ref.interop.onnx`, measured in `bench.exports`.
"""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from qnn_ref._typing import Array
from qnn_ref.bench.measure import Call
from qnn_ref.bench.peers import library
from qnn_ref.layers import BatchNorm, Dense, Flatten, Pixels, Quantize
from qnn_ref.layers.base import Layer
from qnn_ref.network import Sequential

OPSET, IR_VERSION = 17, 8


def onnx_model(network: Sequential) -> Any:
    """Write a network of Pixels, Flatten, Dense, BatchNorm and Quantize as a graph of floats.

    Parameters
    ----------
    network : Sequential

    Returns
    -------
    onnx.ModelProto
        Maps "x", floats (batch, features) from -1 to 1, to scores: an approximation.
    """
    onnx = library("onnx")
    helper, floats = onnx.helper, onnx.TensorProto.FLOAT
    nodes, constants, name = [], [], "x"
    for index, layer in enumerate(network.layers):
        if isinstance(layer, Pixels | Flatten):
            continue
        operator, arrays, settings = node_of(layer)
        names = [f"{index}.{n}" for n in range(len(arrays))]
        constants += [
            onnx.numpy_helper.from_array(array, key)
            for key, array in zip(names, arrays, strict=True)
        ]
        inputs, output = [name, *names], f"{index}"
        if operator == "Where":  # ONNX's Sign has Sign(0) = 0
            nodes.append(
                helper.make_node("GreaterOrEqual", [name, names[2]], [f"{index}.at_least"])
            )
            inputs = [f"{index}.at_least", *names[:2]]
        nodes.append(helper.make_node(operator, inputs, [output], **settings))
        name = output
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("x", floats, [None, int(np.prod(network.input_shape))])],
        [helper.make_tensor_value_info(name, floats, [None, *network.output_shape])],
        constants,
    )
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION
    )


def node_of(layer: Layer) -> tuple[str, list[Array], dict[str, float]]:
    """Operator, constants and settings of a layer."""
    if isinstance(layer, Dense):
        return "MatMul", [np.ascontiguousarray(layer.weight.quantized)], {}
    if isinstance(layer, BatchNorm):
        variance = layer.inverse_deviation.astype(np.float64) ** -2 - layer.epsilon
        arrays = [layer.gain.latent, layer.shift.latent, layer.running_mean, variance]
        return (
            "BatchNormalization",
            [a.astype(np.float32) for a in arrays],
            {"epsilon": layer.epsilon},
        )
    if isinstance(layer, Quantize):
        return "Where", [np.float32(v).reshape(1) for v in (1, -1, 0)], {}
    raise TypeError(f"layer: {type(layer).__name__} has no form here")


def quantized_model(model: Any) -> bytes:
    """The graph with int8 weights; what enters a product becomes 8 bits while it runs."""
    quantization = library("onnxruntime.quantization")
    logging.disable(logging.WARNING)  # it advises a step that changes nothing for these graphs
    try:
        return _quantized(quantization, model)
    finally:
        logging.disable(logging.NOTSET)


def _quantized(quantization: Any, model: Any) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        before, after = Path(folder, "before.onnx"), Path(folder, "after.onnx")
        library("onnx").save(model, before)
        quantization.quantize_dynamic(before, after)
        return after.read_bytes()


def onnx_inference(
    network: Sequential, pixels: Array, batch_size: int, threads: int, int8: bool
) -> Call:
    """Prepare the classification of images in batches: a call that returns approximate scores.

    Parameters
    ----------
    network : Sequential
    pixels : array of uint8 (batch, height, width, channels)
    batch_size : int
    threads : int
    int8 : bool
        Whether products are of 8-bit integers: a coarser approximation.

    Returns
    -------
    function
        Gives an array (batch, classes).
    """
    runtime, model = library("onnxruntime"), onnx_model(network)
    data = quantized_model(model) if int8 else model.SerializeToString()
    options = runtime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    session = runtime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    scale = next(layer.scale for layer in network.layers if isinstance(layer, Pixels))
    x = (2 * pixels.reshape(len(pixels), -1).astype(np.float32) - 255) * np.float32(scale)
    parts = [x[i : i + batch_size] for i in range(0, len(x), batch_size)]
    return lambda: np.concatenate([session.run(None, {"x": part})[0] for part in parts])
