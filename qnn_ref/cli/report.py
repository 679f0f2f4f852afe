"""`qnn-ref report`: the paper's tables and figures beside ours."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from qnn_ref.cli.common import answer, check_folder
from qnn_ref.experiments.finished import add_run, results_folder
from qnn_ref.files import atomic_write, open_regular

if TYPE_CHECKING:
    from qnn_ref.report import Report


def run(args: argparse.Namespace) -> int:
    """Write the page, or add a run to what it shows."""
    folder = results_folder()
    if args.add:
        return add(args)
    if args.out:
        check_folder(args.out)
    from qnn_ref.report import build_report, write_page  # slow: wrong use is answered without it

    report = build_report(folder)
    files = write_page(report, args.out) if args.out else []
    if args.readme:
        files.append(write_readme(args.readme, report, folder))
    answer_of = report.to_json() | {"files": [str(file) for file in files]}
    lacking = answer_of["rows_without_value_or_reason"]
    lines = []
    for table in report.tables:
        ours = sum(bool(row.ours) for row in table.rows)
        lines.append(f"{table.title}: {ours} of {len(table.rows)} rows have a value of ours")
    lines += [f"without a value or a reason: {row}" for row in lacking]
    lines += [f"written: {file}" for file in files]
    answer(args, answer_of, "\n".join(lines))
    return int(bool(lacking))


def write_readme(path: str, report: Report, folder: Path) -> Path:
    """Put the tables of a README, between their marks, on what the results say."""
    from qnn_ref.report import readme_blocks, with_block
    from qnn_ref.report.measured import read_bench

    with open_regular(path) as file:
        text = file.read().decode()
    for name, block in readme_blocks(report, read_bench(folder)).items():
        text = with_block(text, name, block)
    with atomic_write(path) as file:
        file.write(text.encode())
    return Path(path)


def add(args: argparse.Namespace) -> int:
    """Measure a finished run and store it."""
    row = add_run(args.add, results_folder(), args.data, args.about_data)
    words = f"{row.recipe}, seed {row.seed}: {row.test:g} {row.unit} of the test part"
    epochs = f"{row.epochs} of {row.schedule} epochs"
    answer(args, row._asdict(), f"{words}, {epochs}; stored in {results_folder()}")
    return 0
