"""What the rows of `coming_from.py` are made of: a question to a library, and what the page says.

NumPy alone: the rows import their library when they are asked.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

Ask = Callable[[], str]


class Row(NamedTuple):
    """A library, what is asked of it, how, and what the page says of each version that it names.

    An empty version stands for any.
    """

    library: str
    question: str
    ask: Ask
    page: dict[str, str]


ROWS: list[Row] = []
NAN = float("nan")
ZEROS = np.array([0.0, -0.0], np.float32)
SPECIAL = np.array([0.0, -0.0, NAN], np.float32)
BOUND = np.array([-1.0, 1.0, 0.5, 1.5], np.float32)
"""Both bounds, inside, outside."""
HALVES = np.array([0.5, 1.5, 2.5], np.float32)
"""Ties: to even they are 0, 2, 2, upwards 1, 2, 3."""


def row(library: str, version: str, question: str, page: str) -> Callable[[Ask], Ask]:
    """Add the function below it to the table; once for each library or version it is true of."""

    def add(ask: Ask) -> Ask:
        for item in ROWS:
            if (item.library, item.question, item.ask) == (library, question, ask):
                item.page[version] = page
                return ask
        ROWS.append(Row(library, question, ask, {version: page}))
        return ask

    return add


def shown(values: Any) -> str:
    """Numbers as the page has them: 1 0 -1; both zeros are 0."""
    return " ".join(f"{float(v) + 0.0:.4g}" for v in np.ravel(np.asarray(values)))
