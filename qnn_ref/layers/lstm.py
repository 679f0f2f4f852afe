r"""LSTM: a cell that gates keep and add to, one step and under it the step back (section 4.4)."""

from __future__ import annotations

from typing import Any

import numpy as np

from qnn_ref._typing import Array
from qnn_ref.checks import choice, real
from qnn_ref.layers.recurrent import Recurrent
from qnn_ref.quantizers import LinearQuant, Quantizer

GATES = ("input", "forget", "candidate", "output")
"""Order of the LSTM's four blocks of columns, as in PyTorch and Keras."""


def sigmoid(z: Array) -> Array:
    r""":math:`\sigma(z) = 1 / (1 + e^{-z}) = (1 + \tanh(z / 2)) / 2`, which never overflows.

    Parameters
    ----------
    z : array, any shape

    Returns
    -------
    array, the shape and dtype of `z`

    References
    ----------
    Section 4.4, LSTM; the paper prints no cell.
    """
    y: Array = np.tanh(0.5 * z)
    y += 1
    y *= 0.5
    return y


def lstm_step(z: Array, c: Array) -> tuple[Array, Array, tuple[Array, ...]]:
    r"""Step of an LSTM: what is forgotten, what is added to the cell, what is shown of it.

    .. math:: i = \sigma(z_i),\ f = \sigma(z_f),\ g = \tanh(z_g),\ o = \sigma(z_o)

    .. math:: c_t = f\,c_{t-1} + i\,g,\qquad h_t = o \tanh(c_t)

    Parameters
    ----------
    z : array (batch, 4 units)
        Sums in four blocks, in the order of `GATES`.
    c : array (batch, units)
        The cell before.

    Returns
    -------
    h : array (batch, units)
    c : array (batch, units)
        The cell after.
    kept : tuple of arrays (batch, units)
        i, f, g, o, the cell before, and tanh of the cell after: what the step back needs.

    References
    ----------
    Section 4.4, LSTM.
    """
    z_i, z_f, z_g, z_o = np.split(z, 4, axis=-1)
    i, f, g, o = sigmoid(z_i), sigmoid(z_f), np.tanh(z_g), sigmoid(z_o)
    after = f * c + i * g
    shown = np.tanh(after)
    return o * shown, after, (i, f, g, o, c, shown)


def lstm_step_backward(dh: Array, dc: Array, kept: tuple[Array, ...]) -> tuple[Array, Array]:
    r"""The step back.

    .. math:: \delta_c \mathrel{+}= \delta_h\,o\,(1 - \tanh^2 c_t)

    .. math:: \delta_{z_i} = \delta_c\,g\,i(1-i),\ \delta_{z_f} = \delta_c\,c_{t-1}f(1-f),\
              \delta_{z_g} = \delta_c\,i(1-g^2),\ \delta_{z_o} = \delta_h \tanh(c_t)\,o(1-o)

    and the cell before gets :math:`\delta_c f`.

    Parameters
    ----------
    dh, dc : arrays (batch, units)
        Gradients of what `lstm_step` gave.
    kept : tuple of arrays (batch, units)
        What it kept.

    Returns
    -------
    dz : array (batch, 4 units)
    dc : array (batch, units)
        Gradient of the cell before.

    References
    ----------
    Section 4.4, LSTM.
    """
    i, f, g, o, before, shown = kept
    dc = dc + dh * o * (1 - shown * shown)
    dz = (
        dc * g * (i * (1 - i)),
        dc * before * (f * (1 - f)),
        dc * i * (1 - g * g),
        dh * shown * (o * (1 - o)),
    )
    return np.concatenate(dz, axis=-1), dc * f


class LSTM(Recurrent):
    r"""LSTM: a cell that is kept, added to and shown by gates; see `lstm_step`.

    The columns of both weights and the bias are four blocks: input gate, forget gate, candidate,
    output gate. There is one bias.

    Parameters
    ----------
    units : int
        Numbers of the state h, and of the cell c.
    weight_quantizer : Quantizer or None
        Of both weights; None makes an ordinary float layer. For many units a smaller range than
        1 is wise, as `LinearQuant(2, high=1/16)`; see `RNN`.
    quantizer : Quantizer or None
        Of h, where it meets a product or leaves the layer. The cell stays real.
    forget_bias : float
        Start of the forget gates' bias: 1, so that cells remember at first.

    References
    ----------
    Sections 3 and 4.4: the LSTM of the words. Cell, quantized places and the bias of 1 (the common
    start today) are our reading; the paper prints none of them.
    """

    blocks = 4
    names = ("h", "c")

    def __init__(
        self,
        units: int,
        weight_quantizer: Quantizer | None = LinearQuant(4),
        quantizer: Quantizer | None = LinearQuant(4),
        forget_bias: float = 1.0,
    ) -> None:
        super().__init__(units, weight_quantizer, quantizer)
        self.forget_bias = real("forget_bias", forget_bias)

    def make(self) -> None:
        super().make()
        with self.bias.edit() as bias:
            bias[self.block("forget")] = self.forget_bias

    def block(self, gate: str) -> slice:
        """Columns of a gate: "input", "forget", "candidate" or "output"."""
        place = GATES.index(choice("gate", gate, GATES))
        return slice(place * self.units, (place + 1) * self.units)

    def step(self, z: Array, state: tuple[Array, ...]) -> tuple[tuple[Array, ...], Any]:
        h, c, kept = lstm_step(z, state[1])
        return (h, c), kept

    def step_backward(
        self, dstate: tuple[Array, ...], kept: Any
    ) -> tuple[Array, tuple[Array, ...]]:
        dh, dc = dstate
        dz, before = lstm_step_backward(dh, dc, kept)
        return dz, (before,)
