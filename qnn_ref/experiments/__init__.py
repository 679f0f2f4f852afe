"""Section 4: the paper's experiments and small versions of them, one recipe a file."""

from qnn_ref.checks import choice
from qnn_ref.experiments.ablation_shift import ABLATION_SHIFT
from qnn_ref.experiments.alexnet import ALEXNET_BNN, ALEXNET_QNN_1_2, ALEXNET_QNN_1_2_6
from qnn_ref.experiments.bits_sweep import BITS_SWEEP
from qnn_ref.experiments.cifar10 import (
    CIFAR10_SMALL,
    CIFAR10_SMALL_FLOAT,
    CIFAR10_THEANO,
    CIFAR10_THEANO_FLOAT,
    CIFAR10_TORCH,
    CIFAR10_TORCH_FLOAT,
    CIFAR10_WIDE,
    CIFAR10_WIDE_FLOAT,
)
from qnn_ref.experiments.digits import DIGITS, DIGITS_FLOAT
from qnn_ref.experiments.downhill import DOWNHILL
from qnn_ref.experiments.fashion import (
    FASHION_SMALL,
    FASHION_SMALL_FLOAT,
    FASHION_TORCH,
    FASHION_TORCH_FLOAT,
)
from qnn_ref.experiments.googlenet import GOOGLENET_BNN, GOOGLENET_QNN_4_4, GOOGLENET_QNN_6_6_6
from qnn_ref.experiments.gradient_bits import GRADIENT_BITS
from qnn_ref.experiments.imagenet import NetworkRecipe
from qnn_ref.experiments.language_models import TEXT_RECIPES, TEXT_SWEEPS
from qnn_ref.experiments.mnist_small import MNIST_SMALL, MNIST_SMALL_FLOAT
from qnn_ref.experiments.mnist_theano import MNIST_THEANO, MNIST_THEANO_FLOAT
from qnn_ref.experiments.mnist_torch import (
    MNIST_TORCH,
    MNIST_TORCH_FLOAT,
    MNIST_TORCH_SMALL,
    MNIST_TORCH_SMALL_FLOAT,
)
from qnn_ref.experiments.questions import QUESTIONS
from qnn_ref.experiments.recipe import IMAGE_SHAPES, Recipe
from qnn_ref.experiments.relaxed_boundary import RELAXED_BOUNDARY
from qnn_ref.experiments.svhn import (
    SVHN_THEANO,
    SVHN_THEANO_FLOAT,
    SVHN_TORCH,
    SVHN_TORCH_FLOAT,
)
from qnn_ref.experiments.sweep import Sweep
from qnn_ref.experiments.text_recipe import TextRecipe

RECIPES: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        MNIST_THEANO,
        MNIST_THEANO_FLOAT,
        MNIST_SMALL,
        MNIST_SMALL_FLOAT,
        MNIST_TORCH,
        MNIST_TORCH_FLOAT,
        MNIST_TORCH_SMALL,
        MNIST_TORCH_SMALL_FLOAT,
        CIFAR10_THEANO,
        CIFAR10_THEANO_FLOAT,
        CIFAR10_TORCH,
        CIFAR10_TORCH_FLOAT,
        CIFAR10_SMALL,
        CIFAR10_SMALL_FLOAT,
        CIFAR10_WIDE,
        CIFAR10_WIDE_FLOAT,
        SVHN_THEANO,
        SVHN_THEANO_FLOAT,
        SVHN_TORCH,
        SVHN_TORCH_FLOAT,
        FASHION_SMALL,
        FASHION_SMALL_FLOAT,
        FASHION_TORCH,
        FASHION_TORCH_FLOAT,
        DIGITS,
        DIGITS_FLOAT,
    )
}

NETWORKS: dict[str, NetworkRecipe] = {
    network.name: network
    for network in (
        ALEXNET_BNN,
        ALEXNET_QNN_1_2,
        ALEXNET_QNN_1_2_6,
        GOOGLENET_BNN,
        GOOGLENET_QNN_4_4,
        GOOGLENET_QNN_6_6_6,
    )
}

SWEEPS: dict[str, Sweep] = {
    sweep.name: sweep
    for sweep in (
        *(ABLATION_SHIFT, BITS_SWEEP, GRADIENT_BITS, RELAXED_BOUNDARY, *TEXT_SWEEPS),
        *(DOWNHILL, *QUESTIONS),
    )
}


def find_recipe(name: str) -> Recipe:
    """Return the recipe of this name, or raise ValueError with the names there are."""
    if name in NETWORKS:
        raise ValueError(
            f"recipe: {name} is a network without a training set here (ImageNet may not be passed "
            "on); build it with qnn_ref.experiments.NETWORKS"
        )
    if name in TEXT_RECIPES:
        raise ValueError(f"recipe: {name} is one of a text: see `TEXT_RECIPES`")
    if name not in RECIPES:
        choice("recipe", name, [*RECIPES, *TEXT_RECIPES, *SWEEPS])
    return RECIPES[name]


__all__ = [
    "IMAGE_SHAPES",
    "NETWORKS",
    "RECIPES",
    "SWEEPS",
    "TEXT_RECIPES",
    "NetworkRecipe",
    "Recipe",
    "Sweep",
    "TextRecipe",
    "find_recipe",
]
__dir__ = __all__.copy
