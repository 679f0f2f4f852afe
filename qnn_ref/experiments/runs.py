"""A recipe carried out in a folder: run.json, checkpoint.npz, history.csv.

The checkpoint is written after each epoch. A run that was stopped goes on from there and ends in
the same arrays as one that was not.
"""

from __future__ import annotations

import csv
import io
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from qnn_ref.checkpoints import load_checkpoint, save_checkpoint
from qnn_ref.datasets import Dataset, Examples
from qnn_ref.experiments.description import (
    Description,
    checksums,
    describe,
    differences,
    identity,
    read_description,
    recipe_of,
    settings_of,
    write_description,
)
from qnn_ref.experiments.recipe import Recipe
from qnn_ref.files import FileError, atomic_write, make_folder, remove_parts, target_of
from qnn_ref.losses import squared_hinge
from qnn_ref.training import Run, best_epoch, check_examples, train

log = logging.getLogger(__name__)

FILES = DESCRIPTION, CHECKPOINT, HISTORY = "run.json", "checkpoint.npz", "history.csv"


def start_run(recipe: Recipe, input_shape: tuple[int, ...], classes: int) -> Run:
    """Return a fresh run of the recipe; its seed decides the weights and the order of images.

    Parameters
    ----------
    recipe : Recipe
    input_shape : tuple of int
        Shape of one image.
    classes : int

    Returns
    -------
    Run
    """
    for_network, for_order = np.random.default_rng(recipe.seed).spawn(2)
    network = recipe.network(input_shape, classes, for_network)
    return Run(network, recipe.optimizer(), for_order)


def split(recipe: Recipe, dataset: Dataset) -> tuple[Examples, Examples]:
    """Training and validation images of a recipe.

    Parameters
    ----------
    recipe : Recipe
    dataset : Dataset

    Returns
    -------
    training, validation : Examples
        The last images validate; of each part the first `limit` if that is not 0.
    """
    end = recipe.limit or None
    training, validation = dataset.split(recipe.validation)
    return (
        Examples(training.images[:end], training.labels[:end]),
        Examples(validation.images[:end], validation.labels[:end]),
    )


def train_recipe(
    recipe: Recipe,
    dataset: Dataset,
    folder: str | os.PathLike[str] | None = None,
    resume: bool = False,
    progress: bool = False,
) -> Run:
    """Train a recipe to its last epoch, in a folder or in memory only.

    A run that is resumed ends in the same bits as one that was not stopped. Only the number of
    epochs may be another one than before: the learning rates of the epochs that are still to come
    are then those of a run of that length, and a line in the log says so.

    Parameters
    ----------
    recipe : Recipe
    dataset : Dataset
    folder : path, optional
        New or empty, or with `resume` one that holds the beginning of this very run.
    resume : bool
    progress : bool
        Whether to show a bar on standard error.

    Returns
    -------
    Run

    Raises
    ------
    FileError
        If the folder cannot be written, holds another run, or holds one and `resume` is not set.
    FloatingPointError
        If a number is no longer finite; the last checkpoint stays.
    """
    run = start_run(recipe, dataset.train_images.shape[1:], len(dataset.classes))
    training, validation = split(recipe, dataset)
    check_examples(run.network, training.images, training.labels, recipe.batch_size)
    after_epoch = None
    if folder is not None:
        description = describe(recipe, dataset)
        after_epoch = open_folder(make_folder(folder), recipe, description, run, resume, recipe_of)
    schedule = recipe.schedule()

    def go_on(last: int, first: int) -> Run:
        return train(
            run,
            training.images,
            training.labels,
            (validation.images, validation.labels),
            loss=squared_hinge,
            epochs=last,
            batch_size=recipe.batch_size,
            schedule=lambda epoch: schedule(epoch - first),
            after_epoch=after_epoch,
            progress=progress,
        )

    go_on(recipe.epochs, 0)
    if recipe.retrain_epochs:
        run.network.relax_boundaries(recipe.retrain_saturation)
        go_on(recipe.epochs + recipe.retrain_epochs, recipe.epochs)
    return run


def load_run(folder: str | os.PathLike[str]) -> tuple[Recipe, Run]:
    """Read a run's recipe and its state after the last finished epoch.

    Parameters
    ----------
    folder : path

    Returns
    -------
    recipe : Recipe
    run : Run

    Raises
    ------
    FileError
        If the folder holds no run, or a damaged one.
    """
    folder = existing_folder(folder)
    description, path = read_description(folder / DESCRIPTION), folder / CHECKPOINT
    recipe, shape, classes = recipe_of(folder / DESCRIPTION, description)
    if not path.exists():
        raise FileError(f"{folder}: the run has no checkpoint yet: no epoch was finished")
    refuse_too_many_weights(folder, recipe.weights(shape, classes))
    try:
        run = start_run(recipe, shape, classes)
    except (TypeError, ValueError) as error:
        raise FileError(f"{folder / DESCRIPTION}: damaged run description: {error}") from error
    load_checkpoint(path, run, identity(description))
    check_run_history(folder, run, recipe)
    return recipe, run


def refuse_too_many_weights(folder: Path, weights: int) -> None:
    """Refuse a description before a network is made for it, if its checkpoint cannot hold that.

    Parameters
    ----------
    folder : Path
        Of the run.
    weights : int
        How many it describes.

    Raises
    ------
    FileError
        Naming the two files.
    """
    path = folder / CHECKPOINT
    if weights > 4 * path.stat().st_size:
        raise FileError(
            f"{folder / DESCRIPTION}: describes {weights:,} weights, but {path} is too small for "
            "them: one of the two is damaged, or of another run"
        )


def check_data(folder: str | os.PathLike[str], dataset: Dataset) -> None:
    """Refuse a data set that is not the one that a run was trained on.

    Parameters
    ----------
    folder : path
        Of the run.
    dataset : Dataset

    Raises
    ------
    FileError
        If training images or labels differ.
    """
    description = read_description(existing_folder(folder) / DESCRIPTION)
    for name, value in checksums(dataset).items():
        if name in description and description[name] != value:
            raise FileError(
                f"{folder}: was trained on other data than {dataset.source} holds: {name} is "
                f"{description[name]} there, {value} here"
            )


def existing_folder(folder: str | os.PathLike[str]) -> Path:
    """The folder of a run, or FileError if it is none; `~` stands for the home folder."""
    if not os.fspath(folder):
        raise FileError("expected the path of a folder, got an empty one")
    try:
        place = Path(folder).expanduser()
    except RuntimeError as error:
        raise FileError(f"{folder}: {error}") from error
    if not (place / DESCRIPTION).exists():
        raise FileError(f"{folder}: holds no run (there is no {DESCRIPTION})")
    return place


class Keeper:
    """Called after each epoch: writes the checkpoint, then the history.

    Parameters
    ----------
    folder : Path
    identity : str
        Digest that the checkpoint carries.
    """

    def __init__(self, folder: Path, identity: str) -> None:
        self.folder, self.identity = folder, identity
        for name in FILES:
            remove_parts(folder / name)

    def __call__(self, run: Run) -> None:
        save_checkpoint(self.folder / CHECKPOINT, run, self.identity)
        self.write_history(run)

    def write_history(self, run: Run) -> None:
        """Write the table of all epochs anew."""
        if run.history:
            write_rows(self.folder / HISTORY, run.history)


def write_rows(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """Write a table as CSV, a line a row, atomically.

    Parameters
    ----------
    path : Path
    rows : sequence of dict
        Its columns are all their keys.
    """
    text, columns = io.StringIO(), list(dict.fromkeys(name for row in rows for name in row))
    writer = csv.DictWriter(text, fieldnames=columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    with atomic_write(path) as file:
        file.write(text.getvalue().encode())


def open_folder(
    folder: Path,
    recipe: Any,
    description: Description,
    run: Run,
    resume: bool,
    read_recipe: Callable[[Path, Description], tuple[Any, ...]],
) -> Keeper:
    """Begin a run in a folder, or put the state that lies there into `run`.

    Parameters
    ----------
    folder : Path
        Is there already.
    recipe : Recipe or TextRecipe
    description : dict
        What the run is; its "kind" says which.
    run : Run
        Changed in place where the folder holds its beginning.
    resume : bool
        Whether it may.
    read_recipe : function
        `(path, description) -> (recipe, ...)` for this kind.

    Returns
    -------
    Keeper
        To be called with the run wherever it is to be kept.

    Raises
    ------
    FileError
        If the folder cannot be written, holds another run, or holds one and `resume` is not set.
    """
    for name in FILES:
        target_of(folder / name)
    if (folder / DESCRIPTION).exists():
        if not resume:
            raise FileError(f"{folder}: holds a run already; add --resume, or give another folder")
        return _go_on(folder, recipe, description, run, read_recipe)
    if (folder / CHECKPOINT).exists():
        raise FileError(f"{folder}: holds {CHECKPOINT}, but no {DESCRIPTION} that says of what")
    write_description(folder / DESCRIPTION, description)
    return Keeper(folder, identity(description))


def _go_on(
    folder: Path,
    recipe: Any,
    description: Description,
    run: Run,
    read_recipe: Callable[[Path, Description], tuple[Any, ...]],
) -> Keeper:
    """Compare what lies in the folder with what is asked for, and take over its state."""
    old = read_description(folder / DESCRIPTION, description["kind"])
    before = read_recipe(folder / DESCRIPTION, old)[0]
    here = replace(recipe, epochs=before.epochs, about=before.about)  # these two may differ
    different = differences(settings_of(before), settings_of(here))
    different += differences(old, description | {name: old[name] for name in ("recipe", "version")})
    if different:
        raise FileError(f"{folder}: holds another run; these differ: {', '.join(different)}")
    if (folder / CHECKPOINT).exists():
        load_checkpoint(folder / CHECKPOINT, run, identity(old))
    check_run_history(folder, run, recipe)
    if recipe.epochs != before.epochs:
        if recipe.all_epochs > recipe.epochs and len(run.history) > min(
            before.epochs, recipe.epochs
        ):
            raise FileError(
                f"{folder}: epochs ({before.epochs} there, {recipe.epochs} here) cannot change any "
                "more: the boundary is relaxed already"
            )
        old["recipe"]["epochs"] = recipe.epochs
        write_description(folder / DESCRIPTION, old)
        log.info(
            f"{folder}: {recipe.epochs} epochs instead of {before.epochs}; the learning rates from "
            f"epoch {len(run.history) + 1} on are those of a run of {recipe.epochs}"
        )
    keeper = Keeper(folder, identity(old))
    keeper.write_history(run)  # a kill behind the last checkpoint leaves a table that is short
    return keeper


def check_run_history(folder: Path, run: Run, recipe: Any) -> None:
    """Refuse a state with more epochs than the recipe has, or whose best one is another.

    Parameters
    ----------
    folder : Path
        For the error.
    run : Run
    recipe : Recipe or TextRecipe

    Raises
    ------
    FileError
        Naming the folder or the checkpoint.
    """
    done, last = len(run.history), recipe.all_epochs
    if done > last:
        raise FileError(
            f"{folder}: {done} epochs are done there, more than {last}; give at least as many"
        )
    if done and run.best_epoch != (best := best_epoch(run.history, run.measure)):
        raise FileError(
            f"{folder / CHECKPOINT}: damaged checkpoint: best_epoch is {run.best_epoch} in it, and "
            f"{best} by its history"
        )
