"""The paper's SVHN network: the CIFAR-10 network with half the channels, 6,397,632 weights.

Theano: 2.80 % test error; Torch: 2.53 % (Table 1). The training set is train and extra together,
604,388 images, of which 6,000 choose the epoch. What the Torch sources leave open is taken as for
CIFAR-10: 200 epochs as in Theano, no preprocessing (the code normalizes contrast twice).
"""

from dataclasses import replace

from qnn_ref.experiments.cifar10 import CIFAR10_THEANO, CIFAR10_TORCH

SVHN_THEANO = replace(
    CIFAR10_THEANO,
    name="svhn-theano",
    about="half the channels of CIFAR-10, exactly as section 4.2 (paper: 2.80 %)",
    dataset="svhn",
    convolutions=((64, 1), (64, 2), (128, 1), (128, 2), (256, 1), (256, 2)),
    epochs=200,
    validation=6_000,
    initial_rate=1e-3,
    final_rate=1e-6,
)

SVHN_THEANO_FLOAT = replace(
    SVHN_THEANO,
    name="svhn-theano-float",
    about="its float twin: real weights, hard tanh",
    binary=False,
)

SVHN_TORCH = replace(
    CIFAR10_TORCH,
    name="svhn-torch",
    about="the same network, shift-based as the Torch code (paper: 2.53 %)",
    dataset="svhn",
    convolutions=SVHN_THEANO.convolutions,
    epochs=200,
    validation=6_000,
    initial_rate=2.0**-7,
    halve_every=20,
)

SVHN_TORCH_FLOAT = replace(
    SVHN_TORCH, name="svhn-torch-float", about="its float twin", binary=False
)
