"""Weights of a convolution as words, prepared for many calls: what `bits.conv` stands on.

A window that leaves the image sees a border. What the border adds depends on the place of the
window and on the weights only, so it is a table that is made once (`outside_sums`).
"""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from qnn_ref._typing import Ints, Pair, Words
from qnn_ref.bits.operands import WORDS, check_sums, read_only
from qnn_ref.bits.panels import Panels, arrange_panels, to_panels
from qnn_ref.bits.popcount import popcount
from qnn_ref.bits.words import check_words, pack, unpack, words_for
from qnn_ref.checks import as_array, check_array, instance, whole
from qnn_ref.geometry import Geometry, Size, geometry_of, pair

TABLES = 8
"""Border tables that a kernel keeps: images of ever new sizes must not fill the memory."""


def pack_kernel(codes: ArrayLike) -> Words:
    """Pack the signs of a layer's weights for the convolutions of `bits.conv`.

    bit c of words[n, u, v] = 1 if codes[u, v, c, n] >= 0, else 0

    Parameters
    ----------
    codes : array (kh, kw, C, N) of numbers
        Weights +-1 of N outputs, or latent weights: their signs are packed.

    Returns
    -------
    array (N, kh, kw, ceil(C / 64)) of uint64
        Words along the channels.

    Raises
    ------
    TypeError
        If `codes` holds no numbers.
    ValueError
        If it has not four axes, or holds a NaN.

    References
    ----------
    Eq. (1); section 6 (packing of +-1 values into registers).
    """
    array = as_array("codes", codes)
    if array.ndim != 4:
        raise ValueError(f"codes: expected shape (kh, kw, C, N), got {array.shape}")
    return pack(np.moveaxis(array, -1, 0))


def outside_sums(w: Words, C: int, image: Pair, stride: Size = 1, padding: Size = 0) -> Ints:
    """Sum the weights whose taps fall outside the image, for each place of the window.

    out[i, j, n] = sum over taps (u, v) outside of sum_c w[n, u, v, c]

    Parameters
    ----------
    w, C : as `xnor_conv`
    image : pair of int
        Height and width of an image.
    stride, padding : as `xnor_conv`

    Returns
    -------
    array (out_height, out_width, N) of int32
        What a border of ones adds to the sums; 0 where the window stays inside.

    Raises
    ------
    TypeError, ValueError
        As `to_kernel_panels` and `output_size`.

    References
    ----------
    Not in the paper: zero padding, which Algorithm 5 leaves open, in exact form.
    """
    C = check_kernel(w, C)
    geometry = geometry_of(pair("image", image, 0), w.shape[1:3], stride, padding)
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
    words : array (N, kh, kw, ceil(C / 64)) of uint64
        The weights as they were packed.
    C : int
        Channels.
    panels : Panels
        The words of an output as one column; K = kh kw C.
    """

    words: Words
    C: int
    panels: Panels
    _tables: dict[Geometry, Ints] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        """Refuse parts that do not fit each other: compiled code looks at no size."""
        instance("panels", self.panels, Panels)
        C, words = whole("C", self.C, 0), self.words
        check_array("words", words, WORDS, ("N", "kh", "kw", words_for(C)))
        N, kh, kw, width = words.shape
        panels = self.panels.N, self.panels.K, self.panels.words.shape[1]
        if panels != (N, kh * kw * C, kh * kw * width):
            raise ValueError(
                f"panels: expected {N} columns of {kh * kw * C} bits in {kh * kw * width} words, "
                f"got {panels[0]} of {panels[1]} in {panels[2]}"
            )

    def __repr__(self) -> str:
        N, kh, kw, _ = self.words.shape
        return f"<KernelPanels: {N} kernels of {kh} x {kw} x {self.C} bits>"

    @cached_property
    def dense(self) -> Panels:
        """The weights of an output as one column without gaps: for pixels."""
        codes = unpack(self.words, self.C)
        return to_panels(pack(codes.reshape(self.panels.N, self.panels.K)), self.panels.K)

    def outside(self, geometry: Geometry) -> Ints:
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


def to_kernel_panels(w: Words, C: int) -> KernelPanels:
    """Prepare packed weights that are used many times.

    Parameters
    ----------
    w : array (N, kh, kw, ceil(C / 64)) of uint64
        Weights +-1 (`pack_kernel`); they are copied.
    C : int
        Channels.

    Returns
    -------
    KernelPanels
        The same weights; the convolutions of `bits.conv` accept them in place of `w`.

    Raises
    ------
    TypeError
        If `w` is not an array of uint64, or C not an integer.
    ValueError
        If the shape does not fit C, a kernel has no taps, K = kh kw C reaches 2^31, or a padding
        bit is set.
    """
    C = check_kernel(w, C)
    N, kh, kw, width = w.shape
    words = read_only(w.copy())
    return KernelPanels(words, C, arrange_panels(words.reshape(N, kh * kw * width), kh * kw * C))


def check_kernel(w: Any, C: int) -> int:
    """Refuse what is no packed kernel, as `to_kernel_panels` does; return C as a plain integer."""
    C = check_packed("w", w, C, "N", "kh", "kw")
    kh, kw = w.shape[1:3]
    if kh * kw == 0:
        raise ValueError(f"w: expected a kernel of at least 1 x 1 taps, got {kh} x {kw}")
    check_sums("w", kh * kw * C, 1)
    return C


def check_packed(name: str, words: Any, C: int, *axes: str) -> int:
    """Refuse what is no packing along C channels, as `check_words` does; return C as an integer.

    `axes` are the names of the axes that stand before the words.
    """
    C = whole("C", C, 0)
    width = words_for(C)
    are_words = isinstance(words, np.ndarray) and words.dtype == np.uint64
    if are_words and (words.ndim != len(axes) + 1 or words.shape[-1] != width):
        raise ValueError(
            f"{name}: expected shape ({', '.join(axes)}, {width}) for {C} channels, "
            f"got {words.shape}"
        )
    check_words(name, words, C)
    return C


def as_kernel(w: Any, C: int) -> KernelPanels:
    """Take weights in either form and check that they fit C channels, as `to_kernel_panels`."""
    if not isinstance(w, KernelPanels):
        return to_kernel_panels(w, C)
    if w.C != C:
        raise ValueError(f"w: expected weights of {C} channels, got {w.C}")
    return w
