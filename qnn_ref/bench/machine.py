"""The machine: what it is, and how many threads work on it."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from qnn_ref.bench.peers import MissingPeerError, library
from qnn_ref.bits.gemm import kernel_for
from qnn_ref.compiled import numba

PACKAGES = (
    *("numpy", "numba", "llvmlite", "torch", "faiss-cpu", "numkong", "onnxruntime"),
    *("bnn-lab", "threadpoolctl"),
)
FEATURES = ("avx512vpopcntdq", "avx512f", "avx512_vnni", "avx512vnni", "avx2", "fma", "popcnt")

SLOWS_NUMPY = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
"""Variables that make OpenBLAS choose other kernels than this processor's; read when it loads."""


def cores() -> int:
    """Number of processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def load() -> float | None:
    """Programs that wanted a core in the last minute, on average; None where it is not known."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else None


def describe(unset: Mapping[str, str]) -> dict[str, Any]:
    """Say what the numbers were measured on.

    Parameters
    ----------
    unset : mapping of str to str
        Environment variables that were taken away for this run, because they slow NumPy down.

    Returns
    -------
    dict
        Plain values.
    """
    from llvmlite import binding

    features = binding.get_host_cpu_features()
    return {
        "cpu": model_name(),
        "architecture": binding.get_host_cpu_name(),
        "features": [name for name in FEATURES if features.get(name)],
        "cores": cores(),
        "load": load(),
        "python": platform.python_version(),
        "versions": versions(),
        "blas": blas_kernels(),
        "product_kernel": {f"K = {K}": kernel_for(K // 64).__name__ for K in (512, 4096)},
        "omp_wait_policy": os.environ.get("OMP_WAIT_POLICY"),
        "unset": dict(unset),
        "still_set": [name for name in SLOWS_NUMPY if name in os.environ],
    }


def model_name() -> str:
    """The processor's name as the system gives it."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        return platform.processor()
    return platform.processor()


def versions() -> dict[str, str | None]:
    """Versions of the libraries; None for those that are missing."""
    found: dict[str, str | None] = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = None
    return found


def blas_kernels() -> list[dict[str, Any]]:
    """Each BLAS in this process with the kernel that it chose; empty without threadpoolctl."""
    try:
        pools = library("threadpoolctl").threadpool_info()
    except MissingPeerError:
        return []
    return [
        {"of": Path(pool["filepath"]).parent.name, "library": pool["internal_api"]}
        | {"version": pool["version"], "kernel": pool.get("architecture")}
        for pool in pools
        if pool["user_api"] == "blas"
    ]


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Let ours and every library that is here use so many threads, and put theirs back after it.

    Without threadpoolctl NumPy keeps the number that it was started with; `peers.check_blas` knows.
    """
    limit = numba.config.NUMBA_NUM_THREADS
    if not 1 <= count <= limit:
        raise ValueError(f"threads: expected 1 to {limit} (NUMBA_NUM_THREADS), got {count}")
    with ExitStack() as stack:
        stack.callback(numba.set_num_threads, numba.get_num_threads())
        numba.set_num_threads(count)
        for name, get, put in (
            ("torch", "get_num_threads", "set_num_threads"),
            ("faiss", "omp_get_max_threads", "omp_set_num_threads"),
        ):
            try:
                module = library(name)
            except MissingPeerError:
                continue
            stack.callback(getattr(module, put), getattr(module, get)())
            getattr(module, put)(count)
        with suppress(MissingPeerError):
            stack.enter_context(library("threadpoolctl").threadpool_limits(count, "blas"))
        yield
