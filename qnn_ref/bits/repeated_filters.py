"""Convolution of bits that computes each 2-D filter once for each input map (section 5.3).

A binary filter of one map has kh kw taps, so at most 2^(kh kw) forms; a form and its negative give
the same sums but for the sign. Where many filters act on a map, forms repeat. So for each map

1. the sums of every form that occurs (up to the sign) are computed, at some places of the window;
2. each filter adds or subtracts the sums of its form.

What is saved are XNORs and counts. What stays is an addition for each map and filter, and it is one
of a small integer: `bits.conv` puts 64 maps into one word and has no such addition at all. Which of
the two is faster is a question to a machine (`qnn-ref bench convolution`), and on a processor with
words of 64 bits it is not this one. A circuit that treats one map at a time may gain.
"""

# mypy: allow-untyped-defs

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from qnn_ref._typing import Array, Ints, Words
from qnn_ref.bits.kernel_words import check_kernel, check_packed
from qnn_ref.bits.operands import read_only, room_for
from qnn_ref.bits.words import unpack
from qnn_ref.checks import whole
from qnn_ref.compiled import parallel_kernel, prange, serial_kernel
from qnn_ref.geometry import Size, geometry_of, pad_images, windows

PLACES = 1024
"""Places of the window that a task treats at a time: so long are the rows that are added."""


@dataclass(frozen=True, eq=False)
class RepeatedKernel:
    """Weights of a convolution, and which of their 2-D filters are equal. Made once, used often.

    Parameters
    ----------
    words : array (N, kh, kw, ceil(C / 64)) of uint64
        Weights +-1 (`pack_kernel`); they are copied.
    C : int
        Channels: input maps.

    Raises
    ------
    TypeError, ValueError
        As `to_kernel_panels`.

    References
    ----------
    Section 5.3, repeated filters.
    """

    words: Words
    C: int
    forms: Array = field(init=False, repr=False)
    """Forms (D, kh kw) of int8 whose first tap is +1, those of map 0 first."""
    starts: Array = field(init=False, repr=False)
    """Where the forms of each map begin, (C + 1,)."""
    index: Array = field(init=False, repr=False)
    """Which of its map's forms a filter has, (C, N)."""
    negative: Array = field(init=False, repr=False)
    """Whether it is the negative of that form, (C, N)."""

    def __post_init__(self) -> None:
        C = check_kernel(self.words, self.C)
        words = read_only(self.words.copy())
        N, kh, kw, _ = words.shape
        taps = np.moveaxis(unpack(words, C, np.int8), -1, 0).reshape(C, N, kh * kw)
        negative = taps[..., 0] < 0
        rows = np.where(negative[..., None], -taps, taps)
        forms, index = [np.empty((0, kh * kw), np.int8)], np.zeros((C, N), np.int32)
        for c in range(C):
            bits = np.ascontiguousarray(np.packbits(rows[c] > 0, axis=-1))
            names = bits.view(np.dtype((np.void, bits.shape[1]))).ravel()
            _, first, index[c] = np.unique(names, return_index=True, return_inverse=True)
            forms.append(rows[c, first])
        starts = np.cumsum([0, *map(len, forms[1:])])
        made = {"forms": np.concatenate(forms), "starts": starts, "index": index}
        made |= {"negative": negative, "words": words}
        for array in made.values():  # a place that was changed would be read, whatever lies there
            array.flags.writeable = False
        for name, value in (made | {"C": C}).items():
            object.__setattr__(self, name, value)

    def __repr__(self) -> str:
        N, kh, kw, _ = self.words.shape
        return (
            f"<RepeatedKernel: {N} filters on {self.C} maps, {len(self.forms):,} of "
            f"{N * self.C:,} forms of {kh} x {kw} differ>"
        )

    @cached_property
    def share(self) -> float:
        """Forms that are computed, of all: the mean over the maps, up to the sign."""
        return len(self.forms) / max(1, self.index.size)


def repeated_conv_reference(
    x: Words, w: Words, C: int, stride: Size = 1, padding: Size = 0, pad_value: int = 0
) -> Ints:
    """Convolve map by map with NumPy, each form once: the twin of `repeated_conv`.

    Parameters, Returns: as `repeated_conv`.
    """
    C = check_packed("x", x, check_kernel(w, C), "B", "H", "W")
    place = geometry_of(x.shape[1:3], w.shape[1:3], stride, padding)
    outside = whole("pad_value", pad_value, 0, 1)
    images = pad_images(unpack(x, C, np.int64), place.padding, outside)
    taps = unpack(w, C, np.int64).reshape(len(w), w.shape[1] * w.shape[2], C)
    out = np.zeros((len(x), *place.output, len(w)), np.int32)
    for c in range(C):
        views = windows(images[..., c : c + 1], place.kernel, place.stride)
        rows = views.reshape(*out.shape[:3], taps.shape[1])
        signs = taps[:, 0, c]
        forms, index = np.unique(signs[:, None] * taps[..., c], axis=0, return_inverse=True)
        out += ((rows @ forms.T)[..., index.ravel()] * signs).astype(np.int32)
    return out


def repeated_conv(
    x: Words,
    w: Words | RepeatedKernel,
    C: int,
    stride: Size = 1,
    padding: Size = 0,
    pad_value: int = 0,
    out: Ints | None = None,
) -> Ints:
    """Convolve images of +1 and -1, each 2-D filter once a map: the sums of `xnor_conv`.

    out[b, i, j, n] = sum_c (+-1)[c, n] form[index[c, n]] at (i, j) of map c

    Parameters
    ----------
    x : array (B, H, W, ceil(C / 64)) of uint64
        Images, packed along the channels (`pack`). They are unpacked in each call.
    w : array (N, kh, kw, ceil(C / 64)) of uint64, or RepeatedKernel
        Weights (`pack_kernel`); those that are used many times are prepared once.
    C : int
        Channels, without padding bits.
    stride, padding : int or pair of int
        (sh, sw) and (ph, pw), or one number for both.
    pad_value : int
        What stands outside the image: 0, which a map of small integers has, or 1.
    out : array (B, out_height, out_width, N) of int32, optional
        C-contiguous array that receives the result; new by default.

    Returns
    -------
    array (B, out_height, out_width, N) of int32
        Exact sums, from -kh kw C to kh kw C.

    Raises
    ------
    TypeError, ValueError
        As `xnor_conv`.

    References
    ----------
    Section 5.3: unique filters are computed once; eq. (8) for each of them.
    """
    C = check_packed("x", x, C, "B", "H", "W")
    kernel = w if isinstance(w, RepeatedKernel) else RepeatedKernel(w, C)
    if kernel.C != C:
        raise ValueError(f"w: expected weights of {C} channels, got {kernel.C}")
    N, kh, kw, _ = kernel.words.shape
    place = geometry_of(x.shape[1:3], (kh, kw), stride, padding)
    outside = whole("pad_value", pad_value, 0, 1)
    out = room_for(out, (len(x), *place.output, N), np.int32, x)
    if kh * kw > np.iinfo(np.int8).max or kh * kw * C > np.iinfo(np.int16).max:
        out[:] = repeated_conv_reference(x, kernel.words, C, stride, padding, pad_value)
        return out
    images = pad_images(unpack(x, C, np.int8), place.padding, outside)
    maps = read_only(images.transpose(0, 3, 1, 2)).reshape(-1)
    parts = kernel.forms, kernel.starts, kernel.index, kernel.negative
    rows, shape = out.reshape(out.size // max(1, N), N), images.shape[1:3]
    _repeated_conv(maps, shape, place.output, *map(read_only, parts), kw, place.stride, rows)
    return out


@serial_kernel
def _add(total, value):
    for p in range(total.size):
        total[p] += value[p]


@serial_kernel
def _subtract(total, value):
    for p in range(total.size):
        total[p] -= value[p]


@serial_kernel
def _some_places(first, P, maps, shape, size, forms, starts, index, negative, kw, stride, out):
    """Sums of all filters at P places, from place `first` of all images on."""
    (C, N), (tall, broad), (high, wide) = index.shape, shape, size
    count, most = forms.shape[1], 0
    for c in range(C):
        most = max(most, starts[c + 1] - starts[c])
    corner = np.empty(P, np.int64)  # of the window, in map 0 of its image
    for p in range(P):
        b, place = divmod(first + p, high * wide)
        i, j = divmod(place, wide)
        corner[p] = (b * C * tall + i * stride[0]) * broad + j * stride[1]
    # Sums of a form fit in int8, those of a filter in int16.
    taps, values = np.empty((count, P), np.int8), np.empty((most, P), np.int8)
    sums = np.zeros((N, P), np.int16)
    for c in range(C):
        for t in range(count):
            offset, tap = (c * tall + t // kw) * broad + t % kw, taps[t]
            for p in range(P):
                tap[p] = maps[corner[p] + offset]
        for d in range(starts[c + 1] - starts[c]):
            value, tap, form = values[d], taps[0], forms[starts[c] + d]
            for p in range(P):
                value[p] = tap[p]  # always +1
            for t in range(1, count):
                if form[t] > 0:
                    _add(value, taps[t])
                else:
                    _subtract(value, taps[t])
        for n in range(N):
            if negative[c, n]:
                _subtract(sums[n], values[index[c, n]])
            else:
                _add(sums[n], values[index[c, n]])
    for p in range(P):
        for n in range(N):
            out[first + p, n] = sums[n, p]


@parallel_kernel
def _repeated_conv(maps, shape, size, forms, starts, index, negative, kw, stride, out):
    """A task is PLACES places of all images."""
    M = out.shape[0]
    for task in prange((M + PLACES - 1) // PLACES):
        first = PLACES * np.int64(task)
        P = min(PLACES, M - first)
        _some_places(first, P, maps, shape, size, forms, starts, index, negative, kw, stride, out)
