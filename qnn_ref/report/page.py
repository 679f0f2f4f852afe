"""The report as Markdown and as one HTML file: tables, then figures."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Iterable
from html import escape
from pathlib import Path

from matplotlib.figure import Figure

from qnn_ref.files import atomic_write, make_folder
from qnn_ref.plots.style import DPI
from qnn_ref.report.build import Report
from qnn_ref.report.rows import Row, Table

TITLE = "The paper's tables and ours"
WORDS = (
    "Every table and figure of Quantized Neural Networks (Hubara, Courbariaux, Soudry, El-Yaniv, "
    "Bengio) beside what was run here. An empty column “here” has its reason beside it. Several "
    "seeds: mean ± standard deviation."
)
HEAD = ("", "paper", "here", "data", "epochs", "seeds", "difference, or why not run", "command")


def markdown_table(table: Table) -> str:
    """A table as Markdown, without the columns that it does not use.

    Parameters
    ----------
    table : Table

    Returns
    -------
    str
    """
    columns = _used(table)
    lines = [" | ".join(name for name, _ in columns), " | ".join("---" for _ in columns)]
    for row in range(len(table.rows)):
        lines.append(" | ".join(cells[row].replace("|", "\\|") for _, cells in columns))
    return "\n".join(f"| {line} |" for line in lines)


def _used(table: Table) -> list[tuple[str, list[str]]]:
    """Columns with their cells; one that is empty in every row is left out."""
    cells = [_cells(row) for row in table.rows]
    columns = [(name, [row[i] for row in cells]) for i, name in enumerate(HEAD)]
    return [column for column in columns if column[0] in ("", "here") or any(column[1])]


def _cells(row: Row) -> tuple[str, ...]:
    command = f"`{row.command}`" if row.command else ""
    return (
        *(row.what, row.paper, row.ours, row.data, row.epochs, row.seeds),
        *(row.sentence, command),
    )


def to_markdown(report: Report, picture: str = "{}.png") -> str:
    """The whole page as Markdown.

    Parameters
    ----------
    report : Report
    picture : str
        Where a picture lies, by its id.

    Returns
    -------
    str
    """
    parts = [f"# {TITLE}", WORDS]
    for table in report.tables:
        parts += [f"## {table.title}", f"{table.words} Shown: {table.unit}.".lstrip()]
        parts += [markdown_table(table)]
    for shown in report.pictures:
        parts += [f"## {shown.title}", shown.words, f"![{shown.title}]({picture.format(shown.id)})"]
    return "\n\n".join(parts) + "\n"


STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 76rem; margin: 2rem auto; padding: 0 1rem; }
nav { columns: 18rem; margin: 1rem 0 2rem; }
nav a { display: block; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: 0.9rem; }
th, td { text-align: left; vertical-align: top; padding: 0.35rem 0.7rem; }
tr { border-bottom: 1px solid #8885; }
td.number { white-space: nowrap; font-variant-numeric: tabular-nums; }
td.words { min-width: 16rem; }
td.what, td.command { min-width: 9rem; }
code { font-size: 0.85em; }
img { max-width: 100%; background: white; }
"""


def to_html(report: Report, pictures: dict[str, bytes]) -> str:
    """The whole page as one HTML file that needs no other.

    Parameters
    ----------
    report : Report
    pictures : dict of str to bytes
        PNG files by id.

    Returns
    -------
    str
    """
    links = [(table.id, table.title) for table in report.tables]
    links += [(shown.id, shown.title) for shown in report.pictures]
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(TITLE)}</title><style>{STYLE}</style></head><body>",
        f"<h1>{escape(TITLE)}</h1><p>{escape(WORDS)}</p>",
        f"<nav>{''.join(f'<a href=#{id}>{escape(title)}</a>' for id, title in links)}</nav>",
    ]
    for table in report.tables:
        parts += [f'<h2 id="{table.id}">{escape(table.title)}</h2>']
        parts += [
            f"<p>{_text(f'{table.words} Shown: {table.unit}.'.lstrip())}</p>",
            *_html_table(table),
        ]
    for shown in report.pictures:
        data = base64.b64encode(pictures[shown.id]).decode()
        parts += [f'<h2 id="{shown.id}">{escape(shown.title)}</h2><p>{escape(shown.words)}</p>']
        parts += [f'<img alt="{escape(shown.title)}" src="data:image/png;base64,{data}">']
    return "\n".join([*parts, "</body></html>", ""])


def _html_table(table: Table) -> Iterable[str]:
    columns = _used(table)
    yield '<div class="wide"><table><thead><tr>'
    yield "".join(f"<th>{escape(name)}</th>" for name, _ in columns) + "</tr></thead><tbody>"
    for row in range(len(table.rows)):
        cells = ((name, cells[row]) for name, cells in columns)
        yield f"<tr>{''.join(_cell(name, text) for name, text in cells)}</tr>"
    yield "</tbody></table></div>"


def _cell(name: str, text: str) -> str:
    kind = KINDS.get(name)
    return f'<td class="{kind}">{_text(text)}</td>' if kind else f"<td>{_text(text)}</td>"


KINDS = dict(zip(HEAD, ("what", "number", "number", "", "", "", "words", "command"), strict=True))
"""How a column's cells are shown: a narrow screen scrolls a table, and breaks no number."""


def _text(text: str) -> str:
    """Escaped; what stands between grave accents is code."""
    pieces = escape(text).split("`")
    return "".join(f"<code>{p}</code>" if i % 2 else p for i, p in enumerate(pieces))


def png(figure: Figure) -> bytes:
    """A figure as PNG."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=DPI)
    return file.getvalue()


def write_page(report: Report, folder: str | os.PathLike[str]) -> list[Path]:
    """Write report.md, report.html and the pictures.

    Parameters
    ----------
    report : Report
    folder : path
        Is made if it is not there.

    Returns
    -------
    list of Path
        What was written.

    Raises
    ------
    FileError
        If the folder cannot be written.
    """
    place = make_folder(folder)
    pictures = {shown.id: png(shown.draw()) for shown in report.pictures}
    files = {f"{id}.png": data for id, data in pictures.items()}
    files["report.md"] = to_markdown(report).encode()
    files["report.html"] = to_html(report, pictures).encode()
    for name, content in files.items():
        with atomic_write(place / name) as file:
            file.write(content)
    return [place / name for name in files]
