"""Lab 5. Weights that never come back.

One binary layer learns small digits, and all is well. Then each digit gets a new name, and it has
to learn again: that takes six epochs, where it should take one. Latent weights that are meant to
stay between -1 and 1 are at 8. The clip is there, you can see it. Which line is wrong?
"""

import numpy as np

from qnn_ref import datasets

LINE = 0  # your answer: the number of the line that is wrong in the file as you got it


def would_have_found_it(lab):
    """Your test: asserts that fail on the wrong program and pass on the mended one."""
    pass  # asserts stand here


def sign(x):
    return np.where(x >= 0, 1.0, -1.0)


def loss_gradient(x, y, latent):
    """Gradient (K, classes) of the square hinge loss with respect to the binary weights."""
    scores = x @ sign(latent) / 8
    return x.T @ (-2 * y * np.maximum(0, 1 - y * scores)) / y.size


def step(latent, gradient, rate):
    """Algorithm 1, line 11: the latent weights after one step; those that came stay as they are."""
    moved = latent - rate * gradient
    np.clip(moved, -1, 1)
    return moved


def train(epochs=(12, 6), rate=2.0, seed=0):
    """Latent weights, and the training error after each epoch; then each digit gets a new name."""
    data, rng = datasets.load("digits"), np.random.default_rng(seed)
    x = 2.0 * data.train_images.reshape(-1, 64) / 255 - 1
    latent, errors = rng.uniform(-1, 1, (64, 10)), []
    for epoch in range(sum(epochs)):
        labels = (data.train_labels + 3 * (epoch >= epochs[0])) % 10
        y = 2.0 * np.eye(10)[labels] - 1
        for rows in np.array_split(rng.permutation(len(x)), 27):
            latent = step(latent, loss_gradient(x[rows], y[rows], latent), rate)
        errors.append(100 * np.mean((x @ sign(latent)).argmax(axis=1) != labels))
    return latent, errors


if __name__ == "__main__":
    latent, errors = train()
    print("wrong after each epoch:", *(f"{error:.0f} %" for error in errors))
    print(f"the largest latent weight: {np.abs(latent).max():.1f}")
