"""Chapter 9, memory of four bits: back through time, a step of an LSTM."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from qnn_ref._typing import Array
from qnn_ref.checking import Report, check_gradients
from qnn_ref.course.compare import close
from qnn_ref.course.exercise import Case, Exercise, Question, Wrong
from qnn_ref.layers.lstm import lstm_step as step_of_sums
from qnn_ref.layers.lstm import sigmoid
from qnn_ref.layers.rnn import rnn_step, rnn_step_backward

Three = tuple[Array, Array, Array]

# 9.1 Back through time


def _earlier(h: Array) -> Array:
    """The states before each step: zeros before the first."""
    return np.concatenate([np.zeros_like(h[:1]), h[:-1]])


def rnn_backward(dh: Array, x: Array, h: Array, Wx: Array, Wh: Array) -> Three:
    """The right answer to 9.1: the package's step back, and sums over the steps."""
    before, carry = _earlier(h), np.zeros_like(h[0])
    dx, dWx, dWh = np.zeros_like(x), np.zeros_like(Wx), np.zeros_like(Wh)
    for t in reversed(range(len(x))):
        dz = rnn_step_backward(dh[t] + carry, h[t], "tanh")
        dx[t] = Wx @ dz
        dWx += np.outer(x[t], dz)
        dWh += np.outer(before[t], dz)
        carry = Wh @ dz
    return dx, dWx, dWh


def _states(x: Array, Wx: Array, Wh: Array) -> Array:
    states = [np.zeros(Wh.shape[0])]
    for row in x:
        states.append(rnn_step(row @ Wx + states[-1] @ Wh, "tanh"))
    return np.array(states[1:])


def _back_cases(rng: np.random.Generator) -> Iterator[Case]:
    one = np.ones((1, 1))
    half = np.full((1, 1), 0.5)
    yield one, one, half, one, one
    yield np.array([[0.0], [1.0]]), np.ones((2, 1)), np.full((2, 1), 0.5), one, one
    yield np.array([[1.0], [1.0]]), np.ones((2, 1)), np.full((2, 1), 0.5), one, one
    yield np.array([[1.0], [0.0], [2.0]]), np.ones((3, 1)), np.full((3, 1), 0.5), one, 2 * one
    yield np.array([[1.0], [0.0]]), np.array([[1.0], [2.0]]), np.array([[0.5], [0.2]]), one, one
    yield (
        np.array([[0.0, 0.0], [1.0, 0.0]]),
        np.ones((2, 1)),
        np.zeros((2, 2)),
        np.ones((1, 2)),
        np.array([[1.0, 2.0], [3.0, 4.0]]),
    )
    for steps, m, n in ((2, 1, 2), (3, 2, 3), (5, 3, 2)):
        x = rng.normal(size=(steps, m))
        Wx, Wh = rng.normal(size=(m, n)), rng.normal(size=(n, n))
        yield rng.normal(size=(steps, n)), x, _states(x, Wx, Wh), Wx, Wh


def _check_steps(answer: Callable[..., Any], rng: np.random.Generator) -> Report:
    """The checker's report on three steps that share their weights."""

    def forward(x: Array, Wx: Array, Wh: Array) -> Array:
        return _states(x, Wx, Wh)

    def backward(dy: Array, x: Array, Wx: Array, Wh: Array) -> Any:
        return answer(dy, x, _states(x, Wx, Wh), Wx, Wh)

    arrays = rng.normal(size=(3, 2)), rng.normal(size=(2, 4)), rng.normal(size=(4, 4)) / 2
    return check_gradients(forward, arrays, backward=backward, mode="full", rng=rng)


def _walk(
    dh: Array,
    x: Array,
    h: Array,
    Wx: Array,
    Wh: Array,
    *,
    slope: Callable[[Array], Array] = lambda h: 1 - h * h,
    handed: Callable[[Array, Array], Array] = lambda Wh, dz: Wh @ dz,
    before: Array | None = None,
    above: Callable[[int, int], float] = lambda t, steps: 1.0,
    counts: Callable[[int, int], bool] = lambda t, steps: True,
    order: Callable[[int], Any] = lambda steps: reversed(range(steps)),
) -> Three:
    """The way back with one thing changed."""
    earlier = _earlier(h) if before is None else before
    carry, steps = np.zeros_like(h[0]), len(x)
    dx, dWx, dWh = np.zeros_like(x), np.zeros_like(Wx), np.zeros_like(Wh)
    for t in order(steps):
        dz = (above(t, steps) * dh[t] + carry) * slope(h[t])
        dx[t] = Wx @ dz
        if counts(t, steps):
            dWx += np.outer(x[t], dz)
            dWh += np.outer(earlier[t], dz)
        carry = handed(Wh, dz)
    return dx, dWx, dWh


def _without_slope(dh: Array, x: Array, h: Array, Wx: Array, Wh: Array) -> Three:
    before, carry = _earlier(h), np.zeros_like(h[0])
    dx, dWx, dWh = np.zeros_like(x), np.zeros_like(Wx), np.zeros_like(Wh)
    for t in reversed(range(len(x))):
        d = dh[t] + carry
        dz = d * (1 - h[t] ** 2)
        dx[t] = Wx @ dz
        dWx += np.outer(x[t], dz)
        dWh += np.outer(before[t], dz)
        carry = Wh @ d
    return dx, dWx, dWh


RNN_BACKWARD = Exercise(
    id="9.1",
    title="Back through time",
    name="rnn_backward",
    task=(
        "h_t = tanh(x_t Wx + h_(t-1) Wh), with zeros before the first step. Given dh (steps, n), "
        "what the loss says about each state, x (steps, m) and h (steps, n), return dx, dWx, dWh."
    ),
    section="section 3, quantized recurrent networks",
    spec=rnn_backward,
    cases=_back_cases,
    gives=("dx", "dWx", "dWh"),
    same=close(1e-9),
    axes=("tn", "tm", "tn", "mn", "nn"),
    simplify=("dh", "x"),
    gradient=_check_steps,
    points=2,
    wrong=(
        Wrong(
            "last step only",
            lambda *a: _walk(*a, counts=lambda t, steps: t == steps - 1),
            "Your dWx and dWh know the last step only. The weights are used in every step.",
        ),
        Wrong(
            "overwritten",
            lambda *a: _walk(*a, counts=lambda t, steps: t == 0),
            "Each step overwrites dWx and dWh: what is left is the first step's. Contributions "
            "add.",
        ),
        Wrong(
            "no state gradient",
            lambda *a: _walk(*a, handed=lambda Wh, dz: 0 * dz),
            "No step gets anything from the one after it: h_1 changes h_2 too, and so the loss "
            "of step 2.",
        ),
        Wrong(
            "nothing from above",
            lambda *a: _walk(*a, above=lambda t, steps: float(t == steps - 1)),
            "Only the last step hears its own loss. The loss of a step in the middle comes in "
            "beside what comes back through time.",
        ),
        Wrong(
            "state after the step",
            lambda dh, x, h, Wx, Wh: _walk(dh, x, h, Wx, Wh, before=h),
            "dWh is made of the states after each step. Wh was multiplied by those before.",
        ),
        Wrong(
            "slope not squared",
            lambda *a: _walk(*a, slope=lambda h: 1 - h),
            "Your slope of tanh is 1 - h. At h = 1/2 it is 3/4.",
        ),
        Wrong(
            "no slope",
            lambda *a: _walk(*a, slope=np.ones_like),
            "The slope of tanh is missing.",
        ),
        Wrong(
            "handed back before the slope",
            _without_slope,
            "What goes back to the earlier state has not passed the slope of tanh: Wh stands "
            "inside of it.",
        ),
        Wrong(
            "not transposed",
            lambda *a: _walk(*a, handed=lambda Wh, dz: dz @ Wh),
            "On the way back Wh is used as on the way forth. What went along a row has to come "
            "back along it.",
        ),
        Wrong(
            "from the first step on",
            lambda *a: _walk(*a, order=range),
            "You go from the first step to the last. A state's gradient is not known before that "
            "of the next one.",
        ),
    ),
    hints=(
        "Write down three steps as three layers that have the same weights, and go back through "
        "them from the last.",
        "dz_t = (dh_t + Wh dz_(t+1)) (1 - h_t^2); dWh = sum over t of h_(t-1)^T dz_t.",
        "A loop over reversed(range(steps)) with a carry that begins as zeros; numpy.outer for the "
        "weights, += for the sums.",
    ),
)

# 9.2 A step of an LSTM


def lstm_step(x: Array, h: Array, c: Array, Wx: Array, Wh: Array, b: Array) -> tuple[Array, Array]:
    """The right answer to 9.2: the package's own."""
    after, cell, _ = step_of_sums((x @ Wx + h @ Wh + b)[None], c[None])
    return after[0], cell[0]


def _step_cases(rng: np.random.Generator) -> Iterator[Case]:
    def zeros(m: int, n: int) -> list[Array]:
        return [np.zeros(s) for s in ((m,), (n,), (n,), (m, 4 * n), (n, 4 * n), (4 * n,))]

    x, h, _, Wx, Wh, _ = zeros(1, 1)
    one = np.ones(1)
    yield x, h, one, Wx, Wh, np.array([0.0, 5.0, 0.0, 0.0])
    yield x, h, one, Wx, Wh, np.array([0.0, 0.0, 0.0, 5.0])
    yield x, h, one, Wx, Wh, np.array([0.0, 0.0, 1.0, 0.0])
    yield x, h, 2 * one, Wx, Wh, np.array([5.0, 0.0, -1.0, 0.0])
    yield one, h, one, np.array([[1.0, 0.0, 2.0, 0.0]]), Wh, np.zeros(4)
    yield x, one, one, Wx, np.array([[0.0, 1.0, 2.0, 3.0]]), np.zeros(4)
    for m, n in ((1, 2), (2, 3), (3, 1)):
        yield tuple(rng.normal(size=array.shape) for array in zeros(m, n))


def _lstm(
    x: Array,
    h: Array,
    c: Array,
    Wx: Array,
    Wh: Array,
    b: Array,
    *,
    order: str = "ifgo",
    squash: Callable[[Array], Array] = np.tanh,
    shown: Callable[[Array], Array] = np.tanh,
    old: bool = False,
    keeps: bool = False,
    bias: bool = True,
    gated: bool = True,
) -> tuple[Array, Array]:
    """The step with one thing changed."""
    blocks = dict(zip(order, np.split(x @ Wx + h @ Wh + bias * b, 4), strict=True))
    i, f, o = (sigmoid(blocks[gate]) for gate in "ifo")
    after = (1.0 if keeps else f) * c + i * squash(blocks["g"])
    h_after = (o if gated else 1.0) * shown(c if old else after)
    return h_after, after


LSTM_STEP = Exercise(
    id="9.2",
    title="A step of an LSTM",
    name="lstm_step",
    task=(
        "Return h and c after one step. The sums z = x Wx + h Wh + b are four blocks of n: input "
        "gate, forget gate, candidate, output gate."
    ),
    section="section 4.4",
    spec=lstm_step,
    cases=_step_cases,
    gives=("h", "c"),
    same=close(1e-9),
    axes=("m", ".", ".", "m.", "..", "."),
    simplify=("x", "h", "c"),
    wrong=(
        Wrong(
            "gates exchanged",
            lambda *a: _lstm(*a, order="figo"),
            "With all weights 0, c = 1 and a forget bias of 5 your c is 0.5: the bias went to "
            "another gate.",
        ),
        Wrong(
            "another order",
            lambda *a: _lstm(*a, order="ifog"),
            "Your last two blocks are exchanged. Libraries differ in the order; here the output "
            "gate is the last.",
        ),
        Wrong(
            "candidate as a gate",
            lambda *a: _lstm(*a, squash=sigmoid),
            "Your candidate lies between 0 and 1: a cell could never become smaller by it.",
        ),
        Wrong(
            "the old cell",
            lambda *a: _lstm(*a, old=True),
            "h shows the cell as it was before this step.",
        ),
        Wrong(
            "cell shown as it is",
            lambda *a: _lstm(*a, shown=lambda c: c),
            "Your h is not squashed: it can leave [-1, 1], where its few bits have no levels.",
        ),
        Wrong(
            "nothing forgotten",
            lambda *a: _lstm(*a, keeps=True),
            "Your cell keeps all that it had, whatever the forget gate says.",
        ),
        Wrong(
            "no output gate",
            lambda *a: _lstm(*a, gated=False),
            "h shows all of the cell, whatever the output gate says.",
        ),
        Wrong("no bias", lambda *a: _lstm(*a, bias=False), "The bias has no effect."),
        Wrong(
            "results exchanged",
            lambda *a: _lstm(*a)[::-1],
            "You return the cell first. h is asked first.",
        ),
    ),
    hints=(
        "Three of the four blocks are gates between 0 and 1, one is what could be written.",
        "c' = f c + i g, h' = o tanh(c'); i, f, o are sigmoids, g is a tanh.",
        "numpy.split(z, 4) gives the blocks; 1 / (1 + numpy.exp(-z)) is the sigmoid.",
    ),
)

EXERCISES = (RNN_BACKWARD, LSTM_STEP)

QUESTIONS = (
    Question(
        "9.1a",
        "bits a character of a model that knows the 63 symbols and nothing else",
        6.0,
        about=0.1,
        no={63.0: "That is the number of symbols. Bits are its logarithm."},
    ),
    Question(
        "9.2a",
        "the cell after 10 steps: c = 1 at first, candidate 0, forget gate 0.9933",
        0.935,
        about=0.02,
        no={0.001: "That is 0.5^10: what a forget gate of 1/2 leaves."},
    ),
    Question(
        "9.5a",
        "in which of the four networks is least left of a gradient, 20 steps back?",
        "1-1",
        options=("1-1", "2-2", "4-4", "float"),
    ),
    Question(
        "9.7a",
        "do networks with weights of one bit reach the float network, in any seed?",
        False,
    ),
)
