"""Images to classify, from each kind of file."""

import contextlib
import gzip
import io
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from qnn_ref.datasets import DataError, read_images

Image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")

images = hnp.arrays(
    np.uint8,
    st.tuples(
        st.integers(1, 3), st.integers(1, 5), st.integers(1, 5), st.sampled_from([None, 1, 3])
    ).map(lambda shape: tuple(n for n in shape if n is not None)),
)


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("images") / "images"


def idx(array: np.ndarray) -> bytes:
    head = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    return head + array.tobytes()


def npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def png(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, "PNG")
    return stream.getvalue()


def four(array: np.ndarray) -> np.ndarray:
    return array if array.ndim == 4 else array[..., np.newaxis]


@given(images, st.sampled_from([idx, npy, lambda array: gzip.compress(idx(array))]))
def test_many_images(file, array, write):
    file.write_bytes(write(array))
    np.testing.assert_array_equal(read_images(file), four(array), strict=True)


@given(images)
def test_a_picture_is_one_image(file, array):
    first = four(array)[0]
    file.write_bytes(png(first if first.shape[2] == 3 else first[..., 0]))
    np.testing.assert_array_equal(read_images(file), first[np.newaxis], strict=True)


@pytest.mark.parametrize("write", [idx, npy, png])
def test_one_grey_image_gets_its_batch(file, write):
    array = np.arange(6, dtype=np.uint8).reshape(2, 3)
    file.write_bytes(write(array))
    assert read_images(str(file)).shape == (1, 2, 3, 1)
    assert read_images(file)[0, 1, 2, 0] == 5


def test_an_array_in_fortran_order_keeps_its_pixels(file):
    array = np.asfortranarray(np.arange(24, dtype=np.uint8).reshape(2, 3, 4))
    file.write_bytes(npy(array))
    np.testing.assert_array_equal(read_images(file)[..., 0], array)


@pytest.mark.parametrize("shape", [(9, 7), (9, 7, 3)], ids=["grey", "colour"])
def test_a_picture_cut_anywhere_is_refused(file, shape):
    whole = png(np.random.default_rng(2).integers(0, 256, shape, np.uint8))
    for length in range(len(whole)):
        file.write_bytes(whole[:length])
        with pytest.raises(DataError):
            read_images(file)


@given(st.data())
def test_a_damaged_picture_gives_no_other_exception(file, data):
    whole = bytearray(png(np.arange(35, dtype=np.uint8).reshape(5, 7)))
    at = data.draw(st.integers(0, len(whole) - 1))
    whole[at] ^= data.draw(st.integers(1, 255))
    file.write_bytes(whole)
    with contextlib.suppress(DataError):
        read_images(file)


def convert(mode: str) -> bytes:
    stream = io.BytesIO()
    Image.new(mode, (4, 3)).save(stream, "PNG")
    return stream.getvalue()


def chunk(kind: bytes, content: bytes) -> bytes:
    check = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)


HEAD = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 4, 3, 8, 0, 0, 0, 0))
END = chunk(b"IEND", b"")
PIXELS = zlib.compress(bytes(3 * 5), 0)
LONG_TEXT = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(2**21)))
VAST = (
    b"\x89PNG\r\n\x1a\n"
    + chunk(b"IHDR", struct.pack(">IIBBBBB", 2**30, 2**30, 8, 0, 0, 0, 0))
    + chunk(b"IDAT", zlib.compress(b"\0"))
    + chunk(b"IEND", b"")
)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"\xff\xd8\xff\xe0", "is no idx, npy or PNG file: this is a JPEG picture"),
        (b"PK\3\4", "this is a zip or .npz archive"),
        (b"\x80\x04K\1.", "this is a Python pickle, which is never opened"),
        (b"hello", "this is plain text"),
        (npy(np.zeros((2, 3))), "uint8 (0..255), found float64"),
        (npy(np.zeros((2, 3), np.int64)), "found int64"),
        (npy(np.array([{}], object)), "stores Python objects"),
        (npy(np.zeros((2, 3, 4, 5), np.uint8)), "1 or 3 channels, found shape (2, 3, 4, 5)"),
        (npy(np.zeros(5, np.uint8)), "found shape (5,)"),
        (npy(np.zeros((0, 3, 4), np.uint8)), "holds no pixels"),
        (
            npy(np.zeros((2, 3, 4), np.uint8))[:-1],
            "states uint8 (2, 3, 4), which is 24 bytes, and holds 23",
        ),
        (idx(np.zeros(5, np.uint8)), "found shape (5,)"),
        (idx(np.zeros((2, 3, 4), np.uint8))[:-1], "expected 24 bytes, found 23"),
        (gzip.compress(npy(np.zeros((2, 3), np.uint8))), "this is a NumPy .npy file"),
        (convert("RGBA"), "PNG has 8-bit RGB and alpha pixels; only 8-bit grey and RGB"),
        (convert("P"), "PNG has 1-bit palette pixels"),
        (convert("1"), "PNG has 1-bit grey pixels"),
        (convert("I;16"), "PNG has 16-bit grey pixels"),
        (VAST, "unpacks to more than 67108864 bytes"),
        (
            HEAD + chunk(b"IDAT", PIXELS[:9]) + chunk(b"\xff\xff\xff\xff", b"") + END,
            "unknown chunk",
        ),
        (HEAD + chunk(b"IDAT", PIXELS[:9]) + END, "compressed stream ends early"),
        (png(np.zeros((3, 4), np.uint8))[:-3], "PNG is cut"),
    ],
)
def test_what_is_refused_and_why(file, content, words):
    file.write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_images(file)
    assert words in str(caught.value)
    assert str(caught.value).startswith(f"{file}: ")


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(DataError, match=r"absent\.png: there is no such file"):
        read_images(tmp_path / "absent.png")


def test_without_pillow_the_extra_is_named(file, monkeypatch):
    file.write_bytes(png(np.zeros((3, 4), np.uint8)))
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ImportError, match=r'Pillow: pip install "qnn-ref\[data\]"'):
        read_images(file)
    file.write_bytes(npy(np.zeros((3, 4), np.uint8)))
    assert read_images(file).shape == (1, 3, 4, 1)
