"""Shares of a network that are worth watching in training: flipped, clipped, saturated."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from qnn_ref._typing import Array
from qnn_ref.layers import Parameter, Quantize
from qnn_ref.network import Sequential
from qnn_ref.quantizers import Sign

__all__ = ["binary_signs", "clipped_share", "flipped_share", "saturated_share"]
__dir__ = __all__.copy


def binary_signs(network: Sequential) -> list[Array]:
    """Signs of all quantized weights, as boolean arrays."""
    return [p.latent >= 0 for p in network.parameters().values() if p.quantizer is not None]


def flipped_share(before: list[Array], after: list[Array]) -> float:
    """Share of weights whose sign differs between two moments; 0 without quantized weights."""
    flips = sum(int(np.count_nonzero(a != b)) for a, b in zip(before, after, strict=True))
    return flips / max(1, sum(a.size for a in before))


def saturated_share(network: Sequential) -> float:
    """Share of hidden values with abs(a) above the bound in the last training forward, eq. (4).

    There the mask stops the gradient. 0 for a network without sign activations.
    """
    outside, total = 0, 0
    for _, layer in network.walk():
        if isinstance(layer, Quantize) and isinstance(layer.quantizer, Sign):
            a = layer.saved()[0]
            outside += int(np.count_nonzero(np.abs(a) > layer.quantizer.saturation))
            total += a.size
    return outside / max(1, total)


def clipped_share(parameters: Iterable[Parameter]) -> float:
    """Share of latent weights that sit exactly at their bound (a scalar from 0 to 1).

    Parameters
    ----------
    parameters : iterable of Parameter
        Those without a finite bound are left out.

    Returns
    -------
    float

    References
    ----------
    Section 2.3, the projection onto [-1, 1].
    """
    bounded = [p for p in parameters if np.isfinite(p.bound)]
    at_bound = sum(int(np.count_nonzero(np.abs(p.latent) == p.bound)) for p in bounded)
    return at_bound / max(1, sum(p.size for p in bounded))
