"""`qnn-ref predict`: classes and scores of images, by a packed network."""

from __future__ import annotations

import argparse

import numpy as np

from qnn_ref import datasets
from qnn_ref.cli.common import answer
from qnn_ref.packed import PackedNetwork


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
