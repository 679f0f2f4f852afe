"""Batch normalization with running mean and running inverse deviation (section 2.4).

Over 400 lines: the layer, and each of its passes twice, as NumPy twin and as kernel.
"""

# mypy: allow-untyped-defs

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import DTypeLike

from qnn_ref._typing import Array
from qnn_ref.bits.operands import read_only
from qnn_ref.bits.threads import threads_for
from qnn_ref.checks import FLOATS, Setting, check_array, choice, flag, real
from qnn_ref.compiled import numba, parallel_kernel, prange, serial_kernel
from qnn_ref.layers.base import Layer, in_float_type, needs_rng
from qnn_ref.parameter import Parameter, glorot_scale

CHANNELS = 64
"""Channels whose sums a task keeps: four cache lines of a row."""

RUNNING = {
    "inverse deviation": "running_inverse_deviation",
    "unbiased variance": "running_variance",
}
"""What may be averaged for inference besides the mean, and the attribute that holds it."""


def _check_batch(name: str, x: Array) -> None:
    """Refuse what has no channels, or no value to take a mean of."""
    check_array(name, x, FLOATS, ("...", "channels"))
    if x.ndim < 2 or x.size == 0:
        raise ValueError(
            f"{name}: expected shape (batch, ..., channels) with a value at least, got {x.shape}"
        )


def channel_mean_reference(x: Array) -> Array:
    """Mean over all axes but the last, summed in float64: the twin of `channel_mean`.

    Parameters, Returns: as `channel_mean`.
    """
    _check_batch("x", x)
    return x.mean(axis=tuple(range(x.ndim - 1)), dtype=np.float64).astype(x.dtype)


@serial_kernel
def _mean_of_block(a, first, sums, means):
    """Mean over the rows in float64, added in their order, as NumPy adds them."""
    last = min(first + CHANNELS, means.size)
    total = sums[first:last]
    total[:] = 0
    for i in range(a.shape[0]):
        row = a[i, first:last]
        for c in range(total.size):
            total[c] += np.float64(row[c])
    for c in range(total.size):
        means[first + c] = total[c] / a.shape[0]


@parallel_kernel
def _mean(a, sums, means):
    for block in prange((means.size + CHANNELS - 1) // CHANNELS):
        _mean_of_block(a, CHANNELS * np.int64(block), sums, means)


def _is_fast(x: Array) -> bool:
    """Whether the compiled form is used: training is in float32, and checks need no speed."""
    return x.dtype == np.float32 and not numba.config.DISABLE_JIT


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

    Raises
    ------
    TypeError
        If `x` is no array of float32 or float64.
    ValueError
        If it has less than two axes, or no value.

    References
    ----------
    Section 2.4, the mean over a batch.
    """
    _check_batch("x", x)
    if not _is_fast(x):
        return channel_mean_reference(x)
    rows = read_only(x).reshape(-1, x.shape[-1])
    means = np.empty(x.shape[-1], x.dtype)
    with threads_for(x.size / 4):
        _mean(rows, np.empty(means.size), means)
    return means


def unbiased_variance(x: Array) -> Array:
    r"""Unbiased variance over all axes but the last: :math:`\frac1{m-1} \sum (x_i - \mu)^2`.

    Parameters
    ----------
    x : array (batch, ..., channels)

    Returns
    -------
    array (channels,), the dtype of `x`

    Raises
    ------
    ValueError
        If there is one value a channel.

    References
    ----------
    Not in the paper: what Torch7 and PyTorch average for inference.
    """
    m = x.size // x.shape[-1]
    if m < 2:
        raise ValueError("x: one value a channel has no unbiased variance")
    centred = x - channel_mean(x)
    return channel_mean(centred * centred) * x.dtype.type(m / (m - 1))


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

    References
    ----------
    Section 2.4, vanilla batch norm; Algorithm 5, last line.
    """
    return (x - mean) * inverse_deviation * gain + shift


def _check_forward(x: Array, gain: Array, shift: Array, epsilon: float) -> None:
    _check_batch("x", x)
    check_array("gain", gain, (x.dtype,), x.shape[-1:])
    check_array("shift", shift, (x.dtype,), x.shape[-1:])
    real("epsilon", epsilon, above=0)


def normalize_batch_reference(
    x: Array, gain: Array, shift: Array, epsilon: float
) -> tuple[Array, Array, Array, Array]:
    """Forward pass of batch norm in training, in NumPy: the twin of `normalize_batch`.

    Parameters, Returns: as `normalize_batch`.
    """
    _check_forward(x, gain, shift, epsilon)
    mean = channel_mean_reference(x)
    centred = x - mean
    variance = channel_mean_reference(centred * centred)
    r = 1 / np.sqrt(variance + variance.dtype.type(epsilon))
    normalized = centred * r
    return normalized * gain + shift, normalized, mean, r


def _check_backward(dy: Array, normalized: Array, r: Array, gain: Array) -> None:
    _check_batch("dy", dy)
    check_array("normalized", normalized, (dy.dtype,), dy.shape)
    check_array("r", r, (dy.dtype,), dy.shape[-1:])
    check_array("gain", gain, (dy.dtype,), dy.shape[-1:])


def normalize_batch_backward_reference(
    dy: Array, normalized: Array, r: Array, gain: Array
) -> tuple[Array, Array, Array]:
    """Backward pass of batch norm, in NumPy: the twin of `normalize_batch_backward`.

    Parameters, Returns: as `normalize_batch_backward`.
    """
    _check_backward(dy, normalized, r, gain)
    m = dy.dtype.type(dy.size // dy.shape[-1])
    mean_dy = channel_mean_reference(dy)
    mean_dy_normalized = channel_mean_reference(dy * normalized)
    dx = gain * r * (dy - mean_dy - normalized * mean_dy_normalized)
    return dx, mean_dy_normalized * m, mean_dy * m


@serial_kernel
def _mean_of_products(a, b, offset, first, sums, means):
    """Mean over the rows of (a - offset) (b - offset) in float64, for a block of channels.

    Rows are added in their order, as NumPy adds them: the same bits for any number of threads.
    """
    last = min(first + CHANNELS, means.size)
    total, start = sums[first:last], offset[first:last]
    total[:] = 0
    for i in range(a.shape[0]):
        left, right = a[i, first:last], b[i, first:last]
        for c in range(total.size):
            total[c] += np.float64((left[c] - start[c]) * (right[c] - start[c]))
    for c in range(total.size):
        means[first + c] = total[c] / a.shape[0]


@parallel_kernel
def _normalize_batch(x, gain, shift, epsilon, sums, mean, r, normalized, y):
    """All of the forward pass in one call: a small batch takes no longer than a call."""
    for block in prange((mean.size + CHANNELS - 1) // CHANNELS):
        first = CHANNELS * np.int64(block)
        _mean_of_block(x, first, sums, mean)
        _mean_of_products(x, x, mean, first, sums, r)
        for c in range(first, min(first + CHANNELS, r.size)):
            r[c] = np.float32(1) / np.sqrt(r[c] + epsilon)
    for i in prange(x.shape[0]):
        for c in range(x.shape[1]):
            value = (x[i, c] - mean[c]) * r[c]
            normalized[i, c] = value
            y[i, c] = value * gain[c] + shift[c]


@parallel_kernel
def _normalize_batch_backward(
    dy, normalized, r, gain, zeros, sums, mean_dy, mean_dy_normalized, dx
):
    """All of the backward pass in one call."""
    for block in prange((zeros.size + CHANNELS - 1) // CHANNELS):
        first = CHANNELS * np.int64(block)
        _mean_of_block(dy, first, sums, mean_dy)
        _mean_of_products(dy, normalized, zeros, first, sums, mean_dy_normalized)
    for i in prange(dy.shape[0]):
        for c in range(dy.shape[1]):
            rest = dy[i, c] - mean_dy[c] - normalized[i, c] * mean_dy_normalized[c]
            dx[i, c] = gain[c] * r[c] * rest


def normalize_batch(
    x: Array, gain: Array, shift: Array, epsilon: float
) -> tuple[Array, Array, Array, Array]:
    r"""Forward pass of batch norm in training: the bits of its twin, in three passes over memory.

    With m values a channel: :math:`\mu = \frac1m \sum x_i`,
    :math:`v = \frac1m \sum (x_i-\mu)^2`, :math:`r = (v + \epsilon)^{-1/2}`,
    :math:`\hat x_i = (x_i - \mu) r`, :math:`y_i = g \hat x_i + b`.

    Parameters
    ----------
    x : array (batch, ..., channels)
    gain, shift : array (channels,)
        g and b.
    epsilon : float
        Added to the variance.

    Returns
    -------
    y, normalized : array, the shape of `x`
    mean, r : array (channels,)

    Raises
    ------
    TypeError, ValueError
        As `channel_mean`; also if gain or shift do not fit `x`, or epsilon is not above 0.

    References
    ----------
    Section 2.4, vanilla batch norm.
    """
    _check_forward(x, gain, shift, epsilon)
    if not _is_fast(x):
        return normalize_batch_reference(x, gain, shift, epsilon)
    rows = read_only(x).reshape(-1, x.shape[-1])
    mean, r = np.empty(x.shape[-1], x.dtype), np.empty(x.shape[-1], x.dtype)
    normalized, y = np.empty(rows.shape, x.dtype), np.empty(rows.shape, x.dtype)
    with threads_for(x.size):
        numbers = read_only(gain), read_only(shift), x.dtype.type(epsilon)
        _normalize_batch(rows, *numbers, np.empty(r.size), mean, r, normalized, y)
    return y.reshape(x.shape), normalized.reshape(x.shape), mean, r


def normalize_batch_backward(
    dy: Array, normalized: Array, r: Array, gain: Array
) -> tuple[Array, Array, Array]:
    r"""Backward pass of batch norm: the bits of its twin, in three passes over memory.

    With bars for means over the batch,
    :math:`\delta_x = gr(\delta_y - \overline{\delta_y} - \hat x\,\overline{\delta_y \hat x})`,
    :math:`\delta_g = m\,\overline{\delta_y \hat x}`, :math:`\delta_b = m\,\overline{\delta_y}`.

    Parameters
    ----------
    dy, normalized : array (batch, ..., channels)
        Gradient of the output, and the normalized input of the forward pass.
    r, gain : array (channels,)

    Returns
    -------
    dx : array, the shape of `dy`
    dgain, dshift : array (channels,)

    Raises
    ------
    TypeError, ValueError
        As `channel_mean`; also if one of the others does not fit `dy`.

    References
    ----------
    Derivative of section 2.4's batch norm.
    """
    _check_backward(dy, normalized, r, gain)
    if not _is_fast(dy):
        return normalize_batch_backward_reference(dy, normalized, r, gain)
    rows = read_only(dy).reshape(-1, dy.shape[-1])
    normal = read_only(normalized).reshape(rows.shape)
    m, dx = dy.dtype.type(len(rows)), np.empty(rows.shape, dy.dtype)
    mean_dy, mean_dy_normalized = np.empty_like(gain), np.empty_like(gain)
    with threads_for(dy.size):
        numbers = read_only(r), read_only(gain), np.zeros_like(gain), np.empty(gain.size)
        _normalize_batch_backward(rows, normal, *numbers, mean_dy, mean_dy_normalized, dx)
    return dx.reshape(dy.shape), mean_dy_normalized * m, mean_dy * m


class BatchNorm(Layer):
    r"""Batch normalization over all axes but the last (so dense and spatial alike).

    :math:`y_i = g\,(x_i - \mu)\,r + b` with the batch's mean :math:`\mu` and inverse deviation r:
    `normalize_batch`. A batch of one value a channel has v = 0 and gives y = b.

    Inference uses running averages of the mean and of a measure of spread,
    `running <- (1 - momentum) * running + momentum * batch value`, from 0 and 1. Which one is kept
    differs, and whoever loads somebody's statistics has to know:

    ============================================================ ==================================
    here; authors' Theano (Lasagne); authors' shift-based Torch  inverse deviation r
    Torch7, PyTorch; so the authors' last Torch layer            unbiased variance, m / (m - 1) v
    Keras 2                                                      variance, unbiased for images
    Keras 3                                                      biased variance v
    ============================================================ ==================================

    A variance becomes ours by `running_inverse_deviation[:] = (variance + epsilon) ** -0.5`, which
    is right for inference; trained further, the two averages part. `running="unbiased variance"`
    keeps the other one.

    Parameters
    ----------
    epsilon : float
        Added to the variance.
    momentum : float
        Weight of the newest batch in the running averages, in (0, 1].
    running : {"inverse deviation", "unbiased variance"}
        What is averaged besides the mean.
    uniform_gain : bool
        Whether the gain starts uniform in [0, 1) instead of at 1, as in Torch7.
    scale_gain_rate : bool
        Whether the gain learns at the Glorot scale of its layer's width, as in the authors' Torch
        code for MNIST.

    References
    ----------
    Section 2.4; epsilon, momentum and the running inverse deviation from the authors' Theano code;
    the options from the last layer of their Torch code.
    """

    any_steps: ClassVar[int] = 2

    epsilon = Setting(above=0)
    momentum = Setting(above=0, most=1)
    running_inverse_deviation: Array
    running_variance: Array

    def __init__(
        self,
        epsilon: float = 1e-4,
        momentum: float = 0.1,
        running: str = "inverse deviation",
        uniform_gain: bool = False,
        scale_gain_rate: bool = False,
    ) -> None:
        self.epsilon = epsilon
        self.momentum = momentum
        self.running = choice("running", running, RUNNING)
        self.uniform_gain = flag("uniform_gain", uniform_gain)
        self.scale_gain_rate = flag("scale_gain_rate", scale_gain_rate)

    def make(self) -> None:
        in_float_type("epsilon", self.epsilon, self.dtype)
        channels = self.input_shape[-1]
        gain = (
            needs_rng(self.rng, self).random(channels) if self.uniform_gain else np.ones(channels)
        )
        self.gain = Parameter(gain.astype(self.dtype))
        if self.scale_gain_rate:
            self.gain.learning_rate_scale = glorot_scale(channels, 0)
        self.shift = Parameter(np.zeros(channels, self.dtype))
        self.running_mean = np.zeros(channels, self.dtype)
        setattr(self, RUNNING[self.running], np.ones(channels, self.dtype))

    def parameters(self) -> dict[str, Parameter]:
        return {"gain": self.gain, "shift": self.shift}

    def buffers(self) -> dict[str, Array]:
        return {name: getattr(self, name) for name in ("running_mean", RUNNING[self.running])}

    def astype(self, dtype: DTypeLike) -> None:
        super().astype(dtype)
        for name, array in self.buffers().items():
            setattr(self, name, array.astype(dtype))

    def forward(self, x: Array, training: bool = False) -> Array:
        self.check_input(x)
        if not training:
            return self.pointwise(x)
        gain, shift = self.gain.latent, self.shift.latent
        if self.running == "unbiased variance":
            self._average(self.running_variance, unbiased_variance(x))
        y, normalized, mean, r = normalize_batch(x, gain, shift, self.epsilon)
        self._average(self.running_mean, mean)
        if self.running == "inverse deviation":
            self._average(self.running_inverse_deviation, r)
        self._saved = normalized, r
        return y

    @property
    def inverse_deviation(self) -> Array:
        """Inverse deviation of inference, (channels,), whatever is averaged."""
        if self.running == "inverse deviation":
            return self.running_inverse_deviation
        return 1 / np.sqrt(self.running_variance + self.running_variance.dtype.type(self.epsilon))

    def affine(self) -> tuple[Array, Array, Array, Array]:
        """Mean, inverse deviation, gain and shift of inference, each (channels,)."""
        return self.running_mean, self.inverse_deviation, self.gain.latent, self.shift.latent

    def pointwise(self, x: Array) -> Array:
        return normalize(x, *self.affine())

    def _average(self, running: Array, value: Array) -> None:
        alpha = running.dtype.type(self.momentum)
        running *= 1 - alpha
        running += alpha * value

    def backward(self, dy: Array) -> Array:
        """Exact gradient, as `normalize_batch_backward` says."""
        normalized, r = self.saved(dy)
        gradients = normalize_batch_backward(dy, normalized, r, self.gain.latent)
        dx, self.gain.grad, self.shift.grad = gradients
        return dx
