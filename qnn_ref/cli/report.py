"""`qnn-ref report`: the paper's tables and figures beside ours."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from qnn_ref.cli.common import answer, check_folder, check_output
from qnn_ref.cli.parser import WrongUse
from qnn_ref.experiments.adding import add_run, copy_results, is_part_of_a_checkout
from qnn_ref.experiments.finished import results_folder
from qnn_ref.experiments.runs import existing_folder
from qnn_ref.files import FileError, atomic_write, open_regular

if TYPE_CHECKING:
    from qnn_ref.report import Report

BLOCKS = "speed", "unmet", "results"
"""Names of what stands in a README between marks."""


def run(args: argparse.Namespace) -> int:
    """Write the page, or add a run to what it shows."""
    if args.out:
        check_folder(args.out)
    if args.readme:
        check_output(args.readme)
    if args.results:
        check_folder(args.results)
    check_together(args)
    folder = Path(args.results) if args.results else results_folder()
    if args.add:
        return add(args, folder)
    readme = read_readme(args.readme) if args.readme else ""
    from qnn_ref.report import build_report, write_page  # slow: wrong use is answered without it

    report = build_report(folder)
    files = write_page(report, args.out) if args.out else []
    if args.readme:
        files.append(write_readme(args.readme, readme, report, folder))
    answer_of = report.to_json() | {"files": [str(file) for file in files]}
    lacking = answer_of["rows_without_value_or_reason"]
    lines = []
    for table in report.tables:
        ours = sum(bool(row.ours) for row in table.rows)
        lines.append(f"{table.title}: {ours} of {len(table.rows)} rows have a value of ours")
    lines += [f"without a value or a reason: {row}" for row in lacking]
    lines += [f"written: {file}" for file in files]
    if not files:
        lines.append("`qnn-ref report -o page` writes the tables and pictures")
    answer(args, answer_of, "\n".join(lines))
    return int(bool(lacking))


def check_together(args: argparse.Namespace) -> None:
    """No option is passed over in silence."""
    for name in ("data", "about_data"):
        if getattr(args, name) and not args.add:
            option = "--" + name.replace("_", "-")
            raise WrongUse(f"{option}: expected --add RUN beside it: nothing else reads it")
    for name in ("out", "readme"):
        if getattr(args, name) and args.add:
            raise WrongUse(f"--{name}: expected no --add beside it: first add, then write the page")


def read_readme(path: str) -> str:
    """A README with the marks of all blocks, or an error before anything is written."""
    from qnn_ref.report import with_block

    with open_regular(path) as file:
        content = file.read()
    try:
        text = content.decode()
        for name in BLOCKS:
            with_block(text, name, "")
    except ValueError as error:
        raise FileError(f"{path}: no README with marks: {error}") from error
    return text


def write_readme(path: str, text: str, report: Report, folder: Path) -> Path:
    """Put the tables of a README, between their marks, on what the results say."""
    from qnn_ref.report import readme_blocks, with_block
    from qnn_ref.report.measured import read_bench

    for name, block in readme_blocks(report, read_bench(folder)).items():
        text = with_block(text, name, block)
    with atomic_write(path) as file:
        file.write(text.encode())
    return Path(path)


def add(args: argparse.Namespace, folder: Path) -> int:
    """Measure a finished run and store it."""
    if not args.results and not is_part_of_a_checkout(folder):
        raise WrongUse(
            "--add: expected --results DIR beside it, a folder of yours: results that came with "
            "the package are replaced when it is"
        )
    existing_folder(args.add)
    if args.results:
        copy_results(folder)
    row = add_run(args.add, folder, args.data, args.about_data)
    words = f"{row.recipe}, seed {row.seed}: {row.test:g} {row.unit} of the test part"
    epochs = f"{row.epochs} of {row.schedule} epochs"
    answer(args, row._asdict(), f"{words}, {epochs}; stored in {folder}")
    return 0
