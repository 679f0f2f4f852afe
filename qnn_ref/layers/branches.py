"""Parallel paths (inception blocks), and classifiers in the middle of a network."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike

from qnn_ref._typing import Array, Loss, Shape
from qnn_ref.checks import plain_array, real
from qnn_ref.layers.base import Layer
from qnn_ref.layers.rows import (
    backward_row,
    build_row,
    encoding_row,
    forward_row,
    layer_list,
    naming,
    refuse_twins,
    shape_row,
    tell_row,
)
from qnn_ref.quantizers import Encoding


class Branches(Layer):
    r"""Parallel paths from one input, joined along the channels (an inception block).

    :math:`y = [f_1(x), f_2(x), \dots]`; on the way back the paths' gradients *add*:
    :math:`\delta_x = \sum_p \delta_{x,p}`.

    Parameters
    ----------
    *paths : sequence of Layer
        Each from the input to an output of the same height and width. An empty one passes the
        input on. If what they give are codes, all must have the same encoding.

    References
    ----------
    Section 4.3, GoogLeNet.
    """

    def __init__(self, *paths: Sequence[Layer]) -> None:
        if not paths:
            raise ValueError("paths: expected at least one, got none")
        self.paths = [layer_list(f"paths[{i}]", path) for i, path in enumerate(paths)]
        refuse_twins("paths", self.sublayers())

    def sublayers(self) -> list[Layer]:
        return [layer for path in self.paths for layer in path]

    def make(self) -> None:
        for number, path in enumerate(self.paths):
            with naming(f"path {number}"):
                build_row(path, self.input_shape, self.rng, self.encoding, self.dtype)
        self.output_encoding(self.encoding)
        self.tell_training_encoding(self.encoding)

    def tell_training_encoding(self, encoding: Encoding | None) -> None:
        super().tell_training_encoding(encoding)
        for path in self.paths:
            tell_row(path, encoding)

    def _ends(self, one: int) -> tuple[str, str]:
        """What messages call the ends of path `one` and of the next."""
        last = [type(path[-1]).__name__ if path else "the input" for path in self.paths]
        return f"{last[one]} of path {one}", f"{last[one + 1]} of path {one + 1}"

    def path_shapes(self, input_shape: Shape) -> list[Shape]:
        """Output shape of each path."""
        shapes = []
        for number, path in enumerate(self.paths):
            with naming(f"path {number}"):
                shapes.append(shape_row(path, input_shape))
        return shapes

    def output_shape(self, input_shape: Shape) -> Shape:
        shapes = self.path_shapes(input_shape)
        for number, (one, other) in enumerate(pairwise(shapes)):
            if one[:-1] != other[:-1]:
                first, second = self._ends(number)
                raise ValueError(
                    "paths: expected outputs of the same height and width, but "
                    f"{first} gives {one}, {second} gives {other}"
                )
        return (*shapes[0][:-1], sum(shape[-1] for shape in shapes))

    def output_encoding(self, encoding: Encoding | None, training: bool = False) -> Encoding | None:
        found = []
        for number, path in enumerate(self.paths):
            with naming(f"path {number}"):
                found.append(encoding_row(path, encoding, training))
        if training and any(e is not None and not e.on_grid for e in found):
            # Dropout in one path takes the joined channels off the grid, not out of their unit.
            found = [e if e is None else e.off_grid() for e in found]
        for number, (one, other) in enumerate(pairwise(found)):
            if one != other:
                first, second = self._ends(number)
                raise ValueError(
                    f"paths: {first} gives {one}, {second} gives {other}; joined channels must "
                    "have one encoding"
                )
        return found[0]

    def forward(self, x: Array, training: bool = False) -> Array:
        self.check_input(x)
        outputs = []
        for number, path in enumerate(self.paths):
            with naming(f"path {number}"):
                outputs.append(forward_row(path, x, training))
        if training:
            self._saved = [y.shape[-1] for y in outputs]
        return np.concatenate(outputs, axis=-1)

    def backward(self, dy: Array) -> Array:
        ends = np.cumsum(self.saved(dy))
        dx = np.zeros((len(dy), *self.input_shape), dy.dtype)
        for number, part in enumerate(np.split(dy, ends[:-1], axis=-1)):
            with naming(f"path {number}"):
                dx += backward_row(self.paths[number], np.ascontiguousarray(part))
        return dx


class Auxiliary(Layer):
    r"""A classifier in the middle of a network: passes `x` on, and trains a head beside it.

    In training the head's scores get a loss of their own, added to the network's with a weight:
    :math:`C = C_{main} + \mathrm{weight}\cdot C_{head}`. So the layers below get both gradients.
    Inference and packing leave the head out.

    Parameters
    ----------
    head : sequence of Layer
        From this place to scores.
    weight : float
        Weight of its loss. The paper does not print it; 0.3 is that of the original GoogLeNet.

    References
    ----------
    Section 4.3, the two auxiliary classifiers of GoogLeNet.
    """

    def __init__(self, head: Sequence[Layer], weight: float = 0.3) -> None:
        self.head = layer_list("head", head)
        if not self.head:
            raise ValueError("head: expected at least one layer, got none")
        self.weight = real("weight", weight, above=0)
        self._dscores: Array | None = None

    def sublayers(self) -> list[Layer]:
        return self.head

    def make(self) -> None:
        with naming("head"):
            build_row(self.head, self.input_shape, self.rng, self.encoding, self.dtype)
        self.tell_training_encoding(self.encoding)
        self._dscores = None

    def tell_training_encoding(self, encoding: Encoding | None) -> None:
        super().tell_training_encoding(encoding)
        tell_row(self.head, encoding)

    def output_encoding(self, encoding: Encoding | None, training: bool = False) -> Encoding | None:
        return encoding

    def forward(self, x: Array, training: bool = False) -> Array:
        self.check_input(x)
        if training:
            with naming("head"):
                self._saved, self._dscores = forward_row(self.head, x, training), None
        return x

    def pointwise(self, x: Array) -> Array:
        return x

    @property
    def scores(self) -> Array:
        """Scores (batch, classes) of the head in the last training forward."""
        scores: Array = self.saved()
        return scores

    def learn(self, loss: Loss, labels: ArrayLike) -> float:
        """Take the loss of the head's scores: returns its weighted cost, keeps its gradient."""
        if not callable(loss):
            raise TypeError(f"loss: expected a function, got {type(loss).__name__}")
        cost, gradient = loss(self.scores, labels)
        self.receive(gradient * gradient.dtype.type(self.weight))
        return self.weight * cost

    def receive(self, dscores: Array) -> None:
        """Keep the gradient of the head's scores, (batch, classes), for `backward`."""
        plain_array("dscores", dscores)
        if dscores.shape != self.scores.shape:
            raise ValueError(
                f"dscores: expected shape {self.scores.shape}, as the head's scores in the last "
                f"training forward, got {dscores.shape}"
            )
        self._dscores = dscores

    def backward(self, dy: Array) -> Array:
        self.saved(dy)
        if self._dscores is None:
            raise RuntimeError("Auxiliary.backward: call learn(loss, labels) first")
        with naming("head"):
            return dy + backward_row(self.head, self._dscores)
