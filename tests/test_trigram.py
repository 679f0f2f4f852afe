"""The model that only counts, against a loop over dictionaries."""

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qnn_ref.experiments.trigram import trigram_nats

TEXTS = st.lists(st.integers(0, 3), min_size=3, max_size=40)


def probability(train, context, symbol, symbols):
    """P(symbol | context), from the longest context down to equal chances."""
    shorter = 1 / symbols
    if context:
        shorter = probability(train, context[1:], symbol, symbols)
    elif context is None:
        return shorter
    length = len(context)
    followers = Counter(
        train[i + length]
        for i in range(len(train) - length)
        if tuple(train[i : i + length]) == tuple(context)
    )
    n, t = sum(followers.values()), len(followers)
    return (followers[symbol] + t * shorter) / (n + t) if n else shorter


@given(TEXTS, TEXTS, st.integers(1, 3))
def test_it_is_witten_and_bells_model(train, text, order):
    before = train[3 - order + 1 : 3][: order - 1]
    before = ([0, 1])[: order - 1]
    expected, row = 0.0, [*before, *text]
    for place in range(len(text)):
        context = row[place : place + order - 1]
        expected -= math.log(probability(train, context, text[place], 4))
    arrays = (np.array(a, np.int64) for a in (train, text, before))
    assert trigram_nats(*arrays, 4, order) == pytest.approx(expected)


@given(TEXTS, st.integers(1, 3))
def test_probabilities_of_all_symbols_sum_to_one(train, order):
    before = np.array([2, 0][: order - 1], np.int64)
    total = sum(
        math.exp(-trigram_nats(np.array(train), np.array([symbol]), before, 4, order))
        for symbol in range(4)
    )
    assert total == pytest.approx(1)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((np.array([0, 4]), np.array([0]), np.array([0, 0]), 4), "train: expected 0 to 3"),
        ((np.array([0, 1]), np.array([0]), np.array([0, 0]), 4), "train: expected at least 3"),
        ((np.zeros(3, int), np.array([9]), np.array([0, 0]), 4), "text: expected 0 to 3"),
        ((np.zeros(3, int), np.array([0]), np.array([0]), 4), "before: expected 2 tokens, got 1"),
        ((np.zeros(3, int), np.array([0]), np.array([0, 0]), 2**21), "symbols: .* beyond int64"),
    ],
)
def test_wrong_arguments_are_named(arguments, words):
    with pytest.raises(ValueError, match=words):
        trigram_nats(*arguments)
