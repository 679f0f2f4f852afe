"""Ties: no slope though no direction shows a kink. Right choices pass, and mistakes are found."""

import numpy as np
import pytest

from qnn_ref.checking import check_gradients

MODES = ["probe", "full", "order"]
every_mode = pytest.mark.parametrize("mode", MODES)


def check(forward, x, backward, mode, seed=0):
    rng = np.random.default_rng(seed)
    return check_gradients(forward, x, backward=backward, mode=mode, rng=rng)


def first_line(*arguments):
    report = check(*arguments)
    assert not report.passed
    return str(report).splitlines()[0]


# Sums of sorted values ---------------------------------------------------------------------------

WEIGHTS = {
    "largest": [[0, 0, 0, 0, 1]],
    "median": [[0, 0, 1, 0, 0]],
    "second largest": [[0, 0, 0, 1, 0]],
    "largest two": [[0, 0, 0, 1, 1]],
    "range": [[-1, 0, 0, 0, 1]],
    "trimmed mean": [[0, 1 / 3, 1 / 3, 1 / 3, 0]],
    "sorted": np.eye(5),
    "median beside the sum": [[1, 1, 1.01, 1, 1]],
}
"""Of each output, for the values of a row from the smallest to the largest."""

ROWS = {
    "three in a row": [[0.3, 0.3, 0.3, -1, 1], [0.1, 0.7, -0.4, 1.3, -2]],
    "whole numbers": np.random.default_rng(0).integers(-1, 2, (3, 5)).astype(float),
    "all 0": np.zeros((2, 5)),
    "nearly equal": [[0.3, 0.3 + 1e-10, 0.3 - 1e-10, -1, 1], [0.5, 0.5 - 1e-9, 0.5, 0, 2]],
}


def weighted(weights):
    return lambda x: np.sort(x, axis=1) @ np.array(weights, float).T


def first(x):
    return np.argsort(x, axis=1, kind="stable")


def last(x):
    return x.shape[1] - 1 - np.argsort(x[:, ::-1], axis=1, kind="stable")


def given_to(choice, weights):
    """Backward pass: each sorted place gives to the element that stands there."""

    def backward(dy, x):
        dx = np.zeros_like(x)
        np.put_along_axis(dx, choice(x), dy @ np.array(weights, float), axis=1)
        return dx

    return backward


def shared(weights, whole=False):
    """The same, then equal values share; `whole` gives each of them the sum."""

    def backward(dy, x):
        dx = given_to(first, weights)(dy, x)
        equal = x[:, :, None] == x[:, None, :]
        total = np.einsum("bij,bj->bi", equal, dx)
        return total if whole else total / equal.sum(axis=2)

    return backward


CHOICES = [lambda w: given_to(first, w), lambda w: given_to(last, w), shared]


@every_mode
@pytest.mark.parametrize("x", ROWS.values(), ids=ROWS)
def test_every_choice_among_equal_values_is_right(x, mode):
    x = np.array(x, float)
    for seed, weights in enumerate(WEIGHTS.values()):
        backward = CHOICES[seed % 3](weights)
        check(weighted(weights), x, backward, mode, seed).raise_if_failed()


@pytest.mark.parametrize("weights", WEIGHTS.values(), ids=WEIGHTS)
def test_a_factor_is_named_among_ties(weights):
    x, right = np.array(ROWS["whole numbers"]), given_to(first, weights)
    line = first_line(weighted(weights), x, lambda dy, x: 1.7 * right(dy, x), "probe")
    assert line.endswith("is 1.7 times too large")


@every_mode
@pytest.mark.parametrize("name", ["median", "largest", "sorted"])
def test_a_fault_elsewhere_is_found(name, mode):
    x, weights = np.array(ROWS["three in a row"]), WEIGHTS[name]

    def backward(dy, x):
        dx = given_to(first, weights)(dy, x)
        dx[1] *= [1.5, 1.3, 1.7, 1.4, 1.6]
        return dx

    line = first_line(weighted(weights), x, backward, mode)
    assert "ties" not in line


@every_mode
@pytest.mark.parametrize("name", ["median", "largest", "largest two", "sorted"])
def test_what_each_of_the_equal_values_takes_whole(name, mode):
    x, weights = np.array([[0.3, 0.3, 0.3, 0.3, 0.3]]), WEIGHTS[name]
    line = first_line(weighted(weights), x, shared(weights, whole=True), mode)
    assert "the gradient is wrong at ties" in line


def test_what_is_left_out_is_counted():
    x, weights = np.array(ROWS["three in a row"]), WEIGHTS["median"]
    report = check(weighted(weights), x, given_to(first, weights), "full")
    assert "1 at ties, where slopes do not add up: moved by 0.001" in str(report)
    report = check(weighted(weights), x, given_to(first, weights), "probe")
    assert "1 of 2 outputs at ties, where slopes do not add up: moved by 0.001" in str(report)
    x = np.array(ROWS["three in a row"][1:])
    assert "ties" not in str(check(weighted(weights), x, given_to(first, weights), "full"))


# Windows, magnitudes, several arrays -------------------------------------------------------------


def windows(x):
    return np.lib.stride_tricks.sliding_window_view(x, 3)


def middle_of_windows(x):
    return np.median(windows(x), axis=1)


def middle_backward(dy, x):
    dx = np.zeros_like(x)
    np.add.at(dx, np.arange(len(dy)) + np.argsort(windows(x), axis=1, kind="stable")[:, 1], dy)
    return dx


def largest_of_windows(x):
    return windows(x).max(axis=1)


def largest_backward(dy, x):
    dx = np.zeros_like(x)
    np.add.at(dx, np.arange(len(dy)) + windows(x).argmax(axis=1), dy)
    return dx


def largest_magnitude(x):
    return np.abs(x).max()


def magnitude_backward(dy, x):
    dx = np.zeros_like(x)
    at = np.abs(x).argmax()
    dx[at] = dy * np.sign(x[at])
    return dx


def larger(a, b):
    return np.maximum(a, b)


def larger_backward(dy, a, b):
    return dy * (a >= b), dy * (a < b)


def clamped(x, low, high):
    return np.minimum(np.maximum(x, low), high)


def clamped_backward(dy, x, low, high):
    inside = (x >= low) & (x <= high)
    return (
        dy * inside,
        dy * ((x < low) & (low <= high)),
        dy * (~inside & ((x > high) | (low > high))),
    )


def middle_of_three(a, b, c):
    return np.sort(np.stack([a, b, c]), axis=0)[1]


def middle_of_three_backward(dy, *arrays):
    chosen = np.argsort(np.stack(arrays), axis=0, kind="stable")[1]
    return [dy * (chosen == i) for i in range(3)]


LINE = np.array([0.0, 1, 1, 1, 0, -1, -1, 1, 2, 2])
NUMBERS = np.array([1.0, 0, -1, 0.5, 2])
OTHERS = {
    "median filter": (middle_of_windows, LINE, middle_backward),
    "max pool": (largest_of_windows, LINE, largest_backward),
    "largest magnitude": (largest_magnitude, np.array([1.0, -1, 1, 0.5]), magnitude_backward),
    "larger of two": (larger, (NUMBERS, NUMBERS + [0, 0, 0, 1, -1]), larger_backward),
    "all bounds equal": (clamped, (NUMBERS, NUMBERS, NUMBERS), clamped_backward),
    "lower bound": (clamped, (NUMBERS, NUMBERS, NUMBERS + 1), clamped_backward),
    "middle of three": (
        middle_of_three,
        (NUMBERS, NUMBERS, NUMBERS + [0, 0, 0, 1, 0]),
        middle_of_three_backward,
    ),
    "against a row": (larger, (np.ones((3, 2)), np.ones((3, 2))), larger_backward),
}


def times(factor, found):
    return [factor * g for g in found] if isinstance(found, tuple | list) else factor * found


@every_mode
@pytest.mark.parametrize(("forward", "x", "backward"), OTHERS.values(), ids=OTHERS)
def test_other_functions_with_ties(forward, x, backward, mode):
    check(forward, x, backward, mode).raise_if_failed()
    if mode != "probe":
        return
    line = first_line(forward, x, lambda dy, *arrays: times(1.7, backward(dy, *arrays)), mode)
    one = "is wrong in 1 of "  # where a single element has a gradient it has no pattern
    assert line.endswith("is 1.7 times too large") or one in line


@every_mode
def test_equal_entries_of_two_arrays_do_not_both_take_all(mode):
    both = lambda dy, a, b: (dy * (a >= b), dy * (b >= a))  # noqa: E731
    assert "wrong at ties" in first_line(larger, (NUMBERS, NUMBERS), both, mode)
    halves = lambda dy, a, b: (dy * np.heaviside(a - b, 0.5), dy * np.heaviside(b - a, 0.5))  # noqa: E731
    check(larger, (NUMBERS, NUMBERS), halves, mode).raise_if_failed()


@every_mode
def test_a_strict_mask_shows_beside_ties(mode):
    """Moved off the ties no number is on the bound: outputs without ties are judged there."""

    def forward(x, sign=np.sign):
        return np.stack([np.sort(x[:3])[1], sign(x[3])])

    def backward(dy, x, mask=np.less_equal):
        dx = np.zeros_like(x)
        dx[np.argsort(x[:3], kind="stable")[1]] = dy[0]
        dx[3] = dy[1] * mask(np.abs(x[3]), 1)
        return dx

    def passed(backward):
        options = {"surrogate": {"sign": lambda x: np.clip(x, -1, 1)}, "backward": backward}
        x, rng = np.array([0.2, 0.2, 0.2, 1]), np.random.default_rng(0)
        return check_gradients(forward, x, rng=rng, mode=mode, **options).passed

    assert passed(backward)
    assert not passed(lambda dy, x: backward(dy, x, np.less))
