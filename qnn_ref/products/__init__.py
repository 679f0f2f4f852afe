"""The products of a layer (Algorithm 1, lines 2, 8 and 9): plain, by bits, by shifts.

A layer owns no product: it asks an object with these methods. The choice changes the speed and
nothing else.
"""

from qnn_ref.products.by_bits import BITS, BitProducts
from qnn_ref.products.by_shifts import ShiftProducts
from qnn_ref.products.plain import PLAIN, PlainProducts

__all__ = ["BITS", "PLAIN", "BitProducts", "PlainProducts", "ShiftProducts"]
__dir__ = __all__.copy
