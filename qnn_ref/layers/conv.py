"""Convolution with quantized weights: every window of the image as a row of a matrix product.

A window is what the kernel covers at one place of the output. All windows together, each written
out as a row of kh * kw * channels numbers (`windows`), turn the convolution into the product of a
dense layer, forward and backward. On the way back each row's gradient is added to the pixels that
the window covered (`add_windows`): a pixel that several windows share gets the sum, and one that
no window covers gets 0.
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
from qnn_ref.checks import flag, whole
from qnn_ref.layers.base import Shape
from qnn_ref.layers.weighted import Weighted
from qnn_ref.parameter import Parameter
from qnn_ref.quantizers import Quantizer, Sign

Array = NDArray[Any]
Pair = tuple[int, int]

LARGEST = 2**31 - 1
"""No window is larger or moves farther."""

WINDOW_BYTES = 2**25
"""Windows are written out for some images at a time: about 32 MiB of them."""


def pair(name: str, value: int | Pair, least: int) -> Pair:
    """Height and width of something that is given as one number or two.

    Parameters
    ----------
    name : str
        What the error message calls it.
    value : int or pair of int
        A list or an array of two as well.
    least : int
        The smallest allowed number.

    Returns
    -------
    tuple of int
        (height, width).

    Raises
    ------
    ValueError
        If it is neither, or too small.

    Source
    ------
    Not in the paper.
    """
    both = value if isinstance(value, tuple | list | np.ndarray) and np.ndim(value) else [value] * 2
    try:
        high, wide = (whole(name, n, least, LARGEST) for n in both)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{name}: expected one or two whole numbers from {least}, got {value!r}"
        ) from error
    return high, wide


def output_size(image: Pair, kernel: Pair, stride: Pair, padding: Pair) -> Pair:
    r"""Number of places of the window: :math:`\lfloor (n + 2p - k) / s \rfloor + 1`.

    Parameters
    ----------
    image, kernel, stride, padding : pair of int
        Height and width of each; padding stands on both sides.

    Returns
    -------
    tuple of int
        (height, width) of the output.

    Raises
    ------
    ValueError
        If the kernel does not fit in the padded image.

    Source
    ------
    Section 4.2 (3x3, stride 1, padding 1 keep the size).
    """
    padded = image[0] + 2 * padding[0], image[1] + 2 * padding[1]
    if padded[0] < kernel[0] or padded[1] < kernel[1]:
        raise ValueError(
            f"kernel: {kernel[0]} x {kernel[1]} does not fit in an image of "
            f"{padded[0]} x {padded[1]} (padding included)"
        )
    return (
        (padded[0] - kernel[0]) // stride[0] + 1,
        (padded[1] - kernel[1]) // stride[1] + 1,
    )


def pad_images(x: Array, padding: Pair, value: float) -> Array:
    """Put a border of `value` around each image.

    Parameters
    ----------
    x : array (batch, height, width, channels)
    padding : pair of int
        Rows above and below, columns left and right.
    value : float

    Returns
    -------
    array (batch, height + 2 rows, width + 2 columns, channels)
        `x` itself if there is nothing to put.

    Source
    ------
    Section 4.2's recipes (zeros); one-padding is ours.
    """
    if padding == (0, 0):
        return x
    rows, columns = padding
    return np.pad(x, ((0, 0), (rows, rows), (columns, columns), (0, 0)), constant_values=value)


def windows(x: Array, kernel: Pair, stride: Pair) -> Array:
    r"""All windows of padded images, as a view: nothing is copied.

    :math:`\mathrm{windows}[b, i, j, u, v, c] = x[b, s_h i + u, s_w j + v, c]`

    Parameters
    ----------
    x : array (batch, height, width, channels)
        With its border.
    kernel, stride : pair of int

    Returns
    -------
    array (batch, out_height, out_width, kh, kw, channels), read-only

    Source
    ------
    Section 4.2; the geometry of any convolution.
    """
    every = np.lib.stride_tricks.sliding_window_view(x, kernel, axis=(1, 2))
    return every[:, :: stride[0], :: stride[1]].transpose(0, 1, 2, 4, 5, 3)


def taps(x: Array, kernel: Pair, stride: Pair) -> list[Array]:
    r"""The same place of every window, for each place in the order of reading, as views.

    :math:`\mathrm{taps}[u\,k_w + v][b, i, j, c] = x[b, s_h i + u, s_w j + v, c]`

    Parameters
    ----------
    x : array (batch, height, width, channels)
        With its border.
    kernel, stride : pair of int

    Returns
    -------
    list of kh kw arrays (batch, out_height, out_width, channels)

    Source
    ------
    Section 4.2; the geometry of any convolution or pool.
    """
    high, wide = output_size(x.shape[1:3], kernel, stride, (0, 0))  # type: ignore[arg-type]
    down, right = stride
    return [
        x[:, u : u + down * (high - 1) + 1 : down, v : v + right * (wide - 1) + 1 : right]
        for u in range(kernel[0])
        for v in range(kernel[1])
    ]


def add_windows(dw: Array, padded: Shape, stride: Pair) -> Array:
    r"""Backward of `windows`: each pixel's gradient is the sum over the windows that hold it.

    :math:`\delta_x[b, y, x, c] = \sum_{s_h i + u = y,\ s_w j + v = x} \delta_w[b, i, j, u, v, c]`

    Parameters
    ----------
    dw : array (batch, out_height, out_width, kh, kw, channels)
        Gradient of the windows.
    padded : tuple of int
        Shape (batch, height, width, channels) of the padded images.
    stride : pair of int

    Returns
    -------
    array, shape `padded`
        0 where no window reached.

    Source
    ------
    Section 4.2, backward: by the chain rule contributions add.
    """
    kh, kw = dw.shape[3:5]
    dx = np.zeros(padded, dw.dtype)
    for place, tap in enumerate(taps(dx, (kh, kw), stride)):
        tap += dw[:, :, :, place // kw, place % kw]
    return dx


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
