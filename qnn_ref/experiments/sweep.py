"""Many small runs side by side: a table with a row a run, resumed row by row."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from qnn_ref.datasets import Dataset
from qnn_ref.experiments.recipe import Recipe
from qnn_ref.experiments.runs import train_recipe, write_rows
from qnn_ref.files import FileError, make_folder
from qnn_ref.progress import progress_bar
from qnn_ref.training import error_rate

Row = dict[str, str]


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
    """

    name: str
    about: str
    cases: Sequence[tuple[Mapping[str, str], Recipe]]
    seeds: Sequence[int] = (0, 1, 2)

    @property
    def dataset(self) -> str:
        """Name of the data set."""
        return self.cases[0][1].dataset

    @property
    def labels(self) -> list[str]:
        """Columns that tell the cases apart."""
        return list(self.cases[0][0])


def run_sweep(
    sweep: Sweep,
    dataset: Dataset,
    folder: str | os.PathLike[str],
    resume: bool = False,
    progress: bool = False,
) -> list[Row]:
    """Train every case with every seed; a row is written as soon as its run is finished.

    Parameters
    ----------
    sweep : Sweep
    dataset : Dataset
    folder : path
        Receives `NAME.csv`; with `resume`, rows that stand there are not run again.
    resume : bool
    progress : bool
        Whether to show a bar on standard error.

    Returns
    -------
    list of dict
        Labels, seed, number of epochs, validation and test error in percent, in the order of
        seeds and cases whichever was run first.

    Raises
    ------
    FileError
        If the folder cannot be written, or holds a table and `resume` is not set, or the table
        has a row that is no run of this sweep.
    """
    path = make_folder(folder) / f"{sweep.name}.csv"
    if path.exists() and not resume:
        raise FileError(f"{path}: is there already; add --resume, or give another folder")
    done = {_key(row, sweep): row for row in (read_rows(path) if path.exists() else [])}
    todo = {}
    for seed in sweep.seeds:
        for labels, recipe in sweep.cases:
            row = dict(labels) | {
                "seed": str(seed),
                "epochs": str(recipe.epochs + recipe.retrain_epochs),
            }
            todo[_key(row, sweep)] = row, replace(recipe, seed=seed)
    if foreign := done.keys() - todo.keys():
        raise FileError(f"{path}: row {', '.join(min(foreign))} is no run of {sweep.name}")
    for key, (row, recipe) in progress_bar(
        todo.items(), total=len(todo), unit="run", title=sweep.name, show=progress
    ):
        if key in done:
            continue
        run = train_recipe(recipe, dataset)
        assert run.best_epoch is not None
        validation_error = run.history[run.best_epoch]["validation_error"]
        test_error = error_rate(run.best_network(), dataset.test_images, dataset.test_labels)
        row |= {"validation_error": f"{validation_error:.3f}", "test_error": f"{test_error:.3f}"}
        done[key] = row
        write_rows(path, [done[k] for k in todo if k in done])
    return [done[k] for k in todo]


def _key(row: Mapping[str, str], sweep: Sweep) -> tuple[str, ...]:
    return tuple(row.get(column, "") for column in [*sweep.labels, "seed", "epochs"])


def read_rows(path: Path) -> list[Row]:
    """Read a table that `write_rows` wrote.

    Parameters
    ----------
    path : Path

    Returns
    -------
    list of dict
    """
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def mean_and_spread(rows: Sequence[Row], labels: Sequence[str]) -> list[Row]:
    """Mean test error of each case over its seeds, and the standard deviation over them.

    Parameters
    ----------
    rows : sequence of dict
    labels : sequence of str
        Columns that tell the cases apart.

    Returns
    -------
    list of dict
        Labels, number of seeds, mean and (sample) standard deviation in percent.
    """
    groups: dict[tuple[str, ...], list[float]] = {}
    for row in rows:
        groups.setdefault(tuple(row[la] for la in labels), []).append(float(row["test_error"]))
    return [
        dict(zip(labels, key, strict=True))
        | {
            "seeds": str(len(errors)),
            "mean": f"{np.mean(errors):.2f}",
            "spread": f"{np.std(errors, ddof=1):.2f}" if len(errors) > 1 else "",
        }
        for key, errors in groups.items()
    ]
