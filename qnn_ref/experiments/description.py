"""run.json: what a run is, so that it can be gone on with, evaluated and packed as what it is.

The file holds the recipe, the size of images and classes, checksums of the training data, and the
digest of all that. A checkpoint carries the digest of the part that never changes, `identity`: the
two together are a run, and neither is believed without the other.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np

from qnn_ref.checks import whole
from qnn_ref.datasets import Dataset
from qnn_ref.experiments.recipe import Recipe
from qnn_ref.files import FileError, atomic_write, is_version, open_regular, strict_json

Description = dict[str, Any]

VERSION = 2
"""Version 1 had neither a digest nor the checksum of the labels."""

MOST_BYTES = 1 << 20


def describe(recipe: Recipe, dataset: Dataset) -> Description:
    """What a run of this recipe on this data set is.

    Parameters
    ----------
    recipe : Recipe
    dataset : Dataset

    Returns
    -------
    dict
        As JSON holds it.
    """
    return {
        "kind": "run",
        "version": VERSION,
        "recipe": settings_of(recipe),
        "input_shape": list(dataset.train_images.shape[1:]),
        "classes": len(dataset.classes),
        **checksums(dataset),
    }


def settings_of(recipe: Any) -> Description:
    """The settings of a recipe by name, as JSON holds them: tuples are lists."""
    settings: Description = json.loads(json.dumps(asdict(recipe), allow_nan=False))
    return settings


def checksums(dataset: Dataset) -> dict[str, int]:
    """Checksums of the training images and labels, by name."""
    images = np.ascontiguousarray(dataset.train_images)
    labels = np.ascontiguousarray(dataset.train_labels, "<i8")
    return {
        "training_images_crc32": zlib.crc32(images.data),
        "training_labels_crc32": zlib.crc32(labels.data),
    }


def digest(description: Mapping[str, Any]) -> str:
    """SHA-256 of a description without its own digest, whatever the order of its names."""
    rest = {key: value for key, value in description.items() if key != "sha256"}
    text = json.dumps(rest, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def identity(description: Mapping[str, Any]) -> str:
    """Digest of what never changes: all but the number of epochs."""
    recipe = {name: value for name, value in description["recipe"].items() if name != "epochs"}
    return digest({**description, "recipe": recipe})


def write_description(path: Path, description: Mapping[str, Any]) -> None:
    """Write a description with its digest, atomically."""
    content = {**description, "sha256": digest(description)}
    whole_text = json.dumps(content, indent=2, allow_nan=False)
    with atomic_write(path) as file:
        file.write(whole_text.encode())


def read_description(path: Path, kind: str = "run") -> Description:
    """Read a description, or say what is wrong with it.

    Parameters
    ----------
    path : Path
    kind : str
        What the file must name.

    Returns
    -------
    dict
        Without its digest.

    Raises
    ------
    FileError
        If there is none, or it is damaged, of another kind, or of a version that is none.
    """
    with open_regular(path) as file:
        text = file.read(MOST_BYTES + 1)
    if len(text) > MOST_BYTES:
        raise FileError(f"{path}: not the description of a {kind}: over {MOST_BYTES:,} bytes")
    try:
        found = strict_json(text)
        actual = digest(found) if isinstance(found, dict) else ""
    except (ValueError, RecursionError) as error:  # 1e999 is read as infinity, which is no JSON
        raise FileError(f"{path}: damaged {kind} description: {error}") from error
    if not isinstance(found, dict) or found.get("kind") != kind:
        raise FileError(f"{path}: not the description of a {kind}")
    if not is_version(found.get("version"), VERSION):
        version = found.get("version")
        raise FileError(f"{path}: version {version!r}; this package reads 1 to {VERSION}")
    expected = found.pop("sha256", None)
    if (found["version"] > 1 or expected is not None) and expected != actual:
        raise FileError(f"{path}: damaged {kind} description: its digest does not fit it")
    return found


def recipe_of(path: Path, description: Mapping[str, Any]) -> tuple[Recipe, tuple[int, ...], int]:
    """Recipe, shape of an image and number of classes that a description names.

    Parameters
    ----------
    path : Path
        For the error.
    description : dict

    Returns
    -------
    recipe : Recipe
    input_shape : tuple of int
    classes : int

    Raises
    ------
    FileError
        If it names none.
    """
    try:
        values = dict(description["recipe"])
        if unknown := values.keys() - {f.name for f in fields(Recipe)}:
            raise ValueError(f"this package knows no setting {min(unknown)!r}")
        for name in ("hidden", "convolutions"):
            values[name] = tuple(
                tuple(item) if isinstance(item, list) else item for item in values.get(name, ())
            )
        recipe = Recipe(**values)
        height, width, channels = description["input_shape"]
        shape = tuple(whole("input_shape", n, 1, 2**16) for n in (height, width, channels))
        return recipe, shape, whole("classes", description["classes"], 1, 2**16)
    except KeyError as error:
        raise FileError(f"{path}: damaged run description: no {error.args[0]!r} in it") from error
    except (TypeError, ValueError) as error:
        raise FileError(f"{path}: damaged run description: {error}") from error


def differences(there: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    """What tells two sets of settings apart, each by name with both values.

    Parameters
    ----------
    there, here : dict
        What lies in a folder, and what is asked for.

    Returns
    -------
    list of str
        Like "seed (0 there, 5 here)". Names that only one of them has are not compared.
    """
    return [
        f"{name} ({there[name]!r} there, {value!r} here)"
        for name, value in here.items()
        if name in there
        and (isinstance(there[name], bool) != isinstance(value, bool) or there[name] != value)
    ]
