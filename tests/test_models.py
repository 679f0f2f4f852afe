"""The networks that come with the code: found by name, whole, and as good as their table says."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from qnn_ref import PackedNetwork, datasets
from qnn_ref.cli import main
from qnn_ref.datasets import DataError
from qnn_ref.datasets import trained as module
from qnn_ref.experiments import TEXT_RECIPES, find_recipe
from qnn_ref.experiments import models as making
from qnn_ref.packed import PackedSequence

FOLDER = Path(__file__).resolve().parents[1] / "data" / "models"
TABLE = {row["name"]: row for row in json.loads((FOLDER / making.TABLE).read_text())}
names = pytest.mark.parametrize("name", TABLE)


def test_the_table_names_each_file_and_recipe():
    assert {n: row["recipe"] for n, row in TABLE.items()} == making.MODELS
    assert sorted(f.name for f in FOLDER.iterdir()) == sorted(
        [*(row["file"] for row in TABLE.values()), making.TABLE, "README.md"]
    )
    assert {n: path.name for n, path in datasets.models().items()} == {
        n: row["file"] for n, row in TABLE.items()
    }


@names
def test_the_file_is_the_one_that_was_measured(name):
    row = TABLE[name]
    content = datasets.find_model(name).read_bytes()
    assert (len(content), hashlib.sha256(content).hexdigest()) == (row["bytes"], row["sha256"])
    assert len(content) < 300_000
    recipe = TEXT_RECIPES.get(row["recipe"]) or find_recipe(row["recipe"])
    assert row["seed"] == recipe.seed


@names
@pytest.mark.slow_without_jit
def test_its_test_error_is_what_the_table_says(name):
    row = TABLE[name]
    found = making.measure(datasets.find_model(name), row["recipe"])
    assert found == {key: row[key] for key in found}
    assert any(key.startswith("test_") for key in found)


@names
def test_the_readme_says_the_same(name):
    row = TABLE[name]
    (line,) = [
        line
        for line in (FOLDER / "README.md").read_text().splitlines()
        if line.startswith(f"| {name} |")
    ]
    assert f"`{row['recipe']}`" in line
    said = f"{row['test_error']:.2f} %" if "test_error" in row else f"{row['test_bits']:.3f} bits"
    assert said in line


def test_networks_are_made_measured_and_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recipe = replace(find_recipe("digits"), epochs=1, hidden=(32,))
    words = replace(TEXT_RECIPES["text-char-rnn-4-4"], epochs=1, units=5)
    text = datasets.load_text("shakespeare")
    short = replace(text, train=text.train[:3000], test=text.test[:200])
    monkeypatch.setattr(making, "find_recipe", lambda name: recipe)
    monkeypatch.setattr(making.datasets, "load_text", lambda name: short)
    monkeypatch.setattr(making, "TEXT_RECIPES", {"text-char-rnn-4-4": words})
    chosen = ["digits", "characters"]
    rows = making.make_models("made", "runs", chosen, progress=False)
    assert json.loads(Path("made", making.TABLE).read_text()) == rows
    for row, key in zip(rows, ("test_error", "test_bits"), strict=True):
        content = Path("made", row["file"]).read_bytes()
        assert row["sha256"] == hashlib.sha256(content).hexdigest()
        assert row[key] == making.measure(Path("made", row["file"]), row["recipe"])[key]
    assert making.make_models("made", "runs", chosen, progress=False) == rows  # trains nothing


def test_a_name_is_a_network_only_where_there_is_no_such_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    came_along = datasets.find_model("mnist")
    assert came_along.is_absolute()
    Path("mnist").mkdir()
    assert datasets.find_model("mnist") == came_along  # a folder is no network
    Path("mnist").rmdir()
    Path("mnist").write_bytes(b"mine")
    assert datasets.find_model("mnist") == Path("mnist")
    for path in ("./mnist", "mnist.qnn", "no/mnist", "~", ""):
        assert datasets.find_model(path) == Path(path)
    Path("other").mkdir()
    assert datasets.find_model("other") == Path("other")


def test_a_wrong_name_hears_which_ones_there_are(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=r"mnst: there is no such file.*did you mean 'mnist'"):
        datasets.find_model("mnst")
    with pytest.raises(DataError, match=r"came along \(characters, digits, mnist\)"):
        datasets.find_model("x")
    monkeypatch.setattr(module, "embedded_folders", list)
    with pytest.raises(DataError, match=r"no network of that name came along$"):
        datasets.find_model("mnist")


def test_commands_take_the_names(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    images = datasets.load("digits").test_images[:5]
    np.save("images.npy", images)
    assert main(["predict", "digits", "images.npy", "--json"]) == 0
    scores = PackedNetwork.load(datasets.find_model("digits")).scores(images)
    assert json.loads(capsys.readouterr().out)["scores"] == scores.tolist()
    assert main(["generate", "characters", "--length", "20", "--json"]) == 0
    text = json.loads(capsys.readouterr().out)["text"]
    assert len(text) == 20
    assert main(["predict", "characters", "images.npy"]) == 2
    assert "characters.qnn: holds a recurrent network" in capsys.readouterr().err
    assert main(["generate", "mnist"]) == 2
    assert "mnist.qnn: holds a network for images" in capsys.readouterr().err


def test_they_open_with_their_class():
    assert PackedNetwork.load(datasets.find_model("digits")).input_shape == (8, 8, 1)
    assert PackedSequence.load(datasets.find_model("characters")).level == "characters"
