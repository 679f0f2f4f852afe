"""One bit: Sign, its stochastic form, and their straight-through gradient (eqs. 1-5)."""

# mypy: allow-untyped-defs

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from qnn_ref._typing import Array
from qnn_ref.bits.operands import read_only
from qnn_ref.bits.threads import threads_for
from qnn_ref.checks import FLOATS, as_array, check_array
from qnn_ref.compiled import numba, parallel_kernel, prange
from qnn_ref.grid import Encoding
from qnn_ref.quantizers.base import (
    Quantizer,
    as_real,
    check_noise,
    check_rng,
    check_saturation,
    masked,
)

_ENCODING = Encoding(1.0, -1, 1, 2)
"""Of every sign: a layer asks for it in each pass."""


def hard_tanh(x: Array, saturation: float = 1.0) -> Array:
    r"""Hard tanh, eq. (5): :math:`\mathrm{Htanh}(x) = \max(-\tau, \min(\tau, x))`.

    Parameters
    ----------
    x : array, any shape
    saturation : float
        The bound tau; the paper's 1, or more for its relaxed boundary (section 4.3).

    Returns
    -------
    array, the shape of `x`

    References
    ----------
    Eq. (5).
    """
    check_saturation(saturation)
    bound = float(saturation)  # a number of NumPy's float64 would widen float32
    return np.clip(x, -bound, bound)


def _is_fast(x: Any) -> bool:
    """Whether the compiled form is used: training is in float32, and checks need no speed."""
    return type(x) is np.ndarray and x.dtype == np.float32 and not numba.config.DISABLE_JIT


def sign_codes_reference(x: Array) -> Array:
    """Signs of real numbers in NumPy: the twin of `sign_codes`.

    Parameters, Returns: as `sign_codes`.
    """
    check_array("x", x, FLOATS, ("...",))
    x = as_real(x)
    return np.asarray(2 * (x >= 0).astype(x.dtype) - 1)


@parallel_kernel
def _sign_codes(x, codes):
    not_a_number = 0
    for i in prange(x.size):
        codes[i] = np.float32(1) if x[i] >= 0 else np.float32(-1)
        not_a_number += x[i] != x[i]
    return not_a_number


def sign_codes(x: Array) -> Array:
    r"""Signs of real numbers, in one pass over memory: +1 if :math:`x \ge 0`, else -1.

    Parameters
    ----------
    x : array, any shape
        0 and -0.0 give +1.

    Returns
    -------
    array, the shape and dtype of `x`

    Raises
    ------
    TypeError
        If it is no array of float32 or float64.
    ValueError
        If an element is NaN.

    References
    ----------
    Eq. (1).
    """
    check_array("x", x, FLOATS, ("...",))
    if not _is_fast(x) or x.ndim == 0:
        return sign_codes_reference(x)
    codes = np.empty(x.shape, x.dtype)
    with threads_for(x.size / 4):
        if _sign_codes(read_only(x).reshape(-1), codes.reshape(-1)):
            as_real(x)  # says how many
    return codes


def hard_tanh_backward_reference(dy: Array, x: Array, saturation: float = 1.0) -> Array:
    """Gradient of the hard tanh in NumPy: the twin of `hard_tanh_backward`.

    Parameters, Returns: as `hard_tanh_backward`.
    """
    check_saturation(saturation)
    x = as_array("x", x)
    if x.dtype.kind not in "fiu":
        raise TypeError(f"x: expected an array of real numbers, got {x.dtype}")
    return masked(dy, np.abs(x) <= saturation)


@parallel_kernel
def _hard_tanh_backward(dy, x, bound, dx):
    zero = np.float32(0)
    for i in prange(x.size):
        outside = dy[i] * zero  # as the product with a mask: a zero with the sign of dy
        if outside != outside:
            outside = zero
        dx[i] = dy[i] if abs(x[i]) <= bound else outside


def hard_tanh_backward(dy: Array, x: Array, saturation: float = 1.0) -> Array:
    r"""Gradient of the hard tanh, eq. (4): :math:`\delta_x = \delta_y\,1[|x| \le \tau]`.

    The bound belongs to the inside: at x = +-tau the gradient passes. The mask looks at x, never
    at the size of the incoming gradient.

    Parameters
    ----------
    dy : array, any shape
        Gradient with respect to the output.
    x : array, the shape of `dy`
        What the forward pass saw.
    saturation : float
        The bound tau.

    Returns
    -------
    array, the shape of `x`

    References
    ----------
    Eq. (4).
    """
    # A bound of NumPy's float64 is compared in float64.
    if not (_is_fast(x) and _is_fast(dy) and dy.shape == x.shape and type(saturation) is float):
        return hard_tanh_backward_reference(dy, x, saturation)
    check_saturation(saturation)
    check_array("dy", dy, (x.dtype,), x.shape)
    dx = np.empty(x.shape, x.dtype)
    numbers = read_only(dy).reshape(-1), read_only(x).reshape(-1), np.float32(saturation)
    with threads_for(x.size / 4):
        _hard_tanh_backward(*numbers, dx.reshape(-1))
    return dx


def hard_sigmoid(x: Array) -> Array:
    r"""Hard sigmoid, eq. (3): :math:`\sigma(x) = \mathrm{clip}((x + 1) / 2, 0, 1)`.

    Parameters
    ----------
    x : array, any shape

    Returns
    -------
    array, the shape of `x`
        Probabilities.

    References
    ----------
    Eq. (3).
    """
    return np.clip((x + 1) / 2, 0, 1)


def hard_sigmoid_backward(dy: Array, x: Array) -> Array:
    r"""Gradient of the hard sigmoid: :math:`\delta_x = \frac12 \delta_y\,1[|x| \le 1]`.

    Parameters
    ----------
    dy : array, any shape
        Gradient with respect to the output.
    x : array, the shape of `dy`
        What the forward pass saw.

    Returns
    -------
    array, the shape of `x`

    References
    ----------
    Derivative of eq. (3), bounds inclusive as in eq. (4).
    """
    return masked(dy, np.abs(x) <= 1) / 2


@dataclass(frozen=True, repr=False)
class Sign(Quantizer):
    r"""Deterministic binarization, eq. (1): :math:`x^b = +1` if :math:`x \ge 0`, else :math:`-1`.

    ============== =====================================================================
    levels         2: -1 and +1; codes are the levels, scale 1
    at 0 and -0.0  +1, always: there is no third value
    at +-inf       +-1
    at NaN         ValueError
    surrogate      hard tanh, clip(x, -saturation, saturation)
    at the bound   the gradient passes where abs(x) <= saturation: inclusive
    ============== =====================================================================

    Parameters
    ----------
    saturation : float
        The bound of the surrogate, 1 in the paper. A larger one is the paper's relaxed boundary:
        the forward pass does not change.

    Notes
    -----
    Who loads the authors' weights, or compares with their code, meets these differences:

    - Torch gives 0, not +1, for activations that vanish beside 1: from -2^-25 to 2^-24 in float32
      (from -2^-54 to 2^-53 in float64); PyTorch at 0 only.
    - Theano's activations and Torch's weights are +1, not -1, from -2^-25 up to 0 in float32. Later
      Theano rounds half to even: its weights are -1 from 0 to 2^-24.
    - Torch and PyTorch pass no gradient at exactly +-1. `Sign(saturation=np.nextafter(1, 0))` has
      their strict mask (but as a Python float that bound is rounded to 1 beside float32).

    References
    ----------
    Eqs. (1), (4), (5).

    Examples
    --------
    >>> Sign().quantize(np.array([-2.0, -0.0, 0.5]))
    array([-1.,  1.,  1.])
    >>> Sign().backward(np.ones(4), np.array([-1.5, -1.0, 0.5, 2.0]))
    array([0., 1., 1., 0.])
    """

    saturation: float = 1.0

    def __post_init__(self) -> None:
        check_saturation(self.saturation)

    def encode(self, x: Array, noise: Array | None = None) -> tuple[Array, float]:
        return sign_codes(x if _is_fast(x) else as_real(x)), 1.0

    def surrogate(self, x: Array) -> Array:
        return hard_tanh(x, self.saturation)

    def backward(self, dy: Array, x: Array) -> Array:
        return hard_tanh_backward(dy, x, self.saturation)

    @property
    def encoding(self) -> Encoding:
        return _ENCODING


@dataclass(frozen=True, repr=False)
class StochasticSign(Sign):
    r"""Stochastic binarization, eq. (2): :math:`x^b = +1` with probability :math:`\sigma(x)`.

    Draw first, then encode with what was drawn: `noise = q.draw(x.shape, rng)` holds uniform
    numbers u in [0, 1), and the code is +1 where u < sigma(x). So the same noise can be used
    again (a gradient check does), p = 0 never gives +1, and p = 1 always does. Without noise it
    is `Sign`: inference is deterministic.

    ============== =====================================================================
    levels         2: -1 and +1; codes are the levels, scale 1
    mean           clip(x, -1, 1); variance 1 - x^2 inside [-1, 1]
    at 0 and -0.0  +1 with probability 1/2; without noise +1
    at +-inf       +-1, certainly
    at NaN         ValueError
    surrogate      hard tanh, which is the mean for saturation = 1
    at the bound   the gradient passes where abs(x) <= saturation: inclusive
    ============== =====================================================================

    Parameters
    ----------
    saturation : float
        The bound of the surrogate; the probability does not depend on it.

    References
    ----------
    Eqs. (2), (3), gradient eqs. (4), (5). The authors' Torch recipes use it for activations in
    training.
    """

    def draw(self, shape: tuple[int, ...], rng: np.random.Generator | None) -> Array:
        return check_rng(rng, "StochasticSign").random(shape)

    def encode(self, x: Array, noise: Array | None = None) -> tuple[Array, float]:
        if noise is None:
            return super().encode(x)
        x = as_real(x)
        return 2 * (check_noise(noise, x) < hard_sigmoid(x)).astype(x.dtype) - 1, 1.0
