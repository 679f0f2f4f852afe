"""Pooling: the largest, or the mean, of the numbers in each window of each channel."""

from __future__ import annotations

import math
from collections.abc import Iterator
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qnn_ref.layers.base import Layer, Shape
from qnn_ref.layers.conv import Pair, output_size, pad_images, pair
from qnn_ref.quantizers import Encoding

Array = NDArray[Any]


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

    Source
    ------
    Sections 4.2 (2/2) and 4.3 (3/2).
    """

    def __init__(
        self, size: int | Pair = 2, stride: int | Pair | None = None, padding: int | Pair = 0
    ) -> None:
        self.size = pair("size", size, 1)
        self.stride = self.size if stride is None else pair("stride", stride, 1)
        self.padding = pair("padding", padding, 0)
        if self.padding[0] >= self.size[0] or self.padding[1] >= self.size[1]:
            raise ValueError(f"padding: expected less than the size {self.size}, got {padding}")

    def output_shape(self, input_shape: Shape) -> Shape:
        if len(input_shape) != 3:
            raise ValueError(f"input: expected (height, width, channels), got {input_shape}")
        image = input_shape[0], input_shape[1]
        return (*output_size(image, self.size, self.stride, self.padding), input_shape[2])

    def taps(self, padded: Array) -> Iterator[Array]:
        """Views (batch, out_height, out_width, channels): the same place of every window.

        In the order of reading: row by row of the window.
        """
        high, wide, _ = self.output_shape(self.input_shape)
        for u in range(self.size[0]):
            for v in range(self.size[1]):
                rows = slice(u, u + self.stride[0] * (high - 1) + 1, self.stride[0])
                columns = slice(v, v + self.stride[1] * (wide - 1) + 1, self.stride[1])
                yield padded[:, rows, columns]

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
    size : int or pair of int
    stride : int or pair of int, optional
        The size by default.
    padding : int or pair of int

    Source
    ------
    Sections 4.2, 4.3: in front of batch norm and sign.
    """

    jumps = MappingProxyType({"winners": "choice"})

    def output_encoding(self, encoding: Encoding | None, training: bool = False) -> Encoding | None:
        return encoding

    def forward(self, x: Array, training: bool = False) -> Array:
        self.check_input(x)
        padded = pad_images(x, self.padding, -np.inf)
        if not training:
            y = next(self.taps(padded)).copy()
            for tap in self.taps(padded):
                np.maximum(y, tap, out=y)
            return y
        winners = self.winners(padded)
        self._saved = winners, padded.shape
        y = np.empty(winners.shape, x.dtype)
        for number, tap in enumerate(self.taps(padded)):
            np.copyto(y, tap, where=winners == number)
        return y

    def winners(self, padded: Array) -> Array:
        """Which place of each window wins, from 0 in the order of reading."""
        taps = self.taps(padded)
        best = next(taps).copy()
        winners = np.zeros(best.shape, np.int16)
        for number, tap in enumerate(taps, start=1):
            better = tap > best
            np.copyto(best, tap, where=better)
            winners[better] = number
        return winners

    def backward(self, dy: Array) -> Array:
        winners, shape = self.saved(dy)
        dx = np.zeros(shape, dy.dtype)
        for number, tap in enumerate(self.taps(dx)):
            tap += dy * (winners == number)
        return self.without_border(dx)


class AveragePool2D(Pooling):
    r"""The mean of each window; a border of zeros counts: :math:`y = \frac1n \sum_{u,v} x[u, v]`.

    Of codes the layer emits the integer *sum*; the division by n is in its encoding's scale. So
    the next product starts from whole numbers, and packing stays exact.

    Parameters
    ----------
    size : int or pair of int
    stride : int or pair of int, optional
        The size by default.
    padding : int or pair of int

    Source
    ------
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
        if not encoding.on_grid:
            return Encoding(scale, -np.inf, np.inf, 0)
        low, high, step = encoding.low, encoding.high, encoding.step
        if self.padding != (0, 0):
            # Windows with fewer codes, and zeros: the grid must hold their sums too.
            step = math.gcd(int(step), int(low))
            low, high = min(low, 0), max(high, 0)
        return Encoding(scale, self.area * low, self.area * high, step)

    def forward(self, x: Array, training: bool = False) -> Array:
        self.check_input(x)
        padded = pad_images(x, self.padding, 0)
        y = np.zeros((len(x), *self.output_shape(self.input_shape)), x.dtype)
        for tap in self.taps(padded):
            y += tap
        if training:
            self._saved = padded.shape
        return y if self.encoding is not None else y * y.dtype.type(1 / self.area)

    def backward(self, dy: Array) -> Array:
        share = dy if self.encoding is not None else dy * dy.dtype.type(1 / self.area)
        dx = np.zeros(self.saved(dy), dy.dtype)
        for tap in self.taps(dx):
            tap += share
        return self.without_border(dx)
