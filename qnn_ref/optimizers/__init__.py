"""Update rules and learning-rate schedules, one rule a file (Algorithm 1, lines 10-12; 2.5).

Every rule ends in the same way: the step is multiplied by the parameter's learning-rate scale,
subtracted from the *latent* value, and the result is clipped to the parameter's bound (line 11).
"""

from qnn_ref.optimizers.adam import Adam
from qnn_ref.optimizers.adamax import AdaMax
from qnn_ref.optimizers.base import Optimizer
from qnn_ref.optimizers.clipping import clip_by_norm, gradient_norm
from qnn_ref.optimizers.schedules import ExponentialDecay, Halving
from qnn_ref.optimizers.sgd import SGD
from qnn_ref.optimizers.shift_adamax import ShiftAdaMax

__all__ = [
    "SGD",
    "AdaMax",
    "Adam",
    "ExponentialDecay",
    "Halving",
    "Optimizer",
    "ShiftAdaMax",
    "clip_by_norm",
    "gradient_norm",
]
__dir__ = __all__.copy
