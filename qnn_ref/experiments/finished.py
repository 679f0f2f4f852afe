"""Finished runs, a row each: what `qnn-ref report --add RUN` stores and `qnn-ref report` reads.

They lie in results/ of a checkout: `runs.csv`, and the history of each run in `curves/`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from qnn_ref import datasets
from qnn_ref.experiments.runs import (
    CHECKPOINT,
    DESCRIPTION,
    HISTORY,
    check_data,
    existing_folder,
    load_run,
    write_rows,
)
from qnn_ref.experiments.sweep import read_rows
from qnn_ref.experiments.text_runs import (
    check_text,
    foreseen,
    is_text_run,
    load_text_run,
    prepared,
)
from qnn_ref.files import FileError, make_folder
from qnn_ref.training import error_rate

RESULTS = Path(__file__).parent / "results"
RUNS, CURVES = "runs.csv", "curves"
READERS: Mapping[str, Any] = dict.fromkeys(("seed", "epochs", "schedule", "best_epoch"), int) | (
    dict.fromkeys(("validation", "test", "hours"), float)
)
"""What a column holds, where it is no text."""
PERCENT, BITS_OF = "% wrong", "bits a {}"


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
        From the first to the last file of the run, pauses and other work of the machine included.
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
        """Name of the file of its history."""
        return f"{self.recipe}-{self.epochs}-of-{self.schedule}-seed-{self.seed}.csv"


def results_folder() -> Path:
    """Where the results lie, or FileError: they come with a checkout, not with a wheel.

    Returns
    -------
    Path
    """
    if not RESULTS.is_dir():
        raise FileError(
            f"{RESULTS}: there is no such folder: results come with a checkout of the source, not "
            "with an installed package"
        )
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
    return [_finished(path, number, row) for number, row in enumerate(read_rows(path), 1)]


def _finished(path: Path, number: int, row: Mapping[str, str]) -> Finished:
    if list(row) != list(Finished._fields):
        raise FileError(f"{path}: expected the columns {', '.join(Finished._fields)}")
    try:
        return Finished(**{name: READERS.get(name, str)(value) for name, value in row.items()})
    except ValueError as error:
        raise FileError(f"{path}: row {number}: {error}") from error


def add_run(
    run_folder: str | os.PathLike[str],
    folder: Path,
    data: str | os.PathLike[str] | None = None,
    about_data: str = "",
) -> Finished:
    """Measure a run on its test part, and store its row and its history.

    Parameters
    ----------
    run_folder : path
        Of the run; its last finished epoch may be before its recipe's last one.
    folder : Path
        Of the results. A row of the same run with fewer epochs is replaced.
    data : path, optional
        Where the data set lies.
    about_data : str
        What is special about it, such as "JPEG copy".

    Returns
    -------
    Finished

    Raises
    ------
    FileError
        If there is no run, or it was trained on a part of the data set, or on other data.
    """
    place = existing_folder(run_folder)
    recipe, found = (_measure_text if is_text_run(place) else _measure_images)(place, data)
    if recipe.limit:
        raise FileError(f"{place}: was trained on {recipe.limit} examples only: no result")
    seconds = (place / CHECKPOINT).stat().st_mtime - (place / DESCRIPTION).stat().st_mtime
    run = Finished(
        recipe=recipe.name,
        data=f"{recipe.dataset}, {about_data}" if about_data else recipe.dataset,
        seed=recipe.seed,
        schedule=recipe.all_epochs,
        hours=round(seconds / 3600, 2),
        **found,
    )
    others = [r for r in read_finished(folder) if not _same(r, run)]
    rows = sorted([*others, run], key=lambda r: (r.recipe, r.data, r.schedule, r.seed))
    curve = read_rows(place / HISTORY)
    write_rows(make_folder(folder / CURVES) / run.curve, curve)
    write_rows(folder / RUNS, [row._asdict() for row in rows])
    return run


def _same(a: Finished, b: Finished) -> bool:
    """Whether two rows are of one run, one of them perhaps stopped earlier."""
    return (a.recipe, a.data, a.seed, a.schedule) == (b.recipe, b.data, b.seed, b.schedule)


def _measure_images(folder: Path, data: Any) -> tuple[Any, dict[str, Any]]:
    recipe, run = load_run(folder)
    dataset = datasets.load(recipe.dataset, data)
    check_data(folder, dataset)
    network = run.best_network()
    test = error_rate(network, dataset.test_images, dataset.test_labels)
    return recipe, _found(run, PERCENT, test, 2)


def _measure_text(folder: Path, data: Any) -> tuple[Any, dict[str, Any]]:
    recipe, _, run = load_text_run(folder)
    text = datasets.load_text(recipe.dataset, data)
    check_text(folder, text)
    test = foreseen(run.best_network(), prepared(recipe, text)).test_bits
    return recipe, _found(run, BITS_OF.format(recipe.level.removesuffix("s")), test, 4)


def _found(run: Any, unit: str, test: float, digits: int) -> dict[str, Any]:
    best = run.history[run.best_epoch]
    return {
        "epochs": len(run.history),
        "best_epoch": run.best_epoch,
        "unit": unit,
        "validation": round(best[run.measure], digits),
        "test": round(test, digits),
    }


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
    path = folder / CURVES / run.curve
    try:
        return [
            {name: float(value) for name, value in row.items() if value} for row in read_rows(path)
        ]
    except ValueError as error:
        raise FileError(f"{path}: damaged history: {error}") from error


def longest(runs: Sequence[Finished], recipe: str) -> list[Finished]:
    """The runs of a recipe that went furthest, all of one schedule and data set: seeds of one row.

    Parameters
    ----------
    runs : sequence of Finished
    recipe : str

    Returns
    -------
    list of Finished
        Empty if there is none.
    """
    ours = [run for run in runs if run.recipe == recipe]
    if not ours:
        return []
    furthest = max(ours, key=lambda run: (run.epochs, run.schedule))
    return [
        run
        for run in ours
        if (run.data, run.epochs, run.schedule)
        == (furthest.data, furthest.epochs, furthest.schedule)
    ]
