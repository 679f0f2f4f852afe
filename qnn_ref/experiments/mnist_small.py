"""Laptop versions of the MNIST recipe: narrow, a few epochs, no dropout.

The demo trains both. Without dropout the final rate is not as low as the paper's: seven epochs are
too few to need it.
"""

from dataclasses import replace

from qnn_ref.experiments.recipe import Recipe

MNIST_SMALL = Recipe(
    name="mnist-small",
    about="784-3x512-10, binary, about a minute",
    dataset="mnist",
    hidden=(512, 512, 512),
    epochs=7,
    validation=10_000,
    final_rate=3e-5,
)

MNIST_SMALL_FLOAT = replace(
    MNIST_SMALL, name="mnist-small-float", about="its float twin", binary=False
)
