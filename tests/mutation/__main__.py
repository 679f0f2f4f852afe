"""Plants small faults and looks whether a test finds each: `make mutants ARGS="--sample 40"`.

    python -m tests.mutation --file qnn_ref/losses.py     every fault of a file
    python -m tests.mutation --sample 200 --seed 1        some of all files, evenly
    python -m tests.mutation --resume                     without those that have a verdict
    python -m tests.mutation --list survivors             what is known so far; runs nothing

A fault is planted in a copy of the repository, never here. The tests that are nearest to the file
run first, with `NUMBA_DISABLE_JIT=1`; what survives meets them compiled, and then, without
`--nearest`, all tests of the room. Kernels come from a copy of the cache that the sound package
made, so that a mutated one cannot be taken for it, nor it for a mutated one.

Verdicts are kept in `runs/mutants.jsonl`, a line each. A file that has changed is another file. A
fault that changes no behaviour stands in `tests/mutation/equivalent.md`, with the reason.
"""

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from tests.mutation.changes import Mutant, mutants
from tests.mutation.nearest import nearest_tests

ROOT = Path(__file__).resolve().parents[2]
VERDICTS = ROOT / "runs" / "mutants.jsonl"
EQUIVALENT = Path(__file__).with_name("equivalent.md")
ROOMS = (
    "grid.py",
    "quantizers",
    "products",
    "losses.py",
    "optimizers",
    "shifts.py",
    "layers",
    "bits",
)
ROOMS += ("packed", "checkpoints.py", "training.py")
LEFT = shutil.ignore_patterns(".*", "runs", "mnist", "__pycache__", "results")
LONGEST = 600.0  # seconds that the sound package may take


def files() -> list[str]:
    """All files that faults are planted in."""
    package = ROOT / "qnn_ref"
    found = [
        p for room in ROOMS for p in sorted((package / room).rglob("*.py")) or [package / room]
    ]
    return [p.relative_to(ROOT).as_posix() for p in found if p.name != "__init__.py"]


def equivalents() -> set[tuple[str, ...]]:
    """(file, function, before, after) of the faults that are none, from the table."""
    rows = [row.split("|")[1:-1] for row in EQUIVALENT.read_text(encoding="utf-8").splitlines()]
    cells = [[cell.strip().strip("`") for cell in row] for row in rows]
    return {tuple(row[:4]) for row in cells if len(row) == 5 and row[0].startswith("qnn_ref/")}


def identity(mutant: Mutant) -> tuple[str, ...]:
    """What names a fault in the table, wherever it moves within its function."""
    code = (part.replace("|", "/") for part in (mutant.before, mutant.after))
    return mutant.file, mutant.where, *code


class UnsoundError(Exception):
    """The tests fail without any fault too, so they say nothing about one."""


class Workshop:
    """A copy of the repository in which faults are planted, one at a time."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="mutants-"))
        self.copy, self.cache = self.folder / "copy", self.folder / "cache"
        shutil.copytree(ROOT, self.copy, ignore=LEFT)
        (self.copy / "data" / "mnist").symlink_to(ROOT / "data" / "mnist")
        self.limits: dict[Any, float] = {}

    def close(self) -> None:
        """Throw the copy away."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def fails(self, mutant: Mutant, tests: list[str], compiled: bool) -> str | None:
        """What found the fault: the first test that fails, or "time"; None if nothing did."""
        stage = (*tests, compiled)
        if stage not in self.limits:
            start = time.perf_counter()
            found = self._run(tests, compiled, self.cache, LONGEST)
            if found is not None:
                raise UnsoundError(f"without any fault: {found}")
            self.limits[stage] = max(60.0, 5 * (time.perf_counter() - start))
        file = self.copy / mutant.file
        sound = file.read_text(encoding="utf-8")
        cache = self.folder / "mutated"
        try:
            file.write_text(mutant.planted(sound), encoding="utf-8")
            if compiled and self.cache.exists():
                shutil.copytree(self.cache, cache)
            return self._run(tests, compiled, cache, self.limits[stage])
        finally:
            file.write_text(sound, encoding="utf-8")
            shutil.rmtree(cache, ignore_errors=True)

    def _run(self, tests: list[str], compiled: bool, cache: Path, limit: float) -> str | None:
        changed = {
            "PYTHONPATH": str(self.copy),
            "PYTHONDONTWRITEBYTECODE": "1",
            "NUMBA_CACHE_DIR": str(cache),
            "NUMBA_DISABLE_JIT": str(int(not compiled)),
            "HYPOTHESIS_PROFILE": "ci",
        }
        command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests]
        process = subprocess.Popen(
            [*command, "--no-header", "--tb=no", "-rfE"],
            cwd=self.copy,
            env=os.environ | changed,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            output, _ = process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # an endless loop, with all that it started
            process.communicate()
            return "time"
        if process.returncode == 0:
            return None
        named = [line for line in output.splitlines() if line.startswith(("FAILED", "ERROR"))]
        return named[0][:200] if named else f"exit code {process.returncode}"


def judged(workshop: Workshop, mutant: Mutant, nearest_only: bool) -> dict[str, Any]:
    """The verdict of the tests on one fault."""
    near, far = nearest_tests(workshop.copy, mutant.file)
    stages = {"plain": (near, False), "compiled": (near, True)}
    if not nearest_only and far:
        stages["room"] = (far, True)
    start, stage, found = time.perf_counter(), "", None
    while stages and not found:
        stage = next(iter(stages))
        found = workshop.fails(mutant, *stages.pop(stage))
    return {
        "verdict": "killed" if found else "survived",
        "stage": stage,
        "by": found,
        "seconds": round(time.perf_counter() - start, 1),
    }


def known() -> dict[str, dict[str, Any]]:
    """Verdicts by key, the last one of each."""
    if not VERDICTS.exists():
        return {}
    lines = map(json.loads, VERDICTS.read_text(encoding="utf-8").splitlines())
    return {line["key"]: line for line in lines}


def table(verdicts: list[dict[str, Any]]) -> str:
    """Counts by file, in Markdown."""
    none = equivalents()
    rows: dict[str, Counter[str]] = {}
    for line in verdicts:
        verdict = "equivalent" if tuple(line["identity"]) in none else line["verdict"]
        rows.setdefault(line["file"], Counter())[verdict] += 1
    rows["all"] = sum(rows.values(), Counter())
    text = [
        "| file | mutants | killed | equivalent | survived |",
        "| --- | --- | --- | --- | --- |",
    ]
    for file, row in rows.items():
        counts = (sum(row.values()), row["killed"], row["equivalent"], row["survived"])
        text.append(f"| {file} | {' | '.join(map(str, counts))} |")
    return "\n".join(text)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "python -m tests.mutation",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--file", action="append", help="only this file; may be given again")
    parser.add_argument("--sample", type=int, metavar="N", help="so many faults, drawn evenly")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--resume", action="store_true", help="leave out what has a verdict")
    parser.add_argument("--again", action="store_true", help="only what survived before")
    parser.add_argument("--nearest", action="store_true", help="not the other tests of the room")
    parser.add_argument("--list", choices=["survivors", "table", "faults"], dest="listed")
    return parser.parse_args()


def faults(root: Path, wanted: list[str]) -> dict[str, Mutant]:
    """Every fault of these files by its key, which is another one where the file has changed."""
    found = {}
    for file in wanted:
        source = (root / file).read_text(encoding="utf-8")
        version = hashlib.sha256(source.encode()).hexdigest()
        for mutant in mutants(file, source):
            change = f"{version} {mutant.start} {mutant.end} {mutant.instead}"
            found[hashlib.sha256(change.encode()).hexdigest()[:16]] = mutant
    return found


def chosen(root: Path, args: argparse.Namespace) -> dict[str, Mutant]:
    """Those of the faults that the options ask for."""
    found, before, none = faults(root, args.file or files()), known(), equivalents()
    if args.again or args.listed == "survivors":
        survived = {key for key, line in before.items() if line["verdict"] == "survived"}
        found = {k: m for k, m in found.items() if k in survived and identity(m) not in none}
    if args.sample is not None and args.sample < len(found):
        keys = random.Random(args.seed).sample(sorted(found), args.sample)
        found = {key: found[key] for key in keys}  # in this order: half a run is a sample too
    if args.resume:
        found = {key: mutant for key, mutant in found.items() if key not in before}
    return found


def run(workshop: Workshop, args: argparse.Namespace) -> int:
    """Judge faults one by one, and write each verdict down at once; 1 if one survived."""
    work, none, survivors = chosen(workshop.copy, args), equivalents(), 0
    for count, (key, mutant) in enumerate(work.items(), 1):
        name = identity(mutant)
        verdict: dict[str, Any] = {"verdict": "survived", "stage": "table", "by": None}
        if name not in none:
            try:
                verdict = judged(workshop, mutant, args.nearest)
            except UnsoundError as error:
                print(f"{count}/{len(work)} not judged, {error}: {mutant}", flush=True)
                continue
            survivors += verdict["verdict"] == "survived"
        with VERDICTS.open("a", encoding="utf-8") as log:
            log.write(json.dumps({"key": key, "file": mutant.file, "identity": name, **verdict}))
            log.write("\n")
        print(f"{count}/{len(work)} {verdict['verdict']}: {mutant}", flush=True)
    return int(survivors > 0)


def main() -> int:
    """Run the command."""
    args = arguments()
    if args.listed == "table":
        now, before = faults(ROOT, args.file or files()), known()
        print(table([line for key, line in before.items() if key in now]))
        return 0
    if args.listed:
        print("\n".join(map(str, chosen(ROOT, args).values())))
        return 0
    VERDICTS.parent.mkdir(exist_ok=True)
    workshop = Workshop()  # first of all: what is edited here meanwhile changes no verdict
    try:
        return run(workshop, args)
    finally:
        workshop.close()


if __name__ == "__main__":
    sys.exit(main())
