"""A class is graded whatever its notebooks do, and nothing of them is left.

`python -m tests.course_class` does the same with 50 of them.
"""

import csv
import io
import json
import os
import time
from pathlib import Path

import pytest

from qnn_ref.cli import main
from qnn_ref.course import isolation, registry
from qnn_ref.course.grade import grade, read_class, read_points, statistics, submissions, table_of
from qnn_ref.files import FileError
from tests import course_class

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="grading needs fork")


@pytest.mark.slow_without_jit
def test_a_class_is_graded_and_its_mistakes_are_counted(tmp_path, capsys):
    names = ["right", "strict", "hard exit", "processes", "forks", "cut", "stub", "files"]
    course_class.fill(tmp_path, names)
    (tmp_path / "00 right" / "course-results.json").write_text(
        '{"version": 1, "exercises": {"1.2": {"tries": 3, "hints": 2}}}'
    )
    before, asleep = sorted(tmp_path.rglob("*")), sleepers()
    code = main(["course", "grade", str(tmp_path), "-o", str(tmp_path / "marks.csv"), "--json"])
    found = json.loads(capsys.readouterr().out)
    assert code == 1  # the answer is no: somebody did not pass
    assert course_class.surprises(found) == []
    written = [tmp_path / "marks.csv", tmp_path / "marks.json"]
    assert sorted(tmp_path.rglob("*")) == sorted([*before, *written])

    rows = list(csv.DictReader(io.StringIO((tmp_path / "marks.csv").read_text())))
    assert len(rows) == len(names) * len(registry.exercises_of("01"))
    first = next(r for r in rows if r["student"] == "00 right" and r["exercise"] == "1.2")
    assert (first["status"], first["points"], first["tries"], first["hints"]) == (
        *("passed", "1", "3", "2"),
    )
    stored = json.loads((tmp_path / "marks.json").read_text())
    assert stored["notebooks"] == found["notebooks"]
    assert stored["notebooks"][0]["questions"]["1.7a"] is True

    assert main(["course", "statistics", str(tmp_path / "marks.json"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["exercises"][1]["mistakes"][0]["count"] == 1
    (tmp_path / "marks.json").rename(tmp_path / "grades.json")
    counted = {row["id"]: row for row in statistics(read_class(tmp_path))}
    assert counted["1.2"]["not_written"] == 1
    assert counted["1.2"]["mistakes"][0]["name"] == "strict"
    assert main(["course", "statistics", str(tmp_path)]) == 0
    assert "1 strict: Your mask is strict" in capsys.readouterr().out

    assert sleepers() - asleep == set()


def sleepers():
    """Processes that an answer has started."""
    found = filter(course_class.is_sleeper, isolation.descendants(1))
    return {process for process in found if started_by_us(process)}


def started_by_us(process):
    """Whether a sleeper comes from grading: others on this machine may sleep too."""
    try:
        environment = Path(f"/proc/{process}/environ").read_bytes()
        return b"QNN_REF_COURSE_RESULTS=none" in environment
    except OSError:
        return False


@pytest.mark.slow_without_jit
def test_what_hangs_is_stopped_and_the_rest_is_graded(tmp_path):
    """Catching every exception, or holding the interpreter lock in C, helps it nothing."""
    course_class.fill(tmp_path, ["catches", "holds the lock"])
    started = time.monotonic()
    results = grade(tmp_path, seconds=1)
    for entry in results["notebooks"]:
        assert entry["exercises"]["1.2"]["status"] == "too slow"
        assert entry["exercises"]["1.3"]["status"] != "not written"
    assert time.monotonic() - started < isolation.GRACE * 60  # a net, no measurement


@pytest.mark.slow_without_jit
def test_another_seed_and_other_points(tmp_path):
    (tmp_path / "ada.ipynb").write_text(json.dumps(course_class.notebook(None)))
    (tmp_path / ".ipynb_checkpoints").mkdir()
    (tmp_path / ".ipynb_checkpoints" / "ada.ipynb").write_text("{}")
    assert [student for student, _ in submissions(tmp_path)] == ["ada"]
    points = tmp_path / "points.json"
    points.write_text('{"1.2": 7}')
    results = grade(tmp_path, seed=5, points=read_points(points))
    row = results["notebooks"][0]["exercises"]["1.2"]
    assert (row["points"], row["of"], results["seed"]) == (7, 7, 5)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[]", "expected an object"),
        ('{"1.99": 1}', "no exercise '1.99'"),
        ('{"1.2": "3"}', "expected a whole number"),
        ('{"1.2": -1}', "at least 0"),
        ("{", "no table of points"),
    ],
)
def test_points_that_are_none(tmp_path, text, words):
    (tmp_path / "points.json").write_text(text)
    with pytest.raises(FileError, match=words):
        read_points(tmp_path / "points.json")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["grade"], "needs a folder"),
        (["grade", "nowhere"], "expected a folder of notebooks"),
        (["statistics", "."], "neither grades.json"),
        (["statistics", "grades.json"], "there is no such file"),
        (["statistics"], "needs a folder"),
        (["grade", ".", "-o", "marks.json"], "the name of a CSV"),
        (["check"], "number of a notebook, or --all"),
        (["check", "77"], "expected one of"),
        (["check", "01"], "there is no notebook 01_"),
        (["hint"], "needs the id"),
        (["hint", "1.22"], "did you mean '1.2'"),
    ],
)
def test_wrong_use_is_said_in_a_line(monkeypatch, tmp_path, capsys, arguments, words):
    monkeypatch.chdir(tmp_path)
    assert main(["course", *arguments]) == 2
    assert words in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_spreadsheet_sees_no_formula():
    row = {"status": "passed", "points": 1, "wrong": "=1+1"}
    results = {"notebooks": [{"student": "@ada", "notebook": "-x", "exercises": {"1.2": row}}]}
    text = table_of(results).decode()
    assert "'@ada,'-x,1.2,passed,1,,'=1+1" in text


def test_damaged_grades_are_refused(tmp_path):
    for text in ("", "{", "[]", '{"version": 9}', '{"version": 1, "notebooks": [3]}'):
        (tmp_path / "grades.json").write_text(text)
        with pytest.raises(FileError, match="no grades, or damaged ones"):
            read_class(tmp_path)
