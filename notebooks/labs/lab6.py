"""Lab 6. A checker that finds nothing.

A gradient check, used for years: it found a wrong factor in a dense layer at once. Then somebody
forgot half of batch norm's gradient, and the check said 0.0e+00. Batch norm here is *known* to be
wrong. Which line of the checker hides it?
"""

import numpy as np

LINE = 0  # your answer: the number of the line that is wrong in the file as you got it


def would_have_found_it(lab):
    """Your test: asserts that fail on the wrong program and pass on the mended one."""
    pass  # asserts stand here


def dense(x):
    return x @ np.array([[1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])


def doubled_backward(dy, x):
    """Wrong on purpose: twice the gradient of `dense`."""
    return 2 * dy @ np.array([[1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]]).T


def batch_norm(s):
    return (s - s.mean(axis=0)) / np.sqrt(s.var(axis=0) + 1e-4)


def forgetful_backward(dy, s):
    """Wrong on purpose: the mean's share is there, the deviation's is forgotten."""
    return (dy - dy.mean(axis=0)) / np.sqrt(s.var(axis=0) + 1e-4)


def numeric_gradient(function, x, covector, h=1e-5):
    """Central differences of <covector, function(x)>, an element of x at a time."""
    found = np.zeros_like(x)
    for index in np.ndindex(x.shape):
        move = np.zeros_like(x)
        move[index] = h
        change = function(x + move) - function(x - move)
        found[index] = (covector * change).sum() / (2 * h)
    return found


def check(function, backward, x, rng):
    """The largest difference between `backward` and central differences."""
    y = function(x)
    covector = np.ones_like(y)
    exact = numeric_gradient(function, x, covector)
    return np.abs(backward(covector, x) - exact).max()


if __name__ == "__main__":
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4, 3))
    print(f"dense, factor 2: {check(dense, doubled_backward, x, rng):.1e}")
    print(f"batch norm, half forgotten: {check(batch_norm, forgetful_backward, x, rng):.1e}")
