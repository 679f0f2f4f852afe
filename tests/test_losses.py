"""Squared hinge and softmax cross-entropy: values, gradients, label conventions, overflow."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qnn_ref.losses import check_labels, signed_targets, softmax_cross_entropy, squared_hinge
from tests.numeric import central_differences, worst_error

DTYPES = [np.float32, np.float64]
SIZES = st.integers(1, 6)
SEEDS = st.integers(0, 2**32)


def case(batch, classes, seed, spread=2.0):
    rng = np.random.default_rng(seed)
    return rng.normal(0, spread, (batch, classes)), rng.integers(0, classes, batch)


# Squared hinge


@given(SIZES, SIZES, SEEDS)
def test_squared_hinge_is_the_mean_over_batch_and_classes(batch, classes, seed):
    scores, labels = case(batch, classes, seed)
    total, gradient = 0.0, np.zeros((batch, classes))
    for i in range(batch):
        for c in range(classes):
            y = 1 if labels[i] == c else -1
            slack = max(0.0, 1 - y * scores[i, c])
            total += slack**2
            gradient[i, c] = -2 * y * slack / (classes * batch)
    loss, got = squared_hinge(scores, labels)
    assert isinstance(loss, float)
    assert math.isclose(loss, total / (batch * classes), rel_tol=1e-12, abs_tol=1e-15)
    np.testing.assert_allclose(got, gradient, rtol=1e-12, atol=1e-15)


@given(SIZES, SIZES, SEEDS)
def test_squared_hinge_gradient_is_its_derivative(batch, classes, seed):
    scores, labels = case(batch, classes, seed)
    numeric = central_differences(lambda v: squared_hinge(v, labels)[0], scores)
    assert worst_error(numeric, squared_hinge(scores, labels)[1]) < 1e-4


def test_squared_hinge_of_known_scores():
    scores = np.array([[0.6, 0.4], [0.4, 0.6]])
    loss, gradient = squared_hinge(scores, np.array([[-1, 1], [-1, -1]]))
    assert math.isclose(loss, 1.86)  # (2.56 + 0.36 + 1.96 + 2.56) / 4
    np.testing.assert_allclose(gradient, [[0.8, -0.3], [0.7, 0.8]])
    # One example at a time, two classes: (36 + 0) / 2.
    assert squared_hinge(np.array([[5.0, 3.0]]), np.array([[-1, 1]]))[0] == 18
    assert squared_hinge(np.array([[5.0, 3.0]]), np.array([1]))[0] == 18


def test_margin_of_one_is_enough_and_a_single_score_beyond_it_costs_nothing():
    loss, gradient = squared_hinge(np.array([[1.0, -1.0, -7.0]]), np.array([0]))
    assert loss == 0
    np.testing.assert_array_equal(gradient, np.zeros((1, 3)))
    loss, gradient = squared_hinge(np.array([[0.0, -1.0]]), np.array([0]))
    assert loss == 0.5
    np.testing.assert_array_equal(gradient, [[-1.0, 0.0]])


@given(SIZES, SIZES, SEEDS, st.sampled_from([np.int8, np.int64, np.float32, np.float64]))
def test_labels_and_signed_targets_are_the_same_thing(batch, classes, seed, dtype):
    scores, labels = case(batch, classes, seed)
    targets = np.full((batch, classes), -1, dtype)
    targets[range(batch), labels] = 1
    loss, gradient = squared_hinge(scores, labels)
    loss2, gradient2 = squared_hinge(scores, targets)
    assert loss == loss2
    np.testing.assert_array_equal(gradient, gradient2)
    signed = signed_targets(labels, (batch, classes), np.float32)
    assert signed.dtype == np.float32
    np.testing.assert_array_equal(signed, targets)


# Softmax cross-entropy


@given(SIZES, SIZES, SEEDS)
def test_cross_entropy_is_the_mean_of_minus_log_p(batch, classes, seed):
    scores, labels = case(batch, classes, seed)
    total, gradient = 0.0, np.zeros((batch, classes))
    for i in range(batch):
        powers = [math.exp(s) for s in scores[i]]
        p = [power / math.fsum(powers) for power in powers]
        total -= math.log(p[labels[i]])
        for c in range(classes):
            gradient[i, c] = (p[c] - (c == labels[i])) / batch
    loss, got = softmax_cross_entropy(scores, labels)
    assert isinstance(loss, float)
    assert math.isclose(loss, total / batch, rel_tol=1e-9, abs_tol=1e-12)
    np.testing.assert_allclose(got, gradient, atol=1e-12)


@given(SIZES, st.integers(2, 6), SEEDS)
def test_cross_entropy_gradient_is_its_derivative_and_sums_to_zero(batch, classes, seed):
    scores, labels = case(batch, classes, seed)
    gradient = softmax_cross_entropy(scores, labels)[1]
    numeric = central_differences(lambda v: softmax_cross_entropy(v, labels)[0], scores)
    assert worst_error(numeric, gradient) < 1e-5
    np.testing.assert_allclose(gradient.sum(axis=1), 0, atol=1e-14)


@given(SIZES, SIZES, SEEDS, st.floats(-500, 500))
def test_cross_entropy_does_not_see_a_common_offset(batch, classes, seed, offset):
    scores, labels = case(batch, classes, seed)
    loss, gradient = softmax_cross_entropy(scores, labels)
    moved_loss, moved_gradient = softmax_cross_entropy(scores + offset, labels)
    assert math.isclose(loss, moved_loss, rel_tol=1e-8, abs_tol=1e-10)
    np.testing.assert_allclose(moved_gradient, gradient, atol=1e-10)


@pytest.mark.parametrize("classes", [1, 2, 10])
def test_equal_scores_cost_the_logarithm_of_the_number_of_classes(classes):
    loss, gradient = softmax_cross_entropy(np.full((3, classes), 4.0), np.zeros(3, int))
    assert math.isclose(loss, math.log(classes), abs_tol=1e-15)
    np.testing.assert_allclose(gradient[:, 0], (1 / classes - 1) / 3)


def test_huge_scores_neither_overflow_nor_lose_the_logarithm():
    loss, gradient = softmax_cross_entropy(np.array([[1e8, 1e8]], np.float32), np.array([1]))
    assert abs(loss - 0.6931472) < 1e-6
    np.testing.assert_allclose(gradient, [[0.5, -0.5]])
    loss, gradient = softmax_cross_entropy(np.array([[-3e38, 0.0, 1e4]], np.float32), np.array([2]))
    assert loss == 0
    np.testing.assert_array_equal(gradient, np.zeros((1, 3)))
    loss, gradient = softmax_cross_entropy(np.array([[1000.0, 0.0]]), np.array([1]))
    assert loss == 1000
    np.testing.assert_array_equal(gradient, [[1, -1]])


# Both


@pytest.mark.parametrize("loss", [squared_hinge, softmax_cross_entropy])
@pytest.mark.parametrize("dtype", DTYPES)
def test_gradient_has_the_float_type_of_the_scores_and_the_scores_are_left_alone(loss, dtype):
    scores, labels = case(4, 3, 0)
    scores = scores.astype(dtype)
    kept = scores.copy()
    gradient = loss(scores, labels.astype(np.uint8))[1]
    assert gradient.dtype == dtype
    assert gradient.shape == scores.shape
    np.testing.assert_array_equal(scores, kept)


@pytest.mark.parametrize("loss", [squared_hinge, softmax_cross_entropy])
def test_a_step_against_the_gradient_lowers_the_loss(loss):
    scores, labels = case(5, 4, 1)
    before, gradient = loss(scores, labels)
    assert loss(scores - 0.1 * gradient, labels)[0] < before


def test_labels_come_back_as_int64():
    labels = check_labels(np.array([2, 0, 1], np.uint8), 3, 3)
    assert labels.dtype == np.int64
    np.testing.assert_array_equal(labels, [2, 0, 1])
    assert check_labels(np.empty(0, int), 0, 3).shape == (0,)


SCORES = np.zeros((2, 3))
ZERO_ONE = np.array([[0, 1, 0], [0, 0, 1]])
COMMON = [
    (lambda f: f(np.zeros(3), [0]), ValueError, ["scores:", "(batch, classes)", "(3,)"]),
    (lambda f: f(np.zeros((0, 3)), []), ValueError, ["scores:", "(0, 3)"]),
    (lambda f: f(np.zeros((2, 0)), [0, 0]), ValueError, ["scores:", "(2, 0)"]),
    (lambda f: f(np.zeros((2, 3), int), [0, 1]), TypeError, ["scores:", "float32", "int64"]),
    (lambda f: f(SCORES, [0.0, 1.0]), TypeError, ["{labels}:", "integers", "float64"]),
    (lambda f: f(SCORES, [True, False]), TypeError, ["{labels}:", "integers", "bool"]),
    (lambda f: f(SCORES, [0, 1, 2]), ValueError, ["{labels}:", "(2,)", "(3,)"]),
    (lambda f: f(SCORES, 1), ValueError, ["{labels}:", "(2,)", "()"]),
    (lambda f: f(SCORES, [0, 3]), ValueError, ["{labels}:", "0 to 2", "0 to 3"]),
    (lambda f: f(SCORES, [-1, 2]), ValueError, ["{labels}:", "0 to 2", "-1"]),
    (lambda f: f(SCORES, np.zeros((2, 3, 1), int)), ValueError, ["{labels}:", "(2, 3, 1)"]),
    (lambda f: f(SCORES, [0, True]), TypeError, ["{labels}:", "integers", "bool"]),
    (
        lambda f: f(SCORES, np.ma.array([0, 1], mask=[0, 1])),
        TypeError,
        ["MaskedArray"],
    ),
    (lambda f: f(SCORES, [0, None]), TypeError, ["{labels}:", "integers", "object"]),
    (lambda f: f(SCORES, ["0", "1"]), TypeError, ["{labels}:", "integers"]),
    (lambda f: f(SCORES, [[0, 1], [0]]), ValueError, ["{labels}:", "rows of different lengths"]),
    (lambda f: f(SCORES + np.nan, [0, 1]), ValueError, ["scores:", "finite", "nan at [0, 0]"]),
    (lambda f: f(np.array([[0, -np.inf]]), [0]), ValueError, ["scores:", "-inf at [0, 1]"]),
    (
        lambda f: f(np.array([[3e38, -3e38]], "f4"), [1]),
        ValueError,
        ["scores:", "float32", "3e+38"],
    ),
]


@pytest.mark.parametrize("loss", [squared_hinge, softmax_cross_entropy])
@pytest.mark.parametrize("call, error, words", COMMON)
def test_bad_arguments_are_refused_with_their_name(loss, call, error, words):
    with pytest.raises(error) as caught:
        call(loss)
    argument = "targets" if loss is squared_hinge else "labels"
    for word in words:
        assert word.format(labels=argument) in str(caught.value)


@pytest.mark.parametrize(
    "targets, words",
    [
        (ZERO_ONE, ["targets:", "-1 and +1", "got values such as 0"]),
        (ZERO_ONE.astype(np.float32), ["targets:", "-1 and +1", "0.0"]),
        (ZERO_ONE.astype(bool), ["targets:", "-1 and +1", "False"]),
        (2 * ZERO_ONE - 1.5, ["targets:", "-1.5"]),
        (np.full((2, 3), np.nan), ["targets:", "nan"]),
        (np.ones((3, 2)), ["targets:", "(2, 3)", "(3, 2)"]),
        (np.ones((1, 3)), ["targets:", "(2, 3)", "(1, 3)"]),
    ],
)
def test_the_hinge_refuses_targets_that_are_not_signed(targets, words):
    with pytest.raises(ValueError, match=r"^targets:") as caught:
        squared_hinge(SCORES, targets)
    for word in words:
        assert word in str(caught.value)


def test_cross_entropy_takes_integer_classes_only():
    with pytest.raises(ValueError, match=r"^labels: expected shape \(2,\), got \(2, 3\)"):
        softmax_cross_entropy(SCORES, ZERO_ONE)


def test_an_error_calls_labels_by_the_name_that_the_caller_gave():
    for labels in ([0.5], [0, 1], [7]):
        with pytest.raises((TypeError, ValueError), match=r"^digits: "):
            check_labels(labels, 1, 3, "digits")
