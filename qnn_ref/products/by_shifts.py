"""Backward products by shifts, where gradients are powers of two (section 3)."""

from __future__ import annotations

from typing import Any

import numpy as np

from qnn_ref._typing import Array
from qnn_ref.bits import pack, powers_matmul, to_powers
from qnn_ref.bits.powers import LARGEST_POWER
from qnn_ref.products.plain import PlainProducts


class ShiftProducts(PlainProducts):
    """Backward products of logarithmic gradients with +-1 by shifts and bit planes.

    Where the gradient holds zeros and powers of two and the other factor +-1, the sums are formed
    as integers, exactly, and rounded once. Everything else goes the plain way. It shows that no
    multiplication is needed (notebook 08); on a CPU it is slower than BLAS.

    References
    ----------
    Section 3, quantized gradients; Algorithm 1, lines 8 and 9.
    """

    def input_gradient(self, dy: Array, w: Any) -> Array:
        """Line 8 by shifts."""
        product = shift_product(dy, w)
        return super().input_gradient(dy, w) if product is None else product

    def weight_gradient(self, x: Array, dy: Array, signs: bool = False) -> Array:
        """Line 9 by shifts."""
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

    References
    ----------
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
