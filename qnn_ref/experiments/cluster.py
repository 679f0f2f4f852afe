"""A sweep's runs on other processes and machines, by Dask: the same rows as one after the other.

A worker carries out one run at a time on one thread, with data that it loads itself; only recipes
and rows travel. It is refused if its data, its code, or its NumPy or Numba differ from ours, since
its rows would be those of another sweep. If it ends in the middle of a run, Dask gives the run to
another one. It would do so with a finished run too, whose result lay on that worker only: so rows
are told to the scheduler, whoever begins a run asks it, and a result is let go once it is here.

Dask's messages are pickled. Whoever can reach a scheduler or a worker can make it do anything: use
it between machines and people that trust each other. No file is unpickled.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import importlib.resources
import json
import logging
import os
import platform
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import CancelledError
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qnn_ref import datasets
from qnn_ref.bits.threads import threads_for
from qnn_ref.checks import whole
from qnn_ref.experiments.description import differences, settings_of
from qnn_ref.experiments.sweep import Finished, Key, Row, Sweep, carry_out_one

log = logging.getLogger(__name__)

ATTEMPTS = 2
"""How often a run is handed in; each time Dask begins it up to four times, if its workers end."""
PATIENCE = 10
"""Seconds in which a scheduler has to answer."""
ONE_THREAD = dict.fromkeys(
    ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"
)
"""The environment of our own workers, where ours does not say otherwise: loops for one thread are
compiled in a fifth of the time. That a run uses one only does not rely on it."""
LOST_SCHEDULER = (
    "the scheduler has ended or took the runs back; the rows so far are written, and --resume goes "
    "on from them"
)
_ONE_RUN = threading.Lock()


class UnfitWorker(Exception):
    """A worker has other data or another program than the sweep that it is to work for."""


class RunsFailed(Exception):
    """One or more runs of a sweep ended with an error; the rows of the others are written."""


@dataclass(frozen=True)
class Order:
    """What a worker is told about a sweep, beside the recipe of a run.

    Parameters
    ----------
    carry_out, checksums : function
        Of the sweep's `Measure`.
    dataset : str
        Name of the data set.
    folder : str, optional
        Where it lies on the worker's machine; by default where `datasets.load` finds it.
    expected : mapping
        Checksums of our data, and the versions of what computes.
    """

    carry_out: Callable[[Any, Any], Row]
    checksums: Callable[[Any], Mapping[str, Any]]
    dataset: str
    folder: str | None
    expected: Mapping[str, Any]


@functools.cache
def program() -> Mapping[str, str]:
    """Versions of what decides the bits of a row, and a digest of this package's code."""
    package = Path(str(importlib.resources.files("qnn_ref")))
    code = hashlib.sha256()
    for file in sorted(package.rglob("*.py")):
        content = file.read_bytes()
        code.update(f"{file.relative_to(package).as_posix()}:{len(content)}:".encode() + content)
    versions = {name: importlib.metadata.version(name) for name in ("numpy", "numba")}
    return {"qnn_ref": code.hexdigest()[:16]} | versions


_load = functools.lru_cache(maxsize=1)(datasets.load)


def unfit(order: Order) -> str:
    """What a worker has otherwise than the sweep; nothing if it may work for it.

    Parameters
    ----------
    order : Order

    Returns
    -------
    str
    """
    try:
        dataset = _load(order.dataset, order.folder)
    except (OSError, ValueError, TypeError) as error:
        return f"{order.dataset}: cannot be loaded there: {error}"
    found = {**program(), **order.checksums(dataset)}
    return "; ".join(differences(found, order.expected))


def carry_out_order(order: Order, recipe: Any) -> Row:
    """Carry out a run on a worker, as `one_after_the_other` does here.

    Parameters
    ----------
    order : Order
    recipe : Recipe

    Returns
    -------
    dict
        What was measured.

    Raises
    ------
    UnfitWorker
        If the worker has joined since the others were asked, with other data.
    """
    with _ONE_RUN, threads_for(0):
        if different := unfit(order):
            raise UnfitWorker(f"worker on {platform.node()}, process {os.getpid()}: {different}")
        return carry_out_one(order.carry_out, recipe, _load(order.dataset, order.folder))


def carry_out_once(name: str, order: Order, recipe: Any) -> Row:
    """As `carry_out_order` on a Dask worker, but a row that the scheduler knows is that row.

    Parameters
    ----------
    name : str
        Of the run; no other one has it.
    order : Order
    recipe : Recipe

    Returns
    -------
    dict
        What was measured.
    """
    distributed = _distributed()
    for _, told in distributed.get_client().get_events(name):
        return dict(told["row"])
    row = carry_out_order(order, recipe)
    # Sent before the message that the run is finished, in the same stream. The scheduler adds its
    # own entries to what it is told: the row stands one level deeper.
    distributed.get_worker().log_event(name, {"row": row})
    return row


def carry_out_named(name: str, order: Order, recipe: Any) -> Row:
    """As `carry_out_order`, where nobody keeps rows.

    Parameters
    ----------
    name : str
    order : Order
    recipe : Recipe

    Returns
    -------
    dict
        What was measured.
    """
    return carry_out_order(order, recipe)


@dataclass(frozen=True)
class Cluster:
    """Other processes that carry out runs; `run_sweep` takes it as its carrier.

    Parameters
    ----------
    client : Client
        Of `distributed`, or what has its `submit`, `cancel`, `run` and `nthreads`.
    as_completed : function
        `futures -> iterator`, in the order in which they end.
    lost : tuple of exceptions
        What a result raises whose workers have ended.
    folder : str, optional
        Where data sets lie on each worker's machine.
    work : function
        `(name, order, recipe) -> row`, on a worker.
    """

    client: Any
    as_completed: Callable[[Iterable[Any]], Iterable[Any]]
    lost: tuple[type[Exception], ...]
    folder: str | None = None
    work: Callable[[str, Order, Any], Row] = carry_out_named

    def __call__(self, sweep: Sweep, dataset: Any, runs: Mapping[Key, Any]) -> Finished:
        """Hand in all runs, and yield what comes back.

        A run that fails does not hold up the others. One whose worker ends is repeated; if that
        goes on, after all others.

        Parameters
        ----------
        sweep : Sweep
        dataset : Dataset or TextData
            Ours, with which those of the workers are compared.
        runs : mapping
            Recipe of each run.

        Yields
        ------
        key : tuple of str
        row : dict
            What was measured.

        Raises
        ------
        UnfitWorker
            If a worker has other data or another program than this process.
        RunsFailed
            When all others are finished, if a run ended with an error; if the scheduler ends.
        """
        measure = sweep.measure
        expected = {**program(), **measure.checksums(dataset)}
        order = Order(measure.carry_out, measure.checksums, sweep.dataset, self.folder, expected)
        failed: dict[Key, Exception] = {}
        for attempt in range(ATTEMPTS):
            if not runs:
                break
            self._refuse_unfit_workers(order)
            yield from self._once(order, runs, failed, f"{sweep.name} {attempt}")
            runs = {key: runs[key] for key, e in failed.items() if isinstance(e, self.lost)}
        if failed:
            raise RunsFailed(_words(failed))

    def _once(
        self, order: Order, runs: Mapping[Key, Any], failed: dict[Key, Exception], title: str
    ) -> Finished:
        """Hand in runs once; those without a result are in `failed` afterwards."""
        keys = {}
        for key, recipe in runs.items():
            name = _name(title, key, recipe, order)
            keys[self.client.submit(self.work, name, order, recipe, key=name)] = key
        try:
            for future in self.as_completed(list(keys)):
                key = keys.pop(future)
                try:
                    row = future.result()
                except UnfitWorker:
                    raise
                except CancelledError as error:
                    raise RunsFailed(LOST_SCHEDULER) from error
                except Exception as error:
                    failed[key] = error
                else:
                    failed.pop(key, None)
                    yield key, row
        finally:
            self.client.cancel(list(keys))

    def _refuse_unfit_workers(self, order: Order) -> None:
        """Ask all workers that there are; each that joins later is asked in its first run."""
        threads = self.client.nthreads()
        if not threads:
            log.info("no worker yet: the runs begin when one joins")
            return
        found = dict(self.client.run(unfit, order))
        for worker, count in threads.items():
            if count != 1:
                found[worker] = f"has {count} threads; begin it with --nthreads 1"
        if wrong := [f"worker {worker}: {words}" for worker, words in found.items() if words]:
            raise UnfitWorker("; ".join(wrong))


def _name(title: str, key: Key, recipe: Any, order: Order) -> str:
    """What Dask calls a run: its own name in every process, and no other run's."""
    what = [title, key, settings_of(recipe), dict(order.expected), order.folder]
    text = json.dumps(what, sort_keys=True, allow_nan=False)
    return "run-" + hashlib.sha256(text.encode()).hexdigest()


def _words(failed: Mapping[Key, Exception]) -> str:
    """The first few runs that failed, and why."""
    each = [f"{', '.join(key)}: {type(e).__name__}: {e}" for key, e in failed.items()]
    runs = "a run has" if len(each) == 1 else f"{len(each)} runs have"
    return f"{runs} failed; all others are written: {'; '.join(each[:3])}"


@contextmanager
def scheduler_at(address: str, folder: str | os.PathLike[str] | None = None) -> Iterator[Cluster]:
    """Connect with a running Dask scheduler, whose workers were begun with `--nthreads 1`.

    Parameters
    ----------
    address : str
        Such as `tcp://10.0.0.1:8786`.
    folder : path, optional
        Where data sets lie on the machine of each worker.

    Yields
    ------
    Cluster

    Raises
    ------
    ImportError
        If `distributed` is not installed.
    ValueError
        If no scheduler answers there.
    """
    distributed = _distributed()
    try:
        client = distributed.Client(address, timeout=PATIENCE, set_as_default=False)
    except (OSError, TimeoutError) as error:
        raise ValueError(f"scheduler: none answers at {address}: {error}") from error
    spoken = logging.getLogger("distributed.client")
    level = spoken.level
    spoken.setLevel(logging.CRITICAL)  # what it would say of a lost connection, we say
    try:
        with client:
            yield _of(distributed, client, folder)
    finally:
        spoken.setLevel(level)


@contextmanager
def local_workers(count: int, folder: str | os.PathLike[str] | None = None) -> Iterator[Cluster]:
    """Begin worker processes on this machine, each with one thread, and end them afterwards.

    Parameters
    ----------
    count : int
        At most the number of cores.
    folder : path, optional
        Where data sets lie.

    Yields
    ------
    Cluster

    Raises
    ------
    ImportError
        If `distributed` is not installed.
    ValueError
        If there are not so many cores.
    """
    whole("workers", count, least=1, most=os.cpu_count() or 1)
    distributed = _distributed()
    import dask  # comes with distributed

    settings = {
        "distributed.nanny.pre-spawn-environ": ONE_THREAD,  # later it is too late for Numba
        "distributed.worker.multiprocessing-method": "spawn",  # a fork does not survive OpenMP
    }
    with (
        dask.config.set(settings),
        distributed.LocalCluster(
            n_workers=count,
            threads_per_worker=1,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            memory_limit=0,  # a share of the memory for each would end large runs
            silence_logs=logging.CRITICAL,
        ) as workers,
        distributed.Client(workers, set_as_default=False) as client,
    ):
        yield _of(distributed, client, folder)


def _of(distributed: Any, client: Any, folder: str | os.PathLike[str] | None) -> Cluster:
    there = None if folder is None else os.path.abspath(folder)
    in_order = functools.partial(distributed.as_completed, loop=client.loop)
    return Cluster(client, in_order, (distributed.KilledWorker,), there, carry_out_once)


def _distributed() -> Any:
    try:
        import distributed
    except ImportError as error:
        raise ImportError(
            'workers: need Dask\'s distributed: pip install "qnn-ref[cluster]"', name="distributed"
        ) from error
    return distributed
