"""Slopes from values alone: known slopes, kinks, and what rounding does to them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qnn_ref.checking.differences import STEP, estimate, slope_along

ONE = np.ones(1)


def sides(function, x, step=STEP):
    found = estimate(lambda t: np.array([function(x + t)]), np.array([function(x)]), ONE, step)
    assert found.gap == found.right - found.left
    return found


def slope(function, x, expected, allowed=1e-6):
    return slope_along(
        lambda t: np.array([function(x + t)]),
        np.array([function(x)]),
        ONE,
        step=STEP,
        expected=expected,
        allowed=allowed,
    )


def hinge(x):
    return max(0.0, 1 - x) ** 2


@given(st.floats(-3, 3))
def test_known_slopes(x):
    for function, derivative in [
        (lambda x: 3 * x, 3.0),
        (lambda x: x * x, 2 * x),
        (lambda x: x**3, 3 * x * x),
        (np.exp, np.exp(x)),
        (np.sin, np.cos(x)),
        (lambda x: 7.0, 0.0),
    ]:
        sided = sides(function, x)
        for value in (sided.left, sided.right, sided.smooth):
            assert value == pytest.approx(derivative, abs=2e-8)
        found = slope(function, x, derivative)
        assert not found.kink
        assert found.value == pytest.approx(derivative, abs=5e-9)


@pytest.mark.parametrize(
    ("function", "x", "left", "right"),
    [
        (abs, 0.0, -1, 1),
        (lambda x: max(x, 0.0), 0.0, 0, 1),
        (lambda x: min(x, 1.0), 1.0, 1, 0),
        (lambda x: np.clip(x, -1, 1), -1.0, 0, 1),
        (lambda x: abs(x) + x * x, 0.0, -1, 1),
        (lambda x: np.exp(abs(x)), 0.0, -1, 1),
    ],
)
def test_both_sides_of_a_kink(function, x, left, right):
    found = sides(function, x)
    assert (found.left, found.right) == pytest.approx((left, right), abs=1e-8)
    for expected in (left, right, (left + right) / 2):
        found = slope(function, x, expected)
        assert found.kink
        assert (found.left, found.right) == pytest.approx((left, right), abs=1e-8)


def test_a_jump_of_the_second_derivative_is_no_kink():
    found = slope(hinge, 1.0, 0.0)
    assert not found.kink
    assert abs(found.value) < 1e-10  # a plain central difference would say -step / 2


@given(st.floats(-1e-3, 1e-3), st.sampled_from([1e-6, 1e-8]))
def test_nor_is_one_beside_the_point(distance, allowed):
    right = -2 * max(0.0, -distance)
    found = slope(hinge, 1 + distance, right, allowed)
    assert not found.kink
    assert found.value == pytest.approx(right, abs=allowed)


@given(st.floats(1e-12, 1e-2), st.sampled_from([-1, 1]))
def test_a_kink_beside_the_point_never_makes_the_slope_wrong(distance, side):
    found = slope(lambda x: abs(x - side * distance), 0.0, -side)
    assert found.kink or abs(found.value + side) < 1e-6
    if distance > 1e-7:  # a smaller step leaves it outside
        assert not found.kink


@given(st.floats(-2, 2), st.floats(1e-3, 1))
def test_a_wrong_expectation_is_not_agreed_with(x, mistake):
    found = slope(np.sin, x, np.cos(x) + mistake)
    assert not found.kink
    assert found.value == pytest.approx(np.cos(x), abs=1e-6)


def test_a_kink_between_the_steps_confirms_nothing():
    # Large steps see the mean of both slopes, 0; the smaller ones know better.
    found = slope(lambda x: abs(x - 1e-5), 0.0, 0.0)
    assert not found.kink
    assert found.value == pytest.approx(-1, abs=1e-6)


def test_a_jump_is_no_kink_and_has_no_slope():
    def sign(x):
        return 1.0 if x >= 0 else -1.0

    assert slope(sign, 0.3, 1.0).value == 0
    found = slope(sign, 0.0, 1.0)
    assert not found.kink
    assert abs(found.value - 1) > 100


def test_the_covector_weighs_differences_not_values():
    # A large value that does not change adds no rounding.
    found = estimate(
        lambda t: np.array([1e9, 3 * t]), np.array([1e9, 0.0]), np.array([1e9, 2.0]), STEP
    )
    assert (found.left, found.right, found.smooth) == (6, 6, 6)


def test_the_order_of_each_estimate():
    def errors(function, x, derivative):
        pairs = []
        for step in (2.0**-6, 2.0**-7):
            found = sides(function, x, step)
            middle = found.nearest(found.left / 2 + found.right / 2)
            pairs.append([abs(v - derivative) for v in (found.left, middle, found.smooth)])
        return np.log2(np.array(pairs[0]) / np.array(pairs[1]))

    np.testing.assert_allclose(errors(np.exp, 0.3, np.exp(0.3)), [2, 2, 4], atol=0.1)
