"""Adapters for the products of other libraries: each prepares its operands and returns a call.

Preparation stands outside the measured time, for peers as for ours. A call returns its result in
the library's own form; `as_products` turns any of them into the integers that ours gives, so that
a test can hold every peer to be right before it is called slow.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from qnn_ref._typing import Array
from qnn_ref.bench.measure import Call, LeftOutError
from qnn_ref.bench.rows import BNN_LAB, FAISS, NUMKONG, NUMPY, TORCH, TORCH_INT8

OUR_EXTRA = "pip install 'qnn-ref[bench]'"
BNN_LAB_ALONE = (
    "bnn-lab asks for NumPy below 2, we for 2: pip install torch; pip install --no-deps bnn-lab"
)


class MissingPeerError(LeftOutError):
    """A library that a comparison needs is not here."""


def library(name: str, how: str = OUR_EXTRA) -> Any:
    """Import an optional library.

    Parameters
    ----------
    name : str
        Its module.
    how : str
        How it is installed, for the error.

    Returns
    -------
    module

    Raises
    ------
    MissingPeerError
        If it cannot be imported.
    """
    try:
        return importlib.import_module(name)
    except (ImportError, OSError) as error:  # OSError: a shared library that does not load
        raise MissingPeerError(f"{name} is missing; {how}") from error


def check_blas(threads: int) -> None:
    """Refuse to time NumPy where the threads of its BLAS are neither known nor can be set."""
    if os.environ.get("OPENBLAS_NUM_THREADS") != str(threads):
        library("threadpoolctl")


@dataclass(frozen=True)
class Operands:
    """A product of +-1 matrices as its peers need it.

    Parameters
    ----------
    a : array (M, ceil(K / 64)) of uint64
        Left matrix, packed along its rows.
    b : array (N, ceil(K / 64)) of uint64
        Right matrix, packed along its columns.
    x : array (M, K) of float32
        Left matrix.
    w : array (K, N) of float32
        Right matrix.
    threads : int
        Threads of a call.
    """

    a: Array
    b: Array
    x: Array
    w: Array
    threads: int = 1

    @property
    def K(self) -> int:
        """Length of a dot product."""
        return self.x.shape[1]

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of the product, (M, N)."""
        return len(self.a), len(self.b)


def numpy_product(operands: Operands) -> Call:
    """Prepare `@` of float32 matrices, into an array that is there."""
    check_blas(operands.threads)
    x, w, out = operands.x, operands.w, np.empty(operands.shape, np.float32)
    return lambda: np.matmul(x, w, out=out)


def torch_product(operands: Operands) -> Call:
    """Prepare `mm` of float32 matrices."""
    torch = library("torch")
    x, w = torch.from_numpy(operands.x), torch.from_numpy(operands.w)
    out = torch.empty(operands.shape, dtype=torch.float32)
    return lambda: torch.mm(x, w, out=out)


def torch_int8_product(operands: Operands) -> Call:
    """Prepare the product of int8 matrices into int32, the right one stored by columns."""
    torch = library("torch")
    x = torch.from_numpy(operands.x.astype(np.int8))
    w = torch.from_numpy(np.ascontiguousarray(operands.w.T).astype(np.int8)).t()
    out = torch.empty(operands.shape, dtype=torch.int32)
    return lambda: torch._int_mm(x, w, out=out)


def faiss_product(operands: Operands) -> Call:
    """Prepare the Hamming distances of all pairs; the library uses one thread."""
    faiss = library("faiss")
    a, b = np.ascontiguousarray(operands.a), np.ascontiguousarray(operands.b)
    out = np.empty(operands.shape, np.int32)
    pointers = [faiss.swig_ptr(array) for array in (a.view(np.uint8), b.view(np.uint8), out)]
    M, N, size = *operands.shape, 8 * a.shape[1]

    def call() -> Array:
        faiss.hammings(pointers[0], pointers[1], M, N, size, pointers[2])
        return out

    return call


def numkong_product(operands: Operands) -> Call:
    """Prepare the Hamming distances of all pairs, the right side packed by the library."""
    numkong = library("numkong")
    a = np.ascontiguousarray(operands.a).view(np.uint8)
    packed = numkong.hammings_pack(np.ascontiguousarray(operands.b).view(np.uint8), dtype="uint1")
    out = numkong.zeros(operands.shape, dtype="uint32")
    threads = min(operands.threads, len(a))
    if threads == 1:
        return lambda: numkong.hammings_packed(a, packed, out=out)
    # The library leaves threads to its caller: a block of rows for each.
    cuts = np.linspace(0, len(a), threads + 1).astype(int).tolist()
    pool = ThreadPoolExecutor(threads)

    def rows(first: int, last: int) -> None:
        numkong.hammings_packed(a, packed, out=out, start_row=first, end_row=last)

    def call() -> Any:
        list(pool.map(rows, cuts[:-1], cuts[1:]))
        return out

    return call


def bnn_lab_product(operands: Operands) -> Call:
    """Prepare its product of packed signs; each call makes a new result, of float32."""
    kernels = library("bnn.kernels", BNN_LAB_ALONE)
    if not hasattr(kernels, "binary_gemm_native_prepacked"):
        raise MissingPeerError("bnn is another package of that name; " + BNN_LAB_ALONE)
    if not kernels.native_kernel_available():
        raise MissingPeerError("bnn-lab has no compiled kernel for this machine")
    kernels.set_num_threads(operands.threads)
    a, b = np.ascontiguousarray(operands.a), np.ascontiguousarray(operands.b)
    K = operands.K
    return lambda: kernels.binary_gemm_native_prepacked(a, b, K)


PRODUCTS: dict[str, Callable[[Operands], Call]] = {
    NUMPY: numpy_product,
    TORCH: torch_product,
    TORCH_INT8: torch_int8_product,
    FAISS: faiss_product,
    NUMKONG: numkong_product,
    BNN_LAB: bnn_lab_product,
}


def as_products(peer: str, result: Any, K: int) -> Array:
    """Turn what a peer's call returned into dot products.

    Parameters
    ----------
    peer : str
        Its name.
    result : array or tensor (M, N)
        Dot products, or numbers of differing bits.
    K : int
        Length of a dot product.

    Returns
    -------
    array of int64 (M, N)
    """
    whole = np.asarray(result).astype(np.int64)
    return K - 2 * whole if peer in (FAISS, NUMKONG) else whole


def torch_convolution(x: Array, w: Array) -> Call:
    """Prepare a 3x3 convolution with zero padding in float32.

    Parameters
    ----------
    x : array (batch, height, width, channels)
    w : array (3, 3, channels, outputs)

    Returns
    -------
    function
        Gives a tensor (batch, outputs, height, width).
    """
    torch = library("torch")
    images = torch.from_numpy(np.ascontiguousarray(x.transpose(0, 3, 1, 2)))
    kernel = torch.from_numpy(np.ascontiguousarray(w.transpose(3, 2, 0, 1)))

    def call() -> Any:
        with torch.inference_mode():
            return torch.nn.functional.conv2d(images, kernel, padding=1)

    return call
