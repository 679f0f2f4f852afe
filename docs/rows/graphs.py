"""Rows on graphs and bits: QONNX, onnxruntime, hls4ml, faiss, numkong, larq-compute-engine."""

from __future__ import annotations

import sys
import tempfile
from contextlib import redirect_stdout
from importlib import import_module
from typing import Any

import numpy as np

from rows import SPECIAL, row, shown

QONNX = "qonnx.custom_op.general"


def qonnx_node(kind: str, values: dict[str, Any], **attributes: Any) -> str:
    """What a node of QONNX makes of `x`, with the other inputs behind it."""
    node = import_module("onnx.helper").make_node(
        kind, list(values), ["y"], domain=QONNX, name="node", **attributes
    )
    custom = import_module("qonnx.custom_op.registry").getCustomOp(node)
    context = {name: np.asarray(value, np.float32) for name, value in values.items()}
    custom.execute_node(context, None)
    return shown(context["y"])


@row("qonnx", "1.0.0", "BipolarQuant of 0, -0.0, NaN", "1 1 -1")
def qonnx_sign() -> str:
    return qonnx_node("BipolarQuant", {"x": SPECIAL, "scale": [1]})


@row("qonnx", "1.0.0", "Quant, 1 bit, signed, of -2, -0.1, 0, 2", "-1 -1 1 1")
def qonnx_quant() -> str:
    values = {"x": [-2, -0.1, 0, 2], "scale": 1, "zero": 0, "bits": 1}
    return qonnx_node("Quant", values, signed=1, narrow=0, rounding_mode="ROUND")


@row(
    "qonnx",
    "1.0.0",
    "least and greatest of INT1, UINT1, BIPOLAR; the name of UINT1",
    "-1 0 0 1 -1 1; BINARY",
)
def qonnx_types() -> str:
    types = [import_module("qonnx.core.datatype").DataType[n] for n in ("INT1", "UINT1", "BIPOLAR")]
    return f"{shown([[kind.min(), kind.max()] for kind in types])}; {types[1].name}"


@row(
    "qonnx",
    "1.0.0",
    "MultiThreshold(BIPOLAR) at 0 of -1, 0, 1; with scale 2, bias -1",
    "0 1 1; -1 1 1",
)
def qonnx_threshold() -> str:
    values = {"x": [[-1], [0], [1]], "t": [[0]]}
    bare = qonnx_node("MultiThreshold", values, out_dtype="BIPOLAR")
    scaled = qonnx_node("MultiThreshold", values, out_dtype="BIPOLAR", out_scale=2.0, out_bias=-1.0)
    return f"{bare}; {scaled}"


def onnx_model(nodes: list[Any], shape: list[int], weights: dict[str, Any], kind: Any) -> Any:
    """A graph from x to y of this shape."""
    onnx, helper = import_module("onnx"), import_module("onnx.helper")
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", kind, shape)],
        [helper.make_tensor_value_info("y", kind, shape)],
        [onnx.numpy_helper.from_array(np.float32(w), name) for name, w in weights.items()],
    )
    sets = [helper.make_opsetid("", 17), helper.make_opsetid(QONNX, 1)]
    return helper.make_model(graph, opset_imports=sets, ir_version=8)


def bipolar_model(gain: float) -> Any:
    """Batch norm with a gain, then the sign, of two values."""
    onnx, helper = import_module("onnx"), import_module("onnx.helper")
    norm = ["gain", "shift", "mean", "variance"]
    nodes = [
        helper.make_node("BatchNormalization", ["x", *norm], ["b"], epsilon=0.0),
        helper.make_node("BipolarQuant", ["b", "scale"], ["y"], domain=QONNX),
    ]
    weights = dict(zip(norm, ([gain] * 2, [0, 0], [0, 0], [1, 1]), strict=True))
    weights["scale"] = 1.0
    return onnx_model(nodes, [1, 2], weights, onnx.TensorProto.FLOAT)


@row(
    "qonnx",
    "1.0.0",
    "QuantToQCDQ of a graph with BipolarQuant: nodes left",
    "BatchNormalization BipolarQuant",
)
def qonnx_convert() -> str:
    wrapper = import_module("qonnx.core.modelwrapper").ModelWrapper(bipolar_model(1.0))
    convert = import_module("qonnx.transformation.qonnx_to_qcdq").QuantToQCDQ
    return " ".join(node.op_type for node in wrapper.transform(convert()).graph.node)


@row("hls4ml", "1.3.0", "bits of batch norm with gain 1, -1, then the sign, of -2, 2", "0 1; 0 1")
def hls4ml_gain() -> str:
    wrapper, hls4ml = import_module("qonnx.core.modelwrapper"), import_module("hls4ml")
    cleanup = import_module("qonnx.util.cleanup").cleanup_model

    def signs(gain: float) -> str:
        model = cleanup(wrapper.ModelWrapper(bipolar_model(gain)))
        with tempfile.TemporaryDirectory() as folder, redirect_stdout(sys.stderr):
            project = hls4ml.converters.convert_from_onnx_model(
                model, output_dir=folder, backend="Vivado", io_type="io_parallel"
            )
            project.compile()
            return shown(project.predict(np.array([[-2.0, 2.0]], np.float32)))

    return f"{signs(1.0)}; {signs(-1.0)}"


@row("onnxruntime", "1.32.0", "Sign of 0, -0.0, NaN in float32; in float16", "0 0 nan; 0 0 0")
def onnxruntime_sign() -> str:
    helper, ort = import_module("onnx.helper"), import_module("onnxruntime")
    kinds = import_module("onnx").TensorProto

    def signs(kind: Any, dtype: Any) -> str:
        model = onnx_model([helper.make_node("Sign", ["x"], ["y"])], [3], {}, kind)
        run = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        return shown(run.run(None, {"x": SPECIAL.astype(dtype)})[0])

    return f"{signs(kinds.FLOAT, np.float32)}; {signs(kinds.FLOAT16, np.float16)}"


@row("faiss-cpu", "1.15.1", "real_to_binary, fvec2bitvec of eight zeros", "0 255")
def faiss_zero() -> str:
    faiss = import_module("faiss")
    x, strict, loose = np.zeros((1, 8), np.float32), np.zeros((1, 1), "u1"), np.zeros((1, 1), "u1")
    faiss.real_to_binary(8, faiss.swig_ptr(x), faiss.swig_ptr(strict))
    faiss.fvec2bitvec(faiss.swig_ptr(x), faiss.swig_ptr(loose), 8)
    return shown([strict[0, 0], loose[0, 0]])


@row("numkong", "7.8.6", "hamming of 255 and 0: as u1, as uint1", "1 8")
def numkong_hamming() -> str:
    numkong = import_module("numkong")
    a, b = np.array([255], np.uint8), np.array([0], np.uint8)
    return shown([numkong.hamming(a, b, kind) for kind in ("u1", "uint1")])


def larq_layer(channels: int, filters: int, width: int, **options: Any) -> Any:
    """A binary convolution of larq, in Keras 2."""
    layers = import_module("larq").layers
    signs = {"input_quantizer": "ste_sign", "kernel_quantizer": "ste_sign", "use_bias": False}
    layer = layers.QuantConv2D(filters, width, **signs, **options)
    layer.build((None, None, None, channels))
    return layer


@row("larq-compute-engine", "0.16.0", "words of 40 weights: -1 at 0, 2, 33, else +1", "5 2")
def engine_words() -> str:
    keras, engine = import_module("tf_keras"), import_module("larq_compute_engine")
    schema = import_module("tensorflow.lite.python.schema_py_generated")
    layer, weights = larq_layer(40, 1, 1), np.ones((1, 1, 40, 1), np.float32)
    weights[0, 0, [0, 2, 33]] = -1
    layer.set_weights([weights])
    x = keras.Input((1, 1, 40))
    file = engine.convert_keras_model(keras.Model(x, layer(x)))
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(file, 0))
    kinds, buffers = schema.TensorType, model.buffers
    words = [buffers[t.buffer].data for t in model.subgraphs[0].tensors if t.type == kinds.INT32]
    return shown([np.frombuffer(bytes(w), "<i4") for w in words if w is not None])


@row(
    "larq-compute-engine",
    "0.16.0",
    "of 1024 sums: exactly 0, and below 0 once converted: padding 0; padding 1",
    "50 13; 42 0",
)
def engine_padding() -> str:
    keras, engine = import_module("tf_keras"), import_module("larq_compute_engine")
    interpreter = import_module("larq_compute_engine.tflite.python.interpreter").Interpreter
    images = np.random.default_rng(0).choice([-1.0, 1.0], (1, 8, 8, 32)).astype(np.float32)

    def counts(padding: float) -> str:
        keras.utils.set_random_seed(0)
        x = keras.Input((8, 8, 32))
        sums = larq_layer(32, 16, 3, padding="same", pad_values=padding)(x)
        model = keras.Model(x, keras.layers.BatchNormalization()(sums))
        zero = model.predict(images, verbose=0) == 0
        y = np.asarray(interpreter(engine.convert_keras_model(model)).predict(images, verbose=0))
        return shown([zero.sum(), (y[zero] < 0).sum()])

    return f"{counts(0.0)}; {counts(1.0)}"
