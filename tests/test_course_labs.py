"""The labs: each has one wrong line, and every half of an answer is told from a whole one."""

import ast
import json
import re
import runpy
from pathlib import Path

import pytest

from qnn_ref.cli import main
from qnn_ref.course.labs import LABS, Lab, check_source, lab
from qnn_ref.course.labs.lab import STUB
from qnn_ref.course.labs.trial import tried

FOLDER = Path(__file__).parents[1] / "notebooks" / "labs"

every_lab = pytest.mark.parametrize("known", LABS, ids=lambda known: known.id)


def named(source: str, known: Lab) -> str:
    return source.replace("LINE = 0", f"LINE = {known.number}", 1)


def with_test(source: str, body: str) -> str:
    assert source.count(STUB) == 1
    return source.replace(STUB, body)


def test_there_are_eight_in_order():
    assert [known.id for known in LABS] == [f"lab{i}" for i in range(1, 9)]


@every_lab
def test_the_course_has_the_program_that_students_get(known):
    assert (FOLDER / f"{known.id}.py").read_text("utf-8") == known.source
    assert f"[{known.id}]({known.id}.py) {known.title} |" in (FOLDER / "README.md").read_text()
    assert ast.get_docstring(ast.parse(known.source)).startswith(
        f"Lab {known.id[-1]}. {known.title}."
    )


@every_lab
def test_one_line_is_wrong_and_the_program_does_not_say_which(known):
    assert known.source.count(known.wrong) == 1
    assert known.source.splitlines()[known.number - 1].strip() == known.wrong
    assert known.mended not in known.source
    assert len(known.source.splitlines()) <= 85
    assert not re.search(r"wrong line|bug|BUG", known.source.partition("def would_have")[2])


@every_lab
def test_the_solution_passes_and_nothing_less(known):
    passed, lines = tried(known, known.solution)
    assert passed == "passed", lines
    body = known.solution.partition('mended one."""\n')[2].partition("\n\n\n")[0] + "\n"
    said = {}
    for name, source in {
        "as it came": known.source,
        "a remark": known.source + "\n# I have read it\n",
        "another line": known.solution.replace(f"LINE = {known.number}", "LINE = 1"),
        "no number": known.solution.replace(f"LINE = {known.number}", "LINE = '1'"),
        "named only": named(known.source, known),
        "named, and a test": with_test(named(known.source, known), body),
        "mended only": named(known.mended_source, known),
        "a test that passes": with_test(named(known.mended_source, known), "    assert lab\n"),
        "a test that fails": with_test(named(known.mended_source, known), "    assert not lab\n"),
        "a test that stops": with_test(named(known.mended_source, known), "    lab.nothing\n"),
    }.items():
        status, lines = tried(known, source)
        assert status == ("not written" if name == "as it came" else "failed"), (name, lines)
        assert known.mended.splitlines()[0] not in lines[0]
        assert known.test.splitlines()[0] not in lines[0]
        said[name] = lines[0]
    assert said["named only"] == said["named, and a test"]
    assert len(set(said.values())) == len(said) - 1
    assert said["another line"].startswith("LINE: line 1 does what it should")
    assert "not mended" in said["named only"]
    assert "not written yet" in said["mended only"]
    assert "passes on the wrong program too" in said["a test that passes"]
    assert "does not pass" in said["a test that fails"]


@every_lab
def test_the_test_is_judged_by_programs_not_by_their_text(known):
    """A test that reads the source has none to read."""
    body = f"    import inspect\n    assert {known.wrong!r} not in inspect.getsource(lab)\n"
    status, lines = tried(known, with_test(named(known.mended_source, known), body))
    assert status == "failed"
    assert "OSError" in lines[0] or "TypeError" in lines[0], lines


BROKEN_ELSEWHERE = {
    "lab1": ("return np.where(x >= 0, 1.0, -1.0)", "return np.sign(x)"),
    "lab2": ("return x @ sign(latent)", "return x @ latent"),
    "lab3": ("* r * gain + shift", "* (r * gain) + shift"),
    "lab4": ("constant_values=0)", "constant_values=1)"),
    "lab5": ("moved = latent - rate * gradient", "latent -= rate * gradient; moved = latent"),
    "lab6": ("exact).max()", "exact).min()"),
    "lab7": ("return (s - self.mean) * self.inverse", "return (s - self.mean) / self.inverse"),
    "lab8": ("self.m = self.beta1 * self.m", "self.m = self.m"),
}


@every_lab
def test_a_program_that_is_mended_there_and_broken_elsewhere_does_not_pass(known):
    old, new = BROKEN_ELSEWHERE[known.id]
    assert known.solution.count(old) == 1
    status, lines = tried(known, known.solution.replace(old, new))
    assert status == "failed", lines
    assert "not mended" in lines[0]


@every_lab
def test_hints_do_not_hold_the_line(known):
    assert len(set(known.hints)) == 3
    assert not any(known.mended in hint or known.wrong in hint for hint in known.hints)


@pytest.mark.parametrize("number", [3, 4, 5, 6, 8])
def test_a_program_shows_its_symptom(number, capsys):
    """Those that take no time."""
    runpy.run_path(str(FOLDER / f"lab{number}.py"), run_name="__main__")
    out = capsys.readouterr().out
    wanted = {
        3: "12,731 of 10,000,000 bits differ",
        4: "[[-3 -1 -1",
        5: "the largest latent weight: 8.7",
        6: "batch norm, half forgotten: ",
        8: "step 599: loss 0.076",
    }
    assert wanted[number] in out


def test_a_program_that_does_not_end_or_ends_python_has_a_verdict():
    known = lab("1")
    for body, status, words in (
        ("while True:\n    pass\n", "too slow", "more than 2 seconds"),
        ("import os\n\nos._exit(3)\n", "error", "exit code 3"),
        ("raise SystemExit(0)\n", "failed", "stops with SystemExit"),
        ("print('{}')\nLINE = 3\n", "failed", "line 3 does what it should"),
        ("def f(:\n", "failed", "SyntaxError"),
        ("", "failed", "LINE: expected a number"),
    ):
        verdict = check_source(known, body, seconds=2.0)
        assert (verdict.status, verdict.passed) == (status, False), verdict
        assert words in str(verdict)


def test_the_command_finds_the_file_and_names_what_it_needs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["course", "check", "lab4"]) == 2
    assert "lab4: expected lab4.py" in capsys.readouterr().err
    (tmp_path / "lab4.py").write_text(lab("lab4").solution)
    assert main(["course", "check", "lab4", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["passed"], answer["failed"]) == (1, 0)
    assert main(["course", "check", "lab9"]) == 2
    assert "did you mean" in capsys.readouterr().err
    (tmp_path / "lab1.py").write_bytes(b"\xff\xfe")
    assert main(["course", "check", "lab1"]) == 2
    assert "no text" in capsys.readouterr().err
    assert main(["course", "hint", "lab2"]) == 0
    assert lab("lab2").hints[0] in capsys.readouterr().out
