"""Convolution of bits: equal to its twin and to a plain convolution, at every border."""

import itertools

import numba
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from qnn_ref.bits import (
    KernelPanels,
    conv,
    kernel_words,
    outside_sums,
    pack,
    pack_kernel,
    pixel_planes,
    pixels_conv,
    planes_conv,
    to_kernel_panels,
    to_planes,
    unpack,
    xnor_conv,
    xnor_matmul,
)
from qnn_ref.bits.conv import pixels_conv_reference, planes_conv_reference, xnor_conv_reference
from qnn_ref.grid import PIXELS, SIGNS, Grid

JIT_IS_OFF = bool(numba.config.DISABLE_JIT)

# As in the tests of planes: pixels; +-1; codes without a zero; with one; a number of levels that is
# no power of two, so that `high` is not the code whose bits are all 1; ends of either sign.
GRIDS = [
    PIXELS,
    SIGNS,
    Grid(-3, 3, 2),
    Grid(-12, 12, 2),
    Grid(0, 4, 1),
    Grid(5, 20, 5),
    Grid(-50, -2, 3),
    Grid(-7, 0, 1),
]


def signs(rng, *shape):
    return rng.choice(np.array([-1, 1], np.int8), shape)


def draw(rng, grid, *shape):
    low, high, step = grid
    return low + step * rng.integers(0, (high - low) // step + 1, shape)


def convolve(x, w, stride=1, padding=0, pad=0):
    """Plain convolution in float64, place by place: x (B, H, W, C), w (kh, kw, C, N)."""
    (sh, sw), (ph, pw) = (n if isinstance(n, tuple) else (n, n) for n in (stride, padding))
    border = ((0, 0), (ph, ph), (pw, pw), (0, 0))
    x = np.pad(np.asarray(x, np.float64), border, constant_values=pad)
    kh, kw = w.shape[:2]
    rows = range(0, x.shape[1] - kh + 1, sh)
    columns = range(0, x.shape[2] - kw + 1, sw)
    out = np.zeros((len(x), len(rows), len(columns), w.shape[3]))
    for i, y in enumerate(rows):
        for j, z in enumerate(columns):
            window = x[:, y : y + kh, z : z + kw]
            out[:, i, j] = np.einsum("buvc,uvcn->bn", window, w.astype(np.float64))
    return out


def agree(expected, *results):
    for result in results:
        assert result.dtype == np.int32
        np.testing.assert_array_equal(result, expected)


def check(x, w, stride=1, padding=0, pad=0):
    """All forms of the convolution of +-1 images agree with the plain one."""
    words, kernel, C = pack(x), pack_kernel(w), x.shape[3]
    at = stride, padding, pad
    agree(
        convolve(x, w, *at),
        xnor_conv(words, kernel, C, *at),
        xnor_conv(words, to_kernel_panels(kernel, C), C, *at),
        xnor_conv_reference(words, kernel, C, *at),
    )


def check_planes(codes, w, grid, stride=1, padding=0, pad=0):
    planes, kernel, C = to_planes(codes, grid), pack_kernel(w), codes.shape[3]
    at = stride, padding, pad
    agree(
        convolve(codes, w, stride, padding, grid.high if pad else 0),
        planes_conv(planes, kernel, C, grid, *at),
        planes_conv(planes, to_kernel_panels(kernel, C), C, grid, *at),
        planes_conv_reference(planes, kernel, C, grid, *at),
    )


def check_pixels(images, w, stride=1, padding=0, pad=0):
    kernel, C = pack_kernel(w), images.shape[3]
    at = stride, padding, pad
    agree(
        convolve(2 * images.astype(np.int64) - 255, w, stride, padding, 255 if pad else 0),
        pixels_conv(images, kernel, *at),
        pixels_conv(images, to_kernel_panels(kernel, C), *at),
        pixels_conv_reference(images, kernel, *at),
        planes_conv(pixel_planes(images), kernel, C, PIXELS, *at),
    )


@st.composite
def layers(draw, most_channels=130):
    """Shapes of images and weights that fit: (images, weights, stride, padding, pad_value)."""
    small = JIT_IS_OFF
    kernel = draw(st.tuples(st.integers(1, 2 if small else 4), st.integers(1, 3)))
    padding = draw(st.tuples(st.integers(0, 2), st.integers(0, 2)))
    image = tuple(
        draw(st.integers(max(1, k - 2 * p), 3 if small else 6))
        for k, p in zip(kernel, padding, strict=True)
    )
    channels = [n for n in (1, 2, 3, 63, 64, 65, 127, 130) if n <= most_channels]
    C = draw(st.sampled_from(channels) | st.integers(1, most_channels))
    batch, N = draw(st.integers(0, 2)), draw(st.sampled_from([1, 2, 3, 5, 64, 65]))
    stride = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    return (batch, *image, C), (*kernel, C, N), stride, padding, draw(st.integers(0, 1))


@given(layers(), st.integers(0, 2**32))
@example(layer=((1, 2, 3, 65), (2, 3, 65, 3), (1, 1), (0, 0), 0), seed=0)
@example(layer=((2, 1, 3, 70), (2, 3, 70, 2), (1, 2), (1, 0), 0), seed=0)
@example(layer=((2, 3, 1, 70), (2, 3, 70, 2), (2, 1), (0, 1), 1), seed=0)
def test_convolution_is_its_twin_and_the_plain_one(layer, seed):
    images, weights, *at = layer
    rng = np.random.default_rng(seed)
    check(signs(rng, *images), signs(rng, *weights), *at)


@given(layers(most_channels=70), st.sampled_from(GRIDS), st.integers(0, 2**32))
@example(layer=((1, 1, 1, 1), (3, 3, 1, 2), 1, 1, 0), grid=Grid(0, 4, 1), seed=0)
@example(layer=((1, 1, 1, 1), (3, 3, 1, 2), 1, 1, 1), grid=Grid(0, 4, 1), seed=0)
@example(layer=((1, 2, 2, 65), (3, 3, 65, 2), 1, 1, 0), grid=Grid(-50, -2, 3), seed=0)
def test_integers_are_their_twin_and_the_plain_one(layer, grid, seed):
    images, weights, *at = layer
    rng = np.random.default_rng(seed)
    check_planes(draw(rng, grid, *images), signs(rng, *weights), grid, *at)


@given(layers(most_channels=16), st.integers(0, 2**32))
@example(layer=((1, 3, 4, 3), (3, 3, 3, 2), 1, 1, 0), seed=0)
@example(layer=((2, 3, 4, 1), (2, 2, 1, 65), 2, 1, 1), seed=0)
def test_pixels_are_their_twin_the_planes_and_the_plain_one(layer, seed):
    images, weights, *at = layer
    rng = np.random.default_rng(seed)
    pixels = rng.choice(np.array([0, 1, 127, 128, 254, 255, *rng.integers(0, 256, 9)]), images)
    check_pixels(pixels.astype(np.uint8), signs(rng, *weights), *at)


@pytest.mark.slow_without_jit
@pytest.mark.parametrize("kernel", [(1, 1), (2, 2), (3, 3), (2, 3), (5, 5)], ids=str)
@pytest.mark.parametrize("C", [1, 3, 63, 64, 65, 130])
def test_every_stride_and_padding(C, kernel):
    rng = np.random.default_rng(C)
    x, w = signs(rng, 2, 5, 7, C), signs(rng, *kernel, C, 3)
    pixels = rng.integers(0, 256, x.shape).astype(np.uint8)
    for at in itertools.product([1, 2, 3], [0, 1, 2], [0, 1]):
        check(x, w, *at)
        check_pixels(pixels, w, *at)


@pytest.mark.parametrize("image", [(1, 1), (1, 2), (2, 1), (0, 2), (2, 0), (0, 0)], ids=str)
def test_images_smaller_than_the_kernel(image):
    """Padding makes room for it, even around an image of no pixels: all taps are outside then."""
    rng = np.random.default_rng(0)
    x, w = signs(rng, 1, *image, 65), signs(rng, 3, 4, 65, 2)
    for pad in (0, 1):
        check(x, w, 1, 2, pad)
        check_pixels(np.zeros((1, *image, 2), np.uint8), w[:, :, :2], 1, 2, pad)


ONES = np.ones((1, 3, 3, 1), np.int8)
CORNERS = np.array([[4, 6, 4], [6, 9, 6], [4, 6, 4]])


@pytest.mark.parametrize("sign", [1, -1])
def test_zero_padding_counts_nothing_and_one_padding_plus_one(sign):
    x, w = pack(sign * ONES), pack_kernel(np.ones((3, 3, 1, 1)))
    for function in (xnor_conv, xnor_conv_reference):
        assert (function(x, w, 1, 1, 1)[0, ..., 0] == sign * CORNERS).all()
        ones = function(x, w, 1, 1, 1, 1)[0, ..., 0]
        assert (ones == sign * CORNERS + (9 - CORNERS)).all()


def test_a_zero_around_pixels_is_the_integer_0_and_not_the_pixel_0():
    w = pack_kernel(np.ones((3, 3, 1, 1)))
    for pixel, code in ((0, -255), (127, -1), (128, 1), (255, 255)):
        images = np.full((1, 3, 3, 1), pixel, np.uint8)
        for function in (pixels_conv, pixels_conv_reference):
            assert (function(images, w, 1, 1)[0, ..., 0] == code * CORNERS).all()


@pytest.mark.parametrize("C", [1, 2, 63, 64, 65, 100, 127, 128, 129, 192, 1000, 1192])
def test_all_equal_and_all_opposite(C):
    """Sums as large as they get: no narrow counter, no padding bit counted as an element."""
    up, down = np.ones((1, 2, 3, C), np.int8), np.full((1, 2, 3, C), -1, np.int8)
    for x, w in itertools.product((up, down), repeat=2):
        kernel = pack_kernel(w[0, ..., None])
        assert xnor_conv(pack(x), kernel, C).tolist() == [[[[6 * C * int(x.flat[0] * w.flat[0])]]]]


def test_last_pixels_that_no_window_reaches():
    """6 x 6 at stride 2: the last row and column count nowhere."""
    x = np.arange(36).reshape(1, 6, 6, 1)
    w = pack_kernel(np.ones((3, 3, 1, 1)))
    result = planes_conv(to_planes(x, Grid(0, 35, 1)), w, 1, Grid(0, 35, 1), stride=2)
    assert result[0, ..., 0].tolist() == [[63, 81], [171, 189]]
    assert pixels_conv(x.astype(np.uint8), w, 2)[0, ..., 0].tolist() == [
        [2 * s - 9 * 255 for s in row] for row in ([63, 81], [171, 189])
    ]


def test_height_and_width_are_not_swapped():
    """5 x 7 image, 2 x 3 kernel 0, 1, ..., 5: its weights as three bit planes and a constant."""
    x, w = np.arange(35).reshape(1, 5, 7, 1), np.arange(6).reshape(2, 3, 1, 1)
    signs_of_bits = [2 * (w >> a & 1) - 1 for a in range(3)]
    kernel = pack_kernel(np.concatenate([*signs_of_bits, np.ones_like(w)], axis=3))
    sums = planes_conv(to_planes(x, Grid(0, 34, 1)), kernel, 1, Grid(0, 34, 1))[0]
    result = sum(2**a * (sums[..., a] + sums[..., 3]) // 2 for a in range(3))
    assert result.shape == (4, 5)
    assert result[0].tolist() == [103, 118, 133, 148, 163]
    assert result[3].tolist() == [418, 433, 448, 463, 478]


def test_one_tap_is_the_matrix_product():
    rng = np.random.default_rng(1)
    x, w = pack(signs(rng, 2, 3, 4, 70)), pack_kernel(signs(rng, 1, 1, 70, 5))
    product = xnor_matmul(x.reshape(24, 2), w.reshape(5, 2), 70)
    np.testing.assert_array_equal(xnor_conv(x, w, 70).reshape(24, 5), product)
    pixels = rng.integers(0, 256, (2, 3, 4, 70)).astype(np.uint8)
    agree(
        convolve(2 * pixels.astype(np.int64) - 255, unpack(w, 70).transpose(1, 2, 3, 0), 1, 0, 0),
        pixels_conv(pixels, w),
        pixels_conv_reference(pixels, w),
    )


@given(layers(most_channels=70), st.integers(0, 2**32), st.data())
def test_flipping_one_pixel_moves_the_windows_that_hold_it(layer, seed, data):
    """Index by index: out[i, j] moves by 2 w[u, v] where i sh + u - ph is the pixel's row."""
    (_, H, W, C), weights, stride, padding, pad = layer
    rng = np.random.default_rng(seed)
    x, w = signs(rng, 1, H, W, C), signs(rng, *weights)
    y, z = data.draw(st.integers(0, H - 1)), data.draw(st.integers(0, W - 1))
    c = data.draw(st.integers(0, C - 1))
    at = pack_kernel(w), C, stride, padding, pad
    before = xnor_conv(pack(x), *at)
    change = np.zeros_like(before)
    for i, j in np.ndindex(before.shape[1:3]):
        u, v = y + padding[0] - i * stride[0], z + padding[1] - j * stride[1]
        if 0 <= u < weights[0] and 0 <= v < weights[1]:
            change[0, i, j] = -2 * x[0, y, z, c] * w[u, v, c]
    x[0, y, z, c] *= -1
    np.testing.assert_array_equal(xnor_conv(pack(x), *at) - before, change)


@given(layers(), st.integers(0, 2**32))
def test_outside_sums_are_a_border_of_ones(layer, seed):
    (_, H, W, C), weights, stride, padding, _ = layer
    w = signs(np.random.default_rng(seed), *weights)
    result = outside_sums(pack_kernel(w), C, (H, W), stride, padding)
    agree(convolve(np.zeros((1, H, W, C)), w, stride, padding, 1)[0], result)


def test_kernels_are_packed_along_the_channels():
    w = signs(np.random.default_rng(2), 2, 3, 65, 4)
    words = pack_kernel(w)
    assert words.shape == (4, 2, 3, 2)
    np.testing.assert_array_equal(unpack(words, 65), w.transpose(3, 0, 1, 2))
    np.testing.assert_array_equal(pack_kernel((w * 0.3).tolist()), words)


def test_nothing_gives_nothing():
    empty = np.empty((0, 3, 4, 65), np.int8)
    w = signs(np.random.default_rng(3), 3, 3, 65, 2)
    check(empty, w, 1, 1)
    check_pixels(empty.astype(np.uint8), w, 1, 1)
    check_planes(empty, w, GRID, 1, 1)
    assert xnor_conv(pack(empty), pack_kernel(w), 65, 1, 1).shape == (0, 3, 4, 2)
    full = np.ones((2, 3, 4, 65), np.int8)
    check(full, w[..., :0], 1, 1)
    check_pixels(full.astype(np.uint8), w[..., :0], 1, 1)
    check(full[..., :0], w[:, :, :0], 1, 1)
    check_pixels(full[..., :0].astype(np.uint8), w[:, :, :0], 1, 1)


def test_windows_written_out_in_parts_change_nothing(monkeypatch):
    """Memory for windows is bounded, down to blocks of 64 windows, here 6 words each."""
    rng, grid = np.random.default_rng(4), Grid(0, 4, 1)
    x, w = signs(rng, 3, 7, 8, 3), signs(rng, 3, 2, 3, 2)  # 3 x 7 x 9 = 189 windows
    codes = draw(rng, grid, *x.shape)
    pixels = rng.integers(0, 256, x.shape).astype(np.uint8)
    words, kernel, planes = pack(x), pack_kernel(w), to_planes(codes, grid)
    gather, parts = conv._gather, []
    monkeypatch.setattr(conv, "_gather", lambda *a: parts.append(a[-1].shape[1]) or gather(*a))
    block = 64 * 6 * 8
    for size, of_bits, of_three_planes, of_bytes in (
        (2**30, [189], [189], [189]),
        (2 * block, [128, 61], [64, 64, 61], [189]),
        (2 * block - 1, [64, 64, 61], [64, 64, 61], [189]),
        (1, [64, 64, 61], [64, 64, 61], [64, 64, 61]),
    ):
        monkeypatch.setattr(conv, "ROWS_BYTES", size)
        parts.clear()
        agree(convolve(x, w, 1, 1), xnor_conv(words, kernel, 3, 1, 1))
        assert parts == of_bits
        agree(convolve(codes, w, 1, 1), planes_conv(planes, kernel, 3, grid, 1, 1))
        assert parts == of_bits + of_three_planes
        expected = convolve(2.0 * pixels - 255, w, 1, 1)
        agree(expected, pixels_conv(pixels, kernel, 1, 1))
        assert parts == of_bits + of_three_planes + of_bytes


def test_prepared_weights_serve_many_geometries_and_kinds(monkeypatch):
    """They keep few tables, the right one for each geometry, and no view of the caller's words."""
    monkeypatch.setattr(kernel_words, "TABLES", 2)
    rng = np.random.default_rng(6)
    w = signs(rng, 2, 3, 3, 2)
    words = pack_kernel(w)
    kernel = to_kernel_panels(words, 3)
    words[:] = 0
    geometries = [((3, 4), 1, 1), ((4, 3), 1, 1), ((3, 4), (1, 2), 1), ((3, 4), (2, 1), (1, 2))]
    for image, *at in geometries + geometries[::-1]:
        x = signs(rng, 1, *image, 3)
        agree(convolve(x, w, *at), xnor_conv(pack(x), kernel, 3, *at))
        agree(
            255 * convolve(x, w, *at),
            pixels_conv((255 * (x > 0)).astype(np.uint8), kernel, *at),
            planes_conv(pack(x)[None], kernel, 3, Grid(-255, 255, 510), *at),
        )
        assert 0 < len(kernel._tables) <= 2
    assert isinstance(kernel, KernelPanels)
    assert kernel == kernel
    assert kernel != to_kernel_panels(pack_kernel(w), 3)


def test_views_and_read_only_operands():
    rng = np.random.default_rng(7)
    x, w = pack(signs(rng, 4, 4, 6, 65)), pack_kernel(signs(rng, 2, 3, 65, 6))
    pixels = rng.integers(0, 256, (4, 4, 6, 6)).astype(np.uint8)
    few = pack_kernel(signs(rng, 2, 3, 3, 2))
    expected = xnor_conv_reference(x[::-2, :, ::2], w[1::2], 65, 1, 1)
    from_pixels = pixels_conv_reference(pixels[::2, :, :, ::2], few, 1, 1)
    x.flags.writeable = w.flags.writeable = pixels.flags.writeable = False
    agree(expected, xnor_conv(x[::-2, :, ::2], w[1::2], 65, 1, 1))
    agree(expected, xnor_conv(np.asfortranarray(x[::-2, :, ::2]), w[1::2], 65, 1, 1))
    agree(from_pixels, pixels_conv(pixels[::2, :, :, ::2], few, 1, 1))


def test_out_is_filled_and_returned():
    rng = np.random.default_rng(8)
    x, w = signs(rng, 2, 3, 4, 3), signs(rng, 3, 3, 3, 5)
    words, kernel, pixels = pack(x), pack_kernel(w), (255 * (x > 0)).astype(np.uint8)
    planes = to_planes(x, SIGNS)
    for factor, function, arguments in (
        (1, xnor_conv, (words, kernel, 3)),
        (1, planes_conv, (planes, kernel, 3, SIGNS)),
        (255, pixels_conv, (pixels, kernel)),
    ):
        out = np.full((2, 3, 4, 5), 99, np.int32)
        assert function(*arguments, padding=1, out=out) is out
        agree(factor * convolve(x, w, 1, 1), out, function(*arguments, padding=1))


def test_number_of_threads_does_not_matter():
    """Windows overlap, but every element of the result belongs to one iteration."""
    rng = np.random.default_rng(9)
    x, w = signs(rng, 3, 6, 6, 3), signs(rng, 3, 3, 3, 5)
    words, kernel = pack(x), to_kernel_panels(pack_kernel(w), 3)
    pixels = (255 * (x > 0)).astype(np.uint8)
    expected = convolve(x, w, 1, 1)
    before = numba.get_num_threads()
    try:
        for threads in (1, min(2, numba.config.NUMBA_NUM_THREADS)):
            numba.set_num_threads(threads)
            for _ in range(1 if JIT_IS_OFF else 20):
                agree(expected, xnor_conv(words, kernel, 3, 1, 1))
                agree(255 * expected, pixels_conv(pixels, kernel, 1, 1))
    finally:
        numba.set_num_threads(before)


@pytest.mark.slow_without_jit
def test_many_windows_and_outputs():
    rng = np.random.default_rng(10)
    check(signs(rng, 5, 17, 19, 65), signs(rng, 3, 3, 65, 130), 1, 1)
    check_pixels(rng.integers(0, 256, (5, 17, 19, 3)).astype("u1"), signs(rng, 3, 3, 3, 600), 1, 1)


@pytest.mark.slow_without_jit
def test_torch_agrees():
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(11)
    for C, kernel, stride, padding in (
        (65, (3, 3), (1, 1), (1, 1)),
        (3, (2, 5), (2, 1), (0, 2)),
        (130, (5, 4), (3, 2), (2, 1)),
    ):
        x, w = signs(rng, 2, 9, 8, C), signs(rng, *kernel, C, 7)
        expected = torch.nn.functional.conv2d(
            torch.from_numpy(x.transpose(0, 3, 1, 2).astype(np.float64)),
            torch.from_numpy(w.transpose(3, 2, 0, 1).astype(np.float64)),
            stride=stride,
            padding=padding,
        )
        expected = expected.numpy().transpose(0, 2, 3, 1)
        agree(expected, xnor_conv(pack(x), pack_kernel(w), C, stride, padding))


@pytest.mark.slow_without_jit
def test_kernels_are_compiled_for_words_and_bytes_only():
    """Read-only or not, one number or two: no third compilation, which takes seconds."""
    rng = np.random.default_rng(12)
    x, w = signs(rng, 1, 3, 4, 3), pack_kernel(signs(rng, 3, 3, 3, 2))
    words = pack(x)
    pixels = x.astype(np.uint8)
    for _ in range(2):
        xnor_conv(words, w, 3, 1, 1)
        xnor_conv(words[:, ::2], to_kernel_panels(w, 3), np.int64(3), (1, 2), [np.int8(2), 1])
        pixels_conv(pixels[:, ::-1], w, 1, 1, out=np.empty((1, 3, 4, 2), np.int32))
        words.flags.writeable = pixels.flags.writeable = False
    assert len(conv._gather.compiled.signatures) == 2
    assert len(conv._subtract_outside.compiled.signatures) == 1


def test_the_largest_sums():
    """kh kw C max|code| may reach 2^31 - 1, and the border comes off without wrapping."""
    high = (2**31 - 1) // 3
    assert 3 * high > 2**31 - 3
    w = np.array([[1, -1], [1, -1], [1, 1]]).reshape(1, 3, 1, 2)
    for ends in ((0, high, 1), (-high, high, 1), (-high, 1 - high, 1), (-high, high, 2 * high)):
        grid = Grid(*ends)
        for code in ends[:2]:
            codes = np.full((1, 1, 4, 1), code)
            check_planes(codes, w, grid, 1, (0, 1))
            check_planes(codes, w, grid, 1, (0, 1), 1)


def test_sums_beyond_int32_are_refused():
    grid = Grid(0, 2**28, 2**28)
    planes = to_planes(np.zeros((1, 2, 4, 1)), grid)
    with pytest.raises(ValueError, match=r"^w: sums of 8 products of up to 268435456 do not fit"):
        planes_conv(planes, pack_kernel(np.ones((2, 4, 1, 1))), 1, grid)
    wide = np.lib.stride_tricks.as_strided(np.zeros(1, np.uint64), (1, 2**10, 2**11, 16), (0,) * 4)
    for call in (
        lambda: xnor_conv(np.empty((0, 2**10, 2**11, 16), np.uint64), wide, 1024),
        lambda: outside_sums(wide, 1024, (2**10, 2**11)),
    ):
        with pytest.raises(
            ValueError, match=r"^w: sums of 2147483648 products of up to 1 do not fit"
        ):
            call()
    few = np.zeros((0, 2**10, 2**11, 1), np.uint64)
    with pytest.raises(ValueError, match=r"^w: sums of 4194304 products of up to 1020 do not fit"):
        pixels_conv(np.zeros((0, 2**10, 2**11, 2), np.uint8), few)


X = np.zeros((2, 4, 5, 2), np.uint64)
W = np.zeros((3, 3, 2, 2), np.uint64)
DIRTY = np.full((1, 3, 2, 2), 2**63, np.uint64)
PLANES = np.zeros((2, 2, 4, 5, 2), np.uint64)
GRID = Grid(-3, 3, 2)
IMAGES = np.zeros((2, 4, 5, 70), np.uint8)
PREPARED = to_kernel_panels(W, 70)
LOCKED = np.empty((2, 2, 4, 3), np.int32)
LOCKED.flags.writeable = False


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: xnor_conv(X.view("i8"), W, 70), TypeError, "x: expected dtype uint64, got int64"),
        (lambda: xnor_conv([[1], 2], W, 70), TypeError, "x: expected an array .* got list"),
        (lambda: xnor_conv(X, W.view("i8"), 70), TypeError, "w: expected dtype uint64, got int64"),
        (lambda: xnor_conv(X, None, 70), TypeError, "w: expected an array .* got NoneType"),
        (lambda: xnor_conv(X[0], W, 70), ValueError, r"x: .* \(B, H, W, 2\) for 70 .* \(4, 5, 2\)"),
        (lambda: xnor_conv(X[..., :1], W, 70), ValueError, r"x: .* \(B, H, W, 2\) for 70 channels"),
        (lambda: xnor_conv(X, W[0], 70), ValueError, r"w: expected shape \(N, kh, kw, 2\)"),
        (lambda: xnor_conv(X, W[..., :1], 70), ValueError, r"w: .* \(N, kh, kw, 2\) for 70"),
        (lambda: xnor_conv(X, W[:, :0], 70), ValueError, "w: .* at least 1 x 1 taps, got 0 x 2"),
        (lambda: xnor_conv(X, W[:, :, :0], 70), ValueError, "w: .* 1 x 1 taps, got 3 x 0"),
        (lambda: xnor_conv(X, W, 64), ValueError, r"x: expected shape \(B, H, W, 1\)"),
        (lambda: xnor_conv(X, W, 129), ValueError, r"x: expected shape \(B, H, W, 3\)"),
        (
            lambda: xnor_conv(X, W, -1),
            ValueError,
            "C: expected .* least 0, got -1",
        ),
        (lambda: xnor_conv(X, W, 70.0), TypeError, "C: expected a whole .* got 70.0"),
        (lambda: xnor_conv(DIRTY, W, 70), ValueError, "x: a padding bit beyond K = 70 is set"),
        (lambda: xnor_conv(X, DIRTY, 70), ValueError, "w: a padding bit beyond K = 70 is set"),
        (lambda: xnor_conv(X, PREPARED, 71), ValueError, "w: .* weights of 71 channels, got 70"),
        (
            lambda: xnor_conv(X, W, 70, 0),
            ValueError,
            "stride: expected .* from 1, got ",
        ),
        (
            lambda: xnor_conv(X, W, 70, (1, 0)),
            ValueError,
            "stride: expected .* from 1, got ",
        ),
        (
            lambda: xnor_conv(X, W, 70, 1.5),
            TypeError,
            "stride: expected one or two whole .* got 1.5",
        ),
        (lambda: xnor_conv(X, W, 70, (1, 1, 1)), ValueError, "stride: expected one or two"),
        (
            lambda: xnor_conv(X, W, 70, 1, -1),
            ValueError,
            "padding: expected .* from 0, got -1",
        ),
        (
            lambda: xnor_conv(X, W, 70, 1, (0, -1)),
            ValueError,
            "padding: expected .* from 0",
        ),
        (
            lambda: xnor_conv(X, W, 70, 1, "1"),
            TypeError,
            "padding: expected one or two .* got '1'",
        ),
        (
            lambda: xnor_conv(X, W, 70, 1, 1, 2),
            ValueError,
            "pad_value: expected a whole number from 0 to 1, got 2",
        ),
        (
            lambda: xnor_conv(X, W, 70, 1, 1, -1),
            ValueError,
            "pad_value: expected a whole number from 0 to 1, got -1",
        ),
        (
            lambda: xnor_conv(X[:, :2], W, 70),
            ValueError,
            "kernel: 3 x 2 does not fit in an image of 2 x 5",
        ),
        (
            lambda: xnor_conv(X[:, :, :1], np.zeros((1, 3, 4, 2), np.uint64), 70, 1, 1),
            ValueError,
            "kernel: 3 x 4 does not fit in an image of 6 x 3",
        ),
        (
            lambda: xnor_conv(X, W, 70, out=np.empty((2, 2, 4, 4), np.int32)),
            ValueError,
            r"out: expected shape \(2, 2, 4, 3\), got \(2, 2, 4, 4\)",
        ),
        (
            lambda: xnor_conv(X, W, 70, out=np.empty((2, 2, 4, 3), np.int64)),
            TypeError,
            "out: expected an array of int32, got int64",
        ),
        (
            lambda: xnor_conv(X, W, 70, out=np.empty((3, 4, 2, 2), np.int32).T),
            ValueError,
            "out: expected a C-contiguous",
        ),
        (lambda: xnor_conv(X, W, 70, out=LOCKED), ValueError, "out: .* can be written to"),
        (lambda: planes_conv(X, W, 70, GRID), ValueError, r"planes: expected shape \(P, B, H, W"),
        (
            lambda: planes_conv(PLANES[:1], W, 70, GRID),
            ValueError,
            "planes: expected 2 planes for -3, -1, ..., 3, got 1",
        ),
        (lambda: planes_conv(PLANES, W, 70, (-3, 3, 2)), TypeError, "grid: expected .* of Grid"),
        (
            lambda: planes_conv(PLANES, W, 70, GRID, 0),
            ValueError,
            "stride: expected .* from 1",
        ),
        (
            lambda: planes_conv(PLANES, W, 70, GRID, 1, 1, 3),
            ValueError,
            "pad_value: expected a whole",
        ),
        (lambda: planes_conv(PLANES, DIRTY, 70, GRID), ValueError, "w: a padding bit"),
        (lambda: pixels_conv(IMAGES / 255, W), TypeError, "images: .* of uint8, got float64"),
        (lambda: pixels_conv([[1]], W), TypeError, "images: expected an array .* got list"),
        (lambda: pixels_conv(IMAGES[0], W), ValueError, r"images: expected shape \(B, H, W, C\)"),
        (lambda: pixels_conv_reference(IMAGES[0], W), ValueError, r"images: .* \(B, H, W, C\)"),
        (lambda: pixels_conv(IMAGES[..., :3], W), ValueError, "w: .* for 3 channels, got"),
        (lambda: pixels_conv(IMAGES[..., :3], PREPARED), ValueError, "w: .* of 3 channels, got 70"),
        (
            lambda: pixels_conv(IMAGES, W, 1, 1, 255),
            ValueError,
            "pad_value: expected a whole number from 0 to 1",
        ),
        (
            lambda: pixels_conv(IMAGES, W, 1, -1),
            ValueError,
            "padding: expected .* from 0",
        ),
        (
            lambda: pixels_conv(IMAGES, W, out=np.empty((2, 2, 4), np.int32)),
            ValueError,
            r"out: expected shape \(2, 2, 4, 3\), got \(2, 2, 4\)",
        ),
        (lambda: outside_sums(W, 70, (2, 2)), ValueError, "kernel: .* an image of 2 x 2"),
        (lambda: outside_sums(W, 70, (4, 5, 6)), ValueError, "image: expected one or two"),
        (
            lambda: outside_sums(W, 70, (-1, 5)),
            ValueError,
            "image: expected .* from 0, got ",
        ),
        (lambda: outside_sums(W, 71 + 64, (4, 5)), ValueError, "w: .* for 135 channels"),
        (lambda: pack_kernel(np.ones((3, 3, 2))), ValueError, r"codes: .* \(kh, kw, C, N\), got"),
    ],
)
def test_bad_arguments_are_named(call, error, words):
    with pytest.raises(error, match="^" + words):
        call()
