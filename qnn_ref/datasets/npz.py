"""NumPy's own files, opened without pickle: data sets in one .npz archive, images in one .npy."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO

import numpy as np

from qnn_ref import archives
from qnn_ref._typing import Array
from qnn_ref.archives import NPY_MAGIC, ZIP_MAGIC, Layout, listed
from qnn_ref.kinds import kind_of

from .checksums import compare
from .examples import PARTS, Check, Dataset, assemble
from .files import KIND_BYTES, DataError, open_file
from .idx import idx_bytes
from .known import KNOWN, spellings


def read_arrays(
    path: str | Path, keys: Iterable[str], optional: Iterable[str] = ()
) -> dict[str, Array]:
    """Read arrays of an .npz archive; pickles inside are never opened.

    Parameters
    ----------
    path : str or pathlib.Path
        The archive.
    keys : iterable of str
        The arrays that it must hold.
    optional : iterable of str
        Arrays that it may hold.

    Returns
    -------
    dict of str to array
        The arrays by key.

    Raises
    ------
    DataError
        If the file is missing, damaged or of another kind, lacks a key, stores Python objects, or
        would unpack to far more than its size.
    """
    with _opened(path, ZIP_MAGIC, "is no .npz archive") as (file, _):
        held = archives.npz_names(file)
        wanted = [*keys, *(key for key in optional if key in held)]
        if missing := [key for key in wanted if key not in held]:
            raise DataError(path, f"lacks {', '.join(missing)}; it holds {listed(held)}")
        return archives.read_npz(file, wanted)


def read_npy(path: str | Path) -> Array:
    """Read an .npy file; a pickle inside is never opened.

    Parameters
    ----------
    path : str or pathlib.Path
        The file.

    Returns
    -------
    array
        The array.

    Raises
    ------
    DataError
        If the file is missing, cut, too long or of another kind, or stores Python objects.
    """
    with _opened(path, NPY_MAGIC, "is no .npy file") as (file, size):
        return archives.read_npy(file, size)


@contextmanager
def open_npy(path: str | Path) -> Iterator[tuple[IO[bytes], Layout]]:
    """Lend the numbers of an .npy file as a stream, for `read_rows`.

    Parameters
    ----------
    path : str or pathlib.Path
        The file.

    Yields
    ------
    file
        Where the numbers begin.
    layout : Layout
        Shape, order and dtype; the file holds just as many bytes.

    Raises
    ------
    DataError
        As `read_npy`.
    """
    with _opened(path, NPY_MAGIC, "is no .npy file") as (file, size):
        layout = archives.npy_layout(file, size)
        file.seek(layout.offset)
        yield file, layout


@contextmanager
def _opened(path: str | Path, magic: bytes, fault: str) -> Iterator[tuple[IO[bytes], int]]:
    """Lend a file of the right kind and its size, and name it in what is wrong with it."""
    file, size = open_file(path)
    with file:
        start = file.read(KIND_BYTES)
        if not start.startswith(magic):
            raise DataError(path, f"{fault}: {kind_of(start)}")
        file.seek(0)
        try:
            yield file, size
        except DataError:
            raise
        except (OSError, ValueError) as error:
            raise DataError(path, str(error)) from error


def find(name: str, folder: Path) -> Path | None:
    """Find ``NAME.npz``, also with "_" for "-", and of a set that the package does not know."""
    for spelling in spellings(name):
        path = folder / f"{spelling}.npz"
        if path.is_file():
            return path
    return None


def read(name: str, path: Path) -> Dataset:
    """Read train_images, train_labels, test_images and test_labels from one archive.

    Of a set that the package does not know also class_names, if the classes have names: one for
    each label from 0, also for classes without examples.
    """
    known = KNOWN.get(name)
    arrays = read_arrays(path, PARTS, optional=() if known else ("class_names",))
    names = _class_names(path, arrays.pop("class_names", None))
    classes = known.classes if known else None
    files = {part: f"{path}[{part}]" for part in PARTS}
    dataset = assemble(name, arrays, files, path, classes, known.image_shape if known else None)
    if names is None:
        return dataset
    if len(names) < len(dataset.classes):
        fault = f"{len(names)} names, but labels 0..{len(dataset.classes) - 1} in the same file"
        raise DataError(f"{path}[class_names]", fault)
    return replace(dataset, classes=names)


def _class_names(path: Path, names: Array | None) -> tuple[str, ...] | None:
    if names is None:
        return None
    if names.ndim != 1 or names.dtype.kind != "U":
        fault = f"expected a row of strings, found {names.dtype} of shape {names.shape}"
        raise DataError(f"{path}[class_names]", fault)
    return tuple(names.tolist())


def verify(name: str, path: Path) -> list[Check]:
    """Compare the arrays with the published checksums of the idx files.

    Of a set that is published in another form it is not known whether an array is the right one.
    """
    try:
        dataset = read(name, path)
    except DataError as error:
        return [Check(error.path, False, error.fault)]
    sha256 = KNOWN[name].sha256
    checks = []
    for part in PARTS:
        if part not in sha256:
            fault = f"is sound, but checksums are known only of {', '.join(sha256)}"
            checks.append(Check(f"{path}[{part}]", None, fault))
            continue
        array = getattr(dataset, part)
        stored = array[..., 0] if part.endswith("images") else array.astype(np.uint8)
        checks.append(compare(f"{path}[{part}]", [idx_bytes(stored)], sha256[part]))
    return checks
