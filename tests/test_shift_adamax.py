"""Shift-based AdaMax: Algorithm 4, the Torch variant, compiled and plain, and schedules."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qnn_ref.layers import Parameter
from qnn_ref.optimizers import AdaMax, Halving, ShiftAdaMax
from qnn_ref.optimizers.shift_adamax import shift_adamax_update, shift_adamax_update_reference
from qnn_ref.shifts import ap2
from tests.oracles import shift as oracle

DTYPES = [np.float32, np.float64]
EDGES = [0.0, -0.0, 1.0, -1.0, 2.0**-126, 1e-45, -1e-40, 3e-39, 2.0**0.5, 3e38, -3e38, 1e-30]


def values(width):
    return st.one_of(st.sampled_from(EDGES), st.floats(-4, 4, width=width))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("torch", [False, True], ids=["paper", "torch"])
@given(data=st.data(), size=st.integers(0, 40), bound=st.sampled_from([1.0, np.inf, 0.25]))
def test_compiled_equals_its_twin_bit_for_bit(dtype, torch, data, size, bound):
    width = np.finfo(dtype).bits

    def draw():
        return np.array(data.draw(st.lists(values(width), min_size=size, max_size=size)), dtype)

    with np.errstate(over="ignore", invalid="ignore"):
        w, g, m, v = draw(), draw(), draw(), np.abs(draw())
        tiny = np.finfo(dtype).tiny
        constants = np.array([0.875, 0.125, 1 - 2**-10, 2**-7 * 3.3, 2**-27, tiny], dtype)
        ours, theirs = ([a.copy() for a in (w, m, v)] for _ in range(2))
        shift_adamax_update(ours[0], g, *ours[1:], constants, bound, torch)
        shift_adamax_update_reference(theirs[0], g, *theirs[1:], constants, bound, torch)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("torch", [False, True], ids=["paper", "torch"])
def test_an_infinite_norm_stays_infinite_and_moves_nothing(dtype, torch):
    """The largest number, whose power would be infinite, moves a little."""
    info = np.finfo(dtype)
    w, g, m, v = np.zeros((4, 2), dtype)
    m[:], v[:] = info.max, (np.inf, info.max)
    constants = np.array([1.0, 0.0, 1.0, 1.0, 0.0, info.tiny], dtype)
    for update in (shift_adamax_update, shift_adamax_update_reference):
        latent, norm = w.copy(), v.copy()
        update(latent, g, m.copy(), norm, constants, np.inf, torch)
        assert latent[0] == 0 > latent[1]
        assert norm[0] == np.inf > norm[1]


@pytest.mark.slow_without_jit
@pytest.mark.parametrize("dtype", DTYPES)
def test_compiled_equals_its_twin_on_every_size_of_norm(dtype):
    rng = np.random.default_rng(0)
    n = 200_001
    exponents = rng.integers(np.finfo(dtype).minexp - 30, 100, n)
    v = np.ldexp(rng.uniform(1, 2, n), exponents).astype(dtype)
    w, m = rng.uniform(-1, 1, n).astype(dtype), (v * rng.uniform(-1, 1, n)).astype(dtype)
    g = (v * rng.uniform(-1.5, 1.5, n)).astype(dtype)
    constants = np.array([0.9, 0.1, 0.999, 0.3, 2**-27, np.finfo(dtype).tiny], dtype)
    for torch in (False, True):
        ours, theirs = ([a.copy() for a in (w, m, v)] for _ in range(2))
        shift_adamax_update(ours[0], g, *ours[1:], constants, 1.0, torch)
        shift_adamax_update_reference(theirs[0], g, *theirs[1:], constants, 1.0, torch)
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("variant", ["paper", "torch"])
@pytest.mark.parametrize("round_scale", [False, True])
@given(seed=st.integers(0, 2**32))
def test_ten_steps_are_the_oracles(variant, round_scale, seed):
    rng = np.random.default_rng(seed)
    scale = float(rng.uniform(0.5, 80))
    options = {"learning_rate": 2.0**-6, "beta1": 0.9, "beta2": 0.999} if variant == "torch" else {}
    optimizer = ShiftAdaMax(**options, variant=variant, round_scale=round_scale)
    parameter = Parameter(rng.uniform(-1, 1, (3, 2)), None, 1.0, scale)
    state = {
        "parameter": parameter.latent.copy(),
        "first": np.zeros((3, 2)),
        "second": np.zeros((3, 2)),
    }
    for t in range(1, 11):
        parameter.grad = rng.normal(size=(3, 2)) * rng.choice([0, 1e-3, 1, 50], (3, 2))
        optimizer.step({"w": parameter})
        state = oracle.shift_adamax(
            state["parameter"],
            parameter.grad,
            state["first"],
            state["second"],
            t,
            variant=variant,
            scale=scale,
            round_scale=round_scale,
            clip=True,
            **options,
        )
        np.testing.assert_allclose(parameter.latent, state["parameter"], atol=1e-12)
        np.testing.assert_allclose(optimizer.state["w"]["norm"], state["second"], rtol=1e-12)


def test_step_sizes_of_the_papers_constants():
    optimizer = ShiftAdaMax()
    expected = {1: -7, 2: -8, 3: -8, 4: -9, 9: -9, 10: -10, 11: -10, 1000: -10}
    assert {t: np.log2(optimizer.step_size(t)) for t in expected} == expected


def test_the_paper_constants_need_only_shifts_and_additions():
    optimizer = ShiftAdaMax()
    for constant in (1 - optimizer.beta1, 1 - optimizer.beta2, optimizer.learning_rate):
        assert float(ap2(np.array(constant))) == constant
    m = np.random.default_rng(0).normal(size=1000).astype(np.float32)
    shifted = m - np.ldexp(m, -3)
    np.testing.assert_array_equal(np.float32(optimizer.beta1) * m, shifted)


def norm_after(optimizer, steps):
    """The stored norm after one gradient of 1 and then many of 0.001."""
    parameter = Parameter(np.zeros(1))
    for t in range(1 + steps):
        parameter.grad = np.array([1.0 if t == 0 else 0.001])
        optimizer.step({"w": parameter})
    return optimizer.state["w"]["norm"][0]


@pytest.mark.slow_without_jit
def test_the_torch_norm_never_decays_and_the_papers_does():
    options = {"beta1": 0.9, "beta2": 0.999}
    assert norm_after(ShiftAdaMax(2**-6, **options, variant="torch"), 20_000) >= 1
    assert norm_after(ShiftAdaMax(2**-6, **options), 20_000) == pytest.approx(0.001)
    half = norm_after(ShiftAdaMax(2**-6, **options), 693)
    assert half == pytest.approx(0.5, abs=0.001)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "make",
    [AdaMax, ShiftAdaMax, lambda: ShiftAdaMax(variant="torch")],
    ids=["AdaMax", "paper", "torch"],
)
def test_a_gradient_that_was_always_zero_moves_nothing(dtype, make):
    optimizer, parameter = make(), Parameter(np.array([0.5, -1.0], dtype))
    for _ in range(5):
        parameter.grad = np.zeros(2, dtype)
        optimizer.step({"w": parameter})
    np.testing.assert_array_equal(parameter.latent, np.array([0.5, -1.0], dtype))
    assert all(np.all(np.isfinite(a)) for a in optimizer.state["w"].values())


@given(st.floats(2.0**-20, 1.0), st.integers(1, 30), st.integers(0, 200))
def test_halving_is_a_shift_every_n_epochs(initial, every, epoch):
    schedule = Halving(initial, every)
    assert schedule(0) == initial
    assert schedule(epoch + every) == schedule(epoch) / 2
    assert schedule(epoch) == initial / 2 ** (epoch // every)
    if (epoch + 1) % every:
        assert schedule(epoch + 1) == schedule(epoch)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: ShiftAdaMax(0), "learning_rate: expected a finite number above 0"),
        (lambda: ShiftAdaMax(variant="lua"), "variant: expected 'paper' or 'torch', got 'lua'"),
        (lambda: Halving(0.1, 0), "every: expected a whole number of at least 1"),
    ],
    ids=["rate", "variant", "every"],
)
def test_bad_arguments(call, words):
    with pytest.raises(ValueError, match=words):
        call()
