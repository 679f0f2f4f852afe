"""Pictures of kernels: who reads what, in a product of words; arrays in, matplotlib Figure out.

Cells are words or counters, drawn where they lie. What one step reads or writes is filled; a thick
frame stands around what one instruction takes at once, or around the result.

Over 400 lines: a function a picture, all of one notebook.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, Rectangle

from qnn_ref._typing import Array, Pair
from qnn_ref.plots.convolutions import MARK, draw_frame, draw_table, new_canvas
from qnn_ref.plots.style import (
    COLOURS,
    GREY,
    LABEL,
    LINES,
    MARKERS,
    TEXT,
    legend,
    new_figure,
    style,
)

Curves = Mapping[str, tuple[Array, Array]]

CELL = 0.55
"""Size of a cell in inches."""
FEW_POINTS = 20
"""Points of a curve up to which each one is marked; smooth curves have lines only."""
NARROW = 6
"""Shares in percent below which there is no room for a number inside a bar."""
HATCHES = ("", "//", "..", "xx", "\\\\")
SHADES = ("#0072B2", "#E0E0E0", "#F0C08A", "white", "#9BD0F5")


def write(axes: Axes, x: float, y: float, text: str, side: str = "left", **options: Any) -> None:
    """Write on a canvas: the text begins, ends or has its middle at x; y is its middle."""
    look: dict[str, Any] = {"ha": side, "va": "center", "fontsize": LABEL}
    axes.text(x, y, text, **look | options)


def draw_boxes(
    axes: Axes, texts: Sequence[Sequence[str]], corner: tuple[float, float], faces: Array
) -> None:
    """Draw cells with short texts in them; the text in a black cell is white.

    Parameters
    ----------
    axes : Axes
    texts : sequence of rows, sequences of str
    corner : tuple of float
        Left and upper end.
    faces : array (rows, columns) of str
        Colours.
    """
    for (i, j), face in np.ndenumerate(faces):
        x, y = corner[0] + j, corner[1] + i
        axes.add_patch(Rectangle((x, y), 1, 1, facecolor=face, edgecolor=GREY, linewidth=0.8))
        colour = "white" if face == "black" else "black"
        write(axes, x + 0.5, y + 0.5, texts[i][j], "center", fontsize=TEXT, color=colour)


def arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    """Draw an arrow on a canvas."""
    look: dict[str, Any] = {"arrowstyle": "-|>", "mutation_scale": 14, "color": "black"}
    axes.add_patch(FancyArrowPatch(start, end, shrinkA=0, shrinkB=0, linewidth=1.3, **look))


# From a word to a block


def word_figure(a: Array, b: Array) -> Figure:
    """A dot product of +-1 twice: pair by pair with floats, and all pairs at once with bits.

    Parameters
    ----------
    a, b : array (K,) of +-1
        Up to 16 pairs.

    Returns
    -------
    Figure
    """
    K, left = len(a), 2.2
    figure, axes = new_canvas(K + 8.6, 9.4, CELL)
    bits = a > 0, b > 0, (a > 0) ^ (b > 0)
    differ, dot = int(bits[2].sum()), f"{a @ b}".replace("-", "−")
    blocks = (
        ("floats: a number for each value", np.stack([a, b, a * b]), ("a", "b", "a × b")),
        ("bits: one word for all of them", np.stack(bits), ("a", "b", "a XOR b")),
    )
    ends = (
        ("sum of all", f"= {dot}", f"{K} ×, {K - 1} +"),
        (f"popcount = {differ}", f"{K} − 2 · {differ} = {dot}", "1 XOR, 1 popcount"),
    )
    for top, (title, rows, names), lines in zip((1.1, 5.9), blocks, ends, strict=True):
        signs = rows.dtype != bool
        faces = np.where(rows > 0, "black", "white")
        texts = [[f"{int(n):+d}" if signs else f"{int(n)}" for n in row] for row in rows]
        write(axes, left, top - 0.45, title)
        draw_boxes(axes, texts, (left, top), faces)
        for i, name in enumerate(names):
            write(axes, left - 0.25, top + i + 0.5, name, "right")
        if not signs:
            for i in range(3):
                draw_frame(axes, (left, top + i), K, 1)
        for i, line in enumerate(lines):
            write(axes, left + K + 0.5, top + i + 0.5, line)
    return figure


def block_figure(shape: tuple[int, int, int], block: Pair, corner: Pair = (0, 0)) -> Figure:
    """Who reads what: rows of the left matrix, columns of the right one, and a block of results.

    Parameters
    ----------
    shape : tuple of int
        Rows M, columns N, words W of each row and each column.
    block : pair of int
        Rows and columns of the block of results.
    corner : pair of int
        The first row and column of the block.

    Returns
    -------
    Figure
    """
    (M, N, W), (R, C), (m, n) = shape, block, corner
    x, y = W + 2.6, W + 2.2
    figure, axes = new_canvas(max(x + N + 0.8, 17), y + M + 1.8, 0.5)
    rows, columns = np.arange(M), np.arange(N)
    read_rows, read_columns = (rows >= m) & (rows < m + R), (columns >= n) & (columns < n + C)
    left = np.repeat(np.where(read_rows, MARK, "white")[:, None], W, axis=1)
    above = np.repeat(np.where(read_columns, MARK, "white")[None], W, axis=0)
    results = np.where(np.outer(read_rows, read_columns), MARK, "white")
    for place, faces in (((1.0, y), left), ((x, 1.0), above), ((x, y), results)):
        draw_boxes(axes, np.full(faces.shape, "").tolist(), place, faces)
    draw_frame(axes, (x + n, y + m), C, R)
    draw_frame(axes, (1.0, y + m), 1, R)
    draw_frame(axes, (x + n, 1.0), C, 1)
    write(axes, 1 + W / 2, y - 0.4, "words of the rows", "center")
    write(axes, x + N / 2, 0.6, "words of the columns", "center")
    write(axes, x + N / 2, y - 0.4, "results", "center")
    words, count = R + C, R * C
    line = f"a turn: {R} + {C} = {words} words read, {R} · {C} = {count} counted: "
    line += f"{words / count:.3g} read for each"
    write(axes, 1.0, y + M + 0.9, line)
    return figure


# Panels and vectors


def layouts_figure(layouts: Mapping[str, Array], start: int, lanes: int) -> Figure:
    """Addresses of the words of some columns, in several orders; one vector is filled.

    Parameters
    ----------
    layouts : mapping of str to array (words, columns) of int
        By its title the address of each word; a column is a column.
    start : int
        Address of the first word of the vector; in each layout it fills a rectangle.
    lanes : int
        Words of a vector, neighbours in memory.

    Returns
    -------
    Figure
    """
    W, N = next(iter(layouts.values())).shape
    down = W + 2.2
    figure, axes = new_canvas(N + 2.8, down * len(layouts) + 0.7, CELL)
    for k, (title, addresses) in enumerate(layouts.items()):
        corner = 2.3, k * down + 1.3
        marked = (addresses >= start) & (addresses < start + lanes)
        draw_table(axes, addresses, corner, title, marked=marked)
        first, last = np.argwhere(marked).min(axis=0), np.argwhere(marked).max(axis=0) + 1
        tall, wide = last - first
        draw_frame(axes, (corner[0] + first[1], corner[1] + first[0]), wide, tall)
        for i in range(W):
            write(axes, corner[0] - 0.2, corner[1] + i + 0.5, f"word {i}", "right", fontsize=TEXT)
    for j in range(N):
        write(axes, 2.8 + j, down * len(layouts) - 0.6, f"{j}", "center", color=GREY)
    write(axes, 2.3 + N / 2, down * len(layouts) + 0.15, "column", "center")
    return figure


def across_figure(parts: Array, counts: Array) -> Figure:
    """One result in all lanes of a vector, to be summed across; and a result in each lane.

    Parameters
    ----------
    parts : array (lanes,) of int
        Counters of one column: a power of two.
    counts : array (words, lanes) of int
        Counters of as many columns, after each word.

    Returns
    -------
    Figure
    """
    lanes, W = len(parts), len(counts)
    tall = max(W, int(np.log2(lanes)) + 1)
    figure, axes = new_canvas(2 * lanes + 5.6, tall + 2.4, CELL)
    level, top = parts, 1.4
    write(axes, 0.5, 0.7, "one result, in eight lanes" if lanes == 8 else "one result in all lanes")
    while True:
        draw_table(axes, level[None], (0.5, top))
        if len(level) == 1:
            break
        level, top = level.reshape(2, -1).sum(axis=0), top + 1
        line = f"{len(level)} addition{'s' * (len(level) > 1)}"
        write(axes, 0.9 + len(level), top + 0.5, line, fontsize=TEXT)
    draw_frame(axes, (0.5, top), 1, 1)
    left = lanes + 4.6
    write(axes, left, 0.7, "eight results, a lane each" if lanes == 8 else "a result a lane")
    draw_table(axes, counts, (left, 1.4))
    draw_frame(axes, (left, 1.4 + W - 1), lanes, 1)
    for i in range(W):
        write(axes, left - 0.2, 1.9 + i, f"word {i}", "right", fontsize=TEXT)
    write(axes, left + lanes / 2, 1.4 + W + 0.5, "done: nothing is summed across", "center")
    return figure


def tile_figure(counters: Array, lanes: int) -> Figure:
    """A tile of counters in registers, and what one word of each row and column adds to it.

    Parameters
    ----------
    counters : array (rows, columns) of int
        Pairs that differ in this word.
    lanes : int
        Counters in a vector.

    Returns
    -------
    Figure
    """
    R, C = counters.shape
    x, y = 3.3, 3.2
    figure, axes = new_canvas(x + C + 0.5, y + R + 1.4, CELL)
    vectors = np.arange(C) // lanes
    shade = np.where(vectors % 2 == 0, MARK, "#E8E8E8")
    draw_boxes(axes, [[f"y{j}" for j in range(C)]], (x, 1.2), shade[None])
    draw_boxes(axes, [[f"x{i}"] for i in range(R)], (1.2, y), np.full((R, 1), "white"))
    texts = [[f"{int(n)}" for n in row] for row in counters]
    draw_boxes(axes, texts, (x, y), np.repeat(shade[None], R, axis=0))
    for v in range(C // lanes):
        draw_frame(axes, (x + v * lanes, 1.2), lanes, 1)
        for i in range(R):
            draw_frame(axes, (x + v * lanes, y + i), lanes, 1)
    for i in range(R):
        arrow(axes, (2.3, y + i + 0.5), (x - 0.1, y + i + 0.5))
    write(axes, x + C / 2, 0.6, f"read: word w of {C} columns, {C // lanes} vectors", "center")
    write(axes, 0.3, y - 1.1, "read: word w")
    write(axes, 0.3, y - 0.45, f"of {R} rows")
    line = (
        f"stay in registers: {R} × {C} counters, {R * C // lanes} vectors; each += popcount(x ⊕ y)"
    )
    write(axes, x + C / 2, y + R + 0.7, line, "center")
    return figure


# Adders made of logic


def carry_tree_figure(words: int = 8) -> Figure:
    """Full adders that turn words into binary digits of their count: Harley and Seal's tree.

    Parameters
    ----------
    words : int
        Words of a turn, a power of two.

    Returns
    -------
    Figure
    """
    names = ("ones", "twos", "fours", "eights", "sixteens", "thirty-twos")
    levels = int(np.log2(words))
    down, x0 = 2.2, 2.6
    figure, axes = new_canvas(1.5 * words + 7, down * levels + 3.6, CELL)
    middle = [x0 + 1.5 * k + 0.5 for k in range(words)]
    for k, x in enumerate(middle):
        draw_boxes(axes, [[f"w{k}"]], (x - 0.5, 0.8), np.array([["white"]]))
    y, start = 1.8, middle
    for level in range(levels):
        top = y + down - 1.2
        places = [(a + b) / 2 for a, b in zip(start[::2], start[1::2], strict=True)]
        write(axes, x0 - 0.9, top + 0.5, names[level], "right")
        before = x0 - 0.7
        for x, pair in zip(places, zip(start[::2], start[1::2], strict=True), strict=True):
            draw_boxes(axes, [["+"]], (x - 0.5, top), np.array([[MARK]]))
            for k, source in enumerate(pair):
                arrow(axes, (source, y), (x - 0.3 + 0.6 * k, top))
            arrow(axes, (before, top + 0.5), (x - 0.5, top + 0.5))
            before = x + 0.5
        arrow(axes, (before, top + 0.5), (middle[-1] + 1.4, top + 0.5))
        write(axes, middle[-1] + 1.6, top + 0.5, f"{names[level]}, kept")
        y, start = top + 1, places
    arrow(axes, (start[0], y), (start[0], y + 1.1))
    write(axes, start[0], y + 1.6, f"{names[levels]}: the only popcount of {words} words", "center")
    return figure


def lines_figure(
    curves: Curves,
    x: str,
    y: str,
    marks: Mapping[str, float] | None = None,
    logarithmic: bool = False,
) -> Figure:
    """Some curves, told apart by line and marker, with horizontal marks.

    Parameters
    ----------
    curves : mapping of str to pair of arrays (n,)
        Abscissas and ordinates, by the name that the legend shows.
    x, y : str
        Labels of the axes.
    marks : mapping of str to float, optional
        Heights of dotted lines, by what is written at their left end.
    logarithmic : bool
        Whether both axes are.

    Returns
    -------
    Figure
    """
    figure = new_figure(10, 4.8)
    axes = figure.subplots()
    looks = zip(COLOURS, LINES, MARKERS, strict=True)
    for (name, (at, values)), (colour, line, marker) in zip(curves.items(), looks, strict=False):
        look: dict[str, Any] = {"color": colour, "linestyle": line, "linewidth": 2.5}
        if len(curves) > 1 and len(at) <= FEW_POINTS:
            look |= {"marker": marker, "markersize": 7}  # every point, or a gap looks like no data
        axes.plot(at, values, label=name, **look)
    if logarithmic:
        axes.set(xscale="log", yscale="log")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(lambda value, _: f"{value:g}")
    else:
        axes.set_ylim(bottom=0)
    start = min(float(at[0]) for at, _ in curves.values())
    for name, height in (marks or {}).items():
        axes.axhline(height, color=GREY, linestyle=":", linewidth=1.5)
        axes.annotate(
            name, (start, height), (2, 3), textcoords="offset points", fontsize=TEXT, va="bottom"
        )
    style(axes, "", x, y)
    if len(curves) > 1:
        legend(axes)
    return figure


# Sums that are looked up


def lookup_figure(numbers: Array, table: Array, bits: Array, place: int) -> Figure:
    """The table of the signed sums of four numbers, and the bits that choose one of them.

    Parameters
    ----------
    numbers : array (4,) of int
    table : array (16,) of int
        Bit i of an index is 1 where number i counts +1 times.
    bits : array (n,) of 0 and 1
        Of a packed word, four for each table.
    place : int
        Which four of them are read here.

    Returns
    -------
    Figure
    """
    x, y = 4.2, 1.6
    figure, axes = new_canvas(x + 17.2, y + 11.3, CELL)
    index = np.arange(16)
    four = bits[4 * place : 4 * place + 4].astype(int)
    chosen = int(four @ (1, 2, 4, 8))
    write(axes, x, 0.6, "all signed sums of four numbers, made once")
    draw_boxes(axes, [[f"{i}" for i in index]], (x, y), np.full((1, 16), "white"))
    write(axes, x - 0.3, y + 0.5, "index", "right")
    signs = 2 * (index >> np.arange(4)[:, None] & 1) - 1
    texts = [[f"{s:+d}" for s in row] for row in signs]
    draw_boxes(axes, texts, (x, y + 1), np.where(signs > 0, "black", "white"))
    for i, (name, number) in enumerate(zip("abcd", numbers, strict=True)):
        write(axes, x - 0.3, y + i + 1.5, f"times {name} = {number}", "right")
    sums = np.where(index == chosen, MARK, "white")[None]
    draw_boxes(axes, [[f"{n}" for n in table]], (x, y + 5), sums)
    write(axes, x - 0.3, y + 5.5, "sum", "right")
    draw_frame(axes, (x + chosen, y), 1, 6)

    top = y + 7.9
    write(axes, x, top + 2.5, "bits of one output's packed word, four for each table")
    draw_boxes(
        axes, [[f"{int(b)}" for b in bits]], (x, top), np.where(bits, "black", "white")[None]
    )
    draw_frame(axes, (x + 4 * place, top), 4, 1)
    for g in range(len(bits) // 4):
        entry = int(bits[4 * g : 4 * g + 4].astype(int) @ (1, 2, 4, 8))
        write(axes, x + 4 * g + 2, top + 1.5, f"entry {entry}", "center", fontsize=TEXT)
    arrow(axes, (x + 4 * place + 2, top - 0.1), (x + chosen + 0.5, y + 6.1))
    return figure


# What was measured


def parts_figure(rows: Mapping[str, Mapping[str, float]]) -> Figure:
    """What the time of some networks consists of: a bar for each, cut into shares.

    A part that is too narrow for its number has it above the bar, the next one below.

    Parameters
    ----------
    rows : mapping of str to mapping of str to float
        By the name of a bar its parts, by their names; the same names in all.

    Returns
    -------
    Figure
    """
    figure = new_figure(11, 1.9 + 0.75 * len(rows))
    axes = figure.subplots()
    ends = np.zeros(len(rows))
    totals = np.array([sum(parts.values()) for parts in rows.values()])
    names = list(next(iter(rows.values())))
    for number, (name, shade, hatch) in enumerate(zip(names, SHADES, HATCHES, strict=False)):
        shares = 100 * np.array([parts[name] for parts in rows.values()]) / totals
        look: dict[str, Any] = {"color": shade, "hatch": hatch, "edgecolor": "black"}
        bars = axes.barh(list(rows), shares, 0.6, left=ends, label=name, linewidth=0.8, **look)
        plain = {"facecolor": "white", "edgecolor": "none", "pad": 1.5}
        texts = [f"{share:.0f}" if share >= NARROW else "" for share in shares]
        labels = axes.bar_label(bars, texts, label_type="center", fontsize=TEXT)
        for label in labels:
            if label.get_text():
                label.set_bbox(plain)
        up = number % 2
        for row in np.flatnonzero(shares < NARROW):
            share, side = shares[row], -1 if up else 1  # the axis runs down
            axes.annotate(
                f"{share:.0f}" if share >= 1 else f"{share:.1f}",
                (ends[row] + share / 2, row + 0.3 * side),
                (0, -3 * side),
                textcoords="offset points",
                ha="center",
                va="bottom" if up else "top",
                fontsize=TEXT,
            )
        ends += shares
    axes.set_ylim(len(rows) - 0.3, -0.65)  # room for numbers outside the bars
    axes.set_xlim(0, 100)
    style(axes, "", "share of the time / %")
    legend(axes, loc="lower center", bbox_to_anchor=(0.42, 1.0), ncols=len(names))
    return figure


def ratios_figure(ratios: Mapping[str, Mapping[str, float]], x: str) -> Figure:
    """How many times faster one thing is than another, case by case; 1 is a thick line.

    Parameters
    ----------
    ratios : mapping of str to mapping of str to float
        By the name of a case its bars, by their names; the same names in all.
    x : str
        What is compared.

    Returns
    -------
    Figure
    """
    names = list(next(iter(ratios.values())))
    figure = new_figure(11, 1.4 + 0.33 * (len(names) + 0.6) * len(ratios))
    axes = figure.subplots()
    height = 0.8 / len(names)
    for k, (name, shade, hatch) in enumerate(zip(names, SHADES, HATCHES, strict=False)):
        places = np.arange(len(ratios)) + height * (k - (len(names) - 1) / 2)
        values = np.array([bars[name] for bars in ratios.values()])
        look: dict[str, Any] = {"color": shade, "hatch": hatch, "edgecolor": "black"}
        bars = axes.barh(places, values - 1, height, left=1, label=name, linewidth=0.8, **look)
        for bar, value in zip(bars, values, strict=True):
            side = 1 if value >= 1 else -1
            axes.annotate(
                f"{value:.2g}" if value < 100 else f"{value:.0f}",
                (value, bar.get_y() + height / 2),
                (5 * side, 0),
                textcoords="offset points",
                ha="left" if side > 0 else "right",
                va="center",
                fontsize=TEXT,
            )
    axes.axvline(1, color="black", linewidth=2.5)
    every = np.array([value for bars in ratios.values() for value in bars.values()])
    axes.set(xscale="log", xlim=(min(0.5, every.min() / 2.2), max(2, every.max() * 2.2)))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set_yticks(range(len(ratios)), list(ratios))
    axes.invert_yaxis()
    style(axes, "", x)
    legend(axes, loc="lower center", bbox_to_anchor=(0.4, 1.0), ncols=len(names))
    return figure
