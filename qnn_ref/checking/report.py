"""What a gradient check found: an entry a tensor, and the verdict."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from html import escape
from typing import Any

import numpy as np

from qnn_ref._typing import Array
from qnn_ref.checking.pictures import both_arrays
from qnn_ref.shown import html_table


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
    doubt : {"", "kink", "scatter"}
        Why a gradient that did not pass is not called wrong either: forward has a kink within the
        step, or is not finite there, wherever the point is moved, or its differences scatter.
    unseen : float or None
        Of a probe: an error of the gradient, in one element or in all, whose length is this share
        of the gradient's is missed once in 100 checks, a shorter one more often. None where every
        element was looked at.
    order : float or None
        Order mode: the power of the step with which the remainder falls, 2 for a right gradient.
        The errors are what it lacks of 2.
    steps, remainders : array (steps,) or None
        Order mode: what the order was read from.
    numeric_array, analytic_array, x_array : array or None
        Full mode: all difference quotients, the whole gradient, and the tensor itself.
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
    doubt: str = ""
    unseen: float | None = None
    order: float | None = None
    steps: Array | None = field(default=None, compare=False, repr=False)
    remainders: Array | None = field(default=None, compare=False, repr=False)
    numeric_array: Array | None = field(default=None, compare=False, repr=False)
    analytic_array: Array | None = field(default=None, compare=False, repr=False)
    x_array: Array | None = field(default=None, compare=False, repr=False)

    @property
    def wrong(self) -> int | None:
        """How many elements are wrong; None where not every one was looked at, or in doubt."""
        if self.numeric_array is None or self.analytic_array is None or self.doubt:
            return None
        differ = np.abs(self.numeric_array - self.analytic_array)
        return 0 if self.passed else int(np.count_nonzero(differ > self.allowed))

    @property
    def allowed(self) -> float:
        """Largest difference of an element that passes."""
        if self.relative_error == 0 or not math.isfinite(self.relative_error):
            return 0.0
        return self.tolerance * self.absolute_error / self.relative_error

    @property
    def name(self) -> str:
        """Layer and tensor, such as `2.Dense.weight`."""
        return f"{self.layer}.{self.tensor}"

    @property
    def passed(self) -> bool:
        """Whether the relative error is within the tolerance; NaN is not."""
        return self.relative_error <= self.tolerance

    def to_json(self) -> dict[str, Any]:
        """Plain numbers, strings and lists; None, and why, for what is not finite."""
        numbers = _numbers(
            absolute_error=self.absolute_error,
            relative_error=self.relative_error,
            tolerance=self.tolerance,
            numeric=self.numeric,
            analytic=self.analytic,
            unseen=self.unseen,
        )
        return {
            "layer": self.layer,
            "tensor": self.tensor,
            "passed": self.passed,
            "index": None if self.index is None else list(self.index),
            "kinks": self.kinks,
            "wrong": self.wrong,
            "note": self.note,
            "doubt": self.doubt,
            **numbers,
        }


@dataclass(frozen=True)
class Diagnosis:
    """What is wrong, in a sentence, and where it can be seen.

    Parameters
    ----------
    sentence : str
        The first line of a report.
    details : tuple of str
        The smallest place, or lines of code that declare what was not declared.
    yours, expected : array or None
        The gradient and the difference quotients; NaN where none was taken.
    """

    sentence: str
    details: tuple[str, ...] = ()
    yours: Array | None = field(default=None, compare=False, repr=False)
    expected: Array | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, repr=False)
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
    diagnoses : tuple of Diagnosis
        What is wrong, where something is.
    surrogates : tuple of pairs of str
        What stood in the place of each jump, in words, and where.
    """

    entries: tuple[Entry, ...]
    kinks: tuple[Kink, ...] = ()
    randomized: tuple[str, ...] = ()
    diagnoses: tuple[Diagnosis, ...] = ()
    surrogates: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        if not self.entries:
            raise GradientError("nothing was checked: no tensor has a gradient")

    @classmethod
    def joined(cls, reports: Iterable[Report]) -> Report:
        """One report of several, in their order."""
        parts = list(reports)
        return cls(
            entries=tuple(entry for part in parts for entry in part.entries),
            kinks=tuple(kink for part in parts for kink in part.kinks),
            randomized=tuple(name for part in parts for name in part.randomized),
            diagnoses=tuple(diagnosis for part in parts for diagnosis in part.diagnoses),
            surrogates=tuple(pair for part in parts for pair in part.surrogates),
        )

    def renamed(self, new_name: Callable[[str], str]) -> Report:
        """The same report with other names of the layers.

        Parameters
        ----------
        new_name : function
            From the old name to the new one.

        Returns
        -------
        Report
        """
        return Report(
            entries=tuple(replace(entry, layer=new_name(entry.layer)) for entry in self.entries),
            kinks=tuple(replace(kink, layer=new_name(kink.layer)) for kink in self.kinks),
            randomized=tuple(new_name(name) for name in self.randomized),
            diagnoses=self.diagnoses,
            surrogates=tuple((words, new_name(place)) for words, place in self.surrogates),
        )

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

    def remainders(self) -> tuple[Array, dict[str, Array]]:
        """Steps and remainders of order mode by tensor, for `qnn_ref.plots.order_figure`."""
        found = {e.name: e.remainders for e in self.entries if e.remainders is not None}
        steps = next((e.steps for e in self.entries if e.steps is not None), None)
        if steps is None:
            raise ValueError("remainders: only a check in mode 'order' has them")
        return steps, found

    def raise_if_failed(self) -> None:
        """Raise `GradientError` that names every tensor with a wrong gradient."""
        failed = [entry for entry in self.entries if not entry.passed]
        if failed:
            lines = "\n".join("  " + line for line in _lines(failed))
            found = "".join(f"{line}\n" for line in self._found())
            raise GradientError(
                f"{found}{len(failed)} of {len(self.entries)} gradients "
                f"{_verdict(failed)}:\n{lines}"
            )

    def to_json(self) -> dict[str, Any]:
        """The answer of `qnn-ref check --json`."""
        return {
            "passed": self.passed,
            **_numbers(worst_relative_error=self.worst_relative_error),
            "diagnoses": [diagnosis.sentence for diagnosis in self.diagnoses],
            "surrogates": [{"place": place, "words": words} for words, place in self.surrogates],
            "entries": [entry.to_json() for entry in self.entries],
        }

    def __str__(self) -> str:
        """What is wrong, if anything; a line a tensor: name, worst error, tolerance, verdict.

        Below, what stood in the place of jumps, and what probes do not see.
        """
        lines = [*self._found(), *_lines(self.entries), *self._surrogates(), *self._blind()]
        return "\n".join(lines)

    def _found(self) -> list[str]:
        return [
            line
            for diagnosis in self.diagnoses
            for line in (diagnosis.sentence, *(f"  {detail}" for detail in diagnosis.details))
        ]

    def _surrogates(self) -> list[str]:
        """A line for each surrogate, with the places that have it."""
        places: dict[str, list[str]] = {}
        for words, place in self.surrogates:
            places.setdefault(words, []).append(place)
        return [f"surrogate of {_some(names)}: {words}" for words, names in places.items()]

    def __repr__(self) -> str:
        """The verdict in a line; `print` shows every tensor."""
        failed = [entry.name for entry in self.entries if not entry.passed]
        verdict = f"FAILED: {', '.join(failed)}" if failed else "passed"
        tensors = f"{len(self.entries)} tensor{'s' if len(self.entries) > 1 else ''}"
        return f"<Report of {tensors}, worst error {self.worst_relative_error:.1e}, {verdict}>"

    def _repr_html_(self) -> str:
        """A table for notebooks, what failed in bold."""
        rows = [
            (e.name, f"{e.relative_error:.1e}", f"{e.tolerance:.0e}", ", ".join(_remarks(e)))
            for e in self.entries
        ]
        failed = [index for index, entry in enumerate(self.entries) if not entry.passed]
        table = html_table([("tensor", "error", "tolerance", "verdict"), *rows], (1, 2), failed)
        above = "".join(
            f"<p><b>{escape(d.sentence)}</b></p><pre>{escape(chr(10).join(d.details))}</pre>"
            + both_arrays(d.yours, d.expected)
            for d in self.diagnoses
        )
        below = (*self._surrogates(), *self._blind())
        return above + table + "".join(f"<p>{escape(line)}</p>" for line in below)

    def _blind(self) -> list[str]:
        shares = [entry.unseen for entry in self.entries if entry.unseen is not None]
        finite = [share for share in shares if math.isfinite(share)]
        if not finite:
            return []
        return [
            f"{len(shares)} of {len(self.entries)} tensors in random directions: an error below "
            f"{max(finite):.0e} of a gradient's length, in one element or in all, may not be seen"
        ]


def _some(names: list[str]) -> str:
    """At most four names."""
    more = f" and {len(names) - 4} more" if len(names) > 4 else ""
    return ", ".join(names[:4]) + more


def _numbers(**numbers: float | None) -> dict[str, Any]:
    """Numbers by name as JSON can hold them; beside a None the reason, as `NAME_reason`."""
    found: dict[str, Any] = {}
    for name, number in numbers.items():
        finite = number is not None and math.isfinite(number)
        found[name] = float(number) if number is not None and finite else None
        if number is not None and not finite:
            found[f"{name}_reason"] = "not a number" if math.isnan(number) else "infinite"
    return found


def _verdict(failed: list[Entry]) -> str:
    doubtful = sum(1 for entry in failed if entry.doubt)
    if doubtful == len(failed):
        return "could not be judged"
    return "are wrong, or could not be judged" if doubtful else "are wrong"


def _lines(entries: tuple[Entry, ...] | list[Entry]) -> list[str]:
    width = max(len(entry.name) for entry in entries)
    return [
        f"{entry.name:<{width}}  {entry.relative_error:8.1e}  (tolerance {entry.tolerance:.0e})  "
        + ", ".join(_remarks(entry))
        for entry in entries
    ]


def _remarks(entry: Entry) -> list[str]:
    remarks = ["passed" if entry.passed else "FAILED"]
    if entry.order is not None:
        remarks.append(f"the remainder falls as h^{entry.order:.2f}")
    elif not entry.passed and not math.isnan(entry.numeric):
        place = "" if entry.index is None else f"at {entry.index}: "
        remarks.append(f"{place}numeric {entry.numeric:.9g}, backward {entry.analytic:.9g}")
    if entry.wrong and entry.numeric_array is not None:
        remarks.append(f"{entry.wrong} of {entry.numeric_array.size} elements wrong")
    if entry.kinks:
        remarks.append(f"{entry.kinks} at a bound within the step")
    if entry.note:
        remarks.append(entry.note)
    return remarks
