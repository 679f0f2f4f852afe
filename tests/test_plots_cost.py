"""Pictures of energy: every number stands beside its bar, and bars of all sizes fit."""

import pytest

from qnn_ref import plots
from qnn_ref.plots.cost import written


def test_prices_stand_beside_their_bars():
    groups = {"an operation": {"multiply": 3.7, "add": 0.9}, "memory": {"DRAM": 1300.0}}
    figure = plots.prices_figure(groups)
    axes = figure.axes[0]
    shown = {text.get_text() for text in axes.texts}
    assert shown == {"3.7 pJ", "0.9 pJ", "1.3 nJ"}
    assert [label.get_text() for label in axes.get_yticklabels()] == ["multiply", "add", "DRAM"]
    assert axes.get_xscale() == "log"
    assert axes.get_xlim()[0] < 0.9
    assert axes.get_xlim()[1] > 1300


def test_formats_and_layers_have_two_bars_each():
    totals = {"float32": (4e6, 9e9), "quantized": (2e3, 3e4)}
    figure = plots.cost_figure("a network", totals)
    assert len(figure.axes) == 1
    assert {text.get_text() for text in figure.axes[0].texts} == {"4 µJ", "9 mJ", "2 nJ", "30 nJ"}
    layers = {number: {"0.Dense": pair, "1.Dense": pair} for number, pair in totals.items()}
    figure = plots.cost_figure("a network", totals, layers)
    top, left, right = figure.axes
    assert [label.get_text() for label in right.get_yticklabels()] == ["0.Dense", "1.Dense"]
    assert top.get_xlim() == left.get_xlim() == right.get_xlim()  # one scale
    assert right.get_title(loc="left") == "layers, quantized"
    figure.canvas.draw()


def test_a_part_that_costs_nothing_has_a_bar_without_length():
    figure = plots.cost_figure("x", {"one": (0.0, 5.0)})
    assert {text.get_text() for text in figure.axes[0].texts} == {"0 pJ", "5 pJ"}
    figure.canvas.draw()


@pytest.mark.parametrize(
    ("pico", "text"),
    [
        (0, "0 pJ"),
        (0.0075, "0.0075 pJ"),
        (3.7, "3.7 pJ"),
        (2e6, "2 µJ"),
        (3e9, "3 mJ"),
        (5e12, "5 J"),
    ],
)
def test_energies_are_written_with_a_unit(pico, text):
    assert written(pico) == text
