"""Pictures of kernels: what is drawn is what was given, and a lecture hall can read it."""

from collections.abc import Callable

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, Rectangle

from qnn_ref.plots import kernels as plots_kernels
from qnn_ref.plots.convolutions import MARK
from qnn_ref.plots.style import ORANGE
from tests.pictures import (
    assert_nothing_global_changes,
    assert_readable,
    axis_labels,
    figures_of,
    texts,
)

RNG = np.random.default_rng(0)
A, B = RNG.choice([-1, 1], (2, 16))
ADDRESS = np.arange(64)
LAYOUTS = {"columns": ADDRESS.reshape(16, 4).T, "panel": ADDRESS.reshape(4, 16)}
PARTS = np.array([27, 28, 32, 39, 29, 38, 30, 32])
COUNTS = np.cumsum(RNG.integers(25, 40, (4, 8)), axis=0)
TILE = RNG.integers(20, 45, (4, 16))
NUMBERS = np.array([5, -2, 7, 1])
TABLE = (2 * (np.arange(16)[:, None] >> np.arange(4) & 1) - 1) @ NUMBERS
BITS = np.array([1, 1, 0, 0, 0, 1, 0, 1, 1, 1, 1, 1, 0, 0, 0, 0])
CURVES = {
    "one": (np.arange(1, 20), np.arange(1, 20) / 3 + 1),
    "two": (np.arange(1, 20), np.arange(1, 20) ** 0.5),
}
SHARES = {
    "float32": {"first": 1.0, "hidden": 8.0, "last": 0.1, "thresholds": 0.9},
    "packed": {"first": 2.0, "hidden": 2.0, "last": 0.0, "thresholds": 1.0},
}
RATIOS = {"large": {"packed": 5.8, "packing": 0.5}, "small": {"packed": 0.37, "packing": 0.062}}


def layouts(start: int = 8) -> Figure:
    return plots_kernels.layouts_figure(LAYOUTS, start, 8)


def lookup(place: int = 1) -> Figure:
    return plots_kernels.lookup_figure(NUMBERS, TABLE, BITS, place)


# Every figure function, and the axis labels that must be there.
FIGURES: dict[str, tuple[Callable[[], Figure], set[str]]] = {
    "word": (lambda: plots_kernels.word_figure(A, B), set()),
    "block": (lambda: plots_kernels.block_figure((6, 8, 4), (2, 3), (2, 4)), set()),
    "layouts": (layouts, set()),
    "across": (lambda: plots_kernels.across_figure(PARTS, COUNTS), set()),
    "tile": (lambda: plots_kernels.tile_figure(TILE, 8), set()),
    "carry_tree": (plots_kernels.carry_tree_figure, set()),
    "lines": (
        lambda: plots_kernels.lines_figure(CURVES, "pairs", "gain", {"limit": 4.0}, True),
        {"pairs", "gain"},
    ),
    "lookup": (lookup, set()),
    "parts": (lambda: plots_kernels.parts_figure(SHARES), {"share of the time / %"}),
    "ratios": (lambda: plots_kernels.ratios_figure(RATIOS, "times faster"), {"times faster"}),
}

every_figure = pytest.mark.parametrize("name", FIGURES)
CANVASES = ["word", "block", "layouts", "across", "tile", "carry_tree", "lookup"]


def only(figure: Figure) -> Axes:
    (axes,) = figure.axes
    return axes


def words(figure: Figure) -> list[str]:
    return [text.get_text() for text in texts(figure, ticks=False)]


def cells(axes: Axes) -> dict[tuple[float, float], tuple[str, str]]:
    """Text and colour of each square, by its upper left corner."""
    written = {
        (round(x - 0.5, 6), round(y - 0.5, 6)): text.get_text()
        for text in axes.texts
        for x, y in [text.get_position()]
        if text.get_ha() == "center"
    }
    corners = [
        ((round(p.get_x(), 6), round(p.get_y(), 6)), to_hex(p.get_facecolor()))
        for p in axes.patches
        if isinstance(p, Rectangle) and p.get_fill()
    ]
    assert len(dict(corners)) == len(corners), "a cell is drawn twice"
    return {corner: (written.get(corner, ""), face) for corner, face in corners}


def lines_of(axes: Axes) -> list[list[str]]:
    """The texts in the squares, line by line."""
    found = cells(axes)
    tops = sorted({y for _, y in found})
    return [[found[c][0] for c in sorted(found) if c[1] == top] for top in tops]


def filled(axes: Axes) -> set[tuple[float, float]]:
    return {corner for corner, (_, face) in cells(axes).items() if face == MARK.lower()}


def frames(axes: Axes) -> list[tuple[float, float, float, float]]:
    """Thick frames, from the top: y, x, height, width."""
    return sorted(
        (round(p.get_y(), 6), round(p.get_x(), 6), p.get_height(), p.get_width())
        for p in axes.patches
        if isinstance(p, Rectangle) and not p.get_fill()
        if to_hex(p.get_edgecolor()) == ORANGE.lower()
    )


def test_every_figure_function_is_drawn_here():
    assert figures_of(plots_kernels) == FIGURES.keys()


@every_figure
def test_axes_are_labelled(name):
    draw, expected = FIGURES[name]
    assert axis_labels(draw()) == expected


@every_figure
def test_a_lecture_hall_can_read_it(name):
    assert_readable(FIGURES[name][0]())


@pytest.mark.parametrize("name", CANVASES)
def test_no_text_lies_on_another(name):
    figure = FIGURES[name][0]()
    figure.draw_without_rendering()
    boxes = [(t.get_text(), t.get_window_extent()) for t in only(figure).texts if t.get_text()]
    for k, (text, box) in enumerate(boxes):
        others = [other for other, b in boxes[:k] if box.overlaps(b)]
        assert not others, (text, others)


@pytest.mark.parametrize("name", CANVASES)
def test_cells_lie_in_the_picture_and_apart(name):
    axes = only(FIGURES[name][0]())
    squares = sorted(cells(axes))
    width, height = axes.get_xlim()[1], axes.get_ylim()[0]
    assert all(0 <= x <= width - 1 and 0 <= y <= height - 1 for x, y in squares)
    for k, (x, y) in enumerate(squares):
        assert all(abs(x - u) > 0.99 or abs(y - v) > 0.99 for u, v in squares[:k])


def test_nothing_global_changes():
    assert_nothing_global_changes(draw for draw, _ in FIGURES.values())


def test_a_word_shows_floats_and_bits_of_the_same_pairs():
    figure = FIGURES["word"][0]()
    rows = lines_of(only(figure))
    assert [[int(n) for n in row] for row in rows[:3]] == [list(A), list(B), list(A * B)]
    xor = (A > 0) ^ (B > 0)
    assert [[int(n) for n in row] for row in rows[3:]] == [list(A > 0), list(B > 0), list(xor)]
    for text, face in cells(only(figure)).values():
        assert face == ("#000000" if text in ("1", "+1") else "#ffffff")
    product = str(A @ B).replace("-", "−")
    assert {f"popcount = {xor.sum()}", f"= {product}", "16 ×, 15 +"} <= set(words(figure))
    assert f"16 − 2 · {xor.sum()} = {product}" in words(figure)
    assert [frame[2:] for frame in frames(only(figure))] == [(1, 16)] * 3


def test_a_block_marks_its_rows_columns_and_results():
    figure = FIGURES["block"][0]()
    axes = only(figure)
    assert len(cells(axes)) == 6 * 4 + 4 * 8 + 6 * 8
    assert len(filled(axes)) == 2 * 4 + 4 * 3 + 2 * 3
    column, row, result = sorted(frames(axes), key=lambda frame: (frame[0], frame[1]))
    assert (column[2:], row[2:], result[2:]) == ((1, 3), (2, 1), (2, 3))
    assert column[1] == result[1]
    assert row[0] == result[0]
    assert "a turn: 2 + 3 = 5 words read, 2 · 3 = 6 counted: 0.833 read for each" in words(figure)


@pytest.mark.parametrize("vector", range(8))
def test_a_vector_is_marked_in_every_layout(vector):
    axes = only(layouts(8 * vector))
    found = cells(axes)
    marked = sorted(int(found[corner][0]) for corner in filled(axes))
    assert marked == sorted([*range(8 * vector, 8 * vector + 8)] * 2)
    assert [frame[2:] for frame in frames(axes)] == [(4, 2), (1, 8)]
    rows = lines_of(axes)
    assert [[int(n) for n in row] for row in rows] == [*LAYOUTS["columns"].tolist()] + [
        *LAYOUTS["panel"].tolist()
    ]


def test_sums_across_lanes_are_halved_until_one_is_left():
    axes = only(FIGURES["across"][0]())
    rows = [[int(n) for n in row] for row in lines_of(axes)]
    sums = [PARTS, PARTS[:4] + PARTS[4:]]
    sums += [sums[1][:2] + sums[1][2:], [PARTS.sum()]]
    assert rows == [[*left, *right] for left, right in zip(sums, COUNTS, strict=True)]
    written = words(axes.figure)
    assert [t for t in written if "addition" in t] == ["4 additions", "2 additions", "1 addition"]
    assert [frame[2:] for frame in frames(axes)] == [(1, 1), (1, 8)]


def test_a_tile_has_a_frame_for_each_vector():
    axes = only(FIGURES["tile"][0]())
    rows = lines_of(axes)
    assert rows[0] == [f"y{j}" for j in range(16)]
    assert [row[0] for row in rows[1:]] == ["x0", "x1", "x2", "x3"]
    assert [[int(n) for n in row[1:]] for row in rows[1:]] == TILE.tolist()
    assert [frame[2:] for frame in frames(axes)] == [(1, 8)] * 10
    assert sum(isinstance(p, FancyArrowPatch) for p in axes.patches) == 4


@pytest.mark.parametrize(("count", "kept"), [(4, 2), (8, 3), (16, 4)])
def test_a_tree_has_an_adder_less_than_words(count, kept):
    figure = plots_kernels.carry_tree_figure(count)
    axes = only(figure)
    assert_readable(figure)
    assert len(filled(axes)) == count - 1
    assert {text for text, _ in cells(axes).values()} == {"+"} | {f"w{k}" for k in range(count)}
    assert sum(text.endswith(", kept") for text in words(figure)) == kept
    arrows = sum(isinstance(p, FancyArrowPatch) for p in axes.patches)
    assert arrows == 3 * (count - 1) + kept + 1  # three into each adder, and what leaves the tree


@pytest.mark.parametrize("place", range(4))
def test_four_bits_choose_the_entry_that_is_filled(place):
    figure = lookup(place)
    axes = only(figure)
    rows = lines_of(axes)
    assert [int(n) for n in rows[0]] == list(range(16))
    signs = np.array([[int(n) for n in row] for row in rows[1:5]])
    sums = np.array([int(n) for n in rows[5]])
    assert (NUMBERS @ signs == sums).all()
    assert [int(n) for n in rows[6]] == BITS.tolist()
    entry = [3, 10, 15, 0][place]
    (chosen,) = filled(axes)
    assert cells(axes)[chosen][0] == str(sums[entry])
    assert sorted(frame[2:] for frame in frames(axes)) == [(1, 4), (6, 1)]
    named = [text for text in words(figure) if text.startswith("entry")]
    assert named == ["entry 3", "entry 10", "entry 15", "entry 0"]


def test_curves_differ_in_line_and_marker_and_a_limit_is_named():
    axes = only(FIGURES["lines"][0]())
    drawn = {line.get_label(): line for line in axes.lines}
    for name, (x, y) in CURVES.items():
        assert drawn[name].get_xdata().tolist() == x.tolist()
        assert drawn[name].get_ydata().tolist() == y.tolist()
    assert len({drawn[name].get_linestyle() for name in CURVES}) == 2
    assert len({drawn[name].get_marker() for name in CURVES}) == 2
    assert {axes.get_xscale(), axes.get_yscale()} == {"log"}
    assert [t.get_text() for t in axes.texts] == ["limit"]
    assert [line for line in axes.lines if set(line.get_ydata()) == {4.0}]


@pytest.mark.parametrize(
    ("points", "markers"), [(12, ["o", "s"]), (20, ["o", "s"]), (21, ["None"] * 2)]
)
def test_few_points_have_a_marker_each_and_many_have_none(points, markers):
    x = np.arange(points)
    axes = only(plots_kernels.lines_figure({"a": (x, x), "b": (x, 2 * x)}, "x", "y"))
    assert [line.get_marker() for line in axes.lines] == markers
    assert [line.get_markevery() for line in axes.lines] == [None, None]


def test_a_single_curve_needs_no_legend_and_starts_at_zero():
    figure = plots_kernels.lines_figure({"": CURVES["one"]}, "x", "y")
    assert_readable(figure)
    assert only(figure).get_legend() is None
    assert only(figure).get_ylim()[0] == 0


def test_parts_are_shares_and_fill_their_bar():
    axes = only(FIGURES["parts"][0]())
    widths = np.array([[bar.get_width() for bar in bars] for bars in axes.containers])
    assert np.allclose(widths.sum(axis=0), 100)
    assert np.allclose(widths[:, 0], [10, 80, 1, 9])
    assert np.allclose(widths[:, 1], [40, 40, 0, 20])
    looks = {(to_hex(b[0].get_facecolor()), b[0].get_hatch()) for b in axes.containers}
    assert len({hatch for _, hatch in looks}) == 4  # told apart in grey print
    shown = {t.get_text(): t for t in axes.texts if t.get_text()}
    assert sorted(shown) == ["0.0", "1", "10", "20", "40", "80", "9"]
    # What is too narrow for its number has it outside: the third part below, the others inside.
    places = {text: t.xy for text, t in shown.items() if text in ("1", "0.0")}
    assert places["1"] == pytest.approx((90.5, 0.3))
    assert places["0.0"] == pytest.approx((80, 1.3))


def test_neighbours_that_are_narrow_do_not_share_a_side():
    shares = {"packed": {"first": 95.0, "a": 0.5, "last": 0.5, "thresholds": 4.0}}
    figure = plots_kernels.parts_figure(shares)
    assert_readable(figure)
    boxes = [t.get_window_extent() for t in only(figure).texts if t.get_text()]
    assert len(boxes) == 4
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


def test_ratios_begin_at_one_and_end_at_their_value():
    axes = only(FIGURES["ratios"][0]())
    ends = {
        bars.get_label(): [bar.get_x() + bar.get_width() for bar in bars]
        for bars in axes.containers
    }
    assert np.allclose(ends["packed"], [5.8, 0.37])
    assert np.allclose(ends["packing"], [0.5, 0.062])
    assert {bar.get_x() for bars in axes.containers for bar in bars} == {1}
    assert sorted(t.get_text() for t in axes.texts) == ["0.062", "0.37", "0.5", "5.8"]
    assert axes.get_xscale() == "log"
    left, right = axes.get_xlim()
    assert left < 0.062
    assert right > 5.8
