"""MATLAB's files: the same arrays as SciPy reads, and no damage that goes unnamed."""

import contextlib
import importlib.util
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from qnn_ref.datasets import DataError
from qnn_ref.datasets.matlab import read_matlab

scipy_io = pytest.importorskip("scipy.io", reason="SciPy is not installed")
# SciPy's own tests come with files that MATLAB wrote.
FROM_MATLAB = Path(importlib.util.find_spec("scipy").origin).parent / "io/matlab/tests/data"
DTYPES = [np.dtype(f"{kind}{size}") for kind in "iu" for size in (1, 2, 4, 8)]
DTYPES += [np.dtype(np.float32), np.dtype(np.float64)]

arrays = hnp.arrays(
    st.sampled_from(DTYPES),
    hnp.array_shapes(min_dims=2, max_dims=5, max_side=4),
    elements={"allow_nan": False},
)


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("matlab") / "file.mat"


def element(kind: int, content: bytes) -> bytes:
    return struct.pack("<II", kind, len(content)) + content + bytes(-len(content) % 8)


def small_element(kind: int, content: bytes) -> bytes:
    return struct.pack("<HH", kind, len(content)) + content.ljust(4, b"\0")


FLAGS = element(6, struct.pack("<II", 9, 0))


def variable(
    name: bytes = b"a",
    shape: tuple[int, ...] = (2, 3),
    numbers: bytes = element(2, bytes(range(6))),
    flags: bytes = FLAGS,
) -> bytes:
    """The content of an array of bytes, unless told otherwise."""
    dimensions = element(5, struct.pack(f"<{len(shape)}i", *shape))
    return flags + dimensions + element(1, name) + numbers


START = b"MATLAB 5.0 MAT-file".ljust(124) + b"\0\1IM"


def packed(content: bytes) -> bytes:
    """A compressed element, which is not padded."""
    stream = zlib.compress(content)
    return struct.pack("<II", 15, len(stream)) + stream


@given(arrays, st.booleans())
def test_what_scipy_wrote_comes_back(file, array, compressed):
    scipy_io.savemat(file, {"other": "text", "array": array, "z": {"a": 1}}, False, "5", compressed)
    back = read_matlab(str(file), ("array",))
    assert set(back) == {"array"}
    np.testing.assert_array_equal(back["array"], array, strict=True)


@pytest.mark.parametrize(
    ("stem", "key"),
    [("test3dmatrix", "test3dmatrix"), ("testdouble", "testdouble"), ("testmatrix", "testmatrix")],
)
@pytest.mark.parametrize("version", ["6.1_SOL2", "6.5.1_GLNX86", "7.1_GLNX86", "7.4_GLNX86"])
def test_what_matlab_wrote_is_read_as_scipy_reads_it(stem, key, version):
    path = FROM_MATLAB / f"{stem}_{version}.mat"
    if not path.is_file():
        pytest.skip("this SciPy comes without its tests")
    if "SOL2" in version:
        with pytest.raises(DataError, match="expected little endian"):
            read_matlab(path, (key,))
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        right = scipy_io.loadmat(path)[key]
    np.testing.assert_array_equal(read_matlab(path, (key,))[key], right, strict=True)


@pytest.mark.parametrize("name", [b"a", b"four", b"fifth", b"a_long_name"])
@pytest.mark.parametrize("compressed", [False, True])
def test_the_format_as_the_docstring_states_it(file, name, compressed):
    whole = element(14, variable(name))
    file.write_bytes(START + (packed(whole) if compressed else whole))
    array = read_matlab(file, [name.decode()])[name.decode()]
    np.testing.assert_array_equal(array, np.uint8([[0, 2, 4], [1, 3, 5]]), strict=True)


def test_small_elements_and_smaller_types(file):
    # A matrix of doubles that fit into bytes; "a" and the numbers stand in small elements.
    flags = element(6, struct.pack("<II", 6, 0))
    dimensions = element(5, struct.pack("<ii", 3, 1))
    content = flags + dimensions + small_element(1, b"a") + small_element(2, b"\1\2\xff")
    file.write_bytes(START + element(14, content))
    np.testing.assert_array_equal(
        read_matlab(file, ("a",))["a"], np.array([[1], [2], [255]], np.uint8), strict=True
    )


BOMB = struct.pack("<II", 14, 2**31) + bytes(40)
CUT = packed(element(14, variable()))[8:-6]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"MATLAB 7.3 MAT-file, Platform", "of version 7.3 (HDF5); only version 5 is read"),
        (b"<html>gone</html>", "is no MATLAB file of version 5: this is HTML or XML text"),
        (b"\x1f\x8b\x08\0", "this is gzip data"),
        (b"\x80\x02}q\0.", "a Python pickle, which is never opened"),
        (bytes(200), "is no MATLAB file of version 5: of an unknown kind"),
        (START[:127], "header incomplete: expected 128 bytes, found 127"),
        (START[:126] + b"MI", "expected little endian (IM), found b'MI'"),
        (START, "lacks a; it holds nothing"),
        (START + element(14, variable(b"b")), "lacks a; it holds b"),
        (START + b"\x0e\0\0\0\0", "is cut: expected a type and a size, found 5 bytes"),
        (START + element(14, variable())[:-8], "expected 64 bytes, found 56"),
        (START + element(14, variable()[:52]), "expected a type and a size, found 4 bytes"),
        (START + element(3, b"x"), "an element of type 3 is no variable"),
        (START + element(14, element(6, bytes(8))), "a variable without a name"),
        (START + element(14, small_element(6, b"") + b"\1\0\5\0abcd"), "expected 5 bytes, found 4"),
        (START + packed(BOMB), "unpacks to more than 67108864 bytes"),
        (START + packed(element(13, bytes(8))), "expected a variable (type 14), found 13"),
        (
            START + packed(element(14, variable()) + b"x"),
            "compressed stream holds more than 72 bytes",
        ),
        (START + packed(b"\x0e\0\0\0"), "compressed stream is damaged"),
        (START + element(15, b"no stream"), "compressed stream is damaged (Error -3"),
        (START + struct.pack("<II", 15, len(CUT)) + CUT, "compressed stream ends early"),
        (
            START + element(14, variable(shape=(2, 4))),
            "6 bytes do not fit its dimensions (2 x 4 of",
        ),
        (START + element(14, variable(shape=(-2, -3))), "do not fit its dimensions (-2 x -3"),
        (START + element(14, variable(shape=())), "do not fit its dimensions ( of uint8)"),
        (
            START + element(14, FLAGS + element(5, bytes(6)) + element(1, b"a") + element(2, b"")),
            "a is damaged: its dimensions or the type",
        ),
        (START + element(14, variable(shape=(6,))), "do not fit its dimensions (6 of uint8)"),
        (START + element(14, variable(shape=(2, 3, *(1,) * 63))), "dimensions (2 x 3 x 1 x 1"),
        (
            START + element(14, variable(shape=(0, 2**30), numbers=element(2, b""))),
            "a: 0 bytes do not fit its dimensions (0 x 1073741824",
        ),
        (
            START + element(14, variable(shape=(2**30,) * 30)),
            "do not fit its dimensions (1073741824",
        ),
        (
            START + element(14, variable(numbers=element(9, bytes(6)))),
            "dimensions (2 x 3 of float64)",
        ),
        (START + element(14, variable(numbers=element(8, bytes(6)))), "a is damaged: its dimen"),
        (START + element(14, variable(numbers=element(25, bytes(6)))), "a is damaged: its dimen"),
        (START + element(14, variable(numbers=b"")), "a is damaged: its dimensions or the type"),
        (
            START + element(14, variable(flags=element(6, struct.pack("<II", 0x809, 0)))),
            "a is no array of real numbers",
        ),
        (START + element(14, variable(flags=element(6, b"\1\0\0\0" * 2))), "a is no array of real"),
        (START + element(14, variable(flags=element(6, b"\x09"))), "a is no array of real numbers"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_each_fault_is_named(file, content, words):
    file.write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_matlab(file, ("a",))
    assert words in str(caught.value)
    assert str(caught.value).startswith(f"{file}: ")


@pytest.mark.parametrize("value", [1j, {"a": 1}, "text", np.array([[1, "a"]], object), True])
def test_what_is_no_array_of_numbers(file, value):
    scipy_io.savemat(file, {"a": value})
    if value is True:  # MATLAB's logical is a flag of uint8
        assert read_matlab(file, ("a",))["a"].tolist() == [[1]]
        return
    with pytest.raises(DataError, match="a is no array of real numbers"):
        read_matlab(file, ("a",))


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(DataError, match=r"absent\.mat: there is no such file"):
        read_matlab(tmp_path / "absent.mat", ())
    with pytest.raises(DataError, match="cannot be read"):
        read_matlab(tmp_path, ())


SMALL = {"X": np.arange(60, dtype=np.uint8).reshape(3, 4, 5), "y": np.array([[3], [10]], np.uint8)}


def written(file: Path, compressed: bool) -> bytes:
    scipy_io.savemat(file, SMALL, do_compression=compressed)
    return file.read_bytes()


@pytest.mark.parametrize("compressed", [False, True])
def test_a_file_cut_anywhere_is_refused(file, compressed):
    whole = written(file, compressed)
    for length in range(len(whole)):
        file.write_bytes(whole[:length])
        with pytest.raises(DataError):
            read_matlab(file, SMALL)


@given(st.booleans(), st.data())
def test_a_damaged_file_gives_no_other_exception(file, compressed, data):
    whole = bytearray(written(file, compressed))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(whole) - 1))
        whole[at] = data.draw(st.integers(0, 255))
    file.write_bytes(whole)
    with contextlib.suppress(DataError):
        read_matlab(file, SMALL)


@given(st.data())
def test_a_damaged_stream_gives_the_same_arrays_or_a_data_error(file, data):
    whole = bytearray(written(file, compressed=True))
    whole[data.draw(st.integers(128, len(whole) - 1))] ^= data.draw(st.integers(1, 255))
    file.write_bytes(whole)
    with contextlib.suppress(DataError):
        for key, array in read_matlab(file, SMALL).items():
            np.testing.assert_array_equal(array, SMALL[key])
