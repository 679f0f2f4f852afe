"""Images to classify: idx, npy and PNG files, told apart by their first bytes."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from qnn_ref.archives import NPY_MAGIC
from qnn_ref.checks import whole
from qnn_ref.kinds import GZIP_MAGIC, PNG_MAGIC, kind_of

from .examples import as_images, image_shape_of
from .files import KIND_BYTES, DataError, open_file, read_bytes, read_rows
from .idx import open_idx
from .npz import open_npy, read_npy
from .png import decode_png


def read_images(path: str | Path) -> NDArray[np.uint8]:
    """Read images from an idx, npy or PNG file.

    Nothing is scaled, converted or guessed: pixels must be bytes. Three dimensions always mean
    (count, height, width); a single colour image in an npy file needs four.

    Parameters
    ----------
    path : str or pathlib.Path
        An idx file (plain or gzipped), an npy file of dtype uint8, or an 8-bit grey or RGB PNG.

    Returns
    -------
    array (count, height, width, channels) of uint8
        A file with one image gives count = 1.

    Raises
    ------
    DataError
        If the file is missing, damaged or of another kind, holds no such images, or would unpack
        to far more than images of its size do.
    ImportError
        If the file is a PNG and Pillow is not installed.
    """
    (images,) = image_batches(path)
    return images


def image_batches(path: str | Path, most: int | None = None) -> Iterator[NDArray[np.uint8]]:
    """Read images some at a time, so that a file may be larger than memory.

    Parameters
    ----------
    path : str or pathlib.Path
        As for `read_images`.
    most : int, optional
        How many bytes at a time, but one image at least; None takes all images at once.

    Yields
    ------
    array (count, height, width, channels) of uint8
        The same but for the last count.

    Raises
    ------
    DataError
        As `read_images`; of a compressed file that it is cut, too long or damaged is said only
        after the images before that place.
    ImportError
        As `read_images`.
    """
    file, _ = open_file(path)
    with file:
        start = file.read(KIND_BYTES)
    if start.startswith(PNG_MAGIC):
        yield as_images(decode_png(path, read_bytes(path)), path)
    elif start.startswith(NPY_MAGIC):
        yield from _npy_batches(path, most)
    elif start.startswith((GZIP_MAGIC, b"\0\0")):
        with open_idx(path) as (stream, bound, shape):
            four = image_shape_of(np.dtype(np.uint8), _one_or_more(shape), path)
            yield from read_rows(path, stream, bound, four, _count(four, most))
    else:
        raise DataError(path, f"is no idx, npy or PNG file: {kind_of(start)}")


def _npy_batches(path: str | Path, most: int | None) -> Iterator[NDArray[np.uint8]]:
    with open_npy(path) as (file, layout):
        four = image_shape_of(layout.dtype, _one_or_more(layout.shape), path)
        count = _count(four, most)
        if not layout.fortran_order:
            yield from read_rows(path, file, math.prod(four), four, count)
            return
    # The pixels of an image lie apart there: all are read at once.
    images = read_npy(path).reshape(four)
    yield from (images[first : first + count] for first in range(0, len(images), count))


def _count(shape: Sequence[int], most: int | None) -> int:
    """How many images are read at a time."""
    if most is None:
        return shape[0]
    return max(1, whole("most", most, 1) // math.prod(shape[1:]))


def _one_or_more(shape: Sequence[int]) -> Sequence[int]:
    """Two dimensions are one image."""
    return (1, *shape) if len(shape) == 2 else shape
