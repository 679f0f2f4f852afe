"""The kernel ladder: one product of bits, from three plain loops to the ceiling of the machine.

Every rung computes the same integers, for any shape, and adds one idea to the rung below it. The
first two are the paper's own baseline, the product of floats; the last two are what `bits.gemm`
uses. They stand in one long file, to be compared. Read them in this order:

==================== ==============================================================
rung                 what is new
==================== ==============================================================
`float_loops`        the baseline: a multiplication and an addition a pair
`fast_float_loops`   the compiler may reorder the additions, and so use vectors
`three_loops`        64 pairs a word: XOR, popcount, addition
`register_block`     2 x 2 results at once: a word is loaded once for two products
`column_panels`      counters side by side: vectors of columns, nothing summed across
`vector_tiles`       counters stay in registers: 4 rows x 16 columns of them
`carry_save`         adders made of logic first: one popcount for eight words
==================== ==============================================================

A kernel gets packed rows of the left matrix as planes (P, M, W), least significant first: one plane
is a matrix of +-1, several are integers (Horner's rule doubles the counters between planes). It
writes ``base[n] - step * sum_a 2^a popcount(planes[a, m] XOR column n)``.

A kernel itself looks at no size. Each stands over a function that does, and raises TypeError or
ValueError before foreign memory is read or written.
"""

# mypy: allow-untyped-defs

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from qnn_ref._typing import Array
from qnn_ref.bits.lanes import LANES, load, narrow, spread, spread_from, store, store_some
from qnn_ref.bits.operands import read_only
from qnn_ref.bits.panels import PANEL, to_panels
from qnn_ref.bits.popcount import popcount
from qnn_ref.bits.threads import worth_waking
from qnn_ref.checks import check_array, check_written, whole
from qnn_ref.compiled import parallel_kernel, prange, serial_kernel

WIDE = 256
"""Columns of a panel for the compiler's own vectors: few loops to be entered."""

ROWS = 16
"""Rows in a task: enough to use a panel often while it is in the cache."""

TASKS = 16
"""Tasks that a product is cut into at least, for the sake of several threads."""

NS_A_WORD = 0.2
"""Nanoseconds for XOR and popcount of a pair of words, roughly."""

FLOAT32, INT32, INT64, WORDS = (
    (np.dtype(kind),) for kind in (np.float32, np.int32, np.int64, np.uint64)
)


def _check_floats(x: Array, w: Array, out: Array) -> None:
    """x (M, K) and w (N, K) of float32, out (M, N) too."""
    check_array("x", x, FLOAT32, ("M", "K"))
    check_array("w", w, FLOAT32, ("N", x.shape[1]))
    check_array("out", out, FLOAT32, (len(x), len(w)))
    check_written("out", out, x, w)


def _check_words(a: Array, b: Array, K: int, out: Array) -> None:
    """a (M, W) and b (N, W) of uint64, out (M, N) of int32."""
    check_array("a", a, WORDS, ("M", "W"))
    check_array("b", b, WORDS, ("N", a.shape[1]))
    check_array("out", out, INT32, (len(a), len(b)))
    whole("K", K, 0, 64 * a.shape[1])
    check_written("out", out, a, b)


def _check_panels(
    planes: Array, panels: Array, base: Array, step: int, out: Array, width: int | str = "width"
) -> None:
    """planes (P, M, W) and panels (N / width, W, width) of uint64, out (M, N) of int32.

    `base` of int64 goes to the end of the last panel, columns that are not there included.
    """
    check_array("planes", planes, WORDS, ("P", "M", "W"))
    check_array("panels", panels, WORDS, ("panels", planes.shape[2], width))
    count, _, columns = panels.shape
    check_array("base", base, INT64, (count * columns,))
    check_array("out", out, INT32, (planes.shape[1], "N"))
    if not (count - 1) * columns < max(1, out.shape[1]) <= max(1, count * columns):
        raise ValueError(f"out: expected the columns of {count} panels, got {out.shape[1]}")
    whole("step", step, -(2**32), 2**32)
    check_written("out", out, planes, panels, base)


@serial_kernel
def _float_loops(x, w, out):
    for m in range(x.shape[0]):
        for n in range(w.shape[0]):
            total = np.float32(0)
            for k in range(x.shape[1]):
                total += x[m, k] * w[n, k]
            out[m, n] = total


def float_loops(x: Array, w: Array, out: Array) -> None:
    """Multiply and add floats, pair by pair: the paper's baseline kernel."""
    _check_floats(x, w, out)
    _float_loops(read_only(x), read_only(w), out)


@serial_kernel(fastmath=True)
def _fast_float_loops(x, w, out):
    for m in range(x.shape[0]):
        for n in range(w.shape[0]):
            total = np.float32(0)
            for k in range(x.shape[1]):
                total += x[m, k] * w[n, k]
            out[m, n] = total


def fast_float_loops(x: Array, w: Array, out: Array) -> None:
    """The same loops, but the compiler may reorder the additions: now it can use vectors."""
    _check_floats(x, w, out)
    _fast_float_loops(read_only(x), read_only(w), out)


@serial_kernel
def _three_loops(a, b, K, out):
    for m in range(a.shape[0]):
        for n in range(b.shape[0]):
            differ = np.int64(0)
            for w in range(a.shape[1]):
                differ += np.int64(popcount(a[m, w] ^ b[n, w]))
            out[m, n] = np.int32(K - 2 * differ)


def three_loops(a: Array, b: Array, K: int, out: Array) -> None:
    """64 pairs at a time: XOR marks the pairs that differ, popcount counts them."""
    _check_words(a, b, K, out)
    _three_loops(read_only(a), read_only(b), np.int64(K), out)


@serial_kernel
def _register_block(a, b, K, out):
    M, N = out.shape
    for m in range(0, M, 2):
        for n in range(0, N, 2):
            # At the edge the last row or column stands in for the one that is missing.
            m1, n1 = min(m + 1, M - 1), min(n + 1, N - 1)
            d00 = d01 = d10 = d11 = np.uint64(0)
            for w in range(a.shape[1]):
                x0, x1, y0, y1 = a[m, w], a[m1, w], b[n, w], b[n1, w]
                d00 += popcount(x0 ^ y0)
                d01 += popcount(x0 ^ y1)
                d10 += popcount(x1 ^ y0)
                d11 += popcount(x1 ^ y1)
            out[m1, n1] = np.int32(K - 2 * np.int64(d11))
            out[m1, n] = np.int32(K - 2 * np.int64(d10))
            out[m, n1] = np.int32(K - 2 * np.int64(d01))
            out[m, n] = np.int32(K - 2 * np.int64(d00))


def register_block(a: Array, b: Array, K: int, out: Array) -> None:
    """A block of 2 x 2 results at once: each word that is loaded serves two products."""
    _check_words(a, b, K, out)
    _register_block(read_only(a), read_only(b), np.int64(K), out)


@parallel_kernel
def _column_panels(planes, panels, base, step, out):
    P, M, W = planes.shape
    N, width = out.shape[1], panels.shape[2]
    for task in prange((M + ROWS - 1) // ROWS):
        first = task * ROWS
        count = np.empty(width, np.uint64)
        for p in range(panels.shape[0]):
            panel, left = panels[p], p * width
            for m in range(first, min(first + ROWS, M)):
                count[:] = 0
                for a in range(P - 1, -1, -1):
                    for n in range(width):
                        count[n] += count[n]
                    for w in range(W):
                        x = planes[a, m, w]
                        for n in range(width):
                            count[n] += popcount(x ^ panel[w, n])
                for n in range(min(width, N - left)):
                    out[m, left + n] = np.int32(base[left + n] - step * np.int64(count[n]))


def column_panels(planes: Array, panels: Array, base: Array, step: int, out: Array) -> None:
    """Counters of many columns side by side: the compiler takes several with one instruction.

    Nothing is summed across the lanes of a vector. This is the fastest rung that is plain Python,
    so it is the one that runs where Numba is switched off. Panels may be of any width.
    """
    _check_panels(planes, panels, base, step, out)
    operands = read_only(planes), read_only(panels), read_only(base)
    _column_panels(*operands, np.int64(step), out)


@serial_kernel
def _put(out, start, results, width):
    """Write the results of a row of a panel, of which `width` are there."""
    if width >= PANEL:
        store(out, start, results)
    else:
        store_some(out, start, results, width)


@serial_kernel
def _share(task, blocks, count):
    """Rows and panels of a task: a block of rows, and for few rows a part of the panels."""
    groups = (TASKS + blocks - 1) // blocks
    block, group = divmod(task, groups)
    part = (count + groups - 1) // groups
    return block * ROWS, group * part, min(group * part + part, count)


@serial_kernel
def _tasks(M):
    """Number of blocks of rows, and of tasks."""
    blocks = (M + ROWS - 1) // ROWS
    return blocks, blocks * ((TASKS + max(1, blocks) - 1) // max(1, blocks))


@serial_kernel
def _count_row(a, row, b, start, W, counts):
    """Add what W words of a row and of 16 columns differ to two vectors of counters."""
    p, q = counts
    for w in range(W):
        x = spread_from(a, row + w)
        p += popcount(x ^ load(b, start + PANEL * w))
        q += popcount(x ^ load(b, start + PANEL * w + LANES))
    return p, q


@serial_kernel
def _count_tile(a, row, b, start, W, counts):
    """Do the same for four rows that follow each other, with eight vectors of counters."""
    p0, q0, p1, q1, p2, q2, p3, q3 = counts
    for w in range(W):
        left = load(b, start + PANEL * w)
        right = load(b, start + PANEL * w + LANES)
        x = spread_from(a, row + w)
        p0 += popcount(x ^ left)
        q0 += popcount(x ^ right)
        x = spread_from(a, row + W + w)
        p1 += popcount(x ^ left)
        q1 += popcount(x ^ right)
        x = spread_from(a, row + 2 * W + w)
        p2 += popcount(x ^ left)
        q2 += popcount(x ^ right)
        x = spread_from(a, row + 3 * W + w)
        p3 += popcount(x ^ left)
        q3 += popcount(x ^ right)
    return p0, q0, p1, q1, p2, q2, p3, q3


@serial_kernel
def _tiles_of_task(task, planes, panels, base, step, out):
    """Multiply the rows and columns of a task."""
    P, M, W = planes.shape
    N, plane = out.shape[1], M * W
    a, b, c = planes.reshape(-1), panels.reshape(-1), out.reshape(-1)
    steps, zero = spread(np.int32(step)), spread(np.uint64(0))
    zeros = zero, zero, zero, zero, zero, zero, zero, zero
    top, first, last = _share(task, _tasks(M)[0], panels.shape[0])
    bottom = min(top + ROWS, M)
    tiles = bottom - (bottom - top) % 4
    words = W if P else 0  # without planes nothing differs
    for p in range(first, last):
        left, start = PANEL * p, PANEL * p * W
        bases, width = narrow(load(base, left), load(base, left + LANES)), N - left
        for m in range(top, tiles, 4):
            row = (P - 1) * plane + m * W
            counts = _count_tile(a, row, b, start, words, zeros)
            for _ in range(P - 1):
                row -= plane
                p0, q0, p1, q1, p2, q2, p3, q3 = counts
                counts = p0 + p0, q0 + q0, p1 + p1, q1 + q1, p2 + p2, q2 + q2, p3 + p3, q3 + q3
                counts = _count_tile(a, row, b, start, W, counts)
            p0, q0, p1, q1, p2, q2, p3, q3 = counts
            at = m * N + left
            _put(c, at, bases - steps * narrow(p0, q0), width)
            _put(c, at + N, bases - steps * narrow(p1, q1), width)
            _put(c, at + 2 * N, bases - steps * narrow(p2, q2), width)
            _put(c, at + 3 * N, bases - steps * narrow(p3, q3), width)
        for m in range(tiles, bottom):
            row = (P - 1) * plane + m * W
            p0, q0 = _count_row(a, row, b, start, words, (zero, zero))
            for _ in range(P - 1):
                row -= plane
                p0, q0 = _count_row(a, row, b, start, W, (p0 + p0, q0 + q0))
            _put(c, m * N + left, bases - steps * narrow(p0, q0), width)


@parallel_kernel
def _vector_tiles(planes, panels, base, step, out):
    for task in prange(_tasks(planes.shape[1])[1]):
        _tiles_of_task(np.int64(task), planes, panels, base, step, out)


@serial_kernel
def _vector_tiles_alone(planes, panels, base, step, out):
    """Do the same on the thread that calls: small work is over before the others have heard."""
    for task in range(_tasks(planes.shape[1])[1]):
        _tiles_of_task(task, planes, panels, base, step, out)


def vector_tiles(planes: Array, panels: Array, base: Array, step: int, out: Array) -> None:
    """Counters stay in registers, 4 rows x 16 columns of them, until all words are counted.

    Results go from the registers to their place. 32 bits are enough for the last step: a result
    fits them, and sums modulo 2^32 are exact. `base` is padded to whole panels.
    """
    _check_panels(planes, panels, base, step, out, PANEL)
    operands = read_only(planes), read_only(panels), read_only(base)
    if worth_waking(NS_A_WORD * planes.size * out.shape[1]):
        _vector_tiles(*operands, np.int64(step), out)
    else:
        _vector_tiles_alone(*operands, np.int64(step), out)


@serial_kernel
def _sum(x, y, z):
    """Low bit of x + y + z, for each bit."""
    return x ^ y ^ z


@serial_kernel
def _carry(x, y, z):
    """High bit of x + y + z, for each bit: the majority."""
    return (x & y) | ((x ^ y) & z)


@serial_kernel
def _differ(a, row, b, start):
    """Mark where a word of a row and the words of eight columns differ."""
    return spread_from(a, row) ^ load(b, start)


@serial_kernel
def _count_with_carries(a, row, b, start, W):
    """Count what W words of a row and of eight columns differ, eight words a turn (Harley, Seal).

    Bit i of `ones`, `twos`, `fours` is a digit of the number of differences at bit i so far. Only
    what overflows, the eights, is counted by popcount in each turn.
    """
    ones = spread(np.uint64(0))
    twos, fours, count = ones, ones, ones
    whole = W - W % 8
    for w in range(0, whole, 8):
        r, c = row + w, start + PANEL * w
        x, y = _differ(a, r, b, c), _differ(a, r + 1, b, c + PANEL)
        two0, ones = _carry(ones, x, y), _sum(ones, x, y)
        x, y = _differ(a, r + 2, b, c + 2 * PANEL), _differ(a, r + 3, b, c + 3 * PANEL)
        two1, ones = _carry(ones, x, y), _sum(ones, x, y)
        four0, twos = _carry(twos, two0, two1), _sum(twos, two0, two1)
        x, y = _differ(a, r + 4, b, c + 4 * PANEL), _differ(a, r + 5, b, c + 5 * PANEL)
        two0, ones = _carry(ones, x, y), _sum(ones, x, y)
        x, y = _differ(a, r + 6, b, c + 6 * PANEL), _differ(a, r + 7, b, c + 7 * PANEL)
        two1, ones = _carry(ones, x, y), _sum(ones, x, y)
        four1, twos = _carry(twos, two0, two1), _sum(twos, two0, two1)
        count += popcount(_carry(fours, four0, four1))
        fours = _sum(fours, four0, four1)
    count += count
    count += popcount(fours)
    count += count
    count += popcount(twos)
    count += count
    count += popcount(ones)
    for w in range(whole, W):
        count += popcount(_differ(a, row + w, b, start + PANEL * w))
    return count


@serial_kernel
def _carries_of_task(task, planes, panels, base, step, out):
    """Multiply the rows and columns of a task."""
    P, M, W = planes.shape
    N = out.shape[1]
    a, b, c = planes.reshape(-1), panels.reshape(-1), out.reshape(-1)
    steps = spread(np.int32(step))
    top, first, last = _share(task, _tasks(M)[0], panels.shape[0])
    for p in range(first, last):
        left = PANEL * p
        bases = narrow(load(base, left), load(base, left + LANES))
        for m in range(top, min(top + ROWS, M)):
            count0 = spread(np.uint64(0))
            count1 = count0
            for plane in range(P - 1, -1, -1):
                row = (plane * M + m) * W
                count0 += count0
                count1 += count1
                count0 += _count_with_carries(a, row, b, left * W, W)
                count1 += _count_with_carries(a, row, b, left * W + LANES, W)
            _put(c, m * N + left, bases - steps * narrow(count0, count1), N - left)


@parallel_kernel
def _carry_save(planes, panels, base, step, out):
    for task in prange(_tasks(planes.shape[1])[1]):
        _carries_of_task(np.int64(task), planes, panels, base, step, out)


@serial_kernel
def _carry_save_alone(planes, panels, base, step, out):
    for task in range(_tasks(planes.shape[1])[1]):
        _carries_of_task(task, planes, panels, base, step, out)


def carry_save(planes: Array, panels: Array, base: Array, step: int, out: Array) -> None:
    """Add the differing bits by logic first, eight words at a time, and count only the carries.

    A popcount costs eight instructions where the processor has none for vectors; an adder made of
    XOR, AND and OR takes five for two words. Worth it for long columns on such processors.
    """
    _check_panels(planes, panels, base, step, out, PANEL)
    operands = read_only(planes), read_only(panels), read_only(base)
    if worth_waking(NS_A_WORD * planes.size * out.shape[1]):
        _carry_save(*operands, np.int64(step), out)
    else:
        _carry_save_alone(*operands, np.int64(step), out)


@dataclass(frozen=True)
class Rung:
    """A kernel of the ladder, ready to be run and timed.

    Parameters
    ----------
    name : str
    run : function
        Fills its last argument, the result, from what `prepare` returned.
    prepare : function
        ``prepare(a, b, K)`` brings operands into the order in which the kernel reads them; for the
        products of floats ``prepare(x, w, K)`` with x (M, K) and w (K, N).
    float_operands : bool
        Whether it multiplies floats: the result is float32, that of all others int32.
    """

    name: str
    run: Callable[..., None]
    prepare: Callable[[Array, Array, int], tuple[Any, ...]]
    float_operands: bool = False

    @property
    def sentence(self) -> str:
        """What is new in this rung."""
        return str(self.run.__doc__).splitlines()[0]


def _floats(x: Array, w: Array, K: int) -> tuple[Any, ...]:
    return read_only(x), read_only(w.T)


def _words(a: Array, b: Array, K: int) -> tuple[Any, ...]:
    return read_only(a), read_only(b), np.int64(K)


def _wide_panels(a: Array, b: Array, K: int) -> tuple[Any, ...]:
    N, W = b.shape
    panels = np.zeros((-(-N // WIDE), W, WIDE), np.uint64)
    for p, panel in enumerate(panels):
        columns = b[p * WIDE : (p + 1) * WIDE]
        panel[:, : len(columns)] = columns.T
    base = np.full(len(panels) * WIDE, K, np.int64)
    return read_only(a)[None], read_only(panels), read_only(base), np.int64(2)


def _panels(a: Array, b: Array, K: int) -> tuple[Any, ...]:
    panels = to_panels(b, K)
    base = np.full(len(panels.words) * PANEL, K, np.int64)
    return read_only(a)[None], read_only(panels.words), read_only(base), np.int64(2)


RUNGS = (
    Rung("float_loops", float_loops, _floats, float_operands=True),
    Rung("fast_float_loops", fast_float_loops, _floats, float_operands=True),
    Rung("three_loops", three_loops, _words),
    Rung("register_block", register_block, _words),
    Rung("column_panels", column_panels, _wide_panels),
    Rung("vector_tiles", vector_tiles, _panels),
    Rung("carry_save", carry_save, _panels),
)
"""The ladder, lowest rung first."""
