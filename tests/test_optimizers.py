"""Update rules: Algorithm 1, lines 10-12, and section 2.5, with scale, clip and exact numbers."""

import copy
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qnn_ref.layers import Parameter
from qnn_ref.optimizers import SGD, Adam, AdaMax, ExponentialDecay, Optimizer
from qnn_ref.optimizers.adam import adam_update, adam_update_reference
from qnn_ref.optimizers.adamax import adamax_update, adamax_update_reference
from qnn_ref.optimizers.base import scaled_clipped_step
from qnn_ref.optimizers.sgd import sgd_update, sgd_update_reference
from qnn_ref.quantizers import Sign

DTYPES = [np.float32, np.float64]
SEEDS = st.integers(0, 2**32)
RULES = [SGD, lambda rate: SGD(rate, momentum=0.9), Adam, AdaMax]
RULE_IDS = ["SGD", "SGD with momentum", "Adam", "AdaMax"]


def scalar(value, dtype=np.float64, **options):
    return Parameter(np.array([value], dtype), **options)


def path(optimizer, parameter, gradients):
    """Latent values after each of these gradients of a parameter with one element."""
    values = []
    for gradient in gradients:
        parameter.grad = np.full(parameter.shape, gradient, parameter.dtype)
        optimizer.step({"w": parameter})
        values.append(float(parameter.latent[0]))
    return values


# What the rules do, in plain Python numbers


def sgd_by_hand(gradients, rate, momentum=0.0):
    w = m = 0.0
    for g in gradients:
        m = momentum * m + g
        w -= rate * m
        yield w


def adam_by_hand(gradients, rate, beta1=0.9, beta2=0.999, epsilon=1e-8):
    w = m = v = 0.0
    for t, g in enumerate(gradients, 1):
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g * g
        w -= rate * (m / (1 - beta1**t)) / (math.sqrt(v / (1 - beta2**t)) + epsilon)
        yield w


def adamax_by_hand(gradients, rate, beta1=0.9, beta2=0.999):
    w = m = u = 0.0
    for t, g in enumerate(gradients, 1):
        m = beta1 * m + (1 - beta1) * g
        u = max(beta2 * u, abs(g))
        w -= rate / (1 - beta1**t) * (m / u if u else 0.0)
        yield w


GRADIENTS = st.lists(
    st.one_of(st.sampled_from([0.0, 1.0, -250.0, 1e-6]), st.floats(-10, 10)), max_size=8
).map(lambda values: [v if abs(v) > 1e-150 else 0.0 for v in values])


@given(GRADIENTS, st.sampled_from([0.0, 0.5, 0.9]))
def test_sgd_follows_its_formula(gradients, momentum):
    got = path(SGD(0.1, momentum), scalar(0.0), gradients)
    np.testing.assert_allclose(got, list(sgd_by_hand(gradients, 0.1, momentum)), atol=1e-12)


@given(GRADIENTS, st.sampled_from([(0.9, 0.999, 1e-8), (0.5, 0.9, 1e-3), (0.0, 0.99, 0.1)]))
def test_adam_follows_its_formula(gradients, constants):
    got = path(Adam(0.1, *constants), scalar(0.0), gradients)
    np.testing.assert_allclose(got, list(adam_by_hand(gradients, 0.1, *constants)), atol=1e-11)


def adam_before_correction_by_hand(gradients, rate, beta1=0.9, beta2=0.999, epsilon=1e-8):
    w = m = v = 0.0
    for t, g in enumerate(gradients, 1):
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g * g
        corrected = rate * math.sqrt(1 - beta2**t) / (1 - beta1**t)
        w -= corrected * m / (math.sqrt(v) + epsilon)
        yield w


@given(GRADIENTS, st.sampled_from([(0.9, 0.999, 1e-8), (0.5, 0.9, 1e-3), (0.0, 0.99, 0.1)]))
def test_adam_with_epsilon_before_the_correction(gradients, constants):
    got = path(Adam(0.1, *constants, epsilon_at="before correction"), scalar(0.0), gradients)
    by_hand = adam_before_correction_by_hand(gradients, 0.1, *constants)
    np.testing.assert_allclose(got, list(by_hand), atol=1e-11)


@given(GRADIENTS, st.sampled_from([(0.9, 0.999), (0.5, 0.9)]))
def test_adamax_follows_its_formula(gradients, betas):
    got = path(AdaMax(0.1, *betas), scalar(0.0), gradients)
    np.testing.assert_allclose(got, list(adamax_by_hand(gradients, 0.1, *betas)), atol=1e-11)


def test_defaults_are_those_of_the_paper():
    adam, adamax = Adam(), AdaMax()
    assert (adam.learning_rate, adam.beta1, adam.beta2, adam.epsilon) == (0.001, 0.9, 0.999, 1e-8)
    assert (adamax.learning_rate, adamax.beta1, adamax.beta2) == (0.002, 0.9, 0.999)
    assert SGD().momentum == 0


@pytest.mark.parametrize("gradient", [1.0, -250.0, 1e-3])
@pytest.mark.parametrize("rule", [Adam, AdaMax])
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_constant_gradient_moves_by_the_rate_in_every_step(rule, gradient, dtype):
    got = path(rule(0.001), scalar(0.0, dtype), [gradient] * 5)
    expected = -np.sign(gradient) * 0.001 * np.arange(1, 6)
    # epsilon = 1e-8 beside a root of 1e-3 is worth 1e-5
    tolerance = (2e-8 if abs(gradient) >= 1 else 2e-5) if dtype == np.float64 else 2e-5
    np.testing.assert_allclose(got, expected, rtol=tolerance)


def test_a_forgotten_step_count_would_nearly_double_the_next_step():
    start, resumed, counted = scalar(0.0), Adam(1.0), Adam(1.0)
    for optimizer in (resumed, counted):
        path(optimizer, start, [1.0] * 5)
    resumed.steps = 0
    before = float(start.latent[0])
    steps = [before - path(o, copy.deepcopy(start), [1.0])[0] for o in (resumed, counted)]
    np.testing.assert_allclose(steps, [1.915, 1.0], atol=1e-3)
    assert counted.steps == 6


# Zero and huge gradients, small numbers


@pytest.mark.parametrize("rule", RULES, ids=RULE_IDS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_gradient_that_was_always_zero_moves_nothing(rule, dtype):
    optimizer, p = rule(0.5), Parameter(np.array([0.3, -1.0, 0.0], dtype), Sign(), 1.0, 40.0)
    start = p.latent.copy()
    for _ in range(5):
        p.grad = np.zeros(3, dtype)
        optimizer.step({"w": p})
    np.testing.assert_array_equal(p.latent, start)
    for moment in optimizer.state["w"].values():
        np.testing.assert_array_equal(moment, np.zeros(3))


@pytest.mark.parametrize("rule", [Adam, AdaMax])
@pytest.mark.parametrize("size", [1e-20, 1e15])
def test_tiny_and_huge_float32_gradients_keep_everything_finite(rule, size):
    optimizer, p = rule(0.01), Parameter(np.zeros(4, np.float32), Sign(), 1.0, 50.0)
    for sign in (1, 1, -1):
        p.grad = np.array([sign * size, 0, size, -size], np.float32)
        optimizer.step({"w": p})
    assert np.all(np.isfinite(p.latent))
    assert np.all(np.abs(p.latent) <= 1)
    assert p.latent[1] == 0


# Line 11: scale after the rule, then the clip


@given(st.floats(-1, 1), st.floats(-3, 3), st.floats(0.1, 60), st.sampled_from([0.5, 1.0, 2.0]))
def test_scale_is_applied_before_the_clip(latent, step, scale, bound):
    w = np.array([latent])
    scaled_clipped_step(w, np.array([step]), scale, bound)
    np.testing.assert_array_equal(w, [max(-bound, min(bound, latent - scale * step))])


@given(SEEDS, st.sampled_from(range(len(RULES))), st.sampled_from(DTYPES))
def test_scaled_rule_moves_gamma_times_as_far_and_is_then_clipped(seed, rule, dtype):
    # The authors' form: W <- clip(W + gamma (Update(W) - W), -1, 1).
    rng = np.random.default_rng(seed)
    start = rng.uniform(-1, 1, (3, 4)).astype(dtype)
    gamma = float(rng.uniform(0.5, 60))
    plain, scaled = Parameter(start), Parameter(start, Sign(), 1.0, gamma)
    one, other = RULES[rule](0.003), RULES[rule](0.003)
    # The same gradients each time, so the moments agree although the paths part.
    for _ in range(3):
        before = plain.latent.copy(), scaled.latent.copy()
        plain.grad = scaled.grad = rng.normal(size=(3, 4)).astype(dtype)
        one.step({"w": plain})
        other.step({"w": scaled})
        expected = np.clip(before[1] + gamma * (plain.latent - before[0]), -1, 1)
        tolerance = 1e-13 if dtype == np.float64 else 3e-5
        np.testing.assert_allclose(scaled.latent, expected, atol=tolerance)
        assert np.all(np.abs(scaled.latent) <= 1)
        assert scaled.dtype == dtype
        for moment in other.state["w"].values():
            assert moment.dtype == dtype


@given(SEEDS, st.sampled_from(range(len(RULES))), st.sampled_from(DTYPES))
def test_latent_weights_stay_within_their_bound_and_reach_it(seed, rule, dtype):
    rng = np.random.default_rng(seed)
    p = Parameter(rng.uniform(-1, 1, 20).astype(dtype), Sign(), 1.0, 30.0)
    optimizer = RULES[rule](1.0)
    for _ in range(4):
        p.grad = rng.normal(0, 100, 20).astype(dtype)
        optimizer.step({"w": p})
        assert np.all(np.abs(p.latent) <= 1)
    assert np.any(np.abs(p.latent) == 1)
    free = Parameter(np.zeros(20, dtype))
    free.grad = np.full(20, -100, dtype)
    RULES[rule](5.0).step({"b": free})
    assert np.all(free.latent > 4)


def test_clipped_weights_can_come_back():
    for rule in RULES:
        p = scalar(1.0, quantizer=Sign(), bound=1.0)
        optimizer = rule(0.25)
        path(optimizer, p, [-1.0])
        assert p.latent[0] == 1
        assert path(optimizer, p, [8.0] * 4)[-1] < 1


def test_the_gradient_of_the_binary_weight_moves_the_latent_one():
    p = scalar(0.02, quantizer=Sign(), bound=1.0)
    assert p.quantized[0] == 1
    optimizer, seen = SGD(0.1), []
    for expected in (-0.01, -0.04):
        np.testing.assert_allclose(path(optimizer, p, [0.3]), [expected])
        seen.append(float(p.quantized[0]))
    assert seen == [-1, -1]


# The compiled rule and its twin


def adam_case(size, dtype, seed, kind, steps, bound):
    rng = np.random.default_rng(seed)
    w = rng.uniform(-1, 1, size).astype(dtype)
    g = rng.normal(0, {"usual": 1, "tiny": 1e-18, "huge": 1e15}.get(kind, 1), size).astype(dtype)
    m, v = rng.normal(size=size).astype(dtype), rng.exponential(size=size).astype(dtype)
    if kind == "zeros":
        g[rng.random(size) < 0.5] = 0
        m[rng.random(size) < 0.5] = 0
        v[rng.random(size) < 0.5] = 0
        w[rng.random(size) < 0.5] *= -0.0
    beta1, beta2, rate = 0.9, 0.999, float(rng.choice([1e-4, 0.2, 3.0]))
    constants = np.array(
        [beta1, 1 - beta1, beta2, 1 - beta2, rate, 1 - beta1**steps, 1 - beta2**steps, 1e-8], dtype
    )
    return (w, g, m, v), constants, dtype(bound)


@given(
    st.integers(0, 200),
    st.sampled_from(DTYPES),
    SEEDS,
    st.sampled_from(["usual", "tiny", "huge", "zeros"]),
    st.sampled_from([1, 2, 1000]),
    st.sampled_from([0.5, 1.0, np.inf]),
)
def test_compiled_adam_equals_its_twin_bit_for_bit(size, dtype, seed, kind, steps, bound):
    arrays, constants, bound = adam_case(size, dtype, seed, kind, steps, bound)
    twins = copy.deepcopy(arrays)
    adam_update(*arrays, constants, bound)
    adam_update_reference(*twins, constants, bound)
    for name, got, expected in zip("wgmv", arrays, twins, strict=True):
        np.testing.assert_array_equal(got, expected, err_msg=name)
        assert got.dtype == dtype
        assert np.all(np.isfinite(got))
    assert np.all(np.abs(arrays[0]) <= bound)


@pytest.mark.slow_without_jit
@pytest.mark.parametrize("dtype", DTYPES)
def test_compiled_adam_equals_its_twin_on_many_values(dtype):
    arrays, constants, bound = adam_case(200_001, dtype, 0, "zeros", 3, 1.0)
    twins = copy.deepcopy(arrays)
    adam_update(*arrays, constants, bound)
    adam_update_reference(*twins, constants, bound)
    for got, expected in zip(arrays, twins, strict=True):
        np.testing.assert_array_equal(got, expected)


@given(
    st.integers(0, 200),
    st.sampled_from(DTYPES),
    SEEDS,
    st.sampled_from(["usual", "tiny", "huge", "zeros"]),
    st.sampled_from([0.5, 1.0, np.inf]),
    st.booleans(),
)
def test_compiled_adamax_and_descent_equal_their_twins_bit_for_bit(
    size, dtype, seed, kind, bound, momentum
):
    (w, g, m, v), _, bound = adam_case(size, dtype, seed, kind, 1, bound)
    constants = np.array([0.9, 1 - 0.9, 0.999, 0.01, 7.5], dtype)
    velocity = m if momentum else m[:0]
    for run, twin, arrays, numbers in (
        (adamax_update, adamax_update_reference, (w, g, m, v), constants),
        (sgd_update, sgd_update_reference, (w, g, velocity), constants[2:]),
    ):
        got, expected = copy.deepcopy(arrays), copy.deepcopy(arrays)
        run(*got, numbers, bound)
        twin(*expected, numbers, bound)
        for one, other in zip(got, expected, strict=True):
            np.testing.assert_array_equal(one, other)
            assert one.dtype == dtype
        assert np.all(np.abs(got[0]) <= bound)
        np.testing.assert_array_equal(got[1], g)


@given(SEEDS)
@settings(max_examples=10)
def test_adam_hands_its_numbers_to_the_kernel_in_order(seed):
    rng = np.random.default_rng(seed)
    start = rng.uniform(-1, 1, (2, 3))
    p, optimizer = Parameter(start, Sign(), 1.0, 7.0), Adam(0.01, 0.8, 0.95, 1e-3)
    w, m, v = start.ravel().copy(), np.zeros(6), np.zeros(6)
    for t in (1, 2):
        p.grad = rng.normal(size=(2, 3))
        optimizer.step({"w": p})
        numbers = [0.8, 1 - 0.8, 0.95, 1 - 0.95, 0.01 * 7, 1 - 0.8**t, 1 - 0.95**t, 1e-3]
        adam_update_reference(w, p.grad.ravel(), m, v, np.array(numbers), 1.0)
    np.testing.assert_array_equal(p.latent.ravel(), w)
    np.testing.assert_array_equal(optimizer.state["w"]["first"].ravel(), m)
    np.testing.assert_array_equal(optimizer.state["w"]["second"].ravel(), v)


def test_gradients_in_another_memory_order_are_read_right():
    rng = np.random.default_rng(0)
    gradient = rng.normal(size=(3, 2))
    latents = []
    for laid_out in (gradient, np.asfortranarray(gradient)):
        p = Parameter(np.zeros((3, 2)))
        p.grad = laid_out
        optimizer = Adam(0.1)
        optimizer.step({"w": p})
        p.grad = -0.3 * laid_out
        optimizer.step({"w": p})
        latents.append(p.latent.copy())
    np.testing.assert_array_equal(*latents)


# Several parameters, one step count


def test_every_parameter_has_its_own_moments_and_all_share_the_step_count():
    optimizer = Adam(0.1)
    parameters = {"a": scalar(0.0), "b": Parameter(np.zeros((2, 2), np.float32))}
    for _ in range(3):
        parameters["a"].grad = np.ones(1)
        parameters["b"].grad = np.full((2, 2), -4, np.float32)
        optimizer.step(parameters)
    assert optimizer.steps == 3
    np.testing.assert_allclose(parameters["a"].latent, [-0.3], rtol=1e-6)
    np.testing.assert_allclose(parameters["b"].latent, np.full((2, 2), 0.3), rtol=1e-5)
    assert {n: set(m) for n, m in optimizer.state.items()} == {
        "a": {"first", "second"},
        "b": {"first", "second"},
    }
    assert optimizer.state["b"]["first"].dtype == np.float32
    assert optimizer.state["b"]["first"].shape == (2, 2)


@pytest.mark.parametrize("rule", RULES, ids=RULE_IDS)
def test_gradients_are_only_read(rule):
    p = Parameter(np.zeros(3))
    p.grad = np.array([1.0, -2.0, 3.0])
    kept = p.grad.copy()
    for optimizer in [rule(0.1)] * 2:
        optimizer.step({"w": p})
    np.testing.assert_array_equal(p.grad, kept)


@pytest.mark.parametrize("rule", RULES, ids=RULE_IDS)
def test_a_missing_gradient_is_named_before_anything_moves(rule):
    optimizer = rule(0.1)
    parameters = {"0.Dense.weight": scalar(0.5), "1.Dense.weight": scalar(0.5)}
    parameters["0.Dense.weight"].grad = np.ones(1)
    with pytest.raises(RuntimeError, match=r"1\.Dense\.weight: no gradient"):
        optimizer.step(parameters)
    assert optimizer.steps == 0
    assert optimizer.state == {}
    assert parameters["0.Dense.weight"].latent[0] == 0.5


# Line 12


@pytest.mark.parametrize(
    "initial, final, epochs, factor",
    [(3e-3, 3e-7, 1000, 0.99083), (1e-3, 3e-7, 500, 0.98391), (1e-3, 1e-6, 200, 0.96605)],
)
def test_decay_of_the_papers_recipes(initial, final, epochs, factor):
    decay = ExponentialDecay(initial, final, epochs)
    assert decay(0) == initial
    assert math.isclose(decay(epochs), final, rel_tol=1e-12)
    for epoch in (0, 1, epochs - 1):
        assert abs(decay(epoch + 1) / decay(epoch) - factor) < 6e-6
        assert isinstance(decay(epoch), float)


@pytest.mark.parametrize(
    "call, error, words",
    [
        (lambda: Adam(0), ValueError, ["learning_rate:", "above 0"]),
        (lambda: Adam(epsilon_at="late"), ValueError, ["epsilon_at:", "'late'"]),
        (lambda: SGD(-0.1), ValueError, ["learning_rate:", "-0.1"]),
        (lambda: AdaMax(math.nan), ValueError, ["learning_rate:", "nan"]),
        (
            lambda: Optimizer(0.1).update(np.zeros(1), np.ones(1), np.ones(0), 1.0),
            TypeError,
            ["Optimizer", "rule"],
        ),
        (
            lambda: path(Optimizer(0.1), scalar(0.0), [1.0]),
            TypeError,
            ["Optimizer", "rule"],
        ),
    ],
)
def test_bad_arguments_are_refused_with_their_name(call, error, words):
    with pytest.raises(error) as caught:
        call()
    for word in words:
        assert word in str(caught.value)
