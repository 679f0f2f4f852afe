"""`qnn-ref generate`: text from a packed recurrent network."""

from __future__ import annotations

import argparse
import unicodedata

import numpy as np

from qnn_ref.checks import NotFiniteError
from qnn_ref.cli.common import answer
from qnn_ref.datasets import find_model
from qnn_ref.datasets.tokens import Vocabulary
from qnn_ref.files import FileError
from qnn_ref.packed import PackedSequence
from qnn_ref.packed.generation import generate_tokens


def run(args: argparse.Namespace) -> int:
    """Draw and print; the text that was given comes first."""
    path = str(find_model(args.file))
    network = PackedSequence.load(path)
    vocabulary = vocabulary_of(path, network)
    start = start_of(vocabulary, args.start)
    rng = np.random.default_rng(args.seed)
    try:
        tokens = generate_tokens(network, start, args.length, rng, args.temperature)
    except NotFiniteError as error:
        raise FileError(f"{path}: damaged packed network: {error}") from error
    text = (args.start or "") + text_of(vocabulary, tokens, after=args.start)
    result = {
        "text": text,
        "tokens": tokens,
        "length": args.length,
        "seed": args.seed,
        "temperature": args.temperature,
    }
    answer(args, result, printable(text))
    return 0


def vocabulary_of(file: str, network: PackedSequence) -> Vocabulary:
    """What the network's tokens stand for, or FileError."""
    if not network.symbols:
        raise FileError(f"{file}: does not say what its tokens stand for (it was packed so)")
    try:
        return Vocabulary(network.symbols, network.level)
    except (TypeError, ValueError) as error:
        raise FileError(f"{file}: damaged packed network file: {error}") from error


def start_of(vocabulary: Vocabulary, text: str | None) -> list[int]:
    """Tokens to read first, the end of a line without a text; what is not known is refused."""
    if text is None:
        return [int(token) for token in vocabulary.encode("\n")]
    if strangers := vocabulary.strangers(text):
        unknown = ", ".join(map(repr, list(strangers)[:4]))
        raise ValueError(f"--start: the network does not know {unknown}")
    if not (tokens := [int(token) for token in vocabulary.encode(text)]):
        raise ValueError(f"--start: expected {vocabulary.level}, got none in {text!r}")
    return tokens


def text_of(vocabulary: Vocabulary, tokens: list[int], after: str | None) -> str:
    """The text that tokens stand for; words get a space in front where a text goes on."""
    text = vocabulary.decode(tokens)
    goes_on = vocabulary.level == "words" and after and not after[-1].isspace()
    return f" {text}" if goes_on and text[:1] != "\n" else text


def printable(text: str) -> str:
    """A text without characters that would control the terminal; `--json` has them all."""
    return "".join(
        "\N{REPLACEMENT CHARACTER}" if unicodedata.category(c) == "Cc" and c not in "\n\t" else c
        for c in text
    )
