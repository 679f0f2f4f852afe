"""The layers, one a file: forward, and right under it backward."""

from qnn_ref.layers.activations import Flatten, HardTanh, Pixels, Quantize
from qnn_ref.layers.base import Layer, Parameter, glorot_scale
from qnn_ref.layers.dense import Dense
from qnn_ref.layers.dropout import Dropout
from qnn_ref.layers.normalization import BatchNorm
from qnn_ref.layers.shift_normalization import ShiftBatchNorm

__all__ = [
    "BatchNorm",
    "Dense",
    "Dropout",
    "Flatten",
    "HardTanh",
    "Layer",
    "Parameter",
    "Pixels",
    "Quantize",
    "ShiftBatchNorm",
    "glorot_scale",
]
