"""Images to classify: idx, npy and PNG files, told apart by their first bytes."""

import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .examples import as_images
from .files import GZIP_MAGIC, NPY_MAGIC, PNG_MAGIC, DataError, kind_of, read_bytes
from .idx import read_idx
from .npz import read_npy

_PNG_END = b"IEND\xaeB`\x82"
_PNG_MODES = ("L", "RGB")


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
    ndarray of uint8
        Shape (count, height, width, channels); a file with one image gives count = 1.

    Raises
    ------
    DataError
        If the file is missing, damaged or of another kind, or holds no such images.
    ImportError
        If the file is a PNG and Pillow is not installed.
    """
    content = read_bytes(path)
    if content.startswith(PNG_MAGIC):
        array = _read_png(path, content)
    elif content.startswith(NPY_MAGIC):
        array = read_npy(path)
    elif content.startswith((GZIP_MAGIC, b"\0\0")):
        array = read_idx(path)
    else:
        raise DataError(path, f"is no idx, npy or PNG file: {kind_of(content)}")
    return as_images(array[np.newaxis] if array.ndim == 2 else array, path)


def _read_png(path: str | Path, content: bytes) -> NDArray[Any]:
    """Return one image, (1, height, width, channels)."""
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError('PNG files need Pillow: pip install "qnn-ref[data]"') from error
    if _PNG_END not in content:
        raise DataError(path, "PNG is cut: its end marker is missing")
    try:
        with Image.open(io.BytesIO(content), formats=("PNG",)) as image:
            mode = image.mode
            array = np.array(image) if mode in _PNG_MODES else None
    # Pillow raises SyntaxError for a broken chunk, ValueError for text that is too long.
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(path, f"PNG is damaged ({error})") from error
    if array is None:
        raise DataError(
            path, f"PNG has mode {mode}; only 8-bit grey (L) and RGB are read: convert it first"
        )
    return array.reshape(1, *array.shape[:2], -1)
