"""Every picture of the package: arrays in, matplotlib Figure out.

Colours are those of Okabe and Ito, told apart by colour-blind readers and, with the line styles,
in grey print. Figures are made without pyplot, so nothing global changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

Array = NDArray[Any]

BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#777777"
DPI = 150


def new_figure(width: float = 8.0, height: float = 4.5) -> Figure:
    """Return an empty figure of this size in inches, with letters for a lecture hall."""
    return Figure(figsize=(width, height), layout="constrained", dpi=DPI)


def style(axes: Axes, title: str = "", x: str = "", y: str = "") -> None:
    """Set title and axis labels, and take away the lines that carry nothing."""
    axes.set_title(title, fontsize=13, loc="left")
    axes.set_xlabel(x, fontsize=12)
    axes.set_ylabel(y, fontsize=12)
    axes.tick_params(labelsize=11)
    axes.spines[["top", "right"]].set_visible(False)


def draw_training(axes: Axes, histories: dict[str, list[dict[str, float]]]) -> None:
    """Draw validation error (solid) and loss (dotted, right axis) against the epoch."""
    right = axes.twinx()
    for (name, history), colour in zip(histories.items(), (BLUE, ORANGE, GREEN), strict=False):
        epochs = [entry["epoch"] + 1 for entry in history]
        errors = [entry["validation_error"] for entry in history]
        axes.plot(epochs, errors, "o-", color=colour, label=name, markersize=4)
        right.plot(epochs, [entry["loss"] for entry in history], ":", color=colour)
    style(axes, "Validation error (solid), loss (dotted)", "epoch", "validation error / %")
    right.set_yscale("log")
    right.set_ylabel("training loss", fontsize=12)
    right.spines[["top"]].set_visible(False)
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False, fontsize=11)


def training_figure(histories: dict[str, list[dict[str, float]]]) -> Figure:
    """Figure 1 of the paper for our runs: cost and validation error against the epoch.

    Parameters
    ----------
    histories : dict of list of dict
        Histories of runs, by the name that the legend shows.

    Returns
    -------
    Figure
    """
    figure = new_figure()
    draw_training(figure.subplots(), histories)
    return figure


def draw_images(axes: Axes, images: Array, titles: Sequence[str] = (), columns: int = 8) -> None:
    """Draw small images (N, height, width) in a grid, black on white, with a line below each."""
    axes.set_axis_off()
    rows = -(-len(images) // columns)
    for i, image in enumerate(images):
        left, top = i % columns / columns, 1 - (i // columns) / rows
        frame = (left, top - 1 / rows, 0.92 / columns, 0.78 / rows)
        inset = axes.inset_axes(frame)
        inset.imshow(image, cmap="gray_r", interpolation="nearest")
        inset.set_xticks([])
        inset.set_yticks([])
        if i < len(titles):
            inset.set_xlabel(titles[i], fontsize=10, labelpad=2)


def draw_bars(axes: Axes, names: Sequence[str], values: Sequence[float], labels: Sequence[str]) -> None:
    """Draw horizontal bars with a text at the end of each."""
    bars = axes.barh(names, values, color=[ORANGE, BLUE][: len(names)], height=0.6)
    axes.bar_label(bars, labels=labels, padding=4, fontsize=12)
    axes.invert_yaxis()
    axes.set_xlim(0, max(values) * 1.35)
    axes.set_xticks([])
    axes.spines[["bottom"]].set_visible(False)


def demo_figure(
    images: Array,
    classes: Sequence[int],
    weights: Array,
    histories: dict[str, list[dict[str, float]]],
    float_bytes: int,
    packed_bytes: int,
    float_seconds: float,
    packed_seconds: float,
) -> Figure:
    """One picture of the main job: images and answers, binary weights, training, size and speed.

    Parameters
    ----------
    images : array (N, height, width)
    classes : sequence of N int
        What the packed network answers.
    weights : array (n, height, width) of +-1
        Weights of some units of the first layer.
    histories : dict of list of dict
        Histories of the binary and of the float run.
    float_bytes, packed_bytes : int
        Size of the float32 parameters and of the packed file.
    float_seconds, packed_seconds : float
        Time to predict the same images.

    Returns
    -------
    Figure
    """
    figure = new_figure(12, 7)
    grid = figure.add_gridspec(2, 2, width_ratios=(1.1, 1), height_ratios=(1.05, 1))
    axes = figure.add_subplot(grid[0, 0])
    draw_images(axes, images, [f"{c}" for c in classes])
    axes.set_title("Test images and the packed network's answers", fontsize=13, loc="left")
    axes = figure.add_subplot(grid[1, 0])
    draw_images(axes, weights)
    axes.set_title("Weights of first-layer units: one bit each", fontsize=13, loc="left")
    draw_training(figure.add_subplot(grid[0, 1]), histories)
    bars = grid[1, 1].subgridspec(2, 1)
    axes = figure.add_subplot(bars[0])
    sizes = [f"{float_bytes / 1000:,.0f} kB", f"{packed_bytes / 1000:,.0f} kB"]
    draw_bars(axes, ["float32", "packed"], [float_bytes, packed_bytes], sizes)
    style(axes, f"Size: {float_bytes / packed_bytes:.0f} times smaller")
    axes = figure.add_subplot(bars[1])
    times = [f"{1000 * float_seconds:,.0f} ms", f"{1000 * packed_seconds:,.0f} ms"]
    draw_bars(axes, ["float32", "packed"], [float_seconds, packed_seconds], times)
    ratio = float_seconds / packed_seconds
    style(axes, f"Time for all test images: {ratio:.1f} times faster")
    for axes in figure.axes[-2:]:
        axes.spines[["bottom"]].set_visible(False)
    return figure
