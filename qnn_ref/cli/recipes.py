"""`qnn-ref recipes`: the experiments and what they cost."""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np

from qnn_ref.cli.common import answer
from qnn_ref.experiments import IMAGE_SHAPES, NETWORKS, RECIPES, SWEEPS, Recipe
from qnn_ref.experiments.runs import start_run
from qnn_ref.losses import squared_hinge
from qnn_ref.training import train_step

IMAGES = {
    "mnist": 60_000,
    "fashion-mnist": 60_000,
    "digits": 1_347,
    "cifar10": 50_000,
    "svhn": 604_388,
}
"""Training images of each data set."""
STEPS = 3


def run(args: argparse.Namespace) -> int:
    """Print a line for each recipe."""
    rows = [describe(recipe, args.measure) for recipe in RECIPES.values()]
    lines = [f"{'recipe':<20}{'weights':>12}{'epochs':>8}{'operations':>12}{'hours':>8}  about"]
    for row in rows:
        hours = "-" if row["hours"] is None else f"{row['hours']:.3g}"
        lines.append(
            f"{row['name']:<20}{row['weights']:>12,}{row['epochs']:>8}"
            f"{row['operations']:>12.1e}{hours:>8}  {row['about']}"
        )
    for sweep in SWEEPS.values():
        lines.append(
            f"{sweep.name:<20}{len(sweep.cases) * len(sweep.seeds):>4} runs  {sweep.about}"
        )
    networks = [{"name": n.name, "about": n.about, "weights": n.size} for n in NETWORKS.values()]
    for row in networks:
        lines.append(f"{row['name']:<20}{row['weights']:>12,}  network only: {row['about']}")
    lines.append("operations: multiplications and additions of all training steps' products.")
    answer(args, {"recipes": rows, "networks": networks}, "\n".join(lines))
    return 0


def describe(recipe: Recipe, measure: bool) -> dict[str, Any]:
    """Size and cost of a recipe; hours only if measured."""
    images, shape = IMAGES[recipe.dataset], IMAGE_SHAPES[recipe.dataset]
    steps = (images - recipe.validation) // recipe.batch_size * recipe.epochs
    products = sum(count * uses for count, uses in recipe.products(shape, 10))
    seconds = step_seconds(recipe, shape) if measure else None
    return {
        "name": recipe.name,
        "about": recipe.about,
        "dataset": recipe.dataset,
        "weights": recipe.weights(shape, 10),
        "epochs": recipe.epochs,
        "steps": steps,
        # Forward, input gradient and weight gradient: three products of 2 operations each.
        "operations": 6 * products * recipe.batch_size * steps,
        "hours": None if seconds is None else seconds * steps / 3600,
    }


def step_seconds(recipe: Recipe, shape: tuple[int, ...]) -> float:
    """Median time of a training step on random images."""
    rng = np.random.default_rng(0)
    state = start_run(recipe, shape, 10)
    images = rng.integers(0, 256, (recipe.batch_size, *shape), dtype=np.uint8)
    labels = rng.integers(0, 10, recipe.batch_size)
    times = []
    for _ in range(1 + STEPS):
        start = time.perf_counter()
        train_step(state.network, state.optimizer, squared_hinge, images, labels)
        times.append(time.perf_counter() - start)
    return float(np.median(times[1:]))
