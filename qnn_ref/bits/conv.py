"""Convolution of bits, and of small integers by bit planes: every window a row of a product.

Images are (batch, height, width, channels). Bits lie along the channels, so a pixel is
ceil(C / 64) words, and what a window covers in one line of the image is one run of words: writing
windows out as rows costs a 64th of what it costs with bytes, and the product of `bits.gemm` does
the rest. The bits beyond C of each pixel are zero in image and weights, and no product counts them.

A window that leaves the image asks for a value outside. Zero has no bit: a bit is +1 or -1, and a
grid of integers may have no zero either. So a code that has bits stands outside, the largest one,
and what it added is taken away again, exactly:

    sum over the taps inside = sum over all taps - high (sum of the weights whose taps are outside)

The last sum depends on the place of the window only, not on the image (`outside_sums`).
"""

# mypy: allow-untyped-defs

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qnn_ref._typing import Array, Ints, Words
from qnn_ref.bits.gemm import run_panels
from qnn_ref.bits.kernel_words import (
    KernelPanels,
    as_kernel,
    check_kernel,
    check_packed,
    outside_sums,
)
from qnn_ref.bits.ladder import ROWS
from qnn_ref.bits.lookup import pixels_matmul
from qnn_ref.bits.operands import check_sums, read_only, room_for
from qnn_ref.bits.planes import pixel_planes, without_differences
from qnn_ref.bits.popcount import popcount
from qnn_ref.bits.words import pack_bits
from qnn_ref.checks import check_array, whole
from qnn_ref.compiled import parallel_kernel, prange
from qnn_ref.geometry import Geometry, Size, geometry_of
from qnn_ref.grid import PIXELS, SIGNS, Grid, check_grid

ROWS_BYTES = 2**20
"""Windows are written out for this much memory at a time: they are still in the cache when read."""

PIXEL = (np.dtype(np.uint8),)


def xnor_conv_reference(
    x: Words, w: Words, C: int, stride: Size = 1, padding: Size = 0, pad_value: int = 0
) -> Ints:
    """Convolve +-1 images with NumPy, tap by tap: the twin of `xnor_conv`.

    A tap adds its product to the places whose window has it inside the image, and nothing to the
    others: zero padding needs no border.

    Parameters, Returns: as `xnor_conv`.
    """
    C = check_packed("x", x, check_kernel(w, C), "B", "H", "W")
    geometry = geometry_of(x.shape[1:3], w.shape[1:3], stride, padding)
    excess = _excess(1, pad_value)
    out = np.zeros((len(x), *geometry.output, len(w)), np.int64)
    for u, v in np.ndindex(geometry.kernel):
        i = np.flatnonzero(geometry.inside(0)[:, u])
        j = np.flatnonzero(geometry.inside(1)[:, v])
        rows, columns = geometry.pixels(0)[i, u], geometry.pixels(1)[j, v]
        pixels = x[:, rows[:, None], columns]
        differ = popcount(pixels[..., None, :] ^ w[:, u, v]).sum(axis=-1)
        out[:, i[:, None], j] += C - 2 * differ.astype(np.int64)
    if excess == 0:
        out += outside_sums(w, C, geometry.image, stride, padding)
    return out.astype(np.int32)


def xnor_conv(
    x: Words,
    w: Words | KernelPanels,
    C: int,
    stride: Size = 1,
    padding: Size = 0,
    pad_value: int = 0,
    out: Ints | None = None,
) -> Ints:
    """Convolve images of +1 and -1 that are stored as bits (no flip of the kernel).

    out[b, i, j, n] = sum_{u, v, c} x[b, i sh + u - ph, j sw + v - pw, c] w[n, u, v, c]

    Parameters
    ----------
    x : array (B, H, W, ceil(C / 64)) of uint64
        Images, packed along the channels (`pack`).
    w : array (N, kh, kw, ceil(C / 64)) of uint64, or KernelPanels
        Weights (`pack_kernel`); those that are used many times are prepared once by
        `to_kernel_panels`.
    C : int
        Channels, without padding bits.
    stride, padding : int or pair of int
        (sh, sw) and (ph, pw), or one number for both.
    pad_value : int
        What stands outside the image: 0, so that taps there count nothing, or 1.
    out : array (B, out_height, out_width, N) of int32, optional
        C-contiguous array that receives the result; new by default.

    Returns
    -------
    array (B, out_height, out_width, N) of int32
        Exact sums, from -kh kw C to kh kw C.

    Raises
    ------
    TypeError
        If an operand is not an array of uint64, or C, stride or padding no integer.
    ValueError
        If the shapes do not fit C, a padding bit is set, stride, padding or `pad_value` is
        impossible, the kernel does not fit in the padded image, kh kw C reaches 2^31, or `out`
        does not fit.

    References
    ----------
    Eq. (8); Xnor(x, w) of Algorithm 5 for each window. Padding is not in the algorithm.
    """
    C = check_packed("x", x, C, "B", "H", "W")
    return _convolve_planes(x[None], w, C, SIGNS, stride, padding, pad_value, out)


def _check_planes(planes: Any, C: int, grid: Grid) -> int:
    """Refuse planes that do not fit the grid; return C as a plain integer."""
    C = check_packed("planes", planes, C, "P", "B", "H", "W")
    check_grid(grid).check_planes("planes", planes)
    return C


def planes_conv_reference(
    planes: Words,
    w: Words,
    C: int,
    grid: Grid,
    stride: Size = 1,
    padding: Size = 0,
    pad_value: int = 0,
) -> Ints:
    """Convolve integers of a grid with NumPy, one binary convolution a plane: `planes_conv`'s twin.

    out = (step sum_a 2^a Xnor(beta_a, w) + offset sum w) / 2, where both sums run over the taps
    inside the image.

    Parameters, Returns: as `planes_conv`.
    """
    C = _check_planes(planes, check_kernel(w, C), grid)
    _excess(grid.high, pad_value)
    outside = outside_sums(w, C, planes.shape[2:4], stride, padding).astype(np.int64)
    inside = (2 * popcount(w).astype(np.int64).sum(axis=-1) - C).sum(axis=(1, 2)) - outside
    weighted = sum(
        2**a * xnor_conv_reference(planes[a], w, C, stride, padding).astype(np.int64)
        for a in range(grid.planes)
    )
    sums = (grid.step * weighted + grid.offset * inside) // 2
    return (sums + pad_value * grid.high * outside).astype(np.int32)


def planes_conv(
    planes: Words,
    w: Words | KernelPanels,
    C: int,
    grid: Grid,
    stride: Size = 1,
    padding: Size = 0,
    pad_value: int = 0,
    out: Ints | None = None,
) -> Ints:
    """Convolve integers of a grid with weights +-1, exactly.

    out[b, i, j, n] = sum_{u, v, c} code[b, i sh + u - ph, j sw + v - pw, c] w[n, u, v, c]

    Parameters
    ----------
    planes : array (P, B, H, W, ceil(C / 64)) of uint64
        Bit planes of the integers, least significant first (`to_planes`, `pixel_planes`).
    w, C : as `xnor_conv`
    grid : Grid
        Of the integers.
    stride, padding : as `xnor_conv`
    pad_value : int
        What stands outside the image: 0 for the integer 0, on the grid or not; 1 for the largest.
    out : as `xnor_conv`

    Returns
    -------
    array (B, out_height, out_width, N) of int32
        Exact sums.

    Raises
    ------
    TypeError, ValueError
        As `xnor_conv`; also if `grid` is no Grid, the number of planes does not fit it, or kh kw C
        times its largest code reaches 2^31: then a sum might not fit in int32.

    References
    ----------
    Eq. (7) in the form of Algorithm 5, for each window. Padding is not in the algorithm.
    """
    C = _check_planes(planes, C, grid)
    return _convolve_planes(planes, w, C, grid, stride, padding, pad_value, out)


def _convolve_planes(
    planes: Words,
    w: Words | KernelPanels,
    C: int,
    grid: Grid,
    stride: Size,
    padding: Size,
    pad_value: int,
    out: Ints | None,
) -> Ints:
    """Convolve checked planes."""
    kernel = as_kernel(w, C)
    geometry = geometry_of(planes.shape[2:4], kernel.words.shape[1:3], stride, padding)
    excess = _excess(grid.high, pad_value)
    check_sums("w", kernel.panels.K, grid.largest)
    # Outside stands the largest code, whose bits are all 1 only if the grid has 2^P levels.
    ones, level = pack_bits(np.ones(C, np.bool_)), (grid.high - grid.low) // grid.step
    pad = np.stack([ones * np.uint64(level >> a & 1) for a in range(len(planes))])
    base = without_differences(kernel.panels, grid)

    def multiply(rows: Words, sums: Ints) -> None:
        run_panels(rows, kernel.panels, base, grid.step, sums)

    return _convolve(planes, pad, geometry, kernel, excess, multiply, out)


def _excess(high: int, pad_value: int) -> int:
    """What the code outside, `high`, is too much."""
    return 0 if whole("pad_value", pad_value, 0, 1) else high


@parallel_kernel
def _gather(planes, pad, first, kernel, stride, padding, output, rows):
    """Write window first + m of all images as row m of each plane; pad[a] stands outside."""
    P, B, H, W, V = planes.shape
    source, target = planes.reshape(-1), rows.reshape(-1)
    line = kernel[1] * V
    for m in prange(rows.shape[1]):
        b, place = divmod(first + m, output[0] * output[1])
        i, j = divmod(place, output[1])
        left = j * stride[1] - padding[1]
        within = left >= 0 and left + kernel[1] <= W
        for a in range(P):
            for u in range(kernel[0]):
                y = i * stride[0] + u - padding[0]
                at = (a * rows.shape[1] + m) * rows.shape[2] + u * line
                start = (((a * B + b) * H + y) * W + left) * V
                if within and 0 <= y < H:  # one line of the window stands in one place
                    for c in range(line):
                        target[np.uint64(at + c)] = source[np.uint64(start + c)]
                    continue
                for v in range(kernel[1]):
                    inside = 0 <= y < H and 0 <= left + v < W
                    for c in range(V):
                        word = source[np.uint64(start + v * V + c)] if inside else pad[a, c]
                        target[np.uint64(at + v * V + c)] = word


@parallel_kernel
def _subtract_outside(sums, first, table, border, excess):
    """Take excess * table from the rows whose windows leave the image; row 0 is window `first`."""
    for m in prange(sums.shape[0]):
        place = (first + m) % border.size
        if border[place]:
            for n in range(sums.shape[1]):
                sums[m, n] = np.int32(np.int64(sums[m, n]) - excess * np.int64(table[place, n]))


def _convolve(
    planes: Array,
    pad: Array,
    geometry: Geometry,
    kernel: KernelPanels,
    excess: int,
    multiply: Callable[[Array, Ints], Any],
    out: Ints | None,
) -> Ints:
    """Write windows out as rows, some at a time; multiply them; take away what the border added."""
    P, B, _, _, V = planes.shape
    shape = (B, *geometry.output, kernel.panels.N)
    out = room_for(out, shape, np.int32, planes)
    planes, border = read_only(planes), geometry.border()
    table = read_only(kernel.outside(geometry)) if excess and border.any() else None
    M, width = B * border.size, geometry.kernel[0] * geometry.kernel[1] * V
    # Whole blocks of rows, because the products take them so; pixels even four blocks at a time.
    block = 4 * ROWS
    part = max(1, ROWS_BYTES // max(1, P * width * planes.itemsize * block)) * block
    room = np.empty(P * min(part, M) * width, planes.dtype)
    for first in range(0, M, part):
        sums = out.reshape(M, shape[-1])[first : first + part]
        rows = room[: P * len(sums) * width].reshape(P, len(sums), width)
        _gather(planes, pad, first, *geometry[1:], rows)
        multiply(rows, sums)
        if table is not None:
            _subtract_outside(sums, first, table, border, excess)
    return out


def pixels_conv_reference(
    images: NDArray[np.uint8], w: Words, stride: Size = 1, padding: Size = 0, pad_value: int = 0
) -> Ints:
    """Convolve pixels as Algorithm 5 treats them, in eight bit planes: the twin of `pixels_conv`.

    Parameters, Returns: as `pixels_conv`.
    """
    check_array("images", images, PIXEL, ("B", "H", "W", "C"))
    planes, C = pixel_planes(images), images.shape[-1]
    return planes_conv_reference(planes, w, C, PIXELS, stride, padding, pad_value)


def pixels_conv(
    images: NDArray[np.uint8],
    w: Words | KernelPanels,
    stride: Size = 1,
    padding: Size = 0,
    pad_value: int = 0,
    out: Ints | None = None,
) -> Ints:
    """Convolve pixels, as the odd integers 2 p - 255, with weights +-1, exactly.

    out[b, i, j, n] = sum_{u, v, c} (2 p[b, i sh + u - ph, j sw + v - pw, c] - 255) w[n, u, v, c]

    Windows are written out as bytes, without gaps: three channels would fill three bits of each
    word of eight planes. `pixels_matmul` multiplies them.

    Parameters
    ----------
    images : array (B, H, W, C) of uint8
        Pixels p.
    w, stride, padding : as `xnor_conv`
    pad_value : int
        What stands outside the image: 0 for the integer 0, which no pixel has; 1 for 255.
    out : as `xnor_conv`

    Returns
    -------
    array (B, out_height, out_width, N) of int32
        Exact sums.

    Raises
    ------
    TypeError
        If `images` is not uint8 or `w` not uint64, or stride or padding no integer.
    ValueError
        As `xnor_conv`; also if 1020 kh kw C reaches 2^31: then a sum on the way might not fit in
        int32.

    References
    ----------
    Eq. (7); Algorithm 5, first loop, for each window, by table lookup instead of bit planes.
    """
    check_array("images", images, PIXEL, ("B", "H", "W", "C"))
    kernel = as_kernel(w, images.shape[-1])
    geometry = geometry_of(images.shape[1:3], kernel.words.shape[1:3], stride, padding)
    excess = _excess(255, pad_value)
    check_sums("w", kernel.panels.K, 4 * 255)
    pad = np.full((1, kernel.C), 255, np.uint8)

    def multiply(rows: NDArray[np.uint8], sums: Ints) -> None:
        pixels_matmul(rows[0], kernel.dense, kernel.panels.K, sums)

    return _convolve(images[None], pad, geometry, kernel, excess, multiply, out)
