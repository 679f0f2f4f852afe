"""Words and kernels: vectors of +1 and -1 as bits, and exact products of them (2.6, 5.2, 6).

Knows nothing of layers; needs NumPy and Numba only. Each kernel stands under a NumPy twin named
``*_reference`` in its module, which is the place to start reading.
"""

from qnn_ref.bits.gemm import Panels, to_panels, xnor_matmul, xnor_matmul_reference
from qnn_ref.bits.lookup import pixels_matmul, pixels_matmul_reference
from qnn_ref.bits.planes import pack_levels, pixel_planes, planes_matmul, to_planes
from qnn_ref.bits.words import pack, pack_bits, pack_thresholds, unpack, words_for

__all__ = [
    "Panels",
    "pack",
    "pack_bits",
    "pack_levels",
    "pack_thresholds",
    "pixel_planes",
    "pixels_matmul",
    "pixels_matmul_reference",
    "planes_matmul",
    "to_panels",
    "to_planes",
    "unpack",
    "words_for",
    "xnor_matmul",
    "xnor_matmul_reference",
]
