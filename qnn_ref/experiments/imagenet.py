"""Networks of the paper's ImageNet experiments: they build, run both ways and pack.

Their training set may not be passed on, so there is no command that trains them. What is known of
the recipes stands in `NetworkRecipe`: ADAM, the batch size, and how often the rate drops tenfold.
The initial rate, the number of epochs, and the augmentation are not known.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import DTypeLike

from qnn_ref.layers import Layer
from qnn_ref.network import Sequential
from qnn_ref.quantizers import Quantizer, Sign


@dataclass(frozen=True)
class NetworkRecipe:
    """A network of section 4.3 and what the paper says of its training.

    Parameters
    ----------
    name : str
    about : str
        One line for the list.
    layers : function
        Gives the layers, from pixels to scores, for a number of classes, a weight quantizer and an
        activation quantizer.
    input_shape : tuple of int
        (height, width, channels) of the images.
    batch_size : int
    drop_every : int
        The learning rate is multiplied by 0.1 after so many epochs.
    size : int
        Number of weights with 1,000 classes: to list them, nothing is built.
    weights, activations : Quantizer
        One bit by default.
    gradients : Quantizer, optional
        Of the gradients of all products' sums; real without it.
    """

    name: str
    about: str
    layers: Callable[..., list[Layer]]
    input_shape: tuple[int, int, int]
    batch_size: int
    drop_every: int
    size: int
    weights: Quantizer = Sign()
    activations: Quantizer = Sign()
    gradients: Quantizer | None = None

    def network(
        self,
        rng: np.random.Generator,
        classes: int = 1000,
        input_shape: tuple[int, int, int] | None = None,
        dtype: DTypeLike = np.float32,
    ) -> Sequential:
        """The network, built and started, also for images of another size."""
        layers = self.layers(classes, self.weights, self.activations)
        network = Sequential(layers, input_shape or self.input_shape, rng, dtype)
        network.quantize_gradients(self.gradients)
        return network

    def schedule(self, initial_rate: float) -> Callable[[int], float]:
        """Learning rate by epoch: tenfold less after each `drop_every` epochs."""
        return lambda epoch: initial_rate * 0.1 ** (epoch // self.drop_every)
