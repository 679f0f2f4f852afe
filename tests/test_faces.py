"""Every face of compiled code: a spoiled argument is refused by name, or gives the right answer.

The faces are found in the syntax trees, so a new one without an example fails here.
"""

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest

from qnn_ref.bits import KernelPanels, Panels, pack, to_kernel_panels, to_panels, xnor_matmul
from qnn_ref.optimizers import adam
from tests.conftest import JIT_IS_OFF
from tests.face_examples import (
    EXAMPLES,
    Canaries,
    Example,
    face_of,
    outcome,
    refusal,
    run,
    spoiled,
)
from tests.kernel_calls import faces

ROOT = Path(__file__).resolve().parents[1]
CALLABLE = [
    name for name, example in EXAMPLES.items() if not (JIT_IS_OFF and example.compiled_only)
]
every_face = pytest.mark.parametrize("name", CALLABLE)


def test_every_face_has_an_example():
    sources = {
        file.relative_to(ROOT).as_posix(): file.read_text(encoding="utf-8")
        for file in (ROOT / "qnn_ref").rglob("*.py")
    }
    found = {name.removeprefix("qnn_ref.") for name in faces(sources)}
    found = {name for name in found if not name.startswith("bits.cuda.")}  # in test_cuda.py
    assert len(found) >= 40
    assert found <= set(EXAMPLES), "a face without an example in tests/face_examples.py"


@every_face
def test_spoiled_arguments_are_refused_or_answered_rightly(name):
    """Each argument in turn: too short, too long, of another type, empty, strided, read-only."""
    valid = EXAMPLES[name].draw(np.random.default_rng(0))
    assert outcome(name, valid) == "right"
    wrong = [
        f"{argument} {how}: {found}"
        for argument, value in valid.items()
        for how, other in spoiled(value)
        if (found := outcome(name, valid | {argument: other})) not in ("refused", "right")
    ]
    assert not wrong, "\n".join(wrong)


TWINLESS = re.compile(r"bench\..*|bits\.ladder\..*|.*\.run_\w+|.*\.transposed")
SIZES = ("along axis", "another axis in front", "of objects", "of complex numbers")


@pytest.mark.parametrize("name", [name for name in EXAMPLES if not TWINLESS.fullmatch(name)])
def test_twins_refuse_the_sizes_that_faces_refuse(name):
    """What is a wrong answer, or an error of NumPy's, in the twin would teach the wrong thing."""
    example = EXAMPLES[name]
    valid = example.draw(np.random.default_rng(0))
    valid.pop("out", None)  # twins have none
    example = dataclasses.replace(example, written=tuple(set(example.written) - {"out"}))
    for argument, value in valid.items():
        if not isinstance(value, np.ndarray):
            continue
        for how, other in spoiled(value):
            if not any(size in how for size in SIZES) or "strided" in how:
                continue
            given = valid | {argument: other}
            ours = run(face_of(name), example, given)
            twin = run(example.right, example, given)
            assert isinstance(ours, Exception) == isinstance(twin, Exception), (argument, how)
            assert not isinstance(twin, Exception) or refusal(twin), (argument, how, twin)


# The judge itself


def test_a_face_without_its_check_kills_a_canary():
    """The compiled update alone writes behind moments that are too short, into the canaries."""
    example = EXAMPLES["optimizers.adam.adam_update"]
    valid = example.draw(np.random.default_rng(0))
    short = valid | {"m": valid["m"][:-9].copy(), "bound": np.float32(1)}

    def unchecked(**given):
        adam._adam_update(*given.values())

    found = run(unchecked, example, short)
    assert isinstance(found, IndexError if JIT_IS_OFF else AssertionError)
    assert JIT_IS_OFF or "canary" in str(found)
    assert outcome("optimizers.adam.adam_update", short | {"bound": 1.0}) == "refused"


def test_canaries_notice_one_byte_and_leave_the_values_alone():
    canaries = Canaries()
    x = canaries.copy(np.arange(5.0))
    np.testing.assert_array_equal(x, np.arange(5.0))
    assert canaries.alive()
    room = canaries.rooms[0][0]
    for place in (0, 4095, 4096 + x.nbytes, -1):
        room[place] += 1
        assert not canaries.alive()
        room[place] -= 1
    x[:] = 0
    assert canaries.alive()


@pytest.mark.parametrize(
    ("right", "words"),
    [
        (lambda x: np.where(x >= 0, 1, 2).astype(np.uint64), "instead of"),
        (lambda x: pack(x) ^ np.uint64(1), "a wrong answer"),
        (lambda x: (pack(x), pack(x)), "instead of 2"),
        (lambda x: x[:, :, 999], "the twin says"),
    ],
)
def test_the_judge_finds_what_is_not_right(right, words, monkeypatch):
    draw = EXAMPLES["bits.words.pack"].draw
    monkeypatch.setitem(EXAMPLES, "bits.words.pack", Example(draw, right))
    assert words in outcome("bits.words.pack", draw(np.random.default_rng(0)))


@pytest.mark.parametrize(
    "error",
    [IndexError("x: 3"), ValueError("operands could not be broadcast"), SystemError("x: no")],
)
def test_errors_of_others_are_no_refusals(error):
    assert not refusal(error)
    assert refusal(ValueError("x: expected"))


# Prepared weights


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"N": 33}, "words: expected shape"),
        ({"N": 15}, "words: expected shape"),
        ({"K": 129}, "words: expected 3 a column"),
        ({"K": 64}, "words: expected 1 a column"),
        ({"K": 65}, "words: a padding bit beyond K = 65"),
        ({"words": np.zeros((2, 2, 8), np.uint64)}, "words: expected shape"),
    ],
)
def test_panels_whose_parts_do_not_fit_cannot_be_made(change, words):
    given = {"words": to_panels(pack(np.ones((18, 70))), 70).words, "N": 18, "K": 70}
    Panels(**given)
    with pytest.raises(ValueError, match=words):
        Panels(**(given | change))


def test_a_kernel_is_made_of_words_and_their_panels_only():
    made = to_kernel_panels(pack(np.ones((5, 2, 2, 70))), 70)
    KernelPanels(made.words, 70, made.panels)
    with pytest.raises(TypeError, match=r"^panels: expected"):
        KernelPanels(made.words, 70, made.panels.words)
    with pytest.raises(TypeError, match="argument"):
        KernelPanels(made.words, 70, made.panels, {})


@pytest.mark.parametrize("channels", [63, 70])
def test_panels_of_a_convolution_are_not_those_of_a_matrix(channels):
    """They have gaps between the taps, so the same K means other words."""
    w = pack(np.ones((5, 2, 2, channels)))
    panels, K = to_kernel_panels(w, channels).panels, 4 * channels
    with pytest.raises(ValueError, match="b: expected columns without gaps"):
        xnor_matmul(pack(np.ones((4, K))), panels, K)


def test_results_have_memory_of_their_own():
    """A result that lies on an operand would change what is still to be read."""
    a, b = pack(np.ones((4, 128))), pack(np.ones((4, 128)))
    out = a.reshape(-1).view(np.int32).reshape(4, 4)
    with pytest.raises(ValueError, match="out: expected memory of its own"):
        xnor_matmul(a, b, 128, out)
    w, g, v = (np.ones(8, np.float32) for _ in range(3))
    constants = np.ones(8, np.float32)
    for m in (w, g, v, w[::-1]):
        with pytest.raises(ValueError, match=r"memory of its own|C-contiguous"):
            adam.adam_update(w, g, m, v, constants, 1.0)
