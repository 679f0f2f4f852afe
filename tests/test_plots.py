"""Pictures: arrays in, a Figure out that shows them, with labels that a lecture hall can read."""

from collections.abc import Callable

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from qnn_ref import plots
from tests.pictures import assert_nothing_global_changes, assert_readable, axis_labels, figures_of

X = np.arange(-30, 31) / 10
SIGN = np.where(X >= 0, 1.0, -1.0)
HTANH = np.clip(X, -1, 1)
MASK = (np.abs(X) <= 1).astype(float)
RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (3, 4, 5), dtype=np.uint8)
BITS = [{"epoch": epoch, "validation_bits": 3.0 - epoch / 10} for epoch in range(3)]
HISTORY = [
    {
        "epoch": epoch,
        "loss": 0.5 / (epoch + 1),
        "validation_error": 9.0 - epoch,
        "flipped": 0.2 / (epoch + 1),
        "saturated": 0.3,
        "clipped": 0.1,
    }
    for epoch in range(3)
]


def straight_through() -> Figure:
    return plots.straight_through_figure(X, SIGN, HTANH, MASK, (-1, 1))


def threshold() -> Figure:
    sums = np.arange(-5, 6, 2)
    values = np.stack([sums - 0.5, 0.5 - sums, np.full(6, 0.7)], axis=1)
    codes = np.where(values >= 0, 1, -1)
    return plots.threshold_figure(sums, values, codes, np.array([1, 1, -5]), ["a", "b", "c"])


def demo() -> Figure:
    histories = {"binary": HISTORY, "float": HISTORY}
    return plots.demo_figure(
        IMAGES, [1, 2, 3], np.sign(IMAGES - 99.0), histories, 320, 10, 0.2, 0.1
    )


# Every figure function, and the axis labels that must be there.
FIGURES: dict[str, tuple[Callable[[], Figure], set[str]]] = {
    "training": (
        lambda: plots.training_figure({"binary": HISTORY, "float": HISTORY}),
        {"epoch", "validation error / %", "training loss"},
    ),
    "shares": (lambda: plots.shares_figure(HISTORY), {"epoch", "share / %"}),
    "text": (
        lambda: plots.text_figure({"2-4": BITS, "float": BITS}, counted=3.0),
        {"epoch", "bits a symbol, validation"},
    ),
    "bits_of_text": (
        lambda: plots.bits_of_text_figure(
            [
                {"weights": "2", "states": "4", "mean": "2.7", "spread": "0.1"},
                {"weights": "32", "states": "32", "mean": "2.6", "spread": ""},
            ],
            counted=3.0,
        ),
        {"bits of weights - bits of states", "bits a character, test"},
    ),
    "cell": (plots.cell_figure, set()),
    "through_time": (
        lambda: plots.through_time_figure({"float": np.array([1, 0.5, 0.1]), "2": np.zeros(3) + 1}),
        {"steps back", "length, that of the last step = 1"},
    ),
    "latent_histogram": (
        lambda: plots.latent_histogram_figure(HTANH, HTANH / 2),
        {"latent weight", "share / %"},
    ),
    "straight_through": (straight_through, {"x", "value", "slope"}),
    "frozen": (
        lambda: plots.frozen_figure(
            X, SIGN, np.array([-2.0, 0.5]), np.stack([HTANH, HTANH + 0.25])
        ),
        {"x", "value"},
    ),
    "order": (
        lambda: plots.order_figure(np.array([0.1, 1.0]), {"right": np.array([0.01, 1.0])}),
        {"step h", "|f(x + hv) - f(x) - h <g, v>|"},
    ),
    "stochastic": (
        lambda: plots.stochastic_figure(X, np.tile(SIGN, (50, 1)), HTANH),
        {"x", "draw", "mean"},
    ),
    "latent": (
        lambda: plots.latent_figure({"a": np.array([0.1, -0.1]), "b": np.array([0.2, 0.0])}),
        {"step", "latent weight"},
    ),
    "arrays": (lambda: plots.arrays_figure({"W": np.eye(3), "bits": SIGN[:4]}), set()),
    "table": (
        lambda: plots.table_figure(
            np.array([[1, 2], [2, 4]]), "products", ("bits k", (1, 2)), ("bits l", (1, 2))
        ),
        {"bits k", "bits l"},
    ),
    "bits": (
        lambda: plots.bits_figure({"a": np.arange(70) % 2, "b": np.ones(70)}, K=65),
        {"element = number of the bit"},
    ),
    "images": (lambda: plots.images_figure(IMAGES, ["7", "2", "1"], columns=2), {"7", "2", "1"}),
    "planes": (
        lambda: plots.planes_figure(IMAGES[0], IMAGES[0] >> np.arange(8)[:, None, None] & 1),
        {"image", "bit 7: counts 128", "bit 0: counts 1"},
    ),
    "threshold": (threshold, {"sum s", "BN(s)"}),
    "bars": (
        lambda: plots.bars_figure(["float32", "packed"], [32, 1], ["32 B", "1 B"], "size / bytes"),
        {"size / bytes"},
    ),
    "cases": (
        lambda: plots.cases_figure(
            [
                {"norm": n, "rule": r, "kind": k, "mean": "4.5", "spread": "0.1"}
                for n in "ab"
                for r in "xy"
                for k in "ds"
            ],
            ["norm", "rule", "kind"],
        ),
        {"test error / %"},
    ),
    "demo": (demo, {"epoch", "validation error / %", "training loss (logarithmic)"}),
}

every_figure = pytest.mark.parametrize("name", FIGURES)


def test_every_figure_function_is_drawn_here_or_with_its_subject():
    names = {n.removesuffix("_figure") for n in plots.__all__ if n.endswith("_figure")} - {"new"}
    subjects = (
        *(plots.bench, plots.convolutions, plots.gradients),
        *(plots.kernels, plots.levels, plots.shifts, plots.cost),
    )
    assert names - set[str]().union(*map(figures_of, subjects)) == FIGURES.keys()


@every_figure
def test_axes_are_labelled(name):
    draw, expected = FIGURES[name]
    assert expected <= axis_labels(draw())


@every_figure
def test_a_lecture_hall_can_read_it(name):
    assert_readable(FIGURES[name][0]())


def test_nothing_global_changes():
    assert_nothing_global_changes(draw for draw, _ in FIGURES.values())


# What is drawn is what was given.


def marker_colours(axes) -> list[tuple[float, float, str]]:
    """Every dot: x, y and its filling."""
    return [
        (x, y, to_hex(line.get_markerfacecolor()))
        for line in axes.lines
        if line.get_marker() == "o"
        for x, y in zip(line.get_xdata(), line.get_ydata(), strict=True)
    ]


def test_training_shows_errors_and_losses_from_epoch_1():
    left, right = FIGURES["training"][0]().axes
    assert list(left.lines[0].get_xdata()) == [1, 2, 3]
    assert list(left.lines[0].get_ydata()) == [9.0, 8.0, 7.0]
    assert list(right.lines[0].get_ydata()) == [0.5, 0.25, 0.5 / 3]
    assert (left.get_yscale(), right.get_yscale()) == ("linear", "log")
    assert "logarithmic" in right.get_title(loc="left")
    assert [t.get_text() for t in left.get_legend().get_texts()] == ["binary", "float"]


def test_shares_are_percent():
    (axes,) = FIGURES["shares"][0]().axes
    lines = {line.get_label(): line.get_ydata() for line in axes.lines}
    assert [round(y) for y in lines["weights that changed sign in this epoch"]] == [20, 10, 7]
    assert set(lines["latent weights at -1 or +1"]) == {10.0}


def test_histogram_sums_to_100_percent_and_counts_the_clip():
    latent = np.array([-1.0, -1.0, 1.0, 0.0])
    (axes,) = plots.latent_histogram_figure(latent, latent).axes
    shares = axes.patches[0].get_data().values
    assert shares.sum() == pytest.approx(100)
    assert (shares[0], shares[-1]) == (50, 25)


def test_a_full_dot_marks_the_value_at_a_bound():
    left, right = straight_through().axes
    filled = [(x, y) for x, y, colour in marker_colours(left) if colour != "#ffffff"]
    rings = [(x, y) for x, y, colour in marker_colours(left) if colour == "#ffffff"]
    assert (filled, rings) == ([(0, 1)], [(0, -1)])
    filled = [(x, y) for x, y, colour in marker_colours(right) if colour != "#ffffff"]
    rings = [(x, y) for x, y, colour in marker_colours(right) if colour == "#ffffff"]
    assert (filled, rings) == ([(-1, 1), (1, 1)], [(-1, 0), (1, 0)])


def test_a_jump_is_a_gap():
    left, right = straight_through().axes
    for axes, y in ((left, SIGN), (right, MASK)):
        pieces = [
            line for line in axes.lines if line.get_marker() == "None" and len(line.get_xdata()) > 2
        ]
        for line in pieces:
            if line.get_label() != "surrogate":
                assert len(set(line.get_ydata())) == 1
        drawn = np.concatenate([p.get_ydata() for p in pieces if p.get_label() != "surrogate"])
        assert drawn.tolist() == y.tolist()


def test_frozen_points_sit_on_their_own_line():
    (axes,) = FIGURES["frozen"][0]().axes
    points = [
        (line.get_xdata()[0], line.get_ydata()[0])
        for line in axes.lines
        if len(line.get_xdata()) == 1
    ]
    assert points == [(-2.0, -1.0), (0.5, 0.75)]


def test_order_guides_fall_as_h_and_h_squared():
    (axes,) = FIGURES["order"][0]().axes
    guides = {line.get_label(): line.get_ydata() for line in axes.lines}
    assert guides["falls as h"][1] / guides["falls as h"][0] == pytest.approx(10)
    assert guides["falls as h²"][1] / guides["falls as h²"][0] == pytest.approx(100)


def test_stochastic_mean_is_that_of_the_draws():
    codes = np.array([[1.0, -1.0], [1.0, 1.0]])
    top, bottom = plots.stochastic_figure(np.array([0.0, 0.5]), codes, np.zeros(2)).axes
    assert top.images[0].get_array().tolist() == codes.tolist()
    assert top.images[0].get_extent() == [-0.25, 0.75, 2, 0]
    assert bottom.lines[1].get_ydata().tolist() == [1.0, 0.0]


def test_latent_dots_are_black_from_0_on():
    (axes,) = FIGURES["latent"][0]().axes
    dots = {(x, y): colour for x, y, colour in marker_colours(axes)}
    black, white = "#000000", "#ffffff"
    assert dots == {(0, 0.1): black, (1, -0.1): white, (0, 0.2): black, (1, 0.0): black}


@pytest.mark.parametrize(
    ("array", "numbers"),
    [
        ([[1.0, -1.0]], ["+1", "-1"]),
        ([[True, False]], ["1", "0"]),
        ([[0.5, -0.001]], ["0.50", "0.00"]),
        ([[3.0, -2.0]], ["3", "-2"]),
        ([[0.0, 0.0]], ["0", "0"]),
    ],
)
def test_cells_hold_their_numbers(array, numbers):
    (axes,) = plots.arrays_figure({"a": np.array(array)}).axes
    assert [t.get_text() for t in axes.texts] == [*numbers, "1 × 2"]
    assert axes.get_title() == "a"


@pytest.mark.parametrize("array", [[[1.0, -1.0]], [[True, False]]])
def test_plus_one_is_black_and_its_number_white(array):
    (axes,) = plots.arrays_figure({"a": np.array(array)}).axes
    image = axes.images[0]
    colours = image.cmap(image.norm(image.get_array()))
    assert [to_hex(c) for c in colours[0]] == ["#000000", "#ffffff"]
    assert [t.get_color() for t in axes.texts[:2]] == ["white", "black"]


def test_positive_is_blue_and_negative_orange():
    (axes,) = plots.arrays_figure({"a": np.array([[2.0, -2.0, 0.5]])}).axes
    image = axes.images[0]
    red, _, blue = image.cmap(image.norm(image.get_array()))[0, :, :3].T
    assert blue[0] > red[0]
    assert blue[1] < red[1]


def test_cells_are_equally_large_in_all_matrices_and_in_view():
    arrays = {"a": np.zeros((4, 5)), "b": np.zeros((1, 2)), "c": np.zeros(3)}
    figure = plots.arrays_figure(arrays)
    figure.draw_without_rendering()
    sizes = [np.ptp(a.transData.transform([[0, 0], [1, 1]]), axis=0) for a in figure.axes]
    np.testing.assert_allclose(sizes, np.full((3, 2), sizes[0][0]), rtol=0.02)
    for axes, array in zip(figure.axes, arrays.values(), strict=True):
        rows, columns = np.atleast_2d(array).shape
        (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
        assert left <= -0.5
        assert right >= columns - 0.5
        assert top == -0.5
        assert rows - 0.5 < axes.texts[-1].get_position()[1] < bottom  # the size, under the cells


def test_a_table_says_what_its_rows_and_columns_are():
    (axes,) = FIGURES["table"][0]().axes
    assert [t.get_text() for t in axes.texts] == ["1", "2", "2", "4"]
    assert axes.axison
    for ticks in (axes.get_xticklabels(), axes.get_yticklabels()):
        assert [t.get_text() for t in ticks] == ["1", "2"]


@pytest.mark.parametrize(
    ("means", "label"), [("4.5 4.9", "test error / %"), ("4.5 40", "test error / %, logarithmic")]
)
def test_cases_say_what_their_axes_are(means, label):
    table = [
        {"bits": b, "rule": "x", "mean": m, "spread": ""}
        for b, m in zip("12", means.split(), strict=True)
    ]
    names = {"bits": "bits of a gradient", "rule": "how"}
    figure = plots.cases_figure(table, ["bits", "rule"], names)
    assert axis_labels(figure) == {label, "bits of a gradient"}
    assert figure.axes[0].get_xscale() == ("log" if "log" in label else "linear")
    assert figure.legends[0].get_title().get_text() == "how"
    assert axis_labels(plots.cases_figure(table, ["bits", "rule"])) == {label, "bits"}


def test_bits_mark_padding_and_word_ends():
    (axes,) = FIGURES["bits"][0]().axes
    assert axes.images[0].get_array()[0].tolist() == [i % 2 == 1 for i in range(70)]
    (padding,) = [p for p in axes.patches if isinstance(p, Rectangle) and p.get_hatch()]
    assert (padding.get_x(), padding.get_width()) == (64.5, 5)
    ends = [line.get_xdata()[0] for line in axes.lines]
    assert ends == [63.5]
    assert [t.get_text() for t in axes.get_yticklabels()] == ["a", "b"]


def test_short_strips_have_digits_without_padding_marks():
    (axes,) = plots.bits_figure({"a": np.array([1, 0, 1])}).axes
    assert [t.get_text() for t in axes.texts] == ["1", "0", "1"]
    assert not axes.patches
    assert [t.get_color() for t in axes.texts] == ["white", "black", "white"]


def test_planes_start_with_the_most_significant():
    figure = FIGURES["planes"][0]()
    assert [a.get_xlabel() for a in figure.axes[:2]] == ["image", "bit 7: counts 128"]
    assert figure.axes[1].images[0].get_array().tolist() == (IMAGES[0] >> 7).tolist()
    assert figure.axes[-1].images[0].get_array().tolist() == (IMAGES[0] & 1).tolist()


def test_thresholds_stand_between_the_colours():
    first, second, constant = threshold().axes
    for axes in (first, second):
        (at,) = [line.get_xdata()[0] for line in axes.lines if line.get_linestyle() == "--"]
        assert at == 0.5
    assert not [line for line in constant.lines if line.get_linestyle() == "--"]
    colour = {x: c for x, _, c in marker_colours(first)}
    assert (colour[-1], colour[1]) == ("#ffffff", "#000000")
    assert {c for _, _, c in marker_colours(constant)} == {"#000000"}


def test_images_fill_the_grid_and_leave_the_rest_empty():
    figure = FIGURES["images"][0]()
    assert [a.axison for a in figure.axes] == [True, True, True, False]
    assert figure.axes[2].images[0].get_array().tolist() == IMAGES[2].tolist()


def test_demo_states_the_ratios():
    titles = {a.get_title(loc="left") for a in demo().axes}
    assert "Size: 32 times smaller" in titles
    assert "Time for all test images: 2.0 times faster" in titles
