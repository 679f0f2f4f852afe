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

from qnn_ref._typing import Array
from qnn_ref.archives import ZIP_MAGIC, npz_names, read_npz
from qnn_ref.kinds import kind_of

HEADER = "header"
HEADER_BYTES = 4 << 20  # JSON in memory takes up to 27 times its bytes
LEAST_LIMIT = 3 << 20
GROWTH = 1.5
"""Our arrays are stored as they are; what somebody compressed may grow by half, or to 3 MiB."""
PART = ".part"


class FileError(ValueError):
    """A file that is damaged, cut, of another kind, or cannot be written."""


def open_regular(path: str | os.PathLike[str]) -> IO[bytes]:
    """Open a file for reading, or say why there is nothing to read.

    Parameters
    ----------
    path : path
        `~` stands for the home folder, and links are followed.

    Returns
    -------
    file
        Open for reading bytes; the caller closes it.

    Raises
    ------
    FileError
        If there is no such file, or a folder, a device or a pipe, or it may not be read.
    """
    if not os.fspath(path):
        raise FileError("expected the path of a file, got an empty one")
    try:
        place = Path(path).expanduser()
        mode = place.stat().st_mode  # first: to open a pipe waits for a writer
        if stat.S_ISREG(mode):
            return open(place, "rb")
    except FileNotFoundError as error:
        raise FileError(f"{path}: there is no such file") from error
    except (OSError, RuntimeError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise FileError(f"{path}: cannot be read: {reason}") from error
    what = "a folder" if stat.S_ISDIR(mode) else "a device, a pipe or a socket"
    raise FileError(f"{path}: cannot be read: it is {what}, not a file")


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
        if target.is_symlink():  # what realpath leaves of links that lead in a circle
            raise OSError("its links lead in a circle")
        mode = target.stat().st_mode if target.exists() else stat.S_IFREG
    except (OSError, RuntimeError, ValueError) as error:
        raise FileError(f"{path}: cannot be written: {error}") from error
    if stat.S_ISDIR(mode):
        raise FileError(f"{path}: is a folder; expected the path of a file")
    if not stat.S_ISREG(mode):
        raise FileError(f"{path}: is no regular file but a device, a pipe or a socket")
    if not _may_fill(target.parent):
        raise FileError(
            f"{path}: cannot be written: {target.parent} is no folder that may be written to"
        )
    if target.exists() and not os.access(target, os.W_OK):
        raise FileError(f"{path}: cannot be written: it is read-only")
    return target


def folder_of(path: str | os.PathLike[str]) -> Path:
    """The folder that work on `path` will make or fill, or the reason why there can be none.

    Parameters
    ----------
    path : path
        `~` stands for the home folder, and links are followed.

    Returns
    -------
    Path
        Absolute; a folder that may be written to, or one that can be made in such a folder.

    Raises
    ------
    FileError
        If the path is empty, is a file or leads through one, or must not be written to.
    """
    if not os.fspath(path):
        raise FileError("expected the path of a folder, got an empty one")
    try:
        folder = Path(os.path.realpath(Path(path).expanduser()))
        there = next(p for p in (folder, *folder.parents) if p.exists())
    except (OSError, RuntimeError, ValueError) as error:
        raise FileError(f"{path}: cannot be made: {error}") from error
    if not there.is_dir():
        raise FileError(f"{path}: cannot be made: {there} is a file")
    if not _may_fill(there):
        raise FileError(f"{path}: cannot be made: {there} may not be written to")
    return folder


def make_folder(path: str | os.PathLike[str]) -> Path:
    """Make a folder and those above it, unless it is there.

    Parameters
    ----------
    path : path
        As for `folder_of`.

    Returns
    -------
    Path

    Raises
    ------
    FileError
        If it cannot be made.
    """
    folder = folder_of(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(f"{path}: cannot be made: {error.strerror or error}") from error
    return folder


def move_file(source: str | os.PathLike[str], path: str | os.PathLike[str]) -> None:
    """Give a file that was written elsewhere on the same disk the name `path`.

    Parameters
    ----------
    source : path
    path : path
        As for `target_of`: a link stays a link, and what is no file is refused.

    Raises
    ------
    FileError
        If it cannot be moved there.
    """
    try:
        os.replace(source, target_of(path))
    except OSError as error:
        raise FileError(f"{path}: cannot be written: {error.strerror or error}") from error


def _may_fill(folder: Path) -> bool:
    return folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)


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
    text = np.frombuffer(json.dumps(header, allow_nan=False).encode(), dtype=np.uint8)
    if text.size > HEADER_BYTES:
        raise ValueError(f"header: expected at most {HEADER_BYTES:,} bytes, got {text.size:,}")
    with atomic_write(path) as file:
        np.savez(file, **{HEADER: text}, **arrays)  # type: ignore[arg-type]


def load_arrays(
    path: str | os.PathLike[str], kind: str, version: int, made_by: str = ""
) -> tuple[dict[str, Array], dict[str, Any]]:
    """Read what `save_arrays` wrote, or say what is wrong with the file.

    Parameters
    ----------
    path : path
    kind : str
        What the header must name.
    version : int
        The newest version that the caller understands.
    made_by : str
        What writes such files, for the error.

    Returns
    -------
    arrays : dict of arrays
    header : dict

    Raises
    ------
    FileError
        If the file is missing, cut, damaged, holds Python objects, or is of another kind.
    """
    wanted = f"qnn_ref {kind} file" + f", as {made_by} writes it" * bool(made_by)
    with open_regular(path) as file:
        start = file.read(512)
        if not start.startswith(ZIP_MAGIC):
            raise FileError(f"{path}: not a {wanted}: {kind_of(start)}")
        try:
            names = npz_names(file)
            if HEADER not in names:
                raise ValueError(_without_header(names))
            size = os.fstat(file.fileno()).st_size
            arrays = read_npz(file, most=max(LEAST_LIMIT, int(GROWTH * size)))
            header = _parse(arrays.pop(HEADER))
        except (ValueError, OSError) as error:
            raise FileError(f"{path}: not a {wanted}, or a damaged one ({error})") from error
    if (found := header.get("kind")) != kind:
        other = f"the kind {found[:60]!r}" if isinstance(found, str) else "no kind"
        raise FileError(f"{path}: not a {wanted}: its header names {other}")
    if not is_version(header.get("version"), version):
        found = header.get("version")
        raise FileError(f"{path}: {kind} version {found!r:.60}; this package reads up to {version}")
    if header.pop("arrays", None) != list(arrays):
        raise FileError(f"{path}: damaged {kind} file: not the arrays that its header names")
    return arrays, header


def is_version(value: Any, newest: int) -> bool:
    """Whether a version as JSON gives it is one from 1 to `newest`; True, 1.0 and "1" are none.

    Parameters
    ----------
    value : object
    newest : int

    Returns
    -------
    bool
    """
    return type(value) is int and 1 <= value <= newest


def strict_json(text: str | bytes) -> Any:
    """Parse JSON as its standard has it: without NaN and infinity, and no key twice.

    Parameters
    ----------
    text : str or bytes

    Returns
    -------
    object

    Raises
    ------
    ValueError
        If it is none.
    """

    def refuse(name: str) -> None:
        raise ValueError(f"{name} is no number of JSON")

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            raise ValueError("a key stands twice in it")
        return found

    try:
        return json.loads(text, parse_constant=refuse, object_pairs_hook=once)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def _parse(header: Array) -> dict[str, Any]:
    if header.dtype != np.uint8 or header.ndim != 1 or header.size > HEADER_BYTES:
        raise ValueError(f"its header is no text but {header.dtype} {header.shape}")
    parsed = strict_json(header.tobytes())
    return parsed if isinstance(parsed, dict) else {}


def _without_header(names: list[str]) -> str:
    if any(name.endswith("data.pkl") for name in names):
        return "this is a PyTorch file, which is never opened"
    return f"no header in it; an archive of {', '.join(names[:6]) or 'nothing'}"
