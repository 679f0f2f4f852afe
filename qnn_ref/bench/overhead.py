"""Where the time of a small call goes: checks and views, the way into compiled code, the work.

A call is timed as it is, and again with its kernels taken out: what is left are checks, views and
new arrays. The way into compiled code is timed with a kernel that has nothing to do, and so is the
waking of the other threads. Parts are shares of the whole call.
"""

# mypy: allow-untyped-defs

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np

from qnn_ref._typing import Array
from qnn_ref.bench.inference import random_network
from qnn_ref.bench.machine import threads as use_threads
from qnn_ref.bench.measure import ROUNDS, Call, Timing, seconds, timing, warm_up
from qnn_ref.bench.rows import Row, Settings, timed_row
from qnn_ref.bits import gemm, lookup, pack, planes, signs_matmul, to_panels, words, xnor_matmul
from qnn_ref.checks import check_array, check_written
from qnn_ref.compiled import parallel_kernel, prange
from qnn_ref.optimizers import adam
from qnn_ref.packed import pack as pack_network

CHECKS, DISPATCH, KERNEL = "checks and views", "the way into compiled code", "the work itself"
WAKING = "the same on one thread"

Kernel = tuple[ModuleType, str]

PACKED: tuple[Kernel, ...] = (
    (gemm, "kernel_for"),
    (words, "_pack_thresholds"),
    (planes, "_split_rows"),
)


@parallel_kernel
def _tasks(done):
    """A task a place, with next to nothing to do."""
    for i in prange(done.size):
        done[i] += 1


def tasks(done: Array) -> None:
    """Count one on in each place of an array (tasks,) of int64, a task each."""
    check_array("done", done, (np.dtype(np.int64),), ("tasks",))
    check_written("done", done)
    _tasks(done)


def nothing(*_: Any) -> Any:
    """Stand for a kernel, and for what chooses one."""
    return nothing


@contextmanager
def without(kernels: Sequence[Kernel]) -> Iterator[None]:
    """Take kernels out of their modules, and put them back."""
    with ExitStack() as stack:
        for module, name in kernels:
            stack.callback(setattr, module, name, getattr(module, name))
            setattr(module, name, nothing)
        yield


def calls(quick: bool) -> dict[tuple[str, str], tuple[Call, tuple[Kernel, ...], int]]:
    """Small calls by name and size, with their kernels and how many of those one call enters."""
    rng = np.random.default_rng(0)
    found: dict[tuple[str, str], tuple[Call, tuple[Kernel, ...], int]] = {}

    def signs(*shape: int) -> Array:
        return rng.choice(np.array([-1, 1], np.float32), shape)

    for M, N, K in ((1, 512, 512), (1, 4096, 4096), (100, 512, 512)):
        a, b = pack(signs(M, K)), to_panels(pack(signs(N, K)), K)
        found["xnor_matmul", f"{M} x {N} x {K}"] = (
            partial(xnor_matmul, a, b, K),
            ((gemm, "kernel_for"),),
            1,
        )
    s, x = to_panels(pack(signs(64, 100)), 100), rng.standard_normal((100, 64), np.float32)
    found["signs_matmul", "64 x 100 x 64"] = (
        partial(signs_matmul, s, x),
        ((lookup, "_signs_kernel"), (lookup, "_few_rows_kernel")),
        1,
    )
    for n in (64, 4096):
        w, g, m, v = (np.zeros(n, np.float32) for _ in range(4))
        numbers = np.full(8, 0.5, np.float32)
        found["adam_update", f"{n} weights"] = (
            partial(adam.adam_update, w, g, m, v, numbers, 1.0),
            ((adam, "_adam_update"),),
            1,
        )
    width = 64 if quick else 512
    packed = pack_network(random_network(width))
    pixels = rng.integers(0, 256, (1, 28, 28, 1), np.uint8)
    found["packed inference", f"784-3x{width}-10, 1 image"] = (
        partial(packed.scores, pixels),
        PACKED,
        8,
    )
    return found


def rows(settings: Settings) -> list[Row]:
    """Take the calls apart, then wake the other threads."""
    found = []
    for count in settings.counts(several=False):
        with use_threads(count):
            way = samples({"way": (partial(tasks, np.zeros(1, np.int64)), ())}, settings)
            for (name, size), (call, kernels, entered) in calls(settings.quick).items():
                settings.say(f"overhead, {name}, {size}, {count} thread(s)")
                both = samples({"whole": (call, ()), "without": (call, kernels)}, settings)
                whole, rest = both["whole"], both["without"]
                dispatch = way["way"].scaled(entered)
                left = whole.median - rest.median - dispatch.median
                work = Timing(max(0.0, left), max(0.0, left), max(0.0, left), whole.repeats)
                for part, taken in ((CHECKS, rest), (DISPATCH, dispatch), (KERNEL, work)):
                    found.append(share(f"overhead, {name}", size, count, whole, part, taken))
    return found + waking(settings)


def share(name: str, size: str, threads: int, whole: Timing, part: str, taken: Timing) -> Row:
    """A row of a call and one of its parts; the ratio is the part's share."""
    note = "ratio is the share of the call"
    return timed_row(name, size, threads, whole, part, taken, note)


def waking(settings: Settings) -> list[Row]:
    """Compare a task for each thread, on all of them and on one."""
    count = settings.threads or settings.cores
    if count < 2:
        return []
    taken = {}
    for threads in (count, 1):
        with use_threads(threads):
            call = partial(tasks, np.zeros(count, np.int64))
            taken[threads] = samples({"tasks": (call, ())}, settings)["tasks"]
    size = f"{count} tasks of no work"
    return [timed_row("overhead, waking threads", size, count, taken[count], WAKING, taken[1], "")]


def samples(
    candidates: dict[str, tuple[Call, tuple[Kernel, ...]]], settings: Settings
) -> dict[str, Timing]:
    """Time calls in turn, each with some kernels taken out."""
    taken: dict[str, list[float]] = {name: [] for name in candidates}
    loops, clock = {}, time.perf_counter
    for name, (call, kernels) in candidates.items():
        call()
        with without(kernels):
            loops[name] = warm_up(call, True, clock)
    for _ in range(max(ROUNDS, settings.repeats)):
        for name, (call, kernels) in candidates.items():
            with without(kernels):
                taken[name].append(seconds(call, loops[name], clock))
    return {name: timing(values) for name, values in taken.items()}
