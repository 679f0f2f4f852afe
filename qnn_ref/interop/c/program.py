"""The parts of a program in C: tables, buffers, functions, and the helpers that these call."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from math import prod

from qnn_ref._typing import Array, Shape
from qnn_ref.interop.c.texts import indented, literal
from qnn_ref.packed.stages import Flow

KINDS = {"uint64": "uint64_t", "int32": "int32_t", "float32": "float", "float64": "double"}
"""Types of tables."""
ROW = 100
"""Characters of a line of a table."""

HELPERS = {
    "popcount": """\
/* Ones in a word: one instruction where the processor has it, else sums of 2, 4, 8 bits. */
static int popcount(uint64_t x)
{
#if defined(__POPCNT__) || defined(__aarch64__) || defined(__riscv_zbb)
    return __builtin_popcountll(x);
#else
    x -= x >> 1 & 0x5555555555555555;
    x = (x & 0x3333333333333333) + (x >> 2 & 0x3333333333333333);
    x = (x + (x >> 4)) & 0x0f0f0f0f0f0f0f0f;
    return (int)(x * 0x0101010101010101 >> 56);
#endif
}""",
    "differ": """\
/* Places where two rows of bits differ; both have zeros behind their last bit. */
static int differ(const uint64_t *x, const uint64_t *w, int words)
{
    int sum = 0;
    for (int k = 0; k < words; k++)
        sum += popcount(x[k] ^ w[k]);
    return sum;
}""",
    "both": """\
/* Places where two rows of bits have a one. */
static int both(const uint64_t *x, const uint64_t *w, int words)
{
    int sum = 0;
    for (int k = 0; k < words; k++)
        sum += popcount(x[k] & w[k]);
    return sum;
}""",
    "ones": """\
/* Ones in a row of bits. */
static int ones(const uint64_t *x, int words)
{
    int sum = 0;
    for (int k = 0; k < words; k++)
        sum += popcount(x[k]);
    return sum;
}""",
    "bit": """\
/* A bit of a row. */
static int bit(const uint64_t *x, int k)
{
    return (int)(x[k / 64] >> k % 64 & 1);
}""",
    "put": """\
/* Set a bit of a row that was zero. */
static void put(uint64_t *y, int k, int bit)
{
    y[k / 64] |= (uint64_t)bit << k % 64;
}""",
}
"""Functions that steps call, each before those that call it."""


@dataclass(frozen=True)
class Value:
    """What flows between two steps: the buffer that it lies in, and what it stands for.

    Parameters
    ----------
    name : str
    flow : Flow
        Bits lie in words of 64, those of a place (all but the last axis) in words of their own.
    """

    name: str
    flow: Flow

    @property
    def places(self) -> int:
        """Rows of channels."""
        return prod(self.flow.shape[:-1])

    @property
    def channels(self) -> int:
        """Numbers of a place."""
        return self.flow.shape[-1]

    @property
    def words(self) -> int:
        """Words of a place."""
        return -(-self.channels // 64)

    @property
    def size(self) -> int:
        """Elements of the buffer."""
        return self.places * (self.words if self.flow.kind == "bits" else self.channels)

    @property
    def kind(self) -> str:
        """Type of the elements."""
        return {"pixels": "uint8_t", "bits": "uint64_t", "integers": "int32_t"}[self.flow.kind]

    def reshaped(self, shape: Shape) -> Value:
        """The same numbers in another shape."""
        return Value(self.name, Flow(self.flow.kind, shape, self.flow.grid))


@dataclass
class Program:
    """The parts of the file.

    Parameters
    ----------
    place : str
        Of the step that is being written: "3", in a path of it "3_1_0". Names end in it.
    """

    place: str = ""
    tables: list[str] = field(default_factory=list, init=False)
    functions: list[str] = field(default_factory=list, init=False)
    buffers: list[str] = field(default_factory=list, init=False)
    calls: list[str] = field(default_factory=list, init=False)

    def table(self, name: str, array: Array) -> str:
        """Keep an array as a table of constants; its name in the program."""
        name = f"{name}_{self.place}"
        lines = [""]
        for text in map(literal, array.reshape(-1)):
            if len(lines[-1]) + len(text) > ROW - 6:
                lines.append("")
            lines[-1] += f" {text},"
        body = "\n".join(f"   {line}" for line in lines)
        kind = KINDS[array.dtype.name]
        self.tables.append(f"static const {kind} {name}[{array.size}] = {{\n{body}\n}};")
        return name

    def value(self, flow: Flow, suffix: str = "") -> Value:
        """Declare a buffer for what flows out of the step."""
        value = Value(f"a_{self.place}{suffix}", flow)
        self.buffers.append(f"static {value.kind} {value.name}[{value.size}];")
        return value

    def function(
        self, about: str, x: Value, y: Value, body: str, suffix: str = "", fresh: bool = True
    ) -> None:
        """Append the function that fills buffer `y` from buffer `x`, and its call.

        In its body the two are called so; bits of `y` are zero when it begins, if it is the first
        one (`fresh`) that fills it.
        """
        name = f"step_{self.place}{suffix}"
        if fresh and y.flow.kind == "bits":
            body = f"memset(y, 0, {y.size} * sizeof *y);\n{body}"
        head = f"/* {about} */\nstatic void {name}(const {x.kind} *x, {y.kind} *y)"
        self.functions.append(f"{head}\n{{\n{indented(body)}\n}}")
        self.calls.append(f"{name}({x.name}, {y.name});")

    def helpers(self) -> list[str]:
        """The helpers that the functions call, and those that these call."""
        text, found = "\n".join(self.functions), []
        for name, helper in reversed(HELPERS.items()):
            if re.search(rf"\b{name}\(", text):
                found.append(helper)
                text += helper
        return found[::-1]
