"""`qnn-ref train`: carry out a recipe, with checkpoints and resume."""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import Any

from qnn_ref import datasets
from qnn_ref.cli.common import add_command, add_data_option, answer
from qnn_ref.experiments import find_recipe
from qnn_ref.experiments.runs import train_recipe
from qnn_ref.training import error_rate


def add(subparsers: Any) -> None:
    """Add the command."""
    parser = add_command(
        subparsers,
        "train",
        "train a recipe in a folder; a stopped run goes on with --resume",
        "  qnn-ref train mnist-small --out runs/small\n"
        "  qnn-ref train mnist-small --out runs/small --resume\n"
        "  qnn-ref train digits --out runs/digits --epochs 5 --seed 1",
        run,
    )
    parser.add_argument("recipe", help="a name that `qnn-ref recipes` lists")
    parser.add_argument("--out", metavar="DIR", required=True, help="folder of the run")
    parser.add_argument("--epochs", type=int, help="instead of the recipe's; decay fits itself")
    parser.add_argument("--seed", type=int, help="instead of the recipe's")
    parser.add_argument("--resume", action="store_true", help="go on with a stopped run")
    add_data_option(parser)


def run(args: argparse.Namespace) -> int:
    """Train and report the test error of the epoch that validation chose."""
    recipe = find_recipe(args.recipe)
    if args.epochs is not None:
        if args.epochs < 1:
            raise ValueError(f"--epochs: expected at least 1, got {args.epochs}")
        recipe = replace(recipe, epochs=args.epochs)
    if args.seed is not None:
        recipe = replace(recipe, seed=args.seed)
    dataset = datasets.load(recipe.dataset, args.data)
    state = train_recipe(recipe, dataset, args.out, args.resume, progress=True)
    assert state.best_epoch is not None
    test_error = error_rate(state.best_network(), dataset.test_images, dataset.test_labels)
    best = state.history[state.best_epoch]
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
