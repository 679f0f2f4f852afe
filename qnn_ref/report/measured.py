"""Section 6: products and networks on bits, timed by `qnn-ref bench`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from qnn_ref.experiments import RECIPES, TEXT_RECIPES, Recipe, TextRecipe
from qnn_ref.experiments.effort import training_operations, training_steps
from qnn_ref.files import FileError, open_regular, strict_json
from qnn_ref.report.rows import Row, Table
from qnn_ref.report.stored import check_bench, check_rows

BENCH, AGAINST = "bench.json", "against.json"
STEPS: Mapping[str, tuple[str, str, Recipe | TextRecipe]] = {
    "mnist-theano": ("training step, Adam", "784-3x4096-10, batch 100", RECIPES["mnist-theano"]),
    "cifar10-theano": ("training step, cifar10-theano", "batch 50", RECIPES["cifar10-theano"]),
    "ptb-char-rnn-2-4": (
        *("training step, character RNN", "2048 units, batch 50, 50 steps"),
        TEXT_RECIPES["ptb-char-rnn-2-4"],
    ),
}
"""Rows of the bench that are steps of a recipe."""
COMMAND = "qnn-ref bench --json > bench.json"
AGAINST_COMMAND = "qnn-ref bench --against 3e6173c --json > against.json"
GPU = (
    "not run here: no graphics processor was at hand (the paper's is a GTX 750), and our kernels "
    "for one ran in a simulator only; the same comparison on a processor stands below"
)


def read_bench(folder: Path) -> dict[str, Any]:
    """The stored run of `qnn-ref bench --json`, with the rows of that beside an older build.

    Parameters
    ----------
    folder : Path
        Of the results.

    Returns
    -------
    dict

    Raises
    ------
    FileError
        If it is not there, or not what the bench writes.
    """
    found = _read(folder / BENCH, COMMAND, _check_bench)
    older = _read(folder / AGAINST, AGAINST_COMMAND, check_rows)
    return found | {"rows": [*found["rows"], *older["rows"]]}


def _check_bench(answer: Any) -> None:
    check_bench(answer)
    for name, size, _ in STEPS.values():
        if _find(answer["rows"], name, size, "PyTorch float32") is None:
            raise ValueError(f"rows: none is of {name}, {size}, one thread, PyTorch float32")


def _read(path: Path, command: str, check: Callable[[Any], None]) -> dict[str, Any]:
    with open_regular(path) as file:
        text = file.read()
    try:
        answer: dict[str, Any] = strict_json(text)
    except ValueError as error:
        raise FileError(f"{path}: damaged: {error}") from error
    try:
        check(answer)
    except (TypeError, ValueError) as error:
        raise FileError(f"{path}: not a whole answer of `{command}`: {error}") from error
    return answer


def machine_words(bench: Mapping[str, Any]) -> str:
    """Name of the processor with what its vectors can do."""
    machine = bench["machine"]
    wide = "AVX-512" if any("avx512" in f for f in machine["features"]) else "AVX2"
    count = ", vector popcount" if "avx512vpopcntdq" in machine["features"] else ""
    return f"{machine['cpu']} ({machine['architecture']}, {wide}{count}), {machine['cores']} cores"


def training_hours(recipe: Recipe | TextRecipe, bench: Mapping[str, Any]) -> float:
    """Hours of a recipe on one thread, by the pace of the measured step that is most like it.

    Parameters
    ----------
    recipe : Recipe or TextRecipe
    bench : dict

    Returns
    -------
    float
    """
    if isinstance(recipe, TextRecipe):
        like = "ptb-char-rnn-2-4"
    else:
        like = "cifar10-theano" if recipe.convolutions else "mnist-theano"
    name, size, measured = STEPS[like]
    step = _find(bench["rows"], name, size, "PyTorch float32")
    pace = training_operations(measured) / training_steps(measured) / step["ours"]
    return float(training_operations(recipe) / pace / 3600)


PAPER = (
    ("8192 x 8192 x 8192, XNOR against the baseline kernel, GPU", "23"),
    ("the same against cuBLAS, GPU", "3.4"),
    ("784-3x4096-10, 10,000 images, against the baseline kernel, GPU", "7"),
)
"""What the paper measured, and its factor."""


def section_6(bench: Mapping[str, Any]) -> Table:
    """The paper's three factors, and ours of the same kind."""
    machine = machine_words(bench)
    rows = [
        *(Row(what, at, sentence=GPU, command="qnn-ref bench cuda") for what, at in PAPER),
        Row(
            "test error on bits beside that on floats",
            "unchanged",
            "unchanged",
            sentence="a packed network has the scores of the trained one, bit for bit; the command "
            "counts them on MNIST",
            command="qnn-ref demo",
        ),
        *_ladder_row(bench, machine),
        *_bench_rows(bench, machine),
    ]
    return Table("section-6", "Section 6: times as fast", "times as fast", tuple(rows))


def _ladder_row(bench: Mapping[str, Any], machine: str) -> list[Row]:
    paces = {
        rung["name"]: rung["tops"] for rung in bench["ladder"] if not rung["peer"] and rung["tops"]
    }
    slow = paces.get("fast_float_loops") or paces.get("float_loops")
    if not slow:
        return []
    best = max(paces.values())
    return [
        Row(
            "binary product, best kernel of the ladder, against float loops that may use vectors",
            ours=f"{best / slow:.0f}",
            data=machine,
            sentence="the counterpart of the paper's 23: against a plain kernel, not against BLAS; "
            "loops in strict order are slower still",
            command="qnn-ref bench ladder",
        )
    ]


WANTED = (
    ("binary product", "8192 x 8192 x 8192", "NumPy float32", "the counterpart of the paper's 3.4"),
    ("binary product", "4096 x 4096 x 4096", "NumPy float32", "against BLAS"),
    ("binary product", "4096 x 4096 x 4096", "faiss", "against bits in another library"),
    ("packed inference", "784-3x4096-10, 10000 images", "PyTorch float32",
     "the counterpart of the paper's 7, but against a tuned library; its first layer works on bit "
     "planes of the pixels, so it is counted too"),
    ("packed inference", "784-3x4096-10, 1 image", "PyTorch float32", "one image"),
    ("training step, Adam", "784-3x4096-10, batch 100", "PyTorch float32",
     "the paper trains with float kernels: this is ours alone"),
    ("binary convolution 3x3", "100 images, 32 x 32 x 128", "PyTorch float32",
     "the paper has no convolution on bits"),
)  # fmt: skip


def _bench_rows(bench: Mapping[str, Any], machine: str) -> list[Row]:
    rows = []
    for name, size, peer, sentence in WANTED:
        found = _find(bench["rows"], name, size, peer)
        if found is None:
            continue
        rows.append(
            Row(
                f"{name}, {size}, against {peer}",
                ours=f"{found['ratio']:.2f}",
                data=machine,
                sentence=f"{sentence}; one thread",
                command=COMMAND,
            )
        )
    return rows


def _find(rows: Sequence[Mapping[str, Any]], name: str, size: str, peer: str) -> Any:
    for row in rows:
        same = (row["name"], row["size"], row["threads"], row["peer_name"])
        if same == (name, size, 1, peer) and row["ratio"] is not None:
            return row
    return None
