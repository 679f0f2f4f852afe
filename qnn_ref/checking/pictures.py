"""Two arrays side by side in HTML, for reports in notebooks; no library draws them."""

from __future__ import annotations

import numpy as np

from qnn_ref._typing import Array

LARGEST = 400
"""Elements of an array up to which it is drawn."""


def both_arrays(yours: Array | None, expected: Array | None) -> str:
    """A gradient beside what was expected, as coloured tables; what differs has a frame.

    Parameters
    ----------
    yours, expected : array or None
        Of one shape; NaN where nothing is known.

    Returns
    -------
    str
        HTML; nothing for arrays that are missing, of different shapes, or large.
    """
    if yours is None or expected is None or yours.shape != expected.shape:
        return ""
    if not 0 < yours.size <= LARGEST:
        return ""
    rows = (-1, yours.shape[-1]) if yours.ndim else (1, 1)
    a, b = (np.asarray(array, dtype=np.float64).reshape(rows) for array in (yours, expected))
    largest = max(float(np.nanmax(np.abs(np.nan_to_num(c)))) for c in (a, b)) or 1.0
    differ = np.abs(np.nan_to_num(a - b)) > 1e-6 * largest
    tables = "".join(
        f'<td style="vertical-align: top">{title}{_table(c, differ, largest)}</td>'
        for title, c in (("yours", a), ("expected", b))
    )
    return f"<table><tr>{tables}</tr></table>"


def _table(array: Array, differ: Array, largest: float) -> str:
    rows = (
        "".join(_cell(value, wrong, largest) for value, wrong in zip(line, marks, strict=True))
        for line, marks in zip(array, differ, strict=True)
    )
    return "<table>" + "".join(f"<tr>{row}</tr>" for row in rows) + "</table>"


def _cell(value: float, wrong: bool, largest: float) -> str:
    """Blue below 0, orange above: they stay apart in grey by the number's sign."""
    if np.isnan(value):
        return "<td>?</td>"
    colour = "230, 159, 0" if value > 0 else "0, 114, 178"
    style = f"background: rgba({colour}, {min(1.0, abs(value) / largest) * 0.7:.2f})"
    frame = "; border: 2px solid black" if wrong else ""
    return f'<td style="{style}{frame}">{value:.3g}</td>'
