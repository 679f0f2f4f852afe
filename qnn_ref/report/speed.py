"""The README's table of speed: every goal of the stored bench, in one line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from qnn_ref.report.build import Report
from qnn_ref.report.goals import Rows, between, grouped, wanted, what
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
    lines = [
        "| what | against | times as fast, or share | goal | met |",
        "| --- | --- | --- | --- | --- |",
    ]
    for rows in grouped(row for row in bench["rows"] if row["met"] is not None):
        ratios = between(row["ratio"] for row in rows)
        cells = what(rows), rows[0]["peer_name"], ratios, wanted(rows), _met(rows)
        lines.append(f"| {' | '.join(cells)} |")
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


def _met(rows: Rows) -> str:
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
