"""How kernels for a graphics processor are compiled and launched, and what they get.

As in `compiled`, Numba is imported by the first kernel. What a kernel reads is on the device, and
what it writes: `to_device` copies what is not there yet. Everything is checked before that, so a
wrong size is a ValueError also where there is no device.

NUMBA_ENABLE_CUDASIM=1, set before Numba is imported, runs kernels in a simulator, thread by thread
in Python: that is for small sizes, to step through a kernel and to test it.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np

from qnn_ref._typing import Array, Words
from qnn_ref.bits.words import check_words
from qnn_ref.checks import check_array

BITS = 32
"""Elements in a word: the paper's SIMD within a register."""

TILE = 16
"""Threads of a block along each axis, as in the paper's kernels: 256 in all."""

BLOCKS_DOWN = 2**16 - 1
"""Blocks along the second axis of a grid that a device takes; the first has 2^31 - 1."""

NO_DEVICE = "no CUDA device was found; NUMBA_ENABLE_CUDASIM=1 runs it in the simulator"


class NoDeviceError(RuntimeError):
    """There is nothing that could run a CUDA kernel."""


def cuda_device() -> Any:
    """Import Numba's CUDA, and look for a device.

    Returns
    -------
    module
        `numba.cuda`, which is its simulator where that is switched on.

    Raises
    ------
    NoDeviceError
        If there is no device, or no driver for it.

    References
    ----------
    Not in the paper.
    """
    try:
        cuda = importlib.import_module("numba.cuda")
    except ImportError as error:  # a Numba without it: then it is a package of its own
        raise NoDeviceError(f"{NO_DEVICE}; {error}; pip install numba-cuda") from error
    if not cuda.is_available():
        raise NoDeviceError(NO_DEVICE)
    return cuda


class CudaKernel:
    """A function that is compiled for the device when it is first launched.

    Its module's name `cuda` becomes Numba's module then.

    Parameters
    ----------
    function : callable
        One thread's work; it returns nothing.
    """

    def __init__(self, function: Callable[..., None]) -> None:
        self.py_func, self.__doc__ = function, function.__doc__
        self._ready: Any = None

    def __getitem__(self, launch: Any) -> Any:
        """Give what is called with the arguments: ``kernel[blocks, threads](x, out)``."""
        if self._ready is None:
            cuda = cuda_device()
            self.py_func.__globals__["cuda"] = cuda
            self._ready = cuda.jit(self.py_func)
        return self._ready[launch]


def cuda_kernel(function: Callable[..., None]) -> CudaKernel:
    """Compile a function for a graphics processor, when it is first launched.

    Parameters
    ----------
    function : callable
        One thread's work.

    Returns
    -------
    CudaKernel

    References
    ----------
    Not in the paper.
    """
    return CudaKernel(function)


def is_on_device(array: Any) -> bool:
    """Whether an array is one of Numba's on the device, or in the simulator."""
    return hasattr(array, "__cuda_ndarray__")


def check_operand(
    name: str, array: Any, dtypes: tuple[np.dtype[Any], ...], shape: tuple[int | str, ...]
) -> None:
    """Refuse what is no array of one of these types and of this shape, or has no elements.

    Parameters
    ----------
    name : str
        The argument's name, for the error.
    array : array
        Of NumPy, or on the device.
    dtypes : tuple of dtype
        The types that are allowed.
    shape : tuple of int or str
        Sizes; a word stands for any size.

    Raises
    ------
    TypeError
        If it is no array, or of another type.
    ValueError
        If its shape does not fit, or a size is 0: a grid has at least one block.
    """
    if is_on_device(array):  # only its description is looked at: nothing is copied
        size = tuple(array.shape)
        stand_in = np.broadcast_to(np.zeros((), array.dtype), size)
        check_array(name, stand_in, dtypes, shape)
    else:
        check_array(name, array, dtypes, shape)
    if 0 in array.shape:
        raise ValueError(f"{name}: expected at least one element, got shape {tuple(array.shape)}")


def to_device(array: Any) -> Any:
    """Copy an array of NumPy to the device; one that is there stays as it is."""
    if is_on_device(array):
        return array
    return cuda_device().to_device(np.ascontiguousarray(array))


def handed_back(result: Any, *operands: Any) -> Any:
    """Copy a result to NumPy if all operands came from there; else it stays on the device."""
    if any(map(is_on_device, operands)):
        return result
    host: Array = result.copy_to_host()
    return host


def check_rows(name: str, rows: int) -> None:
    """Refuse more rows than a grid has threads for."""
    if rows > BLOCKS_DOWN * TILE:
        raise ValueError(f"{name}: expected at most {BLOCKS_DOWN * TILE} rows, got {rows}")


def grid_for(rows: int, columns: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """Give blocks and threads for one thread an output; columns come first, as CUDA counts."""
    return (-(-columns // TILE), -(-rows // TILE)), (TILE, TILE)


def to_cuda_words(words: Words, K: int) -> Array:
    """Split words of 64 bits, as all the package has them, into those of the device.

    Parameters
    ----------
    words : array (rows, ceil(K / 64)) of uint64
        From `bits.pack`.
    K : int
        Elements of a row.

    Returns
    -------
    array (rows, ceil(K / 32)) of uint32

    Raises
    ------
    TypeError, ValueError
        If `words` is no packing of rows of K elements.

    References
    ----------
    Section 6 (32 values a register).
    """
    check_words("words", words, K, ndim=2)
    halves = np.ascontiguousarray(words.astype("<u8")).view("<u4")  # the low half first
    return np.ascontiguousarray(halves[:, : -(-K // BITS)], np.uint32)
