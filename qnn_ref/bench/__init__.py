"""Speed: ours and its peers side by side in one run, with this machine's own ceiling.

Every subject is one file that gives rows; `rows.GOALS` holds what they are measured against. A peer
that is not installed makes a row that says so: pip install "qnn-ref[bench]".
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from qnn_ref.bench import (
    checks,
    convolution,
    cuda,
    exports,
    inference,
    ladder,
    lookup,
    memory,
    overhead,
    packing,
    product,
    recurrent,
    scaling,
    training,
    waiting,
)
from qnn_ref.bench.machine import cores, describe, load
from qnn_ref.bench.rows import GOALS, Row, Settings

SUBJECTS: dict[str, Callable[[Settings], list[Row]]] = {
    "product": product.rows,
    "packing": packing.rows,
    "lookup": lookup.rows,
    "training": training.rows,
    "cifar10": training.cifar10_rows,
    "convolution": convolution.rows,
    "inference": inference.rows,
    "export": exports.rows,
    "memory": memory.rows,
    "checks": checks.rows,
    "overhead": overhead.rows,
    "waiting": waiting.rows,
    "recurrent": recurrent.rows,
    "scaling": scaling.rows,
    "cuda": cuda.rows,
}
"""What gives rows, by the name that the command takes; "ladder" gives bars instead."""

NAMES = ("ladder", *SUBJECTS)
ASKED_FOR = ("scaling", "cuda")
"""Only where they are named: the same again at many sizes, and another processor."""

__all__ = ["GOALS", "NAMES", "SUBJECTS", "Row", "Settings", "bench", "cores"]
__dir__ = __all__.copy


def bench(
    names: Sequence[str], settings: Settings, unset: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Measure subjects and return one answer of plain values.

    Parameters
    ----------
    names : sequence of str
        Of `NAMES`; if it is empty all but those of `ASKED_FOR`.
    settings : Settings
    unset : mapping of str to str, optional
        Environment variables that were taken away for this run.

    Returns
    -------
    dict
        "machine", "ceiling", "ladder", "rows", "seconds".

    Raises
    ------
    ValueError
        If a name is unknown.
    """
    unknown = [name for name in names if name not in NAMES]
    if unknown:
        raise ValueError(f"NAME: unknown {', '.join(unknown)}; expected {', '.join(NAMES)}")
    default = [name for name in NAMES if name not in ASKED_FOR]
    start, chosen = time.perf_counter(), [n for n in NAMES if n in (names or default)]
    before = load()  # of others: ours has not begun
    limits = ladder.ceiling(settings)
    bars = ladder.ladder(settings) if "ladder" in chosen else []
    rows = [row for name in chosen if name in SUBJECTS for row in SUBJECTS[name](settings)]
    return {
        "machine": describe(unset or {}) | {"load": before},
        "ceiling": limits,
        "ladder": bars,
        "rows": [row.to_json() for row in rows],
        "seconds": time.perf_counter() - start,
    }
