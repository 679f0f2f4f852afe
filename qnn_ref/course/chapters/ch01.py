"""Chapter 1, one bit: Sign, its straight-through gradient, stochastic Sign, latent weights."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from qnn_ref._typing import Array
from qnn_ref.course.compare import close
from qnn_ref.course.exercise import Case, Exercise, Question, Wrong
from qnn_ref.optimizers import SGD
from qnn_ref.parameter import Parameter
from qnn_ref.quantizers import Sign, hard_sigmoid

EDGES = (0.0, -0.0, 1.0, -1.0, np.nextafter(1, 2), np.nextafter(1, 0), -np.nextafter(1, 2), 5e-324)
"""Where a comparison shows whether it is strict."""


def sign(x: Array) -> Array:
    """The right answer to 1.1: the package's own."""
    return Sign().quantize(x)


def _sign_cases(rng: np.random.Generator) -> Iterator[Case]:
    yield from ((np.array([value]),) for value in (*EDGES, 2.0, -0.5))
    yield (np.array([-1.7, -0.3, 0.2, 0.9], np.float32),)
    for shape in ((3,), (2, 5), (65,), (2, 3, 4)):
        yield (rng.choice([*EDGES, *rng.normal(size=4)], shape),)
        yield (rng.normal(size=shape).astype(np.float32),)


SIGN = Exercise(
    id="1.1",
    title="Sign",
    name="sign",
    task="Return +1 where x >= 0 and -1 elsewhere, in the type of x.",
    section="eq. (1)",
    spec=sign,
    cases=_sign_cases,
    wrong=(
        Wrong(
            "numpy.sign",
            lambda x: np.sign(x),
            "That has a third value, 0 at 0. One bit has no room for it.",
        ),
        Wrong(
            "greater",
            lambda x: np.where(x > 0, 1, -1).astype(x.dtype),
            "You test x > 0. Eq. (1) says >=: 0 becomes +1.",
        ),
        Wrong(
            "sign bit",
            lambda x: np.copysign(np.ones_like(x), x),
            "You take the sign bit of the number. -0.0 >= 0 is true, although its sign bit is set.",
        ),
        Wrong(
            "truth values",
            lambda x: (x >= 0).astype(x.dtype),
            "These are 1 and 0. The two values of eq. (1) are +1 and -1.",
        ),
    ),
    hints=(
        "There are two cases, and every number belongs to one of them.",
        "+1 if x >= 0, else -1; then the type of x.",
        "numpy.where(condition, value if true, value if false), then .astype(x.dtype).",
    ),
)


def straight_through(dy: Array, x: Array) -> Array:
    """The right answer to 1.2: the package's own."""
    return Sign().backward(dy, x)


def _gradient_cases(rng: np.random.Generator) -> Iterator[Case]:
    for value in (0.5, 1.0, -1.0, 2.0, -2.0, *EDGES):
        yield np.array([1.0]), np.array([value])
    yield np.array([10.0]), np.array([0.5])
    yield np.array([-10.0]), np.array([1.0])
    yield np.array([0.25]), np.array([3.0])
    yield np.array([10.0, -3.0], np.float32), np.array([1.0, 1.5], np.float32)
    for shape in ((3,), (2, 5), (65,), (2, 3, 4)):
        x = rng.choice([*EDGES, *rng.normal(0, 2, 8)], shape)
        yield rng.normal(0, 3, shape), x


STRAIGHT_THROUGH = Exercise(
    id="1.2",
    title="Straight-through gradient",
    name="straight_through",
    task="Given dy, the gradient of Sign(x), return that of x.",
    section="eq. (4)",
    spec=straight_through,
    cases=_gradient_cases,
    wrong=(
        Wrong(
            "no mask",
            lambda dy, x: dy.copy(),
            "Your gradient passes everywhere. It should stop where |x| is larger than 1.",
        ),
        Wrong(
            "strict",
            lambda dy, x: dy * (np.abs(x) < 1),
            "Your mask is strict, |x| < 1. Eq. (4) keeps the bound: at exactly 1 the gradient "
            "passes.",
        ),
        Wrong(
            "mask of dy",
            lambda dy, x: dy * (np.abs(dy) <= 1),
            "Your mask looks at the gradient. It looks at x only: a gradient of 10 passes as 10.",
        ),
        Wrong(
            "clip of dy",
            lambda dy, x: np.clip(dy, -1, 1) * (np.abs(x) <= 1),
            "You clip the gradient. The mask looks at x only: a gradient of 10 passes as 10.",
        ),
        Wrong(
            "one side",
            lambda dy, x: dy * (x <= 1),
            "Your mask looks at one side only. The bound holds below -1 as well.",
        ),
    ),
    hints=(
        "In the backward pass Sign is replaced by a function that has a slope. What is its slope?",
        "The slope of the hard tanh is 1 where |x| <= 1, bound included, and 0 elsewhere.",
        "The product of dy and a comparison of numpy.abs(x).",
    ),
)


def stochastic_sign(x: Array, u: Array) -> Array:
    """The right answer to 1.3: +1 where u lies below the hard sigmoid."""
    return np.where(u < hard_sigmoid(x), 1.0, -1.0)


def _stochastic_cases(rng: np.random.Generator) -> Iterator[Case]:
    for value, noise in ((1.0, 0.9), (-1.0, 0.0), (0.0, 0.25), (0.0, 0.75), (0.5, 0.75)):
        yield np.array([value]), np.array([noise])
    for value in (-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0):
        yield np.full(5, value), np.array([0.0, 0.1, 0.27, 0.5, 0.9])
    for shape in ((7,), (2, 5), (2000,)):
        yield rng.normal(size=shape), rng.random(shape)


def _logistic(x: Array, u: Array) -> Array:
    return np.where(u < 1 / (1 + np.exp(-x)), 1.0, -1.0)


STOCHASTIC_SIGN = Exercise(
    id="1.3",
    title="Stochastic Sign",
    name="stochastic_sign",
    task="Return +1 with the probability of eq. (3), else -1; u is uniform in [0, 1).",
    section="eqs. (2), (3)",
    spec=stochastic_sign,
    cases=_stochastic_cases,
    simplify=("x",),
    wrong=(
        Wrong(
            "logistic",
            _logistic,
            "That is the logistic function: with it 27 % of the draws at x = 1 are -1. The hard "
            "sigmoid of eq. (3) is certain from there on.",
        ),
        Wrong(
            "at most",
            lambda x, u: np.where(u <= hard_sigmoid(x), 1.0, -1.0),
            "With u = 0 and x = -1 this gives +1, but the probability is 0 there: u can be 0.",
        ),
        Wrong(
            "exchanged",
            lambda x, u: np.where(u >= hard_sigmoid(x), 1.0, -1.0),
            "The probabilities are exchanged: larger x should give +1 more often.",
        ),
        Wrong(
            "no draw",
            lambda x, u: np.where(x >= 0, 1.0, -1.0),
            "You do not use u: this is the deterministic Sign.",
        ),
    ),
    hints=(
        "A uniform number lies below p with probability p.",
        "p = clip((x + 1) / 2, 0, 1), and +1 where u < p.",
        "numpy.where(comparison of u with a numpy.clip, 1.0, -1.0).",
    ),
)


def latent_step(w: Array, grad: Array, lr: float, scale: float) -> Array:
    """The right answer to 1.4: the package's own step."""
    parameter = Parameter(w, quantizer=Sign(), bound=1.0, learning_rate_scale=scale)
    parameter.grad = grad
    SGD(lr).step({"w": parameter})
    return parameter.latent


def _latent_cases(rng: np.random.Generator) -> Iterator[Case]:
    yield np.array([0.02]), np.array([0.3]), 0.1, 1.0
    yield np.array([-1.0]), np.array([-0.5]), 0.1, 1.0
    yield np.array([0.9]), np.array([-3.0]), 0.1, 1.0
    yield np.array([0.9]), np.array([-3.0]), 0.1, 2.0
    yield np.array([0.5]), np.array([0.3]), 0.1, 4.0
    yield np.array([-1.0, 1.0]), np.array([1.0, 1.0]), 0.25, 1.0
    for shape in ((3,), (2, 5), (65,)):
        w = np.clip(rng.normal(size=shape), -1, 1)
        yield w, rng.normal(0, 4, shape), 0.25, float(rng.integers(1, 4))


def _stuck(w: Array, grad: Array, lr: float, scale: float) -> Array:
    return np.clip(w - scale * lr * grad * (np.abs(w) < 1), -1, 1)


LATENT_STEP = Exercise(
    id="1.4",
    title="A step of a latent weight",
    name="latent_step",
    task="Return the latent weights after one step; grad is that of the binary weights.",
    section="Algorithm 1, line 11",
    spec=latent_step,
    cases=_latent_cases,
    same=close(1e-12),
    axes=("n", "n", "", ""),
    simplify=("w", "grad"),
    simple=(0, 1, -1, 0.5),
    wrong=(
        Wrong(
            "moves the sign",
            lambda w, grad, lr, scale: np.clip(np.where(w >= 0, 1, -1) - scale * lr * grad, -1, 1),
            "0.02 became 0.97: you moved the binary weight. The latent one moves.",
        ),
        Wrong(
            "no clip",
            lambda w, grad, lr, scale: w - scale * lr * grad,
            "Nothing holds the weight: after 20 pushes it is at -2.5 and needs as long to return.",
        ),
        Wrong(
            "mask at the bound",
            _stuck,
            "A weight at -1 or 1 never returns with your mask. Weights have none: the clip does "
            "its job.",
        ),
        Wrong(
            "scale after the clip",
            lambda w, grad, lr, scale: scale * np.clip(w - lr * grad, -1, 1),
            "The clip is last; the scale belongs to the step.",
        ),
        Wrong(
            "no scale",
            lambda w, grad, lr, scale: np.clip(w - lr * grad, -1, 1),
            "The step does not use scale, the factor gamma of line 11.",
        ),
        Wrong(
            "uphill",
            lambda w, grad, lr, scale: np.clip(w + scale * lr * grad, -1, 1),
            "This goes uphill: a positive gradient makes the weight smaller.",
        ),
    ),
    hints=(
        "The gradient of the binary weight moves the real number behind it, and that stays in "
        "its range.",
        "A step of gradient descent with rate scale * lr, then a clip to [-1, 1].",
        "One numpy.clip around the whole step.",
    ),
)

EXERCISES = (SIGN, STRAIGHT_THROUGH, STOCHASTIC_SIGN, LATENT_STEP)
QUESTIONS = (
    Question(
        "1.1a",
        "Sign of 0, of -0.0, and of the smallest number above 0?",
        (1, 1, 1),
        no={
            (0, 0, 1): "That is numpy.sign. Here 0 >= 0 counts.",
            (1, -1, 1): "-0.0 equals 0, so it is >= 0.",
        },
    ),
    Question(
        "1.1b",
        "What is Sign of NaN?",
        "an error",
        options=("+1", "-1", "NaN", "an error"),
        no={"-1": "That is what a comparison would give, and it would be wrong."},
    ),
    Question(
        "1.2a",
        "The difference quotient at 0.3 and at 0, for h = 0.01?",
        (0, 100),
        no={(0, 0): "At 0 the two ends lie on different sides of the jump."},
    ),
    Question(
        "1.3a",
        "What is the mask at exactly 1, and one float above?",
        (1, 0),
        no={(0, 0): "Look at the full dot in the right picture.", (1, 1): "Only up to the bound."},
    ),
    Question(
        "1.4a",
        "How many of the seven gradients will be wrong without the mask?",
        2,
        no={4: "At exactly the bound the gradient passes in both."},
    ),
    Question(
        "1.4b",
        "Which line is steeper, the right or the wrong gradient's?",
        "right",
        options=("right", "wrong"),
    ),
    Question(
        "1.5a",
        "What is the mean at x = 0.5?",
        0.5,
        about=1e-9,
        no={0.75: "That is the probability of +1; the mean counts the -1 as well."},
    ),
    Question("1.5b", "Is the draw at x = 1 always +1?", True),
    Question(
        "1.6a",
        "Which picture changes?",
        "backward",
        options=("forward", "backward", "both"),
        no={"both": "Sign itself has no bound."},
    ),
    Question("1.7a", "After which step does the binary weight flip?", 1),
    Question(
        "1.7b",
        "How many steps up does the weight that is not clipped need until it is +1 again?",
        17,
        no={20: "It started at 0.5, above 0.", 16: "After 16 it is at -0.1: count once more."},
    ),
)
