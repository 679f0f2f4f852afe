"""`qnn-ref evaluate`: errors of a trained run."""

from __future__ import annotations

import argparse

from qnn_ref import datasets
from qnn_ref.cli.common import answer
from qnn_ref.experiments.runs import check_data, load_run, split
from qnn_ref.training import error_rate


def run(args: argparse.Namespace) -> int:
    """Evaluate the best epoch on validation and test images."""
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
