"""The network that runs on bits and integers (Algorithm 5)."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qnn_ref.files import FileError
from qnn_ref.packed.file import read_stages, write_stages
from qnn_ref.packed.stages import Scores, Stage

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
        If a step does not fit the one before it, or there are no scores at the end.
    """

    def __init__(self, stages: list[Stage], input_shape: tuple[int, ...]) -> None:
        if not stages or not isinstance(stages[-1], Scores):
            raise ValueError("stages: expected Scores at the end")
        self.stages = stages
        self.input_shape = input_shape
        shape = input_shape
        for stage in stages:
            shape = stage.output_shape(shape)
        self.output_shape = shape

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
            network = cls(stages, input_shape)
            # A step of another kind, or another grid, may fit by shape: one image shows it here.
            network.scores(np.zeros((1, *input_shape), np.uint8))
        except (TypeError, ValueError) as error:
            raise FileError(f"{path}: damaged packed network file: {error}") from error
        return network

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        return sum(a.nbytes for stage in self.stages for a in stage.arrays().values())
