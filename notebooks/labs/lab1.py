"""Lab 1. Three points worse.

A binarized network of three hidden layers learns small digits by Algorithm 1, with ADAM. Run it:
about 12 % of the test digits are wrong. A colleague has the same program, line by line, and gets 9
% from the same seeds. One of your lines is not his.
"""

import numpy as np

from qnn_ref import datasets

LINE = 0  # your answer: the number of the line that is wrong in the file as you got it


def would_have_found_it(lab):
    """Your test: asserts that fail on the wrong program and pass on the mended one."""
    pass  # asserts stand here


def sign(x):
    return np.where(x >= 0, 1.0, -1.0)


def sign_backward(dy, x):
    return dy * (np.abs(dy) <= 1)


def batch_norm(s):
    r = 1 / np.sqrt(s.var(axis=0) + 1e-4)
    return (s - s.mean(axis=0)) * r, r


def batch_norm_backward(da, a, r):
    return r * (da - da.mean(axis=0) - a * (da * a).mean(axis=0))


def forward(x, weights):
    """What goes into each layer, its batch norm's output, and the inverse deviations."""
    inputs, outputs, inverse = [x], [], []
    for w in weights:
        a, r = batch_norm(inputs[-1] @ sign(w))
        outputs.append(a)
        inverse.append(r)
        inputs.append(sign(a))
    return inputs, outputs, inverse


def gradients(x, y, weights):
    """Of every binary weight, by the square hinge loss with targets of +1 and -1."""
    inputs, outputs, inverse = forward(x, weights)
    da = -2 * y * np.maximum(0, 1 - y * outputs[-1]) / y.size
    found = []
    for k in reversed(range(len(weights))):
        if found:  # a Sign stands behind every layer but the last
            da = sign_backward(da, outputs[k])
        ds = batch_norm_backward(da, outputs[k], inverse[k])
        found.append(inputs[k].T @ ds)
        da = ds @ sign(weights[k]).T
    return found[::-1]


def train(seed=0, epochs=20):
    """Test error in percent."""
    data, rng = datasets.load("digits"), np.random.default_rng(seed)
    x, test = (2.0 * i.reshape(len(i), -1) / 255 - 1 for i in (data.train_images, data.test_images))
    y = 2.0 * np.eye(10)[data.train_labels] - 1
    weights = [rng.uniform(-1, 1, size) for size in ((64, 128), (128, 128), (128, 128), (128, 10))]
    m, v = [0 * w for w in weights], [0 * w for w in weights]
    batches = [rows for _ in range(epochs) for rows in np.array_split(rng.permutation(len(x)), 27)]
    for t, rows in enumerate(batches, 1):
        rate = 0.05 * 0.85 ** (t // 27)
        for k, dw in enumerate(gradients(x[rows], y[rows], weights)):
            m[k], v[k] = 0.9 * m[k] + 0.1 * dw, 0.999 * v[k] + 0.001 * dw**2
            step = m[k] / (1 - 0.9**t) / (np.sqrt(v[k] / (1 - 0.999**t)) + 1e-8)
            weights[k] = np.clip(weights[k] - rate * step, -1, 1)
    answers = forward(test, weights)[1][-1].argmax(axis=1)
    return 100 * np.mean(answers != data.test_labels)


if __name__ == "__main__":
    print("test error of three seeds:", *(f"{train(seed):.1f} %" for seed in range(3)))
