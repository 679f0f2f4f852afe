"""AP2 and shifts: exact against integer and rational arithmetic, fast form against its twin."""

import ast
import inspect
import math
import textwrap
import tracemalloc
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from qnn_ref import shifts
from qnn_ref.shifts import (
    ap2,
    ap2_reference,
    ap2_sign_exponent,
    from_fixed,
    shift_multiply,
    shift_multiply_fixed,
    shift_multiply_fixed_reference,
    shift_multiply_reference,
    to_fixed,
)

DTYPES = [np.float32, np.float64]
WORDS = {np.float32: np.uint32, np.float64: np.uint64}
BOTH_AP2 = pytest.mark.parametrize("form", [ap2, ap2_reference])
BOTH_DTYPES = pytest.mark.parametrize("dtype", DTYPES)


def bits(x):
    """The bit patterns: two arrays are the same floats, signs of zeros included."""
    return x.view(WORDS[x.dtype.type])


def edge_values(dtype):
    """Zeros, infinities, the ends of the range, and both sides of some thresholds."""
    info = np.finfo(dtype)
    p, low, high = info.nmant, info.minexp, info.maxexp - 1
    above_zero = [info.smallest_subnormal, info.smallest_normal, info.max, np.inf]
    for k in (low, -1, 0, 1, high):
        below = np.ldexp(dtype(math.isqrt(2 ** (2 * p + 1))), k - p)
        above_zero += [below, np.nextafter(below, dtype(np.inf)), np.ldexp(dtype(1), k)]
    above_zero += [np.nextafter(info.smallest_normal, dtype(0)), 3 * info.smallest_subnormal]
    values = np.array([0, *above_zero], dtype)
    return np.concatenate([values, -values])


def float_arrays(dtype, finite=False, max_size=12):
    """Arrays drawn by bit pattern, so that all exponents are equally likely; no NaN."""
    word, real_bits = WORDS[dtype], np.finfo(dtype).bits
    patterns = st.one_of(
        st.integers(0, 2**real_bits - 1),
        st.sampled_from([int(w) for w in bits(edge_values(dtype))]),
    )

    def without_nan(words):
        x = np.array(words, word).view(dtype)
        x[~np.isfinite(x) if finite else np.isnan(x)] = np.finfo(dtype).max
        return x

    return st.lists(patterns, max_size=max_size).map(without_nan)


FLOATS = st.one_of(float_arrays(np.float32), float_arrays(np.float64))
FINITE = st.one_of(float_arrays(np.float32, finite=True), float_arrays(np.float64, finite=True))


def exact_ap2(x):
    """AP2 of one finite float in rational arithmetic: 2^k or 2^(k+1) by |x|^2 < 2^(2k+1)."""
    magnitude = abs(Fraction(float(x)))
    if magnitude == 0:
        return Fraction(0)
    k = magnitude.numerator.bit_length() - magnitude.denominator.bit_length()
    k -= magnitude < Fraction(2) ** k
    k += magnitude**2 > Fraction(2) ** (2 * k + 1)
    k = min(k, int(np.finfo(x.dtype).maxexp) - 1)
    return (1 if x > 0 else -1) * Fraction(2) ** k


# AP2


@BOTH_AP2
@BOTH_DTYPES
def test_ap2_of_zeros_negative_and_ordinary_numbers(form, dtype):
    x = np.array([0, -0.0, -5, -0.7, 3, 6, 1, 0.3], dtype)
    with np.errstate(all="raise"):
        y = form(x)
    assert y.dtype == dtype
    np.testing.assert_array_equal(y, [0, 0, -4, -0.5, 4, 8, 1, 0.25])
    assert not np.signbit(y[:2]).any()  # one zero, +0.0


@BOTH_AP2
@BOTH_DTYPES
def test_ap2_at_the_ends_of_the_range(form, dtype):
    info = np.finfo(dtype)
    largest = np.ldexp(dtype(1), info.maxexp - 1)
    root = np.ldexp(dtype(math.isqrt(2 ** (2 * info.nmant + 1))), info.maxexp - 1 - info.nmant)
    beyond = np.nextafter(root, dtype(np.inf))  # would round to 2^maxexp, which is not a float
    small = info.smallest_subnormal
    x = np.array([np.inf, -np.inf, info.max, -info.max, root, beyond, small, -small, 3 * small])
    y = form(x.astype(dtype))
    expected = [np.inf, -np.inf, largest, -largest, largest, largest, small, -small, 4 * small]
    np.testing.assert_array_equal(y, np.array(expected, dtype))


@BOTH_AP2
def test_a_scalar_gives_shape_0_and_an_empty_array_stays_empty(form):
    y = form(0.3)
    assert y.shape == ()
    assert float(y) == 0.25
    assert form(np.float32(3)).dtype == np.float32
    assert form(np.zeros((0, 5), np.float32)).shape == (0, 5)
    assert form([]).dtype == np.float64


@given(x=FLOATS)
def test_ap2_equals_ap2_reference_bit_for_bit(x):
    np.testing.assert_array_equal(bits(ap2(x)), bits(ap2_reference(x)))


@BOTH_DTYPES
def test_ap2_equals_ap2_reference_for_many_patterns_and_at_the_edges(dtype):
    rng = np.random.default_rng(1)
    words = rng.integers(0, np.iinfo(WORDS[dtype]).max, 300, WORDS[dtype], endpoint=True)
    x = np.concatenate([words.view(dtype), edge_values(dtype)])
    x = x[~np.isnan(x)]
    np.testing.assert_array_equal(bits(ap2(x)), bits(ap2_reference(x)))


@given(x=FINITE)
def test_ap2_is_right_in_rational_arithmetic(x):
    expected = [exact_ap2(value) for value in x]
    assert [Fraction(float(y)) for y in ap2(x)] == expected
    assert [Fraction(float(y)) for y in ap2_reference(x)] == expected


@BOTH_AP2
@BOTH_DTYPES
def test_ap2_on_both_sides_of_every_threshold(form, dtype):
    info = np.finfo(dtype)
    p, one = info.nmant, dtype(1)
    # Normal numbers: the integer below sqrt(2) 2^p and the one above it, times 2^(k - p).
    k = np.arange(info.minexp, info.maxexp - 1)
    below = np.ldexp(dtype(math.isqrt(2 ** (2 * p + 1))), k - p)
    above = np.nextafter(below, dtype(np.inf))
    np.testing.assert_array_equal(form(below), np.ldexp(one, k))
    np.testing.assert_array_equal(form(above), np.ldexp(one, k + 1))
    # Subnormal numbers have fewer digits: floor(sqrt(2) 2^j) and the next integer.
    j = np.arange(p)
    n = np.array([math.isqrt(2 ** (2 * int(i) + 1)) for i in j], dtype)
    np.testing.assert_array_equal(
        form(np.ldexp(n, info.minexp - p)), np.ldexp(one, info.minexp - p + j)
    )
    np.testing.assert_array_equal(
        form(np.ldexp(n + 1, info.minexp - p)), np.ldexp(one, info.minexp - p + j + 1)
    )


@BOTH_AP2
@BOTH_DTYPES
def test_powers_of_two_are_fixed_points(form, dtype):
    info = np.finfo(dtype)
    powers = np.ldexp(dtype(1), np.arange(info.minexp - info.nmant, info.maxexp))
    np.testing.assert_array_equal(form(powers), powers)
    np.testing.assert_array_equal(form(-powers), -powers)


EVERY_FLOAT32 = pytest.mark.parametrize(
    "form", [pytest.param(ap2, marks=pytest.mark.slow_without_jit), ap2_reference]
)


@EVERY_FLOAT32
def test_ap2_of_every_float32_between_1_and_2(form):
    mantissas = np.arange(2**23, 2**24, dtype=np.uint64)
    # m / 2^23 > sqrt(2) in integers: m^2 > 2^47.
    expected = np.where(mantissas * mantissas > 2**47, np.float32(2), np.float32(1))
    assert np.array_equal(form(mantissas.astype(np.float32) * np.float32(2**-23)), expected)


@EVERY_FLOAT32
def test_ap2_of_every_subnormal_float32(form):
    words = np.arange(2**23, dtype=np.uint32)  # n stands for n times the smallest one
    powers = [2**k for k in range(24)]
    first = [1, *(math.isqrt(2 ** (2 * k + 1)) + 1 for k in range(23))]  # the first n above
    starts = np.searchsorted(words, first)
    expected = np.repeat([0, *powers], np.diff([0, *starts, words.size]))
    assert np.array_equal(bits(form(words.view(np.float32))), expected)


@given(x=FINITE)
def test_ap2_is_the_logarithmic_formula_away_from_thresholds(x):
    x = x[x != 0]
    log2 = np.log2(np.abs(x.astype(np.float64)))
    clear = (np.abs(log2 % 1 - 0.5) > 1e-6) & (log2 < np.finfo(x.dtype).maxexp - 0.5)
    formula = np.sign(x[clear]) * np.exp2(np.round(log2[clear]))
    np.testing.assert_array_equal(ap2(x[clear]), formula)


@given(x=FINITE)
def test_ratio_of_ap2_to_x_is_at_most_the_root_of_two(x):
    x = x[(x != 0) & (np.abs(x) < 2.0 ** (np.finfo(x.dtype).maxexp - 1))]
    for value, power in zip(x, ap2(x), strict=True):
        ratio = Fraction(float(power)) / Fraction(float(value))
        assert Fraction(1, 2) < ratio**2 < 2
        assert ratio > 0


@given(x=FLOATS)
def test_ap2_is_odd_idempotent_and_monotone(x):
    x.sort()
    y = ap2(x)
    np.testing.assert_array_equal(ap2(-x), -y)
    np.testing.assert_array_equal(ap2(y), y)
    assert (y[:-1] <= y[1:]).all()


@given(x=FINITE, k=st.integers(-40, 40))
def test_ap2_commutes_with_powers_of_two_in_the_normal_range(x, k):
    info = np.finfo(x.dtype)
    exponent = np.frexp(x)[1] + k
    normal = (np.abs(x) >= info.smallest_normal) & (np.abs(x) < 2.0 ** (info.maxexp - 1))
    x = x[normal & (exponent > info.minexp) & (exponent < info.maxexp)]
    np.testing.assert_array_equal(ap2(np.ldexp(x, k)), np.ldexp(ap2(x), k))


@pytest.mark.slow_without_jit
def test_ap2_of_the_inverse_is_the_inverse_of_ap2_except_next_to_the_threshold():
    x = np.ldexp(np.arange(2**23, 2**24).astype(np.float32), -23)
    differ = x[ap2(1 / x) != 1 / ap2(x)]
    # One of 2^23 mantissas, the last one below sqrt(2): 1 / x is rounded across sqrt(1/2) there.
    assert differ.tolist() == [float(np.float32(np.sqrt(2)))]


def test_gaussian_variance_by_shifts_is_1_8_percent_too_large():
    c = np.random.default_rng(2).standard_normal(10**6)
    ratio = np.mean(shift_multiply_reference(c, c)) / np.mean(c * c)
    assert ratio == pytest.approx(1.018, abs=1e-3)


# AP2: arguments


@BOTH_AP2
@BOTH_DTYPES
def test_nan_is_refused_and_nothing_is_written(form, dtype):
    x = np.array([[3, 5], [np.nan, np.inf]], dtype)
    before = x.copy()
    with pytest.raises(ValueError, match=r"^x: expected numbers, got NaN .* at \(1, 0\)"):
        form(x) if form is ap2_reference else form(x, out=x)
    np.testing.assert_array_equal(bits(x), bits(before))


@pytest.mark.parametrize("form", [ap2, ap2_reference, ap2_sign_exponent])
@pytest.mark.parametrize(
    "x",
    [3, True, np.float16(3), np.longdouble(3), 1j, "3", None, np.array([3.0], ">f8")],
    ids=["int", "bool", "half", "long double", "complex", "str", "None", "big endian"],
)
def test_other_dtypes_are_refused(form, x):
    with pytest.raises(TypeError, match=r"^x: expected dtype float32 or float64, got "):
        form(x)


@given(x=FLOATS)
def test_ap2_in_place_and_into_out(x):
    expected = ap2(x)
    out = np.full_like(x, 7)
    assert ap2(x, out=out) is out
    np.testing.assert_array_equal(bits(out), bits(expected))
    assert ap2(x, out=x) is x
    np.testing.assert_array_equal(bits(x), bits(expected))


LAYOUTS = {
    "contiguous": lambda a: a[:4, :6],
    "transposed": lambda a: a[:6, :4].T,
    "every second": lambda a: a[::2, ::2],
    "backwards": lambda a: a[3::-1, 5::-1],
    "one column on": lambda a: a[:4, 1:7],
}


@pytest.mark.parametrize("source", LAYOUTS)
@pytest.mark.parametrize("target", LAYOUTS)
@pytest.mark.parametrize("shared", [False, True])
def test_ap2_of_views_also_where_they_overlap(source, target, shared):
    memory = np.random.default_rng(3).standard_normal((8, 12)).astype(np.float32)
    x = LAYOUTS[source](memory)
    expected = ap2_reference(x)
    out = LAYOUTS[target](memory if shared else np.zeros_like(memory))
    assert ap2(x, out=out) is out
    np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize("step", [1, -1])
def test_ap2_into_the_same_memory_moved_by_one(step):
    memory = np.arange(1.0, 101.0)
    x, out = (memory[:-1], memory[1:])[::step]
    expected = ap2_reference(x)
    np.testing.assert_array_equal(ap2(x, out=out), expected)


def test_ap2_of_read_only_and_unaligned_arrays():
    x = np.array([3.0, -0.3, 0.0])
    x.flags.writeable = False
    np.testing.assert_array_equal(ap2(x), [4, -0.25, 0])
    unaligned = np.zeros(25, np.uint8)[1:].view(np.float64)
    unaligned[:] = x
    np.testing.assert_array_equal(ap2(unaligned), [4, -0.25, 0])
    np.testing.assert_array_equal(ap2(x, out=unaligned), [4, -0.25, 0])
    np.testing.assert_array_equal(ap2(np.broadcast_to(x, (2, 3))), [[4, -0.25, 0]] * 2)


READ_ONLY = np.zeros(3)
READ_ONLY.flags.writeable = False


@pytest.mark.parametrize(
    ("out", "error", "message"),
    [
        ([0.0] * 3, TypeError, "out: expected an array of dtype float64, got list"),
        (np.zeros(3, np.float32), TypeError, "out: expected dtype float64, got float32"),
        (np.zeros((1, 3)), ValueError, r"out: expected shape \(3,\), got \(1, 3\)"),
        (READ_ONLY, ValueError, "out: expected a writeable array, got a read-only one"),
    ],
)
def test_an_unfit_out_is_refused(out, error, message):
    x = np.array([1.0, 2.0, 3.0])
    with pytest.raises(error, match=f"^{message}$"):
        ap2(x, out=out)
    with pytest.raises(error, match=f"^{message}$"):
        shift_multiply(x, x, out=out)


@pytest.mark.slow_without_jit
def test_ap2_into_out_needs_no_temporary_array():
    x = np.ones((100, 1000), np.float32)
    ap2(x, out=x)  # compiled
    tracemalloc.start()
    try:
        ap2(x, out=x)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < x.nbytes / 10


# Sign and exponent


@given(x=FINITE)
def test_sign_and_exponent_make_ap2(x):
    signs, exponents = ap2_sign_exponent(x)
    assert (signs.dtype, exponents.dtype) == (np.int8, np.int32)
    np.testing.assert_array_equal(np.ldexp(signs.astype(x.dtype), exponents), ap2(x))


def test_sign_and_exponent_of_zero_and_of_a_matrix():
    signs, exponents = ap2_sign_exponent(np.array([[0, -0.0, -5], [0.3, 1, 6]], np.float32))
    assert signs.tolist() == [[0, 0, -1], [1, 1, 1]]
    assert exponents.tolist() == [[0, 0, 2], [-2, 0, 3]]
    signs, exponents = ap2_sign_exponent(-0.7)
    assert (signs.shape, int(signs), int(exponents)) == ((), -1, -1)


@pytest.mark.parametrize("value", [np.inf, -np.inf])
def test_an_infinity_has_no_exponent(value):
    with pytest.raises(ValueError, match=rf"^x: expected finite numbers, got {value} at \(1,\)"):
        ap2_sign_exponent([1.0, value])
    with pytest.raises(ValueError, match=r"^x: expected numbers, got NaN"):
        ap2_sign_exponent([1.0, np.nan, value])


# Products in floating point


@given(
    factors=st.one_of(
        [st.tuples(float_arrays(dtype), float_arrays(dtype, finite=True)) for dtype in DTYPES]
    )
)
def test_shift_multiply_equals_shift_multiply_reference_and_the_product(factors):
    n = min(a.size for a in factors)
    x, y = (a[:n] for a in factors)
    with np.errstate(all="ignore"):  # infinity times AP2(0), overflow, underflow
        product = x * ap2(y)
        for result in (shift_multiply(x, y), shift_multiply_reference(x, y)):
            assert result.dtype == x.dtype
            numbers = ~np.isnan(product)
            np.testing.assert_array_equal(np.isnan(result), ~numbers)
            np.testing.assert_array_equal(bits(result)[numbers], bits(product)[numbers])


@pytest.mark.parametrize("form", [shift_multiply, shift_multiply_reference])
def test_shift_multiply_by_hand(form):
    assert form([3.0, 5.0, 7.0, -7.0], [-0.3, 6.0, 0.0, 1.5]).tolist() == [-0.75, 40, 0, -14]
    # A product that becomes subnormal is rounded once, to even: 3 and 5 halves of the last place.
    small = np.finfo(np.float32).smallest_subnormal
    x = np.array([3, 5], np.float32) * small
    assert (form(x, np.full(2, 0.5, np.float32)) / small).tolist() == [2, 2]
    assert np.isnan(form([np.nan], [3.0])).all()
    assert form(3.0, 5.0).shape == ()


@pytest.mark.parametrize("form", [shift_multiply, shift_multiply_reference])
@pytest.mark.parametrize("y_shape", [(), (1,), (3,), (2, 1), (1, 1, 3), (4, 2, 3)])
def test_shift_multiply_broadcasts_the_rounded_factor(form, y_shape):
    rng = np.random.default_rng(4)
    x = rng.standard_normal((4, 2, 3)).astype(np.float32)
    y = rng.standard_normal(y_shape).astype(np.float32)
    result = form(x, y)
    assert result.dtype == np.float32
    np.testing.assert_array_equal(result, x * ap2_reference(y))


def test_shift_multiply_in_place_of_either_factor():
    x, y = np.array([3.0, 5.0]), np.array([-0.3, 6.0])
    assert shift_multiply(x, y, out=y) is y
    np.testing.assert_array_equal(y, [-0.75, 40])
    assert shift_multiply(x, x, out=x) is x
    np.testing.assert_array_equal(x, [12, 20])


@pytest.mark.parametrize("form", [shift_multiply, shift_multiply_reference])
@pytest.mark.parametrize(
    ("x", "y", "error", "message"),
    [
        ([1, 2], [1.0], TypeError, "x: expected dtype float32 or float64, got int64"),
        ([1.0, 2.0], 2, TypeError, "y: expected dtype float32 or float64, got int64"),
        (np.ones(2, np.float32), 2.0, TypeError, "y: expected dtype float32 as x has, got float64"),
        ([1.0, 2.0], [1.0] * 3, ValueError, r"y: expected a shape that fits \(2,\), got \(3,\)"),
        ([1.0], [[1.0], [2.0]], ValueError, r"y: expected a shape that fits \(1,\), got \(2, 1\)"),
        ([0.0], np.inf, ValueError, r"y: expected finite numbers, got inf at \(\)"),
        ([0.0], [-np.inf], ValueError, r"y: expected finite numbers, got -inf at \(0,\)"),
        ([0.0], [np.nan], ValueError, r"y: expected numbers, got NaN .* at \(0,\)"),
    ],
)
def test_shift_multiply_refuses(form, x, y, error, message):
    with pytest.raises(error, match=f"^{message}$"):
        form(x, y)


# Fixed point


@given(
    x=FINITE,
    quarters=st.lists(st.integers(-(2**24), 2**24), max_size=8),
    fraction_bits=st.integers(0, 62),
)
def test_to_fixed_is_the_nearest_code_with_ties_upwards(x, quarters, fraction_bits):
    ties = np.ldexp(np.array(quarters, x.dtype), -2 - fraction_bits)  # quarters of a step
    x = np.concatenate([x, ties])
    x = x[np.abs(x) < 2.0 ** (63 - fraction_bits)]
    exact = [math.floor(Fraction(float(v)) * 2**fraction_bits + Fraction(1, 2)) for v in x]
    codes = to_fixed(x, fraction_bits)
    assert codes.dtype == np.int64
    assert codes.tolist() == exact


def test_to_fixed_by_hand():
    x = [0.125, 0.375, -0.125, -0.375, 0.0, -0.0]
    assert to_fixed(x, 2).tolist() == [1, 2, 0, -1, 0, 0]
    assert to_fixed(0.49999999999999994, 0) == 0  # adding 1/2 first would give 1
    assert to_fixed(-(2.0**63) * (1 - 2.0**-53), 0) == -(2**63) + 2**10
    assert to_fixed(np.zeros((0, 3)), 5).shape == (0, 3)


@given(codes=st.lists(st.integers(-(2**53), 2**53)), fraction_bits=st.integers(10, 62))
def test_fixed_point_there_and_back(codes, fraction_bits):
    codes = np.array(codes, np.int64)
    x = from_fixed(codes, fraction_bits)
    assert x.dtype == np.float64
    assert [Fraction(v) for v in x.tolist()] == [Fraction(int(c), 2**fraction_bits) for c in codes]
    np.testing.assert_array_equal(to_fixed(x, fraction_bits), codes)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("fraction_bits", [0, 10, 62])
def test_to_fixed_refuses_what_does_not_fit(dtype, fraction_bits):
    bound = dtype(2.0 ** (63 - fraction_bits))
    inside = np.nextafter(bound, dtype(0))
    assert abs(int(to_fixed(inside, fraction_bits))) < 2**63
    for x in (bound, -bound):
        message = rf"^x: expected \|x\| < 2\^{63 - fraction_bits}, .* got {float(x)}"
        with pytest.raises(ValueError, match=message.replace("+", r"\+")):
            to_fixed([inside, x], fraction_bits) if dtype is np.float64 else to_fixed(
                np.array([inside, x]), fraction_bits
            )


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: to_fixed([np.inf], 3), ValueError, "x: expected finite numbers, got inf"),
        (lambda: to_fixed([np.nan], 3), ValueError, "x: expected numbers, got NaN"),
        (lambda: to_fixed([1], 3), TypeError, "x: expected dtype float32 or float64, got int64"),
        (
            lambda: to_fixed([1.0], 63),
            ValueError,
            "fraction_bits: expected a whole number from 0 to 62, got 63",
        ),
        (
            lambda: to_fixed([1.0], -1),
            ValueError,
            "fraction_bits: expected a whole number from 0 to 62, got -1",
        ),
        (
            lambda: to_fixed([1.0], 3.0),
            TypeError,
            "fraction_bits: expected a whole number from 0 to 62, got 3.0",
        ),
        (
            lambda: to_fixed([1.0], True),
            TypeError,
            "fraction_bits: expected a whole number from 0 to 62, got True",
        ),
        (lambda: from_fixed([1.0], 3), TypeError, "codes: expected dtype int64, got float64"),
        (
            lambda: from_fixed([1], 63),
            ValueError,
            "fraction_bits: expected a whole number from 0 to 62, got 63",
        ),
    ],
)
def test_fixed_point_conversions_refuse(call, error, message):
    with pytest.raises(error, match=f"^{message}"):
        call()


BOTH_FIXED = pytest.mark.parametrize("form", [shift_multiply_fixed, shift_multiply_fixed_reference])
CODES = st.one_of(
    st.integers(-(2**63) + 1, 2**63 - 1),
    st.integers(-20, 20),
    # Next to a power of two: ties of right shifts, and bounds of left shifts.
    st.builds(lambda k, d, s: s * (2**k + d), st.integers(2, 62), st.integers(-2, 2), st.just(-1)),
)


def exact_shift(code, sign, exponent):
    return math.floor(code * sign * Fraction(2) ** exponent + Fraction(1, 2))


@given(
    factors=st.lists(
        st.tuples(CODES, st.sampled_from([-1, 0, 1]), st.integers(-70, 70)), max_size=8
    )
)
@example(
    factors=[
        (c, s, e)
        for c in (2**63 - 1, -(2**63) + 1, 2**62, -(2**62))
        for s in (-1, 1)
        for e in (-62, -63, -64, -65, 0)
    ]
)
def test_shift_multiply_fixed_equals_shift_multiply_fixed_reference_and_integers(factors):
    fits = [f for f in factors if abs(exact_shift(*f)) < 2**63]
    codes, signs, exponents = np.array(fits, np.int64).reshape(-1, 3).T
    expected = [exact_shift(*f) for f in fits]
    for form in (shift_multiply_fixed, shift_multiply_fixed_reference):
        result = form(codes, signs, exponents)
        assert result.dtype == np.int64
        assert result.tolist() == expected
    # One number is no vector: a processor shifts it by 64 places in another way.
    assert [shift_multiply_fixed(*f).item() for f in fits] == expected
    for code, sign, exponent in factors:
        if abs(exact_shift(code, sign, exponent)) >= 2**63:
            for form in (shift_multiply_fixed, shift_multiply_fixed_reference):
                with pytest.raises(
                    ValueError, match=r"^exponents: a left shift of code .* at \(\)"
                ):
                    form(code, sign, exponent)


@given(
    y=FINITE,
    codes=st.lists(st.integers(-(2**40), 2**40), min_size=12, max_size=12),
    fraction_bits=st.integers(0, 40),
)
def test_shifts_of_integers_equal_the_product_of_floats(y, codes, fraction_bits):
    # In float64 the product of 41 bits and a power of two is exact, so rounding it to a code is
    # the one rounding there is: it must be the one of the right shift.
    y = y[np.abs(y) < 2.0**21].astype(np.float64)
    codes = np.array(codes[: y.size], np.int64)
    product = shift_multiply(from_fixed(codes, fraction_bits), y)
    expected = to_fixed(product, fraction_bits)
    for form in (shift_multiply_fixed, shift_multiply_fixed_reference):
        np.testing.assert_array_equal(form(codes, *ap2_sign_exponent(y)), expected)
    exact = product == from_fixed(expected, fraction_bits)
    to_the_left = ap2_sign_exponent(y)[1] >= 0
    assert exact[to_the_left].all()


@BOTH_FIXED
def test_shift_multiply_fixed_by_hand(form):
    codes = [5, -5, 5, -5, 6, -6, 7, 7]
    signs = [1, 1, -1, -1, 1, 1, 0, 1]
    exponents = [-1, -1, -1, -1, -2, -2, 90, 2]
    # 5/2, -5/2, -5/2, 5/2, 3/2, -3/2, 0, 28: ties upwards.
    assert form(codes, signs, exponents).tolist() == [3, -2, -2, 3, 2, -1, 0, 28]
    assert form(np.ones((2, 3), np.int64), 1, [[1], [2]]).tolist() == [[2] * 3, [4] * 3]
    assert form(np.arange(6).reshape(2, 3).T, 1, 1).tolist() == [[0, 6], [2, 8], [4, 10]]
    assert form(3, -1, 1).shape == ()
    assert form(np.zeros((0, 2), np.int64), [1, 1], [1, 1]).shape == (0, 2)


@BOTH_FIXED
@pytest.mark.parametrize("code", [1, 3, 2**62 - 1, -(2**40)])
def test_the_first_left_shift_that_overflows_is_refused(form, code):
    room = 63 - abs(code).bit_length()
    assert form(code, -1, room) == -code * 2**room
    message = rf"^exponents: a left shift of code {code} by {room + 1} places leaves int64"
    for sign in (-1, 1):
        with pytest.raises(ValueError, match=message):
            form(code, sign, room + 1)
    assert form(code, 0, room + 1) == 0
    assert form(0, 1, 1000) == 0


@BOTH_FIXED
@pytest.mark.parametrize(
    ("factors", "error", "message"),
    [
        (([1.0], [1], [1]), TypeError, "codes: expected dtype int64, got float64"),
        ((np.ones(1, np.int32), [1], [1]), TypeError, "codes: expected dtype int64, got int32"),
        (([1], [1.0], [1]), TypeError, "signs: expected signed integers, got float64"),
        (([1], [1], np.ones(1, np.uint8)), TypeError, "exponents: expected signed .* uint8"),
        (
            ([1, 2], [1, 1, 1], 1),
            ValueError,
            r"signs: expected a shape that fits \(2,\), got \(3,\)",
        ),
        (([1, 2], 1, [1, 1, 1]), ValueError, r"exponents: expected a shape that fits \(2,\)"),
        (([1, 2], [2, 1], 1), ValueError, "signs: expected -1, 0 or \\+1, got 1 to 2"),
        (([1, 2], [-2, 1], 1), ValueError, "signs: expected -1, 0 or \\+1, got -2 to 1"),
        (([-(2**63)], 1, -1), ValueError, r"codes: expected numbers above -2\^63"),
    ],
)
def test_shift_multiply_fixed_refuses(form, factors, error, message):
    with pytest.raises(error, match=f"^{message}"):
        form(*factors)


@pytest.mark.parametrize("real, word", [(np.float32, np.uint32), (np.float64, np.uint64)])
def test_one_addition_carries_from_the_first_number_above_the_root_of_two_on(real, word):
    carry, infinity, largest = shifts.ap2_words(real, word)
    one = 2 ** np.finfo(real).nmant  # numbers from 1 to 2 in units of their last bit
    first = 2 * one - int(carry)
    assert (first - 1) ** 2 < 2 * one**2 < first**2
    assert infinity.view(real) == np.inf
    assert largest.view(real) == 2.0 ** (np.finfo(real).maxexp - 1)
    assert {x.dtype.type for x in (carry, infinity, largest)} == {word}


@pytest.mark.parametrize("name", ["_shift_multiply_fixed_kernel", "shift_multiply_fixed_reference"])
def test_the_product_on_integers_really_consists_of_shifts(name):
    function = getattr(shifts, name)
    source = inspect.getsource(getattr(function, "py_func", function))
    tree = ast.parse(textwrap.dedent(source))
    operators = {type(n.op).__name__ for n in ast.walk(tree) if isinstance(n, ast.BinOp)}
    assert {"LShift", "RShift"} <= operators <= {"LShift", "RShift", "BitAnd", "Add", "Sub"}
