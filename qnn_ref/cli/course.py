"""`qnn-ref course`: exercises, hints and verdicts; a class's notebooks."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from qnn_ref.cli.common import answer, check_output, table
from qnn_ref.cli.parser import WrongUse
from qnn_ref.course import grade as grading
from qnn_ref.course import registry
from qnn_ref.course.check import judge
from qnn_ref.course.exercise import Verdict
from qnn_ref.course.labs import LABS, Lab, check_lab, check_source, lab
from qnn_ref.course.solving import find_notebook, verdicts_of

CHECKOUT = Path(__file__).resolve().parents[2]
"""Where the sources of the notebooks are, if this is no installed package."""


def run(args: argparse.Namespace) -> int:
    """Do what the action says."""
    if args.output is not None:
        check_output(args.output)
    return ACTIONS[args.action](args)


def show_list(args: argparse.Namespace) -> int:
    """List the exercises."""
    found = [e for c in _chapters(args.target) for e in registry.exercises_of(c)]
    rows = [
        {
            "id": e.id,
            "title": e.title,
            "section": e.section,
            "points": e.points,
            "notebook": registry.chapter_of(e.id),
            "task": e.task,
        }
        for e in found
    ]
    answer(
        args,
        {"exercises": rows},
        "\n".join(table([(e.id, e.title, e.section, e.task) for e in found])),
    )
    return 0


def show_hint(args: argparse.Namespace) -> int:
    """Print the hints to an exercise."""
    if args.target is None:
        raise WrongUse("ID: `qnn-ref course hint` needs the id of an exercise, such as 1.2")
    labs = _labs(args.target)
    exercise = labs[0] if labs else registry.exercise(args.target)
    lines = [f"{number}. {text}" for number, text in enumerate(exercise.hints, 1)]
    answer(args, {"id": exercise.id, "hints": list(exercise.hints)}, "\n".join(lines))
    return 0


def check(args: argparse.Namespace) -> int:
    """Judge the exercises of notebooks; the answer is no if one did not pass."""
    if args.target is None and not args.all:
        raise WrongUse("NN: `qnn-ref course check` needs the number of a notebook, or --all")
    labs = _labs(args.target)
    chapters = [] if labs else _chapters(args.target)
    if args.wrong:
        return check_mistakes(args, chapters)
    with contextlib.redirect_stdout(sys.stderr):  # what a cell prints is no part of the answer
        verdicts = [*_verdicts(args, chapters), *(_lab_verdict(args, each) for each in labs)]
    passed = sum(v.passed for v in verdicts)
    result = {
        "passed": passed,
        "failed": len(verdicts) - passed,
        "exercises": [v.to_json() for v in verdicts],
    }
    lines = [str(v) for v in verdicts]
    answer(args, result, "\n".join([*lines, f"{passed} of {len(verdicts)} passed"]))
    return 0 if passed == len(verdicts) else 1


def check_mistakes(args: argparse.Namespace, chapters: list[str]) -> int:
    """Hand in every known mistake; the answer is no if one is not called by its name."""
    rows: list[dict[str, Any]] = []
    for exercise in (e for c in chapters for e in registry.exercises_of(c)):
        for wrong in exercise.wrong:
            verdict = judge(exercise, wrong.answer, args.seed or 0)
            named = not verdict.passed and verdict.wrong == wrong.name
            named = named and wrong.says in str(verdict)
            rows.append(verdict.to_json() | {"mistake": wrong.name, "named": named})
    count = sum(row["named"] for row in rows)
    result = {"named": count, "not_named": len(rows) - count, "mistakes": rows}
    lines = [f"{row['message']}" for row in rows]
    answer(args, result, "\n".join([*lines, f"{count} of {len(rows)} known mistakes are named"]))
    return 0 if count == len(rows) else 1


def _verdicts(args: argparse.Namespace, chapters: list[str]) -> Iterator[Verdict]:
    for chapter in chapters:
        if args.solution is not None:
            path = Path(args.solution)
        elif args.solutions:
            if not (CHECKOUT / "notebooks").is_dir():
                raise ValueError("--solutions: they come with a checkout, not with the package")
            path = find_notebook(chapter, CHECKOUT, ".py")
        else:
            path = find_notebook(chapter, Path())
        yield from verdicts_of(path, [e.id for e in registry.exercises_of(chapter)], args.seed or 0)


def _labs(target: str | None) -> list[Lab]:
    """The labs that are meant by "labs" or "lab1"; none by the number of a notebook."""
    if target is None or not target.startswith("lab"):
        return []
    return list(LABS) if target == "labs" else [lab(target)]


def _lab_verdict(args: argparse.Namespace, known: Lab) -> Verdict:
    if args.solutions:
        return check_source(known, known.solution)
    places = [Path(folder, f"{known.id}.py") for folder in ("", "labs", "notebooks/labs")]
    path = args.solution or next((place for place in places if place.is_file()), None)
    if path is None:
        raise ValueError(f"{known.id}: expected {' or '.join(map(str, places))}, found none")
    return check_lab(known.id, path)


def _chapters(target: str | None) -> list[str]:
    known = list(registry.chapter_names())
    if target is None:
        return known
    chapter = f"{target:0>2}"
    if chapter not in known:
        raise ValueError(f"NN: expected one of {', '.join(known)}, got {target!r}")
    return [chapter]


def grade_class(args: argparse.Namespace) -> int:
    """Judge the notebooks of a class and write CSV and JSON; the answer is no if one failed."""
    folder = _folder(args)
    output = check_output(args.output or str(folder / "grades.csv"))
    if output.suffix == ".json":
        raise WrongUse(f"--output: {output}: expected the name of a CSV; JSON is written beside it")
    check_output(str(output.with_suffix(".json")))
    points = grading.read_points(Path(args.points)) if args.points else {}
    seed = grading.SEED if args.seed is None else args.seed
    results = grading.grade(
        folder, seed, points, args.jobs, args.seconds, lambda line: sys.stderr.write(f"{line}\n")
    )
    files = grading.write_results(output, results)
    rows = [row for notebook in results["notebooks"] for row in notebook["exercises"].values()]
    passed = sum(row["status"] == "passed" for row in rows)
    failed = len(rows) - passed + sum(not n["exercises"] for n in results["notebooks"])
    summary = {"passed": passed, "failed": failed, "files": [str(file) for file in files]}
    lines = f"{passed} of {len(rows)} exercises in {len(results['notebooks'])} notebooks passed"
    names = results["skipped"]
    if names:
        more = f" and {len(names) - 5} more" if len(names) > 5 else ""
        lines += f"\nno notebooks, not graded: {', '.join(names[:5])}{more}"
    answer(args, summary | results, "\n".join([lines, *(f"wrote {file}" for file in files)]))
    return 0 if not failed else 1


def show_statistics(args: argparse.Namespace) -> int:
    """Count the known mistakes of a class."""
    graded = Path(args.target or "").suffix == ".json"
    place = Path(args.target).expanduser() if graded else _folder(args)
    records = grading.read_class(place, lambda line: sys.stderr.write(f"{line}\n"))
    found = grading.statistics(records)
    lines = []
    for row in found:
        counts = (
            f"{row['passed']} passed, {row['failed']} not yet, {row['not_written']} not written"
        )
        lines.append(f"{row['id']} {row['title']}: {counts}")
        for mistake in row["mistakes"]:
            near = f" and {mistake['close']} close to it" if mistake["close"] else ""
            lines.append(f"  {mistake['count']} {mistake['name']}{near}: {mistake['says']}")
        if row["unknown"]:
            lines.append(f"  {row['unknown']} of another kind")
    answer(args, {"exercises": found}, "\n".join(lines))
    return 0


def _folder(args: argparse.Namespace) -> Path:
    if args.target is None:
        raise WrongUse(f"DIR: `qnn-ref course {args.action}` needs a folder of notebooks")
    folder = Path(args.target).expanduser()
    if not folder.is_dir():
        raise ValueError(f"DIR: expected a folder of notebooks, got {args.target!r}")
    return folder


ACTIONS = {
    "list": show_list,
    "hint": show_hint,
    "check": check,
    "grade": grade_class,
    "statistics": show_statistics,
}
