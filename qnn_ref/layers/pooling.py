"""Pooling: the largest, or the mean, of the numbers in each window of each channel."""

# mypy: allow-untyped-defs

from __future__ import annotations

import math
from types import MappingProxyType
from typing import Any

import numpy as np

from qnn_ref._typing import Array, Pair, Shape
from qnn_ref.bits.operands import read_only
from qnn_ref.checks import FLOATS, check_array, whole
from qnn_ref.compiled import parallel_kernel, prange
from qnn_ref.geometry import output_size, pad_images, pair, taps
from qnn_ref.layers.base import Layer
from qnn_ref.quantizers import Encoding

PLACES = 2**16
"""Places of a window at most: a winner is kept in 16 bits."""


def _windows_of(shape: Shape, size: Pair, stride: Pair) -> Shape:
    """Check a geometry; give the shape of what has a number for each window and channel."""
    kh, kw = pair("size", size, 1)
    if kh * kw > PLACES:
        raise ValueError(f"size: expected at most 65,536 places in a window, got {size}")
    pair("stride", stride, 1)
    batch, high, wide, channels = shape
    return (batch, *output_size((high, wide), size, stride, (0, 0)), channels)


def _check_images(padded: Array) -> None:
    check_array("padded", padded, FLOATS, ("batch", "height", "width", "channels"))


def _check_winners(winners: Array, shape: Shape, size: Pair) -> None:
    """Refuse places that are in no window: compiled code would read, or add, elsewhere."""
    check_array("winners", winners, (np.dtype(np.uint16),), shape)
    if winners.max(initial=0) >= size[0] * size[1]:
        raise ValueError(
            f"winners: expected places below {size[0]} x {size[1]}, got {winners.max()}"
        )


def find_winners_reference(padded: Array, size: Pair, stride: Pair) -> Array:
    """Which place of each window is the largest, in NumPy: the twin of `find_winners`.

    Parameters, Returns: as `find_winners`.
    """
    _check_images(padded)
    _windows_of(padded.shape, size, stride)
    return np.argmax(taps(padded, size, stride), axis=0).astype(np.uint16)


@parallel_kernel
def _find_winners(padded, kh, kw, down, right, winners):
    batch, high, wide, channels = winners.shape
    for b in prange(batch):
        best = np.empty(channels, padded.dtype)
        for i in range(high):
            for j in range(wide):
                best[:] = padded[b, i * down, j * right]
                winner = winners[b, i, j]
                winner[:] = 0
                for place in range(1, kh * kw):
                    x = padded[b, i * down + place // kw, j * right + place % kw]
                    for c in range(channels):
                        # "Not at most", and not after a NaN: the first NaN wins, as in argmax.
                        if (not x[c] <= best[c]) & (best[c] == best[c]):
                            best[c] = x[c]
                            winner[c] = place


def find_winners(padded: Array, size: Pair, stride: Pair) -> Array:
    r"""Which place of each window is the largest.

    :math:`\mathrm{winner}[b,i,j,c] = \arg\max_{(u,v)} x[b, s_h i + u, s_w j + v, c]`

    Parameters
    ----------
    padded : array (batch, height, width, channels)
        Images with their border.
    size, stride : pair of int

    Returns
    -------
    array (batch, out_height, out_width, channels) of uint16
        From 0 in the order of reading; of equals the first, and a NaN before all numbers.

    Raises
    ------
    TypeError
        If `padded` is no array of float32 or float64.
    ValueError
        If it has not four axes, or the windows do not fit in it.

    References
    ----------
    Section 4.2, max pooling; the tie rule is ours.
    """
    _check_images(padded)
    winners = np.empty(_windows_of(padded.shape, size, stride), np.uint16)
    _find_winners(read_only(padded), *map(int, (*size, *stride)), winners)
    return winners


def take_winners_reference(padded: Array, winners: Array, size: Pair, stride: Pair) -> Array:
    """Values at the winning places, in NumPy: the twin of `take_winners`.

    Parameters, Returns: as `take_winners`.
    """
    _check_images(padded)
    _check_winners(winners, _windows_of(padded.shape, size, stride), size)
    b, i, j, c = np.ogrid[tuple(map(slice, winners.shape))]
    rows = stride[0] * i + winners // size[1]
    return padded[b, rows, stride[1] * j + winners % size[1], c]


@parallel_kernel
def _take_winners(padded, winners, kw, down, right, y):
    batch, high, wide, channels = winners.shape
    for b in prange(batch):
        for i in range(high):
            for j in range(wide):
                for c in range(channels):
                    place = np.intp(winners[b, i, j, c])
                    y[b, i, j, c] = padded[b, i * down + place // kw, j * right + place % kw, c]


def take_winners(padded: Array, winners: Array, size: Pair, stride: Pair) -> Array:
    r"""Values at the winning places: :math:`y = \max_{(u,v)} x[b, s_h i + u, s_w j + v, c]`.

    Parameters
    ----------
    padded : array (batch, height, width, channels)
    winners : array (batch, out_height, out_width, channels) of uint16
        As `find_winners` gives them.
    size, stride : pair of int

    Returns
    -------
    array, the shape of `winners` and the dtype of `padded`

    Raises
    ------
    TypeError, ValueError
        As `find_winners`; also if the winners are not those of such images and windows.

    References
    ----------
    Section 4.2, max pooling.
    """
    _check_images(padded)
    _check_winners(winners, _windows_of(padded.shape, size, stride), size)
    y = np.empty(winners.shape, padded.dtype)
    _take_winners(read_only(padded), read_only(winners), *map(int, (size[1], *stride)), y)
    return y


def _check_gradient(dy: Array, winners: Array, shape: Shape, size: Pair, stride: Pair) -> None:
    if not isinstance(shape, tuple) or len(shape) != 4:
        raise ValueError(f"shape: expected (batch, height, width, channels), got {shape}")
    sizes = tuple(whole("shape", n, 0) for n in shape)
    check_array("dy", dy, FLOATS, _windows_of(sizes, size, stride))
    _check_winners(winners, dy.shape, size)


def give_winners_reference(
    dy: Array, winners: Array, shape: Shape, size: Pair, stride: Pair
) -> Array:
    """Gradient of max pooling, in NumPy: the twin of `give_winners`.

    Parameters, Returns: as `give_winners`.
    """
    _check_gradient(dy, winners, shape, size, stride)
    dx = np.zeros(shape, dy.dtype)
    b, i, j, c = np.ogrid[tuple(map(slice, winners.shape))]
    rows = stride[0] * i + winners // size[1]
    np.add.at(dx, (b, rows, stride[1] * j + winners % size[1], c), dy)
    return dx


@parallel_kernel
def _give_winners(dy, winners, kw, down, right, dx):
    # A task is an image: windows that overlap add to the same pixel, in one order.
    batch, high, wide, channels = winners.shape
    for b in prange(batch):
        for i in range(high):
            for j in range(wide):
                for c in range(channels):
                    place = np.intp(winners[b, i, j, c])
                    dx[b, i * down + place // kw, j * right + place % kw, c] += dy[b, i, j, c]


def give_winners(dy: Array, winners: Array, shape: Shape, size: Pair, stride: Pair) -> Array:
    r"""Gradient of max pooling: each window's goes to its winner, and windows add up.

    :math:`\delta_x[b, y, x, c] = \sum_{i,j:\ (y,x)\ wins} \delta_y[b, i, j, c]`

    Parameters
    ----------
    dy : array (batch, out_height, out_width, channels)
    winners : array of uint16, the shape of `dy`
    shape : tuple of int
        Of the padded images.
    size, stride : pair of int

    Returns
    -------
    array, shape `shape`

    Raises
    ------
    TypeError, ValueError
        If `dy` or `winners` have not a number for each window of images of that shape, or a winner
        is in no window.

    References
    ----------
    Section 4.2, backward of `take_winners` by the chain rule.
    """
    _check_gradient(dy, winners, shape, size, stride)
    dx = np.zeros(shape, dy.dtype)
    _give_winners(read_only(dy), read_only(winners), *map(int, (size[1], *stride)), dx)
    return dx


class Pooling(Layer):
    """The geometry that both kinds of pooling share.

    Parameters
    ----------
    size : int or pair of int
        Height and width of the window.
    stride : int or pair of int, optional
        As the size by default, so that windows do not overlap.
    padding : int or pair of int
        Less than the size: every window holds at least one number of the image.

    References
    ----------
    Sections 4.2 (2/2) and 4.3 (3/2).
    """

    places: float = math.inf
    """Places of a window at most."""

    def __init__(
        self, size: int | Pair = 2, stride: int | Pair | None = None, padding: int | Pair = 0
    ) -> None:
        self.size = pair("size", size, 1)
        self.stride = self.size if stride is None else pair("stride", stride, 1)
        self.padding = pair("padding", padding, 0)
        if self.size[0] * self.size[1] > self.places:
            raise ValueError(f"size: expected at most 65,536 places in a window, got {self.size}")
        if self.padding[0] >= self.size[0] or self.padding[1] >= self.size[1]:
            raise ValueError(f"padding: expected less than the size {self.size}, got {padding}")

    def settings(self) -> dict[str, Any]:
        return super().settings() | {"stride": None if self.stride == self.size else self.stride}

    def output_shape(self, input_shape: Shape) -> Shape:
        if len(input_shape) != 3:
            raise ValueError(f"input: expected (height, width, channels), got {input_shape}")
        image = input_shape[0], input_shape[1]
        return (*output_size(image, self.size, self.stride, self.padding), input_shape[2])

    def without_border(self, padded: Array) -> Array:
        """The images inside their border, (batch, height, width, channels)."""
        top, left = self.padding
        return padded[:, top : top + self.input_shape[0], left : left + self.input_shape[1]]


class MaxPool2D(Pooling):
    r"""The largest number of each window: :math:`y = \max_{u,v} x[u, v]`.

    Ties are common among integers: the first in the order of reading wins, and gets the whole
    gradient. A border holds the identity of the maximum, -infinity, never 0.

    Parameters
    ----------
    size, stride, padding : as `Pooling`

    References
    ----------
    Sections 4.2, 4.3: in front of batch norm and sign.
    """

    jumps = MappingProxyType({"winners": "choice"})
    places = PLACES

    def output_encoding(self, encoding: Encoding | None, training: bool = False) -> Encoding | None:
        return encoding

    def forward(self, x: Array, training: bool = False) -> Array:
        self.check_input(x)
        padded = pad_images(x, self.padding, -np.inf)
        winners = self.winners(padded)
        if training:
            self._saved = winners, padded.shape
        return take_winners(padded, winners, self.size, self.stride)

    def winners(self, padded: Array) -> Array:
        """Which place of each window wins; a check repeats the answer of its first pass."""
        return find_winners(padded, self.size, self.stride)

    def backward(self, dy: Array) -> Array:
        winners, shape = self.saved(dy)
        return self.without_border(give_winners(dy, winners, shape, self.size, self.stride))


class AveragePool2D(Pooling):
    r"""The mean of each window; a border of zeros counts: :math:`y = \frac1n \sum_{u,v} x[u, v]`.

    Of codes the layer emits the integer *sum*; the division by n is in its encoding's scale. So
    the next product starts from whole numbers, and packing stays exact.

    Parameters
    ----------
    size, stride, padding : as `Pooling`

    References
    ----------
    Section 4.3, inception blocks.
    """

    @property
    def area(self) -> int:
        """Numbers in a window."""
        return self.size[0] * self.size[1]

    def output_encoding(self, encoding: Encoding | None, training: bool = False) -> Encoding | None:
        if encoding is None:
            return None
        scale = encoding.scale / self.area
        if encoding.grid is None:
            return Encoding(scale, -np.inf, np.inf, 0)
        return Encoding(scale, *encoding.grid.sums(self.area, fewer=self.padding != (0, 0)))

    def forward(self, x: Array, training: bool = False) -> Array:
        self.check_input(x)
        padded = pad_images(x, self.padding, 0)
        y = np.zeros((len(x), *self.output_shape(self.input_shape)), x.dtype)
        for tap in taps(padded, self.size, self.stride):
            y += tap
        if training:
            self._saved = padded.shape
        return y if self.encoding is not None else y * y.dtype.type(1 / self.area)

    def backward(self, dy: Array) -> Array:
        dx = np.zeros(self.saved(dy), self.dtype)
        share = dy if self.encoding is not None else dy * dy.dtype.type(1 / self.area)
        for tap in taps(dx, self.size, self.stride):
            tap += share
        return self.without_border(dx)
