"""The binary product against its peers and the ceiling, at every size of the goals."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from qnn_ref.bench.ceiling import TURNS, WORDS, ceiling_calls
from qnn_ref.bench.machine import threads as use_threads
from qnn_ref.bench.measure import Call, LeftOutError, interleave
from qnn_ref.bench.peers import PRODUCTS, Operands
from qnn_ref.bench.rows import CEILING, FAISS, NUMPY, Row, Settings, compare
from qnn_ref.bits import pack, to_panels, xnor_matmul

Size = tuple[int, int, int]

SIZES: tuple[Size, ...] = (  # M, N, K; from small to large, so that paces are known
    (512, 512, 512),
    (100, 1000, 777),
    (1024, 1024, 1024),
    (100, 4096, 4096),
    (2048, 2048, 2048),
    (102_400, 128, 1152),
    (4096, 4096, 4096),
    (8192, 8192, 8192),
)
QUICK: tuple[Size, ...] = ((512, 512, 512), (100, 1000, 777), (1024, 1024, 1024))
VECTOR = (1, 4096, 4096)

LONGEST, QUICK_LONGEST = 20.0, 0.3
"""Seconds beyond which a peer's call is not tried: four of them would be needed."""


class Paces:
    """How fast each peer was at the size before, to tell what a call would take.

    Parameters
    ----------
    longest : float
        Seconds that a call may take.
    """

    def __init__(self, longest: float) -> None:
        self.longest = longest
        self.paces: dict[str, float] = {}

    def learn(self, rows: list[Row], size: Size) -> None:
        """Keep the seconds of one multiplication of each peer."""
        for row in rows:
            if row.peer is not None:
                self.paces[row.peer_name] = row.peer / float(np.prod(size))

    def check(self, peer: str, size: Size) -> None:
        """Refuse a call that would take too long."""
        expected = self.paces.get(peer, 0.0) * float(np.prod(size))
        if expected > self.longest:
            raise LeftOutError(f"left out: one call would take about {expected:.2g} s")


def rows(settings: Settings) -> list[Row]:
    """Measure the product: a row for each size and peer."""
    found: list[Row] = []
    for count in settings.counts(several=False):
        paces = Paces(QUICK_LONGEST if settings.quick else LONGEST)
        with use_threads(count):
            for size in QUICK if settings.quick else SIZES:
                some = product_rows(size, count, settings, paces)
                paces.learn(some, size)
                found += some
            found += vector_rows(count, settings)
            found += packing_included_rows(QUICK[-1], count, settings)
            if not settings.quick:
                found += packing_included_rows((4096, 4096, 4096), count, settings)
    return found


def operands_of(size: Size, threads: int) -> Operands:
    """Random signs in the forms of all peers."""
    M, N, K = size
    rng = np.random.default_rng(0)
    x, w = (2 * rng.integers(0, 2, shape, np.int8) - 1 for shape in ((M, K), (K, N)))
    b = pack(np.ascontiguousarray(w.T))
    return Operands(pack(x), b, x.astype(np.float32), w.astype(np.float32), threads)


def label(size: Size) -> str:
    """The size as a row shows it."""
    return " x ".join(map(str, size))


def product_rows(size: Size, threads: int, settings: Settings, paces: Paces) -> list[Row]:
    """Compare one size, operands packed beforehand on both sides."""
    operands = operands_of(size, threads)
    panels, out = to_panels(operands.b, operands.K), np.empty(operands.shape, np.int32)

    def peer(name: str, prepare: Callable[[Operands], Call]) -> Call:
        paces.check(name, size)
        return prepare(operands)

    fastest = fastest_loop(threads, settings)
    scale = float(np.prod(size)) / (64 * WORDS * TURNS * threads)
    peers: dict[str, Callable[[], Call]] = {CEILING: lambda: ceiling_calls(threads)[fastest]}
    peers |= {name: partial(peer, name, prepare) for name, prepare in PRODUCTS.items()}
    return compare(
        "binary product",
        label(size),
        threads,
        lambda: xnor_matmul(operands.a, panels, operands.K, out=out),
        peers,
        settings,
        notes={CEILING: "ratio is the share of the ceiling"}
        | ({FAISS: "uses one thread"} if threads > 1 else {}),
        scales={CEILING: scale},
    )


def fastest_loop(threads: int, settings: Settings) -> str:
    """Name of the ceiling loop that is the faster one on this machine."""
    calls = ceiling_calls(threads)
    if len(calls) == 1:
        return next(iter(calls))
    timings = interleave(calls, 3, settings.budget, tuple(calls)).timings
    return min(timings, key=lambda name: timings[name].median)


def vector_rows(threads: int, settings: Settings) -> list[Row]:
    """Compare the product with one vector: it is bound by reading the weights."""
    operands = operands_of(VECTOR, threads)
    panels, out = to_panels(operands.b, operands.K), np.empty(operands.shape, np.int32)
    return compare(
        "one vector",
        label(VECTOR),
        threads,
        lambda: xnor_matmul(operands.a, panels, operands.K, out=out),
        {name: partial(prepare, operands) for name, prepare in PRODUCTS.items()},
        settings,
    )


def packing_included_rows(size: Size, threads: int, settings: Settings) -> list[Row]:
    """Compare with the packing of one operand, and of both, inside the measured time."""
    operands = operands_of(size, threads)
    panels, w = to_panels(operands.b, operands.K), np.ascontiguousarray(operands.w.T)
    x, K, out = operands.x, operands.K, np.empty(operands.shape, np.int32)
    ways: dict[str, Call] = {
        "binary product, packing of x included": lambda: xnor_matmul(pack(x), panels, K, out=out),
        "binary product, all packing included": lambda: xnor_matmul(
            pack(x), to_panels(pack(w), K), K, out=out
        ),
    }
    peers = {NUMPY: partial(PRODUCTS[NUMPY], operands)}
    return [
        row
        for name, ours in ways.items()
        for row in compare(name, label(size), threads, ours, peers, settings)
    ]
