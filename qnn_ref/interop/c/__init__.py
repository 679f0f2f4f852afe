"""A packed network as one file of C99: tables of constants and one function, no library.

`program` holds the parts of such a file, `products` and `steps` what each step of the network is in
it. Everything but the scores is whole numbers, so the file gives the very scores on any processor.
"""

from qnn_ref.interop.c.writing import export

__all__ = ["export"]
__dir__ = __all__.copy
