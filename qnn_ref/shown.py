"""How objects show themselves: calls, code without docstrings, tables, times."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Callable, Collection, Mapping, Sequence
from html import escape
from typing import Any


def call(thing: Any, values: Mapping[str, Any]) -> str:
    """Return the call that makes an object: what differs from the defaults, and leading sizes.

    Parameters
    ----------
    thing : object
        Its class has the signature.
    values : mapping
        Arguments of the class by name; one that is missing is shown as `...`.

    Returns
    -------
    str
        Like `Conv2D(64, 3, padding=1)`.
    """
    shown, in_order = list[str](), True
    for name, parameter in inspect.signature(type(thing)).parameters.items():
        value, default = values.get(name, ...), parameter.default
        if parameter.kind is parameter.VAR_POSITIONAL:
            shown += map(_text, () if value is ... else value)
            continue
        positional = parameter.kind is not parameter.KEYWORD_ONLY and in_order
        a_size = positional and type(default) is int and default > 0  # the first look
        if default is not parameter.empty and not a_size and _text(value) == _text(default):
            in_order = False
            continue
        shown.append(_text(value) if positional else f"{name}={_text(value)}")
    return f"{type(thing).__name__}({', '.join(shown)})"


def _text(value: Any) -> str:
    """Plain numbers, one for a pair of equals."""
    if isinstance(value, tuple) and len(value) == 2 and value[0] == value[1]:
        return _text(value[0])
    if value is ...:
        return "..."
    return repr(value.item() if getattr(value, "ndim", None) == 0 else value)


def array(array: Any) -> str:
    """Return what an array is, not what it holds: `uint64 (10, 13)`."""
    return f"{array.dtype} {array.shape}"


def source(function: Callable[..., Any]) -> str:
    """Return the code of a function without its docstring, for a notebook that stays in step.

    Words to type checkers and linters are left out as well.

    Parameters
    ----------
    function : function
        A kernel gives the Python that was compiled.

    Returns
    -------
    str
    """
    text = textwrap.dedent(inspect.getsource(getattr(function, "py_func", function)))
    (definition,) = ast.parse(text).body
    lines, first = text.splitlines(), definition.body[0]  # type: ignore[attr-defined]
    if ast.get_docstring(definition) is not None:  # type: ignore[arg-type]
        del lines[first.lineno - 1 : first.end_lineno]
    return "\n".join(re.sub(r"\s+# (type:|noqa).*", "", line) for line in lines)


def columns(rows: Sequence[Sequence[str]], right: Collection[int] = ()) -> str:
    """Return cells as lines of text, in columns.

    Parameters
    ----------
    rows : sequence of rows of str
        The first is the head.
    right : collection of int
        Columns of numbers, which stand on the right.

    Returns
    -------
    str
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [
            cell.rjust(width) if index in right else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def html_table(
    rows: Sequence[Sequence[str]], right: Collection[int] = (), bold: Collection[int] = ()
) -> str:
    """Return cells as an HTML table for notebooks; no colours, no scripts.

    Parameters
    ----------
    rows : sequence of rows of str
        The first is the head; whatever stands in a cell is shown as text.
    right : collection of int
        Columns of numbers, which stand on the right.
    bold : collection of int
        Rows below the head, from 0, that matter most.

    Returns
    -------
    str
    """

    def row(tag: str, cells: Sequence[str]) -> str:
        places = ["right" if index in right else "left" for index in range(len(cells))]
        return "".join(
            f'<{tag} style="text-align: {place}">{escape(cell)}</{tag}>'
            for place, cell in zip(places, cells, strict=True)
        )

    weight = ' style="font-weight: bold"'
    body = "".join(
        f"<tr{weight if index in bold else ''}>{row('td', cells)}</tr>"
        for index, cells in enumerate(rows[1:])
    )
    return f"<table><thead><tr>{row('th', rows[0])}</tr></thead><tbody>{body}</tbody></table>"


UNITS = (("days", 24.0, 48.0), ("h", 1.0, 1.0), ("min", 1 / 60, 1 / 60), ("s", 1 / 3600, 0.0))
"""Units of time: name, how many hours one is, from how many hours on it is used."""


def duration(hours: float) -> str:
    """A time in the unit that suits it, such as "3.9 h".

    Parameters
    ----------
    hours : float
        0 or more.

    Returns
    -------
    str
    """
    unit, length, _ = next(row for row in UNITS if hours >= row[2])
    return f"{hours / length:.{0 if hours >= 10 * length else 1}f} {unit}"
