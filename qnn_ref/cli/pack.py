"""`qnn-ref pack`: a trained run as bits, in one file."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from qnn_ref import datasets
from qnn_ref.cli.common import RUN_FILES, answer, check_output
from qnn_ref.cli.parser import WrongUse
from qnn_ref.experiments.runs import existing_folder, load_run
from qnn_ref.packed import PackedNetwork, identical_scores, pack


def run(args: argparse.Namespace) -> int:
    """Pack and save; with --verify the answer is no if a score differs."""
    target, folder = check_output(args.output), existing_folder(args.run_folder)
    if target in [Path(os.path.realpath(folder / file)) for file in RUN_FILES]:
        raise ValueError(f"--output: {args.output} is a file of the run itself")
    if args.data and not args.verify:
        raise WrongUse("--data: expected --verify beside it, which reads the data set")
    recipe, state = load_run(args.run_folder)
    images = datasets.load(recipe.dataset, args.data).test_images if args.verify else None
    network = state.best_network()
    pack(network).save(args.output)
    packed_bytes = target.stat().st_size
    float_bytes = sum(4 * p.size for p in network.parameters().values())
    result = {"file": args.output, "packed_bytes": packed_bytes, "float_bytes": float_bytes}
    text = (
        f"{args.output}: {packed_bytes:,} bytes, the float32 parameters take {float_bytes:,} "
        f"({float_bytes / packed_bytes:.1f} times as much)"
    )
    identical = total = 0
    if images is not None:
        packed, total = PackedNetwork.load(args.output), len(images)
        identical = identical_scores(network, packed, images)
        result |= {"scores_identical": identical, "scores_total": total}
        text += f"\n{identical:,} of {total:,} test images have scores equal bit for bit"
    answer(args, result, text)
    return 0 if identical == total else 1
