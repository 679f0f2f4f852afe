"""A trained array with its two faces, latent and quantized, and the Glorot scale of its rate."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, TypeVar

import numpy as np
from numpy.typing import DTypeLike

from qnn_ref import checks, shown
from qnn_ref._typing import Array, Shape, Words
from qnn_ref.bits.words import WORD_BITS, pack
from qnn_ref.quantizers import Quantizer, Sign
from qnn_ref.quantizers.base import check_quantizer

__all__ = ["Parameter", "Unformed", "glorot_scale"]
__dir__ = __all__.copy

Made = TypeVar("Made")

LEAST_SIGNS = 2**20
"""Weights from which on an optimizer may leave their signs: those of fewer are packed in no time,
and a kernel that leaves them takes longer to compile."""

_NUMBERS = itertools.count()
"""Every parameter that is made has a number of its own, which its copies keep: by it an optimizer
knows those that it has moved, where another network has the same names and shapes."""


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

    References
    ----------
    Algorithm 1, the gamma_k of line 11; value from the authors' code (the inverse of the
    initialisation coefficient).
    """
    fan_in, fan_out = checks.whole("fan_in", fan_in, 1), checks.whole("fan_out", fan_out, 0)
    return float(np.sqrt((fan_in + fan_out) / 1.5))


class Unformed:
    """A gradient that is no array yet: a product whose rows are formed when they are wanted.

    `Parameter.grad` forms it for whoever asks. An optimizer may take some rows at a time instead,
    so that the whole of it, as large as the weights, never is in memory.

    Parameters
    ----------
    shape : tuple of int
        (rows, columns) of the gradient.
    dtype : numpy.dtype

    References
    ----------
    Algorithm 1, lines 9 and 11.
    """

    def __init__(self, shape: Shape, dtype: np.dtype[Any]) -> None:
        self.shape, self.dtype = shape, dtype

    def rows(self, first: int, out: Array) -> None:
        """Form the rows from `first`, that of a panel, on: as many as `out` (rows, columns)."""
        raise TypeError(f"{type(self).__name__} forms no rows")

    def array(self) -> Array:
        """All of it."""
        raise TypeError(f"{type(self).__name__} forms no array")

    def surely_finite(self) -> bool:
        """Whether all of it is finite, known without forming it; False where only it can tell."""
        return False


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

    References
    ----------
    Section 2.3 (latent weights and their clipping), Algorithm 1, lines 1 and 11.
    """

    learning_rate_scale = checks.Setting(above=0)

    def __init__(
        self,
        latent: Array,
        quantizer: Quantizer | None = None,
        bound: float = np.inf,
        learning_rate_scale: float = 1.0,
    ) -> None:
        self._latent = np.array(checks.as_array("latent", latent), order="C")
        float_type(self._latent.dtype, "latent")
        checks.all_finite("latent", self._latent)
        self._grad: Array | Unformed | None = None
        self.quantizer = quantizer
        self.bound = bound if bound == np.inf else checks.real("bound", bound, above=0)
        self.learning_rate_scale = learning_rate_scale
        self.number = next(_NUMBERS)
        self._signs_wanted = False

    def _facts(self) -> dict[str, str]:
        """What is worth knowing of it, by name."""
        grid = self.quantizer
        return {
            "latent": shown.array(self.latent),
            "range": f"{self.latent.min():.3g} to {self.latent.max():.3g}" if self.size else "",
            "quantizer": "" if grid is None else repr(grid),
            "bound": "" if self.bound == np.inf else f"{self.bound:g}",
            "learning_rate_scale": f"{self.learning_rate_scale:.4g}",
        }

    def __repr__(self) -> str:
        facts = [f"{name} {fact}" for name, fact in self._facts().items() if fact]
        return f"<Parameter: {', '.join(facts)}>"

    def _repr_html_(self) -> str:
        facts = self._facts()
        return shown.html_table([("parameter", ""), *((n, f or "none") for n, f in facts.items())])

    @property
    def grad(self) -> Array | None:
        """Gradient that the last backward pass left, formed now if it was not; else None."""
        if isinstance(self._grad, Unformed):
            self._grad = self._grad.array()
        return self._grad

    @grad.setter
    def grad(self, gradient: Array | Unformed | None) -> None:
        self._grad = gradient

    @property
    def unformed(self) -> Unformed | None:
        """The gradient, as long as nobody asked for its array."""
        return self._grad if isinstance(self._grad, Unformed) else None

    @property
    def quantizer(self) -> Quantizer | None:
        """What makes the quantized value; without one it is the latent value."""
        return self._quantizer

    @quantizer.setter
    def quantizer(self, quantizer: Quantizer | None) -> None:
        self._quantizer = quantizer and check_quantizer("quantizer", quantizer)
        self._forget()

    def _forget(self) -> None:
        """Drop what was made from the latent value."""
        self._encoded: tuple[Array, float] | None = None
        self._made: dict[Callable[..., Any], Any] = {}
        self._signs: Words | None = None

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

    def cached(self, make: Callable[[Array], Made]) -> Made:
        """What `make` makes of the latent value; kept until that changes."""
        if make not in self._made:
            with self._naming():
                self._made[make] = make(self._latent)
        return self._made[make]  # type: ignore[no-any-return]

    def cached_codes(self, make: Callable[[Array], Made]) -> Made:
        """What `make` makes of the codes; kept until the latent value changes."""
        if make not in self._made:
            self._made[make] = make(self.codes)
        return self._made[make]  # type: ignore[no-any-return]

    def cached_signs(self, make: Callable[[Words, int], Made]) -> Made:
        """What `make` makes of the signs in bits; kept until the latent value changes.

        It is given words (rows, ceil(columns / 64)), each row of the last axis packed, and the
        number of columns.
        """
        if make not in self._made:
            columns = self.shape[-1]
            with self._naming():
                words = self._signs
                if words is None:
                    words = pack(self._latent.reshape(-1, columns))
                self._made[make] = make(words, columns)
            self._signs, self._signs_wanted = None, True
        return self._made[make]  # type: ignore[no-any-return]

    def room_for_signs(self) -> Words | None:
        """Room for the signs of the next latent value, (size / 64,), if somebody wants them."""
        if not self._signs_wanted or self.size < LEAST_SIGNS or self.shape[-1] % WORD_BITS:
            return None
        return np.empty(self.size // WORD_BITS, np.uint64)

    def keep_signs(self, signs: Words) -> None:
        """Keep the signs of the latent value as it is now; none of it is NaN."""
        self._signs = signs.reshape(-1, self.shape[-1] // WORD_BITS)

    @property
    def quantized(self) -> Array:
        """The value that the forward and backward products see; +-1 for `Sign`."""
        codes, scale = self._encode()
        return codes if scale == 1 else codes * codes.dtype.type(scale)

    def assign(self, value: Array) -> None:
        """Replace the latent value by finite numbers of its shape, and drop the cached codes."""
        value = checks.as_array("value", value)
        if value.shape != self._latent.shape:
            raise ValueError(f"value: expected shape {self._latent.shape}, got {value.shape}")
        if value.dtype.kind not in "fiu":
            raise TypeError(f"value: expected real numbers, got {value.dtype}")
        with np.errstate(over="ignore"):  # too large for float32: infinite, and said to be so
            value = value.astype(self.dtype, copy=False)
        checks.all_finite("value", value)
        with self.edit() as latent:
            latent[...] = value

    def edit(self) -> AbstractContextManager[Array]:
        """Lend the latent array for a change in place; the cached codes are dropped after it."""
        return _Edit(self)

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


class _Edit:
    """What `edit` gives. A class, since a generator's context costs as much as a small update."""

    def __init__(self, parameter: Parameter) -> None:
        self.parameter = parameter

    def __enter__(self) -> Array:
        return self.parameter._latent

    def __exit__(self, *error: Any) -> None:
        self.parameter._forget()


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
    """
    try:
        found = np.dtype(dtype)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name}: expected float32 or float64, got {dtype!r}") from error
    if dtype is None or found not in (np.float32, np.float64):
        came = "None" if dtype is None else found
        raise TypeError(f"{name}: expected float32 or float64, got {came}")
    return found
