"""Time several candidates side by side, so that a busy machine is unfair to none of them.

Every round runs each candidate once, and every round begins with another one: what slows the
machine down for a moment hits all of them. A timing is the median of the rounds; the quartiles
beside it say how far to trust it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import numpy as np

Call = Callable[[], object]
Clock = Callable[[], float]

SAMPLE = 2e-3
"""Seconds that a sample lasts at least: a shorter call is repeated inside it."""

ROUNDS = 3
"""Rounds that are run however long they take: a median needs them."""


class LeftOutError(Exception):
    """A candidate that is not measured; the message says why."""


@dataclass(frozen=True)
class Timing:
    """How long one call takes.

    Parameters
    ----------
    median : float
        Seconds.
    low, high : float
        Quartiles, in seconds.
    repeats : int
        Number of samples.
    """

    median: float
    low: float
    high: float
    repeats: int

    def scaled(self, factor: float) -> Timing:
        """The timing of `factor` times as much work."""
        return Timing(self.median * factor, self.low * factor, self.high * factor, self.repeats)


@dataclass(frozen=True)
class Measured:
    """What came of the candidates.

    Parameters
    ----------
    timings : dict of Timing
        By name, for those that ran.
    failures : dict of str
        By name, why the others did not.
    """

    timings: dict[str, Timing]
    failures: dict[str, str]


def interleave(
    candidates: Mapping[str, Call],
    repeats: int,
    budget: float,
    compiled: Collection[str] = (),
    clock: Clock = time.perf_counter,
) -> Measured:
    """Run every candidate once a round, in an order that moves on by one each round.

    Parameters
    ----------
    candidates : mapping of str to function
        Called without arguments.
    repeats : int
        Rounds, if the budget allows them.
    budget : float
        Seconds after which no new round begins, except that three rounds are always run.
    compiled : collection of str
        Candidates whose first call compiles: they are warmed up twice.
    clock : function
        Seconds as a float.

    Returns
    -------
    Measured
        A candidate that raises an error is a failure, with the error as its reason.
    """
    loops: dict[str, int] = {}
    failures: dict[str, str] = {}
    for name, call in candidates.items():
        try:
            loops[name] = warm_up(call, name in compiled, clock)
        except Exception as error:  # a peer that fails must not take the others with it
            failures[name] = reason(error)
    samples: dict[str, list[float]] = {name: [] for name in loops}
    start, order = clock(), list(loops)
    for number in range(repeats if order else 0):
        if number >= ROUNDS and clock() - start >= budget:
            break
        for name in order:
            samples[name].append(seconds(candidates[name], loops[name], clock))
        order = order[1:] + order[:1]
    return Measured({name: timing(values) for name, values in samples.items()}, failures)


def warm_up(call: Call, compiled: bool, clock: Clock) -> int:
    """Call once, or twice if the first call compiles; return how many calls make a sample."""
    if compiled:
        call()
    once = seconds(call, 1, clock)
    return max(1, int(np.ceil(SAMPLE / max(once, 1e-9))))


def seconds(call: Call, loops: int, clock: Clock) -> float:
    """Seconds of one call, as the mean of `loops` calls in a row."""
    start = clock()
    for _ in range(loops):
        call()
    return (clock() - start) / loops


def timing(values: list[float]) -> Timing:
    """Median and quartiles of samples."""
    low, median, high = np.quantile(values, (0.25, 0.5, 0.75))
    return Timing(float(median), float(low), float(high), len(values))


def reason(error: BaseException) -> str:
    """One short line that says what went wrong."""
    first = (str(error).strip().splitlines() or [""])[0]
    if isinstance(error, LeftOutError):
        return first
    return f"{type(error).__name__}: {first}".rstrip(": ")[:200]
