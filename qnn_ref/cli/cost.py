"""`qnn-ref cost`: operations, memory, energy of a recipe's network, a run, a packed network."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from qnn_ref._typing import Array
from qnn_ref.checks import ANY_STEPS, did_you_mean, whole
from qnn_ref.cli.common import answer, check_picture, save_picture, table
from qnn_ref.cli.parser import WrongUse
from qnn_ref.cost import (
    Cost,
    binary_kernels,
    filter_operations,
    inference_cost,
    joules,
    memory_of,
    packed_bytes,
    packed_cost,
    training_cost,
    unique_filters,
)
from qnn_ref.cost.energy import ASSUMPTIONS, LEVELS, PRICES
from qnn_ref.cost.network import MOST_EXAMPLES
from qnn_ref.datasets import find_model, models
from qnn_ref.experiments import IMAGE_SHAPES, NETWORKS, RECIPES, SWEEPS, TEXT_RECIPES
from qnn_ref.experiments.effort import TOKENS
from qnn_ref.experiments.runs import load_run
from qnn_ref.experiments.text_runs import is_text_run, load_text_run
from qnn_ref.files import FileError
from qnn_ref.network import Sequential
from qnn_ref.optimizers import Adam, Optimizer
from qnn_ref.packed import PackedNetwork, PackedSequence
from qnn_ref.packed.product_stages import XnorConv

NUMBERS = ("float32", "float16", "int8", "quantized")
"""Formats that are compared."""
DRAWN = 9
"""Layers in the picture at most: those with the most products."""


@dataclass
class Subject:
    """What is counted: a network of layers, or a packed one."""

    name: str
    network: Sequential | None = None
    packed: PackedNetwork | PackedSequence | None = None
    optimizer: Optimizer = field(default_factory=Adam)
    batch: int = 0
    window: int = 1
    trained: bool = False

    @property
    def is_text(self) -> bool:
        """Whether it reads symbols, any number of them."""
        if self.network is None:
            return isinstance(self.packed, PackedSequence)
        return ANY_STEPS in self.network.input_shape

    def inference(self, examples: int, number: str, steps: int) -> Cost:
        """Cost of a forward pass."""
        if self.network is not None:
            return inference_cost(self.network, examples, number, steps)
        assert self.packed is not None
        return packed_cost(self.packed, examples, number, steps)

    def memory(self) -> tuple[int, int]:
        """Bytes of the weights in floats, and of all that is kept of the network in few bits."""
        if self.network is None:
            assert self.packed is not None
            return packed_bytes(self.packed)
        memory = memory_of(self.network)
        return memory.float_bytes, memory.quantized_bytes


def run(args: argparse.Namespace) -> int:
    """Count, price, print, and draw."""
    if args.output is not None:
        check_picture(args.output)
    whole("--batch", args.batch, 1, MOST_EXAMPLES)
    whole("--steps", args.steps, 1, MOST_EXAMPLES)
    subject = read(args.subject)
    if args.steps > 1 and not subject.is_text:
        raise WrongUse(f"--steps: {args.subject} reads images, and no symbols of a text")
    costs = {n: subject.inference(args.batch, n, args.steps) for n in NUMBERS}
    training = {} if subject.network is None or not subject.batch else training_of(subject)
    filters = filters_of(subject) if subject.trained else []
    float_bytes, kept_bytes = subject.memory()
    result = {
        "subject": subject.name,
        "weights": float_bytes // 4,
        "float_bytes": float_bytes,
        "kept_bytes": kept_bytes,
        "memory_factor": float_bytes / kept_bytes,
        "inference": {n: cost.to_json() for n, cost in costs.items()},
        "training": {n: cost.to_json() for n, cost in training.items()},
        "filters": filters,
        "assumptions": list(ASSUMPTIONS),
    }
    if args.output is not None:
        save_picture(args.output, picture(subject.name, costs))
        result["picture"] = args.output
    answer(args, result, text_of(subject, result, costs, training))
    return 0


# What is counted


def read(name: str) -> Subject:
    """A recipe of that name, else the run in that folder, else the packed network of that file."""
    rng = np.random.default_rng(0)
    if name in RECIPES:
        recipe = RECIPES[name]
        network = recipe.network(IMAGE_SHAPES[recipe.dataset], 10, rng)
        return Subject(name, network, None, recipe.optimizer(), recipe.batch_size)
    if name in NETWORKS:
        known = NETWORKS[name]
        return Subject(name, known.network(rng), batch=known.batch_size)
    if name in TEXT_RECIPES:
        text = TEXT_RECIPES[name]
        network = text.network(TOKENS[text.dataset, text.level][1], rng)
        return Subject(name, network, None, text.optimizer(), text.lanes, text.steps)
    if name in SWEEPS:
        raise FileError(
            f"{name}: a sweep is many networks; give a recipe or one of its runs' folders"
        )
    if os.path.isdir(name):
        return read_run(name)
    if not os.path.lexists(name) and name not in models():
        known_names = [*RECIPES, *NETWORKS, *TEXT_RECIPES, *models()]
        near = did_you_mean(name, known_names)
        raise FileError(
            f"{name}: no recipe has this name, and there is no such folder or file{near}; "
            "`qnn-ref recipes` lists the recipes"
        )
    path = str(find_model(name))
    return Subject(name, packed=read_packed(path), trained=True)


def read_run(folder: str) -> Subject:
    """The best epoch of a run."""
    if is_text_run(folder):
        text, _, text_run = load_text_run(folder)
        network = text_run.best_network()
        optimizer, batch, window = text.optimizer(), text.lanes, text.steps
        return Subject(folder, network, None, optimizer, batch, window, trained=True)
    recipe, state = load_run(folder)
    network = state.best_network()
    return Subject(folder, network, None, recipe.optimizer(), recipe.batch_size, trained=True)


def read_packed(path: str) -> PackedNetwork | PackedSequence:
    """A packed network, of images or of text."""
    try:
        return PackedNetwork.load(path)
    except FileError as error:
        if "`qnn-ref generate`" not in str(error):  # it is one for text otherwise
            raise
    return PackedSequence.load(path)


def training_of(subject: Subject) -> dict[str, Cost]:
    """A step of training, in floats and in few bits."""
    assert subject.network is not None
    more = subject.optimizer, subject.batch
    return {
        n: training_cost(subject.network, *more, n, steps=subject.window)
        for n in ("float32", "quantized")
    }


def filters_of(subject: Subject) -> list[dict[str, Any]]:
    """How often the 2-D filters of its binary convolutions repeat."""
    found: list[dict[str, Any]] = []
    for place, codes in kernels_of(subject):
        counted, shares = filter_operations(codes), unique_filters(codes)
        row = {"place": place, "kernel": list(codes.shape[:2])}
        row |= {"maps": codes.shape[2], "filters": codes.shape[3], **shares._asdict()}
        found.append(row | {"xnor_factor": counted.saving})
    return found


def kernels_of(subject: Subject) -> list[tuple[str, Array]]:
    """Codes (kh, kw, C, N) of the convolutions with weights of one bit, by place."""
    if subject.network is not None:
        return binary_kernels(subject.network)
    from qnn_ref.bits import unpack

    return [
        (f"{i}.{type(stage).__name__}", np.moveaxis(unpack(stage.words, stage.channels), 0, -1))
        for i, stage in enumerate(subject.packed.stages if subject.packed else [])
        if isinstance(stage, XnorConv)
    ]


# The answer as text


def text_of(
    subject: Subject, result: dict[str, Any], costs: dict[str, Cost], training: dict[str, Cost]
) -> str:
    """Everything in tables, and what it rests on."""
    kept = "as packed arrays" if subject.network is None else "in their own bits"
    heads = subject.network.auxiliaries() if subject.network is not None else []
    weights = f"{result['weights']:,} weights" + " without the heads that training has" * bool(
        heads
    )
    lines = [
        f"{subject.name}: {weights}, {result['float_bytes']:,} bytes in "
        f"float32, {result['kept_bytes']:,} {kept} ({result['memory_factor']:.1f} times less)",
        "",
        *forward_lines(costs),
        "",
        *layer_lines(costs["float32"], costs["quantized"]),
    ]
    if training:
        lines += ["", *training_lines(subject, training)]
    if result["filters"]:
        lines += ["", *filter_lines(result["filters"])]
    return "\n".join([*lines, "", "assumed:", *(f"- {words}" for words in ASSUMPTIONS)])


def forward_lines(costs: dict[str, Cost]) -> list[str]:
    """Formats side by side: energy, slices, then each kind of operation of the quantized one."""
    one = next(iter(costs.values()))
    each = f"forward, {one.examples} example{'s' * (one.examples > 1)}"
    rows: list[tuple[str, Callable[[Cost], str]]] = [
        ("operations", lambda cost: joules(cost.operation_energy)),
        ("memory", lambda cost: joules(cost.memory_energy[0])),
        ("both", lambda cost: joules(cost.energy)),
        ("slices of multipliers", lambda cost: f"{cost.slices:,}" if cost.has_slices else ""),
    ]
    cells = [(each, *costs), *((name, *map(show, costs.values())) for name, show in rows)]
    quantized = costs["quantized"]
    counted: list[tuple[str, ...]] = [("quantized: operation", "number", "count", "energy")]
    for operation, count in quantized.operations.items():
        energy = joules(count * PRICES[operation])
        counted.append((operation.name, operation.number, f"{count:,}", energy))
    for level in LEVELS:
        if count := quantized.accesses[level.name]:
            counted.append(("64 bits", level.name, f"{count:,}", joules(count * level.low)))
    return [*table(cells), "", *table(counted)]


def layer_lines(floats: Cost, quantized: Cost) -> list[str]:
    """Layers with products, in floats and in few bits."""
    few = {part.place: part for part in quantized.parts}
    heads = "float32: operations", "memory", "quantized: operations", "memory"
    cells: list[tuple[str, ...]] = [("layer", "pairs", *heads)]
    for part in floats.parts:
        other = few.get(part.place)
        energies = [part.operation_energy, part.memory_energy]
        energies += [other.operation_energy, other.memory_energy] if other else [0.0, 0.0]
        cells.append((part.place, f"{part.pairs:,}", *map(joules, energies)))
    return table(cells)


def training_lines(subject: Subject, training: dict[str, Cost]) -> list[str]:
    """The three phases of a step."""
    of = f"training step, batch {subject.batch}" + f" x {subject.window}" * (subject.window > 1)
    heads = [f"{number}: {what}" for number in training for what in ("operations", "memory")]
    cells: list[tuple[str, ...]] = [(of, *heads)]
    for phase in ("forward", "backward", "update"):
        parts = [cost.of(phase) for cost in training.values()]
        energies = [e for part in parts for e in (part.operation_energy, part.memory_energy[0])]
        cells.append((phase, *map(joules, energies)))
    return table(cells)


def filter_lines(rows: list[dict[str, Any]]) -> list[str]:
    """Three shares of different filters, and what is saved by computing each once a map."""
    head = ("repeated filters", "maps x filters", "differ: layer", "a map", "up to sign")
    cells: list[tuple[str, ...]] = [(*head, "XNORs and counts")]
    for row in rows:
        shares = (row["per_layer"], row["per_map"], row["per_map_up_to_sign"])
        texts = [f"{100 * share:.0f} %" for share in shares]
        size = f"{row['maps']} x {row['filters']}"
        cells.append((row["place"], size, *texts, f"{row['xnor_factor']:.1f} times fewer"))
    means = [
        np.mean([row[k] for row in rows]) for k in ("per_layer", "per_map", "per_map_up_to_sign")
    ]
    cells.append(("mean", "", *(f"{100 * mean:.0f} %" for mean in means), ""))
    cells.append(("paper (CIFAR-10)", "", "42 %, which is not said", "", "", "3 times fewer"))
    return table(cells)


def picture(name: str, costs: dict[str, Cost]) -> Any:
    """Formats beside each other, and the layers in floats and in few bits."""
    from qnn_ref import plots  # slow: wrong use is answered without it

    totals = {n: (c.operation_energy, c.memory_energy[0]) for n, c in costs.items()}
    dearest = sorted(costs["float32"].parts, key=lambda part: -part.pairs)[:DRAWN]
    chosen = {part.place for part in dearest if part.pairs}
    layers = {
        number: {
            part.place: (part.operation_energy, part.memory_energy)
            for part in costs[number].parts
            if part.place in chosen
        }
        for number in ("float32", "quantized")
    }
    return plots.cost_figure(name, totals, layers)
