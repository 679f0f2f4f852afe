"""`qnn-ref`: one file a command, no maths. Exit code 0 fine, 1 the answer is no, 2 wrong use."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    argv = sys.argv[1:] if argv is None else argv
    unset = choose_threads(argv)
    from qnn_ref.cli import (
        bench,
        check,
        data,
        demo,
        doctor,
        equations,
        evaluate,
        pack,
        predict,
        recipes,
        train,
    )

    parser = argparse.ArgumentParser(
        prog="qnn-ref",
        description="Quantized neural networks: train, check, pack, run as bits.",
        epilog="`qnn-ref COMMAND --help` shows examples. Exit codes: 0 fine, 1 the answer is no, "
        "2 wrong use or bad input.",
    )
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    commands = demo, recipes, train, evaluate, pack, predict, check, equations, bench, data, doctor
    for command in commands:
        command.add(subparsers)
    parser.set_defaults(unset=unset)
    args = parser.parse_args(argv)
    try:
        code = int(args.run(args))
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # as in `qnn-ref recipes | head`: who reads has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ValueError, TypeError, OSError, ImportError, FloatingPointError) as error:
        sys.stderr.write(f"qnn-ref {args.command}: error: {error}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write(f"qnn-ref {args.command}: stopped\n")
        return 130


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
