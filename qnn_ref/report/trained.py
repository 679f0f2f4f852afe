"""Tables of section 4: networks that were trained, and those that were not, with the reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from qnn_ref import shown
from qnn_ref.experiments import NETWORKS, RECIPES, SWEEPS, TEXT_RECIPES, Recipe, TextRecipe
from qnn_ref.experiments.finished import Finished, by_schedule, longest
from qnn_ref.experiments.sweep import mean_and_spread
from qnn_ref.experiments.tables import IMAGENET, TABLE_1, TABLE_4, WORDS, LanguageResult
from qnn_ref.report.measured import training_hours
from qnn_ref.report.rows import Row, Table, difference, mean_text
from qnn_ref.report.stored import read_sweep

OTHERS = "a method of other authors, whose recipe is not part of this package"
NO_DATA = {"svhn": " (and SVHN did not lie on the machine)"}
IMAGENET_REASON = (
    "not run here: ImageNet may not be passed on, and its 1.2 million images would take months on "
    "two cores; the network is there, checked and ready to train"
)
NAMES = {"mnist": "MNIST", "svhn": "SVHN", "cifar10": "CIFAR-10"}
RELATIVES = (
    ("mnist-small", "784-3x512-10, 7 epochs"),
    ("mnist-torch-small", "784-3x512-10 by shifts, 10 epochs"),
    ("fashion-torch", "the network of mnist-torch on Fashion-MNIST"),
    ("fashion-small", "two narrow convolutions on Fashion-MNIST"),
    ("cifar10-small", "three narrow convolutions on CIFAR-10"),
    ("cifar10-wide", "three convolutions, twice as wide, on CIFAR-10"),
)
"""Recipes of ours that the paper has no row for, each with its float twin."""


def too_long(recipe: Recipe | TextRecipe, bench: Mapping[str, Any]) -> str:
    """Why a recipe was not run, with an estimate of its time.

    Parameters
    ----------
    recipe : Recipe or TextRecipe
    bench : dict
        Stored run of the bench.

    Returns
    -------
    str
    """
    return f"not run to its end here: about {whole_time(recipe, bench)}"


def whole_time(recipe: Recipe | TextRecipe, bench: Mapping[str, Any]) -> str:
    """How long a recipe would take, in words.

    Parameters
    ----------
    recipe : Recipe or TextRecipe
    bench : dict
        Stored run of the bench.

    Returns
    -------
    str
    """
    time = shown.duration(training_hours(recipe, bench))
    return f"{time} on one thread, by the measured training step"


def table_1(runs: Sequence[Finished], bench: Mapping[str, Any]) -> Table:
    """Test errors on the three small data sets."""
    rows = []
    for cell in TABLE_1:
        what = f"{cell.method}, {NAMES[cell.dataset]}"
        if not cell.recipe:
            rows.append(Row(what, f"{cell.error:g}", sentence=OTHERS))
            continue
        rows += _image_rows(what, cell.recipe, runs, bench, cell.error) or [
            _not_run(what, cell.recipe, bench, cell.error)
        ]
        rows += _image_rows(f"{what}: its float twin", f"{cell.recipe}-float", runs, bench)
    return Table("table-1", "Table 1: MNIST, SVHN, CIFAR-10", "test error in %", tuple(rows))


def relatives(runs: Sequence[Finished], bench: Mapping[str, Any]) -> Table:
    """Small networks of ours in the manner of Table 1."""
    rows = []
    for name, words in RELATIVES:
        for recipe, kind in ((name, "binary"), (f"{name}-float", "float")):
            rows += _image_rows(f"{words}: {kind}", recipe, runs, bench)
    words = (
        "The paper has no such rows: networks for hours instead of days, each as far as it went."
    )
    return Table(
        "small", "Small networks in the manner of Table 1", "test error in %", tuple(rows), words
    )


def _not_run(what: str, name: str, bench: Mapping[str, Any], paper: float) -> Row:
    recipe = RECIPES[name]
    return Row(
        what,
        f"{paper:.2f}",
        sentence=too_long(recipe, bench) + NO_DATA.get(recipe.dataset, ""),
        command=f"qnn-ref train {name} --data DIR --out RUN",
    )


def _image_rows(
    what: str,
    name: str,
    runs: Sequence[Finished],
    bench: Mapping[str, Any],
    paper: float | None = None,
) -> list[Row]:
    """A row for each schedule that the recipe was run by, the furthest one first."""
    recipe = RECIPES[name]
    return [
        Row(
            f"{what}: another schedule" if place else what,
            "" if place or paper is None else f"{paper:.2f}",
            mean_text([run.test for run in found], 2),
            **_of(found),
            sentence=_image_sentence(found, paper, recipe, bench),
            command=f"qnn-ref train {name} --data DIR --out RUN"
            + _epochs_option(found, recipe.epochs),
        )
        for place, found in enumerate(by_schedule(runs, name))
    ]


def _image_sentence(
    found: Sequence[Finished], paper: float | None, recipe: Recipe, bench: Mapping[str, Any]
) -> str:
    first, parts = found[0], []
    if paper is not None:
        parts.append(difference(float(np.mean([run.test for run in found])), paper, "points", 2))
    if first.epochs < recipe.epochs:
        parts.append(f"after {first.epochs} of the recipe's {recipe.epochs} epochs")
        if first.schedule < recipe.epochs:
            parts.append(f"the decay of the rate fitted to {first.schedule}")
        else:
            parts.append(f"all of them would take about {whole_time(recipe, bench)}")
    hours = float(np.median([run.hours for run in found]))
    parts.append(f"a run took {shown.duration(hours)}, pauses and other work included")
    return ", ".join(parts)


def _epochs_option(found: Sequence[Finished], epochs: int) -> str:
    return "" if found[0].schedule == epochs else f" --epochs {found[0].schedule}"


def _of(found: Sequence[Finished]) -> dict[str, str]:
    first = found[0]
    epochs = str(first.epochs)
    if first.epochs < first.schedule:
        epochs += f" of {first.schedule}"
    return {
        "data": first.data,
        "epochs": epochs,
        "seeds": ", ".join(str(run.seed) for run in sorted(found, key=lambda run: run.seed)),
    }


def imagenet() -> list[Table]:
    """AlexNet and GoogLeNet, top-1 and top-5."""
    tables = []
    for network in ("AlexNet", "GoogLeNet"):
        rows = tuple(
            Row(
                row.method,
                f"{row.top_1:g} / {'-' if row.top_5 is None else f'{row.top_5:g}'}",
                sentence=IMAGENET_REASON if row.recipe else _without_recipe(row.method),
                command=f"qnn_ref.experiments.NETWORKS[{row.recipe!r}]" if row.recipe else "",
            )
            for row in IMAGENET
            if row.network == network
        )
        assert all(row.recipe in NETWORKS for row in IMAGENET if row.recipe)
        title = f"{network} on ImageNet"
        tables.append(Table(network.lower(), title, "top-1 / top-5 accuracy in %", rows))
    return tables


def _without_recipe(method: str) -> str:
    return IMAGENET_REASON if method == "float" else OTHERS


def table_4(runs: Sequence[Finished], folder: Path, bench: Mapping[str, Any]) -> Table:
    """Penn Treebank in few bits: Table 4's own networks, then the small one of 128 units."""
    rows = [_text_row(row, runs, bench) for row in TABLE_4]
    rows += _sweep_rows(folder, "ptb-char-bits", "RNN, 128 units, one pass over the text")
    return Table(
        "table-4",
        "Table 4: language models on Penn Treebank",
        "bits a character, or perplexity a word",
        tuple(rows),
        "A figure of 1.05 bits is far below what others report for this text with larger models "
        "(1.2 to 1.3), and one row of the paper probably means 4-bit weights. What the paper does "
        "not say about training is our choice.",
    )


def _text_row(row: LanguageResult, runs: Sequence[Finished], bench: Mapping[str, Any]) -> Row:
    bits = (
        "float" if row.weights == 32 else f"{row.weights}-bit weights, {row.activations}-bit states"
    )
    what, found = f"{row.model}, {bits}", longest(runs, row.recipe)
    command = f"qnn-ref train {row.recipe} --data DIR --out RUN"
    epochs = TEXT_RECIPES[row.recipe].epochs
    if not found:
        reason = too_long(TEXT_RECIPES[row.recipe], bench)
        return Row(what, f"{row.result:g}", sentence=reason, command=command)
    words = row.unit == WORDS
    digits = 1 if words else 3
    values = [2**run.test if words else run.test for run in found]
    far = difference(float(np.mean(values)), row.result, row.unit, digits)
    return Row(
        what,
        f"{row.result:g}",
        mean_text(values, digits),
        **_of(found),
        sentence=f"{far}, after {found[0].epochs} of the recipe's {epochs} passes over the text",
        command=command + _epochs_option(found, epochs),
    )


def _sweep_rows(folder: Path, name: str, model: str) -> list[Row]:
    path, sweep = folder / f"{name}.csv", SWEEPS[name]
    if not path.exists():
        return []
    table = read_sweep(folder, name)
    rows = []
    for case in mean_and_spread(table, sweep.labels, sweep.measure.columns[1], 3):
        bits = (
            "float"
            if case["weights"] == "32"
            else f"{case['weights']}-bit weights, {case['states']}-bit states"
        )
        seeds = [r["seed"] for r in table if all(r[la] == case[la] for la in sweep.labels)]
        spread = f" ± {case['spread']}" if case["spread"] else ""
        counted = float(table[0]["trigram_bits"])
        rows.append(
            Row(
                f"{model}, {bits}",
                ours=f"{case['mean']}{spread}",
                data=sweep.dataset,
                epochs=table[0]["epochs"],
                seeds=", ".join(seeds),
                sentence=difference(float(case["mean"]), counted, "bits", 3).replace(
                    "the paper's", "a trigram model that only counts"
                ),
                command=f"qnn-ref train {name} --data DIR --out RUN",
            )
        )
    return rows


def sweep_table(folder: Path, name: str, title: str, claim: str) -> Table:
    """Means and spreads of a sweep's cases, under the paper's claim that it tries.

    Parameters
    ----------
    folder : Path
        Of the results.
    name : str
        Of the sweep.
    title, claim : str

    Returns
    -------
    Table
    """
    sweep, table = SWEEPS[name], read_sweep(folder, name)
    measure = sweep.measure
    rows = []
    for case in mean_and_spread(table, sweep.labels, measure.columns[1], measure.digits):
        cases = [r for r in table if all(r[la] == case[la] for la in sweep.labels)]
        rows.append(
            Row(
                ", ".join(f"{label} {case[label]}" for label in sweep.labels),
                ours=f"{case['mean']} ± {case['spread']}" if case["spread"] else case["mean"],
                data=sweep.dataset,
                epochs=cases[0]["epochs"],
                seeds=", ".join(r["seed"] for r in cases),
            )
        )
    command = f"`qnn-ref train {name} --out DIR`"
    unit = measure.words.replace(" / %", " in %")
    return Table(name, title, unit, tuple(rows), f"{claim} {command}")
