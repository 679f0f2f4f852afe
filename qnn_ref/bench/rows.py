"""Rows of the answer, and the goals that they are held against."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from qnn_ref.bench.measure import Call, Timing, interleave, reason

OURS = "ours"

CEILING = "ceiling loop"
COUNTED = "counted limit"
SWEEP = "read-only sweep"
NUMPY = "NumPy float32"
TORCH = "PyTorch float32"
TORCH_INT8 = "PyTorch int8"
TORCH_COMPILED = "PyTorch compiled"
FAISS = "faiss"
NUMKONG = "numkong"
BNN_LAB = "bnn-lab"
ONNX = "onnxruntime float32"
ONNX_INT8 = "onnxruntime int8"
ONNX_EXACT = "onnxruntime, exported file"
C_PROGRAM = "C, cc -O2"
C_NATIVE = "C, cc -O3 -march=native"
CUBLAS = "cuBLAS float32"
CUDA_BASELINE = "baseline kernel"
CUDA_THREADS = "one thread an output"
ADAM = "ours with Adam"
BEFORE = "commit 3e6173c"
BY_WORDS = "ours by words"
ONE_THREAD = "ours on one thread"
GRADCHECK = "PyTorch gradcheck"
GRADCHECK_FAST = "PyTorch gradcheck, fast mode"
ARRAYS = "latent + two moments + gradient"
LIMIT = "1.2 GB"
FIVE_SECONDS, HALF_A_SECOND = "5 s", "0.5 s"

APPROXIMATIONS = {
    ONNX: "approximation: batch norms are folded into products, so ties may fall otherwise",
    ONNX_INT8: "approximation: 8-bit products of rounded numbers",
}
"""Peers that do not give our results, and why; every row with one of them says so."""

OF_LIMIT = "ratio is the share of the limit"
"""What a row beside `COUNTED` says: see `limits`."""

COMPILED = (
    *(OURS, CEILING, COUNTED, SWEEP, ADAM, TORCH_COMPILED, BY_WORDS, ONE_THREAD),
    *(CUDA_BASELINE, CUDA_THREADS),
)
"""Candidates whose first call compiles."""


@dataclass(frozen=True)
class Goal:
    """A ratio that a row should reach.

    Parameters
    ----------
    row : str
        Name of the row.
    peers : tuple of str
        What ours is compared with.
    value : float
        The ratio.
    sizes : tuple of str
        Sizes that it holds for.
    threads : tuple of int
        Numbers of threads that it holds for; none for any number.
    most : bool
        Whether the ratio should stay below it.
    """

    row: str
    peers: tuple[str, ...]
    value: float
    sizes: tuple[str, ...]
    threads: tuple[int, ...] = ()
    most: bool = False


LARGE = "4096 x 4096 x 4096"
OTHER_PRODUCTS = (
    "512 x 512 x 512",
    "1024 x 1024 x 1024",
    "2048 x 2048 x 2048",
    "8192 x 8192 x 8192",
    "100 x 4096 x 4096",
    "102400 x 128 x 1152",
    "100 x 1000 x 777",
)
GRADIENTS = (
    "H = 2048, batch 128",
    "H = 2048, batch 100",
    "H = 4096, batch 128",
    "H = 4096, batch 100",
)
STEPS = ("784-3x2048-10, batch 100", "784-3x4096-10, batch 100")
CONVOLUTIONS = (
    "100 images, 32 x 32 x 128",
    "100 images, 16 x 16 x 256",
    "100 images, 8 x 8 x 512",
)
CHECKED = ("784-3x512-10, batch 32", "49-3x32-10, batch 32")
PRODUCT_PEERS = (TORCH, TORCH_INT8, FAISS, NUMKONG)

GOALS = (
    Goal("binary product", (CEILING,), 0.9, (LARGE,), (1,)),
    Goal("binary product", (NUMPY,), 20, (LARGE,), (1,)),
    Goal("binary product", (NUMKONG,), 1.3, (LARGE,), (1,)),
    Goal("binary product", (FAISS,), 1.6, (LARGE,), (1,)),
    Goal("binary product", (TORCH, TORCH_INT8), 1.2, (LARGE,), (1,)),
    Goal("binary product", (NUMPY,), 15, OTHER_PRODUCTS, (1,)),
    Goal("binary product", PRODUCT_PEERS, 1.2, OTHER_PRODUCTS, (1,)),
    Goal("binary product", (CEILING,), 0.75, ("512 x 512 x 512", "100 x 1000 x 777"), (1,)),
    Goal("binary product", (CEILING,), 0.7, ("102400 x 128 x 1152",), (1,)),
    Goal("one vector", (FAISS, NUMKONG), 1, ("1 x 4096 x 4096",), (1,)),
    Goal("one vector", (NUMPY,), 100, ("1 x 4096 x 4096",), (1,)),
    Goal("packing", (SWEEP,), 0.9, ("4096 x 4096",), (1,)),
    Goal("lookup product, dX", (NUMPY,), 2.8, GRADIENTS, (1,)),
    Goal("lookup product, dW", (NUMPY,), 2.8, GRADIENTS, (1,)),
    Goal("training step, Adam", (TORCH,), 5, STEPS[:1]),
    Goal("training step, Adam", (TORCH,), 7, STEPS[1:]),
    Goal("training step, ShiftAdaMax", (ADAM,), 1, STEPS),
    Goal("binary convolution 3x3", (TORCH,), 14, CONVOLUTIONS),
    Goal("training step, cifar10-theano", (TORCH,), 3, ("batch 50",)),
    Goal("packed inference", (TORCH,), 12, ("784-3x4096-10, 10000 images",)),
    Goal("packed inference", (TORCH,), 20, ("784-3x4096-10, 1 image",)),
    Goal("packed inference", (ONE_THREAD,), 1, ("784-3x4096-10, 1 image",), (2,)),
    Goal("packed inference", (NUMPY,), 4, ("784-3x512-10, 10000 images",), (1,)),
    Goal("wait", (FIVE_SECONDS,), 1, ("first training step, no kernel compiled",), most=True),
    Goal("wait", (HALF_A_SECOND,), 1, ("qnn-ref --help", "qnn-ref equations"), most=True),
    Goal("exported network", (ONNX_EXACT,), 5, ("mnist, 1000 images",), (1,)),
    Goal("exported network", (C_PROGRAM, C_NATIVE), 1.3, ("mnist, 1 image",), (1,), most=True),
    Goal("gradient check", (GRADCHECK_FAST,), 5, CHECKED[:1]),
    Goal("gradient check", (GRADCHECK,), 5, CHECKED[1:]),
    Goal("training step, character RNN", (TORCH,), 1, ("2048 units, batch 50, 50 steps",)),
    Goal("packed text", (TORCH,), 5, ("2048 units, 1000 characters",)),
    Goal("memory of a training step", (ARRAYS,), 1.2, STEPS),
    Goal("memory of a training step", (LIMIT,), 1, ("cifar10-theano, batch 50",)),
    Goal("memory of an evaluation", (LIMIT,), 1, ("cifar10-theano, 1000 images",)),
    Goal("training step, Adam", (BEFORE,), 1.5, STEPS[:1]),
    Goal("training step, Adam", (BEFORE,), 1.6, STEPS[1:], (1,)),
    Goal("training step, Adam", (BEFORE,), 2.4, STEPS[1:], (2,)),
    Goal("training step, cifar10-theano", (BEFORE,), 1.6, ("batch 50",)),
    Goal("lookup product, dX", (BEFORE,), 1.45, GRADIENTS),
    Goal("lookup product, dW", (BEFORE,), 1.45, GRADIENTS),
    Goal("memory of a training step", (BEFORE,), 0.85, STEPS),
)
"""Ratios on a two-core Zen 4 with vector popcount; those of memory are upper bounds."""


@dataclass(frozen=True)
class Row:
    """One measured comparison.

    Parameters
    ----------
    name : str
        What is measured.
    size : str
        Of which size; products as M x N x K.
    threads : int
        Of both sides.
    ours : float or None
        Median, in `unit`; None if it could not run.
    ours_spread : tuple of float or None
        Quartiles.
    peer_name : str
        What it is compared with.
    peer : float or None
        Its median; None if it did not run.
    peer_spread : tuple of float or None
        Its quartiles.
    ratio : float or None
        How many times faster than the peer, or the share of a limit.
    unit : str
        Of `ours` and `peer`: "s" or "bytes".
    note : str
        What else a reader must know, or why the peer did not run.
    ratio_spread : tuple of float or None
        Quartiles of the ratio, where it was formed in each round.
    """

    name: str
    size: str
    threads: int
    ours: float | None
    ours_spread: tuple[float, float] | None
    peer_name: str
    peer: float | None
    peer_spread: tuple[float, float] | None
    ratio: float | None
    unit: str = "s"
    note: str = ""
    ratio_spread: tuple[float, float] | None = None

    @property
    def goal(self) -> float | None:
        """The ratio that this row should reach; None if there is none."""
        return None if self._goal is None else self._goal.value

    @property
    def _goal(self) -> Goal | None:
        for goal in GOALS:
            if (
                goal.row == self.name
                and self.peer_name in goal.peers
                and self.size in goal.sizes
                and self.threads in (goal.threads or (self.threads,))
            ):
                return goal
        return None

    @property
    def met(self) -> bool | None:
        """Whether the goal is reached; memory must stay below its goal."""
        goal = self._goal
        if goal is None or self.ratio is None:
            return None
        most = goal.most or self.unit == "bytes"
        return self.ratio <= goal.value if most else self.ratio >= goal.value

    def to_json(self) -> dict[str, Any]:
        """The row as plain values."""
        return asdict(self) | {"goal": self.goal, "met": self.met}


@dataclass(frozen=True)
class Settings:
    """How to measure.

    Parameters
    ----------
    repeats : int
        Rounds of a measurement.
    budget : float
        Seconds after which a measurement begins no new round.
    quick : bool
        Smaller sizes, for a first look.
    threads : int or None
        Threads of every row; None for those of the goals.
    cores : int
        Processor cores that this process may use.
    say : function
        Told what is measured now.
    """

    repeats: int = 9
    budget: float = 4.0
    quick: bool = False
    threads: int | None = None
    cores: int = 1
    say: Callable[[str], None] = field(default=lambda line: None)

    def counts(self, several: bool) -> tuple[int, ...]:
        """Threads to measure with: one, or one and two where the machine has them."""
        if self.threads is not None:
            return (self.threads,)
        return (1, 2) if several and self.cores > 1 else (1,)


def compare(
    name: str,
    size: str,
    threads: int,
    ours: Call,
    peers: Mapping[str, Callable[[], Call]],
    settings: Settings,
    notes: Mapping[str, str] | None = None,
    scales: Mapping[str, float] | None = None,
) -> list[Row]:
    """Time ours and its peers side by side: a row for each peer.

    Parameters
    ----------
    name, size : str
        What is measured, and of which size.
    threads : int
        Threads that both sides use; the caller has set them.
    ours : function
        Our form, without arguments.
    peers : mapping of str to function
        Each prepares a peer and returns the function to be timed; one that raises an error is
        missing, and its row says why.
    settings : Settings
    notes : mapping of str to str, optional
        Notes for the rows of some peers.
    scales : mapping of str to float, optional
        For a peer that does other work than ours: how many times as much ours has to do.

    Returns
    -------
    list of Row
    """
    settings.say(f"{name}, {size}, {threads} thread{'s' if threads > 1 else ''}")
    ours()  # if this fails it is a bug, and no row
    calls: dict[str, Call] = {OURS: ours}
    missing: dict[str, str] = {}
    for peer, prepare in peers.items():
        try:
            calls[peer] = prepare()
        except Exception as error:  # a peer that is missing makes a row that says so
            missing[peer] = reason(error)
    measured = interleave(calls, settings.repeats, settings.budget, COMPILED)
    missing |= measured.failures
    rows = []
    for peer in peers:
        found = measured.timings.get(peer)
        if found is not None:
            found = found.scaled((scales or {}).get(peer, 1.0))
        says = APPROXIMATIONS.get(peer), (notes or {}).get(peer), missing.get(peer)
        note = "; ".join(filter(None, says))
        rows.append(timed_row(name, size, threads, measured.timings[OURS], peer, found, note))
    return rows


def timed_row(
    name: str, size: str, threads: int, ours: Timing, peer_name: str, peer: Timing | None, note: str
) -> Row:
    """A row of two timings; without the peer's it has no ratio."""
    return Row(
        name,
        size,
        threads,
        ours.median,
        (ours.low, ours.high),
        peer_name,
        None if peer is None else peer.median,
        None if peer is None else (peer.low, peer.high),
        None if peer is None else peer.median / ours.median,
        note=note,
    )
