"""Stored files as the report takes them: whole, with finite numbers, or refused by their names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from qnn_ref.checks import flag, real, whole
from qnn_ref.experiments import SWEEPS
from qnn_ref.experiments.cells import real_cell, whole_cell
from qnn_ref.experiments.sweep import Row, read_rows
from qnn_ref.files import FileError


def read_sweep(folder: Path, name: str) -> list[Row]:
    """The table of a sweep in a folder of results.

    Parameters
    ----------
    folder : Path
    name : str
        Of the sweep.

    Returns
    -------
    list of dict
        At least one row; every number in it is finite.

    Raises
    ------
    FileError
        If the file is not there, or no table of this sweep.
    """
    path, sweep = folder / f"{name}.csv", SWEEPS[name]
    columns = [*sweep.labels, "seed", "epochs", *sweep.measure.columns]
    known = [list(labels.values()) for labels, _ in sweep.cases]
    table = read_rows(path)
    if not table:
        raise FileError(f"{path}: damaged table: there is no row in it")
    seen = set()
    for number, row in enumerate(table, 1):
        if list(row) != columns:
            raise FileError(f"{path}: expected the columns {', '.join(columns)}")
        case = [row[label] for label in sweep.labels]
        key = (*case, row["seed"])
        try:
            if case not in known:
                raise ValueError(f"{', '.join(case):.80} is no case of {name}")
            if key in seen:
                raise ValueError("this case and seed stand there twice")
            whole_cell("seed", row["seed"], 0)
            whole_cell("epochs", row["epochs"], 0)
            for column in sweep.measure.columns:
                real_cell(column, row[column], 0, sweep.measure.most)
        except ValueError as error:
            raise FileError(f"{path}: row {number}: {error}") from error
        seen.add(key)
    return table


def text(name: str, value: Any) -> str:
    """A line of text."""
    if not isinstance(value, str) or not value.isprintable():
        raise TypeError(f"{name}: expected a line of text, got {value!r:.60}")
    return value


def optional(check: Callable[[str, Any], Any]) -> Callable[[str, Any], Any]:
    """What the check takes, or null."""
    return lambda name, value: None if value is None else check(name, value)


def versions(name: str, value: Any) -> None:
    """Names of packages with their versions, or null where one is missing."""
    for package, version in _object(name, value).items():
        optional(text)(f"{name}.{package}", version)


COUNT, SIZE = partial(whole, least=1), partial(real, above=0, most=1e15)  # bytes too
SHARE = partial(real, least=0, most=1e15)  # of a call that is nothing but checks, none is work
BENCH: Mapping[str, Any] = {
    "machine": {
        "cpu": text,
        "architecture": text,
        "features": [text],
        "cores": COUNT,
        "python": text,
        "versions": versions,
    },
    "ceiling": {"tops": SIZE},
    "ladder": [{"name": text, "peer": flag, "tops": optional(SIZE)}],
    "rows": [
        {
            "name": text,
            "size": text,
            "threads": COUNT,
            "peer_name": text,
            "unit": text,
            "ours": optional(SIZE),
            "ratio": optional(SHARE),
            "goal": optional(SIZE),
            "met": optional(flag),
        }
    ],
}
"""What the report reads of the answer of `qnn-ref bench --json`, each with its check."""


def check_bench(bench: Any) -> None:
    """Refuse what is no answer of `qnn-ref bench --json`, as far as the report reads it.

    Parameters
    ----------
    bench : dict

    Raises
    ------
    TypeError, ValueError
        Naming the place.
    """
    _check("the answer", bench, BENCH)
    check_rows(bench)


def check_rows(answer: Any) -> None:
    """Refuse an answer of the bench whose rows the report cannot read.

    Parameters
    ----------
    answer : dict

    Raises
    ------
    TypeError, ValueError
        Naming the place.
    """
    _check("the answer", answer, {"rows": BENCH["rows"]})
    for number, row in enumerate(answer["rows"]):
        if row["met"] is not None and None in (row["ratio"], row["goal"]):
            raise ValueError(f"rows[{number}]: a goal is met or not, but has no ratio or no goal")
        if row["ours"] is None and row["ratio"] is not None:
            raise ValueError(f"rows[{number}]: a ratio of what was not measured: ours is null")


def _check(name: str, value: Any, wanted: Any) -> None:
    if callable(wanted):
        wanted(name, value)
        return
    if isinstance(wanted, list):
        if not isinstance(value, list):
            raise TypeError(f"{name}: expected a list, got {value!r:.60}")
        for number, item in enumerate(value):
            _check(f"{name}[{number}]", item, wanted[0])
        return
    inside = "" if name == "the answer" else f"{name}."
    for key, check in wanted.items():
        if key not in _object(name, value):
            raise ValueError(f"{name}: expected an entry {key!r}, there is none")
        _check(f"{inside}{key}", value[key], check)


def _object(name: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError(f"{name}: expected an object, got {value!r:.60}")
    return value
