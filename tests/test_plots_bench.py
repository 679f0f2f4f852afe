"""The picture of the ladder: every bar is there, the ceiling too, in letters for a lecture hall."""

from collections.abc import Callable

import numpy as np
import pytest
from matplotlib.figure import Figure

from qnn_ref.plots import bench as plots_bench
from tests.pictures import assert_nothing_global_changes, assert_readable, axis_labels, figures_of

NAMES = ("float loops", "three loops", "vector tiles")
TOPS = (0.003, 1.2, 2.2)
PEERS = {"NumPy float32": 0.1, "numkong": 1.5}

SCALING = [
    {
        "name": f"scaling: {what}",
        "size": f"784-3x{width}-10, batch {batch}",
        "ours": width * batch * 1e-7,
        "peer": width * batch * 3e-7,
        "peer_name": "PyTorch float32",
        "unit": "s",
    }
    for what in ("training step", "packed inference")
    for width, batch in ((128, 100), (1024, 100), (1024, 1), (128, 1000), (1024, 1000))
]
CEILING = {"tops": 2.0, "read_gb_per_s": 10.0}

FIGURES: dict[str, Callable[[], Figure]] = {
    "ladder": lambda: plots_bench.ladder_figure(NAMES, TOPS, 2.4, PEERS),
    "scaling": lambda: plots_bench.scaling_figure(SCALING, CEILING),
}


def test_every_figure_function_is_drawn_here():
    assert figures_of(plots_bench) == FIGURES.keys()


def test_curves_can_be_read_from_the_last_row():
    assert_readable(FIGURES["scaling"]())


@pytest.mark.parametrize("peers", [PEERS, {}], ids=["peers", "alone"])
def test_a_lecture_hall_can_read_it(peers):
    assert_readable(plots_bench.ladder_figure(NAMES, TOPS, 2.4, peers))


def test_axes_are_labelled():
    assert axis_labels(FIGURES["ladder"]()) == {"10¹² operations / s, 2 M N K for a product (TOPS)"}


def test_nothing_global_changes():
    assert_nothing_global_changes(FIGURES.values())


def test_bars_are_what_was_measured_from_the_lowest_rung_down():
    (axes,) = FIGURES["ladder"]().axes
    widths = [bar.get_width() for bar in axes.patches]
    np.testing.assert_allclose(widths, [*TOPS, *PEERS.values()])
    assert [label.get_text() for label in axes.get_yticklabels()] == [*NAMES, *PEERS]
    places = [bar.get_y() for bar in axes.patches]
    assert places == sorted(places)
    assert axes.yaxis_inverted()


def test_the_ceiling_is_a_line_in_view_and_others_differ_without_colour():
    (axes,) = FIGURES["ladder"]().axes
    (line,) = axes.lines
    assert list(line.get_xdata()) == [2.4, 2.4]
    assert axes.get_xlim()[1] > 2.4
    hatches = [bar.get_hatch() for bar in axes.patches]
    assert hatches == [None] * len(NAMES) + ["//"] * len(PEERS)
