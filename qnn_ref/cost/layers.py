"""What one layer does besides its products, forward and backward, number by number.

`forward_tally` and `backward_tally` have a form for each kind of layer, with n numbers in, m
numbers out and C channels, all of the whole batch. They count what the methods of that layer do,
line by line; a kind without a form is refused by name, so that no layer costs nothing by mistake.
"""

from __future__ import annotations

import math
from collections import Counter
from functools import singledispatch
from typing import Any

from qnn_ref.cost.operations import Tally
from qnn_ref.cost.sites import Site, quantizer_tally
from qnn_ref.layers import (
    LSTM,
    RNN,
    Auxiliary,
    AveragePool2D,
    BatchNorm,
    Branches,
    Dropout,
    Embedding,
    Flatten,
    HardTanh,
    Layer,
    MaxPool2D,
    Pixels,
    Quantize,
    ShiftBatchNorm,
)
from qnn_ref.layers.recurrent import Recurrent
from qnn_ref.layers.weighted import Weighted

# Forward


def _no_form(layer: Any) -> TypeError:
    return TypeError(
        f"layer: the operations of {type(layer).__name__} are not known; register a form of it "
        "with qnn_ref.cost.layers.forward_tally and backward_tally"
    )


@singledispatch
def forward_tally(layer: Layer, site: Site) -> Tally:
    """Operations of a layer's forward pass without its products.

    Parameters
    ----------
    layer : Layer
        Built.
    site : Site

    Returns
    -------
    Counter of Operation

    Raises
    ------
    TypeError
        If there is no form for this kind of layer.

    References
    ----------
    Algorithm 1, lines 1 to 4; Algorithm 2.
    """
    raise _no_form(layer)


@singledispatch
def backward_tally(layer: Layer, site: Site) -> Tally:
    """Operations of a layer's backward pass without its products.

    Parameters
    ----------
    layer : Layer
        Built.
    site : Site

    Returns
    -------
    Counter of Operation

    Raises
    ------
    TypeError
        If there is no form for this kind of layer.

    References
    ----------
    Algorithm 1, lines 5 to 9.
    """
    raise _no_form(layer)


@forward_tally.register(Flatten)
@forward_tally.register(Branches)
@forward_tally.register(Auxiliary)
@forward_tally.register(Embedding)
def _(layer: Layer, site: Site) -> Tally:
    """Numbers are moved; what stands inside counts for itself."""
    if isinstance(layer, Embedding) and site.training and site.quantized:
        return quantizer_tally(layer.weight_quantizer, layer.weight.size, site)
    return Counter()


@forward_tally.register
def _(layer: Pixels, site: Site) -> Tally:
    """The bits of a pixel are its planes; a float has to be made of it."""
    return Counter() if site.quantized else site.count(multiply=site.n, add=site.n)


@forward_tally.register
def _(layer: Weighted, site: Site) -> Tally:
    found = Counter(site.count(add=site.m if layer.has_bias else 0))
    if site.quantized:
        if site.training:
            found += quantizer_tally(layer.weight_quantizer, layer.weight.size, site, drawn=True)
        found += site.count(multiply=0 if layer.output_scale == 1 else site.m)
    return found


@forward_tally.register
def _(layer: HardTanh, site: Site) -> Tally:
    return site.count(compare=2 * site.n)


@forward_tally.register
def _(layer: Quantize, site: Site) -> Tally:
    """In a network of floats a hard tanh stands in its place."""
    if not site.quantized:
        return site.count(compare=2 * site.n)
    return quantizer_tally(layer.quantizer, site.n, site, drawn=site.training)


@forward_tally.register
def _(layer: Dropout, site: Site) -> Tally:
    return site.count(compare=site.n, multiply=site.n) if site.training else Counter()


@forward_tally.register
def _(layer: MaxPool2D, site: Site) -> Tally:
    return site.count(compare=(math.prod(layer.size) - 1) * site.m)


@forward_tally.register
def _(layer: AveragePool2D, site: Site) -> Tally:
    """Of codes the sum is passed on; real numbers are divided by their number."""
    codes = site.quantized and layer.encoding is not None
    return site.count(add=layer.area * site.m, multiply=0 if codes else site.m)


@forward_tally.register
def _(layer: BatchNorm, site: Site) -> Tally:
    n, C = site.n, site.shape[-1]
    if not site.training:
        return site.count(add=2 * n, multiply=2 * n)
    each = site.count(add=4 * n, multiply=3 * n)  # mean, centre, squares, their mean, r, g, b
    return each + site.count(multiply=6 * C, add=3 * C, divide=C, root=C)


@forward_tally.register
def _(layer: ShiftBatchNorm, site: Site) -> Tally:
    if not site.quantized:
        return forward_tally.dispatch(BatchNorm)(layer, site)
    n, C = site.n, site.shape[-1]
    if not site.training:
        return site.count(add=2 * n, shift=2 * n)
    each = site.count(add=4 * n, shift=3 * n, AP2=n)
    return each + site.count(AP2=2 * C, multiply=6 * C, add=3 * C, divide=C, root=C)


@forward_tally.register
def _(layer: Recurrent, site: Site) -> Tally:
    steps = site.examples * site.shape[0]
    units, sums = steps * layer.units, steps * layer.units * layer.blocks
    found = Counter(site.count(add=2 * sums)) + cell_tally(layer, units, site)
    if site.quantized:
        weights = layer.input_weight.size + layer.recurrent_weight.size
        if site.training:
            found += quantizer_tally(layer.weight_quantizer, weights, site, drawn=True)
        found += quantizer_tally(layer.quantizer, units, site, drawn=site.training)
        scales = (
            layer.input_scale * layer.input_weight.scale,
            (layer.hidden_scale * layer.recurrent_weight.scale),
        )
        found += site.count(multiply=sums * sum(scale != 1 for scale in scales))
    return found


def cell_tally(layer: Recurrent, units: int, site: Site) -> Tally:
    """Operations of the steps of a cell, from sums to states.

    Parameters
    ----------
    layer : RNN or LSTM
    units : int
        States of all steps and examples.
    site : Site

    Returns
    -------
    Counter of Operation
        A sigmoid is a tanh, two multiplications and an addition.

    References
    ----------
    Section 4.4; the paper prints no cell.
    """
    if isinstance(layer, LSTM):
        return site.count(function=5 * units, multiply=9 * units, add=4 * units)
    relu = isinstance(layer, RNN) and layer.activation == "relu"
    return site.count(**{"compare" if relu else "function": units})


# Backward


@backward_tally.register(Flatten)
@backward_tally.register(Pixels)
def _(layer: Layer, site: Site) -> Tally:
    return Counter()


@backward_tally.register
def _(layer: Embedding, site: Site) -> Tally:
    """Each row's gradients are added up; the table's are divided by the scale."""
    scaled = site.quantized and layer.weight_quantizer is not None and layer.weight.scale != 1
    return site.count(add=site.m, multiply=layer.weight.size if scaled else 0)


@backward_tally.register
def _(layer: Branches, site: Site) -> Tally:
    return site.count(add=len(layer.paths) * site.n)


@backward_tally.register
def _(layer: Auxiliary, site: Site) -> Tally:
    return site.count(add=site.n)


@backward_tally.register
def _(layer: Weighted, site: Site) -> Tally:
    found = Counter(site.count(add=site.m if layer.has_bias else 0))
    if site.quantized:
        found += quantizer_tally(layer.gradient_quantizer, site.m, site)
        found += site.count(multiply=0 if layer.input_scale == 1 else site.m)
        scaled = layer.needs_input_gradient and layer.weight.scale != 1
        found += site.count(multiply=site.n if scaled else 0)
    return found


@backward_tally.register
def _(layer: HardTanh, site: Site) -> Tally:
    return site.count(compare=site.n)


@backward_tally.register
def _(layer: Quantize, site: Site) -> Tally:
    """The mask of eq. (4); the gradient of codes is divided by their scale."""
    scaled = site.quantized and layer.quantizer.encoding.scale != 1
    return site.count(compare=site.n, multiply=site.n if scaled else 0)


@backward_tally.register
def _(layer: Dropout, site: Site) -> Tally:
    return site.count(multiply=site.n)


@backward_tally.register
def _(layer: MaxPool2D, site: Site) -> Tally:
    return site.count(add=site.m)


@backward_tally.register
def _(layer: AveragePool2D, site: Site) -> Tally:
    codes = site.quantized and layer.encoding is not None
    return site.count(add=layer.area * site.m, multiply=0 if codes else site.m)


@backward_tally.register
def _(layer: BatchNorm, site: Site) -> Tally:
    n, C = site.n, site.shape[-1]
    return site.count(add=4 * n, multiply=3 * n + 5 * C)


@backward_tally.register
def _(layer: ShiftBatchNorm, site: Site) -> Tally:
    """The three forms of `ShiftBatchNorm.backward`; "torch" has no multiplication a number."""
    if not site.quantized:
        return backward_tally.dispatch(BatchNorm)(layer, site)
    n, C = site.n, site.shape[-1]
    each = {
        "slope": {"add": 7 * n, "multiply": 4 * n + 9 * C, "shift": 2 * n},
        "ratio": {"add": 6 * n, "multiply": 3 * n + 8 * C, "shift": 2 * n + C, "divide": C},
        "torch": {"add": 6 * n, "multiply": 6 * C, "shift": 5 * n + 2 * C, "AP2": n},
    }
    return site.count(**each[layer.gradient])


@backward_tally.register
def _(layer: Recurrent, site: Site) -> Tally:
    steps = site.examples * site.shape[0]
    units, sums = steps * layer.units, steps * layer.units * layer.blocks
    # The state's gradient comes from above and from the next step; the bias sums over steps.
    found = Counter(site.count(add=2 * units + sums))
    if isinstance(layer, LSTM):
        found += site.count(multiply=16 * units, add=6 * units)
    elif isinstance(layer, RNN) and layer.activation == "relu":
        found += site.count(compare=units, multiply=units)
    else:
        found += site.count(add=units, multiply=2 * units)
    if site.quantized:
        found += quantizer_tally(layer.gradient_quantizer, sums, site)
        if layer.recurrent_weight.scale * layer.hidden_scale != 1:  # of the state's gradient
            found += site.count(multiply=units)
        if layer.quantizer is not None:  # the mask, and the scale of the codes
            found += site.count(compare=units, multiply=units if layer.hidden_scale != 1 else 0)
        for scale, weight in (
            (layer.input_scale, layer.input_weight),
            (layer.hidden_scale, layer.recurrent_weight),
        ):
            found += site.count(multiply=weight.size if scale != 1 else 0)
        if layer.needs_input_gradient and layer.input_scale * layer.input_weight.scale != 1:
            found += site.count(multiply=site.n)
    return found
