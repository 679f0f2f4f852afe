#!/usr/bin/env bash
# onnx 1.23.2, NumPy 2.4.6: the reference evaluator and MaxPool of int8.
#
# Guess: MaxPool takes int8 since operator set 12, so the reference evaluator pools int8 as it pools
#   float32, for any stride.
# Seen: stride 2 gives the maxima; stride 1 raises "ValueError: cannot convert float NaN to integer",
#   on the same model that the checker accepts. uint8 and float32 are pooled at both strides.
# It matters here: a binary network pools signs in int8, and 2 x 2 windows with stride 1 are common.
#   onnxruntime pools them; who verifies an export with the reference evaluator casts around MaxPool.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet onnx==1.23.2 numpy==2.4.6
"$folder/venv/bin/python" -W ignore::RuntimeWarning - <<'PYTHON'
import numpy as np
import onnx
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

TYPES = {"int8": TensorProto.INT8, "uint8": TensorProto.UINT8, "float32": TensorProto.FLOAT}


def pooled(name, stride):
    """The maxima of 2 x 2 windows of the numbers 0 to 15, or the error."""
    size = (4 - 2) // stride + 1
    node = helper.make_node("MaxPool", ["x"], ["y"], kernel_shape=[2, 2], strides=[stride] * 2)
    x = helper.make_tensor_value_info("x", TYPES[name], [1, 1, 4, 4])
    y = helper.make_tensor_value_info("y", TYPES[name], [1, 1, size, size])
    graph = helper.make_graph([node], "pool", [x], [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    onnx.checker.check_model(model, full_check=True)
    numbers = np.arange(16).reshape(1, 1, 4, 4).astype(name)
    try:
        return ReferenceEvaluator(model).run(None, {"x": numbers})[0].astype(int).ravel().tolist()
    except ValueError as error:
        return f"ValueError: {error}"


found = {(name, stride): pooled(name, stride) for name in TYPES for stride in (1, 2)}
for (name, stride), answer in found.items():
    print(f"onnx {onnx.__version__}: {name}, stride {stride}: {answer}")
maxima = {1: [5, 6, 7, 9, 10, 11, 13, 14, 15], 2: [5, 7, 13, 15]}
expected = {(name, stride): maxima[stride] for name in TYPES for stride in (1, 2)}
expected["int8", 1] = "ValueError: cannot convert float NaN to integer"
assert found == expected, "the behaviour has changed"
PYTHON
