"""Recurrent networks: a cell drawn, gradients through time, bits a symbol by epoch and by bits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyBboxPatch
from matplotlib.ticker import MaxNLocator

from qnn_ref._typing import Array
from qnn_ref.plots.style import (
    BLUE,
    COLOURS,
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

COUNTED = "trigram model, counted"


def text_figure(histories: Mapping[str, History], counted: float | None = None) -> Figure:
    """Bits a symbol of the validation part against the epoch.

    Parameters
    ----------
    histories : mapping of str to list of dict
        Histories of runs along a text, by the name that the legend shows.
    counted : float, optional
        Bits of a model that only counts: a dashed line.

    Returns
    -------
    Figure
    """
    figure = new_figure()
    axes = figure.subplots()
    for (name, history), colour, marker, line in zip(
        histories.items(), COLOURS, MARKERS, LINES, strict=False
    ):
        epochs = [entry["epoch"] + 1 for entry in history]
        bits = [entry["validation_bits"] for entry in history]
        axes.plot(epochs, bits, line, marker=marker, color=colour, label=name, markersize=5)
    if counted is not None:
        axes.axhline(counted, color=GREY, linestyle="--", label=COUNTED)
    style(axes, "How well the next symbol is foreseen", "epoch", "bits a symbol, validation")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    lines, names = axes.get_legend_handles_labels()
    shown: dict[str, Any] = {"ncols": 3, "frameon": False, "fontsize": TEXT}
    figure.legend(lines, names, loc="outside lower center", **shown)
    return figure


def bits_of_text_figure(table: Sequence[Mapping[str, str]], counted: float) -> Figure:
    """Bits a symbol of networks with few bits beside their float twin and a model that counts.

    Parameters
    ----------
    table : sequence of dict
        "weights", "states", "mean" and "spread" of each case; 32 bits is the float twin.
    counted : float
        Bits of the trigram model.

    Returns
    -------
    Figure
    """
    figure = new_figure(8, 4.8)
    axes = figure.subplots()
    names = [
        "float" if row["weights"] == "32" else f"{row['weights']}-{row['states']}" for row in table
    ]
    means = [float(row["mean"]) for row in table]
    spreads = [float(row["spread"] or 0) for row in table]
    places = np.arange(len(table))
    axes.errorbar(places, means, yerr=spreads, fmt="o", color=BLUE, capsize=5, markersize=8)
    axes.axhline(counted, color=ORANGE, linestyle="--")
    axes.text(
        len(table) - 0.6, counted, COUNTED, color=ORANGE, ha="right", va="bottom", fontsize=TEXT
    )
    axes.set_xticks(places, names)
    axes.set_xlim(-0.6, len(table) - 0.4)
    style(
        axes,
        "Mean over the seeds; bars: one standard deviation",
        "bits of weights - bits of states",
        "bits a character, test",
    )
    return figure


def through_time_figure(gradients: Mapping[str, Array]) -> Figure:
    """How much of a gradient is left, so many steps before the one whose loss it belongs to.

    Parameters
    ----------
    gradients : mapping of str to array (steps,)
        Lengths of the gradient of the state, that of the last step first, by the name that the
        legend shows.

    Returns
    -------
    Figure
    """
    figure = new_figure()
    axes = figure.subplots()
    for (name, lengths), colour, marker, line in zip(
        gradients.items(), COLOURS, MARKERS, LINES, strict=False
    ):
        shown = np.where(lengths > 0, lengths, np.nan)
        axes.plot(shown / lengths[0], line, marker=marker, color=colour, label=name, markersize=5)
    axes.set_yscale("log")
    style(axes, "A gradient on its way back", "steps back", "length, that of the last step = 1")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    legend(axes)
    return figure


def _box(axes: Axes, x: float, y: float, words: str, colour: str = "white") -> None:
    axes.add_patch(
        FancyBboxPatch(
            (x - 0.55, y - 0.3),
            1.1,
            0.6,
            boxstyle="round,pad=0.02",
            facecolor=colour,
            edgecolor="black",
        )
    )
    axes.text(x, y, words, ha="center", va="center", fontsize=TEXT)


def _dot(axes: Axes, x: float, y: float, words: str) -> None:
    axes.add_patch(Circle((x, y), 0.24, facecolor="white", edgecolor="black"))
    axes.text(x, y, words, ha="center", va="center", fontsize=LABEL)


def _arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float], real: bool) -> None:
    axes.annotate(
        "",
        xy=end,
        xytext=start,
        arrowprops={
            "arrowstyle": "-|>",
            "color": "black" if real else BLUE,
            "linewidth": 1.4 if real else 3,
            "shrinkA": 0,
            "shrinkB": 0,
        },
    )


def cell_figure() -> Figure:
    """Draw a step of a quantized LSTM: what has few bits is thick and blue, what is real is thin.

    Returns
    -------
    Figure
    """
    figure = new_figure(10, 5.2)
    axes = figure.subplots()
    axes.set_xlim(-0.2, 11.4)
    axes.set_ylim(-0.3, 5.6)
    axes.axis("off")
    few = "#CFE5F3"
    _box(axes, 0.8, 0.6, "$x_t$", few)
    _box(axes, 0.8, 2.4, "$h^q_{t-1}$", few)
    _box(axes, 3.0, 0.6, "$x_t W_x$", few)
    _box(axes, 3.0, 2.4, "$h^q_{t-1} W_h$", few)
    for y in (0.6, 2.4):
        _arrow(axes, (1.37, y), (2.43, y), real=False)
    _dot(axes, 4.4, 1.5, "+")
    _arrow(axes, (3.57, 0.75), (4.22, 1.33), real=True)
    _arrow(axes, (3.57, 2.25), (4.22, 1.67), real=True)
    axes.text(4.4, 1.0, "bias", ha="center", va="top", fontsize=TEXT)
    heights = {
        r"forget $\sigma$": 3.4,
        r"input $\sigma$": 2.3,
        r"new $\tanh$": 1.2,
        r"output $\sigma$": 0.1,
    }
    for words, y in heights.items():
        _box(axes, 6.2, y, words)
        _arrow(axes, (4.64, 1.5), (5.63, y), real=True)
    _dot(axes, 7.6, 1.75, r"$\times$")
    _arrow(axes, (6.77, 2.3), (7.4, 1.9), real=True)
    _arrow(axes, (6.77, 1.2), (7.4, 1.6), real=True)
    _box(axes, 0.8, 4.8, "$c_{t-1}$ real")
    _dot(axes, 7.6, 4.8, r"$\times$")
    _arrow(axes, (1.37, 4.8), (7.34, 4.8), real=True)
    _arrow(axes, (6.77, 3.5), (7.45, 4.58), real=True)
    _dot(axes, 8.7, 4.8, "+")
    _arrow(axes, (7.86, 4.8), (8.44, 4.8), real=True)
    _arrow(axes, (7.8, 1.93), (8.6, 4.55), real=True)
    _box(axes, 10.6, 4.8, "$c_t$ real")
    _arrow(axes, (8.96, 4.8), (10.03, 4.8), real=True)
    _box(axes, 9.4, 2.4, r"$\tanh$")
    _arrow(axes, (9.3, 4.8), (9.4, 2.72), real=True)
    _dot(axes, 9.4, 0.1, r"$\times$")
    _arrow(axes, (9.4, 2.08), (9.4, 0.36), real=True)
    _arrow(axes, (6.77, 0.1), (9.14, 0.1), real=True)
    _box(axes, 10.6, 0.1, "$h^q_t$", few)
    _arrow(axes, (9.66, 0.1), (10.03, 0.1), real=True)
    axes.set_title(
        "A step of a quantized LSTM: few bits blue and thick, real numbers thin",
        loc="left",
        fontsize=LABEL,
    )
    return figure
