"""Whole things to check: kernel shapes, quantizers, layers, networks with a batch.

All of them are drawn element by element, weights too, and shrink: a fault of one element is shown
on one element.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from qnn_ref._typing import Array, Pair, Shape
from qnn_ref.checking.strategies.values import (
    Strategy,
    around,
    arrays,
    floats,
    hypothesis_modules,
    images,
    labels,
    seeds,
    shapes,
)
from qnn_ref.layers import (
    LSTM,
    RNN,
    AveragePool2D,
    BatchNorm,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    HardTanh,
    Layer,
    MaxPool2D,
    Pixels,
    Quantize,
    ShiftBatchNorm,
)
from qnn_ref.network import Sequential
from qnn_ref.quantizers import LinearQuant, LogQuant, Quantizer, Sign, StochasticSign

Draw = Callable[[Strategy], Any]
MOST = 4  # examples, units, features: what is wrong is wrong in a small layer


class KernelShape(NamedTuple):
    """A window that fits into an image with its border; all are pairs (height, width)."""

    image: Pair
    kernel: Pair
    stride: Pair
    padding: Pair


def kernel_shapes(largest: int = 6) -> Strategy:
    """Strategy for the geometry of a convolution or a pool.

    Among them: one pixel, even kernels, kernels of the whole image, pixels that no window reaches,
    windows that lie outside the image.

    Parameters
    ----------
    largest : int
        Largest image.

    Returns
    -------
    strategy of KernelShape
    """
    st, _ = hypothesis_modules()

    @st.composite
    def drawn(draw: Draw) -> KernelShape:
        def one_way() -> tuple[int, int, int, int]:
            image, padding = draw(st.integers(1, largest)), draw(st.integers(0, 2))
            kernel = draw(st.integers(1, min(largest, image + 2 * padding)))
            return image, kernel, draw(st.integers(1, 3)), padding

        return KernelShape(*zip(one_way(), one_way(), strict=True))

    return drawn()


def quantizers(largest_bits: int = 4, deterministic: bool = False) -> Strategy:
    """Strategy for quantizers of activations, relaxed boundaries among them.

    Parameters
    ----------
    largest_bits : int
        From 2.
    deterministic : bool
        Leave out those that draw.

    Returns
    -------
    strategy of Quantizer
    """
    st, _ = hypothesis_modules()
    bits, wide = st.integers(1, largest_bits), st.sampled_from([1.0, 0.7, 2.0])
    many, ends = st.integers(2, largest_bits), st.sampled_from([1.0, 0.5, 3.0])
    linear = [
        st.builds(LinearQuant, numbers, high=ends, reading=st.just(reading), saturation=wide)
        for numbers, reading in ((bits, "symmetric"), (many, "fixed-point"), (bits, "unsigned"))
    ]
    log = st.builds(LogQuant, many, st.integers(-2, 2), saturation=wide)
    drawing = [] if deterministic else [st.builds(StochasticSign, wide)]
    return st.one_of(st.builds(Sign, wide), *linear, log, *drawing)


def layers(names: Sequence[str] | None = None, dtype: DTypeLike = np.float64) -> Strategy:
    """Strategy for pairs of a built layer and an input for it.

    Parameters
    ----------
    names : sequence of str, optional
        Of the layers, such as "Dense"; each that has a gradient of its input if not given.
    dtype : dtype
        float64 for gradient checks.

    Returns
    -------
    strategy of (Layer, array (batch, ...))

    Raises
    ------
    ValueError
        If there is no strategy for a name.

    Examples
    --------
    >>> from hypothesis import given, settings
    >>> from qnn_ref.checking import check_gradients
    >>> @settings(max_examples=5, deadline=None)
    ... @given(layers(["Dense", "Quantize"]))
    ... def test_layers(pair):
    ...     check_gradients(*pair, rng=np.random.default_rng(0)).raise_if_failed()
    >>> test_layers()
    """
    st, _ = hypothesis_modules()
    wanted = list(LAYERS) if names is None else list(names)
    unknown = [name for name in wanted if name not in LAYERS]
    if unknown or not wanted:
        raise ValueError(f"names: expected some of {', '.join(LAYERS)}, got {wanted}")

    @st.composite
    def drawn(draw: Draw) -> tuple[Layer, Array]:
        return LAYERS[draw(st.sampled_from(wanted))](draw, np.dtype(dtype))

    return drawn()


def dense_layers(dtype: DTypeLike = np.float64) -> Strategy:
    """Strategy for pairs of a built `Dense` layer and an input for it.

    Binary, quantized or float weights, some exactly at +-1; with or without bias; inputs of two or
    three axes.

    Parameters
    ----------
    dtype : dtype

    Returns
    -------
    strategy of (Dense, array (batch, ..., fan_in))
    """
    return layers(["Dense"], dtype)


def batches(
    input_shape: Shape, classes: int, dtype: DTypeLike = np.uint8, largest: int = MOST
) -> Strategy:
    """Strategy for a batch and its labels; a batch of one and one class only are among them.

    Parameters
    ----------
    input_shape : tuple of int
        Of one example.
    classes : int
    dtype : dtype
        uint8 for images, or float32 or float64.
    largest : int
        Most examples.

    Returns
    -------
    strategy of (array (batch, *input_shape), array (batch,) of int64)
    """
    st, _ = hypothesis_modules()
    pixels = np.dtype(dtype) == np.uint8

    def of_size(count: int) -> Strategy:
        shape = (count, *input_shape)
        x = images(shape) if pixels else arrays(shape, dtype)
        return st.tuples(x, labels(count, classes))

    return st.integers(1, largest).flatmap(of_size)


def networks(dtype: DTypeLike = np.float64) -> Strategy:
    """Strategy for small networks with a batch: dense or convolutional, of one or two blocks.

    A block is a product, a batch norm and a quantized activation, as in Algorithm 1.

    Parameters
    ----------
    dtype : dtype

    Returns
    -------
    strategy of (Sequential, array (batch, ...), array (batch,) of int64)
    """
    st, _ = hypothesis_modules()

    @st.composite
    def drawn(draw: Draw) -> tuple[Sequential, Array, Array]:
        pixels, spatial = draw(st.booleans()), draw(st.booleans())
        classes, shape = draw(st.integers(2, 3)), (4, 3, 2) if spatial else (3,)
        row: list[Layer] = [Pixels()] if pixels else []
        if spatial:
            row += [Conv2D(2, padding=1), MaxPool2D(), *_block_end(draw), Flatten()]
        for _ in range(draw(st.integers(0, 1))):
            row += [Dense(draw(st.integers(1, MOST))), *_block_end(draw)]
        rng = np.random.default_rng(draw(seeds()))
        network = Sequential([*row, Dense(classes, bias=True)], shape, rng, dtype)
        _draw_weights(draw, network.parameters())
        return network, *draw(batches(shape, classes, np.uint8 if pixels else dtype))

    return drawn()


def _block_end(draw: Draw) -> list[Layer]:
    st, _ = hypothesis_modules()
    norm = draw(st.sampled_from([BatchNorm, ShiftBatchNorm]))()
    return [norm, Quantize(draw(quantizers()))]


def _draw_weights(draw: Draw, parameters: dict[str, Any]) -> None:
    """Values of everything that is trained; those that are clipped are often at the clip."""
    for parameter in parameters.values():
        elements = floats(parameter.dtype, min(parameter.bound, 2.0))
        parameter.assign(draw(arrays(parameter.shape, parameter.dtype, elements)))


def _weight_quantizer(draw: Draw) -> Quantizer | None:
    st, _ = hypothesis_modules()
    return draw(st.sampled_from([Sign(), None, LinearQuant(2), LogQuant(3)]))


def _built(draw: Draw, layer: Layer, shape: Shape, dtype: Any) -> tuple[Layer, Array]:
    """A layer with drawn weights, and an input of `shape` with the batch."""
    layer.build(shape[1:], np.random.default_rng(draw(seeds())), dtype=dtype)
    _draw_weights(draw, layer.parameters())
    return layer, draw(arrays(shape, dtype))


def _dense(draw: Draw, dtype: Any) -> tuple[Layer, Array]:
    st, _ = hypothesis_modules()
    units, bias = draw(st.integers(1, MOST)), draw(st.booleans())
    layer = Dense(units, _weight_quantizer(draw), bias)
    return _built(draw, layer, draw(shapes((2, 3), MOST)), dtype)


def _image(draw: Draw, place: KernelShape) -> Shape:
    st, _ = hypothesis_modules()
    return draw(st.integers(1, 2)), *place.image, draw(st.integers(1, 2))


def _conv(draw: Draw, dtype: Any) -> tuple[Layer, Array]:
    st, _ = hypothesis_modules()
    place = draw(kernel_shapes(MOST))
    layer = Conv2D(
        draw(st.integers(1, 2)),
        place.kernel,
        stride=place.stride,
        padding=place.padding,
        weight_quantizer=_weight_quantizer(draw),
        bias=draw(st.booleans()),
        one_padding=draw(st.booleans()),
    )
    return _built(draw, layer, _image(draw, place), dtype)


def _pool(kind: Callable[..., Layer]) -> Callable[[Draw, Any], tuple[Layer, Array]]:
    def drawn(draw: Draw, dtype: Any) -> tuple[Layer, Array]:
        place = draw(kernel_shapes(MOST))
        padding = tuple(min(p, k - 1) for p, k in zip(place.padding, place.kernel, strict=True))
        # A smaller border may leave less than one window.
        kernel = tuple(
            min(k, n + 2 * p) for k, n, p in zip(place.kernel, place.image, padding, strict=True)
        )
        padding = tuple(min(p, k - 1) for p, k in zip(padding, kernel, strict=True))
        return _built(draw, kind(kernel, place.stride, padding), _image(draw, place), dtype)

    return drawn


def _norm(kind: Callable[..., Layer]) -> Callable[[Draw, Any], tuple[Layer, Array]]:
    def drawn(draw: Draw, dtype: Any) -> tuple[Layer, Array]:
        return _built(draw, kind(), draw(shapes((2, 4), MOST)), dtype)

    return drawn


def _quantize(draw: Draw, dtype: Any) -> tuple[Layer, Array]:
    quantizer, shape = draw(quantizers()), draw(shapes((2, 4), MOST))
    layer, _ = _built(draw, Quantize(quantizer), shape, dtype)
    return layer, draw(arrays(shape, dtype, around(quantizer, dtype)))


def _hard_tanh(draw: Draw, dtype: Any) -> tuple[Layer, Array]:
    st, _ = hypothesis_modules()
    bound, shape = draw(st.sampled_from([1.0, 0.7, 2.0])), draw(shapes((2, 4), MOST))
    layer, _ = _built(draw, HardTanh(bound), shape, dtype)
    return layer, draw(arrays(shape, dtype, around([bound, -bound], dtype)))


def _dropout(draw: Draw, dtype: Any) -> tuple[Layer, Array]:
    st, _ = hypothesis_modules()
    layer = Dropout(draw(st.sampled_from([0.5, 0.0, 0.2])))
    return _built(draw, layer, draw(shapes((2, 4), MOST)), dtype)


def _rnn(draw: Draw, dtype: Any) -> tuple[Layer, Array]:
    st, _ = hypothesis_modules()
    activation = draw(st.sampled_from(["tanh", "relu"]))
    layer = RNN(draw(st.integers(1, 2)), _weight_quantizer(draw), _of_state(draw), activation)
    return _built(draw, layer, draw(shapes((3, 3), MOST)), dtype)


def _lstm(draw: Draw, dtype: Any) -> tuple[Layer, Array]:
    st, _ = hypothesis_modules()
    layer = LSTM(draw(st.integers(1, 2)), _weight_quantizer(draw), _of_state(draw))
    return _built(draw, layer, draw(shapes((3, 3), MOST)), dtype)


def _of_state(draw: Draw) -> Quantizer | None:
    st, _ = hypothesis_modules()
    return draw(st.none() | quantizers())


def _flatten(draw: Draw, dtype: Any) -> tuple[Layer, Array]:
    return _built(draw, Flatten(), draw(shapes((2, 4), MOST)), dtype)


LAYERS: dict[str, Callable[[Draw, Any], tuple[Layer, Array]]] = {
    "Dense": _dense,
    "Conv2D": _conv,
    "MaxPool2D": _pool(MaxPool2D),
    "AveragePool2D": _pool(AveragePool2D),
    "BatchNorm": _norm(BatchNorm),
    "ShiftBatchNorm": _norm(ShiftBatchNorm),
    "Quantize": _quantize,
    "HardTanh": _hard_tanh,
    "Dropout": _dropout,
    "Flatten": _flatten,
    "RNN": _rnn,
    "LSTM": _lstm,
}
"""One function for each layer: how it and its input are drawn."""
