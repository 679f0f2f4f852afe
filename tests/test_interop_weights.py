"""Weights of other libraries, loaded, give those libraries' own scores.

What the authors' Theano code answered stands in `tests/data/authors`; what PyTorch and larq gave in
`tests/data/weights`, whose headers say with which versions and by which command.
"""

import re

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view

from qnn_ref import Sequential, pack
from qnn_ref.experiments import RECIPES
from qnn_ref.files import FileError, load_arrays
from qnn_ref.interop import load_keras, load_theano, load_torch, theano_layers
from qnn_ref.layers import (
    BatchNorm,
    Conv2D,
    Dense,
    Flatten,
    MaxPool2D,
    Pixels,
    Quantize,
    ShiftBatchNorm,
)
from qnn_ref.packed import identical_scores
from qnn_ref.products import PlainProducts
from qnn_ref.quantizers import LinearQuant
from tests.authors import AFTER_ADAM, assert_close, vectors
from tests.make_weights import CHANNELS, CLASSES, FOLDER, HIDDEN, KIND, SHAPE, VERSION


def built(layers, shape, dtype=np.float64):
    return Sequential(layers, shape, np.random.default_rng(0), dtype)


# Theano


def theano_network(dtype):
    layers = []
    for units in (8, 8, 10):
        layers += [Dense(units, bias=True), BatchNorm(), Quantize()]
    return built(layers[:-1], (20,), dtype)


def theano_arrays(step):
    """The arrays of a step in the order in which the authors' code saves them."""
    names = "W", "b", "beta", "gamma", "mean", "inv_std"
    return [step[name][layer] for layer in range(3) for name in names]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("step", [0, 2])
def test_the_authors_theano_network_gives_the_authors_scores(tmp_path, dtype, step):
    authors = vectors("theano_binary_net", dtype)["outputs"]
    after = authors["plain"]["steps"][step]
    np.savez(tmp_path / "mnist_parameters.npz", *theano_arrays(after))
    loaded = load_theano(tmp_path / "mnist_parameters.npz", theano_network(dtype))
    x = vectors("theano_binary_net")["outputs"]["X_test"].astype(dtype)
    assert_close(loaded.network.forward(x), after["test_output"], "scores", AFTER_ADAM)
    assert "flipped" in loaded.readings["kernels"]


@pytest.mark.parametrize("flip", [True, False])
def test_theano_flips_kernels(flip):
    conv = vectors("theano_binary_net", np.float64)["outputs"]["conv"]
    network = built([Quantize(), Conv2D(3, 3, padding=1, bias=True)], (4, 4, 2))
    arrays = {"arr_0": conv["weight"], "arr_1": np.zeros(3)}
    found = load_theano(arrays, network, flip_kernels=flip).network
    y = found.forward(conv["x"].transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    assert np.array_equal(y, conv["output"]) == flip


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("mode", ["half_away_from_zero", "half_to_even", "run-time"])
def test_theano_rounds_weights_near_zero_as_stated(dtype, mode):
    content = vectors("theano_binary_net", np.float64)["rounding_modes"][dtype.__name__]
    x = content["x"].astype(dtype)
    network = built([Dense(1)], (len(x),), dtype)
    loaded = load_theano({"arr_0": x[:, None]}, network, rounding=mode.replace("_", " "))
    signs = loaded.network.layers[0].weight.quantized[:, 0]
    np.testing.assert_array_equal(signs, content.get(mode, np.where(x >= 0, 1, -1)))
    assert ("moved" in loaded.readings["sign of zero"]) == (mode != "run-time")
    assert "clipped" in loaded.readings["clip"]


def true_convolution(x, w):
    """Images and kernels as Theano has them, with one zero around: flipped."""
    view = sliding_window_view(np.pad(x, [(0, 0), (0, 0), (1, 1), (1, 1)]), (3, 3), axis=(2, 3))
    return np.einsum("nchwij,ucij->nuhw", view, w[:, :, ::-1, ::-1], optimize=True)


def by_hand(arrays, x):
    """The authors' CIFAR-10 network on images channels first, from the arrays in their order."""
    arrays = list(arrays)
    for layer in range(9):
        (w, b, beta, gamma, mean, r), arrays = arrays[:6], arrays[6:]
        signs = np.where(w >= 0, 1.0, -1.0)
        wide = (1, -1) if layer > 5 else (1, -1, 1, 1)
        if layer > 5:
            x = x.reshape(len(x), -1) @ signs
        else:
            x = true_convolution(x, signs)
        x = x + b.reshape(wide)
        if layer in (1, 3, 5):
            n, c, h, width = x.shape
            x = x.reshape(n, c, h // 2, 2, width // 2, 2).max(axis=(3, 5))
        x = (x - mean.reshape(wide)) * (r * gamma).reshape(wide) + beta.reshape(wide)
        if layer < 8:
            x = np.where(x >= 0, 1.0, -1.0)
    return x


def test_the_cifar10_network_flattens_as_theano_does():
    """Each array meets the right layer, channel and place: by hand, channels first."""
    rng = np.random.default_rng(1)
    recipe = RECIPES["cifar10-theano"].narrowed(64)
    network = built(theano_layers(recipe), (16, 16, 3))
    network.use_products(PlainProducts())
    shapes = []
    for layer in network.layers:
        if isinstance(layer, Dense | Conv2D):
            shape = layer.weight.shape
            shapes += [shape if len(shape) == 2 else (shape[3], shape[2], 3, 3), (layer.units,)]
        elif isinstance(layer, BatchNorm):
            shapes += [layer.gain.shape] * 4
    arrays = [rng.uniform(-1, 1, shape) for shape in shapes]
    for i in range(5, len(arrays), 6):
        arrays[i] = abs(arrays[i]) + 0.1
    images = rng.integers(0, 256, (3, 16, 16, 3), np.uint8)
    named = {f"arr_{i}": array for i, array in enumerate(arrays)}
    loaded = load_theano(named, network).network
    x = (2.0 * images - 255).transpose(0, 3, 1, 2) / 255
    np.testing.assert_allclose(loaded.forward(images), by_hand(arrays, x), rtol=1e-9, atol=1e-9)


def test_theano_arrays_that_do_not_fit_are_named():
    after = vectors("theano_binary_net", np.float64)["outputs"]["plain"]["steps"][0]
    arrays = {f"arr_{i}": array for i, array in enumerate(theano_arrays(after))}
    network = theano_network(np.float64)
    before = network.arrays()

    def refused(change, words, given=network):
        with pytest.raises(ValueError, match=re.escape(words)):
            load_theano(arrays | change, given)

    refused({"arr_0": arrays["arr_0"].T}, "arr_0 (W of layer 0 (Dense)): expected (20, 8) in")
    refused({"arr_2": np.ones(3)}, "arr_2 (beta of layer 1 (BatchNorm)): expected shape (8,), got")
    words = "arr_5 (inv_std of layer 1 (BatchNorm)): expected inverse deviations above 0, got"
    refused({"arr_5": -arrays["arr_5"]}, words)
    refused({"arr_3": np.full(8, np.nan)}, "arr_3 (gamma of layer 1 (BatchNorm)): ")
    refused({"arr_18": np.ones(3)}, "source: expected arr_0 to arr_17 for the layers of this")
    plain = [Dense(8), BatchNorm(), Quantize(), Dense(8), BatchNorm(), Quantize(), Dense(10)]
    refused({}, "as theano_layers", built([*plain, BatchNorm()], (20,)))
    odd = [Dense(8, bias=True), BatchNorm(running="unbiased variance")]
    with pytest.raises(ValueError, match=r"layer 1 \(BatchNorm\): expected BatchNorm\(running='in"):
        load_theano({f"arr_{i}": arrays[f"arr_{i}"] for i in range(6)}, built(odd, (20,)))
    refused({}, "network: layer 1 (ShiftBatchNorm) has no counterpart",
            built([Dense(8), ShiftBatchNorm()], (20,)))  # fmt: skip
    tiny = arrays["arr_3"] + 1e-12
    with pytest.raises(ValueError, match="float64 holds numbers that float32 does not; build"):
        load_theano(arrays | {"arr_3": tiny}, theano_network(np.float32))
    with pytest.raises(ValueError, match="rounding: expected"):
        load_theano(arrays, network, rounding="even")
    for name, array in network.arrays().items():  # it is a copy that is filled
        np.testing.assert_array_equal(array, before[name])


# PyTorch and larq


def stored(name):
    """Arrays of the other side, images and scores."""
    arrays, _ = load_arrays(FOLDER / f"{name}.npz", KIND, VERSION)
    there = {k.removeprefix("there/"): a for k, a in arrays.items() if k.startswith("there/")}
    return there, arrays["images"], arrays["scores"]


def torch_layers(**settings):
    return [
        *(Pixels(), Conv2D(CHANNELS[0], 3, padding=1), BatchNorm(), Quantize()),
        *(Conv2D(CHANNELS[1], (3, 2), bias=True), MaxPool2D(2), BatchNorm(), Quantize()),
        *(Flatten(), Dense(HIDDEN, bias=True), BatchNorm(**settings), Quantize()),
        *(Dense(CLASSES, bias=True), BatchNorm()),
    ]


NAMES = ["conv1", "bn1", "conv2", "bn2", "fc1", "bn3", "fc2", "bn4"]


@pytest.mark.parametrize("running", ["inverse deviation", "unbiased variance"])
def test_a_state_dict_gives_the_scores_of_pytorch(running):
    state, images, scores = stored("torch")
    network = built(torch_layers(running=running), SHAPE)
    loaded = load_torch(state, network, NAMES, epsilon=1e-5)
    found = loaded.network.forward(images)
    np.testing.assert_allclose(found, scores, rtol=1e-10, atol=1e-10)
    assert identical_scores(loaded.network, pack(loaded.network), images) == len(images)
    assert "unbiased" in loaded.readings["statistic"]
    assert "bn4 has neither" in loaded.readings["affine"]
    other = load_torch(state, network, NAMES, epsilon=1e-3).network.forward(images)
    assert np.abs(other - scores).max() > 1e-4


def test_tensors_are_taken_as_they_are():
    torch = pytest.importorskip("torch")
    layer = torch.nn.Linear(3, 2, bias=False)
    loaded = load_torch(layer.state_dict(prefix="fc."), built([Dense(2)], (3,), np.float32), ["fc"],
                        epsilon=1e-5)  # fmt: skip
    theirs = layer.weight.detach().sign().numpy().T
    np.testing.assert_array_equal(loaded.network.layers[0].weight.quantized, theirs)


def test_what_a_state_dict_lacks_or_has_too_much_is_named(tmp_path):
    state, _, _ = stored("torch")
    network = built(torch_layers(), SHAPE)

    def refused(words, change=(), names=NAMES, **settings):
        given = {k: a for k, a in (state | dict(change)).items() if a is not None}
        with pytest.raises(ValueError, match=re.escape(words)):
            load_torch(given, network, names, **{"epsilon": 1e-5} | settings)

    w = state["fc1.weight"].copy()
    w[0, 0] = -0.0
    refused("fc1.weight: 1 weights are exactly 0, which torch.sign", {"fc1.weight": w})
    for sign in (1, -1):
        given = state | {"fc1.weight": w}
        loaded = load_torch(given, network, NAMES, epsilon=1e-5, sign_of_zero=sign)
        assert loaded.network.layers[9].weight.quantized[0, 0] == sign
    refused("fc1.weight: expected latent weights or +-1, got +-0.125: a scale that is not 1",
            {"fc1.weight": np.sign(state["fc1.weight"]) / 8})  # fmt: skip
    powers = 2.0 ** np.arange(HIDDEN)[:, None]
    refused("got +-1 to +-256, one size a unit: a scale that is not 1, as auto_po2",
            {"fc1.weight": np.sign(state["fc1.weight"]) * powers})  # fmt: skip
    refused("conv1.scale: nothing in the network takes it", {"conv1.scale": np.ones(1)})
    load_torch(state | {"x": np.ones(1)}, network, NAMES, epsilon=1e-5, ignore=["x"])
    refused("ignore: there is no array 'x'", ignore=["x"])
    refused("bn1.running_var: layer 2 (BatchNorm) needs this array", {"bn1.running_var": None})
    refused("bn2.weight: layer 6 (BatchNorm) needs this array", {"bn2.weight": None})
    refused("fc1.bias: layer 9 (Dense) has a bias, and there is no such", {"fc1.bias": None})
    refused("conv1.bias: layer 1 (Conv2D) has no bias: bias=True", {"conv1.bias": np.ones(5)})
    negative = {"bn1.running_var": -np.ones(CHANNELS[0])}
    refused("bn1.running_var: expected variances of at least 0, got -1", negative)
    refused("names: expected one name each for layer 1 (Conv2D), layer 2", names=NAMES[1:])
    refused("epsilon: expected", epsilon=0)
    refused("sign_of_zero: expected 1, -1 or None, got 0", sign_of_zero=0)
    with pytest.raises(TypeError, match=r"^bn1.bias: expected an array, got list"):
        load_torch(state | {"bn1.bias": [0.0]}, network, NAMES, epsilon=1e-5)
    with pytest.raises(TypeError, match=r"^source: expected the path of an \.npz or arrays by na"):
        load_torch([1], network, NAMES, epsilon=1e-5)
    (tmp_path / "model.pt").write_bytes(b"\x80\x02}q\x00.")
    with pytest.raises(FileError, match=r"never opened: there, np\.savez\(path, \*\*\{k: v\.numpy"):
        load_torch(tmp_path / "model.pt", network, NAMES, epsilon=1e-5)


def test_a_pytorch_file_that_is_an_archive_is_not_opened_either(tmp_path):
    import zipfile

    with zipfile.ZipFile(tmp_path / "model.pt", "w") as archive:
        archive.writestr("model/data.pkl", b"none")
    with pytest.raises(FileError, match=r"model\.pt: expected an \.npz of plain arrays; files w"):
        load_torch(tmp_path / "model.pt", built([Dense(1)], (1,)), ["fc"], epsilon=1e-5)


def test_latent_weights_of_more_bits_are_taken_as_they_are():
    w = np.array([[0.3, -2.0, 0.0]])
    network = built([Dense(1, LinearQuant(2))], (3,))
    loaded = load_torch({"fc.weight": w}, network, ["fc"], epsilon=1e-5)
    np.testing.assert_array_equal(loaded.network.layers[0].weight.latent[:, 0], [0.3, -1.0, 0.0])
    assert loaded.readings["clip"].startswith("fc.weight: 1 latent weights beyond +-1 are clipped")


def keras_lists(arrays):
    """Lists of each layer's arrays, empty ones for layers without."""
    count = 1 + max(int(name.split("/")[0]) for name in arrays)
    return [
        [arrays[name] for name in sorted(arrays) if name.split("/")[0] == str(number)]
        for number in range(count)
    ]


def keras_network(dtype=np.float64):
    layers = [
        *(Pixels(), Conv2D(CHANNELS[0], 3, padding=1), BatchNorm(), Quantize()),
        Conv2D(CHANNELS[1], 3, padding=1, one_padding=True, bias=True),
        *(MaxPool2D(2), BatchNorm(), Flatten(), Quantize()),
        *(Dense(HIDDEN, bias=True), BatchNorm(), Quantize(), Dense(CLASSES), BatchNorm()),
    ]
    return built(layers, SHAPE, dtype)


def test_larqs_layers_give_the_scores_of_larq():
    arrays, images, scores = stored("larq")
    loaded = load_keras(keras_lists(arrays), keras_network(), epsilon=1e-3, sign_of_zero=1)
    found = loaded.network.forward(images)
    np.testing.assert_allclose(found, scores, rtol=1e-10, atol=1e-10)
    assert "biased in Keras 3" in loaded.readings["statistic"]
    assert loaded.readings["sign of zero"].endswith("activations of exactly 0 are +1, as there")


def test_what_keras_layers_lack_or_have_too_much_is_named():
    lists = keras_lists(stored("larq")[0])
    network = keras_network()

    def refused(words, change, **settings):
        given = [change.get(number, arrays) for number, arrays in enumerate(lists)]
        with pytest.raises(ValueError, match=re.escape(words)):
            load_keras(given, network, **{"epsilon": 1e-3} | settings)

    refused("weights[1]: expected gamma, beta, moving_mean, moving_variance for layer 2 (BatchN",
            {1: lists[1][:3]})  # fmt: skip
    refused("weights: expected arrays for layer 1 (Conv2D), layer 2 (BatchNorm), ", {0: []})
    refused(
        "(bias of layer 1 (Conv2D)): layer 1 (Conv2D) has no bias: bias",
        {0: [*lists[0], np.ones(CHANNELS[0])]},
    )
    refused("weights[2][1]: layer 4 (Conv2D) has a bias, and there is", {2: lists[2][:1]})
    refused("weights[0][0] (kernel of layer 1 (Conv2D)): expected (3, 3, 2, 5) in our order",
            {0: [lists[0][0].T]})  # fmt: skip
    refused("weights[0][0] (kernel of layer 1 (Conv2D)): 90 weights are exactly 0",
            {0: [np.zeros((3, 3, 2, 5))]})  # fmt: skip
    with pytest.raises(TypeError, match=r"^weights: expected a list for each layer, got dict"):
        load_keras({}, network, epsilon=1e-3)
