"""Embedding: a row of numbers for each word or character (section 4.4)."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from qnn_ref._typing import Array, Shape
from qnn_ref.checks import whole
from qnn_ref.layers.base import Layer, needs_rng
from qnn_ref.layers.weighted import reach, try_weights
from qnn_ref.parameter import Parameter
from qnn_ref.quantizers import Encoding, LinearQuant, Quantizer
from qnn_ref.quantizers.base import check_quantizer


class Embedding(Layer):
    r"""Rows of a table: :math:`y_t = W[x_t]`, the product of a one-hot vector with the table.

    With quantized weights the output holds *codes*, as that of `Quantize`: the operand of the next
    product is quantized. A row's gradient is the sum over all places where its word stood.

    Parameters
    ----------
    vocabulary : int
        Number of words or characters; the input holds their numbers, from 0.
    units : int
        Numbers of a row.
    weight_quantizer : Quantizer or None
        Of the table; None makes an ordinary float layer.

    References
    ----------
    Section 4.4; that the table is quantized is our reading, since it is what the first product of
    the cell is formed of. Its rate is not scaled: a word meets one row.
    """

    differentiable: ClassVar[bool] = False
    any_steps: ClassVar[int] = 1

    def __init__(
        self, vocabulary: int, units: int, weight_quantizer: Quantizer | None = LinearQuant(4)
    ) -> None:
        self.vocabulary = whole("vocabulary", vocabulary, 1, 2**31 - 1)
        self.units = whole("units", units, 1, 2**31 - 1)
        if weight_quantizer is not None:
            check_quantizer("weight_quantizer", weight_quantizer)
        self.weight_quantizer = weight_quantizer

    def make(self) -> None:
        quantizer = self.weight_quantizer
        if quantizer is not None:
            try_weights(quantizer, self.dtype)
        bound = 1.0 if quantizer is None else reach(quantizer)
        shape = self.vocabulary, self.units
        start = needs_rng(self.rng, self).uniform(-bound, bound, shape).astype(self.dtype)
        self.weight = Parameter(start)
        if quantizer is not None:
            self.weight = Parameter(start, quantizer, bound)

    def parameters(self) -> dict[str, Parameter]:
        return {"weight": self.weight}

    def output_shape(self, input_shape: Shape) -> Shape:
        return (*input_shape, self.units)

    def output_encoding(self, encoding: Encoding | None, training: bool = False) -> Encoding | None:
        return None if self.weight_quantizer is None else self.weight_quantizer.encoding

    def check_words(self, x: Array) -> None:
        """Refuse an input that holds no numbers of words."""
        self.check_input(x, x.dtype if isinstance(x, np.ndarray) else None)
        if x.dtype.kind not in "iu":
            raise TypeError(f"x: expected dtype int64 or another of integers, got {x.dtype}")
        if x.min() < 0 or x.max() >= self.vocabulary:
            place = np.argwhere((x < 0) | (x >= self.vocabulary))[0]
            raise ValueError(
                f"x: expected numbers from 0 to {self.vocabulary - 1}, got {x[tuple(place)]} at "
                f"{place.tolist()}"
            )

    def forward(self, x: Array, training: bool = False) -> Array:
        self.check_words(x)
        weight = self.weight.drawn(self.rng) if training else self.weight
        if training:
            self._saved = x, weight.scale
        return weight.codes[x]

    def backward(self, dy: Array) -> None:
        """Gradient of the table; the numbers of words have none."""
        x, scale = self.saved(dy)
        words, rows = x.ravel(), dy.reshape(-1, self.units)
        order = np.argsort(words, kind="stable")  # equal words side by side, then one sum each
        found, starts = np.unique(words[order], return_index=True)
        self.weight.grad = np.zeros(self.weight.shape, dy.dtype)
        self.weight.grad[found] = np.add.reduceat(rows[order], starts, axis=0)
        if scale != 1:
            self.weight.grad /= dy.dtype.type(scale)
