"""`qnn-ref equations`: where each equation of the paper is computed, tested and taught."""

from __future__ import annotations

import argparse

from qnn_ref.checking.equations import EQUATIONS
from qnn_ref.cli.common import answer


def run(args: argparse.Namespace) -> int:
    """Print a line for each entry."""
    section = " ".join(args.words)
    entries = [e for e in EQUATIONS if e.id.startswith(section)]
    if not entries:
        sections = ", ".join(dict.fromkeys(e.id.split()[0] for e in EQUATIONS))
        raise ValueError(f"section: expected one of {sections}, got {section!r}")
    missing = [e.id for e in entries if not e.function]
    width = [max(len(cell) for cell in column) for column in zip(*entries, strict=True)]
    lines = [
        f"{e.id:<{width[0]}}  {e.title:<{width[1]}}  {e.function or 'not yet':<{width[2]}}  "
        f"{e.notebook or '-'}"
        for e in entries
    ]
    answer(args, {"entries": [e._asdict() for e in entries], "missing": missing}, "\n".join(lines))
    return 0
