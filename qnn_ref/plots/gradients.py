"""Pictures of quantized gradients (section 3): arrays in, matplotlib Figure out.

Sizes on a logarithmic axis, what rounding does to them and to their sums, products of powers of
two by bit planes, training curves.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator

from qnn_ref._typing import Array
from qnn_ref.plots.style import (
    BLUE,
    COLOURS,
    GREEN,
    GREY,
    LABEL,
    LINES,
    MARKERS,
    ORANGE,
    TEXT,
    History,
    legend,
    new_figure,
    style,
)

BELOW, ABOVE = np.sqrt(0.5), np.sqrt(2.0)
"""Bounds of a power of two over the number that it stands for."""


def octave_edges(low: float, high: float) -> Array:
    """Return edges of bins one octave wide, each with its power of two in the middle."""
    first, last = np.round(np.log2([low, high]))
    return 2.0 ** (np.arange(first, last + 2) - 0.5)


def size_shares(values: Array, edges: Array) -> Array:
    """Share of all values, zeros too, whose size lies in each bin, in percent."""
    return 100 * np.histogram(np.abs(values), edges)[0] / values.size


def draw_decades(axes: Axes) -> None:
    """Make the x axis logarithmic, with a tick at every power of ten that has room."""
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(numticks=8))
    axes.xaxis.set_minor_locator(NullLocator())


# Sizes


def gradient_sizes_figure(gradients: Mapping[str, Array]) -> Figure:
    """Sizes of gradients on a logarithmic axis, in bins of one octave.

    Parameters
    ----------
    gradients : mapping of str to array, any shape
        By the names that the legend shows; zeros are left out.

    Returns
    -------
    Figure
    """
    figure = new_figure(10, 4.5)
    axes = figure.subplots()
    sizes = np.concatenate([np.abs(values[values != 0]) for values in gradients.values()])
    edges = octave_edges(sizes.min(), sizes.max())
    for (name, values), colour, line in zip(gradients.items(), COLOURS, LINES, strict=False):
        shares = size_shares(values, edges)
        axes.stairs(shares, edges, color=colour, linestyle=line, linewidth=2.5, label=name)
    draw_decades(axes)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_locator(NullLocator())
    style(axes, "Bins of one octave: a factor of 2 each", "size of a gradient", "share / %")
    legend(axes, loc="upper left")
    return figure


def quantized_sizes_figure(before: Array, after: Mapping[str, Array]) -> Figure:
    """Sizes of a gradient before and after, one quantizer below the other.

    The grey area is before; each line is a level, as high as its share of the gradients. Those
    that became 0 have no place on a logarithmic axis: they are the orange bar on the left.

    Parameters
    ----------
    before : array, any shape
    after : mapping of str to array, the shape of `before`
        By the titles.

    Returns
    -------
    Figure
    """
    figure = new_figure(10, 2.9 * len(after) + 0.3)
    all_axes = figure.subplots(len(after), 1, sharex=True, squeeze=False)[:, 0]
    sizes = np.abs(before[before != 0])
    edges = octave_edges(sizes.min(), 2 * sizes.max())
    grey = size_shares(before, edges)
    zero = edges[0] / 16
    for axes, (title, values) in zip(all_axes, after.items(), strict=True):
        axes.stairs(grey, edges, color="#CCCCCC", fill=True)
        levels, counts = np.unique(np.abs(values), return_counts=True)
        shares = 100 * counts / values.size
        lost = float(shares[levels == 0].sum())
        up = levels > 0
        axes.vlines(levels[up], 0, shares[up], color=BLUE, linewidth=2.5)
        axes.plot(levels[up], shares[up], "o", color=BLUE, markersize=4)
        corner = zero / 2, 0
        axes.add_patch(Rectangle(corner, 1.5 * zero, lost, facecolor=ORANGE, edgecolor="none"))
        top = 1.25 * max(grey.max(), shares.max())
        axes.text(
            zero, lost + 0.02 * top, f"{lost:.0f} %", ha="center", va="bottom", fontsize=LABEL
        )
        axes.axvline(4 * zero, color=GREY, linestyle="--", linewidth=1)
        draw_decades(axes)
        axes.set_xlim(zero / 4, edges[-1])
        axes.set_ylim(0, top)
        decades = 10.0 ** np.arange(np.ceil(np.log10(edges[0])), np.log10(edges[-1]))
        names = [f"$10^{{{round(float(np.log10(d)))}}}$" for d in decades]
        axes.set_xticks([zero, *decades], ["0", *names])
        style(axes, title, "size of a gradient" if axes is all_axes[-1] else "", "share / %")
        axes.tick_params(labelbottom=True)
    return figure


def gradient_ratios_figure(x: Array, after: Mapping[str, Array]) -> Figure:
    """Quantized over real, against the size of the gradient.

    Parameters
    ----------
    x : array (n,)
        Ascending, above 0.
    after : mapping of str to array (n,)
        Quantized, by the titles.

    Returns
    -------
    Figure
    """
    figure = new_figure(11, 4.2)
    all_axes = figure.subplots(1, len(after), sharey=True, squeeze=False)[0]
    for axes, (title, values) in zip(all_axes, after.items(), strict=True):
        for piece in np.split(np.arange(len(x)), np.flatnonzero(np.diff(values)) + 1):
            colour = BLUE if values[piece[0]] else ORANGE
            axes.plot(x[piece], values[piece] / x[piece], "-", color=colour, linewidth=2.5)
        for bound in (BELOW, 1, ABOVE):
            axes.axhline(bound, color=GREY, linestyle=":", linewidth=1, zorder=0)
        draw_decades(axes)
        style(
            axes, title, "size of a gradient", "" if axes is not all_axes[0] else "after / before"
        )
    all_axes[0].set_yticks([0, BELOW, 1, ABOVE, 2], ["0", r"$\sqrt{1/2}$", "1", r"$\sqrt{2}$", "2"])
    all_axes[0].set_ylim(-0.1, 2.1)
    return figure


# Bias


def draws_figure(x: Array, draws: Mapping[str, Array]) -> Figure:
    """Draws of stochastic rounding (dots) and their mean (solid), beside the number (dashed).

    Parameters
    ----------
    x : array (n,)
        Ascending.
    draws : mapping of str to array (draws, n)
        By the titles; one draw is enough for a rule without chance.

    Returns
    -------
    Figure
    """
    figure = new_figure(4 * len(draws), 4.4)
    all_axes = figure.subplots(1, len(draws), sharey=True, squeeze=False)[0]
    for axes, (title, values) in zip(all_axes, draws.items(), strict=True):
        few = values[:3]
        if len(values) > 1:
            places = np.broadcast_to(x, few.shape)
            axes.plot(places.ravel(), few.ravel(), "o", color=GREY, markersize=2.5, zorder=1)
        axes.plot(x, values.mean(axis=0), "-", color=BLUE, linewidth=2.5, label="mean")
        axes.plot(x, x, "--", color=ORANGE, linewidth=2, label="no bias")
        style(axes, title, "gradient", "" if axes is not all_axes[0] else "after rounding")
    legend(all_axes[0], loc="upper left")
    return figure


def column_sums_figure(sums: Mapping[str, Array]) -> Figure:
    """Sums of the columns of a gradient, a dot a unit, a strip for each rule.

    Parameters
    ----------
    sums : mapping of str to array (units,)
        In percent of the sum of sizes, by the names on the left.

    Returns
    -------
    Figure
    """
    figure = new_figure(10, 0.75 * len(sums) + 1.3)
    axes = figure.subplots()
    for row, values in enumerate(sums.values()):
        aside = 0.2 * np.cos(2.4 * np.arange(len(values)))  # apart, so that dots do not cover dots
        axes.plot(values, row + aside, "o", color=BLUE, markersize=4, alpha=0.7)
    axes.axvline(0, color="black", linewidth=1, zorder=0)
    axes.set_yticks(range(len(sums)), list(sums))
    axes.set_ylim(len(sums) - 0.5, -0.5)
    title = "One dot a unit: the sum of its gradients over the batch"
    style(axes, title, "sum / sum of sizes, in %", "")
    return figure


# Products by shifts


def power_planes_figure(signs: Array, powers: Array, factor: Array) -> Figure:
    """A row of signed powers of two times a row of +-1, from its bit planes.

    A plane has a 1 where the gradient is its power. The 1 is black and counts +1 where S and W
    agree; where they differ it is orange and counts -1.

    Parameters
    ----------
    signs : array (K,) of 0 and 1
        1 where the gradient is not negative.
    powers : array (P, K) of 0 and 1
        Plane j: 1 where the size is 2^j.
    factor : array (K,) of 0 and 1
        1 for +1.

    Returns
    -------
    Figure
    """
    differ = signs != factor
    count, K = powers.shape
    rows: list[tuple[str, Array, str]] = [
        ("sign S", signs, ""),
        ("factor W", factor, ""),
        ("S XOR W", differ, ""),
    ]
    total = 0
    for j in reversed(range(count)):
        ones, turned = int(powers[j].sum()), int((powers[j].astype(bool) & differ).sum())
        value = (ones - 2 * turned) << j
        total += value
        text = f"({ones} − 2·{turned}) << {j} = {value}".replace("-", "−")
        rows.append((f"plane {j}: {2**j}", powers[j], text))
    figure = new_figure(11, 0.46 * (len(rows) + 1) + 0.9)
    axes = figure.subplots()
    for row, (_, bits, text) in enumerate(rows):
        place = row + 0.4 * (row >= 3)  # a gap below the signs
        for i, bit in enumerate(bits):
            ink = ORANGE if row >= 3 and differ[i] else "black"
            face = ink if bit else "white"
            corner = i - 0.5, place - 0.5
            axes.add_patch(Rectangle(corner, 1, 1, facecolor=face, edgecolor=GREY, linewidth=0.8))
            options: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": TEXT}
            axes.text(i, place, str(int(bit)), color="white" if bit else "black", **options)
        axes.text(K + 0.1, place, text, ha="left", va="center", fontsize=LABEL)
    bottom = len(rows) + 0.5
    said = f"sum of the planes: {total}".replace("-", "−")
    axes.text(K + 0.1, bottom, said, ha="left", va="center", fontsize=LABEL, weight="bold")
    axes.set_xlim(-0.6, 1.5 * K)
    axes.set_ylim(bottom + 0.6, -0.6)
    places = [row + 0.4 * (row >= 3) for row in range(len(rows))]
    axes.set_yticks(places, [name for name, _, _ in rows])
    style(axes, "Black counts +1, orange −1: there S and W differ", "", "")
    axes.set_xticks([])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return figure


# Training


def curves_figure(histories: Mapping[str, History]) -> Figure:
    """Training loss and validation error against the epoch, side by side.

    Parameters
    ----------
    histories : mapping of str to list of dict
        Histories of runs, by the name that the legend shows.

    Returns
    -------
    Figure
    """
    figure = new_figure(11, 5)
    all_axes = figure.subplots(1, 2)
    keys = {"loss": "training loss", "validation_error": "validation error / %"}
    colours = ["black", BLUE, ORANGE, GREEN, COLOURS[4]]
    for axes, (key, name) in zip(all_axes, keys.items(), strict=True):
        for (label, history), colour, marker, line in zip(
            histories.items(), colours, MARKERS, LINES, strict=False
        ):
            epochs = [entry["epoch"] + 1 for entry in history]
            values = [entry[key] for entry in history]
            options: dict[str, Any] = {"color": colour, "linestyle": line, "linewidth": 2}
            axes.plot(epochs, values, marker=marker, label=label, **options)
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        style(axes, "", "epoch", name)
    lines, names = all_axes[0].get_legend_handles_labels()
    shown: dict[str, Any] = {"ncols": 3, "frameon": False, "fontsize": TEXT}
    figure.legend(lines, names, loc="outside lower center", **shown)
    return figure
