"""Hypothesis strategies for quantized networks: the values and sizes where such code breaks.

They need the extra `check` (`pip install "qnn-ref[check]"`); this module itself can be imported
without it. A layer of one's own is tested in five lines, see `around`; `layers` and `networks` draw
whole ones of ours.
"""

from qnn_ref.checking.strategies.subjects import (
    KernelShape,
    batches,
    dense_layers,
    kernel_shapes,
    layers,
    networks,
    quantizers,
)
from qnn_ref.checking.strategies.values import (
    around,
    arrays,
    floats,
    images,
    labels,
    quantizer_inputs,
    ragged_sizes,
    seeds,
    sequences,
    shapes,
    signs,
    special_values,
)

__all__ = [
    "KernelShape",
    "around",
    "arrays",
    "batches",
    "dense_layers",
    "floats",
    "images",
    "kernel_shapes",
    "labels",
    "layers",
    "networks",
    "quantizer_inputs",
    "quantizers",
    "ragged_sizes",
    "seeds",
    "sequences",
    "shapes",
    "signs",
    "special_values",
]
