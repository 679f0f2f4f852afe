"""A process that forks once for each run of tests, so that nothing is imported anew.

    python forks.py    in the folder of the tests; orders on stdin, answers on stdout, JSON lines

The parent holds what the tests import from outside the folder: NumPy, Numba, pytest, hypothesis
and, after a first run of them, the rest. It never imports the package or a test, so each child
meets them as the files say at that moment. For a fault inside a function there is a child that has
collected the tests of a file, package and all, and forks in its turn: there the function's code is
exchanged.
"""

import contextlib
import ctypes
import gc
import importlib
import json
import os
import resource
import select
import signal
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

OUTSIDE = ("numpy", "numba", "pytest", "hypothesis.strategies", "hypothesis.extra.numpy")
MEMORY = 6 * 2**30  # bytes that a run may map: a wrong size must not take the machine's memory
SUBREAPER, DEATH = 36, 1  # PR_SET_CHILD_SUBREAPER, PR_SET_PDEATHSIG of Linux


class Judge:
    """The part that runs inside pytest: the order of the tests, and an end at the first failure.

    Parameters
    ----------
    orders : iterable of str
        Runs that are ordered once the tests are collected, each in a fork of this process.
    replies : text stream, optional
        Where they are answered. Without it this process is the run itself.
    """

    def __init__(self, orders: Iterable[str] = (), replies: Any = None) -> None:
        self._orders, self._replies = orders, replies
        self.pipe, self._each, self._began = -1, 0.0, 0.0
        self._took, self._allowed = dict[str, float](), dict[str, float]()
        self.test, self.calls = "", dict[str, dict[str, bool]]()
        self.elsewhere = False

    def take(self, order: dict[str, Any], pipe: int) -> None:
        """Begin a run in this process, whose answer goes into a pipe."""
        self.pipe, self._each = pipe, order["each"]
        self._rank = {name: place for place, name in enumerate(order.get("first", ()))}
        limit = int(order["limit"]) + 1
        resource.setrlimit(resource.RLIMIT_CPU, (limit, limit + 1))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, resource.getrlimit(resource.RLIMIT_AS)[1]))
        sys.dont_write_bytecode = "grow" not in order
        if "cache" in order:
            import numba

            os.environ["NUMBA_CACHE_DIR"] = numba.config.CACHE_DIR = order["cache"]

    def answer(self, found: str | None) -> None:
        """Say what was found, and end this process."""
        used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        seconds = sum(use.ru_utime + use.ru_stime for use in used)
        line = {"found": found, "seconds": round(seconds, 2), "took": self._took}
        line["calls"] = {name: list(tests) for name, tests in self.calls.items()}
        line["elsewhere"] = self.elsewhere
        line["modules"] = loaded_from_outside()
        with os.fdopen(self.pipe, "w") as stream:
            stream.write(json.dumps(line) + "\n")
        os._exit(0)

    def pytest_sessionstart(self) -> None:
        """No time for the smallest example: that one fails is enough."""
        from hypothesis import Phase, settings

        phases = (Phase.explicit, Phase.generate)
        usual = settings.get_profile("ci")
        settings.register_profile("mutants", usual, phases=phases, report_multiple_bugs=False)
        settings.load_profile("mutants")

    def pytest_runtestloop(self, session: Any) -> None:
        """Answer orders; what follows in a fork, and without orders here, are the tests."""
        functions, chosen = None, None
        for line in self._orders:
            order = json.loads(line)
            if "grow" in order:
                functions = importlib.import_module("planting").Living(*order["grow"])
                answer = forked(order)
                if isinstance(answer, int):
                    self.take(order, answer)
                    functions.watch(self)
                    break
                functions.calls = answer.get("calls")
                functions.elsewhere = answer.get("elsewhere", True)
                self._allowed = {name: 1 + 5 * s for name, s in answer.get("took", {}).items()}
                self._replies.write(json.dumps(answer) + "\n")
                self._replies.flush()
                continue
            _, _, faulty = order["plant"]
            answer = forked(order)
            if isinstance(answer, int):
                self.take(order, answer)
                try:
                    chosen = functions.become(faulty)
                except ImportError:
                    self.answer("anew")
                break
            self._replies.write(json.dumps(answer) + "\n")
            self._replies.flush()
        if self.pipe < 0:
            os._exit(0)  # no more orders
        if chosen is not None:
            session.items[:] = [item for item in session.items if item.nodeid in chosen]
        session.items.sort(key=lambda item: self._rank.get(item.nodeid, len(self._rank)))

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """An endless loop ends soon, not when all tests could have been run."""
        self.test = nodeid
        self._began = time.process_time()
        hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
        soft = int(min(hard, self._began + self._allowed.get(nodeid, self._each) + 1))
        resource.setrlimit(resource.RLIMIT_CPU, (soft, hard))

    def pytest_runtest_logfinish(self) -> None:
        """What the next run of these tests is measured by."""
        self._took[self.test] = time.process_time() - self._began

    def pytest_runtest_makereport(self, item: Any, call: Any) -> None:
        """End everything with the first failure, before pytest has put it into words."""
        import pytest

        none = (pytest.skip.Exception, pytest.xfail.Exception)
        failed = call.excinfo is not None and not call.excinfo.errisinstance(none)
        if failed and not item.get_closest_marker("xfail"):
            self.answer(item.nodeid)


class Grown:
    """A child that has collected the tests of a file, and waits for orders.

    Parameters
    ----------
    order : dict
        Which tests.
    """

    def __init__(self, order: dict[str, Any]) -> None:
        orders, replies = os.pipe(), os.pipe()
        self.pid = os.fork()
        if not self.pid:
            try:
                os.close(orders[1])
                os.close(replies[0])
                quietly()
                reap()
                with os.fdopen(orders[0]) as lines, os.fdopen(replies[1], "w") as stream:
                    run(order, Judge(lines, stream))
            finally:
                os._exit(70)
        os.close(orders[0])
        os.close(replies[1])
        self._orders, self._replies = os.fdopen(orders[1], "w"), os.fdopen(replies[0])

    def run(self, order: dict[str, Any]) -> dict[str, Any]:
        """Answer an order; "anew" also if there is no such child any more."""
        line = ""
        with contextlib.suppress(BrokenPipeError):
            self._orders.write(json.dumps(order) + "\n")
            self._orders.flush()
            line = self._replies.readline()
        return dict(json.loads(line or '{"found": "anew", "modules": [], "seconds": 0}'))

    def close(self) -> None:
        """End it."""
        with contextlib.suppress(BrokenPipeError):
            self._orders.close()
        self._replies.close()
        os.waitpid(self.pid, 0)


def quietly() -> None:
    """Begin a session of one's own, and say nothing."""
    os.setsid()
    end_with_parent()
    for stream in (0, 1, 2):
        os.dup2(os.open(os.devnull, os.O_RDWR), stream)


def reap() -> None:
    """Become the parent of what children leave behind, where that can be asked for."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(SUBREAPER, 1, 0, 0, 0)


def end_with_parent() -> None:
    """End when the parent does, whatever ended it, where that can be asked for."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(DEATH, signal.SIGKILL, 0, 0, 0)


def run(order: dict[str, Any], judge: Judge) -> None:
    """Run pytest, and say what was found."""
    import pytest

    # Warnings are errors, and pytest warns of what was loaded before it.
    options = ["-q", "-x", "--tb=no", "-W", "ignore::pytest.PytestAssertRewriteWarning"]
    options += ["-p", "no:cacheprovider", "--basetemp", order["temporary"], order["test"]]
    code = pytest.main(options, plugins=[judge])
    if judge.pipe >= 0:
        judge.answer(None if code == 0 else f"exit code {int(code)}")


def loaded_from_outside() -> list[str]:
    """Modules that were loaded from elsewhere than this folder."""
    here, found = f"{os.getcwd()}{os.sep}", []
    for name, module in list(sys.modules.items()):
        origin = getattr(getattr(module, "__spec__", None), "origin", None) or here
        if not origin.startswith(here) and name != "__main__":
            found.append(name)
    return found


def forked(order: dict[str, Any], keep: int = 0) -> dict[str, Any] | int:
    """Fork. The child gets a pipe for its answer; the parent the answer, once no process is left.

    Parameters
    ----------
    order : dict
        What the child will do; its `limit` says how long it may take.
    keep : int
        A child that is to stay.
    """
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(reading)
        quietly()
        return writing
    os.close(writing)
    limit = 10 * order["limit"]  # on the clock: one that sleeps computes nothing
    with os.fdopen(reading) as stream:
        ready = select.select([stream], [], [], limit)[0]
        line = stream.readline() if ready else ""
    for end in (os.killpg, os.kill):  # it may not have had a group of its own yet
        with contextlib.suppress(ProcessLookupError):
            end(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    end_orphans(keep)
    if line:
        return dict(json.loads(line))
    ended_by = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    late = not ready or ended_by in (signal.SIGXCPU, signal.SIGKILL)
    found = "time" if late else f"signal {ended_by}" if ended_by else "no answer"
    return {"found": found, "seconds": order["limit"], "modules": []}


def end_orphans(keep: int) -> None:
    """End what tests have started in sessions of their own: this one's children now."""
    listed = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children")
    while listed.exists() and (children := set(listed.read_text().split()) - {str(keep)}):
        for pid in map(int, children):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)


def answered(order: dict[str, Any], grown: Grown | None) -> dict[str, Any]:
    """Answer an order, in a fork of this process or of one that has collected the tests."""
    if "plant" in order or "grow" in order:
        assert grown is not None
        return grown.run(order)
    answer = forked(order, grown.pid if grown else 0)
    if isinstance(answer, int):
        try:
            judge = Judge()
            judge.take(order, answer)
            run(order, judge)
        finally:
            os._exit(70)
    return answer


def main() -> None:
    """Answer orders until there are no more."""
    for name in (*OUTSIDE, "planting"):
        importlib.import_module(name)
    sys.path[0] = os.getcwd()  # not the folder of this file, whose names are no modules
    reap()
    end_with_parent()
    known, grown = set(sys.modules), None
    gc.freeze()
    for line in sys.stdin:
        order = json.loads(line)
        if "grow" in order:
            if grown:
                grown.close()
            grown = Grown(order)
        answer = answered(order, grown)
        for name in answer.pop("modules"):
            if name not in known:
                known.add(name)
                with contextlib.suppress(Exception):  # then each child imports it by itself
                    importlib.import_module(name)
        print(json.dumps(answer), flush=True)
    if grown:
        grown.close()


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):  # whoever asked is gone
        main()
