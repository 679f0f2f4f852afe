"""The course: exercises of the notebooks that check themselves.

Five names are for students: `check`, `hint`, `answer`, `progress`, `show`. None of them raises, so
that a notebook runs on whatever an answer does. `qnn-ref course` does the same from a command line.
"""

from qnn_ref.course.compare import close, equal
from qnn_ref.course.exercise import Exercise, Question, Verdict, Wrong
from qnn_ref.course.student import answer, check, hint, progress, show

__all__ = ["Exercise", "Question", "Verdict", "Wrong", "answer", "check", "close", "equal", "hint"]
__all__ += ["progress", "show"]
__dir__ = __all__.copy
