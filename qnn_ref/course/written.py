"""Numbers as a student reads them: in full, so that two that differ look different."""

from __future__ import annotations

from typing import Any

import numpy as np

WIDTH = 96


def written(value: Any) -> str:
    """A value in words.

    Parameters
    ----------
    value : object

    Returns
    -------
    str
        One line for a number or a vector; a matrix in brackets.
    """
    if isinstance(value, tuple):
        return f"({', '.join(map(written, value))})"
    if isinstance(value, np.ndarray):
        with np.printoptions(floatmode="unique", threshold=40, edgeitems=3, linewidth=10_000):
            text = np.array2string(value, separator=", ")
        return " ".join(text.split())
    if isinstance(value, np.generic):
        return str(value)
    try:
        text = repr(value)
    except Exception as error:
        return f"(what cannot be shown: {type(error).__name__})"
    return text if len(text) <= WIDTH else text[: WIDTH - 3] + "..."


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
