"""Operators of ONNX and QONNX in NumPy, as they are specified, for graphs of whole numbers.

A graph has `nodes` (operator, inputs, output, settings, domain) and `constants`. Types are looked
at too: an operator takes here what onnxruntime's takes on a CPU, and no type is changed silently.
"""

import math

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

BYTES, INTEGERS, REALS = {"int8", "uint8"}, {"int32", "int64"}, {"float32", "float64"}
TYPES = {
    "MatMulInteger": BYTES,
    "ConvInteger": BYTES,
    "GreaterOrEqual": {"int32"} | REALS,
    "Max": INTEGERS | REALS,
    "MaxPool": BYTES | REALS,
    "Neg": {"int8", "int32"} | REALS,
    "BitShift": {"uint8"},  # of signed numbers a later version has another meaning
    "BitwiseAnd": BYTES | INTEGERS,
    "ReduceSum": INTEGERS | REALS,
    **dict.fromkeys(("Add", "Sub", "Mul", "Div", "Mod"), INTEGERS | REALS),
}
"""Of all numbers that an operator takes; others take any."""
CASTS = {1: np.float32, 2: np.uint8, 3: np.int8, 6: np.int32, 11: np.float64}


def conv_integer(x, w, strides):
    """Images and kernels channels first; the products are summed in int32."""
    view = sliding_window_view(x.astype(np.int32), w.shape[2:], axis=(2, 3))
    view = view[:, :, :: strides[0], :: strides[1]]
    return np.einsum("nchwij,ucij->nuhw", view, w.astype(np.int32), dtype=np.int32)


def conv(x, w, pads, strides, group=1):
    """Floats: each group of channels has kernels of its own."""
    x = np.pad(x, [(0, 0), (0, 0), *zip(pads[:2], pads[2:], strict=True)])
    view = sliding_window_view(x, w.shape[2:], axis=(2, 3))[:, :, :: strides[0], :: strides[1]]
    parts = zip(np.split(view, group, axis=1), np.split(w, group), strict=True)
    return np.concatenate([np.einsum("nchwij,ucij->nuhw", v, k) for v, k in parts], axis=1)


def multi_threshold(x, thresholds, out_dtype, out_scale, out_bias, data_layout):
    """How many thresholds are reached, channels at axis 1."""
    assert len(data_layout) == x.ndim
    assert data_layout[1] == "C"
    assert np.all(np.diff(thresholds) >= 0)
    bounds = thresholds.T.reshape(thresholds.shape[1], -1, *(1,) * (x.ndim - 2))
    reached = sum((x >= bound for bound in bounds), np.zeros(x.shape, np.int64))
    return (out_scale * reached + out_bias).astype(x.dtype)


def max_pool(x, kernel_shape, strides, pads=(0, 0, 0, 0)):
    if any(pads):
        around = [(0, 0), (0, 0), *zip(pads[:2], pads[2:], strict=True)]
        x = np.pad(x, around, constant_values=-np.inf)
    view = sliding_window_view(x, kernel_shape, axis=(2, 3))
    return view[:, :, :: strides[0], :: strides[1]].max(axis=(4, 5))


def divide(a, b):
    """Towards zero where numbers are whole."""
    return (np.sign(a) * np.sign(b) * (abs(a) // abs(b))).astype(a.dtype)


def pad(x, pads, value, mode):
    assert mode == "constant"
    assert value.dtype == x.dtype
    return np.pad(x, list(zip(pads[: x.ndim], pads[x.ndim :], strict=True)), constant_values=value)


def cut(x, starts, ends, axes=(0,), steps=(1,)):
    index = [slice(None)] * x.ndim
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        index[axis] = slice(start, end, step)
    return x[tuple(index)]


OPERATORS = {
    "Flatten": lambda x, axis: x.reshape(math.prod(x.shape[:axis]), -1),
    "Reshape": lambda x, shape: x.reshape(shape),
    "Transpose": lambda x, perm: x.transpose(perm),
    "Unsqueeze": lambda x, axes: np.expand_dims(x, tuple(axes)),
    "Expand": lambda x, shape: np.broadcast_to(x, np.broadcast_shapes(x.shape, tuple(shape))),
    "Slice": cut,
    "Pad": pad,
    "Concat": lambda *parts, axis: np.concatenate(parts, axis),
    "Gather": lambda x, i, axis: x.take(i, axis),
    "Where": np.where,
    "Cast": lambda x, to: x.astype(CASTS[to]),
    "MatMulInteger": lambda x, w: x.astype(np.int32) @ w.astype(np.int32),
    "ConvInteger": conv_integer,
    "MatMul": np.matmul,
    "Conv": conv,
    "MultiThreshold": multi_threshold,
    "MaxPool": max_pool,
    "Max": lambda *parts: np.max(parts, axis=0),
    "GreaterOrEqual": np.greater_equal,
    "Neg": np.negative,
    "Add": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "Div": divide,
    "Mod": np.mod,  # the sign of the divisor
    "BitShift": lambda x, by, direction: {"RIGHT": x >> by}[direction],
    "BitwiseAnd": np.bitwise_and,
    "ReduceSum": lambda x, axes, keepdims: x.sum(tuple(axes), x.dtype, keepdims=bool(keepdims)),
}


def run(graph, **inputs):
    """Every tensor of the graph by its name."""
    found = graph.constants | inputs
    for node in graph.nodes:
        given = [found[name] for name in node.inputs]
        types = {x.dtype.name for x in given}
        if node.operator in TYPES:
            numbers = given[:1] if node.operator == "ReduceSum" else given
            assert {x.dtype.name for x in numbers} <= TYPES[node.operator], (node, types)
            assert node.operator.endswith("Integer") or len({x.dtype for x in numbers}) == 1, node
        assert node.output not in found, f"{node.output} twice"
        found[node.output] = OPERATORS[node.operator](*given, **node.settings)
    return found
