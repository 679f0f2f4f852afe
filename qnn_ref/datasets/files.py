"""What every reader shares: the exception, and the content of a file in bounded pieces."""

import gzip
import math
import os
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BufferedReader, RawIOBase
from pathlib import Path
from typing import IO, TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from qnn_ref.archives import unpacked_limit
from qnn_ref.files import FileError, open_regular
from qnn_ref.kinds import GZIP_MAGIC

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

KIND_BYTES = 512  # as many as `kind_of` looks at
_PIECE = 65_536
_PACKED_PIECE = 8192  # which may unpack to a thousand times as much


class DataError(FileError):
    """A data file that is missing, damaged or of another kind.

    Parameters
    ----------
    path : str or pathlib.Path
        The file or folder.
    fault : str
        What is wrong with it. The message is ``path: fault``.
    """

    def __init__(self, path: str | Path, fault: str) -> None:
        super().__init__(str(path), fault)
        self.path = str(path)
        self.fault = fault

    def __str__(self) -> str:
        return f"{self.path}: {self.fault}"


def expanded(path: str | Path) -> Path:
    """Replace a leading `~` by the home folder.

    Parameters
    ----------
    path : str or pathlib.Path
        A folder.

    Returns
    -------
    pathlib.Path
        The same path, or the one in the home folder.

    Raises
    ------
    DataError
        If the path is empty, or there is no such home folder.
    """
    text = os.fsdecode(path)
    if not text or "\0" in text:
        raise DataError("folder", f"expected the path of a folder, got {text!r}")
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise DataError(path, f"cannot be read: {error}") from error


def open_file(path: str | Path) -> tuple[IO[bytes], int]:
    """Open a file that is not empty.

    Parameters
    ----------
    path : str or pathlib.Path
        The file; `~` stands for the home folder.

    Returns
    -------
    file
        Open for reading bytes, at its start; the caller closes it.
    size : int
        How many bytes it holds.

    Raises
    ------
    DataError
        If the file is missing, unreadable, empty or no ordinary file.
    """
    try:
        file = open_regular(path)
    except FileError as error:
        fault = str(error).removeprefix(f"{path}: ")
        raise DataError(path if os.fspath(path) else "path", fault) from error
    size = os.fstat(file.fileno()).st_size
    if not size:
        file.close()
        raise DataError(path, "is empty")
    return file, size


def read_bytes(path: str | Path) -> bytes:
    """Read a whole file that is not empty.

    Parameters
    ----------
    path : str or pathlib.Path
        The file.

    Returns
    -------
    bytes
        Its bytes as they are stored.

    Raises
    ------
    DataError
        As `open_file`.
    """
    file, _ = open_file(path)
    with _faults(path), file:
        return file.read()


@contextmanager
def open_content(path: str | Path) -> Iterator[tuple[BufferedReader, int]]:
    """Lend the content of a file as a stream, gzip undone if there is any.

    The first two bytes decide, not the name: browsers and servers unpack a ``.gz`` file on the
    way, or pack a plain one, and leave its name alone.

    Parameters
    ----------
    path : str or pathlib.Path
        The file, plain or gzipped.

    Yields
    ------
    stream : io.BufferedReader
        The uncompressed content.
    most : int
        How many bytes it may have: those of a plain file, or `unpacked_limit`.

    Raises
    ------
    DataError
        As `open_file`; or if the compressed stream is cut or damaged, said when it is read.
    """
    file, size = open_file(path)
    with _faults(path), file:
        packed = file.read(2) == GZIP_MAGIC
        file.seek(0)
        if not packed:
            yield cast(BufferedReader, file), size
            return
        most = unpacked_limit(size)
        stream = BufferedReader(_Bounded(path, gzip.GzipFile(fileobj=file), most), _PIECE)
        if not stream.peek(1):
            raise DataError(path, "is empty: a compressed stream of 0 bytes")
        yield cast(BufferedReader, stream), most


class _Bounded(RawIOBase):
    """A stream that refuses to give more than `most` bytes."""

    def __init__(self, path: str | Path, stream: gzip.GzipFile, most: int) -> None:
        self.path = path
        self.stream = stream
        self.most = most
        self.count = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer") -> int:
        got = self.stream.readinto(buffer)
        self.count += got
        if self.count > self.most:
            raise DataError(self.path, too_much(self.most))
        return got


@contextmanager
def _faults(path: str | Path) -> Iterator[None]:
    """Say what reading a file ran into, with its name."""
    try:
        yield
    except EOFError as error:
        raise DataError(path, "compressed stream ends early") from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise DataError(path, f"compressed stream is damaged ({error})") from error
    except OSError as error:
        raise DataError(path, f"cannot be read: {error.strerror or error}") from error


def too_much(most: int) -> str:
    """Say that a file holds more than `unpacked_limit`, and what to do about it.

    Parameters
    ----------
    most : int
        The bound.

    Returns
    -------
    str
        The fault, for a `DataError`.
    """
    return f"unpacks to more than {most} bytes; if that is right, store it uncompressed"


def read_rows(
    path: str | Path, stream: IO[bytes], most: int, shape: Sequence[int], rows: int
) -> Iterator[NDArray[np.uint8]]:
    """Read an array of bytes some rows at a time, and compare its size with what there is.

    Parameters
    ----------
    path : str or pathlib.Path
        The file to name in an error.
    stream : io.BufferedReader
        Where the elements begin.
    most : int
        How many bytes may be read from it. Nothing larger is reserved, whatever the shape says.
    shape : sequence of int
        Of the whole array, all above 0.
    rows : int
        How many of the first dimension at a time.

    Yields
    ------
    array (up to `rows`, ...) of uint8

    Raises
    ------
    DataError
        If there are fewer or more bytes than the shape needs; the latter after the last rows.
    """
    expected, found = math.prod(shape), 0
    if expected <= most:
        for first in range(0, shape[0], rows):
            block = np.empty((min(rows, shape[0] - first), *shape[1:]), np.uint8)
            filled = _fill(stream, block.reshape(-1))
            found += filled
            if filled < block.size:
                break
            yield block
    found += sum(len(piece) for piece in pieces(stream))
    if found != expected:
        words = " x ".join(str(n) for n in shape)
        raise DataError(path, f"expected {expected} bytes, found {found} (dimensions {words})")


def _fill(stream: IO[bytes], place: NDArray[np.uint8]) -> int:
    """Read into an array of one dimension, and return how many bytes there were."""
    at = 0
    while piece := stream.read(min(len(place) - at, _PIECE)):
        place[at : at + len(piece)] = np.frombuffer(piece, np.uint8)
        at += len(piece)
    return at


def pieces(stream: IO[bytes]) -> Iterator[bytes]:
    """Read to the end, so that the checksum of a compressed stream is compared.

    Parameters
    ----------
    stream : io.BufferedReader
        As lent by `open_content`.

    Yields
    ------
    bytes
        Some at a time.
    """
    while piece := stream.read(_PIECE):
        yield piece


def read_content(path: str | Path) -> bytes:
    """Read a whole file, and undo gzip if there is any.

    Parameters
    ----------
    path : str or pathlib.Path
        The file, plain or gzipped.

    Returns
    -------
    bytes
        The uncompressed content.

    Raises
    ------
    DataError
        As `open_content`.
    """
    with open_content(path) as (stream, _):
        return b"".join(pieces(stream))


def inflate(
    path: str | Path, stream: bytes | memoryview, size: int, most: int
) -> NDArray[np.uint8]:
    """Unpack a zlib stream whose size is known.

    Parameters
    ----------
    path : str or pathlib.Path
        The file to name in an error.
    stream : bytes or memoryview
        The whole stream; its checksum is compared.
    size : int
        How many bytes it must hold.
    most : int
        How many are allowed.

    Returns
    -------
    array (size,) of uint8

    Raises
    ------
    DataError
        If it is cut, damaged or of another size, or `size` is above `most`.
    """
    if size > most:
        raise DataError(path, too_much(most))
    # One array and small pieces: the result is never there twice.
    result, at = np.empty(size, np.uint8), 0
    unpacker = zlib.decompressobj()
    with _faults(path):
        for start in range(0, len(stream), _PACKED_PIECE):
            piece = unpacker.decompress(stream[start : start + _PACKED_PIECE], size - at + 1)
            if at + len(piece) > size:
                raise DataError(path, f"compressed stream holds more than {size} bytes")
            result[at : at + len(piece)] = np.frombuffer(piece, np.uint8)
            at += len(piece)
            if unpacker.eof:
                break
    if not unpacker.eof:
        raise DataError(path, "compressed stream ends early")
    if at != size:
        raise DataError(path, f"compressed stream: expected {size} bytes, found {at}")
    return result
