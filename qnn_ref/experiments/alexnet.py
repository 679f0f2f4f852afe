"""AlexNet with few bits (section 4.3): the network, and what is known of its training.

The paper gives 41.8 % top-1 accuracy with one bit everywhere, 51.03 % with activations of two bits,
and 5.2 points less than real numbers with gradients of six bits too. ImageNet is not read here, and
the network was not trained here; it builds, runs both ways and packs. Order of each block as in the
rest of the paper: convolution, max pool, batch norm, sign.

The paper prints no table of the layers. Kernels and channels are those of the authors' later code
without its threefold channels; the fourth convolution has 256 channels there, perhaps 384 in the
paper, so it is an argument.
"""

from __future__ import annotations

from dataclasses import replace

from qnn_ref.experiments.imagenet import NetworkRecipe
from qnn_ref.layers import BatchNorm, Conv2D, Dense, Flatten, Layer, MaxPool2D, Pixels, Quantize
from qnn_ref.quantizers import LinearQuant, LogQuant, Quantizer, Sign


def alexnet(
    classes: int = 1000,
    weights: Quantizer | None = Sign(),
    activations: Quantizer = Sign(),
    conv4: int = 256,
) -> list[Layer]:
    """Five convolutions and three dense layers, for images of 224 x 224 (or 227 x 227) x 3.

    Parameters
    ----------
    classes : int
    weights, activations : Quantizer
        First and last layer are quantized too.
    conv4 : int
        Channels of the fourth convolution.

    Returns
    -------
    list of Layer
    """

    def after(pool: bool) -> list[Layer]:
        return [*([MaxPool2D(3, 2)] if pool else []), BatchNorm(), Quantize(activations)]

    layers: list[Layer] = [Pixels()]
    for units, kernel, stride, padding, pool in (
        (64, 11, 4, 2, True),
        (192, 5, 1, 2, True),
        (384, 3, 1, 1, False),
        (conv4, 3, 1, 1, False),
        (256, 3, 1, 1, True),
    ):
        layers.append(
            Conv2D(units, kernel, stride=stride, padding=padding, weight_quantizer=weights)
        )
        layers += after(pool)
    layers.append(Flatten())
    for units in (4096, 4096):
        layers += [Dense(units, weights), *after(pool=False)]
    return [*layers, Dense(classes, weights), BatchNorm()]


ALEXNET_BNN = NetworkRecipe(
    name="alexnet-bnn",
    about="AlexNet, one bit everywhere (paper: 41.8 % top-1 accuracy)",
    layers=alexnet,
    input_shape=(224, 224, 3),
    batch_size=512,
    drop_every=20,
    size=61_090_496,
)

ALEXNET_QNN_1_2 = replace(
    ALEXNET_BNN,
    name="alexnet-qnn-1-2",
    about="AlexNet, weights 1 bit, activations 2 bits (paper: 51.03 % top-1 accuracy)",
    activations=LinearQuant(2),
)

ALEXNET_QNN_1_2_6 = replace(
    ALEXNET_QNN_1_2,
    name="alexnet-qnn-1-2-6",
    about="the same with gradients of 6 bits, logarithmic",
    gradients=LogQuant(6, exponent=None),
)
