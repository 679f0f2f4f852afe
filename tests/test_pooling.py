"""Pooling: one winner a window, the identity outside, sums on their grid, twins of the kernels."""

import math

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qnn_ref.checking import check_gradients
from qnn_ref.layers import AveragePool2D, MaxPool2D, Pixels
from qnn_ref.layers.pooling import (
    find_winners,
    find_winners_reference,
    give_winners,
    give_winners_reference,
    take_winners,
    take_winners_reference,
)
from qnn_ref.quantizers import Encoding, LinearQuant
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
    x[rng.random(shape) < draw(st.sampled_from([0, 0.1]))] = np.nan
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


@pytest.mark.parametrize(
    ("window", "winner"),
    [([[1, 2], [np.nan, 3]], 2), ([[np.nan, 2], [np.nan, 3]], 0), ([[5, np.nan], [9, 9]], 1)],
)
def test_a_nan_is_not_lost(window, winner):
    x = np.array(window, np.float32).reshape(1, 2, 2, 1)
    for find in (find_winners, find_winners_reference):
        assert find(x, (2, 2), (2, 2)).item() == winner
    assert np.isnan(MaxPool2D().build((2, 2, 1)).forward(x)).all()


@pytest.mark.slow_without_jit
def test_every_number_of_threads_gives_the_same_bytes():
    rng = np.random.default_rng(2)
    x = rng.integers(-2, 3, (9, 11, 10, 5)).astype(np.float32)
    before, seen = numba.get_num_threads(), set()
    try:
        for threads in {1, before}:
            numba.set_num_threads(threads)
            for _ in range(100):
                winners = find_winners(x, (3, 3), (1, 1))  # overlap: many windows share a pixel
                dy = np.linspace(-1, 1, winners.size, dtype=np.float32).reshape(winners.shape)
                y = take_winners(x, winners, (3, 3), (1, 1))
                dx = give_winners(dy, winners, x.shape, (3, 3), (1, 1))
                seen.add((winners.tobytes(), y.tobytes(), dx.tobytes()))
    finally:
        numba.set_num_threads(before)
    assert len(seen) == 1


@pytest.mark.parametrize("window", [[[1, 1], [1, 1]], [[1, 1], [-1, 1]]])
def test_the_gradient_of_a_tied_window_sums_to_one(window):
    layer = MaxPool2D().build((2, 2, 1))
    layer.forward(np.array(window, np.float32).reshape(1, 2, 2, 1), training=True)
    dx = layer.backward(np.ones((1, 1, 1, 1), np.float32))
    assert dx.ravel().tolist() == [1, 0, 0, 0]


@st.composite
def layers(draw):
    """Size, stride and padding of a pool, and an image that it fits."""
    size = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    stride = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    padding = tuple(draw(st.integers(0, k - 1)) for k in size)
    image = tuple(
        draw(st.integers(max(1, k - 2 * p), 6)) for k, p in zip(size, padding, strict=True)
    )
    return (size, stride, padding), image


@given(layers(), st.integers(0, 99))
def test_each_window_holds_a_pixel_and_the_border_takes_no_gradient(case, seed):
    options, image = case
    rng = np.random.default_rng(seed)
    layer = MaxPool2D(*options).build((*image, 2), dtype=np.float64)
    x = rng.integers(-3, 0, (2, *image, 2)).astype(float)  # a border of 0 would win
    y = layer.forward(x, training=True)
    assert np.isin(y, x).all()
    dy = rng.integers(-8, 9, y.shape).astype(float)
    dx = layer.backward(dy)
    np.testing.assert_array_equal(dx.sum(axis=(1, 2)), dy.sum(axis=(1, 2)))


@given(layers(), st.integers(0, 99))
@settings(max_examples=10)
def test_the_gradient_check_passes_for_any_geometry(case, seed):
    options, image = case
    rng = np.random.default_rng(seed)
    for pool in (MaxPool2D, AveragePool2D):
        layer, x = pool(*options).build((*image, 2)), rng.normal(size=(2, *image, 2))
        check_gradients(layer, x, rng=rng).raise_if_failed()
        check_gradients(layer, np.sign(x), rng=rng).raise_if_failed()  # ties


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
    ((1, 2), (3, 1), (0, 1)),  # pixels that no window reaches
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
    functional = torch.nn.functional
    for pool, function, options in (
        (MaxPool2D, functional.max_pool2d, (3, 2, 1)),
        (MaxPool2D, functional.max_pool2d, (3, 2, 0)),
        (AveragePool2D, functional.avg_pool2d, (3, 2, 1)),  # count_include_pad by default
        (AveragePool2D, functional.avg_pool2d, ((2, 3), (2, 1), (1, 0))),
    ):
        layer = pool(*options).build((7, 6, 3), dtype=np.float64)
        y = layer.forward(x, training=True)
        ty = function(tx, *options)
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
    for size, padding in ((2, 2), ((2, 3), (2, 2)), ((3, 2), (2, 2))):
        pool(3, 1, padding)
        with pytest.raises(ValueError, match="padding: expected less than the size"):
            pool(size, 1, padding)
    with pytest.raises(ValueError, match="size: expected one or two whole numbers from 1"):
        pool(0)
    with pytest.raises(ValueError, match="does not fit in an image"):
        pool(3).build((2, 2, 1))
    with pytest.raises(ValueError, match=r"input: expected \(height, width, channels\)"):
        pool(2).build((4,))


def test_a_window_with_more_places_than_a_winner_can_name_is_refused():
    with pytest.raises(ValueError, match="size: expected at most 65,536 places"):
        MaxPool2D((257, 256))
    x = np.zeros((1, 256, 256, 1), np.float32)
    x[0, -1, -1] = 1
    layer = MaxPool2D(256).build((256, 256, 1))
    assert layer.forward(x, training=True).item() == 1  # the last place of the largest window
    assert layer.backward(np.ones((1, 1, 1, 1), np.float32))[0, -1, -1] == 1


@given(layers(), st.sampled_from([0.1, -3.0, 1 / 3]))
def test_a_constant_image_stays_constant_without_a_border(case, value):
    (size, stride, padding), image = case
    x = np.full((1, *image, 1), value)
    layer = MaxPool2D(size, stride, padding).build((*image, 1), dtype=np.float64)
    assert (layer.forward(x) == value).all()
    size = tuple(min(pair) for pair in zip(size, image, strict=True))
    layer = AveragePool2D(size, stride).build((*image, 1), dtype=np.float64)
    np.testing.assert_allclose(layer.forward(x), value, rtol=1e-15)


def test_the_gradient_of_sums_is_that_of_sums_and_the_mean_divides_it():
    x, dy = np.ones((1, 2, 3, 1)), np.array([6.0, 12.0]).reshape(1, 1, 2, 1)
    for encoding, share in ((None, 4), (SIGNS, 1), (SIGNS.off_grid(), 1)):
        layer = AveragePool2D(2, 1).build((2, 3, 1), None, encoding, np.float64)
        y = layer.forward(x, training=True)
        assert y.ravel().tolist() == [4 / share, 4 / share]
        dx = layer.backward(dy)
        assert dx[0, :, :, 0].tolist() == 2 * [[6 / share, 18 / share, 12 / share]]


ENCODINGS = [
    SIGNS,
    Pixels().output_encoding(None),  # -255, -253, ..., 255
    Encoding(0.5, 0, 3, 1),
    Encoding(1.0, 2, 10, 4),  # 0, in the border, is no code
    Encoding(1.0, -9, -3, 3),
    *(
        LinearQuant(2, reading=reading).encoding
        for reading in ("fixed-point", "symmetric", "unsigned")
    ),
]


@given(
    st.sampled_from(ENCODINGS),
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
    if layer.padding == (0, 0):  # no grid could be narrower
        assert (sums[0] == grid.low).all()
        assert (sums[1] == grid.high).all()
    mean = AveragePool2D(*geometry).build((5, 6, 2), dtype=np.float64)
    np.testing.assert_allclose(sums * grid.scale, mean.forward(codes * encoding.scale), atol=1e-12)


def test_encodings_of_known_pools():
    assert MaxPool2D().output_encoding(SIGNS) == SIGNS
    assert AveragePool2D(2).output_encoding(SIGNS) == Encoding(1 / 4, -4, 4, 2)
    assert AveragePool2D(3, 1, 1).output_encoding(SIGNS) == Encoding(1 / 9, -9, 9, 1)
    pixels = Pixels().output_encoding(None)
    assert AveragePool2D(2).output_encoding(pixels) == Encoding(1 / 1020, -1020, 1020, 2)
    assert AveragePool2D(2, 1, 1).output_encoding(pixels) == Encoding(1 / 1020, -1020, 1020, 1)
    assert MaxPool2D(3, 1, 1).output_encoding(pixels) == pixels
    assert MaxPool2D().output_encoding(None) is None
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


@pytest.mark.parametrize("pool", [MaxPool2D, AveragePool2D])
def test_what_cannot_be_pooled_is_refused(pool):
    layer = pool().build((4, 6, 1))
    for x, error, words in (
        (np.ones((1, 6, 4, 1), np.float32), ValueError, r"x: expected shape \(batch, 4, 6, 1\)"),
        (np.ones((0, 4, 6, 1), np.float32), ValueError, "empty batch"),
        (np.ones((1, 4, 6, 1)), TypeError, "x: expected dtype float32"),
    ):
        with pytest.raises(error, match=words):
            layer.forward(x)
    layer.forward(np.ones((1, 4, 6, 1), np.float32), training=True)
    with pytest.raises(ValueError, match="dy: expected shape"):
        layer.backward(np.ones((1, 3, 2, 1), np.float32))
    with pytest.raises(TypeError, match="dy: expected dtype float32"):
        layer.backward(np.ones((1, 2, 3, 1)))


X = np.zeros((2, 3, 4, 1), np.float32)
WINNERS = np.zeros((2, 2, 2, 1), np.uint16)  # of windows of 2 x 2 every 1, 2 pixels


@pytest.mark.parametrize("twin", [False, True], ids=["kernel", "twin"])
@pytest.mark.parametrize(
    ("function", "arguments", "words"),
    [
        (find_winners, (X[0], (2, 2), (1, 2)), "padded: expected shape"),
        (find_winners, (X.astype(int), (2, 2), (1, 2)), "padded: expected"),
        (find_winners, (X, (2, 0), (1, 2)), "size: expected"),
        (find_winners, (X, (2**9, 2**8), (1, 2)), "size: expected at most 65,536"),
        (find_winners, (X, (2**16, 1), (1, 2)), "(?!size: expected at most)"),
        (find_winners, (X, (2, 2), (0, 2)), "stride: expected"),
        (find_winners, (X, (2, 2), (1, 2**31)), "stride: expected one or two whole numbers"),
        (find_winners, (X, (4, 2), (1, 2)), ".*does not fit"),
        (take_winners, (X[0], WINNERS, (2, 2), (1, 2)), "padded: expected shape"),
        (take_winners, (X, WINNERS[:1], (2, 2), (1, 2)), "winners: expected shape"),
        (take_winners, (X, WINNERS.astype(np.int16), (2, 2), (1, 2)), "winners: expected"),
        (take_winners, (X, WINNERS + np.uint16(4), (2, 2), (1, 2)), "winners: expected places"),
        (give_winners, (WINNERS, WINNERS, X.shape, (2, 2), (1, 2)), "dy: expected"),
        (give_winners, (X, WINNERS, X.shape, (2, 2), (1, 2)), "dy: expected shape"),
        (give_winners, (X[:, :2, :2], WINNERS, list(X.shape), (2, 2), (1, 2)), "shape: expected"),
        (give_winners, (X[:, :2, :2], WINNERS, X.shape[1:], (2, 2), (1, 2)), "shape: expected"),
        (give_winners, (X[:, :2, :2], WINNERS[:1], X.shape, (2, 2), (1, 2)), "winners: expected"),
        (
            give_winners,
            (X[:, :2, :2], WINNERS + np.uint16(4), X.shape, (2, 2), (1, 2)),
            "winners: expected places",
        ),
    ],
)
def test_what_are_no_images_or_winners_is_refused(function, arguments, words, twin):
    """Compiled code would read elsewhere; its twin says the same."""
    called = globals()[f"{function.__name__}_reference"] if twin else function
    with pytest.raises((TypeError, ValueError), match=f"^{words}"):
        called(*arguments)


@pytest.mark.parametrize("twin", [False, True], ids=["kernel", "twin"])
def test_the_largest_stride_and_the_last_place_are_taken(twin):
    called = {f.__name__: f for f in (find_winners, take_winners, find_winners_reference)}
    find = called["find_winners_reference" if twin else "find_winners"]
    assert find(X, (3, 4), (2**31 - 1, 2**31 - 1)).shape == (2, 1, 1, 1)
    take = take_winners_reference if twin else take_winners
    assert take(X, WINNERS + np.uint16(3), (2, 2), (1, 2)).shape == WINNERS.shape


def test_a_pool_shows_its_stride_where_it_is_not_the_size():
    assert repr(MaxPool2D(3)) == "MaxPool2D(3)"
    assert repr(MaxPool2D(3, 3)) == "MaxPool2D(3)"
    assert repr(MaxPool2D((3, 2), 2, 1)) == "MaxPool2D((3, 2), 2, 1)"
    assert repr(AveragePool2D(3, 2)) == "AveragePool2D(3, 2)"


def test_sums_of_numbers_off_the_grid_are_off_it():
    off = Encoding(0.5, -3, 3, 2).off_grid()
    assert AveragePool2D(2).output_encoding(off) == Encoding(0.125, -math.inf, math.inf, 0)
