"""The gradient checker: known slopes, kinks, what it leaves alone, and what it refuses."""

import copy
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from qnn_ref import Sequential, plots
from qnn_ref.checking import GradientError, check_gradients, remainders
from qnn_ref.checking import strategies as qst
from qnn_ref.checking.points import Model
from qnn_ref.layers import (
    BatchNorm,
    Dense,
    Dropout,
    Flatten,
    HardTanh,
    Pixels,
    Quantize,
    ShiftBatchNorm,
)
from qnn_ref.layers.base import Layer
from qnn_ref.losses import softmax_cross_entropy, squared_hinge
from qnn_ref.parameter import Parameter
from qnn_ref.quantizers import Quantizer, Sign, StochasticSign
from tests.broken_layers import MISTAKES, ForgottenGain, TwoBits, softmax_in_place

MODES = ["probe", "full"]
both_modes = pytest.mark.parametrize("mode", MODES)


def check(subject, x, seed=0, **options):
    return check_gradients(subject, x, rng=np.random.default_rng(seed), **options)


class Function(Layer):
    """y = f(x), element by element, with a claimed derivative."""

    def __init__(self, function, derivative):
        self.function, self.derivative = function, derivative

    def forward(self, x, training=False):
        self.check_input(x)
        if training:
            self._saved = x
        return self.function(x)

    def backward(self, dy):
        return dy * self.derivative(self.saved())


# Known slopes ------------------------------------------------------------------------------------


@both_modes
@pytest.mark.parametrize(
    ("function", "right", "wrong"),
    [
        (lambda x: 3 * x, lambda x: 3.0, lambda x: 4.5),
        (lambda x: x * x, lambda x: 2 * x, lambda x: x),
        (np.exp, np.exp, lambda x: -np.exp(x)),
        (np.sin, np.cos, lambda x: np.cos(x) + 1e-4),
        (lambda x: 0 * x, lambda x: 0 * x, lambda x: 1e-6),
    ],
)
def test_known_slopes(function, right, wrong, mode):
    x = np.random.default_rng(1).normal(size=(3, 4))
    report = check(Function(function, right).build((4,)), x, mode=mode)
    assert report.passed
    assert report
    assert report.worst_relative_error < 1e-8
    report.raise_if_failed()
    report = check(Function(function, wrong).build((4,)), x, mode=mode)
    assert not report.passed
    assert not report
    with pytest.raises(GradientError, match=r"1 of 1 gradients are wrong:\n  Function\.input"):
        report.raise_if_failed()


def test_the_numbers_of_an_entry():
    layer = Function(lambda x: 3 * x, lambda x: 4.5).build((1,))
    (entry,) = check(layer, np.ones((1, 1)), mode="full").entries
    assert entry.analytic == pytest.approx(1.5 * entry.numeric)
    assert entry.absolute_error == pytest.approx(abs(entry.analytic) / 3)
    assert entry.relative_error == pytest.approx(1 / 3)
    assert entry.index == (0, 0)
    (entry,) = check(layer, np.ones((1, 1))).entries
    assert entry.relative_error == pytest.approx(1 / 3)
    assert entry.index is None


@pytest.mark.parametrize(("mistake", "found"), [(1e-5, True), (1e-7, False)])
def test_the_tolerance_is_relative_to_the_gradient(mistake, found):
    for size in (1e-3, 1.0, 1e3):
        layer = Function(lambda x: size * x, lambda x: size * (1 + mistake))  # noqa: B023
        report = check(layer.build((1,)), np.ones((1, 1)), mode="full")
        assert report.passed is not found
        assert report.worst_relative_error < 1.01 * mistake
        assert report.worst_relative_error > 0.9 * mistake or report.passed


def test_the_floor_is_for_gradients_that_are_zero():
    layer = Function(lambda x: 0 * x, lambda x: 1e-12).build((2,))
    report = check(layer, np.ones((3, 2)), mode="full")
    assert report.passed
    assert report.worst_relative_error == 0
    assert "gradient of 1e-12, below the floor: nothing but that was checked" in str(report)
    zero = Function(lambda x: 0 * x, lambda x: 0.0).build((2,))
    assert "the gradient is 0: nothing but" in str(check(zero, np.ones((3, 2)), mode="full"))
    assert not check(layer, np.ones((3, 2)), mode="full", floor=1e-14)
    tiny = Function(lambda x: 1e-8 * x, lambda x: 2e-8).build((2,))  # small, but not zero
    assert not check(tiny, np.ones((3, 2)), mode="full")


def test_a_probe_costs_four_passes_a_direction():
    calls = []

    def count(x):
        calls.append(1)
        return x * x

    layer = Function(count, lambda x: 2 * x).build((100,))
    check(layer, np.ones((50, 100)), directions=5)
    assert len(calls) == 2 + 4 * 5  # the decoy, the point, and the directions


def test_a_probe_reports_the_worst_of_its_directions():
    layer = Function(np.sin, lambda x: np.cos(x) + 0.1).build((5,))
    x = np.random.default_rng(0).normal(size=(3, 5))
    errors = [check(layer, x, directions=n).worst_relative_error for n in (1, 2, 4, 8, 16)]
    assert errors == sorted(errors)
    assert errors[-1] > 1.5 * errors[0]


# What a probe sees -------------------------------------------------------------------------------


class OneElement(Dense):
    """A dense layer whose weight gradient is wrong in one element."""

    def __init__(self, units, change):
        super().__init__(units)
        self.change = change

    def backward(self, dy):
        dx = super().backward(dy)
        gradient = self.weight.grad.copy()
        gradient[3, 5] = self.change(gradient)
        self.weight.grad = gradient
        return dx


def wrong_element(change, units, seed, **options):
    """The entry of the weight."""
    rng = np.random.default_rng(seed)
    layer = OneElement(units, change).build((units,), rng, dtype=np.float64)
    report = check(layer, rng.normal(size=(3, units)), seed, **options)
    return next(e for e in report.entries if e.tensor == "weight")


@pytest.mark.parametrize("units", [30, 500])
def test_one_forgotten_element_is_seen_whatever_the_size(units):
    assert not wrong_element(lambda gradient: 0.0, units, seed=units).passed


@pytest.mark.parametrize("directions", [1, 3])
def test_errors_of_the_length_that_an_entry_states_are_missed_once_in_a_hundred(directions):
    def passes(factor):
        """How many of 60 checks do not see an error of so many times the stated length."""
        share = factor * wrong_element(lambda g: 0.0, 8, 0, directions=directions).unseen
        entries = [
            wrong_element(
                lambda g: g[3, 5] + share * np.linalg.norm(g), 8, s, directions=directions
            )
            for s in range(60)
        ]
        return sum(entry.passed for entry in entries)

    assert passes(1) <= 3
    assert passes(0.05) >= 12


def test_a_gradient_of_zero_has_no_length_to_state():
    layer = Function(lambda x: 0 * x, lambda x: 0 * x).build((2,))
    (entry,) = check(layer, np.ones((3, 2))).entries
    assert entry.unseen == np.inf
    (entry,) = check(layer, np.ones((3, 2)), mode="full").entries
    assert entry.unseen is None


# Correct layers pass, whatever the values --------------------------------------------------------

VALUES = qst.arrays(qst.shapes((2, 4), 3), np.float64)


@given(qst.dense_layers(), st.sampled_from(MODES))
def test_dense_passes(pair, mode):
    layer, x = pair
    report = check(layer, x, mode=mode)
    report.raise_if_failed()
    assert len(report.entries) == 2 + (layer.bias is not None)
    assert report.kinks == ()  # weights at exactly +-1 are no kinks


@given(VALUES, st.floats(0.1, 3), st.sampled_from(MODES))
@example(np.ones((1, 1)), 1.0, "full")
@example(np.zeros((4, 2)), 1.0, "full")
@settings(max_examples=50)
def test_batch_norm_passes(x, epsilon, mode):
    check(BatchNorm(epsilon).build(x.shape[1:]), x, mode=mode).raise_if_failed()


@given(VALUES, st.sampled_from(["slope", "ratio"]), st.sampled_from(MODES))
@settings(max_examples=25)
def test_shift_batch_norm_passes(x, gradient, mode):
    layer = ShiftBatchNorm(gradient, epsilon=0.5).build(x.shape[1:])
    check(layer, x, mode=mode).raise_if_failed()


def test_an_estimator_is_refused():
    with pytest.raises(TypeError, match=r"ShiftBatchNorm\.ap2: has no surrogate"):
        check(ShiftBatchNorm("torch").build((3,)), np.ones((4, 3)))


@given(
    VALUES,
    st.sampled_from([Sign(), Sign(2.0), StochasticSign(), StochasticSign(0.5), TwoBits()]),
    st.sampled_from(MODES),
)
def test_quantizers_pass_and_their_bounds_are_counted(x, quantizer, mode):
    layer = Quantize(quantizer).build(x.shape[1:], np.random.default_rng(0))
    report = check(layer, x, mode=mode)
    report.raise_if_failed()
    bound = getattr(quantizer, "saturation", 1.0)
    on_bound = [tuple(map(int, index)) for index in np.argwhere(np.abs(x) == bound)]
    assert [kink.index for kink in report.kinks] == on_bound
    assert report.entries[0].kinks >= len(on_bound)
    if mode == "full":
        assert set(on_bound) <= set(report.entries[0].kink_indices)


@given(VALUES, st.sampled_from([1.0, 2.0]), st.sampled_from(MODES))
def test_hard_tanh_passes(x, saturation, mode):
    report = check(HardTanh(saturation).build(x.shape[1:]), x, mode=mode)
    report.raise_if_failed()
    assert len(report.kinks) == np.count_nonzero(np.abs(x) == saturation)


@given(VALUES, st.sampled_from([0.0, 0.2, 0.9]), st.sampled_from(MODES), qst.seeds())
@settings(max_examples=30)
def test_dropout_and_flatten_pass(x, rate, mode, seed):
    rng = np.random.default_rng(seed)
    check(Dropout(rate).build(x.shape[1:], rng), x, mode=mode).raise_if_failed()
    check(Flatten().build(x.shape[1:]), x, mode=mode).raise_if_failed()


@given(st.data(), st.sampled_from(MODES))
def test_losses_pass(data, mode):
    shape = data.draw(qst.shapes(2, 5))
    scores, labels = data.draw(qst.arrays(shape, np.float64)), data.draw(qst.labels(*shape))
    check(squared_hinge, scores, labels=labels, mode=mode).raise_if_failed()
    check(squared_hinge, scores, labels=data.draw(qst.signs(shape)), mode=mode).raise_if_failed()
    check(softmax_cross_entropy, scores, labels=labels, mode=mode).raise_if_failed()


@given(
    st.lists(
        st.sampled_from(["batch norm", "shift", "sign", "noise", "tanh", "dropout"]), max_size=4
    ),
    st.sampled_from([squared_hinge, softmax_cross_entropy, None]),
    st.booleans(),
    qst.seeds(),
)
@settings(max_examples=60)
def test_random_networks_pass(names, loss, pixels, seed):
    rng = np.random.default_rng(seed)
    make = {
        "batch norm": lambda: BatchNorm(epsilon=0.1),
        "shift": lambda: ShiftBatchNorm(epsilon=0.5),
        "sign": Quantize,
        "noise": lambda: Quantize(StochasticSign()),
        "tanh": HardTanh,
        "dropout": lambda: Dropout(0.3),
    }
    layers: list[Layer] = [Pixels()] if pixels else []
    for width, name in enumerate(names):
        layers += [Dense(5 + width % 3), make[name]()]
    network = Sequential([*layers, Dense(3, None, bias=True)], (4,), rng)
    x = rng.integers(0, 256, (9, 4), dtype=np.uint8) if pixels else rng.normal(size=(9, 4))
    labels = None if loss is None else rng.integers(0, 3, 9)
    report = check(network, x, seed, loss=loss, labels=labels)
    report.raise_if_failed()
    expected = len(network.parameters()) + (not pixels)
    assert len(report.entries) == expected


def test_what_no_step_resolves_is_said():
    layer = Function(lambda x: x + 1e-8 * np.sin(1e12 * x), np.ones_like).build((1,))
    (entry,) = check(layer, np.full((1, 1), 0.3), mode="full").entries
    assert not entry.passed
    assert "not resolved: the differences themselves scatter" in entry.note
    (entry,) = check(Function(np.sin, np.sin).build((1,)), np.ones((1, 1)), mode="full").entries
    assert not entry.passed
    assert entry.note == ""


# Kinks: reported, never hidden, never called wrong -----------------------------------------------


@both_modes
def test_the_bound_of_a_surrogate_is_judged_and_reported(mode):
    x = np.array([[1.0, -1.0]])
    for layer in (HardTanh(), Quantize(), Quantize(StochasticSign())):
        report = check(layer.build((2,), np.random.default_rng(0)), x, mode=mode)
        assert report.passed
        assert [(kink.index, kink.value) for kink in report.kinks] == [((0, 0), 1), ((0, 1), -1)]
        (entry,) = report.entries
        assert entry.kinks == 2
        assert entry.kink_indices == (((0, 0), (0, 1)) if mode == "full" else ())
        assert "2 at a bound within the step" in str(report)


@both_modes
@pytest.mark.parametrize("at_zero", [0.0, 1.0, 0.5])
def test_another_kink_moves_the_point(mode, at_zero):
    def slope(x):
        return np.where(x == 0, at_zero, x > 0)

    layer = Function(lambda x: np.maximum(x, 0), slope).build((3,))
    x = np.array([[0.0, 1.0, -2.0], [0.5, 0.0, 0.0]])
    (entry,) = check(layer, x, mode=mode).entries
    assert entry.passed
    assert entry.kinks >= 1
    assert "moved by 0.001" in entry.note
    if mode == "full":
        assert entry.kink_indices == ((0, 0), (1, 1), (1, 2))
    wrong = Function(lambda x: np.maximum(x, 0), lambda x: slope(x) + 0.01).build((3,))
    assert not check(wrong, x, mode=mode).passed
    inverted = Function(lambda x: np.maximum(x, 0), lambda x: 1.0 - slope(x)).build((3,))
    assert not check(inverted, np.zeros((2, 3)), mode=mode).passed  # not hidden by the move


@both_modes
def test_a_mean_of_both_slopes_is_still_a_kink(mode):
    layer = Function(np.abs, np.sign).build((1,))  # central differences of |x| at 0 say 0 as well
    (entry,) = check(layer, np.zeros((1, 1)), mode=mode).entries
    assert entry.passed
    assert entry.kinks
    assert "kink" in entry.note


@both_modes
def test_the_hinge_is_smooth_at_its_margin(mode):
    signs = np.array([[1, -1, 1], [-1, -1, 1]])
    report = check(squared_hinge, signs.astype(float), labels=signs, mode=mode)  # all at t y = 1
    assert report.passed
    assert report.entries[0].kinks == 0
    report = check(squared_hinge, np.array([[1.0, 0.3, -1.0]]), labels=np.array([[1, 1, -1]]))
    assert report.passed
    assert report.entries[0].note == ""


@pytest.mark.parametrize("mode", ["probe", "full", "order"])
def test_a_kink_that_follows_the_point_is_an_error(mode):
    report = check(Follower().build((1,)), np.ones((1, 1)), mode=mode)
    assert not report.passed
    first, _, move, *_ = str(report).splitlines()
    assert first == (
        "Follower.input: forward has a kink within the step at input[0, 0] = 1: "
        "move input, or declare it"
    )
    assert "move: values that are not so close" in move
    with pytest.raises(GradientError, match="1 of 1 gradients could not be judged"):
        report.raise_if_failed()


class Follower(Layer):
    """|x - x0|, with x0 what the method `anchor` saw first at this point."""

    jumps: ClassVar[dict[str, str]] = {"anchor": "choice"}

    def anchor(self, x):
        return x

    def forward(self, x, training=False):
        return np.abs(x - self.anchor(x))

    def backward(self, dy):
        return 0 * dy


class Folded(Layer):
    """y = x + |b|: a kink of a parameter."""

    def build(self, input_shape, rng=None, encoding=None, dtype=np.float32):
        super().build(input_shape, rng, encoding, dtype)
        self.b = Parameter(np.array([0.5, 0.0, -0.5, 0.0], dtype))
        return self

    def parameters(self):
        return {"b": self.b}

    def forward(self, x, training=False):
        return x + np.abs(self.b.latent)

    def backward(self, dy):
        self.b.grad = dy.sum(axis=0) * np.sign(self.b.latent)
        return dy


@both_modes
def test_a_parameter_on_a_kink_is_moved_on_a_copy(mode):
    layer = Folded().build((4,))
    model = Model.copied(layer, np.ones((3, 4)), None, None)
    tensor = list(model.values())[1]
    moved = model.moved(tensor, np.full(4, 0.25))
    np.testing.assert_array_equal(model.values()[tensor], [0.5, 0, -0.5, 0])
    np.testing.assert_array_equal(moved.values()[tensor], [0.75, 0.25, -0.25, 0.25])
    report = check(layer, np.ones((3, 4)), mode=mode)
    assert report.passed
    first, second = report.entries
    assert (first.kinks, first.note) == (0, "")
    assert second.kinks >= 1
    assert "moved by 0.001" in second.note
    np.testing.assert_array_equal(layer.b.latent, [0.5, 0, -0.5, 0])


# Layers to come work without a change ------------------------------------------------------------


class Recurrent(Layer):
    """h_t = q(x_t W + h_(t-1)): one quantizer, called once a time step. Correct."""

    jumps: ClassVar[dict[str, str]] = {"quantizer": "quantizer", "gate": "quantizer"}
    forget_steps = 0

    def __init__(self, quantizer: Quantizer) -> None:
        self.quantizer, self.gate = quantizer, None

    def build(self, input_shape, rng=None, encoding=None, dtype=np.float32):
        super().build(input_shape, rng, encoding, dtype)
        n = input_shape[-1]
        self.weight = Parameter(rng.uniform(-1, 1, (n, n)).astype(dtype), Sign())
        return self

    def parameters(self):
        return {"weight": self.weight}

    def output_shape(self, input_shape):
        return input_shape[-1:]

    def forward(self, x, training=False):
        h, seen = np.zeros_like(x[:, 0]), []
        for t in range(x.shape[1]):
            a = x[:, t] @ self.weight.quantized + h / 2
            noise = self.quantizer.draw(a.shape, self.rng) if training else None
            seen.append(a)
            h = self.quantizer.quantize(a, noise)
        self._saved = x, seen
        return h

    def backward(self, dy):
        x, seen = self.saved()
        dx, dh, grad = np.zeros_like(x), dy, 0.0
        for t in range(x.shape[1] - 1, self.forget_steps - 1, -1):
            da = self.quantizer.backward(dh, seen[t])
            grad = grad + x[:, t].T @ da
            dx[:, t] = da @ self.weight.quantized.T
            dh = da / 2
        self.weight.grad = grad
        return dx


class Cut(Recurrent):
    """Forgets the first time step on the way back."""

    forget_steps = 1


class MaxPool(Layer):
    """The larger of two halves; of equals the first. Correct."""

    jumps: ClassVar[dict[str, str]] = {"winners": "choice"}

    def winners(self, a, b):
        return a >= b

    def forward(self, x, training=False):
        a, b = np.split(x, 2, axis=-1)
        self._saved = first = self.winners(a, b)
        return np.where(first, a, b)

    def backward(self, dy):
        first = self.saved()
        return np.concatenate([dy * first, dy * ~first], axis=-1)


class PoolForBoth(MaxPool):
    """The gradient goes to every maximum: ties count twice."""

    def forward(self, x, training=False):
        y = super().forward(x, training)
        a, b = np.split(x, 2, axis=-1)
        self._saved = a >= b, b >= a
        return y

    def backward(self, dy):
        first, second = self.saved()
        return np.concatenate([dy * first, dy * second], axis=-1)


class Nested(Layer):
    """Two layers inside one. Correct."""

    def __init__(self, *inner: Layer) -> None:
        self.inner = list(inner)

    def build(self, input_shape, rng=None, encoding=None, dtype=np.float32):
        super().build(input_shape, rng, encoding, dtype)
        for layer in self.inner:
            layer.build(input_shape, rng, None, dtype)
        return self

    def sublayers(self):
        return self.inner

    def forward(self, x, training=False):
        for layer in self.inner:
            x = layer.forward(x, training)
        return x

    def backward(self, dy):
        for layer in reversed(self.inner):
            dy = layer.backward(dy)
        return dy


@both_modes
@pytest.mark.parametrize("quantizer", [Sign(), StochasticSign(), TwoBits()])
def test_one_quantizer_called_many_times(quantizer, mode):
    rng = np.random.default_rng(0)
    x = 0.3 * rng.normal(size=(2, 4, 3))  # small: the gradient reaches the first step
    layer = Recurrent(quantizer).build((4, 3), rng)
    check(layer, x, mode=mode).raise_if_failed()
    network = Sequential([Recurrent(quantizer), Dense(2)], (4, 3), rng)
    check(network, x, mode=mode).raise_if_failed()
    report = check(Cut(quantizer).build((4, 3), rng), x, mode=mode)
    assert not report.passed


@both_modes
@given(qst.signs((3, 6), np.float64))
@settings(max_examples=15)
def test_ties_of_a_pool_stay_as_they_were(mode, x):
    check(MaxPool().build((6,)), x, mode=mode).raise_if_failed()
    ties = np.any(x[:, :3] == x[:, 3:])
    assert check(PoolForBoth().build((6,)), x, mode=mode).passed is not ties


@both_modes
def test_layers_inside_layers(mode):
    rng = np.random.default_rng(0)
    inner = Nested(BatchNorm(), Quantize(), Nested(Dense(3), HardTanh()))
    x = rng.normal(size=(5, 3))
    report = check(copy.deepcopy(inner).build((3,), rng), x, mode=mode)
    report.raise_if_failed()
    assert [entry.name for entry in report.entries] == [
        "Nested.input",
        "Nested.0.BatchNorm.gain",
        "Nested.0.BatchNorm.shift",
        "Nested.2.Nested.0.Dense.weight",
    ]
    network = Sequential([Dense(3), inner], (3,), rng)
    report = check(network, x, mode=mode)
    report.raise_if_failed()
    assert "1.2.0.Dense.weight" in [entry.name for entry in report.entries]
    broken = Nested(ForgottenGain(), Dense(3)).build((3,), rng)
    assert not check(broken, x, mode=mode).passed


# What belongs to the caller stays as it is -------------------------------------------------------


def test_nothing_of_the_caller_changes():
    rng = np.random.default_rng(0)
    hidden = [Dense(5), BatchNorm(), Quantize(StochasticSign()), Dropout(0.2)]
    network = Sequential([Pixels(), *hidden, Dense(3), BatchNorm()], (4,), rng)
    images = rng.integers(0, 256, (6, 4), dtype=np.uint8)
    labels = rng.integers(0, 3, 6)
    network.backward(squared_hinge(network.forward(images, training=True), labels)[1])
    arrays = network.arrays()
    grads = {name: p.grad.copy() for name, p in network.parameters().items()}
    state, quantizers = rng.bit_generator.state, [layer.__dict__.copy() for layer in network.layers]
    images_before, labels_before = images.copy(), labels.copy()
    for mode in MODES:
        report = check(network, images, labels=labels, loss=squared_hinge, mode=mode)
        assert report.passed
    assert rng.bit_generator.state == state
    for name, array in network.arrays().items():
        assert array.dtype == np.float32
        assert array.tobytes() == arrays[name].tobytes()
    for name, parameter in network.parameters().items():
        assert parameter.grad.tobytes() == grads[name].tobytes()
    for layer, before in zip(network.layers, quantizers, strict=True):
        assert layer.__dict__.keys() == before.keys()
        assert all(layer.__dict__[key] is value for key, value in before.items())
    np.testing.assert_array_equal(images, images_before)
    np.testing.assert_array_equal(labels, labels_before)


def test_the_same_seed_gives_the_same_report():
    rng = np.random.default_rng(0)
    layer, x = BatchNorm().build((3,)), rng.normal(size=(5, 3))
    assert check(layer, x, seed=7) == check(layer, x, seed=7)
    assert check(layer, x, seed=7) != check(layer, x, seed=8)


def test_a_loss_on_top_must_not_change_the_scores():
    rng = np.random.default_rng(0)
    layer, x, labels = Dense(3).build((4,), rng), rng.normal(size=(5, 4)), rng.integers(0, 3, 5)
    assert check(layer, x, loss=softmax_cross_entropy, labels=labels)
    damage, *others = check(layer, x, loss=softmax_in_place, labels=labels).entries
    assert damage.name == "softmax_in_place.scores (changed in place)"
    assert not damage.passed
    assert all(entry.passed for entry in others)


# Parameters at their start -----------------------------------------------------------------------


@both_modes
def test_a_gain_of_one_hides_nothing(mode):
    x = np.random.default_rng(0).normal(size=(6, 3))
    layer = ForgottenGain().build((3,))
    report = check(layer, x, mode=mode)
    assert not report.passed
    assert report.randomized == ("ForgottenGain.gain", "ForgottenGain.shift")
    assert check(layer, x, mode=mode, randomize=False).passed  # what it is for
    layer.gain.assign(np.array([1.0, 1.0, 1.5]))
    report = check(layer, x, mode=mode)
    assert not report.passed
    assert report.randomized == ("ForgottenGain.shift",)


def test_random_values_lie_around_their_start():
    layer = BatchNorm().build((200,))
    model = Model.copied(layer, np.zeros((2, 200)), None, None)
    model.randomize(np.random.default_rng(0))
    gain, shift = (p.latent for p in model.subject.parameters().values())
    assert 0.5 <= np.abs(gain).min() < np.abs(gain).max() <= 1.5
    assert np.abs(shift).max() <= 0.5
    assert all(0.3 < np.mean(values < 0) < 0.7 for values in (gain, shift))
    assert layer.gain.latent.min() == 1  # the copy has them, the caller's layer does not


def test_trained_parameters_and_weights_are_not_randomized():
    rng = np.random.default_rng(0)
    layer = Dense(3, bias=True).build((4,), rng)
    layer.weight.assign(np.ones((4, 3)))
    layer.bias.assign(np.array([0.0, 0.0, 0.1]))
    assert check(layer, rng.normal(size=(5, 4))).randomized == ()


# Input and arguments -----------------------------------------------------------------------------


def test_integers_and_the_layers_below_parameters_have_no_gradient():
    rng = np.random.default_rng(0)
    with pytest.raises(GradientError, match="Pixels: no tensor has a gradient"):
        check(Pixels().build((3,)), np.zeros((2, 3), np.uint8))
    layer = Dense(2).build((3,), rng)
    layer.needs_input_gradient = False
    (entry,) = check(layer, rng.normal(size=(4, 3))).entries
    assert entry.name == "Dense.weight"


def test_float32_input_is_widened():
    x = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    assert check(BatchNorm().build((3,)), x).worst_relative_error < 1e-8


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"mode": "fast"}, ValueError, "mode: expected 'probe', 'full' or 'order', got 'fast'"),
        ({"rng": 0}, TypeError, "rng: expected a numpy.random.Generator, got int"),
        ({"tolerance": 0}, ValueError, "tolerance: expected a finite number above 0"),
        ({"tolerance": np.nan}, ValueError, "tolerance: expected a finite number above 0"),
        ({"floor": -1}, ValueError, "floor: expected a finite number at least 0"),
        ({"step": 0}, ValueError, "step: expected a finite number above 0"),
        ({"directions": 0}, ValueError, "directions: expected a whole number of at least 1"),
        ({"subject": Dense(3)}, ValueError, "subject: Dense is not built"),
        ({"subject": 3}, TypeError, "subject: expected a built layer, .* got int"),
        ({"labels": [0, 1]}, ValueError, "labels: give loss and labels together"),
        ({"loss": squared_hinge}, ValueError, "labels: give loss and labels together"),
        (
            {"subject": squared_hinge},
            TypeError,
            "backward: .* loss function as subject needs",
        ),
        (
            {"subject": squared_hinge, "labels": [0, 1], "loss": squared_hinge},
            ValueError,
            "labels: a loss function as subject",
        ),
        ({"x": np.array([[np.nan, 0, 0]])}, ValueError, "x: expected finite numbers"),
        ({"x": np.zeros((0, 3))}, ValueError, "x: expected at least one example"),
        ({"x": np.zeros((2, 4))}, ValueError, r"x: expected shape \(batch, 3\), got \(2, 4\)"),
    ],
)
def test_bad_arguments(change, error, words):
    given: dict[str, Any] = {
        "subject": HardTanh().build((3,)),
        "x": np.ones((2, 3)),
        "rng": np.random.default_rng(0),
    } | change
    with pytest.raises(error, match=words):
        check_gradients(**given)


@both_modes
def test_what_is_not_finite_is_an_error(mode):
    x = np.ones((2, 3))
    layer = Function(lambda x: np.where(x == 1, np.inf, x), np.ones_like).build((3,))
    with pytest.raises(GradientError, match="Function: the output is not finite"):
        check(layer, x, mode=mode)
    layer = Function(lambda x: x, lambda x: np.where(x == 1, np.nan, x)).build((3,))
    with pytest.raises(GradientError, match=r"Function\.input: the gradient is not finite"):
        check(layer, x, mode=mode)


# The order of the remainder ----------------------------------------------------------------------


def orders(subject, x, **options):
    steps = 2.0 ** -np.arange(6, 12)
    left = remainders(subject, x, steps, rng=np.random.default_rng(0), **options)
    assert left.shape == steps.shape
    return np.diff(np.log2(left)) / np.diff(np.log2(steps))


def test_the_remainder_falls_as_the_square_of_the_step():
    rng = np.random.default_rng(0)
    x, labels = rng.normal(size=(8, 4)), rng.integers(0, 3, 8)
    layers = [Dense(6), BatchNorm(), Quantize(), Dense(3), BatchNorm()]
    network = Sequential(layers, (4,), rng)
    options = {"loss": softmax_cross_entropy, "labels": labels}
    np.testing.assert_allclose(orders(network, x, **options), 2, atol=0.2)
    network.layers[1].__class__ = ForgottenGain
    np.testing.assert_allclose(orders(network, x, **options), 1, atol=0.2)
    square = Function(lambda x: x * x, lambda x: 2 * x).build((4,))
    np.testing.assert_allclose(orders(square, x), 2, atol=1e-6)


def test_no_remainder_where_the_frozen_function_is_linear():
    x = np.random.default_rng(0).uniform(-2, 2, (5, 4))
    left = remainders(Quantize().build((4,)), x, [0.1, 0.01], rng=np.random.default_rng(0))
    np.testing.assert_allclose(left, 0, atol=1e-14)


# Order mode --------------------------------------------------------------------------------------


def test_the_order_of_every_tensor_is_two():
    rng = np.random.default_rng(0)
    layers = [Dense(6), BatchNorm(), Quantize(), Dense(3), BatchNorm()]
    network, x = Sequential(layers, (4,), rng), rng.normal(size=(8, 4))
    options = {"loss": softmax_cross_entropy, "labels": rng.integers(0, 3, 8), "mode": "order"}
    report = check(network, x, **options)
    report.raise_if_failed()
    assert all(1.9 < entry.order < 2.1 for entry in report.entries)
    network.layers[1].__class__ = ForgottenGain
    report = check(network, x, **options)
    orders = {entry.name: entry.order for entry in report.entries}
    assert orders["0.Dense.weight"] == pytest.approx(1, abs=0.05)
    assert orders["1.ForgottenGain.gain"] == pytest.approx(2, abs=0.1)
    assert "the remainder falls as h^1.00" in str(report)
    assert "1.ForgottenGain.input: the gradient lacks the factor gain" in str(report)
    steps, left = report.remainders()
    assert list(left) == list(orders)
    assert all(values.shape == steps.shape for values in left.values())
    assert plots.order_figure(steps, left).axes
    with pytest.raises(ValueError, match="only a check in mode 'order' has them"):
        check(network, x).remainders()


@pytest.mark.parametrize("mistake", MISTAKES[::4], ids=[m.name for m in MISTAKES[::4]])
def test_order_mode_finds_mistakes_too(mistake):
    rng = np.random.default_rng(3)
    assert not check_gradients(**mistake.make(rng), mode="order", rng=rng).passed


@given(VALUES, st.sampled_from([Sign(), Sign(2.0), TwoBits(), None]))
@settings(max_examples=60)
def test_order_mode_accuses_no_correct_layer(x, quantizer):
    layer = HardTanh() if quantizer is None else Quantize(quantizer)
    check(layer.build(x.shape[1:]), x, mode="order").raise_if_failed()
    check(BatchNorm(0.1).build(x.shape[1:]), x, mode="order").raise_if_failed()


@pytest.mark.parametrize("seed", range(20))
def test_order_mode_and_kinks(seed):
    x = np.random.default_rng(seed).normal(size=(3, 4))
    x[seed % 3, : seed % 5] = 0  # at the kink, which nobody declared
    layer = Function(lambda x: np.maximum(x, 0), lambda x: (x > 0) * 1.0).build((4,))
    check(layer, x, mode="order").raise_if_failed()
    check(Function(np.tanh, lambda x: 1 - np.tanh(x) ** 2).build((4,)), x, mode="order")


@pytest.mark.parametrize("mistake", [1.0, 1e-2, 1e-4])
def test_order_mode_sees_small_mistakes(mistake):
    layer = Function(np.sin, lambda x: np.cos(x) + mistake).build((4,))
    x = np.random.default_rng(0).normal(size=(3, 4))
    (entry,) = check(layer, x, mode="order").entries
    assert entry.order == pytest.approx(1, abs=0.1)
