"""Questions of the field: the enumeration is exact, and a variant changes what it says."""

from dataclasses import replace
from itertools import pairwise, product

import numpy as np
import pytest

from qnn_ref import datasets
from qnn_ref.experiments import SWEEPS
from qnn_ref.experiments.bits_sweep import SMALL
from qnn_ref.experiments.downhill import (
    DOWNHILL,
    angle,
    exact_gradient,
    examples,
    expected_loss,
    probabilities,
    states,
    straight_through_gradient,
)
from qnn_ref.experiments.questions import (
    FLIPS,
    QUESTIONS,
    Constant,
    Variant,
    Watch,
    binary,
    carry_out,
    reset_magnitudes,
    start,
)
from qnn_ref.experiments.runs import start_run
from qnn_ref.layers import BatchNorm, Dense, Quantize
from qnn_ref.losses import squared_hinge
from qnn_ref.network import Sequential
from qnn_ref.quantizers import StochasticSign, hard_sigmoid

RNG = np.random.default_rng(5)
X, LABELS = RNG.uniform(-1, 1, (6, 4)), np.array([1.0, -1, 1, 1, -1, 1])
DIGITS = replace(
    SMALL,
    dataset="digits",
    hidden=(12, 8),
    epochs=2,
    validation=300,
    batch_size=20,
    initial_rate=0.03,
)


def tiny(*sizes, spread=0.7):
    weights = [RNG.uniform(-spread, spread, pair) for pair in pairwise(sizes)]
    return [*weights, RNG.uniform(-0.5, 0.5, sizes[-1])]


def test_states_and_their_probabilities():
    assert {tuple(row) for row in states(3)} == set(product((-1.0, 1.0), repeat=3))
    shares = probabilities(np.array([[0.0, 2.0], [1.0, -0.5]]), states(2))
    np.testing.assert_allclose(shares.sum(axis=1), 1)
    # (-1, -1), (-1, 1), (1, -1), (1, 1)
    np.testing.assert_allclose(shares, [[0, 0.5, 0, 0.5], [0, 0, 0.75, 0.25]])


def test_the_expected_loss_is_the_mean_over_all_paths():
    first, second, last = tiny(4, 3, 2)
    total = 0.0
    for x, label in zip(X, LABELS, strict=True):
        for h in map(np.array, product((-1.0, 1.0), repeat=3)):
            for g in map(np.array, product((-1.0, 1.0), repeat=2)):
                p = np.where(h > 0, hard_sigmoid(x @ first), 1 - hard_sigmoid(x @ first)).prod()
                sums = h @ second
                p *= np.where(g > 0, hard_sigmoid(sums), 1 - hard_sigmoid(sums)).prod()
                total += p * squared_hinge(np.array([[g @ last]]), np.array([[label]]))[0]
    assert expected_loss([first, second, last], X, LABELS) == pytest.approx(total / len(X))


def test_one_sign_has_a_known_ratio():
    """Exact is the slope of a chord; straight-through is a slope at its ends, weighted."""
    w, v = np.array([[0.3]]), np.array([0.4])
    x, y = np.array([[0.7]]), np.array([1.0])
    mean = float(x[0, 0] * w[0, 0])
    exact = exact_gradient([w, v], x, y)[0][0, 0]
    through = straight_through_gradient([w, v], x, y)[0][0, 0]
    assert exact == pytest.approx(-2 * v[0] * x[0, 0], rel=1e-8)
    assert through == pytest.approx(exact * (1 - v[0] * mean), rel=1e-8)


def test_the_mask_stops_what_is_certain():
    w, v = np.array([[3.0]]), np.array([0.4])
    x, y = np.array([[0.7]]), np.array([1.0])
    assert exact_gradient([w, v], x, y)[0][0, 0] == 0
    assert straight_through_gradient([w, v], x, y)[0][0, 0] == 0
    assert straight_through_gradient([w, v], x, y, saturation=1e9)[0][0, 0] != 0


@pytest.mark.slow_without_jit
def test_the_mean_of_drawn_gradients_is_the_enumerated_one():
    """The package's own layers, drawing: what training really uses."""
    first, second, last = tiny(4, 3, 2, spread=1.3)
    draws = 40_000
    dense, drawn = [Dense(n, None) for n in (3, 2, 1)], [Quantize(StochasticSign()) for _ in "12"]
    layers = [dense[0], drawn[0], dense[1], drawn[1], dense[2]]
    network = Sequential(layers, (4,), np.random.default_rng(1), np.float64)
    for layer, weight in zip(dense, (first, second, last[:, None]), strict=True):
        layer.weight.assign(weight)
    scores = network.forward(np.repeat(X, draws, axis=0), training=True)
    _, slope = squared_hinge(scores, np.repeat(LABELS, draws)[:, None])
    network.backward(slope)
    expected = straight_through_gradient([first, second, last], X, LABELS)
    for layer, gradient in zip(dense, expected, strict=True):
        found = layer.weight.grad.reshape(gradient.shape)
        np.testing.assert_allclose(found, gradient, atol=0.02)
        assert angle([found], [gradient]) < 2


def test_angles():
    a = [np.array([1.0, 0.0]), np.array([[0.0]])]
    assert angle(a, a) == 0
    assert angle(a, [-part for part in a]) == 180
    assert angle(a, [np.array([0.0, 1.0]), np.array([[0.0]])]) == 90
    assert angle(a, [np.zeros(2), np.zeros((1, 1))]) == 90


def test_examples_are_quarters_of_digits():
    digits = datasets.load("digits")
    x, labels = examples(digits)
    assert x[0, 0] == pytest.approx(digits.train_images[0, :4, :4].mean() / 127.5 - 1)
    assert x[3, 3] == pytest.approx(digits.train_images[3, 4:, 4:].mean() / 127.5 - 1)
    np.testing.assert_array_equal(labels, np.where(digits.train_labels[:100] % 2, 1, -1))


def test_a_reset_keeps_signs_and_nothing_else():
    network = start(Variant(DIGITS), datasets.load("digits")).network
    before = [p.latent >= 0 for p in binary(network)]
    reset_magnitudes(network, 0.25)
    for parameter, signs in zip(binary(network), before, strict=True):
        np.testing.assert_array_equal(parameter.latent, np.where(signs, 0.25, -0.25))


def test_flips_are_counted_between_epochs_and_resets_come_when_they_should():
    digits = datasets.load("digits")
    for reset, done in (("never", set()), ("once", {2}), ("each epoch", {1, 2, 3})):
        run = start(Variant(DIGITS), digits)
        watch = Watch(Variant(DIGITS, reset, 0.5), run.network)
        for epoch in (1, 2, 3):
            first = binary(run.network)[0]
            latent = np.full(first.shape, 0.1, np.float32)
            latent[0, :3] = -0.2 if epoch == 2 else 0.1
            first.assign(latent)
            run.history.append({})
            watch(run)
            assert (np.abs(first.latent) == 0.5).all() == (epoch in done)
        assert watch.flips[1][0] == watch.flips[2][0] == pytest.approx(100 * 3 / first.size)
        assert watch.flips[1][1:] == [0, 0]


def test_a_constant_stands_in_for_batch_norm():
    digits = datasets.load("digits")
    kinds = [type(la) for la in start(Variant(DIGITS), digits).network.layers]
    hidden = start(Variant(DIGITS, norm="constant, hidden"), digits).network
    everywhere = start(Variant(DIGITS, norm="constant, all"), digits).network
    assert [type(la) for la in everywhere.layers] == [
        Constant if kind is BatchNorm else kind for kind in kinds
    ]
    assert isinstance(hidden.layers[-1], BatchNorm)
    factors = [la.factor for la in everywhere.layers if isinstance(la, Constant)]
    np.testing.assert_allclose(factors, [1 / 8, 12**-0.5, 8**-0.5])
    ours = start_run(DIGITS, (8, 8, 1), 10).network
    for a, b in zip(binary(ours), binary(everywhere), strict=True):
        np.testing.assert_array_equal(a.latent, b.latent)
    x = np.ones((2, 3), np.float32)
    np.testing.assert_array_equal(Constant(4).backward(x), Constant(4).forward(x))


@pytest.mark.slow_without_jit
def test_a_variant_trains_and_is_measured():
    digits = datasets.load("digits")
    plain, free = (carry_out(Variant(DIGITS, clip=clip), digits) for clip in (True, False))
    assert list(plain) == ["validation_error", "test_error", *FLIPS]
    assert plain != free
    assert plain == carry_out(Variant(DIGITS), digits)
    assert plain != carry_out(Variant(DIGITS, mask=False), digits)


def test_every_question_is_a_sweep_of_three_seeds():
    for sweep in (DOWNHILL, *QUESTIONS):
        assert SWEEPS[sweep.name] is sweep
        assert f"{3 * len(sweep.cases)} runs" in sweep.about
        keys = [tuple(labels.values()) for labels, _ in sweep.cases]
        assert len(set(keys)) == len(keys)
