"""The 8x8 digits: exact pixels, the stored order, a published checksum."""

import shutil
from fractions import Fraction
from math import floor
from pathlib import Path

import numpy as np
import pytest

from qnn_ref.datasets import DataError, load, verify
from qnn_ref.datasets.digits import COUNT, TRAIN, scale_ink

ROOT = Path(__file__).resolve().parents[1]
STORED = ROOT / "data" / "digits.npz"


def stored(**changes) -> dict:
    with np.load(STORED) as archive:
        return {key: archive[key] for key in archive.files} | changes


def test_ink_becomes_bytes_halves_rounded_up():
    ink = np.arange(17, dtype=np.uint8)
    right = [floor(Fraction(int(v) * 255, 16) + Fraction(1, 2)) for v in ink]
    assert right[:2] + right[8:9] + right[16:] == [0, 16, 128, 255]
    pixels = scale_ink(ink)
    assert pixels.dtype == np.uint8
    assert pixels.tolist() == right
    assert scale_ink(ink.reshape(1, 17, 1)).shape == (1, 17, 1)
    assert scale_ink(np.zeros((0, 8, 8), np.uint8)).shape == (0, 8, 8)


def test_more_ink_than_there_is():
    with pytest.raises(ValueError, match=r"ink: expected counts 0\.\.16, got 17"):
        scale_ink(np.array([0, 17], np.uint8))


def test_the_first_train_and_the_last_test():
    digits = load("digits")
    assert digits.train_images.shape == (1347, 8, 8, 1)
    assert digits.test_images.shape == (450, 8, 8, 1)
    assert digits.train_images.dtype == digits.test_images.dtype == np.uint8
    assert digits.train_labels.dtype == digits.test_labels.dtype == np.int64
    raw = stored()
    images = np.concatenate((digits.train_images, digits.test_images))[..., 0]
    np.testing.assert_array_equal(images, scale_ink(raw["images"]))
    labels = np.concatenate((digits.train_labels, digits.test_labels))
    np.testing.assert_array_equal(labels, raw["labels"])
    assert np.bincount(labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert labels[:12].tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1]
    assert digits.classes == tuple("0123456789")
    assert digits.train_images.max() == 255
    assert digits.train_images.min() == 0


def test_they_are_those_of_scikit_learn():
    sklearn = pytest.importorskip("sklearn.datasets", reason="scikit-learn is not installed")
    bunch = sklearn.load_digits()
    np.testing.assert_array_equal(stored()["images"], bunch.images)
    np.testing.assert_array_equal(stored()["labels"], bunch.target)


def test_the_checksums_hold_and_notice_one_pixel(tmp_path):
    assert [(check.ok, check.file) for check in verify("digits")] == [
        (True, f"{STORED}[images]"),
        (True, f"{STORED}[labels]"),
    ]
    images = stored()["images"]
    assert images[5, 0, 0] == 0
    images[5, 0, 0] = 1
    np.savez(tmp_path / "digits.npz", **stored(images=images))
    assert [check.ok for check in verify("digits", tmp_path)] == [False, True]
    assert "expected 359cd13f" in verify("digits", tmp_path)[0].message


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"images": np.zeros((COUNT, 8, 8))}, "images: expected uint8 of shape (1797, 8, 8), fou"),
        ({"images": np.zeros((COUNT, 64), np.uint8)}, "found uint8 of (1797, 64)"),
        ({"images": np.full((COUNT, 8, 8), 17, np.uint8)}, "images: expected 0..16, found 17"),
        ({"labels": np.zeros(TRAIN, np.uint8)}, "labels: expected uint8 of shape (1797,)"),
        ({"labels": np.full(COUNT, 10, np.uint8)}, "label 10 of example 0 is outside 0..9"),
    ],
)
def test_another_archive_of_that_name_is_refused(tmp_path, changes, words):
    np.savez(tmp_path / "digits.npz", **stored(**changes))
    with pytest.raises(DataError) as caught:
        load("digits", tmp_path)
    assert str(caught.value).startswith(f"{tmp_path / 'digits.npz'}: ")
    assert words in str(caught.value)
    assert not all(check.ok for check in verify("digits", tmp_path))


def test_a_cut_archive_fails_its_check_without_an_exception(tmp_path):
    (tmp_path / "digits.npz").write_bytes(STORED.read_bytes()[:-100])
    (check,) = verify("digits", tmp_path)
    assert not check.ok
    assert "damaged or cut" in check.message


def test_a_folder_is_asked_alone(tmp_path):
    with pytest.raises(DataError, match="digits: not found in"):
        load("digits", tmp_path)
    shutil.copy(STORED, tmp_path)
    assert load("digits", tmp_path).source == str(tmp_path / "digits.npz")
