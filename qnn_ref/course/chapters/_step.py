"""One step of Algorithm 1 in NumPy, with one mistake in it: the known wrong answers to 2.5."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from qnn_ref._typing import Array


def step_with(
    *,
    mask: bool = True,
    early: bool = False,
    clip: bool = True,
    latent: bool = False,
    affine: bool = False,
    gamma: Callable[[float], float] = float,
) -> Callable[..., Any]:
    """Make a step that is right but for one thing.

    Parameters
    ----------
    mask : bool
        Line 6.
    early : bool
        Whether W_2 is updated before line 8.
    clip : bool
        The end of line 11.
    latent : bool
        Whether line 8 takes latent weights.
    affine : bool
        Whether gain and shift move with gamma too.
    gamma : function
        What is made of the right factor.

    Returns
    -------
    function
        With the arguments of 2.5.
    """

    def step(
        a_0: Array,
        labels: Array,
        W_1: Array,
        g_1: Array,
        b_1: Array,
        W_2: Array,
        g_2: Array,
        b_2: Array,
        eta: float,
        eps: float,
    ) -> tuple[Array, ...]:
        rate_1, rate_2 = (eta * gamma(float(np.sqrt(sum(W.shape) / 1.5))) for W in (W_1, W_2))
        bound = 1.0 if clip else np.inf
        a_1, x_1, r_1 = _norm(a_0 @ _signs(W_1), g_1, b_1, eps)
        a_1b = _signs(a_1)
        a_2, x_2, r_2 = _norm(a_1b @ _signs(W_2), g_2, b_2, eps)
        y = np.where(labels[:, None] == np.arange(a_2.shape[1]), 1.0, -1.0)
        delta = -2 * y * np.maximum(0, 1 - y * a_2) / a_2.size
        ds_2, dg_2, db_2 = _back(delta, x_2, r_2, g_2)
        new_2 = np.clip(W_2 - rate_2 * (a_1b.T @ ds_2), -bound, bound)
        used = new_2 if early else W_2
        da_1 = ds_2 @ (used if latent else _signs(used)).T
        if mask:
            da_1 = da_1 * (np.abs(a_1) <= 1)
        ds_1, dg_1, db_1 = _back(da_1, x_1, r_1, g_1)
        new_1 = np.clip(W_1 - rate_1 * (a_0.T @ ds_1), -bound, bound)
        eta_1, eta_2 = (rate_1, rate_2) if affine else (eta, eta)
        first = new_1, g_1 - eta_1 * dg_1, b_1 - eta_1 * db_1
        return (*first, new_2, g_2 - eta_2 * dg_2, b_2 - eta_2 * db_2)

    return step


def _signs(x: Array) -> Array:
    return np.where(x >= 0, 1.0, -1.0)


def _norm(s: Array, g: Array, b: Array, eps: float) -> tuple[Array, Array, Array]:
    r = 1 / np.sqrt(s.var(axis=0) + eps)
    x = (s - s.mean(axis=0)) * r
    return g * x + b, x, r


def _back(delta: Array, x: Array, r: Array, g: Array) -> tuple[Array, Array, Array]:
    ds = g * r * (delta - delta.mean(axis=0) - x * (delta * x).mean(axis=0))
    return ds, (delta * x).sum(axis=0), delta.sum(axis=0)
