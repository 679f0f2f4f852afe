"""Pictures of shifts: what is drawn is what was given, with labels that a lecture hall can read."""

from collections.abc import Callable

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from qnn_ref.plots import shifts as plots_shifts
from qnn_ref.plots.style import BLUE, ORANGE
from tests.pictures import assert_nothing_global_changes, assert_readable, axis_labels, figures_of

X = np.geomspace(0.25, 4, 400)
ROUNDED = 2.0 ** np.round(np.log2(X))
POINTS = np.array([0.9, 2.0])
NORMS = {"paper": np.array([1.0, 0.5, 0.25]), "torch": np.ones(3)}


def shift() -> Figure:
    """5/4 to the left by 1, 7/4 to the right by 1 with another sign and a dropped bit."""
    codes, places, results = np.array([5, 7]), np.array([1, -1]), np.array([10, -3])
    return plots_shifts.shift_figure(codes, places, results, 2, ["left", "right"])


def slopes() -> Figure:
    lines = {"S": X + POINTS[:, None] * 0, "R": X * np.array([[1.0], [2.0]])}
    return plots_shifts.slopes_figure(X, ROUNDED, POINTS, lines)


# Every figure function, and the axis labels that must be there.
FIGURES: dict[str, tuple[Callable[[], Figure], set[str]]] = {
    "ap2": (lambda: plots_shifts.ap2_figure(X, ROUNDED, (3.0, 4.0)), {"x", "AP2(x)", "AP2(x) / x"}),
    "shift": (shift, {"what the bit counts"}),
    "variances": (
        lambda: plots_shifts.variances_figure(np.array([1.0, 1.1, 1.1]), np.array([-0.1, 0, 0.1])),
        {'"variance"', "share of batches / %"},
    ),
    "deviations": (
        lambda: plots_shifts.deviations_figure(X, X * 0 + 1, (0.69, 1.42)),
        {"deviation of the input", "deviation of the output"},
    ),
    "slopes": (slopes, {"u", "AP2(u)"}),
    "step_sizes": (
        lambda: plots_shifts.step_sizes_figure(np.array([0.5, 0.3]), np.array([0.5, 0.25])),
        {"t", "step size"},
    ),
    "norms": (lambda: plots_shifts.norms_figure(NORMS, 0.1), {"t", "v"}),
}

every_figure = pytest.mark.parametrize("name", FIGURES)


def lines_of(axes: Axes, colour: str, style: str) -> list[list[tuple[float, float]]]:
    """The points of every line of this colour and style."""
    return [
        list(zip(line.get_xdata(), line.get_ydata(), strict=True))
        for line in axes.lines
        if to_hex(line.get_color()) == colour.lower() and line.get_linestyle() == style
    ]


def dots_of(axes: Axes, marker: str = "o") -> list[tuple[float, float]]:
    """Every point that has this marker."""
    return [
        (float(x), float(y))
        for line in axes.lines
        if line.get_marker() == marker
        for x, y in zip(line.get_xdata(), line.get_ydata(), strict=True)
    ]


def test_every_figure_function_is_drawn_here():
    assert figures_of(plots_shifts) == FIGURES.keys()


@every_figure
def test_axes_are_labelled(name):
    draw, expected = FIGURES[name]
    assert expected == axis_labels(draw())


@every_figure
def test_a_lecture_hall_can_read_it(name):
    assert_readable(FIGURES[name][0]())


def test_nothing_global_changes():
    assert_nothing_global_changes(draw for draw, _ in FIGURES.values())


def test_thresholds_are_geometric_means_and_steps_are_gaps():
    left, right = FIGURES["ap2"][0]().axes
    expected = np.sqrt(2) * 2.0 ** np.arange(-2, 2)
    for axes in (left, right):
        dotted = [ln.get_xdata()[0] for ln in axes.lines if ln.get_linestyle() == ":"]
        np.testing.assert_allclose(dotted, expected, rtol=1e-12)
    steps = lines_of(left, BLUE, "-")
    assert [{y for _, y in step} for step in steps] == [{0.25}, {0.5}, {1}, {2}, {4}]
    assert sum(map(len, steps)) == len(X)
    ratios = np.array([y for step in lines_of(right, BLUE, "-") for _, y in step])
    np.testing.assert_array_equal(ratios, ROUNDED / X)


def test_ap2_axes_are_powers_of_two_and_the_ratio_is_bounded():
    left, right = FIGURES["ap2"][0]().axes
    for ticks in (left.get_xticklabels(), left.get_yticklabels(), right.get_xticklabels()):
        assert [t.get_text() for t in ticks] == ["1/4", "1/2", "1", "2", "4"]
    np.testing.assert_allclose(right.get_yticks(), [0.5**0.5, 1, 2**0.5])
    assert {a.get_xscale() for a in (left, right)} == {"log"}
    assert left.get_yscale() == right.get_yscale() == "log"


@pytest.mark.parametrize(("point", "dots", "arrows"), [((3.0, 4.0), 1, 1), (None, 0, 0)])
def test_ap2_marks_its_point(point, dots, arrows):
    left, right = plots_shifts.ap2_figure(X, ROUNDED, point).axes
    assert dots_of(left) == [(3.0, 4.0)][:dots]
    assert dots_of(right) == [(3.0, 4 / 3)][:dots]
    assert [(a.xyann, a.xy) for a in left.texts] == [((3.0, 3.0), (3.0, 4.0))][:arrows]
    assert plots_shifts.ap2_figure(X, ROUNDED, (2.0, 2.0)).axes[0].texts[:] == []


def strip(axes: Axes, row: int) -> str:
    """Sign and bits of a row, as written."""
    found = [t for t in axes.texts if t.get_position()[1] == row]
    return "".join(t.get_text() for t in sorted(found, key=lambda t: t.get_position()[0]))


def test_bits_are_those_of_the_codes():
    left, right = shift().axes
    assert (strip(left, 0), strip(left, 2)) == ("+0101", "+1010")
    assert (strip(right, 0), strip(right, 2), strip(right, 4)) == ("+0111", "−00111", "−0011")
    assert strip(right, 3).startswith("floor(−3.5 + 1/2) = −3")  # by the signed number
    for axes in (left, right):
        for square, text in zip(
            axes.patches, [t for t in axes.texts if t.get_text() in "01"], strict=True
        ):
            colour = {"1": "#000000", "0": "#ffffff"}[text.get_text()]
            gone = square.get_hatch() == "//"  # a bit beyond the last place
            assert gone == (square.get_x() > 3)
            assert to_hex(square.get_facecolor()) == ("#dddddd" if gone else colour)
            assert square.get_x() + 0.5 == text.get_position()[0]
    assert [t.get_text() for t in right.get_xticklabels()] == ["2", "1", "1/2", "1/4"]
    assert [t.get_text() for t in left.get_yticklabels()] == ["1.25", "2.5"]
    assert [t.get_text() for t in right.get_yticklabels()] == ["1.75", "-0.875", "-0.75"]


def test_each_one_moves_by_its_shift_and_dropped_bits_are_dashed():
    left, right = shift().axes
    ends = [(int(a[0]), int(b[0])) for a, b in lines_of(left, BLUE, "-")]
    assert ends == [(1, 0), (3, 2)]
    assert not lines_of(left, ORANGE, "--")
    ends = [(int(a[0]), int(b[0])) for a, b in lines_of(right, BLUE, "-")]
    assert ends == [(1, 2), (2, 3)]
    assert [(int(a[0]), int(b[0])) for a, b in lines_of(right, ORANGE, "--")] == [(3, 4)]
    assert right.get_xlim()[1] > 4.5  # in view
    for axes in (left, right):  # the binary point, between 1 and 1/2
        assert {x for line in lines_of(axes, ORANGE, "-") for x, _ in line} == {1.5}


@pytest.mark.parametrize(
    ("code", "result", "text"),
    [(2, 1, "floor(0.5 + 1/2) = 1"), (2, 0, "floor(−0.5 + 1/2) = 0"), (1, 0, "floor(0.25")],
)
def test_a_tie_is_rounded_upwards_on_both_sides_of_zero(code, result, text):
    codes, places = np.array([code]), np.array([-2])
    (axes,) = plots_shifts.shift_figure(codes, places, np.array([result]), 2, [""]).axes
    assert strip(axes, 3).startswith(text)


def test_a_zero_has_no_sign_and_no_lines():
    zero = np.array([0])
    (axes,) = plots_shifts.shift_figure(zero, np.array([3]), zero, 2, ["zero"]).axes
    assert strip(axes, 0) == strip(axes, 2) == "000"
    assert not lines_of(axes, BLUE, "-")


def test_variance_shares_are_percent_and_named():
    (axes,) = FIGURES["variances"][0]().axes
    drawn = {patch.get_label(): patch.get_data() for patch in axes.patches}
    for name, mean in (("with the sign", 1.067), ("without the sign", 0.0)):
        shares, edges = drawn[name].values, drawn[name].edges
        assert shares.sum() == pytest.approx(100)
        middles = (edges[1:] + edges[:-1]) / 2
        assert (shares * middles).sum() / 100 == pytest.approx(mean, abs=0.02)


def test_deviations_are_dots_between_their_bounds():
    (axes,) = plots_shifts.deviations_figure(X, 1 + X / 10, (0.69, 1.42)).axes
    assert dots_of(axes) == list(zip(X, 1 + X / 10, strict=True))
    dotted = {ln.get_ydata()[0] for ln in axes.lines if ln.get_linestyle() == ":"}
    assert dotted == {0.69, 1.42}
    assert axes.get_yticks().tolist() == [0.69, 1, 1.42]


def test_slopes_pass_near_their_points_only():
    (axes,) = slopes().axes
    assert dots_of(axes) == [(0.9, 1.0), (2.0, 2.0)]
    for colour, line, factors in ((BLUE, "-", (1, 1)), (ORANGE, "--", (1, 2))):
        pieces = lines_of(axes, colour, line)
        for piece, at, factor in zip(pieces, POINTS, factors, strict=True):
            x, y = np.transpose(piece)
            assert at / 1.43 < x[0] < at / 1.38
            assert at * 1.38 < x[-1] < at * 1.43
            np.testing.assert_allclose(y, factor * x)
    assert [t.get_text() for t in axes.get_legend().get_texts()] == ["AP2: slope 0", "S", "R"]


def test_steps_count_from_1():
    (axes,) = plots_shifts.step_sizes_figure(np.arange(12, 0, -1.0), 2.0 ** -np.arange(12)).axes
    exact, rounded = axes.lines
    assert exact.get_xdata().tolist() == rounded.get_xdata().tolist() == list(range(1, 13))
    assert exact.get_ydata().tolist() == list(range(12, 0, -1))
    assert rounded.get_ydata().tolist() == [2.0**-i for i in range(12)]
    assert rounded.get_drawstyle() == "steps-mid"
    assert axes.get_xticks().tolist() == [1, 5, 10]
    assert axes.get_yscale() == "log"


def test_norms_are_drawn_with_the_gradient():
    (axes,) = FIGURES["norms"][0]().axes
    lines = {line.get_label(): line for line in axes.lines}
    for name, v in NORMS.items():
        assert lines[name].get_xdata().tolist() == [1, 2, 3]
        assert lines[name].get_ydata().tolist() == v.tolist()
    assert set(lines["size of the gradient after t = 1"].get_ydata()) == {0.1}
    assert lines["paper"].get_linestyle() != lines["torch"].get_linestyle()
