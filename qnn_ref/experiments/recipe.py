"""What a recipe is: a frozen record of numbers, and the network, optimizer and loss they mean."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np

from qnn_ref.checks import choice, flag, instance, real, whole
from qnn_ref.layers import (
    BatchNorm,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    HardTanh,
    Layer,
    MaxPool2D,
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
from qnn_ref.products import BITS, PLAIN
from qnn_ref.quantizers import (
    DoReFaGradient,
    LinearGradient,
    LinearQuant,
    LogQuant,
    Quantizer,
    Sign,
    StochasticSign,
)

NORMS = ("batch", "shift-S", "shift-R", "shift-T")


def torch_shift_adamax(learning_rate: float, round_scale: bool = False) -> ShiftAdaMax:
    """Return the shift-based AdaMax of the authors' Torch code, with its constants."""
    return ShiftAdaMax(
        learning_rate, beta1=0.9, beta2=0.999, variant="torch", round_scale=round_scale
    )


def torch_shift_adamax_ap2(learning_rate: float) -> ShiftAdaMax:
    """Return the same with AP2 of each learning-rate scale, as for CIFAR-10 and SVHN."""
    return torch_shift_adamax(learning_rate, round_scale=True)


def theano_adam(learning_rate: float) -> Adam:
    """Return the Adam of the authors' Theano library: epsilon is added before the correction."""
    return Adam(learning_rate, epsilon_at="before correction")


RULES: Mapping[str, Callable[[float], Optimizer]] = MappingProxyType(
    {
        "adam": Adam,
        "adam-theano": theano_adam,
        "adamax": AdaMax,
        "shift-adamax": ShiftAdaMax,
        "shift-adamax-torch": torch_shift_adamax,
        "shift-adamax-torch-ap2": torch_shift_adamax_ap2,
    }
)


GRADIENTS: Mapping[str, Callable[[int], Quantizer]] = MappingProxyType(
    {
        "log": lambda bits: LogQuant(bits, exponent=None),
        "log-stochastic": lambda bits: LogQuant(bits, exponent=None, stochastic=True),
        "linear": LinearGradient,
        "dorefa": DoReFaGradient,
    }
)


def few_bits(bits: int) -> Quantizer:
    """Sign for one bit, symmetric LinearQuant for more."""
    return Sign() if bits == 1 else LinearQuant(bits)


MOST_UNITS = 2**20

# What each setting of a recipe may be; whoever reads a recipe from a file relies on it.
WHOLE: Mapping[str, tuple[int, int | None]] = {
    "epochs": (1, None),
    "validation": (1, None),
    "batch_size": (1, None),
    "seed": (0, None),
    "halve_every": (0, None),
    "weight_bits": (1, 16),
    "activation_bits": (1, 16),
    "gradient_bits": (0, 16),
    "retrain_epochs": (0, None),
    "limit": (0, None),
}
REAL: Mapping[str, Mapping[str, float]] = {
    "initial_rate": {"above": 0},
    "final_rate": {"above": 0},
    "input_dropout": {"least": 0, "below": 1},
    "hidden_dropout": {"least": 0, "below": 1},
    "epsilon": {"above": 0},
    "momentum": {"above": 0, "most": 1},
    "pixel_scale": {"above": 0},
    "retrain_saturation": {"above": 0},
}
FLAGS = ("binary", "stochastic", "scale_gain_rate", "bit_products", "torch_last_norm")


IMAGE_SHAPES = {
    "mnist": (28, 28, 1),
    "fashion-mnist": (28, 28, 1),
    "digits": (8, 8, 1),
    "cifar10": (32, 32, 3),
    "svhn": (32, 32, 3),
}
"""Shape of an image of each data set that a recipe uses."""


@dataclass(frozen=True)
class Recipe:
    """A network on images, as sections 2 and 4.2 train it: convolutions if any, then dense layers.

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
    convolutions : tuple of (channels, pool)
        3x3 convolutions with padding 1 in front of the dense layers; where pool is not 1, a max
        pool of that size follows, before the batch norm.
    norm : str
        Batch norm of the hidden layers: "batch" (vanilla), or the shift-based one with the backward
        form slope ("shift-S"), ratio ("shift-R") or torch ("shift-T"). The last layer's is always
        vanilla.
    rule : str
        "adam", or "adam-theano" with epsilon where the authors' library has it; "adamax",
        "shift-adamax" (paper), "shift-adamax-torch", or "shift-adamax-torch-ap2", which rounds the
        learning-rate scales to powers of two as well.
    stochastic : bool
        Whether activations are drawn in training; inference is deterministic.
    halve_every : int
        Halve the rate after so many epochs; 0 for the exponential decay to `final_rate`.
    pixel_scale : float
        Value of one unit of the integer pixels 2 p - 255.
    scale_gain_rate : bool
        Whether shift-based gains learn at the Glorot scale of their layer's width, and with
        `torch_last_norm` the last layer's too.
    weight_bits, activation_bits : int
        More than one bit is symmetric LinearQuant.
    gradient_bits : int
        Bits of the gradient of each product's sums; 0 for real numbers.
    gradient_rule : str
        "log" (section 3), "log-stochastic", "linear" or "dorefa".
    retrain_epochs : int
        Epochs that follow with a relaxed boundary; the learning rate starts again.
    retrain_saturation : float
        Bound of the activations' surrogate in these epochs (section 4.3).
    limit : int
        Train on the first so many training images only, and choose by as many validation images:
        to try a long recipe for a few steps. 0 for all, as in the paper.
    bit_products : bool
        Whether products are formed on packed bits where that is faster. False for NumPy's `@`, by
        which the stored tables were made: gradients differ in their last bits.
    torch_last_norm : bool
        Whether the last batch norm is Torch7's: its gain starts uniform in [0, 1), and inference
        uses the running unbiased variance.
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
    convolutions: tuple[tuple[int, int], ...] = ()
    norm: str = "batch"
    rule: str = "adam"
    stochastic: bool = False
    halve_every: int = 0
    pixel_scale: float = 1 / 255
    scale_gain_rate: bool = False
    weight_bits: int = 1
    activation_bits: int = 1
    gradient_bits: int = 0
    gradient_rule: str = "log"
    retrain_epochs: int = 0
    retrain_saturation: float = 1.0
    limit: int = 0
    bit_products: bool = True
    torch_last_norm: bool = False

    def __post_init__(self) -> None:
        for name in ("name", "about", "dataset"):
            instance(name, getattr(self, name), str)
        for name, (least, most) in WHOLE.items():
            whole(name, getattr(self, name), least, most)
        for name, limits in REAL.items():
            real(name, getattr(self, name), **limits)
        for name in FLAGS:
            flag(name, getattr(self, name))
        for name, options in (("norm", NORMS), ("rule", RULES), ("gradient_rule", GRADIENTS)):
            choice(name, getattr(self, name), options)
        for name in ("hidden", "convolutions"):
            row = instance(name, getattr(self, name), tuple)
            whole(f"{name}: number of layers", len(row), 0, 1000)
        for units in self.hidden:
            whole("hidden", units, 1, MOST_UNITS)
        for pair in self.convolutions:
            if not isinstance(pair, tuple) or len(pair) != 2:
                raise TypeError(f"convolutions: expected pairs (channels, pool), got {pair!r}")
            whole("convolutions: channels", pair[0], 1, MOST_UNITS)
            whole("convolutions: pool", pair[1], 1, MOST_UNITS)
        if self.stochastic and self.activation_bits > 1:
            raise ValueError("stochastic: only activations of one bit are drawn")

    @property
    def all_epochs(self) -> int:
        """Epochs with those of the relaxed boundary."""
        return self.epochs + self.retrain_epochs

    def narrowed(self, divide: int) -> Recipe:
        """The recipe with all channels and hidden units divided, at least 1 each."""
        return replace(
            self,
            hidden=tuple(max(1, n // divide) for n in self.hidden),
            convolutions=tuple((max(1, n // divide), pool) for n, pool in self.convolutions),
        )

    def layers(self, classes: int) -> list[Layer]:
        """Product, max pool, batch norm, sign, dropout; at the end dense and batch norm."""
        weights = few_bits(self.weight_bits) if self.binary else None
        layers: list[Layer] = [Pixels(self.pixel_scale)]
        for channels, pool in self.convolutions:
            layers.append(Conv2D(channels, 3, padding=1, weight_quantizer=weights))
            layers += [MaxPool2D(pool)] if pool > 1 else []
            layers += [self.hidden_norm(), self.activation()]
        layers.append(Flatten())
        if self.input_dropout:
            layers.append(Dropout(self.input_dropout))
        for units in self.hidden:
            layers += [Dense(units, weights), self.hidden_norm(), self.activation()]
            if self.hidden_dropout:
                layers.append(Dropout(self.hidden_dropout))
        return [*layers, Dense(classes, weights), self.last_norm()]

    def activation(self) -> Layer:
        """Sign of a hidden layer, or hard tanh in a float network."""
        if not self.binary:
            return HardTanh()
        return Quantize(StochasticSign() if self.stochastic else few_bits(self.activation_bits))

    def hidden_norm(self) -> BatchNorm:
        """Batch norm of a hidden layer."""
        if self.norm == "batch":
            return BatchNorm(self.epsilon, self.momentum)
        return ShiftBatchNorm(self.norm[-1], scale_gain_rate=self.scale_gain_rate)

    def last_norm(self) -> BatchNorm:
        """Batch norm of the scores."""
        if not self.torch_last_norm:
            return BatchNorm(self.epsilon, self.momentum)
        return BatchNorm(
            self.epsilon,
            self.momentum,
            running="unbiased variance",
            uniform_gain=True,
            scale_gain_rate=self.scale_gain_rate,
        )

    def network(
        self, input_shape: tuple[int, ...], classes: int, rng: np.random.Generator
    ) -> Sequential:
        """The network, built and started."""
        network = Sequential(self.layers(classes), input_shape, rng)
        network.use_products(BITS if self.bit_products else PLAIN)
        if self.gradient_bits:
            network.quantize_gradients(GRADIENTS[self.gradient_rule](self.gradient_bits))
        return network

    def optimizer(self) -> Optimizer:
        """A fresh optimizer; the schedule sets its rate."""
        return RULES[self.rule](self.initial_rate)

    def schedule(self) -> ExponentialDecay | Halving:
        """Learning rate by epoch."""
        if self.halve_every:
            return Halving(self.initial_rate, self.halve_every)
        return ExponentialDecay(self.initial_rate, self.final_rate, self.epochs)

    def products(self, input_shape: tuple[int, ...], classes: int) -> list[tuple[int, int]]:
        """For each layer with weights their number, and how often an image uses each."""
        high, wide, channels = input_shape
        found = []
        for units, pool in self.convolutions:
            found.append((9 * channels * units, high * wide))
            high, wide, channels = high // pool, wide // pool, units
        size = high * wide * channels
        for units in (*self.hidden, classes):
            found.append((size * units, 1))
            size = units
        return found

    def weights(self, input_shape: tuple[int, ...], classes: int) -> int:
        """Number of weights of all products, for images of this shape."""
        return sum(count for count, _ in self.products(input_shape, classes))
