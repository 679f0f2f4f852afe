"""Many small runs side by side: a table with a row a run, resumed row by row."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from qnn_ref.bits.threads import one_blas_thread
from qnn_ref.checks import real
from qnn_ref.experiments.description import (
    VERSION,
    checksums,
    differences,
    read_description,
    settings_of,
    write_description,
)
from qnn_ref.experiments.runs import train_recipe, write_rows
from qnn_ref.files import FileError, make_folder, open_regular, remove_parts, target_of
from qnn_ref.progress import progress_bar
from qnn_ref.training import error_rate

Row = dict[str, str]
Key = tuple[str, ...]
ERRORS = "validation_error", "test_error"


def carry_out(recipe: Any, dataset: Any) -> Row:
    """Train a recipe on images, and measure the best epoch's errors in percent.

    Parameters
    ----------
    recipe : Recipe
    dataset : Dataset

    Returns
    -------
    dict
        The columns `ERRORS`.
    """
    run = train_recipe(recipe, dataset)
    assert run.best_epoch is not None
    validation_error = run.history[run.best_epoch]["validation_error"]
    test_error = error_rate(run.best_network(), dataset.test_images, dataset.test_labels)
    return {"validation_error": f"{validation_error:.3f}", "test_error": f"{test_error:.3f}"}


@dataclass(frozen=True)
class Measure:
    """How the runs of a sweep are carried out, and what is measured of them.

    Parameters
    ----------
    columns : tuple of str
        What `carry_out` returns; the first two are of the validation and of the test part.
    carry_out : function
        `(recipe, dataset) -> dict` with these columns.
    checksums : function
        `dataset -> dict`: what tells a data set from another.
    most : float, optional
        Largest value of a column.
    words : str
        What a figure's axis says.
    digits : int
        Behind the point of a mean.
    """

    columns: tuple[str, ...] = ERRORS
    carry_out: Callable[[Any, Any], Row] = carry_out
    checksums: Callable[[Any], Mapping[str, Any]] = checksums
    most: float | None = 100
    words: str = "test error / %"
    digits: int = 2


IMAGES = Measure()
MEAN = "seeds", "mean", "spread"
"""Columns of `mean_and_spread` beside the labels."""


@dataclass(frozen=True)
class Sweep:
    """Recipes to compare, each with its labels, and the seeds that repeat them.

    Parameters
    ----------
    name : str
        What `qnn-ref train` calls it.
    about : str
        One line for the list.
    cases : sequence of pairs
        Labels (column -> value) and the recipe that they describe.
    seeds : sequence of int
    measure : Measure
        Errors on images, or bits of a text.
    """

    name: str
    about: str
    cases: Sequence[tuple[Mapping[str, str], Any]]
    seeds: Sequence[int] = (0, 1, 2)
    measure: Measure = IMAGES

    def __post_init__(self) -> None:
        taken = {"seed", "epochs", *MEAN, *self.measure.columns} & set(self.labels)
        if taken:
            raise ValueError(f"cases: a label is called {min(taken)!r}, as a column of the table")

    @property
    def dataset(self) -> str:
        """Name of the data set."""
        name: str = self.cases[0][1].dataset
        return name

    @property
    def labels(self) -> list[str]:
        """Columns that tell the cases apart."""
        return list(self.cases[0][0])


Finished = Generator[tuple[Key, Row], None, None]
Carrier = Callable[[Sweep, Any, Mapping[Key, Any]], Finished]
"""`(sweep, dataset, recipe of each run)` -> what was measured of each, as soon as it is known."""


def carry_out_one(measure: Callable[[Any, Any], Row], recipe: Any, dataset: Any) -> Row:
    """One run of a sweep, wherever it is carried out.

    NumPy's products use one thread: with another number of them, they may be rounded otherwise.

    Parameters
    ----------
    measure : function
        `Measure.carry_out` of the sweep.
    recipe : Recipe
    dataset : Dataset or TextData

    Returns
    -------
    dict
        What was measured.
    """
    with one_blas_thread():
        return measure(recipe, dataset)


def one_after_the_other(sweep: Sweep, dataset: Any, runs: Mapping[Key, Any]) -> Finished:
    """Carry out runs in this process, in their order.

    Parameters
    ----------
    sweep : Sweep
    dataset : Dataset or TextData
    runs : mapping
        Recipe of each run.

    Yields
    ------
    key : tuple of str
    row : dict
        What was measured.
    """
    for key, recipe in runs.items():
        yield key, carry_out_one(sweep.measure.carry_out, recipe, dataset)


def run_sweep(
    sweep: Sweep,
    dataset: Any,
    folder: str | os.PathLike[str],
    resume: bool = False,
    progress: bool = False,
    carrier: Carrier = one_after_the_other,
) -> list[Row]:
    """Train every case with every seed; a row is written as soon as its run is finished.

    Parameters
    ----------
    sweep : Sweep
    dataset : Dataset or TextData
    folder : path
        Receives `NAME.csv`, and `NAME.json` with the settings of all runs; with `resume`, rows
        that stand there are not run again.
    resume : bool
    progress : bool
        Whether to show a bar on standard error.
    carrier : function
        Who carries out the runs: this process, or a `Cluster` of others. It changes no number.

    Returns
    -------
    list of dict
        Labels, seed, number of epochs, validation and test error in percent (or what the sweep
        measures), in the order of seeds and cases whichever was run first.

    Raises
    ------
    FileError
        If the folder cannot be written, or holds a table and `resume` is not set, or the table
        is damaged, or was made with other settings or data.
    """
    path = make_folder(folder) / f"{sweep.name}.csv"
    target_of(path)
    todo = _todo(sweep)
    done = {}
    if path.exists():
        if not resume:
            raise FileError(f"{path}: is there already; add --resume, or give another folder")
        done = _read_done(path, sweep, todo.keys())
    description = path.with_suffix(".json")
    here = _describe(sweep, dataset)
    if done and description.exists():
        here["cases"] = _compare(description, here) | here["cases"]
    write_description(description, here)
    for file in (path, description):
        remove_parts(file)
    runs = {key: recipe for key, (_, recipe) in todo.items() if key not in done}
    with (
        progress_bar(total=len(todo), unit="run", title=sweep.name, show=progress) as bar,
        closing(carrier(sweep, dataset, runs)) as finished,
    ):
        bar.update(len(done))
        for key, row in finished:
            done[key] = todo[key][0] | {name: row[name] for name in sweep.measure.columns}
            write_rows(path, [done[k] for k in todo if k in done])
            bar.update()
    return [done[k] for k in todo]


def _todo(sweep: Sweep) -> dict[Key, tuple[Row, Any]]:
    """Every run of a sweep, in order, by what tells it apart."""
    todo = {}
    for seed in sweep.seeds:
        for labels, recipe in sweep.cases:
            row = dict(labels) | {
                "seed": str(seed),
                "epochs": str(recipe.all_epochs),
            }
            todo[_key(row, sweep)] = row, replace(recipe, seed=seed)
    return todo


def _key(row: Mapping[str, str], sweep: Sweep) -> Key:
    return tuple(row[column] for column in [*sweep.labels, "seed", "epochs"])


def _read_done(path: Path, sweep: Sweep, known: Collection[Key]) -> dict[Key, Row]:
    """The finished runs in a table, or FileError if a row is none of this sweep."""
    columns = [*sweep.labels, "seed", "epochs", *sweep.measure.columns]
    done: dict[Key, Row] = {}
    for number, row in enumerate(read_rows(path), 1):
        if list(row) != columns:
            raise FileError(f"{path}: expected the columns {', '.join(columns)}")
        key = _key(row, sweep)
        if key not in known:
            raise FileError(f"{path}: row {', '.join(key)} is no run of {sweep.name}")
        if key in done:
            raise FileError(f"{path}: row {', '.join(key)} stands there twice")
        for name in sweep.measure.columns:
            try:
                real(name, float(row[name]), least=0, most=sweep.measure.most)
            except ValueError as error:
                raise FileError(f"{path}: row {number}: {name}: no percentage: {error}") from error
        done[key] = row
    return done


def _describe(sweep: Sweep, dataset: Any) -> dict[str, Any]:
    cases = {
        ", ".join(labels.values()): settings_of(replace(recipe, about=""))
        for labels, recipe in sweep.cases
    }
    return {"kind": "sweep", "version": VERSION, "cases": cases, **sweep.measure.checksums(dataset)}


_OWN = ("kind", "version", "cases")


def _compare(path: Path, here: Mapping[str, Any]) -> dict[str, Any]:
    """Refuse to mix rows of other settings or data; return the settings that lie there."""
    there = read_description(path, "sweep")
    cases = there.get("cases")
    if not isinstance(cases, dict) or not all(isinstance(c, dict) for c in cases.values()):
        raise FileError(f"{path}: damaged sweep description: no settings in it")
    different = differences(there, {k: v for k, v in here.items() if k not in _OWN})
    for name, settings in here["cases"].items():
        different += [f"{name}: {what}" for what in differences(cases.get(name, {}), settings)]
    if different:
        raise FileError(f"{path}: of another sweep; these differ: {'; '.join(different[:4])}")
    return cases


def read_rows(path: Path) -> list[Row]:
    """Read a table that `write_rows` wrote.

    Parameters
    ----------
    path : Path

    Returns
    -------
    list of dict

    Raises
    ------
    FileError
        If it is no table, or a row has more or fewer cells than the first.
    """
    with open_regular(path) as file:
        content = file.read()
    try:
        table = csv.reader(io.StringIO(content.decode(), newline=""), strict=True)
        head, *lines = table
        rows = [dict(zip(head, line, strict=True)) for line in lines]
    except (ValueError, csv.Error) as error:
        raise FileError(f"{path}: damaged table: {error}") from error
    if len(set(head)) < len(head):
        raise FileError(f"{path}: damaged table: a column stands in it twice")
    return rows


def mean_and_spread(
    rows: Sequence[Row], labels: Sequence[str], column: str = "test_error", digits: int = 2
) -> list[Row]:
    """Mean test error of each case over its seeds, and the standard deviation over them.

    Parameters
    ----------
    rows : sequence of dict
    labels : sequence of str
        Columns that tell the cases apart.
    column : str
        Another column to take the mean of.
    digits : int
        Behind the point.

    Returns
    -------
    list of dict
        Labels, number of seeds, mean and (sample) standard deviation, in the unit of the column.
    """
    groups: dict[tuple[str, ...], list[float]] = {}
    for row in rows:
        groups.setdefault(tuple(row[la] for la in labels), []).append(float(row[column]))
    return [
        dict(zip(labels, key, strict=True))
        | {
            "seeds": str(len(errors)),
            "mean": f"{np.mean(errors):.{digits}f}",
            "spread": f"{np.std(errors, ddof=1):.{digits}f}" if len(errors) > 1 else "",
        }
        for key, errors in groups.items()
    ]
