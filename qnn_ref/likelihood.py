"""How well a language model foresees each symbol: bits a character, perplexity a word (4.4)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from qnn_ref._typing import Array
from qnn_ref.checks import NotFiniteError, as_array, real, whole
from qnn_ref.losses import check_labels

__all__ = ["bits_per_symbol", "perplexity", "text_nats"]
__dir__ = __all__.copy

SCORES_AT_ONCE = 2**22
"""So many scores are turned into logarithms at a time: 32 MB in float64."""


def text_nats(network: Any, tokens: Array, before: int, lanes: int = 1, steps: int = 50) -> float:
    r"""Sum of :math:`-\ln p` over *all* tokens of a text, in float64; nothing is divided yet.

    A mean over windows or over batches would weigh a short last window like a full one. Here the
    last window and the last lane may be short, and each token counts once.

    Parameters
    ----------
    network : Sequential
        Or another object with `forward(x, state=...)`, `final_state` and `output_shape`.
    tokens : array (N,) of int64
    before : int
        The token in front of the first, which is foreseen too.
    lanes : int
        The text is cut into so many pieces that are read side by side, each begun with state 0:
        less context at their starts, less time. 1 for the exact number.
    steps : int
        Tokens of a lane at a time; changes nothing but memory and time.

    Returns
    -------
    float

    Raises
    ------
    TypeError, ValueError
        If an argument is of another kind, or a score is not finite.

    References
    ----------
    Section 4.4: bits per character and perplexity per word are made of this sum.
    """
    symbols = network.output_shape[-1]
    tokens = check_labels(tokens, as_array("tokens", tokens).size, symbols, "tokens")
    if not len(tokens):
        raise ValueError("tokens: expected at least one, got none")
    lanes, steps = whole("lanes", lanes, 1), whole("steps", steps, 1)
    before = whole("before", before, 0, symbols - 1)
    length = -(-len(tokens) // lanes)
    padded = np.zeros(lanes * length, np.int64)
    padded[: len(tokens)] = tokens
    y = padded.reshape(lanes, length)
    x = np.concatenate([[before], padded[:-1]]).reshape(lanes, length)
    counted = (np.arange(lanes * length) < len(tokens)).reshape(lanes, length)
    total, state = 0.0, None
    for start in range(0, length, steps):
        window = slice(start, start + steps)
        with np.errstate(over="ignore", invalid="ignore"):  # what comes of it is looked at
            scores = network.forward(x[:, window], state=state)
        state = network.final_state
        here = counted[:, window]
        total += _nats(scores[here], y[:, window][here])
    return total


def _nats(scores: Array, labels: Array) -> float:
    """Sum of the negative logarithms of the right symbols' probabilities, (rows, symbols)."""
    if not np.isfinite(scores).all():
        raise NotFiniteError("network: its scores are not finite")
    total, rows = 0.0, max(1, SCORES_AT_ONCE // scores.shape[1])
    for start in range(0, len(scores), rows):
        s = scores[start : start + rows].astype(np.float64)
        s -= s.max(axis=1, keepdims=True)
        right = s[np.arange(len(s)), labels[start : start + rows]]
        total += float((np.log(np.exp(s).sum(axis=1)) - right).sum())
    return total


def bits_per_symbol(nats: float, tokens: int) -> float:
    r"""Mean :math:`-\log_2 p`: "bits per character" (BPC) where symbols are characters.

    Parameters
    ----------
    nats : float
        The sum that `text_nats` gives.
    tokens : int
        Of how many.

    Returns
    -------
    float

    References
    ----------
    Section 4.4, Table 4: BPC.

    Examples
    --------
    >>> bits_per_symbol(3 * math.log(8), 3)
    3.0
    """
    return real("nats", nats, least=0) / whole("tokens", tokens, 1) / math.log(2)


def perplexity(nats: float, tokens: int) -> float:
    r"""Among how many equally likely symbols a model would choose: e to the mean of -ln p.

    Parameters
    ----------
    nats : float
        The sum that `text_nats` gives.
    tokens : int
        Of how many.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        If it is beyond float64: a model that gave the text a probability of 0, nearly.

    References
    ----------
    Section 4.4, Table 4: perplexity per word (PPW).

    Examples
    --------
    >>> round(perplexity(3 * math.log(8), 3), 10)
    8.0
    """
    mean = real("nats", nats, least=0) / whole("tokens", tokens, 1)
    if mean > math.log(np.finfo(np.float64).max):
        raise NotFiniteError(f"nats: {mean:g} a token are a perplexity beyond float64")
    return math.exp(mean)
