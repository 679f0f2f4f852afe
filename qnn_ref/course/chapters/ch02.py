"""Chapter 2, by hand: batch norm, its backward pass, a dense layer, the loss, one whole step.

Over 400 lines: five exercises with 29 known mistakes, each a program.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from qnn_ref._typing import Array
from qnn_ref.checking import Report, check_gradients
from qnn_ref.course.chapters._step import step_with
from qnn_ref.course.compare import close
from qnn_ref.course.exercise import Case, Exercise, Question, Wrong
from qnn_ref.layers import BatchNorm, Dense, Quantize
from qnn_ref.layers.normalization import (
    normalize_batch_backward_reference,
    normalize_batch_reference,
)
from qnn_ref.losses import squared_hinge as package_squared_hinge
from qnn_ref.network import Sequential
from qnn_ref.optimizers import SGD
from qnn_ref.quantizers import Sign

Three = tuple[Array, Array, Array]


def batch_norm(s: Array, g: Array, b: Array, eps: float) -> Three:
    """The right answer to 2.1: the package's own."""
    a, x_hat, _, r = normalize_batch_reference(s, g, b, eps)
    return a, x_hat, r


def _norm_cases(rng: np.random.Generator) -> Iterator[Case]:
    one, zero = np.ones(1), np.zeros(1)
    yield np.array([[0.0], [2.0]]), one, zero, 1e-4
    yield np.array([[1.0], [1.0]]), one, zero, 0.25
    yield np.array([[0.0], [2.0]]), 3 * one, one, 1e-4
    yield np.array([[5.0, -1.0]]), np.array([2.0, 1.0]), np.array([0.5, -3.0]), 1e-4
    for rows, units in ((3, 2), (4, 3), (7, 5), (1, 4)):
        g, b = rng.normal(size=units), rng.normal(size=units)
        yield rng.normal(2, 3, (rows, units)), g, b, float(rng.choice([1e-4, 1e-2, 0.25]))


def _norm_with(s: Array, g: Array, b: Array, r: Array) -> Three:
    x_hat = (s - s.mean(axis=0)) * r
    return g * x_hat + b, x_hat, r


def _over_rows(s: Array, g: Array, b: Array, eps: float) -> Three:
    r = 1 / np.sqrt(s.var(axis=1, keepdims=True) + eps)
    x_hat = (s - s.mean(axis=1, keepdims=True)) * r
    return g * x_hat + b, x_hat, r[:, 0]


def _deviation(s: Array, g: Array, b: Array, eps: float) -> Three:
    a, x_hat, r = batch_norm(s, g, b, eps)
    return a, x_hat, 1 / r


BATCH_NORM = Exercise(
    id="2.1",
    title="Batch norm",
    name="batch_norm",
    task="Return a, the normalized x_hat and the inverse deviation r of each column of s.",
    section="section 2.4",
    spec=batch_norm,
    cases=_norm_cases,
    gives=("a", "x_hat", "r"),
    same=close(1e-9),
    axes=("bu", "u", "u", ""),
    wrong=(
        Wrong(
            "n - 1",
            lambda s, g, b, eps: _norm_with(s, g, b, 1 / np.sqrt(s.var(axis=0, ddof=1) + eps)),
            "You divide by n - 1. The column [0, 2] has variance 1 here, yours is 2; and a batch "
            "of one has a variance too, 0.",
        ),
        Wrong(
            "eps outside",
            lambda s, g, b, eps: _norm_with(s, g, b, 1 / (s.std(axis=0) + eps)),
            "Your eps stands outside of the root: a constant column gets 1 / eps instead of "
            "1 / sqrt(eps).",
        ),
        Wrong(
            "of rows",
            _over_rows,
            "These are statistics of rows. Those of batch norm belong to a column, a unit: over "
            "the batch.",
        ),
        Wrong(
            "deviation",
            _deviation,
            "Your r is the deviation. Its inverse is asked: the backward pass multiplies by it.",
        ),
        Wrong(
            "no gain",
            lambda s, g, b, eps: batch_norm(s, np.ones_like(g), b, eps),
            "The gain g is missing. At the start it is 1, so nothing shows it there.",
        ),
    ),
    hints=(
        "Each unit is compared with itself over the batch, so every mean goes down a column.",
        "r = (variance + eps)^(-1/2), x_hat = (s - mean) r, a = g x_hat + b.",
        "Three lines; axis=0 in .mean and in .var, which divides by n.",
    ),
)


def back_batch_norm(delta: Array, x_hat: Array, r: Array, g: Array) -> Three:
    """The right answer to 2.2: the package's own."""
    return normalize_batch_backward_reference(delta, x_hat, r, g)


def _back_cases(rng: np.random.Generator) -> Iterator[Case]:
    ones = np.ones(1)
    yield np.array([[1.0], [0.0]]), np.array([[-1.0], [1.0]]), ones, ones
    yield np.array([[1.0], [1.0]]), np.array([[-1.0], [1.0]]), ones, ones
    yield np.array([[1.0], [0.0], [0.0]]), np.array([[-1.0], [0.0], [1.0]]), ones, 2 * ones
    for rows, units in ((3, 1), (4, 2), (7, 3)):
        g, s = rng.normal(size=units), rng.normal(size=(rows, units))
        _, x_hat, r = batch_norm(s, g, g, 1e-4)
        yield rng.normal(size=(rows, units)), x_hat, r, g


def _check_norm(answer: Callable[..., Any], rng: np.random.Generator) -> Report:
    """The checker's report; gain and outcome are drawn, so that nothing is hidden by a 1."""

    def forward(s: Array, g: Array, b: Array) -> Array:
        return batch_norm(s, g, b, 1e-4)[0]

    def backward(dy: Array, s: Array, g: Array, b: Array) -> Any:
        _, x_hat, r = batch_norm(s, g, b, 1e-4)
        return answer(dy, x_hat, r, g)

    s, g, b = rng.normal(size=(5, 3)), rng.normal(size=3), rng.normal(size=3)
    return check_gradients(forward, (s, g, b), backward=backward, mode="full", rng=rng)


def _without_term(delta: Array, x_hat: Array, r: Array, g: Array) -> Three:
    return g * r * (delta - delta.mean(axis=0)), (delta * x_hat).sum(axis=0), delta.sum(axis=0)


def _without_mean(delta: Array, x_hat: Array, r: Array, g: Array) -> Three:
    ds, dg, db = back_batch_norm(delta, x_hat, r, g)
    return ds + g * r * delta.mean(axis=0), dg, db


def _without_gain(delta: Array, x_hat: Array, r: Array, g: Array) -> Three:
    return (back_batch_norm(delta, x_hat, r, np.ones_like(g))[0], *_sums(delta, x_hat))


def _without_r(delta: Array, x_hat: Array, r: Array, g: Array) -> Three:
    return (back_batch_norm(delta, x_hat, np.ones_like(r), g)[0], *_sums(delta, x_hat))


def _means(delta: Array, x_hat: Array, r: Array, g: Array) -> Three:
    ds, dg, db = back_batch_norm(delta, x_hat, r, g)
    return ds, dg / len(delta), db / len(delta)


def _sums(delta: Array, x_hat: Array) -> tuple[Array, Array]:
    return (delta * x_hat).sum(axis=0), delta.sum(axis=0)


BACK_BATCH_NORM = Exercise(
    id="2.2",
    title="Back through batch norm",
    name="back_batch_norm",
    task="Given delta, the gradient of a, return those of s, of g and of b.",
    section="Algorithm 1, line 7",
    spec=back_batch_norm,
    cases=_back_cases,
    gives=("ds", "dg", "db"),
    same=close(1e-9),
    axes=(".u", ".u", "u", "u"),
    simplify=("delta", "g"),
    gradient=_check_norm,
    points=2,
    wrong=(
        Wrong(
            "no x_hat term",
            _without_term,
            "A term is missing: scaling a column of s must not change the loss, so its gradient "
            "must have no part along x_hat.",
        ),
        Wrong(
            "no mean",
            _without_mean,
            "A term is missing: adding a number to a column of s must not change the loss, so "
            "each column of its gradient sums to 0.",
        ),
        Wrong("no gain", _without_gain, "Your ds is right only for g = 1."),
        Wrong("no r", _without_r, "Your ds lacks the inverse deviation: twice r, twice the slope."),
        Wrong(
            "means",
            _means,
            "Your dg and db are 1/m too small, m the batch: gain and shift act on every example.",
        ),
    ),
    hints=(
        "The mean and the deviation depend on s too: every example pushes on all the others.",
        "ds = g r (delta - mean of delta - x_hat * mean of delta x_hat), means over the batch.",
        "One line for ds with two .mean(axis=0), and two sums over axis 0.",
    ),
)


def dense_backward(dy: Array, x: Array, W: Array) -> tuple[Array, Array]:
    """The right answer to 2.3: the package's own layer."""
    layer = Dense(W.shape[1])
    layer.build((W.shape[0],), np.random.default_rng(0), dtype=np.float64)
    layer.weight.assign(W)
    layer.forward(x, training=True)
    dx = layer.backward(dy)
    assert dx is not None
    assert layer.weight.grad is not None
    return dx, layer.weight.grad


def _dense_cases(rng: np.random.Generator) -> Iterator[Case]:
    yield np.array([[1.0]]), np.array([[2.0]]), np.array([[0.5]])
    yield np.array([[1.0]]), np.array([[0.5]]), np.array([[-0.25]])
    yield np.array([[1.0]]), np.array([[2.0]]), np.array([[-0.0]])
    yield np.array([[1.0], [0.0]]), np.array([[2.0], [1.0]]), np.array([[1.0]])
    for rows, inputs, units in ((2, 3, 4), (5, 4, 3), (3, 7, 2)):
        W = np.clip(rng.normal(0, 0.8, (inputs, units)), -1, 1)
        yield rng.normal(size=(rows, units)), rng.normal(0, 1.5, (rows, inputs)), W


def _binary(W: Array) -> Array:
    return np.where(W >= 0, 1.0, -1.0)


def _check_dense(answer: Callable[..., Any], rng: np.random.Generator) -> Report:
    def sign(W: Array) -> Array:
        return _binary(W)

    def forward(x: Array, W: Array, sign: Callable[[Array], Array] = sign) -> Array:
        return x @ sign(W)

    arrays = rng.normal(size=(3, 4)), np.clip(rng.normal(size=(4, 2)), -1, 1)
    return check_gradients(
        forward, arrays, backward=answer, surrogate={"sign": "identity"}, mode="full", rng=rng
    )


DENSE_BACKWARD = Exercise(
    id="2.3",
    title="Back through a dense layer",
    name="dense_backward",
    task="Given dy, the gradient of x W^b, return those of x and of the binary weights.",
    section="Algorithm 1, lines 8 and 9",
    spec=dense_backward,
    cases=_dense_cases,
    gives=("dx", "dW"),
    same=close(1e-9),
    axes=("bo", "bi", "io"),
    gradient=_check_dense,
    wrong=(
        Wrong(
            "latent weights",
            lambda dy, x, W: (dy @ W.T, x.T @ dy),
            "dx is wrong and dW is right: line 8 takes the weights of the forward pass, the "
            "binary ones.",
        ),
        Wrong(
            "mean",
            lambda dy, x, W: (dy @ _binary(W).T, x.T @ dy / len(x)),
            "dW is 1/m too small, m the batch. The loss has taken the mean already.",
        ),
        Wrong(
            "transposed",
            lambda dy, x, W: (dy @ _binary(W).T, dy.T @ x),
            "Your dW has the shape of the weights' transpose.",
        ),
        Wrong(
            "signs of gradients",
            lambda dy, x, W: (dy @ _binary(W).T, _binary(x.T @ dy)),
            "You made signs of dW. Weights are binary, every gradient is a real number.",
        ),
        Wrong(
            "mask of weights",
            lambda dy, x, W: (dy @ _binary(W).T, (x.T @ dy) * (np.abs(W) < 1)),
            "Weights have no mask: one that sits at 1 or -1 must be able to return.",
        ),
        Wrong(
            "binary input",
            lambda dy, x, W: (dy @ _binary(W).T, _binary(x).T @ dy),
            "dW takes the input as it was, not its sign: in the first layer it is real.",
        ),
        Wrong(
            "mask of input",
            lambda dy, x, W: ((dy @ _binary(W).T) * (np.abs(x) <= 1), x.T @ dy),
            "The mask of eq. (4) belongs to the Sign before this layer, line 6, not to the layer.",
        ),
    ),
    hints=(
        "Both are products of dy with what the forward pass multiplied by, the other operand.",
        "dx = dy (W^b)^T and dW = x^T dy.",
        "Two lines with @ and .T, and the Sign of W with np.where.",
    ),
)


def squared_hinge(scores: Array, labels: Array) -> tuple[float, Array]:
    """The right answer to 2.4: the package's own."""
    return package_squared_hinge(scores, labels)


def _hinge_cases(rng: np.random.Generator) -> Iterator[Case]:
    yield np.array([[0.0, 0.0]]), np.array([0])
    yield np.array([[2.0, -2.0]]), np.array([0])
    yield np.array([[1.0, -1.0]]), np.array([0])
    yield np.array([[0.5, 0.0]]), np.array([1])
    yield np.array([[0.0, 0.0], [3.0, 0.0]]), np.array([1, 0])
    for batch, classes in ((1, 3), (4, 2), (5, 10)):
        yield rng.normal(0, 1.5, (batch, classes)), rng.integers(0, classes, batch)


def _targets(scores: Array, labels: Array) -> Array:
    return np.where(labels[:, None] == np.arange(scores.shape[1]), 1.0, -1.0)


def _hinge_with(scores: Array, y: Array, margin: float = 1.0, slope: float = 2.0) -> Any:
    slack = np.maximum(0, margin - y * scores)
    return np.mean(slack**2), -slope * y * slack / slack.size


def _of_batch(scores: Array, labels: Array) -> Any:
    loss, gradient = squared_hinge(scores, labels)
    return loss * scores.shape[1], gradient * scores.shape[1]


def _not_squared(scores: Array, labels: Array) -> Any:
    y = _targets(scores, labels)
    slack = np.maximum(0, 1 - y * scores)
    return slack.mean(), -y * (slack > 0) / slack.size


def _check_hinge(answer: Callable[..., Any], rng: np.random.Generator) -> Report:
    scores, labels = rng.normal(size=(4, 3)), rng.integers(0, 3, 4)
    return check_gradients(answer, scores, labels=labels, mode="full", rng=rng)


SQUARED_HINGE = Exercise(
    id="2.4",
    title="Squared hinge",
    name="squared_hinge_by_hand",
    task="Return the loss, a mean over batch and classes, and the gradient of the scores.",
    section="section 4.2",
    spec=squared_hinge,
    cases=_hinge_cases,
    gives=("loss", "gradient"),
    same=close(1e-9),
    axes=("bc", "b"),
    gradient=_check_hinge,
    wrong=(
        Wrong(
            "mean over the batch",
            _of_batch,
            "Loss and gradient are as many times too large as there are classes: the mean is over "
            "both.",
        ),
        Wrong(
            "targets 0 and 1",
            lambda scores, labels: _hinge_with(scores, (_targets(scores, labels) + 1) / 2),
            "Your targets are 0 and 1: then a score of a wrong class is never pushed below -1.",
        ),
        Wrong(
            "factor 2",
            lambda scores, labels: _hinge_with(scores, _targets(scores, labels), slope=1),
            "Your gradient is half the slope of your loss: a square has a derivative.",
        ),
        Wrong(
            "margin 0",
            lambda scores, labels: _hinge_with(scores, _targets(scores, labels), margin=0),
            "Your margin is 0: a score that is right by a hair costs nothing.",
        ),
        Wrong(
            "not squared",
            _not_squared,
            "This is the hinge, not its square: your slope does not fall near the margin.",
        ),
        Wrong(
            "wrong sign",
            lambda scores, labels: _hinge_with(scores, _targets(scores, labels), slope=-2),
            "Your gradient has the wrong sign: more of the right score makes the loss smaller.",
        ),
    ),
    hints=(
        "Each class asks for a score beyond 1 on its own side: +1 for the label, -1 for the rest.",
        "mean of max(0, 1 - y a)^2 and its derivative with respect to a.",
        "Targets by comparing labels[:, None] with np.arange; a slack; np.mean; a quotient by "
        "the size.",
    ),
)

Step = tuple[Array, Array, Array, Array, Array, Array]


def algorithm_1(
    a_0: Array,
    labels: Array,
    W_1: Array,
    g_1: Array,
    b_1: Array,
    W_2: Array,
    g_2: Array,
    b_2: Array,
    eta: float,
    eps: float,
) -> Step:
    """The right answer to 2.5: the package's network and its SGD, one step."""
    layers = [Dense(W_1.shape[1]), BatchNorm(eps), Quantize(Sign()), Dense(W_2.shape[1])]
    rng = np.random.default_rng(0)
    network = Sequential([*layers, BatchNorm(eps)], a_0.shape[1:], rng, dtype=np.float64)
    parameters = network.parameters()
    for parameter, value in zip(parameters.values(), (W_1, g_1, b_1, W_2, g_2, b_2), strict=True):
        parameter.assign(value)
    _, gradient = package_squared_hinge(network.forward(a_0, training=True), labels)
    network.backward(gradient)
    SGD(eta).step(parameters)
    w_1, gain_1, shift_1, w_2, gain_2, shift_2 = (p.latent.copy() for p in parameters.values())
    return w_1, gain_1, shift_1, w_2, gain_2, shift_2


def _step_cases(rng: np.random.Generator) -> Iterator[Case]:
    for seed in (1, 2, 3):
        yield _net(np.random.default_rng(seed), 3, 2, 2, 2, 0.5)
    for _ in range(12):
        batch, inputs, units, classes = (int(n) for n in rng.integers(2, 7, 4))
        yield _net(rng, batch + 1, inputs, units, classes, float(rng.choice([0.25, 0.5])))


def _net(
    rng: np.random.Generator, batch: int, inputs: int, units: int, classes: int, eta: float
) -> Case:
    W_1 = np.clip(rng.normal(0, 0.5, (inputs, units)), -1, 1).round(1)
    W_2 = np.clip(rng.normal(0, 0.5, (units, classes)), -1, 1).round(1)
    a_0, labels = rng.normal(size=(batch, inputs)).round(1), rng.integers(0, classes, batch)
    affine = [rng.uniform(0.5, 2, n).round(1) * s for n, s in ((units, 1), (units, 0.3))]
    affine += [rng.uniform(0.5, 2, n).round(1) * s for n, s in ((classes, 1), (classes, 0.3))]
    return a_0, labels, W_1, affine[0], affine[1], W_2, affine[2], affine[3], eta, 1e-2


GIVES = ("W_1", "g_1", "b_1", "W_2", "g_2", "b_2")


def _in_words(arguments: Mapping[str, Any], yours: Any, right: Any) -> str:
    """Names of what is wrong; ten arguments in full would be a page."""
    wrong = [
        name
        for name, one, model in zip(GIVES, yours, right, strict=True)
        if not np.allclose(one, model, rtol=0, atol=1e-9)
    ]
    sizes = (*arguments["W_1"].shape, arguments["W_2"].shape[1])
    first = GIVES.index(wrong[0])
    place = np.unravel_index(np.abs(yours[first] - right[first]).argmax(), right[first].shape)
    where = ", ".join(str(int(i)) for i in place)
    return (
        f"In a small net, {' -> '.join(map(str, sizes))}, wrong after the step: "
        f"{', '.join(wrong)}. {wrong[0]}[{where}]: yours is {yours[first][place]:.6g}, right is "
        f"{right[first][place]:.6g}."
    )


ALGORITHM_1 = Exercise(
    id="2.5",
    title="One step of Algorithm 1",
    name="algorithm_1",
    task="Put 2.1 to 2.4 together: return the six new parameters of the net of two layers.",
    section="Algorithm 1",
    spec=algorithm_1,
    cases=_step_cases,
    gives=GIVES,
    same=close(1e-9),
    axes=("",) * 10,
    simple=(),
    words=_in_words,
    points=3,
    wrong=(
        Wrong(
            "no mask",
            step_with(mask=False),
            "Line 6 is missing: where |a_1| > 1 the mask is closed, and you let the gradient "
            "through.",
        ),
        Wrong(
            "order",
            step_with(early=True),
            "Line 8 saw the new W_2: all gradients come first, then the updates.",
        ),
        Wrong(
            "gamma inverse",
            step_with(gamma=lambda gamma: 1 / gamma),
            "Your steps are gamma^2 too small: gamma multiplies the learning rate.",
        ),
        Wrong(
            "no gamma",
            step_with(gamma=lambda gamma: 1.0),
            "Your steps of the weights are gamma too small: line 11 scales their learning rate.",
        ),
        Wrong(
            "no clip",
            step_with(clip=False),
            "Line 11 ends in a clip: a latent weight has left [-1, 1].",
        ),
        Wrong(
            "latent in line 8",
            step_with(latent=True),
            "Layer 1 is wrong and layer 2 right: line 8 takes the binary weights.",
        ),
        Wrong(
            "affine scaled",
            step_with(affine=True),
            "Gain and shift move with eta alone, line 10: gamma is for binary weights.",
        ),
    ),
    hints=(
        "Forward for both layers, loss, backward from the last line to the first, then all "
        "updates.",
        "Lines 1 to 4, 5, 7, 8, 9, 6, 7, 9, then 10 and 11 with gamma = glorot_scale of each "
        "layer.",
        "About fifteen lines: two calls of 2.1, one of 2.4, two of 2.2, one of 2.3, a mask, six "
        "updates.",
    ),
)

EXERCISES = (BATCH_NORM, BACK_BATCH_NORM, DENSE_BACKWARD, SQUARED_HINGE, ALGORITHM_1)
QUESTIONS = (
    Question(
        "2.2a",
        "Why is the sign of a_1 not the sign of s_1?",
        "mean",
        options=("mean", "deviation", "gain"),
        no={
            "deviation": "A division by a positive number changes no sign.",
            "gain": "It is 1 here: it changes nothing.",
        },
    ),
    Question(
        "2.4a",
        "Which W_2 stands in line 8?",
        "binary",
        options=("latent", "binary"),
        no={"latent": "The forward pass did not use it, so the chain rule does not."},
    ),
    Question(
        "2.4b",
        "How many of the twelve gradients of a_1 are stopped?",
        5,
        no={7: "That many pass: |a_1| <= 1."},
    ),
    Question("2.5a", "Row and column of the weight of W_1 that flips, from 0?", (1, 1)),
    Question(
        "2.6a",
        "Which tensors will be wrong, those below the layer or its own weights?",
        "below",
        options=("below", "own"),
        no={"own": "Line 9 is still right: it does not use the weights."},
    ),
    Question("2.7a", "Will a weight that has flipped stay where it is?", False),
)
