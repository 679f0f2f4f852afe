"""`qnn-ref`: one file a command, no maths. Exit code 0 fine, 1 the answer is no, 2 wrong use.

What the commands take stands in `options`; a command's own file is imported when it is called.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = (
    False  # the module typing takes longer than all that is needed until the work begins
)
if TYPE_CHECKING:
    from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    Parameters
    ----------
    argv : sequence of str, optional
        Without the name of the program; by default those that it was called with.

    Returns
    -------
    int

    Raises
    ------
    SystemExit
        After `--help` and `--version` with 0; after a mistake that the parser found with 2.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == ["--json"]:  # in front of the command it means the same
        arguments = [*arguments[1:], "--json"]
    try:
        unset = choose_threads(arguments)
        from qnn_ref.cli.dispatch import dispatch

        return dispatch(arguments, unset, alone=argv is None)
    except KeyboardInterrupt:
        sys.stderr.write("qnn-ref: stopped\n")
        return 130  # 128 and the number of the signal, as shells have it


def choose_threads(argv: Sequence[str]) -> dict[str, str]:
    """Set how threads wait and how many there are, unless the user did; before NumPy is loaded.

    OpenMP threads that spin while they wait take the cores from the BLAS threads, so a training
    step can be many times slower: `passive`. The demo's layers are small, and BLAS threads that
    spin lose more on a busy machine than two of them gain on an idle one: it uses one thread, for
    both sides of its comparison. Called from a program that has loaded NumPy it changes nothing:
    too late for BLAS, and Numba refuses another number of threads once they run.

    A benchmark sets its threads itself, from one on. Variables that make OpenBLAS choose kernels
    of another processor are taken away for it, and returned by name and value.
    """
    if "numpy" in sys.modules:
        return {}
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    if argv[:1] == ["demo"]:
        for name in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
            os.environ.setdefault(name, "1")
    if argv[:1] != ["bench"]:
        return {}
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    slow = "OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"
    return {name: os.environ.pop(name) for name in slow if name in os.environ}
