"""Lab 8. Fine for a hundred steps.

Shift-based AdaMax (Algorithm 4): every multiplication is one by a power of two. It begins well. But
its first gradients are large, and long after they have become small its steps stay tiny: the loss
stands still where the exact form goes on. Which line freezes it?
"""

import numpy as np

LINE = 0  # your answer: the number of the line that is wrong in the file as you got it


def would_have_found_it(lab):
    """Your test: asserts that fail on the wrong program and pass on the mended one."""
    pass  # asserts stand here


def ap2(x):
    """The nearest power of two by the rounded logarithm, with the sign of x; 0 for 0."""
    safe = np.where(x == 0, 1.0, np.abs(x))
    return np.where(x == 0, 0.0, np.sign(x) * 2.0 ** np.floor(np.log2(safe) + 0.5))


class ShiftAdaMax:
    """Moments m and v of one array; 1 - beta is a power of two."""

    def __init__(self, shape, rate=2.0**-6, beta1=1 - 2.0**-3, beta2=1 - 2.0**-6):
        self.m, self.v, self.t = np.zeros(shape), np.zeros(shape), 0
        self.rate, self.beta1, self.beta2 = rate, beta1, beta2

    def step(self, w, gradient):
        """The array after one step."""
        self.t += 1
        self.m = self.beta1 * self.m + (1 - self.beta1) * gradient
        self.v = ap2(np.maximum(self.beta2 * self.v, np.abs(gradient)))
        inverse = np.where(self.v == 0, 0.0, ap2(1 / np.where(self.v == 0, 1.0, self.v)))
        return w - ap2(self.rate / (1 - self.beta1**self.t)) * self.m * inverse


def loss(w, t):
    """A target that is far away for 100 steps, and then half a unit from here."""
    target = np.where(t < 100, 50.0, 1.5)
    return 0.5 * np.sum((w - target) ** 2), w - target


def train(steps=600):
    """The loss after each step."""
    w, optimizer, losses = np.zeros(4), ShiftAdaMax(4), []
    for t in range(steps):
        value, gradient = loss(w, t)
        losses.append(value)
        w = optimizer.step(w, gradient)
    return losses


if __name__ == "__main__":
    losses = train()
    for t in (0, 50, 99, 100, 150, 200, 300, 400, 599):
        print(f"step {t:3}: loss {losses[t]:.2g}")
