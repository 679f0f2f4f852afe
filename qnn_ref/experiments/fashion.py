"""Fashion-MNIST, not in the paper: a narrow convolutional network, and the MNIST network."""

from dataclasses import replace

from qnn_ref.experiments.mnist_torch import MNIST_DEVIATION, MNIST_TORCH
from qnn_ref.experiments.recipe import Recipe

# As `MNIST_DEVIATION`, of the 60,000 training images.
FASHION_DEVIATION = 0.35302

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

FASHION_TORCH = replace(
    MNIST_TORCH,
    name="fashion-torch",
    about="the MNIST network 784-3x2048-10 by shifts on Fashion-MNIST, a fifth of the epochs",
    dataset="fashion-mnist",
    epochs=20,
    halve_every=2,
    pixel_scale=MNIST_TORCH.pixel_scale * MNIST_DEVIATION / FASHION_DEVIATION,
)

FASHION_TORCH_FLOAT = replace(
    FASHION_TORCH, name="fashion-torch-float", about="its float twin", binary=False
)
