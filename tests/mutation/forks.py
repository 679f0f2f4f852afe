"""A process that forks once for each run of tests, so that nothing is imported anew.

    python forks.py    in the folder of the tests; orders on stdin, answers on stdout, JSON lines

The parent holds what the tests import from outside the folder: NumPy, Numba, pytest, hypothesis
and, after a first run of them, the rest. It never imports the package or a test, so each child
meets them as the files say at that moment. `Nursery` is the other end: it starts the parent and
sends orders.
"""

import contextlib
import ctypes
import importlib
import json
import os
import resource
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

OUTSIDE = ("numpy", "numba", "pytest", "hypothesis.strategies", "hypothesis.extra.numpy")
MEMORY = 6 * 2**30  # bytes that a run may map: a wrong size must not take the machine's memory
SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER of Linux


class Nursery:
    """The process that forks, seen from outside.

    Parameters
    ----------
    folder : Path
        Where the tests are.
    environment : dict
        What the tests find in `os.environ` beside what is there now.
    """

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": str(folder)} | environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, test: str, **order: Any) -> dict[str, Any]:
        """One file of tests, up to the first that fails.

        Parameters
        ----------
        test : str
            The file, relative to the folder.
        **order
            `temporary`: a folder; `first`: names of tests that go first; `limit` and `each`: the
            seconds that all tests and one test may compute; `cache`: the folder of compiled
            kernels; `write`: whether Python may write what it compiled.

        Returns
        -------
        dict
            `found`: the test that failed, "time", or None; `seconds`: what the run computed, and
            `longest`: what one test did.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"test": test, **order}) + "\n")
        self._process.stdin.flush()
        return dict(json.loads(self._process.stdout.readline()))

    def close(self) -> None:
        """End it; no run is left, since it answers only after one has ended."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


class Judge:
    """The part that runs inside pytest: the order of the tests, and an end at the first failure.

    Parameters
    ----------
    first : list of str
        Tests that found a fault before, the best one first.
    each : float
        Seconds that one test may compute.
    answer : callable
        Takes what was found.
    """

    def __init__(self, first: list[str], each: float, answer: Any) -> None:
        self._rank = {name: place for place, name in enumerate(first)}
        self._each, self._answer = each, answer
        self.longest = self._began = 0.0

    def pytest_sessionstart(self) -> None:
        """No time for the smallest example: that one fails is enough."""
        from hypothesis import Phase, settings

        phases = (Phase.explicit, Phase.generate)
        usual = settings.get_profile("ci")
        settings.register_profile("mutants", usual, phases=phases, report_multiple_bugs=False)
        settings.load_profile("mutants")

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        """What found a fault before goes first."""
        items.sort(key=lambda item: self._rank.get(item.nodeid, len(self._rank)))

    def pytest_runtest_logstart(self) -> None:
        """An endless loop ends soon, not when all tests could have been run."""
        self._began = time.process_time()
        hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
        soft = min(hard, int(self._began + self._each) + 1)
        resource.setrlimit(resource.RLIMIT_CPU, (soft, hard))

    def pytest_runtest_logfinish(self) -> None:
        """What the next run of these tests is measured by."""
        self.longest = max(self.longest, time.process_time() - self._began)

    def pytest_runtest_makereport(self, item: Any, call: Any) -> None:
        """End everything with the first failure, before pytest has put it into words."""
        import pytest

        none = (pytest.skip.Exception, pytest.xfail.Exception)
        failed = call.excinfo is not None and not call.excinfo.errisinstance(none)
        if failed and not item.get_closest_marker("xfail"):
            self._answer(item.nodeid)


def child(order: dict[str, Any], pipe: int) -> None:
    """Run the tests of an order, and say into the pipe what was found."""
    os.setsid()
    for quiet in (0, 1, 2):
        os.dup2(os.open(os.devnull, os.O_RDWR), quiet)
    limit = int(order["limit"]) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (limit, limit + 1))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, resource.getrlimit(resource.RLIMIT_AS)[1]))
    sys.dont_write_bytecode = not order.get("write", False)
    if "cache" in order:
        import numba

        os.environ["NUMBA_CACHE_DIR"] = numba.config.CACHE_DIR = order["cache"]

    def answer(found: str | None) -> None:
        used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        seconds = sum(use.ru_utime + use.ru_stime for use in used)
        line = {"found": found, "seconds": round(seconds, 2), "longest": judge.longest}
        line["modules"] = loaded_from_outside()
        with os.fdopen(pipe, "w") as stream:
            stream.write(json.dumps(line) + "\n")
        os._exit(0)

    import pytest

    # Warnings are errors, and pytest warns of what was loaded before it.
    options = ["-q", "-x", "--tb=no", "-W", "ignore::pytest.PytestAssertRewriteWarning"]
    options += ["-p", "no:cacheprovider", "--basetemp", order["temporary"], order["test"]]
    judge = Judge(order.get("first", []), order["each"], answer)
    code = pytest.main(options, plugins=[judge])
    answer(None if code == 0 else f"exit code {int(code)}")


def loaded_from_outside() -> list[str]:
    """Modules that were loaded from elsewhere than this folder."""
    here, found = f"{os.getcwd()}{os.sep}", []
    for name, module in list(sys.modules.items()):
        origin = getattr(getattr(module, "__spec__", None), "origin", None) or here
        if not origin.startswith(here) and name != "__main__":
            found.append(name)
    return found


def ended(order: dict[str, Any]) -> dict[str, Any]:
    """Fork, wait, and see to it that no process is left."""
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            os.close(reading)
            child(order, writing)
        finally:
            os._exit(70)
    os.close(writing)
    limit = time.monotonic() + 10 * order["limit"]  # one that sleeps computes nothing
    with os.fdopen(reading) as stream:
        ready = select.select([stream], [], [], limit - time.monotonic())[0]
        line = stream.readline() if ready else ""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError):  # before it had a group of its own
        os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    end_orphans()
    if line:
        return dict(json.loads(line))
    ended_by = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    late = not ready or ended_by == signal.SIGXCPU
    found = "time" if late else f"signal {ended_by}" if ended_by else "no answer"
    return {"found": found, "seconds": order["limit"], "modules": []}


def end_orphans() -> None:
    """End what the tests have started in sessions of their own: this one's children now."""
    listed = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children")
    while listed.exists() and (children := listed.read_text().split()):
        for pid in map(int, children):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)


def main() -> None:
    """Answer orders until there are no more."""
    for name in OUTSIDE:
        importlib.import_module(name)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(SUBREAPER, 1, 0, 0, 0)
    known = set(sys.modules)
    for line in sys.stdin:
        answer = ended(json.loads(line))
        for name in answer.pop("modules"):
            if name not in known:
                known.add(name)
                with contextlib.suppress(Exception):  # then each child imports it by itself
                    importlib.import_module(name)
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    sys.path[0] = os.getcwd()  # not the folder of this file, whose names are no modules
    with contextlib.suppress(BrokenPipeError):  # whoever asked is gone
        main()
