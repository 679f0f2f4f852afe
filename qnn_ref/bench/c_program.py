"""A network that was exported to C, compiled on this machine: its scores, and its size."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import tempfile
from math import prod
from pathlib import Path

import numpy as np

from qnn_ref._typing import Array
from qnn_ref.bench.measure import Call, LeftOutError
from qnn_ref.files import atomic_write
from qnn_ref.interop import export
from qnn_ref.packed import PackedNetwork

COMPILERS = "cc", "gcc", "clang"
CORTEX = "arm-none-eabi-gcc", "-mcpu=cortex-m4", "-mthumb"
"""What compiles for a microcontroller (Debian: gcc-arm-none-eabi, libnewlib-arm-none-eabi)."""
LOOP = """
void all(const uint8_t *images, {real} *scores, int count)
{{
    for (int k = 0; k < count; k++)
        predict(images + k * {pixels}, scores + k * {classes});
}}
"""


def compiler() -> str:
    """The C compiler of this machine, or LeftOutError."""
    found = next(filter(None, map(shutil.which, COMPILERS)), None)
    if found is None:
        raise LeftOutError("no C compiler here (cc)")
    return found


def compiled(source: bytes, command: list[str], folder: str, name: str) -> Path:
    """Compile a program; what came of it, or LeftOutError with what the compiler said."""
    path, target = Path(folder, "network.c"), Path(folder, name)
    with atomic_write(path) as file:
        file.write(source)
    command = [*command, "-std=c99", str(path), "-o", str(target)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if "error" in line]
        raise LeftOutError(f"it does not compile: {' '.join(said[:1])}")
    return target


def by_c(packed: PackedNetwork, images: Array, flags: tuple[str, ...]) -> Call:
    """Scores by the C program, in a loop of its own over the images.

    Parameters
    ----------
    packed : PackedNetwork
    images : array of uint8 (batch, ...)
    flags : tuple of str
        Of the compiler.

    Returns
    -------
    function
        Gives an array (batch, classes).
    """
    dtype, classes = np.dtype(packed.stages[-1].settings()["dtype"]), packed.output_shape[-1]
    real = {"float32": "float", "float64": "double"}[dtype.name]
    loop = LOOP.format(real=real, pixels=prod(packed.input_shape), classes=classes)
    with tempfile.TemporaryDirectory() as folder:
        command = [compiler(), *flags, "-shared", "-fPIC"]
        source = export(packed, "c") + loop.encode("ascii")
        library = ctypes.CDLL(str(compiled(source, command, folder, "network.so")))
    scores = np.empty((len(images), classes), dtype)
    data, target = (ctypes.c_void_p(a.ctypes.data) for a in (images, scores))

    def call() -> Array:
        library.all(data, target, len(images))
        return scores

    return call


def size(packed: PackedNetwork) -> str:
    """How much of a microcontroller the program fills, in words.

    Parameters
    ----------
    packed : PackedNetwork

    Returns
    -------
    str
        Bytes of flash (code and tables) and of static RAM; the stack is not among them. Without a
        compiler for the Cortex-M4 those of this machine's, and it says so.
    """
    for_cortex = shutil.which(CORTEX[0]) is not None
    command = [*CORTEX] if for_cortex else [compiler()]
    tool = command[0].replace("gcc", "size") if for_cortex else "size"
    if shutil.which(tool) is None:
        raise LeftOutError(f"no {tool} here")
    with tempfile.TemporaryDirectory() as folder:
        program = compiled(export(packed, "c"), [*command, "-Os", "-c"], folder, "network.o")
        done = subprocess.run([tool, str(program)], capture_output=True, text=True, check=True)
    text, data, bss = map(int, done.stdout.splitlines()[1].split()[:3])
    where = "a Cortex-M4" if for_cortex else "this machine (no arm-none-eabi-gcc here)"
    return f"-Os for {where}: {text + data:,} bytes of flash, {data + bss:,} of RAM"
