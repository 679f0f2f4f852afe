"""A recipe of a language model carried out in a folder: run.json, checkpoint.npz, history.csv.

The checkpoint is written after each epoch and now and then inside one. A run that was stopped goes
on in the middle of the text, and ends in the same bits as one that was not.
"""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from qnn_ref.checkpoints import load_checkpoint
from qnn_ref.datasets import TextData, TokenData, Vocabulary, tokenize
from qnn_ref.datasets.tokens import lanes
from qnn_ref.experiments.description import (
    VERSION,
    Description,
    identity,
    read_description,
    settings_of,
)
from qnn_ref.experiments.runs import (
    CHECKPOINT,
    DESCRIPTION,
    check_run_history,
    existing_folder,
    open_folder,
    refuse_too_many_weights,
)
from qnn_ref.experiments.sweep import Measure
from qnn_ref.experiments.text_recipe import TextRecipe
from qnn_ref.experiments.trigram import ORDER, trigram_nats
from qnn_ref.files import FileError, make_folder
from qnn_ref.language import TextRun, train_text
from qnn_ref.likelihood import bits_per_symbol, perplexity, text_nats
from qnn_ref.network import Sequential

KIND = "text run"
SWEEP_LANES = 8
"""Lanes of the test part in a sweep."""
EVERY = 200
"""Windows between two checkpoints inside an epoch."""


def start_text_run(recipe: TextRecipe, symbols: int) -> TextRun:
    """Return a fresh run of the recipe; its seed decides the weights.

    Parameters
    ----------
    recipe : TextRecipe
    symbols : int
        Size of the vocabulary.

    Returns
    -------
    TextRun
    """
    for_network, for_order = np.random.default_rng(recipe.seed).spawn(2)
    network = recipe.network(symbols, for_network)
    return TextRun(network, recipe.optimizer(), for_order, lanes=recipe.lanes)


def prepared(recipe: TextRecipe, text: TextData) -> TokenData:
    """Tokens of a text as a recipe uses them; with a limit the first to train and to choose by.

    Parameters
    ----------
    recipe : TextRecipe
    text : TextData

    Returns
    -------
    TokenData
    """
    tokens = tokenize(text, recipe.level)
    if not recipe.limit:
        return tokens
    end = recipe.limit
    return TokenData(
        tokens.train[:end],
        tokens.validation[:end],
        tokens.test,
        tokens.vocabulary,
        tokens.strangers,
    )


def train_text_recipe(
    recipe: TextRecipe,
    text: TextData,
    folder: str | os.PathLike[str] | None = None,
    resume: bool = False,
    progress: bool = False,
    every: int = EVERY,
) -> TextRun:
    """Train a language model to its last epoch, in a folder or in memory only.

    Parameters
    ----------
    recipe : TextRecipe
    text : TextData
    folder : path, optional
        New or empty, or with `resume` one that holds the beginning of this very run.
    resume : bool
    progress : bool
        Whether to show a bar on standard error.
    every : int
        Windows between two checkpoints inside an epoch; changes no number.

    Returns
    -------
    TextRun

    Raises
    ------
    FileError
        If the folder cannot be written, holds another run, or holds one and `resume` is not set.
    FloatingPointError
        If a number is no longer finite; the last checkpoint stays.
    """
    tokens = prepared(recipe, text)
    run = start_text_run(recipe, len(tokens.vocabulary))
    x, y = lanes(tokens.train, recipe.lanes)
    after = None
    if folder is not None:
        after = open_folder(
            make_folder(folder),
            recipe,
            describe_text(recipe, text, tokens.vocabulary),
            run,
            resume,
            text_recipe_of,
        )

    def validation(network: Sequential) -> float:
        before = int(tokens.train[-1])
        nats = text_nats(network, tokens.validation, before, recipe.lanes, recipe.steps)
        return bits_per_symbol(nats, len(tokens.validation))

    return train_text(
        run,
        (x, y),
        validation,
        epochs=recipe.epochs,
        steps=recipe.steps,
        schedule=recipe.schedule(),
        longest=recipe.longest,
        after=after,
        every=every,
        progress=progress,
    )


@dataclass(frozen=True)
class TextResult:
    """How well a network foresees the test part, beside a trigram model that was counted.

    Parameters
    ----------
    test_bits : float
        Bits a symbol, over all tokens.
    test_perplexity : float
    trigram_bits, trigram_perplexity : float
        The same of the trigram model.
    tokens : int
        Of the test part.
    unknown : int
        How many of them the training part does not have.
    """

    test_bits: float
    test_perplexity: float
    trigram_bits: float
    trigram_perplexity: float
    tokens: int
    unknown: int

    def to_json(self) -> dict[str, float]:
        """By name."""
        return asdict(self)


def foreseen(network: Any, tokens: TokenData, lanes: int = 1) -> TextResult:
    """Measure a network on the test part: in one lane each token with all that came before it.

    Parameters
    ----------
    network : Sequential
        Or what `text_nats` takes in its place.
    tokens : TokenData
    lanes : int
        More than one saves time, and forgets what was before at as many places.

    Returns
    -------
    TextResult
    """
    before, count = tokens.validation, len(tokens.test)
    nats = text_nats(network, tokens.test, int(before[-1]), lanes)
    symbols = len(tokens.vocabulary)
    counted = trigram_nats(tokens.train, tokens.test, before[-ORDER + 1 :], symbols)
    return TextResult(
        bits_per_symbol(nats, count),
        perplexity(nats, count),
        bits_per_symbol(counted, count),
        perplexity(counted, count),
        count,
        tokens.strangers["test"].total(),
    )


def carry_out_text(recipe: TextRecipe, text: TextData) -> dict[str, str]:
    """Train a language model for a sweep, and measure its best epoch.

    Parameters
    ----------
    recipe : TextRecipe
    text : TextData

    Returns
    -------
    dict
        The columns `COLUMNS`.
    """
    run = train_text_recipe(recipe, text)
    assert run.best_epoch is not None
    result = foreseen(run.best_network(), prepared(recipe, text), SWEEP_LANES)
    return {
        "validation_bits": f"{run.history[run.best_epoch]['validation_bits']:.4f}",
        "test_bits": f"{result.test_bits:.4f}",
        "test_perplexity": f"{result.test_perplexity:.3f}",
        "trigram_bits": f"{result.trigram_bits:.4f}",
    }


def text_checksum(text: TextData) -> dict[str, str]:
    """What tells a text from another, by name."""
    return {"text_sha256": text.sha256}


COLUMNS = "validation_bits", "test_bits", "test_perplexity", "trigram_bits"
BITS_OF_TEXT = Measure(
    COLUMNS, carry_out_text, text_checksum, None, "bits a symbol of the test part", digits=3
)
"""What a sweep of language models measures."""


def describe_text(recipe: TextRecipe, text: TextData, vocabulary: Vocabulary) -> Description:
    """What a run of this recipe on this text is, as JSON holds it.

    Parameters
    ----------
    recipe : TextRecipe
    text : TextData
    vocabulary : Vocabulary

    Returns
    -------
    dict
    """
    return {
        "kind": KIND,
        "version": VERSION,
        "recipe": settings_of(recipe),
        "symbols": list(vocabulary.symbols),
        **text_checksum(text),
    }


def text_recipe_of(path: Path, description: Description) -> tuple[TextRecipe, Vocabulary]:
    """Recipe and vocabulary that a description names.

    Parameters
    ----------
    path : Path
        For the error.
    description : dict

    Returns
    -------
    recipe : TextRecipe
    vocabulary : Vocabulary

    Raises
    ------
    FileError
        If it names none.
    """
    try:
        values = dict(description["recipe"])
        if unknown := values.keys() - {f.name for f in fields(TextRecipe)}:
            raise ValueError(f"this package knows no setting {min(unknown)!r}")
        recipe = TextRecipe(**values)
        symbols = description["symbols"]
        if not isinstance(symbols, list):
            raise TypeError(f"symbols: expected a list, got {type(symbols).__name__}")
        return recipe, Vocabulary(tuple(symbols), recipe.level)
    except KeyError as error:
        raise FileError(f"{path}: damaged run description: no {error.args[0]!r} in it") from error
    except (TypeError, ValueError) as error:
        raise FileError(f"{path}: damaged run description: {error}") from error


def is_text_run(folder: str | os.PathLike[str]) -> bool:
    """Whether the run in a folder is one along a text; another error than that stays for `load`."""
    path = existing_folder(folder) / DESCRIPTION
    try:
        read_description(path, KIND)
    except FileError:
        return False
    return True


def load_text_run(
    folder: str | os.PathLike[str],
) -> tuple[TextRecipe, Vocabulary, TextRun]:
    """Read a run's recipe, its vocabulary and its state after the last checkpoint.

    Parameters
    ----------
    folder : path

    Returns
    -------
    recipe : TextRecipe
    vocabulary : Vocabulary
    run : TextRun

    Raises
    ------
    FileError
        If the folder holds no run along a text, or a damaged one.
    """
    folder = existing_folder(folder)
    path = folder / CHECKPOINT
    description = read_description(folder / DESCRIPTION, KIND)
    recipe, vocabulary = text_recipe_of(folder / DESCRIPTION, description)
    if not path.exists():
        raise FileError(f"{folder}: the run has no checkpoint yet")
    refuse_too_many_weights(folder, recipe.weights(len(vocabulary)))
    run = start_text_run(recipe, len(vocabulary))
    load_checkpoint(path, run, identity(description))
    check_run_history(folder, run, recipe)
    return recipe, vocabulary, run


def check_text(folder: str | os.PathLike[str], text: TextData) -> None:
    """Refuse a text that is not the one that a run was trained on.

    Parameters
    ----------
    folder : path
        Of the run.
    text : TextData

    Raises
    ------
    FileError
        If a part of it differs.
    """
    description = read_description(existing_folder(folder) / DESCRIPTION, KIND)
    if description.get("text_sha256") != text.sha256:
        raise FileError(f"{folder}: was trained on another text than {text.source} holds")
