"""`qnn-ref evaluate`: errors of a trained run."""

from __future__ import annotations

import argparse
from typing import Any

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
    lines = [
        chosen(result),
        f"validation error  {result['validation_error']:.2f} %",
        f"test error        {result['test_error']:.2f} % of {result['test_images']:,} images",
    ]
    answer(args, result, "\n".join(lines))
    return 0


def chosen(result: dict[str, Any]) -> str:
    """Which epoch is measured, counted from one as in all texts for people."""
    if result["best_epoch"] is None:
        return f"{result['recipe']}: no epoch is finished yet"
    return f"{result['recipe']}: epoch {result['best_epoch'] + 1} of {result['epochs']}"


def evaluate_text(args: argparse.Namespace) -> int:
    """Measure the best epoch of a language model on the test part, beside a trigram model."""
    recipe, _, state = load_text_run(args.run_folder)
    text = datasets.load_text(recipe.dataset, args.data)
    check_text(args.run_folder, text)
    tokens = prepared(recipe, text)
    validation = [entry["validation_bits"] for entry in state.history]
    found, unit = foreseen(state.best_network(), tokens), recipe.level.removesuffix("s")
    result = {
        "recipe": recipe.name,
        "epochs": len(state.history),
        "best_epoch": state.best_epoch,
        "validation_bits": min(validation, default=None),
        **found.to_json(),
    }
    lines = [
        chosen(result),
        *(f"validation     {bits:.3f} bits a {unit}" for bits in sorted(validation)[:1]),
        f"test           {found.test_bits:.3f} bits (perplexity {found.test_perplexity:.2f})",
        f"trigram model  {found.trigram_bits:.3f} bits (perplexity {found.trigram_perplexity:.2f})",
        tokens.strangers_said(),
    ]
    answer(args, result, "\n".join(lines))
    return 0
