"""Language models: Algorithm 1 along a text (section 4.4); `likelihood.py` measures them.

A text is cut into lanes that are read side by side, a window of some steps at a time. The state
that a lane ends a window with begins its next one, but no gradient goes back through it: truncated
backpropagation through time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from numpy.typing import ArrayLike

from qnn_ref._typing import Array, Loss
from qnn_ref.checks import as_array, plain_array, real, whole
from qnn_ref.layers.recurrent import Recurrent, State
from qnn_ref.losses import softmax_cross_entropy
from qnn_ref.network import Sequential
from qnn_ref.progress import Bar, progress_bar
from qnn_ref.shares import clipped_share
from qnn_ref.training import Run, explained, keep_best, train_step

__all__ = ["TextRun", "in_every_step", "train_text"]
__dir__ = __all__.copy


@dataclass(repr=False)
class TextRun(Run):
    """A run along a text: besides what every run has, where in the text it stands.

    Parameters
    ----------
    network : Sequential
        From tokens (lanes, steps) to scores (lanes, steps, symbols).
    optimizer : Optimizer
    rng : numpy.random.Generator
        Draws nothing yet: a text is read in its order.
    history : list of dict
        One entry an epoch.
    best : dict of arrays
        The network's arrays after the epoch with the fewest bits on the validation part.
    best_epoch : int or None
        That epoch, from 0; of equals the later.
    lanes : int
        Sequences that are read side by side.
    state : dict
        What the recurrent layers ended the last window with; empty at the start of an epoch.
    window : int
        Windows of this epoch that are done.
    nats : float
        Sum of the losses of this epoch's tokens so far.
    tokens : int
        How many they are.
    """

    lanes: int = 1
    state: dict[str, State] = field(default_factory=dict)
    window: int = 0
    nats: float = 0.0
    tokens: int = 0

    ranges: ClassVar[Mapping[str, Mapping[str, float]]] = {
        "learning_rate": {"above": 0},
        "training_bits": {"least": 0},
        "validation_bits": {"least": 0},
        "clipped": {"least": 0, "most": 1},
    }
    measure: ClassVar[str] = "validation_bits"
    measured: ClassVar[str] = "{:.3f} bits a symbol of the validation part"

    def place(self) -> tuple[dict[str, Array], dict[str, Any]]:
        """The state handed over, and the numbers of the epoch that is not finished."""
        arrays = {
            f"{layer}/{part}": array
            for layer, state in self.state.items()
            for part, array in enumerate(state if isinstance(state, tuple) else (state,))
        }
        return arrays, {"window": self.window, "nats": self.nats, "tokens": self.tokens}

    def go_to(self, arrays: Mapping[str, Array], numbers: Mapping[str, Any]) -> None:
        """Go to a place in the text, whose arrays must fit the recurrent layers."""
        if numbers.keys() != {"window", "nats", "tokens"}:
            raise ValueError(f"place: expected window, nats and tokens, got {sorted(numbers)}")
        window = whole("place: window", numbers["window"], 0)
        parts: dict[str, list[Array]] = {}
        for name in sorted(arrays):
            parts.setdefault(name.rpartition("/")[0], []).append(arrays[name])
        layers = dict(recurrent_layers(self.network)) if window else {}
        if parts.keys() != layers.keys():
            found = ", ".join(parts) or "none"
            raise ValueError(
                f"place: expected states of {', '.join(layers) or 'none'}, got {found}"
            )
        self.state = {
            name: layer.shown_state(
                layer.state_of(f"place: {name}", tuple(parts[name]), self.lanes)
            )
            for name, layer in layers.items()
        }
        self.window = window
        self.nats = real("place: nats", numbers["nats"], least=0)
        self.tokens = whole("place: tokens", numbers["tokens"], 0)

    def begin_epoch(self) -> None:
        """Go back to the start of the text; nothing is remembered of its end."""
        self.state, self.window, self.nats, self.tokens = {}, 0, 0.0, 0


def recurrent_layers(network: Sequential) -> Iterator[tuple[str, Recurrent]]:
    """The layers of a network that have a state, each with its place."""
    return ((at, layer) for at, layer in network.walk() if isinstance(layer, Recurrent))


def in_every_step(loss: Loss) -> Loss:
    """Make a loss of (batch, classes) one of sequences: the mean over batch and steps.

    Parameters
    ----------
    loss : function
        `(scores, labels) -> (loss, gradient)` of scores (rows, classes).

    Returns
    -------
    function
        The same of scores (batch, steps, classes) and labels (batch, steps).

    References
    ----------
    Section 4.4: the next symbol is foreseen in every step.
    """

    def of_sequences(scores: Array, labels: ArrayLike) -> tuple[float, Array]:
        plain_array("scores", scores)
        labels = as_array("labels", labels)
        if scores.ndim != 3 or labels.shape != scores.shape[:2]:
            raise ValueError(
                f"scores: expected shape (batch, steps, classes) and labels of (batch, steps), got "
                f"{scores.shape} and {labels.shape}"
            )
        cost, gradient = loss(scores.reshape(-1, scores.shape[-1]), labels.reshape(-1))
        return cost, gradient.reshape(scores.shape)

    return of_sequences


def train_text(
    run: TextRun,
    text: tuple[Array, Array],
    validation: Callable[[Sequential], float],
    *,
    epochs: int,
    steps: int,
    schedule: Callable[[int], float],
    longest: float | None = None,
    loss: Loss = softmax_cross_entropy,
    after: Callable[[TextRun], None] | None = None,
    every: int = 0,
    progress: bool = False,
) -> TextRun:
    """Train along a text until the history has `epochs` entries.

    A run that stopped in the middle of the text goes on there, in the same bits.

    Parameters
    ----------
    run : TextRun
        Changed in place.
    text : pair of arrays (lanes, length) of int64
        Tokens, and what follows each: see `datasets.tokens.lanes`.
    validation : function
        Bits a symbol of a network on the validation part.
    epochs : int
        Passes over the text.
    steps : int
        Length of a window: how far the gradient goes back. The last window of an epoch may be
        shorter.
    schedule : function
        Learning rate of an epoch, counted from 0.
    longest : float, optional
        Length to which gradients are shortened.
    loss : function
        Of one step's scores and labels; its mean over all steps is learned from.
    after : function, optional
        Called with the run after each epoch, for instance to save a checkpoint.
    every : int
        Call it after so many windows too; 0 for never.
    progress : bool
        Whether to show a bar on standard error.

    Returns
    -------
    TextRun
        The same object.

    Raises
    ------
    TypeError, ValueError
        If an argument is of another kind.
    FloatingPointError
        If a number is no longer finite.

    References
    ----------
    Algorithm 1; section 4.4. Truncation, lanes and shortening are our choice: the paper does not
    say how its language models were trained.
    """
    x, y = text
    whole("epochs", epochs, 0), whole("steps", steps, 1), whole("every", every, 0)
    if x.shape != y.shape or x.ndim != 2 or len(x) != run.lanes or not x.size:
        raise ValueError(
            f"text: expected two arrays ({run.lanes}, length), got {x.shape} and {y.shape}"
        )
    windows = -(-x.shape[1] // steps)
    if run.window >= windows:
        raise ValueError(f"run: stands behind window {run.window} of an epoch of {windows}")
    first = len(run.history)
    for epoch in range(first, epochs):
        real(f"schedule({epoch})", schedule(epoch), above=0)
    total = max(0, epochs - first) * windows
    with progress_bar(total=total, unit="window", show=progress) as bar:
        bar.update(run.window if first < epochs else 0)
        for epoch in range(first, epochs):
            run.optimizer.learning_rate = schedule(epoch)  # line 12, once an epoch
            text_epoch(run, x, y, steps, in_every_step(loss), longest, bar, after, every)
            with explained(f"after epoch {epoch + 1}"):
                run.refuse_not_finite()
                run.history.append(
                    {
                        "epoch": epoch,
                        "learning_rate": run.optimizer.learning_rate,
                        "training_bits": run.nats / run.tokens / math.log(2),
                        "validation_bits": validation(run.network),
                        "clipped": clipped_share(run.network.parameters().values()),
                    }
                )
            keep_best(run)
            run.begin_epoch()
            bar.set_postfix(bits=f"{run.history[-1]['validation_bits']:.3f}", refresh=False)
            if after is not None:
                after(run)
    return run


def text_epoch(
    run: TextRun,
    x: Array,
    y: Array,
    steps: int,
    loss: Loss,
    longest: float | None,
    bar: Bar,
    after: Callable[[TextRun], None] | None,
    every: int,
) -> None:
    """Algorithm 1, once for every window that is left of an epoch, each state handed to the next.

    Parameters
    ----------
    run : TextRun
        Changed in place.
    x, y : arrays (lanes, length) of int64
    steps : int
    loss : function
        Of scores (lanes, steps, symbols) and labels (lanes, steps).
    longest : float or None
    bar : Bar
        Moved on by one each window.
    after : function or None
    every : int

    References
    ----------
    Algorithm 1.
    """
    starts = range(0, x.shape[1], steps)
    for number in range(run.window, len(starts)):
        window = slice(starts[number], starts[number] + steps)
        when = f"epoch {len(run.history) + 1}, window {number + 1}"
        with explained(when, run.network, x[:, window]):
            cost, _ = train_step(
                run.network,
                run.optimizer,
                loss,
                x[:, window],
                y[:, window],
                state=run.state or None,
                longest=longest,
            )
            run.nats += real("loss", cost) * x[:, window].size
        run.state = run.network.final_state
        run.tokens += x[:, window].size
        run.window = number + 1
        bar.update()
        if after is not None and every and run.window % every == 0 and run.window < len(starts):
            with explained(when):
                run.refuse_not_finite()
            after(run)
