"""The picture of the kernel ladder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from qnn_ref.plots.style import BLUE, TEXT, legend, new_figure, style

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
