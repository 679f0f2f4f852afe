"""Windows as rows, and back to the image: exercises 6.1 and 6.2."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from qnn_ref._typing import Array, Pair, Shape
from qnn_ref.course.exercise import Case, Exercise, Wrong
from qnn_ref.geometry import add_windows, output_size, windows


def window_rows(image: Array, kernel: Pair, stride: Pair) -> Array:
    """The right answer to 6.1: the package's own, written out."""
    return windows(image[None], kernel, stride).reshape(-1, kernel[0] * kernel[1] * image.shape[2])


def _image(high: int, wide: int, channels: int = 1) -> Array:
    """1, 2, 3, ... in the order of reading."""
    return np.arange(1, high * wide * channels + 1).reshape(high, wide, channels)


def _row_cases(rng: np.random.Generator) -> Iterator[Case]:
    yield _image(1, 1), (1, 1), (1, 1)
    yield _image(2, 2), (2, 2), (1, 1)
    yield _image(1, 3), (1, 2), (1, 1)
    yield _image(3, 1), (2, 1), (1, 1)
    yield _image(2, 3), (2, 2), (1, 1)
    yield _image(2, 2, 2), (2, 2), (1, 1)
    yield _image(1, 4), (1, 2), (1, 2)
    yield _image(1, 5), (1, 2), (1, 2)
    yield _image(3, 3), (2, 2), (1, 1)
    yield _image(4, 4), (2, 2), (2, 1)
    yield _image(5, 7), (2, 3), (1, 1)
    yield _image(6, 6), (3, 3), (2, 2)
    for size, kernel, stride in (
        ((5, 7, 3), (2, 3), (1, 1)),
        ((6, 6, 2), (3, 3), (2, 2)),
        ((8, 5, 4), (3, 2), (1, 2)),
        ((7, 7, 1), (5, 5), (2, 1)),
    ):
        yield rng.integers(-9, 10, size), kernel, stride


def _places(image: Shape, kernel: Pair, stride: Pair) -> Pair:
    return output_size((image[0], image[1]), kernel, stride, (0, 0))


def _one_more(image: Array, kernel: Pair, stride: Pair) -> Array:
    """As if the image went on with zeros."""
    high, wide = _places(image.shape, kernel, stride)
    needed = (high * stride[0] + kernel[0], wide * stride[1] + kernel[1])
    more = [(0, max(0, needed[i] - image.shape[i])) for i in (0, 1)]
    return window_rows(np.pad(image, (*more, (0, 0))), kernel, stride)


def _one_less(image: Array, kernel: Pair, stride: Pair) -> Array:
    """As with a loop over range(0, n - k, stride)."""
    high, wide = (range(0, image.shape[i] - kernel[i], stride[i]) for i in (0, 1))
    rows = [image[i : i + kernel[0], j : j + kernel[1]].ravel() for i in high for j in wide]
    return np.array(rows)


def _channels_first(image: Array, kernel: Pair, stride: Pair) -> Array:
    every = windows(image[None], kernel, stride)
    return every.transpose(0, 1, 2, 5, 3, 4).reshape(-1, every[0, 0, 0].size)


def _taps_by_column(image: Array, kernel: Pair, stride: Pair) -> Array:
    every = windows(image[None], kernel, stride)
    return every.transpose(0, 1, 2, 4, 3, 5).reshape(-1, every[0, 0, 0].size)


def _places_by_column(image: Array, kernel: Pair, stride: Pair) -> Array:
    every = windows(image[None], kernel, stride)
    return every.transpose(0, 2, 1, 3, 4, 5).reshape(-1, every[0, 0, 0].size)


def _exchanged(image: Array, kernel: Pair, stride: Pair) -> Array:
    return window_rows(image, kernel[::-1], stride[::-1])


def _flipped(image: Array, kernel: Pair, stride: Pair) -> Array:
    every = windows(image[None], kernel, stride)[:, :, :, ::-1, ::-1]
    return every.reshape(-1, every[0, 0, 0].size)


ROWS = Exercise(
    id="6.1",
    title="Windows as rows",
    name="window_rows",
    task="Return the matrix of all windows of an image (height, width, channels), one a row, in "
    "the order of reading; kernel and stride are pairs, rows first.",
    section="section 4.2",
    spec=window_rows,
    cases=_row_cases,
    axes=("", "", ""),
    without=("windows", "sliding_window_view", "as_strided"),
    wrong=(
        Wrong(
            "height and width exchanged",
            _exchanged,
            "Height and width are exchanged: the first number of a pair goes down, the second to "
            "the right.",
        ),
        Wrong(
            "channels outermost",
            _channels_first,
            "Your rows hold channel after channel. The channels of a pixel lie together, "
            "innermost.",
        ),
        Wrong(
            "taps by column",
            _taps_by_column,
            "Inside a window you go down first. The order of reading goes to the right.",
        ),
        Wrong(
            "places by column",
            _places_by_column,
            "Your windows follow each other downwards. The order of reading goes to the right.",
        ),
        Wrong(
            "not written out",
            lambda image, kernel, stride: windows(image[None], kernel, stride)[0].reshape(
                -1, *kernel, image.shape[2]
            ),
            "Your windows are still small images. In a row their numbers stand one after the "
            "other.",
        ),
        Wrong(
            "one window too many",
            _one_more,
            "You have windows that leave the image. The last one ends at its border, or before.",
        ),
        Wrong(
            "one window too few",
            _one_less,
            "The last window of each line is missing, and the last line. A range ends before its "
            "end: n - k is a place too.",
        ),
        Wrong(
            "no stride",
            lambda image, kernel, stride: window_rows(image, kernel, (1, 1)),
            "You do not use stride: from one window to the next it is more than one pixel.",
        ),
        Wrong(
            "stride is the kernel",
            lambda image, kernel, stride: window_rows(image, kernel, kernel),
            "Your windows do not overlap, as those of a pool. The stride says how far the next one "
            "is.",
        ),
        Wrong(
            "kernel flipped",
            _flipped,
            "Your windows are turned by half a circle, as in a convolution of mathematics. Here "
            "nothing is flipped.",
        ),
    ),
    hints=(
        "Where does the window at place (i, j) begin, and how many places are there in each "
        "direction?",
        "Place (i, j) begins at pixel (i stride, j stride); there are (n - k) // stride + 1 places "
        "along an axis.",
        "Two loops over the places; a slice of rows and columns, .ravel(); numpy.array of the "
        "list.",
    ),
)


def add_rows(rows: Array, shape: Shape, kernel: Pair, stride: Pair) -> Array:
    """The right answer to 6.2: the package's own."""
    high, wide = _places(shape, kernel, stride)
    dw = rows.reshape(1, high, wide, *kernel, shape[2])
    return add_windows(dw, (1, *shape), stride)[0]


def _back_cases(rng: np.random.Generator) -> Iterator[Case]:
    for shape, kernel, stride in (
        ((1, 1, 1), (1, 1), (1, 1)),
        ((1, 2, 1), (1, 2), (1, 1)),
        ((1, 3, 1), (1, 2), (1, 1)),
        ((3, 1, 1), (2, 1), (1, 1)),
        ((1, 3, 1), (1, 2), (1, 2)),
        ((1, 4, 1), (1, 2), (1, 2)),
        ((2, 2, 2), (2, 2), (1, 1)),
        ((5, 5, 1), (3, 3), (1, 1)),
        ((6, 6, 1), (3, 3), (2, 2)),
    ):
        count = np.prod(_places(shape, kernel, stride))
        yield np.ones((count, kernel[0] * kernel[1] * shape[2])), shape, kernel, stride
    yield np.array([[1.0, 2.0, 3.0, 4.0]]), (1, 2, 2), (1, 2), (1, 1)
    for shape, kernel, stride in (
        ((2, 3, 1), (2, 2), (1, 1)),
        ((5, 7, 3), (2, 3), (1, 1)),
        ((6, 6, 2), (3, 3), (2, 2)),
        ((8, 5, 4), (3, 2), (1, 2)),
    ):
        count = np.prod(_places(shape, kernel, stride))
        values = rng.integers(-9, 10, (count, kernel[0] * kernel[1] * shape[2]))
        yield values.astype(float), shape, kernel, stride


def _overwritten(rows: Array, shape: Shape, kernel: Pair, stride: Pair) -> Array:
    dx = np.zeros(shape)
    wide = _places(shape, kernel, stride)[1]
    for place, row in enumerate(rows):
        i, j = (place // wide) * stride[0], (place % wide) * stride[1]
        dx[i : i + kernel[0], j : j + kernel[1]] = row.reshape(*kernel, shape[2])
    return dx


def _mean(rows: Array, shape: Shape, kernel: Pair, stride: Pair) -> Array:
    count = add_rows(np.ones_like(rows), shape, kernel, stride)
    return add_rows(rows, shape, kernel, stride) / np.maximum(count, 1)


def _size_of_output(rows: Array, shape: Shape, kernel: Pair, stride: Pair) -> Array:
    high, wide = _places(shape, kernel, stride)
    size = (high - 1) * stride[0] + kernel[0], (wide - 1) * stride[1] + kernel[1], shape[2]
    return add_rows(rows, size, kernel, stride)


def _unmoved(rows: Array, shape: Shape, kernel: Pair, stride: Pair) -> Array:
    """Places taken for pixels: the stride is forgotten."""
    dx = np.zeros(shape)
    wide = _places(shape, kernel, stride)[1]
    for place, row in enumerate(rows):
        i, j = divmod(place, wide)
        dx[i : i + kernel[0], j : j + kernel[1]] += row.reshape(*kernel, shape[2])
    return dx


def _last_missing(rows: Array, shape: Shape, kernel: Pair, stride: Pair) -> Array:
    """As with a loop over range(0, n - k, stride), each row at its own place."""
    high, wide = _places(shape, kernel, stride)
    kept = rows.reshape(high, wide, -1).copy()
    down, right = (len(range(0, shape[i] - kernel[i], stride[i])) for i in (0, 1))
    kept[down:], kept[:, right:] = 0, 0
    return add_rows(kept.reshape(rows.shape), shape, kernel, stride)


def _back_channels_first(rows: Array, shape: Shape, kernel: Pair, stride: Pair) -> Array:
    turned = rows.reshape(-1, shape[2], *kernel).transpose(0, 2, 3, 1).reshape(rows.shape)
    return add_rows(turned, shape, kernel, stride)


def _back_flipped(rows: Array, shape: Shape, kernel: Pair, stride: Pair) -> Array:
    turned = rows.reshape(-1, *kernel, shape[2])[:, ::-1, ::-1].reshape(rows.shape)
    return add_rows(turned, shape, kernel, stride)


BACK = Exercise(
    id="6.2",
    title="From rows back to the image",
    name="add_rows",
    task="Given the gradients of the rows of 6.1, return that of the image, an array of this "
    "shape (height, width, channels).",
    section="section 4.2, backward",
    spec=add_rows,
    cases=_back_cases,
    axes=("", "", "", ""),
    simplify=("rows",),
    without=("add_windows",),
    wrong=(
        Wrong(
            "overwritten",
            _overwritten,
            "Each window overwrites what the one before it left. A pixel in four windows gets the "
            "sum of four gradients.",
        ),
        Wrong(
            "mean",
            _mean,
            "You divide by the number of windows. By the chain rule contributions add.",
        ),
        Wrong(
            "size from the output",
            _size_of_output,
            "The image is larger than what the windows reach: 6 x 6 with kernel 3 and stride 2 has "
            "a last row and column that no window sees. Their gradient is 0.",
        ),
        Wrong(
            "one window too few",
            _last_missing,
            "The last row and column of windows are missing. A range ends before its end: n - k is "
            "a place too.",
        ),
        Wrong(
            "no stride",
            _unmoved,
            "Your windows lie one pixel apart. The stride says where each of them began.",
        ),
        Wrong(
            "channels outermost",
            _back_channels_first,
            "You read a row as channel after channel. The channels of a pixel lie together.",
        ),
        Wrong(
            "kernel flipped",
            _back_flipped,
            "You turn the windows round on the way back. Each number goes back to the pixel it "
            "came from.",
        ),
    ),
    hints=(
        "Each number of a row belongs to one pixel. What does a pixel get that stands in several "
        "rows?",
        "Begin with zeros of the given shape; for each place add the row, in the form of the "
        "kernel, to the pixels that the window covered.",
        "A loop over the places of 6.1, with += on a slice and row.reshape(kernel height, kernel "
        "width, channels).",
    ),
)
