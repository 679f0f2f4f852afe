"""Everything that the report shows, in the paper's order."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qnn_ref.experiments.finished import kept_filters, read_finished
from qnn_ref.report.energy import network_totals, prices, repeated_filters
from qnn_ref.report.figures import Picture, pictures
from qnn_ref.report.measured import read_bench, section_6
from qnn_ref.report.rows import Table
from qnn_ref.report.trained import (
    imagenet,
    relatives,
    sweep_table,
    table_1,
    table_4,
    texts,
)


@dataclass(frozen=True)
class Report:
    """Tables and figures.

    Parameters
    ----------
    tables : tuple of Table
    pictures : tuple of Picture
    """

    tables: tuple[Table, ...]
    pictures: tuple[Picture, ...]

    def table(self, id: str) -> Table:
        """The table of this id, or KeyError."""
        return {table.id: table for table in self.tables}[id]

    def to_json(self) -> dict[str, Any]:
        """Tables, figures, and the rows that have neither a value nor a reason."""
        return {
            "tables": [table.to_json() for table in self.tables],
            "figures": [{"id": p.id, "title": p.title, "words": p.words} for p in self.pictures],
            "rows_without_value_or_reason": [
                f"{table.id}: {row.what}"
                for table in self.tables
                for row in table.rows
                if row.is_open
            ],
        }


CLAIMS = {
    "bits-sweep": (
        "Section 3: bits of weights and activations",
        "The paper gives AlexNet a second bit in its activations, and GoogLeNet 4 and 6 bits.",
    ),
    "gradient-bits": (
        "Section 3: bits of gradients",
        "The paper: 6 bits with logarithmic steps cost about 5 points on GoogLeNet.",
    ),
    "ablation-shift": (
        "Sections 2.4, 2.5: shifts instead of products",
        "The paper: shift-based batch norm and AdaMax cost no accuracy.",
    ),
    "relaxed-boundary": (
        "Section 4.3: a relaxed boundary",
        "The paper: widening the bound after training brought AlexNet 1.5 points.",
    ),
    "downhill": (
        "Section 2.3: does the straight-through gradient point downhill?",
        "The paper does not ask. Tiny stochastic networks, whose exact gradient is known.",
    ),
    "latent-weights": (
        "Section 2.2: what latent weights carry",
        "The paper: gradients are gathered in real weights, whose resolution is needed.",
    ),
    "sign-flips": (
        "Section 2.3: how often signs change",
        "The paper does not count. Five learning rates.",
    ),
    "clip-or-not": (
        "Section 2.3: clip and mask",
        "The paper: without the mask results are clearly worse.",
    ),
    "norm-share": (
        "Section 2.4: batch norm's share",
        "The paper has batch norm in every network. Here a constant stands in for it.",
    ),
    "text-bits": (
        "Section 4.4: bits of a recurrent network, on a text that comes along",
        "The paper has Penn Treebank only (Table 4); this text everybody has.",
    ),
}
"""Sweeps with the claim that each tries."""


def build_report(folder: Path) -> Report:
    """Read a folder of results and put the paper's values beside them.

    Parameters
    ----------
    folder : Path

    Returns
    -------
    Report

    Raises
    ------
    FileError
        If a file of results is missing or damaged.
    """
    runs, bench = read_finished(folder), read_bench(folder)
    kept = kept_filters(folder, runs)
    tables = [
        table_1(runs, bench),
        relatives(runs, bench),
        *imagenet(),
        table_4(runs, folder, bench),
        *texts(runs),
        *prices(),
        network_totals(),
        repeated_filters(kept),
        section_6(bench),
        *(sweep_table(folder, name, *words) for name, words in CLAIMS.items()),
    ]
    return Report(tuple(tables), tuple(pictures(folder, runs, bench, kept)))
