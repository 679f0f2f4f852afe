"""Algorithm 5: a trained network as bits and integers."""

from qnn_ref.packed.network import PackedNetwork
from qnn_ref.packed.packing import identical_scores, pack
from qnn_ref.packed.sequence import PackedSequence
from qnn_ref.packed.sequence_packing import identical_steps, pack_sequence

__all__ = [
    "PackedNetwork",
    "PackedSequence",
    "identical_scores",
    "identical_steps",
    "pack",
    "pack_sequence",
]
__dir__ = __all__.copy
