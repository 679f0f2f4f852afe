"""Kinks that nobody declared, and differences that scatter: neither is called a wrong gradient."""

import numpy as np
import pytest

from qnn_ref.checking import check_gradients

MODES = ["probe", "full", "order"]
every_mode = pytest.mark.parametrize("mode", MODES)


def check(forward, backward, x, mode, seed=0, **options):
    rng = np.random.default_rng(seed)
    return check_gradients(forward, x, backward=backward, mode=mode, rng=rng, **options)


def first_line(*arguments, **options):
    return str(check(*arguments, **options)).splitlines()[0]


def relu(x):
    return np.maximum(x, 0)


def relu_backward(dy, x):
    return dy * (x > 0)


def clip(x):
    return np.clip(x, -1, 1)


def sign(x):
    return np.where(x >= 0, 1.0, -1.0)


RIGHT = [
    (relu, relu_backward),
    (clip, lambda dy, x: dy * (np.abs(x) <= 1)),
    (np.abs, lambda dy, x: dy * np.sign(x)),
    (lambda x: 5 + relu(x).sum(axis=1), lambda dy, x: dy[:, None] * (x > 0)),
]
R = np.random.default_rng(0)
SCALES = 10.0 ** R.integers(-12, 1, (4, 5))
POINTS = {
    "whole numbers": R.integers(-2, 3, (2, 3)).astype(float),
    "half of them 0": R.normal(size=(4, 5)) * R.integers(0, 2, (4, 5)),
    "all about 1e-7": 1e-7 * R.normal(size=(4, 5)),
    "all about 1e-9": 1e-9 * R.normal(size=(4, 5)),
    "every distance": R.normal(size=(4, 5)) * SCALES,
    "every distance from 1": 1 + R.normal(size=(4, 5)) * SCALES,
    "just below": np.full((4, 5), -0.001),
    "just above": np.full((4, 5), 0.001),
    "all 0": np.zeros((4, 5)),
}


@every_mode
@pytest.mark.parametrize("x", POINTS.values(), ids=POINTS)
def test_a_right_function_with_a_kink_is_not_accused(x, mode):
    for forward, backward in RIGHT:
        check(forward, backward, x, mode).raise_if_failed()


@every_mode
@pytest.mark.parametrize("x", POINTS.values(), ids=POINTS)
def test_a_wrong_one_is(x, mode):
    line = first_line(np.abs, lambda dy, x: 1.5 * dy * np.sign(x), x, mode)
    assert line.startswith("absolute.x: the gradient is ")
    assert "kink" not in line


@pytest.mark.parametrize("size", [1e-6, 2e-6, 3e-6])
def test_a_small_kink_is_one_too(size):
    """Both sides differ by little more than what is allowed."""
    for seed in range(10):
        check(
            lambda x: x + size * np.abs(x),
            lambda dy, x: dy * (1 + size * np.sign(x + 1e-12)),
            np.array([[0.0, 1, -1, 2]]),
            "probe",
            seed,
        ).raise_if_failed()


@every_mode
def test_a_strict_mask_shows_beside_an_undeclared_kink(mode):
    """Moved away from the kink, no number is on the bound: those without kink are judged there."""

    def forward(x, sign=sign):
        return sign(relu(x) - 1)

    def backward(dy, x, mask=np.less):
        r = relu(x) - 1
        return dy * mask(np.abs(r), 1) * (x > 0)

    x = np.array([[0.0, 1e-9, 2.0, 0.5], [-1.0, 2.0, 3.0, 0.0]])
    options = {"surrogate": {"sign": clip}}
    for seed in range(3):
        right = check(
            forward, lambda dy, x: backward(dy, x, np.less_equal), x, mode, seed, **options
        )
        right.raise_if_failed()
        assert not check(forward, backward, x, mode, seed, **options).passed


# Differences that scatter ------------------------------------------------------------------------


def single(x):
    return np.sin(x.astype(np.float32)).astype(np.float64)


@every_mode
@pytest.mark.parametrize("seed", range(3))
def test_a_forward_in_float32_is_named_and_its_mistakes_too(mode, seed):
    x = np.random.default_rng(1).normal(size=(4, 3))
    report = check(single, lambda dy, x: dy * np.cos(x), x, mode, seed)
    if not report.passed:
        first, second, third, *_ = str(report).splitlines()
        assert first == "single.x: the gradient cannot be judged: forward computes in float32"
        assert "not resolved" in second
        assert "float64" in third
        assert [entry.doubt for entry in report.entries] == ["scatter"]
        assert report.entries[0].wrong is None
        assert "1 of 1 gradients could not be judged" in failure(report)
    line = first_line(single, lambda dy, x: -2 * dy * np.cos(x), x, mode, seed)
    assert line == "single.x: the gradient has the wrong sign and is 2 times too large"


def failure(report):
    with pytest.raises(Exception, match="could not be judged") as error:
        report.raise_if_failed()
    return str(error.value)


@every_mode
def test_values_that_hide_their_changes(mode):
    x = np.random.default_rng(1).normal(size=(4, 3))
    line = first_line(lambda x: np.sin(x) + 1e9, lambda dy, x: dy * np.cos(x), x, mode)
    if mode != "order":
        assert line.endswith("cannot be judged: forward is too rough for differences")
    line = first_line(lambda x: np.sin(x) + 1e9, lambda dy, x: 3 * dy * np.cos(x), x, mode)
    assert line.endswith("is 3 times too large")
