"""The oracles against PyTorch, against central differences, and against values known by hand."""

import ast
import itertools
import math
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.oracles import algorithm1, algorithm1_torch, shift

FOLDER = Path(__file__).parent / "oracles"
WIDTHS = (9, 7, 6, 4)
BATCH = 12


def make_case(seed: int, *, steps: int | None = None) -> dict[str, Any]:
    """A 9-7-6-4 network with random gains of both signs, and one batch (or one for each step)."""
    rng = np.random.default_rng(seed)
    shape = (BATCH,) if steps is None else (steps, BATCH)
    pairs = list(itertools.pairwise(WIDTHS))
    return {
        "weights": [rng.uniform(-1, 1, pair) for pair in pairs],
        "gains": [rng.uniform(0.5, 1.5, n) * rng.choice([-1, 1], n) for n in WIDTHS[1:]],
        "shifts": [rng.uniform(-0.5, 0.5, n) for n in WIDTHS[1:]],
        "images": rng.integers(0, 256, (*shape, WIDTHS[0]), dtype=np.uint8),
        "labels": rng.integers(0, WIDTHS[-1], shape),
    }


def make_masks(seed: int) -> list[np.ndarray]:
    """Dropout masks of the input and of both hidden layers of `make_case`."""
    rng = np.random.default_rng(seed)
    return [(rng.random((BATCH, n)) >= 0.4).astype(float) for n in WIDTHS[:-1]]


def central_differences(function: Any, x: np.ndarray, step: float = 1e-5) -> np.ndarray:
    """Numeric gradient of a scalar function of x, one element at a time."""
    slope = np.empty(x.shape)
    for index in np.ndindex(x.shape):
        up, down = x.copy(), x.copy()
        up[index] += step
        down[index] -= step
        slope[index] = (function(up) - function(down)) / (2 * step)
    return slope


def relative_error(numeric: np.ndarray, analytic: np.ndarray) -> float:
    return float(np.max(np.abs(numeric - analytic)) / np.max(np.abs(analytic)))


def test_oracles_import_nothing_from_the_package():
    allowed = {"collections", "fractions", "math", "numpy", "torch", "typing"}
    for path in FOLDER.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            else:
                continue
            assert {name.partition(".")[0] for name in names} <= allowed, path.name


# Algorithm 1: values known by hand --------------------------------------------------------------


def test_sign_has_two_values():
    x = [-2.0, -5e-324, -0.0, 0.0, 5e-324, 3.0, -np.inf, np.inf]
    np.testing.assert_array_equal(algorithm1.sign(x), [-1, -1, 1, 1, 1, 1, -1, 1])


def test_images_are_mapped_to_plus_minus_one():
    x = algorithm1.scale_images(np.array([0, 127, 128, 255], dtype=np.uint8))
    np.testing.assert_array_equal(x, [-1, -1 / 255, 1 / 255, 1])
    pixels = np.arange(256, dtype=np.uint8)
    np.testing.assert_allclose(algorithm1.scale_images(pixels), pixels / 127.5 - 1, atol=3e-16)
    with pytest.raises(TypeError, match="images"):
        algorithm1.scale_images(np.zeros(3))


@pytest.mark.parametrize(
    ("fan_in", "fan_out", "gamma"),
    [
        (784, 4096, 57.04),
        (4096, 4096, 73.90),
        (4096, 10, 52.32),
        (784, 2048, 43.45),
        (2048, 2048, 52.26),
        (2048, 10, 37.04),
        (8192, 1024, 78.4),
    ],
)
def test_glorot_scales_of_the_paper_networks(fan_in, fan_out, gamma):
    digits = 1 if gamma == 78.4 else 2
    assert round(algorithm1.glorot_scale(fan_in, fan_out), digits) == gamma


def test_squared_hinge_known_values():
    loss, gradient = algorithm1.squared_hinge([[0.6, 0.4], [0.4, 0.6]], [[-1, 1], [-1, -1]])
    assert loss == pytest.approx(1.86, abs=1e-15)
    np.testing.assert_allclose(gradient, [[0.8, -0.3], [0.7, 0.8]], atol=1e-15)
    loss, gradient = algorithm1.squared_hinge([[5.0, 3.0]], [[-1, 1]])
    assert loss == 18.0
    np.testing.assert_array_equal(gradient, [[6.0, 0.0]])


def test_loss_is_averaged_over_batch_and_ten_classes():
    targets = algorithm1.targets_from_labels([3, 0], 10)
    assert targets.shape == (2, 10)
    np.testing.assert_array_equal(targets.sum(axis=1), [-8, -8])
    loss, gradient = algorithm1.squared_hinge(np.zeros((2, 10)), targets)
    assert loss == 1.0
    np.testing.assert_allclose(gradient, -targets / 10)


def test_mask_is_inclusive_and_does_not_clip_the_gradient():
    a = np.array([-2, np.nextafter(-1, -2), -1, 0.1, 1, np.nextafter(1, 2), 2])
    slope = algorithm1.activation_slope(a, "sign", 1.0)
    np.testing.assert_array_equal(slope, [0, 0, 1, 1, 1, 0, 0])
    np.testing.assert_array_equal(algorithm1.activation_slope(a, "hard_tanh", 9.0), slope)
    np.testing.assert_array_equal(
        algorithm1.activation_slope(a, "sign", 2.0), np.ones(7), "relaxed bound"
    )


def test_batch_norm_known_values():
    s = np.array([[1.0], [3.0], [5.0], [7.0]])  # mean 4, biased variance 5
    norm = algorithm1.batch_norm(s, np.array([2.0]), np.array([0.5]), epsilon=4.0)
    assert norm["mean"] == [4.0]
    assert norm["inverse_deviation"] == [1 / 3]
    np.testing.assert_allclose(norm["output"], [[-1.5], [-1 / 6], [7 / 6], [2.5]])


def test_batch_norm_backward_is_the_gradient():
    rng = np.random.default_rng(3)
    s, dy = rng.normal(2, 3, (16, 7)), rng.normal(size=(16, 7))
    g, b = rng.normal(size=7), rng.normal(size=7)
    norm = algorithm1.batch_norm(s, g, b, 1e-4)
    ds, dg, db = algorithm1.batch_norm_backward(
        dy, g, norm["normalised"], norm["inverse_deviation"]
    )

    def cost(s_, g_, b_):
        return float(np.sum(dy * algorithm1.batch_norm(s_, g_, b_, 1e-4)["output"]))

    assert relative_error(central_differences(lambda z: cost(z, g, b), s), ds) < 1e-8
    assert relative_error(central_differences(lambda z: cost(s, z, b), g), dg) < 1e-8
    assert relative_error(central_differences(lambda z: cost(s, g, z), b), db) < 1e-8
    np.testing.assert_allclose(ds.sum(axis=0), 0, atol=1e-13)


@pytest.mark.parametrize("gradient", [1.0, -250.0])
def test_adam_moves_by_the_rate_whatever_the_size_of_a_constant_gradient(gradient):
    p, moments = np.zeros(1), algorithm1.zero_moments(np.zeros(1))
    for t in range(1, 6):
        p, moments = algorithm1.updated(
            p, np.array([gradient]), moments, t, optimizer="adam", learning_rate=1e-3
        )
        assert p[0] == pytest.approx(-np.sign(gradient) * 1e-3 * t, rel=2e-8)


def test_adamax_known_values_and_zero_gradient():
    p = np.array([1.0, 1.0])
    moments = algorithm1.zero_moments(p)
    for t, gradient in enumerate([(4.0, 0.0), (1.0, 0.0)], start=1):
        p, moments = algorithm1.updated(
            p, np.array(gradient), moments, t, optimizer="adamax", learning_rate=0.002
        )
    # m: 0.4, 0.46; u: 4, 3.996; steps: 0.002 / 0.1 * 0.1 and 0.002 / 0.19 * 0.46 / 3.996.
    assert p[0] == pytest.approx(1 - 0.002 - 0.002 / 0.19 * 0.46 / 3.996, abs=1e-15)
    assert p[1] == 1.0
    np.testing.assert_allclose(moments["second"], [3.996, 0.0])


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match="optimizer"):
        algorithm1.updated(
            np.ones(1), np.ones(1), algorithm1.zero_moments(np.ones(1)), 1,
            optimizer="lamb", learning_rate=1.0,
        )  # fmt: skip
    for function in (algorithm1.activate, lambda a, name: algorithm1.activation_slope(a, name, 1)):
        with pytest.raises(ValueError, match="activation"):
            function(np.ones(1), "relu")
    case = make_case(0)
    with pytest.raises(ValueError, match="dropout"):
        algorithm1.gradients(**case, dropout_masks=make_masks(0)[:2], dropout_rates=[0.2, 0.5])


# Algorithm 1: the gradients ---------------------------------------------------------------------

MODES = {
    "binary": {},
    "relaxed bound": {"saturation": 1.7},
    "dropout": {"dropout_masks": make_masks(5), "dropout_rates": [0.2, 0.5, 0.5]},
    "binary weights only": {"activation": "hard_tanh"},
    "binary activations only": {"binary_weights": False},
    "float, hard tanh": {"binary_weights": False, "activation": "hard_tanh"},
    "float, tanh": {"binary_weights": False, "activation": "tanh", "epsilon": 1e-2},
}


@pytest.mark.parametrize("options", MODES.values(), ids=MODES)
@pytest.mark.parametrize("seed", range(3))
def test_gradients_equal_those_of_autograd(options, seed):
    pytest.importorskip("torch", reason="PyTorch is the second oracle; it is not installed")
    case = make_case(seed)
    ours = algorithm1.gradients(**case, **options)
    theirs = algorithm1_torch.gradients(**case, **options)
    assert ours["margin"] > 1e-9
    for name, value in theirs.items():
        for one, other in zip(
            [ours[name]] if not isinstance(value, list) else ours[name],
            [value] if not isinstance(value, list) else value,
            strict=True,
        ):
            np.testing.assert_allclose(one, other, rtol=0, atol=1e-10, err_msg=name)


def test_gradients_equal_those_of_autograd_at_the_bound():
    """Hidden values exactly at +-1 and 0, where only the stated rule decides."""
    pytest.importorskip("torch", reason="PyTorch is the second oracle; it is not installed")
    case = {
        "weights": [np.array([[1.0, -0.5]]), np.array([[0.0, -0.0, 0.3], [-1.0, 1.0, -0.2]])],
        # epsilon = 0 and values +-1: normalised values are exactly +-1.
        "gains": [np.array([1.0, 0.5]), np.ones(3)],
        "shifts": [np.array([0.0, 0.5]), np.array([0.1, 0.2, 0.3])],
        "images": np.array([[-1.0], [1.0], [-1.0], [1.0]]),
        "labels": np.array([0, 1, 2, 2]),
    }
    options = {"pixels": False, "epsilon": 0.0}
    # The second layer's batch has no constant column: 2 distinct hidden rows, all columns differ.
    ours = algorithm1.gradients(**case, **options)
    np.testing.assert_array_equal(ours["activations"][0][:2], [[-1.0, 1.0], [1.0, 0.0]])
    np.testing.assert_array_equal(ours["sums"][1][0], [-2.0, 0.0, -2.0])
    theirs = algorithm1_torch.gradients(**case, **{**options, "epsilon": 1e-30})
    assert np.any(ours["weight_gradients"][1] != 0)
    assert ours["margin"] == 0.0
    for name in ("weight_gradients", "gain_gradients", "shift_gradients"):
        for one, other in zip(ours[name], theirs[name], strict=True):
            np.testing.assert_allclose(one, other, rtol=0, atol=1e-10, err_msg=name)


def surrogate_loss(
    case: dict[str, Any], point: dict[str, Any], activations: list[np.ndarray], mode: dict[str, Any]
) -> float:
    """Cost in which every quantizer is value(x0) + surrogate(x) - surrogate(x0) around `point`.

    Surrogate of a weight: the identity; of a hidden Sign: a clip at +-saturation.
    """
    bound = mode.get("saturation", 1.0)
    x = case["images"]
    masks, rates = mode.get("dropout_masks"), mode.get("dropout_rates")
    for k, W in enumerate(case["weights"]):
        if masks is not None:
            x = x * masks[k] / (1 - rates[k])
        W0 = point["weights"][k]
        W = np.where(W0 >= 0, 1.0, -1.0) + W - W0 if mode.get("binary_weights", True) else W
        s = x @ W
        s_hat = (s - s.mean(axis=0)) / np.sqrt(s.var(axis=0) + mode.get("epsilon", 1e-4))
        a = case["gains"][k] * s_hat + case["shifts"][k]
        if mode.get("activation", "sign") == "sign":
            a0 = activations[k]
            x = (
                np.where(a0 >= 0, 1.0, -1.0)
                + np.clip(a, -bound, bound)
                - np.clip(a0, -bound, bound)
            )
        else:
            x = np.clip(a, -1, 1) if mode["activation"] == "hard_tanh" else np.tanh(a)
    y = np.where(np.arange(a.shape[1]) == case["labels"][:, None], 1.0, -1.0)
    return float(np.mean(np.maximum(0, 1 - y * a) ** 2))


@pytest.mark.parametrize("mode", MODES.values(), ids=MODES)
def test_gradients_are_the_slopes_of_the_surrogate(mode):
    point = make_case(11)
    point["images"] = algorithm1.scale_images(point["images"])
    ours = algorithm1.gradients(**point, **mode, pixels=False)
    assert ours["margin"] > 1e-3, "a kink within the step: choose another seed"
    loss = surrogate_loss(point, point, ours["activations"], mode)
    assert loss == pytest.approx(ours["loss"], abs=1e-13)
    masked = np.mean(np.abs(np.concatenate(ours["activations"][:2], axis=1)) > 1)
    assert 0.2 < masked < 0.8, "the mask must matter"

    def check(name: str, k: int | None, gradient: np.ndarray) -> None:
        def cost(values: np.ndarray) -> float:
            moved = dict(point)
            if k is None:
                moved[name] = values
            else:
                moved[name] = [values if j == k else old for j, old in enumerate(point[name])]
            return surrogate_loss(moved, point, ours["activations"], mode)

        x = point[name] if k is None else point[name][k]
        assert relative_error(central_differences(cost, x), gradient) < 1e-7, (name, k)

    for k in range(3):
        check("weights", k, ours["weight_gradients"][k])
        check("gains", k, ours["gain_gradients"][k])
        check("shifts", k, ours["shift_gradients"][k])
    check("images", None, ours["input_gradient"])


def test_dropout_is_inverted_and_gives_zero_and_plus_minus_two():
    case, masks = make_case(5), make_masks(5)
    ours = algorithm1.gradients(**case, dropout_masks=masks, dropout_rates=[0.2, 0.5, 0.5])
    hidden = np.where(masks[1] == 1, 2.0 * algorithm1.sign(ours["activations"][0]), 0.0)
    np.testing.assert_array_equal(ours["sums"][1], hidden @ algorithm1.sign(case["weights"][1]))
    x = algorithm1.scale_images(case["images"]) * masks[0] * 1.25
    np.testing.assert_allclose(ours["sums"][0], x @ algorithm1.sign(case["weights"][0]))
    assert np.all(ours["input_gradient"][masks[0] == 0] == 0)


# Algorithm 1: whole steps -----------------------------------------------------------------------


def flat(record: dict[str, Any], name: str) -> np.ndarray:
    """All arrays of a list in a record, as one vector."""
    return np.concatenate([np.ravel(array) for array in record[name]])


@pytest.mark.parametrize("name", ["adam", "adamax", "sgd"])
def test_five_steps_equal_the_optimizers_of_pytorch(name):
    torch = pytest.importorskip("torch", reason="PyTorch is the second oracle; not installed")
    case = make_case(21, steps=5)
    masks = [make_masks(seed) for seed in range(5)]
    rates = [0.2, 0.5, 0.5]
    records = algorithm1.train_steps(
        **case, steps=5, optimizer=name, learning_rate=0.01, decay=0.8, steps_per_epoch=2,
        dropout_masks=masks, dropout_rates=rates,
    )  # fmt: skip
    assert min(record["margin"] for record in records) > 1e-9

    groups = ("weights", "gains", "shifts")
    parameters = {
        group: [torch.tensor(array, requires_grad=True) for array in case[group]]
        for group in groups
    }
    every = [tensor for group in groups for tensor in parameters[group]]
    rule = {
        "adam": lambda: torch.optim.Adam(every, lr=0.01, eps=1e-8),
        "adamax": lambda: torch.optim.Adamax(every, lr=0.01, eps=0.0),
        "sgd": lambda: torch.optim.SGD(every, lr=0.01),
    }[name]()
    for t, record in enumerate(records):
        rule.param_groups[0]["lr"] = 0.01 * 0.8 ** (t // 2)
        assert record["learning_rate"] == pytest.approx(rule.param_groups[0]["lr"], rel=1e-14)
        before = [W.detach().clone() for W in parameters["weights"]]
        result = algorithm1_torch.gradients(
            *([p.detach().numpy() for p in parameters[group]] for group in groups),
            case["images"][t], case["labels"][t], dropout_masks=masks[t], dropout_rates=rates,
        )  # fmt: skip
        for group in groups:
            for tensor, gradient in zip(
                parameters[group], result[group[:-1] + "_gradients"], strict=True
            ):
                tensor.grad = torch.tensor(gradient)
        rule.step()
        with torch.no_grad():
            for W, old in zip(parameters["weights"], before, strict=True):
                gamma = (sum(W.shape) / 1.5) ** 0.5
                W.copy_(torch.clamp(old + gamma * (W - old), -1, 1))
        for group in groups:
            for one, other in zip(record[group], parameters[group], strict=True):
                np.testing.assert_allclose(one, other.detach().numpy(), rtol=0, atol=1e-10)
    assert np.any(np.abs(flat(records[-1], "weights")) == 1.0) or name == "sgd"


def test_latent_weights_accumulate_and_the_gradient_is_that_of_the_binary_weight():
    case = make_case(8)
    records = algorithm1.train_steps(
        **case, steps=3, optimizer="sgd", learning_rate=0.1, scale_rates=False, clip=False
    )
    before: dict[str, Any] = case
    for record in records:
        same = algorithm1.gradients(
            *(before[name] for name in ("weights", "gains", "shifts")),
            case["images"],
            case["labels"],
        )
        for k, d_W in enumerate(same["weight_gradients"]):
            np.testing.assert_array_equal(record["weight_gradients"][k], d_W)
            moved = before["weights"][k] - 0.1 * d_W
            np.testing.assert_allclose(record["weights"][k], moved, atol=1e-15)
        before = record
    # Latent weights only matter through their signs.
    halved = algorithm1.gradients(**{**case, "weights": [w / 2 for w in case["weights"]]})
    assert halved["loss"] == records[0]["loss"]


def test_weights_move_gamma_times_as_far_and_are_clipped_but_nothing_else_is():
    case = make_case(9)
    case["gains"][0][:] = 3.0
    options = {"steps": 1, "optimizer": "adam", "learning_rate": 0.05}
    (plain,) = algorithm1.train_steps(**case, **options, scale_rates=False, clip=False)
    (full,) = algorithm1.train_steps(**case, **options)
    for k, W in enumerate(case["weights"]):
        moved = W + np.sqrt(sum(W.shape) / 1.5) * (plain["weights"][k] - W)
        np.testing.assert_allclose(full["weights"][k], np.clip(moved, -1, 1), atol=1e-14)
    assert np.any(np.abs(flat(full, "weights")) == 1.0)
    for name in ("gains", "shifts"):
        np.testing.assert_array_equal(flat(full, name), flat(plain, name))
    assert np.min(full["gains"][0]) > 2.9


def test_running_statistics_average_the_mean_and_the_inverse_deviation():
    case = {
        "weights": [np.ones((1, 2))],
        "gains": [np.ones(2)],
        "shifts": [np.zeros(2)],
        "images": np.full((3, 1), 10.0),
        "labels": np.zeros(3, dtype=int),
        "steps": 100,
        "learning_rate": 0.0,
        "pixels": False,
    }
    records = algorithm1.train_steps(**case)
    np.testing.assert_allclose(records[0]["running_means"][0], 1.0)
    # No spread: the inverse deviation is 1 / sqrt(1e-4) = 100; it starts at 1.
    np.testing.assert_allclose(records[0]["running_inverse_deviations"][0], 0.9 + 0.1 * 100)
    np.testing.assert_allclose(records[1]["running_inverse_deviations"][0], 0.9 * 10.9 + 10)
    np.testing.assert_allclose(records[-1]["running_means"][0], 9.99973, atol=5e-6)
    # The mean of the inverse deviation is not the inverse of the mean deviation.
    case |= {"images": np.array([[[-1.0], [1.0]], [[-3.0], [3.0]]]), "steps": 2, "epsilon": 0.0}
    records = algorithm1.train_steps(**{**case, "labels": np.zeros((2, 2), int), "momentum": 0.5})
    np.testing.assert_allclose(records[0]["running_inverse_deviations"][0], 1.0)
    np.testing.assert_allclose(records[1]["running_inverse_deviations"][0], 0.5 + 0.5 / 3)


def test_inference_with_the_batch_statistics_equals_the_training_forward():
    case = make_case(4)
    (record,) = algorithm1.train_steps(**case, steps=1, learning_rate=0.0, momentum=1.0)
    result = algorithm1.inference(
        record["weights"], record["gains"], record["shifts"],
        record["running_means"], record["running_inverse_deviations"], case["images"],
    )  # fmt: skip
    np.testing.assert_allclose(result["scores"], record["scores"], atol=1e-13)
    for one, other in zip(result["activations"], record["activations"], strict=True):
        np.testing.assert_allclose(one, other, atol=1e-13)
    np.testing.assert_array_equal(result["classes"], record["scores"].argmax(axis=1))


def test_training_steps_leave_the_arguments_and_earlier_records_alone():
    case = make_case(2)
    copy = make_case(2)
    two = algorithm1.train_steps(**case, steps=2)
    (one,) = algorithm1.train_steps(**case, steps=1)
    for name in ("weights", "gains", "shifts", "running_means", "running_inverse_deviations"):
        np.testing.assert_array_equal(flat(two[0], name), flat(one, name))
        assert np.any(flat(two[0], name) != flat(two[1], name))
    for name in ("weight_moments", "gain_moments", "shift_moments"):
        for k in range(3):
            for moment in ("first", "second"):
                np.testing.assert_array_equal(two[0][name][k][moment], one[name][k][moment])
    for name in ("weights", "gains", "shifts"):
        np.testing.assert_array_equal(flat(case, name), flat(copy, name))


def test_a_small_network_learns_its_batch():
    case = make_case(6)
    records = algorithm1.train_steps(**case, steps=200, learning_rate=0.02, decay=0.99)
    assert min(record["loss"] for record in records[-20:]) < 0.5 * records[0]["loss"]


# AP2 --------------------------------------------------------------------------------------------

FINITE = st.floats(allow_nan=False, allow_infinity=False)


def test_ap2_known_values():
    x = [0.0, -0.0, -5.0, -0.7, 3.0, 6.0, 1.0, 0.3, np.inf, -np.inf]
    right = [0, 0, -4, -0.5, 4, 8, 1, 0.25, np.inf, -np.inf]
    np.testing.assert_array_equal(shift.ap2(x), right)
    assert shift.ap2(np.zeros((0, 3))).shape == (0, 3)
    assert math.copysign(1, shift.ap2_scalar(-0.0)) == 1
    with pytest.raises(ValueError, match="NaN"):
        shift.ap2([1.0, np.nan])


@pytest.mark.parametrize("exponent", [-1021, -149, -126, -1, 0, 1, 127, 1000])
def test_ap2_turns_at_the_square_root_of_two(exponent):
    root = math.sqrt(2.0)  # the float above the true square root
    one = math.ldexp(1.0, exponent)
    assert shift.ap2_scalar(math.ldexp(root, exponent)) == 2 * one
    assert shift.ap2_scalar(math.ldexp(np.nextafter(root, 1), exponent)) == one
    assert shift.ap2_scalar(one) == one
    assert shift.ap2_scalar(math.ldexp(1.5, exponent)) == 2 * one
    assert shift.ap2_scalar(-math.ldexp(1.25, exponent)) == -one


def test_ap2_at_the_ends_of_the_floats():
    assert shift.ap2_scalar(5e-324) == 5e-324
    assert shift.ap2_scalar(3 * 5e-324) == 4 * 5e-324
    assert shift.ap2_scalar(np.finfo(float).max) == math.inf
    assert shift.ap2_scalar(-math.ldexp(1.4, 1023)) == -math.ldexp(1.0, 1023)


@settings(deadline=None)
@given(FINITE.filter(bool))
@example(math.sqrt(2.0))
@example(math.sqrt(0.5))
@example(1.0)
def test_ap2_is_the_nearest_power_in_the_logarithm(x):
    """Against the rule without a logarithm: x = m 2^e, exponent e - 1 if m < sqrt(1/2), else e."""
    m, e = math.frexp(abs(x))
    expected = e - 1 if Fraction(m) ** 2 < Fraction(1, 2) else e
    assert shift.ap2_exponent(x) == expected
    assert shift.ap2_exponent(-x) == expected
    if expected <= 1023:
        assert shift.ap2_scalar(-x) == -shift.ap2_scalar(x)
        ratio = Fraction(shift.ap2_scalar(x)) / Fraction(x)
        assert Fraction(1, 2) < ratio**2 < 2


def test_ap2_margin():
    assert shift.ap2_margin([0.0, 1.0, -4.0]) == 0.5
    assert shift.ap2_margin([1.0, -math.sqrt(2.0)]) < 1e-15
    assert shift.ap2_margin([3.0]) == pytest.approx(math.log2(3) - 1.5)


# Algorithm 2 ------------------------------------------------------------------------------------


def test_sbn_forward_by_hand():
    x = np.array([[1.0], [4.0], [7.0], [12.0]])  # mean 6, c = -5, -2, 1, 6, A = -4, -2, 1, 8
    out = shift.sbn_forward(
        x, [-3.0], [0.25], epsilon=0.75, running_mean=[2.0], running_inverse_deviation=[0.5]
    )
    np.testing.assert_array_equal(out["ap2_centred"][:, 0], [-4, -2, 1, 8])
    assert out["variance"] == [(20 + 4 + 1 + 48) / 4]
    r = 19.0**-0.5  # 0.2294: AP2 is 0.25
    assert out["inverse_deviation"][0] == pytest.approx(r, rel=1e-15)
    np.testing.assert_array_equal(out["normalised"][:, 0], [-1.25, -0.5, 0.25, 1.5])
    np.testing.assert_array_equal(out["y"][:, 0], [5.25, 2.25, -0.75, -5.75])  # AP2(-3) = -4
    assert out["running_mean"] == [2 + (6 - 2) / 8]
    assert out["running_inverse_deviation"][0] == pytest.approx(0.5 + (r - 0.5) / 8, rel=1e-15)
    fresh = shift.sbn_forward(x, [1.0], [0.0])
    assert fresh["running_mean"] == [0.75]
    assert fresh["running_inverse_deviation"][0] == pytest.approx(
        0.875 + 0.125 / math.sqrt(18.25 + 1e-5), rel=1e-15
    )


def test_sbn_variance_is_near_the_ordinary_one_for_gaussians():
    c = np.random.default_rng(1).normal(size=(20000, 1))
    out = shift.sbn_forward(c, [1.0], [0.0])
    assert out["variance"][0] / c.var() == pytest.approx(1.018, abs=0.005)
    assert 0.69 <= out["y"].std() <= 1.42


def test_sbn_inference_rounds_when_it_uses():
    y = shift.sbn_inference([[3.0, 3.0], [0.0, 0.0]], [3.0, -1.0], [0.5, 0.0], [1, 1], [0.3, 0.7])
    np.testing.assert_array_equal(y, [[2.5, -1.0], [-0.5, 0.5]])


def sbn_case(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """x, gain, shift and dy (which leans on x, so that p is not small) of a 10 x 4 batch."""
    rng = np.random.default_rng(seed)
    x = rng.normal(0.5, [0.3, 1, 2, 7], (10, 4))
    gain = rng.uniform(0.6, 2.8, 4) * [1, -1, 1, -1]
    return x, gain, rng.normal(size=4), rng.normal(size=(10, 4)) + 0.5 * x


@pytest.mark.parametrize("choice", ["E", "S", "Q", "R"])
@pytest.mark.parametrize("seed", range(3))
def test_sbn_backward_is_the_gradient_of_its_surrogate(choice, seed):
    x, gain, b, dy = sbn_case(seed)
    epsilon = 0.05

    def cost(x_, gain_, b_):
        y = shift.sbn_surrogate(x_, gain_, b_, x, gain, epsilon=epsilon, choice=choice)
        return float(np.sum(dy * y))

    np.testing.assert_allclose(
        shift.sbn_surrogate(x, gain, b, x, gain, epsilon=epsilon, choice=choice),
        shift.sbn_forward(x, gain, b, epsilon=epsilon)["y"],
        atol=1e-14,
    )
    ours = shift.sbn_backward(dy, x, gain, epsilon=epsilon, choice=choice)
    dx = central_differences(lambda z: cost(z, gain, b), x)
    assert relative_error(dx, ours["dx"]) < 1e-8
    dgain = central_differences(lambda z: cost(x, z, b), gain)
    np.testing.assert_allclose(dgain, ours["dgain"], rtol=1e-8, atol=1e-10)
    dshift = central_differences(lambda z: cost(x, gain, z), b)
    np.testing.assert_allclose(dshift, ours["dshift"], rtol=1e-8)
    np.testing.assert_allclose(ours["dx"].sum(axis=0), 0, atol=1e-12)


def test_choice_e_is_the_slope_of_the_real_function_away_from_jumps():
    x, gain, b, dy = sbn_case(4)
    forward = shift.sbn_forward(x, gain, b)
    assert forward["margin"] > 1e-4
    dx = central_differences(
        lambda z: float(np.sum(dy * shift.sbn_forward(z, gain, b)["y"])), x, step=1e-7
    )
    assert relative_error(dx, shift.sbn_backward(dy, x, gain, choice="E")["dx"]) < 1e-7


def test_choice_t_is_the_formula_of_the_torch_code():
    x, gain, _, dy = sbn_case(5)
    ours = shift.sbn_backward(dy, x, gain, choice="T")
    forward = shift.sbn_forward(x, gain, np.zeros(4))
    A, s, G = (forward[n] for n in ("ap2_centred", "ap2_inverse_deviation", "ap2_gain"))
    dx = G * s * (dy - dy.mean(axis=0) - s**2 * A * (dy * A).mean(axis=0))
    np.testing.assert_allclose(ours["dx"], dx, atol=1e-13)
    np.testing.assert_allclose(
        ours["dgain"], np.sum(dy * shift.ap2(forward["normalised"]), axis=0), atol=1e-13
    )
    np.testing.assert_allclose(ours["dshift"], dy.sum(axis=0), atol=1e-13)
    # No gradient of any function of the centred input would leave a sum over the batch.
    assert np.max(np.abs(ours["dx"].sum(axis=0))) > 0.01


@pytest.mark.parametrize("choice", ["S", "Q", "T"])
def test_readings_agree_with_vanilla_batch_norm_where_every_ap2_is_exact(choice):
    rng = np.random.default_rng(7)
    x = 4.0 * rng.permuted(np.repeat([[-1.0], [1.0]], 6, axis=0).repeat(3, axis=1), axis=0)
    gain, dy = np.array([2.0, -0.5, 1.0]), rng.normal(size=x.shape)
    ours = shift.sbn_backward(dy, x, gain, epsilon=0.0, choice=choice)
    norm = algorithm1.batch_norm(x, gain, np.zeros(3), 0.0)
    dx, dgain, dshift = algorithm1.batch_norm_backward(
        dy, gain, norm["normalised"], norm["inverse_deviation"]
    )
    np.testing.assert_allclose(ours["dx"], dx, atol=1e-14)
    np.testing.assert_allclose(ours["dgain"], dgain, atol=1e-14)
    np.testing.assert_allclose(ours["dshift"], dshift, atol=1e-14)


def test_sbn_at_gain_zero_and_unknown_choice():
    x, gain, b, dy = sbn_case(6)
    gain[0] = 0.0
    slope = shift.sbn_backward(dy, x, gain, choice="S")["dgain"]
    ratio = shift.sbn_backward(dy, x, gain, choice="Q")["dgain"]
    assert slope[0] == ratio[0] != 0
    for function in (
        lambda: shift.sbn_backward(dy, x, gain, choice="X"),
        lambda: shift.sbn_surrogate(x, gain, b, x, gain, choice="T"),
    ):
        with pytest.raises(ValueError, match="choice"):
            function()


# Algorithm 4 ------------------------------------------------------------------------------------


def test_step_sizes_of_the_paper():
    right = {1: -7, 2: -8, 3: -8, **dict.fromkeys(range(4, 10), -9)}
    for t in range(1, 60):
        size = shift.shift_adamax_step_size(2.0**-10, 1 - 2.0**-3, t)
        assert size == 2.0 ** right.get(t, -10), t


def test_shift_adamax_by_hand():
    out = shift.shift_adamax([1.0, 0.5, 0.25], [3.0, -0.3, 0.0], [0, 0, 0], [0, 0, 0], 1)
    np.testing.assert_allclose(out["first"], [0.375, -0.0375, 0.0])
    np.testing.assert_array_equal(out["second"], [3.0, 0.3, 0.0])  # not rounded
    step = np.array([0.375 / 4, -0.0375 / 0.25, 0.0]) * 2.0**-7
    np.testing.assert_allclose(out["parameter"], [1, 0.5, 0.25] - step, atol=1e-16)
    again = shift.shift_adamax(
        out["parameter"], [1.0, -6.0, 0.0], out["first"], out["second"], 2, scale=5.0
    )
    m = np.array([0.375 * 0.875 + 0.125, -0.0375 * 0.875 - 0.75, 0.0])
    v = np.array([3.0 * (1 - 2.0**-10), 6.0, 0.0])
    np.testing.assert_allclose(again["first"], m)
    np.testing.assert_array_equal(again["second"], v)
    step = 5 * 2.0**-8 * m / [4.0, 8.0, 1.0]  # AP2 of 2.997 is 4, of 6 is 8
    np.testing.assert_allclose(again["parameter"], out["parameter"] - step, atol=1e-16)
    assert again["step_size"] == 2.0**-8


def test_shift_adamax_scale_and_clip():
    common = {"gradient": [1.0], "first": [0.0], "second": [0.0], "t": 1}
    plain = shift.shift_adamax([0.0], **common)["parameter"][0]
    assert plain == -(2.0**-10)
    assert shift.shift_adamax([0.0], **common, scale=50.0)["parameter"][0] == 50 * plain
    rounded = shift.shift_adamax([0.0], **common, scale=50.0, round_scale=True)
    assert rounded["parameter"][0] == 64 * plain
    assert shift.shift_adamax([-1.0], **common)["parameter"][0] < -1
    assert shift.shift_adamax([-1.0], **common, clip=True)["parameter"][0] == -1
    with pytest.raises(ValueError, match="variant"):
        shift.shift_adamax([0.0], **common, variant="lua")


def test_shift_adamax_torch_by_hand():
    out = shift.shift_adamax([0.0], [3.0], [0.0], [0.0], 1, variant="torch")
    v = 4 + 2.0**-27  # the state is overwritten
    assert out["second"] == [v]
    assert out["step_size"] == 0.125  # AP2(2^-6 / 0.1 = 0.15625)
    assert out["parameter"][0] == pytest.approx(-0.125 * 0.3 / v, rel=1e-15)
    idle = shift.shift_adamax([0.5], [0.0], [0.0], [0.0], 1, variant="torch")
    assert idle["parameter"] == [0.5]
    assert idle["second"] == [2.0**-27]


def test_the_state_of_the_torch_variant_never_decays():
    state = {variant: (np.zeros(1), np.zeros(1)) for variant in ("paper", "torch")}
    for t in range(1, 1501):
        for variant, (m, v) in state.items():
            gradient = [1.0 if t == 1 else 0.001]
            out = shift.shift_adamax([0.0], gradient, m, v, t, variant=variant)
            state[variant] = out["first"], out["second"]
    assert state["torch"][1] == [1 + 2.0**-27]
    assert state["paper"][1][0] == pytest.approx((1 - 2.0**-10) ** 1499)


@pytest.mark.parametrize("gradient", [5e-324, 1e-310, 1e300])
def test_shift_adamax_at_the_ends_of_the_floats(gradient):
    out = shift.shift_adamax([0.0], [gradient], [0.0], [0.0], 1)
    ratio = 0.125 * gradient / shift.ap2_scalar(gradient)
    assert out["parameter"][0] == pytest.approx(-(2.0**-7) * ratio, rel=1e-9)
    assert np.isfinite(out["parameter"][0])
