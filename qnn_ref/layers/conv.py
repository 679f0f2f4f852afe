"""Convolution with quantized weights: a dense layer for every window of the image.

Where the windows lie stands in `qnn_ref.geometry`, how they are multiplied in `qnn_ref.products`.
"""

from __future__ import annotations

from qnn_ref._typing import Array, Pair, Shape
from qnn_ref.checks import flag
from qnn_ref.geometry import Geometry, geometry_of, pair
from qnn_ref.layers.weighted import Weighted
from qnn_ref.quantizers import Quantizer, Sign


class Conv2D(Weighted):
    r"""Convolution (no flip of the kernel) with quantized weights.

    :math:`s[b, i, j, n] = \sum_{u, v, c} x[b, s_h i + u - p_h, s_w j + v - p_w, c]\,w^b[u,v,c,n]`

    A border of zeros is neither +1 nor -1: border sums have fewer terms, and the packed network
    corrects for that exactly. As in `Dense`, the sum of codes is an exact integer.

    Parameters
    ----------
    units : int
        Number of output channels.
    kernel, stride, padding : int or pair of int
        Height and width; padding stands on both sides.
    weight_quantizer : Quantizer or None
        As in `Dense`.
    bias : bool
    one_padding : bool
        Pad with +1 (the input's largest code) instead of 0: then every tap is a bit.

    Notes
    -----
    Kernels of Torch, PyTorch and Theano are (units, channels, kh, kw): `w.transpose(2, 3, 1, 0)` is
    ours. **Theano flips the kernel**, Torch and PyTorch do not: its weights need `[::-1, ::-1]` as
    well. Their images are (batch, channels, height, width), so after `Flatten` the rows of the
    first dense layer stand in another order too: channels first there, channels last here.

    References
    ----------
    Section 4.2 (layers), Algorithm 1, lines 1, 2, 8, 9 for each window. The authors' code pads with
    zeros. The Glorot scale counts kh * kw * channels, in and out, and ignores pooling.
    """

    def __init__(
        self,
        units: int,
        kernel: int | Pair = 3,
        *,
        stride: int | Pair = 1,
        padding: int | Pair = 0,
        weight_quantizer: Quantizer | None = Sign(),
        bias: bool = False,
        one_padding: bool = False,
    ) -> None:
        super().__init__(units, weight_quantizer, bias)
        self.kernel = pair("kernel", kernel, 1)
        self.stride = pair("stride", stride, 1)
        self.padding = pair("padding", padding, 0)
        self.one_padding = flag("one_padding", one_padding)

    def make(self) -> None:
        taps = self.kernel[0] * self.kernel[1]
        channels = self.input_shape[-1]
        self.make_weights((*self.kernel, channels, self.units), taps * channels, taps * self.units)

    def output_shape(self, input_shape: Shape) -> Shape:
        return (*self.geometry(input_shape).output, self.units)

    def geometry(self, input_shape: Shape) -> Geometry:
        """Where the windows lie in images (height, width, channels)."""
        if len(input_shape) != 3:
            raise ValueError(f"input: expected (height, width, channels), got {input_shape}")
        return geometry_of(input_shape[:2], self.kernel, self.stride, self.padding)

    @property
    def border(self) -> float:
        """What stands outside the images, in units of the input's codes."""
        if not self.one_padding:
            return 0.0
        return 1.0 if self.encoding is None or not self.encoding.on_grid else self.encoding.high

    def forward(self, x: Array, training: bool = False) -> Array:
        self.check_input(x)
        place, signs = self.geometry(self.input_shape), self.takes_signs(training)
        weight = self.draw_weight(training)
        s = self.products.conv(x, weight, place, self.border, self.largest_product, signs)
        if training:
            self._saved = x, signs
        return self.finish(s, weight)

    def backward(self, dy: Array) -> Array | None:
        x, signs = self.saved(dy)
        place = self.geometry(self.input_shape)
        dy = self.quantized_gradient(dy)
        if self.bias is not None:
            self.bias.grad = dy.sum(axis=(0, 1, 2))
        ds = dy if self.input_scale == 1 else dy * dy.dtype.type(self.input_scale)
        self.weight.grad = None  # the old one makes room for the new one
        self.weight.grad = self.products.conv_weight_gradient(x, ds, place, self.border, signs)
        if not self.needs_input_gradient:
            return None
        scale = self.used_weight.scale
        dx = self.products.conv_input_gradient(ds, self.used_weight, place, signs)
        return dx if scale == 1 else dx * dx.dtype.type(scale)
