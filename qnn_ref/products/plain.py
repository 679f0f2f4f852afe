"""The products of a layer as NumPy's `@`: what a student reads (Algorithm 1, lines 2, 8 and 9)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qnn_ref.parameter import Parameter

Array = NDArray[Any]

EXACT_IN_FLOAT32 = 2.0**24


class PlainProducts:
    """The products as NumPy's `@`: what a student reads, and what the fast ones must equal.

    Source
    ------
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

        Source
        ------
        Algorithm 1, line 1.
        """
        codes: Array = parameter.codes
        return codes.reshape(-1, codes.shape[-1])

    def kernel(self, parameter: Parameter) -> Any:
        """Weights of a convolution, in a form with products of its own.

        Parameters
        ----------
        parameter : Parameter
            Weights of shape (kh, kw, channels, units).

        Returns
        -------
        None
            There is none: every window becomes a row of `forward`.

        Source
        ------
        Algorithm 1, line 1.
        """
        return None

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

        Source
        ------
        Algorithm 1, line 2.
        """
        if x.dtype == np.float32 and EXACT_IN_FLOAT32 <= largest * w.shape[0] < np.inf:
            return (x.astype(np.float64) @ w.astype(np.float64)).astype(np.float32)
        return x @ w  # type: ignore[no-any-return]

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

        Source
        ------
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

        Source
        ------
        Algorithm 1, line 9.
        """
        return x.T @ dy


PLAIN = PlainProducts()
