"""A run becomes a row of results: measured once more, refused if it is no run of its recipe.

`finished` reads what is written here. A checkout keeps its rows in its own results; a reader of an
installed package in a copy of them.
"""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

from qnn_ref import datasets
from qnn_ref.experiments import RECIPES, TEXT_RECIPES
from qnn_ref.experiments.finished import (
    BITS_OF,
    CURVES,
    FILTERS,
    PERCENT,
    RUNS,
    Finished,
    read_finished,
    results_folder,
)
from qnn_ref.experiments.kept_filters import save_filters
from qnn_ref.experiments.runs import (
    CHECKPOINT,
    DESCRIPTION,
    check_data,
    existing_folder,
    load_run,
    write_rows,
)
from qnn_ref.experiments.text_runs import (
    check_text,
    foreseen,
    is_text_run,
    load_text_run,
    prepared,
)
from qnn_ref.files import FileError, atomic_write, make_folder, open_regular, target_of
from qnn_ref.network import Sequential
from qnn_ref.training import error_rate


def is_part_of_a_checkout(folder: Path) -> bool:
    """Whether results lie in a source tree: those of an installed package are replaced with it.

    Parameters
    ----------
    folder : Path
        Of the results.

    Returns
    -------
    bool
    """
    return len(folder.parents) > 2 and datasets.is_checkout(folder.parents[2])


def copy_results(folder: Path) -> None:
    """Begin a folder of results with those that came with the package, if it has none.

    Parameters
    ----------
    folder : Path
        Is made if it is not there. A file that lies in it stays.

    Raises
    ------
    FileError
        If it cannot be written.
    """
    if (folder / RUNS).exists():
        return
    files = sorted(p for p in results_folder().rglob("*") if p.suffix in (".csv", ".json", ".npz"))
    files.sort(key=lambda path: path.name == RUNS)  # last: with it the copy is whole
    for source in files:
        target = folder / source.relative_to(results_folder())
        make_folder(target.parent)
        if not target.exists():
            with open_regular(source) as content, atomic_write(target) as file:
                file.write(content.read())


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
        Of the results. A row of the same run with as many epochs or fewer is replaced.
    data : path, optional
        Where the data set lies.
    about_data : str
        What is special about it, such as "JPEG copy": a few words in one line.

    Returns
    -------
    Finished

    Raises
    ------
    FileError
        If there is no run, or it was trained on a part of the data set, on other data, or by
        another recipe than one that is known here; or if the results are damaged, cannot be
        written, or have this run with more epochs.
    ValueError
        If `about_data` is no line of text.
    """
    if not about_data.isprintable() or len(about_data) > 60:
        raise ValueError(
            f"about_data: expected up to 60 characters in one line, got {about_data!r:.80}"
        )
    place, stored = existing_folder(run_folder), read_finished(folder)
    for file in (RUNS, f"{CURVES}/any") if folder.exists() else ():
        target_of(folder / file)
    measure = _measure_text if is_text_run(place) else _measure_images
    recipe, history, network, found = measure(place, data)
    if recipe.limit:
        raise FileError(f"{place}: was trained on {recipe.limit} examples only: no result")
    _refuse_other_recipes(place, recipe)
    run = Finished(
        recipe=recipe.name,
        data=f"{recipe.dataset}, {about_data}" if about_data else recipe.dataset,
        seed=recipe.seed,
        schedule=recipe.all_epochs,
        hours=_hours(place),
        **found,
    )
    try:
        run.check()
    except ValueError as error:
        raise FileError(f"{place}: has no row in a table of results: {error}") from error
    same = [r for r in stored if _same(r, run)]
    if same and same[0].epochs > run.epochs:
        raise FileError(
            f"{folder / RUNS}: has this run after {same[0].epochs} epochs, {place} only "
            f"{run.epochs} of them"
        )
    others = [r for r in stored if not _same(r, run)]
    if run.curve in [r.curve for r in others]:
        raise FileError(f"{folder / RUNS}: another run has the history {run.curve} already")
    rows = sorted([*others, run], key=lambda r: (r.recipe, r.data, r.schedule, r.seed))
    curves = make_folder(folder / CURVES)
    write_rows(curves / run.curve, history)
    save_filters(folder / FILTERS / run.filters, network)
    write_rows(folder / RUNS, [row._asdict() for row in rows])
    for old in same:
        if old.curve != run.curve:
            (curves / old.curve).unlink(missing_ok=True)
            (folder / FILTERS / old.filters).unlink(missing_ok=True)
    return run


ITS_OWN = "about", "seed", "epochs", "limit", "bit_products"
"""What a run of a recipe may have otherwise."""


def _hours(place: Path) -> float:
    """From the first to the last file; 0 where a copy of the folder has lost its times."""
    seconds = (place / CHECKPOINT).stat().st_mtime - (place / DESCRIPTION).stat().st_mtime
    return round(max(0.0, seconds) / 3600, 2)


def _refuse_other_recipes(place: Path, recipe: Any) -> None:
    """A row says a recipe's name: refuse a case of a sweep, and what was changed under the name."""
    known: Any = {**RECIPES, **TEXT_RECIPES}.get(recipe.name)
    if known is None or type(known) is not type(recipe):
        raise FileError(f"{place}: no recipe here has the name {recipe.name!r}: no row for it")
    changed = [
        f"{field.name} {getattr(recipe, field.name)!r}, not {getattr(known, field.name)!r}"
        for field in dataclasses.fields(known)
        if field.name not in ITS_OWN and getattr(recipe, field.name) != getattr(known, field.name)
    ]
    if changed:
        raise FileError(
            f"{place}: was trained by another recipe than {recipe.name} is here "
            f"({'; '.join(changed)}): no result of that name"
        )


def _same(a: Finished, b: Finished) -> bool:
    """Whether two rows are of one run, one of them perhaps stopped earlier."""
    return (a.recipe, a.data, a.seed, a.schedule) == (b.recipe, b.data, b.seed, b.schedule)


Measured = tuple[Any, list[dict[str, float]], Sequential, dict[str, Any]]
"""A recipe, its history, its best network, and what stands in its row."""


def _measure_images(folder: Path, data: Any) -> Measured:
    recipe, run = load_run(folder)
    _refuse_without_epochs(folder, run)
    dataset = datasets.load(recipe.dataset, data)
    check_data(folder, dataset)
    network = run.best_network()
    test = error_rate(network, dataset.test_images, dataset.test_labels)
    return recipe, run.history, network, _found(run, PERCENT, test, 2)


def _measure_text(folder: Path, data: Any) -> Measured:
    recipe, _, run = load_text_run(folder)
    _refuse_without_epochs(folder, run)
    text = datasets.load_text(recipe.dataset, data)
    check_text(folder, text)
    network = run.best_network()
    test = foreseen(network, prepared(recipe, text)).test_bits
    unit = BITS_OF.format(recipe.level.removesuffix("s"))
    return recipe, run.history, network, _found(run, unit, test, 4)


def _refuse_without_epochs(folder: Path, run: Any) -> None:
    if not run.history:
        raise FileError(f"{folder}: no epoch was finished: no result")


def _found(run: Any, unit: str, test: float, digits: int) -> dict[str, Any]:
    best = run.history[run.best_epoch]
    return {
        "epochs": len(run.history),
        "best_epoch": run.best_epoch,
        "unit": unit,
        "validation": round(best[run.measure], digits),
        "test": round(test, digits),
    }
