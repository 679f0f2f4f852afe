"""Update rules and learning-rate schedules (Algorithm 1, lines 10-12; section 2.5).

Every rule ends in the same way: the step is multiplied by the parameter's learning-rate scale,
subtracted from the *latent* value, and the result is clipped to the parameter's bound (line 11).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

from qnn_ref.layers.base import Parameter

Array = NDArray[Any]


@dataclass(frozen=True)
class ExponentialDecay:
    r"""Rate :math:`\eta_e = \eta_0\,(\eta_{fin} / \eta_0)^{e / E}` in epoch e of E, from 0.

    Parameters
    ----------
    initial : float
        Rate eta_0 of the first epoch.
    final : float
        Rate that would follow the last epoch.
    epochs : int
        Number E of epochs.

    Source
    ------
    Algorithm 1, line 12; once an epoch, as the authors' code does it, not once a step.
    """

    initial: float
    final: float
    epochs: int

    def __call__(self, epoch: int) -> float:
        """Rate of this epoch, counted from 0."""
        return float(self.initial * (self.final / self.initial) ** (epoch / self.epochs))


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
            with parameter.edit() as latent:
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


def adam_update_reference(
    w: Array, g: Array, m: Array, v: Array, constants: Array, bound: float
) -> None:
    r"""One Adam step with scale and clip, in place, in NumPy.

    :math:`m \leftarrow \beta_1 m + (1-\beta_1) g`,
    :math:`v \leftarrow \beta_2 v + (1-\beta_2) g^2`,
    :math:`w \leftarrow \mathrm{clip}\big(w - \gamma\eta\,\hat m / (\sqrt{\hat v} + \epsilon)\big)`
    with :math:`\hat m = m / (1 - \beta_1^t)` and :math:`\hat v = v / (1 - \beta_2^t)`.

    Parameters
    ----------
    w, g, m, v : array (n,)
        Latent value, gradient and both moments; all but `g` are changed.
    constants : array (8,)
        beta1, 1 - beta1, beta2, 1 - beta2, gamma eta, 1 - beta1^t, 1 - beta2^t, epsilon in the
        dtype of `w` (a Python float would be a float64 in the compiled twin).
    bound : float
        Clip to +-bound.

    Source
    ------
    Algorithm 1, line 11 with Update = ADAM (Kingma and Ba, Algorithm 1).
    """
    beta1, rest1, beta2, rest2, rate, correction1, correction2, epsilon = constants
    m[:] = beta1 * m + rest1 * g
    v[:] = beta2 * v + rest2 * (g * g)
    w -= rate * ((m / correction1) / (np.sqrt(v / correction2) + epsilon))
    np.clip(w, -bound, bound, out=w)


@njit(cache=True, parallel=True)
def adam_update(w, g, m, v, constants, bound):  # type: ignore[no-untyped-def]
    """Compiled twin of `adam_update_reference`: one pass over memory, the same bits."""
    beta1, rest1, beta2, rest2, rate, correction1, correction2, epsilon = constants
    for i in prange(w.size):
        m[i] = beta1 * m[i] + rest1 * g[i]
        v[i] = beta2 * v[i] + rest2 * (g[i] * g[i])
        new = w[i] - rate * ((m[i] / correction1) / (np.sqrt(v[i] / correction2) + epsilon))
        if new > bound:
            new = bound
        if new < -bound:
            new = -bound
        w[i] = new


class Adam(Optimizer):
    r"""Adam: step :math:`\eta\,\hat m / (\sqrt{\hat v} + \epsilon)` with bias-corrected moments.

    With a constant gradient every step has the length of the learning rate, whatever the
    gradient's size.

    Parameters
    ----------
    learning_rate : float
        The rate eta.
    beta1, beta2 : float
        Decay of the first and the second moment.
    epsilon : float
        Added to the root of the corrected second moment.

    Source
    ------
    Section 4.2 (ADAM in the Theano recipes); Kingma and Ba, Algorithm 1. The authors' library
    adds epsilon before the correction instead.
    """

    moments = ("first", "second")

    def __init__(
        self,
        learning_rate: float = 0.001,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
    ) -> None:
        super().__init__(learning_rate)
        self.beta1, self.beta2, self.epsilon = beta1, beta2, epsilon

    def update(self, latent: Array, grad: Array, parameter: Parameter, **moments: Array) -> None:
        rate = self.learning_rate * parameter.learning_rate_scale
        correction1, correction2 = 1 - self.beta1**self.steps, 1 - self.beta2**self.steps
        constants = np.array(
            [self.beta1, 1 - self.beta1, self.beta2, 1 - self.beta2, rate]
            + [correction1, correction2, self.epsilon],
            latent.dtype,
        )
        arrays = (a.reshape(-1) for a in (latent, grad, *moments.values()))
        adam_update(*arrays, constants, latent.dtype.type(parameter.bound))


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
        real, (m, u) = latent.dtype.type, moments.values()
        m *= real(self.beta1)
        m += real(1 - self.beta1) * grad
        np.maximum(real(self.beta2) * u, np.abs(grad), out=u)
        direction = np.divide(m, u, out=np.zeros_like(m), where=u > 0)
        step = real(self.learning_rate / (1 - self.beta1**self.steps)) * direction
        scaled_clipped_step(latent, step, parameter.learning_rate_scale, parameter.bound)


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
