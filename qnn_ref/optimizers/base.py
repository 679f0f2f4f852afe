"""What every update rule shares: the loop over parameters, the scaled and clipped step."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qnn_ref.bits.threads import threads_for
from qnn_ref.layers.base import Parameter

Array = NDArray[Any]


class Optimizer:
    """What all rules share: step count, moments for each parameter, scale and clip.

    Parameters
    ----------
    learning_rate : float
        The rate eta; a schedule may set it anew each epoch.

    Source
    ------
    Algorithm 1, lines 10 and 11.
    """

    moments: tuple[str, ...] = ()
    """Names of the arrays that the rule keeps for each parameter."""

    def __init__(self, learning_rate: float) -> None:
        if not learning_rate > 0:
            raise ValueError(f"learning_rate: expected a number above 0, got {learning_rate}")
        self.learning_rate = learning_rate
        self.steps = 0
        self.state: dict[str, dict[str, Array]] = {}

    def step(self, parameters: dict[str, Parameter]) -> None:
        """Move every parameter once, by the gradient that `backward` left in it."""
        gradients: dict[str, Array] = {}
        for name, parameter in parameters.items():
            if parameter.grad is None:
                raise RuntimeError(f"{name}: no gradient; call backward before the step")
            gradients[name] = parameter.grad
        self.steps += 1
        for name, parameter in parameters.items():
            if name not in self.state:
                self.state[name] = {m: np.zeros_like(parameter.latent) for m in self.moments}
            with threads_for(parameter.size), parameter.edit() as latent:
                self.update(latent, gradients[name], parameter, **self.state[name])

    def update(self, latent: Array, grad: Array, parameter: Parameter, **moments: Array) -> None:
        """Change the latent array and the moments in place."""
        raise TypeError(f"{type(self).__name__} has no update rule")


def scaled_clipped_step(latent: Array, step: Array, scale: float, bound: float) -> None:
    r"""Line 11, in place: :math:`W \leftarrow \mathrm{clip}(W - \gamma\,\mathrm{step}, -B, B)`.

    Parameters
    ----------
    latent : array, any shape
        Changed in place.
    step : array, the shape of `latent`
        What the unscaled rule would subtract.
    scale : float
        Learning-rate scale gamma of the parameter.
    bound : float
        The bound B, infinite for parameters that are not clipped.

    Source
    ------
    Algorithm 1, line 11.
    """
    np.clip(latent - latent.dtype.type(scale) * step, -bound, bound, out=latent)


def clipped_share(parameters: Iterable[Parameter]) -> float:
    """Share of latent weights that sit exactly at their bound (a scalar from 0 to 1).

    Parameters
    ----------
    parameters : iterable of Parameter
        Those without a finite bound are left out.

    Returns
    -------
    float

    Source
    ------
    Section 2.3, the projection onto [-1, 1].
    """
    bounded = [p for p in parameters if np.isfinite(p.bound)]
    at_bound = sum(int(np.count_nonzero(np.abs(p.latent) == p.bound)) for p in bounded)
    return at_bound / max(1, sum(p.size for p in bounded))
