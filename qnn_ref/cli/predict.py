"""`qnn-ref predict`: classes and scores of images, by a packed network."""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

from qnn_ref import datasets
from qnn_ref.cli.common import add_command, answer
from qnn_ref.packed import PackedNetwork


def add(subparsers: Any) -> None:
    """Add the command."""
    parser = add_command(
        subparsers,
        "predict",
        "classify the images of an idx, npy or png file with a packed network",
        "  qnn-ref predict small.qnn data/mnist/t10k-images-idx3-ubyte.gz\n"
        "  qnn-ref predict small.qnn digit.png --json",
        run,
    )
    parser.add_argument("file", metavar="FILE", help="file that `qnn-ref pack` wrote")
    parser.add_argument("images", metavar="IMAGES", help="idx (also gzipped), npy or png file")


def run(args: argparse.Namespace) -> int:
    """Print a line for each image: its number, class and scores."""
    network = PackedNetwork.load(args.file)
    scores = network.scores(datasets.read_images(args.images))
    classes = scores.argmax(axis=1)
    result = {"classes": classes.tolist(), "scores": scores.tolist()}
    lines = [
        f"{index}\t{label}\t" + " ".join(f"{s:.3f}" for s in row)
        for index, (label, row) in enumerate(zip(classes, scores, strict=True))
    ]
    answer(args, result, "\n".join(["image\tclass\tscores", *lines]))
    return 0 if np.all(np.isfinite(scores)) else 1
