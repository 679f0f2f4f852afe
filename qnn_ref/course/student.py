"""What a student calls: check, hint, answer, progress, show. None of them raises."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from qnn_ref.course import registry
from qnn_ref.course.check import SEED, judge
from qnn_ref.course.exercise import Question, Verdict
from qnn_ref.course.results import Results, place
from qnn_ref.course.sources import sha256_of
from qnn_ref.course.written import written
from qnn_ref.shown import columns

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class _Session:
    """What this process knows: results, and the last verdict of each exercise."""

    def __init__(self) -> None:
        self.results = Results(place())
        self.results.read()
        self.last: dict[str, Verdict] = {}


_session = _Session()


class Text:
    """Words that a notebook shows as they are."""

    def __init__(self, text: str) -> None:
        self.words = text

    def __repr__(self) -> str:
        return self.words

    __str__ = __repr__


def check(id: str, answer: Any = None) -> Verdict:
    """Judge an answer to an exercise.

    Parameters
    ----------
    id : str
        Such as "1.2".
    answer : function
        The function itself, without brackets.

    Returns
    -------
    Verdict
        Shown as text; true if the answer passed.
    """
    try:
        exercise = registry.exercise(id)
    except ValueError as error:
        return Verdict(str(id), "", "error", (str(error).removeprefix("id: "),))
    results = _session.results
    known = results.record_of(exercise.id)
    again = known.get("source_sha256") and known.get("source_sha256") == sha256_of(answer)
    heard = max(known.get("hints", 0) - bool(again), 0)
    verdict = judge(exercise, answer, SEED, heard)
    results.keep(verdict, exercise.points)
    _session.last[exercise.id] = verdict
    if results.trouble:
        lines = (*verdict.lines, results.trouble)
        verdict = Verdict(**{**vars(verdict), "lines": lines})
    return verdict


def hint(id: str) -> Text:
    """The next of three hints: the idea, the formula, the shape of the code.

    Parameters
    ----------
    id : str
        Such as "1.2".

    Returns
    -------
    Text
        Shown as it is.
    """
    try:
        exercise = registry.exercise(id)
    except ValueError as error:
        return Text(str(error).removeprefix("id: "))
    number = min(_session.results.record_of(exercise.id).get("hints", 0) + 1, 3)
    _session.results.hear(exercise.id, number)
    return Text(f"{exercise.id} hint {number} of 3: {exercise.hints[number - 1]}")


def answer(id: str, value: Any = ..., *more: Any) -> Text:
    """Answer a question before the cell below it is run.

    Parameters
    ----------
    id : str
        Such as "4.1a".
    value : number, str or bool
        Your answer; `...` asks what can be answered.
    *more
        Further values, where several are asked and the brackets were forgotten.

    Returns
    -------
    Text
        Shown as it is.
    """
    try:
        question = registry.question(id)
    except ValueError as error:
        return Text(str(error).removeprefix("id: "))
    value = (value, *more) if more else value
    if value is Ellipsis:
        return Text(f"{id} {question.asks} Put {_choices(question)} in the place of the dots.")
    try:
        right = agrees(question, value)
    except (TypeError, ValueError):
        return Text(f"{id} expects {_choices(question)}; you gave {written(value)}.")
    _session.results.answer(question.id, right)
    if right:
        return Text(f"{id} Yes: {written(value)}.")
    return Text(f"{id} {written(value)}? {_no(question, value)}")


def _no(question: Question, value: Any) -> str:
    says = [text for wrong, text in question.no.items() if agrees_with(question, value, wrong)]
    return (*says, "No. Run the next cell and look where it differs.")[0]


def _choices(question: Question) -> str:
    if question.options:
        return " or ".join(map(repr, question.options))
    if isinstance(question.right, bool):
        return "True or False"
    if isinstance(question.right, tuple):
        return f"{len(question.right)} values in brackets, (first, second, ...)"
    return "a number"


def agrees(question: Question, value: Any) -> bool:
    """Whether a value is the answer to a question.

    Parameters
    ----------
    question : Question
    value : number, str, bool or tuple

    Returns
    -------
    bool

    Raises
    ------
    TypeError, ValueError
        If it is no possible answer.
    """
    return agrees_with(question, value, question.right)


def agrees_with(question: Question, value: Any, wanted: Any) -> bool:
    """Whether a value is a certain answer: words without regard to case, numbers roughly.

    Parameters
    ----------
    question : Question
    value, wanted : number, str, bool or tuple

    Returns
    -------
    bool

    Raises
    ------
    TypeError, ValueError
        If it is no possible answer.
    """
    if question.options:
        word = str(value).strip().casefold()
        if word not in [option.casefold() for option in question.options]:
            raise ValueError("value: expected one of the options")
        return word == str(wanted).casefold()
    if isinstance(wanted, tuple):
        values = tuple(value) if np.ndim(value) == 1 else ()
        if len(values) != len(wanted):
            raise ValueError("value: expected as many as there are")
        pairs = zip(values, wanted, strict=True)
        return all(abs(float(a) - float(b)) <= question.about for a, b in pairs)
    if isinstance(wanted, bool):
        if value not in (True, False):
            raise ValueError("value: expected True or False")
        return bool(value) == wanted
    if isinstance(value, str | bool) or np.ndim(value) or not np.isfinite(float(value)):
        raise TypeError("value: expected a number")
    return abs(float(value) - wanted) <= question.about


def progress() -> Text:
    """A table of the exercises: passed or not, tries, hints; and of the questions.

    Returns
    -------
    Text
        Shown as it is.
    """
    _session.results.read()
    rows = [("exercise", "title", "verdict", "tries", "hints", "questions")]
    for chapter in registry.chapter_names():
        asked = [q.id for q in registry.questions_of(chapter)]
        known = [_session.results.questions[q] for q in asked if q in _session.results.questions]
        first = sum(record.get("first") is True for record in known)
        words = f"{len(known)} of {len(asked)} answered, {first} at once" if asked else ""
        for number, exercise in enumerate(registry.exercises_of(chapter)):
            record = _session.results.record_of(exercise.id)
            status = record.get("status", "not written")
            verdict = status if status in ("passed", "not written") else "not yet"
            counts = str(record.get("tries", 0)), str(record.get("hints", 0))
            rows.append((exercise.id, exercise.title, verdict, *counts, "" if number else words))
    return Text(columns(rows, (3, 4)))


def show(id: str) -> Figure | Text:
    """A picture of the last smallest case: arguments, your result, the right one.

    Parameters
    ----------
    id : str
        Such as "5.3".

    Returns
    -------
    Figure or Text
        Text where there is nothing to draw.
    """
    verdict = _session.last.get(str(id))
    if verdict is None or not verdict.arrays:
        return Text(f"{id}: nothing to show; a check that fails leaves a case here.")
    from qnn_ref.course.pictures import case_figure

    try:
        return case_figure(verdict.arrays)
    except (TypeError, ValueError) as error:
        return Text(f"{id}: this case cannot be drawn ({error}); in words: {verdict.case}")
