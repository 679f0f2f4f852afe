"""NumPy's own files, .npy and .npz, read without trusting a stated size; nothing is unpickled.

What a file says about itself is compared with the bytes that it holds before memory is taken:
deflate grows a thousandfold, and 100 bytes can state 2^60 numbers. Every fault is a ValueError that
says what is wrong; the caller names the file.
"""

from __future__ import annotations

import io
import math
import os
import warnings
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import IO, Any, NamedTuple

import numpy as np

from qnn_ref._typing import Array

NPY_MAGIC = b"\x93NUMPY"
ZIP_MAGIC = b"PK\x03\x04"

LEAST_LIMIT = 64 << 20
GROWTH = 32
HEADER_BYTES = 4096  # NumPy writes 128
KINDS = "biufcSU"  # plain numbers and strings: no objects, records, dates


class Layout(NamedTuple):
    """What the head of an .npy file says.

    Parameters
    ----------
    shape : tuple of int
    fortran_order : bool
    dtype : numpy.dtype
    offset : int
        Byte at which the numbers begin.
    """

    shape: tuple[int, ...]
    fortran_order: bool
    dtype: np.dtype[Any]
    offset: int


def unpacked_limit(size: int) -> int:
    """Bytes that a file of `size` bytes may grow to: 32 times its size, and 64 MiB in any case.

    Parameters
    ----------
    size : int
        Bytes of the file.

    Returns
    -------
    int
    """
    return max(LEAST_LIMIT, GROWTH * size)


def npy_layout(file: IO[bytes], size: int) -> Layout:
    """Read the head of an .npy file and compare it with the file's size.

    Parameters
    ----------
    file : binary file
        At the beginning of the .npy data; it is read a little beyond the head.
    size : int
        Bytes of the .npy data, head included.

    Returns
    -------
    Layout

    Raises
    ------
    ValueError
        If there is no head, or the numbers that it states are no plain ones or not those held.
    """
    with _faults_in_words():
        return _layout(file.read(HEADER_BYTES), size)


def read_npy(file: IO[bytes], size: int) -> Array:
    """Read an .npy file.

    Parameters
    ----------
    file : binary file
        At the beginning of the .npy data.
    size : int
        Bytes of the .npy data, head included.

    Returns
    -------
    array
        In this machine's byte order.

    Raises
    ------
    ValueError
        If the file is cut, too long, damaged, or stores Python objects.
    """
    with _faults_in_words():
        start = file.read(HEADER_BYTES)
        layout = _layout(start, size)
        held = np.empty(size - layout.offset, np.uint8)
        begun = np.frombuffer(start, np.uint8, offset=layout.offset)
        held[: len(begun)] = begun
        _fill(file, held[len(begun) :])
        if file.read(1):  # also the end at which zipfile compares the checksum
            raise ValueError("goes on after its numbers")
        shape = layout.shape[::-1] if layout.fortran_order else layout.shape
        array: Array = np.ndarray(shape, layout.dtype, held)
        array = array.T if layout.fortran_order else array
        if not array.dtype.isnative:
            array = array.byteswap(inplace=True).view(array.dtype.newbyteorder())
        # Bytes that no such value has: what compiled code would do with them is not defined.
        if array.dtype.kind == "b" and held.max(initial=0) > 1:
            raise ValueError("holds truth values that are neither 0 nor 1")
        if array.dtype.kind == "U" and held.view(np.uint32).max(initial=0) > 0x10FFFF:
            raise ValueError("holds letters that are none")
        return array


def npz_names(file: IO[bytes]) -> list[str]:
    """Names of the arrays in an .npz archive.

    Parameters
    ----------
    file : binary file

    Returns
    -------
    list of str

    Raises
    ------
    ValueError
        If it is no archive, a damaged one, or one with two arrays of the same name.
    """
    with _faults_in_words(), zipfile.ZipFile(file) as archive:
        return list(_members(archive))


def read_npz(
    file: IO[bytes], names: Iterable[str] | None = None, most: int | None = None
) -> dict[str, Array]:
    """Read arrays of an .npz archive, stored or compressed.

    Parameters
    ----------
    file : binary file
        That can seek.
    names : iterable of str, optional
        The arrays to read; all of them without it.
    most : int, optional
        Bytes that they may have together; `unpacked_limit` without it.

    Returns
    -------
    dict of arrays
        In the order of `names` or of the archive.

    Raises
    ------
    ValueError
        If the archive is cut or damaged, lacks an array, stores Python objects, or would grow
        beyond `most`.
    """
    with _faults_in_words(), zipfile.ZipFile(file) as archive:
        size = file.seek(0, os.SEEK_END)
        members = _members(archive)
        names = list(members if names is None else names)
        if missing := [name for name in names if name not in members]:
            raise ValueError(f"lacks {', '.join(missing)}; it holds {listed(members)}")
        wanted = {name: members[name] for name in names}
        stated = sum(info.file_size for info in wanted.values())
        most = unpacked_limit(size) if most is None else most
        if stated > most:
            raise ValueError(
                f"would grow from {size:,} to {stated:,} bytes; at most {most:,} are unpacked"
            )
        arrays = {}
        for name, info in wanted.items():
            with archive.open(info) as member:
                try:
                    arrays[name] = read_npy(member, info.file_size)
                except ValueError as error:
                    raise ValueError(f"{name}: {error}") from error
        return arrays


def _members(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    members: dict[str, zipfile.ZipInfo] = {}
    for info in archive.infolist():
        name = info.filename.removesuffix(".npy")
        if name in members:
            raise ValueError(f"holds two arrays named {name}")
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError(f"{name} is compressed in another way than NumPy does")
        members[name] = info
    return members


def listed(names: Iterable[str]) -> str:
    """Names for an error: the first eight of them, or "nothing".

    Parameters
    ----------
    names : iterable of str

    Returns
    -------
    str
    """
    names = list(names)
    return (
        ", ".join(name[:60] for name in names[:8]) + (", ..." if len(names) > 8 else "")
        or "nothing"
    )


def _layout(start: bytes, size: int) -> Layout:
    if not start.startswith(NPY_MAGIC):
        raise ValueError("is no .npy array")
    head = io.BytesIO(start)
    version = np.lib.format.read_magic(head)
    if version not in ((1, 0), (2, 0), (3, 0)):
        raise ValueError(f"is an .npy file of version {version[0]}.{version[1]}, which is unknown")
    # Version 3 has the form of version 2, in another encoding of letters; ours are ASCII.
    first = version == (1, 0)
    read = np.lib.format.read_array_header_1_0 if first else np.lib.format.read_array_header_2_0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of numbers as Python 2 wrote them
        shape, fortran_order, dtype = read(head, max_header_size=HEADER_BYTES)
    if dtype.hasobject:
        raise ValueError("stores Python objects (a pickle), which are never opened")
    if dtype.kind not in KINDS or dtype.itemsize == 0:
        raise ValueError(f"expected plain numbers, found dtype {dtype}")
    # A dimension of 0 makes any others fit.
    if not all(type(n) is int and 0 <= n < 2**40 for n in shape) or len(shape) > 32:
        raise ValueError(f"states the shape {shape}, which no array has")
    stated, held = math.prod(shape) * dtype.itemsize, size - head.tell()
    if stated != held:
        raise ValueError(f"states {dtype} {shape}, which is {stated:,} bytes, and holds {held:,}")
    return Layout(shape, fortran_order, dtype, head.tell())


def _fill(file: IO[bytes], place: Array) -> None:
    while len(place):
        part = np.frombuffer(file.read(min(len(place), 1 << 20)), np.uint8)
        if not len(part):
            raise ValueError(f"ends {len(place):,} bytes early")
        place[: len(part)] = part
        place = place[len(part) :]


@contextmanager
def _faults_in_words() -> Iterator[None]:
    """Turn what zipfile, zlib, NumPy and the tokenizer raise on damaged bytes into ValueErrors."""
    try:
        yield
    except Exception as error:
        if type(error) is ValueError:
            raise
        # Not all of it: zipfile quotes the kilobytes that stand where a name was expected.
        words = str(error)[:200] or type(error).__name__
        raise ValueError(f"is damaged or cut ({words})") from error
