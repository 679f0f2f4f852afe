"""What this machine can do at most: loops that do nothing but the work itself.

A product of bits XORs, counts and adds. The ceiling is the pace of these three on data that lies in
the L1 cache, with nothing to load from afar and nothing to store. A product of real numbers and
signs looks sums up and adds them: the same, with tables that are there already. Packing reads, and
an update reads and writes: their ceilings are loops that do only that.
"""

# mypy: allow-untyped-defs

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from qnn_ref._typing import Array
from qnn_ref.bench.measure import Call
from qnn_ref.bits.gemm import counts_vectors
from qnn_ref.bits.lanes import LANES, lanes_of, load, load_row, repeat, spread, store, store_row
from qnn_ref.bits.operands import read_only
from qnn_ref.bits.popcount import popcount
from qnn_ref.checks import FLOATS, check_array, check_written, whole
from qnn_ref.compiled import parallel_kernel, prange, serial_kernel

WORDS = 2048
"""16 KB: half of the smallest L1 cache."""

TURNS = 20_000
"""How often a call goes over them: long enough for the start of a thread not to count."""

WORD = (np.dtype(np.uint64),)


def _check_loop(words: Array, turns: int, totals: Array) -> None:
    """Whole rounds of 16 vectors of words, and a place for the count of each thread."""
    check_array("words", words, WORD, ("words",))
    check_array("totals", totals, WORD, ("threads",))
    if words.size % (16 * LANES) or not words.flags.c_contiguous:
        raise ValueError(f"words: expected a multiple of {16 * LANES} in a row, got {words.size}")
    whole("turns", turns, 0, 2**31)
    check_written("totals", totals, words)


@parallel_kernel
def _plain_loop(words, turns, totals):
    for task in prange(totals.size):
        own = words.copy()
        x, total = np.uint64(task), np.uint64(0)
        for _ in range(turns):
            x += np.uint64(1)  # another word each turn, or the compiler would count only once
            for i in range(own.size):
                total += popcount(own[i] ^ x)
        totals[task] = total


def plain_loop(words: Array, turns: int, totals: Array) -> None:
    """XOR, count, add; the compiler makes vectors of it. A task a thread, each with its words."""
    _check_loop(words, turns, totals)
    _plain_loop(read_only(words), np.int64(turns), totals)


@parallel_kernel
def _vector_loop(words, turns, totals):
    for task in prange(totals.size):
        # Where a cache line begins: a vector that lies across two of them is loaded twice.
        own, lanes = np.empty(words.size + 7, np.uint64), np.empty(LANES, np.uint64)
        start = -(own.ctypes.data // 8) % 8
        own[start : start + words.size] = words
        number = np.uint64(task)
        count0 = spread(np.uint64(0))
        count1, count2, count3 = count0, count0, count0
        for _ in range(turns):
            number += np.uint64(1)
            x = spread(number)
            for i in range(start, start + words.size, 4 * LANES):
                count0 += popcount(load(own, i) ^ x)
                count1 += popcount(load(own, i + LANES) ^ x)
                count2 += popcount(load(own, i + 2 * LANES) ^ x)
                count3 += popcount(load(own, i + 3 * LANES) ^ x)
        store(lanes, 0, count0 + count1 + count2 + count3)
        totals[task] = lanes.sum()


def vector_loop(words: Array, turns: int, totals: Array) -> None:
    """The same in whole vectors: some compilers take registers of half the width by themselves."""
    _check_loop(words, turns, totals)
    _vector_loop(read_only(words), np.int64(turns), totals)


@serial_kernel
def _add(x, y, z):
    """The two digits of x + y + z, for each bit: sum and carry."""
    half = x ^ y
    return half ^ z, (x & y) | (half & z)


@serial_kernel
def _add_four(ones, twos, words, i, x):
    """Add four vectors of words to the digits; return them and the fours that overflow."""
    ones, two0 = _add(ones, load(words, i) ^ x, load(words, i + LANES) ^ x)
    ones, two1 = _add(ones, load(words, i + 2 * LANES) ^ x, load(words, i + 3 * LANES) ^ x)
    twos, four = _add(twos, two0, two1)
    return ones, twos, four


@parallel_kernel
def _carry_save_loop(words, turns, totals):
    for task in prange(totals.size):
        own, lanes = words.copy(), np.empty(LANES, np.uint64)
        number = np.uint64(task)
        zero = spread(np.uint64(0))
        ones, twos, fours, eights, count = zero, zero, zero, zero, zero
        for _ in range(turns):
            number += np.uint64(1)
            x = spread(number)
            for i in range(0, own.size, 16 * LANES):
                ones, twos, four0 = _add_four(ones, twos, own, i, x)
                ones, twos, four1 = _add_four(ones, twos, own, i + 4 * LANES, x)
                fours, eight0 = _add(fours, four0, four1)
                ones, twos, four0 = _add_four(ones, twos, own, i + 8 * LANES, x)
                ones, twos, four1 = _add_four(ones, twos, own, i + 12 * LANES, x)
                fours, eight1 = _add(fours, four0, four1)
                eights, sixteens = _add(eights, eight0, eight1)
                count += popcount(sixteens)
        for digit in (eights, fours, twos, ones):
            count += count
            count += popcount(digit)
        store(lanes, 0, count)
        totals[task] = lanes.sum()


def carry_save_loop(words: Array, turns: int, totals: Array) -> None:
    """Add bits by logic, 16 vectors a turn, and count only the sixteens (Harley, Seal)."""
    _check_loop(words, turns, totals)
    _carry_save_loop(read_only(words), np.int64(turns), totals)


def ceiling_calls(threads: int) -> dict[str, Call]:
    """Prepare each loop for so many threads: calls that return the counts, one a thread."""
    words = np.random.default_rng(0).integers(0, 2**64, WORDS, np.uint64)

    def prepare(loop: Any) -> Call:
        totals = np.zeros(threads, np.uint64)

        def call() -> Array:
            loop(words, TURNS, totals)
            return totals

        return call

    best = best_loop()
    name = "vectors" if best is vector_loop else "carry-save"
    return {"plain": prepare(plain_loop), name: prepare(best)}


def best_loop() -> Callable[[Array, int, Array], None]:
    """Loop of whole vectors that suits this processor.

    Where popcount is one instruction for a whole vector, nothing beats counting each.
    """
    return vector_loop if counts_vectors() else carry_save_loop


def tops(seconds: float, threads: int) -> float:
    """Pace of a ceiling call in 10^12 operations a second; a bit is a product and an addition."""
    return 2 * 64 * WORDS * TURNS * threads / seconds / 1e12


@parallel_kernel
def _read_loop(words, parts):
    """Read an array and do as little as possible with it: a sum of integers, a part a thread."""
    size = words.size // parts.size
    for part in prange(parts.size):
        own, total = words[part * size : part * size + size], np.uint64(0)
        for i in range(own.size):
            total += own[i]
        parts[part] = total


def read_call(x: Array, threads: int) -> Call:
    """Prepare a read-only sweep over a contiguous array of a multiple of 8 `threads` bytes."""
    threads = whole("threads", threads, 1)
    if not isinstance(x, np.ndarray) or x.dtype.hasobject:
        raise TypeError(f"x: expected an array of numbers, got {type(x).__name__}")
    if not x.flags.c_contiguous or x.nbytes % (8 * threads):
        raise ValueError(f"x: expected a multiple of {8 * threads} bytes in a row, got {x.nbytes}")
    words, parts = x.reshape(-1).view(np.uint64), np.zeros(threads, np.uint64)

    def call() -> Array:
        _read_loop(words, parts)
        return parts

    return call


TABLES = 8
"""As `bits.lookup`: those of 32 rows of the real matrix are in use together."""

LOOKED_UP = 512
"""Words whose low halves name entries; with the tables of three vectors they fill 28 KB."""


@serial_kernel
def _named(tables, bits, total):
    """Add what half a word names in eight tables."""
    width = lanes_of(total)
    for g in range(TABLES):
        entry = (bits >> np.uint64(4 * g)) & np.uint64(15)
        total += load_row(tables, (entry + np.uint64(16 * g)) * width, total)
    return total


@parallel_kernel
def _lookup_loop(words, tables, turns, totals):
    for task in prange(totals.shape[0]):
        # Where a cache line begins, as in `_vector_loop`.
        room, names = np.empty(tables.size + 16, tables.dtype), words.copy()
        start = -(room.ctypes.data // 4) % 16
        own = room[start : start + tables.size]
        own[:] = tables
        number = np.uint64(task)
        zero = repeat(spread(tables.dtype.type(0)), 3)
        total0, total1, total2, total3 = zero, zero, zero, zero
        for _ in range(turns):
            number += np.uint64(1)
            for i in range(0, names.size, 4):
                total0 = _named(own, names[i] ^ number, total0)
                total1 = _named(own, names[i + 1] ^ number, total1)
                total2 = _named(own, names[i + 2] ^ number, total2)
                total3 = _named(own, names[i + 3] ^ number, total3)
        sums = totals[task]
        total0 += total1
        total2 += total3
        total0 += total2
        store_row(sums, np.uint64(0), total0)


def lookup_loop(words: Array, tables: Array, turns: int, totals: Array) -> None:
    """Add the entries that words name, three vectors each, without making a table or storing.

    Parameters
    ----------
    words : array of uint64
        A multiple of four of them; in turn t of task i XORed with i + t + 1.
    tables : array (8, 16, width) of float32
        Eight tables of 16 entries, each of three vectors.
    turns : int
        How often all words are gone over.
    totals : array (threads, width) of float32
        Receives a sum of all entries a task.

    Raises
    ------
    TypeError, ValueError
        If they do not fit each other.
    """
    check_array("words", words, WORD, ("words",))
    check_array("tables", tables, FLOATS[:1], (TABLES, 16, width()))
    check_array("totals", totals, FLOATS[:1], ("threads", width()))
    if words.size % 4:
        raise ValueError(f"words: expected a multiple of 4, got {words.size}")
    whole("turns", turns, 0, 2**31)
    check_written("totals", totals, words, tables)
    _lookup_loop(read_only(words), read_only(tables).reshape(-1), np.int64(turns), totals)


@serial_kernel
def _float_lanes(x):
    return np.int64(lanes_of(x))


def width() -> int:
    """Numbers of float32 in three vectors."""
    return 3 * int(_float_lanes(np.empty(0, np.float32)))


@parallel_kernel
def _update_loop(w, g, m, v, parts):
    """Move what Adam moves, with as little arithmetic as uses all of it."""
    size, half = (w.size + parts - 1) // parts, w.dtype.type(0.5)
    for part in prange(parts):
        first = size * np.int64(part)
        for k in range(min(size, w.size - first)):
            i = np.uint64(first + k)  # unsigned: the compiler need not think of places before 0
            m[i] = half * m[i] + g[i]
            v[i] = half * v[i] + g[i]
            w[i] = half * w[i] - m[i] + v[i]


def update_loop(w: Array, g: Array, m: Array, v: Array, threads: int) -> None:
    """Read four arrays and write three of them: 28 bytes a weight, as an update with two moments.

    Parameters
    ----------
    w, g, m, v : array (size,) of float32
    threads : int
        Parts that they are cut into.

    Raises
    ------
    TypeError, ValueError
        If they do not fit each other.
    """
    check_array("w", w, FLOATS[:1], ("size",))
    for name, x in (("g", g), ("m", m), ("v", v)):
        check_array(name, x, FLOATS[:1], w.shape)
    for name, x, others in (("w", w, (g, m, v)), ("m", m, (g, v)), ("v", v, (g,))):
        check_written(name, x, *others)
    _update_loop(w, read_only(g), m, v, np.int64(whole("threads", threads, 1, 2**10)))
