"""Gradient checks of quantized layers, networks and losses.

`strategies` (hypothesis, extra `check`) is imported by name only: `qnn_ref.checking.strategies`.
"""

from qnn_ref.checking.gradients import check_gradients
from qnn_ref.checking.order import remainders
from qnn_ref.checking.report import Entry, GradientError, Kink, Report
from qnn_ref.checking.samples import SAMPLES, sample_checks
from qnn_ref.checking.torch_functions import torch_function

__all__ = [
    "SAMPLES",
    "Entry",
    "GradientError",
    "Kink",
    "Report",
    "check_gradients",
    "remainders",
    "sample_checks",
    "torch_function",
]
__dir__ = __all__.copy
