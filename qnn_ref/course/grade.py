"""A class's notebooks: fresh processes, results as CSV and JSON, its known mistakes."""

from __future__ import annotations

import csv
import io
import json
import os
import queue
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import qnn_ref
from qnn_ref.checks import instance
from qnn_ref.course import registry
from qnn_ref.course.exercise import Verdict
from qnn_ref.course.judges import Gone, Judge
from qnn_ref.course.results import LARGEST, NAME, read_results
from qnn_ref.files import FileError, atomic_write, is_version, open_regular, strict_json

VERSION = 1
COLUMNS = (
    *("student", "notebook", "exercise", "status", "points", "of", "wrong", "close", "fault"),
    *("cases", "tries", "hints", "case", "source_sha256"),
)
ENDING = ".ipynb"
SEED = 1
"""Another one than that of the notebooks."""

Row = dict[str, Any]


def submissions(folder: Path) -> Iterator[tuple[str, Path]]:
    """The notebooks of a class: `DIR/ada/01_one_bit.ipynb`, at any depth, or `DIR/ada.ipynb`.

    Parameters
    ----------
    folder : path

    Yields
    ------
    student : str
        Folders below `folder`, or the file's name where it lies in `folder` itself.
    path : Path
    """
    if not folder.is_dir():
        raise ValueError(f"DIR: expected a folder of notebooks, got {folder}")
    for path in _visible(folder):
        if path.suffix.lower() == ENDING:
            inside = path.relative_to(folder)
            yield inside.parent.as_posix() if inside.parent.parts else path.stem, path


def skipped(folder: Path) -> list[str]:
    """Files of a class that are not graded: labs, exports, other endings.

    Parameters
    ----------
    folder : path

    Returns
    -------
    list of str
        Below `folder`, without results and hidden files.
    """
    ours = {NAME, "grades.csv", "grades.json"}
    return [
        path.relative_to(folder).as_posix()
        for path in _visible(folder)
        if path.suffix.lower() != ENDING and path.is_file() and path.name not in ours
    ]


def _visible(folder: Path) -> list[Path]:
    found = sorted(folder.rglob("*"))
    return [p for p in found if not any(x.startswith(".") for x in p.relative_to(folder).parts)]


def grade(
    folder: Path,
    seed: int = SEED,
    points: Mapping[str, int] | None = None,
    jobs: int | None = None,
    seconds: float | None = None,
    tell: Callable[[str], object] = lambda line: None,
) -> dict[str, Any]:
    """Judge all notebooks below a folder; nothing in it is changed.

    Parameters
    ----------
    folder : path
    seed : int
        Of the drawn cases.
    points : mapping, optional
        Of exercises by id, instead of the course's.
    jobs : int, optional
        Processes at a time; one a core by default.
    seconds : float, optional
        For each exercise, instead of its own.
    tell : function
        Hears a line a notebook.

    Returns
    -------
    dict
        As it is stored in JSON.
    """
    if not hasattr(os, "fork"):
        raise ValueError("grade: needs a system with fork, Linux or macOS, to stop what hangs")
    found, notebooks = list(submissions(folder)), []
    if not found:
        raise ValueError(f"DIR: expected notebooks ({ENDING}) in {folder} or below, found none")
    jobs = jobs or os.cpu_count() or 1
    free = queue.SimpleQueue[Judge]()
    for _ in range(jobs):
        free.put(Judge())
    try:
        with ThreadPoolExecutor(jobs) as pool:
            records = pool.map(lambda one: _graded(free, one[1], seed, seconds), found)
            for (student, path), record in zip(found, records, strict=True):
                exercises = _counted(record["exercises"], points or {}, path.parent)
                passed = sum(row["status"] == "passed" for row in exercises.values())
                tell(f"{student}: {path.name}: {passed} of {len(exercises)} passed")
                head = {"student": student, "notebook": path.name}
                notebooks.append(head | record | {"exercises": exercises})
    finally:
        for _ in range(jobs):
            free.get().end()
    return {
        "version": VERSION,
        "qnn_ref": qnn_ref.__version__,
        "seed": seed,
        "notebooks": notebooks,
        "skipped": skipped(folder),
    }


def _graded(
    free: queue.SimpleQueue[Judge], path: Path, seed: int, seconds: float | None
) -> dict[str, Any]:
    """What a judge that is free says about a copy of a notebook."""
    judge = free.get()
    try:
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            copy = Path(folder) / path.name
            with open_regular(path) as file, atomic_write(copy) as out:
                out.write(file.read())
            return judge.ask(copy, seed, seconds)
    except (FileError, OSError, Gone) as error:
        trouble = str(error)
    finally:
        free.put(judge)
    ids = registry.exercises_of(path.name[:2]) if path.name[:2] in registry.chapter_names() else ()
    failed = {e.id: Verdict(e.id, e.title, "error", (trouble,)).to_json() for e in ids}
    return {"exercises": failed, "questions": {}, "trouble": trouble}


def _counted(
    exercises: Mapping[str, Row], points: Mapping[str, int], folder: Path
) -> dict[str, Row]:
    """Verdicts with their points, and what the student's own results say of tries and hints."""
    try:
        own = read_results(folder / NAME)[0]
    except FileError:
        own = {}
    found = {}
    for id, verdict in exercises.items():
        worth = points.get(id, registry.exercise(id).points)
        record = {k: v for k, v in verdict.items() if k not in ("id", "hint")}
        known = own.get(id, {})
        found[id] = record | {
            "points": worth if verdict["passed"] else 0,
            "of": worth,
            "tries": known.get("tries", 0),
            "hints": known.get("hints", 0),
        }
    return found


def table_of(results: Mapping[str, Any]) -> bytes:
    """The results as CSV, one line an exercise and student.

    Parameters
    ----------
    results : mapping
        As `grade` returns them.

    Returns
    -------
    bytes
    """
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, COLUMNS, restval="", extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for notebook in results["notebooks"]:
        head = {"student": notebook["student"], "notebook": notebook["notebook"]}
        for id, row in notebook["exercises"].items():
            writer.writerow({k: _plain(v) for k, v in (row | head | {"exercise": id}).items()})
        if not notebook["exercises"]:
            writer.writerow({k: _plain(v) for k, v in head.items()} | {"status": "error"})
    return text.getvalue().encode()


def _plain(value: Any) -> Any:
    """A text that no spreadsheet takes for a formula."""
    return f"'{value}" if isinstance(value, str) and value[:1] in set("=+-@\t\r") else value


def write_results(path: Path, results: Mapping[str, Any]) -> tuple[Path, Path]:
    """Write CSV and JSON, each whole or not at all.

    Parameters
    ----------
    path : path
        Of the CSV; the JSON lies beside it.
    results : mapping

    Returns
    -------
    tuple of Path
    """
    beside = path.with_suffix(".json")
    with atomic_write(beside) as file:
        file.write(f"{json.dumps(results, indent=1, allow_nan=False)}\n".encode())
    with atomic_write(path) as file:
        file.write(table_of(results))
    return path, beside


def read_points(path: Path) -> dict[str, int]:
    """Points of exercises from a file such as `{"1.2": 3}`.

    Parameters
    ----------
    path : path

    Returns
    -------
    dict of int
    """
    with open_regular(path) as file:
        text = file.read(LARGEST)
    try:
        found = strict_json(text)
        if not isinstance(found, dict):
            raise ValueError('expected an object such as {"1.2": 3}')
        for id, worth in found.items():
            registry.exercise(id)
            if type(worth) is not int or worth < 0:
                raise ValueError(f"{id}: expected a whole number of at least 0, got {worth!r:.40}")
    except ValueError as error:
        raise FileError(f"{path}: no table of points: {error}") from error
    return found


def read_class(
    place: Path, tell: Callable[[str], object] = lambda line: None
) -> list[tuple[str, Mapping[str, Row]]]:
    """What is known of a class: the JSON that `grade` wrote, else each student's own results.

    Parameters
    ----------
    place : path
        That JSON, or a folder with `grades.json` or the students' folders in it.
    tell : function
        Hears of what had to be left out.

    Returns
    -------
    list of (student, records by exercise)

    Raises
    ------
    FileError
        If there is neither, or nothing but a damaged one.
    """
    graded = place / "grades.json" if place.is_dir() else place
    if graded.exists() or not place.is_dir():
        with open_regular(graded) as file:
            text = file.read()
        try:
            found = strict_json(text)
            if not isinstance(found, dict) or not is_version(found.get("version"), VERSION):
                raise ValueError(f"its version is not 1 to {VERSION}")
            for id, row in (item for n in found["notebooks"] for item in n["exercises"].items()):
                instance(id, row, dict)
            return [(str(n["student"]), dict(n["exercises"])) for n in found["notebooks"]]
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise FileError(f"{graded}: no grades, or damaged ones: {error}") from error
    own = sorted(place.rglob(NAME))
    if not own:
        raise FileError(f"{place}: neither grades.json, as `course grade` writes it, nor {NAME}")
    known = list[tuple[str, Mapping[str, Row]]]()
    for path in own:
        try:
            known.append((path.parent.relative_to(place).as_posix(), read_results(path)[0]))
        except FileError as error:  # one student's file stops no class
            if len(own) == 1:
                raise
            tell(f"left out: {error}")
    return known


def statistics(records: Sequence[tuple[str, Mapping[str, Row]]]) -> list[Row]:
    """How often each exercise was passed, and which known mistakes were made.

    Parameters
    ----------
    records : sequence of (student, records by exercise)

    Returns
    -------
    list of dict
        By exercise: "passed", "failed", "not_written", "mistakes" with name, count and sentence.
    """
    found = []
    ids = [e for c in registry.chapter_names() for e in registry.exercises_of(c)]
    for exercise in ids:
        rows = [record[exercise.id] for _, record in records if exercise.id in record]
        if not rows:
            continue
        status = Counter(str(row.get("status")) for row in rows)
        made = Counter(str(row["wrong"]) for row in rows if row.get("wrong"))
        near = Counter(str(row["close"]) for row in rows if row.get("close"))
        says = {wrong.name: wrong.says for wrong in exercise.wrong}
        mistakes = [
            {"name": name, "count": made[name], "close": near[name], "says": says[name]}
            for name in sorted(says, key=lambda name: (-made[name], -near[name]))
            if made[name] or near[name]
        ]
        done, empty = status["passed"], status["not written"]
        found.append(
            {
                "id": exercise.id,
                "title": exercise.title,
                "passed": done,
                "failed": len(rows) - done - empty,
                "not_written": empty,
                "unknown": len(rows) - done - empty - sum(made.values()) - sum(near.values()),
                "mistakes": mistakes,
            }
        )
    return found
