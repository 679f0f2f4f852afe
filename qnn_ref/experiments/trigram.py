"""A trigram model: what a network must beat to have learned more than counting.

The probability of a symbol is that of its kind after the two before it, as often as it stood there
in the training text. What stood there seldom or never is filled up from the symbol before alone,
that from the symbol's own frequency, and that from equal chances (Witten and Bell's interpolation):

    P(c | a b) = (n(a b c) + t(a b) P(c | b)) / (n(a b) + t(a b))

with n how often something occurs and t how many different symbols follow it. Nothing is fitted.
"""

from __future__ import annotations

import numpy as np

from qnn_ref._typing import Array
from qnn_ref.checks import whole
from qnn_ref.datasets.tokens import check_tokens

ORDER = 3


def trigram_nats(
    train: Array, text: Array, before: Array, symbols: int, order: int = ORDER
) -> float:
    r"""Sum of :math:`-\ln P` over all tokens of a text, under an n-gram model of another one.

    Parameters
    ----------
    train : array (M,) of int64
        The text that is counted.
    text : array (N,) of int64
        The text that is foreseen.
    before : array (order - 1,) of int64
        The tokens in front of it.
    symbols : int
        How many different tokens there are; `symbols` to the power of `order` is below 2^63.
    order : int
        3 for a trigram: two tokens, and the one that is foreseen.

    Returns
    -------
    float
        In nats, so that it compares with `likelihood.text_nats`.

    Raises
    ------
    TypeError, ValueError
        Naming the argument.

    References
    ----------
    Not in the paper; I. H. Witten, T. C. Bell, "The Zero-Frequency Problem", IEEE Transactions on
    Information Theory 37(4), 1991, method C, interpolated.

    Examples
    --------
    >>> always_ab = np.tile([0, 1], 500)
    >>> trigram_nats(always_ab, always_ab[:100], np.array([0, 1]), 2) < 0.5
    True
    """
    symbols = whole("symbols", symbols, 1)
    order = whole("order", order, 1)
    if order * np.log2(symbols) >= 63:
        raise ValueError(f"symbols: {symbols} of them to the power of {order} are beyond int64")
    train = check_tokens("train", train, symbols - 1)
    text = check_tokens("text", text, symbols - 1)
    if len(train) < order:
        raise ValueError(f"train: expected at least {order} tokens, got {len(train)}")
    if order > 1:
        before = check_tokens("before", before, symbols - 1)
    if len(before) != order - 1:
        raise ValueError(f"before: expected {order - 1} tokens, got {len(before)}")
    whole_text = np.concatenate([before, text])
    p = np.full(len(text), 1 / symbols)
    for length in range(1, order + 1):
        p = _interpolated(train, whole_text[order - length :], symbols, length, p)
    return float(-np.log(p).sum())


def _interpolated(train: Array, text: Array, symbols: int, length: int, shorter: Array) -> Array:
    """Probabilities (N,) after `length - 1` tokens, filled up from those after fewer."""
    grams, counts = np.unique(_grams(train, symbols, length), return_counts=True)
    contexts, first = np.unique(grams // symbols, return_index=True)
    seen = np.add.reduceat(counts, first)  # n(a b); equal contexts stand side by side
    kinds = np.diff([*first, len(grams)])  # t(a b)
    wanted = _grams(text, symbols, length)
    n, t = (_looked_up(wanted // symbols, contexts, values) for values in (seen, kinds))
    here = _looked_up(wanted, grams, counts)
    total = n + t
    mixed = (here + t * shorter) / np.maximum(total, 1)
    return np.where(total > 0, mixed, shorter)


def _grams(tokens: Array, symbols: int, length: int) -> Array:
    """Each run of `length` tokens as one number, in which the first token counts most."""
    count = len(tokens) - length + 1
    number = np.zeros(max(count, 0), np.int64)
    for i in range(length):
        number = number * symbols + tokens[i : i + count]
    return number


def _looked_up(wanted: Array, keys: Array, values: Array) -> Array:
    """The values of sorted keys, 0 where there is no such key."""
    place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[place] == wanted, values[place], 0)
