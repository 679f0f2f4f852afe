"""A network that was exported to C, compiled on this machine and called."""

from __future__ import annotations

import ctypes
import itertools
import shutil
import subprocess
from functools import cache
from pathlib import Path

import numpy as np

from qnn_ref import PackedNetwork
from qnn_ref.interop import export

COMPILER = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
STRICT = ("-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wno-sign-conversion")
STRICT += ("-Werror",)
NUMBER = itertools.count()

DRIVER = """
#include <stdio.h>
int main(void)
{
    static uint8_t image[%d];
    static %s scores[%d];
    while (fread(image, sizeof image, 1, stdin) == 1) {
        predict(image, scores);
        fwrite(scores, sizeof scores, 1, stdout);
    }
    return 0;
}
"""


@cache
def takes(*flags: str) -> bool:
    """Whether the compiler knows these flags, and its program then runs here."""
    program = b"int main(void) { return 0; }"
    command = [COMPILER, "-xc", "-", *flags, "-o", "/dev/null"]
    return subprocess.run(command, input=program, capture_output=True, check=False).returncode == 0


def build(network: PackedNetwork, folder: Path, *flags: str, driver: str = "") -> Path:
    """Compile the exported file with no warning; the program or library."""
    source = folder / f"network{next(NUMBER)}.c"
    source.write_bytes(export(network, "c") + driver.encode())
    target = source.with_suffix(".run" if driver else ".so")
    kind = () if driver else ("-shared", "-fPIC")
    command = [COMPILER, *STRICT, *kind, *flags, str(source), "-o", str(target)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[:3000]
    return target


def called(network: PackedNetwork, images: np.ndarray, folder: Path, *flags: str):
    """Classes and scores of images, by a library that was compiled with these flags."""
    library = ctypes.CDLL(str(build(network, folder, *flags)))
    dtype = np.dtype(network.stages[-1].dtype)
    scores = np.zeros((len(images), network.output_shape[-1]), dtype)
    flat = np.ascontiguousarray(images.reshape(len(images), -1))
    classes = [
        library.predict(ctypes.c_void_p(image.ctypes.data), ctypes.c_void_p(row.ctypes.data))
        for image, row in zip(flat, scores, strict=True)
    ]
    return np.array(classes), scores


def sanitized(network: PackedNetwork, images: np.ndarray, folder: Path) -> np.ndarray:
    """Scores by a program that ends at the first wrong address or undefined operation."""
    dtype, classes = np.dtype(network.stages[-1].dtype), network.output_shape[-1]
    kind = {"float32": "float", "float64": "double"}[dtype.name]
    driver = DRIVER % (images[0].size, kind, classes)
    flags = "-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"
    program = build(network, folder, *flags, driver=driver)
    done = subprocess.run([program], input=images.tobytes(), capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()[:3000]
    return np.frombuffer(done.stdout, dtype).reshape(-1, classes)


def assert_equal(network: PackedNetwork, images: np.ndarray, scores: np.ndarray) -> None:
    """All scores equal the packed network's, bit for bit."""
    expected = network.scores(images)
    assert scores.dtype == expected.dtype
    words = f"u{expected.itemsize}"
    np.testing.assert_array_equal(scores.view(words), expected.view(words))
