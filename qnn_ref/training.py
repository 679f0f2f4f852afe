"""Algorithm 1 as a loop that can be read beside the paper."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qnn_ref.layers import Quantize
from qnn_ref.losses import check_labels
from qnn_ref.network import Sequential
from qnn_ref.optimizers import Optimizer, clipped_share
from qnn_ref.progress import Bar, progress_bar
from qnn_ref.quantizers import Sign

Array = NDArray[Any]
Loss = Callable[[Array, ArrayLike], tuple[float, Array]]


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

    def best_network(self) -> Sequential:
        """A copy of the network with the arrays of its best epoch (section 4.2's choice)."""
        network = self.network.copy()
        if self.best:
            network.set_arrays(self.best)
        return network


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
        Learning rate of an epoch, counted from 0.
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
    ValueError
        If there are fewer images than one batch, or labels that do not fit.

    Source
    ------
    Algorithm 1; model choice and shuffling as in section 4.2.
    """
    network = run.network
    if not 1 <= batch_size <= len(images):
        raise ValueError(f"batch_size: expected 1 to {len(images)} (all images), got {batch_size}")
    classes = network.output_shape[-1]
    labels = check_labels(labels, len(images), classes)
    check_labels(validation[1], len(validation[0]), classes, "validation[1]")
    if len(validation[0]) == 0:
        raise ValueError("validation: expected at least one image, got none")
    first, steps = len(run.history), len(images) // batch_size
    total = max(0, epochs - first) * steps
    with progress_bar(total=total, show=progress) as bar:
        for epoch in range(first, epochs):
            run.optimizer.learning_rate = schedule(epoch)  # line 12, once an epoch
            signs = binary_signs(network)
            means = train_epoch(run, images, labels, loss, batch_size, bar)
            entry = {
                "epoch": epoch,
                "learning_rate": run.optimizer.learning_rate,
                **means,
                "validation_error": error_rate(network, *validation),
                "flipped": flipped_share(signs, binary_signs(network)),
                "clipped": clipped_share(network.parameters().values()),
            }
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


def train_epoch(
    run: Run, images: Array, labels: Array, loss: Loss, batch_size: int, bar: Bar
) -> dict[str, float]:
    """Algorithm 1, once for every batch.

    Parameters
    ----------
    run : Run
        Changed in place.
    images : array (N, ...)
    labels : array (N,)
    loss : function
    batch_size : int
    bar : Bar
        Moved on by one each step.

    Returns
    -------
    dict
        Means over the steps: loss, error in percent, share of hidden values beyond the bound.

    Raises
    ------
    FloatingPointError
        If the loss is not finite.

    Source
    ------
    Algorithm 1, lines 1-11.
    """
    network, optimizer = run.network, run.optimizer
    losses, errors, saturated = [], [], []
    for batch in batches(len(images), batch_size, run.rng):
        scores = network.forward(images[batch], training=True)  # lines 1-4
        cost, gradient = loss(scores, labels[batch])  # line 5
        for auxiliary in network.auxiliaries():
            cost += auxiliary.learn(loss, labels[batch])
        if not np.isfinite(cost):
            raise FloatingPointError(f"the loss is {cost} in step {optimizer.steps + 1}")
        network.backward(gradient)  # lines 6-9
        optimizer.step(network.parameters())  # lines 10, 11
        losses.append(cost)
        errors.append(100 * np.mean(scores.argmax(axis=1) != labels[batch]))
        saturated.append(saturated_share(network))
        bar.update()
    return {
        "loss": float(np.mean(losses)),
        "training_error": float(np.mean(errors)),
        "saturated": float(np.mean(saturated)),
    }


def keep_best(run: Run) -> None:
    """Keep the network's arrays if the newest epoch is the best so far, or as good as the best."""
    errors = [entry["validation_error"] for entry in run.history]
    if run.best_epoch is None or errors[-1] <= errors[run.best_epoch]:
        run.best_epoch = len(errors) - 1
        run.best = run.network.arrays()


def error_rate(network: Any, images: Array, labels: Array, batch_size: int = 1000) -> float:
    """Share of wrongly classified images in percent: count, then divide, over all images.

    Parameters
    ----------
    network : Sequential or PackedNetwork
    images : array (N, ...)
    labels : array (N,)
    batch_size : int
        Changes nothing but memory and time.

    Returns
    -------
    float
    """
    if np.shape(labels) != (len(images),):
        raise ValueError(f"labels: expected shape ({len(images)},), got {np.shape(labels)}")
    wrong = np.count_nonzero(network.predict(images, batch_size) != labels)
    return 100 * int(wrong) / len(labels)


def binary_signs(network: Sequential) -> list[Array]:
    """Signs of all quantized weights, as boolean arrays."""
    return [p.latent >= 0 for p in network.parameters().values() if p.quantizer is not None]


def flipped_share(before: list[Array], after: list[Array]) -> float:
    """Share of weights whose sign differs between two moments; 0 without quantized weights."""
    flips = sum(int(np.count_nonzero(a != b)) for a, b in zip(before, after, strict=True))
    return flips / max(1, sum(a.size for a in before))


def saturated_share(network: Sequential) -> float:
    """Share of hidden values with abs(a) above the bound in the last training forward, eq. (4).

    There the mask stops the gradient. 0 for a network without sign activations.
    """
    outside, total = 0, 0
    for _, layer in network.walk():
        if isinstance(layer, Quantize) and isinstance(layer.quantizer, Sign):
            a = layer.saved()[0]
            outside += int(np.count_nonzero(np.abs(a) > layer.quantizer.saturation))
            total += a.size
    return outside / max(1, total)
