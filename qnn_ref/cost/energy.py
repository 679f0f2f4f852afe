"""Energy of operations and of memory accesses, and slices of an FPGA (section 5).

The prices of the paper's two tables are Horowitz's (2014) for 45 nm and 0.9 V. They have
multiplications, additions and reads of memory. What they have not is priced here by an assumption
that is written beside it; none of them is the paper's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from qnn_ref.checks import whole
from qnn_ref.cost.operations import Operand, Operation

HOROWITZ: Mapping[Operation, float] = {
    Operation("multiply", "int8"): 0.2,
    Operation("multiply", "int32"): 3.1,
    Operation("multiply", "float16"): 1.1,
    Operation("multiply", "float32"): 3.7,
    Operation("add", "int8"): 0.03,
    Operation("add", "int32"): 0.1,
    Operation("add", "float16"): 0.4,
    Operation("add", "float32"): 0.9,
}
"""Picojoules of an operation: the paper's table."""

FULL_ADDER = HOROWITZ[Operation("add", "int8")] / 8
"""Picojoules of one bit of an addition of 8 bits."""

_INT32, _INT8 = HOROWITZ[Operation("add", "int32")], HOROWITZ[Operation("add", "int8")]

ASSUMED: Mapping[Operation, float] = {
    Operation("xnor", "bit"): FULL_ADDER,
    Operation("count", "bit"): FULL_ADDER,
    Operation("logic", "bit"): FULL_ADDER,
    Operation("shift", "int32"): _INT32,
    Operation("compare", "int32"): _INT32,
    Operation("compare", "float32"): _INT32,
    Operation("compare", "float16"): _INT32,
    Operation("AP2", "float32"): _INT32,
    Operation("AP2", "float16"): _INT32,
    Operation("AP2", "int32"): _INT32,
    Operation("shift", "float32"): _INT8,
    Operation("shift", "float16"): _INT8,
    **{
        Operation(name, number): HOROWITZ[Operation("multiply", number)]
        for name in ("divide", "root", "function")
        for number in ("float32", "float16", "int32")
    },
}
"""Picojoules of what the table has not; `ASSUMPTIONS` says why."""

PRICES: Mapping[Operation, float] = {**HOROWITZ, **ASSUMED}
"""Picojoules of every operation."""


class Level(NamedTuple):
    """A memory, and what 64 bits out of it or into it cost.

    Parameters
    ----------
    name : str
    bytes : int
        That it holds; 0 for any number.
    low, high : float
        Picojoules of an access of 64 bits; the paper's table has a range for DRAM.

    References
    ----------
    Section 5, energy of memory accesses.
    """

    name: str
    bytes: int
    low: float
    high: float


LEVELS = (
    Level("8 KB", 8 * 2**10, 10.0, 10.0),
    Level("32 KB", 32 * 2**10, 20.0, 20.0),
    Level("1 MB", 2**20, 100.0, 100.0),
    Level("DRAM", 0, 1300.0, 2600.0),
)
"""The paper's table, from the smallest to the largest."""

ACCESS_BITS = 64

ASSUMPTIONS = (
    "multiply and add: the paper's table (Horowitz, 45 nm, 0.9 V); all other prices are ours",
    "XNOR, AND, OR and the count of one bit: a full adder each, an eighth of an addition of int8 "
    "(0.00375 pJ), which is more than a gate needs",
    "a comparison, a shift of int32 and AP2: an addition of int32; a shift of a float: an "
    "addition of int8, to its exponent",
    "a division, a root, an exponential: a multiplication, which is too little; there are few",
    "a window at the border costs as much as any other, and a sum of K products K additions",
    "a layer reads its inputs and weights once and writes its outputs once, in accesses of 64 "
    "bits; layers are not fused",
    "an array lies in the smallest memory that holds all of it (8 KB, 32 KB, 1 MB, DRAM); DRAM at "
    "its lower price, 1.3 nJ an access (the table ends at 2.6)",
    "the loss, the instructions themselves, and what leaks are left out",
)
"""What every figure of `qnn_ref.cost` rests on, a sentence each."""

FLOAT_MULTIPLIER_SLICES, XNOR_SLICES = 200, 1
"""Slices of a Xilinx FPGA: about so many for a multiplier of 32-bit floats, one for an XNOR."""


def picojoules(operations: Mapping[Operation, int]) -> float:
    r"""Energy of some operations: :math:`\sum_o n_o\,p_o`.

    Parameters
    ----------
    operations : mapping of Operation to int
        How often each is done.

    Returns
    -------
    float
        A scalar, in pJ.

    Raises
    ------
    TypeError, ValueError
        If an operation has no price, or a count is no whole number of at least 0.

    References
    ----------
    Section 5, energy of operations.
    """
    energy = 0.0
    for operation, count in operations.items():
        if operation not in PRICES:
            raise ValueError(f"operations: {operation} has no price in `energy.PRICES`")
        energy += whole(f"operations[{operation}]", count, 0) * PRICES[operation]
    return energy


def level_of(bits: int) -> Level:
    """Name the smallest memory that holds so many bits.

    Parameters
    ----------
    bits : int
        At least 0.

    Returns
    -------
    Level

    Raises
    ------
    TypeError, ValueError
        If that is no whole number, or below 0.

    References
    ----------
    Section 5; that an array lies in the smallest one is our assumption.
    """
    bits = whole("bits", bits, 0)
    return next(level for level in LEVELS if not level.bytes or bits <= 8 * level.bytes)


def slices(pairs: Iterable[tuple[Operand, Operand, int]]) -> int:
    r"""Slices of an FPGA, had every multiplication its own: 200 for floats, k l for planes.

    Parameters
    ----------
    pairs : iterable of (Operand, Operand, int)
        Both operands of a product, and how many pairs of numbers it multiplies.

    Returns
    -------
    int
        A single bit that meets a real number takes no multiplier at all: one slice, as an XNOR
        (its sign is turned). A power of two is a shift; it is counted as one slice for each bit of
        the other operand. More bits that meet a real number count as floats.

    References
    ----------
    Section 5.2: about 200 slices for a 32-bit float multiplier, one for an XNOR gate. All but these
    two numbers is our reading; adders are not counted, as in the paper's sentence.
    """
    return sum(count * _slices_of(a, b) for a, b, count in pairs)


def _slices_of(a: Operand, b: Operand) -> int:
    kinds = {a.kind, b.kind}
    if kinds == {"planes"}:
        return XNOR_SLICES * a.bits * b.bits
    if "power" in kinds:
        other = b if a.kind == "power" else a
        return XNOR_SLICES * other.bits
    if any(operand.kind == "planes" and operand.bits == 1 for operand in (a, b)):
        return XNOR_SLICES
    return FLOAT_MULTIPLIER_SLICES
