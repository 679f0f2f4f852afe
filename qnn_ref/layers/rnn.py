r"""RNN: a state of ReLU or tanh units, one step and under it the step back (section 4.4)."""

from __future__ import annotations

from typing import Any

import numpy as np

from qnn_ref._typing import Array
from qnn_ref.checks import choice
from qnn_ref.layers.recurrent import Recurrent
from qnn_ref.quantizers import LinearQuant, Quantizer


def rnn_step(z: Array, activation: str) -> Array:
    r"""Step of an RNN: :math:`h_t = \tanh(z_t)` or :math:`\max(0, z_t)`.

    Parameters
    ----------
    z : array (batch, units)
        Sums of the inputs, of the state before, and of the bias.
    activation : {"relu", "tanh"}

    Returns
    -------
    array (batch, units)

    References
    ----------
    Section 4.4: the RNN of the characters has ReLU.
    """
    return np.maximum(z, 0) if activation == "relu" else np.tanh(z)


def rnn_step_backward(dh: Array, h: Array, activation: str) -> Array:
    r"""The step back: :math:`\delta_z = \delta_h (1 - h^2)`, or where h > 0.

    Parameters
    ----------
    dh : array (batch, units)
        Gradient of what `rnn_step` gave.
    h : array (batch, units)
        What it gave.
    activation : {"relu", "tanh"}

    Returns
    -------
    array (batch, units)

    References
    ----------
    Section 4.4; the slope of ReLU at 0 is 0.
    """
    return dh * (h > 0) if activation == "relu" else dh * (1 - h * h)


class RNN(Recurrent):
    r"""Plain recurrent layer: :math:`h_t = \phi(x_t W_x + b + h^q_{t-1} W_h)`.

    With many units, weights of +-1 drive the sums far out. A quantizer of weights with a smaller
    range, as `LinearQuant(2, high=1/16)`, keeps them small; latent weights then end there.

    Parameters
    ----------
    units : int
        Numbers of the state.
    weight_quantizer : Quantizer or None
        Of both weights; None makes an ordinary float layer.
    quantizer : Quantizer or None
        Of the state, where it meets a product or leaves the layer: unsigned for ReLU, since its
        values begin at 0.
    activation : {"relu", "tanh"}

    References
    ----------
    Sections 3 and 4.4: the RNN of the characters has ReLU. Cell and quantized places are our
    reading, the paper prints neither; nor does it say what maxV of the weights was.
    """

    def __init__(
        self,
        units: int,
        weight_quantizer: Quantizer | None = LinearQuant(2),
        quantizer: Quantizer | None = LinearQuant(4, reading="unsigned"),
        activation: str = "relu",
    ) -> None:
        super().__init__(units, weight_quantizer, quantizer)
        self.activation = choice("activation", activation, ("relu", "tanh"))

    def step(self, z: Array, state: tuple[Array, ...]) -> tuple[tuple[Array, ...], Any]:
        h = rnn_step(z, self.activation)
        return (h,), h

    def step_backward(
        self, dstate: tuple[Array, ...], kept: Any
    ) -> tuple[Array, tuple[Array, ...]]:
        return rnn_step_backward(dstate[0], kept, self.activation), ()
