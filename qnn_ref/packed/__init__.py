"""Algorithm 5: a trained network as bits and integers."""

from qnn_ref.packed.network import PackedNetwork, pack

__all__ = ["PackedNetwork", "pack"]
