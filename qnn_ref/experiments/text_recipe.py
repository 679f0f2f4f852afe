"""What a recipe of a language model is: a frozen record, and the network and optimizer it means.

The paper says cell, units and bits (section 4.4). Everything else is our choice, and stands here:

- the table of the first layer, both weights of the cell and those of the last layer are quantized,
  and so is the state wherever it meets a product; biases, gates and the cell of an LSTM are real;
- ReLU states are rounded in [0, state_reach] (unsigned), those of an LSTM in [-1, 1] (symmetric);
- weights have LinearQuant's literal form, "fixed-point", whose levels include an exact zero (with
  one bit they are signs): a state passes through them again and again;
- they are rounded in [-reach, reach] instead of [-1, 1]: sums of hundreds of weights of size 1
  would leave every range. Latent weights end there; they start as those of the float twin;
- Adam, a rate that decays from epoch to epoch, softmax and cross entropy, windows of some steps,
  the gradient shortened to a largest length; no dropout, no weight decay.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from qnn_ref.checks import choice, flag, instance, real, whole
from qnn_ref.datasets.tokens import LEVELS
from qnn_ref.experiments.recipe import MOST_UNITS, RULES
from qnn_ref.layers import LSTM, RNN, Dense, Embedding, Layer
from qnn_ref.network import Sequential
from qnn_ref.optimizers import ExponentialDecay, Optimizer
from qnn_ref.products import BITS, PLAIN
from qnn_ref.quantizers import LinearQuant, Quantizer

CELLS = "rnn", "lstm"

# What each setting may be; whoever reads a recipe from a file relies on it.
WHOLE: Mapping[str, tuple[int, int | None]] = {
    "units": (1, MOST_UNITS),
    "embedding": (1, MOST_UNITS),
    "epochs": (1, None),
    "lanes": (1, None),
    "steps": (1, None),
    "weight_bits": (1, 16),
    "activation_bits": (1, 16),
    "seed": (0, None),
    "limit": (0, None),
}
REAL: Mapping[str, Mapping[str, float]] = {
    "initial_rate": {"above": 0},
    "final_rate": {"above": 0},
    "longest": {"above": 0},
    "reach": {"above": 0, "most": 1},
    "output_reach": {"above": 0, "most": 1},
    "state_reach": {"above": 0, "most": 64},
}


@dataclass(frozen=True)
class TextRecipe:
    """A language model of section 4.4: table, one recurrent layer, scores of the next symbol.

    Parameters
    ----------
    name : str
        What `qnn-ref train` calls it.
    about : str
        One line for the list of recipes.
    dataset : str
        Name of the text.
    level : str
        "characters" or "words".
    cell : str
        "rnn" (ReLU) or "lstm".
    units : int
        Of the recurrent layer.
    embedding : int
        Numbers that stand for a symbol at the network's entry.
    epochs : int
        Passes over the training part.
    lanes : int
        Sequences that are read side by side, the batch.
    steps : int
        Window: how far gradients go back.
    weight_bits, activation_bits : int
    quantized : bool
        False leaves out all quantizers: the float twin.
    initial_rate, final_rate : float
        Learning rate of the first epoch, and the one it decays towards.
    longest : float
        Length to which gradients are shortened.
    reach : float
        Largest weight of the cell.
    output_reach : float
        Largest weight of the last layer.
    state_reach : float
        Largest state of a ReLU cell.
    rule : str
        Of `recipe.RULES`.
    seed : int
    limit : int
        Train on the first so many tokens only, and choose by as many; 0 for all.
    bit_products : bool
        Whether products are formed on packed bits where that is faster.
    """

    name: str
    about: str
    dataset: str
    level: str
    cell: str
    units: int
    embedding: int
    epochs: int
    lanes: int = 64
    steps: int = 16
    weight_bits: int = 4
    activation_bits: int = 4
    quantized: bool = True
    initial_rate: float = 4e-3
    final_rate: float = 4e-4
    longest: float = 1.0
    reach: float = 1 / 2
    output_reach: float = 1.0
    state_reach: float = 4.0
    rule: str = "adam"
    seed: int = 0
    limit: int = 0
    bit_products: bool = True

    def __post_init__(self) -> None:
        for name in ("name", "about", "dataset"):
            instance(name, getattr(self, name), str)
        for name, (least, most) in WHOLE.items():
            whole(name, getattr(self, name), least, most)
        for name, limits in REAL.items():
            real(name, getattr(self, name), **limits)
        for name in ("quantized", "bit_products"):
            flag(name, getattr(self, name))
        for name, options in (("level", LEVELS), ("cell", CELLS), ("rule", RULES)):
            choice(name, getattr(self, name), options)

    @property
    def all_epochs(self) -> int:
        """Epochs: nothing comes behind them."""
        return self.epochs

    def narrowed(self, divide: int) -> TextRecipe:
        """The recipe with all units divided, at least 1 each."""
        return replace(
            self,
            units=max(1, self.units // divide),
            embedding=max(1, self.embedding // divide),
        )

    def weights_of(self, reach: float) -> Quantizer | None:
        """Quantizer of weights in [-reach, reach]; None in a float network."""
        if not self.quantized:
            return None
        reading = "symmetric" if self.weight_bits == 1 else "fixed-point"
        return LinearQuant(self.weight_bits, high=reach, reading=reading)

    def state_quantizer(self) -> Quantizer | None:
        """Quantizer of the states: in [0, state_reach] behind ReLU, in [-1, 1] in an LSTM."""
        if not self.quantized:
            return None
        if self.cell == "lstm":
            return LinearQuant(self.activation_bits)
        return LinearQuant(self.activation_bits, high=self.state_reach, reading="unsigned")

    def layers(self, symbols: int) -> list[Layer]:
        """Table, cell, scores."""
        weights, states = self.weights_of(self.reach), self.state_quantizer()
        cell: Layer = LSTM(self.units, weights, states)
        if self.cell == "rnn":
            cell = RNN(self.units, weights, states, activation="relu")
        return [
            Embedding(symbols, self.embedding, self.weights_of(1.0)),
            cell,
            Dense(symbols, self.weights_of(self.output_reach), bias=True),
        ]

    def network(self, symbols: int, rng: np.random.Generator) -> Sequential:
        """The network for any number of steps, built and started."""
        if self.quantized:  # the same draws, in the range that float layers start in
            twin = replace(self, quantized=False).network(symbols, copy.deepcopy(rng)).parameters()
        network = Sequential(self.layers(symbols), (-1,), rng)
        for name, parameter in network.parameters().items() if self.quantized else ():
            parameter.assign(np.clip(twin[name].latent, -parameter.bound, parameter.bound))
        network.use_products(BITS if self.bit_products else PLAIN)
        return network

    def optimizer(self) -> Optimizer:
        """A fresh optimizer; the schedule sets its rate."""
        return RULES[self.rule](self.initial_rate)

    def schedule(self) -> ExponentialDecay:
        """Learning rate by epoch."""
        return ExponentialDecay(self.initial_rate, self.final_rate, self.epochs)

    def weights(self, symbols: int) -> int:
        """Number of weights of table, cell and scores, without biases."""
        blocks = 4 if self.cell == "lstm" else 1
        cell = (self.embedding + self.units) * blocks * self.units
        return symbols * self.embedding + cell + self.units * symbols
