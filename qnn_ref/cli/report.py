"""`qnn-ref report`: the paper's tables and figures beside ours."""

from __future__ import annotations

import argparse

from qnn_ref.cli.common import answer, check_folder
from qnn_ref.experiments.finished import add_run, results_folder


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
    result = report.to_json() | {"files": [str(file) for file in files]}
    lines = [f"{table.title}: {_filled(table)}" for table in report.tables]
    lines += [
        f"without a value or a reason: {row}" for row in result["rows_without_value_or_reason"]
    ]
    lines += (
        [f"written: {args.out}/report.md, report.html, {len(report.pictures)} pictures"]
        if files
        else []
    )
    answer(args, result, "\n".join(lines))
    return int(bool(result["rows_without_value_or_reason"]))


def _filled(table) -> str:  # type: ignore[no-untyped-def]
    ours = sum(bool(row.ours) for row in table.rows)
    return f"{ours} of {len(table.rows)} rows have a value of ours, the others a reason"


def add(args: argparse.Namespace) -> int:
    """Measure a finished run and store it."""
    row = add_run(args.add, results_folder(), args.data, args.about_data)
    words = f"{row.recipe}, seed {row.seed}: {row.test:g} {row.unit} of the test part"
    epochs = f"{row.epochs} of {row.schedule} epochs"
    answer(args, row._asdict(), f"{words}, {epochs}; stored in {results_folder()}")
    return 0
