"""Batch normalization of section 2.4: formula, running averages, exact gradient, edges."""

import math

import numba
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from qnn_ref.layers import BatchNorm, normalization
from qnn_ref.layers.normalization import (
    channel_mean,
    channel_mean_reference,
    normalize,
    normalize_batch,
    normalize_batch_backward,
    normalize_batch_backward_reference,
    normalize_batch_reference,
)
from tests.numeric import central_differences, worst_error

SEEDS = st.integers(0, 2**32)
SHAPES = st.one_of(
    st.tuples(st.integers(2, 7), st.integers(1, 4)),
    st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(2, 3), st.integers(1, 3)),
)
DTYPES = [np.float32, np.float64]


def make(shape, seed, *, dtype=np.float64, **options):
    """A built layer with random gain (of both signs) and shift, and a random input."""
    rng = np.random.default_rng(seed)
    layer = BatchNorm(**options).build(shape[1:], dtype=dtype)
    channels = shape[-1]
    gain = rng.uniform(0.5, 2, channels) * rng.choice([-1, 1], channels)
    layer.gain.assign(gain.astype(dtype))
    layer.shift.assign(rng.normal(size=channels).astype(dtype))
    x = rng.normal(rng.normal(size=channels), rng.uniform(0.5, 3, channels), shape).astype(dtype)
    return layer, x, rng


def statistics_by_hand(x, epsilon):
    """Mean and inverse deviation of each channel, biased variance, by exact sums."""
    columns = x.reshape(-1, x.shape[-1]).astype(np.float64).T
    means = [math.fsum(column) / len(column) for column in columns]
    variances = [
        math.fsum((v - mean) ** 2 for v in column) / len(column)
        for column, mean in zip(columns, means, strict=True)
    ]
    return np.array(means), np.array([1 / math.sqrt(v + epsilon) for v in variances])


# Forward


@given(SHAPES, SEEDS, st.sampled_from([1e-4, 1e-2, 1.0]))
def test_training_normalizes_with_the_batch_and_then_scales_and_shifts(shape, seed, epsilon):
    layer, x, _ = make(shape, seed, epsilon=epsilon)
    mean, r = statistics_by_hand(x, epsilon)
    expected = layer.gain.latent * (x - mean) * r + layer.shift.latent
    np.testing.assert_allclose(layer.forward(x, training=True), expected, atol=1e-10)


@given(SHAPES, SEEDS)
def test_output_has_the_mean_of_the_shift_and_the_deviation_of_the_gain(shape, seed):
    layer, x, _ = make(shape, seed, epsilon=1e-12)
    y = layer.forward(x, training=True)
    axes = tuple(range(x.ndim - 1))
    np.testing.assert_allclose(y.mean(axis=axes), layer.shift.latent, atol=1e-9)
    varied = x.std(axis=axes) > 1e-2
    deviation = np.abs(layer.gain.latent)
    np.testing.assert_allclose(y.std(axis=axes)[varied], deviation[varied], rtol=1e-6)


@given(SEEDS)
def test_one_affine_map_serves_training_and_inference_bit_for_bit(seed):
    for dtype in DTYPES:
        layer, x, _ = make((5, 3), seed, dtype=dtype, momentum=1.0)
        y = layer.forward(x, training=True)
        # momentum 1 makes the running averages those of the batch
        np.testing.assert_array_equal(layer.forward(x), y)
        arrays = (layer.running_mean, layer.running_inverse_deviation)
        parameters = (layer.gain.latent, layer.shift.latent)
        np.testing.assert_array_equal(normalize(x, *arrays, *parameters), y)


@given(SEEDS)
def test_inference_uses_the_running_averages_and_leaves_them_alone(seed):
    layer, x, rng = make((4, 3), seed)
    mean, r = rng.normal(size=3), rng.uniform(0.2, 3, 3)
    layer.running_mean[...] = mean
    layer.running_inverse_deviation[...] = r
    expected = layer.gain.latent * (x - mean) * r + layer.shift.latent
    np.testing.assert_allclose(layer.forward(x), expected, atol=1e-12)
    np.testing.assert_array_equal(layer.running_mean, mean)
    np.testing.assert_array_equal(layer.running_inverse_deviation, r)
    np.testing.assert_allclose(layer.forward(x[:1]), expected[:1], atol=1e-12)


# Running averages


@given(SHAPES, SEEDS, st.sampled_from([0.1, 0.125, 0.9, 1.0]))
def test_running_averages_of_the_mean_and_the_inverse_deviation(shape, seed, momentum):
    layer, x, rng = make(shape, seed, momentum=momentum)
    np.testing.assert_array_equal(layer.running_mean, np.zeros(shape[-1]))
    np.testing.assert_array_equal(layer.running_inverse_deviation, np.ones(shape[-1]))
    expected_mean, expected_r = np.zeros(shape[-1]), np.ones(shape[-1])
    for _ in range(3):
        layer.forward(x, training=True)
        mean, r = statistics_by_hand(x, layer.epsilon)
        expected_mean = (1 - momentum) * expected_mean + momentum * mean
        expected_r = (1 - momentum) * expected_r + momentum * r
        x = 2 * x + rng.normal()
    np.testing.assert_allclose(layer.running_mean, expected_mean, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(layer.running_inverse_deviation, expected_r, rtol=1e-10)


def test_the_default_averages_over_many_batches():
    layer = BatchNorm().build((1,))
    x = np.array([[9.0], [11.0]], np.float32)
    layer.forward(x, training=True)
    np.testing.assert_allclose(layer.running_mean, [1.0], rtol=1e-6)  # below half of 10
    for _ in range(99):
        layer.forward(x, training=True)
    np.testing.assert_allclose(layer.running_mean, [9.99973], atol=1e-4)


# Backward


@settings(max_examples=40)
@given(SHAPES, SEEDS, st.sampled_from([1e-4, 1e-1]))
def test_backward_is_the_exact_gradient(shape, seed, epsilon):
    layer, x, rng = make(shape, seed, epsilon=epsilon)
    r = statistics_by_hand(x, epsilon)[1]
    assume(r.max() < 5)  # for a nearly constant channel central differences are too coarse
    upstream = rng.normal(size=shape)
    gain, shift = layer.gain.latent.copy(), layer.shift.latent.copy()
    axes = tuple(range(x.ndim - 1))

    def cost(x, gain, shift):
        centred = x - x.mean(axis=axes)
        normalized = centred / np.sqrt((centred**2).mean(axis=axes) + epsilon)
        return float(np.sum(upstream * (gain * normalized + shift)))

    layer.forward(x, training=True)
    dx = layer.backward(upstream)
    assert worst_error(central_differences(lambda v: cost(v, gain, shift), x), dx) < 1e-6
    numeric = central_differences(lambda v: cost(x, v, shift), gain)
    assert worst_error(numeric, layer.gain.grad) < 1e-7
    numeric = central_differences(lambda v: cost(x, gain, v), shift)
    assert worst_error(numeric, layer.shift.grad) < 1e-7


@given(SHAPES, SEEDS)
def test_gradients_are_sums_over_the_batch_and_blind_to_a_common_offset(shape, seed):
    layer, x, rng = make(shape, seed)
    dy = rng.normal(size=shape)
    layer.forward(x, training=True)
    dx = layer.backward(dy)
    mean, r = statistics_by_hand(x, layer.epsilon)
    axes = tuple(range(x.ndim - 1))
    np.testing.assert_allclose(layer.shift.grad, dy.sum(axis=axes), atol=1e-10)
    normalized = (x - mean) * r
    np.testing.assert_allclose(layer.gain.grad, (dy * normalized).sum(axis=axes), atol=1e-9)
    # Adding a constant to a channel changes no output, so dx sums to zero.
    size = np.abs(layer.gain.latent * r) * np.abs(dy).sum(axis=axes)
    assert np.all(np.abs(dx.sum(axis=axes)) <= 1e-12 * (1 + size))


@pytest.mark.parametrize("dtype", DTYPES)
def test_everything_stays_in_the_layers_float_type(dtype):
    layer, x, _ = make((4, 2, 2, 3), 0, dtype=dtype)
    y = layer.forward(x, training=True)
    dx = layer.backward(np.ones_like(y))
    assert layer.forward(x).dtype == y.dtype == dx.dtype == dtype
    for array in (*layer.buffers().values(), layer.gain.grad, layer.shift.grad):
        assert array.dtype == dtype
    layer.astype(np.float64)
    assert all(b.dtype == np.float64 for b in layer.buffers().values())
    assert layer.gain.dtype == layer.shift.dtype == np.float64


# Constant channels, accurate means, one value a channel


@pytest.mark.parametrize("shape, value", [((1, 3, 3, 1), 100.0), ((1000, 1), 0.1), ((7, 1), 1e6)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_constant_channel_gives_the_shift(shape, value, dtype):
    layer = BatchNorm(epsilon=1e-4).build(shape[1:], dtype=dtype)
    layer.shift.assign(np.array([0.25], dtype))
    x = np.full(shape, value, dtype)
    y = layer.forward(x, training=True)
    np.testing.assert_allclose(y, 0.25, atol=1e-5)
    dx = layer.backward(np.random.default_rng(0).normal(size=shape).astype(dtype))
    assert np.all(np.isfinite(dx))
    np.testing.assert_allclose(layer.running_inverse_deviation, 0.9 + 0.1 / 1e-2, rtol=1e-3)


def test_the_mean_of_many_float32_numbers_is_accurate():
    x = np.full((100_000, 2), 0.1, np.float32)
    x[:, 1] = np.random.default_rng(0).normal(1000, 1, 100_000)
    mean = channel_mean(x)
    assert mean.dtype == np.float32
    exact = [math.fsum(column.tolist()) / len(column) for column in x.T]
    np.testing.assert_array_equal(mean, np.array(exact).astype(np.float32))


@given(SHAPES, SEEDS)
def test_channel_mean_is_over_all_axes_but_the_last(shape, seed):
    x = np.random.default_rng(seed).normal(size=shape)
    expected = [math.fsum(c) / len(c) for c in x.reshape(-1, shape[-1]).T]
    np.testing.assert_allclose(channel_mean(x), expected, atol=1e-14)


@pytest.mark.parametrize("shape", [(1, 3), (1, 1, 1, 3)])
def test_a_batch_of_one_value_a_channel_gives_the_shift_and_stays_finite(shape):
    layer, x, rng = make((5, *shape[1:]), 1)
    layer.forward(x, training=True)
    y = layer.forward(rng.normal(size=shape), training=True)
    np.testing.assert_array_equal(y, np.broadcast_to(layer.shift.latent, shape))
    np.testing.assert_array_equal(layer.backward(rng.normal(size=shape)), np.zeros(shape))
    assert all(np.all(np.isfinite(b)) for b in layer.buffers().values())


def test_one_image_with_several_pixels_is_a_batch():
    layer, x, _ = make((1, 2, 2, 3), 2)
    y = layer.forward(x, training=True)
    np.testing.assert_allclose(y.mean(axis=(0, 1, 2)), layer.shift.latent, atol=1e-12)
    assert np.all(y.std(axis=(0, 1, 2)) > 0.1)


# Start, names, errors


def test_starts_as_the_plain_normalization():
    layer = BatchNorm().build((2, 2, 3))
    assert (layer.epsilon, layer.momentum) == (1e-4, 0.1)
    assert list(layer.parameters()) == ["gain", "shift"]
    assert list(layer.buffers()) == ["running_mean", "running_inverse_deviation"]
    np.testing.assert_array_equal(layer.gain.latent, np.ones(3, np.float32))
    np.testing.assert_array_equal(layer.shift.latent, np.zeros(3, np.float32))
    for p in layer.parameters().values():
        assert (p.quantizer, p.bound, p.learning_rate_scale) == (None, np.inf, 1)
        assert p.dtype == np.float32
    assert layer.output_shape((2, 2, 3)) == (2, 2, 3)


# The last layer of the authors' Torch code


@given(SHAPES, SEEDS, st.sampled_from([0.1, 0.5, 1.0]))
def test_the_unbiased_variance_is_averaged_instead(shape, seed, momentum):
    layer, x, _ = make(shape, seed, momentum=momentum, running="unbiased variance")
    rows = x.reshape(-1, shape[-1])
    assume(len(rows) > 1)
    layer.forward(x, training=True)
    expected = (1 - momentum) + momentum * rows.var(axis=0, ddof=1)
    np.testing.assert_allclose(layer.running_variance, expected, rtol=1e-10)
    assert list(layer.buffers()) == ["running_mean", "running_variance"]
    r = 1 / np.sqrt(expected + layer.epsilon)
    by_hand = (x - layer.running_mean) * r * layer.gain.latent + layer.shift.latent
    np.testing.assert_allclose(layer.forward(x), by_hand, rtol=1e-9, atol=1e-12)


@given(SHAPES, SEEDS)
def test_what_is_averaged_changes_nothing_in_training(shape, seed):
    one, x, rng = make(shape, seed)
    other, _, _ = make(shape, seed, running="unbiased variance")
    assume(x.size > shape[-1])
    dy = rng.normal(size=shape)
    np.testing.assert_array_equal(one.forward(x, True), other.forward(x, True))
    np.testing.assert_array_equal(one.backward(dy), other.backward(dy))


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_variance_follows_the_float_type(dtype):
    layer = BatchNorm(running="unbiased variance").build((3,))
    layer.astype(dtype)
    x = np.random.default_rng(0).normal(size=(5, 3)).astype(dtype)
    assert layer.forward(x, training=True).dtype == dtype
    assert layer.forward(x).dtype == layer.running_variance.dtype == dtype


def test_one_value_a_channel_has_no_unbiased_variance():
    layer = BatchNorm(running="unbiased variance").build((3,))
    with pytest.raises(ValueError, match=r"x: one value a channel has no unbiased variance"):
        layer.forward(np.ones((1, 3), np.float32), training=True)
    np.testing.assert_array_equal(layer.running_mean, np.zeros(3))
    np.testing.assert_array_equal(layer.running_variance, np.ones(3))


def test_a_uniform_gain_at_its_own_rate():
    layer = BatchNorm(uniform_gain=True, scale_gain_rate=True)
    layer.build((10,), np.random.default_rng(0))
    expected = np.random.default_rng(0).random(10).astype(np.float32)
    np.testing.assert_array_equal(layer.gain.latent, expected)
    assert layer.gain.learning_rate_scale == pytest.approx(2.582, abs=5e-4)
    assert layer.shift.learning_rate_scale == 1
    with pytest.raises(TypeError, match=r"rng: BatchNorm draws"):
        layer.build((10,))


def test_backward_needs_a_training_forward():
    layer, x, _ = make((4, 3), 3)
    layer.forward(x)
    with pytest.raises(RuntimeError, match=r"BatchNorm\.backward: call forward"):
        layer.backward(x)


BUILT = BatchNorm().build((3,))


@pytest.mark.parametrize(
    "call, error, words",
    [
        (lambda: BatchNorm(epsilon=0), ValueError, ["epsilon:", "above 0", "0"]),
        (lambda: BatchNorm(epsilon=-1e-4), ValueError, ["epsilon:", "-0.0001"]),
        (lambda: BatchNorm(epsilon=math.nan), ValueError, ["epsilon:", "nan"]),
        (
            lambda: BatchNorm(momentum=0),
            ValueError,
            ["momentum:", "at most 1", "got 0"],
        ),
        (lambda: BatchNorm(momentum=1.5), ValueError, ["momentum:", "1.5"]),
        (lambda: BatchNorm(momentum=math.nan), ValueError, ["momentum:", "nan"]),
        (lambda: BatchNorm(running="variance"), ValueError, ["running:", "'variance'"]),
        (lambda: BatchNorm().forward(np.zeros((1, 3), "f")), RuntimeError, ["not built"]),
        (lambda: BUILT.forward(np.zeros((2, 4), "f")), ValueError, ["x:", "(batch, 3)", "(2, 4)"]),
        (lambda: BUILT.forward(np.zeros((0, 3), "f"), True), ValueError, ["x:", "empty batch"]),
        (lambda: BUILT.forward(np.zeros((2, 3)), True), TypeError, ["x:", "float32", "float64"]),
    ],
)
def test_bad_arguments_are_refused_with_their_name(call, error, words):
    with pytest.raises(error) as caught:
        call()
    for word in words:
        assert word in str(caught.value)
    np.testing.assert_array_equal(BUILT.running_mean, np.zeros(3))
    np.testing.assert_array_equal(BUILT.running_inverse_deviation, np.ones(3))


# The compiled form


@given(
    st.one_of(
        st.tuples(st.integers(1, 40), st.sampled_from([1, 2, 3, 63, 64, 65, 130])),
        st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 4), st.integers(1, 70)),
    ),
    SEEDS,
    st.sampled_from([1e-4, 1.0]),
)
@settings(max_examples=40)
def test_compiled_batch_norm_equals_its_twin_bit_for_bit(shape, seed, epsilon):
    rng = np.random.default_rng(seed)
    x, dy = (rng.normal(3, 2, shape).astype(np.float32) for _ in range(2))
    gain, shift = (rng.normal(size=shape[-1]).astype(np.float32) for _ in range(2))
    x[rng.random(shape) < 0.1] = 0
    np.testing.assert_array_equal(channel_mean(x), channel_mean_reference(x))
    found = normalize_batch(x, gain, shift, epsilon)
    expected = normalize_batch_reference(x, gain, shift, epsilon)
    for got, twin in zip(found, expected, strict=True):
        np.testing.assert_array_equal(got, twin)
        assert (got.dtype, got.shape) == (twin.dtype, twin.shape)
    _, normalized, _, r = found
    gradients = normalize_batch_backward(dy, normalized, r, gain)
    twins = normalize_batch_backward_reference(dy, normalized, r, gain)
    for got, twin in zip(gradients, twins, strict=True):
        np.testing.assert_array_equal(got, twin)
        assert (got.dtype, got.shape) == (twin.dtype, twin.shape)


@pytest.mark.parametrize("shape", [(3, 2), (3, 63), (2, 65), (5, 64), (2, 130), (2, 2, 1, 3)])
def test_the_kernels_are_their_twins_as_plain_python_too(shape, monkeypatch):
    """Blocks of channels: whole, cut, several."""
    monkeypatch.setattr(normalization, "_is_fast", lambda x: x.dtype == np.float32)
    test_compiled_batch_norm_equals_its_twin_bit_for_bit.hypothesis.inner_test(shape, 3, 1e-4)


@pytest.fixture(params=["as it is", "plain Python"])
def form(request, monkeypatch):
    """The fast form too where Numba is switched off."""
    if request.param == "plain Python":
        monkeypatch.setattr(normalization, "_is_fast", lambda x: x.dtype == np.float32)


GOOD = np.ones((4, 3), np.float32), np.ones(3, np.float32), np.ones(3, np.float32)


@pytest.mark.parametrize("function", [channel_mean, channel_mean_reference])
@pytest.mark.parametrize("shape", [(3,), (0, 3), (3, 0)])
@pytest.mark.usefixtures("form")
def test_what_has_no_mean_is_refused(function, shape):
    for x in (np.ones(shape, np.float32), np.ones((2, *shape), int)):
        with pytest.raises((TypeError, ValueError), match=r"^x: expected"):
            function(x)


@pytest.mark.parametrize(
    ("place", "value", "name"),
    [
        (0, GOOD[1], "x"),
        (0, GOOD[0][:0], "x"),
        (0, GOOD[0].astype(int), "x"),
        (1, GOOD[1][:2], "gain"),
        (1, np.ones(3), "gain"),
        (2, GOOD[2][:2], "shift"),
        (2, np.ones(3), "shift"),
        (3, 0, "epsilon"),
        (3, -1e-4, "epsilon"),
    ],
)
@pytest.mark.parametrize("function", [normalize_batch, normalize_batch_reference])
@pytest.mark.usefixtures("form")
def test_batch_norm_looks_at_its_arguments(function, place, value, name):
    arguments = [*GOOD, 1e-4]
    function(*arguments)
    arguments[place] = value
    with pytest.raises((TypeError, ValueError), match=f"^{name}: expected"):
        function(*arguments)


@pytest.mark.parametrize(
    ("place", "value", "name"),
    [
        (0, GOOD[1], "dy"),
        (0, GOOD[0][:0], "dy"),
        (1, GOOD[0][:2], "normalized"),
        (1, np.ones((4, 3)), "normalized"),
        (2, GOOD[1][:2], "r"),
        (2, np.ones(3), "r"),
        (3, GOOD[2][:2], "gain"),
        (3, np.ones(3), "gain"),
    ],
)
@pytest.mark.parametrize("function", [normalize_batch_backward, normalize_batch_backward_reference])
@pytest.mark.usefixtures("form")
def test_its_backward_pass_looks_at_its_arguments(function, place, value, name):
    arguments = [GOOD[0], *GOOD]
    function(*arguments)
    arguments[place] = value
    with pytest.raises((TypeError, ValueError), match=f"^{name}: expected"):
        function(*arguments)


@pytest.mark.parametrize("epsilon", [1e-60, 1e60])
def test_an_epsilon_that_float32_has_not_is_refused(epsilon):
    with pytest.raises(ValueError, match=r"^epsilon: .* in float32"):
        BatchNorm(epsilon=epsilon).build((3,))


@pytest.mark.slow_without_jit
def test_threads_and_memory_order_change_nothing():
    rng = np.random.default_rng(0)
    x, dy = (rng.normal(size=(200, 300)).astype(np.float32) for _ in range(2))
    gain, shift = (rng.normal(size=300).astype(np.float32) for _ in range(2))
    threads = numba.get_num_threads()
    results = []
    try:
        for count in {1, threads}:
            numba.set_num_threads(count)
            for order in "CF":
                forward = normalize_batch(np.array(x, order=order), gain, shift, 1e-4)
                back = normalize_batch_backward(
                    np.array(dy, order=order), forward[1], forward[3], gain
                )
                results.append((*forward, *back))
    finally:
        numba.set_num_threads(threads)
    for result in results[1:]:
        for one, other in zip(result, results[0], strict=True):
            np.testing.assert_array_equal(one, other)
