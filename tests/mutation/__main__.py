"""Plants small faults and looks whether a test finds each: `make mutants ARGS="--sample 40"`.

    python -m tests.mutation --file qnn_ref/losses.py     every fault of a file
    python -m tests.mutation --sample 200 --seed 1        some of all files, evenly
    python -m tests.mutation --until nearest --resume     a first pass, from where it was left
    python -m tests.mutation --again                      only what survived before
    python -m tests.mutation --list survivors             what is known so far; runs nothing

A fault is planted in a copy of the repository, never here. The file of tests that is nearest to
the mutated one runs first, then the two next ones, then all others of its room, with
`NUMBA_DISABLE_JIT=1`; what survives meets them compiled. There, kernels come from a copy of the
cache that the sound package made, so that a mutated one cannot be taken for it, nor it for a
mutated one. Each file of tests runs in a fork of a process that has loaded what comes from outside,
ends with the first failure, and begins with the tests that found earlier faults. A fault is found,
too, if a test takes five times as long, or much memory.

Verdicts are kept in `runs/mutants.jsonl`, a line each. A file that has changed is another file. A
fault that changes no behaviour stands in `tests/mutation/equivalent.md`, with the reason.
"""

import argparse
import hashlib
import itertools
import json
import random
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from tests.mutation.changes import Mutant, mutants
from tests.mutation.workshop import ROOT, STAGES, UnsoundError, Workshop

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
ROOMS += ("packed", "checkpoints.py", "training.py", "language.py", "likelihood.py")


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


def known() -> dict[str, dict[str, Any]]:
    """Verdicts by key, the last one of each."""
    if not VERDICTS.exists():
        return {}
    lines = map(json.loads, VERDICTS.read_text(encoding="utf-8").splitlines())
    return {line["key"]: line for line in lines}


def killers() -> dict[str, Counter[str]]:
    """By file, how often each test found a fault."""
    found: dict[str, Counter[str]] = {}
    for line in known().values():
        if line["by"]:
            found.setdefault(line["file"], Counter())[line["by"]] += 1
    return found


def table(verdicts: list[dict[str, Any]]) -> str:
    """Counts by file, in Markdown."""
    none = equivalents()
    rows: dict[str, Counter[str]] = {}
    for line in verdicts:
        verdict = "equivalent" if tuple(line["identity"]) in none else line["verdict"]
        rows.setdefault(line["file"], Counter())[verdict] += 1
    rows["all"] = sum(rows.values(), Counter())
    heads = ("file", "mutants", "killed", "equivalent", "survived", "killed of the rest")
    text = [f"| {' | '.join(heads)} |", "| --- " * len(heads) + "|"]
    for file, row in rows.items():
        counts = (row.total(), row["killed"], row["equivalent"], row["survived"])
        rest = row["killed"] + row["survived"]
        share = f"{100 * row['killed'] / rest:.1f} %" if rest else "-"
        text.append(f"| {file} | {' | '.join(map(str, counts))} | {share} |")
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
    parser.add_argument("--until", choices=STAGES, default=STAGES[-1], help="the last stage")
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
        found = {key: mutant for key, mutant in found.items() if key in set(keys)}
    if args.resume:
        found = {key: mutant for key, mutant in found.items() if key not in before}
    return found


def run(workshop: Workshop, args: argparse.Namespace) -> int:
    """Judge faults file by file, and write each verdict down at once; 1 if one survived."""
    work, none, survivors, count = chosen(workshop.copy, args), equivalents(), 0, 0
    same: dict[str, Any] = {"verdict": "survived", "stage": "table", "by": None}
    for file in dict.fromkeys(mutant.file for mutant in work.values()):
        ours = {key: mutant for key, mutant in work.items() if mutant.file == file}
        listed = {key for key, mutant in ours.items() if identity(mutant) in none}
        rest = {key: mutant for key, mutant in ours.items() if key not in listed}
        verdicts = workshop.judged(rest, args.until) if rest else ()
        try:
            for key, verdict in itertools.chain(((key, same) for key in listed), verdicts):
                line = {"key": key, "file": file, "identity": identity(ours[key]), **verdict}
                with VERDICTS.open("a", encoding="utf-8") as log:
                    log.write(json.dumps(line) + "\n")
                count += 1
                survivors += verdict["verdict"] == "survived" and key not in listed
                print(f"{count}/{len(work)} {verdict['verdict']}: {ours[key]}", flush=True)
        except UnsoundError as error:
            print(f"not judged, {error}: {file}", flush=True)
    return int(survivors > 0)


def main() -> int:
    """Run the command."""
    args = arguments()
    if args.listed == "table":
        now, before = faults(ROOT, args.file or files()), known()
        print(table([before[key] for key in now if key in before]))
        return 0
    if args.listed:
        print("\n".join(map(str, chosen(ROOT, args).values())))
        return 0
    VERDICTS.parent.mkdir(exist_ok=True)
    workshop = Workshop(killers())  # first of all: what is edited here meanwhile changes no verdict
    try:
        return run(workshop, args)
    finally:
        workshop.close()


if __name__ == "__main__":
    sys.exit(main())
