"""Batch norm and Sign as a threshold, and a packed layer: exercises 4.4 and 4.5."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from qnn_ref import bits
from qnn_ref._typing import Array
from qnn_ref.bits.words import pack_bits
from qnn_ref.course.chapters._words import random_signs, words_of
from qnn_ref.course.exercise import Case, Exercise, Wrong
from qnn_ref.layers.normalization import normalize
from qnn_ref.packed.thresholds import find_thresholds
from qnn_ref.quantizers import Sign

FULL = np.uint64(2**64 - 1)


def threshold(gain: float, shift: float, mean: float, r: float, K: int) -> tuple[int, bool]:
    """The right answer to 4.4: the package's bisection of the float code."""
    numbers = [np.array([value], np.float32) for value in (mean, r, gain, shift)]

    def sign_of(s: Array) -> Array:
        return Sign().quantize(normalize(s.astype(np.float32), *numbers))

    at, turned = find_thresholds(sign_of, K, 1)
    return int(at[0]), bool(turned[0])


def _threshold_cases(rng: np.random.Generator) -> Iterator[Case]:
    yield 1.0, 0.0, 0.5, 1.0, 3
    yield 1.0, 0.0, 2.0, 0.5, 5  # 0 at s = 2
    yield -1.0, 0.0, 0.5, 1.0, 3
    yield -1.0, 0.0, 2.0, 0.5, 5
    yield 1.5, 0.7, 1.2, 0.4, 9
    yield -1.5, 0.7, 1.2, 0.4, 9
    for gain in (0.0, -0.0):
        for shift in (0.5, -0.5, 0.0):
            yield gain, shift, 1.0, 0.5, 3
    yield 1.0, 9.0, 0.0, 1.0, 3
    yield 1.0, -9.0, 0.0, 1.0, 3
    yield -1.0, 9.0, 0.0, 1.0, 3
    yield -1.0, -9.0, 0.0, 1.0, 3
    yield 1.0, -0.09, 0.1, 0.1, 5  # here float32 rounds across 0
    yield -1.0, 0.09, 0.1, 0.1, 5
    yield 1.0, -0.28, 0.2, 0.1, 5
    yield -0.5, 0.145, 0.1, 0.1, 5
    for K in (1, 2, 9, 64, 65, 130):
        mean, shift = rng.normal(0, K / 3), rng.normal(0, 0.5)
        yield float(rng.choice([-1, 1]) * rng.uniform(0.2, 2)), shift, mean, 3 / K, K


def _by_bits(positive: list[bool], K: int) -> tuple[int, bool]:
    """Threshold of the bits of -K to K, as the task has it."""
    turned = positive[0]
    if positive[0] == positive[-1]:
        return -K, not turned
    return positive.index(not turned) - K, turned


def _in_float64(gain: float, shift: float, mean: float, r: float, K: int) -> tuple[int, bool]:
    return _by_bits([(s - mean) * r * gain + shift >= 0 for s in range(-K, K + 1)], K)


def _solved(gain: float, shift: float, mean: float, r: float, K: int) -> tuple[int, bool]:
    zero = mean - shift / (gain * r)
    at = int(np.ceil(zero)) if gain > 0 else int(np.floor(zero)) + 1
    return at, gain < 0


def _zero_is_minus(gain: float, shift: float, mean: float, r: float, K: int) -> tuple[int, bool]:
    f = np.float32
    numbers = (f(mean), f(r), f(gain), f(shift))
    return _by_bits([bool(normalize(f(s), *numbers) > 0) for s in range(-K, K + 1)], K)  # type: ignore[arg-type]


def _never_turned(gain: float, shift: float, mean: float, r: float, K: int) -> tuple[int, bool]:
    at, turned = threshold(gain, shift, mean, r, K)
    return (-K, False) if turned and at > -K else (at, turned)


def _strictly(gain: float, shift: float, mean: float, r: float, K: int) -> tuple[int, bool]:
    at, turned = threshold(gain, shift, mean, r, K)
    return (at - 1, turned) if at > -K else (at, turned)


def _last_plus(gain: float, shift: float, mean: float, r: float, K: int) -> tuple[int, bool]:
    at, turned = threshold(gain, shift, mean, r, K)
    return (at - 1, turned) if turned and at > -K else (at, turned)


def _beyond(gain: float, shift: float, mean: float, r: float, K: int) -> tuple[int, bool]:
    at, turned = threshold(gain, shift, mean, r, K)
    return (K + 1, False) if at == -K and turned else (at, turned)


def _first(gain: float, shift: float, mean: float, r: float, K: int) -> tuple[int, bool]:
    """The first of the upper kind, as the sign of the gain has it."""
    at, turned = threshold(gain, shift, mean, r, K)
    if at == -K and turned != (gain < 0):
        raise StopIteration
    return at, gain < 0


def _first_or_beyond(gain: float, shift: float, mean: float, r: float, K: int) -> tuple[int, bool]:
    try:
        return _first(gain, shift, mean, r, K)
    except StopIteration:
        return K + 1, gain < 0


def _by_gain(gain: float, shift: float, mean: float, r: float, K: int) -> tuple[int, bool]:
    return threshold(gain, shift, mean, r, K)[0], gain < 0


THRESHOLD = Exercise(
    id="4.4",
    title="Batch norm and Sign as a threshold",
    name="threshold",
    task="Return T and turned, so that (s >= T) != turned says where the float32 code gives +1, "
    "for every whole s from -K to K. Where it is the same for all, T is -K.",
    section="section 2.6, Algorithm 5",
    spec=threshold,
    gives=("T", "turned"),
    cases=_threshold_cases,
    simplify=("shift", "mean"),
    without=("find_thresholds",),
    wrong=(
        Wrong(
            "greater",
            _strictly,
            "Your T is one too small, as if the test were s > T. It is s >= T: T is the first of "
            "the upper part.",
        ),
        Wrong(
            "another arithmetic",
            _in_float64,
            "In exact arithmetic you would be right. The float32 code rounds to the other side "
            "there, and its answer is the one to keep: ask it for each s.",
        ),
        Wrong(
            "0 is -1",
            _zero_is_minus,
            "You take Sign(0) as -1. Where the float code gives exactly 0 the bit is +1.",
        ),
        Wrong(
            "never turned",
            _never_turned,
            "With a negative gain the comparison turns round: small sums give +1, and large ones "
            "-1.",
        ),
        Wrong(
            "division by gain 0",
            _solved,
            "You divide by the gain, and it can be 0: then s does not matter. (Where the solution "
            "lies outside -K to K there is no threshold either.)",
        ),
        Wrong(
            "last +1",
            _last_plus,
            "For a negative gain your T is the last s with +1. It is the first with -1.",
        ),
        Wrong(
            "constant beyond K",
            _beyond,
            "The bits are right. Where all are -1 the task wants T = -K, turned, so that T stays "
            "a possible sum.",
        ),
        Wrong(
            "T beyond K",
            _first_or_beyond,
            "Where the sign is the same for all sums, no first one is found and your T is K + 1. "
            "The task wants -K then, and the sign itself says whether it is turned.",
        ),
        Wrong(
            "none found",
            _first,
            "There need not be a first one: where the sign is the same for all sums, nothing is "
            "found.",
        ),
        Wrong(
            "turned by the gain alone",
            _by_gain,
            "You turn where the gain is negative. Where all bits are the same, because the "
            "threshold lies outside -K to K or the gain is 0, the bit itself decides.",
        ),
    ),
    hints=(
        "You need no formula: there are only 2 K + 1 sums, and the float code can be asked about "
        "each.",
        "Compare the sign at -K with that at K. Equal: constant. Else T is the first s whose sign "
        "is that of the upper end, and it is turned if the lower end has +1.",
        "A list of truth values for s = -K ... K from sign_of; its first and last entry; "
        "list.index finds the first of a kind.",
    ),
)


def packed_layer(words: Array, W: Array, K: int, T: Array, turned: Array) -> Array:
    """The right answer to 4.5: product and comparison of the package."""
    return bits.pack_thresholds(bits.xnor_matmul(words, W, K), T, turned)


def _layer_cases(rng: np.random.Generator) -> Iterator[Case]:
    one = bits.pack(np.ones((1, 1)))
    for weight in (1, -1):
        W = bits.pack(np.full((1, 1), weight))
        for at in (-1, 0, 1):
            for turned in (False, True):
                yield one, W, 1, np.array([at], np.int32), np.array([turned])
    for batch, K, units in ((1, 3, 2), (2, 5, 3), (3, 64, 64), (2, 65, 65), (4, 70, 130)):
        T = (rng.integers(-K // 2, K // 2, units) // 2 * 2 + K % 2).astype(np.int32)
        words, W = bits.pack(random_signs(rng, batch, K)), bits.pack(random_signs(rng, units, K))
        yield words, W, K, T, rng.random(units) < 0.5


def _layer_bits(words: Array, W: Array, K: int, T: Array, turned: Array) -> Array:
    return (bits.xnor_matmul(words, W, K) >= T) ^ turned


def _turned_padding(words: Array, W: Array, K: int, T: Array, turned: Array) -> Array:
    """As if the padding were units: 0 >= 0, turned where unit 0 is."""
    right = packed_layer(words, W, K, T, turned)
    spare = -len(T) % 64
    if spare and turned[-1]:
        right[:, -1] |= FULL << np.uint64(64 - spare)
    return right


PACKED_LAYER = Exercise(
    id="4.5",
    title="A packed layer",
    name="packed_layer",
    task="Return the packed outputs (batch, words) of a binary layer: words holds the batch, W a "
    "row for each unit, both of K elements; unit j gives +1 where (s >= T[j]) != turned[j].",
    section="Algorithm 5, line 2",
    spec=packed_layer,
    cases=_layer_cases,
    axes=("b.", "u.", "", "u", "u"),
    simplify=(),
    without=("pack_thresholds", "Threshold", "unpack", "unpackbits"),
    wrong=(
        Wrong(
            "padding turned",
            _turned_padding,
            "Padding bits became 1. What turns the last unit must not reach beyond it: there are "
            "no more units there.",
        ),
        Wrong(
            "not turned",
            lambda words, W, K, T, turned: pack_bits(bits.xnor_matmul(words, W, K) >= T),
            "You do not use turned. Units with a negative gain come out inverted.",
        ),
        Wrong(
            "greater",
            lambda words, W, K, T, turned: pack_bits((bits.xnor_matmul(words, W, K) > T) ^ turned),
            "You test s > T. A sum that is equal to T has reached it.",
        ),
        Wrong(
            "turned before the comparison",
            lambda words, W, K, T, turned: pack_bits(
                np.where(turned, -1, 1) * bits.xnor_matmul(words, W, K) >= T
            ),
            "You turn the sum and compare it with the same T. What turns is the outcome of the "
            "comparison.",
        ),
        Wrong(
            "padding counted",
            lambda words, W, K, T, turned: pack_bits(
                (bits.xnor_matmul(words, W, K) + (64 * words.shape[1] - K) >= T) ^ turned
            ),
            "Your sums are too large by the number of padding bits. Each row has K pairs.",
        ),
        Wrong(
            "order in a byte",
            lambda words, W, K, T, turned: np.stack(
                [words_of(row, order="big") for row in _layer_bits(words, W, K, T, turned)]
            ),
            "The output bits of each byte begin at the other end. Unit 0 is the bit that counts 1.",
        ),
        Wrong(
            "bytes",
            lambda words, W, K, T, turned: np.packbits(
                _layer_bits(words, W, K, T, turned), axis=1, bitorder="little"
            ),
            "These are bytes, uint8. Eight of them make a word, and the last word is filled up "
            "with zeros.",
        ),
        Wrong(
            "one bit for a sum",
            lambda words, W, K, T, turned: pack_bits(bits.xnor_matmul(words, W, K) >= 0),
            "You take the sign of the sum. Batch norm has moved the threshold from 0 to T.",
        ),
    ),
    hints=(
        "Three steps that you know: a product, a comparison, packing.",
        "s = the product of every row of words with every row of W; bit = (s >= T) XOR turned; "
        "pack along the units.",
        "bits.xnor_matmul, one comparison with ^, and bits.pack of what numpy.where makes of it.",
    ),
)
