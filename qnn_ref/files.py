"""Files: written whole or not at all, arrays with a JSON header, errors that name the file.

Nothing is unpickled. Whoever reads or writes a file of the package comes through here.
"""

from __future__ import annotations

import glob
import json
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

HEADER = "header"


class FileError(ValueError):
    """A file that is damaged, cut, of another kind, or cannot be written."""


def target_of(path: str | os.PathLike[str]) -> Path:
    """The file that writing to `path` will make or replace, or the reason why none can be.

    Parameters
    ----------
    path : path
        `~` stands for the home folder, and links are followed.

    Returns
    -------
    Path
        Absolute; no file yet, or a regular one.

    Raises
    ------
    FileError
        If the path is empty, names a folder, a device or a pipe, or lies in no folder that may be
        written to.
    """
    if not os.fspath(path):
        raise FileError("expected the path of a file, got an empty one")
    try:
        target = Path(os.path.realpath(Path(path).expanduser()))
        mode = target.stat().st_mode if target.exists() else stat.S_IFREG
    except (OSError, RuntimeError, ValueError) as error:
        raise FileError(f"{path}: cannot be written: {error}") from error
    if stat.S_ISDIR(mode):
        raise FileError(f"{path}: is a folder; expected the path of a file")
    if not stat.S_ISREG(mode):
        raise FileError(f"{path}: is no regular file but a device, a pipe or a socket")
    if not os.access(target.parent, os.W_OK | os.X_OK):
        raise FileError(
            f"{path}: cannot be written: {target.parent} is no folder that may be written to"
        )
    if target.exists() and not os.access(target, os.W_OK):
        raise FileError(f"{path}: cannot be written: it is read-only")
    return target


PART = ".part"


@contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """Lend a temporary file beside `path`, and rename it to `path` once all is written.

    Whatever interrupts the writing, the old file is still whole and no temporary file is left
    (a killed process can leave one behind, never a damaged `path`; see `remove_parts`). A link
    stays a link: what it points to is replaced.

    Parameters
    ----------
    path : path

    Yields
    ------
    file
        Open for writing bytes.

    Raises
    ------
    FileError
        If the file cannot be written: no such folder, no permission, no regular file, a full disk.
    """
    target = target_of(path)
    try:
        descriptor, temporary = tempfile.mkstemp(
            prefix=f".{target.name}.", suffix=PART, dir=target.parent
        )
    except OSError as error:
        raise FileError(f"{path}: cannot be written: {error.strerror or error}") from error
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, _mode(target))
        os.replace(temporary, target)
    except BaseException as error:
        Path(temporary).unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise FileError(f"{path}: cannot be written: {error.strerror or error}") from error
        raise


def _mode(target: Path) -> int:
    """The mode of the file that is replaced, or of an ordinary new one (mkstemp's are private)."""
    if target.exists():
        return stat.S_IMODE(target.stat().st_mode)
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask


def remove_parts(path: str | os.PathLike[str]) -> None:
    """Remove what writers of `path` that were killed have left beside it.

    Parameters
    ----------
    path : path
        As given to `atomic_write`; nobody else may be writing it now.
    """
    target = Path(os.path.realpath(Path(path).expanduser()))
    for part in target.parent.glob(f".{glob.escape(target.name)}.*{PART}"):
        part.unlink(missing_ok=True)


def save_arrays(
    path: str | os.PathLike[str], arrays: dict[str, Array], header: dict[str, Any]
) -> None:
    """Write arrays and a JSON header to one .npz, atomically.

    Parameters
    ----------
    path : path
    arrays : dict of arrays
        Plain numbers; object arrays are refused.
    header : dict
        Whatever JSON can hold; must carry "kind" and "version".
    """
    for name, array in arrays.items():
        if array.dtype.hasobject:
            raise TypeError(f"arrays[{name!r}]: expected numbers, got dtype {array.dtype}")
    # A damaged table of contents can hide arrays: their names stand in the header too.
    header = header | {"arrays": list(arrays)}
    text = np.frombuffer(json.dumps(header).encode(), dtype=np.uint8)
    with atomic_write(path) as file:
        np.savez(file, **{HEADER: text}, **arrays)  # type: ignore[arg-type]


def load_arrays(
    path: str | os.PathLike[str], kind: str, version: int
) -> tuple[dict[str, Array], dict[str, Any]]:
    """Read what `save_arrays` wrote, or say what is wrong with the file.

    Parameters
    ----------
    path : path
    kind : str
        What the header must name.
    version : int
        The newest version that the caller understands.

    Returns
    -------
    arrays : dict of arrays
    header : dict

    Raises
    ------
    FileError
        If the file is missing, cut, damaged, holds Python objects, or is of another kind.
    """
    path = Path(path)
    try:
        # np.load would leave a damaged file open that it opened itself.
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as members:
            arrays = {name: members[name] for name in members.files}
        header = json.loads(arrays.pop(HEADER).tobytes())
    except FileNotFoundError as error:
        raise FileError(f"{path}: there is no such file") from error
    except Exception as error:
        # Damaged bytes make NumPy, zipfile, zlib, json and even tokenize raise errors of ten kinds.
        reason = "no header in it" if isinstance(error, KeyError) else error
        raise FileError(
            f"{path}: not a qnn_ref {kind} file, or a damaged one ({reason})"
        ) from error
    if not isinstance(header, dict) or header.get("kind") != kind:
        raise FileError(f"{path}: expected a qnn_ref {kind} file, got another kind of file")
    if not isinstance(header.get("version"), int) or header["version"] > version:
        raise FileError(
            f"{path}: {kind} version {header.get('version')}; this package reads up to {version}"
        )
    if header.pop("arrays", None) != list(arrays):
        raise FileError(f"{path}: damaged {kind} file: not the arrays that its header names")
    return arrays, header
