"""Reference implementation of *Quantized Neural Networks* (Hubara et al., arXiv 1609.07061).

The paper is the table of contents: the file of a section bears its subject, the function of an
equation its name. Data flow one way: images, layers, loss, gradients, optimizer, pack, words,
kernels, classes.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qnn_ref.network import Sequential
    from qnn_ref.packed import PackedNetwork, pack

__version__ = "0.1.0"

__all__ = ["PackedNetwork", "Sequential", "__version__", "pack"]

_HOMES = {
    "Sequential": "qnn_ref.network",
    "PackedNetwork": "qnn_ref.packed",
    "pack": "qnn_ref.packed",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: the command line sets threads before NumPy."""
    if name not in _HOMES:
        raise AttributeError(f"module 'qnn_ref' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
