"""What the commands share: options, answers, data."""

from __future__ import annotations

import argparse
import json
from typing import Any

from qnn_ref.files import target_of


def add_command(
    subparsers: Any, name: str, summary: str, examples: str, run: Any
) -> argparse.ArgumentParser:
    """Return the parser of a command, with `--json` and examples in its help."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        name,
        help=summary,
        description=summary[0].upper() + summary[1:] + ".",
        epilog=f"examples:\n{examples}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    parser.set_defaults(run=run)
    return parser


def add_data_option(parser: argparse.ArgumentParser) -> None:
    """Offer `--data DIR`."""
    parser.add_argument("--data", metavar="DIR", help="folder to read the data set from")


def answer(args: argparse.Namespace, result: dict[str, Any], text: str) -> None:
    """Print the result as JSON or as text."""
    print(json.dumps(result) if args.json else text)


def check_output(path: str) -> None:
    """Refuse a file that cannot be written, before the work that it is to hold begins."""
    target_of(path)
