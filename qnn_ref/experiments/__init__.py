"""Section 4: the paper's experiments and small versions of them, one recipe a file."""

from qnn_ref.experiments.digits import DIGITS, DIGITS_FLOAT
from qnn_ref.experiments.mnist_small import MNIST_SMALL, MNIST_SMALL_FLOAT
from qnn_ref.experiments.mnist_theano import MNIST_THEANO, MNIST_THEANO_FLOAT
from qnn_ref.experiments.recipe import Recipe

RECIPES: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        MNIST_THEANO,
        MNIST_THEANO_FLOAT,
        MNIST_SMALL,
        MNIST_SMALL_FLOAT,
        DIGITS,
        DIGITS_FLOAT,
    )
}


def find_recipe(name: str) -> Recipe:
    """Return the recipe of this name, or raise ValueError with the names there are."""
    if name not in RECIPES:
        raise ValueError(f"recipe: expected one of {', '.join(RECIPES)}; got {name!r}")
    return RECIPES[name]


__all__ = ["RECIPES", "Recipe", "find_recipe"]
