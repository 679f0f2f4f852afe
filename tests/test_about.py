"""The description of the software says what the stored results say, in about a thousand words."""

from pathlib import Path

import pytest

import qnn_ref
from qnn_ref.experiments import SWEEPS
from qnn_ref.experiments.finished import RESULTS, Finished, longest, read_finished
from qnn_ref.experiments.sweep import mean_and_spread, read_rows
from qnn_ref.report.measured import read_bench
from qnn_ref.report.rows import mean_text

ROOT = Path(__file__).parents[1]
ABOUT = " ".join((ROOT / "docs" / "about.md").read_text("utf-8").split())
ROWS = read_bench(RESULTS)["rows"]


def measured(name: str, size: str, peer: str) -> str:
    """The ratios of a row of the bench, over its numbers of threads."""
    found = [
        row["ratio"]
        for row in ROWS
        if (row["name"], row["peer_name"]) == (name, peer) and row["size"].startswith(size)
    ]
    return " to ".join(dict.fromkeys(f"{value:.2f}" for value in (min(found), max(found))))


def swept(name: str, **case: str) -> str:
    """Mean and spread of a case of a sweep."""
    sweep = SWEEPS[name]
    rows = read_rows(RESULTS / f"{name}.csv")
    columns = sweep.measure.columns[1], sweep.measure.digits
    (row,) = (
        row
        for row in mean_and_spread(rows, sweep.labels, *columns)
        if all(str(row[key]) == value for key, value in case.items())
    )
    return f"{row['mean']} ± {row['spread']} %"


def trained(recipe: str) -> list[Finished]:
    return longest(read_finished(RESULTS), recipe)


TRAINED = mean_text([run.test for run in trained("mnist-torch")], 2) + " %"
PRODUCT = ("binary product", "4096 x 4096 x 4096")
MET = [row["met"] for row in ROWS if row["met"] is not None]
SENTENCES = {
    "product": f"{measured(*PRODUCT, 'NumPy float32')} times as fast as NumPy's float32 product",
    "ceiling": f"at {measured(*PRODUCT, 'ceiling loop')} of the speed of counting alone",
    "inference": "packed inference (784-3x4096-10, 10,000 images) is "
    f"{measured('packed inference', '784-3x4096-10, 10000', 'PyTorch float32')} times as fast",
    "step": "a training step (784-3x2048-10) "
    f"{measured('training step, Adam', '784-3x2048-10', 'PyTorch float32')} times",
    "goals": f"{sum(MET)} of {len(MET)} goals were met",
    "one bit": f"{swept('bits-sweep', weights='1', activations='1')} errors with one bit",
    "two bits": f"{swept('bits-sweep', weights='2', activations='2')} with two",
    "three bits": f"{swept('bits-sweep', weights='3', activations='3')} with three",
    "mask": f"{swept('clip-or-not', mask='mask', clip='clip')} against "
    f"{swept('clip-or-not', mask='no mask', clip='clip')} without it",
    "recipe": f"all 100 epochs, gives {TRAINED} (paper: 1.40 %)",
    "version": f"version {qnn_ref.__version__}",
}


@pytest.mark.parametrize("name", SENTENCES)
def test_figures_are_those_that_are_stored(name):
    assert SENTENCES[name] in ABOUT


def test_it_is_about_a_thousand_words():
    assert 900 <= len(ABOUT.partition("## References")[0].split()) <= 1100


@pytest.mark.parametrize("page", ["README.md", "docs/faq.md"])
def test_other_pages_say_it_too(page):
    assert TRAINED in " ".join((ROOT / page).read_text("utf-8").split())


def test_each_seed_stands_in_the_results():
    table = (RESULTS / "README.md").read_text("utf-8")
    assert f"Mean {TRAINED.removesuffix(' %')}" in table
    for run in trained("mnist-torch"):
        row = f"| {run.seed} | {run.best_epoch + 1} | {run.validation:.2f} | {run.test:.2f} |"
        assert row in table
