"""Algorithm 1 of "Quantized Neural Networks" in plain NumPy, float64, line by line.

This file is an oracle: it was written from the paper's formulas alone, shares no code with the
package, and prefers the obvious to the fast. Layers are numbered k = 1..L as in the paper, in
dicts; what goes in and what comes out are lists in the order of the layers.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


def sign(x: npt.ArrayLike) -> Array:
    """Eq. (1): +1 where x >= 0 (also for -0.0), else -1."""
    return np.where(np.asarray(x, dtype=np.float64) >= 0.0, 1.0, -1.0)


def scale_images(images: npt.ArrayLike) -> Array:
    """Map 8-bit pixels p to x = p / 127.5 - 1 = (2 p - 255) / 255 in [-1, 1].

    The odd integer 2 p - 255 is exact, so that there is one rounding, in the division.
    """
    pixels = np.asarray(images)
    if pixels.dtype != np.uint8:
        raise TypeError(f"images: expected dtype uint8, got {pixels.dtype}")
    return (2.0 * pixels.astype(np.float64) - 255.0) / 255.0


def glorot_scale(fan_in: int, fan_out: int) -> float:
    """Learning-rate scale gamma = sqrt((fan_in + fan_out) / 1.5) of a layer's weights."""
    return math.sqrt((fan_in + fan_out) / 1.5)


def targets_from_labels(labels: npt.ArrayLike, classes: int) -> Array:
    """+1 at each sample's class, -1 elsewhere: (batch,) integers -> (batch, classes)."""
    labels = np.asarray(labels)
    targets = np.full((labels.shape[0], classes), -1.0)
    for i in range(labels.shape[0]):
        targets[i, labels[i]] = 1.0
    return targets


def squared_hinge(scores: npt.ArrayLike, targets: npt.ArrayLike) -> tuple[float, Array]:
    """C = mean over batch and classes of max(0, 1 - y a)^2, and its gradient dC/da.

    Both arguments have shape (batch, classes); the targets y are +-1.
    """
    a = np.asarray(scores, dtype=np.float64)
    y = np.asarray(targets, dtype=np.float64)
    slack = np.maximum(0.0, 1.0 - y * a)
    return float(np.sum(slack**2) / slack.size), -2.0 * y * slack / slack.size


def batch_norm(s: npt.ArrayLike, gain: Array, shift: Array, epsilon: float) -> dict[str, Array]:
    """Vanilla batch normalisation of (batch, units) with the biased variance.

    Returns the mean, the inverse deviation r = (v + epsilon)^(-1/2), the normalised values
    ("normalised") and the output a = gain * normalised + shift ("output").
    """
    s = np.asarray(s, dtype=np.float64)
    m = s.shape[0]
    mean = np.sum(s, axis=0) / m
    centred = s - mean
    variance = np.sum(centred**2, axis=0) / m
    inverse_deviation = 1.0 / np.sqrt(variance + epsilon)
    normalised = centred * inverse_deviation
    return {
        "mean": mean,
        "inverse_deviation": inverse_deviation,
        "normalised": normalised,
        "output": gain * normalised + shift,
    }


def batch_norm_backward(
    dy: npt.ArrayLike, gain: Array, normalised: Array, inverse_deviation: Array
) -> tuple[Array, Array, Array]:
    """Exact gradients (ds, dgain, dshift) of batch_norm for the gradient dy of its output."""
    dy = np.asarray(dy, dtype=np.float64)
    m = dy.shape[0]
    dshift = np.sum(dy, axis=0)
    dgain = np.sum(dy * normalised, axis=0)
    ds = gain * inverse_deviation * (dy - dshift / m - normalised * dgain / m)
    return ds, dgain, dshift


def activate(a: Array, activation: str) -> Array:
    """Hidden activation: "sign", or "hard_tanh" or "tanh" of a network without quantization."""
    if activation == "sign":
        return sign(a)
    if activation == "hard_tanh":
        return np.maximum(-1.0, np.minimum(1.0, a))
    if activation == "tanh":
        return np.tanh(a)
    raise ValueError(f"activation: expected sign, hard_tanh or tanh, got {activation!r}")


def activation_slope(a: Array, activation: str, saturation: float) -> Array:
    """Slope in the backward pass. Sign: 1 where |a| <= saturation, the bound included, Eq. (4)."""
    if activation == "sign":
        return np.where(np.abs(a) <= saturation, 1.0, 0.0)
    if activation == "hard_tanh":
        return np.where(np.abs(a) <= 1.0, 1.0, 0.0)
    if activation == "tanh":
        return 1.0 - np.tanh(a) ** 2
    raise ValueError(f"activation: expected sign, hard_tanh or tanh, got {activation!r}")


def _dropout_factors(
    masks: Sequence[npt.ArrayLike] | None, rates: Sequence[float] | None, layers: int
) -> dict[int, Any]:
    """Factor of a_k^b for k = 0..L-1: mask / (1 - rate), or 1 where there is no dropout."""
    if masks is None:
        return dict.fromkeys(range(layers), 1.0)
    if rates is None or len(masks) != layers or len(rates) != layers:
        raise ValueError(f"dropout_masks, dropout_rates: expected {layers} of each (input, hidden)")
    return {k: np.asarray(masks[k], dtype=np.float64) / (1.0 - rates[k]) for k in range(layers)}


def _margin(a: dict[int, Array], activation: str, saturation: float) -> float:
    """Smallest distance of a hidden value to a jump or kink of its activation."""
    jumps = {"sign": (0.0, saturation), "hard_tanh": (1.0,), "tanh": ()}[activation]
    distances = [np.min(np.abs(np.abs(a[k]) - jump)) for k in a for jump in jumps]
    return float(min(distances, default=math.inf))


def gradients(
    weights: Sequence[npt.ArrayLike],
    gains: Sequence[npt.ArrayLike],
    shifts: Sequence[npt.ArrayLike],
    images: npt.ArrayLike,
    labels: npt.ArrayLike,
    *,
    epsilon: float = 1e-4,
    binary_weights: bool = True,
    activation: str = "sign",
    saturation: float = 1.0,
    dropout_masks: Sequence[npt.ArrayLike] | None = None,
    dropout_rates: Sequence[float] | None = None,
    pixels: bool = True,
) -> dict[str, Any]:
    """Lines 1 to 9 of Algorithm 1: one forward and one backward pass.

    Parameters
    ----------
    weights : L arrays (fan_in, fan_out)
        Latent weights W_k.
    gains, shifts : L arrays (fan_out,)
        Scale and shift of batch normalisation.
    images : array (batch, fan_in of layer 1)
        8-bit images; real numbers when `pixels` is False.
    labels : array (batch,)
        Integer classes 0 .. fan_out of layer L minus 1.
    epsilon : float
        Of batch normalisation, added to the variance.
    binary_weights : bool
        False: the products use the latent weights.
    activation : "sign", "hard_tanh" or "tanh"
        Of the hidden layers.
    saturation : float
        Bound of the mask of Sign, Eq. (4).
    dropout_masks : L arrays (batch, units) of 0 and 1, optional
        First for the input, then for the output of each hidden activation.
    dropout_rates : L floats, optional
        Probability to drop, for each mask; kept values are divided by 1 - rate.
    pixels : bool
        True: images are uint8 and mapped to [-1, 1] by `scale_images`.

    Returns
    -------
    dict
        "loss" (float); "scores" (batch, classes); "weight_gradients", "gain_gradients",
        "shift_gradients" (lists); "input_gradient" (with respect to the scaled input, before
        dropout); "sums" s_k, "activations" a_k, "means", "inverse_deviations" (lists);
        "margin": smallest distance of a hidden a_k to a jump or kink (another implementation can
        round to the other side of it when this is tiny).
    """
    L = len(weights)
    W = {k: np.array(weights[k - 1], dtype=np.float64) for k in range(1, L + 1)}
    g = {k: np.array(gains[k - 1], dtype=np.float64) for k in range(1, L + 1)}
    b = {k: np.array(shifts[k - 1], dtype=np.float64) for k in range(1, L + 1)}
    drop = _dropout_factors(dropout_masks, dropout_rates, L)

    W_b: dict[int, Array] = {}
    s: dict[int, Array] = {}
    a: dict[int, Array] = {}
    norm: dict[int, dict[str, Array]] = {}
    a_0 = scale_images(images) if pixels else np.array(images, dtype=np.float64)
    a_b: dict[int, Array] = {0: a_0 * drop[0]}

    # 1.1 Forward.
    for k in range(1, L + 1):
        W_b[k] = sign(W[k]) if binary_weights else W[k]  # line 1
        s[k] = a_b[k - 1] @ W_b[k]  # line 2
        norm[k] = batch_norm(s[k], g[k], b[k], epsilon)  # line 3
        a[k] = norm[k]["output"]
        if k < L:
            a_b[k] = activate(a[k], activation) * drop[k]  # line 4, then dropout

    # 1.2 Backward. d_x stands for the gradient of the cost with respect to x.
    loss, d_scores = squared_hinge(a[L], targets_from_labels(labels, a[L].shape[1]))
    d_a: dict[int, Array] = {L: d_scores}  # line 5
    d_a_b: dict[int, Array] = {}
    d_W: dict[int, Array] = {}
    d_g: dict[int, Array] = {}
    d_b: dict[int, Array] = {}
    for k in range(L, 0, -1):
        if k < L:
            d_a[k] = d_a_b[k] * activation_slope(a[k], activation, saturation)  # line 6
        d_s, d_g[k], d_b[k] = batch_norm_backward(  # line 7
            d_a[k], g[k], norm[k]["normalised"], norm[k]["inverse_deviation"]
        )
        d_a_b[k - 1] = (d_s @ W_b[k].T) * drop[k - 1]  # line 8, back through dropout
        d_W[k] = a_b[k - 1].T @ d_s  # line 9

    hidden = {k: a[k] for k in range(1, L)}
    order = range(1, L + 1)
    return {
        "loss": loss,
        "scores": a[L],
        "weight_gradients": [d_W[k] for k in order],
        "gain_gradients": [d_g[k] for k in order],
        "shift_gradients": [d_b[k] for k in order],
        "input_gradient": d_a_b[0],
        "sums": [s[k] for k in order],
        "activations": [a[k] for k in order],
        "means": [norm[k]["mean"] for k in order],
        "inverse_deviations": [norm[k]["inverse_deviation"] for k in order],
        "margin": _margin(hidden, activation, saturation),
    }


def zero_moments(parameter: Array) -> dict[str, Array]:
    """State of an optimizer before the first step: "first" and "second", both zero."""
    return {"first": np.zeros_like(parameter), "second": np.zeros_like(parameter)}


def updated(
    parameter: Array,
    gradient: Array,
    moments: dict[str, Array],
    t: int,
    *,
    optimizer: str,
    learning_rate: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    optimizer_epsilon: float = 1e-8,
) -> tuple[Array, dict[str, Array]]:
    """Update(theta, eta, gradient) of step t = 1, 2, ...: the new parameter and new moments.

    Scaling and clipping are the caller's. "adam" is Kingma's form with both moments corrected
    and epsilon added to the root of the corrected one; "adamax" has no epsilon, and a parameter
    that never had a gradient stays where it is; "sgd" is parameter - learning_rate * gradient.
    """
    if optimizer == "sgd":
        return parameter - learning_rate * gradient, moments
    first = beta1 * moments["first"] + (1.0 - beta1) * gradient
    if optimizer == "adam":
        second = beta2 * moments["second"] + (1.0 - beta2) * gradient**2
        first_hat = first / (1.0 - beta1**t)
        second_hat = second / (1.0 - beta2**t)
        step = learning_rate * first_hat / (np.sqrt(second_hat) + optimizer_epsilon)
    elif optimizer == "adamax":
        second = np.maximum(beta2 * moments["second"], np.abs(gradient))
        ratio = np.zeros_like(first)
        np.divide(first, second, out=ratio, where=second > 0.0)  # 0 / 0 := 0
        step = learning_rate / (1.0 - beta1**t) * ratio
    else:
        raise ValueError(f"optimizer: expected adam, adamax or sgd, got {optimizer!r}")
    return parameter - step, {"first": first, "second": second}


def train_steps(
    weights: Sequence[npt.ArrayLike],
    gains: Sequence[npt.ArrayLike],
    shifts: Sequence[npt.ArrayLike],
    images: npt.ArrayLike,
    labels: npt.ArrayLike,
    steps: int,
    *,
    optimizer: str = "adam",
    learning_rate: float = 3e-3,
    decay: float = 1.0,
    steps_per_epoch: int = 1,
    beta1: float = 0.9,
    beta2: float = 0.999,
    optimizer_epsilon: float = 1e-8,
    scale_rates: bool = True,
    clip: bool = True,
    momentum: float = 0.1,
    epsilon: float = 1e-4,
    binary_weights: bool = True,
    activation: str = "sign",
    saturation: float = 1.0,
    dropout_masks: Sequence[Sequence[npt.ArrayLike]] | None = None,
    dropout_rates: Sequence[float] | None = None,
    pixels: bool = True,
) -> list[dict[str, Any]]:
    """Algorithm 1, all twelve lines, for a number of steps from fresh optimizer state.

    Parameters
    ----------
    weights, gains, shifts
        As in `gradients`; copied, never changed.
    images, labels : arrays (batch, fan_in) and (batch,), or (steps, batch, fan_in), (steps, batch)
        The same batch in each step, or one batch for each step.
    steps : int
        Number of training steps.
    optimizer : "adam", "adamax" or "sgd"
        The rule Update.
    learning_rate : float
        Rate of the first step.
    decay, steps_per_epoch : float, int
        Line 12: the rate is multiplied by `decay` after every `steps_per_epoch` steps.
    beta1, beta2, optimizer_epsilon : float
        Constants of ADAM and AdaMax.
    scale_rates : bool
        Move weights gamma_k times as far, gamma_k = sqrt((fan_in + fan_out) / 1.5).
    clip : bool
        Project latent weights onto [-1, 1] after the update.
    momentum : float
        Share of the new batch in the running statistics, which start at 0 and 1.
    epsilon, binary_weights, activation, saturation, dropout_rates, pixels
        As in `gradients`.
    dropout_masks : list of `steps` entries, optional
        Each an entry as in `gradients`.

    Returns
    -------
    list of dict
        One dict for each step: all of `gradients` (values *before* the update, at the weights
        that the step began with), and after the update "weights", "gains", "shifts",
        "weight_moments", "gain_moments", "shift_moments" (lists of dicts with "first" and
        "second"), "running_means", "running_inverse_deviations" (lists); "step" (from 1) and
        "learning_rate" (the rate used in this step).
    """
    images, labels = np.asarray(images), np.asarray(labels)
    L = len(weights)
    W = {k: np.array(weights[k - 1], dtype=np.float64) for k in range(1, L + 1)}
    g = {k: np.array(gains[k - 1], dtype=np.float64) for k in range(1, L + 1)}
    b = {k: np.array(shifts[k - 1], dtype=np.float64) for k in range(1, L + 1)}
    W_moments = {k: zero_moments(W[k]) for k in W}
    g_moments = {k: zero_moments(g[k]) for k in g}
    b_moments = {k: zero_moments(b[k]) for k in b}
    running_mean = {k: np.zeros(W[k].shape[1]) for k in W}
    running_r = {k: np.ones(W[k].shape[1]) for k in W}
    eta = learning_rate
    order = range(1, L + 1)
    constants: dict[str, Any] = {
        "optimizer": optimizer,
        "beta1": beta1,
        "beta2": beta2,
        "optimizer_epsilon": optimizer_epsilon,
    }

    records = []
    for t in range(1, steps + 1):
        record = gradients(
            [W[k] for k in order],
            [g[k] for k in order],
            [b[k] for k in order],
            images[t - 1] if labels.ndim == 2 else images,
            labels[t - 1] if labels.ndim == 2 else labels,
            epsilon=epsilon,
            binary_weights=binary_weights,
            activation=activation,
            saturation=saturation,
            dropout_masks=None if dropout_masks is None else dropout_masks[t - 1],
            dropout_rates=dropout_rates,
            pixels=pixels,
        )
        for k in order:
            d_W = record["weight_gradients"][k - 1]
            d_g = record["gain_gradients"][k - 1]
            d_b = record["shift_gradients"][k - 1]
            # Line 10: batch normalisation learns at the plain rate and is not clipped.
            g[k], g_moments[k] = updated(g[k], d_g, g_moments[k], t, learning_rate=eta, **constants)
            b[k], b_moments[k] = updated(b[k], d_b, b_moments[k], t, learning_rate=eta, **constants)
            # Line 11: the gradient of the binary weights moves the latent ones.
            W_new, W_moments[k] = updated(
                W[k], d_W, W_moments[k], t, learning_rate=eta, **constants
            )
            gamma = glorot_scale(*W[k].shape) if scale_rates else 1.0
            W[k] = W[k] + gamma * (W_new - W[k])
            if clip:
                W[k] = np.clip(W[k], -1.0, 1.0)
            # Running statistics: of the mean, and of the inverse deviation (not the variance).
            mean = record["means"][k - 1]
            r = record["inverse_deviations"][k - 1]
            running_mean[k] = (1.0 - momentum) * running_mean[k] + momentum * mean
            running_r[k] = (1.0 - momentum) * running_r[k] + momentum * r
        record |= {
            "step": t,
            "learning_rate": eta,
            "weights": [W[k].copy() for k in order],
            "gains": [g[k].copy() for k in order],
            "shifts": [b[k].copy() for k in order],
            "weight_moments": [W_moments[k] for k in order],
            "gain_moments": [g_moments[k] for k in order],
            "shift_moments": [b_moments[k] for k in order],
            "running_means": [running_mean[k] for k in order],
            "running_inverse_deviations": [running_r[k] for k in order],
        }
        records.append(record)
        if t % steps_per_epoch == 0:
            eta = decay * eta  # line 12
    return records


def inference(
    weights: Sequence[npt.ArrayLike],
    gains: Sequence[npt.ArrayLike],
    shifts: Sequence[npt.ArrayLike],
    running_means: Sequence[npt.ArrayLike],
    running_inverse_deviations: Sequence[npt.ArrayLike],
    images: npt.ArrayLike,
    *,
    binary_weights: bool = True,
    activation: str = "sign",
    pixels: bool = True,
) -> dict[str, Any]:
    """Scores (batch, classes) of a trained network: y = gain (s - mean) inverse_deviation + shift.

    No dropout. Returns "scores", "classes" (arg max) and "activations" a_k (list).
    """
    a_b = scale_images(images) if pixels else np.array(images, dtype=np.float64)
    activations = []
    for k in range(len(weights)):
        W = np.asarray(weights[k], dtype=np.float64)
        s = a_b @ (sign(W) if binary_weights else W)
        centred = s - np.asarray(running_means[k], dtype=np.float64)
        normalised = centred * np.asarray(running_inverse_deviations[k], dtype=np.float64)
        a = np.asarray(gains[k]) * normalised + np.asarray(shifts[k])
        activations.append(a)
        a_b = activate(a, activation)
    scores = activations[-1]
    return {"scores": scores, "classes": np.argmax(scores, axis=1), "activations": activations}
