"""RNN and LSTM of quantized operands, forward and backward, one number after the other.

An oracle: scalars, loops and `math` only, one sequence at a time, a matrix for each gate. Weights
are those of the products (already quantized), `quantize` and `passes` say what becomes of a state
in front of a product and whether its gradient comes back.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

Matrix = Sequence[Sequence[float]]
GATES = "ifgo"


def real(x: float) -> float:
    """No quantization."""
    return x


def always(x: float) -> bool:
    """The gradient passes."""
    return True


def sign(x: float) -> float:
    """Eq. (1)."""
    return 1.0 if x >= 0 else -1.0


def inside(x: float) -> bool:
    """The mask of eq. (4)."""
    return -1 <= x <= 1


def two_bits(x: float) -> float:
    """The nearest of -1, -1/3, 1/3, 1; of two equally near ones the upper."""
    levels = [1.0, 1 / 3, -1 / 3, -1.0]
    return min(levels, key=lambda level: round(abs(level - x), 12))


def sigma(z: float) -> float:
    """Logistic function."""
    return 1 / (1 + math.exp(-z))


def product(row: Sequence[float], matrix: Matrix, column: int) -> float:
    """One sum of a product."""
    total = 0.0
    for number, weights in zip(row, matrix, strict=True):
        total += number * weights[column]
    return total


def zeros(rows: int, columns: int) -> list[list[float]]:
    """A matrix of zeros."""
    return [[0.0] * columns for _ in range(rows)]


def lstm(
    x: Matrix,
    h0: Sequence[float],
    c0: Sequence[float],
    W: dict[str, Matrix],
    R: dict[str, Matrix],
    b: dict[str, Sequence[float]],
    quantize: Callable[[float], float] = real,
) -> list[dict[str, Any]]:
    """Forward: what happened in each step."""
    steps, h, c = [], list(h0), list(c0)
    for row in x:
        seen = [quantize(number) for number in h]
        step: dict[str, Any] = {"x": row, "h_before": h, "seen": seen, "c_before": c}
        for gate in GATES:
            step[gate] = []
            for j in range(len(h)):
                z = product(row, W[gate], j) + product(seen, R[gate], j) + b[gate][j]
                step[gate].append(math.tanh(z) if gate == "g" else sigma(z))
        c = [step["f"][j] * c[j] + step["i"][j] * step["g"][j] for j in range(len(h))]
        h = [step["o"][j] * math.tanh(c[j]) for j in range(len(h))]
        step["c"], step["h"], step["y"] = c, h, [quantize(number) for number in h]
        steps.append(step)
    return steps


def lstm_backward(
    steps: list[dict[str, Any]],
    dy: Matrix,
    dh_end: Sequence[float],
    dc_end: Sequence[float],
    W: dict[str, Matrix],
    R: dict[str, Matrix],
    passes: Callable[[float], bool] = always,
) -> dict[str, Any]:
    """Gradients of x, W, R, b, h0 and c0, from those of the shown states and of the last ones."""
    units, features = len(dh_end), len(steps[0]["x"])
    found: dict[str, Any] = {"x": zeros(len(steps), features)}
    for gate in GATES:
        found["W" + gate] = zeros(features, units)
        found["R" + gate] = zeros(units, units)
        found["b" + gate] = [0.0] * units
    dseen = [0.0] * units  # of the quantized state, from the step after
    dc = list(dc_end)
    for t in reversed(range(len(steps))):
        step = steps[t]
        dz: dict[str, list[float]] = {gate: [] for gate in GATES}
        for j in range(units):
            dh = dy[t][j] + dseen[j] if passes(step["h"][j]) else 0.0
            if t == len(steps) - 1:
                dh += dh_end[j]
            i, f, g, o = (step[gate][j] for gate in GATES)
            bent = math.tanh(step["c"][j])
            dcj = dc[j] + dh * o * (1 - bent**2)
            dz["o"].append(dh * bent * o * (1 - o))
            dz["i"].append(dcj * g * i * (1 - i))
            dz["g"].append(dcj * i * (1 - g**2))
            dz["f"].append(dcj * step["c_before"][j] * f * (1 - f))
            dc[j] = dcj * f
        dseen = [0.0] * units
        for gate in GATES:
            for j in range(units):
                d = dz[gate][j]
                found["b" + gate][j] += d
                for k in range(features):
                    found["W" + gate][k][j] += step["x"][k] * d
                    found["x"][t][k] += W[gate][k][j] * d
                for k in range(units):
                    found["R" + gate][k][j] += step["seen"][k] * d
                    dseen[k] += R[gate][k][j] * d
    first = steps[0]["h_before"]
    found["h0"] = [d if passes(h) else 0.0 for d, h in zip(dseen, first, strict=True)]
    return found | {"c0": dc}


def rnn(
    x: Matrix,
    h0: Sequence[float],
    W: Matrix,
    R: Matrix,
    b: Sequence[float],
    activation: str,
    quantize: Callable[[float], float] = real,
) -> list[dict[str, Any]]:
    """Forward: what happened in each step."""
    steps, h = [], list(h0)
    for row in x:
        seen, before = [quantize(number) for number in h], h
        z = [product(row, W, j) + product(seen, R, j) + b[j] for j in range(len(h))]
        h = [math.tanh(s) if activation == "tanh" else max(s, 0.0) for s in z]
        y = [quantize(number) for number in h]
        steps.append({"x": row, "h_before": before, "seen": seen, "z": z, "h": h, "y": y})
    return steps


def rnn_backward(
    steps: list[dict[str, Any]],
    dy: Matrix,
    dh_end: Sequence[float],
    W: Matrix,
    R: Matrix,
    activation: str,
    passes: Callable[[float], bool] = always,
) -> dict[str, Any]:
    """Gradients of x, W, R, b and h0, from those of the shown states and of the last one."""
    units, features = len(dh_end), len(steps[0]["x"])
    found: dict[str, Any] = {
        "x": zeros(len(steps), features),
        "W": zeros(features, units),
        "R": zeros(units, units),
        "b": [0.0] * units,
    }
    dseen = [0.0] * units
    for t in reversed(range(len(steps))):
        step, after, dseen = steps[t], dseen, [0.0] * units
        for j in range(units):
            dh = dy[t][j] + after[j] if passes(step["h"][j]) else 0.0
            if t == len(steps) - 1:
                dh += dh_end[j]
            slope = 1 - step["h"][j] ** 2 if activation == "tanh" else float(step["z"][j] > 0)
            d = dh * slope
            found["b"][j] += d
            for k in range(features):
                found["W"][k][j] += step["x"][k] * d
                found["x"][t][k] += W[k][j] * d
            for k in range(units):
                found["R"][k][j] += step["seen"][k] * d
                dseen[k] += R[k][j] * d
    first = steps[0]["h_before"]
    found["h0"] = [d if passes(h) else 0.0 for d, h in zip(dseen, first, strict=True)]
    return found
