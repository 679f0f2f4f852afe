"""Products in C: every one is rows of bits against rows of bits, plane by plane.

A code of a grid is `low + step * level`, and its level is written in bit planes (7). Where the
grids of both factors are centred, each bit stands for a sign and the product is that of Algorithm
5, XNOR and popcount; else it is AND and popcount, with the sums of both levels beside it.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from qnn_ref._typing import Pair, Shape
from qnn_ref.grid import SIGNS, Grid
from qnn_ref.interop.c.program import Program, Value
from qnn_ref.interop.c.texts import loop, loops, whole, window
from qnn_ref.interop.c.thresholds import finished
from qnn_ref.packed.product_stages import GridConv, GridDense, GridProduct, XnorConv, XnorDense
from qnn_ref.packed.stages import Flow, Stage


@dataclass(frozen=True)
class Planes:
    """One factor: the grid of its codes, and the words from one of its planes to the next."""

    grid: Grid
    apart: int

    def at(self, pointer: str, index: str) -> str:
        """Where the row of bits of a plane lies."""
        return pointer if self.grid.planes == 1 else f"{pointer} + {index} * {self.apart}"


@dataclass(frozen=True)
class Factors:
    """Both factors of a product: rows `p` and `q` of so many channels, in so many words."""

    x: Planes
    w: Planes
    channels: int
    words: int

    def add_products(self) -> str:
        """Lines that add the product of the two rows of codes to the sum `s`."""
        x, w = self.x.grid, self.w.grid
        n, m = {"n": x.planes}, {"m": w.planes}
        p, q = self.x.at("p", "n"), self.w.at("q", "m")
        if x.offset == 0 == w.offset:
            several = {name: count for name, count in (n | m).items() if count > 1}
            weight = power(x.step * w.step // 4, several, "1")
            xnor = f"({self.channels} - 2 * differ({p}, {q}, {self.words}))"
            return loops(several, f"s += {weight}{xnor};" if weight else f"s += {xnor[1:-1]};")
        return "\n".join(
            [
                f"int64_t sum = {whole(self.channels * x.low * w.low)};",
                add_levels(w.low * x.step, f"ones({p}, {self.words})", n),
                add_levels(x.low * w.step, f"ones({q}, {self.words})", m),
                add_levels(x.step * w.step, f"both({p}, {q}, {self.words})", n | m),
                "s += (int32_t)sum;",
            ]
        )

    def add_outside(self) -> str:
        """Lines that add the weights `q` times the largest code, which stands outside."""
        high, w = self.x.grid.high, self.w.grid
        ones = f"ones({self.w.at('q', 'm')}, {self.words})"
        return "\n".join(
            [
                f"int64_t sum = {whole(high * self.channels * w.low)};",
                add_levels(high * w.step, ones, {"m": w.planes}),
                "s += (int32_t)sum;",
            ]
        )


def add_levels(factor: int, count: str, planes: dict[str, int]) -> str:
    """Lines that add ones of all planes, each with its weight."""
    several = {name: size for name, size in planes.items() if size > 1}
    return loops(several, f"sum += {power(factor, several, '(int64_t)1')}(int64_t){count};")


def power(factor: int, planes: dict[str, int], one: str) -> str:
    """The weight of a plane, as the left side of a product; nothing where it is 1."""
    parts = [whole(factor)] * (factor != 1)
    if planes:
        exponent = f"({' + '.join(planes)})" if len(planes) > 1 else "".join(planes)
        parts.append(f"({one} << {exponent})")
    return "".join(f"{part} * " for part in parts)


def product(program: Program, stage: Stage, value: Value, behind: Stage | None) -> Value:
    """Sums of a product, or only what the threshold behind it makes of each."""
    assert isinstance(stage, XnorDense | XnorConv | GridProduct)
    flow, words = stage.output(value.flow), stage.words
    grid, weights = value.flow.grid, SIGNS
    if isinstance(stage, GridProduct):
        grid, weights, words = stage.grid, stage.weights, words[0]
    conv = isinstance(stage, XnorConv | GridConv)
    about = described(program, stage, value.flow, behind)
    if not conv:  # one place, which has all numbers as its channels
        value = value.reshaped((prod(value.flow.shape),))
    x = as_planes(program, value, grid)
    factors = Factors(
        Planes(grid, value.places * value.words),
        Planes(weights, words.size),
        value.channels,
        value.words,
    )
    name = program.table("w", stage.words)
    result, finish = finished(program, behind, flow, f"i * {flow.shape[1]} + j" if conv else "")
    if isinstance(stage, XnorConv | GridConv):
        sums = window_sums(stage, words.shape[1:3], value.flow.shape, factors, name)
        sizes = {"i": flow.shape[0], "j": flow.shape[1], "u": len(words)}
    else:
        rows = f"const uint64_t *p = x, *q = {name} + u * {value.words};"
        sums = f"{rows}\nint32_t s = 0;\n{factors.add_products()}".replace("s = 0;\ns +=", "s =")
        sizes = {"u": len(words)}
    program.function(about, x, result, loops(sizes, f"{sums}\n{finish}"))
    return result


def window_sums(
    stage: XnorConv | GridConv, kernel: Pair, image: Shape, factors: Factors, table: str
) -> str:
    """Lines that add the products of all places of a window."""
    tap = f"(u * {kernel[0]} + a) * {kernel[1]} + b"
    q = f"const uint64_t *q = {table} + ({tap}) * {factors.words};"
    p = f"const uint64_t *p = x + (r * {image[1]} + c) * {factors.words};"
    outside = f"{q}\n{factors.add_outside()}" if stage.one_padding else ""
    inside = f"{q}\n{p}\n{factors.add_products()}"
    sums = window(image, kernel, stage.stride, stage.padding, inside, outside)
    return f"int32_t s = 0;\n{sums}"


def described(program: Program, stage: Stage, flow: Flow, behind: Stage | None) -> str:
    """What a product does, and the line of the algorithm."""
    names = type(stage).__name__ + (f" and {type(behind).__name__}" if behind else "")
    last = behind is None and isinstance(stage, XnorDense | GridDense)
    line = 1 if flow.kind == "pixels" else 3 if last else 2
    return f"Step {program.place.replace('_', '/')}, {names}: Algorithm 5, line {line}."


def as_planes(program: Program, value: Value, grid: Grid) -> Value:
    """Bit planes of what flows in, (planes, places, words); bits are such already."""
    if value.flow.kind == "bits":
        return value
    planes, places, channels = grid.planes, value.places, value.channels
    level = f"x[i * {channels} + k]" if places > 1 else "x[k]"
    if value.flow.kind == "integers":
        level = f"((uint32_t){level} - (uint32_t){whole(grid.low)}) / {grid.step}"
    flow = Flow("bits", (planes, places, channels), SIGNS)
    result = program.value(flow, "_planes")
    row = f"y + (n * {places} + i) * {value.words}" if places > 1 else f"y + n * {value.words}"
    bits = loop("n", planes, f"put({row}, k, level >> n & 1);")
    sizes = {"i": places, "k": channels} if places > 1 else {"k": channels}
    body = loops(sizes, f"const uint32_t level = {level};\n{bits}")
    about = f"Bit planes of the input of step {program.place.replace('_', '/')}, lowest first (7)."
    program.function(about, value, result, body, "_planes")
    return result
