"""Numbers as a student reads them: in full, so that two that differ look different."""

from __future__ import annotations

from typing import Any

import numpy as np

WIDTH = 96
SMALL = 10_000


def written(value: Any, short: bool = False) -> str:
    """A value in words.

    Parameters
    ----------
    value : object
    short : bool
        Six digits and no -0.0, for results.

    Returns
    -------
    str
        One line for a number or a vector; a matrix in brackets.
    """
    if isinstance(value, tuple):
        return f"({', '.join(written(part, short) for part in value)})"
    if short and isinstance(value, float | np.floating | np.ndarray):
        small = np.size(value) <= SMALL  # a view may pretend to more than memory holds
        value = value + 0.0 if small and np.asarray(value).dtype.kind == "f" else value
    if isinstance(value, np.ndarray):
        mode = {"precision": 6} if short else {"floatmode": "unique"}
        with np.printoptions(threshold=40, edgeitems=3, linewidth=10_000, **mode):  # type: ignore
            text = np.array2string(value, separator=", ")
        return " ".join(text.split()).replace("[ ", "[")
    if short and isinstance(value, float | np.floating):
        return f"{value:.6g}"
    if isinstance(value, np.generic):
        return str(value)
    try:
        text = repr(value)
    except Exception as error:
        return f"(what cannot be shown: {type(error).__name__})"
    return text if len(text) <= WIDTH else text[: WIDTH - 3] + "..."


def printable(text: str) -> str:
    """A line that every screen can show: others may have put control characters into it."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def both(yours: Any, right: Any) -> tuple[str, str]:
    """Two results in words: short where that shows that they differ.

    Parameters
    ----------
    yours, right : object

    Returns
    -------
    tuple of str
    """
    pair = written(yours, short=True), written(right, short=True)
    return pair if pair[0] != pair[1] else (written(yours), written(right))


def listed(arguments: dict[str, Any]) -> str:
    """Arguments by name: `dy = [1.], x = [1.]`.

    Parameters
    ----------
    arguments : dict

    Returns
    -------
    str
    """
    return ", ".join(f"{name} = {written(value)}" for name, value in arguments.items())
