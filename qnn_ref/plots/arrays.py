"""Small arrays, bits, images and thresholds, drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from qnn_ref._typing import Array
from qnn_ref.plots.style import (
    GREY,
    INK,
    LARGEST_WITH_DIGITS,
    ORANGE,
    SIGNED,
    TEXT,
    TITLE,
    new_figure,
    style,
)


def arrays_figure(arrays: Mapping[str, Array], digits: int = 2) -> Figure:
    """Small matrices side by side, a number in each cell.

    Positive cells are blue, negative ones orange; matrices of +-1 and of truth values are black and
    white.

    Parameters
    ----------
    arrays : mapping of str to array (rows, columns)
        By their titles; a vector is drawn as one row.
    digits : int
        Digits after the point; whole numbers have none.

    Returns
    -------
    Figure
    """
    drawn = {title: np.atleast_2d(array) for title, array in arrays.items()}
    rows = max(array.shape[0] for array in drawn.values()) + 0.5  # room for the size below
    columns = [max(array.shape[1], 2.4) + 0.4 for array in drawn.values()]
    cell = min(0.85, 12 / sum(columns))
    figure = new_figure(cell * sum(columns), cell * rows + 0.4)
    all_axes = figure.subplots(1, len(drawn), width_ratios=columns, squeeze=False)[0]
    for axes, width, (title, array) in zip(all_axes, columns, drawn.items(), strict=True):
        draw_cells(axes, array, digits)
        height, middle = array.shape[0], (array.shape[1] - 1) / 2
        axes.set_xlim(middle - width / 2, middle + width / 2)
        axes.set_ylim(rows - 0.5, -0.5)
        axes.set_title(title, fontsize=TITLE, pad=9)
        size = f"{height} × {array.shape[1]}"
        axes.text(middle, height - 0.4, size, ha="center", va="top", fontsize=TEXT)
    return figure


def table_figure(
    array: Array,
    title: str,
    rows: tuple[str, Sequence[object]],
    columns: tuple[str, Sequence[object]],
) -> Figure:
    """A table of numbers with what its rows and columns stand for.

    Parameters
    ----------
    array : array (rows, columns)
    title : str
    rows, columns : tuple of str and sequence
        What the axis is, and a label for each row or column.

    Returns
    -------
    Figure
    """
    figure = new_figure(0.85 * array.shape[1] + 1.6, 0.6 * array.shape[0] + 1.5)
    axes = figure.subplots()
    draw_cells(axes, array)
    axes.set_axis_on()
    axes.set_aspect("auto")
    style(axes, title, columns[0], rows[0])
    axes.set_xticks(range(array.shape[1]), [str(label) for label in columns[1]])
    axes.set_yticks(range(array.shape[0]), [str(label) for label in rows[1]])
    axes.xaxis.set_label_position("top")
    axes.tick_params(length=0, labeltop=True, labelbottom=False)
    axes.spines[:].set_visible(False)
    return figure


def draw_cells(axes: Axes, array: Array, digits: int = 2) -> None:
    """Draw a matrix as coloured cells with its numbers in them."""
    binary = array.dtype == bool or bool(np.isin(array, (-1, 1)).all())
    whole = binary or bool((array == np.round(array)).all())
    sign = "+" if binary and array.dtype != bool else ""
    numbers = array.astype(float).round(0 if whole else digits) + 0.0  # no -0.00
    largest = max(float(np.abs(numbers).max()), np.finfo(float).tiny)
    lowest = 0.0 if array.dtype == bool else -largest
    axes.imshow(numbers, cmap=INK if binary else SIGNED, vmin=lowest, vmax=largest)
    for (i, j), number in np.ndenumerate(numbers):
        text = f"{number:{sign}.{0 if whole else digits}f}"
        colour = "white" if binary and number > 0 else "black"
        axes.text(j, i, text, ha="center", va="center", fontsize=TEXT, color=colour)
    height, width = array.shape
    axes.hlines(np.arange(height + 1) - 0.5, -0.5, width - 0.5, color=GREY, linewidth=0.8)
    axes.vlines(np.arange(width + 1) - 0.5, -0.5, height - 0.5, color=GREY, linewidth=0.8)
    axes.set_axis_off()


def bits_figure(rows: Mapping[str, Array], K: int | None = None) -> Figure:
    """Bits as strips, element 0 on the left: 1 black, 0 white, padding beyond K hatched.

    A thick line stands where a word of 64 bits ends.

    Parameters
    ----------
    rows : mapping of str to array (n,) of 0 and 1
        All of one length, by the names on the left.
    K : int, optional
        Elements without padding; all by default.

    Returns
    -------
    Figure
    """
    bits = np.stack([np.asarray(row, bool) for row in rows.values()])
    count = bits.shape[1]
    figure = new_figure(10, 0.55 * len(rows) + 1.1)
    axes = figure.subplots()
    axes.imshow(bits, cmap=INK, vmin=0, vmax=1, aspect="auto", interpolation="nearest")
    if K is not None and count > K:
        frame = (K - 0.5, -0.5), count - K, len(rows)
        axes.add_patch(
            Rectangle(*frame, facecolor="#DDDDDD", edgecolor=GREY, hatch="//", linewidth=0)
        )
    if count <= LARGEST_WITH_DIGITS:
        for (i, j), bit in np.ndenumerate(bits):
            box = (
                {"facecolor": "white", "edgecolor": "none", "pad": 1} if j >= (K or count) else None
            )
            colour = "white" if bit else "black"
            axes.text(
                j, i, str(int(bit)), ha="center", va="center", fontsize=TEXT, color=colour, bbox=box
            )
    for end in range(64, count, 64):
        axes.axvline(end - 0.5, color=ORANGE, linewidth=3)
    axes.set_yticks(range(len(rows)), list(rows))
    axes.hlines(np.arange(0.5, len(rows) - 1), -0.5, count - 0.5, color=GREY, linewidth=1)
    axes.vlines(np.arange(0.5, count - 1), -0.5, len(rows) - 0.5, color=GREY, linewidth=0.4)
    style(axes, "", "element = number of the bit", "")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=16, steps=[1, 2, 4, 8, 10]))
    axes.spines[["top", "right"]].set_visible(True)
    return figure


def draw_image(axes: Axes, image: Array, title: str = "") -> None:
    """Draw one small image (height, width), its largest value black, with a line below."""
    axes.imshow(image, cmap=INK, interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_xlabel(title, fontsize=TEXT, labelpad=3)


def draw_images(axes: Axes, images: Array, titles: Sequence[str] = (), columns: int = 8) -> None:
    """Draw small images (N, height, width) in a grid, black on white, with a line below each."""
    axes.set_axis_off()
    rows = -(-len(images) // columns)
    for i, image in enumerate(images):
        left, top = i % columns / columns, 1 - (i // columns) / rows
        frame = (left, top - 1 / rows, 0.92 / columns, 0.78 / rows)
        draw_image(axes.inset_axes(frame), image, titles[i] if i < len(titles) else "")


def images_figure(images: Array, titles: Sequence[str] = (), columns: int = 8) -> Figure:
    """Small images in a grid: digits, or the weights of first-layer units.

    Parameters
    ----------
    images : array (N, height, width)
        The largest value of each is drawn black.
    titles : sequence of str
        Below the images.
    columns : int

    Returns
    -------
    Figure
    """
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    figure = new_figure(1.25 * columns, (1.5 if titles else 1.25) * rows)
    all_axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for i, axes in enumerate(all_axes):
        if i < len(images):
            draw_image(axes, images[i], titles[i] if i < len(titles) else "")
        else:
            axes.set_axis_off()
    return figure


def planes_figure(image: Array, planes: Array) -> Figure:
    """An image and its bit planes, most significant first: 1 black, 0 white.

    Parameters
    ----------
    image : array (height, width)
    planes : array (P, height, width) of 0 and 1
        Least significant first.

    Returns
    -------
    Figure
    """
    figure = new_figure(11, 4.4)
    half = -(-len(planes) // 2)
    grid = figure.add_gridspec(2, 2 + half)
    draw_image(figure.add_subplot(grid[:, :2]), image, "image")
    for place, a in enumerate(reversed(range(len(planes)))):
        axes = figure.add_subplot(grid[place // half, 2 + place % half])
        draw_image(axes, planes[a], f"bit {a}: counts {2**a}")
    return figure


def threshold_figure(
    sums: Array, values: Array, codes: Array, thresholds: Array, titles: Sequence[str]
) -> Figure:
    """Batch norm of integer sums, their signs, and the integer threshold that replaces both.

    Parameters
    ----------
    sums : array (n,) of integers
    values : array (n, units)
        Batch norm of the sums.
    codes : array (n, units) of +-1
        Signs of the values.
    thresholds : array (units,) of integers
    titles : sequence of str
        One a unit.

    Returns
    -------
    Figure
    """
    figure = new_figure(4 * len(titles), 4.2)
    for unit, axes in enumerate(figure.subplots(1, len(titles), sharey=True, squeeze=False)[0]):
        a, positive = values[:, unit], codes[:, unit] > 0
        axes.plot(sums, a, "-", color=GREY, linewidth=1, zorder=1)
        for sign, face in ((positive, "black"), (~positive, "white")):
            axes.plot(sums[sign], a[sign], "o", color="black", markerfacecolor=face)
        axes.axhline(0, color=GREY, linewidth=0.8)
        if sums.min() < thresholds[unit] <= sums.max():
            axes.axvline(thresholds[unit] - 0.5, color=ORANGE, linestyle="--", linewidth=2)
        style(axes, titles[unit], "sum s", "" if unit else "BN(s)")
    return figure
