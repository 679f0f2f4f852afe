"""Colours, letters and axes that all pictures share.

Colours are those of Okabe and Ito, told apart by colour-blind readers and, with the line styles,
in grey print. +1 is drawn black and -1 white, like ink on paper. No letter is smaller than 12
points. Figures are made without pyplot, so nothing global changes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

History = Sequence[Mapping[str, float]]

BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#777777"
COLOURS = (BLUE, ORANGE, GREEN, "black", "#CC79A7")
MARKERS, LINES = "os^Dv", ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))
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
