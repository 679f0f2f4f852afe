"""Hours of a recipe: from timed steps of its family, kept for this machine only."""

import json
from dataclasses import replace

import pytest

from qnn_ref.cli import main
from qnn_ref.experiments import RECIPES, TEXT_RECIPES, step_times
from qnn_ref.experiments.effort import training_steps
from qnn_ref.shown import duration

DIGITS = RECIPES["digits"]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "qnn-ref" / step_times.FILE


def hours(capsys, *options):
    assert main(["recipes", "--json", *options]) == 0
    return {row["name"]: row["hours"] for row in json.loads(capsys.readouterr().out)["recipes"]}


def test_a_measured_list_is_kept_and_a_plain_one_shows_it(capsys, monkeypatch):
    assert set(hours(capsys).values()) == {None}
    timed = []

    def seconds(recipe):
        timed.append(recipe.name)
        return 0.5 if recipe == DIGITS else 0.25

    monkeypatch.setattr(step_times, "step_seconds", seconds)
    found = hours(capsys, "--measure")
    assert found["digits"] == 0.5 * training_steps(DIGITS) / 3600
    assert None not in found.values()
    known = [*RECIPES.values(), *TEXT_RECIPES.values()]
    assert len(timed) == len({step_times.family(recipe) for recipe in known})
    assert hours(capsys) == found
    assert len(timed) == len(set(timed))
    main(["recipes"])
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("time: an estimate for this machine") for line in lines)
    row = next(line for line in lines if line.startswith("digits "))
    assert f" {duration(found['digits'])}  " in row  # and nothing runs into it


@pytest.mark.parametrize(
    ("hours", "words"),
    [
        (0.0, "0.0 s"),
        (1.4 / 3600, "1.4 s"),
        (30 / 3600, "30 s"),
        (1 / 60, "1.0 min"),
        (0.9, "54 min"),
        (1.0, "1.0 h"),
        (47.9, "48 h"),
        (48.0, "2.0 days"),
        (3000.0, "125 days"),
    ],
)
def test_a_duration_has_the_unit_that_suits_it(hours, words):
    assert duration(hours) == words


def test_another_machine_has_no_times(capsys, monkeypatch):
    step_times.store_times({step_times.family(DIGITS): 1.0})
    monkeypatch.setattr(step_times, "machine", lambda: "another")
    assert step_times.stored_times() == {}


def test_times_of_two_machines_lie_side_by_side(cache, monkeypatch):
    step_times.store_times({"a": 1.0})
    with monkeypatch.context() as patch:
        patch.setattr(step_times, "machine", lambda: "another")
        step_times.store_times({"a": 2.0})
    assert step_times.stored_times() == {"a": 1.0}
    assert json.loads(cache.read_text())["another"] == {"a": 2.0}


@pytest.mark.parametrize("text", ["", "[1]", "{", '{"x": 3}', "null"])
def test_a_damaged_cache_is_none(cache, text):
    cache.parent.mkdir()
    cache.write_text(text)
    assert step_times.stored_times() == {}
    step_times.store_times({"a": 1.0})
    assert step_times.stored_times() == {"a": 1.0}


@pytest.mark.parametrize("value", ["1", None, -1, 0, [1]])
def test_what_is_no_time_is_left_out(cache, value):
    cache.parent.mkdir()
    cache.write_text(json.dumps({step_times.machine(): {"a": value, "b": 2}}))
    assert step_times.stored_times() == {"b": 2.0}


def test_a_family_is_what_the_length_of_a_step_depends_on():
    same = replace(DIGITS, name="x", epochs=7, seed=3, initial_rate=0.1)
    assert step_times.family(same) == step_times.family(DIGITS)
    for change in ({"batch_size": 7}, {"binary": False}, {"hidden": (3,)}, {"rule": "adamax"}):
        assert step_times.family(replace(DIGITS, **change)) != step_times.family(DIGITS)


def test_a_step_of_both_kinds_is_timed(monkeypatch):
    text = min(TEXT_RECIPES.values(), key=lambda recipe: recipe.units)
    text = replace(text, units=8, embedding=4, lanes=2, steps=3)
    for recipe in (replace(DIGITS, hidden=(3,)), text):
        assert 0 < step_times.step_seconds(recipe) < 60


def test_a_measurement_that_is_stopped_keeps_the_older_times(monkeypatch):
    known = [*RECIPES.values(), *TEXT_RECIPES.values()]
    families = list(dict.fromkeys(step_times.family(recipe) for recipe in known))
    step_times.store_times(dict.fromkeys(families, 1.0))
    times = iter([2.0])

    def seconds(recipe):
        for time in times:
            return time
        raise KeyboardInterrupt

    monkeypatch.setattr(step_times, "step_seconds", seconds)
    assert main(["recipes", "--measure"]) == 130
    assert list(step_times.stored_times().values()) == [2.0] + [1.0] * (len(families) - 1)
