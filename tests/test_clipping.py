"""Gradients that are too long: one factor for all, nothing below the limit."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qnn_ref.layers import Parameter
from qnn_ref.optimizers import clip_by_norm, gradient_norm


def parameters(*gradients, dtype=np.float32):
    found = {}
    for number, gradient in enumerate(gradients):
        gradient = np.array(gradient, dtype)
        found[str(number)] = Parameter(np.zeros_like(gradient))
        found[str(number)].grad = gradient
    return found


@given(st.integers(0, 2**32), st.sampled_from([np.float32, np.float64]), st.floats(0.01, 100))
def test_all_gradients_are_shortened_by_one_factor(seed, dtype, limit):
    rng = np.random.default_rng(seed)
    before = [rng.normal(size=shape).astype(dtype) for shape in ((3, 4), (5,), ())]
    found = parameters(*before, dtype=dtype)
    norm = np.sqrt(sum(np.sum(g.astype(float) ** 2) for g in before))
    assert clip_by_norm(found, limit) == pytest.approx(norm, rel=1e-12)
    factor = min(1, limit / norm)
    for parameter, gradient in zip(found.values(), before, strict=True):
        assert parameter.grad.dtype == dtype
        np.testing.assert_allclose(parameter.grad, gradient * factor, rtol=1e-6)
        if norm <= limit:
            np.testing.assert_array_equal(parameter.grad, gradient)
    assert gradient_norm(found) <= max(limit, 0) * (1 + 1e-6) or norm <= limit


def test_at_the_limit_nothing_changes_to_the_bit():
    found = parameters([3.0, 4.0], [12.0])
    gradient = found["0"].grad
    assert clip_by_norm(found, 13.0) == 13
    assert found["0"].grad is gradient
    np.testing.assert_array_equal(gradient, [3, 4])
    clip_by_norm(found, np.nextafter(13.0, 0))
    assert found["0"].grad is not gradient


@pytest.mark.parametrize(
    ("gradient", "dtype"),
    [
        *(([3e20, 4e20], np.float32), ([3e200, 4e200], float)),
        *(([3e-30, 4e-30], np.float32), ([3e-200, 4e-200], float)),
    ],
)
def test_squares_that_leave_the_type_do_not_matter(gradient, dtype):
    found = parameters(gradient, dtype=dtype)
    length = 5 * gradient[0] / 3
    assert clip_by_norm(found, length / 5) == pytest.approx(length, rel=1e-6)
    np.testing.assert_allclose(found["0"].grad, np.array(gradient) / 5, rtol=1e-6)


def test_zeros_have_no_length():
    assert clip_by_norm(parameters([0.0, 0.0], np.zeros((0, 3))), 1.0) == 0
    assert clip_by_norm({}, 1.0) == 0


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_refused_and_nothing_changes(value):
    found = parameters([30.0, 40.0], [1.0, value])
    with pytest.raises(ValueError, match=r"^1: gradient: expected finite numbers"):
        clip_by_norm(found, 1.0)
    np.testing.assert_array_equal(found["0"].grad, [30, 40])


def test_a_length_beyond_float64_is_refused():
    found = parameters([1.7e308, 1.7e308], dtype=float)
    with pytest.raises(ValueError, match=r"^parameters: length of their gradients: expected a fin"):
        clip_by_norm(found, 1.0)


@pytest.mark.parametrize("limit", [0, -1.0, np.nan, np.inf, None, "1", True])
def test_a_limit_that_is_none_is_refused(limit):
    with pytest.raises((TypeError, ValueError), match=r"^limit: expected a finite number above 0"):
        clip_by_norm(parameters([1.0]), limit)


def test_gradients_that_are_missing_are_named():
    found = parameters([1.0], [2.0])
    found["1"].grad = None
    with pytest.raises(RuntimeError, match=r"^1: no gradient; call backward"):
        clip_by_norm(found, 1.0)
    with pytest.raises(TypeError, match=r"^parameters: expected"):
        clip_by_norm([found["0"]], 1.0)
    with pytest.raises(TypeError, match=r"^0: expected"):
        clip_by_norm({"0": np.ones(3)}, 1.0)
