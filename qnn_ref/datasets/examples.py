"""What a data set is in memory, and the checks that make it one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from qnn_ref._typing import Array
from qnn_ref.checks import whole

from .files import DataError

PARTS = ("train_images", "train_labels", "test_images", "test_labels")
# A bound for sets that state no class names: a damaged label must not ask for 2^63 names.
_MOST_CLASSES = 65_536


@dataclass(frozen=True, eq=False)
class Examples:
    """Images with their labels.

    Parameters
    ----------
    images : array (count, height, width, channels) of uint8
        Pixels 0..255.
    labels : array (count,) of int64
        Class numbers from 0.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]

    def __repr__(self) -> str:
        return (
            f"<Examples: images {self.images.dtype} {self.images.shape}, {len(self.labels)} labels>"
        )


@dataclass(frozen=True, eq=False)
class Dataset:
    """A data set in the order in which its authors stored it.

    Parameters
    ----------
    name : str
        "digits", "mnist", ...
    train_images : array (train, height, width, channels) of uint8
        Pixels 0..255; grey images have one channel.
    train_labels : array (train,) of int64
        Class numbers from 0.
    test_images : array (test, height, width, channels) of uint8
    test_labels : array (test,) of int64
    classes : tuple of str
        The name of each class.
    source : str
        The file or folder that was read.
    """

    name: str
    train_images: NDArray[np.uint8]
    train_labels: NDArray[np.int64]
    test_images: NDArray[np.uint8]
    test_labels: NDArray[np.int64]
    classes: tuple[str, ...]
    source: str

    def __repr__(self) -> str:
        size = "x".join(map(str, self.train_images.shape[1:]))
        return (
            f"<Dataset {self.name}: {len(self.train_labels):,} images to train, "
            f"{len(self.test_labels):,} to test, {size}, {len(self.classes)} classes>"
        )

    def split(self, validation: int) -> tuple[Examples, Examples]:
        """Set the last training examples apart for choosing a model.

        As the paper does for MNIST: "the last 10,000 samples of the training set" validate.

        Parameters
        ----------
        validation : int
            How many examples to set apart: 0 or more, fewer than there are.

        Returns
        -------
        train : Examples
            The first examples, in stored order.
        validation : Examples
            The last `validation` examples, in stored order. Both are views, not copies.

        Raises
        ------
        TypeError
            If it is no whole number.
        ValueError
            If it is negative, or no example would be left to train on.

        Examples
        --------
        >>> images, labels = np.zeros((5, 2, 2, 1), np.uint8), np.arange(5)
        >>> dataset = Dataset("mine", images, labels, images, labels, tuple("abcde"), "nowhere")
        >>> train, validation = dataset.split(2)
        >>> train.labels, validation.labels
        (array([0, 1, 2]), array([3, 4]))
        """
        count = len(self.train_labels)
        validation = whole("validation", validation, 0, count - 1, f"there are {count} examples")
        first = count - validation
        return (
            Examples(self.train_images[:first], self.train_labels[:first]),
            Examples(self.train_images[first:], self.train_labels[first:]),
        )


class Check(NamedTuple):
    """The verdict on one file: its name, whether it is the published one, and why not.

    `ok` is None where that cannot be said, because no checksum of this form is known.
    """

    file: str
    ok: bool | None
    message: str


class Reader(Protocol):
    """What each module of a published form offers: the contract of its three functions."""

    def find(self, name: str, folder: Path) -> Path | None:
        """Find what holds a data set.

        Parameters
        ----------
        name : str
            Of the data set: its own folder inside `folder` is looked at first.
        folder : pathlib.Path
            Where to look.

        Returns
        -------
        pathlib.Path or None
            A file or a folder, for `read` and `verify`.
        """

    def read(self, name: str, path: Path) -> Dataset:
        """Read a data set.

        Parameters
        ----------
        name : str
            Of the data set.
        path : pathlib.Path
            What `find` has found.

        Returns
        -------
        Dataset
            Images of shape (count, height, width, channels).

        Raises
        ------
        DataError
            If a file is missing, damaged or of another kind.
        """

    def verify(self, name: str, path: Path) -> list[Check]:
        """Compare each file with the published checksums.

        Parameters
        ----------
        name : str
            Of the data set.
        path : pathlib.Path
            What `find` has found.

        Returns
        -------
        list of Check
            One a file; a missing or damaged one is a verdict too, not an error.
        """


def assemble(
    name: str,
    parts: Mapping[str, Array],
    files: Mapping[str, str],
    source: Path,
    classes: tuple[str, ...] | None = None,
    image_shape: tuple[int, ...] | None = None,
) -> Dataset:
    """Check the four arrays of a data set and put them together.

    Parameters
    ----------
    name : str
        Of the data set.
    parts : mapping of str to array
        train_images, train_labels, test_images and test_labels as they were stored.
    files : mapping of str to str
        For each part the file to name in an error.
    source : pathlib.Path
        The file or folder that was read.
    classes : tuple of str, optional
        Class names; None counts the classes that occur.
    image_shape : tuple of int, optional
        (height, width, channels) if the data set has one; None takes what comes.

    Returns
    -------
    Dataset
        With images of shape (count, height, width, channels).

    Raises
    ------
    DataError
        If dtypes, shapes, counts or labels are wrong; it names the file.
    """
    images: dict[str, NDArray[np.uint8]] = {}
    rows: dict[str, Array] = {}
    for split in ("train", "test"):
        file = files[f"{split}_images"]
        images[split] = as_images(parts[f"{split}_images"], file)
        image_shape = image_shape or images[split].shape[1:]
        if images[split].shape[1:] != image_shape:
            raise DataError(
                file,
                f"expected images of shape {image_shape} (height, width, channels), "
                f"found {images[split].shape[1:]}",
            )
        rows[split] = _as_row(parts[f"{split}_labels"], files[f"{split}_labels"])
        if len(rows[split]) != len(images[split]):
            raise DataError(
                files[f"{split}_labels"],
                f"{len(rows[split])} labels, but {len(images[split])} images in {file}",
            )
    most = len(classes) if classes else _MOST_CLASSES
    train, test = (_as_labels(rows[split], files[f"{split}_labels"], most) for split in rows)
    if classes is None:
        classes = tuple(str(k) for k in range(1 + int(max(train.max(), test.max()))))
    return Dataset(name, images["train"], train, images["test"], test, classes, str(source))


def as_images(array: Array, file: str | Path) -> NDArray[np.uint8]:
    """Give stored pixels their four dimensions.

    Parameters
    ----------
    array : array of uint8
        (count, height, width) or (count, height, width, channels) with 1 or 3 channels.
    file : str or pathlib.Path
        The file to name in an error.

    Returns
    -------
    array (count, height, width, channels) of uint8

    Raises
    ------
    DataError
        If the dtype is not uint8, the shape is another, or there is no pixel.
    """
    return array.reshape(image_shape_of(array.dtype, array.shape, file))


def image_shape_of(dtype: np.dtype[Any], shape: Sequence[int], file: str | Path) -> list[int]:
    """Give the shape of stored pixels its four dimensions, before they are read.

    Parameters
    ----------
    dtype : numpy.dtype
        Of the stored array.
    shape : sequence of int
        As for `as_images`.
    file : str or pathlib.Path
        The file to name in an error.

    Returns
    -------
    list of int
        (count, height, width, channels).

    Raises
    ------
    DataError
        As `as_images`.
    """
    if dtype != np.uint8:
        raise DataError(file, f"expected pixels of dtype uint8 (0..255), found {dtype}")
    four = [*shape, 1] if len(shape) == 3 else list(shape)
    if len(four) != 4 or four[3] not in (1, 3):
        raise DataError(
            file,
            "expected images of shape (count, height, width) or (count, height, width, channels) "
            f"with 1 or 3 channels, found shape {tuple(shape)}",
        )
    if 0 in four:
        raise DataError(file, f"holds no pixels: shape {tuple(shape)}")
    return four


def _as_row(array: Array, file: str) -> Array:
    """Give stored labels the shape (count,)."""
    row = array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array
    if row.ndim != 1:
        advice = "; of rows with one 1 store argmax(axis=1)" if array.ndim == 2 else ""
        raise DataError(file, f"expected labels of shape (count,), found {array.shape}{advice}")
    if row.dtype.kind not in "iu":
        fault = f"expected whole numbers as labels, found dtype {array.dtype}"
        if row.dtype.kind == "f" and not np.isfinite(row).all():
            first = int(np.flatnonzero(~np.isfinite(row))[0])
            fault += f" ({row[first]} for example {first})"
        raise DataError(file, fault)
    return row


def _as_labels(row: Array, file: str, classes: int) -> NDArray[np.int64]:
    """Give labels an integer type that can index."""
    outside = np.flatnonzero((row < 0) | (row >= classes))
    if outside.size:
        first = int(outside[0])
        raise DataError(file, f"label {row[first]} of example {first} is outside 0..{classes - 1}")
    return row.astype(np.int64)
