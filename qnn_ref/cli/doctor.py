"""`qnn-ref doctor`: is this machine fit, and what will run fast on it."""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
import sys

import numba
import numpy as np

from qnn_ref import datasets
from qnn_ref.bits import pack, xnor_matmul, xnor_matmul_reference
from qnn_ref.bits.gemm import kernel_names
from qnn_ref.cli.common import answer

NEEDED = ("numpy", "numba", "matplotlib", "tqdm")
OPTIONAL = (
    *("hypothesis", "pooch", "pillow", "jupyterlab"),
    *("torch", "faiss-cpu", "numkong", "onnx", "onnxruntime", "threadpoolctl"),
)


def run(args: argparse.Namespace) -> int:
    """Look, and say no if something needed is missing or wrong."""
    checks = [python_check(), *(package_check(n) for n in NEEDED), kernel_check(), data_check()]
    fit = all(ok for _, ok, _ in checks)
    notes = {
        "threads": threads(),
        "cpu": cpu(),
        "binary product": kernel_names(),
        "optional": optional(),
        "openmp": openmp(),
    }
    rows = [{"check": name, "ok": ok, "message": message} for name, ok, message in checks]
    lines = [f"[{'OK' if ok else 'FAIL'}]".ljust(7) + f"{n}: {m}" for n, ok, m in checks]
    lines += [f"       {name}: {value}" for name, value in notes.items()]
    answer(args, {"fit": fit, "checks": rows, "notes": notes}, "\n".join(lines))
    return 0 if fit else 1


Check = tuple[str, bool, str]


def python_check() -> Check:
    """Python's version."""
    return "python", sys.version_info >= (3, 11), platform.python_version()


def package_check(name: str) -> Check:
    """Whether a needed package is installed."""
    version = installed(name)
    return name, version is not None, version or "not installed"


def installed(name: str) -> str | None:
    """Version of a package, or None."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def kernel_check() -> Check:
    """Whether the compiled kernel equals its NumPy twin on this machine."""
    rng = np.random.default_rng(0)
    a, b = (pack(rng.standard_normal((n, 131))) for n in (5, 67))
    equal = np.array_equal(xnor_matmul(a, b, 131), xnor_matmul_reference(a, b, 131))
    how = "compiled" if not numba.config.DISABLE_JIT else "not compiled (NUMBA_DISABLE_JIT is set)"
    return "kernel", equal, f"{how}; " + ("equals its twin" if equal else "DIFFERS from its twin")


def data_check() -> Check:
    """Whether the digits of the first run are here."""
    here = [e.name for e in datasets.available() if e.path is not None]
    return "data", "digits" in here, ", ".join(here)


def cpu() -> str:
    """The processor as the compiler sees it, with what makes the bit kernels fast."""
    from llvmlite import binding

    features = binding.get_host_cpu_features()
    wanted = ("avx512vpopcntdq", "avx512f", "avx2", "popcnt")
    return f"{binding.get_host_cpu_name()}; " + ", ".join(f for f in wanted if features.get(f))


def threads() -> str:
    """Threads of the compiled kernels."""
    return f"{numba.get_num_threads()} for compiled kernels, {os.cpu_count()} cores"


def openmp() -> str:
    """Whether waiting OpenMP threads leave the cores to BLAS."""
    value = os.environ.get("OMP_WAIT_POLICY", "not set")
    return f"OMP_WAIT_POLICY {value} (passive is fast; set it in notebooks before the first import)"


def optional() -> str:
    """Optional packages that are here."""
    found = [f"{name} {version}" for name in OPTIONAL if (version := installed(name))]
    return ", ".join(found) or "none"
