"""A trained network as bits and integers (Algorithm 5): `pack`, and the network it makes."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qnn_ref.bits import pack as pack_words
from qnn_ref.checkpoints import FileError
from qnn_ref.layers import Dense, Dropout, Flatten, Layer, Pixels, Quantize
from qnn_ref.network import Sequential
from qnn_ref.packed.file import read_stages, write_stages
from qnn_ref.packed.fold import find_thresholds
from qnn_ref.packed.stages import PixelsDense, Scores, Stage, Threshold, XnorDense

Array = NDArray[Any]


class PackedNetwork:
    """A network that runs on bits: `predict`, `scores`, `save`, `load`.

    Its scores equal those of the network it was packed from, bit for bit, on every input.

    Parameters
    ----------
    stages : list of Stage
    input_shape : tuple of int
        Shape of one image.

    Raises
    ------
    ValueError
        If a step does not fit the one before it.
    """

    def __init__(self, stages: list[Stage], input_shape: tuple[int, ...]) -> None:
        self.stages = stages
        self.input_shape = input_shape
        shape = input_shape
        for stage in stages:
            shape = stage.output_shape(shape)

    def scores(self, images: Array, batch_size: int = 1000) -> Array:
        """Scores (N, classes) of images (N, ...) of uint8, in batches; none is dropped."""
        images = np.asarray(images)
        if images.dtype != np.uint8:
            raise TypeError(f"images: expected uint8 (0 to 255), got {images.dtype}")
        if images.shape[1:] != self.input_shape or images.ndim != len(self.input_shape) + 1:
            expected = ", ".join(map(str, ("N", *self.input_shape)))
            raise ValueError(f"images: expected shape ({expected}), got {images.shape}")
        if len(images) == 0:
            raise ValueError(f"images: expected at least one, got shape {images.shape}")
        if batch_size < 1:
            raise ValueError(f"batch_size: expected at least 1, got {batch_size}")
        starts = range(0, len(images), batch_size)
        return np.concatenate([self._run(images[i : i + batch_size]) for i in starts])

    def _run(self, x: Array) -> Array:
        for stage in self.stages:
            x = stage.run(x)
        return x

    def predict(self, images: Array, batch_size: int = 1000) -> Array:
        """Classes (N,) of images (N, ...): the largest score; the first one of equals."""
        return self.scores(images, batch_size).argmax(axis=1)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the network to one file, atomically."""
        write_stages(path, self.stages, self.input_shape)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> PackedNetwork:
        """Read a network that `save` wrote, or raise FileError."""
        stages, input_shape = read_stages(path)
        try:
            return cls(stages, input_shape)
        except ValueError as error:
            raise FileError(f"{path}: damaged packed network file: {error}") from error

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        return sum(a.nbytes for stage in self.stages for a in stage.arrays().values())


def pack(network: Sequential) -> PackedNetwork:
    """Turn a trained network into bits and integers.

    Parameters
    ----------
    network : Sequential
        `Pixels` first, then blocks of a layer with `Sign` weights, layers that treat each channel
        by itself (batch norm), and a binary `Quantize`; the last block without `Quantize`.

    Returns
    -------
    PackedNetwork
        With the same scores, bit for bit, as the network in inference.

    Raises
    ------
    ValueError
        If a layer cannot be packed exactly; the message says which and why.

    Source
    ------
    Algorithm 5.
    """
    if not isinstance(network.layers[0], Pixels):
        raise ValueError(
            "network: expected Pixels as the first layer (images of 8 bits), got "
            f"{type(network.layers[0]).__name__}; real-valued input has no exact bits"
        )
    stages: list[Stage] = []
    block: list[Layer] = []
    for index, layer in enumerate(network.layers[1:], start=1):
        try:
            if isinstance(layer, Dense):
                if block:
                    raise ValueError("its input is not quantized: a Quantize layer must come first")
                stages.append(_pack_dense(layer, first=not stages))
                block = [layer]
            elif isinstance(layer, Quantize):
                stages.append(_pack_threshold(block, layer))
                block = []
            elif block and type(layer).pointwise is not Layer.pointwise:
                block.append(layer)
            elif not isinstance(layer, Flatten | Dropout):
                raise ValueError("this layer has no packed form here")
        except (ValueError, TypeError) as error:
            raise ValueError(f"layer {index} ({type(layer).__name__}): {error}") from error
    if not block:
        raise ValueError("network: expected real scores at the end, got no Dense layer there")
    stages.append(_pack_scores(block))
    return PackedNetwork(stages, network.input_shape)


def _pack_dense(layer: Dense, first: bool) -> Stage:
    quantizer = layer.weight_quantizer
    if quantizer is None or quantizer.encoding.largest != 1:
        raise ValueError("expected weights of one bit (weight_quantizer=Sign()), got others")
    if len(layer.input_shape) != 1:
        raise ValueError(f"expected a flat input, got {layer.input_shape}: put Flatten before it")
    words = pack_words(np.ascontiguousarray(layer.weight.codes.T))
    fan_in = layer.weight.shape[0]
    return PixelsDense(words, fan_in) if first else XnorDense(words, fan_in)


def _pack_threshold(block: list[Layer], quantize: Quantize) -> Threshold:
    if not block:
        raise ValueError("expected a Dense layer before it")
    if quantize.quantizer.encoding.largest != 1:
        raise ValueError("expected activations of one bit, Sign or StochasticSign")
    dense = block[0]
    assert isinstance(dense, Dense)

    def sign_of(sums: Array) -> Array:
        y = dense.finish(sums.astype(dense.dtype)[None])
        for layer in [*block[1:], quantize]:
            y = layer.pointwise(y)
        return y[0]

    largest = int(dense.largest_product) * dense.weight.shape[0]
    return Threshold(*find_thresholds(sign_of, largest, dense.units))


def _pack_scores(block: list[Layer]) -> Scores:
    dense, *rest = block
    assert isinstance(dense, Dense)
    bias = None if dense.bias is None else dense.bias.latent.copy()
    affine = [layer for layer in rest if not isinstance(layer, Dropout)]
    if not affine:
        return Scores(dense.dtype.name, dense.output_scale, bias)
    if len(affine) > 1 or not hasattr(affine[0], "affine"):
        names = ", ".join(type(layer).__name__ for layer in affine)
        raise ValueError(f"network: expected one batch norm after the last Dense, got {names}")
    arrays = [a.copy() for a in affine[0].affine()]
    return Scores(dense.dtype.name, dense.output_scale, bias, *arrays)
