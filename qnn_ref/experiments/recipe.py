"""What a recipe is: a frozen record of numbers, and the network, optimizer and loss they mean."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from types import MappingProxyType

import numpy as np

from qnn_ref.layers import (
    BatchNorm,
    Dense,
    Dropout,
    Flatten,
    HardTanh,
    Layer,
    Pixels,
    Quantize,
    ShiftBatchNorm,
)
from qnn_ref.network import Sequential
from qnn_ref.optimizers import (
    Adam,
    AdaMax,
    ExponentialDecay,
    Halving,
    Optimizer,
    ShiftAdaMax,
)
from qnn_ref.quantizers import Sign, StochasticSign

NORMS = ("batch", "shift-S", "shift-R", "shift-T")


def torch_shift_adamax(learning_rate: float) -> ShiftAdaMax:
    """Return the shift-based AdaMax of the authors' Torch code, with its constants."""
    return ShiftAdaMax(learning_rate, beta1=0.9, beta2=0.999, variant="torch")


RULES: Mapping[str, Callable[[float], Optimizer]] = MappingProxyType(
    {
        "adam": Adam,
        "adamax": AdaMax,
        "shift-adamax": ShiftAdaMax,
        "shift-adamax-torch": torch_shift_adamax,
    }
)


@dataclass(frozen=True)
class Recipe:
    """A multilayer perceptron on images, as sections 2 and 4.2 train it.

    Parameters
    ----------
    name : str
        What `qnn-ref train` calls it.
    about : str
        One line for the list of recipes.
    dataset : str
        Name of the data set.
    hidden : tuple of int
        Units of the hidden layers.
    epochs : int
    validation : int
        How many training images, the last ones, choose the epoch.
    batch_size : int
    initial_rate, final_rate : float
        Learning rate of the first epoch, and the one it decays towards.
    binary : bool
        False leaves out both quantizers: real weights, hard tanh.
    input_dropout, hidden_dropout : float
        Probabilities of zero.
    epsilon, momentum : float
        Vanilla batch norm's.
    seed : int
    norm : str
        Batch norm of the hidden layers: "batch" (vanilla), or "shift-S", "shift-R", "shift-T" for
        the shift-based one with that backward form. The last layer's is always vanilla.
    rule : str
        "adam", "adamax", "shift-adamax" (paper) or "shift-adamax-torch".
    stochastic : bool
        Whether activations are drawn in training; inference is deterministic.
    halve_every : int
        Halve the rate after so many epochs; 0 for the exponential decay to `final_rate`.
    pixel_scale : float
        Value of one unit of the integer pixels 2 p - 255.
    scale_gain_rate : bool
        Whether shift-based gains learn at the Glorot scale of their layer's width.
    """

    name: str
    about: str
    dataset: str
    hidden: tuple[int, ...]
    epochs: int
    validation: int
    batch_size: int = 100
    initial_rate: float = 3e-3
    final_rate: float = 3e-7
    binary: bool = True
    input_dropout: float = 0.0
    hidden_dropout: float = 0.0
    epsilon: float = 1e-4
    momentum: float = 0.1
    seed: int = 0
    norm: str = "batch"
    rule: str = "adam"
    stochastic: bool = False
    halve_every: int = 0
    pixel_scale: float = 1 / 255
    scale_gain_rate: bool = False

    def __post_init__(self) -> None:
        if self.norm not in NORMS:
            raise ValueError(f"norm: expected one of {', '.join(NORMS)}, got {self.norm!r}")
        if self.rule not in RULES:
            raise ValueError(f"rule: expected one of {', '.join(RULES)}, got {self.rule!r}")

    def layers(self, classes: int) -> list[Layer]:
        """Dense, batch norm, sign, dropout for each hidden layer; dense, batch norm at the end."""
        weights = Sign() if self.binary else None
        quantizer = StochasticSign() if self.stochastic else Sign()
        layers: list[Layer] = [Pixels(self.pixel_scale), Flatten()]
        if self.input_dropout:
            layers.append(Dropout(self.input_dropout))
        for units in self.hidden:
            layers += [Dense(units, weights), self.hidden_norm()]
            layers.append(Quantize(quantizer) if self.binary else HardTanh())
            if self.hidden_dropout:
                layers.append(Dropout(self.hidden_dropout))
        return [*layers, Dense(classes, weights), BatchNorm(self.epsilon, self.momentum)]

    def hidden_norm(self) -> BatchNorm:
        """Batch norm of a hidden layer."""
        if self.norm == "batch":
            return BatchNorm(self.epsilon, self.momentum)
        return ShiftBatchNorm(self.norm[-1], scale_gain_rate=self.scale_gain_rate)

    def network(
        self, input_shape: tuple[int, ...], classes: int, rng: np.random.Generator
    ) -> Sequential:
        """The network, built and started."""
        return Sequential(self.layers(classes), input_shape, rng)

    def optimizer(self) -> Optimizer:
        """A fresh optimizer; the schedule sets its rate."""
        return RULES[self.rule](self.initial_rate)

    def schedule(self) -> ExponentialDecay | Halving:
        """Learning rate by epoch."""
        if self.halve_every:
            return Halving(self.initial_rate, self.halve_every)
        return ExponentialDecay(self.initial_rate, self.final_rate, self.epochs)

    def weights(self, pixels: int, classes: int) -> int:
        """Number of weights of the dense layers, for images of this many pixels."""
        sizes = [pixels, *self.hidden, classes]
        return sum(a * b for a, b in pairwise(sizes))
