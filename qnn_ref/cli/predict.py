"""`qnn-ref predict`: classes and scores of images, by a packed network."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence

import numpy as np

from qnn_ref import datasets
from qnn_ref._typing import Array
from qnn_ref.checks import NotFiniteError
from qnn_ref.files import FileError
from qnn_ref.packed import PackedNetwork

READ = 2**22
"""Bytes of images that are in memory at a time."""
WRITE = 1000
"""Images that one piece of the answer is about."""


def run(args: argparse.Namespace) -> int:
    """Print a line for each image, once all are classified: its number or file, class, scores."""
    path = str(datasets.find_model(args.file))
    network = first_of(path, args.images)
    found = [scores_of(network, path, file) for file in args.images]
    scores = np.concatenate(found)
    counts = [len(part) for part in found]
    pieces = as_json if args.json else as_lines
    for piece in pieces(args.images, counts, scores.argmax(axis=1), scores):
        sys.stdout.write(piece)
    return 0


def first_of(file: str, images: Sequence[str]) -> PackedNetwork:
    """The network, or an error that sees when it was named behind the images."""
    try:
        return PackedNetwork.load(file)
    except FileError as error:
        if packed := [other for other in images if is_packed(other)]:
            raise FileError(f"{error}; {packed[0]} is one: it comes first") from error
        raise


def is_packed(file: str) -> bool:
    """Whether a file holds a packed network."""
    try:
        PackedNetwork.load(file)
    except FileError:
        return False
    return True


def scores_of(network: PackedNetwork, name: str, file: str) -> Array:
    """Scores (N, classes) of all images of a file, of which only some are in memory at a time."""
    try:
        scores = [network.scores(images) for images in datasets.image_batches(file, READ)]
    except FileError:
        raise
    except NotFiniteError as error:
        raise FileError(f"{name}: damaged packed network: {error}") from error
    except (TypeError, ValueError) as error:
        raise datasets.DataError(file, str(error)) from error
    return np.concatenate(scores)


def as_lines(
    files: Sequence[str], counts: Sequence[int], classes: Array, scores: Array
) -> Iterator[str]:
    """A table. Images of one file are numbered; of several, files are named."""
    yield "image\tclass\tscores\n"
    for image, label, row in zip(names_of(files, counts), classes, scores, strict=True):
        yield f"{image}\t{label}\t" + " ".join(f"{score:.3f}" for score in row) + "\n"


def names_of(files: Sequence[str], counts: Sequence[int]) -> Iterator[str]:
    """What each image is called in the table."""
    for file, count in zip(files, counts, strict=True):
        for index in range(count):
            number = f"[{index}]" if count > 1 else ""
            yield str(index) if len(files) == 1 else f"{file}{number}"


def as_json(
    files: Sequence[str], counts: Sequence[int], classes: Array, scores: Array
) -> Iterator[str]:
    """One object, in pieces: as Python numbers a million images would take a gigabyte."""
    for start, array in (('{"classes": [', classes), (', "scores": [', scores)):
        yield start
        for first in range(0, len(array), WRITE):
            block = json.dumps(array[first : first + WRITE].tolist(), allow_nan=False)
            yield (", " if first else "") + block[1:-1]
        yield "]"
    if len(files) > 1:
        rows = [{"file": file, "images": n} for file, n in zip(files, counts, strict=True)]
        yield f', "files": {json.dumps(rows, allow_nan=False)}'
    yield "}\n"
