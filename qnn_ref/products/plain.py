"""The products of a layer as NumPy's `@`: what a student reads (Algorithm 1, lines 2, 8 and 9)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from qnn_ref._typing import Array
from qnn_ref.geometry import Geometry, add_windows, pad_images, windows
from qnn_ref.grid import Grid
from qnn_ref.parameter import Parameter, Unformed

EXACT_IN_FLOAT32 = 2.0**24

WINDOW_BYTES = 2**25
"""Windows are written out for some images at a time: about 32 MiB of them."""


class PlainProducts:
    """The products as NumPy's `@`: what a student reads, and what the fast ones must equal.

    References
    ----------
    Algorithm 1, lines 2, 8, 9.
    """

    def weights(self, parameter: Parameter) -> Any:
        """Weights in the form that these products read.

        Parameters
        ----------
        parameter : Parameter
            Weights of shape (..., units).

        Returns
        -------
        array (fan_in, units)
            Its codes.

        References
        ----------
        Algorithm 1, line 1.
        """
        codes: Array = parameter.codes
        return codes.reshape(-1, codes.shape[-1])

    def forward(self, x: Array, w: Any, largest: float = 0.0, signs: bool = False) -> Array:
        r"""Line 2: :math:`s = x\,w`, exact where both hold whole numbers.

        A sum of whole numbers is exact in float32 while it stays below 2^24. Beyond that the
        product is formed in float64 and rounded once.

        Parameters
        ----------
        x : array (batch, fan_in)
            Codes or real numbers.
        w : array (fan_in, units)
            Codes or real numbers of the same dtype.
        largest : float
            Largest magnitude of a product of two codes, 0 where one of them is not a whole number.
        signs : bool
            Whether `x` holds nothing but +1 and -1. Only products of bits make use of it.

        Returns
        -------
        array (batch, units), the dtype of `x`

        References
        ----------
        Algorithm 1, line 2.
        """
        if x.dtype == np.float32 and EXACT_IN_FLOAT32 <= largest * w.shape[0] < np.inf:
            return (x.astype(np.float64) @ w.astype(np.float64)).astype(np.float32)
        return x @ w  # type: ignore[no-any-return]

    def of_codes(
        self,
        x: Array,
        parameter: Parameter,
        grid: Grid | None,
        largest: float = 0.0,
        signs: bool = False,
    ) -> Array:
        """Line 2 for codes of a known grid, as the states of a recurrent layer are.

        Parameters
        ----------
        x : array (batch, fan_in)
            Codes of the grid; without one, real numbers.
        parameter : Parameter
            Weights of shape (fan_in, units).
        grid : Grid or None
        largest, signs : float, bool
            As in `forward`.

        Returns
        -------
        array (batch, units), the dtype of `x`

        References
        ----------
        Algorithm 1, line 2; section 3.
        """
        return self.forward(x, self.weights(parameter), largest, signs)

    def input_gradient(self, dy: Array, w: Any) -> Array:
        r"""Line 8: :math:`\delta_x = \delta_y\,w^\top`, with the quantized weights.

        Parameters
        ----------
        dy : array (batch, units)
            Gradient of the sums.
        w : array (fan_in, units)
            The weights that the forward product used.

        Returns
        -------
        array (batch, fan_in)

        References
        ----------
        Algorithm 1, line 8.
        """
        return dy @ w.T  # type: ignore[no-any-return]

    def weight_gradient(self, x: Array, dy: Array, signs: bool = False) -> Array:
        r"""Line 9: :math:`\delta_w = x^\top \delta_y`.

        Parameters
        ----------
        x : array (batch, fan_in)
            The input that the forward product used.
        dy : array (batch, units)
            Gradient of the sums.
        signs : bool
            As in `forward`.

        Returns
        -------
        array (fan_in, units)

        References
        ----------
        Algorithm 1, line 9.
        """
        return x.T @ dy

    def later_weight_gradient(self, x: Array, dy: Array, signs: bool = False) -> Array | Unformed:
        """Line 9, formed now or when it is wanted; who overrides `weight_gradient` sees to this.

        Parameters
        ----------
        x, dy, signs : array, array, bool
            As in `weight_gradient`; neither array is kept.

        Returns
        -------
        array (fan_in, units), or an Unformed one of that shape

        References
        ----------
        Algorithm 1, line 9.
        """
        return self.weight_gradient(x, dy, signs)

    def conv(
        self,
        x: Array,
        parameter: Parameter,
        geometry: Geometry,
        border: float = 0.0,
        largest: float = 0.0,
        signs: bool = False,
    ) -> Array:
        r"""Line 2 of a convolution: every window is a row of `forward`.

        :math:`s[b, i, j, n] = \sum_{u, v, c} x[b, s_h i + u - p_h, s_w j + v - p_w, c]\,w[u,v,c,n]`

        Parameters
        ----------
        x : array (batch, height, width, channels)
            Codes or real numbers.
        parameter : Parameter
            Weights of shape (kh, kw, channels, units).
        geometry : Geometry
            Where the windows lie.
        border : float
            What stands outside the images, in units of the codes.
        largest, signs : float, bool
            As in `forward`.

        Returns
        -------
        array (batch, out_height, out_width, units), the dtype of `x`

        References
        ----------
        Algorithm 1, line 2; section 4.2.
        """
        w = PlainProducts.weights(self, parameter)
        s = np.empty((len(x), *geometry.output, w.shape[1]), x.dtype)
        for part, rows in rows_of_windows(x, geometry, border):
            s[part] = self.forward(rows, w, largest).reshape(s[part].shape)
        return s

    def conv_input_gradient(
        self, dy: Array, parameter: Parameter, geometry: Geometry, signs: bool = False
    ) -> Array:
        """Line 8 of a convolution: the gradient of each window goes to the pixels that it covered.

        Parameters
        ----------
        dy : array (batch, out_height, out_width, units)
            Gradient of the sums.
        parameter : Parameter
            The weights that the forward product used.
        geometry : Geometry
        signs : bool
            As in `forward`.

        Returns
        -------
        array (batch, height, width, channels)
            0 where no window reached.

        References
        ----------
        Algorithm 1, line 8; section 4.2.
        """
        w = PlainProducts.weights(self, parameter)
        (high, wide), (rows, columns) = geometry.image, geometry.padding
        channels = parameter.shape[2]
        padded = np.empty((len(dy), high + 2 * rows, wide + 2 * columns, channels), dy.dtype)
        for part in parts_of(len(dy), geometry, w.shape[0] * dy.itemsize):
            drows = self.input_gradient(dy[part].reshape(-1, dy.shape[-1]), w)
            dw = drows.reshape(-1, *geometry.output, *geometry.kernel, channels)
            padded[part] = add_windows(dw, padded[part].shape, geometry.stride)
        return padded[:, rows : rows + high, columns : columns + wide]

    def conv_weight_gradient(
        self, x: Array, dy: Array, geometry: Geometry, border: float = 0.0, signs: bool = False
    ) -> Array:
        """Line 9 of a convolution: the sum over all windows.

        Parameters
        ----------
        x : array (batch, height, width, channels)
            The input that the forward product used.
        dy : array (batch, out_height, out_width, units)
            Gradient of the sums.
        geometry : Geometry
        border, signs : float, bool
            As in `conv`.

        Returns
        -------
        array (kh, kw, channels, units)

        References
        ----------
        Algorithm 1, line 9; section 4.2.
        """
        units = dy.shape[-1]
        dw = np.zeros((*geometry.kernel, x.shape[-1], units), x.dtype)
        for part, rows in rows_of_windows(x, geometry, border):
            dw += self.weight_gradient(rows, dy[part].reshape(-1, units)).reshape(dw.shape)
        return dw


def parts_of(batch: int, geometry: Geometry, row_bytes: int) -> Iterator[slice]:
    """Images whose windows are written out together.

    Parameters
    ----------
    batch : int
    geometry : Geometry
    row_bytes : int
        Size of one window.

    Returns
    -------
    iterator of slice
        Of the batch.

    References
    ----------
    Not in the paper: memory.
    """
    places = geometry.output[0] * geometry.output[1]
    step = max(1, WINDOW_BYTES // max(1, places * row_bytes))
    return (slice(i, min(i + step, batch)) for i in range(0, batch, step))


def rows_of_windows(x: Array, geometry: Geometry, border: float) -> Iterator[tuple[slice, Array]]:
    """All windows of images as rows, some images at a time.

    Parameters
    ----------
    x : array (batch, height, width, channels)
    geometry : Geometry
    border : float
        What stands outside the images.

    Returns
    -------
    iterator of pairs
        A slice of the batch, and its windows (places, kh * kw * channels).

    References
    ----------
    Section 4.2; the geometry of any convolution.
    """
    _, kernel, stride, padding, _ = geometry
    padded = pad_images(x, padding, border)
    fan_in = kernel[0] * kernel[1] * x.shape[-1]
    for part in parts_of(len(x), geometry, fan_in * x.itemsize):
        yield part, windows(padded[part], kernel, stride).reshape(-1, fan_in)


PLAIN = PlainProducts()
