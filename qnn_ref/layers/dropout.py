"""Dropout with inverted scaling (section 4.2, the MNIST recipe)."""

from __future__ import annotations

from types import MappingProxyType
from typing import ClassVar

import numpy as np

from qnn_ref._typing import Array, Shape
from qnn_ref.checks import real
from qnn_ref.layers.base import Layer, needs_rng
from qnn_ref.quantizers import Encoding
from qnn_ref.quantizers.base import masked


class Dropout(Layer):
    r"""In training each value is zeroed with probability `rate`, the others divided by 1 - rate.

    After a sign with rate 1/2 the next layer therefore sees -2, 0 and 2. In inference it passes
    everything on. The mask is kept, never read back from the output: images are full of zeros.

    Parameters
    ----------
    rate : float
        Probability of zero, in [0, 1).

    References
    ----------
    Section 4.2, MNIST: 0.2 on the input, 0.5 on hidden units.
    """

    any_steps: ClassVar[int] = 2

    jumps = MappingProxyType({"draw_mask": "choice"})

    def __init__(self, rate: float) -> None:
        self.rate = real("rate", rate, least=0, below=1)

    def output_encoding(self, encoding: Encoding | None, training: bool = False) -> Encoding | None:
        return encoding.off_grid() if training and encoding is not None else encoding

    def draw_mask(self, shape: Shape) -> Array:
        """Factors 0 or 1 / (1 - rate) of this shape, in the layer's float type."""
        kept = needs_rng(self.rng, self).random(shape, dtype=np.float32) >= self.rate
        mask: Array = kept.astype(self.dtype)
        mask /= 1 - self.rate
        return mask

    def forward(self, x: Array, training: bool = False) -> Array:
        self.check_input(x)
        if not training:
            return x
        self._saved = self.draw_mask(x.shape)
        return masked(x, self._saved)

    def pointwise(self, x: Array) -> Array:
        return x

    def backward(self, dy: Array) -> Array:
        return masked(dy, self.saved(dy))
