"""The packed MNIST network against the same network as floats, for many images and for one."""

from __future__ import annotations

import numpy as np

from qnn_ref.bench.limits import limit_call, needs_of_scores
from qnn_ref.bench.machine import threads as use_threads
from qnn_ref.bench.onnx_networks import onnx_inference
from qnn_ref.bench.rows import COUNTED, OF_LIMIT, ONNX, ONNX_INT8, TORCH, Row, Settings, compare
from qnn_ref.bench.torch_networks import torch_inference
from qnn_ref.bench.training import mlp
from qnn_ref.layers import BatchNorm
from qnn_ref.network import Sequential
from qnn_ref.packed import pack

WIDTH, QUICK = 4096, 512
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
    return found


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
    rng = np.random.default_rng(2)
    pixels = rng.integers(0, 256, (images, 28, 28, 1), np.uint8)
    packed = pack(network)
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
        },
        settings,
        {COUNTED: OF_LIMIT},
    )
