"""Every exercise of the course, walked over: a new one is found by these tests too.

The right answer passes, the stub is "not written yet", every known mistake fails and hears its own
sentence, and no message gives the solution away.
"""

import ast
import dataclasses
import inspect
import io
import json
import re
import time
import tokenize
from collections import Counter
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from qnn_ref.course import registry
from qnn_ref.course.check import judge
from qnn_ref.course.editions import is_question, of_student, read_cells
from qnn_ref.course.exercise import Verdict
from qnn_ref.course.solving import answers_of, find_notebook, verdicts_of
from qnn_ref.course.student import agrees, answer

ROOT = Path(__file__).resolve().parents[1]
CHAPTERS = registry.chapter_names()
EXERCISES = [e for chapter in CHAPTERS for e in registry.exercises_of(chapter)]
MISTAKES = [(e, w) for e in EXERCISES for w in e.wrong]
QUESTIONS = [q for chapter in CHAPTERS for q in registry.questions_of(chapter)]
SEEDS = 20

every_exercise = pytest.mark.parametrize("exercise", EXERCISES, ids=lambda e: e.id)
every_mistake = pytest.mark.parametrize(
    ("exercise", "wrong"), MISTAKES, ids=[f"{e.id} {w.name}" for e, w in MISTAKES]
)
every_question = pytest.mark.parametrize("question", QUESTIONS, ids=lambda q: q.id)


@cache
def source(chapter):
    """Path and cells of the source of a notebook."""
    path = find_notebook(chapter, ROOT, ".py")
    return path, read_cells(path)


@cache
def of_mistake(exercise, wrong) -> Verdict:
    return judge(exercise, wrong.answer)


def test_ids_are_unique_and_belong_to_their_chapter():
    ids = [e.id for e in EXERCISES] + [q.id for q in QUESTIONS]
    assert [i for i, count in Counter(ids).items() if count > 1] == []
    for chapter in CHAPTERS:
        own = [*registry.exercises_of(chapter), *registry.questions_of(chapter)]
        assert {registry.chapter_of(one.id) for one in own} <= {chapter}


@every_exercise
def test_an_exercise_is_complete(exercise):
    assert re.fullmatch(r"\d+\.\d+", exercise.id)
    assert exercise.name.isidentifier()
    assert len(exercise.wrong) >= 2
    assert len({w.name for w in exercise.wrong}) == len(exercise.wrong)
    assert len({w.says for w in exercise.wrong}) == len(exercise.wrong)
    assert len(set(exercise.hints)) == 3
    assert all(len(text) > 10 for text in (*exercise.hints, exercise.task))
    assert exercise.section


@every_exercise
def test_an_exercise_stands_in_one_cell_of_its_notebook(exercise):
    places = [
        (chapter, cell)
        for chapter in CHAPTERS
        for cell in source(chapter)[1]
        if cell.exercise == exercise.id
    ]
    assert [chapter for chapter, _ in places] == [registry.chapter_of(exercise.id)]
    cell = places[0][1]
    assert f'course.check("{exercise.id}", {exercise.name})' in cell.source
    tree = ast.parse(cell.source)
    function = next(n for n in tree.body if getattr(n, "name", "") == exercise.name)
    assert tuple(a.arg for a in function.args.args) == exercise.arguments
    assert ast.get_docstring(function)


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_every_tagged_cell_is_an_exercise_and_nothing_later_uses_it(chapter):
    cells = source(chapter)[1]
    known = {e.id: e.name for e in registry.exercises_of(chapter)}
    for number, cell in enumerate(cells):
        if "exercise" in cell.tags:
            assert cell.exercise in known
            later = [c.source for c in cells[number + 1 :] if c.kind == "code" and not c.exercise]
            used = {
                node.id
                for text in later
                for node in ast.walk(ast.parse(re.sub(r"(?m)^%.*$", "", text)))
                if isinstance(node, ast.Name)
            }
            assert known[cell.exercise] not in used, "the student's function may be wrong"


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_the_solutions_pass_and_the_stubs_are_not_written(chapter):
    path, cells = source(chapter)
    ids = [e.id for e in registry.exercises_of(chapter)]
    assert [str(v) for v in verdicts_of(path, ids, seed=3) if not v.passed] == []
    student = [of_student(cell) for cell in cells]
    for id, stub in answers_of(student, path.name, ids):
        verdict = judge(registry.exercise(id), stub)
        assert (verdict.status, verdict.lines) == ("not written", ())


@every_exercise
def test_the_right_answer_passes_with_many_seeds(exercise):
    started = time.perf_counter()
    verdicts = [judge(exercise, exercise.spec, seed) for seed in range(SEEDS)]
    assert [str(v) for v in verdicts if not v.passed] == []
    assert verdicts[0].cases >= 5
    assert time.perf_counter() - started < 60  # a net for a mistake in the cases, no measurement


@every_exercise
def test_drawn_cases_differ_from_seed_to_seed(exercise):
    """An answer that knows the cases of one seed by heart passes with no other."""
    known = {
        repr([np.asarray(a).tobytes() for a in case]): exercise.spec(*case)
        for case in exercise.cases(np.random.default_rng(0))
    }
    wrong = exercise.wrong[0].answer

    def by_heart(*case):
        key = repr([np.asarray(a).tobytes() for a in case])
        return known[key] if key in known else wrong(*case)

    assert judge(exercise, by_heart, seed=0).passed or exercise.gradient is not None
    assert not all(judge(exercise, by_heart, seed=s).passed for s in (1, 2, 3))


@every_mistake
def test_a_known_mistake_fails_and_hears_its_own_sentence(exercise, wrong):
    verdict = of_mistake(exercise, wrong)
    assert not verdict.passed
    assert verdict.wrong == wrong.name, str(verdict)
    assert wrong.says in verdict.lines
    assert verdict.hint == 0


@every_mistake
def test_a_message_gives_nothing_away(exercise, wrong):
    """No line of the solution, and one case only."""
    text = str(of_mistake(exercise, wrong))
    assert text.count("right is") <= 1
    assert len(text) < 1200
    told = [text, *exercise.hints, *(w.says for w in exercise.wrong)]
    assert [(line, t) for line in solution_lines(exercise) for t in told if line in t] == []


def solution_lines(exercise):
    """Lines of the solution in the notebook and of the specification that would tell."""
    cell = next(c for c in source(registry.chapter_of(exercise.id))[1] if c.exercise == exercise.id)
    stub = of_student(cell).source.splitlines()
    own = [line for line in cell.source.splitlines() if line not in stub]
    lines = [*own, *inspect.getsource(exercise.spec).splitlines()]
    found = [re.sub(r"^(return|\w+ =)\s+", "", line.strip()) for line in lines]
    return [line for line in found if len(line) > 14 and not line.startswith(('"""', "#", "def "))]


@every_mistake
def test_a_mistake_with_another_seed_is_found_too(exercise, wrong):
    verdict = judge(exercise, wrong.answer, seed=11)
    assert verdict.wrong == wrong.name, str(verdict)


@every_question
def test_a_question_has_an_answer_and_a_cell(question):
    assert agrees(question, question.right)
    for value in question.no:
        assert not agrees(question, value)
    assert not question.options or question.right in question.options
    cells = [c for c in source(registry.chapter_of(question.id))[1] if is_question(c)]
    here = [c for c in cells if f'course.answer("{question.id}", ' in c.source]
    assert len(here) == 1
    words = str(eval_answer(here[0].source))
    assert words.startswith(f"{question.id} Yes")
    dots = of_student(here[0]).source
    assert f'course.answer("{question.id}", ...)' in dots
    assert "in the place of the dots" in str(eval_answer(dots))


def eval_answer(text):
    calls = [n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Call)]
    call = next(n for n in calls if ast.unparse(n.func) == "course.answer")
    return answer(*(ast.literal_eval(a) for a in call.args))


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_every_question_cell_is_known(chapter):
    known = {q.id for q in registry.questions_of(chapter)}
    asked = [
        found
        for cell in source(chapter)[1]
        for found in re.findall(r'course\.answer\("([^"]+)"', cell.source)
    ]
    assert sorted(asked) == sorted(known)


def _raising(error):
    def carry_save_count(words, popcount):
        if len(words) > 7:
            raise error("where the known mistake raises something else")
        return int(sum(popcount(word) for word in words))

    return carry_save_count


def test_another_exception_on_the_same_cases_is_another_mistake():
    known = registry.exercise("10.2").wrong[-1].answer
    assert judge(registry.exercise("10.2"), known).wrong == "a popcount a word"
    verdict = judge(registry.exercise("10.2"), _raising(IndexError))
    assert verdict.wrong == verdict.close == ""
    assert "IndexError" in str(verdict)


def test_nan_where_a_known_mistake_gives_nan_is_that_mistake():
    def log_gradient(ds, k):
        with np.errstate(all="ignore"):
            right = registry.exercise("8.1").spec(ds, k)
            return right + 0 / np.abs(ds).max()

    verdict = judge(registry.exercise("8.1"), log_gradient)
    assert (verdict.fault, verdict.wrong) == ("nan", "all zero")


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_no_two_words_run_together_where_a_text_goes_on_in_the_next_line(chapter):
    path = ROOT / "qnn_ref" / "course" / "chapters" / f"ch{chapter}.py"
    tokens = tokenize.generate_tokens(io.StringIO(path.read_text("utf-8")).readline)
    tokens = [t for t in tokens if t.type != tokenize.NL]
    joined = [
        (one.start[0], one.string[-20:], two.string[:20])
        for one, two in pairwise(tokens)
        if one.type == two.type == tokenize.STRING
        and re.search(r"[\w.,:;)]\W?$", one.string)
        and not one.string[-2].isspace()
        and re.match(r"\w?[\"']\w", two.string)
    ]
    assert joined == []


def test_several_results_may_come_in_a_list():
    adder = registry.exercise("10.1")
    right, wrong = adder.spec, adder.wrong[0]
    assert judge(adder, lambda x, y, z: list(right(x, y, z))).passed
    assert judge(adder, lambda x, y, z: list(wrong.answer(x, y, z))).wrong == wrong.name


# Whatever is handed in, to any exercise


def of_same_form(change):
    """An answer that is right but for a change of each array that it returns."""

    def make(exercise):
        def answer(*case):
            right = exercise.spec(*case)
            parts = right if isinstance(right, tuple) else (right,)
            found = tuple(change(part) for part in parts)
            return found if isinstance(right, tuple) else found[0]

        return answer

    return make


def always(value):
    return lambda exercise: lambda *case: value


CAREFREE = {
    "None": always(None),
    "a list": of_same_form(lambda a: list(np.atleast_1d(a))),
    "nested lists": always([[1, 2], [3]]),
    "a number": always(0.5),
    "an empty array": always(np.ones(0)),
    "an array of another shape": always(np.ones((2, 3, 4))),
    "one axis more": of_same_form(lambda a: np.asarray(a)[None]),
    "objects": of_same_form(lambda a: np.asarray(a).astype(object)),
    "NaN": of_same_form(lambda a: np.full(np.shape(a), np.nan)),
    "infinity": of_same_form(lambda a: np.full(np.shape(a), -np.inf)),
    "zeros": of_same_form(np.zeros_like),
    "negatives": of_same_form(lambda a: -np.asarray(a, float)),
    "truth values": of_same_form(lambda a: np.asarray(a) == 77),
    "texts": of_same_form(lambda a: np.asarray(a).astype(str)),
    "halves": of_same_form(lambda a: np.asarray(a).astype(np.float16)),
    "a tuple of everything": always((1, "a", None, np.ones(3), [])),
    "a generator": lambda exercise: lambda *case: (value for value in case),
    "its first argument": lambda exercise: lambda *case: case[0],
    "an error": lambda exercise: lambda *case: case[99],
    "the end": lambda exercise: lambda *case: exit(),
    "a change": lambda exercise: lambda *case: [a.fill(0) for a in case if hasattr(a, "fill")],
    "a shape": lambda exercise: lambda *case: [setattr(case[0], "shape", (-1,))],
    "too few": lambda exercise: lambda: 1,
}


@pytest.mark.slow_without_jit
@pytest.mark.parametrize("name", CAREFREE)
@every_exercise
def test_any_answer_to_any_exercise_gets_a_clear_verdict(exercise, name):
    answer = CAREFREE[name](exercise)
    if exercise.without:
        exercise = dataclasses.replace(exercise, without=())
    verdict = judge(exercise, answer)
    text = str(verdict)
    assert verdict.status in ("failed", "error"), text
    assert len(verdict.lines) >= 1
    assert len(text) < 2000
    assert "The check itself" not in text
    json.dumps(verdict.to_json(), allow_nan=False)


def test_an_integer_beyond_64_bits_is_a_number_like_others():
    product = registry.exercise("8.3")
    for value in (2**200, -(2**64)):
        verdict = judge(product, lambda S, M, W, value=value: value)
        assert (verdict.status, verdict.fault, verdict.wrong) == ("failed", "", "")
        assert f"yours gives {value}," in str(verdict)
