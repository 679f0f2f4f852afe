"""Something else under the name of a data file: each reader says what it is and what to do."""

import gzip
import io
import struct
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from qnn_ref.datasets import DataError, cifar10, load, read_idx, read_images, verify
from qnn_ref.datasets.matlab import read_matlab
from qnn_ref.datasets.npz import read_arrays, read_npy


def zipped(name: str) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr(name, b"x")
    return stream.getvalue()


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a21\nsize 9912422\n"
KINDS = {
    "web page": (b"<!DOCTYPE html><title>404</title>", "HTML or XML text, perhaps the error page"),
    "JSON": (b'{"message": "Not Found"}', "JSON text"),
    "git-lfs pointer": (LFS, "git lfs pull"),
    "nothing": (b"", "is empty"),
    "text": ("Datei nicht gefunden, für immer\n".encode(), "plain text"),
    "pickle": (b"\x80\x04K\1.", "a Python pickle, which is never opened"),
    "PyTorch": (zipped("archive/data.pkl"), "a PyTorch file, a pickle in a zip archive"),
    "HDF5": (b"\x89HDF\r\n\x1a\n" + bytes(40), "an HDF5 file"),
    "MATLAB 7.3": (b"MATLAB 7.3 MAT-file".ljust(512), "version 7.3 (HDF5)"),
    "JPEG": (b"\xff\xd8\xff\xe0" + bytes(40), "a JPEG picture"),
}


def mnist_file(path: Path) -> object:
    path.rename(path.parent / "train-labels-idx1-ubyte.gz")
    for stem in ("train-images-idx3", "t10k-images-idx3", "t10k-labels-idx1"):
        head = struct.pack(">BBBB", 0, 0, 8, int(stem[-1]))
        shape = (1, 28, 28)[: int(stem[-1])]
        content = head + struct.pack(f">{len(shape)}I", *shape) + bytes(784)[: np.prod(shape)]
        (path.parent / f"{stem}-ubyte").write_bytes(content)
    return load("mnist", path.parent)


def cifar_file(path: Path) -> object:
    path.rename(path.parent / "data_batch_1.bin")
    return load("cifar10", path.parent)


def cifar_archive(path: Path) -> object:
    path.rename(path.parent / cifar10.ARCHIVE)
    return load("cifar10", path.parent)


def svhn_file(path: Path) -> object:
    path.rename(path.parent / "train_32x32.mat")
    return load("svhn", path.parent)


def own_archive(path: Path) -> object:
    path.rename(path.parent / "mine.npz")
    return load("mine", path.parent)


def digits(path: Path) -> object:
    path.rename(path.parent / "digits.npz")
    return load("digits", path.parent)


READERS = {
    "read_idx": read_idx,
    "read_images": read_images,
    "read_npy": read_npy,
    "read_arrays": lambda path: read_arrays(path, ("a",)),
    "read_matlab": lambda path: read_matlab(path, ("a",)),
    **{f.__name__: f for f in (mnist_file, cifar_file, cifar_archive, svhn_file, own_archive)},
    "digits": digits,
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("reader", READERS)
def test_every_reader_says_what_it_was_given(tmp_path, reader, kind):
    content, words = KINDS[kind]
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        READERS[reader](path)
    assert str(tmp_path) in caught.value.path
    if kind == "PyTorch" and reader in ("read_arrays", "own_archive", "digits"):
        words = "lacks "  # an archive it is; what it holds is listed
    if kind == "pickle" and reader == "cifar_file":
        words = "get the binary version"
    assert words in caught.value.fault
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "nothing"])
@pytest.mark.parametrize(
    "name, file",
    [
        ("mnist", "train-images-idx3-ubyte.gz"),
        ("cifar10", cifar10.ARCHIVE),
        ("svhn", "test_32x32.mat"),
    ],
)
def test_verify_says_so_too(tmp_path, name, file, kind):
    content, words = KINDS[kind]
    (tmp_path / file).write_bytes(content)
    (check,) = [check for check in verify(name, tmp_path) if check.file.endswith(file)]
    assert check.ok is False
    assert words in check.message


def record(labels: int) -> bytes:
    return bytes(labels + 3072)


def archive(*names: str) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name in names:
            info = tarfile.TarInfo(f"cifar-100-binary/{name}")
            info.size = 3074
            tar.addfile(info, io.BytesIO(record(2)))
    return stream.getvalue()


@pytest.mark.parametrize("name", cifar10.FILES)
@pytest.mark.parametrize("count", [1, 2, 7])
def test_cifar100_under_the_names_of_cifar10(tmp_path, name, count):
    for file in cifar10.FILES:
        (tmp_path / file).write_bytes(record(1))
    (tmp_path / name).write_bytes(count * record(2))
    with pytest.raises(DataError, match="its records of 3074 bytes it belongs to CIFAR-100"):
        load("cifar10", tmp_path)


@pytest.mark.parametrize("packed", [gzip.compress, bytes], ids=["gzip", "plain"])
def test_the_archive_of_cifar100(tmp_path, packed):
    content = packed(archive("train.bin", "test.bin", "fine_label_names.txt"))
    (tmp_path / "cifar-100-binary.tar.gz").write_bytes(content)
    with pytest.raises(DataError, match="belongs to CIFAR-100, which is not read"):
        load("cifar10", tmp_path)
    (tmp_path / cifar10.ARCHIVE).write_bytes(content)
    with pytest.raises(DataError, match=r"it holds train.bin, test.bin.*belongs to CIFAR-100"):
        load("cifar10", tmp_path)


images = np.zeros((3, 4, 5, 1), np.uint8)
labels = np.arange(3)
GOOD = {
    "train_images": images,
    "train_labels": labels,
    "test_images": images,
    "test_labels": labels,
}
NAN = np.array([0, 1, np.nan])
PIXEL = np.where(np.arange(60).reshape(images.shape) == 17, np.inf, 0.5)
WRONG = {
    "NaN among labels": ({"train_labels": NAN}, "found dtype float64 (nan for example 2)"),
    "real labels": ({"test_labels": labels / 1}, "whole numbers as labels, found dtype float64"),
    "truth values": ({"test_labels": labels > 1}, "whole numbers as labels, found dtype bool"),
    "texts": ({"test_labels": np.array(["a", "b", "c"])}, "whole numbers as labels, found dtype"),
    "complex": ({"test_labels": labels + 1j}, "found dtype complex128"),
    "negative": ({"train_labels": labels - 2}, "label -2 of example 0 is outside 0.."),
    "one-hot": ({"train_labels": np.eye(3)}, "found (3, 3); of rows with one 1 store argmax"),
    "one label": ({"test_labels": np.array(3)}, "expected labels of shape (count,), found ()"),
    "too large": ({"train_labels": labels + 65534}, "label 65536 of example 2 is outside 0..65535"),
    "2^64 - 1": ({"test_labels": np.array([0, 1, 2**64 - 1], np.uint64)}, "of example 2 is outs"),
    "too few labels": ({"train_labels": labels[:2]}, "2 labels, but 3 images in "),
    "no labels": ({"train_labels": labels[:0]}, "0 labels, but 3 images in "),
    "real images": ({"train_images": images / 255}, "of dtype uint8 (0..255), found float64"),
    "infinity": ({"test_images": PIXEL}, "of dtype uint8 (0..255), found float64"),
    "words": ({"train_images": images.astype(np.int16)}, "of dtype uint8 (0..255), found int16"),
    "no images": ({"train_images": images[:0]}, "holds no pixels"),
    "two sizes": ({"test_images": images[:, :3]}, "expected images of shape (4, 5, 1)"),
    "names": ({"class_names": np.array(["a", "b"])}, "2 names, but labels 0..2"),
    "names as numbers": ({"class_names": labels}, "expected a row of strings, found int64"),
}


@pytest.mark.parametrize("fault", WRONG)
def test_what_is_wrong_with_an_array_names_file_and_array(tmp_path, fault):
    changes, words = WRONG[fault]
    np.savez(tmp_path / "mine.npz", **GOOD)
    assert load("mine", tmp_path).classes == ("0", "1", "2")
    np.savez(tmp_path / "mine.npz", **GOOD | changes)
    with pytest.raises(DataError) as caught:
        load("mine", tmp_path)
    assert caught.value.path == f"{tmp_path / 'mine.npz'}[{next(iter(changes))}]"
    assert words in caught.value.fault


@pytest.mark.parametrize("absent", GOOD)
def test_an_array_that_is_not_there_is_named(tmp_path, absent):
    arrays = {name: array for name, array in GOOD.items() if name != absent}
    np.savez(tmp_path / "mine.npz", **arrays)
    with pytest.raises(DataError, match=f"lacks {absent}; it holds ") as caught:
        load("mine", tmp_path)
    assert all(name in caught.value.fault for name in arrays)


def test_more_names_than_classes_that_occur(tmp_path):
    np.savez(tmp_path / "mine.npz", **GOOD, class_names=np.array(["a", "b", "c", "d"]))
    assert load("mine", tmp_path).classes == ("a", "b", "c", "d")
