"""What layers with products share: the products, quantized weights, their scales, a bias."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from qnn_ref._typing import Array, Shape
from qnn_ref.checks import flag, whole
from qnn_ref.grid import SIGNS
from qnn_ref.layers.base import Layer, needs_rng
from qnn_ref.parameter import Parameter, glorot_scale
from qnn_ref.products import BITS, PlainProducts
from qnn_ref.quantizers import Quantizer, Sign
from qnn_ref.quantizers.base import check_quantizer


def scale_and_add(s: Array, scale: float, bias: Array | None) -> Array:
    r"""From the product of codes to real sums: :math:`y = \mathrm{scale}\cdot s + \mathrm{bias}`.

    Parameters
    ----------
    s : array (..., units)
        Exact whole numbers, in a float type.
    scale : float
        Value of one unit; nothing is multiplied where it is 1.
    bias : array (units,) or None

    Returns
    -------
    array (..., units)

    References
    ----------
    Section 2.6 (fixed-point input); Algorithm 1, line 2.
    """
    y = s if scale == 1 else s * s.dtype.type(scale)
    return y if bias is None else y + bias


def try_weights(quantizer: Quantizer, dtype: DTypeLike) -> None:
    """Refuse a quantizer that cannot make weights, drawn or not, before any are needed.

    Parameters
    ----------
    quantizer : Quantizer
        Is tried with an array (1,).
    dtype : dtype
        Of the weights.

    Raises
    ------
    TypeError
        With the quantizer's name.

    References
    ----------
    Algorithm 1, line 1.
    """
    sample = np.zeros(1, dtype)
    try:
        noise = quantizer.draw(sample.shape, np.random.default_rng(0))  # the layer's own is kept
        for drawn in (None, noise):
            quantizer.encode(sample, drawn)
    except TypeError as error:
        raise TypeError(f"weight_quantizer: {error}") from error


def reach(quantizer: Quantizer) -> float:
    """Largest magnitude of a weight, where latent weights end; 1 for `Sign` and without a grid.

    Parameters
    ----------
    quantizer : Quantizer

    Returns
    -------
    float
        A scalar.

    References
    ----------
    Section 3, maxV, which the paper leaves open.
    """
    try:
        encoding = quantizer.encoding
    except TypeError:  # its grid follows the data
        return 1.0
    return encoding.scale * encoding.largest


class Multiplying(Layer):
    """A layer that asks for products: what is chosen for a network as a whole.

    References
    ----------
    Algorithm 1, lines 2, 8 and 9.
    """

    products: PlainProducts = BITS

    gradient_quantizer: Quantizer | None = None
    """Quantizes the gradient of the sums, at the top of backward; `quantize_gradients` sets it."""

    @property
    def input_scale(self) -> float:
        """Value of one unit of the input's codes."""
        return 1.0 if self.encoding is None else self.encoding.scale

    def takes_signs(self, training: bool) -> bool:
        """Whether the input holds nothing but +1 and -1; dropout in training puts zeros there."""
        encoding = self.training_encoding if training else self.encoding
        return encoding is not None and encoding.grid == SIGNS

    def quantized_gradient(self, dy: Array) -> Array:
        """The gradient `dy` (batch, ..., units) of the sums, as both backward products see it."""
        quantizer = self.gradient_quantizer
        if quantizer is None:
            return dy
        return quantizer.quantize(dy, quantizer.draw(dy.shape, self.rng))


class Weighted(Multiplying):
    """A layer that multiplies by quantized weights: the base of `Dense` and `Conv2D`.

    Parameters
    ----------
    units : int
        Number of outputs, or of output channels.
    weight_quantizer : Quantizer or None
        Turns latent weights into the ones of the products; None makes an ordinary float layer.
        Its surrogate is not used: the gradient of the quantized weight moves the latent one.
        A stochastic one draws new weights in each training forward, for its backward pass too.
    bias : bool
        Whether to add a bias. Before a batch norm it would have no effect.

    References
    ----------
    Algorithm 1, lines 1 and 11; eq. (2).
    """

    _drawn: Parameter | None = None

    def __init__(
        self, units: int, weight_quantizer: Quantizer | None = Sign(), bias: bool = False
    ) -> None:
        self.units = whole("units", units, 1, 2**31 - 1)
        if weight_quantizer is not None:
            check_quantizer("weight_quantizer", weight_quantizer)
        self.weight_quantizer = weight_quantizer
        self.has_bias = flag("bias", bias)

    def settings(self) -> dict[str, Any]:
        return super().settings() | {"bias": self.has_bias}

    def make_weights(self, shape: Shape, fan_in: int, fan_out: int) -> None:
        """Start weights of this shape, (..., units), and the bias; `build` calls it."""
        self.fan_in = fan_in
        quantizer = self.weight_quantizer
        if quantizer is not None:
            try_weights(quantizer, self.dtype)
        if self.largest_product * fan_in >= 2.0**53:
            raise ValueError(
                f"weight_quantizer: sums of {fan_in} products of up to {self.largest_product:g} "
                "are no exact whole numbers, not even in float64"
            )
        # Binary layers start in [-1, 1] (or what their quantizer reaches); float layers in Glorot's
        # range.
        bound = np.sqrt(6 / (fan_in + fan_out)) if quantizer is None else reach(quantizer)
        start = needs_rng(self.rng, self).uniform(-bound, bound, shape).astype(self.dtype)
        self.weight = Parameter(start)
        if quantizer is not None:
            self.weight = Parameter(start, quantizer, bound, bound * glorot_scale(fan_in, fan_out))
        self.bias = Parameter(np.zeros(self.units, self.dtype)) if self.has_bias else None

        self._drawn = None

    def draw_weight(self, training: bool) -> Parameter:
        """The weights of a forward pass: in training a stochastic quantizer draws new ones."""
        if not training:
            return self.weight
        self._drawn = self.weight.drawn(self.rng)
        return self._drawn

    @property
    def used_weight(self) -> Parameter:
        """The weights of the last training forward, which its backward pass uses again."""
        return self.weight if self._drawn is None else self._drawn

    def parameters(self) -> dict[str, Parameter]:
        if self.bias is None:
            return {"weight": self.weight}
        return {"weight": self.weight, "bias": self.bias}

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

    def finish(self, s: Array, weight: Parameter | None = None) -> Array:
        """From the product of codes, (..., units), to the layer's output: scale, then bias.

        Packing calls this very function on the integers of the packed product. `weight` is the one
        that was drawn for this pass.
        """
        scale = self.output_scale if weight is None else self.input_scale * weight.scale
        return scale_and_add(s, scale, None if self.bias is None else self.bias.latent)
