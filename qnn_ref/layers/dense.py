"""Dense layer with quantized weights (Algorithm 1, lines 1, 2, 8 and 9)."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import DTypeLike, NDArray

from qnn_ref.layers.base import Layer, Parameter, Shape, glorot_scale, needs_rng
from qnn_ref.products import PLAIN, PlainProducts
from qnn_ref.quantizers import Encoding, Quantizer, Sign

Array = NDArray[Any]


def scale_and_add(s: Array, scale: float, bias: Array | None) -> Array:
    r"""From the product of codes to real sums: :math:`y = \mathrm{scale}\cdot s + \mathrm{bias}`.

    Parameters
    ----------
    s : array (rows, units)
        Exact whole numbers, in a float type.
    scale : float
        Value of one unit; nothing is multiplied where it is 1.
    bias : array (units,) or None

    Returns
    -------
    array (rows, units)

    Source
    ------
    Section 2.6 (fixed-point input); Algorithm 1, line 2.
    """
    y = s if scale == 1 else s * s.dtype.type(scale)
    return y if bias is None else y + bias


class Dense(Layer):
    r"""Fully connected layer: :math:`s = x\,W^b`, with :math:`W^b` the quantized weights.

    The input holds codes (whole numbers, see `Encoding`) or real numbers. The product of codes is
    an exact integer and is multiplied by the scales afterwards, so the packed network starts from
    the very same integer.

    Parameters
    ----------
    units : int
        Number of outputs.
    weight_quantizer : Quantizer or None
        Turns latent weights into the ones of the products; None makes an ordinary float layer.
        Its surrogate is not used: the gradient of the quantized weight moves the latent one.
    bias : bool
        Whether to add a bias. Before a batch norm it would have no effect.

    Source
    ------
    Algorithm 1, lines 1, 2, 8, 9; initialisation and scale of section 4.2's recipes. The authors'
    code has a bias, which is redundant before batch norm.
    """

    products: PlainProducts = PLAIN

    def __init__(
        self, units: int, weight_quantizer: Quantizer | None = Sign(), bias: bool = False
    ) -> None:
        if units < 1:
            raise ValueError(f"units: expected at least 1, got {units}")
        self.units = units
        self.weight_quantizer = weight_quantizer
        self.has_bias = bias

    def build(
        self,
        input_shape: Shape,
        rng: np.random.Generator | None = None,
        encoding: Encoding | None = None,
        dtype: DTypeLike = np.float32,
    ) -> Self:
        super().build(input_shape, rng, encoding, dtype)
        fan_in, fan_out = self.input_shape[-1], self.units
        quantizer = self.weight_quantizer
        # Binary layers start in [-1, 1]; float layers in Glorot's range.
        bound = np.sqrt(6 / (fan_in + fan_out)) if quantizer is None else 1.0
        start = needs_rng(rng, self).uniform(-bound, bound, (fan_in, fan_out)).astype(dtype)
        self.weight = Parameter(start)
        if quantizer is not None:
            self.weight = Parameter(start, quantizer, 1.0, glorot_scale(fan_in, fan_out))
        self.bias = Parameter(np.zeros(fan_out, dtype)) if self.has_bias else None
        return self

    def output_shape(self, input_shape: Shape) -> Shape:
        return (*input_shape[:-1], self.units)

    def parameters(self) -> dict[str, Parameter]:
        if self.bias is None:
            return {"weight": self.weight}
        return {"weight": self.weight, "bias": self.bias}

    @property
    def input_scale(self) -> float:
        """Value of one unit of the input's codes."""
        return 1.0 if self.encoding is None else self.encoding.scale

    @property
    def output_scale(self) -> float:
        """Value of one unit of the product of codes."""
        return self.input_scale * self.weight.scale

    @property
    def largest_product(self) -> float:
        """Largest magnitude of input code x weight code; 0 where one is a real number."""
        if self.encoding is None or not self.encoding.on_grid or self.weight_quantizer is None:
            return 0.0
        return self.encoding.largest * self.weight_quantizer.encoding.largest

    def forward(self, x: Array, training: bool = False) -> Array:
        self.check_input(x)
        rows = x.reshape(-1, x.shape[-1])
        s = self.products.forward(rows, self.weight.codes, self.largest_product)
        y = self.finish(s).reshape(*x.shape[:-1], self.units)
        if training:
            self._saved = rows, x.shape
        return y

    def finish(self, s: Array) -> Array:
        """From the product of codes, (rows, units), to the layer's output: scale, then bias.

        Packing calls this very function on the integers of the packed product.
        """
        bias = None if self.bias is None else self.bias.latent
        return scale_and_add(s, self.output_scale, bias)

    def backward(self, dy: Array) -> Array | None:
        rows, shape = self.saved(dy)
        dy = dy.reshape(-1, self.units)
        if self.bias is not None:
            self.bias.grad = dy.sum(axis=0)
        ds = dy if self.input_scale == 1 else dy * dy.dtype.type(self.input_scale)
        self.weight.grad = self.products.weight_gradient(rows, ds)
        if not self.needs_input_gradient:
            return None
        scale = self.weight.scale
        dx = self.products.input_gradient(ds, self.weight.codes)
        return (dx if scale == 1 else dx * dx.dtype.type(scale)).reshape(shape)
