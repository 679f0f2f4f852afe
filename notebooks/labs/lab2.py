"""Lab 2. Saved, loaded, and another network.

A binary layer is trained, written to a file and read back. Nothing is damaged, and the loaded
network knows most digits; but it is not the network that was trained. Which line?
"""

import io

import numpy as np

from qnn_ref import datasets

LINE = 0  # your answer: the number of the line that is wrong in the file as you got it


def would_have_found_it(lab):
    """Your test: asserts that fail on the wrong program and pass on the mended one."""
    pass  # asserts stand here


def sign(x):
    return np.where(x >= 0, 1.0, -1.0)


def scores(x, latent):
    """Of the trained network, for inputs (N, K)."""
    return x @ sign(latent)


def train(x, y, rng, steps=300):
    """Latent weights (K, classes) of one binary layer, by the square hinge loss."""
    latent = rng.uniform(-1, 1, (x.shape[1], y.shape[1]))
    for _ in range(steps):
        rows = rng.integers(0, len(x), 50)
        slack = np.maximum(0, 1 - y[rows] * scores(x[rows], latent) / 8)
        gradient = x[rows].T @ (-y[rows] * slack) / 50
        latent = np.clip(latent - 0.05 * gradient, -1, 1)
    return latent


def save(file, latent):
    """Write what inference needs: the weights (K, classes), two bytes each."""
    weights = latent.astype(np.float16)
    np.savez(file, weights=weights)


def load(file):
    """Weights (K, classes) as they were saved."""
    with np.load(file) as archive:
        return archive["weights"].astype(float)


def loaded_scores(x, weights):
    """Of the loaded network, for inputs (N, K)."""
    return x @ weights


if __name__ == "__main__":
    data, rng = datasets.load("digits"), np.random.default_rng(0)
    x, test = (2.0 * i.reshape(len(i), -1) / 255 - 1 for i in (data.train_images, data.test_images))
    latent = train(x, 2.0 * np.eye(10)[data.train_labels] - 1, rng)
    file = io.BytesIO()
    save(file, latent)
    file.seek(0)
    ours, theirs = scores(test, latent), loaded_scores(test, load(file))
    for name, found in (("trained", ours), ("loaded", theirs)):
        print(f"{name}: {100 * np.mean(found.argmax(axis=1) != data.test_labels):.1f} % wrong")
    print(f"{np.mean(ours == theirs):.0%} of the scores are equal")
