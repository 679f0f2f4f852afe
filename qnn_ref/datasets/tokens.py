"""From text to numbers: vocabularies of characters and words, and windows that follow each other.

>>> from qnn_ref.datasets import tokens
>>> vocabulary = tokens.vocabulary_of("to be, or not to be", "characters")
>>> vocabulary.encode("bet")
array([2, 3, 7])
>>> vocabulary.decode([2, 3, 7])
'bet'
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qnn_ref.checks import choice, instance, plain_array, whole

from .text import TextData

LEVELS = "characters", "words"
UNKNOWN_CHARACTER = "\N{REPLACEMENT CHARACTER}"
UNKNOWN_WORD = "<unk>"
END_OF_LINE = "<eos>"
"""The word that stands for the end of a line, as in Penn Treebank."""

Tokens = NDArray[np.int64]


def symbols_of(text: str, level: str) -> list[str]:
    """Split a text into characters, or into words with one more for each end of a line.

    Parameters
    ----------
    text : str
    level : str
        "characters" or "words".

    Returns
    -------
    list of str

    Raises
    ------
    TypeError, ValueError
        Naming the argument.

    Examples
    --------
    >>> symbols_of("to be\\nor", "words")
    ['to', 'be', '<eos>', 'or']
    """
    choice("level", level, LEVELS)
    instance("text", text, str)
    if level == "characters":
        return list(text)
    return text.replace("\n", f" {END_OF_LINE} ").split()


@dataclass(frozen=True)
class Vocabulary:
    """The symbols that a language model knows; the token of one is its place.

    Parameters
    ----------
    symbols : tuple of str
        Among them the one for what is unknown: Unicode's replacement character, or "<unk>".
    level : str
        "characters" or "words".
    """

    symbols: tuple[str, ...]
    level: str
    _place: dict[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        choice("level", self.level, LEVELS)
        instance("symbols", self.symbols, tuple)
        for symbol in self.symbols:
            instance("symbols", symbol, str)
            if self.level == "characters" and len(symbol) != 1:
                raise ValueError(f"symbols: expected single characters, got {symbol!r}")
            if self.level == "words" and symbol.split() != [symbol]:
                raise ValueError(f"symbols: expected words without spaces, got {symbol!r}")
        place = {symbol: token for token, symbol in enumerate(self.symbols)}
        if len(place) < len(self.symbols):
            twice, _ = Counter(self.symbols).most_common(1)[0]
            raise ValueError(f"symbols: {twice!r} stands there twice")
        if self.unknown_symbol not in place:
            raise ValueError(f"symbols: expected {self.unknown_symbol!r} for what is unknown")
        object.__setattr__(self, "_place", place)

    def __len__(self) -> int:
        return len(self.symbols)

    def __repr__(self) -> str:
        return f"<Vocabulary of {len(self)} {self.level}>"

    @property
    def unknown_symbol(self) -> str:
        """What stands for a symbol that the training part does not have."""
        return UNKNOWN_CHARACTER if self.level == "characters" else UNKNOWN_WORD

    @property
    def unknown(self) -> int:
        """The token of what is unknown."""
        return self._place[self.unknown_symbol]

    def encode(self, text: str) -> Tokens:
        """Tokens (symbols,) of a text; what is not known becomes `unknown`."""
        unknown, place = self.unknown, self._place
        symbols = symbols_of(text, self.level)
        return np.array([place.get(symbol, unknown) for symbol in symbols], np.int64)

    def strangers(self, text: str) -> Counter[str]:
        """Symbols of a text that the vocabulary lacks, and how often each occurs."""
        counts = Counter(symbols_of(text, self.level))
        return Counter({symbol: n for symbol, n in counts.items() if symbol not in self._place})

    def decode(self, tokens: Iterable[int]) -> str:
        """The text of some tokens; lines end where they did."""
        symbols = []
        for token in tokens:
            symbols.append(self.symbols[whole("tokens", token, 0, len(self) - 1)])
        if self.level == "characters":
            return "".join(symbols)
        words = " ".join("\n" if symbol == END_OF_LINE else symbol for symbol in symbols)
        return words.replace(" \n ", "\n").replace("\n ", "\n").replace(" \n", "\n")


def vocabulary_of(text: str, level: str, most: int | None = None) -> Vocabulary:
    """The vocabulary of a training text.

    Characters are sorted by their code, words by how often they occur, then by the alphabet. The
    symbol for what is unknown comes last where the text itself has none (Penn Treebank has).

    Parameters
    ----------
    text : str
    level : str
        "characters" or "words".
    most : int, optional
        How many symbols to keep, the most frequent ones, that for what is unknown included.

    Returns
    -------
    Vocabulary

    Raises
    ------
    TypeError, ValueError
        Naming the argument, or if there is no symbol.
    """
    counts = Counter(symbols_of(text, level))
    if not counts:
        raise ValueError(f"text: expected some {level}, got none")
    unknown = UNKNOWN_CHARACTER if level == "characters" else UNKNOWN_WORD
    kept = sorted(counts, key=lambda symbol: (-counts[symbol], symbol))
    if most is not None:
        whole("most", most, 2)
        kept = [symbol for symbol in kept if symbol != unknown][: most - 1] + [unknown]
    elif unknown not in counts:
        kept.append(unknown)
    if level == "characters":
        kept = [*sorted(symbol for symbol in kept if symbol != unknown), unknown]
    return Vocabulary(tuple(kept), level)


@dataclass(frozen=True, eq=False)
class TokenData:
    """A text as tokens, with the vocabulary of its training part.

    Parameters
    ----------
    train, validation, test : array (tokens,) of int64
    vocabulary : Vocabulary
    strangers : dict of str to Counter
        For validation and test: the symbols that training lacks, and how often each occurs there.
    """

    train: Tokens
    validation: Tokens
    test: Tokens
    vocabulary: Vocabulary
    strangers: dict[str, Counter[str]]

    def __repr__(self) -> str:
        parts = (f"{name} {len(getattr(self, name)):,}" for name in ("train", "validation", "test"))
        return f"<TokenData: {', '.join(parts)}; {self.vocabulary!r}>"

    def strangers_said(self) -> str:
        """One line on unknown symbols: how many, and which."""
        lines = []
        for part, counts in self.strangers.items():
            total, size = sum(counts.values()), len(getattr(self, part))
            some = ", ".join(f"{symbol!r}" for symbol, _ in counts.most_common(5))
            what = f"{part}: {total:,} of {size:,} {self.vocabulary.level} unknown to training"
            lines.append(f"{what} ({some})" if some else what)
        return "; ".join(lines)


def tokenize(text: TextData, level: str, most: int | None = None) -> TokenData:
    """Turn the three parts of a text into tokens of the training part's vocabulary.

    Parameters
    ----------
    text : TextData
    level : str
        "characters" or "words".
    most : int, optional
        How many symbols to keep.

    Returns
    -------
    TokenData

    Raises
    ------
    TypeError, ValueError
        Naming the argument, or the part that has no symbols.
    """
    vocabulary = vocabulary_of(instance("text", text, TextData).train, level, most)
    parts = {name: vocabulary.encode(part) for name, part in text.parts.items()}
    for name, tokens in parts.items():
        if not len(tokens):
            raise ValueError(f"{name}: expected some {level}, got none")
    strangers = {
        "validation": vocabulary.strangers(text.validation),
        "test": vocabulary.strangers(text.test),
    }
    return TokenData(**parts, vocabulary=vocabulary, strangers=strangers)


def lanes(tokens: Tokens, count: int, before: int | None = None) -> tuple[Tokens, Tokens]:
    """Cut a text into lanes that are read side by side, each with what comes next.

    A batch takes the same window of each lane, and the state that a lane ends a window with begins
    its next one: so every lane is read from left to right, as if alone.

    Parameters
    ----------
    tokens : array (N,) of int64
    count : int
        Number of lanes; the last N - 1 - count * length tokens are left out, fewer than `count`.
    before : int, optional
        The token before the first. With it the first token is predicted too.

    Returns
    -------
    x : array (count, length) of int64
    y : array (count, length) of int64
        What follows each token of `x`.

    Raises
    ------
    TypeError, ValueError
        Naming the argument, also if a lane would have no token.

    Examples
    --------
    >>> x, y = lanes(np.arange(8), 2)
    >>> x.tolist(), y.tolist()
    ([[0, 1, 2], [3, 4, 5]], [[1, 2, 3], [4, 5, 6]])
    """
    tokens = check_tokens("tokens", tokens)
    if before is not None:
        before = whole("before", before, 0)
        tokens = np.concatenate([np.array([before], np.int64), tokens])
    pairs = len(tokens) - 1
    why = f"the text has {pairs} tokens to predict"
    count = whole("count", count, 1, max(pairs, 1), why)
    length = pairs // count
    if not length:
        raise ValueError("tokens: expected at least two, got one")
    used = count * length
    return tokens[:used].reshape(count, length), tokens[1 : used + 1].reshape(count, length)


def window_starts(length: int, steps: int) -> Iterator[tuple[int, int]]:
    """Windows of `steps` tokens, (start, end); the last one may be shorter.

    Parameters
    ----------
    length : int
        Of a lane.
    steps : int

    Yields
    ------
    start, end : int
    """
    length, steps = whole("length", length, 0), whole("steps", steps, 1)
    for start in range(0, length, steps):
        yield start, min(start + steps, length)


def check_tokens(name: str, tokens: Any, most: int | None = None) -> Tokens:
    """Return tokens as they are, or say what is wrong with them.

    Parameters
    ----------
    name : str
        What the error message calls them.
    tokens : array (N,) of int64
        At least one.
    most : int, optional
        The largest token there may be.

    Returns
    -------
    array (N,) of int64

    Raises
    ------
    TypeError, ValueError
        With that name.
    """
    plain_array(name, tokens)
    if tokens.dtype != np.int64 or tokens.ndim != 1 or not tokens.size:
        raise ValueError(
            f"{name}: expected tokens of shape (N,) and dtype int64, got {tokens.dtype} of "
            f"{tokens.shape}"
        )
    if tokens.min() < 0 or (most is not None and tokens.max() > most):
        end = "" if most is None else f" to {most}"
        raise ValueError(f"{name}: expected 0{end}, got {tokens.min()} to {tokens.max()}")
    return tokens
