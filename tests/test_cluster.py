"""Sweeps on other processes: the rows of one after the other, whatever ends on the way."""

from __future__ import annotations

import os
import pickle
import signal
import sys
import zlib
from concurrent import futures
from dataclasses import replace
from pathlib import Path

import numba
import pytest

from qnn_ref import datasets
from qnn_ref.bits.threads import blas_threads
from qnn_ref.cli import main
from qnn_ref.experiments import RECIPES, SWEEPS, cluster
from qnn_ref.experiments.cluster import Cluster, Order, RunsFailed, UnfitWorker, local_workers
from qnn_ref.experiments.runs import train_recipe
from qnn_ref.experiments.sweep import IMAGES, Measure, Sweep, read_rows, run_sweep
from qnn_ref.training import error_rate

TINY = replace(RECIPES["digits"], about="", epochs=2, validation=50, batch_size=64, limit=128)


def trained(recipe, dataset):
    """Train, and give the bits of all weights too; with a folder in `about`, one run's worker dies.

    A line in the folder's file of the run is a beginning of it, with the threads that it has.
    """
    if recipe.about:
        begun = Path(recipe.about) / f"{recipe.hidden[0]}-{recipe.seed}"
        with begun.open("a") as file:
            file.write(f"{numba.get_num_threads()} {blas_threads()}\n")
        if begun.name == "9-1" and len(begun.read_text().splitlines()) == 1:
            train_recipe(replace(recipe, epochs=1), dataset)
            os.kill(os.getpid(), signal.SIGKILL)
    run = train_recipe(recipe, dataset)
    bits = b"".join(parameter.latent.tobytes() for parameter in run.network.parameters().values())
    return {
        "validation_error": f"{run.history[-1]['validation_error']:.3f}",
        "test_error": f"{error_rate(run.network, dataset.test_images, dataset.test_labels):.3f}",
        "weights_crc32": str(zlib.crc32(bits)),
    }


COLUMNS = "validation_error", "test_error", "weights_crc32"
TRAINED = Measure(COLUMNS, trained, IMAGES.checksums, most=None)


def sweep_of(measure, widths, seeds, about=""):
    cases = [({"hidden": str(h)}, replace(TINY, hidden=(h,), about=about)) for h in widths]
    return Sweep("tiny", "widths", cases, seeds, measure)


@pytest.fixture(scope="module")
def digits():
    return datasets.load("digits")


# The code around Dask, with a client that does at once what it is told to.

ENDS = set()
"""Runs (width, seed) that end with an error, filled by tests."""


def quick(recipe, dataset):
    """No training: a number that tells the runs apart."""
    run = recipe.hidden[0], recipe.seed
    if run in ENDS:
        raise FloatingPointError("loss: not finite")
    return {"validation_error": str(run[0]), "test_error": str(run[1])}


QUICK = Measure(IMAGES.columns, quick, IMAGES.checksums)
RUNS = [(h, s) for s in (0, 1) for h in (7, 8, 9)]


class WorkerLost(Exception):
    """What a result raises whose worker has ended too often."""


class Client:
    """What `Cluster` asks of Dask. Functions and arguments travel as bytes, as they do there."""

    def __init__(self, order=list, losses=(), threads=1):
        self.order, self.losses, self.threads = order, list(losses), threads
        self.begun, self.names, self.cancelled, self.work = [], [], None, {}

    def nthreads(self):
        return {"tcp://one:1": self.threads}

    def run(self, function, *arguments):
        return {"tcp://one:1": function(*arguments)}

    def submit(self, function, *arguments, key):
        future = futures.Future()
        self.names.append(key)
        self.work[future] = pickle.dumps((function, arguments))
        return future

    def cancel(self, left):
        self.cancelled = len(left)

    def as_completed(self, waiting):
        for future in self.order(waiting):
            function, arguments = pickle.loads(self.work.pop(future))
            run = arguments[2].hidden[0], arguments[2].seed
            self.begun.append(run)
            try:
                if run in self.losses:
                    self.losses.remove(run)
                    raise WorkerLost(run)
                future.set_result(function(*arguments))
            except Exception as error:
                future.set_exception(error)
            yield future


def cluster_of(client, folder=None):
    return Cluster(client, client.as_completed, (WorkerLost,), folder)


@pytest.fixture
def quick_sweep():
    ENDS.clear()
    yield sweep_of(QUICK, (7, 8, 9), (0, 1))
    ENDS.clear()


@pytest.fixture
def plain(quick_sweep, digits, tmp_path):
    run_sweep(quick_sweep, digits, tmp_path / "plain")
    return (tmp_path / "plain" / "tiny.csv").read_bytes()


@pytest.mark.parametrize("order", [list, lambda waiting: waiting[::-1], lambda w: w[3:] + w[:3]])
def test_rows_are_those_of_the_plain_loop_in_whatever_order_runs_end(
    order, quick_sweep, plain, digits, tmp_path, monkeypatch
):
    client, written = Client(order), []
    write_rows = sys.modules["qnn_ref.experiments.sweep"].write_rows
    monkeypatch.setattr(
        "qnn_ref.experiments.sweep.write_rows",
        lambda path, rows: (write_rows(path, rows), written.append((len(rows), len(client.begun)))),
    )
    run_sweep(quick_sweep, digits, tmp_path / "shared", carrier=cluster_of(client))
    assert (tmp_path / "shared" / "tiny.csv").read_bytes() == plain
    assert client.begun == order(RUNS)
    assert written == [(n, n) for n in range(1, 7)]  # each row before the next run is waited for
    assert len(set(client.names)) == 6


def test_threads_of_one_process_carry_out_one_run_at_a_time(quick_sweep, plain, digits, tmp_path):
    with futures.ThreadPoolExecutor(3) as pool:
        client = Client()
        client.submit = lambda function, *arguments, key: pool.submit(function, *arguments)
        carrier = Cluster(client, futures.as_completed, (WorkerLost,))
        run_sweep(quick_sweep, digits, tmp_path / "shared", carrier=carrier)
    assert (tmp_path / "shared" / "tiny.csv").read_bytes() == plain


def test_a_run_whose_worker_is_lost_is_repeated_after_the_others(
    quick_sweep, plain, digits, tmp_path
):
    client = Client(losses=[(8, 0), (9, 1)])
    run_sweep(quick_sweep, digits, tmp_path / "shared", carrier=cluster_of(client))
    assert (tmp_path / "shared" / "tiny.csv").read_bytes() == plain
    assert client.begun == [*RUNS, (8, 0), (9, 1)]
    assert len(set(client.names)) == 8  # a lost run under its old name would be lost at once


def test_a_run_that_ends_every_worker_is_given_up_and_named(quick_sweep, plain, digits, tmp_path):
    client = Client(losses=[(8, 0)] * 9)
    with pytest.raises(RunsFailed, match=r"^a run has failed; .*: 8, 0, 2: WorkerLost"):
        run_sweep(quick_sweep, digits, tmp_path / "shared", carrier=cluster_of(client))
    assert client.begun == [*RUNS, (8, 0)]
    path = tmp_path / "shared" / "tiny.csv"
    assert len(read_rows(path)) == 5

    again = Client()
    run_sweep(quick_sweep, digits, tmp_path / "shared", resume=True, carrier=cluster_of(again))
    assert again.begun == [(8, 0)]
    assert path.read_bytes() == plain


def test_a_run_that_fails_holds_up_no_other_and_is_not_repeated(
    quick_sweep, plain, digits, tmp_path
):
    ENDS.update({(7, 0), (9, 0)})
    client = Client()
    words = r"^2 runs have failed; all others are written: 7, 0, 2: FloatingPointError: loss: .*; 9"
    with pytest.raises(RunsFailed, match=words):
        run_sweep(quick_sweep, digits, tmp_path / "shared", carrier=cluster_of(client))
    assert client.begun == RUNS
    ENDS.clear()
    again = Client()
    run_sweep(quick_sweep, digits, tmp_path / "shared", resume=True, carrier=cluster_of(again))
    assert again.begun == [(7, 0), (9, 0)]
    assert (tmp_path / "shared" / "tiny.csv").read_bytes() == plain


def test_ctrl_c_keeps_what_is_finished_and_takes_back_the_rest(
    quick_sweep, plain, digits, tmp_path
):
    def stopped(waiting):
        yield from waiting[:2]
        raise KeyboardInterrupt

    client = Client(stopped)
    with pytest.raises(KeyboardInterrupt):
        run_sweep(quick_sweep, digits, tmp_path / "shared", carrier=cluster_of(client))
    assert client.cancelled == 4
    again = Client()
    run_sweep(quick_sweep, digits, tmp_path / "shared", resume=True, carrier=cluster_of(again))
    assert again.begun == RUNS[2:]
    assert (tmp_path / "shared" / "tiny.csv").read_bytes() == plain


def test_a_scheduler_that_ends_is_said_once(quick_sweep, digits, tmp_path):
    def ended(waiting):
        yield from Client.as_completed(client, waiting[:2])
        for future in waiting[2:]:
            future.cancel()
            yield future

    client = Client()
    with pytest.raises(RunsFailed, match=r"^the scheduler has ended"):
        run_sweep(quick_sweep, digits, tmp_path, carrier=Cluster(client, ended, (WorkerLost,)))
    assert len(read_rows(tmp_path / "tiny.csv")) == 2


def test_a_finished_sweep_asks_nobody(quick_sweep, digits, tmp_path):
    run_sweep(quick_sweep, digits, tmp_path)
    rows = run_sweep(
        quick_sweep, digits, tmp_path, resume=True, carrier=Cluster(None, lambda waiting: [], ())
    )
    assert len(rows) == 6


def test_a_worker_with_other_data_or_threads_is_refused_by_name(quick_sweep, digits, tmp_path):
    images = digits.train_images.copy()
    images[0, 0, 0] ^= 1
    other = replace(digits, train_images=images)
    words = r"^worker tcp://one:1: training_images_crc32 \(\d+ there, \d+ here\)$"
    with pytest.raises(UnfitWorker, match=words):
        run_sweep(quick_sweep, other, tmp_path / "data", carrier=cluster_of(Client()))
    missing = cluster_of(Client(), str(tmp_path / "nowhere"))
    with pytest.raises(UnfitWorker, match=r"one:1: digits: cannot be loaded there: .*nowhere"):
        run_sweep(quick_sweep, digits, tmp_path / "folder", carrier=missing)
    with pytest.raises(UnfitWorker, match="one:1: has 4 threads; begin it with --nthreads 1"):
        run_sweep(quick_sweep, digits, tmp_path / "wide", carrier=cluster_of(Client(threads=4)))

    late = Client()
    late.nthreads = dict  # it joined afterwards
    with pytest.raises(UnfitWorker, match=rf"^worker on .*process {os.getpid()}: training_images"):
        run_sweep(quick_sweep, other, tmp_path / "late", carrier=cluster_of(late))
    assert not (tmp_path / "late" / "tiny.csv").exists()
    assert (len(late.begun), late.cancelled) == (1, 5)


@pytest.mark.parametrize("name", ["qnn_ref", "numpy", "numba"])
def test_a_worker_with_another_program_is_refused(name, quick_sweep, digits, tmp_path, monkeypatch):
    client, ours = Client(), dict(cluster.program())

    def there(function, *arguments):
        monkeypatch.setattr(cluster, "program", lambda: ours | {name: "0.0.1"})
        return {"tcp://one:1": function(*arguments)}

    client.run = there
    with pytest.raises(UnfitWorker, match=rf"one:1: {name} \('0.0.1' there, "):
        run_sweep(quick_sweep, digits, tmp_path, carrier=cluster_of(client))


@pytest.mark.parametrize("name", SWEEPS)
def test_all_sweeps_travel(name):
    """As bytes, and under a name of its own for each run."""
    sweep = SWEEPS[name]
    order = Order(sweep.measure.carry_out, sweep.measure.checksums, sweep.dataset, None, {"a": 1})
    names = set()
    for labels, recipe in sweep.cases:
        assert pickle.loads(pickle.dumps((order, recipe))) == (order, recipe)
        names.add(cluster._name(name, tuple(labels.values()), recipe, order))
    assert len(names) == len(sweep.cases)


def refused(capsys, *more, recipe="downhill"):
    assert main(["train", recipe, "--out", "nowhere", *more]) == 2
    return capsys.readouterr().err


def test_the_command_says_what_cannot_be(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    both = ["--scheduler", "host:8786", "--workers", "2"]
    assert "--workers, --scheduler: give one of them" in refused(capsys, *both)
    assert "digits is no sweep" in refused(capsys, "--workers", "2", recipe="digits")
    assert "workers: expected a whole number from 1 to" in refused(capsys, "--workers", "99999")
    monkeypatch.setitem(sys.modules, "distributed", None)
    for more in (both[:2], ["--workers", "1"]):
        assert 'pip install "qnn-ref[cluster]"' in refused(capsys, *more)
    assert not any(tmp_path.iterdir())


# Dask itself


@pytest.mark.slow_without_jit
@pytest.mark.skipif(os.cpu_count() == 1, reason="two workers need two cores")
def test_a_worker_that_dies_in_mid_run_changes_no_bit_and_no_run_is_begun_twice(
    digits, tmp_path, monkeypatch
):
    pytest.importorskip("distributed", reason='pip install "qnn-ref[cluster]"')
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "2")  # a worker inherits it
    widths, seeds = (7, 8, 9, 10), (0, 1, 2)
    plain = run_sweep(sweep_of(TRAINED, widths, seeds), digits, tmp_path / "plain")
    assert len({row["weights_crc32"] for row in plain}) == 12
    begun = tmp_path / "begun"
    begun.mkdir()
    with local_workers(2) as carrier:
        sweep = sweep_of(TRAINED, widths, seeds, about=str(begun))
        for folder in ("shared", "again"):  # what was finished is known to the scheduler
            assert run_sweep(sweep, digits, tmp_path / folder, carrier=carrier) == plain
    tables = {(tmp_path / name / "tiny.csv").read_bytes() for name in ("plain", "shared", "again")}
    assert len(tables) == 1
    lines = {path.name: path.read_text().splitlines() for path in begun.iterdir()}
    assert lines == {f"{h}-{s}": ["1 1"] * (1 + ((h, s) == (9, 1))) for h in widths for s in seeds}


@pytest.mark.slow_without_jit
def test_a_worker_uses_one_thread_and_trains_the_same_bits(digits, tmp_path):
    """The plain loop has all there are."""
    recipe = replace(TINY, hidden=(64, 64))
    order = Order(trained, IMAGES.checksums, "digits", None, {})
    there = cluster.carry_out_order(order, replace(recipe, about=str(tmp_path)))
    assert there == trained(recipe, digits)
    assert (tmp_path / "64-0").read_text() == "1 1\n"
