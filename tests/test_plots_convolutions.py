"""Pictures of convolutions: what is drawn is what was given, and a lecture hall can read it."""

from collections.abc import Callable

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from qnn_ref.plots import convolutions as plots_convolutions
from qnn_ref.plots.convolutions import MARK, OUTSIDE
from qnn_ref.plots.style import ORANGE
from tests.pictures import assert_nothing_global_changes, assert_readable, axis_labels, figures_of

RNG = np.random.default_rng(0)
IMAGE = np.arange(1, 21).reshape(4, 5)
PADDED = np.pad(IMAGE, 1)  # 6 x 7: kernel 3 x 2, stride 2 x 1 has 2 x 6 places
SIGNS = np.array([[1, -1], [-1, 1]])
WORDS = np.arange(4 * 5 * 2).reshape(4, 5, 2)
RUN_ROW = WORDS[1:3, 2:5].ravel()
FILTERS = RNG.choice([-1, 1], (5, 3, 3))
MAPS = RNG.choice([-1, 1], (2, 4, 6, 5))
PHOTOS = RNG.integers(0, 256, (2, 8, 9), dtype=np.uint8)
COUNTS = {"trained": np.array([1, 0, 5, 2]), "random": np.array([2, 2, 1, 3])}
POOL = {
    "gain > 0": {"sums": np.array([[3, -1, 5, 3], [1, 3, 7, 3]]), "max": np.array([[3, 7]])},
    "gain < 0": {"signs": np.array([[1, -1, 1, 1], [1, 1, -1, -1]]), "OR": np.array([[1, -1]])},
}


def rows_by_hand() -> np.ndarray:
    places = [(i, j) for i in (0, 2) for j in range(6)]
    return np.stack([PADDED[i : i + 3, j : j + 2].ravel() for i, j in places])


def one_window(place: int = 7) -> Figure:
    return plots_convolutions.windows_figure(PADDED, rows_by_hand(), place, (3, 2), (2, 1), (1, 1))


def outside() -> Figure:
    inside = np.ones((2, 3, 2, 2), bool)
    inside[0, :, 0] = False
    table = np.array([[0, 0, 0], [5, -6, 7]])
    return plots_convolutions.outside_figure(SIGNS, inside, table)


# Every figure function, and the axis labels that must be there.
FIGURES: dict[str, tuple[Callable[[], Figure], set[str]]] = {
    "windows": (one_window, set()),
    "borders": (
        lambda: plots_convolutions.borders_figure(
            {"border 0": np.pad(SIGNS, 1), "border +1": np.pad(SIGNS, 1, constant_values=1)}, (1, 1)
        ),
        set(),
    ),
    "outside": (outside, set()),
    "runs": (lambda: plots_convolutions.runs_figure(WORDS, RUN_ROW, (1, 2), (2, 3)), set()),
    "pool": (lambda: plots_convolutions.pool_figure(POOL, (2, 2)), set()),
    "maps": (lambda: plots_convolutions.maps_figure(PHOTOS, FILTERS, MAPS), set()),
    "filters": (
        lambda: plots_convolutions.filters_figure(FILTERS, list("abcde"), columns=3),
        set("abcde"),
    ),
    "forms": (
        lambda: plots_convolutions.forms_figure(COUNTS, 2.0),
        {"form, the most frequent first", "filters of this form"},
    ),
}

every_figure = pytest.mark.parametrize("name", FIGURES)


def cells(axes: Axes) -> dict[tuple[float, float], Rectangle]:
    """The squares of all tables, by their upper left corners."""
    return {
        (round(p.get_x(), 6), round(p.get_y(), 6)): p
        for p in axes.patches
        if isinstance(p, Rectangle) and p.get_fill()
    }


def number_in(axes: Axes, corner: tuple[float, float]) -> str:
    """What is written in the middle of a square."""
    x, y = corner[0] + 0.5, corner[1] + 0.5
    (text,) = [t for t in axes.texts if np.allclose(t.get_position(), (x, y))]
    return text.get_text()


def table(axes: Axes, title: str) -> list[list[tuple[str, str, bool]]]:
    """The rows of the table under a title: number, colour and whether hatched, cell by cell."""
    (head,) = [t for t in axes.texts if t.get_text() == title]
    x, y = head.get_position()
    squares = cells(axes)
    top = round(y + 0.25, 6)
    line = sorted(c[0] for c in squares if c[1] == top)
    near = min(line, key=lambda left: abs(left + 0.5 - x))
    left = right = near
    while round(left - 1, 6) in line:
        left = round(left - 1, 6)
    while round(right + 1, 6) in line:
        right = round(right + 1, 6)
    found = []
    while (left, top) in squares:
        row = [(round(left + k, 6), top) for k in range(round(right - left) + 1)]
        found.append(
            [
                (
                    number_in(axes, c),
                    to_hex(squares[c].get_facecolor()),
                    bool(squares[c].get_hatch()),
                )
                for c in row
            ]
        )
        top = round(top + 1, 6)
    return found


def numbers(rows: list[list[tuple[str, str, bool]]]) -> list[list[int]]:
    return [[int(cell[0]) for cell in row] for row in rows]


def frames(axes: Axes) -> set[tuple[float, float, float, float]]:
    """Thick frames: x, y, width, height."""
    return {
        (round(p.get_x(), 6), round(p.get_y(), 6), p.get_width(), p.get_height())
        for p in axes.patches
        if isinstance(p, Rectangle) and not p.get_fill()
        if to_hex(p.get_edgecolor()) == ORANGE.lower()
    }


def test_every_figure_function_is_drawn_here():
    assert figures_of(plots_convolutions) == FIGURES.keys()


@every_figure
def test_axes_are_labelled(name):
    draw, expected = FIGURES[name]
    assert expected == axis_labels(draw())


@every_figure
def test_a_lecture_hall_can_read_it(name):
    assert_readable(FIGURES[name][0]())


@pytest.mark.parametrize("name", ["windows", "borders", "outside", "runs", "pool"])
def test_tables_lie_in_the_picture_and_apart(name):
    (axes,) = FIGURES[name][0]().axes
    squares = sorted(cells(axes))
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    assert left == top == 0
    for x, y in squares:
        assert 0 <= x <= right - 1
        assert 0 <= y <= bottom - 1
    overlap = [
        (a, b)
        for a in squares
        for b in squares
        if a < b and abs(a[0] - b[0]) < 0.99 and abs(a[1] - b[1]) < 0.99
    ]
    assert not overlap
    assert axes.figure.get_figwidth() / right == pytest.approx(axes.figure.get_figheight() / bottom)


def test_nothing_global_changes():
    assert_nothing_global_changes(draw for draw, _ in FIGURES.values())


def test_a_window_is_marked_in_image_matrix_and_output():
    (axes,) = one_window(7).axes  # second line, second place: pixels from row 2, column 1
    image = table(axes, "image")
    rows = table(axes, "all windows as rows: 12 × 6")
    places = table(axes, "place in the output")
    assert numbers(image) == PADDED.tolist()
    assert numbers(rows) == rows_by_hand().tolist()
    assert numbers(places) == np.arange(12).reshape(2, 6).tolist()
    blue = MARK.lower()
    marked = [[cell[1] == blue for cell in row] for row in image]
    expected = np.zeros((6, 7), bool)
    expected[2:5, 1:3] = True
    assert marked == expected.tolist()
    assert [r for r, row in enumerate(rows) if any(c[1] == blue for c in row)] == [7]
    assert [int(c[0]) for row in places for c in row if c[1] == blue] == [7]
    sizes = {frame[2:] for frame in frames(axes)}
    assert sizes == {(2, 3), (6, 1), (1, 1)}
    labels = [t.get_text() for t in axes.texts if t.get_ha() == "right"]
    assert labels == [str(n) for n in range(12)]


def test_what_lies_outside_is_hatched_also_in_the_rows():
    (axes,) = one_window(0).axes
    for title in ("image", "all windows as rows: 12 × 6"):
        for row in table(axes, title):
            assert [c[2] for c in row] == [c[0] == "0" for c in row]  # pixels count from 1
            assert {c[1] for c in row if c[2]} <= {OUTSIDE.lower()}
    corner = min(frames(axes))
    assert corner[:2] == min(cells(axes))


def test_plus_one_is_black_minus_one_white_and_borders_say_their_value():
    (axes,) = FIGURES["borders"][0]().axes
    for title, value in (("border 0", 0), ("border +1", 1)):
        drawn = table(axes, title)
        assert numbers(drawn) == np.pad(SIGNS, 1, constant_values=value).tolist()
        inside = [cell for row in drawn[1:3] for cell in row[1:3]]
        assert [c[:2] for c in inside] == [
            ("+1", "#000000"),
            ("-1", "#ffffff"),
            ("-1", "#ffffff"),
            ("+1", "#000000"),
        ]
        assert not any(c[2] for c in inside)
        assert all(c[2] for c in drawn[0] + drawn[3])


def test_outside_sums_stand_below_their_kernels():
    (axes,) = outside().axes
    below = [t.get_text() for t in axes.texts if t.get_text().startswith("outside")]
    assert below == [f"outside: {n}" for n in (0, 0, 0, 5, -6, 7)]
    squares = cells(axes)
    assert len(squares) == 6 * 4
    tops = sorted({y for _, y in squares})
    hatched = [[bool(p.get_hatch()) for (_, y), p in squares.items() if y == top] for top in tops]
    assert [any(line) for line in hatched] == [True, False, False, False]
    assert all(hatched[0])


def test_runs_are_framed_in_memory_and_in_the_row():
    (axes,) = FIGURES["runs"][0]().axes
    memory = table(axes, "memory of an image of 4 × 5 pixels, 2 words each")
    row = table(axes, "the window as a row: 2 runs of 6 words")
    assert numbers(memory) == WORDS.reshape(4, 10).tolist()
    assert numbers(row) == [RUN_ROW.tolist()]
    marked = [int(c[0]) for line in memory for c in line if c[1] == MARK.lower()]
    assert marked == RUN_ROW.tolist()
    drawn = frames(axes)
    assert len(drawn) == 4
    assert {f[2:] for f in drawn} == {(6, 1)}
    starts = sorted((y, x) for x, y, *_ in drawn)
    assert [number_in(axes, (x, y)) for y, x in starts] == ["14", "24", "14", "24"]


def test_pool_windows_are_framed_and_signs_are_ink():
    (axes,) = FIGURES["pool"][0]().axes
    for line in POOL.values():
        for title, array in line.items():
            drawn = table(axes, title)
            assert numbers(drawn) == array.tolist()
            black = {c[0] for row in drawn for c in row if c[1] == "#000000"}
            assert black == ({"+1"} if np.isin(array, (-1, 1)).all() else set())
    assert len(frames(axes)) == 4  # two windows in each of the two large matrices
    names = [t.get_text() for t in axes.texts if t.get_ha() == "left"]
    assert names == list(POOL)


def test_maps_stand_under_their_filters_beside_their_images():
    figure = FIGURES["maps"][0]()
    grid = np.array(figure.axes, object).reshape(3, 6)
    for n in range(5):
        assert grid[0, n + 1].images[0].get_array().tolist() == FILTERS[n].tolist()
        for i in range(2):
            assert grid[i + 1, n + 1].images[0].get_array().tolist() == MAPS[i, :, :, n].tolist()
    for i in range(2):
        assert grid[i + 1, 0].images[0].get_array().tolist() == PHOTOS[i].tolist()


@pytest.mark.parametrize(("sign", "colour"), [(1, "#000000"), (-1, "#ffffff")])
def test_a_map_of_one_sign_has_its_colour(sign, colour):
    """Nothing is stretched: all +1 is black, all -1 white."""
    maps = np.full((1, 4, 4, 1), sign)
    figure = plots_convolutions.maps_figure(PHOTOS[:1], FILTERS[:1], maps)
    image = figure.axes[3].images[0]
    assert {to_hex(c) for c in image.cmap(image.norm(image.get_array())).reshape(-1, 4)} == {colour}


def test_filters_fill_the_grid_with_their_labels():
    figure = FIGURES["filters"][0]()
    assert [a.axison for a in figure.axes] == [True] * 5 + [False]
    assert [a.get_xlabel() for a in figure.axes[:5]] == list("abcde")
    for axes, weights in zip(figure.axes, FILTERS, strict=False):
        assert axes.images[0].get_array().tolist() == weights.tolist()


def test_forms_are_sorted_by_frequency():
    (axes,) = FIGURES["forms"][0]().axes
    drawn = {p.get_label(): p.get_data() for p in axes.patches}
    assert drawn["trained"].values.tolist() == [5, 2, 1, 0]
    assert drawn["random"].values.tolist() == [3, 2, 2, 1]
    assert drawn["trained"].edges.tolist() == [0.5, 1.5, 2.5, 3.5, 4.5]
    (mean,) = [line for line in axes.lines if line.get_linestyle() == ":"]
    assert set(mean.get_ydata()) == {2.0}
    assert {p.get_linestyle() for p in axes.patches} == {"-", "--"}
