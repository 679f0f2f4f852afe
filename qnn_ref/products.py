"""The three matrix products of a layer (Algorithm 1, lines 2, 8 and 9).

A layer owns no matrix product: it asks an object with these three methods. The choice changes
the speed and nothing else.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qnn_ref.bits import pack, powers_matmul, to_powers
from qnn_ref.bits.powers import LARGEST_POWER

Array = NDArray[Any]

EXACT_IN_FLOAT32 = 2.0**24


class PlainProducts:
    """The products as NumPy's `@`: what a student reads, and what the fast ones must equal.

    Source
    ------
    Algorithm 1, lines 2, 8, 9.
    """

    def forward(self, x: Array, w: Array, largest: float = 0.0) -> Array:
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

        Returns
        -------
        array (batch, units), the dtype of `x`

        Source
        ------
        Algorithm 1, line 2.
        """
        if x.dtype == np.float32 and EXACT_IN_FLOAT32 <= largest * w.shape[0] < np.inf:
            return (x.astype(np.float64) @ w.astype(np.float64)).astype(np.float32)
        return x @ w

    def input_gradient(self, dy: Array, w: Array) -> Array:
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
        return dy @ w.T

    def weight_gradient(self, x: Array, dy: Array) -> Array:
        r"""Line 9: :math:`\delta_w = x^\top \delta_y`.

        Parameters
        ----------
        x : array (batch, fan_in)
            The input that the forward product used.
        dy : array (batch, units)
            Gradient of the sums.

        Returns
        -------
        array (fan_in, units)

        Source
        ------
        Algorithm 1, line 9.
        """
        return x.T @ dy


PLAIN = PlainProducts()


class ShiftProducts(PlainProducts):
    """Backward products of logarithmic gradients with +-1 by shifts and bit planes.

    Where the gradient holds zeros and powers of two and the other factor +-1, the sums are formed
    as integers, exactly, and rounded once. Everything else goes the plain way. It shows that no
    multiplication is needed; on a CPU it is slower than BLAS.

    Source
    ------
    Section 3, quantized gradients; Algorithm 1, lines 8 and 9.
    """

    def input_gradient(self, dy: Array, w: Array) -> Array:
        """Line 8 by shifts.

        Parameters
        ----------
        dy : array (batch, units)
        w : array (fan_in, units)

        Returns
        -------
        array (batch, fan_in)

        Source
        ------
        Algorithm 1, line 8; section 3.
        """
        product = shift_product(dy, w)
        return super().input_gradient(dy, w) if product is None else product

    def weight_gradient(self, x: Array, dy: Array) -> Array:
        """Line 9 by shifts.

        Parameters
        ----------
        x : array (batch, fan_in)
        dy : array (batch, units)

        Returns
        -------
        array (fan_in, units)

        Source
        ------
        Algorithm 1, line 9; section 3.
        """
        product = shift_product(dy.T, x.T)
        return super().weight_gradient(x, dy) if product is None else product.T


def shift_product(g: Array, signs: Array) -> Array | None:
    r"""Product :math:`g\,s^\top` of zeros and powers of two with signs, by shifts.

    Parameters
    ----------
    g : array (M, K)
        Gradients.
    signs : array (N, K)
        The other factor.

    Returns
    -------
    array (M, N), the dtype of `g`, or None
        None if `g` holds something else than zeros and powers of two within 40 octaves, or `signs`
        something else than +-1.

    Source
    ------
    Section 3, quantized gradients.
    """
    if not (np.abs(signs) == 1).all():
        return None
    mantissa, exponent = np.frexp(np.abs(g))
    occurring = exponent[g != 0]
    if occurring.size == 0:
        return np.zeros((len(g), len(signs)), g.dtype)
    lowest = int(occurring.min())
    if not (mantissa[g != 0] == 0.5).all() or int(occurring.max()) - lowest > LARGEST_POWER:
        return None
    codes = np.ldexp(g.astype(np.float64), 1 - lowest)
    sums = powers_matmul(*to_powers(codes), pack(signs), g.shape[1])
    return np.ldexp(sums.astype(np.float64), lowest - 1).astype(g.dtype)
