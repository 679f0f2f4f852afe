"""A network as a row of layers: forward, backward, parameters, summary."""

from __future__ import annotations

import copy
import math
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import Any, Self

import numpy as np
from numpy.typing import DTypeLike

from qnn_ref import checks, shown
from qnn_ref._typing import Array, Shape
from qnn_ref.bits.threads import one_blas_thread
from qnn_ref.checks import NotFiniteError
from qnn_ref.layers import Auxiliary, Quantize
from qnn_ref.layers.base import Layer, check_rng
from qnn_ref.layers.recurrent import Recurrent, State
from qnn_ref.layers.rows import backward_row, build_row, forward_row, layer_list, tell_row
from qnn_ref.layers.weighted import Multiplying
from qnn_ref.parameter import Parameter, float_type
from qnn_ref.products import BitProducts, PlainProducts
from qnn_ref.products.by_bits import are_signs
from qnn_ref.quantizers import Quantizer
from qnn_ref.quantizers.base import check_quantizer

AT_ONCE = 2**23
"""Numbers of a layer that an evaluation keeps at once: 32 MB in float32, a few times over."""

__all__ = ["Sequential"]
__dir__ = __all__.copy


class Sequential:
    """Layers one after the other.

    Parameters
    ----------
    layers : sequence of Layer
        Described, not yet built.
    input_shape : tuple of int
        Shape of one example, without the batch; -1 in front for any number of steps.
    rng : numpy.random.Generator
        Starts the weights; dropout and stochastic quantizers draw from it in training.
    dtype : dtype
        float32 for training, float64 for checks.
    """

    _walked: tuple[list[Layer], list[type], list[tuple[str, Layer]]] = [], [], []
    """Layers of the last walk, where none holds others, and they with their places."""

    def __init__(
        self,
        layers: Sequence[Layer],
        input_shape: Shape,
        rng: np.random.Generator,
        dtype: DTypeLike = np.float32,
    ) -> None:
        self.layers = layer_list("layers", layers)
        if not self.layers:
            raise ValueError("layers: expected at least one layer, got none")
        self.input_shape = checks.shape("input_shape", input_shape, any_steps=True)
        self.rng = check_rng(rng)
        dtype = float_type(dtype)
        self.output_shape = build_row(self.layers, self.input_shape, rng, None, dtype)
        tell_row(self.layers, None)
        self._stop = self._first_to_go_back()
        self._take_layers()

    def _take_layers(self) -> None:
        """From now on the layers belong to this network and to no other."""
        for _, layer in self.walk():
            layer.join(self)

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._take_layers()  # of a copy, its own ones

    def _first_to_go_back(self) -> int:
        """Index of the lowest layer that backward visits; it is told to make no dx."""
        if all(layer.differentiable for layer in self.layers):
            return 0
        places = [place for place, layer in self.walk() if layer.parameters()]
        lowest = int(places[0].partition(".")[0]) if places else 0
        self.layers[lowest].needs_input_gradient = False
        return lowest

    def forward(
        self, x: Array, training: bool = False, state: Mapping[str, State] | None = None
    ) -> Array:
        """Algorithm 1, lines 1-4, for all layers: scores (batch, classes) for `x` (batch, ...).

        `state` is what `final_state` was after the steps before these, for recurrent layers; they
        begin with zeros without it.
        """
        states = self._states(state)
        try:
            with self._threads():
                return forward_row(self.layers, x, training, states)
        except BaseException:
            if training:  # half a pass is none, also after Ctrl-C: backward must not meet it
                for _, layer in self.walk():
                    layer._saved = None
            raise

    def _threads(self) -> AbstractContextManager[None]:
        """One thread for NumPy's products where others are formed by compiled kernels."""
        return one_blas_thread() if any(map(_by_bits, self._multiplying())) else nullcontext()

    def _multiplying(self) -> Iterator[Multiplying]:
        return (layer for _, layer in self.walk() if isinstance(layer, Multiplying))

    def _states(self, state: Mapping[str, State] | None) -> dict[int, State]:
        """The states that recurrent layers begin with, by the numbers of the layers."""
        if state is None:
            return {}
        checks.instance("state", state, Mapping)  # type: ignore[type-abstract]
        places = {place: i for i, (place, _) in enumerate(self._own()) if place in state}
        wanted = [place for place, layer in self.walk() if isinstance(layer, Recurrent)]
        if inner := [place for place in wanted if place.count(".") > 1]:
            raise ValueError(
                f"state: {inner[0]} stands inside another layer, which hands no state on"
            )
        if list(places) != wanted or len(state) != len(wanted):
            raise ValueError(
                f"state: expected one for each of {', '.join(wanted) or 'no layer'}, got "
                f"{', '.join(map(str, state)) or 'none'}"
            )
        return {number: state[place] for place, number in places.items()}

    def _own(self) -> Iterator[tuple[str, Layer]]:
        """The layers of the row itself, with their places."""
        return ((place, la) for place, la in self.walk() if place.count(".") == 1)

    @property
    def final_state(self) -> dict[str, State]:
        """State of every recurrent layer after the last forward, named like `1.LSTM`."""
        found = {}
        for place, layer in self.walk():
            if isinstance(layer, Recurrent):
                if layer.final_state is None:
                    raise RuntimeError("final_state: call forward first")
                found[place] = layer.final_state
        return found

    def backward(self, dy: Array) -> Array | None:
        """Algorithm 1, lines 6-9, from the gradient of the scores `dy` (batch, classes).

        Fills the gradient of every parameter and returns that of the input, or None for integers.
        """
        try:
            with self._threads():
                gradient = backward_row(self.layers, dy, self._stop)
        except BaseException:  # some gradients are of this pass, the others older: a step refuses
            for parameter in self.parameters().values():
                parameter.grad = None
            raise
        return gradient if self._stop == 0 else None

    def parameters(self) -> dict[str, Parameter]:
        """Every trained array, named like `2.Dense.weight`."""
        return {f"{at}.{name}": p for at, la in self.walk() for name, p in la.parameters().items()}

    def buffers(self) -> dict[str, Array]:
        """Every running statistic, named like `3.BatchNorm.running_mean`."""
        return {f"{at}.{name}": b for at, la in self.walk() for name, b in la.buffers().items()}

    def walk(self) -> Iterator[tuple[str, Layer]]:
        """Every layer with its place, layers inside layers after the one that holds them."""
        row, kinds, places = self._walked
        # The same objects, none of which holds others: a small step would walk for a tenth of it.
        if (
            len(row) == len(self.layers)
            and all(map(operator.is_, row, self.layers))
            and all(map(operator.is_, kinds, map(type, row)))
        ):
            return iter(places)
        places = list(self._walk())
        if all(type(layer).sublayers is Layer.sublayers for layer in self.layers):
            self._walked = list(self.layers), list(map(type, self.layers)), places
        return iter(places)

    def _walk(self) -> Iterator[tuple[str, Layer]]:
        stack = [(str(i), layer) for i, layer in enumerate(self.layers)][::-1]
        while stack:
            place, layer = stack.pop()
            yield f"{place}.{type(layer).__name__}", layer
            inner = [(f"{place}.{i}", la) for i, la in enumerate(layer.sublayers())]
            stack.extend(inner[::-1])

    def auxiliaries(self) -> list[Auxiliary]:
        """Classifiers in the middle, each with a loss of its own in training."""
        return [layer for _, layer in self.walk() if isinstance(layer, Auxiliary)]

    def use_products(self, products: PlainProducts) -> None:
        """Let every product of the network be formed by this object; results stay equal."""
        checks.instance("products", products, PlainProducts, "PlainProducts()")
        for _, layer in self.walk():
            if isinstance(layer, Multiplying):
                layer.products = products

    def relax_boundaries(self, saturation: float) -> None:
        """Widen the bound inside which activations pass the gradient (section 4.3)."""
        for _, layer in self.walk():
            if isinstance(layer, Quantize | Recurrent):
                layer.relax(saturation)

    def quantize_gradients(self, quantizer: Quantizer | None) -> None:
        """Quantize the gradient of every product's sums (section 3); None switches it off."""
        if quantizer is not None:
            check_quantizer("quantizer", quantizer)
        for _, layer in self.walk():
            if isinstance(layer, Multiplying):
                layer.gradient_quantizer = quantizer

    def arrays(self) -> dict[str, Array]:
        """Copies of all latent values and running statistics by name."""
        latent = {name: parameter.latent.copy() for name, parameter in self.parameters().items()}
        return latent | {name: buffer.copy() for name, buffer in self.buffers().items()}

    def set_arrays(self, arrays: dict[str, Array]) -> None:
        """Put back what `arrays` gave; every name must be there, with its shape."""
        checks.instance("arrays", arrays, dict)
        parameters, buffers = self.parameters(), self.buffers()
        missing = (parameters.keys() | buffers.keys()) ^ arrays.keys()
        if missing:
            raise ValueError(
                f"arrays: names do not fit this network: {sorted(missing, key=str)[:4]}"
            )
        for name, array in arrays.items():
            target = parameters[name].latent if name in parameters else buffers[name]
            checks.plain_array(f"arrays[{name!r}]", array)
            if target.shape != array.shape or target.dtype != array.dtype:
                raise ValueError(
                    f"arrays[{name!r}]: expected {target.dtype} {target.shape}, "
                    f"got {array.dtype} {array.shape}"
                )
            checks.all_finite(f"arrays[{name!r}]", array)
            if name in parameters and np.abs(array).max(initial=0) > parameters[name].bound:
                raise ValueError(
                    f"arrays[{name!r}]: expected values within +-{parameters[name].bound:g}, where "
                    f"each step clips them, got {np.abs(array).max():g}"
                )
        for name, array in arrays.items():
            if name in parameters:
                parameters[name].assign(array)
            else:
                buffers[name][...] = array

    def copy(self, dtype: DTypeLike | None = None) -> Self:
        """A network of its own with the same numbers and its own generator, in another dtype."""
        twin = copy.deepcopy(self)
        if dtype is not None:
            for layer in twin.layers:
                layer.astype(dtype)
        return twin

    def scores(self, images: Array, batch_size: int = 1000) -> Array:
        """Scores (N, classes) of images (N, ...) in inference, in batches; none is dropped.

        A batch has up to `batch_size` images, fewer where a layer would make too many numbers.
        """
        most = checks.whole("batch_size", batch_size, 1)
        checks.plain_array("images", images)
        return in_batches(self._finite_scores, images, min(most, self._fitting(images.shape)))

    def _fitting(self, shape: Shape) -> int:
        """Images of which no layer makes more than `AT_ONCE` numbers, one at least."""
        steps = shape[1] if len(shape) > 1 else 1
        example = tuple(steps if size < 0 else size for size in self.input_shape)
        largest = math.prod(example)
        for layer in self.layers:
            example = layer.output_shape(example)
            largest = max(largest, math.prod(example))
        return max(1, AT_ONCE // max(1, largest))

    def _finite_scores(self, images: Array) -> Array:
        with np.errstate(over="ignore", invalid="ignore"):  # what comes of it is looked at
            scores = self.forward(images)
        if not np.isfinite(scores).all():
            place = first_not_finite(self, images)
            raise NotFiniteError(f"network: its scores are not finite, first the output of {place}")
        return scores

    def predict(self, images: Array, batch_size: int = 1000) -> Array:
        """Classes (N,) of images (N, ...): the largest score; the first one of equals."""
        return self.scores(images, batch_size).argmax(axis=-1)

    def _rows(self) -> list[tuple[str, ...]]:
        rows: list[tuple[str, ...]] = [("layer", "output", "parameters", "bits each")]
        shape = self.input_shape
        for index, layer in enumerate(self.layers):
            shape = layer.output_shape(shape)
            parameters = list(layer.parameters().values())
            bits = {
                (len(p.quantizer.levels) - 1).bit_length() if p.quantizer else p.dtype.itemsize * 8
                for p in parameters
            }
            count = sum(p.size for p in parameters)
            row = (f"{index} {type(layer).__name__}", checks.written_shape(*shape), f"{count:,}")
            rows.append((*row, ", ".join(map(str, sorted(bits)))))
        return rows

    def summary(self) -> str:
        """A table of the layers: output shape, parameters, bits a weight."""
        return shown.columns(self._rows(), right=(2, 3))

    __repr__ = summary

    def _repr_html_(self) -> str:
        return shown.html_table(self._rows(), right=(2, 3))


def _by_bits(layer: Multiplying) -> bool:
    """Whether a layer has weights that compiled kernels multiply by."""
    weights = layer.parameters().values()
    return isinstance(layer.products, BitProducts) and any(map(are_signs, weights))


def in_batches(function: Callable[[Array], Array], images: Array, batch_size: int) -> Array:
    """Return what a function makes of images, some at a time; none is dropped.

    Parameters
    ----------
    function : function
        From images (batch, ...) to one row each.
    images : array (N, ...)
    batch_size : int
        Changes nothing but memory and time.

    Returns
    -------
    array (N, ...)

    Raises
    ------
    TypeError, ValueError
        If the images are no array of finite numbers, or none, or the batch size is below 1.
    """
    checks.plain_array("images", images)
    if images.ndim == 0 or len(images) == 0:
        raise ValueError(f"images: expected at least one, got shape {images.shape}")
    batch_size = checks.whole("batch_size", batch_size, 1)
    checks.all_finite("images", images)
    if len(images) <= batch_size:
        return function(images)
    starts = range(0, len(images), batch_size)
    return np.concatenate([function(images[i : i + batch_size]) for i in starts])


def first_not_finite(network: Sequential, x: Array, training: bool = False) -> str | None:
    """Place of the first layer whose output holds NaN or infinity, like `3.BatchNorm`.

    Parameters
    ----------
    network : Sequential
        Stays as it is: a copy is run.
    x : array (batch, ...)
    training : bool
        Whether to run the training forward.

    Returns
    -------
    str or None
        As `Sequential.walk` names it, an inner layer before the one that holds it. None if all
        outputs are finite, or a layer refused its input before one was not.
    """
    twin, places = network.copy(), list[str]()

    def watched(place: str, forward: Callable[..., Array]) -> Callable[..., Array]:
        def run(x: Array, training: bool = False) -> Array:
            y = forward(x, training)
            if not np.isfinite(y).all():
                places.append(place)
            return y

        return run

    for place, layer in twin.walk():
        layer.forward = watched(place, layer.forward)  # type: ignore[method-assign]
    with suppress(ValueError), np.errstate(all="ignore"):
        twin.forward(x, training)
    return places[0] if places else None
