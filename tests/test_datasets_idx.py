"""The idx reader: what was written comes back, and every damage is named."""

import contextlib
import copy
import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from qnn_ref.datasets import DataError, read_idx
from qnn_ref.datasets.idx import idx_bytes

arrays = hnp.arrays(np.uint8, hnp.array_shapes(min_dims=1, max_dims=5, max_side=3))


def header(*dimensions: int) -> bytes:
    """The header of unsigned bytes, written without the package."""
    return struct.pack(f">BBBB{len(dimensions)}I", 0, 0, 8, len(dimensions), *dimensions)


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("idx") / "images-idx3-ubyte"


@given(arrays, st.booleans())
def test_what_was_written_comes_back(file, array, packed):
    content = header(*array.shape) + array.tobytes()
    assert idx_bytes(array) == content
    file.write_bytes(gzip.compress(content) if packed else content)
    for dimensions in (None, array.ndim):
        back = read_idx(file, dimensions)
        assert back.dtype == np.uint8
        assert back.flags.writeable
        np.testing.assert_array_equal(back, array, strict=True)


def test_the_last_dimension_runs_fastest(file):
    file.write_bytes(header(2, 2, 3) + bytes(range(12)))
    image = read_idx(file)[1]
    assert image.tolist() == [[6, 7, 8], [9, 10, 11]]


@settings(max_examples=20)
@given(arrays, st.booleans())
def test_a_file_cut_anywhere_is_refused(file, array, packed):
    content = idx_bytes(array)
    whole = gzip.compress(content, mtime=0) if packed else content
    for length in range(len(whole)):
        file.write_bytes(whole[:length])
        with pytest.raises(DataError) as caught:
            read_idx(file)
        assert caught.value.path == str(file)
        assert str(caught.value).startswith(f"{file}: ")


@given(arrays, st.binary(min_size=1, max_size=9), st.booleans())
def test_a_file_that_is_too_long_is_refused(file, array, more, packed):
    content = idx_bytes(array)
    file.write_bytes(gzip.compress(content + more) if packed else content + more)
    size = array.size
    with pytest.raises(DataError, match=f"expected {size} bytes, found {size + len(more)} "):
        read_idx(file)


@given(arrays, st.data())
def test_a_damaged_gzip_stream_gives_no_other_array(file, array, data):
    whole = bytearray(gzip.compress(idx_bytes(array), mtime=0))
    at = data.draw(st.integers(0, len(whole) - 1))
    whole[at] ^= data.draw(st.integers(1, 255))
    file.write_bytes(whole)
    try:
        back = read_idx(file)
    except DataError:
        return
    np.testing.assert_array_equal(back, array)  # only time, name and such in its header


@given(st.binary(max_size=80), st.booleans())
def test_any_bytes_give_an_array_or_a_data_error(file, content, zero):
    file.write_bytes((b"\0\0\x08" if zero else b"") + content)
    with contextlib.suppress(DataError):
        assert read_idx(file).size > 0


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize("name", ["images-idx3-ubyte", "images.idx3-ubyte", "images-idx3-ubyte.gz"])
def test_the_first_bytes_decide_not_the_name(tmp_path, name, packed):
    content = header(1, 2, 2) + b"\1\2\3\4"
    (tmp_path / name).write_bytes(gzip.compress(content) if packed else content)
    assert read_idx(tmp_path / name, 3).tolist() == [[[1, 2], [3, 4]]]
    assert read_idx(str(tmp_path / name)).tolist() == [[[1, 2], [3, 4]]]


TWELVE = header(3, 2, 2) + bytes(12)
HUGE = header(*(2**32 - 1,) * 40) + b"x"


@pytest.mark.parametrize(
    ("content", "dimensions", "words"),
    [
        (b"", 3, "is empty"),
        (gzip.compress(b""), 3, "is empty: a compressed stream of 0 bytes"),
        (b"\0\0\x08", 3, "header incomplete: 3 bytes"),
        (TWELVE[:7], 3, "header incomplete: expected 16 bytes for 3 dimensions, found 7"),
        (TWELVE[:4], 3, "header incomplete: expected 16 bytes for 3 dimensions, found 4"),
        (TWELVE[:15], 3, "header incomplete: expected 16 bytes for 3 dimensions, found 15"),
        (TWELVE[:-2], 3, "expected 12 bytes, found 10 (dimensions 3 x 2 x 2)"),
        (TWELVE + b"x", 3, "expected 12 bytes, found 13"),
        (TWELVE[:16], 3, "expected 12 bytes, found 0"),
        (gzip.compress(TWELVE)[:-9], 3, "compressed stream ends early"),
        (gzip.compress(TWELVE)[:20], 3, "compressed stream ends early"),
        (gzip.compress(TWELVE)[:-8] + bytes(8), 3, "compressed stream is damaged"),
        (gzip.compress(TWELVE) + b"tail", 3, "compressed stream is damaged"),
        (gzip.compress(gzip.compress(TWELVE)), 3, "this is gzip data"),
        (gzip.compress(gzip.compress(TWELVE)), 3, "found 0x1F8B0800 = 529205248"),
        (TWELVE, 1, "expected 0x00000801 = 2049 (unsigned bytes, 1 dimensions)"),
        (TWELVE, 1, "found 0x00000803 = 2051 (element type 0x08, 3 dimensions)"),
        (b"\0\0\x0d\x03" + TWELVE[4:], 3, "element type 0x0D"),
        (b"\0\0\x0d\x03" + TWELVE[4:], None, "0x000008NN"),
        (b"\3\x08\0\0" + TWELVE[4:], 3, "found 0x03080000"),
        (b"\0\1\x08\3" + TWELVE[4:], 3, "found 0x00010803"),
        (b"\0\0\x08\0", None, "0 dimensions"),
        (HUGE[:3] + b"\x28" + HUGE[4:], None, "40 dimensions"),
        (header(0, 28, 28), 3, "holds no elements: its dimensions are 0 x 28 x 28"),
        (header(0, *(2**32 - 1,) * 9), None, "holds no elements"),
        (header(*(2**32 - 1,) * 9) + b"x", None, f"expected {(2**32 - 1) ** 9} bytes, found 1"),
        (b"<!DOCTYPE html><title>403 Forbidden</title>", 3, "HTML or XML text"),
        (b"PK\3\4" + bytes(40), 3, "a zip or .npz archive"),
        (b"\x89PNG\r\n\x1a\n" + bytes(40), 3, "a PNG picture"),
        (b"\x80\x02}q\0." + bytes(9), 3, "a Python pickle, which is never opened"),
        (b"just text", 3, "this is plain text"),
    ],
)
def test_each_fault_is_named(tmp_path, content, dimensions, words):
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_idx(path, dimensions)
    assert words in str(caught.value)
    assert str(caught.value).startswith(f"{path}: ")


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(DataError, match="absent: there is no such file"):
        read_idx(tmp_path / "absent")
    with pytest.raises(DataError, match="cannot be read"):
        read_idx(tmp_path)


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros(3, np.int64), "array: expected dtype uint8, got int64"),
        (np.uint8(3), "array: expected 1 to 32 dimensions, got 0"),
        (np.zeros((1,) * 33, np.uint8), "got 33"),
    ],
    ids=["dtype", "scalar", "33 dimensions"],
)
def test_only_bytes_are_written(array, words):
    with pytest.raises(ValueError, match=words):
        idx_bytes(array)


def test_a_slice_is_written_as_it_reads():
    array = np.arange(24, dtype=np.uint8).reshape(4, 6)[::2, ::-1].T
    assert idx_bytes(array) == header(6, 2) + bytes(array.ravel().tolist())


def test_the_error_survives_a_copy():
    error = copy.copy(DataError("a/b", "is empty"))
    assert (str(error), error.path, error.fault) == ("a/b: is empty", "a/b", "is empty")
    assert isinstance(error, ValueError)
