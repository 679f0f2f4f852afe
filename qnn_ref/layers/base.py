"""What every layer is."""

from __future__ import annotations

import inspect
import weakref
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import DTypeLike

from qnn_ref import checks, shown
from qnn_ref._typing import Array, Shape
from qnn_ref.checks import ANY_STEPS
from qnn_ref.parameter import Parameter, float_type
from qnn_ref.quantizers import Encoding

NO_GRADIENT: Any = object()
"""What `Layer.saved` is called with by someone who only looks."""


class Layer:
    """One step of the network: `forward`, and right under it `backward`.

    A layer is described when it is made, and gets its arrays in `build`, when the shape and the
    encoding of its input are known. `forward(x, training=True)` keeps what `backward` needs;
    `backward(dy)` returns the gradient of the input and overwrites `Parameter.grad`.

    `jumps` tells the gradient checker what jumps or draws in forward, `{"attribute": kind}`. The
    attribute is what forward calls, as in `self.attribute(x)`, and the kind says what stands for it
    around the point of a check:

    - a function, such as `hard_tanh`: the surrogate, whose slope backward uses;
    - "identity": the same with the identity, as for weights (Algorithm 1, line 11);
    - "quantizer": a quantizer with `encode`, `surrogate` and `backward`, which names its own;
    - "ratio": f(x) / x is held constant, as in products by powers of two;
    - "choice": a method that draws or chooses; its first answer is repeated;
    - "no surrogate": backward is an estimator, no function's gradient; a check refuses it.

    A parameter with a quantizer needs no entry. The guide is `docs/write_a_layer.md`.

    References
    ----------
    Algorithm 1: a layer is one turn of its two loops.
    """

    differentiable: ClassVar[bool] = True
    """Whether the input has a gradient (integer images have none)."""

    any_steps: ClassVar[int] = 0
    """Axes of an example from which on the first may be -1, any number of steps; 0 for never."""

    jumps: Mapping[str, Any] = MappingProxyType({})
    """Attributes that jump or draw in forward, for the gradient checker; see the class."""

    needs_input_gradient = True
    """Set to False by a network where nothing below the layer has parameters."""

    _network: weakref.ref[Any] | None = None
    """The network that the layer was built into."""

    _checked: Shape = ()
    """Shape of the input that `check_input` saw last."""

    _kept: tuple[Any, Shape] = (None, ())
    """What the last training forward kept, and the shape of its input."""

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """Called for what is not there; most of a layer is not, until it is built."""
            words = f"{type(self).__name__} has no attribute {name!r}"
            if "input_shape" not in vars(self) and not name.startswith("__"):
                words = f"{type(self).__name__} is not built yet: call build(input_shape)"
            raise AttributeError(words, name=name, obj=self)

    @property
    def _saved(self) -> Any:
        return self._kept[0]

    @_saved.setter
    def _saved(self, kept: Any) -> None:
        self._kept = kept, self._checked

    def build(
        self,
        input_shape: Shape,
        rng: np.random.Generator | None = None,
        encoding: Encoding | None = None,
        dtype: DTypeLike = np.float32,
    ) -> Self:
        """Make the arrays for inputs of shape `(batch, *input_shape)`, and return the layer."""
        if self._network is not None and self._network() is not None:
            raise ValueError(
                "this layer object belongs to a network already, which would lose its weights: "
                "make new layer objects, or take a network.copy()"
            )
        self.input_shape = checks.shape("input_shape", input_shape, any_steps=True)
        if self.input_shape[0] == ANY_STEPS and not 0 < self.any_steps <= len(self.input_shape):
            raise ValueError(
                f"input_shape: {type(self).__name__} needs to know every size, got {input_shape}"
            )
        self.rng = rng if rng is None else check_rng(rng)
        self.dtype = float_type(dtype)
        if encoding is not None:
            checks.instance("encoding", encoding, Encoding)
        self.encoding = self.training_encoding = encoding
        self.needs_input_gradient = True
        self._saved = None
        self.make()
        self.output_shape(self.input_shape)  # refuses what does not fit
        return self

    def make(self) -> None:
        """Make the layer's own arrays, and build the layers inside it; `build` calls it."""

    def join(self, network: Any) -> None:
        """Belong to a network: from now on no other one can be built from this object."""
        if self._network is None or self._network() is None:  # a shallow copy takes nothing away
            self._network = weakref.ref(network)

    def __getstate__(self) -> dict[str, Any]:
        """What a copy takes over; it belongs to no network yet."""
        return {name: value for name, value in self.__dict__.items() if name != "_network"}

    def settings(self) -> dict[str, Any]:
        """What the layer was made with, by name."""
        names = inspect.signature(type(self)).parameters
        return {name: getattr(self, name) for name in names if hasattr(self, name)}

    def __repr__(self) -> str:
        """The call that makes the layer, without what is as usual."""
        return shown.call(self, self.settings())

    def output_shape(self, input_shape: Shape) -> Shape:
        """Shape of one output for one input of this shape, both without the batch."""
        return input_shape

    def output_encoding(self, encoding: Encoding | None, training: bool = False) -> Encoding | None:
        """What the output's numbers stand for; None for ordinary real numbers."""
        return None

    def tell_training_encoding(self, encoding: Encoding | None) -> None:
        """Say what the input stands for in training, where dropout may come before the layer."""
        self.training_encoding = encoding

    def forward(self, x: Array, training: bool = False) -> Array:
        """Output of the layer for `x`, (batch, ...)."""
        raise TypeError(f"{type(self).__name__} has no forward pass")

    def backward(self, dy: Array) -> Array | None:
        """Gradient of the input, given that of the output, `dy` (batch, ...)."""
        raise TypeError(f"{type(self).__name__} has no backward pass")

    def pointwise(self, x: Array) -> Array:
        """Inference of `x` (..., channels) for a layer that treats each channel by itself.

        Packing turns a row of such layers into thresholds by calling this very function.
        """
        raise TypeError(f"{type(self).__name__} does not act on each channel by itself")

    def parameters(self) -> dict[str, Parameter]:
        """The trained arrays by name."""
        return {}

    def buffers(self) -> dict[str, Array]:
        """Arrays that are kept but not trained (running statistics) by name; change in place."""
        return {}

    def sublayers(self) -> list[Layer]:
        """Layers inside this one."""
        return []

    def astype(self, dtype: DTypeLike) -> None:
        """Change the float type of everything the layer holds."""
        self.dtype = float_type(dtype)
        self._saved = None
        for parameter in self.parameters().values():
            parameter.astype(dtype)
        for layer in self.sublayers():
            layer.astype(dtype)

    def saved(self, dy: Any = NO_GRADIENT) -> Any:
        """What the last training forward kept; refuses a gradient `dy` that cannot be its."""
        name = type(self).__name__
        if self._saved is None:
            raise RuntimeError(
                f"{name}.backward: call forward(x, training=True) first; "
                "inference keeps nothing for the way back"
            )
        if dy is not NO_GRADIENT:
            self._check_gradient(dy)
        return self._saved

    def _check_gradient(self, dy: Array) -> None:
        """Refuse a gradient that is none of the last training forward's output."""
        checks.plain_array("dy", dy)
        batch, *sizes = self._kept[1] or (0, *self.input_shape)
        expected = self.output_shape(tuple(sizes))
        if dy.ndim == 0 or not checks.has_shape(dy.shape[1:], expected):
            shape = checks.written_shape("batch", *expected)
            raise ValueError(f"dy: expected shape {shape}, got {dy.shape}")
        if dy.dtype != self.dtype:
            raise TypeError(f"dy: expected dtype {self.dtype}, as the layer, got {dy.dtype}")
        if batch and len(dy) != batch:
            raise ValueError(
                f"dy: expected a batch of {batch}, as in the last training forward, got {len(dy)}"
            )

    def check_input(self, x: Array, dtype: DTypeLike | None = None) -> None:
        """Refuse an input of another shape, or of another dtype than the layer's (or `dtype`)."""
        if not hasattr(self, "input_shape"):
            raise RuntimeError(f"{type(self).__name__} is not built yet: call build(input_shape)")
        checks.plain_array("x", x)
        if x.ndim == 0 or not checks.has_shape(x.shape[1:], self.input_shape):
            expected = checks.written_shape("batch", *self.input_shape)
            raise ValueError(f"x: expected shape {expected}, got {x.shape}")
        if 0 in x.shape:
            raise ValueError(f"x: expected at least one example, got an empty batch {x.shape}")
        expected_type = self.dtype if dtype is None else np.dtype(dtype)
        if x.dtype != expected_type:
            why = ", as the layer" if dtype is None else ""
            raise TypeError(f"x: expected dtype {expected_type}{why}, got {x.dtype}")
        self._checked = x.shape


def in_float_type(name: str, value: float, dtype: np.dtype[Any]) -> None:
    """Refuse a number above 0 that is 0 or infinite in a layer's float type.

    Parameters
    ----------
    name : str
        The argument's name, for the error.
    value : float
    dtype : numpy.dtype

    Raises
    ------
    ValueError
        If the type cannot hold it; no array has such a shape.
    """
    with np.errstate(over="ignore", under="ignore"):
        number = dtype.type(value)
    if not 0 < number < np.inf:
        raise ValueError(f"{name}: {value:g} is {number:g} in {dtype}")


def check_rng(rng: Any) -> np.random.Generator:
    """Return the generator, or say how one is made.

    Parameters
    ----------
    rng : numpy.random.Generator

    Raises
    ------
    TypeError
        If it is something else, such as a seed.
    """
    return checks.instance("rng", rng, np.random.Generator, "numpy.random.default_rng(0)")


def needs_rng(rng: np.random.Generator | None, layer: Layer) -> np.random.Generator:
    """Return the generator, or say that `layer` cannot do without one.

    Parameters
    ----------
    rng : numpy.random.Generator or None
    layer : Layer
        The one that draws.

    Raises
    ------
    TypeError
        If it is no generator.
    """
    if not isinstance(rng, np.random.Generator):
        raise TypeError(
            f"rng: {type(layer).__name__} draws random numbers, so build needs a "
            f"numpy.random.Generator, got {type(rng).__name__}"
        )
    return rng
