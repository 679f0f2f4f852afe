"""Weights of a straight-through network in PyTorch: its state dict, as plain arrays by name."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from qnn_ref._typing import Array
from qnn_ref.interop.weights import (
    Filling,
    Loaded,
    Part,
    arrays_of,
    say_zero,
    sign_with,
)
from qnn_ref.layers.weighted import Weighted
from qnn_ref.network import Sequential

READINGS = {
    "kernels": "(out, in) and (out, in, height, width), as they are",
    "flattened images": "channel, height, width there; height, width, channel here",
    "statistic": "unbiased running variance; right for inference, and kept on in training by "
    "BatchNorm(running='unbiased variance') only",
    "scale": "weights +-1, no scale",
}
NORM = {"gain": "weight", "shift": "bias", "mean": "running_mean", "variance": "running_var"}
COUNTER = "num_batches_tracked"


def load_torch(
    source: str | os.PathLike[str] | Mapping[str, Any],
    network: Sequential,
    names: Sequence[str],
    *,
    epsilon: float,
    sign_of_zero: int | None = None,
    ignore: Sequence[str] = (),
) -> Loaded:
    """Put a PyTorch state dict into a network.

    Parameters
    ----------
    source : path or mapping of str to array or tensor
        An .npz of arrays by name, or `model.cpu().state_dict()`. A .pt file is never opened.
    network : Sequential
        Of the same layers; a copy of it is filled. `Quantize` stands where there is a sign.
    names : sequence of str
        Of the modules, one for each Dense, Conv2D and BatchNorm in the network's order:
        ["fc1", "bn1", ...].
    epsilon : float
        Of the batch norms, which no state dict holds; 1e-5 unless it was set.
    sign_of_zero : {1, -1, None}
        What a weight of exactly 0 is there; with None, `torch.sign`'s 0, such weights are refused.
    ignore : sequence of str
        Arrays that are left out on purpose.

    Returns
    -------
    Loaded

    Raises
    ------
    FileError
        If the file is no .npz of plain arrays.
    TypeError, ValueError
        If an array is missing, left over, or does not fit; the message begins with its name.

    References
    ----------
    Algorithm 1, lines 1 and 2; Algorithm 5. The layout is PyTorch's.
    """
    filling = Filling(network, {**READINGS}, sign_with(sign_of_zero), channels_first=True)
    filling.epsilon(epsilon)
    say_zero(filling, sign_of_zero)
    if isinstance(names, str) or len(names) != len(filling.parts):
        places = ", ".join(part.place for part in filling.parts)
        raise ValueError(f"names: expected one name each for {places}, got {names!r:.200}")
    arrays = arrays_of(source)
    for name in ignore:
        if name not in arrays:
            raise ValueError(f"ignore: there is no array {name!r}")
        del arrays[name]
    for name, part in zip(names, filling.parts, strict=True):
        take = _product if isinstance(part.layer, Weighted) else _norm
        take(filling, part, name, arrays)
    if arrays:
        raise ValueError(
            f"{next(iter(arrays))}: nothing in the network takes it"
            + (f", nor {len(arrays) - 1} more" if len(arrays) > 1 else "")
            + "; a scale or a parametrization changes the weights. ignore=[...] leaves it out"
        )
    return filling.done()


def _take(arrays: dict[str, Array], name: str, part: Part) -> Array:
    if name not in arrays:
        raise ValueError(f"{name}: {part.place} needs this array, and there is none")
    return arrays.pop(name)


def _product(filling: Filling, part: Part, module: str, arrays: dict[str, Array]) -> None:
    name = f"{module}.weight"
    w = _take(arrays, name, part)
    filling.weights(part, name, w.transpose(2, 3, 1, 0) if w.ndim == 4 else w.T)
    filling.bias(part, f"{module}.bias", arrays.pop(f"{module}.bias", None))


def _norm(filling: Filling, part: Part, module: str, arrays: dict[str, Array]) -> None:
    wanted = dict(NORM)
    if not {f"{module}.weight", f"{module}.bias"} & arrays.keys():
        del wanted["gain"], wanted["shift"]
        filling.say("affine", f"{module} has neither gain nor shift: the network's own are kept")
    filling.norm(
        part,
        {
            ours: (f"{module}.{theirs}", _take(arrays, f"{module}.{theirs}", part))
            for ours, theirs in wanted.items()
        },
    )
    arrays.pop(f"{module}.{COUNTER}", None)
