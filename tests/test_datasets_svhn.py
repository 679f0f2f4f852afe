"""SVHN: axes and labels as they should be, and the paper's validation part at the end."""

import hashlib
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qnn_ref.datasets import Check, DataError, load, svhn, verify
from qnn_ref.datasets.known import KNOWN

savemat = pytest.importorskip("scipy.io", reason="SciPy is not installed").savemat

rng = np.random.default_rng(6)


def part(count: int) -> dict[str, np.ndarray]:
    """Images of random pixels, and labels 1..10 of each digit equally often."""
    labels = rng.permutation(np.arange(count) % 10 + 1)
    return {
        "X": rng.integers(0, 256, (32, 32, 3, count), np.uint8),
        "y": labels.astype(np.uint8)[:, np.newaxis],
    }


TRAIN, EXTRA, TEST = part(60), part(70), part(20)
STORED = {"train": TRAIN, "extra": EXTRA, "test": TEST}


def write_files(folder: Path, **changes: dict | None) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, variables in (STORED | changes).items():
        if variables is not None:
            savemat(folder / f"{name}_32x32.mat", variables, do_compression=True)
    return folder


def images_of(stored: dict) -> np.ndarray:
    return np.stack([stored["X"][:, :, :, k] for k in range(stored["X"].shape[3])])


def digits_of(stored: dict) -> list[int]:
    return [0 if label == 10 else int(label) for label in stored["y"][:, 0]]


def last_places(digits: list[int], count: int) -> list[int]:
    """Where the last of each digit stand, in stored order."""
    return sorted(k for k, d in enumerate(digits) if digits[k + 1 :].count(d) < count)


@pytest.fixture
def small(tmp_path, monkeypatch) -> Path:
    """A small SVHN, of which 2 + 3 images of each class validate."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(svhn, "VALIDATION_FROM_TRAIN", 2)
    monkeypatch.setattr(svhn, "VALIDATION_FROM_EXTRA", 3)
    return write_files(tmp_path)


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("svhn") / "train_32x32.mat"


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "compressed"])
@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.uint16])
def test_label_10_is_the_digit_0(file, packed, dtype):
    labels = np.array([[1], [9], [10], [2]], dtype)
    savemat(file, {"X": TRAIN["X"][..., :4], "y": labels}, do_compression=packed)
    images, digits = svhn.read_mat(file)
    assert digits.tolist() == [1, 9, 0, 2]
    assert digits.dtype == np.int64
    np.testing.assert_array_equal(images, images_of(TRAIN)[:4], strict=True)


@given(
    st.integers(0, 31), st.integers(0, 31), st.integers(0, 2), st.integers(0, 3), st.integers(1, 4)
)
def test_the_last_axis_counts_the_images(file, row, column, colour, at, count):
    at = min(at, count - 1)
    pixels = np.zeros((32, 32, 3, count), np.uint8)
    pixels[row, column, colour, at] = 9
    savemat(file, {"X": pixels, "y": np.ones((count, 1), np.uint8)})
    images, _ = svhn.read_mat(str(file))
    assert images.shape == (count, 32, 32, 3)
    assert np.argwhere(images).tolist() == [[at, row, column, colour]]


@pytest.mark.parametrize("inside", ["", "svhn"])
def test_train_and_extra_with_the_validation_part_last(small, inside):
    folder = write_files(small / inside)
    dataset = load("svhn", small)
    assert dataset.source == str(folder)
    assert dataset.classes == tuple("0123456789")
    for part in ("train", "test"):
        assert getattr(dataset, f"{part}_images").dtype == np.uint8
        assert getattr(dataset, f"{part}_images").flags.c_contiguous
        assert getattr(dataset, f"{part}_labels").dtype == np.int64
    np.testing.assert_array_equal(dataset.test_images, images_of(TEST))
    assert dataset.test_labels.tolist() == digits_of(TEST)

    validates = last_places(digits_of(TRAIN), 2)
    validates += [60 + k for k in last_places(digits_of(EXTRA), 3)]
    order = [k for k in range(130) if k not in validates] + validates
    images = np.concatenate((images_of(TRAIN), images_of(EXTRA)))
    digits = np.array(digits_of(TRAIN) + digits_of(EXTRA))
    np.testing.assert_array_equal(dataset.train_images, images[order])
    assert dataset.train_labels.tolist() == digits[order].tolist()

    train, validation = dataset.split(50)
    assert np.bincount(train.labels).tolist() == [13 - 5] * 10
    assert np.bincount(validation.labels).tolist() == [5] * 10
    assert np.bincount(validation.labels[:20]).tolist() == [2] * 10  # from train


def test_without_the_extra_file_train_alone_gives_as_many(small):
    (small / "extra_32x32.mat").unlink()
    dataset = load("svhn", small)
    validates = last_places(digits_of(TRAIN), 5)
    order = [k for k in range(60) if k not in validates] + validates
    np.testing.assert_array_equal(dataset.train_images, images_of(TRAIN)[order])
    assert dataset.train_labels.tolist() == np.array(digits_of(TRAIN))[order].tolist()
    assert np.bincount(dataset.split(50)[1].labels).tolist() == [5] * 10


def test_the_paper_takes_6000():
    assert 10 * (svhn.VALIDATION_FROM_TRAIN + svhn.VALIDATION_FROM_EXTRA) == 6000
    assert 73_257 + 531_131 - 6000 == 598_388


@given(st.lists(st.integers(0, 9), min_size=30, max_size=80), st.integers(0, 3))
def test_the_last_of_each_class_are_marked(labels, count):
    labels = [*range(10)] * 3 + labels
    marked = svhn.last_of_each_class(np.array(labels), count, "file")
    assert np.flatnonzero(marked).tolist() == last_places(labels, count)


def test_a_class_that_is_too_small_is_named(small):
    few = {key: array[..., :9] if key == "X" else array[:9] for key, array in EXTRA.items()}
    write_files(small, extra=few)
    with pytest.raises(DataError) as caught:
        load("svhn", small)
    assert caught.value.path == str(small / "extra_32x32.mat")
    count = digits_of(few).count(0)
    assert caught.value.fault == f"{count} images of digit 0, but 3 are set apart to validate"


@pytest.mark.parametrize("name", ["train", "test"])
def test_a_missing_file(small, name):
    (small / f"{name}_32x32.mat").unlink()
    with pytest.raises(DataError, match=rf"{name}_32x32\.mat: is missing, although"):
        load("svhn", small)


def test_an_npz_archive_keeps_its_own_order(tmp_path):
    arrays = {}
    for split, stored in (("train", TRAIN), ("test", TEST)):
        arrays[f"{split}_images"] = images_of(stored)
        arrays[f"{split}_labels"] = np.array(digits_of(stored), np.uint8)
    np.savez(tmp_path / "svhn.npz", **arrays)
    dataset = load("svhn", tmp_path)
    np.testing.assert_array_equal(dataset.train_images, images_of(TRAIN))
    checks = verify("svhn", tmp_path)
    assert [check.ok for check in checks] == [None] * 4
    assert "known only of train_32x32.mat, extra_32x32.mat, test_32x32.mat" in checks[0].message
    arrays["test_labels"] = TEST["y"]
    np.savez(tmp_path / "svhn.npz", **arrays)
    with pytest.raises(DataError, match="label 10 of example"):
        load("svhn", tmp_path)


PIXELS = TRAIN["X"]
Y = TRAIN["y"]


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"X": PIXELS}, "lacks y; it holds X"),
        ({"y": Y}, "lacks X; it holds y"),
        ({"Z": Y}, "lacks X, y; it holds Z"),
        ({"X": PIXELS.astype(float), "y": Y}, "X: expected uint8 of shape (32, 32, 3, count), fo"),
        ({"X": images_of(TRAIN), "y": Y}, "found uint8 of (60, 32, 32, 3)"),
        ({"X": PIXELS[:, :28], "y": Y}, "found uint8 of (32, 28, 3, 60)"),
        ({"X": PIXELS[:, :, 0], "y": Y}, "found uint8 of (32, 32, 60)"),
        ({"X": "text", "y": Y}, "X is no array of real numbers"),
        ({"X": PIXELS, "y": Y[:59]}, "y: expected whole numbers of shape (60, 1) for the 60 image"),
        ({"X": PIXELS, "y": Y.T}, "found uint8 of (1, 60)"),
        ({"X": PIXELS, "y": Y.astype(float)}, "found float64 of (60, 1)"),
        ({"X": PIXELS, "y": {"a": 1}}, "y is no array of real numbers"),
        ({"X": PIXELS, "y": np.where(Y == 10, 0, Y)}, " is outside 1..10 (10 is the digit 0)"),
        ({"X": PIXELS, "y": np.full((60, 1), 11, np.uint8)}, "y: 11 of image 0 is outside 1..10"),
        ({"X": PIXELS, "y": np.full((60, 1), -1)}, "y: -1 of image 0 is outside"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_other_variables_are_refused(file, variables, words):
    savemat(file, variables)
    with pytest.raises(DataError) as caught:
        svhn.read_mat(file)
    assert words in str(caught.value)
    assert str(caught.value).startswith(f"{file}: ")


def test_the_checksums_are_those_of_the_files(small, monkeypatch):
    names = [f"{name}_32x32.mat" for name in ("train", "extra", "test")]
    checks = verify("svhn", small)
    assert [check.file for check in checks] == [str(small / name) for name in names]
    assert [check.ok for check in checks] == [False] * 3
    assert checks[1].message.startswith("sha256: expected a133a4beb38a")
    sha256 = {name: hashlib.sha256((small / name).read_bytes()).hexdigest() for name in names}
    table = dict(KNOWN)
    table["svhn"] = replace(KNOWN["svhn"], sha256=sha256)
    monkeypatch.setattr(svhn, "KNOWN", table)
    assert [check.ok for check in verify("svhn", small)] == [True] * 3
    (small / names[1]).unlink()
    os.truncate(small / names[2], 0)
    checks = verify("svhn", small)
    assert checks[0].message.endswith(" bytes, sha256 as published")
    assert checks[1:] == [
        Check(str(small / names[1]), False, "is missing"),
        Check(str(small / names[2]), False, "is empty"),
    ]
    (small / names[2]).unlink()
    (small / names[2]).mkdir()
    assert verify("svhn", small)[2].message.startswith("cannot be read: ")
