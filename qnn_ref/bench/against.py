"""This build beside an older one: two processes, one at work at a time, turn by turn.

A pair of processes is alive at once, each with one build in front of Python's path and with kernels
that it compiled itself. For each thing that is measured both prepare their operands, and then they
take turns, call by call, each round in the other order. The ratio is formed in each round, so what
slows the machine down for a second is unfair to neither; after some pairs its median and its
quartiles make the row. Several pairs, because where an operand happens to lie in memory stays the
same as long as a process lives.

With one thread the clock is the process's own, which does not run while others have the processor;
with several it is the clock on the wall, for waiting is what several threads are about.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

import qnn_ref
from qnn_ref.bench import paired
from qnn_ref.bench.machine import describe, load
from qnn_ref.bench.measure import ROUNDS, timing
from qnn_ref.bench.paired import WORKS, Work
from qnn_ref.bench.rows import Row, Settings

HERE = Path(qnn_ref.__file__).resolve().parents[1]

SAMPLE = 0.01
"""Seconds that a turn lasts at least; the process's own clock is a coarse one on some systems."""

PAIRS = 3
"""Pairs of processes, one after the other."""

CLOCKS = {True: "processor", False: "wall"}
"""The clock of a row, by whether it has one thread."""


@dataclass(frozen=True)
class Build:
    """A copy of the package.

    Parameters
    ----------
    name : str
        What the rows call it.
    folder : Path
        Holds the folder `qnn_ref`.
    """

    name: str
    folder: Path


@contextmanager
def older_build(which: str) -> Iterator[Build]:
    """The build to compare with: a folder that holds one, or a commit of this repository.

    Parameters
    ----------
    which : str
        Folder or commit; a folder that holds a `qnn_ref` goes first.

    Yields
    ------
    Build
        That of a commit lies in a temporary folder.

    Raises
    ------
    ValueError
        If it is neither.
    """
    if (Path(which) / "qnn_ref" / "__init__.py").is_file():
        folder = Path(which).resolve()
        yield Build(f"folder {folder.name}", folder)
        return
    commit = _git("rev-parse", "--verify", "--quiet", "--end-of-options", which + "^{commit}")
    if commit is None:
        raise ValueError(
            f"--against: expected a folder that holds a qnn_ref, or a commit of the repository "
            f"that this package lies in, got {which!r}"
        )
    found = _git("archive", "--format=zip", commit.decode().strip(), "qnn_ref")
    if found is None:
        raise ValueError(f"--against: there is no qnn_ref in {which}")
    with tempfile.TemporaryDirectory() as place:
        with zipfile.ZipFile(io.BytesIO(found)) as archive:
            archive.extractall(place)
        yield Build(f"commit {commit.decode()[:7]}", Path(place))


def _git(*words: str) -> bytes | None:
    """What git answers in this package's repository; None if it has no answer."""
    try:
        done = subprocess.run(["git", *words], cwd=HERE, capture_output=True, check=False)
    except (OSError, ValueError):  # no git here; a zero byte
        return None
    return done.stdout if done.returncode == 0 else None


class Process:
    """A process that answers for one build.

    Parameters
    ----------
    build : Build
    threads : int
    kernels : Path
        Folder for what it compiles.
    """

    def __init__(self, build: Build, threads: int, kernels: Path) -> None:
        count = str(threads)
        names = "NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"
        more = {"PYTHONPATH": str(build.folder), "NUMBA_CACHE_DIR": str(kernels)}
        more |= {"OMP_WAIT_POLICY": "passive"} | dict.fromkeys(names, count)
        self.build = build
        self.errors = tempfile.TemporaryFile(  # noqa: SIM115  # `close` closes it
            "w+", encoding="utf-8", errors="replace"
        )
        self.process = subprocess.Popen(
            # -P: the folder of the file is not searched, where `measure` and `rows` lie.
            [sys.executable, "-P", paired.__file__],
            env=os.environ | more,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
            encoding="utf-8",
        )

    def check(self) -> None:
        """Refuse a process that took another build than its own."""
        file = Path(self._hear()["file"]).resolve()
        if self.build.folder.resolve() not in file.parents:
            raise RuntimeError(f"{self.build.name}: expected below {self.build.folder}, got {file}")

    def ask(self, order: str, number: int, loops: int = 1) -> dict[str, Any]:
        """Give one order and wait for the answer."""
        assert self.process.stdin is not None
        words = {"order": order, "number": number, "loops": loops}
        try:
            self.process.stdin.write(json.dumps(words, allow_nan=False) + "\n")
            self.process.stdin.flush()
        except OSError:  # it has ended: hearing says why
            pass
        return self._hear()

    def _hear(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            self.errors.seek(0)
            last = (self.errors.read().strip().splitlines() or ["no word"])[-1]
            raise RuntimeError(f"{self.build.name}: its process has ended: {last}")
        return json.loads(line)  # type: ignore[no-any-return]

    def close(self) -> None:
        """End it."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            self.process.stdin.close()
            self.process.wait(timeout=10)
        except (OSError, subprocess.TimeoutExpired):
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
        self.errors.close()


@dataclass
class Turns:
    """What was measured of one work on so many threads: a number of each build for each round.

    Parameters
    ----------
    ours, older : list of float
    failure : str
        Why there is none of the older one.
    """

    ours: list[float] = field(default_factory=list)
    older: list[float] = field(default_factory=list)
    failure: str = ""

    def row(self, work: Work, threads: int, peer: str) -> Row:
        """Medians and quartiles of both and of the ratios of the rounds."""
        clock = f"{CLOCKS[threads == 1]} time"
        note = "; ".join(filter(None, (clock if work.unit == "s" else "", self.failure)))
        ours = timing(self.ours)
        row = Row(
            work.name,
            work.size,
            threads,
            ours.median,
            (ours.low, ours.high),
            peer,
            None,
            None,
            None,
            work.unit,
            note,
        )
        if not self.older:
            return row
        older = timing(self.older)
        pairs = zip(self.ours, self.older, strict=True)
        less = work.unit == "bytes"  # the ratio of bytes is ours by theirs, as in `memory`
        ratio = timing([o / t if less else t / o for o, t in pairs])
        return replace(
            row,
            peer=older.median,
            peer_spread=(older.low, older.high),
            ratio=ratio.median,
            ratio_spread=(ratio.low, ratio.high),
        )


def against(
    names: Sequence[str], settings: Settings, which: str, pairs: int = PAIRS
) -> dict[str, Any]:
    """Measure this build beside an older one.

    Parameters
    ----------
    names : sequence of str
        Subjects of `paired.WORKS`; all if it is empty.
    settings : Settings
    which : str
        As in `older_build`.
    pairs : int
        Pairs of processes.

    Returns
    -------
    dict
        "machine", "against", "rows", "seconds".

    Raises
    ------
    ValueError
        If a name has no such measurement, or `which` is no build.
    RuntimeError
        If a build does not run at all.
    """
    known = sorted({work.subject for work in WORKS})
    if unknown := [name for name in names if name not in known]:
        raise ValueError(
            f"NAME: {', '.join(unknown)} cannot be measured with --against; expected "
            f"{', '.join(known)}"
        )
    start, before = time.perf_counter(), load()
    chosen = [
        number
        for number, work in enumerate(WORKS)
        if (work.subject in names or not names) and (work.quick or not settings.quick)
    ]
    rows = []
    with older_build(which) as older, tempfile.TemporaryDirectory() as kernels:
        builds = Build("ours", HERE), older
        folders = [Path(kernels, name) for name in ("ours", "older")]
        for threads in settings.counts(several=True):
            wanted = [n for n in chosen if WORKS[n].several or threads in (1, settings.threads)]
            turns = {number: Turns() for number in wanted}
            for pair in range(pairs if wanted else 0):
                settings.say(f"pair {pair + 1} of {pairs}, {threads} thread(s), {older.name}")
                with ExitStack() as stack:
                    both = []
                    for build, folder in zip(builds, folders, strict=True):
                        both.append(Process(build, threads, folder))
                        stack.callback(both[-1].close)
                    for process in both:
                        process.check()
                    for number in wanted:
                        settings.say(f"  {WORKS[number].name}, {WORKS[number].size}")
                        measure(turns[number], number, WORKS[number], both, threads, settings)
            rows += [turns[n].row(WORKS[n], threads, older.name) for n in wanted]
    return {
        "machine": describe({}) | {"load": before},
        "against": older.name,
        "rows": [row.to_json() for row in rows],
        "seconds": time.perf_counter() - start,
    }


def measure(
    turns: Turns,
    number: int,
    work: Work,
    both: Sequence[Process],
    threads: int,
    settings: Settings,
) -> None:
    """Let the two take turns at one work, ours first in every other round."""
    order = "prepare" if work.unit == "s" else "peak"
    first = [process.ask(order, number) for process in both]
    if "error" in first[0]:
        raise RuntimeError(f"{work.name}, {work.size}: {first[0]['error']}")
    turns.failure = first[1].get("error", "")
    measured = both[:1] if turns.failure else both
    lists = turns.ours, turns.older
    if work.unit == "bytes":
        for found, values in zip(first[: len(measured)], lists, strict=False):
            values.append(float(found["peak"]))
        return
    longest = max(found["wall"] for found in first[: len(measured)])
    loops = max(1, int(np.ceil(SAMPLE / max(longest, 1e-9))))
    start, clock = time.perf_counter(), CLOCKS[threads == 1]
    for turn in range(max(settings.repeats, ROUNDS)):
        if turn >= ROUNDS and time.perf_counter() - start >= settings.budget:
            break
        for i in (0, 1) if turn % 2 else (1, 0):
            if i < len(measured):
                lists[i].append(measured[i].ask("time", number, loops)[clock])
