"""Steps of a packed network that move numbers and do not multiply: pools, flattening, branches.

Between two steps there are images (batch, height, width, ...) or rows (batch, ...) of

- bits: words of uint64, ceil(C / 64) a pixel, after a sign;
- integers: int32, one a channel: sums of a product or of an average pool, or codes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import reduce
from typing import Any, Self

import numpy as np

from qnn_ref._typing import Array, Pair
from qnn_ref.bits import unpack
from qnn_ref.bits.words import pack_bits
from qnn_ref.checks import whole
from qnn_ref.geometry import output_size, pad_images, taps
from qnn_ref.grid import SIGNS, Grid
from qnn_ref.packed.stages import (
    Flow,
    Stage,
    expect,
    expect_channels,
    expect_flow,
    flow_through,
    pair_of,
    stage_of,
)

DEEPEST = 32
"""Characters of the longest place of a step: branches within branches end somewhere."""


@dataclass(eq=False)
class Pool(Stage):
    """What both kinds of pooling share: the window.

    Parameters
    ----------
    size, stride, padding : pair of int
        The padding is less than the size: each window holds a number of the image.
    """

    size: Pair
    stride: Pair
    padding: Pair

    def __post_init__(self) -> None:
        self.size, self.stride = pair_of("size", self.size, 1), pair_of("stride", self.stride, 1)
        self.padding = pair_of("padding", self.padding, 0)
        if self.padding[0] >= self.size[0] or self.padding[1] >= self.size[1]:
            raise ValueError(f"padding: expected less than {self.size}, got {self.padding}")

    def output(self, flow: Flow) -> Flow:
        expect_flow(flow, "bits", "integers")
        if len(flow.shape) != 3:
            raise ValueError(f"expected images, got {flow.shape}")
        image = flow.shape[0], flow.shape[1]
        size = output_size(image, self.size, self.stride, self.padding)
        return Flow(flow.kind, (*size, flow.shape[2]), flow.grid)

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
            expect("flip", self.flip, np.bool_, (np.size(self.flip),))
            self.mask = pack_bits(self.flip)

    def output(self, flow: Flow) -> Flow:
        if self.flip is not None:
            expect_flow(flow, "bits")
            if flow.shape[-1] != len(self.flip):
                raise ValueError(f"flip: expected {flow.shape[-1]} channels, got {len(self.flip)}")
        return super().output(flow)

    def run(self, x: Array) -> Array:
        """Packed signs of packed signs, or the largest of integers; outside is the identity."""
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

    def __post_init__(self) -> None:
        super().__post_init__()
        self.channels = whole("channels", self.channels, 1, 2**31 - 1)

    def output(self, flow: Flow) -> Flow:
        shape = super().output(flow).shape
        expect_channels(flow, self.channels)
        grid = flow.grid.sums(math.prod(self.size), fewer=self.padding != (0, 0))
        return Flow("integers", shape, grid)

    def run(self, x: Array) -> Array:
        """Integers, int32, of packed signs or of integers; zeros stand outside."""
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

    def __post_init__(self) -> None:
        self.channels = whole("channels", self.channels, 1, 2**31 - 1)

    def output(self, flow: Flow) -> Flow:
        expect_flow(flow, "bits")
        expect_channels(flow, self.channels)
        return Flow("bits", (math.prod(flow.shape),), SIGNS)

    def run(self, x: Array) -> Array:
        """Packed signs (batch, words) of packed images."""
        return repack([x], [self.channels], axis=None)


@dataclass(eq=False)
class FlattenIntegers(Stage):
    """Integers of all pixels in one row, channels innermost."""

    def output(self, flow: Flow) -> Flow:
        expect_flow(flow, "integers")
        return Flow("integers", (math.prod(flow.shape),), flow.grid)

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

    def __post_init__(self) -> None:
        if not isinstance(self.channels, list) or len(self.channels) != len(self.paths):
            raise ValueError(f"channels: expected one number a path, got {self.channels!r}")
        self.channels = [whole("channels", c, 1, 2**31 - 1) for c in self.channels]

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
    def restore(cls, settings: dict[str, Any], arrays: dict[str, Array], place: str) -> Self:
        paths = settings.get("paths")
        if not isinstance(paths, list) or not all(isinstance(path, list) for path in paths):
            raise ValueError("paths: expected a list of lists of steps")
        if len(place) > DEEPEST:
            raise ValueError("paths: nested too deeply")
        read = [
            [stage_of(inner, arrays, f"{place}/{p}/{i}") for i, inner in enumerate(path)]
            for p, path in enumerate(paths)
        ]
        return super().restore(settings | {"paths": read}, arrays, place)

    def output(self, flow: Flow) -> Flow:
        flows = []
        for number, path in enumerate(self.paths):
            try:
                flows.append(flow_through(path, flow))
            except ValueError as error:
                raise ValueError(f"path {number}: {error}") from error
        if len({(f.kind, f.shape[:-1]) for f in flows}) != 1:
            given = ", ".join(f"{f.kind} {f.shape}" for f in flows)
            raise ValueError(f"expected equal kinds and sizes of all paths, got {given or 'none'}")
        channels = [f.shape[-1] for f in flows]
        if channels != self.channels:
            raise ValueError(f"expected channels {self.channels}, got {channels}")
        kind, shape = flows[0].kind, (*flows[0].shape[:-1], sum(channels))
        expect_flow(flows[0], "bits", "integers")
        lows, highs, steps = zip(*(f.grid for f in flows), strict=True)
        step = math.gcd(*steps, *(low - min(lows) for low in lows))
        return Flow(kind, shape, Grid(min(lows), max(highs), step))

    def run(self, x: Array) -> Array:
        """Bits or integers of all paths."""
        outputs = [reduce(lambda y, stage: stage.run(y), path, x) for path in self.paths]
        if outputs[0].dtype != np.uint64:
            return np.concatenate(outputs, axis=-1)
        return repack(outputs, self.channels, axis=-1)


def repack(parts: list[Array], channels: list[int], axis: int | None) -> Array:
    """Join packed arrays without gaps, along their channels or, with axis None, each image's row.

    `channels` counts the bits in the last axis of each part (batch, ..., words).
    """
    if all(c % 64 == 0 for c in channels):
        joined = np.concatenate(parts, axis=-1)
    else:
        bits = [unpack(x, c) > 0 for x, c in zip(parts, channels, strict=True)]
        together = np.concatenate(bits, axis=-1)
        joined = pack_bits(together.reshape(len(together), -1) if axis is None else together)
    return joined.reshape(len(joined), -1) if axis is None else joined
