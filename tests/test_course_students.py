"""Students by accident: whatever is handed in, there is a verdict, and nothing is left behind."""

import asyncio
import builtins
import contextlib
import functools
import random
import signal
import sys
import threading
import time
import warnings

import numpy as np
import pytest

from qnn_ref import bits, course
from qnn_ref.course import calls, registry, results, student
from qnn_ref.course.check import judge
from qnn_ref.course.exercise import Exercise, Verdict, Wrong

# Hypothesis watches the garbage collection, which may happen where an answer recurses without end.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Exception ignored in.*gc_callback:pytest.PytestUnraisableExceptionWarning"
)

GRADIENT = registry.exercise("1.2")
QUICK = Exercise(**{**vars(GRADIENT), "seconds": 0.4})


@pytest.fixture(autouse=True)
def own_session(monkeypatch):
    monkeypatch.setattr(student, "_session", student._Session())
    student._session.results = results.Results(None)


def right(dy, x):
    return dy * (np.abs(x) <= 1)


class Callable:
    def __call__(self, dy, x):
        return right(dy, x)

    def method(self, dy, x):
        return right(dy, x)


@np.vectorize
def vectorized(dy, x):
    return dy if abs(x) <= 1 else 0.0


@pytest.mark.parametrize(
    "answer",
    [
        right,
        lambda dy, x: right(dy, x),
        functools.partial(right),
        functools.partial(lambda scale, dy, x: scale * right(dy, x), 1.0),
        Callable(),
        Callable().method,
        lambda dy, x, more=3, *rest, **others: right(dy, x),
        lambda *arguments: right(*arguments),
        lambda dy, x: np.where(np.abs(x) <= 1, dy, dy.dtype.type(0)),
        lambda dy, x: right(dy, x)[...],  # a view of its own array
        lambda dy, x: np.asfortranarray(right(dy, x)),
        functools.lru_cache(maxsize=None)(lambda: right)(),
    ],
)
def test_right_answers_in_any_dress(answer):
    assert judge(GRADIENT, answer).passed


def grows(dy, x, seen=[]):  # noqa: B006
    seen.append(1)
    return right(dy, x) * (len(seen) < 30)


def keeps(dy, x, known={}):  # noqa: B006
    """The first answer for each shape, for ever."""
    return known.setdefault(x.shape, right(dy, x))


def shows(dy, x):
    sys.stdout.write("dy is\n" + "x" * 10_000_000)
    return dy


def resizes(dy, x):
    x.shape = (x.size,)
    return right(dy, x.reshape(dy.shape))


def swallows(dy, x):
    while True:
        with contextlib.suppress(Exception):
            time.sleep(0.01)


def own_stop(dy, x):
    raise KeyboardInterrupt


def with_pass(dy, x):
    """Nothing but this."""
    pass


def with_dots(dy, x): ...


class Rude(Exception):
    def __str__(self):
        raise ValueError("no text")


def rude(dy, x):
    raise Rude


class Array:
    def __array__(self, dtype=None, copy=None):
        raise RuntimeError("no array")


async def later(dy, x):
    await asyncio.sleep(0)


def replaces(dy, x):
    np.abs = np.negative
    builtins.sum = max
    return right(dy, x)


STUDENTS = [
    # answer, status, words that must be said
    (lambda dy, x: None, "failed", "returns None"),
    (lambda dy, x: list(right(dy, x)), "failed", "a list; an array is asked"),
    (lambda dy, x: right(dy, x)[0], "failed", "shape"),
    (lambda dy, x: np.array(1.0), "failed", "gives shape (), right is (1,). Does it treat every"),
    (lambda dy, x: 1.0, "failed", "shape ()"),
    (lambda dy, x: right(dy, x).astype(object), "failed", "an array of object"),
    (lambda dy, x: right(dy, x).astype(str), "failed", "an array of <U"),
    (lambda dy, x: right(dy, x).astype(complex), "failed", "complex"),
    (lambda dy, x: right(dy, x).astype(np.float16).astype(np.float64), "failed", "Smallest case"),
    (lambda dy, x: right(dy, x).astype(np.longdouble), "failed", "of a wrong type: "),
    (lambda dy, x: right(dy, x).astype(np.float64), "failed", "float64; float32 is asked"),
    (lambda dy, x: np.ma.masked_array(right(dy, x)), "failed", "a masked array"),
    (lambda dy, x: np.asmatrix(np.atleast_2d(right(dy, x))), "failed", "a matrix"),
    (lambda dy, x: (i for i in right(dy, x)), "failed", "a generator (yield"),
    (lambda dy, x: map(float, x), "failed", "an object of map"),
    (lambda dy, x: (dy, x), "failed", "2 values; one value is asked"),
    (lambda dy, x: {"dx": dy}, "failed", "a dict"),
    (lambda dy, x: right, "failed", "a function or a class, not called"),
    (lambda dy, x: "right", "failed", "a text"),
    (lambda dy, x: right(dy, x) > 0, "failed", "Smallest case"),
    (lambda dy, x: Array(), "failed", "an object of Array"),
    (lambda dy, x: right(dy, x) / (np.abs(x) <= 1), "failed", "NaN where a number is right"),
    (lambda dy, x: right(dy, x) * np.inf, "failed", "NaN"),
    (lambda dy, x: np.where(np.abs(x) <= 1, dy, np.inf), "failed", "infinity where"),
    (later, "failed", "a coroutine (async def"),
    (resizes, "failed", "changes its argument x"),
    (lambda dy, x: np.multiply(dy, np.abs(x) <= 1, out=dy), "failed", "changes its argument dy"),
    (lambda dy, x: x.sort() or right(dy, x), "failed", "changes its argument x"),
    (grows, "failed", ""),
    (keeps, "failed", ""),
    (lambda dy, x: right(dy, x) * random.choice([1, -1]), "failed", ""),
    (shows, "failed", "It printed: dy is ..."),
    (replaces, "failed", "replaces numpy.abs"),
    (lambda dy, x: 1 / 0, "error", "ZeroDivisionError: division by zero, in line"),
    (lambda dy, x: own_stop(dy, x), "error", "interrupted"),
    (lambda dy, x: sys.exit(3), "error", "ends the program"),
    (lambda dy, x: exit(), "error", "ends the program"),
    (lambda dy, x: np.ones(10**15), "error", "MemoryError"),
    (lambda dy, x: with_recursion(dy, x), "error", "calls itself without end"),
    (rude, "error", "raises Rude: (its text raises ValueError)"),
    (lambda dy, x: right(dy, X), "error", "name 'X' is not defined"),  # noqa: F821
    (with_pass, "not written", ""),
    (with_dots, "not written", ""),
    (right(np.ones(1), np.ones(1)), "error", "without brackets: course.check('1.2', straight"),
    (None, "error", "without brackets"),
    ("straight_through", "error", "without brackets"),
    (Callable, "error", "This is a class"),
    (int, "error", "This is a class"),
    (lambda x: x, "error", "yours takes (x)"),
    (lambda dy, x, lr: x, "error", "yours takes (dy, x, lr)"),
    (lambda: 1, "error", "yours takes ()"),
    (np.multiply, "failed", "Smallest case"),
    (len, "error", "arguments"),
    (max, "error", "raises"),
    (print, "failed", "returns None"),
]


def with_recursion(dy, x):
    return with_recursion(dy, x) + 1


@pytest.mark.parametrize(("answer", "status", "words"), STUDENTS)
def test_every_student_hears_something_clear(answer, status, words):
    before = list(sys.path), np.abs, builtins.sum, sys.stdout, signal.getsignal(signal.SIGALRM)
    verdict = judge(GRADIENT, answer)
    assert (verdict.status, verdict.passed) == (status, False)
    assert words in str(verdict), str(verdict)
    assert len(str(verdict)) < 1000
    assert "Traceback" not in str(verdict)
    after = list(sys.path), np.abs, builtins.sum, sys.stdout, signal.getsignal(signal.SIGALRM)
    assert after == before
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


@pytest.mark.parametrize("answer", [swallows, lambda dy, x: time.sleep(60) or dy])
def test_what_does_not_end_is_broken_off(answer):
    verdict = judge(QUICK, answer)
    assert verdict.status == "too slow"
    assert "longer than 0.4 seconds" in str(verdict)


def test_a_loop_does_not_end_either():
    def loop(dy, x):
        n = 0
        while n >= 0:
            n += 1

    assert judge(QUICK, loop).status == "too slow"


def test_outside_of_the_main_thread_there_is_no_alarm_and_a_verdict_all_the_same():
    found = []
    thread = threading.Thread(target=lambda: found.append(judge(GRADIENT, right)))
    thread.start()
    thread.join()
    assert found[0].passed


def test_warnings_of_an_answer_reach_nobody_and_are_a_fault_where_they_are_asked_about():
    def warns(dy, x):
        warnings.warn("mine", UserWarning, stacklevel=1)
        return right(dy, x)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert judge(GRADIENT, warns).passed
        verdict = judge(Exercise(**{**vars(GRADIENT), "quiet": True}), warns)
    assert caught == []
    assert "Python warns: mine." in str(verdict)


def test_what_was_replaced_before_is_put_back_and_said(monkeypatch):
    monkeypatch.setattr(np, "tanh", np.sin)
    assert "had replaced numpy.tanh" in str(judge(GRADIENT, right))
    assert judge(GRADIENT, right).passed


def test_settings_of_the_session_do_not_matter():
    with np.errstate(all="raise"), np.printoptions(precision=1):
        assert judge(GRADIENT, right).passed
        verdict = judge(GRADIENT, lambda dy, x: dy * (np.abs(x) <= np.nextafter(1, 2)))
    assert "1.0000000000000002" in str(verdict)


def test_the_line_of_the_student_is_named():
    verdict = judge(GRADIENT, lambda dy, x: right(dy, x)[999])
    assert "in line" in str(verdict)
    assert "right(dy, x)[999]" in str(verdict)


def test_an_answer_that_knows_the_shown_cases_does_not_pass():
    """As somebody would patch it: one shown case after the other."""
    patches = []
    for _ in range(8):

        def patched(dy, x, patches=tuple(patches)):
            for a, b, value in patches:
                if np.array_equal(a, dy) and np.array_equal(b, x):
                    return value
            return dy.copy()

        verdict = judge(GRADIENT, patched)
        assert not verdict.passed
        shown = verdict.arrays
        patches.append((shown["dy"], shown["x"], shown["right"]))


# Forbidden calls


def forbidding(*names):
    return Exercise(**{**vars(GRADIENT), "without": names})


def helper(x):
    return np.abs(x)


def through_a_helper(dy, x):
    return dy * (helper(x) <= 1)


absolute = np.abs


@pytest.mark.parametrize(
    ("answer", "names", "word"),
    [
        (right, ("absolute", "abs"), "abs"),
        (right, ("*",), "*"),
        (through_a_helper, ("abs",), "abs"),
        (lambda dy, x: dy * (absolute(x) <= 1), ("absolute",), "absolute"),
        (lambda dy, x: dy * (abs(x) <= 1), ("abs",), "abs"),
        (np.multiply, ("multiply",), "multiply"),
        (functools.partial(right), ("abs",), "abs"),
        (Callable(), ("abs",), "abs"),
        (lambda dy, x: np.array([d + 0 for d in dy]), ("for",), "for"),
        (lambda dy, x: np.array([d + 0 for d in dy]), ("abs",), ""),
        (lambda dy, x: right(dy, x), ("sign",), ""),
    ],
)
def test_forbidden_names_and_operators_are_found(answer, names, word):
    verdict = judge(forbidding(*names), answer)
    assert (verdict.fault == "forbidden") == bool(word)
    assert not word or f"Your answer uses {word}." in str(verdict)


def test_a_variable_of_that_name_is_no_call():
    def named(dy, x):
        abs = np.where(x < 0, -x, x)
        return dy * (abs <= 1)

    assert judge(forbidding("abs"), named).passed


# Recognition


def test_a_mistake_that_agrees_on_the_failing_cases_only_is_close():
    def sometimes(dy, x):
        return dy * (np.abs(x) < 1) if x.size == 1 else right(dy, x)

    verdict = judge(GRADIENT, sometimes)
    assert (verdict.wrong, verdict.close) == ("", "strict")
    assert "Close to: Your mask is strict" in str(verdict)


def test_the_same_exception_is_the_same_mistake_and_another_is_not():
    exercise = Exercise(
        **{
            **vars(GRADIENT),
            "wrong": (
                Wrong("index", lambda dy, x: dy[99], "You count too far."),
                Wrong("zero", lambda dy, x: 1 // 0, "You divide by zero."),
            ),
        }
    )
    assert judge(exercise, lambda dy, x: x[77]).wrong == "index"
    assert judge(exercise, lambda dy, x: 1 % 0).wrong == "zero"
    assert judge(exercise, lambda dy, x: np.linalg.inv(x)).wrong == ""


def test_right_numbers_of_a_wrong_type_hear_of_their_type_only():
    same_numbers = Wrong("same", lambda dy, x: right(dy, x), "The same numbers.")
    exercise = Exercise(**{**vars(GRADIENT), "wrong": (same_numbers,)})
    verdict = judge(exercise, lambda dy, x: right(dy, x).astype(np.longdouble))
    assert (verdict.wrong, verdict.close, verdict.hint, len(verdict.lines)) == ("", "", 0, 1)


def test_what_the_package_refuses_is_shown_where_the_student_called_it():
    def packs(dy, x):
        return bits.pack(x > 0)

    said = str(judge(GRADIENT, packs))
    assert "use pack_bits" in said
    assert "return bits.pack(x > 0)" in said


def test_a_slip_costs_no_hint():
    for slip in (lambda dy, x: None, lambda dy, x: dy[99], lambda dy, x: "text"):
        verdict = judge(GRADIENT, slip)
        assert (verdict.hint, "Hint" in str(verdict)) == (0, False)


@pytest.mark.parametrize(
    ("id", "change", "words"),
    [
        ("2.2", lambda ds, dg, db: (2 * ds, dg, db), "the gradient of s is 2 times too large"),
        ("2.2", lambda ds, dg, db: (ds, -dg, db), "the gradient of g has the wrong sign"),
        ("2.2", lambda ds, dg, db: (ds, dg, 0 * db), "the gradient of b "),
        ("2.4", lambda loss, gradient: (loss, 3 * gradient), "of scores is 3 times too large"),
    ],
)
def test_of_a_gradient_that_is_wrong_in_a_new_way_the_checker_says_how(id, change, words):
    exercise = registry.exercise(id)
    verdict = judge(exercise, lambda *case: change(*exercise.spec(*case)))
    assert verdict.wrong == ""
    assert f"The checker says: the gradient {words.removeprefix('the gradient ')}" in str(verdict)


def test_a_backward_pass_that_only_the_checker_refuses_does_not_pass(monkeypatch):
    """Right on all cases of a list, and no gradient of anything."""
    exercise = registry.exercise("2.3")
    cases = {repr(case) for case in exercise.cases(np.random.default_rng(0))}

    def by_heart(dy, x, W):
        dx, dW = exercise.spec(dy, x, W)
        return (dx, dW) if repr((dy, x, W)) in cases else (dx, 2 * dW)

    verdict = judge(exercise, by_heart)
    assert verdict.fault == "gradient"
    assert "The checker says: the gradient of W is 2 times too large" in str(verdict)


# What a student calls


def test_hints_come_one_by_one_and_the_same_answer_costs_one():
    def doubled(dy, x):
        return 2 * dy

    def tripled(dy, x):
        return 3 * dy

    assert "Hint 1 of 3" in str(course.check("1.2", doubled))
    assert "Hint 1 of 3" in str(course.check("1.2", doubled))
    assert "Hint 2 of 3" in str(course.check("1.2", tripled))
    assert str(course.hint("1.2")).startswith("1.2 hint 3 of 3")
    assert str(course.hint("1.2")).startswith("1.2 hint 3 of 3")
    rows = str(course.progress()).splitlines()
    assert next(r for r in rows if r.startswith("1.2")).split()[-4:-2] == ["not", "yet"]


def test_nothing_raises_whatever_the_id():
    for id in ("9.99", "", None, 1.2, "1.2 ", ("a",), "x" * 1000):
        for reply in (course.check(id, right), course.hint(id), course.answer(id, 1)):
            assert "there is no" in str(reply) or isinstance(reply, Verdict | student.Text)
        assert course.show(id)


@pytest.mark.parametrize(
    ("id", "value", "words"),
    [
        ("1.7a", 1, "Yes: 1."),
        ("1.7a", 1.0, "Yes: 1.0."),
        ("1.7a", np.int64(1), "Yes"),
        ("1.7a", 2, "No. Run the next cell"),
        ("1.7a", "1", "expects a number"),
        ("1.7a", None, "expects a number"),
        ("1.7a", float("nan"), "expects a number"),
        ("1.7a", [1, 2], "expects a number"),
        ("1.7a", ..., "in the place of the dots"),
        ("1.6a", "Backward ", "Yes"),
        ("1.6a", "both", "Sign itself has no bound"),
        ("1.6a", "sideways", "expects 'forward' or 'backward' or 'both'"),
        ("1.5b", 1, "Yes"),
        ("1.5b", "True", "expects True or False"),
        ("1.2a", (0, 100), "Yes"),
        ("1.2a", np.array([0, 100]), "Yes"),
        ("1.2a", (0, 0), "different sides"),
        ("1.2a", (0, 0, 0), "expects 2 values"),
        ("1.2a", ("a", "b"), "expects 2 values"),
        ("1.2a", 0, "expects 2 values"),
    ],
)
def test_answers_to_questions(id, value, words):
    assert words in str(course.answer(id, value))


def test_the_first_answer_counts():
    course.answer("1.7a", 2)
    course.answer("1.7a", 1)
    assert student._session.results.questions["1.7a"] == {
        **{"right": True, "first": False, "tries": 2}
    }
    assert "1 of 11 answered, 0 at once" in str(course.progress())


def test_show_draws_the_last_case():
    course.check("1.2", lambda dy, x: dy.copy())
    assert len(course.show("1.2").axes) == 4
    course.check("1.2", right)
    assert "nothing to show" in str(course.show("1.2"))
    course.check("1.2", lambda dy, x: [1])
    assert course.show("1.2")


# The file beside the notebook


def test_results_are_stored_and_read_again(tmp_path):
    path = tmp_path / "course-results.json"
    first = results.Results(path)
    first.keep(judge(GRADIENT, lambda dy, x: dy.copy()), 2)
    first.answer("1.7a", True)
    second = results.Results(path)
    for _ in range(3):
        second.keep(judge(GRADIENT, right), 2)  # to run a cell again is no try
    record = results.read_results(path)[0]["1.2"]
    assert (record["status"], record["points"], record["of"], record["tries"]) == (
        *("passed", 2, 2, 2),
    )
    assert results.read_results(path)[1]["1.7a"]["first"] is True
    assert sorted(p.name for p in tmp_path.iterdir()) == [path.name]


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"version": 2}', '{"version": 1, "exercises": []}', "\0" * 10]
)
def test_a_damaged_file_stops_nothing_and_is_not_replaced(monkeypatch, tmp_path, text):
    path = tmp_path / "course-results.json"
    path.write_text(text)
    student._session.results = results.Results(path)
    verdict = course.check("1.2", right)
    assert verdict.passed
    assert "(not stored: " in str(verdict)
    assert path.read_text() == text


def test_a_folder_that_cannot_be_written_stops_nothing(tmp_path):
    student._session.results = results.Results(tmp_path / "none" / "results.json")
    assert "(not stored: " in str(course.check("1.2", right))
    assert course.hint("1.2")
    assert course.answer("1.7a", 1)


def test_where_results_are_stored(monkeypatch, tmp_path):
    monkeypatch.delenv(results.PLACE, raising=False)
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)
    assert results.place() is None
    monkeypatch.setitem(sys.modules, "ipykernel", sys)
    assert str(results.place()) == results.NAME
    monkeypatch.setenv(results.PLACE, "none")
    assert results.place() is None


def test_the_clock_rings_inside_of_an_answer_only():
    clock = calls.Clock(0.05)
    with clock.running():
        time.sleep(0.12)  # ours: nothing rings
        assert clock.over
