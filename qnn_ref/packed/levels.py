"""Steps of a packed network with more than one bit: products of grids, and codes for thresholds.

Between the steps flow whole numbers, never floats: bits where a quantizer has one bit, else the
codes, int32.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qnn_ref.bits import (
    grid_offset,
    join_planes,
    pack_bits,
    pixel_planes,
    planes_conv,
    planes_matmul,
    to_kernel_panels,
    to_panels,
    to_planes,
)
from qnn_ref.layers.conv import Pair, output_size, pair
from qnn_ref.packed.stages import STAGES, Shape, Stage, expect, fit

Array = NDArray[Any]
Grid = tuple[int, int, int]


def as_planes(x: Array, grid: Grid) -> Array:
    """Bit planes of what flows between steps.

    Parameters
    ----------
    x : array (batch, ...)
        Words of bits, int32 codes of the grid, or uint8 pixels.
    grid : tuple of int
        (low, high, step) of its codes.

    Returns
    -------
    array of uint64 (P, batch, ..., words)
    """
    if x.dtype == np.uint64:
        return x[None]
    return pixel_planes(x) if x.dtype == np.uint8 else to_planes(x, *grid)


def _product(multiply: Callable[[int], Array], offset: int, weights: Grid, planes: int) -> Array:
    """Join the products with each plane of the weights; the last one is that with ones."""
    products = [multiply(b) for b in range(planes)]
    return join_planes(products, multiply(planes) if offset else None, *weights)


@dataclass(eq=False)
class GridProduct(Stage):
    """What dense layers and convolutions of grids share.

    Parameters
    ----------
    words : array of uint64
        Bit planes of the weights, (P, units, ...).
    size : int
        K of a dense layer, input channels of a convolution.
    grid : (low, high, step)
        Of the input's codes.
    weights : (low, high, step)
        Of the weights' codes.
    """

    words: Array
    size: int
    grid: Grid
    weights: Grid

    def __post_init__(self) -> None:
        self.grid, self.weights = _three("grid", self.grid), _three("weights", self.weights)
        self.offset = grid_offset(*self.weights)
        # Ones multiply the input to its row sums, which an offset of the weights needs.
        ones = pack_bits(np.ones((1, *self.words.shape[2:-1], self.size), np.bool_))
        self.planes = [*self.words, *([ones] if self.offset else [])]


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
        self.panels = [to_panels(plane, self.size) for plane in self.planes]

    def output_shape(self, input_shape: Shape) -> Shape:
        fit(self, self.size, (int(np.prod(input_shape)),))
        return (self.words.shape[1],)

    def run(self, x: Array) -> Array:
        """Sums (batch, units), int32."""
        flat = x.reshape(len(x), -1)
        planes = as_planes(flat, self.grid)

        def multiply(b: int) -> Array:
            return planes_matmul(planes, self.panels[b], self.size, *self.grid)

        return _product(multiply, self.offset, self.weights, len(self.words))


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

    def __post_init__(self) -> None:
        super().__post_init__()
        self.stride = pair("stride", tuple(self.stride), 1)  # type: ignore[arg-type]
        self.padding = pair("padding", tuple(self.padding), 0)  # type: ignore[arg-type]
        self.kernels = [to_kernel_panels(plane, self.size) for plane in self.planes]

    def output_shape(self, input_shape: Shape) -> Shape:
        if len(input_shape) != 3 or input_shape[2] != self.size:
            raise ValueError(f"GridConv: expected {self.size} channels, got {input_shape}")
        image, kernel = input_shape[:2], self.words.shape[2:4]
        return (*output_size(image, kernel, self.stride, self.padding), self.words.shape[1])  # type: ignore[arg-type]

    def run(self, x: Array) -> Array:
        """Sums (batch, h, w, units), int32."""
        planes = as_planes(x, self.grid)
        where = self.stride, self.padding, int(self.one_padding)

        def multiply(b: int) -> Array:
            return planes_conv(planes, self.kernels[b], self.size, *self.grid, *where)

        return _product(multiply, self.offset, self.weights, len(self.words))


@dataclass(eq=False)
class Levels(Stage):
    """Quantized batch norm of more than one bit: codes by counting passed thresholds.

    The code is `codes[j]`, j the number of thresholds t with `(s >= at[t]) XOR flip[t]`.

    Parameters
    ----------
    at : array of int32 (levels - 1, units)
    flip : array of bool (levels - 1, units)
    codes : array of int32 (levels,)
    """

    at: Array
    flip: Array
    codes: Array

    def __post_init__(self) -> None:
        shape = len(self.codes) - 1, self.at.shape[-1]
        expect("codes", self.codes, np.int32, (len(self.codes),))
        expect("at", self.at, np.int32, shape)
        expect("flip", self.flip, np.bool_, shape)

    def output_shape(self, input_shape: Shape) -> Shape:
        if input_shape[-1] != self.at.shape[1]:
            raise ValueError(f"Levels: expected {self.at.shape[1]} channels, got {input_shape}")
        return input_shape

    def run(self, x: Array) -> Array:
        """Codes, int32, of sums, both (batch, ..., units)."""
        passed = np.zeros(x.shape, np.int32)
        for at, flip in zip(self.at, self.flip, strict=True):
            passed += (x >= at) ^ flip
        return self.codes[passed]


def _three(name: str, value: Any) -> Grid:
    if len(value) != 3 or not all(isinstance(n, int) for n in value):
        raise ValueError(f"{name}: expected three whole numbers, got {value!r}")
    return value[0], value[1], value[2]


STAGES.update({stage.__name__: stage for stage in (GridDense, GridConv, Levels)})
