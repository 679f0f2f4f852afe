"""What a gradient check found: an entry a tensor, and the verdict."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any


class GradientError(Exception):
    """A gradient is wrong, or could not be checked at all."""


@dataclass(frozen=True)
class Kink:
    """A value that sits exactly on the bound of a surrogate, where its slope jumps.

    Parameters
    ----------
    layer : str
        Place of the layer that holds it, such as `2.Quantize`.
    index : tuple of int
        Which element of what the quantizer saw.
    value : float
        The element itself, for instance 1.0.
    """

    layer: str
    index: tuple[int, ...]
    value: float


@dataclass(frozen=True)
class Entry:
    """Verdict about one tensor.

    Parameters
    ----------
    layer : str
        Place of the layer, such as `2.Dense`.
    tensor : str
        `input`, `scores`, or the name of a parameter.
    absolute_error : float
        Largest abs(numeric - analytic); of a probe, along a direction of length 1.
    relative_error : float
        The same divided by the largest gradient; of a probe, by the gradient's length over the root
        of its number of elements. 0 where the gradient is so small that only the absolute floor
        can judge it.
    tolerance : float
        The largest relative error that passes.
    numeric, analytic : float
        The two numbers that differ most: the difference quotient, and what backward says.
    index : tuple of int or None
        Element with the largest error; None for a probe.
    kinks : int
        Full mode: elements whose change meets a bound within the step. Probe: values in the
        network that meet one.
    kink_indices : tuple of tuples of int
        Those elements, in full mode.
    note : str
        What else a reader should know.
    unseen : float or None
        Of a probe: an error of the gradient, in one element or in all, whose length is this share
        of the gradient's is missed once in 100 checks, a shorter one more often. None where every
        element was looked at.
    """

    layer: str
    tensor: str
    absolute_error: float
    relative_error: float
    tolerance: float
    numeric: float
    analytic: float
    index: tuple[int, ...] | None = None
    kinks: int = 0
    kink_indices: tuple[tuple[int, ...], ...] = ()
    note: str = ""
    unseen: float | None = None

    @property
    def name(self) -> str:
        """Layer and tensor, such as `2.Dense.weight`."""
        return f"{self.layer}.{self.tensor}"

    @property
    def passed(self) -> bool:
        """Whether the relative error is within the tolerance; NaN is not."""
        return self.relative_error <= self.tolerance

    def to_json(self) -> dict[str, Any]:
        """Plain numbers, strings and lists; None for what is not finite."""
        return {
            "layer": self.layer,
            "tensor": self.tensor,
            "absolute_error": _finite(self.absolute_error),
            "relative_error": _finite(self.relative_error),
            "tolerance": self.tolerance,
            "passed": self.passed,
            "index": None if self.index is None else list(self.index),
            "numeric": _finite(self.numeric),
            "analytic": _finite(self.analytic),
            "kinks": self.kinks,
            "note": self.note,
            "unseen": None if self.unseen is None else _finite(self.unseen),
        }


@dataclass(frozen=True)
class Report:
    """All entries of a check; true if everything passed.

    Parameters
    ----------
    entries : tuple of Entry
        At least one: a check of nothing has not passed.
    kinks : tuple of Kink
        Values that sit exactly on a bound at the point of the check.
    randomized : tuple of str
        Parameters that got random values on the check's own copy, because they were all 0 or 1.
    """

    entries: tuple[Entry, ...]
    kinks: tuple[Kink, ...] = ()
    randomized: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.entries:
            raise GradientError("nothing was checked: no tensor has a gradient")

    @property
    def passed(self) -> bool:
        """Whether every entry passed."""
        return all(entry.passed for entry in self.entries)

    def __bool__(self) -> bool:
        return self.passed

    @property
    def worst_relative_error(self) -> float:
        """The largest relative error of all entries; NaN if one could not be judged."""
        errors = [entry.relative_error for entry in self.entries]
        return math.nan if any(map(math.isnan, errors)) else max(errors)

    def raise_if_failed(self) -> None:
        """Raise `GradientError` that names every tensor with a wrong gradient."""
        failed = [entry for entry in self.entries if not entry.passed]
        if failed:
            lines = "\n".join("  " + line for line in _lines(failed))
            raise GradientError(
                f"{len(failed)} of {len(self.entries)} gradients are wrong:\n{lines}"
            )

    def to_json(self) -> dict[str, Any]:
        """The answer of `qnn-ref check --json`."""
        return {
            "passed": self.passed,
            "worst_relative_error": _finite(self.worst_relative_error),
            "entries": [entry.to_json() for entry in self.entries],
        }

    def __str__(self) -> str:
        """A line a tensor: name, worst error, tolerance, verdict; and what probes do not see."""
        return "\n".join([*_lines(self.entries), *self._blind()])

    def _blind(self) -> list[str]:
        shares = [entry.unseen for entry in self.entries if entry.unseen is not None]
        finite = [share for share in shares if math.isfinite(share)]
        if not finite:
            return []
        return [
            f"{len(shares)} of {len(self.entries)} tensors in random directions: an error below "
            f"{max(finite):.0e} of a gradient's length, in one element or in all, may not be seen"
        ]


def _finite(number: float) -> float | None:
    return float(number) if math.isfinite(number) else None


def _lines(entries: tuple[Entry, ...] | list[Entry]) -> list[str]:
    width = max(len(entry.name) for entry in entries)
    return [
        f"{entry.name:<{width}}  {entry.relative_error:8.1e}  (tolerance {entry.tolerance:.0e})  "
        + ", ".join(_remarks(entry))
        for entry in entries
    ]


def _remarks(entry: Entry) -> list[str]:
    remarks = ["passed" if entry.passed else "FAILED"]
    if not entry.passed and not math.isnan(entry.numeric):
        place = "" if entry.index is None else f"at {entry.index}: "
        remarks.append(f"{place}numeric {entry.numeric:.9g}, backward {entry.analytic:.9g}")
    if entry.kinks:
        remarks.append(f"{entry.kinks} at a bound within the step")
    if entry.note:
        remarks.append(entry.note)
    return remarks
