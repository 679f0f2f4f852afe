"""Steps in C that multiply nothing: pools, flattening, joined paths; and the table of all steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from qnn_ref.bits.words import pack_bits
from qnn_ref.interop.c.products import product
from qnn_ref.interop.c.program import Program, Value
from qnn_ref.interop.c.texts import loops, window
from qnn_ref.interop.c.thresholds import threshold
from qnn_ref.packed.product_stages import (
    GridConv,
    GridDense,
    PixelsConv,
    PixelsDense,
    XnorConv,
    XnorDense,
)
from qnn_ref.packed.shape_stages import FlattenBits, FlattenIntegers, Join, MaxPool, Pool, SumPool
from qnn_ref.packed.stages import Stage
from qnn_ref.packed.thresholds import Levels, Threshold

PRODUCTS = PixelsDense, XnorDense, PixelsConv, XnorConv, GridDense, GridConv


def run_steps(program: Program, stages: Sequence[Stage], value: Value, prefix: str = "") -> Value:
    """Write steps in a row; what flows out of the last one.

    A threshold right behind a product is part of its function: the sums are then never stored.

    Parameters
    ----------
    program : Program
    stages : sequence of Stage
    value : Value
        What flows in.
    prefix : str
        Of their numbers.

    Returns
    -------
    Value

    Raises
    ------
    ValueError
        If a step has no form in C; the message names it.
    """
    number = 0
    while number < len(stages):
        stage, *behind = stages[number : number + 2]
        program.place = f"{prefix}{number}"
        if isinstance(stage, PRODUCTS):
            close = behind[0] if behind and isinstance(behind[0], Threshold | Levels) else None
            value = product(program, stage, value, close)
            number += close is not None
        elif type(stage) in STEPS:
            value = STEPS[type(stage)](program, stage, value)
        else:
            place, kind = program.place.replace("_", "/"), type(stage).__name__
            raise ValueError(f"export: step {place} ({kind}): has no form in C")
        number += 1
    return value


def pool(program: Program, stage: Pool, value: Value) -> Value:
    """Of each window the maximum, or the sum; of bits the maximum is OR, and AND where turned."""
    result = program.value(stage.output(value.flow))
    bits = value.flow.kind == "bits"
    source = f"x[(r * {value.flow.shape[1]} + c) * {value.size // value.places} + k]"
    first, last = "0", "found"
    if isinstance(stage, SumPool):
        if bits:
            row = f"x + (r * {value.flow.shape[1]} + c) * {value.words}"
            source = f"2 * bit({row}, k) - 1"
        kind, add = "int32_t", f"found += {source};"
    elif bits:
        turned = ""
        if isinstance(stage, MaxPool) and stage.flip is not None:
            turned = f" ^ {program.table('flip', pack_bits(stage.flip))}[k]"
        kind, add, last = "uint64_t", f"found |= {source}{turned};", f"found{turned}"
    else:
        kind, first = "int32_t", "INT32_MIN"
        add = f"if ({source} > found)\n    found = {source};"
    inside = window(value.flow.shape, stage.size, stage.stride, stage.padding, add)
    count = result.size // result.places
    target = f"y[(i * {result.flow.shape[1]} + j) * {count} + k]"
    body = f"{kind} found = {first};\n{inside}\n{target} = {last};"
    sizes = {"i": result.flow.shape[0], "j": result.flow.shape[1], "k": count}
    program.function(about(program, stage), value, result, loops(sizes, body))
    return result


def flatten_bits(program: Program, stage: FlattenBits, value: Value) -> Value:
    """All bits in one row: nothing to do where the words of a place are full."""
    flow = stage.output(value.flow)
    if value.channels % 64 == 0:
        return Value(value.name, flow)
    result = program.value(flow)
    copy = f"put(y, i * {value.channels} + k, bit(x + i * {value.words}, k));"
    body = loops({"i": value.places, "k": value.channels}, copy)
    program.function(about(program, stage), value, result, body)
    return result


def flatten_integers(program: Program, stage: FlattenIntegers, value: Value) -> Value:
    """Integers lie in one row already."""
    del program
    return Value(value.name, stage.output(value.flow))


def join(program: Program, stage: Join, value: Value) -> Value:
    """The paths one after the other, then what they give side by side."""
    place = program.place
    paths = [
        run_steps(program, path, value, f"{place}_{number}_")
        for number, path in enumerate(stage.paths)
    ]
    program.place = place
    result, first = program.value(stage.output(value.flow)), 0
    for number, part in enumerate(paths):
        if result.flow.kind == "bits":
            source = f"bit(x + i * {part.words}, k)"
            copy = f"put(y + i * {result.words}, {first} + k, {source});"
        else:
            copy = f"y[i * {result.channels} + {first} + k] = x[i * {part.channels} + k];"
        body = loops({"i": part.places, "k": part.channels}, copy)
        program.function(about(program, stage), part, result, body, f"_{number}", number == 0)
        first += part.channels
    return result


def about(program: Program, stage: Stage) -> str:
    """What a function does: number and name of the step."""
    return f"Step {program.place.replace('_', '/')}, {type(stage).__name__}."


STEPS: dict[type[Stage], Callable] = {
    Threshold: threshold,
    Levels: threshold,
    MaxPool: pool,
    SumPool: pool,
    FlattenBits: flatten_bits,
    FlattenIntegers: flatten_integers,
    Join: join,
}
"""What writes each kind of step, but for products."""
