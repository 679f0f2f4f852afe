"""Parallel paths (inception blocks), and classifiers in the middle of a network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from qnn_ref.layers.base import Layer, Shape
from qnn_ref.layers.rows import build_row, refuse_twins, tell_row
from qnn_ref.quantizers import Encoding

Array = NDArray[Any]
Loss = Callable[[Array, ArrayLike], tuple[float, Array]]


class Branches(Layer):
    r"""Parallel paths from one input, joined along the channels (an inception block).

    :math:`y = [f_1(x), f_2(x), \dots]`; on the way back the paths' gradients *add*:
    :math:`\delta_x = \sum_p \delta_{x,p}`.

    Parameters
    ----------
    *paths : sequence of Layer
        Each from the input to an output of the same height and width. An empty one passes the
        input on. If what they give are codes, all must have the same encoding.

    Source
    ------
    Section 4.3, GoogLeNet.
    """

    def __init__(self, *paths: Sequence[Layer]) -> None:
        if not paths:
            raise ValueError("paths: expected at least one, got none")
        self.paths = [list(path) for path in paths]
        refuse_twins("paths", self.sublayers())

    def sublayers(self) -> list[Layer]:
        return [layer for path in self.paths for layer in path]

    def build(
        self,
        input_shape: Shape,
        rng: np.random.Generator | None = None,
        encoding: Encoding | None = None,
        dtype: DTypeLike = np.float32,
    ) -> Self:
        super().build(input_shape, rng, encoding, dtype)
        for number, path in enumerate(self.paths):
            try:
                build_row(path, self.input_shape, rng, encoding, dtype)
            except (ValueError, TypeError) as error:
                raise type(error)(f"path {number}: {error}") from error
        self.output_shape(self.input_shape)
        self.output_encoding(encoding)
        self.tell_training_encoding(encoding)
        return self

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
        for path in self.paths:
            shape = input_shape
            for layer in path:
                shape = layer.output_shape(shape)
            shapes.append(shape)
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
        for path in self.paths:
            of_path = encoding
            for layer in path:
                of_path = layer.output_encoding(of_path, training)
            found.append(of_path)
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
        for path in self.paths:
            y = x
            for layer in path:
                y = layer.forward(y, training)
            outputs.append(y)
        if training:
            self._saved = [y.shape[-1] for y in outputs]
        return np.concatenate(outputs, axis=-1)

    def backward(self, dy: Array) -> Array:
        ends = np.cumsum(self.saved(dy))
        dx = np.zeros((len(dy), *self.input_shape), dy.dtype)
        for path, part in zip(self.paths, np.split(dy, ends[:-1], axis=-1), strict=True):
            gradient: Array | None = np.ascontiguousarray(part)
            for layer in reversed(path):
                gradient = layer.backward(gradient)  # type: ignore[arg-type]
            dx += gradient
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

    Source
    ------
    Section 4.3, the two auxiliary classifiers of GoogLeNet.
    """

    def __init__(self, head: Sequence[Layer], weight: float = 0.3) -> None:
        if not head:
            raise ValueError("head: expected at least one layer, got none")
        if not 0 < weight < np.inf:
            raise ValueError(f"weight: expected a finite number above 0, got {weight}")
        refuse_twins("head", head)
        self.head = list(head)
        self.weight = weight
        self._dscores: Array | None = None

    def sublayers(self) -> list[Layer]:
        return self.head

    def build(
        self,
        input_shape: Shape,
        rng: np.random.Generator | None = None,
        encoding: Encoding | None = None,
        dtype: DTypeLike = np.float32,
    ) -> Self:
        super().build(input_shape, rng, encoding, dtype)
        build_row(self.head, self.input_shape, rng, encoding, dtype)
        self.tell_training_encoding(encoding)
        self._dscores = None
        return self

    def tell_training_encoding(self, encoding: Encoding | None) -> None:
        super().tell_training_encoding(encoding)
        tell_row(self.head, encoding)

    def output_encoding(self, encoding: Encoding | None, training: bool = False) -> Encoding | None:
        return encoding

    def forward(self, x: Array, training: bool = False) -> Array:
        self.check_input(x)
        if training:
            y = x
            for layer in self.head:
                y = layer.forward(y, training)
            self._saved, self._dscores = y, None
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
        cost, gradient = loss(self.scores, labels)
        self.receive(gradient * gradient.dtype.type(self.weight))
        return self.weight * cost

    def receive(self, dscores: Array) -> None:
        """Keep the gradient of the head's scores, (batch, classes), for `backward`."""
        self._dscores = dscores

    def backward(self, dy: Array) -> Array:
        self.saved(dy)
        if self._dscores is None:
            raise RuntimeError("Auxiliary.backward: call learn(loss, labels) first")
        gradient: Array | None = self._dscores
        for layer in reversed(self.head):
            gradient = layer.backward(gradient)  # type: ignore[arg-type]
        return dy + gradient
