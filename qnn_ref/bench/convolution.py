"""Binary 3x3 convolutions with zero padding: against the same in float32, and filter by filter."""

from __future__ import annotations

import numpy as np

from qnn_ref.bench.limits import bits_call
from qnn_ref.bench.machine import threads as use_threads
from qnn_ref.bench.peers import torch_convolution
from qnn_ref.bench.rows import BY_WORDS, COUNTED, OF_LIMIT, TORCH, Row, Settings, compare
from qnn_ref.bits import (
    RepeatedKernel,
    pack,
    pack_kernel,
    repeated_conv,
    to_kernel_panels,
    xnor_conv,
)

SIZES = ((32, 128), (16, 256), (8, 512))
"""Side and channels of the paper's CIFAR-10 network."""

BATCH, QUICK_BATCH = 100, 10


def rows(settings: Settings) -> list[Row]:
    """Measure the three sizes."""
    batch = QUICK_BATCH if settings.quick else BATCH
    found = []
    for count in settings.counts(several=False):
        with use_threads(count):
            for side, channels in SIZES:
                found += convolution_rows(batch, side, channels, count, settings)
                found += repeated_rows(QUICK_BATCH, side, channels, count, settings)
    return found


def convolution_rows(
    batch: int, side: int, channels: int, threads: int, settings: Settings
) -> list[Row]:
    """Compare one size; images and weights are packed beforehand."""
    rng = np.random.default_rng(0)
    signs = np.array([-1, 1], np.float32)
    x = rng.choice(signs, (batch, side, side, channels))
    w = rng.choice(signs, (3, 3, channels, channels))
    words, panels = pack(x), to_kernel_panels(pack_kernel(w), channels)
    out = np.empty(x.shape, np.int32)
    return compare(
        "binary convolution 3x3",
        f"{batch} images, {side} x {side} x {channels}",
        threads,
        lambda: xnor_conv(words, panels, channels, padding=1, out=out),
        {
            TORCH: lambda: torch_convolution(x, w),
            COUNTED: lambda: bits_call(9 * channels * out.size, threads),
        },
        settings,
        {COUNTED: OF_LIMIT},
    )


def repeated_rows(
    batch: int, side: int, channels: int, threads: int, settings: Settings
) -> list[Row]:
    """Compare the convolution that computes each filter once (5.3) with that by words."""
    rng = np.random.default_rng(0)
    words = pack(rng.choice([-1, 1], (batch, side, side, channels)))
    kernel = pack_kernel(rng.choice([-1, 1], (3, 3, channels, channels)))
    panels, repeated = to_kernel_panels(kernel, channels), RepeatedKernel(kernel, channels)
    out, peer_out = (np.empty((batch, side, side, channels), np.int32) for _ in range(2))
    return compare(
        "each filter once 3x3",
        f"{batch} images, {side} x {side} x {channels}",
        threads,
        lambda: repeated_conv(words, repeated, channels, padding=1, out=out),
        {BY_WORDS: lambda: lambda: xnor_conv(words, panels, channels, padding=1, out=peer_out)},
        settings,
        notes={BY_WORDS: f"random filters, {100 * repeated.share:.0f} % of the forms computed"},
    )
