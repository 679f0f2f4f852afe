"""The steps of a packed network: integers and bits between them (Algorithm 5).

Hidden steps use XOR, popcount, integer addition and integer compares only. Each step is a small
record of arrays, which is also what its file holds.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from qnn_ref.bits import Panels, pack_thresholds, pixels_matmul, to_panels, xnor_matmul
from qnn_ref.layers.normalization import normalize
from qnn_ref.layers.weighted import scale_and_add

Array = NDArray[Any]
Shape = tuple[int, ...]


class Stage:
    """A step of the packed network: `run` maps a batch to a batch."""

    def run(self, x: Array) -> Array:
        """Output of the step for the batch `x`."""
        raise TypeError(f"{type(self).__name__} has no run")

    def output_shape(self, input_shape: Shape) -> Shape:
        """Numbers that the step makes of one example, or ValueError where steps do not fit."""
        raise TypeError(f"{type(self).__name__} has no output_shape")

    def arrays(self) -> dict[str, Array]:
        """The arrays that a file must hold, by field name."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}  # type: ignore[arg-type]
        return {name: v for name, v in values.items() if isinstance(v, np.ndarray)}

    def settings(self) -> dict[str, Any]:
        """The plain numbers that a file must hold, by field name; None is left out."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}  # type: ignore[arg-type]
        plain = {n: v for n, v in values.items() if not isinstance(v, np.ndarray)}
        return {name: v for name, v in plain.items() if v is not None}

    def describe(self) -> dict[str, Any]:
        """The settings with the kind of the step, as a file's header holds them."""
        return {"kind": type(self).__name__} | self.settings()

    @classmethod
    def restore(cls, settings: dict[str, Any], arrays: dict[str, Array]) -> Self:
        """The step from what `settings` and `arrays` gave."""
        return cls(**settings, **arrays)


def fit(stage: Stage, expected: int, input_shape: Shape) -> None:
    """Refuse an input that is not one row of the expected length."""
    if input_shape != (expected,):
        raise ValueError(f"{type(stage).__name__}: expected {expected} inputs, got {input_shape}")


def check_kind(stage: Stage, x: Array, *kinds: Any) -> None:
    """Refuse numbers of another kind: bits are uint64, sums and integers int32."""
    if x.dtype not in kinds:
        names = " or ".join(np.dtype(kind).name for kind in kinds)
        raise TypeError(f"{type(stage).__name__}: expected {names}, got {x.dtype}")


def expect(name: str, array: Any, dtype: Any, shape: tuple[int, ...]) -> None:
    """Refuse an array of another dtype or shape."""
    if not isinstance(array, np.ndarray) or array.dtype != dtype or array.shape != shape:
        got = f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else repr(array)
        raise ValueError(f"{name}: expected {np.dtype(dtype)} {shape}, got {got}")


@dataclass(eq=False)
class XnorDense(Stage):
    """Product of a layer whose input is +-1: `K - 2 popcount(x XOR w)`.

    Parameters
    ----------
    words : array of uint64 (units, ceil(K / 64))
        Weights packed along fan_in.
    K : int
        Inputs of a unit (fan_in).
    """

    words: Array
    K: int

    def __post_init__(self) -> None:
        self.panels: Panels = to_panels(self.words, self.K)

    def output_shape(self, input_shape: Shape) -> Shape:
        fit(self, self.K, input_shape)
        return (len(self.words),)

    def run(self, x: Array) -> Array:
        """Sums (batch, units), int32, of packed signs (batch, words)."""
        return xnor_matmul(x, self.panels, self.K)


@dataclass(eq=False)
class PixelsDense(Stage):
    """Product of the first layer: eight bit planes of 8-bit pixels, literal XNOR form.

    `pixels_matmul` computes it by table lookup; its twin runs the eight planes.

    Parameters
    ----------
    words : array of uint64 (units, ceil(K / 64))
        Weights packed along fan_in.
    K : int
        Pixels of an image.
    """

    words: Array
    K: int

    def __post_init__(self) -> None:
        self.panels: Panels = to_panels(self.words, self.K)

    def output_shape(self, input_shape: Shape) -> Shape:
        fit(self, self.K, (int(np.prod(input_shape)),))
        return (len(self.words),)

    def run(self, x: Array) -> Array:
        """Sums (batch, units), int32, of images (batch, ...) of uint8: (2 x - 255) . w."""
        return pixels_matmul(x.reshape(len(x), -1), self.panels, self.K)


@dataclass(eq=False)
class Threshold(Stage):
    """Sign of batch norm as an integer compare: the bit is `(s >= at) XOR flip`.

    Parameters
    ----------
    at : array of int32 (units,)
    flip : array of bool (units,)
    """

    at: Array
    flip: Array

    def __post_init__(self) -> None:
        expect("at", self.at, np.int32, (len(self.at),))
        expect("flip", self.flip, np.bool_, (len(self.at),))

    def output_shape(self, input_shape: Shape) -> Shape:
        if input_shape[-1] != len(self.at):
            raise ValueError(f"Threshold: expected {len(self.at)} channels, got {input_shape}")
        return input_shape

    def run(self, x: Array) -> Array:
        """Packed signs (batch, ..., words) of sums (batch, ..., units)."""
        words = pack_thresholds(x.reshape(-1, len(self.at)), self.at, self.flip)
        return words.reshape(*x.shape[:-1], words.shape[-1])


@dataclass(eq=False)
class Scores(Stage):
    """The last layer's float arithmetic: scale, bias and batch norm, exactly as in training.

    Parameters
    ----------
    dtype : str
        Float type of the trained network.
    scale : float
        Value of one unit of the sums.
    bias, mean, inverse_deviation, gain, shift : array (classes,), optional
        Without batch norm the last four are missing.
    """

    dtype: str
    scale: float
    bias: Array | None = None
    mean: Array | None = None
    inverse_deviation: Array | None = None
    gain: Array | None = None
    shift: Array | None = None

    def __post_init__(self) -> None:
        if self.dtype not in ("float32", "float64"):
            raise ValueError(f"dtype: expected float32 or float64, got {self.dtype!r}")
        affine = (self.mean, self.inverse_deviation, self.gain, self.shift)
        if len({a is None for a in affine}) > 1:
            raise ValueError("mean, inverse_deviation, gain, shift: expected all four or none")
        given = [a for a in (self.bias, *affine) if a is not None]
        for array in given:
            expect("bias or batch norm", array, self.dtype, (len(given[0]),))

    def output_shape(self, input_shape: Shape) -> Shape:
        given = [a for a in (self.bias, self.mean) if a is not None]
        fit(self, len(given[0]) if given else input_shape[-1], input_shape)
        return input_shape

    def run(self, x: Array) -> Array:
        """Scores (batch, classes) of sums (batch, classes)."""
        check_kind(self, x, np.int32)
        y = scale_and_add(x.astype(self.dtype), self.scale, self.bias)
        if self.mean is None:
            return y
        affine = (self.mean, self.inverse_deviation, self.gain, self.shift)
        return normalize(y, *affine)  # type: ignore[arg-type]


STAGES: dict[str, type[Stage]] = {
    stage.__name__: stage for stage in (XnorDense, PixelsDense, Threshold, Scores)
}


def stage_of(description: dict[str, Any], arrays: dict[str, Array]) -> Stage:
    """Return the step that `describe` and `arrays` stand for.

    Parameters
    ----------
    description : dict
    arrays : dict of arrays

    Returns
    -------
    Stage

    Raises
    ------
    KeyError, TypeError, ValueError
        If they stand for none.
    """
    settings = dict(description)
    return STAGES[settings.pop("kind")].restore(settings, arrays)
