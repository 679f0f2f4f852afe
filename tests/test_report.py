"""The report shows every value of the paper, and beside it one of ours or a reason."""

import json
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from qnn_ref import datasets
from qnn_ref.cli import main
from qnn_ref.cli.report import BLOCKS
from qnn_ref.cost import inference_cost, joules
from qnn_ref.cost.energy import PRICES
from qnn_ref.experiments import NETWORKS, RECIPES, SWEEPS, TEXT_RECIPES
from qnn_ref.experiments.adding import add_run
from qnn_ref.experiments.finished import (
    RESULTS,
    Finished,
    by_schedule,
    longest,
    read_curve,
    read_finished,
)
from qnn_ref.experiments.runs import train_recipe, write_rows
from qnn_ref.experiments.sweep import mean_and_spread, read_rows
from qnn_ref.experiments.tables import IMAGENET, TABLE_1, TABLE_4
from qnn_ref.files import FileError
from qnn_ref.report import Row, build_report, readme_blocks, with_block
from qnn_ref.report.build import CLAIMS
from qnn_ref.report.energy import started
from qnn_ref.report.measured import read_bench
from qnn_ref.report.page import markdown_table, to_html, to_markdown
from qnn_ref.report.rows import difference, mean_text
from qnn_ref.report.trained import table_1
from qnn_ref.report.unmet import LIMITS, REASONS, unmet_markdown

ROOT = Path(__file__).parents[1]
SHORT = replace(RECIPES["digits"], epochs=2, hidden=(16,))


@pytest.fixture(scope="module")
def report():
    return build_report(RESULTS)


@pytest.fixture
def results(tmp_path):
    """A copy of the results in which one may write."""
    return shutil.copytree(RESULTS, tmp_path / "results", ignore=shutil.ignore_patterns("*.png"))


def a_run(recipe="mnist-torch", seed=0, epochs=100, schedule=100, test=1.5, **more):
    values = {"data": "mnist", "best_epoch": 3, "unit": "% wrong", "validation": 1.4, "hours": 0.5}
    return Finished(
        recipe=recipe, seed=seed, epochs=epochs, schedule=schedule, test=test, **values, **more
    )


def store(folder, *runs):
    write_rows(folder / "runs.csv", [run._asdict() for run in runs])
    epochs = [{"epoch": i, "loss": 0.1, "validation_error": 2.0} for i in range(2)]
    for run in runs:
        write_rows(folder / "curves" / run.curve, epochs)


def test_no_row_is_open(report):
    answer = report.to_json()
    assert answer["rows_without_value_or_reason"] == []
    assert len({table["id"] for table in answer["tables"]}) == len(answer["tables"])
    json.dumps(answer, allow_nan=False)


def test_a_row_without_value_and_reason_is_said(report):
    table = replace(report.tables[0], rows=(Row("forgotten", "1.4"),))
    answer = replace(report, tables=(table,)).to_json()
    assert answer["rows_without_value_or_reason"] == ["table-1: forgotten"]


def test_what_was_not_run_says_how_to():
    named = [
        *(c.recipe for c in TABLE_1),
        *(r.recipe for r in IMAGENET),
        *(r.recipe for r in TABLE_4),
    ]
    assert {name for name in named if name} <= {*RECIPES, *NETWORKS, *TEXT_RECIPES}
    for table in build_report(RESULTS).tables:
        for row in table.rows:
            assert row.ours or row.sentence.startswith(("not run", "a method of other authors"))


def test_seeds_of_the_longest_run_make_a_row(results):
    store(
        results,
        a_run(seed=0, test=1.5),
        a_run(seed=2, test=1.7),
        a_run(seed=1, epochs=30, test=9.0),
        a_run("mnist-torch-float", test=1.2),
    )
    rows = {row.what: row for row in build_report(results).table("table-1").rows}
    row = rows["BNN (Torch7), MNIST"]
    assert (row.paper, row.ours, row.seeds, row.epochs) == ("1.40", "1.60 ± 0.14", "0, 2", "100")
    assert row.sentence.startswith("0.20 points above the paper's")
    assert rows["BNN (Torch7), MNIST: its float twin"].ours == "1.20"


def test_a_run_that_stopped_early_says_so(results):
    store(results, a_run("mnist-theano", epochs=60, schedule=1000, test=1.16))
    row = next(r for r in build_report(results).table("table-1").rows if "Theano), MNIST" in r.what)
    assert row.epochs == "60 of 1000"
    assert "after 60 of the recipe's 1000 epochs" in row.sentence
    store(results, a_run("mnist-theano", epochs=60, schedule=60, test=1.16))
    row = next(r for r in build_report(results).table("table-1").rows if "Theano), MNIST" in r.what)
    assert row.command.endswith("--epochs 60")


def test_a_run_is_measured_stored_and_replaced(tmp_path, monkeypatch):
    monkeypatch.setitem(RECIPES, "digits", SHORT)
    digits, folder = datasets.load("digits"), tmp_path / "results"
    run = train_recipe(replace(SHORT, epochs=1), digits, tmp_path / "run")
    first = add_run(tmp_path / "run", folder, about_data="a copy")
    assert first.data == "digits, a copy"
    assert (first.epochs, first.schedule, first.unit) == (1, 1, "% wrong")
    train_recipe(SHORT, digits, tmp_path / "other")
    second = add_run(tmp_path / "other", folder)
    assert read_finished(folder) == [second, first]
    wrong = (run.best_network().predict(digits.test_images) != digits.test_labels).mean()
    assert first.test == round(100 * float(wrong), 2)
    assert [row["epoch"] for row in read_curve(folder, second)] == [0, 1]
    assert add_run(tmp_path / "other", folder) == second
    assert len(read_finished(folder)) == 2


def test_a_part_of_a_data_set_is_no_result(tmp_path):
    few = replace(SHORT, epochs=1, limit=200)
    train_recipe(few, datasets.load("digits"), tmp_path / "run")
    with pytest.raises(FileError, match="200 examples only"):
        add_run(tmp_path / "run", tmp_path / "results")
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    "break_it, words",
    [
        (lambda text: text.replace("recipe,", "name,", 1), "expected the columns recipe, data"),
        (
            lambda text: text.replace("29.54", "many"),
            "row 1: validation: expected a finite number, got 'many'",
        ),
        (lambda text: text + "one,two\n", "damaged table"),
    ],
)
def test_damaged_tables_are_named(results, break_it, words):
    path = results / "runs.csv"
    path.write_text(break_it((RESULTS / "runs.csv").read_text()))
    with pytest.raises(FileError, match=words):
        build_report(results)


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"rows": []}', "nonsense"])
def test_a_bench_that_is_none_is_named(results, content):
    (results / "bench.json").write_text(content)
    with pytest.raises(FileError, match=r"bench\.json"):
        build_report(results)


def test_the_longest_is_one_of_most_epochs_and_one_copy_of_the_data():
    runs = [a_run(epochs=10), a_run(seed=1), a_run(seed=2), a_run("mnist-small")]
    assert [run.seed for run in longest(runs, "mnist-torch")] == [1, 2]
    assert longest(runs, "digits") == []


def test_each_schedule_has_its_row_and_its_seeds():
    """A run of the first epochs of a long schedule does not hide one stretched over as many."""
    first = [a_run("mnist-theano", seed, epochs=25, schedule=1000) for seed in (0, 1)]
    early = a_run("mnist-theano", 2, epochs=20, schedule=1000)
    stretched = a_run("mnist-theano", epochs=50, schedule=50)
    runs = [early, *first, stretched, a_run()]
    assert by_schedule(runs, "mnist-theano") == [[stretched], first]
    rows = [row for row in table_1(runs, read_bench(RESULTS)).rows if "mnist-theano" in row.command]
    assert [(row.epochs, row.seeds) for row in rows] == [("50", "0"), ("25 of 1000", "0, 1")]
    assert [row.paper for row in rows] == ["0.96", ""]  # the paper's value stands there once
    assert rows[0].command.endswith(" --epochs 50")
    assert "epochs, the decay of the rate fitted to 50," in rows[0].sentence
    assert "after 25 of the recipe's 1000 epochs, all of them would take" in rows[1].sentence


def test_means_and_differences_in_words():
    assert mean_text([1.0], 2) == "1.00"
    assert mean_text([1.0, 2.0, 3.0], 1) == "2.0 ± 1.0"
    assert difference(1.5, 1.4, "points", 2) == "0.10 points above the paper's"
    assert difference(1.31, 1.4, "points", 2) == "0.09 points below the paper's"
    assert difference(1.401, 1.4, "points", 2).startswith("equal")


def test_sweeps_stand_there_with_mean_and_spread(report):
    for name in CLAIMS:
        table, rows = report.table(name), read_rows(RESULTS / f"{name}.csv")
        assert sum(len(row.seeds.split(", ")) for row in table.rows) == len(rows)
    row = report.table("gradient-bits").rows[0]
    errors = [float(r["test_error"]) for r in read_rows(RESULTS / "gradient-bits.csv")[:1]]
    assert abs(float(row.ours.split()[0]) - np.mean(errors)) < 0.3


def test_energies_are_recomputed_from_the_operations(report):
    rows = {row.what: row for row in report.table("energy-networks").rows}
    memory = rows["cifar10-theano: weights in 32 bits, in one"]
    assert memory.ours == "56.09 MB, 1.75 MB: 32 times less"  # 14,022,016 weights
    network = started("cifar10-theano")
    for form, place in (("float32", 0), ("quantized", 1)):
        cost = inference_cost(network, number=form)
        pico = sum(count * PRICES[operation] for operation, count in cost.operations.items())
        row = rows["cifar10-theano: energy of the operations, float32, bits"]
        assert row.ours.split(":")[0].split(", ")[place] == joules(pico)
        assert pico > 4.6 * cost.pairs if form == "float32" else pico < cost.pairs / 10


class Tags(HTMLParser):
    """Every tag is closed, and every link of the page leads to a place on it."""

    def __init__(self):
        super().__init__()
        self.open, self.ids, self.links = [], set(), set()

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.ids |= {values["id"]} if "id" in values else set()
        self.links |= {values["href"]} if "href" in values else set()
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_is_whole(report):
    page, tags = to_html(report, {p.id: b"png" for p in report.pictures}), Tags()
    tags.feed(page)
    assert tags.open == []
    assert tags.links <= {f"#{id}" for id in tags.ids}
    assert "http" not in page
    assert to_markdown(report).count("\n## ") == len(report.tables) + len(report.pictures)


def test_cells_are_escaped(report):
    table = replace(report.tables[0], rows=(Row("a|b <i>", ours="1", command="x `y`"),))
    assert "a\\|b" in markdown_table(table)
    assert "a|b &lt;i&gt;" in to_html(replace(report, tables=(table,), pictures=()), {})


def test_the_command_writes_the_page(tmp_path, capsys):
    assert main(["report", "--out", str(tmp_path / "page"), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    names = {path.name for path in (tmp_path / "page").iterdir()}
    assert names == {"report.md", "report.html", *(f"{f['id']}.png" for f in answer["figures"])}


def test_the_command_says_what_is_no_run(tmp_path, capsys):
    assert main(["report", "--add", str(tmp_path)]) == 2
    assert "holds no run" in capsys.readouterr().err


@pytest.mark.parametrize("name", BLOCKS)
def test_the_readme_says_what_the_results_say(report, name):
    text = (ROOT / "README.md").read_text("utf-8")
    blocks = readme_blocks(report, read_bench(RESULTS))
    assert with_block(text, name, blocks[name]) == text, "run: qnn-ref report --readme README.md"


@pytest.mark.parametrize("name", [*CLAIMS, "ptb-char-bits"])
def test_the_guide_to_the_results_says_what_they_say(name):
    """Its tables have forms of their own, but every mean and spread is that of the file."""
    text = (RESULTS / "README.md").read_text("utf-8")
    sweep = SWEEPS[name]
    table = mean_and_spread(
        read_rows(RESULTS / f"{name}.csv"),
        sweep.labels,
        sweep.measure.columns[1],
        sweep.measure.digits,
    )
    missing = [row for row in table if f"{row['mean']} ± {row['spread']}" not in text]
    assert not missing


def test_a_block_needs_its_marks():
    begin, end = "<!-- x: made by `qnn-ref report --readme` -->", "<!-- end of x -->"
    assert with_block(f"a\n{begin}\nold\n{end}\nb", "x", "new") == f"a\n{begin}\nnew\n{end}\nb"
    for text in ("", begin, f"{end} {begin}", f"{begin} {end} {begin}"):
        with pytest.raises(ValueError, match="once each and in order"):
            with_block(text, "x", "new")


def a_row(name, peer, ratio, goal=None, threads=1, met=None, size="n"):
    return {
        "name": name,
        "size": size,
        "threads": threads,
        "peer_name": peer,
        "ratio": ratio,
        "goal": goal,
        "met": met,
    }


def test_what_counting_allows_stands_beside_a_goal_that_was_not_met():
    """Ours is 4 times as fast as the peer and takes twice the limit: 8 times is what is allowed."""
    missed, limit = a_row("lookup product, dX", "NumPy float32", 4.0, 9, met=False), "counted limit"
    other = a_row("lookup product, dX", limit, 0.1, threads=2)
    table = unmet_markdown({"rows": [missed, a_row("lookup product, dX", limit, 0.5), other]})
    row = table.splitlines()[2].split(" | ")
    assert row[:5] == ["| lookup product, dX, n", "NumPy float32", "4.00", "9", "8.00"]
    assert row[5].startswith("look-ups and additions alone")
    met = a_row("lookup product, dX", "NumPy float32", 4.0, 3, met=True)
    assert len(unmet_markdown({"rows": [met, other]}).splitlines()) == 2


def test_every_goal_that_can_be_missed_says_what_bounds_it():
    rows = read_bench(RESULTS)["rows"]
    missed = {(row["name"], row["peer_name"]) for row in rows if row["met"] is False}
    assert not missed - set(REASONS)
    assert {row["peer_name"] for row in rows} > set(LIMITS)
