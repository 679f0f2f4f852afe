"""The small networks that come with the code: the recipe of each, and what it gets wrong.

`make models` trains, packs and measures them, and writes ``data/models/``. The same seed gives the
same bytes on the same machine with the same versions; elsewhere a sum of real numbers may be
rounded otherwise, and another network come of it.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from qnn_ref import datasets
from qnn_ref.datasets.trained import SUFFIX
from qnn_ref.experiments import TEXT_RECIPES, find_recipe
from qnn_ref.experiments.runs import train_recipe
from qnn_ref.experiments.text_runs import prepared, train_text_recipe
from qnn_ref.files import atomic_write, make_folder
from qnn_ref.likelihood import bits_per_symbol, text_nats
from qnn_ref.packed import PackedNetwork, PackedSequence, pack, pack_sequence
from qnn_ref.training import error_rate

MODELS = {"mnist": "mnist-small", "digits": "digits", "characters": "text-char-rnn-4-4"}
"""The recipe of each network, by the name of its file."""
TABLE = "models.json"


def make_models(
    folder: str | os.PathLike[str],
    runs: str | os.PathLike[str],
    names: Sequence[str] = tuple(MODELS),
    progress: bool = True,
) -> list[dict[str, Any]]:
    """Train, pack and measure networks, and write them with a table of what they are.

    Parameters
    ----------
    folder : path
        Gets a file for each, and `models.json`.
    runs : path
        Where the trainings are kept: a stopped one goes on, a finished one is not repeated.
    names : sequence of str
        Which ones, of `MODELS`.
    progress : bool
        Whether to show a bar on standard error.

    Returns
    -------
    list of dict
        The table: name, file, recipe, seed, bytes, checksum, test error.
    """
    place, rows = make_folder(folder), []
    for name in names:
        recipe, path = MODELS[name], place / f"{name}{SUFFIX}"
        seed = _make(recipe, path, Path(runs) / recipe, progress)
        facts = {"name": name, "file": path.name, "recipe": recipe, "seed": seed}
        content = path.read_bytes()
        facts |= {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        rows.append(facts | measure(path, recipe))
    with atomic_write(place / TABLE) as file:
        file.write((json.dumps(rows, indent=1, allow_nan=False) + "\n").encode())
    return rows


def _make(recipe: str, path: Path, folder: Path, progress: bool) -> int:
    """Train a recipe in a folder, pack its best epoch, and return its seed."""
    if recipe in TEXT_RECIPES:
        wanted = TEXT_RECIPES[recipe]
        text = datasets.load_text(wanted.dataset)
        best = train_text_recipe(wanted, text, folder, True, progress).best_network()
        symbols = prepared(wanted, text).vocabulary
        pack_sequence(best, symbols.symbols, symbols.level).save(path)
        return wanted.seed
    images = find_recipe(recipe)
    run = train_recipe(images, datasets.load(images.dataset), folder, True, progress)
    pack(run.best_network()).save(path)
    return images.seed


def measure(path: str | os.PathLike[str], recipe: str) -> dict[str, Any]:
    """Test a packed network on the test part of its recipe's data.

    Parameters
    ----------
    path : path
        Of the network.
    recipe : str
        Name of its recipe.

    Returns
    -------
    dict
        `test_error` in percent and `test_images`; of a text `test_bits`, bits a symbol, with all
        that came before it, and `test_symbols`.
    """
    if recipe in TEXT_RECIPES:
        wanted = TEXT_RECIPES[recipe]
        tokens = prepared(wanted, datasets.load_text(wanted.dataset))
        before = int(tokens.validation[-1])
        nats = text_nats(PackedSequence.load(path), tokens.test, before, 1)
        count = len(tokens.test)
        return {"test_bits": round(bits_per_symbol(nats, count), 4), "test_symbols": count}
    data = datasets.load(find_recipe(recipe).dataset)
    error = error_rate(PackedNetwork.load(path), data.test_images, data.test_labels)
    return {"test_error": round(error, 4), "test_images": len(data.test_labels)}


if __name__ == "__main__":
    make_models("data/models", "runs/models")
