"""The character RNN of section 4.4: a training step, and text from the packed cell.

The peer is the same network in PyTorch, float32, with its own layers: no quantizers at all. What
straight-through would cost it is given to it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from qnn_ref.bench.machine import threads as use_threads
from qnn_ref.bench.measure import Call
from qnn_ref.bench.peers import library
from qnn_ref.bench.rows import TORCH, Row, Settings, compare
from qnn_ref.layers import RNN, Dense, Embedding
from qnn_ref.losses import softmax_cross_entropy
from qnn_ref.network import Sequential
from qnn_ref.optimizers import Adam, clip_by_norm
from qnn_ref.packed import pack_sequence
from qnn_ref.packed.generation import generate_tokens
from qnn_ref.quantizers import LinearQuant

SYMBOLS, FEATURES = 51, 64
UNITS, QUICK_UNITS = 2048, 512
BATCH, STEPS = 50, 50
CHARACTERS, QUICK_CHARACTERS = 1000, 100
RATE, LIMIT = 1e-3, 1.0


def rows(settings: Settings) -> list[Row]:
    """Measure a training step, and 1,000 characters one after the other."""
    units, count = (QUICK_UNITS, QUICK_CHARACTERS) if settings.quick else (UNITS, CHARACTERS)
    found = []
    for threads in settings.counts(several=True):
        with use_threads(threads):
            found += compare(
                "training step, character RNN",
                f"{units} units, batch {BATCH}, {STEPS} steps",
                threads,
                our_step(units),
                {TORCH: lambda: TorchText(units).step},
                settings,
                notes={TORCH: "without quantizers, fused Adam"},
            )
            found += compare(
                "packed text",
                f"{units} units, {count} characters",
                threads,
                our_text(units, count),
                {TORCH: lambda: TorchText(units).writer(count)},
                settings,
            )
    return found


def network_of(units: int) -> Sequential:
    """Two-bit weights, four-bit states."""
    row = [
        Embedding(SYMBOLS, FEATURES, LinearQuant(2)),
        RNN(units, LinearQuant(2, high=1 / 16), LinearQuant(4, reading="unsigned")),
        Dense(SYMBOLS, LinearQuant(2, high=1 / 4), bias=True),
    ]
    return Sequential(row, (-1,), np.random.default_rng(0))


def batch() -> tuple[Any, Any]:
    """Random characters, and those that follow."""
    rng = np.random.default_rng(1)
    x, y = rng.integers(0, SYMBOLS, (2, BATCH, STEPS))
    return x, y


def our_step(units: int) -> Call:
    """Prepare our training step: a call that returns the loss before it."""
    network, optimizer = network_of(units), Adam(RATE)
    x, y = batch()

    def step() -> float:
        scores = network.forward(x, training=True)
        cost, gradient = softmax_cross_entropy(scores.reshape(-1, SYMBOLS), y.ravel())
        network.backward(gradient.reshape(scores.shape))
        clip_by_norm(network.parameters(), LIMIT)
        optimizer.step(network.parameters())
        return cost

    return step


def our_text(units: int, count: int) -> Call:
    """Prepare our packed cell: a call that returns the characters it drew."""
    packed = pack_sequence(network_of(units))
    return lambda: generate_tokens(packed, [0], count, np.random.default_rng(0))


class TorchText:
    """The same network in PyTorch.

    Parameters
    ----------
    units : int
    """

    def __init__(self, units: int) -> None:
        torch = self.torch = library("torch")
        torch.manual_seed(0)
        self.table = torch.nn.Embedding(SYMBOLS, FEATURES)
        self.cell = torch.nn.RNN(FEATURES, units, nonlinearity="relu", batch_first=True)
        self.end = torch.nn.Linear(units, SYMBOLS)
        parts = (self.table, self.cell, self.end)
        self.parameters = [p for part in parts for p in part.parameters()]
        self.optimizer = torch.optim.Adam(self.parameters, RATE, fused=True)
        self.batch = [torch.tensor(array) for array in batch()]

    def step(self) -> float:
        """One training step."""
        x, y = self.batch
        self.optimizer.zero_grad()
        scores = self.end(self.cell(self.table(x))[0])
        loss = self.torch.nn.functional.cross_entropy(scores.reshape(-1, SYMBOLS), y.reshape(-1))
        loss.backward()
        self.torch.nn.utils.clip_grad_norm_(self.parameters, LIMIT)
        self.optimizer.step()
        return float(loss.detach())

    def writer(self, count: int) -> Call:
        """Prepare the drawing of characters, one after the other."""

        def draw() -> list[int]:
            state, read, drawn = None, self.torch.zeros((1, 1), dtype=self.torch.long), []
            with self.torch.inference_mode():
                for _ in range(count):
                    shown, state = self.cell(self.table(read), state)
                    chances = self.torch.softmax(self.end(shown[0, -1]), 0)
                    read = self.torch.multinomial(chances, 1)[None]
                    drawn.append(int(read))
            return drawn

        return draw
