"""Losses as `(scores, targets) -> (loss, gradient of the scores)` (section 4.2 and 4.3)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from qnn_ref._typing import Array
from qnn_ref.checks import NotFiniteError, all_finite, as_array

__all__ = ["softmax_cross_entropy", "squared_hinge"]
__dir__ = __all__.copy


def check_labels(labels: ArrayLike, examples: int, classes: int, name: str = "labels") -> Array:
    """Return labels as integers (batch,), or say what is wrong with them.

    Parameters
    ----------
    labels : array (batch,)
        Whole numbers from 0 to classes - 1.
    examples : int
        How many there must be.
    classes : int
        Number of classes.
    name : str
        What the error message calls them.

    Returns
    -------
    array (batch,) of int64

    Raises
    ------
    TypeError
        If they are not integers.
    ValueError
        If their number or their range is wrong.

    References
    ----------
    Not in the paper.
    """
    labels = _as_array(labels, name)
    if not np.issubdtype(labels.dtype, np.integer):
        raise TypeError(f"{name}: expected integers, got {labels.dtype}")
    if labels.shape != (examples,):
        raise ValueError(f"{name}: expected shape ({examples},), got {labels.shape}")
    if labels.size and not (labels.min() >= 0 and labels.max() < classes):
        raise ValueError(
            f"{name}: expected 0 to {classes - 1}, got {labels.min()} to {labels.max()}"
        )
    return labels.astype(np.int64)


def _as_array(labels: ArrayLike, name: str) -> Array:
    """An array of labels; a list with truth values is none, though NumPy would count them."""
    if isinstance(labels, list | tuple) and any(isinstance(v, bool | np.bool_) for v in labels):
        raise TypeError(f"{name}: expected integers, got bool among them")
    return as_array(name, labels)


def _check_scores(scores: Array) -> Array:
    scores = as_array("scores", scores)
    if scores.ndim != 2 or 0 in scores.shape:
        raise ValueError(
            f"scores: expected a filled (batch, classes) array, got shape {scores.shape}"
        )
    if scores.dtype not in (np.float32, np.float64):
        raise TypeError(f"scores: expected float32 or float64, got {scores.dtype}")
    all_finite("scores", scores)
    return scores


def _check_loss(loss: Any, scores: Array) -> float:
    if not np.isfinite(loss):
        largest = np.abs(scores).max()
        raise NotFiniteError(f"scores: up to {largest:g}; their loss is beyond {scores.dtype}")
    return float(loss)


def signed_targets(targets: ArrayLike, shape: tuple[int, ...], dtype: Any) -> Array:
    """Targets +-1 from labels: +1 at the right class, -1 elsewhere; +-1 targets pass through.

    Parameters
    ----------
    targets : array (batch,) of integer labels, or (batch, classes) of +-1
    shape : tuple
        The shape (batch, classes) of the scores.
    dtype : dtype
        Float type of the result.

    Returns
    -------
    array (batch, classes) of +-1

    Raises
    ------
    ValueError
        If a two-dimensional target is not +-1. Targets 0 and 1 would silently give another loss.

    References
    ----------
    Section 4.2 (targets +-1 of the L2-SVM output).
    """
    targets = _as_array(targets, "targets")
    if targets.ndim == 2:
        if targets.shape != shape:
            raise ValueError(f"targets: expected shape {shape}, got {targets.shape}")
        if not np.all(np.abs(targets) == 1):
            raise ValueError(
                "targets: expected -1 and +1 (or integer labels), got values such as "
                f"{targets[np.abs(targets) != 1].flat[0]}; the hinge needs signed targets"
            )
        return targets.astype(dtype)
    labels = check_labels(targets, shape[0], shape[1], "targets")
    signed = np.full(shape, -1, dtype)
    signed[np.arange(shape[0]), labels] = 1
    return signed


def squared_hinge(scores: Array, targets: ArrayLike) -> tuple[float, Array]:
    r"""Squared hinge (L2-SVM), averaged over batch and classes.

    :math:`C = \frac{1}{nM} \sum_{i,c} \max(0, 1 - y_{ic} a_{ic})^2` with M examples, n classes,
    and :math:`\partial C / \partial a = -\frac{2}{nM}\, y \max(0, 1 - y a)`.

    Parameters
    ----------
    scores : array (batch, classes)
        Real outputs a of the network.
    targets : array (batch,) of integer labels, or (batch, classes) of +-1

    Returns
    -------
    loss : float
    gradient : array (batch, classes), the dtype of `scores`

    Raises
    ------
    ValueError
        If shapes, labels or targets are wrong, or a score or the loss is not finite; 0/1 targets
        are refused.

    References
    ----------
    Section 4.2, the loss of the MNIST, CIFAR-10 and SVHN recipes.
    """
    scores = _check_scores(scores)
    y = signed_targets(targets, scores.shape, scores.dtype)
    slack = np.maximum(0, 1 - y * scores)
    with np.errstate(over="ignore"):
        loss = np.mean(slack * slack, dtype=np.float64)
    return _check_loss(loss, scores), y * slack * scores.dtype.type(-2 / scores.size)


def softmax_cross_entropy(scores: Array, labels: ArrayLike) -> tuple[float, Array]:
    r"""Softmax and negative log-likelihood, averaged over the batch.

    :math:`C = -\frac1M \sum_i \log p_{i,y_i}`, :math:`p = \mathrm{softmax}(a)`, and
    :math:`\partial C / \partial a = (p - \mathrm{onehot}(y)) / M`. The maximum is subtracted from
    the scores first, so that scores of 1e8 neither overflow nor lose the logarithm.

    Parameters
    ----------
    scores : array (batch, classes)
        Real outputs a of the network (logits).
    labels : array (batch,)
        Integer classes.

    Returns
    -------
    loss : float
        In nats an example.
    gradient : array (batch, classes), the dtype of `scores`

    Raises
    ------
    ValueError
        If shapes or labels are wrong, or a score or the loss is not finite.

    References
    ----------
    Section 4.3 (negative log-likelihood of the ImageNet networks).
    """
    scores = _check_scores(scores)
    labels = check_labels(labels, *scores.shape)
    with np.errstate(over="ignore"):
        shifted = scores - scores.max(axis=1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    rows = np.arange(len(labels))
    loss = -np.mean(log_p[rows, labels], dtype=np.float64)
    gradient = np.exp(log_p)
    gradient[rows, labels] -= 1
    gradient /= len(labels)
    return _check_loss(loss, scores), gradient
