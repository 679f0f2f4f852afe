"""Does only the logarithm work for gradients? 2 to 8 bits, logarithmic and with equal steps.

The network of `bits-sweep` with weights and activations of one bit. The paper says that gradients
need the logarithmic form, and that 6 bits suffice. "none" is the real gradient, with one row.
"""

from __future__ import annotations

from dataclasses import replace

from qnn_ref.experiments.bits_sweep import SMALL
from qnn_ref.experiments.recipe import Recipe
from qnn_ref.experiments.sweep import Sweep

RULES = ("log", "log-stochastic", "linear", "dorefa")
BITS = range(2, 9)


def case(rule: str, bits: int) -> tuple[dict[str, str], Recipe]:
    """Labels of a combination, and its recipe."""
    labels = {"bits": str(bits) if bits else "32", "rule": rule}
    if not bits:
        return labels, SMALL
    return labels, replace(SMALL, gradient_bits=bits, gradient_rule=rule)


GRADIENT_BITS = Sweep(
    name="gradient-bits",
    about="gradients of 2 to 8 bits, logarithmic and linear (section 3), 87 runs",
    cases=[case("none", 0), *(case(rule, bits) for rule in RULES for bits in BITS)],
)
