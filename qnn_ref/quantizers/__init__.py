"""Real values to few bits, each with its straight-through gradient (sections 2.1-2.3 and 3)."""

from qnn_ref.grid import Encoding
from qnn_ref.quantizers.base import Quantizer
from qnn_ref.quantizers.gradients import DoReFaGradient, LinearGradient
from qnn_ref.quantizers.linear import LinearQuant
from qnn_ref.quantizers.logarithmic import LogQuant
from qnn_ref.quantizers.sign import (
    Sign,
    StochasticSign,
    hard_sigmoid,
    hard_sigmoid_backward,
    hard_tanh,
    hard_tanh_backward,
)

__all__ = [
    "DoReFaGradient",
    "Encoding",
    "LinearGradient",
    "LinearQuant",
    "LogQuant",
    "Quantizer",
    "Sign",
    "StochasticSign",
    "hard_sigmoid",
    "hard_sigmoid_backward",
    "hard_tanh",
    "hard_tanh_backward",
]
__dir__ = __all__.copy
