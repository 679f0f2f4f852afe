"""Steps of a packed recurrent network: rows of a table, and a cell whose products run on bits.

The products of a cell are exact integers, by the bit planes of codes and weights. Its gates, its
cell and its biases are real numbers, and the functions that compute them are those of the trained
layers, called here too: so every state equals the trained one, bit for bit, step by step.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from qnn_ref._typing import Array
from qnn_ref.bits import unpack
from qnn_ref.bits.grids import codes_matmul, grid_matrix
from qnn_ref.bits.words import check_words
from qnn_ref.checks import all_finite, choice, real, whole
from qnn_ref.grid import Grid
from qnn_ref.layers.lstm import lstm_step
from qnn_ref.layers.rnn import rnn_step
from qnn_ref.layers.weighted import scale_and_add
from qnn_ref.packed.product_stages import GridDense, sums
from qnn_ref.packed.stages import Flow, Stage, expect, expect_flow, expect_words
from qnn_ref.quantizers import LinearQuant, LogQuant, Quantizer, Sign

State = tuple[Array, ...]
"""h of an RNN, h and c of an LSTM, each (batch, units)."""

CELLS = {"RNN": 1, "LSTM": 4}
"""Kinds of cells, and the sums of a unit."""

QUANTIZERS: dict[str, type[Quantizer]] = {
    kind.__name__: kind for kind in (Sign, LinearQuant, LogQuant)
}


def describe_quantizer(quantizer: Quantizer) -> dict[str, Any]:
    """A quantizer as a file's header holds it."""
    if type(quantizer) not in QUANTIZERS.values():
        raise ValueError(f"{type(quantizer).__name__} has no packed form here")
    settings = dataclasses.asdict(quantizer)  # type: ignore[call-overload]
    return {"kind": type(quantizer).__name__} | settings


def quantizer_of(description: Any) -> Quantizer:
    """The quantizer that a header describes, or ValueError."""
    if not isinstance(description, dict):
        raise ValueError(f"quantizer: expected a description, got {description!r}")
    settings = dict(description)
    kind = choice("quantizer", settings.pop("kind", None), QUANTIZERS)
    try:
        return QUANTIZERS[kind](**settings)
    except (TypeError, ValueError) as error:
        raise ValueError(f"quantizer: {error}") from error


@dataclass(eq=False)
class Rows(Stage):
    """Rows of a table of codes, kept as bit planes: the packed form of `Embedding`.

    Parameters
    ----------
    words : array of uint64 (P, vocabulary, ceil(units / 64))
    units : int
        Numbers of a row.
    grid : Grid
        Of the codes.
    """

    words: Array
    units: int
    grid: Grid

    def __post_init__(self) -> None:
        self.units = whole("units", self.units, 1, 2**31 - 1)
        self.grid = Grid.of("grid", self.grid)
        expect_words(self.words, 2, self.units, before=1)
        self.grid.check_planes("words", self.words)
        level = np.zeros((self.words.shape[1], self.units), np.int64)
        for a, plane in enumerate(self.words):
            level += 2**a * (unpack(plane, self.units) > 0)
        self.codes = (self.grid.low + self.grid.step * level).astype(np.int32)

    def output(self, flow: Flow) -> Flow:
        expect_flow(flow, "tokens")
        if flow.grid.high > max(1, len(self.codes) - 1):
            raise ValueError(f"expected {len(self.codes)} symbols, got tokens {flow.grid}")
        return Flow("integers", (self.units,), self.grid)

    def run(self, x: Array) -> Array:
        """Codes (batch, units), int32, of tokens (batch,)."""
        return self.codes[x]


@dataclass(eq=False)
class GridRecurrent(Stage):
    """A recurrent cell: two products by bit planes a step, real gates, a state that is quantized.

    Parameters
    ----------
    words : array of uint64 (P, sums, ceil(features / 64))
        Bit planes of the weights of the input, a row for each sum.
    state_words : array of uint64 (P, sums, ceil(units / 64))
        Those of the weights of the state.
    bias : array (sums,)
    cell : str
        "RNN" or "LSTM".
    activation : str
        Of an RNN; "" for an LSTM.
    features, units : int
        Numbers of an input and of the state.
    grid, weights : Grid
        Of the input's and of the weights' codes.
    input_scale, state_scale : float
        Value of one unit of each product.
    quantizer : dict
        Of the state, as `describe_quantizer` gives it.
    """

    words: Array
    state_words: Array
    bias: Array
    cell: str
    activation: str
    features: int
    units: int
    grid: Grid
    weights: Grid
    input_scale: float
    state_scale: float
    quantizer: dict[str, Any]
    names: tuple[str, ...] = field(default=(), init=False)
    coded: tuple[Array | None, Array | None] = field(default=(None, None), init=False, repr=False)
    """The last state that came out, read-only, and its codes: the next symbol begins with it."""

    def __post_init__(self) -> None:
        choice("cell", self.cell, CELLS)
        rnn = self.cell == "RNN"
        choice("activation", self.activation, ("relu", "tanh") if rnn else ("", ""))
        self.names = ("h",) if rnn else ("h", "c")
        self.units = whole("units", self.units, 1, 2**31 - 1)
        self.quantize = quantizer_of(self.quantizer)
        states = self.quantize.encoding.grid
        assert states is not None  # it has a fixed grid, since `encoding` gave one
        self.states = states
        by_input = GridDense(self.words, self.features, self.grid, self.weights)
        self.features, self.grid, self.weights = by_input.size, by_input.grid, by_input.weights
        check_words("state_words", self.state_words, self.units, ndim=3)
        self.weights.check_planes("state_words", self.state_words)
        self.by_input = grid_matrix(self.words, self.features, self.weights)
        self.by_state = grid_matrix(self.state_words, self.units, self.weights)
        count = CELLS[self.cell] * self.units
        for name, words in (("words", self.words), ("state_words", self.state_words)):
            if words.shape[1] != count:
                raise ValueError(f"{name}: expected {count} sums, got {words.shape[1]}")
        dtype = getattr(self.bias, "dtype", None)
        if dtype not in (np.float32, np.float64):
            raise ValueError(f"bias: expected float32 or float64, got {dtype}")
        expect("bias", self.bias, dtype, (count,))
        all_finite("bias", self.bias)
        most = float(np.finfo(self.bias.dtype).max)
        self.input_scale = real("input_scale", self.input_scale, above=0, most=most)
        self.state_scale = real("state_scale", self.state_scale, above=0, most=most)
        for size, grid in ((self.features, self.grid), (self.units, states)):
            sums((count,), size, grid, self.weights)

    def settings(self) -> dict[str, Any]:
        found = super().settings()
        return {name: found[name] for name in found if name not in ("names", "coded")}

    def output(self, flow: Flow) -> Flow:
        GridDense(self.words, self.features, self.grid, self.weights).output(flow)
        return Flow("integers", (self.units,), self.states)

    def first_state(self, batch: int) -> State:
        """Zeros (batch, units)."""
        return tuple(np.zeros((batch, self.units), self.bias.dtype) for _ in self.names)

    def input_sums(self, x: Array) -> Array:
        """What inputs (rows, features) give to the sums: (rows, sums), bias included."""
        s = codes_matmul(x.astype(self.bias.dtype), self.by_input, self.grid)
        return scale_and_add(s.astype(self.bias.dtype), self.input_scale, self.bias)

    def run_steps(self, z: Array, state: State) -> tuple[Array, State]:
        """Codes (time, batch, units) after each step, and the last state.

        `z` (time, batch, sums) is what `input_sums` gave for the inputs.
        """
        codes = np.empty((len(z) + 1, z.shape[1], self.units), self.bias.dtype)
        for t in range(len(z) + 1):
            last, coded = self.coded
            codes[t] = coded if last is state[0] else self.quantize.encode(state[0])[0]
            if t < len(z):
                s = codes_matmul(codes[t], self.by_state, self.states).astype(z.dtype)
                state = self.step(z[t] + scale_and_add(s, self.state_scale, None), state)
        for array in state:
            array.flags.writeable = False
        self.coded = state[0], codes[-1].copy()
        return codes[1:], state

    def step(self, z: Array, state: State) -> State:
        """The state after the sums z (batch, sums): the trained cell's own functions."""
        if self.cell == "RNN":
            return (rnn_step(z, self.activation),)
        return lstm_step(z, state[1])[:2]
