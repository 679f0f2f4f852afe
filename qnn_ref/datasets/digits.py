"""The 1,797 handwritten digits of 8x8 pixels that come with the package.

They are the test part of "Optical Recognition of Handwritten Digits" (E. Alpaydin, C. Kaynak,
UCI Machine Learning Repository, 1998, doi 10.24432/C50P49, CC BY 4.0) in its original order.
Each pixel counts the ink in a 4x4 block, 0..16.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from qnn_ref._typing import Array

from .checksums import compare
from .examples import Check, Dataset, assemble
from .files import DataError
from .idx import idx_bytes
from .known import DIGITS
from .npz import read_arrays

COUNT = 1797
# In stored order, because the same 13 writers fill neighbouring rows: a shuffled split would
# test on the writers that it was trained on, and be about 5 % too optimistic.
TRAIN = 1347
_INK = 16


def scale_ink(ink: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Map 0..16 counts of ink to pixels 0..255, halves rounded up.

    pixel = floor(ink * 255 / 16 + 1/2) = floor((510 ink + 16) / 32), in whole numbers throughout;
    so 0 -> 0, 1 -> 16, 8 -> 128, 16 -> 255.

    Parameters
    ----------
    ink : array of uint8
        Counts 0..16, any shape.

    Returns
    -------
    array of uint8
        Pixels 0..255, the same shape.

    Raises
    ------
    ValueError
        If a count is above 16.

    Examples
    --------
    >>> scale_ink(np.array([0, 1, 8, 16], np.uint8))
    array([  0,  16, 128, 255], dtype=uint8)
    """
    if ink.size and int(ink.max()) > _INK:
        raise ValueError(f"ink: expected counts 0..{_INK}, got {int(ink.max())}")
    # Not in uint8, where 510 * ink would wrap.
    return ((510 * ink.astype(np.int64) + 16) // 32).astype(np.uint8)


def find(name: str, folder: Path) -> Path | None:
    """Find ``digits.npz``."""
    path = folder / f"{name}.npz"
    return path if path.is_file() else None


def read(name: str, path: Path) -> Dataset:
    """Read `images` (1797, 8, 8), 0..16, scaled to 0..255: the last 450 of them test."""
    arrays = _stored(path)
    pixels = scale_ink(arrays["images"])
    parts = {
        "train_images": pixels[:TRAIN],
        "train_labels": arrays["labels"][:TRAIN],
        "test_images": pixels[TRAIN:],
        "test_labels": arrays["labels"][TRAIN:],
    }
    files = {part: str(path) for part in parts}
    return assemble(name, parts, files, path, DIGITS.classes, DIGITS.image_shape)


def _stored(path: Path) -> dict[str, Array]:
    """Read both arrays as they are stored, of the right dtype, shape and range."""
    arrays = read_arrays(path, ("images", "labels"))
    for key, shape in (("images", (COUNT, 8, 8)), ("labels", (COUNT,))):
        array = arrays[key]
        if array.dtype != np.uint8 or array.shape != shape:
            raise DataError(
                path,
                f"{key}: expected uint8 of shape {shape}, found {array.dtype} of {array.shape}",
            )
    if int(arrays["images"].max()) > _INK:
        raise DataError(path, f"images: expected 0..{_INK}, found {int(arrays['images'].max())}")
    return arrays


def verify(name: str, path: Path) -> list[Check]:
    """Compare both arrays with their checksums."""
    try:
        arrays = _stored(path)
    except DataError as error:
        return [Check(error.path, False, error.fault)]
    return [
        compare(f"{path}[{key}]", [idx_bytes(array)], DIGITS.sha256[key])
        for key, array in arrays.items()
    ]
