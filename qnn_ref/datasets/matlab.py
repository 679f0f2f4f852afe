"""MATLAB's files of version 5, as far as arrays of numbers go.

    bytes 0-127   a text that begins with "MATLAB 5.0", a version, and "IM" for little endian
    then          elements: type and size as 32-bit integers, then so many bytes

An element of type 14 is a variable; one of type 15 holds such an element, compressed by zlib. A
variable consists of elements again, each padded to 8 bytes: flags with its class, dimensions as
32-bit integers, name, and the numbers, first dimension fastest. An element of up to 4 bytes may
stand in 8 bytes altogether: type and size as 16-bit integers, then the bytes.

`scipy.io.loadmat` reads more, but a damaged type can crash it, and Python with it.
"""

import math
import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from types import MappingProxyType

import numpy as np

from qnn_ref._typing import Array
from qnn_ref.archives import listed, unpacked_limit
from qnn_ref.kinds import kind_of

from .files import DataError, inflate, read_bytes

_VERSION_5 = b"MATLAB 5.0"
_START = 128
_VARIABLE = 14
_COMPRESSED = 15
_COMPLEX = 0x0800
_MOST_DIMENSIONS = 32
_PEEK = 64  # bytes of a compressed stream that surely hold its first eight

_CLASSES_OF_NUMBERS = range(6, 16)
_TYPES: Mapping[int, str] = MappingProxyType(
    {
        **{1: "<i1", 2: "<u1", 3: "<i2", 4: "<u2", 5: "<i4", 6: "<u4"},
        **{7: "<f4", 9: "<f8", 12: "<i8", 13: "<u8"},
    }
)


def read_matlab(path: str | Path, keys: Iterable[str]) -> dict[str, Array]:
    """Read arrays of numbers from a MATLAB file of version 5.

    Parameters
    ----------
    path : str or pathlib.Path
        The file.
    keys : iterable of str
        The variables that it must hold.

    Returns
    -------
    dict of str to array
        The arrays by name, in the shape and order of MATLAB; they cannot be written to. The dtype
        is that of the file, where small whole numbers of class double are bytes.

    Raises
    ------
    DataError
        If the file is missing, damaged or of another kind, lacks a variable, or a variable is no
        array of real numbers.
    """
    content = read_bytes(path)
    _check_kind(path, content)
    wanted = set(keys)
    held: dict[str, Array] = {}
    names = []
    most = unpacked_limit(len(content))
    for kind, data in _elements(path, memoryview(content)[_START:], padded=False):
        variable = _decompressed(path, data, most) if kind == _COMPRESSED else data
        if kind not in (_VARIABLE, _COMPRESSED):
            raise DataError(path, f"is damaged: an element of type {kind} is no variable")
        most -= len(variable) if kind == _COMPRESSED else 0
        parts = list(islice(_elements(path, variable, padded=True), 4))
        if len(parts) < 3:
            raise DataError(path, "is damaged: a variable without a name")
        names.append(bytes(parts[2][1]).decode("latin-1"))
        if names[-1] in wanted:
            held[names[-1]] = _numbers(path, names[-1], parts)
    missing = [key for key in sorted(wanted) if key not in held]
    if missing:
        raise DataError(path, f"lacks {', '.join(missing)}; it holds {listed(names)}")
    return held


def _check_kind(path: str | Path, content: bytes) -> None:
    if not content.startswith(_VERSION_5):
        raise DataError(path, f"is no MATLAB file of version 5: {kind_of(content)}")
    if len(content) < _START:
        raise DataError(path, f"header incomplete: expected {_START} bytes, found {len(content)}")
    if content[126:128] != b"IM":
        raise DataError(path, f"expected little endian (IM), found {content[126:128]!r}")


def _elements(path: str | Path, data: memoryview, padded: bool) -> Iterator[tuple[int, memoryview]]:
    """Yield the type and the bytes of each element."""
    at = 0
    while at < len(data):
        if len(data) - at < 8:
            raise DataError(
                path, f"is cut: expected a type and a size, found {len(data) - at} bytes"
            )
        kind, size = struct.unpack_from("<II", data, at)
        small = padded and kind >> 16 > 0
        if small:
            kind, size = kind & 0xFFFF, kind >> 16
        start = at + (4 if small else 8)
        found = 4 if small else len(data) - start
        if size > found:
            raise DataError(path, f"is cut or damaged: expected {size} bytes, found {found}")
        yield kind, data[start : start + size]
        at = at + 8 if small else start + size + (-size % 8 if padded else 0)


def _decompressed(path: str | Path, data: memoryview, most: int) -> memoryview:
    """Return the bytes of the variable inside a compressed element."""
    try:
        kind, size = struct.unpack("<II", zlib.decompressobj().decompress(data[:_PEEK], 8))
    except (zlib.error, struct.error) as error:
        raise DataError(path, f"compressed stream is damaged ({error})") from error
    if kind != _VARIABLE:
        raise DataError(path, f"is damaged: expected a variable (type {_VARIABLE}), found {kind}")
    return inflate(path, data, 8 + size, most).data.toreadonly()[8:]


def _numbers(path: str | Path, name: str, parts: list[tuple[int, memoryview]]) -> Array:
    """Return the array of a variable: its flags, dimensions, name and numbers."""
    flags = struct.unpack("<II", parts[0][1])[0] if len(parts[0][1]) == 8 else 0
    if flags & 0xFF not in _CLASSES_OF_NUMBERS or flags & _COMPLEX:
        raise DataError(path, f"{name} is no array of real numbers")
    if len(parts[1][1]) % 4 or len(parts) < 4 or parts[3][0] not in _TYPES:
        raise DataError(path, f"{name} is damaged: its dimensions or the type of its numbers")
    shape = np.frombuffer(parts[1][1], "<i4").tolist()
    kind, data = parts[3]
    dtype = np.dtype(_TYPES[kind])
    sound = 2 <= len(shape) <= _MOST_DIMENSIONS and min(shape) > 0
    if not sound or math.prod(shape) * dtype.itemsize != len(data):
        words = " x ".join(str(n) for n in shape)
        fault = f"{name}: {len(data)} bytes do not fit its dimensions ({words} of {dtype})"
        raise DataError(path, fault)
    return np.frombuffer(data, dtype).reshape(shape, order="F")
