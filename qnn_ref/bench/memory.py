"""Peak memory of a training step beside the arrays that no optimizer like Adam can do without."""

from __future__ import annotations

import tracemalloc

from qnn_ref.bench.rows import ARRAYS, Row, Settings
from qnn_ref.bench.training import QUICK, WIDTHS, batch_of, mlp, mlp_size, network_of
from qnn_ref.experiments.recipe import Recipe
from qnn_ref.losses import squared_hinge
from qnn_ref.training import train_step

KINDS = 4
"""Latent value, two moments, gradient."""


def rows(settings: Settings) -> list[Row]:
    """Measure the dense networks: peak of what NumPy asks for, in the second step."""
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
    return found


def peak_of_step(recipe: Recipe) -> tuple[int, int]:
    """Peak bytes of a step, network and optimizer included, and the bytes of the four arrays."""
    shape = (28, 28, 1)
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
