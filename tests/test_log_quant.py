"""LogQuant: powers of two and a zero, the range from data, the unbiased form, the slope."""

import dataclasses
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from qnn_ref.checking import check_gradients
from qnn_ref.checking import strategies as qst
from qnn_ref.layers import Quantize
from qnn_ref.quantizers import Encoding, LogQuant
from qnn_ref.quantizers.logarithmic import (
    log_codes,
    log_codes_reference,
    stochastic_log_codes,
)
from qnn_ref.shifts import ap2
from tests.numeric import central_differences, special_values, worst_error

DTYPES = [np.float32, np.float64]
NUMBERS = st.one_of(
    st.sampled_from(special_values(np.float32)),
    st.floats(width=32, allow_nan=False),
    st.floats(-2, 2, width=32),
    st.integers(-140, 120).map(lambda e: 2.0**e),
)
FINITE = NUMBERS.filter(math.isfinite)


def arrays(elements=NUMBERS, min_side=0):
    shapes = hnp.array_shapes(min_dims=0, max_dims=2, min_side=min_side, max_side=5)
    return st.sampled_from(DTYPES).flatmap(
        lambda dtype: hnp.arrays(dtype, shapes, elements=elements)
    )


@st.composite
def quantizers(draw, **options):
    bits = draw(st.integers(2, 8))
    exponent = draw(st.sampled_from([0, 0, 1, 5, 60] + ([-1, -7, -60] if bits < 8 else [])))
    return LogQuant(bits, exponent, **options)


def rounded_log(x):
    """round(log2 x) of a positive number, in rational arithmetic."""
    _, e = math.frexp(x)  # 2^(e-1) <= x < 2^e
    return e if Fraction(x) ** 2 >= Fraction(2) ** (2 * e - 1) else e - 1


def exact_code(x, lowest, highest):
    """sign(x) 2^round(log2|x|) in units of 2^lowest; saturates above, 0 below."""
    if x == 0:
        return 0.0
    e = highest if math.isinf(x) else min(rounded_log(abs(x)), highest)
    return math.copysign(2.0 ** (e - lowest), x) if e >= lowest else 0.0


def assert_codes(codes, x, octaves):
    """0, without a sign, or +-2^j, j from 0 to octaves."""
    assert codes.dtype == x.dtype
    assert codes.shape == x.shape
    mantissa, exponent = np.frexp(np.abs(codes))
    power = (mantissa == 0.5) & (exponent >= 1) & (exponent <= octaves + 1)
    assert np.all(power | (codes == 0))
    assert not np.any((codes == 0) & np.signbit(codes))


# Values


@given(quantizers(), arrays())
def test_codes_are_zero_and_powers_of_two(q, x):
    codes, scale = q.encode(x)
    assert scale == 2.0 ** (q.exponent - q.octaves)
    assert_codes(codes, x, q.octaves)
    exact = [exact_code(float(v), q.exponent - q.octaves, q.exponent) for v in x.flat]
    np.testing.assert_array_equal(codes, np.reshape(exact, x.shape))
    np.testing.assert_array_equal(q.quantize(x), codes * x.dtype.type(scale))


@given(quantizers(), st.sampled_from(DTYPES), st.data())
def test_at_its_own_thresholds_it_is_its_formula(q, dtype, data):
    x = data.draw(qst.quantizer_inputs(q, (4,), dtype))
    exact = [exact_code(float(v), q.exponent - q.octaves, q.exponent) for v in x]
    np.testing.assert_array_equal(q.encode(x)[0], exact)


@pytest.mark.parametrize("dtype", DTYPES)
def test_known_values(dtype):
    x = np.array([-3, -0.1, 0, 0.3, 9], dtype)
    np.testing.assert_array_equal(LogQuant(4).quantize(x), [-1, -0.125, 0, 0.25, 1])
    np.testing.assert_array_equal(LogQuant(3).quantize(x), [-1, 0, 0, 0.25, 1])
    np.testing.assert_array_equal(LogQuant(2).quantize(x), [-1, 0, 0, 0, 1])
    np.testing.assert_array_equal(LogQuant(4, 3).quantize(x), [-4, -0.125, 0, 0.25, 8])
    far = np.array([np.inf, -np.inf, np.finfo(dtype).max], dtype)
    np.testing.assert_array_equal(LogQuant(4, 1).quantize(far), [2, -2, 2])


@pytest.mark.parametrize("dtype", DTYPES)
def test_inside_the_range_it_is_ap2(dtype):
    x = np.array([0, -0.0, -5, -0.7, 3, 6, 1, 0.3], dtype)
    np.testing.assert_array_equal(ap2(x), [0, 0, -4, -0.5, 4, 8, 1, 0.25])
    np.testing.assert_array_equal(LogQuant(6, 3).quantize(x), ap2(x))
    assert LogQuant(6).quantize(x[:0]).shape == (0,)
    assert LogQuant(6, None).quantize(x[:0]).shape == (0,)


@pytest.mark.parametrize("bits", [2, 3, 4, 5, 6])
def test_k_bits_hold_two_to_the_k_minus_one_levels(bits):
    q = LogQuant(bits, 1)
    assert q.octaves == 2 ** (bits - 1) - 2
    levels = q.levels
    assert levels.dtype == np.int32
    assert len(levels) == 2**bits - 1
    assert np.all(np.diff(levels.astype(np.int64)) > 0)
    for dtype in DTYPES:
        codes, scale = q.encode(levels.astype(dtype) * dtype(q.encoding.scale))
        np.testing.assert_array_equal(codes, levels)
        exponents = np.linspace(-q.octaves - 3, 4, 5000, dtype=dtype)
        x = np.concatenate([-(2 ** exponents[::-1]), [0], 2**exponents]).astype(dtype)
        codes, _ = q.encode(x)
        np.testing.assert_array_equal(np.unique(codes), levels)
        assert np.all(np.diff(codes) >= 0)
        assert scale == 2.0 ** (1 - q.octaves)
    grid = q.encoding
    assert grid == Encoding(2.0 ** (1 - q.octaves), -(2.0**q.octaves), 2.0**q.octaves, 1)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_smallest_power_starts_at_its_own_threshold(dtype):
    """Below sqrt(1/2) of the smallest power: 0; from there on the power itself."""
    for bits, exponent in ((2, 0), (4, 0), (4, 3), (6, -5)):
        q = LogQuant(bits, exponent)
        smallest = dtype(2.0 ** (exponent - q.octaves))
        edge = dtype(math.sqrt(0.5)) * smallest
        around = [np.nextafter(edge, dtype(0)), edge, np.nextafter(edge, dtype(np.inf))]
        expected = [exact_code(float(v), exponent - q.octaves, exponent) for v in around]
        assert 0 in expected
        assert 1 in expected
        np.testing.assert_array_equal(q.encode(np.array(around))[0], expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("power", [-20, 0, 3])
def test_the_largest_number_of_the_data_is_rounded_as_all_are(power, dtype):
    """Also beside the threshold; the stochastic form takes the power above."""
    edge = dtype(math.sqrt(0.5)) * dtype(2.0**power)
    for value in (np.nextafter(edge, dtype(0)), edge, np.nextafter(edge, dtype(9))):
        assert LogQuant(4, None).highest(np.array([value])) == rounded_log(float(value))
        assert LogQuant(4, None, stochastic=True).highest(np.array([-value])) == power


@given(arrays(FINITE), st.integers(-40, 20), st.integers(0, 126))
@example(np.array([-0.0, 1e-45, 3e38], np.float32), -1, 3)
def test_log_codes_is_its_twin(x, highest, octaves):
    lowest = max(highest - octaves, -126)
    compiled = log_codes(x, lowest, highest)
    twin = log_codes_reference(x, lowest, highest)
    assert compiled.dtype == twin.dtype == x.dtype
    bits = f"u{x.itemsize}"
    np.testing.assert_array_equal(compiled.view(bits), np.asarray(twin).view(bits))


def test_any_layout_and_nothing_changed():
    x = np.random.default_rng(0).normal(size=(6, 8)).astype(np.float32)
    before, q = x.copy(), LogQuant(4, None)
    whole = q.quantize(x)
    x.flags.writeable = False
    np.testing.assert_array_equal(q.quantize(x), whole)
    np.testing.assert_array_equal(q.quantize(x.T), whole.T)
    np.testing.assert_array_equal(q.quantize(np.asfortranarray(x)), whole)
    view = LogQuant(4).quantize(x[::-2, ::3])
    np.testing.assert_array_equal(view, LogQuant(4).quantize(x)[::-2, ::3])
    np.testing.assert_array_equal(x, before)
    assert LogQuant(4).encode(np.float32(0.3))[0] == 2.0**4


# The range from data


@given(arrays(FINITE, min_side=1), st.integers(2, 8), st.booleans())
def test_the_range_comes_from_the_largest_magnitude(x, bits, stochastic):
    """AP2 of the maximum; for the stochastic form the power above, so that nothing saturates."""
    q = LogQuant(bits, None, stochastic)
    largest, end = float(np.abs(x).max()), int(np.finfo(x.dtype).maxexp) - 1
    assert end == (127 if x.dtype == np.float32 else 1023)
    if largest == 0:
        expected = 0
    elif stochastic:
        expected = next(e for e in range(-1100, 1100) if Fraction(2) ** e >= Fraction(largest))
    else:
        expected = rounded_log(largest)
    highest = q.highest(x)
    assert highest == min(expected, end)
    codes, scale = q.encode(x)
    lowest = max(highest - q.octaves, np.finfo(x.dtype).minexp)
    assert scale == 2.0**lowest
    exact = [exact_code(float(v), lowest, highest) for v in x.flat]
    np.testing.assert_array_equal(codes, np.reshape(exact, x.shape))
    assert np.isfinite(q.quantize(x)).all()
    assert np.max(np.abs(q.quantize(x))) <= 2.0**highest
    if not stochastic and highest >= np.finfo(x.dtype).minexp:
        assert np.max(np.abs(q.quantize(x))) == 2.0**highest * (largest > 0)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("stochastic", [False, True])
@pytest.mark.parametrize("bits", [2, 6, 8])
def test_degenerate_data(bits, stochastic, dtype):
    q = LogQuant(bits, None, stochastic)
    noise = np.full(8, 0.5)
    for given_noise in (None, noise):
        zeros, _ = q.encode(np.zeros(8, dtype), given_noise)
        np.testing.assert_array_equal(zeros, np.zeros(8))
        constant = q.quantize(np.full(8, 0.5, dtype), given_noise)
        np.testing.assert_array_equal(constant, np.full(8, 0.5))
        for value in (
            np.finfo(dtype).max,
            np.finfo(dtype).tiny,
            np.finfo(dtype).smallest_subnormal,
        ):
            x = np.array([value, -value, 0, -0.0] * 2, dtype)
            codes, scale = q.encode(x, given_noise)
            assert dtype(scale) > 0
            assert_codes(codes, x, q.octaves)
            assert np.isfinite(q.quantize(x, given_noise)).all()
            assert np.isfinite(q.backward(np.ones_like(x), x)).all()
    largest = dtype(2.0 ** (int(np.finfo(dtype).maxexp) - 1))
    far = np.array([np.finfo(dtype).max, largest, -largest / 2], dtype)
    np.testing.assert_array_equal(
        LogQuant(6, None).quantize(far), np.array([largest, largest, -largest / 2])
    )
    for value in (np.inf, -np.inf):
        with pytest.raises(ValueError, match=r"^x: expected finite numbers"):
            q.encode(np.array([1, value], dtype))


# The stochastic form

VALUES = [0, 1, 1.5, 0.7, 0.3, 0.26, 0.25, 2.0**-6, 2.0**-6 * 1.1, 2.0**-7, 2.0**-9]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "q", [LogQuant(4, 1, stochastic=True), LogQuant(6, None, True), LogQuant(3, None, True)]
)
def test_stochastic_form_is_unbiased(q, dtype):
    """Means within four standard errors, also between 0 and the smallest power; none saturates."""
    draws = 20_000
    x = np.array(VALUES + [-v for v in VALUES], dtype)
    many = np.tile(x, (draws, 1))
    values = q.quantize(many, q.draw(many.shape, np.random.default_rng(4)))
    assert values.dtype == dtype
    mean, variance = values.mean(axis=0, dtype=float), values.var(axis=0, dtype=float)
    # The two neighbours a < x < b: variance (x - a) (b - x).
    smallest = 2.0 ** (q.highest(x) - q.octaves)
    size = np.abs(x.astype(float))
    below = np.where(size < smallest, 0, 2.0 ** np.floor(np.log2(np.maximum(size, smallest))))
    above = np.where(size < smallest, smallest, 2 * below)
    expected = np.where(size == below, 0, (size - below) * (above - size))
    assert np.all(np.abs(mean - x) <= 4 * np.sqrt(expected / draws))
    np.testing.assert_allclose(variance, expected, rtol=0.2, atol=8 * smallest**2 * 1e-3)
    assert np.all((np.abs(values) == below) | (np.abs(values) == above))


@given(
    st.sampled_from(DTYPES),
    st.floats(2.0**-9, 1, width=32),
    st.sampled_from([-1, 1]),
    st.integers(-8, 0),
)
def test_the_upper_neighbour_is_taken_where_the_noise_is_below_its_probability(
    dtype, size, sign, lowest
):
    x = dtype(size)
    unit = Fraction(2) ** lowest
    _, e = math.frexp(size)
    below = Fraction(2) ** (e - 1) if size >= unit else Fraction(0)
    above = 2 * below if below else unit
    p = float((Fraction(size) - below) / (above - below))
    noise = np.array([0.0, max(np.nextafter(p, 0), 0.0), p, np.nextafter(1, 0)])
    codes = stochastic_log_codes(np.full(4, sign * x), noise, lowest, 0)
    expected = np.where(noise < p, float(above / unit), float(below / unit))
    np.testing.assert_array_equal(codes, sign * expected)
    assert codes.dtype == dtype
    assert_codes(codes, codes, -lowest)


@given(quantizers(stochastic=True), arrays(), st.integers(0, 2**32))
def test_stochastic_codes_are_levels_too(q, x, seed):
    noise = q.draw(x.shape, np.random.default_rng(seed))
    codes, scale = q.encode(x, noise)
    assert scale == q.encoding.scale
    assert_codes(np.asarray(codes), x, q.octaves)
    again, _ = q.encode(x, noise)
    np.testing.assert_array_equal(codes, again)
    beyond = np.abs(x) >= 2.0**q.exponent
    np.testing.assert_array_equal(np.abs(codes)[beyond], 2.0**q.octaves)
    np.testing.assert_array_equal(np.sign(codes)[codes != 0], np.sign(x)[codes != 0])


def test_draws_come_from_the_given_generator_only():
    a, b = np.random.default_rng(5), np.random.default_rng(5)
    np.testing.assert_array_equal(LogQuant(4, stochastic=True).draw((3, 4), a), b.random((3, 4)))
    state = a.bit_generator.state
    assert LogQuant(4).draw((3, 4), a) is None
    assert LogQuant(4).draw((3, 4), None) is None
    assert a.bit_generator.state == state


@given(arrays(FINITE))
def test_without_noise_the_stochastic_form_is_deterministic(x):
    fixed = LogQuant(5, stochastic=True).quantize(x)
    np.testing.assert_array_equal(fixed, LogQuant(5).quantize(x))


# Straight-through


@given(
    hnp.arrays(np.float64, 9, elements=st.floats(-9, 9)),
    st.sampled_from([0, 1, -1]),
    st.sampled_from([0.5, 1.0, 2.0]),
    st.integers(0, 2**32),
)
def test_backward_is_the_gradient_of_the_surrogate(x, exponent, saturation, seed):
    q = LogQuant(4, exponent, saturation=saturation)
    x = np.where(np.abs(np.abs(x) - saturation * 2.0**exponent) < 1e-3, 0.125, x)
    dy = np.random.default_rng(seed).normal(size=x.shape)
    numeric = central_differences(lambda v: float(np.sum(dy * q.surrogate(v))), x)
    assert worst_error(numeric, q.backward(dy, x)) < 1e-8
    end = saturation * 2.0**exponent
    np.testing.assert_array_equal(q.surrogate(x), np.clip(x, -end, end))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("exponent", "saturation"), [(0, 1.0), (1, 1.0), (0, 2.5), (-2, 0.5)])
def test_bounds_are_inside_and_their_neighbours_are_not(exponent, saturation, dtype):
    q = LogQuant(3, exponent, saturation=saturation)
    bound = dtype(saturation * 2.0**exponent)
    beyond = np.nextafter(bound, dtype(np.inf))
    got = q.backward(np.full(4, 10, dtype), np.array([bound, -bound, beyond, -beyond]))
    assert got.dtype == dtype
    np.testing.assert_array_equal(got, [10, 10, 0, 0])
    x = np.linspace(-3, 3, 50, dtype=dtype)
    np.testing.assert_array_equal(q.quantize(x), LogQuant(3, exponent).quantize(x))


def test_no_gradient_where_the_forward_pass_clips():
    got = LogQuant(4).backward(np.ones(3), np.array([-3, 0.3, 5]))
    np.testing.assert_array_equal(got, [0, 1, 0])
    # From data the range is that of AP2 of the maximum: 5 becomes 4.
    got = LogQuant(4, None).backward(np.ones(4), np.array([-3, 0.3, 4, 5]))
    np.testing.assert_array_equal(got, [1, 1, 1, 0])


@pytest.mark.parametrize(
    "q", [LogQuant(2), LogQuant(4, 1), LogQuant(4, stochastic=True), LogQuant(3, saturation=2.0)]
)
def test_the_checker_passes(q):
    rng = np.random.default_rng(0)
    x = rng.uniform(-4, 4, (4, 5))
    end = q.saturation * 2.0**q.exponent
    x.flat[:2] = end, -end
    report = check_gradients(Quantize(q).build((5,), rng), x, mode="full", rng=rng)
    assert report, str(report)
    assert len(report.kinks) == 2


# What is said and what is refused


@pytest.mark.parametrize("kind", [np.int8, np.uint8, np.int64])
def test_numpy_integers_do_not_wrap(kind):
    for bits in (2, 7, 8):
        assert LogQuant(kind(bits)) == LogQuant(bits)
        assert LogQuant(kind(bits)).encoding == LogQuant(bits).encoding
    assert LogQuant(6, np.int8(-60)).encoding == LogQuant(6, -60).encoding


def test_quantizers_are_values():
    assert LogQuant(4) == LogQuant(4, 0, False, 1.0)
    assert LogQuant(4) != LogQuant(4, stochastic=True)
    with pytest.raises(dataclasses.FrozenInstanceError):
        LogQuant(4).exponent = 2


NAN = np.array([np.nan, 1.0])


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: LogQuant(1), ValueError, "bits: .* 2 to 8, got 1: one bit has no room"),
        (lambda: LogQuant(9), ValueError, "bits: .*, got 9"),
        (lambda: LogQuant(3.0), TypeError, "bits: .*, got 3.0"),
        (lambda: LogQuant(4, 61), ValueError, "exponent: .* -60 to 60, got 61: for 4 bits"),
        (lambda: LogQuant(4, -61), ValueError, "exponent: .*, got -61"),
        (lambda: LogQuant(4, 0.5), TypeError, "exponent: .* whole number .*, got 0.5"),
        (lambda: LogQuant(4, math.nan), TypeError, "exponent: .*, got nan"),
        # 2^-1 and 126 octaves below it: the scale would be no normal float32.
        (lambda: LogQuant(8, -1), ValueError, "exponent: .* 0 to 60, got -1: for 8 bits"),
        (lambda: LogQuant(4, saturation=0), ValueError, "saturation:"),
        (lambda: LogQuant(True), TypeError, "bits: .*, got True"),
        (lambda: LogQuant(4, False), TypeError, "exponent: .*, got False"),
        (lambda: LogQuant(4, stochastic=1), TypeError, "stochastic: expected True or False, got 1"),
        (lambda: LogQuant(4, None).encoding, TypeError, "LogQuant: .* range comes from the data"),
        (lambda: LogQuant(7).levels, ValueError, "LogQuant: the codes of 7 bits do not fit in 31"),
        (lambda: LogQuant(4).encode(NAN), ValueError, "x: 1 of 2 values are NaN"),
        (lambda: LogQuant(4, None).encode(NAN), ValueError, "x: 1 of 2 values are NaN"),
        (lambda: LogQuant(4).encode(np.arange(3)), TypeError, "x: .* int64"),
        (lambda: LogQuant(4, stochastic=True).draw((2,), None), TypeError, "rng: .*Generator"),
        (
            lambda: LogQuant(4, stochastic=True).encode(np.zeros((2, 3)), np.zeros(3)),
            ValueError,
            r"noise: expected shape \(2, 3\), as x, got \(3,\)",
        ),
    ],
)
def test_bad_arguments_are_named_with_a_reason(call, error, words):
    with pytest.raises(error, match="^" + words):
        call()
