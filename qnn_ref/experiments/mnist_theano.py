"""The paper's MNIST network as the authors' Theano code trains it: 0.96 % test error (Table 1).

1,000 epochs of a 784-3x4096-10 network; 6 hours on the authors' graphics card, days on a laptop.

A step of the authors' code and one of ours are equal to rounding (`tests/test_authors_networks`),
with two differences: their layers have biases, which batch norm takes away again, and there a batch
norm's output from -2^-25 up to 0 gives +1.
"""

from dataclasses import replace

from qnn_ref.experiments.recipe import Recipe

MNIST_THEANO = Recipe(
    name="mnist-theano",
    about="784-3x4096-10, binary, exactly as section 4.2 (paper: 0.96 %)",
    dataset="mnist",
    hidden=(4096, 4096, 4096),
    epochs=1000,
    validation=10_000,
    batch_size=100,
    initial_rate=3e-3,
    final_rate=3e-7,
    rule="adam-theano",
    input_dropout=0.2,
    hidden_dropout=0.5,
    epsilon=1e-4,
    momentum=0.1,
)

MNIST_THEANO_FLOAT = replace(
    MNIST_THEANO,
    name="mnist-theano-float",
    about="its float twin: real weights, hard tanh",
    binary=False,
)
