"""The exercises as sources for nbgrader and otter, whatever notebook they stand in.

The tools themselves are run where they are installed: `pip install nbgrader otter-grader`.
"""

import json
import subprocess
import sys

import pytest

pytest.importorskip("jupytext", reason="the notebooks need jupytext (dependency group test)")

import assignments
import render

from qnn_ref.course import registry
from qnn_ref.course.editions import STUB

RIGHT = "return dy * (np.abs(x) <= 1)"
every_notebook = pytest.mark.parametrize("source", render.sources(), ids=lambda source: source.stem)


def exercises(source):
    chapter = source.name[:2]
    return registry.exercises_of(chapter) if chapter in registry.chapter_names() else ()


@every_notebook
def test_every_exercise_has_a_solution_cell_and_a_test_cell_of_nbgrader(source):
    cells = assignments.assignment(render.read(source), "nbgrader").cells
    found = [c for c in cells if "nbgrader" in c.metadata]
    needed = {"schema_version", "grade", "solution", "locked", "grade_id", "task"}
    for number, exercise in enumerate(exercises(source)):
        answer = next(c for c in found if c.metadata.nbgrader.grade_id == grade_id(exercise, 0))
        test = next(c for c in found if c.metadata.nbgrader.grade_id == grade_id(exercise, 1))
        assert needed <= answer.metadata.nbgrader.keys()
        assert needed | {"points"} <= test.metadata.nbgrader.keys()
        assert "SOLUTION" in answer.source
        assert "course.check" not in answer.source
        assert f'course.check("{exercise.id}"' in test.source
        assert number < len(found) / 2
    assert len(found) == 2 * len(exercises(source))
    elsewhere = "".join(c.source for c in cells if "nbgrader" not in c.metadata)
    assert "SOLUTION" not in elsewhere, "nbgrader finds the words anywhere in a line"


def grade_id(exercise, number):
    return f"{('answer', 'check')[number]}-{exercise.id.replace('.', '-')}"


@every_notebook
def test_every_exercise_is_a_question_of_otter(source):
    cells = assignments.assignment(render.read(source), "otter").cells
    raw = [c.source.partition("\n")[0] for c in cells if c.cell_type == "raw"]
    marks = ["QUESTION", "SOLUTION", "TESTS"]
    for mark in marks:
        assert raw.count(f"# BEGIN {mark}") == raw.count(f"# END {mark}") == len(exercises(source))
    assert raw[0] == "# ASSIGNMENT CONFIG"


def answered(path, name):
    """One exercise solved, the others left as they are."""
    notebook = json.loads(path.read_text("utf-8"))
    for cell in notebook["cells"]:
        text = "".join(cell["source"])
        if f"def {name}(" in text:
            for stub in (f"# YOUR CODE HERE\n    {STUB}()", "    ..."):
                text = text.replace(stub, RIGHT if stub[0] == "#" else f"    {RIGHT}")
            cell["source"] = text
    return json.dumps(notebook)


def run(folder, *words):
    command = [sys.executable, "-m", *words]
    subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=300)


@pytest.mark.slow_without_jit
def test_nbgrader_gives_the_points(tmp_path):
    pytest.importorskip("nbgrader")
    from nbgrader.api import Gradebook

    (tmp_path / "nbgrader_config.py").write_text(
        f"c = get_config()\nc.CourseDirectory.root = {str(tmp_path)!r}\n"
    )
    source = tmp_path / "source" / "one" / "01_one_bit.ipynb"
    source.parent.mkdir(parents=True)
    notebook = assignments.assignment(render.read(render.FOLDER / "01_one_bit.py"), "nbgrader")
    render.write(notebook, source)
    run(tmp_path, "nbgrader", "generate_assignment", "one", "--create")
    released = tmp_path / "release" / "one" / source.name
    assert "SOLUTION" not in released.read_text("utf-8")
    handed_in = tmp_path / "submitted" / "ada" / "one" / source.name
    handed_in.parent.mkdir(parents=True)
    handed_in.write_text(answered(released, "straight_through"), "utf-8")
    run(tmp_path, "nbgrader", "autograde", "one", "--create")
    with Gradebook(f"sqlite:///{tmp_path}/gradebook.db") as gradebook:
        (found,) = gradebook.find_submission("one", "ada").notebooks
        scores = {grade.name: grade.auto_score for grade in found.grades}
    assert scores == {f"check-1-{n}": float(n == 2) for n in (1, 2, 3, 4)}


@pytest.mark.slow_without_jit
def test_otter_gives_the_points(tmp_path):
    pytest.importorskip("otter")
    source = tmp_path / "01_one_bit.ipynb"
    notebook = assignments.assignment(render.read(render.FOLDER / "01_one_bit.py"), "otter")
    render.write(notebook, source)
    run(tmp_path, "otter", "assign", source.name, "dist")
    student = tmp_path / "dist" / "student" / source.name
    assert "SOLUTION" not in student.read_text("utf-8")
    (tmp_path / "ada.ipynb").write_text(answered(student, "straight_through"), "utf-8")
    (archive,) = (tmp_path / "dist" / "autograder").glob("*.zip")
    run(tmp_path, "otter", "run", "-a", str(archive), "ada.ipynb", "-o", ".")
    tests = json.loads((tmp_path / "results.json").read_text())["tests"]
    scores = {t["name"]: t["score"] for t in tests if t["name"].startswith("exercise")}
    assert scores == {f"exercise_1_{n}": float(n == 2) for n in (1, 2, 3, 4)}
