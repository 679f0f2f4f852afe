"""The idx format of MNIST: a magic number, the dimensions, then the bytes.

    bytes 0-1   zero
    byte  2     element type; 0x08 is the unsigned byte, the only one read here
    byte  3     number of dimensions: 1 for labels, 3 for grey images
    then        each dimension as a big-endian 32-bit integer
    then        the elements, last dimension fastest

So the magic number is 0x00000803 = 2051 for images and 0x00000801 = 2049 for labels.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from qnn_ref.kinds import kind_of

from .files import KIND_BYTES, DataError, open_content, read_rows

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
    array of uint8
        The elements, in the shape that the header states.

    Raises
    ------
    DataError
        If the file is missing, empty or cut, is of another kind, if its header and its length
        disagree, or if it would unpack to far more than images of that file's size do.
    """
    with open_idx(path, dimensions) as (stream, most, shape):
        (array,) = read_rows(path, stream, most, shape, shape[0])
    return array


@contextmanager
def open_idx(
    path: str | Path, dimensions: int | None = None
) -> Iterator[tuple[BufferedReader, int, list[int]]]:
    """Lend the elements of an idx file as a stream, for `read_rows`.

    Parameters
    ----------
    path : str or pathlib.Path
        As for `read_idx`.
    dimensions : int, optional
        As for `read_idx`.

    Yields
    ------
    stream : io.BufferedReader
        Where the elements begin.
    most : int
        How many bytes it may have.
    shape : list of int
        The dimensions, none of them 0.

    Raises
    ------
    DataError
        As `read_idx`.
    """
    with open_content(path) as (stream, most):
        shape = _read_header(path, stream, dimensions)
        if math.prod(shape) == 0:
            words = " x ".join(str(n) for n in shape)
            raise DataError(path, f"holds no elements: its dimensions are {words}")
        yield stream, most, shape


def _read_header(path: str | Path, stream: BufferedReader, dimensions: int | None) -> list[int]:
    """Return the dimensions; the elements come next in the stream."""
    start = stream.peek(KIND_BYTES)
    magic = stream.read(4)
    if len(magic) < 4:
        raise DataError(path, f"header incomplete: {len(magic)} bytes, not even a magic number")
    count = magic[3]
    fits = count == dimensions if dimensions is not None else 1 <= count <= _MOST_DIMENSIONS
    if magic[:2] != b"\0\0" or magic[2] != _UNSIGNED_BYTE or not fits:
        raise DataError(path, _magic_fault(start, dimensions))
    sizes = stream.read(4 * count)
    if len(sizes) < 4 * count:
        raise DataError(
            path,
            f"header incomplete: expected {4 + 4 * count} bytes for {count} dimensions, "
            f"found {4 + len(sizes)}",
        )
    return [int.from_bytes(sizes[at : at + 4], "big") for at in range(0, 4 * count, 4)]


def _magic_fault(content: bytes, dimensions: int | None) -> str:
    magic = int.from_bytes(content[:4], "big")
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
    array : array of uint8
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
