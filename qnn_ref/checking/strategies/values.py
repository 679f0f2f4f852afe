"""Numbers, arrays, images, labels and sizes where code of quantized networks breaks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from qnn_ref._typing import Shape
from qnn_ref.checking import edges

Strategy = Any  # of hypothesis, which may not be installed


def hypothesis_modules() -> tuple[Any, Any]:
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
    """Strategy for finite floats: zeros, ones, `special_values` and any number, all as often.

    Parameters
    ----------
    dtype : dtype
    largest : float
        Largest magnitude.

    Returns
    -------
    strategy of float
    """
    bound = float(np.array(largest, dtype))  # largest itself may not be a float of this type
    ones = [v for v in (1.0, -1.0) if abs(v) <= bound]
    return _often([ones, special_values(dtype, bound)], dtype, bound)


def around(quantizer: Any, dtype: DTypeLike = np.float32, largest: float | None = None) -> Strategy:
    """Strategy for the floats where a quantizer, or a layer of one's own, is wrong if it is wrong.

    Zeros (0 and -0), bounds of the surrogate, thresholds, neighbours of all these, and any number:
    each of the five kinds comes as often.

    Parameters
    ----------
    quantizer : Quantizer, number or sequence of numbers
        Thresholds and bounds are found from its values, so another's object will do that has
        `encode(x) -> (codes, scale)` and `surrogate(x)`. Numbers are bounds themselves.
    dtype : dtype
    largest : float, optional
        Largest magnitude of any number; twice the largest bound or threshold, at least 2, if not
        given.

    Returns
    -------
    strategy of float

    Examples
    --------
    A test of one's own. Its mask forgets the bound itself, which is found within a few examples and
    shown on one element:

    >>> from hypothesis import find, given
    >>> from qnn_ref.quantizers import Sign
    >>> def wrong(x):
    ...     return (np.abs(x) < 1) != Sign().backward(np.ones_like(x), x)
    >>> @given(quantizer_inputs(Sign()))
    ... def test_my_mask(x):
    ...     assert not wrong(x).any()
    >>> try:
    ...     test_my_mask()
    ... except AssertionError:
    ...     print(find(quantizer_inputs(Sign()), lambda x: wrong(x).any()))
    [1.]
    """
    dtype = np.dtype(dtype)
    if hasattr(quantizer, "encode"):
        bends, jumps = edges.bounds(quantizer, dtype), edges.thresholds(quantizer, dtype)
    else:
        bends = np.atleast_1d(np.asarray(quantizer, dtype)).tolist()
        jumps = []
    bends = sorted(bends, key=lambda v: (abs(v), v < 0))  # the order in which to shrink
    far = max([1.0, *map(abs, bends), *map(abs, jumps)])
    bound = float(np.array(2 * far if largest is None else largest, dtype))
    near = edges.beside([0.0, *bends, *jumps], dtype)
    return _often([bends, jumps, near], dtype, bound)


def _often(kinds: Sequence[Sequence[float]], dtype: DTypeLike, bound: float) -> Strategy:
    """Zeros, each kind of numbers and any number, all as often; shrinking towards the first."""
    st, _ = hypothesis_modules()
    width = np.dtype(dtype).itemsize * 8
    within = [[v for v in kind if abs(v) <= bound] for kind in ([0.0, -0.0], *kinds)]
    lists = [st.sampled_from(kind) for kind in within if kind]
    return st.one_of(*lists, st.floats(-bound, bound, width=width))


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
    st, _ = hypothesis_modules()
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
    _, extra = hypothesis_modules()
    return extra.arrays(dtype, shape, elements=floats(dtype) if elements is None else elements)


def quantizer_inputs(
    quantizer: Any, shape: Shape | Strategy | None = None, dtype: DTypeLike = np.float32
) -> Strategy:
    """Strategy for arrays to give to a quantizer, full of the numbers that `around` draws.

    Parameters
    ----------
    quantizer : Quantizer, number or sequence of numbers
        As in `around`.
    shape : tuple of int, or a strategy of such, optional
        `shapes()` without it.
    dtype : dtype

    Returns
    -------
    strategy of array
    """
    return arrays(shapes() if shape is None else shape, dtype, around(quantizer, dtype))


def sequences(
    features: int | Strategy, dtype: DTypeLike = np.float32, longest: int = 5
) -> Strategy:
    """Strategy for batches of sequences, (batch, steps, features), one step among them.

    Parameters
    ----------
    features : int, or a strategy of such
        Features of a step.
    dtype : dtype
    longest : int
        Most examples, and most steps.

    Returns
    -------
    strategy of array
    """
    st, _ = hypothesis_modules()
    counts = st.just(features) if isinstance(features, int) else features
    size = st.integers(1, longest)
    return arrays(st.tuples(size, size, counts), dtype)


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
    st, extra = hypothesis_modules()
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
    st, extra = hypothesis_modules()
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
    st, extra = hypothesis_modules()
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
    st, _ = hypothesis_modules()
    edges = (1, 2, 3, 7, 8, 9, 31, 32, 33, 63, 64, 65, 100, 127, 128, 129, 191, 192, 193)
    return st.sampled_from([n for n in edges if n <= largest]) | st.integers(1, largest)


def seeds() -> Strategy:
    """Strategy for seeds; large random arrays come from a seed, because they do not shrink well."""
    st, _ = hypothesis_modules()
    return st.integers(0, 2**32 - 1)
