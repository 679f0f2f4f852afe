"""`qnn-ref evaluate`: errors of a trained run."""

from __future__ import annotations

import argparse

from qnn_ref import datasets
from qnn_ref.cli.common import answer
from qnn_ref.experiments.runs import check_data, load_run, split
from qnn_ref.experiments.text_runs import (
    check_text,
    foreseen,
    is_text_run,
    load_text_run,
    prepared,
)
from qnn_ref.training import error_rate


def run(args: argparse.Namespace) -> int:
    """Evaluate the best epoch on validation and test images."""
    if is_text_run(args.run_folder):
        return evaluate_text(args)
    recipe, state = load_run(args.run_folder)
    dataset = datasets.load(recipe.dataset, args.data)
    check_data(args.run_folder, dataset)
    network = state.best_network()
    _, validation = split(recipe, dataset)
    result = {
        "recipe": recipe.name,
        "epochs": len(state.history),
        "best_epoch": state.best_epoch,
        "validation_error": error_rate(network, validation.images, validation.labels),
        "test_error": error_rate(network, dataset.test_images, dataset.test_labels),
        "test_images": len(dataset.test_labels),
    }
    text = "\n".join(f"{key:<18}{value}" for key, value in result.items())
    answer(args, result, text)
    return 0


def evaluate_text(args: argparse.Namespace) -> int:
    """Measure the best epoch of a language model on the test part, beside a trigram model."""
    recipe, _, state = load_text_run(args.run_folder)
    text = datasets.load_text(recipe.dataset, args.data)
    check_text(args.run_folder, text)
    result = {
        "recipe": recipe.name,
        "epochs": len(state.history),
        "best_epoch": state.best_epoch,
        "validation_bits": min((e["validation_bits"] for e in state.history), default=None),
        **foreseen(state.best_network(), prepared(recipe, text)).to_json(),
    }
    answer(args, result, "\n".join(f"{key:<18}{value}" for key, value in result.items()))
    return 0
