"""Thresholds: the integer compare must be the trained float code, for every possible sum."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qnn_ref.grid import Grid
from qnn_ref.layers import BatchNorm, Quantize, ShiftBatchNorm
from qnn_ref.packed.stages import Flow
from qnn_ref.packed.thresholds import Levels, Scores, Threshold, find_thresholds
from qnn_ref.quantizers import Sign

EDGES = [0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 1e-30, -1e-30, 1e15, -1e15, 1e-45, -1e-45]


def channel_values(low: float = -10.0, high: float = 10.0) -> st.SearchStrategy[float]:
    return st.one_of(st.sampled_from(EDGES), st.floats(low, high, width=32))


def norm_with(kind, mean, r, gain, shift, dtype=np.float32):
    layer = kind().build((len(mean),), dtype=dtype)
    layer.running_mean[:] = mean
    layer.running_inverse_deviation[:] = r
    layer.gain.assign(np.asarray(gain, dtype))
    layer.shift.assign(np.asarray(shift, dtype))
    return layer


def sign_through(norm):
    quantize = Quantize(Sign()).build(norm.input_shape, dtype=norm.dtype)

    def sign_of(sums):
        with np.errstate(over="ignore", invalid="ignore"):
            return quantize.pointwise(norm.pointwise(sums.astype(norm.dtype)[None]))[0]

    return sign_of


def compare(sign_of, largest, channels):
    """Thresholds against the float code at every sum that can occur."""
    at, flip = find_thresholds(sign_of, largest, channels)
    assert at.dtype == np.int32
    assert flip.dtype == np.bool_
    for s in range(-largest, largest + 1):
        sums = np.full(channels, s)
        expected = sign_of(sums) > 0
        np.testing.assert_array_equal((sums >= at) ^ flip, expected, err_msg=f"sum {s}")
    return at, flip


@pytest.mark.parametrize("kind", [BatchNorm, ShiftBatchNorm])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@given(data=st.data(), largest=st.integers(0, 40), channels=st.integers(1, 4))
def test_threshold_is_the_float_code_for_every_sum(kind, dtype, data, largest, channels):
    def draw(values):
        return np.array(data.draw(st.lists(values, min_size=channels, max_size=channels)))

    with np.errstate(over="ignore"):
        norm = norm_with(
            kind,
            draw(channel_values(-50, 50)),
            np.abs(draw(st.floats(0.015625, 100, width=32))),
            draw(channel_values()),
            draw(channel_values()),
            dtype,
        )
    compare(sign_through(norm), largest, channels)


def test_negative_gain_turns_the_comparison():
    norm = norm_with(BatchNorm, [0.0], [1.0], [-1.0], [0.5])
    at, flip = find_thresholds(sign_through(norm), 3, 1)
    bits = (np.array([-3, -1, 1, 3]) >= at) ^ flip
    np.testing.assert_array_equal(bits, [True, True, False, False])


@pytest.mark.parametrize("gain", [0.0, -0.0])
@pytest.mark.parametrize(("shift", "bit"), [(-0.1, False), (0.0, True), (0.1, True)])
def test_zero_gain_is_a_constant_without_division(gain, shift, bit):
    norm = norm_with(BatchNorm, [2.0], [3.0], [gain], [shift])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        at, flip = find_thresholds(sign_through(norm), 9, 1)
    sums = np.arange(-9, 10)
    np.testing.assert_array_equal((sums >= at) ^ flip, np.full(19, bit))


@pytest.mark.parametrize("gain", [1.0, -1.0, 0.3, -7.0])
@pytest.mark.parametrize("mean", [-2.0, -1.5, 0.0, 0.25, 2.0])
def test_neighbours_of_the_threshold(gain, mean):
    """The classic fault is off by one: test T - 1, T and T + 1 in both directions."""
    norm = norm_with(BatchNorm, [mean], [0.7], [gain], [0.0])
    sign_of = sign_through(norm)
    at, flip = find_thresholds(sign_of, 1000, 1)
    for s in (at - 1, at, at + 1):
        np.testing.assert_array_equal((s >= at) ^ flip, sign_of(s.astype(np.int64)) > 0)


def test_sums_beyond_2_to_the_24_round_once_as_in_training():
    largest = 2**26
    norm = norm_with(BatchNorm, [2.0**25 + 1], [1e-7], [1.0], [0.0])
    sign_of = sign_through(norm)
    at, flip = find_thresholds(sign_of, largest, 1)
    for s in range(int(at[0]) - 5, int(at[0]) + 6):
        assert ((s >= at[0]) ^ flip[0]) == (sign_of(np.array([s]))[0] > 0)


def test_sums_beyond_31_bits_are_refused():
    with pytest.raises(ValueError, match="largest: sums up to 2147483648 do not fit"):
        find_thresholds(lambda s: np.ones(1), 2**31, 1)


# A step compares its arrays with each other, and with what flows in

AT, FLIP = np.array([-3, 0, 5], np.int32), np.array([False, True, False])
TWO, CODES = np.stack([AT, AT + 1]), np.array([-3, 1, 5], np.int32)
SUMS = Flow("integers", (3,), Grid(-3, 6, 1))
ONE = np.ones(3, np.float32)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Threshold(AT.astype(np.int64), FLIP), r"at: expected int32 \(3,\)"),
        (lambda: Threshold(AT[None], FLIP), r"at: expected int32 \(3,\), got int32 \(1, 3\)"),
        (lambda: Threshold(AT, FLIP[:2]), r"flip: expected bool \(3,\), got bool \(2,\)"),
        (lambda: Threshold(AT, AT), r"flip: expected bool \(3,\), got int32"),
        (lambda: Levels(TWO, TWO > 0, CODES[::-1].copy()), "codes: expected two or more, each"),
        (lambda: Levels(TWO, TWO > 0, np.array([0, 2, 1], np.int32)), "codes: expected two or mo"),
        (lambda: Levels(TWO, TWO > 0, np.array([0, 0, 1], np.int32)), "codes: expected two or mo"),
        (lambda: Levels(TWO[:0], TWO[:0] > 0, CODES[:1]), "codes: expected two or more"),
        (lambda: Levels(TWO, TWO > 0, CODES.astype(np.int64)), r"codes: expected int32 \(3,\)"),
        (lambda: Levels(TWO[0], TWO > 0, CODES), r"at: expected int32 \(2, 3\), got int32 \(3,\)"),
        (lambda: Levels(np.array(3, np.int32), TWO > 0, CODES), r"at: expected int32 \(2, 0\)"),
        (lambda: Levels(TWO, TWO[:1] > 0, CODES), r"flip: expected bool \(2, 3\)"),
        (lambda: Scores("float16", 1.0), "dtype: expected float32 or float64, got 'float16'"),
        (lambda: Scores("float32", 1.0, ONE, ONE, ONE, ONE), "mean, inverse_deviation, gain, sh"),
        (lambda: Scores("float64", 1.0, ONE), r"bias: expected float64 \(3,\), got float32"),
        (lambda: Scores("float32", 1.0, ONE * np.inf), "bias: expected finite numbers"),
        (lambda: Scores("float32", 0.0), "scale: expected"),
    ],
)
def test_arrays_that_do_not_fit_make_no_step(make, words):
    with pytest.raises(ValueError, match="^" + words):
        make()


@pytest.mark.parametrize("step", [Threshold(AT, FLIP), Levels(TWO, TWO > 0, CODES)])
def test_what_flows_into_thresholds(step):
    shape, words = (4, 3), "at: expected thresholds from {} to {}, got {}"
    assert step.output(Flow("integers", shape, Grid(-3, 6, 1))).shape == shape
    for flow, said in (
        (Flow("bits", (3,), Grid(-3, 6, 1)), "expected integers, got bits"),
        (Flow("integers", (2,), Grid(-3, 6, 1)), "expected 3 channels"),
        (Flow("integers", (3,), Grid(-2, 6, 1)), words.format(-2, 6, -3)),
        (Flow("integers", (3,), Grid(-3, 4, 1)), words.format(-3, 4, step.at.max())),
    ):
        with pytest.raises(ValueError, match="^" + said):
            step.output(flow)


def test_what_flows_out_of_thresholds():
    assert Threshold(AT, FLIP).output(SUMS) == Flow("bits", (3,), Grid(-1, 1, 2))
    assert Levels(TWO, TWO > 0, CODES).output(SUMS) == Flow("integers", (3,), Grid(-3, 5, 4))
    x = np.array([[[-4, -1, 5], [6, 1, -9]]], np.int32)
    assert Threshold(AT, FLIP).run(x).shape == (1, 2, 1)
    passed = ((x >= TWO[0]) ^ (TWO[0] > 0)).astype(int) + ((x >= TWO[1]) ^ (TWO[1] > 0))
    np.testing.assert_array_equal(Levels(TWO, TWO > 0, CODES).run(x), CODES[passed])


def test_what_flows_into_scores():
    step = Scores("float32", 0.5, ONE, 2 * ONE, 3 * ONE, 4 * ONE, 5 * ONE)
    assert step.output(SUMS) == SUMS
    x = np.array([[2, 4, 6]], np.int32)
    np.testing.assert_array_equal(step.run(x), [[5, 17, 29]])
    np.testing.assert_array_equal(Scores("float32", 0.5, ONE).run(x), [[2, 3, 4]])
    for flow, said in (
        (Flow("bits", (3,), SUMS.grid), "expected integers, got bits"),
        (Flow("integers", (2, 3), SUMS.grid), r"expected a row of sums, got \(2, 3\)"),
        (Flow("integers", (4,), SUMS.grid), "bias: expected 4 classes, got 3"),
    ):
        with pytest.raises(ValueError, match="^" + said):
            step.output(flow)
