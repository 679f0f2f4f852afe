"""The commands as a user meets them: answers, exit codes, errors, files."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from qnn_ref import cli, datasets
from qnn_ref.cli import main
from qnn_ref.experiments.runs import load_run
from qnn_ref.packed import PackedNetwork

pytestmark = pytest.mark.slow_without_jit

DIGITS = datasets.load("digits")


def call(capsys, *arguments):
    """Exit code, JSON answer, standard error."""
    code = main([*map(str, arguments), "--json"])
    captured = capsys.readouterr()
    return code, json.loads(captured.out) if captured.out else None, captured.err


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    """A small trained run."""
    folder = tmp_path_factory.mktemp("runs") / "digits"
    assert main(["train", "digits", "--out", str(folder), "--epochs", "2"]) == 0
    return folder


def test_train_evaluate_pack_predict(capsys, tmp_path, run_folder):
    capsys.readouterr()
    code, evaluated, _ = call(capsys, "evaluate", run_folder)
    assert code == 0
    assert evaluated["epochs"] == 2
    packed = tmp_path / "digits.qnn"
    code, answer, _ = call(capsys, "pack", run_folder, "-o", packed, "--verify")
    assert code == 0
    assert answer["scores_identical"] == answer["scores_total"] == 450
    assert answer["packed_bytes"] == packed.stat().st_size
    np.save(tmp_path / "images.npy", DIGITS.test_images)
    code, predicted, _ = call(capsys, "predict", packed, tmp_path / "images.npy")
    assert code == 0
    wrong = np.count_nonzero(np.array(predicted["classes"]) != DIGITS.test_labels)
    assert 100 * wrong / len(DIGITS.test_labels) == evaluated["test_error"]
    assert np.array(predicted["scores"]).shape == (450, 10)


@pytest.mark.parametrize("name", ["run.json", "checkpoint.npz", "history.csv", "history.png"])
def test_pack_spares_the_run_and_meets_any_link_in_it(capsys, tmp_path, run_folder, name):
    folder, out = tmp_path / "run", tmp_path / "x.qnn"
    shutil.copytree(run_folder, folder)
    (tmp_path / "link").symlink_to(folder / name)
    for output in (folder / name, tmp_path / "link"):
        code, answer, _ = call(capsys, "pack", folder, "-o", output)
        assert (code, answer["error"].endswith("is a file of the run itself")) == (2, True)
    (folder / name).unlink()
    (folder / name).symlink_to(folder / name)  # in a circle
    code, answer, _ = call(capsys, "pack", folder, "-o", out)
    assert code == (0 if name.startswith("history") else 2)
    assert "fault" not in answer.get("error", "")


def test_pack_verify_says_no_if_a_score_differs(capsys, tmp_path, run_folder, monkeypatch):
    honest = PackedNetwork.scores
    monkeypatch.setattr(PackedNetwork, "scores", lambda *a, **k: honest(*a, **k) + np.float32(1e-3))
    code, answer, _ = call(capsys, "pack", run_folder, "-o", tmp_path / "x.qnn", "--verify")
    assert code == 1
    assert answer["scores_identical"] < 450


def test_predict_reads_png_and_idx(capsys, tmp_path, run_folder):
    image = pytest.importorskip("PIL.Image")
    packed = tmp_path / "digits.qnn"
    assert main(["pack", str(run_folder), "-o", str(packed)]) == 0
    capsys.readouterr()
    image.fromarray(DIGITS.test_images[0, ..., 0]).save(tmp_path / "digit.png")
    header = np.array([0x00000803, 1, 8, 8], ">i4").tobytes()
    (tmp_path / "digit-idx3-ubyte").write_bytes(header + DIGITS.test_images[0].tobytes())
    answers = [
        call(capsys, "predict", packed, tmp_path / name)[1]
        for name in ("digit.png", "digit-idx3-ubyte")
    ]
    assert answers[0] == answers[1]


def test_resume_finishes_what_a_killed_process_began(capsys, tmp_path, run_folder):
    """Kill the command in the middle of an epoch, go on, and compare with an unbroken run."""
    out = tmp_path / "killed"
    command = [
        sys.executable,
        "-m",
        "qnn_ref",
        "train",
        "digits",
        "--out",
        str(out),
        "--epochs",
        "2",
    ]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as process:
        while not (out / "checkpoint.npz").exists() and process.poll() is None:
            pass
        process.kill()
    assert main([*command[3:], "--resume"]) == 0
    with np.load(run_folder / "checkpoint.npz") as a, np.load(out / "checkpoint.npz") as b:
        assert a.files == b.files
        for name in a.files:
            np.testing.assert_array_equal(a[name], b[name], err_msg=name)
    assert (run_folder / "history.csv").read_text() == (out / "history.csv").read_text()


def test_demo_on_digits(capsys, tmp_path):
    picture = tmp_path / "demo.png"
    code, answer, _ = call(capsys, "demo", "--dataset", "digits", "--epochs", "2", "--out", picture)
    assert code == 0
    keys = "test_error_binary test_error_float gradient_check_worst scores_identical scores_total"
    keys += " packed_bytes float_bytes speedup_packed"
    assert set(keys.split()) <= answer.keys()
    assert answer["scores_identical"] == answer["scores_total"] == 450
    assert answer["gradient_check_worst"] < 1e-6
    assert picture.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_recipes_lists_sizes(capsys):
    code, answer, _ = call(capsys, "recipes")
    assert code == 0
    theano = next(r for r in answer["recipes"] if r["name"] == "mnist-theano")
    assert theano["weights"] == 36_806_656
    assert theano["steps"] == 500_000
    assert theano["operations"] == 6 * 36_806_656 * 100 * 500_000


def test_check_names_what_it_checked(capsys):
    code, answer, _ = call(capsys, "check", "Dense", "BatchNorm")
    assert code == 0
    assert answer["passed"] is True
    assert answer["worst_relative_error"] < 1e-6
    keys = {"layer", "tensor", "absolute_error", "relative_error", "tolerance", "passed"}
    assert all(keys <= entry.keys() for entry in answer["entries"])


def test_data_list_and_verify(capsys, tmp_path):
    code, answer, _ = call(capsys, "data", "list")
    assert code == 0
    assert {row["name"] for row in answer["datasets"]} >= {"digits", "mnist", "fashion-mnist"}
    assert call(capsys, "data", "verify", "digits")[0] == 0
    code, answer, _ = call(capsys, "data", "verify", "mnist", "--data", tmp_path)
    assert code == 1
    assert answer["passed"] is False


def wrong_uses(tmp_path, run_folder):
    """Arguments and what the message must say."""
    damaged = tmp_path / "damaged.qnn"
    damaged.write_bytes(b"PK\x03\x04 nothing")
    (tmp_path / "text.png").write_text("no image")
    packed = tmp_path / "good.qnn"
    main(["pack", str(run_folder), "-o", str(packed)])
    np.save(tmp_path / "floats.npy", np.zeros((2, 8, 8)))
    np.save(tmp_path / "large.npy", np.zeros((2, 28, 28), np.uint8))
    (tmp_path / "file").write_text("")
    new = tmp_path / "new"
    return [
        (["train", "mnist-smal", "--out", new], "did you mean 'mnist-small'"),
        (["train", "digits", "--out", new, "--epochs", "0"], "--epochs: expected a whole number"),
        (["train", "digits", "--out", run_folder], "holds a run already"),
        (["train", "digits", "--out", tmp_path / "file" / "run"], "cannot be made"),
        (["train", "digits", "--out", new, "--data", tmp_path / "none"], "is no folder"),
        (["evaluate", tmp_path], "holds no run"),
        (["pack", run_folder, "-o", tmp_path / "none" / "x.qnn"], "cannot be written"),
        (
            ["predict", damaged, tmp_path / "floats.npy"],
            "damaged.qnn: not a qnn_ref packed network",
        ),
        (["predict", tmp_path / "missing.qnn", packed], "there is no such file"),
        (["predict", run_folder / "checkpoint.npz", packed], "not a qnn_ref packed network"),
        (["predict", packed, tmp_path / "floats.npy"], "floats.npy"),
        (["predict", packed, tmp_path / "text.png"], "text.png"),
        (["predict", packed, tmp_path / "large.npy"], "images: expected shape (N, 8, 8, 1)"),
        (["predict", packed, tmp_path / "missing.npy"], "missing.npy"),
        (["check", "Dnese"], "Dnese"),
        (["check", "Dense", "--divide", "4"], "--divide: expected the NAME of a recipe"),
        (["check", "Dense", "--mode", "ful"], "--mode: expected"),
        (["pack", run_folder, "-o", new, "--data", tmp_path], "--data: expected --verify"),
        (["bench", "prodcut"], "did you mean 'product'?"),
        (["bench", "--plot", tmp_path / "none" / "ladder.png"], "cannot be written"),
        (["data", "fetch"], "needs the name of a data set"),
        (["data", "verify", "imagenet"], "imagenet"),
        (["demo", "--dataset", "digits", "--data", tmp_path / "none"], "is no folder"),
        (["demo", "--dataset", "digits", "--out", tmp_path / "none" / "demo.png"], "demo.png"),
    ]


def test_wrong_use_exits_with_2_and_says_what_is_wrong(capsys, tmp_path, run_folder):
    for arguments, words in wrong_uses(tmp_path, run_folder):
        capsys.readouterr()
        assert main([*map(str, arguments)]) == 2, arguments
        captured = capsys.readouterr()
        assert words in captured.err, (arguments, captured.err)
        assert captured.out == ""
    assert not (tmp_path / "new").exists()
    assert not list(Path(tmp_path).glob(".*"))


def test_a_missing_command_exits_with_2(capsys):
    with pytest.raises(SystemExit) as stopped:
        main([])
    assert stopped.value.code == 2


def test_threads_are_chosen_before_numpy_is_loaded_and_never_after(monkeypatch):
    code = (
        "import os, sys; from qnn_ref import cli; assert 'numpy' not in sys.modules; "
        "cli.choose_threads(sys.argv[1:]); "
        "print(*(os.environ.get(n) for n in ('OMP_WAIT_POLICY', 'NUMBA_NUM_THREADS')))"
    )
    names = ("OMP_WAIT_POLICY", "NUMBA_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    clean = {k: v for k, v in os.environ.items() if k not in names}

    def threads(*argv, **more):
        command = [sys.executable, "-c", code, *argv]
        return subprocess.run(
            command, env=clean | more, check=True, capture_output=True, text=True
        ).stdout.split()

    assert threads("demo") == ["passive", "1"]
    assert threads("train", "digits") == ["passive", "None"]
    assert threads("demo", NUMBA_NUM_THREADS="2", OMP_WAIT_POLICY="active") == ["active", "2"]
    assert threads("bench") == ["passive", "None"]
    for name in names:
        monkeypatch.delenv(name, raising=False)
    cli.choose_threads(["demo"])
    assert not any(name in os.environ for name in names)


@pytest.mark.parametrize(
    ("command", "left", "returned"), [("bench", "None", "Haswell"), ("train", "Haswell", "None")]
)
def test_a_benchmark_takes_away_what_slows_numpy_down(command, left, returned):
    code = (
        "import os, sys; from qnn_ref import cli; unset = cli.choose_threads(sys.argv[1:]); "
        "print(os.environ.get('OPENBLAS_CORETYPE'), unset.get('OPENBLAS_CORETYPE'))"
    )
    environment = os.environ | {"OPENBLAS_CORETYPE": "Haswell"}
    out = subprocess.run(
        [sys.executable, "-c", code, command],
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split()
    assert out == [left, returned]


def test_check_takes_recipes_beside_layers(capsys):
    code, answer, _ = call(capsys, "check", "Dense", "digits", "--divide", "64")
    assert code == 0
    assert answer["passed"]
    layers = {entry["layer"] for entry in answer["entries"]}
    assert "Dense (binary)" in layers
    assert "digits/64: 2.Dense" in layers
    code, _, error = call(capsys, "check", "digts")
    assert code == 2
    assert "did you mean 'digits'?" in error


def test_equations_lists_a_section(capsys):
    code, answer, _ = call(capsys, "equations", "2.4")
    assert code == 0
    assert {"id", "title", "function", "test", "notebook"} <= answer["entries"][0].keys()
    assert "2.4 Algorithm 2" in [entry["id"] for entry in answer["entries"]]
    assert answer["missing"] == []
    assert call(capsys, "equations", "9.9")[0] == 2


def test_limit_tries_a_recipe_for_a_few_steps(capsys, tmp_path):
    run = tmp_path / "run"
    code, answer, _ = call(
        capsys, "train", "digits", "--out", run, "--epochs", 1, "--limit", 100, "--seed", 3
    )
    assert code == 0
    assert answer["epochs"] == 1
    code, evaluated, _ = call(capsys, "evaluate", run)
    assert code == 0
    assert evaluated["validation_error"] == answer["validation_error"]
    assert main(["evaluate", str(run)]) == 0
    shown = f"test error        {evaluated['test_error']:.2f} % of 450 images"
    assert capsys.readouterr().out.splitlines()[2] == shown
    plain = ("train", "digits", "--out", tmp_path / "d", "--epochs", 1, "--plain-products")
    assert call(capsys, *plain)[0] == 0
    assert not load_run(tmp_path / "d")[0].bit_products
    assert call(capsys, "train", "digits", "--out", tmp_path / "b", "--limit", 3)[0] == 2
    code, _, error = call(capsys, "train", "alexnet-bnn", "--out", tmp_path / "c")
    assert code == 2
    assert "ImageNet may not be passed on" in error
