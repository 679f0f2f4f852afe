"""Hypothesis strategies for quantized networks: the values and sizes where such code breaks.

They need the extra `check` (`pip install "qnn-ref[check]"`); this module itself can be imported
without it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from qnn_ref._typing import Shape
from qnn_ref.layers import Dense
from qnn_ref.quantizers import Sign

Strategy = Any  # of hypothesis, which may not be installed


def _hypothesis() -> tuple[Any, Any]:
    """The modules `hypothesis.strategies` and `hypothesis.extra.numpy`."""
    try:
        import hypothesis.extra.numpy
        import hypothesis.strategies
    except ImportError as error:
        raise ImportError(
            'qnn_ref.checking.strategies needs hypothesis: pip install "qnn-ref[check]"'
        ) from error
    return hypothesis.strategies, hypothesis.extra.numpy


def special_values(dtype: DTypeLike = np.float32, largest: float = 4.0) -> list[float]:
    """Numbers where quantizers change their mind, in the order in which to shrink to them.

    0 and -0, +-1 and the floats beside them, halves (the ties of rounding), powers of two and
    sqrt(1/2) times them (the ties of AP2) with their neighbours, the smallest normal and subnormal
    numbers.

    Parameters
    ----------
    dtype : dtype
        Neighbours are those of this float type.
    largest : float
        Larger magnitudes are left out.

    Returns
    -------
    list of float
        Each one representable in `dtype`.
    """
    about = np.finfo(dtype)
    real: Callable[[float], Any] = about.dtype.type
    middles = [1.0, 0.5, 2.0, 0.25, 0.125, 4.0, 1 / 3, 2**0.5, 0.5**0.5]
    middles += [1.5, 2.5, 0.75, 0.375]
    near = [
        v
        for m in map(real, middles)
        for v in (m, np.nextafter(m, real(0)), np.nextafter(m, real(np.inf)))
    ]
    tiny = [about.smallest_normal, about.smallest_subnormal, about.eps]
    positive = [float(v) for v in [*near, *map(real, tiny)]]
    signed = [v for p in positive for v in (p, -p)]
    return [0.0, -0.0, *(v for v in signed if abs(v) <= largest)]


def floats(dtype: DTypeLike = np.float32, largest: float = 4.0) -> Strategy:
    """Strategy for finite floats of `dtype`, one half of them `special_values`.

    Parameters
    ----------
    dtype : dtype
    largest : float
        Largest magnitude.

    Returns
    -------
    strategy of float
    """
    st, _ = _hypothesis()
    bound = float(np.array(largest, dtype))  # largest itself may not be a float of this type
    width = np.dtype(dtype).itemsize * 8
    return st.sampled_from(special_values(dtype, bound)) | st.floats(-bound, bound, width=width)


def shapes(dimensions: int | tuple[int, int] = (1, 4), largest: int = 6) -> Strategy:
    """Strategy for shapes without empty axes; batches of one and single channels are among them.

    Parameters
    ----------
    dimensions : int or pair of int
        Number of axes, or its least and its largest value.
    largest : int
        Longest axis.

    Returns
    -------
    strategy of tuple of int
    """
    st, _ = _hypothesis()
    least, most = (dimensions, dimensions) if isinstance(dimensions, int) else dimensions
    return st.lists(st.integers(1, largest), min_size=least, max_size=most).map(tuple)


def arrays(
    shape: Shape | Strategy, dtype: DTypeLike = np.float32, elements: Strategy | None = None
) -> Strategy:
    """Strategy for float arrays, special values among their elements.

    Parameters
    ----------
    shape : tuple of int, or a strategy of such
    dtype : dtype
        float32 or float64.
    elements : strategy, optional
        Of the elements; `floats(dtype)` without it.

    Returns
    -------
    strategy of array
    """
    _, extra = _hypothesis()
    return extra.arrays(dtype, shape, elements=floats(dtype) if elements is None else elements)


def signs(shape: Shape | Strategy, dtype: DTypeLike = np.float32) -> Strategy:
    """Strategy for arrays of -1 and +1.

    Parameters
    ----------
    shape : tuple of int, or a strategy of such
    dtype : dtype

    Returns
    -------
    strategy of array
    """
    st, extra = _hypothesis()
    return extra.arrays(dtype, shape, elements=st.sampled_from([1, -1]))


def images(shape: Shape | Strategy) -> Strategy:
    """Strategy for uint8 images; 0, 127, 128 and 255 are frequent.

    Parameters
    ----------
    shape : tuple of int, or a strategy of such
        With the batch.

    Returns
    -------
    strategy of array of uint8
    """
    st, extra = _hypothesis()
    pixels = st.sampled_from([0, 255, 127, 128]) | st.integers(0, 255)
    return extra.arrays(np.uint8, shape, elements=pixels)


def labels(examples: int, classes: int) -> Strategy:
    """Strategy for integer labels.

    Parameters
    ----------
    examples : int
    classes : int

    Returns
    -------
    strategy of array (examples,) of int64
    """
    st, extra = _hypothesis()
    return extra.arrays(np.int64, (examples,), elements=st.integers(0, classes - 1))


def ragged_sizes(largest: int = 200) -> Strategy:
    """Strategy for lengths of packed vectors: 1, one word, and everything that fits no word.

    Parameters
    ----------
    largest : int

    Returns
    -------
    strategy of int
    """
    st, _ = _hypothesis()
    edges = (1, 2, 3, 7, 8, 9, 31, 32, 33, 63, 64, 65, 100, 127, 128, 129, 191, 192, 193)
    return st.sampled_from([n for n in edges if n <= largest]) | st.integers(1, largest)


def seeds() -> Strategy:
    """Strategy for seeds; large random arrays come from a seed, because they do not shrink well."""
    st, _ = _hypothesis()
    return st.integers(0, 2**32 - 1)


def dense_layers(dtype: DTypeLike = np.float64) -> Strategy:
    """Strategy for pairs of a built `Dense` layer and an input for it.

    Binary or float weights, some exactly at +-1; with or without bias; inputs of two or three axes.

    Parameters
    ----------
    dtype : dtype

    Returns
    -------
    strategy of (Dense, array (batch, ..., fan_in))
    """
    st, _ = _hypothesis()

    def build(
        shape: Shape, units: int, binary: bool, bias: bool, clipped: bool, seed: int
    ) -> tuple[Dense, Any]:
        rng = np.random.default_rng(seed)
        layer = Dense(units, Sign() if binary else None, bias)
        layer.build(shape[1:], rng, dtype=dtype)
        if clipped:
            layer.weight.assign(np.clip(3 * layer.weight.latent, -1, 1))
        if layer.bias is not None:
            layer.bias.assign(rng.normal(size=units))
        return layer, rng.normal(size=shape).astype(dtype)

    flag = st.booleans()
    return st.builds(build, shapes((2, 3), 5), st.integers(1, 5), flag, flag, flag, seeds())
