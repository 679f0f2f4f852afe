"""`qnn-ref check`: gradient checks, a line for each tensor."""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

from qnn_ref.checking import SAMPLES, Report, check_gradients, sample_checks
from qnn_ref.checks import choice
from qnn_ref.cli.common import answer
from qnn_ref.cli.own import check_own
from qnn_ref.cli.parser import WrongUse
from qnn_ref.experiments import IMAGE_SHAPES, RECIPES, TEXT_RECIPES
from qnn_ref.network import Sequential

IMAGES = 4
"""Random images that a recipe's network is checked with."""
SYMBOLS, TEXT_STEPS = 20, 5
"""Random text that a language model is checked with: so many symbols, so many steps."""
DIVIDE = 16


def run(args: argparse.Namespace) -> int:
    """Check; the answer is no if one tensor fails."""
    own = [name for name in args.names if ":" in name]
    for name in args.names:
        if name not in own:
            choice("NAME", name, [*SAMPLES, *RECIPES, *TEXT_RECIPES])
    if args.shape and not own:
        raise WrongUse("--shape: expected a NAME of your own beside it, such as my_layers:Scaled")
    recipes = [name for name in args.names if name in RECIPES or name in TEXT_RECIPES]
    if args.divide and not recipes:
        raise WrongUse("--divide: expected the NAME of a recipe beside it, such as digits")
    names = [name for name in args.names if name in SAMPLES]
    rng = np.random.default_rng(args.seed)
    mode = args.mode or "full"
    ours = names or not args.names
    of_layers = [sample_checks(names or None, rng=rng, mode=mode)] if ours else []
    of_recipes = [check_recipe(name, args) for name in recipes]
    of_own = [check_own(name, args.shape, args.seed, args.mode) for name in own]
    report = Report.joined([*of_layers, *of_recipes, *of_own])
    answer(args, report.to_json(), str(report))
    return 0 if report.passed else 1


def check_recipe(name: str, args: argparse.Namespace) -> Report:
    """Check every tensor of a recipe's network, narrowed, under a random covector."""
    divide, rng = args.divide or DIVIDE, np.random.default_rng(args.seed)
    network, x = (text_network if name in TEXT_RECIPES else image_network)(name, divide, rng)
    report = check_gradients(network, x, rng=rng, mode=args.mode or "probe")
    return report.renamed(lambda layer: f"{name}/{divide}: {layer}")


def image_network(
    name: str, divide: int, rng: np.random.Generator
) -> tuple[Sequential, np.ndarray[Any, Any]]:
    """A recipe's network, narrowed, and some random images."""
    recipe = RECIPES[name].narrowed(divide)
    shape = IMAGE_SHAPES[recipe.dataset]
    network = recipe.network(shape, 10, rng)
    return network, rng.integers(0, 256, (IMAGES, *shape), dtype=np.uint8)


def text_network(
    name: str, divide: int, rng: np.random.Generator
) -> tuple[Sequential, np.ndarray[Any, Any]]:
    """A language model, narrowed, and some steps of a random text."""
    network = TEXT_RECIPES[name].narrowed(divide).network(SYMBOLS, rng)
    return network, rng.integers(0, SYMBOLS, (IMAGES, TEXT_STEPS))
