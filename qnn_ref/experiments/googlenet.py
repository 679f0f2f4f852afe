"""GoogLeNet with few bits (section 4.3): ten inception blocks.

The paper gives 47.1 % top-1 accuracy with one bit everywhere, 66.5 % with 4 bits, and 66.4 % with 6
bits, gradients included (one note gives that row as 4, 4 and 6). ImageNet is not read here, and the
network was not trained here; it builds, runs both ways and packs.

The paper counts two convolutions, ten inception blocks, average pooling, a dense classifier and two
auxiliary classifiers, and prints no table of the blocks. The published network with exactly ten
blocks is BN-Inception (Ioffe and Szegedy, 2015): its block table is taken here, with its three stem
convolutions. Where the auxiliary classifiers stand, what they look like, and their weight are not
known: after blocks 4a and 4d, an average pool of 5/3, a 1x1 convolution of 128 channels, a dense
layer of 1,024 units and the classes, weight 0.3, as in the first GoogLeNet.

Each convolution is followed by batch norm and sign. An average pool sees signs and gives whole
numbers; they are multiplied exactly.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from qnn_ref.experiments.imagenet import NetworkRecipe
from qnn_ref.layers import (
    Auxiliary,
    AveragePool2D,
    BatchNorm,
    Branches,
    Conv2D,
    Dense,
    Flatten,
    Layer,
    MaxPool2D,
    Pixels,
    Quantize,
)
from qnn_ref.quantizers import LinearQuant, LogQuant, Quantizer, Sign


class Block(NamedTuple):
    """A row of the block table: channels of each path; 0 where a path is missing."""

    name: str
    one: int
    three: tuple[int, int]
    double: tuple[int, int]
    pool: str
    projection: int
    stride: int = 1


BLOCKS = (
    Block("3a", 64, (64, 64), (64, 96), "average", 32),
    Block("3b", 64, (64, 96), (64, 96), "average", 64),
    Block("3c", 0, (128, 160), (64, 96), "max", 0, stride=2),
    Block("4a", 224, (64, 96), (96, 128), "average", 128),
    Block("4b", 192, (96, 128), (96, 128), "average", 128),
    Block("4c", 160, (128, 160), (128, 160), "average", 96),
    Block("4d", 96, (128, 192), (160, 192), "average", 96),
    Block("4e", 0, (128, 192), (192, 256), "max", 0, stride=2),
    Block("5a", 352, (192, 320), (160, 224), "average", 128),
    Block("5b", 352, (192, 320), (192, 224), "max", 128),
)


def googlenet(
    classes: int = 1000,
    weights: Quantizer | None = Sign(),
    activations: Quantizer = Sign(),
    auxiliary_after: tuple[str, ...] = ("4a", "4d"),
    auxiliary_weight: float = 0.3,
    divide: int = 1,
) -> list[Layer]:
    """Stem, ten inception blocks, average pool, classifier, for images of 224 x 224 x 3.

    Parameters
    ----------
    classes : int
    weights, activations : Quantizer
        First and last layer are quantized too.
    auxiliary_after : tuple of str
        Names of the blocks behind which an auxiliary classifier stands.
    auxiliary_weight : float
        Weight of its loss.
    divide : int
        Divides all channels, for a narrow network to try things with.

    Returns
    -------
    list of Layer
    """

    def conv(units: int, kernel: int, stride: int = 1, pool: bool = False) -> list[Layer]:
        layer = Conv2D(
            units // divide,
            kernel,
            stride=stride,
            padding=kernel // 2,
            weight_quantizer=weights,
        )
        pools = [MaxPool2D(3, 2, 1)] if pool else []
        return [layer, *pools, BatchNorm(), Quantize(activations)]

    def block(row: Block) -> Branches:
        pool = MaxPool2D if row.pool == "max" else AveragePool2D
        paths = [
            conv(row.three[0], 1) + conv(row.three[1], 3, row.stride),
            conv(row.double[0], 1) + conv(row.double[1], 3) + conv(row.double[1], 3, row.stride),
            [pool(3, row.stride, 1), *(conv(row.projection, 1) if row.projection else [])],
        ]
        return Branches(*([conv(row.one, 1)] if row.one else []), *paths)

    def auxiliary() -> Auxiliary:
        head = [AveragePool2D(5, 3), *conv(128, 1), Flatten()]
        head += [Dense(1024 // divide, weights), BatchNorm(), Quantize(activations)]
        return Auxiliary([*head, Dense(classes, weights), BatchNorm()], auxiliary_weight)

    layers: list[Layer] = [
        *(Pixels(), *conv(64, 7, 2, pool=True)),
        *(*conv(64, 1), *conv(192, 3, pool=True)),
    ]
    for row in BLOCKS:
        layers.append(block(row))
        if row.name in auxiliary_after:
            layers.append(auxiliary())
    return [*layers, AveragePool2D(7), Flatten(), Dense(classes, weights), BatchNorm()]


GOOGLENET_BNN = NetworkRecipe(
    name="googlenet-bnn",
    about="GoogLeNet, ten inception blocks, one bit everywhere (paper: 47.1 % top-1 accuracy)",
    layers=googlenet,
    input_shape=(224, 224, 3),
    batch_size=64,
    drop_every=10,
    size=17_563_840,
)

GOOGLENET_QNN_4_4 = replace(
    GOOGLENET_BNN,
    name="googlenet-qnn-4-4",
    about="GoogLeNet, weights and activations of 4 bits (paper: 66.5 % top-1 accuracy)",
    weights=LinearQuant(4),
    activations=LinearQuant(4),
)

GOOGLENET_QNN_6_6_6 = replace(
    GOOGLENET_BNN,
    name="googlenet-qnn-6-6-6",
    about="GoogLeNet, 6 bits everywhere, logarithmic gradients (paper: 66.4 % top-1 accuracy)",
    weights=LinearQuant(6),
    activations=LinearQuant(6),
    gradients=LogQuant(6, exponent=None),
)
