"""The paper's CIFAR-10 network, 14,022,016 weights, and narrow ones for laptops (section 4.2).

Six 3x3 convolutions, the second, fourth and sixth with a max pool of 2 in front of batch norm, then
two dense layers of 1,024 units. Theano: 11.40 % test error; Torch: 10.15 % (Table 1). Theano's
convolution flips its kernels: who loads its weights flips them first (`Conv2D`).

What the sources leave open in the Torch recipe, and what is taken here:

- How many epochs were run: 500, as in Theano. The rate is halved every 50 of them.
- The code whitens the images twice (ZCA), the paper says that there was no preprocessing: none.
  Whitened images are real numbers; `datasets.preprocessing` makes them and rounds them to 8 bits
  again, since the first layer works on such integers.
- The code clips all parameters to [-1, 1], gains and shifts too: only weights are clipped here.
- Gradient T of the shift-based batch norm, AP2 of the learning-rate scales, and the last layer's
  batch norm (gain from [0, 1), running unbiased variance), as in the code.
"""

from dataclasses import replace

from qnn_ref.experiments.recipe import Recipe

CIFAR10_THEANO = Recipe(
    name="cifar10-theano",
    about="9 layers, exactly as section 4.2 (paper: 11.40 %)",
    dataset="cifar10",
    convolutions=((128, 1), (128, 2), (256, 1), (256, 2), (512, 1), (512, 2)),
    hidden=(1024, 1024),
    epochs=500,
    validation=5_000,
    batch_size=50,
    initial_rate=1e-3,
    final_rate=3e-7,
    rule="adam-theano",
)

CIFAR10_THEANO_FLOAT = replace(
    CIFAR10_THEANO,
    name="cifar10-theano-float",
    about="its float twin: real weights, hard tanh",
    binary=False,
)

CIFAR10_TORCH = replace(
    CIFAR10_THEANO,
    name="cifar10-torch",
    about="the same network, shift-based as the Torch code (paper: 10.15 %)",
    batch_size=200,
    initial_rate=2.0**-6,
    halve_every=50,
    norm="shift-T",
    rule="shift-adamax-torch-ap2",
    stochastic=True,
    epsilon=1e-5,
    torch_last_norm=True,
)

CIFAR10_TORCH_FLOAT = replace(
    CIFAR10_TORCH, name="cifar10-torch-float", about="its float twin", binary=False
)

CIFAR10_SMALL = replace(
    CIFAR10_THEANO,
    name="cifar10-small",
    about="three narrow convolutions, about half an hour",
    convolutions=((32, 2), (64, 2), (128, 2)),
    hidden=(256,),
    epochs=16,
    batch_size=100,
    initial_rate=3e-3,
    final_rate=3e-5,
    rule="adam",
)

CIFAR10_SMALL_FLOAT = replace(
    CIFAR10_SMALL, name="cifar10-small-float", about="its float twin", binary=False
)

CIFAR10_WIDE = replace(
    CIFAR10_SMALL,
    name="cifar10-wide",
    about="the same, everything twice as wide, an hour or two",
    convolutions=((64, 2), (128, 2), (256, 2)),
    hidden=(512,),
)

CIFAR10_WIDE_FLOAT = replace(
    CIFAR10_WIDE, name="cifar10-wide-float", about="its float twin", binary=False
)
