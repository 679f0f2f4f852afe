"""From a command line to an exit code: whatever goes wrong is said in a line, in JSON if wanted."""

from __future__ import annotations

import importlib
import os
import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from qnn_ref import __version__
from qnn_ref.cli.options import COMMANDS, read
from qnn_ref.cli.parser import WrongUse
from qnn_ref.cli.streams import patient_streams, to_json

STOPPED = 130
"""Exit code after Ctrl-C: 128 and the number of the signal."""
EXPECTED = (ValueError, TypeError, OSError, ImportError, ArithmeticError)
"""What the package raises for wrong input; any other error is a fault of the package itself."""


def dispatch(argv: list[str], unset: dict[str, str], alone: bool) -> int:
    """Run one command and return its exit code.

    Parameters
    ----------
    argv : list of str
    unset : dict of str
        Environment variables that were taken away for a benchmark.
    alone : bool
        Whether the process does nothing else, so that it may be ended from within.

    Returns
    -------
    int
    """
    name = f"qnn-ref {argv[0]}" if argv[:1] and argv[0] in COMMANDS else "qnn-ref"
    as_json = "--json" in argv
    command = None
    with patient_streams():
        try:
            with ctrl_c_ends(name, alone):
                args = read(argv, __version__)
                args.unset = unset
                from qnn_ref.cli.notices import show_notices

                command = importlib.import_module(f"qnn_ref.cli.{args.command}")
            show_notices()
            code = int(command.run(args))
            sys.stdout.flush()
            return code
        except WrongUse as error:
            sys.stderr.write(error.usage)
            say(name, f"error: {error}", str(error), as_json)
            if error.usage:
                raise SystemExit(2) from None  # as argparse leaves
        except KeyboardInterrupt:
            words = getattr(command, "STOPPED", "stopped")
            say(name, words, words, as_json)
            return STOPPED
        except Exception as error:
            message = words_for(error)
            say(name, f"error: {message}", message, as_json)
        return 2


@contextmanager
def ctrl_c_ends(name: str, alone: bool) -> Iterator[None]:
    """End the process at once on Ctrl-C: while modules are imported there is nothing to tidy up.

    An exception in the middle of an import can be lost in a callback of the import system, or come
    out as an error of another kind.
    """

    def end(number: int, frame: FrameType | None) -> None:
        os.write(2, f"{name}: stopped\n".encode())
        os._exit(STOPPED)

    if not alone or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    signal.signal(signal.SIGINT, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def say(name: str, line: str, error: str, as_json: bool) -> None:
    """A line on standard error; with `--json` an object on standard output as well."""
    sys.stderr.write(f"{name}: {line}\n")
    if as_json:
        print(to_json({"error": error}))


def words_for(error: Exception) -> str:
    """The error in a line. Where it is a fault of ours: its kind and place too."""
    if isinstance(error, MemoryError):
        return f"not enough memory {error}".strip()
    ours = type(error).__module__.startswith("qnn_ref")
    if isinstance(error, EXPECTED) or ours:
        return str(error) or type(error).__name__
    if sys.flags.dev_mode:
        traceback.print_exception(error)
    frame = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{os.path.basename(frame.filename)}:{frame.lineno}"
    return (
        f"{type(error).__name__}: {error} ({place}); this is a fault of qnn-ref itself, please "
        "report it: `python -X dev -m qnn_ref ...` shows where it comes from"
    )
