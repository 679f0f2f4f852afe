"""Section 5: energy, memory and repeated filters, recomputed from operation counts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from qnn_ref._typing import Array
from qnn_ref.cost import (
    Cost,
    binary_kernels,
    expected_unique_share,
    filter_operations,
    inference_cost,
    joules,
    memory_of,
    unique_filters,
)
from qnn_ref.cost.energy import FLOAT_MULTIPLIER_SLICES, HOROWITZ, LEVELS, XNOR_SLICES
from qnn_ref.experiments import IMAGE_SHAPES, RECIPES
from qnn_ref.experiments.finished import Finished
from qnn_ref.experiments.kept_filters import Filters
from qnn_ref.network import Sequential
from qnn_ref.report.rows import Row, Table

NETWORKS = ("mnist-theano", "cifar10-theano")
TAKEN = "taken over from the paper: what the totals below are made of"


def started(name: str) -> Sequential:
    """The network of a recipe, before its first step.

    Parameters
    ----------
    name : str

    Returns
    -------
    Sequential
    """
    recipe = RECIPES[name]
    return recipe.network(IMAGE_SHAPES[recipe.dataset], 10, np.random.default_rng(recipe.seed))


def prices() -> tuple[Table, Table]:
    """The paper's two tables of energy, as the code has them."""
    operations = tuple(
        Row(f"{o.name}, {o.number}", f"{price:g}", f"{price:g}", sentence=TAKEN)
        for o, price in HOROWITZ.items()
    )
    accesses = tuple(
        Row(level.name, text, text, sentence=TAKEN)
        for level in LEVELS
        for text in [
            f"{level.low:g}" if level.low == level.high else f"{level.low:g} to {level.high:g}"
        ]
    )
    return (
        Table("energy-operations", "Section 5: energy of an operation", "pJ, 45 nm", operations),
        Table("energy-memory", "Section 5: energy of an access of 64 bits", "pJ, 45 nm", accesses),
    )


def network_totals() -> Table:
    """Energy, memory and slices of the paper's networks, for one image."""
    rows = []
    for name in NETWORKS:
        network, command = started(name), f"qnn-ref cost {name}"
        bits, floats = (inference_cost(network, number=form) for form in ("quantized", "float32"))
        memory = memory_of(network)
        rows += [
            Row(
                f"{name}: weights in 32 bits, in one",
                paper="32 times less",
                ours=f"{memory.float_bytes / 1e6:.2f} MB, {memory.quantized_bytes / 1e6:.2f} MB: "
                f"{memory.factor:.0f} times less",
                sentence="the same, as it must be; what is not quantized (batch norm) comes on top",
                command=command,
            ),
            _energy_row(f"{name}: energy of the operations, float32, bits", floats, bits, command),
            Row(
                f"{name}: energy of the accesses, float32, bits",
                ours=f"{joules(floats.memory_energy[0])}, {joules(bits.memory_energy[0])}: "
                f"{floats.memory_energy[0] / bits.memory_energy[0]:.0f} times less",
                sentence="the paper expects more than 32: fewer accesses, each cheaper where the "
                "bits fit into a smaller memory",
                command=command,
            ),
            Row(
                f"{name}: slices, had every multiplication of an image one of its own",
                paper=f"{FLOAT_MULTIPLIER_SLICES} a float multiplier, {XNOR_SLICES} an XNOR",
                ours=f"{floats.slices / bits.slices:.0f} times fewer",
                sentence="less than 200 where the first layer multiplies pixels of 8 bits",
                command=command,
            ),
        ]
    return Table(
        "energy-networks",
        "Section 5: one image through the paper's networks",
        "units as said",
        tuple(rows),
        "Counted from the layers and priced by the two tables; what the tables have not is an "
        "assumption of ours (`qnn-ref cost digits` prints them). A processor is no such circuit.",
    )


def _energy_row(what: str, floats: Cost, bits: Cost, command: str) -> Row:
    return Row(
        what,
        ours=f"{joules(floats.operation_energy)}, {joules(bits.operation_energy)}: "
        f"{floats.operation_energy / bits.operation_energy:.0f} times less",
        sentence="the paper gives no total; an XNOR and a count are priced as a full adder each",
        command=command,
    )


DEFINITIONS = (
    ("per layer", "at most 512 of 16,384 and more can differ, so the paper does not mean this"),
    ("per input map", "random signs; the paper counts a trained network"),
    (
        "per input map, negatives shared",
        "random signs, layers of 128 to 512 filters; 512 alone have "
        f"{100 * expected_unique_share(512, 256):.0f} %",
    ),
)
"""Of a different filter, with what is to be said of the paper's network before training."""


def repeated_filters(kept: Mapping[Finished, Sequence[Filters]]) -> Table:
    """Shares of different filters by the three definitions: the paper's network, trained ones.

    Parameters
    ----------
    kept : dict of Finished to list of Filters
        Trained networks.

    Returns
    -------
    Table
    """
    codes = [codes for _, codes in binary_kernels(started("cifar10-theano"))[1:]]
    start, seed = "cifar10-theano before training", RECIPES["cifar10-theano"].seed
    rows = [
        *_share_rows("hidden convolutions", codes, start, seed, "qnn-ref report"),
        *(
            row
            for run, layers in kept.items()
            for layer in layers
            for row in _share_rows(
                "{} x {} filters".format(*layer.forms.shape),
                [layer.codes],
                f"{run.recipe} ({run.data}), trained",
                run.seed,
            )
        ),
    ]
    return Table(
        "filters", "Section 5.3: repeated filters", "share of filters, or a factor", tuple(rows)
    )


def _share_rows(
    what: str, codes: Sequence[Array], data: str, seed: int, of_the_papers: str = ""
) -> Iterator[Row]:
    """The shares by the three definitions, and the factor that the last of them saves.

    With the command for the paper's own network, which has the paper's figures beside it.
    """
    command = of_the_papers or "qnn-ref cost RUN"
    shares = [unique_filters(layer) for layer in codes]
    taps = "x".join(map(str, codes[0].shape[:2]))
    chance = [_by_chance(layer) for layer in codes]
    for n, (name, words) in enumerate(DEFINITIONS):
        share, random = (float(np.mean([s[n] for s in some])) for some in (shares, chance))
        yield Row(
            f"different {taps} filters, {name}, {what}",
            paper="42 %" if of_the_papers and "shared" in name else "",
            ours=f"{100 * share:.0f} %",
            data=data,
            seeds=str(seed),
            sentence=words if of_the_papers else f"random signs would give {100 * random:.0f} %",
            command=command,
        )
    yield Row(
        f"times fewer XNORs and counts, {what}",
        paper="3" if of_the_papers else "",
        ours=f"{np.mean([filter_operations(layer).saving for layer in codes]):.1f}",
        data=data,
        seeds=str(seed),
        sentence="by counting; the additions of a map's results to its sums stay",
        command=command,
    )


def _by_chance(codes: Array) -> tuple[float, float, float]:
    """The three shares that random signs have in the mean."""
    kh, kw, C, N = codes.shape
    forms = 2 ** (kh * kw)
    return (
        expected_unique_share(C * N, forms),
        expected_unique_share(N, forms),
        expected_unique_share(N, forms // 2),
    )
