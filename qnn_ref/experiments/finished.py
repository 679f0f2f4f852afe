"""Finished runs, a row each: what `qnn-ref report --add RUN` stores and `qnn-ref report` reads.

They lie in results/ of a checkout, or in a copy of it that somebody keeps (`copy_results`):
`runs.csv`, the history of each run in `curves/`, and the forms of the filters of binary
convolutional networks in `filters/`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from qnn_ref.checks import choice, real, whole
from qnn_ref.experiments.cells import real_cell, whole_cell
from qnn_ref.experiments.kept_filters import Filters, read_filters
from qnn_ref.experiments.sweep import read_rows
from qnn_ref.files import FileError

RESULTS = Path(__file__).parent / "results"
RUNS, CURVES, FILTERS = "runs.csv", "curves", "filters"
PERCENT, BITS_OF = "% wrong", "bits a {}"
MOST = {PERCENT: 100.0} | {BITS_OF.format(symbol): 64.0 for symbol in ("character", "word")}
"""Units with their largest value."""
READERS: Mapping[str, Callable[[str, str], Any]] = (
    dict.fromkeys(("seed", "best_epoch"), partial(whole_cell, least=0))
    | dict.fromkeys(("epochs", "schedule"), partial(whole_cell, least=1))
    | dict.fromkeys(("validation", "test", "hours"), partial(real_cell, least=0))
)
"""How a column is read, where it is no text."""
NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
"""What a recipe is called; names of files are made of it."""


class Finished(NamedTuple):
    """A run that was trained and measured.

    Parameters
    ----------
    recipe : str
    data : str
        Name of the data set, and what is special about the copy that was used.
    seed, epochs, schedule : int
        Epochs that were trained, and that the decay of the learning rate was made for.
    best_epoch : int
        The one that validation chose, from 0.
    unit : str
        Of the next two: "% wrong", "bits a character" or "bits a word".
    validation, test : float
    hours : float
        From the first to the last file of the run, pauses and other work of the machine included;
        0 where that is not known, as in a copy of its folder.
    """

    recipe: str
    data: str
    seed: int
    epochs: int
    schedule: int
    best_epoch: int
    unit: str
    validation: float
    test: float
    hours: float

    @property
    def curve(self) -> str:
        """Name of the file of its history; runs on other data have another one."""
        about = re.sub("[^a-z0-9]+", "-", self.data.partition(",")[2].lower()).strip("-")
        name = "-".join(filter(None, (self.recipe, about)))
        return f"{name}-{self.epochs}-of-{self.schedule}-seed-{self.seed}.csv"

    @property
    def filters(self) -> str:
        """Name of the file of its binary filters, if it has any."""
        return self.curve.removesuffix(".csv") + ".npz"

    def check(self) -> None:
        """Refuse numbers that do not go together, and names that make no file."""
        if not NAME.fullmatch(self.recipe):
            raise ValueError(f"recipe: expected the name of a recipe, got {self.recipe!r:.60}")
        if not NAME.match(self.data) or not self.data.isprintable() or len(self.data) > 100:
            raise ValueError(
                "data: expected the name of a data set, and after a comma a few words in one line, "
                f"got {self.data!r:.60}"
            )
        choice("unit", self.unit, MOST)
        whole("epochs", self.epochs, 1, self.schedule)
        whole("best_epoch", self.best_epoch, 0, self.epochs - 1)
        for name in ("validation", "test"):
            real(name, getattr(self, name), least=0, most=MOST[self.unit])
        real("hours", self.hours, least=0)


def results_folder() -> Path:
    """Where the results lie; their tables come with the package, the pictures with a checkout.

    Returns
    -------
    Path
    """
    if not RESULTS.is_dir():
        raise FileError(f"{RESULTS}: no such folder: it came with the package and is gone")
    return RESULTS


def read_finished(folder: Path) -> list[Finished]:
    """The finished runs of a folder of results.

    Parameters
    ----------
    folder : Path

    Returns
    -------
    list of Finished

    Raises
    ------
    FileError
        If the table is damaged.
    """
    path = folder / RUNS
    if not path.exists():
        return []
    rows = read_rows(path)
    if not rows:
        raise FileError(f"{path}: damaged table: there is no row in it")
    runs = [_finished(path, number, row) for number, row in enumerate(rows, 1)]
    names = [run.curve for run in runs]
    if twice := [name for name in names if names.count(name) > 1]:
        raise FileError(f"{path}: two rows have one history, {twice[0]}")
    return runs


def _finished(path: Path, number: int, row: Mapping[str, str]) -> Finished:
    if list(row) != list(Finished._fields):
        raise FileError(f"{path}: expected the columns {', '.join(Finished._fields)}")
    try:
        cells: dict[str, Any] = {
            n: READERS[n](n, value) if n in READERS else value for n, value in row.items()
        }
        run = Finished(**cells)
        run.check()
        return run
    except ValueError as error:
        raise FileError(f"{path}: row {number}: {error}") from error


def read_curve(folder: Path, run: Finished) -> list[dict[str, float]]:
    """The history of a finished run, an entry an epoch.

    Parameters
    ----------
    folder : Path
        Of the results.
    run : Finished

    Returns
    -------
    list of dict
        As `training.Run.history` has them.

    Raises
    ------
    FileError
        If the file is not there or damaged.
    """
    path, entries = folder / CURVES / run.curve, []
    for number, row in enumerate(read_rows(path)):
        try:
            entry = {name: real_cell(name, value) for name, value in row.items() if value}
        except ValueError as error:
            raise FileError(f"{path}: row {number + 1}: {error}") from error
        measures = {name for name in entry if name.startswith("validation_")}
        losses = entry.keys() & {"loss", "training_bits"}
        if entry.get("epoch") != number or not losses or not measures:
            raise FileError(
                f"{path}: row {number + 1}: expected epoch {number}, a loss and a validation"
            )
        entries.append(entry)
    if not entries:
        raise FileError(f"{path}: damaged history: there is no epoch in it")
    return entries


def kept_filters(folder: Path, runs: Sequence[Finished]) -> dict[Finished, list[Filters]]:
    """The binary filters of those finished runs that have any.

    Parameters
    ----------
    folder : Path
        Of the results.
    runs : sequence of Finished

    Returns
    -------
    dict of Finished to list of Filters

    Raises
    ------
    FileError
        If a file is damaged.
    """
    found = {}
    for run in runs:
        path = folder / FILTERS / run.filters
        if path.exists():
            found[run] = read_filters(path)
    return found


def by_schedule(runs: Sequence[Finished], recipe: str) -> list[list[Finished]]:
    """The runs of a recipe, those of one schedule and data set together: seeds of one row.

    Parameters
    ----------
    runs : sequence of Finished
    recipe : str

    Returns
    -------
    list of list of Finished
        The schedule that went furthest first, and the data themselves before another copy of them;
        of each, those runs that went as far as the first.
    """
    rows: dict[tuple[str, int], list[Finished]] = {}
    for run in sorted(runs, key=lambda run: -run.epochs):
        if run.recipe == recipe:
            row = rows.setdefault((run.data, run.schedule), [run])
            if run.epochs == row[0].epochs and run is not row[0]:
                row.append(run)
    return sorted(rows.values(), key=lambda row: (-row[0].epochs, -row[0].schedule, row[0].data))


def longest(runs: Sequence[Finished], recipe: str) -> list[Finished]:
    """The runs of a recipe that went furthest, all of one schedule and data set.

    Parameters
    ----------
    runs : sequence of Finished
    recipe : str

    Returns
    -------
    list of Finished
        Empty if there is none.
    """
    return next(iter(by_schedule(runs, recipe)), [])
