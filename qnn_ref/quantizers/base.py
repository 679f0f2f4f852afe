"""What every quantizer states, and what the numbers between two layers stand for.

A quantizer states three things side by side: the value that the forward pass uses (`encode`),
the smooth function whose slope the backward pass uses instead (`surrogate`), and that slope times
the incoming gradient, written out by hand (`backward`). The straight-through estimator is then a
statement that can be checked: *`backward` is the exact gradient of `surrogate`.*

Hidden units use the hard tanh as surrogate. The *weights* of a layer use the identity instead
(Algorithm 1, lines 9 and 11): the clipping of the latent weight stands for the mask, and a weight
that was clipped to exactly +-1 must be able to come back.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from qnn_ref import shown
from qnn_ref._typing import Array
from qnn_ref.checks import NotFiniteError, all_finite, as_array, instance, plain_array, real
from qnn_ref.grid import Encoding


def as_real(x: Array, name: str = "x") -> Array:
    """Return `x` as a float32 or float64 array without NaN, or say what is wrong with it.

    Parameters
    ----------
    x : array, any shape
        A float32 or float64 array, or anything that `numpy.asarray` turns into one.
    name : str
        What the error message calls it.

    Returns
    -------
    array, the same shape
        `x` itself where it is an array already.

    Raises
    ------
    TypeError
        If the dtype is neither float32 nor float64, or the array hides values behind a mask.
    ValueError
        If an element is NaN: it has no sign, so both answers would be wrong.

    References
    ----------
    Not in the paper; eq. (1) leaves NaN undefined.
    """
    x = as_array(name, x)
    if x.dtype not in (np.float32, np.float64):
        raise TypeError(f"{name}: expected a float32 or float64 array, got {x.dtype}")
    if x.size and np.isnan(x.min()):
        count = np.count_nonzero(np.isnan(x))
        raise NotFiniteError(f"{name}: {count} of {x.size} values are NaN, which has no sign")
    return x


def masked(dy: Array, mask: Array) -> Array:
    r"""Gradient behind a mask: :math:`\delta_y` times the mask, and 0 where the mask is 0.

    The product alone would make NaN of an infinite gradient times 0.

    Parameters
    ----------
    dy : array, any shape
    mask : array of bool, or of factors, the shape of `dy`

    Returns
    -------
    array, the shape and dtype of `dy`

    Raises
    ------
    ValueError
        If the shapes differ.

    References
    ----------
    Eq. (4), where the mask is an indicator.
    """
    dy = as_array("dy", dy)
    mask = as_array("mask", mask)
    if dy.shape != mask.shape:
        raise ValueError(f"dy: expected shape {mask.shape}, as x, got {dy.shape}")
    flat = dy.ravel(order="K")
    with np.errstate(over="ignore", invalid="ignore"):
        # The product is several times as fast as a choice, and right if all numbers are finite.
        product = np.asarray(dy * mask)
        if np.isfinite(np.dot(flat, flat)):
            return product
        return np.where((mask == 0) & np.isnan(product), dy.dtype.type(0), product)


def check_noise(noise: Array, x: Array) -> Array:
    """Return what `draw` gave for `x`, or say what is wrong with it.

    Parameters
    ----------
    noise : array, the shape of `x`
    x : array, any shape

    Returns
    -------
    array, the shape of `x`
        `noise` itself.

    Raises
    ------
    TypeError
        If it is no NumPy array.
    ValueError
        If its shape differs, or a number is not finite.

    References
    ----------
    Eq. (2): one draw for each element.
    """
    plain_array("noise", noise)
    if noise.shape != x.shape:
        raise ValueError(f"noise: expected shape {x.shape}, as x, got {noise.shape}")
    all_finite("noise", noise)
    return noise


def check_rng(rng: Any, name: str) -> np.random.Generator:
    """Return the generator that a stochastic quantizer draws from.

    Parameters
    ----------
    rng : numpy.random.Generator
    name : str
        Of the quantizer, for the error.

    Raises
    ------
    TypeError
        If it is something else.
    """
    if not isinstance(rng, np.random.Generator):
        raise TypeError(
            f"rng: {name} draws: it needs a numpy.random.Generator, got "
            f"{'None' if rng is None else type(rng).__name__}"
        )
    return rng


def check_quantizer(name: str, quantizer: Any) -> Quantizer:
    """Return a quantizer; its class alone is none.

    Parameters
    ----------
    name : str
        The argument's name, for the error.
    quantizer : Quantizer

    Raises
    ------
    TypeError
        If it is something else.
    """
    return instance(name, quantizer, Quantizer, "Sign()")


class Quantizer:
    """What every quantizer offers; `codes` are whole numbers in the float type of `x`.

    References
    ----------
    Sections 2.1 and 2.3; the split into codes and one scale is ours.
    """

    def __repr__(self) -> str:
        return shown.call(self, vars(self))

    def encode(self, x: Array, noise: Array | None = None) -> tuple[Array, float]:
        """Codes of `x`, any shape, and their scale; with `noise` of `draw`, stochastic ones."""
        raise TypeError(f"{type(self).__name__} does not say how it encodes")

    def surrogate(self, x: Array) -> Array:
        """The function of `x`, any shape, whose exact gradient `backward` is."""
        raise TypeError(f"{type(self).__name__} has no surrogate: its gradient cannot be checked")

    def backward(self, dy: Array, x: Array) -> Array:
        """Slope of the surrogate at `x` times `dy`, both of any one shape."""
        raise TypeError(f"{type(self).__name__} has no straight-through gradient")

    @property
    def encoding(self) -> Encoding:
        """Scale and grid of the codes, known before any data is seen."""
        raise TypeError(f"{type(self).__name__} has no fixed grid of codes")

    @property
    def levels(self) -> Array:
        """All codes that occur, (levels,), int32, ascending."""
        grid = self.encoding
        return np.arange(grid.low, grid.high + 1, grid.step).astype(np.int32)

    def quantize(self, x: Array, noise: Array | None = None) -> Array:
        """The paper's quantized value, `scale * codes`, in the shape and dtype of `x`."""
        codes, scale = self.encode(x, noise)
        return codes if scale == 1 else codes * codes.dtype.type(scale)

    def draw(self, shape: tuple[int, ...], rng: np.random.Generator | None) -> Array | None:
        """Noise of this shape for the stochastic forms; deterministic ones draw nothing."""
        return None


def check_saturation(saturation: float) -> None:
    """Refuse a bound of a surrogate that is not above 0.

    Parameters
    ----------
    saturation : float
        Infinite for a gradient that always passes.

    Raises
    ------
    TypeError
        If it is no real number.
    ValueError
        If it is 0, negative or NaN.

    References
    ----------
    Section 4.3, the relaxed boundary.
    """
    if not (isinstance(saturation, float) and saturation == np.inf):
        real("saturation", saturation, above=0)
