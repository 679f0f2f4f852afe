"""Words and kernels: vectors of +1 and -1 as bits, and exact products of them (2.6, 5.2, 6).

Knows nothing of layers; needs NumPy, Numba and threadpoolctl only. Each kernel stands under a NumPy
twin named ``*_reference`` in its module, which is the place to start reading.
"""

from qnn_ref.bits.conv import pixels_conv, planes_conv, xnor_conv
from qnn_ref.bits.conv_gradients import (
    SignKernel,
    conv_input_gradient,
    conv_weight_gradient,
    pack_sign_kernel,
)
from qnn_ref.bits.gemm import xnor_matmul
from qnn_ref.bits.kernel_words import KernelPanels, outside_sums, pack_kernel, to_kernel_panels
from qnn_ref.bits.levels import fixed_matmul, levels_matmul, to_fixed_planes
from qnn_ref.bits.lookup import pixels_matmul, signs_matmul
from qnn_ref.bits.panels import Panels, SignMatrix, pack_panels, to_panels
from qnn_ref.bits.planes import pack_levels, pixel_planes, planes_matmul, to_planes
from qnn_ref.bits.powers import powers_matmul, to_powers
from qnn_ref.bits.repeated_filters import RepeatedKernel, repeated_conv
from qnn_ref.bits.words import pack, pack_thresholds, unpack, words_for

__all__ = [
    "KernelPanels",
    "Panels",
    "RepeatedKernel",
    "SignKernel",
    "SignMatrix",
    "conv_input_gradient",
    "conv_weight_gradient",
    "fixed_matmul",
    "levels_matmul",
    "outside_sums",
    "pack",
    "pack_kernel",
    "pack_levels",
    "pack_panels",
    "pack_sign_kernel",
    "pack_thresholds",
    "pixel_planes",
    "pixels_conv",
    "pixels_matmul",
    "planes_conv",
    "planes_matmul",
    "powers_matmul",
    "repeated_conv",
    "signs_matmul",
    "to_fixed_planes",
    "to_kernel_panels",
    "to_panels",
    "to_planes",
    "to_powers",
    "unpack",
    "words_for",
    "xnor_conv",
    "xnor_matmul",
]
__dir__ = __all__.copy
