"""The README's table of speed: every goal of the stored bench, in one line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from qnn_ref.report.build import Report
from qnn_ref.report.measured import machine_words
from qnn_ref.report.page import markdown_table
from qnn_ref.report.unmet import unmet_markdown

BEGIN, END = "<!-- {}: made by `qnn-ref report --readme` -->", "<!-- end of {} -->"


def speed_markdown(bench: Mapping[str, Any]) -> str:
    """Rows of the bench that have a goal: those of one name, peer and goal in a line.

    Parameters
    ----------
    bench : dict
        Answer of `qnn-ref bench --json`.

    Returns
    -------
    str
        Markdown, with the machine in a line below the table.
    """
    groups: dict[tuple[str, str, float], list[Mapping[str, Any]]] = {}
    for row in bench["rows"]:
        if row["met"] is not None:
            groups.setdefault((row["name"], row["peer_name"], row["goal"]), []).append(row)
    lines = ["| what | against | times as fast | goal | met |", "| --- | --- | --- | --- | --- |"]
    for (name, peer, goal), rows in groups.items():
        memory = rows[0]["unit"] == "bytes"
        wanted = f"at most {goal:g}" if memory else f"{goal:g}"
        what = f"{name}, {_sizes(rows)}"
        lines.append(f"| {what} | {peer} | {_range(rows)} | {wanted} | {_met(rows)} |")
    met = [row["met"] for row in bench["rows"] if row["met"] is not None]
    versions = bench["machine"]["versions"]
    with_versions = ", ".join(f"{n} {v}" for n, v in versions.items() if v)
    return "\n".join(
        [
            *lines,
            "",
            f"{sum(met)} of {len(met)} goals are met: {machine_words(bench)}; Python "
            f"{bench['machine']['python']}, {with_versions}.",
        ]
    )


def _sizes(rows: Sequence[Mapping[str, Any]]) -> str:
    sizes = list(dict.fromkeys(row["size"] for row in rows))
    threads = sorted({row["threads"] for row in rows})
    size = sizes[0] if len(sizes) == 1 else f"{len(sizes)} sizes"
    return size if threads == [1] else f"{size}, {' and '.join(map(str, threads))} threads"


def _range(rows: Sequence[Mapping[str, Any]]) -> str:
    low, high = (f(row["ratio"] for row in rows) for f in (min, max))
    return f"{low:.2f}" if len(rows) == 1 else f"{low:.2f} to {high:.2f}"


def _met(rows: Sequence[Mapping[str, Any]]) -> str:
    met = sum(row["met"] for row in rows)
    if met in (0, len(rows)):
        return "yes" if met else "no"
    return f"{met} of {len(rows)}"


def readme_blocks(report: Report, bench: Mapping[str, Any]) -> dict[str, str]:
    """What stands in a README between marks, by the name of the block.

    Parameters
    ----------
    report : Report
    bench : dict

    Returns
    -------
    dict of str
    """
    trained = [
        replace(row, command="")
        for id in ("table-1", "small")
        for row in report.table(id).rows
        if row.ours or row.command
    ]
    table = replace(report.table("table-1"), rows=tuple(trained))
    return {
        "speed": speed_markdown(bench),
        "results": markdown_table(table),
        "unmet": unmet_markdown(bench),
    }


def with_block(text: str, name: str, content: str) -> str:
    """The text with what stands between the two marks of a name replaced.

    Parameters
    ----------
    text : str
        Of a README.
    name : str
    content : str

    Returns
    -------
    str

    Raises
    ------
    ValueError
        If the marks do not stand there once each, in order.
    """
    begin, end = BEGIN.format(name), END.format(name)
    if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
        raise ValueError(f"text: expected {begin} and {end}, once each and in order")
    before, _, rest = text.partition(begin)
    return f"{before}{begin}\n{content}\n{end}{rest.partition(end)[2]}"
