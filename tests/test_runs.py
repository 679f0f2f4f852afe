"""Run folders: what is in them is compared, gone on with, repaired, and never believed unseen."""

import json
import os
import shutil
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from qnn_ref import datasets
from qnn_ref.checkpoints import save_checkpoint
from qnn_ref.cli import main
from qnn_ref.experiments import RECIPES
from qnn_ref.experiments import runs as runs_module
from qnn_ref.experiments.description import digest, identity, read_description, write_description
from qnn_ref.experiments.recipe import FLAGS, REAL, WHOLE, Recipe
from qnn_ref.experiments.runs import check_data, load_run, start_run, train_recipe
from qnn_ref.files import FileError, load_arrays, save_arrays

OLD = Path(__file__).parent / "data" / "run_of_version_1"
TINY = replace(RECIPES["digits"], hidden=(5,), epochs=2, validation=50, batch_size=50, limit=100)


@pytest.fixture(scope="module")
def digits():
    whole = datasets.load("digits")
    return replace(
        whole, train_images=whole.train_images[:300], train_labels=whole.train_labels[:300]
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory, digits):
    """The folder of a finished run; not to be changed."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    train_recipe(TINY, digits, folder)
    return folder


@pytest.fixture
def folder(tmp_path, finished):
    """A copy of that folder."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def same_arrays(a, b):
    assert a.keys() == b.keys()
    return all(np.array_equal(a[name], b[name]) for name in a)


# Going on


def test_a_finished_run_goes_on_for_more_epochs(folder, digits, caplog):
    caplog.set_level("INFO", "qnn_ref.experiments")
    longer = replace(TINY, epochs=4)
    run = train_recipe(longer, digits, folder, resume=True)
    assert caplog.messages == [
        f"{folder}: 4 epochs instead of 2; the learning rates from epoch 3 on are those of a run "
        "of 4"
    ]
    rates = [entry["learning_rate"] for entry in run.history]
    short, long = TINY.schedule(), longer.schedule()
    assert rates == [short(0), short(1), long(2), long(3)]
    recipe, loaded = load_run(folder)
    assert recipe == longer
    assert same_arrays(loaded.network.arrays(), run.network.arrays())
    assert len((folder / "history.csv").read_text().splitlines()) == 5
    before = contents(folder)
    train_recipe(longer, digits, folder, resume=True)
    assert len(caplog.messages) == 1
    assert contents(folder) == before


def test_a_kill_between_the_two_files_of_a_longer_run_loses_nothing(folder, digits, monkeypatch):
    """run.json says 4 already, the checkpoint is still that of 2."""
    monkeypatch.setattr(runs_module, "train", lambda run, *_, **__: run)
    train_recipe(replace(TINY, epochs=4), digits, folder, resume=True)
    monkeypatch.undo()
    recipe, run = load_run(folder)
    assert (recipe.epochs, len(run.history)) == (4, 2)
    run = train_recipe(replace(TINY, epochs=4), digits, folder, resume=True)
    assert len(run.history) == 4


def test_fewer_epochs_than_are_done_are_refused(folder, digits):
    before = contents(folder)
    with pytest.raises(FileError, match=r"2 epochs are done there, more than 1; give at least"):
        train_recipe(replace(TINY, epochs=1), digits, folder, resume=True)
    assert contents(folder) == before


def test_epochs_cannot_change_once_the_boundary_is_relaxed(tmp_path, digits):
    recipe = replace(TINY, epochs=1, retrain_epochs=1)
    train_recipe(recipe, digits, tmp_path / "run")
    before = contents(tmp_path / "run")
    with pytest.raises(FileError, match=r"epochs \(1 there, 2 here\) cannot change any more"):
        train_recipe(replace(recipe, epochs=2), digits, tmp_path / "run", resume=True)
    assert contents(tmp_path / "run") == before


OTHER = {
    "name": "other",
    "dataset": "mnist",
    "hidden": (6,),
    "convolutions": ((2, 1),),
    "norm": "shift-S",
    "rule": "adamax",
    "gradient_rule": "linear",
    **{name: 51 if name == "validation" else 2 for name in WHOLE if name not in ("epochs",)},
    **dict.fromkeys(REAL, 0.25),
}
OTHER |= {name: not getattr(TINY, name) for name in FLAGS} | {"batch_size": 20, "limit": 99}


@pytest.mark.parametrize("name", [f.name for f in fields(Recipe) if f.name != "epochs"])
def test_every_setting_that_differs_is_named_with_both_values(folder, digits, name):
    before = contents(folder)
    if name == "about":  # words, no setting
        train_recipe(replace(TINY, about="x"), digits, folder, resume=True)
        assert contents(folder) == before
        return
    other = replace(TINY, **{name: OTHER[name]})
    there, here = (repr(json.loads(json.dumps(getattr(r, name)))) for r in (TINY, other))
    with pytest.raises(FileError) as caught:
        train_recipe(other, digits, folder, resume=True)
    assert f"these differ: {name} ({there} there, {here} here)" in str(caught.value)
    assert contents(folder) == before


def test_several_settings_that_differ_are_all_named(folder, digits):
    other = replace(TINY, seed=5, hidden=(6,), epochs=4)
    with pytest.raises(FileError) as caught:
        train_recipe(other, digits, folder, resume=True)
    message = str(caught.value)
    assert message.endswith("these differ: hidden ([5] there, [6] here), seed (0 there, 5 here)")


def other_labels(digits):
    labels = digits.train_labels.copy()
    labels[-1] = (labels[-1] + 1) % 10
    return replace(digits, train_labels=labels)


def other_images(digits):
    images = digits.train_images.copy()
    images[7, 1, 2] ^= 1
    return replace(digits, train_images=images)


@pytest.mark.parametrize(
    ("change", "name"),
    [(other_labels, "training_labels_crc32"), (other_images, "training_images_crc32")],
)
def test_other_training_data_are_refused(folder, digits, change, name):
    check_data(folder, digits)
    check_data(folder, replace(digits, train_labels=digits.train_labels.astype(np.uint8)))
    with pytest.raises(FileError, match=rf"was trained on other data .*{name} is \d+ there"):
        check_data(folder, change(digits))
    with pytest.raises(FileError, match=rf"these differ: {name} \(\d+ there, \d+ here\)$"):
        train_recipe(TINY, change(digits), folder, resume=True)


def test_evaluate_wants_the_data_that_the_run_was_trained_on(folder, digits, monkeypatch, capsys):
    monkeypatch.setattr(datasets, "load", lambda name, place=None: digits)
    assert main(["evaluate", str(folder)]) == 0
    monkeypatch.setattr(datasets, "load", lambda name, place=None: other_labels(digits))
    assert main(["evaluate", str(folder)]) == 2
    assert "was trained on other data" in capsys.readouterr().err


# Repairs


def test_a_table_that_a_kill_left_short_is_made_whole(folder, digits):
    whole = (folder / "history.csv").read_bytes()
    (folder / "history.csv").write_bytes(b"".join(whole.splitlines(keepends=True)[:2]))
    train_recipe(TINY, digits, folder, resume=True)
    assert (folder / "history.csv").read_bytes() == whole
    (folder / "history.csv").unlink()
    train_recipe(TINY, digits, folder, resume=True)
    assert (folder / "history.csv").read_bytes() == whole


def test_leftovers_of_killed_writers_go_at_the_next_start(folder, digits):
    before = contents(folder)
    kept = ["mine.txt", ".mine.part", ".checkpoint.npz.part.txt"]
    parts = [".run.json.a1.part", ".checkpoint.npz.b2.part", ".history.csv.c3.part"]
    for name in kept + parts:
        (folder / name).write_bytes(b"half")
    with pytest.raises(FileError, match="holds a run already"):  # may still be written to
        train_recipe(TINY, digits, folder)
    assert contents(folder).keys() == before.keys() | set(kept + parts)
    train_recipe(TINY, digits, folder, resume=True)
    assert contents(folder).keys() == before.keys() | set(kept)


def test_leftovers_of_a_start_that_was_killed_go_too(tmp_path, digits):
    (tmp_path / ".run.json.a1.part").write_bytes(b"half")
    train_recipe(TINY, digits, tmp_path)
    assert contents(tmp_path).keys() == {"run.json", "checkpoint.npz", "history.csv"}


def test_an_explosion_leaves_the_last_good_checkpoint(folder, digits, monkeypatch):
    before = contents(folder)
    loss = runs_module.squared_hinge
    monkeypatch.setattr(
        runs_module, "squared_hinge", lambda *given: (np.nan, loss(*given)[1] * np.float32(1e30))
    )
    with pytest.raises(FloatingPointError, match=r"epoch 3, learning rate .*, batch 1: "):
        train_recipe(replace(TINY, epochs=4), digits, folder, resume=True)
    after = contents(folder)
    assert after["checkpoint.npz"] == before["checkpoint.npz"]
    assert after["history.csv"] == before["history.csv"]
    monkeypatch.undo()
    assert len(train_recipe(replace(TINY, epochs=4), digits, folder, resume=True).history) == 4


# Folders


def test_a_tilde_is_the_home_folder(tmp_path, digits, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    train_recipe(TINY, digits, "~/runs/one")
    assert os.listdir(tmp_path) == ["home"]
    assert load_run("~/runs/one")[0] == TINY
    check_data("~/runs/one", digits)


@pytest.mark.parametrize("call", [load_run, lambda folder: train_recipe(TINY, DIGITS, folder)])
def test_an_empty_path_is_no_folder(tmp_path, monkeypatch, call):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileError, match="expected the path of a folder, got an empty one"):
        call("")
    assert os.listdir(tmp_path) == []


DIGITS = datasets.load("digits")


@pytest.mark.parametrize("name", ["run.json", "checkpoint.npz", "history.csv"])
def test_a_folder_in_the_place_of_a_file_is_named_before_the_first_step(tmp_path, digits, name):
    (tmp_path / name).mkdir()
    with pytest.raises(FileError, match=f"{name}: is a folder"):
        train_recipe(TINY, digits, tmp_path)
    assert os.listdir(tmp_path) == [name]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"batch_size": 101}, "batch_size: expected a whole number from 1 to 100, got 101"),
        ({"validation": 300}, "validation: expected .* 0 to 299"),
        ({"convolutions": ((4, 9),)}, "layer 2"),
    ],
)
def test_what_cannot_be_trained_makes_no_folder(tmp_path, digits, change, words):
    with pytest.raises(ValueError, match=words):
        train_recipe(replace(TINY, **change), digits, tmp_path / "run")
    assert os.listdir(tmp_path) == []


def test_a_checkpoint_without_its_description_is_not_gone_on_with(folder, digits):
    (folder / "run.json").unlink()
    before = contents(folder)
    for resume in (False, True):
        with pytest.raises(FileError, match=r"holds checkpoint\.npz, but no run\.json"):
            train_recipe(TINY, digits, folder, resume=resume)
    assert contents(folder) == before


# run.json is not believed


def both_refuse(folder, digits, words):
    """Reading the run and going on with it fail, and change nothing."""
    before = contents(folder)
    for call in (load_run, lambda f: train_recipe(TINY, digits, f, resume=True)):
        with pytest.raises(FileError, match=words):
            call(folder)
    assert contents(folder) == before


def edit(folder, change, sign=True):
    """Change run.json, with a digest that fits the new text or with the old one."""
    path = folder / "run.json"
    found = json.loads(path.read_text())
    change(found)
    if sign:
        found["sha256"] = digest(found)
    path.write_text(json.dumps(found))


@pytest.mark.parametrize("version", [0, -1, True, 1.0, 99, 3, "1", None, [2], {}])
def test_versions_that_are_none_are_refused(folder, digits, version):
    edit(folder, lambda found: found.update(version=version))
    both_refuse(folder, digits, "version .*; this package reads 1 to 2")


@pytest.mark.parametrize("name", ["activation_bits", "pixel_scale", "hidden", "epochs", "about"])
def test_a_changed_setting_is_noticed_by_the_digest(folder, digits, name):
    value = {"hidden": [6], "about": "x"}.get(name, 3)
    edit(folder, lambda found: found["recipe"].update({name: value}), sign=False)
    both_refuse(folder, digits, "damaged run description: its digest does not fit it")


def test_a_description_without_its_digest_is_damaged(folder, digits):
    edit(folder, lambda found: found.pop("sha256"), sign=False)
    both_refuse(folder, digits, "its digest does not fit it")


@pytest.mark.parametrize(
    "number",
    ["1e999", "-1e999", "NaN", "Infinity", "1" * 5000, "[" * 900 + "]" * 900, "[" * 100_000],
)
def test_numbers_that_json_cannot_hold_are_refused(folder, digits, number):
    path = folder / "run.json"
    path.write_text(path.read_text().replace('"momentum": 0.1', f'"momentum": {number}'))
    both_refuse(folder, digits, r"run\.json: damaged run description")


def test_a_flipped_bit_anywhere_is_noticed(finished, tmp_path):
    text = (finished / "run.json").read_bytes()
    path, expected = tmp_path / "run.json", read_description(finished / "run.json")
    for position in range(len(text)):
        flipped = bytes([text[position] ^ 1 << position % 7])
        path.write_bytes(text[:position] + flipped + text[position + 1 :])
        with pytest.raises(FileError, match=r"run\.json: "):
            read_description(path)
    path.write_bytes(text)
    assert read_description(path) == expected


@pytest.mark.parametrize("name", ["activation_bits", "pixel_scale", "seed", "rule"])
def test_a_description_of_another_run_is_noticed_by_the_checkpoint(folder, digits, name):
    """Its digest fits: someone wrote it, and the shapes of all arrays are the same."""
    edit(folder, lambda found: found["recipe"].update({name: {"rule": "adam-theano"}.get(name, 2)}))
    with pytest.raises(FileError, match=r"checkpoint\.npz: belongs to another run than the desc"):
        load_run(folder)


def test_a_checkpoint_of_another_seed_is_refused(folder, digits, tmp_path):
    train_recipe(replace(TINY, seed=1), digits, tmp_path / "other")
    shutil.copy(tmp_path / "other" / "checkpoint.npz", folder)
    both_refuse(folder, digits, r"checkpoint\.npz: belongs to another run than the description")


def test_a_checkpoint_that_says_nothing_is_refused(folder, digits):
    save_checkpoint(folder / "checkpoint.npz", load_run(folder)[1])
    both_refuse(folder, digits, r"checkpoint\.npz: belongs to another run than the description")


def test_a_best_epoch_that_is_not_the_historys_is_refused(folder, digits):
    path = folder / "checkpoint.npz"
    arrays, header = load_arrays(path, "checkpoint", 2)
    save_arrays(path, arrays, header | {"best_epoch": 1 - header["best_epoch"]})
    both_refuse(folder, digits, r"checkpoint\.npz: damaged checkpoint: best_epoch is")


def test_more_epochs_than_the_description_names_are_refused(folder, digits):
    edit(folder, lambda found: found["recipe"].update(epochs=1))
    with pytest.raises(FileError, match="2 epochs are done there, more than 1"):
        load_run(folder)


def leaves(value, path=()):
    yield path
    if isinstance(value, dict):
        for key in value:
            yield from leaves(value[key], (*path, key))


VALUES = [None, True, -1, 0, 2**40, 10**400, 0.5, "", "x", [], {}, [[]], [2**20] * 9, [1] * 2000]


def test_any_description_with_a_fitting_digest_is_a_run_or_an_error_of_ours(folder):
    """And no network is made that the checkpoint could not hold: 2^40 units are refused at once."""
    path = folder / "run.json"
    found = read_description(path)
    for place in list(leaves(found))[1:]:
        for new in VALUES:
            changed = json.loads(json.dumps(found))
            at = changed
            for key in place[:-1]:
                at = at[key]
            at[place[-1]] = new
            write_description(path, changed)
            try:
                recipe, run = load_run(folder)
            except FileError:
                continue
            assert place[-1] == "epochs" or identity(changed) == identity(found), place
            assert len(run.history) <= recipe.epochs


def test_no_network_is_made_that_the_checkpoint_cannot_hold(folder, monkeypatch):
    monkeypatch.setattr(runs_module, "start_run", None)
    for setting in ({"hidden": [2**20]}, {"convolutions": [[2**10, 1], [2**10, 1]]}):
        edit(folder, lambda found, new=setting: found["recipe"].update(new))
        with pytest.raises(FileError, match=r"describes \d[\d,]+ weights, but .* is too small"):
            load_run(folder)


@pytest.mark.parametrize("key", ["recipe", "input_shape", "classes"])
def test_a_lacking_part_is_named(folder, digits, key):
    edit(folder, lambda found: found.pop(key))
    with pytest.raises(FileError, match=f"damaged run description: no '{key}' in it"):
        load_run(folder)


def test_an_unknown_setting_is_named(folder, digits):
    edit(folder, lambda found: found["recipe"].update(depth=3))
    both_refuse(folder, digits, "this package knows no setting 'depth'")


# Recipes


@pytest.mark.parametrize("name", [f.name for f in fields(Recipe)])
@pytest.mark.parametrize(
    "value", [None, -1, 0.5, np.nan, np.inf, "x", [1], (0,), ((1,),), True, {}]
)
def test_a_recipe_refuses_what_a_setting_cannot_be(name, value):
    allowed = {"x": {"name", "about", "dataset"}, True: set(FLAGS), 0.5: set(REAL)}
    if not isinstance(value, list | dict) and name in allowed.get(value, ()):
        replace(TINY, **{name: value})
        return
    with pytest.raises((TypeError, ValueError), match=rf"^{name}\b.*: "):
        replace(TINY, **{name: value})


def test_every_setting_has_its_range():
    known = {*WHOLE, *REAL, *FLAGS, "norm", "rule", "gradient_rule", "hidden", "convolutions"}
    assert {f.name for f in fields(Recipe)} == known | {"name", "about", "dataset"}


# Folders of version 1 (commit 3e6173c)


def test_a_run_of_version_1_still_loads_with_the_same_scores():
    recipe, run = load_run(OLD)
    expected = json.loads((OLD / "expected.json").read_text())
    assert (recipe.hidden, recipe.rule, len(run.history)) == ((4,), "adam", 2)
    assert run.history == expected["history"][:2]
    scores = run.best_network().scores(DIGITS.test_images[:3])
    np.testing.assert_allclose(scores, expected["scores"], rtol=1e-5, atol=1e-6)
    check_data(OLD, DIGITS)


def test_a_run_of_version_1_goes_on(tmp_path):
    folder = Path(shutil.copytree(OLD, tmp_path / "run"))
    expected = json.loads((OLD / "expected.json").read_text())["history"]
    recipe, _ = load_run(folder)
    run = train_recipe(recipe, DIGITS, folder, resume=True)
    assert len(run.history) == 3
    for got, entry in zip(run.history, expected, strict=True):
        assert got == pytest.approx(entry, rel=1e-4)
    assert load_run(folder)[1].history == run.history
    train_recipe(replace(recipe, epochs=4), DIGITS, folder, resume=True)
    assert load_run(folder)[0].epochs == 4
    with pytest.raises(FileError, match=r"these differ: seed \(0 there, 1 here\)$"):
        train_recipe(replace(recipe, seed=1), DIGITS, folder, resume=True)


def test_the_old_vector_is_of_version_1():
    found = json.loads((OLD / "run.json").read_text())
    assert found["version"] == 1
    assert "sha256" not in found


def test_start_run_needs_no_folder():
    assert start_run(TINY, (8, 8, 1), 10).history == []
