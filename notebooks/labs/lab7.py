"""Lab 7. Good in training, bad in use.

A layer of 200 units with batch norm, and a readout. While it trains it makes few errors. With the
same weights and the running statistics, as in use, it makes many more, and other ones after each
epoch. The momentum is 0.1, as everywhere. Which line is wrong?
"""

import numpy as np

from qnn_ref import datasets

LINE = 0  # your answer: the number of the line that is wrong in the file as you got it


def would_have_found_it(lab):
    """Your test: asserts that fail on the wrong program and pass on the mended one."""
    pass  # asserts stand here


class BatchNorm:
    """Running means of the mean and of the inverse deviation; a batch counts `momentum` in them."""

    def __init__(self, units, momentum=0.1):
        self.momentum, self.mean, self.inverse = momentum, np.zeros(units), np.ones(units)

    def training(self, s):
        mean, inverse = s.mean(axis=0), 1 / np.sqrt(s.var(axis=0) + 1e-4)
        self.mean = self.average(self.mean, mean)
        self.inverse = self.average(self.inverse, inverse)
        return (s - mean) * inverse

    def average(self, running, new):
        return self.momentum * running + (1 - self.momentum) * new

    def inference(self, s):
        return (s - self.mean) * self.inverse


def sign(x):
    return np.where(x >= 0, 1.0, -1.0)


def train(seed=0, epochs=6):
    """After each epoch the training error in training mode and in inference, in percent."""
    data, rng = datasets.load("digits"), np.random.default_rng(seed)
    x = 2.0 * data.train_images.reshape(-1, 64) / 255 - 1
    y = 2.0 * np.eye(10)[data.train_labels] - 1
    hidden, readout, norm = rng.choice([-1.0, 1.0], (64, 200)), np.zeros((200, 10)), BatchNorm(200)
    errors = []
    for _ in range(epochs):
        wrong = 0
        order = rng.permutation(len(x))
        for rows in np.split(order, range(64, len(x), 64)):  # the last one has three images
            h = sign(norm.training(x[rows] @ hidden))
            scores = h @ readout
            wrong += np.sum(scores.argmax(axis=1) != data.train_labels[rows])
            readout += 0.02 * h.T @ (y[rows] * np.maximum(0, 1 - y[rows] * scores)) / len(rows)
        answers = (sign(norm.inference(x @ hidden)) @ readout).argmax(axis=1)
        errors.append((100 * wrong / len(x), 100 * np.mean(answers != data.train_labels)))
    return errors


if __name__ == "__main__":
    for epoch, (training, inference) in enumerate(train()):
        print(f"epoch {epoch}: {training:5.1f} % in training, {inference:5.1f} % in use")
