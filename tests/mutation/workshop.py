"""A copy of the repository in which faults are planted, one at a time, and its tests run."""

import itertools
import os
import shutil
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from tests.mutation.changes import Mutant
from tests.mutation.forks import Nursery
from tests.mutation.nearest import nearest_tests

ROOT = Path(__file__).resolve().parents[2]
LEFT = shutil.ignore_patterns(".*", "runs", "mnist", "__pycache__", "results")
LONGEST = 600.0  # seconds that the sound package may take for one file of tests
AT_LEAST = (2.0, 60.0)  # seconds for one test, whatever it takes without a fault; if compiled
STAGES = ("nearest", "near", "room", "compiled", "all")
"""With the kernels as plain Python the nearest file of tests, the next ones, and the others of the
room; then, compiled, the near ones and the others."""


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
        self.folder = Path(tempfile.mkdtemp(prefix="mutants-"))
        self.copy, self.cache = self.folder / "copy", self.folder / "cache"
        shutil.copytree(ROOT, self.copy, ignore=LEFT)
        (self.copy / "data" / "mnist").symlink_to(ROOT / "data" / "mnist")
        self.killers = killers
        self._nurseries: dict[bool, Nursery] = {}
        self._sound: dict[tuple[str, bool], dict[str, float]] = {}
        self._stamp = 0

    def close(self) -> None:
        """End the processes and throw the copy away."""
        for nursery in self._nurseries.values():
            nursery.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def judged(self, mutant: Mutant, last: str) -> dict[str, Any]:
        """The verdict of the tests on one fault.

        Parameters
        ----------
        mutant : Mutant
        last : str
            The last stage to go through, one of STAGES.

        Returns
        -------
        dict
            `verdict`, `stage`: the one that it came from, `by`: the test, and `seconds`.

        Raises
        ------
        UnsoundError
            If the nearest tests fail without the fault. Others that fail are left out.
        """
        near, far = nearest_tests(self.copy, mutant.file)
        if not self._limit(near[0], compiled=False):
            raise UnsoundError(f"{near[0]} fails without a fault")
        stages = zip(STAGES, (near[:1], near[1:], far, near, far), strict=True)
        seconds = 0.0
        for stage, tests in itertools.islice(stages, STAGES.index(last) + 1):
            compiled = stage in ("compiled", "all")
            found, took = self._found(mutant, self._ordered(mutant.file, tests), compiled)
            seconds += took
            if found:
                self.killers.setdefault(mutant.file, Counter())[found] += 1
                break
        verdict = "killed" if found else "survived"
        return {"verdict": verdict, "stage": stage, "by": found, "seconds": round(seconds, 2)}

    def _ordered(self, file: str, tests: list[str]) -> list[str]:
        """First those that found most faults of the file before."""
        found = Counter()
        for name, count in self.killers.get(file, Counter()).items():
            found[name.partition("::")[0]] += count
        return sorted(tests, key=lambda test: -found[test])

    def _found(self, mutant: Mutant, tests: list[str], compiled: bool) -> tuple[str | None, float]:
        """What found the fault, and the seconds that it took."""
        limits = {test: self._limit(test, compiled) for test in tests}  # before it is planted
        file, cache = self.copy / mutant.file, self.folder / "mutated"
        sound, seconds = file.read_text(encoding="utf-8"), 0.0
        stamp = file.stat().st_mtime_ns
        self._stamp += 1
        first = [name for name, _ in self.killers.get(mutant.file, Counter()).most_common()]
        try:
            file.write_text(mutant.planted(sound), encoding="utf-8")
            # What Python or Numba have kept of a file, they know by its size and its time.
            os.utime(file, (10**9 + self._stamp,) * 2)
            if compiled and self.cache.exists():  # Numba replaces its files, so links are enough
                shutil.copytree(self.cache, cache, copy_function=os.link)
            for test, limit in limits.items():
                if not limit:
                    continue
                answer = self._run(test, compiled, first=first, cache=str(cache), **limit)
                seconds += answer["seconds"]
                if answer["found"]:
                    found = answer["found"]
                    return found if "::" in found else f"{test}: {found}", seconds
            return None, seconds
        finally:
            file.write_text(sound, encoding="utf-8")
            os.utime(file, ns=(stamp, stamp))
            shutil.rmtree(cache, ignore_errors=True)

    def _limit(self, test: str, compiled: bool) -> dict[str, float]:
        """Seconds that a fault gets in a file of tests; none if the sound package fails there."""
        if (test, compiled) not in self._sound:
            order = {"limit": LONGEST, "each": LONGEST, "write": True, "cache": str(self.cache)}
            answer = self._run(test, compiled, **order)
            self._sound[test, compiled] = {}
            if answer["found"]:
                print(f"{test} is left out: {answer['found']}", flush=True)
            else:
                answer = self._run(test, compiled, **order)  # with all that is kept and loaded
                least = AT_LEAST[compiled]
                limits = {"limit": 3 * least + 5 * answer["seconds"]}
                limits["each"] = least + 5 * answer["longest"]
                self._sound[test, compiled] = limits
        return self._sound[test, compiled]

    def _run(self, test: str, compiled: bool, **order: Any) -> dict[str, Any]:
        temporary = self.folder / "temporary"
        if compiled not in self._nurseries:
            environment = {
                "HYPOTHESIS_PROFILE": "ci",
                "NUMBA_DISABLE_JIT": str(int(not compiled)),
                "TMPDIR": str(temporary),
            }
            self._nurseries[compiled] = Nursery(self.copy, environment)
        temporary.mkdir()
        try:
            inner = str(temporary / "pytest")
            return self._nurseries[compiled].run(test, temporary=inner, **order)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
