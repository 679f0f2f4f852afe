"""Whole networks against the authors' own code, really run: some steps of Algorithm 1, inference.

All they keep is compared after each step. Differences are named, as in `tests/test_authors.py`.
"""

from typing import Any

import numpy as np
import pytest

from qnn_ref import Sequential
from qnn_ref.layers import BatchNorm, Dense, HardTanh, Layer, Quantize, ShiftBatchNorm
from qnn_ref.losses import softmax_cross_entropy, squared_hinge
from qnn_ref.optimizers import Adam
from tests.authors import AFTER_ADAM, STRICT, assert_close, torch_rule, vectors

both_dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64])


@both_dtypes
def test_theano_network(dtype):
    """20-8-8-10, batch norm, Sign, squared hinge, Adam, clips: three steps and inference."""
    check_theano(dtype, "plain", lambda w: w)


def test_theano_network_with_weights_at_zero():
    """Difference: the Theano that was run rounds half to even, so its weights at 0 are -1."""
    check_theano(np.float64, "with_zero_weights", lambda w: np.where(w == 0, -1e-300, w))


def check_theano(dtype: Any, case: str, start: Any) -> None:
    """Train as the authors' script does, and compare all that it keeps."""
    shared = vectors("theano_binary_net")["outputs"]
    authors = vectors("theano_binary_net", dtype)["outputs"][case]
    layers: list[Layer] = []
    for units in (8, 8, 10):
        layers += [Dense(units, bias=True), BatchNorm(1e-4, 0.1), Quantize()]
    network = Sequential(layers[:-1], (20,), np.random.default_rng(0), dtype)
    dense, norms = layers[0::3], layers[1::3]
    for layer, weight, scale in zip(
        dense, shared[case]["initial_weights"], authors["W_LR_scale"], strict=True
    ):
        layer.weight.assign(start(weight.astype(dtype)))
        assert layer.weight.learning_rate_scale == pytest.approx(scale, rel=1e-7)
        layer.weight.learning_rate_scale = scale  # difference: theirs is rounded to float32
    rule = Adam(epsilon_at="before correction")
    for x, labels, after in zip(shared["X"], shared["labels"], authors["steps"], strict=True):
        rule.learning_rate = after["lr"]
        loss, scores = train_step(network, rule, squared_hinge, x.astype(dtype), labels)
        assert loss == pytest.approx(after["loss"], rel=AFTER_ADAM * float(np.finfo(dtype).eps))
        assert_close(scores, after["output"], "scores", AFTER_ADAM)
        for k, (product, norm) in enumerate(zip(dense, norms, strict=True)):
            assert_close(product.weight.grad, after["W_grads"][k], f"weight gradient {k}")
            assert_close(norm.shift.grad, after["param_grads"][3 * k + 1], f"shift gradient {k}")
            assert_close(norm.gain.grad, after["param_grads"][3 * k + 2], f"gain gradient {k}")
            assert_close(product.weight.latent, after["W"][k], f"weights {k}", AFTER_ADAM)
            assert_close(norm.gain.latent, after["gamma"][k], f"gain {k}", AFTER_ADAM)
            assert_close(norm.shift.latent, after["beta"][k], f"shift {k}", AFTER_ADAM)
            assert_close(norm.running_mean, after["mean"][k], f"running mean {k}")
            r = norm.running_inverse_deviation
            assert_close(r, after["inv_std"][k], f"running inverse deviation {k}")
            # The gradient of a bias before a batch norm is rounding noise, and so is the bias.
            assert np.abs(product.bias.grad).max() < 64 * np.finfo(dtype).eps
            assert np.abs(after["b"][k]).max() < 1e-3
            product.bias.assign(after["b"][k])
        test = network.forward(shared["X_test"].astype(dtype))
        assert_close(test, after["test_output"], "inference", AFTER_ADAM)


def train_step(network: Sequential, rule: Any, loss: Any, x: Any, labels: Any) -> tuple[float, Any]:
    """Algorithm 1, all lines but the last: loss and scores before the update."""
    scores = network.forward(x, training=True)
    value, delta = loss(scores, labels)
    network.backward(delta)
    rule.step(network.parameters())
    return value, scores


@both_dtypes
def test_torch_network(dtype):
    """6-5-4-3 as their MNIST model: shift batch norm T, strict masks, the library's batch norm at
    the end, shift AdaMax with all rates and clips; six steps on two batches, and inference."""
    content = vectors("torch_network", dtype)
    given, authors = content["inputs"], content["outputs"]
    layers: list[Layer] = []
    for units in (5, 4):
        norm = ShiftBatchNorm("torch", scale_gain_rate=True)
        layers += [Dense(units, bias=True), norm, Quantize(STRICT)]
    layers += [
        Dense(3, bias=True),
        BatchNorm(1e-5, 0.1, "unbiased variance", uniform_gain=True, scale_gain_rate=True),
    ]
    network = Sequential(layers, (6,), np.random.default_rng(0), dtype)
    dense = [layer for layer in layers if isinstance(layer, Dense)]
    for layer, weight, bias in zip(dense, given["W"], given["bias"], strict=True):
        layer.weight.assign(weight.T)
        layer.bias.assign(bias)  # difference: their biases learn at the rate of the weights
        layer.bias.learning_rate_scale = layer.weight.learning_rate_scale
    layers[-1].gain.assign(given["lastgain"])
    every = network.parameters().values()
    flat = np.concatenate([np.full(p.size, p.learning_rate_scale) for p in every])
    np.testing.assert_allclose(flat, authors["lrs"], rtol=1e-6)
    np.testing.assert_array_equal(
        np.concatenate([np.full(p.size, p.bound == 1) for p in every]), authors["clip"] == 1
    )
    rule = torch_rule(given["lr"])
    for t, after in enumerate(authors["steps"]):
        x, labels = given["x"][t % 2], given["labels"][t % 2]
        loss, scores = train_step(network, rule, squared_hinge, x, labels)
        assert loss == pytest.approx(after["loss"], rel=64 * float(np.finfo(dtype).eps))
        assert_close(scores, after["output"], "scores")
        gradients = in_torch_order(network, after["grads"])
        values = in_torch_order(network, after["params"])
        for name, parameter in network.parameters().items():
            # A bias whose gradient is 0 but for rounding: AdaMax makes a full step of its sign.
            small = np.abs(gradients[name]) < 64 * np.finfo(dtype).eps
            noise = small & name.endswith("bias")
            gradient = np.where(noise, 0, gradients[name])
            assert_close(np.where(noise, 0, parameter.grad), gradient, f"gradient of {name}")
            parameter.assign(np.where(noise, values[name], parameter.latent))
            assert_close(parameter.latent, values[name], name)
    assert_close(network.forward(given["test"]), authors["eval"], "inference")


def in_torch_order(network: Sequential, flat: Any) -> dict[str, Any]:
    """Torch's one vector of everything by our names: layer by layer, weights (out, in)."""
    parameters = network.parameters()
    ends = np.cumsum([p.size for p in parameters.values()])
    parts = np.split(flat, ends[:-1])
    return {
        name: part.reshape(p.shape[::-1]).T
        for (name, p), part in zip(parameters.items(), parts, strict=True)
    }


@both_dtypes
def test_pytorch_network(dtype):
    """6-5-4-3: signs of the input, batch norm, strict masks, a float layer last, cross-entropy,
    Adam with epsilon after the correction, clipped weights and biases; four steps, inference."""
    content = vectors("pytorch_mlp_steps")["clean"]
    given, authors = content["inputs"], content[dtype.__name__]
    layers: list[Layer] = [Quantize()]
    for units in (5, 4):
        layers += [Dense(units, bias=True), BatchNorm(1e-5, 0.1, "unbiased variance")]
        layers += [Quantize(STRICT)] if units == 5 else [HardTanh()]
    layers.append(Dense(3, None, bias=True))
    network = Sequential(layers, (6,), np.random.default_rng(0), dtype)
    dense = [layer for layer in layers if isinstance(layer, Dense)]
    for layer, weight, bias in zip(dense, given["W"], given["b"], strict=True):
        layer.weight.assign(weight.T.astype(dtype))
        layer.bias.assign(bias.astype(dtype))
        layer.weight.learning_rate_scale = 1.0  # difference: no scales in the PyTorch code,
        layer.bias.bound = layer.weight.bound  # and it clips biases
    rule, batches = Adam(given["lr"]), list(zip(given["x"], given["labels"], strict=True))
    for t, after in enumerate(authors["steps"]):
        x, labels = batches[t % 2]
        loss, scores = train_step(network, rule, softmax_cross_entropy, x.astype(dtype), labels)
        assert loss == pytest.approx(after["loss"], rel=64 * float(np.finfo(dtype).eps))
        assert_close(scores, after["output"].astype(dtype), "scores")
        for (name, p), grad, value in zip(
            network.parameters().items(), after["grads"], after["params"], strict=True
        ):
            if name in ("1.Dense.bias", "4.Dense.bias"):  # before a batch norm: rounding noise
                assert np.abs(p.grad).max() < 64 * np.finfo(dtype).eps
                p.assign(value.astype(dtype))
                continue
            assert_close(p.grad.T, grad.astype(dtype), f"gradient of {name}")
            assert_close(p.latent.T, value.astype(dtype), name)
        for got, expected in zip(layers[2].buffers().values(), after["bn1_running"], strict=True):
            assert_close(got, expected.astype(dtype), "running statistics")
    test = network.forward(given["test"].astype(dtype))
    assert_close(test, authors["eval"].astype(dtype), "inference")
