"""Weights in the order in which the fast kernels read them: panels of 16 columns, word by word.

Vector instructions take one word of eight columns at a time, so word w of neighbouring columns must
be neighbours in memory. Sixteen columns make a panel, which is stored word by word, 128 bytes each.
With 4,096 weights a column it is 8 KB: it stays in the L1 cache while it is used.
"""

# mypy: allow-untyped-defs

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from qnn_ref._typing import Array, Words
from qnn_ref.bits.operands import read_only
from qnn_ref.bits.popcount import popcount
from qnn_ref.bits.threads import threads_for
from qnn_ref.bits.words import WORD_BITS, check_words, pack, pack_reference, words_for
from qnn_ref.checks import as_array, check_array, instance, whole
from qnn_ref.compiled import parallel_kernel, prange, serial_kernel

PANEL = 16
"""Columns in a panel: two vectors of eight words."""


@dataclass(frozen=True, eq=False)
class Panels:
    """Packed vectors of +-1 in the order in which the kernels read them.

    Made by `to_panels` or `pack_panels`, once.

    Parameters
    ----------
    words : array (ceil(N / 16), ceil(K / 64), 16) of uint64
        ``words[p, w, j]`` is word w of column 16 p + j; columns beyond N are zero.
    N : int
        Number of columns.
    K : int
        Number of elements of a column: of weights, fan_in.
    gaps : bool
        Whether zero bits stand between the elements, as between the taps of a convolution.
    """

    words: Words
    N: int
    K: int
    gaps: bool = False

    def __post_init__(self) -> None:
        """Refuse parts that do not fit each other: compiled code looks at no size."""
        N, K = whole("N", self.N, 0), whole("K", self.K, 0)
        word = (np.dtype(np.uint64),)
        check_array("words", self.words, word, (-(-N // PANEL), "words", PANEL))
        W = self.words.shape[1]
        if words_for(K) > W or (words_for(K) < W and not self.gaps):
            raise ValueError(f"words: expected {words_for(K)} a column for K = {K}, got {W}")
        beyond = np.uint64(K % WORD_BITS)
        if beyond and not self.gaps and (self.words[:, -1] >> beyond).any():
            raise ValueError(f"words: a padding bit beyond K = {K} is set; padding must be zero")
        # As kernels take it: a small product is over before a view has been made.
        object.__setattr__(self, "words", read_only(self.words))

    def __repr__(self) -> str:
        return f"<Panels: {self.N} columns of {self.K} bits, {self.words.nbytes:,} bytes>"

    @cached_property
    def plus(self) -> NDArray[np.int64]:
        """Number of +1 in each column, (N,)."""
        counts = popcount(self.words).sum(axis=1)
        return counts.reshape(-1)[: self.N].astype(np.int64)

    @cached_property
    def all_agree(self) -> NDArray[np.int64]:
        """What a product of signs has where no bit differs: K, for each column of each panel."""
        sums = np.full(len(self.words) * PANEL, self.K, np.int64)
        sums.flags.writeable = False
        return sums

    def to_words(self) -> Words:
        """Give the columns one after the other, (N, words)."""
        count, W, _ = self.words.shape  # written out: -1 would be ambiguous for W = 0
        columns = self.words.transpose(0, 2, 1).reshape(count * PANEL, W)
        return np.ascontiguousarray(columns[: self.N])


def to_panels(b: Words, K: int) -> Panels:
    """Rearrange packed weights for the kernels.

    Parameters
    ----------
    b : array (N, ceil(K / 64)) of uint64
        Weights packed along fan_in: row n holds the K weights of output n. They are copied.
    K : int
        Number of weights of an output (fan_in).

    Returns
    -------
    Panels
        The same weights; products accept them in place of `b`.

    Raises
    ------
    TypeError
        If `b` is not an array of uint64.
    ValueError
        If its shape does not fit K, or a padding bit is set.
    """
    check_words("b", b, K, ndim=2)
    return arrange_panels(b, K, gaps=False)


def as_panels(b: Words | Panels, K: int) -> Panels:
    """Take weights in either form, as `to_panels` does, and check that columns have K of them."""
    if not isinstance(b, Panels):
        return to_panels(b, K)
    if b.K != K:
        raise ValueError(f"b: expected panels of columns with K = {K} weights, got {b.K}")
    if b.gaps:
        raise ValueError("b: expected columns without gaps, got those of a convolution")
    return b


def arrange_panels(b: Words, K: int, gaps: bool = True) -> Panels:
    """Rearrange words (N, W) whose bits may have gaps: those that stand for no weight are zero.

    They are zero in the left operand too. K is the number of weights of a column, 64 W or less.
    """
    N, W = b.shape
    words = aligned_zeros((-(-N // PANEL), W, PANEL))
    for p in range(len(words)):
        columns = b[p * PANEL : (p + 1) * PANEL]
        words[p, :, : len(columns)] = columns.T
    return Panels(words, N, int(K), gaps)


@serial_kernel
def _transpose(block):
    """Exchange bit c of word r and bit r of word c, for all of the 64 x 64 bits.

    Quarters of the square change places, then quarters of the quarters, six times.
    """
    distance, mask = 32, np.uint64(0x00000000FFFFFFFF)
    while distance:
        shift = np.uint64(distance)
        for first in range(0, 64, 2 * distance):
            for r in range(first, first + distance):
                low, high = block[r], block[r + distance]
                change = ((low >> shift) ^ high) & mask
                block[r] = low ^ (change << shift)
                block[r + distance] = high ^ change
        distance //= 2
        mask ^= mask << np.uint64(distance)


@parallel_kernel
def _arrange_both(words, C, by_column, by_row):
    """Write packed rows to panels, and the bits of 64 rows at a time, turned, to panels too."""
    R, W = words.shape
    for i in prange((R + 63) // 64):
        block = np.zeros(64, np.uint64)
        for j in range(W):
            for r in range(min(64, R - 64 * i)):
                word = words[64 * i + r, j]
                by_row[(64 * i + r) // PANEL, j, r % PANEL] = word
                block[r] = word
            block[min(64, R - 64 * i) :] = 0
            _transpose(block)
            for c in range(min(64, C - 64 * j)):
                by_column[(64 * j + c) // PANEL, i, c % PANEL] = block[c]


@dataclass(frozen=True, eq=False)
class SignMatrix:
    """The signs of a real matrix (R, C) as bits, in both directions. Made by `pack_panels`.

    Parameters
    ----------
    columns : Panels
        C columns of R bits: what the forward product reads.
    rows : Panels
        R columns of C bits, the rows of the matrix: what the backward product reads.
    """

    columns: Panels
    rows: Panels

    def __post_init__(self) -> None:
        """Refuse directions of two matrices."""
        for name, panels in (("columns", self.columns), ("rows", self.rows)):
            instance(name, panels, Panels)
        if (self.rows.N, self.rows.K) != (self.columns.K, self.columns.N):
            raise ValueError(
                f"rows: expected {self.columns.K} of {self.columns.N} bits, as the columns have, "
                f"got {self.rows.N} of {self.rows.K}"
            )

    def __repr__(self) -> str:
        return f"<SignMatrix: {self.rows.N} x {self.columns.N} signs, in both directions>"

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of the real matrix."""
        return self.rows.N, self.columns.N


def pack_panels_reference(x: Array) -> SignMatrix:
    """Pack a matrix along its columns and along its rows with NumPy: the twin of `pack_panels`.

    Parameters, Returns: as `pack_panels`.
    """
    x = as_array("x", x)
    if x.ndim != 2:
        raise ValueError(f"x: expected shape (R, C), got {x.shape}")
    R, C = x.shape
    return SignMatrix(to_panels(pack_reference(x.T), R), to_panels(pack_reference(x), C))


def pack_panels(x: Array) -> SignMatrix:
    """Pack the signs of a matrix along its columns and along its rows.

    The forward product wants the columns of a weight matrix, the backward product its rows. The
    numbers are read once; the bits are turned, which are a 32nd of them.

    Parameters
    ----------
    x : array (R, C) of numbers
        0 and -0.0 give +1.

    Returns
    -------
    SignMatrix
        The bits in both directions.

    Raises
    ------
    ValueError
        If `x` holds a NaN or has not two axes.
    TypeError
        If it holds no numbers.

    References
    ----------
    Eq. (1); Algorithm 1, lines 2 and 8.
    """
    x = as_array("x", x)
    if x.ndim != 2:
        raise ValueError(f"x: expected shape (R, C), got {x.shape}")
    return both_ways(pack(x), x.shape[1])


def both_ways(words: Words, C: int) -> SignMatrix:
    """Arrange a matrix (R, C) whose rows are packed, (R, ceil(C / 64)), by columns and by rows."""
    check_words("words", words, C, ndim=2)
    R = len(words)
    by_column = aligned_zeros((-(-C // PANEL), words_for(R), PANEL))
    by_row = aligned_zeros((-(-R // PANEL), words_for(C), PANEL))
    with threads_for(R * C / 8):
        _arrange_both(np.ascontiguousarray(words), C, by_column, by_row)
    return SignMatrix(Panels(by_column, C, R), Panels(by_row, R, C))


def aligned_zeros(shape: tuple[int, ...]) -> Words:
    """Make zeros that start at a multiple of 64 bytes, so that no vector crosses a cache line."""
    size = int(np.prod(shape))
    room = np.zeros(size + 7, np.uint64)
    start = -room.ctypes.data // 8 % 8
    return room[start : start + size].reshape(shape)
