"""`qnn-ref equations`: where each equation of the paper is computed, tested and taught."""

from __future__ import annotations

import argparse
import re
from typing import Any

from qnn_ref.cli.common import answer, table
from qnn_ref.cli.parser import WrongUse
from qnn_ref.equations import EQUATIONS, PACKAGE, Equation, locate, search, words_of


def run(args: argparse.Namespace) -> int:
    """Print a line for each entry that has the words."""
    text = " ".join(args.words)
    entries = search(text)
    if not entries:
        raise WrongUse(f"WORD: {unknown(text)}")
    rows = [describe(entry) for entry in entries]
    missing = [entry.id for entry in entries if not entry.function]
    lines = table([line_of(row) for row in rows])
    answer(args, {"entries": rows, "missing": missing}, "\n".join(lines))
    return 0


def describe(entry: Equation) -> dict[str, Any]:
    """The entry with its place; null where there is none yet."""
    place = locate(entry.function) if entry.function else None
    where = {"file": str(place.file), "line": place.line} if place else {"file": None, "line": None}
    return entry._asdict() | where


def line_of(row: dict[str, Any]) -> tuple[str, ...]:
    """What a reader needs to get there."""
    short = row["file"] and f"{row['file'][len(str(PACKAGE.parent)) + 1 :]}:{row['line']}"
    name = re.sub(r"^([a-z_]+\.)*", "", row["function"])  # the file says the rest
    notebook = row["notebook"] and f"notebook {row['notebook']}"
    return row["id"], row["title"], short or "not yet", name, notebook


def unknown(text: str) -> str:
    """Why nothing was found, and what is near."""
    from qnn_ref.checks import did_you_mean  # imports NumPy: only a mistake needs it

    known = {word for e in EQUATIONS for word in words_of(f"{e.id} {e.title} {e.function}")}
    near = "".join(did_you_mean(word, known) for word in words_of(text) if word not in known)
    sections = ", ".join(dict.fromkeys(e.id.split()[0] for e in EQUATIONS))
    return f"nothing in the index has {text!r}{near}; it has the sections {sections}"
