"""What every layer is: `Parameter`, `Layer`, and the Glorot scale of a layer's learning rate."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import DTypeLike, NDArray

from qnn_ref import checks
from qnn_ref.bits import SignKernel, SignMatrix, pack_panels, pack_sign_kernel
from qnn_ref.quantizers import Encoding, Quantizer, Sign
from qnn_ref.quantizers.base import check_quantizer

Array = NDArray[Any]
Shape = tuple[int, ...]

NO_GRADIENT: Any = object()
"""What `Layer.saved` is called with by someone who only looks."""


def glorot_scale(fan_in: int, fan_out: int) -> float:
    r"""Learning-rate scale :math:`\gamma = \sqrt{(f_{in} + f_{out}) / 1.5}` of binary weights.

    A real-valued layer would start in +-sqrt(1.5 / (fan_in + fan_out)); binary layers keep their
    latent weights in +-1 instead, so their steps grow by the same factor.

    Parameters
    ----------
    fan_in : int
        Inputs of a unit; for a convolution kernel height x kernel width x input channels.
    fan_out : int
        Outputs that an input reaches; for a convolution counted with the output channels.

    Returns
    -------
    float
        A scalar.

    Source
    ------
    Algorithm 1, the gamma_k of line 11; value from the authors' code (the inverse of the
    initialisation coefficient).
    """
    return float(np.sqrt((fan_in + fan_out) / 1.5))


class Parameter:
    """A trained array, with its two faces named: `latent` and `quantized`.

    `latent` is the real array that the optimizer moves and clips; `quantized` is what the products
    of the forward and the backward pass see, the answer to "why are my weights not +-1?".

    Parameters
    ----------
    latent : array, any shape
        Starting value; copied.
    quantizer : Quantizer, optional
        Makes `quantized` from `latent`; without one both are the same.
    bound : float
        The optimizer clips the latent value to [-bound, bound] after each step.
    learning_rate_scale : float
        The optimizer multiplies the step by it, before the clip.

    Source
    ------
    Section 2.3 (latent weights and their clipping), Algorithm 1, lines 1 and 11.
    """

    def __init__(
        self,
        latent: Array,
        quantizer: Quantizer | None = None,
        bound: float = np.inf,
        learning_rate_scale: float = 1.0,
    ) -> None:
        self._latent = np.array(latent, order="C")
        float_type(self._latent.dtype, "latent")
        checks.all_finite("latent", self._latent)
        self.grad: Array | None = None
        self.quantizer = quantizer if quantizer is None else check_quantizer("quantizer", quantizer)
        self.bound = bound if bound == np.inf else checks.real("bound", bound, above=0)
        self.learning_rate_scale = checks.real("learning_rate_scale", learning_rate_scale, above=0)

    @property
    def quantizer(self) -> Quantizer | None:
        """Makes the quantized value; without one it is the latent value."""
        return self._quantizer

    @quantizer.setter
    def quantizer(self, quantizer: Quantizer | None) -> None:
        self._quantizer = quantizer
        self._forget()

    def _forget(self) -> None:
        """Drop what was made from the latent value."""
        self._encoded: tuple[Array, float] | None = None
        self._signs: SignMatrix | None = None
        self._kernel: SignKernel | None = None

    @property
    def latent(self) -> Array:
        """The real value, as a read-only view; `assign` changes it."""
        view = self._latent.view()
        view.flags.writeable = False
        return view

    def _encode(self) -> tuple[Array, float]:
        if self._encoded is None:
            if self.quantizer is None:
                self._encoded = self.latent, 1.0
            else:
                with self._naming():
                    self._encoded = self.quantizer.encode(self.latent)
                self._encoded[0].flags.writeable = False
        return self._encoded

    @contextmanager
    def _naming(self) -> Iterator[None]:
        """Say of a weight that is NaN that it is one; a quantizer calls it x."""
        try:
            yield
        except ValueError:
            checks.all_finite("weight", self._latent)
            raise

    def drawn(self, rng: np.random.Generator | None) -> Parameter:
        """The weights of one training step, eq. (2): of a stochastic quantizer, codes drawn anew.

        They are the `latent` of the parameter that is returned, and stay the same; `self` where
        nothing is drawn.
        """
        noise = None if self.quantizer is None else self.quantizer.draw(self.shape, rng)
        if self.quantizer is None or noise is None:
            return self
        with self._naming():
            codes, scale = self.quantizer.encode(self.latent, noise)
        drawn = Parameter(codes, self.quantizer)
        drawn._encoded = drawn.latent, scale  # not encoded again
        return drawn

    @property
    def codes(self) -> Array:
        """Whole numbers in the latent value's shape and dtype; `quantized = scale * codes`."""
        return self._encode()[0]

    @property
    def scale(self) -> float:
        """Value of one unit of the codes."""
        return 1.0 if isinstance(self.quantizer, Sign) else self._encode()[1]

    @property
    def signs(self) -> SignMatrix | None:
        """The codes as bits, of the matrix (-1, units), if they are signs of float32; else None.

        Kept until the latent value changes; a product that asks for them needs no `codes`.
        """
        if self._signs is None and self._packs:
            with self._naming():
                self._signs = pack_panels(self._latent.reshape(-1, self.shape[-1]))
        return self._signs

    @property
    def kernel(self) -> SignKernel | None:
        """The same for weights (kh, kw, channels, units) of a convolution."""
        if self._kernel is None and self._packs:
            with self._naming():
                self._kernel = pack_sign_kernel(self._latent)
        return self._kernel

    @property
    def _packs(self) -> bool:
        return isinstance(self.quantizer, Sign) and self.dtype == np.float32

    @property
    def quantized(self) -> Array:
        """The value that the forward and backward products see; +-1 for `Sign`."""
        codes, scale = self._encode()
        return codes if scale == 1 else codes * codes.dtype.type(scale)

    def assign(self, value: Array) -> None:
        """Replace the latent value by `value`, of the same shape, and drop the cached codes."""
        if np.shape(value) != self._latent.shape:
            raise ValueError(f"value: expected shape {self._latent.shape}, got {np.shape(value)}")
        value = np.asarray(value)
        if value.dtype.kind not in "fiu":
            raise TypeError(f"value: expected real numbers, got {value.dtype}")
        with self.edit() as latent:
            latent[...] = value

    @contextmanager
    def edit(self) -> Iterator[Array]:
        """Lend the latent array for a change in place; the cached codes are dropped after it."""
        try:
            yield self._latent
        finally:
            self._forget()

    def astype(self, dtype: DTypeLike) -> None:
        """Change the float type of the latent value and of the gradient."""
        self._latent = self._latent.astype(float_type(dtype))
        self._forget()
        self.grad = None if self.grad is None else self.grad.astype(dtype)

    @property
    def shape(self) -> Shape:
        """Shape of the array."""
        return self._latent.shape

    @property
    def size(self) -> int:
        """Number of elements."""
        return self._latent.size

    @property
    def dtype(self) -> np.dtype[Any]:
        """Float type of the latent value."""
        return self._latent.dtype


class Layer:
    """One step of the network: `forward`, and right under it `backward`.

    A layer is described when it is made, and gets its arrays in `build`, when the shape and the
    encoding of its input are known. `forward(x, training=True)` keeps what `backward` needs;
    `backward(dy)` returns the gradient of the input and overwrites `Parameter.grad`.

    Source
    ------
    Algorithm 1: a layer is one turn of its two loops.
    """

    differentiable: ClassVar[bool] = True
    """Whether the input has a gradient (integer images have none)."""

    jumps: Mapping[str, str] = MappingProxyType({})
    """Attributes that jump or draw in forward, for the gradient checker: name -> kind, where kind
    is "quantizer" (freeze around the point, slope of the surrogate), "identity" (the same for a
    function whose surrogate is the identity) or "choice" (a method: repeat its first answer)."""

    needs_input_gradient = True
    """Set to False by a network where nothing below the layer has parameters."""

    _network: weakref.ref[Any] | None = None
    """The network that the layer was built into."""

    _checked = 0
    """Batch size of the input that `check_input` saw last."""

    _kept: tuple[Any, int] = (None, 0)
    """What the last training forward kept, and its batch size."""

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
        self.input_shape = checks.shape("input_shape", input_shape)
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
        self._network = weakref.ref(network)

    def __getstate__(self) -> dict[str, Any]:
        """What a copy takes over; it belongs to no network yet."""
        return {name: value for name, value in self.__dict__.items() if name != "_network"}

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
        expected = self.output_shape(self.input_shape)
        if dy.shape[1:] != expected or dy.ndim != len(expected) + 1:
            shape = ", ".join(map(str, ("batch", *expected)))
            raise ValueError(f"dy: expected shape ({shape}), got {dy.shape}")
        if dy.dtype != self.dtype:
            raise TypeError(f"dy: expected dtype {self.dtype}, as the layer, got {dy.dtype}")
        batch = self._kept[1]
        if batch and len(dy) != batch:
            raise ValueError(
                f"dy: expected a batch of {batch}, as in the last training forward, got {len(dy)}"
            )

    def check_input(self, x: Array, dtype: DTypeLike | None = None) -> None:
        """Refuse an input of another shape, or of another dtype than the layer's (or `dtype`)."""
        if not hasattr(self, "input_shape"):
            raise RuntimeError(f"{type(self).__name__} is not built yet: call build(input_shape)")
        checks.plain_array("x", x)
        if x.shape[1:] != self.input_shape or x.ndim != len(self.input_shape) + 1:
            expected = ", ".join(map(str, ("batch", *self.input_shape)))
            raise ValueError(f"x: expected shape ({expected}), got {x.shape}")
        if x.shape[0] == 0:
            raise ValueError(f"x: expected at least one example, got an empty batch {x.shape}")
        expected_type = self.dtype if dtype is None else np.dtype(dtype)
        if x.dtype != expected_type:
            why = ", as the layer" if dtype is None else ""
            raise TypeError(f"x: expected dtype {expected_type}{why}, got {x.dtype}")
        self._checked = len(x)


def float_type(dtype: DTypeLike, name: str = "dtype") -> np.dtype[Any]:
    """Return float32 or float64 as a dtype; layers compute in no other.

    Parameters
    ----------
    dtype : dtype
    name : str
        What the error message calls it.

    Returns
    -------
    numpy.dtype
        A type, of no shape.

    Raises
    ------
    TypeError
        If it is another one.

    Source
    ------
    Not in the paper.
    """
    try:
        found = np.dtype(dtype)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name}: expected float32 or float64, got {dtype!r}") from error
    if dtype is None or found not in (np.float32, np.float64):
        came = "None" if dtype is None else found
        raise TypeError(f"{name}: expected float32 or float64, got {came}")
    return found


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

    Source
    ------
    Not in the paper.
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

    Returns
    -------
    numpy.random.Generator
        `rng`, a single object of no shape.

    Raises
    ------
    TypeError
        If it is something else, such as a seed.

    Source
    ------
    Not in the paper.
    """
    return checks.instance("rng", rng, np.random.Generator, "numpy.random.default_rng(0)")


def needs_rng(rng: np.random.Generator | None, layer: Layer) -> np.random.Generator:
    """Return the generator, or say that `layer` cannot do without one.

    Parameters
    ----------
    rng : numpy.random.Generator or None
    layer : Layer
        The one that draws.

    Returns
    -------
    numpy.random.Generator
        `rng`, a single object of no shape.

    Raises
    ------
    TypeError
        If it is no generator.

    Source
    ------
    Not in the paper.
    """
    if not isinstance(rng, np.random.Generator):
        raise TypeError(
            f"rng: {type(layer).__name__} draws random numbers, so build needs a "
            f"numpy.random.Generator, got {type(rng).__name__}"
        )
    return rng
