"""What stands outside, and pools of bits: exercises 6.3 and 6.4."""

from __future__ import annotations

from collections.abc import Iterator
from functools import reduce

import numpy as np

from qnn_ref import bits
from qnn_ref._typing import Array, Pair, Shape
from qnn_ref.course.exercise import Case, Exercise, Wrong
from qnn_ref.geometry import pad_images, windows
from qnn_ref.packed.shape_stages import MaxPool


def outside_sums(w: Array, size: Pair, padding: int) -> Array:
    """The right answer to 6.3: the package's table."""
    table = bits.outside_sums(bits.pack_kernel(w[..., None, None]), 1, size, 1, padding)
    return table[..., 0].astype(np.int64)


def _outside_cases(rng: np.random.Generator) -> Iterator[Case]:
    yield np.array([[1]]), (2, 2), 0
    yield np.ones((3, 3), int), (3, 3), 1
    yield -np.ones((3, 3), int), (3, 3), 1
    yield np.array([[1, 1, 1], [1, 1, 1], [1, 1, -1]]), (3, 3), 1
    yield np.ones((1, 1), int), (1, 1), 1
    yield np.ones((2, 2), int), (2, 2), 1
    yield np.ones((5, 5), int), (5, 5), 2
    yield np.ones((1, 3), int), (2, 4), 1
    for kernel, size, padding in (
        ((3, 3), (3, 3), 1),
        ((3, 3), (5, 4), 1),
        ((2, 3), (4, 4), 1),
        ((5, 5), (6, 5), 2),
        ((4, 2), (4, 6), 1),
        ((3, 3), (2, 2), 2),
    ):
        yield rng.choice([-1, 1], kernel), size, padding


def _is_inside(kernel: Shape, size: Pair, padding: int) -> Array:
    """(out_height, out_width, kh, kw)"""
    ones = pad_images(np.ones((1, *size, 1)), (padding, padding), 0)
    return windows(ones, (kernel[0], kernel[1]), (1, 1))[0, ..., 0] > 0


def _table(w: Array, taps: Array) -> Array:
    return (taps * w).sum(axis=(2, 3)).astype(np.int64)


def _rows_and_columns(w: Array, size: Pair, padding: int) -> Array:
    """A corner's taps are counted for their row and again for their column."""
    inside = _is_inside(w.shape, size, padding)
    rows, columns = ~inside.any(axis=3, keepdims=True), ~inside.any(axis=2, keepdims=True)
    return _table(w, rows.astype(int) + columns.astype(int))


OUTSIDE = Exercise(
    id="6.3",
    title="What stands outside",
    name="outside_sums",
    task="Return, for each place of the kernel w (kh, kw) on an image of this size with this "
    "padding and stride 1, the sum of the weights whose taps are outside.",
    section="section 2.6, zero padding",
    spec=outside_sums,
    cases=_outside_cases,
    axes=("", "", ""),
    without=("outside_sums",),
    wrong=(
        Wrong(
            "inside",
            lambda w, size, padding: _table(w, _is_inside(w.shape, size, padding)),
            "These are the weights inside. In the centre, where nothing is outside, the table has "
            "to be 0.",
        ),
        Wrong(
            "number of taps",
            lambda w, size, padding: _table(np.ones_like(w), ~_is_inside(w.shape, size, padding)),
            "You count the taps outside. Their weights are summed, and those are +1 and -1.",
        ),
        Wrong(
            "corners counted twice",
            _rows_and_columns,
            "A tap in a corner is outside by its row and by its column, and you count it twice: a "
            "kernel of nine ones has 5 taps outside there.",
        ),
        Wrong(
            "sign reversed",
            lambda w, size, padding: -outside_sums(w, size, padding),
            "The sign is reversed. The table holds what a border of +1 adds, and it is taken away "
            "afterwards.",
        ),
        Wrong(
            "border of -1",
            lambda w, size, padding: _table(
                w,
                _is_inside(w.shape, size, padding).astype(int)
                - ~_is_inside(w.shape, size, padding),
            ),
            "That is the whole sum over an image of ones with a border of -1. The table must not "
            "depend on any image.",
        ),
        Wrong(
            "kernel flipped",
            lambda w, size, padding: outside_sums(w[::-1, ::-1], size, padding),
            "Your kernel is turned by half a circle. The tap at the upper left is outside where "
            "the window leaves the image at the upper left.",
        ),
        Wrong(
            "as many places as pixels",
            lambda w, size, padding: np.resize(outside_sums(w, size, padding), size),
            "There are not as many places as pixels: how many there are depends on kernel and "
            "padding.",
        ),
        Wrong(
            "one place",
            lambda w, size, padding: np.full_like(
                outside_sums(w, size, padding), outside_sums(w, size, padding)[0, 0]
            ),
            "You use the sum of one corner for all places.",
        ),
    ),
    hints=(
        "Which taps are outside depends on the place only. How would you mark them?",
        "At each place: the sum of w over the taps (u, v) whose pixel (i + u - padding, j + v - "
        "padding) is not in the image.",
        "An image of ones in a border of zeros (numpy.pad) marks what is inside; 1 minus each of "
        "its windows marks what is outside.",
    ),
)


def pool_bits(words: Array, flip: Array) -> Array:
    """The right answer to 6.4: the package's stage."""
    turned = bits.unpack(flip, 64 * len(flip)) > 0
    return MaxPool((3, 3), (2, 2), (1, 1), flip=turned).run(words[None])[0]


def _pool_cases(rng: np.random.Generator) -> Iterator[Case]:
    none, all_, one = (np.array([n], np.uint64) for n in (0, 2**64 - 1, 1))
    for word in (0, 1, 2, 3):
        for flip in (none, one):
            yield np.full((1, 1, 1), word, np.uint64), flip
    yield np.array([[[1], [0]]], np.uint64), none
    yield np.array([[[1], [0]]], np.uint64), one
    yield np.array([[[3], [2]]], np.uint64), one
    yield np.array([[[3], [0]]], np.uint64), one
    for high, wide, count in ((2, 2, 1), (3, 3, 1), (4, 5, 2), (7, 7, 1), (8, 8, 3)):
        for flips in (none, all_, rng.integers(0, 2**63, 1, np.uint64)):
            yield (
                rng.integers(0, 2**63, (high, wide, count), np.uint64),
                np.resize(flips, count),
            )


def _pool_taps(words: Array, border: int, stride: int = 2) -> Array:
    """(taps, out_height, out_width, words)"""
    value = np.full((1, 1, words.shape[2]), border, np.uint64)
    padded = np.broadcast_to(value, tuple(n + 2 for n in words.shape[:2]) + value.shape[2:]).copy()
    padded[1:-1, 1:-1] = words
    every = windows(padded[None], (3, 3), (stride, stride))[0]
    return every.reshape(*every.shape[:2], 9, -1).transpose(2, 0, 1, 3)


def _or(words: Array, border: int = 0) -> Array:
    return np.asarray(reduce(np.bitwise_or, _pool_taps(words, border)))


def _and(words: Array, border: int = 2**64 - 1) -> Array:
    return np.asarray(reduce(np.bitwise_and, _pool_taps(words, border)))


def _chosen(words: Array, flip: Array, border: int) -> Array:
    """OR or AND bit by bit."""
    return (_or(words) & ~flip) | (_and(words, border) & flip)


def _every_place(words: Array, flip: Array) -> Array:
    """Stride 1."""
    return np.asarray(reduce(np.bitwise_or, _pool_taps(words ^ flip, 0, 1))) ^ flip


POOL = Exercise(
    id="6.4",
    title="Max pool of bits",
    name="pool_bits",
    task="Return the pooled words (size 3, stride 2, padding 1) of bits that batch norm and Sign "
    "made already; flip is a vector of words with a bit 1 for each channel of negative gain.",
    section="section 2.6; section 4.2",
    spec=pool_bits,
    cases=_pool_cases,
    axes=("", ""),
    without=("MaxPool", "MaxPool2D", "unpack", "unpackbits"),
    wrong=(
        Wrong(
            "always OR",
            lambda words, flip: _or(words),
            "With a negative gain the largest sum stays below the threshold only if all do. You "
            "let any of them pass.",
        ),
        Wrong(
            "always AND",
            lambda words, flip: _and(words),
            "With a positive gain the largest sum passes if any does. You ask for all of them.",
        ),
        Wrong(
            "border 0 for AND",
            lambda words, flip: _chosen(words, flip, 0),
            "Outside you have 0 everywhere, and in an AND a 0 wins over all 1s. The border must "
            "hold what never wins.",
        ),
        Wrong(
            "border of ones",
            lambda words, flip: _or(words ^ flip, 2**64 - 1) ^ flip,
            "Outside you have 1 everywhere, and in an OR a 1 wins over all 0s. The border must "
            "hold what never wins.",
        ),
        Wrong(
            "flip by word",
            lambda words, flip: np.where(flip != 0, _and(words), _or(words)),
            "You choose for whole words. The channels of one word have gains of both signs: each "
            "bit has its own choice.",
        ),
        Wrong(
            "largest word",
            lambda words, flip: _pool_taps(words ^ flip, 0).max(axis=0) ^ flip,
            "max compares words as numbers and gives the largest of them. Each of their bits has "
            "a maximum of its own.",
        ),
        Wrong(
            "not turned back",
            lambda words, flip: _or(words ^ flip),
            "You turned the bits before the pool and did not turn them back.",
        ),
        Wrong(
            "turned afterwards",
            lambda words, flip: _or(words) ^ flip,
            "You turn the result only. That is NOT of any, where all was asked.",
        ),
        Wrong(
            "flip reversed",
            lambda words, flip: _chosen(words, ~flip, 2**64 - 1),
            "The choice is reversed: a bit 1 in flip stands for a negative gain.",
        ),
        Wrong(
            "stride 1",
            _every_place,
            "Your result is too large. With stride 2 the windows begin at every second pixel.",
        ),
    ),
    hints=(
        "For a positive gain OR, for a negative one AND. Which of the two can be made from the "
        "other by turning bits?",
        "a AND b = NOT (NOT a OR NOT b): turn the bits of negative gains, pool all of them with "
        "OR and a border of 0, and turn the same bits back.",
        "words ^ flip, numpy.pad with zeros, an |= over the nine shifted slices [u : u + ... : 2, "
        "v : v + ... : 2], ^ flip.",
    ),
    points=2,
)
