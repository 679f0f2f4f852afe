"""What a product or a training step takes at least here: what has to be done is counted, and done.

`qnn_ref.cost` counts the pairs of numbers that the products multiply. A loop of `ceiling` then does
as many, on data that lies in the L1 cache: nothing is packed, no table made, no sum stored. Real
times real is NumPy's product. The update moves 28 bytes a weight. What makes no product (batch
norm, sign, pooling, packing) is not counted, so nobody reaches these limits; they say which goals
no kernel of this design can reach on this machine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np

from qnn_ref.bench import ceiling
from qnn_ref.bench.measure import Call
from qnn_ref.cost import packed_cost, training_cost
from qnn_ref.cost.operations import Operand
from qnn_ref.cost.products import Product
from qnn_ref.network import Sequential
from qnn_ref.optimizers import Optimizer
from qnn_ref.packed import PackedNetwork

SIDE = 512
"""Rows and terms of the products of real numbers: large enough for NumPy's full pace."""


class Needs(NamedTuple):
    """What has to be done, whatever the kernel.

    Parameters
    ----------
    bits, sums, reals : int
        Pairs of numbers: signs times signs, times signs by look-ups of float32, real times real.
    weights : int
        That are updated.
    """

    bits: int = 0
    sums: int = 0
    reals: int = 0
    weights: int = 0


def needs_of(products: Iterable[Product], weights: int = 0) -> Needs:
    """Sort products by the kernel that they go through.

    Parameters
    ----------
    products : iterable of Product
    weights : int
        That are updated afterwards.

    Returns
    -------
    Needs
        Pixels times signs are look-ups of 16-bit numbers, twice as many in a vector: they count
        half.
    """
    bits = sums = reals = 0
    for product in products:
        signs = [_is_sign(operand) for operand in (product.a, product.b)]
        if all(signs):
            bits += product.pairs
        elif not any(signs):
            reals += product.pairs
        elif any(operand.kind == "planes" and operand.bits == 8 for operand in _both(product)):
            sums += product.pairs // 2
        else:
            sums += product.pairs
    return Needs(bits, sums, reals, weights)


def _both(product: Product) -> tuple[Operand, Operand]:
    return product.a, product.b


def _is_sign(operand: Operand) -> bool:
    return operand.kind == "planes" and operand.bits == 1


def needs_of_step(network: Sequential, optimizer: Optimizer, examples: int) -> Needs:
    """A step of training: forward, backward, update.

    Parameters
    ----------
    network : Sequential
        Built.
    optimizer : Optimizer
    examples : int

    Returns
    -------
    Needs
    """
    cost = training_cost(network, optimizer, examples)
    weights = sum(p.size for p in network.parameters().values())
    return needs_of((p for part in cost.parts for p in part.products), weights)


def needs_of_scores(network: PackedNetwork, examples: int) -> Needs:
    """Scores of a packed network.

    Parameters
    ----------
    network : PackedNetwork
    examples : int

    Returns
    -------
    Needs
    """
    parts = packed_cost(network, examples).parts
    return needs_of(product for part in parts for product in part.products)


def limit_call(needs: Needs, threads: int) -> Call:
    """Prepare a call that does what is needed, a kind after the other.

    Parameters
    ----------
    needs : Needs
    threads : int
        That share it; they are set by the caller.

    Returns
    -------
    function
        Without arguments.
    """
    calls: list[Callable[[], object]] = []
    if needs.bits:
        calls.append(bits_call(needs.bits, threads))
    if needs.sums:
        calls.append(lookup_call(needs.sums, threads))
    if needs.reals:
        calls.append(reals_call(needs.reals))
    if needs.weights:
        calls.append(update_call(needs.weights, threads))

    def call() -> None:
        for part in calls:
            part()

    return call


def bits_call(pairs: int, threads: int) -> Call:
    """Prepare XOR, count and add for so many pairs of signs."""
    loop = ceiling.best_loop()
    turns = -(-pairs // (64 * ceiling.WORDS * threads))
    words = np.random.default_rng(0).integers(0, 2**64, ceiling.WORDS, np.uint64)
    totals = np.zeros(threads, np.uint64)
    return lambda: loop(words, turns, totals)


def lookup_call(pairs: int, threads: int) -> Call:
    """Prepare look-ups and additions for so many pairs of a real number and a sign."""
    rng, width = np.random.default_rng(0), ceiling.width()
    words = rng.integers(0, 2**64, ceiling.LOOKED_UP, np.uint64)
    tables = rng.standard_normal((ceiling.TABLES, 16, width), np.float32)
    totals = np.zeros((threads, width), np.float32)
    each = 4 * ceiling.TABLES * width * ceiling.LOOKED_UP * threads
    turns = -(-pairs // each)
    return lambda: ceiling.lookup_loop(words, tables, turns, totals)


def reals_call(pairs: int) -> Call:
    """Prepare NumPy's product of so many pairs of real numbers."""
    columns = max(1, pairs // SIDE**2)
    a, b = np.ones((SIDE, SIDE), np.float32), np.ones((SIDE, columns), np.float32)
    out = np.empty((SIDE, columns), np.float32)
    return lambda: np.matmul(a, b, out=out)


def update_call(weights: int, threads: int) -> Call:
    """Prepare reading four numbers a weight and writing three."""
    w, g, m, v = (np.zeros(weights, np.float32) for _ in range(4))
    return lambda: ceiling.update_loop(w, g, m, v, threads)
