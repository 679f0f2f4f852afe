"""LSTM: against loops over single numbers, and gate by gate; what layers of states share is in
`test_recurrent.py`."""

import math
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qnn_ref.layers import LSTM
from qnn_ref.layers.lstm import GATES, lstm_step, lstm_step_backward, sigmoid
from qnn_ref.quantizers import LinearQuant, Sign
from tests.numeric import central_differences, worst_error
from tests.oracles import recurrent as oracle

SIZES = st.integers(1, 4)
SEEDS = st.integers(0, 2**32)
LETTERS = {"input": "i", "forget": "f", "candidate": "g", "output": "o"}
STATES = {  # quantizer of the state, and the oracle's two functions
    "real": (None, oracle.real, oracle.always),
    "signs": (Sign(), oracle.sign, oracle.inside),
    "two bits": (LinearQuant(2), oracle.two_bits, oracle.inside),
}
WEIGHTS = st.sampled_from([None, Sign(), LinearQuant(2, high=0.5), LinearQuant(3, reading="L1")])


def made(units, features, seed, weights=None, state=None, encoding=None):
    """A layer in float64 with a bias that is not that of the start, and a generator."""
    rng = np.random.default_rng(seed)
    layer = LSTM(units, weights, state).build((-1, features), rng, encoding, np.float64)
    layer.bias.assign(rng.normal(size=4 * units))
    return layer, rng


def by_gate(layer, array):
    """The columns of each gate, by the oracle's letters."""
    return {LETTERS[gate]: array[..., layer.block(gate)] for gate in GATES}


def codes_and_unit(layer, codes):
    """Values of what the layer emits."""
    return codes * (1 if layer.quantizer is None else layer.quantizer.encoding.scale)


@given(SIZES, st.integers(1, 7), SIZES, SIZES, WEIGHTS, st.sampled_from(list(STATES)), SEEDS)
def test_forward_and_backward_are_those_of_loops_over_numbers(
    batch, time, features, units, weights, kind, seed
):
    quantizer, quantize, passes = STATES[kind]
    layer, rng = made(units, features, seed, weights, quantizer)
    x = rng.normal(size=(batch, time, features))
    dy = rng.normal(size=(batch, time, units))
    h0, c0, dh, dc = rng.normal(size=(4, batch, units))
    y = layer.forward(x, True, (h0, c0))
    unit = 1 if quantizer is None else quantizer.encoding.scale
    # Gradients of codes: the oracle's are those of values.
    dx = layer.backward(dy, (dh, dc))
    W, R = (
        by_gate(layer, layer.input_weight.quantized),
        by_gate(layer, layer.recurrent_weight.quantized),
    )
    b = by_gate(layer, layer.bias.latent)
    totals = {letter + gate: 0.0 for letter in "WRb" for gate in "ifgo"}
    for n in range(batch):
        steps = oracle.lstm(x[n], h0[n], c0[n], W, R, b, quantize)
        found = oracle.lstm_backward(steps, dy[n] / unit, dh[n], dc[n], W, R, passes)
        np.testing.assert_allclose(y[n] * unit, [s["y"] for s in steps], rtol=0, atol=1e-12)
        for ours, theirs in zip(layer.final_state, (steps[-1]["h"], steps[-1]["c"]), strict=True):
            np.testing.assert_allclose(ours[n], theirs, rtol=0, atol=1e-12)
        close(dx[n], found["x"])
        close(layer.state_gradient[0][n], found["h0"])
        close(layer.state_gradient[1][n], found["c0"])
        for name in totals:
            totals[name] = totals[name] + np.array(found[name])
    for letter, parameter in zip("WRb", layer.parameters().values(), strict=True):
        for gate, part in by_gate(layer, parameter.grad).items():
            close(part, totals[letter + gate])


def close(ours, theirs):
    theirs = np.array(theirs)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-12 * max(1, np.abs(theirs).max()))


def test_the_input_may_be_codes_of_a_unit():
    encoding = LinearQuant(2).encoding
    layer, rng = made(3, 5, 1, LinearQuant(2, high=0.25), LinearQuant(2), encoding)
    plain, _ = made(3, 5, 1, LinearQuant(2, high=0.25), LinearQuant(2))
    codes, dy = 2.0 * rng.integers(0, 4, (2, 3, 5)) - 3, rng.normal(size=(2, 3, 3))
    y, dcodes = layer.forward(codes, True), layer.backward(dy)
    np.testing.assert_allclose(plain.forward(codes / 3, True), y, atol=1e-14)
    np.testing.assert_allclose(plain.backward(dy), dcodes * 3, atol=1e-14)
    for name, parameter in layer.parameters().items():
        np.testing.assert_allclose(plain.parameters()[name].grad, parameter.grad, atol=1e-14)


# The cell, gate by gate


@pytest.mark.parametrize("gate", GATES)
def test_each_gate_has_its_own_sums_and_no_other(gate):
    """Weights 0, and a bias for one gate only: what comes of it is known."""
    layer = LSTM(1, None, None, 0.0).build((1, 1), np.random.default_rng(0), dtype=np.float64)
    for weight in (layer.input_weight, layer.recurrent_weight):
        weight.assign(np.zeros(weight.shape))
    bias = np.zeros(4)
    bias[layer.block(gate)] = 2.0
    layer.bias.assign(bias)
    i, f, g, o = 0.5, 0.5, 0.0, 0.5
    turned = 1 / (1 + math.exp(-2))
    if gate == "input":
        i = turned
    elif gate == "forget":
        f = turned
    elif gate == "candidate":
        g = math.tanh(2)
    else:
        o = turned
    x, one = np.zeros((1, 1, 1)), np.ones((1, 1))
    y = layer.forward(x, state=(np.zeros((1, 1)), one))
    c = f * 1 + i * g
    np.testing.assert_allclose(layer.final_state[1], [[c]], rtol=1e-15)
    np.testing.assert_allclose(y, [[[o * math.tanh(c)]]], rtol=1e-15)


def test_a_cell_that_forgets_little():
    z = np.array([[0.0, 5.0, 0.0, 0.0]])
    h, c, _ = lstm_step(z, np.ones((1, 1)))
    assert c[0, 0] == pytest.approx(0.9933071, abs=1e-7)
    assert h[0, 0] == pytest.approx(0.3793845, abs=1e-7)


def test_the_gates_stand_in_the_order_that_is_said():
    layer = LSTM(3).build((2, 5), np.random.default_rng(0))
    assert GATES == ("input", "forget", "candidate", "output")
    assert [layer.block(gate) for gate in GATES] == [
        slice(0, 3),
        slice(3, 6),
        slice(6, 9),
        slice(9, 12),
    ]
    with pytest.raises(ValueError, match=r"^gate: expected 'input', 'forget'"):
        layer.block("cell")


def test_forget_gates_begin_open_and_the_others_at_zero():
    layer = LSTM(3, forget_bias=1.5).build((2, 5), np.random.default_rng(0))
    np.testing.assert_array_equal(layer.bias.latent, np.repeat([0, 1.5, 0, 0], 3))
    assert LSTM(3).build((2, 5), np.random.default_rng(0)).bias.latent[4] == 1


@given(SEEDS)
def test_the_step_back_is_the_slope_of_the_step(seed):
    rng = np.random.default_rng(seed)
    z, c, dh, dc = rng.normal(size=(2, 12)), *rng.normal(size=(3, 2, 3))
    dz, before = lstm_step_backward(dh, dc, lstm_step(z, c)[2])

    def value(z, c):
        h, after, _ = lstm_step(z, c)
        return np.sum(h * dh) + np.sum(after * dc)

    assert worst_error(dz, central_differences(lambda moved: value(moved, c), z)) < 1e-8
    assert worst_error(before, central_differences(lambda moved: value(z, moved), c)) < 1e-8


def test_sums_far_out_give_no_warning_and_no_nan():
    z = np.array([-1e30, -800, -90, 0, 90, 800, 1e30], np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        y = sigmoid(z)
        h, c, _ = lstm_step(np.tile(z, (1, 4)), np.ones((1, 7), np.float32))
    np.testing.assert_array_equal(y, [0, 0, 0, 0.5, 1, 1, 1])
    assert y.dtype == h.dtype == c.dtype == np.float32
    assert np.isfinite(h).all()
    assert np.isfinite(c).all()
    np.testing.assert_allclose(
        sigmoid(z[2:5].astype(float)), 1 / (1 + np.exp([90.0, 0, -90])), atol=1e-15
    )


def test_weights_are_of_four_bits_unless_said_otherwise():
    assert LSTM(3).weight_quantizer == LinearQuant(4)
