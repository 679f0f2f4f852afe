"""LinearQuant: the formulas in rational arithmetic, ties, levels, the straight-through slope."""

import dataclasses
import math
from fractions import Fraction

import numba
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from qnn_ref.checking import check_gradients
from qnn_ref.checking import strategies as qst
from qnn_ref.layers import Quantize
from qnn_ref.quantizers import Encoding, LinearQuant, Sign
from qnn_ref.quantizers.linear import clip_backward, round_half_up, round_half_up_reference
from tests.numeric import central_differences, special_values, worst_error

MOST_BITS = 8 if numba.config.DISABLE_JIT else 16

DTYPES = [np.float32, np.float64]
READINGS = ["symmetric", "fixed-point", "unsigned"]
HIGHS = st.sampled_from([1.0, 0.5, 2.0, 1.5, 3.0, 7.0, 0.3, 0.7])
NUMBERS = st.one_of(
    st.sampled_from(special_values(np.float32)),
    st.floats(width=32, allow_nan=False),
    st.floats(-2, 2, width=32),
    st.integers(-40, 40).map(lambda n: n / 8),
)


@st.composite
def quantizers(draw, most_bits=MOST_BITS):
    reading = draw(st.sampled_from(READINGS))
    bits = draw(st.integers(2 if reading == "fixed-point" else 1, most_bits))
    high = draw(HIGHS)
    if reading != "fixed-point" or draw(st.booleans()):
        return LinearQuant(bits, high=high, reading=reading)
    return LinearQuant(bits, draw(st.sampled_from([-2.0, -0.3, 0.0, 0.1])), high, "fixed-point")


def arrays(elements=NUMBERS):
    shapes = hnp.array_shapes(min_dims=0, max_dims=2, min_side=0, max_side=5)
    return st.sampled_from(DTYPES).flatmap(
        lambda dtype: hnp.arrays(dtype, shapes, elements=elements)
    )


def exact_code(q, x):
    """The code of one number by the formula, in rational arithmetic: floor(z + 1/2) rounds."""
    low, high, n, half = Fraction(q.low), Fraction(q.high), 2**q.bits - 1, Fraction(1, 2)
    inside = min(max(Fraction(min(max(float(x), -1e30), 1e30)), low), high)
    if q.reading == "symmetric":
        # -H + 2H/n round(n (x + H) / 2H), in units of H/n
        return 2 * math.floor(n * (inside + high) / (2 * high) + half) - n
    if q.reading == "unsigned":
        return math.floor(n * inside / high + half)
    grid = q.encoding
    return min(max(math.floor(inside / Fraction(grid.scale) + half), grid.low), grid.high)


# Values


@given(quantizers(), NUMBERS)
@example(LinearQuant(2, reading="unsigned"), 0.5)
@example(LinearQuant(4, high=1.5), 1.0)
@example(LinearQuant(4, high=1.5), -0.6)
@example(LinearQuant(3, reading="fixed-point"), float(np.float32(0.124999994)))
@example(LinearQuant(1, reading="unsigned"), float(np.nextafter(np.float32(0.5), np.float32(0))))
def test_l3_l1_and_l5_are_their_formulas_in_rational_arithmetic(q, x):
    """For every float32 number, ties included; in float64 the product with n is rounded."""
    single = np.float32(x)
    assert q.encode(np.array([single]))[0][0] == exact_code(q, single)
    beside = [float(np.nextafter(x, -np.inf)), x, float(np.nextafter(x, np.inf))]
    (code,), _ = q.encode(np.array([x]))
    assert code in {exact_code(q, v) for v in beside}


@given(quantizers(most_bits=8), st.data())
def test_at_its_own_thresholds_and_bounds_it_is_its_formula(q, data):
    for x in data.draw(qst.quantizer_inputs(q, (4,))):
        assert q.encode(np.array([x]))[0][0] == exact_code(q, x)


@given(quantizers(most_bits=8), st.data())
def test_the_two_sides_of_a_tie(q, data):
    """At a tie that is a number the upper level, below it the lower one.

    In float64 the product with n is rounded, which the next number but one does not feel.
    """
    grid, n = q.encoding, 2**q.bits - 1
    upper = data.draw(
        st.integers(1, n if q.reading != "fixed-point" else int(grid.high - grid.low))
    )
    code = grid.low + upper * grid.step
    unit = Fraction(grid.scale) if q.reading == "fixed-point" else Fraction(q.high) / n
    tie = (code - Fraction(grid.step) / 2) * unit
    for dtype in DTYPES:
        x = dtype(float(tie))
        away = 2 * np.spacing(np.abs(x)) if dtype is np.float64 else np.spacing(np.abs(x))
        codes, _ = q.encode(np.array([x - away, x + away], dtype))
        np.testing.assert_array_equal(codes, [code - grid.step, code])
        if Fraction(float(x)) == tie and Fraction(float(x) * n) == tie * n:
            assert q.encode(np.array([x]))[0][0] == code


@pytest.mark.parametrize("dtype", DTYPES)
def test_ties_go_up(dtype):
    for bits in range(1, 5):
        value = LinearQuant(bits).quantize(np.array([0.0, -0.0], dtype))
        np.testing.assert_array_equal(value, np.full(2, dtype(1 / (2**bits - 1))))
    wide = LinearQuant(2, high=1.5).quantize(np.array([-1, 0, 1], dtype))
    np.testing.assert_array_equal(wide, [-0.5, 0.5, 1.5])
    fixed = LinearQuant(3, reading="fixed-point").quantize(np.array([0.125, 0.375, -0.125], dtype))
    np.testing.assert_array_equal(fixed, [0.25, 0.5, 0])
    for bits in range(1, MOST_BITS + 1):  # n H / 2 = (2^(k-1) - 1/2) H, for every H
        for high in (1.0, 7.0, float(np.float32(0.3))):
            x = np.array([dtype(high) / 2, np.nextafter(dtype(high) / 2, dtype(0))])
            q = LinearQuant(bits, high=high, reading="unsigned")
            np.testing.assert_array_equal(q.encode(x)[0], [2 ** (bits - 1), 2 ** (bits - 1) - 1])


@given(arrays())
def test_one_bit_of_l3_is_sign(x):
    np.testing.assert_array_equal(LinearQuant(1).quantize(x), Sign().quantize(x))
    assert LinearQuant(1).encoding == Sign().encoding


@pytest.mark.parametrize("dtype", DTYPES)
def test_one_bit_of_l3_is_sign_at_the_edges(dtype):
    tiny, one = np.finfo(dtype).smallest_subnormal, dtype(1)
    x = [
        0.0,
        -0.0,
        tiny,
        -tiny,
        np.finfo(dtype).tiny,
        -np.finfo(dtype).tiny,
        1,
        -1,
        np.inf,
        -np.inf,
    ]
    x = np.array([*x, np.nextafter(one, dtype(2)), -np.nextafter(one, dtype(0))], dtype)
    for high in (1.0, 0.25, 0.3, 3.0, 2.0**-60, 2.0**60):
        codes, scale = LinearQuant(1, high=high).encode(x)
        np.testing.assert_array_equal(codes, Sign().quantize(x))
        assert scale == high


@given(arrays(), quantizers())
def test_codes_are_whole_numbers_on_the_grid(x, q):
    codes, scale = q.encode(x)
    grid = q.encoding
    assert codes.dtype == x.dtype
    assert codes.shape == x.shape
    assert scale == grid.scale
    places = (codes - grid.low) / grid.step
    assert np.all(places == np.floor(places))
    assert np.all((codes >= grid.low) & (codes <= grid.high))
    assert np.isin(codes, q.levels).all()
    assert not np.any((codes == 0) & np.signbit(codes))
    np.testing.assert_array_equal(q.quantize(x), codes * x.dtype.type(scale))


@given(quantizers(), st.sampled_from(DTYPES))
def test_every_level_maps_to_itself_and_all_of_them_occur(q, dtype):
    levels = q.levels
    assert levels.dtype == np.int32
    assert 2 <= len(levels) <= 2**q.bits
    if q.reading != "fixed-point":
        assert len(levels) == 2**q.bits
    codes, _ = q.encode(levels.astype(dtype) * dtype(q.encoding.scale))
    np.testing.assert_array_equal(codes, levels)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("quantizer", "values"),
    [
        (LinearQuant(1), [-1, 1]),
        (LinearQuant(2), [-1, -1 / 3, 1 / 3, 1]),
        (LinearQuant(3), np.arange(-7, 8, 2) / 7),
        (LinearQuant(2, reading="fixed-point"), [-1, -0.5, 0, 0.5]),
        (LinearQuant(3, reading="fixed-point"), np.arange(-4, 4) / 4),
        (LinearQuant(1, reading="unsigned"), [0, 1]),
        (LinearQuant(2, reading="unsigned"), [0, 1 / 3, 2 / 3, 1]),
        (LinearQuant(3, reading="unsigned"), np.arange(8) / 7),
        (LinearQuant(2, high=2.0, reading="unsigned"), [0, 2 / 3, 4 / 3, 2]),
        (LinearQuant(2, reading="fixed-point", step=0.5, high=0.75), [-0.5, 0, 0.5]),
    ],
)
def test_k_bits_hold_two_to_the_k_levels(quantizer, values, dtype):
    x = np.linspace(-2.5, 2.5, 10001 if MOST_BITS > 8 else 501, dtype=dtype)
    found = np.unique(quantizer.quantize(x))
    assert len(found) <= 2**quantizer.bits
    np.testing.assert_allclose(found, values, rtol=1e-6, atol=0)
    assert np.all(np.diff(quantizer.encode(x)[0]) >= 0)


@given(quantizers(), arrays(st.floats(0, 1, width=32)))
def test_error_is_half_a_step_at_most_inside_the_range(q, part):
    grid = q.encoding
    step = grid.scale * grid.step
    first, last = grid.low * grid.scale, grid.high * grid.scale
    x = np.asarray(first + part * (last - first), part.dtype)
    error = np.abs(q.quantize(x) - np.clip(x, q.low, q.high))
    assert np.max(error, initial=0) <= step / 2 + 1e-6 * max(abs(first), abs(last))


@given(quantizers())
def test_infinities_give_the_last_levels(q):
    for dtype in DTYPES:
        far = np.array([-np.inf, np.inf, np.finfo(dtype).min, np.finfo(dtype).max], dtype)
        grid = q.encoding
        np.testing.assert_array_equal(q.encode(far)[0], [grid.low, grid.high] * 2)


# The compiled rounding and its twin

WIDTHS = st.sampled_from([1.0, 0.25, 2.0, 1 / 3, 2 / 3, 0.1, 1e-20, 1e20])


def same_rounding(x, *numbers):
    compiled, twin = round_half_up(x, *numbers), round_half_up_reference(x, *numbers)
    for result in (compiled, twin):
        assert result.dtype == x.dtype
        assert result.shape == x.shape
    np.testing.assert_array_equal(compiled, twin)
    assert not np.any(np.signbit(compiled) & (compiled == 0))
    assert not np.any(np.signbit(twin) & (twin == 0))
    return compiled


@given(
    arrays(NUMBERS.filter(math.isfinite)),
    st.sampled_from([1, 3, 7, 15, 255, 65535]),
    WIDTHS,
    st.sampled_from([0.0, 0.5]),
    st.integers(1, 2**16),
)
def test_round_half_up_is_its_twin(x, count, width, offset, end):
    codes = same_rounding(x, count, width, offset, -end, end - 1)
    if x.dtype == np.float32:
        exact = [math.floor(Fraction(float(v)) * count / Fraction(width) + Fraction(offset))
                 for v in x.flat]  # fmt: skip
        exact = np.clip(np.array(exact, object), -end, end - 1).astype(float)
        np.testing.assert_array_equal(codes, exact.reshape(x.shape))


@pytest.mark.parametrize("dtype", DTYPES)
def test_rounding_beside_a_tie_adds_nothing_to_half(dtype):
    half = dtype(0.5)
    below = np.nextafter(half, dtype(0))  # 0.49999997 + 0.5 is 1 in float32
    x = np.array([below, half, -half, -np.nextafter(half, dtype(1)), 1.5, 2.5, -1.5], dtype)
    np.testing.assert_array_equal(same_rounding(x, 1, 1.0, 0.5, -9, 9), [0, 1, 0, -1, 2, 3, -1])
    # One sum is 2 less a hair, in the same block: both have to be looked at.
    both = np.array([np.nextafter(0.5, 0), np.nextafter(1.5, 0)])
    np.testing.assert_array_equal(same_rounding(both, 1, 1.0, 0.5, -9, 9), [0, 1])
    huge = np.array([np.finfo(dtype).max, 2.0**53, 2.0**24 + 2, -(2.0**24) - 2], dtype)
    expected = [2.0**60, 2.0**53, 2.0**24 + 2, -(2.0**24) - 2]
    np.testing.assert_array_equal(same_rounding(huge, 1, 1.0, 0.5, -(2**60), 2**60), expected)


@pytest.mark.parametrize("count", [1, 3, 7, 255])
@pytest.mark.parametrize("width", [1.0, 2 / 3, 0.1, 0.6])
def test_rounding_beside_a_jump_is_the_exact_one(count, width):
    """Where a plain division is wrong in its last place, and far enough out to matter."""
    for offset in (0.0, 0.25, 0.5):
        at = (np.arange(-2000, 2000, 37 if MOST_BITS == 8 else 1) + offset) * width / count
        x = np.concatenate([np.nextafter(at, -np.inf), at, np.nextafter(at, np.inf)])
        same_rounding(x, count, width, offset, -1000, 1000)
        same_rounding(x, count, width, offset, -0.0, 1000)
        for three in x.reshape(3, -1).T[::9]:  # a jump and both its sides alone in a block
            same_rounding(three, count, width, offset, -1000, 1000)


def test_no_bound_is_a_negative_zero():
    same_rounding(np.array([-5.3, 5.3]), 1, 1.0, 0.5, -0.0, 9)
    same_rounding(np.array([-5.3, 5.3]), 1, 1.0, 0.0, -9, -0.0)


def test_rounding_takes_any_layout():
    x = np.arange(-12, 12, dtype=np.float32).reshape(4, 6) / 4
    expected = same_rounding(x, 3, 2.0, 0.5, -9, 9)
    for view, there in (
        (x.T, expected.T),
        (x[::-2, ::3], expected[::-2, ::3]),
        (np.asfortranarray(x), expected),
        (x[0, 0], expected[0, 0]),
        (x[:0], expected[:0]),
    ):
        np.testing.assert_array_equal(same_rounding(np.asarray(view), 3, 2.0, 0.5, -9, 9), there)
    x.flags.writeable = False
    same_rounding(x, 3, 2.0, 0.5, -9, 9)


@pytest.mark.parametrize("function", [round_half_up, round_half_up_reference])
@pytest.mark.parametrize(
    ("x", "numbers", "name"),
    [
        ([np.inf], (1, 1.0, 0.5, -1, 1), "x"),
        ([1], (1, 1.0, 0.5, -1, 1), "x"),
        ([1.0], (0, 1.0, 0.5, -1, 1), "count"),
        ([1.0], (2**24 + 1, 1.0, 0.5, -1, 1), "count"),
        ([1.0], (1, 0.0, 0.5, -1, 1), "width"),
        ([1.0], (1, 1.0, -0.1, -1, 1), "offset"),
        ([1.0], (1, 1.0, 1.0, -1, 1), "offset"),
        ([1.0], (1, 1.0, 0.5, 1, 0.5), "high"),
        ([1.0], (1, 1.0, 0.5, None, 1), "low"),
        ([1.0], (1, 1.0, 0.5, 1, None), "high"),
    ],
)
def test_rounding_refuses_numbers_out_of_range(function, x, numbers, name):
    with pytest.raises((TypeError, ValueError), match=f"^{name}: "):
        function(np.array(x), *numbers)


# Straight-through


@given(quantizers(), hnp.arrays(np.float64, 9, elements=st.floats(-9, 9)), st.integers(0, 2**32))
def test_backward_is_the_gradient_of_the_surrogate(q, x, seed):
    for bound in (q.low, q.high):  # central differences need a step without a kink in it
        x = np.where(np.abs(x - bound) < 1e-3, (q.low + q.high) / 2, x)
    dy = np.random.default_rng(seed).normal(size=x.shape)
    numeric = central_differences(lambda v: float(np.sum(dy * q.surrogate(v))), x)
    assert worst_error(numeric, q.backward(dy, x)) < 1e-8
    np.testing.assert_array_equal(q.surrogate(x), np.clip(x, q.low, q.high))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("reading", READINGS)
@pytest.mark.parametrize("saturation", [1.0, 2.0, 0.5])
def test_both_bounds_are_inside_and_their_neighbours_are_not(reading, saturation, dtype):
    """At `high` of L1 too, though its top level is missing there."""
    q = LinearQuant(2, high=1.5, reading=reading, saturation=saturation)
    low, high = dtype(saturation * q.low), dtype(saturation * q.high)
    beyond = np.nextafter(low, dtype(-np.inf)), np.nextafter(high, dtype(np.inf))
    x = np.array([low, high, *beyond], dtype)
    for dy in (np.ones(4, dtype), np.full(4, 10, dtype)):
        got = q.backward(dy, x)
        assert got.dtype == dtype
        np.testing.assert_array_equal(got, dy * [1, 1, 0, 0])
        np.testing.assert_array_equal(clip_backward(dy, x, low, high), got)
    np.testing.assert_array_equal(q.surrogate(x), [low, high, low, high])


@pytest.mark.parametrize(
    ("reading", "x"),
    [("symmetric", [-3, 0.3, 5]), ("fixed-point", [-3, 0.3, 5]), ("unsigned", [-0.2, 0.3, 1.2])],
)
def test_no_gradient_where_the_forward_pass_clips(reading, x):
    got = LinearQuant(3, reading=reading).backward(np.ones(3), np.array(x))
    np.testing.assert_array_equal(got, [0, 1, 0])


@pytest.mark.parametrize("reading", READINGS)
def test_relaxed_boundary_widens_the_mask_and_leaves_the_forward_pass_alone(reading):
    x = np.linspace(-4, 4, 161)
    paper = LinearQuant(2, reading=reading)
    for saturation in (0.5, 2.0, np.inf):
        wide = dataclasses.replace(paper, saturation=saturation)
        np.testing.assert_array_equal(wide.quantize(x), paper.quantize(x))
        low = 0 if reading == "unsigned" else -saturation
        inside = (x >= low) & (x <= saturation)
        np.testing.assert_array_equal(wide.backward(np.ones_like(x), x), inside)
        np.testing.assert_array_equal(wide.surrogate(x), np.clip(x, low, saturation))


@pytest.mark.parametrize("saturation", [1.0, 2.0])
@pytest.mark.parametrize("bits", [2, 3])
@pytest.mark.parametrize("reading", READINGS)
def test_the_checker_passes_every_reading(reading, bits, saturation):
    q = LinearQuant(bits, high=1.5, reading=reading, saturation=saturation)
    rng = np.random.default_rng(bits)
    x = rng.uniform(-4, 4, (4, 5))
    x.flat[:2] = saturation * q.low, saturation * q.high
    for layer_x in (x, x[:1]):
        report = check_gradients(Quantize(q).build((5,)), layer_x, mode="full", rng=rng)
        assert report, str(report)
        assert len(report.kinks) == 2


@pytest.mark.parametrize("wrong", ["mask of one end", "no mask", "exclusive"])
def test_the_checker_finds_a_wrong_mask(wrong):
    class Wrong(LinearQuant):
        def backward(self, dy, x):
            if wrong == "no mask":
                return dy
            inside = np.abs(x) < self.high if wrong == "exclusive" else x <= self.high
            return dy * inside

    rng = np.random.default_rng(0)
    x = rng.uniform(-3, 3, (4, 5))
    x.flat[:3] = -1, 1, -2
    assert not check_gradients(Quantize(Wrong(2)).build((5,)), x, mode="full", rng=rng)


# What is said and what is refused


def test_the_step_of_l1_is_the_literal_formula():
    """clip(round(x / step) step, minV, maxV), with the step given."""
    q = LinearQuant(3, -0.5, 1.0, "fixed-point", step=0.25)
    x = np.random.default_rng(0).uniform(-2, 2, 300)
    literal = np.clip(np.floor(x / 0.25 + 0.5) * 0.25, -0.5, 1.0)
    np.testing.assert_array_equal(q.quantize(x), literal)
    assert q.encoding == Encoding(0.25, -2, 4, 1)
    assert LinearQuant(3, reading="fixed-point") == LinearQuant(3, low=-1.0, reading="fixed-point")
    given = LinearQuant(3, reading="fixed-point", step=0.25, high=0.75, low=-1.0)
    np.testing.assert_array_equal(
        given.quantize(x), LinearQuant(3, reading="fixed-point").quantize(x)
    )


def test_defaults_and_equality():
    assert LinearQuant(3) == LinearQuant(3, -1.0, 1.0, "symmetric")
    assert LinearQuant(3, reading="unsigned").low == 0
    assert LinearQuant(3, high=2.0).low == -2
    assert LinearQuant(3).encoding == Encoding(1 / 7, -7, 7, 2)
    assert LinearQuant(3, reading="unsigned", high=2.0).encoding == Encoding(2 / 7, 0, 7, 1)
    assert LinearQuant(3, reading="fixed-point").encoding == Encoding(0.25, -4, 3, 1)
    assert LinearQuant(3, -0.1, 0.2, "fixed-point").encoding.low == -2
    with pytest.raises(dataclasses.FrozenInstanceError):
        LinearQuant(3).bits = 2


@pytest.mark.parametrize(
    ("letter", "word"), [("L3", "symmetric"), ("L1", "fixed-point"), ("L5", "unsigned")]
)
def test_letters_are_other_names(letter, word):
    one, other = LinearQuant(3, reading=letter), LinearQuant(3, reading=word)
    assert one == other
    assert (hash(one), repr(one), one.reading) == (hash(other), repr(other), word)


@pytest.mark.parametrize(
    ("q", "shown"),
    [
        (LinearQuant(2), "LinearQuant(2)"),
        (LinearQuant(2, -1.5, 1.5), "LinearQuant(2, high=1.5)"),
        (LinearQuant(2, 0.0, reading="L5"), "LinearQuant(2, reading='unsigned')"),
        (LinearQuant(2, -1.0, reading="L1"), "LinearQuant(2, reading='fixed-point')"),
        (LinearQuant(2, -0.5, reading="L1"), "LinearQuant(2, -0.5, reading='fixed-point')"),
    ],
)
def test_only_what_is_not_as_usual_is_shown(q, shown):
    assert repr(q) == shown
    assert eval(shown) == q


def test_an_end_at_0_bounds_the_gradient_too():
    q = LinearQuant(2, -1.0, 0.0, "fixed-point", saturation=2.0)
    x = np.array([-2.5, -1.5, 0.0, 0.5])
    np.testing.assert_array_equal(q.surrogate(x), [-2, -1.5, 0, 0])
    np.testing.assert_array_equal(q.backward(np.ones(4), x), [0, 1, 1, 0])


@pytest.mark.parametrize("kind", [np.int8, np.uint8, np.int64])
@pytest.mark.parametrize("bits", [1, 7, 8])
def test_bits_given_as_numpy_integers_do_not_wrap(kind, bits):
    assert LinearQuant(kind(bits)) == LinearQuant(bits)
    assert LinearQuant(kind(bits)).encoding == LinearQuant(bits).encoding


def fixed(low, high, **options):
    return LinearQuant(low=low, high=high, reading="fixed-point", **{"bits": 2} | options)


@pytest.mark.parametrize(
    ("make", "last", "beyond", "name"),
    [
        (lambda high: LinearQuant(2, high=high), 2.0**60, math.inf, "high"),
        (lambda high: LinearQuant(2, high=high), 2.0**-61, 0, "high"),
        (lambda high: LinearQuant(2, high=high, reading="unsigned"), 2.0**-60, 0, "high"),
        (lambda low: fixed(low, 1.0), -(2.0**60), -math.inf, "high"),
        (lambda high: fixed(2.0**24 - 2, high, bits=3, step=1.0), 2.0**24, math.inf, "low"),
    ],
)
def test_the_ends_of_what_is_allowed(make, last, beyond, name):
    """The last number is taken, and the next one float32 could not have is not."""
    assert len(make(last).levels) >= 2
    following = np.nextafter(np.float32(last), np.float32(beyond))
    with pytest.raises(ValueError, match=f"^{name}: "):
        make(float(following))


@pytest.mark.parametrize("step", [0.5, 0.6, 1.0])
def test_as_many_levels_as_fit_between_the_ends(step):
    """Two levels at least, and 2^bits at most."""
    assert fixed(0.0, step, step=step).levels.tolist() == [0, 1]
    assert fixed(-step, 2 * step, step=step).levels.tolist() == [-1, 0, 1, 2]
    for low, high in ((0.0, 0.9 * step), (0.1 * step, 1.5 * step), (-step, 3 * step)):
        with pytest.raises(ValueError, match=r"^step: "):
            fixed(low, high, step=step)


NAN = np.array([np.nan, 1.0])


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (
            lambda: LinearQuant(1, reading="fixed-point"),
            ValueError,
            "bits: .* 2 to 16, got 1: .*-1 and 0",
        ),
        (lambda: LinearQuant(0), ValueError, "bits: .* from 1 to 16, got 0: for sym"),
        (lambda: LinearQuant(17), ValueError, "bits: .*, got 17"),
        (lambda: LinearQuant(2.5), TypeError, "bits: .*, got 2.5"),
        (lambda: LinearQuant(True), TypeError, "bits: .*, got True"),
        (lambda: LinearQuant(2, high=True), TypeError, "high: .*, got True"),
        (lambda: LinearQuant(2, "a", 1.0, "fixed-point"), TypeError, "low: .*, got 'a'"),
        (lambda: LinearQuant(2, saturation=np.nan), ValueError, "saturation: .*, got nan"),
        (lambda: LinearQuant(2, saturation=True), TypeError, "saturation: .*, got True"),
        (
            lambda: LinearQuant(2, reading="L2"),
            ValueError,
            "reading: expected 'symmetric', 'fixed-point', 'unsigned', .* got 'L2'",
        ),
        (
            lambda: LinearQuant(2, 1.0, 1.0, "fixed-point"),
            ValueError,
            "low: expected less than high = 1.0",
        ),
        (lambda: LinearQuant(2, 2.0, 1.0, "fixed-point"), ValueError, "low: .*, got 2.0"),
        (lambda: LinearQuant(2, high=-1.0), ValueError, "low: expected less than high = -1.0"),
        (lambda: LinearQuant(2, high=0.0), ValueError, "low: expected less than high = 0"),
        (lambda: LinearQuant(2, high=math.inf), ValueError, "high: .* finite number, got inf"),
        (lambda: LinearQuant(2, high=math.nan), ValueError, "high: .* finite number, got nan"),
        (lambda: LinearQuant(2, high=1e-50), ValueError, "high: .* 2\\^-60 apart"),
        (lambda: LinearQuant(2, high=1e39), ValueError, "high: .* within \\+-2\\^60"),
        (
            lambda: LinearQuant(2, -1e39, 1.0, "fixed-point"),
            ValueError,
            "high: .*got -1e\\+39 and 1",
        ),
        (
            lambda: LinearQuant(16, 1e3, 1001.0, "fixed-point"),
            ValueError,
            "low: codes up to 6.56.* float32",
        ),
        (lambda: LinearQuant(2, -0.5, 1.0), ValueError, "low: symmetric needs -1 .*fixed-"),
        (
            lambda: LinearQuant(2, -1.0, 1.0, "unsigned"),
            ValueError,
            "low: unsigned needs 0 for high",
        ),
        (lambda: LinearQuant(2, step=0.5), ValueError, "step: only fixed-point takes a step"),
        (
            lambda: LinearQuant(2, reading="fixed-point", step=0.0),
            ValueError,
            "step: expected a finite",
        ),
        (
            lambda: LinearQuant(2, reading="fixed-point", step=math.nan),
            ValueError,
            "step: expected a fin",
        ),
        # -1, -0.5, 0, 0.5, 1: with both ends there is one level too many.
        (
            lambda: LinearQuant(2, reading="fixed-point", step=0.5),
            ValueError,
            "step: 5 levels .* 2 bits",
        ),
        (
            lambda: LinearQuant(3, reading="fixed-point", step=0.25),
            ValueError,
            "step: 9 levels .* 3 bits",
        ),
        (
            lambda: LinearQuant(2, reading="fixed-point", step=5.0),
            ValueError,
            "step: .*two levels.*got 1",
        ),
        (lambda: LinearQuant(2, saturation=0), ValueError, "saturation:"),
        (lambda: LinearQuant(2).encode(NAN), ValueError, "x: 1 of 2 values are NaN"),
        (lambda: LinearQuant(2, reading="fixed-point").encode(NAN), ValueError, "x: 1 of 2"),
        (lambda: LinearQuant(2, reading="unsigned").encode(NAN), ValueError, "x: 1 of 2"),
        (lambda: LinearQuant(2).encode(np.arange(3)), TypeError, "x: .* int64"),
    ],
)
def test_bad_arguments_are_named_with_a_reason(call, error, words):
    with pytest.raises(error, match="^" + words):
        call()
