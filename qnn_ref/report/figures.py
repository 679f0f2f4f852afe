"""The paper's figures, drawn from what was run here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from qnn_ref import plots
from qnn_ref.cost import form_filters
from qnn_ref.experiments import RECIPES, SWEEPS
from qnn_ref.experiments.finished import Finished, by_schedule, read_curve
from qnn_ref.experiments.kept_filters import Filters
from qnn_ref.experiments.sweep import mean_and_spread
from qnn_ref.quantizers import Sign
from qnn_ref.report.stored import read_sweep


@dataclass(frozen=True)
class Picture:
    """A figure of the report.

    Parameters
    ----------
    id : str
        Name of its file, without the ending.
    title : str
    words : str
        What the paper's shows, and what ours does.
    draw : function
        `() -> Figure`.
    """

    id: str
    title: str
    words: str
    draw: Callable[[], Figure]


CURVES = (
    *("mnist-torch", "mnist-torch-float", "mnist-theano"),
    *("cifar10-small", "cifar10-small-float", "cifar10-wide"),
)
"""Recipes whose runs the training curves show, as far as they are there, one for each schedule."""


SHOWN = 32
"""Binary filters in their picture: the most frequent ones."""


def pictures(
    folder: Path,
    runs: Sequence[Finished],
    bench: Mapping[str, Any],
    kept: Mapping[Finished, Sequence[Filters]],
) -> Iterator[Picture]:
    """Every figure of the report, in the paper's order.

    Parameters
    ----------
    folder : Path
        Of the results.
    runs : sequence of Finished
    bench : dict
        Stored run of the bench.
    kept : dict of Finished to list of Filters
        Binary filters of trained networks.

    Yields
    ------
    Picture
    """
    yield Picture(
        "straight-through",
        "Sign, hard tanh and the straight-through gradient (section 2.3)",
        "The forward pass sees the sign, the backward pass the slope of hard tanh.",
        straight_through,
    )
    for data, about in (("mnist", "MNIST"), ("cifar10", "CIFAR-10")):
        curves = {
            _label(run): read_curve(folder, run)
            for name in CURVES
            for run, *_ in by_schedule(runs, name)
            if run.data.split(",")[0] == data
        }
        if curves:
            yield Picture(
                f"training-{data}",
                f"Figure 1: training curves, {about}",
                "The paper shows CIFAR-10 with its large network: binary networks learn more "
                "slowly and come close. Ours are the runs of the tables above, first seed of each.",
                lambda curves=curves: plots.training_figure(curves),  # type: ignore[misc]
            )
    for run, layers in kept.items():
        yield Picture(
            f"filters-{run.filters.removesuffix('.npz')}",
            f"Figure 2: binary filters, {run.recipe} ({run.data}), seed {run.seed}",
            "The paper shows some filters of its network's first layer. Ours: the most frequent "
            "ones of the first layer after training, and how often each occurs.",
            lambda layers=layers: frequent_filters(layers[0]),  # type: ignore[misc]
        )
    for name, title in SWEEP_PICTURES.items():
        if (folder / f"{name}.csv").exists():
            yield Picture(
                name,
                title,
                "Means of three seeds; bars: one standard deviation.",
                lambda name=name: cases(folder, name),  # type: ignore[misc]
            )
    yield Picture(
        "kernels",
        "Section 6: kernels",
        "The paper compares its XNOR kernel with a plain one and with cuBLAS. Ours: each rung of "
        "the kernel ladder, and other libraries in light bars.",
        lambda: ladder(bench),
    )


SWEEP_PICTURES = {
    "bits-sweep": "Bits of weights and activations (section 3)",
    "gradient-bits": "Bits of gradients (section 3)",
    "text-bits": "Bits of a recurrent network (section 4.4)",
}


def _label(run: Finished) -> str:
    """A curve's name: stopped early, by another schedule or on another copy, it says so."""
    whole = run.epochs == run.schedule == RECIPES[run.recipe].epochs
    epochs = "" if whole else f", {run.epochs} of {run.schedule} epochs"
    return f"{run.recipe}{''.join(run.data.partition(',')[1:])}{epochs}"


def straight_through() -> Figure:
    """Eqs. (1), (4) and (5) as curves."""
    x = np.linspace(-2, 2, 401)
    sign = Sign()
    return plots.straight_through_figure(
        x, sign.quantize(x), np.clip(x, -1, 1), sign.backward(np.ones_like(x), x), (-1, 1)
    )


def frequent_filters(layer: Filters) -> Figure:
    """The 2-D filters of a layer that occur most often."""
    forms, counts = np.unique(layer.forms, return_counts=True)
    first = np.argsort(-counts, kind="stable")[:SHOWN]
    labels = [f"{count} of {layer.forms.size}" for count in counts[first]]
    return plots.filters_figure(form_filters(forms[first], layer.kernel), labels)


def cases(folder: Path, name: str) -> Figure:
    """A sweep's means with their spreads."""
    sweep, rows = SWEEPS[name], read_sweep(folder, name)
    measure = sweep.measure
    table = mean_and_spread(rows, sweep.labels, measure.columns[1], measure.digits)
    if "trigram_bits" in measure.columns:
        return plots.bits_of_text_figure(table, float(rows[0]["trigram_bits"]))
    return plots.cases_figure(table, sweep.labels, words=measure.words)


def ladder(bench: Mapping[str, Any]) -> Figure:
    """The stored kernel ladder."""
    ours = [rung for rung in bench["ladder"] if not rung["peer"] and rung["tops"]]
    peers = {
        rung["name"]: rung["tops"] for rung in bench["ladder"] if rung["peer"] and rung["tops"]
    }
    return plots.ladder_figure(
        [rung["name"] for rung in ours],
        [rung["tops"] for rung in ours],
        bench["ceiling"]["tops"],
        peers,
    )
