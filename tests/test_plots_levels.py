"""Pictures of more than one bit: what is drawn is what was given, in letters for a lecture hall."""

from collections.abc import Callable

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from qnn_ref.plots import levels as plots_levels
from qnn_ref.plots.style import BLUE, ORANGE
from tests.pictures import assert_nothing_global_changes, assert_readable, axis_labels, figures_of

X = np.arange(-48, 49) / 32
SIGN = np.where(X >= 0, 1.0, -1.0)
HALVES = np.clip(np.floor(2 * X + 0.5) / 2, -1, 0.5)
CLIP = np.clip(X, -1, 1)
INSIDE = (np.abs(X) <= 1).astype(float)
FEW = {"sign": np.array([-1.0, 1.0]), "halves": np.array([-1, -0.5, 0, 0.5]), "none": np.array([])}
PRODUCTS = np.array([[3, -2], [5, 0]])
FACTORS = np.array([[1, -2], [-2, 4]])
PLANES = np.array([[[-1, 1], [-1, 1]], [[-1, -1], [1, 1]]])
SUMS = np.arange(-9, 10, 2)
THRESHOLDS = np.array([[-4, 5], [1, 0], [99, -4]])


def readings() -> Figure:
    values = {"sign": SIGN, "halves": HALVES, "none": np.array([])}
    return plots_levels.readings_figure(X, values, FEW)


def surrogates() -> Figure:
    return plots_levels.surrogates_figure(
        X, {"a": SIGN, "b": HALVES}, {"a": CLIP, "b": CLIP}, {"a": INSIDE, "b": INSIDE}
    )


def codes() -> Figure:
    up = 2 * (SUMS[:, None] >= THRESHOLDS[:, :1].T).sum(axis=1) - 3
    down = 2 * (SUMS[:, None] < THRESHOLDS[:, 1:].T).sum(axis=1) - 3
    return plots_levels.codes_figure(SUMS, np.stack([up, down], 1), THRESHOLDS, ["up", "down"])


# Every figure function, and the axis labels that must be there.
FIGURES: dict[str, tuple[Callable[[], Figure], set[str]]] = {
    "readings": (readings, {"x", "value"}),
    "log_levels": (
        lambda: plots_levels.log_levels_figure(
            {"log": np.array([-1, -0.25, 0, 0.25, 1]), "linear": np.array([-1, 1])}
        ),
        {"level"},
    ),
    "plane_sum": (
        lambda: plots_levels.plane_sum_figure(PLANES[0] + 2 * PLANES[1], PLANES),
        {"code", "plane 1: counts ±2", "plane 0: counts ±1"},
    ),
    "partial_products": (
        lambda: plots_levels.partial_products_figure(PRODUCTS, FACTORS, "cells"),
        {"sum of the 4 cells: −3"},
    ),
    "surrogates": (surrogates, {"x", "forward", "slope"}),
    "codes": (codes, {"sum s", "code"}),
}

every_figure = pytest.mark.parametrize("name", FIGURES)


def steps_of(axes: Axes, colour: str) -> list[tuple[list[float], set[float]]]:
    """x and y of every piece of a staircase of this colour."""
    return [
        (list(line.get_xdata()), set(line.get_ydata()))
        for line in axes.lines
        if to_hex(line.get_color()) == to_hex(colour) and line.get_linewidth() == 3
    ]


def dots_of(axes: Axes) -> list[tuple[float, float, str]]:
    """Every dot: x, y and its filling."""
    return [
        (float(x), float(y), to_hex(line.get_markerfacecolor()))
        for line in axes.lines
        if line.get_marker() == "o"
        for x, y in zip(line.get_xdata(), line.get_ydata(), strict=True)
    ]


def test_every_figure_function_is_drawn_here():
    assert figures_of(plots_levels) == FIGURES.keys()


@every_figure
def test_axes_are_labelled(name):
    draw, expected = FIGURES[name]
    assert expected == axis_labels(draw())


@every_figure
def test_a_lecture_hall_can_read_it(name):
    assert_readable(FIGURES[name][0]())


def test_nothing_global_changes():
    assert_nothing_global_changes(draw for draw, _ in FIGURES.values())


@pytest.mark.parametrize(("place", "values"), [(0, SIGN), (1, HALVES)])
def test_a_staircase_is_flat_between_its_jumps_and_complete(place, values):
    axes = readings().axes[place]
    steps = steps_of(axes, BLUE)
    assert all(len(y) == 1 for _, y in steps)
    assert [y for x, (level,) in steps for y in [level] * len(x)] == values.tolist()
    assert [x for piece, _ in steps for x in piece] == X.tolist()
    assert dots_of(axes) == [(0, values[X == 0][0], "#000000")]


def test_every_level_has_a_line_and_a_number():
    sign, halves, _ = readings().axes
    for axes, levels, numbers in (
        (sign, [-1, 1], ["−1", "1"]),
        (halves, [-1, -0.5, 0, 0.5], ["−1", "−1/2", "0", "1/2"]),
    ):
        dotted = [line.get_ydata()[0] for line in axes.lines if line.get_linestyle() == ":"]
        assert dotted == levels
        assert axes.get_yticks().tolist() == levels
        assert [t.get_text() for t in axes.get_yticklabels()] == numbers


def test_many_levels_have_lines_only():
    levels = np.linspace(-1, 1, 16)
    (axes,) = plots_levels.readings_figure(X, {"a": SIGN}, {"a": levels}).axes
    dotted = [line.get_ydata()[0] for line in axes.lines if line.get_linestyle() == ":"]
    assert dotted == levels.tolist()
    assert len(axes.get_yticks()) < 16


def test_numbers_keep_their_distance_and_both_ends_stay():
    levels = np.arange(8) / 7
    (axes,) = plots_levels.readings_figure(X, {"a": SIGN}, {"a": levels}).axes
    assert [t.get_text() for t in axes.get_yticklabels()] == ["0", "2/7", "4/7", "1"]
    dotted = [line.get_ydata()[0] for line in axes.lines if line.get_linestyle() == ":"]
    assert dotted == levels.tolist()  # the lines are all there
    assert plots_levels.apart(np.array([3.0]), 1.0) == [3]


def test_every_row_says_what_its_axis_is_also_beside_a_refusal():
    values = {"none": np.array([]), "sign": SIGN}
    first, second = plots_levels.readings_figure(X, values, values).axes
    assert (first.get_ylabel(), second.get_ylabel()) == ("value", "")
    assert first.axison


def test_a_refusal_is_written_and_empty_places_stay_empty():
    *_, refused = readings().axes
    assert [t.get_text() for t in refused.texts] == ["refused"]
    assert not refused.lines
    four = dict.fromkeys("abcd", SIGN)
    figure = plots_levels.readings_figure(X, four, dict.fromkeys("abcd", FEW["sign"]))
    assert [axes.axison for axes in figure.axes] == [True] * 4 + [False] * 2
    # A label stands below the lowest picture of each column.
    assert [axes.get_xlabel() for axes in figure.axes[:4]] == ["", "x", "x", "x"]


def test_a_wider_range_is_in_view():
    wide = np.array([-4.0, 4.0])
    (axes,) = plots_levels.readings_figure(4 * X, {"a": 4 * SIGN}, {"a": wide}).axes
    low, high = axes.get_ylim()
    assert low < -4 < 4 < high


def test_log_levels_leave_out_negatives_and_set_zero_apart():
    (axes,) = FIGURES["log_levels"][0]().axes
    dots = dots_of(axes)
    assert {d for d in dots if d[2] == BLUE.lower()} == {
        (x, y, BLUE.lower()) for x, y in ((0.25, 0), (1, 0), (1, 1))
    }
    (ring,) = [d for d in dots if d[2] == "#ffffff"]
    assert ring[1] == 0  # the row that has a zero
    (border,) = [line.get_xdata()[0] for line in axes.lines if line.get_linestyle() == "--"]
    assert ring[0] < border < 0.25
    ticks = dict(
        zip(axes.get_xticks(), (t.get_text() for t in axes.get_xticklabels()), strict=True)
    )
    assert ticks == {ring[0]: "0", 0.25: "1/4", 0.5: "1/2", 1.0: "1"}
    assert axes.get_xscale() == "log"
    assert [t.get_text() for t in axes.get_yticklabels()] == ["log", "linear"]


def test_log_axes_of_many_octaves_keep_their_ticks_apart():
    (axes,) = plots_levels.log_levels_figure({"a": 2.0 ** np.arange(-30, 1)}).axes
    assert len(axes.get_xticks()) <= 12
    assert axes.get_xticklabels()[-1].get_text() == "1"


def test_planes_stand_in_the_order_of_the_sum():
    code, high, low = FIGURES["plane_sum"][0]().axes
    assert code.images[0].get_array().tolist() == [[-3, -1], [1, 3]]
    assert high.images[0].get_array().tolist() == PLANES[1].tolist()
    assert low.images[0].get_array().tolist() == PLANES[0].tolist()
    assert [axes.texts[0].get_text() for axes in (high, low)] == ["=", "+"]
    image = high.images[0]
    colours = image.cmap(image.norm(image.get_array()))
    assert [to_hex(c) for c in colours[:, 0]] == ["#ffffff", "#000000"]


def test_cells_hold_factor_product_and_result():
    (axes,) = FIGURES["partial_products"][0]().axes
    written = {t.get_position(): t.get_text() for t in axes.texts}
    assert written == {
        (0, 0): "1 · 3 = 3",
        (1, 0): "−2 · (−2) = 4",
        (0, 1): "−2 · 5 = −10",
        (1, 1): "4 · 0 = 0",
    }
    faces = [p for p in axes.patches if isinstance(p, Rectangle) and p.get_fill()]
    shades = {(p.get_x() + 0.5, p.get_y() + 0.5): p.get_facecolor() for p in faces}
    colours = {place: to_hex(colour) for place, colour in shades.items()}
    blue, orange = BLUE.lower(), ORANGE.lower()
    assert colours == {(0, 0): blue, (1, 0): orange, (0, 1): orange, (1, 1): blue}
    depth = {place: colour[3] for place, colour in shades.items()}
    assert depth[0, 0] < depth[1, 0] == depth[0, 1] < depth[1, 1]
    assert [t.get_text() for t in axes.get_xticklabels()] == ["w, plane 0", "w, plane 1"]
    assert [t.get_text() for t in axes.get_yticklabels()] == ["x, plane 0", "x, plane 1"]


def test_one_cell_is_drawn_too():
    one = np.array([[1]])
    (axes,) = plots_levels.partial_products_figure(-7 * one, one, "one").axes
    assert [t.get_text() for t in axes.texts] == ["1 · (−7) = −7"]


def test_slopes_stand_below_their_staircase():
    above, _, below, _ = surrogates().axes
    dashed = [line for line in above.lines if line.get_linestyle() == "--"]
    assert [line.get_ydata().tolist() for line in dashed] == [CLIP.tolist()]
    assert [y for _, y in steps_of(above, BLUE)] == [{-1.0}, {1.0}]
    slopes = steps_of(below, ORANGE)
    assert [(x[0], x[-1], y) for x, y in slopes] == [
        (X[0], X[15], {0.0}),
        (-1.0, 1.0, {1.0}),  # the bound is inside
        (X[-16], X[-1], {0.0}),
    ]
    (box,) = surrogates().legends
    assert [t.get_text() for t in box.get_texts()] == ["surrogate", "value"]


def test_codes_jump_at_their_thresholds():
    up, down = codes().axes
    assert [(x[0], y) for x, y in steps_of(up, "black")] == [(-9, {-3}), (-3, {-1}), (1, {1})]
    assert [(x[0], y) for x, y in steps_of(down, "black")] == [
        (-9, {3}),
        (-3, {1}),
        (1, {-1}),
        (5, {-3}),
    ]
    for axes, expected in ((up, [-4.5, 0.5]), (down, [4.5, -0.5, -4.5])):
        dashed = [line.get_xdata()[0] for line in axes.lines if line.get_linestyle() == "--"]
        assert dashed == expected  # 99 is out of sight
        assert axes.get_yticks().tolist() == [-3, -1, 1, 3]
