"""Every picture of the package: arrays in, matplotlib Figure out.

Colours are those of Okabe and Ito, told apart by colour-blind readers and, with the line styles,
in grey print. +1 is drawn black and -1 white, like ink on paper. No letter is smaller than 12
points. Figures are made without pyplot, so nothing global changes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, StrMethodFormatter
from numpy.typing import NDArray

Array = NDArray[Any]
History = Sequence[Mapping[str, float]]

BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#777777"
COLOURS = (BLUE, ORANGE, GREEN, "black")
MARKERS, LINES = "os^D", ("-", "--", "-.", ":")
INK = "gray_r"  # 0 or -1 white, the largest value black
SIGNED = LinearSegmentedColormap.from_list("signed", ["#E69F00", "white", "#56B4E9"])
DPI = 150
TITLE, LABEL, TEXT = 14, 13, 12
LARGEST_WITH_DIGITS = 20
"""Columns of a strip of bits up to which a digit is written into each cell."""


def new_figure(width: float = 8.0, height: float = 4.5) -> Figure:
    """Return an empty figure of this size in inches, with letters for a lecture hall."""
    return Figure(figsize=(width, height), layout="constrained", dpi=DPI)


def style(axes: Axes, title: str = "", x: str = "", y: str = "") -> None:
    """Set title and axis labels, and take away the lines that carry nothing."""
    axes.set_title(title, fontsize=TITLE, loc="left")
    axes.set_xlabel(x, fontsize=LABEL)
    axes.set_ylabel(y, fontsize=LABEL)
    axes.tick_params(labelsize=TEXT)
    axes.spines[["top", "right"]].set_visible(False)


def legend(axes: Axes, **options: Any) -> None:
    """Add a legend without a frame."""
    axes.legend(**{"frameon": False, "fontsize": TEXT} | options)


# Training: figure 1 of the paper, and what happens to the weights.


def draw_training(axes: Axes, histories: Mapping[str, History]) -> None:
    """Draw validation error (solid) and loss (dotted, right axis) against the epoch."""
    right = axes.twinx()
    for (name, history), colour, marker in zip(histories.items(), COLOURS, MARKERS, strict=False):
        epochs = [entry["epoch"] + 1 for entry in history]
        errors = [entry["validation_error"] for entry in history]
        losses = [entry["loss"] for entry in history]
        axes.plot(epochs, errors, "-", marker=marker, color=colour, label=name, markersize=5)
        right.plot(epochs, losses, ":", marker=marker, color=colour, markersize=4)
    style(axes, "Validation error (solid), loss (dotted)", "epoch", "validation error / %")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    right.set_yscale("log")
    right.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    right.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    right.yaxis.set_minor_formatter(NullFormatter())
    right.set_ylabel("training loss", fontsize=LABEL)
    right.tick_params(which="both", labelsize=TEXT)
    right.spines[["top"]].set_visible(False)
    axes.set_ylim(bottom=0)
    legend(axes)


def training_figure(histories: Mapping[str, History]) -> Figure:
    """Figure 1 of the paper for our runs: cost and validation error against the epoch.

    Parameters
    ----------
    histories : mapping of str to list of dict
        Histories of runs, by the name that the legend shows.

    Returns
    -------
    Figure
    """
    figure = new_figure()
    draw_training(figure.subplots(), histories)
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


# One bit and its gradient.


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
    style(axes, "One smooth function for each point", "x", "value")
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


# Small arrays and bits, drawn.


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


# Bits that run.


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
    names, labels : sequence of str
        On the left, and at the end of the bars.
    values : sequence of float
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
