"""Checkpoints: exact resume, atomic writing, a clear refusal of every file that does not fit."""

import copy
import io
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qnn_ref.checkpoints import load_checkpoint, save_checkpoint
from qnn_ref.files import FileError, atomic_write, load_arrays, remove_parts, save_arrays
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
    run.best = {name: a + 1 for name, a in run.best.items()}
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


# Atomic writing

OLD = {"w": np.arange(3.0)}
NEW = {"w": np.arange(100_000.0)}
HEADER = {"kind": "test", "version": 1}


def half_then_fail(error):
    """A stand-in for np.savez that writes some bytes and then breaks off."""

    def savez(file, **arrays):
        file.write(b"PK half a file")
        file.flush()
        raise error

    return savez


def fail(error):
    def function(*arguments, **options):
        raise error

    return function


FULL = OSError(28, "No space left on device")
INTERRUPTIONS = [
    ("numpy.savez", half_then_fail, FULL, FileError),
    ("numpy.savez", half_then_fail, MemoryError("too large"), MemoryError),
    ("numpy.savez", half_then_fail, KeyboardInterrupt(), KeyboardInterrupt),
    ("os.fsync", fail, FULL, FileError),
    ("os.chmod", fail, PermissionError(1, "Operation not permitted"), FileError),
    ("os.replace", fail, PermissionError(13, "Permission denied"), FileError),
    ("os.replace", fail, KeyboardInterrupt(), KeyboardInterrupt),
]


@pytest.mark.parametrize("where, how, error, seen", INTERRUPTIONS)
@pytest.mark.parametrize("exists", [True, False])
def test_a_write_that_breaks_off_leaves_the_old_file_and_nothing_else(
    tmp_path, monkeypatch, where, how, error, seen, exists
):
    path = tmp_path / "run.npz"
    if exists:
        save_arrays(path, OLD, HEADER)
    with monkeypatch.context() as patch:
        patch.setattr(where, how(error))
        with pytest.raises(seen) as caught:
            save_arrays(path, NEW, HEADER)
    if seen is FileError:  # the reason and the file are named
        assert str(path) in str(caught.value)
        assert error.strerror in str(caught.value)
    assert os.listdir(tmp_path) == (["run.npz"] if exists else [])
    if exists:
        arrays, _ = load_arrays(path, "test", 1)
        np.testing.assert_array_equal(arrays["w"], OLD["w"])


def test_a_write_that_succeeds_leaves_the_new_file_and_nothing_else(tmp_path):
    path = tmp_path / "run.npz"
    for arrays in (OLD, NEW):
        save_arrays(path, arrays, HEADER)
        got, header = load_arrays(path, "test", 1)
        np.testing.assert_array_equal(got["w"], arrays["w"])
        assert header == HEADER
    assert os.listdir(tmp_path) == ["run.npz"]


def test_bytes_are_on_disk_before_the_old_file_goes(tmp_path, monkeypatch):
    calls = []
    for name in ("fsync", "replace"):
        real = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *a, n=name, f=real: (calls.append(n), f(*a))[1])
    with atomic_write(tmp_path / "a") as file:
        file.write(b"text")
        assert not (tmp_path / "a").exists()
    assert calls == ["fsync", "replace"]
    assert (tmp_path / "a").read_bytes() == b"text"


def test_the_file_has_the_mode_of_an_ordinary_new_file(tmp_path):
    (tmp_path / "ordinary").write_bytes(b"")
    with atomic_write(tmp_path / "ours") as file:
        file.write(b"x")
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "ordinary").stat().st_mode


def test_a_link_stays_a_link_and_its_target_is_replaced(tmp_path):
    (tmp_path / "target.npz").write_bytes(b"old")
    (tmp_path / "link.npz").symlink_to("target.npz")
    save_arrays(tmp_path / "link.npz", NEW, HEADER)
    assert (tmp_path / "link.npz").is_symlink()
    np.testing.assert_array_equal(load_arrays(tmp_path / "target.npz", "test", 1)[0]["w"], NEW["w"])


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes with names are POSIX")
def test_a_pipe_or_a_device_is_refused_and_stays(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    for name in ("pipe", "link"):
        with pytest.raises(FileError, match="no regular file"):
            save_arrays(tmp_path / name, NEW, HEADER)
    assert sorted(os.listdir(tmp_path)) == ["link", "pipe"]
    assert (tmp_path / "pipe").is_fifo()


def test_a_tilde_is_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    save_arrays("~/a.npz", NEW, HEADER)
    assert os.listdir(tmp_path) == ["a.npz"]


def test_leftovers_of_killed_writers_are_removed_and_nothing_else(tmp_path):
    for name in (".a[1].npz.xyz.part", ".b.npz.xyz.part", "a[1].npz", ".a[1].npz.xyz"):
        (tmp_path / name).write_bytes(b"")
    remove_parts(tmp_path / "a[1].npz")
    assert sorted(os.listdir(tmp_path)) == [".a[1].npz.xyz", ".b.npz.xyz.part", "a[1].npz"]


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL is POSIX")
def test_a_process_killed_in_the_middle_of_a_write_leaves_the_old_file(tmp_path):
    # The child stops where all bytes are written and the old file is about to be replaced.
    script = """
        import os, sys, time
        import numpy as np
        from qnn_ref.files import save_arrays
        os.replace = lambda *paths: (print("half-way", flush=True), time.sleep(60))
        save_arrays(sys.argv[1], {"w": np.arange(100_000.0)}, {"kind": "test", "version": 1})
    """
    path = tmp_path / "run.npz"
    save_arrays(path, OLD, HEADER)
    with start(script, path) as child:
        assert child.stdout.readline() == b"half-way\n"
        child.send_signal(signal.SIGKILL)
    arrays, _ = load_arrays(path, "test", 1)
    np.testing.assert_array_equal(arrays["w"], OLD["w"])
    assert len(os.listdir(tmp_path)) == 2  # a killed process cannot clean up
    save_arrays(path, NEW, HEADER)
    np.testing.assert_array_equal(load_arrays(path, "test", 1)[0]["w"], NEW["w"])


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL is POSIX")
def test_a_process_killed_at_any_time_leaves_a_whole_file(tmp_path):
    script = """
        import sys
        import numpy as np
        from qnn_ref.files import save_arrays
        print("ready", flush=True)
        for i in range(10**6):
            arrays = {"a": np.full(50_000, i), "b": np.full(50_000, i)}
            save_arrays(sys.argv[1], arrays, {"kind": "test", "version": 1, "i": i})
    """
    path = tmp_path / "run.npz"
    pauses = np.random.default_rng().uniform(0.01, 0.2, 3)
    for pause in pauses:
        with start(script, path) as child:
            assert child.stdout.readline() == b"ready\n"
            while not path.exists():
                time.sleep(0.001)
            time.sleep(pause)
            child.send_signal(signal.SIGKILL)
        arrays, header = load_arrays(path, "test", 1)
        for array in arrays.values():
            np.testing.assert_array_equal(array, np.full(50_000, header["i"]))


def start(script, *arguments):
    command = [sys.executable, "-c", textwrap.dedent(script), *map(str, arguments)]
    root = Path(__file__).parents[1]
    return subprocess.Popen(command, stdout=subprocess.PIPE, cwd=root)


@pytest.mark.parametrize(
    "name, words", [("missing/run.npz", "cannot be written"), ("folder", "is a folder")]
)
def test_a_place_that_cannot_be_written_is_named(tmp_path, name, words):
    (tmp_path / "folder").mkdir()
    with pytest.raises(FileError, match=words) as caught:
        save_arrays(tmp_path / name, OLD, HEADER)
    assert str(tmp_path / name) in str(caught.value)
    assert os.listdir(tmp_path) == ["folder"]


# Round trip of arrays

DTYPES = st.sampled_from([np.float32, np.float64, np.uint8, np.int64, np.uint64, np.bool_])


@given(
    st.dictionaries(
        st.text("abc./0", min_size=1, max_size=6).filter(lambda name: name.strip("./")),
        st.tuples(DTYPES, st.sampled_from([(), (0,), (3,), (2, 0), (2, 3)])),
        max_size=4,
    ),
    st.integers(0, 2**32),
)
@settings(max_examples=15)
def test_arrays_and_header_come_back_as_they_were(tmp_path_factory, kinds, seed):
    path = tmp_path_factory.mktemp("arrays") / "a.npz"
    rng = np.random.default_rng(seed)
    arrays = {n: rng.integers(0, 2, shape).astype(d) for n, (d, shape) in kinds.items()}
    header = HEADER | {"list": [1, 0.1, None], "number": float(rng.normal())}
    save_arrays(path, arrays, header)
    got, got_header = load_arrays(path, "test", 3)
    assert got_header == header
    assert list(got) == list(arrays)
    for name, array in arrays.items():
        assert got[name].dtype == array.dtype
        np.testing.assert_array_equal(got[name], array)
        assert got[name].shape == array.shape


# Damaged and foreign files


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """The bytes of a small valid file, and what is in it."""
    path = tmp_path_factory.mktemp("good") / "a.npz"
    arrays = {"w": np.arange(12.0).reshape(3, 4), "b": np.float32([1, 2]), "e": np.zeros((0, 3))}
    save_arrays(path, arrays, HEADER | {"x": [1, 2]})
    return path.read_bytes(), arrays


def is_right_or_refused(path, good_arrays):
    """Whether a damaged file gives exactly what was saved, or an error that names the file."""
    try:
        arrays, header = load_arrays(path, "test", 1)
    except FileError as error:
        return str(path) in str(error)
    return (
        header == HEADER | {"x": [1, 2]}
        and list(arrays) == list(good_arrays)
        and all(arrays[name].dtype == array.dtype for name, array in good_arrays.items())
        and all(np.array_equal(arrays[name], array) for name, array in good_arrays.items())
    )


def test_a_cut_file_is_refused_wherever_it_was_cut(tmp_path, good):
    path = tmp_path / "cut.npz"
    for length in range(0, len(good[0]), 7):
        path.write_bytes(good[0][:length])
        with pytest.raises(FileError):
            load_arrays(path, "test", 1)


@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(1, 255)), min_size=1, max_size=4))
@settings(max_examples=150)
def test_changed_bytes_are_noticed_or_do_not_matter(tmp_path_factory, good, changes):
    path = tmp_path_factory.mktemp("changed") / "a.npz"
    data = bytearray(good[0])
    for position, difference in changes:
        data[position % len(data)] ^= difference
    path.write_bytes(data)
    assert is_right_or_refused(path, good[1])


def test_every_byte_of_the_table_of_contents_can_break(tmp_path, good):
    # Lost members, unknown compression, encryption, wrong sizes: each is another exception inside.
    path = tmp_path / "table.npz"
    start_of_table = good[0].index(b"PK\x01\x02")
    for position in range(start_of_table, len(good[0])):
        for bit in (0, 3, 6):
            data = bytearray(good[0])
            data[position] ^= 1 << bit
            path.write_bytes(data)
            assert is_right_or_refused(path, good[1]), (position, bit)


def test_damaged_compressed_data_is_refused(tmp_path):
    path = tmp_path / "compressed.npz"
    members = {"header": as_header(HEADER | {"arrays": ["w"]}), "w": np.arange(500.0)}
    np.savez_compressed(path, **members)
    np.testing.assert_array_equal(load_arrays(path, "test", 1)[0]["w"], members["w"])
    data = path.read_bytes()
    start_of_w = data.rindex(b"PK\x03\x04")
    for position in range(start_of_w + 60, start_of_w + 160):
        path.write_bytes(data[:position] + bytes([data[position] ^ 255]) + data[position + 1 :])
        with pytest.raises(FileError, match="not a qnn_ref test file"):
            load_arrays(path, "test", 1)


def save_raw(path, **arrays):
    with open(path, "wb") as file:
        np.savez(file, **arrays)


def npy_bytes(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def as_header(value):
    return np.frombuffer(json.dumps(value).encode(), np.uint8)


FOREIGN = [
    (lambda p: p.write_bytes(b""), "not a qnn_ref test file"),
    (lambda p: p.write_bytes(b"plain text"), "not a qnn_ref test file"),
    (lambda p: p.write_bytes(b"\x80\x04N."), "not a qnn_ref test file"),  # a pickle
    (lambda p: p.mkdir(), "Is a directory"),
    (lambda p: p.write_bytes(npy_bytes(np.zeros(3))), "not a qnn_ref test file"),
    (lambda p: np.savez(p, w=np.zeros(3)), "no header in it"),
    (lambda p: save_raw(p, header=np.uint8([255, 254])), "not a qnn_ref test file"),
    (lambda p: save_raw(p, header=np.uint8([ord("[")] * 10**5)), "not a qnn_ref test file"),
    (lambda p: save_raw(p, header=as_header([1, 2])), "another kind"),
    (lambda p: save_raw(p, header=as_header({"version": 1})), "another kind"),
    (lambda p: save_raw(p, header=as_header(HEADER | {"kind": "other"})), "another kind"),
    (lambda p: save_raw(p, header=as_header({"kind": "test"})), "version None"),
    (lambda p: save_raw(p, header=as_header(HEADER | {"version": "1"})), "version 1"),
    (lambda p: save_raw(p, header=as_header(HEADER)), "that its header names"),
    (lambda p: save_raw(p, header=as_header(HEADER | {"arrays": ["w"]})), "that its header names"),
    (
        lambda p: save_raw(p, header=as_header(HEADER | {"arrays": []}), extra=np.ones(2)),
        "that its header names",
    ),
]


@pytest.mark.parametrize("write, words", FOREIGN)
def test_foreign_files_are_refused_by_name(tmp_path, write, words):
    path = tmp_path / "foreign.npz"
    write(path)
    with pytest.raises(FileError) as caught:
        load_arrays(path, "test", 1)
    assert str(path) in str(caught.value)
    assert words in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileError, match="there is no such file") as caught:
        load_arrays(tmp_path / "none.npz", "test", 1)
    assert str(tmp_path / "none.npz") in str(caught.value)


def test_a_newer_version_is_refused_and_an_older_one_is_read(tmp_path):
    path = tmp_path / "a.npz"
    save_arrays(path, OLD, HEADER | {"version": 3})
    with pytest.raises(FileError, match="version 3; this package reads up to 2"):
        load_arrays(path, "test", 2)
    assert load_arrays(path, "test", 3)[1]["version"] == 3
    assert load_arrays(path, "test", 4)[1]["version"] == 3


class Malicious:
    def __reduce__(self):
        return (Path(os.environ["QNN_REF_TRAP"]).write_text, ("executed",))


@pytest.mark.parametrize("name", ["header", "network/2.Dense.weight", "x"])
def test_objects_are_refused_and_nothing_is_executed(tmp_path, monkeypatch, name):
    monkeypatch.setenv("QNN_REF_TRAP", str(tmp_path / "trap"))
    path = tmp_path / "objects.npz"
    members = {"header": as_header(HEADER | {"kind": "checkpoint"})}
    for objects in (np.array([{}], dtype=object), np.array([Malicious()], dtype=object)):
        save_raw(path, **members | {name: objects})
        run = make_run()
        before = state_of(run)
        with pytest.raises(FileError, match="not a qnn_ref checkpoint file"):
            load_checkpoint(path, run)
        assert_same(before, state_of(run))
    assert not (tmp_path / "trap").exists()


@pytest.mark.parametrize("array", [np.array([{}], dtype=object), np.array(["a", None])])
def test_objects_are_not_written_either(tmp_path, array):
    with pytest.raises(TypeError, match=r"arrays\['w'\]: expected numbers, got dtype object"):
        save_arrays(tmp_path / "a.npz", {"w": array}, HEADER)
    assert os.listdir(tmp_path) == []


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
