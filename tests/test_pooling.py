"""Pooling: one winner a window, the identity outside, sums on their grid, twins of the kernels."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qnn_ref.layers import AveragePool2D, MaxPool2D
from qnn_ref.layers.pooling import (
    find_winners,
    find_winners_reference,
    give_winners,
    give_winners_reference,
    take_winners,
    take_winners_reference,
)
from qnn_ref.quantizers import Encoding
from tests.numeric import central_differences

SIGNS = Encoding(1.0, -1, 1, 2)


@st.composite
def pools(draw):
    """Integers with many ties, a window that fits, a stride."""
    size = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    stride = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    high, wide = (k + draw(st.integers(0, 4)) for k in size)
    shape = draw(st.integers(0, 3)), high, wide, draw(st.integers(1, 5))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    x = rng.integers(-1, 2, shape).astype(dtype)
    x[rng.random(shape) < 0.1] = -np.inf  # a border
    x[rng.random(shape) < 0.1] = -0.0
    return x, size, stride, rng


@given(pools())
def test_kernels_are_their_twins(case):
    x, size, stride, rng = case
    winners = find_winners(x, size, stride)
    assert winners.dtype == np.uint16
    assert (winners == find_winners_reference(x, size, stride)).all()
    y = take_winners(x, winners, size, stride)
    twin = take_winners_reference(x, winners, size, stride)
    assert y.dtype == twin.dtype == x.dtype
    assert y.tobytes() == twin.tobytes()
    dy = rng.integers(-8, 9, y.shape).astype(x.dtype)  # sums of whole numbers have no rounding
    dx = give_winners(dy, winners, x.shape, size, stride)
    assert (dx == give_winners_reference(dy, winners, x.shape, size, stride)).all()
    assert dx.sum() == dy.sum()


@pytest.mark.parametrize(
    ("window", "winner"),
    [([[1, 1], [1, 1]], 0), ([[-1, 1], [1, 1]], 1), ([[0.0, -0.0], [-1, 0]], 0)],
)
def test_of_equals_the_first_in_reading_order_wins(window, winner):
    x = np.array(window, np.float64).reshape(1, 2, 2, 1)
    for find in (find_winners, find_winners_reference):
        assert find(x, (2, 2), (2, 2)).item() == winner


@pytest.mark.parametrize("window", [[[1, 1], [1, 1]], [[1, 1], [-1, 1]]])
def test_the_gradient_of_a_tied_window_sums_to_one(window):
    layer = MaxPool2D().build((2, 2, 1))
    layer.forward(np.array(window, np.float32).reshape(1, 2, 2, 1), training=True)
    dx = layer.backward(np.ones((1, 1, 1, 1), np.float32))
    assert dx.ravel().tolist() == [1, 0, 0, 0]


def naive(x, size, stride, padding, border, of):
    """Pooling in plain loops over padded images."""
    (kh, kw), (down, right), (top, left) = size, stride, padding
    padded = np.pad(x, ((0, 0), (top, top), (left, left), (0, 0)), constant_values=border)
    rows = range(0, padded.shape[1] - kh + 1, down)
    columns = range(0, padded.shape[2] - kw + 1, right)
    return np.stack(
        [
            np.stack([of(padded[:, i : i + kh, j : j + kw], axis=(1, 2)) for j in columns], 1)
            for i in rows
        ],
        1,
    )


GEOMETRIES = [
    ((2, 2), (2, 2), (0, 0)),
    ((3, 3), (2, 2), (0, 0)),
    ((3, 3), (2, 2), (1, 1)),
    ((3, 3), (1, 1), (1, 1)),
    ((2, 3), (1, 2), (1, 0)),
]


@pytest.mark.parametrize(("size", "stride", "padding"), GEOMETRIES)
def test_pools_are_their_definition_forward_and_backward(size, stride, padding):
    rng = np.random.default_rng(0)
    x = rng.permutation(2.0 * 5 * 6 * 3 * np.arange(180)).reshape(2, 5, 6, 3) / 180  # no ties
    for layer, border, of in (
        (MaxPool2D(size, stride, padding), -np.inf, np.max),
        (AveragePool2D(size, stride, padding), 0, np.mean),
    ):
        layer.build((5, 6, 3), dtype=np.float64)
        y = layer.forward(x, training=True)
        np.testing.assert_allclose(y, naive(x, size, stride, padding, border, of), rtol=1e-13)
        assert (layer.forward(x) == y).all()
        dy = rng.normal(size=y.shape)
        dx = layer.backward(dy)
        numeric = central_differences(
            lambda z, of=of, border=border, dy=dy: float(
                np.vdot(dy, naive(z, size, stride, padding, border, of))
            ),
            x,
        )
        np.testing.assert_allclose(dx, numeric, atol=1e-6)


def test_torch_agrees():
    torch = pytest.importorskip(
        "torch", reason="PyTorch is the second oracle where it is installed"
    )
    rng = np.random.default_rng(1)
    x = rng.normal(size=(2, 7, 6, 3))
    tx = torch.tensor(x.transpose(0, 3, 1, 2).copy(), requires_grad=True)
    for layer, function in (
        (MaxPool2D(3, 2, 1), torch.nn.functional.max_pool2d),
        (AveragePool2D(3, 2, 1), torch.nn.functional.avg_pool2d),
    ):
        layer.build((7, 6, 3), dtype=np.float64)
        y = layer.forward(x, training=True)
        ty = function(tx, 3, 2, 1)
        np.testing.assert_allclose(y, ty.detach().numpy().transpose(0, 2, 3, 1), atol=1e-14)
        dy = rng.normal(size=y.shape)
        tx.grad = None
        ty.backward(torch.tensor(dy.transpose(0, 3, 1, 2).copy()))
        dx = tx.grad.numpy().transpose(0, 2, 3, 1)
        np.testing.assert_allclose(layer.backward(dy), dx, atol=1e-14)


def test_outside_is_the_identity_of_the_maximum():
    layer = MaxPool2D(3, 1, 1).build((2, 2, 1))
    assert (layer.forward(np.full((1, 2, 2, 1), -1, np.float32)) == -1).all()


@pytest.mark.parametrize("pool", [MaxPool2D, AveragePool2D])
def test_a_window_without_the_image_is_refused(pool):
    with pytest.raises(ValueError, match="padding: expected less than the size"):
        pool(2, 1, 2)
    with pytest.raises(ValueError, match="size: expected one or two whole numbers from 1"):
        pool(0)
    with pytest.raises(ValueError, match="does not fit in an image"):
        pool(3).build((2, 2, 1)).output_shape((2, 2, 1))


@given(
    st.sampled_from([SIGNS, Encoding(1 / 255, -255, 255, 2), Encoding(0.5, 0, 3, 1)]),
    st.sampled_from(GEOMETRIES),
    st.integers(0, 99),
)
def test_sums_of_codes_are_on_the_stated_grid_and_stand_for_the_mean(encoding, geometry, seed):
    rng = np.random.default_rng(seed)
    layer = AveragePool2D(*geometry).build((5, 6, 2), None, encoding, np.float64)
    grid = layer.output_encoding(encoding)
    count = int((encoding.high - encoding.low) / encoding.step)
    codes = encoding.low + encoding.step * rng.integers(0, count + 1, (3, 5, 6, 2)).astype(float)
    codes[0], codes[1] = encoding.low, encoding.high
    sums = layer.forward(codes)
    assert ((sums - grid.low) % grid.step == 0).all()
    assert grid.low <= sums.min()
    assert sums.max() <= grid.high
    mean = AveragePool2D(*geometry).build((5, 6, 2), dtype=np.float64)
    np.testing.assert_allclose(sums * grid.scale, mean.forward(codes * encoding.scale), atol=1e-12)


def test_encodings_of_known_pools():
    assert MaxPool2D().output_encoding(SIGNS) == SIGNS
    assert AveragePool2D(2).output_encoding(SIGNS) == Encoding(1 / 4, -4, 4, 2)
    assert AveragePool2D(3, 1, 1).output_encoding(SIGNS) == Encoding(1 / 9, -9, 9, 1)
    assert AveragePool2D(2).output_encoding(None) is None
    assert not AveragePool2D(2).output_encoding(SIGNS.off_grid()).on_grid
    assert math.isclose(AveragePool2D(2).output_encoding(SIGNS.off_grid()).scale, 1 / 4)


@pytest.mark.parametrize("pool", [MaxPool2D, AveragePool2D])
def test_float_type_stays_and_backward_needs_a_training_forward(pool):
    layer = pool().build((2, 2, 1))
    x = np.ones((1, 2, 2, 1), np.float32)
    assert layer.forward(x).dtype == np.float32
    with pytest.raises(RuntimeError, match="call forward"):
        layer.backward(np.ones((1, 1, 1, 1), np.float32))
    layer.forward(x, training=True)
    assert layer.backward(np.ones((1, 1, 1, 1), np.float32)).dtype == np.float32
