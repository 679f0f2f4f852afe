r"""Does the straight-through gradient point downhill? A network so small that one can know.

Hidden layers of a few stochastic signs (eq. 2) have so few states that the expected loss is a sum
over all of them, and its exact gradient can be had. Beside it stands the mean of what eq. (4) gives
over the same states. The angle between the two is the answer: below 90 degrees a small step against
the straight-through gradient makes the expected loss smaller.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from typing import Any

import numpy as np

from qnn_ref._typing import Array
from qnn_ref.experiments.description import checksums
from qnn_ref.experiments.sweep import Measure, Sweep
from qnn_ref.losses import squared_hinge
from qnn_ref.quantizers import hard_sigmoid, hard_tanh_backward

UNITS = 4
"""Of every hidden layer: 16 states each."""
INPUTS = 4
IMAGES = 100
STARTS = 50
"""Networks of a seed."""
STEP = 1e-6


def states(units: int) -> Array:
    """All rows of +-1.

    Parameters
    ----------
    units : int

    Returns
    -------
    array (2^units, units)
    """
    return np.array(list(product((-1.0, 1.0), repeat=units)))


def probabilities(sums: Array, outcomes: Array) -> Array:
    r"""Probability of each outcome of a layer of stochastic signs: :math:`\prod_j P(h_j)`.

    Parameters
    ----------
    sums : array (rows, units)
        What the signs are drawn from; +1 with probability `hard_sigmoid`.
    outcomes : array (outcomes, units) of +-1

    Returns
    -------
    array (rows, outcomes)

    References
    ----------
    Eqs. (2), (3).
    """
    plus = hard_sigmoid(sums)[:, None]
    found: Array = np.where(outcomes > 0, plus, 1 - plus).prod(axis=-1)
    return found


def _losses(scores: Array, labels: Array) -> tuple[Array, Array]:
    """Squared hinge of each state's score for each image, and its slope: (images, states)."""
    losses, slopes = np.empty((len(labels), len(scores))), np.empty((len(labels), len(scores)))
    for label in (-1.0, 1.0):
        pairs = [squared_hinge(np.array([[s]]), np.array([[label]])) for s in scores]
        losses[labels == label] = [loss for loss, _ in pairs]
        slopes[labels == label] = [float(slope[0, 0]) for _, slope in pairs]
    return losses, slopes


def expected_loss(weights: Sequence[Array], x: Array, labels: Array) -> float:
    """Mean loss over the images and over everything that the signs may come out as.

    Parameters
    ----------
    weights : sequence of arrays
        Of the hidden layers, (inputs, units) each, then (units,) of the score.
    x : array (images, inputs)
    labels : array (images,) of +-1

    Returns
    -------
    float
    """
    *hidden, last = weights
    shares = probabilities(x @ hidden[0], states(hidden[0].shape[1]))
    for before, layer in pairwise(hidden):
        rows = states(before.shape[1]) @ layer
        shares = shares @ probabilities(rows, states(layer.shape[1]))
    losses, _ = _losses(states(len(last)) @ last, labels)
    return float((shares * losses).sum(axis=1).mean())


def exact_gradient(weights: Sequence[Array], x: Array, labels: Array) -> list[Array]:
    """Gradient of the expected loss, by differences: between kinks it is a polynomial.

    Parameters
    ----------
    weights, x, labels
        As `expected_loss`.

    Returns
    -------
    list of arrays
        Each as the weights.
    """
    found = []
    for k, layer in enumerate(weights):
        gradient = np.empty_like(layer)
        for place in np.ndindex(layer.shape):
            ends = []
            for step in (STEP, -STEP):
                moved = layer.copy()
                moved[place] += step
                ends.append(expected_loss([*weights[:k], moved, *weights[k + 1 :]], x, labels))
            gradient[place] = (ends[0] - ends[1]) / (2 * STEP)
        found.append(gradient)
    return found


def straight_through_gradient(
    weights: Sequence[Array], x: Array, labels: Array, saturation: float = 1.0
) -> list[Array]:
    r"""Mean of the straight-through gradient over everything that the signs may come out as.

    What comes back from above to a state h of layer k is the mean over the states that may follow,
    :math:`D_k(h) = \sum_{h'} P(h'|h)\, (D_{k+1}(h') \odot 1[|h W| \le \tau])\, W^T`.

    Parameters
    ----------
    weights, x, labels
        As `expected_loss`.
    saturation : float
        The bound of eq. (4); infinite for the plain identity.

    Returns
    -------
    list of arrays
        Each as the weights.

    References
    ----------
    Section 2.3, eq. (4); the enumeration is ours.
    """
    *hidden, last = weights
    outcomes = [states(layer.shape[1]) for layer in hidden]
    shares = [probabilities(x @ hidden[0], outcomes[0])]
    follows = []
    for k, layer in enumerate(hidden[1:]):
        follows.append(probabilities(outcomes[k] @ layer, outcomes[k + 1]))
        shares.append(shares[-1] @ follows[-1])
    _, slopes = _losses(outcomes[-1] @ last, labels)
    found = [np.einsum("is,is,su->u", shares[-1], slopes, outcomes[-1]) / len(x)]
    above = slopes[:, :, None] * last  # (images, states, units): what comes back to each state
    for k in range(len(hidden) - 1, 0, -1):
        # The mean over what follows a state, then the mask of that state's sums.
        mean = np.einsum("st,itu->isu", follows[k - 1], above)
        sums = np.broadcast_to(outcomes[k - 1] @ hidden[k], mean.shape)
        masked = hard_tanh_backward(mean, np.ascontiguousarray(sums), saturation)
        found.append(np.einsum("is,sa,isu->au", shares[k - 1], outcomes[k - 1], masked) / len(x))
        above = masked @ hidden[k].T
    mean = np.einsum("is,isu->iu", shares[0], above)
    found.append(x.T @ hard_tanh_backward(mean, x @ hidden[0], saturation) / len(x))
    return found[::-1]


def angle(a: Sequence[Array], b: Sequence[Array]) -> float:
    """Angle between two gradients of all weights together, in degrees.

    Parameters
    ----------
    a, b : sequence of arrays

    Returns
    -------
    float
        From 0 to 180; 90 where one of them is zero.
    """
    u, v = (np.concatenate([part.ravel() for part in parts]) for parts in (a, b))
    lengths = float(np.linalg.norm(u) * np.linalg.norm(v))
    cosine = float(u @ v) / lengths if lengths else 0.0
    return float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))


@dataclass(frozen=True)
class Tiny:
    """Tiny stochastic networks to be asked.

    Parameters
    ----------
    hidden : int
        Layers of stochastic signs.
    saturation : float
        Bound of the gradient's mask.
    spread : float
        Weights of hidden layers are drawn from +-spread: the larger, the more certain the signs.
    dataset, about : str
    seed, all_epochs : int
        No epoch is trained.
    """

    hidden: int
    saturation: float = 1.0
    spread: float = 0.5
    dataset: str = "digits"
    about: str = ""
    seed: int = 0
    all_epochs: int = 0


def examples(dataset: Any) -> tuple[Array, Array]:
    """The first images as the means of their quarters, from -1 to 1; odd digits are +1.

    Parameters
    ----------
    dataset : Dataset
        Of square images.

    Returns
    -------
    x : array (IMAGES, 4)
    labels : array (IMAGES,) of +-1
    """
    images = dataset.train_images[:IMAGES, ..., 0] / 127.5 - 1
    half = images.shape[1] // 2
    parts = [images[:, i : i + half, j : j + half] for i in (0, half) for j in (0, half)]
    x = np.stack([part.mean(axis=(1, 2)) for part in parts], axis=1)
    return x, np.where(dataset.train_labels[:IMAGES] % 2, 1.0, -1.0)


def ask(tiny: Tiny, dataset: Any) -> dict[str, str]:
    """Draw networks, and compare the two gradients.

    Parameters
    ----------
    tiny : Tiny
    dataset : Dataset

    Returns
    -------
    dict
        Share of the networks in percent whose mean straight-through gradient points downhill, and
        the mean angle in degrees.
    """
    x, labels = examples(dataset)
    rng, angles = np.random.default_rng(tiny.seed), []
    for _ in range(STARTS):
        sizes = [INPUTS, *[UNITS] * tiny.hidden]
        weights = [rng.uniform(-tiny.spread, tiny.spread, pair) for pair in pairwise(sizes)]
        weights.append(rng.uniform(-0.5, 0.5, UNITS))
        exact = exact_gradient(weights, x, labels)
        angles.append(angle(exact, straight_through_gradient(weights, x, labels, tiny.saturation)))
    return {
        "downhill": f"{100 * np.mean(np.array(angles) < 90):.1f}",
        "angle": f"{np.mean(angles):.2f}",
    }


def case(hidden: int, spread: float, saturation: float) -> tuple[dict[str, str], Tiny]:
    """Labels of a kind of network, and it."""
    mask = "none" if np.isinf(saturation) else f"{saturation:g}"
    labels = {"weights": f"{spread:g}", "layers": str(hidden), "mask": mask}
    return labels, Tiny(hidden, saturation if np.isfinite(saturation) else 1e9, spread)


DOWNHILL = Sweep(
    name="downhill",
    about="angle of the straight-through gradient to the exact one, tiny networks, 54 runs",
    cases=[
        case(hidden, spread, mask)
        for hidden in (1, 2, 3)
        for spread in (0.5, 1.0, 2.0)
        for mask in (1.0, np.inf)
    ],
    measure=Measure(
        columns=("downhill", "angle"),
        carry_out=ask,
        checksums=checksums,
        most=180,
        words="angle to the exact gradient / degrees",
        digits=1,
    ),
)
