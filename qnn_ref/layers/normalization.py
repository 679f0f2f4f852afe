"""Batch normalization with running mean and running inverse deviation (section 2.4)."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import DTypeLike, NDArray

from qnn_ref.layers.base import Layer, Parameter, Shape
from qnn_ref.quantizers import Encoding

Array = NDArray[Any]


def channel_mean(x: Array) -> Array:
    r"""Mean over all axes but the last, summed in float64: :math:`\frac1m \sum_i x_i`.

    Parameters
    ----------
    x : array (batch, ..., channels)

    Returns
    -------
    array (channels,), the dtype of `x`
        A plain float32 running sum of 1,000 times 0.1 is wrong by 1e-6, which a division by
        sqrt(epsilon) turns into 1e-4: hence the wider sum.

    Source
    ------
    Section 2.4, the mean over a batch.
    """
    return x.mean(axis=tuple(range(x.ndim - 1)), dtype=np.float64).astype(x.dtype)


def normalize(x: Array, mean: Array, inverse_deviation: Array, gain: Array, shift: Array) -> Array:
    r"""Affine map of batch norm, :math:`y = (x - \mu)\,r\,g + b`, in this order of operations.

    Inference, the thresholds of the packed network and its last layer all call this one function
    (training does the same in the same order): retyped in another order it would differ in the
    last bit of a quarter of the values.

    Parameters
    ----------
    x : array (batch, ..., channels)
    mean, inverse_deviation, gain, shift : array (channels,)

    Returns
    -------
    array, the shape of `x`

    Source
    ------
    Section 2.4, vanilla batch norm; Algorithm 5, last line.
    """
    return (x - mean) * inverse_deviation * gain + shift


class BatchNorm(Layer):
    r"""Batch normalization over all axes but the last (so dense and spatial alike).

    With m values a channel: :math:`\mu = \frac1m \sum x_i`, :math:`v = \frac1m \sum (x_i-\mu)^2`
    (biased), :math:`r = (v + \epsilon)^{-1/2}`, :math:`\hat x_i = (x_i - \mu) r`,
    :math:`y_i = g \hat x_i + b`.

    Inference uses running averages of the mean and of the *inverse deviation* r, not of the
    variance: `running <- (1 - momentum) * running + momentum * batch value`, from 0 and 1.
    A batch of one value a channel has v = 0 and gives y = b.

    Parameters
    ----------
    epsilon : float
        Added to the variance.
    momentum : float
        Weight of the newest batch in the running averages, in (0, 1].

    Source
    ------
    Section 2.4; epsilon, momentum and the running inverse deviation from the authors' Theano code.
    """

    def __init__(self, epsilon: float = 1e-4, momentum: float = 0.1) -> None:
        if not epsilon > 0:
            raise ValueError(f"epsilon: expected a number above 0, got {epsilon}")
        if not 0 < momentum <= 1:
            raise ValueError(f"momentum: expected a weight in (0, 1], got {momentum}")
        self.epsilon = epsilon
        self.momentum = momentum

    def build(
        self,
        input_shape: Shape,
        rng: np.random.Generator | None = None,
        encoding: Encoding | None = None,
        dtype: DTypeLike = np.float32,
    ) -> Self:
        super().build(input_shape, rng, encoding, dtype)
        channels = self.input_shape[-1]
        self.gain = Parameter(np.ones(channels, dtype))
        self.shift = Parameter(np.zeros(channels, dtype))
        self.running_mean = np.zeros(channels, dtype)
        self.running_inverse_deviation = np.ones(channels, dtype)
        return self

    def parameters(self) -> dict[str, Parameter]:
        return {"gain": self.gain, "shift": self.shift}

    def buffers(self) -> dict[str, Array]:
        return {
            "running_mean": self.running_mean,
            "running_inverse_deviation": self.running_inverse_deviation,
        }

    def astype(self, dtype: DTypeLike) -> None:
        super().astype(dtype)
        self.running_mean = self.running_mean.astype(dtype)
        self.running_inverse_deviation = self.running_inverse_deviation.astype(dtype)

    def forward(self, x: Array, training: bool = False) -> Array:
        self.check_input(x)
        if not training:
            return self.pointwise(x)
        mean = channel_mean(x)
        centred = x - mean
        variance = channel_mean(centred * centred)
        r = 1 / np.sqrt(variance + variance.dtype.type(self.epsilon))
        self._average(self.running_mean, mean)
        self._average(self.running_inverse_deviation, r)
        normalized = centred * r
        self._saved = normalized, r
        return normalized * self.gain.latent + self.shift.latent

    def affine(self) -> tuple[Array, Array, Array, Array]:
        """Mean, inverse deviation, gain and shift of inference, each (channels,)."""
        running = self.running_mean, self.running_inverse_deviation
        return (*running, self.gain.latent, self.shift.latent)

    def pointwise(self, x: Array) -> Array:
        return normalize(x, *self.affine())

    def _average(self, running: Array, value: Array) -> None:
        alpha = running.dtype.type(self.momentum)
        running *= 1 - alpha
        running += alpha * value

    def backward(self, dy: Array) -> Array:
        r"""Exact gradient: with bars for means over the batch,

        :math:`\delta_x = gr(\delta_y - \overline{\delta_y} - \hat x\,\overline{\delta_y \hat x})`,
        :math:`\delta_g = \sum \delta_y \hat x`, :math:`\delta_b = \sum \delta_y`.
        """
        normalized, r = self.saved(dy)
        m = dy.dtype.type(dy.size // dy.shape[-1])
        mean_dy = channel_mean(dy)
        mean_dy_normalized = channel_mean(dy * normalized)
        self.shift.grad = mean_dy * m
        self.gain.grad = mean_dy_normalized * m
        return self.gain.latent * r * (dy - mean_dy - normalized * mean_dy_normalized)
