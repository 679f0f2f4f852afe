"""`qnn-ref train`: carry out a recipe, with checkpoints and resume."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from qnn_ref import datasets, plots
from qnn_ref.cli.common import answer, table
from qnn_ref.experiments import SWEEPS, Sweep, find_recipe
from qnn_ref.experiments.runs import train_recipe
from qnn_ref.experiments.sweep import mean_and_spread, run_sweep
from qnn_ref.files import atomic_write
from qnn_ref.training import error_rate


def run(args: argparse.Namespace) -> int:
    """Train a recipe, or all runs of a sweep."""
    if args.recipe in SWEEPS:
        return sweep(args, SWEEPS[args.recipe])
    recipe = find_recipe(args.recipe)
    if args.epochs is not None:
        recipe = replace(recipe, epochs=args.epochs)
    if args.seed is not None:
        recipe = replace(recipe, seed=args.seed)
    if args.limit is not None:
        if args.limit < recipe.batch_size:
            least = recipe.batch_size
            raise ValueError(f"--limit: expected at least a batch of {least}, got {args.limit}")
        recipe = replace(recipe, limit=args.limit)
    if args.plain_products:
        recipe = replace(recipe, bit_products=False)
    dataset = datasets.load(recipe.dataset, args.data)
    state = train_recipe(recipe, dataset, args.out, args.resume, progress=True)
    assert state.best_epoch is not None
    test_error = error_rate(state.best_network(), dataset.test_images, dataset.test_labels)
    best = state.history[state.best_epoch]
    picture = Path(args.out) / "history.png"
    with atomic_write(picture) as file:
        figure = plots.training_figure({recipe.name: state.history})
        figure.savefig(file, format="png", dpi=plots.DPI)
    result = {
        "recipe": recipe.name,
        "out": args.out,
        "epochs": len(state.history),
        "best_epoch": state.best_epoch,
        "validation_error": best["validation_error"],
        "test_error": test_error,
    }
    text = (
        f"{recipe.name}: test error {test_error:.2f} %, chosen by validation error "
        f"{best['validation_error']:.2f} % of epoch {state.best_epoch + 1} of "
        f"{len(state.history)}; saved in {args.out}"
    )
    answer(args, result, text)
    return 0


def sweep(args: argparse.Namespace, sweep: Sweep) -> int:
    """Run a sweep, draw it, and print the mean and spread of each case."""
    if (args.epochs, args.seed, args.limit, args.plain_products) != (None, None, None, False):
        options = "--epochs, --seed, --limit, --plain-products"
        raise ValueError(f"{options}: {sweep.name} has its own; give none")
    dataset = datasets.load(sweep.dataset, args.data)
    rows = run_sweep(sweep, dataset, args.out, args.resume, progress=True)
    means = mean_and_spread(rows, sweep.labels)
    picture = Path(args.out) / f"{sweep.name}.png"
    with atomic_write(picture) as file:
        plots.cases_figure(means, sweep.labels).savefig(file, format="png", dpi=plots.DPI)
    lines = table([tuple(means[0]), *(tuple(row.values()) for row in means)])
    answer(args, {"sweep": sweep.name, "rows": rows, "table": means}, "\n".join(lines))
    return 0
