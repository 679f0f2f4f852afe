"""Run the rows of `coming_from.md` again, on the libraries that are installed here.

A command, outside the tests: `python docs/coming_from.py` prints a line for each row, with what was
seen and whether the page says so; the exit code is 1 if one differs. A library that is not
installed is named as not run. The versions of the page, in three environments:

    pip install torch==2.13.0 brevitas==0.13.4 bitorch==0.4.1 qonnx==1.0.0 onnxruntime==1.32.0 \
        faiss-cpu==1.15.1 numkong==7.8.6; pip install --no-deps bnn==0.1.2
    pip install tensorflow-cpu==2.21.0 tf_keras==2.21.0 larq==0.14.0
    pip install tensorflow-cpu==2.21.0 tf_keras==2.21.0 qkeras==0.9.0

It needs NumPy and nothing of qnn_ref, so that it runs in each of them.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from importlib import import_module, metadata
from typing import Any, NamedTuple

import numpy as np

os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")  # larq and QKeras need Keras 2
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


class Row(NamedTuple):
    """A library, what is asked of it, how, and what the page says."""

    library: str
    version: str
    question: str
    ask: Callable[[], Any]
    page: str


ROWS: list[Row] = []
ZEROS = np.array([0.0, -0.0], np.float32)
BOUND = np.array([-1.0, 1.0, 0.5, 1.5], np.float32)
"""Both bounds, inside, outside."""


def row(library: str, version: str, question: str, page: str) -> Callable[..., Callable[[], Any]]:
    """Add the function below it to the table."""

    def add(ask: Callable[[], Any]) -> Callable[[], Any]:
        ROWS.append(Row(library, version, question, ask, page))
        return ask

    return add


def shown(values: Any) -> str:
    """Numbers as the page has them: 1 0 -1."""
    return " ".join(f"{float(v):.4g}" for v in np.ravel(np.asarray(values)))


def torch_gradient(function: Callable[[Any], Any], at: np.ndarray) -> str:
    """Gradient of the sum of a function of PyTorch."""
    torch = import_module("torch")
    x = torch.tensor(at, requires_grad=True)
    function(x).sum().backward()
    return shown(x.grad)


@row("torch", "2.13.0", "sign(0), sign(-0.0), sign(NaN)", "0 0 0")
def torch_sign() -> str:
    torch = import_module("torch")
    return shown(torch.sign(torch.tensor([0.0, -0.0, float("nan")])) + 0.0)


@row("torch", "2.13.0", "clamp with numbers: gradient at -1, 1, 0.5, 1.5", "1 1 1 0")
def torch_clamp() -> str:
    return torch_gradient(lambda x: x.clamp(-1, 1), BOUND)


@row("torch", "2.13.0", "clamp with tensors: the same", "1 1 1 0")
def torch_clamp_tensors() -> str:
    one = import_module("torch").tensor(1.0)
    return torch_gradient(lambda x: x.clamp(-one, one), BOUND)


@row("torch", "2.13.0", "hardtanh: the same", "0 0 1 0")
def torch_hardtanh() -> str:
    return torch_gradient(import_module("torch").nn.functional.hardtanh, BOUND)


@row("torch", "2.13.0", "BatchNorm1d: running variance of 0, 2 after momentum 1", "2")
def torch_variance() -> str:
    torch = import_module("torch")
    norm = torch.nn.BatchNorm1d(1, momentum=1.0)
    norm(torch.tensor([[0.0], [2.0]]))
    return shown(norm.running_var)


@row("brevitas", "0.13.4", "binary_sign of 0, -0.0, NaN", "1 1 -1")
def brevitas_sign() -> str:
    torch, ops = import_module("torch"), import_module("brevitas.function.ops")
    return shown(ops.binary_sign(torch.tensor([0.0, -0.0, float("nan")])))


@row("brevitas", "0.13.4", "ClampedBinaryQuant: gradient at -1, 1, 0.5, 1.5", "1 1 1 0")
def brevitas_gradient() -> str:
    torch = import_module("torch")
    quant = import_module("brevitas.core.quant").ClampedBinaryQuant
    scale = import_module("brevitas.core.scaling").ConstScaling(1.0)
    return torch_gradient(lambda x: quant(scale)(x)[0], torch.tensor(BOUND).numpy())


@row("brevitas", "0.13.4", "scale of the ready binary weight quantizer", "0.1")
def brevitas_scale() -> str:
    quant = import_module("brevitas.quant").SignedBinaryWeightPerTensorConst
    layer = import_module("brevitas.nn").QuantLinear(64, 2, bias=False, weight_quant=quant)
    return shown(layer.quant_weight().scale.detach())


@row("bitorch", "0.4.1", "Sign of 0, -0.0, NaN", "1 1 1")
def bitorch_sign() -> str:
    torch = import_module("torch")
    sign = import_module("bitorch.quantizations").Sign()
    return shown(sign(torch.tensor([0.0, -0.0, float("nan")])).detach())


@row("bitorch", "0.4.1", "Sign: gradient at -1, 1, 0.5, 1.5", "1 1 1 1")
def bitorch_gradient() -> str:
    return torch_gradient(import_module("bitorch.quantizations").Sign(), BOUND)


@row("bnn", "0.1.2", "SignActivation of 0, -0.0; gradient at -1, 1, 0.5, 1.5", "0 0; 0 0 1 0")
def bnn_sign() -> str:
    torch, sign = import_module("torch"), import_module("bnn.ops").SignActivation.apply
    return f"{shown(sign(torch.tensor(ZEROS)) + 0.0)}; {torch_gradient(sign, BOUND)}"


@row("qonnx", "1.0.0", "BipolarQuant of 0, -0.0, NaN", "1 1 -1")
def qonnx_sign() -> str:
    helper = import_module("onnx.helper")
    node = helper.make_node(
        "BipolarQuant", ["x", "s"], ["y"], domain="qonnx.custom_op.general", name="sign"
    )
    custom = import_module("qonnx.custom_op.registry").getCustomOp(node)
    context = {"x": np.array([0, -0.0, np.nan], np.float32), "s": np.ones(1, np.float32), "y": None}
    custom.execute_node(context, None)
    return shown(context["y"])


@row("onnxruntime", "1.32.0", "Sign of 0, -0.0, NaN in float32", "0 0 nan")
def onnxruntime_sign() -> str:
    helper, kind = import_module("onnx.helper"), import_module("onnx").TensorProto.FLOAT
    graph = helper.make_graph(
        [helper.make_node("Sign", ["x"], ["y"])],
        "sign",
        [helper.make_tensor_value_info("x", kind, [3])],
        [helper.make_tensor_value_info("y", kind, [3])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    ort = import_module("onnxruntime")
    run = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (y,) = run.run(None, {"x": np.array([0, -0.0, np.nan], np.float32)})
    return shown(y + 0.0)


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


@row("larq", "0.14.0", "ste_sign, approx_sign, swish_sign of 0, -0.0", "1 1 1 1 1 1")
def larq_sign() -> str:
    larq, tf = import_module("larq"), import_module("tensorflow")
    names = ("SteSign", "ApproxSign", "SwishSign")
    return shown([getattr(larq.quantizers, n)()(tf.constant(ZEROS)).numpy() for n in names])


@row("larq", "0.14.0", "ste_sign: gradient at -1, 1, 0.5, 1.5", "1 1 1 0")
def larq_gradient() -> str:
    return tensorflow_gradient(import_module("larq").quantizers.SteSign())


@row("larq", "0.14.0", "DoReFa(1, mode='weights') of 0, 0.5", "-1 1")
def larq_dorefa() -> str:
    larq, tf = import_module("larq"), import_module("tensorflow")
    return shown(larq.quantizers.DoReFa(1, mode="weights")(tf.constant([0.0, 0.5])))


@row("qkeras", "0.9.0", "binary() of 0, -0.0", "1 1")
def qkeras_sign() -> str:
    qkeras, tf = import_module("qkeras"), import_module("tensorflow")
    return shown(qkeras.binary(alpha=1)(tf.constant(ZEROS)))


@row("qkeras", "0.9.0", "binary(alpha=1): gradient at -1, 1, 0.5, 1.5", "1 1 1 1")
def qkeras_gradient() -> str:
    return tensorflow_gradient(import_module("qkeras").binary(alpha=1))


@row("qkeras", "0.9.0", "quantized_po2(4) of 0", "0.0625")
def qkeras_power() -> str:
    qkeras, tf = import_module("qkeras"), import_module("tensorflow")
    return shown(qkeras.quantized_po2(4)(tf.constant([0.0])))


@row(
    "tensorflow-cpu",
    "2.21.0",
    "fake_quant, 2 bits on (-1, 1), of -9, -0.5, 0.5, 9",
    "-1.333 -0.6667 0.6667 0.6667",
)
def tensorflow_levels() -> str:
    tf = import_module("tensorflow")
    x = tf.constant([-9.0, -0.5, 0.5, 9.0])
    return shown(tf.quantization.fake_quant_with_min_max_args(x, -1.0, 1.0, num_bits=2))


def tensorflow_gradient(function: Callable[[Any], Any]) -> str:
    """Gradient of the sum of a function of TensorFlow."""
    tf = import_module("tensorflow")
    x = tf.constant(BOUND)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = tf.reduce_sum(function(x))
    return shown(tape.gradient(y, x))


def main() -> int:
    """Print the table; 1 if a row is otherwise than the page says."""
    wrong = 0
    for item in ROWS:
        try:
            version = metadata.version(item.library)
            seen = item.ask()
        except metadata.PackageNotFoundError:
            version, seen = "", "not installed: not run"
        except Exception as error:
            seen = f"{type(error).__name__}: {str(error)[:90]}"
        same = seen == item.page
        wrong += bool(version) and not same
        verdict = "as the page says" if same else "-" if not version else f"PAGE: {item.page}"
        print(f"{item.library} {version} | {item.question} | {seen} | {verdict}")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
