"""Does a relaxed boundary help? Train, widen the bound of eq. (4), and train on (section 4.3).

The paper gains 1.5 points on AlexNet by it; neither the bound nor the number of epochs is known.
Here: the network of `bits-sweep`, five epochs and then five more, in which the activations pass the
gradient up to the bound 1 (nothing is widened), 1.5, 2, 4 or without a bound.
"""

from __future__ import annotations

from dataclasses import replace

from qnn_ref.experiments.bits_sweep import SMALL
from qnn_ref.experiments.recipe import Recipe
from qnn_ref.experiments.sweep import Sweep

BOUNDS = (1.0, 1.5, 2.0, 4.0, 1e9)


def case(bound: float) -> tuple[dict[str, str], Recipe]:
    """Labels of a bound, and its recipe."""
    labels = {"bound": f"{bound:g}" if bound < 1e9 else "none", "dataset": SMALL.dataset}
    return labels, replace(SMALL, retrain_epochs=5, retrain_saturation=bound)


RELAXED_BOUNDARY = Sweep(
    name="relaxed-boundary",
    about="train, widen the bound of the gradient's mask, train on (section 4.3), 15 runs",
    cases=[case(bound) for bound in BOUNDS],
)
