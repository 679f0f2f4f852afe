"""The idx format of MNIST: a magic number, the dimensions, then the bytes.

    bytes 0-1   zero
    byte  2     element type; 0x08 is the unsigned byte, the only one read here
    byte  3     number of dimensions: 1 for labels, 3 for grey images
    then        each dimension as a big-endian 32-bit integer
    then        the elements, last dimension fastest

So the magic number is 0x00000803 = 2051 for images and 0x00000801 = 2049 for labels.
"""

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .files import DataError, kind_of, read_content

_UNSIGNED_BYTE = 0x08
_MOST_DIMENSIONS = 32


def read_idx(path: str | Path, dimensions: int | None = None) -> NDArray[np.uint8]:
    """Read an idx file of unsigned bytes, plain or gzipped.

    Parameters
    ----------
    path : str or pathlib.Path
        The file; its first bytes, not its name, tell whether it is compressed.
    dimensions : int, optional
        The number of dimensions that the caller needs (3 for images, 1 for labels); None takes
        any from 1 to 32.

    Returns
    -------
    ndarray of uint8
        The elements, in the shape that the header states.

    Raises
    ------
    DataError
        If the file is missing, empty or cut, is of another kind, or if its header and its
        length disagree.
    """
    content = read_content(path)
    shape, start = _header(path, content, dimensions)
    expected, found = math.prod(shape), len(content) - start
    words = " x ".join(str(n) for n in shape)
    if expected == 0:
        raise DataError(path, f"holds no elements: its dimensions are {words}")
    if found != expected:
        raise DataError(path, f"expected {expected} bytes, found {found} (dimensions {words})")
    # A copy, because an array over the bytes object itself could not be written to.
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape).copy()


def _header(path: str | Path, content: bytes, dimensions: int | None) -> tuple[list[int], int]:
    """Return the dimensions, and where the elements begin."""
    if len(content) < 4:
        raise DataError(path, f"header incomplete: {len(content)} bytes, not even a magic number")
    magic = int.from_bytes(content[:4], "big")
    count = content[3]
    fits = count == dimensions if dimensions is not None else 1 <= count <= _MOST_DIMENSIONS
    if content[:2] != b"\0\0" or content[2] != _UNSIGNED_BYTE or not fits:
        raise DataError(path, _magic_fault(content, magic, dimensions))
    start = 4 + 4 * count
    if len(content) < start:
        raise DataError(
            path,
            f"header incomplete: expected {start} bytes for {count} dimensions, "
            f"found {len(content)}",
        )
    shape = [int.from_bytes(content[at : at + 4], "big") for at in range(4, start, 4)]
    return shape, start


def _magic_fault(content: bytes, magic: int, dimensions: int | None) -> str:
    if dimensions is None:
        wanted = "0x000008NN (unsigned bytes, NN dimensions)"
    else:
        number = _UNSIGNED_BYTE << 8 | dimensions
        wanted = f"0x{number:08X} = {number} (unsigned bytes, {dimensions} dimensions)"
    fault = f"magic number: expected {wanted}, found 0x{magic:08X} = {magic}"
    if content[:2] != b"\0\0":
        return f"{fault}: {kind_of(content)}"
    return f"{fault} (element type 0x{content[2]:02X}, {content[3]} dimensions)"


def idx_bytes(array: NDArray[np.uint8]) -> bytes:
    """Write an array as the content of an idx file, the inverse of `read_idx`.

    The published checksums are those of idx files, so an array from anywhere is compared with
    them through this function.

    Parameters
    ----------
    array : ndarray of uint8
        1 to 32 dimensions.

    Returns
    -------
    bytes
        Magic number, dimensions, elements.

    Raises
    ------
    ValueError
        If the array is not of uint8 or has no dimension.
    """
    if array.dtype != np.uint8:
        raise ValueError(f"array: expected dtype uint8, got {array.dtype}")
    if not 1 <= array.ndim <= _MOST_DIMENSIONS:
        raise ValueError(f"array: expected 1 to {_MOST_DIMENSIONS} dimensions, got {array.ndim}")
    dimensions = b"".join(n.to_bytes(4, "big") for n in array.shape)
    return bytes([0, 0, _UNSIGNED_BYTE, array.ndim]) + dimensions + array.tobytes()
