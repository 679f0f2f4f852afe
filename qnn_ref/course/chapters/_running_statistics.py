"""What batch norm averages for inference: exercise 3.3."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from qnn_ref._typing import Array
from qnn_ref.course.compare import close
from qnn_ref.course.exercise import Case, Exercise, Wrong
from qnn_ref.layers import BatchNorm


def running_statistics(
    mean: Array, inv_dev: Array, batch: Array, momentum: float, eps: float
) -> tuple[Array, Array]:
    """The right answer to 3.3: the package's own. A column without a deviation is no case."""
    if (batch.var(axis=0) == 0).any():
        raise ValueError("batch: expected columns of different numbers")
    layer = BatchNorm(eps, momentum).build(batch.shape[1:], dtype=np.float64)
    layer.running_mean[:], layer.running_inverse_deviation[:] = mean, inv_dev
    layer.forward(batch, training=True)
    return layer.running_mean, layer.running_inverse_deviation


def _statistics_cases(rng: np.random.Generator) -> Iterator[Case]:
    zero, one = np.zeros(1), np.ones(1)
    yield zero, one, np.array([[-2.0], [2.0]]), 0.1, 1e-12  # deviation 2: 0.95
    yield zero, one, np.array([[1.0], [3.0]]), 0.5, 1e-12
    yield one, one, np.array([[0.0], [2.0]]), 0.5, 3.0
    yield zero, np.full(1, 2.0), np.array([[-1.0], [1.0]]), 0.125, 3.0
    yield np.zeros(2), np.ones(2), np.array([[0.0, 1.0], [2.0, 5.0]]), 0.1, 1e-4
    for examples, units in ((3, 2), (4, 3), (5, 5), (7, 65)):
        start = rng.normal(size=units), rng.uniform(0.2, 3, units)
        batch = rng.normal(rng.normal(size=units), rng.uniform(0.5, 3, units), (examples, units))
        yield *start, batch, float(rng.choice([0.1, 0.125, 0.25])), 1e-4


def _averages(
    mean: Array, inv_dev: Array, batch: Array, momentum: float, r: Array
) -> tuple[Array, Array]:
    keep = 1 - momentum
    return keep * mean + momentum * batch.mean(axis=0), keep * inv_dev + momentum * r


def _mean_variance(
    mean: Array, inv_dev: Array, batch: Array, momentum: float, eps: float
) -> tuple[Array, Array]:
    variance = (1 - momentum) / inv_dev**2 + momentum * (batch.var(axis=0) + eps)
    return (1 - momentum) * mean + momentum * batch.mean(axis=0), 1 / np.sqrt(variance)


def _mean_deviation(
    mean: Array, inv_dev: Array, batch: Array, momentum: float, eps: float
) -> tuple[Array, Array]:
    deviation = (1 - momentum) / inv_dev + momentum * np.sqrt(batch.var(axis=0) + eps)
    return (1 - momentum) * mean + momentum * batch.mean(axis=0), 1 / deviation


def _reversed(
    mean: Array, inv_dev: Array, batch: Array, momentum: float, eps: float
) -> tuple[Array, Array]:
    r = 1 / np.sqrt(batch.var(axis=0) + eps)
    return _averages(mean, inv_dev, batch, 1 - momentum, r)


def _around_running(
    mean: Array, inv_dev: Array, batch: Array, momentum: float, eps: float
) -> tuple[Array, Array]:
    r = 1 / np.sqrt(((batch - mean) ** 2).mean(axis=0) + eps)
    return _averages(mean, inv_dev, batch, momentum, r)


def _unbiased(
    mean: Array, inv_dev: Array, batch: Array, momentum: float, eps: float
) -> tuple[Array, Array]:
    r = 1 / np.sqrt(batch.var(axis=0, ddof=1) + eps)
    return _averages(mean, inv_dev, batch, momentum, r)


def _all_units(
    mean: Array, inv_dev: Array, batch: Array, momentum: float, eps: float
) -> tuple[Array, Array]:
    new_mean = (1 - momentum) * mean + momentum * batch.mean()
    return new_mean, (1 - momentum) * inv_dev + momentum / np.sqrt(batch.var() + eps)


def _eps_outside(
    mean: Array, inv_dev: Array, batch: Array, momentum: float, eps: float
) -> tuple[Array, Array]:
    return _averages(mean, inv_dev, batch, momentum, 1 / (batch.std(axis=0) + eps))


def _deviation(
    mean: Array, inv_dev: Array, batch: Array, momentum: float, eps: float
) -> tuple[Array, Array]:
    return _averages(mean, inv_dev, batch, momentum, np.sqrt(batch.var(axis=0) + eps))


def _inverse_variance(
    mean: Array, inv_dev: Array, batch: Array, momentum: float, eps: float
) -> tuple[Array, Array]:
    return _averages(mean, inv_dev, batch, momentum, 1 / (batch.var(axis=0) + eps))


def _not_averaged(
    mean: Array, inv_dev: Array, batch: Array, momentum: float, eps: float
) -> tuple[Array, Array]:
    return batch.mean(axis=0), 1 / np.sqrt(batch.var(axis=0) + eps)


RUNNING_STATISTICS = Exercise(
    id="3.3",
    title="Running statistics",
    name="running_statistics",
    task="Return both running averages of batch norm after one more batch: of the mean, and of the "
    "inverse deviation 1 / sqrt(variance + eps).",
    section="section 2.4",
    spec=running_statistics,
    gives=("mean", "inv_dev"),
    cases=_statistics_cases,
    same=close(1e-12),
    axes=("u", "u", "bu", "", ""),
    simplify=("mean", "batch"),
    simple=(0, 1, -1, 2),
    wrong=(
        Wrong(
            "mean of variances",
            _mean_variance,
            "You average variances. A root of a mean is no mean of roots: from 1 with deviation 2 "
            "and momentum 0.1 that gives 0.88, and 0.95 is right.",
        ),
        Wrong(
            "mean of deviations",
            _mean_deviation,
            "You average deviations and invert at the end. The inverse deviations themselves are "
            "averaged.",
        ),
        Wrong(
            "momentum reversed",
            _reversed,
            "With a momentum of 0.1 one batch moved your averages by 90 % of the way. Momentum is "
            "the weight of the newest batch.",
        ),
        Wrong(
            "around the running mean",
            _around_running,
            "You measure the variance around the running mean. A batch has its own mean, and its "
            "variance is around that.",
        ),
        Wrong(
            "n - 1",
            _unbiased,
            "You divide by n - 1. The deviation that training used divides by n, and inference "
            "has to match it.",
        ),
        Wrong(
            "all units at once",
            _all_units,
            "You take one mean and one deviation of the whole batch. Each unit, a column, has its "
            "own.",
        ),
        Wrong(
            "deviation",
            _deviation,
            "You average the deviation. Its inverse is asked, what inference multiplies with.",
        ),
        Wrong(
            "inverse variance",
            _inverse_variance,
            "The root is missing: the inverse deviation is 1 / sqrt(variance + eps).",
        ),
        Wrong(
            "eps outside the root",
            _eps_outside,
            "eps belongs under the root, beside the variance.",
        ),
        Wrong(
            "not averaged",
            _not_averaged,
            "These are the statistics of this batch alone. A running average keeps most of what "
            "was there before.",
        ),
    ),
    hints=(
        "What inference multiplies with is the inverse deviation; that is what is averaged.",
        "new = (1 - momentum) old + momentum (of this batch), for the mean and for 1 / sqrt(v + "
        "eps), with v the mean squared distance from the mean of the column.",
        "Mean and variance along axis 0 (numpy's var divides by n), the inverse root, then twice "
        "the same weighted sum; return a pair.",
    ),
)
