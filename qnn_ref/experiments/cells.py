"""Numbers in the cells of stored tables: what Python reads as one may be none (1_0, nan, ١)."""

from __future__ import annotations

import re

from qnn_ref.checks import real, whole

WHOLE = re.compile(r"-?[0-9]{1,18}")
REAL = re.compile(r"-?[0-9]{1,18}(\.[0-9]{1,40})?(e[+-]?[0-9]{1,3})?")


def whole_cell(name: str, text: str, least: int | None = None, most: int | None = None) -> int:
    """Read a whole number.

    Parameters
    ----------
    name : str
        Of the column, for the error.
    text : str
    least, most : int, optional

    Returns
    -------
    int

    Raises
    ------
    ValueError
        If it is none, or out of the range.
    """
    if not WHOLE.fullmatch(text):
        raise ValueError(f"{name}: expected a whole number, got {text!r:.60}")
    return whole(name, int(text), least, most)


def real_cell(name: str, text: str, least: float | None = None, most: float | None = None) -> float:
    """Read a finite number.

    Parameters
    ----------
    name : str
        Of the column, for the error.
    text : str
    least, most : float, optional

    Returns
    -------
    float

    Raises
    ------
    ValueError
        If it is none, or out of the range.
    """
    if not REAL.fullmatch(text):
        raise ValueError(f"{name}: expected a finite number, got {text!r:.60}")
    return real(name, float(text), least=least, most=most)
