"""`qnn-ref check`: gradient checks, a line for each tensor."""

from __future__ import annotations

import argparse
from typing import Any

from qnn_ref.checking import sample_checks
from qnn_ref.cli.common import add_command, answer


def add(subparsers: Any) -> None:
    """Add the command."""
    parser = add_command(
        subparsers,
        "check",
        "check hand-written gradients against central differences",
        "  qnn-ref check\n  qnn-ref check Dense BatchNorm\n  qnn-ref check --json",
        run,
    )
    parser.add_argument("names", nargs="*", metavar="LAYER", help="layers and losses; default all")


def run(args: argparse.Namespace) -> int:
    """Check; the answer is no if one tensor fails."""
    report = sample_checks(args.names or None)
    answer(args, report.to_json(), str(report))
    return 0 if report.passed else 1
