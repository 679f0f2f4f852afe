"""What `qnn-ref bench --against` asks of a build, and the process that answers for one build.

This very file runs twice, once with each build in front of Python's path, so it may only use names
that both have: layers, losses, optimizers, Sequential, pack, and the products of bits. A name that
the older one lacks makes a row that says so.

The process reads a line of JSON, does what it says, and answers with one.
"""

from __future__ import annotations

import gc
import json
import sys
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import IO, Any

import numpy as np

Call = Callable[[], object]


@dataclass(frozen=True)
class Work:
    """One thing to be measured.

    Parameters
    ----------
    subject : str
        Name that the command takes.
    name, size : str
        As in the rows.
    prepare : function
        Makes the operands with the build's own functions, and returns what is timed.
    quick : bool
        Whether a first look measures it.
    several : bool
        Whether it is measured on two threads too.
    unit : str
        "s", or "bytes" for the peak of memory.
    """

    subject: str
    name: str
    size: str
    prepare: Callable[[], Call]
    quick: bool = False
    several: bool = False
    unit: str = "s"


def mlp(width: int) -> Any:
    """784-3xH-10 with batch norms, no dropout."""
    from qnn_ref import Sequential
    from qnn_ref.layers import BatchNorm, Dense, Pixels, Quantize

    layers: list[Any] = [Pixels()]
    for _ in range(3):
        layers += [Dense(width), BatchNorm(), Quantize()]
    return Sequential([*layers, Dense(10), BatchNorm()], (784,), np.random.default_rng(1))


def convolutional(widths: tuple[int, ...], hidden: tuple[int, ...], side: int) -> Any:
    """Pairs of 3x3 convolutions, each pair with a pool of 2, then dense layers, then 10 classes."""
    from qnn_ref import Sequential
    from qnn_ref.layers import BatchNorm, Conv2D, Dense, Flatten, MaxPool2D, Pixels, Quantize

    layers: list[Any] = [Pixels()]
    for width in widths:
        layers += [Conv2D(width, 3, padding=1), BatchNorm(), Quantize()]
        layers += [Conv2D(width, 3, padding=1), MaxPool2D(2), BatchNorm(), Quantize()]
    layers += [Flatten()]
    for width in hidden:
        layers += [Dense(width), BatchNorm(), Quantize()]
    layers += [Dense(10), BatchNorm()]
    return Sequential(layers, (side, side, 3), np.random.default_rng(1))


def step(make: Callable[[], Any], rule: str, batch: int) -> Call:
    """A training step on one batch of random pixels: Algorithm 1."""
    from qnn_ref import optimizers
    from qnn_ref.losses import squared_hinge

    network, optimizer = make(), getattr(optimizers, rule)()
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (batch, *network.input_shape), dtype=np.uint8)
    labels = rng.integers(0, 10, batch)

    def call() -> None:
        scores = network.forward(pixels, training=True)
        network.backward(squared_hinge(scores, labels)[1])
        optimizer.step(network.parameters())

    return call


def prediction(make: Callable[[], Any], images: int) -> Call:
    """Scores of a packed network for random pixels."""
    from qnn_ref import pack

    network = make()
    packed = pack(network)
    shape = (images, *network.input_shape)
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    return lambda: packed.scores(pixels)


def signs(*shape: int) -> Any:
    """Random signs."""
    values = np.array([-1, 1], np.float32)
    return np.random.default_rng(sum(shape)).choice(values, shape)


def product(M: int, N: int, K: int) -> Call:
    """A product of bits, both sides packed before."""
    from qnn_ref.bits import pack, to_panels, xnor_matmul

    a, b = pack(signs(M, K)), to_panels(pack(signs(N, K)), K)
    out = np.empty((M, N), np.int32)
    return lambda: xnor_matmul(a, b, K, out=out)


def input_gradient(width: int, batch: int) -> Call:
    """The gradient of a layer's input: real numbers times signs, by lookup."""
    from qnn_ref.bits import pack_panels
    from qnn_ref.products import BITS

    dy = np.random.default_rng(0).standard_normal((batch, width), np.float32)
    w = pack_panels(signs(width, width))
    return lambda: BITS.input_gradient(dy, w)


def weight_gradient(width: int, batch: int) -> Call:
    """The gradient of a layer's weights: signs times real numbers, by lookup."""
    from qnn_ref.bits import pack, signs_matmul, to_panels

    dy = np.random.default_rng(0).standard_normal((batch, width), np.float32)
    x = to_panels(pack(signs(width, batch)), batch)
    out = np.empty((width, width), np.float32)
    return lambda: signs_matmul(x, dy, out=out)


def packing(side: int) -> Call:
    """The signs of a matrix as bits."""
    from qnn_ref.bits import pack

    x = np.random.default_rng(0).standard_normal((side, side), np.float32)
    return lambda: pack(x)


def convolution(side: int, channels: int, batch: int) -> Call:
    """A 3x3 convolution of bits with zeros around."""
    from qnn_ref.bits import pack, pack_kernel, to_kernel_panels, xnor_conv

    x = pack(signs(batch, side, side, channels))
    w = to_kernel_panels(pack_kernel(signs(3, 3, channels, channels)), channels)
    return lambda: xnor_conv(x, w, channels, padding=1)


def _product(*size: int, quick: bool = False, name: str = "binary product") -> Work:
    return Work("product", name, " x ".join(map(str, size)), partial(product, *size), quick)


def _step(width: int, rule: str, quick: bool = False) -> Work:
    size = f"784-3x{width}-10, batch 100"
    make = partial(step, partial(mlp, width), rule, 100)
    return Work("training", f"training step, {rule}", size, make, quick, several=True)


def _prediction(width: int, images: int, quick: bool = False) -> Work:
    size = f"784-3x{width}-10, {images} image{'s' if images > 1 else ''}"
    make = partial(prediction, partial(mlp, width), images)
    return Work("inference", "packed inference", size, make, quick, several=True)


def _memory(width: int) -> Work:
    size = f"784-3x{width}-10, batch 100"
    make = partial(step, partial(mlp, width), "Adam", 100)
    return Work("memory", "memory of a training step", size, make, unit="bytes")


CIFAR10 = partial(convolutional, (128, 256, 512), (1024, 1024), 32)
SMALL = partial(convolutional, (64,), (), 16)

WORKS = (
    _product(512, 512, 512, quick=True),
    _product(100, 1000, 777),
    _product(2048, 2048, 2048),
    _product(1, 4096, 4096, quick=True, name="one vector"),
    Work("packing", "packing", "2048 x 2048", partial(packing, 2048), quick=True),
    *(
        Work("lookup", name, f"H = {width}, batch {n}", partial(make, width, n), several=n == 100)
        for width in (2048, 4096)
        for n in (100, 128)
        for name, make in (
            ("lookup product, dX", input_gradient),
            ("lookup product, dW", weight_gradient),
        )
    ),
    _step(64, "Adam", quick=True),
    _step(512, "Adam", quick=True),
    _step(2048, "Adam"),
    _step(4096, "Adam"),
    _step(512, "ShiftAdaMax"),
    _step(4096, "ShiftAdaMax"),
    Work(
        "convolution",
        "training step, small convolution",
        "16 x 16 x 64, batch 50",
        partial(step, SMALL, "Adam", 50),
        quick=True,
        several=True,
    ),
    Work(
        "convolution",
        "binary convolution 3x3",
        "100 images, 32 x 32 x 128",
        partial(convolution, 32, 128, 100),
    ),
    Work(
        "cifar10",
        "training step, cifar10-theano",
        "batch 50",
        partial(step, CIFAR10, "Adam", 50),
        several=True,
    ),
    _prediction(512, 1, quick=True),
    _prediction(512, 2000),
    _prediction(4096, 1),
    Work(
        "inference",
        "packed inference, small convolution",
        "16 x 16 x 64, 50 images",
        partial(prediction, SMALL, 50),
    ),
    _memory(2048),
    _memory(4096),
)
"""What both builds are asked for, in the order of the rows."""


class Answering:
    """One build at work: one prepared thing at a time.

    Parameters
    ----------
    works : sequence of Work
    """

    def __init__(self, works: tuple[Work, ...] = WORKS) -> None:
        self.works = works
        self.prepared: Call = int

    def answer(self, order: str, number: int, loops: int = 1) -> dict[str, Any]:
        """Do one order, "prepare", "time" or "peak"; an error is an answer too."""
        try:
            return getattr(self, order)(number, loops)  # type: ignore[no-any-return]
        except Exception as error:  # the other build goes on
            first = (str(error).strip().splitlines() or [""])[0]
            return {"error": f"{type(error).__name__}: {first}"[:200]}

    def prepare(self, number: int, loops: int) -> dict[str, Any]:
        """Make the operands, and call twice: the first call compiles."""
        self.prepared = int  # what was measured before makes room
        gc.collect()
        self.prepared = self.works[number].prepare()
        self.prepared()
        return self.time(number, loops)

    def time(self, number: int, loops: int) -> dict[str, Any]:
        """Seconds of one call, by the clock and of this process's processors."""
        start, busy = time.perf_counter(), time.process_time()
        for _ in range(loops):
            self.prepared()
        busy = time.process_time() - busy
        return {"wall": (time.perf_counter() - start) / loops, "processor": busy / loops}

    def peak(self, number: int, loops: int) -> dict[str, Any]:
        """Bytes that NumPy had at most during the second call, operands included."""
        self.prepared = int
        gc.collect()
        tracemalloc.start()
        try:
            call = self.works[number].prepare()
            call()
            tracemalloc.reset_peak()
            call()
            return {"peak": tracemalloc.get_traced_memory()[1]}
        finally:
            tracemalloc.stop()


def serve(orders: IO[str], answers: IO[str], answering: Answering) -> None:
    """Answer every line of `orders` with a line, beginning with where the build lies.

    Parameters
    ----------
    orders, answers : text files
    answering : Answering
    """
    import qnn_ref

    def say(words: dict[str, Any]) -> None:
        answers.write(json.dumps(words, allow_nan=False) + "\n")
        answers.flush()

    say({"file": qnn_ref.__file__})
    for line in orders:
        say(answering.answer(**json.loads(line)))


if __name__ == "__main__":
    serve(sys.stdin, sys.stdout, Answering())
