"""Exported files of the small MNIST network beside the packed network that they came from.

Every peer gives the packed network's scores, bit for bit, or is not measured.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from qnn_ref._typing import Array
from qnn_ref.bench.c_program import by_c, size
from qnn_ref.bench.machine import threads as use_threads
from qnn_ref.bench.measure import Call, LeftOutError
from qnn_ref.bench.peers import library
from qnn_ref.bench.rows import C_NATIVE, C_PROGRAM, ONNX_EXACT, Row, Settings, compare
from qnn_ref.datasets import find_model
from qnn_ref.interop import export
from qnn_ref.packed import PackedNetwork

MODEL = "mnist"
MANY = 1_000

Peer = Callable[[PackedNetwork, Array], Call]


def rows(settings: Settings) -> list[Row]:
    """Measure scores of one image and of many, by default on one thread."""
    packed = PackedNetwork.load(find_model(MODEL))
    found = []
    for threads in settings.counts(several=False):
        with use_threads(threads):
            for count in (1, MANY):
                found += export_rows(packed, count, threads, settings)
    return found


def export_rows(packed: PackedNetwork, count: int, threads: int, settings: Settings) -> list[Row]:
    """Compare on one number of images; all read the same bytes."""
    shape = count, *packed.input_shape
    images = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    peers: dict[str, Peer] = {
        ONNX_EXACT: partial(by_onnxruntime, threads=threads),
        C_PROGRAM: partial(by_c, flags=("-O2",)),
        C_NATIVE: partial(by_c, flags=("-O3", "-march=native")),
    }
    return compare(
        "exported network",
        f"{MODEL}, {count} image{'s' if count > 1 else ''}",
        threads,
        lambda: packed.scores(images),
        {name: partial(exact, peer, packed, images) for name, peer in peers.items()},
        settings,
        notes={C_PROGRAM: said_size(packed)} if count == 1 else {},
    )


def said_size(packed: PackedNetwork) -> str:
    """Size of the C program, or why it is not known."""
    try:
        return size(packed)
    except LeftOutError as error:
        return str(error)


def exact(peer: Peer, packed: PackedNetwork, images: Array) -> Call:
    """The peer's call, or LeftOutError where a score of it differs."""
    call = peer(packed, images)
    found, ours = np.asarray(call()), packed.scores(images)
    if found.dtype != ours.dtype or found.tobytes() != ours.tobytes():
        raise LeftOutError("its scores are not the packed network's")
    return call


def by_onnxruntime(packed: PackedNetwork, images: Array, threads: int) -> Call:
    """Scores by the ONNX file.

    Parameters
    ----------
    packed : PackedNetwork
    images : array of uint8 (batch, ...)
    threads : int

    Returns
    -------
    function
        Gives an array (batch, classes).
    """
    runtime = library("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    session = runtime.InferenceSession(
        export(packed, "onnx"), options, providers=["CPUExecutionProvider"]
    )
    return lambda: session.run(None, {"images": images})[0]
