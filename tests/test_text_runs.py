"""Language models in a folder: recipes, resume inside the text, packed, text from them."""

from __future__ import annotations

import json
from dataclasses import fields, replace

import numpy as np
import pytest

from qnn_ref import datasets
from qnn_ref.cli import main
from qnn_ref.cli.recipes import TOKENS
from qnn_ref.datasets import TextData, tokenize
from qnn_ref.experiments import SWEEPS, TEXT_RECIPES, find_recipe, text_runs
from qnn_ref.experiments import runs as runs_module
from qnn_ref.experiments.sweep import read_rows, run_sweep
from qnn_ref.experiments.text_runs import (
    check_text,
    foreseen,
    is_text_run,
    load_text_run,
    prepared,
    start_text_run,
    train_text_recipe,
)
from qnn_ref.files import FileError
from qnn_ref.layers import LSTM, RNN, Dense, Embedding
from qnn_ref.packed import PackedSequence, pack_sequence
from qnn_ref.packed.generation import generate_tokens

VERSE = "a rose is a rose is a rose\nand so is a nose\n" * 12
TEXT = TextData("mine", VERSE[:400], VERSE[400:470], VERSE[470:], "here")
TINY = replace(
    TEXT_RECIPES["text-char-rnn-2-4"],
    name="tiny",
    dataset="mine",
    units=10,
    embedding=6,
    epochs=2,
    lanes=4,
    steps=9,
)
TINY_WORDS = replace(
    TEXT_RECIPES["ptb-word-lstm-3-4"],
    name="tiny-words",
    dataset="mine",
    units=8,
    embedding=5,
    epochs=2,
    lanes=2,
    steps=5,
)


def same_runs(a, b):
    assert a.history == b.history
    assert a.best_epoch == b.best_epoch
    for ours, theirs in ((a.network.arrays(), b.network.arrays()), (a.best, b.best)):
        assert ours.keys() == theirs.keys()
        for name in ours:
            np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)
    for name, moments in a.optimizer.state.items():
        for moment, array in moments.items():
            np.testing.assert_array_equal(array, b.optimizer.state[name][moment])


@pytest.mark.parametrize("recipe", [TINY, TINY_WORDS], ids=["rnn", "lstm"])
def test_a_killed_run_goes_on_inside_the_text_is_packed_and_writes_the_same_text(
    tmp_path, monkeypatch, recipe
):
    """What issue 5 asks of the small recipe, on a smaller one."""
    whole = train_text_recipe(recipe, TEXT)
    keep, calls = runs_module.Keeper.__call__, []

    def killed(self, run):
        keep(self, run)
        calls.append((len(run.history), run.window))
        if len(calls) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(runs_module.Keeper, "__call__", killed)
    with pytest.raises(KeyboardInterrupt):
        train_text_recipe(recipe, TEXT, tmp_path / "run", every=2)
    monkeypatch.undo()
    assert calls == [(0, 2), (0, 4), (0, 6)]
    resumed = train_text_recipe(recipe, TEXT, tmp_path / "run", resume=True)
    same_runs(whole, resumed)
    loaded_recipe, vocabulary, loaded = load_text_run(tmp_path / "run")
    assert loaded_recipe == recipe
    same_runs(whole, loaded)
    network = loaded.best_network()
    pack_sequence(network, vocabulary.symbols, vocabulary.level).save(tmp_path / "packed.qnn")
    packed = PackedSequence.load(tmp_path / "packed.qnn")
    start = vocabulary.encode("\n")
    texts = [
        vocabulary.decode(generate_tokens(each, start, 60, np.random.default_rng(1)))
        for each in (network, packed)
    ]
    assert texts[0] == texts[1]
    assert foreseen(packed, prepared(recipe, TEXT)) == foreseen(network, prepared(recipe, TEXT))


def test_the_same_from_the_command_line(tmp_path, monkeypatch, capsys):
    (tmp_path / "mine.txt").write_text(VERSE)
    monkeypatch.setitem(TEXT_RECIPES, "tiny", TINY)
    run, file = tmp_path / "run", tmp_path / "packed.qnn"
    data = ["--data", str(tmp_path)]

    def call(*arguments):
        code = main([*(str(a) for a in arguments), "--json"])
        return code, json.loads(capsys.readouterr().out)

    code, trained = call("train", "tiny", "--out", run, "--epochs", 1, *data)
    assert (code, trained["epochs"], trained["unknown"]) == (0, 1, 0)
    assert {"validation_bits", "test_bits", "trigram_bits", "test_perplexity"} <= trained.keys()
    assert (run / "history.png").exists()
    code, trained = call("train", "tiny", "--out", run, "--epochs", 2, "--resume", *data)
    assert (code, trained["epochs"]) == (0, 2)
    code, evaluated = call("evaluate", run, *data)
    assert code == 0
    assert evaluated["test_bits"] == trained["test_bits"]
    assert evaluated["validation_bits"] == trained["validation_bits"]
    assert main(["evaluate", str(run), *data]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"tiny: epoch {evaluated['best_epoch'] + 1} of 2"
    assert lines[1] == f"validation     {evaluated['validation_bits']:.3f} bits a character"
    assert lines[2].startswith(f"test           {evaluated['test_bits']:.3f} bits (perplexity ")
    code, packed = call("pack", run, "-o", file, "--verify", *data)
    assert code == 0
    assert packed["scores_identical"] == packed["scores_total"] == trained["tokens"]
    assert packed["packed_bytes"] == file.stat().st_size
    code, written = call("generate", file, "--length", 30, "--seed", 3)
    assert (code, len(written["text"])) == (0, 30)
    assert main(["train", "tiny", "--out", str(run), *data]) == 2  # it holds a run
    (tmp_path / "mine.txt").write_text(VERSE.replace("nose", "hose"))
    for command in (["evaluate", str(run)], ["pack", str(run), "-o", str(file), "--verify"]):
        assert main([*command, *data]) == 2
        assert "was trained on another text" in capsys.readouterr().err


def test_a_folder_with_another_run_is_refused(tmp_path):
    train_text_recipe(replace(TINY, epochs=1), TEXT, tmp_path)
    assert is_text_run(tmp_path)
    for other, words in (
        (replace(TINY, seed=1), r"seed \(0 there, 1 here\)"),
        (replace(TINY, weight_bits=3), "weight_bits"),
    ):
        with pytest.raises(FileError, match=f"holds another run; these differ: {words}"):
            train_text_recipe(other, TEXT, tmp_path, resume=True)
    changed = replace(TEXT, test=TEXT.test.replace("nose", "hose"))
    with pytest.raises(FileError, match="text_sha256"):
        train_text_recipe(TINY, changed, tmp_path, resume=True)
    with pytest.raises(FileError, match="was trained on another text than here holds"):
        check_text(tmp_path, changed)
    check_text(tmp_path, TEXT)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"recipe": {}}, "damaged run description"),
        ({"symbols": None}, "symbols: expected a list, got NoneType"),
        ({"symbols": ["a", "b"]}, "symbols: expected .* for what is unknown"),
        ({"kind": "run"}, "not the description of a text run"),
    ],
)
def test_damaged_descriptions_are_refused(tmp_path, change, words):
    train_text_recipe(replace(TINY, epochs=1), TEXT, tmp_path)
    path = tmp_path / "run.json"
    description = json.loads(path.read_text()) | change
    del description["sha256"]
    path.write_text(json.dumps(description | {"version": 1}))
    with pytest.raises(FileError, match=words):
        load_text_run(tmp_path)


def test_a_limit_is_of_training_and_of_what_chooses(tmp_path):
    tokens, some = (prepared(replace(TINY, limit=limit), TEXT) for limit in (0, 40))
    assert (len(some.train), len(some.validation)) == (40, 40)
    assert len(some.test) == len(tokens.test)


@pytest.mark.parametrize("name", TEXT_RECIPES)
def test_every_language_model_has_a_float_twin_that_starts_in_the_same_weights(name):
    recipe = TEXT_RECIPES[name]
    twin = TEXT_RECIPES["-".join(name.split("-")[:3]) + "-fp"]
    different = {f.name for f in fields(recipe) if getattr(recipe, f.name) != getattr(twin, f.name)}
    bits = {"quantized", "weight_bits", "activation_bits", "reach", "output_reach", "state_reach"}
    sizes = {"units", "embedding"} if "900" in name else set()
    assert different <= {"name", "about"} | bits | sizes
    narrow = [replace(r, units=7, embedding=5) for r in (recipe, twin)]
    ours, theirs = (start_text_run(r, 11).network.parameters() for r in narrow)
    for place, parameter in ours.items():
        expected = np.clip(theirs[place].latent, -parameter.bound, parameter.bound)
        np.testing.assert_array_equal(parameter.latent, expected, err_msg=place)
        assert (parameter.quantizer is None) == (not recipe.quantized or place.endswith("bias"))


@pytest.mark.parametrize(
    ("name", "units", "bits", "levels"),
    [
        ("ptb-char-rnn-3-3", 2048, (3, 3), 8),
        ("ptb-char-rnn-2-4", 2048, (2, 4), 16),
        ("ptb-word-lstm-2-3", 300, (2, 3), 8),
        ("ptb-word-lstm-900-4-4", 900, (4, 4), 16),
    ],
)
def test_the_models_of_table_4(name, units, bits, levels):
    recipe = TEXT_RECIPES[name]
    assert (recipe.units, (recipe.weight_bits, recipe.activation_bits)) == (units, bits)
    table, cell, scores = recipe.layers(50)
    assert isinstance(table, Embedding)
    assert isinstance(cell, RNN if "char" in name else LSTM)
    assert isinstance(scores, Dense)
    assert len(cell.quantizer.levels) == levels
    for layer in (table, cell, scores):
        assert len(layer.weight_quantizer.levels) == 2 ** bits[0]
        assert 0 in layer.weight_quantizer.levels


def test_sizes_in_the_list_of_recipes_are_those_of_the_texts():
    tokens = tokenize(datasets.load("shakespeare"), "characters")
    known = TOKENS["shakespeare", "characters"]
    assert known == (len(tokens.train), len(tokens.vocabulary))
    assert {(r.dataset, r.level) for r in TEXT_RECIPES.values()} <= TOKENS.keys()
    for recipe in TEXT_RECIPES.values():
        small = replace(recipe, units=6, embedding=3)
        parameters = start_text_run(small, 7).network.parameters()
        counted = sum(p.size for place, p in parameters.items() if not place.endswith("bias"))
        assert small.weights(7) == counted


def test_a_sweep_of_language_models_is_resumed(tmp_path, monkeypatch):
    cases = [({"weights": str(bits)}, replace(TINY, weight_bits=bits, epochs=1)) for bits in (1, 2)]
    sweep = replace(SWEEPS["text-bits"], name="tiny", cases=cases, seeds=(0,))
    rows = run_sweep(sweep, TEXT, tmp_path / "a")
    assert [row["weights"] for row in rows] == ["1", "2"]
    assert {row["trigram_bits"] for row in rows} == {rows[0]["trigram_bits"]}
    path = tmp_path / "a" / "tiny.csv"
    content = path.read_text()
    path.write_text("".join(content.splitlines(keepends=True)[:2]))
    trained = []
    monkeypatch.setattr(
        text_runs,
        "train_text_recipe",
        lambda recipe, text: trained.append(recipe.weight_bits) or train_text_recipe(recipe, text),
    )
    assert run_sweep(sweep, TEXT, tmp_path / "a", resume=True) == rows == read_rows(path)
    assert trained == [2]
    assert path.read_text() == content
    with pytest.raises(FileError, match="of another sweep; these differ: text_sha256"):
        run_sweep(sweep, replace(TEXT, test="a rose"), tmp_path / "a", resume=True)


def test_the_committed_table_is_that_of_the_sweep():
    sweep = SWEEPS["text-bits"]
    path = runs_module.Path(runs_module.__file__).parent / "results" / "text-bits.csv"
    if not path.exists():
        pytest.skip("results are not installed with the package")
    rows = read_rows(path)
    expected = [
        (*labels.values(), str(seed), str(recipe.epochs))
        for seed in sweep.seeds
        for labels, recipe in sweep.cases
    ]
    assert [tuple(row[c] for c in [*sweep.labels, "seed", "epochs"]) for row in rows] == expected


def test_a_name_of_a_text_recipe_is_no_recipe_of_images():
    with pytest.raises(ValueError, match="recipe: text-char-rnn-fp is one of a text"):
        find_recipe("text-char-rnn-fp")
    for wrong in ({"cell": "gru"}, {"level": "letters"}, {"reach": 2.0}, {"lanes": 0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            replace(TINY, **wrong)
