"""CIFAR-10: planes into pixels, the archive as good as its files, and never a pickle."""

import contextlib
import gzip
import hashlib
import io
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qnn_ref.datasets import Check, DataError, available, cifar10, load, verify
from qnn_ref.datasets.known import KNOWN

ARCHIVE = "cifar-10-binary.tar.gz"
NAMES = [f"data_batch_{k}.bin" for k in (1, 2, 3, 4, 5)] + ["test_batch.bin"]
# The pickle of "call os.system": whatever opens it creates the file.
TRAP = "cos\nsystem\n(S'echo trapped > {}'\ntR."

rng = np.random.default_rng(5)
COUNTS = (3, 1, 2, 4, 2, 3)
LABELS = [rng.integers(0, 10, n, np.uint8) for n in COUNTS]
IMAGES = [rng.integers(0, 256, (n, 32, 32, 3), np.uint8) for n in COUNTS]


def record(label: int, image: np.ndarray) -> bytes:
    """One record, plane after plane."""
    return bytes([label]) + b"".join(image[:, :, colour].tobytes() for colour in (0, 1, 2))


def batch(k: int) -> bytes:
    return b"".join(record(*pair) for pair in zip(LABELS[k], IMAGES[k], strict=True))


CONTENT = {name: batch(k) for k, name in enumerate(NAMES)}


def tar(members: dict[str, bytes], folder: str = "cifar-10-batches-bin/") -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(folder + name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return stream.getvalue()


def write_files(folder: Path, **changes: bytes | None) -> Path:
    """Write the six files; a change names one without its ending, None leaves it out."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in CONTENT.items():
        content = changes.get(name.removesuffix(".bin"), content)
        if content is not None:
            (folder / name).write_bytes(content)
    return folder


def assert_is_small(dataset):
    np.testing.assert_array_equal(dataset.train_images, np.concatenate(IMAGES[:5]), strict=True)
    np.testing.assert_array_equal(dataset.test_images, IMAGES[5], strict=True)
    assert dataset.train_labels.tolist() == np.concatenate(LABELS[:5]).tolist()
    assert dataset.test_labels.tolist() == LABELS[5].tolist()
    assert dataset.train_labels.dtype == dataset.test_labels.dtype == np.int64


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory, monkeypatch):
    """No test looks into the cache of whoever runs it."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


def test_a_record_is_a_label_and_three_planes():
    content = bytearray(3073)
    content[0] = 7
    content[1 + 1024 + 33] = 200
    images, labels = cifar10.decode(bytes(content), "file")
    assert labels.tolist() == [7]
    assert images.shape == (1, 32, 32, 3)
    assert np.argwhere(images).tolist() == [[0, 1, 1, 1]]  # row 1, column 1, green
    assert images[0, 1, 1, 1] == 200


@given(
    st.integers(0, 2), st.integers(0, 9), st.integers(0, 31), st.integers(0, 31), st.integers(0, 2)
)
def test_every_byte_has_its_pixel(at, label, row, column, colour):
    content = bytearray(3 * 3073)
    content[3073 * at] = label
    content[3073 * at + 1 + 1024 * colour + 32 * row + column] = 9
    images, labels = cifar10.decode(bytes(content), "file")
    assert np.argwhere(images).tolist() == [[at, row, column, colour]]
    assert labels[at] == label == labels.sum()
    assert images.flags.c_contiguous
    assert images.flags.writeable
    assert labels.flags.writeable


@pytest.mark.parametrize("outside", ["", "cifar10", "cifar-10", "cifar_10"])
@pytest.mark.parametrize("inside", ["", "cifar-10-batches-bin"])
def test_six_files_wherever_they_lie(tmp_path, outside, inside):
    folder = write_files(tmp_path / outside / inside)
    dataset = load("cifar10", tmp_path)
    assert_is_small(dataset)
    assert dataset.source == str(folder)
    assert dataset.name == "cifar10"
    assert dataset.classes == (
        *("airplane", "automobile", "bird", "cat", "deer"),
        *("dog", "frog", "horse", "ship", "truck"),
    )


@pytest.mark.parametrize("packed", [gzip.compress, bytes], ids=["gzip", "plain"])
@pytest.mark.parametrize("outside", ["", "cifar10", "cifar-10"])
@pytest.mark.parametrize("folder", ["cifar-10-batches-bin/", "./x/", ""])
def test_the_archive_is_as_good_as_its_files(tmp_path, packed, outside, folder):
    (tmp_path / outside).mkdir(exist_ok=True)
    path = tmp_path / outside / ARCHIVE
    backwards = dict(reversed(CONTENT.items())) | {"readme.html": b"<html>"}
    path.write_bytes(packed(tar(backwards, folder)))
    assert_is_small(load("cifar10", tmp_path))
    assert load("cifar10", tmp_path).source == str(path)
    assert [other.name for other in path.parent.iterdir()] == [ARCHIVE]  # nothing is unpacked


def test_files_may_be_gzipped(tmp_path):
    write_files(tmp_path, data_batch_2=gzip.compress(CONTENT["data_batch_2.bin"]))
    assert_is_small(load("cifar10", tmp_path))


def test_the_archive_comes_before_the_files(tmp_path):
    write_files(tmp_path, data_batch_1=b"damaged")
    (tmp_path / ARCHIVE).write_bytes(gzip.compress(tar(CONTENT)))
    assert_is_small(load("cifar10", tmp_path))


@pytest.mark.parametrize("name", ["cifar10.npz", "cifar-10.npz", "cifar_10.npz"])
def test_one_npz_instead(tmp_path, name):
    arrays = {
        "train_images": np.concatenate(IMAGES[:5]),
        "train_labels": np.concatenate(LABELS[:5]),
        "test_images": IMAGES[5],
        "test_labels": LABELS[5][:, np.newaxis],
    }
    np.savez(tmp_path / name, **arrays)
    dataset = load("cifar10", tmp_path)
    assert_is_small(dataset)
    assert dataset.classes == KNOWN["cifar10"].classes
    checks = verify("cifar10", tmp_path)
    assert [check.ok for check in checks] == [None] * 4
    assert checks[3].file == f"{tmp_path / name}[test_labels]"
    assert checks[3].message == f"is sound, but checksums are known only of {ARCHIVE}"
    np.savez(tmp_path / name, **arrays | {"test_labels": np.full(3, 10)})
    assert "label 10 of example 0" in verify("cifar10", tmp_path)[0].message


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (gzip.compress(b""), "is empty: a compressed stream of 0 bytes"),
        (b"\7", "expected records of 3073 bytes, found 1 bytes: 0 records and 1 bytes"),
        (batch(1)[:-1], "found 3072 bytes: 0 records and 3072 bytes"),
        (batch(0)[:-3], "found 9216 bytes: 2 records and 3070 bytes"),
        (batch(0) + b"x", "found 9220 bytes: 3 records and 1 bytes"),
        (record(10, IMAGES[0][0]), "label 10 of record 0 is outside 0..9"),
        (batch(0) + record(255, IMAGES[0][0]), "label 255 of record 3 is outside 0..9"),
        (gzip.compress(batch(0))[:-9], "compressed stream ends early"),
        (b"\x80\x02}q\0." + bytes(3067), "pickles are never opened"),
        (b"\x80\x05\x95" + bytes(9), f"get the binary version, {ARCHIVE} "),
    ],
)
def test_each_fault_of_a_file_is_named(tmp_path, content, words):
    write_files(tmp_path, data_batch_3=content)
    with pytest.raises(DataError) as caught:
        load("cifar10", tmp_path)
    assert caught.value.path == str(tmp_path / "data_batch_3.bin")
    assert words in caught.value.fault
    check = verify("cifar10", tmp_path)[2]
    assert check == Check(caught.value.path, False, caught.value.fault)
    # The same file out of the archive.
    (tmp_path / ARCHIVE).write_bytes(tar(CONTENT | {"data_batch_3.bin": content}))
    if not content.startswith(b"\x1f\x8b"):
        with pytest.raises(DataError) as caught:
            load("cifar10", tmp_path)
        assert caught.value.path == f"{tmp_path / ARCHIVE}[data_batch_3.bin]"
        assert words in caught.value.fault


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_file_among_the_six(tmp_path, name):
    write_files(tmp_path, **{name.removesuffix(".bin"): None})
    with pytest.raises(DataError, match=f"{name}: is missing, although"):
        load("cifar10", tmp_path)
    checks = verify("cifar10", tmp_path)
    assert checks[NAMES.index(name)] == Check(str(tmp_path / name), False, "is missing")
    del (held := dict(CONTENT))[name]
    (tmp_path / ARCHIVE).write_bytes(gzip.compress(tar(held)))
    with pytest.raises(DataError, match=rf"tar\.gz: lacks {name}; it holds {next(iter(held))}, "):
        load("cifar10", tmp_path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"<html>moved</html>", "is no tar archive, or one that is damaged"),
        (gzip.compress(tar(CONTENT))[:-20], "compressed stream ends early"),
        (
            tar(CONTENT)[:5000],
            "or one that is damaged (cifar-10-batches-bin/data_batch_1.bin claims",
        ),
        (gzip.compress(tar({})), "it holds nothing"),
        # The checksum stands behind a tail that tar does not read.
        (gzip.compress(tar(CONTENT) + bytes(2**20))[:-8] + bytes(8), "stream is damaged (CRC"),
    ],
)
def test_each_fault_of_the_archive_is_named(tmp_path, content, words):
    (tmp_path / ARCHIVE).write_bytes(content)
    with pytest.raises(DataError) as caught:
        load("cifar10", tmp_path)
    assert caught.value.path == str(tmp_path / ARCHIVE)
    assert words in caught.value.fault


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE])
def test_only_files_of_the_archive_are_read(tmp_path, kind):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        info = tarfile.TarInfo("x/data_batch_1.bin")
        info.type, info.linkname = kind, "data_batch_1.bin"
        archive.addfile(info)
    (tmp_path / ARCHIVE).write_bytes(stream.getvalue())
    with pytest.raises(DataError, match=r"lacks data_batch_1\.bin, .*; it holds nothing"):
        load("cifar10", tmp_path)


@pytest.fixture(scope="module")
def damaged(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("cifar10") / ARCHIVE


WHOLE = tar(CONTENT)


@given(st.integers(0, len(WHOLE) - 1))
def test_an_archive_cut_anywhere_gives_the_same_images_or_a_data_error(damaged, length):
    damaged.write_bytes(WHOLE[:length])
    try:
        dataset = cifar10.read("cifar10", damaged)
    except DataError:
        return
    assert_is_small(dataset)  # only padding was lost


STARTS = [WHOLE.index(name.encode()) // 512 * 512 for name in NAMES]


@given(st.sampled_from(STARTS), st.integers(0, 511), st.integers(0, 255), st.booleans())
def test_a_damaged_header_gives_no_other_exception(damaged, start, at, value, summed):
    whole = bytearray(WHOLE)
    whole[start + at] = value
    if summed:  # with a checksum that fits, so that the fields are believed
        header = tarfile.calc_chksums(bytes(whole[start : start + 512]))[0]
        whole[start + 148 : start + 156] = b"%06o\0 " % header
    damaged.write_bytes(whole)
    with contextlib.suppress(DataError):
        cifar10.read("cifar10", damaged)


def test_a_member_may_not_claim_more_than_there_is(damaged):
    info = tarfile.TarInfo("data_batch_1.bin")
    info.pax_headers = {
        "GNU.sparse.major": "1",
        "GNU.sparse.minor": "0",
        "GNU.sparse.name": "data_batch_1.bin",
        "GNU.sparse.realsize": str(2**50),
    }
    sparse = b"1\n0\n1\n".ljust(512, b"\0") + b"x"
    info.size = len(sparse)
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(info, io.BytesIO(sparse))
    damaged.write_bytes(stream.getvalue())
    with pytest.raises(DataError, match=f"claims {2**50} bytes"):
        cifar10.read("cifar10", damaged)


@pytest.mark.parametrize(
    "name", ["data_batch_1", "test_batch", "cifar-10-batches-py/data_batch_1", "data_batch_1.bin"]
)
@pytest.mark.parametrize("prefix", [b"", b"\x80\x02"], ids=["protocol 0", "protocol 2"])
@pytest.mark.parametrize("outside", ["", "cifar10", "cifar-10"])
def test_a_pickle_is_refused_and_nothing_is_executed(tmp_path, name, prefix, outside):
    trap, path = tmp_path / "trapped", tmp_path / outside / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(prefix + TRAP.format(trap).encode())
    with pytest.raises(DataError) as caught:
        load("cifar10", tmp_path)
    if prefix or not name.endswith(".bin"):
        assert "pickles are never opened" in str(caught.value)
        assert f"get the binary version, {ARCHIVE} (qnn-ref data fetch cifar10)" in str(
            caught.value
        )
    assert str(tmp_path / outside) in caught.value.path
    assert not trap.exists()
    assert not any(check.ok for check in verify("cifar10", tmp_path))
    assert not trap.exists()


@pytest.mark.parametrize("name", ["cifar-10-python.tar.gz", ARCHIVE])
def test_the_archive_of_pickles_is_refused_whatever_its_name(tmp_path, name):
    trap = tmp_path / "trapped"
    pickled = b"\x80\x02" + TRAP.format(trap).encode()
    whole = tar({name.removesuffix(".bin"): pickled for name in NAMES}, "cifar-10-batches-py/")
    (tmp_path / name).write_bytes(gzip.compress(whole))
    with pytest.raises(DataError, match="pickles are never opened") as caught:
        load("cifar10", tmp_path)
    assert caught.value.path == str(tmp_path / name)
    (check,) = verify("cifar10", tmp_path)
    assert not check.ok
    assert not trap.exists()


def test_pickles_hide_nothing_that_can_be_read(tmp_path):
    (tmp_path / "cifar-10-python.tar.gz").touch()
    listed = {listing.name: listing for listing in available(tmp_path)}
    assert listed["cifar10"] == ("cifar10", "needs fetch", None)
    write_files(tmp_path / "cifar-10-batches-bin")
    assert_is_small(load("cifar10", tmp_path))
    listed = {listing.name: listing for listing in available(tmp_path)}
    assert listed["cifar10"].state == "found"


def test_the_archive_has_a_checksum_and_the_files_have_none(tmp_path, monkeypatch):
    write_files(tmp_path)
    for check, name, count in zip(verify("cifar10", tmp_path), NAMES, COUNTS, strict=True):
        fault = f"expected 10000 records, found {count}"
        assert check == Check(str(tmp_path / name), False, fault)
    monkeypatch.setattr(cifar10, "RECORDS", 3)
    checks = verify("cifar10", tmp_path)
    assert [check.ok for check in checks] == [None, False, False, False, False, None]
    assert checks[0].message == f"3 sound records, but a checksum is known only of {ARCHIVE}"

    whole = gzip.compress(tar(CONTENT))
    (tmp_path / ARCHIVE).write_bytes(whole)
    (check,) = verify("cifar10", tmp_path)
    assert check.ok is False
    assert check.message.startswith("sha256: expected c4a38c50a1bc")
    table = dict(KNOWN)
    sha256 = {ARCHIVE: hashlib.sha256(whole).hexdigest()}
    table["cifar10"] = replace(KNOWN["cifar10"], sha256=sha256)
    monkeypatch.setattr(cifar10, "KNOWN", table)
    fine = Check(str(tmp_path / ARCHIVE), True, f"{len(whole)} bytes, sha256 as published")
    assert verify("cifar10", tmp_path) == [fine]
    (tmp_path / ARCHIVE).write_bytes(b"")
    assert verify("cifar10", tmp_path) == [Check(fine.file, False, "is empty")]
