"""The packed MNIST network against the same network as floats, for many images and for one.

The demo's narrow one, against our own float32 pass over NumPy's products, as the demo does it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from qnn_ref.bench.limits import limit_call, needs_of_scores
from qnn_ref.bench.machine import threads as use_threads
from qnn_ref.bench.measure import Call
from qnn_ref.bench.onnx_networks import onnx_inference
from qnn_ref.bench.rows import (
    COUNTED,
    NUMPY,
    OF_LIMIT,
    ONE_THREAD,
    ONNX,
    ONNX_INT8,
    TORCH,
    Row,
    Settings,
    compare,
)
from qnn_ref.bench.torch_networks import torch_inference
from qnn_ref.bench.training import mlp
from qnn_ref.compiled import numba
from qnn_ref.layers import BatchNorm
from qnn_ref.network import Sequential
from qnn_ref.packed import pack

WIDTH, QUICK = 4096, 512
DEMO = 512
"""Units of the demo's network."""
IMAGES, QUICK_IMAGES = 10_000, 1_000
BATCH = 1_000


def rows(settings: Settings) -> list[Row]:
    """Measure classification with many images and with one."""
    width, many = (QUICK, QUICK_IMAGES) if settings.quick else (WIDTH, IMAGES)
    network = random_network(width)
    found = []
    for count in settings.counts(several=True):
        with use_threads(count):
            for images in (many, 1):
                found += inference_rows(network, width, images, count, settings)
    return [*found, *demo_rows(settings)]


def demo_rows(settings: Settings) -> list[Row]:
    """Compare the demo's packed network with the network that it was packed from."""
    images = QUICK_IMAGES if settings.quick else IMAGES
    network, pixels = random_network(DEMO), pixels_of(images)
    packed, found = pack(network), list[Row]()
    for count in settings.counts(several=False):
        with use_threads(count):
            found += compare(
                "packed inference",
                f"784-3x{DEMO}-10, {images} images",
                count,
                lambda: packed.predict(pixels),
                {NUMPY: lambda: lambda: network.predict(pixels)},
                settings,
            )
    return found


def pixels_of(images: int) -> NDArray[np.uint8]:
    """Random images."""
    return np.random.default_rng(2).integers(0, 256, (images, 28, 28, 1), np.uint8)


def one_thread(call: Call) -> Call:
    """The same call with one thread of ours."""

    def alone() -> object:
        before = numba.get_num_threads()
        numba.set_num_threads(1)
        try:
            return call()
        finally:
            numba.set_num_threads(before)

    return alone


def random_network(width: int) -> Sequential:
    """A network whose batch norms look as if it had been trained."""
    network = mlp(width).network((28, 28, 1), 10, np.random.default_rng(0))
    rng = np.random.default_rng(1)
    for layer in network.layers:
        if isinstance(layer, BatchNorm):
            channels = layer.input_shape[-1]
            spread = np.sqrt(width, dtype=np.float32)
            layer.running_mean[:] = spread * rng.standard_normal(channels, np.float32)
            layer.running_inverse_deviation[:] = rng.uniform(0.5, 2, channels) / spread
            layer.gain.assign(rng.uniform(-1, 1, channels).astype(np.float32))
            layer.shift.assign(rng.standard_normal(channels, np.float32))
    return network


def inference_rows(
    network: Sequential, width: int, images: int, threads: int, settings: Settings
) -> list[Row]:
    """Compare one number of images; the peers get floats, ours the pixels."""
    pixels, packed = pixels_of(images), pack(network)
    alone: dict[str, Callable[[], Call]] = {}
    if threads > 1:
        alone[ONE_THREAD] = lambda: one_thread(lambda: packed.scores(pixels, BATCH))
    return compare(
        "packed inference",
        f"784-3x{width}-10, {images} image{'s' if images > 1 else ''}",
        threads,
        lambda: packed.scores(pixels, BATCH),
        {
            TORCH: lambda: torch_inference(network, pixels, BATCH),
            ONNX: lambda: onnx_inference(network, pixels, BATCH, threads, int8=False),
            ONNX_INT8: lambda: onnx_inference(network, pixels, BATCH, threads, int8=True),
            COUNTED: lambda: limit_call(needs_of_scores(packed, images), threads),
            **alone,
        },
        settings,
        {COUNTED: OF_LIMIT},
    )
