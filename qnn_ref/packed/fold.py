r"""Quantized batch norm of an integer sum as an integer compare (Algorithm 5).

:math:`\mathrm{Sign}(\mathrm{BN}(s))` is monotone in the integer s: it jumps once, or never. Where
it jumps is not computed from a formula, which would round differently in a quarter of the cases;
the *trained float code* is asked. A bisection over all possible sums, for all channels at once,
finds the exact jump, with ties and rounding as they are in training.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def find_thresholds(
    sign_of: Callable[[Array], Array], largest: int, channels: int
) -> tuple[Array, Array]:
    r"""Thresholds T and flips f: :math:`\mathrm{Sign}(a(s)) = +1 \iff (s \ge T) \oplus f`.

    A positive gain gives f = False and the smallest s with +1 as T; a negative gain turns the
    comparison: f = True, and T is the smallest s with -1. A gain of 0 makes the channel constant:
    T = -largest with f = False for +1, f = True for -1.

    Parameters
    ----------
    sign_of : function
        From whole numbers (channels,), int64, to the codes +-1 (channels,) that the trained layers
        give for these sums. Must be monotone in each channel.
    largest : int
        Largest magnitude of a sum: K times the largest product of two codes.
    channels : int
        Number of channels.

    Returns
    -------
    thresholds : array (channels,) of int32
    flip : array (channels,) of bool

    Raises
    ------
    ValueError
        If the sums do not fit 31 bits.

    Source
    ------
    Algorithm 5, Sign(BN(a)); section 2.6.
    """
    if largest >= 2**31:
        raise ValueError(f"largest: sums up to {largest} do not fit 31 bits")
    low = np.full(channels, -largest, np.int64)
    high = np.full(channels, largest, np.int64)
    at_low, at_high = sign_of(low), sign_of(high)
    constant = at_low == at_high
    # Invariant: the sign at `low` is that of the lower end, at `high` that of the upper end.
    while np.any(high - low > 1):
        middle = (low + high) // 2
        below = sign_of(middle) == at_low
        low = np.where(below, middle, low)
        high = np.where(below, high, middle)
    thresholds = np.where(constant, -largest, high)
    flip = np.where(constant, at_high < 0, at_high < at_low)
    return thresholds.astype(np.int32), flip
