"""The picture of the kernel ladder."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, NullLocator, StrMethodFormatter

from qnn_ref.plots.style import BLUE, GREEN, GREY, ORANGE, TEXT, legend, new_figure, style

LIGHT = "#BBBBBB"


def ladder_figure(
    names: Sequence[str], tops: Sequence[float], ceiling: float, peers: Mapping[str, float]
) -> Figure:
    """How fast each rung of the ladder is, with the machine's ceiling as a line.

    Parameters
    ----------
    names : sequence of str
        The rungs, lowest first.
    tops : sequence of float
        Their pace in 10^12 operations a second (a product and an addition for each pair).
    ceiling : float
        Pace of a loop that only XORs, counts and adds.
    peers : mapping of str to float
        Pace of other libraries; light bars with hatching, below the rungs.

    Returns
    -------
    Figure
    """
    figure = new_figure(11, 1.6 + 0.45 * (len(names) + len(peers)))
    axes = figure.subplots()
    dark: dict[str, Any] = {"color": BLUE}
    light: dict[str, Any] = {"color": LIGHT, "edgecolor": "black", "hatch": "//", "linewidth": 0.5}
    place = 0
    for label, bars, look in (
        ("this package", dict(zip(names, tops, strict=True)), dark),
        ("others", peers, light),
    ):
        if not bars:
            continue
        places = range(place, place + len(bars))
        drawn = axes.barh(places, list(bars.values()), 0.7, label=label, **look)
        axes.bar_label(drawn, [f"{v:.3g}" for v in bars.values()], padding=4, fontsize=TEXT)
        place += len(bars)
    axes.axvline(ceiling, color="black", linestyle="--", label=f"ceiling, {ceiling:.3g}")
    axes.set_yticks(range(place), [*names, *peers])
    axes.invert_yaxis()
    axes.set_xlim(0, 1.15 * max(ceiling, *tops, *peers.values()))
    style(
        axes,
        "One core multiplies matrices of +1 and −1",
        "10¹² operations / s, 2 M N K for a product (TOPS)",
    )
    legend(axes, loc="lower center", bbox_to_anchor=(0.5, 1.06), ncols=3)
    return figure


LOOKS: Mapping[str, Any] = {
    "ours": {"color": BLUE, "marker": "o"},
    "PyTorch float32": {"color": ORANGE, "marker": "s", "linestyle": "--"},
    "PyTorch compiled": {"color": GREEN, "marker": "^", "linestyle": "-."},
    "latent + two moments + gradient": {"color": GREY, "linestyle": ":"},
}
PANELS = (
    ("training step", "width", "Training step, batch 100", "ms"),
    ("training step", "batch", "Training step, 1,024 units", "ms"),
    ("packed inference", "width", "Packed inference, 1,000 images", "ms"),
    ("packed inference", "batch", "Packed inference, 1,024 units", "ms"),
    ("memory of a step", "width", "Memory of a step, batch 100", "MB"),
)
"""What a panel shows, against what, its title and unit."""


def scaling_figure(rows: Sequence[Mapping[str, Any]], ceiling: Mapping[str, float]) -> Figure:
    """Cost against width and against batch, both axes logarithmic, with the machine's limit.

    Parameters
    ----------
    rows : sequence of dict
        Of the bench's "scaling".
    ceiling : dict
        "tops" of a loop that only counts, and "read_gb_per_s".

    Returns
    -------
    Figure
    """
    figure = new_figure(12, 12)
    places = figure.subplots(3, 2).ravel()
    for axes, (what, against, title, unit) in zip(places, PANELS, strict=False):
        curves, limit = _curves(rows, what, against, ceiling)
        for name, points in curves.items():
            axes.plot(*zip(*sorted(points), strict=True), label=name, **LOOKS[name])
        if limit:
            axes.plot(*zip(*sorted(limit), strict=True), color="black", label="limit", linewidth=1)
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xticks(sorted({x for points in curves.values() for x, _ in points}))
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
        style(axes, title, "units of a hidden layer" if against == "width" else "batch", unit)
        if curves:
            legend(axes)
    places[-1].axis("off")
    places[-1].text(0, 0.5, LIMIT, fontsize=TEXT, va="center", wrap=True)
    return figure


LIMIT = """One thread. Limit of a step: what Adam reads and
writes (28 bytes a weight) at the pace of reading,
and the forward products at the pace of a loop
that only counts bits. Of inference: these
products alone."""


def _curves(
    rows: Sequence[Mapping[str, Any]], what: str, against: str, ceiling: Mapping[str, float]
) -> tuple[dict[str, list[tuple[int, float]]], list[tuple[int, float]]]:
    """Points of each curve of a panel, and those of its limit."""
    curves: dict[str, list[tuple[int, float]]] = {}
    limit: dict[int, float] = {}
    fixed = {"width": 1000 if what == "packed inference" else 100, "batch": 1024}[against]
    for row in rows:
        width, batch = (int(n) for n in re.findall(r"3x(\d+)-10, batch (\d+)", row["size"])[0])
        x, other = (width, batch) if against == "width" else (batch, width)
        if row["name"] != f"scaling: {what}" or other != fixed:
            continue
        scale = 1e-6 if row["unit"] == "bytes" else 1e3
        curves.setdefault("ours", []).append((x, scale * row["ours"]))
        if row["peer"] is not None:
            curves.setdefault(row["peer_name"], []).append((x, scale * row["peer"]))
        if row["unit"] != "bytes":
            limit[x] = 1e3 * _limit(width, batch, what == "training step", ceiling)
    return {name: list(dict(points).items()) for name, points in curves.items()}, list(
        limit.items()
    )


def _limit(width: int, batch: int, step: bool, ceiling: Mapping[str, float]) -> float:
    """Seconds that neither counting nor memory allows to fall below."""
    inner = 2 * width * width
    weights = inner + (784 + 10) * width
    counted = 2 * batch * (inner + (8 * 784 + 10) * width) / (1e12 * ceiling["tops"])
    return counted + step * 28 * weights / (1e9 * ceiling["read_gb_per_s"])
