"""`qnn-ref pack`: a trained run as bits, in one file."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from qnn_ref import datasets
from qnn_ref.cli.common import RUN_FILES, answer, check_output
from qnn_ref.cli.parser import WrongUse
from qnn_ref.experiments.runs import existing_folder, load_run
from qnn_ref.experiments.text_runs import check_text, is_text_run, load_text_run, prepared
from qnn_ref.network import Sequential
from qnn_ref.packed import (
    PackedNetwork,
    PackedSequence,
    identical_scores,
    identical_steps,
    pack,
    pack_sequence,
)

STEPS = 1000
"""Steps of a text that are compared at a time."""


def run(args: argparse.Namespace) -> int:
    """Pack and save; with --verify the answer is no if a score differs."""
    target, folder = check_output(args.output), existing_folder(args.run_folder)
    if target in [Path(os.path.realpath(folder / file)) for file in RUN_FILES]:
        raise ValueError(f"--output: {args.output} is a file of the run itself")
    if args.data and not args.verify:
        raise WrongUse("--data: expected --verify beside it, which reads the data set")
    if is_text_run(args.run_folder):
        return pack_text(args, target)
    recipe, state = load_run(args.run_folder)
    images = datasets.load(recipe.dataset, args.data).test_images if args.verify else None
    network = state.best_network()
    pack(network).save(args.output)
    result, text = sizes(args.output, target, network)
    identical = total = 0
    if images is not None:
        packed, total = PackedNetwork.load(args.output), len(images)
        identical = identical_scores(network, packed, images)
        result |= {"scores_identical": identical, "scores_total": total}
        text += f"\n{identical:,} of {total:,} test images have scores equal bit for bit"
    answer(args, result, text)
    return 0 if identical == total else 1


def sizes(name: str, target: Path, network: Sequential) -> tuple[dict[str, Any], str]:
    """Bytes of the file and of the float parameters, for both kinds of answer."""
    packed_bytes = target.stat().st_size
    float_bytes = sum(4 * p.size for p in network.parameters().values())
    result = {"file": name, "packed_bytes": packed_bytes, "float_bytes": float_bytes}
    text = (
        f"{name}: {packed_bytes:,} bytes, the float32 parameters take {float_bytes:,} "
        f"({float_bytes / packed_bytes:.1f} times as much)"
    )
    return result, text


def pack_text(args: argparse.Namespace, target: Path) -> int:
    """Pack a language model with its vocabulary; --verify compares it along the test part."""
    recipe, vocabulary, state = load_text_run(args.run_folder)
    tokens = None
    if args.verify:
        data = datasets.load_text(recipe.dataset, args.data)
        check_text(args.run_folder, data)
        tokens = prepared(recipe, data).test
    network = state.best_network()
    pack_sequence(network, vocabulary.symbols, vocabulary.level).save(args.output)
    result, text = sizes(args.output, target, network)
    identical = total = 0
    if tokens is not None:
        total, packed = len(tokens), PackedSequence.load(args.output)
        for start in range(0, total, STEPS):  # scores of 10,000 words for all steps: gigabytes
            identical += identical_steps(network, packed, tokens[None, start : start + STEPS])
        result |= {"scores_identical": identical, "scores_total": total}
        text += f"\n{identical:,} of {total:,} {vocabulary.level} have scores equal bit for bit"
    answer(args, result, text)
    return 0 if identical == total else 1
