"""What was tried, passed and asked: in memory, and as `course-results.json` beside the notebook."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import qnn_ref
from qnn_ref.checks import instance
from qnn_ref.course.exercise import Verdict
from qnn_ref.files import FileError, atomic_write, is_version, open_regular, strict_json

NAME = "course-results.json"
PLACE = "QNN_REF_COURSE_RESULTS"
"""Environment variable: another file, or "none"."""
VERSION = 1
LARGEST = 8 << 20
MOST = 1_000_000
"""Tries, hints or points of an exercise."""


class Results:
    """Records by id, of exercises and of questions; each is written at once, where there is a file.

    Parameters
    ----------
    path : path or None
        None keeps them in memory only.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.exercises: dict[str, dict[str, Any]] = {}
        self.questions: dict[str, dict[str, Any]] = {}
        self.trouble = ""

    def read(self) -> None:
        """Take what the file says: another notebook in this folder may have written to it."""
        if self.path is None or not self.path.exists():
            return
        try:
            self.exercises, self.questions = read_results(self.path)
        except FileError as error:
            self.trouble = f"(not stored: {error})"

    def write(self) -> None:
        """Write the file; what goes wrong is kept as `trouble` and stops nothing."""
        if self.path is None or self.trouble:
            return
        record = {
            "version": VERSION,
            "qnn_ref": qnn_ref.__version__,
            "exercises": self.exercises,
            "questions": self.questions,
        }
        try:
            with atomic_write(self.path) as file:
                file.write(f"{json.dumps(record, indent=1, allow_nan=False)}\n".encode())
        except (FileError, ValueError) as error:
            self.trouble = f"(not stored: {error})"

    def record_of(self, id: str) -> dict[str, Any]:
        """What is known of an exercise; empty before the first try."""
        return self.exercises.get(id, {})

    def keep(self, verdict: Verdict, points: int) -> None:
        """Store a verdict."""
        self.read()
        old = self.record_of(verdict.id)
        found = {k: v for k, v in verdict.to_json().items() if k not in ("id", "message", "hint")}
        again = verdict.sha256 and verdict.sha256 == old.get("source_sha256")
        tried = verdict.status != "not written" and not again  # to run a cell twice is no try
        self.exercises[verdict.id] = found | {
            "hints": max(old.get("hints", 0), verdict.hint),
            "tries": old.get("tries", 0) + tried,
            "points": points if verdict.passed else 0,
            "of": points,
        }
        self.write()

    def hear(self, id: str, hint: int) -> None:
        """Store that a hint was heard."""
        self.read()
        self.exercises[id] = {"status": "not written", "tries": 0} | self.record_of(id)
        self.exercises[id]["hints"] = hint
        self.write()

    def answer(self, id: str, right: bool) -> None:
        """Store an answer to a question: the first one counts."""
        self.read()
        old = self.questions.get(id, {})
        self.questions[id] = {
            "right": right,
            "first": old.get("first", right),
            "tries": old.get("tries", 0) + 1,
        }
        self.write()


def read_results(path: Path) -> tuple[dict[str, dict[str, Any]], dict[str, dict[str, Any]]]:
    """Read a file of results.

    Parameters
    ----------
    path : path

    Returns
    -------
    exercises, questions : dict of dict
        By id.

    Raises
    ------
    FileError
        If it is none.
    """
    with open_regular(path) as file:
        text = file.read(LARGEST + 1)
    try:
        if len(text) > LARGEST:
            raise ValueError("it is too long")
        found = strict_json(text)
        if not isinstance(found, dict) or not is_version(found.get("version"), VERSION):
            raise ValueError(f"its version is not 1 to {VERSION}")
        parts = [instance(name, found.get(name, {}), dict) for name in ("exercises", "questions")]
        for part in parts:
            for record in part.values():
                _check_record(record)
    except (ValueError, TypeError) as error:
        raise FileError(f"{path}: no results of the course, or damaged ones: {error}") from error
    return parts[0], parts[1]


def _check_record(record: Any) -> None:
    instance("record", record, dict)
    for name in ("hints", "tries", "points", "of"):
        count = record.get(name, 0)
        if type(count) is not int or not 0 <= count <= MOST:
            raise ValueError(f"{name}: expected a whole number from 0 to {MOST}, got {count!r:.40}")


def place() -> Path | None:
    """The file to write to: in a notebook the one beside it, elsewhere none unless it is named."""
    named = os.environ.get(PLACE)
    if named:
        return None if named == "none" else Path(named)
    return Path(NAME) if "ipykernel" in sys.modules else None
