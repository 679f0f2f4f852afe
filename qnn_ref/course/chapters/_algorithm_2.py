"""Algorithm 2, forward and backward: exercises 5.3 and 5.4; mistakes in `_shift_batch_norm`."""

from __future__ import annotations

import numpy as np

from qnn_ref._typing import Array
from qnn_ref.checking import Report, check_gradients
from qnn_ref.course.chapters import _shift_batch_norm as sbn
from qnn_ref.course.compare import close
from qnn_ref.course.exercise import Exercise, Wrong
from qnn_ref.layers import ShiftBatchNorm
from qnn_ref.layers.shift_normalization import shift_batch_norm_chain
from qnn_ref.shifts import ap2


def shift_batch_norm(x: Array, g: Array, b: Array, eps: float) -> Array:
    """The right answer to 5.3: the package's layer in training."""
    layer = ShiftBatchNorm(epsilon=eps).build(x.shape[1:], dtype=np.float64)
    layer.gain.assign(g)
    layer.shift.assign(b)
    return layer.forward(x, training=True)


FORWARD = Exercise(
    id="5.3",
    title="Algorithm 2",
    name="shift_batch_norm",
    task="Return y for a batch x (batch, units), with gains g, shifts b and eps: lines 1 to 5 as "
    "they have to be read, with ap2 for AP2.",
    section="Algorithm 2",
    spec=shift_batch_norm,
    cases=sbn.forward_cases,
    same=close(1e-9),
    axes=("bn", "n", "n", ""),
    simplify=("x", "b"),
    without=("ShiftBatchNorm", "BatchNorm"),
    wrong=tuple(Wrong(*mistake) for mistake in sbn.FORWARD_MISTAKES),
    hints=(
        "Five lines, one after the other; every sum and mean is over the batch, axis 0.",
        "c = x - mean; v = mean of c AP2(c); y = AP2(g) c AP2(1 / sqrt(v + eps)) + b.",
        "Five assignments. Keep c, it is needed twice.",
    ),
)


def shift_backward(dy: Array, c: Array, g: Array, eps: float) -> tuple[Array, Array, Array]:
    """The right answer to 5.4: the package's long chain. Values off their mean are no case."""
    if np.abs(c.mean(axis=0)).max() > 1e-6 * np.abs(c).max():
        raise ValueError("c: expected columns of mean 0")
    return shift_batch_norm_chain(dy, c, g, eps)


def _checked(answer: sbn.Backward, rng: np.random.Generator) -> Report:
    """The checker's verdict on Algorithm 2 with this backward pass."""

    def forward(x: Array, g: Array, b: Array, ap2: sbn.Function = ap2) -> Array:
        c = x - x.mean(axis=0)
        r = 1 / np.sqrt((c * ap2(c)).mean(axis=0) + 1e-5)
        return ap2(g) * (c * ap2(r)) + b

    def backward(dy: Array, x: Array, g: Array, b: Array) -> tuple[Array, ...]:
        return tuple(answer(dy, x - x.mean(axis=0), g, 1e-5))

    arrays = rng.normal(size=(5, 3)), rng.uniform(0.8, 3, 3), rng.normal(size=3)
    surrogate = {"ap2": "identity"}
    return check_gradients(
        forward, arrays, backward=backward, surrogate=surrogate, mode="full", rng=rng
    )


BACKWARD = Exercise(
    id="5.4",
    title="Algorithm 2 backward",
    name="shift_backward",
    task="Return the gradients of x, g and b in the form slope, given dy, the centred values c, "
    "the gains g and eps.",
    section="Algorithm 2, backward",
    spec=shift_backward,
    gives=("dx", "dg", "db"),
    cases=sbn.backward_cases,
    same=close(1e-9),
    axes=("bn", "bn", "n", ""),
    simplify=("dy",),
    without=("ShiftBatchNorm", "shift_batch_norm_chain"),
    gradient=_checked,
    wrong=tuple(Wrong(*mistake) for mistake in sbn.BACKWARD_MISTAKES),
    hints=(
        "The formulas stand above. What is a mean over the batch there, and what is a sum?",
        "d = G (s dy - r^3 (A + c) p / 2) with p the mean of dy c; then dx = d - mean of d, dg = "
        "sum of dy c s, db = sum of dy.",
        "First A, v, r, s and G as in the forward pass; then p, d and the three results, all along "
        "axis 0.",
    ),
    points=2,
)
