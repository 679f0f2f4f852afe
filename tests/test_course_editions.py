"""Two editions of a cell, and answers out of a notebook that somebody has worked in."""

import json

import numpy as np
import pytest

from qnn_ref.course import editions
from qnn_ref.course.editions import STUB, Cell, folded, of_student, read_cells, shows_nothing
from qnn_ref.course.solving import answers_of, verdict_on, verdicts_of
from qnn_ref.files import FileError
from tests.test_course_students import GRADIENT

BEGIN, END = editions.BEGIN, editions.END
SOLVED = f'''def straight_through(dy, x):
    """Eq. (4)."""
    {BEGIN}
    mask = np.abs(x) <= 1
    return dy * mask
    {END}


course.check("1.2", straight_through)'''
TAGS = ("exercise", "id:1.2")


def test_a_solution_becomes_one_stub_of_its_depth():
    student = of_student(Cell("code", SOLVED, TAGS)).source
    assert student.splitlines()[:4] == [
        "def straight_through(dy, x):",
        '    """Eq. (4)."""',
        f"    {STUB}",
        "",
    ]
    assert student.endswith('course.check("1.2", straight_through)')
    assert of_student(Cell("code", SOLVED)).source == SOLVED, "only a cell with the tags"


@pytest.mark.parametrize(
    "source", [BEGIN, END, f"{BEGIN}\n{BEGIN}\n{END}", f"{BEGIN}\n{END}\n{END}"]
)
def test_solutions_begin_and_end(source):
    with pytest.raises(ValueError, match="source: expected"):
        editions.without_solution(source)


@pytest.mark.parametrize(
    ("source", "student"),
    [
        ('course.answer("1.1a", 3)', 'course.answer("1.1a", ...)'),
        ('course.answer("1.1a", (1, -1))  # two', 'course.answer("1.1a", ...)  # two'),
        ('course.answer("1.1a", "a)")  # a) or b)', 'course.answer("1.1a", ...)  # a) or b)'),
        ('print("ü"); course.answer("ü", 1)', 'print("ü"); course.answer("ü", ...)'),
        ("x = 3", "x = 3"),
    ],
)
def test_answers_become_dots(source, student):
    assert of_student(Cell("code", source, ("question",))).source == student


def test_answers_stand_in_one_line():
    with pytest.raises(ValueError, match="in one line"):
        editions.without_answers('course.answer("1.1a", (1,\n 2))')


def test_answers_are_folded_up_to_the_next_bold_paragraph():
    text = (
        "**Answer.** Two.\n\nAnd more.\n\n**Question.** Why?\n\n**Answer.** So.\n\n## Next\n\nText"
    )
    assert folded(text) == (
        "<details><summary>Answer</summary>\n\n**Answer.** Two.\n\nAnd more.\n\n</details>\n\n"
        "**Question.** Why?\n\n"
        "<details><summary>Answer</summary>\n\n**Answer.** So.\n\n</details>\n\n## Next\n\nText"
    )
    assert folded("No **Answer.** here") == "No **Answer.** here"


def test_nothing_is_shown_between_a_question_and_its_answer():
    cells = [
        Cell("code", "before"),
        Cell("markdown", "# 1\n\n**Question.** What?"),
        Cell("code", 'course.answer("1.1a", 1)', ("question",)),
        Cell("code", "it"),
        Cell("markdown", "Words in between."),
        Cell("code", "still it"),
        Cell("markdown", "**Answer.** That.\n\nMore."),
        Cell("code", "after"),
        Cell("code", SOLVED, TAGS),
        Cell("markdown", "**Answer.** One.\n\n**Question.** Two?"),
        Cell("code", "it again"),
        Cell("markdown", "## Another section"),
        Cell("code", "free"),
    ]
    hidden = [cell.source for cell, h in zip(cells, shows_nothing(cells), strict=True) if h]
    assert hidden == ['course.answer("1.1a", 1)', "it", "still it", SOLVED, "it again"]


# Notebooks and sources as files


def notebook(*cells):
    return {
        "cells": [
            {"cell_type": "code", "source": source, "metadata": {"tags": list(tags)}}
            for source, tags in cells
        ]
    }


def test_sources_and_notebooks_give_the_same_cells(tmp_path):
    source = tmp_path / "01_a.py"
    source.write_text(
        f"# %% [markdown]\n# # Title\n#\n# Text\n\n# %%\n# %matplotlib inline\nx = 1\n\n\n"
        f'# %% tags=["exercise", "id:1.2"]\n{SOLVED}\n'
    )
    cells = read_cells(source)
    assert cells[0] == Cell("markdown", "# Title\n\nText")
    assert cells[1] == Cell("code", "%matplotlib inline\nx = 1")
    assert cells[2] == Cell("code", SOLVED, TAGS)
    stored = tmp_path / "01_a.ipynb"
    stored.write_text(json.dumps(notebook((SOLVED.splitlines(keepends=True), TAGS))))
    assert read_cells(stored) == cells[2:]


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", '{"cells": 3}', '{"cells": [3]}', '{"cells": [{"metadata": 3}]}', "\xff"],
)
def test_what_is_no_notebook_is_refused(tmp_path, text):
    path = tmp_path / "a.ipynb"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(FileError, match=r"a\.ipynb: not a notebook, or a damaged one"):
        read_cells(path)


# A student's notebook: only what an exercise needs is run


def verdict(*cells):
    found = [Cell("code", text, tags) for text, tags in cells]
    ((_, answer),) = answers_of(found, "a.ipynb", ["1.2"])
    return verdict_on(GRADIENT, answer)


RIGHT = SOLVED.replace(BEGIN, "").replace(END, "")
IMPORT = ("import numpy as np\nraise SystemExit(1)", ())


def test_imports_and_helpers_are_found_by_name_wherever_they_stand():
    helped = RIGHT.replace("np.abs(x)", "size_of(x)")
    helper = "BOUND = 1\ndef size_of(x):\n    return np.abs(x) / BOUND"
    noise = "def unused():\n    return later\n1 / 0"
    assert verdict(IMPORT, (noise, ()), (helper, ()), (helped, TAGS)).passed
    assert verdict(IMPORT, (helped, TAGS), (helper, ())).passed, "also below"


def test_magics_and_broken_cells_elsewhere_do_not_matter():
    assert verdict(
        ("%matplotlib inline\n!ls\nimport numpy as np", ()), ("def (", ()), (RIGHT, TAGS)
    )
    timed = RIGHT.replace("def straight", "%time 3\ndef straight")
    assert verdict(IMPORT, (timed, TAGS)).passed


def test_the_last_cell_of_an_exercise_counts():
    wrong = RIGHT.replace("<= 1", "< 1")
    assert verdict(IMPORT, (wrong, TAGS), (RIGHT, TAGS)).passed
    assert verdict(IMPORT, (RIGHT, TAGS), (wrong, TAGS)).wrong == "strict"


def test_a_cell_that_lost_its_tags_is_known_by_its_check(tmp_path):
    path = tmp_path / "a.ipynb"
    path.write_text(json.dumps(notebook((IMPORT[0], ()), (RIGHT, ()))))
    (found,) = verdicts_of(path, ["1.2"])
    assert found.passed


def test_the_check_of_the_student_is_not_called_and_may_be_gone():
    silent = RIGHT.replace('course.check("1.2", straight_through)', "")
    assert verdict(IMPORT, (silent, TAGS)).passed
    other = RIGHT.replace("course.check", "course.nothing")
    assert verdict(IMPORT, (other, TAGS)).passed


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (RIGHT.replace("def ", "def ("), "Its cell does not run: SyntaxError"),
        (
            RIGHT.replace("straight_through", "straight"),
            "defines no straight_through; did you mean",
        ),
        (f"exit()\n{RIGHT}", "Its cell does not run: SystemExit"),
        (f"raise KeyboardInterrupt\n{RIGHT}", "Its cell does not run: KeyboardInterrupt"),
        (f"unknown\n{RIGHT}", "name 'unknown' is not defined"),
    ],
)
def test_cells_that_do_not_run_are_said(text, words):
    found = verdict(IMPORT, (text, TAGS))
    assert found.status == "error"
    assert words in str(found)


def test_an_exercise_without_a_cell_is_not_written():
    found = verdict(IMPORT)
    assert found.status == "not written"
    assert "There is no cell for it" in str(found)


def test_a_line_of_a_cell_is_named():
    found = verdict(IMPORT, (RIGHT.replace("np.abs(x) <= 1", "x[10**6]"), TAGS))
    assert "in line 4: mask = x[10**6]" in str(found)
    assert found.sha256
    assert np.abs is np.absolute
