"""`qnn-ref train`: carry out a recipe, with checkpoints and resume."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from qnn_ref import datasets
from qnn_ref.cli.common import RUN_FILES, answer, check_folder, save_picture, table
from qnn_ref.experiments import SWEEPS, Sweep, find_recipe
from qnn_ref.experiments.runs import train_recipe
from qnn_ref.experiments.sweep import mean_and_spread, run_sweep
from qnn_ref.training import error_rate

STOPPED = "stopped; with --resume it goes on after the last finished epoch"


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
    dataset = prepare(args, recipe.dataset, RUN_FILES)
    state = train_recipe(recipe, dataset, args.out, args.resume, progress=True)
    assert state.best_epoch is not None
    test_error = error_rate(state.best_network(), dataset.test_images, dataset.test_labels)
    best = state.history[state.best_epoch]
    from qnn_ref import plots  # slow: wrong use is answered without it

    save_picture(
        Path(args.out) / "history.png", plots.training_figure({recipe.name: state.history})
    )
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
    dataset = prepare(args, sweep.dataset, (f"{sweep.name}.csv", f"{sweep.name}.png"))
    rows = run_sweep(sweep, dataset, args.out, args.resume, progress=True)
    means = mean_and_spread(rows, sweep.labels)
    from qnn_ref import plots

    save_picture(Path(args.out) / f"{sweep.name}.png", plots.cases_figure(means, sweep.labels))
    lines = table([tuple(means[0]), *(tuple(row.values()) for row in means)])
    answer(args, {"sweep": sweep.name, "rows": rows, "table": means}, "\n".join(lines))
    return 0


def prepare(args: argparse.Namespace, dataset: str, files: Sequence[str]) -> datasets.Dataset:
    """Load the data, and find out now what would stop the run after hours."""
    check_folder(args.out, *files)
    importlib.import_module("qnn_ref.plots")
    return datasets.load(dataset, args.data)
