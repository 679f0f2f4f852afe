"""Algorithm 1 as a loop that can be read beside the paper.

Over 400 lines: the step, the loop, and what a run is and refuses stand together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike

from qnn_ref._typing import Array, Loss
from qnn_ref.bits.threads import one_blas_thread
from qnn_ref.checks import NotFiniteError, all_finite, flag, instance, plain_array, real, whole
from qnn_ref.losses import check_labels
from qnn_ref.network import Sequential, first_not_finite
from qnn_ref.optimizers import Optimizer, clip_by_norm
from qnn_ref.progress import Bar, progress_bar
from qnn_ref.shares import binary_signs, clipped_share, flipped_share, saturated_share

__all__ = [
    "Run",
    "batches",
    "error_rate",
    "train",
    "train_step",
]
__dir__ = __all__.copy


HISTORY: Mapping[str, Mapping[str, float]] = {
    "learning_rate": {"above": 0},
    "loss": {},
    "training_error": {"least": 0, "most": 100},
    "saturated": {"least": 0, "most": 1},
    "validation_error": {"least": 0, "most": 100},
    "flipped": {"least": 0, "most": 1},
    "clipped": {"least": 0, "most": 1},
}
"""What each entry of a history holds besides its epoch, with the range of the numbers."""


@dataclass
class Run:
    """A training run: all that changes while it goes on, and all that a checkpoint keeps.

    Parameters
    ----------
    network : Sequential
    optimizer : Optimizer
    rng : numpy.random.Generator
        Shuffles the training set.
    history : list of dict
        One entry an epoch.
    best : dict of arrays
        The network's arrays after the epoch with the lowest validation error.
    best_epoch : int or None
        That epoch, from 0; of equals the later.
    """

    network: Sequential
    optimizer: Optimizer
    rng: np.random.Generator
    history: list[dict[str, float]] = field(default_factory=list)
    best: dict[str, Array] = field(default_factory=dict)
    best_epoch: int | None = None

    ranges: ClassVar[Mapping[str, Mapping[str, float]]] = HISTORY
    """Numbers of an entry of the history, with what they may be."""
    measure: ClassVar[str] = "validation_error"
    """The one of them that chooses the epoch: the lowest."""
    measured: ClassVar[str] = "{:.2f} % of the validation set wrong"
    """It in words."""

    def __post_init__(self) -> None:
        instance("network", self.network, Sequential)
        instance("optimizer", self.optimizer, Optimizer)
        instance("rng", self.rng, np.random.Generator)

    def __repr__(self) -> str:
        done = f"{len(self.history)} epochs of {self.optimizer!r}, {self.optimizer.steps} steps"
        if self.best_epoch is not None:
            error = self.history[self.best_epoch][self.measure]
            done += f", best epoch {self.best_epoch}: {self.measured.format(error)}"
        return f"<Run of {len(self.network.layers)} layers: {done}>"

    def refuse_not_finite(self) -> None:
        """Raise NotFiniteError for the first weight, statistic or moment that is no number."""
        with one_blas_thread():
            self._refuse_not_finite()

    def _refuse_not_finite(self) -> None:
        for name, parameter in self.network.parameters().items():
            all_finite(name, parameter.latent)
        for name, buffer in self.network.buffers().items():
            all_finite(name, buffer)
        for name, moments in self.optimizer.state.items():
            for moment, array in moments.items():
                all_finite(f"{name}, {moment}", array)

    def place(self) -> tuple[dict[str, Array], dict[str, Any]]:
        """Arrays and numbers that say where in an epoch the run stands: nothing between epochs."""
        return {}, {}

    def go_to(self, arrays: Mapping[str, Array], numbers: Mapping[str, Any]) -> None:
        """Go to what `place` gave, or raise ValueError if it is none of this run."""
        if arrays or numbers:
            raise ValueError(f"place: expected a run between two epochs, got {[*arrays, *numbers]}")

    def best_network(self) -> Sequential:
        """A copy of the network with the arrays of its best epoch (section 4.2's choice)."""
        network = self.network.copy()
        if self.best:
            network.set_arrays(self.best)
        return network


def train_step(
    network: Sequential,
    optimizer: Optimizer,
    loss: Loss,
    images: Array,
    labels: Array,
    state: Mapping[str, Any] | None = None,
    longest: float | None = None,
) -> tuple[float, Array]:
    """Algorithm 1: one batch forward, backward, and one update.

    Parameters
    ----------
    network : Sequential
    optimizer : Optimizer
        With the learning rate of this epoch (line 12).
    loss : function
        `(scores, labels) -> (loss, gradient of the scores)`.
    images : array (batch, ...)
    labels : array (batch,)
    state : dict, optional
        What recurrent layers begin with, as `network.final_state` gives it.
    longest : float, optional
        The gradient, of all parameters together, is shortened to this length (`clip_by_norm`).

    Returns
    -------
    cost : float
        Loss of this batch before the update, those of auxiliary classifiers included.
    scores : array (batch, classes)

    References
    ----------
    Algorithm 1, lines 1-11.
    """
    scores = network.forward(images, training=True, state=state)  # lines 1-4
    cost, gradient = loss(scores, labels)  # line 5
    for auxiliary in network.auxiliaries():
        cost += auxiliary.learn(loss, labels)
    network.backward(gradient)  # lines 6-9
    if longest is not None:
        clip_by_norm(network.parameters(), longest)
    optimizer.step(network.parameters())  # lines 10, 11
    return cost, scores


def batches(examples: int, batch_size: int, rng: np.random.Generator) -> Iterator[Array]:
    """Indices of shuffled full batches, each (batch_size,); the incomplete rest is dropped."""
    order = rng.permutation(examples)
    for start in range(0, examples - batch_size + 1, batch_size):
        yield order[start : start + batch_size]


def train(
    run: Run,
    images: Array,
    labels: Array,
    validation: tuple[Array, Array],
    *,
    loss: Loss,
    epochs: int,
    batch_size: int,
    schedule: Callable[[int], float],
    after_epoch: Callable[[Run], None] | None = None,
    progress: bool = False,
) -> Run:
    """Train until the history has `epochs` entries; a resumed run goes on where it stopped.

    The last incomplete batch of an epoch is dropped in training; none is in evaluation.

    Parameters
    ----------
    run : Run
        Changed in place.
    images : array (N, ...)
    labels : array (N,) of integers
    validation : pair of arrays
        Images and labels that choose the epoch.
    loss : function
        `(scores, labels) -> (loss, gradient)`.
    epochs : int
    batch_size : int
    schedule : function
        Learning rate of an epoch, counted from 0. It is asked for every epoch before the first
        step, so that a rate that is none is refused then, and again when its epoch comes.
    after_epoch : function, optional
        Called with the run after each epoch, for instance to save a checkpoint.
    progress : bool
        Whether to show a bar on standard error.

    Returns
    -------
    Run
        The same object.

    Raises
    ------
    TypeError, ValueError
        Before the first step, if an argument is of another kind, if images or labels do not fit
        the network, if there are fewer images than one batch, or if a learning rate is none.
    FloatingPointError
        If a number is no longer finite; no epoch is reported then, and `after_epoch` not called.

    References
    ----------
    Algorithm 1; model choice and shuffling as in section 4.2.
    """
    network, first = run.network, len(run.history)
    whole("epochs", epochs, 0)
    functions: dict[str, Any] = {"loss": loss, "schedule": schedule}
    if after_epoch is not None:
        functions["after_epoch"] = after_epoch
    for name, function in functions.items():
        if not callable(function):
            raise TypeError(f"{name}: expected a function, got {type(function).__name__}")
    flag("progress", progress)
    labels = check_examples(network, images, labels, batch_size)
    check_examples(network, *_pair(validation), 1, "validation[0]", "validation[1]")
    for epoch in range(first, epochs):
        real(f"schedule({epoch})", schedule(epoch), above=0)
    total = max(0, epochs - first) * (len(images) // batch_size)
    with progress_bar(total=total, show=progress) as bar:
        for epoch in range(first, epochs):
            run.optimizer.learning_rate = schedule(epoch)  # line 12, once an epoch
            entry = train_epoch(run, images, labels, validation, loss, batch_size, bar)
            run.history.append(entry)
            keep_best(run)
            bar.set_postfix(
                loss=f"{entry['loss']:.4f}",
                validation=f"{entry['validation_error']:.2f} %",
                refresh=False,
            )
            if after_epoch is not None:
                after_epoch(run)
    return run


def check_examples(
    network: Sequential,
    images: Any,
    labels: ArrayLike,
    batch_size: int,
    name: str = "images",
    label_name: str = "labels",
) -> Array:
    """Refuse images or labels that a network cannot learn from; return the labels as integers.

    Parameters
    ----------
    network : Sequential
        Classifies the first batch, in inference.
    images : array (N, ...)
    labels : array (N,)
    batch_size : int
        At most N.
    name, label_name : str
        What the error messages call images and labels.

    Returns
    -------
    array (N,) of int64

    Raises
    ------
    TypeError, ValueError
        Naming the argument.
    """
    plain_array(name, images)
    if images.ndim == 0 or len(images) == 0:
        raise ValueError(f"{name}: expected at least one image, got shape {images.shape}")
    whole("batch_size", batch_size, 1, len(images))
    all_finite(name, images)
    try:
        network.scores(images[:batch_size])
    except NotFiniteError:
        raise  # the images are finite: it is the network that is not
    except (ValueError, TypeError) as error:
        raise type(error)(f"{name}: {error}") from error
    return check_labels(labels, len(images), network.output_shape[-1], label_name)


def _pair(validation: Any) -> tuple[Array, Array]:
    if not isinstance(validation, tuple | list) or len(validation) != 2:
        raise TypeError("validation: expected a pair, images and labels")
    images, labels = validation
    return images, labels


def train_epoch(
    run: Run,
    images: Array,
    labels: Array,
    validation: tuple[Array, Array],
    loss: Loss,
    batch_size: int,
    bar: Bar,
) -> dict[str, float]:
    """Algorithm 1, once for every batch, and what is worth knowing afterwards.

    Parameters
    ----------
    run : Run
        Changed in place.
    images : array (N, ...)
    labels : array (N,)
    validation : pair of arrays
    loss : function
    batch_size : int
    bar : Bar
        Moved on by one each step.

    Returns
    -------
    dict
        Epoch and learning rate; means over the steps of loss, error in percent and share of hidden
        values beyond the bound; validation error in percent, shares of flipped and of clipped
        weights after the last step.

    Raises
    ------
    FloatingPointError
        If a number is not finite: it says where and when.

    References
    ----------
    Algorithm 1.
    """
    network, optimizer = run.network, run.optimizer
    signs = binary_signs(network)
    losses, errors, saturated = [], [], []
    when = f"epoch {len(run.history) + 1}, learning rate {optimizer.learning_rate:g}"
    for number, batch in enumerate(batches(len(images), batch_size, run.rng), 1):
        with explained(f"{when}, batch {number}", network, images[batch]):
            cost, scores = train_step(network, optimizer, loss, images[batch], labels[batch])
            losses.append(real("loss", cost))
        errors.append(100 * np.mean(scores.argmax(axis=1) != labels[batch]))
        saturated.append(saturated_share(network))
        bar.update()
    with explained(f"after {when}"):
        run.refuse_not_finite()
        validation_error = error_rate(network, *validation)
    return {
        "epoch": len(run.history),
        "learning_rate": optimizer.learning_rate,
        "loss": float(np.mean(losses)),
        "training_error": float(np.mean(errors)),
        "saturated": float(np.mean(saturated)),
        "validation_error": validation_error,
        "flipped": flipped_share(signs, binary_signs(network)),
        "clipped": clipped_share(network.parameters().values()),
    }


@contextmanager
def explained(
    when: str, network: Sequential | None = None, images: Array | None = None
) -> Iterator[None]:
    """Turn NotFiniteError into a FloatingPointError that says when, and where it began.

    Numbers that overflow inside give no warnings: whatever is made of them is looked at.

    Parameters
    ----------
    when : str
    network : Sequential, optional
        Whose layers are asked for the first output that is not finite.
    images : array (batch, ...), optional
        What it was shown.

    Yields
    ------
    None
    """
    try:
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            yield
    except NotFiniteError as error:
        place = None
        if network is not None and images is not None:
            place = first_not_finite(network, images, training=True)
        first = f"; the first output that is not finite is that of {place}" if place else ""
        raise FloatingPointError(f"{when}: {error}{first}") from error


def keep_best(run: Run) -> None:
    """Keep the network's arrays if the newest epoch is the best so far, or as good as the best."""
    if best_epoch(run.history, run.measure) == len(run.history) - 1:
        run.best_epoch = len(run.history) - 1
        run.best = run.network.arrays()


def best_epoch(history: list[dict[str, float]], measure: str = "validation_error") -> int:
    """The epoch with the lowest validation error (or other measure), from 0; of equals the last."""
    errors = [entry[measure] for entry in history]
    return max(epoch for epoch, error in enumerate(errors) if error == min(errors))


def error_rate(network: Any, images: Array, labels: ArrayLike, batch_size: int = 1000) -> float:
    """Share of wrongly classified images in percent: count, then divide, over all images.

    Parameters
    ----------
    network : Sequential or PackedNetwork
    images : array (N, ...)
    labels : array (N,) of integers
    batch_size : int
        Changes nothing but memory and time.

    Returns
    -------
    float

    Raises
    ------
    TypeError, ValueError
        If labels are no classes of the network, or its scores are not finite.
    """
    labels = check_labels(labels, len(images), network.output_shape[-1])
    whole("batch_size", batch_size, 1)
    wrong = np.count_nonzero(network.predict(images, batch_size) != labels)
    return 100 * int(wrong) / len(labels)
