"""One bit and its gradient: sections 2.1 to 2.3."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from qnn_ref._typing import Array
from qnn_ref.plots.style import (
    BLUE,
    COLOURS,
    GREY,
    INK,
    LINES,
    MARKERS,
    ORANGE,
    legend,
    new_figure,
    style,
)


def draw_steps(
    axes: Axes, x: Array, y: Array, bounds: Sequence[float] = (), line: str = "-", **options: Any
) -> None:
    """Draw y(x) with gaps where it jumps; at each bound a full dot for its value, a ring beside."""
    pieces = np.split(np.arange(len(x)), np.flatnonzero(np.abs(np.diff(y)) > 0.5) + 1)
    label, colour = options.pop("label", None), options.get("color")
    for piece in pieces:
        axes.plot(x[piece], y[piece], line, linewidth=2.5, label=label, **options)
        label = None
    for bound in bounds:
        at = int(np.argmin(np.abs(x - bound)))
        around = y[max(0, at - 1) : at + 2]
        other = around[np.argmax(np.abs(around - y[at]))]
        axes.plot(x[at], other, "o", color=colour, markerfacecolor="white", markersize=8, zorder=3)
        axes.plot(x[at], y[at], "o", color=colour, markersize=8, zorder=3)


def straight_through_figure(
    x: Array, value: Array, surrogate: Array, slope: Array, bounds: Sequence[float]
) -> Figure:
    """A quantizer's two faces: the value of the forward pass, the slope of the backward pass.

    Parameters
    ----------
    x : array (n,)
        Ascending; holds 0 and the bounds.
    value, surrogate, slope : array (n,)
        Quantized value, the function that stands in for it in the backward pass, and its slope.
    bounds : sequence of float
        Where the slope jumps.

    Returns
    -------
    Figure
    """
    figure = new_figure(10, 4.2)
    left, right = figure.subplots(1, 2)
    left.plot(x, surrogate, "--", color=ORANGE, linewidth=2.5, label="surrogate")
    draw_steps(left, x, value, (0,), color=BLUE, label="quantized value")
    style(left, "Forward: what the next layer sees", "x", "value")
    legend(left, loc="upper left")
    draw_steps(right, x, slope, bounds, color=ORANGE)
    style(right, "Backward: factor of the gradient", "x", "slope")
    top = max(np.abs(value).max(), np.abs(surrogate).max())
    for axes in (left, right):
        axes.set_ylim(-1.1 * top - 0.2, 1.4 * top + 0.5)
        axes.axhline(0, color=GREY, linewidth=0.8, zorder=0)
    return figure


def frozen_figure(x: Array, value: Array, points: Array, frozen: Array) -> Figure:
    """What a gradient check differentiates in the place of a function with jumps.

    Parameters
    ----------
    x : array (n,)
        Ascending.
    value : array (n,)
        The function itself.
    points : array (m,)
        The points of the check.
    frozen : array (m, n)
        For each point the function that has the quantizer's value there and the surrogate's slope.

    Returns
    -------
    Figure
    """
    figure = new_figure()
    axes = figure.subplots()
    draw_steps(axes, x, value, color=GREY, label="the function: slope 0")
    for at, y, colour, line, marker in zip(points, frozen, COLOURS, LINES, MARKERS, strict=False):
        axes.plot(x, y, line, color=colour, linewidth=2, label=f"around {at:g}")
        axes.plot(at, np.interp(at, x, y), marker, color=colour, markersize=10)
    style(axes, "One continuous function for each point", "x", "value")
    legend(axes, ncols=2, loc="upper left")
    axes.set_ylim(top=axes.get_ylim()[1] + 1.2)
    return figure


def order_figure(steps: Array, remainders: Mapping[str, Array]) -> Figure:
    """How fast the remainder after the linear term falls: as h^2 if the gradient is right.

    Parameters
    ----------
    steps : array (n,)
        Steps h, ascending.
    remainders : mapping of str to array (n,)
        Remainders by the name that the legend shows.

    Returns
    -------
    Figure
    """
    figure = new_figure()
    axes = figure.subplots()
    for (name, values), colour, marker in zip(remainders.items(), COLOURS, MARKERS, strict=False):
        axes.loglog(steps, values, "-", marker=marker, color=colour, label=name)
    top = max(values[-1] for values in remainders.values())
    for power, line in ((1, ":"), (2, "--")):
        guide = 3 * top * (steps / steps[-1]) ** power
        name = "falls as h" + ("²" if power == 2 else "")
        axes.loglog(steps, guide, line, color=GREY, label=name)
    style(axes, "Remainder after the linear term", "step h", "|f(x + hv) - f(x) - h <g, v>|")
    legend(axes)
    return figure


def stochastic_figure(x: Array, codes: Array, expected: Array) -> Figure:
    """Draws of a stochastic quantizer, and their mean beside the expected one.

    Parameters
    ----------
    x : array (n,)
        Ascending, evenly spaced.
    codes : array (draws, n) of +-1
    expected : array (n,)
        The mean that the formula gives.

    Returns
    -------
    Figure
    """
    figure = new_figure(8, 5.5)
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(1, 1.3))
    half = (x[1] - x[0]) / 2
    shown = codes[:40]
    extent = (x[0] - half, x[-1] + half, len(shown), 0)
    top.imshow(shown, cmap=INK, aspect="auto", interpolation="nearest", extent=extent)
    style(top, "Draws: +1 black, -1 white", "", "draw")
    bottom.plot(x, expected, "--", color=ORANGE, linewidth=2.5, label="expected: clip(x, -1, 1)")
    mean = codes.mean(axis=0)
    bottom.plot(x, mean, "o", color=BLUE, markersize=4, label=f"mean of {len(codes):,} draws")
    style(bottom, "", "x", "mean")
    legend(bottom)
    return figure


def latent_figure(latent: Mapping[str, Array]) -> Figure:
    """Latent weights step by step; black dots where the binary weight is +1, white where it is -1.

    Parameters
    ----------
    latent : mapping of str to array (steps,)
        Latent weight after each step, from step 0, by the name that the legend shows.

    Returns
    -------
    Figure
    """
    figure = new_figure()
    axes = figure.subplots()
    for (name, values), colour, line in zip(latent.items(), COLOURS, LINES, strict=False):
        steps = np.arange(len(values))
        axes.plot(steps, values, line, color=colour, linewidth=2, label=name)
        for sign, face in ((values >= 0, "black"), (values < 0, "white")):
            axes.plot(steps[sign], values[sign], "o", color="black", markerfacecolor=face, zorder=3)
    axes.axhline(0, color=GREY, linewidth=1)
    style(axes, "Black dot: the weight is +1; white dot: it is -1", "step", "latent weight")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if len(latent) > 1:
        legend(axes)
    return figure
