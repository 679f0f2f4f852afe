"""What a recipe is: a frozen record of numbers, and the network, optimizer and loss they mean."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from qnn_ref.layers import BatchNorm, Dense, Dropout, Flatten, HardTanh, Layer, Pixels, Quantize
from qnn_ref.network import Sequential
from qnn_ref.optimizers import Adam, ExponentialDecay, Optimizer
from qnn_ref.quantizers import Sign


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
        Batch norm's.
    seed : int
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

    def layers(self, classes: int) -> list[Layer]:
        """Dense, batch norm, sign, dropout for each hidden layer; dense, batch norm at the end."""
        weights = Sign() if self.binary else None
        layers: list[Layer] = [Pixels(), Flatten()]
        if self.input_dropout:
            layers.append(Dropout(self.input_dropout))
        for units in self.hidden:
            layers += [Dense(units, weights), BatchNorm(self.epsilon, self.momentum)]
            layers.append(Quantize(Sign()) if self.binary else HardTanh())
            if self.hidden_dropout:
                layers.append(Dropout(self.hidden_dropout))
        return [*layers, Dense(classes, weights), BatchNorm(self.epsilon, self.momentum)]

    def network(
        self, input_shape: tuple[int, ...], classes: int, rng: np.random.Generator
    ) -> Sequential:
        """The network, built and started."""
        return Sequential(self.layers(classes), input_shape, rng)

    def optimizer(self) -> Optimizer:
        """A fresh optimizer; the schedule sets its rate."""
        return Adam(self.initial_rate)

    def schedule(self) -> ExponentialDecay:
        """Learning rate by epoch."""
        return ExponentialDecay(self.initial_rate, self.final_rate, self.epochs)

    def weights(self, pixels: int, classes: int) -> int:
        """Number of weights of the dense layers, for images of this many pixels."""
        sizes = [pixels, *self.hidden, classes]
        return sum(a * b for a, b in pairwise(sizes))
