"""Plain functions with planted mistakes, jumps that nobody declared, and correct code in peace."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qnn_ref.checking import check_gradients
from qnn_ref.checking import strategies as qst
from qnn_ref.checking.jumps import find_jump
from qnn_ref.checking.pictures import both_arrays
from qnn_ref.checking.points import Model, Point
from qnn_ref.layers import Dense, HardTanh, Quantize
from qnn_ref.layers.base import Layer
from qnn_ref.network import Sequential
from qnn_ref.parameter import Parameter
from qnn_ref.quantizers import LinearQuant, Quantizer, Sign, hard_tanh
from tests.broken_layers import UndeclaredJump


def check(subject, x, seed=0, **options):
    return check_gradients(subject, x, rng=np.random.default_rng(seed), **options)


def first_line(*arguments, **options):
    return str(check(*arguments, **options)).splitlines()[0]


def sign(x):
    return np.where(x >= 0, 1.0, -1.0)


def clip(x):
    return np.clip(x, -1, 1)


def ternary(x):
    return np.where(x > 0.5, 1.0, np.where(x < -0.5, -1.0, 0.0))


def scaled(x, w, sign=sign):
    return x @ (np.abs(w).mean() * sign(w))


def parts(dy, x, w):
    return np.abs(w).mean(), x.T @ dy, dy @ sign(w).T


X = np.random.default_rng(1).normal(size=(4, 3))
W = np.random.default_rng(2).normal(size=(3, 2))
Q = np.array([[-2.5, -1.0, -0.3, 0.7, -1.5], [0.2, 1.0, 1.7, -2.2, 2.4]])


def right_weight(dy, x, w):
    alpha, g, _ = parts(dy, x, w)
    return alpha * g + sign(w) * (g * sign(w)).sum() / w.size


def right_input(dy, x, w):
    alpha, _, dx = parts(dy, x, w)
    return alpha * dx


SCALED = [
    ("dx without alpha", lambda dy, x, w: dy @ sign(w).T, right_weight, "mean |w|, "),
    ("dx doubled", lambda *a: 2 * right_input(*a), right_weight, "is 2 times too large"),
    ("dx forgotten", lambda *a: None, right_weight, "scaled.x: the gradient was forgotten"),
    ("dw forgotten", right_input, lambda *a: None, "scaled.w: the gradient was forgotten"),
    ("dw of constant alpha", right_input, lambda *a: parts(*a)[0] * parts(*a)[1], "lacks the term"),
    ("dw without alpha", right_input, lambda *a: parts(*a)[1], "and the factor "),
    ("dw negated", right_input, lambda *a: -right_weight(*a), "has the wrong sign"),
    ("dw mean", right_input, lambda *a: right_weight(*a) / 4, "a mean stands where a sum belongs"),
    (
        "dw transposed",
        right_input,
        lambda *a: right_weight(*a).T,
        "scaled.w: the gradient is transp",
    ),
    ("dw zero", right_input, lambda *a: 0 * right_weight(*a), "scaled.w: the gradient is 0 every"),
    (
        "dy in place",
        lambda dy, x, w: np.multiply(dy, 1.5, out=dy) @ sign(w).T,
        right_weight,
        "dy in",
    ),
    ("w in place", lambda dy, x, w: dy @ np.multiply(w, 2, out=w).T, right_weight, "array w in"),
]


@pytest.mark.parametrize("mode", ["probe", "full"])
@pytest.mark.parametrize(("dx", "dw", "words"), [m[1:] for m in SCALED], ids=[m[0] for m in SCALED])
def test_mistakes_in_a_scaled_sign(dx, dw, words, mode):
    def backward(dy, x, w):
        return dx(dy, x, w), dw(dy, x, w)

    options = {"surrogate": {"sign": "identity"}, "mode": mode}
    line = first_line(scaled, (X, W), backward=backward, **options)
    assert words in line


ELEMENTWISE = [
    ("strict", lambda dy, x: dy * (np.abs(x) < 1), "the mask is strict"),
    ("missing", lambda dy, x: dy, "passes where |x| > 1 too: the mask is missing"),
    ("one side", lambda dy, x: dy * (x <= 1), "passes where x < -1 too"),
    ("inverted", lambda dy, x: dy * (np.abs(x) > 1), "the mask is inverted"),
    ("of dy", lambda dy, x: np.where(np.abs(dy) <= 1, dy, 0), "is masked by dy"),
    ("bound 2", lambda dy, x: dy * (np.abs(x) <= 2), "passes up to |x| = 1.7"),
    ("bound of the levels", lambda dy, x: dy * (np.abs(x) <= 0.5), "stops at |x| = 0.7 already"),
    ("half", lambda dy, x: dy * (np.abs(x) <= 1) / 2, "is 2 times too small"),
    ("zero", lambda dy, x: 0 * dy, "is 0 everywhere"),
    ("float32", lambda dy, x: (dy * (np.abs(x) <= 1)).astype("f4"), "backward computes in float32"),
]


@pytest.mark.parametrize("mode", ["probe", "full"])
@pytest.mark.parametrize(
    ("backward", "words"), [m[1:] for m in ELEMENTWISE], ids=[m[0] for m in ELEMENTWISE]
)
def test_mistakes_in_a_ternary_quantizer(backward, words, mode):
    line = first_line(ternary, Q, backward=backward, surrogate=clip, mode=mode)
    assert line.startswith("ternary.x: ")
    assert words in line

    class Ternary(Quantizer):
        def encode(self, x, noise=None):
            return ternary(x), 1.0

        def surrogate(self, x):
            return clip(x)

        def backward(self, dy, x):
            return backward(dy, x)

    assert words in first_line(Ternary(), Q, mode=mode)


PLAIN = [
    (lambda x: (x**2).mean(), lambda dy, x: 2 * dy * x, "is 12 times too large, the number of el"),
    (
        lambda x: (x**2).sum(),
        lambda dy, x: 2 * dy * x / x.size,
        "is 12 times too small, the number",
    ),
    (lambda x: x**3, lambda dy, x: dy, "depends on dy only"),
    (lambda x: np.maximum(x, 0), lambda dy, x: np.maximum(dy, 0), "is masked by dy, not by x"),
    (
        lambda x: x.sum(axis=0),
        lambda dy, x: np.tile(dy / 4, (4, 1)),
        "4 times too small, the batch",
    ),
    (lambda x: x @ X.T, lambda dy, x: (dy @ X)[:, ::-1], "runs backwards along axis 1"),
    (lambda x: np.sin(x.astype("f4")).astype("f8"), lambda dy, x: dy * np.cos(x), "in float32"),
]


@pytest.mark.parametrize(("forward", "backward", "words"), PLAIN)
def test_mistakes_in_plain_functions(forward, backward, words):
    for mode in ("probe", "full"):
        assert words in first_line(forward, X, backward=backward, mode=mode)


# Jumps that nobody declared ----------------------------------------------------------------------


class ScaledSignDense(Layer):
    """Right, but it does not say that its weights jump."""

    def __init__(self, units):
        self.units = units

    def make(self):
        self.weight = Parameter(self.rng.normal(size=(self.input_shape[0], self.units)))
        self.weight.astype(self.dtype)

    def parameters(self):
        return {"weight": self.weight}

    def output_shape(self, input_shape):
        return (self.units,)

    def binary(self, w):
        return sign(w)

    def forward(self, x, training=False):
        if training:
            self._saved = x
        w = self.weight.latent
        return x @ (np.abs(w).mean() * self.binary(w))

    def backward(self, dy):
        x, w = self.saved(), self.weight.latent
        self.weight.grad = right_weight(dy, x, w)
        return right_input(dy, x, w)


class Declared(ScaledSignDense):
    jumps = {"binary": "identity"}  # noqa: RUF012


TOLD = "and the checker was not told: declare a surrogate"


@pytest.mark.parametrize("mode", ["probe", "full"])
def test_a_correct_layer_that_does_not_say_that_it_jumps(mode):
    layer = ScaledSignDense(2).build((3,), np.random.default_rng(0))
    first, *below = str(check(layer, X, mode=mode)).splitlines()
    assert first == f"ScaledSignDense: your forward jumps at weight = 0, {TOLD}"
    assert [line.strip().partition("  ")[0] for line in below[:3]] == [
        "class ScaledSignDense(Layer):",
        "sign = staticmethod(sign)",
        'jumps = {"sign": "identity"}',
    ]
    check(Declared(2).build((3,), np.random.default_rng(0)), X, mode=mode).raise_if_failed()


@pytest.mark.parametrize("mode", ["probe", "full"])
def test_the_place_of_a_jump(mode):
    rng = np.random.default_rng(0)
    line = first_line(sign, X, backward=lambda dy, x: dy * (np.abs(x) <= 1), mode=mode)
    assert line == f"sign: your forward jumps at x = 0, {TOLD}"
    line = first_line(ternary, X, backward=lambda dy, x: dy * (np.abs(x) <= 1), mode=mode)
    assert line in (f"ternary: your forward jumps at x = {v}, {TOLD}" for v in (0.5, -0.5))

    def backward(dy, x, w):
        return right_input(dy, x, w), right_weight(dy, x, w)

    line = first_line(scaled, (X, W), backward=backward, mode=mode)
    assert line == f"scaled: your forward jumps at w = 0, {TOLD}"
    network = Sequential([Dense(5), UndeclaredJump(), Dense(2)], (3,), rng)
    assert first_line(network, X, mode=mode) == (
        f"1.UndeclaredJump: your forward jumps at input = 0, {TOLD}"
    )


def test_a_forward_that_draws():
    rng = np.random.default_rng(0)
    line = first_line(lambda x: x * rng.random(x.shape), X, backward=lambda dy, x: dy)
    assert line.endswith(
        "draws at random or keeps state, and the checker was not told: declare a choice"
    )


SMOOTH = [
    lambda x: np.maximum(x, 0) ** 2,
    np.tanh,
    lambda x: x.astype(np.float32).astype(np.float64),
    lambda x: np.exp(3 * x),
    np.abs,
]


@pytest.mark.parametrize("function", SMOOTH)
def test_what_does_not_jump(function):
    model = Model.copied(function, X, None, None, lambda dy, x: dy)
    point = Point(model, np.random.default_rng(0))
    (tensor,) = point.base
    for seed in range(5):
        assert find_jump(point, tensor, np.random.default_rng(seed)) is None


def test_a_frozen_surrogate_does_not_jump():
    for quantizer in (Sign(), LinearQuant(2), LinearQuant(2, reading="unsigned")):
        model = Model.copied(quantizer, Q, None, None)
        point = Point(model, np.random.default_rng(0))
        (tensor,) = point.base
        assert find_jump(point, tensor, np.random.default_rng(0)) is None


# Correct code is left in peace -------------------------------------------------------------------


@given(
    qst.arrays(qst.shapes(2, 4), np.float64),
    st.sampled_from([Sign(), Sign(2.0), LinearQuant(2), LinearQuant(3, reading="unsigned")]),
    st.sampled_from(["probe", "full"]),
)
@settings(max_examples=40)
def test_a_right_quantizer_is_never_accused(x, quantizer, mode):
    report = check(quantizer, x, mode=mode)
    assert report.passed
    assert report.diagnoses == ()
    assert "your forward jumps" not in str(report)


@given(qst.dense_layers(), st.sampled_from(["probe", "full"]))
@settings(max_examples=30)
def test_a_right_layer_is_never_accused(pair, mode):
    report = check(*pair, mode=mode)
    assert report.passed
    assert report.diagnoses == ()


@given(
    qst.arrays((3, 4), np.float64),
    qst.arrays((4, 2), np.float64),
    st.sampled_from([2.0, -1.0, 0.5, 3.0, -2.0]),
)
@settings(max_examples=30)
def test_a_factor_is_named_wherever_it_shows(x, w, factor):
    report = check(
        lambda x, w: x @ w, (x, w), backward=lambda dy, x, w: (dy @ w.T, factor * (x.T @ dy))
    )
    if np.count_nonzero(np.abs(x) > 1e-3) > 1:
        line = str(report).splitlines()[0]
        assert "times too" in line or "wrong sign" in line


# What a report keeps and shows -------------------------------------------------------------------


def test_a_report_keeps_both_arrays_and_counts():
    report = check(Quantize(StrictSign()).build((5,)), Q, mode="full")
    (entry,) = report.entries
    assert entry.wrong == 2
    assert "2 of 10 elements wrong" in str(report)
    assert entry.kinks == 2  # those that moved, D16 of the review
    np.testing.assert_array_equal(entry.x_array, Q)
    wrong = np.abs(entry.numeric_array - entry.analytic_array) > 1e-6
    np.testing.assert_array_equal(wrong, np.abs(Q) == 1)
    at = str(report).splitlines()[1]
    assert at.startswith("  at input[0, 1] = -1: yours 0, expected ")
    html = report._repr_html_()
    assert "the mask is strict" in html
    assert html.count("border: 2px solid black") == 4


class StrictSign(Sign):
    def backward(self, dy, x):
        return dy * (np.abs(x) < 1)


def test_the_equation_is_named():
    class Doubled(HardTanh):
        def backward(self, dy):
            return 2 * super().backward(dy)

    assert "  see Eqs. (4), (5)" in str(check(Doubled().build((5,)), Q, mode="full"))


def test_the_surrogate_that_was_used_is_named():
    report = check(Sequential([Dense(4), Quantize(Sign(2.0))], (3,), np.random.default_rng(0)), X)
    lines = str(report).splitlines()
    assert "surrogate of 1.Quantize: slope 1 for -2 <= x <= 2, else 0" in lines
    assert "surrogate of 0.Dense.weight: the identity" in lines
    assert {"place": "0.Dense.weight", "words": "the identity"} in report.to_json()["surrogates"]
    report = check(ternary, Q, backward=lambda dy, x: dy * (np.abs(x) <= 1), surrogate=hard_tanh)
    assert "surrogate of ternary: slope 1 for -1 <= x <= 1, else 0" in str(report)


def test_pictures_are_small_and_whole():
    a = np.array([[1.0, np.nan], [0.0, -2.0]])
    html = both_arrays(a, np.zeros((2, 2)))
    assert html.count("<td") == 2 + 8
    assert "?" in html
    assert both_arrays(a, np.zeros(3)) == both_arrays(None, a) == ""
    assert both_arrays(np.zeros((30, 30)), np.zeros((30, 30))) == ""
    assert both_arrays(np.zeros(()), np.zeros(())) != ""


# What a stranger's code taught -------------------------------------------------------------------


def columns(x, w, sign=sign):
    return x @ (np.abs(w).mean(axis=0) * sign(w))


COLUMNS = [
    (lambda dy, x, w: dy @ sign(w).T, "columns.x: the gradient lacks the factor mean |w| of each"),
    (lambda dy, x, w: dy @ (np.abs(w).mean(axis=0) * w).T, "uses the latent value where the quan"),
    (
        lambda dy, x, w: dy @ (np.abs(w).mean(axis=0) ** 2 * sign(w)).T,
        "has once too often mean |w|",
    ),
]


@pytest.mark.parametrize(("dx", "words"), COLUMNS)
@pytest.mark.parametrize("mode", ["probe", "full"])
def test_a_scale_of_each_column(dx, words, mode):
    def backward(dy, x, w):
        alpha, g, s = np.abs(w).mean(axis=0), x.T @ dy, sign(w)
        return dx(dy, x, w), alpha * g + s * (g * s).mean(axis=0)

    options = {"surrogate": {"sign": "identity"}, "mode": mode}
    assert words in first_line(columns, (X, W), backward=backward, **options)


def test_the_scale_of_a_quantizer_and_a_batch_of_two():
    class Half(Sign):
        def encode(self, x, noise=None):
            return sign(x), 0.5

        def surrogate(self, x):
            return 0.5 * clip(x)

    assert "2 times too large: the scale of the codes, 0.5, is missing" in first_line(Half(), Q)
    line = first_line(lambda x: x, X[:2], backward=lambda dy, x: 2 * dy)
    assert line.endswith("is 2 times too large (2 is the batch size too)")


def test_another_mask():
    line = first_line(
        ternary, Q, backward=lambda dy, x: dy * (np.abs(x) > 0.5), surrogate=clip, mode="full"
    )
    assert line.endswith(
        "passes 5 elements beyond the bound and stops 2 inside: the mask is another one"
    )


def test_a_closer_look_that_fails_takes_no_verdict_away():
    def narrow(x):
        if np.abs(x).max() > 3:
            raise RuntimeError("too far")
        return x**2

    report = check(narrow, X, backward=lambda dy, x: dy * np.exp(x))
    assert not report.passed
    first, second, *_ = str(report).splitlines()
    assert first == "narrow.x: the gradient is wrong"
    assert second == "  a closer look ended in RuntimeError: too far"


@pytest.mark.parametrize("size", [(40, 50), (300, 200)])
def test_one_wrong_element_of_many_is_found_by_halving(size):
    place = 17, 23

    def backward(dy, x):
        dx = 2 * dy * x
        dx[place] *= 1.5
        return dx

    x = np.random.default_rng(0).normal(size=size)
    line, at, *_ = str(check(lambda x: x**2, x, backward=backward)).splitlines()
    assert line.endswith("at x[17, 23]")
    assert at.startswith("  at x[17, 23] = ")
