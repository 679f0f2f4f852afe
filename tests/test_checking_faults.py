"""Faults that others may plant, in plain functions: the first line names each."""

import numpy as np
import pytest

from qnn_ref.checking import check_gradients

MODES = ["probe", "full", "order"]


def first_line(forward, x, backward=None, mode="probe", **options):
    rng = np.random.default_rng(0)
    report = check_gradients(forward, x, backward=backward, mode=mode, rng=rng, **options)
    return str(report).splitlines()[0]


def draw(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


X, W, B = draw(1, 5, 3), draw(2, 3, 4), draw(11, 4)
Q = np.array([[-2.5, -1.0, -0.3, 0.7], [0.2, 1.0, 1.7, -2.2], [0.0, -0.6, 2.4, -1.5]])


def sign(w):
    return np.where(w >= 0, 1.0, -1.0)


def scaled(x, w, sign=sign):
    return x @ (np.abs(w).mean() * sign(w))


def scaled_with(change):
    def backward(dy, x, w):
        alpha, g, s = np.abs(w).mean(), x.T @ dy, sign(w)
        dx, term = dy @ (alpha * s).T, s * (g * s).sum() / w.size
        return change(dy, x, w, dx, alpha * g, term)

    return backward


SCALED = {
    "exchanged": (lambda dy, x, w, dx, g, t: (g + t, dx), "w: the gradient is that of x"),
    "mask": (lambda dy, x, w, dx, g, t: (dx, (g + t) * (np.abs(w) <= 1)), "a mask on the weights"),
    "term minus": (lambda dy, x, w, dx, g, t: (dx, g - t), "has the wrong sign in the term in s"),
    "sum for mean": (lambda dy, x, w, dx, g, t: (dx, g + 12 * t), "12 times as large as it should"),
    "no sign in it": (lambda dy, x, w, dx, g, t: (dx, g + t * sign(w)), "without its factor sign"),
    "dy clipped": (
        lambda dy, x, w, dx, g, t: (np.clip(dy, -1, 1) @ (np.abs(w).mean() * sign(w)).T, g + t),
        "x: the gradient is not linear in dy",
    ),
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("change", "words"), SCALED.values(), ids=SCALED)
def test_a_scaled_sign(change, words, mode):
    options = {"surrogate": {"sign": "identity"}, "mode": mode}
    assert words in first_line(scaled, (X, W), scaled_with(change), **options)


def linear(x, w, b):
    return x @ w + b


LINEAR = {
    "|x|": (
        lambda dy, x, w, b: (dy @ w.T, np.abs(x).T @ dy, dy.sum(0)),
        "w: the gradient uses |x|",
    ),
    "sign of w": (lambda dy, x, w, b: (dy @ sign(w).T, x.T @ dy, dy.sum(0)), "uses sign(w) where"),
    "centred": (
        lambda dy, x, w, b: (dy @ w.T, (x - x.mean(axis=0)).T @ dy, dy.sum(0)),
        "uses x less its mean where x belongs",
    ),
    "decay": (
        lambda dy, x, w, b: (dy @ w.T, x.T @ dy + 0.1 * w, dy.sum(0)),
        "is not 0 for a dy of 0",
    ),
    "only dy > 0": (
        lambda dy, x, w, b: (np.maximum(dy, 0) @ w.T, x.T @ dy, dy.sum(0)),
        "x: the gradient is not linear in dy",
    ),
    "no dy": (lambda dy, x, w, b: (1 + 0 * x, x.T @ dy, dy.sum(0)), "does not depend on dy"),
}


@pytest.mark.parametrize(("backward", "words"), LINEAR.values(), ids=LINEAR)
def test_a_linear_function(backward, words):
    assert words in first_line(linear, (X, W, B), backward)


BENT = {
    "squared": np.square,
    "of a size": lambda dy: dy * np.abs(dy),
    "its sign": np.sign,
    "clipped": lambda dy: np.clip(dy, -0.5, 0.5),
    "its larger half": lambda dy: dy * (np.abs(dy) >= np.median(np.abs(dy))),
    "clipped by its norm": lambda dy: dy / max(0.1, np.linalg.norm(dy)),
    "divided by its largest": lambda dy: dy / np.abs(dy).max(),
    "rounded": lambda dy: np.round(4 * dy) / 4,
}


@pytest.mark.parametrize("bent", BENT.values(), ids=BENT)
def test_what_is_not_linear_in_dy_is_not_taken_for_something_else(bent):
    """For one dy it looks like a factor, a sum over part of the examples, another order."""
    words = "the gradient is not linear in dy"
    assert words in first_line(lambda x: x**2, X, lambda dy, x: 2 * x * bent(dy))
    assert words in first_line(lambda x: x.sum(0), X, lambda dy, x: np.tile(bent(dy), (len(x), 1)))
    assert words in first_line(np.matmul, (X, W), lambda dy, x, w: (bent(dy) @ w.T, x.T @ bent(dy)))
    assert words in first_line(np.matmul, (X, W), lambda dy, x, w: (dy @ w.T, bent(x.T @ dy)))


def ternary(x):
    return np.where(x > 0.5, 1.0, np.where(x < -0.5, -1.0, 0.0))


def inside(x):
    return np.abs(x) <= 1


TERNARY = {
    "triangle": (lambda dy, x: dy * np.maximum(0, 1 - np.abs(x)), "it is that of another surrog"),
    "times x": (lambda dy, x: dy * x * inside(x), "has the factor x once too often"),
    "no dy": (lambda dy, x: 1.0 * inside(x), "the factor dy is missing"),
    "mean": (
        lambda dy, x: np.tile((dy * inside(x)).mean(0), (3, 1)),
        "is the mean over axis 0, the same for each of them",
    ),
    "sum of dy": (lambda dy, x: np.full_like(x, dy.sum()), "is the sum of all of dy"),
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("backward", "words"), TERNARY.values(), ids=TERNARY)
def test_a_ternary_quantizer(backward, words, mode):
    surrogate = {"surrogate": lambda x: np.clip(x, -1, 1)}
    line = first_line(ternary, Q, backward, mode=mode, **surrogate)
    assert words in line


SMOOTH = {
    "slope twice": (lambda dy, x: dy * (1 - np.tanh(x) ** 2) ** 2, "1 - y^2, once too often"),
    "of x": (lambda dy, x: dy * (1 - x**2), "forward has 0.02659: it is that of another function"),
}


@pytest.mark.parametrize(("backward", "words"), SMOOTH.values(), ids=SMOOTH)
def test_a_smooth_function(backward, words):
    assert words in first_line(np.tanh, Q, backward)


def norm(x, gain, shift):
    return gain * (x - x.mean(0)) / x.std(0) + shift


def norm_with(change):
    def backward(dy, x, gain, shift):
        deviation = x.std(0)
        h, d = (x - x.mean(0)) / deviation, dy * gain
        dx = (d - d.mean(0) - h * (d * h).mean(0)) / deviation
        return change(dy, x, h, d, deviation, dx)

    return backward


NORM = {
    "no terms": (
        lambda dy, x, h, d, r, dx: (d / r, (dy * h).sum(0), dy.sum(0)),
        "x: the gradient lacks two terms: those through the mean and the variance",
    ),
    "sums": (
        lambda dy, x, h, d, r, dx: (
            (d - d.sum(0) - h * (d * h).sum(0)) / r,
            (dy * h).sum(0),
            dy.sum(0),
        ),
        "x: the gradient is wrong in two terms",
    ),
    "gain of x": (
        lambda dy, x, h, d, r, dx: (dx, (dy * x).sum(0), dy.sum(0)),
        "gain: the gradient is the sum of dy times the input as it is",
    ),
    "gain without x": (
        lambda dy, x, h, d, r, dx: (dx, dy.sum(0), dy.sum(0)),
        "gain: the gradient is the plain sum of dy",
    ),
    "exchanged": (
        lambda dy, x, h, d, r, dx: (dx, dy.sum(0), (dy * h).sum(0)),
        "shift: the gradient is that of gain: the gradients of both are exchanged",
    ),
}


@pytest.mark.parametrize(("change", "words"), NORM.values(), ids=NORM)
def test_a_batch_norm(change, words):
    arrays = (2 + 3 * draw(8, 7, 3), np.array([0.5, -1.5, 2]), np.array([0.1, 0.2, -0.3]))
    assert words in first_line(norm, arrays, norm_with(change))


def hinge_with(gradient):
    def loss(scores, labels):
        signs = 2 * np.eye(3)[labels] - 1
        margin = np.maximum(0, 1 - signs * scores)
        return (margin**2).mean(), gradient(scores, signs, margin) / scores.size

    return loss


HINGE = {
    "no 2": (lambda x, t, m: -t * m, "is 2 times too small"),
    "no target": (lambda x, t, m: -2 * m, "elements, the right size in all"),
    "no margin": (lambda x, t, m: -2 * t * (1 - t * x), "on which the output does not depend"),
    "masked by x": (lambda x, t, m: -2 * t * m * (x > 0), "elements that the output depends on"),
}


@pytest.mark.parametrize(("gradient", "words"), HINGE.values(), ids=HINGE)
def test_a_squared_hinge(gradient, words):
    labels = np.array([0, 2, 1, 1, 0])
    line = first_line(hinge_with(gradient), 2 * draw(9, 5, 3), labels=labels)
    assert words in line


def test_a_closure_that_keeps_the_first_pass():
    kept = []

    def forward(x):
        kept.append(x.copy())
        return x**2

    line = first_line(forward, X, lambda dy, x: 2 * dy * kept[0])
    assert "depends on dy only, or on what an earlier pass kept" in line


# What strangers hand in --------------------------------------------------------------------------


def square(x):
    return x**2


def slope(dy, x):
    return 2 * dy * x


class Two:
    def forward(self, a, b):
        return a @ b

    def backward(self, dy):
        return dy


class ListOfParameters:
    def forward(self, x):
        return x

    def backward(self, dy):
        return dy

    def parameters(self):
        return [1, 2]


STRANGE = {
    "integers": (square, np.arange(6), {"backward": slope}, "x: expected real numbers, such as"),
    "ragged": (square, [[1.0], [2.0, 3.0]], {"backward": slope}, "x: expected an array, rows of"),
    "a list of two": (lambda a, b: a, [X, X.T], {"backward": slope}, "are given as a tuple"),
    "only dy": (square, X, {"backward": lambda dy: dy}, "backward: expected a function of 2 arg"),
    "other names": (
        lambda a, b: a * b,
        {"a": X, "c": X},
        {"backward": slope},
        "expected a function of 2 arguments, got one of a, b",
    ),
    "None": (lambda x: None, X, {"backward": slope}, "got None"),
    "two inputs": (Two(), (X, X.T), {}, "x: expected one array for Two, got 2"),
    "a list": (ListOfParameters(), X, {}, "expected a dict of Parameter objects by name, got list"),
    "a loss of many": (
        lambda s, labels: (s**2, 2 * s),
        X,
        {"labels": np.zeros(5, int)},
        "expected a loss function to return one number and the gradient",
    ),
    "a loss alone": (lambda s, labels: s.sum(), X, {"labels": np.zeros(5, int)}, "one number and"),
}


@pytest.mark.parametrize(("subject", "x", "options", "words"), STRANGE.values(), ids=STRANGE)
def test_what_cannot_be_checked_is_said(subject, x, options, words):
    with pytest.raises((TypeError, ValueError), match=words):
        check_gradients(subject, x, rng=np.random.default_rng(0), **options)


READ_ONLY = X.copy()
READ_ONLY.flags.writeable = False


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("forward", "x", "backward"),
    [
        (square, np.array(2.0), slope),
        (square, [[1.0, 2.0]], slope),
        (square, READ_ONLY, slope),
        (square, X.astype(np.float16), slope),
        (square, X[::-1, ::2], slope),
        (lambda x: x, X, lambda dy, x: dy),
        (lambda x: list(x**2), X, lambda dy, x: (2 * dy * x).tolist()),
        (lambda x: float((x**2).sum()), X, slope),
        (lambda x: x * W[0, 0], X, lambda dy, x: dy * W[0, 0]),
    ],
)
def test_odd_but_right(forward, x, backward, mode):
    assert first_line(forward, x, backward, mode=mode).partition("  (")[2].find("passed") > 0
