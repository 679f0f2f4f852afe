"""Save, load and resume a training run: exact, atomic, without pickle.

A checkpoint is an .npz of plain arrays and one JSON header. It holds all that the rest of the run
depends on: latent weights, moments, step count, running statistics, the states of the generators,
the history, and the best epoch's arrays. A resumed run ends in the same bits.
"""

from __future__ import annotations

import copy
import json
import os
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

    Raises
    ------
    FileError
        If the file cannot be written: no such folder, no permission, a full disk.
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
    except BaseException as error:
        Path(temporary).unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise FileError(f"{path}: cannot be written: {error.strerror or error}") from error
        raise


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
        If the file is damaged or belongs to another network or optimizer; the run is unchanged.
    """
    arrays, header = load_arrays(path, "checkpoint", 1)
    if header.get("optimizer") != type(run.optimizer).__name__:
        raise FileError(
            f"{path}: the run used {header.get('optimizer')}, not {type(run.optimizer).__name__}"
        )
    try:
        _restore(copy.deepcopy(run), arrays, header)  # a trial: nothing may change half-way
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise FileError(f"{path}: belongs to another run, or is damaged: {error}") from error
    _restore(run, arrays, header)


def _restore(run: Any, arrays: dict[str, Array], header: dict[str, Any]) -> None:
    """Put arrays and header of a checkpoint into a run; an error where they do not fit."""
    groups: dict[str, dict[str, Array]] = {"network": {}, "best": {}, "moments": {}}
    for name, array in arrays.items():
        group, _, rest = name.partition("/")
        groups[group][rest] = array
    network, optimizer = run.network, run.optimizer
    if groups["best"]:
        network.set_arrays(groups["best"])  # only to see that they fit
    network.set_arrays(groups["network"])
    optimizer.steps, optimizer.state = int(header["steps"]), {}
    for name, parameter in network.parameters().items() if optimizer.steps else ():
        moments = {m: groups["moments"].pop(f"{name}/{m}") for m in optimizer.moments}
        if any((a.shape, a.dtype) != (parameter.shape, parameter.dtype) for a in moments.values()):
            raise ValueError(f"the moments of {name} have another shape or dtype than it")
        optimizer.state[name] = moments
    if groups["moments"]:
        raise ValueError(f"the optimizer has no {sorted(groups['moments'])[0]}")
    for rng, state in zip((run.rng, network.rng), header["generators"], strict=True):
        rng.bit_generator.state = state
    run.history = [dict(entry) for entry in header["history"]]
    run.best, run.best_epoch = groups["best"], header["best_epoch"]
