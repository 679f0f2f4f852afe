"""Words, XOR and popcount, bit planes: exercises 4.1 to 4.3."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from qnn_ref import bits
from qnn_ref._typing import Array
from qnn_ref.bits.popcount import popcount
from qnn_ref.course.exercise import Case, Exercise, Wrong
from qnn_ref.grid import PIXELS

SIZES = (1, 2, 3, 63, 64, 65, 130)
"""Around the ends of words."""


def random_signs(rng: np.random.Generator, *shape: int) -> Array:
    """Draw +1 and -1."""
    return rng.choice([-1, 1], shape)


def pack_signs(signs: Array) -> Array:
    """The right answer to 4.1: the package's own."""
    return bits.pack(signs)


def _pack_cases(rng: np.random.Generator) -> Iterator[Case]:
    for values in ([1], [-1], [1, -1], [-1, 1], [-1, 1, 1], [1, 1, -1, 1, -1, -1, 1, -1]):
        yield (np.array(values),)
    for K in SIZES:
        for value in (1, -1):
            yield (np.full(K, value),)
    yield (np.where(np.arange(130) < 64, 1, -1),)
    for K in (*SIZES, 200):
        yield (random_signs(rng, K),)


def words_of(bools: Array, fill: bool = False, order: str = "little") -> Array:
    """Words of truth values, with a wrong filling or order of bits in a byte."""
    count = -(-len(bools) // 64) * 64
    padded = np.full(count, fill)
    padded[: len(bools)] = bools
    packed = np.packbits(padded, bitorder="big" if order == "big" else "little")
    return packed.view("<u8").astype(np.uint64)


def _from_the_top(signs: Array) -> Array:
    padded = np.zeros(-(-len(signs) // 64) * 64, bool)
    padded[: len(signs)] = signs > 0
    return words_of(padded.reshape(-1, 64)[:, ::-1].ravel())


def _right_aligned(signs: Array) -> Array:
    """As a number is read: the last element counts 1."""
    return words_of((signs > 0)[::-1])


def _words_and_one(signs: Array) -> Array:
    """K // 64 + 1 words."""
    words = words_of(signs > 0)
    return words if len(signs) % 64 else np.append(words, np.uint64(0))


PACK = Exercise(
    id="4.1",
    title="Pack",
    name="pack_signs",
    task="Return the words, uint64, of K numbers +1 and -1: element i is bit i % 64 of word "
    "i // 64, a bit 1 means +1, and bits beyond K are 0.",
    section="section 6",
    spec=pack_signs,
    cases=_pack_cases,
    axes=("k",),
    simplify=(),
    without=("pack", "pack_bits", "pack_reference", "pack_bits_reference", "pack_thresholds"),
    wrong=(
        Wrong(
            "order in a byte",
            lambda signs: words_of(signs > 0, order="big"),
            "[1] gave 128: the bits of each byte begin at the other end, as numpy.packbits has "
            "them by default. Element 0 is the bit that counts 1.",
        ),
        Wrong(
            "order in a word",
            _from_the_top,
            "Element 0 stands in the highest bit of the word. It belongs into the lowest, the one "
            "that counts 1.",
        ),
        Wrong(
            "last element counts 1",
            _right_aligned,
            "You read the vector like a number, from left to right. Element 0, not the last one, "
            "is the bit that counts 1.",
        ),
        Wrong(
            "polarity",
            lambda signs: words_of(signs < 0),
            "The polarity is reversed: a bit 1 means +1.",
        ),
        Wrong(
            "padding of ones",
            lambda signs: words_of(signs > 0, fill=True),
            "Bits beyond K are 1 in your last word. They have to be 0, or they count as elements.",
        ),
        Wrong(
            "bytes",
            lambda signs: np.packbits(signs > 0, bitorder="little"),
            "These are bytes, uint8. Eight of them make a word, and the last word is filled up "
            "with zeros.",
        ),
        Wrong(
            "bytes from the other end",
            lambda signs: np.packbits(signs > 0),
            "These are bytes, uint8, and numpy.packbits begins each at its other end by default. "
            "Eight bytes make a word.",
        ),
        Wrong(
            "a word too many",
            lambda signs: _words_and_one(signs),
            "64 numbers fill one word. You begin a second one that stays empty.",
        ),
        Wrong(
            "one word",
            lambda signs: words_of((signs > 0)[:64]),
            "There is only one word. Element 64 begins a second one.",
        ),
        Wrong(
            "signed words",
            lambda signs: words_of(signs > 0).astype(np.int64),
            "These words are signed: bit 63 would count -2^63, and a shift to the right would copy "
            "it. uint64 is asked.",
        ),
    ),
    hints=(
        "Write down the words of [1], of [-1, 1] and of 65 ones before you write code.",
        "Word w holds the sum of 2^i over the elements 64 w + i that are +1.",
        "Either numpy.packbits with bitorder='little' on a vector that was filled up to whole "
        "words, and a view as uint64; or shifts of numpy.uint64 numbers, combined with |.",
    ),
)


def dot(a: Array, b: Array, K: int) -> int:
    """The right answer to 4.2: the package's product of one row and one row."""
    return int(bits.xnor_matmul(a[None], b[None], K)[0, 0])


def _dot_cases(rng: np.random.Generator) -> Iterator[Case]:
    for first, second in (
        ([1], [1]),
        ([1], [-1]),
        ([-1], [-1]),
        ([1, 1], [1, -1]),
        ([1, 1, 1], [-1, -1, -1]),
        ([1, -1, -1], [1, -1, 1]),
    ):
        yield bits.pack(np.array(first)), bits.pack(np.array(second)), len(first)
    for K in SIZES:
        ones = np.ones(K)
        yield bits.pack(ones), bits.pack(-ones), K
        yield bits.pack(ones), bits.pack(ones), K
    for K in (*SIZES, 70, 200):
        yield *(bits.pack(random_signs(rng, K)) for _ in range(2)), K


def _ones(words: Array) -> int:
    return int(popcount(words).sum())


def _unsigned(a: Array, b: Array, K: int) -> int:
    return (K - 2 * _ones(a ^ b)) % 2**64


DOT = Exercise(
    id="4.2",
    title="A dot product of words",
    name="dot",
    task="Return the dot product of two packed vectors of K elements +1 and -1, without unpacking "
    "them.",
    section="eq. (8)",
    spec=dot,
    cases=_dot_cases,
    axes=("", "", ""),
    without=("unpack", "unpackbits", "xnor_matmul", "@"),
    wrong=(
        Wrong(
            "XNOR without a mask",
            lambda a, b, K: 2 * _ones(~(a ^ b)) - K,
            "You count the pairs that agree, and the padding agrees as well: K = 1 gave 127. Count "
            "those that differ, or mask the bits beyond K.",
        ),
        Wrong(
            "K - popcount",
            lambda a, b, K: K - _ones(a ^ b),
            "A pair that differs costs 2: it adds -1 where one that agrees adds +1.",
        ),
        Wrong(
            "unsigned",
            _unsigned,
            "Your difference wrapped: an unsigned number cannot be negative. Make int of the count "
            "before you subtract.",
        ),
        Wrong(
            "eight bits a word",
            lambda a, b, K: K - 2 * np.bitwise_count(a ^ b),
            "Your result has a number for each word, and these are of the type uint8, which cannot "
            "be negative. Sum the counts of all words and make an int of the sum.",
        ),
        Wrong(
            "no sum over words",
            lambda a, b, K: K - 2 * popcount(a ^ b).astype(int),
            "Your result has a number for each word. The counts of all words belong to one sum.",
        ),
        Wrong(
            "differing pairs",
            lambda a, b, K: _ones(a ^ b),
            "This is the number of pairs that differ. From it and K the product follows.",
        ),
        Wrong(
            "AND",
            lambda a, b, K: _ones(a & b),
            "This is the product of bits 0 and 1. Here a bit 0 means -1, and -1 times -1 is +1.",
        ),
        Wrong(
            "first word only",
            lambda a, b, K: K - 2 * int(popcount(a[0] ^ b[0])),
            "From K = 65 on there is more than one word. You looked at the first.",
        ),
        Wrong(
            "sign reversed",
            lambda a, b, K: 2 * _ones(a ^ b) - K,
            "The sign is reversed: a vector times itself is K.",
        ),
        Wrong(
            "bits of whole words",
            lambda a, b, K: 64 * len(a) - 2 * _ones(a ^ b),
            "You take K to be a whole number of words. The padding bits are no pairs.",
        ),
    ),
    hints=(
        "Each of the K pairs adds +1 or -1. Which operation on words marks those that add -1?",
        "agree + differ = K, and the product is agree - differ.",
        "popcount (or numpy.bitwise_count) of a ^ b, summed over the words and made an int; then "
        "one line of arithmetic with K.",
    ),
)


def planes_product(pixels: Array, w: Array) -> int:
    """The right answer to 4.3: the package's product of planes."""
    planes = bits.pixel_planes(pixels[None])
    return int(bits.planes_matmul(planes, bits.pack(w[None]), len(w), PIXELS)[0, 0])


def _planes_cases(rng: np.random.Generator) -> Iterator[Case]:
    for pixel in (0, 255, 1, 128, 127, 2):
        for weight in (1, -1):
            yield np.array([pixel], np.uint8), np.array([weight])
    yield np.array([255, 255], np.uint8), np.array([1, 1])
    yield np.array([10, 200], np.uint8), np.array([1, -1])
    for K in (3, 64, 65, 784):
        yield rng.integers(0, 256, K, dtype=np.uint8), random_signs(rng, K)


def _bits_of(pixels: Array) -> Array:
    """(8, K), plane 0 first."""
    return (pixels.astype(int) >> np.arange(8)[:, None]) & 1


def _by_planes(pixels: Array, w: Array, counts: Array) -> int:
    return int((counts * ((2 * _bits_of(pixels) - 1) @ w)).sum())


PLANES = Exercise(
    id="4.3",
    title="A product of pixels by bit planes",
    name="planes_product",
    task="Return Algorithm 5's sum for 8-bit pixels and weights +1 and -1: eight products of "
    "signs, one for each bit plane, each times what its bit counts.",
    section="eq. (7), Algorithm 5, line 1",
    spec=planes_product,
    cases=_planes_cases,
    axes=("k", "k"),
    simplify=(),
    without=("planes_matmul", "pixel_planes"),
    wrong=(
        Wrong(
            "bits 0 and 1",
            lambda pixels, w: int(pixels.astype(int) @ w),
            "You read the bits as 0 and 1 and got the pixel times w. The kernel reads a bit 0 as "
            "-1: pixel 0 counts as -255.",
        ),
        Wrong(
            "weights of planes reversed",
            lambda pixels, w: _by_planes(pixels, w, 2 ** np.arange(8)[::-1]),
            "The planes are weighted in reverse. Bit 7 counts 128, bit 0 counts 1.",
        ),
        Wrong(
            "paper's n",
            lambda pixels, w: _by_planes(pixels, w, 2 ** np.arange(1, 9)),
            "Each plane counts double. The paper's n runs from 1 and counts 2^(n-1); a shift by n "
            "takes n from 0.",
        ),
        Wrong(
            "seven planes",
            lambda pixels, w: _by_planes(pixels, w, np.r_[2 ** np.arange(7), 0]),
            "There are eight planes; the last one, bit 7, is missing.",
        ),
        Wrong(
            "planes not weighted",
            lambda pixels, w: _by_planes(pixels, w, np.ones(8, int)),
            "All planes count the same in your sum. Bit n counts 2^n.",
        ),
        Wrong(
            "sum in eight bits",
            lambda pixels, w: _by_planes(pixels, w, 2 ** np.arange(8)) % 256,
            "Your sum wrapped at 256: it was made in the type of the pixels, uint8. Change the "
            "type first.",
        ),
        Wrong(
            "-1 in eight bits",
            lambda pixels, w: int(
                sum(2**n * ((2 * ((pixels >> n) & 1) - 1) @ w) for n in range(8))
            ),
            "Your -1 became 255: the bits are still of the type uint8, and 2 * 0 - 1 wraps there. "
            "Change the type first.",
        ),
        Wrong(
            "divided by 255",
            lambda pixels, w: float(_by_planes(pixels, w, 2 ** np.arange(8)) / 255),
            "You divided by 255. Algorithm 5 stays with integers; the scale comes later.",
        ),
    ),
    hints=(
        "What is the contribution of one plane, and what does its bit count?",
        "The sum over n from 0 to 7 of 2^n times the dot product of w with the plane, whose bits 1 "
        "and 0 stand for +1 and -1.",
        "In a loop over n: (pixels >> n) & 1 is the plane; make integers +1 and -1 of it; a dot "
        "product with w; add it, times 2**n, to a Python int.",
    ),
)
