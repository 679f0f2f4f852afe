"""A packed network as one page for a browser, which runs it and shows how.

The page holds the bits, its code and its style, and asks for nothing else. Its code,
`page/page.js`, is Algorithm 5 on typed arrays (rows of bits, XOR, popcount, thresholds), and what
draws them.
"""

from __future__ import annotations

import base64
import json
import re
from importlib.resources import files
from itertools import pairwise
from typing import Any

import numpy as np

from qnn_ref._typing import Array
from qnn_ref.packed import PackedNetwork
from qnn_ref.packed.product_stages import PixelsDense, XnorDense
from qnn_ref.packed.stages import Stage
from qnn_ref.packed.thresholds import Scores, Threshold

SIDES = 4, 64
"""Smallest and largest side of an image that a person can draw and see."""
STROKES = (
    "5,1 3,2 2.2,5 3,8 5,9 7,8 7.8,5 7,2 5,1",
    "5.2,1 4.8,9",
    "2.3,3 3.2,1.5 5.2,1 7,2.2 6.8,4.2 5,6.4 2.2,9 8,8.8",
    "2.5,1.6 5,1 7,2.4 6.2,4.2 4.2,4.9 6.4,5.5 7.4,7.2 6,8.8 4,9.1 2.3,8.3",
    "3,1 2.5,5.2 7.4,5.2|7,1.5 6.8,9.2",
    "7.5,1 3.6,1 3.2,4.4 5.5,4 7.3,5.6 7,7.8 5,9 2.6,8.6",
    "6.4,1 4.2,3 3,6 3.6,8.4 5.4,9.2 7,8 6.8,6.2 5,5.4 3.3,6.4",
    "2.3,1.4 7.8,1.3 6,5 4.6,9.2",
    "5.2,4.8 3.4,3.4 3.8,1.6 5.6,1 7,2 6.6,3.6 5.2,4.8 3.4,6.6 3.8,8.6 5.6,9.1 7,7.6 5.2,4.8",
    "7,3.2 6,1.3 4,1.4 3,3 3.8,4.8 5.8,4.7 7,3.2 6.7,6.2 5.8,9.2",
)
"""A drawing of each digit to begin with: strokes, points from 0 to 10."""


def export(network: PackedNetwork) -> bytes:
    """Write a packed network as a page.

    Parameters
    ----------
    network : PackedNetwork
        Dense layers of one bit on grey images, with thresholds between them.

    Returns
    -------
    bytes
        HTML, style, code and bits in one file.

    Raises
    ------
    ValueError
        If a step or the image has no form on the page; the message names it.

    References
    ----------
    Algorithm 5.
    """
    shape = network.input_shape
    if len(shape) not in (2, 3) or shape[2:] not in ((), (1,)) or not _drawable(shape):
        low, high = SIDES
        raise ValueError(
            f"export: expected grey images with sides from {low} to {high} for a page, got {shape}"
        )
    *rest, scores = network.stages
    assert isinstance(scores, Scores)
    layers = [_layer(rest, number) for number in range(0, len(rest), 2)]
    content = {
        "image": list(shape[:2]),
        "real": scores.dtype,
        "drawing": _drawing(min(shape[:2])),
        "layers": layers,
        "scores": _scores(scores),
    }
    units = [layer["units"] for layer in layers]
    named = {
        "STYLE": _part("page.css"),
        "SCRIPT": _part("page.js"),
        "SIZES": "-".join(map(str, [layers[0]["inputs"], *units])),
        "BYTES": f"{network.nbytes:,}",
        "PIXELS": " × ".join(map(str, shape[:2])),
        "EXAMPLES": "\n".join(map(_example, range(10))) if units[-1] == 10 else "",
        "SCORES": "\n".join(map(_score_row, range(units[-1]))),
        "PLANES": "\n".join(map(_plane, reversed(range(8)))),
        "LAYERS": "\n".join(_card(n, layers) for n in range(len(layers) - 1)),
        "NETWORK": json.dumps(content, allow_nan=False, separators=(",", ":")),
    }
    page = re.sub(r"\{\{([A-Z]+)\}\}", lambda found: named[found[1]], _part("page.html"))
    return f"{page}\n".encode()


def _drawable(shape: tuple[int, ...]) -> bool:
    return all(SIDES[0] <= side <= SIDES[1] for side in shape[:2])


def _part(name: str) -> str:
    return (files("qnn_ref.interop") / "page" / name).read_text(encoding="utf-8").rstrip()


def _layer(stages: list[Stage], number: int) -> dict[str, Any]:
    """A product of bits, and the threshold behind it if it is not the last one."""
    product, *close = stages[number : number + 2]
    wanted = PixelsDense if number == 0 else XnorDense
    if type(product) is not wanted:
        raise ValueError(f"export: step {number} ({type(product).__name__}): has no form on a page")
    assert isinstance(product, XnorDense)
    layer = {"inputs": product.K, "units": len(product.words), "words": _text(product.words, "<u8")}
    for threshold in close:
        if not isinstance(threshold, Threshold):
            kind = type(threshold).__name__
            raise ValueError(f"export: step {number + 1} ({kind}): has no form on a page")
        layer |= {"at": _text(threshold.at, "<i4"), "flip": _text(threshold.flip, "u1")}
    return layer


def _text(array: Array, dtype: str) -> str:
    """The bytes of an array, lowest first, in letters."""
    return base64.b64encode(np.ascontiguousarray(array, dtype).tobytes()).decode("ascii")


def _scores(scores: Scores) -> dict[str, Any]:
    """Numbers of the last step; JSON has all their digits."""
    scale = float(np.dtype(scores.dtype).type(scores.scale))
    arrays = {name: array.astype(float).tolist() for name, array in scores.arrays().items()}
    return {"scale": scale} | arrays


def _drawing(side: int) -> dict[str, Any]:
    """How a drawing becomes an image: the box of the ink, the pen's radius, what is centred.

    MNIST's digits fit a box of 20 in 28, their centre of mass in the middle; the 8x8 ones fill it.
    With these pens a drawing has about as much ink as an image of the set: 102 and 20 pixels.
    """
    if side < 16:
        return {"box": side, "pen": 0.085 * side, "mass": False}
    return {"box": side * 20 / 28, "pen": side * 1.4 / 28, "mass": True}


def _example(digit: int) -> str:
    """A button that draws a digit; its strokes are JSON, rows of [x, y] from 0 to 1."""
    strokes = [
        rounded([tuple(map(float, point.split(","))) for point in stroke.split()])
        for stroke in STROKES[digit].split("|")
    ]
    points = [[[round(v / 10, 3) for v in point] for point in stroke] for stroke in strokes]
    text = json.dumps(points, allow_nan=False)
    return f'<button data-strokes="{text}" aria-label="Draw a {digit}">{digit}</button>'


def rounded(points: list[tuple[float, ...]], times: int = 2) -> list[tuple[float, ...]]:
    """A row of points with its corners cut: each time a quarter from both ends of every line."""
    for _ in range(times):
        cut = [points[0]]
        for p, q in pairwise(points):
            cut += [tuple(a + t * (b - a) for a, b in zip(p, q, strict=True)) for t in (0.25, 0.75)]
        points = [*cut, points[-1]]
    return points


def _score_row(k: int) -> str:
    bar = '<span class="track"><span class="bar"></span></span>'
    return (
        f'<li><button id="class{k}"><span>{k}</span>{bar}<span class="score"></span></button></li>'
    )


def _plane(n: int) -> str:
    label = f'role="img" aria-label="Bit plane {n}, which counts {2**n} times"'
    return (
        f'<figure><canvas id="plane{n}" {label}></canvas><figcaption>{2**n} ×</figcaption></figure>'
    )


def _card(number: int, layers: list[dict[str, Any]]) -> str:
    """The part of the page about a hidden layer."""
    inputs, units = layers[number]["inputs"], layers[number]["units"]
    bits = f"Bits of layer {number + 1}: arrow keys choose a unit"
    sums = f"Sums of layer {number + 1} against their thresholds, smallest first"
    return f"""\
  <div>
    <h3>Layer {number + 1}: {inputs} to {units} <small>line {1 if number == 0 else 2}</small></h3>
    <canvas id="bits{number}" tabindex="0" role="img" aria-describedby="unit"
            aria-label="{bits}"></canvas>
    <p class="hint" id="lit{number}"></p>
    <canvas id="sums{number}" class="sums" width="1024" height="240" role="img"
            aria-label="{sums}"></canvas>
  </div>"""
