"""The network that runs on bits and integers (Algorithm 5)."""

from __future__ import annotations

import math
import os

import numpy as np

from qnn_ref import shown
from qnn_ref._typing import Array
from qnn_ref.checks import NotFiniteError, plain_array, shape
from qnn_ref.files import FileError
from qnn_ref.grid import PIXELS
from qnn_ref.network import in_batches
from qnn_ref.packed import (  # noqa: F401  the kinds that files name
    product_stages,
    recurrent_stages,
    shape_stages,
)
from qnn_ref.packed.file import read_stages, write_stages
from qnn_ref.packed.stages import Flow, Stage, flow_through
from qnn_ref.packed.thresholds import Scores


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
        sizes = shape("input_shape", input_shape)
        out = flow_through(stages, Flow("pixels", sizes, PIXELS))
        self.stages = stages
        self.input_shape = sizes
        self.output_shape = out.shape

    def _rows(self) -> list[tuple[str, ...]]:
        rows: list[tuple[str, ...]] = [("step", "output", "of", "bytes")]
        flow = Flow("pixels", self.input_shape, PIXELS)
        for number, stage in enumerate(self.stages):
            flow = stage.output(flow)
            count = sum(array.nbytes for array in stage.arrays().values())
            name = f"{number} {type(stage).__name__}"
            rows.append((name, str(flow.shape), flow.kind, f"{count:,}"))
        return rows

    def __repr__(self) -> str:
        """A table of the steps: what flows out of each, and how much it holds."""
        return shown.columns(self._rows(), right=(3,))

    def _repr_html_(self) -> str:
        return shown.html_table(self._rows(), right=(3,))

    def scores(self, images: Array, batch_size: int = 1000) -> Array:
        """Scores (N, classes) of images (N, ...) of uint8, in batches; none is dropped."""
        plain_array("images", images)
        if images.dtype != np.uint8:
            raise TypeError(f"images: expected uint8 (0 to 255), got {images.dtype}")
        if images.shape[1:] != self.input_shape or images.ndim != len(self.input_shape) + 1:
            expected = ", ".join(map(str, ("N", *self.input_shape)))
            raise ValueError(f"images: expected shape ({expected}), got {images.shape}")
        with np.errstate(over="ignore", invalid="ignore"):  # looked at below
            scores = in_batches(self._run, images, batch_size)
            total = np.vdot(scores, scores)  # finite only if all are, and quick for one image
        if not (math.isfinite(total) or np.isfinite(scores).all()):
            place = np.argwhere(~np.isfinite(scores))[0].tolist()
            raise NotFiniteError(f"network: its scores are not finite, first that of {place}")
        return scores

    def _run(self, x: Array) -> Array:
        for stage in self.stages:
            x = stage.run(x)
        return x

    def predict(self, images: Array, batch_size: int = 1000) -> Array:
        """Classes (N,) of images (N, ...): the largest score; the first one of equals."""
        return self.scores(images, batch_size).argmax(axis=1)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the network to one file, whole or not at all."""
        write_stages(path, self.stages, self.input_shape)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> PackedNetwork:
        """Read a network that `save` wrote, or raise FileError."""
        stages, input_shape = read_stages(path)
        try:
            return cls(stages, input_shape)
        except (TypeError, ValueError) as error:
            raise FileError(f"{path}: damaged packed network file: {error}") from error

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        return sum(a.nbytes for stage in self.stages for a in stage.arrays().values())
