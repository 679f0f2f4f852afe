"""Four arrays become a data set only if they fit together."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qnn_ref.datasets import DataError, Dataset
from qnn_ref.datasets.examples import PARTS, assemble

FILES = {part: f"{part}.file" for part in PARTS}


def parts(train: int = 5, test: int = 3, shape: tuple[int, ...] = (4, 6)) -> dict:
    return {
        "train_images": np.arange(train * np.prod(shape), dtype=np.uint8).reshape(train, *shape),
        "train_labels": (np.arange(train) % 3).astype(np.uint8),
        "test_images": np.full((test, *shape), 7, np.uint8),
        "test_labels": (np.arange(test) % 3).astype(np.uint8),
    }


def build(changes: dict | None = None, **options) -> Dataset:
    return assemble("mine", parts() | (changes or {}), FILES, "somewhere", **options)


def test_grey_images_get_one_channel_and_labels_an_indexing_type():
    dataset = build()
    assert dataset.train_images.shape == (5, 4, 6, 1)
    np.testing.assert_array_equal(dataset.train_images[..., 0], parts()["train_images"])
    assert dataset.test_images.shape == (3, 4, 6, 1)
    assert dataset.train_images.dtype == np.uint8
    assert dataset.train_labels.dtype == np.int64
    assert dataset.train_labels.tolist() == [0, 1, 2, 0, 1]
    assert dataset.classes == ("0", "1", "2")
    assert (dataset.name, dataset.source) == ("mine", "somewhere")


def test_colours_stay_in_the_last_axis():
    dataset = assemble("mine", parts(shape=(4, 6, 3)), FILES, "x", ("a", "b", "c"), (4, 6, 3))
    np.testing.assert_array_equal(dataset.train_images, parts(shape=(4, 6, 3))["train_images"])
    assert dataset.classes == ("a", "b", "c")


@given(st.integers(1, 30), st.data())
def test_the_last_examples_validate(count, data):
    validation = data.draw(st.integers(0, count - 1))
    stored = parts(train=count) | {"train_labels": np.arange(count)}
    dataset = assemble("mine", stored, FILES, "x")
    train, held_out = dataset.split(validation)
    assert train.labels.tolist() == list(range(count - validation))
    assert held_out.labels.tolist() == list(range(count - validation, count))
    np.testing.assert_array_equal(
        np.concatenate((train.images, held_out.images)), dataset.train_images
    )
    assert len(train.images) == len(train.labels)


@pytest.mark.parametrize("validation", [-1, 5, 60_000, np.int64(5)])
def test_something_must_be_left_to_train_on(validation):
    with pytest.raises(ValueError, match="validation: expected a whole number from 0 to 4, got"):
        build().split(validation)


@pytest.mark.parametrize("validation", [0.5, "1", None, True])
def test_validation_is_a_count_not_a_fraction(validation):
    with pytest.raises(TypeError, match="validation: expected a whole number from 0 to 4, got"):
        build().split(validation)


def test_a_data_set_is_read_only_by_name_and_equal_only_to_itself():
    dataset = build()
    with pytest.raises(AttributeError):
        dataset.name = "other"
    assert dataset not in [build()]
    assert dataset in {dataset}
    train, held_out = dataset.split(1)
    assert train not in [held_out]


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int32, np.int64, np.uint64, ">i2"])
@pytest.mark.parametrize("column", [False, True])
def test_labels_of_any_integer_type_also_as_a_column(dtype, column):
    labels = np.array([1, 9, 0, 2, 5]).astype(dtype)
    dataset = build({"train_labels": labels[:, np.newaxis] if column else labels})
    assert dataset.train_labels.dtype == np.int64
    assert dataset.train_labels.tolist() == [1, 9, 0, 2, 5]
    assert len(dataset.classes) == 10


BIG = np.array([0, 1, 2, 0, 2**63], np.uint64)


@pytest.mark.parametrize(
    ("changes", "options", "file", "words"),
    [
        ({"train_labels": np.arange(4)}, {}, "train_labels", "4 labels, but 5 images in train_ima"),
        ({"test_labels": np.arange(4)}, {}, "test_labels", "4 labels, but 3 images in test_images"),
        ({"train_labels": np.array([])}, {}, "train_labels", "found dtype float64"),
        ({"train_labels": np.zeros(5)}, {}, "train_labels", "whole numbers as labels"),
        ({"train_labels": np.zeros(5, bool)}, {}, "train_labels", "found dtype bool"),
        ({"train_labels": np.zeros((5, 10), int)}, {}, "train_labels", "(count,), found (5, 10)"),
        ({"train_labels": np.int64(3)}, {}, "train_labels", "expected labels of shape (count,)"),
        (
            {"train_labels": np.array([0, 1, 10, 0, 12])},
            {"classes": tuple("0123456789")},
            "train_labels",
            "label 10 of example 2 is outside 0..9",
        ),
        ({"test_labels": np.array([0, -1, 0])}, {}, "test_labels", "label -1 of example 1 is"),
        ({"train_labels": BIG}, {}, "train_labels", f"label {2**63} of example 4 is outside"),
        ({"train_images": np.zeros((5, 4, 6))}, {}, "train_images", "uint8 (0..255), found float"),
        ({"train_images": np.zeros((5, 24), np.uint8)}, {}, "train_images", "found shape (5, 24)"),
        (
            {"train_images": np.zeros((5, 3, 4, 6), np.uint8)},
            {},
            "train_images",
            "with 1 or 3 channels, found shape (5, 3, 4, 6)",
        ),
        (
            {"train_images": np.zeros((0, 4, 6), np.uint8), "train_labels": np.zeros(0, int)},
            {},
            "train_images",
            "holds no pixels: shape (0, 4, 6)",
        ),
        (
            {"test_images": np.zeros((3, 6, 4), np.uint8)},
            {},
            "test_images",
            "expected images of shape (4, 6, 1) (height, width, channels), found (6, 4, 1)",
        ),
        ({}, {"image_shape": (28, 28, 1)}, "train_images", "shape (28, 28, 1)"),
    ],
)
def test_what_does_not_fit_is_refused_by_file(changes, options, file, words):
    with pytest.raises(DataError) as caught:
        build(changes, **options)
    assert caught.value.path == FILES[file]
    assert words in caught.value.fault


def test_data_show_what_they_are_and_not_every_pixel():
    data = build()
    train, _ = data.split(1)
    for shown, words in ((data, data.name), (train, f"images uint8 {train.images.shape}")):
        assert words in repr(shown)
        assert len(repr(shown)) < 120
