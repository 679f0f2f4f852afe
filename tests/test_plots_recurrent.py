"""Figures of recurrent networks show the numbers that they are given."""

import numpy as np
import pytest

from qnn_ref import plots

HISTORY = [{"epoch": epoch, "validation_bits": 3.0 - epoch / 10} for epoch in range(3)]


def test_bits_by_epoch_beside_a_model_that_counts():
    (axes,) = plots.text_figure({"2-4": HISTORY, "float": HISTORY[:2]}, counted=2.95).axes
    few, real, counted = axes.lines
    assert few.get_xydata().tolist() == [[1, 3.0], [2, 2.9], [3, 2.8]]
    assert real.get_xydata().tolist() == [[1, 3.0], [2, 2.9]]
    assert list(counted.get_ydata()) == [2.95, 2.95]
    assert len(plots.text_figure({"2-4": HISTORY}).axes[0].lines) == 1


def test_a_mean_for_each_case_and_its_spread():
    table = [
        {"weights": "2", "states": "4", "mean": "2.7", "spread": "0.1"},
        {"weights": "32", "states": "32", "mean": "2.6", "spread": ""},
    ]
    (axes,) = plots.bits_of_text_figure(table, counted=3.0).axes
    assert [label.get_text() for label in axes.get_xticklabels()] == ["2-4", "float"]
    assert axes.lines[0].get_ydata().tolist() == [2.7, 2.6]
    (bars,) = axes.collections
    assert [path[:, 1].tolist() for path in bars.get_segments()] == [
        pytest.approx([2.6, 2.8]),
        pytest.approx([2.6, 2.6]),
    ]


def test_gradients_are_shares_of_the_last_steps_and_zeros_are_left_out():
    lengths = {"a": np.array([2.0, 1.0, 0.0])}
    (line,) = plots.through_time_figure(lengths).axes[0].lines
    np.testing.assert_array_equal(line.get_ydata(), [1, 0.5, np.nan])
