"""What a person waits for: the first training step of a fresh install, commands without sums.

Each is a process of its own, timed from outside until it ends. Nothing of ours that an earlier run
compiled is there for the first step.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from statistics import median

from qnn_ref.bench.rows import FIVE_SECONDS, HALF_A_SECOND, Row, Settings

FIRST_STEP = "first training step, no kernel compiled"

STEP = """
import numpy as np
from qnn_ref.bench.training import our_step
from qnn_ref.experiments import RECIPES
our_step(RECIPES["mnist-small"], (28, 28, 1))()
"""
"""The network of the demo; the digits are made up, as reading them takes no time."""

LIMITS = {FIVE_SECONDS: 5.0, HALF_A_SECOND: 0.5}
COMMANDS = ("--help", "equations")
REPEATS = 3


def rows(settings: Settings) -> list[Row]:
    """Measure commands, and the first step unless it is only for a first look."""
    found = []
    for command in COMMANDS:
        settings.say(f"wait, qnn-ref {command}")
        program = [sys.executable, "-m", "qnn_ref", command]
        found.append(row(f"qnn-ref {command}", seconds(program), HALF_A_SECOND))
    if not settings.quick:
        settings.say(f"wait, {FIRST_STEP}")
        found.append(row(FIRST_STEP, first_step(), FIVE_SECONDS))
    return found


def row(size: str, spent: Sequence[float], limit: str) -> Row:
    """Compare what was waited for with a limit."""
    ours = median(spent)
    return Row(
        "wait",
        size,
        1,
        ours,
        (min(spent), max(spent)),
        limit,
        LIMITS[limit],
        None,
        ours / LIMITS[limit],
        note="until the process ends; the ratio must not exceed the goal",
    )


def first_step() -> list[float]:
    """Seconds of processes that import, make a network, compile and step once."""
    spent = []
    for _ in range(REPEATS):
        with tempfile.TemporaryDirectory() as empty:
            environment = os.environ | {"NUMBA_CACHE_DIR": empty}
            spent += seconds([sys.executable, "-c", STEP], environment, 1)
    return spent


def seconds(
    program: Sequence[str], environment: Mapping[str, str] | None = None, repeats: int = REPEATS
) -> list[float]:
    """Run a program some times and give the seconds of each, its answer thrown away."""
    spent = []
    for _ in range(repeats):
        start = time.perf_counter()
        subprocess.run(program, env=environment, check=True, capture_output=True)
        spent.append(time.perf_counter() - start)
    return spent
