"""Tables of section 4: networks that were trained, and those that were not, with the reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from qnn_ref import shown
from qnn_ref.experiments import RECIPES, SWEEPS, TEXT_RECIPES, Recipe, TextRecipe
from qnn_ref.experiments.effort import training_operations
from qnn_ref.experiments.finished import Finished, by_schedule, longest
from qnn_ref.experiments.sweep import mean_and_spread
from qnn_ref.experiments.tables import (
    IMAGENET,
    TABLE_1,
    TABLE_4,
    WORDS,
    ImageNetAccuracy,
    LanguageResult,
    PaperError,
)
from qnn_ref.report.measured import training_hours
from qnn_ref.report.rows import Row, Table, difference, mean_text
from qnn_ref.report.stored import read_sweep

OTHERS = "a method of other authors, whose recipe is not part of this package"
NO_DATA = {"svhn": " (and SVHN did not lie on the machine)"}
IMAGENET_REASON = (
    "not run here: ImageNet may not be passed on, and its 1.2 million images would take weeks or "
    "months on two cores; "
)
HERE, NO_FLOATS = (
    "the network is there, checked and ready to train",
    "a float form of the network is not part of this package",
)
ABOUT_IMAGENET = {
    "AlexNet": "",
    "GoogLeNet": " It is not clear whether the row of 6 bits has them everywhere, or only its "
    "gradients, with 4 for weights and activations.",
}
"""What is to be said of a table of the paper's."""
NAMES = {"mnist": "MNIST", "svhn": "SVHN", "cifar10": "CIFAR-10"}
RELATIVES = (
    ("mnist-small", "784-3x512-10, 7 epochs"),
    ("mnist-torch-small", "784-3x512-10 by shifts, 10 epochs"),
    ("fashion-torch", "the network of mnist-torch on Fashion-MNIST"),
    ("fashion-small", "two narrow convolutions on Fashion-MNIST"),
    ("cifar10-small", "three narrow convolutions on CIFAR-10"),
    ("cifar10-wide", "three convolutions, twice as wide, on CIFAR-10"),
    ("digits", "64-2x256-10 on 8x8 digits"),
)
"""Recipes of ours that the paper has no row for, each with its float twin."""


def too_long(time: str) -> str:
    """Why a recipe was not run.

    Parameters
    ----------
    time : str
        As `whole_time` and `text_time` estimate it.

    Returns
    -------
    str
    """
    return f"not run to its end here: about {time}"


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


def text_time(recipe: TextRecipe, runs: Sequence[Finished], bench: Mapping[str, Any]) -> str:
    """How long a language model would take: by the quickest run of its kind, if there is one.

    Parameters
    ----------
    recipe : TextRecipe
    runs : sequence of Finished
        Those of the same text and level are of its kind.
    bench : dict
        Stored run of the bench.

    Returns
    -------
    str
    """
    kin = [
        (run.hours / training_operations(replace(twin, epochs=run.epochs)), run.recipe)
        for run in runs
        for twin in [TEXT_RECIPES.get(run.recipe)]
        if twin and run.hours and (twin.dataset, twin.level) == (recipe.dataset, recipe.level)
    ]
    if not kin:
        return whole_time(recipe, bench)
    pace, name = min(kin)
    time = shown.duration(pace * training_operations(recipe))
    return f"{time} on two cores, by the pace of the quickest run of {name}"


def table_1(runs: Sequence[Finished], bench: Mapping[str, Any]) -> Table:
    """Test errors on the three small data sets."""
    rows = []
    for cell in TABLE_1:
        what = f"{cell.method}, {NAMES[cell.dataset]}"
        if not cell.recipe:
            rows.append(Row(what, cell.printed, sentence=OTHERS))
            continue
        rows += _image_rows(what, cell.recipe, runs, bench, cell) or [_not_run(what, bench, cell)]
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


def _not_run(what: str, bench: Mapping[str, Any], paper: PaperError) -> Row:
    recipe = RECIPES[paper.recipe]
    return Row(
        what,
        paper.printed,
        sentence=too_long(whole_time(recipe, bench)) + NO_DATA.get(recipe.dataset, ""),
        command=f"qnn-ref train {recipe.name} --data DIR --out RUN",
    )


def _image_rows(
    what: str,
    name: str,
    runs: Sequence[Finished],
    bench: Mapping[str, Any],
    paper: PaperError | None = None,
) -> list[Row]:
    """A row for each schedule that the recipe was run by, the furthest one first."""
    recipe, rows = RECIPES[name], by_schedule(runs, name)
    return [
        Row(
            what + _other(found[0], rows[0][0]),
            "" if place or paper is None else paper.printed,
            mean_text([run.test for run in found], 2),
            **_of(found),
            sentence=_image_sentence(found, paper, recipe, bench),
            command=f"qnn-ref train {name} --data DIR --out RUN" + _options(found, recipe),
        )
        for place, found in enumerate(rows)
    ]


def _other(run: Finished, first: Finished) -> str:
    """What is different about a second row of a recipe."""
    if run is first:
        return ""
    return ": another copy of the data" if run.data != first.data else ": another schedule"


def _image_sentence(
    found: Sequence[Finished], paper: PaperError | None, recipe: Recipe, bench: Mapping[str, Any]
) -> str:
    first, parts = found[0], []
    if paper is not None:
        mean = float(np.mean([run.test for run in found]))
        parts.append(difference(mean, paper.error, "points", 2))
    if first.epochs != recipe.epochs:
        parts.append(_trained(first.epochs, recipe.epochs, "epochs"))
    if first.schedule != recipe.epochs and not recipe.halve_every:
        parts.append(f"the decay of the rate fitted to {first.schedule}")
    elif first.epochs < recipe.epochs:
        parts.append(f"all of them would take about {whole_time(recipe, bench)}")
    if known := [run.hours for run in found if run.hours]:
        time = shown.duration(float(np.median(known)))
        parts.append(f"a run took {time}, pauses and other work included")
    return ", ".join(parts)


def _trained(epochs: int, all_of_them: int, unit: str) -> str:
    """How far a run went, beside what its recipe wants."""
    if epochs > all_of_them:
        return f"after {epochs} {unit}, more than the recipe's {all_of_them}"
    return f"after {epochs} of the recipe's {all_of_them} {unit}"


def _options(found: Sequence[Finished], recipe: Recipe | TextRecipe) -> str:
    """What the recipe's command needs beside it to make the first of these runs."""
    schedule, seeds = found[0].schedule, sorted(run.seed for run in found)
    epochs = "" if schedule == recipe.epochs else f" --epochs {schedule}"
    return epochs if recipe.seed in seeds else f"{epochs} --seed {seeds[0]}"


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
    return [
        Table(
            network.lower(),
            f"{network} on ImageNet",
            "top-1 / top-5 accuracy in %",
            tuple(_imagenet_row(row) for row in IMAGENET if row.network == network),
            f"The caption in the paper says error rates; the figures are accuracies.{about}",
        )
        for network, about in ABOUT_IMAGENET.items()
    ]


def _imagenet_row(row: ImageNetAccuracy) -> Row:
    accuracies = f"{row.top_1:g} / {'-' if row.top_5 is None else f'{row.top_5:g}'}"
    if row.recipe:
        command = f"qnn_ref.experiments.NETWORKS[{row.recipe!r}]"
        return Row(row.method, accuracies, sentence=IMAGENET_REASON + HERE, command=command)
    sentence = IMAGENET_REASON + NO_FLOATS if row.method == "float" else OTHERS
    return Row(row.method, accuracies, sentence=sentence)


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
        "(1.2 to 1.3). What the paper does not say about training is our choice.",
    )


def _text_row(row: LanguageResult, runs: Sequence[Finished], bench: Mapping[str, Any]) -> Row:
    bits = (
        "float" if row.weights == 32 else f"{row.weights}-bit weights, {row.activations}-bit states"
    )
    what, found = f"{row.model}, {bits}", longest(runs, row.recipe)
    command = f"qnn-ref train {row.recipe} --data DIR --out RUN"
    epochs, note = TEXT_RECIPES[row.recipe].epochs, f"; {row.note}" if row.note else ""
    if not found:
        reason = too_long(text_time(TEXT_RECIPES[row.recipe], runs, bench))
        return Row(what, row.printed, sentence=reason + note, command=command)
    words = row.unit == WORDS
    digits = 1 if words else 3
    values = [2**run.test if words else run.test for run in found]
    unit = "points of perplexity" if words else row.unit
    far = difference(float(np.mean(values)), row.result, unit, digits)
    return Row(
        what,
        row.printed,
        mean_text(values, digits),
        **_of(found),
        sentence=f"{far}, {_trained(found[0].epochs, epochs, 'passes over the text')}{note}",
        command=command + _options(found, TEXT_RECIPES[row.recipe]),
    )


def texts(runs: Sequence[Finished]) -> list[Table]:
    """Put together the runs of small models on the text that comes along; no table without one."""
    rows = []
    for name, recipe in TEXT_RECIPES.items():
        found = longest(runs, name)
        if found and recipe.dataset == "shakespeare":
            bits = f"{recipe.weight_bits}-bit weights, {recipe.activation_bits}-bit states"
            rows.append(
                Row(
                    f"RNN, {recipe.units} units, {bits if recipe.quantized else 'float'}",
                    ours=mean_text([run.test for run in found], 3),
                    **_of(found),
                    sentence=_trained(found[0].epochs, recipe.epochs, "passes over the text"),
                    command=f"qnn-ref train {name} --out RUN{_options(found, recipe)}",
                )
            )
    title, words = "Small language models", "The paper has no such rows."
    return [Table("texts", title, "bits a character", tuple(rows), words)] if rows else []


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
    unit = measure.words.replace(" / ", " in ")
    return Table(name, title, unit, tuple(rows), f"{claim} {command}")
