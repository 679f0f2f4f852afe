"""Text from a recurrent network, trained or packed: one token drawn after the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from qnn_ref._typing import Array
from qnn_ref.checks import NotFiniteError, as_array, instance, real, whole


def choose(scores: Array, temperature: float, u: float) -> int:
    r"""Token for a number u in [0, 1): the first at which :math:`\sum p` exceeds u.

    :math:`p = \mathrm{softmax}(\mathrm{scores} / \mathrm{temperature})` in float64; at 0 it is the
    largest score, the first one of equals.

    Parameters
    ----------
    scores : array (classes,)
    temperature : float
        At least 0; above 1 rare tokens become less rare.
    u : float

    Returns
    -------
    int

    Raises
    ------
    ValueError
        If a score is not finite.
    """
    if not np.isfinite(scores).all():
        raise NotFiniteError("network: its scores are not finite")
    largest = int(np.argmax(scores))
    if temperature == 0:
        return largest
    wide = scores.astype(np.float64)
    # A difference may leave float64: from 800 on p is 0 in any case.
    far = np.minimum(wide[largest] - wide, 800 * temperature)
    total = np.cumsum(np.exp(-far / temperature))
    # The sum is 1 at least and u 1 - 2^-53 at most: their product, rounded, stays below the sum.
    return int(np.searchsorted(total, u * total[-1], side="right"))


def generate_tokens(
    network: Any,
    start: Sequence[int] | Array,
    length: int,
    rng: np.random.Generator,
    temperature: float = 1.0,
) -> list[int]:
    """Draw tokens one after the other; each is what the network reads next.

    Equal networks give equal tokens: a packed one those of the trained one, for the same seed.

    Parameters
    ----------
    network : PackedSequence or Sequential
        With `forward(x, state=...)` and `final_state`.
    start : sequence of int
        Tokens that are read before the first is drawn, at least one.
    length : int
        How many are drawn.
    rng : numpy.random.Generator
        One number a token, also at temperature 0.
    temperature : float
        0 takes the likeliest token; 1 draws by the network's own probabilities.

    Returns
    -------
    list of int
        The tokens that were drawn, without the start.

    Raises
    ------
    TypeError, ValueError
        If an argument is of another kind, or the scores are not finite.
    """
    length = whole("length", length, 0)
    temperature = real("temperature", temperature, least=0)
    instance("rng", rng, np.random.Generator, "numpy.random.default_rng(0)")
    read = as_array("start", start)
    if read.ndim != 1 or read.size == 0:
        raise ValueError(f"start: expected at least one token, got shape {read.shape}")
    state, drawn = None, list[int]()
    for _ in range(length):
        scores = network.forward(read[None], state=state)
        state = network.final_state
        drawn.append(choose(scores[0, -1], temperature, rng.random()))
        read = np.array(drawn[-1:])
    return drawn
