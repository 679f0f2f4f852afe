"""Save, load and resume a training run: exact, atomic, without pickle.

A checkpoint is an .npz of plain arrays and one JSON header. It holds all that the rest of the run
depends on: latent weights, moments, step count, running statistics, the states of the generators,
the history, and the best epoch's arrays. A resumed run ends in the same bits.
"""

from __future__ import annotations

import json
import os
import tempfile
import zipfile
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


@contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """Lend a temporary file beside `path`, and rename it to `path` once all is written.

    Whatever interrupts the writing, the old file is still whole and no temporary file is left
    (a killed process can leave one behind, never a damaged `path`).

    Parameters
    ----------
    path : path

    Yields
    ------
    file
        Open for writing bytes.
    """
    path = Path(path)
    try:
        descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    except OSError as error:
        raise FileError(f"{path}: cannot be written: {error.strerror or error}") from error
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        # mkstemp makes private files; give this one the mode of an ordinary new file.
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(temporary, 0o666 & ~mask)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def save_arrays(path: str | os.PathLike[str], arrays: dict[str, Array], header: Any) -> None:
    """Write arrays and a JSON header to one .npz, atomically.

    Parameters
    ----------
    path : path
    arrays : dict of arrays
        Plain numbers; object arrays are refused.
    header : object
        Whatever JSON can hold; must carry "kind" and "version".
    """
    for name, array in arrays.items():
        if array.dtype.hasobject:
            raise TypeError(f"arrays[{name!r}]: expected numbers, got dtype {array.dtype}")
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
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        header = json.loads(arrays.pop(HEADER).tobytes())
    except FileNotFoundError as error:
        raise FileError(f"{path}: there is no such file") from error
    except (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        reason = "no header in it" if isinstance(error, KeyError) else error
        raise FileError(f"{path}: not a qnn_ref {kind} file, or a damaged one ({reason})") from error
    if not isinstance(header, dict) or header.get("kind") != kind:
        raise FileError(f"{path}: expected a qnn_ref {kind} file, got another kind of file")
    if not isinstance(header.get("version"), int) or header["version"] > version:
        raise FileError(
            f"{path}: {kind} version {header.get('version')}; this package reads up to {version}"
        )
    return arrays, header


def save_checkpoint(path: str | os.PathLike[str], run: Any) -> None:
    """Write the whole state of a training run.

    Parameters
    ----------
    path : path
    run : Run
        See `qnn_ref.training.Run`.
    """
    arrays = {f"network/{name}": a for name, a in run.network.arrays().items()}
    arrays |= {f"best/{name}": a for name, a in run.best.items()}
    for name, moments in run.optimizer.state.items():
        arrays |= {f"moments/{name}/{moment}": a for moment, a in moments.items()}
    header = {
        "kind": "checkpoint",
        "version": 1,
        "steps": run.optimizer.steps,
        "optimizer": type(run.optimizer).__name__,
        "generators": [rng.bit_generator.state for rng in (run.rng, run.network.rng)],
        "history": run.history,
        "best_epoch": run.best_epoch,
    }
    save_arrays(path, arrays, header)


def load_checkpoint(path: str | os.PathLike[str], run: Any) -> None:
    """Put the state that `save_checkpoint` wrote into a freshly made run of the same recipe.

    Parameters
    ----------
    path : path
    run : Run
        Its network, optimizer, generator and history are overwritten.

    Raises
    ------
    FileError
        If the file is damaged or belongs to another network or optimizer.
    """
    arrays, header = load_arrays(path, "checkpoint", 1)
    groups: dict[str, dict[str, Array]] = {"network": {}, "best": {}, "moments": {}}
    for name, array in arrays.items():
        group, _, rest = name.partition("/")
        groups[group][rest] = array
    if header["optimizer"] != type(run.optimizer).__name__:
        raise FileError(
            f"{path}: the run used {header['optimizer']}, not {type(run.optimizer).__name__}"
        )
    try:
        run.network.set_arrays(groups["network"])
    except ValueError as error:
        raise FileError(f"{path}: belongs to another network: {error}") from error
    run.optimizer.steps = header["steps"]
    run.optimizer.state = {}
    for name, array in groups["moments"].items():
        parameter, _, moment = name.rpartition("/")
        run.optimizer.state.setdefault(parameter, {})[moment] = array
    for rng, state in zip((run.rng, run.network.rng), header["generators"], strict=True):
        rng.bit_generator.state = state
    run.history = header["history"]
    run.best = groups["best"]
    run.best_epoch = header["best_epoch"]
