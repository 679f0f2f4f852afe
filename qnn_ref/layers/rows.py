"""Layers in a row: built one after the other, each told what the one before it gives."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import DTypeLike

from qnn_ref.layers.base import Layer, Shape
from qnn_ref.quantizers import Encoding


def build_row(
    layers: Sequence[Layer],
    shape: Shape,
    rng: np.random.Generator | None,
    encoding: Encoding | None,
    dtype: DTypeLike,
) -> Shape:
    """Build layers that stand one after the other.

    Parameters
    ----------
    layers : sequence of Layer
    shape : tuple of int
        Shape of one example in front of the first.
    rng : numpy.random.Generator or None
    encoding : Encoding or None
        Of the first layer's input.
    dtype : dtype

    Returns
    -------
    tuple of int
        Shape of one example behind the last.

    Raises
    ------
    TypeError, ValueError
        Those of a layer, with its number and name in front.

    Source
    ------
    Algorithm 1: layers in a row.
    """
    for index, layer in enumerate(layers):
        try:
            layer.build(shape, rng, encoding, dtype)
            shape, encoding = layer.output_shape(shape), layer.output_encoding(encoding)
        except (ValueError, TypeError) as error:
            raise type(error)(f"layer {index} ({type(layer).__name__}): {error}") from error
    return shape


def tell_row(layers: Sequence[Layer], encoding: Encoding | None) -> None:
    """Tell layers in a row what their inputs stand for in training.

    Parameters
    ----------
    layers : sequence of Layer
        Built already.
    encoding : Encoding or None
        Of the first layer's input in training.

    Source
    ------
    Algorithm 1: layers in a row.
    """
    for layer in layers:
        layer.tell_training_encoding(encoding)
        encoding = layer.output_encoding(encoding, training=True)


def refuse_twins(name: str, layers: Sequence[Layer]) -> None:
    """Refuse a layer object that stands twice, at any depth: it has one set of arrays.

    Parameters
    ----------
    name : str
        What the error message calls the layers.
    layers : sequence of Layer

    Raises
    ------
    ValueError
        If one stands twice.

    Source
    ------
    Not in the paper.
    """
    stack, seen = list(layers), set[int]()
    while stack:
        layer = stack.pop()
        if id(layer) in seen:
            raise ValueError(f"{name}: the same layer object stands twice; make two layers")
        seen.add(id(layer))
        stack += layer.sublayers()
