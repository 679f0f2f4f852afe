"""A call of somebody else's function: whatever it does, there is an outcome, and nothing stays.

Prints are caught, warnings counted, arguments copied, a loop without end is broken off, and what it
replaces in NumPy is put back.
"""

from __future__ import annotations

import builtins
import contextlib
import copy
import io
import linecache
import os
import signal
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from types import FrameType
from typing import Any

import numpy as np

from qnn_ref.course.compare import Fault

KEPT = 2000
"""Characters of what an answer prints that are kept."""
OURS = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
"""The package: what it raises happened in the line that called it."""


class TooSlow(BaseException):
    """Raised inside an answer by the clock; no Exception, so that `except Exception` misses it."""


@dataclass(frozen=True)
class Outcome:
    """What a call came to.

    Parameters
    ----------
    value : object
        What was returned; arrays are copies.
    fault : Fault or None
        What went wrong before there was a value to look at.
    printed : str
        The beginning of what was printed.
    written : bool
        Whether there is an answer at all: False for a stub.
    """

    value: Any = None
    fault: Fault | None = None
    printed: str = ""
    written: bool = True


class Printed(io.TextIOBase):
    """A stream that keeps the beginning."""

    def __init__(self) -> None:
        self.kept = ""

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self.kept = (self.kept + text[:KEPT])[:KEPT]
        return len(text)


class Clock:
    """An alarm for all calls of a check together; it rings inside an answer only.

    Parameters
    ----------
    seconds : float
    """

    def __init__(self, seconds: float) -> None:
        self.end = time.monotonic() + seconds
        self.inside = False

    @property
    def over(self) -> bool:
        """Whether the time is used up."""
        return time.monotonic() >= self.end

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Let the alarm ring, again and again: an answer may catch it. Main thread, POSIX only."""
        main = threading.current_thread() is threading.main_thread()
        if not main or not hasattr(signal, "setitimer"):
            yield
            return

        def ring(number: int, frame: FrameType | None) -> None:
            if self.inside and self.over:
                raise TooSlow

        def unheard(lost: Any) -> None:
            if not isinstance(lost.exc_value, TooSlow):
                hook(lost)

        # The alarm may ring in a callback of the collector, which loses what is raised in it.
        hook, sys.unraisablehook = sys.unraisablehook, unheard
        before = signal.signal(signal.SIGALRM, ring)
        timer = signal.setitimer(signal.ITIMER_REAL, max(self.end - time.monotonic(), 0.01), 0.05)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, *timer)
            signal.signal(signal.SIGALRM, before)
            sys.unraisablehook = hook


_OF_NOTEBOOKS = {"breakpoint", "copyright", "credits", "exit", "help", "input", "license", "quit"}
"""Names that notebooks replace."""
_WATCHED = (
    *((module, name) for module in (np, np.linalg, np.random) for name in vars(module)),
    *((builtins, n) for n in vars(builtins) if n[0] != "_" and n not in _OF_NOTEBOOKS),
)
_ORIGINAL = [(m, name, vars(m)[name]) for m, name in _WATCHED if callable(vars(m)[name])]


def put_back() -> list[str]:
    """Put back what was replaced in NumPy or Python's own names, and say what it was.

    Returns
    -------
    list of str
        Such as `numpy.sign`.
    """
    found = []
    for module, name, thing in _ORIGINAL:
        if vars(module).get(name) is not thing:
            setattr(module, name, thing)
            found.append(f"{module.__name__}.{name}".removeprefix("builtins."))
    return found


def call(
    function: Any, arguments: tuple[Any, ...], names: tuple[str, ...], clock: Clock
) -> Outcome:
    """Call a function with copies of the arguments.

    Parameters
    ----------
    function : callable
    arguments : tuple
    names : tuple of str
        What the arguments are called, for the sentences.
    clock : Clock

    Returns
    -------
    Outcome
    """
    lent = copy.deepcopy(arguments)
    printed, value, fault, raised = Printed(), None, None, None
    caught: list[warnings.WarningMessage] = []
    try:
        with (
            warnings.catch_warnings(record=True) as caught,
            np.errstate(divide="warn", over="warn", invalid="warn", under="ignore"),
            contextlib.redirect_stdout(printed),
            contextlib.redirect_stderr(printed),
        ):
            warnings.simplefilter("always")
            try:
                clock.inside = True
                value = function(*lent)
                clock.inside = False
            finally:
                clock.inside = False
    except NotImplementedError:
        return Outcome(written=False)
    except BaseException as error:  # whatever it is: a verdict never raises
        raised = error
    replaced = put_back()  # before anything else: `isinstance` may be among it
    if raised is not None:
        fault = _of_error(raised)
    if fault is None and replaced:
        fault = Fault("replaces", f"Your function replaces {replaced[0]} for the whole session.")
    if fault is None:
        fault = _changed(arguments, lent, names)
    if fault is None and clock.over:
        fault = SLOW
    if fault is None and caught:
        text = str(caught[0].message).partition("\n")[0]
        return Outcome(_kept(value), Fault("warns", f"Python warns: {text}."), printed.kept)
    return Outcome(_kept(value), fault, printed.kept)


SLOW = Fault("slow", "")
"""The sentence is the check's, which knows the time."""


def _of_error(error: BaseException) -> Fault:
    if isinstance(error, TooSlow):
        return SLOW
    if isinstance(error, SystemExit):
        return Fault("exit", f"Your function ends the program{_place(error)}.")
    if isinstance(error, KeyboardInterrupt):
        return Fault("stopped", f"Your function was interrupted{_place(error)}.")
    if isinstance(error, RecursionError):
        return Fault(
            "raises", f"Your function calls itself without end{_place(error)}.", "RecursionError"
        )
    try:
        text = str(error).partition("\n")[0][:200]
    except BaseException as second:
        text = f"(its text raises {type(second).__name__})"
    name = type(error).__name__
    says = f"Your function raises {name}{text and f': {text}'}{_place(error)}."
    return Fault("raises", says, name)


def _place(error: BaseException) -> str:
    """The line of the student's code where it happened."""
    frames = traceback.extract_tb(error.__traceback__, limit=-60)
    theirs = [f for f in frames if not f.filename.startswith(OURS) and not _of_library(f.filename)]
    if not theirs:
        return ""
    line = linecache.getline(theirs[-1].filename, theirs[-1].lineno or 0).strip()
    return f", in line {theirs[-1].lineno}" + (f": {line}" if line else "")


def _of_library(filename: str) -> bool:
    return "site-packages" in filename or filename.startswith((os.path.dirname(os.__file__), "<__"))


def _changed(
    before: tuple[Any, ...], after: tuple[Any, ...], names: tuple[str, ...]
) -> Fault | None:
    for name, old, new in zip(names, before, after, strict=True):
        if isinstance(old, np.ndarray):
            same = (old.shape, old.dtype) == (new.shape, new.dtype) and bytes(old) == bytes(new)
        else:
            same = repr(old) == repr(new)
        if not same:
            says = (
                f"Your function changes its argument {name}. Work on a copy, or make a new array."
            )
            return Fault("changes", says)
    return None


def _kept(value: Any) -> Any:
    """The value with copies of its arrays: a view would change with what it looks at."""
    if isinstance(value, np.ndarray) and value.dtype.kind in "biufc" and value.size <= 10_000_000:
        return value.copy() if type(value) is np.ndarray else value
    if type(value) is tuple and len(value) < 20:
        return tuple(map(_kept, value))
    return value
