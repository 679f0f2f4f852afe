"""Weights of the authors' Theano code: the .npz that its scripts write.

`np.savez(path, *get_all_param_values(network))` gives arrays without names, arr_0, arr_1, ..., in
the order of the layers: W and b of a product, then beta, gamma, mean and inv_std of a batch norm.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

import numpy as np

from qnn_ref._typing import Array
from qnn_ref.archives import listed
from qnn_ref.checks import choice, flag
from qnn_ref.experiments import find_recipe
from qnn_ref.experiments.recipe import Recipe
from qnn_ref.interop.weights import Filling, Loaded, Part, Signs, arrays_of
from qnn_ref.layers.base import Layer
from qnn_ref.layers.weighted import Weighted
from qnn_ref.network import Sequential

ORDER = "beta", "gamma", "mean", "inv_std"
OURS = "shift", "gain", "mean", "inverse deviation"


def _hard_sigmoid(w: Array) -> Array:
    return np.clip((w + 1) / 2, 0, 1)


ROUNDINGS: dict[str, Signs] = {
    "run-time": lambda w: np.where(w >= 0, 1, -1),
    "half away from zero": lambda w: np.where(_hard_sigmoid(w) >= 0.5, 1, -1),
    "half to even": lambda w: np.where(_hard_sigmoid(w) > 0.5, 1, -1),
}
"""Signs of weights: of their Run-time code (w >= 0), and of their training code, which rounds
(w + 1) / 2 in the weights' own precision, by the Theano of 2016 and by later ones."""


def theano_layers(recipe: str | Recipe) -> list[Layer]:
    """The layers of a recipe as the authors' Theano code has them: every product with a bias.

    Parameters
    ----------
    recipe : str or Recipe
        "mnist-theano", "cifar10-theano" or "svhn-theano".

    Returns
    -------
    list of Layer
        For ten classes; not yet built.

    Raises
    ------
    ValueError
        If there is no such recipe.

    References
    ----------
    Section 4.2; the authors' code.
    """
    found = recipe if isinstance(recipe, Recipe) else find_recipe(recipe)
    layers = found.layers(10)
    for layer in layers:
        if isinstance(layer, Weighted):
            layer.has_bias = True
    return layers


def load_theano(
    source: str | os.PathLike[str] | Mapping[str, Array],
    network: Sequential,
    *,
    rounding: str = "run-time",
    flip_kernels: bool = True,
) -> Loaded:
    """Put the arrays of the authors' Theano code into a network.

    Parameters
    ----------
    source : path or dict of arrays
        An .npz, or its arrays by name: arr_0, arr_1, ...
    network : Sequential
        Of the same layers, `Sequential(theano_layers("mnist-theano"), (784,), rng)`; a copy of it
        is filled.
    rounding : {"run-time", "half away from zero", "half to even"}
        Which sign weights between -2^-25 and 2^-24 have: `ROUNDINGS`.
    flip_kernels : bool
        Whether their convolution flips its kernels, as Lasagne's Conv2DLayer does.

    Returns
    -------
    Loaded

    Raises
    ------
    FileError
        If the file is no .npz of plain arrays.
    ValueError
        If an array does not fit; the message begins with its name.

    References
    ----------
    Section 4.2; Algorithm 5. The order of arrays is Lasagne's.
    """
    signs = ROUNDINGS[choice("rounding", rounding, ROUNDINGS)]
    arrays, flip = arrays_of(source), flag("flip_kernels", flip_kernels)
    filling = Filling(network, _readings(rounding, flip), signs, channels_first=True)
    names = [(part, role) for part in filling.parts for role in _roles(part)]
    _expect(arrays, names)
    given = iter(
        (f"arr_{i} ({role} of {p.place})", arrays[f"arr_{i}"]) for i, (p, role) in enumerate(names)
    )
    for part in filling.parts:
        if isinstance(part.layer, Weighted):
            name, w = next(given)
            filling.weights(part, name, _kernel(w, flip))
            filling.bias(part, *(next(given) if part.layer.has_bias else ("b", None)))
        else:
            filling.norm(part, dict(zip(OURS, given, strict=False)))
    return filling.done()


def _readings(rounding: str, flip: bool) -> dict[str, str]:
    return {
        "order of arrays": "W, b of a product; beta, gamma, mean, inv_std of a batch norm",
        "kernels": f"(out, in, height, width), {'flipped' if flip else 'as they are'}",
        "flattened images": "channel, height, width there; height, width, channel here",
        "sign of zero": f"weights: {rounding}; activations of exactly 0 are +1, as in Run-time "
        "(training rounds: from -2^-25 on +1 in 2016, up to 2^-24 -1 later)",
        "statistic": "running inverse deviation, as it is",
        "epsilon": "inside the inverse deviation; the network's own is for training on",
        "scale": "weights +-1 (H = 1)",
    }


def _roles(part: Part) -> list[str]:
    if isinstance(part.layer, Weighted):
        return ["W", "b"] if part.layer.has_bias else ["W"]
    return [*ORDER]


def _expect(arrays: Mapping[str, Array], names: list[tuple[Part, str]]) -> None:
    """Refuse other names than arr_0, arr_1, ..., or another number of them."""
    if arrays.keys() == {f"arr_{i}" for i in range(len(names))}:
        return
    products = sum(role == "W" for _, role in names)
    biases = sum(role == "b" for _, role in names)
    hint = ""
    if len(arrays) == len(names) + products - biases:
        hint = "; every product there has a bias: build the layers with bias=True, as theano_layers"
    raise ValueError(
        f"source: expected arr_0 to arr_{len(names) - 1} for the layers of this network, got "
        f"{len(arrays)} arrays, {listed(arrays)}{hint}"
    )


def _kernel(w: Array, flip: bool) -> Array:
    """In our order: (in, out) as it is, (out, in, kH, kW) as (kH, kW, in, out)."""
    if w.ndim != 4:
        return w
    return (w[:, :, ::-1, ::-1] if flip else w).transpose(2, 3, 1, 0)
