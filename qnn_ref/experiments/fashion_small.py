"""A narrow convolutional network on Fashion-MNIST: not in the paper, made to finish on a laptop."""

from dataclasses import replace

from qnn_ref.experiments.recipe import Recipe

FASHION_SMALL = Recipe(
    name="fashion-small",
    about="two narrow convolutions on Fashion-MNIST, about half an hour",
    dataset="fashion-mnist",
    convolutions=((32, 2), (64, 2)),
    hidden=(256,),
    epochs=20,
    validation=10_000,
    initial_rate=3e-3,
    final_rate=3e-5,
)

FASHION_SMALL_FLOAT = replace(
    FASHION_SMALL, name="fashion-small-float", about="its float twin", binary=False
)
