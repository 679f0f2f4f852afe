"""Chapter 10, kernels: the full adder, counting with carries, sums that are looked up.

Over 400 lines: a chapter is one file, so that its exercises are found beside each other.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from qnn_ref._typing import Array, Words
from qnn_ref.course.exercise import Case, Exercise, Question, Wrong

# 10.1 The full adder


def full_adder(x: Words, y: Words, z: Words) -> tuple[Words, Words]:
    """The right answer to 10.1, in five operations."""
    half = x ^ y
    return half ^ z, (x & y) | (half & z)


def _adder_cases(rng: np.random.Generator) -> Iterator[Case]:
    for triple in range(8):
        yield tuple(np.array([triple >> bit & 1], np.uint64) for bit in range(3))
    for words in ((2, 0, 0), (3, 1, 1), (5, 5, 5)):
        yield tuple(np.array([word], np.uint64) for word in words)
    for size in (1, 2, 5, 64):
        yield tuple(rng.integers(0, 2**64, size, np.uint64) for _ in range(3))


class Counted:
    """Something that counts what is done with it, to score an answer.

    Parameters
    ----------
    counts : dict of str to int
        Operations so far; shared by all that comes of it.
    value : float
        A number, where one is asked for.
    """

    def __init__(self, counts: dict[str, int], value: float = 0.0) -> None:
        self.counts, self.value = counts, value

    def _done(self, kind: str, value: float = 0.0) -> Counted:
        self.counts[kind] = self.counts.get(kind, 0) + 1
        return Counted(self.counts, value)

    def _logic(self, other: Any) -> Counted:
        return self._done("logic")

    __and__ = __rand__ = __or__ = __ror__ = __xor__ = __rxor__ = _logic

    def __invert__(self) -> Counted:
        return self._done("logic")

    def __float__(self) -> float:
        return self.value

    def __add__(self, other: Any) -> Counted:
        return self._done("addition", self.value + float(other))

    def __sub__(self, other: Any) -> Counted:
        return self._done("addition", self.value - float(other))

    def __rsub__(self, other: Any) -> Counted:
        return self._done("addition", float(other) - self.value)

    __radd__ = __add__

    def __mul__(self, other: Any) -> Counted:
        return self._done("product", self.value * float(other))

    __rmul__ = __mul__

    def __neg__(self) -> Counted:
        return self._done("sign", -self.value)


def _operations(answer: Callable[..., Any]) -> str:
    counts: dict[str, int] = {}
    answer(*(Counted(counts) for _ in range(3)))
    used = sum(counts.values())
    if used <= 5:
        return f"{used} operations: it cannot be done with fewer."
    return f"{used} operations. It can be done with 5, if a result is used twice."


FULL_ADDER = Exercise(
    id="10.1",
    title="A full adder of words",
    name="full_adder",
    task="Return sum and carry of three words, bit by bit: 2 carry + sum counts the ones.",
    section="section 6 (ours: adders made of logic)",
    spec=full_adder,
    cases=_adder_cases,
    axes=("n", "n", "n"),
    simple=(0, 1),
    simplify=("x", "y", "z"),
    score=_operations,
    wrong=(
        Wrong(
            "all three",
            lambda x, y, z: (x ^ y ^ z, x & y & z),
            "Your carry needs all three. 1 + 1 + 0 has one too.",
        ),
        Wrong(
            "OR for the sum",
            lambda x, y, z: (x | y | z, full_adder(x, y, z)[1]),
            "Your sum is 1 as soon as one of them is. 1 + 1 + 0 is 2: sum 0, carry 1.",
        ),
        Wrong(
            "y and z forgotten",
            lambda x, y, z: (x ^ y ^ z, (x & y) | (x & z)),
            "A pair is missing in your carry: 0 + 1 + 1 has one too.",
        ),
        Wrong(
            "x and z forgotten",
            lambda x, y, z: (x ^ y ^ z, (x & y) | (y & z)),
            "A pair is missing in your carry: 1 + 0 + 1 has one too.",
        ),
        Wrong(
            "any of them",
            lambda x, y, z: (x ^ y ^ z, x | y | z),
            "Your carry is 1 as soon as one of them is. Two are needed.",
        ),
        Wrong(
            "third forgotten",
            lambda x, y, z: (x ^ y, x & y),
            "This is a half adder: z does not occur in it.",
        ),
        Wrong(
            "first two only",
            lambda x, y, z: (x ^ y ^ z, x & y),
            "Your carry looks at x and y only. 1 + 0 + 1 has one too.",
        ),
        Wrong(
            "exchanged",
            lambda x, y, z: full_adder(x, y, z)[::-1],
            "Sum and carry stand in the wrong order: the sum is the first.",
        ),
        Wrong(
            "truth values",
            lambda x, y, z: ((x != 0) ^ (y != 0) ^ (z != 0), full_adder(x, y, z)[1]),
            "A whole word is true or false in yours, as for logical_xor. Each of its bits is a sum "
            "of its own.",
        ),
        Wrong(
            "addition of words",
            lambda x, y, z: (x + y + z & np.uint64(1), x + y + z >> np.uint64(1)),
            "An addition of words carries from bit to bit. Each of the 64 bits is a sum of its "
            "own.",
        ),
    ),
    hints=(
        "Write down the eight triples. When is the number of ones odd, when is it two or more?",
        "The sum is the XOR of all three; the carry is 1 where at least two of them are.",
        "Keep x ^ y in a variable: both results need it.",
    ),
)

# 10.2 Counting with carries


class Popcounts(int):
    """A popcount that may be used for so many words; the number itself is how many."""

    used = 0

    def __call__(self, words: Any) -> Any:
        self.used += np.size(words)
        if self.used > self:
            raise TooManyPopcounts(f"{int(self)} are allowed here: n // 8 + 3, and n % 8 more")
        counts = np.bitwise_count(np.asarray(words, np.uint64)).astype(np.int64)
        return counts if counts.ndim else int(counts)

    def __repr__(self) -> str:
        return "popcount"


class TooManyPopcounts(RuntimeError):
    """Raised when an answer counts more words than it may."""


def carry_save_count(words: Words, popcount: Callable[[Any], Any]) -> int:
    """The right answer to 10.2: what the adders have to reach."""
    return int(np.bitwise_count(words).sum())


def _count_cases(rng: np.random.Generator) -> Iterator[Case]:
    full = ~np.uint64(0)
    yield np.array([1, 1, 1, 0, 0, 0, 0, 0], np.uint64), Popcounts(4)
    yield np.array([1, 0, 0, 0, 0, 0, 0, 0] * 2, np.uint64), Popcounts(5)
    for n, word in ((8, 1), (1, 1), (9, 1), (7, full), (0, 0), (8, full), (16, 1), (16, full)):
        yield np.full(n, word, np.uint64), Popcounts(n // 8 + 3 + n % 8)
    for n in (1, 7, 8, 9, 16, 23, 24, 64, 65, 100):
        yield rng.integers(0, 2**64, n, np.uint64), Popcounts(n // 8 + 3 + n % 8)


def _count_words(arguments: Mapping[str, Any], yours: Any, right: Any) -> str:
    words = arguments["words"]
    ones = ", ".join(str(int(n)) for n in np.bitwise_count(words)[:9])
    more = ", ..." if len(words) > 9 else ""
    return (
        f"Smallest case: words with {ones}{more} ones (n = {len(words)}): yours gives {yours}, "
        f"right is {right}."
    )


def _add_eight(w: Words, digits: tuple[Any, Any, Any]) -> tuple[tuple[Any, Any, Any], Any]:
    """Seven full adders: new digits (ones, twos, fours), and the eights."""
    ones, twos, fours = digits
    ones, two0 = full_adder(ones, w[0], w[1])
    ones, two1 = full_adder(ones, w[2], w[3])
    twos, four0 = full_adder(twos, two0, two1)
    ones, two0 = full_adder(ones, w[4], w[5])
    ones, two1 = full_adder(ones, w[6], w[7])
    twos, four1 = full_adder(twos, two0, two1)
    fours, eights = full_adder(fours, four0, four1)
    return (ones, twos, fours), eights


def count_with(
    words: Words,
    popcount: Callable[[Any], Any],
    eight: int = 8,
    worths: tuple[int, ...] = (1, 2, 4),
    tail: bool = True,
    keep: bool = True,
    over: bool = True,
) -> int:
    """Count by adders, with a place for each mistake.

    Parameters
    ----------
    words : array (n,) of uint64
    popcount : function
    eight : int
        What the ones of an eights word are worth.
    worths : tuple of int
        What those of the digits are worth at the end.
    tail : bool
        Whether the words after the last eight are counted.
    keep : bool
        Whether digits stay from turn to turn.
    over : bool
        Whether the eights are counted at all.

    Returns
    -------
    int
    """
    zero = (np.uint64(0),) * 3
    digits, count, whole = zero, 0, len(words) - len(words) % 8
    for start in range(0, whole, 8):
        digits, eights = _add_eight(words[start : start + 8], digits if keep else zero)
        count += eight * popcount(eights) if over else 0
    count += sum(worth * popcount(d) for worth, d in zip(worths, digits, strict=False))
    return int(count + (sum(popcount(w) for w in words[whole:]) if tail else 0))


def _four_a_turn(words: Words, popcount: Callable[[Any], Any]) -> int:
    ones: Any = np.uint64(0)
    twos: Any = np.uint64(0)
    count, whole = 0, len(words) - len(words) % 4
    for i in range(0, whole, 4):
        ones, two0 = full_adder(ones, words[i], words[i + 1])
        ones, two1 = full_adder(ones, words[i + 2], words[i + 3])
        twos, four = full_adder(twos, two0, two1)
        count += 4 * popcount(four)
    count += popcount(ones) + 2 * popcount(twos)
    return int(count + sum(popcount(word) for word in words[whole:]))


def _popcounts(answer: Callable[..., Any]) -> str:
    popcount = Popcounts(10**6)
    answer(np.arange(64, dtype=np.uint64), popcount)
    return f"64 words took {popcount.used} popcounts (64 / 8 + 3 = 11)."


CARRY_SAVE = Exercise(
    id="10.2",
    title="Counting with carries",
    name="carry_save_count",
    task=(
        "Return the number of ones in n words. popcount counts a word; it may be used n // 8 + 3 "
        "times, and once for each word that is left over."
    ),
    section="section 6 (ours: Harley and Seal)",
    spec=carry_save_count,
    cases=_count_cases,
    words=_count_words,
    axes=("", ""),
    simple=(),
    without=("bitwise_count", "bit_count", "bin", "unpackbits", "unpack"),
    score=_popcounts,
    wrong=(
        Wrong(
            "tail forgotten",
            lambda words, popcount: count_with(words, popcount, tail=False),
            "The words after the last eight are lost.",
        ),
        Wrong(
            "digits left behind",
            lambda words, popcount: count_with(words, popcount, worths=()),
            "Only what overflowed is counted. At the end ones, twos and fours still hold up to 7 "
            "for each bit.",
        ),
        Wrong(
            "eights worth 4",
            lambda words, popcount: count_with(words, popcount, eight=4),
            "A one that comes out of the fours is worth 8.",
        ),
        Wrong(
            "eights worth 1",
            lambda words, popcount: count_with(words, popcount, eight=1),
            "A one that comes out of the fours stands for more than one.",
        ),
        Wrong(
            "digits worth 1",
            lambda words, popcount: count_with(words, popcount, worths=(1, 1, 1)),
            "Your digits all count 1. They are those of a binary number.",
        ),
        Wrong(
            "digits reversed",
            lambda words, popcount: count_with(words, popcount, worths=(4, 2, 1)),
            "Your digits are exchanged: ones are worth 1, fours 4.",
        ),
        Wrong(
            "new digits each turn",
            lambda words, popcount: count_with(words, popcount, keep=False),
            "Each turn begins with digits 0: those of the turn before are lost.",
        ),
        Wrong(
            "overflow lost",
            lambda words, popcount: count_with(words, popcount, over=False),
            "What overflows, the eights, is counted nowhere.",
        ),
        Wrong(
            "four words a turn",
            _four_a_turn,
            "You add four words in a turn. With eight, half as many popcounts are left.",
        ),
        Wrong(
            "a popcount a word",
            lambda words, popcount: int(sum(popcount(word) for word in words)),
            "That is a popcount for each word. Add eight words by logic first, and count what "
            "overflows.",
        ),
    ),
    hints=(
        "Three words hold the digits of 64 binary numbers. What has to be counted in a turn?",
        "8 times the ones of all eights, then those of ones, twos, fours times 1, 2, 4, and the "
        "rest.",
        "A loop over words[i : i + 8] with add_eight; the digits begin as three numpy.uint64(0).",
    ),
    points=2,
)

# 10.3 Sums that are looked up


def lookup_product(bits: Array, x: Array) -> Array:
    """The right answer to 10.3: what the tables have to reach."""
    return np.where(bits == 1, x, -x).sum(axis=1)


def _lookup_cases(rng: np.random.Generator) -> Iterator[Case]:
    numbers = np.array([5.0, -2.0, 7.0, 1.0])
    for entry in (15, 0, 1, 8, 6):
        yield (entry >> np.arange(4) & 1).astype(np.uint8)[None], numbers
    yield np.array([[1]], np.uint8), np.array([3.0])
    yield np.array([[0, 1, 1, 0, 1]], np.uint8), np.array([1.0, 2.0, 4.0, 8.0, 16.0])
    for N, K in ((3, 4), (16, 8), (5, 7), (2, 13), (40, 64), (1, 65), (3, 0)):
        yield rng.integers(0, 2, (N, K)).astype(np.uint8), rng.integers(-50, 51, K).astype(float)


def look_up(
    bits: Array,
    x: Array,
    worths: tuple[int, ...] = (1, 2, 4, 8),
    minus: float = -1.0,
    end: str = "zeros",
    tables: str = "own",
) -> Array:
    """Multiply by tables, with a place for each mistake.

    Parameters
    ----------
    bits : array (N, K) of uint8
    x : array (K,)
    worths : tuple of int
        Of four bits in an index.
    minus : float
        What a bit 0 stands for.
    end : {"zeros", "lost", "stale"}
        What happens to fewer than four numbers at the end.
    tables : {"own", "first"}
        Whose table an index looks into.

    Returns
    -------
    array (N,)
    """
    out = np.zeros(len(bits), x.dtype)
    four = np.zeros(4, x.dtype)
    for start in range(0, len(x), 4):
        some = x[start : start + 4]
        if len(some) < 4 and end == "lost":
            break
        four = np.concatenate(
            [some, four[len(some) :] if end == "stale" else 0 * four[len(some) :]]
        )
        signs = np.where(np.arange(16)[:, None] >> np.arange(4) & 1, 1.0, minus)
        table = signs @ (x[:4] if tables == "first" and len(x) >= 4 else four)
        index = bits[:, start : start + 4].astype(int) @ np.array(worths[: len(some)])
        out = out + table[index]
    return out


def _beyond_the_end(bits: Array, x: Array) -> Array:
    return look_up(bits, np.array([x[place] for place in range(len(x) + -len(x) % 4)]))


def _additions(answer: Callable[..., Any]) -> str:
    counts: dict[str, int] = {}
    numbers = np.array([Counted(counts, value) for value in (5.0, -2.0, 7.0, 1.0)], object)
    bits = (np.arange(64)[:, None] >> np.arange(4) & 1).astype(np.uint8)
    with contextlib.suppress(TypeError, ValueError):  # it may want floats
        answer(bits, numbers)
    used = counts.get("addition", 0)
    if used < 76:
        return "Its additions could not all be counted: the sums were turned into floats."
    best = "a table can be filled with 12, and an output pays one more: 76 at most."
    return f"64 outputs of four numbers took {used} additions; {best}"


LOOKUP = Exercise(
    id="10.3",
    title="Sums that are looked up",
    name="lookup_product",
    task=(
        "Return the sums of x (K,) with the signs of bits (N, K), 1 for + and 0 for -: a table of "
        "the 16 sums of each four numbers, and one entry for each output."
    ),
    section="Algorithm 1, lines 8 and 9 (ours: by tables)",
    spec=lookup_product,
    cases=_lookup_cases,
    axes=("nk", "k"),
    simplify=("x",),
    without=("signs_matmul",),
    score=_additions,
    wrong=(
        Wrong(
            "index reversed",
            lambda bits, x: look_up(bits, x, worths=(8, 4, 2, 1)),
            "Your index is read from the other end: bit 0 of it belongs to the first of four "
            "numbers. Entry 1 is +a - b - c - d.",
        ),
        Wrong(
            "0 for -1",
            lambda bits, x: look_up(bits, x, minus=0.0),
            "A bit 0 leaves its number out in yours. It stands for -1.",
        ),
        Wrong(
            "signs exchanged",
            lambda bits, x: -look_up(bits, x),
            "All signs are exchanged: a bit 1 adds.",
        ),
        Wrong(
            "bytes wrap",
            lambda bits, x: (2 * bits - 1) @ x,
            "bits holds unsigned bytes: what should become -1 wraps around to 255.",
        ),
        Wrong(
            "beyond the end",
            _beyond_the_end,
            "Where fewer than four numbers are left, yours reads beyond the end.",
        ),
        Wrong(
            "end lost",
            lambda bits, x: look_up(bits, x, end="lost"),
            "The last numbers, fewer than four, are lost.",
        ),
        Wrong(
            "old numbers in the last table",
            lambda bits, x: look_up(bits, x, end="stale"),
            "Your last table still holds numbers of the one before: beyond the end of x there is "
            "0.",
        ),
        Wrong(
            "one table",
            lambda bits, x: look_up(bits, x, tables="first"),
            "You look everything up in the table of the first four numbers. Each four have their "
            "own.",
        ),
    ),
    hints=(
        "Four numbers have only 16 signed sums. Which number names the one that an output wants?",
        "Entry e is the sum of +-x, plus where bit i of e is 1; e is the sum of 2^i bits[:, i].",
        "A loop over steps of four: table of 16, index (N,), out += table[index]; pad x with "
        "zeros.",
    ),
    points=2,
)

EXERCISES = (FULL_ADDER, CARRY_SAVE, LOOKUP)

QUESTIONS = (
    Question(
        "10.1a",
        "Is an XOR of two registers faster than a multiplication?",
        False,
        no={True: "Each of them starts in every cycle. What differs is how much a register holds."},
    ),
    Question(
        "10.2a",
        "How many word operations does K = 65 take, if K = 64 takes 3?",
        6,
        no={3: "The 65th bit needs a word of its own.", 4: "A word costs the same, full or not."},
    ),
    Question(
        "10.3a",
        "Which padding would need a mask?",
        "1 in one",
        ("0 in both", "1 in both", "1 in one"),
        no={"1 in both": "XOR sees differences: equal padding makes none."},
    ),
    Question(
        "10.4a",
        "How many words are read for one XOR, popcount and addition?",
        2,
        no={1: "One of the row and one of the column."},
    ),
    Question(
        "10.5a",
        "Words read for each count in a block of 2 x 2, and in one of 4 x 16?",
        (1, 0.3125),
        about=0.03,
        no={(4, 20): "That is for all counts of the block together."},
    ),
    Question(
        "10.6a",
        "Columns one after the other: do the eight counters belong to one result, or to eight?",
        "one",
        ("one", "eight"),
        no={"eight": "That is so in the panel. Above, neighbours are words of one column."},
    ),
    Question(
        "10.6b",
        "How many different words of the left matrix does a vector of eight columns need?",
        1,
        no={8: "The columns differ, the row is one."},
    ),
    Question(
        "10.7a",
        "How many registers of vectors does the tile of 4 x 16 take?",
        11,
        no={8: "These are the counters. Columns and the row need some as well."},
    ),
    Question(
        "10.8a",
        "How many logical operations do sum and carry take together?",
        5,
        no={6: "One of them can be used twice.", 2: "Count the signs in both formulas."},
    ),
    Question(
        "10.8b",
        "Column 3 has eight ones. Its digits eights, fours, twos, ones?",
        (1, 0, 0, 0),
        no={(0, 0, 0, 1): "Digits of a binary number: eight is 1000."},
    ),
    Question(
        "10.8c",
        "From how many instructions of a popcount on do adders pay?",
        5,
        no={4: "At 4 both are equal.", 8: "At 8 they pay well; look for the first one."},
    ),
    Question(
        "10.9a",
        "How many of the 16 sums have to be computed, if a change of sign is free?",
        8,
        no={
            16: "Half of them are the others with the opposite sign.",
            4: "Eight pairs of opposites.",
        },
    ),
    Question(
        "10.9b",
        "From how many outputs on is the table worth its price?",
        7,
        no={6: "Not quite: 24 against 26.", 5: "20 against 25: not yet."},
    ),
    Question(
        "10.10a",
        "Which step gains most?",
        "words",
        ("floats with vectors", "words", "block", "panels", "vectors of words"),
        no={
            "floats with vectors": "Much, and it has nothing to do with bits; another gains more.",
            "vectors of words": "The upper rungs share what is left below the ceiling.",
        },
    ),
    Question(
        "10.11a",
        "How many times faster is the network, with a kernel 23 times faster, and with one in no "
        "time?",
        (8, 11.5),
        about=0.6,
        no={(20, 23): "The first layer is a twelfth of the work, and stays as it is."},
    ),
    Question(
        "10.11b",
        "Which part's share has grown most, against the float network?",
        "first layer",
        ("first layer", "hidden layers", "last layer", "thresholds"),
        no={"thresholds": "They have a larger share than of the operations; another grew more."},
    ),
    Question(
        "10.12a",
        "Which of the four does binary win by most?",
        "4096 x 4096",
        ("K = 8", "ten outputs", "256 x 256", "4096 x 4096"),
        no={"256 x 256": "The call is dearer than the work."},
    ),
)
