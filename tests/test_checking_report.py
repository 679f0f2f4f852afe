"""Report and samples: the verdict, its text and its JSON, and the small configurations."""

import json
import math

import numpy as np
import pytest

from qnn_ref import layers, losses
from qnn_ref.checking import Entry, GradientError, Kink, Report, check_gradients, sample_checks
from qnn_ref.checking.samples import SAMPLES, Sample, around_bounds, sample
from qnn_ref.layers import HardTanh, Quantize


def entry(relative=1e-9, **more):
    return Entry("2.Dense", "weight", 2e-9, relative, 1e-6, 0.5, 0.5, **more)


@pytest.mark.parametrize(
    ("relative", "passed"),
    [(0.0, True), (1e-6, True), (1.0001e-6, False), (math.inf, False), (math.nan, False)],
)
def test_the_verdict(relative, passed):
    assert entry(relative).passed is passed
    report = Report((entry(), entry(relative)))
    assert report.passed is passed
    assert bool(report) is passed
    worst = report.worst_relative_error
    assert math.isnan(worst) if math.isnan(relative) else worst == max(relative, 1e-9)
    if passed:
        report.raise_if_failed()
    else:
        with pytest.raises(GradientError, match=r"^1 of 2 gradients are wrong:\n  2\.Dense"):
            report.raise_if_failed()


def test_a_check_of_nothing_has_not_passed():
    with pytest.raises(GradientError, match="nothing was checked"):
        Report(())


def test_a_line_a_tensor():
    bad = Entry("3.BatchNorm", "gain", 1.0, 0.5, 1e-6, 1.0, 2.0, index=(3,), kinks=2, note="moved")
    assert str(Report((entry(), bad))).splitlines() == [
        "2.Dense.weight     1.0e-09  (tolerance 1e-06)  passed",
        "3.BatchNorm.gain   5.0e-01  (tolerance 1e-06)  FAILED, at (3,): numeric 1, backward 2, "
        "2 at a bound within the step, moved",
    ]


def test_what_random_directions_do_not_see_is_said():
    report = Report((entry(), entry(unseen=3.7e-6), entry(unseen=math.inf)))
    assert str(report).splitlines()[3:] == [
        "2 of 3 tensors in random directions: an error below 4e-06 of a gradient's length, in one "
        "element or in all, may not be seen"
    ]
    assert [e["unseen"] for e in report.to_json()["entries"]] == [None, 3.7e-6, None]


def test_json_has_the_promised_keys_and_is_json():
    report = Report((entry(index=(1, 2), kinks=3), entry(math.inf), entry(math.nan)))
    answer = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert answer["passed"] is False
    assert answer["worst_relative_error"] is None
    assert answer["worst_relative_error_reason"] == "not a number"
    first, second, _ = answer["entries"]
    assert first == {
        "layer": "2.Dense",
        "tensor": "weight",
        "absolute_error": 2e-9,
        "relative_error": 1e-9,
        "tolerance": 1e-6,
        "passed": True,
        "index": [1, 2],
        "numeric": 0.5,
        "analytic": 0.5,
        "kinks": 3,
        "wrong": None,
        "note": "",
        "doubt": "",
        "unseen": None,
    }
    assert second["relative_error"] is None
    assert second["relative_error_reason"] == "infinite"
    assert second["passed"] is False


def test_reports_are_joined_and_renamed_with_all_that_they_hold():
    one = Report((entry(),), (Kink("2.Quantize", (0,), 1.0),), ("2.BatchNorm.gain",))
    two = one.renamed(lambda layer: f"narrow: {layer}")
    both = Report.joined(iter([one, two]))
    assert [e.name for e in both.entries] == ["2.Dense.weight", "narrow: 2.Dense.weight"]
    assert [kink.layer for kink in both.kinks] == ["2.Quantize", "narrow: 2.Quantize"]
    assert both.randomized == ("2.BatchNorm.gain", "narrow: 2.BatchNorm.gain")
    with pytest.raises(GradientError, match="nothing was checked"):
        Report.joined([])


def test_a_report_shows_its_verdict_in_a_line_and_a_table_in_notebooks():
    assert repr(Report((entry(),))) == "<Report of 1 tensor, worst error 1.0e-09, passed>"
    bad = Report((entry(note="a < b"), entry(1.0), entry(unseen=3.7e-6)))
    words = "<Report of 3 tensors, worst error 1.0e+00, FAILED: 2.Dense.weight>"
    assert repr(bad) == words
    html = bad._repr_html_()
    assert html.count("<tr") == 4
    assert html.count("bold") == html.count("FAILED") == 1
    assert "a &lt; b" in html
    assert "random directions" in html


@pytest.mark.parametrize("mode", ["probe", "full"])
def test_json_of_real_checks(mode):
    x = np.array([[1.0, 0.2, -3.0]])
    report = check_gradients(Quantize().build((3,)), x, rng=np.random.default_rng(0), mode=mode)
    json.dumps(report.to_json(), allow_nan=False)


# Samples -----------------------------------------------------------------------------------------


def test_every_layer_and_loss_has_samples():
    names = {
        name
        for name in layers.__all__
        if isinstance(getattr(layers, name), type)
        and issubclass(getattr(layers, name), layers.Layer)
    } - {"Layer", "Pixels"}  # Pixels is in the network: alone it has no gradient
    names |= {name for name in ("squared_hinge", "softmax_cross_entropy") if hasattr(losses, name)}
    assert names <= SAMPLES.keys()


def test_the_samples_pass_in_the_other_modes_too():
    sample_checks(mode="order").raise_if_failed()
    report = sample_checks(mode="probe")
    report.raise_if_failed()
    assert report.entries == sample_checks(mode="probe").entries  # the same each time


@pytest.mark.parametrize("name", SAMPLES)
def test_samples_pass(name):
    report = sample_checks([name])
    report.raise_if_failed()
    assert report.worst_relative_error < 1e-7
    assert all("(" in e.layer for e in report.entries)


@pytest.mark.parametrize("seed", [1, 2])
def test_samples_pass_from_any_seed(seed):
    names = [name for name in SAMPLES if name != "Sequential"]
    sample_checks(names, rng=np.random.default_rng(seed), mode="probe").raise_if_failed()


def test_samples_sit_on_their_bounds():
    report = sample_checks(["Quantize", "HardTanh"])
    assert {kink.value for kink in report.kinks} == {1, -1, 2, -2}
    x = around_bounds((4, 5), np.random.default_rng(0), 1.5)
    assert np.count_nonzero(np.abs(x) == 1.5) == 2
    assert (np.abs(x) < 1.5).any()
    assert (np.abs(x) > 1.5).any()


def test_unknown_names_list_the_known_ones():
    with pytest.raises(ValueError, match=r"names: unknown Dence, Cnov; known are Dense, Conv2D"):
        sample_checks(["Dence", "Dense", "Cnov"])
    with pytest.raises(GradientError, match="nothing was checked"):
        sample_checks([])


def test_a_sample_is_added_in_three_lines(monkeypatch):
    monkeypatch.setattr("qnn_ref.checking.samples.SAMPLES", added := {})

    @sample("Mine")
    def mine(rng):
        yield Sample("small", HardTanh().build((2,)), rng.normal(size=(3, 2)))

    monkeypatch.setitem(SAMPLES, "unrelated", mine)
    assert list(added) == ["Mine"]
    assert sample_checks().entries[0].name == "HardTanh (small).input"
