"""What an exercise and a question are: data, written by the author of a chapter."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from qnn_ref.course.compare import equal
from qnn_ref.course.written import printable

if TYPE_CHECKING:
    from qnn_ref.checking import Report

Case = tuple[Any, ...]
"""Arguments of one call."""


@dataclass(frozen=True)
class Wrong:
    """A mistake that is often made, as a program that can be run.

    Parameters
    ----------
    name : str
        A word or two, for tables of a class.
    answer : function
        With the arguments of the right one.
    says : str
        One sentence on the mistake; the right code does not stand in it.
    """

    name: str
    answer: Callable[..., Any]
    says: str


@dataclass(frozen=True)
class Exercise:
    """A function that a student writes, and how it is judged.

    Parameters
    ----------
    id : str
        Notebook and number, such as "1.2".
    title : str
    name : str
        What the function is called in the notebook.
    task : str
        What is asked, in a sentence or two.
    section : str
        Of the paper: "eq. (4)".
    spec : function
        The right answer. Its signature is the one that is asked.
    cases : function
        From a generator of random numbers to tuples of arguments: simple ones first and always the
        same, then drawn ones.
    wrong : tuple of Wrong
        At least two.
    hints : tuple of three str
        The idea, the formula, the shape of the code.
    same : function
        `(yours, right) -> bool` for numbers of one shape; `equal`, or `close(1e-12)`.
    gives : tuple of str
        What several results are called.
    words : function, optional
        `(arguments by name, yours, right) -> str`, the smallest case in words of its own.
    without : tuple of str
        Functions that the answer must not call, and operators ("*", "/", "@", "for") that it must
        not use.
    seconds : float
        For all cases together.
    axes : tuple of str, optional
        A letter for each axis of each argument, such as ("bo", "bi", "io"), "" for one that is
        no array: elements are left out along a letter in all arguments at once, never along a
        point. Without it arguments of one shape lose theirs together.
    simple : tuple of float
        What elements are replaced by in search of the smallest case; empty for none.
    simplify : tuple of str, optional
        Names of the arguments whose elements may be replaced: by default arrays of floats.
    quiet : bool
        Whether a warning, such as that of a division by zero, is a fault.
    gradient : function, optional
        `(answer, rng) -> Report`: the checker's verdict on an answer that is a backward pass.
    score : function, optional
        `(answer) -> str`, a sentence about a right answer: how many operations it takes.
    points : int
    """

    id: str
    title: str
    name: str
    task: str
    section: str
    spec: Callable[..., Any]
    cases: Callable[[np.random.Generator], Iterable[Case]]
    wrong: tuple[Wrong, ...]
    hints: tuple[str, str, str]
    same: Callable[[Any, Any], bool] = equal
    gives: tuple[str, ...] = ()
    words: Callable[[Mapping[str, Any], Any, Any], str] | None = None
    without: tuple[str, ...] = ()
    seconds: float = 5.0
    axes: tuple[str, ...] | None = None
    simple: tuple[float, ...] = (0, 1, -1, 2, 0.5)
    simplify: tuple[str, ...] | None = None
    quiet: bool = False
    gradient: Callable[[Callable[..., Any], np.random.Generator], Report] | None = None
    score: Callable[[Callable[..., Any]], str] | None = None
    points: int = 1

    @property
    def arguments(self) -> tuple[str, ...]:
        """Names of the arguments."""
        return tuple(inspect.signature(self.spec).parameters)


@dataclass(frozen=True)
class Question:
    """A question to answer before the cell below it is run.

    Parameters
    ----------
    id : str
        Section of the notebook and a letter, such as "1.3a".
    asks : str
        The question in a line.
    right : number, str, bool or tuple
        The answer; a tuple for several values in order.
    options : tuple of str
        Words to choose from; `right` is one of them.
    about : float
        How far a number may be off.
    no : mapping
        From a wrong answer that is often given to what should be said then.
    """

    id: str
    asks: str
    right: Any
    options: tuple[str, ...] = ()
    about: float = 0.0
    no: Mapping[Any, str] = field(default_factory=dict)


@dataclass(frozen=True, repr=False)
class Verdict:
    """What an answer is met with; true if it passed. `print` shows it.

    Parameters
    ----------
    id, title : str
    status : {"passed", "failed", "error", "not written", "too slow"}
    lines : tuple of str
        What is said under the title.
    cases : int
        How many were tried.
    case, yours, right : str
        The smallest case in words, and both values.
    wrong, close : str
        Name of the known mistake that this is, or that it is close to.
    fault : str
        Kind of a fault of form, such as "shape".
    hint : int
        Number of the hint that was given, 0 for none.
    arrays : mapping of str to object
        The smallest case itself, for a picture.
    sha256 : str
        Of the answer's source.
    """

    id: str
    title: str
    status: str
    lines: tuple[str, ...] = ()
    cases: int = 0
    case: str = ""
    yours: str = ""
    right: str = ""
    wrong: str = ""
    close: str = ""
    fault: str = ""
    hint: int = 0
    arrays: Mapping[str, Any] = field(default_factory=dict, compare=False)
    sha256: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "lines", tuple(map(printable, self.lines)))
        for name in ("case", "yours", "right"):
            object.__setattr__(self, name, printable(getattr(self, name)))

    @property
    def passed(self) -> bool:
        """Whether the answer is right."""
        return self.status == "passed"

    def __bool__(self) -> bool:
        return self.passed

    def __str__(self) -> str:
        heads = {"passed": "passed.", "not written": "not written yet."}
        name = f"{self.id} {self.title}".strip()
        head = f"{name}: {heads.get(self.status, 'not yet.')}"
        return "\n".join([head, *(f"  {line}" for line in self.lines)])

    __repr__ = __str__

    def to_json(self) -> dict[str, Any]:
        """Plain texts and numbers."""
        texts = ("case", "yours", "right", "wrong", "close", "fault")
        found = {name: getattr(self, name) for name in texts if getattr(self, name)}
        return {
            "id": self.id,
            "passed": self.passed,
            "status": self.status,
            "message": str(self),
            "cases": self.cases,
            **found,
            "hint": self.hint,
            "source_sha256": self.sha256,
        }
