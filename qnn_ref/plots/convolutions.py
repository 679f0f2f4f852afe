"""Pictures of convolutions: arrays in, matplotlib Figure out.

They show where windows lie, what stands outside an image, how bits lie in memory, pooling of bits,
feature maps and the forms of binary filters. What lies outside an image is hatched; +1 is black and
-1 white, as everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from qnn_ref._typing import Array, Pair
from qnn_ref.plots.style import (
    COLOURS,
    GREY,
    INK,
    LABEL,
    LINES,
    ORANGE,
    TEXT,
    TITLE,
    legend,
    new_figure,
    style,
)

MARK = "#9BD0F5"
"""Filling of cells that a picture points at; light, so that a number in it can be read."""
OUTSIDE = "#DDDDDD"


def new_canvas(columns: float, rows: float, cell: float) -> tuple[Figure, Axes]:
    """Return a figure whose only axes count cells of this size in inches, from the top left."""
    figure = new_figure(cell * columns, cell * rows)
    figure.set_layout_engine("none")  # the axes fill the figure
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, columns), ylim=(rows, 0))
    axes.set_axis_off()
    return figure, axes


def draw_table(
    axes: Axes,
    numbers: Array,
    corner: tuple[float, float],
    title: str = "",
    *,
    marked: Array | None = None,
    outside: Array | None = None,
    ink: bool = False,
) -> None:
    """Draw a small matrix of whole numbers on a canvas, one unit a cell.

    Parameters
    ----------
    axes : Axes
    numbers : array (rows, columns) of whole numbers
    corner : tuple of float
        Its left and upper end.
    title : str
        Above it.
    marked, outside : array (rows, columns) of bool, optional
        Cells that are coloured, and cells that are hatched.
    ink : bool
        Whether +1 is drawn black and -1 white, with their signs.
    """
    for (i, j), number in np.ndenumerate(numbers):
        hatched = outside is not None and bool(outside[i, j])
        black = ink and number == 1 and not hatched
        face = "black" if black else OUTSIDE if hatched else "white"
        if marked is not None and marked[i, j] and not hatched:
            face = MARK
        place = corner[0] + j, corner[1] + i
        cell = Rectangle(place, 1, 1, facecolor=face, edgecolor=GREY, linewidth=0.8)
        if hatched:
            cell.set_hatch("//")
        axes.add_patch(cell)
        box = {"facecolor": "white", "edgecolor": "none", "pad": 1.5} if hatched else None
        text = f"{int(number):+d}" if ink and number else f"{int(number)}"
        colour = "white" if black else "black"
        middle = place[0] + 0.5, place[1] + 0.5
        axes.text(*middle, text, ha="center", va="center", fontsize=TEXT, color=colour, bbox=box)
    middle = corner[0] + numbers.shape[1] / 2, corner[1] - 0.25
    axes.text(*middle, title, ha="center", va="bottom", fontsize=LABEL)


def draw_frame(axes: Axes, corner: tuple[float, float], width: float, height: float) -> None:
    """Draw a thick frame around some cells."""
    axes.add_patch(
        Rectangle(corner, width, height, fill=False, edgecolor=ORANGE, linewidth=3, zorder=3)
    )


def border_of(shape: tuple[int, ...], padding: Pair) -> Array:
    """Which cells of a padded image stand outside the image."""
    outside = np.ones(shape, bool)
    outside[padding[0] : shape[0] - padding[0], padding[1] : shape[1] - padding[1]] = False
    return outside


# Geometry


def windows_figure(
    padded: Array, rows: Array, place: int, kernel: Pair, stride: Pair, padding: Pair
) -> Figure:
    """One window of an image, its row in the matrix of all windows, its place in the output.

    Parameters
    ----------
    padded : array (height, width) of int
        One channel, with its border, which is hatched.
    rows : array (places, kh * kw) of int
        All windows, in the order of reading.
    place : int
        The window to be marked, from 0.
    kernel, stride, padding : pair of int

    Returns
    -------
    Figure
    """
    (height, width), (count, taps) = padded.shape, rows.shape
    wide = (width - kernel[1]) // stride[1] + 1
    i, j = divmod(place, wide)
    places = np.arange(count).reshape(-1, wide)
    tall = max(height, count, len(places))
    figure, axes = new_canvas(width + taps + max(wide, 3) + 5.2, tall + 1.6, 0.5)
    corner = 0.5, 1.2
    inside = np.zeros(padded.shape, bool)
    inside[i * stride[0] : i * stride[0] + kernel[0], j * stride[1] : j * stride[1] + kernel[1]] = 1
    outside = border_of(padded.shape, padding)
    draw_table(axes, padded, corner, "image", marked=inside, outside=outside)
    start = corner[0] + j * stride[1], corner[1] + i * stride[0]
    draw_frame(axes, start, kernel[1], kernel[0])

    corner = width + 2.5, 1.2
    marked = np.zeros(rows.shape, bool)
    marked[place] = True
    title = f"all windows as rows: {count} × {taps}"
    every = np.lib.stride_tricks.sliding_window_view(outside, kernel)
    hatched = every[:: stride[0], :: stride[1]].reshape(rows.shape)
    draw_table(axes, rows, corner, title, marked=marked, outside=hatched)
    draw_frame(axes, (corner[0], corner[1] + place), taps, 1)
    for row in range(count):
        y = corner[1] + row + 0.5
        axes.text(corner[0] - 0.3, y, str(row), ha="right", va="center", fontsize=TEXT, color=GREY)

    corner = width + taps + 4.5, 1.2
    draw_table(axes, places, corner, "place in the output", marked=places == place)
    draw_frame(axes, (corner[0] + j, corner[1] + i), 1, 1)
    return figure


def borders_figure(images: Mapping[str, Array], padding: Pair) -> Figure:
    """Images of +-1 with what stands outside them, hatched.

    Parameters
    ----------
    images : mapping of str to array (height, width) of -1, 0 and +1
        With their border, by their titles.
    padding : pair of int
        Width of the border: rows, columns.

    Returns
    -------
    Figure
    """
    width = max(image.shape[1] for image in images.values()) + 1.5
    tall = max(image.shape[0] for image in images.values())
    figure, axes = new_canvas(width * len(images), tall + 1.7, 0.55)
    for n, (title, image) in enumerate(images.items()):
        corner = n * width + 0.75, 1.2
        outside = border_of(image.shape, padding)
        draw_table(axes, image, corner, title, outside=outside, ink=True)
    return figure


def outside_figure(weights: Array, inside: Array, table: Array) -> Figure:
    """The kernel at every place of the output: the taps outside the image hatched, and their sum.

    Parameters
    ----------
    weights : array (kh, kw) of +-1
    inside : array (out_height, out_width, kh, kw) of bool
        Whether the tap lies in the image.
    table : array (out_height, out_width) of int
        Sum of the weights whose taps are outside, written below each kernel.

    Returns
    -------
    Figure
    """
    (kh, kw), (high, wide) = weights.shape, table.shape
    across, down = kw + 1.4, kh + 1.7
    figure, axes = new_canvas(wide * across, high * down + 0.3, 0.55)
    for i, j in np.ndindex(high, wide):
        corner = j * across + 0.7, i * down + 0.4
        draw_table(axes, weights, corner, outside=~inside[i, j], ink=True)
        below = corner[0] + kw / 2, corner[1] + kh + 0.55
        axes.text(*below, f"outside: {table[i, j]}", ha="center", va="center", fontsize=LABEL)
    return figure


# Bits in memory


def runs_figure(words: Array, row: Array, place: Pair, kernel: Pair) -> Figure:
    """A window of packed pixels in the memory of an image, and as a row.

    Parameters
    ----------
    words : array (height, width, words)
        Number of each word in memory.
    row : array (kh * kw * words,)
        The words of the window, in the order of its row.
    place : pair of int
        Row and column of the window's first pixel.
    kernel : pair of int

    Returns
    -------
    Figure
    """
    height, width, count = words.shape
    run = kernel[1] * count
    columns = max(width * count, len(row)) + 2
    figure, axes = new_canvas(columns, height + 5, 0.55)
    corner = (columns - width * count) / 2, 1.2
    flat = words.reshape(height, -1)
    title = f"memory of an image of {height} × {width} pixels, {count} words each"
    draw_table(axes, flat, corner, title, marked=np.isin(flat, row))
    for pixel in range(width + 1):
        x = corner[0] + pixel * count
        axes.vlines(x, corner[1], corner[1] + height, color="black", linewidth=2)
    for line in range(kernel[0]):
        start = corner[0] + place[1] * count, corner[1] + place[0] + line
        draw_frame(axes, start, run, 1)

    corner = (columns - len(row)) / 2, height + 3
    title = f"the window as a row: {kernel[0]} runs of {run} words"
    draw_table(axes, row[None], corner, title, marked=np.ones((1, len(row)), bool))
    for line in range(kernel[0]):
        draw_frame(axes, (corner[0] + line * run, corner[1]), run, 1)
    return figure


# Pooling


def pool_figure(rows: Mapping[str, Mapping[str, Array]], size: Pair) -> Figure:
    """Steps of max pooling, line by line; the windows of each large matrix are framed.

    Parameters
    ----------
    rows : mapping of str to mapping of str to array (height, width) of int
        By the title of a line the matrices in it, by their titles; +-1 is black and white.
    size : pair of int
        Windows that do not overlap.

    Returns
    -------
    Figure
    """
    first = next(iter(next(iter(rows.values())).values()))
    columns = max(sum(max(a.shape[1], 3) + 1.2 for a in line.values()) for line in rows.values())
    down = len(first) + 2.9
    figure, axes = new_canvas(columns, down * len(rows), 0.55)
    for n, (name, line) in enumerate(rows.items()):
        axes.text(0.6, n * down + 0.6, name, ha="left", va="center", fontsize=TITLE)
        left = 0.6
        for title, array in line.items():
            room = max(array.shape[1], 3)
            corner = left + (room - array.shape[1]) / 2, n * down + 2.2
            draw_table(axes, array, corner, title, ink=bool(np.isin(array, (-1, 1)).all()))
            if array.shape == first.shape:
                for i, j in np.ndindex(len(array) // size[0], array.shape[1] // size[1]):
                    start = corner[0] + j * size[1], corner[1] + i * size[0]
                    draw_frame(axes, start, size[1], size[0])
            left += room + 1.2
    return figure


# Feature maps and filters


def draw_signs(axes: Axes, signs: Array, below: str = "", grid: bool = False) -> None:
    """Draw an image of +-1, +1 black even where all are, with a line below."""
    axes.imshow(signs, cmap=INK, vmin=-1, vmax=1, interpolation="nearest")
    if grid:
        height, width = signs.shape
        axes.hlines(np.arange(1, height) - 0.5, -0.5, width - 0.5, color=GREY, linewidth=0.8)
        axes.vlines(np.arange(1, width) - 0.5, -0.5, height - 0.5, color=GREY, linewidth=0.8)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_xlabel(below, fontsize=TEXT, labelpad=3)


def maps_figure(images: Array, filters: Array, maps: Array) -> Figure:
    """Feature maps of some images as black and white, under the filters that made them.

    Parameters
    ----------
    images : array (N, height, width)
        Drawn on the left, the largest value black.
    filters : array (n, kh, kw) of +-1
        On top.
    maps : array (N, out_height, out_width, n) of +-1

    Returns
    -------
    Figure
    """
    figure = new_figure(1.15 * (len(filters) + 1), 1.2 * (len(images) + 1))
    grid = figure.subplots(len(images) + 1, len(filters) + 1, squeeze=False)
    grid[0, 0].set_axis_off()
    grid[0, 0].text(0.5, 0.5, "filters", ha="center", va="center", fontsize=LABEL)
    for n, weights in enumerate(filters):
        draw_signs(grid[0, n + 1], weights, grid=True)
    for i, image in enumerate(images):
        axes = grid[i + 1, 0]
        axes.imshow(image, cmap=INK, interpolation="nearest")
        axes.set_xticks([])
        axes.set_yticks([])
        for n in range(len(filters)):
            draw_signs(grid[i + 1, n + 1], maps[i, :, :, n])
    return figure


def filters_figure(filters: Array, labels: Sequence[str], columns: int = 16) -> Figure:
    """Binary filters in a grid, a line below each.

    Parameters
    ----------
    filters : array (n, kh, kw) of +-1
    labels : sequence of n str
        How often each occurs, for instance.
    columns : int

    Returns
    -------
    Figure
    """
    columns = min(columns, len(filters))
    rows = -(-len(filters) // columns)
    figure = new_figure(0.75 * columns, 1.05 * rows)
    all_axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for n, axes in enumerate(all_axes):
        if n < len(filters):
            draw_signs(axes, filters[n], labels[n], grid=True)
        else:
            axes.set_axis_off()
    return figure


def forms_figure(counts: Mapping[str, Array], mean: float) -> Figure:
    """How often each form of a binary filter occurs, the most frequent first.

    Parameters
    ----------
    counts : mapping of str to array (forms,) of int
        By the name that the legend shows.
    mean : float
        Filters divided by forms, drawn as a dotted line.

    Returns
    -------
    Figure
    """
    figure = new_figure(10, 4.5)
    axes = figure.subplots()
    for (name, array), colour, line in zip(counts.items(), COLOURS, LINES, strict=False):
        ordered = np.sort(array)[::-1]
        edges = np.arange(len(ordered) + 1) + 0.5
        axes.stairs(
            ordered, edges, color=colour, linestyle=line, linewidth=2.5, label=name, baseline=None
        )
    axes.axhline(mean, color=GREY, linestyle=":", linewidth=2, label="all forms equally often")
    style(axes, "", "form, the most frequent first", "filters of this form")
    axes.set_xlim(0, max(map(len, counts.values())) + 1)
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    legend(axes)
    return figure
