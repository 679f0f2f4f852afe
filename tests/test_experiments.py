"""Recipes and runs: the paper's numbers, and resuming to the same bits."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import replace

import numpy as np
import pytest

from qnn_ref import datasets
from qnn_ref.checkpoints import FileError
from qnn_ref.experiments import RECIPES, find_recipe
from qnn_ref.experiments import runs as runs_module
from qnn_ref.experiments.runs import load_run, start_run, train_recipe
from qnn_ref.layers import Dense, Dropout, Quantize, ShiftBatchNorm, glorot_scale
from qnn_ref.optimizers import ShiftAdaMax
from qnn_ref.quantizers import StochasticSign

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
    assert all(layer.gradient == "T" for layer in layers if isinstance(layer, ShiftBatchNorm))
    pixels = datasets.load("mnist").train_images / 255
    assert layers[0].scale * 510 == pytest.approx(1 / pixels.std(), rel=1e-4)


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
        for p in start_run(replace(twin, hidden=(3,)), (2, 2, 1), 4).network.parameters().values()
    )


def test_recipes_are_frozen_and_unknown_names_are_refused():
    with pytest.raises(dataclasses.FrozenInstanceError):
        find_recipe("digits").epochs = 1
    with pytest.raises(ValueError, match=r"recipe: expected one of mnist-theano.*got 'mnsit'"):
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
    keep = runs_module._Keeper.__call__

    def interrupted(self, run):
        keep(self, run)
        if len(run.history) == stop_after:
            raise KeyboardInterrupt

    monkeypatch.setattr(runs_module._Keeper, "__call__", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train_recipe(recipe, digits, tmp_path / "run")
    monkeypatch.setattr(runs_module._Keeper, "__call__", keep)
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
    with pytest.raises(FileError, match="holds another run; these differ: recipe"):
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
