"""RNN: against loops over single numbers; what layers of states share is in `test_recurrent.py`."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qnn_ref.layers import RNN
from qnn_ref.layers.rnn import rnn_step, rnn_step_backward
from qnn_ref.quantizers import LinearQuant, LogQuant
from tests.oracles import recurrent as oracle
from tests.test_lstm import SEEDS, SIZES, STATES, WEIGHTS, close

ACTIVATIONS = ["relu", "tanh"]


@given(
    *(SIZES, st.integers(1, 7), SIZES, SIZES, WEIGHTS),
    *(st.sampled_from(list(STATES)), st.sampled_from(ACTIVATIONS), SEEDS),
)
def test_forward_and_backward_are_those_of_loops_over_numbers(
    batch, time, features, units, weights, kind, activation, seed
):
    quantizer, quantize, passes = STATES[kind]
    rng = np.random.default_rng(seed)
    layer = RNN(units, weights, quantizer, activation)
    layer.build((-1, features), rng, dtype=np.float64)
    layer.bias.assign(rng.normal(size=units))
    x, dy = rng.normal(size=(batch, time, features)), rng.normal(size=(batch, time, units))
    h0, dh = rng.normal(size=(2, batch, units))
    y = layer.forward(x, True, h0)
    dx = layer.backward(dy, dh)
    unit = 1 if quantizer is None else quantizer.encoding.scale
    W, R = layer.input_weight.quantized, layer.recurrent_weight.quantized
    totals = dict.fromkeys("WRb", 0.0)
    for n in range(batch):
        steps = oracle.rnn(x[n], h0[n], W, R, layer.bias.latent, activation, quantize)
        found = oracle.rnn_backward(steps, dy[n] / unit, dh[n], W, R, activation, passes)
        close(y[n] * unit, [step["y"] for step in steps])
        close(layer.final_state[n], steps[-1]["h"])
        close(dx[n], found["x"])
        close(layer.state_gradient[n], found["h0"])
        for name in totals:
            totals[name] = totals[name] + np.array(found[name])
    for name, parameter in zip("WRb", layer.parameters().values(), strict=True):
        close(parameter.grad, totals[name])


def test_relu_and_tanh_and_their_slopes():
    z, dh = np.array([[-2.0, -0.0, 0.0, 0.5, 3.0]]), np.arange(1.0, 6.0)[None]
    np.testing.assert_array_equal(rnn_step(z, "relu"), [[0, 0, 0, 0.5, 3]])
    np.testing.assert_array_equal(rnn_step(z, "tanh"), np.tanh(z))
    np.testing.assert_array_equal(
        rnn_step_backward(dh, rnn_step(z, "relu"), "relu"), [[0, 0, 0, 4, 5]]
    )
    np.testing.assert_allclose(
        rnn_step_backward(dh, np.tanh(z), "tanh"), dh / np.cosh(z) ** 2, rtol=1e-14
    )


def test_a_state_of_relu_units_takes_unsigned_levels():
    layer = RNN(3).build((2, 2), np.random.default_rng(0))
    assert layer.output_encoding(None) == LinearQuant(4, reading="unsigned").encoding
    assert layer.activation == "relu"


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("weights", [LogQuant(4), LogQuant(3, stochastic=True)])
def test_powers_of_two_are_weights_too(activation, weights):
    rng = np.random.default_rng(0)
    layer = RNN(4, weights, LogQuant(4), activation).build((3, 2), rng)
    y = layer.forward(rng.normal(size=(2, 3, 2)).astype(np.float32), training=True)
    layer.backward(np.ones_like(y))
    assert all(np.isfinite(p.grad).all() for p in layer.parameters().values())
    assert set(np.abs(y).ravel()) <= {0, 1, 2, 4, 8, 16, 32, 64}


def test_weights_are_of_two_bits_unless_said_otherwise():
    assert RNN(3).weight_quantizer == LinearQuant(2)
