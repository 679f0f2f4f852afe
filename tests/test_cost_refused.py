"""Every public function of the room of costs: what it refuses, and by which name."""

import inspect
import re

import numpy as np
import pytest

from qnn_ref import cost

ARRAY = np.ones((3, 3, 1, 2))
WRONG = [
    (lambda c: c.picojoules({"add": 1}), "operations: add has no price"),
    (lambda c: c.picojoules({c.Operation("add", "int8"): -1}), "operations[add int8]: expected a"),
    (lambda c: c.picojoules({c.Operation("add", "int8"): np.nan}), "operations[add int8]: expect"),
    (lambda c: c.joules(np.nan), "pico: expected a finite number"),
    (lambda c: c.joules(-1.0), "pico: expected a finite number at least 0"),
    (lambda c: c.joules("1"), "pico: expected a finite number"),
    (lambda c: c.level_of(-1), "bits: expected a whole number"),
    (lambda c: c.level_of(np.nan), "bits: expected a whole number"),
    (lambda c: c.Cost([], "float32", 1).of("sideways"), "phase: expected"),
    (lambda c: c.form_filters([512], (3, 3)), "forms: expected numbers from 0 to 511"),
    (lambda c: c.form_filters([-1], (3, 3)), "forms: expected numbers from 0 to 511"),
    (lambda c: c.form_filters([0.5], (3, 3)), "forms: expected integers"),
    (lambda c: c.form_filters([[1], [1, 2]], (3, 3)), "forms: expected an array, got rows"),
    (lambda c: c.form_filters([1], (8, 8)), "kernel: expected at most 62 taps"),
    (lambda c: c.form_filters([1], (3,)), "kernel: expected one or two whole numbers"),
    (lambda c: c.form_filters([1], [[3, 3], 3]), "kernel: expected one or two whole numbers"),
    *(
        (lambda c, name=name, value=value: getattr(c, name)(value), words)
        for name in ("filter_forms", "unique_filters", "filter_operations")
        for value, words in (
            (ARRAY.astype(complex), "codes: expected real numbers"),
            (ARRAY > 0, "codes: expected real numbers"),
            (ARRAY[:0], "codes: expected shape"),
            (ARRAY.tolist(), "codes: expected a NumPy array"),
        )
    ),
    (lambda c: c.expected_unique_share(np.nan, 4), "filters: expected a whole number"),
    (lambda c: c.inference_cost(None), "network: expected"),
    (lambda c: c.training_cost(None, None), "optimizer: expected"),
    (lambda c: c.memory_of(None), "network: expected"),
    (lambda c: c.packed_cost(None), "network: expected"),
    (lambda c: c.binary_kernels(None), "network: expected"),
    (lambda c: c.packed_bytes(None), "network: expected"),
]


@pytest.mark.parametrize(("call", "words"), WRONG, ids=lambda value: str(value)[:60])
def test_what_has_no_cost_is_refused_by_its_name(call, words):
    with pytest.raises((TypeError, ValueError), match="^" + re.escape(words)):
        call(cost)


def test_every_function_of_the_room_refuses_something():
    """A new one belongs into the list above."""
    called = {name for call, _ in WRONG for name in (*call.__code__.co_names, *called_by(call))}
    functions = {name for name in cost.__all__ if inspect.isfunction(getattr(cost, name))}
    assert functions <= called


def called_by(call):
    return [value for value in call.__defaults__ or () if isinstance(value, str)]
