"""Steps of a packed network that multiply: XOR and popcount for bits, bit planes for more.

All give sums, int32: what the trained layer's product of codes is, exactly.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from qnn_ref._typing import Array, Pair, Shape
from qnn_ref.bits import (
    KernelPanels,
    Panels,
    pixel_planes,
    pixels_conv,
    pixels_matmul,
    planes_conv,
    to_kernel_panels,
    to_panels,
    to_planes,
    xnor_conv,
    xnor_matmul,
)
from qnn_ref.bits.grids import codes_matmul, grid_matrix, grids_matmul
from qnn_ref.bits.levels import join_planes
from qnn_ref.bits.words import pack_bits
from qnn_ref.checks import whole
from qnn_ref.geometry import output_size
from qnn_ref.grid import PIXELS, SIGNS, Grid
from qnn_ref.packed.stages import Flow, Stage, expect_channels, expect_flow, expect_words, pair_of


def sums(shape: Shape, K: int, grid: Grid, weights: Grid = SIGNS) -> Flow:
    """Flow of sums of K products, `shape` of them an example; a ValueError beyond 31 bits."""
    largest = K * grid.largest * weights.largest
    return Flow("integers", shape, Grid(-largest, largest, 1))


@dataclass(eq=False)
class XnorDense(Stage):
    """Product of a layer whose input is +-1: `K - 2 popcount(x XOR w)`.

    Parameters
    ----------
    words : array of uint64 (units, ceil(K / 64))
        Weights packed along fan_in.
    K : int
        Inputs of a unit (fan_in).
    """

    words: Array
    K: int

    def __post_init__(self) -> None:
        self.K = whole("K", self.K, 1, 2**31 - 1)
        expect_words(self.words, 1, self.K)
        self.panels: Panels = to_panels(self.words, self.K)

    def output(self, flow: Flow) -> Flow:
        expect_flow(flow, "bits")
        _expect_row(flow.shape, self.K)
        return sums((len(self.words),), self.K, SIGNS)

    def run(self, x: Array) -> Array:
        """Sums (batch, units), int32, of packed signs (batch, words)."""
        return xnor_matmul(x, self.panels, self.K)


@dataclass(eq=False)
class PixelsDense(XnorDense):
    """Product of the first layer: eight bit planes of 8-bit pixels, literal XNOR form.

    `pixels_matmul` computes it by table lookup; its twin runs the eight planes.

    Parameters
    ----------
    words : array of uint64 (units, ceil(K / 64))
        Weights packed along fan_in.
    K : int
        Pixels of an image.
    """

    def output(self, flow: Flow) -> Flow:
        expect_flow(flow, "pixels")
        _expect_row((math.prod(flow.shape),), self.K)
        return sums((len(self.words),), self.K, PIXELS)

    def run(self, x: Array) -> Array:
        """Sums (batch, units), int32, of images (batch, ...) of uint8: (2 x - 255) . w."""
        return pixels_matmul(x.reshape(len(x), -1), self.panels, self.K)


@dataclass(eq=False)
class XnorConv(Stage):
    """Convolution of bits by XOR and popcount; a border of zeros is exact by a correction.

    Parameters
    ----------
    words : array of uint64 (units, kh, kw, ceil(channels / 64))
    channels : int
        Of the input.
    stride, padding : pair of int
    one_padding : bool
        Whether +1 stands outside the image, not 0.
    """

    words: Array
    channels: int
    stride: Pair
    padding: Pair
    one_padding: bool

    takes = "bits", SIGNS

    def __post_init__(self) -> None:
        self.channels = whole("channels", self.channels, 1, 2**31 - 1)
        self.stride, self.padding = _place(self.stride, self.padding, self.one_padding)
        expect_words(self.words, 3, self.channels)
        self.kernel: KernelPanels = to_kernel_panels(self.words, self.channels)

    def output(self, flow: Flow) -> Flow:
        kind, grid = self.takes
        expect_flow(flow, kind)
        size = _windows(flow, self.words.shape[1:3], self.channels, self.stride, self.padding)
        taps = math.prod(self.words.shape[1:3])
        return sums((*size, len(self.words)), taps * self.channels, grid)

    def run(self, x: Array) -> Array:
        """Sums (batch, h, w, units), int32, of packed signs."""
        pad = int(self.one_padding)
        return xnor_conv(x, self.kernel, self.channels, self.stride, self.padding, pad)


@dataclass(eq=False)
class PixelsConv(XnorConv):
    """First layer on 8-bit images: sums of (2 p - 255) w.

    Parameters
    ----------
    words, channels, stride, padding, one_padding
        As `XnorConv`.
    """

    takes = "pixels", PIXELS

    def run(self, x: Array) -> Array:
        """Sums (batch, h, w, units), int32, of images of uint8."""
        return pixels_conv(x, self.kernel, self.stride, self.padding, int(self.one_padding))


@dataclass(eq=False)
class GridProduct(Stage):
    """What dense layers and convolutions of grids share.

    Parameters
    ----------
    words : array of uint64
        Bit planes of the weights, (P, units, ...).
    size : int
        K of a dense layer, input channels of a convolution.
    grid, weights : Grid
        Of the input's and the weights' codes; files have low, high and step.
    """

    words: Array
    size: int
    grid: Grid
    weights: Grid

    axes = 2

    def __post_init__(self) -> None:
        self.size = whole("size", self.size, 1, 2**31 - 1)
        self.grid, self.weights = Grid.of("grid", self.grid), Grid.of("weights", self.weights)
        expect_words(self.words, self.axes, self.size, before=1)
        self.weights.check_planes("words", self.words)
        self.planes = [*self.words]
        if self.weights.offset:  # needs the input's row sums: products with ones
            ones = np.ones((1, *self.words.shape[2:-1], self.size), np.bool_)
            self.planes.append(pack_bits(ones))

    def expect_input(self, flow: Flow) -> None:
        """Refuse codes that are not on the grid; bits and pixels are planes of their own grids."""
        integers = flow.kind == "integers"
        if not (self.grid.holds(flow.grid) if integers else flow.grid == self.grid):
            raise ValueError(f"expected codes {self.grid}, got {flow.grid}")

    def join(self, multiply: Callable[[int], Array]) -> Array:
        """The product from those with each plane of the weights; the last one is that with ones."""
        if self.weights == SIGNS:
            return multiply(0)
        planes = len(self.words)
        products = [multiply(b) for b in range(planes)]
        sums_of_rows = multiply(planes) if self.weights.offset else None
        return join_planes(products, sums_of_rows, self.weights)


@dataclass(eq=False)
class GridDense(GridProduct):
    """Dense layer: integers of a grid times weights of a grid, by the planes of both.

    Parameters
    ----------
    words : array of uint64 (P, units, ceil(K / 64))
    size, grid, weights
        As `GridProduct`.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        self.matrix = grid_matrix(self.words, self.size, self.weights)

    def output(self, flow: Flow) -> Flow:
        self.expect_input(flow)
        # The first product flattens images by itself.
        shape = (math.prod(flow.shape),) if flow.kind == "pixels" else flow.shape
        _expect_row(shape, self.size)
        return sums((self.words.shape[1],), self.size, self.grid, self.weights)

    def run(self, x: Array) -> Array:
        """Sums (batch, units), int32."""
        rows = x.reshape(len(x), -1)
        if rows.dtype.kind == "f":  # states of a recurrent cell, as they are
            return codes_matmul(rows, self.matrix, self.grid)
        return grids_matmul(as_planes(rows, self.grid), self.matrix, self.grid)


@dataclass(eq=False)
class GridConv(GridProduct):
    """Convolution: integers of a grid times weights of a grid, by the planes of both.

    Parameters
    ----------
    words : array of uint64 (P, units, kh, kw, ceil(channels / 64))
    size, grid, weights
        As `GridProduct`.
    stride, padding : pair of int
    one_padding : bool
        Whether the input's largest code stands outside the image, not 0.
    """

    stride: Pair
    padding: Pair
    one_padding: bool

    axes = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        self.stride, self.padding = _place(self.stride, self.padding, self.one_padding)
        self.kernels = [to_kernel_panels(plane, self.size) for plane in self.planes]

    def output(self, flow: Flow) -> Flow:
        self.expect_input(flow)
        kernel = self.words.shape[2:4]
        size = _windows(flow, kernel, self.size, self.stride, self.padding)
        shape = *size, self.words.shape[1]
        return sums(shape, math.prod(kernel) * self.size, self.grid, self.weights)

    def run(self, x: Array) -> Array:
        """Sums (batch, h, w, units), int32."""
        planes = as_planes(x, self.grid)
        where = self.stride, self.padding, int(self.one_padding)
        return self.join(
            lambda b: planes_conv(planes, self.kernels[b], self.size, self.grid, *where)
        )


def as_planes(x: Array, grid: Grid) -> Array:
    """Bit planes (P, batch, ..., words) of what flows between steps.

    `x` (batch, ...) holds words of bits, uint8 pixels, or int32 codes of the grid.
    """
    if x.dtype == np.uint64:
        return x[None]
    return pixel_planes(x) if x.dtype == np.uint8 else to_planes(x, grid)


def _expect_row(shape: Shape, K: int) -> None:
    if shape != (K,):
        raise ValueError(f"expected {K} inputs, got {shape}")


def _place(stride: Any, padding: Any, one_padding: Any) -> tuple[Pair, Pair]:
    if not isinstance(one_padding, bool):
        raise ValueError(f"one_padding: expected true or false, got {one_padding!r}")
    return pair_of("stride", stride, 1), pair_of("padding", padding, 0)


def _windows(flow: Flow, kernel: Shape, channels: int, stride: Pair, padding: Pair) -> Pair:
    """Height and width of a convolution's output."""
    if len(flow.shape) != 3:
        raise ValueError(f"expected images of {channels} channels, got {flow.shape}")
    expect_channels(flow, channels)
    image, kernel_size = flow.shape[:2], (kernel[0], kernel[1])
    return output_size(image, kernel_size, stride, padding)  # type: ignore[arg-type]
