"""`qnn-ref train`: carry out a recipe, with checkpoints and resume."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from qnn_ref import datasets
from qnn_ref.cli.common import RUN_FILES, answer, check_folder, save_picture, table
from qnn_ref.experiments import SWEEPS, TEXT_RECIPES, Sweep, TextRecipe, find_recipe
from qnn_ref.experiments.runs import train_recipe
from qnn_ref.experiments.sweep import Carrier, mean_and_spread, one_after_the_other, run_sweep
from qnn_ref.experiments.text_runs import foreseen, prepared, train_text_recipe
from qnn_ref.training import error_rate

STOPPED = "stopped; with --resume it goes on after the last finished epoch, or run of a sweep"


def run(args: argparse.Namespace) -> int:
    """Train a recipe, or all runs of a sweep."""
    if args.recipe in SWEEPS:
        return sweep(args, SWEEPS[args.recipe])
    if args.workers or args.scheduler:
        raise ValueError(
            f"--workers, --scheduler: they share out the runs of a sweep, {args.recipe} is no sweep"
        )
    if args.recipe in TEXT_RECIPES:
        return language_model(
            args, changed(args, TEXT_RECIPES[args.recipe], TEXT_RECIPES[args.recipe].lanes)
        )
    recipe = find_recipe(args.recipe)
    recipe = changed(args, recipe, recipe.batch_size)
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


def changed(args: argparse.Namespace, recipe: Any, least: int) -> Any:
    """The recipe with the options that were given instead of its settings."""
    if args.epochs is not None:
        recipe = replace(recipe, epochs=args.epochs)
    if args.seed is not None:
        recipe = replace(recipe, seed=args.seed)
    if args.limit is not None:
        if args.limit < least:
            raise ValueError(f"--limit: expected at least a batch of {least}, got {args.limit}")
        recipe = replace(recipe, limit=args.limit)
    if args.plain_products:
        recipe = replace(recipe, bit_products=False)
    return recipe


def language_model(args: argparse.Namespace, recipe: TextRecipe) -> int:
    """Train a language model, and measure it beside a trigram model."""
    dataset = prepare(args, recipe.dataset, RUN_FILES)
    state = train_text_recipe(recipe, dataset, args.out, args.resume, progress=True)
    assert state.best_epoch is not None
    tokens = prepared(recipe, dataset)
    found = foreseen(state.best_network(), tokens)
    from qnn_ref import plots

    save_picture(
        Path(args.out) / "history.png",
        plots.text_figure({recipe.name: state.history}, found.trigram_bits),
    )
    best = state.history[state.best_epoch]
    result = {
        "recipe": recipe.name,
        "out": args.out,
        "epochs": len(state.history),
        "best_epoch": state.best_epoch,
        "validation_bits": best["validation_bits"],
        **found.to_json(),
    }
    unit = recipe.level.removesuffix("s")
    lines = (
        f"{recipe.name}: {found.test_bits:.3f} bits a {unit} of the test part (perplexity "
        f"{found.test_perplexity:.2f}), chosen by {best['validation_bits']:.3f} of the validation "
        f"part in epoch {state.best_epoch + 1} of {len(state.history)}; saved in {args.out}",
        f"a trigram model of the same training part: {found.trigram_bits:.3f} bits (perplexity "
        f"{found.trigram_perplexity:.2f})",
        tokens.strangers_said(),
    )
    answer(args, result, "\n".join(lines))
    return 0


def sweep(args: argparse.Namespace, sweep: Sweep) -> int:
    """Run a sweep, draw it, and print the mean and spread of each case."""
    if (args.epochs, args.seed, args.limit, args.plain_products) != (None, None, None, False):
        options = "--epochs, --seed, --limit, --plain-products"
        raise ValueError(f"{options}: {sweep.name} has its own; give none")
    carriers = carrier_of(args)
    dataset = prepare(args, sweep.dataset, (f"{sweep.name}.csv", f"{sweep.name}.png"))
    with carriers as carrier:
        rows = run_sweep(sweep, dataset, args.out, args.resume, progress=True, carrier=carrier)
    measure = sweep.measure
    means = mean_and_spread(rows, sweep.labels, measure.columns[1], measure.digits)
    from qnn_ref import plots

    save_picture(
        Path(args.out) / f"{sweep.name}.png",
        plots.cases_figure(means, sweep.labels, words=measure.words),
    )
    lines = table([tuple(means[0]), *(tuple(row.values()) for row in means)])
    answer(args, {"sweep": sweep.name, "rows": rows, "table": means}, "\n".join(lines))
    return 0


def carrier_of(args: argparse.Namespace) -> AbstractContextManager[Carrier]:
    """Who carries out the runs of a sweep: this process, others here, or those of a scheduler."""
    if args.workers and args.scheduler:
        raise ValueError("--workers, --scheduler: give one of them")
    if not args.workers and not args.scheduler:
        return nullcontext(one_after_the_other)
    from qnn_ref.experiments.cluster import local_workers, scheduler_at

    if args.scheduler:
        return scheduler_at(args.scheduler, args.data)
    return local_workers(args.workers, args.data)


def prepare(args: argparse.Namespace, dataset: str, files: Sequence[str]) -> Any:
    """Load the data, and find out now what would stop the run after hours."""
    check_folder(args.out, *files)
    importlib.import_module("qnn_ref.plots")
    return datasets.load(dataset, args.data)
