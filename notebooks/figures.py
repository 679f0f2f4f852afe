"""Write every picture of the course as PNG and PDF, named by notebook and section.

    python notebooks/figures.py                        all notebooks, into figures/
    python notebooks/figures.py 01_one_bit.py --out slides

The second picture of section 1.3 is `01_1.3_2.png`. The notebooks are run: these are the pictures
that the code draws today.
"""

import argparse
import base64
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import nbformat
from render import FOLDER, execute, read, sources

from qnn_ref.files import atomic_write, make_folder

FORMATS = {"image/png": "png", "application/pdf": "pdf"}
BOTH = '%config InlineBackend.figure_formats = {"png", "pdf"}\n'
SHARP = '%config InlineBackend.print_figure_kwargs = {"dpi": 200, "bbox_inches": "tight"}'
SECTION = re.compile(r"^##? (?:(?P<number>[0-9]+\.[0-9]+)\b|(?P<words>[A-Za-z ]+))", re.M)


class Picture(NamedTuple):
    """A file: its name and its bytes."""

    name: str
    content: bytes


def section(markdown: str, before: str) -> str:
    """The number of the last heading in a cell, or its words; `before` without one."""
    for found in SECTION.finditer(markdown):
        before = found["number"] or found["words"].strip().lower().replace(" ", "_")
    return before


def pictures(stem: str, notebook: nbformat.NotebookNode) -> Iterator[Picture]:
    """Every picture among the outputs, in all its formats."""
    place, drawn = "begin", Counter[str]()
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            place = section(cell.source, place)
            continue
        for output in cell.outputs:
            data = output.get("data", {})
            if "image/png" not in data:
                continue
            drawn[place] += 1
            name = f"{stem[:2]}_{place}_{drawn[place]}"
            for kind, ending in FORMATS.items():
                if kind in data:
                    yield Picture(f"{name}.{ending}", base64.b64decode(data[kind]))


def draw(source: Path, folder: Path) -> list[Path]:
    """Run one notebook and write its pictures."""
    notebook = read(source)
    notebook.cells.insert(0, nbformat.v4.new_code_cell(BOTH + SHARP))
    written = []
    for name, content in pictures(source.stem, execute(notebook, source.parent)):
        with atomic_write(folder / name) as file:
            file.write(content)
        written.append(folder / name)
    return written


def main() -> None:
    """Draw those of the command line, or all."""
    parser = argparse.ArgumentParser(description="Write every picture of the course.")
    parser.add_argument("names", nargs="*", metavar="NN_name.py", help="default: every notebook")
    parser.add_argument("--out", default="figures", metavar="DIR", help="default: figures")
    args = parser.parse_args()
    folder = make_folder(args.out)
    for source in [FOLDER / name for name in args.names] or sources():
        written = draw(source, folder)
        print(f"{source.name}: {len(written)} files in {folder}", flush=True)


if __name__ == "__main__":
    main()
