"""CIFAR-10 in its binary version: six files of records, or the archive that holds them.

    byte  0           label, 0..9
    bytes 1-1024      red plane, 32 rows of 32 pixels
    bytes 1025-2048   green plane
    bytes 2049-3072   blue plane

The "Python version" holds the same images as pickles, which can run any code when they are
opened. It is refused.
"""

import gzip
import tarfile
import zlib
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from qnn_ref.archives import listed
from qnn_ref.kinds import UNKNOWN, kind_of

from .checksums import verify_whole
from .examples import Check, Dataset, assemble
from .files import KIND_BYTES, DataError, open_content, pieces, read_content
from .known import KNOWN, folders_of

TRAIN_FILES = tuple(f"data_batch_{k}.bin" for k in range(1, 6))
TEST_FILE = "test_batch.bin"
FILES = (*TRAIN_FILES, TEST_FILE)
FOLDER = "cifar-10-batches-bin"
ARCHIVE = "cifar-10-binary.tar.gz"
RECORDS = 10_000  # in each of the published files
RECORD_BYTES = 1 + 3 * 32 * 32

_PICKLED_BATCHES = tuple(file.removesuffix(".bin") for file in FILES)
_PICKLED = ("cifar-10-python.tar.gz", "cifar-10-batches-py", *_PICKLED_BATCHES)
_PICKLE_FAULT = (
    "belongs to the Python version of CIFAR-10, whose pickles are never opened, because they can "
    f"run any code; get the binary version, {ARCHIVE} (qnn-ref data fetch cifar10)"
)
# Two labels a record there, and other classes.
_CIFAR100_RECORD = RECORD_BYTES + 1
_CIFAR100_FILES = ("train.bin", "test.bin")
_CIFAR100 = ("cifar-100-binary.tar.gz", "cifar-100-python.tar.gz", "cifar-100-binary")
_CIFAR100_FAULT = f"belongs to CIFAR-100, which is not read; get {ARCHIVE} for CIFAR-10"
# Besides tarfile's own: a number or a text of a header that cannot be read, sizes that no memory
# or file has, and too many headers before one file.
_DAMAGE = (
    *(tarfile.TarError, OSError, ValueError, KeyError),
    *(ArithmeticError, MemoryError, RuntimeError),
)

Batch = tuple[NDArray[np.uint8], NDArray[np.uint8]]


def find(name: str, folder: Path) -> Path | None:
    """Find the archive, or else the folder that holds any of the six files."""
    for place in folders_of(name, folder):
        # The archive first, because that is what `fetch` writes and what has a checksum.
        if (place / ARCHIVE).is_file():
            return place / ARCHIVE
        for inside in (place / FOLDER, place):
            if any((inside / file).is_file() for file in FILES):
                return inside
    return None


def refusal(name: str, folder: Path) -> DataError | None:
    """Find the Python version or CIFAR-100, and say why they are not read.

    Parameters
    ----------
    name : str
        Of the data set.
    folder : pathlib.Path
        Where to look.

    Returns
    -------
    DataError or None
        To be raised if nothing else was found; it names the binary version.
    """
    for place in folders_of(name, folder):
        for files, fault in ((_PICKLED, _PICKLE_FAULT), (_CIFAR100, _CIFAR100_FAULT)):
            for file in files:
                if (place / file).exists():
                    return DataError(place / file, fault)
    return None


def read(name: str, path: Path) -> Dataset:
    """Read the six files, from their folder or out of the archive, the training batches in order.

    The archive is not unpacked to disk.
    """
    batches = _read_folder(path) if path.is_dir() else _read_archive(path)
    train = [batches[file] for file in TRAIN_FILES]
    test_images, test_labels = batches[TEST_FILE]
    parts = {
        "train_images": np.concatenate([images for images, _ in train]),
        "train_labels": np.concatenate([labels for _, labels in train]),
        "test_images": test_images,
        "test_labels": test_labels,
    }
    known = KNOWN[name]
    files = {part: str(path) for part in parts}
    return assemble(name, parts, files, path, known.classes, known.image_shape)


def decode(content: bytes, file: str | Path) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Take the records of one file apart.

    Parameters
    ----------
    content : bytes
        Records of 3,073 bytes.
    file : str or pathlib.Path
        The file to name in an error.

    Returns
    -------
    images : array (records, 32, 32, 3) of uint8
        Row, column, and red, green, blue.
    labels : array (records,) of uint8
        Class numbers 0..9.

    Raises
    ------
    DataError
        If these are no whole records, a pickle, or a label is above 9.
    """
    if content.startswith(b"\x80"):  # how pickles begin; as a label it would be 128
        raise DataError(file, _PICKLE_FAULT)
    if not content:
        raise DataError(file, "is empty")
    whole, rest = divmod(len(content), RECORD_BYTES)
    if rest:
        fault = (
            f"expected records of {RECORD_BYTES} bytes, found {len(content)} bytes: "
            f"{whole} records and {rest} bytes"
        )
        if len(content) % _CIFAR100_RECORD == 0:
            fault += f"; with its records of {_CIFAR100_RECORD} bytes it {_CIFAR100_FAULT}"
        elif (kind := kind_of(content)) != UNKNOWN:
            fault += f"; {kind}"
        raise DataError(file, fault)
    records = np.frombuffer(content, np.uint8).reshape(whole, RECORD_BYTES)
    labels = records[:, 0]
    outside = np.flatnonzero(labels > 9)
    if outside.size:
        first = int(outside[0])
        raise DataError(file, f"label {labels[first]} of record {first} is outside 0..9")
    planes = records[:, 1:].reshape(whole, 3, 32, 32)
    return np.ascontiguousarray(planes.transpose(0, 2, 3, 1)), labels.copy()


def _read_folder(folder: Path) -> dict[str, Batch]:
    """Return the images and labels of each file."""
    held = {}
    for file in FILES:
        if not (folder / file).is_file():
            raise DataError(folder / file, "is missing, although others of its six files are there")
        held[file] = decode(read_content(folder / file), folder / file)
    return held


def _read_archive(path: Path) -> dict[str, Batch]:
    """Return the images and labels of each file, none of them unpacked to disk."""
    held: dict[str, Batch] = {}
    names = []
    with open_content(path) as (stream, most):
        start = stream.peek(KIND_BYTES)
        try:
            with tarfile.open(fileobj=stream, mode="r|") as archive:
                for member in archive:
                    if member.isfile():
                        names.append(file := PurePosixPath(member.name).name)
                        if file in FILES:
                            content = _read_member(archive, member, most)
                            held[file] = decode(content, f"{path}[{file}]")
            for _ in pieces(stream):
                pass  # to the checksum of the compressed stream
        except (DataError, EOFError, gzip.BadGzipFile, zlib.error):
            raise
        except _DAMAGE as error:
            fault = f"is no tar archive, or one that is damaged ({error})"
            tar = start[257:262] == b"ustar"
            raise DataError(path, fault if tar else f"{fault}; {kind_of(start)}") from error
    if any(file in names for file in _PICKLED_BATCHES):
        raise DataError(path, _PICKLE_FAULT)
    missing = [file for file in FILES if file not in held]
    if missing:
        fault = f"lacks {', '.join(missing)}; it holds {listed(names)}"
        cifar100 = set(_CIFAR100_FILES) <= set(names)
        raise DataError(path, f"{fault}: {_CIFAR100_FAULT}" if cifar100 else fault)
    return held


def _read_member(archive: tarfile.TarFile, member: tarfile.TarInfo, most: int) -> bytes:
    stream = archive.extractfile(member)
    # A sparse member may claim any size, and be filled with zeros up to it.
    if stream is None or member.issparse() or member.size > most:
        raise tarfile.ReadError(f"{member.name} claims {member.size} bytes")
    return stream.read()


def verify(name: str, path: Path) -> list[Check]:
    """Compare the archive with the published checksum.

    Of files without their archive only damage is known: no checksum of theirs is published.
    """
    if path.is_dir():
        return [_check_batch(path / file) for file in FILES]
    return [verify_whole(path.parent, path.name, KNOWN[name].sha256[ARCHIVE])]


def _check_batch(path: Path) -> Check:
    if not path.is_file():
        return Check(str(path), False, "is missing")
    try:
        content = read_content(path)
        decode(content, path)
    except DataError as error:
        return Check(str(path), False, error.fault)
    if len(content) != RECORDS * RECORD_BYTES:
        fault = f"expected {RECORDS} records, found {len(content) // RECORD_BYTES}"
        return Check(str(path), False, fault)
    fault = f"{RECORDS} sound records, but a checksum is known only of {ARCHIVE}"
    return Check(str(path), None, fault)
