"""How many bits? Weights x activations of 1, 2, 3, 4 and 8 bits on MNIST, with a small network.

784-2x128-10, five epochs, three seeds, ADAM with the rates of `ablation-shift`. More than one bit
is symmetric LinearQuant; the paper's tables do not say which reading they used.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import product

from qnn_ref.experiments.recipe import Recipe
from qnn_ref.experiments.sweep import Sweep

BITS = (1, 2, 3, 4, 8)

SMALL = Recipe(
    name="small",
    about="a run of a sweep",
    dataset="mnist",
    hidden=(128, 128),
    epochs=5,
    validation=10_000,
    initial_rate=3e-3,
    final_rate=3e-3 / 32,
)


def case(weights: int, activations: int) -> tuple[dict[str, str], Recipe]:
    """Labels of a combination, and its recipe."""
    labels = {"activations": str(activations), "weights": str(weights)}
    return labels, replace(SMALL, weight_bits=weights, activation_bits=activations)


BITS_SWEEP = Sweep(
    name="bits-sweep",
    about="weights x activations in 1, 2, 3, 4, 8 bits (section 3), 75 runs",
    cases=[case(*bits) for bits in product(BITS, BITS)],
)
