"""Operations by kind and number format, and what a product of two operands consists of (section 5).

An operation is counted for each number that it is done with, whatever a machine does side by side:
an XNOR of two words of 64 bits is 64 XNORs. So counts do not depend on a machine, and what one of
them costs is a table of its own (`qnn_ref.cost.energy`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from qnn_ref.checks import choice
from qnn_ref.grid import Encoding, Grid
from qnn_ref.layers.embedding import Embedding
from qnn_ref.layers.weighted import Multiplying, Weighted
from qnn_ref.quantizers import LogQuant, Quantizer


class Operation(NamedTuple):
    """What is done, and with numbers of which format.

    Parameters
    ----------
    name : str
        One of `NAMES`.
    number : str
        "float32", "float16", "int32", "int8" or "bit".

    References
    ----------
    Section 5; Algorithm 5 (XNOR and count), Algorithms 2 and 4 (shifts).
    """

    name: str
    number: str

    def __str__(self) -> str:
        return f"{self.name} {self.number}"


NAMES: Mapping[str, str] = {
    "multiply": "a product of two numbers",
    "add": "a sum or a difference",
    "shift": "a product by a power of two; of a float, an addition to its exponent",
    "AP2": "the power of two next to a float: an addition to its bits, and a mask",
    "compare": "a comparison, also the choice of the larger one",
    "divide": "a quotient",
    "root": "a square root",
    "function": "an exponential inside a tanh or a sigmoid",
    "xnor": "whether two bits agree: a product of signs",
    "count": "a bit that is added to a sum (popcount)",
    "logic": "AND or OR of two bits",
}
"""Every kind of operation, in the order in which tables show them."""

Tally = Counter[Operation]
"""How often each operation is done."""


@dataclass(frozen=True)
class Format:
    """In which numbers a network computes.

    Parameters
    ----------
    name : str
    products, sums : str
        Numbers that are multiplied, and those of the sums.
    other : str
        Numbers of all the rest: batch norm, comparisons, updates.
    bits : int
        That a weight or an activation takes; 0 where each takes what its quantizer gives it.

    References
    ----------
    Section 5: the same network in 32-bit floats and in bits.
    """

    name: str
    products: str
    sums: str
    other: str
    bits: int


FORMATS = {
    form.name: form
    for form in (
        Format("float32", "float32", "float32", "float32", 32),
        Format("float16", "float16", "float16", "float16", 16),
        Format("int32", "int32", "int32", "int32", 32),
        Format("int8", "int8", "int32", "int32", 8),
        Format("quantized", "float32", "float32", "float32", 0),
    )
}
"""By name; "quantized" takes the bits of each operand as its quantizer has them."""


def format_of(name: str) -> Format:
    """Return the format of this name, or say which ones there are.

    Parameters
    ----------
    name : str
        A key of `FORMATS`.

    Returns
    -------
    Format

    Raises
    ------
    ValueError, TypeError
        If there is none of that name.

    References
    ----------
    Section 5.
    """
    return FORMATS[choice("number", name, FORMATS)]


@dataclass(frozen=True)
class Operand:
    """What one side of a product holds.

    Parameters
    ----------
    kind : {"real", "planes", "power"}
        Real numbers, whole numbers of some bit planes, or powers of two with a zero.
    bits : int
        That one number takes.

    References
    ----------
    Section 3: k bits times l bits are k l binary products; gradients are powers of two.
    """

    kind: str
    bits: int


REAL = Operand("real", 32)


def of_grid(grid: Grid | None) -> Operand:
    """Operand of whole numbers of a grid; real numbers without one.

    Parameters
    ----------
    grid : Grid or None

    Returns
    -------
    Operand

    References
    ----------
    Section 2.6; a grid of more than 16 bits (sums of an average pool) is as good as real.
    """
    if grid is None or grid.high - grid.low >= grid.step * 2**16:
        return REAL
    return Operand("planes", grid.planes)


def of_encoding(encoding: Encoding | None) -> Operand:
    """Operand of what flows between two layers: real where it is on no grid.

    Parameters
    ----------
    encoding : Encoding or None

    Returns
    -------
    Operand

    References
    ----------
    Section 2.6.
    """
    return of_grid(None if encoding is None else encoding.grid)


def of_quantizer(quantizer: Quantizer | None) -> Operand:
    """Operand of weights, states or gradients that a quantizer makes.

    Parameters
    ----------
    quantizer : Quantizer or None
        None leaves real numbers.

    Returns
    -------
    Operand

    References
    ----------
    Section 3.
    """
    if quantizer is None:
        return REAL
    bits = getattr(quantizer, "bits", 1)
    if isinstance(quantizer, LogQuant):
        return Operand("power", bits)
    try:
        return of_grid(quantizer.encoding.grid)
    except TypeError:  # its range follows the data, as that of gradients
        return Operand("planes", bits)


def weights_of(layer: Multiplying | Embedding) -> Operand:
    """Operand of a layer's weights.

    Parameters
    ----------
    layer : Dense, Conv2D, RNN, LSTM or Embedding

    Returns
    -------
    Operand

    References
    ----------
    Section 3.
    """
    return of_quantizer(getattr(layer, "weight_quantizer", None))


def gradients_of(layer: Weighted | Multiplying) -> Operand:
    """Operand of the gradient that meets both products of the backward pass.

    Parameters
    ----------
    layer : Dense, Conv2D, RNN or LSTM

    Returns
    -------
    Operand

    References
    ----------
    Section 3, quantized gradients.
    """
    return of_quantizer(layer.gradient_quantizer)


def tally(number: str, **counts: int) -> Tally:
    """Tally of operations with numbers of one format; what is done 0 times is left out.

    Parameters
    ----------
    number : str
        Format of the numbers.
    **counts : int
        How often, by the name of the operation.

    Returns
    -------
    Counter of Operation

    References
    ----------
    Section 5.
    """
    return Counter({Operation(name, number): n for name, n in counts.items() if n})


def product(a: Operand, b: Operand, pairs: int, sums: int, form: Format) -> Tally:
    r"""What a product of matrices consists of, or a convolution: `pairs` terms in `sums` sums.

    ===================== ========================================================================
    of these two          for each pair
    ===================== ========================================================================
    planes, planes        k l XNORs and counts; for each sum k l - 1 shifts and additions of int32
    one bit, real         an addition or a subtraction
    power of two, real    a shift and an addition
    power of two, planes  for each plane a shift and an addition of int32
    two powers of two     a shift and an addition of int32
    more bits, real       a multiplication and an addition
    real, real            a multiplication and an addition
    ===================== ========================================================================

    Parameters
    ----------
    a, b : Operand
    pairs : int
        Pairs of numbers that are multiplied. A sum of K products counts K additions, the first one
        to 0.
    sums : int
        Results.
    form : Format
        Any but "quantized" makes every pair a multiplication and an addition.

    Returns
    -------
    Counter of Operation

    References
    ----------
    Section 3 (k l binary products), section 5.2 (XNOR and count), section 6, eq. (8).
    """
    if form.bits:
        return tally(form.products, multiply=pairs) + tally(form.sums, add=pairs)
    kinds = {a.kind, b.kind}
    if kinds == {"planes"}:
        planes = a.bits * b.bits
        binary = tally("bit", xnor=planes * pairs, count=planes * pairs)
        joints = (planes - 1) * sums
        return binary + tally("int32", shift=joints, add=joints)
    if kinds == {"power"}:
        return tally("int32", shift=pairs, add=pairs)
    if kinds == {"power", "planes"}:
        planes = a.bits if a.kind == "planes" else b.bits
        return tally("int32", shift=planes * pairs, add=planes * pairs)
    if kinds == {"power", "real"}:
        return tally(form.other, shift=pairs, add=pairs)
    one_bit = any(operand.kind == "planes" and operand.bits == 1 for operand in (a, b))
    return tally(form.sums, add=pairs) + (
        Counter() if one_bit else tally(form.products, multiply=pairs)
    )


__all__ = ["FORMATS", "NAMES", "Format", "Operand", "Operation", "Tally", "product"]
