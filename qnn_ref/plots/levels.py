"""Pictures of more than one bit (section 3): arrays in, matplotlib Figure out.

Staircases with every level, powers of two on their own axis, codes as sums of planes, products of
planes, surrogates, and the thresholds of a packed layer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator, NullLocator

from qnn_ref._typing import Array
from qnn_ref.plots.arrays import draw_image
from qnn_ref.plots.style import BLUE, GREY, LABEL, ORANGE, TEXT, new_figure, style

STEP: dict[str, Any] = {"linestyle": "-", "linewidth": 3, "solid_capstyle": "butt"}
LARGEST_WITH_TICKS = 9
"""Levels up to which they have their numbers beside them."""
LETTER = 0.175
"""Height of a line of text beside a staircase whose largest level is 1."""


def draw_staircase(axes: Axes, x: Array, values: Array, label: str | None = None) -> None:
    """Draw a function of steps, with gaps where it jumps, and a dot for its value at 0."""
    for piece in np.split(np.arange(len(x)), np.flatnonzero(np.diff(values)) + 1):
        axes.plot(x[piece], values[piece], **STEP, color=BLUE, label=label)
        label = None
    at = int(np.argmin(np.abs(x)))
    axes.plot(x[at], values[at], "o", color="black", markersize=7, zorder=3)


def draw_levels(axes: Axes, levels: Array, closest: float = 0.0) -> None:
    """Draw a thin line for every level; where they are few, those far enough apart have numbers."""
    for level in levels:
        axes.axhline(level, color=GREY, linewidth=0.7, linestyle=":", zorder=0)
    if len(levels) <= LARGEST_WITH_TICKS:
        shown = apart(np.asarray(levels, float), closest)
        names = [str(Fraction(v).limit_denominator(4096)) for v in shown]
        axes.set_yticks(shown, [name.replace("-", "−") for name in names])


def apart(levels: Array, closest: float) -> list[float]:
    """Return the two ends of ascending levels, and those between that keep a distance.

    Parameters
    ----------
    levels : array (n,)
    closest : float
        Numbers that are nearer than this would be written into each other.

    Returns
    -------
    list of float
        Ascending.
    """
    kept = [float(levels[0])]
    for level in map(float, levels[1:-1]):
        if min(level - kept[-1], levels[-1] - level) >= closest:
            kept.append(level)
    return kept + ([float(levels[-1])] if len(levels) > 1 else [])


def readings_figure(
    x: Array, values: Mapping[str, Array], levels: Mapping[str, Array], refused: str = "refused"
) -> Figure:
    """Staircases of quantizers, three in a row, every level a dotted line, a dot at x = 0.

    Parameters
    ----------
    x : array (n,)
        Ascending.
    values : mapping of str to array (n,)
        By the titles; an empty array is drawn as a refusal.
    levels : mapping of str to array (levels,)
        All values that occur, by the same titles; may be more than `x` reaches.
    refused : str
        What stands where there is nothing to draw.

    Returns
    -------
    Figure
    """
    rows = -(-len(values) // 3)
    columns = min(3, len(values))
    largest = max(float(np.abs(shown).max(initial=0)) for shown in levels.values()) or 1.0
    figure = new_figure(4 * columns, 3.3 * rows)
    figure.set_layout_engine("constrained", w_pad=0.15)
    all_axes = figure.subplots(rows, columns, sharex=True, squeeze=False)
    for number, (axes, (title, y)) in enumerate(zip(all_axes.flat, values.items(), strict=False)):
        below = "x" if number >= len(values) - columns else ""
        style(axes, title, below, "" if number % columns else "value")
        if len(y) == 0:
            options = {"ha": "center", "va": "center", "fontsize": LABEL}
            axes.text(0.5, 0.5, refused, transform=axes.transAxes, **options)
            axes.set_yticks([])
            axes.tick_params(bottom=False, labelbottom=False)
            axes.spines[:].set_visible(False)
            continue
        axes.axvline(0, color=GREY, linewidth=0.7, zorder=0)
        draw_levels(axes, levels[title], LETTER * largest)
        axes.plot(x, x, "--", color=ORANGE, linewidth=1.2, zorder=1)
        draw_staircase(axes, x, y)
        axes.set_ylim(-1.15 * largest, 1.15 * largest)
    for axes in list(all_axes.flat)[len(values) :]:
        axes.set_axis_off()
    return figure


def log_levels_figure(levels: Mapping[str, Array]) -> Figure:
    """Levels from 0 up on a logarithmic axis; 0 itself stands apart, at the left end.

    Parameters
    ----------
    levels : mapping of str to array (levels,)
        All levels, by the names on the left; negative ones are left out.

    Returns
    -------
    Figure
    """
    figure = new_figure(10, 0.75 * len(levels) + 1.6)
    axes = figure.subplots()
    smallest = min(float(v[v > 0].min()) for v in levels.values())
    lowest = np.floor(np.log2(smallest))
    zero = 2.0 ** (lowest - 2)
    for row, values in enumerate(levels.values()):
        axes.axhline(row, color=GREY, linewidth=0.7, zorder=0)
        above = values[values > 0]
        axes.plot(above, np.full(len(above), row), "o", color=BLUE, markersize=10)
        if np.any(values == 0):
            axes.plot(
                zero, row, "o", color="black", markerfacecolor="white", markersize=10, zorder=3
            )
    axes.set_xscale("log", base=2)
    powers = 2.0 ** np.arange(lowest, 1)
    every = max(1, -(-len(powers) // 10))
    shown = powers[::-1][::every][::-1]
    axes.set_xticks([zero, *shown], ["0", *(str(Fraction(float(power))) for power in shown)])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.axvline(2.0 ** (lowest - 1), color=GREY, linestyle="--", linewidth=1.5)
    axes.set_yticks(range(len(levels)), list(levels))
    axes.set_ylim(len(levels) - 0.5, -0.5)
    style(axes, "Levels from 0 up; the negative ones mirror them", "level", "")
    return figure


def plane_sum_figure(codes: Array, signs: Array) -> Figure:
    """An image of codes as the sum of its planes: +1 black, -1 white.

    Parameters
    ----------
    codes : array (height, width)
        The largest value is drawn black.
    signs : array (P, height, width) of +-1
        Least significant plane first.

    Returns
    -------
    Figure
    """
    count = len(signs)
    figure = new_figure(2.9 * (count + 1), 3.2)
    left, *others = figure.subplots(1, count + 1)
    draw_image(left, codes, "code")
    for place, axes in enumerate(others):
        a = count - 1 - place
        draw_image(axes, signs[a], f"plane {a}: counts ±{2**a}")
        axes.text(
            -0.07, 0.5, "+" if place else "=", fontsize=20, ha="center", va="center",
            transform=axes.transAxes,
        )  # fmt: skip
    return figure


def partial_products_figure(products: Array, factors: Array, title: str) -> Figure:
    """Binary products of all pairs of planes, each with its factor; they add up to the total.

    Parameters
    ----------
    products : array (k, l) of int
        Product of plane a of the left vector with plane b of the right one.
    factors : array (k, l) of int
        What each one is multiplied by, +-2^(a + b).
    title : str

    Returns
    -------
    Figure
    """
    k, l = products.shape
    figure = new_figure(2.6 * l + 1.6, 1.0 * k + 1.3)
    axes = figure.subplots()
    strongest = np.abs(factors).max()
    for (a, b), factor in np.ndenumerate(factors):
        # The larger the factor, the darker the cell; minus is orange.
        depth = 0.12 + 0.4 * (1 + np.log2(abs(factor))) / (1 + np.log2(strongest))
        face = BLUE if factor > 0 else ORANGE
        axes.add_patch(
            Rectangle((b - 0.5, a - 0.5), 1, 1, facecolor=face, alpha=depth, edgecolor="none")
        )
        axes.add_patch(Rectangle((b - 0.5, a - 0.5), 1, 1, fill=False, edgecolor=GREY))
        number = int(products[a, b])
        written = f"{number}" if number >= 0 else f"(−{-number})"
        sign = "−" if factor < 0 else ""
        text = f"{sign}{abs(int(factor))} · {written} = {int(factor) * number}".replace("-", "−")
        axes.text(b, a, text, ha="center", va="center", fontsize=LABEL)
    axes.set_xlim(-0.5, l - 0.5)
    axes.set_ylim(-0.5, k - 0.5)
    axes.set_xticks(range(l), [f"w, plane {b}" for b in range(l)])
    axes.set_yticks(range(k), [f"x, plane {a}" for a in range(k)])
    total = str(int((products * factors).sum())).replace("-", "−")
    style(axes, title, f"sum of the {k * l} cells: {total}")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return figure


def surrogates_figure(
    x: Array,
    values: Mapping[str, Array],
    surrogates: Mapping[str, Array],
    slopes: Mapping[str, Array],
) -> Figure:
    """Above the staircase and its surrogate, below the slope that the backward pass uses.

    Parameters
    ----------
    x : array (n,)
        Ascending.
    values, surrogates, slopes : mapping of str to array (n,)
        By the same titles.

    Returns
    -------
    Figure
    """
    figure = new_figure(4 * len(values), 5.6)
    top, bottom = figure.subplots(
        2, len(values), sharex=True, sharey="row", height_ratios=(1.7, 1), squeeze=False
    )
    for number, title in enumerate(values):
        above, below = top[number], bottom[number]
        above.plot(x, surrogates[title], "--", color=ORANGE, linewidth=2.5, label="surrogate")
        draw_staircase(above, x, values[title], "value")
        slope = slopes[title]
        for piece in np.split(np.arange(len(x)), np.flatnonzero(np.diff(slope)) + 1):
            below.plot(x[piece], slope[piece], **STEP, color=ORANGE)
        style(above, title, "", "" if number else "forward")
        style(below, "", "x", "" if number else "slope")
        for axes in (above, below):
            axes.axhline(0, color=GREY, linewidth=0.7, zorder=0)
        below.set_ylim(-0.2, 1.3)
        below.set_yticks([0, 1])
    lines, names = top[0].get_legend_handles_labels()
    options: dict[str, Any] = {"ncols": 2, "frameon": False, "fontsize": TEXT}
    figure.legend(lines, names, loc="outside lower center", **options)
    return figure


def codes_figure(sums: Array, codes: Array, thresholds: Array, titles: Sequence[str]) -> Figure:
    """Codes of integer sums, one unit beside the other, with the thresholds between them.

    Parameters
    ----------
    sums : array (n,) of int
        Ascending.
    codes : array (n, units) of int
    thresholds : array (levels - 1, units) of int
        The first sum beyond each jump; those out of sight are not drawn.
    titles : sequence of str
        One a unit.

    Returns
    -------
    Figure
    """
    figure = new_figure(4 * len(titles), 4)
    all_axes = figure.subplots(1, len(titles), sharey=True, squeeze=False)[0]
    for unit, axes in enumerate(all_axes):
        y = codes[:, unit]
        for piece in np.split(np.arange(len(sums)), np.flatnonzero(np.diff(y)) + 1):
            axes.plot(sums[piece], y[piece], **STEP, color="black")
        for at in thresholds[:, unit]:
            if sums[0] < at <= sums[-1]:
                axes.axvline(at - 0.5, color=ORANGE, linestyle="--", linewidth=2)
        style(axes, titles[unit], "sum s", "" if unit else "code")
        axes.set_yticks(np.unique(codes))
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    return figure
