"""A step of Algorithm 4: exercise 5.5."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from qnn_ref._typing import Array
from qnn_ref.course.compare import close
from qnn_ref.course.exercise import Case, Exercise, Wrong
from qnn_ref.optimizers import ShiftAdaMax
from qnn_ref.parameter import Parameter
from qnn_ref.shifts import ap2


def shift_adamax(m: Array, v: Array, t: int, grad: Array) -> tuple[Array, Array, Array]:
    """The right answer to 5.5: one step of the package's optimizer."""
    optimizer = ShiftAdaMax()
    optimizer.steps = t - 1
    weight = Parameter(np.zeros_like(m))
    weight.grad = grad
    optimizer.state = {"w": {"first": m.copy(), "norm": v.copy()}}
    optimizer.step({"w": weight})
    moments = optimizer.state["w"]
    return moments["first"], moments["norm"], 0.0 - weight.latent


def _adamax_cases(rng: np.random.Generator) -> Iterator[Case]:
    zero = np.zeros(1)
    yield zero, zero, 1, np.ones(1)
    yield zero, zero, 1, np.array([-0.5])
    yield np.ones(1), np.ones(1), 10, zero
    yield zero, zero, 1, zero
    yield np.array([0.5]), np.ones(1), 3, np.array([3.0])
    yield np.array([0.5]), np.ones(1), 50, np.array([-3.0])
    yield np.array([0.001]), np.ones(1), 2000, np.array([0.001])
    m, v = np.zeros(5), np.zeros(5)
    for t in range(1, 2001):
        grad = rng.normal(size=5) * np.array([1, 1e-3, 0, 1e3, float(t == 1)])
        if t in (1, 2, 3, 4, 9, 10, 100, 1000, 2000):
            yield m.copy(), v.copy(), t, grad
        m, v = 0.875 * m + 0.125 * grad, np.maximum(v * (1 - 2.0**-10), np.abs(grad))


def _algorithm_4(
    m: Array, v: Array, t: int, grad: Array, *, size: float | None = None, norm: Array | None = None
) -> tuple[Array, Array, Array]:
    m = m - m / 8 + grad / 8
    v = np.maximum(v - v / 1024, np.abs(grad)) if norm is None else norm
    size = float(ap2(np.array(2.0**-10 / (1 - 0.875**t)))) if size is None else size
    rounded = ap2(v)
    return m, v, size * np.divide(m, rounded, out=np.zeros_like(m), where=rounded > 0)


def _stored(m: Array, v: Array, t: int, grad: Array) -> tuple[Array, Array, Array]:
    norm = ap2(np.maximum(v - v / 1024, np.abs(grad)))
    return _algorithm_4(m, v, t, grad, norm=norm)


def _no_case_for_zero(m: Array, v: Array, t: int, grad: Array) -> tuple[Array, Array, Array]:
    m, v, _ = _algorithm_4(m, v, t, grad)
    with np.errstate(all="ignore"):
        return m, v, float(ap2(np.array(2.0**-10 / (1 - 0.875**t)))) * (m / ap2(v))


def _not_rounded(m: Array, v: Array, t: int, grad: Array) -> tuple[Array, Array, Array]:
    m, v, _ = _algorithm_4(m, v, t, grad)
    ratio = np.divide(m, v, out=np.zeros_like(m), where=v > 0)
    return m, v, float(ap2(np.array(2.0**-10 / (1 - 0.875**t)))) * ratio


def _old_m(m: Array, v: Array, t: int, grad: Array) -> tuple[Array, Array, Array]:
    new_m, new_v, _ = _algorithm_4(m, v, t, grad)
    rounded = ap2(new_v)
    size = float(ap2(np.array(2.0**-10 / (1 - 0.875**t))))
    return new_m, new_v, size * np.divide(m, rounded, out=np.zeros_like(m), where=rounded > 0)


def _uphill(m: Array, v: Array, t: int, grad: Array) -> tuple[Array, Array, Array]:
    m, v, step = _algorithm_4(m, v, t, grad)
    return m, v, -step


def _usual(m: Array, v: Array, t: int, grad: Array) -> tuple[Array, Array, Array]:
    m, v = 0.9 * m + 0.1 * grad, np.maximum(0.999 * v, np.abs(grad))
    rounded = ap2(v)
    size = float(ap2(np.array(2.0**-10 / (1 - 0.9**t))))
    return m, v, size * np.divide(m, rounded, out=np.zeros_like(m), where=rounded > 0)


ADAMAX = Exercise(
    id="5.5",
    title="A step of shift-based AdaMax",
    name="shift_adamax",
    task="Return the new m, the new v and what is subtracted from the weights, in step t of "
    "Algorithm 4 with the paper's constants.",
    section="Algorithm 4",
    spec=shift_adamax,
    gives=("m", "v", "step"),
    cases=_adamax_cases,
    same=close(1e-12),
    axes=("n", "n", "", "n"),
    without=("ShiftAdaMax", "shift_adamax_update", "shift_adamax_update_reference"),
    wrong=(
        Wrong(
            "product for division",
            lambda m, v, t, grad: _algorithm_4(
                m, v, t, grad, size=float(ap2(np.array(2.0**-10 * (1 - 0.875**t))))
            ),
            "You multiply by 1 - beta1^t: the first step is 2^-13. The correction of a mean that "
            "is too small has to divide, which makes 2^-7.",
        ),
        Wrong(
            "no correction",
            lambda m, v, t, grad: _algorithm_4(m, v, t, grad, size=2.0**-10),
            "Your step size does not know t. At first m is too small by 1 - beta1^t, and line 3 "
            "makes up for it.",
        ),
        Wrong(
            "t from 0",
            lambda m, v, t, grad: _algorithm_4(
                m, v, t, grad, size=float(ap2(np.array(2.0**-10 / (1 - 0.875 ** (t + 1)))))
            ),
            "Your step is that of t + 1. The first step has t = 1 already.",
        ),
        Wrong(
            "step not rounded",
            lambda m, v, t, grad: _algorithm_4(m, v, t, grad, size=2.0**-10 / (1 - 0.875**t)),
            "The step size is no power of two in yours, so the product with it is no shift.",
        ),
        Wrong(
            "v is stored rounded",
            _stored,
            "You keep the rounded v. AP2(0.999 v) is v again, so it never decays: after 2,000 "
            "small gradients it is what it was. Round where v is used.",
        ),
        Wrong(
            "0 / 0",
            _no_case_for_zero,
            "Where v is 0 no gradient has come yet, and m is 0 as well. Such a weight does not "
            "move: 0 / 0 needs a case of its own.",
        ),
        Wrong(
            "v not rounded",
            _not_rounded,
            "You divide by v. Line 3 shifts: by the power of two next to it.",
        ),
        Wrong(
            "no decay",
            lambda m, v, t, grad: _algorithm_4(m, v, t, grad, norm=np.maximum(v, np.abs(grad))),
            "Your v never becomes smaller. Line 2 lets a thousandth of it go in each step.",
        ),
        Wrong(
            "signed maximum",
            lambda m, v, t, grad: _algorithm_4(m, v, t, grad, norm=np.maximum(v - v / 1024, grad)),
            "A large negative gradient does not reach your v. It is the size that counts.",
        ),
        Wrong(
            "mean of sizes",
            lambda m, v, t, grad: _algorithm_4(
                m, v, t, grad, norm=v - v / 1024 + np.abs(grad) / 1024
            ),
            "Your v is a running mean. Line 2 has a maximum there.",
        ),
        Wrong(
            "usual constants",
            _usual,
            "Your constants are 0.9 and 0.999, those of ADAM. The paper's are 1 - 2^-3 and 1 - "
            "2^-10, so that lines 1 and 2 need shifts only.",
        ),
        Wrong(
            "step negative",
            lambda m, v, t, grad: (
                *_algorithm_4(m, v, t, grad)[:2],
                -_algorithm_4(m, v, t, grad)[2],
            ),
            "The step points the other way. It is subtracted from the weights, so it has the sign "
            "of m.",
        ),
        Wrong(
            "old m",
            _old_m,
            "The step uses the m of before. Line 3 takes the one of line 1.",
        ),
    ),
    hints=(
        "Three lines. Only in the third is anything rounded, and nothing rounded is kept.",
        "m = m - m/8 + grad/8; v = max(v - v/1024, |grad|); AP2(2^-10 / (1 - 0.875^t)) m / AP2(v), "
        "and 0 where v is 0.",
        "numpy.maximum, ap2 twice, and numpy.divide with where= and out= for the zeros.",
    ),
    points=2,
)
