"""Quantizers: the values of eqs. (1)-(3), the gradients of eqs. (4)-(5), and their edges."""

import dataclasses
import inspect
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import qnn_ref.quantizers
from qnn_ref.checking import strategies as qst
from qnn_ref.quantizers import (
    Encoding,
    LinearQuant,
    LogQuant,
    Quantizer,
    Sign,
    StochasticSign,
    hard_sigmoid,
    hard_sigmoid_backward,
    hard_tanh,
    hard_tanh_backward,
)
from qnn_ref.quantizers.base import as_real, masked
from tests.numeric import central_differences, special_values, worst_error

DTYPES = [np.float32, np.float64]
SHAPES = hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=5)
NUMBERS = st.one_of(
    st.sampled_from(special_values(np.float32)),
    st.floats(width=32, allow_nan=False),
    qst.around(Sign()),
)
SATURATIONS = st.sampled_from([0.5, 1.0, 2.0, 4.0])


def arrays(elements=NUMBERS):
    return st.sampled_from(DTYPES).flatmap(
        lambda dtype: hnp.arrays(dtype, SHAPES, elements=elements)
    )


def rowwise(function, *given_arrays):
    """Apply a function of plain Python floats to each element, in the dtype of the last array."""
    last, flat_arrays = given_arrays[-1], map(np.ravel, given_arrays)
    flat = [function(*map(float, values)) for values in zip(*flat_arrays, strict=True)]
    return np.array(flat, last.dtype).reshape(last.shape)


class ThirdsOfOdds(Quantizer):
    """Two bits by hand: codes -3, -1, 1, 3 and the scale 1/3, to see what the base class does."""

    def encode(self, x, noise=None):
        codes = 2 * np.floor(np.clip(x, -1, 1) * 1.5 + 2).clip(0, 3) - 3
        return codes.astype(x.dtype), 1 / 3


# Eq. (1): Sign


@given(arrays())
def test_sign_is_plus_one_from_zero_upwards(x):
    codes, scale = Sign().encode(x)
    assert scale == 1
    assert codes.dtype == x.dtype
    assert codes.shape == x.shape
    np.testing.assert_array_equal(codes, rowwise(lambda v: 1.0 if v >= 0 else -1.0, x))


@pytest.mark.parametrize("dtype", DTYPES)
def test_sign_at_zero_negative_zero_and_the_smallest_numbers(dtype):
    tiny = np.finfo(dtype).smallest_subnormal
    x = np.array([-2, -0.0, 0.0, tiny, -tiny, 3, np.inf, -np.inf], dtype)
    np.testing.assert_array_equal(Sign().quantize(x), [-1, 1, 1, 1, -1, 1, 1, -1])
    np.testing.assert_array_equal(Sign().quantize(np.zeros(8, dtype)), np.ones(8))
    assert set(np.unique(Sign().quantize(np.linspace(-2, 2, 10001, dtype=dtype)))) == {-1, 1}


@given(arrays(), SATURATIONS)
def test_relaxed_boundary_leaves_the_forward_pass_alone(x, saturation):
    np.testing.assert_array_equal(Sign(saturation).quantize(x), Sign().quantize(x))


# Eqs. (4), (5): hard tanh and its mask


@given(arrays(), SATURATIONS)
def test_hard_tanh_is_the_clipped_identity(x, saturation):
    expected = rowwise(lambda v: max(-saturation, min(saturation, v)), x)
    for got in (hard_tanh(x, saturation), Sign(saturation).surrogate(x)):
        np.testing.assert_array_equal(got, expected)
        assert got.dtype == x.dtype


@given(arrays(), SATURATIONS, st.integers(0, 2**32))
def test_gradient_passes_where_the_input_is_within_the_bound(x, saturation, seed):
    dy = np.asarray(np.random.default_rng(seed).normal(0, 100, x.shape), x.dtype)
    expected = rowwise(lambda d, v: d if abs(v) <= saturation else 0.0, dy, x)
    for got in (
        hard_tanh_backward(dy, x, saturation),
        Sign(saturation).backward(dy, x),
        StochasticSign(saturation).backward(dy, x),
    ):
        np.testing.assert_array_equal(got, expected)
        assert got.dtype == x.dtype


def test_the_bound_is_1_unless_another_is_given():
    x = np.array([-1.5, -1.0, 0.5, 1.0, 1.5])
    np.testing.assert_array_equal(hard_tanh(x), np.clip(x, -1, 1))
    np.testing.assert_array_equal(hard_tanh_backward(np.ones(5), x), [0, 1, 1, 1, 0])


@pytest.mark.parametrize("size", [1, 10])
def test_mask_looks_at_the_input_and_never_at_the_gradient(size):
    r = np.array([-2, -1.5, -1, 0.1, 0.9, 1.5, 2])
    got = Sign().backward(np.full(7, float(size)), r)
    np.testing.assert_array_equal(got, [0, 0, size, size, size, 0, 0])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("quantizer", [Sign, StochasticSign])
def test_the_neighbour_of_1_is_the_strict_mask_of_torch(quantizer, dtype):
    strict = quantizer(np.nextafter(1, 0))
    x = np.array([-1, np.nextafter(dtype(-1), dtype(0)), 0, 0.999, 1], dtype)
    dx = strict.backward(np.ones(5, dtype), x)
    np.testing.assert_array_equal(dx, [0, 1, 1, 1, 0])
    assert dx.dtype == strict.surrogate(x).dtype == dtype


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("saturation", [1.0, 2.5])
def test_bound_is_inside_and_its_neighbour_is_not(dtype, saturation):
    bound = dtype(saturation)
    beyond = np.nextafter(bound, dtype(np.inf))
    r = np.array([bound, -bound, beyond, -beyond])
    got = Sign(saturation).backward(np.ones(4, dtype), r)
    np.testing.assert_array_equal(got, [1, 1, 0, 0])


@given(
    hnp.arrays(np.float64, 12, elements=st.floats(-3, 3)),
    st.sampled_from([Sign(), Sign(1.5), StochasticSign(), StochasticSign(0.5)]),
    st.integers(0, 2**32),
)
def test_backward_is_the_gradient_of_the_surrogate(x, quantizer, seed):
    # Central differences need a step without a kink in it.
    x = np.where(np.abs(np.abs(x) - quantizer.saturation) < 1e-3, 0.25, x)
    dy = np.random.default_rng(seed).normal(size=x.shape)
    numeric = central_differences(lambda v: float(np.sum(dy * quantizer.surrogate(v))), x)
    assert worst_error(numeric, quantizer.backward(dy, x)) < 1e-8


def test_a_wider_bound_lets_more_gradient_through():
    x = np.array([-3.0, -1.5, 0.2, 1.5, 3.0])
    assert np.count_nonzero(Sign(2.0).backward(np.ones(5), x)) == 3
    assert np.count_nonzero(Sign(np.inf).backward(np.ones(5), x)) == 5


# Eqs. (2), (3): hard sigmoid and the stochastic form


@given(arrays(st.floats(-3, 3, width=32)))
def test_hard_sigmoid_is_half_of_one_plus_x_between_zero_and_one(x):
    expected = rowwise(lambda v: max(0.0, min(1.0, (v + 1) / 2)), x)
    np.testing.assert_allclose(hard_sigmoid(x), expected, rtol=1e-6, atol=1e-7)
    assert hard_sigmoid(x).dtype == x.dtype


def test_hard_sigmoid_at_known_points():
    x = np.array([-np.inf, -3, -1, -0.5, 0, 0.5, 1, 3, np.inf])
    np.testing.assert_array_equal(hard_sigmoid(x), [0, 0, 0, 0.25, 0.5, 0.75, 1, 1, 1])
    dy = np.full(9, 10.0)
    np.testing.assert_array_equal(hard_sigmoid_backward(dy, x), [0, 0, 5, 5, 5, 5, 5, 0, 0])


def test_hard_sigmoid_backward_is_its_gradient():
    rng = np.random.default_rng(1)
    x, dy = rng.uniform(-2, 2, (2, 40))
    x = x[np.abs(np.abs(x) - 1) > 1e-3]
    dy = dy[: x.size]
    numeric = central_differences(lambda v: float(np.sum(dy * hard_sigmoid(v))), x)
    assert worst_error(numeric, hard_sigmoid_backward(dy, x)) < 1e-8


@given(arrays(st.floats(-1.5, 1.5, width=32)), st.integers(0, 2**32))
def test_stochastic_sign_is_plus_one_where_the_noise_is_below_the_probability(x, seed):
    quantizer = StochasticSign()
    noise = quantizer.draw(x.shape, np.random.default_rng(seed))
    assert noise.shape == x.shape
    codes, scale = quantizer.encode(x, noise)
    p = rowwise(lambda v: max(0.0, min(1.0, (v + 1) / 2)), x)
    clear = np.abs(noise - p) > 1e-6
    np.testing.assert_array_equal(codes[clear], np.where(noise < p, 1, -1)[clear])
    assert codes.dtype == x.dtype
    assert scale == 1
    assert np.all(np.abs(codes) == 1)


def test_noise_equal_to_the_probability_gives_minus_one():
    x = np.zeros(3)
    noise = np.array([0.5, np.nextafter(0.5, 0), np.nextafter(0.5, 1)])
    np.testing.assert_array_equal(StochasticSign().quantize(x, noise), [-1, 1, -1])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("value", [1, 3, np.inf, -1, -3, -np.inf])
def test_stochastic_sign_is_certain_at_and_beyond_the_ends(dtype, value):
    quantizer, rng = StochasticSign(), np.random.default_rng(0)
    x = np.full(1_000_000, value, dtype)
    codes = quantizer.quantize(x, quantizer.draw(x.shape, rng))
    assert np.all(codes == np.sign(value))
    extremes = np.array([0.0, 1 - 2**-53])  # the ends of what a generator can draw
    assert np.all(quantizer.quantize(x[:2], extremes) == np.sign(value))


@pytest.mark.parametrize("value", [-0.9, -0.5, 0.0, 0.3, 0.8])
def test_stochastic_sign_has_the_mean_of_its_surrogate(value):
    quantizer, n = StochasticSign(), 200_000
    codes = quantizer.quantize(np.full(n, value), quantizer.draw((n,), np.random.default_rng(2)))
    deviation = math.sqrt((1 - value**2) / n)
    assert abs(codes.mean() - quantizer.surrogate(np.array(value))) < 5 * deviation
    assert abs(codes.var() - (1 - value**2)) < 0.02


@given(arrays())
def test_stochastic_sign_without_noise_is_sign(x):
    np.testing.assert_array_equal(StochasticSign().quantize(x), Sign().quantize(x))


def test_relaxed_boundary_leaves_the_probability_alone():
    noise = np.random.default_rng(3).random(50)
    x = np.random.default_rng(4).uniform(-1.5, 1.5, 50)
    paper = StochasticSign().quantize(x, noise)
    np.testing.assert_array_equal(StochasticSign(3.0).quantize(x, noise), paper)


def test_draws_come_from_the_given_generator_only():
    a, b = np.random.default_rng(5), np.random.default_rng(5)
    np.testing.assert_array_equal(StochasticSign().draw((3, 4), a), b.random((3, 4)))
    state = a.bit_generator.state
    assert Sign().draw((3, 4), a) is None
    assert Sign().draw((3, 4), None) is None
    assert a.bit_generator.state == state


# The contract that all quantizers share


@given(arrays(st.floats(-3, 3, width=32)))
def test_quantized_value_is_scale_times_codes_in_the_dtype_of_x(x):
    quantizer = ThirdsOfOdds()
    codes, scale = quantizer.encode(x)
    value = quantizer.quantize(x)
    assert value.dtype == x.dtype
    np.testing.assert_array_equal(value, codes * x.dtype.type(scale))
    assert np.all(np.isin(codes, [-3, -1, 1, 3]))


class Doubles(Quantizer):
    """Whole numbers in units of 2."""

    def encode(self, x, noise=None):
        return np.floor(x), 2.0


@given(arrays(st.floats(-3, 3, width=32)))
def test_only_a_scale_of_1_is_left_out(x):
    np.testing.assert_array_equal(Doubles().quantize(x), 2 * np.floor(x))


@pytest.mark.parametrize("grid", [(-1, 1, 2), (0, 3, 1), (-4, 3, 1), (-6, 6, 4)])
def test_levels_are_all_numbers_of_the_grid(grid):
    class OnGrid(Quantizer):
        encoding = Encoding(0.5, *grid)

    levels = OnGrid().levels
    low, high, step = grid
    assert levels.tolist() == list(range(low, high + 1, step))
    assert levels.dtype == np.int32


def test_encoding_states_the_grid_of_the_codes():
    assert Sign().encoding == StochasticSign().encoding == Encoding(1.0, -1, 1, 2)
    assert Encoding(0.25, -255, 7, 2).largest == 255
    assert Encoding(0.25, -7, 255, 2).largest == 255
    assert Encoding(0.25, -7, 255, 2).on_grid
    off = Encoding(0.25, -7, 255, 2).off_grid()
    assert not off.on_grid
    assert off.scale == 0.25
    assert off.largest == math.inf
    assert off == Encoding(0.25, -math.inf, math.inf, 0)


def test_a_quantizer_that_says_nothing_is_refused_by_name():
    class Mute(Quantizer):
        pass

    x = np.zeros(2)
    for call in (
        lambda: Mute().encode(x),
        lambda: Mute().quantize(x),
        lambda: Mute().surrogate(x),
        lambda: Mute().backward(x, x),
        lambda: Mute().encoding,
    ):
        with pytest.raises(TypeError, match="Mute"):
            call()


def test_quantizers_are_values():
    assert Sign() == Sign(1.0)
    assert Sign() != Sign(2.0)
    assert Sign() != StochasticSign()
    with pytest.raises(dataclasses.FrozenInstanceError):
        Sign().saturation = 2.0


def test_real_arrays_pass_through_uncopied():
    for dtype in DTYPES:
        x = np.ones((2, 3), dtype)
        assert as_real(x) is x
        assert as_real(np.empty((0, 3), dtype)).shape == (0, 3)
    assert as_real([1.5, -2.0]).dtype == np.float64


NAN32 = np.array([np.nan, 1.0], np.float32)
NAN64 = np.array([[0.0, np.nan], [np.nan, 1.0]])


@pytest.mark.parametrize(
    "call, error, words",
    [
        (lambda: Sign().quantize(NAN32), ValueError, ["x:", "1 of 2", "NaN"]),
        (lambda: Sign().encode(NAN64), ValueError, ["x:", "2 of 4", "NaN"]),
        (
            lambda: StochasticSign().encode(NAN64, np.zeros((2, 2))),
            ValueError,
            ["x:", "2 of 4", "NaN"],
        ),
        (lambda: StochasticSign().encode(NAN32), ValueError, ["x:", "NaN"]),
        (lambda: as_real(NAN32, "w"), ValueError, ["w:", "NaN"]),
        (lambda: as_real(np.array([np.inf, np.nan, -np.inf])), ValueError, ["x:", "1 of 3"]),
        (lambda: as_real(np.arange(3)), TypeError, ["x:", "float32", "int64"]),
        (lambda: as_real(np.zeros(3, np.float16)), TypeError, ["x:", "float16"]),
        (lambda: as_real(np.zeros(3, complex)), TypeError, ["x:", "complex128"]),
        (lambda: as_real(np.zeros(3, bool)), TypeError, ["x:", "bool"]),
        (lambda: as_real("abc", "pixels"), TypeError, ["pixels:", "float32"]),
        (lambda: Sign().encode(np.array([1, -1])), TypeError, ["x:", "int64"]),
        (lambda: Sign(0), ValueError, ["saturation:", "above 0", "0"]),
        (lambda: Sign(-1.0), ValueError, ["saturation:", "-1.0"]),
        (lambda: Sign(math.nan), ValueError, ["saturation:", "nan"]),
        (lambda: StochasticSign(-2), ValueError, ["saturation:", "-2"]),
        (lambda: hard_tanh(np.ones(2), 0), ValueError, ["saturation:", "0"]),
        (lambda: hard_tanh(np.ones(2), "1"), TypeError, ["saturation:", "1"]),
        (lambda: hard_tanh_backward(np.ones(2), np.ones(2), -1), ValueError, ["saturation:", "-1"]),
        (lambda: hard_tanh_backward(np.ones(2), np.ones(2), None), TypeError, ["saturation:"]),
        (lambda: StochasticSign().draw((2,), None), TypeError, ["rng:", "Generator", "None"]),
        (
            lambda: StochasticSign().encode(np.zeros((2, 3)), np.zeros(3)),
            ValueError,
            ["noise:", "(2, 3)", "(3,)"],
        ),
    ],
)
def test_bad_arguments_are_refused_with_their_name(call, error, words):
    with pytest.raises(error) as caught:
        call()
    for word in words:
        assert word in str(caught.value)


# Masks: outside them a gradient is 0, whatever it is


def masking():
    """Every quantizer with a straight-through gradient, and what says where it passes."""
    found = [
        kind
        for kind in vars(qnn_ref.quantizers).values()
        if isinstance(kind, type) and issubclass(kind, Quantizer)
        if kind.backward is not Quantizer.backward
    ]
    return [kind(2) if "bits" in inspect.signature(kind).parameters else kind() for kind in found]


BACKWARDS = [
    *(quantizer.backward for quantizer in masking()),
    LinearQuant(2, reading="L1").backward,
    LinearQuant(2, reading="L5").backward,
    LogQuant(4, None).backward,
    hard_tanh_backward,
    hard_sigmoid_backward,
]


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("number", range(len(BACKWARDS)))
def test_a_masked_gradient_is_zero_whatever_it_is(number, dtype, value):
    backward = BACKWARDS[number]
    x = np.array([-9, -1, -0.5, 0, 0.5, 1, 9], dtype)
    passes = backward(np.ones_like(x), x) != 0
    assert passes.any()
    dx = backward(np.full_like(x, value), x)
    assert dx.dtype == dtype
    assert not dx[~passes].any()
    np.testing.assert_array_equal(dx[passes], np.full(passes.sum(), value, dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("largest", [2, 1e30, np.inf, np.nan])
def test_a_mask_may_hold_factors(largest, dtype):
    """Also where the squares of the gradient overflow, or it is not finite."""
    dy, mask = np.array([-3, largest, largest, -2], dtype), np.array([0.5, 0.25, 0, 2], dtype)
    dx = masked(dy, mask)
    np.testing.assert_array_equal(dx, np.array([-1.5, largest / 4, 0, -4], dtype))
    assert dx.dtype == dtype


def test_every_quantizer_with_a_gradient_is_tried():
    assert {type(quantizer) for quantizer in masking()} >= {Sign, LinearQuant, LogQuant}


@pytest.mark.parametrize("number", range(len(BACKWARDS)))
@pytest.mark.parametrize("shape", [(3,), (1,), (), (2, 7), (1, 7)])
def test_a_gradient_of_another_shape_is_refused(number, shape):
    with pytest.raises(ValueError, match=r"^dy: expected shape \(7,\), as x, got"):
        BACKWARDS[number](np.ones(shape), np.linspace(-1, 1, 7))


# What is no array of numbers


@pytest.mark.parametrize("quantizer", masking(), ids=repr)
def test_values_behind_a_mask_are_refused(quantizer):
    with pytest.raises(TypeError, match=r"^x: expected a NumPy array, got numpy\.MaskedArray"):
        quantizer.encode(np.ma.masked_array(np.ones(3), [True, False, False]))


def test_rows_of_different_lengths_are_refused():
    with pytest.raises(ValueError, match=r"^x: expected an array, got rows of different lengths"):
        Sign().encode([[1.0], [1.0, 2.0]])


@pytest.mark.parametrize("quantizer", [StochasticSign(), LogQuant(3, stochastic=True)], ids=repr)
@pytest.mark.parametrize(
    ("noise", "words"),
    [
        (np.zeros(2), r"expected shape \(3,\), as x, got \(2,\)"),
        (np.zeros((1, 3)), r"expected shape \(3,\)"),
        ([0.5, 0.5, 0.5], "expected a NumPy array, got list"),
        (np.array([0, np.nan, 0]), r"expected finite numbers, got nan at \[1\]"),
    ],
)
def test_noise_that_fits_not_is_refused(quantizer, noise, words):
    with pytest.raises((TypeError, ValueError), match="^noise: " + words):
        quantizer.encode(np.ones(3), noise)


@pytest.mark.parametrize("rng", [None, 0, np.random.RandomState(0), np.random])
def test_draws_need_a_generator(rng):
    for quantizer in (StochasticSign(), LogQuant(3, stochastic=True)):
        with pytest.raises(TypeError, match=r"^rng: .*needs a numpy\.random\.Generator, got"):
            quantizer.draw((3,), rng)
