"""What the commands share: answers, and files that are to be written."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qnn_ref.cli.streams import to_json

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RUN_FILES = "run.json", "checkpoint.npz", "history.csv", "history.png"
"""What `qnn-ref train` writes."""


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


def check_output(path: str) -> Path:
    """The file that will be written, or an error before the work that it is to hold begins."""
    from qnn_ref.files import target_of

    target = target_of(path)
    _try_to_write(path, target.parent)
    return target


def check_picture(path: str) -> Path:
    """The picture that will be written, whose name says what it is."""
    if Path(path).suffix.lower() != ".png":
        raise ValueError(f"{path}: expected a name that ends in .png: pictures are written as PNG")
    return check_output(path)


def check_folder(path: str, *files: str) -> None:
    """Refuse a folder that cannot be made or filled, and files in it that cannot be replaced."""
    from qnn_ref.files import folder_of, target_of

    folder = folder_of(path)
    _try_to_write(path, next(p for p in (folder, *folder.parents) if p.exists()))
    for file in files if folder.exists() else ():
        target_of(folder / file)


def save_picture(path: str | Path, figure: Figure) -> None:
    """Write a figure as PNG, whole or not at all."""
    from qnn_ref.files import atomic_write
    from qnn_ref.plots.style import DPI

    with atomic_write(path) as file:
        figure.savefig(file, format="png", dpi=DPI)


def _try_to_write(path: str, folder: Path) -> None:
    """Permissions do not tell all: a full disk or a quota shows when something is written."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(4096))
    except OSError as error:
        raise OSError(f"{path}: cannot be written: {error.strerror or error}") from error
