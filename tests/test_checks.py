"""Checks of arguments: what they let through, and what their errors say."""

import math
from fractions import Fraction

import numpy as np
import pytest

from qnn_ref.checks import all_finite, real, whole


@pytest.mark.parametrize("value", [3, np.int8(3), np.uint64(3), np.array(3)])
def test_whole_numbers_pass_as_int(value):
    assert type(whole("units", value)) is int
    assert whole("units", value, 3, 3) == 3


@pytest.mark.parametrize("value", [True, np.True_, 3.0, np.float32(3), "3", None, [3], Fraction(3)])
def test_what_is_no_whole_number_is_refused_with_its_type(value):
    with pytest.raises(TypeError, match="units: expected a whole number of at least 1, got "):
        whole("units", value, 1)


@pytest.mark.parametrize("value", [0, 9, -1, 2**70])
def test_a_whole_number_outside_its_range_is_refused(value):
    with pytest.raises(ValueError, match=f"bits: expected a whole number from 1 to 8, got {value}"):
        whole("bits", value, 1, 8)


@pytest.mark.parametrize("value", [1, 1.0, np.float32(1), np.int64(1)])
def test_finite_numbers_pass_as_float(value):
    assert type(real("rate", value, above=0, most=1)) is float


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 0, 1.5, np.float32("nan")])
def test_a_number_that_is_not_finite_or_outside_is_refused(value):
    with pytest.raises(ValueError, match="rate: expected a finite number above 0 and at most 1"):
        real("rate", value, above=0, most=1)


@pytest.mark.parametrize("value", [True, "1", None, 1j, [1.0]])
def test_what_is_no_real_number_is_refused(value):
    with pytest.raises(TypeError, match="rate: expected a finite number, got "):
        real("rate", value)


@pytest.mark.parametrize(
    ("limits", "inside", "outside"),
    [
        ({"above": 0}, 5e-324, 0.0),
        ({"least": 0}, -0.0, -5e-324),
        ({"below": 1}, math.nextafter(1, 0), 1.0),
        ({"most": 1}, 1.0, math.nextafter(1, 2)),
    ],
)
def test_ends_are_excluded_or_included_as_named(limits, inside, outside):
    assert real("x", inside, **limits) == inside
    with pytest.raises(ValueError, match="x: expected"):
        real("x", outside, **limits)


def test_the_first_place_that_is_not_finite_is_named():
    a = np.ones((2, 3), np.float32)
    all_finite("w", a)
    all_finite("labels", np.arange(3))
    all_finite("empty", np.zeros((0, 3)))
    a[1, 2], a[1, 0] = np.nan, -np.inf
    with pytest.raises(ValueError, match=r"w: expected finite numbers, got -inf at \[1, 0\]"):
        all_finite("w", a)
    with pytest.raises(ValueError, match=r"gain: expected finite numbers, got nan$"):
        all_finite("gain", np.float64("nan"))
