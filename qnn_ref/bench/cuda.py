"""The paper's kernels on a graphics processor beside cuBLAS (Section 6). NOT RUN on one so far.

A product of 8192 x 8192 matrices, and the MNIST network with all 10,000 test images in one batch,
its first layer by the baseline kernel. Packing is inside the measured time, as in the paper, and so
is the room for results, which our kernels ask the driver for in each call. Factors and images are
whole numbers with sums below 2^24: every kernel gives the same integers, and ours are compared with
their twins before anything is timed.

Where there is no device, rows say so. They are made only where they are asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from qnn_ref._typing import Array
from qnn_ref.bench.measure import Call, LeftOutError
from qnn_ref.bench.peers import library
from qnn_ref.bench.rows import CUBLAS, CUDA_BASELINE, CUDA_THREADS, Row, Settings, compare
from qnn_ref.bits.cuda import (
    cuda_float_matmul,
    cuda_float_matmul_reference,
    cuda_pack,
    cuda_pack_reference,
    cuda_signs,
    cuda_xnor_matmul,
    cuda_xnor_matmul_reference,
)
from qnn_ref.bits.device import NoDeviceError, cuda_device, to_device
from qnn_ref.compiled import numba

SIDE, QUICK_SIDE = 8192, 1024
WIDTH, QUICK_WIDTH = 4096, 512
IMAGES, QUICK_IMAGES = 10_000, 1_000
PIXELS, CLASSES = 784, 10

PRODUCT, NETWORK = "XNOR kernel on CUDA", "packed inference on CUDA"
PAPER = {
    PRODUCT: {CUDA_BASELINE: "paper: 23 times, GTX 750", CUBLAS: "paper: 3.4 times, GTX 750"},
    NETWORK: {CUDA_BASELINE: "paper: 7 times, GTX 750"},
}
NO_DEVICE = "no CUDA device"
NO_SPEED = f"{NO_DEVICE}: a simulator has no speed"

Peers = Mapping[str, Callable[[], Call]]


@dataclass(frozen=True)
class Network:
    """What the binary network of Section 6 consists of, on the host.

    Parameters
    ----------
    images : array (batch, pixels) of float32
        Whole numbers.
    weights : list of array (units, fan_in) of float32
        +1 and -1.
    thresholds : list of array (units,) of int32
        Of each layer but the last: batch norm and sign in one.
    """

    images: Array
    weights: list[Array]
    thresholds: list[Array]


def rows(settings: Settings) -> list[Row]:
    """Measure the product and the network; without a device, rows that say so."""
    side, width, images = (
        (QUICK_SIDE, QUICK_WIDTH, QUICK_IMAGES) if settings.quick else (SIDE, WIDTH, IMAGES)
    )
    cube, size = f"{side} x {side} x {side}", f"784-3x{width}-10, {images} images"
    if missing := why_not():
        peers = {PRODUCT: (CUDA_THREADS, CUDA_BASELINE, CUBLAS), NETWORK: (CUDA_BASELINE, CUBLAS)}
        sizes = {PRODUCT: cube, NETWORK: size}
        return [absent(name, sizes[name], p, missing) for name in peers for p in peers[name]]
    check_against_twins()
    ours, others = product_calls(*signs(side, np.random.default_rng(0)))
    found = compare(PRODUCT, cube, 1, ours, others, settings, PAPER[PRODUCT])
    del ours, others  # the device's memory
    ours, others = network_calls(network_of(width, images))
    return found + compare(NETWORK, size, 1, ours, others, settings, PAPER[NETWORK])


def why_not() -> str:
    """What keeps us from measuring; nothing where there is a device."""
    try:
        cuda_device()
    except NoDeviceError:
        return NO_DEVICE
    return NO_SPEED if numba.config.ENABLE_CUDASIM else ""


def absent(name: str, size: str, peer: str, why: str) -> Row:
    """A row of what could not be run: neither side."""
    return Row(name, size, 1, None, None, peer, None, None, None, note=why)


def check_against_twins() -> None:
    """Refuse to time kernels that are wrong on this device."""
    rng = np.random.default_rng(3)
    x, w = (rng.integers(-1, 2, (rows, 777)).astype(np.float32) for rows in (100, 70))
    a, b = cuda_pack_reference(x), cuda_pack_reference(w)
    want = cuda_xnor_matmul_reference(a, b, 777)
    right = {
        "cuda_pack": np.array_equal(cuda_pack(x), a),
        "cuda_xnor_matmul": np.array_equal(cuda_xnor_matmul(a, b, 777), want),
        "cuda_xnor_matmul, not tiled": np.array_equal(cuda_xnor_matmul(a, b, 777, False), want),
        "cuda_float_matmul": np.array_equal(
            cuda_float_matmul(x, w), cuda_float_matmul_reference(x, w)
        ),
    }
    wrong = [name for name, is_right in right.items() if not is_right]
    if wrong:
        raise RuntimeError(f"{', '.join(wrong)}: not the integers of the twin on this device")


def signs(side: int, rng: np.random.Generator) -> Iterator[Array]:
    """Two matrices of +1 and -1."""
    for _ in range(2):
        yield (2 * rng.integers(0, 2, (side, side), np.int8) - 1).astype(np.float32)


def finished(call: Callable[[], Any]) -> Call:
    """Wait until the device is done: a launch alone returns at once."""

    def wait() -> Any:
        result = call()
        cuda_device().synchronize()
        return result

    return wait


def cublas() -> Any:
    """Import PyTorch with a device of its own to see: its products are those of cuBLAS."""
    torch = library("torch", "pip install torch, a build with CUDA")
    if not torch.cuda.is_available():
        raise LeftOutError("PyTorch sees no CUDA device")
    return torch


def product_calls(x: Array, w: Array) -> tuple[Call, Peers]:
    """Our call with packing, and what prepares its peers."""
    left, right, K = to_device(x), to_device(w), x.shape[1]

    def xnor(tiled: bool) -> Call:
        return finished(lambda: cuda_xnor_matmul(cuda_pack(left), cuda_pack(right), K, tiled))

    def cublas_call() -> Call:
        torch = cublas()
        a, b = (torch.from_numpy(side).cuda() for side in (x, w))
        return finished(lambda: torch.mm(a, b.T))

    peers = {
        CUDA_THREADS: lambda: xnor(tiled=False),
        CUDA_BASELINE: lambda: finished(lambda: cuda_float_matmul(left, right)),
        CUBLAS: cublas_call,
    }
    return xnor(tiled=True), peers


def network_of(width: int, images: int, pixels: int = PIXELS) -> Network:
    """A network of random signs with thresholds in the middle of its sums."""
    rng = np.random.default_rng(1)
    units = [pixels, width, width, width, CLASSES]
    pairs = zip(units[1:], units[:-1], strict=True)
    return Network(
        (2.0 * rng.integers(0, 256, (images, pixels)) - 255).astype(np.float32),
        [rng.choice(np.array([-1, 1], np.float32), pair) for pair in pairs],
        [rng.integers(-9, 10, width, np.int32) for _ in range(3)],
    )


def network_calls(network: Network) -> tuple[Call, Peers]:
    """Scores of all images in one batch: ours, and what prepares its peers."""
    return xnor_network(network), {
        CUDA_BASELINE: lambda: baseline_network(network),
        CUBLAS: lambda: cublas_network(network),
    }


def xnor_network(network: Network) -> Call:
    """Prepare the network on bits; the first layer is the baseline kernel, as in the paper."""
    images, first = to_device(network.images), to_device(network.weights[0])
    words = [to_device(cuda_pack_reference(w)) for w in network.weights[1:]]
    limits = limits_on_device(network)

    def call() -> Any:
        sums = cuda_float_matmul(images, first)
        for packed, limit in zip(words, limits, strict=True):
            sums = cuda_xnor_matmul(cuda_pack(sums, limit), packed, limit.shape[0])
        return sums

    return finished(call)


def limits_on_device(network: Network) -> list[Any]:
    """Thresholds of the types that the sums of `xnor_network` have."""
    first, *others = network.thresholds
    return [to_device(limit) for limit in (first.astype(np.float32), *others)]


def baseline_network(network: Network) -> Call:
    """Prepare the network with products of floats in all layers."""
    images = to_device(network.images)
    first, *weights = map(to_device, network.weights)
    limits = [to_device(limit.astype(np.float32)) for limit in network.thresholds]

    def call() -> Any:
        sums = cuda_float_matmul(images, first)
        for w, limit in zip(weights, limits, strict=True):
            sums = cuda_float_matmul(cuda_signs(sums, limit), w)
        return sums

    return finished(call)


def cublas_network(network: Network) -> Call:
    """Prepare the network with products of cuBLAS."""
    torch = cublas()
    images = torch.from_numpy(network.images).cuda()
    first, *weights = (torch.from_numpy(w).cuda() for w in network.weights)
    limits = [torch.from_numpy(limit.astype(np.float32)).cuda() for limit in network.thresholds]

    def call() -> Any:
        sums = torch.mm(images, first.T)
        for w, limit in zip(weights, limits, strict=True):
            sums = torch.mm(torch.where(sums >= limit, 1.0, -1.0), w.T)
        return sums

    return finished(call)
