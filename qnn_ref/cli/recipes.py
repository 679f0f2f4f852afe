"""`qnn-ref recipes`: the experiments and what they cost."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from qnn_ref import shown
from qnn_ref.cli.common import answer
from qnn_ref.experiments import (
    IMAGE_SHAPES,
    NETWORKS,
    RECIPES,
    SWEEPS,
    TEXT_RECIPES,
    Recipe,
    TextRecipe,
    step_times,
)
from qnn_ref.experiments.effort import TOKENS, training_operations, training_steps


def run(args: argparse.Namespace) -> int:
    """Print a line for each recipe."""
    recipes: list[Recipe | TextRecipe] = [*RECIPES.values(), *TEXT_RECIPES.values()]
    times = measured(recipes) if args.measure else step_times.stored_times()
    rows = [describe(recipe, times) for recipe in recipes]
    lines = [f"{'recipe':<23}{'weights':>12}{'epochs':>8}{'operations':>12}{'time':>9}  about"]
    for row in rows:
        lines.append(
            f"{row['name']:<23}{row['weights']:>12,}{row['epochs']:>8}"
            f"{row['operations']:>12.1e}{estimate(row['hours']):>9}  {row['about']}"
        )
    for sweep in SWEEPS.values():
        lines.append(
            f"{sweep.name:<23}{len(sweep.cases) * len(sweep.seeds):>4} runs  {sweep.about}"
        )
    networks = [{"name": n.name, "about": n.about, "weights": n.size} for n in NETWORKS.values()]
    for row in networks:
        lines.append(f"{row['name']:<23}{row['weights']:>12,}  network only: {row['about']}")
    lines.append("operations: multiplications and additions of all training steps' products.")
    lines.append(f"time: {ESTIMATE if times else NOT_YET}")
    result = {"recipes": rows, "networks": networks, "hours_on": step_times.machine()}
    answer(args, result, "\n".join(lines))
    return 0


ESTIMATE = "an estimate for this machine, from a few timed steps (`--measure` takes them anew)."
NOT_YET = "`qnn-ref recipes --measure` times some steps, for an estimate on this machine."


def estimate(hours: float | None) -> str:
    """An estimate in letters; a dash for none."""
    return "-" if hours is None else shown.duration(hours)


def measured(recipes: list[Recipe | TextRecipe]) -> dict[str, float]:
    """Time a step of each family, and keep it; stopped, the others keep their older times."""
    times: dict[str, float] = {}
    before = step_times.stored_times()
    for recipe in recipes:
        name = step_times.family(recipe)
        if name not in times:
            times[name] = step_times.step_seconds(recipe)
            sys.stderr.write(f"{recipe.name}: {times[name]:.3g} s a step\n")
            step_times.store_times(before | times)
    return times


def describe(recipe: Recipe | TextRecipe, times: dict[str, float]) -> dict[str, Any]:
    """Size and cost of a recipe; hours only if its steps were timed."""
    if isinstance(recipe, TextRecipe):
        weights = recipe.weights(TOKENS[recipe.dataset, recipe.level][1])
    else:
        weights = recipe.weights(IMAGE_SHAPES[recipe.dataset], 10)
    return {
        "name": recipe.name,
        "about": recipe.about,
        "dataset": recipe.dataset,
        "weights": weights,
        "epochs": recipe.epochs,
        "steps": training_steps(recipe),
        "operations": training_operations(recipe),
        "hours": step_times.hours(recipe, times),
    }
