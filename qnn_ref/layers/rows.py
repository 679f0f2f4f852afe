"""Layers in a row: built one after the other, each told what the one before it gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from qnn_ref._typing import Array, Shape
from qnn_ref.checks import instance
from qnn_ref.layers.base import Layer
from qnn_ref.quantizers import Encoding


class naming:  # reads as a word: `with naming(...)`
    """Put a place in front of the errors that are raised inside; places follow one another.

    A class, since a generator's context costs as much as a small layer.

    Parameters
    ----------
    place : str or int
        Like `path 2`; with a layer its number in the row.
    layer : Layer, optional

    References
    ----------
    Not in the paper.
    """

    def __init__(self, place: str | int, layer: Layer | None = None) -> None:
        self.place, self.layer = place, layer

    def __enter__(self) -> None:
        """Begin."""

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        """Raise the same kind of error with the place in front, if there was one."""
        if isinstance(error, ValueError | TypeError | RuntimeError):
            name = "" if self.layer is None else f"layer {self.place} ({type(self.layer).__name__})"
            raise type(error)(f"{name or self.place}: {error}") from error


def layer_list(name: str, layers: Sequence[Layer]) -> list[Layer]:
    """Return layers as a list, or say what stands among them that is none.

    Parameters
    ----------
    name : str
        What the error message calls the layers.
    layers : sequence of Layer

    Returns
    -------
    list of Layer

    Raises
    ------
    TypeError
        If it is no sequence, or holds something else, such as the class of a layer.
    ValueError
        If an object stands twice, at any depth.
    """
    if not isinstance(layers, list | tuple):
        raise TypeError(f"{name}: expected a list of layers, got {type(layers).__name__}")
    for index, layer in enumerate(layers):
        instance(f"{name}[{index}]", layer, Layer, "Dense(10)")
    refuse_twins(name, layers)
    return list(layers)


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
    """
    for index, layer in enumerate(layers):
        with naming(index, layer):
            layer.build(shape, rng, encoding, dtype)
            shape, encoding = layer.output_shape(shape), layer.output_encoding(encoding)
    return shape


def forward_row(
    layers: Sequence[Layer], x: Array, training: bool, states: Mapping[int, Any] | None = None
) -> Array:
    """Forward pass of layers in a row.

    Parameters
    ----------
    layers : sequence of Layer
    x : array (batch, ...)
        Input of the first.
    training : bool
    states : dict, optional
        What recurrent layers begin with, by their numbers.

    Returns
    -------
    array (batch, ...)
        Output of the last.

    Raises
    ------
    TypeError, ValueError
        Those of a layer, with its number and name in front.

    References
    ----------
    Algorithm 1, lines 1-4.
    """
    for index, layer in enumerate(layers):
        with naming(index, layer):
            more = {"state": states[index]} if states and index in states else {}
            x = layer.forward(x, training, **more)
    return x


def backward_row(layers: Sequence[Layer], dy: Array, lowest: int = 0) -> Array | None:
    """Backward pass of layers in a row.

    Parameters
    ----------
    layers : sequence of Layer
    dy : array (batch, ...)
        Gradient of the last one's output.
    lowest : int
        Number of the last layer to visit.

    Returns
    -------
    array (batch, ...) or None
        Gradient of that layer's input.

    Raises
    ------
    RuntimeError, TypeError, ValueError
        Those of a layer, with its number and name in front.

    References
    ----------
    Algorithm 1, lines 6-9.
    """
    gradient: Array | None = dy
    for index in range(len(layers) - 1, lowest - 1, -1):
        with naming(index, layers[index]):
            gradient = layers[index].backward(gradient)  # type: ignore[arg-type]
    return gradient


def shape_row(layers: Sequence[Layer], shape: Shape) -> Shape:
    """Shape behind layers in a row.

    Parameters
    ----------
    layers : sequence of Layer
    shape : tuple of int
        Shape of one example in front of the first.

    Returns
    -------
    tuple of int
        Shape of one example behind the last.

    Raises
    ------
    TypeError, ValueError
        Those of a layer, with its number and name in front.
    """
    for index, layer in enumerate(layers):
        with naming(index, layer):
            shape = layer.output_shape(shape)
    return shape


def encoding_row(
    layers: Sequence[Layer], encoding: Encoding | None, training: bool
) -> Encoding | None:
    """What numbers stand for behind layers in a row.

    Parameters
    ----------
    layers : sequence of Layer
    encoding : Encoding or None
        Of the first layer's input; no array has such a shape.
    training : bool

    Returns
    -------
    Encoding or None
        Of the last layer's output.

    Raises
    ------
    TypeError, ValueError
        Those of a layer, with its number and name in front.
    """
    for index, layer in enumerate(layers):
        with naming(index, layer):
            encoding = layer.output_encoding(encoding, training)
    return encoding


def tell_row(layers: Sequence[Layer], encoding: Encoding | None) -> None:
    """Tell layers in a row what their inputs stand for in training.

    Parameters
    ----------
    layers : sequence of Layer
        Built already.
    encoding : Encoding or None
        Of the first layer's input in training.
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
    """
    stack, seen = list(layers), set[int]()
    while stack:
        layer = stack.pop()
        if id(layer) in seen:
            raise ValueError(f"{name}: the same layer object stands twice; make two layers")
        seen.add(id(layer))
        stack += layer.sublayers()
