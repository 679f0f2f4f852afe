"""Recipes and runs: the paper's numbers, and resuming to the same bits."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import replace

import numpy as np
import pytest

from qnn_ref import datasets
from qnn_ref.experiments import NETWORKS, RECIPES, find_recipe
from qnn_ref.experiments import runs as runs_module
from qnn_ref.experiments.googlenet import googlenet
from qnn_ref.experiments.runs import load_run, split, start_run, train_recipe
from qnn_ref.files import FileError
from qnn_ref.layers import (
    BatchNorm,
    Branches,
    Conv2D,
    Dense,
    Dropout,
    Quantize,
    ShiftBatchNorm,
    glorot_scale,
)
from qnn_ref.losses import softmax_cross_entropy
from qnn_ref.network import Sequential
from qnn_ref.optimizers import Adam, ShiftAdaMax
from qnn_ref.packed import identical_scores, pack
from qnn_ref.products import BitProducts, PlainProducts
from qnn_ref.quantizers import LinearQuant, LogQuant, Sign, StochasticSign
from qnn_ref.shifts import ap2

TINY = replace(RECIPES["digits"], hidden=(9, 5), epochs=3, validation=50, batch_size=64)


@pytest.fixture(scope="module")
def digits():
    whole = datasets.load("digits")
    return replace(
        whole, train_images=whole.train_images[:300], train_labels=whole.train_labels[:300]
    )


def test_mnist_theano_is_the_papers():
    recipe = find_recipe("mnist-theano")
    assert recipe.weights((28, 28, 1), 10) == 36_806_656
    assert (recipe.epochs, recipe.batch_size, recipe.validation) == (1000, 100, 10_000)
    assert (recipe.input_dropout, recipe.hidden_dropout) == (0.2, 0.5)
    assert (recipe.epsilon, recipe.momentum) == (1e-4, 0.1)
    schedule = recipe.schedule()
    assert schedule(0) == 3e-3
    assert schedule(1) / schedule(0) == pytest.approx(0.99083, abs=5e-6)
    assert schedule(1000) == pytest.approx(3e-7)
    optimizer = recipe.optimizer()
    assert (optimizer.beta1, optimizer.beta2, optimizer.epsilon) == (0.9, 0.999, 1e-8)
    assert optimizer.epsilon_at == "before correction"


def test_mnist_theano_learning_rate_scales_and_order_of_layers():
    """The four scales of section 4.2, on the layers of the real recipe (only two are built)."""
    recipe = find_recipe("mnist-theano")
    sizes = [784, *recipe.hidden, 10]
    for fan_in, fan_out, scale in zip(
        sizes[:-1], sizes[1:], (57.04, 73.90, 73.90, 52.32), strict=True
    ):
        assert glorot_scale(fan_in, fan_out) == pytest.approx(scale, abs=0.005)
    names = [type(layer).__name__ for layer in recipe.layers(10)]
    block = ["Dense", "BatchNorm", "Quantize", "Dropout"]
    assert names == ["Pixels", "Flatten", "Dropout", *block, *block, *block, "Dense", "BatchNorm"]
    rates = [layer.rate for layer in recipe.layers(10) if isinstance(layer, Dropout)]
    assert rates == [0.2, 0.5, 0.5, 0.5]
    assert not any(layer.has_bias for layer in recipe.layers(10) if isinstance(layer, Dense))


def test_mnist_torch_is_the_authors():
    recipe = find_recipe("mnist-torch")
    assert recipe.weights((28, 28, 1), 10) == 10_014_720
    assert (recipe.batch_size, recipe.validation, recipe.stochastic) == (100, 10_000, True)
    assert (recipe.input_dropout, recipe.hidden_dropout) == (0.0, 0.0)
    assert (recipe.epsilon, recipe.momentum, recipe.norm) == (1e-5, 0.1, "shift-T")
    sizes = [784, *recipe.hidden, 10]
    for fan_in, fan_out, scale in zip(
        sizes[:-1], sizes[1:], (43.45, 52.26, 52.26, 37.04), strict=True
    ):
        assert glorot_scale(fan_in, fan_out) == pytest.approx(scale, abs=0.005)
    schedule = recipe.schedule()
    rates = [schedule(epoch) for epoch in range(40)]
    assert rates == [2.0 ** (-6 - epoch // 10) for epoch in range(40)]
    optimizer = recipe.optimizer()
    assert isinstance(optimizer, ShiftAdaMax)
    assert optimizer.variant == "torch"


def test_mnist_torch_layers_take_the_same_pixels_and_noise():
    """Hidden blocks are shift-based and stochastic; pixels are in units of their deviation."""
    layers = find_recipe("mnist-torch").layers(10)
    names = [type(layer).__name__ for layer in layers]
    block = ["Dense", "ShiftBatchNorm", "Quantize"]
    assert names == ["Pixels", "Flatten", *block, *block, *block, "Dense", "BatchNorm"]
    assert all(
        isinstance(layer.quantizer, StochasticSign)
        for layer in layers
        if isinstance(layer, Quantize)
    )
    assert all(layer.gradient == "torch" for layer in layers if isinstance(layer, ShiftBatchNorm))
    last = layers[-1]
    assert (last.running, last.uniform_gain, last.scale_gain_rate) == (
        "unbiased variance",
        True,
        True,
    )
    counts = np.bincount(datasets.load("mnist").train_images.ravel(), minlength=256)
    pixels = np.arange(256) / 255
    mean = np.average(pixels, weights=counts)
    deviation = np.sqrt(np.average((pixels - mean) ** 2, weights=counts))
    assert layers[0].scale * 510 == pytest.approx(1 / deviation, rel=1e-4)


CIFAR_SCALES = (28.0, 39.2, 48.0, 55.4, 67.9, 78.4, 78.4, 37.0, 26.3)
SVHN_SCALES = (20.0, 27.7, 33.9, 39.2, 48.0, 55.4, 58.4, 37.0, 26.3)


@pytest.mark.parametrize(
    ("name", "weights", "scales", "rates"),
    [
        ("cifar10-theano", 14_022_016, CIFAR_SCALES, (1e-3, 0.98391, 500)),
        ("svhn-theano", 6_397_632, SVHN_SCALES, (1e-3, 0.96605, 200)),
    ],
)
def test_convolutional_theano_recipes_are_the_papers(name, weights, scales, rates):
    recipe = find_recipe(name)
    network = recipe.network((32, 32, 3), 10, np.random.default_rng(0))
    products = [p for p in network.parameters().values() if p.quantizer]
    assert sum(p.size for p in products) == recipe.weights((32, 32, 3), 10) == weights
    assert [p.learning_rate_scale for p in products] == pytest.approx(scales, abs=0.06)
    channels = [units for units, _ in recipe.convolutions]
    assert [p.size for p in products[:6]] == [
        9 * a * b for a, b in zip([3, *channels[:-1]], channels, strict=True)
    ]
    assert [units // channels[0] for units in channels] == [1, 1, 2, 2, 4, 4]
    assert [pool for _, pool in recipe.convolutions] == [1, 2, 1, 2, 1, 2]
    assert recipe.hidden == (1024, 1024)
    names = [type(layer).__name__ for layer in network.layers]
    plain, dense = ["Conv2D", "BatchNorm", "Quantize"], ["Dense", "BatchNorm", "Quantize"]
    pooled = ["Conv2D", "MaxPool2D", "BatchNorm", "Quantize"]
    blocks = [*plain, *pooled] * 3 + ["Flatten"] + dense * 2
    assert names == ["Pixels", *blocks, "Dense", "BatchNorm"]
    convolutions = [layer for layer in network.layers if isinstance(layer, Conv2D)]
    geometry = {(c.kernel, c.stride, c.padding, c.one_padding) for c in convolutions}
    assert geometry == {((3, 3), (1, 1), (1, 1), False)}
    flat = network.layers[names.index("Flatten")]
    assert flat.input_shape == (4, 4, channels[-1])
    initial, decay, epochs = rates
    schedule = recipe.schedule()
    assert (schedule(0), recipe.epochs) == (initial, epochs)
    assert schedule(1) / schedule(0) == pytest.approx(decay, abs=5e-6)
    assert (recipe.batch_size, recipe.epsilon, recipe.momentum) == (50, 1e-4, 0.1)
    assert (recipe.input_dropout, recipe.hidden_dropout, recipe.stochastic) == (0, 0, False)
    assert recipe.validation == {"cifar10-theano": 5_000, "svhn-theano": 6_000}[name]


@pytest.mark.parametrize(
    ("name", "rate", "every", "scales"),
    [
        ("cifar10-torch", 2.0**-6, 50, (32, 32, 64, 64, 64, 64, 64, 32, 32)),
        ("svhn-torch", 2.0**-7, 20, (16, 32, 32, 32, 64, 64, 64, 32, 32)),
    ],
)
def test_convolutional_torch_recipes_are_the_authors(name, rate, every, scales):
    recipe = find_recipe(name)
    theano = find_recipe(name.replace("torch", "theano"))
    assert (recipe.convolutions, recipe.hidden) == (theano.convolutions, theano.hidden)
    assert (recipe.batch_size, recipe.norm, recipe.stochastic) == (200, "shift-T", True)
    schedule = recipe.schedule()
    assert [schedule(e) for e in (0, every - 1, every)] == [rate, rate, rate / 2]
    optimizer = recipe.optimizer()
    assert isinstance(optimizer, ShiftAdaMax)
    assert (optimizer.variant, optimizer.round_scale) == ("torch", True)
    network = recipe.network((32, 32, 3), 10, np.random.default_rng(0))
    products = [p for p in network.parameters().values() if p.quantizer]
    assert [float(ap2(p.learning_rate_scale)) for p in products] == list(scales)
    norms = [layer for layer in network.layers if isinstance(layer, BatchNorm)]
    assert [type(n).__name__ for n in norms] == ["ShiftBatchNorm"] * 8 + ["BatchNorm"]
    assert not any(norm.scale_gain_rate for norm in norms)
    assert (norms[8].running, norms[8].uniform_gain) == ("unbiased variance", True)


@pytest.mark.parametrize("by_bits", [True, False])
def test_a_recipe_says_how_products_are_formed(by_bits):
    network = replace(TINY, bit_products=by_bits).network((8, 8), 10, np.random.default_rng(0))
    found = {type(layer.products) for layer in network.layers if isinstance(layer, Dense)}
    assert found == {BitProducts if by_bits else PlainProducts}


def test_limit_takes_the_first_images_of_each_part(digits):
    training, validation = split(replace(TINY, limit=20), digits)
    whole, rest = split(TINY, digits)
    assert (len(whole.labels), len(rest.labels)) == (250, 50)
    assert (training.images == whole.images[:20]).all()
    assert (validation.labels == rest.labels[:20]).all()


CONVOLUTIONAL = replace(
    TINY, convolutions=((5, 1), (6, 2)), epochs=2, limit=128, norm="shift-S", stochastic=True
)


def test_a_convolutional_run_resumes_and_packs(tmp_path, digits):
    whole = train_recipe(CONVOLUTIONAL, digits)
    train_recipe(replace(CONVOLUTIONAL, epochs=2), digits, tmp_path / "run")
    recipe, run = load_run(tmp_path / "run")
    assert recipe == CONVOLUTIONAL
    arrays = run.network.arrays()
    assert all((arrays[name] == array).all() for name, array in whole.network.arrays().items())
    network = run.best_network()
    assert identical_scores(network, pack(network), digits.test_images) == len(digits.test_labels)


@pytest.mark.parametrize(("name", "weights"), [("alexnet-bnn", 61_090_496)])
def test_alexnet_has_the_layers_of_the_authors_code(name, weights):
    network = NETWORKS[name].network(np.random.default_rng(0))
    products = {n: p for n, p in network.parameters().items() if p.quantizer}
    assert sum(p.size for p in products.values()) == NETWORKS[name].size == weights
    sizes = [layer.output_shape(layer.input_shape) for layer in network.layers]
    pools = [s for layer, s in zip(network.layers, sizes, strict=True) if "Pool" in str(layer)]
    assert pools == [(27, 27, 64), (13, 13, 192), (6, 6, 256)]
    assert [p.shape[-1] for p in products.values()] == [64, 192, 384, 256, 256, 4096, 4096, 1000]


def test_googlenet_has_the_blocks_of_bn_inception():
    network = NETWORKS["googlenet-bnn"].network(np.random.default_rng(0), classes=10)
    blocks = [layer for layer in network.layers if isinstance(layer, Branches)]
    assert [block.output_shape(block.input_shape) for block in blocks] == [
        *((28, 28, 256), (28, 28, 320)),
        *((14, 14, 576), (14, 14, 576), (14, 14, 576), (14, 14, 576), (14, 14, 576)),
        *((7, 7, 1024), (7, 7, 1024), (7, 7, 1024)),
    ]
    assert len(network.auxiliaries()) == 2
    schedule = NETWORKS["googlenet-bnn"].schedule(1.0)
    assert [schedule(epoch) for epoch in (0, 9, 10, 20)] == pytest.approx([1, 1, 0.1, 0.01])


@pytest.mark.slow_without_jit
def test_a_narrow_googlenet_has_three_losses_and_packs():
    rng = np.random.default_rng(0)
    layers = googlenet(classes=10, divide=16)
    network = Sequential(layers, (224, 224, 3), rng)
    images = rng.integers(0, 256, (3, 224, 224, 3), dtype=np.uint8)
    labels = np.array([1, 2, 3])
    _, gradient = softmax_cross_entropy(network.forward(images, training=True), labels)
    costs = [head.learn(softmax_cross_entropy, labels) for head in network.auxiliaries()]
    assert len(costs) == 2
    network.backward(gradient)
    assert all(p.grad.any() for p in network.parameters().values())
    Adam(1e-3).step(network.parameters())
    assert identical_scores(network, pack(network), images) == 3


@pytest.mark.parametrize("name", [n for n in RECIPES if not n.endswith("-float")])
def test_every_recipe_has_a_float_twin_that_differs_in_one_thing(name):
    recipe, twin = find_recipe(name), find_recipe(name + "-float")
    different = {
        f.name
        for f in dataclasses.fields(recipe)
        if getattr(recipe, f.name) != getattr(twin, f.name)
    }
    assert different == {"name", "about", "binary"}
    assert all(
        p.quantizer is None
        for p in start_run(twin.narrowed(512), (8, 8, 1), 4).network.parameters().values()
    )


def test_recipes_are_frozen_and_unknown_names_are_refused():
    with pytest.raises(dataclasses.FrozenInstanceError):
        find_recipe("digits").epochs = 1
    with pytest.raises(ValueError, match=r"recipe: expected .mnist-theano.*got 'mnsit'"):
        find_recipe("mnsit")


def same_runs(a, b):
    assert a.history == b.history
    assert a.best_epoch == b.best_epoch
    assert a.optimizer.steps == b.optimizer.steps
    for ours, theirs in ((a.network.arrays(), b.network.arrays()), (a.best, b.best)):
        assert ours.keys() == theirs.keys()
        for name in ours:
            np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)
    for name, moments in a.optimizer.state.items():
        for moment, array in moments.items():
            np.testing.assert_array_equal(array, b.optimizer.state[name][moment])
    assert a.rng.bit_generator.state == b.rng.bit_generator.state


@pytest.mark.parametrize("stop_after", [1, 2])
@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_an_interrupted_run_ends_in_the_same_arrays(
    tmp_path, digits, monkeypatch, stop_after, dropout
):
    recipe = replace(TINY, input_dropout=dropout, hidden_dropout=dropout)
    whole = train_recipe(recipe, digits)
    keep = runs_module.Keeper.__call__

    def interrupted(self, run):
        keep(self, run)
        if len(run.history) == stop_after:
            raise KeyboardInterrupt

    monkeypatch.setattr(runs_module.Keeper, "__call__", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train_recipe(recipe, digits, tmp_path / "run")
    monkeypatch.setattr(runs_module.Keeper, "__call__", keep)
    resumed = train_recipe(recipe, digits, tmp_path / "run", resume=True)
    same_runs(whole, resumed)
    loaded_recipe, loaded = load_run(tmp_path / "run")
    assert loaded_recipe == recipe
    same_runs(whole, loaded)
    lines = (tmp_path / "run" / "history.csv").read_text().splitlines()
    assert len(lines) == 1 + recipe.epochs
    assert lines[0].startswith("epoch,learning_rate,loss")


def test_a_folder_with_a_run_is_not_overwritten(tmp_path, digits):
    recipe = replace(TINY, epochs=1)
    train_recipe(recipe, digits, tmp_path)
    before = (tmp_path / "checkpoint.npz").read_bytes()
    with pytest.raises(FileError, match="holds a run already; add --resume"):
        train_recipe(recipe, digits, tmp_path)
    with pytest.raises(
        FileError, match=r"holds another run; these differ: seed \(0 there, 1 here\)"
    ):
        train_recipe(replace(recipe, seed=1), digits, tmp_path, resume=True)
    other = replace(digits, train_images=255 - digits.train_images)
    with pytest.raises(FileError, match="training_images_crc32"):
        train_recipe(recipe, other, tmp_path, resume=True)
    assert (tmp_path / "checkpoint.npz").read_bytes() == before


def test_damaged_runs_are_refused(tmp_path, digits):
    with pytest.raises(FileError, match="holds no run"):
        load_run(tmp_path / "nothing")
    train_recipe(replace(TINY, epochs=1), digits, tmp_path / "run")
    description = tmp_path / "run" / "run.json"
    text = description.read_text()
    for damaged, words in (
        (text[:40], "damaged run description"),
        ("[]", "not the description of a run"),
        (json.dumps(json.loads(text) | {"recipe": {}}), "damaged run description"),
    ):
        description.write_text(damaged)
        with pytest.raises(FileError, match=words):
            load_run(tmp_path / "run")
    description.write_text(text)
    (tmp_path / "run" / "checkpoint.npz").unlink()
    with pytest.raises(FileError, match="no epoch was finished"):
        load_run(tmp_path / "run")


def test_a_folder_that_cannot_be_made(tmp_path, digits):
    (tmp_path / "file").write_text("")
    with pytest.raises(FileError, match="cannot be made"):
        train_recipe(TINY, digits, tmp_path / "file" / "run")


def test_bits_of_a_recipe_reach_the_layers(digits):
    recipe = replace(TINY, weight_bits=2, activation_bits=3, gradient_bits=6, epochs=1, limit=64)
    run = train_recipe(recipe, digits)
    dense = [layer for layer in run.network.layers if isinstance(layer, Dense)]
    assert {layer.weight_quantizer for layer in dense} == {LinearQuant(2)}
    assert {layer.gradient_quantizer for layer in dense} == {LogQuant(6, exponent=None)}
    quantize = [layer for layer in run.network.layers if isinstance(layer, Quantize)]
    assert {layer.quantizer for layer in quantize} == {LinearQuant(3)}
    network = run.best_network()
    assert identical_scores(network, pack(network), digits.test_images) == len(digits.test_labels)
    for wrong in ({"gradient_rule": "exp"}, {"stochastic": True}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            replace(recipe, **wrong)


def test_retraining_widens_the_boundary_and_starts_the_rate_again(tmp_path, digits):
    recipe = replace(TINY, epochs=2, retrain_epochs=2, retrain_saturation=3.0)
    run = train_recipe(recipe, digits, tmp_path / "run")
    rates = [entry["learning_rate"] for entry in run.history]
    assert rates[2:] == rates[:2]
    assert run.network.layers[4].quantizer.saturation == 3.0
    plain = train_recipe(replace(recipe, retrain_saturation=1.0), digits)
    assert [e["loss"] for e in plain.history[:2]] == [e["loss"] for e in run.history[:2]]
    widened, bound = run.network.arrays(), plain.network.arrays()
    assert (widened["2.Dense.weight"] != bound["2.Dense.weight"]).any()


def test_a_run_interrupted_while_it_retrains_ends_in_the_same_arrays(tmp_path, digits, monkeypatch):
    recipe = replace(TINY, epochs=1, retrain_epochs=3, retrain_saturation=3.0)
    whole = train_recipe(recipe, digits).network.arrays()

    class Stop(Exception):
        pass

    keeper = runs_module.Keeper.__call__

    def stop(self, run):
        keeper(self, run)
        if len(run.history) == 2:
            raise Stop

    monkeypatch.setattr(runs_module.Keeper, "__call__", stop)
    with pytest.raises(Stop):
        train_recipe(recipe, digits, tmp_path / "run")
    monkeypatch.undo()
    resumed = train_recipe(recipe, digits, tmp_path / "run", resume=True).network.arrays()
    assert all((resumed[name] == array).all() for name, array in whole.items())


@pytest.mark.parametrize(
    ("name", "weights", "activations", "gradients"),
    [
        ("alexnet-bnn", Sign(), Sign(), None),
        ("alexnet-qnn-1-2", Sign(), LinearQuant(2), None),
        ("alexnet-qnn-1-2-6", Sign(), LinearQuant(2), LogQuant(6, exponent=None)),
        ("googlenet-bnn", Sign(), Sign(), None),
        ("googlenet-qnn-4-4", LinearQuant(4), LinearQuant(4), None),
        ("googlenet-qnn-6-6-6", LinearQuant(6), LinearQuant(6), LogQuant(6, exponent=None)),
    ],
)
def test_imagenet_recipes_have_the_papers_bits(name, weights, activations, gradients):
    recipe = NETWORKS[name]
    assert (recipe.weights, recipe.activations, recipe.gradients) == (
        weights,
        activations,
        gradients,
    )
    expected = {"a": (512, 20), "g": (64, 10)}[name[0]]
    assert (recipe.batch_size, recipe.drop_every) == expected


def test_googlenet_has_the_size_that_is_listed():
    network = NETWORKS["googlenet-bnn"].network(np.random.default_rng(0))
    weights = sum(p.size for p in network.parameters().values() if p.quantizer)
    assert NETWORKS["googlenet-bnn"].size == weights
