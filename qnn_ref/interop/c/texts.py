"""Text of C: numbers, loops, the places of a window."""

from __future__ import annotations

from textwrap import indent

import numpy as np

from qnn_ref._typing import Pair, Shape


def literal(number: np.generic) -> str:
    """A number as C has it: words in hexadecimal, reals exact to the last bit."""
    if isinstance(number, np.uint64):
        return f"0x{int(number):016x}"
    if isinstance(number, np.floating):
        return float(number).hex() + ("f" if number.dtype == np.float32 else "")
    return whole(int(number))


def whole(number: int) -> str:
    """A whole number that may stand anywhere in an expression."""
    suffix = "" if -(2**31) < number < 2**31 else "LL"
    return f"({number}{suffix})" if number < 0 else f"{number}{suffix}"


def indented(text: str) -> str:
    """A text four columns further right."""
    return indent(text, "    ")


def loop(name: str, count: int, body: str) -> str:
    """A loop from 0; without braces where its body is one line."""
    head = f"for (int {name} = 0; {name} < {count}; {name}++)"
    if body.count("\n") and not body.startswith("for ("):
        return f"{head} {{\n{indented(body)}\n}}"
    return f"{head}\n{indented(body)}"


def loops(counts: dict[str, int], body: str) -> str:
    """Loops within each other, the first one outside."""
    for name, count in reversed(counts.items()):
        body = loop(name, count, body)
    return body


def window(
    shape: Shape, kernel: Pair, stride: Pair, padding: Pair, inside: str, outside: str = ""
) -> str:
    """Loops over the places of the window at (i, j): `r` and `c` in the image, or outside of it."""
    border = f"r < 0 || r >= {shape[0]} || c < 0 || c >= {shape[1]}"
    skip = f"if ({border})\n    continue;"
    if outside:
        skip = f"if ({border}) {{\n{indented(outside)}\n    continue;\n}}"
    r = f"i * {stride[0]} + a - {padding[0]}"
    c = f"j * {stride[1]} + b - {padding[1]}"
    body = f"const int r = {r}, c = {c};\n{skip if padding != (0, 0) else ''}\n{inside}"
    return loops({"a": kernel[0], "b": kernel[1]}, body.replace("\n\n", "\n"))
