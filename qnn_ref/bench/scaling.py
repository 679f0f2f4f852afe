"""Step, inference and memory of the MNIST network against its width and against the batch."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from qnn_ref.bench.inference import random_network
from qnn_ref.bench.machine import threads as use_threads
from qnn_ref.bench.memory import peak_of_step
from qnn_ref.bench.rows import ARRAYS, TORCH, TORCH_COMPILED, Row, Settings, compare
from qnn_ref.bench.torch_networks import torch_inference
from qnn_ref.bench.training import mlp, mlp_size, our_step, torch_step
from qnn_ref.packed import pack

STEP, INFERENCE, MEMORY = (
    f"scaling: {what}" for what in ("training step", "packed inference", "memory of a step")
)
WIDTHS, QUICK_WIDTHS = (128, 256, 512, 1024, 2048, 4096, 8192), (128, 512)
BATCHES, QUICK_BATCHES = (1, 3, 10, 30, 100, 300, 1000), (1, 100)
WIDTH, BATCH, IMAGES = 1024, 100, 1000
"""What stays while the other one moves."""
SHAPE = (28, 28, 1)


def rows(settings: Settings) -> list[Row]:
    """Measure along the width, then along the batch; one thread where nothing else is asked for."""
    widths, batches = (QUICK_WIDTHS, QUICK_BATCHES) if settings.quick else (WIDTHS, BATCHES)
    steps = dict.fromkeys([*((w, BATCH) for w in widths), *((WIDTH, b) for b in batches)])
    passes = dict.fromkeys([*((w, IMAGES) for w in widths), *((WIDTH, b) for b in batches)])
    count, found = settings.threads or 1, list[Row]()
    with use_threads(count):
        for width, batch in steps:
            found += step_rows(width, batch, count, settings)
        for width, images in passes:
            found += inference_rows(width, images, count, settings)
    return found + [memory_row(width, settings) for width in widths]


def step_rows(width: int, batch: int, threads: int, settings: Settings) -> list[Row]:
    """A training step with Adam beside PyTorch's, eager and compiled."""
    recipe = replace(mlp(width), batch_size=batch)
    peers = {TORCH: lambda: torch_step(recipe, SHAPE)}
    if not settings.quick:
        peers[TORCH_COMPILED] = lambda: torch_step(recipe, SHAPE, compiled=True)
    return compare(STEP, mlp_size(recipe), threads, our_step(recipe, SHAPE), peers, settings)


def inference_rows(width: int, images: int, threads: int, settings: Settings) -> list[Row]:
    """Scores of some images, all in one batch."""
    network = random_network(width)
    pixels = np.random.default_rng(2).integers(0, 256, (images, *SHAPE), np.uint8)
    packed, size = pack(network), f"784-3x{width}-10, batch {images}"
    return compare(
        INFERENCE,
        size,
        threads,
        lambda: packed.scores(pixels, images),
        {TORCH: lambda: torch_inference(network, pixels, images)},
        settings,
    )


def memory_row(width: int, settings: Settings) -> Row:
    """Peak of a step beside the arrays that Adam cannot do without."""
    recipe = mlp(width)
    settings.say(f"{MEMORY}, {mlp_size(recipe)}")
    peak, least = peak_of_step(recipe)
    return Row(
        *(MEMORY, mlp_size(recipe), 1, float(peak), None),
        *(ARRAYS, float(least), None, peak / least),
        unit="bytes",
    )
