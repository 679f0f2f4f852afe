"""Pictures of arithmetic by shifts: arrays in, matplotlib Figure out.

They show sections 2.4 and 2.5 of the paper: AP2, products as moving bits, shift-based batch norm
and its gradients, shift-based AdaMax.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import NullFormatter, NullLocator

from qnn_ref._typing import Array
from qnn_ref.plots.style import BLUE, COLOURS, GREY, LINES, ORANGE, TEXT, legend, new_figure, style

LOWEST, HIGHEST = np.sqrt(0.5), np.sqrt(2.0)
"""Bounds of AP2(x) / x."""


def power_ticks(axes: Axes, name: str, low: float, high: float) -> None:
    """Make axis "x" or "y" logarithmic, with a tick at each power of two, written as a fraction."""
    axes.set(**{f"{name}scale": "log"})
    powers = 2.0 ** np.arange(np.ceil(np.log2(low)), np.floor(np.log2(high)) + 1)
    axis = axes.xaxis if name == "x" else axes.yaxis
    axis.set_ticks(powers, [str(Fraction(power)) for power in powers])
    axis.set_minor_locator(NullLocator())


# AP2


def ap2_figure(x: Array, rounded: Array, point: tuple[float, float] | None = None) -> Figure:
    """AP2 as a staircase on logarithmic axes, and how far it moves a number.

    Parameters
    ----------
    x : array (n,)
        Ascending, above 0.
    rounded : array (n,)
        AP2(x).
    point : tuple of float, optional
        A number and its AP2, to be marked.

    Returns
    -------
    Figure
    """
    figure = new_figure(11, 4.8)
    left, right = figure.subplots(1, 2)
    jumps = np.flatnonzero(np.diff(rounded)) + 1
    for piece in np.split(np.arange(len(x)), jumps):
        left.plot(x[piece], rounded[piece], "-", color=BLUE, linewidth=3)
        right.plot(x[piece], rounded[piece] / x[piece], "-", color=BLUE, linewidth=3)
    left.plot(x, x, "--", color=ORANGE, linewidth=2)
    for axes in (left, right):
        power_ticks(axes, "x", x[0], x[-1])
        for i in jumps:  # the geometric mean of the two powers
            axes.axvline(np.sqrt(rounded[i - 1] * rounded[i]), color=GREY, linestyle=":")
    power_ticks(left, "y", rounded[0], rounded[-1])
    style(left, "AP2(x) solid, x dashed, thresholds dotted", "x", "AP2(x)")
    style(right, "How far AP2 moves x", "x", "AP2(x) / x")
    for bound in (LOWEST, 1, HIGHEST):
        right.axhline(bound, color=GREY, linewidth=0.8, zorder=0)
    right.set_yscale("log")
    right.set_yticks([LOWEST, 1, HIGHEST], [r"$\sqrt{1/2}$", "1", r"$\sqrt{2}$"])
    right.yaxis.set_minor_locator(NullLocator())
    right.set_ylim(0.65, 1.55)
    if point is not None:
        at, power = point
        arrow = {"arrowstyle": "->", "color": "black", "linewidth": 2}
        if at != power:
            left.annotate("", (at, power), (at, at), arrowprops=arrow)
        left.plot(at, power, "o", color="black", markersize=9)
        right.plot(at, power / at, "o", color="black", markersize=9)
    return figure


# Products by shifts


def shift_figure(
    codes: Array, places: Array, results: Array, fraction_bits: int, titles: Sequence[str]
) -> Figure:
    """Products with powers of two in fixed point: where each bit of the magnitude moves.

    Bit 1 is black; the thick line is the binary point. Bits that leave on the right stand beyond
    the last place, hatched; below them is what rounding, floor(x + 1/2), makes of the number.

    Parameters
    ----------
    codes : array (n,) of int
        Fixed point before the shift.
    places : array (n,) of int
        Shift, to the left where positive.
    results : array (n,) of int
        Fixed point after the shift, and after rounding.
    fraction_bits : int
        Bits after the binary point.
    titles : sequence of n str

    Returns
    -------
    Figure
    """
    largest = max(int(np.abs(codes).max()), int(np.abs(results).max()))
    count = max(largest.bit_length(), fraction_bits + 1)
    beyond = max(0, -int(min(places)))
    strips = [2 if by >= 0 else 3 for by in places]
    figure = new_figure(9 + 0.4 * beyond, sum(strips) + 0.4 * len(codes))
    values = [2.0 ** (count - 1 - i - fraction_bits) for i in range(count)]
    grid = figure.subplots(len(codes), 1, squeeze=False, height_ratios=strips)
    for i, axes in enumerate(grid[:, 0]):
        numbers = draw_shift(axes, int(codes[i]), int(places[i]), int(results[i]), count)
        axes.set_xlim(-1.6, count + beyond - 0.4)
        axes.set_ylim(2 * len(numbers) - 1.4, -0.6)
        axes.axvline(count - fraction_bits - 0.5, color=ORANGE, linewidth=3)
        names = [f"{number / 2**fraction_bits:.8g}" for number in numbers]
        axes.set_yticks(2 * np.arange(len(numbers)), names)
        style(axes, titles[i], "what the bit counts" if i == len(codes) - 1 else "")
        axes.set_xticks(range(count), [str(Fraction(value)) for value in values])
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
    return figure


def draw_shift(axes: Axes, code: int, places: int, result: int, count: int) -> list[float]:
    """Draw the bits before the shift, after it and, to the right, rounded; return these numbers."""
    beyond = max(0, -places)
    exact = abs(code) * 2.0**places
    if np.floor(exact + 0.5) != result:  # the power of two was negative
        exact = -exact
    numbers = [float(code), exact] + [float(result)] * (places < 0)
    for row, number in enumerate(numbers):
        lowest = beyond if row == 1 else 0  # the moved number keeps the bits that leave
        word = round(abs(number) * 2**lowest)
        bits = np.array([word >> (count - 1 + lowest - i) & 1 for i in range(count + lowest)], bool)
        draw_bits(axes, bits, 2 * row, count)
        sign = "+" if number > 0 else "−" if number < 0 else ""
        axes.text(-1, 2 * row, sign, ha="center", va="center", fontsize=TEXT)
        for i in np.flatnonzero(bits) if row == 0 else ():
            line, colour = ("--", ORANGE) if i - places >= count else ("-", BLUE)
            axes.plot([i, i - places], [0.5, 1.5], line, color=colour, linewidth=2)
    if places < 0:
        rule = f"floor({exact:.8g} + 1/2) = {result}, counted in the last place".replace("-", "−")
        box = {"facecolor": "white", "edgecolor": "none", "pad": 1}
        axes.text(count - 1, 3, rule, ha="right", va="center", fontsize=TEXT, bbox=box)
    return numbers


def draw_bits(axes: Axes, bits: Array, row: int, count: int) -> None:
    """Draw a strip of bits at this height, 1 black and 0 white; hatched beyond `count` places."""
    for i, bit in enumerate(bits):
        face, colour = ("black", "white") if bit else ("white", "black")
        corner = i - 0.5, row - 0.5
        if i >= count:
            face, colour = "#DDDDDD", "black"
        cell = Rectangle(corner, 1, 1, facecolor=face, edgecolor=GREY)
        cell.set_hatch("//" if i >= count else "")
        axes.add_patch(cell)
        axes.text(i, row, str(int(bit)), ha="center", va="center", fontsize=TEXT, color=colour)


# Shift-based batch norm


def variances_figure(signed: Array, unsigned: Array) -> Figure:
    """Line 3 of Algorithm 2 for many batches, with and without the sign of the shift.

    Parameters
    ----------
    signed, unsigned : array (batches,)
        The "variance" of each batch.

    Returns
    -------
    Figure
    """
    figure = new_figure()
    axes = figure.subplots()
    both = np.concatenate([signed, unsigned])
    bins = np.linspace(both.min(), both.max(), 80)
    for values, name, colour, line in (
        (unsigned, "without the sign", ORANGE, "--"),
        (signed, "with the sign", BLUE, "-"),
    ):
        shares = 100 * np.histogram(values, bins)[0] / len(values)
        axes.stairs(
            shares, bins, color=colour, linestyle=line, linewidth=2.5, label=name, baseline=None
        )
    axes.axvline(0, color="black", linewidth=1)
    style(axes, "Line 3 of Algorithm 2, batch by batch", '"variance"', "share of batches / %")
    axes.set_ylim(0, 1.25 * axes.get_ylim()[1])
    legend(axes, loc="upper right")
    return figure


def deviations_figure(scales: Array, deviations: Array, bounds: tuple[float, float]) -> Figure:
    """Deviation of what shift-based batch norm gives, against that of its input.

    Parameters
    ----------
    scales, deviations : array (n,)
        Deviation of a batch before and after.
    bounds : tuple of float
        Range to expect.

    Returns
    -------
    Figure
    """
    figure = new_figure()
    axes = figure.subplots()
    axes.plot(scales, deviations, "o", color=BLUE, markersize=3)
    power_ticks(axes, "x", scales.min(), scales.max())
    axes.axhline(1, color=ORANGE, linestyle="--", linewidth=2)
    for bound in bounds:
        axes.axhline(bound, color=GREY, linestyle=":", linewidth=2)
    style(
        axes,
        "One dot a batch; dashed: what plain batch norm gives",
        "deviation of the input",
        "deviation of the output",
    )
    axes.set_yticks([bounds[0], 1, bounds[1]])
    axes.set_ylim(0.5, 1.6)
    return figure


def slopes_figure(x: Array, rounded: Array, points: Array, lines: Mapping[str, Array]) -> Figure:
    """The straight lines that stand in for AP2 near some points, in the backward pass.

    Parameters
    ----------
    x : array (n,)
        Ascending, above 0.
    rounded : array (n,)
        AP2(x).
    points : array (m,)
    lines : mapping of str to array (m, n)
        For each point a line through its AP2, by the name that the legend shows.

    Returns
    -------
    Figure
    """
    figure = new_figure(8, 5)
    axes = figure.subplots()
    label = "AP2: slope 0"
    for piece in np.split(np.arange(len(x)), np.flatnonzero(np.diff(rounded)) + 1):
        axes.plot(x[piece], rounded[piece], "-", color=GREY, linewidth=2.5, label=label)
        label = ""
    for (name, values), colour, line in zip(
        lines.items(), (BLUE, ORANGE), ("-", "--"), strict=False
    ):
        for at, y in zip(points, values, strict=True):
            near = np.abs(np.log2(x / at)) < 0.5
            axes.plot(x[near], y[near], line, color=colour, linewidth=2.5, label=name)
            name = ""
    for at in points:
        nearest = rounded[np.argmin(np.abs(x - at))]
        axes.plot(at, nearest, "o", color="black", markersize=9, zorder=3)
    style(axes, "Through each dot: the lines that its gradient may follow", "u", "AP2(u)")
    axes.set_ylim(0, 1.2 * rounded.max())
    legend(axes, loc="upper left")
    return figure


# Shift-based AdaMax


def step_sizes_figure(exact: Array, rounded: Array) -> Figure:
    """Step sizes of shift-based AdaMax against the step number.

    Parameters
    ----------
    exact, rounded : array (n,)
        alpha / (1 - beta1^t) and its AP2, from t = 1.

    Returns
    -------
    Figure
    """
    figure = new_figure()
    axes = figure.subplots()
    t = np.arange(1, len(exact) + 1)
    axes.plot(t, exact, "--s", color=ORANGE, markersize=5, label=r"$\alpha / (1 - \beta_1^t)$")
    axes.step(t, rounded, "-o", where="mid", color=BLUE, linewidth=2.5, label="its AP2: the step")
    axes.set_yscale("log", base=2)
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_xticks(t[:1].tolist() + t[4::5].tolist())
    style(axes, "Large steps first, all of them powers of two", "t", "step size")
    legend(axes)
    return figure


def norms_figure(norms: Mapping[str, Array], gradient: float) -> Figure:
    """Infinity norms v of AdaMax after one large gradient, against the step number.

    Parameters
    ----------
    norms : mapping of str to array (steps,)
        From t = 1, by the name that the legend shows.
    gradient : float
        Size of all gradients after the first.

    Returns
    -------
    Figure
    """
    figure = new_figure()
    axes = figure.subplots()
    for (name, v), colour, line in zip(norms.items(), COLOURS, LINES, strict=False):
        axes.semilogy(np.arange(1, len(v) + 1), v, line, color=colour, linewidth=2.5, label=name)
    axes.axhline(gradient, color=GREY, linestyle=":", label="size of the gradient after t = 1")
    style(axes, "One gradient of 1, then small ones", "t", "v")
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_ylim(0.4 * gradient, 4)
    legend(axes, loc="center right")
    return figure
