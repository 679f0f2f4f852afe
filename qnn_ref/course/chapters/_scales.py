"""How far shift-based batch norm is from 1, and who notices: exercises 5.6 and 5.7."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from qnn_ref._typing import Array
from qnn_ref.course.chapters._shift_batch_norm import Function
from qnn_ref.course.exercise import Case, Exercise, Wrong
from qnn_ref.quantizers import Sign

LOWEST, HIGHEST = 2**-0.75, 2**0.75
"""Bounds of the deviation that Algorithm 2 leaves, whatever the batch."""


def could_be_right(x_hat: Array) -> bool:
    """The right answer to 5.6: the bounds that hold for every batch."""
    if len(x_hat) < 2:
        raise ValueError("x_hat: expected a batch of two or more")
    deviations = x_hat.std(axis=0)
    return bool(((deviations > 0.999 * LOWEST) & (deviations < 1.001 * HIGHEST)).all())


def _deviation_cases(rng: np.random.Generator) -> Iterator[Case]:
    for deviation in (1.0, 0.8, 1.3, 0.65, 1.5, 1.65, 0.6, 0.69, 1.42, 0.55, 1.75, 1.95, 0.3, 5.0):
        yield (np.array([[deviation], [-deviation]]),)
    yield (np.array([[1.0, 0.5], [-1.0, -0.5]]),)
    yield (np.array([[0.125, 2.5], [-0.125, -2.5]]),)
    for batch, units in ((2, 3), (8, 1), (30, 4), (100, 2)):
        for _ in range(4):
            columns = rng.normal(size=(batch, units))
            columns = (columns - columns.mean(axis=0)) / columns.std(axis=0)
            yield (columns * rng.choice([0.3, 0.56, 0.62, 1, 1.2, 1.55, 1.64, 1.8], units),)


def _within(low: float, high: float) -> Function:
    return lambda x_hat: bool(((x_hat.std(axis=0) > low) & (x_hat.std(axis=0) < high)).all())


BOUNDS = Exercise(
    id="5.6",
    title="A test of line 4",
    name="could_be_right",
    task="Return whether each column of x_hat, the result of line 4, has a deviation that "
    "Algorithm 2 can give for some batch (eps is negligible; 0.1 % of room for rounding).",
    section="Algorithm 2, lines 3 and 4",
    spec=could_be_right,
    cases=_deviation_cases,
    axes=("bn",),
    simple=(),
    wrong=(
        Wrong(
            "bell curves",
            _within(0.685, 1.425),
            "That range holds for bell curves. A batch of +-1.41 (86 %) and +-2.82 gives 1.68, and "
            "sums of a few +-1 give 0.63 and 1.58.",
        ),
        Wrong(
            "line 4 alone",
            _within(0.999 * 2**-0.5, 1.001 * 2**0.5),
            "You allow for the rounding of line 4. Line 3 is rounded as well, and moves the "
            "deviation a little further.",
        ),
        Wrong(
            "line 3 without the root",
            _within(0.999 / 2, 1.001 * 2),
            "You multiply both factors of sqrt(2). That of line 3 belongs to the variance, and "
            "the deviation is its root.",
        ),
        Wrong(
            "about 1",
            _within(0.9, 1.1),
            "That is a test of plain batch norm. Here the inverse deviation is a power of two.",
        ),
        Wrong(
            "mean over the columns",
            lambda x_hat: bool(0.999 * LOWEST < x_hat.std(axis=0).mean() < 1.001 * HIGHEST),
            "You test the mean over the columns. A wrong one hides among right ones.",
        ),
        Wrong(
            "all columns together",
            lambda x_hat: bool(0.999 * LOWEST < x_hat.std() < 1.001 * HIGHEST),
            "You take the deviation of all numbers together. Each column was normalized for "
            "itself.",
        ),
        Wrong(
            "one side",
            _within(-1, 1.001 * HIGHEST),
            "Your test has an upper bound only. A deviation can be too small as well.",
        ),
    ),
    hints=(
        "By which factor can line 3 be wrong at most, by which one line 4, and how do they reach "
        "the deviation?",
        "The variance of line 3 is off by sqrt(2) at most, its root by 2^(1/4), the rounded "
        "inverse by sqrt(2) more.",
        "The deviation of each column, two comparisons, .all(), bool(...).",
    ),
)


def count(answers: Array) -> int:
    """How many are true."""
    return int(np.count_nonzero(answers))


def what_sign_sees(x_hat: Array, factor: float, b: float) -> tuple[int, int]:
    """The right answer to 5.7: signs and masks of the package, with and without the factor."""
    before, after, ones = x_hat + b, factor * x_hat + b, np.ones_like(x_hat)
    sign = Sign()
    signs = count(sign.quantize(before) != sign.quantize(after))
    masks = count(sign.backward(ones, before) != sign.backward(ones, after))
    return signs, masks


def _scale_cases(rng: np.random.Generator) -> Iterator[Case]:
    for value, factor, b in (
        (0.5, 1.0, 0.0),
        (0.9, 1.25, 0.0),
        (-0.9, 1.25, 0.0),
        (-0.5, 2.0, 0.75),
        (0.5, 2.0, -0.75),
        (0.5, 2.0, 0.0),
        (0.5, 1.5, 0.25),
        (0.25, 2.0, 0.5),
        (-1.0, 1.25, 0.75),
        (-0.75, 0.5, 0.75),  # 0 before, and more than 0 after
        (-0.75, 2.0, 0.75),
    ):
        yield np.array([value]), factor, b
    for size in (5, 65, 300):
        yield rng.normal(size=size), float(rng.uniform(1.1, 1.4)), float(rng.choice([0.7, -0.4]))
        yield rng.normal(size=size), float(rng.uniform(0.7, 0.95)), float(rng.normal(0, 0.5))


def _seen(before: Array, after: Array, strict: bool = False) -> tuple[int, int]:
    signs = count((before >= 0) != (after >= 0))
    if strict:
        return signs, count((np.abs(before) < 1) != (np.abs(after) < 1))
    return signs, count((np.abs(before) <= 1) != (np.abs(after) <= 1))


SCALE = Exercise(
    id="5.7",
    title="What Sign sees of a scale",
    name="what_sign_sees",
    task="The input of shift-based batch norm grows, and a factor goes through to x_hat: y = "
    "factor * x_hat + b in the place of x_hat + b. Return how many signs of y change, and how many "
    "masks of eq. (4).",
    section="Algorithm 2, line 5; eq. (4)",
    spec=what_sign_sees,
    gives=("signs", "masks"),
    cases=_scale_cases,
    axes=("n", "", ""),
    simple=(0, 1, -1, 0.5),
    simplify=("x_hat",),
    wrong=(
        Wrong(
            "signs never change",
            lambda x_hat, factor, b: (0, _seen(x_hat + b, factor * x_hat + b)[1]),
            "You think that a scale changes no sign. That holds without a shift: b keeps its size "
            "and counts for less beside larger values.",
        ),
        Wrong(
            "masks never change",
            lambda x_hat, factor, b: (_seen(x_hat + b, factor * x_hat + b)[0], 0),
            "You think that a scale changes no mask. The mask asks how large |y| is.",
        ),
        Wrong(
            "shift scaled too",
            lambda x_hat, factor, b: _seen(x_hat + b, factor * (x_hat + b)),
            "The factor multiplies your b as well. Line 5 adds the shift afterwards.",
        ),
        Wrong(
            "no shift",
            lambda x_hat, factor, b: _seen(x_hat, factor * x_hat),
            "You left b out.",
        ),
        Wrong(
            "numpy.sign",
            lambda x_hat, factor, b: (
                count(np.sign(x_hat + b) != np.sign(factor * x_hat + b)),
                _seen(x_hat + b, factor * x_hat + b)[1],
            ),
            "numpy.sign has a third value. From 0 to 0.375 the sign stays +1.",
        ),
        Wrong(
            "strict mask",
            lambda x_hat, factor, b: _seen(x_hat + b, factor * x_hat + b, strict=True),
            "Your mask is strict. At exactly 1 the gradient passes.",
        ),
        Wrong(
            "one side of the mask",
            lambda x_hat, factor, b: (
                _seen(x_hat + b, factor * x_hat + b)[0],
                count((x_hat + b <= 1) != (factor * x_hat + b <= 1)),
            ),
            "Your mask looks at one side only. The bound holds below -1 as well.",
        ),
    ),
    hints=(
        "Two arrays y, with the factor and without; two questions to each element.",
        "The sign is y >= 0, the mask is open where |y| <= 1. Count where the answers differ.",
        "numpy.count_nonzero of (comparison != comparison), twice.",
    ),
)
