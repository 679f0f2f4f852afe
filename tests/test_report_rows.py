"""Every row of the report: the paper's figures as printed there, and commands that exist."""

import re
import shlex

import pytest

import qnn_ref.experiments  # noqa: F401 - what commands in Python name
from qnn_ref.cli.options import read
from qnn_ref.experiments import NETWORKS, RECIPES, SWEEPS, TEXT_RECIPES
from qnn_ref.experiments.effort import training_steps
from qnn_ref.experiments.finished import RESULTS, Finished, read_finished
from qnn_ref.report import build_report
from qnn_ref.report.figures import _label
from qnn_ref.report.measured import read_bench
from qnn_ref.report.trained import OTHERS, relatives, table_1, table_4, text_time, texts
from qnn_ref.shown import duration

# Copied from the paper once more, by hand: method, then MNIST, SVHN, CIFAR-10.
TABLE_1 = """
BNN (Torch7) | 1.40 | 2.53 | 10.15
BNN (Theano) | 0.96 | 2.80 | 11.40
Committee Machines' Array | 1.35 | - | -
BinaryConnect | 1.29 ± 0.08 | 2.30 | 9.90
EBP | 2.2 ± 0.1 | - | -
Bitwise DNNs | 1.33 | - | -
Hwang & Sung | 1.45 | - | -
Maxout | 0.94 | 2.47 | 11.68
Network in Network | - | 2.35 | 10.41
Gated pooling | - | 1.69 | 7.62
"""
OTHER_TABLES = {
    "alexnet": [
        *("41.8 / 67.1", "44.2 / 69.2", "51.03 / 73.67", "50.7 / 72.57", "55.34 / 77.67"),
        *("0.01 / -", "56.6 / 80.2"),
    ],
    "googlenet": ["47.1 / 69.1", "66.5 / 83.4", "66.4 / 83.1", "71.6 / 91.2"],
    "table-4": ["1.81", "1.67", "1.11", "1.05", "1.05", "220", "110", "100", "97", "97"],
    "energy-operations": ["0.2", "3.1", "1.1", "3.7", "0.03", "0.1", "0.4", "0.9"],
    "energy-memory": ["10", "20", "100", "1300 to 2600"],
    "energy-networks": [
        *("32 times less", "200 a float multiplier, 1 an XNOR"),
        *("32 times less", "200 a float multiplier, 1 an XNOR"),
    ],
    "filters": ["42 %", "3"],
    "section-6": ["23", "3.4", "7", "unchanged"],
}
LANGUAGE_BITS = [
    *("3-bit weights, 3-bit", "2-bit weights, 4-bit", "3-bit weights, 4-bit"),
    *("4-bit weights, 4-bit", "float", "2-bit weights, 3-bit", "3-bit weights, 4-bit"),
    *("4-bit weights, 4-bit", "4-bit weights, 4-bit", "float"),
]


@pytest.fixture(scope="module")
def report():
    return build_report(RESULTS)


def test_table_1_is_the_papers(report):
    found = {row.what: row.paper for row in report.table("table-1").rows if row.paper}
    wanted = {}
    for line in TABLE_1.strip().splitlines():
        method, *errors = line.split(" | ")
        for name, error in zip(("MNIST", "SVHN", "CIFAR-10"), errors, strict=True):
            wanted |= {f"{method}, {name}": error} if error != "-" else {}
    assert found == wanted


@pytest.mark.parametrize("id", OTHER_TABLES)
def test_the_other_tables_are_the_papers(report, id):
    assert [row.paper for row in report.table(id).rows if row.paper] == OTHER_TABLES[id]


def test_bits_of_the_language_models_are_the_papers(report):
    rows = [row for row in report.table("table-4").rows if row.paper]
    for row, bits in zip(rows, LANGUAGE_BITS, strict=True):
        assert f", {bits}" in row.what
    assert "the paper prints 3-bit weights" in rows[3].sentence  # and probably means four


def test_every_table_of_the_paper_has_values_or_a_sentence(report):
    ids = {table.id for table in report.tables if any(row.paper for row in table.rows)}
    assert ids == {"table-1", *OTHER_TABLES}
    for id in ids:
        for row in report.table(id).rows:
            assert row.sentence, row.what
            assert row.ours or row.command or row.sentence == OTHERS or "float form" in row.sentence


def commands(report):
    for table in report.tables:
        yield from (row.command for row in table.rows if row.command)
        yield from re.findall("`([^`]*)`", table.words)


def test_every_command_exists_and_takes_its_options(report):
    """Words in capitals stand for the user's own; what follows `>` is the shell's."""
    found = set(commands(report))
    assert len(found) > 30
    for command in found:
        program, *words = shlex.split(command.partition(">")[0])
        if program != "qnn-ref":
            assert eval(command).name in command
            continue
        args = read(words, "0")
        known = {"train": {**RECIPES, **TEXT_RECIPES, **SWEEPS}, "cost": {**RECIPES, "RUN": 0}}
        if args.command in known and len(words) > 1:
            assert words[1] in known[args.command], command
    assert eval("qnn_ref.experiments.NETWORKS['alexnet-bnn']") is NETWORKS["alexnet-bnn"]


# Rows of runs that are otherwise than their recipe wants


def a_run(recipe="mnist-theano", **changes):
    values = {"data": "mnist", "seed": 0, "epochs": 50, "schedule": 50, "best_epoch": 3}
    values |= {"unit": "% wrong", "validation": 1.4, "test": 1.6, "hours": 0.5}
    return Finished(recipe=recipe, **values | changes)


def rows_of(name, *runs):
    table = table_1(runs, read_bench(RESULTS))
    return [row for row in table.rows if f"train {name} " in row.command]


@pytest.mark.parametrize(
    ("run", "said", "unsaid"),
    [
        (
            a_run(),
            "after 50 of the recipe's 1000 epochs, the decay of the rate fitted to 50",
            "all",
        ),
        (
            a_run(epochs=20, schedule=1000),
            "after 20 of the recipe's 1000 epochs, all of them would take about",
            "fitted",
        ),
        (
            a_run(epochs=1200, schedule=1200),
            "after 1200 epochs, more than the recipe's 1000, the decay of the rate fitted to 1200",
            "would take",
        ),
        (  # a rate that is halved knows nothing of the last epoch
            a_run("mnist-torch", epochs=20, schedule=20),
            "after 20 of the recipe's 100 epochs, all of them would take about",
            "fitted",
        ),
        (
            a_run("mnist-torch", epochs=150, schedule=150),
            "after 150 epochs, more than the recipe's 100, a run took",
            "fitted",
        ),
        (a_run("mnist-torch", epochs=100, schedule=100), "above the paper's, a run took", "after"),
    ],
)
def test_a_run_says_how_it_differs_from_its_recipe(run, said, unsaid):
    (row,) = rows_of(run.recipe, run)
    assert said in row.sentence
    assert unsaid not in row.sentence
    recipe = RECIPES[run.recipe]
    assert ("--epochs" in row.command) == (run.schedule != recipe.epochs)
    assert "--seed" not in row.command


def test_a_second_row_says_what_is_different():
    first = a_run(epochs=1000, schedule=1000)
    copy, short = first._replace(data="mnist, JPEG copy"), a_run()
    rows = rows_of("mnist-theano", short, copy, first)
    names = ["BNN (Theano), MNIST" + more for more in ("", ": another copy of the data")]
    assert [row.what for row in rows] == [*names, "BNN (Theano), MNIST: another schedule"]
    assert [row.paper for row in rows] == ["0.96", "", ""]
    assert len({_label(run) for run in (first, copy, short)}) == 3  # each has its own curve


def test_a_language_model_says_how_far_it_went():
    run = a_run("ptb-word-lstm-fp", data="ptb", unit="bits a word", test=7.0, epochs=20)
    rows = table_4([run], RESULTS, read_bench(RESULTS)).rows
    (row,) = [row for row in rows if "LSTM, 300 units, float" in row.what]
    assert row.ours == "128.0"
    assert row.sentence == (
        "31.0 points of perplexity above the paper's, after 20 passes over the text, more than the "
        "recipe's 15"
    )


def test_the_time_of_a_language_model_is_that_of_its_kind():
    """By the quickest run of the same text and symbols; else by the step of a recurrent network."""
    bench, recipe = read_bench(RESULTS), TEXT_RECIPES["ptb-word-lstm-4-4"]
    run = a_run(recipe.name, data="ptb", unit="bits a word", epochs=3, hours=0.6)
    slow, other = run._replace(seed=1, hours=6.0), a_run("ptb-char-rnn-fp", hours=0.01)
    words = text_time(recipe, [slow, run, other], bench)
    assert words == "3.0 h on two cores, by the pace of the quickest run of ptb-word-lstm-4-4"
    assert "by the measured training step" in text_time(recipe, [other, a_run()], bench)
    found = {row.what: row.sentence for row in table_4([], RESULTS, bench).rows}
    (step,) = [
        row["ours"]
        for row in bench["rows"]
        if (row["name"], row["threads"]) == ("training step, character RNN", 1)
    ]
    hours = step * training_steps(TEXT_RECIPES["ptb-char-rnn-fp"]) / 3600
    assert f"about {duration(hours)} on one thread" in found["RNN, 2048 units, float"]


@pytest.mark.parametrize("name", [*RECIPES, *TEXT_RECIPES])
def test_a_run_of_any_recipe_has_its_row(name):
    """Whatever `report --add` takes is shown, under the name by which it was trained."""
    recipe = {**RECIPES, **TEXT_RECIPES}[name]
    unit = f"bits a {recipe.level[:-1]}" if name in TEXT_RECIPES else "% wrong"
    run = a_run(name, data=recipe.dataset, unit=unit, schedule=recipe.epochs, epochs=1, seed=77)
    bench, found = read_bench(RESULTS), []
    for table in (table_1([run], bench), relatives([run], bench), *texts([run])):
        found += [row for row in table.rows if row.seeds == "77"]
    found += [row for row in table_4([run], RESULTS, bench).rows if row.seeds == "77"]
    (row,) = found
    assert row.ours == f"{2**run.test if unit == 'bits a word' else run.test:.{_digits(unit)}f}"
    assert f"qnn-ref train {name} " in row.command
    assert row.command.endswith(" --seed 77")
    if recipe.epochs > 1:
        assert row.epochs == f"1 of {recipe.epochs}"


def _digits(unit):
    return {"% wrong": 2, "bits a character": 3, "bits a word": 1}[unit]


def test_a_time_that_is_not_known_is_not_said():
    known, unknown = a_run(hours=0.5), a_run(seed=1, hours=0.0)
    (row,) = rows_of("mnist-theano", known, unknown)
    assert "a run took 30 min" in row.sentence
    (row,) = rows_of("mnist-theano", unknown)
    assert "took" not in row.sentence


def test_stored_runs_belong_to_recipes_and_their_data():
    for run in read_finished(RESULTS):
        recipe = RECIPES.get(run.recipe) or TEXT_RECIPES[run.recipe]
        assert run.data.partition(",")[0] == recipe.dataset
