"""The verdict on an answer: its form first, then the smallest case, then the mistake by its name.

An answer never makes a check raise. What it says is, in this order: faults of form (returns None,
changes its argument, shape, an exception with the student's line, too slow, NaN); else the smallest
case with both values; then the known mistake that agrees with the answer on *all* cases, or the one
that it is close to, or the next hint. Never the solution. This order is kept in one file.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np

from qnn_ref.course import calls
from qnn_ref.course.calls import Clock, Outcome, call
from qnn_ref.course.compare import (
    VALUE,
    Fault,
    both_equal,
    form_fault,
    is_finite,
    parts_of,
    same_values,
    type_fault,
)
from qnn_ref.course.exercise import Case, Exercise, Verdict, Wrong
from qnn_ref.course.shrink import smallest
from qnn_ref.course.sources import STUB, forbidden, is_stub, sha256_of
from qnn_ref.course.written import both, listed

SHRINK_SECONDS = 1.0
SEED = 0
HINTED = ("value", "shape", "nan")
"""Kinds of faults that a hint may help against; against a slip it would be lost."""
CHANGING = Fault(
    "state",
    "Your function gives another answer when it is called with the same arguments again: something "
    "stays from call to call.",
)


def judge(exercise: Exercise, answer: Any, seed: int = SEED, hints: int = 0) -> Verdict:
    """Try an answer on all cases and say what to say.

    Parameters
    ----------
    exercise : Exercise
    answer : function
        A student's, whatever it is.
    seed : int
        Of the drawn cases.
    hints : int
        How many hints were heard: the next one is given where the mistake is not known.

    Returns
    -------
    Verdict
    """
    replaced = calls.put_back()
    if replaced:
        return _verdict(
            exercise,
            "error",
            f"Something in this session had replaced {', '.join(replaced)}. It is back now: run "
            "the check again.",
        )
    try:
        fault = _before(exercise, answer)
    except Exception as error:
        says = f"What is handed in raises {type(error).__name__} when it is looked at; a function "
        fault = _verdict(exercise, "error", f"{says}{exercise.name} is asked.", fault="type")
    if fault is not None:
        return replace(fault, sha256=sha256_of(answer))
    try:
        verdict = _Trial(exercise, answer, seed).verdict(hints)
    except RecursionError:  # the student's depth was nearly ours
        verdict = _verdict(exercise, "error", "Your function calls itself without end.")
    except Exception as error:
        # What no comparison foresaw must not stop a notebook; a test walks all exercises for it.
        says = f"The check itself failed on what it got: {type(error).__name__}: {error}"[:300]
        verdict = _verdict(exercise, "error", says, fault="check")
    return replace(verdict, sha256=sha256_of(answer))


def _verdict(exercise: Exercise, status: str, *lines: str, **more: Any) -> Verdict:
    return Verdict(exercise.id, exercise.title, status, tuple(lines), **more)


def _before(exercise: Exercise, answer: Any) -> Verdict | None:
    """What can be said before anything is called."""
    name = exercise.name
    asked = f"{name}({', '.join(exercise.arguments)})"
    if isinstance(answer, type):
        return _verdict(exercise, "error", f"This is a class; a function {asked} is asked.")
    if not callable(answer):
        says = f"Give the function itself, without brackets: course.check({exercise.id!r}, {name})."
        return _verdict(exercise, "error", says)
    if is_stub(answer):
        return _verdict(exercise, "not written")
    count = len(exercise.arguments)
    try:
        inspect.signature(answer).bind(*range(count))
    except TypeError:
        given = str(inspect.signature(answer))
        says = f"Your function is called with {count} arguments, {asked}; yours takes {given}."
        return _verdict(exercise, "error", says, fault="arguments")
    except ValueError:
        pass  # built in: the call will tell
    ours = (exercise.spec, *(wrong.answer for wrong in exercise.wrong))  # these may call it
    word = "" if any(answer is one for one in ours) else forbidden(answer, exercise.without)
    if word:
        says = f"Your answer uses {word}. This exercise asks for code without it."
        return _verdict(exercise, "failed", says, fault="forbidden")
    return None


def _still_a_stub(answer: Any) -> list[str]:
    """A word to the student who wrote code and left the last line of the stub."""
    if is_stub(answer, STUB):
        return []
    return [f"There is code in it, but it still comes to the line `{STUB}`. Take that out."]


class _Trial:
    """An answer, all cases with their right results, and what the answer made of them."""

    def __init__(self, exercise: Exercise, answer: Any, seed: int) -> None:
        self.exercise, self.answer, self.seed = exercise, answer, seed
        self.cases, self.right = cases_of(exercise, seed)
        self.clock = Clock(exercise.seconds)

    def verdict(self, hints: int) -> Verdict:
        exercise = self.exercise
        with self.clock.running():
            outcomes = self._run()
            if not all(outcome.written for outcome in outcomes):
                return _verdict(exercise, "not written", *_still_a_stub(self.answer))
            faults = [
                self._fault(outcome, right)
                for outcome, right in zip(outcomes, self.right, strict=False)
            ]
            fault = self._chosen(faults)
            if fault is None and self.clock.over:
                fault = calls.SLOW
            if fault is None:
                fault = self._inconstant(outcomes) or self._wrong_gradient()
            if fault is None:
                return self._passed()
            if fault.kind == "slow":
                return self._slow()
            if fault not in faults:
                return _verdict(exercise, "failed", fault.says, fault=fault.kind)
            return self._failed(outcomes, faults, fault, hints)

    def _run(self) -> list[Outcome]:
        """Outcomes in order, until the time is used up or there is no answer."""
        outcomes = []
        for case in self.cases:
            outcomes.append(self._call(self.answer, case))
            if not outcomes[-1].written or self.clock.over:
                break
        return outcomes

    def _call(self, function: Callable[..., Any], case: Case) -> Outcome:
        outcome = call(function, case, self.exercise.arguments, self.clock)
        if isinstance(outcome.value, list) and isinstance(self.right[0], tuple):
            return replace(outcome, value=tuple(outcome.value))  # [sum, carry] is as good
        return outcome

    def _fault(self, outcome: Outcome, right: Any) -> Fault | None:
        """What is wrong with the outcome of a case."""
        fault = outcome.fault
        if fault is not None and not (fault.kind == "warns" and not self.exercise.quiet):
            return fault
        fault = form_fault(outcome.value, right, self.exercise.gives)
        if fault is not None:
            return fault
        if not same_values(outcome.value, right, self.exercise.same):
            return VALUE
        return type_fault(outcome.value, right)

    def _chosen(self, faults: Sequence[Fault | None]) -> Fault | None:
        """Faults of form come first, then numbers, then types of right numbers."""
        found = [fault for fault in faults if fault is not None]
        form = [fault for fault in found if fault.kind not in ("value", "dtype", "warns")]
        return next(iter([*form, *(f for f in found if f is VALUE), *found]), None)

    def _inconstant(self, outcomes: Sequence[Outcome]) -> Fault | None:
        """Whether the same arguments, in another order, give other numbers."""
        for case, before in list(zip(self.cases, outcomes, strict=True))[::-1]:
            if self.clock.over:
                return None
            after = self._call(self.answer, case)
            if _serious(after) is not None or not _alike(before, after):
                return CHANGING
        return None

    def _wrong_gradient(self) -> Fault | None:
        """The checker's first line, where the answer is a backward pass."""
        words = self._checker()
        return Fault("gradient", words) if words else None

    def _checker(self) -> str:
        if self.exercise.gradient is None:
            return ""
        rng = np.random.default_rng(self.seed)
        try:
            self.clock.inside = True
            with np.errstate(all="ignore"):
                report = self.exercise.gradient(self.answer, rng)
        except calls.TooSlow:
            return ""
        except Exception as error:
            return f"The checker: {error}"
        finally:
            self.clock.inside = False
        if report.passed:
            return ""
        found = report.diagnoses[0].sentence if report.diagnoses else "the gradient is wrong"
        found = re.sub(r"^\S+\.(\w+): the gradient ", r"the gradient of \1 ", found)
        return f"The checker says: {found}."

    def _passed(self) -> Verdict:
        exercise, lines = self.exercise, list[str]()
        if exercise.score is not None:
            try:
                lines.append(exercise.score(self.answer))
            except Exception as error:
                lines.append(f"(no score: {type(error).__name__}: {error})")
        return _verdict(exercise, "passed", *lines, cases=len(self.cases))

    def _slow(self) -> Verdict:
        says = (
            f"Your function took longer than {self.exercise.seconds:g} seconds for "
            f"{len(self.cases)} small cases. Does a loop in it not end?"
        )
        return _verdict(self.exercise, "too slow", says, fault="slow", cases=len(self.cases))

    def _failed(
        self,
        outcomes: Sequence[Outcome],
        faults: Sequence[Fault | None],
        fault: Fault,
        hints: int,
    ) -> Verdict:
        exercise = self.exercise
        case = self._smallest(self.cases[faults.index(fault)], fault)
        right = _right(exercise, case)
        outcome = self._call(self.answer, case)
        arguments = dict(zip(exercise.arguments, case, strict=True))
        found = self._fault(outcome, right)
        if found is None:
            return _verdict(exercise, "failed", CHANGING.says, fault=CHANGING.kind)
        if found.kind == "slow":
            return self._slow()
        yours, expected = _differing(exercise, outcome.value, right, found)
        lines = self._words(arguments, outcome, right, found, (yours, expected))
        exact, near = self._recognised(outcomes, faults, typed=fault.kind == "dtype")
        hint = 0
        if exact is not None:
            lines.append(exact.says)
        elif near is not None:
            lines.append(f"Close to: {near.says}")
        elif fault is VALUE and (says := self._checker()):
            lines.append(says)
        elif fault.kind in HINTED:
            hint = min(hints + 1, 3)
            lines.append(f"Hint {hint} of 3: {exercise.hints[hint - 1]}")
        return _verdict(
            exercise,
            "error" if fault.kind in ("raises", "exit", "stopped") else "failed",
            *lines,
            cases=len(self.cases),
            case=listed(arguments),
            yours=yours,
            right=expected,
            wrong=exact.name if exact else "",
            close=near.name if near and not exact else "",
            fault="" if fault is VALUE else fault.kind,
            hint=hint,
            arrays={**arguments, "yours": outcome.value, "right": right},
        )

    def _words(
        self,
        arguments: dict[str, Any],
        outcome: Outcome,
        right: Any,
        fault: Fault,
        values: tuple[str, str],
    ) -> list[str]:
        """The lines on the smallest case, and what was printed there."""
        if fault is not VALUE:
            lines = [f"With {listed(arguments)}:", fault.says]
            if fault.kind == "dtype":
                lines = [fault.says]
        elif self.exercise.words is not None:
            lines = [self.exercise.words(arguments, outcome.value, right)]
        else:
            lines = [
                f"Smallest case: with {listed(arguments)} yours gives {values[0]}, "
                f"right is {values[1]}."
            ]
        if outcome.printed.strip():
            shown = outcome.printed.strip().splitlines()
            lines.append(f"It printed: {shown[0][:80]}" + (" ..." if len(shown) > 1 else ""))
        return lines

    def _smallest(self, case: Case, fault: Fault) -> Case:
        clock = Clock(SHRINK_SECONDS)
        with clock.running():
            deadline, self.clock = self.clock, clock

            def fails(candidate: Case) -> bool:
                if clock.over:
                    return False
                try:
                    right = _right(self.exercise, candidate)
                except (ValueError, TypeError, ArithmeticError, IndexError):
                    return False  # no case of this exercise any more
                if not is_finite(right):
                    return False
                found = self._fault(self._call(self.answer, candidate), right)
                return found is not None and found.kind == fault.kind

            try:
                return smallest(self.exercise, case, fails)
            finally:
                self.clock = deadline

    def _recognised(
        self, outcomes: Sequence[Outcome], faults: Sequence[Fault | None], typed: bool = False
    ) -> tuple[Wrong | None, Wrong | None]:
        """The mistake that agrees on all cases (in types too if `typed`), and one that is close."""
        near = None
        if len(outcomes) < len(self.cases):
            return None, None
        for number, wrong in enumerate(self.exercise.wrong):
            theirs = _of_wrong(self.exercise, number, self.seed)
            agree = [
                _agree(self.exercise, one, other)
                and not (typed and type_fault(one.value, other.value))
                for one, other in zip(outcomes, theirs, strict=True)
            ]
            if all(agree):
                return wrong, None
            failing = [a for a, fault in zip(agree, faults, strict=True) if fault is not None]
            if near is None and failing and all(failing):
                near = wrong
        return None, near


@lru_cache(maxsize=64)
def cases_of(exercise: Exercise, seed: int) -> tuple[tuple[Case, ...], tuple[Any, ...]]:
    """All cases, and the right results; kept, since that is most of the work of a check.

    Parameters
    ----------
    exercise : Exercise
    seed : int

    Returns
    -------
    cases, right : tuple
    """
    cases = tuple(exercise.cases(np.random.default_rng(seed)))
    return cases, tuple(_right(exercise, case) for case in cases)


@lru_cache(maxsize=64)
def _of_wrong(exercise: Exercise, number: int, seed: int) -> tuple[Outcome, ...]:
    """What a known mistake makes of all cases."""
    clock = Clock(60)
    answer = exercise.wrong[number].answer
    return tuple(
        call(answer, case, exercise.arguments, clock) for case in cases_of(exercise, seed)[0]
    )


def _right(exercise: Exercise, case: Case) -> Any:
    lent = tuple(a.copy() if isinstance(a, np.ndarray) else a for a in case)
    with np.errstate(all="ignore"):
        return exercise.spec(*lent)


def _alike(one: Outcome, other: Outcome) -> bool:
    pairs = zip(parts_of(one.value), parts_of(other.value), strict=True)
    return all(np.array_equal(a, b, equal_nan=True) for a, b in pairs)


def _agree(exercise: Exercise, one: Outcome, other: Outcome) -> bool:
    """Whether two answers do the same: the same fault, or the same numbers."""
    first, second = _serious(one), _serious(other)
    if first is not None or second is not None:
        return first == second
    a, b = parts_of(one.value), parts_of(other.value)
    if len(a) != len(b):
        return False
    for x, y in zip(a, b, strict=True):
        if both_equal(x, y):
            continue
        if form_fault(x, y) or form_fault(y, x) or not same_values(x, y, exercise.same):
            return False
    return True


def _serious(outcome: Outcome) -> tuple[str, str] | None:
    """Kind of a fault and the exception's name, where there is no value."""
    fault = outcome.fault
    return None if fault is None or fault.kind == "warns" else (fault.kind, fault.raised)


def _differing(exercise: Exercise, yours: Any, right: Any, fault: Fault) -> tuple[str, str]:
    """Both values in words: of several, the first that differs."""
    if fault is not VALUE or not isinstance(right, tuple):
        return both(yours, right)
    for number, (one, model) in enumerate(zip(yours, right, strict=True)):
        if not same_values(one, model, exercise.same):
            name = exercise.gives[number] if exercise.gives else f"value {number + 1}"
            words = both(one, model)
            return f"{name} = {words[0]}", words[1]
    return both(yours, right)
