"""Dense layer with quantized weights (Algorithm 1, lines 1, 2, 8 and 9)."""

from __future__ import annotations

from typing import ClassVar

from qnn_ref._typing import Array, Shape
from qnn_ref.layers.weighted import Weighted


class Dense(Weighted):
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
        A stochastic one draws new weights in each training forward, by eq. (2), and its backward
        pass uses them again; inference and packing take the deterministic ones.
    bias : bool
        Whether to add a bias. Before a batch norm it would have no effect.

    References
    ----------
    Algorithm 1, lines 1, 2, 8, 9; eq. (2); initialisation and scale of section 4.2's recipes. The
    authors' code has a bias, which is redundant before batch norm.
    """

    any_steps: ClassVar[int] = 2

    def make(self) -> None:
        shape = self.input_shape[-1], self.units
        self.make_weights(shape, fan_in=shape[0], fan_out=shape[1])

    def output_shape(self, input_shape: Shape) -> Shape:
        return (*input_shape[:-1], self.units)

    def forward(self, x: Array, training: bool = False) -> Array:
        self.check_input(x)
        rows = x.reshape(-1, x.shape[-1])
        signs = self.takes_signs(training)
        weight = self.draw_weight(training)
        w = self.products.weights(weight)
        s = self.products.forward(rows, w, self.largest_product, signs)
        y = self.finish(s, weight).reshape(*x.shape[:-1], self.units)
        if training:
            self._saved = rows, signs, x.shape
        return y

    def backward(self, dy: Array) -> Array | None:
        rows, signs, shape = self.saved(dy)
        dy = self.quantized_gradient(dy).reshape(-1, self.units)
        if self.bias is not None:
            self.bias.grad = dy.sum(axis=0)
        ds = dy if self.input_scale == 1 else dy * dy.dtype.type(self.input_scale)
        self.weight.grad = None  # the old one makes room for the new one
        self.weight.grad = self.products.later_weight_gradient(rows, ds, signs)
        if not self.needs_input_gradient:
            return None
        scale = self.used_weight.scale
        dx = self.products.input_gradient(ds, self.products.weights(self.used_weight))
        return (dx if scale == 1 else dx * dx.dtype.type(scale)).reshape(shape)
