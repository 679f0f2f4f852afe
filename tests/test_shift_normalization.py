"""Shift-based batch normalization: Algorithm 2, its three backward forms, its statistics."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from qnn_ref.checking import check_gradients
from qnn_ref.layers import ShiftBatchNorm
from qnn_ref.layers.shift_normalization import ratio, shift_batch_norm_chain
from qnn_ref.shifts import ap2
from tests.numeric import worst_error
from tests.oracles import shift as oracle

SEEDS = st.integers(0, 2**32)
SHAPES = st.one_of(
    st.tuples(st.integers(2, 8), st.integers(1, 4)),
    st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(2, 3), st.integers(1, 3)),
)
DTYPES = [np.float32, np.float64]


def make(shape, seed, *, dtype=np.float64, **options):
    """A built layer with random gain (of both signs) and shift, input and upstream gradient."""
    rng = np.random.default_rng(seed)
    layer = ShiftBatchNorm(**options).build(shape[1:], dtype=dtype)
    channels = shape[-1]
    gain = rng.uniform(0.3, 3, channels) * rng.choice([-1, 1], channels)
    layer.gain.assign(gain.astype(dtype))
    layer.shift.assign(rng.normal(size=channels).astype(dtype))
    x = rng.normal(rng.normal(size=channels), rng.uniform(0.5, 3, channels), shape).astype(dtype)
    return layer, x, rng.normal(size=shape).astype(dtype)


def rows(x):
    """Dense and spatial alike: (values of a channel, channels)."""
    return x.reshape(-1, x.shape[-1])


# Forward


@given(SHAPES, SEEDS)
def test_training_is_algorithm_2(shape, seed):
    layer, x, _ = make(shape, seed)
    expected = oracle.sbn_forward(rows(x), layer.gain.latent, layer.shift.latent)
    assume(expected["margin"] > 1e-9)
    y = layer.forward(x, training=True)
    np.testing.assert_allclose(rows(y), expected["y"], rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(layer.running_mean, expected["running_mean"], atol=1e-12)
    np.testing.assert_allclose(
        layer.running_inverse_deviation, expected["running_inverse_deviation"], atol=1e-12
    )


@given(SHAPES, SEEDS)
def test_every_product_is_with_a_power_of_two(shape, seed):
    """(y - b) / c is one signed power of two a channel: line 4 and line 5 are shifts."""
    layer, x, _ = make(shape, seed)
    layer.shift.assign(np.zeros(shape[-1]))
    y = layer.forward(x, training=True)
    centred = x - x.mean(axis=tuple(range(x.ndim - 1)))
    assume(np.all(np.abs(centred) > 1e-9))
    factor = rows(y) / rows(centred)
    np.testing.assert_allclose(factor, ap2(factor), rtol=1e-6)
    assert np.all(np.sign(factor) == np.sign(layer.gain.latent))


@given(SEEDS)
def test_the_variance_line_carries_the_sign(seed):
    """Without it positive and negative terms cancel, and half of all variances are negative."""
    layer, x, _ = make((100, 3), seed)
    layer.forward(x, training=True)
    r = (layer.running_inverse_deviation - 0.875) / 0.125
    variance = 1 / r**2 - layer.epsilon
    true = x.var(axis=0)
    assert np.all(variance > 0.7 * true)
    assert np.all(variance < 1.42 * true)


@settings(max_examples=30)
@given(SEEDS)
def test_the_output_deviation_of_bell_curves_lies_between_0_69_and_1_42(seed):
    """AP2 of an inverse deviation may be off by sqrt(2) either way: 1 is not to be expected."""
    layer, x, _ = make((2000, 4), seed)
    layer.gain.assign(np.ones(4))
    deviation = layer.forward(x, training=True).std(axis=0)
    assert np.all((deviation > 0.68) & (deviation < 1.43))


def output_deviations(x):
    layer = ShiftBatchNorm(epsilon=1e-12).build((x.shape[1],), dtype=np.float64)
    return layer.forward(x, training=True).std(axis=0)[x.std(axis=0) > 1e-6]


def two_sizes(size, share):
    """A column of 1,000 numbers: this share of them +-size, all others twice that."""
    small = round(500 * share)
    half = np.repeat([size, 2 * size], [small, 500 - small])
    return np.concatenate([half, -half])[:, None]


@given(SEEDS, st.integers(2, 9), st.integers(1, 9), st.floats(1, 4))
def test_the_output_deviation_of_every_batch_is_within_2_to_3_4(seed, batch, terms, scale):
    """Line 3 adds a fourth root of 2 to the sqrt(2) of line 4; sums of signs come near both."""
    x = np.random.default_rng(seed).choice([-1, 1], (batch, 20, terms)).sum(axis=2)
    deviation = output_deviations(scale * x)
    assert np.all((deviation > 0.999 * 2**-0.75) & (deviation < 1.001 * 2**0.75))


@pytest.mark.parametrize(
    ("size", "share", "bound"), [(1.414, 0.862, 2**0.75), (1.4143, 0.389, 2**-0.75)]
)
def test_both_bounds_are_reached(size, share, bound):
    """All terms of line 3 just below a threshold of AP2, or all just above one."""
    assert output_deviations(two_sizes(size, share)) == pytest.approx(bound, rel=2e-3)


@pytest.mark.parametrize("dtype", DTYPES)
def test_one_value_a_channel_gives_the_shift(dtype):
    layer, _, _ = make((4, 3), 0, dtype=dtype)
    x = np.array([[1, -5, 1000]], dtype)
    np.testing.assert_array_equal(layer.forward(x, training=True)[0], layer.shift.latent)
    assert np.all(np.isfinite(layer.backward(np.ones_like(x))))
    assert np.all(np.isfinite(layer.running_inverse_deviation))


@pytest.mark.parametrize("value", [100.0, 0.1])
def test_a_constant_channel_is_not_amplified(value):
    layer = ShiftBatchNorm().build((10, 10, 1))
    layer.shift.assign(np.array([0.25], np.float32))
    y = layer.forward(np.full((10, 10, 10, 1), value, np.float32), training=True)
    np.testing.assert_allclose(y, 0.25, atol=1e-5)


# Running statistics and inference


@given(SHAPES, SEEDS)
def test_inference_rounds_what_training_kept_unrounded(shape, seed):
    layer, x, _ = make(shape, seed)
    for scale in (1, 3, 0.2):
        layer.forward(scale * x, training=True)
    statistics = layer.running_mean, layer.running_inverse_deviation
    before = [s.copy() for s in statistics]
    expected = oracle.sbn_inference(rows(x), layer.gain.latent, layer.shift.latent, *statistics)
    np.testing.assert_allclose(rows(layer.forward(x)), expected, rtol=1e-12, atol=1e-12)
    assert not np.array_equal(ap2(before[1]), before[1])
    for now, then in zip(statistics, before, strict=True):
        np.testing.assert_array_equal(now, then)


def test_the_inverse_deviation_starts_at_one_dense_and_spatial():
    for shape in ((3,), (4, 4, 3)):
        layer = ShiftBatchNorm().build(shape)
        np.testing.assert_array_equal(layer.running_inverse_deviation, np.ones(3))
        np.testing.assert_array_equal(layer.running_mean, np.zeros(3))


def test_the_running_mean_averages_over_many_batches():
    layer = ShiftBatchNorm().build((1,))
    rng = np.random.default_rng(0)
    x = (rng.normal(size=(50, 1)) + 10).astype(np.float32)
    layer.forward(x, training=True)
    assert 0 < layer.running_mean[0] < 5
    for _ in range(99):
        layer.forward(x, training=True)
    assert layer.running_mean[0] == pytest.approx(x.mean(), abs=0.1)


# Backward


NAMES = {"S": "slope", "R": "ratio", "T": "torch"}


@pytest.mark.parametrize("choice", NAMES)
@given(shape=SHAPES, seed=SEEDS)
def test_each_backward_form_is_the_oracles(choice, shape, seed):
    layer, x, dy = make(shape, seed, gradient=NAMES[choice])
    forward = oracle.sbn_forward(rows(x), layer.gain.latent, layer.shift.latent)
    assume(forward["margin"] > 1e-9)
    layer.forward(x, training=True)
    dx = layer.backward(dy)
    expected = oracle.sbn_backward(rows(dy), rows(x), layer.gain.latent, choice=choice)
    assert worst_error(rows(dx), expected["dx"]) < 1e-9
    assert worst_error(layer.gain.grad, expected["dgain"]) < 1e-9
    assert worst_error(layer.shift.grad, expected["dshift"]) < 1e-9


@pytest.mark.parametrize("choice", ["slope", "ratio"])
@pytest.mark.parametrize("shape", [(16, 5), (3, 4, 5, 4)], ids=["dense", "spatial"])
@pytest.mark.parametrize("mode", ["probe", "full"])
def test_s_and_r_are_the_gradients_of_their_surrogates(choice, shape, mode):
    layer, x, _ = make(shape, 1, gradient=choice)
    report = check_gradients(layer, x, mode=mode, rng=np.random.default_rng(0))
    assert report.passed, str(report)
    assert report.worst_relative_error < 1e-6


def test_letters_are_other_names():
    for letter, word in NAMES.items():
        one, other = ShiftBatchNorm(letter), ShiftBatchNorm(word)
        assert one.gradient == other.gradient == word
        assert one.jumps == other.jumps
    assert ShiftBatchNorm().gradient == "slope"


def test_t_is_no_surrogates_gradient():
    """Its dx does not sum to 0 over the batch, though adding a constant to x changes nothing."""
    layer, x, dy = make((16, 5), 2, gradient="torch")
    y = layer.forward(x, training=True)
    dx = layer.backward(dy)
    assert np.abs(dx.mean(axis=0)).max() > 1e-3
    np.testing.assert_allclose(layer.forward(x + 1, training=True), y, atol=1e-9)
    with pytest.raises(TypeError, match="no surrogate"):
        check_gradients(layer, x, rng=np.random.default_rng(0))
    for choice in ("slope", "ratio"):
        layer, x, dy = make((16, 5), 2, gradient=choice)
        layer.forward(x, training=True)
        np.testing.assert_allclose(layer.backward(dy).mean(axis=0), 0, atol=1e-12)


@given(SHAPES, SEEDS)
def test_long_chain_equals_short_form(shape, seed):
    layer, x, dy = make(shape, seed)
    layer.forward(x, training=True)
    dx = layer.backward(dy)
    centred = x - x.mean(axis=tuple(range(x.ndim - 1)))
    assume(oracle.ap2_margin(centred) > 1e-9)
    chain = shift_batch_norm_chain(dy, centred, layer.gain.latent, layer.epsilon)
    for ours, theirs in zip((dx, layer.gain.grad, layer.shift.grad), chain, strict=True):
        assert worst_error(ours, theirs) < 1e-9


@given(st.lists(st.sampled_from([0.0, -0.0, 1.0, -3.0, 0.7, 1e-40, -1e30]), min_size=1))
def test_ratio_is_1_at_0_and_within_sqrt_2(values):
    x = np.array(values)
    moved = ratio(ap2(x), x)
    assert np.all(moved[x == 0] == 1)
    assert np.all((moved >= np.sqrt(0.5)) & (moved <= np.sqrt(2)))


@pytest.mark.parametrize("choice", ["slope", "ratio", "torch"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_dtype_stays(choice, dtype):
    layer, x, dy = make((6, 3), 0, dtype=dtype, gradient=choice)
    assert layer.forward(x, training=True).dtype == dtype
    assert layer.backward(dy).dtype == dtype
    assert layer.gain.grad.dtype == layer.shift.grad.dtype == dtype
    assert layer.forward(x).dtype == dtype


def test_gain_learns_at_the_glorot_scale_of_its_width_if_asked():
    layer = ShiftBatchNorm(scale_gain_rate=True).build((2048,))
    assert layer.gain.learning_rate_scale == pytest.approx(36.95, abs=0.005)
    assert layer.shift.learning_rate_scale == 1
    assert ShiftBatchNorm().build((2048,)).gain.learning_rate_scale == 1


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: ShiftBatchNorm("E"), "gradient: expected 'slope', 'ratio', 'torch', .* 'E'"),
        (lambda: ShiftBatchNorm(epsilon=0), "epsilon: expected a finite number above 0"),
        (lambda: ShiftBatchNorm(momentum=0), "momentum: expected"),
        (
            lambda: ShiftBatchNorm().build((3,)).forward(np.full((2, 3), np.nan, np.float32), True),
            "NaN",
        ),
        (
            lambda: ShiftBatchNorm().build((3,)).forward(np.zeros((2, 4), np.float32)),
            r"x: expected shape \(batch, 3\), got \(2, 4\)",
        ),
    ],
    ids=["form E", "epsilon", "momentum", "NaN", "shape"],
)
def test_bad_arguments(call, words):
    with pytest.raises(ValueError, match=words):
        call()
