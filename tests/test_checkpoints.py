"""Checkpoints: exact resume, atomic writing, a clear refusal of every file that does not fit."""

import copy
import json
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from qnn_ref.checkpoints import load_checkpoint, save_checkpoint
from qnn_ref.files import FileError, load_arrays, save_arrays
from qnn_ref.layers import BatchNorm, Dense, Dropout, Pixels, Quantize
from qnn_ref.losses import squared_hinge
from qnn_ref.network import Sequential
from qnn_ref.optimizers import SGD, Adam, AdaMax, ExponentialDecay
from qnn_ref.quantizers import StochasticSign
from qnn_ref.training import Run, train

EPOCHS = 4
OPTIMIZERS = {"Adam": Adam, "AdaMax": AdaMax, "SGD": lambda: SGD(0.1, momentum=0.9)}


def make_run(seed=0, optimizer="Adam", shared=False, hidden=6, dtype=np.float32):
    """A run that draws wherever one can: weights, order, dropout, stochastic units."""
    rng = np.random.default_rng(seed)
    layers = [Pixels(), Dropout(0.2), Dense(hidden), BatchNorm(), Quantize(StochasticSign())]
    network = Sequential([*layers, Dense(3, bias=True), BatchNorm()], (5,), rng, dtype)
    own = rng if shared else np.random.default_rng(seed + 1)
    return Run(network, OPTIMIZERS[optimizer](), own)


def fit(run, epochs, **options):
    rng = np.random.default_rng(9)
    images = rng.integers(0, 256, (31, 5), dtype=np.uint8)
    labels = images[:, :3].argmax(axis=1)
    return train(
        run,
        images[:20],
        labels[:20],
        (images[20:], labels[20:]),
        loss=squared_hinge,
        epochs=epochs,
        batch_size=6,
        schedule=ExponentialDecay(3e-2, 1e-3, EPOCHS),
        **options,
    )


def state_of(run):
    """Everything that a run is, as plain objects that can be compared."""
    state = {f"network/{name}": a for name, a in run.network.arrays().items()}
    state |= {f"best/{name}": a.copy() for name, a in run.best.items()}
    for name, moments in run.optimizer.state.items():
        state |= {f"moments/{name}/{m}": a.copy() for m, a in moments.items()}
    state["steps"] = run.optimizer.steps
    state["history"] = copy.deepcopy(run.history)
    state["best_epoch"] = run.best_epoch
    state["generators"] = [g.bit_generator.state for g in (run.rng, run.network.rng)]
    return state


def assert_same(a, b):
    assert a.keys() == b.keys()
    for name, value in a.items():
        if isinstance(value, np.ndarray):
            assert value.dtype == b[name].dtype, name
            np.testing.assert_array_equal(value, b[name], err_msg=name)
        else:
            assert value == b[name], name


@pytest.fixture(scope="module")
def whole():
    """The uninterrupted runs, by optimizer."""
    return {name: state_of(fit(make_run(0, name), EPOCHS)) for name in OPTIMIZERS}


# Resume


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("interrupted", range(EPOCHS + 1))
def test_a_resumed_run_ends_in_the_same_bits(tmp_path, whole, optimizer, interrupted):
    path = tmp_path / "run.npz"
    first = fit(make_run(0, optimizer), interrupted)
    save_checkpoint(path, first)
    second = make_run(77, optimizer)  # started from other numbers: all must come from the file
    load_checkpoint(path, second)
    assert_same(state_of(first), state_of(second))
    fit(second, EPOCHS)
    assert_same(whole[optimizer], state_of(second))


def test_a_run_with_one_generator_for_everything_resumes_too(tmp_path):
    path = tmp_path / "run.npz"
    expected = state_of(fit(make_run(3, shared=True), EPOCHS))
    save_checkpoint(path, fit(make_run(3, shared=True), 2))
    run = make_run(4, shared=True)
    load_checkpoint(path, run)
    assert run.rng is run.network.rng
    assert_same(expected, state_of(fit(run, EPOCHS)))


def test_an_exception_in_the_middle_of_an_epoch_loses_that_epoch_only(tmp_path, whole):
    path = tmp_path / "run.npz"
    run = make_run(0)

    def keep(run):
        save_checkpoint(path, run)
        if len(run.history) == 2:
            run.optimizer.update = interrupt  # strikes in a step of the third epoch

    def interrupt(*arguments, **moments):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(run, EPOCHS, after_epoch=keep)
    second = make_run(5)
    load_checkpoint(path, second)
    assert len(second.history) == 2
    assert_same(whole["Adam"], state_of(fit(second, EPOCHS)))


def test_a_new_process_resumes_to_the_same_bits(tmp_path, whole):
    save_checkpoint(tmp_path / "half.npz", fit(make_run(0), 2))
    script = """
        import sys
        from tests.test_checkpoints import EPOCHS, fit, load_checkpoint, make_run, save_checkpoint
        run = make_run(123)
        load_checkpoint(sys.argv[1], run)
        save_checkpoint(sys.argv[2], fit(run, EPOCHS))
    """
    run_script(script, tmp_path / "half.npz", tmp_path / "end.npz")
    end = make_run(6)
    load_checkpoint(tmp_path / "end.npz", end)
    assert_same(whole["Adam"], state_of(end))


def run_script(script, *arguments):
    command = [sys.executable, "-c", textwrap.dedent(script), *map(str, arguments)]
    subprocess.run(command, check=True, cwd=Path(__file__).parents[1], timeout=120)


def test_best_epoch_and_its_arrays_come_back(tmp_path):
    path = tmp_path / "run.npz"
    run = fit(make_run(8), EPOCHS)
    run.best_epoch = 1
    run.best = {name: a / 2 for name, a in run.best.items()}
    save_checkpoint(path, run)
    other = make_run(0)
    load_checkpoint(path, other)
    assert other.best_epoch == 1
    images = np.random.default_rng(0).integers(0, 256, (7, 5), dtype=np.uint8)
    np.testing.assert_array_equal(
        other.best_network().scores(images), run.best_network().scores(images)
    )


def test_loaded_arrays_are_the_runs_own(tmp_path):
    path = tmp_path / "run.npz"
    run = fit(make_run(), 2)
    save_checkpoint(path, run)
    a, b = make_run(1), make_run(2)
    load_checkpoint(path, a)
    load_checkpoint(path, b)
    fit(a, EPOCHS)
    assert_same(state_of(run), state_of(b))


def test_a_checkpoint_is_plain_arrays_and_json(tmp_path):
    path = tmp_path / "run.npz"
    run = fit(make_run(), 1)
    save_checkpoint(path, run)
    with np.load(path, allow_pickle=False) as file:
        header = json.loads(file["header"].tobytes())
        weight = file["network/2.Dense.weight"]
        assert all(file[name].dtype.kind in "fiu" for name in file.files)
    np.testing.assert_array_equal(weight, run.network.layers[2].weight.latent)
    assert np.unique(weight).size > 2  # latent, not +-1
    assert (header["kind"], header["version"], header["steps"]) == ("checkpoint", 1, 3)
    assert header["history"] == run.history


# Checkpoints that do not fit the run


def spoil(path, change):
    """Rewrite a valid checkpoint with something changed in its arrays or its header."""
    arrays, header = load_arrays(path, "checkpoint", 1)
    change(arrays, header)
    save_arrays(path, arrays, header)


def drop(name):
    return lambda arrays, header: arrays.pop(name)


def put(name, array):
    return lambda arrays, header: arrays.update({name: array})


def forget(key):
    return lambda arrays, header: header.pop(key)


def say(key, value):
    return lambda arrays, header: header.update({key: value})


WEIGHT = "2.Dense.weight"
SPOILED = [
    drop(f"network/{WEIGHT}"),
    drop("network/3.BatchNorm.running_mean"),
    put("network/9.Dense.weight", np.zeros(2)),
    put(f"network/{WEIGHT}", np.zeros((6, 5), np.float32)),
    put(f"network/{WEIGHT}", np.zeros((5, 6))),
    drop(f"best/{WEIGHT}"),
    put(f"best/{WEIGHT}", np.zeros((2, 2), np.float32)),
    drop(f"moments/{WEIGHT}/first"),
    put(f"moments/{WEIGHT}/first", np.zeros((6, 5), np.float32)),
    put(f"moments/{WEIGHT}/second", np.zeros((5, 6))),
    put(f"moments/{WEIGHT}/third", np.zeros((5, 6), np.float32)),
    put("moments/9.Dense.weight/first", np.zeros(2, np.float32)),
    put("other/thing", np.zeros(2)),
    forget("optimizer"),
    forget("steps"),
    forget("generators"),
    forget("history"),
    forget("best_epoch"),
    say("optimizer", "AdaMax"),
    say("steps", "many"),
    say("generators", []),
    say("generators", [{"bit_generator": "MT19937"}] * 2),
    say("generators", [1, 2]),
    say("history", [1]),
]


@pytest.mark.parametrize("change", SPOILED)
def test_a_checkpoint_that_does_not_fit_changes_nothing(tmp_path, change):
    path = tmp_path / "run.npz"
    save_checkpoint(path, fit(make_run(0), 2))
    load_checkpoint(path, make_run(1))
    spoil(path, change)
    run = fit(make_run(1), 1)
    before = state_of(run)
    with pytest.raises(FileError) as caught:
        load_checkpoint(path, run)
    assert str(path) in str(caught.value)
    assert_same(before, state_of(run))


@pytest.mark.parametrize(
    "other, words",
    [
        (lambda: make_run(hidden=7), ["another", "expected", "(5, 7)", "(5, 6)"]),
        (lambda: make_run(dtype=np.float64), ["another", "float64", "float32"]),
        (lambda: make_run(optimizer="SGD"), ["Adam", "not SGD"]),
        (lambda: make_run(optimizer="AdaMax"), ["Adam", "not AdaMax"]),
    ],
)
def test_another_network_or_optimizer_is_refused_in_words(tmp_path, other, words):
    path = tmp_path / "run.npz"
    save_checkpoint(path, fit(make_run(), 1))
    run = other()
    before = state_of(run)
    with pytest.raises(FileError) as caught:
        load_checkpoint(path, run)
    for word in [str(path), *words]:
        assert word in str(caught.value)
    assert_same(before, state_of(run))


def test_momentum_that_the_file_lacks_is_refused(tmp_path):
    path = tmp_path / "run.npz"
    plain = make_run(optimizer="SGD")
    plain.optimizer = SGD(0.1)
    save_checkpoint(path, fit(plain, 1))
    run = make_run(optimizer="SGD")
    with pytest.raises(FileError, match="velocity"):
        load_checkpoint(path, run)


def test_a_checkpoint_before_the_first_step_is_a_checkpoint(tmp_path):
    path = tmp_path / "run.npz"
    run = make_run(0)
    save_checkpoint(path, run)
    other = make_run(1)
    load_checkpoint(path, other)
    assert_same(state_of(run), state_of(other))
    assert other.best == {}
    assert other.best_epoch is None
