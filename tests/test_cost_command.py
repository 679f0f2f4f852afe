"""`qnn-ref cost`: of a recipe, a run and a packed network; what it prints is what was counted."""

import json
from dataclasses import replace

import numpy as np
import pytest

from qnn_ref import Sequential, datasets
from qnn_ref.cli import main
from qnn_ref.cli.cost import Subject, text_of
from qnn_ref.cost import inference_cost, memory_of, packed_cost, training_cost
from qnn_ref.cost.energy import ASSUMPTIONS
from qnn_ref.experiments import TEXT_RECIPES, find_recipe
from qnn_ref.experiments.runs import load_run, train_recipe
from qnn_ref.layers import Auxiliary, Conv2D, Dense, Flatten
from qnn_ref.packed import PackedNetwork, pack

KEYS = {
    *("subject", "weights", "float_bytes", "kept_bytes", "memory_factor"),
    *("inference", "training", "filters", "assumptions"),
}


def answer_of(capsys, *arguments):
    code = main(["cost", *map(str, arguments), "--json"])
    out = capsys.readouterr().out
    return code, json.loads(out)


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    """A small convolutional network after an epoch, in its folder."""
    folder = tmp_path_factory.mktemp("cost") / "run"
    recipe = replace(
        find_recipe("digits"), convolutions=((5, 1), (6, 2)), hidden=(8,), epochs=1, limit=64
    )
    recipe = replace(recipe, batch_size=32)
    train_recipe(recipe, datasets.load("digits"), folder)
    return folder


def test_a_recipe(capsys):
    code, found = answer_of(capsys, "digits", "--batch", 3)
    assert code == 0
    assert set(found) == KEYS
    recipe = find_recipe("digits")
    network = recipe.network((8, 8, 1), 10, np.random.default_rng(0))
    for number, cost in found["inference"].items():
        assert cost == json.loads(json.dumps(inference_cost(network, 3, number).to_json()))
    step = training_cost(network, recipe.optimizer(), recipe.batch_size)
    assert found["training"]["quantized"] == json.loads(json.dumps(step.to_json()))
    assert found["memory_factor"] == 32
    assert found["filters"] == []  # not trained
    assert found["assumptions"] == list(ASSUMPTIONS)


def test_it_is_printed_and_drawn(capsys, tmp_path):
    picture = tmp_path / "cost.png"
    assert main(["cost", "digits", "-o", str(picture)]) == 0
    text = capsys.readouterr().out
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert text.startswith("digits: 84,480 weights, 337,920 bytes in float32, 10,560 in their own")
    for words in ("slices of multipliers", "xnor ", "training step, batch 100", "update"):
        assert words in text
    for sentence in ASSUMPTIONS:
        assert f"- {sentence}" in text


@pytest.mark.slow_without_jit
def test_a_run_counts_its_repeated_filters(capsys, run_folder):
    code, found = answer_of(capsys, run_folder)
    assert code == 0
    rows = found["filters"]
    assert [(row["maps"], row["filters"], row["kernel"]) for row in rows] == [
        (1, 5, [3, 3]),
        (5, 6, [3, 3]),
    ]
    assert all(0 < row["per_map_up_to_sign"] <= row["per_map"] <= 1 for row in rows)
    assert main(["cost", str(run_folder)]) == 0
    text = capsys.readouterr().out
    assert "repeated filters" in text
    assert "42 %, which is not said" in text


@pytest.mark.slow_without_jit
def test_a_packed_network(capsys, run_folder, tmp_path):
    path = tmp_path / "small.qnn"
    pack(load_run(run_folder)[1].best_network()).save(path)
    code, found = answer_of(capsys, path)
    assert code == 0
    assert found["training"] == {}
    packed = PackedNetwork.load(path)
    assert found["kept_bytes"] == packed.nbytes
    counted = packed_cost(packed).to_json()
    assert found["inference"]["quantized"] == json.loads(json.dumps(counted))
    of_run = answer_of(capsys, run_folder)[1]
    assert [row["per_layer"] for row in found["filters"]] == [
        row["per_layer"] for row in of_run["filters"]
    ]
    assert found["weights"] == of_run["weights"]


@pytest.mark.parametrize("name", ["mnist", "characters"])
def test_a_network_that_came_along(capsys, name):
    code, found = answer_of(capsys, name)
    assert code == 0
    few, floats = found["inference"]["quantized"], found["inference"]["float32"]
    assert 0 < few["operation_picojoules"] < floats["operation_picojoules"] / 10
    assert few["pairs"] == floats["pairs"]


def test_steps_are_those_of_a_text(capsys):
    """A recipe and a packed network: all but the weights grow with the symbols."""
    for name in ("text-char-rnn-2-2", "characters"):
        one, more = (answer_of(capsys, name, "--steps", n)[1]["inference"] for n in (1, 5))
        assert more["quantized"]["pairs"] == 5 * one["quantized"]["pairs"]


def test_heads_of_training_are_left_out_and_it_says_so():
    head = Auxiliary([Flatten(), Dense(10)])
    network = Sequential(
        [Conv2D(2, 3), head, Flatten(), Dense(10)], (5, 5, 1), np.random.default_rng(0)
    )
    subject = Subject("two outputs", network)
    costs = {n: subject.inference(1, n, 1) for n in ("float32", "quantized")}
    result = {"weights": 9 * 2 + 18 * 10, "float_bytes": 1, "kept_bytes": 1, "memory_factor": 1.0}
    text = text_of(subject, result | {"filters": []}, costs, {})
    assert text.startswith("two outputs: 198 weights without the heads that training has, ")
    assert memory_of(network).weights == 198


def test_a_language_model(capsys):
    code, found = answer_of(capsys, "text-char-rnn-2-2")
    assert code == 0
    recipe, step = TEXT_RECIPES["text-char-rnn-2-2"], found["training"]["quantized"]
    each = recipe.units * (recipe.embedding + recipe.units + 63)  # 63 characters
    assert step["pairs"] == 3 * recipe.lanes * recipe.steps * each


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("digits", "-o", "cost.jpg"), "cost.jpg: expected a name that ends in .png"),
        (("digits", "--batch", 2**21), "--batch: expected a whole number from 1 to 1048576"),
        (("digits", "--steps", 2**21), "--steps: expected a whole number from 1 to 1048576"),
        (("digits", "--steps", 2), "--steps: digits reads images, and no symbols of a text"),
        (("mnist", "--steps", 2), "--steps: mnist reads images, and no symbols of a text"),
        (("bits-sweep",), "bits-sweep: a sweep is many networks"),
    ],
)
def test_wrong_use_is_named(capsys, arguments, words):
    assert main(["cost", *map(str, arguments)]) == 2
    assert words in capsys.readouterr().err


def test_what_has_no_cost_is_refused(capsys, tmp_path):
    folder, damaged = tmp_path / "empty", tmp_path / "damaged.qnn"
    folder.mkdir()
    damaged.write_bytes(b"PK\x03\x04 and then nothing")
    half = tmp_path / "half"
    half.mkdir()
    (half / "run.json").write_text('{"kind": "run", "version": 2}')
    for subject, words in (
        ("digts", "digts: no recipe has this name, and there is no such folder or file; did you"),
        (folder, "holds no run (there is no run.json)"),
        (damaged, "damaged.qnn: "),
        (half, "run.json: "),
        (tmp_path / "nowhere.qnn", "no such folder or file"),
    ):
        assert main(["cost", str(subject)]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert words in err
        assert "Traceback" not in err
