"""Layers without weights: integer input, quantized activations, hard tanh, flatten."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType
from typing import ClassVar

import numpy as np

from qnn_ref._typing import Array, Shape
from qnn_ref.checks import real
from qnn_ref.layers.base import Layer, in_float_type
from qnn_ref.quantizers import (
    Encoding,
    Quantizer,
    Sign,
    hard_tanh,
    hard_tanh_backward,
)
from qnn_ref.quantizers.base import check_quantizer, check_saturation


class Pixels(Layer):
    r"""Images of 8 bits as the odd integers :math:`2p - 255`, in the network's float type.

    With the scale 1/255 these are the paper's inputs in [-1, 1], and their product with +-1
    weights is exactly the literal XNOR form of Algorithm 5's first loop.

    Parameters
    ----------
    scale : float
        Value of one unit. Another one stands for standardized pixels, up to a constant that a
        following batch norm takes away.

    References
    ----------
    Section 2.6, eq. (7); the range [-1, 1] from section 4.2's recipes.
    """

    differentiable: ClassVar[bool] = False

    def __init__(self, scale: float = 1 / 255) -> None:
        self.scale = real("scale", scale, above=0)

    def make(self) -> None:
        in_float_type("scale", self.scale, self.dtype)

    def output_encoding(self, encoding: Encoding | None, training: bool = False) -> Encoding:
        return Encoding(self.scale, -255, 255, 2)

    def forward(self, x: Array, training: bool = False) -> Array:
        self.check_input(x, np.uint8)
        if training:
            self._saved = x.shape
        codes = x.astype(self.dtype)
        codes *= 2
        codes -= 255
        return codes

    def backward(self, dy: Array) -> None:
        """Integers have no gradient."""
        self.saved(dy)


class Quantize(Layer):
    r"""Quantized activation: emits *codes*; the value is `scale * codes`.

    Forward is the quantizer's code, backward its straight-through gradient. The gradient that
    comes in is that of the codes, so it is divided by the scale first.

    Parameters
    ----------
    quantizer : Quantizer
        `Sign()` for the paper's binary units. A stochastic one draws in training only.

    References
    ----------
    Algorithm 1, lines 4 and 6; eqs. (1), (2), (4).
    """

    any_steps: ClassVar[int] = 2

    jumps = MappingProxyType({"quantizer": "quantizer"})

    def __init__(self, quantizer: Quantizer = Sign()) -> None:
        self.quantizer = check_quantizer("quantizer", quantizer)

    def output_encoding(self, encoding: Encoding | None, training: bool = False) -> Encoding:
        return self.quantizer.encoding

    def relax(self, saturation: float) -> None:
        """Widen the bound of the surrogate (section 4.3); the forward pass does not change."""
        self.quantizer = replace(self.quantizer, saturation=saturation)  # type: ignore[type-var]

    def forward(self, x: Array, training: bool = False) -> Array:
        self.check_input(x)
        noise = self.quantizer.draw(x.shape, self.rng) if training else None
        codes, scale = self.quantizer.encode(x, noise)
        if training:
            self._saved = x, scale
        return codes

    def pointwise(self, x: Array) -> Array:
        return self.quantizer.encode(x)[0]

    def backward(self, dy: Array) -> Array:
        x, scale = self.saved(dy)
        dx = self.quantizer.backward(dy, x)
        return dx if scale == 1 else dx / dx.dtype.type(scale)


class HardTanh(Layer):
    r"""Hard tanh activation, the binary unit without its jump: the float networks use it.

    Parameters
    ----------
    saturation : float
        The bound, 1 in the paper.

    References
    ----------
    Eqs. (4), (5).
    """

    any_steps: ClassVar[int] = 2

    def __init__(self, saturation: float = 1.0) -> None:
        check_saturation(saturation)
        self.saturation = saturation

    def forward(self, x: Array, training: bool = False) -> Array:
        self.check_input(x)
        if training:
            self._saved = x
        return self.pointwise(x)

    def pointwise(self, x: Array) -> Array:
        return hard_tanh(x, self.saturation)

    def backward(self, dy: Array) -> Array:
        return hard_tanh_backward(dy, self.saved(dy), self.saturation)


class Flatten(Layer):
    """Images (batch, height, width, channels) as rows (batch, features), channels innermost.

    References
    ----------
    Section 4.2: the images of the dense networks are plain vectors.
    """

    def output_shape(self, input_shape: Shape) -> Shape:
        return (int(np.prod(input_shape)),)

    def output_encoding(self, encoding: Encoding | None, training: bool = False) -> Encoding | None:
        return encoding

    def forward(self, x: Array, training: bool = False) -> Array:
        self.check_input(x)
        if training:
            self._saved = x.shape
        return x.reshape(x.shape[0], -1)

    def backward(self, dy: Array) -> Array:
        shape = self.saved(dy)
        return dy.reshape(shape)
