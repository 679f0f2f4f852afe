"""The cost of a packed network: its own steps, words and integers, as Algorithm 5 runs them."""

from __future__ import annotations

import math
from collections import Counter
from functools import singledispatch
from typing import Any

import numpy as np

from qnn_ref.checks import whole
from qnn_ref.cost.network import MOST_EXAMPLES, WIDTHS
from qnn_ref.cost.operations import (
    Format,
    Operation,
    Tally,
    format_of,
    of_grid,
    product,
    tally,
)
from qnn_ref.cost.products import Product
from qnn_ref.cost.record import Cost, Part, Transfer, once
from qnn_ref.geometry import geometry_of
from qnn_ref.grid import PIXELS, SIGNS, Grid
from qnn_ref.packed import PackedNetwork, PackedSequence
from qnn_ref.packed.product_stages import GridConv, GridDense, XnorConv, XnorDense
from qnn_ref.packed.recurrent_stages import CELLS, GridRecurrent, Rows
from qnn_ref.packed.shape_stages import FlattenBits, FlattenIntegers, Join, MaxPool, SumPool
from qnn_ref.packed.stages import Flow, Stage
from qnn_ref.packed.thresholds import Levels, Scores, Threshold


def packed_cost(
    network: PackedNetwork | PackedSequence,
    examples: int = 1,
    number: str = "quantized",
    steps: int = 1,
) -> Cost:
    """What it costs to run a packed network, in its own words of 64 bits with their padding.

    Parameters
    ----------
    network : PackedNetwork or PackedSequence
    examples : int
        Images or texts at a time.
    number : str
        Key of `FORMATS`; another one than "quantized" is that of a float network of the same
        sizes, with batch norm and hard tanh in the place of thresholds.
    steps : int
        Symbols of a text.

    Returns
    -------
    Cost

    Raises
    ------
    TypeError, ValueError
        If it is no packed network, holds a step whose operations are not known, or a number or
        format is none.

    References
    ----------
    Algorithm 5; section 5.
    """
    _check(network)
    examples = whole("examples", examples, 1, MOST_EXAMPLES)
    steps, form = whole("steps", steps, 1, MOST_EXAMPLES), format_of(number)
    if isinstance(network, PackedNetwork):
        flow, times = Flow("pixels", network.input_shape, PIXELS), examples
    else:
        tokens = Grid(0, max(1, network.vocabulary - 1), 1)
        flow, times = Flow("tokens", (1,), tokens), examples * steps
    parts = _row(network.stages, flow, times, form, "", steps)[0]
    return Cost(parts, number, examples)


def _check(network: Any) -> None:
    if not isinstance(network, PackedNetwork | PackedSequence):
        raise TypeError(
            "network: expected a PackedNetwork or a PackedSequence, as `pack` gives it, got "
            f"{type(network).__name__}"
        )


def _row(
    stages: list[Stage], flow: Flow, times: int, form: Format, before: str, steps: int
) -> tuple[list[Part], Flow]:
    """Parts of some steps one after the other, and what flows out of the last."""
    parts: list[Part] = []
    for number, stage in enumerate(stages):
        out = stage.output(flow)
        place = f"{before}{number}"
        if isinstance(stage, Join):
            for p, path in enumerate(stage.paths):
                parts += _row(path, flow, times, form, f"{place}.{p}.", steps)[0]
        else:
            part = _part(f"{place}.{type(stage).__name__}", stage, flow, out, times, form)
            if isinstance(stage, GridRecurrent):
                part = _each_step(part, stage, form, steps)
            if part.operations or isinstance(stage, Rows):  # a view of its input costs nothing
                parts.append(part)
        flow = out
    return parts, flow


def _part(place: str, stage: Stage, flow: Flow, out: Flow, times: int, form: Format) -> Part:
    found = products_of(stage, flow, out)
    products = tuple(
        Product(one.what, one.a, one.b, times * one.pairs, times * one.sums) for one in found
    )
    operations = Counter({o: times * n for o, n in stage_tally(stage, flow, out, form).items()})
    for one in products:
        operations += product(one.a, one.b, one.pairs, one.sums, form)
    transfers = (
        once("inputs", times * _bits(flow, form)),
        *_read(stage, times, form),
        once("outputs", times * _bits(out, form)),
    )
    return Part(place, "forward", operations, transfers, products)


def _each_step(part: Part, stage: GridRecurrent, form: Format, steps: int) -> Part:
    """Weights of the state are read again in each step."""
    bits = _held("state_words", stage.state_words, stage, form)
    state = Transfer("weights", bits, (steps - 1) * bits)
    return Part(part.place, part.phase, part.operations, (*part.transfers, state), part.products)


def _read(stage: Stage, times: int, form: Format) -> list[Transfer]:
    """Arrays that a step reads once; of a table only the rows that are asked for."""
    if isinstance(stage, Rows):
        held = _held("words", stage.words, stage, form)
        return [Transfer("rows", held, held // stage.words.shape[1] * times)]
    return [once("weights", _held(name, a, stage, form)) for name, a in stage.arrays().items()]


def _held(name: str, array: Any, stage: Stage, form: Format) -> int:
    """Bits of an array of a step, words as they are; in one format a number for each weight."""
    if not form.bits:
        return 8 * int(array.nbytes)
    if name.endswith("words"):
        size = getattr(stage, "size", getattr(stage, "channels", getattr(stage, "K", 0)))
        if isinstance(stage, Rows):
            size = stage.units
        if isinstance(stage, GridRecurrent):
            size = stage.units if name == "state_words" else stage.features
        planes = 0 if isinstance(stage, XnorDense | XnorConv) else 1
        return form.bits * math.prod(array.shape[planes:-1]) * size
    return WIDTHS[form.other] * int(array.size)


def _bits(flow: Flow, form: Format) -> int:
    """Bits of what flows between two steps, for one example."""
    count = math.prod(flow.shape)
    if flow.kind == "tokens":
        return 32 * count
    if form.bits:
        small = flow.grid.high - flow.grid.low < flow.grid.step * 2**16
        return count * (form.bits if small else WIDTHS[form.sums])
    if flow.kind == "bits":
        return count // flow.shape[-1] * 64 * -(-flow.shape[-1] // 64)
    return count * (8 if flow.kind == "pixels" else 32)


# Products


@singledispatch
def products_of(stage: Stage, flow: Flow, out: Flow) -> list[Product]:
    """Products of a step, for one example.

    Parameters
    ----------
    stage : Stage
    flow, out : Flow
        What flows in and out.

    Returns
    -------
    list of Product

    References
    ----------
    Algorithm 5.
    """
    return []


def _product(grid: Grid, weights: Grid, K: int, out: Flow) -> list[Product]:
    sums = math.prod(out.shape)
    return [Product("sums", of_grid(grid), of_grid(weights), K * sums, sums)]


@products_of.register
def _(stage: XnorDense, flow: Flow, out: Flow) -> list[Product]:
    return _product(flow.grid, SIGNS, stage.K, out)


@products_of.register
def _(stage: XnorConv, flow: Flow, out: Flow) -> list[Product]:
    return _product(flow.grid, SIGNS, math.prod(stage.words.shape[1:3]) * stage.channels, out)


@products_of.register
def _(stage: GridDense, flow: Flow, out: Flow) -> list[Product]:
    return _product(stage.grid, stage.weights, stage.size, out)


@products_of.register
def _(stage: GridConv, flow: Flow, out: Flow) -> list[Product]:
    return _product(stage.grid, stage.weights, math.prod(stage.words.shape[2:4]) * stage.size, out)


@products_of.register
def _(stage: GridRecurrent, flow: Flow, out: Flow) -> list[Product]:
    sums, weights = CELLS[stage.cell] * stage.units, of_grid(stage.weights)
    return [
        Product("sums", of_grid(stage.grid), weights, sums * stage.features, sums),
        Product("state sums", of_grid(stage.states), weights, sums * stage.units, sums),
    ]


# Everything else


@singledispatch
def stage_tally(stage: Stage, flow: Flow, out: Flow, form: Format) -> Tally:
    """Operations of a step for one example, without its products.

    Parameters
    ----------
    stage : Stage
    flow, out : Flow
        What flows in and out.
    form : Format

    Returns
    -------
    Counter of Operation

    Raises
    ------
    TypeError
        If there is no form for this kind of step.

    References
    ----------
    Algorithm 5.
    """
    raise TypeError(
        f"network: the operations of {type(stage).__name__} are not known; register a form of it "
        "with qnn_ref.cost.packed.stage_tally"
    )


@stage_tally.register(XnorDense)
@stage_tally.register(GridDense)
@stage_tally.register(FlattenBits)
@stage_tally.register(FlattenIntegers)
@stage_tally.register(Join)
@stage_tally.register(Rows)
def _(stage: Stage, flow: Flow, out: Flow, form: Format) -> Tally:
    """Products only, or numbers are moved."""
    return Counter()


@stage_tally.register(XnorConv)
@stage_tally.register(GridConv)
def _(stage: Any, flow: Flow, out: Flow, form: Format) -> Tally:
    """A border of zeros: what it added is taken away where the window leaves the image."""
    if stage.one_padding or form.bits:
        return Counter()
    kernel = stage.words.shape[-3:-1]
    geometry = geometry_of(flow.shape[:2], kernel, stage.stride, stage.padding)
    planes = len(stage.words) if isinstance(stage, GridConv) else 1
    return tally("int32", add=planes * int(geometry.border().sum()) * out.shape[-1])


@stage_tally.register
def _(stage: Threshold, flow: Flow, out: Flow, form: Format) -> Tally:
    """A comparison; a float network has batch norm and a hard tanh there."""
    n = math.prod(flow.shape)
    if form.bits:
        return tally(form.other, multiply=2 * n, add=2 * n, compare=2 * n)
    return tally("int32", compare=n)


@stage_tally.register
def _(stage: Levels, flow: Flow, out: Flow, form: Format) -> Tally:
    """Every threshold is compared with, and those that are passed are counted."""
    n = math.prod(flow.shape)
    if form.bits:
        return tally(form.other, multiply=2 * n, add=2 * n, compare=2 * n)
    return tally("int32", compare=len(stage.at) * n, add=len(stage.at) * n)


@stage_tally.register
def _(stage: Scores, flow: Flow, out: Flow, form: Format) -> Tally:
    n = math.prod(flow.shape)
    scaled = stage.scale != 1 and not form.bits
    affine = 0 if stage.mean is None else 2
    return tally(
        form.other,
        multiply=(affine + scaled) * n,
        add=(affine + (stage.bias is not None)) * n,
    )


@stage_tally.register
def _(stage: MaxPool, flow: Flow, out: Flow, form: Format) -> Tally:
    n = (math.prod(stage.size) - 1) * math.prod(out.shape)
    if form.bits:
        return tally(form.other, compare=n)
    return tally("bit", logic=n) if flow.kind == "bits" else tally("int32", compare=n)


@stage_tally.register
def _(stage: SumPool, flow: Flow, out: Flow, form: Format) -> Tally:
    number = form.other if form.bits else "int32"
    return tally(number, add=math.prod(stage.size) * math.prod(out.shape))


@stage_tally.register
def _(stage: GridRecurrent, flow: Flow, out: Flow, form: Format) -> Tally:
    """Scales, bias, gates and state are real, as in training."""
    sums = CELLS[stage.cell] * stage.units
    found = Counter(tally(form.other, add=2 * sums))
    if stage.cell == "LSTM":
        found += tally(form.other, function=5 * stage.units, multiply=9 * stage.units)
        found += tally(form.other, add=4 * stage.units)
    else:
        name = "compare" if stage.activation == "relu" else "function"
        found[Operation(name, form.other)] += stage.units
    if not form.bits:
        scaled = (stage.input_scale != 1) + (stage.state_scale != 1)
        found += tally(form.other, multiply=scaled * sums)
        signs = stage.states == SIGNS
        found += tally(
            form.other,
            compare=(1 if signs else 2) * stage.units,
            multiply=0 if signs else stage.units,
            add=0 if signs else stage.units,
        )
    return found


def packed_bytes(network: PackedNetwork | PackedSequence) -> tuple[int, int]:
    """Bytes of the weights of a packed network in 32 bits each, and of all its arrays.

    Parameters
    ----------
    network : PackedNetwork or PackedSequence

    Returns
    -------
    float_bytes, packed_bytes : int

    Raises
    ------
    TypeError
        If it is no packed network.

    References
    ----------
    Section 5.1.
    """
    _check(network)
    form, bits = format_of("float32"), 0
    stages = list(network.stages)
    while stages:
        stage = stages.pop()
        if isinstance(stage, Join):
            stages += [inner for path in stage.paths for inner in path]
        else:
            for name, array in stage.arrays().items():
                if array.dtype == np.uint64:
                    bits += _held(name, array, stage, form)
    return bits // 8, network.nbytes
