"""Where a layer stands when it is counted: sizes, format, training or not."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

from qnn_ref._typing import Shape
from qnn_ref.cost.operations import Format, Tally, tally
from qnn_ref.quantizers import LogQuant, Quantizer, Sign, StochasticSign


@dataclass(frozen=True)
class Site:
    """Where a layer stands, and how it is run.

    Parameters
    ----------
    shape, out : tuple of int
        Of one example, in and out.
    examples : int
        Images or sequences at a time.
    form : Format
        In which numbers.
    training : bool

    References
    ----------
    Section 5.
    """

    shape: Shape
    out: Shape
    examples: int
    form: Format
    training: bool

    @property
    def n(self) -> int:
        """Numbers that come in."""
        return self.examples * math.prod(self.shape)

    @property
    def m(self) -> int:
        """Numbers that go out."""
        return self.examples * math.prod(self.out)

    @property
    def quantized(self) -> bool:
        """Whether numbers are held in the bits of their quantizers."""
        return not self.form.bits

    def count(self, **counts: int) -> Tally:
        """Operations in the format of everything but products."""
        return tally(self.form.other, **counts)


def quantizer_tally(quantizer: Quantizer | None, n: int, site: Site, drawn: bool = False) -> Tally:
    """Operations that make n codes of n numbers.

    Parameters
    ----------
    quantizer : Quantizer or None
        Sign: a comparison. Powers of two: AP2, a shift, three comparisons. Others: a
        multiplication, an addition with its rounding, two comparisons (the clip).
    n : int
        Numbers.
    site : Site
    drawn : bool
        Whether a stochastic sign draws: its probability is a multiplication, an addition and a
        clip. The random numbers themselves are not counted.

    Returns
    -------
    Counter of Operation

    References
    ----------
    Eqs. (1) to (3); section 3.
    """
    if quantizer is None:
        return Counter()
    if isinstance(quantizer, StochasticSign) and drawn:
        return site.count(multiply=n, add=n, compare=3 * n)
    if isinstance(quantizer, Sign):
        return site.count(compare=n)
    if isinstance(quantizer, LogQuant):
        return site.count(AP2=n, shift=n, compare=3 * n)
    return site.count(multiply=n, add=n, compare=2 * n)
