"""Gradients of a convolution with +-1 by lookup: no windows are written out.

With stride 1 the window at one place is the window at the next, moved by one pixel. So where images
stand one after the other in one long row of pixels, with a border between lines and images, a tap
of all windows is that row, moved by a constant. One border serves two neighbours: a line takes
W + pw places, an image H + ph lines.

- Gradient of the input: a sum over taps and outputs of real rows (one an output, moved) times
  signs. `lookup.run_signs` is told where each moved row begins; it may overlap others.
- Gradient of the weights: a sum over pixels of real rows (all outputs of a pixel) times the signs
  of a channel at those pixels, moved. The packed signs are moved instead, bit by bit.

The border has no sign in the second one: a bit stands there for -1, and what that took away is
given back. It does not depend on the channel.
"""

# mypy: allow-untyped-defs

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from qnn_ref._typing import Array, Pair
from qnn_ref.bits.kernel_words import KernelPanels, pack_kernel, to_kernel_panels
from qnn_ref.bits.lanes import lanes_of, turn
from qnn_ref.bits.lookup import run_signs, signs_matmul
from qnn_ref.bits.operands import read_only
from qnn_ref.bits.panels import PANEL, Panels, aligned_zeros, pack_panels, to_panels
from qnn_ref.bits.rooms import kept_empty
from qnn_ref.bits.words import pack, words_for
from qnn_ref.checks import FLOATS, as_array, check_array, instance, whole
from qnn_ref.compiled import numba, parallel_kernel, prange, serial_kernel
from qnn_ref.geometry import pair

SOME = 16
"""Long rows that are written or read together."""

WHOLE = 16
"""Places of a long row are a multiple of this, a line of the cache: see `lookup.FAR`."""


@dataclass(frozen=True, eq=False)
class SignKernel:
    """The signs of convolution weights (kh, kw, C, N) as bits. Made by `pack_sign_kernel`.

    Parameters
    ----------
    forward : KernelPanels
        For `xnor_conv`.
    backward : Panels
        C columns of kh kw N bits: the weights of an input channel.
    size : tuple of int
        (kh, kw, C, N).
    """

    forward: KernelPanels
    backward: Panels
    size: tuple[int, ...]

    def __post_init__(self) -> None:
        """Refuse directions of two kernels."""
        instance("forward", self.forward, KernelPanels)
        instance("backward", self.backward, Panels)
        N, kh, kw, _ = self.forward.words.shape
        C = self.forward.C
        if self.size != (kh, kw, C, N):
            raise ValueError(f"size: expected {(kh, kw, C, N)}, as forward, got {self.size}")
        if (C, kh * kw * N) != (self.backward.N, self.backward.K):
            raise ValueError(
                f"backward: expected {C} columns of {kh * kw * N} bits, got {self.backward.N} of "
                f"{self.backward.K}"
            )

    def __repr__(self) -> str:
        kh, kw, C, N = self.size
        return f"<SignKernel: {N} kernels of {kh} x {kw} x {C} signs, in both directions>"


def pack_sign_kernel(weights: ArrayLike) -> SignKernel:
    """Pack the signs of convolution weights for both directions.

    Parameters
    ----------
    weights : array (kh, kw, C, N) of numbers
        Latent weights, or their codes.

    Returns
    -------
    SignKernel

    Raises
    ------
    TypeError, ValueError
        As `pack_kernel`.

    References
    ----------
    Eq. (1).
    """
    array = as_array("weights", weights)
    forward = to_kernel_panels(pack_kernel(array), array.shape[2])
    kh, kw, C, N = array.shape
    by_channel = np.moveaxis(array, 2, 0).reshape(C, kh * kw * N)
    return SignKernel(forward, to_panels(pack(by_channel), kh * kw * N), array.shape)


@serial_kernel
def _turn(x, start, step, rows, columns, out, at, out_step):
    """Transpose part of a flat array: out[at + c out_step + r] = x[start + r step + c].

    Squares go through registers, the rest number by number.
    """
    side = np.int64(lanes_of(x))
    for r in range(0, rows, side):
        for c in range(0, columns, side):
            if r + side <= rows and c + side <= columns:
                turn(x, start + r * step + c, step, out, at + c * out_step + r, out_step)
                continue
            for i in range(r, min(rows, r + side)):
                for j in range(c, min(columns, c + side)):
                    out[at + j * out_step + i] = x[start + i * step + j]


@parallel_kernel
def _to_rows(dy, lines, line, start, length, rows):
    """Write output n of images (B, h, w, N) as a long row of pixels, from n * length + start on."""
    B, high, wide, N = dy.shape
    flat = dy.reshape(-1)
    for task in prange(B):
        b = np.int64(task)
        # Few outputs at a time: the long rows lie far apart.
        for n in range(0, N, SOME):
            for i in range(high):
                at = n * length + start + (b * lines + i) * line
                first = (b * high + i) * wide * N + n
                _turn(flat, first, N, wide, min(SOME, N - n), rows, at, length)


@parallel_kernel
def _from_rows(rows, lines, line, dx):
    """Read images (B, H, W, C) out of C long rows of pixels."""
    B, H, W, C = dx.shape
    flat, images, length = rows.reshape(-1), dx.reshape(-1), rows.shape[1]
    for task in prange(B):
        b = np.int64(task)
        for c in range(0, C, SOME):
            for i in range(H):
                start = c * length + (b * lines + i) * line
                at = (b * H + i) * W * C + c
                _turn(flat, start, length, min(SOME, C - c), W, images, at, C)


def conv_input_gradient_reference(w: Array, dy: Array, image: Pair, padding: Pair) -> Array:
    """Gradient of the input with NumPy, tap by tap: the twin of `conv_input_gradient`.

    Parameters, Returns: as `conv_input_gradient`, but `w` (kh, kw, C, N) holds the weights +-1.
    """
    check_array("w", w, FLOATS, ("kh", "kw", "C", "N"))
    (H, W), (ph, pw) = _check_gradient(w.shape, dy, image, padding)
    _, high, wide, _ = dy.shape
    dx = np.zeros((len(dy), H + 2 * ph, W + 2 * pw, w.shape[2]), dy.dtype)
    for u, v in np.ndindex(*w.shape[:2]):
        dx[:, u : u + high, v : v + wide] += dy @ w[u, v].T
    return dx[:, ph : ph + H, pw : pw + W]


def conv_input_gradient(kernel: SignKernel, dy: Array, image: Pair, padding: Pair) -> Array:
    r"""Gradient of the input of a convolution with signs, stride 1.

    :math:`\delta_x[b, y, x, c] = \sum_{u, v, n} \delta_y[b, y + p_h - u, x + p_w - v, n]\,
    w[u, v, c, n]`

    Parameters
    ----------
    kernel : SignKernel
        Weights w, (kh, kw, C, N).
    dy : array of float32 or float64 (B, H + 2 ph - kh + 1, W + 2 pw - kw + 1, N)
        Gradient of the sums; finite, as infinities are not taken away again.
    image : pair of int
        Height H and width W of the input.
    padding : pair of int
        (ph, pw), each smaller than its side of the kernel.

    Returns
    -------
    array (B, H, W, C), the dtype of `dy`

    Raises
    ------
    ValueError
        If the shapes do not fit, or the padding is as large as the kernel.

    References
    ----------
    Algorithm 1, line 8, for each window.
    """
    instance("kernel", kernel, SignKernel)
    kh, kw, C, N = kernel.size
    (H, W), (ph, pw) = _check_gradient(kernel.size, dy, image, padding)
    if ph >= kh or pw >= kw:
        raise ValueError(f"padding: expected less than the kernel, {kh} x {kw}, got {ph}, {pw}")
    B, lines, line = len(dy), H + ph, W + pw
    places = -(-B * lines * line // WHOLE) * WHOLE
    # The first window looks back over a border, the last one ahead.
    before = (kh - 1 - ph) * line + kw - 1 - pw
    length = before + places + ph * line + pw
    room = np.zeros(N * length, dy.dtype)
    if numba.config.DISABLE_JIT:  # vectors exist in compiled code only
        padded = np.zeros((N, B, lines, line), dy.dtype)
        padded[:, :, : dy.shape[1], : dy.shape[2]] = np.moveaxis(dy, 3, 0)
        room.reshape(N, length)[:, before : before + padded[0].size] = padded.reshape(N, -1)
    else:
        _to_rows(read_only(dy), lines, line, before, length, room)
    u, v, n = np.meshgrid(np.arange(kh), np.arange(kw), np.arange(N), indexing="ij")
    starts = n * length + (kh - 1 - u) * line + (kw - 1 - v)
    sums = kept_empty((C, places), dy.dtype)
    run_signs(kernel.backward, room, starts.reshape(-1), sums)
    dx = np.empty((B, H, W, C), dy.dtype)
    if numba.config.DISABLE_JIT:
        images = sums[:, : B * lines * line].reshape(C, B, lines, line)
        dx[...] = np.moveaxis(images[:, :, :H, :W], 0, 3)
    else:
        _from_rows(sums, lines, line, dx)
    return dx


@parallel_kernel
def _move_bits(panels, moves, channels, places, moved):
    """Column t * channels + c of `moved` is column c of `panels`, moved by moves[t] bits.

    It has `places` bits; as everywhere, those beyond are zero.
    """
    W = panels.shape[1]
    beyond = np.uint64(places % 64)
    for t in prange(moves.size):
        words, bits = moves[t] // 64, np.uint64(moves[t] % 64)
        for c in range(channels):
            column = t * channels + c
            for w in range(moved.shape[1]):
                low, high = np.uint64(0), np.uint64(0)
                if w + words < W:
                    low = panels[c // PANEL, w + words, c % PANEL]
                if w + words + 1 < W:
                    high = panels[c // PANEL, w + words + 1, c % PANEL]
                word = low >> bits
                if bits:
                    word |= high << (np.uint64(64) - bits)
                if beyond and w == moved.shape[1] - 1:
                    word &= (np.uint64(1) << beyond) - np.uint64(1)
                moved[column // PANEL, w, column % PANEL] = word


def conv_weight_gradient_reference(
    x: Array, dy: Array, kernel: Pair, padding: Pair, pad_value: int = 0
) -> Array:
    """Gradient of the weights with NumPy, tap by tap: the twin of `conv_weight_gradient`.

    Parameters, Returns: as `conv_weight_gradient`.
    """
    (kh, kw), (ph, pw) = _check_weight_gradient(x, dy, kernel, padding, pad_value)
    places, (_, high, wide, N) = int(np.prod(dy.shape[:3])), dy.shape
    signs = np.where(x >= 0, 1, -1)
    padded = np.pad(signs, ((0, 0), (ph, ph), (pw, pw), (0, 0)), constant_values=pad_value)
    dw = np.empty((kh, kw, x.shape[-1], N), dy.dtype)
    for u, v in np.ndindex(kh, kw):
        tap = padded[:, u : u + high, v : v + wide].reshape(places, x.shape[-1])
        dw[u, v] = tap.T.astype(dy.dtype) @ dy.reshape(places, N)
    return dw


def conv_weight_gradient(
    x: Array, dy: Array, kernel: Pair, padding: Pair, pad_value: int = 0
) -> Array:
    r"""Gradient of the weights of a convolution whose input is +-1, stride 1.

    :math:`\delta_w[u, v, c, n] = \sum_{b, i, j} x[b, i + u - p_h, j + v - p_w, c]\,
    \delta_y[b, i, j, n]`

    Parameters
    ----------
    x : array (B, H, W, C)
        Its signs are the input: numbers of a signed type.
    dy : array of float32 or float64 (B, H + 2 ph - kh + 1, W + 2 pw - kw + 1, N)
        Gradient of the sums; finite, as infinities are not taken away again.
    kernel, padding : pair of int
        (kh, kw) and (ph, pw).
    pad_value : int
        What stands in the border: 0, or 1.

    Returns
    -------
    array (kh, kw, C, N), the dtype of `dy`

    Raises
    ------
    TypeError, ValueError
        If shapes or dtypes do not fit, or `x` holds a NaN.

    References
    ----------
    Algorithm 1, line 9, for each window.
    """
    (kh, kw), (ph, pw) = _check_weight_gradient(x, dy, kernel, padding, pad_value)
    B, H, W, C = x.shape
    N = dy.shape[-1]
    _check_gradient((kh, kw, C, N), dy, (H, W), padding)
    lines, line = H + ph, W + pw
    places = B * lines * line
    before = ph * line + pw
    padded = np.full(
        (before + places + (kh - 1) * line + kw - 1, C), 1 if pad_value else -1, x.dtype
    )
    inside = padded[before : before + places].reshape(B, lines, line, C)
    inside[:, :H, :W] = x
    signs = pack_panels(padded).columns
    moves = np.add.outer(np.arange(kh) * line, np.arange(kw)).reshape(-1)
    moved = aligned_zeros((-(-kh * kw * C // PANEL), words_for(places), PANEL))
    _move_bits(signs.words, moves, C, places, moved)
    rows = np.zeros((B, lines, line, N), dy.dtype)
    rows[:, : dy.shape[1], : dy.shape[2]] = dy
    dw = signs_matmul(Panels(moved, kh * kw * C, places), rows.reshape(places, N))
    dw = dw.reshape(kh, kw, C, N)
    if pad_value == 0:
        dw += _sums_outside(dy, (kh, kw), (ph, pw), (H, W))[:, :, None]
    return dw


def _sums_outside(dy: Array, kernel: Pair, padding: Pair, image: Pair) -> Array:
    """Sum of dy over the places whose tap (u, v) lies in the border: (kh, kw, N)."""
    whole = dy.sum(axis=(0, 1, 2))
    sums = np.empty((*kernel, dy.shape[-1]), dy.dtype)
    by_place = dy.sum(axis=0)
    for u, v in np.ndindex(*kernel):
        i, j = np.arange(dy.shape[1]) + u - padding[0], np.arange(dy.shape[2]) + v - padding[1]
        inside = np.logical_and.outer((i >= 0) & (i < image[0]), (j >= 0) & (j < image[1]))
        sums[u, v] = whole - by_place[inside].sum(axis=0)
    return sums


def _check_gradient(
    size: tuple[int, ...], dy: Array, image: Pair, padding: Pair, batch: int | str = "B"
) -> tuple[Pair, Pair]:
    """Refuse a gradient that is not that of the sums; return image and padding as integers."""
    (H, W), (ph, pw) = pair("image", image, 0), pair("padding", padding, 0)
    kh, kw, _, N = size
    high, wide = H + 2 * ph - kh + 1, W + 2 * pw - kw + 1
    if min(high, wide) < 1:
        raise ValueError(
            f"image: expected at least the kernel, {kh} x {kw}, with its border, got {H} x {W} "
            f"and a padding of {ph}, {pw}"
        )
    check_array("dy", dy, FLOATS, (batch, high, wide, N))
    return (H, W), (ph, pw)


def _check_weight_gradient(
    x: Array, dy: Array, kernel: Pair, padding: Pair, pad_value: int
) -> tuple[Pair, Pair]:
    """Refuse operands that do not fit each other; return kernel and padding as integers."""
    if not isinstance(x, np.ndarray) or x.dtype.kind not in "if":
        kind = getattr(x, "dtype", type(x).__name__)
        raise TypeError(f"x: expected an array of numbers of a signed type, got {kind}")
    if x.ndim != 4 or 0 in x.shape:
        raise ValueError(f"x: expected shape (B, H, W, C), none of them 0, got {x.shape}")
    if np.isnan(x).any():
        raise ValueError("x: contains NaN, which has no sign; expected numbers")
    whole("pad_value", pad_value, 0, 1)
    size = pair("kernel", kernel, 1)
    N = dy.shape[-1] if isinstance(dy, np.ndarray) and dy.ndim else 0
    _, border = _check_gradient((*size, x.shape[3], N), dy, x.shape[1:3], padding, len(x))
    return size, border
