"""How kernels are compiled: the one room that asks Numba for it.

Two decorators. `parallel_kernel` is for a loop over `prange`, whose turns are tasks for several
threads. `serial_kernel` is for everything else, called from Python or from a kernel. Both keep what
they compiled on disk, and both hand the plain function back where NUMBA_DISABLE_JIT is set. What
they add to `numba.njit` is what goes wrong with it in use:

- With NUMBA_BOUNDSCHECK the tasks run one after the other, on one thread: an index out of range in
  a thread of its own would end without a word.
- A process that was forked after threads of GNU OpenMP had started is killed by its first parallel
  loop, and whoever waits for it waits for ever. A call raises an error before that.
- Numba's own work queue, where there is neither OpenMP nor TBB, ends a process in which two threads
  of Python call a kernel at the same time. There the second one waits.
- Where nothing can be stored, or what was stored is damaged, kernels are compiled again.
- The first compilation is logged, since it takes seconds: logger `qnn_ref.compiled`, level INFO.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import logging
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import FunctionType
from typing import Any

import numba
from numba.core import event
from numba.core.caching import FunctionCache

log = logging.getLogger(__name__)

PARALLEL = not numba.config.BOUNDSCHECK
"""Whether tasks run on several threads."""

FORKED = (
    "this process was forked from one in which compiled kernels had run, and their threads (GNU "
    "OpenMP) do not survive that; start processes with multiprocessing.get_context('spawn')"
)

EACH_RUN = (
    "compiling kernels in each run, since there is no place to keep them: set NUMBA_CACHE_DIR to a "
    "folder that can be written"
)

Function = Callable[..., Any]

_FOLDERS: dict[Function, str | None] = {}
"""Every function that is compiled here, and where it is kept."""


def parallel_kernel(function: Function) -> Any:
    """Compile a function with loops over `prange`, one task a turn.

    Parameters
    ----------
    function : callable
        What to compile.

    Returns
    -------
    callable
        To be called from Python, with arguments by position; other kernels may call it too. Its
        attribute `compiled` is Numba's object. In a forked process that has lost its threads a
        call is a RuntimeError.

    References
    ----------
    Not in the paper.
    """
    if numba.config.DISABLE_JIT:
        return function
    compiled = _compile(function, parallel=PARALLEL)

    @functools.wraps(function)
    def call(*arguments: Any) -> Any:
        if _lost_threads:
            raise RuntimeError(FORKED)
        if _several_may_call:
            return compiled(*arguments)
        with _one_at_a_time:
            result = compiled(*arguments)
            _look_at_threads()
        return result

    call.compiled = compiled  # type: ignore[attr-defined]
    call._numba_type_ = compiled._numba_type_  # type: ignore[attr-defined]  # for other kernels
    return call


def serial_kernel(function: Function | None = None, **options: Any) -> Any:
    """Compile a function that runs on the thread that calls it.

    Parameters
    ----------
    function : callable
        What to compile.
    **options
        More of Numba's options, for a baseline that is to be compiled in another way.

    Returns
    -------
    callable
        To be called from Python and from other kernels.

    References
    ----------
    Not in the paper.
    """
    if function is None:
        return functools.partial(serial_kernel, **options)
    if numba.config.DISABLE_JIT:
        return function
    return _compile(function, **options)


def _compile(function: Function, **options: Any) -> Any:
    compiled = numba.njit(**options)(function)
    try:
        compiled._cache = cache = KernelCache(function, options)
        _FOLDERS[function] = cache.cache_path
    except RuntimeError:  # Numba's: no folder of those that it tries can be written
        _FOLDERS[function] = None
    return compiled


class KernelCache(FunctionCache):  # type: ignore[misc]
    """Numba's cache on disk, for a function, its options, and what it takes from other files.

    Numba looks at the file of the function only. And the cache is a convenience: whatever is wrong
    with it, the kernel is compiled and the program goes on.

    Parameters
    ----------
    function : callable
        What is compiled.
    options : dict
        How.
    """

    def __init__(self, function: Function, options: dict[str, Any]) -> None:
        super().__init__(function)
        self.options = tuple(sorted(options.items())), bool(numba.config.BOUNDSCHECK)

    def _index_key(self, sig: Any, codegen: Any) -> tuple[Any, ...]:
        own = super()._index_key(sig, codegen)
        return (*own, self.options, taken_from_elsewhere(self._py_func))

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Find what was compiled for a signature; None if it is not there or not readable."""
        try:
            return super().load_overload(sig, target_context)
        except Exception as error:  # a pickle that was cut short fails in many ways
            self._tell("cannot be read", error)
            try:
                self.flush()
            except OSError:
                self.disable()
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Store what was compiled, if that is possible."""
        try:
            super().save_overload(sig, data)
        except OSError as error:
            self._tell("cannot be written", error)
            self.disable()

    def _tell(self, what: str, error: Exception) -> None:
        message = f"{self.cache_path}: compiled kernels {what}, compiling them again"
        _say_once(logging.WARNING, message)
        log.debug("%s: %s", self._name, error)


def taken_from_elsewhere(function: Function) -> str:
    """Digest of what a function takes from other files of its package.

    Parameters
    ----------
    function : callable
        A function that is compiled.

    Returns
    -------
    str
        It changes with the text of a file that another function comes from, also one that is
        called by a third, and with the value of a number.

    References
    ----------
    Not in the paper.
    """
    package = function.__module__.partition(".")[0]
    found: set[str] = set()
    seen: set[Any] = set()
    todo: list[Any] = [function]
    while todo:
        one = todo.pop()
        seen.add(one)
        for name in one.__code__.co_names:
            value = one.__globals__.get(name)
            value = getattr(value, "py_func", getattr(value, "__wrapped__", value))
            module = getattr(value, "__module__", None) or ""
            if isinstance(value, int | float):
                found.add(f"{name} = {value!r}")
            elif module.partition(".")[0] == package:
                found.add(_digest_of(module))
                if isinstance(value, FunctionType) and value not in seen:
                    todo.append(value)
    return hashlib.sha256("\n".join(sorted(found)).encode()).hexdigest()


@functools.cache
def _digest_of(module: str) -> str:
    file = sys.modules[module].__file__
    return hashlib.sha256(Path(file).read_bytes()).hexdigest() if file else module


@functools.cache
def _say_once(level: int, message: str) -> None:
    log.log(level, message)


class _Listener(event.Listener):  # type: ignore[misc]
    """What hears when Numba compiles; what it takes from the cache, it does not compile."""

    def on_start(self, event: Any) -> None:
        function = event.data["dispatcher"].py_func
        if function not in _FOLDERS:  # somebody else's
            return
        if _FOLDERS[function] is None:
            _say_once(logging.WARNING, EACH_RUN)
        else:
            _say_once(logging.INFO, "compiling kernels, once")

    def on_end(self, event: Any) -> None:
        """Nothing to do."""


event.register("numba:compile", _Listener())


def threading_layer() -> str | None:
    """Name of Numba's threads: "omp", "tbb" or "workqueue"; None before the first has started.

    Returns
    -------
    str or None

    References
    ----------
    Not in the paper.
    """
    try:
        return str(numba.threading_layer())
    except ValueError:
        return None


def forks_safely() -> bool:
    """Whether a process that is forked now may run parallel kernels.

    Returns
    -------
    bool
        False where threads of GNU OpenMP have started. Numba's other threads are started anew in
        the new process.

    References
    ----------
    Not in the paper.
    """
    if threading_layer() != "omp":
        return True
    pool = importlib.import_module("numba.np.ufunc.omppool")
    return bool(pool.openmp_vendor != "GNU")


def cache_folder() -> str | None:
    """The folder below which compiled kernels are kept.

    Returns
    -------
    str or None
        None if there is no place for them.

    References
    ----------
    Not in the paper.
    """
    folders = [folder for folder in _FOLDERS.values() if folder]
    return os.path.commonpath(folders) if folders else None


_lost_threads = False
_several_may_call = False
"""Whether the threads of kernels, once they are known, take calls from several of Python."""
_one_at_a_time = threading.Lock()


def _look_at_threads() -> None:
    global _several_may_call
    _several_may_call = threading_layer() in ("omp", "tbb")


def _note_fork() -> None:
    # An error that is raised here, Python prints and forgets: remember, and raise in the call.
    global _lost_threads, _one_at_a_time
    _one_at_a_time = threading.Lock()  # a thread that is not in this process may have held it
    _lost_threads = _lost_threads or not forks_safely()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_note_fork)
