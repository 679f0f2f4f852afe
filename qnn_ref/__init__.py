"""Reference implementation of *Quantized Neural Networks* (Hubara et al., arXiv 1609.07061).

The paper is the table of contents: the file of a section bears its subject, the function of an
equation its name. Data flow one way: images, layers, loss, gradients, optimizer, pack, words,
kernels, classes.
"""

from qnn_ref.network import Sequential
from qnn_ref.packed import PackedNetwork, pack

__version__ = "0.1.0"

__all__ = ["PackedNetwork", "Sequential", "__version__", "pack"]
