"""The package against the authors' own code, really run: every quantity that both have.

In the order of the paper. `assert_close` allows the rounding of sums that are added in another
order (`tests.authors.ROUNDING`), everything else is compared exactly. Where we differ on purpose,
the test says where exactly, and why. Whole networks: `tests/test_authors_networks.py`.
"""

from typing import Any

import numpy as np
import pytest

from qnn_ref.bits import pack, unpack, xnor_matmul
from qnn_ref.experiments import find_recipe
from qnn_ref.layers import (
    BatchNorm,
    Conv2D,
    Dense,
    Dropout,
    Layer,
    ShiftBatchNorm,
)
from qnn_ref.layers.weighted import Weighted
from qnn_ref.losses import squared_hinge
from qnn_ref.optimizers import Adam, ExponentialDecay, ShiftAdaMax
from qnn_ref.parameter import Parameter, glorot_scale
from qnn_ref.quantizers import LinearQuant, Sign, StochasticSign, hard_sigmoid
from qnn_ref.shifts import ap2
from tests.authors import STRICT, assert_close, images, kernel, torch_rule, vectors

both_dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64])

BAND = {np.float32: 2.0**-25, np.float64: 2.0**-54}
"""The authors round (x + 1) / 2 or clip(x) + 1: x vanishes beside 1 if it is this small."""


# 2.1 and 2.3: Sign, its stochastic form, their masks -------------------------------------------


@both_dtypes
def test_torch_binary_units(dtype):
    content = vectors("torch_binarized_neurons", dtype)
    x, dy = content["inputs"]["x"], content["inputs"]["dy"]
    authors = content["outputs"]["neurons"]
    # Difference: sign() of what is left of x beside 1, so 0 and its neighbours give 0; we give +-1.
    zero = (x >= -BAND[dtype]) & (x <= 2 * BAND[dtype])
    np.testing.assert_array_equal(authors["output_htanh"] == 0, zero)
    got = Sign().quantize(x)
    np.testing.assert_array_equal(got[~zero], authors["output_htanh"][~zero])
    np.testing.assert_array_equal(STRICT.backward(dy, x), authors["gradInput_htanh"])
    # Difference: by eq. (4) the gradient passes at exactly +-1, in Torch's hard tanh it does not.
    at_one = np.abs(x) == 1
    inclusive = Sign().backward(dy, x)
    np.testing.assert_array_equal(inclusive[~at_one], authors["gradInput_htanh"][~at_one])
    np.testing.assert_array_equal(inclusive[at_one], dy[at_one])


@both_dtypes
def test_pytorch_binary_units(dtype):
    outputs = vectors("pytorch_modules", dtype)["outputs"]
    x, dy = outputs["binarize"]["x"], outputs["binarize"]["dy"]
    authors = outputs["hardtanh_binarize"]
    zero = x == 0  # difference: torch.sign(0) is 0
    np.testing.assert_array_equal(Sign().quantize(x)[~zero], authors["output"][~zero])
    np.testing.assert_array_equal(STRICT.backward(dy, x), authors["gradInput"])
    # Alone, the module has no mask at all: the hard tanh in front of it brings the mask.
    np.testing.assert_array_equal(outputs["binarize"]["gradInput"], dy)


@both_dtypes
def test_theano_binary_units(dtype):
    outputs = vectors("theano_binary_net", dtype)["outputs"]
    unit = outputs["unit"]
    x, got = unit["x"], Sign().quantize(unit["x"])
    # Difference: 2 round(sigma(x)) - 1 is +1 for negative values that vanish beside 1, too.
    band = (x >= -BAND[dtype]) & (x < 0)
    np.testing.assert_array_equal(got[~band], unit["binary_tanh"][~band])
    np.testing.assert_array_equal(unit["binary_tanh"][band], 1)
    # The mask includes the bound, as in eq. (4). Difference: the float after 1 passes too, where
    # (x + 1) / 2 rounds to 1.
    after = (x > 1) & ((x + 1) / 2 == 1)
    dy = np.arange(1, len(x) + 1).astype(dtype)
    passed = Sign().backward(dy, x)
    np.testing.assert_array_equal(passed[~after], unit["gradient_of_weighted_sum"][~after])
    # Difference: weights, by the rounding of later Theano (half to even), are -1 at 0.
    down = (x >= 0) & (x <= 2 * BAND[dtype])
    np.testing.assert_array_equal(
        got[~down & ~band], unit["binarization_of_weights"][~down & ~band]
    )
    np.testing.assert_array_equal(unit["binarization_of_weights"][down], -1)


@both_dtypes
def test_theano_rounding_of_2016(dtype):
    """The rounding of the paper's runs, half away from zero: weights at 0 are +1, as ours."""
    modes = vectors("theano_binary_net", dtype)["rounding_modes"][dtype.__name__]
    x = modes["x"].astype(dtype)
    band = (x >= -BAND[dtype]) & (x < 0)
    np.testing.assert_array_equal(Sign().quantize(x)[~band], modes["half_away_from_zero"][~band])
    assert np.any(Sign().quantize(x) != modes["half_to_even"])


@both_dtypes
def test_torch_stochastic_units_with_the_authors_uniform_numbers(dtype):
    case = vectors("torch_binarized_neurons")["stochastic_with_uniform_numbers"][dtype.__name__]
    x, dy, uniform = (case[k].astype(dtype) for k in ("x", "gradOutput", "uniform"))
    unit = StochasticSign(STRICT.saturation)
    np.testing.assert_array_equal(unit.encode(x, uniform)[0], case["output"])
    np.testing.assert_array_equal(unit.backward(dy, x), case["gradInput"].astype(dtype))
    assert np.any(unit.encode(x, 1 - uniform)[0] != case["output"])


@both_dtypes
def test_shares_of_plus_one(dtype):
    """Frequencies of 20,000 draws and more: within 5 standard deviations of eqs. (2), (3)."""
    torch = vectors("torch_binarized_neurons", dtype)["outputs"]["neurons"]["stochastic_shares"]
    pytorch = vectors("pytorch_modules", dtype)["outputs"]["binarize_stochastic_shares"]
    theano = vectors("theano_binary_net", dtype)["outputs"]["stochastic"]["shares_plus_one"]
    for draws, shares in ((100_000, torch), (100_000, pytorch), (20_000, theano)):
        p = hard_sigmoid(shares[:, 0])
        assert np.all(np.abs(shares[:, 1] - p) <= 5 * np.sqrt(p * (1 - p) / draws))


@both_dtypes
def test_inference_is_deterministic_as_in_torch(dtype):
    authors = vectors("torch_binarized_neurons", dtype)["outputs"]["neurons"]
    x = authors["stochastic_shares"][:, 0]
    inside = x != 0  # difference at 0, as above
    got = StochasticSign().quantize(x)
    np.testing.assert_array_equal(got[inside], authors["stochastic_eval"][inside])


def test_stochastic_weights_of_torch_forget_the_sign():
    """Its option stcWeights multiplies by p - u; ours are the signs of that, as in eq. (2)."""
    content = vectors("torch_binary_linear_and_conv")
    w, authors = content["inputs"]["linear"]["weight"], content["outputs"]["linear"]
    left = authors["stcWeights_training_weightB"]
    uniform = authors["stcWeights_training_randmat"]
    assert_close(hard_sigmoid(w) - uniform, left, "p - u")
    np.testing.assert_array_equal(StochasticSign().encode(w, uniform)[0], np.sign(left))


def test_stochastic_weights_of_theano_are_real_at_test():
    """With stochastic=True its test network multiplies by latent weights; ours by their signs."""
    authors = vectors("theano_binary_net")["outputs"]["stochastic"]
    latent = authors["deterministic_true_and_stochastic_true"]
    signs = authors["deterministic_true_and_stochastic_false"]
    off_zero = latent != 0
    np.testing.assert_array_equal(StochasticSign().quantize(latent)[off_zero], signs[off_zero])


# Algorithm 1, lines 1, 2, 8, 9: products with binary weights ------------------------------------


def built(layer: Layer, shape: tuple[int, ...], dtype: Any, **arrays: Any) -> Layer:
    """A built layer with these parameters."""
    layer.build(shape, np.random.default_rng(0), dtype=dtype)
    for name, array in arrays.items():
        layer.parameters()[name].assign(array)
    return layer


@both_dtypes
def test_torch_dense(dtype):
    content = vectors("torch_binary_linear_and_conv", dtype)
    given, authors = content["inputs"]["linear"], content["outputs"]["linear"]
    # Difference: latent weights just below 0 become +1 there (in float32 only, down to -2^-25).
    band = (given["weight"] < 0) & (given["weight"] >= -BAND[dtype])
    weight = np.where(band, 0, given["weight"]).T
    dense = built(Dense(3, bias=True), (5,), dtype, weight=weight, bias=given["bias"])
    np.testing.assert_array_equal(dense.weight.quantized.T, authors["weightB"])
    assert_close(dense.forward(given["x"], training=True), authors["output"], "output")
    assert_close(dense.backward(given["dy"]), authors["gradInput"], "input gradient")
    assert_close(dense.weight.grad.T, authors["gradWeight"], "weight gradient")
    assert_close(dense.bias.grad, authors["gradBias"], "bias gradient")


@both_dtypes
def test_pytorch_dense(dtype):
    given = vectors("pytorch_modules", dtype)["outputs"]["linear"]
    # Difference: weights at exactly 0 multiply by 0 there. They do not matter to our gradients'
    # form, so they are compared where the authors' weight is +-1.
    inside = given["weight"] != 0
    dense = built(Dense(3, bias=True), (5,), dtype, weight=given["weight"].T, bias=given["bias"])
    signs = Sign().quantize(given["x"])  # it binarizes its input by itself
    codes = dense.weight.quantized.T
    lost = (signs[:, None] * np.where(inside, 0, codes)[None]).sum(axis=2)
    assert_close(dense.forward(signs, training=True) - lost, given["output"], "output")
    dx = dense.backward(given["dy"])
    lost = given["dy"] @ np.where(inside, 0, codes)
    assert_close(dx - lost, given["gradInput"], "input gradient")
    assert_close(dense.weight.grad.T, given["gradWeight"], "weight gradient")
    assert_close(dense.bias.grad, given["gradBias"], "bias gradient")


@both_dtypes
@pytest.mark.parametrize("code", ["torch", "pytorch"])
def test_convolution(code, dtype):
    """3x3, padding 1 with zeros, with a bias; NCHW to NHWC; no flip."""
    if code == "torch":
        content = vectors("torch_binary_linear_and_conv", dtype)
        given, authors = content["inputs"]["conv"], content["outputs"]["conv"]
    else:
        given = authors = vectors("pytorch_modules", dtype)["outputs"]["conv"]
    weight = kernel(given["weight"])
    conv = Conv2D(3, 3, padding=1, bias=True)
    built(conv, (4, 4, 2), dtype, weight=weight, bias=given["bias"])
    assert_close(conv.forward(images(given["x"]), True), images(authors["output"]), "output")
    dx = conv.backward(images(given["dy"]))
    assert_close(dx, images(authors["gradInput"]), "input gradient")
    assert_close(conv.weight.grad, kernel(authors["gradWeight"]), "weight gradient")
    assert_close(conv.bias.grad, authors["gradBias"], "bias gradient")


@both_dtypes
def test_theano_convolution_flips_its_kernel(dtype):
    authors = vectors("theano_binary_net", dtype)["outputs"]["conv"]
    assert authors["flip_filters"]
    weight = kernel(authors["weight"])[::-1, ::-1]
    conv = built(Conv2D(3, 3, padding=1), (4, 4, 2), dtype, weight=weight)
    x, y = images(authors["x"]), images(authors["output"])
    np.testing.assert_array_equal(conv.forward(x), y)
    conv.weight.assign(weight[::-1, ::-1])
    assert np.any(conv.forward(x) != y)


def test_torch_starts_in_the_same_range():
    """Weights uniform in [-1, 1). Difference: its biases in +-1 / sqrt(fan_in), ours at 0."""
    start = vectors("torch_binary_linear_and_conv")["outputs"]["linear"]["init"]
    dense = Dense(300).build((400,), np.random.default_rng(0), dtype=np.float64)
    for least, most in ((start["wmin"], start["wmax"]), (dense.weight.latent.min(), 1)):
        assert -1 <= least < -0.9999 < 0.9999 < most <= 1
    assert start["bound_bias"] == pytest.approx(1 / np.sqrt(400))


# Algorithm 1, line 11: learning-rate scales and clips -------------------------------------------


def test_glorot_scales_of_theano():
    authors = vectors("theano_binary_net")["outputs"]["glorot"]
    sizes = [784, 4096, 4096, 4096]
    scales = [glorot_scale(m, n) for m, n in zip(sizes, [*sizes[1:], 10], strict=True)]
    assert_close(np.float32([scales[0], scales[1], scales[3]]), authors["mnist"], "MNIST", 1)
    network = find_recipe("cifar10-theano").layers(10)
    scales, channels, side = [], 3, 32
    for layer in network:
        if isinstance(layer, Conv2D):
            scales.append(glorot_scale(9 * channels, 9 * layer.units))
            channels = layer.units
        elif isinstance(layer, Dense):
            fan_in = channels * side * side if len(scales) == 6 else channels
            scales.append(glorot_scale(fan_in, layer.units))
            channels = layer.units
        elif type(layer).__name__ == "MaxPool2D":
            side //= 2
    assert_close(np.float32(scales), authors["cifar"], "CIFAR-10", 1)


MODELS = {
    "BinaryNet_MNIST_Model": ("mnist-torch", (28, 28, 1)),
    "BinaryNet_Cifar10_Model": ("cifar10-torch", (32, 32, 3)),
    "BinaryNet_SVHN_Model": ("svhn-torch", (32, 32, 3)),
}


@pytest.mark.parametrize("model", MODELS)
def test_torch_rates_and_clips(model):
    """All 44 pairs, from the networks that the recipes build."""
    rows = [r for r in vectors("torch_rates_and_clips")["outputs"] if r["model"] == model]
    name, shape = MODELS[model]
    recipe = find_recipe(name)
    network, rule = recipe.network(shape, 10, np.random.default_rng(0)), recipe.optimizer()
    layers = [la for la in network.layers if isinstance(la, Weighted | BatchNorm)]
    for row, layer in zip(rows, layers, strict=True):
        first, *others = layer.parameters().values()
        assert first.size == row["weights"]
        assert rate_of(first, rule) == pytest.approx(row["weight_rate"], rel=5e-6)
        if isinstance(layer, Weighted):
            assert row["weight_clipped"]
            assert first.bound == 1
            assert not others  # difference: no bias, since a batch norm follows and takes it away
        else:
            assert rate_of(others[0], rule) == row["bias_rate"] == 1
            # Difference: the CIFAR-10 file clips gains and shifts too, the paper only weights.
            assert row["weight_clipped"] == ("Cifar10" in model)
            assert all(p.bound == np.inf for p in (first, *others))


def rate_of(parameter: Parameter, rule: ShiftAdaMax) -> float:
    """Learning-rate scale as the recipe's optimizer uses it."""
    scale = parameter.learning_rate_scale
    return float(ap2(np.array(scale))) if rule.round_scale else scale


# 2.4: AP2, batch norm, shift-based batch norm ---------------------------------------------------


@both_dtypes
def test_ap2(dtype):
    """Difference: within 6 units of sqrt(2) 2^k the authors' log(x) / log(2) rounds to k + 1/2 or
    past it. Ours is exact there too, as its square tells."""
    authors = vectors("torch_ap2", dtype)["outputs"]["ap2"]
    x, got = authors["x"], ap2(authors["x"])
    fraction = np.abs(x) / np.exp2(np.floor(np.log2(np.abs(x)))).astype(dtype)
    near = np.abs(fraction - np.sqrt(2)) <= 6 * np.finfo(dtype).eps
    assert not near.all()
    np.testing.assert_array_equal(got[~near], authors["ap2"][~near])
    ratio = authors["ap2"][near] / got[near]
    assert set(ratio) == {0.5, 1.0, 2.0}
    above = np.float64(fraction[near]) ** 2 >= 2
    below = np.exp2(np.floor(np.log2(np.float64(x[near]))))
    np.testing.assert_array_equal(got[near], np.where(above, 2 * below, below))


@both_dtypes
def test_last_batch_norm_of_torch(dtype):
    """The library's batch norm: its defaults, gradients, running unbiased variance, inference."""
    content = vectors("torch_library_batch_norm", dtype)
    given, authors = content["inputs"], content["outputs"]["lib_batchnorm"]
    norm = BatchNorm(authors["eps"], authors["momentum"], "unbiased variance", uniform_gain=True)
    norm.build((5,), np.random.default_rng(0), dtype=dtype)
    for gain in (norm.gain.latent, authors["fresh_weight"]):
        assert np.all((gain >= 0) & (gain < 1))
    norm.gain.assign(given["gamma"])
    norm.shift.assign(given["beta"])
    assert_close(norm.forward(given["batches"][0], True), authors["output"], "output")
    assert_close(norm.backward(given["grads"][0]), authors["gradInput"], "input gradient")
    assert_close(norm.gain.grad, authors["gradWeight"], "gain gradient")
    assert_close(norm.shift.grad, authors["gradBias"], "shift gradient")
    assert_close(norm.running_mean, authors["running_mean"], "running mean")
    assert_close(norm.running_variance, authors["running_var"], "running variance")
    assert_close(norm.forward(given["test"]), authors["eval"], "inference")


def rows(name: str, x: Any) -> Any:
    """Layout of a case: images of the spatial one, channels last."""
    return images(x) if name == "sbn" and x.ndim == 4 else x


@both_dtypes
@pytest.mark.parametrize("name", ["bn", "bn_special", "bn_single", "sbn"])
def test_shift_batch_norm(name, dtype):
    """Form T: outputs, gradients, running statistics and inference after each of the batches."""
    content = vectors("torch_shift_batch_norm", dtype)
    given, authors = content["inputs"][name], content["outputs"][name]
    norm = ShiftBatchNorm("torch", authors["eps"], authors["momentum"])
    shape = rows(name, given["test"]).shape[1:]
    built(norm, shape, dtype, gain=given["gamma"], shift=given["beta"])
    if name == "sbn":  # difference: it starts at 0, and refuses inference before its first batch
        norm.running_inverse_deviation[:] = 0
    else:
        assert_close(norm.forward(given["test"]), authors["eval_fresh"], "fresh inference")
    for x, dy, after in zip(given["batches"], given["grads"], authors["batches"], strict=True):
        x, dy = rows(name, x), rows(name, dy)
        assert_close(norm.forward(x, True), rows(name, after["output"]), "output")
        assert_close(norm.backward(dy), rows(name, after["gradInput"]), "input gradient")
        assert_close(norm.gain.grad, after["gradWeight"], "gain gradient")
        assert_close(norm.shift.grad, after["gradBias"], "shift gradient")
        assert_close(norm.running_mean, after["running_mean"], "running mean")
        r = norm.running_inverse_deviation
        assert_close(r, after["running_std"], "running inverse deviation")
        np.testing.assert_array_equal(ap2(r), after["running_std_ap2"])
        np.testing.assert_array_equal(ap2(norm.gain.latent), after["weight_ap2"])
        test = rows(name, given["test"])
        assert_close(norm.forward(test), rows(name, after["eval"]), "inference")


@both_dtypes
def test_running_inverse_deviation_of_a_constant_deviation(dtype):
    """Batches of +-1: from 1 (dense) it stays, from 0 (their spatial form) it comes up slowly."""
    authors = vectors("torch_shift_batch_norm")["constant_batch_of_plus_minus_1"][dtype.__name__]
    x = np.array([[1], [-1]], dtype)
    for form, start in (("dense", 1), ("spatial", 0)):
        norm = ShiftBatchNorm("torch").build((1,), dtype=dtype)
        norm.running_inverse_deviation[:] = start
        for expected in authors[form].astype(dtype):
            norm.forward(x, training=True)
            assert_close(norm.running_inverse_deviation[0], expected, form)


# 2.5 and 4.2: optimizers ------------------------------------------------------------------------


@both_dtypes
def test_shift_adamax(dtype):
    content = vectors("torch_shift_adamax", dtype)
    given, authors = content["inputs"], content["outputs"]["adamax"]
    rule = torch_rule(given["lr"])
    sizes = [rule.step_size(t) for t in range(1, 61)]
    np.testing.assert_array_equal(sizes, authors["step_sizes_2pow_minus6"])
    parameters = one_each(given["x"], given["glr"], given["clip"])
    for gradient, after in zip(given["grads"], authors["steps"], strict=True):
        step(rule, parameters, gradient)
        assert_close(latents(parameters), after["x"], "parameters", 4)
        assert_close(moments(rule, "first"), after["m"], "m", 4)
        assert_close(moments(rule, "norm"), after["v"], "v", 4)


@both_dtypes
def test_shift_adamax_without_clips(dtype):
    content = vectors("torch_shift_adamax", dtype)
    given, authors = content["inputs"], content["outputs"]["adamax"]
    parameters = one_each(given["x"], given["glr"], np.zeros(8))
    step(torch_rule(given["lr"]), parameters, given["grads"][0])
    assert_close(latents(parameters), authors["no_clip_at_all"], "parameters", 4)


@both_dtypes
def test_epsilon_of_shift_adamax_adds_up_without_gradients(dtype):
    content = vectors("torch_shift_adamax", dtype)
    given = content["inputs"]
    rule, parameters = torch_rule(given["lr"]), one_each(given["x"], given["glr"], given["clip"])
    for after in content["outputs"]["adamax"]["all_zero_gradients"]:
        step(rule, parameters, np.zeros(8, dtype))
        np.testing.assert_array_equal(moments(rule, "norm"), after["v"])
        np.testing.assert_array_equal(latents(parameters), after["x"])


@both_dtypes
def test_the_norm_of_the_torch_variant_never_decays(dtype):
    authors = vectors("torch_shift_adamax", dtype)["outputs"]["adamax"]
    rule, parameters = torch_rule(2.0**-6), one_each(np.zeros(1, dtype), [1], [1])
    for gradient in [1.0] + 200 * [0.001]:  # the authors' run has 20,000 of them
        step(rule, parameters, np.array([gradient], dtype))
    assert moments(rule, "norm")[0] == dtype(authors["v_after_1_then_20000_times_0001"])


@both_dtypes
def test_adam_of_torch(dtype):
    """Epsilon before the correction, as in Theano."""
    content = vectors("torch_shift_adamax", dtype)
    given, authors = content["inputs"], content["outputs"]["adam"]
    rule = Adam(0.003, epsilon_at="before correction")
    parameters = one_each(given["x"], given["glr"], given["clip"])
    for gradient, after in zip(given["grads"], authors["steps"], strict=True):
        step(rule, parameters, gradient)
        assert_close(latents(parameters), after["x"], "parameters")
        assert_close(moments(rule, "first"), after["m"], "m")
        assert_close(moments(rule, "second"), after["v"], "v")
    late = Adam(0.003)
    parameters = one_each(given["x"], given["glr"], given["clip"])
    step(late, parameters, given["grads"][0])
    assert abs(latents(parameters) - authors["steps"][0]["x"]).max() > 1e-5


def one_each(x: Any, scales: Any, clips: Any) -> dict[str, Parameter]:
    """A parameter an element, since each has a rate and a clip of its own."""
    return {
        str(i): Parameter(x[i : i + 1], None, 1.0 if clips[i] else np.inf, float(scales[i]))
        for i in range(len(x))
    }


def step(rule: Any, parameters: dict[str, Parameter], gradient: Any) -> None:
    """One step of all parameters."""
    for i, parameter in enumerate(parameters.values()):
        parameter.grad = np.array(gradient[i : i + 1])
    rule.step(parameters)


def latents(parameters: dict[str, Parameter]) -> Any:
    """All values in one array."""
    return np.concatenate([p.latent for p in parameters.values()])


def moments(rule: Any, name: str) -> Any:
    """All moments of a name in one array."""
    return np.concatenate([state[name] for state in rule.state.values()])


def test_the_rate_falls_once_an_epoch():
    """Algorithm 1 has line 12 in every step; the authors' loop has it once an epoch as ours."""
    batches = vectors("theano_binary_net")["outputs"]["loop"]["batches"]
    schedule = ExponentialDecay(0.003, 0.003 / 2**4, epochs=4)
    rates = [schedule(epoch) for epoch in range(4) for _ in range(2)]
    np.testing.assert_allclose(batches[:, 1], rates, rtol=1e-15)


# 4.2: loss and dropout --------------------------------------------------------------------------


@both_dtypes
def test_squared_hinge(dtype):
    """Mean over batch and classes, so the gradient is divided by both numbers."""
    content = vectors("torch_squared_hinge", dtype)
    given, authors = content["inputs"], content["outputs"]["hinge"]
    loss, gradient = squared_hinge(given["x"], given["y"])
    assert loss == pytest.approx(authors["loss"], rel=64 * float(np.finfo(dtype).eps))
    assert_close(gradient, authors["gradInput"], "gradient", 4)


def test_dropout_of_theano_rescales():
    values = vectors("theano_binary_net")["rounding_modes"]["float64"]
    x = np.tile([1.0, -1.0], (1, 500))
    half = Dropout(0.5).build((1000,), np.random.default_rng(0), dtype=np.float64)
    np.testing.assert_array_equal(np.unique(half.forward(x, True)), values["dropout_values"])
    fifth = Dropout(0.2).build((1000,), np.random.default_rng(0), dtype=np.float64)
    kept = np.unique(fifth.forward(np.abs(x), True))
    np.testing.assert_array_equal(kept, values["dropout_02_values"])


# 3: more bits -----------------------------------------------------------------------------------


def test_fixed_point_of_pytorch():
    """Its quantizer before 2023 behind a hard tanh is L1, but for +1, which 2 bits cannot hold."""
    content = vectors("pytorch_mlp_steps")["clean"]
    x = np.array([-1.5, -1.0, -0.6, -0.25, -0.1, 0.0, 0.05, 0.3, 0.75, 1.0, 1.5])
    for bits, authors in ((2, "old_quantize_2bits"), (8, "old_quantize_8bits_of_a_copy")):
        got = LinearQuant(bits, reading="fixed-point").quantize(x)
        limited = np.clip(content[authors], -1, 1 - 2.0 ** -(bits - 1))
        np.testing.assert_array_equal(got, limited)


# 6: XNOR kernels --------------------------------------------------------------------------------


@pytest.mark.parametrize("case", [0, 1])
def test_words_of_the_xnor_kernels(case):
    """32 bits a word there, 64 here; in both bit i is element i, 1 means +1 (and 0 is +1)."""
    authors = vectors("xnor_kernels")["outputs"][case]
    K = authors["n"]
    a = np.ascontiguousarray(authors["A_sign_bits_uint32"], np.uint32)
    b = np.ascontiguousarray(authors["B_sign_bits_uint32_by_column"].T, np.uint32)
    # Two of their words are one of ours, the first in the low half.
    a64, b64 = (low_first(words) for words in (a, b))
    np.testing.assert_array_equal(xnor_matmul(a64, b64, K), authors["xnor"])
    signs = unpack(a64, K, np.float32)
    element = a[:, :, None] >> np.arange(32, dtype=np.uint32) & 1
    np.testing.assert_array_equal(signs, 2.0 * element.reshape(len(a), K) - 1)
    np.testing.assert_array_equal(signs @ unpack(b64, K, np.float32).T, authors["xnor"])
    np.testing.assert_array_equal(pack(signs), a64)


def low_first(words: Any) -> Any:
    """Pairs of 32-bit words as words of 64 bits."""
    return words[:, 0::2].astype(np.uint64) | words[:, 1::2].astype(np.uint64) << np.uint64(32)
