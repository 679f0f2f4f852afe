"""What the commands share: answers, and files that are to be written."""

from __future__ import annotations

import argparse
from typing import Any

from qnn_ref.cli.streams import to_json


def answer(args: argparse.Namespace, result: dict[str, Any], text: str) -> None:
    """Print the result as JSON or as text."""
    print(to_json(result) if args.json else text)


def table(cells: list[tuple[str, ...]]) -> list[str]:
    """Lines of cells in aligned columns."""
    widths = [max(len(cell) for cell in column) for column in zip(*cells, strict=True)]
    return [
        "  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in cells
    ]


def check_output(path: str) -> None:
    """Refuse a file that cannot be written, before the work that it is to hold begins."""
    from qnn_ref.files import target_of

    target_of(path)
