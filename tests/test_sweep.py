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


@pytest.fixture(scope="module")
def finished(tmp_path_factory, digits):
    """The files of a finished sweep."""
    folder = tmp_path_factory.mktemp("sweep")
    run_sweep(SWEEP, digits, folder)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def folder(tmp_path, finished):
    for name, content in finished.items():
        (tmp_path / name).write_bytes(content)
    return tmp_path


def refuses(folder, digits, words, sweep=SWEEP):
    """The sweep does not go on, and its files stay."""
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(FileError, match=words):
        run_sweep(sweep, digits, folder, resume=True)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def with_cell(text, row, column, value):
    lines = [line.split(",") for line in text.splitlines()]
    lines[row][column] = value
    return "\n".join(",".join(line) for line in lines) + "\n"


DAMAGE = [
    (lambda t: "", "damaged table"),
    (lambda t: t.replace(",test_error", ""), "damaged table"),
    (lambda t: t.replace("test_error", "other"), "expected the columns hidden, kind, seed"),
    (lambda t: t.replace("kind", "hidden"), "a column stands in it twice"),
    (lambda t: t[: t.rindex(",")], "damaged table"),
    (lambda t: with_cell(t, 1, 5, "nan"), "row 1: test_error: no percentage"),
    (lambda t: with_cell(t, 2, 5, "inf"), "row 2: test_error: no percentage"),
    (lambda t: with_cell(t, 1, 4, "-1"), "row 1: validation_error: no percentage"),
    (lambda t: with_cell(t, 1, 4, "100.5"), "row 1: validation_error: no percentage"),
    (lambda t: with_cell(t, 1, 4, ""), "row 1: validation_error: no percentage"),
    (lambda t: with_cell(t, 1, 4, "x"), "row 1: validation_error: no percentage"),
    (lambda t: with_cell(t, 1, 2, "7"), "is no run of tiny"),
    (lambda t: t + t.splitlines()[1] + "\n", "stands there twice"),
    (lambda t: t.replace("7", '"7'), "damaged table"),
    (lambda t: "\ufffd\0" + t, "expected the columns|damaged table"),
]


@pytest.mark.parametrize(("change", "words"), DAMAGE)
def test_a_damaged_table_is_refused_by_name_and_row(folder, digits, change, words):
    path = folder / "tiny.csv"
    text = path.read_text()
    path.write_text(change(text))
    refuses(folder, digits, rf"tiny\.csv: .*({words})")


def test_a_table_that_is_no_text_is_refused(folder, digits):
    (folder / "tiny.csv").write_bytes(b"\xff\xfe\x00")
    refuses(folder, digits, r"tiny\.csv: damaged table")


def test_rows_of_other_settings_are_not_mixed(folder, digits):
    """The labels are the same, what they stand for is not."""
    other = [(labels, replace(r, batch_size=32, initial_rate=0.5)) for labels, r in SWEEP.cases]
    words = r"tiny\.json: .*these differ: 7, a: batch_size \(64 there, 32 here\); 7, a: initial_ra"
    refuses(folder, digits, words, replace(SWEEP, cases=other))
    labels = digits.train_labels.copy()
    labels[0] = (labels[0] + 1) % 10
    words = r"these differ: training_labels_crc32 \(\d+ there, \d+ here\)$"
    refuses(folder, replace(digits, train_labels=labels), words)


def test_more_cases_and_seeds_may_come(folder, digits, monkeypatch):
    trained = []
    train_recipe = sweep_module.train_recipe
    monkeypatch.setattr(
        sweep_module,
        "train_recipe",
        lambda recipe, data: trained.append(recipe) or train_recipe(recipe, data),
    )
    more = [*SWEEP.cases, ({"hidden": "4", "kind": "a"}, replace(TINY, hidden=(4,)))]
    rows = run_sweep(replace(SWEEP, cases=more), digits, folder, resume=True)
    assert len(rows) == 6
    assert [recipe.hidden for recipe in trained] == [(4,), (4,)]
    other = [*SWEEP.cases, ({"hidden": "4", "kind": "a"}, replace(TINY, hidden=(5,)))]
    refuses(folder, digits, "4, a: hidden", replace(SWEEP, cases=other))


@pytest.mark.parametrize(
    "change", [lambda t: t[:-9], lambda t: t.replace("64", "65"), lambda t: ""]
)
def test_a_damaged_description_is_refused(folder, digits, change):
    path = folder / "tiny.json"
    path.write_text(change(path.read_text()))
    refuses(folder, digits, r"tiny\.json: damaged sweep description")


def test_a_table_of_before_without_a_description_goes_on(folder, digits, finished):
    (folder / "tiny.json").unlink()
    run_sweep(SWEEP, digits, folder, resume=True)
    assert (folder / "tiny.json").read_bytes() == finished["tiny.json"]


def test_leftovers_of_killed_writers_go(folder, digits, finished):
    for name in (".tiny.csv.x.part", ".tiny.json.x.part"):
        (folder / name).write_bytes(b"half")
    run_sweep(SWEEP, digits, folder, resume=True)
    assert {path.name for path in folder.iterdir()} == set(finished)


def test_a_folder_in_the_place_of_the_table_is_named_before_the_first_run(tmp_path, digits):
    (tmp_path / "tiny.csv").mkdir()
    with pytest.raises(FileError, match=r"tiny\.csv: is a folder"):
        run_sweep(SWEEP, digits, tmp_path)


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


@pytest.mark.parametrize("label", ["spread", "mean", "seeds", "seed", "epochs", "test_error"])
def test_a_label_is_not_called_as_another_column(label):
    with pytest.raises(ValueError, match=f"cases: a label is called {label!r}"):
        Sweep("x", "about", [({label: "1"}, RECIPES["digits"])])
