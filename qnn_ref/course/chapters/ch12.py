"""Chapter 12, the paper's tables and ours: is a difference one?"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from qnn_ref._typing import Array
from qnn_ref.course.compare import close
from qnn_ref.course.exercise import Case, Exercise, Question, Wrong

T_95 = np.array([np.nan, 12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262])
"""Quantile of Student's t at 97.5 %, by the degrees of freedom: 95 % lie between -t and t."""

T = np.where(np.isnan(T_95), 0, T_95)  # an argument of a case holds no NaN

# 12.1 Compare in pairs


def compare(a: Array, b: Array, t: Array) -> tuple[float, float]:
    """The right answer to 12.1."""
    pairs = a - b
    n = len(pairs)
    return float(pairs.mean()), float(t[n - 1] * pairs.std(ddof=1) / np.sqrt(n))


def _cases(rng: np.random.Generator) -> Iterator[Case]:
    yield np.array([1.0, 3.0]), np.array([0.0, 0.0]), T
    yield np.array([0.0, 0.0, 3.0]), np.array([0.0, 0.0, 0.0]), T
    yield np.array([5.0, 6.0, 7.0]), np.array([4.0, 5.0, 6.0]), T
    yield np.array([4.0, 6.0, 9.0]), np.array([5.0, 6.0, 7.0]), T
    yield np.array([1.0, 2.0, 4.0]), np.array([3.0, 3.0, 4.0]), T  # a is the better one
    for n, better in ((2, -0.3), (3, 0.3), (5, -0.3), (10, 0.3)):
        seeds = rng.normal(4, 1, n)
        yield seeds + rng.normal(0, 0.2, n), seeds + better, T


def _width(a: Array, b: Array, factor: float, ddof: int = 1) -> tuple[float, float]:
    pairs = a - b
    return float(pairs.mean()), float(factor * pairs.std(ddof=ddof) / np.sqrt(len(pairs)))


def _unpaired(a: Array, b: Array, t: Array) -> tuple[float, float]:
    n = len(a)
    error = np.sqrt((a.var(ddof=1) + b.var(ddof=1)) / n)
    return float(a.mean() - b.mean()), float(t[n - 1] * error)


COMPARE = Exercise(
    id="12.1",
    title="Compare in pairs",
    name="compare",
    task=(
        "a and b (n,) are errors of two methods, element by element with the same seed. Return the "
        "mean of a - b, and half the width of its 95 % interval; t[f] is the quantile for f "
        "degrees of freedom."
    ),
    section="section 4, its tables; ours: their spread",
    spec=compare,
    cases=_cases,
    gives=("difference", "half width"),
    same=close(1e-6),  # float32 is as good
    axes=(".", ".", "."),  # one pair has no spread
    simplify=("a", "b"),
    wrong=(
        Wrong(
            "not in pairs",
            _unpaired,
            "Your interval knows nothing of the pairs. The seed is shared: what it does to both "
            "methods is no difference between them.",
        ),
        Wrong(
            "n for n - 1",
            lambda a, b, t: _width(a, b, t[len(a) - 1], ddof=0),
            "Your variance divides by n. The mean was taken from the same numbers: n - 1.",
        ),
        Wrong(
            "2 for t",
            lambda a, b, t: _width(a, b, 2.0),
            "Your factor is 2, whatever n is. For three seeds t is 4.30: two degrees of freedom.",
        ),
        Wrong(
            "1.96 for t",
            lambda a, b, t: _width(a, b, 1.96),
            "Your factor is 1.96, that of many numbers. For three seeds t is 4.30.",
        ),
        Wrong(
            "t of n",
            lambda a, b, t: _width(a, b, t[len(a) % len(t)]),
            "n pairs have n - 1 degrees of freedom: one is used up by the mean.",
        ),
        Wrong(
            "spread for error",
            lambda a, b, t: (
                float((a - b).mean()),
                float(t[len(a) - 1] * (a - b).std(ddof=1)),
            ),
            "That is how far single pairs lie apart. The mean of n of them is surer, by the root "
            "of n.",
        ),
        Wrong(
            "divided by n",
            lambda a, b, t: (
                float((a - b).mean()),
                float(t[len(a) - 1] * (a - b).std(ddof=1) / len(a)),
            ),
            "Your error falls as 1 / n. That of a mean falls as 1 / root n.",
        ),
        Wrong(
            "no factor",
            lambda a, b, t: _width(a, b, 1.0),
            "That is the standard error. An interval of 95 % is t times as wide to each side.",
        ),
        Wrong(
            "the other way round",
            lambda a, b, t: (-compare(a, b, t)[0], compare(a, b, t)[1]),
            "Your difference is b - a.",
        ),
        Wrong(
            "no sign",
            lambda a, b, t: (abs(compare(a, b, t)[0]), compare(a, b, t)[1]),
            "Your difference has lost its sign: it says which of the two is better.",
        ),
        Wrong(
            "the whole width",
            lambda a, b, t: (compare(a, b, t)[0], 2 * compare(a, b, t)[1]),
            "That is the whole width of the interval; half of it is asked.",
        ),
        Wrong(
            "both ends",
            lambda a, b, t: (
                compare(a, b, t)[0] - compare(a, b, t)[1],
                compare(a, b, t)[0] + compare(a, b, t)[1],
            ),
            "Those are the two ends of the interval; its middle and half its width are asked.",
        ),
        Wrong(
            "t of n - 2",
            lambda a, b, t: _width(a, b, t[max(len(a) - 2, 0)]),
            "Your t is that of n - 2. One number, the mean, was taken from the pairs: n - 1.",
        ),
        Wrong(
            "variance for deviation",
            lambda a, b, t: (
                float((a - b).mean()),
                float(t[len(a) - 1] * (a - b).var(ddof=1) / np.sqrt(len(a))),
            ),
            "Your spread is a variance, in squared points. Its root belongs here.",
        ),
        Wrong(
            "root of n - 1",
            lambda a, b, t: (
                float((a - b).mean()),
                float(t[len(a) - 1] * (a - b).std(ddof=1) / np.sqrt(len(a) - 1)),
            ),
            "You take n - 1 twice: in the variance it is right, but the mean is one of n pairs.",
        ),
        Wrong(
            "median for mean",
            lambda a, b, t: (float(np.median(a - b)), compare(a, b, t)[1]),
            "That is the median of the differences. The interval is one of the mean.",
        ),
        Wrong(
            "results exchanged",
            lambda a, b, t: compare(a, b, t)[::-1],
            "Your results come in the other order: first the difference.",
        ),
    ),
    hints=(
        "What the seed does to both methods falls out of a - b, seed by seed.",
        "d = a - b; mean(d) +- t[n - 1] s / sqrt(n), where s^2 divides by n - 1.",
        "d.std(ddof=1), numpy.sqrt(len(d)), and t taken at one less than the number of pairs.",
    ),
)

EXERCISES = (COMPARE,)

QUESTIONS = (
    Question(
        "12.1a",
        "which of the paper's six recipes of MNIST, SVHN and CIFAR-10 takes least time?",
        "mnist-torch",
        options=(
            *("mnist-torch", "mnist-theano", "svhn-torch", "svhn-theano"),
            *("cifar10-torch", "cifar10-theano"),
        ),
        no={"mnist-theano": "It is four times as wide in products, and has ten times the epochs."},
    ),
    Question(
        "12.3a",
        "which of the four differences has an interval on one side of zero?",
        "both",
        options=("both", "activations", "gradients", "shifts"),
        no={"activations": "All three seeds agree, but t is 4.30: look at the interval."},
    ),
    Question(
        "12.4a",
        "degrees between the straight-through and the exact gradient, two hidden layers",
        8.5,
        about=5,
        no={
            0: "It would be exact if all that follows a sign were linear.",
            90: "Then it would be of no use.",
        },
    ),
    Question(
        "12.5a",
        "all latent magnitudes become 0.1 after each epoch: does the test error rise?",
        False,
    ),
    Question(
        "12.6a",
        "percent of the first layer's signs that change in the first epoch, at the best rate",
        44.7,
        about=5,
        no={50: "That would be a start that is forgotten completely. Nearly."},
    ),
    Question(
        "12.7a",
        "clip of latent weights or mask of the gradient: which one costs more if it is missing?",
        "the mask",
        options=("the mask", "the clip", "none of them"),
    ),
    Question(
        "12.8a",
        "the rate at which batch norm and a constant are equally good: 0.03, 0.003 or 0.0003?",
        0.0003,
        about=1e-5,
        no={0.03: "There the constant does not learn at all."},
    ),
)
