"""Convolution with quantized weights: every window of the image as a row of a matrix product.

Where the windows lie, and how they are written out, stands in `qnn_ref.geometry`.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qnn_ref.bits import (
    SignKernel,
    conv_input_gradient,
    conv_weight_gradient,
    pack,
    xnor_conv,
)
from qnn_ref.checks import flag
from qnn_ref.geometry import Pair, add_windows, output_size, pad_images, pair, windows
from qnn_ref.layers.base import Shape
from qnn_ref.layers.weighted import Weighted
from qnn_ref.parameter import Parameter
from qnn_ref.quantizers import Quantizer, Sign

Array = NDArray[Any]

WINDOW_BYTES = 2**25
"""Windows are written out for some images at a time: about 32 MiB of them."""


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

    Source
    ------
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
        if len(input_shape) != 3:
            raise ValueError(f"input: expected (height, width, channels), got {input_shape}")
        image = input_shape[0], input_shape[1]
        return (*output_size(image, self.kernel, self.stride, self.padding), self.units)

    @property
    def padding_code(self) -> float:
        """What stands in the border, in units of the input's codes."""
        if not self.one_padding:
            return 0.0
        return 1.0 if self.encoding is None or not self.encoding.on_grid else self.encoding.high

    def _matrix(self, weight: Parameter) -> Array:
        """Weight codes as a matrix (kh * kw * channels, units)."""
        return weight.codes.reshape(-1, self.units)

    def _parts(self, batch: int) -> Iterator[slice]:
        """Images whose windows are written out together."""
        high, wide, _ = self.output_shape(self.input_shape)
        image_bytes = high * wide * self.fan_in * self.dtype.itemsize
        step = max(1, WINDOW_BYTES // image_bytes)
        return (slice(i, min(i + step, batch)) for i in range(0, batch, step))

    def _kernel(self, weight: Parameter, training: bool) -> SignKernel | None:
        """Weights as bits, where the products have them and the input is signs; else None."""
        fits = self.stride == (1, 1) and all(map(operator.lt, self.padding, self.kernel))
        return self.products.kernel(weight) if fits and self.takes_signs(training) else None

    def forward(self, x: Array, training: bool = False) -> Array:
        self.check_input(x)
        weight = self.draw_weight(training)
        kernel = self._kernel(weight, training)
        if kernel is not None:
            channels, border = x.shape[-1], int(self.one_padding)
            s = xnor_conv(pack(x), kernel.forward, channels, 1, self.padding, border)
            if training:
                self._saved, self._by_bits = x, True
            return self.finish(s.astype(x.dtype), weight)
        padded = pad_images(x, self.padding, self.padding_code)
        w = self._matrix(weight)
        y = np.empty((len(x), *self.output_shape(self.input_shape)), x.dtype)
        for part in self._parts(len(x)):
            rows = windows(padded[part], self.kernel, self.stride).reshape(-1, self.fan_in)
            s = self.products.forward(rows, w, self.largest_product)
            y[part] = self.finish(s, weight).reshape(y[part].shape)
        if training:
            self._saved, self._by_bits = padded, False
        return y

    def backward(self, dy: Array) -> Array | None:
        kept = self.saved(dy)
        self.weight.grad = None  # the old one makes room for the new one
        dy = self.quantized_gradient(dy)
        if self.bias is not None:
            self.bias.grad = dy.sum(axis=(0, 1, 2))
        ds = dy if self.input_scale == 1 else dy * dy.dtype.type(self.input_scale)
        dx = self._backward_by_bits(kept, ds) if self._by_bits else self._backward(kept, ds)
        scale = self.used_weight.scale
        return dx if dx is None or scale == 1 else dx * dx.dtype.type(scale)

    def _backward_by_bits(self, x: Array, ds: Array) -> Array | None:
        """Both gradients by lookup, from those of the sums."""
        border = int(self.one_padding)
        self.weight.grad = conv_weight_gradient(x, ds, self.kernel, self.padding, border)
        if not self.needs_input_gradient:
            return None
        kernel = self.products.kernel(self.used_weight)
        return conv_input_gradient(kernel, ds, x.shape[1:3], self.padding)  # type: ignore[arg-type]

    def _backward(self, padded: Array, ds: Array) -> Array | None:
        """Both gradients window by window, from those of the sums."""
        w = self._matrix(self.used_weight)
        dw = np.zeros_like(w)
        dx = np.empty(padded.shape, ds.dtype) if self.needs_input_gradient else None
        for part in self._parts(len(ds)):
            view = windows(padded[part], self.kernel, self.stride)
            rows, sums = view.reshape(-1, self.fan_in), ds[part].reshape(-1, self.units)
            dw += self.products.weight_gradient(rows, sums)
            if dx is not None:
                drows = self.products.input_gradient(sums, w)
                dx[part] = add_windows(drows.reshape(view.shape), dx[part].shape, self.stride)
        self.weight.grad = dw.reshape(self.weight.shape)
        if dx is None:
            return None
        top, left = self.padding
        high, wide, _ = self.input_shape
        return dx[:, top : top + high, left : left + wide]
