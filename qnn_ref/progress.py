"""How far a long piece of work has come: a bar on a terminal, a line a minute elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any, TextIO

from tqdm import tqdm

Bar = tqdm

SECONDS_PER_LINE = 60.0
"""Where nobody watches: ten hours of training are 600 lines of a log."""


def progress_bar(
    items: Iterable[Any] | None = None,
    *,
    total: int | None = None,
    unit: str = "step",
    title: str = "",
    show: bool = True,
) -> tqdm[Any]:
    """Return a bar that writes to standard error, or nothing at all.

    On a terminal it is drawn again and again in one place. In a log or a pipe it is a line now and
    then: the first at once, the last at the end, one a minute in between. What is set with
    `set_postfix(..., refresh=False)` stands in the next of them.

    Parameters
    ----------
    items : iterable, optional
        What is worked through; without it `update` moves the bar.
    total : int, optional
        Number of units, where `items` does not say.
    unit : str
        What is counted.
    title : str
        Stands in front.
    show : bool
        False writes nothing.

    Returns
    -------
    tqdm
        Iterable, and a context manager that closes it.
    """
    watched = sys.stderr is not None and sys.stderr.isatty()
    # With a fixed number of steps between two looks at the clock, tqdm's monitor never intervenes.
    seldom = {"mininterval": SECONDS_PER_LINE, "miniters": 1, "ascii": True}
    how: dict[str, Any] = {} if watched else seldom
    return tqdm(
        items,
        total=total,
        unit=unit,
        desc=title or None,
        disable=not show or sys.stderr is None,
        file=sys.stderr if watched else _Lines(sys.stderr),
        **how,
    )


class _Lines:
    """A stream on which a bar that is drawn over itself becomes lines."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, text: str) -> None:
        if line := text.strip():
            self.stream.write(line + "\n")

    def flush(self) -> None:
        self.stream.flush()
