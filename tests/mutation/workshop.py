"""A copy of the repository in which faults are planted, one at a time, and its tests run."""

import contextlib
import itertools
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.mutation.changes import Mutant
from tests.mutation.nearest import callers, nearest_tests
from tests.mutation.nursery import Nursery

ROOT = Path(__file__).resolve().parents[2]
LEFT = shutil.ignore_patterns(".*", "runs", "mnist", "__pycache__", "results")
LONGEST = 600.0  # seconds that the sound package may take for one file of tests
AT_LEAST = (1.0, 60.0)  # seconds for one test, whatever it takes without a fault; if compiled
STAGES = ("nearest", "near", "room", "compiled", "all")
"""The nearest file of tests, the next ones, the others of the room; then, compiled, the near ones
and the others."""
COMPILED = ("compiled", "all")


class UnsoundError(Exception):
    """Tests fail without any fault too, so they say nothing about one."""


class Workshop:
    """The copy, the processes that fork in it, and what the sound package did in each test file.

    Parameters
    ----------
    killers : dict
        By file, how often each test found a fault of it before.
    """

    def __init__(self, killers: dict[str, Counter[str]]) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="mutants-")).resolve()
        self.copy, self.temporary = self.folder / "copy", self.folder / "temporary"
        self.cache, self.mutated = self.folder / "cache", self.folder / "mutated"
        shutil.copytree(ROOT, self.copy, ignore=LEFT)
        (self.copy / "data" / "mnist").symlink_to(ROOT / "data" / "mnist")
        self.killers = killers
        self._nurseries: dict[bool, Nursery] = {}
        self._sound: dict[str, dict[str, float]] = {}
        self._stamp = 0

    def close(self) -> None:
        """End the processes and throw the copy away."""
        for nursery in self._nurseries.values():
            nursery.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def judged(
        self, mutants: dict[str, Mutant], last: str, first: str = STAGES[0]
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        """The verdicts of the tests on faults of one file, each as soon as it is known.

        Parameters
        ----------
        mutants : dict
            By any key.
        last, first : str
            The last and the first stage to go through, of STAGES.

        Yields
        ------
        str, dict
            The key, and `verdict`, `stage`: the one that it came from, `by`: the test, `seconds`.

        Raises
        ------
        UnsoundError
            If the nearest tests fail without a fault. Others that fail are left out.
        """
        (file,) = {mutant.file for mutant in mutants.values()}
        near, far = nearest_tests(self.copy, file)
        alive, seconds = dict(mutants), Counter[str]()
        stages = zip(STAGES, (near[:1], near[1:], far, near, far), strict=True)
        for stage, tests in itertools.islice(stages, STAGES.index(first), STAGES.index(last) + 1):
            compiled = stage in COMPILED
            for test in self._ordered(file, tests):
                if not alive:
                    break
                limit = self._limit(test, compiled, file)
                if not limit and test == near[0]:
                    raise UnsoundError(f"{test} fails without a fault")
                if not limit:
                    continue
                for key, mutant in list(alive.items()):
                    found, took = self._found(mutant, test, compiled, limit)
                    seconds[key] += took
                    if found:
                        del alive[key]
                        self.killers.setdefault(file, Counter())[found] += 1
                        verdict = {"verdict": "killed", "stage": stage, "by": found}
                        yield key, verdict | {"seconds": round(seconds[key], 2)}
        for key in alive:
            verdict = {"verdict": "survived", "stage": last, "by": None}
            yield key, verdict | {"seconds": round(seconds[key], 2)}

    def _ordered(self, file: str, tests: list[str]) -> list[str]:
        """First those that found most faults of the file before."""
        found = Counter()
        for name, count in self.killers.get(file, Counter()).items():
            found[name.partition("::")[0]] += count
        return sorted(tests, key=lambda test: -found[test])

    def _found(
        self, mutant: Mutant, test: str, compiled: bool, limit: dict[str, float]
    ) -> tuple[str | None, float]:
        """What found the fault, and the seconds that it took."""
        order: dict[str, Any] = {"first": self._first(mutant.file), **limit}
        order["cache"] = str(self.mutated)
        answer = {"found": "anew", "seconds": 0.0}
        with self._planted(mutant, compiled) as plant:
            if not compiled:
                answer = self._run(test, compiled, plant=plant, **order)
            if answer["found"] == "anew":
                answer = self._run(test, compiled, **order)
        found = answer["found"]
        return found if not found or "::" in found else f"{test}: {found}", answer["seconds"]

    def _first(self, file: str) -> list[str]:
        return [name for name, _ in self.killers.get(file, Counter()).most_common()]

    @contextlib.contextmanager
    def _planted(self, mutant: Mutant, compiled: bool) -> Iterator[tuple[str, str, str]]:
        """The path of the file, its sound and its faulty text, which is there for so long."""
        file = self.copy / mutant.file
        sound, stamp = file.read_text(encoding="utf-8"), file.stat().st_mtime_ns
        faulty = mutant.planted(sound)
        self._stamp += 1
        try:
            file.write_text(faulty, encoding="utf-8")
            # What Python or Numba have kept of a file, they know by its size and its time.
            os.utime(file, (10**9 + self._stamp,) * 2)
            if compiled and self.cache.exists():  # Numba replaces its files, so links are enough
                shutil.copytree(
                    self.cache, self.mutated, copy_function=os.link, ignore=self._stale(mutant.file)
                )
            yield str(file), sound, faulty
        finally:
            file.write_text(sound, encoding="utf-8")
            os.utime(file, ns=(stamp, stamp))
            shutil.rmtree(self.mutated, ignore_errors=True)

    def _stale(self, file: str) -> Callable[[Any, list[str]], set[str]]:
        """What Numba keeps of callers of a mutated file: it would not see that they have changed.

        What it keeps of a function is called `lookup._blocks-255.py311.nbi`.
        """
        stems = callers(self.copy, file)
        return lambda folder, names: {name for name in names if name.partition(".")[0] in stems}

    def _limit(self, test: str, compiled: bool, file: str) -> dict[str, float]:
        """Seconds that a fault gets in a file of tests; none if the sound package fails there."""
        if compiled and test in self._sound:
            return self._sound[test]
        order: dict[str, Any] = {"limit": LONGEST, "each": LONGEST, "cache": str(self.cache)}
        if compiled:
            self._run(test, compiled, **order)  # compiles, once
            answer = self._run(test, compiled, **order)
        else:
            path = self.copy / file
            answer = self._run(test, compiled, grow=[str(path), path.read_text("utf-8")], **order)
        limits = {}
        if answer["found"]:
            print(f"{test} is left out: {answer['found']}", flush=True)
        else:
            least, longest = AT_LEAST[compiled], max(answer["took"].values(), default=0)
            limits["limit"] = 3 * least + 5 * answer["seconds"]
            limits["each"] = least + 5 * longest
        if compiled:
            self._sound[test] = limits
        return limits

    def _nursery(self, compiled: bool) -> Nursery:
        if compiled not in self._nurseries:
            environment = {
                "HYPOTHESIS_PROFILE": "ci",
                "NUMBA_DISABLE_JIT": str(int(not compiled)),
                "TMPDIR": str(self.temporary),
            }
            self._nurseries[compiled] = Nursery(self.copy, environment)
        return self._nurseries[compiled]

    def _run(self, test: str, compiled: bool, **order: Any) -> dict[str, Any]:
        self.temporary.mkdir(exist_ok=True)
        try:
            inner = str(self.temporary / "pytest")
            return self._nursery(compiled).run(test, temporary=inner, **order)
        finally:
            shutil.rmtree(self.temporary, ignore_errors=True)
