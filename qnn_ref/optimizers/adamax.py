"""AdaMax (section 2.5): the rule that Algorithm 4 turns into shifts."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qnn_ref.layers.base import Parameter
from qnn_ref.optimizers.base import Optimizer, scaled_clipped_step

Array = NDArray[Any]


class AdaMax(Optimizer):
    r"""AdaMax: :math:`m \leftarrow \beta_1 m + (1-\beta_1)\delta`,
    :math:`u \leftarrow \max(\beta_2 u, |\delta|)`, step :math:`\frac{\eta}{1-\beta_1^t} \frac mu`.

    Where u is still 0 no gradient has come yet, m is 0 too, and the step is 0.

    Parameters
    ----------
    learning_rate : float
        The rate eta.
    beta1, beta2 : float
        Decay of the mean and of the infinity norm.

    Source
    ------
    Section 2.5; Kingma and Ba, Algorithm 2.
    """

    moments = ("first", "norm")

    def __init__(
        self, learning_rate: float = 0.002, beta1: float = 0.9, beta2: float = 0.999
    ) -> None:
        super().__init__(learning_rate)
        self.beta1, self.beta2 = beta1, beta2

    def update(self, latent: Array, grad: Array, parameter: Parameter, **moments: Array) -> None:
        real, m, u = latent.dtype.type, moments["first"], moments["norm"]
        m *= real(self.beta1)
        m += real(1 - self.beta1) * grad
        np.maximum(real(self.beta2) * u, np.abs(grad), out=u)
        direction = np.divide(m, u, out=np.zeros_like(m), where=u > 0)
        step = real(self.learning_rate / (1 - self.beta1**self.steps)) * direction
        scaled_clipped_step(latent, step, parameter.learning_rate_scale, parameter.bound)
