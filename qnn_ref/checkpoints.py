"""Save, load and resume a training run: exact, atomic, without pickle.

A checkpoint is an .npz of plain arrays and one JSON header. It holds all that the rest of the run
depends on: latent weights, moments, step count, running statistics, the states of the generators,
the history, and the best epoch's arrays. A resumed run ends in the same bits.
"""

from __future__ import annotations

import copy
import os
from typing import Any

from numpy.typing import NDArray

from qnn_ref.files import FileError, load_arrays, save_arrays

Array = NDArray[Any]


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
