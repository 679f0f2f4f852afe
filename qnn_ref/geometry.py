"""Where the windows of a convolution or a pool lie.

A window is what the kernel covers at one place of the output. All windows together, each written
out as a row of kh * kw * channels numbers (`windows`), turn a convolution into the product of a
dense layer, forward and backward. On the way back each row's gradient is added to the pixels that
the window covered (`add_windows`): a pixel that several windows share gets the sum, and one that
no window covers gets 0.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from qnn_ref._typing import Array, Pair, Shape
from qnn_ref.checks import whole

Size = int | Pair

FAR = 2**31 - 1
"""The largest size of an image, stride or border, and number of windows: beyond is a mistake."""


def pair(name: str, value: Any, least: int) -> Pair:
    """Height and width of something that is given as one number or two.

    Parameters
    ----------
    name : str
        What the error message calls it.
    value : int or pair of int
        A list or an array of two as well.
    least : int
        The smallest allowed number.

    Returns
    -------
    tuple of int
        (height, width).

    Raises
    ------
    TypeError, ValueError
        If it is neither, or too small, or too large to be a place in an image.

    References
    ----------
    Not in the paper.
    """
    several = isinstance(value, tuple | list) or (isinstance(value, np.ndarray) and value.ndim)
    both = value if several else [value] * 2
    try:
        high, wide = (whole(name, n, least, FAR) for n in both)
    except (TypeError, ValueError) as error:
        raise type(error)(
            f"{name}: expected one or two whole numbers from {least}, got {value!r}"
        ) from error
    return high, wide


def output_size(image: Pair, kernel: Pair, stride: Pair, padding: Pair) -> Pair:
    r"""Number of places of the window: :math:`\lfloor (n + 2p - k) / s \rfloor + 1`.

    Parameters
    ----------
    image, kernel, stride, padding : pair of int
        Height and width of each; padding stands on both sides.

    Returns
    -------
    tuple of int
        (height, width) of the output.

    Raises
    ------
    ValueError
        If the kernel does not fit in the padded image.

    References
    ----------
    Section 4.2 (3x3, stride 1, padding 1 keep the size).
    """
    padded = image[0] + 2 * padding[0], image[1] + 2 * padding[1]
    if padded[0] < kernel[0] or padded[1] < kernel[1]:
        raise ValueError(
            f"kernel: {kernel[0]} x {kernel[1]} does not fit in an image of "
            f"{padded[0]} x {padded[1]} (padding included)"
        )
    return (
        (padded[0] - kernel[0]) // stride[0] + 1,
        (padded[1] - kernel[1]) // stride[1] + 1,
    )


def pad_images(x: Array, padding: Pair, value: float) -> Array:
    """Put a border of `value` around each image.

    Parameters
    ----------
    x : array (batch, height, width, channels)
    padding : pair of int
        Rows above and below, columns left and right.
    value : float

    Returns
    -------
    array (batch, height + 2 rows, width + 2 columns, channels)
        `x` itself if there is nothing to put.

    References
    ----------
    Section 4.2's recipes (zeros); one-padding is ours.
    """
    if padding == (0, 0):
        return x
    rows, columns = padding
    return np.pad(x, ((0, 0), (rows, rows), (columns, columns), (0, 0)), constant_values=value)


def windows(x: Array, kernel: Pair, stride: Pair) -> Array:
    r"""All windows of padded images, as a view: nothing is copied.

    :math:`\mathrm{windows}[b, i, j, u, v, c] = x[b, s_h i + u, s_w j + v, c]`

    Parameters
    ----------
    x : array (batch, height, width, channels)
        With its border.
    kernel, stride : pair of int

    Returns
    -------
    array (batch, out_height, out_width, kh, kw, channels), read-only

    References
    ----------
    Section 4.2; the geometry of any convolution.
    """
    every = np.lib.stride_tricks.sliding_window_view(x, kernel, axis=(1, 2))
    return every[:, :: stride[0], :: stride[1]].transpose(0, 1, 2, 4, 5, 3)


def taps(x: Array, kernel: Pair, stride: Pair) -> list[Array]:
    r"""The same place of every window, for each place in the order of reading, as views.

    :math:`\mathrm{taps}[u\,k_w + v][b, i, j, c] = x[b, s_h i + u, s_w j + v, c]`

    Parameters
    ----------
    x : array (batch, height, width, channels)
        With its border.
    kernel, stride : pair of int

    Returns
    -------
    list of kh kw arrays (batch, out_height, out_width, channels)

    References
    ----------
    Section 4.2; the geometry of any convolution or pool.
    """
    high, wide = output_size(x.shape[1:3], kernel, stride, (0, 0))  # type: ignore[arg-type]
    down, right = stride
    return [
        x[:, u : u + down * (high - 1) + 1 : down, v : v + right * (wide - 1) + 1 : right]
        for u in range(kernel[0])
        for v in range(kernel[1])
    ]


def add_windows(dw: Array, padded: Shape, stride: Pair) -> Array:
    r"""Backward of `windows`: each pixel's gradient is the sum over the windows that hold it.

    :math:`\delta_x[b, y, x, c] = \sum_{s_h i + u = y,\ s_w j + v = x} \delta_w[b, i, j, u, v, c]`

    Parameters
    ----------
    dw : array (batch, out_height, out_width, kh, kw, channels)
        Gradient of the windows.
    padded : tuple of int
        Shape (batch, height, width, channels) of the padded images.
    stride : pair of int

    Returns
    -------
    array, shape `padded`
        0 where no window reached.

    References
    ----------
    Section 4.2, backward: by the chain rule contributions add.
    """
    kh, kw = dw.shape[3:5]
    dx = np.zeros(padded, dw.dtype)
    for place, tap in enumerate(taps(dx, (kh, kw), stride)):
        tap += dw[:, :, :, place // kw, place % kw]
    return dx


class Geometry(NamedTuple):
    """Where the windows lie: (rows, columns) each.

    References
    ----------
    Section 4.2; the geometry of any convolution.
    """

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


def geometry_of(
    image: tuple[int, ...], kernel: tuple[int, ...], stride: Any, padding: Any
) -> Geometry:
    """Check sizes and work out where the windows lie.

    Parameters
    ----------
    image, kernel : pair of int
        Height and width.
    stride, padding : int or pair of int

    Returns
    -------
    Geometry

    Raises
    ------
    TypeError, ValueError
        As `pair` and `output_size`; also if there are too many windows to count.

    References
    ----------
    Section 4.2; the geometry of any convolution.
    """
    (H, W), (kh, kw) = image, kernel
    steps, borders = pair("stride", stride, 1), pair("padding", padding, 0)
    rows, columns = output_size((H, W), (kh, kw), steps, borders)
    if rows * columns > FAR:
        raise ValueError(f"padding: expected less than 2^31 windows, got {rows} x {columns}")
    return Geometry((H, W), (kh, kw), steps, borders, (rows, columns))
