"""Where windows lie: their number, their pixels, and how gradients add up under them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qnn_ref.geometry import (
    FAR,
    add_windows,
    geometry_of,
    output_size,
    pad_images,
    pair,
    taps,
    windows,
)


@st.composite
def geometries(draw):
    """Image, kernel, stride and padding that fit; sides differ, even and odd."""
    kernel = draw(st.tuples(st.integers(1, 3), st.integers(1, 4)))
    stride = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    padding = draw(st.tuples(st.integers(0, 2), st.integers(0, 2)))
    image = tuple(
        draw(st.integers(max(1, k - 2 * p), 6)) for k, p in zip(kernel, padding, strict=True)
    )
    return image, kernel, stride, padding


@given(geometries())
def test_windows_are_a_read_only_view_of_the_pixels_by_their_index(geometry):
    image, kernel, stride, padding = geometry
    x = pad_images(np.arange(2.0 * image[0] * image[1] * 3).reshape(2, *image, 3), padding, -1)
    view = windows(x, kernel, stride)
    assert view.shape == (2, *output_size(image, kernel, stride, padding), *kernel, 3)
    assert np.shares_memory(view, x)
    assert not view.flags.writeable
    for b, i, j, u, v, c in np.ndindex(view.shape):
        assert view[b, i, j, u, v, c] == x[b, stride[0] * i + u, stride[1] * j + v, c]


@given(geometries())
def test_each_pixel_gets_as_many_shares_as_windows_hold_it(geometry):
    image, kernel, stride, padding = geometry
    shape = 1, image[0] + 2 * padding[0], image[1] + 2 * padding[1], 2
    high, wide = output_size(image, kernel, stride, padding)
    count = np.zeros(shape)
    for i in range(high):
        for j in range(wide):
            top, left = stride[0] * i, stride[1] * j
            count[:, top : top + kernel[0], left : left + kernel[1]] += 1
    back = add_windows(np.ones((1, high, wide, *kernel, 2)), shape, stride)
    assert (back == count).all()  # 0 where no window reached


@given(geometries(), st.integers(0, 99))
def test_add_windows_is_the_transpose_of_windows(geometry, seed):
    rng = np.random.default_rng(seed)
    image, kernel, stride, padding = geometry
    x = pad_images(rng.normal(size=(2, *image, 2)), padding, 0)
    view = windows(x, kernel, stride)
    dw = rng.normal(size=view.shape)
    back = add_windows(dw, x.shape, stride)
    assert np.vdot(back, x) == pytest.approx(np.vdot(dw, view), rel=1e-10, abs=1e-10)


def test_one_number_stands_for_height_and_width():
    assert pair("size", 3, 1) == (3, 3)
    assert pair("size", (3, 0), 0) == (3, 0)
    assert pair("size", np.int64(2), 1) == (2, 2)


@given(geometries())
def test_output_size_counts_the_places(geometry):
    image, kernel, stride, padding = geometry
    padded = [n + 2 * p for n, p in zip(image, padding, strict=True)]
    places = [len(range(0, n - k + 1, s)) for n, k, s in zip(padded, kernel, stride, strict=True)]
    assert list(output_size(image, kernel, stride, padding)) == places


@given(geometries())
def test_a_geometry_knows_the_pixel_under_each_tap(where):
    image, kernel, stride, padding = where
    geometry = geometry_of(image, kernel, stride, padding)
    assert geometry.output == output_size(image, kernel, stride, padding)
    x = np.zeros((1, *image, 1))
    x[...] = 1
    inside = windows(pad_images(x, padding, 0), kernel, stride)[0, ..., 0]
    both = geometry.inside(0)[:, None, :, None] & geometry.inside(1)[None, :, None, :]
    np.testing.assert_array_equal(both, inside)
    leaves = ~inside.all(axis=(2, 3)).reshape(-1)
    np.testing.assert_array_equal(geometry.border(), leaves)


@given(geometries())
def test_taps_are_the_windows_place_by_place(where):
    image, kernel, stride, padding = where
    x = pad_images(np.arange(2.0 * image[0] * image[1]).reshape(2, *image, 1), padding, -1)
    view = windows(x, kernel, stride)
    for place, tap in enumerate(taps(x, kernel, stride)):
        np.testing.assert_array_equal(tap, view[..., place // kernel[1], place % kernel[1], :])


@pytest.mark.parametrize("two", [(2, 3), [2, 3], np.array([2, 3]), (np.int8(2), np.uint64(3))])
def test_two_numbers_are_taken_however_they_stand(two):
    found = pair("size", two, 1)
    assert found == (2, 3)
    assert all(type(n) is int for n in found)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: pair("size", "ab", 1), TypeError, "size: expected one or two .* got 'ab'"),
        (lambda: pair("size", (1, 2.0), 1), TypeError, "size: expected one or two"),
        (lambda: pair("size", True, 1), TypeError, "size: expected one or two .* got True"),
        (lambda: pair("size", [2.0, 2.0], 1), TypeError, "size: expected one or two"),
        (lambda: pair("size", (), 1), ValueError, "size: expected one or two"),
        (lambda: pair("size", (1, 2, 3), 1), ValueError, "size: expected one or two"),
        (lambda: pair("size", 0, 1), ValueError, "size: expected one or two .* from 1, got 0"),
        (lambda: pair("size", (0, -1), 0), ValueError, "size: .* from 0"),
        (lambda: pair("size", FAR + 1, 0), ValueError, "size: .* got 2147483648"),
        (lambda: output_size((3, 9), (4, 2), (1, 1), (0, 3)), ValueError, "kernel: .* of 3 x 15"),
        (lambda: output_size((9, 3), (2, 4), (1, 1), (3, 0)), ValueError, "kernel: .* of 15 x 3"),
        (lambda: geometry_of((3, 3), (4, 1), 1, 0), ValueError, "kernel: 4 x 1 does not fit in"),
        (lambda: geometry_of((3, 3), (1, 1), 0, 0), ValueError, "stride: expected one or two"),
        (lambda: geometry_of((3, 3), (1, 1), 1, 2.5), TypeError, "padding: expected one or two"),
        (lambda: geometry_of((3, 3), (1, 1), 1, 10**6), ValueError, "padding: .*2\\^31 windows"),
    ],
)
def test_bad_arguments_are_named(call, error, words):
    with pytest.raises(error, match="^" + words):
        call()
