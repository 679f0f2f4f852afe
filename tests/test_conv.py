"""Convolution layer: the definition, its geometry, both gradients, exact integers, memory."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qnn_ref.checking import check_gradients
from qnn_ref.geometry import pad_images
from qnn_ref.layers import Conv2D, Dense, Pixels
from qnn_ref.products import plain
from qnn_ref.quantizers import Encoding, LinearQuant
from tests.test_geometry import geometries


def by_the_definition(x, w, stride, padding, border):
    """Sums in plain loops, float64: (batch, height, width, units)."""
    batch, high, wide, channels = x.shape
    kh, kw, _, units = w.shape
    padded = np.full((batch, high + 2 * padding[0], wide + 2 * padding[1], channels), float(border))
    padded[:, padding[0] : padding[0] + high, padding[1] : padding[1] + wide] = x
    rows = range(0, padded.shape[1] - kh + 1, stride[0])
    columns = range(0, padded.shape[2] - kw + 1, stride[1])
    out = np.zeros((batch, len(rows), len(columns), units))
    for i, top in enumerate(rows):
        for j, left in enumerate(columns):
            patch = padded[:, top : top + kh, left : left + kw]
            out[:, i, j] = np.einsum("buvc,uvcn->bn", patch, w)
    return out


@pytest.mark.parametrize("unit", [1.0, 2.0, 0.25])
@pytest.mark.parametrize("quantizer", [None, LinearQuant(2), LinearQuant(2, high=6.0)], ids=repr)
def test_gradients_of_codes_are_in_units_of_their_scale(unit, quantizer):
    """Weights and inputs in units of 1, of 2, and of others: as a layer of real numbers."""
    rng = np.random.default_rng(0)
    layer = Conv2D(3, 2, weight_quantizer=quantizer).build(
        (4, 4, 2), rng, Encoding(unit, -7, 7, 2), np.float64
    )
    x = rng.choice(np.arange(-7.0, 8, 2), (2, 4, 4, 2))
    plain = Conv2D(3, 2, weight_quantizer=None).build((4, 4, 2), rng, dtype=np.float64)
    plain.weight.assign(layer.weight.quantized)
    y = layer.forward(x, training=True)
    np.testing.assert_allclose(plain.forward(unit * x, training=True), y, atol=1e-12)
    dy = rng.normal(size=y.shape)
    np.testing.assert_allclose(layer.backward(dy), unit * plain.backward(dy), atol=1e-12)
    np.testing.assert_allclose(layer.weight.grad, plain.weight.grad, atol=1e-12)


def built(image, kernel, stride, padding, rng, channels=2, **options):
    layer = Conv2D(3, kernel, stride=stride, padding=padding, **options)
    return layer.build((*image, channels), rng, dtype=np.float64)


@given(geometries(), st.integers(1, 4), st.booleans(), st.integers(0, 99))
def test_forward_is_the_definition(geometry, channels, one_padding, seed):
    rng = np.random.default_rng(seed)
    image, _, stride, padding = geometry
    layer = built(*geometry, rng, channels, one_padding=one_padding, bias=True)
    layer.bias.assign(rng.normal(size=3))
    x = rng.normal(size=(2, *image, channels))
    expected = by_the_definition(x, layer.weight.quantized, stride, padding, int(one_padding))
    y = layer.forward(x)
    assert y.shape[1:] == layer.output_shape((*image, channels))
    np.testing.assert_allclose(y, expected + layer.bias.latent, rtol=0, atol=1e-12)


@given(geometries(), st.booleans(), st.integers(0, 99))
def test_backward_is_the_transpose_of_forward(geometry, one_padding, seed):
    """<dy, conv(x, w)> is linear in w, and in x inside the border: so the gradients follow."""
    rng = np.random.default_rng(seed)
    image, _, stride, padding = geometry
    layer = built(*geometry, rng, weight_quantizer=None, one_padding=one_padding, bias=True)
    x = rng.normal(size=(2, *image, 2))
    dy = rng.normal(size=layer.forward(x, training=True).shape)
    dx = layer.backward(dy)
    w = layer.weight.latent
    v, u = rng.normal(size=x.shape), rng.normal(size=w.shape)
    along_x = np.vdot(dy, by_the_definition(v, w, stride, padding, 0))
    along_w = np.vdot(dy, by_the_definition(x, u, stride, padding, int(one_padding)))
    assert dx.shape == x.shape
    assert np.vdot(dx, v) == pytest.approx(along_x, rel=1e-10, abs=1e-10)
    assert np.vdot(layer.weight.grad, u) == pytest.approx(along_w, rel=1e-10, abs=1e-10)
    np.testing.assert_allclose(layer.bias.grad, np.einsum("bijn->n", dy), atol=1e-12)


@given(geometries(), st.booleans(), st.integers(0, 99))
@settings(max_examples=10)
def test_the_gradient_check_passes_for_any_geometry(geometry, one_padding, seed):
    rng = np.random.default_rng(seed)
    layer = built(*geometry, rng, one_padding=one_padding, bias=True)
    check_gradients(layer, rng.normal(size=(2, *geometry[0], 2)), rng=rng).raise_if_failed()


def test_zeros_around_an_image_of_ones():
    """The nine sums of a 3x3 kernel of ones, and what +-1 around the image would give."""
    layer = Conv2D(1, 3, padding=1).build((3, 3, 1), np.random.default_rng(0))
    layer.weight.assign(np.full((3, 3, 1, 1), 0.5))
    x = np.ones((1, 3, 3, 1), np.float32)
    assert layer.forward(x)[0, :, :, 0].tolist() == [[4, 6, 4], [6, 9, 6], [4, 6, 4]]
    layer.one_padding = True
    assert (layer.forward(x) == 9).all()
    plain = Conv2D(1, 3).build((5, 5, 1), np.random.default_rng(0))
    plain.weight.assign(layer.weight.latent)
    y = plain.forward(pad_images(x, (1, 1), -1))
    assert y[0, :, :, 0].tolist() == [[-1, 3, -1], [3, 9, 3], [-1, 3, -1]]


def test_pixels_that_no_window_reaches_have_no_gradient():
    layer = Conv2D(1, 3, stride=2, weight_quantizer=None)
    layer.build((6, 6, 1), np.random.default_rng(0), dtype=np.float64)
    layer.weight.assign(np.ones((3, 3, 1, 1)))
    x = np.arange(36.0).reshape(1, 6, 6, 1)
    y = layer.forward(x, training=True)
    assert y[0, :, :, 0].tolist() == [[63, 81], [171, 189]]
    dx = layer.backward(np.ones_like(y))[0, :, :, 0]
    line = np.array([1, 1, 2, 1, 1, 0])
    assert (dx == np.outer(line, line)).all()
    assert layer.weight.grad[:, :, 0, 0].tolist() == [[28, 32, 36], [52, 56, 60], [76, 80, 84]]


def test_height_and_width_are_not_swapped():
    layer = Conv2D(1, (2, 3), weight_quantizer=None)
    layer.build((5, 7, 1), np.random.default_rng(0), dtype=np.float64)
    layer.weight.assign(np.arange(6.0).reshape(2, 3, 1, 1))
    y = layer.forward(np.arange(35.0).reshape(1, 5, 7, 1), training=True)
    assert y.shape == (1, 4, 5, 1)
    assert y[0, 0, :, 0].tolist() == [103, 118, 133, 148, 163]
    assert y[0, -1, :, 0].tolist() == [418, 433, 448, 463, 478]
    dx = layer.backward(np.ones_like(y))
    assert layer.weight.grad[:, :, 0, 0].tolist() == [[250, 270, 290], [390, 410, 430]]
    assert dx[0, 1, :, 0].tolist() == [3, 8, 15, 15, 15, 12, 7]


def test_codes_of_pixels_give_exact_integers_and_the_scale_comes_afterwards():
    rng = np.random.default_rng(1)
    encoding = Pixels().output_encoding(None)
    layer = Conv2D(4, 3, padding=1).build((9, 9, 5), rng, encoding, np.float32)
    codes = (2.0 * rng.integers(0, 256, (3, 9, 9, 5)) - 255).astype(np.float32)
    sums = by_the_definition(codes, layer.weight.quantized, (1, 1), (1, 1), 0)
    y = layer.forward(codes, training=True)
    assert (y == sums.astype(np.float32) * np.float32(1 / 255)).all()
    dy = rng.normal(size=y.shape).astype(np.float32)
    dx = layer.backward(dy)
    plain = Conv2D(4, 3, padding=1).build((9, 9, 5), rng, None, np.float64)
    plain.weight.assign(layer.weight.latent)
    plain.forward(codes.astype(np.float64), training=True)
    dx_plain = plain.backward(dy.astype(np.float64)) / 255
    np.testing.assert_allclose(dx, dx_plain, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(layer.weight.grad, plain.weight.grad / 255, rtol=1e-4, atol=1e-4)


def test_sums_beyond_the_whole_numbers_of_float32_are_rounded_once():
    rng, encoding = np.random.default_rng(7), Pixels().output_encoding(None)
    layer = Conv2D(3, 1).build((2, 1, 2**18), rng, encoding)
    layer.weight.assign(np.ones(layer.weight.shape))
    x = rng.choice(np.array([253, 255], np.float32), (2, 2, 1, 2**18))  # about 4 times 2^24
    exact = x.sum(axis=-1, keepdims=True, dtype=np.int64).repeat(3, axis=-1)
    expected = exact.astype(np.float32) * np.float32(1 / 255)
    np.testing.assert_array_equal(layer.forward(x), expected)


@pytest.mark.parametrize("one_padding", [False, True])
def test_codes_of_weights_have_a_scale_too(one_padding):
    """Against a float layer that has the weights' values, on the values of the input."""
    rng, pixels = np.random.default_rng(8), Pixels().output_encoding(None)
    options = {"padding": 1, "one_padding": one_padding, "bias": True}
    layer = Conv2D(4, (2, 3), weight_quantizer=LinearQuant(2), **options)
    layer.build((4, 5, 2), rng, pixels, np.float64)
    plain = Conv2D(4, (2, 3), weight_quantizer=None, **options)
    plain.build((4, 5, 2), rng, dtype=np.float64)
    plain.weight.assign(layer.weight.quantized)
    codes = 2.0 * rng.integers(0, 256, (3, 4, 5, 2)) - 255
    y = layer.forward(codes, training=True)
    np.testing.assert_allclose(y, plain.forward(codes / 255, training=True), atol=1e-12)
    dy = rng.normal(size=y.shape)
    # The gradient of codes is that of values times the value of one code.
    np.testing.assert_allclose(layer.backward(dy), plain.backward(dy) / 255, atol=1e-14)
    np.testing.assert_allclose(layer.weight.grad, plain.weight.grad, atol=1e-12)
    np.testing.assert_allclose(layer.bias.grad, plain.bias.grad, atol=1e-12)


def test_the_largest_code_stands_outside_with_one_padding():
    encoding = Pixels().output_encoding(None)
    layer = Conv2D(1, 3, padding=1, one_padding=True)
    layer.build((1, 1, 1), np.random.default_rng(0), encoding)
    layer.weight.assign(np.ones((3, 3, 1, 1)))
    y = layer.forward(np.full((1, 1, 1, 1), -255, np.float32))
    assert y.item() == np.float32(7 * 255) * np.float32(1 / 255)


def test_windows_written_out_for_some_images_at_a_time_change_nothing(monkeypatch):
    rng = np.random.default_rng(2)
    layer = Conv2D(3, 3, padding=1).build((5, 4, 2), rng, dtype=np.float64)
    x, dy = rng.integers(-3, 4, (7, 5, 4, 2)).astype(float), rng.integers(-3, 4, (7, 5, 4, 3))
    results = []
    for size in (2**25, 1, 3 * 5 * 4 * 18 * 8):
        monkeypatch.setattr(plain, "WINDOW_BYTES", size)
        y = layer.forward(x, training=True)
        results.append((y, layer.backward(dy.astype(float)), layer.weight.grad.copy()))
    for other in results[1:]:
        assert all((a == b).all() for a, b in zip(results[0], other, strict=True))


def test_only_some_windows_are_written_out_at_a_time(monkeypatch):
    rng = np.random.default_rng(4)
    layer = Conv2D(4, 5, padding=2).build((24, 24, 8), rng)
    x = rng.normal(size=(20, 24, 24, 8)).astype(np.float32)
    image = 24 * 24 * 25 * 8 * 4  # bytes of the windows of one image; x has a 25th
    peaks = {}
    for parts in (1, 20):
        monkeypatch.setattr(plain, "WINDOW_BYTES", 20 * image // parts)
        tracemalloc.start()
        y = layer.forward(x, training=True)
        layer.backward(y)
        peaks[parts] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peaks[1] > 20 * image
    assert peaks[20] < 5 * image + 6 * x.nbytes


def test_the_same_input_gives_the_same_bits_again():
    rng = np.random.default_rng(5)
    layer = Conv2D(3, 3, padding=1, bias=True).build((6, 5, 4), rng)
    x, dy = (rng.normal(size=(4, 6, 5, n)).astype(np.float32) for n in (4, 3))

    def once():
        y, dx = layer.forward(x, training=True), layer.backward(dy)
        return [a.tobytes() for a in (y, dx, layer.weight.grad, layer.bias.grad)]

    first = once()
    assert all(once() == first for _ in range(20))


def test_a_kernel_of_one_pixel_is_a_dense_layer_at_each_place():
    rng = np.random.default_rng(6)
    conv = Conv2D(3, 1, bias=True).build((4, 5, 2), rng, dtype=np.float64)
    dense = Dense(3, bias=True).build((4, 5, 2), rng, dtype=np.float64)
    dense.weight.assign(conv.weight.latent[0, 0])
    x, dy = rng.normal(size=(3, 4, 5, 2)), rng.normal(size=(3, 4, 5, 3))
    np.testing.assert_allclose(
        conv.forward(x, training=True), dense.forward(x, training=True), rtol=1e-13
    )
    np.testing.assert_allclose(conv.backward(dy), dense.backward(dy), rtol=1e-13, atol=1e-13)
    np.testing.assert_allclose(conv.weight.grad[0, 0], dense.weight.grad, rtol=1e-13, atol=1e-13)
    np.testing.assert_allclose(conv.bias.grad, dense.bias.grad, rtol=1e-13, atol=1e-13)


def test_no_input_gradient_is_made_where_none_is_needed():
    layer = Conv2D(2, 3).build((4, 4, 1), np.random.default_rng(0))
    layer.needs_input_gradient = False
    y = layer.forward(np.ones((1, 4, 4, 1), np.float32), training=True)
    assert layer.backward(y) is None
    assert layer.weight.grad.shape == (3, 3, 1, 2)


def test_weights_start_in_plus_minus_one_with_the_scale_of_all_taps():
    layer = Conv2D(128, 3).build((8, 8, 3), np.random.default_rng(0))
    assert layer.fan_in == 27
    assert layer.weight.learning_rate_scale == pytest.approx(np.sqrt((27 + 1152) / 1.5))
    assert 0.99 < np.abs(layer.weight.latent).max() <= 1
    assert layer.weight.bound == 1
    assert set(np.unique(layer.weight.quantized)) == {-1, 1}
    assert layer.weight.dtype == np.float32
    assert layer.weight.learning_rate_scale == pytest.approx(28.0, abs=0.05)  # the authors' code
    layer = Conv2D(128, 3).build((8, 8, 128), np.random.default_rng(0))
    assert layer.weight.learning_rate_scale == pytest.approx(39.2, abs=0.05)
    layer = Conv2D(128, (2, 4)).build((8, 8, 3), np.random.default_rng(0))
    assert layer.weight.learning_rate_scale == pytest.approx(np.sqrt((24 + 1024) / 1.5))


def test_a_float_layer_starts_in_glorots_range_and_is_not_clipped():
    layer = Conv2D(5, 3, weight_quantizer=None, bias=True).build(
        (4, 4, 7), np.random.default_rng(0)
    )
    largest = np.sqrt(6 / (63 + 45))
    assert 0.95 * largest < np.abs(layer.weight.latent).max() <= largest
    assert (layer.weight.bound, layer.weight.learning_rate_scale) == (np.inf, 1)
    np.testing.assert_array_equal(layer.weight.quantized, layer.weight.latent)
    np.testing.assert_array_equal(layer.bias.latent, np.zeros(5, np.float32))
    assert list(layer.parameters()) == ["weight", "bias"]
    assert list(Conv2D(1).build((3, 3, 1), np.random.default_rng(0)).parameters()) == ["weight"]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_everything_stays_in_the_layers_float_type(dtype):
    encoding = Pixels().output_encoding(None)
    layer = Conv2D(2, 3, padding=1, bias=True)
    layer.build((4, 4, 1), np.random.default_rng(0), encoding, dtype)
    y = layer.forward(np.ones((2, 4, 4, 1), dtype), training=True)
    dx = layer.backward(np.ones_like(y))
    assert y.dtype == dx.dtype == layer.weight.grad.dtype == layer.bias.grad.dtype == dtype


CONV = Conv2D(2, 3).build((4, 5, 1), np.random.default_rng(0))
CONV.forward(np.ones((1, 4, 5, 1), "f"))  # inference keeps nothing for backward
TRAINED = Conv2D(2, 3).build((4, 5, 1), np.random.default_rng(0))
TRAINED.forward(np.ones((1, 4, 5, 1), "f"), training=True)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: Conv2D(1).forward(np.ones((1, 4, 5, 1), "f")), RuntimeError, "not built yet"),
        (lambda: CONV.forward(np.ones((1, 5, 4, 1), "f")), ValueError, r"x: .*\(batch, 4, 5, 1\)"),
        (lambda: CONV.forward(np.ones((4, 5, 1), "f")), ValueError, r"x: .*got \(4, 5, 1\)"),
        (lambda: CONV.forward(np.ones((0, 4, 5, 1), "f")), ValueError, "empty batch"),
        (lambda: CONV.forward(np.ones((1, 4, 5, 1))), TypeError, "x: expected dtype float32"),
        (lambda: CONV.forward([[1.0]]), TypeError, "x: expected a NumPy array, got list"),
        (lambda: CONV.backward(np.ones((1, 2, 3, 2), "f")), RuntimeError, "call forward"),
        (lambda: TRAINED.backward(np.ones((1, 3, 2, 2), "f")), ValueError, "dy: expected shape"),
        (lambda: TRAINED.backward(np.ones((1, 2, 3, 2))), TypeError, "dy: expected dtype float32"),
        (lambda: Conv2D(1).build((4, 5, 1)), TypeError, "rng: Conv2D draws"),
    ],
)
def test_what_cannot_be_convolved_is_refused(call, error, words):
    with pytest.raises(error, match=words):
        call()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: Conv2D(0), "units: expected a whole number from 1"),
        (lambda: Conv2D(1, 0), "kernel: expected one or two whole numbers from 1"),
        (lambda: Conv2D(1, (3, 3, 3)), "kernel: expected one or two"),
        (lambda: Conv2D(1, (3, 3, 3, 3)), "kernel: expected one or two"),
        (lambda: Conv2D(1, (3, 0)), "kernel: expected one or two whole numbers from 1"),
        (lambda: Conv2D(1, 3, stride=0), "stride: expected one or two whole numbers from 1"),
        (lambda: Conv2D(1, 3, padding=-1), "padding: expected one or two whole numbers from 0"),
        (lambda: Conv2D(1, 2.5), "kernel: expected one or two"),
        (lambda: Conv2D(1, 3).build((5,), np.random.default_rng(0)), "input: expected"),
        (
            lambda: Conv2D(1, 5, padding=1).build((2, 9, 1), np.random.default_rng(0)),
            "kernel: 5 x 5 does not fit in an image of 4 x 11",
        ),
        (lambda: Conv2D(1, 3).build((5, 5), np.random.default_rng(0)), "height, width, channels"),
    ],
)
def test_bad_arguments_are_named(call, words):
    with pytest.raises((TypeError, ValueError), match=words):
        call()
