"""Data sets by name: where they are looked for, and what is refused."""

import gzip
import hashlib
import importlib.resources
import os
import struct
from pathlib import Path

import numpy as np
import pytest

from qnn_ref.datasets import Check, DataError, available, load, read_idx, read_images, verify
from qnn_ref.datasets.known import KNOWN, TEXTS
from qnn_ref.datasets.places import cache_folder, embedded_folders

ROOT = Path(__file__).resolve().parents[1]
STEMS = {
    "train_images": "train-images-idx3-ubyte",
    "train_labels": "train-labels-idx1-ubyte",
    "test_images": "t10k-images-idx3-ubyte",
    "test_labels": "t10k-labels-idx1-ubyte",
}
rng = np.random.default_rng(1)
SMALL = {
    "train_images": rng.integers(0, 256, (12, 28, 28), np.uint8),
    "train_labels": rng.integers(0, 10, 12, np.uint8),
    "test_images": rng.integers(0, 256, (7, 28, 28), np.uint8),
    "test_labels": rng.integers(0, 10, 7, np.uint8),
}
has_mnist = pytest.mark.skipif(
    not (ROOT / "data" / "mnist").is_dir(), reason="this source tree comes without data/mnist"
)


def idx(array: np.ndarray) -> bytes:
    head = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    return head + array.tobytes()


def write_set(folder: Path, packed: bool = True, dot: bool = False, **changes) -> Path:
    """Write four small idx files, under one of the names in use."""
    folder.mkdir(parents=True, exist_ok=True)
    for part, array in (SMALL | changes).items():
        name = STEMS[part].replace("-idx", ".idx") if dot else STEMS[part]
        content = idx(array)
        path = folder / (name + ".gz" if packed else name)
        path.write_bytes(gzip.compress(content) if packed else content)
    return folder


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory, monkeypatch):
    """No test looks into the cache of whoever runs it."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


def assert_is_small(dataset):
    for part, array in SMALL.items():
        loaded = getattr(dataset, part)
        wanted = array[..., np.newaxis] if array.ndim == 3 else array.astype(np.int64)
        np.testing.assert_array_equal(loaded, wanted, strict=True)


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize("dot", [False, True], ids=["-idx", ".idx"])
@pytest.mark.parametrize("inside", ["", "fashion-mnist", "fashion_mnist"])
def test_idx_files_under_all_their_names(tmp_path, packed, dot, inside):
    folder = write_set(tmp_path / inside, packed, dot)
    dataset = load("fashion-mnist", tmp_path)
    assert_is_small(dataset)
    assert dataset.name == "fashion-mnist"
    assert dataset.source == str(folder)
    assert dataset.classes[9] == "Ankle boot"


def test_a_name_may_lie_about_compression(tmp_path):
    write_set(tmp_path)
    for path in tmp_path.iterdir():
        path.write_bytes(gzip.decompress(path.read_bytes()))
    assert_is_small(load("mnist", tmp_path))


def test_the_folder_of_that_name_comes_first(tmp_path):
    write_set(tmp_path, train_labels=np.zeros(12, np.uint8))
    write_set(tmp_path / "mnist")
    assert_is_small(load("mnist", str(tmp_path)))
    assert load("fashion-mnist", tmp_path).train_labels.max() == 0


@pytest.mark.parametrize("name", ["fashion_mnist.npz", "fashion-mnist.npz"])
def test_one_archive_instead_of_four_files(tmp_path, name):
    np.savez(tmp_path / name, **SMALL)
    dataset = load("fashion-mnist", tmp_path)
    assert_is_small(dataset)
    assert dataset.classes == KNOWN["fashion-mnist"].classes
    assert dataset.source == str(tmp_path / name)
    with pytest.raises(DataError, match="mnist: not found in"):
        load("mnist", tmp_path)


@pytest.mark.parametrize("part", STEMS)
def test_a_missing_file_among_the_four(tmp_path, part):
    write_set(tmp_path)
    (tmp_path / f"{STEMS[part]}.gz").unlink()
    with pytest.raises(DataError, match=f"{STEMS[part]}: is missing"):
        load("mnist", tmp_path)


@pytest.mark.parametrize(
    ("changes", "file", "words"),
    [
        ({"train_labels": SMALL["train_images"]}, "train_labels", "expected 0x00000801 = 2049"),
        ({"train_images": SMALL["train_labels"]}, "train_images", "expected 0x00000803 = 2051"),
        ({"test_labels": SMALL["test_labels"][:-1]}, "test_labels", "6 labels, but 7 images"),
        ({"test_labels": np.full(7, 10, np.uint8)}, "test_labels", "label 10 of example 0"),
        ({"test_images": np.zeros((7, 32, 32), np.uint8)}, "test_images", "shape (28, 28, 1)"),
        ({"train_images": np.zeros((12, 8, 8), np.uint8)}, "train_images", "found (8, 8, 1)"),
    ],
)
def test_files_that_do_not_fit_are_named(tmp_path, changes, file, words):
    write_set(tmp_path, **changes)
    with pytest.raises(DataError) as caught:
        load("mnist", tmp_path)
    assert caught.value.path == str(tmp_path / f"{STEMS[file]}.gz")
    assert words in caught.value.fault


@has_mnist
def test_files_of_another_set_under_the_same_names(tmp_path):
    write_set(tmp_path)
    name = f"{STEMS['train_labels']}.gz"
    (tmp_path / name).write_bytes((ROOT / "data" / "mnist" / name).read_bytes())
    with pytest.raises(DataError, match="belongs to 'mnist', not to 'fashion-mnist'"):
        load("fashion-mnist", tmp_path)


def test_a_name_that_nobody_knows(tmp_path):
    names = ", ".join(map(repr, [*KNOWN, *TEXTS]))
    known = f"name: expected {names}, got 'mnits'"
    with pytest.raises(ValueError, match=known):
        load("mnits")
    with pytest.raises(ValueError, match=known):
        verify("mnits", tmp_path)
    with pytest.raises(DataError, match=r"mnits: no mnits\.npz or .* names are 'digits'"):
        load("mnits", tmp_path)


@pytest.mark.parametrize("name", ["", "..", "../mnist", "a/b"])
def test_a_name_is_no_path(tmp_path, name):
    with pytest.raises(ValueError, match="name: expected 'digits'"):
        load(name, tmp_path)


@pytest.mark.parametrize("action", [load, verify])
def test_a_folder_that_is_none(tmp_path, action):
    with pytest.raises(DataError, match="absent: is no folder"):
        action("mnist", tmp_path / "absent")
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="file: is no folder but a file"):
        action("mnist", tmp_path / "file")
    for empty in ("", b"", "a\0b"):
        with pytest.raises(DataError, match="folder: expected the path of a folder, got '"):
            action("mnist", empty)
    with pytest.raises(DataError, match="home directory"):
        action("mnist", "~nobody-of-this-name/data")


@pytest.mark.parametrize("action", [load, verify, lambda name, folder: available(folder)])
def test_a_folder_that_may_not_be_read(tmp_path, monkeypatch, action):
    write_set(tmp_path)
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path)
    with pytest.raises(DataError, match=f"{tmp_path}: cannot be read: permission denied"):
        action("mnist", tmp_path)


def test_a_folder_inside_that_may_not_be_read(tmp_path, monkeypatch):
    def refuse(self):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "is_file", refuse)
    with pytest.raises(DataError, match=r"mnist.*: cannot be read: permission denied"):
        load("mnist", tmp_path)


def test_the_home_folder_in_every_path(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    write_set(tmp_path / "sets" / "mnist")
    assert_is_small(load("mnist", "~/sets"))
    assert_is_small(load("mnist", Path("~/sets")))
    assert [check.ok for check in verify("mnist", "~/sets")] == [False] * 4
    assert available("~/sets")[1].path == tmp_path / "sets" / "mnist"
    assert read_idx(f"~/sets/mnist/{STEMS['test_labels']}.gz").shape == (7,)
    assert read_images(f"~/sets/mnist/{STEMS['test_images']}.gz").shape == (7, 28, 28, 1)


@pytest.mark.parametrize("name", [*KNOWN, *TEXTS])
def test_what_is_missing_where_it_was_looked_for_and_what_to_do(tmp_path, name):
    with pytest.raises(DataError) as caught:
        load(name, tmp_path)
    fault = caught.value.fault
    assert fault.startswith(f"not found in {tmp_path}; ")
    assert f"{name}.npz there" in fault
    known = (KNOWN | TEXTS)[name]
    if known.mirrors:
        assert f"fetch it first (qnn-ref data fetch {name} --data {tmp_path})" in fault
    files = [f"{stem}.gz" for stem in STEMS.values()] if "mnist" in name else known.sha256
    if name != "digits":
        assert all(file in fault for file in files)


def test_what_was_not_fetched_yet():
    with pytest.raises(DataError, match="fetch it first") as caught:
        load("fashion-mnist")
    assert str(cache_folder()) in str(caught.value)
    assert verify("fashion-mnist") == [Check("fashion-mnist", False, caught.value.fault)]


def test_what_was_fetched_is_found():
    write_set(cache_folder() / "fashion-mnist")
    assert_is_small(load("fashion-mnist"))
    listed = {listing.name: listing for listing in available()}
    assert listed["fashion-mnist"].state == "found"
    assert listed["fashion-mnist"].path == cache_folder() / "fashion-mnist"


def test_what_came_with_the_code_is_read_before_the_cache():
    cache_folder().mkdir()
    (cache_folder() / "digits.npz").write_bytes(b"something else")
    assert load("digits").source == str(ROOT / "data" / "digits.npz")


def test_the_cache_is_in_the_home_folder_unless_told_otherwise(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    assert cache_folder() == tmp_path / "caches" / "qnn-ref"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "qnn-ref"
    monkeypatch.setenv("XDG_CACHE_HOME", "~/caches")
    assert cache_folder() == tmp_path / "caches" / "qnn-ref"


def test_a_list_of_what_is_here(tmp_path):
    states = [(name, state) for name, state, _ in available(tmp_path)]
    assert states == [
        ("digits", "missing"),
        ("mnist", "needs fetch"),
        ("fashion-mnist", "needs fetch"),
        ("cifar10", "needs fetch"),
        ("svhn", "needs fetch"),
        ("shakespeare", "missing"),
        ("ptb", "missing"),
    ]
    np.savez(tmp_path / "mnist.npz", **SMALL)
    assert available(tmp_path)[1] == ("mnist", "found", tmp_path / "mnist.npz")
    assert available()[0] == ("digits", "embedded", ROOT / "data" / "digits.npz")
    assert available()[2] == ("fashion-mnist", "needs fetch", None)
    with pytest.raises(DataError, match="is no folder"):
        available(tmp_path / "absent")


@pytest.fixture
def installed(tmp_path, monkeypatch) -> Path:
    """A package folder as a wheel leaves it, with foreign packages beside it."""
    package = tmp_path / "site-packages" / "qnn_ref"
    (package / "data").mkdir(parents=True)
    (package.parent / "data").mkdir()
    monkeypatch.setattr(importlib.resources, "files", {"qnn_ref": package}.__getitem__)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    return package


def test_an_installed_package_reads_its_own_copy(installed):
    assert embedded_folders() == [installed / "data"]
    (installed / "data" / "digits.npz").write_bytes((ROOT / "data" / "digits.npz").read_bytes())
    assert load("digits").source == str(installed / "data" / "digits.npz")
    assert available()[0].state == "embedded"
    assert available()[1] == ("mnist", "needs fetch", None)


def test_a_checkout_comes_before_the_copy(installed):
    (installed.parent / "pyproject.toml").touch()
    assert embedded_folders() == [installed.parent / "data", installed / "data"]


def test_an_installed_package_finds_the_checkout_that_it_works_in(installed, monkeypatch):
    """As notebooks do, of a package that was installed without -e."""
    checkout = Path.cwd() / "checkout"
    (checkout / "data" / "mnist").mkdir(parents=True)
    (checkout / "notebooks").mkdir()
    write_set(checkout / "data" / "mnist")
    monkeypatch.chdir(checkout / "notebooks")
    assert embedded_folders() == [installed / "data"]  # a folder of another project
    (checkout / "pyproject.toml").touch()
    assert embedded_folders() == [installed / "data"]
    (checkout / "qnn_ref").mkdir()
    for place in ("notebooks", ".", "data/mnist"):
        monkeypatch.chdir(checkout / place)
        assert embedded_folders() == [installed / "data", checkout / "data"]
    assert_is_small(load("mnist"))
    assert available()[1] == ("mnist", "embedded", checkout / "data" / "mnist")


def test_a_working_folder_that_was_removed(tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert embedded_folders() == [ROOT / "data"]


def test_this_checkout_is_found():
    assert embedded_folders()[0] == ROOT / "data"


@has_mnist
def test_mnist_is_the_published_one():
    checks = verify("mnist")
    assert [Path(check.file).name for check in checks] == [f"{stem}.gz" for stem in STEMS.values()]
    assert all(check.ok for check in checks), checks
    assert checks[0].message == "47040016 bytes, sha256 as published"


@has_mnist
def test_mnist_as_arrays():
    mnist = load("mnist")
    assert mnist.train_images.shape == (60_000, 28, 28, 1)
    assert mnist.test_images.shape == (10_000, 28, 28, 1)
    train = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    test = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert np.bincount(mnist.train_labels).tolist() == train
    assert np.bincount(mnist.test_labels).tolist() == test
    assert mnist.train_labels[:6].tolist() == [5, 0, 4, 1, 9, 2]
    ink = mnist.train_images.sum(dtype=np.int64) / (255 * mnist.train_images.size)
    assert ink == pytest.approx(0.13066, abs=1e-5)


@has_mnist
def test_the_stored_files_have_no_name_and_no_time():
    for stem in STEMS.values():
        head = (ROOT / "data" / "mnist" / f"{stem}.gz").read_bytes()[:9]
        assert head == b"\x1f\x8b\x08\0\0\0\0\0\x02"


def test_the_readme_states_the_checksums_that_are_checked():
    text = (ROOT / "data" / "README.md").read_text(encoding="utf-8")
    for name in ("digits", "mnist", "cifar10", "svhn", *TEXTS):
        for sha256 in (KNOWN | TEXTS)[name].sha256.values():
            assert sha256 in text


def test_the_readme_states_the_addresses_of_what_is_not_here():
    text = (ROOT / "data" / "README.md").read_text(encoding="utf-8")
    for name in ("cifar10", "svhn"):
        for file in KNOWN[name].sha256:
            assert f"<{KNOWN[name].mirrors[0]}{file}>" in text


def test_each_kind_of_damage_is_a_verdict(tmp_path):
    write_set(tmp_path)
    (tmp_path / f"{STEMS['train_images']}.gz").write_bytes(b"")
    (tmp_path / f"{STEMS['test_images']}.gz").unlink()
    path = tmp_path / f"{STEMS['test_labels']}.gz"
    path.write_bytes(path.read_bytes()[:-3])
    checks = verify("mnist", tmp_path)
    assert [check.ok for check in checks] == [False] * 4
    assert checks[0].message == "is empty"
    assert "expected 65a50cbbf4e9" in checks[1].message
    assert checks[2].message == "is missing"
    assert checks[3].message == "compressed stream ends early"


def test_an_archive_is_compared_with_the_same_checksums(tmp_path, monkeypatch):
    np.savez(tmp_path / "mnist.npz", **SMALL)
    checks = verify("mnist", tmp_path)
    assert [check.ok for check in checks] == [False] * 4
    assert checks[1].file == f"{tmp_path / 'mnist.npz'}[train_labels]"
    for part, array in SMALL.items():
        assert hashlib.sha256(idx(array)).hexdigest() in checks[list(SMALL).index(part)].message
    (tmp_path / "mnist.npz").write_bytes(b"PK\3\4")
    (check,) = verify("mnist", tmp_path)
    assert not check.ok
    assert check.file == str(tmp_path / "mnist.npz")
