"""A fault in functions that live already: their code is exchanged, and nothing is imported anew."""

import gc
import sys
import threading
from collections.abc import Iterator
from types import CodeType, FunctionType
from typing import Any

IN_FUNCTION = 1  # CO_OPTIMIZED: neither a module nor the body of a class
STARTS = {"subprocess.Popen", "os.posix_spawn", "os.fork"}


class Living:
    """The functions of a loaded file.

    Parameters
    ----------
    path : str
        The file, as it was loaded.
    sound : str
        Its text.
    """

    def __init__(self, path: str, sound: str) -> None:
        self.path = path
        self._code = compile(sound, path, "exec")
        self._loaded = any(getattr(m, "__file__", None) == path for m in list(sys.modules.values()))
        self._functions: dict[Any, list[FunctionType]] = {}
        gc.unfreeze()
        for one in gc.get_objects():
            if type(one) is FunctionType and one.__code__.co_filename == path:
                self._functions.setdefault(_name(one.__code__), []).append(one)
        gc.freeze()  # what collects garbage in a fork need not copy all that it looks at

        self.calls: dict[str, list[str]] | None = None
        self.elsewhere = False

    def watch(self, judge: Any) -> None:
        """From now on note in `judge.calls` which tests call which function.

        `judge.elsewhere` says whether other processes were started, whose calls nobody sees.
        """

        def note(frame: Any, event: str, argument: Any) -> None:
            if frame.f_code.co_filename == self.path:
                judge.calls.setdefault(str(_name(frame.f_code)), {})[judge.test] = True

        def listen(event: str, arguments: Any) -> None:
            judge.elsewhere |= event in STARTS

        threading.settrace(note)
        sys.settrace(note)
        sys.addaudithook(listen)

    def become(self, faulty: str) -> set[str] | None:
        """Take the code of a faulty text.

        Returns
        -------
        set of str, or None
            The tests that call what has changed; None if that is not known, or not of all.

        Raises
        ------
        ImportError
            If a part differs that ran while files were loaded: a default, a constant of the
            module, the body of a class, a function that no test calls. Then it must be loaded anew.
        """
        if not self._loaded:
            return None  # whoever imports it will read the faulty file
        changed = list(_changes(self._code, compile(faulty, self.path, "exec")))
        if not all(one.co_flags & other.co_flags & IN_FUNCTION for one, other in changed):
            raise ImportError
        for before, after in changed:
            for function in self._functions.get(_name(before), ()):
                if function.__code__.co_freevars != after.co_freevars:
                    raise ImportError
                function.__code__ = after
        if self.calls is None or not changed:
            return None
        innermost = changed[-1][0]
        if str(_name(innermost)) not in self.calls:  # called while files were loaded, if ever
            raise ImportError
        return None if self.elsewhere else set(self.calls[str(_name(innermost))])


def _name(code: CodeType) -> tuple[str, int]:
    return code.co_qualname, code.co_firstlineno


def _changes(old: CodeType, new: CodeType) -> Iterator[tuple[CodeType, CodeType]]:
    """Pieces of code that differ, each with what it becomes; the whole if their parts differ."""
    ours, theirs = _inner(old), _inner(new)
    own = len(ours) != len(theirs) or _content(old) != _content(new)
    inner = [pair for pairs in zip(ours, theirs, strict=False) for pair in _changes(*pairs)]
    if own or (inner and old.co_flags & IN_FUNCTION):
        yield old, new
    yield from inner


def _inner(code: CodeType) -> list[CodeType]:
    return [part for part in code.co_consts if isinstance(part, CodeType)]


def _content(code: CodeType) -> tuple[Any, ...]:
    """What a piece of code does, without its lines and without the pieces in it."""
    numbers = [repr(part) for part in code.co_consts if not isinstance(part, CodeType)]
    return code.co_code, numbers, code.co_names, code.co_varnames, code.co_exceptiontable
