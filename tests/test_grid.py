"""Grids of whole numbers: what they hold, in how many planes, and what is none."""

import dataclasses
import itertools
import json

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from qnn_ref.grid import PIXELS, SIGNS, Encoding, Grid, check_grid

GRIDS = st.tuples(st.integers(-40, 40), st.integers(1, 9), st.integers(1, 40)).map(
    lambda t: Grid(t[0], t[0] + t[1] * t[2], t[1])
)


def codes(grid):
    return np.arange(grid.low, grid.high + 1, grid.step)


@given(GRIDS)
@example(SIGNS)
@example(PIXELS)
def test_planes_offset_and_largest_say_what_the_codes_need(grid):
    """The signs of the bits of all levels give the codes back, and one plane fewer does not."""
    levels = np.arange(len(codes(grid)))
    assert 2 ** (grid.planes - 1) <= levels[-1] < 2**grid.planes
    signs = [2 * (levels >> a & 1) - 1 for a in range(grid.planes)]
    weighted = sum(2**a * sign for a, sign in enumerate(signs))
    np.testing.assert_array_equal((grid.step * weighted + grid.offset) / 2, codes(grid))
    assert grid.largest == np.abs(codes(grid)).max()


@given(GRIDS, GRIDS)
@example(Grid(0, 6, 1), Grid(0, 6, 2))
@example(Grid(0, 6, 2), Grid(1, 5, 2))
@example(Grid(0, 6, 2), Grid(0, 6, 3))
def test_a_grid_holds_another_if_it_has_all_its_codes(one, other):
    assert one.holds(other) == set(codes(one)).issuperset(codes(other))
    assert one.holds(one)


@given(GRIDS, st.integers(1, 3), st.booleans())
@example(Grid(2, 8, 6), 2, True)
def test_sums_are_on_the_grid_of_sums(grid, count, fewer):
    sums = grid.sums(count, fewer)
    ends = {grid.low, grid.low + grid.step, grid.high}
    for number in range(0 if fewer else count, count + 1):
        for some in itertools.combinations_with_replacement(ends, number):
            assert sum(some) in codes(sums)
    assert sums.high == count * (max(grid.high, 0) if fewer else grid.high)


def test_a_grid_is_a_value():
    assert Grid(np.int8(-1), np.uint8(1), 2) == SIGNS
    assert all(type(number) is int for number in Grid(np.int16(-32767), 32767, np.int8(2)))
    assert Grid(np.int16(-32767), np.int16(32767), np.int16(2)).planes == 15  # nothing wraps
    assert len({SIGNS, Grid(-1, 1, 2), PIXELS}) == 2
    with pytest.raises(dataclasses.FrozenInstanceError):
        SIGNS.low = 0
    assert list(map(str, (SIGNS, PIXELS))) == ["-1, 1", "-255, -253, ..., 255"]


def test_a_grid_comes_back_from_json():
    assert Grid.of("grid", json.loads(json.dumps(list(PIXELS)))) == PIXELS
    assert Grid.of("grid", SIGNS) is SIGNS
    assert Grid.of("grid", [1 - 2**31, 2**31 - 1, 2]).planes == 31


def test_the_ends_of_what_is_a_grid():
    assert Grid(0, 2**32 - 1, 1).planes == 32
    assert Grid(0, 1, 1).planes == 1
    assert Grid(1, 3, 2).sums(2) == Grid(2, 6, 2)
    assert Grid(-6, -2, 2).sums(3, fewer=True) == Grid(-18, 0, 2)
    assert Grid(2, 6, 2).sums(3, fewer=True) == Grid(0, 18, 2)


def test_an_encoding_is_a_scale_and_a_grid():
    one = Encoding(0.5, -3.0, 3, 2.0)
    assert (one.grid, one.largest, one.on_grid) == (Grid(-3, 3, 2), 3, True)
    assert one == Encoding(0.5, *one.grid)
    assert repr(one) == "Encoding(scale=0.5, low=-3.0, high=3, step=2.0)"
    none = one.off_grid()
    assert (none.grid, none.largest, none.on_grid) == (None, np.inf, False)
    assert none == Encoding(0.5, -np.inf, np.inf, 0)
    assert Encoding(1.0, -7, 3, 2).largest == Encoding(1.0, -3, 7, 2).largest == 7
    large = Encoding(1.0, -(2.0**100), 2.0**100, 1)  # LogQuant's, of many bits
    assert large.grid.high == 2**100
    with pytest.raises(ValueError, match=r"^high: expected at most 2\^32 levels"):
        large.grid.planes  # noqa: B018


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: Grid(1, 1, 1), ValueError, "low: expected less than high = 1, got 1"),
        (lambda: Grid(0, 4, 0), ValueError, "step: expected at least 1, got 0"),
        (lambda: Grid(0, 4, -2), ValueError, "step: expected at least 1, got -2"),
        (lambda: Grid(0, 4, 3), ValueError, "step: expected a divisor of high - low = 4, got 3"),
        (lambda: Grid(0.0, 4, 1), TypeError, "low: expected a whole number, got 0.0"),
        (lambda: Grid(0, 4.5, 1), TypeError, "high: expected a whole number, got 4.5"),
        (lambda: Grid(0, 4, "1"), TypeError, "step: expected a whole number, got '1'"),
        (lambda: Grid(0, 4, True), TypeError, "step: expected a whole number, got True"),
        (lambda: Grid(0, 2**32, 1).planes, ValueError, r"high: expected at most 2\^32 levels"),
        (lambda: SIGNS.check_planes("w", [1, 2]), ValueError, "w: expected 1 planes for -1, 1, go"),
        (lambda: Grid.of("grid", (-3, 3)), ValueError, "grid: expected low, high and step, got"),
        (lambda: Grid.of("grid", None), ValueError, "grid: expected low, high and step, got None"),
        (lambda: Grid.of("grid", [-3, 3.0, 2]), TypeError, "grid: expected a whole number"),
        (lambda: Grid.of("grid", [-3, 3, 4]), ValueError, "grid: step: expected a divisor"),
        (lambda: Grid.of("grid", [0, 2**31, 2]), ValueError, "grid: expected a whole number from"),
        (lambda: Grid.of("grid", [-(2**31), 0, 2]), ValueError, "grid: expected a whole number fr"),
        (lambda: Encoding(0.0, -1, 1, 2), ValueError, "scale: expected a finite number above 0"),
        (lambda: Encoding(1.0, -1, 1, -2), ValueError, "step: expected"),
        (lambda: Encoding(1.0, -0.5, 1, 0.5), ValueError, "step: expected codes that are whole"),
        (lambda: Encoding(1.0, -1, 1, 2, SIGNS), TypeError, ".*positional arguments"),
        (lambda: check_grid((-1, 1, 2)), TypeError, "grid: expected an object of Grid, like Grid"),
    ],
)
def test_bad_arguments_are_named(call, error, words):
    with pytest.raises(error, match="^" + words):
        call()
