"""What a mended program must do, by its answers beside those of ours: one function a lab."""

from __future__ import annotations

import io
from types import ModuleType

import numpy as np

from qnn_ref._typing import Array


def mask(program: ModuleType, ours: ModuleType) -> str:
    """The mask of eq. (4), and the gradients that come of it."""
    x = np.array([0.0, -0.0, 0.5, 1.0, -1.0, 2.0, -3.0, np.nextafter(1, 2)])
    for size in (0.1, 1.0, -10.0):
        dy = np.full(x.size, size)
        yours, right = program.sign_backward(dy, x), ours.sign_backward(dy, x)
        if not np.array_equal(yours, right):
            at = int(np.flatnonzero(np.asarray(yours) != right)[0])
            case = f"dy = {size:g}, x = {float(x[at])}"
            return f"sign_backward: with {case} yours gives {yours[at]:g}."
    if not np.array_equal(program.sign(x), ours.sign(x)):
        return "sign: it was right; leave it."
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(20, 6)), rng.choice([-1.0, 1.0], (20, 3))
    weights = [rng.uniform(-1, 1, size) for size in ((6, 8), (8, 8), (8, 3))]
    pairs = zip(program.gradients(x, y, weights), ours.gradients(x, y, weights), strict=True)
    return "" if all(np.allclose(a, b) for a, b in pairs) else "gradients: they are not right yet."


def saved(program: ModuleType, ours: ModuleType) -> str:
    """What is read back gives the very scores."""
    rng = np.random.default_rng(0)
    for latent in (rng.uniform(-1, 1, (5, 3)), np.array([[-0.0, 0.0, 1e-9]])):
        x, file = rng.normal(size=(4, len(latent))), io.BytesIO()
        program.save(file, latent)
        file.seek(0)
        yours = program.loaded_scores(x, program.load(file))
        if not np.array_equal(yours, ours.scores(x, latent)):
            return "The loaded layer still has other scores than the trained one."
    kept = np.array_equal(program.scores(x, latent), ours.scores(x, latent))
    return "" if kept else "scores: the trained network's own were right; leave them."


def folded(program: ModuleType, ours: ModuleType) -> str:
    """Every sum of every unit, with the float code of the original."""
    layer = ours.a_layer(2000, np.random.default_rng(7))
    s = np.arange(-ours.K, ours.K + 1)[:, None] + np.zeros(2000, int)
    right = ours.float_bits(s, layer)
    if not np.array_equal(program.float_bits(s, layer), right):
        return "float_bits: the trained network is what it is; fold it as it is."
    wrong = int(np.sum(program.folded_bits(s, program.fold(layer)) != right))
    return f"{wrong} of {s.size:,} bits still differ." if wrong else ""


def border(program: ModuleType, ours: ModuleType) -> str:
    """Kernels of three sizes on maps of several."""
    rng = np.random.default_rng(0)
    for k, shape in ((1, (3, 4)), (3, (1, 1)), (3, (4, 7)), (5, (6, 5))):
        x, w = rng.choice([-1, 1], shape), rng.choice([-1, 1], (k, k))
        right = ours.float_sums(x, w)
        if not np.array_equal(program.float_sums(x, w), right):
            return "float_sums: the trained network is what it is; mend the bits."
        if not np.array_equal(program.bit_sums(x, w), right):
            return f"bit_sums: a {k} x {k} kernel on a map of {shape} still has other sums."
    return ""


def clip(program: ModuleType, ours: ModuleType) -> str:
    """Steps that leave the range, and steps that do not."""
    latent = np.array([0.9, -0.9, 0.2, 1.0])
    for gradient in (np.array([-5.0, 5.0, 0.1, 0.0]), np.zeros(4)):
        lent = latent.copy()
        yours = program.step(lent, gradient, 0.5)
        if not np.array_equal(lent, latent):
            return "step: it changes the weights that it was given."
        if not np.array_equal(yours, ours.step(latent, gradient, 0.5)):
            return f"step: from {latent} with gradient {gradient}, rate 0.5 yours gives {yours}."
    return ""


def covector(program: ModuleType, ours: ModuleType) -> str:
    """Wrong gradients are found, right ones are not accused."""

    def right(dy: Array, s: Array) -> Array:
        r = 1 / np.sqrt(s.var(axis=0) + 1e-4)
        a = (s - s.mean(axis=0)) * r
        return np.asarray(r * (dy - dy.mean(axis=0) - a * (dy * a).mean(axis=0)))

    def one_wrong(dy: Array, s: Array) -> Array:
        found = right(dy, s)
        found[0, 0] += 0.01
        return found

    for seed in range(5):
        rng = np.random.default_rng(seed)
        x = rng.normal(size=(4, 3))
        if not program.check(ours.batch_norm, ours.forgetful_backward, x, rng) > 1e-3:
            return "check: half of batch norm's gradient is still not missed."
        if not program.check(ours.dense, ours.doubled_backward, x, rng) > 1e-3:
            return "check: the factor 2 of the dense layer is not found any more."
        if not program.check(ours.batch_norm, one_wrong, x, rng) > 1e-3:
            return "check: a gradient with one wrong element passes."
        if program.check(ours.batch_norm, right, x, rng) > 1e-5:
            return "check: a right gradient is called wrong."
    return ""


def momentum(program: ModuleType, ours: ModuleType) -> str:
    """Running statistics after three batches, with two momenta."""
    rng = np.random.default_rng(0)
    for weight in (0.1, 0.25):
        yours, right = program.BatchNorm(2, weight), ours.BatchNorm(2, weight)
        for _ in range(3):
            s = rng.normal(3, 2, (5, 2))
            if not np.allclose(yours.training(s), right.training(s)):
                return "training: its output was right; leave it."
        for name in ("mean", "inverse"):
            if not np.allclose(getattr(yours, name), getattr(right, name)):
                return f"With momentum {weight:g} the running {name} is still not right."
        if not np.allclose(yours.inference(s), right.inference(s)):
            return "inference: it was right; leave it."
    return ""


def decay(program: ModuleType, ours: ModuleType) -> str:
    """Weights and the larger moment, step by step."""
    rng = np.random.default_rng(0)
    yours, right = program.ShiftAdaMax(3), ours.ShiftAdaMax(3)
    w = np.zeros(3)
    for t in range(300):
        gradient = rng.normal(size=3) * (10.0 if t < 3 else 0.01) * [1, 1, 0]
        if not np.allclose(yours.step(w, gradient), right.step(w, gradient)):
            return f"step: at step {t + 1} yours is not the right one."
    return ""
