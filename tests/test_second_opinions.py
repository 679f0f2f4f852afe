"""SciPy's own convolution, pools, softmax and gradient check beside ours: other people's code.

Skipped with a message where SciPy is not installed. PyTorch's and onnxruntime's opinions stand in
files of their own beside this one.
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qnn_ref.layers import AveragePool2D, Conv2D, MaxPool2D
from qnn_ref.losses import softmax_cross_entropy, squared_hinge
from qnn_ref.quantizers import LinearQuant, Sign

reason = "SciPy is not installed"
ndimage = pytest.importorskip("scipy.ndimage", reason=reason)
optimize = pytest.importorskip("scipy.optimize", reason=reason)
signal = pytest.importorskip("scipy.signal", reason=reason)
special = pytest.importorskip("scipy.special", reason=reason)

SEEDS = st.integers(0, 2**32)


def bordered(x, padding):
    """Zeros around each image."""
    (top, left) = padding
    return np.pad(x, ((0, 0), (top, top), (left, left), (0, 0)))


def spread_out(dy, stride, size):
    """Zeros between the places of a stride, as if every place had been visited."""
    dense = np.zeros((len(dy), *size, dy.shape[-1]))
    dense[:, :: stride[0], :: stride[1]][:, : dy.shape[1], : dy.shape[2]] = dy
    return dense


def pairs(least, most):
    """Height and width."""
    return st.tuples(st.integers(least, most), st.integers(least, most))


@st.composite
def convolutions(draw):
    """A built convolution, its input and a gradient of its output."""
    kernel, stride, padding = draw(pairs(1, 3)), draw(pairs(1, 3)), draw(pairs(0, 2))
    image = draw(st.tuples(st.integers(kernel[0], 7), st.integers(kernel[1], 7)))
    channels, units, batch = (draw(st.integers(1, 3)) for _ in range(3))
    quantizer = draw(st.sampled_from([None, Sign(), LinearQuant(2)]))
    by_bits = draw(st.booleans())  # signs in float32: where the geometry allows, bits do the work
    rng = np.random.default_rng(draw(SEEDS))
    layer = Conv2D(units, kernel, stride=stride, padding=padding, weight_quantizer=quantizer)
    dtype, encoding = (np.float32, Sign().encoding) if by_bits else (np.float64, None)
    layer.build((*image, channels), rng, encoding, dtype)
    x = rng.normal(size=(batch, *image, channels)).astype(dtype)
    dy = rng.normal(size=(batch, *layer.output_shape((*image, channels)))).astype(dtype)
    return layer, Sign().quantize(x) if by_bits else x, dy


@given(convolutions())
def test_convolution_and_both_of_its_gradients(case):
    layer, x, dy = case
    w, padded = layer.weight.quantized, bordered(x, layer.padding)
    places = [n - k + 1 for n, k in zip(padded.shape[1:3], layer.kernel, strict=True)]
    every = spread_out(dy, layer.stride, places)
    y, dx, dw = np.zeros((len(x), *places, layer.units)), np.zeros(padded.shape), np.zeros(w.shape)
    for image in range(len(x)):
        for c in range(w.shape[2]):
            for n in range(w.shape[3]):
                plane, taps = padded[image, :, :, c], w[:, :, c, n]
                y[image, :, :, n] += signal.correlate2d(plane, taps, "valid")
                dx[image, :, :, c] += signal.convolve2d(every[image, :, :, n], taps)
                dw[:, :, c, n] += signal.correlate2d(plane, every[image, :, :, n], "valid")
    strided = y[:, :: layer.stride[0], :: layer.stride[1]]
    rounding = 2000 * np.finfo(x.dtype).eps  # of sums of at most 200 numbers of about 1
    np.testing.assert_allclose(layer.forward(x, training=True), strided, rtol=0, atol=rounding)
    (top, left), (high, wide) = layer.padding, x.shape[1:3]
    inside = dx[:, top : top + high, left : left + wide]
    np.testing.assert_allclose(layer.backward(dy), inside, rtol=0, atol=rounding)
    np.testing.assert_allclose(layer.weight.grad, dw, rtol=0, atol=rounding)


@given(SEEDS, st.integers(1, 3), st.integers(1, 3))
def test_pools(seed, size, stride):
    """Filters at every place, of which the pools take those of their stride."""
    x = np.random.default_rng(seed).normal(size=(2, 7, 6, 2))
    first, last = size // 2, (size - 1) // 2  # where a window's middle may lie
    places = np.s_[:, first : 7 - last : stride, first : 6 - last : stride]
    largest = ndimage.maximum_filter(x, (1, size, size, 1))[places]
    pool = MaxPool2D(size, stride).build(x.shape[1:], dtype=np.float64)
    np.testing.assert_array_equal(pool.forward(x), largest)
    mean = ndimage.uniform_filter(x, (1, size, size, 1))[places]
    pool = AveragePool2D(size, stride).build(x.shape[1:], dtype=np.float64)
    np.testing.assert_allclose(pool.forward(x), mean, rtol=0, atol=1e-14)


@given(SEEDS, st.sampled_from([1.0, 30.0, 1e4]))
def test_softmax(seed, size):
    rng = np.random.default_rng(seed)
    scores, labels = size * rng.normal(size=(5, 4)), rng.integers(0, 4, 5)
    loss, gradient = softmax_cross_entropy(scores, labels)
    log_p = special.log_softmax(scores, axis=1)
    assert loss == pytest.approx(-log_p[np.arange(5), labels].mean(), rel=1e-13)
    expected = (special.softmax(scores, axis=1) - np.eye(4)[labels]) / 5
    np.testing.assert_allclose(gradient, expected, rtol=0, atol=1e-14)


@given(SEEDS)
def test_gradient_of_the_squared_hinge(seed):
    rng = np.random.default_rng(seed)
    scores, labels = rng.normal(size=(5, 4)), rng.integers(0, 4, 5)

    def part(which):
        return lambda flat: np.ravel(squared_hinge(flat.reshape(5, 4), labels)[which])

    def value(flat):
        return float(part(0)(flat)[0])

    assert optimize.check_grad(value, part(1), scores.ravel()) < 1e-6
