"""One notebook, judged so that nothing it does stops the judge: a process for each exercise.

`python -m qnn_ref.course.isolation` reads questions, lines of JSON ([notebook, seed, seconds]), and
prints a line of JSON for each. It runs nothing of a notebook itself: it makes itself the parent
of orphans (Linux), forks a process for each exercise, with limits of time, memory and file size, in
a folder of its own, and kills what is left of it before the next one. An answer may loop, catch
interrupts, hold the interpreter lock, end its process or start others; the verdicts on the other
exercises stay.
"""

from __future__ import annotations

import ast
import contextlib
import ctypes
import json
import os
import resource
import select
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from qnn_ref.course import registry
from qnn_ref.course.check import cases_of
from qnn_ref.course.editions import Cell, read_cells
from qnn_ref.course.exercise import Exercise, Verdict
from qnn_ref.course.solving import answers_of, verdict_on, without_magics
from qnn_ref.course.student import agrees
from qnn_ref.files import FileError

GRACE = 3.0
"""Seconds beyond those of the exercise, for the cell itself and the search for a small case; not
more than those of the exercise."""
MEMORY = 8 << 30
FILE_SIZE = 64 << 20
LARGEST = 1 << 20
"""Bytes of a verdict."""
SUBREAPER, DIE_WITH_PARENT = 36, 1  # PR_SET_CHILD_SUBREAPER, PR_SET_PDEATHSIG of <linux/prctl.h>


def judged(path: Path, seed: int, seconds: float | None = None) -> dict[str, Any]:
    """Judge the exercises of a notebook, and the answers to its questions.

    Parameters
    ----------
    path : path
    seed : int
        Of the drawn cases.
    seconds : float, optional
        For an exercise, instead of its own.

    Returns
    -------
    dict
        "exercises": verdicts by id; "questions": right or not by id; "trouble": why there are none.
    """
    named = path.name[:2] if path.name[:2] in registry.chapter_names() else None
    try:
        cells = read_cells(path)
    except FileError as error:
        chapters, words = [named] if named else [], str(error).partition(": ")[2] or str(error)
        return {"exercises": _all_failed(chapters, words), "questions": {}, "trouble": words}
    chapters = sorted(_chapters(cells) | ({named} if named else set()))
    found = {}
    for exercise in (e for c in chapters for e in registry.exercises_of(c)):
        exercise = replace(exercise, seconds=seconds or exercise.seconds)
        cases_of(exercise, seed)  # here, so that no child has to
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            found[exercise.id] = apart(exercise, cells, path.name, seed, folder)
    trouble = "" if chapters else "no exercise of the course in it"
    return {"exercises": found, "questions": _questions(cells), "trouble": trouble}


def _chapters(cells: Sequence[Cell]) -> set[str]:
    ids = {cell.exercise for cell in cells if cell.exercise}
    return {registry.chapter_of(id) for id in ids} & set(registry.chapter_names())


def _all_failed(chapters: Sequence[str], words: str) -> dict[str, Any]:
    exercises = [e for c in chapters for e in registry.exercises_of(c)]
    return {e.id: Verdict(e.id, e.title, "error", (words,)).to_json() for e in exercises}


def _questions(cells: Sequence[Cell]) -> dict[str, bool]:
    """Answers that stand in the cells as plain values; dots are none."""
    found = {}
    for cell in (cell for cell in cells if cell.kind == "code" and "course.answer" in cell.source):
        for call in _answers(cell.source):
            with contextlib.suppress(ValueError, TypeError, RecursionError, MemoryError):
                id, *values = (ast.literal_eval(argument) for argument in call.args)
                value = values[0] if len(values) == 1 else tuple(values)
                if value not in (Ellipsis, ()):
                    found[str(id)] = agrees(registry.question(str(id)), value)
    return found


def _answers(source: str) -> list[ast.Call]:
    try:
        nodes = list(ast.walk(ast.parse(without_magics(source))))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    calls = [node for node in nodes if isinstance(node, ast.Call)]
    return [call for call in calls if ast.unparse(call.func) == "course.answer"]


def apart(
    exercise: Exercise, cells: Sequence[Cell], name: str, seed: int, folder: str
) -> dict[str, Any]:
    """Judge one exercise in a process of its own.

    Parameters
    ----------
    exercise : Exercise
    cells : sequence of Cell
        Of the notebook.
    name : str
        Of the notebook.
    seed : int
    folder : path
        Where the process works.

    Returns
    -------
    dict
        The verdict in JSON.
    """
    limit = exercise.seconds + min(GRACE, exercise.seconds)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reader)
            _in_child(exercise, cells, name, seed, folder, writer)
        finally:
            os._exit(0)
    os.close(writer)
    try:
        text, in_time = _read(reader, time.monotonic() + limit)
    finally:
        os.close(reader)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    end_descendants()
    found = _first(text)
    if found.get("id") == exercise.id:
        return found
    if not in_time:
        says = f"It did not end within {limit:g} seconds and had to be stopped."
        return Verdict(exercise.id, exercise.title, "too slow", (says,), fault="slow").to_json()
    code = os.waitstatus_to_exitcode(status)
    how = f"by signal {-code}" if code < 0 and code != -signal.SIGKILL else "by itself"
    says = f"Its process ended {how} before there was a verdict."
    return Verdict(exercise.id, exercise.title, "error", (says,), fault="exit").to_json()


def _in_child(
    exercise: Exercise, cells: Sequence[Cell], name: str, seed: int, folder: str, writer: int
) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.setsid()
    _prctl(DIE_WITH_PARENT, signal.SIGKILL)
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)
    os.chdir(folder)
    os.environ["HOME"] = folder
    seconds = int(exercise.seconds + GRACE) + 1
    limits = {resource.RLIMIT_CPU: seconds, resource.RLIMIT_CORE: 0}
    limits |= {resource.RLIMIT_AS: MEMORY, resource.RLIMIT_FSIZE: FILE_SIZE}
    for kind, most in limits.items():
        hard = resource.getrlimit(kind)[1]
        least = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (least, hard))
    for _, answer in answers_of(cells, name, [exercise.id]):
        text = json.dumps(verdict_on(exercise, answer, seed).to_json(), allow_nan=False)
        view = memoryview(text.encode("utf-8", "replace"))
        while view:
            view = view[os.write(writer, view) :]


def _read(reader: int, deadline: float) -> tuple[bytes, bool]:
    """What comes until it is a verdict or the other end is closed, and whether that was in time.

    A child of the answer may keep the other end open for ever.
    """
    text = b""
    while True:
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([reader], [], [], left)[0]:
            return text, bool(_first(text))
        part = os.read(reader, 65536)
        text += part
        if not part or len(text) > LARGEST or _first(text):
            return text, True


def _first(text: bytes) -> dict[str, Any]:
    """The first verdict in what came: an answer that forks sends two. Empty if there is none."""
    try:
        found, _ = json.JSONDecoder().raw_decode(text.decode("utf-8"))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def become_parent_of_orphans() -> None:
    """Let processes whose parent ends become children of this one, where the system can."""
    _prctl(SUBREAPER, 1)


def _prctl(what: int, value: int) -> None:
    with contextlib.suppress(OSError, AttributeError):  # Linux has it
        ctypes.CDLL(None).prctl(what, value, 0, 0, 0)


def end_descendants() -> None:
    """Kill the processes below this one, until there is none, and take their exit codes."""
    for _ in range(100):
        below = list(descendants(os.getpid()))
        for process in below:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(process, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        if not below:
            return
        time.sleep(0.01)


def descendants(process: int) -> Iterator[int]:
    """Numbers of the processes below one, as /proc shows them; none where there is no /proc.

    Parameters
    ----------
    process : int

    Yields
    ------
    int
    """
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            # The name in brackets may hold anything; the parent is the second word after it.
            words = (folder / "stat").read_text("utf-8", "replace").rpartition(")")[2].split()
            children.setdefault(int(words[1]), []).append(int(folder.name))
    waiting = [process]
    while waiting:
        below = children.pop(waiting.pop(), [])
        waiting += below
        yield from below


def _leave(number: int, frame: object) -> None:
    """End with all that answers have started: who asked has gone."""
    end_descendants()
    os._exit(1)


def main() -> None:
    """Answer questions until there is none."""
    become_parent_of_orphans()
    signal.signal(signal.SIGTERM, _leave)
    _prctl(DIE_WITH_PARENT, signal.SIGTERM)
    for line in sys.stdin:
        path, seed, seconds = json.loads(line)
        sys.stdout.write(json.dumps(judged(Path(path), seed, seconds), allow_nan=False) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
