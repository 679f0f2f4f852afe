"""What do shifts cost? Batch norm x optimizer x activations, on MNIST with a small network.

The paper says that shift-based batch norm and shift-based AdaMax lose no accuracy against batch
norm and ADAM (sections 2.4, 2.5). Here every combination is trained alike: 784-2x128-10, five
epochs, three seeds. Each rule has the learning rate of its recipe, none was tuned; the paper's
shift-based AdaMax also runs at the Torch recipe's larger rate, so that rule and rate can be told
apart.
"""

from __future__ import annotations

from itertools import product

from qnn_ref.experiments.recipe import NORMS, Recipe
from qnn_ref.experiments.sweep import Sweep

# Adam, AdaMax: the rate of the Theano recipe. Shift-based: the powers of two of the paper's
# Algorithm 4 and of the authors' Torch recipe.
OPTIMIZERS = (
    ("adam", 3e-3),
    ("adamax", 3e-3),
    ("shift-adamax", 2.0**-10),
    ("shift-adamax", 2.0**-6),
    ("shift-adamax-torch", 2.0**-6),
)
RATE_NAMES = {3e-3: "0.003", 2.0**-10: "2^-10", 2.0**-6: "2^-6"}


def case(
    norm: str, optimizer: tuple[str, float], activations: str
) -> tuple[dict[str, str], Recipe]:
    """Labels of a combination, and its recipe."""
    rule, rate = optimizer
    labels = {
        "norm": norm,
        "optimizer": rule,
        "rate": RATE_NAMES[rate],
        "activations": activations,
    }
    recipe = Recipe(
        name="ablation-shift",
        about="a run of the ablation",
        dataset="mnist",
        hidden=(128, 128),
        epochs=5,
        validation=10_000,
        initial_rate=rate,
        final_rate=rate / 32,
        norm=norm,
        rule=rule,
        stochastic=activations == "stochastic",
    )
    return labels, recipe


ABLATION_SHIFT = Sweep(
    name="ablation-shift",
    about="batch norm by shifts or not x optimizer x activations (sections 2.4, 2.5), 120 runs",
    cases=[case(*choice) for choice in product(NORMS, OPTIMIZERS, ("deterministic", "stochastic"))],
)
