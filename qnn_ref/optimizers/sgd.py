"""Gradient descent with momentum (section 2.2)."""

# mypy: allow-untyped-defs

from __future__ import annotations

import numpy as np

from qnn_ref._typing import Array
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


def sgd_update_reference(w: Array, g: Array, m: Array, constants: Array, bound: float) -> None:
    """Descent in NumPy: the twin of `sgd_update`.

    Parameters, Returns: as `sgd_update`.
    """
    _check(w, g, m, constants, bound)
    beta, rate, scale = constants
    velocity = g
    if m.size:
        m *= beta
        m += g
        velocity = m
    scaled_clipped_step(w, rate * velocity, scale, bound)


@parallel_kernel
def _sgd_update(w, g, m, constants, bound):
    beta, rate, scale = constants
    for i in prange(w.size):
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


def sgd_update(w: Array, g: Array, m: Array, constants: Array, bound: float) -> None:
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

    Raises
    ------
    TypeError, ValueError
        As `check_update`.

    References
    ----------
    Section 2.2; Algorithm 1, line 11.
    """
    _check(w, g, m, constants, bound)
    _sgd_update(w, read_only(g), m, read_only(constants), w.dtype.type(bound))


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

    elementwise = True
    momentum = Setting(least=0, below=1)

    def __init__(self, learning_rate: float = 0.01, momentum: float = 0.0) -> None:
        super().__init__(learning_rate)
        self.momentum = momentum
        self.moments = ("velocity",) if momentum else ()

    def constants(self, parameter: Parameter, t: int) -> list[float]:
        return [self.momentum, self.learning_rate, parameter.learning_rate_scale]

    def update(
        self, latent: Array, grad: Array, constants: Array, bound: float, **moments: Array
    ) -> None:
        velocity = moments.get("velocity", np.empty(0, latent.dtype))
        sgd_update(latent, grad, velocity, constants, bound)
