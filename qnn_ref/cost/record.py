"""A cost: the parts of a pass, each with its operations and what it moves, and their sums."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

from qnn_ref.checks import choice, real
from qnn_ref.cost.energy import (
    ACCESS_BITS,
    ASSUMPTIONS,
    FLOAT_MULTIPLIER_SLICES,
    LEVELS,
    PRICES,
    level_of,
    picojoules,
    slices,
)
from qnn_ref.cost.operations import NAMES, Operation, Tally
from qnn_ref.cost.products import Product

PHASES = ("forward", "backward", "update")
"""Of a step of training."""


class Transfer(NamedTuple):
    """An array that is read or written.

    Parameters
    ----------
    what : str
        "inputs", "weights", "outputs", ...
    held : int
        Bits of the whole array: they decide in which memory it lies.
    moved : int
        Bits that are read or written.

    References
    ----------
    Section 5, energy of memory accesses.
    """

    what: str
    held: int
    moved: int

    @property
    def accesses(self) -> int:
        """Accesses of 64 bits."""
        return -(-self.moved // ACCESS_BITS)


def once(what: str, bits: int) -> Transfer:
    """Transfer of an array that is read or written once.

    Parameters
    ----------
    what : str
    bits : int
        Of the whole array.

    Returns
    -------
    Transfer

    References
    ----------
    Section 5.
    """
    return Transfer(what, bits, bits)


@dataclass(frozen=True)
class Part:
    """A layer in one phase.

    Parameters
    ----------
    place : str
        As `Sequential.walk` names it, or the number and kind of a packed step.
    phase : str
        One of `PHASES`.
    operations : Counter of Operation
    transfers : tuple of Transfer
    products : tuple of Product

    References
    ----------
    Section 5.
    """

    place: str
    phase: str
    operations: Tally
    transfers: tuple[Transfer, ...] = ()
    products: tuple[Product, ...] = ()

    @property
    def pairs(self) -> int:
        """Pairs of numbers that its products multiply."""
        return sum(product.pairs for product in self.products)

    @property
    def operation_energy(self) -> float:
        """Picojoules of its operations (a scalar)."""
        return picojoules(self.operations)

    @property
    def memory_energy(self) -> float:
        """Picojoules of what it moves, DRAM at its lower price (a scalar)."""
        return sum(t.accesses * level_of(t.held).low for t in self.transfers)


class Cost:
    """What a pass through a network costs: operations, accesses, energy, slices.

    Parameters
    ----------
    parts : iterable of Part
    number : str
        Name of the format, a key of `FORMATS`.
    examples : int
        Images or sequences that it is for.

    References
    ----------
    Section 5.
    """

    def __init__(self, parts: Iterable[Part], number: str, examples: int) -> None:
        self.parts = tuple(parts)
        self.number, self.examples = number, examples

    def of(self, phase: str) -> Cost:
        """The parts of one of the `PHASES`."""
        choice("phase", phase, PHASES)
        return Cost((p for p in self.parts if p.phase == phase), self.number, self.examples)

    @property
    def operations(self) -> Tally:
        """How often each operation is done, in the order of `NAMES`."""
        total: Tally = Counter()
        for part in self.parts:
            total.update(part.operations)
        order = list(NAMES)
        return Counter(dict(sorted(total.items(), key=lambda o: (order.index(o[0].name), o[0]))))

    @property
    def accesses(self) -> dict[str, int]:
        """Accesses of 64 bits by the name of the memory, from the smallest."""
        found = {level.name: 0 for level in LEVELS}
        for part in self.parts:
            for transfer in part.transfers:
                found[level_of(transfer.held).name] += transfer.accesses
        return found

    @property
    def pairs(self) -> int:
        """Pairs of numbers that the products multiply."""
        return sum(part.pairs for part in self.parts)

    @property
    def operation_energy(self) -> float:
        """Picojoules of all operations (a scalar)."""
        return picojoules(self.operations)

    @property
    def memory_energy(self) -> tuple[float, float]:
        """Picojoules of all accesses, with the lower and the upper price of DRAM (two scalars)."""
        accesses = self.accesses
        low = sum(accesses[level.name] * level.low for level in LEVELS)
        return low, sum(accesses[level.name] * level.high for level in LEVELS)

    @property
    def energy(self) -> float:
        """Picojoules of operations and accesses, DRAM at its lower price (a scalar)."""
        return self.operation_energy + self.memory_energy[0]

    @property
    def has_slices(self) -> bool:
        """Whether the paper has a number for multipliers of this format."""
        return self.number in ("float32", "quantized")

    @property
    def slices(self) -> int:
        """Slices of an FPGA, had every multiplication of its products a circuit of its own."""
        if not self.has_slices:
            raise ValueError(f"slices: the paper has no number for a multiplier of {self.number}")
        if self.number == "float32":
            return FLOAT_MULTIPLIER_SLICES * self.pairs
        return slices((p.a, p.b, p.pairs) for part in self.parts for p in part.products)

    def to_json(self) -> dict[str, Any]:
        """Plain texts and numbers; energies in picojoules."""
        low, high = self.memory_energy
        return {
            "number": self.number,
            "examples": self.examples,
            "pairs": self.pairs,
            "operations": [
                {"name": o.name, "number": o.number, "count": n, "picojoules": n * PRICES[o]}
                for o, n in self.operations.items()
            ],
            "accesses": self.accesses,
            "operation_picojoules": self.operation_energy,
            "memory_picojoules": [low, high],
            "slices": self.slices if self.has_slices else None,
            "parts": [
                {
                    "place": part.place,
                    "phase": part.phase,
                    "pairs": part.pairs,
                    "operation_picojoules": part.operation_energy,
                    "memory_picojoules": part.memory_energy,
                }
                for part in self.parts
            ],
        }

    def __repr__(self) -> str:
        words = f"{self.number}, {self.examples} example{'s' * (self.examples != 1)}"
        return (
            f"<Cost: {words}: {self.pairs:,} pairs, operations {joules(self.operation_energy)}, "
            f"memory {joules(self.memory_energy[0])}>"
        )


def joules(pico: float) -> str:
    """Write an energy with a fitting unit.

    Parameters
    ----------
    pico : float
        Picojoules, at least 0.

    Returns
    -------
    str
        Three digits, such as "4.6 uJ".

    Raises
    ------
    TypeError, ValueError
        If that is no finite number, or below 0.

    References
    ----------
    Not in the paper: how a number is shown.
    """
    pico = real("pico", pico, least=0)
    for size, unit in ((1e12, "J"), (1e9, "mJ"), (1e6, "uJ"), (1e3, "nJ")):
        if pico >= size:
            return f"{pico / size:.3g} {unit}"
    return f"{pico:.3g} pJ"


__all__ = ["ASSUMPTIONS", "Cost", "Operation", "Part", "Transfer", "joules", "once"]
