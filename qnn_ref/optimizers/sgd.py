"""Gradient descent with momentum (section 2.2)."""

# mypy: allow-untyped-defs

from __future__ import annotations

import numpy as np

from qnn_ref._typing import Array, Words
from qnn_ref.bits.in_passing import BLOCK, leave_all_signs, leave_signs, room_for_signs
from qnn_ref.bits.operands import read_only
from qnn_ref.checks import Setting, check_array
from qnn_ref.compiled import parallel_kernel, prange
from qnn_ref.optimizers.base import Optimizer, check_update, scaled_clipped_step
from qnn_ref.parameter import Parameter


def _check(w: Array, g: Array, m: Array, constants: Array, bound: float) -> None:
    with_momentum = isinstance(m, np.ndarray) and m.size > 0
    arrays = (w, g, m) if with_momentum else (w, g)
    check_update("wgm"[: len(arrays)], arrays, constants, 3, bound)
    if not with_momentum:
        check_array("m", m, (w.dtype,), (0,))


def sgd_update_reference(
    w: Array,
    g: Array,
    m: Array,
    constants: Array,
    bound: float,
    signs: Words | None = None,
) -> bool:
    """Descent in NumPy: the twin of `sgd_update`.

    Parameters, Returns: as `sgd_update`.
    """
    _check(w, g, m, constants, bound)
    room_for_signs(signs, w, g, m, constants)
    beta, rate, scale = constants
    velocity = g
    if m.size:
        m *= beta
        m += g
        velocity = m
    scaled_clipped_step(w, rate * velocity, scale, bound)
    return leave_all_signs(w, signs)


@parallel_kernel
def _sgd_update(w, g, m, constants, bound, signs):
    beta, rate, scale = constants
    nans = np.uint64(0)
    for block in prange((w.size + BLOCK - 1) // BLOCK):
        first = BLOCK * np.int64(block)
        for k in range(min(BLOCK, w.size - first)):
            i = np.uint64(first + k)  # unsigned: the compiler need not think of places before 0
            velocity = g[i]
            if m.size:
                velocity = beta * m[i] + g[i]
                m[i] = velocity
            new = w[i] - scale * (rate * velocity)
            if new > bound:
                new = bound
            if new < -bound:
                new = -bound
            w[i] = new
        if signs is not None:
            nans += leave_signs(w, first, signs)
    return nans == 0


def sgd_update(
    w: Array,
    g: Array,
    m: Array,
    constants: Array,
    bound: float,
    signs: Words | None = None,
) -> bool:
    r"""One step of descent with scale and clip, in place: one pass over memory.

    :math:`m \leftarrow \beta m + g`,
    :math:`w \leftarrow \mathrm{clip}\big(w - \gamma\,\eta m\big)`

    Parameters
    ----------
    w, g : array (n,)
        Latent value, which is changed, and gradient.
    m : array (n,) or (0,)
        Velocity, which is changed; without momentum there is none, and the gradient stands for it.
    constants : array (3,)
        beta, eta, gamma in the dtype of `w`.
    bound : float
        Clip to +-bound.
    signs : array (n / 64,) of uint64, optional
        Receives the signs of the new `w`, if n is a multiple of 64: see `bits/in_passing.py`.

    Returns
    -------
    bool
        False if `signs` are none, since a number of the new `w` is NaN.

    Raises
    ------
    TypeError, ValueError
        As `check_update`.

    References
    ----------
    Section 2.2; Algorithm 1, line 11.
    """
    _check(w, g, m, constants, bound)
    room = room_for_signs(signs, w, g, m, constants)
    numbers = read_only(constants), w.dtype.type(bound)
    return bool(_sgd_update(w, read_only(g), m, *numbers, room))


class SGD(Optimizer):
    r"""Gradient descent: :math:`m \leftarrow \beta m + \delta`, step :math:`\eta m`.

    Parameters
    ----------
    learning_rate : float
        The rate eta.
    momentum : float
        Beta, from 0 to below 1; 0 is plain descent.

    References
    ----------
    Section 2.2 (small noisy steps into the real-valued weights).
    """

    elementwise = leaves_signs = True
    momentum = Setting(least=0, below=1)

    def __init__(self, learning_rate: float = 0.01, momentum: float = 0.0) -> None:
        super().__init__(learning_rate)
        self.momentum = momentum
        self.moments = ("velocity",) if momentum else ()

    def constants(self, parameter: Parameter, t: int) -> list[float]:
        return [self.momentum, self.learning_rate, parameter.learning_rate_scale]

    def update(
        self,
        latent: Array,
        grad: Array,
        constants: Array,
        bound: float,
        signs: Words | None = None,
        **moments: Array,
    ) -> bool:
        velocity = moments.get("velocity", np.empty(0, latent.dtype))
        return sgd_update(latent, grad, velocity, constants, bound, signs)
