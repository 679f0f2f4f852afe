"""Chapter 8, gradients of six bits: logarithms with a range from the data, DoReFa, shifts.

Over 400 lines: a chapter is one file, so that its exercises are found beside each other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from qnn_ref._typing import Array, Words
from qnn_ref.bits import pack, to_powers, unpack
from qnn_ref.bits.popcount import popcount
from qnn_ref.bits.powers import powers_matmul_reference
from qnn_ref.course.compare import close
from qnn_ref.course.exercise import Case, Exercise, Question, Wrong
from qnn_ref.quantizers import DoReFaGradient, LinearGradient, LogQuant

# 8.1 LogQuant with a range from the data


def log_gradient(ds: Array, k: int) -> Array:
    """The right answer to 8.1: the package's own."""
    return LogQuant(k, exponent=None).quantize(ds)


def _gradient_cases(rng: np.random.Generator) -> Iterator[Case]:
    for k, row in ((3, [0.9]), (3, [-0.9]), (3, [0.6]), (3, [0.9, 0.1]), (3, [-0.9, 0.3])):
        yield np.array([row]), k
    for k, row in (
        (3, [0.0, 0.0]),
        (3, [0.0]),
        (3, [3e-6, 1e-6]),
        (3, [0.72, 0.2]),
        (2, [5.0, 3.0]),
    ):
        yield np.array([row]), k
    yield np.array([[1.9]]), 3
    yield np.array([[0.13]]), 2
    yield np.array([[0.9, 0.01], [0.02, 0.01]]), 3
    yield np.array([[40.0, -0.3, 0.0], [9.0, 2.0, -1.2]]), 4
    for k, shape in ((2, (3, 2)), (3, (3, 5)), (4, (4, 3)), (6, (5, 7))):
        sizes = 2.0 ** rng.uniform(-18, 1, shape)
        yield sizes * rng.choice([-1.0, 1.0], shape), k


def _rounded(x: Array) -> Array:
    """Round of log2 |x|; -inf at 0."""
    with np.errstate(divide="ignore"):
        return np.floor(np.log2(np.abs(x)) + 0.5)


def _logs(ds: Array, top: Any, octaves: int, lowest: str = "zero") -> Array:
    """Powers of two from 2^(top - octaves) to 2^top; `top` of any shape that fits."""
    exponent = np.minimum(_rounded(ds), top)
    gone = (exponent < top - octaves) | (ds == 0)
    powers = np.exp2(np.where(ds == 0, 0.0, np.maximum(exponent, top - octaves)))
    if lowest == "smallest":
        gone = ds == 0
    return np.sign(ds) * np.where(gone, 0.0, powers)


def _top(ds: Array, axis: int | None = None) -> Array:
    largest = np.abs(ds).max(axis=axis, keepdims=axis is not None)
    return np.where(largest > 0, _rounded(largest), 0.0)


def _octaves(k: int) -> int:
    return 2 ** (k - 1) - 2


def _nan_of_zero(ds: Array, k: int) -> Array:
    return np.where(np.abs(ds).max() > 0, log_gradient(ds, k), np.nan)


def _exponent_below(ds: Array, k: int) -> Array:
    largest = np.abs(ds).max()
    return _logs(ds, np.floor(np.log2(largest)) if largest else 0, _octaves(k))


def _exponent_above(ds: Array, k: int) -> Array:
    largest = np.abs(ds).max()
    return _logs(ds, np.ceil(np.log2(largest)) if largest else 0, _octaves(k))


def _cut_exponent(ds: Array, k: int) -> Array:
    largest = np.abs(ds).max()
    return _logs(ds, np.trunc(np.log2(largest)) if largest else 0, _octaves(k))


def _without_size(ds: Array, k: int) -> Array:
    largest = ds.max()
    return _logs(ds, _rounded(largest) if largest > 0 else 0, _octaves(k))


def _halves_of_largest(ds: Array, k: int) -> Array:
    largest = np.abs(ds).max() or 1.0
    return largest * _logs(ds / largest, np.zeros(()), _octaves(k))


LOG_GRADIENT = Exercise(
    id="8.1",
    title="A logarithmic grid from the data",
    name="log_gradient",
    task=(
        "Return ds in k bits: 0 and +-2^(E-R), ..., +-2^E, R = 2^(k-1) - 2. 2^E is AP2 of the "
        "largest size in ds; a ds of zeros stays as it is."
    ),
    section="section 3, quantized gradients",
    spec=log_gradient,
    cases=_gradient_cases,
    axes=("mn", ""),
    simplify=("ds",),
    without=("LogQuant", "quantize", "encode"),
    wrong=(
        Wrong(
            "range of a column",
            lambda ds, k: _logs(ds, _top(ds, 0), _octaves(k)),
            "Each of your columns has its own range. One range is asked, that of the whole tensor.",
        ),
        Wrong(
            "range of an example",
            lambda ds, k: _logs(ds, _top(ds, 1), _octaves(k)),
            "Each of your rows has its own range (DoReFa has that). One range is asked, that of "
            "the whole tensor.",
        ),
        Wrong(
            "exponent below",
            _exponent_below,
            "You take the exponent below the largest size. AP2(0.9) is 1, not 1/2.",
        ),
        Wrong(
            "exponent above",
            _exponent_above,
            "You take the exponent above the largest size. AP2(0.6) is 1/2, not 1.",
        ),
        Wrong(
            "cut logarithm",
            _cut_exponent,
            "The logarithm of the largest size is cut towards 0, as int() does: of 1.9 comes 1, of "
            "0.13 comes 1/4. AP2 rounds it.",
        ),
        Wrong(
            "fixed range",
            lambda ds, k: _logs(ds, np.zeros(()), _octaves(k)),
            "Your range ends at 1, whatever the data is. The gradients of a deep layer would all "
            "become 0.",
        ),
        Wrong(
            "not the size",
            _without_size,
            "You look for the largest number. The largest size may belong to a negative one.",
        ),
        Wrong(
            "halves of the largest",
            _halves_of_largest,
            "Your levels are the largest size and its halves. They are no powers of two, so a "
            "product with them is no shift.",
        ),
        Wrong(
            "never 0",
            lambda ds, k: _logs(ds, _top(ds), _octaves(k), "smallest"),
            "Your small gradients become the smallest power. What is rounded to a power below it "
            "becomes 0.",
        ),
        Wrong(
            "one exponent more",
            lambda ds, k: _logs(ds, _top(ds), _octaves(k) + 1),
            "You have an exponent too many: one code is kept for 0.",
        ),
        Wrong(
            "equal steps",
            lambda ds, k: LinearGradient(k).quantize(ds),
            "These are equal steps up to the largest gradient. Powers of two are asked.",
        ),
        Wrong(
            "all zero",
            _nan_of_zero,
            "A gradient of zeros gives NaN: it has no largest exponent. It stays as it is.",
        ),
    ),
    hints=(
        "First find the one exponent on which the grid hangs; the rest is LogQuant.",
        "E = round(log2 max |ds|). Exponents above E saturate, and those below E - R give 0.",
        "A return for zeros first; then numpy.minimum(rounded logarithms, E) and a numpy.where.",
    ),
)

# 8.2 DoReFa's gradients


def dorefa(x: Array, u: Array, k: int) -> Array:
    """The right answer to 8.2: the package's own, its noise written as u - 1/2 steps."""
    return DoReFaGradient(k).quantize(x, u - 0.5)


def _dorefa_cases(rng: np.random.Generator) -> Iterator[Case]:
    for value, noise in ((1.0, 0.7), (-1.0, 0.2), (0.5, 0.1), (-2.0, 0.6)):
        yield np.array([[value]]), np.array([[noise]]), 2
    for row, draws in (
        ([1.0, 0.0], [0.7, 0.1]),
        ([1.0, 0.0], [0.3, 0.9]),
        ([-1.0, 0.3], [0.1, 0.9]),
    ):
        yield np.array([row]), np.array([draws]), 2
    yield np.zeros((1, 2)), np.array([[0.3, 0.9]]), 2
    yield np.array([[1.0, 0.3], [0.1, 0.03]]), np.array([[0.2, 0.6], [0.7, 0.4]]), 2
    for k, shape in ((2, (2, 3)), (3, (3, 5)), (4, (4, 2)), (3, (1, 200))):
        yield (
            rng.normal(size=shape) * 10.0 ** rng.integers(-3, 3, (shape[0], 1)),
            rng.random(shape),
            k,
        )


def _drawn(
    x: Array, noise: Array, k: int, largest: Array | None = None, half: float = 0.5
) -> Array:
    """DoReFa's formula with any noise, counted in steps, and any range."""
    n = 2**k - 1
    if largest is None:
        largest = np.abs(x).max(axis=1, keepdims=True)
    safe = np.where(largest > 0, largest, 1.0)
    levels = np.clip(np.floor(n * (half * x / safe + 0.5) + noise + 0.5), 0, n)
    return np.where(largest > 0, safe / half * (levels / n - 0.5), 0.0)


def _after_rounding(x: Array, u: Array, k: int) -> Array:
    largest = np.abs(x).max(axis=1, keepdims=True)
    return _drawn(x, 0 * u, k) + 2 * largest * (u - 0.5) / (2**k - 1)


def _with_zero(x: Array, u: Array, k: int) -> Array:
    n = 2 ** (k - 1) - 1
    largest = np.abs(x).max(axis=1, keepdims=True)
    safe = np.where(largest > 0, largest, 1.0)
    return safe * np.clip(np.floor(n * x / safe + u), -n, n) / n


def _zero_by_zero(x: Array, u: Array, k: int) -> Array:
    rows = np.abs(x).max(axis=1, keepdims=True) > 0
    return np.where(rows, _drawn(x, u - 0.5, k), np.nan)


def _signed_range(x: Array, u: Array, k: int) -> Array:
    return _drawn(x, u - 0.5, k, np.abs(x.max(axis=1, keepdims=True)))


def _zeros_drawn(x: Array, u: Array, k: int) -> Array:
    largest = np.abs(x).max(axis=1, keepdims=True)
    return _drawn(x, u - 0.5, k, np.where(largest > 0, largest, 1.0))


def _above_the_top(x: Array, u: Array, k: int) -> Array:
    n = 2**k - 1
    largest = np.abs(x).max(axis=1, keepdims=True)
    safe = np.where(largest > 0, largest, 1.0)
    levels = np.floor(n * (x / (2 * safe) + 0.5) + u + 0.5) / n
    return np.where(largest > 0, 2 * safe * (levels - 0.5), 0.0)


DOREFA = Exercise(
    id="8.2",
    title="DoReFa's gradients",
    name="dorefa",
    task=(
        "Return x (batch, units) by DoReFa's form in k bits. u, of the same shape, is uniform in "
        "[0, 1): make the noise N of it. An example of zeros stays as it is."
    ),
    section="section 3, DoReFa for comparison",
    spec=dorefa,
    cases=_dorefa_cases,
    same=close(1e-9),
    axes=("mn", "mn", ""),
    simplify=("x",),
    without=("DoReFaGradient", "quantize", "encode_rows"),
    wrong=(
        Wrong(
            "no noise",
            lambda x, u, k: _drawn(x, 0 * u, k),
            "You do not use u: this rounds to the nearest level, and is biased.",
        ),
        Wrong(
            "two steps of noise",
            lambda x, u, k: _drawn(x, 2 * u - 1, k),
            "Your noise is two steps wide. The mean is right, but the deviation is larger than it "
            "need be.",
        ),
        Wrong(
            "noise of all steps",
            lambda x, u, k: _drawn(x, (2**k - 1) * (u - 0.5), k),
            "Your noise is as wide as the whole range. It should be one step wide.",
        ),
        Wrong(
            "noise not centred",
            lambda x, u, k: _drawn(x, u, k),
            "Your noise goes from 0 to one step: the mean is half a step too high.",
        ),
        Wrong(
            "above the top",
            _above_the_top,
            "Your noise goes from 0 to one step, and lifts the largest gradients above the top.",
        ),
        Wrong(
            "half as large",
            lambda x, u, k: dorefa(x, u, k) / 2,
            "All of yours is half as large: on the way back the range is 2 M wide.",
        ),
        Wrong(
            "zeros drawn",
            _zeros_drawn,
            "In an example of zeros the noise makes gradients of nothing.",
        ),
        Wrong(
            "noise after rounding",
            _after_rounding,
            "You add the noise after the rounding: the result is on no level.",
        ),
        Wrong(
            "a level 0",
            _with_zero,
            "0 is one of your levels. The 2^k levels are odd multiples of M / (2^k - 1).",
        ),
        Wrong(
            "range of the tensor",
            lambda x, u, k: _drawn(x, u - 0.5, k, np.abs(x).max()[None, None]),
            "You have one range for all. Each example has its own.",
        ),
        Wrong(
            "range of a column",
            lambda x, u, k: _drawn(x, u - 0.5, k, np.abs(x).max(axis=0, keepdims=True)),
            "Each of your columns has its own range. Each example, a row, has one.",
        ),
        Wrong(
            "half the range",
            lambda x, u, k: _drawn(x, u - 0.5, k, half=1.0),
            "x / M + 1/2 leaves [0, 1]: your gradients saturate at half of the largest one.",
        ),
        Wrong(
            "not the size",
            _signed_range,
            "You look for the largest number. The largest size may belong to a negative one.",
        ),
        Wrong(
            "zeros",
            _zero_by_zero,
            "An example of zeros gives NaN, 0 / 0. It stays as it is.",
        ),
    ),
    hints=(
        "Move each example to [0, 1], add noise of one step, round to 2^k levels, and move back.",
        "n (x / 2M + 1/2) + u - 1/2 rounded to a whole number, with n = 2^k - 1.",
        "M with keepdims=True, numpy.where(M > 0, M, 1) for the division, numpy.floor(... + u).",
    ),
    points=2,
)

# 8.3 Products of powers


def power_product(S: Words, M: Words, W: Words) -> int:
    """The right answer to 8.3: the package's own."""
    return int(powers_matmul_reference(S[None], M[:, None], W[None])[0, 0])


def _power_cases(rng: np.random.Generator) -> Iterator[Case]:
    for codes, weights in (
        ([1], [1]),
        ([-1], [1]),
        ([1], [-1]),
        ([2], [1]),
        ([-4], [-1]),
        ([0], [1]),
    ):
        yield _power_case(np.array(codes), np.array(weights))
    for codes, weights in (([0, 2], [1, -1]), ([1, -4], [1, 1]), ([2, 2, -1], [-1, -1, 1])):
        yield _power_case(np.array(codes), np.array(weights))
    for K, largest in ((5, 0), (7, 3), (63, 4), (64, 6), (65, 6), (130, 30)):
        powers = 2 ** rng.integers(0, largest + 1, K)
        yield _power_case(powers * rng.choice([-1, 0, 1], K), rng.choice([-1, 1], K))


def _power_case(codes: Array, weights: Array) -> Case:
    signs, planes = to_powers(codes[None])
    return signs[0], planes[:, 0], pack(weights)


def _power_words(arguments: Mapping[str, Any], yours: Any, right: Any) -> str:
    """The smallest case as numbers: words say nothing to a reader."""
    S, M, W = arguments.values()
    some = np.flatnonzero(unpack(M, 64 * M.shape[1]).max(axis=0) > 0)[:4]
    if not len(some):
        some = np.arange(1)
    planes = unpack(M, 64 * M.shape[1]) > 0
    sizes = (2 ** np.arange(len(M))[:, None] * planes).sum(axis=0)
    gradients = (unpack(S, 64 * len(S)).astype(int) * sizes)[some]
    weights = unpack(W, 64 * len(W)).astype(int)[some]
    more = ", ..." if np.count_nonzero(sizes) > len(some) else ""
    texts = [f"[{', '.join(map(str, row))}{more}]" for row in (gradients, weights)]
    return (
        f"Smallest case: with gradients {texts[0]} (M has {len(M)} plane{'s' * (len(M) > 1)}) and "
        f"weights {texts[1]} yours gives {yours}, right is {right}."
    )


def _ones(words: Words) -> int:
    return int(popcount(words).sum())


def _by_planes(
    S: Words, M: Words, W: Words, plane: Callable[[int, int, int], Any], differ: Words | None = None
) -> Any:
    """Sum over the planes of a function of (ones of the plane, ones that turn, j)."""
    turning = S ^ W if differ is None else differ
    return sum(plane(_ones(m), _ones(m & turning), j) for j, m in enumerate(M))


def _zero_counts(S: Words, M: Words, W: Words) -> int:
    zeros = S & ~np.bitwise_or.reduce(M, axis=0)  # their sign is +
    return power_product(S, np.concatenate([M[:1] | zeros, M[1:]]), W)


def _unsigned(S: Words, M: Words, W: Words) -> Any:
    counts = popcount(M).sum(axis=1, dtype=np.uint64)
    turned = popcount(M & (S ^ W)).sum(axis=1, dtype=np.uint64)
    planes = (counts - turned - turned) << np.arange(len(M), dtype=np.uint64)
    return planes.sum(dtype=np.uint64)


def _unsigned_first(S: Words, M: Words, W: Words) -> Any:
    """As an int after the difference, so that each plane wraps by itself."""
    wrapped = [_unsigned(S, plane[None], W) for plane in M]
    return sum(int(count) << j for j, count in enumerate(wrapped))


POWER_PRODUCT = Exercise(
    id="8.3",
    title="A product of powers of two",
    name="power_product",
    task=(
        "Return the product of gradients (sign plane S, a plane M[j] for each power 2^j) and "
        "weights W, all packed words, as an int: popcounts, additions and shifts, no "
        "multiplication."
    ),
    section="section 3, backward products by shifts",
    spec=power_product,
    cases=_power_cases,
    words=_power_words,
    axes=("", "", ""),
    simple=(),
    without=("*", "@", "**", "dot", "matmul", "multiply", "prod", "unpack", "powers_matmul"),
    wrong=(
        Wrong(
            "zero counts",
            _zero_counts,
            "A gradient of 0 counts as 2^0 in yours. It stands in no plane, and adds nothing.",
        ),
        Wrong(
            "all bits",
            lambda S, M, W: _by_planes(S, M, W, lambda n, t, j: 64 * len(S) - 2 * t << j),
            "You count every bit of a word as a pair. In plane j only those count that are 1 in "
            "it.",
        ),
        Wrong(
            "signs exchanged",
            lambda S, M, W: _by_planes(S, M, W, lambda n, t, j: n - 2 * t << j, ~(S ^ W)),
            "All signs are exchanged: equal bits of S and W mean plus.",
        ),
        Wrong(
            "S forgotten",
            lambda S, M, W: _by_planes(S, M, W, lambda n, t, j: n - 2 * t << j, ~W),
            "You do not use S: gradients have signs too.",
        ),
        Wrong(
            "two minus",
            lambda S, M, W: sum(
                _ones(m & S & W) - _ones(m & (S ^ W)) << j for j, m in enumerate(M)
            ),
            "A minus times a minus is a plus: where S and W are both 0, the pair is added.",
        ),
        Wrong(
            "planes from one",
            lambda S, M, W: 2 * power_product(S, M, W),
            "All of yours is twice as much: plane 0 counts 1.",
        ),
        Wrong(
            "one for two",
            lambda S, M, W: _by_planes(S, M, W, lambda n, t, j: n - t << j),
            "A pair whose signs differ does not only miss: it is taken away, so it costs 2.",
        ),
        Wrong(
            "planes reversed",
            lambda S, M, W: power_product(S, M[::-1], W),
            "You take the last plane for the first: the order is turned round.",
        ),
        Wrong(
            "no shift",
            lambda S, M, W: _by_planes(S, M, W, lambda n, t, j: n - 2 * t),
            "All your planes count the same. Plane j counts 2^j.",
        ),
        Wrong(
            "shift of one count",
            lambda S, M, W: _by_planes(S, M, W, lambda n, t, j: (n << j) - 2 * t),
            "You shift one of the two counts only.",
        ),
        Wrong(
            "unsigned",
            _unsigned_first,
            "Counts are unsigned numbers: what should fall below 0 wraps around. Make an int of "
            "the count first.",
        ),
        Wrong(
            "unsigned throughout",
            _unsigned,
            "All of it is done with unsigned numbers: what should fall below 0 wraps around.",
        ),
    ),
    hints=(
        "In one plane all numbers have the same size. How many of them keep their sign?",
        "The sum over j of (ones of M[j], less twice those where S and W differ), shifted by j.",
        "A loop over enumerate(M), int(popcount(...).sum()) twice, and << j; twice is << 1.",
    ),
    points=2,
)

EXERCISES = (LOG_GRADIENT, DOREFA, POWER_PRODUCT)

QUESTIONS = (
    Question(
        "8.1a",
        "The largest gradient of a layer over the smallest: how much is it?",
        "more",
        ("10", "1,000", "more"),
    ),
    Question(
        "8.2a",
        "Which share of the gradients (in %) becomes 0 on the linear grid, and on the logarithmic "
        "one?",
        (33, 0),
        about=8,
        no={(50, 0): "Most gradients are small, but a third is enough."},
    ),
    Question(
        "8.2b",
        "With three bits, which grid loses more?",
        "linear",
        ("linear", "logarithmic"),
        no={"logarithmic": "Its lowest of three exponents is M / 4, the first step M / 3."},
    ),
    Question(
        "8.2c",
        "The largest of 12,800 gradients becomes 4 times as large. Which share is lost now, in %?",
        60,
        about=10,
        no={33: "The step is 4 times as large as well.", 0: "The step is 4 times as large now."},
    ),
    Question(
        "8.2d",
        "Which grid is closer in the norm?",
        "linear",
        ("linear", "logarithmic"),
        no={"logarithmic": "A norm looks at the large ones; there the linear grid is finer."},
    ),
    Question(
        "8.3a",
        "What becomes of 0.1, and of 0.7?",
        (0, 0.5),
        no={
            (0.125, 0.5): "With three bits the smallest power is 1/4.",
            (0, 1): "The threshold between 1/2 and 1 is 0.707.",
            (0.25, 0.5): "What is rounded to less than the smallest power becomes 0.",
        },
    ),
    Question(
        "8.3b",
        "What does the checker say about a network whose gradients are rounded?",
        "passes",
        ("passes", "fails"),
        no={"fails": "It switches the rounding off: there is no function whose gradient that is."},
    ),
    Question(
        "8.4a",
        "Is 0 one of the eight levels of DoReFa's form with three bits?",
        False,
        no={True: "Eight levels that lie evenly around 0 leave it out."},
    ),
    Question(
        "8.4b",
        "The sum of all sizes in a hidden layer, after over before: above 1 or below?",
        "above",
        ("above", "below"),
        no={"below": "AP2 takes up what lies above 0.707 of the next power: more up than down."},
    ),
    Question("8.4c", "Do the columns of the rounded gradient sum to 0?", False),
    Question(
        "8.5a",
        "How many of the seven planes can have a 1 in one column, at most?",
        1,
        no={7: "A number has one size, so it stands in one plane."},
    ),
    Question(
        "8.6a",
        "With how many bits does the training loss lie on that of the real gradient: 6 or 3?",
        6,
        no={3: "Three bits lose four fifths of the gradients."},
    ),
    Question(
        "8.6b",
        "The sums of a unit jump from one step to the next. What does the running mean do?",
        "lags behind",
        ("follows at once", "lags behind"),
        no={"follows at once": "It takes a tenth of each new mean."},
    ),
    Question(
        "8.6c",
        "Did the border weights of the real run stay exactly where they were?",
        False,
        no={True: "ADAM divides by the size of a gradient, also by that of a rounding error."},
    ),
    Question(
        "8.6d",
        "Log, 3 bits, centred: is its validation error like that of log, 3 bits, or like that of "
        "real?",
        "real",
        ("log, 3 bits", "real"),
    ),
    Question(
        "8.7a",
        "Is it true here that only the logarithm works?",
        False,
        no={True: "Look at equal steps with 3 bits and more."},
    ),
)
