"""What nobody hands in on purpose, and somebody does: clear words for all of it.

An answer may hide from whoever looks at it, break Python's own names or stop its judge; a notebook
may be none, and a lab may start processes.
"""

import builtins
import json
import os
import signal
import subprocess
import sys
import time
import weakref
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from qnn_ref import course
from qnn_ref.cli import main
from qnn_ref.course import calls, isolation, registry, results, student
from qnn_ref.course.check import judge
from qnn_ref.course.editions import STUB, Cell, read_cells
from qnn_ref.course.exercise import Exercise
from qnn_ref.course.grade import grade, skipped, submissions
from qnn_ref.course.judges import Judge
from qnn_ref.course.labs import lab
from qnn_ref.course.labs.trial import check_source
from qnn_ref.course.solving import answers_of, without_magics
from qnn_ref.files import FileError
from tests import course_class

# Hypothesis watches the garbage collection, which may happen where an answer recurses without end.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Exception ignored in.*gc_callback:pytest.PytestUnraisableExceptionWarning"
)

GRADIENT = registry.exercise("1.2")
QUICK = Exercise(**{**vars(GRADIENT), "seconds": 0.4})
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="grading needs fork")


def right(dy, x):
    return dy * (np.abs(x) <= 1)


class Hidden:
    """Can be called; tells nothing of itself."""

    def __init__(self, error):
        object.__setattr__(self, "error", error)

    def __getattr__(self, name):
        raise object.__getattribute__(self, "error")

    def __call__(self, dy, x):
        return right(dy, x)


class Yes:
    """Has every attribute."""

    def __getattr__(self, name):
        return Yes()

    def __call__(self, *arguments):
        return self


class Incomparable:
    """As an array: what == gives is no truth value."""

    def __eq__(self, other):
        raise ValueError("no truth value")

    __hash__ = None

    def __call__(self, dy, x):
        return right(dy, x)


class Silent(Exception):
    def __str__(self):
        raise KeyboardInterrupt


def silent(dy, x):
    raise Silent


HIDING = {
    "raises": lambda: Hidden(RuntimeError("no")),
    "raises a key error": lambda: Hidden(KeyError("no")),
    "has everything": Yes,
    "cannot be compared": Incomparable,
    "raises silently": lambda: silent,
}


@pytest.mark.parametrize("name", HIDING)
def test_objects_that_hide_get_a_verdict(name):
    verdict = judge(GRADIENT, HIDING[name]())
    assert verdict.passed or verdict.lines
    json.dumps(verdict.to_json(), allow_nan=False)


@pytest.mark.parametrize("name", ["isinstance", "print", "type", "getattr", "ValueError", "tuple"])
def test_any_name_of_python_is_put_back(name):
    before = getattr(builtins, name)

    def answer(dy, x):
        setattr(builtins, name, lambda *arguments, **more: True)
        return right(dy, x)

    verdict = judge(GRADIENT, answer)
    assert getattr(builtins, name) is before
    assert f"replaces {name}" in str(verdict)


def test_names_that_notebooks_replace_are_left_alone(monkeypatch):
    monkeypatch.setattr(builtins, "input", lambda prompt="": "")
    assert calls.put_back() == []
    assert judge(GRADIENT, right).passed


def third(dy, x, count=[]):  # noqa: B006
    """Right but for every third call."""
    count.append(1)
    return right(dy, x) if len(count) % 3 else dy + 1


def test_yours_and_right_are_never_the_same_words():
    for _ in range(3):
        verdict = judge(GRADIENT, third)
        assert not verdict.passed
        assert verdict.yours != verdict.right or verdict.fault == "state", str(verdict)


def deep(dy, x):
    found = []
    for _ in range(100_000):
        found = [found]
    return found


@pytest.mark.parametrize(
    "answer",
    [
        lambda dy, x: np.broadcast_to(0.0, (10**15,)),
        lambda dy, x: np.broadcast_to(right(dy, x), (10**6, *np.shape(x))),
        lambda dy, x: list(range(10**6)),
        lambda dy, x: time.sleep(0.01) or [0],
        deep,
    ],
)
def test_no_line_is_empty_and_the_check_itself_never_fails(answer):
    verdict = judge(QUICK, answer)
    assert verdict.status in ("failed", "too slow")
    assert verdict.lines
    assert all(line.strip() for line in verdict.lines), verdict.lines
    assert "The check itself" not in str(verdict)


def shows(dy, x):
    sys.stdout.write("\ud800 \x1b[2J \x00")
    return dy


def raises(dy, x):
    raise ValueError("\ud800 \x1b[2J \x00")


@pytest.mark.parametrize("answer", [shows, raises])
def test_every_screen_can_show_a_verdict(answer):
    text = str(judge(GRADIENT, answer))
    text.encode("utf-8")
    assert text.replace("\n", "").isprintable()
    assert "\\x1b[2J" in text


@pytest.mark.parametrize(("above", "words"), [("dx = dy * 1", ["Take that out"]), ("pass", [])])
def test_code_above_the_line_of_the_stub_is_seen(above, words):
    text = f"def straight_through(dy, x):\n    {above}\n    {STUB}"
    ((_, answer),) = answers_of([Cell("code", text, ("exercise", "id:1.2"))], "a.ipynb", ["1.2"])
    verdict = judge(GRADIENT, answer)
    assert (verdict.status, len(verdict.lines)) == ("not written", len(words))
    assert all(word in str(verdict) for word in words)


def test_brackets_may_be_forgotten(monkeypatch):
    monkeypatch.setattr(student, "_session", student._Session())
    student._session.results = results.Results(None)
    assert "Yes" in str(course.answer("1.2a", 0, 100))
    assert "expects 2 values" in str(course.answer("1.2a", 0, 100, 3))
    assert "expects a number" in str(course.answer("1.7a", 1, 2))
    assert "without brackets" in str(course.check("1.2"))
    cells = [Cell("code", "%matplotlib inline\ncourse.answer('1.2a', 0, 100)")]
    cells.append(Cell("code", "course.answer('9', x)\ncourse.answer('1.7a', 1)"))
    assert isolation._questions(cells) == {"1.2a": True, "1.7a": True}


# Notebooks


@pytest.mark.parametrize(
    "line",
    ["%time", "!ls", "files = !ls", "t = %timeit -o 1", "np.abs?", "np.abs??", "?np", "  !ls"],
)
def test_what_only_a_notebook_understands_does_not_matter(line):
    source = f"if 1:\n{line}" if line.startswith(" ") else line
    text = f"import numpy as np\n{source}\ndef straight_through(dy, x):\n    return dy"
    cells = [Cell("code", text, ("exercise", "id:1.2"))]
    ((_, answer),) = answers_of(cells, "a.ipynb", ["1.2"])
    assert callable(answer), answer
    assert without_magics(text).count("\n") == text.count("\n")  # lines are named


def test_a_cell_of_another_language_is_empty_and_a_timed_one_is_not():
    assert without_magics("%%bash\nexit 1") == ""
    assert "x = 1" in without_magics("%%time\nx = 1")
    assert without_magics("x = 7 % 3\nlook = 'why?'") == "x = 7 % 3\nlook = 'why?'"


def test_names_may_come_from_an_import_of_all():
    cells = [
        Cell("code", "from numpy import *"),
        Cell("code", "def straight_through(dy, x): return absolute(x)", ("exercise", "id:1.2")),
    ]
    ((_, answer),) = answers_of(cells, "a.ipynb", ["1.2"])
    assert answer(1, -2) == 2


def write(folder, change=lambda notebook: None, encoding="utf-8", body=course_class.RIGHT):
    path = folder / "01_one_bit.ipynb"
    notebook = course_class.notebook(body)
    path.write_text(json.dumps(change(notebook) or notebook), encoding=encoding)
    return path


def of_cells(**parts):
    def change(notebook):
        for cell in notebook["cells"]:
            cell |= parts

    return change


@pytest.mark.parametrize("parts", [{"metadata": None}, {"metadata": {"tags": None}}, {}])
def test_a_notebook_that_lost_its_tags_is_read(tmp_path, parts):
    path = write(tmp_path, of_cells(**parts), "utf-8-sig")  # some editors put a mark before it
    assert "1.2" in [cell.exercise for cell in read_cells(path)]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda notebook: {"cells": ["hello"]}, "cell 1: expected an object"),
        (of_cells(source=[1]), "cell 1: expected a source of lines"),
        (of_cells(source={"a": 1}), "cell 1: expected a source of lines"),
        (of_cells(metadata=3), "cell 1: expected metadata"),
    ],
)
def test_what_is_wrong_with_a_cell_is_said(tmp_path, change, words):
    with pytest.raises(FileError, match=words):
        read_cells(write(tmp_path, change))


def test_what_is_not_graded_is_listed(tmp_path):
    with pytest.raises(ValueError, match="DIR: expected notebooks"):
        grade(tmp_path)
    for name in ("ada/lab1.py", "bob/01_one_bit.txt", "bob/01_one_bit.IPYNB", ".hidden/a.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("{}")
    (tmp_path / "ada" / results.NAME).write_text("{}")
    assert [path.name for _, path in submissions(tmp_path)] == ["01_one_bit.IPYNB"]
    assert skipped(tmp_path) == ["ada/lab1.py", "bob/01_one_bit.txt"]


@pytest.mark.parametrize("count", ["-1", "1e9", "10000000", '"3"', "true"])
def test_counts_that_a_hand_has_written_are_refused(tmp_path, count):
    path = tmp_path / results.NAME
    path.write_text(f'{{"version": 1, "exercises": {{"1.2": {{"tries": {count}}}}}}}')
    with pytest.raises(FileError, match="tries: expected a whole number from 0"):
        results.read_results(path)


def test_one_damaged_file_stops_no_statistics(tmp_path, capsys):
    for name, text in (("ada", '{"version": 1, "exer'), ("bob", '{"version": 1}')):
        (tmp_path / name).mkdir()
        (tmp_path / name / results.NAME).write_text(text)
    assert main(["course", "statistics", str(tmp_path)]) == 0
    assert "left out: " in capsys.readouterr().err
    for row in ("3", '"passed"', "null", "[]"):
        text = f'{{"version": 1, "notebooks": [{{"student": "a", "exercises": {{"1.2": {row}}}}}]}}'
        (tmp_path / "grades.json").write_text(text)
        assert main(["course", "statistics", str(tmp_path)]) == 2
        assert "grades.json: no grades, or damaged ones" in capsys.readouterr().err


# Judges and labs


@needs_fork
@pytest.mark.slow_without_jit
def test_a_judge_that_was_stopped_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr("qnn_ref.course.judges.WAKE", 0.05)
    body = f"import os, signal\nos.kill(os.getppid(), signal.SIGSTOP)\n{course_class.RIGHT}"
    judge = Judge()
    try:
        found = judge.ask(write(tmp_path, body=body), 1, None)
    finally:
        judge.end()
    assert found["exercises"]["1.3"]["status"] == "passed"


SLEEP = "77.25"
"""Seconds by which the processes of this file are known."""
SLEEPER = f"import subprocess\nsubprocess.Popen(['sleep', '{SLEEP}'], start_new_session=True)\n"


def sleepers():
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if SLEEP.encode() in (process / "cmdline").read_bytes().split(b"\0"):
                found.append(process.name)
        except OSError:
            continue
    return found


def until(condition):
    for _ in range(600):
        if condition():
            return True
        time.sleep(0.05)
    return False


@needs_fork
@pytest.mark.slow_without_jit
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs prctl")
def test_when_the_grading_ends_so_do_its_judges_and_what_they_run(tmp_path):
    write(tmp_path, body=f"{SLEEPER}import time\ntime.sleep(60)\n{course_class.RIGHT}")
    command = [sys.executable, "-m", "qnn_ref", "course", "grade", str(tmp_path), "--seconds", "50"]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as process:
        assert until(sleepers)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert until(lambda: not sleepers())
    assert [path.name for path in tmp_path.iterdir()] == ["01_one_bit.ipynb"]


def of_lab(line, extra=""):
    known = lab("lab1")
    return known.solution.replace(f"LINE = {known.number}", f"{extra}\nLINE = {line}")


def test_an_empty_line_is_no_line_that_does_what_it_should():
    known = lab("lab1")
    number = known.source.splitlines().index("") + 1
    assert f"line {number} is empty" in str(check_source(known, of_lab(number)))


@needs_fork
def test_what_a_lab_starts_is_ended_and_does_not_hold_the_verdict():
    known, start = lab("lab1"), f"import subprocess\nsubprocess.Popen(['sleep', '{SLEEP}'])"
    assert check_source(known, of_lab(known.number, start), 30).passed
    assert until(lambda: not sleepers())


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="has no alarm")
def test_an_alarm_that_rings_in_a_callback_of_the_collector_is_not_heard_there():
    """What is raised there is lost, and Python would print it; the alarm rings again."""
    before = sys.unraisablehook

    class Thing:
        pass

    def slow(dy, x):
        while True:
            thing = Thing()
            seen = weakref.ref(thing, lambda _: time.sleep(0.5))  # it rings after 0.2
            del thing
            assert seen() is None
            time.sleep(0.1)

    assert judge(replace(QUICK, seconds=0.2), slow).status == "too slow"
    assert sys.unraisablehook is before
