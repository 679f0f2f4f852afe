"""The forms of `qnn_ref.cost`, held against the layers' own lines run on numbers that count."""

from collections import Counter

import numpy as np
import pytest

from qnn_ref.cost.layers import backward_tally, cell_tally, forward_tally
from qnn_ref.cost.operations import FORMATS
from qnn_ref.cost.sites import Site
from qnn_ref.cost.updates import each_number
from qnn_ref.layers import LSTM, RNN, BatchNorm, Parameter, ShiftBatchNorm, normalization
from qnn_ref.layers import shift_normalization as shifted
from qnn_ref.layers.lstm import lstm_step, lstm_step_backward
from qnn_ref.layers.rnn import rnn_step, rnn_step_backward
from qnn_ref.optimizers import SGD, Adam, AdaMax, ShiftAdaMax, adam, adamax, sgd
from tests.counted import mean, nearest_power, numbers

B, C = 10, 3


def site(training=True, number="quantized", shape=(C,), examples=B):
    return Site(shape, shape, examples, FORMATS[number], training)


def names(tally):
    return {operation.name: count for operation, count in tally.items()}


@pytest.fixture
def counts(monkeypatch):
    """A fresh count; the rooms of batch norm take any array, and their means are counted."""
    for module in (normalization, shifted):
        monkeypatch.setattr(module, "channel_mean", mean)
    monkeypatch.setattr(normalization, "channel_mean_reference", mean)
    monkeypatch.setattr(shifted, "ap2", nearest_power)
    for check in ("_check_forward", "_check_backward"):
        monkeypatch.setattr(normalization, check, lambda *arguments: None)
    return Counter()


def averages(counts):
    """Both running averages: momentum of the new, the rest of the old."""
    for seed in (7, 8):
        running, value = numbers(C, counts, seed), numbers(C, counts, seed + 2)
        running *= 0.9
        running += 0.1 * value


def test_batch_norm(counts):
    layer = BatchNorm().build((C,))
    x, gain, shift = (numbers(s, counts, i) for i, s in enumerate(((B, C), C, C)))
    _, normalized, _, r = normalization.normalize_batch_reference(x, gain, shift, 1e-4)
    averages(counts)
    assert names(forward_tally(layer, site())) == counts
    counts.clear()
    dy = numbers((B, C), counts, 5)
    normalization.normalize_batch_backward_reference(dy, normalized, r, gain)
    assert names(backward_tally(layer, site())) == counts
    counts.clear()
    normalization.normalize(x, r, r, gain, shift)
    assert names(forward_tally(layer, site(training=False))) == counts


@pytest.mark.parametrize("gradient", ["slope", "ratio", "torch"])
def test_shift_batch_norm(counts, monkeypatch, gradient):
    layer = ShiftBatchNorm(gradient).build((C,), dtype=np.float64)
    layer.ap2 = nearest_power
    gain = numbers(C, counts, 3)
    monkeypatch.setattr(layer, "check_input", lambda x: None)
    monkeypatch.setattr(layer, "_average", lambda running, value: None)

    class Real:
        latent = gain

    layer.gain = Real()
    layer.shift = type("Shift", (), {"latent": numbers(C, counts, 4)})()
    layer.forward(numbers((B, C), counts), training=True)
    averages(counts)
    assert names(forward_tally(layer, site())) == counts
    counts.clear()
    dy = numbers((B, C), counts, 5)
    monkeypatch.setattr(layer, "saved", lambda dy: layer._kept[0])
    monkeypatch.setattr(shifted, "ratio", lambda rounded, x: rounded / x)
    layer.backward(dy)
    found = names(backward_tally(layer, site()))
    assert found == counts
    assert (gradient == "torch") == (found["multiply"] < B * C)  # only a few for each channel


def test_shift_batch_norm_at_inference(counts):
    layer = ShiftBatchNorm().build((C,))
    x, at = numbers((B, C), counts), numbers(C, counts, 1)
    power = numbers(C, counts, 2, power=True)
    normalization.normalize(x, at, power, power, at)
    assert names(forward_tally(layer, site(training=False))) == counts
    # In a network of floats it is an ordinary batch norm.
    floats = site(training=False, number="float32")
    assert forward_tally(layer, floats) == forward_tally(BatchNorm().build((C,)), floats)
    floats = site(number="float32")
    assert backward_tally(layer, floats) == backward_tally(BatchNorm().build((C,)), floats)


def test_cells():
    counts, units = Counter(), B * C
    z, c = numbers((B, 4 * C), counts), numbers((B, C), counts, 1)
    h, c, kept = lstm_step(z, c)
    layer = LSTM(C).build((1, 2), np.random.default_rng(0))
    assert names(cell_tally(layer, units, site())) == counts
    counts.clear()
    lstm_step_backward(h, c, kept)
    assert counts == {"multiply": 16 * units, "add": 6 * units}
    for activation in ("relu", "tanh"):
        counts.clear()
        layer = RNN(C, activation=activation).build((1, 2), np.random.default_rng(0))
        h = rnn_step(numbers((B, C), counts), activation)
        assert names(cell_tally(layer, units, site())) == counts
    counts.clear()
    rnn_step_backward(numbers((B, C), counts), h, "tanh")
    assert counts == {"multiply": 2 * units, "add": units}


def operands(counts, n=5):
    return [numbers(n, counts, seed) for seed in range(4)]


RULES = {
    "SGD": (SGD(0.1), sgd, "sgd_update_reference", 2),
    "SGD with momentum": (SGD(0.1, 0.9), sgd, "sgd_update_reference", 3),
    "Adam": (Adam(), adam, "adam_update_reference", 4),
    "AdaMax": (AdaMax(), adamax, "adamax_update_reference", 4),
}


@pytest.mark.parametrize("name", RULES)
def test_update_rules(monkeypatch, name):
    """Each rule's NumPy twin, without its clip."""
    optimizer, module, twin, arrays = RULES[name]
    for check in ("_check", "check_update"):
        if hasattr(module, check):
            monkeypatch.setattr(module, check, lambda *arguments: None)
    counts, n = Counter(), 5
    w, g, *moments = operands(counts, n)[:arrays]
    if not moments:
        moments = [np.empty(0, object)]
    size = {"SGD": 3, "Adam": 8, "AdaMax": 5}[name.partition(" ")[0]]
    monkeypatch.setattr(np, "clip", lambda *arguments, out=None: None)
    getattr(module, twin)(w, g, *moments, numbers(size, counts, 9), np.inf)
    comparing = {"AdaMax": 2}.get(name, 0)  # its test for a norm of 0, which a divider has
    parameter = Parameter(np.zeros(n))
    found = {o: n * count for o, count in each_number(optimizer, parameter).items()}
    if comparing:
        assert counts["compare"] == comparing * found["compare"]
        counts["compare"] = found["compare"]
    assert found == +counts


def test_shift_adamax():
    """By hand: m - 2^-3 m + 2^-3 g, v - 2^-10 v, the larger, AP2, m << v, step <<, w - it."""
    plain, scaled = Parameter(np.zeros(1)), Parameter(np.zeros(1), learning_rate_scale=3.0)
    found = each_number(ShiftAdaMax(), plain)
    assert found == {"shift": 5, "add": 4, "compare": 1, "AP2": 1}
    assert each_number(ShiftAdaMax(round_scale=True), scaled) == found
    others = {"shift": 4, "multiply": 1, "add": 4, "compare": 1, "AP2": 1}
    assert each_number(ShiftAdaMax(), scaled) == others
    odd = each_number(ShiftAdaMax(beta1=0.9, beta2=0.999), plain)
    assert odd == {"shift": 2, "multiply": 3, "add": 2, "compare": 1, "AP2": 1}
