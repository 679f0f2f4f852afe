"""Chapter 7, two bits and more: LinearQuant, LogQuant, planes of signs, products of planes.

Over 400 lines: a chapter is one file, so that its exercises are found beside each other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from qnn_ref._typing import Array, Words
from qnn_ref.bits import to_planes, unpack
from qnn_ref.bits.levels import levels_matmul_reference
from qnn_ref.bits.popcount import popcount
from qnn_ref.course.compare import close
from qnn_ref.course.exercise import Case, Exercise, Question, Wrong
from qnn_ref.grid import Grid
from qnn_ref.quantizers import LinearQuant, LogQuant

# 7.1 LinearQuant, symmetric


def linear_quant(x: Array, k: int) -> Array:
    """The right answer to 7.1: the package's own."""
    return LinearQuant(k).quantize(x)


def _linear_cases(rng: np.random.Generator) -> Iterator[Case]:
    for k, value in ((1, 0.3), (1, -0.3), (2, 0.9), (2, 0.5), (2, -0.5), (2, 0.1), (2, 9.0)):
        yield np.array([value]), k
    for k in (1, 2, 3):
        for value in (0.0, -0.0, 1.0, -1.0, np.nextafter(1, 2), np.nextafter(1, 0), -2.0, -0.01):
            yield np.array([value]), k
    for k in (1, 2, 3, 4, 8):
        yield rng.normal(size=7), k
    yield rng.uniform(-1.2, 1.2, (2, 5)), 3


def _levels(x: Array, steps: int, low: float = -1.0, high: float = 1.0) -> Array:
    """Nearest of so many steps between two ends, ties up."""
    inside = np.clip(x, low, high)
    return low + (high - low) * np.floor(steps * (inside - low) / (high - low) + 0.5) / steps


def _half_to_even(x: Array, k: int) -> Array:
    n = 2**k - 1
    return 2 * np.round(n * (np.clip(x, -1, 1) + 1) / 2) / n - 1


def _no_clip(x: Array, k: int) -> Array:
    n = 2**k - 1
    return 2 * np.floor(n * (x + 1) / 2 + 0.5) / n - 1


def _level_below(x: Array, k: int) -> Array:
    n = 2**k - 1
    return 2 * np.floor(n * (np.clip(x, -1, 1) + 1) / 2) / n - 1


def _beside_zero(answer: Callable[..., Any]) -> str:
    """Whether an answer is right beside the tie at 0 as well: x + 1 may have lost x."""
    got = float(np.asarray(answer(np.array([-1e-30]), 2)).item())
    if got < 0:
        return "It is right at -1e-30 too, beside the tie."
    return "One thing more: at x = -1e-30 yours gives 1/3, since 1 - 1e-30 is rounded to 1."


LINEAR_QUANT = Exercise(
    id="7.1",
    title="LinearQuant, symmetric",
    name="linear_quant",
    task="Return the nearest of 2^k levels from -1 to 1, both ends included; ties go up.",
    section="section 3, LinearQuant",
    spec=linear_quant,
    cases=_linear_cases,
    same=close(1e-12),
    without=("LinearQuant", "quantize", "encode"),
    score=_beside_zero,
    wrong=(
        Wrong(
            "step 2 / 2^k",
            lambda x, k: _levels(x, 2**k),
            "Your step is 2 / 2^k. From -1 to 1, ends included, that makes 2^k + 1 levels: one "
            "too many for k bits.",
        ),
        Wrong(
            "2^k steps, below",
            lambda x, k: np.floor((np.clip(x, -1, 1) + 1) / 2 * 2**k) * 2 / 2**k - 1,
            "You cut [-1, 1] into 2^k steps, and take the level below. 2^k levels have a step less "
            "between them.",
        ),
        Wrong(
            "multiples of the step",
            lambda x, k: np.clip(np.floor(x * (2**k - 1) / 2 + 0.5) * 2 / (2**k - 1), -1, 1),
            "Your levels are multiples of the step, so 0 is one of them, and the ends are not. "
            "They begin at -1.",
        ),
        Wrong(
            "no clip",
            _no_clip,
            "A number beyond 1 gets a level that k bits do not have.",
        ),
        Wrong(
            "level below",
            _level_below,
            "You take the level below. The nearest one is asked.",
        ),
        Wrong(
            "half to even",
            _half_to_even,
            "numpy.round takes a half to the even neighbour: with one bit 1/2 becomes 0, and "
            "Sign(0) would be -1. Ties go up.",
        ),
        Wrong(
            "fixed-point",
            lambda x, k: np.clip(np.floor(x * 2 ** (k - 1) + 0.5) / 2 ** (k - 1), -1, 1 - 2 / 2**k),
            "These are the levels of fixed-point: they have a 0, and no +1.",
        ),
        Wrong(
            "unsigned",
            lambda x, k: _levels(x, 2**k - 1, 0.0),
            "Your levels go from 0 to 1, those of unsigned. Symmetric ones begin at -1.",
        ),
        Wrong(
            "codes",
            lambda x, k: (2**k - 1) * linear_quant(x, k),
            "You return the codes, odd integers. The value is the code times the scale.",
        ),
        Wrong(
            "literal",
            lambda x, k: np.clip(np.floor(x / k + 0.5) * k, -1, 1),
            "You took the formula at its word: the number of bits is not the step.",
        ),
    ),
    hints=(
        "How many steps lie between 2^k levels, and how long is one if they go from -1 to 1?",
        "Move [-1, 1] to [0, 2^k - 1], round to the nearest whole number, and move back.",
        "A numpy.clip, then numpy.floor(... + 0.5) of so many steps, then a division.",
    ),
)

# 7.2 LogQuant


def log_quant(x: Array, k: int) -> Array:
    """The right answer to 7.2: the package's own."""
    return LogQuant(k).quantize(x)


def _log_cases(rng: np.random.Generator) -> Iterator[Case]:
    for k, value in ((4, 0.5), (4, 0.1), (4, -0.1), (4, 0.0), (4, 9.0), (4, -9.0), (3, 0.72)):
        yield np.array([value]), k
    for k, value in ((3, 0.7), (3, 0.6), (3, 0.2), (3, 0.17), (3, 2.0**-30), (2, 0.6), (2, 0.8)):
        yield np.array([value]), k
    for value in (-0.0, 1.0, -1.0, 1.3, 2.0**-6, 2.0**-7, -(2.0**-30)):
        yield np.array([value]), 4
    for k in (2, 3, 4, 5):
        yield rng.normal(size=6) * 2.0 ** -rng.integers(0, 9, 6), k
    yield rng.uniform(-1.2, 1.2, (2, 5)), 3


def _powers(
    x: Array,
    lowest: float,
    rounding: Callable[[Array], Array] = lambda e: np.floor(e + 0.5),
    highest: float = 0.0,
) -> Array:
    """Signed powers of two from 2^lowest to 2^highest, and 0 below."""
    size = np.abs(x)
    with np.errstate(divide="ignore"):
        exponent = np.minimum(rounding(np.log2(size)), highest)
    power = np.where(exponent < lowest, 0.0, np.exp2(np.where(size > 0, exponent, 0)))
    return np.sign(x) * np.where(size > 0, power, 0)


def _octaves(k: int) -> int:
    return 2 ** (k - 1) - 2


def _lost_sign(x: Array, k: int) -> Array:
    return _powers(np.clip(x, 0, 1), -_octaves(k))


def _smallest_for_zero(x: Array, k: int) -> Array:
    small = np.abs(log_quant(x, k)) == 0
    return np.where(small & (x != 0), np.sign(x) * 2.0 ** -_octaves(k), log_quant(x, k))


def _nearest_power(x: Array, k: int) -> Array:
    return _powers(x, -_octaves(k), lambda e: np.floor(e) + (np.exp2(e - np.floor(e)) >= 1.5))


def _border(x: Array, k: int, border: float) -> Array:
    """With a border to 0 of its own, as a share of the smallest power."""
    smallest = 2.0 ** -_octaves(k)
    kept = np.maximum(np.abs(_powers(x, -np.inf)), smallest)
    return np.where(np.abs(x) < border * smallest, 0.0, np.sign(x) * kept)


def _nearest_level(x: Array, k: int) -> Array:
    levels = np.sort(LogQuant(k).levels * LogQuant(k).encoding.scale)
    return levels[np.abs(x[..., None] - levels).argmin(axis=-1)]


LOG_QUANT = Exercise(
    id="7.2",
    title="LogQuant",
    name="log_quant",
    task="Return AP2(x) in k bits: 0 and the powers of two +-2^-R to +-1, with R = 2^(k-1) - 2.",
    section="section 3, LogQuant",
    spec=log_quant,
    cases=_log_cases,
    without=("LogQuant", "quantize", "encode"),
    wrong=(
        Wrong(
            "power below",
            lambda x, k: _powers(x, -_octaves(k), np.floor),
            "You take the power below. AP2 rounds the logarithm: above 0.707 the next power is 1.",
        ),
        Wrong(
            "no smallest power",
            lambda x, k: _powers(x, -np.inf),
            "2^-30 needs more than k bits. Below the smallest power there is 0.",
        ),
        Wrong(
            "never 0",
            _smallest_for_zero,
            "Your small numbers become the smallest power. What is rounded to a power below it "
            "becomes 0.",
        ),
        Wrong(
            "half of the smallest",
            lambda x, k: _border(x, k, 0.5),
            "Your border to 0 lies at half of the smallest power. The logarithm is rounded there, "
            "too.",
        ),
        Wrong(
            "all below the smallest",
            lambda x, k: _border(x, k, 1.0),
            "All below the smallest power becomes 0 in yours. What is rounded up to it stays.",
        ),
        Wrong(
            "nearest level",
            _nearest_level,
            "You take the level that is nearest in distance. AP2 rounds the logarithm: between 1/2 "
            "and 1 the threshold is 0.707, not 0.75.",
        ),
        Wrong(
            "no largest power",
            lambda x, k: _powers(x, -_octaves(k), highest=60),
            "Large numbers keep growing. The largest level is 1.",
        ),
        Wrong(
            "sign lost",
            _lost_sign,
            "Negative numbers have lost their sign: the range goes from -1 to 1.",
        ),
        Wrong(
            "one exponent more",
            lambda x, k: _powers(x, -(2 ** (k - 1) - 1)),
            "You have an exponent too many: one code is kept for 0.",
        ),
        Wrong(
            "nearest power",
            _nearest_power,
            "You take the power that is nearest in distance. AP2 rounds the logarithm: the "
            "threshold is sqrt(2) times a power, not 1.5 times.",
        ),
        Wrong(
            "all bits for the exponent",
            lambda x, k: _powers(x, -(2**k - 2)),
            "All your bits went to the exponent. One of them is the sign.",
        ),
    ),
    hints=(
        "One bit is the sign, the others name an exponent, and one name is kept for 0.",
        "e = round(log2 |x|), not above 0; the value is 0 where e is below -R.",
        "numpy.sign(x) times numpy.where(e < lowest, 0, 2.0**e); mind the logarithm of 0.",
    ),
)

# 7.3 Planes


def sign_planes(codes: Array, k: int) -> Array:
    """The right answer to 7.3: beta_a = +1 where bit a of the level's number is 1."""
    levels = (codes + 2**k - 1) // 2
    return 2 * (levels >> np.arange(k)[:, None] & 1) - 1


def _plane_cases(rng: np.random.Generator) -> Iterator[Case]:
    for k, code in ((1, 1), (1, -1), (2, 1), (2, -1), (2, 3), (2, -3), (3, 5), (3, -1)):
        yield np.array([code]), k
    for k in range(1, 9):
        codes = np.arange(1 - 2**k, 2**k, 2)
        yield codes if k < 5 else rng.choice(codes, 9), k


def _twos_complement(codes: Array, k: int) -> Array:
    return 2 * (codes >> np.arange(k)[:, None] & 1) - 1


SIGN_PLANES = Exercise(
    id="7.3",
    title="A code as a sum of signs",
    name="sign_planes",
    task="Return the k signs of each code, an array (k, n): the sum of 2^a beta_a is the code.",
    section="eq. (7) for k bits",
    spec=sign_planes,
    cases=_plane_cases,
    axes=("n", ""),
    without=("to_planes", "unpack", "pack_levels"),
    wrong=(
        Wrong(
            "bits",
            lambda codes, k: (sign_planes(codes, k) + 1) // 2,
            "These are bits, 0 and 1: their sum is the number of the level. Signs are asked.",
        ),
        Wrong(
            "order",
            lambda codes, k: sign_planes(codes, k)[::-1],
            "Your planes stand the other way round: beta_0 counts 1.",
        ),
        Wrong(
            "two's complement",
            _twos_complement,
            "You took the bits of the code itself, in two's complement. A code is odd, so its bit "
            "0 is always 1: use the number of its level, 0 to 2^k - 1.",
        ),
        Wrong(
            "polarity",
            lambda codes, k: -sign_planes(codes, k),
            "All signs are exchanged: the largest code is the sum of signs +1.",
        ),
        Wrong(
            "sign of the code",
            lambda codes, k: np.where(codes > 0, 1, -1) * np.ones((k, 1), int),
            "Every plane has the sign of the code. Only the last one does: -1 is 2 (-1) + 1.",
        ),
        Wrong(
            "level not halved",
            lambda codes, k: 2 * (codes + 2**k - 1 >> np.arange(k)[:, None] & 1) - 1,
            "Codes go in steps of 2, and levels in steps of 1: something is not halved.",
        ),
        Wrong(
            "weighted",
            lambda codes, k: sign_planes(codes, k) << np.arange(k)[:, None],
            "You have multiplied by 2^a already. The planes are +-1.",
        ),
    ),
    hints=(
        "Number the levels from 0 on: which bits does the number of a level have?",
        "The level is (code + 2^k - 1) / 2, and beta_a = 2 B_a - 1 for its bit a.",
        "Shift the levels right by numpy.arange(k)[:, None], and take the last bit.",
    ),
)

# 7.4 Products of planes


def levels_product(x: Words, w: Words, K: int) -> int:
    """The right answer to 7.4: the package's own."""
    return int(levels_matmul_reference(x[:, None], w[:, None], K)[0, 0])


def _words_of(codes: Array, k: int) -> Words:
    return to_planes(codes, Grid(1 - 2**k, 2**k - 1, 2))


def _product_cases(rng: np.random.Generator) -> Iterator[Case]:
    for k, l, x, w in ((1, 1, 1, 1), (1, 1, 1, -1), (2, 1, 3, 1), (1, 2, 1, -3), (2, 2, -1, 3)):
        yield _words_of(np.array([x]), k), _words_of(np.array([w]), l), 1
    for K in (1, 3, 63, 64, 65, 130):
        for k, l in ((1, 1), (2, 1), (1, 3), (2, 2), (3, 2), (4, 4)):
            left, right = (rng.choice(np.arange(1 - 2**b, 2**b, 2), K) for b in (k, l))
            yield _words_of(left, k), _words_of(right, l), K


def _codes_of(planes: Words, K: int) -> Array:
    return (unpack(planes, K).astype(int) * 2 ** np.arange(len(planes))[:, None]).sum(axis=0)


def _product_words(arguments: Mapping[str, Any], yours: Any, right: Any) -> str:
    """The smallest case as codes: words say nothing to a reader."""
    x, w, K = arguments.values()
    texts = [
        f"{name} = {_short(_codes_of(planes, K))} of {len(planes)} bit{'s' * (len(planes) > 1)}"
        for name, planes in (("x", x), ("w", w))
    ]
    return (
        f"Smallest case: with the planes of {texts[0]} and {texts[1]}, K = {K}, yours gives "
        f"{yours}, right is {right}."
    )


def _short(codes: Array) -> str:
    shown = ", ".join(map(str, codes[:4]))
    return f"[{shown}, ...]" if len(codes) > 4 else f"[{shown}]"


def _cells(
    x: Words,
    w: Words,
    cell: Callable[[Words, Words], Any],
    weight: Callable[[int, int], int] = lambda a, b: 2 ** (a + b),
) -> int:
    """Sum of what each pair of planes gives, times a weight."""
    return sum(weight(a, b) * cell(p, q) for a, p in enumerate(x) for b, q in enumerate(w))


def _ones(words: Words) -> int:
    return int(popcount(words).sum())


def _xnor(K: int) -> Callable[[Words, Words], int]:
    return lambda p, q: K - 2 * _ones(p ^ q)


LEVELS_PRODUCT = Exercise(
    id="7.4",
    title="k bits times l bits",
    name="levels_product",
    task=(
        "Return the product of two vectors of K codes as an int. x (k, words) and w (l, words) "
        "are their packed planes, plane 0 first."
    ),
    section="section 3, products by planes",
    spec=levels_product,
    cases=_product_cases,
    words=_product_words,
    axes=("", "", ""),
    simple=(),
    without=("levels_matmul", "levels_matmul_reference", "planes_matmul", "unpack"),
    wrong=(
        Wrong(
            "2^(a b)",
            lambda x, w, K: _cells(x, w, _xnor(K), lambda a, b: 2 ** (a * b)),
            "Your factor is 2^(a b). Planes 1 and 2 count 2 and 4, together 8.",
        ),
        Wrong(
            "diagonal",
            lambda x, w, K: _cells(x, w, _xnor(K), lambda a, b: 4**a * (a == b)),
            "You multiply plane 0 by plane 0, plane 1 by plane 1, and so on. Every plane of x "
            "meets every plane of w.",
        ),
        Wrong(
            "no factors",
            lambda x, w, K: _cells(x, w, _xnor(K), lambda a, b: 1),
            "All your cells count the same. Plane a counts 2^a.",
        ),
        Wrong(
            "planes of w",
            lambda x, w, K: _cells(x, w, _xnor(K), lambda a, b: 2**a),
            "The planes of w count too: b of them 2^b.",
        ),
        Wrong(
            "planes reversed",
            lambda x, w, K: _cells(x[::-1], w[::-1], _xnor(K)),
            "You take the last plane for the first. Plane 0 counts 1.",
        ),
        Wrong(
            "unsigned",
            lambda x, w, K: _cells(x, w, lambda p, q: K - 2 * popcount(p ^ q).sum()),
            "Counts are unsigned numbers: what should fall below 0 wraps around. Make an int of "
            "the count first.",
        ),
        Wrong(
            "padding",
            lambda x, w, K: _cells(x, w, lambda p, q: 64 * len(p) - 2 * _ones(p ^ q)),
            "You count the padding of the last word as pairs that agree: there are K pairs.",
        ),
        Wrong(
            "XNOR of the padding",
            lambda x, w, K: _cells(x, w, lambda p, q: 2 * _ones(~(p ^ q)) - K),
            "~ makes ones of the padding bits as well: they count as pairs that agree.",
        ),
        Wrong(
            "one plane of w",
            lambda x, w, K: _cells(x, w[:1], _xnor(K)),
            "You use plane 0 of w only.",
        ),
        Wrong(
            "K - count",
            lambda x, w, K: _cells(x, w, lambda p, q: K - _ones(p ^ q)),
            "A pair that differs does not only miss: it takes 1 away, so it costs 2.",
        ),
        Wrong(
            "AND",
            lambda x, w, K: _cells(x, w, lambda p, q: _ones(p & q)),
            "AND and popcount are for bits 0 and 1 (fixed-point). Here a bit 0 is the sign -1.",
        ),
        Wrong(
            "scaled",
            lambda x, w, K: _cells(x, w, _xnor(K)) / ((2 ** len(x) - 1) * (2 ** len(w) - 1)),
            "You have multiplied by the scales. They come later, once: the product of codes is an "
            "integer.",
        ),
    ),
    hints=(
        "Write both codes as sums of signs, and multiply the two sums out.",
        "The sum over all a and b of 2^(a + b) times the binary product of plane a and plane b.",
        "Two loops around K - 2 * popcount(x[a] ^ w[b]).sum(), as an int of Python.",
    ),
    points=2,
)

EXERCISES = (LINEAR_QUANT, LOG_QUANT, SIGN_PLANES, LEVELS_PRODUCT)

QUESTIONS = (
    Question(
        "7.1a",
        "How many levels have 1, 2 and 3 bits, if the bit width is the step?",
        (3, 3, 3),
        no={(2, 4, 8): "That is what k bits can hold; here the formula is taken at its word."},
    ),
    Question(
        "7.1b",
        "Which of the three readings has no level 0?",
        "symmetric",
        ("fixed-point", "symmetric", "unsigned"),
    ),
    Question(
        "7.1c",
        "One symmetric bit at 0, if halves went to the even neighbour?",
        -1,
        no={1: "That is what it should be. 1/2 would go to 0, and level 0 is -1."},
    ),
    Question(
        "7.2a",
        "The positive levels of 3 bits, in order?",
        (0.25, 0.5, 1),
        no={
            (0.125, 0.25, 0.5): "The largest one is 1.",
            (1, 2, 4): "These are the codes; the largest level is 1.",
        },
    ),
    Question(
        "7.2b",
        "What becomes of 0.02 in LogQuant, fixed-point and symmetric, 4 bits each?",
        (0.016, 0, 0.067),
        about=0.001,
        no={(0.016, 0, 0): "Symmetric has no 0: its smallest level is half a step."},
    ),
    Question(
        "7.2c",
        "The mean of the draws at x = 0.6, and at 1.2?",
        (0.6, 1),
        about=0.01,
        no={
            (0.6, 1.2): "Above 1 there is no upper neighbour that could be drawn.",
            (0.5, 1): "That is the nearest power; drawn are both neighbours.",
        },
    ),
    Question(
        "7.3a",
        "Which signs (beta_1, beta_0) make the code -1?",
        (-1, 1),
        no={(1, -1): "These make 2 - 1 = 1.", (-1, -1): "These make -3."},
    ),
    Question(
        "7.3b",
        "How many of the two planes of 2 bits are exactly planes of the 8 bits?",
        1,
        no={2: "One of them nearly: rounding and cutting off have different thresholds."},
    ),
    Question(
        "7.4a", "How many binary products do 2 bits times 3 bits take?", 6, no={5: "2 times 3."}
    ),
    Question(
        "7.4b",
        "Can a cell of fixed-point be negative before it is multiplied by its factor?",
        False,
        no={True: "It is a popcount."},
    ),
    Question(
        "7.5a",
        "The slope of fixed-point, 2 bits, at 0.8; and of unsigned at -0.3?",
        (1, 0),
        no={
            (0, 0): "The slope is that of the clip to [-1, 1], not of the levels.",
            (1, 1): "Unsigned passes nothing below 0.",
        },
    ),
    Question(
        "7.5b",
        "Saturation 2: from where to where does the slope of unsigned go?",
        (0, 2),
        no={(-2, 2): "Its range starts at 0, and 0 times 2 is 0.", (-1, 2): "0 stays 0."},
    ),
    Question(
        "7.6a",
        "How many comparisons does one unit need for 2 bits?",
        3,
        no={4: "Between four codes lie three thresholds.", 1: "That is enough for one bit."},
    ),
    Question(
        "7.6b",
        "For how many of 10,000 images are all ten scores the same, bit for bit?",
        10_000,
    ),
    Question(
        "7.7a",
        "Where does a second bit lower the mean error more?",
        "weights",
        ("activations", "weights"),
    ),
)
