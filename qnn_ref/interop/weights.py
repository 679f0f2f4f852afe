"""Into the package: arrays of another library's network, put into one of ours.

Files of weights say neither which layers they belong to nor how they were meant. So the caller
builds the network, and every reading (sign of zero, statistic, epsilon, order of axes) is stated:
by an argument where libraries differ, and in words in what comes back. What does not fit is refused
by the name of the array; nothing is guessed, and nothing is unpickled.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from qnn_ref._typing import Array, Shape
from qnn_ref.archives import ZIP_MAGIC, npz_names, read_npz
from qnn_ref.checks import all_finite, instance, real
from qnn_ref.files import FileError, open_regular
from qnn_ref.layers import BatchNorm, Conv2D, Dense, Flatten
from qnn_ref.layers.base import Layer
from qnn_ref.layers.weighted import Weighted
from qnn_ref.network import Sequential
from qnn_ref.quantizers import Sign

SAVE_TORCH = "np.savez(path, **{k: v.numpy() for k, v in model.cpu().state_dict().items()})"
"""How a state dict becomes a file of plain arrays."""

BELOW_ZERO = -(2.0**-24)
"""A latent weight that stands for -1 where ours would be +1 at 0."""

Signs = Callable[[Array], Array]
"""Weights of any shape to the signs that the other side multiplies by; 0 where it has none."""


@dataclass(frozen=True)
class Loaded:
    """A network with another library's weights.

    Parameters
    ----------
    network : Sequential
        A copy of the one that was given.
    readings : dict of str to str
        How the arrays were read, in words by subject: "kernels", "sign of zero", "statistic", ...;
        and what differs from the other side.
    """

    network: Sequential
    readings: dict[str, str]


@dataclass(frozen=True)
class Part:
    """A layer that takes arrays.

    Parameters
    ----------
    place : str
        Like "layer 3 (Dense)".
    layer : Weighted or BatchNorm
    images : tuple of int, optional
        Height, width and channels of the images whose rows flow in.
    """

    place: str
    layer: Weighted | BatchNorm
    images: Shape | None = None


@dataclass
class Filling:
    """A copy of a network while it is filled.

    Parameters
    ----------
    network : Sequential
    readings : dict of str to str
    signs : function
        The other side's sign of weights.
    channels_first : bool
        Whether its flattened images have the channels outermost.
    """

    network: Sequential
    readings: dict[str, str]
    signs: Signs
    channels_first: bool
    parts: list[Part] = field(init=False)

    def __post_init__(self) -> None:
        self.network = instance("network", self.network, Sequential).copy()
        self.parts = parts_of(self.network)

    def weights(self, part: Part, name: str, w: Array) -> None:
        """Put weights that are already in our order of axes."""
        layer = part.layer
        assert isinstance(layer, Weighted)
        expected = layer.weight.shape
        if w.shape != expected:
            raise ValueError(f"{name}: expected {expected} in our order of axes, got {w.shape}")
        w = self.rows(part, in_type(name, w, layer.dtype))
        if isinstance(layer.weight.quantizer, Sign):
            refuse_scales(name, w)
            w = self.signed(name, w)
        if (outside := np.abs(w) > layer.weight.bound).any():
            self.say(
                "clip",
                f"{name}: {outside.sum()} latent weights beyond +-{layer.weight.bound:g} are "
                "clipped to it, which changes no sign",
            )
        layer.weight.assign(np.clip(w, -layer.weight.bound, layer.weight.bound))

    def signed(self, name: str, w: Array) -> Array:
        """The same weights, moved where our sign of them would be another one."""
        theirs = self.signs(w)
        if (zeros := theirs == 0).any():
            raise ValueError(
                f"{name}: {zeros.sum()} weights are exactly 0, which torch.sign makes 0, no weight "
                "of one bit; sign_of_zero=1 or -1 says which one is meant"
            )
        moved = theirs != np.where(w >= 0, 1, -1)
        if moved.any():
            self.say(
                "sign of zero",
                f"{name}: {moved.sum()} weights near 0 are moved so that ours are theirs",
            )
        return np.where(moved, np.where(theirs > 0, 0.0, BELOW_ZERO), w).astype(w.dtype)

    def bias(self, part: Part, name: str, bias: Array | None) -> None:
        """Put the bias of a product; both sides have one, or neither."""
        layer = part.layer
        assert isinstance(layer, Weighted)
        if (bias is not None) != layer.has_bias:
            raise ValueError(
                f"{name}: {part.place} has "
                + ("a bias, and there is no such array" if bias is None else "no bias: bias=True")
            )
        if bias is not None and layer.bias is not None:
            layer.bias.assign(vector(name, bias, layer.units, layer.dtype))

    def norm(self, part: Part, arrays: Mapping[str, tuple[str, Array]]) -> None:
        """Put a batch norm: "gain", "shift", "mean", and "inverse deviation" or "variance".

        Each comes with its name there; a gain or a shift that is missing stays as it is.
        """
        layer = part.layer
        assert isinstance(layer, BatchNorm)
        channels = len(layer.running_mean)
        given = {
            key: self.rows(part, vector(name, array, channels, layer.dtype))
            for key, (name, array) in arrays.items()
        }
        for key, parameter in (("gain", layer.gain), ("shift", layer.shift)):
            if key in given:
                parameter.assign(given[key])
        layer.running_mean[:] = given["mean"]
        if "variance" in given:
            self.variance(layer, arrays["variance"][0], given["variance"])
            return
        if layer.running != "inverse deviation":
            raise ValueError(f"{part.place}: expected BatchNorm(running='inverse deviation')")
        name, r = arrays["inverse deviation"][0], given["inverse deviation"]
        if (r <= 0).any():
            raise ValueError(
                f"{name}: expected inverse deviations above 0, got {r.min():g}; the order here is "
                "beta, gamma, mean, inv_std"
            )
        layer.running_inverse_deviation[:] = r

    def variance(self, layer: BatchNorm, name: str, v: Array) -> None:
        """Put a running variance, which epsilon turns into an inverse deviation."""
        if (v < 0).any():
            raise ValueError(f"{name}: expected variances of at least 0, got {v.min():g}")
        if layer.running == "unbiased variance":
            layer.running_variance[:] = v
        else:
            layer.running_inverse_deviation[:] = 1 / np.sqrt(v + v.dtype.type(layer.epsilon))

    def epsilon(self, epsilon: float) -> None:
        """Give every batch norm the other side's epsilon."""
        for part in self.parts:
            if isinstance(part.layer, BatchNorm):
                part.layer.epsilon = real("epsilon", epsilon, above=0)
        self.say("epsilon", f"{epsilon:g} beside the variance, as stated")

    def rows(self, part: Part, array: Array) -> Array:
        """Put what belongs to a flattened image in our order: channels innermost."""
        if part.images is None or not self.channels_first:
            return array
        height, width, channels = part.images
        images = array.reshape(channels, height, width, *array.shape[1:])
        return np.moveaxis(images, 0, 2).reshape(array.shape)

    def say(self, subject: str, words: str) -> None:
        """Add to the readings."""
        before = self.readings.get(subject)
        self.readings[subject] = f"{before}; {words}" if before else words

    def done(self) -> Loaded:
        """The filled network with its readings."""
        return Loaded(self.network, self.readings)


def parts_of(network: Sequential) -> list[Part]:
    """The layers of a network that take arrays, in their order.

    Parameters
    ----------
    network : Sequential

    Returns
    -------
    list of Part

    Raises
    ------
    ValueError
        If a layer has arrays that no other library's correspond to, or layers inside.
    """
    parts: list[Part] = []
    images: Shape | None = None
    for number, layer in enumerate(network.layers):
        place = f"layer {number} ({type(layer).__name__})"
        if isinstance(layer, Flatten):
            images = layer.input_shape if len(layer.input_shape) == 3 else None
        elif type(layer) in (Dense, Conv2D, BatchNorm):
            assert isinstance(layer, Dense | Conv2D | BatchNorm)
            parts.append(Part(place, layer, images))
            images = images if isinstance(layer, BatchNorm) else None
        elif any(True for _ in arrays_inside(layer)):
            raise ValueError(
                f"network: {place} has no counterpart in the arrays of other libraries"
            )
    if not parts:
        raise ValueError("network: expected a layer with weights, got none")
    return parts


def arrays_inside(layer: Layer) -> Iterable[object]:
    """What a layer holds that would have to be filled."""
    yield from layer.parameters()
    yield from layer.buffers()
    yield from layer.sublayers()


def arrays_of(source: object) -> dict[str, Array]:
    """Read named arrays, of a file or of a mapping.

    Parameters
    ----------
    source : path or mapping of str to array
        An .npz, or arrays by name; what has `__array__`, as a tensor on the CPU, counts as one.

    Returns
    -------
    dict of arrays
        In the order of the source.

    Raises
    ------
    FileError
        If the file is missing, damaged, or holds Python objects.
    TypeError
        If it is something else.
    """
    if isinstance(source, Mapping):
        return {str(name): as_array(str(name), value) for name, value in source.items()}
    if not isinstance(source, str | os.PathLike):
        raise TypeError(
            f"source: expected the path of an .npz or arrays by name, got {type(source).__name__}"
        )
    with open_regular(source) as file:
        zipped = file.read(len(ZIP_MAGIC)) == ZIP_MAGIC
        try:
            if not zipped or any(name.endswith(".pkl") for name in npz_names(file)):
                raise FileError(
                    f"{source}: expected an .npz of plain arrays; files with Python objects, as "
                    f"PyTorch's .pt, are never opened: there, {SAVE_TORCH}"
                )
            return read_npz(file)
        except FileError:
            raise
        except (ValueError, OSError) as error:
            raise FileError(f"{source}: expected an .npz of plain arrays ({error})") from error


def as_array(name: str, value: Any) -> Array:
    """An array, or what gives one; lists and numbers are none."""
    if not hasattr(value, "__array__"):
        raise TypeError(f"{name}: expected an array, got {type(value).__name__}")
    try:
        return np.asarray(value)
    except (RuntimeError, TypeError) as error:
        raise TypeError(f"{name}: gives no array ({error})") from error


def in_type(name: str, array: Array, dtype: np.dtype[Any]) -> Array:
    """Finite numbers in the network's float type, none of them changed."""
    if array.dtype.kind not in "fiu":
        raise TypeError(f"{name}: expected real numbers, got {array.dtype}")
    all_finite(name, array)
    with np.errstate(over="ignore"):
        cast = array.astype(dtype)
    if not np.array_equal(cast, array):
        raise ValueError(
            f"{name}: {array.dtype} holds numbers that {dtype} does not; build the network with "
            f"dtype={array.dtype if array.dtype.kind == 'f' else 'float64'}, or round them first"
        )
    return cast


def vector(name: str, array: Array, channels: int, dtype: np.dtype[Any]) -> Array:
    """One number a channel."""
    if array.shape != (channels,):
        raise ValueError(f"{name}: expected shape ({channels},), got {array.shape}")
    return in_type(name, array, dtype)


def refuse_scales(name: str, w: Array) -> None:
    """Refuse weights that were quantized already, to +- a number other than 1."""
    sizes = np.abs(w).reshape(-1, w.shape[-1])
    one_size = len(sizes) > 1 and np.all(sizes == sizes[0]) and sizes[0].any()
    if one_size and np.any(sizes[0] != 1):
        least, most = sizes[0].min(), sizes[0].max()
        raise ValueError(
            f"{name}: expected latent weights or +-1, got +-{least:g}"
            + (f" to +-{most:g}, one size a unit" if least < most else "")
            + ": a scale that is not 1, as auto_po2 or a scaled quantizer gives. Divide the "
            "weights by it, and in the batch norm behind divide the mean by it and multiply the "
            "inverse deviation"
        )


def sign_with(sign_of_zero: object) -> Signs:
    """Sign of weights with -1, +1 or, for None, 0 at exactly 0."""
    if sign_of_zero not in (None, 1, -1) or isinstance(sign_of_zero, bool):
        raise ValueError(f"sign_of_zero: expected 1, -1 or None, got {sign_of_zero!r}")
    at_zero = 0 if sign_of_zero is None else sign_of_zero

    def signs(w: Array) -> Array:
        return np.where(w > 0, 1, np.where(w < 0, -1, at_zero))

    return signs


def say_zero(filling: Filling, sign_of_zero: int | None) -> None:
    """State how 0 was read, and where ours differs."""
    weights = "none is exactly 0" if sign_of_zero is None else f"0 is {sign_of_zero:+d}"
    there = "0" if sign_of_zero is None else f"{sign_of_zero:+d}"
    ours = "as there" if sign_of_zero == 1 else f"if theirs gives {there} there, scores differ"
    filling.say("sign of zero", f"weights: {weights}; activations of exactly 0 are +1, {ours}")
