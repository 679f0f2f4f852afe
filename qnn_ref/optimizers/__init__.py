"""Update rules and learning-rate schedules, one rule a file (Algorithm 1, lines 10-12; 2.5).

Every rule ends in the same way: the step is multiplied by the parameter's learning-rate scale,
subtracted from the *latent* value, and the result is clipped to the parameter's bound (line 11).
"""

from qnn_ref.optimizers.adam import Adam, adam_update, adam_update_reference
from qnn_ref.optimizers.adamax import AdaMax, adamax_update, adamax_update_reference
from qnn_ref.optimizers.base import Optimizer, scaled_clipped_step
from qnn_ref.optimizers.schedules import ExponentialDecay, Halving
from qnn_ref.optimizers.sgd import SGD, sgd_update, sgd_update_reference
from qnn_ref.optimizers.shift_adamax import (
    ShiftAdaMax,
    shift_adamax_update,
    shift_adamax_update_reference,
)

__all__ = [
    "SGD",
    "AdaMax",
    "Adam",
    "ExponentialDecay",
    "Halving",
    "Optimizer",
    "ShiftAdaMax",
    "adam_update",
    "adam_update_reference",
    "adamax_update",
    "adamax_update_reference",
    "scaled_clipped_step",
    "sgd_update",
    "sgd_update_reference",
    "shift_adamax_update",
    "shift_adamax_update_reference",
]
