"""Types that all rooms write in their signatures."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[Any]
"""Its docstring says which shape, and which numbers where they are no floats."""

Words = NDArray[np.uint64]
"""Bits, 64 a word, as `bits.words` describes."""

Ints = NDArray[np.int32]
"""Sums and codes of a packed network."""

Shape = tuple[int, ...]
Pair = tuple[int, int]
"""Height and width."""

Loss = Callable[[Array, ArrayLike], tuple[float, Array]]
"""`(scores, labels) -> (loss, gradient of the scores)`."""
