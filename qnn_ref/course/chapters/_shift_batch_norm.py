"""Algorithm 2 for chapter 5, forward and backward: cases, and mistakes as programs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from qnn_ref._typing import Array
from qnn_ref.course.exercise import Case
from qnn_ref.shifts import ap2

Function = Callable[..., Any]
Backward = Callable[[Array, Array, Array, float], tuple[Array, Array, Array]]


def forward_cases(rng: np.random.Generator) -> Iterator[Case]:
    """Batches x with gains, shifts and eps."""
    one, zero = np.ones(1), np.zeros(1)
    yield np.array([[1.0], [-1.0]]), one, zero, 1e-5
    yield np.array([[3.0], [1.0]]), one, zero, 1e-5
    yield np.array([[1.0], [-1.0]]), one, np.array([0.75]), 1e-5
    yield np.array([[1.0], [-1.0]]), np.array([1.5]), zero, 1e-5
    yield np.array([[1.0], [-1.0]]), np.array([-3.0]), one, 1e-5
    yield np.array([[1.5], [-1.5]]), one, zero, 1e-5
    yield np.array([[-2.0], [5.0], [6.0], [7.0]]), one, zero, 1e-5
    for column in ((-3.0, 0.0, 3.0), (-6.0, 3.0, 3.0), (-2.0, 0.0, 2.0)):
        yield np.array(column)[:, None], one, zero, 1e-5
    yield np.array([[2.0], [2.0]]), one, one, 1.0
    yield np.array([[1.0], [-1.0]]), one, zero, 15.0
    yield np.array([[1.0, 4.0], [-1.0, 2.0]]), np.ones(2), np.zeros(2), 1e-5
    for shape in ((3, 2), (4, 3), (8, 5), (30, 2), (10, 65)):
        x = rng.normal(rng.normal(size=shape[1]), rng.uniform(0.3, 4, shape[1]), shape)
        g = rng.choice([-1, 1], shape[1]) * rng.uniform(0.2, 3, shape[1])
        yield x, g, rng.normal(size=shape[1]), 1e-4


def _forward(
    x: Array,
    g: Array,
    b: Array,
    eps: float,
    *,
    second: Function = ap2,
    inverse: Function = lambda v, eps: ap2(1 / np.sqrt(v + eps)),
    gain: Function = ap2,
) -> Array:
    c = x - x.mean(axis=0)
    with np.errstate(invalid="ignore"):
        return gain(g) * (c * inverse((c * second(c)).mean(axis=0), eps)) + b


FORWARD_MISTAKES = (
    (
        "shift without sign",
        lambda x, g, b, eps: _forward(x, g, b, eps, second=lambda c: np.abs(ap2(c))),
        "Your shift in line 3 has no sign, so positive and negative terms cancel: c = -6, 1, 2, 3 "
        "has 16.25, yours -7.75, and the root of that is NaN.",
    ),
    (
        "shift b missing",
        lambda x, g, b, eps: _forward(x, g, np.zeros_like(b), eps),
        "That is line 5 as printed. The comment beside it says scale and shift: b is missing.",
    ),
    (
        "plain variance",
        lambda x, g, b, eps: _forward(x, g, b, eps, second=lambda c: c),
        "Your line 3 multiplies c with itself. One of the two factors is rounded, so that the "
        "product is a shift.",
    ),
    (
        "both factors rounded",
        lambda x, g, b, eps: _forward(
            x,
            g,
            b,
            eps,
            second=lambda c: ap2(c) * np.divide(ap2(c), c, out=np.zeros_like(c), where=c != 0),
        ),
        "You round both factors in line 3. Only one of them has to be a power of two.",
    ),
    (
        "AP2 of the variance",
        lambda x, g, b, eps: _forward(
            x, g, b, eps, inverse=lambda v, eps: 1 / np.sqrt(ap2(v + eps))
        ),
        "You round the variance and take the root then: half of the results are no powers of two. "
        "The inverse root is rounded.",
    ),
    (
        "line 4 not rounded",
        lambda x, g, b, eps: _forward(x, g, b, eps, inverse=lambda v, eps: 1 / np.sqrt(v + eps)),
        "Your line 4 is a product with the inverse deviation itself. A shift takes its AP2.",
    ),
    (
        "gain not rounded",
        lambda x, g, b, eps: _forward(x, g, b, eps, gain=lambda g: g),
        "Your line 5 multiplies with the gain itself. A shift takes its AP2.",
    ),
    (
        "eps outside the root",
        lambda x, g, b, eps: _forward(
            x, g, b, eps, inverse=lambda v, eps: ap2(1 / (np.sqrt(v) + eps))
        ),
        "eps belongs under the root, beside the variance.",
    ),
    (
        "all units at once",
        lambda x, g, b, eps: _all_units(x, g, b, eps),
        "You take one mean and one variance of the whole batch. Each unit, a column, has its own.",
    ),
    (
        "shift rounded",
        lambda x, g, b, eps: _forward(x, g, ap2(b), eps),
        "You round b as well. It is added, and an addition needs no power of two.",
    ),
    (
        "not centred",
        lambda x, g, b, eps: _forward_of_x(x, g, b, eps),
        "Line 4 takes c, not x: the mean is still in your result.",
    ),
)


def _forward_of_x(x: Array, g: Array, b: Array, eps: float) -> Array:
    c = x - x.mean(axis=0)
    return ap2(g) * (x * ap2(1 / np.sqrt((c * ap2(c)).mean(axis=0) + eps))) + b


def _all_units(x: Array, g: Array, b: Array, eps: float) -> Array:
    c = x - x.mean()
    return ap2(g) * (c * ap2(1 / np.sqrt(np.mean(c * ap2(c)) + eps))) + b


def backward_cases(rng: np.random.Generator) -> Iterator[Case]:
    """Gradients dy with centred values, gains and eps."""
    one = np.ones(1)
    c = np.array([[3.0], [-1.0], [-2.0]])
    for dy in ((1.0, 0.0, 0.0), (1.0, 1.0, 1.0), (1.0, -1.0, 0.0)):
        for gain in (1.0, 3.0, -0.7):
            yield np.array(dy)[:, None], c, gain * one, 1e-5
    yield np.array([[1.0], [0.0], [0.0]]), c, one, 3.0
    for batch, units in ((3, 2), (4, 3), (8, 5), (30, 2), (10, 65)):
        c = rng.normal(size=(batch, units)) * rng.uniform(0.3, 4, units)
        g = rng.choice([-1, 1], units) * rng.uniform(0.2, 3, units)
        yield rng.normal(size=(batch, units)), c - c.mean(axis=0), g, 1e-4


def _parts(c: Array, g: Array, eps: float) -> tuple[Array, Array, Array, Array]:
    """A, r, s, G."""
    A = ap2(c)
    r = 1 / np.sqrt((c * A).mean(axis=0) + eps)
    return A, r, ap2(r), ap2(g)


def _slope(
    dy: Array,
    c: Array,
    g: Array,
    eps: float,
    *,
    both: bool = True,
    centred: bool = True,
    factor: float = 0.5,
    rounded: bool = False,
) -> tuple[Array, Array, Array]:
    """The right gradients, or one of the mistakes that change a letter of them."""
    A, r, s, G = _parts(c, g, eps)
    p = (dy * c).mean(axis=0)
    d = G * (s * dy - factor * (s if rounded else r) ** 3 * (A + c if both else 2 * A) * p)
    return d - d.mean(axis=0) * centred, (dy * c * s).sum(axis=0), dy.sum(axis=0)


def _constant(dy: Array, c: Array, g: Array, eps: float) -> tuple[Array, Array, Array]:
    _, _, s, G = _parts(c, g, eps)
    return G * s * (dy - dy.mean(axis=0)), np.zeros_like(g), dy.sum(axis=0)


def _torch(dy: Array, c: Array, g: Array, eps: float) -> tuple[Array, Array, Array]:
    A, _, s, G = _parts(c, g, eps)
    along = s * s * A * (dy * A).mean(axis=0)
    dg = (dy * ap2(c * s)).sum(axis=0)
    return G * s * (dy - dy.mean(axis=0) - along), dg, dy.sum(axis=0)


def _ratio(dy: Array, c: Array, g: Array, eps: float) -> tuple[Array, Array, Array]:
    A, r, s, G = _parts(c, g, eps)
    d = G * s * (dy - r * r * A * (dy * c).mean(axis=0))
    return d - d.mean(axis=0), G / g * (dy * c * s).sum(axis=0), dy.sum(axis=0)


def _plain(dy: Array, c: Array, g: Array, eps: float) -> tuple[Array, Array, Array]:
    r = 1 / np.sqrt((c * c).mean(axis=0) + eps)
    x_hat = c * r
    dx = g * r * (dy - dy.mean(axis=0) - x_hat * (dy * x_hat).mean(axis=0))
    return dx, (dy * x_hat).sum(axis=0), dy.sum(axis=0)


def _variance_constant(dy: Array, c: Array, g: Array, eps: float) -> tuple[Array, Array, Array]:
    _, _, s, G = _parts(c, g, eps)
    return G * s * (dy - dy.mean(axis=0)), (dy * c * s).sum(axis=0), dy.sum(axis=0)


def _sum_for_mean(dy: Array, c: Array, g: Array, eps: float) -> tuple[Array, Array, Array]:
    A, r, s, G = _parts(c, g, eps)
    d = G * (s * dy - 0.5 * r**3 * (A + c) * (dy * c).sum(axis=0))
    return d - d.mean(axis=0), (dy * c * s).sum(axis=0), dy.sum(axis=0)


def _with(
    number: int, change: Function
) -> Callable[[Array, Array, Array, float], tuple[Array, ...]]:
    """The right gradients, one of them changed."""

    def answer(dy: Array, c: Array, g: Array, eps: float) -> tuple[Array, ...]:
        right = list(_slope(dy, c, g, eps))
        right[number] = change(right[number], dy, c, g, eps)
        return tuple(right)

    return answer


BACKWARD_MISTAKES = (
    (
        "all AP2 constant",
        _constant,
        "You treat every AP2 as a constant. That is exact, and useless: the gain gets 0 and never "
        "trains, and the variance is cut out of the gradient of x.",
    ),
    (
        "variance constant",
        _variance_constant,
        "The gradient through the variance is missing: line 4 divides by something that depends "
        "on x.",
    ),
    (
        "torch",
        _torch,
        "That is the form of the authors' Torch code. Its columns do not sum to 0, so it is the "
        "gradient of no function.",
    ),
    (
        "ratio",
        _ratio,
        "That is the form ratio. It is a gradient too, of another stand-in: here each AP2 has "
        "slope 1.",
    ),
    (
        "plain batch norm",
        _plain,
        "That is the gradient of plain batch norm. Nothing is rounded in it.",
    ),
    (
        "2 A for A + c",
        lambda dy, c, g, eps: _slope(dy, c, g, eps, both=False),
        "In line 3 both factors move: c, and AP2(c) with slope 1. You differentiated as if they "
        "were the same.",
    ),
    (
        "sign of the second term",
        lambda dy, c, g, eps: _slope(dy, c, g, eps, factor=-0.5),
        "The gradient through the variance has the wrong sign: where x makes the variance larger, "
        "the result becomes smaller.",
    ),
    (
        "half missing",
        lambda dy, c, g, eps: _slope(dy, c, g, eps, factor=1.0),
        "The gradient through the variance is twice too large: the slope of a root has a half.",
    ),
    (
        "s^3 for r^3",
        lambda dy, c, g, eps: _slope(dy, c, g, eps, rounded=True),
        "You took s for r in the second term. AP2 has slope 1 here, so what is behind it is "
        "differentiated as it is, not rounded.",
    ),
    (
        "not centred",
        lambda dy, c, g, eps: _slope(dy, c, g, eps, centred=False),
        "Lines 1 and 2 are missing: the layer takes the mean away, so each column of the gradient "
        "of x has to sum to 0.",
    ),
    (
        "sum for the mean",
        _sum_for_mean,
        "p is a mean over the batch; yours is m times too large.",
    ),
    (
        "mean for the sum in dg",
        _with(1, lambda right, dy, c, g, eps: right / len(dy)),
        "Your gradient of g is m times too small. Every example adds to it.",
    ),
    (
        "mean for the sum in db",
        _with(2, lambda right, dy, c, g, eps: right / len(dy)),
        "Your gradient of b is m times too small. Every example adds to it.",
    ),
    (
        "c for x_hat in dg",
        _with(1, lambda right, dy, c, g, eps: (dy * c).sum(axis=0)),
        "Your gradient of g multiplies with c. What g multiplies in line 5 is the normalized "
        "value.",
    ),
    (
        "gain not rounded",
        _with(0, lambda right, dy, c, g, eps: right / ap2(g) * g),
        "Your gradient of x uses g. The forward pass multiplied with AP2(g), so that is what the "
        "gradient passes on its way back.",
    ),
)
