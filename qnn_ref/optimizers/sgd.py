"""Gradient descent with momentum (section 2.2)."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from qnn_ref.layers.base import Parameter
from qnn_ref.optimizers.base import Optimizer, scaled_clipped_step

Array = NDArray[Any]


class SGD(Optimizer):
    r"""Gradient descent: :math:`m \leftarrow \beta m + \delta`, step :math:`\eta m`.

    Parameters
    ----------
    learning_rate : float
        The rate eta.
    momentum : float
        Beta; 0 is plain descent.

    Source
    ------
    Section 2.2 (small noisy steps into the real-valued weights).
    """

    def __init__(self, learning_rate: float = 0.01, momentum: float = 0.0) -> None:
        super().__init__(learning_rate)
        self.momentum = momentum
        self.moments = ("velocity",) if momentum else ()

    def update(self, latent: Array, grad: Array, parameter: Parameter, **moments: Array) -> None:
        real = latent.dtype.type
        step = grad
        if self.momentum:
            velocity = moments["velocity"]
            velocity *= real(self.momentum)
            velocity += step
            step = velocity
        scaled_clipped_step(
            latent, real(self.learning_rate) * step, parameter.learning_rate_scale, parameter.bound
        )
