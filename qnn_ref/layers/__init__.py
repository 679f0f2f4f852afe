"""The layers, one a file: forward, and right under it backward."""

from qnn_ref.layers.activations import Flatten, HardTanh, Pixels, Quantize
from qnn_ref.layers.base import Layer
from qnn_ref.layers.branches import Auxiliary, Branches
from qnn_ref.layers.conv import Conv2D
from qnn_ref.layers.dense import Dense
from qnn_ref.layers.dropout import Dropout
from qnn_ref.layers.embedding import Embedding
from qnn_ref.layers.lstm import LSTM
from qnn_ref.layers.normalization import BatchNorm
from qnn_ref.layers.pooling import AveragePool2D, MaxPool2D
from qnn_ref.layers.rnn import RNN
from qnn_ref.layers.shift_normalization import ShiftBatchNorm
from qnn_ref.parameter import Parameter, glorot_scale

__all__ = [
    "LSTM",
    "RNN",
    "Auxiliary",
    "AveragePool2D",
    "BatchNorm",
    "Branches",
    "Conv2D",
    "Dense",
    "Dropout",
    "Embedding",
    "Flatten",
    "HardTanh",
    "Layer",
    "MaxPool2D",
    "Parameter",
    "Pixels",
    "Quantize",
    "ShiftBatchNorm",
    "glorot_scale",
]
__dir__ = __all__.copy
