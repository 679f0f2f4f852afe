"""A gradient check of the demo's network against PyTorch's `gradcheck` of the same network."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from qnn_ref._typing import Array
from qnn_ref.bench.machine import threads as use_threads
from qnn_ref.bench.measure import Timing, reason
from qnn_ref.bench.peers import library
from qnn_ref.bench.rows import GRADCHECK, GRADCHECK_FAST, Row, Settings, timed_row
from qnn_ref.checking import check_gradients
from qnn_ref.layers import BatchNorm, Dense, Layer, Quantize
from qnn_ref.network import Sequential
from qnn_ref.quantizers import Sign

BATCH = 32
"""Images that the demo checks its network with."""
WHOLE, NARROW = (784, 512, 512, 512, 10), (49, 32, 32, 32, 10)
"""Of the demo; of a 16th of its widths, since the full check asks for every element."""


def rows(settings: Settings) -> list[Row]:
    """Measure both forms of the peer: random directions on the whole network, every element."""
    with use_threads(1):
        sizes = [(NARROW, True)] if settings.quick else [(WHOLE, False), (NARROW, True)]
        return [_row(widths, full, settings) for widths, full in sizes]


def _row(widths: Sequence[int], full: bool, settings: Settings) -> Row:
    name = f"{widths[0]}-3x{widths[1]}-{widths[-1]}, batch {BATCH}"
    settings.say(f"gradient check, {name}")
    peer_name = GRADCHECK if full else GRADCHECK_FAST
    network, x = network_of(widths), images(widths[0])
    ours: list[float] = []
    peer: list[float] = []
    looks = "all elements" if full else "one random direction a tensor, ours three"
    note = f"ours in probe mode; the peer: {looks}, surrogates frozen by hand"
    rounds, begun = min(3, settings.repeats), time.perf_counter()
    try:
        theirs: Callable[[], bool] | None = gradcheck(network, x, fast=not full)
    except Exception as error:  # a peer that is missing makes a row that says so
        theirs, note = None, reason(error)
    for _ in range(rounds):
        ours.append(seconds(partial(ours_passes, network, x)))
        if theirs is not None and (not peer or time.perf_counter() - begun < settings.budget):
            peer.append(seconds(theirs))
    return timed_row(
        "gradient check", name, 1, spread(ours), peer_name, spread(peer) if peer else None, note
    )


def network_of(widths: Sequence[int]) -> Sequential:
    """Dense, batch norm and sign, three times; then dense and batch norm."""
    layers: list[Layer] = []
    for units in widths[1:-1]:
        layers += [Dense(units), BatchNorm(), Quantize(Sign())]
    layers += [Dense(widths[-1]), BatchNorm()]
    return Sequential(layers, (widths[0],), np.random.default_rng(0))


def images(pixels: int) -> Array:
    """Random images as real numbers, (batch, pixels), so that the input has a gradient too."""
    return np.random.default_rng(1).uniform(-1, 1, (BATCH, pixels))


def ours_passes(network: Sequential, x: Array) -> bool:
    """Our check, copies and frozen surrogates included."""
    return check_gradients(network, x, rng=np.random.default_rng(2)).passed


def gradcheck(network: Sequential, x: Array, fast: bool) -> Callable[[], bool]:
    """The same function of the same tensors in PyTorch, ready to be checked.

    A sign has no slope, and `gradcheck` knows no surrogate. So the sign is replaced by what our
    check puts in its place, Sign(a0) + hardtanh(a) - hardtanh(a0), with a0 from a first pass.

    Parameters
    ----------
    network : Sequential
        Of `network_of`.
    x : array (batch, pixels)
    fast : bool
        Random directions, one number for each pair of input and output, in place of all elements.

    Returns
    -------
    function
        Runs the check, and tells whether it passed.
    """
    torch: Any = library("torch")
    dense = [layer for layer in network.layers if isinstance(layer, Dense)]
    signs = [np.where(layer.weight.latent >= 0, 1.0, -1.0) for layer in dense]
    inputs = [torch.from_numpy(array).requires_grad_() for array in (x, *signs)]
    norms = [layer for layer in network.layers if isinstance(layer, BatchNorm)]
    for norm in norms:
        for parameter in (norm.gain, norm.shift):
            array = np.random.default_rng(3).uniform(0.5, 1.5, parameter.shape)
            inputs.append(torch.from_numpy(array).requires_grad_())
    start: list[Any] = []

    def forward(x: Any, *more: Any) -> Any:
        weights, affine = more[: len(dense)], more[len(dense) :]
        for i, weight in enumerate(weights):
            x = torch.nn.functional.batch_norm(
                x @ weight, None, None, *affine[2 * i : 2 * i + 2], training=True
            )
            if i == len(weights) - 1:
                return x
            bounded = torch.nn.functional.hardtanh(x)
            if len(start) <= i:
                start.append((torch.where(x >= 0, 1.0, -1.0) - bounded).detach())
            x = start[i] + bounded
        return x

    forward(*inputs)
    return lambda: bool(torch.autograd.gradcheck(forward, inputs, fast_mode=fast, atol=1e-3))


def seconds(passes: Callable[[], bool]) -> float:
    """Seconds of one check; a wrong gradient has no speed."""
    begun = time.perf_counter()
    if not passes():
        raise ValueError("gradient check: a gradient that should be right did not pass")
    return time.perf_counter() - begun


def spread(values: list[float]) -> Timing:
    """Median and quartiles."""
    low, middle, high = np.quantile(values, (0.25, 0.5, 0.75))
    return Timing(float(middle), float(low), float(high), len(values))
