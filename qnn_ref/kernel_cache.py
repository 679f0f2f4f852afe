"""What was compiled, on disk: Numba's cache, for a kernel and all that it takes from elsewhere.

Imports Numba, so `compiled` imports it when the first kernel is called. What is
compiled is logged, a line for each module, since it takes seconds: logger `qnn_ref.compiled`, INFO.
"""

from __future__ import annotations

import functools
import hashlib
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from types import FunctionType
from typing import Any

import numba
from numba.core import event
from numba.core.caching import FunctionCache

log = logging.getLogger("qnn_ref.compiled")

EACH_RUN = (
    "compiling kernels in each run, since there is no place to keep them: set NUMBA_CACHE_DIR to a "
    "folder that can be written"
)

Function = Callable[..., Any]

FOLDERS: dict[Function, str | None] = {}
"""Every function that is compiled here, and where it is kept."""


def dispatcher_of(function: Function, **options: Any) -> Any:
    """Hand a function to Numba, with a place on disk for what is compiled.

    Parameters
    ----------
    function : callable
        What to compile.
    **options
        Numba's.

    Returns
    -------
    callable
        Numba's object; it compiles when it is called.

    References
    ----------
    Not in the paper.
    """
    compiled = numba.njit(**options)(function)
    try:
        compiled._cache = cache = KernelCache(function, options)
        FOLDERS[function] = cache.cache_path
    except RuntimeError:  # Numba's: no folder of those that it tries can be written
        FOLDERS[function] = None
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
        say_once(logging.WARNING, message)
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
            if hasattr(value, "compiled_by"):
                found.add(_digest_of(value.compiled_by))
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
def say_once(level: int, message: str) -> None:
    """Log a line, the first time."""
    log.log(level, message)


class _Listener(event.Listener):  # type: ignore[misc]
    """What hears when Numba compiles; what it takes from the cache, it does not compile."""

    inside = 0

    def on_start(self, event: Any) -> None:
        """Say it, once for each module whose kernels are asked for."""
        function = event.data["dispatcher"].py_func
        ours, self.inside = function in FOLDERS and not self.inside, self.inside + 1
        if not ours:  # somebody else's, or a part of one that was told
            return
        if FOLDERS[function] is None:
            say_once(logging.WARNING, EACH_RUN)
        else:
            _, _, room = function.__module__.rpartition("qnn_ref.")
            say_once(logging.INFO, f"compiling kernels, once: {room}")

    def on_end(self, event: Any) -> None:
        """Count back."""
        self.inside -= 1


event.register("numba:compile", _Listener())
