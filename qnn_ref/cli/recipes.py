"""`qnn-ref recipes`: the experiments and what they cost."""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np

from qnn_ref.cli.common import answer
from qnn_ref.experiments import (
    IMAGE_SHAPES,
    NETWORKS,
    RECIPES,
    SWEEPS,
    TEXT_RECIPES,
    Recipe,
    TextRecipe,
)
from qnn_ref.experiments.effort import TOKENS, training_operations, training_steps
from qnn_ref.experiments.runs import start_run
from qnn_ref.experiments.text_runs import start_text_run
from qnn_ref.language import in_every_step
from qnn_ref.losses import softmax_cross_entropy, squared_hinge
from qnn_ref.training import train_step

STEPS = 3


def run(args: argparse.Namespace) -> int:
    """Print a line for each recipe."""
    rows = [describe(recipe, args.measure) for recipe in RECIPES.values()]
    rows += [describe_text(recipe, args.measure) for recipe in TEXT_RECIPES.values()]
    lines = [f"{'recipe':<23}{'weights':>12}{'epochs':>8}{'operations':>12}{'hours':>8}  about"]
    for row in rows:
        hours = "-" if row["hours"] is None else f"{row['hours']:.3g}"
        lines.append(
            f"{row['name']:<23}{row['weights']:>12,}{row['epochs']:>8}"
            f"{row['operations']:>12.1e}{hours:>8}  {row['about']}"
        )
    for sweep in SWEEPS.values():
        lines.append(
            f"{sweep.name:<23}{len(sweep.cases) * len(sweep.seeds):>4} runs  {sweep.about}"
        )
    networks = [{"name": n.name, "about": n.about, "weights": n.size} for n in NETWORKS.values()]
    for row in networks:
        lines.append(f"{row['name']:<23}{row['weights']:>12,}  network only: {row['about']}")
    lines.append("operations: multiplications and additions of all training steps' products.")
    answer(args, {"recipes": rows, "networks": networks}, "\n".join(lines))
    return 0


def describe(recipe: Recipe, measure: bool) -> dict[str, Any]:
    """Size and cost of a recipe; hours only if measured."""
    shape, steps = IMAGE_SHAPES[recipe.dataset], training_steps(recipe)
    seconds = step_seconds(recipe, shape) if measure else None
    return {
        "name": recipe.name,
        "about": recipe.about,
        "dataset": recipe.dataset,
        "weights": recipe.weights(shape, 10),
        "epochs": recipe.epochs,
        "steps": steps,
        "operations": training_operations(recipe),
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


def describe_text(recipe: TextRecipe, measure: bool) -> dict[str, Any]:
    """Size and cost of a language model; hours only if measured."""
    (_, symbols), steps = TOKENS[recipe.dataset, recipe.level], training_steps(recipe)
    seconds = text_step_seconds(recipe, symbols) if measure else None
    return {
        "name": recipe.name,
        "about": recipe.about,
        "dataset": recipe.dataset,
        "weights": recipe.weights(symbols),
        "epochs": recipe.epochs,
        "steps": steps,
        "operations": training_operations(recipe),
        "hours": None if seconds is None else seconds * steps / 3600,
    }


def text_step_seconds(recipe: TextRecipe, symbols: int) -> float:
    """Median time of a training step on a random text."""
    rng = np.random.default_rng(0)
    state, loss = start_text_run(recipe, symbols), in_every_step(softmax_cross_entropy)
    x, y = rng.integers(0, symbols, (2, recipe.lanes, recipe.steps))
    times = []
    for _ in range(1 + STEPS):
        start = time.perf_counter()
        train_step(state.network, state.optimizer, loss, x, y, longest=recipe.longest)
        times.append(time.perf_counter() - start)
    return float(np.median(times[1:]))
