"""How long a training step takes on this machine, measured once and kept in the user's cache.

Recipes that differ in epochs, rates, seed or data of one shape have steps of one length, so one of
such a family is timed. What another machine measured, or another version, is not used.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import platform
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from qnn_ref import __version__
from qnn_ref.compiled import is_plain
from qnn_ref.datasets.places import cache_folder
from qnn_ref.experiments.effort import TOKENS, training_steps
from qnn_ref.experiments.recipe import IMAGE_SHAPES, Recipe
from qnn_ref.experiments.text_recipe import TextRecipe
from qnn_ref.files import atomic_write, make_folder, open_regular, strict_json

FILE = "step_times.json"
STEPS = 3
ENOUGH = 2.0
"""Seconds after which no further step is timed."""


def family(recipe: Recipe | TextRecipe) -> str:
    """Name what the length of a step depends on.

    Parameters
    ----------
    recipe : Recipe or TextRecipe

    Returns
    -------
    str
        The same for recipes whose steps take the same time.
    """
    same: dict[str, Any] = {"name": "", "about": "", "epochs": 1, "seed": 0, "limit": 0}
    same |= {"initial_rate": 1.0, "final_rate": 1.0}
    if isinstance(recipe, TextRecipe):
        sizes: tuple[int, ...] = (TOKENS[recipe.dataset, recipe.level][1],)
    else:
        sizes = IMAGE_SHAPES[recipe.dataset]
        same |= {"dataset": "", "validation": 1, "halve_every": 0}
    text = f"{replace(recipe, **same)} {sizes}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def machine() -> str:
    """Name the machine and the versions that a time holds for.

    Returns
    -------
    str
    """
    versions = [f"{name} {importlib.metadata.version(name)}" for name in ("numpy", "numba")]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    threads = os.environ.get("NUMBA_NUM_THREADS", cores)
    kernels = "plain Python" if is_plain() else f"{threads} threads"
    return ", ".join([f"qnn_ref {__version__}", *versions, _processor(), kernels])


def _processor() -> str:
    """The processor's name as the system gives it."""
    try:
        with open_regular("/proc/cpuinfo") as file:
            lines = file.read(2**16).decode(errors="replace").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def stored_times() -> dict[str, float]:
    """Read what was measured on this machine.

    Returns
    -------
    dict
        Seconds of a step by `family`; empty where nothing was stored, or nothing that can be read.
    """
    return {
        name: float(seconds)
        for name, seconds in _stored().get(machine(), {}).items()
        if isinstance(seconds, int | float) and 0 < seconds < np.inf
    }


def _stored() -> dict[str, dict[str, Any]]:
    try:
        with open_regular(cache_folder() / FILE) as file:
            found = strict_json(file.read(2**20))
    except (OSError, ValueError):  # what was measured can be measured again
        return {}
    if not isinstance(found, dict):
        return {}
    return {name: times for name, times in found.items() if isinstance(times, dict)}


def store_times(times: dict[str, float]) -> None:
    """Keep what was measured on this machine, beside what others have measured.

    Parameters
    ----------
    times : dict
        Seconds of a step by `family`.

    Raises
    ------
    FileError
        If the cache cannot be written.
    """
    path = make_folder(cache_folder()) / FILE
    found = _stored() | {machine(): times}
    with atomic_write(path) as file:
        file.write(json.dumps(found, allow_nan=False).encode())


def step_seconds(recipe: Recipe | TextRecipe) -> float:
    """Median time of a training step on random numbers, after a first one.

    Parameters
    ----------
    recipe : Recipe or TextRecipe

    Returns
    -------
    float
    """
    step = _text_step(recipe) if isinstance(recipe, TextRecipe) else _image_step(recipe)
    step()  # compiles
    times: list[float] = []
    while len(times) < STEPS and sum(times) < ENOUGH:
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def _image_step(recipe: Recipe) -> Callable[[], Any]:
    from qnn_ref.experiments.runs import start_run
    from qnn_ref.losses import squared_hinge
    from qnn_ref.training import train_step

    rng, shape = np.random.default_rng(0), IMAGE_SHAPES[recipe.dataset]
    state = start_run(recipe, shape, 10)
    images = rng.integers(0, 256, (recipe.batch_size, *shape), dtype=np.uint8)
    labels = rng.integers(0, 10, recipe.batch_size)
    return lambda: train_step(state.network, state.optimizer, squared_hinge, images, labels)


def _text_step(recipe: TextRecipe) -> Callable[[], Any]:
    from qnn_ref.experiments.text_runs import start_text_run
    from qnn_ref.language import in_every_step
    from qnn_ref.losses import softmax_cross_entropy
    from qnn_ref.training import train_step

    _, symbols = TOKENS[recipe.dataset, recipe.level]
    state, loss = start_text_run(recipe, symbols), in_every_step(softmax_cross_entropy)
    x, y = np.random.default_rng(0).integers(0, symbols, (2, recipe.lanes, recipe.steps))
    longest = recipe.longest
    return lambda: train_step(state.network, state.optimizer, loss, x, y, longest=longest)


def hours(recipe: Recipe | TextRecipe, times: dict[str, float]) -> float | None:
    """Estimate how long a whole training takes.

    Parameters
    ----------
    recipe : Recipe or TextRecipe
    times : dict
        Seconds of a step by `family`.

    Returns
    -------
    float or None
        None where no step of this family was timed.
    """
    seconds = times.get(family(recipe))
    return None if seconds is None else seconds * training_steps(recipe) / 3600
