"""The file in C as a whole."""

from __future__ import annotations

from math import prod

from qnn_ref import __version__
from qnn_ref.grid import PIXELS
from qnn_ref.interop.c.program import KINDS, Program, Value
from qnn_ref.interop.c.steps import run_steps
from qnn_ref.interop.c.texts import indented
from qnn_ref.interop.c.thresholds import scores
from qnn_ref.packed import PackedNetwork
from qnn_ref.packed.stages import Flow
from qnn_ref.packed.thresholds import Scores


def export(network: PackedNetwork) -> bytes:
    """Write a packed network as C.

    Parameters
    ----------
    network : PackedNetwork

    Returns
    -------
    bytes
        Defines `int predict(const uint8_t *image, float *scores)`; for a network of float64 the
        scores are double.

    Raises
    ------
    ValueError
        If a step has no form in C; the message names it.

    References
    ----------
    Algorithm 5.
    """
    last = network.stages[-1]
    assert isinstance(last, Scores)
    program = Program()
    image = Value("image", Flow("pixels", network.input_shape, PIXELS))
    sums = run_steps(program, network.stages[:-1], image)
    program.place = str(len(network.stages) - 1)
    scores(program, last, sums)
    call = f"int predict(const uint8_t *image, {KINDS[last.dtype]} *scores)"
    body = "\n".join([*program.buffers, "", *program.calls])
    parts = [
        head(network, call),
        *program.helpers(),
        *program.tables,
        *program.functions,
        f"{call}\n{{\n{indented(body)}\n}}\n",
    ]
    return "\n\n".join(parts).encode("ascii")


def head(network: PackedNetwork, call: str) -> str:
    """What a reader of the file must know, and what it includes."""
    shape = " x ".join(map(str, network.input_shape))
    pixels, classes = prod(network.input_shape), network.output_shape[-1]
    return f"""\
/* A quantized neural network: {shape} pixels of 8 bits in, {classes} scores out.
   Made by qnn_ref {__version__}, whose packed network gives the same scores, bit for bit.

   {call}

   image    {pixels} bytes, the channels of a pixel side by side
   scores   {classes} numbers to be filled
   returns  the class, 0 to {classes - 1}: the largest score, the first one of equals; -1 where a
            score is not finite, which then is no answer

   Bits lie in words, the first one lowest: 1 for +1, 0 for -1, and zeros behind the last one.
   Between the steps everything is a whole number. What they hand on stands in static buffers, so
   two threads must not call it at once. C99, no library; -mpopcnt or -march=native is faster. */

#include <stdint.h>
#include <string.h>

#ifdef __FAST_MATH__
#error "-ffast-math changes the scores"
#endif

{call};"""
