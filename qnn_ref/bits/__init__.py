"""Words and kernels: vectors of +1 and -1 as bits, and exact products of them (2.6, 5.2, 6).

Knows nothing of layers; needs NumPy and Numba only. Each kernel stands under a NumPy twin named
``*_reference`` in its module, which is the place to start reading.
"""

from qnn_ref.bits.conv import (
    pixels_conv,
    pixels_conv_reference,
    planes_conv,
    planes_conv_reference,
    xnor_conv,
    xnor_conv_reference,
)
from qnn_ref.bits.conv_gradients import (
    SignKernel,
    conv_input_gradient,
    conv_input_gradient_reference,
    conv_weight_gradient,
    conv_weight_gradient_reference,
    pack_sign_kernel,
)
from qnn_ref.bits.gemm import xnor_matmul, xnor_matmul_reference
from qnn_ref.bits.kernel_words import KernelPanels, outside_sums, pack_kernel, to_kernel_panels
from qnn_ref.bits.levels import (
    fixed_matmul,
    fixed_matmul_reference,
    grid_offset,
    join_planes,
    levels_matmul,
    levels_matmul_reference,
    to_fixed_planes,
)
from qnn_ref.bits.lookup import (
    pixels_matmul,
    pixels_matmul_reference,
    signs_matmul,
    signs_matmul_reference,
)
from qnn_ref.bits.panels import (
    Panels,
    SignMatrix,
    pack_panels,
    pack_panels_reference,
    to_panels,
)
from qnn_ref.bits.planes import pack_levels, pixel_planes, planes_matmul, to_planes
from qnn_ref.bits.powers import powers_matmul, powers_matmul_reference, to_powers
from qnn_ref.bits.words import pack, pack_bits, pack_thresholds, unpack, words_for

__all__ = [
    "KernelPanels",
    "Panels",
    "SignKernel",
    "SignMatrix",
    "conv_input_gradient",
    "conv_input_gradient_reference",
    "conv_weight_gradient",
    "conv_weight_gradient_reference",
    "fixed_matmul",
    "fixed_matmul_reference",
    "grid_offset",
    "join_planes",
    "levels_matmul",
    "levels_matmul_reference",
    "outside_sums",
    "pack",
    "pack_bits",
    "pack_kernel",
    "pack_levels",
    "pack_panels",
    "pack_panels_reference",
    "pack_sign_kernel",
    "pack_thresholds",
    "pixel_planes",
    "pixels_conv",
    "pixels_conv_reference",
    "pixels_matmul",
    "pixels_matmul_reference",
    "planes_conv",
    "planes_conv_reference",
    "planes_matmul",
    "powers_matmul",
    "powers_matmul_reference",
    "signs_matmul",
    "signs_matmul_reference",
    "to_fixed_planes",
    "to_kernel_panels",
    "to_panels",
    "to_planes",
    "to_powers",
    "unpack",
    "words_for",
    "xnor_conv",
    "xnor_conv_reference",
    "xnor_matmul",
    "xnor_matmul_reference",
]
