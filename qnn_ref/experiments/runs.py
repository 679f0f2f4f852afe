"""A recipe carried out in a folder: run.json, checkpoint.npz, history.csv.

The checkpoint is written after each epoch. A run that was stopped goes on from there and ends in
the same arrays as one that was not.
"""

from __future__ import annotations

import csv
import io
import json
import os
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, fields
from pathlib import Path
from typing import Any

import numpy as np

from qnn_ref.checkpoints import load_checkpoint, save_checkpoint
from qnn_ref.datasets import Dataset, Examples
from qnn_ref.experiments.recipe import Recipe
from qnn_ref.files import FileError, atomic_write, make_folder
from qnn_ref.losses import squared_hinge
from qnn_ref.training import Run, train

VERSION = 1


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
    """
    shape, classes = dataset.train_images.shape[1:], len(dataset.classes)
    run = start_run(recipe, shape, classes)
    training, validation = split(recipe, dataset)
    after_epoch = None
    if folder is not None:
        folder = Path(folder)
        _open_folder(folder, _description(recipe, dataset), resume)
        if (folder / "checkpoint.npz").exists():
            load_checkpoint(folder / "checkpoint.npz", run)
        after_epoch = _Keeper(folder)
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
    folder = Path(folder)
    description = _read_description(folder)
    try:
        names = {f.name for f in fields(Recipe)}
        values = {k: v for k, v in description["recipe"].items() if k in names}
        tuples = {
            "hidden": tuple(values["hidden"]),
            "convolutions": tuple(tuple(c) for c in values.get("convolutions", ())),
        }
        recipe = Recipe(**values | tuples)
        run = start_run(recipe, tuple(description["input_shape"]), description["classes"])
    except (KeyError, TypeError, ValueError) as error:
        raise FileError(f"{folder / 'run.json'}: damaged run description: {error!r}") from error
    if not (folder / "checkpoint.npz").exists():
        raise FileError(f"{folder}: the run has no checkpoint yet: no epoch was finished")
    load_checkpoint(folder / "checkpoint.npz", run)
    return recipe, run


class _Keeper:
    """Called after each epoch: writes the checkpoint, then the history."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, run: Run) -> None:
        save_checkpoint(self.folder / "checkpoint.npz", run)
        write_rows(self.folder / "history.csv", run.history)


def write_rows(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """Write a table as CSV, a line a row, atomically.

    Parameters
    ----------
    path : Path
    rows : sequence of dict
        All with the same keys.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    with atomic_write(path) as file:
        file.write(text.getvalue().encode())


def _description(recipe: Recipe, dataset: Dataset) -> dict[str, Any]:
    images = np.ascontiguousarray(dataset.train_images)
    return {
        "kind": "run",
        "version": VERSION,
        "recipe": asdict(recipe)
        | {"hidden": list(recipe.hidden), "convolutions": [list(c) for c in recipe.convolutions]},
        "input_shape": list(images.shape[1:]),
        "classes": len(dataset.classes),
        "training_images_crc32": zlib.crc32(images.data),
    }


def _open_folder(folder: Path, description: dict[str, Any], resume: bool) -> None:
    make_folder(folder)
    if (folder / "run.json").exists():
        if not resume:
            raise FileError(f"{folder}: holds a run already; add --resume, or give another folder")
        old = _read_description(folder)
        if isinstance(old.get("recipe"), dict):  # an older version may lack newer fields
            defaults = {f.name: f.default for f in fields(Recipe) if f.default is not MISSING}
            listed = {k: list(v) if isinstance(v, tuple) else v for k, v in defaults.items()}
            old["recipe"] = listed | old["recipe"]
        different = [key for key in description if old.get(key) != description[key]]
        if different:
            raise FileError(f"{folder}: holds another run; these differ: {', '.join(different)}")
        return
    with atomic_write(folder / "run.json") as file:
        file.write(json.dumps(description, indent=2).encode())


def _read_description(folder: Path) -> dict[str, Any]:
    path = folder / "run.json"
    try:
        description = json.loads(path.read_bytes())
    except OSError as error:
        raise FileError(f"{folder}: holds no run (no readable run.json)") from error
    except ValueError as error:
        raise FileError(f"{path}: damaged run description: {error}") from error
    if not isinstance(description, dict) or description.get("kind") != "run":
        raise FileError(f"{path}: not the description of a run")
    return description
