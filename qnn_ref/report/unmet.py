"""Goals of the bench that were not met: how far it went, what counting allows, what was tried.

What counting allows is measured in the same run: the peer's time beside that of a loop which does
the operations alone (`bench.limits`, `bench.ceiling`). Where that is below the goal, the goal was
set on another processor and no kernel of this design reaches it here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from qnn_ref.report.goals import Rows, between, grouped, wanted, what

LIMITS = "counted limit", "ceiling loop"
"""Peers that are no library but the work itself: the ratio beside them is a share of it."""

STEP = (
    "the products alone, and 28 bytes a weight for the update; above it lie batch norms, signs, "
    "masks, packing, tables. "
)
FUSED = (
    "A product formed in tiles of the update's arrays (256 x 512 to 64 x 4096) took 33 to 48 ms a "
    "layer where product and update, one after the other, take 32 to 34"
)
LOOKED_UP = (
    "look-ups and additions alone, two loads a cycle at best; tables are made, and sums lie in the "
    "second cache. 16 tables of two vectors in place of 8 of three took as long, places of entries "
    "worked out beforehand 1.4 times as long"
)
REASONS: Mapping[tuple[str, str], str] = {
    ("binary product", "NumPy float32"): "XOR, count and add are all that is left to do; NumPy has "
    "two units of 512 bits that multiply and add here, half as much on the Zen 4 of the goals",
    ("binary product", "numkong"): "XOR, count and add are all that is left to do; numkong counts "
    "by the same instruction",
    ("binary product", "ceiling loop"): "the call: checks, views and the way into compiled code "
    "(`qnn-ref bench overhead`), and words that 777 inputs do not fill",
    ("one vector", "NumPy float32"): "bytes: 2 MiB of words against 64 MiB of floats are 32 to 1, "
    "and NumPy reads its floats as fast as memory gives them",
    (
        "one vector",
        "faiss",
    ): "the words: 2 MiB in 67 us are 31 GB/s, as other calls lie between ours "
    "and they are in no near cache; the call adds 4 us of checks and the way into compiled code "
    "(`qnn-ref bench overhead`)",
    ("one vector", "numkong"): "as for faiss",
    ("lookup product, dX", "NumPy float32"): LOOKED_UP,
    ("lookup product, dW", "NumPy float32"): LOOKED_UP + "; the result, 16 or 64 MiB, is written "
    "past the caches",
    ("lookup product, dX", "commit 3e6173c"): LOOKED_UP,
    ("lookup product, dW", "commit 3e6173c"): LOOKED_UP,
    ("training step, Adam", "PyTorch float32"): STEP + FUSED,
    ("training step, Adam", "commit 3e6173c"): STEP + FUSED,
    ("training step, ShiftAdaMax", "ours with Adam"): "bytes: both rules move 28 a weight, at the "
    "pace of memory; Adam with one division in place of three gained 2 %, so that shifts have "
    "nothing to save",
    ("training step, cifar10-theano", "PyTorch float32"): STEP + "The rows of pixels are turned to "
    "lie one after the other, which takes a tenth of the step",
    ("training step, cifar10-theano", "commit 3e6173c"): STEP + "The rows of pixels are turned to "
    "lie one after the other, which takes a tenth of the step",
    ("binary convolution 3x3", "PyTorch float32"): "XOR, count and add of every tap; the border is "
    "subtracted, and windows are gathered from packed words",
    ("packed inference", "PyTorch float32"): "XOR, count and add, and for the pixels look-ups of "
    "16-bit sums; for one image reading the words, where a second thread costs more to wake than "
    "it brings",
    ("packed inference", "NumPy float32"): "the first layer, whose pixels are no signs, takes more "
    "than half. Of its time half are look-ups of 16-bit sums; spreading pixels, tables, wider sums "
    "and turning the result take 15, 8, 8 and 12 %",
    ("packed inference", "ours on one thread"): "work below 0.2 ms stays on one thread; what is "
    "left is the noise of the machine and the question itself",
    ("gradient check", "PyTorch gradcheck, fast mode"): "three directions a tensor and two steps "
    "each, against one direction and one step; at the size where every element is asked for it is "
    "the other way round",
    ("packed text", "PyTorch float32"): "gates and the choice of the character are real numbers, "
    "a step after the other",
    ("memory of a training step", "commit 3e6173c"): "latent weights and two moments are kept, "
    "the gradient by parts of 16 MB. Parts of 8, 4, 2 and 1 MB took 42.5, 44.7, 47.7 and 50.5 ms a "
    "step against 42.2",
    (
        "wait",
        "5 s",
    ): "the compiler: some thirty functions, once, named while they are compiled. Plain "
    "products meanwhile would round in another order, and one seed would give two networks",
    ("wait", "0.5 s"): "Python's own start and its imports",
}
"""What bounds a row against a peer, and what was tried, by their names."""


def unmet_markdown(bench: Mapping[str, Any]) -> str:
    """Table of the goals that were not met.

    Parameters
    ----------
    bench : dict
        As `read_bench` gives it.

    Returns
    -------
    str
        Markdown: a row for each name, peer and goal.
    """
    head = "| what | against | reached | goal | counting allows | what bounds it, what was tried |"
    lines, told = [head, "| --- | --- | --- | --- | --- | --- |"], dict[str, str]()
    for rows in grouped(row for row in bench["rows"] if row["met"] is False):
        name, peer = rows[0]["name"], rows[0]["peer_name"]
        reached, allowed = between(r["ratio"] for r in rows), between(_allowed(rows, bench["rows"]))
        reason = REASONS.get((name, peer), "")
        words = f"as for {told[reason]}" if reason in told else reason
        lines.append(f"| {' | '.join((what(rows), peer, reached, wanted(rows), allowed, words))} |")
        told.setdefault(reason, f"{name} against {peer}")
    return "\n".join(lines)


def _allowed(unmet: Rows, rows: Rows) -> Iterator[float]:
    """The ratio to the peer of a loop that does the operations alone, where there is one."""
    for row in unmet:
        same = row["name"], row["size"], row["threads"]
        for other in rows:
            limit = other["peer_name"] in LIMITS and other["peer_name"] != row["peer_name"]
            if limit and (other["name"], other["size"], other["threads"]) == same:
                yield row["ratio"] / other["ratio"]
