"""Save, load and resume a training run: exact, atomic, without pickle.

A checkpoint is an .npz of plain arrays and one JSON header. It holds all that the rest of the run
depends on: latent weights, moments, step count, running statistics, the states of the generators,
the settings of the optimizer, the history, the best epoch's arrays, and of a run along a text the
place in it and the state that is handed over. A resumed run ends in the same bits. What a file says
is not believed but compared with the run that it is to go into.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from qnn_ref._typing import Array
from qnn_ref.checks import instance, real, whole
from qnn_ref.files import FileError, load_arrays, save_arrays
from qnn_ref.network import Sequential
from qnn_ref.training import Run

__all__ = ["load_checkpoint", "save_checkpoint"]
__dir__ = __all__.copy


VERSION = 2
"""Version 1 had no digest of the description, and neither settings nor rate of the optimizer."""

PLACES = {"pos": 624, "buffer_pos": 4, "has_uint32": 1, "uinteger": 2**32 - 1}
"""Largest values in the states of NumPy's bit generators. They are places in arrays, which NumPy
does not check: it would read beyond them."""


def save_checkpoint(path: str | os.PathLike[str], run: Run, description: str = "") -> None:
    """Write the whole state of a training run.

    Parameters
    ----------
    path : path
    run : Run
    description : str
        Digest of what the run is (`qnn_ref.experiments.runs.digest`), to tell it from others.

    Raises
    ------
    ValueError
        If a number is not finite: the file that is there stays.
    """
    instance("run", run, Run).refuse_not_finite()
    arrays = {f"network/{name}": a for name, a in run.network.arrays().items()}
    arrays |= {f"best/{name}": a for name, a in run.best.items()}
    for name, moments in run.optimizer.state.items():
        arrays |= {f"moments/{name}/{moment}": a for moment, a in moments.items()}
    inside, place = run.place()
    arrays |= {f"place/{name}": a for name, a in inside.items()}
    header = {
        "kind": "checkpoint",
        "version": VERSION,
        "description": description,
        "steps": run.optimizer.steps,
        "optimizer": type(run.optimizer).__name__,
        "settings": run.optimizer.settings(),
        "learning_rate": run.optimizer.learning_rate,
        "generators": [_plain(rng.bit_generator.state) for rng in (run.rng, run.network.rng)],
        "history": run.history,
        "best_epoch": run.best_epoch,
        "place": place,
    }
    save_arrays(path, arrays, header)


def load_checkpoint(path: str | os.PathLike[str], run: Run, description: str = "") -> None:
    """Put the state that `save_checkpoint` wrote into a freshly made run of the same recipe.

    Parameters
    ----------
    path : path
    run : Run
        Its network, optimizer, generator and history are overwritten.
    description : str
        What the file must have been saved with, if it is given. Files of version 1 do not say.

    Raises
    ------
    FileError
        If the file is damaged or belongs to another run; this one is unchanged then.
    """
    arrays, header = load_arrays(path, "checkpoint", VERSION)
    if header["version"] > 1 and description and header.get("description") != description:
        raise FileError(f"{path}: belongs to another run than the description beside it")
    try:
        _restore(copy.deepcopy(run), arrays, header)  # a trial: nothing may change half-way
    except KeyError as error:
        raise FileError(f"{path}: damaged checkpoint: {error.args[0]} is missing in it") from error
    except (TypeError, ValueError, OverflowError) as error:
        raise FileError(f"{path}: belongs to another run, or is damaged: {error}") from error
    _restore(run, arrays, header)


def _restore(run: Run, arrays: Mapping[str, Array], header: Mapping[str, Any]) -> None:
    """Put arrays and header of a checkpoint into a run; an error where they do not fit."""
    network, optimizer = run.network, run.optimizer
    groups: dict[str, dict[str, Array]]
    groups = {"network": {}, "best": {}, "moments": {}, "place": {}}
    for name, array in arrays.items():
        group, _, rest = name.partition("/")
        if group not in groups:
            raise ValueError(f"an array {name!r} is none of a checkpoint's")
        groups[group][rest] = array
    if header["version"] > 1:
        _compare_optimizers(optimizer, header)
    elif header["optimizer"] != type(optimizer).__name__:
        raise ValueError(_other("the optimizer", header["optimizer"], type(optimizer).__name__))
    _check_history(header["history"], run.ranges)
    _check_best(header["best_epoch"], len(header["history"]), groups["best"])
    for name in ("best", "network"):  # the best only to see that they fit
        if groups[name] or name == "network":
            network.set_arrays(groups[name])
            _check_statistics(network, name)
    state: dict[str, dict[str, Array]] = {}
    if header["steps"] != 0:
        state = {name: {} for name in network.parameters()}
    for name, array in groups["moments"].items():
        of, _, moment = name.rpartition("/")
        state.setdefault(of, {})[moment] = array
    optimizer.set_state(header["steps"], state, network.parameters())
    states = header["generators"]
    if not isinstance(states, list) or len(states) != 2:
        raise TypeError("generators: expected the states of two")
    for number, (rng, new) in enumerate(zip((run.rng, network.rng), states, strict=True)):
        name, generator = f"generators[{number}]", rng.bit_generator
        generator.state = _fitted(name, new, generator.state)
        if len(set(copy.deepcopy(generator).random_raw(4).tolist())) == 1:
            raise ValueError(f"{name}: draws the same number for ever")
    run.go_to(groups["place"], instance("place", header.get("place", {}), dict))
    run.history = [dict(entry) for entry in header["history"]]
    run.best, run.best_epoch = groups["best"], header["best_epoch"]


def _other(what: str, theirs: Any, ours: Any) -> str:
    return f"{what} was {theirs!r} there, and is {ours!r} here"


def _compare_optimizers(optimizer: Any, header: Mapping[str, Any]) -> None:
    """Refuse another rule, or the same one with other settings; take over its rate."""
    ours = {"optimizer": type(optimizer).__name__} | optimizer.settings()
    theirs = {"optimizer": header["optimizer"], **header["settings"]}
    different = [
        _other(name, theirs.get(name), ours.get(name))
        for name in ours | theirs
        if type(theirs.get(name)) is not type(ours.get(name)) or theirs[name] != ours[name]
    ]
    if different:
        raise ValueError("; ".join(different))
    optimizer.learning_rate = header["learning_rate"]


def _check_history(history: Any, ranges: Mapping[str, Mapping[str, float]]) -> None:
    if not isinstance(history, list):
        raise TypeError(f"history: expected a list, got {type(history).__name__}")
    for index, entry in enumerate(history):
        name = f"history[{index}]"
        if not isinstance(entry, dict):
            raise TypeError(f"{name}: expected an entry with names, got {type(entry).__name__}")
        if lacking := [key for key in ("epoch", *ranges) if key not in entry]:
            raise ValueError(f"{name}: {lacking[0]} is missing")
        for key, value in entry.items():
            if key == "epoch":
                whole(f"{name}, epoch", value, index, index)
            elif key in ranges or value is not None:
                real(f"{name}, {key}", value, **ranges.get(key, {}))


def _check_best(epoch: Any, epochs: int, arrays: Mapping[str, Array]) -> None:
    if epoch is not None:
        whole("best_epoch", epoch, 0, epochs - 1)
    if (epoch is None) != (not arrays):
        raise ValueError(f"best_epoch: is {epoch}, but the file has {len(arrays)} arrays of it")


def _check_statistics(network: Sequential, group: str) -> None:
    for name, buffer in network.buffers().items():
        if name.endswith(("deviation", "variance")) and np.any(buffer < 0):
            raise ValueError(f"{group}/{name}: expected no negative number")


def _plain(state: Any) -> Any:
    """The state of a bit generator as JSON holds it: its arrays as lists."""
    if isinstance(state, Mapping):
        return {key: _plain(value) for key, value in state.items()}
    if isinstance(state, np.ndarray):
        return state.tolist()
    return state if isinstance(state, str) else whole("rng", state)


def _fitted(name: str, new: Any, old: Any) -> Any:
    """What `_plain` made of a state, put back into the form of the state `old`."""
    if isinstance(old, Mapping):
        if not isinstance(new, dict) or new.keys() != old.keys():
            raise TypeError(f"{name}: expected the state of a {old.get('bit_generator', 'part')}")
        first = sorted(old, key=lambda key: key != "bit_generator")  # another kind is said first
        return {key: _fitted(f"{name}, {key}", new[key], old[key]) for key in first}
    if isinstance(old, str):
        if new != old:
            raise ValueError(_other(name, new, old))
        return new
    if isinstance(old, np.ndarray):
        if not isinstance(new, list) or len(new) != old.size:
            raise TypeError(f"{name}: expected a list of {old.size} numbers")
        largest = int(np.iinfo(old.dtype).max)
        return np.array([whole(name, value, 0, largest) for value in new], old.dtype)
    return whole(name, new, 0, PLACES.get(name.rpartition(", ")[2], 2**128 - 1))
