"""AP2, shift-based batch normalisation (Algorithm 2) and shift-based AdaMax (Algorithm 4).

An oracle in Python floats (float64): one unit, one element at a time, formulas as printed.
Slow on purpose; it shares no code with the package. Images (batch, height, width, channels) are
normalised per channel: reshape them to (-1, channels) first.
"""

import math
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


# AP2 --------------------------------------------------------------------------------------------


def ap2_exponent(x: float) -> int:
    """round(log2 |x|) of a finite x that is not 0, exact.

    The logarithm proposes an exponent e; e - 1/2 < log2 |x| < e + 1/2 is then settled in rational
    numbers: 2^(2e - 1) < x^2 < 2^(2e + 1). No float meets a bound, since sqrt(2) is irrational.
    """
    exponent = round(math.log2(abs(x)))
    square = Fraction(x) ** 2
    while square < Fraction(2) ** (2 * exponent - 1):
        exponent -= 1
    while square > Fraction(2) ** (2 * exponent + 1):
        exponent += 1
    return exponent


def ap2_scalar(x: float) -> float:
    """AP2(x) = sign(x) 2^round(log2 |x|); AP2(0) = AP2(-0.0) = 0; infinite where 2^e overflows."""
    x = float(x)
    if math.isnan(x):
        raise ValueError("x: expected numbers, got NaN")
    if x == 0.0:
        return 0.0
    if math.isinf(x) or ap2_exponent(x) > 1023:
        return math.copysign(math.inf, x)
    return math.copysign(math.ldexp(1.0, ap2_exponent(x)), x)


def ap2(x: npt.ArrayLike) -> Array:
    """AP2 of each element, same shape, float64."""
    values = np.asarray(x, dtype=np.float64)
    out = np.empty(values.shape)
    for index in np.ndindex(values.shape):
        out[index] = ap2_scalar(float(values[index]))
    return out


def ap2_margin(x: npt.ArrayLike) -> float:
    """Smallest distance of a log2 |x| to a rounding threshold, at most 1/2; zeros do not count.

    When this is tiny, another implementation may round its argument to the other power of two.
    """
    margin = 0.5
    for value in np.asarray(x, dtype=np.float64).ravel():
        if value != 0.0:
            logarithm = math.log2(abs(value))
            margin = min(margin, abs(logarithm - math.floor(logarithm) - 0.5))
    return margin


# Algorithm 2 ------------------------------------------------------------------------------------


def sbn_forward(
    x: npt.ArrayLike,
    gain: npt.ArrayLike,
    shift: npt.ArrayLike,
    *,
    epsilon: float = 1e-5,
    momentum: float = 0.125,
    running_mean: npt.ArrayLike | None = None,
    running_inverse_deviation: npt.ArrayLike | None = None,
) -> dict[str, Any]:
    """Shift-based batch normalisation of (batch, units), training mode.

    Parameters
    ----------
    x : array (batch, units)
        Input.
    gain, shift : arrays (units,)
        Scale g (AP2 is applied to it) and shift b (not rounded).
    epsilon : float
        Added to the variance.
    momentum : float
        Share of this batch in the running statistics.
    running_mean, running_inverse_deviation : arrays (units,), optional
        Statistics before this batch; 0 and 1 by default.

    Returns
    -------
    dict
        "y", "centred" c, "ap2_centred" A, "normalised" (batch, units); "mean", "variance",
        "inverse_deviation" r (not rounded), "ap2_inverse_deviation" s, "ap2_gain" G,
        "running_mean", "running_inverse_deviation" (of the r that are not rounded) (units,);
        "margin": `ap2_margin` of all arguments of AP2.
    """
    x = np.asarray(x, dtype=np.float64)
    gain, shift = np.asarray(gain, dtype=np.float64), np.asarray(shift, dtype=np.float64)
    m, units = x.shape
    old_mean = np.zeros(units) if running_mean is None else np.asarray(running_mean)
    old_r = (
        np.ones(units)
        if running_inverse_deviation is None
        else np.asarray(running_inverse_deviation)
    )
    by_element = ("y", "centred", "ap2_centred", "normalised")
    by_unit = ("mean", "variance", "inverse_deviation", "ap2_inverse_deviation", "ap2_gain")
    out: dict[str, Any] = {name: np.empty((m, units)) for name in by_element}
    out |= {name: np.empty(units) for name in by_unit}
    out |= {"running_mean": np.empty(units), "running_inverse_deviation": np.empty(units)}
    for j in range(units):
        mean = math.fsum(x[i, j] for i in range(m)) / m  # line 1
        c = [x[i, j] - mean for i in range(m)]  # line 2
        A = [ap2_scalar(c[i]) for i in range(m)]
        variance = math.fsum(c[i] * A[i] for i in range(m)) / m  # line 3, no term is negative
        r = 1.0 / math.sqrt(variance + epsilon)
        s = ap2_scalar(r)
        G = ap2_scalar(gain[j])
        for i in range(m):
            out["centred"][i, j] = c[i]
            out["ap2_centred"][i, j] = A[i]
            out["normalised"][i, j] = c[i] * s  # line 4
            out["y"][i, j] = G * (c[i] * s) + shift[j]  # line 5, with the shift
        out["mean"][j], out["variance"][j], out["inverse_deviation"][j] = mean, variance, r
        out["ap2_inverse_deviation"][j], out["ap2_gain"][j] = s, G
        out["running_mean"][j] = (1.0 - momentum) * old_mean[j] + momentum * mean
        out["running_inverse_deviation"][j] = (1.0 - momentum) * old_r[j] + momentum * r
    out["margin"] = min(map(ap2_margin, (out["centred"], out["inverse_deviation"], gain)))
    return out


def sbn_inference(
    x: npt.ArrayLike,
    gain: npt.ArrayLike,
    shift: npt.ArrayLike,
    running_mean: npt.ArrayLike,
    running_inverse_deviation: npt.ArrayLike,
) -> Array:
    """y = AP2(gain) (x - running_mean) AP2(running_inverse_deviation) + shift, (batch, units)."""
    x = np.asarray(x, dtype=np.float64)
    gain, shift = np.asarray(gain), np.asarray(shift)
    mean, r = np.asarray(running_mean), np.asarray(running_inverse_deviation)
    y = np.empty(x.shape)
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            y[i, j] = ap2_scalar(gain[j]) * ((x[i, j] - mean[j]) * ap2_scalar(r[j])) + shift[j]
    return y


def sbn_backward(
    dy: npt.ArrayLike,
    x: npt.ArrayLike,
    gain: npt.ArrayLike,
    *,
    epsilon: float = 1e-5,
    choice: str = "S",
) -> dict[str, Array]:
    """Gradients of shift-based batch normalisation in four readings.

    With c, A, r, s, G as in `sbn_forward`, d = dy and p = mean of d c:

    - "E": every AP2 value is a constant. dx = G s (d - mean d), dgain = 0.
    - "S": every AP2 has slope 1. dx = e - mean e, e = G (s d - r^3 (A + c) p / 2),
      dgain = sum d c s.
    - "Q" (or "R"): every ratio AP2(u) / u is a constant. dx = e - mean e, e = G s (d - r^2 A p),
      dgain = (G / gain) sum d c s. Where the gain is 0 its ratio is taken as 1.
    - "T": the authors' Torch code. dx = G s (d - mean d - s^2 A mean(d A)),
      dgain = sum d AP2(c s).

    Parameters
    ----------
    dy, x : arrays (batch, units)
        Gradient of the output, and the input of the forward pass.
    gain : array (units,)
        Scale g.
    epsilon : float
        As in the forward pass.
    choice : "E", "S", "Q" (or "R") or "T"
        The reading.

    Returns
    -------
    dict
        "dx" (batch, units), "dgain" (units,), "dshift" (units,) = sum of dy.
    """
    dy, x = np.asarray(dy, dtype=np.float64), np.asarray(x, dtype=np.float64)
    gain = np.asarray(gain, dtype=np.float64)
    if choice not in ("E", "S", "Q", "R", "T"):
        raise ValueError(f"choice: expected E, S, Q (or R) or T, got {choice!r}")
    forward = sbn_forward(x, gain, np.zeros_like(gain), epsilon=epsilon)
    m, units = x.shape
    dx, dgain, dshift = np.empty((m, units)), np.empty(units), np.empty(units)
    for j in range(units):
        d = [float(dy[i, j]) for i in range(m)]
        c = [float(forward["centred"][i, j]) for i in range(m)]
        A = [float(forward["ap2_centred"][i, j]) for i in range(m)]
        r = float(forward["inverse_deviation"][j])
        s, G = float(forward["ap2_inverse_deviation"][j]), float(forward["ap2_gain"][j])
        x_hat = [c[i] * s for i in range(m)]
        mean_d = math.fsum(d) / m
        p = math.fsum(d[i] * c[i] for i in range(m)) / m
        sum_d_x_hat = math.fsum(d[i] * x_hat[i] for i in range(m))
        if choice == "E":
            e = [G * s * d[i] for i in range(m)]
            dgain[j] = 0.0
        elif choice == "S":
            e = [G * (s * d[i] - 0.5 * r**3 * (A[i] + c[i]) * p) for i in range(m)]
            dgain[j] = sum_d_x_hat
        elif choice in ("Q", "R"):
            e = [G * s * (d[i] - r**2 * A[i] * p) for i in range(m)]
            dgain[j] = (G / gain[j] if gain[j] != 0.0 else 1.0) * sum_d_x_hat
        else:
            q = math.fsum(d[i] * A[i] for i in range(m)) / m
            e = [G * s * (d[i] - mean_d - s**2 * A[i] * q) for i in range(m)]
            dgain[j] = math.fsum(d[i] * ap2_scalar(x_hat[i]) for i in range(m))
        # T subtracts the mean of d only, so its dx does not sum to 0 over the batch.
        mean_e = 0.0 if choice == "T" else math.fsum(e) / m
        for i in range(m):
            dx[i, j] = e[i] - mean_e
        dshift[j] = math.fsum(d)
    return {"dx": dx, "dgain": dgain, "dshift": dshift}


def sbn_surrogate(
    x: npt.ArrayLike,
    gain: npt.ArrayLike,
    shift: npt.ArrayLike,
    x0: npt.ArrayLike,
    gain0: npt.ArrayLike,
    *,
    epsilon: float = 1e-5,
    choice: str = "S",
) -> Array:
    """Smooth function whose exact gradient at (x0, gain0) is `sbn_backward` of choice E, S or Q.

    Every AP2(u) becomes a function of u that is AP2(u0) at the value u0 which it has at the point:
    AP2(u0) for E, AP2(u0) + u - u0 for S, u AP2(u0) / u0 for Q (u where u0 is 0). T has none.
    At the point it equals `sbn_forward`. All arrays as there; returns y (batch, units).
    """

    def replaced(u: float, u0: float) -> float:
        if choice == "E":
            return ap2_scalar(u0)
        if choice == "S":
            return ap2_scalar(u0) + (u - u0)
        if choice in ("Q", "R"):
            return u * (ap2_scalar(u0) / u0) if u0 != 0.0 else u
        raise ValueError(f"choice: expected E, S or Q (or R), got {choice!r}")

    x = np.asarray(x, dtype=np.float64)
    gain, shift = np.asarray(gain, dtype=np.float64), np.asarray(shift, dtype=np.float64)
    gain0 = np.asarray(gain0, dtype=np.float64)
    point = sbn_forward(x0, gain0, shift, epsilon=epsilon)
    m, units = x.shape
    y = np.empty((m, units))
    for j in range(units):
        mean = math.fsum(x[i, j] for i in range(m)) / m
        c = [x[i, j] - mean for i in range(m)]
        A = [replaced(c[i], float(point["centred"][i, j])) for i in range(m)]
        variance = math.fsum(c[i] * A[i] for i in range(m)) / m
        r = 1.0 / math.sqrt(variance + epsilon)
        s = replaced(r, float(point["inverse_deviation"][j]))
        G = replaced(float(gain[j]), float(gain0[j]))
        for i in range(m):
            y[i, j] = G * (c[i] * s) + shift[j]
    return y


# Algorithm 4 ------------------------------------------------------------------------------------


def shift_adamax_step_size(learning_rate: float, beta1: float, t: int) -> float:
    """AP2(learning_rate / (1 - beta1^t)): the bias correction is a division."""
    return ap2_scalar(learning_rate / (1.0 - beta1**t))


def shift_adamax(
    parameter: npt.ArrayLike,
    gradient: npt.ArrayLike,
    first: npt.ArrayLike,
    second: npt.ArrayLike,
    t: int,
    *,
    variant: str = "paper",
    learning_rate: float | None = None,
    beta1: float | None = None,
    beta2: float | None = None,
    torch_epsilon: float = 2.0**-27,
    scale: float = 1.0,
    round_scale: bool = False,
    clip: bool = False,
) -> dict[str, Any]:
    """One step of shift-based AdaMax.

    m <- beta1 m + (1 - beta1) d; v <- max(beta2 v, |d|);
    "paper": parameter <- parameter - scale AP2(alpha / (1 - beta1^t)) m AP2(1 / v), nothing where
    v = 0; m, v and the parameter are not rounded.
    "torch": the state itself becomes v <- AP2(v) + torch_epsilon, and the direction is m / v.

    Parameters
    ----------
    parameter, gradient, first, second : arrays of one shape
        Parameter, its gradient d, moments m and v before the step (zeros at t = 1).
    t : int
        Step, from 1.
    variant : "paper" or "torch"
        As above.
    learning_rate, beta1, beta2 : float, optional
        Defaults: 2^-10, 1 - 2^-3, 1 - 2^-10 ("paper"); 2^-6, 0.9, 0.999 ("torch").
    torch_epsilon : float
        Added to the rounded state of "torch".
    scale, round_scale : float, bool
        Learning-rate scale of the layer, rounded to AP2 if wished.
    clip : bool
        Project the new parameter onto [-1, 1].

    Returns
    -------
    dict
        "parameter", "first", "second" after the step; "step_size" (float, without `scale`).
    """
    if variant not in ("paper", "torch"):
        raise ValueError(f"variant: expected paper or torch, got {variant!r}")
    defaults = {"paper": (2.0**-10, 1 - 2.0**-3, 1 - 2.0**-10), "torch": (2.0**-6, 0.9, 0.999)}
    given = (learning_rate, beta1, beta2)
    alpha, b1, b2 = (
        default if value is None else value
        for value, default in zip(given, defaults[variant], strict=True)
    )
    parameter, gradient = np.asarray(parameter, np.float64), np.asarray(gradient, np.float64)
    first, second = np.asarray(first, np.float64), np.asarray(second, np.float64)
    step_size = shift_adamax_step_size(alpha, b1, t)
    gamma = ap2_scalar(scale) if round_scale else scale
    new = {name: np.empty(parameter.shape) for name in ("parameter", "first", "second")}
    for index in np.ndindex(parameter.shape):
        d = float(gradient[index])
        m = b1 * float(first[index]) + (1.0 - b1) * d  # line 1
        v = max(b2 * float(second[index]), abs(d))  # line 2
        if variant == "torch":
            v = ap2_scalar(v) + torch_epsilon
            direction = m / v
        elif v == 0.0:
            direction = 0.0
        else:
            direction = math.ldexp(m, -ap2_exponent(v))  # m AP2(1 / v); AP2(1 / v) = 1 / AP2(v)
        value = float(parameter[index]) - gamma * (step_size * direction)  # line 3
        new["parameter"][index] = max(-1.0, min(1.0, value)) if clip else value
        new["first"][index] = m
        new["second"][index] = v
    return {**new, "step_size": step_size}
