"""A row of the report: the paper's value, ours, and what lies between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Row:
    """A value of the paper beside ours.

    Parameters
    ----------
    what : str
    paper : str
        As printed there; empty where the paper has no such row.
    ours : str
        Empty where it was not run here; then `sentence` says why.
    data : str
        Data set and copy, or machine.
    epochs : str
        How many were trained, and of how many.
    seeds : str
    sentence : str
        The difference, in plain words.
    command : str
        That makes ours again, or would make it.
    """

    what: str
    paper: str = ""
    ours: str = ""
    data: str = ""
    epochs: str = ""
    seeds: str = ""
    sentence: str = ""
    command: str = ""

    @property
    def is_open(self) -> bool:
        """Whether it has neither a value of ours nor a reason."""
        return not (self.ours or self.sentence)


@dataclass(frozen=True)
class Table:
    """Rows of one unit under one title.

    Parameters
    ----------
    id : str
        Short, for links and JSON.
    title : str
    unit : str
        Of both values.
    rows : tuple of Row
    words : str
        A sentence or two in front of it.
    """

    id: str
    title: str
    unit: str
    rows: tuple[Row, ...]
    words: str = ""

    def to_json(self) -> dict[str, Any]:
        """The table as JSON holds it."""
        return asdict(self) | {"rows": [asdict(row) for row in self.rows]}


def mean_text(values: Sequence[float], digits: int) -> str:
    """Mean of some seeds with their standard deviation, or the one value.

    Parameters
    ----------
    values : sequence of float
        At least one.
    digits : int
        Behind the point.

    Returns
    -------
    str
        Like "4.61 ± 0.14"; the spread is that of a sample (n - 1).
    """
    mean = f"{np.mean(values):.{digits}f}"
    return mean if len(values) == 1 else f"{mean} ± {np.std(values, ddof=1):.{digits}f}"


def difference(ours: float, paper: float, unit: str, digits: int) -> str:
    """How far ours is from the paper's, in words.

    Parameters
    ----------
    ours, paper : float
    unit : str
    digits : int

    Returns
    -------
    str
        Like "0.12 points above the paper's".
    """
    distance = f"{abs(ours - paper):.{digits}f}"
    if float(distance) == 0:
        return "equal to the paper's to the last printed digit"
    return f"{distance} {unit} {'above' if ours > paper else 'below'} the paper's"
