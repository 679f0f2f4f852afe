"""From a trained network to its packed form: `pack`.

The layers are read in order. A product opens a *block*; max pool and batch norm belong to it; the
`Quantize` that closes it becomes a threshold. What flows between blocks is known at every place:
pixels, bits, or integers of a grid.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from qnn_ref._typing import Array
from qnn_ref.bits import pack as pack_words
from qnn_ref.bits import pack_kernel, to_planes
from qnn_ref.checks import all_finite, instance
from qnn_ref.grid import SIGNS, Grid
from qnn_ref.layers import (
    Auxiliary,
    AveragePool2D,
    Branches,
    Conv2D,
    Dense,
    Dropout,
    Embedding,
    Flatten,
    Layer,
    MaxPool2D,
    Pixels,
    Quantize,
)
from qnn_ref.layers.weighted import Weighted
from qnn_ref.network import Sequential
from qnn_ref.packed.network import PackedNetwork
from qnn_ref.packed.product_stages import (
    GridConv,
    GridDense,
    PixelsConv,
    PixelsDense,
    XnorConv,
    XnorDense,
)
from qnn_ref.packed.shape_stages import FlattenBits, FlattenIntegers, Join, MaxPool, SumPool
from qnn_ref.packed.stages import Stage
from qnn_ref.packed.thresholds import Levels, Scores, Threshold, find_thresholds
from qnn_ref.quantizers import Quantizer


def pack(network: Sequential) -> PackedNetwork:
    """Turn a trained network into bits and integers.

    Parameters
    ----------
    network : Sequential
        `Pixels` first, then blocks of a layer with quantized weights, at most one max pool, layers
        that treat each channel by itself (batch norm), and a `Quantize`; the last block without
        `Quantize`. One bit runs on XNOR, more bits by bit planes. Between blocks: pools, `Flatten`,
        `Branches`. Dropout and auxiliary classifiers are left out, as in inference.

    Returns
    -------
    PackedNetwork
        With the same scores, bit for bit, as the network in inference.

    Raises
    ------
    TypeError
        If it is no network.
    ValueError
        If a layer cannot be packed exactly, or a number of the network is not finite; the message
        says which and why.

    References
    ----------
    Algorithm 5.
    """
    instance("network", network, Sequential)
    for name, array in network.arrays().items():
        all_finite(f"network: {name}", array)
    if isinstance(network.layers[0], Embedding):
        raise ValueError("network: it reads text: qnn_ref.packed.pack_sequence packs it")
    if not isinstance(network.layers[0], Pixels):
        raise ValueError(
            "network: expected Pixels as the first layer (images of 8 bits), got "
            f"{type(network.layers[0]).__name__}; real-valued input has no exact bits"
        )
    row = Row("pixels")
    row.take(network.layers[1:], first=1)
    if not row.block:
        raise ValueError("network: expected real scores at the end, got no Dense layer there")
    row.stages.append(pack_scores(row.block))
    return PackedNetwork(row.stages, network.input_shape)


def identical_scores(network: Sequential, packed: PackedNetwork, images: Array) -> int:
    """Count the images whose scores from both networks are equal bit for bit.

    Parameters
    ----------
    network : Sequential
    packed : PackedNetwork
    images : array of uint8 (N, ...)

    Returns
    -------
    int
        From 0 to N. Bits are compared, so 0 and -0.0 differ.
    """
    trained, from_bits = network.scores(images), packed.scores(images)
    if trained.dtype != from_bits.dtype:
        return 0
    bits = f"u{trained.dtype.itemsize}"
    return int(np.all(trained.view(bits) == from_bits.view(bits), axis=1).sum())


@dataclass
class Row:
    """Layers in a row, packed one after the other.

    Parameters
    ----------
    kind : str
        What flows at this place: "pixels", "bits" or "integers".
    stages : list of Stage
        What was packed so far.
    block : list of Layer
        The product whose sums flow, and the layers after it; empty between two blocks.
    """

    kind: str
    stages: list[Stage] = field(default_factory=list)
    block: list[Layer] = field(default_factory=list)

    def take(self, layers: Sequence[Layer], first: int = 0) -> None:
        """Pack these layers; the first has this number in messages."""
        for index, layer in enumerate(layers, start=first):
            try:
                self._take_one(layer)
            except (ValueError, TypeError) as error:
                raise ValueError(f"layer {index} ({type(layer).__name__}): {error}") from error

    def _take_one(self, layer: Layer) -> None:
        if isinstance(layer, Dropout | Auxiliary):
            return
        if isinstance(layer, Weighted):
            self._open(layer)
        elif isinstance(layer, Quantize):
            self._close(layer)
        elif self.block:
            self._go_on(layer)
        else:
            self._between(layer)

    def _open(self, layer: Weighted) -> None:
        if self.block:
            raise ValueError("its input is not quantized: a Quantize layer must come first")
        self.stages.append(pack_product(layer, self.kind))
        self.block = [layer]

    def _close(self, layer: Quantize) -> None:
        self.stages += pack_threshold(self.block, layer)
        one_bit = layer.quantizer.encoding.grid == SIGNS
        self.block, self.kind = [], "bits" if one_bit else "integers"

    def _go_on(self, layer: Layer) -> None:
        flat = isinstance(layer, Flatten) and len(layer.input_shape) == 1
        pool = isinstance(layer, MaxPool2D)
        if not (flat or pool or type(layer).pointwise is not Layer.pointwise):
            raise ValueError("has no packed form between a product and its sign")
        if not flat:
            self.block.append(layer)

    def _between(self, layer: Layer) -> None:
        if isinstance(layer, Flatten):
            self._flatten(layer)
        elif isinstance(layer, MaxPool2D):
            if self.kind == "pixels":
                raise ValueError("a max pool of pixels has no packed form here")
            self.stages.append(MaxPool(layer.size, layer.stride, layer.padding))
        elif isinstance(layer, AveragePool2D):
            if self.kind == "pixels":
                raise ValueError("an average pool of pixels has no packed form here")
            channels = layer.input_shape[-1]
            self.stages.append(SumPool(layer.size, layer.stride, layer.padding, channels))
            self.kind = "integers"
        elif isinstance(layer, Branches):
            self._join(layer)
        else:
            raise ValueError("this layer has no packed form here")

    def _flatten(self, layer: Flatten) -> None:
        if len(layer.input_shape) == 1 or self.kind == "pixels":
            return  # the first product flattens by itself
        bits = self.kind == "bits"
        self.stages.append(FlattenBits(layer.input_shape[-1]) if bits else FlattenIntegers())

    def _join(self, layer: Branches) -> None:
        rows = [Row(self.kind) for _ in layer.paths]
        for number, (row, path) in enumerate(zip(rows, layer.paths, strict=True)):
            try:
                row.take(path)
                if row.block:
                    raise ValueError("its end is not quantized: a Quantize layer must close it")
            except ValueError as error:
                raise ValueError(f"path {number}: {error}") from error
        kinds = {row.kind for row in rows}
        if len(kinds) > 1 or "pixels" in kinds:
            raise ValueError(f"paths give {', '.join(sorted(kinds))}, which cannot be joined")
        channels = [shape[-1] for shape in layer.path_shapes(layer.input_shape)]
        self.stages.append(Join([row.stages for row in rows], channels))
        self.kind = kinds.pop()


def pack_product(layer: Weighted, kind: str) -> Stage:
    """Pack a dense layer or a convolution.

    Parameters
    ----------
    layer : Dense or Conv2D
    kind : str
        Of its input: "pixels", "bits" or "integers".

    Returns
    -------
    Stage

    Raises
    ------
    ValueError
        If weights or input are no grid of integers, or the sums do not fit in 31 bits.
    """
    quantizer, encoding = layer.weight_quantizer, layer.encoding
    if quantizer is None:
        raise ValueError("expected quantized weights (weight_quantizer=Sign()), got real ones")
    if encoding is None or encoding.grid is None:
        raise ValueError("its input is not quantized: a Quantize layer must come first")
    weights = quantizer.encoding.grid
    if weights is None or layer.largest_product * layer.fan_in >= 2**31:
        raise ValueError(
            f"sums of {layer.fan_in} products of up to {layer.largest_product:g} do not fit in "
            "31 bits"
        )
    if kind == "integers" or weights != SIGNS:
        return pack_grid_product(layer, encoding.grid, weights)
    if isinstance(layer, Conv2D):
        words, channels = pack_kernel(layer.weight.codes), layer.input_shape[-1]
        place = words, channels, layer.stride, layer.padding, layer.one_padding
        return PixelsConv(*place) if kind == "pixels" else XnorConv(*place)
    expect_flat(layer)
    words = pack_words(np.ascontiguousarray(layer.weight.codes.T))
    return PixelsDense(words, layer.fan_in) if kind == "pixels" else XnorDense(words, layer.fan_in)


def expect_flat(layer: Weighted) -> None:
    """Refuse what is no dense layer, or one that multiplies images place by place."""
    if not isinstance(layer, Dense):
        raise ValueError("this layer has no packed form here")
    if len(layer.input_shape) != 1:
        raise ValueError(f"expected a flat input, got {layer.input_shape}: put Flatten before it")


def pack_grid_product(layer: Weighted, grid: Grid, weights: Grid) -> Stage:
    """Pack a product where inputs or weights have more than one bit."""
    # Units first, what a unit multiplies last.
    words = to_planes(np.moveaxis(layer.weight.codes, -1, 0), weights)
    if isinstance(layer, Conv2D):
        place = layer.stride, layer.padding, layer.one_padding
        return GridConv(words, layer.input_shape[-1], grid, weights, *place)
    expect_flat(layer)
    return GridDense(words, layer.fan_in, grid, weights)


def pack_threshold(block: list[Layer], quantize: Quantize) -> list[Stage]:
    """Pack what stands between a product and the next: thresholds, and the max pool behind them.

    Parameters
    ----------
    block : list of Layer
        The product first.
    quantize : Quantize
        The end of the block.

    Returns
    -------
    list of Stage

    Raises
    ------
    ValueError
        If it cannot be done exactly.
    """
    if not block:
        raise ValueError("expected a Dense or Conv2D layer before it")
    product, *rest = block
    assert isinstance(product, Weighted)
    pools = [layer for layer in rest if isinstance(layer, MaxPool2D)]
    pointwise = [layer for layer in rest if not isinstance(layer, MaxPool2D)]

    def code_of(sums: Array) -> Array:
        y = product.finish(sums.astype(product.dtype)[None])
        for layer in [*pointwise, quantize]:
            y = layer.pointwise(y)
        return y[0]

    largest = int(product.largest_product) * product.fan_in
    codes = levels_of(quantize.quantizer)

    def thresholds(upper: int) -> tuple[Array, Array]:
        """Where the code becomes at least this one."""
        return find_thresholds(
            lambda sums: np.where(code_of(sums) >= upper, 1, -1), largest, product.units
        )

    pairs = [thresholds(upper) for upper in codes[1:]]
    at, flip = (np.stack(arrays) for arrays in zip(*pairs, strict=True))
    one_bit = quantize.quantizer.encoding.grid == SIGNS
    threshold = Threshold(at[0], flip[0]) if one_bit else Levels(at, flip, codes)
    if not pools:
        return [threshold]
    pool = pools[0]
    if len(pools) > 1 or rest.index(pool) not in (0, len(rest) - 1):
        raise ValueError("expected one max pool, right after the product or right before the sign")
    window = pool.size, pool.stride, pool.padding
    if rest.index(pool) != 0:  # behind the batch norm: the code of a maximum is a maximum of codes
        return [threshold, MaxPool(*window)]
    # Before it, pool bits, which are fewer: a turned threshold means AND.
    return [threshold, MaxPool(*window, flip[0])] if one_bit else [MaxPool(*window), threshold]


def levels_of(quantizer: Quantizer) -> Array:
    """All codes of a quantizer, or a ValueError that says why there are none to count."""
    try:
        return quantizer.levels
    except TypeError as error:
        raise ValueError(str(error)) from error


def pack_scores(block: list[Layer]) -> Scores:
    """Pack the last block, whose output stays real.

    Parameters
    ----------
    block : list of Layer
        A dense layer, and at most one batch norm.

    Returns
    -------
    Scores

    Raises
    ------
    ValueError
        If there is more.
    """
    dense, *affine = block
    if not isinstance(dense, Dense):
        raise ValueError(f"network: expected Dense at the end, got {type(dense).__name__}")
    bias = None if dense.bias is None else dense.bias.latent.copy()
    if not affine:
        return Scores(dense.dtype.name, dense.output_scale, bias)
    if len(affine) > 1 or not hasattr(affine[0], "affine"):
        names = ", ".join(type(layer).__name__ for layer in affine)
        raise ValueError(f"network: expected one batch norm after the last Dense, got {names}")
    arrays = [a.copy() for a in affine[0].affine()]
    return Scores(dense.dtype.name, dense.output_scale, bias, *arrays)
