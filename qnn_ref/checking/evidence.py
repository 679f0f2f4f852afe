"""What is known about one wrong gradient, for `patterns` to recognise the mistake in."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from qnn_ref._typing import Array
from qnn_ref.checking.freeze import FrozenQuantizer
from qnn_ref.checking.points import Model, Point, Tensor
from qnn_ref.checking.subjects import Pair
from qnn_ref.layers import Auxiliary
from qnn_ref.layers.base import Layer
from qnn_ref.network import Sequential

Words = str | None
"""A sentence without its subject, or nothing."""

LOOK = 160
"""Elements that are looked at one by one in a tensor that a probe found wrong."""


@dataclass
class Evidence:
    """One tensor with a wrong gradient, at its point.

    Parameters
    ----------
    model : Model
        What is checked, not frozen.
    point : Point
        The same, frozen.
    tensor : Tensor
    gradient : array or None
        What backward left, float64.
    numeric : array, the shape of the tensor
        Difference quotients; NaN where none was taken.
    allowed : float
        Largest difference that passes.
    slope : function
        `slope(point, tensor, index)`: the difference quotient at another point.
    rng : numpy.random.Generator
    """

    model: Model
    point: Point
    tensor: Tensor
    gradient: Array | None
    numeric: Array
    allowed: float
    slope: Callable[[Point, Tensor, tuple[int, ...]], float]
    rng: np.random.Generator

    @property
    def name(self) -> str:
        """Layer and tensor."""
        return f"{self.tensor.layer}.{self.tensor.name}"

    @property
    def x(self) -> Array:
        """The tensor's value at the point."""
        return self.point.base[self.tensor]

    @property
    def layer(self) -> Layer | None:
        """The layer that the tensor belongs to, as it was before it was frozen."""
        for place, layer in self.model.layers():
            if place == self.tensor.layer or self.tensor == self.model.input:
                return layer
        return None

    @cached_property
    def known(self) -> Array:
        """Where there are difference quotients."""
        return ~np.isnan(self.numeric)

    @cached_property
    def fits(self) -> bool:
        """Whether there is a gradient, in the shape of the tensor."""
        return self.gradient is not None and self.gradient.shape == self.x.shape

    @property
    def g(self) -> Array:
        """Gradient where it is known, (n,)."""
        assert self.gradient is not None
        return self.gradient[self.known]  # type: ignore[no-any-return]

    @property
    def n(self) -> Array:
        """Difference quotients that are known, (n,)."""
        return self.numeric[self.known]  # type: ignore[no-any-return]

    @cached_property
    def wrong(self) -> Array:
        """Which of the known ones differ, (n,)."""
        return np.abs(self.n - self.g) > self.allowed

    @cached_property
    def accuracy(self) -> float:
        """How closely quotients are known, as a share of the largest."""
        largest = max(float(np.abs(self.n).max(initial=0)), 1e-300)
        return max(1e-5, min(10 * self.allowed / largest, 1e-2))

    def equal(self, a: Array, b: Array) -> bool:
        """Whether two arrays are equal to the accuracy of difference quotients."""
        a, b = np.asarray(a), np.asarray(b)
        if a.shape != b.shape or not a.size:
            return False
        scale = max(np.abs(a).max(), np.abs(b).max())
        return bool(np.abs(a - b).max() <= max(10 * self.allowed, 1e-5 * scale))

    @cached_property
    def dy(self) -> Array | None:
        """The gradient of the output that backward was given; None where a loss gave it."""
        return self.point.dys[0] if len(self.point.dys) == 1 else None

    def gradient_for(self, dy: Array) -> Array | None:
        """Gradient of this tensor for another `dy`."""
        found = self.point.gradients_for([dy]).get(self.tensor)
        return None if found is None else np.array(found, dtype=np.float64)

    @cached_property
    def elementwise(self) -> bool:
        """Whether each output changes with its own element of the tensor only."""
        y = self.point.output
        if self.dy is None or not self.dy.shape == self.x.shape == y.shape:
            return False
        half = (np.arange(self.x.size) % 2 == 0).reshape(self.x.shape)
        return all(
            np.array_equal(self.at(self.x + np.where(moved, 2.0**-8, 0))[~moved], y[~moved])
            for moved in (half, ~half)
        )

    def at(self, value: Array) -> Array:
        """Outputs with the tensor at another value, the shape of the output."""
        y = self.point.at(self.tensor, value)
        self.point.put_back(self.tensor)
        return y

    @property
    def batch(self) -> int:
        """Number of examples."""
        x = next(iter(self.point.base.values())) if self._is_pair else self.model.x
        return len(x) if np.ndim(x) else 1

    @property
    def _is_pair(self) -> bool:
        return isinstance(self.model.subject, Pair)

    @property
    def is_input(self) -> bool:
        """Whether the tensor is an input and no weight; all arrays of a plain function are."""
        return self._is_pair or self.tensor == self.model.input

    @property
    def is_loss(self) -> bool:
        """Whether a loss function itself is checked."""
        return not isinstance(self.model.subject, Sequential | Layer)

    def constants(self) -> dict[str, float]:
        """Numbers that are forgotten or counted twice, by name."""
        found: dict[str, float] = {}
        layer = self.layer
        for owner, attribute, words in (
            (getattr(layer, "encoding", None), "scale", "the scale of the input's codes"),
            (getattr(layer, "weight", None), "scale", "the scale of the weights' codes"),
            (layer, "area", "the area of the window"),
            (layer, "saturation", "the bound of the surrogate"),
        ):
            value = getattr(owner, attribute, None)
            if isinstance(value, int | float) and value not in (0, 1):
                found.setdefault(words, float(value))
        for _, other in self.model.layers():
            if isinstance(other, Auxiliary):
                found["the weight of the loss"] = other.weight
        for item in self.point.frozen:
            if isinstance(item, FrozenQuantizer) and np.ndim(item.calls[0][1]) == 0:
                found["the scale of the codes"] = float(item.calls[0][1])
        if isinstance(getattr(layer, "rate", None), float):
            found["1 - rate"] = 1 - layer.rate  # type: ignore[union-attr]
        if hasattr(layer, "paths"):
            found["the number of paths"] = len(layer.paths)  # type: ignore[union-attr]
        if self.is_loss:
            found["the number of classes"] = self.model.x.shape[-1]
        if self._is_pair:
            for tensor, array in self.point.base.items():
                found[f"mean |{tensor.name}|"] = float(np.abs(array).mean())
                found[f"the largest |{tensor.name}|"] = float(np.abs(array).max())
        for parameter in () if layer is None else layer.parameters().values():
            found.setdefault("mean |weight|", float(np.abs(parameter.latent).mean()))
        return {name: value for name, value in found.items() if value not in (0, 1)}


def some_indices(e: Evidence) -> list[tuple[int, ...]]:
    """A dozen elements that are known, wrong ones among them: without one all agrees."""
    known = np.argwhere(e.known)
    looked = np.concatenate([known[e.wrong][:6], known[:6]])
    return [tuple(map(int, index)) for index in np.unique(looked, axis=0)]


def sampled(shape: tuple[int, ...], rng: np.random.Generator) -> Sequence[tuple[int, ...]]:
    """Indices of all elements of a small tensor, of some of a large one."""
    size = math.prod(shape)
    if size <= LOOK:
        return list(np.ndindex(shape))
    count = max(6, min(LOOK, 200_000 // size))  # a pass through a large layer takes its time
    chosen = np.sort(rng.choice(size, count, replace=False))
    return [tuple(int(i) for i in np.unravel_index(int(k), shape)) for k in chosen]
