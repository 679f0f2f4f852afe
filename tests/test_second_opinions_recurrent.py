"""PyTorch's RNN, LSTM and Embedding beside ours, in float64, without quantizers and with them.

Skipped with a message where PyTorch is not installed; written against 2.13.0. Its gates stand in
our order, input, forget, candidate (g), output, as blocks of *rows* of the transposed weights; its
two biases are added, so the second is 0 here and has the gradient of the first.

Its layers have no quantized state. With one, a loop over its cell's formulas says what autograd
makes of the straight-through estimator.
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qnn_ref.layers import LSTM, RNN, Embedding
from qnn_ref.optimizers import clip_by_norm
from qnn_ref.parameter import Parameter
from qnn_ref.quantizers import LinearQuant, Sign

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

SIZES = st.integers(1, 5)
SEEDS = st.integers(0, 2**32)


def leaf(array):
    return torch.tensor(np.array(array), requires_grad=True)


def close(ours, theirs):
    theirs = theirs.detach().numpy()
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-13 * max(1, np.abs(theirs).max()))


def ours(kind, units, features, seed, *options):
    rng = np.random.default_rng(seed)
    layer = kind(units, *options).build((-1, features), rng, dtype=np.float64)
    layer.bias.assign(rng.normal(size=layer.bias.shape))
    return layer, rng


def arrays_of(state):
    return state if isinstance(state, tuple) else (state,)


@pytest.mark.parametrize("name", ["lstm", "relu", "tanh"])
@given(SIZES, st.integers(1, 7), SIZES, SIZES, SEEDS)
def test_layers_without_quantizers(name, batch, time, features, units, seed):
    if name == "lstm":
        layer, rng = ours(LSTM, units, features, seed, None, None)
        theirs = torch.nn.LSTM(features, units, batch_first=True, dtype=torch.float64)
    else:
        layer, rng = ours(RNN, units, features, seed, None, None, name)
        theirs = torch.nn.RNN(
            features, units, nonlinearity=name, batch_first=True, dtype=torch.float64
        )
    with torch.no_grad():
        theirs.weight_ih_l0.copy_(torch.tensor(layer.input_weight.latent.T.copy()))
        theirs.weight_hh_l0.copy_(torch.tensor(layer.recurrent_weight.latent.T.copy()))
        theirs.bias_ih_l0.copy_(torch.tensor(layer.bias.latent.copy()))
        theirs.bias_hh_l0.zero_()
    x = rng.normal(size=(batch, time, features))
    state = tuple(rng.normal(size=(batch, units)) for _ in layer.names)
    y = layer.forward(x, True, state)
    dy, dstate = rng.normal(size=y.shape), tuple(rng.normal(size=a.shape) for a in state)
    dx = layer.backward(dy, dstate)

    x_t, state_t = leaf(x), [leaf(array[None]) for array in state]
    out, last = theirs(x_t, tuple(state_t) if name == "lstm" else state_t[0])
    close(y, out)
    cost = (out * torch.tensor(dy)).sum()
    for array, end, gradient in zip(
        arrays_of(layer.final_state), arrays_of(last), dstate, strict=True
    ):
        close(array, end[0])
        cost = cost + (end[0] * torch.tensor(gradient)).sum()
    cost.backward()
    close(dx, x_t.grad)
    for gradient, their in zip(arrays_of(layer.state_gradient), state_t, strict=True):
        close(gradient, their.grad[0])
    close(layer.input_weight.grad, theirs.weight_ih_l0.grad.T)
    close(layer.recurrent_weight.grad, theirs.weight_hh_l0.grad.T)
    close(layer.bias.grad, theirs.bias_ih_l0.grad)
    close(layer.bias.grad, theirs.bias_hh_l0.grad)


def straight_through(h, quantizer):
    """The quantized value, with the slope of the surrogate (written with a mask)."""
    value = torch.tensor(quantizer.quantize(h.detach().numpy()))
    inside = (h.detach().abs() <= 1).double()
    return value + inside * (h - h.detach())


@pytest.mark.parametrize("quantizer", [Sign(), LinearQuant(2)], ids=str)
@given(SIZES, st.integers(1, 7), SIZES, SIZES, SEEDS)
def test_an_lstm_with_quantized_weights_and_states(quantizer, batch, time, features, units, seed):
    layer, rng = ours(LSTM, units, features, seed, LinearQuant(2, high=0.5), quantizer)
    x, dy = rng.normal(size=(batch, time, features)), rng.normal(size=(batch, time, units))
    state = tuple(rng.normal(size=(batch, units)) for _ in "hc")
    layer.forward(x, True, state)
    dx = layer.backward(dy * quantizer.encoding.scale)
    W, R = leaf(layer.input_weight.quantized), leaf(layer.recurrent_weight.quantized)
    b, x_t, h0, c0 = leaf(layer.bias.latent), leaf(x), leaf(state[0]), leaf(state[1])
    h, c, cost = h0, c0, 0.0
    seen = straight_through(h, quantizer)
    for t in range(time):
        i, f, g, o = torch.chunk(x_t[:, t] @ W + b + seen @ R, 4, dim=1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(c)
        seen = straight_through(h, quantizer)
        cost = cost + (seen * torch.tensor(dy[:, t])).sum()
    cost.backward()
    close(dx, x_t.grad)
    close(layer.state_gradient[0], h0.grad)
    close(layer.state_gradient[1], c0.grad)
    for parameter, their in zip(layer.parameters().values(), (W, R, b), strict=True):
        close(parameter.grad, their.grad)


@given(SIZES, SIZES, SEEDS)
def test_embedding(vocabulary, units, seed):
    rng = np.random.default_rng(seed)
    layer = Embedding(vocabulary, units, None).build((-1,), rng, dtype=np.float64)
    x, dy = rng.integers(0, vocabulary, (3, 4)), rng.normal(size=(3, 4, units))
    table = leaf(layer.weight.latent)
    out = torch.nn.functional.embedding(torch.tensor(x), table)
    out.backward(torch.tensor(dy))
    close(layer.forward(x, True), out)
    layer.backward(dy)
    close(layer.weight.grad, table.grad)


@given(st.floats(0.1, 10), SEEDS)
def test_gradients_clipped_by_norm(limit, seed):
    """PyTorch adds 1e-6 to the length, and scales at exactly the limit too."""
    rng = np.random.default_rng(seed)
    found = {name: Parameter(np.zeros((3, 2))) for name in "ab"}
    leaves = [leaf(np.zeros((3, 2))) for _ in found]
    for parameter, their in zip(found.values(), leaves, strict=True):
        parameter.grad = rng.normal(size=(3, 2))
        their.grad = torch.tensor(parameter.grad.copy())
    norm = torch.nn.utils.clip_grad_norm_(leaves, limit)
    assert clip_by_norm(found, limit) == pytest.approx(float(norm), rel=1e-12)
    for parameter, their in zip(found.values(), leaves, strict=True):
        np.testing.assert_allclose(parameter.grad, their.grad.numpy(), rtol=1e-5)
