"""SVHN, house numbers cut into single digits of 32x32 pixels: in MATLAB files.

X   (32, 32, 3, count), uint8: row, column, colour, image
y   (count, 1): 1 to 9 for these digits, and 10 for the digit 0
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from qnn_ref._typing import Array

from .checksums import verify_whole
from .examples import Check, Dataset, assemble
from .files import DataError
from .known import KNOWN, folders_of
from .matlab import read_matlab

TRAIN_FILE = "train_32x32.mat"
EXTRA_FILE = "extra_32x32.mat"
TEST_FILE = "test_32x32.mat"
FILES = (TRAIN_FILE, EXTRA_FILE, TEST_FILE)
# Of each class, for choosing a model: 6,000 images in all.
VALIDATION_FROM_TRAIN = 400
VALIDATION_FROM_EXTRA = 200

_SHAPE = (32, 32, 3)

Part = tuple[NDArray[np.uint8], NDArray[np.int64]]


def find(name: str, folder: Path) -> Path | None:
    """Find the folder that holds any of the three files."""
    for place in folders_of(name, folder):
        if any((place / file).is_file() for file in FILES):
            return place
    return None


def read(name: str, path: Path) -> Dataset:
    """Read the files; the paper's validation part comes last in the training images.

    The training set is train + extra, 73,257 + 531,131 images. 400 images of each class from
    train and 200 from extra validate, so 598,388 are left to train on. They stand at the end, so
    that ``split(6000)`` gives just these parts. Which images of a class validate is open; here it
    is the last ones of each file. Otherwise the order is the stored one: train, then extra, in
    both parts. All take 2 GB, and 4 GB while they are read.

    Without the extra file the training set is train alone, and 600 images of each class from it
    come last: smaller than the paper's, with a validation part of the same size. A class that is
    too small for its validation part is refused.
    """
    takes = {TRAIN_FILE: VALIDATION_FROM_TRAIN, EXTRA_FILE: VALIDATION_FROM_EXTRA}
    if not (path / EXTRA_FILE).is_file():
        takes = {TRAIN_FILE: VALIDATION_FROM_TRAIN + VALIDATION_FROM_EXTRA}
    stored = [_read_present(path / file) for file in takes]
    held_out = [
        last_of_each_class(labels, take, path / file)
        for (_, labels), (file, take) in zip(stored, takes.items(), strict=True)
    ]
    train_images, train_labels = _validation_last(stored, np.concatenate(held_out))
    del stored
    test_images, test_labels = _read_present(path / TEST_FILE)
    parts: dict[str, Array] = {
        "train_images": train_images,
        "train_labels": train_labels,
        "test_images": np.ascontiguousarray(test_images),
        "test_labels": test_labels,
    }
    files = {part: str(path) for part in parts}
    return assemble(name, parts, files, path, KNOWN[name].classes, KNOWN[name].image_shape)


def last_of_each_class(
    labels: NDArray[np.int64], count: int, file: str | Path
) -> NDArray[np.bool_]:
    """Mark the last examples of each digit.

    Parameters
    ----------
    labels : array (examples,) of int64
        Digits 0..9.
    count : int
        How many of each digit.
    file : str or pathlib.Path
        The file to name in an error.

    Returns
    -------
    array (examples,) of bool
        True for the last `count` examples of each digit.

    Raises
    ------
    DataError
        If there are fewer of a digit.
    """
    marked = np.zeros(labels.shape, bool)
    for digit in range(10):
        places = np.flatnonzero(labels == digit)
        if len(places) < count:
            fault = f"{len(places)} images of digit {digit}, but {count} are set apart to validate"
            raise DataError(file, fault)
        marked[places[len(places) - count :]] = True
    return marked


def _validation_last(stored: Sequence[Part], held_out: NDArray[np.bool_]) -> Part:
    """Join the files, what is held out at the end; else in stored order."""
    order = np.argsort(held_out, kind="stable")
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    images = np.empty((len(order), *_SHAPE), np.uint8)
    start = 0
    for pixels, _ in stored:
        # Each image straight to its place: a sorted copy of the extra file would take 1.6 GB.
        images[place[start : start + len(pixels)]] = pixels
        start += len(pixels)
    return images, np.concatenate([labels for _, labels in stored])[order]


def _read_present(path: Path) -> Part:
    if not path.is_file():
        raise DataError(path, "is missing, although others of its files are there")
    return read_mat(path)


def read_mat(path: str | Path) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Read one file of cropped digits.

    Parameters
    ----------
    path : str or pathlib.Path
        A MATLAB file of version 5 with X and y.

    Returns
    -------
    images : array (count, 32, 32, 3) of uint8
        A view with its axes in another order than in memory.
    labels : array (count,) of int64
        The digits 0..9.

    Raises
    ------
    DataError
        If the file is missing, damaged or of another kind, or X and y are not such arrays.
    """
    variables = read_matlab(path, ("X", "y"))
    pixels, labels = variables["X"], variables["y"]
    if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[:3] != _SHAPE:
        raise DataError(
            path,
            f"X: expected uint8 of shape (32, 32, 3, count), found {pixels.dtype} of "
            f"{pixels.shape}",
        )
    count = pixels.shape[3]
    if labels.dtype.kind not in "iu" or labels.shape != (count, 1):
        raise DataError(
            path,
            f"y: expected whole numbers of shape ({count}, 1) for the {count} images of X, found "
            f"{labels.dtype} of {labels.shape}",
        )
    digits = labels[:, 0].astype(np.int64)
    outside = np.flatnonzero((digits < 1) | (digits > 10))
    if outside.size:
        first = int(outside[0])
        fault = f"y: {digits[first]} of image {first} is outside 1..10 (10 is the digit 0)"
        raise DataError(path, fault)
    return pixels.transpose(3, 0, 1, 2), digits % 10


def verify(name: str, path: Path) -> list[Check]:
    """Compare the three files with the published checksums, also those that are missing."""
    return [verify_whole(path, file, sha256) for file, sha256 in KNOWN[name].sha256.items()]
