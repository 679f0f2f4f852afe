"""NumPy's files: nothing is unpickled, and every damage is named."""

import contextlib
import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qnn_ref.datasets import DataError, load
from qnn_ref.datasets.npz import read_arrays, read_npy

ARRAYS = {"a": np.arange(6, dtype=np.uint8).reshape(2, 3), "b": np.array([1, 2])}
# The pickle of "call os.system": a reader that opens it creates the file.
TRAP = "cos\nsystem\n(S'echo trapped > {}'\ntR."


def archive_bytes(save=np.savez, **arrays) -> bytes:
    stream = io.BytesIO()
    save(stream, **arrays)
    return stream.getvalue()


def npy_bytes(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("npz") / "file"


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_arrays_come_back_by_key(file, save):
    file.write_bytes(archive_bytes(save, **ARRAYS))
    back = read_arrays(file, ("b",), optional=("a", "absent"))
    assert set(back) == {"a", "b"}
    np.testing.assert_array_equal(back["a"], ARRAYS["a"], strict=True)
    assert set(read_arrays(file, ("b",))) == {"b"}


def test_one_array_comes_back(file):
    file.write_bytes(npy_bytes(ARRAYS["a"]))
    np.testing.assert_array_equal(read_npy(file), ARRAYS["a"], strict=True)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_an_archive_cut_anywhere_is_refused(file, save):
    whole = archive_bytes(save, **ARRAYS)
    for length in range(len(whole)):
        file.write_bytes(whole[:length])
        with pytest.raises(DataError):
            read_arrays(file, ("a", "b"))


def test_an_npy_file_cut_anywhere_is_refused(file):
    whole = npy_bytes(ARRAYS["a"])
    for length in range(len(whole)):
        file.write_bytes(whole[:length])
        with pytest.raises(DataError):
            read_npy(file)


@given(st.sampled_from([np.savez, np.savez_compressed]), st.data())
def test_a_changed_byte_gives_the_same_arrays_or_a_data_error(file, save, data):
    whole = bytearray(archive_bytes(save, **ARRAYS))
    at = data.draw(st.integers(0, len(whole) - 1))
    whole[at] ^= data.draw(st.integers(1, 255))
    file.write_bytes(whole)
    try:
        back = read_arrays(file, ("a", "b"))
    except DataError:
        return
    for key, array in ARRAYS.items():
        np.testing.assert_array_equal(back[key], array)


@given(st.integers(0, 127), st.integers(0, 255))
def test_a_changed_header_of_an_npy_file_gives_an_array_or_a_data_error(file, at, value):
    whole = bytearray(npy_bytes(ARRAYS["a"]))
    whole[at] = value
    file.write_bytes(whole)
    with contextlib.suppress(DataError):
        assert isinstance(read_npy(file), np.ndarray)


OBJECTS = np.array([{}], dtype=object)


def test_python_objects_are_refused(file):
    file.write_bytes(archive_bytes(a=OBJECTS, b=ARRAYS["b"]))
    with pytest.raises(DataError, match="stores Python objects"):
        read_arrays(file, ("a",))
    assert read_arrays(file, ("b",))["b"].tolist() == [1, 2]
    file.write_bytes(npy_bytes(OBJECTS))
    with pytest.raises(DataError, match="stores Python objects"):
        read_npy(file)


@pytest.mark.parametrize("reader", [lambda path: read_arrays(path, ("a",)), read_npy])
@pytest.mark.parametrize("prefix", [b"", b"\x80\x02"], ids=["protocol 0", "protocol 2"])
def test_a_pickle_is_refused_and_nothing_is_executed(tmp_path, reader, prefix):
    trap, path = tmp_path / "trapped", tmp_path / "data_batch_1"
    path.write_bytes(prefix + TRAP.format(trap).encode())
    with pytest.raises(DataError, match="is no ") as caught:
        reader(path)
    assert ("a Python pickle" in str(caught.value)) == bool(prefix)
    assert not trap.exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"\x93NUMPY", "is no .npz archive: this is a NumPy .npy file"),
        (archive_bytes(b=ARRAYS["b"], c=ARRAYS["b"]), "lacks a; it holds b, c"),
        (archive_bytes(), "is no .npz archive"),
    ],
)
def test_what_is_wrong_with_an_archive(file, content, words):
    file.write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_arrays(file, ("a", "b"))
    assert words in str(caught.value)


def test_a_member_that_is_no_array(file):
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a", b"text")
    with pytest.raises(DataError, match=r"a: is no \.npy array"):
        read_arrays(file, ("a",))


def test_an_npy_file_with_a_tail_is_refused(file):
    file.write_bytes(npy_bytes(ARRAYS["a"]) + b"xy")
    with pytest.raises(DataError, match=r"states uint8 \(2, 3\), which is 6 bytes, and holds 8"):
        read_npy(file)


def test_absurd_dimensions_are_refused(file):
    whole = npy_bytes(np.zeros((2, 3), np.uint8))
    assert whole.count(b"(2, 3), }          ") == 1
    file.write_bytes(whole.replace(b"(2, 3), }          ", b"(9999999999999,), }"))
    with pytest.raises(DataError, match="which no array has"):
        read_npy(file)


MINE = {
    "train_images": np.zeros((4, 5, 6, 3), np.uint8),
    "train_labels": np.array([[0], [1], [0], [1]], np.uint8),
    "test_images": np.zeros((2, 5, 6, 3), np.uint8),
    "test_labels": np.array([1, 0]),
}


def test_a_set_of_ones_own_is_read_under_its_own_name(tmp_path):
    np.savez(tmp_path / "my_set.npz", **MINE)
    for name in ("my_set", "my-set"):
        dataset = load(name, tmp_path)
        assert dataset.train_images.shape == (4, 5, 6, 3)
        assert dataset.train_labels.tolist() == [0, 1, 0, 1]
        assert dataset.classes == ("0", "1")
    np.savez(tmp_path / "my_set.npz", **MINE, class_names=np.array(["cat", "dog"]))
    assert load("my_set", tmp_path).classes == ("cat", "dog")


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (np.array(["cat"]), "[class_names]: 1 names, but labels 0..1 in the same file"),
        (np.array([1, 2]), "expected a row of strings, found int64"),
        (np.array([["cat", "dog"]]), "expected a row of strings"),
        (np.array(["cat", "dog"], object), "stores Python objects"),
    ],
    ids=["too few", "numbers", "matrix", "objects"],
)
def test_class_names_are_checked(tmp_path, names, words):
    np.savez(tmp_path / "mine.npz", **MINE, class_names=names)
    with pytest.raises(DataError) as caught:
        load("mine", tmp_path)
    assert words in str(caught.value)
    assert str(tmp_path / "mine.npz") in str(caught.value)
