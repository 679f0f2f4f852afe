"""The kernel ladder at one size, with peers and the ceiling beside it, all on one thread."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from qnn_ref._typing import Array
from qnn_ref.bench.ceiling import ceiling_calls, read_call, tops
from qnn_ref.bench.machine import threads as use_threads
from qnn_ref.bench.measure import Call, Timing, interleave, reason
from qnn_ref.bench.peers import PRODUCTS, Operands
from qnn_ref.bench.product import operands_of
from qnn_ref.bench.rows import SWEEP, Settings
from qnn_ref.bits.ladder import RUNGS, Rung

SIDE, QUICK = 2048, 512
FLOAT_SIDE = 512
"""Products of floats, loop by loop, are too slow for more."""

READ_SIDE = 4096
Ladder = list[dict[str, Any]]


def ladder(settings: Settings) -> Ladder:
    """Measure every rung and every peer: name, what is new, size, pace in TOPS.

    A pace is 2 M N K operations by the seconds they took. Rungs of floats are measured at a
    smaller size, where the matrices fit in the cache.
    """
    side = QUICK if settings.quick else SIDE
    settings.say(f"ladder, {side} x {side} x {side}, 1 thread")
    with use_threads(1):
        small, large = (operands_of((n, n, n), 1) for n in (min(side, FLOAT_SIDE), side))
        calls: dict[str, Call] = {}
        entries: dict[str, dict[str, Any]] = {}
        for rung in RUNGS:
            operands = small if rung.float_operands else large
            calls[rung.name] = rung_call(rung, operands)
            entries[rung.name] = entry(rung.name, rung.sentence, operands, peer=False)
        for name, prepare in PRODUCTS.items():
            entries[name] = entry(name, "", large, peer=True)
            entries[name]["note"] = add_call(calls, name, prepare, large)
        measured = interleave(calls, settings.repeats, settings.budget, tuple(calls))
    for name, item in entries.items():
        found = measured.timings.get(name)
        item["note"] = measured.failures.get(name, item["note"])
        item["tops"] = None if found is None else pace(found, item["size"])
    return list(entries.values())


def entry(name: str, sentence: str, operands: Operands, peer: bool) -> dict[str, Any]:
    """What is known of a bar before it is measured."""
    side = operands.K
    return {"name": name, "sentence": sentence, "peer": peer, "size": side, "note": ""}


def add_call(
    calls: dict[str, Call], name: str, prepare: Callable[[Operands], Call], operands: Operands
) -> str:
    """Add a peer's call, or return why it is missing."""
    try:
        calls[name] = prepare(operands)
    except Exception as error:  # a peer that is missing must not take the ladder with it
        return reason(error)
    return ""


def rung_call(rung: Rung, operands: Operands) -> Call:
    """Prepare a rung: a call that returns the product."""
    if rung.float_operands:
        prepared = rung.prepare(operands.x, operands.w, operands.K)
        out: Array = np.empty(operands.shape, np.float32)
    else:
        prepared = rung.prepare(operands.a, operands.b, operands.K)
        out = np.empty(operands.shape, np.int32)

    def call() -> Array:
        rung.run(*prepared, out)
        return out

    return call


def pace(timing: Timing, side: int) -> float:
    """10^12 operations a second of a cube."""
    return 2 * side**3 / timing.median / 1e12


def ceiling(settings: Settings) -> dict[str, Any]:
    """Measure the ceiling loops and the read-only sweep on one core.

    Parameters
    ----------
    settings : Settings

    Returns
    -------
    dict
        "tops" (of the faster loop), "loops" (each), "read_gb_per_s".
    """
    settings.say("ceiling, 1 thread")
    x = np.ones((READ_SIDE, READ_SIDE), np.float32)
    with use_threads(1):
        calls = ceiling_calls(1) | {SWEEP: read_call(x, 1)}
        timings = interleave(calls, settings.repeats, settings.budget, tuple(calls)).timings
    read = timings.pop(SWEEP)
    loops = {name: tops(timing.median, 1) for name, timing in timings.items()}
    gigabytes = x.nbytes / read.median / 1e9
    return {"tops": max(loops.values()), "loops": loops, "read_gb_per_s": gigabytes}
