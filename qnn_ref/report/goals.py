"""Rows of the bench that have a goal, in the words that tables of them share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Rows = Sequence[Mapping[str, Any]]


def grouped(rows: Iterable[Mapping[str, Any]]) -> list[Rows]:
    """Those of one name, peer and goal together: a line of a table each.

    Parameters
    ----------
    rows : iterable of dict
        Rows that have a goal.

    Returns
    -------
    list of list of dict
    """
    groups: dict[tuple[str, str, float], list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["name"], row["peer_name"], row["goal"]), []).append(row)
    return list(groups.values())


def what(rows: Rows) -> str:
    """Name of a group, its size or how many there are, and its threads.

    Parameters
    ----------
    rows : list of dict

    Returns
    -------
    str
    """
    sizes = list(dict.fromkeys(row["size"] for row in rows))
    threads = sorted({row["threads"] for row in rows})
    size = sizes[0] if len(sizes) == 1 else f"{len(sizes)} sizes"
    words = f"{rows[0]['name']}, {size}"
    return words if threads == [1] else f"{words}, {' and '.join(map(str, threads))} threads"


def wanted(rows: Rows) -> str:
    """The goal of a group; of times and bytes that are waited for or held it is an upper bound.

    Parameters
    ----------
    rows : list of dict

    Returns
    -------
    str
    """
    first = rows[0]
    upper = first["met"] != (first["ratio"] >= first["goal"])
    return f"at most {first['goal']:g}" if upper else f"{first['goal']:g}"


def between(ratios: Iterable[float]) -> str:
    """Smallest and largest ratio in letters; nothing if there is none.

    Parameters
    ----------
    ratios : iterable of float

    Returns
    -------
    str
    """
    found = sorted(ratios)
    if not found:
        return ""
    low, high = f"{found[0]:.2f}", f"{found[-1]:.2f}"
    return low if low == high else f"{low} to {high}"
