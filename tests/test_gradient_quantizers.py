"""Quantized gradients: the formulas, no bias, and what a layer's two backward products see."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from qnn_ref import Sequential
from qnn_ref.checking import check_gradients
from qnn_ref.geometry import add_windows, pad_images, windows
from qnn_ref.layers import (
    Auxiliary,
    BatchNorm,
    Branches,
    Conv2D,
    Dense,
    Flatten,
    MaxPool2D,
    Pixels,
    Quantize,
    ShiftBatchNorm,
)
from qnn_ref.losses import squared_hinge
from qnn_ref.optimizers import SGD, Adam
from qnn_ref.products import PlainProducts
from qnn_ref.quantizers import (
    DoReFaGradient,
    Encoding,
    LinearGradient,
    LinearQuant,
    LogQuant,
    StochasticSign,
)
from qnn_ref.training import Run, train

DTYPES = [np.float32, np.float64]
LARGEST = float(np.float32(3e38))  # n (M / n) of the very last number would overflow
FINITE = st.one_of(
    st.floats(-LARGEST, LARGEST, width=32),
    st.floats(-2, 2, width=32),
    st.integers(-40, 40).map(lambda n: n / 8),
)


def batches(elements=FINITE, dims=(1, 3)):
    shapes = hnp.array_shapes(min_dims=dims[0], max_dims=dims[1], min_side=1, max_side=5)
    return st.sampled_from(DTYPES).flatmap(
        lambda dtype: hnp.arrays(dtype, shapes, elements=elements)
    )


def assert_same(one, other):
    """Equal numbers of one dtype and shape."""
    assert one.dtype == other.dtype
    np.testing.assert_array_equal(one, other, strict=True)


# Equal steps


@given(batches(), st.integers(2, 8))
@example(np.array([0.5, 1.0, -0.5, -1.0], np.float32), 3)
@example(np.array([3e38, 1.5e38, -1e38], np.float32), 16)
@example(np.array([1e-44, -5e-45], np.float32), 6)
@example(np.array([1e-37, -5e-38], np.float32), 6)
@example(np.array([np.finfo(np.float32).tiny], np.float32), 2)  # the smallest scale that there is
def test_linear_gradients_are_the_nearest_multiples_with_ties_up(x, bits):
    """round(n x / M), floor(z + 1/2) as rounding; exact for the 24 digits of float32 numbers."""
    q, n = LinearGradient(bits), 2 ** (bits - 1) - 1
    codes, scale = q.encode(x)
    largest = Fraction(float(np.abs(x).max()))
    assert codes.dtype == x.dtype
    if largest / n < Fraction(float(np.finfo(x.dtype).smallest_normal)):
        assert not codes.any()
        return
    exact = [math.floor(n * Fraction(float(v)) / largest + Fraction(1, 2)) for v in x.flat]
    np.testing.assert_array_equal(codes, np.reshape(exact, x.shape).astype(float))
    assert scale == float(largest) / n
    np.testing.assert_array_equal(q.quantize(x), codes * x.dtype.type(scale))
    assert np.abs(codes).max() == n
    assert not np.any((codes == 0) & np.signbit(codes))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "q", [LinearGradient(2), LinearGradient(6), DoReFaGradient(1), DoReFaGradient(6)]
)
def test_degenerate_gradients(q, dtype):
    noise = np.full((2, 4), 0.25)
    for given_noise in (None, noise):
        zeros = q.quantize(np.zeros((2, 4), dtype), given_noise)
        np.testing.assert_array_equal(zeros, np.zeros((2, 4)))
        assert zeros.dtype == dtype
        constant = q.quantize(np.full((2, 4), 0.5, dtype), given_noise)
        np.testing.assert_allclose(constant, np.full((2, 4), 0.5), rtol=1e-6)
        for value in (
            np.finfo(dtype).max / 2,
            np.finfo(dtype).tiny,
            np.finfo(dtype).smallest_subnormal,
        ):
            x = np.array([[value, -value, 0, value / 2]] * 2, dtype)
            result = q.quantize(x, given_noise)
            assert np.isfinite(result).all()
            assert float(np.abs(result).max()) <= float(value) * (1 + 1e-4)
    assert q.quantize(np.zeros((0, 3), dtype)).shape == (0, 3)
    with pytest.raises(ValueError, match=r"^x: expected finite numbers"):
        q.quantize(np.array([[1, np.inf]], dtype))
    with pytest.raises(ValueError, match=r"^x: 1 of 2 values are NaN"):
        q.quantize(np.array([[1, np.nan]], dtype))


# DoReFa


@given(batches(dims=(1, 3)), st.integers(1, 8), st.integers(0, 2**32), st.booleans())
def test_dorefa_is_its_formula_with_a_range_for_each_example(x, bits, seed, noisy):
    """2 M [Q(x / 2M + 1/2 + N) - 1/2], N in +-1/(2n), in rational arithmetic."""
    q, n = DoReFaGradient(bits), 2**bits - 1
    noise = q.draw(x.shape, np.random.default_rng(seed)) if noisy else None
    codes, scale = q.encode_rows(x, noise)
    assert scale.shape == (len(x),) + (1,) * (x.ndim - 1)
    assert codes.dtype == scale.dtype == x.dtype
    assert codes.shape == x.shape
    for row, numbers in enumerate(x):
        largest = Fraction(float(np.abs(numbers).max()))
        if not largest:
            assert not codes[row].any()
            continue
        if largest > 1e-30:
            np.testing.assert_allclose(scale[row].item(), float(largest) / n, rtol=1e-6)
        for place in np.ndindex(numbers.shape):
            u = Fraction(float(noise[(row, *place)])) if noisy else Fraction(0)
            z = n * (Fraction(float(numbers[place])) / (2 * largest) + Fraction(1, 2)) + u
            exact = min(max(math.floor(z + Fraction(1, 2)), 0), n)
            if abs(z + Fraction(1, 2) - round(z + Fraction(1, 2))) > 1e-4:  # away from ties
                assert codes[(row, *place)] == 2 * exact - n
            else:
                assert abs(codes[(row, *place)] - (2 * exact - n)) <= 2
    np.testing.assert_array_equal(q.quantize(x, noise), codes * scale)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bits", [1, 2, 6])
def test_dorefa_is_unbiased(bits, dtype):
    """Means within four standard errors, at the ends of the range too."""
    draws, q = 20_000, DoReFaGradient(bits)
    x = np.array([-2, -1.7, -0.3, -0.01, 0, 0.05, 0.6, 1.9, 2], dtype)
    many = np.tile(x, (draws, 1))
    noise = q.draw(many.shape, np.random.default_rng(3))
    assert -0.5 <= noise.min() < -0.49
    assert 0.49 < noise.max() < 0.5
    values = q.quantize(many, noise)
    step = 2 * 2 / (2**bits - 1)
    part = (x.astype(float) + 2) / step % 1
    variance = step**2 * part * (1 - part)
    error = np.abs(values.mean(axis=0, dtype=float) - x)
    assert np.all(error <= 4 * np.sqrt(variance / draws) + 1e-6)
    np.testing.assert_allclose(values.var(axis=0, dtype=float), variance, rtol=0.1, atol=1e-3)
    assert len(np.unique(values)) <= 2**bits


def test_draws_come_from_the_given_generator_only():
    a, b = np.random.default_rng(5), np.random.default_rng(5)
    np.testing.assert_array_equal(DoReFaGradient(2).draw((3, 4), a), b.random((3, 4)) - 0.5)
    state = a.bit_generator.state
    assert LinearGradient(2).draw((3, 4), a) is None
    assert a.bit_generator.state == state


@pytest.mark.parametrize("kind", [np.int8, np.uint8, np.int64])
def test_numpy_integers_do_not_wrap(kind):
    x = np.linspace(-1, 1, 40)[None]
    for bits in (2, 8):
        for make in (LinearGradient, DoReFaGradient):
            np.testing.assert_array_equal(make(kind(bits)).quantize(x), make(bits).quantize(x))


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (
            lambda: LinearGradient(1),
            ValueError,
            "bits: expected a whole number from 2 to 16, got 1",
        ),
        (lambda: LinearGradient(17), ValueError, "bits: .*, got 17"),
        (
            lambda: DoReFaGradient(0),
            ValueError,
            "bits: expected a whole number from 1 to 16, got 0",
        ),
        (lambda: DoReFaGradient(2.0), TypeError, "bits: .*, got 2.0"),
        (lambda: LinearGradient(True), TypeError, "bits: .*, got True"),
        (lambda: DoReFaGradient(2).draw((2,), None), TypeError, "rng: .*Generator, got None"),
        (
            lambda: DoReFaGradient(2).quantize(np.ones((2, 3)), np.zeros(3)),
            ValueError,
            r"noise: expected shape \(2, 3\), as x, got \(3,\)",
        ),
        (lambda: LinearGradient(2).quantize(np.arange(3)), TypeError, "x: .* int64"),
        (lambda: LinearGradient(2).encoding, TypeError, "LinearGradient has no fixed grid"),
        (lambda: LinearGradient(2).surrogate(np.ones(2)), TypeError, "LinearGradient has no surr"),
    ],
)
def test_bad_arguments_are_named(call, error, words):
    with pytest.raises(error, match="^" + words):
        call()


# In layers

QUANTIZERS = [
    LogQuant(6, exponent=None),
    LogQuant(3, exponent=None, stochastic=True),
    LinearGradient(3),
    DoReFaGradient(2),
]
CODES = Encoding(1 / 3, -3, 3, 2)


def made_dense(shape, rng, **options):
    return Dense(4, LinearQuant(2), bias=True).build(shape, rng, CODES, **options)


def made_conv(rng, **options):
    layer = Conv2D(4, (3, 2), stride=(2, 1), padding=(1, 0), bias=True, **options)
    return layer.build((5, 4, 3), rng, CODES)


def random_codes(rng, shape):
    return rng.choice([-3, -1, 1, 3], shape).astype(np.float32)


def gradient(rng, shape):
    """Some zeros, and sizes that differ by orders of magnitude."""
    dy = rng.normal(size=shape) * np.exp(3 * rng.normal(size=shape))
    return (dy * (rng.random(shape) < 0.8)).astype(np.float32)


def quantized(q, dy, seed):
    """What the layer must use, with the same draws."""
    return q.quantize(dy, q.draw(dy.shape, np.random.default_rng(seed)))


class Watched(PlainProducts):
    """Remember the gradients that the two backward products get."""

    def __init__(self):
        self.seen = []

    def input_gradient(self, dy, w):
        self.seen.append(dy)
        return super().input_gradient(dy, w)

    def weight_gradient(self, x, dy, signs=False):
        self.seen.append(dy)
        return super().weight_gradient(x, dy, signs)


@pytest.mark.parametrize("q", QUANTIZERS, ids=repr)
@pytest.mark.parametrize("shape", [(5,), (2, 5)], ids=["rows", "sequences"])
def test_both_products_of_a_dense_layer_see_the_quantized_gradient(shape, q):
    rng = np.random.default_rng(0)
    layer = made_dense(shape, rng)
    layer.gradient_quantizer, layer.products = q, Watched()
    x, dy = random_codes(rng, (6, *shape)), gradient(rng, (6, *shape[:-1], 4))
    layer.forward(x, training=True)
    layer.rng = np.random.default_rng(9)
    before = dy.copy()
    dx = layer.backward(dy)
    rounded = quantized(q, dy, 9)
    assert (rounded != dy).any()
    rows, d = x.reshape(-1, 5), rounded.reshape(-1, 4)
    ds = d * np.float32(1 / 3)
    assert_same(layer.weight.grad, rows.T @ ds)
    assert_same(layer.bias.grad, d.sum(axis=0))
    assert_same(dx, ((ds @ layer.weight.codes.T) * np.float32(1 / 3)).reshape(x.shape))
    np.testing.assert_array_equal(dy, before)
    assert len(layer.products.seen) == 2
    for seen in layer.products.seen:
        assert_same(seen, ds)


@pytest.mark.parametrize("q", QUANTIZERS, ids=repr)
@pytest.mark.parametrize("one_padding", [False, True])
def test_both_products_of_a_convolution_see_the_quantized_gradient(one_padding, q):
    rng = np.random.default_rng(1)
    layer = made_conv(rng, weight_quantizer=LinearQuant(2), one_padding=one_padding)
    layer.gradient_quantizer, layer.products = q, Watched()
    x, dy = random_codes(rng, (6, 5, 4, 3)), gradient(rng, (6, 3, 3, 4))
    layer.forward(x, training=True)
    layer.rng = np.random.default_rng(9)
    before = dy.copy()
    dx = layer.backward(dy)
    rounded = quantized(q, dy, 9)
    assert (rounded != dy).any()
    ds = (rounded * np.float32(1 / 3)).reshape(-1, 4)
    padded = pad_images(x, (1, 0), 3 if one_padding else 0)
    view = windows(padded, (3, 2), (2, 1))
    matrix = layer.weight.codes.reshape(-1, 4)
    assert_same(layer.weight.grad, (view.reshape(-1, 18).T @ ds).reshape(3, 2, 3, 4))
    assert_same(layer.bias.grad, rounded.sum(axis=(0, 1, 2)))
    summed = add_windows((ds @ matrix.T).reshape(view.shape), padded.shape, (2, 1))
    assert_same(dx, summed[:, 1:-1] * np.float32(1 / 3))
    np.testing.assert_array_equal(dy, before)
    for seen in layer.products.seen:
        assert_same(seen, ds)


@pytest.mark.parametrize("kind", ["dense", "conv"])
def test_the_backward_pass_is_that_of_the_quantized_gradient(kind):
    """The same as an ordinary layer that is given the rounded gradient; None is ordinary."""
    q = LinearGradient(3)
    results = []
    for quantizer, round_first in ((q, False), (None, True), (None, False)):
        rng = np.random.default_rng(2)
        layer = made_dense((5,), rng) if kind == "dense" else made_conv(rng)
        layer.gradient_quantizer = quantizer
        x = random_codes(rng, (6, *layer.input_shape))
        dy = gradient(rng, layer.forward(x, training=True).shape)
        dx = layer.backward(q.quantize(dy) if round_first else dy)
        results.append((dx, layer.weight.grad, layer.bias.grad))
    for inside, outside, plain in zip(*results, strict=True):
        assert_same(inside, outside)
        assert (inside != plain).any()


def test_dorefa_takes_the_range_of_each_image():
    rng = np.random.default_rng(3)
    layer = Conv2D(2, 1).build((2, 2, 3), rng)
    layer.gradient_quantizer = DoReFaGradient(4)
    dy = gradient(rng, (3, 2, 2, 2)) * np.float32([1, 100, 1e-4])[:, None, None, None]
    rounded = layer.quantized_gradient(dy)
    np.testing.assert_allclose(
        np.abs(rounded).max(axis=(1, 2, 3)), np.abs(dy).max(axis=(1, 2, 3)), rtol=1e-6
    )


# In networks


def made_network(seed=0, dtype=np.float32):
    layers = [
        *(Pixels(), Conv2D(6, 3, padding=1), MaxPool2D(), BatchNorm(), Quantize(LinearQuant(2))),
        Branches([Conv2D(3, 1), BatchNorm(), Quantize()], [Conv2D(2, 1), BatchNorm(), Quantize()]),
        Auxiliary([Flatten(), Dense(3)], 0.3),
        *(Flatten(), Dense(7, LinearQuant(2)), ShiftBatchNorm(), Quantize(StochasticSign())),
        *(Dense(3), BatchNorm()),
    ]
    return Sequential(layers, (4, 4, 1), np.random.default_rng(seed), dtype)


def data(seed=1, examples=12):
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (examples, 4, 4, 1), dtype=np.uint8)
    return images, rng.integers(0, 3, examples)


def test_quantize_gradients_reaches_every_product_and_none_switches_it_off():
    network = made_network()
    q = LogQuant(6, exponent=None)
    network.quantize_gradients(q)
    found = {n: la.gradient_quantizer for n, la in network.walk() if hasattr(la, "products")}
    assert len(found) == 6
    assert all(quantizer is q for quantizer in found.values())
    network.quantize_gradients(None)
    assert all(la.gradient_quantizer is None for _, la in network.walk() if hasattr(la, "products"))
    assert Dense(3).gradient_quantizer is None


@pytest.mark.parametrize(
    "q", [LogQuant(4, exponent=None), LogQuant(4, None, True), LinearGradient(4)], ids=repr
)
def test_latent_weights_and_batch_norm_gradients_stay_real(q):
    plain, network = made_small(), made_small()
    network.quantize_gradients(q)
    before = network.arrays()
    for one in (plain, network):
        images, labels = data()
        scores = one.forward(images, training=True)
        one.backward(squared_hinge(scores, labels)[1])
    ours, theirs = network.parameters(), plain.parameters()
    # Above the last product nothing differs; below it the products got other gradients.
    for name in ("6.BatchNorm.gain", "6.BatchNorm.shift"):
        assert_same(ours[name].grad, theirs[name].grad)
    for name in ("5.Dense.weight", "3.BatchNorm.gain", "2.Dense.weight"):
        assert (ours[name].grad != theirs[name].grad).any(), name
    for name in ("3.BatchNorm.gain", "3.BatchNorm.shift"):
        grad = ours[name].grad
        assert (q.quantize(grad) != grad).any(), name
    SGD(0.01).step(ours)
    for name, parameter in ours.items():
        step = np.float32(0.01) * parameter.grad * np.float32(parameter.learning_rate_scale)
        bound = parameter.bound
        np.testing.assert_allclose(
            parameter.latent, np.clip(before[name] - step, -bound, bound), rtol=1e-5, atol=1e-7
        )
    weight = ours["2.Dense.weight"].latent
    assert len(np.unique(np.abs(weight))) > 0.5 * weight.size


def made_small():
    layers = [Pixels(), Flatten(), Dense(9), BatchNorm(), Quantize(LinearQuant(2)), Dense(3)]
    return Sequential([*layers, BatchNorm()], (4, 4, 1), np.random.default_rng(0))


@pytest.mark.parametrize("q", QUANTIZERS, ids=repr)
def test_a_network_trains_with_it(q):
    """Fewer errors of the loss after some epochs, and another result than without."""
    images, labels = data(examples=24)
    found = []
    for quantizer in (q, q, None):
        network = made_network()
        network.quantize_gradients(quantizer)
        run = train(
            Run(network, Adam(0.01), np.random.default_rng(5)),
            images,
            labels,
            (images, labels),
            loss=squared_hinge,
            epochs=4,
            batch_size=8,
            schedule=lambda epoch: 0.01,
        )
        losses = [entry["loss"] for entry in run.history]
        assert losses[-1] < losses[0]
        found.append(network.arrays())
    same, again, plain = found
    for name, array in same.items():
        np.testing.assert_array_equal(array, again[name])
    assert any((array != plain[name]).any() for name, array in same.items())


def test_the_stochastic_form_draws_from_the_layers_generator():
    rng = np.random.default_rng(4)
    layer = Dense(3).build((5,), rng)
    layer.gradient_quantizer = q = LogQuant(3, None, stochastic=True)
    layer.forward(rng.normal(size=(4, 5)).astype(np.float32), training=True)
    dy = rng.normal(size=(4, 3)).astype(np.float32)
    state = rng.bit_generator.state
    layer.backward(dy)
    first = layer.weight.grad
    assert rng.bit_generator.state != state
    layer.backward(dy)
    assert (layer.weight.grad != first).any()
    rng.bit_generator.state = state
    layer.backward(dy)
    np.testing.assert_array_equal(layer.weight.grad, first)
    layer.gradient_quantizer = LogQuant(3, None)
    state = rng.bit_generator.state
    layer.backward(dy)
    assert rng.bit_generator.state == state
    layer.rng = None
    layer.gradient_quantizer = q
    with pytest.raises(TypeError, match=r"^rng: a stochastic LogQuant draws"):
        layer.backward(dy)


def test_a_gradient_that_is_not_finite_is_refused():
    layer = Dense(2).build((3,), np.random.default_rng(0))
    layer.gradient_quantizer = LogQuant(6, exponent=None)
    layer.forward(np.ones((1, 3), np.float32), training=True)
    with pytest.raises(ValueError, match=r"^x: expected finite numbers"):
        layer.backward(np.array([[1, np.inf]], np.float32))


@pytest.mark.parametrize("q", QUANTIZERS, ids=repr)
def test_the_checker_switches_it_off_on_its_copy_only(q):
    """What is quantized is no function's gradient; the caller's network stays as it was."""
    network = made_small()
    network.quantize_gradients(q)
    images, labels = data(examples=7)
    state = network.rng.bit_generator.state
    report = check_gradients(
        network, images, labels=labels, loss=squared_hinge, rng=np.random.default_rng(0)
    )
    assert report, str(report)
    assert all(la.gradient_quantizer is q for _, la in network.walk() if isinstance(la, Dense))
    assert network.rng.bit_generator.state == state
    layer = network.layers[5]
    report = check_gradients(layer, np.ones((2, 9)) / 3, rng=np.random.default_rng(0), mode="full")
    assert report, str(report)
    assert layer.gradient_quantizer is q


def test_zeros_have_the_scale_of_whole_numbers():
    codes, scale = LinearGradient(4).encode(np.zeros((2, 3)))
    assert scale == 1.0
    np.testing.assert_array_equal(codes, np.zeros((2, 3)))
    codes, scales = DoReFaGradient(4).encode_rows(np.array([[0.0, 0.0], [0.0, 2.0]]))
    np.testing.assert_array_equal(scales, [[1 / 15], [2 / 15]])
    np.testing.assert_array_equal(codes[0], [0, 0])
