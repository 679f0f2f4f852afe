"""The products that a layer asks for, forward and backward: Algorithm 1, lines 2, 8 and 9."""

from __future__ import annotations

from dataclasses import dataclass
from functools import singledispatch

from qnn_ref.cost.operations import Operand, gradients_of, of_encoding, weights_of
from qnn_ref.cost.sites import Site
from qnn_ref.layers import Layer
from qnn_ref.layers.recurrent import Recurrent
from qnn_ref.layers.weighted import Multiplying, Weighted


@dataclass(frozen=True)
class Product:
    """A product of matrices, or a convolution, that a layer asks for.

    Parameters
    ----------
    what : {"sums", "state sums", "input gradient", "state gradient", "weight gradient"}
    a, b : Operand
    pairs : int
        Pairs of numbers that are multiplied, in the whole batch.
    sums : int
        Results.

    References
    ----------
    Algorithm 1, lines 2, 8 and 9.
    """

    what: str
    a: Operand
    b: Operand
    pairs: int
    sums: int


def input_of(layer: Layer, training: bool) -> Operand:
    """Operand that comes in.

    Parameters
    ----------
    layer : Layer
        Built.
    training : bool
        Dropout in training leaves real numbers.

    Returns
    -------
    Operand

    References
    ----------
    Section 2.6.
    """
    return of_encoding(layer.training_encoding if training else layer.encoding)


@singledispatch
def forward_products(layer: Layer, site: Site) -> list[Product]:
    """Products of a layer's forward pass; none for most layers.

    Parameters
    ----------
    layer : Layer
    site : Site

    Returns
    -------
    list of Product

    References
    ----------
    Algorithm 1, line 2.
    """
    return []


@forward_products.register
def _(layer: Weighted, site: Site) -> list[Product]:
    x, w = input_of(layer, site.training), weights_of(layer)
    return [Product("sums", x, w, site.m * layer.fan_in, site.m)]


@forward_products.register
def _(layer: Recurrent, site: Site) -> list[Product]:
    w, steps = weights_of(layer), site.examples * site.shape[0]
    sums = steps * layer.blocks * layer.units
    state = of_encoding(None if layer.quantizer is None else layer.quantizer.encoding)
    x = input_of(layer, site.training)
    return [
        Product("sums", x, w, sums * site.shape[1], sums),
        Product("state sums", state, w, sums * layer.units, sums),
    ]


def backward_products(layer: Layer, site: Site) -> list[Product]:
    """Products of a layer's backward pass: for each forward one, one or two of as many pairs.

    Parameters
    ----------
    layer : Layer
    site : Site

    Returns
    -------
    list of Product
        The lowest layer with weights forms no gradient of its input.

    References
    ----------
    Algorithm 1, lines 8 and 9.
    """
    if not isinstance(layer, Multiplying):
        return []
    dy, found = gradients_of(layer), []
    for forward in forward_products(layer, site):
        state = forward.what == "state sums"
        fan_in = forward.pairs // forward.sums
        weights = fan_in * (site.out[-1] * getattr(layer, "blocks", 1))
        found.append(Product("weight gradient", forward.a, dy, forward.pairs, weights))
        if state:
            sums = site.examples * site.shape[0] * fan_in
            found.append(Product("state gradient", dy, forward.b, forward.pairs, sums))
        elif layer.needs_input_gradient:
            found.append(Product("input gradient", dy, forward.b, forward.pairs, site.n))
    return found
