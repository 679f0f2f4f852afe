"""The picture of the demo, and its bars."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from qnn_ref._typing import Array
from qnn_ref.plots.arrays import draw_images
from qnn_ref.plots.style import BLUE, ORANGE, TEXT, TITLE, History, new_figure, style
from qnn_ref.plots.training import draw_training


def draw_bars(
    axes: Axes, names: Sequence[str], values: Sequence[float], labels: Sequence[str]
) -> None:
    """Draw horizontal bars with a text at the end of each."""
    bars = axes.barh(names, values, color=[ORANGE, BLUE][: len(names)], height=0.6)
    axes.bar_label(bars, labels=labels, padding=4, fontsize=TEXT)
    axes.invert_yaxis()
    axes.set_xlim(0, max(values) * 1.35)
    axes.set_xticks([])
    axes.spines[["bottom"]].set_visible(False)


def bars_figure(
    names: Sequence[str], values: Sequence[float], labels: Sequence[str], x: str
) -> Figure:
    """Two numbers as horizontal bars, with a text at the end of each.

    Parameters
    ----------
    names : sequence of str
        On the left of the bars.
    values : sequence of float
    labels : sequence of str
        At the end of the bars.
    x : str
        What is measured, with its unit.

    Returns
    -------
    Figure
    """
    figure = new_figure(8, 0.8 * len(names) + 0.8)
    axes = figure.subplots()
    draw_bars(axes, names, values, labels)
    style(axes, "", x)
    axes.spines[["bottom"]].set_visible(False)
    return figure


def demo_figure(
    images: Array,
    classes: Sequence[int],
    weights: Array,
    histories: Mapping[str, History],
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
    histories : mapping of str to list of dict
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
    axes.set_title("Test images and the packed network's answers", fontsize=TITLE, loc="left")
    axes = figure.add_subplot(grid[1, 0])
    draw_images(axes, weights)
    axes.set_title("Weights of first-layer units: one bit each", fontsize=TITLE, loc="left")
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
