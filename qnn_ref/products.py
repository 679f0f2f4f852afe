"""The three matrix products of a layer (Algorithm 1, lines 2, 8 and 9).

A layer owns no matrix product: it asks an object with these three methods. The choice changes
the speed and nothing else.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qnn_ref.bits import (
    SignMatrix,
    pack,
    pack_panels,
    powers_matmul,
    signs_matmul,
    to_powers,
    unpack,
    xnor_matmul,
)
from qnn_ref.bits.powers import LARGEST_POWER
from qnn_ref.bits.transpose import transposed

Array = NDArray[Any]

EXACT_IN_FLOAT32 = 2.0**24


class PlainProducts:
    """The products as NumPy's `@`: what a student reads, and what the fast ones must equal.

    Source
    ------
    Algorithm 1, lines 2, 8, 9.
    """

    def weights(self, parameter: Any) -> Any:
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

    def kernel(self, parameter: Any) -> Any:
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


class BitProducts(PlainProducts):
    r"""The products on packed bits: XNOR and popcount forward, table lookup backward.

    Where the weights are signs in float32, and there are enough of them, no product sees a float
    weight: they live as bits, in both directions, a sixteenth of the room of the floats.

    ================ =============================================================
    forward          signs times signs: XNOR, popcount (`xnor_matmul`), exact
    forward          real numbers or pixels times signs: lookup (`signs_matmul`)
    input gradient   real numbers times signs: lookup
    weight gradient  signs times real numbers: lookup
    ================ =============================================================

    The forward product of codes equals the plain one exactly, everything else up to the rounding
    of the additions. Whatever does not fit goes the plain way: other quantizers, float64, small
    layers, sums that are not exact in float32.

    Source
    ------
    Algorithm 1, lines 2, 8, 9; section 6.
    """

    least_weights = 2**17
    """Dense layers with fewer weights are multiplied plainly: packing costs more than it saves."""

    least_outputs = 64
    """Fewer outputs than this do not earn back the tables of a lookup."""

    def weights(self, parameter: Any) -> Any:
        """Weights as bits where they are signs and many, else their codes.

        Parameters
        ----------
        parameter : Parameter
            Weights of shape (..., units).

        Returns
        -------
        SignMatrix or array, of shape (fan_in, units)

        Source
        ------
        Algorithm 1, line 1.
        """
        signs = parameter.signs if parameter.size >= self.least_weights else None
        return super().weights(parameter) if signs is None else signs

    def kernel(self, parameter: Any) -> Any:
        """Weights of a convolution as bits where they are signs of many channels, else None.

        Parameters
        ----------
        parameter : Parameter
            Weights of shape (kh, kw, channels, units).

        Returns
        -------
        SignKernel or None
            For `xnor_conv`, `conv_input_gradient` and `conv_weight_gradient`.

        Source
        ------
        Algorithm 1, line 1.
        """
        return parameter.kernel if min(parameter.shape[2:]) >= self.least_outputs else None

    def forward(self, x: Array, w: Any, largest: float = 0.0, signs: bool = False) -> Array:
        """Line 2 on bits.

        Parameters
        ----------
        x : array (batch, fan_in)
            Codes or real numbers.
        w : SignMatrix or array, of shape (fan_in, units)
            What `weights` returned.
        largest : float
        signs : bool
            As in `PlainProducts.forward`.

        Returns
        -------
        array (batch, units), the dtype of `x`

        Source
        ------
        Algorithm 1, line 2; eq. (8).
        """
        if not isinstance(w, SignMatrix):
            return super().forward(x, w, largest, signs)
        fan_in, units = w.shape
        if signs and fan_in < EXACT_IN_FLOAT32:
            return xnor_matmul(pack(x), w.columns, fan_in).astype(x.dtype)
        if units < self.least_outputs or EXACT_IN_FLOAT32 <= largest * fan_in < np.inf:
            return super().forward(x, unpack(w.columns.to_words(), fan_in, x.dtype).T, largest)
        return transposed(signs_matmul(w.columns, transposed(x)))

    def input_gradient(self, dy: Array, w: Any) -> Array:
        """Line 8 by lookup.

        Parameters
        ----------
        dy : array (batch, units)
        w : SignMatrix or array, of shape (fan_in, units)

        Returns
        -------
        array (batch, fan_in)

        Source
        ------
        Algorithm 1, line 8.
        """
        if not isinstance(w, SignMatrix):
            return super().input_gradient(dy, w)
        return transposed(signs_matmul(w.rows, transposed(dy)))

    def weight_gradient(self, x: Array, dy: Array, signs: bool = False) -> Array:
        """Line 9 by lookup.

        Parameters
        ----------
        x : array (batch, fan_in)
        dy : array (batch, units)
        signs : bool
            Whether `x` holds nothing but +1 and -1.

        Returns
        -------
        array (fan_in, units)

        Source
        ------
        Algorithm 1, line 9.
        """
        fan_in, units = x.shape[1], dy.shape[1]
        few = fan_in < self.least_outputs or fan_in * units < self.least_weights
        if not signs or few or x.dtype != np.float32:
            return super().weight_gradient(x, dy, signs)
        return signs_matmul(pack_panels(x).columns, dy)


BITS = BitProducts()


class ShiftProducts(PlainProducts):
    """Backward products of logarithmic gradients with +-1 by shifts and bit planes.

    Where the gradient holds zeros and powers of two and the other factor +-1, the sums are formed
    as integers, exactly, and rounded once. Everything else goes the plain way. It shows that no
    multiplication is needed; on a CPU it is slower than BLAS.

    Source
    ------
    Section 3, quantized gradients; Algorithm 1, lines 8 and 9.
    """

    def input_gradient(self, dy: Array, w: Any) -> Array:
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

    def weight_gradient(self, x: Array, dy: Array, signs: bool = False) -> Array:
        """Line 9 by shifts.

        Parameters
        ----------
        x : array (batch, fan_in)
        dy : array (batch, units)
        signs : bool

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
