"""Two editions of a notebook from one source, and the cells of exercises in any of them.

The source has the solutions, between the lines `# BEGIN SOLUTION` and `# END SOLUTION` as nbgrader
and otter write them, and the answers to the questions. The student edition has stubs, dots, folded
answers, and no output where a question was asked.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from qnn_ref.course.sources import STUB, asked_ids
from qnn_ref.files import FileError, open_regular, strict_json

BEGIN, END = (f"# {word} SOLUTION" for word in ("BEGIN", "END"))
LARGEST = 64 << 20
"""Bytes of a notebook that is read."""


@dataclass(frozen=True)
class Cell:
    """A cell of a notebook.

    Parameters
    ----------
    kind : {"code", "markdown", "raw"}
    source : str
    tags : tuple of str
    """

    kind: str
    source: str
    tags: tuple[str, ...] = ()

    @property
    def exercise(self) -> str:
        """Id of the exercise that is written here, or nothing."""
        if self.kind != "code" or "exercise" not in self.tags:
            return ""
        return next((tag[3:] for tag in self.tags if tag.startswith("id:")), "")


def without_solution(source: str) -> str:
    """Put a stub in the place of each solution.

    Parameters
    ----------
    source : str
        Of a cell.

    Returns
    -------
    str

    Raises
    ------
    ValueError
        If a solution begins and does not end, or the other way round.
    """
    lines, inside = list[str](), False
    for line in source.splitlines():
        mark = line.strip()
        if mark in (BEGIN, END):
            if inside == (mark == BEGIN):
                raise ValueError(f"source: expected pairs of {BEGIN} and {END}, got two of {mark}")
            inside = mark == BEGIN
            if inside:
                lines.append(line[: len(line) - len(line.lstrip())] + STUB)
        elif not inside:
            lines.append(line)
    if inside:
        raise ValueError(f"source: expected {END}, got the end of the cell")
    return "\n".join(lines)


def without_answers(source: str) -> str:
    """Put dots in the place of the answers to questions: `course.answer("1.3a", ...)`.

    Parameters
    ----------
    source : str
        Of a cell.

    Returns
    -------
    str
    """
    lines = source.splitlines()
    calls = [
        node
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "course.answer"
    ]
    for call in calls:
        value = call.args[1]
        if value.lineno != value.end_lineno:
            raise ValueError(f"source: expected an answer in one line, got {ast.unparse(value)}")
        line = lines[value.lineno - 1].encode()  # columns are counted in bytes
        start, end = line[: value.col_offset], line[value.end_col_offset :]
        lines[value.lineno - 1] = (start + b"..." + end).decode()
    return "\n".join(lines)


def folded(source: str) -> str:
    """Fold each **Answer.** of a markdown cell, up to the next paragraph that begins in bold.

    Parameters
    ----------
    source : str

    Returns
    -------
    str
        Blank lines around what is inside: only then it is read as markdown.
    """
    parts = re.split(r"(?:\A|\n\n)(?=\*\*|#)", source)
    return "\n\n".join(
        f"<details><summary>Answer</summary>\n\n{part}\n\n</details>"
        if part.startswith("**Answer.**")
        else part
        for part in parts
        if part
    )


def is_question(cell: Cell) -> bool:
    """Whether a cell is the place for an answer to a question."""
    return cell.kind == "code" and "question" in cell.tags


def of_student(cell: Cell) -> Cell:
    """A cell as the student edition has it.

    Parameters
    ----------
    cell : Cell

    Returns
    -------
    Cell
    """
    if cell.kind == "markdown":
        return replace(cell, source=folded(cell.source))
    if cell.exercise:
        return replace(cell, source=without_solution(cell.source))
    if is_question(cell):
        return replace(cell, source=without_answers(cell.source))
    return cell


def shows_nothing(cells: Sequence[Cell]) -> list[bool]:
    """Which cells have no output in the student edition: exercises, and what a question asks about.

    From a **Question.** to its **Answer.** nothing is shown; also the cells of exercises and
    answers.

    Parameters
    ----------
    cells : sequence of Cell

    Returns
    -------
    list of bool
    """
    found, asked = [], False
    for cell in cells:
        if cell.kind == "markdown":
            marks = re.findall(r"\*\*(Question|Answer)\.\*\*", cell.source)
            asked = marks[-1] == "Question" if marks else asked and not cell.source.startswith("#")
        found.append(cell.kind == "code" and (asked or bool(cell.exercise) or is_question(cell)))
    return found


def read_cells(path: Path) -> list[Cell]:
    """The cells of a source (.py) or of a notebook (.ipynb).

    Parameters
    ----------
    path : path

    Returns
    -------
    list of Cell

    Raises
    ------
    FileError
        If it is neither, or damaged.
    """
    with open_regular(path) as file:
        data = file.read(LARGEST + 1)
    try:
        if len(data) > LARGEST:
            raise ValueError("it is too long")
        if not data.strip():
            raise ValueError("it is empty")
        text = data.decode("utf-8-sig")  # some editors put a mark before it
        notebook = path.suffix.lower() == ".ipynb"
        return _of_notebook(strict_json(text)) if notebook else _of_source(text)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise FileError(f"{path}: not a notebook, or a damaged one ({error})") from error


def _of_notebook(notebook: Any) -> list[Cell]:
    if not isinstance(notebook, dict) or not isinstance(notebook.get("cells"), list):
        raise ValueError("it has no cells")
    return [_tagged(_of_json(cell, n)) for n, cell in enumerate(notebook["cells"], 1)]


def _of_json(cell: Any, number: int) -> Cell:
    if not isinstance(cell, dict):
        raise ValueError(f"cell {number}: expected an object, got {cell!r:.40}")
    source, metadata = cell.get("source") or "", cell.get("metadata") or {}
    lines = source if isinstance(source, list) else [source]
    if not all(isinstance(line, str) for line in lines):
        raise ValueError(f"cell {number}: expected a source of lines, got {source!r:.40}")
    if not isinstance(metadata, dict):
        raise ValueError(f"cell {number}: expected metadata by name, got {metadata!r:.40}")
    tags = metadata.get("tags")
    tags = map(str, tags) if isinstance(tags, list) else ()  # lost tags lose no answer
    return Cell(str(cell.get("cell_type")), "".join(lines), tuple(tags))


def _tagged(cell: Cell) -> Cell:
    """A cell whose tags were lost is known by the exercise that it checks."""
    if cell.kind != "code" or cell.exercise:
        return cell
    ids = asked_ids(cell.source)
    return replace(cell, tags=(*cell.tags, "exercise", f"id:{ids[0]}")) if len(ids) == 1 else cell


def _of_source(text: str) -> list[Cell]:
    """Cells of py:percent: each begins with `# %%`."""
    found = []
    for part in re.split(r"(?m)^# %%", "\n" + text)[1:]:
        head, _, body = part.partition("\n")
        kind = next((k for k in ("markdown", "raw") if f"[{k}]" in head), "code")
        if kind != "code":
            lines = [line.removeprefix("#").removeprefix(" ") for line in body.splitlines()]
            body = "\n".join(lines)
        else:
            body = re.sub(r"(?m)^# (%\w)", r"\1", body)  # a magic, as jupytext has it
        tags = re.search(r"tags=\[([^\]]*)\]", head)
        names = re.findall(r'"([^"]+)"', tags[1]) if tags else []
        found.append(Cell(kind, body.strip("\n"), tuple(names)))
    return found
