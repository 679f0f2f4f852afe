"""PNG: every bit of a file counts, and whatever Pillow would change without a word is refused."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qnn_ref.datasets import DataError, png, read_images

Image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")

SIGNATURE = b"\x89PNG\r\n\x1a\n"
PIXELS = np.random.default_rng(3).integers(0, 256, (12, 11, 3), np.uint8)


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("png") / "picture.png"


def chunk(kind: bytes, content: bytes = b"") -> bytes:
    check = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)


def header(width=4, height=3, bits=8, colour=0, compression=0, filtering=0, interlace=0) -> bytes:
    fields = (width, height, bits, colour, compression, filtering, interlace)
    return chunk(b"IHDR", struct.pack(">IIBBBBB", *fields))


ROWS = bytes([0, 1, 2, 3, 4] * 3)  # no filter, four pixels
DATA = chunk(b"IDAT", zlib.compress(ROWS))
END = chunk(b"IEND")


def picture(*between: bytes, head: bytes = header(), data: bytes = DATA) -> bytes:
    return SIGNATURE + head + b"".join(between) + data + END


def read(file: Path, content: bytes) -> np.ndarray:
    file.write_bytes(content)
    return read_images(file)


def whole() -> bytes:
    """A colour picture of 582 bytes, with a text beside the pixels."""
    stream = io.BytesIO()
    Image.fromarray(PIXELS).save(stream, "PNG")
    content = stream.getvalue()
    text = chunk(b"tEXt", b"Comment\0".ljust(582 - len(content) - 12, b"x"))
    return content[:33] + text + content[33:]


def test_every_flipped_bit_is_an_error_or_changes_nothing(file):
    content = whole()
    assert len(content) * 8 == 4656
    np.testing.assert_array_equal(read(file, content)[0], PIXELS)
    refused = 0
    for bit in range(8 * len(content)):
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        try:
            images = read(file, bytes(flipped))
        except DataError:
            refused += 1
            continue
        np.testing.assert_array_equal(images[0], PIXELS)
    assert refused == 4656


@pytest.mark.parametrize("size", [1, 33, 66, 100, 395, 396, 397])
def test_a_picture_of_several_strips(file, monkeypatch, size):
    monkeypatch.setattr(png, "_STRIP", size)
    np.testing.assert_array_equal(read(file, whole()), PIXELS[np.newaxis], strict=True)


@pytest.mark.parametrize("colour, channels", [(0, 1), (2, 3)])
@pytest.mark.parametrize("width, height", [(1, 1), (3, 5), (8, 8), (9, 13)])
def test_rows_of_an_interlaced_picture(file, colour, channels, width, height):
    """Adam7, written here pixel by pixel from the specification's own figure."""
    order = np.array(
        [
            [1, 6, 4, 6, 2, 6, 4, 6],
            [7, 7, 7, 7, 7, 7, 7, 7],
            [5, 6, 5, 6, 5, 6, 5, 6],
            [7, 7, 7, 7, 7, 7, 7, 7],
            [3, 6, 4, 6, 3, 6, 4, 6],
            [7, 7, 7, 7, 7, 7, 7, 7],
            [5, 6, 5, 6, 5, 6, 5, 6],
            [7, 7, 7, 7, 7, 7, 7, 7],
        ]
    )
    pixels = np.random.default_rng(width).integers(0, 256, (height, width, channels), np.uint8)
    rows = b""
    for turn in range(1, 8):
        for y in range(height):
            row = [pixels[y, x].tobytes() for x in range(width) if order[y % 8, x % 8] == turn]
            rows += b"\0" + b"".join(row) if row else b""
    head = header(width, height, colour=colour, interlace=1)
    content = picture(head=head, data=chunk(b"IDAT", zlib.compress(rows)))
    np.testing.assert_array_equal(read(file, content)[0], pixels)
    with pytest.raises(DataError, match="compressed stream"):
        read(file, picture(head=head, data=chunk(b"IDAT", zlib.compress(rows[:-1]))))


@pytest.mark.parametrize("colour", [0, 2, 3, 4, 6])
@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_only_8_bit_grey_and_rgb_are_read(file, bits, colour):
    samples = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    row = b"\0" + bytes(-(-4 * samples * bits // 8))
    palette = chunk(b"PLTE", bytes(6))
    data = chunk(b"IDAT", zlib.compress(3 * row))
    content = picture(palette, head=header(bits=bits, colour=colour), data=data)
    if bits == 8 and colour in (0, 2):
        assert read(file, content).shape == (1, 3, 4, samples)
        return
    with pytest.raises(DataError, match=rf"PNG has {bits}-bit .*only 8-bit grey and RGB are read"):
        read(file, content)


def exif(orientation: int) -> bytes:
    entry = struct.pack(">HHIHH", 0x0112, 3, 1, orientation, 0)
    return chunk(b"eXIf", b"MM\0*" + struct.pack(">IH", 8, 1) + entry + bytes(4))


def test_what_surrounds_the_pixels_does_not_matter(file):
    plain = read(file, picture())
    assert plain.ravel().tolist() == [1, 2, 3, 4] * 3
    halves = zlib.compress(ROWS)[:7], zlib.compress(ROWS)[7:]
    for content in (
        picture(chunk(b"tEXt", b"Title\0x"), chunk(b"gAMA", bytes(4))),
        picture(chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(2**21)))),
        picture(exif(1)),
        picture(data=chunk(b"IDAT", halves[0]) + chunk(b"IDAT") + chunk(b"IDAT", halves[1])),
    ):
        np.testing.assert_array_equal(read(file, content), plain)


FILTER_5 = bytes([0, 1, 2, 3, 4, 5, 1, 2, 3, 4, 0, 1, 2, 3, 4])
WRONG_SUM = zlib.compress(ROWS)[:-1] + b"x"


@pytest.mark.parametrize(
    "content, words",
    [
        (picture(chunk(b"tRNS", bytes(2))), "has a transparent colour"),
        (picture(chunk(b"acTL", bytes(8))), "is animated"),
        (picture(exif(6)), "turned or mirrored by its EXIF data (orientation 6)"),
        (picture(chunk(b"eXIf", b"MM")), "its EXIF data"),
        (picture(chunk(b"ABCD")), "unknown chunk 'ABCD' at byte 33"),
        (picture(chunk(b"ab d")), "unknown chunk 'ab d'"),
        (picture(header()), "a second header"),
        (picture() + b"x", "1 bytes after its end"),
        (picture()[:-12], "PNG is cut, or a length is damaged: chunk at byte"),
        (picture()[:-1], "PNG is cut, or a length is damaged: chunk at byte"),
        (SIGNATURE, "PNG is cut"),
        (SIGNATURE + END, "its first chunk is no header"),
        (SIGNATURE + chunk(b"IHDR", bytes(12)) + DATA + END, "its first chunk is no header"),
        (picture(data=b""), "compressed stream ends early"),
        (picture(data=chunk(b"IDAT", WRONG_SUM)), "incorrect data check"),
        (picture(data=chunk(b"IDAT", zlib.compress(ROWS + b"x"))), "holds more than 15 bytes"),
        (picture(data=chunk(b"IDAT", zlib.compress(ROWS[:-1]))), "expected 15 bytes, found 14"),
        (picture(data=chunk(b"IDAT", zlib.compress(FILTER_5))), "a row with the unknown filter 5"),
        (picture(head=header(width=0)), "0 x 3 pixels"),
        (picture(head=header(height=2**31)), "4 x 2147483648 pixels"),
        (picture(head=header(width=2**31 - 1)), "unpacks to more than 67108864 bytes"),
        (picture(head=header(colour=1)), "colour type 1 with 8 bits"),
        (picture(head=header(bits=3)), "colour type 0 with 3 bits"),
        (picture(head=header(compression=1)), "unknown compression, filters or interlacing"),
        (picture(head=header(filtering=1)), "unknown compression, filters or interlacing"),
        (picture(head=header(interlace=2)), "unknown compression, filters or interlacing"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_refused_and_why(file, content, words):
    with pytest.raises(DataError) as caught:
        read(file, content)
    assert words in str(caught.value)
    assert str(caught.value).startswith(f"{file}: ")


SMALL = picture(exif(1), head=header(colour=2), data=chunk(b"IDAT", zlib.compress(bytes(39))))


@given(st.data())
def test_damage_behind_sound_checksums_gives_a_picture_or_a_data_error(file, data):
    """A byte of a chunk is changed, and its checksum with it."""
    chunks, at = [], 8
    while at < len(SMALL):
        length = int.from_bytes(SMALL[at : at + 4])
        chunks.append((SMALL[at + 4 : at + 8], bytearray(SMALL[at + 8 : at + 8 + length])))
        at += 12 + length
    _, content = chunks[data.draw(st.sampled_from([0, 1, 2]))]
    content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    damaged = SIGNATURE + b"".join(chunk(kind, bytes(content)) for kind, content in chunks)
    try:
        images = read(file, damaged)
    except DataError:
        return
    width, height = (int.from_bytes(chunks[0][1][i : i + 4]) for i in (0, 4))
    assert images.shape[1:3] == (height, width)
    assert not images.any()
