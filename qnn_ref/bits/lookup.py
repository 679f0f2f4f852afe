"""Real numbers times +-1 by looking sums up: no multiplication, and a quarter of the additions.

The backward pass multiplies real gradients by signs. Four numbers a, b, c, d have only 16 signed
sums +-a +-b +-c +-d, and four bits of the packed matrix name one of them. So the sums are written
into a table once, and each output that wants one reads it: one addition in place of four
multiplications and four additions. The packed words are the index as they are.

A kernel takes 32 columns of the real matrix at a time (64 images of pixels), so that a table entry
is a few vectors, and reading and adding it are plain vector instructions that every CPU has. Eight
tables, 16 KB, are filled for 32 rows of the real matrix and used for all outputs before the next.
Where the real matrix has few rows, as in the gradient of weights, all tables are there at once: no
sum is ever put aside, and a result larger than the caches goes past them.

`signs_matmul` serves floats. `pixels_matmul` serves 8-bit pixels, exactly, in 16-bit integers:
eight bit planes, which Algorithm 5 prints, would cost eight binary products. Both fill and read
tables by the same helpers, and Numba caches a kernel with helpers of its own file only: hence one
long file.
"""

# mypy: allow-untyped-defs

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qnn_ref._typing import Array, Ints, Words
from qnn_ref.bits.gemm import FEW
from qnn_ref.bits.lanes import (
    fence,
    lanes_of,
    load,
    load_row,
    repeat,
    spread,
    store,
    store_row,
    stream,
    stream_row,
    turn,
)
from qnn_ref.bits.operands import INT64, check_out, check_sums, read_only, room_for
from qnn_ref.bits.panels import PANEL, Panels, as_panels
from qnn_ref.bits.planes import pixel_planes, planes_matmul, planes_matmul_reference
from qnn_ref.bits.rooms import kept_empty
from qnn_ref.bits.threads import threads_for
from qnn_ref.bits.words import check_words, unpack
from qnn_ref.checks import FLOATS, check_array, check_written, instance, whole
from qnn_ref.compiled import numba, parallel_kernel, prange, serial_kernel
from qnn_ref.grid import PIXELS

TABLES = 8
"""Tables that are in use together: those of 32 rows, half a word of each output."""

OUTPUTS = 2048
"""Outputs whose sums are kept together: 256 KB, so that they stay in the L2 cache."""

FAR = 2**22
"""Bytes of a result from which on it is written past the caches, which it would not fit in."""

FEW_ROWS = 128
"""Rows of the real matrix whose tables, 64 KB, are in use together, so that no sum is kept."""

PIXEL_OUTPUTS = 512
"""The same for pixels, whose sums are kept in 16 and in 32 bits."""

NS_A_PAIR = 0.006
"""Nanoseconds for a product of two numbers by lookup, roughly."""

PIXEL_HALVES = 7
"""Half words after which 16 bits may be full: 224 numbers p - 128 give sums of up to 28,672."""

MIDDLE, FOUR_MIDDLES = 128, 0x80808080
"""What is taken from a pixel, since p - 128 has half the magnitude; and four of it, as bytes."""


def signs_matmul_reference(b: Words, x: Array) -> Array:
    """Multiply signs by real numbers with 16 sums for each four: the twin of `signs_matmul`.

    It adds in the same order, so the results are the same bit for bit.

    Parameters, Returns: as `signs_matmul`.
    """
    check_array("x", x, FLOATS, ("K", "L"))
    K, L = x.shape
    check_words("b", b, K, ndim=2)
    groups = -(-K // 4)
    padded = np.zeros((4 * groups, L), x.dtype)
    padded[:K] = x
    bits = unpack(b, K, np.float64) > 0
    entry = np.zeros((len(b), 4 * groups), np.int64)
    entry[:, :K] = bits
    entry = entry.reshape(len(b), groups, 4) @ np.array([1, 2, 4, 8])
    signs = 2 * (np.arange(16)[:, None] >> np.arange(4) & 1).astype(x.dtype) - 1
    out = np.zeros((len(b), L), x.dtype)
    for g in range(groups):
        a, b_, c, d = padded[4 * g : 4 * g + 4]
        s = signs[:, :, None]
        table = (s[:, 0] * a + s[:, 1] * b_) + (s[:, 2] * c + s[:, 3] * d)
        out += table[entry[:, g]]
    return out


def _check_pixels(images: Any, K: int) -> None:
    check_array("images", images, (np.dtype(np.uint8),), ("M", whole("K", K, 0)))
    check_sums("K", K, 4 * 255)


def pixels_matmul_reference(images: NDArray[np.uint8], b: Words, K: int) -> Ints:
    """Multiply pixels by +-1 as Algorithm 5 prints it: the twin of `pixels_matmul`.

    out[m, n] = sum_a 2^a Xnor(plane a of image m, w[n]) = sum_k (2 p[m, k] - 255) w[n, k]

    Parameters, Returns: as `pixels_matmul`.
    """
    _check_pixels(images, K)
    return planes_matmul_reference(pixel_planes(images), b, K, PIXELS)


@serial_kernel
def _fill_tables(tables, x, starts, first, left, width, count):
    """Table g of `count`, entry e: sum of rows 4 g + i, each with the sign that bit i of e says.

    The rows are those from `first` on; row k begins at starts[k] + left of the flat array `x`.
    """
    # The rows of a table are a, b, c, d, and bits 0 to 3 of an entry are their signs, 1 is +. An
    # entry and 15 minus it are opposites, so eight sums of two halves fill a table:
    #
    #     entry = dcba    sum                  opposite
    #      15     1111    (a + b) + (c + d)        0
    #       7     0111    (a + b) + (c - d)        8
    #      11     1011    (a + b) - (c - d)        4
    #       3     0011    (a + b) - (c + d)       12
    #      13     1101    (a - b) + (c + d)        2
    #       5     0101    (a - b) + (c - d)       10
    #       9     1001    (a - b) - (c - d)        6
    #       1     0001    (a - b) - (c + d)       14
    for g in range(count):
        row = first + 4 * g
        for lane in range(left, left + width, np.int64(lanes_of(x))):
            a, b = load(x, starts[row] + lane), load(x, starts[row + 1] + lane)
            c, d = load(x, starts[row + 2] + lane), load(x, starts[row + 3] + lane)
            zero = spread(x.dtype.type(0))  # not a - a: that is NaN for an infinite a
            sum1, difference1, sum2, difference2 = a + b, a - b, c + d, c - d
            entry = 16 * g * width + lane - left
            total = sum1 + sum2
            store(tables, entry + 15 * width, total)
            store(tables, entry, zero - total)
            total = sum1 + difference2
            store(tables, entry + 7 * width, total)
            store(tables, entry + 8 * width, zero - total)
            total = sum1 - difference2
            store(tables, entry + 11 * width, total)
            store(tables, entry + 4 * width, zero - total)
            total = sum1 - sum2
            store(tables, entry + 3 * width, total)
            store(tables, entry + 12 * width, zero - total)
            total = difference1 + sum2
            store(tables, entry + 13 * width, total)
            store(tables, entry + 2 * width, zero - total)
            total = difference1 + difference2
            store(tables, entry + 5 * width, total)
            store(tables, entry + 10 * width, zero - total)
            total = difference1 - difference2
            store(tables, entry + 9 * width, total)
            store(tables, entry + 6 * width, zero - total)
            total = difference1 - sum2
            store(tables, entry + width, total)
            store(tables, entry + 14 * width, zero - total)


@serial_kernel
def _aligned(size, like):
    """Make room for numbers, each vector of them in one line of the cache."""
    room = np.empty(size + np.int64(lanes_of(like)), like.dtype)
    first = -np.int64(room.ctypes.data) % 64 // like.itemsize
    return room[first : first + size]


@serial_kernel
def _tables_of(half, tables, x, starts, left, inside, width):
    """Fill the tables of half word `half`, of `inside` columns from `left` on."""
    first, last = 32 * half, np.int64(0)
    rows = min(32, starts.size - first)
    for k in range(first, first + rows):
        last = max(last, starts[k])
    # Lanes beyond `inside` may hold other numbers of `x`: nobody reads their sums.
    whole = rows // 4 if last + left + width <= x.size else 0
    _fill_tables(tables, x, starts, first, left, width, whole)
    if 4 * whole == rows:
        return
    # Zeros stand for rows that are not there.
    first, rows, count = first + 4 * whole, rows - 4 * whole, (rows + 3) // 4 - whole
    padded, places = np.zeros(4 * count * width, x.dtype), np.empty(4 * count, np.int64)
    for k in range(4 * count):
        places[k] = k * width
    for k in range(rows):
        start = starts[first + k] + left
        for c in range(inside):  # to copy a slice, Numba compiles an error message for 2 seconds
            padded[k * width + c] = x[start + c]
    _fill_tables(tables[16 * whole * width :], padded, places, 0, 0, width, count)


@serial_kernel
def _entry(bits, g, width):
    """Where the entry of table `g` begins that four bits name, in a word or half a word.

    In this order all that the compiler knows is one number, which the load adds.
    """
    return ((bits >> np.uint64(4 * g)) & np.uint64(15)) * width + np.uint64(16 * g) * width


@serial_kernel
def _look_up(tables, base, bits, count, total):
    """Add what four bits after the other name in `count` tables, the first of them at `base`."""
    width = lanes_of(total)
    for g in range(count):
        total += load_row(tables, base + _entry(bits, g, width), total)
    return total


@serial_kernel
def _add_row(tables, words, skip, shift, rows, sums, count, zero):
    """Add what bits name in the first `count` tables to the sums of outputs.

    The first word of a panel is `skip` behind that of the one before. A loop has few numbers that
    are not constants: each that is not in a register is one more read, where reads are the bound.
    """
    width, base = lanes_of(zero), np.uint64(0)
    if count == TABLES:  # a number that the compiler knows: no loop is left inside
        for top in range(0, rows, PANEL):
            for j in range(PANEL):
                bits = words[np.uint64(top // PANEL * skip + j)] >> shift
                at = np.uint64(top + j) * width
                store_row(sums, at, _look_up(tables, base, bits, TABLES, load_row(sums, at, zero)))
        return
    for top in range(0, rows, PANEL):
        for j in range(PANEL):
            bits = words[np.uint64(top // PANEL * skip + j)] >> shift
            at = np.uint64(top + j) * width
            store_row(sums, at, _look_up(tables, base, bits, count, load_row(sums, at, zero)))


@serial_kernel
def _add(tables, words, skip, shift, rows, sums, count, vectors):
    """Do `_add_row` for sums of so many vectors."""
    zero = spread(tables.dtype.type(0))
    if vectors == 1:
        _add_row(tables, words, skip, shift, rows, sums, count, repeat(zero, 1))
    elif vectors == 2:
        _add_row(tables, words, skip, shift, rows, sums, count, repeat(zero, 2))
    else:
        _add_row(tables, words, skip, shift, rows, sums, count, repeat(zero, 3))


@serial_kernel
def _blocks(columns, head, lanes, most):
    """Cut columns, after `head` that stand alone, into blocks of up to `most` vectors: how many."""
    vectors = (columns - head + lanes - 1) // lanes
    return (head > 0) + (vectors + most - 1) // most


@serial_kernel
def _block(index, columns, head, lanes, most):
    """First column of a block, columns that are there, and lanes for them.

    The first blocks have one vector more than the last ones, or as many.
    """
    if head and index == 0:
        return 0, head, lanes
    index -= head > 0
    vectors = (columns - head + lanes - 1) // lanes
    blocks = (vectors + most - 1) // most
    size, more = vectors // blocks, vectors % blocks
    left = head + (index * size + min(index, more)) * lanes
    width = (size + (index < more)) * lanes
    return left, min(width, columns - left), width


@serial_kernel
def _parts(N, most):
    """Cut N outputs into equal parts of whole panels: how many, and how large."""
    parts = max(1, (N + most - 1) // most)
    size = (N + parts * PANEL - 1) // (parts * PANEL) * PANEL
    return parts, max(PANEL, size)


@serial_kernel
def _head(out, past):
    """Columns before those that fill whole lines of the cache, the same in all rows; else -1."""
    lanes, size = np.int64(lanes_of(out)), np.int64(out.itemsize)
    address = np.int64(out.ctypes.data)
    if past and address % size == 0 and out.shape[1] % lanes == 0:
        return -address % 64 // size
    return -1


@parallel_kernel
def _signs_kernel(panels, x, starts, out, outputs, past):
    """Multiply; row k of the real matrix begins at starts[k] of the flat array `x`.

    If `past` is set and the rows of `out` have the same place in lines of the cache, it is written
    in whole lines, past the caches.
    """
    (N, L), K, lanes = out.shape, starts.size, np.int64(lanes_of(x))
    flat, head = out.reshape(-1), _head(out, past)
    past, head = head >= 0, max(0, head)
    blocks, skip = _blocks(L, head, lanes, 3), panels.shape[1] * PANEL
    parts, outputs = _parts(N, outputs)
    for task in prange(blocks * parts):
        left, inside, width = _block(task // parts, L, head, lanes, 3)
        top = task % parts * outputs
        rows = min(outputs, N - top)
        words = panels[top // PANEL : (top + rows + PANEL - 1) // PANEL].reshape(-1)
        tables = _aligned(TABLES * 16 * width, x)
        sums = _aligned((rows + PANEL - 1) // PANEL * PANEL * width, x)
        sums[:] = 0
        for half in range((K + 31) // 32):
            _tables_of(half, tables, x, starts, left, inside, width)
            part, shift = words[half // 2 * PANEL :], np.uint64(32 * (half % 2))
            count = min(TABLES, (K - 32 * half + 3) // 4)
            _add(tables, part, skip, shift, rows, sums, count, width // lanes)
        for n in range(rows):
            at = (top + n) * L + left
            if inside < width:
                for lane in range(inside):
                    flat[at + lane] = sums[n * width + lane]
            elif past:
                for lane in range(0, width, lanes):
                    stream(flat, at + lane, load(sums, n * width + lane))
            else:
                for lane in range(0, width, lanes):
                    store(flat, at + lane, load(sums, n * width + lane))
        fence()


@serial_kernel
def _sum_up(tables, words, skip, rows, K, out, at, L, past, zero):
    """Write the sums of outputs as they are made, in rows of L from `at` on.

    They go past the caches where `past` is true.
    """
    width = lanes_of(zero)
    whole, rest = (K + 3) // 4 // 16, (K + 3) // 4 % 16
    for top in range(0, rows, PANEL):
        for j in range(min(PANEL, rows - top)):
            total, base = zero, np.uint64(0)
            word = top // PANEL * skip + j
            for _ in range(whole):
                total = _look_up(tables, base, words[np.uint64(word)], 16, total)
                base += np.uint64(16 * 16) * width
                word += PANEL
            if rest:  # in pieces whose sizes the compiler knows
                bits = words[np.uint64(word)]
                if rest & 8:
                    total = _look_up(tables, base, bits, 8, total)
                    base += np.uint64(16 * 8) * width
                    bits = bits >> np.uint64(32)
                if rest & 4:
                    total = _look_up(tables, base, bits, 4, total)
                    base += np.uint64(16 * 4) * width
                    bits = bits >> np.uint64(16)
                if rest & 3:
                    total = _look_up(tables, base, bits, rest & 3, total)
            if past:
                stream_row(out, np.uint64(at), total)
            else:
                store_row(out, np.uint64(at), total)
            at += L


@parallel_kernel
def _few_rows_kernel(panels, x, starts, out, outputs, past):
    """Do `_signs_kernel` for so few rows that all their tables are in use together.

    Sums stay in registers until they are done.
    """
    (N, L), K, lanes = out.shape, starts.size, np.int64(lanes_of(x))
    flat, skip = out.reshape(-1), panels.shape[1] * PANEL
    head = _head(out, past)
    past, head = head >= 0, max(0, head)
    blocks = _blocks(L, head, lanes, 2)
    parts, outputs = _parts(N, outputs)
    halves, width = (K + 31) // 32, 2 * lanes
    for task in prange(blocks * parts):
        left, inside, _ = _block(task % blocks, L, head, lanes, 2)
        top = task // blocks * outputs
        rows = min(outputs, N - top)
        words = panels[top // PANEL : (top + rows + PANEL - 1) // PANEL].reshape(-1)
        tables = _aligned(halves * TABLES * 16 * width, x)
        for half in range(halves):
            room = tables[half * TABLES * 16 * width :]
            _tables_of(half, room, x, starts, left, inside, width)
        two = repeat(spread(x.dtype.type(0)), 2)
        if inside == width:
            _sum_up(tables, words, skip, rows, K, flat, top * L + left, L, past, two)
            fence()
            continue
        sums = _aligned(PANEL * width, x)
        for row in range(0, rows, PANEL):
            count, part = min(PANEL, rows - row), words[row // PANEL * skip :]
            _sum_up(tables, part, skip, count, K, sums, 0, width, False, two)
            for n in range(count):
                for lane in range(inside):
                    flat[(top + row + n) * L + left + lane] = sums[n * width + lane]


def signs_matmul(b: Words | Panels, x: Array, out: Array | None = None) -> Array:
    """Multiply a matrix of signs by a real matrix, without multiplications.

    out[n, l] = sum_k s[n, k] x[k, l]

    Parameters
    ----------
    b : array (N, ceil(K / 64)) of uint64, or Panels
        The signs s, packed along k; those used many times are rearranged once (`to_panels`).
    x : array (K, L) of float32 or float64
        Real numbers.
    out : array (N, L), the dtype of `x`, optional
        C-contiguous array that receives the result; new by default.

    Returns
    -------
    array (N, L), the dtype of `x`
        Exact up to the rounding of the additions; exact where all sums are whole numbers that the
        dtype holds. Infinities and NaN spread as in any sum.

    Raises
    ------
    TypeError
        If `b` is not packed or `x` holds no float32 or float64.
    ValueError
        If the shapes do not fit, a padding bit is set, or `out` does not fit.

    References
    ----------
    Algorithm 1, lines 8 and 9: the gradients times binary weights or inputs.
    """
    check_array("x", x, FLOATS, ("K", "L"))
    panels = as_panels(b, len(x))
    L = x.shape[1]
    out = kept_empty((panels.N, L), x.dtype) if out is None else out
    check_out(out, (panels.N, L), x.dtype, x)
    run_signs(panels, read_only(x).reshape(-1), np.arange(len(x)) * L, out)
    return out


def run_signs(panels: Panels, x: Array, starts: NDArray[np.int64], out: Array) -> None:
    """Multiply signs by real rows that may lie anywhere in an array, and overlap.

    Parameters
    ----------
    panels : Panels
        N columns of K signs.
    x : array, one axis
        Holds the real rows.
    starts : array (K,) of int64
        Where each row begins.
    out : array (N, L), the dtype of `x`
        Receives the result.

    Raises
    ------
    TypeError, ValueError
        If the sizes do not fit each other, or a row leaves `x`.
    """
    check_array("x", x, FLOATS, ("size",))
    instance("panels", panels, Panels)
    check_array("starts", starts, INT64, (as_panels(panels, panels.K).K,))
    check_array("out", out, (x.dtype,), (panels.N, "L"))
    check_written("out", out, x, starts)
    # Unsigned, a start below zero is beyond any array: one search finds both.
    last = starts.view(np.uint64).max(initial=0)
    if starts.size and out.shape[1] and int(last) + out.shape[1] > x.size:
        raise ValueError(
            f"starts: expected rows of {out.shape[1]} inside {x.size} numbers, got starts from "
            f"{starts.min()} to {starts.max()}"
        )
    x, starts = read_only(x), read_only(starts)
    if not starts.size:
        out[...] = 0
    elif numba.config.DISABLE_JIT:
        rows = x[starts[:, None] + np.arange(out.shape[1])]
        out[...] = signs_matmul_reference(panels.to_words(), rows)
    else:
        words, past = read_only(panels.words), out.nbytes >= FAR
        with threads_for(NS_A_PAIR * len(starts) * out.size):
            if len(starts) <= FEW_ROWS:
                _few_rows_kernel(words, x, starts, out, 2 * OUTPUTS, past)
            else:
                _signs_kernel(words, x, starts, out, OUTPUTS, past)


@serial_kernel
def _spread_pixels(quads, top, count, first, rows):
    """Write 32 pixels of `count` images, less 128, as rows; four of an image are read at a time."""
    four = np.empty(count, np.uint32)
    for q in range(8):
        if first + q < quads.shape[1]:
            for lane in range(count):
                four[lane] = quads[top + lane, first + q]
        else:
            four[:] = FOUR_MIDDLES
        for i in range(4):
            row, shift = rows[4 * q + i], np.uint32(8 * i)
            for lane in range(count):
                row[lane] = np.int32((four[lane] >> shift) & np.uint32(255)) - np.int32(MIDDLE)


@serial_kernel
def _write_images(total, width, top, inside, flat, left, columns, N):
    """Write sums, a row for each output, as rows for images: in squares, then what is left."""
    side = np.int64(lanes_of(total))
    lanes, outputs = inside - inside % side, columns - columns % side
    for n in range(0, outputs, side):
        for lane in range(0, lanes, side):
            turn(total, n * width + lane, width, flat, (top + lane) * N + left + n, N)
    for lane in range(inside):
        for n in range(outputs if lane < lanes else 0, columns):
            # Unsigned: the compiler need not think of indices from the end.
            to, at = np.uint64((top + lane) * N + left + n), np.uint64(n * width + lane)
            flat[to] = total[at]


@parallel_kernel
def _pixels_kernel(quads, K, panels, base, out):
    """Write base + 2 (pixels less 128 times signs)."""
    M, N = out.shape
    flat = out.reshape(-1)
    lanes = np.int64(lanes_of(np.empty(0, np.int16)))
    blocks = _blocks(M, 0, lanes, 3)
    parts, outputs = _parts(N, PIXEL_OUTPUTS)
    halves = (K + 31) // 32
    for task in prange(blocks * parts):
        top, inside, width = _block(task // parts, M, 0, lanes, 3)
        left = task % parts * outputs
        columns = min(outputs, N - left)
        part = panels[left // PANEL : (left + columns + PANEL - 1) // PANEL]
        rows = np.zeros((32, width), np.int16)
        row_starts = np.arange(32) * width
        tables = _aligned(TABLES * 16 * width, rows)
        sums = _aligned(part.shape[0] * PANEL * width, rows)
        sums[:] = 0
        total = np.empty(part.shape[0] * PANEL * width, np.int32)
        for n in range(columns):
            total[n * width : n * width + width] = base[left + n]
        for half in range(halves):
            _spread_pixels(quads, top, inside, 8 * half, rows)
            count = min(TABLES, (K - 32 * half + 3) // 4)
            _fill_tables(tables, rows.reshape(-1), row_starts, 0, 0, width, count)
            skip, shift = part.shape[1] * PANEL, np.uint64(32 * (half % 2))
            words = part.reshape(-1)[half // 2 * PANEL :]
            _add(tables, words, skip, shift, columns, sums, count, width // lanes)
            if half % PIXEL_HALVES == PIXEL_HALVES - 1 or half == halves - 1:
                for i in range(columns * width):
                    total[i] += np.int32(2) * np.int32(sums[i])
                sums[:] = 0
        _write_images(total, width, top, inside, flat, left, columns, N)


def pixels_matmul(
    images: NDArray[np.uint8], b: Words | Panels, K: int, out: Ints | None = None
) -> Ints:
    """Multiply pixels, as the odd integers 2 p - 255, by weights +-1, exactly.

    (2 p - 255) . w = 2 ((p - 128) . w) + sum w, and (p - 128) . w is looked up. A few images go as
    bit planes.

    Parameters
    ----------
    images : array (M, K) of uint8
        Pixels p.
    b : array (N, ceil(K / 64)) of uint64, or Panels
        Weights +-1, packed along fan_in; those used many times are rearranged once (`to_panels`).
    K : int
        Pixels of an image.
    out : array (M, N) of int32, optional
        C-contiguous array that receives the result; new by default.

    Returns
    -------
    array (M, N) of int32
        Exact sums; all 0 if K = 0.

    Raises
    ------
    TypeError
        If `images` is not uint8 or `b` not uint64.
    ValueError
        If the shapes do not fit K, a padding bit is set, `out` does not fit, or 1020 K reaches
        2^31: then a sum on the way might not fit in int32.

    References
    ----------
    Eq. (7); Algorithm 5, first loop, by table lookup instead of bit planes.
    """
    _check_pixels(images, K)
    panels = as_panels(b, K)
    out = room_for(out, (len(images), panels.N), np.int32, images)
    if len(images) < FEW:
        # Algorithm 5 as it stands: tables for so few would cost more than they save.
        return planes_matmul(pixel_planes(images), panels, K, PIXELS, out)
    if numba.config.DISABLE_JIT:
        out[...] = pixels_matmul_reference(images, panels.to_words(), K)
        return out
    base = (2 * panels.plus - K).astype(np.int32)
    quads = images
    if K % 4:
        quads = np.full((len(images), K + 4 - K % 4), MIDDLE, np.uint8)
        quads[:, :K] = images
    quads = np.ascontiguousarray(quads).view("<u4").astype(np.uint32, copy=False)
    with threads_for(NS_A_PAIR / 2 * K * out.size):
        _pixels_kernel(read_only(quads), K, read_only(panels.words), base, out)
    return out
