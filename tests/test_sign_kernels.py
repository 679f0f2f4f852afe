"""Signs and their gradient in one pass: the bits of their NumPy twins."""

import numpy as np
import pytest

from qnn_ref.checks import NotFiniteError
from qnn_ref.quantizers import Sign, sign
from qnn_ref.quantizers.sign import (
    hard_tanh_backward,
    hard_tanh_backward_reference,
    sign_codes,
    sign_codes_reference,
)

EDGES = np.array(
    [0.0, -0.0, 1.0, -1.0, np.nextafter(np.float32(1), 0), np.nextafter(np.float32(1), 2)]
    + [5e-324, 1e-45, -1e-45, 3.4e38, -3.4e38, np.inf, -np.inf, 0.5, -0.5],
    np.float32,
)


@pytest.fixture(autouse=True, params=["as it is", "plain Python"])
def form(request, monkeypatch):
    """The kernels also as the Python that is compiled, whether Numba is on or off."""
    if request.param == "plain Python":
        fast = lambda x: type(x) is np.ndarray and x.dtype == np.float32  # noqa: E731
        monkeypatch.setattr(sign, "_is_fast", fast)
        for name in ("_sign_codes", "_hard_tanh_backward"):
            kernel = getattr(sign, name)
            monkeypatch.setattr(sign, name, getattr(kernel, "__wrapped__", kernel))
    with np.errstate(invalid="ignore"):  # compiled code does not warn
        yield


def same_bits(a, b):
    assert (a.shape, a.dtype) == (b.shape, b.dtype)
    assert a.tobytes() == b.tobytes()


def drawn(shape, dtype, seed):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=shape).astype(dtype)
    return np.where(rng.random(shape) < 0.3, rng.choice(EDGES, shape).astype(dtype), x)


SHAPES = [(), (0,), (1,), (7,), (3, 65), (2, 3, 4, 5), (4, 0, 3)]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", SHAPES)
def test_signs_are_those_of_the_twin(shape, dtype):
    x = drawn(shape, dtype, 0)
    same_bits(sign_codes(x), sign_codes_reference(x))
    same_bits(Sign().encode(x)[0], sign_codes_reference(x))
    same_bits(sign_codes(x.T), sign_codes_reference(x.T))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("saturation", [1.0, 0.7, 1e-50, np.inf, np.nextafter(1, 0), 2])
def test_gradients_are_those_of_the_twin(shape, dtype, saturation):
    """Infinite ones too: an infinite gradient behind the bound is 0, not NaN."""
    dy, x = drawn(shape, dtype, 1), drawn(shape, dtype, 2)
    same_bits(
        hard_tanh_backward(dy, x, saturation), hard_tanh_backward_reference(dy, x, saturation)
    )
    same_bits(
        hard_tanh_backward(dy.T, x.T, saturation),
        hard_tanh_backward_reference(dy.T, x.T, saturation),
    )


def test_a_zero_behind_the_bound_has_the_sign_of_the_gradient():
    dy, x = np.array([1, -1, np.inf, np.nan], np.float32), np.full(4, 2, np.float32)
    same_bits(hard_tanh_backward(dy, x), np.array([0, -0.0, 0, 0], np.float32))


@pytest.mark.parametrize("place", [0, 64, 999])
def test_a_sign_of_nan_is_refused_wherever_it_stands(place):
    x = np.ones((10, 100), np.float32)
    x.reshape(-1)[place] = np.nan
    with pytest.raises(NotFiniteError, match="x: 1 of 1000 values are NaN"):
        sign_codes(x)
    with pytest.raises(NotFiniteError, match="x: 1 of 1000 values are NaN"):
        Sign().encode(x)


def test_signs_of_nothing_but_nan_are_refused():
    with pytest.raises(NotFiniteError, match="x: 3 of 3 values are NaN"):
        sign_codes(np.full(3, np.nan, np.float32))


def test_what_does_not_fit_is_refused():
    x = np.ones((2, 3), np.float32)
    with pytest.raises(ValueError, match=r"dy: expected shape \(2, 3\)"):
        hard_tanh_backward(np.ones((3, 2), np.float32), x)
    for codes in (sign_codes, sign_codes_reference):
        with pytest.raises(TypeError, match="x: expected an array"):
            codes(np.ones(3, int))
        with pytest.raises(NotFiniteError, match="x: 1 of 2"):
            codes(np.array([1, np.nan]))
    for backward in (hard_tanh_backward, hard_tanh_backward_reference):
        with pytest.raises(TypeError, match="x: expected an array of real numbers"):
            backward(np.ones(2), np.ones(2, complex))
        for saturation in (0.0, -1.0, np.nan):
            with pytest.raises(ValueError, match=r"^saturation: "):
                backward(x, x, saturation)
        np.testing.assert_array_equal(backward(x, 1.5 * x), np.zeros((2, 3)))
