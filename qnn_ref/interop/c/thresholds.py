"""Thresholds and scores in C."""

from __future__ import annotations

import numpy as np

from qnn_ref.bits.words import pack_bits
from qnn_ref.interop.c.program import KINDS, Program, Value
from qnn_ref.interop.c.texts import indented, literal, loop, loops
from qnn_ref.packed.stages import Flow, Stage
from qnn_ref.packed.thresholds import Levels, Scores, Threshold


def finished(program: Program, stage: Stage | None, flow: Flow, place: str) -> tuple[Value, str]:
    """The buffer of what a step gives, and the line that stores what becomes of the sum `s`.

    Parameters
    ----------
    program : Program
    stage : Threshold, Levels or None
        What the sum is compared with; None stores it as it is.
    flow : Flow
        Of the sums.
    place : str
        An expression, empty where there is one place; `u` is the channel.

    Returns
    -------
    result : Value
    line : str
    """
    units = flow.shape[-1]
    at_unit = f"({place}) * {units} + u" if place else "u"
    if stage is None:
        return program.value(flow), f"y[{at_unit}] = s;"
    result = program.value(stage.output(flow))
    if isinstance(stage, Threshold):
        passed = compared(program, stage, "u")
        row = f"y + ({place}) * {result.words}" if place else "y"
        return result, f"put({row}, u, {passed});"
    assert isinstance(stage, Levels)
    codes, steps = program.table("codes", stage.codes), len(stage.at)
    count = loop("k", steps, f"level += {compared(program, stage, f'k * {units} + u')};")
    return result, f"int level = 0;\n{count}\ny[{at_unit}] = {codes}[level];"


def compared(program: Program, stage: Threshold | Levels, index: str) -> str:
    """Whether the sum `s` reaches the threshold of a unit, turned where batch norm turns it."""
    passed = f"s >= {program.table('at', stage.at)}[{index}]"
    if not stage.flip.any():
        return passed
    flip = program.table("flip", pack_bits(stage.flip.reshape(-1)))
    return f"({passed}) != bit({flip}, {index})"


def threshold(program: Program, stage: Threshold | Levels, value: Value) -> Value:
    """Thresholds of sums that are stored."""
    about = f"Step {program.place.replace('_', '/')}, {type(stage).__name__}: Sign(BN(a))."
    result, finish = finished(program, stage, value.flow, "i")
    body = f"const int32_t s = x[i * {value.channels} + u];\n{finish}"
    program.function(about, value, result, loops({"i": value.places, "u": value.channels}, body))
    return result


AFFINE = {"bias": "+", "mean": "-", "inverse_deviation": "*", "gain": "*", "shift": "+"}
"""What the arrays of `Scores` do, in this order."""


def scores(program: Program, stage: Scores, value: Value) -> None:
    """The last step: real numbers, in the order of the trained code."""
    kind, arrays = KINDS[stage.dtype], stage.arrays()
    lines = [f"volatile {kind} y = ({kind})x[k];"]
    if stage.scale != 1:
        lines.append(f"y = y * {literal(np.dtype(stage.dtype).type(stage.scale))};")
    for name in [name for name in AFFINE if name in arrays]:
        lines.append(f"y = y {AFFINE[name]} {program.table(name, arrays[name])}[k];")
    body = loop("k", value.channels, "\n".join([*lines, LARGEST]))
    body = f"int best = 0;\n{body}\nreturn best;"
    name = f"step_{program.place}"
    program.functions.append(
        f"/* Step {program.place}, Scores: Algorithm 5, line 3. {VOLATILE} */\n"
        f"static int {name}(const int32_t *x, {kind} *scores)\n{{\n{indented(body)}\n}}"
    )
    program.calls.append(f"return {name}({value.name}, scores);")


VOLATILE = """Each operation is rounded by itself, since y is
   volatile: no two of them become one, and no wider register holds what is between."""
LARGEST = """\
if (!(y - y == 0))
    return -1; /* not finite */
scores[k] = y;
if (y > scores[best])
    best = k;"""
