"""Pictures of energy: prices, formats, layers; numbers in, matplotlib Figure out (section 5).

Energies differ by thousands, so their axes are logarithmic: a bar has no foot there, and lengths
are compared in powers of ten. Each bar has its number beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from qnn_ref.plots.kernels import HATCHES, SHADES
from qnn_ref.plots.style import TEXT, legend, new_figure, style

WHAT = ("operations", "memory")
UNITS = ((1e12, "J"), (1e9, "mJ"), (1e6, "µJ"), (1e3, "nJ"), (1.0, "pJ"))


def written(pico: float) -> str:
    """An energy in picojoules with the unit that fits it."""
    for size, unit in UNITS:
        if pico >= size:
            return f"{pico / size:.3g} {unit}"
    return f"{pico:.2g} pJ"


def prices_figure(groups: Mapping[str, Mapping[str, float]]) -> Figure:
    """What one operation or one access costs, in groups, on one logarithmic axis.

    Parameters
    ----------
    groups : mapping of str to mapping of str to float
        By the name of a group its prices in picojoules, by their names.

    Returns
    -------
    Figure
    """
    names = [name for prices in groups.values() for name in prices]
    figure = new_figure(11, 1.2 + 0.36 * (len(names) + 0.6 * len(groups)))
    axes, at = figure.subplots(), 0.0
    ticks: list[float] = []
    for (group, prices), shade, hatch in zip(groups.items(), SHADES, HATCHES, strict=False):
        places = at + np.arange(len(prices))
        _bars(axes, places, list(prices.values()), 0.75, group, shade, hatch)
        ticks.extend(places)
        at = places[-1] + 1.6
    axes.set_yticks(ticks, names)
    axes.set_ylim(at - 0.9, -0.7)
    _energy_axis(axes, [price for prices in groups.values() for price in prices.values()])
    style(axes, "", "energy of one")
    legend(axes, loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=len(groups))
    return figure


def cost_figure(
    title: str,
    totals: Mapping[str, tuple[float, float]],
    layers: Mapping[str, Mapping[str, tuple[float, float]]] | None = None,
) -> Figure:
    """Energy of operations and of memory: of a network in some formats, and of its layers in two.

    Parameters
    ----------
    title : str
    totals : mapping of str to pair of float
        By the name of a format the picojoules of operations and of memory accesses.
    layers : mapping of str to mapping of str to pair of float, optional
        By the name of a format the same of each layer, by its place.

    Returns
    -------
    Figure
    """
    most = max((len(places) for places in (layers or {}).values()), default=0)
    figure = new_figure(12, 1.6 + 0.62 * (len(totals) + most) + 0.8 * bool(layers))
    ratios = [len(totals), most] if layers else [1]
    grid = figure.add_gridspec(len(ratios), len(layers or "1"), height_ratios=ratios)
    top = figure.add_subplot(grid[0, :])
    everything = [e for pair in totals.values() for e in pair]
    for places in (layers or {}).values():
        everything += [energy for pair in places.values() for energy in pair]
    _pairs(top, totals, everything)
    style(top, title, "" if layers else "energy")
    for column, (number, places) in enumerate((layers or {}).items()):
        axes = figure.add_subplot(grid[1, column])
        _pairs(axes, places, everything)
        style(axes, f"layers, {number}", "energy")
    where: dict[str, Any] = {"loc": "outside lower center", "ncols": 2}
    figure.legend(*top.get_legend_handles_labels(), frameon=False, fontsize=TEXT, **where)
    return figure


def _pairs(axes: Axes, rows: Mapping[str, tuple[float, float]], scale: list[float]) -> None:
    """Two bars a row: operations and memory."""
    at = np.arange(len(rows))
    for k, what in enumerate(WHAT):
        values = [pair[k] for pair in rows.values()]
        _bars(axes, at + 0.4 * (k - 0.5), values, 0.38, what, SHADES[k], HATCHES[k])
    axes.set_yticks(at, list(rows))
    axes.set_ylim(len(rows) - 0.4, -0.6)
    _energy_axis(axes, scale)


def _bars(
    axes: Axes, places: Any, values: list[float], height: float, name: str, shade: str, hatch: str
) -> None:
    look: dict[str, Any] = {"color": shade, "hatch": hatch, "edgecolor": "black", "linewidth": 0.8}
    bars = axes.barh(places, [max(value, 1e-9) for value in values], height, label=name, **look)
    axes.bar_label(bars, [written(value) for value in values], padding=4, fontsize=TEXT)


def _energy_axis(axes: Axes, values: list[float]) -> None:
    """From a power of ten below all bars, with room for numbers behind the longest."""
    positive = [value for value in values if value > 0]
    low = 10.0 ** np.floor(np.log10(min(positive)) - 0.3)
    axes.set_xscale("log")
    axes.set_xlim(low, max(positive) * (max(positive) / low) ** 0.25)
    axes.xaxis.set_major_formatter(lambda value, _: written(value))
