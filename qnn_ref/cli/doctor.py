"""`qnn-ref doctor`: is this machine fit, and what will run fast on it.

Whoever calls it may have an installation that does not work, so everything outside the standard
library is imported where it is looked at.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import os
import platform
import sys
from typing import Any

from qnn_ref.cli.common import answer

NEEDED = ("numpy", "numba", "matplotlib", "threadpoolctl", "tqdm")
OPTIONAL = (
    *("hypothesis", "pooch", "pillow", "jupyterlab"),
    *("torch", "faiss-cpu", "numkong", "onnx", "onnxruntime"),
)
Check = tuple[str, bool, str]


def run(args: argparse.Namespace) -> int:
    """Look, and say no if something needed is missing or wrong."""
    checks = [python_check(), *(package_check(name) for name in NEEDED)]
    kernels: dict[str, Any] = {}
    if all(ok for _, ok, _ in checks):
        checks += [kernel_check(), subnormal_check(), data_check()]
        kernels = kernel_facts()
    fit = all(ok for _, ok, _ in checks)
    notes = (notes_on(kernels) if kernels else {}) | {"optional": optional()}
    rows = [{"check": name, "ok": ok, "message": message} for name, ok, message in checks]
    lines = [f"[{'OK' if ok else 'FAIL'}]".ljust(7) + f"{n:<15} {m}" for n, ok, m in checks]
    lines += [f"       {name:<15} {note}" for name, note in notes.items()]
    wrong = ", ".join(name for name, ok, _ in checks if not ok)
    lines += [f"not fit: {wrong}" if wrong else "fit: `qnn-ref demo` is a good first command"]
    result = {"fit": fit, "checks": rows, "notes": notes, "kernels": kernels}
    answer(args, result, "\n".join(lines))
    return 0 if fit else 1


def python_check() -> Check:
    """Python's version."""
    fit = sys.version_info >= (3, 11)
    return "python", fit, platform.python_version() + ("" if fit else ", needs 3.11 or newer")


def package_check(name: str) -> Check:
    """Whether a needed package is installed, and works."""
    version = installed(name)
    if version is None:
        return name, False, f"not installed: pip install {name}"
    try:
        importlib.import_module(name)
    except ImportError as error:  # two packages whose versions do not fit each other
        return name, False, f"{version} does not work here: {error}"
    return name, True, version


def installed(name: str) -> str | None:
    """Version of a package, or None."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def kernel_check() -> Check:
    """Whether the compiled kernel equals its NumPy twin on this machine."""
    import numpy as np

    from qnn_ref.bits import pack, xnor_matmul
    from qnn_ref.bits.gemm import xnor_matmul_reference

    rng = np.random.default_rng(0)
    a, b = (pack(rng.standard_normal((n, 131))) for n in (5, 67))
    equal = np.array_equal(xnor_matmul(a, b, 131), xnor_matmul_reference(a, b, 131))
    return "kernel", equal, "equals its NumPy twin" if equal else "DIFFERS from its NumPy twin"


def subnormal_check() -> Check:
    """Whether numbers below the smallest normal one are what they are.

    A processor can be told to take them for zero. A library that does so does it for the whole
    process, and results are no longer those of other processes.
    """
    lost = flushes_to_zero()
    return "tiny numbers", not lost, "taken for zero, a library has set that" if lost else "kept"


def flushes_to_zero() -> bool:
    """Whether tiny results become zero, or tiny numbers count as zero."""
    import numpy as np

    bits = np.array([2**23, 1], np.uint32)  # the smallest normal number, and the smallest of all
    smallest_normal, smallest = bits.view(np.float32)[:, None]
    result = smallest_normal * np.float32(0.5)
    flushes = result.view(np.uint32)[0] == 0
    counts_as_zero = (smallest * np.float32(2.0**30))[0] == 0
    return bool(flushes or counts_as_zero)


def data_check() -> Check:
    """Whether the digits of the first run are here."""
    from qnn_ref import datasets

    here = [e.name for e in datasets.available() if e.path is not None]
    return "data", "digits" in here, ", ".join(here) or "none, not even those of the package"


def kernel_facts() -> dict[str, Any]:
    """How kernels are compiled and run in this process, after the first has run."""
    import numba

    from qnn_ref import compiled

    for room in ("layers", "optimizers"):  # their kernels have a place in the cache too
        importlib.import_module(f"qnn_ref.{room}")
    return {
        "compiled": not numba.config.DISABLE_JIT,
        "bounds_checked": bool(numba.config.BOUNDSCHECK),
        "threads": numba.get_num_threads(),
        "threading_layer": compiled.threading_layer(),
        "forks_safely": compiled.forks_safely(),
        "cache_folder": compiled.cache_folder(),
        "flush_to_zero": flushes_to_zero(),
    }


def notes_on(kernels: dict[str, Any]) -> dict[str, str]:
    """What to know about these facts, in words."""
    from qnn_ref.bits.gemm import kernel_names

    notes = {"processor": processor(), "binary product": kernel_names()}
    notes["lookup product"] = vector_words() if kernels["compiled"] else "its NumPy twin"
    if not kernels["compiled"]:
        return notes | {"compiler": "off, NUMBA_DISABLE_JIT is set: kernels are slow Python"}
    if kernels["bounds_checked"]:
        notes["indices"] = "checked, NUMBA_BOUNDSCHECK is set: kernels are slow, on one thread"
    count, folder = kernels["threads"], kernels["cache_folder"]
    notes["threads"] = f"{count} for {os.cpu_count()} cores, {layer_words(kernels)}"
    notes["waiting"] = waiting()
    notes["NumPy's threads"] = blas_words()
    notes["new processes"] = "may be forked"
    if not kernels["forks_safely"]:
        spawn = "multiprocessing.get_context('spawn')"
        notes["new processes"] = f"start them with {spawn}; forked ones cannot run kernels"
    notes["kernel cache"] = f"below {folder}"
    if folder is None:
        notes["kernel cache"] = "no place, so each run compiles: set NUMBA_CACHE_DIR to a folder"
    return notes


def blas_words() -> str:
    """Threads of NumPy's products, and what becomes of them while a network of bits is at work."""
    from qnn_ref.bits.threads import blas_threads, one_blas_thread

    count = blas_threads()
    with one_blas_thread():
        inside = blas_threads()
    if inside > 1:
        return f"{count}, and they cannot be sent to sleep: set OPENBLAS_NUM_THREADS=1"
    return f"{count}; one while a network of signs trains or predicts, so kernels have the cores"


def layer_words(kernels: dict[str, Any]) -> str:
    """Whose threads they are, and whether several threads of Python may call kernels."""
    return {
        "omp": "by OpenMP",
        "tbb": "by TBB",
        "workqueue": "by Numba's work queue: one thread of Python at a time",
    }.get(kernels["threading_layer"], "not started")


def processor() -> str:
    """The processor as the compiler sees it, with what makes the bit kernels fast."""
    from llvmlite import binding

    features = binding.get_host_cpu_features()
    wanted = ("avx512vpopcntdq", "avx512f", "avx2", "popcnt")
    return f"{binding.get_host_cpu_name()}; " + ", ".join(f for f in wanted if features.get(f))


def vector_words() -> str:
    """How wide the vectors of lookup products are, and what this processor has for them."""
    from llvmlite import binding

    features = binding.get_host_cpu_features()
    if features.get("avx512f"):
        return "vectors of 512 bits, as wide as a register here (avx512f)"
    if features.get("avx2"):
        return "vectors of 512 bits in two registers of 256 (avx2)"
    return "vectors of 512 bits in four registers of 128"


def waiting() -> str:
    """Whether waiting OpenMP threads leave the cores to BLAS."""
    value = os.environ.get("OMP_WAIT_POLICY", "not set")
    return f"OMP_WAIT_POLICY {value} (passive is fast; set it in notebooks before the first import)"


def optional() -> str:
    """Optional packages that are here."""
    found = [f"{name} {version}" for name in OPTIONAL if (version := installed(name))]
    return ", ".join(found) or "none"
