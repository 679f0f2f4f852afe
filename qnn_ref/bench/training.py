"""A training step of the paper's networks against the same step in PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np

from qnn_ref._typing import Array
from qnn_ref.bench.limits import limit_call, needs_of_step
from qnn_ref.bench.machine import threads as use_threads
from qnn_ref.bench.measure import Call
from qnn_ref.bench.rows import (
    ADAM,
    COUNTED,
    OF_LIMIT,
    TORCH,
    TORCH_COMPILED,
    Row,
    Settings,
    compare,
)
from qnn_ref.bench.torch_networks import TorchTraining
from qnn_ref.experiments.cifar10 import CIFAR10_THEANO
from qnn_ref.experiments.mnist_theano import MNIST_THEANO
from qnn_ref.experiments.recipe import Recipe
from qnn_ref.losses import squared_hinge
from qnn_ref.network import Sequential
from qnn_ref.products import BitProducts
from qnn_ref.training import train_step

WIDTHS, QUICK = (2048, 4096), (512,)
QUICK_DIVIDE, QUICK_BATCH = 4, 10


def mlp(width: int, rule: str = "adam") -> Recipe:
    """The MNIST network of this width, without dropout."""
    return replace(
        MNIST_THEANO, hidden=(width,) * 3, input_dropout=0.0, hidden_dropout=0.0, rule=rule
    )


def mlp_size(recipe: Recipe) -> str:
    """The size as a row shows it."""
    return f"784-3x{recipe.hidden[0]}-10, batch {recipe.batch_size}"


def rows(settings: Settings) -> list[Row]:
    """Measure the dense networks, with Adam against PyTorch and with ShiftAdaMax against Adam."""
    found = []
    for width in QUICK if settings.quick else WIDTHS:
        for count in settings.counts(several=True):
            with use_threads(count):
                found += adam_rows(mlp(width), count, settings)
                found += shift_rows(width, count, settings)
    return found


def cifar10_rows(settings: Settings) -> list[Row]:
    """Measure the convolutional network of section 4.2."""
    recipe, size = CIFAR10_THEANO, f"batch {CIFAR10_THEANO.batch_size}"
    if settings.quick:
        recipe = replace(recipe.narrowed(QUICK_DIVIDE), batch_size=QUICK_BATCH)
        size = f"batch {QUICK_BATCH}, a {QUICK_DIVIDE}th of the channels"
    found = []
    for count in settings.counts(several=True):
        with use_threads(count):
            found += compare(
                "training step, cifar10-theano",
                size,
                count,
                our_step(recipe, (32, 32, 3)),
                {
                    TORCH: lambda: torch_step(recipe, (32, 32, 3)),
                    COUNTED: partial(step_limit, recipe, (32, 32, 3), count),
                },
                settings,
                {COUNTED: OF_LIMIT},
            )
    return found


def adam_rows(recipe: Recipe, threads: int, settings: Settings) -> list[Row]:
    """Compare one step with PyTorch, eager and compiled."""
    shape = (28, 28, 1)
    peers: dict[str, Callable[[], Call]] = {
        TORCH: lambda: torch_step(recipe, shape),
        COUNTED: partial(step_limit, recipe, shape, threads),
    }
    if not settings.quick:  # compiling takes longer than all that a first look is for
        peers[TORCH_COMPILED] = lambda: torch_step(recipe, shape, compiled=True)
    return compare(
        "training step, Adam",
        mlp_size(recipe),
        threads,
        our_step(recipe, shape),
        peers,
        settings,
        notes={TORCH: "eager, fused Adam", TORCH_COMPILED: "fused Adam", COUNTED: OF_LIMIT},
    )


def shift_rows(width: int, threads: int, settings: Settings) -> list[Row]:
    """Compare one step with ShiftAdaMax with one with Adam."""
    shape, recipe = (28, 28, 1), mlp(width, "shift-adamax")
    return compare(
        "training step, ShiftAdaMax",
        mlp_size(recipe),
        threads,
        our_step(recipe, shape),
        {ADAM: lambda: our_step(mlp(width), shape)},
        settings,
    )


def batch_of(recipe: Recipe, shape: tuple[int, ...]) -> tuple[Array, Array]:
    """Random pixels and labels."""
    rng = np.random.default_rng(1)
    pixels = rng.integers(0, 256, (recipe.batch_size, *shape), np.uint8)
    return pixels, rng.integers(0, 10, recipe.batch_size)


def network_of(recipe: Recipe, shape: tuple[int, ...]) -> Sequential:
    """The recipe's network, its products made of bits."""
    network = recipe.network(shape, 10, np.random.default_rng(0))
    network.use_products(BitProducts())
    return network


def our_step(recipe: Recipe, shape: tuple[int, ...]) -> Call:
    """Prepare our training step: a call that returns the loss before it."""
    network, optimizer = network_of(recipe, shape), recipe.optimizer()
    pixels, labels = batch_of(recipe, shape)

    def step() -> float:
        return train_step(network, optimizer, squared_hinge, pixels, labels)[0]

    return step


def step_limit(recipe: Recipe, shape: tuple[int, ...], threads: int) -> Call:
    """Prepare what the step needs at least: its products and its update, counted."""
    needs = needs_of_step(network_of(recipe, shape), recipe.optimizer(), recipe.batch_size)
    return limit_call(needs, threads)


def torch_step(recipe: Recipe, shape: tuple[int, ...], compiled: bool = False) -> Call:
    """Prepare PyTorch's training step, from the same weights on the same batch."""
    network = recipe.network(shape, 10, np.random.default_rng(0))
    return TorchTraining(network, *batch_of(recipe, shape), recipe.initial_rate, compiled).step
