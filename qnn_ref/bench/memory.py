"""Peak memory of a training step beside the arrays that no optimizer like Adam can do without.

A convolutional network's activations are larger than its weights: there the limit is a number, for
the step and for an evaluation.
"""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

from qnn_ref._typing import Shape
from qnn_ref.bench.rows import ARRAYS, LIMIT, Row, Settings
from qnn_ref.bench.training import (
    QUICK,
    QUICK_BATCH,
    QUICK_DIVIDE,
    WIDTHS,
    batch_of,
    mlp,
    mlp_size,
    network_of,
)
from qnn_ref.experiments.cifar10 import CIFAR10_THEANO
from qnn_ref.experiments.recipe import Recipe
from qnn_ref.losses import squared_hinge
from qnn_ref.training import train_step

KINDS = 4
"""Latent value, two moments, gradient."""

IMAGES = 1000
"""Those of an evaluation; the peak is that of one batch however many there are."""

MNIST, CIFAR10 = (28, 28, 1), (32, 32, 3)

BYTES = 1.2e9
"""The limit of the convolutional network."""


def rows(settings: Settings) -> list[Row]:
    """Measure the peak of what NumPy asks for, in the second step."""
    found = []
    for width in QUICK if settings.quick else WIDTHS:
        recipe = mlp(width)
        settings.say(f"memory, {mlp_size(recipe)}")
        peak, least = peak_of_step(recipe)
        ratio = peak / least
        found.append(
            Row(
                "memory of a training step",
                mlp_size(recipe),
                1,
                float(peak),
                None,
                ARRAYS,
                float(least),
                None,
                ratio,
                unit="bytes",
                note="peak of traced memory; the ratio must not exceed the goal",
            )
        )
    return found + convolutional_rows(settings)


def convolutional_rows(settings: Settings) -> list[Row]:
    """Measure the network of section 4.2: a step, and an evaluation of the trained network."""
    recipe, images, size = CIFAR10_THEANO, IMAGES, CIFAR10_THEANO.name
    if settings.quick:
        recipe = replace(recipe.narrowed(QUICK_DIVIDE), batch_size=QUICK_BATCH)
        images = 2 * QUICK_BATCH
        size += f", a {QUICK_DIVIDE}th of the channels"
    found = []
    for name, count, peak in (
        ("training step", f"batch {recipe.batch_size}", lambda: peak_of_step(recipe, CIFAR10)[0]),
        ("evaluation", f"{images} images", lambda: peak_of_evaluation(recipe, images)),
    ):
        settings.say(f"memory, {size}, {name}")
        article = "an" if name == "evaluation" else "a"
        found.append(limit_row(f"memory of {article} {name}", f"{size}, {count}", peak()))
    return found


def limit_row(name: str, size: str, peak: int) -> Row:
    """Compare a peak with the limit."""
    return Row(
        name,
        size,
        1,
        float(peak),
        None,
        LIMIT,
        BYTES,
        None,
        peak / BYTES,
        unit="bytes",
        note="peak of traced memory; the ratio must not exceed the goal",
    )


def peak_of_evaluation(recipe: Recipe, images: int) -> int:
    """Peak bytes while a network computes the scores of images, the network itself included."""
    tracemalloc.start()
    try:
        network = network_of(recipe, CIFAR10)
        pixels, _ = batch_of(replace(recipe, batch_size=images), CIFAR10)
        network.scores(pixels[:1])  # loads the kernels
        tracemalloc.reset_peak()
        network.scores(pixels)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def peak_of_step(recipe: Recipe, shape: Shape = MNIST) -> tuple[int, int]:
    """Peak bytes of a step, network and optimizer included, and the bytes of the four arrays."""
    tracemalloc.start()
    try:
        network, optimizer = network_of(recipe, shape), recipe.optimizer()
        pixels, labels = batch_of(recipe, shape)
        for _ in range(2):  # the first step makes the moments and loads the kernels
            tracemalloc.reset_peak()
            train_step(network, optimizer, squared_hinge, pixels, labels)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    return peak, KINDS * sum(p.latent.nbytes for p in network.parameters().values())
