"""Sweeps: a row a run, resumed row by row, with mean and spread of each case."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from qnn_ref import datasets
from qnn_ref.experiments import RECIPES, SWEEPS
from qnn_ref.experiments import sweep as sweep_module
from qnn_ref.experiments.recipe import NORMS
from qnn_ref.experiments.sweep import Sweep, mean_and_spread, read_rows, run_sweep
from qnn_ref.files import FileError

TINY = replace(RECIPES["digits"], hidden=(7,), epochs=2, validation=50, batch_size=64)
SWEEP = Sweep(
    name="tiny",
    about="two widths",
    cases=[({"hidden": str(h), "kind": "a"}, replace(TINY, hidden=(h,))) for h in (7, 9)],
    seeds=(0, 1),
)


@pytest.fixture(scope="module")
def digits():
    whole = datasets.load("digits")
    return replace(
        whole, train_images=whole.train_images[:300], train_labels=whole.train_labels[:300]
    )


def test_an_interrupted_sweep_ends_in_the_same_table(tmp_path, digits, monkeypatch):
    whole = run_sweep(SWEEP, digits, tmp_path / "whole")
    assert [(row["seed"], row["hidden"]) for row in whole] == [
        ("0", "7"),
        ("0", "9"),
        ("1", "7"),
        ("1", "9"),
    ]

    trained = []

    def train_two_then_stop(recipe, dataset):
        if len(trained) == 2:
            raise KeyboardInterrupt
        trained.append(recipe)
        return train_recipe(recipe, dataset)

    train_recipe = sweep_module.train_recipe
    monkeypatch.setattr(sweep_module, "train_recipe", train_two_then_stop)
    with pytest.raises(KeyboardInterrupt):
        run_sweep(SWEEP, digits, tmp_path / "cut")
    path = tmp_path / "cut" / "tiny.csv"
    assert read_rows(path) == whole[:2]

    resumed = []
    monkeypatch.setattr(
        sweep_module,
        "train_recipe",
        lambda recipe, dataset: resumed.append(recipe.seed) or train_recipe(recipe, dataset),
    )
    assert run_sweep(SWEEP, digits, tmp_path / "cut", resume=True) == whole
    assert resumed == [1, 1]
    assert path.read_bytes() == (tmp_path / "whole" / "tiny.csv").read_bytes()


def test_a_table_in_another_order_is_put_in_order(tmp_path, digits):
    whole = run_sweep(SWEEP, digits, tmp_path)
    path = tmp_path / "tiny.csv"
    head, *rows = path.read_text().splitlines()
    path.write_text("\n".join([head, *rows[::-1][:3]]) + "\n")
    assert run_sweep(SWEEP, digits, tmp_path, resume=True) == whole


def test_what_is_there_is_neither_overwritten_nor_mixed(tmp_path, digits):
    run_sweep(SWEEP, digits, tmp_path)
    before = (tmp_path / "tiny.csv").read_bytes()
    with pytest.raises(FileError, match=r"tiny\.csv: is there already; add --resume"):
        run_sweep(SWEEP, digits, tmp_path)
    longer = replace(SWEEP, cases=[(la, replace(r, epochs=3)) for la, r in SWEEP.cases])
    with pytest.raises(FileError, match="row 7, a, 0, 2 is no run of tiny"):
        run_sweep(longer, digits, tmp_path, resume=True)
    assert (tmp_path / "tiny.csv").read_bytes() == before


def test_mean_and_spread_are_over_the_seeds():
    errors = {"a": [1.0, 2.0, 6.0], "b": [4.0]}
    rows = [{"k": k, "test_error": str(e)} for k, values in errors.items() for e in values]
    a, b = mean_and_spread(rows, ["k"])
    assert a == {
        "k": "a",
        "seeds": "3",
        "mean": "3.00",
        "spread": f"{np.sqrt((4 + 1 + 9) / 2):.2f}",
    }
    assert b == {"k": "b", "seeds": "1", "mean": "4.00", "spread": ""}


def test_the_ablation_of_shifts_is_complete():
    """Every norm, rule and kind of activation, at least three seeds, one thing at a time."""
    sweep = SWEEPS["ablation-shift"]
    assert len(sweep.seeds) >= 3
    tried = {(la["norm"], la["optimizer"], la["activations"]) for la, _ in sweep.cases}
    rules = {"adam", "adamax", "shift-adamax", "shift-adamax-torch"}
    kinds = {"deterministic", "stochastic"}
    assert tried == {(n, o, a) for n in NORMS for o in rules for a in kinds}
    changing = ("norm", "rule", "stochastic", "initial_rate", "final_rate")
    first = sweep.cases[0][1]
    for labels, recipe in sweep.cases:
        assert (recipe.norm, recipe.rule) == (labels["norm"], labels["optimizer"])
        assert recipe.stochastic == (labels["activations"] == "stochastic")
        same = replace(recipe, **{name: getattr(first, name) for name in changing})
        assert same == first


def test_the_committed_table_is_that_of_the_sweep():
    sweep = SWEEPS["ablation-shift"]
    path = sweep_module.Path(sweep_module.__file__).parent / "results" / "ablation-shift.csv"
    if not path.exists():
        pytest.skip("results are not installed with the package")
    rows = read_rows(path)
    expected = [
        (*labels.values(), str(seed), str(recipe.epochs))
        for seed in sweep.seeds
        for labels, recipe in sweep.cases
    ]
    columns = [*sweep.labels, "seed", "epochs"]
    assert [tuple(row[c] for c in columns) for row in rows] == expected
