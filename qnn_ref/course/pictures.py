"""The smallest case, drawn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from qnn_ref._typing import Array

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LARGEST = 256
"""Elements of an array that is drawn."""


def case_figure(arrays: Mapping[str, Any]) -> Figure:
    """Draw a case: words as bits, numbers as cells.

    Parameters
    ----------
    arrays : mapping of str to object
        What is no array, or a large one, is left out.

    Returns
    -------
    Figure
    """
    from qnn_ref import plots

    found: dict[str, Array] = {}
    for name, value in arrays.items():
        for number, part in enumerate(value if isinstance(value, tuple) else (value,), 1):
            title = f"{name} {number}" if isinstance(value, tuple) else name
            if isinstance(part, np.ndarray | np.generic | int | float):
                found[title] = np.atleast_1d(np.asarray(part))
    drawn = {
        name: a.reshape(-1, a.shape[-1])
        for name, a in found.items()
        if 0 < a.size <= LARGEST and a.dtype.kind in "biuf" and np.isfinite(a).all()
    }
    if not drawn:
        raise ValueError("no array of at most 256 numbers")
    words = {name: a for name, a in drawn.items() if a.dtype == np.uint64}
    if words:
        rows = {
            f"{name} {i}" if len(a) > 1 else name: _bits(row)
            for name, a in words.items()
            for i, row in enumerate(a)
        }
        longest = max(map(len, rows.values()))
        return plots.bits_figure({n: np.pad(r, (0, longest - len(r))) for n, r in rows.items()})
    return plots.arrays_figure(drawn)


def _bits(words: Array) -> Array:
    """Element 0 first."""
    return np.unpackbits(words.astype("<u8").view(np.uint8), bitorder="little")
