"""Packing signs into words against a loop that only reads the same numbers."""

from __future__ import annotations

import numpy as np

from qnn_ref.bench.ceiling import read_call
from qnn_ref.bench.machine import threads as use_threads
from qnn_ref.bench.rows import SWEEP, Row, Settings, compare
from qnn_ref.bits import pack, pack_panels

SIDE, QUICK = 4096, 2048


def rows(settings: Settings) -> list[Row]:
    """Measure packing along rows, and along rows and columns in one sweep."""
    side = QUICK if settings.quick else SIDE
    x = np.random.default_rng(0).standard_normal((side, side), np.float32)
    size, note = f"{side} x {side}", "ratio is the share of the sweep's pace"
    found = []
    for count in settings.counts(several=False):
        with use_threads(count):
            for name, ours in (
                ("packing", lambda: pack(x)),
                ("packing, rows and columns", lambda: pack_panels(x)),
            ):
                peers = {SWEEP: lambda count=count: read_call(x, count)}
                found += compare(name, size, count, ours, peers, settings, {SWEEP: note})
    return found
