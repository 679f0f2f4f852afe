"""The steps of a packed convolutional network: bits along the channels of each pixel.

Between two steps there are images (batch, height, width, ...) of

- bits: words of uint64, ceil(C / 64) a pixel, after a sign;
- integers: int32, one a channel: sums of a product, or of an average pool.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qnn_ref.bits import (
    KernelPanels,
    pack_bits,
    pixels_conv,
    planes_conv,
    planes_matmul,
    to_kernel_panels,
    to_panels,
    to_planes,
    unpack,
    xnor_conv,
)
from qnn_ref.layers.conv import Pair, output_size, pad_images, pair, taps
from qnn_ref.packed.stages import STAGES, Shape, Stage, check_kind, expect, fit, stage_of

Array = NDArray[Any]


@dataclass(eq=False)
class Convolution(Stage):
    """What the three kinds of convolution share: weights and geometry.

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

    def __post_init__(self) -> None:
        self.stride = _two("stride", self.stride, 1)
        self.padding = _two("padding", self.padding, 0)
        self.kernel: KernelPanels = to_kernel_panels(self.words, self.channels)

    def output_shape(self, input_shape: Shape) -> Shape:
        if len(input_shape) != 3 or input_shape[2] != self.channels:
            name = type(self).__name__
            raise ValueError(f"{name}: expected {self.channels} channels, got {input_shape}")
        image = input_shape[0], input_shape[1]
        size = output_size(image, self.words.shape[1:3], self.stride, self.padding)
        return (*size, len(self.words))


@dataclass(eq=False)
class PixelsConv(Convolution):
    """First layer on 8-bit images: sums of (2 p - 255) w."""

    def run(self, x: Array) -> Array:
        """Sums (batch, h, w, units), int32, of images of uint8."""
        return pixels_conv(x, self.kernel, self.stride, self.padding, int(self.one_padding))


@dataclass(eq=False)
class XnorConv(Convolution):
    """Convolution of bits by XOR and popcount; a border of zeros is exact by a correction."""

    def run(self, x: Array) -> Array:
        """Sums (batch, h, w, units), int32, of packed signs."""
        pad = int(self.one_padding)
        return xnor_conv(x, self.kernel, self.channels, self.stride, self.padding, pad)


@dataclass(eq=False)
class IntegersConv(Convolution):
    """Convolution of integers of a grid, by bit planes.

    Parameters
    ----------
    words, channels, stride, padding, one_padding
        As `Convolution`.
    low, high, step : int
        The grid.
    """

    low: int
    high: int
    step: int

    def run(self, x: Array) -> Array:
        """Sums (batch, h, w, units), int32, of integers."""
        grid = self.low, self.high, self.step
        planes, pad = to_planes(x, *grid), int(self.one_padding)
        where = self.stride, self.padding, pad
        return planes_conv(planes, self.kernel, self.channels, *grid, *where)


@dataclass(eq=False)
class IntegersDense(Stage):
    """Product of a layer whose input is integers of a grid, by bit planes.

    Parameters
    ----------
    words : array of uint64 (units, ceil(K / 64))
    K : int
        Inputs of a unit.
    low, high, step : int
        The grid.
    """

    words: Array
    K: int
    low: int
    high: int
    step: int

    def __post_init__(self) -> None:
        self.panels = to_panels(self.words, self.K)

    def output_shape(self, input_shape: Shape) -> Shape:
        fit(self, self.K, input_shape)
        return (len(self.words),)

    def run(self, x: Array) -> Array:
        """Sums (batch, units), int32, of integers (batch, K)."""
        grid = self.low, self.high, self.step
        return planes_matmul(to_planes(x, *grid), self.panels, self.K, *grid)


@dataclass(eq=False)
class Pool(Stage):
    """What both kinds of pooling share: the window.

    Parameters
    ----------
    size, stride, padding : pair of int
    """

    size: Pair
    stride: Pair
    padding: Pair

    def __post_init__(self) -> None:
        self.size, self.stride = _two("size", self.size, 1), _two("stride", self.stride, 1)
        self.padding = _two("padding", self.padding, 0)

    def output_shape(self, input_shape: Shape) -> Shape:
        if len(input_shape) != 3:
            raise ValueError(f"{type(self).__name__}: expected images, got {input_shape}")
        image = input_shape[0], input_shape[1]
        return (*output_size(image, self.size, self.stride, self.padding), input_shape[2])

    def taps(self, x: Array, pad: int) -> list[Array]:
        """The same place of every window, for each place, with `pad` outside the images."""
        return taps(pad_images(x, self.padding, pad), self.size, self.stride)


@dataclass(eq=False)
class MaxPool(Pool):
    """Maximum of each window of bits: OR, or AND where the threshold was turned.

    A max pool stands before the batch norm: with a positive gain the sign of the largest sum is +1
    if any sum reaches the threshold, with a negative one if all stay below it.

    Parameters
    ----------
    size, stride, padding : pair of int
    flip : array of bool (channels,), optional
        Channels with AND; none without it.
    """

    flip: Array | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.flip is not None:
            expect("flip", self.flip, np.bool_, (len(self.flip),))
            self.mask = pack_bits(self.flip)

    def output_shape(self, input_shape: Shape) -> Shape:
        shape = super().output_shape(input_shape)
        if self.flip is not None and len(self.flip) != shape[-1]:
            raise ValueError(f"flip: expected {shape[-1]} channels, got {len(self.flip)}")
        return shape

    def run(self, x: Array) -> Array:
        """Packed signs of packed signs, or the largest of integers; outside is the identity."""
        check_kind(self, x, np.uint64, *([np.int32] if self.flip is None else []))
        if x.dtype == np.int32:
            return reduce(np.maximum, self.taps(x, np.iinfo(np.int32).min))
        if self.flip is None:
            return reduce(np.bitwise_or, self.taps(x, 0))
        # De Morgan: a AND b = NOT (NOT a OR NOT b).
        return reduce(np.bitwise_or, self.taps(x ^ self.mask, 0)) ^ self.mask


@dataclass(eq=False)
class SumPool(Pool):
    """Sum of each window; the division of an average pool is left to the scale.

    Parameters
    ----------
    size, stride, padding : pair of int
    channels : int
    """

    channels: int

    def output_shape(self, input_shape: Shape) -> Shape:
        shape = super().output_shape(input_shape)
        if shape[-1] != self.channels:
            raise ValueError(f"SumPool: expected {self.channels} channels, got {input_shape}")
        return shape

    def run(self, x: Array) -> Array:
        """Integers, int32, of packed signs or of integers; zeros stand outside."""
        check_kind(self, x, np.uint64, np.int32)
        codes = unpack(x, self.channels, np.int32) if x.dtype == np.uint64 else x
        return reduce(np.add, self.taps(codes, 0))


@dataclass(eq=False)
class FlattenBits(Stage):
    """Bits of all pixels in one row, channels innermost, without gaps.

    Parameters
    ----------
    channels : int
    """

    channels: int

    def output_shape(self, input_shape: Shape) -> Shape:
        if input_shape[-1] != self.channels:
            raise ValueError(f"FlattenBits: expected {self.channels} channels, got {input_shape}")
        return (int(np.prod(input_shape)),)

    def run(self, x: Array) -> Array:
        """Packed signs (batch, words) of packed images."""
        return repack([x], [self.channels], axis=None)


@dataclass(eq=False)
class FlattenIntegers(Stage):
    """Integers of all pixels in one row, channels innermost."""

    def output_shape(self, input_shape: Shape) -> Shape:
        return (int(np.prod(input_shape)),)

    def run(self, x: Array) -> Array:
        """Integers (batch, K) of images."""
        return x.reshape(len(x), -1)


@dataclass(eq=False)
class Join(Stage):
    """Parallel paths, joined along the channels.

    Parameters
    ----------
    paths : list of list of Stage
        Of each path its steps; none passes the input on.
    channels : list of int
        Channels that each path gives.
    """

    paths: list[list[Stage]]
    channels: list[int]

    def arrays(self) -> dict[str, Array]:
        return {
            f"{p}/{i}/{name}": array
            for p, path in enumerate(self.paths)
            for i, stage in enumerate(path)
            for name, array in stage.arrays().items()
        }

    def settings(self) -> dict[str, Any]:
        described = [[s.describe() for s in path] for path in self.paths]
        return {"paths": described, "channels": self.channels}

    @classmethod
    def restore(cls, settings: dict[str, Any], arrays: dict[str, Array]) -> Join:
        """The step from what `settings` and `arrays` gave."""
        paths = []
        for p, described in enumerate(settings["paths"]):
            path = []
            for i, inner in enumerate(described):
                start = f"{p}/{i}/"
                own = {n[len(start) :]: arrays.pop(n) for n in list(arrays) if n.startswith(start)}
                path.append(stage_of(inner, own))
            paths.append(path)
        if arrays:
            raise ValueError(f"arrays without a step: {sorted(arrays)}")
        return cls(**(settings | {"paths": paths}))

    def output_shape(self, input_shape: Shape) -> Shape:
        shapes = []
        for path in self.paths:
            shape = input_shape
            for stage in path:
                shape = stage.output_shape(shape)
            shapes.append(shape)
        if (
            not shapes
            or len({s[:-1] for s in shapes}) > 1
            or [s[-1] for s in shapes] != (self.channels)
        ):
            raise ValueError(f"Join: expected equal sizes and channels {self.channels}: {shapes}")
        return (*shapes[0][:-1], sum(self.channels))

    def run(self, x: Array) -> Array:
        """Bits or integers of all paths."""
        outputs = []
        for path in self.paths:
            y = x
            for stage in path:
                y = stage.run(y)
            outputs.append(y)
        if outputs[0].dtype != np.uint64:
            return np.concatenate(outputs, axis=-1)
        return repack(outputs, self.channels, axis=-1)


def repack(parts: list[Array], channels: list[int], axis: int | None) -> Array:
    """Join packed arrays without gaps, along their channels or, with axis None, each image's row.

    Parameters
    ----------
    parts : list of arrays of uint64 (batch, ..., words)
    channels : list of int
        Bits in the last axis of each.
    axis : -1 or None

    Returns
    -------
    array of uint64 (batch, ..., words), or (batch, words)
    """
    if all(c % 64 == 0 for c in channels):
        joined = np.concatenate(parts, axis=-1)
    else:
        bits = [unpack(x, c) > 0 for x, c in zip(parts, channels, strict=True)]
        whole = np.concatenate(bits, axis=-1)
        joined = pack_bits(whole.reshape(len(whole), -1) if axis is None else whole)
    return joined.reshape(len(joined), -1) if axis is None else joined


def _two(name: str, value: Any, least: int) -> Pair:
    return pair(name, tuple(value), least)


STAGES.update(
    {
        stage.__name__: stage
        for stage in (
            *(PixelsConv, XnorConv, IntegersConv, IntegersDense),
            *(MaxPool, SumPool, FlattenBits, FlattenIntegers, Join),
        )
    }
)
