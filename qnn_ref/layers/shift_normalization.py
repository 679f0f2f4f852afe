r"""Shift-based batch normalization (Algorithm 2): every product is a shift.

:math:`a \ll\gg \mathrm{AP2}(z)` shifts a by the exponent of AP2(z) *and gives it the sign of
AP2(z)*: it is the product :math:`a\,\mathrm{AP2}(z)`. In floating point that product changes
nothing but sign and exponent, so the code below writes `*` with an `ap2` on one side.
"""

from __future__ import annotations

import numpy as np

from qnn_ref._typing import Array
from qnn_ref.checks import choice
from qnn_ref.layers.normalization import BatchNorm, channel_mean
from qnn_ref.shifts import ap2

GRADIENTS = {"S": "slope", "R": "ratio", "T": "torch"}
"""The backward forms, and the short names that mean the same."""


class ShiftBatchNorm(BatchNorm):
    r"""Batch normalization by shifts, over all axes but the last (dense and spatial alike).

    1. :math:`\mu = \frac1m \sum x_i`
    2. :math:`c_i = x_i - \mu`
    3. :math:`v = \frac1m \sum c_i\,A_i` with :math:`A_i = \mathrm{AP2}(c_i)`; the sign of A
       belongs to the shift, so every term is at least 0
    4. :math:`\hat x_i = c_i\,s` with :math:`s = \mathrm{AP2}(r)`, :math:`r = (v+\epsilon)^{-1/2}`
    5. :math:`y_i = G\,\hat x_i + b` with :math:`G = \mathrm{AP2}(g)`; the paper's line lacks the b

    Mean, the division by m and the shift b are ordinary numbers. Line 3 may be off by sqrt(2)
    either way, which is 2^(1/4) in r, and AP2 adds sqrt(2): the deviation of :math:`\hat x` lies
    between 2^(-3/4) = 0.595 and 2^(3/4) = 1.68 whatever the batch, as long as epsilon is small
    beside the variance; for large batches of a bell curve between 0.69 and 1.42.

    Inference keeps running averages of :math:`\mu` and of the *unrounded* r, from 0 and 1, and
    rounds when it uses them: :math:`y = G\,(x - \bar\mu)\,\mathrm{AP2}(\bar r) + b`.

    AP2 is a staircase, so its true derivative is 0 almost everywhere and would never train g. The
    paper does not print a backward pass; with :math:`p = \frac1m \sum_j \delta_{y_j} c_j` and a
    bar for the mean over the batch, `gradient` chooses one of three:

    ===== ============================================================== =====================
    slope :math:`d_i - \bar d`,                                          exact gradient when
          :math:`d_i = G(s\,\delta_{y_i} - \frac12 r^3 (A_i + c_i)\,p)`, every AP2(u) is
          :math:`\delta_g = \sum \delta_{y_i} \hat x_i`                  replaced by u
    ratio :math:`d_i - \bar d`,                                          exact gradient when
          :math:`d_i = G s (\delta_{y_i} - r^2 A_i\,p)`,                 every AP2(u) / u is
          :math:`\delta_g = \frac Gg \sum \delta_{y_i} \hat x_i`         held constant
    torch :math:`Gs(\delta_{y_i} - \overline{\delta_y}                   the authors' code; no
          - s^2 A_i\,\overline{\delta_y A})`,                            gradient of anything,
          :math:`\delta_g = \sum \delta_{y_i} \mathrm{AP2}(\hat x_i)`    does not sum to 0
    ===== ============================================================== =====================

    and :math:`\delta_b = \sum \delta_{y_i}` always.

    Parameters
    ----------
    gradient : {"slope", "ratio", "torch"}
        The default is our reading. "S", "R" and "T" are other names of the three.
    epsilon : float
        Added to the variance.
    momentum : float
        Weight of the newest batch in the running averages; :math:`2^{-3}` is a shift.
    scale_gain_rate : bool
        Whether the gain learns at the Glorot scale of its layer's width, as in the authors' Torch
        code for MNIST.

    References
    ----------
    Algorithm 2; epsilon, momentum, the running inverse deviation and the form "torch" from the
    authors' Torch code, whose spatial variant starts the inverse deviation at 0 instead of 1.
    """

    def __init__(
        self,
        gradient: str = "slope",
        epsilon: float = 1e-5,
        momentum: float = 0.125,
        scale_gain_rate: bool = False,
    ) -> None:
        super().__init__(epsilon, momentum, scale_gain_rate=scale_gain_rate)
        gradient = choice("gradient", gradient, (*GRADIENTS.values(), *GRADIENTS))
        self.gradient = GRADIENTS.get(gradient, gradient)
        self.ap2 = ap2
        # What the gradient checker puts in the place of AP2.
        surrogates = {"slope": "identity", "ratio": "ratio", "torch": "no surrogate"}
        self.jumps = {"ap2": surrogates[self.gradient]}

    def affine(self) -> tuple[Array, Array, Array, Array]:
        """Mean, rounded inverse deviation and gain, and shift of inference, each (channels,)."""
        s, gain = self.ap2(self.running_inverse_deviation), self.ap2(self.gain.latent)
        return self.running_mean, s, gain, self.shift.latent

    def forward(self, x: Array, training: bool = False) -> Array:
        self.check_input(x)
        if not training:
            return self.pointwise(x)
        mean = channel_mean(x)  # line 1
        centred = x - mean  # line 2
        rounded = self.ap2(centred)
        variance = channel_mean(centred * rounded)  # line 3
        r = 1 / np.sqrt(variance + variance.dtype.type(self.epsilon))
        s = self.ap2(r)
        normalized = centred * s  # line 4
        gain = self.ap2(self.gain.latent)
        self._average(self.running_mean, mean)
        self._average(self.running_inverse_deviation, r)
        self._saved = centred, rounded, r, s, normalized, gain
        return normalized * gain + self.shift.latent  # line 5

    def backward(self, dy: Array) -> Array:
        """Gradient of the chosen form; the class docstring states each."""
        centred, rounded, r, s, normalized, gain = self.saved(dy)
        m = dy.dtype.type(dy.size // dy.shape[-1])
        self.shift.grad = channel_mean(dy) * m
        if self.gradient == "torch":
            self.gain.grad = channel_mean(dy * ap2(normalized)) * m
            along = s * s * rounded * channel_mean(dy * rounded)
            return gain * s * (dy - channel_mean(dy) - along)
        self.gain.grad = channel_mean(dy * normalized) * m
        p = channel_mean(dy * centred)
        if self.gradient == "slope":
            half = dy.dtype.type(0.5)
            d = gain * (s * dy - half * r * r * r * (rounded + centred) * p)
        else:
            self.gain.grad *= ratio(gain, self.gain.latent)
            d = gain * s * (dy - r * r * rounded * p)
        return d - channel_mean(d)


def ratio(rounded: Array, x: Array) -> Array:
    r"""How far AP2 moved x: :math:`\mathrm{AP2}(x) / x`, and 1 where x is 0.

    Parameters
    ----------
    rounded : array, any shape
        AP2(x).
    x : array, the shape of `rounded`

    Returns
    -------
    array, the shape of `x`
        From sqrt(1/2) to sqrt(2).

    References
    ----------
    Section 2.4, the ratio form of the backward pass (our reading; not in the paper).
    """
    return np.divide(rounded, x, out=np.ones_like(x), where=x != 0)


def shift_batch_norm_chain(
    dy: Array, centred: Array, gain: Array, epsilon: float
) -> tuple[Array, Array, Array]:
    r"""The form "slope" as a long chain: Algorithm 2 line by line, from the last to the first.

    Every AP2 has slope 1. `ShiftBatchNorm.backward` is the same gradient in its short form.

    Parameters
    ----------
    dy : array (batch, ..., channels)
        Gradient of the output.
    centred : array (batch, ..., channels)
        The centred values c of line 2.
    gain : array (channels,)
        The gain g, not rounded.
    epsilon : float
        Added to the variance.

    Returns
    -------
    dx : array (batch, ..., channels)
    dgain : array (channels,)
    dshift : array (channels,)

    References
    ----------
    Algorithm 2, read backwards (our reading; not in the paper).
    """
    over_batch = tuple(range(dy.ndim - 1))
    m = dy.size // dy.shape[-1]
    rounded = ap2(centred)
    variance = np.mean(centred * rounded, axis=over_batch)
    deviation = np.sqrt(variance + epsilon)
    r = 1 / deviation
    # Line 5: y = AP2(g) x_hat + b
    dshift = dy.sum(axis=over_batch)
    dgain = (dy * (centred * ap2(r))).sum(axis=over_batch)
    dnormalized = dy * ap2(gain)
    # Line 4: x_hat = c AP2(r), r = 1 / sqrt(v + epsilon)
    dcentred = dnormalized * ap2(r)
    dr = (dnormalized * centred).sum(axis=over_batch)
    ddeviation = dr * (-1 / (variance + epsilon))
    dvariance = ddeviation / (2 * deviation)
    # Line 3: v = mean of c AP2(c); both factors move
    dcentred = dcentred + dvariance / m * (rounded + centred)
    # Lines 2 and 1: c = x - mean(x)
    dmean = -dcentred.sum(axis=over_batch)
    return dcentred + dmean / m, dgain, dshift
