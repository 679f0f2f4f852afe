"""Checkpoints: exact resume, atomic writing, a clear refusal of every file that does not fit."""

import copy
import json
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from qnn_ref import checkpoints
from qnn_ref.checkpoints import _check_history, _fitted, load_checkpoint, save_checkpoint
from qnn_ref.files import FileError, load_arrays, save_arrays
from qnn_ref.layers import BatchNorm, Dense, Dropout, Pixels, Quantize
from qnn_ref.losses import squared_hinge
from qnn_ref.network import Sequential
from qnn_ref.optimizers import SGD, Adam, AdaMax, ExponentialDecay, ShiftAdaMax
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
    assert (header["kind"], header["version"], header["steps"]) == ("checkpoint", 2, 3)
    assert header["history"] == run.history


# Checkpoints that do not fit the run


def spoil(path, change):
    """Rewrite a valid checkpoint with something changed in its arrays or its header."""
    arrays, header = load_arrays(path, "checkpoint", 2)
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


def enter(key, value):
    return lambda arrays, header: header["history"][0].update({key: value})


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
    say("history", {}),
    say("history", []),
    say("best_epoch", 99),
    say("best_epoch", 2),
    say("best_epoch", -1),
    say("best_epoch", True),
    say("best_epoch", 1.0),
    say("best_epoch", None),
    say("steps", -1),
    say("steps", 0),
    say("steps", 6.0),
    say("steps", True),
    say("steps", 2**60),
    say("steps", 10**400),
    say("settings", []),
    forget("settings"),
    forget("learning_rate"),
    say("learning_rate", 0),
    say("learning_rate", None),
    enter("epoch", 1),
    enter("epoch", False),
    enter("loss", None),
    enter("loss", "0.5"),
    enter("loss", 10**400),
    enter("learning_rate", 0.0),
    enter("validation_error", 100.5),
    enter("validation_error", -1),
    enter("validation_error", None),
    enter("training_error", True),
    enter("flipped", 1.5),
    enter("saturated", -0.1),
    enter("clipped", [0.5]),
    enter("mine", "x"),
    lambda arrays, header: header["history"][1].pop("loss"),
    lambda arrays, header: header["history"].reverse(),
    lambda arrays, header: header["history"].append(header["history"][1]),
    put("best/3.BatchNorm.running_inverse_deviation", np.full(6, -1, np.float32)),
    put("network/3.BatchNorm.gain", np.full(6, np.nan, np.float32)),
    put(f"moments/{WEIGHT}/second", np.full((5, 6), -1, np.float32)),
    put(f"network/{WEIGHT}", np.full((5, 6), 7, np.float32)),
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
        (lambda: make_run(optimizer="SGD"), ["optimizer was 'Adam' there, and is 'SGD' here"]),
        (lambda: make_run(optimizer="AdaMax"), ["optimizer was 'Adam' there", "'AdaMax' here"]),
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


@pytest.mark.parametrize(
    ("saved", "now", "words"),
    [
        (Adam(beta1=0.8), Adam(), ["beta1 was 0.8 there, and is 0.9 here"]),
        (Adam(beta2=0.9), Adam(), ["beta2 was 0.9 there, and is 0.999 here"]),
        (Adam(epsilon=1e-4), Adam(), ["epsilon was 0.0001 there, and is 1e-08 here"]),
        (
            Adam(epsilon_at="before correction", beta1=0.5),
            Adam(),
            ["epsilon_at was 'before correction' there", "; ", "beta1 was 0.5 there"],
        ),
        (SGD(), SGD(momentum=0.9), ["momentum was 0.0 there, and is 0.9 here"]),
        (SGD(momentum=0.9), SGD(), ["momentum was 0.9 there, and is 0.0 here"]),
        (AdaMax(beta1=0.8), AdaMax(), ["beta1 was 0.8 there, and is 0.9 here"]),
        (
            ShiftAdaMax(variant="torch"),
            ShiftAdaMax(),
            ["variant was 'torch' there, and is 'paper' here"],
        ),
        (
            ShiftAdaMax(round_scale=True),
            ShiftAdaMax(),
            ["round_scale was True there, and is False here"],
        ),
    ],
)
def test_other_settings_of_the_optimizer_are_named_with_both_values(tmp_path, saved, now, words):
    path = tmp_path / "run.npz"
    first, second = make_run(), make_run(1)
    first.optimizer, second.optimizer = copy.deepcopy(saved), copy.deepcopy(now)
    save_checkpoint(path, fit(first, 1))
    before = state_of(second)
    with pytest.raises(FileError) as caught:
        load_checkpoint(path, second)
    for word in [str(path), *words]:
        assert word in str(caught.value)
    assert_same(before, state_of(second))


def test_the_learning_rate_comes_back_for_loops_without_a_schedule(tmp_path):
    first, second = make_run(), make_run(1)
    first.optimizer.learning_rate = 0.125
    save_checkpoint(tmp_path / "run.npz", first)
    load_checkpoint(tmp_path / "run.npz", second)
    assert second.optimizer.learning_rate == 0.125


# Generators


GENERATORS = [np.random.PCG64, np.random.PCG64DXSM, np.random.MT19937, np.random.Philox]
GENERATORS += [np.random.SFC64]


def run_on(generator, seed=0):
    run = make_run(seed)
    for number, owner in enumerate((run, run.network)):
        owner.rng = np.random.Generator(generator(seed + number))
    for _, layer in run.network.walk():
        layer.rng = run.network.rng
    return run


@pytest.mark.parametrize("generator", GENERATORS)
def test_a_run_on_any_generator_of_numpy_resumes_to_the_same_bits(tmp_path, generator):
    path = tmp_path / "run.npz"
    whole = state_of(fit(run_on(generator), EPOCHS))
    half = fit(run_on(generator), 2)
    half.rng.random(dtype=np.float32)  # half a word is kept for the next draw
    whole_twin = copy.deepcopy(half)
    save_checkpoint(path, half)
    resumed = run_on(generator, 5)
    load_checkpoint(path, resumed)
    same_states(state_of(fit(resumed, EPOCHS)), state_of(fit(whole_twin, EPOCHS)))
    assert resumed.history[:2] == whole["history"][:2]


def same_states(a, b):
    """As `assert_same`, for states of generators that hold arrays."""
    np.testing.assert_equal(a.pop("generators"), b.pop("generators"))
    assert_same(a, b)


@pytest.mark.parametrize("generator", GENERATORS)
def test_another_generator_is_named(tmp_path, generator):
    path = tmp_path / "run.npz"
    save_checkpoint(path, run_on(generator))
    run = run_on(GENERATORS[GENERATORS.index(generator) - 1])
    before = state_of(run)
    with pytest.raises(FileError, match=r"expected the state of a|was .* there, and is .* here"):
        load_checkpoint(path, run)
    same_states(before, state_of(run))


BAD_STATES = [
    (np.random.MT19937, ("state", "pos"), 625),
    (np.random.MT19937, ("state", "pos"), -1),
    (np.random.MT19937, ("state", "key"), [0] * 624),  # would draw 0 for ever
    (np.random.MT19937, ("state", "key"), [1] * 623),
    (np.random.MT19937, ("state", "key"), [2**32] + [1] * 623),
    (np.random.MT19937, ("state", "key"), [1.5] * 624),
    (np.random.MT19937, ("state", "key"), 3),
    (np.random.Philox, ("buffer_pos",), 5),
    (np.random.Philox, ("buffer_pos",), -1),
    (np.random.Philox, ("buffer",), [2**64, 1, 1, 1]),
    (np.random.SFC64, ("state", "state"), [1, 2, 3]),
    (np.random.SFC64, ("has_uint32",), 2),
    (np.random.PCG64, ("uinteger",), 2**32),
    (np.random.PCG64, ("state", "state"), -1),
    (np.random.PCG64, ("state", "state"), 2**128),
    (np.random.PCG64, ("state", "inc"), "1"),
    (np.random.PCG64, ("state",), None),
    (np.random.PCG64, ("bit_generator",), "PCG64DXSM"),
]


@pytest.mark.parametrize(("generator", "where", "value"), BAD_STATES)
@pytest.mark.parametrize("which", [0, 1])
def test_a_state_that_no_generator_can_have_is_refused(tmp_path, generator, where, value, which):
    """NumPy takes a place beyond the end of its arrays, and reads what lies there."""

    def change(arrays, header):
        state = header["generators"][which]
        for key in where[:-1]:
            state = state[key]
        assert state[where[-1]] != value
        state[where[-1]] = value

    refused(tmp_path, run_on(generator), run_on(generator, 1), change)


def refused(folder, saved, run, change, words=()):
    """The checkpoint of `saved`, changed behind its checksum, is refused and changes nothing."""
    path = folder / "run.npz"
    save_checkpoint(path, saved)
    load_checkpoint(path, copy.deepcopy(run))
    spoil(path, change)
    before = state_of(run)
    with pytest.raises(FileError) as caught:
        load_checkpoint(path, run)
    for word in [str(path), *words]:
        assert word in str(caught.value)
    same_states(before, state_of(run))


@pytest.mark.parametrize(
    ("part", "most"),
    [
        *(("pos", 624), ("buffer_pos", 4), ("has_uint32", 1)),
        *(("uinteger", 2**32 - 1), ("state", 2**128 - 1), ("inc", 2**128 - 1)),
    ],
)
def test_a_part_of_a_state_goes_from_0_to_its_most(part, most):
    name = f"generators[0], {part}"
    assert [_fitted(name, value, 1) for value in (0, most)] == [0, most]
    for wrong in (-1, most + 1):
        with pytest.raises(ValueError, match=rf"^generators\[0\], {part}: expected"):
            _fitted(name, wrong, 1)


def test_a_state_has_the_parts_of_its_generator_and_no_others():
    state = np.random.default_rng(0).bit_generator.state
    for wrong in ([], {**state, "more": 1}, {"bit_generator": "PCG64"}):
        with pytest.raises(TypeError, match=r"^rng: expected the state of a PCG64"):
            _fitted("rng", wrong, state)


@pytest.mark.parametrize("history", [{}, "", None, 0])
def test_a_history_without_an_entry_is_a_list_too(history):
    with pytest.raises(TypeError, match=r"^history: expected a list, got"):
        _check_history(history, {})


def test_of_two_things_wrong_in_a_state_its_kind_is_said():
    state = np.random.default_rng(0).bit_generator.state
    with pytest.raises(ValueError, match=r"^rng, bit_generator was 'PCG64DXSM' there"):
        _fitted("rng", {**state, "has_uint32": 7, "bit_generator": "PCG64DXSM"}, state)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (put("other/thing", np.zeros(2)), "an array 'other/thing' is none of a checkpoint's"),
        (say("generators", [{}]), "generators: expected the states of two"),
        (say("generators", [{}] * 3), "generators: expected the states of two"),
        (say("generators", {"a": 1, "b": 2}), "generators: expected the states of two"),
        (say("history", [1]), "history[0]: expected an entry with names, got int"),
    ],
)
def test_what_does_not_fit_is_said_in_words(tmp_path, change, words):
    refused(tmp_path, fit(make_run(0), 1), make_run(1), change, [words])


def test_statistics_may_be_0(tmp_path):
    path = tmp_path / "run.npz"
    save_checkpoint(path, fit(make_run(0), 1))
    spoil(path, put("network/3.BatchNorm.running_inverse_deviation", np.zeros(6, np.float32)))
    run = make_run(1)
    load_checkpoint(path, run)
    assert not run.network.layers[3].buffers()["running_inverse_deviation"].any()


def in_version_1(arrays, header):
    """It had no digest of the description, and neither settings nor rate of the optimizer."""
    header["version"] = 1
    for key in ("description", "settings", "learning_rate"):
        del header[key]


def test_a_checkpoint_of_version_1_is_read_but_for_another_optimizer(tmp_path):
    path, run = tmp_path / "run.npz", make_run(1)
    saved = fit(make_run(0), 2)
    save_checkpoint(path, saved, "of seed 0")
    spoil(path, in_version_1)
    load_checkpoint(path, run, "of seed 1")  # it does not say which
    assert_same(state_of(saved), state_of(run))
    with pytest.raises(FileError, match=r"the optimizer was 'Adam' there, and is 'SGD' here"):
        load_checkpoint(path, make_run(1, "SGD"))


# Which run it is


def test_a_checkpoint_of_another_run_is_refused_though_all_shapes_fit(tmp_path):
    path = tmp_path / "run.npz"
    save_checkpoint(path, fit(make_run(), 1), "of seed 0")
    load_checkpoint(path, make_run(1), "of seed 0")
    load_checkpoint(path, make_run(1))  # who does not ask is not told
    with pytest.raises(FileError, match="another run than the description beside it"):
        load_checkpoint(path, make_run(1), "of seed 1")
    save_checkpoint(path, fit(make_run(), 1))
    with pytest.raises(FileError, match="another run than the description beside it"):
        load_checkpoint(path, make_run(1), "of seed 0")


# What is no checkpoint of a sound run is not written


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_only_a_finite_network_is_written_and_the_old_file_stays(tmp_path, value):
    path = tmp_path / "run.npz"
    run = fit(make_run(), 1)
    save_checkpoint(path, run)
    before = path.read_bytes()
    name = "6.BatchNorm.running_mean"
    run.network.buffers()[name][1] = value
    with pytest.raises(ValueError, match=f"{name}: expected finite numbers, got {value}"):
        save_checkpoint(path, run)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["run.npz"]


# Everything in it, behind a sound checksum


def nodes(value, path=()):
    """Every place in a header: dictionaries and lists, and what is in them."""
    yield path
    if isinstance(value, dict):
        for key in value:
            yield from nodes(value[key], (*path, key))
    if isinstance(value, list):
        for index in range(min(2, len(value))):
            yield from nodes(value[index], (*path, index))


def changed(value, path, new):
    """A copy with another value at a place, or without the place if `new` is `nodes`."""
    if not path:
        return new
    value = copy.copy(value)
    if len(path) == 1 and new is nodes:
        del value[path[0]]
    else:
        value[path[0]] = changed(value[path[0]], path[1:], new)
    return value


VALUES = [nodes, None, True, -1, 0, 1, 99, 2**70, 10**400, 0.5, -0.5, 1e300, "", "x", [], {}, [[]]]
VALUES += [{"x": 1}, [1] * 700]


@pytest.fixture
def loaded(monkeypatch):
    """Hands `load_checkpoint` arrays and a header instead of a file."""

    def load(arrays, header, run):
        monkeypatch.setattr(checkpoints, "load_arrays", lambda *_: (arrays, header))
        load_checkpoint("file.npz", run)

    return load


ENTRY = {"epoch": 0, "learning_rate": 0.1, "loss": 1.5, "training_error": 50.0, "saturated": 0.5}
ENTRY |= {"validation_error": 25.0, "flipped": 0.1, "clipped": 0.0}


def saved_parts(tmp_path, run):
    save_checkpoint(tmp_path / "run.npz", run)
    return load_arrays(tmp_path / "run.npz", "checkpoint", 2)


def test_every_value_of_the_header_may_be_any_other(tmp_path, loaded):
    """The answer is a FileError and the run as it was, or a run that can go on."""

    def complaint(header, run):
        try:
            loaded(arrays, header, run)
        except FileError as error:
            return str(error)
        return None

    def fresh(seed):
        run = run_on(np.random.MT19937, seed)
        run.network.rng = np.random.Generator(np.random.Philox(seed))
        return run

    saved, run = fresh(0), fresh(1)
    saved.history, saved.best_epoch, saved.best = [ENTRY], 0, saved.network.arrays()
    arrays, header = saved_parts(tmp_path, saved)
    accepted, before = set(), state_of(run)
    for path in nodes(header):
        for new in VALUES:
            if path == () or path[0] in ("kind", "version"):  # these are read before
                continue
            twin = copy.deepcopy(run)
            words = complaint(changed(header, path, new), twin)
            if words is not None:
                assert words.startswith("file.npz: "), (path, new)
                same_states(dict(before), state_of(twin))
                continue
            accepted.add(path[0])
            assert 0 <= twin.history[0]["validation_error"] <= 100
            assert twin.best_epoch == 0
            twin.rng.permutation(700)  # beyond the words that the generator keeps
            twin.network.rng.random(700)
    # An empty place is that of a run between two epochs.
    harmless = {"description", "learning_rate", "generators", "history", "best_epoch", "steps"}
    harmless |= {"place"}
    assert accepted <= harmless


def test_every_array_may_be_any_other(tmp_path, loaded):
    arrays, header = saved_parts(tmp_path, fit(make_run(), 2))
    run = make_run(1)
    before = state_of(run)
    loaded(arrays, header, copy.deepcopy(run))
    for name, array in arrays.items():
        others = [
            array.astype(np.float64),
            array.astype(">f4"),
            array.astype(np.uint8),
            array.astype(bool),
            array.astype(complex),
            array.reshape(-1)[:-1],
            array[None],
            array[:0],
            np.float32(0.5),
            np.array("x"),
            *(
                np.where(np.arange(array.size).reshape(array.shape) == 1, value, array).astype("f4")
                for value in (np.nan, np.inf, -np.inf)
            ),
        ]
        if name.endswith(("weight", "/second", "deviation")):
            others.append(array - np.float32(7))
        for other in others:
            with pytest.raises(FileError, match=r"^file\.npz: ") as caught:
                loaded(arrays | {name: other}, header, run)
            part = name.rpartition("/")[0] if name.startswith("moments") else name
            assert part.removeprefix("moments/").partition("/")[2] in str(caught.value)
        with pytest.raises(FileError, match=r"^file\.npz: "):
            loaded({n: a for n, a in arrays.items() if n != name}, header, run)
        with pytest.raises(FileError, match=r"^file\.npz: "):
            loaded(arrays | {name + "s": array}, header, run)
    assert_same(before, state_of(run))


def test_latent_weights_outside_their_bound_are_named_with_both_numbers(tmp_path):
    def change(arrays, header):
        arrays[f"network/{WEIGHT}"][2, 1] = -7

    words = [WEIGHT, "within +-1", "got 7"]
    refused(tmp_path, fit(make_run(), 1), make_run(1), change, words)


def test_arrays_in_the_order_of_columns_are_the_same_run(tmp_path, loaded):
    """Their moments must be changed in place too, which a view of a copy would not be."""
    first = fit(make_run(), 2)
    arrays, header = saved_parts(tmp_path, first)
    second = make_run(1)
    loaded({name: np.asfortranarray(a) for name, a in arrays.items()}, header, second)
    assert_same(state_of(fit(first, EPOCHS)), state_of(fit(second, EPOCHS)))


def test_a_checkpoint_before_the_first_step_is_a_checkpoint(tmp_path):
    path = tmp_path / "run.npz"
    run = make_run(0)
    save_checkpoint(path, run)
    other = make_run(1)
    load_checkpoint(path, other)
    assert_same(state_of(run), state_of(other))
    assert other.best == {}
    assert other.best_epoch is None
