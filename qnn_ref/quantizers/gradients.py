"""Quantizers of gradients beside LogQuant, for comparison (section 3, quantized gradients).

The paper quantizes gradients with `LogQuant(6, exponent=None)`: only the logarithmic form is said
to work. These two have equal steps. The range of all of them comes from the data.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from qnn_ref._typing import Array
from qnn_ref.checks import whole
from qnn_ref.quantizers.base import Quantizer, as_real, check_noise, check_rng
from qnn_ref.quantizers.linear import LARGEST_BITS, round_half_up


@dataclass(frozen=True, repr=False)
class LinearGradient(Quantizer):
    r"""Equal steps up to the largest gradient of the tensor, with a zero.

    With n = 2^(k-1) - 1 and M = max abs(x): codes round(n x / M), from -n to n; scale M / n. An
    all-zero tensor stays zero, and so does one whose scale is below the normal numbers.

    Parameters
    ----------
    bits : int
        From 2.

    References
    ----------
    Section 3: the linear form that is said not to work for gradients; this symmetric one is ours.
    """

    bits: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "bits", whole("bits", self.bits, 2, LARGEST_BITS))

    def encode(self, x: Array, noise: Array | None = None) -> tuple[Array, float]:
        x = as_real(x)
        largest = float(np.abs(x).max(initial=0))  # if infinite, refused where it is rounded
        n = 2 ** (self.bits - 1) - 1
        scale = largest / n
        # No step below the normal numbers: the scale would be rounded, to 0 at last.
        if scale < np.finfo(x.dtype).smallest_normal:
            return np.zeros_like(x), 1.0
        mantissa, exponent = np.frexp(largest)  # n x might overflow
        return round_half_up(np.ldexp(x, -exponent), n, mantissa, 0.5, -n, n), scale


@dataclass(frozen=True, repr=False)
class DoReFaGradient(Quantizer):
    r"""DoReFa's gradients: a range for each example, and noise before the rounding.

    With n = 2^k - 1, M = max abs(x) of the example, and N uniform in +-1/(2n):
    :math:`2M\,[Q(\frac{x}{2M} + \frac12 + N) - \frac12]`, Q rounding to multiples of 1/n in [0, 1].
    Codes are the odd (or even) numbers -n, -n + 2, ..., n; the scale M/n is one for each example.

    Parameters
    ----------
    bits : int
        From 1.

    References
    ----------
    Section 3, DoReFa for comparison (its formula from memory of that paper).
    """

    bits: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "bits", whole("bits", self.bits, 1, LARGEST_BITS))

    def draw(self, shape: tuple[int, ...], rng: np.random.Generator | None) -> Array:
        return check_rng(rng, "DoReFaGradient").random(shape) - 0.5

    def encode_rows(self, x: Array, noise: Array | None = None) -> tuple[Array, Array]:
        """Codes, and a scale (batch, 1, ...) for each example; without noise it rounds."""
        x = as_real(x)
        n = 2**self.bits - 1
        axes = tuple(range(1, x.ndim))
        largest = np.abs(x).max(axis=axes, keepdims=True, initial=0)
        if not np.isfinite(largest).all():
            raise ValueError("x: expected finite numbers, since the range is taken from them")
        safe = np.where(largest > 0, largest, 1).astype(x.dtype)
        half = x.dtype.type(0.5)
        levels = n * (half * (x / safe) + half)
        if noise is not None:
            levels = levels + check_noise(noise, x).astype(x.dtype)
        codes = 2 * np.clip(np.floor(levels + half), 0, n) - n
        return np.where(largest > 0, codes, 0).astype(x.dtype), (safe / n).astype(x.dtype)

    def quantize(self, x: Array, noise: Array | None = None) -> Array:
        codes, scale = self.encode_rows(x, noise)
        return codes * scale
