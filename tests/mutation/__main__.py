"""Plants small faults and looks whether a test finds each: `make mutants ARGS="--sample 40"`.

    python -m tests.mutation --file qnn_ref/losses.py     every fault of a file
    python -m tests.mutation --sample 30 --seed 1         so many of each file, evenly drawn
    python -m tests.mutation --until nearest --resume     a first pass, from where it was left
    python -m tests.mutation --again                      only what survived before
    python -m tests.mutation --again --since compiled     and only compiled
    python -m tests.mutation --list survivors             what is known so far; runs nothing
    python -m tests.mutation --write                      its tables, into the texts that have them

A fault is planted in a copy of the repository, never here. The file of tests that is nearest to
the mutated one runs first, then the two next ones, then all others of its room, with
`NUMBA_DISABLE_JIT=1`; what survives meets them compiled. There, kernels come from a copy of the
cache that the sound package made, so that a mutated one cannot be taken for it, nor it for a
mutated one. Each file of tests runs in a fork of a process that has loaded what comes from outside,
ends with the first failure, and begins with the tests that found earlier faults. A fault is found,
too, if a test takes five times as long, or much memory.

Verdicts are kept in `runs/mutants.jsonl`, a line each. A function that has changed loses those of
its faults. What changes no behaviour stands in `tests/mutation/equivalent.md`, with the reason.
"""

import argparse
import itertools
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from tests.mutation.changes import Mutant, mutants
from tests.mutation.tables import Judged, by_file, by_room, drawn, judged, rewritten
from tests.mutation.workshop import ROOT, STAGES, UnsoundError, Workshop

VERDICTS = ROOT / "runs" / "mutants.jsonl"
EQUIVALENT = Path(__file__).with_name("equivalent.md")
RESULTS = Path(__file__).with_name("results.md")
CONTRIBUTING = ROOT / "CONTRIBUTING.md"
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


def counted(wanted: list[str]) -> list[Judged]:
    """What is known of each file as it is now."""
    before, none = known(), equivalents()
    found: dict[str, dict[str, Mutant]] = {file: {} for file in wanted}
    for key, mutant in faults(ROOT, wanted).items():
        found[mutant.file][key] = mutant
    return [
        judged(file, {key: identity(m) in none for key, m in ours.items()}, before)
        for file, ours in found.items()
    ]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "python -m tests.mutation",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--file", action="append", help="only this file; may be given again")
    parser.add_argument("--sample", type=int, metavar="N", help="so many of each file, evenly")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--resume", action="store_true", help="leave out what has a verdict")
    parser.add_argument("--again", action="store_true", help="only what survived before")
    parser.add_argument("--since", choices=STAGES, default=STAGES[0], help="the first stage")
    parser.add_argument("--until", choices=STAGES, default=STAGES[-1], help="the last stage")
    parser.add_argument("--list", choices=["survivors", "table", "faults"], dest="listed")
    parser.add_argument("--write", action="store_true", help="write the tables into the texts")
    return parser.parse_args()


def faults(root: Path, wanted: list[str]) -> dict[str, Mutant]:
    """Every fault of these files by its key, another one where its function has changed."""
    found = {}
    for file in wanted:
        for mutant in mutants(file, (root / file).read_text(encoding="utf-8")):
            found[mutant.key] = mutant
    return found


def chosen(root: Path, args: argparse.Namespace) -> dict[str, Mutant]:
    """Those of the faults that the options ask for."""
    found, before, none = faults(root, args.file or files()), known(), equivalents()
    if args.again or args.listed == "survivors":
        survived = {key for key, line in before.items() if line["verdict"] == "survived"}
        found = {k: m for k, m in found.items() if k in survived and identity(m) not in none}
    if args.sample is not None:
        places: dict[str, list[str]] = {}
        for key, mutant in found.items():
            places.setdefault(mutant.file, []).append(key)
        keys = set().union(*(drawn(ours, args.sample, args.seed) for ours in places.values()))
        found = {key: mutant for key, mutant in found.items() if key in keys}
    if args.resume:
        found = {key: mutant for key, mutant in found.items() if key not in before}
    return found


def run(workshop: Workshop, args: argparse.Namespace) -> int:
    """Judge faults file by file, and write each verdict down at once; 1 if one survived."""
    work, none, survivors, count = chosen(workshop.copy, args), equivalents(), 0, 0
    earlier = known()
    same: dict[str, Any] = {"verdict": "survived", "stage": "table", "by": None}
    sample = None if args.again or args.sample is None else [args.sample, args.seed]
    for file in dict.fromkeys(mutant.file for mutant in work.values()):
        ours = {key: mutant for key, mutant in work.items() if mutant.file == file}
        listed = {key for key, mutant in ours.items() if identity(mutant) in none}
        rest = {key: mutant for key, mutant in ours.items() if key not in listed}
        verdicts = workshop.judged(rest, args.until, args.since) if rest else ()
        try:
            for key, verdict in itertools.chain(((key, same) for key in listed), verdicts):
                line = {"key": key, "file": file, "identity": identity(ours[key]), **verdict}
                line["sample"] = sample or (earlier[key].get("sample") if key in earlier else None)
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
        print(by_file(counted(args.file or files())))
        return 0
    if args.write:
        rows = counted(files())
        for path, text in ((RESULTS, by_file(rows)), (CONTRIBUTING, by_room(rows))):
            path.write_text(rewritten(path.read_text(encoding="utf-8"), text), encoding="utf-8")
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
