"""Rows on TensorFlow, Keras 2 and 3, and on libraries that stand on them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import packages_distributions
from typing import Any

import numpy as np

from rows import BOUND, HALVES, SPECIAL, row, shown

TWO, THREE = ("tf_keras", "2.21.0"), ("keras", "3.15.1")
QKERAS = ("qkeras", "0.9.0")
V3 = "qkeras-v3"
QKERAS_3 = (V3, "1.2.1")
COLUMNS = np.array([[0.3, 3.0], [-0.3, -3.0]], np.float32)
"""A kernel whose columns have weights of another size."""


def tensorflow_gradient(function: Callable[[Any], Any]) -> str:
    """Gradient at BOUND of the sum of a function of TensorFlow."""
    tf = import_module("tensorflow")
    x = tf.constant(BOUND)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = tf.reduce_sum(function(x))
    return shown(tape.gradient(y, x))


def of(values: Any, function: Callable[[Any], Any]) -> str:
    """Values of a function of TensorFlow."""
    return shown(function(import_module("tensorflow").constant(values)))


@row("larq", "0.14.0", "import with Keras 3 (TF_USE_LEGACY_KERAS=0)", "AttributeError")
def larq_keras() -> str:
    command = [sys.executable, "-c", "import larq"]
    three = {**os.environ, "TF_USE_LEGACY_KERAS": "0"}
    seen = subprocess.run(command, env=three, capture_output=True, text=True)
    return seen.stderr.splitlines()[-1].split(":")[0] if seen.returncode else "works"


@row(
    "larq",
    "0.14.0",
    "ste_sign, approx_sign, swish_sign of 0, -0.0, NaN",
    "1 1 nan; 1 1 nan; 1 1 nan",
)
def larq_sign() -> str:
    quantizers = import_module("larq").quantizers
    names = ("SteSign", "ApproxSign", "SwishSign")
    return "; ".join(of(SPECIAL, getattr(quantizers, name)()) for name in names)


@row("larq", "0.14.0", "ste_sign: gradient at -1, 1, 0.5, 1.5", "1 1 1 0")
def larq_gradient() -> str:
    return tensorflow_gradient(import_module("larq").quantizers.SteSign())


@row("larq", "0.14.0", "approx_sign: the same", "0 0 1 0")
def larq_approx_gradient() -> str:
    return tensorflow_gradient(import_module("larq").quantizers.ApproxSign())


@row("larq", "0.14.0", "swish_sign: the same", "-0.195 -0.195 -0.08462 -0.03034")
def larq_swish_gradient() -> str:
    return tensorflow_gradient(import_module("larq").quantizers.SwishSign())


@row("larq", "0.14.0", "DoReFa(1, mode='weights') of 0, 0.5", "-1 1")
def larq_dorefa() -> str:
    return of([0.0, 0.5], import_module("larq").quantizers.DoReFa(1, mode="weights"))


@row("larq", "0.14.0", "kernel_quantizer='dorefa_quantizer': weights -0.5, 0.4, 2", "0 0.3333 1")
def larq_dorefa_name() -> str:
    larq, tf = import_module("larq"), import_module("tensorflow")
    layer = larq.layers.QuantDense(3, kernel_quantizer="dorefa_quantizer", use_bias=False)
    layer.build((None, 1))
    layer.set_weights([np.array([[-0.5, 0.4, 2.0]], np.float32)])
    return shown(layer(tf.ones((1, 1))))


@row("larq", "0.14.0", "DoReFa in 1 and in 2 bits of 0.5: codes 0.5, 1.5", "0 0.6667")
def larq_ties() -> str:
    dorefa = import_module("larq").quantizers.DoReFa
    return " ".join(of([0.5], dorefa(bits)) for bits in (1, 2))


@row(*QKERAS, "binary(), binary(alpha=1) of 0, -0.0, NaN", "1 1 nan; 1 1 nan")
@row(*QKERAS_3, "binary(), binary(alpha=1) of 0, -0.0, NaN", "1 1 nan; 1 1 nan")
def qkeras_sign() -> str:
    binary = import_module("qkeras").binary
    return "; ".join(of(SPECIAL, quantizer) for quantizer in (binary(), binary(alpha=1)))


@row(*QKERAS, "binary(): gradient at -1, 1, 0.5, 1.5", "0.42 0.42 0.7864 0.1807")
@row(*QKERAS_3, "binary(): gradient at -1, 1, 0.5, 1.5", "0.42 0.42 0.7864 0.1807")
def qkeras_gradient() -> str:
    return tensorflow_gradient(import_module("qkeras").binary())


@row(*QKERAS, "1 - tanh(x)^2 there", "0.42 0.42 0.7864 0.1807")
def tanh_gradient() -> str:
    return shown(1 - np.tanh(BOUND) ** 2)


@row(*QKERAS, "binary of alpha 1, of alpha auto_po2: the same", "1 1 1 1; 1 1 1 1")
@row(*QKERAS_3, "binary of alpha 1, of alpha auto_po2: the same", "1 1 1 1; 1 1 1 1")
def qkeras_gradient_of_alpha() -> str:
    binary = import_module("qkeras").binary
    return "; ".join(tensorflow_gradient(binary(alpha=alpha)) for alpha in (1, "auto_po2"))


def qkeras_dense(quantizer: Any) -> Any:
    """What QDense makes of COLUMNS."""
    layer = import_module("qkeras").QDense(2, kernel_quantizer=quantizer, use_bias=False)
    layer.build((None, 2))
    layer.set_weights([COLUMNS])
    return layer(import_module("tensorflow").eye(2))


@row(*QKERAS, "QDense with binary(): kernel columns 0.3, -0.3 and 3, -3", "0.25 4 -0.25 -4")
@row(*QKERAS_3, "QDense with binary(): kernel columns 0.3, -0.3 and 3, -3", "0.25 4 -0.25 -4")
def qkeras_auto() -> str:
    return shown(qkeras_dense(import_module("qkeras").binary()))


@row(*QKERAS, "QConv2D with binary(): the same", "0.25 4 -0.25 -4")
@row(*QKERAS_3, "QConv2D with binary(): the same", "0.25 4 -0.25 -4")
def qkeras_auto_conv() -> str:
    qkeras, tf = import_module("qkeras"), import_module("tensorflow")
    layer = qkeras.QConv2D(2, (1, 1), kernel_quantizer=qkeras.binary(), use_bias=False)
    layer.build((None, 1, 2, 2))
    layer.set_weights([COLUMNS[None, None]])
    return shown(layer(tf.eye(2)[None, None]))


@row(*QKERAS, "QDense with quantized_bits(1): the same", "0 0 0 0")
@row(*QKERAS_3, "QDense with quantized_bits(1): the same", "0 0 0 0")
def qkeras_one_bit() -> str:
    return shown(qkeras_dense(import_module("qkeras").quantized_bits(1)))


def qkeras_model(quantizer: Any) -> Any:
    """A model of one activation, of Keras 2 or 3 as the QKeras that is installed."""
    qkeras = import_module("qkeras")
    keras = import_module("keras" if packages_distributions()["qkeras"] == [V3] else "tf_keras")
    model = keras.Sequential([keras.layers.Input((256,)), qkeras.QActivation(quantizer)])
    model.compile("sgd", loss=lambda wanted, y: wanted - y)
    return model


@row(*QKERAS, "stochastic_binary(alpha=1) of 0.01 in fit: mean value of three epochs", "1 1 1")
@row(*QKERAS_3, "stochastic_binary(alpha=1) of 0.01 in fit: mean value of three epochs", "1 1 1")
def qkeras_stochastic() -> str:
    model = qkeras_model(import_module("qkeras").stochastic_binary(alpha=1))
    x = np.full((1, 256), 0.01, np.float32)
    history = model.fit(x, np.zeros_like(x), epochs=3, verbose=0)
    return shown(-np.array(history.history["loss"]))


@row(*QKERAS, "bernoulli(alpha=1) of 0.01 in predict: is twice the same?", "no")
@row(*QKERAS_3, "bernoulli(alpha=1) of 0.01 in predict: is twice the same?", "no")
def qkeras_bernoulli() -> str:
    model = qkeras_model(import_module("qkeras").bernoulli(alpha=1))
    x = np.full((1, 256), 0.01, np.float32)
    one, two = (model.predict(x, verbose=0) for _ in range(2))
    return "yes" if np.array_equal(one, two) else "no"


@row(*QKERAS, "quantized_po2(4) of 0", "0.0625")
@row(*QKERAS_3, "quantized_po2(4) of 0", "0.0625")
def qkeras_power() -> str:
    return of([0.0], import_module("qkeras").quantized_po2(4))


@row(*QKERAS, "quantized_bits(4, 3, alpha=1) of 0.5, 1.5, 2.5", "0 2 2")
@row(*QKERAS_3, "quantized_bits(4, 3, alpha=1) of 0.5, 1.5, 2.5", "0 2 2")
def qkeras_ties() -> str:
    return of(HALVES, import_module("qkeras").quantized_bits(4, 3, alpha=1))


LEVELS = "fake_quant, 2 bits on (-1, 1), of -9, -0.5, 0.5, 9"


@row("tensorflow-cpu", "2.21.0", LEVELS, "-1.333 -0.6667 0.6667 0.6667")
def tensorflow_levels() -> str:
    fake = import_module("tensorflow").quantization.fake_quant_with_min_max_args
    return of([-9.0, -0.5, 0.5, 9.0], lambda x: fake(x, -1.0, 1.0, num_bits=2))


@row("tensorflow-cpu", "2.21.0", "fake_quant with 1 bit", "refused")
def tensorflow_one_bit() -> str:
    tf = import_module("tensorflow")
    try:
        tf.quantization.fake_quant_with_min_max_args(tf.zeros(1), -1.0, 1.0, num_bits=1)
    except (ValueError, tf.errors.InvalidArgumentError):
        return "refused"
    return "taken"


def running_variance(name: str, shape: tuple[int, ...]) -> str:
    """Of the values 0 and 2, as a batch norm without memory keeps it."""
    norm = import_module(name).layers.BatchNormalization(momentum=0.0)
    norm(np.array([0.0, 2.0], np.float32).reshape(shape), training=True)
    return shown(norm.moving_variance)


@row(*TWO, "running variance of 0, 2: as rows, as images", "1; 2")
def keras_2_variance() -> str:
    return "; ".join(running_variance("tf_keras", shape) for shape in ((2, 1), (2, 1, 1, 1)))


@row(*THREE, "running variance of 0, 2: as rows, as images", "1; 1")
def keras_3_variance() -> str:
    return "; ".join(running_variance("keras", shape) for shape in ((2, 1), (2, 1, 1, 1)))


def steps_of(rule: Any, weight: Any, gradients: tuple[float, ...]) -> str:
    """How far each of them moves a weight."""
    tf, steps = import_module("tensorflow"), []
    for gradient in gradients:
        before = float(weight.numpy()[0])
        rule.apply_gradients([(tf.constant([gradient]), weight)])
        steps.append(before - float(weight.numpy()[0]))
    return shown(steps)


ADAMAX = "Adamax, epsilon 1, rates 0 and 1/2: steps of gradients 1, 1/4"
ADAM = "Adam, epsilon 1, rates 0 and 3/4: first step of gradient 1"


def keras_2_steps(name: str, beta: float, *gradients: float) -> str:
    rules, tf = import_module("tf_keras").optimizers, import_module("tensorflow")
    rule = getattr(rules, name)(1.0, beta_1=0.0, beta_2=beta, epsilon=1.0)
    return steps_of(rule, tf.Variable([0.0]), gradients)


def keras_3_steps(name: str, beta: float, *gradients: float) -> str:
    keras = import_module("keras")
    rule = getattr(keras.optimizers, name)(1.0, beta_1=0.0, beta_2=beta, epsilon=1.0)
    return steps_of(rule, keras.Variable(np.zeros(1, np.float32)), gradients)


@row(*TWO, ADAM, "0.3333")
def keras_2_adam() -> str:
    return keras_2_steps("Adam", 0.75, 1.0)


@row(*THREE, ADAM, "0.3333")
def keras_3_adam() -> str:
    return keras_3_steps("Adam", 0.75, 1.0)


@row(*TWO, ADAMAX, "0.5 0.1667")
def keras_2_adamax() -> str:
    return keras_2_steps("Adamax", 0.5, 1.0, 0.25)


@row(*THREE, ADAMAX, "0.5 0.1667")
def keras_3_adamax() -> str:
    return keras_3_steps("Adamax", 0.5, 1.0, 0.25)
