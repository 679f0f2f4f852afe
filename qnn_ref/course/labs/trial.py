"""Judge a lab: the line that was named, the mended program, and the test that was written.

The program is somebody's, and is run: in a process of its own, for a limited time.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

from qnn_ref.course.exercise import Verdict
from qnn_ref.course.labs.lab import STUB, Lab, lab
from qnn_ref.files import open_regular

SECONDS = 60.0
FOUND = "Found, mended, and the test that you wrote finds it."


class Trouble(Exception):
    """What is said to the student."""


def check_lab(name: str, path: str | Path, seconds: float = SECONDS) -> Verdict:
    """Judge a student's file.

    Parameters
    ----------
    name : str
        "lab1".
    path : path
        The file, a copy of the lab's program that was worked on.
    seconds : float
        After which it is stopped.

    Returns
    -------
    Verdict

    Raises
    ------
    ValueError
        If there is no such lab, or the file is no text.
    FileError
        If there is no such file.
    """
    with open_regular(path) as file:
        try:
            source = file.read().decode()
        except UnicodeDecodeError as error:
            raise ValueError(f"{path}: expected a program, got a file that is no text") from error
    return check_source(lab(name), source, seconds)


def check_source(known: Lab, source: str, seconds: float = SECONDS) -> Verdict:
    """Judge a program by its text, in a process of its own.

    Parameters
    ----------
    known : Lab
    source : str
    seconds : float
        After which it is stopped.

    Returns
    -------
    Verdict
    """
    order = json.dumps({"lab": known.id, "source": source}, allow_nan=False)
    command = [sys.executable, "-m", "qnn_ref.course.labs.trial"]
    with tempfile.TemporaryFile("w+") as out:  # a pipe would wait for what the program starts
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=out,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )
        try:
            process.communicate(order, seconds)
        except subprocess.TimeoutExpired:
            return _verdict(known, "too slow", f"It ran for more than {seconds:g} seconds.")
        finally:
            _end(process)
        out.seek(0)
        text = out.read()
    try:
        found = json.loads(text)
    except ValueError:
        return _verdict(known, "error", f"It ended the program (exit code {process.returncode}).")
    return _verdict(known, found["status"], *found["lines"])


def _end(process: subprocess.Popen[str]) -> None:
    """Kill it, and where the system has groups of processes, what it started."""
    with contextlib.suppress(ProcessLookupError):
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
    process.wait()


def _verdict(known: Lab, status: str, *lines: str) -> Verdict:
    return Verdict(known.id, known.title, status, lines)


def loaded(source: str, name: str) -> ModuleType:
    """A program as a module; it is no main program, so nothing is trained."""
    module = ModuleType(name)
    exec(compile(source, f"{name}.py", "exec"), module.__dict__)
    return module


def tried(known: Lab, source: str) -> tuple[str, list[str]]:
    """Status and lines of a verdict, here and now."""
    if source.strip() == known.source.strip():
        return "not written", [f"Run it first: python {known.id}.py. {known.hints[0]}"]
    try:
        program = _asked(lambda: loaded(source, known.id), "The program")
        _named(known, program)
        _mended(known, program)
        _tested(known, program, source)
    except Trouble as trouble:
        return "failed", [str(trouble)]
    return "passed", [FOUND]


def _asked(run: Any, what: str) -> Any:
    try:
        return run()
    except (Exception, SystemExit) as error:
        raise Trouble(f"{what} stops with {type(error).__name__}: {error}") from error


def _named(known: Lab, program: ModuleType) -> None:
    line = getattr(program, "LINE", None)
    if line == 0:
        raise Trouble("LINE is still 0: write the number of the wrong line there.")
    lines = known.source.splitlines()
    if not isinstance(line, int) or not 1 <= line <= len(lines):
        raise Trouble(f"LINE: expected a number from 1 to {len(lines)}, got {line!r}.")
    if not lines[line - 1].strip():
        raise Trouble(f"LINE: line {line} is empty. Count from 1, in the file as it came.")
    if line != known.number:
        raise Trouble(f"LINE: line {line} does what it should: {lines[line - 1].strip()!r}.")


def _mended(known: Lab, program: ModuleType) -> None:
    ours = loaded(known.mended_source, known.id)
    fault = _asked(lambda: known.probe(program, ours), "The line is found. The mended program")
    if fault:
        raise Trouble(f"The line is found, but not mended. {fault}")


def _tested(known: Lab, program: ModuleType, source: str) -> None:
    test = getattr(program, "would_have_found_it", None)
    if not callable(test):
        raise Trouble("would_have_found_it: expected your test, a function of the program.")
    start = "The line is mended. Now the test: "
    if STUB in source:
        raise Trouble(f"{start}would_have_found_it is not written yet.")
    for other, what in ((program, "your own"), (loaded(known.mended_source, known.id), "our")):
        try:
            test(other)
        except (Exception, SystemExit) as error:
            told = f"{type(error).__name__}: {error}".removesuffix(": ")
            raise Trouble(f"{start}{what} mended program does not pass it ({told}).") from error
    try:
        test(loaded(known.source, known.id))
    except AssertionError:
        return
    except (Exception, SystemExit) as error:
        raise Trouble(
            f"{start}on the wrong program it stops with {type(error).__name__}, not by an assert."
        ) from error
    raise Trouble(f"{start}it passes on the wrong program too, so it would not have found it.")


def main() -> None:
    """Answer one order on standard input; what the program prints is no part of the answer."""
    order = json.load(sys.stdin)
    with contextlib.redirect_stdout(io.StringIO()):
        status, lines = tried(lab(order["lab"]), order["source"])
    json.dump({"status": status, "lines": lines}, sys.stdout, allow_nan=False)


if __name__ == "__main__":
    main()
