r"""Recurrent layers: RNN and LSTM, forward through time, and right under it backward (4.4).

The sums of step t are those of two products, of the input and of the state before,

.. math:: z_t = x_t\,W_x + b + h^q_{t-1}\,W_h,

whose operands are quantized; z, the gates, the cell and the bias are real, and what a layer shows
is the quantized state :math:`h^q_t`. This is our reading of section 3: the paper prints no cell.
The inputs of all steps are known before the first, so they take one product; the state's product
has to be formed step by step. A step's own functions stand with the cell, in `rnn` and `lstm`: all
their numbers are real, and the packed cell calls these very functions, since a tanh of a compiled
loop differs from NumPy's in the last place.

On the way back every step leaves its :math:`\delta_{z_t}`; the
gradients of the weights, used in each step, are sums over the steps, formed as one product.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple

import numpy as np

from qnn_ref._typing import Array, Shape
from qnn_ref.checks import all_finite, check_array, plain_array, whole
from qnn_ref.grid import SIGNS
from qnn_ref.layers.base import needs_rng
from qnn_ref.layers.weighted import Multiplying, reach, scale_and_add, try_weights
from qnn_ref.parameter import Parameter, glorot_scale
from qnn_ref.quantizers import Encoding, Quantizer
from qnn_ref.quantizers.base import check_quantizer

State = Array | tuple[Array, ...]
"""h of an RNN, (batch, units); the pair h, c of an LSTM."""


class Walk(NamedTuple):
    """What a training forward keeps; time comes first, so that a step lies in one piece.

    References
    ----------
    Not in the paper: what backpropagation through time needs.
    """

    steps: Array
    """Input (time, batch, features)."""
    signs: bool
    weights: tuple[Parameter, Parameter]
    hidden: Array
    """Codes (time + 1, batch, units) of the states, that before the first step included."""
    real: Array
    """The states themselves, as `hidden`."""
    kept: list[Any]
    """What each step kept."""


class Recurrent(Multiplying):
    """A layer that goes through time: the base of `RNN` and `LSTM`.

    Parameters
    ----------
    units : int
        Numbers of the state.
    weight_quantizer : Quantizer or None
        Of both weights; None makes an ordinary float layer.
    quantizer : Quantizer or None
        Of the state, where it meets a product or leaves the layer.

    References
    ----------
    Section 3, quantized recurrent networks; section 4.4.
    """

    any_steps: ClassVar[int] = 2

    jumps = MappingProxyType({"quantizer": "quantizer"})

    blocks: ClassVar[int] = 1
    """Sums of a unit."""

    names: ClassVar[tuple[str, ...]] = ("h",)
    """What its state is made of."""

    def __init__(
        self, units: int, weight_quantizer: Quantizer | None, quantizer: Quantizer | None
    ) -> None:
        self.units = whole("units", units, 1, 2**31 - 1)
        if weight_quantizer is not None:
            check_quantizer("weight_quantizer", weight_quantizer)
        if quantizer is not None:
            check_quantizer("quantizer", quantizer)
        self.weight_quantizer, self.quantizer = weight_quantizer, quantizer

    def make(self) -> None:
        if len(self.input_shape) != 2:
            raise ValueError(f"input_shape: expected (steps, features), got {self.input_shape}")
        features, units = self.input_shape[1], self.units
        try:
            self._hidden_encoding = None if self.quantizer is None else self.quantizer.encoding
        except TypeError as error:
            raise TypeError(f"quantizer: {error}") from error
        if self.weight_quantizer is not None:
            try_weights(self.weight_quantizer, self.dtype)
        self.input_weight = self._start(features, self.encoding)
        self.recurrent_weight = self._start(units, self._hidden_encoding)
        self.bias = Parameter(np.zeros(self.blocks * units, self.dtype))
        self.final_state: State | None = None
        self.state_gradient: State | None = None

    def _start(self, fan_in: int, encoding: Encoding | None) -> Parameter:
        """Start weights (fan_in, blocks units) of inputs with this encoding."""
        quantizer, units = self.weight_quantizer, self.units
        if self.largest_product(encoding) * fan_in >= 2.0**53:
            raise ValueError(
                f"weight_quantizer: sums of {fan_in} products of up to "
                f"{self.largest_product(encoding):g} are no exact whole numbers"
            )
        glorot = np.sqrt(6 / (fan_in + units))
        bound = glorot if quantizer is None else reach(quantizer)
        shape = fan_in, self.blocks * units
        start = needs_rng(self.rng, self).uniform(-bound, bound, shape).astype(self.dtype)
        if quantizer is None:
            return Parameter(start)
        return Parameter(start, quantizer, bound, bound * glorot_scale(fan_in, units))

    def astype(self, dtype: Any) -> None:
        super().astype(dtype)
        self.final_state = self.state_gradient = None

    def parameters(self) -> dict[str, Parameter]:
        return {
            "input_weight": self.input_weight,
            "recurrent_weight": self.recurrent_weight,
            "bias": self.bias,
        }

    def output_shape(self, input_shape: Shape) -> Shape:
        return input_shape[0], self.units

    def output_encoding(self, encoding: Encoding | None, training: bool = False) -> Encoding | None:
        return None if self.quantizer is None else self.quantizer.encoding

    def largest_product(self, encoding: Encoding | None) -> float:
        """Largest magnitude of input code x weight code; 0 where one is a real number."""
        if encoding is None or not encoding.on_grid or self.weight_quantizer is None:
            return 0.0
        return encoding.largest * self.weight_quantizer.encoding.largest

    def relax(self, saturation: float) -> None:
        """Widen the bound of the surrogate (section 4.3); the forward pass does not change."""
        if self.quantizer is not None:
            self.quantizer = replace(self.quantizer, saturation=saturation)  # type: ignore[type-var]

    # The state

    def state_of(self, name: str, state: State | None, batch: int) -> tuple[Array, ...]:
        """The arrays (batch, units) of a state; zeros without one."""
        shape = batch, self.units
        if state is None:
            return tuple(np.zeros(shape, self.dtype) for _ in self.names)
        arrays = state if isinstance(state, tuple | list) else (state,)
        if len(arrays) != len(self.names):
            raise ValueError(
                f"{name}: expected {len(self.names)} arrays ({', '.join(self.names)}), "
                f"got {len(arrays)}"
            )
        for one, array in zip(self.names, arrays, strict=True):
            place = f"{name}, {one}" if len(self.names) > 1 else name
            plain_array(place, array)
            check_array(place, array, (self.dtype,), shape)
            all_finite(place, array)
        return tuple(arrays)

    def shown_state(self, arrays: Sequence[Array]) -> State:
        """A state as callers have it: an array alone where it is one."""
        copies = tuple(np.array(array) for array in arrays)
        return copies if len(copies) > 1 else copies[0]

    def encode(self, h: Array, training: bool = False) -> Array:
        """Codes of the state h (batch, units), as products and the next layer see it."""
        if self.quantizer is None:
            return h
        noise = self.quantizer.draw(h.shape, self.rng) if training else None
        return self.quantizer.encode(h, noise)[0]

    def encode_backward(self, dcodes: Array, h: Array) -> Array:
        """Straight-through gradient of h (batch, units) from that of its codes."""
        if self.quantizer is None:
            return dcodes
        dh = self.quantizer.backward(dcodes, h)
        return dh if self.hidden_scale == 1 else dh / dh.dtype.type(self.hidden_scale)

    @property
    def hidden_scale(self) -> float:
        """Value of one unit of the state's codes."""
        return 1.0 if self._hidden_encoding is None else self._hidden_encoding.scale

    # One step

    @abstractmethod
    def step(self, z: Array, state: tuple[Array, ...]) -> tuple[tuple[Array, ...], Any]:
        """State after the sums z (batch, blocks units), and what the step back needs."""

    @abstractmethod
    def step_backward(
        self, dstate: tuple[Array, ...], kept: Any
    ) -> tuple[Array, tuple[Array, ...]]:
        """Gradients of z and of the state before it, without the way of h through the product."""

    # Through time

    def input_sums(self, s: Array, scale: float) -> Array:
        """What the input gives to the sums: the product of codes in its unit, and the bias."""
        return scale_and_add(s, self.input_scale * scale, self.bias.latent)

    def add_state(self, z: Array, s: Array, scale: float) -> Array:
        """Sums z (batch, blocks units) with the product `s` of the state's codes."""
        return z + scale_and_add(s, self.hidden_scale * scale, None)

    def forward(self, x: Array, training: bool = False, state: State | None = None) -> Array:
        """Codes (or numbers) of the states after each step, (batch, time, units).

        `state` is what `final_state` was after the steps before these; zeros without it. It is
        handed over as a number: no gradient goes back through it (truncated backpropagation).
        """
        self.check_input(x)
        now = self.state_of("state", state, len(x))
        by_input, by_state = (
            parameter.drawn(self.rng) if training else parameter
            for parameter in (self.input_weight, self.recurrent_weight)
        )
        steps = np.ascontiguousarray(x.swapaxes(0, 1))
        z = self.input_sums(self._input_product(steps, by_input, training), by_input.scale)
        hidden = np.empty((len(steps) + 1, len(x), self.units), self.dtype)
        real_states = np.empty_like(hidden) if training else None
        kept = []
        for t in range(len(steps) + 1):
            hidden[t] = self.encode(now[0], training)
            if real_states is not None:
                real_states[t] = now[0]
            if t < len(steps):
                s = self._state_product(hidden[t], by_state)
                now, more = self.step(self.add_state(z[t], s, by_state.scale), now)
                if training:
                    kept.append(more)
        if real_states is not None:
            self._saved = Walk(
                steps, self.takes_signs(True), (by_input, by_state), hidden, real_states, kept
            )
        self.final_state = self.shown_state(now)
        return np.ascontiguousarray(hidden[1:].swapaxes(0, 1))

    def _input_product(self, steps: Array, weight: Parameter, training: bool) -> Array:
        """Product of the inputs of all steps, (time, batch, blocks units)."""
        rows = steps.reshape(-1, steps.shape[-1])
        encoding = self.training_encoding if training else self.encoding
        grid, signs = None if encoding is None else encoding.grid, self.takes_signs(training)
        s = self.products.of_codes(rows, weight, grid, self.largest_product(self.encoding), signs)
        return s.reshape(*steps.shape[:2], -1)

    def _state_product(self, codes: Array, weight: Parameter) -> Array:
        encoding = self._hidden_encoding
        grid = None if encoding is None else encoding.grid
        largest = self.largest_product(encoding)
        return self.products.of_codes(codes, weight, grid, largest, grid == SIGNS)

    def backward(self, dy: Array, dstate: State | None = None) -> Array | None:
        """Gradient of the input, given that of the output, and of the final state if it has one.

        `state_gradient` is left: the gradient of the state that forward began with.
        """
        walk = self.saved(dy)
        by_state = walk.weights[1]
        w = self.products.weights(by_state)
        if isinstance(w, np.ndarray):
            w = np.asfortranarray(w)  # the same matrix turned once, not in each of the steps
        dz = np.empty((*walk.steps.shape[:2], self.blocks * self.units), self.dtype)
        dh, *others = self.state_of("dstate", dstate, len(dy))
        dcodes = dy[:, -1]  # of the codes after the last step: nobody else sees them
        for t in range(len(dz) - 1, -1, -1):
            dh = dh + self.encode_backward(dcodes, walk.real[t + 1])
            dz_t, (*others,) = self.step_backward((dh, *others), walk.kept[t])
            dz[t] = self.quantized_gradient(dz_t)
            dcodes = self._state_gradient(dz[t], w, by_state.scale)
            dh = np.zeros_like(dh)
            if t > 0:
                dcodes = dcodes + dy[:, t - 1]
        dh = self.encode_backward(dcodes, walk.real[0])
        self.state_gradient = self.shown_state((dh, *others))
        return self._weights_backward(walk, dz)

    def _state_gradient(self, dz: Array, w: Any, scale: float) -> Array:
        """Gradient of the state's codes, from that of the sums of one step."""
        dcodes = self.products.input_gradient(dz, w)
        return dcodes * dcodes.dtype.type(scale * self.hidden_scale)

    def _weights_backward(self, walk: Walk, dz: Array) -> Array | None:
        """Gradients of the weights, summed over all steps, and of the input."""
        rows = dz.reshape(-1, dz.shape[-1])
        self.bias.grad = rows.sum(axis=0)
        encoding, by_input = self._hidden_encoding, walk.weights[0]
        signs = encoding is not None and encoding.grid == SIGNS
        for parameter, inputs, scale, are_signs in (
            (self.input_weight, walk.steps, self.input_scale, walk.signs),
            (self.recurrent_weight, walk.hidden[:-1], self.hidden_scale, signs),
        ):
            parameter.grad = None  # the old one makes room for the new one
            inputs = inputs.reshape(len(rows), -1)
            grad = self.products.weight_gradient(inputs, rows, are_signs)
            parameter.grad = grad if scale == 1 else grad * grad.dtype.type(scale)
        if not self.needs_input_gradient:
            return None
        dx = self.products.input_gradient(rows, self.products.weights(by_input))
        scale = by_input.scale * self.input_scale
        dx = dx if scale == 1 else dx * dx.dtype.type(scale)
        return np.ascontiguousarray(dx.reshape(walk.steps.shape).swapaxes(0, 1))
