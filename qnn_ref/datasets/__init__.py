"""Data sets as arrays of bytes: read from this machine, checked, and fetched on request.

>>> from qnn_ref import datasets
>>> digits = datasets.load("digits")
>>> digits.train_images.shape, digits.train_images.dtype
((1347, 8, 8, 1), dtype('uint8'))

Nothing here scales pixels for a network (`layers.Pixels` does) and nothing shuffles them;
`preprocessing` holds what a recipe may do to images before that.
Texts are read by `load_text`, and become tokens in `tokens.py`.
To add a set: a module with `find`, `read` and `verify` (see `examples.Reader`), its facts in
`known.py`, a line in `catalog.py`.
"""

from . import preprocessing, tokens
from .catalog import Listing, available, load, load_text, verify
from .download import fetch
from .examples import Check, Dataset, Examples
from .files import DataError
from .idx import read_idx
from .images import image_batches, read_images
from .places import is_checkout
from .text import TextData
from .tokens import TokenData, Vocabulary, tokenize
from .trained import find_model, models

__all__ = [
    "Check",
    "DataError",
    "Dataset",
    "Examples",
    "Listing",
    "TextData",
    "TokenData",
    "Vocabulary",
    "available",
    "fetch",
    "find_model",
    "image_batches",
    "is_checkout",
    "load",
    "load_text",
    "models",
    "preprocessing",
    "read_idx",
    "read_images",
    "tokenize",
    "tokens",
    "verify",
]
__dir__ = __all__.copy
