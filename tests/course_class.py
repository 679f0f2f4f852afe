"""A class of synthetic students: notebooks that are right, wrong, and broken in every way.

python -m tests.course_class             50 of them, graded: time, and what was not as expected
python -m tests.course_class --count 8 --folder DIR    keep the notebooks
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

from qnn_ref.course.editions import STUB, of_student, read_cells
from qnn_ref.course.grade import grade, statistics, write_results
from qnn_ref.course.isolation import descendants
from qnn_ref.course.solving import find_notebook

ROOT = Path(__file__).resolve().parents[1]

RIGHT = "return dy * (np.abs(x) <= 1)"
SLEEPER = "subprocess.Popen(['sleep', '600'], start_new_session=True)"

ANSWERS = {
    # what stands in the cell of 1.2: (body, status, known mistake or kind of fault)
    "right": (RIGHT, "passed", ""),
    "right by where": ("return np.where(np.abs(x) <= 1, dy, np.zeros_like(dy))", "passed", ""),
    "strict": ("return dy * (np.abs(x) < 1)", "failed", "strict"),
    "no mask": ("return dy + 0", "failed", "no mask"),
    "mask of dy": ("return dy * (np.abs(dy) <= 1)", "failed", "mask of dy"),
    "another": ("return dy * 2", "failed", ""),
    "stub": (STUB, "not written", ""),
    "dots": ("...", "not written", ""),
    "none": ("dy * 1", "failed", "none"),
    "list": ("return (dy * (np.abs(x) <= 1)).tolist()", "failed", "type"),
    "shape": ("return (dy * (np.abs(x) <= 1)).ravel()[:1]", "failed", "shape"),
    "changes": ("dy *= np.abs(x) <= 1\nreturn dy", "failed", "changes"),
    "raises": ("return dy[999999]", "error", "raises"),
    "recursion": ("return straight_through(dy, x)", "error", "raises"),
    "name": ("return dy * maske(x)", "error", "raises"),
    "syntax": ("return dy * (np.abs(x <= 1)", "error", ""),
    "loop": ("while True: pass", "too slow", "slow"),
    "catches": (
        "while True:\n    try:\n        while True: pass\n    except BaseException: pass",
        "too slow",
        "slow",
    ),
    "holds the lock": ("import re\nre.match('(a*)*b', 'a' * 60)\nreturn dy", "too slow", "slow"),
    "exit": ("exit()", "error", "exit"),
    "hard exit": ("import os\nos._exit(0)", "error", "exit"),
    "kills itself": ("import os\nos.kill(os.getpid(), 9)", "error", "exit"),
    "processes": (f"import subprocess\n{SLEEPER}\n{RIGHT}", "passed", ""),
    "forks": (f"import os\nif not seen: seen.append(os.fork())\n{RIGHT}", "passed", ""),
    "files": ("open('mine.txt', 'w').write('x' * 1000)\n" + RIGHT, "passed", ""),
    "prints": ("print('x' * 100000)\n" + RIGHT, "passed", ""),
    "numpy": ("np.abs = np.sin\nreturn dy", "failed", "replaces"),
    "state": ("seen.append(1)\nreturn dy * (np.abs(x) <= 1) * (len(seen) < 40)", "failed", ""),
    "memory": ("return np.ones(10**12)", "error", "raises"),
    "by heart": ("return dy * float(x.flat[0] != 2.0)", "failed", ""),
}


def notebook(body: str | None, chapter: str = "01", id: str = "1.2", solved: bool = True) -> dict:
    """A student's notebook in JSON: this body in one cell, the solutions in the others."""
    cells = []
    for cell in read_cells(find_notebook(chapter, ROOT, ".py")):
        source = cell.source if solved else of_student(cell).source
        if cell.exercise == id and body is not None:
            stub = of_student(cell).source
            lines = [line.replace(STUB, body.replace("\n", "\n    ")) for line in stub.splitlines()]
            source = "\n".join(lines)
            if "seen" in body:
                source = f"seen = []\n{source}"
        record = {"cell_type": cell.kind, "metadata": {"tags": list(cell.tags)}, "source": source}
        if cell.kind == "code":
            record |= {"outputs": [], "execution_count": None}
        cells.append(record)
    return {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}


def fill(folder: Path, names: list[str]) -> None:
    """Write a folder a student; "cut" and "empty" are no notebooks at all."""
    for number, name in enumerate(names):
        place = folder / f"{number:02d} {name}"
        place.mkdir(parents=True)
        body = ANSWERS[name][0] if name in ANSWERS else None
        text = json.dumps(notebook(body))
        if name == "cut":
            text = text[: len(text) // 2]
        if name == "empty":
            text = ""
        (place / "01_one_bit.ipynb").write_text(text, encoding="utf-8")


def surprises(results: dict) -> list[str]:
    """What was not judged as expected."""
    found = []
    for entry in results["notebooks"]:
        name = entry["student"].partition(" ")[2]
        row = entry["exercises"]["1.2"]
        others = {r["status"] for i, r in entry["exercises"].items() if i != "1.2"}
        if name in ("cut", "empty"):
            expected, kind, rest = "error", "", {"error"}
        else:
            (_, expected, kind), rest = ANSWERS[name], {"passed"}
        known = row.get("wrong", ""), row.get("fault", "")
        if row["status"] != expected or (kind and kind not in known) or others != rest:
            found.append(f"{entry['student']}: {row['status']} {known}, others {others}: {row}")
    return found


def names_of(count: int) -> list[str]:
    """Who is in a class of this size: every kind, then right and wrong ones again."""
    every = [*ANSWERS, "cut", "empty"]
    return [every[i] if i < len(every) else every[i % 7] for i in range(count)]


def main() -> int:
    """Make a class, grade it, and say what was not as expected."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=50)
    parser.add_argument("--folder", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.folder or Path(temporary)
        fill(folder, names_of(args.count))
        before, started = set(descendants(1)), time.monotonic()
        results = grade(folder)
        seconds = time.monotonic() - started
        write_results(folder / "grades.csv", results)
        left = [p for p in set(descendants(1)) - before if is_sleeper(p)]
        found = surprises(results)
        for row in statistics([(n["student"], n["exercises"]) for n in results["notebooks"]]):
            print(row["id"], row["passed"], row["failed"], row["not_written"], row["mistakes"])
        print(f"{args.count} notebooks in {seconds:.0f} s, {len(found)} not as expected,", end=" ")
        print(f"{len(left)} processes left")
        print(*found, sep="\n")
    return int(bool(found or left))


def is_sleeper(process: int) -> bool:
    """Whether a process is one that "processes" starts."""
    try:
        return b"sleep" in Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:
        return False


if __name__ == "__main__":
    sys.exit(main())
