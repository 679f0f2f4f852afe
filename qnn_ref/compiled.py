"""How kernels are compiled: the one room that asks Numba for it.

Two decorators. `parallel_kernel` is for a loop over `prange`, whose turns are tasks for several
threads. `serial_kernel` is for everything else, called from Python or from a kernel. Both keep what
they compiled on disk, and both hand the plain function back where NUMBA_DISABLE_JIT is set. What
they add to `numba.njit` is what goes wrong with it in use:

- To import Numba takes longer than all of this package. It is imported when a kernel is first
  called: until then a `Kernel` stands in its place, and `numba` and `prange` are to be had here.
- With NUMBA_BOUNDSCHECK the tasks run one after the other, on one thread: an index out of range in
  a thread of its own would end without a word. So they do where there is one thread only, as in
  the demo: a loop for several takes five times as long to compile.
- A process that was forked after threads of GNU OpenMP had started is killed by its first parallel
  loop, and whoever waits for it waits for ever. A call raises an error before that.
- Numba's own work queue, where there is neither OpenMP nor TBB, ends a process in which two threads
  of Python call a kernel at the same time. There the second one waits.
- Where nothing can be stored, or what was stored is damaged, kernels are compiled again
  (`kernel_cache`).
"""

from __future__ import annotations

import functools
import importlib
import os
import sys
import threading
from collections.abc import Callable, Iterator
from types import CodeType
from typing import Any

FORKED = (
    "this process was forked from one in which compiled kernels had run, and their threads (GNU "
    "OpenMP) do not survive that; start processes with multiprocessing.get_context('spawn')"
)

Function = Callable[..., Any]


class _Numba:
    """Numba, imported when something of it is first asked for; after that as fast as a module."""

    def __getattr__(self, name: str) -> Any:
        module = importlib.import_module("numba")
        vars(self).update(vars(module))
        return getattr(module, name)


numba: Any = _Numba()
"""For whoever asks it at run time: `numba.config`, `numba.get_num_threads()`."""


class Later:
    """A name for kernels of something that imports Numba: it takes its own place.

    Parameters
    ----------
    module, name : str
        Where it is defined. When the first kernel that names it is compiled, the thing itself is
        put into the kernel's module.
    plain : function, optional
        What a call from plain Python does; by default there is none.
    """

    def __init__(self, module: str, name: str, plain: Function | None = None) -> None:
        self.module, self.name, self.plain = module, name, plain

    def __call__(self, *arguments: Any) -> Any:
        """Do in plain Python what is compiled otherwise."""
        if self.plain is None:
            raise TypeError(f"{self.name}: exists in compiled code only")
        return self.plain(*arguments)


prange: Any = Later("numba", "prange", range)


def compiled_by(module: str) -> Function:
    """Mark a plain function that has a compiled form, and say which module tells Numba about it.

    Parameters
    ----------
    module : str
        It is imported when the first kernel that names the function is compiled.

    Returns
    -------
    callable
        The decorator.

    References
    ----------
    Not in the paper.
    """

    def mark(function: Any) -> Any:
        function.compiled_by = module
        return function

    return mark


class Kernel:
    """A function that is compiled when it is first called; then it takes its own place.

    In the module where the function was defined, Numba's own object stands under its name from
    the first call on: no later call comes through here. What else holds the kernel, a table or
    another module, goes on as it is.

    Parameters
    ----------
    function : callable
        What to compile.
    parallel : bool
        Whether it loops over `prange`.
    **options
        More of Numba's options.
    """

    def __init__(self, function: Function, parallel: bool, **options: Any) -> None:
        self._ready: Any = None
        self.py_func, self.parallel, self.options = function, parallel, options
        functools.update_wrapper(self, function)
        _KERNELS.append(self)

    def __call__(self, *arguments: Any) -> Any:
        """Compile where that was not done, and run."""
        return self.ready()(*arguments)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # Python asks for these in passing
            raise AttributeError(name)
        return getattr(self.ready(), name)

    def ready(self) -> Any:
        """Numba's object, or what stands around it for a parallel kernel.

        Returns
        -------
        callable
        """
        if self._ready is None:
            with _one_prepares:
                if self._ready is None:
                    self._prepare()
        return self._ready

    def _prepare(self) -> None:
        function = self.py_func
        if numba.config.DISABLE_JIT:  # by a configuration file
            self._ready = function
            return
        from qnn_ref.kernel_cache import dispatcher_of

        names = function.__globals__
        for name in _names_in(function.__code__):
            value: Any = names.get(name)
            if isinstance(value, Later):
                names[name] = getattr(importlib.import_module(value.module), value.name)
            elif isinstance(value, Kernel) and value is not self:
                names[name] = value.ready()
            elif hasattr(value, "compiled_by"):
                importlib.import_module(value.compiled_by)
        threads = not numba.config.BOUNDSCHECK and numba.config.NUMBA_NUM_THREADS > 1
        # Numba divides in the tasks of a parallel loop as NumPy does; with Python's check of every
        # divisor a serial loop would not be vectorized, and Adam takes four times as long.
        several = {"parallel": threads, "error_model": "numpy"} if self.parallel else {}
        compiled = dispatcher_of(function, **self.options, **several)
        ready = _guarded(function, compiled, threads) if self.parallel else compiled
        if names.get(function.__name__) is self:
            names[function.__name__] = ready
        self._ready = ready


def _names_in(code: CodeType) -> Iterator[str]:
    """Names that a function and those inside it take from their module."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names_in(constant)


def _guarded(function: Function, compiled: Any, threads: bool) -> Any:
    """Stand around a parallel kernel, for calls from Python; other kernels may call it too."""

    @functools.wraps(function)
    def call(*arguments: Any) -> Any:
        if not threads:
            return compiled(*arguments)
        if _lost_threads:
            raise RuntimeError(FORKED)
        if _several_may_call:
            return compiled(*arguments)
        with _one_at_a_time:
            result = compiled(*arguments)
            _look_at_threads()
        return result

    call.compiled = compiled  # type: ignore[attr-defined]
    call._numba_type_ = compiled._numba_type_  # type: ignore[attr-defined]
    return call


def is_plain() -> bool:
    """Whether kernels are plain Python; known before Numba is imported.

    Returns
    -------
    bool

    References
    ----------
    Not in the paper.
    """
    if "numba" in sys.modules:
        return bool(numba.config.DISABLE_JIT)
    try:
        return bool(int(os.environ.get("NUMBA_DISABLE_JIT", "0")))
    except ValueError:  # Numba warns of it, and compiles
        return False


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
    return function if is_plain() else Kernel(function, parallel=True)


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
    return function if is_plain() else Kernel(function, parallel=False, **options)


def threading_layer() -> str | None:
    """Name of Numba's threads: "omp", "tbb" or "workqueue"; None before the first has started.

    Returns
    -------
    str or None

    References
    ----------
    Not in the paper.
    """
    if "numba" not in sys.modules:
        return None
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
    from qnn_ref.kernel_cache import FOLDERS

    for kernel in _KERNELS:
        kernel.ready()
    folders = [folder for folder in FOLDERS.values() if folder]
    return os.path.commonpath(folders) if folders else None


_KERNELS: list[Kernel] = []
_one_prepares = threading.RLock()
_lost_threads = False
_several_may_call = False
"""Whether the threads of kernels, once they are known, take calls from several of Python."""
_one_at_a_time = threading.Lock()


def _look_at_threads() -> None:
    global _several_may_call
    _several_may_call = threading_layer() in ("omp", "tbb")


def _note_fork() -> None:
    # An error that is raised here, Python prints and forgets: remember, and raise in the call.
    global _lost_threads, _one_at_a_time, _one_prepares
    # A thread that is not in this process may have held them.
    _one_at_a_time, _one_prepares = threading.Lock(), threading.RLock()
    _lost_threads = _lost_threads or not forks_safely()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_note_fork)
