"""Which exercises and questions there are: those of `chapters/chNN.py`, one file a notebook."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Callable
from functools import cache
from typing import TypeVar

from qnn_ref.checks import did_you_mean
from qnn_ref.course.exercise import Exercise, Question

Entry = TypeVar("Entry", Exercise, Question)


@cache
def chapter_names() -> tuple[str, ...]:
    """Numbers of the chapters, as notebooks have them: "01", "02", ..."""
    package = importlib.import_module("qnn_ref.course.chapters")
    names = [module.name for module in pkgutil.iter_modules(package.__path__)]
    return tuple(sorted(name[2:] for name in names if re.fullmatch(r"ch\d\d", name)))


@cache
def exercises_of(chapter: str) -> tuple[Exercise, ...]:
    """The exercises of a chapter.

    Parameters
    ----------
    chapter : str
        Such as "01".

    Returns
    -------
    tuple of Exercise
    """
    module = importlib.import_module(f"qnn_ref.course.chapters.ch{chapter}")
    return tuple(module.EXERCISES)


@cache
def questions_of(chapter: str) -> tuple[Question, ...]:
    """The questions of a chapter.

    Parameters
    ----------
    chapter : str
        Such as "01".

    Returns
    -------
    tuple of Question
    """
    module = importlib.import_module(f"qnn_ref.course.chapters.ch{chapter}")
    return tuple(module.QUESTIONS)


def chapter_of(id: str) -> str:
    """The number of the notebook that an exercise or a question belongs to.

    Parameters
    ----------
    id : str
        Such as "4.1a".

    Returns
    -------
    str
        Such as "04".
    """
    return f"{id.partition('.')[0]:0>2}"


def exercise(id: str) -> Exercise:
    """Find an exercise.

    Parameters
    ----------
    id : str
        Such as "1.2".

    Returns
    -------
    Exercise

    Raises
    ------
    ValueError
        If there is none, with the nearest id.
    """
    return _found("exercise", id, exercises_of)


def question(id: str) -> Question:
    """Find a question.

    Parameters
    ----------
    id : str
        Such as "4.1a".

    Returns
    -------
    Question

    Raises
    ------
    ValueError
        If there is none, with the nearest id.
    """
    return _found("question", id, questions_of)


def _found(what: str, id: str, of_chapter: Callable[[str], tuple[Entry, ...]]) -> Entry:
    chapter = chapter_of(str(id))  # first its own: the others need not be imported
    known = of_chapter(chapter) if chapter in chapter_names() else ()
    for one in known:
        if one.id == str(id):
            return one
    ids = [one.id for chapter in chapter_names() for one in of_chapter(chapter)]
    raise ValueError(f"id: there is no {what} {id!r}{did_you_mean(str(id), ids)}")
