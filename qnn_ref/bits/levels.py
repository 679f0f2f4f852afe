"""Products of integers of k bits with integers of l bits, by their bit planes (section 3).

- `levels_matmul`: odd integers without offset, LinearQuant's symmetric reading: k l runs of the
  XNOR product.
- `fixed_matmul`: two's complement, its fixed-point reading: AND and popcount of pairs of planes.
- `join_planes`: weights of any grid, from the products with their planes; layers are packed by it.
"""

# mypy: allow-untyped-defs

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from qnn_ref._typing import Ints, Words
from qnn_ref.bits.gemm import xnor_matmul_reference
from qnn_ref.bits.operands import check_sums, read_only
from qnn_ref.bits.planes import planes_matmul, to_planes
from qnn_ref.bits.popcount import popcount
from qnn_ref.bits.words import check_words, pack_bits_reference
from qnn_ref.checks import as_array, whole
from qnn_ref.compiled import parallel_kernel, prange
from qnn_ref.grid import Grid, check_grid


def levels_matmul_reference(a: Words, b: Words, K: int) -> Ints:
    """Multiply integers without offset by k l binary products: the twin of `levels_matmul`.

    Parameters, Returns: as `levels_matmul`.
    """
    _check_planes(a, b, K, signed=False)
    total = np.zeros((a.shape[1], b.shape[1]), np.int64)
    for i, left in enumerate(a):
        for j, right in enumerate(b):
            total += 2 ** (i + j) * xnor_matmul_reference(left, right, K).astype(np.int64)
    return total.astype(np.int32)


def levels_matmul(a: Words, b: Words, K: int) -> Ints:
    """Multiply odd integers of k and l bits, exactly: k l runs of the XNOR product.

    With beta = 2 B - 1 of every plane, the code of LinearQuant's symmetric reading is
    sum_a 2^a beta_a, an odd integer from -(2^k - 1) to 2^k - 1 without offset, so

    out[m, n] = sum_{a < k} sum_{b < l} 2^(a + b) Xnor(beta_a[m], beta_b[n])

    Parameters
    ----------
    a : array (k, M, ceil(K / 64)) of uint64
        Bit planes of the left integers, least significant first (`to_planes` of
        Grid(-(2^k - 1), 2^k - 1, 2)).
    b : array (l, N, ceil(K / 64)) of uint64
        Bit planes of the right integers.
    K : int
        Elements of a row, without padding.

    Returns
    -------
    array (M, N) of int32
        Exact sums.

    Raises
    ------
    TypeError
        If an operand is not an array of uint64.
    ValueError
        If the shapes do not fit K, a padding bit is set, or K (2^k - 1) (2^l - 1) reaches 2^31.

    References
    ----------
    Section 3: k-bit by l-bit products take k l runs of the binary kernel (symmetric).
    """
    _check_planes(a, b, K, signed=False)
    highest = 2 ** len(a) - 1
    grid = Grid(-highest, highest, 2)
    total = np.zeros((a.shape[1], b.shape[1]), np.int32)
    for j, right in enumerate(b):
        # One call takes all k planes of the left side.
        total += np.int32(2**j) * planes_matmul(a, right, K, grid)
    return total


def fixed_matmul_reference(a: Words, b: Words, K: int) -> Ints:
    """Multiply integers in two's complement by AND and popcount: the twin of `fixed_matmul`.

    Parameters, Returns: as `fixed_matmul`.
    """
    _check_planes(a, b, K, signed=True)
    total = np.zeros((a.shape[1], b.shape[1]), np.int64)
    for i, left in enumerate(a):
        for j, right in enumerate(b):
            sign = -1 if (i == len(a) - 1) != (j == len(b) - 1) else 1
            both = popcount(left[:, None] & right[None]).sum(axis=2).astype(np.int64)
            total += sign * 2 ** (i + j) * both
    return total.astype(np.int32)


@parallel_kernel
def _fixed_kernel(a, b, out):
    k, M, W = a.shape
    l, N = b.shape[0], b.shape[1]
    for m in prange(M):
        for n in range(N):
            total = np.int64(0)
            for i in range(k):
                for j in range(l):
                    count = np.uint64(0)
                    for w in range(W):
                        count += popcount(a[i, m, w] & b[j, n, w])
                    term = np.int64(count) << np.int64(i + j)
                    total += -term if (i == k - 1) != (j == l - 1) else term
            out[m, n] = np.int32(total)


def fixed_matmul(a: Words, b: Words, K: int) -> Ints:
    """Multiply integers in two's complement, exactly: AND and popcount of each pair of planes.

    A k-bit integer is -2^(k-1) B_{k-1} + sum_{a < k-1} 2^a B_a, the form of LinearQuant's
    fixed-point reading, so

    out[m, n] = sum_{a, b} +-2^(a + b) popcount(B_a[m] AND B_b[n])

    with minus where exactly one of a and b is the sign plane.

    Parameters
    ----------
    a : array (k, M, ceil(K / 64)) of uint64
        Bit planes of the left integers in two's complement, least significant first
        (`to_fixed_planes`).
    b : array (l, N, ceil(K / 64)) of uint64
        Bit planes of the right integers.
    K : int
        Elements of a row, without padding.

    Returns
    -------
    array (M, N) of int32
        Exact sums.

    Raises
    ------
    TypeError
        If an operand is not an array of uint64.
    ValueError
        If the shapes do not fit K, a padding bit is set, or K 2^(k-1) 2^(l-1) reaches 2^31.

    References
    ----------
    Section 3: products of fixed-point numbers by bit planes.
    """
    _check_planes(a, b, K, signed=True)
    out = np.empty((a.shape[1], b.shape[1]), np.int32)
    _fixed_kernel(read_only(a), read_only(b), out)
    return out


def to_fixed_planes(codes: ArrayLike, bits: int) -> Words:
    """Split signed integers into the bit planes of their two's complement.

    code = -2^(k-1) B_{k-1} + sum_{a < k-1} 2^a B_a

    Parameters
    ----------
    codes : array (..., K) of numbers
        Whole numbers from -2^(bits - 1) to 2^(bits - 1) - 1.
    bits : int
        Number of planes, from 2 to 16.

    Returns
    -------
    array (bits, ..., ceil(K / 64)) of uint64
        Planes, least significant first; each is packed as `bits.words` describes.

    Raises
    ------
    TypeError
        If `codes` holds no numbers, or `bits` is no whole number.
    ValueError
        If a code is no whole number of that range, or `bits` is out of its own.

    References
    ----------
    Section 2.6 (two's complement), for any number of bits.
    """
    bits = whole("bits", bits, 2, 16)
    half = 2 ** (bits - 1)
    planes = to_planes(codes, Grid(-half, half - 1, 1))
    # The level of a code is the code plus 2^(bits - 1): only the top bit differs.
    planes[-1] ^= pack_bits_reference(np.ones(as_array("codes", codes).shape[-1], np.bool_))
    return planes


def _check_planes(a: Any, b: Any, K: int, signed: bool) -> None:
    """Refuse words that do not fit K, and sums of K largest products that do not fit in int32."""
    largest = 1
    for name, planes in (("a", a), ("b", b)):
        check_words(name, planes, K, ndim=3)
        if len(planes) == 0:
            raise ValueError(f"{name}: expected one bit plane at least, got shape {planes.shape}")
        largest *= 2 ** (len(planes) - 1) if signed else 2 ** len(planes) - 1
    check_sums("K", int(K), largest)


def join_planes(products: Sequence[Ints], row_sums: Ints | None, grid: Grid) -> Ints:
    """Product with weights of a grid, from the products with the signs of their bit planes.

    out = (step sum_b 2^b products[b] + offset row_sums) / 2

    Parameters
    ----------
    products : sequence of P arrays (..., N) of int32
        sum_k x_k beta_b[n, k] for each plane b of the weights, least significant first.
    row_sums : array (..., 1) of int32, or None
        sum_k x_k; not needed where the grid's offset is 0.
    grid : Grid
        Of the weights.

    Returns
    -------
    array (..., N) of int32
        Exact sums, if they fit.

    Raises
    ------
    ValueError
        If the number of products does not fit the grid, or `row_sums` is missing.

    References
    ----------
    Section 3, products by planes of both factors, for any grid of integers.
    """
    check_grid(grid).check_planes("products", products)
    total = np.zeros(products[0].shape, np.int64)
    for b, product in enumerate(products):
        total += np.int64(grid.step * 2**b) * product
    if grid.offset:
        if row_sums is None:
            raise ValueError("row_sums: needed for a grid with an offset, got None")
        total += np.int64(grid.offset) * row_sums
    return (total >> 1).astype(np.int32)  # even numbers: half of them, faster than a division
