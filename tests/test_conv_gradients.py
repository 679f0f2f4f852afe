"""Gradients of a convolution with signs: equal to the plain ones, tap by tap."""

import numba
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from qnn_ref import products
from qnn_ref.bits import conv_input_gradient, conv_weight_gradient, pack_sign_kernel, xnor_conv
from qnn_ref.bits.conv_gradients import (
    _move_bits,
    conv_input_gradient_reference,
    conv_weight_gradient_reference,
)
from qnn_ref.bits.words import pack
from qnn_ref.layers import Conv2D
from qnn_ref.quantizers import Encoding

LIMIT = 3 if numba.config.DISABLE_JIT else 70


def signs(rng, *shape, dtype=np.float64):
    return rng.choice(np.array([-1, 1], dtype), shape)


def problem(rng, B, image, kernel, padding, C, N, dtype=np.float64):
    """Weights, an input of signs and the gradient of its sums."""
    high, wide = (image[i] + 2 * padding[i] - kernel[i] + 1 for i in (0, 1))
    w, x = signs(rng, *kernel, C, N, dtype=dtype), signs(rng, B, *image, C, dtype=dtype)
    return w, x, rng.normal(size=(B, high, wide, N)).astype(dtype)


@st.composite
def geometries(draw):
    kernel = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    padding = tuple(draw(st.integers(0, k - 1)) for k in kernel)
    image = tuple(
        draw(st.integers(max(1, k - 2 * p), 7)) for k, p in zip(kernel, padding, strict=True)
    )
    return image, kernel, padding


CHANNELS = st.sampled_from([n for n in (1, 2, 3, 5, 15, 16, 17, 64, 65) if n <= LIMIT])


@given(geometries(), st.integers(1, 3), CHANNELS, CHANNELS, st.integers(0, 2**32))
@example(((5, 4), (3, 3), (1, 1)), 2, 3, 5, 0)
@example(((1, 1), (3, 3), (1, 1)), 1, 1, 1, 0)  # only the middle tap is ever inside
@example(((4, 6), (1, 1), (0, 0)), 2, 3, 2, 0)
@example(((4, 5), (2, 4), (1, 0)), 1, 2, 3, 0)
def test_both_gradients_are_their_twins(geometry, B, C, N, seed):
    image, kernel, padding = geometry
    w, x, dy = problem(np.random.default_rng(seed), B, image, kernel, padding, C, N)
    dx = conv_input_gradient(pack_sign_kernel(w), dy, image, padding)
    np.testing.assert_allclose(
        dx, conv_input_gradient_reference(w, dy, image, padding), rtol=0, atol=1e-11
    )
    for border in (0, 1):
        dw = conv_weight_gradient(x, dy, kernel, padding, border)
        expected = conv_weight_gradient_reference(x, dy, kernel, padding, border)
        np.testing.assert_allclose(dw, expected, rtol=0, atol=1e-11)
        # <dy, conv(x, w)> = <dw, w> (and <dx, x> with zeros outside): what makes them gradients.
        words = pack_sign_kernel(w).forward.words
        inner = np.sum(dy * xnor_conv(pack(x), words, C, 1, padding, border))
        np.testing.assert_allclose(np.sum(dw * w), inner, atol=1e-10)
        if border == 0:
            np.testing.assert_allclose(np.sum(dx * x), inner, atol=1e-10)


@pytest.mark.slow_without_jit
def test_whole_numbers_are_exact_and_threads_change_nothing():
    rng = np.random.default_rng(1)
    w, x, dy = problem(rng, 5, (9, 8), (3, 3), (1, 1), 70, 40, np.float32)
    dy = np.round(8 * dy)
    expected = conv_input_gradient_reference(w, dy, (9, 8), (1, 1))
    expected_dw = conv_weight_gradient_reference(x, dy, (3, 3), (1, 1))
    threads = numba.get_num_threads()
    try:
        for count in {1, threads}:
            numba.set_num_threads(count)
            dx = conv_input_gradient(pack_sign_kernel(w), dy, (9, 8), (1, 1))
            np.testing.assert_array_equal(dx, expected)
            dw = conv_weight_gradient(x, dy, (3, 3), (1, 1))
            np.testing.assert_array_equal(dw, expected_dw)
            assert dx.dtype == dw.dtype == np.float32
    finally:
        numba.set_num_threads(threads)


@pytest.mark.slow_without_jit
def test_lines_of_several_squares_of_registers():
    """Wide images are turned square by square, of up to 16 numbers a side."""
    rng = np.random.default_rng(4)
    w, _, dy = problem(rng, 2, (2, 37), (1, 1), (0, 0), 19, 35, np.float32)
    dy = np.round(8 * dy)
    dx = conv_input_gradient(pack_sign_kernel(w), dy, (2, 37), (0, 0))
    np.testing.assert_array_equal(dx, conv_input_gradient_reference(w, dy, (2, 37), (0, 0)))


@pytest.mark.slow_without_jit
@pytest.mark.parametrize("padding", [0, 1, (0, 1)], ids=str)
@pytest.mark.parametrize("one_padding", [False, True], ids=["zeros", "ones"])
@pytest.mark.parametrize("bias", [False, True], ids=["no bias", "bias"])
def test_a_layer_on_bits_is_the_layer_on_floats(padding, one_padding, bias):
    """The same sums bit for bit, the same gradients up to rounding; no float weight is made."""
    rng = np.random.default_rng(2)
    layer = Conv2D(70, 3, padding=padding, one_padding=one_padding, bias=bias)
    layer.build((6, 7, 66), rng, Encoding(1.0, -1, 1, 2))
    x = signs(rng, 4, 6, 7, 66, dtype=np.float32)
    found = {}
    for kind in (products.PLAIN, products.BITS):
        layer.products = kind
        y = layer.forward(x, training=True)
        dy = np.random.default_rng(3).normal(size=y.shape).astype(np.float32)
        found[kind] = y, layer.backward(dy), layer.weight.grad
        assert (pack_sign_kernel in layer.weight._made) == (kind is products.BITS)
        if kind is products.PLAIN:
            layer.weight.assign(layer.weight.latent)  # forget the codes
    assert layer.weight._encoded is None
    (y, dx, dw), (y_bits, dx_bits, dw_bits) = found.values()
    np.testing.assert_array_equal(y_bits, y)
    np.testing.assert_allclose(dx_bits, dx, rtol=0, atol=2e-6 * np.abs(dx).max())
    np.testing.assert_allclose(dw_bits, dw, rtol=0, atol=2e-6 * np.abs(dw).max())


@pytest.mark.slow_without_jit
def test_what_does_not_fit_goes_window_by_window():
    rng = np.random.default_rng(4)
    sign = Encoding(1.0, -1, 1, 2)
    for layer, encoding, channels in (
        (Conv2D(70, 3, stride=2), sign, 66),
        (Conv2D(70, 3, padding=3), sign, 66),
        (Conv2D(70, 3), sign.off_grid(), 66),
        (Conv2D(70, 3), None, 66),
        (Conv2D(70, 3), sign, 60),
        (Conv2D(3, 3), sign, 66),
        (Conv2D(70, 3, weight_quantizer=None), sign, 66),
    ):
        layer.build((6, 7, channels), rng, encoding)
        layer.forward(signs(rng, 2, 6, 7, channels, dtype=np.float32), training=True)
        assert pack_sign_kernel not in layer.weight._made


DY = np.zeros((2, 4, 4, 3))
KERNEL = pack_sign_kernel(np.ones((3, 3, 2, 3)))
X = np.ones((2, 4, 4, 2))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: conv_input_gradient(KERNEL, DY[:, :3], (4, 4), (1, 1)), r"dy: .* \(B, 4, 4, 3\)"),
        (lambda: conv_input_gradient(KERNEL, DY[..., :2], (4, 4), (1, 1)), "dy: expected shape"),
        (lambda: conv_input_gradient(KERNEL, DY[0], (4, 4), (1, 1)), "dy: expected shape"),
        (
            lambda: conv_input_gradient(KERNEL, np.zeros((2, 8, 4, 3)), (4, 4), (3, 1)),
            "padding: expected less than the kernel, 3 x 3, got 3, 1",
        ),
        (lambda: conv_weight_gradient(X, DY[:, :3], (3, 3), (1, 1)), "dy: expected shape"),
        (lambda: conv_weight_gradient(X * np.nan, DY, (3, 3), (1, 1)), "x: contains NaN"),
    ],
)
def test_bad_arguments_are_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()


@pytest.mark.parametrize("move", [0, 1, 63, 64, 65, 100, 128, 1000])
def test_moved_bits_end_where_their_column_ends(move):
    """Behind the last word of a column stands that of another: it must not be read.

    The second panel is all ones, so a word too far is seen without leaving the array.
    """
    W, channels = 2, 16
    panels = np.zeros((2, W, 16), np.uint64)
    rng = np.random.default_rng(move)
    panels[0] = rng.integers(0, 2**64, (W, 16), np.uint64)
    panels[1] = ~np.uint64(0)
    moved = np.zeros((1, W, 16), np.uint64)
    _move_bits(panels, np.array([move]), channels, 64 * W, moved)
    for c in range(channels):
        column = sum(int(word) << 64 * w for w, word in enumerate(panels[0, :, c]))
        got = sum(int(word) << 64 * w for w, word in enumerate(moved[0, :, c]))
        assert got == column >> move
