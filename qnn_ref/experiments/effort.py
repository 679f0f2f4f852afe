"""What a recipe costs: steps, and the operations of their products."""

from __future__ import annotations

from qnn_ref.experiments.recipe import IMAGE_SHAPES, Recipe
from qnn_ref.experiments.text_recipe import TextRecipe

IMAGES = {
    "mnist": 60_000,
    "fashion-mnist": 60_000,
    "digits": 1_347,
    "cifar10": 50_000,
    "svhn": 604_388,
}
"""Training images of each data set."""
TOKENS = {
    ("ptb", "characters"): (5_017_482, 51),
    ("ptb", "words"): (929_589, 10_000),
    ("shakespeare", "characters"): (239_894, 63),
}
"""Training tokens of each text, and size of its vocabulary."""


def training_steps(recipe: Recipe | TextRecipe) -> int:
    """Steps of all epochs, on the whole data set.

    Parameters
    ----------
    recipe : Recipe or TextRecipe

    Returns
    -------
    int
    """
    if isinstance(recipe, TextRecipe):
        tokens, _ = TOKENS[recipe.dataset, recipe.level]
        return -(-((tokens - 1) // recipe.lanes) // recipe.steps) * recipe.epochs
    images = IMAGES[recipe.dataset] - recipe.validation
    return images // recipe.batch_size * recipe.epochs


def training_operations(recipe: Recipe | TextRecipe) -> int:
    """Multiplications and additions of all steps' products.

    Forward, input gradient and weight gradient are three products of two operations each.

    Parameters
    ----------
    recipe : Recipe or TextRecipe

    Returns
    -------
    int
    """
    if isinstance(recipe, TextRecipe):
        _, symbols = TOKENS[recipe.dataset, recipe.level]
        products = recipe.weights(symbols) - symbols * recipe.embedding  # the table is looked up
        batch = recipe.lanes * recipe.steps
    else:
        shape = IMAGE_SHAPES[recipe.dataset]
        products = sum(count * uses for count, uses in recipe.products(shape, 10))
        batch = recipe.batch_size
    return 6 * products * batch * training_steps(recipe)
