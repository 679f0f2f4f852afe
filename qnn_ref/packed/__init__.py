"""Algorithm 5: a trained network as bits and integers."""

from qnn_ref.packed.network import PackedNetwork
from qnn_ref.packed.packing import identical_scores, pack

__all__ = ["PackedNetwork", "identical_scores", "pack"]
__dir__ = __all__.copy
