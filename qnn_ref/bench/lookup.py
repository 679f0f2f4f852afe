"""Real times binary by looking sums up, in the two shapes of the backward pass, tables included."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from qnn_ref._typing import Array
from qnn_ref.bench.limits import lookup_call
from qnn_ref.bench.machine import threads as use_threads
from qnn_ref.bench.measure import Call
from qnn_ref.bench.peers import check_blas, library
from qnn_ref.bench.rows import COUNTED, NUMPY, OF_LIMIT, TORCH, Row, Settings, compare
from qnn_ref.bits import pack, pack_panels, signs_matmul, to_panels
from qnn_ref.products import BITS

WIDTHS, QUICK = (2048, 4096), (512,)
BATCHES = (128, 100)


def rows(settings: Settings) -> list[Row]:
    """Measure dX = dY W^T and dW = X^T dY of a layer of H x H weights."""
    found = []
    for count in settings.counts(several=False):
        with use_threads(count):
            for width in QUICK if settings.quick else WIDTHS:
                for batch in BATCHES:
                    found += gradient_rows(width, batch, count, settings)
    return found


def gradient_rows(width: int, batch: int, threads: int, settings: Settings) -> list[Row]:
    """Compare both products of one layer, its signs packed beforehand."""
    rng = np.random.default_rng(0)
    dy = rng.standard_normal((batch, width), np.float32)
    w, x = (rng.choice(np.array([-1, 1], np.float32), (n, width)) for n in (width, batch))
    size, found = f"H = {width}, batch {batch}", []
    for name, ours, factors in (
        ("lookup product, dX", input_call(dy, w), (dy, w.T)),
        ("lookup product, dW", weight_call(x, dy), (x.T, dy)),
    ):
        peers: dict[str, Callable[[], Call]] = {
            NUMPY: partial(numpy_call, factors, threads),
            TORCH: partial(torch_call, factors),
            COUNTED: partial(lookup_call, batch * width**2, threads),
        }
        found += compare(name, size, threads, ours, peers, settings, {COUNTED: OF_LIMIT})
    return found


def input_call(dy: Array, w: Array) -> Call:
    """Prepare our dX = dY W^T; the signs stand on the left, so both sides are turned in it."""
    signs = pack_panels(w)
    return lambda: BITS.input_gradient(dy, signs)


def weight_call(x: Array, dy: Array) -> Call:
    """Prepare our dW = X^T dY."""
    signs = to_panels(pack(x.T), len(x))
    out = np.empty((x.shape[1], dy.shape[1]), np.float32)
    return lambda: signs_matmul(signs, dy, out=out)


def numpy_call(factors: tuple[Array, Array], threads: int) -> Call:
    """Prepare a product as NumPy's `@`."""
    check_blas(threads)
    a, b = factors
    out = np.empty((len(a), b.shape[1]), np.float32)
    return lambda: np.matmul(a, b, out=out)


def torch_call(factors: tuple[Array, Array]) -> Call:
    """Prepare a product as PyTorch's `mm`."""
    torch = library("torch")
    left, right = (torch.from_numpy(factor) for factor in factors)
    out = torch.empty((len(left), right.shape[1]), dtype=torch.float32)
    return lambda: torch.mm(left, right, out=out)
