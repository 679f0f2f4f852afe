"""Pictures of quantized gradients: what is drawn is what was given, in large letters."""

from collections.abc import Callable

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from qnn_ref.plots import gradients as plots_gradients
from qnn_ref.plots.style import BLUE, ORANGE
from tests.pictures import assert_nothing_global_changes, assert_readable, axis_labels, figures_of

REAL = np.array([[1.0, -0.3, 0.01], [-0.004, 0.26, 0.0]])
LOG = np.array([[1.0, -0.25, 0.0], [0.0, 0.25, 0.0]])
LINEAR = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
X = np.geomspace(0.1, 1, 200)
POWERS = np.where(X < 0.2, 0, 2.0 ** np.round(np.log2(X)))
SIGNS = np.array([1, 0, 1, 1, 1], bool)  # +1, -2, +2, 0, +4
PLANES = np.array([[1, 0, 0, 0, 0], [0, 1, 1, 0, 0], [0, 0, 0, 0, 1]], bool)
FACTOR = np.array([1, 1, 1, 0, 0], bool)  # 1 - 2 + 2 - 0 - 4 = -3
HISTORY = [{"epoch": e, "loss": 0.5 / (e + 1), "validation_error": 20.0 - e} for e in range(3)]


def planes() -> Figure:
    return plots_gradients.power_planes_figure(SIGNS, PLANES, FACTOR)


# Every figure function, and the axis labels that must be there.
FIGURES: dict[str, tuple[Callable[[], Figure], set[str]]] = {
    "gradient_sizes": (
        lambda: plots_gradients.gradient_sizes_figure({"a": REAL, "b": REAL / 1000}),
        {"size of a gradient", "share / %"},
    ),
    "quantized_sizes": (
        lambda: plots_gradients.quantized_sizes_figure(REAL, {"log": LOG, "linear": LINEAR}),
        {"size of a gradient", "share / %"},
    ),
    "gradient_ratios": (
        lambda: plots_gradients.gradient_ratios_figure(X, {"log": POWERS, "real": X}),
        {"size of a gradient", "after / before"},
    ),
    "draws": (
        lambda: plots_gradients.draws_figure(
            X, {"one": POWERS[None], "four": np.stack([X, X, X + 1, X + 1])}
        ),
        {"gradient", "after rounding"},
    ),
    "column_sums": (
        lambda: plots_gradients.column_sums_figure({"a": np.zeros(4), "b": np.arange(4.0)}),
        {"sum / sum of sizes, in %"},
    ),
    "power_planes": (planes, set()),
    "curves": (
        lambda: plots_gradients.curves_figure({"real": HISTORY, "log": HISTORY}),
        {"epoch", "training loss", "validation error / %"},
    ),
}

every_figure = pytest.mark.parametrize("name", FIGURES)


def test_every_figure_function_is_drawn_here():
    assert figures_of(plots_gradients) == FIGURES.keys()


@every_figure
def test_axes_are_labelled(name):
    draw, expected = FIGURES[name]
    assert expected == axis_labels(draw())


@every_figure
def test_a_lecture_hall_can_read_it(name):
    assert_readable(FIGURES[name][0]())


def test_nothing_global_changes():
    assert_nothing_global_changes(draw for draw, _ in FIGURES.values())


# What is drawn is what was given.


def test_bins_are_octaves_around_the_powers_and_hold_every_size():
    edges = plots_gradients.octave_edges(0.004, 1.0)
    np.testing.assert_allclose(edges[1:] / edges[:-1], 2)
    np.testing.assert_allclose(np.log2(edges) % 1, 0.5)
    assert edges[0] <= 0.004 < 2 * edges[0]
    assert edges[-2] < 1.0 <= edges[-1]
    for size in (0.71, 0.7, 1.0, 1.41, 1.42):  # on either side of a threshold
        low, high = plots_gradients.octave_edges(size, size)
        assert low <= size < high


def test_shares_are_percent_of_all_values_zeros_too():
    figure = plots_gradients.gradient_sizes_figure({"a": REAL})
    (axes,) = figure.axes
    (patch,) = axes.patches
    assert patch.get_data().values.sum() == pytest.approx(100 * 5 / 6)
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    assert [t.get_text() for t in axes.get_legend().get_texts()] == ["a"]


def test_each_level_is_as_high_as_its_share_and_zeros_are_the_orange_bar():
    log, linear = FIGURES["quantized_sizes"][0]().axes
    expected = {log: ({0.25: 100 / 3, 1.0: 100 / 6}, 50), linear: ({1.0: 100 / 6}, 500 / 6)}
    for axes, (levels, lost) in expected.items():
        (lines,) = axes.collections
        drawn = {float(a[0]): float(b[1]) for a, b in lines.get_segments()}
        assert drawn == pytest.approx(levels)
        (bar,) = [p for p in axes.patches if to_hex(p.get_facecolor()) == ORANGE.lower()]
        assert bar.get_height() == pytest.approx(lost)
        (number,) = axes.texts
        assert number.get_text() == f"{lost:.0f} %"
        assert axes.get_xlim()[0] < bar.get_x() < 0.004  # left of every gradient, in view
        assert axes.get_xticklabels()[0].get_text() == "0"
        assert bar.get_x() < axes.get_xticks()[0] < bar.get_x() + bar.get_width()
        assert lost < axes.get_ylim()[1]
    assert (log.get_title(loc="left"), linear.get_title(loc="left")) == ("log", "linear")


def test_a_gradient_without_zeros_left_has_an_empty_bar():
    (axes,) = plots_gradients.quantized_sizes_figure(REAL[:1], {"real": REAL[:1]}).axes
    assert axes.texts[0].get_text() == "0 %"


def test_ratios_are_after_over_before_and_orange_where_nothing_is_left():
    left, right = FIGURES["gradient_ratios"][0]().axes
    pieces = [line for line in left.lines if line.get_linestyle() == "-"]
    drawn = np.concatenate([line.get_ydata() for line in pieces])
    np.testing.assert_array_equal(drawn, POWERS / X)
    for line in pieces:
        colour = BLUE if line.get_ydata()[0] else ORANGE
        assert to_hex(line.get_color()) == colour.lower()
    dotted = [line.get_ydata()[0] for line in right.lines if line.get_linestyle() == ":"]
    np.testing.assert_allclose(dotted, [0.5**0.5, 1, 2**0.5])


def test_the_line_is_the_mean_of_the_draws():
    one, four = FIGURES["draws"][0]().axes
    for axes, mean in ((one, POWERS), (four, X + 0.5)):
        lines = {line.get_label(): line.get_ydata() for line in axes.lines}
        np.testing.assert_allclose(lines["mean"], mean)
        np.testing.assert_array_equal(lines["no bias"], X)
    dots = [line for line in four.lines if line.get_marker() == "o"]
    assert len(dots[0].get_ydata()) == 3 * len(X)
    assert not [line for line in one.lines if line.get_marker() == "o"]


def test_every_unit_has_a_dot_near_its_row():
    (axes,) = FIGURES["column_sums"][0]().axes
    dots = [line for line in axes.lines if line.get_marker() == "o"]
    for row, (line, values) in enumerate(zip(dots, (np.zeros(4), np.arange(4)), strict=True)):
        assert line.get_xdata().tolist() == values.tolist()
        assert np.abs(np.asarray(line.get_ydata()) - row).max() <= 0.2
    assert [t.get_text() for t in axes.get_yticklabels()] == ["a", "b"]


def test_planes_stand_in_order_with_their_sums():
    (axes,) = planes().axes
    assert [t.get_text() for t in axes.get_yticklabels()] == [
        *("sign S", "factor W", "S XOR W", "plane 2: 4", "plane 1: 2", "plane 0: 1")
    ]
    assert [t.get_text() for t in axes.texts if len(t.get_text()) > 1] == [
        *("(1 − 2·1) << 2 = −4", "(2 − 2·1) << 1 = 0", "(1 − 2·0) << 0 = 1"),
        "sum of the planes: −3",
    ]
    digits = [t.get_text() for t in axes.texts if t.get_text() in ("0", "1")]
    rows = [SIGNS, FACTOR, SIGNS != FACTOR, *PLANES[::-1]]
    assert digits == [str(int(bit)) for row in rows for bit in row]


def test_ones_that_turn_are_orange():
    (axes,) = planes().axes
    faces = [to_hex(p.get_facecolor()) for p in axes.patches]
    assert len(faces) == 6 * 5
    top, middle, bottom = (faces[5 * row : 5 * row + 5] for row in (3, 4, 5))
    black, white, orange = "#000000", "#ffffff", ORANGE.lower()
    assert top == [white] * 4 + [orange]
    assert middle == [white, orange, black, white, white]
    assert bottom == [black] + [white] * 4
    assert orange not in faces[:15]


def test_curves_start_with_epoch_1():
    left, right = FIGURES["curves"][0]().axes
    for axes, key in ((left, "loss"), (right, "validation_error")):
        assert axes.get_yscale() == "log"
        for line in axes.lines:
            assert list(line.get_xdata()) == [1, 2, 3]
            assert list(line.get_ydata()) == [entry[key] for entry in HISTORY]
    (outside,) = left.figure.legends
    assert [t.get_text() for t in outside.get_texts()] == ["real", "log"]
