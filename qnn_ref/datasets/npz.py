"""NumPy's own files, opened without pickle: data sets in one .npz archive, images in one .npy."""

import io
import tokenize
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .checksums import compare
from .examples import PARTS, Check, Dataset, assemble
from .files import NPY_MAGIC, ZIP_MAGIC, DataError, kind_of, read_bytes
from .idx import idx_bytes
from .known import KNOWN, spellings

# What NumPy and zipfile raise on damaged files: besides the plain ones, NotImplementedError and
# RuntimeError for flags of a zip header, MemoryError for absurd dimensions, and the tokenizer's
# errors, because the header of an array is Python text.
_DAMAGE = (
    OSError,
    EOFError,
    ValueError,
    TypeError,
    KeyError,
    RuntimeError,
    MemoryError,
    OverflowError,
    SyntaxError,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)


def read_arrays(
    path: str | Path, keys: Iterable[str], optional: Iterable[str] = ()
) -> dict[str, NDArray[Any]]:
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
    dict of str to ndarray
        The arrays by key.

    Raises
    ------
    DataError
        If the file is missing, damaged or of another kind, lacks a key, or stores Python objects.
    """
    content = read_bytes(path)
    if not content.startswith(ZIP_MAGIC):
        raise DataError(path, f"is no .npz archive: {kind_of(content)}")
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            held = list(archive.files)
            wanted = [*keys, *(key for key in optional if key in held)]
            missing = [key for key in wanted if key not in held]
            arrays = {key: archive[key] for key in wanted} if not missing else {}
    except _DAMAGE as error:
        raise DataError(path, _damage(error)) from error
    if missing:
        names = ", ".join(held) or "nothing"
        raise DataError(path, f"lacks {', '.join(missing)}; it holds {names}")
    for key, array in arrays.items():
        if not isinstance(array, np.ndarray):
            raise DataError(path, f"{key} is no array")
    return arrays


def read_npy(path: str | Path) -> NDArray[Any]:
    """Read an .npy file; a pickle inside is never opened.

    Parameters
    ----------
    path : str or pathlib.Path
        The file.

    Returns
    -------
    ndarray
        The array.

    Raises
    ------
    DataError
        If the file is missing, cut, too long or of another kind, or stores Python objects.
    """
    content = read_bytes(path)
    if not content.startswith(NPY_MAGIC):
        raise DataError(path, f"is no .npy file: {kind_of(content)}")
    try:
        stream = io.BytesIO(content)
        array: NDArray[Any] = np.load(stream, allow_pickle=False)
        rest = len(stream.read())
    except _DAMAGE as error:
        raise DataError(path, _damage(error)) from error
    if rest:
        raise DataError(path, f"{rest} bytes too many after the {array.nbytes} bytes of the array")
    return array


def _damage(error: BaseException) -> str:
    if "allow_pickle" in str(error):
        return "stores Python objects (a pickle), which are never opened"
    return f"is damaged or cut ({error})"


def find(name: str, folder: Path) -> Path | None:
    """Find the archive of a data set.

    Parameters
    ----------
    name : str
        Of the data set, also one that the package does not know.
    folder : pathlib.Path
        Where to look.

    Returns
    -------
    pathlib.Path or None
        ``NAME.npz``, also with "_" for "-".
    """
    for spelling in spellings(name):
        path = folder / f"{spelling}.npz"
        if path.is_file():
            return path
    return None


def read(name: str, path: Path) -> Dataset:
    """Read a data set from one archive.

    Parameters
    ----------
    name : str
        Of the data set.
    path : pathlib.Path
        An archive with train_images, train_labels, test_images and test_labels; of a set that the
        package does not know also class_names, if the classes have names.

    Returns
    -------
    Dataset
        Images of shape (count, height, width, channels).

    Raises
    ------
    DataError
        If the archive or an array in it is wrong.
    """
    known = KNOWN.get(name)
    arrays = read_arrays(path, PARTS, optional=() if known else ("class_names",))
    classes = known.classes if known else _class_names(path, arrays.pop("class_names", None))
    files = {part: f"{path}[{part}]" for part in PARTS}
    return assemble(name, arrays, files, path, classes, known.image_shape if known else None)


def _class_names(path: Path, names: NDArray[Any] | None) -> tuple[str, ...] | None:
    if names is None:
        return None
    if names.ndim != 1 or names.dtype.kind != "U":
        raise DataError(f"{path}[class_names]", f"expected a row of strings, found {names.dtype}")
    return tuple(names.tolist())


def verify(name: str, path: Path) -> list[Check]:
    """Compare the arrays with the published checksums of the idx files.

    Parameters
    ----------
    name : str
        Of a data set that the package knows.
    path : pathlib.Path
        The archive.

    Returns
    -------
    list of Check
        One for each array; of a set that is published in another form than idx files, whether
        an array is the published one is not known.
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
        checks.append(compare(f"{path}[{part}]", idx_bytes(stored), sha256[part]))
    return checks
