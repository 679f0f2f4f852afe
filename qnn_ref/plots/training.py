"""Training: figure 1 of the paper, what happens to the weights, sweeps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import (
    FormatStrFormatter,
    LogLocator,
    MaxNLocator,
    NullFormatter,
    NullLocator,
    StrMethodFormatter,
)

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


def draw_training(axes: Axes, histories: Mapping[str, History]) -> None:
    """Draw validation error (solid) and loss (dotted, right axis) against the epoch."""
    right = axes.twinx()
    draw_history(axes, histories, "validation_error", "-")
    draw_history(right, histories, "loss", ":")
    style(axes, "Validation error (solid), loss (dotted)", "epoch", "validation error / %")
    logarithmic_loss(right)
    right.set_ylabel("training loss (logarithmic)", fontsize=LABEL)
    right.tick_params(which="both", labelsize=TEXT)
    right.spines[["top"]].set_visible(False)
    axes.set_ylim(bottom=0)
    legend(axes)


def draw_history(axes: Axes, histories: Mapping[str, History], key: str, line: str) -> None:
    """Draw one entry of the histories against the epoch, which counts from 1."""
    for (name, history), colour, marker in zip(histories.items(), COLOURS, MARKERS, strict=False):
        epochs = [entry["epoch"] + 1 for entry in history]
        values = [entry[key] for entry in history]
        axes.plot(epochs, values, line, marker=marker, color=colour, label=name, markersize=5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def logarithmic_loss(axes: Axes) -> None:
    """Make the y axis one of losses: logarithmic, with ticks at 1, 2 and 5."""
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())


def training_figure(histories: Mapping[str, History]) -> Figure:
    """Figure 1 of the paper for our runs: validation error and cost against the epoch.

    Parameters
    ----------
    histories : mapping of str to list of dict
        Histories of runs, by the name that the legend shows.

    Returns
    -------
    Figure
    """
    figure = new_figure(11, 4.5)
    left, right = figure.subplots(1, 2)
    draw_history(left, histories, "validation_error", "-")
    draw_history(right, histories, "loss", "-")
    style(left, "Validation error", "epoch", "validation error / %")
    style(right, "Training loss, logarithmic axis", "epoch", "training loss")
    left.set_ylim(bottom=0)
    logarithmic_loss(right)
    legend(left)
    return figure


def shares_figure(history: History) -> Figure:
    """What a binary network does while it learns, in percent, against the epoch.

    Parameters
    ----------
    history : list of dict
        With the shares `flipped`, `saturated` and `clipped` (0 to 1) of each epoch.

    Returns
    -------
    Figure
    """
    names = {
        "saturated": "hidden values with |a| > 1: no gradient passes",
        "flipped": "weights that changed sign in this epoch",
        "clipped": "latent weights at -1 or +1",
    }
    figure = new_figure()
    axes = figure.subplots()
    epochs = [entry["epoch"] + 1 for entry in history]
    for (key, name), colour, marker, line in zip(
        names.items(), COLOURS, MARKERS, LINES, strict=False
    ):
        shares = [100 * entry[key] for entry in history]
        axes.plot(epochs, shares, line, marker=marker, color=colour, label=name)
    style(axes, "Signs, masks and clips", "epoch", "share / %")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylim(0, 1.4 * axes.get_ylim()[1])  # room for the legend
    legend(axes, loc="upper right")
    return figure


def latent_histogram_figure(before: Array, after: Array) -> Figure:
    """Where latent weights are before and after training.

    Parameters
    ----------
    before, after : array, any shape
        Latent weights in [-1, 1].

    Returns
    -------
    Figure
    """
    figure = new_figure()
    axes = figure.subplots()
    bins = np.linspace(-1, 1, 42)
    for latent, name, colour, line in (
        (before, "before", ORANGE, "--"),
        (after, "after", BLUE, "-"),
    ):
        shares, _ = np.histogram(latent, bins)
        axes.stairs(
            100 * shares / latent.size, bins, color=colour, linestyle=line, linewidth=2, label=name
        )
    axes.axvline(0, color=GREY, linewidth=1)
    style(
        axes, "Latent weights: the sign is all that the products see", "latent weight", "share / %"
    )
    axes.set_ylim(0, 1.2 * axes.get_ylim()[1])
    legend(axes, loc="upper center", ncols=2)
    return figure


def cases_figure(
    table: Sequence[Mapping[str, str]],
    labels: Sequence[str],
    names: Mapping[str, str] | None = None,
    words: str = "test error / %",
) -> Figure:
    """Mean test error of each case of a sweep, with the spread over its seeds.

    Parameters
    ----------
    table : sequence of dict
        Labels, "mean" and "spread" of each case, in percent.
    labels : sequence of str
        Columns that tell the cases apart: the last one chooses the marker, the first one the
        place within a group, those between name the group.
    names : mapping of str to str, optional
        What axis and legend say instead of a label.
    words : str
        What is measured, with its unit.

    Returns
    -------
    Figure
    """
    first, *middle, last = labels
    names = names or {}
    groups = list(dict.fromkeys(" ".join(row[m] for m in middle) for row in table))
    places = list(dict.fromkeys(row[first] for row in table))
    kinds = list(dict.fromkeys(row[last] for row in table))
    room = len(places) + 0.7
    figure = new_figure(11, 1.4 + (0.3 if len(kinds) < 3 else 0.5) * len(groups) * room)
    axes = figure.subplots()
    if len(kinds) > len(COLOURS):
        raise ValueError(f"labels: expected up to {len(COLOURS)} values of {last}, got {kinds}")
    for number, (kind, colour, marker) in enumerate(zip(kinds, COLOURS, MARKERS, strict=False)):
        rows = [row for row in table if row[last] == kind]
        # Side by side, so that equal means do not hide each other.
        aside = 0.14 * (number - (len(kinds) - 1) / 2)
        heights = [
            groups.index(" ".join(row[m] for m in middle)) * room + places.index(row[first]) + aside
            for row in rows
        ]
        means = [float(row["mean"]) for row in rows]
        spreads = [float(row["spread"] or 0) for row in rows]
        axes.errorbar(means, heights, xerr=spreads, fmt=marker, color=colour, label=kind, capsize=4)
    beside = axes.get_yaxis_transform()
    for number, name in enumerate(groups):
        middle_height = number * room + 0.5 * (len(places) - 1)
        axes.text(1.01, middle_height, name, transform=beside, va="center", fontsize=TEXT)
        if number:
            axes.axhline(number * room - 0.85, color=GREY, linewidth=0.6)
    ticks = [number * room + place for number in range(len(groups)) for place in range(len(places))]
    axes.set_yticks(ticks, places * len(groups))
    axes.invert_yaxis()
    errors = [float(row["mean"]) for row in table]
    if max(errors) > 4 * min(errors):  # or the good ones would all lie on one spot
        words += ", logarithmic"
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7)))
        axes.xaxis.set_major_formatter(FormatStrFormatter("%g"))
        axes.xaxis.set_minor_locator(NullLocator())
    title = "Mean over the seeds; bars: one standard deviation"
    style(axes, title, words, "" if middle else names.get(first, first))
    figure.legend(
        loc="outside lower left",
        ncols=len(kinds),
        frameon=False,
        fontsize=TEXT,
        title=names.get(last, last),
        title_fontsize=LABEL,
        alignment="left",
    )
    return figure
