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

import operator
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numba import njit, prange
from numpy.typing import ArrayLike, NDArray

from qnn_ref.bits.gemm import INT32_END, Panels, arrange_panels, check_out, read_only, run_panels
from qnn_ref.bits.lookup import LANES, pixels_matmul
from qnn_ref.bits.planes import pixel_planes, plane_count
from qnn_ref.bits.popcount import popcount
from qnn_ref.bits.words import check_words, pack, pack_bits, unpack, words_for

Pair = tuple[int, int]
Size = int | Pair

ROWS_BYTES = 2**20
"""Windows are written out for this much memory at a time: they are still in the cache when read."""

TABLES = 8
"""Border tables that a kernel keeps: images of ever new sizes must not fill the memory."""

PIXELS = (-255, 255, 2)
"""The grid of the odd integers 2 p - 255 that stand for pixels."""


def output_size(size: int, kernel: int, stride: int, padding: int) -> int:
    """Give the number of places of a window along one axis.

    floor((size + 2 padding - kernel) / stride) + 1

    Parameters
    ----------
    size : int
        Pixels of the image along the axis.
    kernel : int
        Pixels that the window covers.
    stride : int
        Step from one place to the next, >= 1.
    padding : int
        Pixels added at both ends, >= 0.

    Returns
    -------
    int
        Number of places, >= 1.

    Raises
    ------
    TypeError
        If an argument is not an integer.
    ValueError
        If one is too small, or the window is larger than the padded image.

    Source
    ------
    Section 4.2 (3x3, padding 1: the size is kept). The formula is not in the paper.
    """
    size, kernel = _whole("size", size, 0), _whole("kernel", kernel, 1)
    stride, padding = _whole("stride", stride, 1), _whole("padding", padding, 0)
    room = size + 2 * padding - kernel
    if room < 0:
        raise ValueError(
            f"kernel: expected at most {size + 2 * padding} pixels, the image of {size} with "
            f"padding {padding} on both sides, got {kernel}"
        )
    return room // stride + 1


def _whole(name: str, value: Any, least: int) -> int:
    try:
        whole = operator.index(value)
    except TypeError:
        raise TypeError(f"{name}: expected an integer, got {value!r}") from None
    if whole < least:
        raise ValueError(f"{name}: expected at least {least}, got {whole}")
    return whole


def _pair(name: str, value: Any, least: int) -> Pair:
    """Take one number for both axes, or (rows, columns)."""
    both = value if isinstance(value, tuple | list) else (value, value)
    if len(both) != 2:
        raise ValueError(f"{name}: expected one integer or two, got {value!r}")
    return _whole(name, both[0], least), _whole(name, both[1], least)


class _Geometry(NamedTuple):
    """Where the windows lie: (rows, columns) each."""

    image: Pair
    kernel: Pair
    stride: Pair
    padding: Pair
    output: Pair

    def inside(self, axis: int) -> NDArray[np.bool_]:
        """Whether tap u of the window at place i lies in the image, (output, kernel)."""
        pixels = self.pixels(axis)
        return (pixels >= 0) & (pixels < self.image[axis])

    def pixels(self, axis: int) -> NDArray[np.int64]:
        """Pixel under tap u of the window at place i, (output, kernel): i stride + u - padding."""
        places, taps = np.arange(self.output[axis]), np.arange(self.kernel[axis])
        return places[:, None] * self.stride[axis] + taps - self.padding[axis]

    def border(self) -> NDArray[np.bool_]:
        """Whether the window at each place leaves the image, (output rows x columns,)."""
        rows, columns = self.inside(0).all(axis=1), self.inside(1).all(axis=1)
        return ~np.logical_and.outer(rows, columns).reshape(-1)


def _geometry(
    image: tuple[int, ...], kernel: tuple[int, ...], stride: Any, padding: Any
) -> _Geometry:
    steps, borders = _pair("stride", stride, 1), _pair("padding", padding, 0)
    rows, columns = (
        output_size(image[axis], kernel[axis], steps[axis], borders[axis]) for axis in (0, 1)
    )
    (H, W), (kh, kw) = image, kernel
    return _Geometry((H, W), (kh, kw), steps, borders, (rows, columns))


def pack_kernel(codes: ArrayLike) -> NDArray[np.uint64]:
    """Pack the signs of a layer's weights for the convolutions of this module.

    bit c of words[n, u, v] = 1 if codes[u, v, c, n] >= 0, else 0

    Parameters
    ----------
    codes : array of numbers, shape (kh, kw, C, N)
        Weights +-1 of N outputs, or latent weights: their signs are packed.

    Returns
    -------
    array of uint64, shape (N, kh, kw, ceil(C / 64))
        Words along the channels.

    Raises
    ------
    TypeError
        If `codes` holds no numbers.
    ValueError
        If it has not four axes, or holds a NaN.

    Source
    ------
    Eq. (1); section 6 (packing of +-1 values into registers).
    """
    array = np.asarray(codes)
    if array.ndim != 4:
        raise ValueError(f"codes: expected shape (kh, kw, C, N), got {array.shape}")
    return pack(np.moveaxis(array, -1, 0))


def outside_sums(
    w: NDArray[np.uint64], C: int, image: Pair, stride: Size = 1, padding: Size = 0
) -> NDArray[np.int32]:
    """Sum the weights whose taps fall outside the image, for each place of the window.

    out[i, j, n] = sum over taps (u, v) outside of sum_c w[n, u, v, c]

    Parameters
    ----------
    w : array of uint64, shape (N, kh, kw, ceil(C / 64))
        Weights +-1 (`pack_kernel`).
    C : int
        Channels.
    image : pair of int
        Height and width of an image.
    stride, padding : int or pair of int
        As `xnor_conv`.

    Returns
    -------
    array of int32, shape (out_height, out_width, N)
        What a border of ones adds to the sums; 0 where the window stays inside.

    Raises
    ------
    TypeError, ValueError
        As `to_kernel_panels` and `output_size`.

    Source
    ------
    Not in the paper: zero padding, which Algorithm 5 leaves open, in exact form.
    """
    C = _check_kernel(w, C)
    geometry = _geometry(_pair("image", image, 0), w.shape[1:3], stride, padding)
    taps = 2 * popcount(w).sum(axis=-1).astype(np.int64) - C
    # A tap is inside if its row and its column are: two small sums instead of one over all taps.
    rows, columns = geometry.inside(0).astype(np.int64), geometry.inside(1).astype(np.int64)
    inside = np.einsum("jv,inv->ijn", columns, np.einsum("iu,nuv->inv", rows, taps))
    return (taps.sum(axis=(1, 2)) - inside).astype(np.int32)


@dataclass(frozen=True, eq=False)
class KernelPanels:
    """Weights of a convolution, prepared for many calls. Made by `to_kernel_panels`.

    Parameters
    ----------
    words : array of uint64, shape (N, kh, kw, ceil(C / 64))
        The weights as they were packed.
    C : int
        Channels.
    panels : Panels
        The words of an output as one column; K = kh kw C.
    """

    words: NDArray[np.uint64]
    C: int
    panels: Panels
    _tables: dict[_Geometry, NDArray[np.int32]] = field(
        default_factory=dict, init=False, repr=False
    )

    @cached_property
    def dense(self) -> NDArray[np.uint64]:
        """The weights of an output as one vector without gaps, (N, ceil(K / 64)): for pixels."""
        codes = unpack(self.words, self.C)
        return pack(codes.reshape(self.panels.N, self.panels.K))

    def outside(self, geometry: _Geometry) -> NDArray[np.int32]:
        """Give `outside_sums` for a geometry, (places, N); computed at its first use."""
        table = self._tables.get(geometry)
        if table is None:
            image, _, stride, padding, output = geometry
            sums = outside_sums(self.words, self.C, image, stride, padding)
            table = sums.reshape(output[0] * output[1], self.panels.N)
            if len(self._tables) >= TABLES:
                self._tables.clear()
            self._tables[geometry] = table
        return table


def to_kernel_panels(w: NDArray[np.uint64], C: int) -> KernelPanels:
    """Prepare packed weights that are used many times.

    Parameters
    ----------
    w : array of uint64, shape (N, kh, kw, ceil(C / 64))
        Weights +-1 (`pack_kernel`); they are copied.
    C : int
        Channels.

    Returns
    -------
    KernelPanels
        The same weights; the convolutions of this module accept them in place of `w`.

    Raises
    ------
    TypeError
        If `w` is not an array of uint64, or C not an integer.
    ValueError
        If the shape does not fit C, a kernel has no taps, K = kh kw C reaches 2^31, or a padding
        bit is set.

    Source
    ------
    Not in the paper: a layout for speed.
    """
    C = _check_kernel(w, C)
    N, kh, kw, width = w.shape
    words = read_only(w.copy())
    return KernelPanels(words, C, arrange_panels(words.reshape(N, kh * kw * width), kh * kw * C))


def _check_kernel(w: Any, C: int) -> int:
    """Refuse what is not a packed kernel; return C as an integer of Python."""
    C = _check_packed("w", w, C, "N", "kh", "kw")
    kh, kw = w.shape[1:3]
    if kh * kw == 0:
        raise ValueError(f"w: expected a kernel of at least 1 x 1 taps, got {kh} x {kw}")
    if kh * kw * C >= INT32_END:
        raise ValueError(f"w: expected kh kw C below 2^31, got {kh} x {kw} x {C} weights")
    return C


def _check_packed(name: str, words: Any, C: int, *axes: str) -> int:
    """As `check_words`, with the axes that stand before the words; return C."""
    C = _whole("C", C, 0)
    width = words_for(C)
    are_words = isinstance(words, np.ndarray) and words.dtype == np.uint64
    if are_words and (words.ndim != len(axes) + 1 or words.shape[-1] != width):
        raise ValueError(
            f"{name}: expected shape ({', '.join(axes)}, {width}) for {C} channels, "
            f"got {words.shape}"
        )
    check_words(name, words, C)
    return C


def _as_kernel(w: Any, C: int) -> KernelPanels:
    if not isinstance(w, KernelPanels):
        return to_kernel_panels(w, C)
    if w.C != C:
        raise ValueError(f"w: expected weights of {C} channels, got {w.C}")
    return w


def xnor_conv_reference(
    x: NDArray[np.uint64],
    w: NDArray[np.uint64],
    C: int,
    stride: Size = 1,
    padding: Size = 0,
    pad_value: int = 0,
) -> NDArray[np.int32]:
    """Convolve +-1 images with NumPy, tap by tap: the twin of `xnor_conv`.

    A tap adds its product to the places whose window has it inside the image, and nothing to the
    others: zero padding needs no border.

    Parameters
    ----------
    x : array of uint64, shape (B, H, W, ceil(C / 64))
    w : array of uint64, shape (N, kh, kw, ceil(C / 64))
    C, stride, padding, pad_value : as `xnor_conv`

    Returns
    -------
    array of int32, shape (B, out_height, out_width, N)

    Source
    ------
    Eq. (8) for each tap.
    """
    geometry = _geometry(x.shape[1:3], w.shape[1:3], stride, padding)
    out = np.zeros((len(x), *geometry.output, len(w)), np.int64)
    for u, v in np.ndindex(geometry.kernel):
        i = np.flatnonzero(geometry.inside(0)[:, u])
        j = np.flatnonzero(geometry.inside(1)[:, v])
        rows, columns = geometry.pixels(0)[i, u], geometry.pixels(1)[j, v]
        pixels = x[:, rows[:, None], columns]
        differ = popcount(pixels[..., None, :] ^ w[:, u, v]).sum(axis=-1)
        out[:, i[:, None], j] += C - 2 * differ.astype(np.int64)
    if pad_value == 1:
        out += outside_sums(w, C, geometry.image, stride, padding)
    return out.astype(np.int32)


def xnor_conv(
    x: NDArray[np.uint64],
    w: NDArray[np.uint64] | KernelPanels,
    C: int,
    stride: Size = 1,
    padding: Size = 0,
    pad_value: int = 0,
    out: NDArray[np.int32] | None = None,
) -> NDArray[np.int32]:
    """Convolve images of +1 and -1 that are stored as bits (no flip of the kernel).

    out[b, i, j, n] = sum_{u, v, c} x[b, i sh + u - ph, j sw + v - pw, c] w[n, u, v, c]

    Parameters
    ----------
    x : array of uint64, shape (B, H, W, ceil(C / 64))
        Images, packed along the channels (`pack`).
    w : array of uint64, shape (N, kh, kw, ceil(C / 64)), or KernelPanels
        Weights (`pack_kernel`); those that are used many times are prepared once by
        `to_kernel_panels`.
    C : int
        Channels, without padding bits.
    stride, padding : int or pair of int
        (sh, sw) and (ph, pw), or one number for both.
    pad_value : int
        What stands outside the image: 0, so that taps there count nothing, or 1.
    out : array of int32, shape (B, out_height, out_width, N), optional
        C-contiguous array that receives the result; new by default.

    Returns
    -------
    array of int32, shape (B, out_height, out_width, N)
        Exact sums, from -kh kw C to kh kw C.

    Raises
    ------
    TypeError
        If an operand is not an array of uint64, or C, stride or padding no integer.
    ValueError
        If the shapes do not fit C, a padding bit is set, stride, padding or `pad_value` is
        impossible, the kernel does not fit in the padded image, kh kw C reaches 2^31, or `out`
        does not fit.

    Source
    ------
    Eq. (8); Xnor(x, w) of Algorithm 5 for each window. Padding is not in the algorithm.
    """
    C = _check_packed("x", x, C, "B", "H", "W")
    return _convolve_planes(x[None], w, C, (-1, 1, 2), stride, padding, pad_value, out)


def planes_conv_reference(
    planes: NDArray[np.uint64],
    w: NDArray[np.uint64],
    C: int,
    low: int,
    high: int,
    step: int,
    stride: Size = 1,
    padding: Size = 0,
    pad_value: int = 0,
) -> NDArray[np.int32]:
    """Convolve integers of a grid with NumPy, one binary convolution a plane: `planes_conv`'s twin.

    out = (step sum_a 2^a Xnor(beta_a, w) + (2 low + step (2^P - 1)) sum w) / 2, where both sums run
    over the taps inside the image.

    Parameters
    ----------
    planes : array of uint64, shape (P, B, H, W, ceil(C / 64))
    w : array of uint64, shape (N, kh, kw, ceil(C / 64))
    C, low, high, step, stride, padding, pad_value : as `planes_conv`

    Returns
    -------
    array of int32, shape (B, out_height, out_width, N)

    Source
    ------
    Eq. (7) in the form of Algorithm 5, for each window.
    """
    P = len(planes)
    outside = outside_sums(w, C, planes.shape[2:4], stride, padding).astype(np.int64)
    inside = (2 * popcount(w).astype(np.int64).sum(axis=-1) - C).sum(axis=(1, 2)) - outside
    weighted = sum(
        2**a * xnor_conv_reference(planes[a], w, C, stride, padding).astype(np.int64)
        for a in range(P)
    )
    sums = (step * weighted + (2 * low + step * (2**P - 1)) * inside) // 2
    return (sums + pad_value * high * outside).astype(np.int32)


def planes_conv(
    planes: NDArray[np.uint64],
    w: NDArray[np.uint64] | KernelPanels,
    C: int,
    low: int,
    high: int,
    step: int,
    stride: Size = 1,
    padding: Size = 0,
    pad_value: int = 0,
    out: NDArray[np.int32] | None = None,
) -> NDArray[np.int32]:
    """Convolve integers of a grid with weights +-1, exactly.

    out[b, i, j, n] = sum_{u, v, c} code[b, i sh + u - ph, j sw + v - pw, c] w[n, u, v, c]

    Parameters
    ----------
    planes : array of uint64, shape (P, B, H, W, ceil(C / 64))
        Bit planes of the integers, least significant first (`to_planes`, `pixel_planes`).
    w : array of uint64, shape (N, kh, kw, ceil(C / 64)), or KernelPanels
        As `xnor_conv`.
    C : int
        Channels, without padding bits.
    low, high, step : int
        The grid of the integers: low, low + step, ..., high.
    stride, padding : int or pair of int
        As `xnor_conv`.
    pad_value : int
        What stands outside the image: 0 for the integer 0, on the grid or not; 1 for `high`.
    out : array of int32, shape (B, out_height, out_width, N), optional
        As `xnor_conv`.

    Returns
    -------
    array of int32, shape (B, out_height, out_width, N)
        Exact sums.

    Raises
    ------
    TypeError, ValueError
        As `xnor_conv`; also if the grid is impossible, the number of planes does not fit it, or
        kh kw C max(|low|, |high|) reaches 2^31: then a sum might not fit in int32.

    Source
    ------
    Eq. (7) in the form of Algorithm 5, for each window. Padding is not in the algorithm.
    """
    P = plane_count(low, high, step)
    grid = operator.index(low), operator.index(high), operator.index(step)
    C = _check_packed("planes", planes, C, "P", "B", "H", "W")
    if len(planes) != P:
        raise ValueError(
            f"planes: expected {P} planes for {low}, {low + step}, ..., {high}, got {len(planes)}"
        )
    return _convolve_planes(planes, w, C, grid, stride, padding, pad_value, out)


def _convolve_planes(
    planes: NDArray[np.uint64],
    w: NDArray[np.uint64] | KernelPanels,
    C: int,
    grid: tuple[int, int, int],
    stride: Size,
    padding: Size,
    pad_value: int,
    out: NDArray[np.int32] | None,
) -> NDArray[np.int32]:
    """Convolve checked planes."""
    (low, high, step), kernel = grid, _as_kernel(w, C)
    geometry = _geometry(planes.shape[2:4], kernel.words.shape[1:3], stride, padding)
    excess = _excess(high, pad_value)
    _check_sums(kernel, max(abs(low), abs(high)))
    # Outside stands `high`, whose bits are all 1 only if the grid has 2^P levels.
    ones, level = pack_bits(np.ones(C, np.bool_)), (high - low) // step
    pad = np.stack([ones * np.uint64(level >> a & 1) for a in range(len(planes))])
    # The sum of a row without a difference, as in `planes_matmul`.
    panels = kernel.panels
    base = low * (2 * panels.plus - panels.K) + step * (2 ** len(planes) - 1) * panels.plus

    def multiply(rows: NDArray[np.uint64], sums: NDArray[np.int32]) -> None:
        run_panels(rows, panels, base, step, sums)

    return _convolve(planes, pad, geometry, kernel, excess, multiply, out)


def _excess(high: int, pad_value: int) -> int:
    """What the code outside, `high`, is too much."""
    if pad_value not in (0, 1):
        raise ValueError(f"pad_value: expected 0 or 1, got {pad_value!r}")
    return high if pad_value == 0 else 0


def _check_sums(kernel: KernelPanels, largest: int) -> None:
    if kernel.panels.K * largest >= INT32_END:
        raise ValueError(
            f"w: with kh kw C = {kernel.panels.K} weights, sums of up to "
            f"{kernel.panels.K * largest} do not fit in int32 (below 2^31)"
        )


@njit(parallel=True, cache=True)
def _gather(planes, pad, first, kernel, stride, padding, output, rows):  # type: ignore[no-untyped-def]
    """Write window first + m of all images as row m of each plane; pad[a] stands outside."""
    P, _, H, W, V = planes.shape
    for m in prange(rows.shape[1]):
        b, place = divmod(first + m, output[0] * output[1])
        i, j = divmod(place, output[1])
        for a in range(P):
            at = 0
            for u in range(kernel[0]):
                y = i * stride[0] + u - padding[0]
                for v in range(kernel[1]):
                    x = j * stride[1] + v - padding[1]
                    inside = 0 <= y < H and 0 <= x < W
                    for c in range(V):
                        rows[a, m, at] = planes[a, b, y, x, c] if inside else pad[a, c]
                        at += 1


@njit(parallel=True, cache=True)
def _subtract_outside(sums, first, table, border, excess):  # type: ignore[no-untyped-def]
    """Take excess * table from the rows whose windows leave the image; row 0 is window `first`."""
    for m in prange(sums.shape[0]):
        place = (first + m) % border.size
        if border[place]:
            for n in range(sums.shape[1]):
                sums[m, n] = np.int32(np.int64(sums[m, n]) - excess * np.int64(table[place, n]))


def _convolve(
    planes: NDArray[Any],
    pad: NDArray[Any],
    geometry: _Geometry,
    kernel: KernelPanels,
    excess: int,
    multiply: Callable[[NDArray[Any], NDArray[np.int32]], Any],
    out: NDArray[np.int32] | None,
) -> NDArray[np.int32]:
    """Write windows out as rows, some at a time; multiply them; take away what the border added."""
    P, B, _, _, V = planes.shape
    shape = (B, *geometry.output, kernel.panels.N)
    if out is None:
        out = np.empty(shape, np.int32)
    else:
        check_out(out, shape)
    planes, border = read_only(planes), geometry.border()
    table = read_only(kernel.outside(geometry)) if excess and border.any() else None
    M, width = B * border.size, geometry.kernel[0] * geometry.kernel[1] * V
    # Whole blocks of rows, because the products take up to LANES rows at a time.
    part = max(1, ROWS_BYTES // max(1, P * width * planes.itemsize * LANES)) * LANES
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
    images: NDArray[np.uint8],
    w: NDArray[np.uint64],
    stride: Size = 1,
    padding: Size = 0,
    pad_value: int = 0,
) -> NDArray[np.int32]:
    """Convolve pixels as Algorithm 5 treats them, in eight bit planes: the twin of `pixels_conv`.

    Parameters
    ----------
    images : array of uint8, shape (B, H, W, C)
    w : array of uint64, shape (N, kh, kw, ceil(C / 64))
    stride, padding, pad_value : as `pixels_conv`

    Returns
    -------
    array of int32, shape (B, out_height, out_width, N)

    Source
    ------
    Eq. (7); Algorithm 5, first loop, for each window.
    """
    planes, C = pixel_planes(images), images.shape[-1]
    return planes_conv_reference(planes, w, C, *PIXELS, stride, padding, pad_value)


def pixels_conv(
    images: NDArray[np.uint8],
    w: NDArray[np.uint64] | KernelPanels,
    stride: Size = 1,
    padding: Size = 0,
    pad_value: int = 0,
    out: NDArray[np.int32] | None = None,
) -> NDArray[np.int32]:
    """Convolve pixels, as the odd integers 2 p - 255, with weights +-1, exactly.

    out[b, i, j, n] = sum_{u, v, c} (2 p[b, i sh + u - ph, j sw + v - pw, c] - 255) w[n, u, v, c]

    Windows are written out as bytes, without gaps: three channels would fill three bits of each
    word of eight planes. `pixels_matmul` multiplies them.

    Parameters
    ----------
    images : array of uint8, shape (B, H, W, C)
        Pixels p.
    w : array of uint64, shape (N, kh, kw, ceil(C / 64)), or KernelPanels
        As `xnor_conv`.
    stride, padding : int or pair of int
        As `xnor_conv`.
    pad_value : int
        What stands outside the image: 0 for the integer 0, which no pixel has; 1 for 255.
    out : array of int32, shape (B, out_height, out_width, N), optional
        As `xnor_conv`.

    Returns
    -------
    array of int32, shape (B, out_height, out_width, N)
        Exact sums.

    Raises
    ------
    TypeError
        If `images` is not uint8 or `w` not uint64, or stride or padding no integer.
    ValueError
        As `xnor_conv`; also if 1020 kh kw C reaches 2^31: then a sum on the way might not fit in
        int32.

    Source
    ------
    Eq. (7), for each window, computed by table lookup instead of bit planes.
    """
    if not isinstance(images, np.ndarray) or images.dtype != np.uint8:
        got = images.dtype if isinstance(images, np.ndarray) else type(images).__name__
        raise TypeError(f"images: expected an array of uint8, got {got}")
    if images.ndim != 4:
        raise ValueError(f"images: expected shape (B, H, W, C), got {images.shape}")
    kernel = _as_kernel(w, images.shape[-1])
    geometry = _geometry(images.shape[1:3], kernel.words.shape[1:3], stride, padding)
    excess = _excess(255, pad_value)
    _check_sums(kernel, 4 * 255)
    pad = np.full((1, kernel.C), 255, np.uint8)

    def multiply(rows: NDArray[np.uint8], sums: NDArray[np.int32]) -> None:
        pixels_matmul(rows[0], kernel.dense, kernel.panels.K, sums)

    return _convolve(images[None], pad, geometry, kernel, excess, multiply, out)
