"""Weights of larq or Keras layers: what `layer.get_weights()` gives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from qnn_ref.interop.weights import Filling, Loaded, as_array, say_zero, sign_with
from qnn_ref.layers.weighted import Weighted
from qnn_ref.network import Sequential

READINGS = {
    "kernels": "(in, out) and (height, width, in, out), as they are",
    "flattened images": "height, width, channel on both sides",
    "statistic": "running variance: biased in Keras 3, unbiased for images in Keras 2; right for "
    "inference, while training on averages the inverse deviation",
    "scale": "weights +-1: the kernel quantizer has no scale",
}
NORM = "gain", "shift", "mean", "variance"
THEIRS = "gamma", "beta", "moving_mean", "moving_variance"


def load_keras(
    weights: Sequence[Sequence[Any]],
    network: Sequential,
    *,
    epsilon: float,
    sign_of_zero: int | None = None,
) -> Loaded:
    """Put the arrays of larq or Keras layers into a network.

    Parameters
    ----------
    weights : sequence of sequences of arrays
        `[layer.get_weights() for layer in model.layers]`; layers without arrays give none.
    network : Sequential
        Of the same layers; a copy of it is filled. `Quantize` stands where an input quantizer is.
    epsilon : float
        Of the batch norms; 1e-3 unless it was set.
    sign_of_zero : {1, -1, None}
        What a weight of exactly 0 is there: 1 for larq's `ste_sign`. With None it is refused.

    Returns
    -------
    Loaded

    Raises
    ------
    TypeError, ValueError
        If an array does not fit; the message begins with its place in `weights`.

    References
    ----------
    Algorithm 1, lines 1 and 2; Algorithm 5. The layout is that of Keras.
    """
    filling = Filling(network, {**READINGS}, sign_with(sign_of_zero), channels_first=False)
    filling.epsilon(epsilon)
    say_zero(filling, sign_of_zero)
    if not isinstance(weights, list | tuple):
        raise TypeError(f"weights: expected a list for each layer, got {type(weights).__name__}")
    held = [(number, arrays) for number, arrays in enumerate(weights) if len(arrays)]
    if len(held) != len(filling.parts):
        places = ", ".join(part.place for part in filling.parts)
        raise ValueError(f"weights: expected arrays for {places}; {len(held)} layers have some")
    for (number, arrays), part in zip(held, filling.parts, strict=True):
        product = isinstance(part.layer, Weighted)
        roles = ("kernel", "bias") if product else THEIRS
        named = [
            (f"weights[{number}][{i}] ({role} of {part.place})", array)
            for i, (role, array) in enumerate(zip(roles, arrays, strict=False))
        ]
        least = 1 if product else len(THEIRS)
        if not least <= len(arrays) <= len(roles):
            raise ValueError(
                f"weights[{number}]: expected {', '.join(roles)} for {part.place}, got "
                f"{len(arrays)} arrays"
            )
        given = [(name, as_array(name, array)) for name, array in named]
        if product:
            filling.weights(part, *given[0])
            filling.bias(part, *(given[1] if len(given) > 1 else (f"weights[{number}][1]", None)))
        else:
            filling.norm(part, dict(zip(NORM, given, strict=True)))
    return filling.done()
