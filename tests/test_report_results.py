"""Folders of results: those of a checkout, of an installed package, and a reader's own."""

import json
import os
import shutil
from dataclasses import replace

import numpy as np
import pytest

from qnn_ref import datasets
from qnn_ref.cli import main
from qnn_ref.experiments import RECIPES, SWEEPS, Recipe, adding, finished
from qnn_ref.experiments.adding import add_run, copy_results, is_part_of_a_checkout
from qnn_ref.experiments.finished import (
    RESULTS,
    read_finished,
)
from qnn_ref.experiments.runs import train_recipe
from qnn_ref.files import FileError

SHORT = replace(RECIPES["digits"], epochs=2)
STORED = {
    p.relative_to(RESULTS) for p in RESULTS.rglob("*") if p.suffix in (".csv", ".json", ".npz")
}


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    """Two epochs of a recipe as it stands here."""
    folder = tmp_path_factory.mktemp("results") / "run"
    train_recipe(SHORT, datasets.load("digits"), folder)
    return folder


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """The results as an installed package has them: nothing of a source tree around."""
    folder = tmp_path / "site-packages" / "qnn_ref" / "experiments" / "results"
    shutil.copytree(RESULTS, folder, ignore=shutil.ignore_patterns("*.png", "*.md"))
    monkeypatch.setattr(finished, "RESULTS", folder)
    return folder


def contents(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_source_tree_is_known():
    assert is_part_of_a_checkout(RESULTS)


@pytest.mark.slow_without_jit
def test_an_installed_package_is_left_as_it_is(installed, run_folder, tmp_path, capsys):
    """A reader's row goes to a folder of the reader's, which begins with what came along."""
    before, mine = contents(installed), tmp_path / "mine"
    assert main(["report", "--add", str(run_folder)]) == 2
    assert "--add: expected --results DIR beside it" in capsys.readouterr().err
    assert main(["report", "--add", str(run_folder), "--results", str(mine)]) == 0
    assert f"stored in {mine}" in capsys.readouterr().out
    assert contents(installed) == before
    assert set(contents(mine)) > STORED
    known, own = read_finished(installed), read_finished(mine)
    (row,) = [run for run in own if run not in known]
    assert (row.recipe, row.epochs, row.schedule) == ("digits", 2, 2)
    assert len(own) == len(known) + 1
    assert main(["report", "--results", str(mine), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rows_without_value_or_reason"] == []


def test_a_copy_goes_on_where_it_was_stopped_and_is_made_once(tmp_path):
    (tmp_path / "bench.json").write_text("mine")
    copy_results(tmp_path)
    assert {*contents(tmp_path)} == STORED
    assert (tmp_path / "bench.json").read_text() == "mine"  # what lies there stays
    (tmp_path / "against.json").unlink()
    copy_results(tmp_path)
    assert not (tmp_path / "against.json").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--results none", "none/bench.json: there is no such file"),
        ("--results file", "file: cannot be made: "),
        ("--add none --results mine", "none: holds no run (there is no run.json)"),
    ],
)
def test_wrong_folders_are_named(capsys, tmp_path, monkeypatch, words, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    assert main(["report", *words.split()]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err
    assert not (tmp_path / "mine").exists()


# What is no run of the recipe whose name it has

OTHERWISE = {
    "hidden": (16,),
    "batch_size": 50,
    "initial_rate": 0.1,
    "weight_bits": 2,
    "binary": False,
    "validation": 100,
}


@pytest.mark.slow_without_jit
@pytest.mark.parametrize("name", OTHERWISE)
def test_a_run_by_a_changed_recipe_is_no_result_of_its_name(tmp_path, name):
    changed = replace(SHORT, epochs=1, **{name: OTHERWISE[name]})
    train_recipe(changed, datasets.load("digits"), tmp_path / "run")
    with pytest.raises(FileError, match=rf"run: .*another recipe than digits is here \({name} "):
        add_run(tmp_path / "run", tmp_path / "results")
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize("sweep", [s for s in SWEEPS.values() if isinstance(s.cases[0][1], Recipe)])
def test_a_case_of_a_sweep_is_no_result_of_a_recipe(tmp_path, sweep):
    for _, recipe in sweep.cases:
        with pytest.raises(FileError, match=r"no recipe here has the name|another recipe than"):
            adding._refuse_other_recipes(tmp_path, recipe)


@pytest.mark.slow_without_jit
def test_seed_epochs_and_products_are_a_runs_own(tmp_path):
    recipe = replace(SHORT, seed=7, epochs=1, bit_products=False, about="otherwise")
    run = train_recipe(recipe, datasets.load("digits"), tmp_path / "run")
    row = add_run(tmp_path / "run", tmp_path / "results")
    assert (row.seed, row.epochs, row.schedule) == (7, 1, 1)
    assert np.isclose(row.validation, run.history[0]["validation_error"], atol=0.005)


@pytest.mark.slow_without_jit
@pytest.mark.parametrize("seconds", [-3600, 7200])
def test_a_copy_of_a_run_may_have_lost_its_times(run_folder, tmp_path, seconds):
    """Its description may be younger than its checkpoint: then the time is not known."""
    copy = shutil.copytree(run_folder, tmp_path / "copy")
    started = (copy / "run.json").stat().st_mtime
    os.utime(copy / "checkpoint.npz", (started + seconds, started + seconds))
    assert add_run(copy, tmp_path / "results").hours == max(0, seconds / 3600)
    assert len(read_finished(tmp_path / "results")) == 1
