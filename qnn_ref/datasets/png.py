"""PNG pictures of bytes: every chunk checked here, the pixels alone unpacked by Pillow.

    bytes 0-7   the signature
    then        chunks: length of the content (32 bits, big endian), four letters, content, and the
                CRC-32 of letters and content
    IHDR        the first: width, height, bits of a sample, colour type, and whether interlaced
    IDAT        any number of them: together one zlib stream of rows, each after its filter's number
    IEND        the last

Pillow compares no checksum of IDAT, so one changed bit can give another picture; it scales samples
of other sizes to 8 bits, drops a transparent colour, and shows the first frame of an animation.
So it gets a file of three chunks, checked here before.
"""

import io
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from qnn_ref.archives import unpacked_limit
from qnn_ref.kinds import PNG_MAGIC

from .files import DataError, inflate

_LETTERS = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
_CRITICAL = frozenset((b"IHDR", b"PLTE", b"IDAT", b"IEND"))
_COLOURS = {0: "grey", 2: "RGB", 3: "palette", 4: "grey and alpha", 6: "RGB and alpha"}
_CHANNELS = {0: 1, 2: 3}  # of the two colour types that are read
_CONVERT = "; only 8-bit grey and RGB are read: convert it first"
_REFUSED = {b"tRNS": "has a transparent colour" + _CONVERT, b"acTL": "is animated, not one picture"}
_ORIENTATION = 0x0112
_STRIP = 2**22  # bytes
# First column and row, and the steps, of each picture inside an interlaced one (Adam7).
_WHOLE = ((0, 0, 1, 1),)
_INTERLACED = (
    *((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4)),
    *((0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)),
)


class _Header(NamedTuple):
    width: int
    height: int
    bits: int
    colour: int
    compression: int
    filtering: int
    interlace: int


def decode_png(path: str | Path, content: bytes) -> NDArray[np.uint8]:
    """Decode one picture.

    Parameters
    ----------
    path : str or pathlib.Path
        The file to name in an error.
    content : bytes
        The whole file: 8-bit grey or RGB, interlaced or not.

    Returns
    -------
    array (1, height, width, channels) of uint8
        The samples as they are stored.

    Raises
    ------
    DataError
        If a checksum is wrong or anything else damaged, if samples have another size or the
        picture a palette, transparency, several frames or an orientation that turns it, or if it
        would unpack to far more than a picture of that file's size can hold.
    ImportError
        If Pillow is not installed.
    """
    chunks = list(_chunks(path, content))
    header = _header(path, chunks)
    for kind, data in chunks:
        if kind in _REFUSED:
            raise DataError(path, f"PNG {_REFUSED[kind]}")
        if kind == b"eXIf":
            _check_upright(path, data)
    stream = b"".join(data for kind, data in chunks if kind == b"IDAT")
    _check_rows(path, header, stream, unpacked_limit(len(content)))
    return _unpack(path, header, chunks[0][1], stream)


def _chunks(path: str | Path, content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield letters and content of each chunk, after its checksum, up to the end of the file."""
    at, kind = len(PNG_MAGIC), b""
    while kind != b"IEND":
        length = int.from_bytes(content[at : at + 4], "big")
        if at + 12 + length > len(content):
            raise DataError(path, f"PNG is cut, or a length is damaged: chunk at byte {at}")
        kind, data = content[at + 4 : at + 8], content[at + 8 : at + 8 + length]
        name = kind.decode("latin-1")
        if content[at + 8 + length : at + 12 + length] != zlib.crc32(kind + data).to_bytes(4):
            raise DataError(path, f"PNG is damaged: wrong checksum of chunk {name!r} at byte {at}")
        # An upper-case first letter: no picture without it.
        if not _LETTERS.issuperset(kind) or (kind[:1].isupper() and kind not in _CRITICAL):
            raise DataError(path, f"PNG is damaged: unknown chunk {name!r} at byte {at}")
        at += 12 + length
        yield kind, data
    if at < len(content):
        raise DataError(path, f"PNG is damaged: {len(content) - at} bytes after its end")


def _header(path: str | Path, chunks: list[tuple[bytes, bytes]]) -> _Header:
    kind, data = chunks[0]
    if kind != b"IHDR" or len(data) != 13:
        raise DataError(path, "PNG is damaged: its first chunk is no header of 13 bytes")
    if sum(kind == b"IHDR" for kind, _ in chunks) > 1:
        raise DataError(path, "PNG is damaged: a second header")
    header = _Header(*struct.unpack(">IIBBBBB", data))
    if header.colour not in _COLOURS or header.bits not in (1, 2, 4, 8, 16):
        fault = f"colour type {header.colour} with {header.bits} bits"
        raise DataError(path, f"PNG is damaged: {fault}")
    if header.colour not in _CHANNELS or header.bits != 8:
        fault = f"PNG has {header.bits}-bit {_COLOURS[header.colour]} pixels{_CONVERT}"
        raise DataError(path, fault)
    if header.compression or header.filtering or header.interlace > 1:
        raise DataError(path, "PNG is damaged: unknown compression, filters or interlacing")
    if not (0 < header.width < 2**31 and 0 < header.height < 2**31):
        raise DataError(path, f"PNG is damaged: {header.width} x {header.height} pixels")
    return header


def _check_upright(path: str | Path, exif: bytes) -> None:
    """Refuse a picture that viewers turn or mirror: a network would see it otherwise."""
    Image = _pillow()
    try:
        held = Image.Exif()
        held.load(exif)
        orientation = held.get(_ORIENTATION, 1)
    except Exception as error:  # Pillow raises errors of many kinds there
        raise DataError(path, f"PNG is damaged: its EXIF data ({error})") from error
    if orientation != 1:
        fault = f"PNG is turned or mirrored by its EXIF data (orientation {orientation})"
        raise DataError(path, f"{fault}: store it upright")


def _check_rows(path: str | Path, header: _Header, stream: bytes, most: int) -> None:
    """Compare the unpacked rows with the size that the header states, and their filters."""
    wide = [
        (-(-(header.height - top) // down), -(-(header.width - left) // right))
        for left, top, right, down in (_INTERLACED if header.interlace else _WHOLE)
    ]
    wide = [(rows, columns) for rows, columns in wide if rows > 0 and columns > 0]
    lengths = [1 + columns * _CHANNELS[header.colour] for _, columns in wide]
    expected = sum(rows * length for (rows, _), length in zip(wide, lengths, strict=True))
    unpacked = inflate(path, stream, expected, most)
    at = 0
    for (rows, _), length in zip(wide, lengths, strict=True):
        filters = unpacked[at : at + rows * length : length]
        if filters.max() > 4:
            raise DataError(path, f"PNG is damaged: a row with the unknown filter {filters.max()}")
        at += rows * length


def _unpack(path: str | Path, header: _Header, head: bytes, stream: bytes) -> NDArray[np.uint8]:
    """Let Pillow undo the filters, of a file that holds nothing else than pixels."""
    Image = _pillow()
    pieces = ((b"IHDR", head), (b"IDAT", stream), (b"IEND", b""))
    checked = PNG_MAGIC + b"".join(
        len(data).to_bytes(4) + kind + data + zlib.crc32(kind + data).to_bytes(4)
        for kind, data in pieces
    )
    width, height = header.width, header.height
    pixels = np.empty((1, height, width, _CHANNELS[header.colour]), np.uint8)
    rows = max(1, _STRIP // pixels[0, 0].size)
    try:
        with Image.open(io.BytesIO(checked), formats=("PNG",)) as image:
            # In strips: Pillow gives its pixels through two copies of what is asked for.
            for top in range(0, height, rows):
                strip = image.crop((0, top, width, min(top + rows, height)))
                pixels[0, top : top + rows] = np.asarray(strip).reshape(-1, *pixels.shape[2:])
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(path, f"PNG is damaged ({error})") from error
    return pixels


def _pillow() -> Any:
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError('PNG files need Pillow: pip install "qnn-ref[data]"') from error
    return Image
